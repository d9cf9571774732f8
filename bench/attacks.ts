/** What a tenant may do to its neighbours in a worker with verbs alone: each attack is a step that is taken once in each round of the worker. docs/spec/threats.md, T-42. */
import { Access, type Cq, type Qp, QpState, QpType, SendFlag, type SendWr, WrOpcode } from '../verbs/index.ts';
import { connected, join, type Pair, REGION_BYTES } from './seat.ts';

export type Step = () => void | Promise<void>;
export type Attack = (pair: Pair) => Promise<Step>;

const SMALL_DEPTH = 64;
const LARGE_DEPTH = 8;
const ATOMIC_DEPTH = 16;
const PIECES = 30;
const QPS = 1000;
const WRONG_KEY = 0xdead_beef;
const { RDMA_WRITE, RDMA_READ, ATOMIC_FETCH_AND_ADD, SEND } = WrOpcode;

/** Keeps so many of these requests under way. */
function keep(pair: Pair, qp: Qp, wr: SendWr, depth: number): Step {
  const [{ done: before }] = pair;
  let posted = 0;
  return () => {
    for (const due = pair[0].done - before + depth; posted < due; posted++) qp.postSend(wr);
  };
}

function request([a, b]: Pair, opcode: WrOpcode, bytes: number): SendWr {
  const remote = opcode === SEND ? {} : { remoteAddr: b.mr.addr, rKey: b.mr.rKey };
  return { opcode, sendFlags: SendFlag.SIGNALED, ...remote, sgList: [{ mr: a.mr, length: bytes }] };
}

const flood =
  (opcode: WrOpcode, bytes: number, depth: number, type: QpType = QpType.RC): Attack =>
  async (pair) =>
    keep(pair, (await connected(pair, type))[0], request(pair, opcode, bytes), depth);

const atomics: Attack = async (pair) => {
  const [qp] = await connected(pair);
  return keep(pair, qp, { ...request(pair, ATOMIC_FETCH_AND_ADD, 8), compareAdd: 1n }, ATOMIC_DEPTH);
};

const pieces: Attack = async (pair) => {
  const [qp] = await connected(pair, QpType.RC, { maxSendSge: PIECES });
  const sgList = Array.from({ length: PIECES }, (_, i) => ({ mr: pair[0].mr, offset: i * 4096, length: 1 }));
  return keep(pair, qp, { ...request(pair, RDMA_WRITE, 1), sgList }, SMALL_DEPTH);
};

/** One message on each in turn. */
const manyQps: Attack = async (pair) => {
  const qps: Qp[] = [];
  for (let i = 0; i < QPS; i++) qps.push((await connected(pair))[0]);
  const steps = qps.map((qp) => () => qp.postSend(request(pair, RDMA_WRITE, 64)));
  let posted = pair[0].done;
  return () => {
    for (const due = pair[0].done + SMALL_DEPTH; posted < due; posted++) steps[posted % QPS]!();
  };
};

const regions: Attack = async ([{ pd }]) => {
  const memory = new SharedArrayBuffer(REGION_BYTES);
  return async () => (await pd.regMr(memory, Access.LOCAL_WRITE)).dereg();
};

const qps: Attack =
  async ([a]) =>
  async () => {
    const qp = await a.newQp(QpType.RC);
    await qp.toInit();
    await qp.destroy();
  };

/** A wrong key ends both QPs: they are connected anew. */
const wrongKeys: Attack = async (pair) => {
  const [a, b] = await connected(pair);
  let known = -1;
  return async () => {
    if (pair[0].done === known) return;
    for (const qp of [a, b]) await qp.modifyQp({ qpState: QpState.RESET });
    await Promise.all([join(a, pair[1], b), join(b, pair[0], a)]);
    known = pair[0].done;
    a.postSend({ ...request(pair, RDMA_WRITE, 64), rKey: WRONG_KEY });
  };
};

const datagrams: Attack = async (pair) => {
  const [qp, peer] = await connected(pair, QpType.UD);
  const ah = await pair[0].pd.createAh({ dgid: pair[1].gid });
  return keep(pair, qp, { ...request(pair, SEND, 64), ah, remoteQpn: peer.qpNum, remoteQKey: 1 }, SMALL_DEPTH);
};

/** What is posted in ERR completes at once, where one entry is all there is. */
const overruns: Attack = async ([{ context, pd }]) => {
  let objects: (Qp | Cq)[] = [];
  return async () => {
    for (const object of objects) await object.destroy();
    const cq = await context.createCq(1);
    const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq, cap: { maxSendWr: ATOMIC_DEPTH } });
    await qp.toInit();
    await qp.modifyQp({ qpState: QpState.ERR });
    for (let i = 0; i < ATOMIC_DEPTH; i++) qp.postSend({ opcode: SEND, sendFlags: SendFlag.SIGNALED });
    objects = [qp, cq];
  };
};

export const ATTACKS: Readonly<Record<string, Attack>> = {
  'WRITEs of 1 octet': flood(RDMA_WRITE, 1, SMALL_DEPTH),
  'WRITEs of 4 KiB': flood(RDMA_WRITE, 4096, SMALL_DEPTH),
  'WRITEs of 1 MiB': flood(RDMA_WRITE, REGION_BYTES, LARGE_DEPTH),
  'READs of 1 MiB': flood(RDMA_READ, REGION_BYTES, LARGE_DEPTH),
  'atomics on one word': atomics,
  [`WRITEs of ${PIECES} pieces`]: pieces,
  [`WRITEs on ${QPS} QPs in turn`]: manyQps,
  'regions that come and go': regions,
  'QPs that come and go': qps,
  'wrong keys, and connecting anew': wrongKeys,
  'SENDs that find no receive': flood(SEND, 4096, SMALL_DEPTH),
  'datagrams that find no receive': datagrams,
  'CQs that overrun': overruns,
};
/** On a wire that spoils its packets. */
export const SPOILT: Attack = flood(RDMA_WRITE, 4096, SMALL_DEPTH, QpType.UC);
