/** The TypeScript mirror of peer/rc_ops.c: the same roles, the same lines, the same work. `node rc-ops.js server|client …` as there, `--netdev` first. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import {
  Access,
  type Cq,
  hostDevice,
  type Mr,
  type Qp,
  QpType,
  SendFlag,
  type SendWr,
  WcOpcode,
  WorkCompletion,
  WrOpcode,
} from '../../verbs/index.ts';

const BYTES = 1 << 20;
const HALF = BYTES / 2;
const CELL = 8192n;
const RECEIVED = 1 << 19;
const IMMEDIATES = 5;
const PSN = 0xff_fff8;
const STEP = 0x1_0000_0001n;

interface End {
  readonly qpNum: number;
  readonly psn: number;
  readonly gid: Buffer;
  readonly rKey: number;
  readonly addr: bigint;
}

const lineOf = (end: End): string => `${end.qpNum} ${end.psn} ${end.gid.toString('hex')} ${end.rKey} ${end.addr}\n`;

function endOf(line: string): End {
  const [qpNum, psn, gid, rKey, addr] = line.trim().split(' ');
  return {
    qpNum: Number(qpNum),
    psn: Number(psn),
    gid: Buffer.from(gid!, 'hex'),
    rKey: Number(rKey),
    addr: BigInt(addr!),
  };
}

function expect(condition: boolean, text: string): void {
  if (!condition) throw new Error(text);
}

/** Works on the peer's memory and checks every octet and result. */
async function work(qp: Qp, cq: Cq, mr: Mr, peer: End): Promise<void> {
  const completion = new WorkCompletion();
  const memory = mr.bytes;
  const cells = new BigUint64Array(memory.buffer, 0, 9);
  const run = async (wr: Partial<SendWr> & { opcode: WrOpcode }, offset: number, length: number): Promise<void> => {
    qp.postSend({
      remoteAddr: peer.addr,
      rKey: peer.rKey,
      ...wr,
      sendFlags: SendFlag.SIGNALED,
      sgList: [{ mr, offset, length }],
    });
    for (let polls = 1; !cq.pollOne(completion); polls++) if (polls % 1000 === 0) await new Promise(setImmediate);
    expect(completion.isSuccess, `${wr.opcode}: ${completion.statusName}`);
  };
  for (let length = 1; length <= HALF; length = length * 4 + 3) {
    for (let i = 0; i < length; i++) memory[i] = i * 7 + length;
    await run({ opcode: WrOpcode.RDMA_WRITE }, 0, length);
    memory.fill(0, HALF, HALF + length);
    await run({ opcode: WrOpcode.RDMA_READ }, HALF, length);
    expect(
      Buffer.compare(memory.subarray(0, length), memory.subarray(HALF, HALF + length)) === 0,
      `READ of ${length} octets brought others than were written`,
    );
  }
  const remoteAddr = peer.addr + CELL;
  cells[8] = 0n;
  await run({ opcode: WrOpcode.RDMA_WRITE, remoteAddr }, 64, 8);
  for (let i = 0n; i < 20n; i++) {
    await run({ opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, remoteAddr, compareAdd: STEP }, 0, 8);
    expect(cells[0] === i * STEP, `FETCH_ADD ${i} returned ${cells[0]}`);
  }
  await run({ opcode: WrOpcode.ATOMIC_CMP_AND_SWP, remoteAddr, compareAdd: 1n, swap: 2n }, 0, 8);
  expect(cells[0] === 20n * STEP, `a CMP_SWAP that misses returned ${cells[0]}`);
  await run({ opcode: WrOpcode.ATOMIC_CMP_AND_SWP, remoteAddr, compareAdd: 20n * STEP, swap: 77n }, 0, 8);
  await run({ opcode: WrOpcode.RDMA_READ, remoteAddr }, 0, 8);
  expect(cells[0] === 77n, `after CMP_SWAP the cell holds ${cells[0]}`);
  for (let i = 0; i < IMMEDIATES; i++) {
    await run({ opcode: WrOpcode.SEND_WITH_IMM, immData: 0xa000_0000 + i }, 0, i * 700);
    await run({ opcode: WrOpcode.RDMA_WRITE_WITH_IMM, immData: 0xb000_0000 + i }, 0, i * 700);
  }
}

function expectImmediates(cq: Cq): void {
  const completion = new WorkCompletion();
  for (let i = 0; i < 2 * IMMEDIATES; i++) {
    const isWrite = i % 2 === 1;
    const half = i >> 1;
    expect(cq.pollOne(completion) && completion.isSuccess, `receive ${i}: ${completion.statusName}`);
    expect(completion.opcode === (isWrite ? WcOpcode.RECV_RDMA_WITH_IMM : WcOpcode.RECV), `receive ${i}: its opcode`);
    expect(completion.immData === (isWrite ? 0xb000_0000 : 0xa000_0000) + half, `receive ${i}: ${completion.immData}`);
    expect(completion.byteLen === half * 700, `receive ${i}: ${completion.byteLen} octets`);
  }
}

async function accept(port: number): Promise<Socket> {
  const server = createServer().listen(port, '0.0.0.0');
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return socket;
}

async function main(netdev: string, role: string, args: string[]): Promise<void> {
  const isServer = role === 'server';
  const [port, gidIndex, mtu] = args.slice(isServer ? 0 : 1).map(Number) as [number, number, number];
  const device = await hostDevice({ netdev });
  const context = await device.open();
  const pd = await context.allocPd();
  const access = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), access);
  const cq = await context.createCq(16);
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  await qp.toInit({ accessFlags: access });
  const self = {
    qpNum: qp.qpNum,
    psn: PSN,
    gid: Buffer.from(await context.queryGid(gidIndex)),
    rKey: mr.rKey,
    addr: mr.addr,
  };
  const receive = { sgList: [{ mr, offset: RECEIVED, length: 1 << 16 }] };
  for (let i = 0; isServer && i < 2 * IMMEDIATES; i++) qp.postRecv(receive);
  const socket = isServer ? await accept(port) : connect(port, args[0]);
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const hear = async (): Promise<string> => (await lines.next()).value ?? '';
  if (!isServer) socket.write(lineOf(self));
  const peer = endOf(await hear());
  await qp.toRtr(peer, { sgidIndex: gidIndex, pathMtu: 24 - Math.clz32(mtu), maxDestRdAtomic: 4 });
  // A peer in an emulated machine may be silent for a second.
  await qp.toRts(PSN, { maxRdAtomic: 4, timeout: 18 });
  let answer: string;
  if (isServer) {
    socket.write(lineOf(self));
    expect((await hear()) === 'done', 'the client did not finish');
    expectImmediates(cq);
    answer = `sum ${mr.bytes.reduce((sum, octet) => sum + octet, 0)}`;
    socket.write(`${answer}\n`);
  } else {
    await work(qp, cq, mr, peer);
    socket.write('done\n');
    answer = await hear();
  }
  console.log(`ok ${answer}`);
  socket.end();
  await device.stop();
}

const [netdev, role, ...args] = process.argv.slice(2);
await main(netdev!, role!, args);
