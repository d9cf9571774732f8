/** Those cases of rdma-unit-test's qp_test and srq_test that the verbs answer by themselves. */
import t, { type Test } from 'tap';
import { QpType } from '../../../verbs/index.ts';
import { bed, GID, loopback, PSN, refusal, write } from '../language/device.ts';
import { listed, ran } from './unit.ts';

function unit(name: string, script: (t: Test) => Promise<void>): void {
  ran(name);
  t.test(name, script);
}

/** They post and wait for what becomes of it; the specification (c10-96) has it refused, and so have we. */
for (const [name, steps] of [
  ['PostSendReset', 0],
  ['PostSendInit', 1],
  ['PostSendRtr', 2],
] as const) {
  unit(`QpStateTest.${name}`, async (t) => {
    const on = await bed(t);
    const qp = await on.pd.createQp({ type: QpType.RC, sendCq: on.cq, recvCq: on.cq });
    if (steps > 0) await qp.toInit();
    if (steps > 1) await qp.toRtr({ gid: GID, qpNum: qp.qpNum, psn: PSN });
    t.equal(refusal(() => qp.postSend(write(on, 1))).code, 'EINVAL');
  });
}

unit('QpPostTest.OverflowSendWr', async (t) => {
  const on = await bed(t);
  const qp = await loopback(on, 7);
  for (let i = 0; i < qp.cap.maxSendWr; i++) qp.postSend(write(on, i));
  t.equal(refusal(() => qp.postSend(write(on, 99))).code, 'ENOMEM');
});

unit('SrqTest.PostWrongApi', async (t) => {
  const { pd, cq } = await bed(t);
  const srq = await pd.createSrq({ maxWr: 7, maxSge: 1 });
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq, srq });
  t.equal(refusal(() => qp.postRecv({ wrId: 1n, sgList: [] })).code, 'EINVAL');
});

unit('SrqTest.ExceedMaxWr', async (t) => {
  const { pd } = await bed(t);
  const srq = await pd.createSrq({ maxWr: 7, maxSge: 1 });
  const list = Array.from({ length: 8 }, (_, i) => ({ wrId: BigInt(i), sgList: [] }));
  const { code, badWr } = refusal(() => srq.postRecv(list));
  t.same([code, badWr], ['ENOMEM', 7]);
});

unit('SrqTest.ExceedMaxSge', async (t) => {
  const { pd, mr } = await bed(t);
  const srq = await pd.createSrq({ maxWr: 7, maxSge: 1 });
  const sge = { mr, length: 1 };
  const { code, badWr } = refusal(() => srq.postRecv({ wrId: 1n, sgList: [sge, sge] }));
  t.same([code, badWr], ['EINVAL', 0]);
});

listed('posting');
