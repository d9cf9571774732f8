/** Shared receive queues: order, limit, resizing, and what happens to their QPs. SPEC-CHECKLIST … R-164. */
import t from 'tap';
import { Errno } from '../../rnic/commands.ts';
import { AsyncEvent, QpAttr, QpState, QpType } from '../../rnic/constants.ts';
import { ReceiveWork } from '../../rnic/receive-work.ts';
import { TestEngine } from '../support/engine.ts';
import { openRing, writeReceive } from '../support/sim/work.ts';

function opened(maxWr = 7, srqLimit = 0) {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq } = engine.execute({ op: 'createCq', cqe: 31 });
  const created = engine.execute({ op: 'createSrq', pd, maxWr, maxSge: 2, srqLimit, cookie: 5n });
  const qps = [QpType.RC, QpType.UD].map((type) => engine.createQp(type, pd, cq, cq, created.srq));
  const inside = qps.map(({ qpn }) => engine.rnic.qps.find(qpn)!);
  return { engine, pd, cq, srq: created.srq, ring: openRing(created.queue), qps, inside };
}

const limitEvents = (engine: TestEngine) => engine.events().filter(({ code }) => code === AsyncEvent.SRQ_LIMIT_REACHED);

t.test('SRQ: WQEs are taken in the order in which they were posted, whoever takes them', async (t) => {
  const { ring, inside } = opened();
  for (let i = 1; i <= 7; i++) t.ok(writeReceive(ring, i, []));
  t.notOk(writeReceive(ring, 8, []), 'full');
  const takers = inside.map(() => new ReceiveWork());
  for (let i = 0; i < 7; i++) t.ok(takers[i % 2]!.take(inside[i % 2]!));
  t.notOk(takers[0]!.take(inside[0]!));
  t.equal(ring.count(), 0);
});

t.test('SRQ: the limit event comes once, when fewer are left than the limit, and disarms it', async (t) => {
  const { engine, srq, ring, inside } = opened();
  for (let i = 1; i <= 6; i++) writeReceive(ring, i, []);
  engine.execute({ op: 'modifySrq', srq, attributes: { srqLimit: 4 } });
  const take = () => new ReceiveWork().take(inside[0]!);
  take();
  take();
  t.equal(limitEvents(engine).length, 0, 'four are left: not fewer than four');
  take();
  t.match(limitEvents(engine), [{ handle: srq, cookie: 5n }]);
  take();
  t.equal(limitEvents(engine).length, 0, 'once');
  t.equal(engine.execute({ op: 'querySrq', srq }).srqLimit, 0);
});

t.test('SRQ: resizing keeps what is posted, in order; what does not fit is refused and changes nothing', async (t) => {
  const { engine, srq, ring, inside } = opened(7, 2);
  for (let i = 1; i <= 5; i++) writeReceive(ring, i, []);
  const refused = (attributes: object) => engine.refusal({ op: 'modifySrq', srq, attributes }).argument;
  t.equal(refused({ maxWr: 4 }), 'maxWr');
  t.equal(refused({ maxWr: 1 << 20 }), 'maxWr');
  t.equal(refused({ maxWr: 15, srqLimit: 16 }), 'srqLimit');
  t.same(engine.execute({ op: 'querySrq', srq }), { ok: true, maxWr: 7, maxSge: 2, srqLimit: 2 });
  const { queue } = engine.execute({ op: 'modifySrq', srq, attributes: { maxWr: 100 } });
  const larger = openRing(queue!);
  t.equal(larger.count(), 5);
  writeReceive(larger, 6, []);
  for (let i = 1; i <= 6; i++) {
    t.equal(larger.view.getUint32(larger.slotAt(larger.consumer()), true), i);
    t.ok(new ReceiveWork().take(inside[0]!));
  }
});

t.test('SRQ: a limit that a smaller queue could never hold is refused', async (t) => {
  const { engine, srq } = opened(63, 60);
  t.equal(engine.refusal({ op: 'modifySrq', srq, attributes: { maxWr: 7 } }).argument, 'srqLimit');
  engine.execute({ op: 'modifySrq', srq, attributes: { maxWr: 7, srqLimit: 3 } });
});

t.test('SRQ: a QP that ends leaves its WQEs to the others, and says that it takes no more, once', async (t) => {
  const { engine, srq, ring, qps } = opened();
  for (let i = 1; i <= 5; i++) writeReceive(ring, i, []);
  engine.moveTo(qps[0]!, QpState.RTS);
  const toErr = {
    op: 'modifyQp',
    qp: qps[0]!.handle,
    mask: QpAttr.STATE,
    attributes: { qpState: QpState.ERR },
  } as const;
  engine.execute(toErr);
  engine.execute(toErr);
  const last = engine.events().filter(({ code }) => code === AsyncEvent.QP_LAST_WQE_REACHED);
  t.equal(last.length, 1);
  t.equal(last[0]!.handle, qps[0]!.handle);
  engine.turn(1e6);
  t.equal(ring.count(), 5);
  t.equal(engine.refusal({ op: 'destroySrq', srq }).errno, Errno.EBUSY);
  for (const { handle } of qps) engine.execute({ op: 'destroyQp', qp: handle });
  t.match(engine.execute({ op: 'destroySrq', srq }), { asyncEvents: 0 });
  t.equal(engine.refusal({ op: 'querySrq', srq }).argument, 'srq');
});

t.test('SRQ: UC has none, and sizes are checked', async (t) => {
  const { engine, pd, cq, srq } = opened();
  const cap = { maxSendWr: 1, maxRecvWr: 0, maxSendSge: 1, maxRecvSge: 0, maxInlineData: 0 };
  const uc = { op: 'createQp', pd, type: QpType.UC, sendCq: cq, recvCq: cq, srq, cap, sqSigAll: false } as const;
  t.equal(engine.refusal(uc).argument, 'srq');
  t.equal(engine.refusal({ op: 'createSrq', pd, maxWr: 0, maxSge: 1 }).argument, 'maxWr');
  t.equal(engine.refusal({ op: 'createSrq', pd, maxWr: 1, maxSge: 33 }).argument, 'maxSge');
  t.equal(engine.refusal({ op: 'createSrq', pd, maxWr: 1, maxSge: 1, srqLimit: 2 }).argument, 'srqLimit');
});

t.test('ERR: receives posted to a QP in ERR are flushed without a doorbell', async (t) => {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq, queue } = engine.execute({ op: 'createCq', cqe: 31 });
  const qp = engine.createQp(QpType.RC, pd, cq);
  engine.moveTo(qp, QpState.ERR);
  const completions = openRing(queue);
  for (let round = 1; round <= 3; round++) {
    engine.turn(500_000);
    engine.postReceive(qp, round);
    const wait = engine.rnic.pollTimeout() - engine.now;
    t.ok(wait > 0 && wait <= 80_000, 'the engine asks to be called again before long');
    engine.turn(wait);
    t.equal(completions.count(), round);
  }
  engine.execute({ op: 'destroyQp', qp: qp.handle });
  engine.turn(500_000);
  t.equal(engine.rnic.pollTimeout(), Number.POSITIVE_INFINITY, 'with the last such QP the timer ends');
});
