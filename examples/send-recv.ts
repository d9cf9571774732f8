/** SEND: the receiver says where messages go by posting receives before they come. */
import { SendFlag, WrOpcode } from '../verbs/index.ts';
import { stop, twoHosts } from './two-hosts.ts';

const [client, server] = await twoHosts();

server.qp.postRecv({ wrId: 1n, sgList: [{ mr: server.mr, offset: 0, length: 4096 }] });

const text = new TextEncoder().encode('hello from the other host');
client.mr.bytes.set(text);
client.qp.postSend({
  wrId: 2n,
  opcode: WrOpcode.SEND,
  sendFlags: SendFlag.SIGNALED,
  sgList: [{ mr: client.mr, length: text.length }],
});

const [received] = await server.cq.next();
if (!received?.isSuccess) throw new Error(`receive: ${received?.statusName}`);
const [sent] = await client.cq.next();
if (!sent?.isSuccess) throw new Error(`send: ${sent?.statusName}`);

console.log(
  `received ${received.byteLen} octets: ${Buffer.from(server.mr.bytes.slice(0, received.byteLen)).toString()}`,
);
await stop(client, server);
