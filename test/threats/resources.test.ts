/** Threats of who takes more than its share: SPEC-CHECKLIST §4.4. */
import t from 'tap';
import type { Command, CommandOf } from '../../rnic/commands.ts';
import { QpState, QpType } from '../../rnic/constants.ts';
import { FloodBudget } from '../../vswitch/stages/flood.ts';
import { drill } from '../drills/language/drill.ts';
import { AV, CAP, OURS, QPN_BASE, TestEngine, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';

const LIMIT = 3;
const limits = { pds: LIMIT, cqs: LIMIT, srqs: LIMIT, qps: LIMIT, mrs: LIMIT, mws: LIMIT, ahs: LIMIT, channels: LIMIT };

/** An engine with one PD and one CQ, and how each kind of object is made and removed. */
function makers(
  engine: TestEngine,
): Record<string, { make: () => Command; remove: (made: never) => Command; spare: number }> {
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq } = engine.execute({ op: 'createCq', cqe: 1 });
  const memory = engine.registerMemory(pd, 64, 1);
  engine.execute({ op: 'deregMr', mr: memory.mr });
  const path = pathBetween(OURS, THEIRS);
  return {
    pds: {
      make: () => ({ op: 'allocPd' }),
      remove: (made: { pd: number }) => ({ op: 'deallocPd', pd: made.pd }),
      spare: 1,
    },
    cqs: {
      make: () => ({ op: 'createCq', cqe: 1 }),
      remove: (made: { cq: number }) => ({ op: 'destroyCq', cq: made.cq }),
      spare: 1,
    },
    srqs: {
      make: () => ({ op: 'createSrq', pd, maxWr: 1, maxSge: 1 }),
      remove: (made: { srq: number }) => ({ op: 'destroySrq', srq: made.srq }),
      spare: 0,
    },
    qps: {
      make: () => ({ op: 'createQp', pd, type: QpType.RC, sendCq: cq, recvCq: cq, cap: CAP, sqSigAll: true }),
      remove: (made: { qp: number }) => ({ op: 'destroyQp', qp: made.qp }),
      spare: 0,
    },
    mrs: {
      make: () => ({ op: 'allocMr', pd, maxBytes: 64 }),
      remove: (made: { mr: number }) => ({ op: 'deregMr', mr: made.mr }),
      spare: 0,
    },
    mws: {
      make: () => ({ op: 'allocMw', pd, type: 1 }),
      remove: (made: { mw: number }) => ({ op: 'deallocMw', mw: made.mw }),
      spare: 0,
    },
    ahs: {
      make: () => ({ op: 'createAh', pd, av: AV, path }),
      remove: (made: { ah: number }) => ({ op: 'destroyAh', ah: made.ah }),
      spare: 0,
    },
    channels: {
      make: () => ({ op: 'createCompChannel' }),
      remove: (made: { channel: number }) => ({ op: 'destroyCompChannel', channel: made.channel }),
      spare: 0,
    },
  };
}

for (const kind of Object.keys(limits)) {
  t.test(`T-40: ${kind}: ${LIMIT} and no more; what is given back can be had again, exactly`, async (t) => {
    const engine = new TestEngine({ limits });
    const { make, remove, spare } = makers(engine)[kind]!;
    const held: never[] = [];
    const fill = (): number => {
      for (let made = 0; ; made++) {
        const result = engine.tryExecute(make() as CommandOf<'allocPd'>);
        if (!result.ok) {
          t.ok(
            result.errno === 12 || result.errno === 28 || result.errno === 122,
            `${result.reason} (${result.errno})`,
          );
          return made;
        }
        held.push(result as never);
      }
    };
    t.equal(fill(), LIMIT - spare);
    t.equal(fill(), 0);
    for (let i = 0; i < 50; i++) {
      engine.execute(remove(held.shift()!) as CommandOf<'deallocPd'>);
      t.equal(fill(), 1);
    }
  });
}

t.test(
  'T-41: 100,000 QPs come and go while one stays: numbers go round, the old one keeps its own, memory is given back',
  async (t) => {
    const engine = new TestEngine({ qpnCount: 4096, slots: 64 });
    const { pd } = engine.execute({ op: 'allocPd' });
    const { cq } = engine.execute({ op: 'createCq', cqe: 1 });
    const old = engine.createQp(QpType.RC, pd, cq);
    engine.moveTo(old, QpState.RTS);
    const queues = engine.queues.size;
    const seen = new Set<number>();
    for (let i = 0; i < 100_000; i++) {
      engine.now += 100_000;
      const qp = engine.createQp(QpType.RC, pd, cq);
      if (qp.qpn === old.qpn) t.fail('the number of a living QP was given away');
      seen.add(qp.qpn);
      engine.execute({ op: 'destroyQp', qp: qp.handle });
      if ((i & 1023) === 0) engine.turn();
    }
    t.equal(engine.queues.size, queues);
    t.ok(seen.size > 3000, `${seen.size} numbers of 4096 were used`);
    t.ok([...seen].every((qpn) => qpn >= QPN_BASE && qpn < QPN_BASE + 4096));
    t.equal(engine.execute({ op: 'queryQp', qp: old.handle }).attributes.qpState, QpState.RTS);
  },
);

t.test('T-41: 100,000 regions come and go: none is left, and no key twice', async (t) => {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const keys = new Set<number>();
  for (let i = 0; i < 100_000; i++) {
    const { mr, key } = engine.registerMemory(pd, 8, 7);
    keys.add(key);
    engine.execute({ op: 'deregMr', mr });
  }
  t.equal(keys.size, 100_000);
  engine.execute({ op: 'deallocPd', pd });
});

drill('T-45: an application that never polls fills its own CQ, and nobody else’s', (d) => {
  const small = d.cq(7);
  const lazy = d.qp('rc', { recvCq: small, sendCq: small });
  for (let i = 0; i < 60; i++) d.post.recv();
  const other = d.qp('rc');
  d.post.recv({ wrId: 99 });
  for (let psn = 0; psn < 60; psn++) d.inject({ opcode: 'SEND_ONLY', psn, payload: 4, dest: lazy.qpn, ackReq: true });
  d.sent();
  d.engine.events();
  d.inject({ opcode: 'SEND_ONLY', psn: 0, payload: 4, dest: other.qpn, ackReq: true });
  d.expect.packet({ opcode: 'ACKNOWLEDGE', psn: 0, syndrome: 'ACK' });
  d.use(other);
  d.expect.completion({ wrId: 99, status: 'SUCCESS' });
  d.expect.that(d.engine.rnic.counters.get('cq_overrun') > 0, true, 'counted');
  d.use(lazy);
  for (let i = 0; i < 7; i++) d.expect.completion({ wrId: i + 1 });
  d.engine.events();
});

drill(
  'T-43: multicast that becomes several frames is dropped by name beyond its bound: its work requests complete, its own vRNIC hears it, and nothing else is bounded',
  { flood: new FloodBudget(40), mtu: 4500 },
  (d) => {
    d.qp('ud');
    const toAll = { ...pathBetween(OURS, THEIRS), destination: 1, copies: 3 };
    const local = pathBetween(OURS, OURS);
    const { ahNum: group } = d.execute({ op: 'createAh', pd: d.pd, av: AV, path: { ...toAll, local } });
    const { ahNum: plain } = d.execute({
      op: 'createAh',
      pd: d.pd,
      av: AV,
      path: { ...pathBetween(OURS, THEIRS), local },
    });
    const sendTo = (ah: number, wrId: number): number => {
      d.post.send({ ah, wrId, destQpn: 0xff_ffff });
      d.expect.completion({ wrId, status: 'SUCCESS' });
      return d.sent().length;
    };
    const sentOf = (count: number): number[] => Array.from({ length: count }, (_, i) => sendTo(group, i));
    d.expect.that(sentOf(6), [2, 2, 2, 2, 1, 1], 'a tenth of a second’s, then those for members here alone');
    d.expect.counter('drop_flood_limit', 2);
    d.expect.counter('sent_pkts', 4);
    d.expect.that(sendTo(plain, 7), 2, 'a group that is one frame on the wire');
    d.advance('50ms');
    d.expect.that(sentOf(3), [2, 2, 1], 'what time brings');
  },
);
