/** Drills of what the verbs do before the engine sees anything: one real device that moves only when it is polled. SPEC-CHECKLIST. */
import t, { type Test } from 'tap';
import {
  Access,
  type Context,
  type Cq,
  hostDevice,
  type Mr,
  newMemoryPair,
  type Pd,
  type Qp,
  QpState,
  QpType,
  SendFlag,
  type SendWr,
  VerbsError,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import { toGid } from '../../workers/linux/netdev.ts';

interface Bed {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  readonly mr: Mr;
}

const GID = toGid('10.0.0.1');
const PSN = 3;

/** A device in this thread, whose wire leads nowhere but to itself. */
async function bed(t: Test): Promise<Bed> {
  const [end] = newMemoryPair(`drill${process.pid}-${t.name.length}`);
  const device = await hostDevice({
    port: { kind: 'memory', end },
    mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    gids: [GID],
    polled: true,
  });
  t.teardown(() => device.stop());
  const context = await device.open();
  const pd = await context.allocPd();
  const mr = await pd.regMr(new SharedArrayBuffer(4096), Access.LOCAL_WRITE | Access.REMOTE_WRITE);
  return { context, pd, cq: await context.createCq(64), mr };
}

/** An RC QP that is connected to itself. */
async function loopback({ pd, cq }: Bed, maxSendWr: number): Promise<Qp> {
  const cap = { maxSendWr, maxRecvWr: 7, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq, cap });
  await qp.toInit({ accessFlags: Access.REMOTE_WRITE });
  await qp.toRtr({ gid: GID, qpNum: qp.qpNum, psn: PSN });
  await qp.toRts(PSN);
  return qp;
}

const write = ({ mr }: Bed, wrId: number, opcode: number = WrOpcode.RDMA_WRITE): SendWr => ({
  wrId: BigInt(wrId),
  opcode: opcode as SendWr['opcode'],
  sendFlags: SendFlag.SIGNALED,
  remoteAddr: BigInt(mr.addr),
  rKey: mr.rKey,
  sgList: [{ mr, length: 8 }],
});

function refusal(post: () => void): VerbsError {
  try {
    post();
  } catch (error) {
    if (error instanceof VerbsError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

t.test(
  'R-141: postSend stops at the first bad one of a list, says which, and what stands before it is posted',
  async (t) => {
    const on = await bed(t);
    const qp = await loopback(on, 7);
    const list = [write(on, 1), write(on, 2), write(on, 3, 63), write(on, 4), write(on, 5)];
    const { badWr, code } = refusal(() => qp.postSend(list));
    t.same([badWr, code], [2, 'EINVAL']);
    const found = [];
    for (let polls = 0; found.length < 2 && polls < 1_000_000; polls++) found.push(...on.cq.pollCq());
    t.same(
      found.map(({ wrId, status }) => [wrId, status]),
      [
        [1n, WcStatus.SUCCESS],
        [2n, WcStatus.SUCCESS],
      ],
    );
  },
);

t.test('R-143: a full queue refuses with ENOMEM; what creation answered fits', async (t) => {
  const on = await bed(t);
  const qp = await loopback(on, 5);
  t.ok(qp.cap.maxSendWr >= 5);
  const list = Array.from({ length: qp.cap.maxSendWr + 1 }, (_, i) => write(on, i));
  const { badWr, code } = refusal(() => qp.postSend(list));
  t.same([badWr, code], [qp.cap.maxSendWr, 'ENOMEM']);
});

t.test('R-144: RESET, INIT and RTR refuse sends at once; receives are refused in RESET', async (t) => {
  const on = await bed(t);
  const qp = await on.pd.createQp({ type: QpType.RC, sendCq: on.cq, recvCq: on.cq });
  const steps = [
    () => qp.toInit({ accessFlags: 0 }),
    () => qp.toRtr({ gid: GID, qpNum: qp.qpNum, psn: PSN }),
    () => qp.toRts(PSN),
  ];
  t.equal(refusal(() => qp.postRecv({ wrId: 1n, sgList: [] })).code, 'EINVAL');
  for (const step of steps) {
    t.equal(refusal(() => qp.postSend(write(on, 1))).code, 'EINVAL');
    await step();
  }
  qp.postRecv({ wrId: 1n, sgList: [] });
  t.equal(qp.state, QpState.RTS);
});

t.test('R-154: completions that a QP left behind are not seen once it was reset', async (t) => {
  const on = await bed(t);
  const qp = await loopback(on, 7);
  qp.postSend({ ...write(on, 1), rKey: 1 });
  for (let polls = 0; polls < 1000; polls++) on.context.progress();
  await qp.modifyQp({ qpState: QpState.RESET });
  t.same(on.cq.pollCq(), []);
});

t.test('R-181: a region is over shared memory of a fixed length; nothing else is taken', async (t) => {
  const { pd } = await bed(t);
  const growable: SharedArrayBuffer = Reflect.construct(SharedArrayBuffer, [64, { maxByteLength: 128 }]);
  await t.rejects(pd.regMr(growable, 0), { code: 'EINVAL' });
  await t.rejects(pd.regMr(new Uint8Array(64) as never, 0), TypeError);
  await t.rejects(pd.regMr(new ArrayBuffer(64) as never, 0), TypeError);
  const mr = await pd.regMr(new Uint8Array(new SharedArrayBuffer(64), 16, 8), 0);
  t.equal(mr.bytes.length, 8);
});
