/** One-sided work: the peer's memory is written, read and counted in, and the peer's program does nothing. */
import { SendFlag, type SendWr, WrOpcode } from '../verbs/index.ts';
import { stop, twoHosts } from './two-hosts.ts';

const [client, server] = await twoHosts();
const { addr, rKey } = server.mr; // a real program is told these by its peer

async function run(wr: Partial<SendWr> & { opcode: WrOpcode }): Promise<void> {
  client.qp.postSend({ sendFlags: SendFlag.SIGNALED, remoteAddr: addr, rKey, ...wr });
  const [completion] = await client.cq.next();
  if (!completion?.isSuccess) throw new Error(completion?.statusName);
}

client.mr.bytes.fill(0x42, 0, 100_000);
await run({ opcode: WrOpcode.RDMA_WRITE, sgList: [{ mr: client.mr, length: 100_000 }] });
console.log(`WRITE: octet 99999 of the server is 0x${server.mr.bytes[99_999]!.toString(16)}`);

await run({ opcode: WrOpcode.RDMA_READ, sgList: [{ mr: client.mr, offset: 200_000, length: 100_000 }] });
console.log(`READ: octet 99999 came back as 0x${client.mr.bytes[299_999]!.toString(16)}`);

const counter = new BigUint64Array(server.mr.bytes.buffer, 0, 1);
const result = new BigUint64Array(client.mr.bytes.buffer, 0, 1);
counter[0] = 40n;
await run({ opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, compareAdd: 2n, sgList: [{ mr: client.mr, length: 8 }] });
console.log(`FETCH_ADD: was ${result[0]}, is ${counter[0]}`);
await run({ opcode: WrOpcode.ATOMIC_CMP_AND_SWP, compareAdd: 42n, swap: 7n, sgList: [{ mr: client.mr, length: 8 }] });
console.log(`CMP_SWAP: was ${result[0]}, is ${counter[0]}`);

await stop(client, server);
