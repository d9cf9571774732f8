/** Drills of what the verbs do before the engine sees anything. SPEC-CHECKLIST. */
import t from 'tap';
import { QpState, QpType, WcStatus } from '../../verbs/index.ts';
import { bed, GID, loopback, PSN, refusal, write } from './language/device.ts';

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
