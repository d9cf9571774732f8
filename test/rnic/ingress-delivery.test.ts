/** Where accepted packets go: notifications to senders, management datagrams, multicast to each member; and no octets that throw. SPEC-CHECKLIST R-020 …, T-21. */
import fc from 'fast-check';
import t from 'tap';
import { Errno } from '../../rnic/commands.ts';
import { QpState, QpType } from '../../rnic/constants.ts';
import { COUNTER_NAMES, type CounterName } from '../../rnic/counters.ts';
import * as Opcode from '../../wire/opcode.ts';
import { AV, TestEngine } from '../support/engine.ts';
import { BTH_AT, type PacketShape, packetOf } from '../support/packets.ts';

const GROUP = 0xe000_0005;

function opened() {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq } = engine.execute({ op: 'createCq', cqe: 255 });
  const [rc, uc, ud] = [QpType.RC, QpType.UC, QpType.UD].map((type) => {
    const qp = engine.createQp(type, pd, cq);
    engine.moveTo(qp, QpState.RTS);
    return qp;
  }) as [ReturnType<typeof engine.createQp>, ReturnType<typeof engine.createQp>, ReturnType<typeof engine.createQp>];
  engine.turn();
  return { engine, pd, cq, rc, uc, ud };
}

/** Counters that a packet moved. */
function moved(engine: TestEngine, shape: PacketShape): CounterName[] {
  const before = Float64Array.from(engine.rnic.counters.values);
  engine.rnic.handlePacket(packetOf(shape), engine.now);
  return COUNTER_NAMES.filter((_, i) => engine.rnic.counters.values[i] !== before[i]);
}

t.test('ingress: a packet that is right in everything is accepted', async (t) => {
  const { engine, rc, ud } = opened();
  for (const pKey of [0xffff, 0x7fff]) {
    const names = moved(engine, { opcode: Opcode.RC_SEND_ONLY, destQp: rc.qpn, pKey });
    t.ok(names.includes('rcvd_pkts'), `P_Key 0x${pKey.toString(16)}`);
  }
  const reserved = (view: DataView) => {
    view.setUint8(BTH_AT + 4, 0x3f);
    view.setUint8(BTH_AT + 8, 0x7f);
  };
  t.ok(moved(engine, { opcode: Opcode.UD_SEND_ONLY, destQp: ud.qpn, before: reserved }).includes('rcvd_pkts'), 'R-020');
  t.ok(moved(engine, { opcode: Opcode.UD_SEND_ONLY, destQp: ud.qpn, from: 77 }).includes('rcvd_pkts'), 'R-025');
});

t.test('ingress: a congestion notification reaches the sender of its QP, of any type', async (t) => {
  const { engine, rc, uc, ud } = opened();
  t.ok(moved(engine, { opcode: Opcode.ROCE_CNP, destQp: rc.qpn }).includes('rp_cnp_handled'));
  t.strictSame(moved(engine, { opcode: Opcode.ROCE_CNP, destQp: rc.qpn, from: 5 }), ['drop_address'], 'from its peer');
  for (const qp of [uc, ud]) {
    const names = moved(engine, { opcode: Opcode.ROCE_CNP, destQp: qp.qpn });
    t.ok(names.includes('rp_cnp_ignored') && !names.includes('drop_qkey'));
  }
});

t.test('ingress: a connection has one way: its peer’s addresses by another port are nothing', async (t) => {
  const { engine, rc, uc } = opened();
  for (const [qp, opcode] of [
    [rc, Opcode.RC_SEND_ONLY],
    [uc, Opcode.UC_SEND_ONLY],
  ] as const) {
    t.strictSame(moved(engine, { opcode, destQp: qp.qpn, port: 2, connectedOnly: true }), ['drop_underlay']);
    t.notOk(moved(engine, { opcode, destQp: qp.qpn }).includes('drop_underlay'));
  }
});

t.test('ingress: datagrams, management and multicast are nothing where only connections travel', async (t) => {
  const { engine, ud } = opened();
  for (const destQp of [ud.qpn, 1, 0xff_ffff])
    t.strictSame(
      moved(engine, { opcode: Opcode.UD_SEND_ONLY, destQp, connectedOnly: true }),
      ['drop_underlay'],
      `QP ${destQp}`,
    );
});

t.test('multicast: each member that can gets a copy; what one refuses is nothing to the others', async (t) => {
  const { engine, pd, cq, rc, ud } = opened();
  const gid = new Uint8Array(16);
  gid.set([0xff, 0xff, 0xe0, 0, 0, 5], 10);
  const early = engine.createQp(QpType.UD, pd, cq);
  engine.moveTo(early, QpState.INIT);
  const second = engine.createQp(QpType.UD, pd, cq);
  engine.moveTo(second, QpState.RTR);
  for (const qp of [early, ud, second, second]) engine.execute({ op: 'attachMcast', qp: qp.handle, gid });
  t.equal(engine.refusal({ op: 'attachMcast', qp: rc.handle, gid }).argument, 'qp', 'only UD');
  t.equal(engine.refusal({ op: 'attachMcast', qp: ud.handle, gid: AV.dgid }).argument, 'gid');
  const before = engine.rnic.counters.get('rcvd_pkts');
  const shape = { opcode: Opcode.UD_SEND_ONLY, destQp: 0xff_ffff, to: GROUP };
  t.ok(moved(engine, shape).includes('drop_qp_state'));
  t.equal(engine.rnic.counters.get('rcvd_pkts') - before, 2);
  t.equal(engine.refusal({ op: 'destroyQp', qp: second.handle }).errno, Errno.EBUSY);
  for (const qp of [early, ud, second]) engine.execute({ op: 'detachMcast', qp: qp.handle, gid });
  t.equal(engine.refusal({ op: 'detachMcast', qp: second.handle, gid }).argument, 'gid');
  engine.execute({ op: 'destroyQp', qp: second.handle });
  t.strictSame(moved(engine, shape), ['drop_no_group']);
  t.equal(engine.rnic.groups.size, 0);
});

t.test('multicast: groups and members have limits', async (t) => {
  const engine = new TestEngine({ limits: { multicastGroups: 2, multicastMembers: 1 } });
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const [a, b] = [engine.createQp(QpType.UD, pd, cq), engine.createQp(QpType.UD, pd, cq)];
  const group = (n: number) => Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xff : i === 14 ? n : 0));
  engine.execute({ op: 'attachMcast', qp: a.handle, gid: group(1) });
  t.equal(engine.refusal({ op: 'attachMcast', qp: b.handle, gid: group(1) }).errno, Errno.ENOMEM);
  engine.execute({ op: 'attachMcast', qp: b.handle, gid: group(2) });
  t.equal(engine.refusal({ op: 'attachMcast', qp: b.handle, gid: group(3) }).errno, Errno.ENOMEM);
});

t.test('ingress: any octets of any length, with a good ICRC or not, throw nothing', async (t) => {
  const { engine, rc, uc, ud } = opened();
  const property = fc.property(
    fc.record({
      opcode: fc.integer({ min: 0, max: 255 }),
      destQp: fc.constantFrom(rc.qpn, uc.qpn, ud.qpn, 1, 0xff_ffff),
      psn: fc.integer({ min: 0, max: 12 }),
      payload: fc.integer({ min: 0, max: 70 }),
      cut: fc.constantFrom(0, 0, 0, 1, 7, 30),
    }),
    fc.array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
    (shape, changes) => {
      const before = (view: DataView) => {
        for (const [at, octet] of changes) {
          if (BTH_AT + at < view.byteLength && (at < 4 || at > 7)) view.setUint8(BTH_AT + at, octet);
        }
      };
      const packet = packetOf({ ...shape, before });
      packet.end = Math.max(BTH_AT, packet.end);
      engine.rnic.handlePacket(packet, engine.now);
      engine.turn(10);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 5000 }));
});
