/** What is dropped before any QP acts: each reason has its counter, and a dropped packet does nothing else. SPEC-CHECKLIST R-001 … R-026. */
import t, { type Test } from 'tap';
import { QpAttr, QpState, QpType } from '../../rnic/constants.ts';
import type { CounterName } from '../../rnic/counters.ts';
import { Framing } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import { crc32 } from '../../wire/crc32.ts';
import * as Deth from '../../wire/deth.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { OpCode, PKey, Psn, QKey, Qpn } from '../../wire/types.ts';
import { pathBetween } from '../support/paths.ts';
import { SimHost, type SimQp } from '../support/sim/host.ts';
import { ADDRESS_A, ADDRESS_B, CONNECTION } from '../support/sim/pair.ts';
import { Random } from '../support/sim/random.ts';

const Q_KEY = 0x1111;
const GSI_Q_KEY = 0x8001_0000;
const PEER_QPN = 77;
const GROUP = 0xe000_0001;

interface Bed {
  readonly host: SimHost;
  readonly rc: SimQp;
  readonly uc: SimQp;
  readonly ud: SimQp;
}

/** A host with an RC, a UC and a UD QP, all in RTS with a receive buffer each. */
function bed(isIpv6: boolean): Bed {
  const options = {
    address: ADDRESS_A,
    isIpv6,
    framing: Framing.SINGLE,
    memoryBytes: 65_536,
    mtu: 4500,
    strictTimers: false,
    reorderWindow: 0,
    burstFrames: 64,
  };
  const host = new SimHost(options, new Random(1));
  const [rc, uc, ud] = [QpType.RC, QpType.UC, QpType.UD].map((type) => host.createQp(type, 7, false)) as [
    SimQp,
    SimQp,
    SimQp,
  ];
  host.connect(rc, QpType.RC, ADDRESS_B, PEER_QPN, 0, CONNECTION);
  host.connect(uc, QpType.UC, ADDRESS_B, PEER_QPN, 0, CONNECTION);
  host.open(ud, Q_KEY, 0);
  for (const qp of [rc, uc, ud]) host.postReceive(qp, 1, [host.sge(0, 256)]);
  return { host, rc, uc, ud };
}

interface Packet {
  readonly opcode?: OpCode;
  readonly qpn: number;
  readonly from?: number;
  readonly to?: number;
  readonly qKey?: number;
  readonly pKey?: number;
  /** Octet 1 of the BTH: flags, pad count, version. */
  readonly bits?: number;
  readonly payload?: number;
  /** Octet after the BTH at which the packet is cut off, before its ICRC. */
  readonly cutTo?: number;
  readonly spoiled?: boolean;
}

/** A whole frame, as it comes from the wire. */
function frameOf(packet: Packet, isIpv6: boolean): Uint8Array<ArrayBuffer> {
  const { opcode = Opcode.RC_SEND_ONLY, qpn, from = ADDRESS_B, to = ADDRESS_A, pKey = 0xffff } = packet;
  const { template, udpAt, ipAt } = pathBetween(from, to, { isIpv6 });
  const bthAt = template.length;
  const headerBytes = packet.cutTo ?? Math.max(Opcode.headerBytes(opcode), Bth.BYTES) + (packet.payload ?? 8);
  const end = bthAt + headerBytes + Icrc.BYTES;
  // Room for a BTH and a DETH, however short the packet is said to be.
  const bytes = new Uint8Array(Math.max(end, bthAt + 64));
  const view = new DataView(bytes.buffer);
  bytes.set(template);
  const udpBytes = end - udpAt;
  view.setUint16(udpAt + 4, udpBytes);
  view.setUint16(isIpv6 ? ipAt + 4 : ipAt + 2, isIpv6 ? udpBytes : udpBytes + 20);
  Bth.write(view, bthAt, opcode, packet.bits ?? 0, pKey as PKey, qpn as Qpn, false, 0 as Psn);
  if (packet.qKey !== undefined) Deth.write(view, bthAt + Bth.BYTES, packet.qKey as QKey, PEER_QPN as Qpn);
  const icrcAt = end - Icrc.BYTES;
  if (icrcAt >= bthAt + Bth.BYTES) {
    const header = Icrc.headerCrc(view, ipAt, isIpv6, udpAt, bthAt, 0, udpBytes + (isIpv6 ? 0 : 20), udpBytes);
    Icrc.write(view, icrcAt, crc32(bytes, bthAt + Bth.BYTES, icrcAt, header) ^ (packet.spoiled ? 1 : 0));
  }
  return bytes.slice(0, end);
}

/** All that a packet could change: counters, CQEs, receive queues, states, events, memory, and what leaves. */
function everything({ host, rc, uc, ud }: Bed) {
  const sent: string[] = [];
  host.turn(0, (frame) => sent.push(Buffer.from(frame).toString('hex')));
  return {
    counters: host.rnic.counters.toObject(),
    queues: [rc, uc, ud].map(({ sendCq, recvCq, rq }) => [sendCq.count(), recvCq.count(), rq.count()]),
    resources: host.rnic.resources(),
    events: [...host.events],
    memory: Buffer.from(host.bytes.subarray(0, 1024)).toString('hex'),
    sent,
  };
}

function judge(t: Test, bed: Bed, packet: Packet, counter: CounterName): void {
  const before = everything(bed);
  bed.host.receive(frameOf(packet, bed.host.options.isIpv6), 0);
  const after = everything(bed);
  before.counters[counter]++;
  t.same(after, before);
}

interface Case {
  readonly name: string;
  readonly counter: CounterName;
  readonly packet: (bed: Bed) => Packet;
}

const { RC_SEND_ONLY, UC_SEND_ONLY, UD_SEND_ONLY, RC_ACKNOWLEDGE } = Opcode;
const UNKNOWN = 0x1f as OpCode;
const CASES: readonly Case[] = [
  { name: 'shorter than a BTH and an ICRC', counter: 'drop_short', packet: ({ rc }) => ({ qpn: rc.qpNum, cutTo: 11 }) },
  {
    name: 'shorter than the headers of its opcode',
    counter: 'drop_short',
    packet: ({ rc }) => ({ opcode: Opcode.RC_RDMA_WRITE_ONLY, qpn: rc.qpNum, cutTo: 27 }),
  },
  {
    name: 'with more pad than there is payload',
    counter: 'drop_short',
    packet: ({ rc }) => ({ qpn: rc.qpNum, payload: 2, bits: Bth.padBits(3) }),
  },
  { name: 'of BTH version 1', counter: 'drop_version', packet: ({ rc }) => ({ qpn: rc.qpNum, bits: 1 }) },
  { name: 'of an unknown opcode', counter: 'drop_opcode', packet: ({ rc }) => ({ opcode: UNKNOWN, qpn: rc.qpNum }) },
  {
    name: 'with a wrong ICRC',
    counter: 'rx_icrc_encapsulated',
    packet: ({ rc }) => ({ qpn: rc.qpNum, spoiled: true }),
  },
  {
    name: 'with a wrong ICRC (R-011: before its P_Key is looked at)',
    counter: 'rx_icrc_encapsulated',
    packet: ({ rc }) => ({ qpn: rc.qpNum, pKey: 1, spoiled: true }),
  },
  {
    name: 'with a wrong ICRC (R-011: before its QP is looked for)',
    counter: 'rx_icrc_encapsulated',
    packet: () => ({ qpn: 5, spoiled: true }),
  },
  { name: 'of another partition', counter: 'drop_pkey', packet: ({ rc }) => ({ qpn: rc.qpNum, pKey: 0xfffe }) },
  { name: 'to no QP', counter: 'drop_no_qp', packet: () => ({ qpn: 5 }) },
  { name: 'to QP 0', counter: 'drop_no_qp', packet: () => ({ opcode: UD_SEND_ONLY, qpn: 0, qKey: 0 }) },
  { name: 'with congestion to no QP', counter: 'rp_cnp_ignored', packet: () => ({ opcode: Opcode.ROCE_CNP, qpn: 5 }) },
  { name: 'of UC to RC', counter: 'drop_opcode_class', packet: ({ rc }) => ({ opcode: UC_SEND_ONLY, qpn: rc.qpNum }) },
  { name: 'of RC to UC', counter: 'drop_opcode_class', packet: ({ uc }) => ({ opcode: RC_SEND_ONLY, qpn: uc.qpNum }) },
  { name: 'of RC to UD', counter: 'drop_opcode_class', packet: ({ ud }) => ({ opcode: RC_SEND_ONLY, qpn: ud.qpNum }) },
  { name: 'of RC to QP 1', counter: 'drop_opcode_class', packet: () => ({ qpn: 1 }) },
  { name: 'of RC to a group', counter: 'drop_opcode_class', packet: () => ({ qpn: 0xff_ffff, to: GROUP }) },
  { name: 'from elsewhere', counter: 'drop_address', packet: ({ rc }) => ({ qpn: rc.qpNum, from: ADDRESS_B + 1 }) },
  { name: 'to another of our addresses', counter: 'drop_address', packet: ({ rc }) => ({ qpn: rc.qpNum, to: 1 }) },
  {
    name: 'of UC from elsewhere',
    counter: 'drop_address',
    packet: ({ uc }) => ({ opcode: UC_SEND_ONLY, qpn: uc.qpNum, from: ADDRESS_B + 1 }),
  },
  {
    name: 'with a wrong Q_Key',
    counter: 'drop_qkey',
    packet: ({ ud }) => ({ opcode: UD_SEND_ONLY, qpn: ud.qpNum, qKey: Q_KEY + 1 }),
  },
  {
    name: 'to QP 1 with another Q_Key than its own',
    counter: 'drop_qkey',
    packet: () => ({ opcode: UD_SEND_ONLY, qpn: 1, qKey: Q_KEY }),
  },
  {
    name: 'to QP 1 while nobody manages connections',
    counter: 'drop_no_qp',
    packet: () => ({ opcode: UD_SEND_ONLY, qpn: 1, qKey: GSI_Q_KEY }),
  },
  {
    name: 'to a group without members',
    counter: 'drop_no_group',
    packet: () => ({ opcode: UD_SEND_ONLY, qpn: 0xff_ffff, qKey: Q_KEY, to: GROUP }),
  },
];

for (const isIpv6 of [false, true]) {
  for (const { name, counter, packet } of CASES) {
    t.test(`a packet ${name} is ${counter} and nothing else, IPv${isIpv6 ? 6 : 4}`, (t) => {
      const hosts = bed(isIpv6);
      judge(t, hosts, packet(hosts), counter);
      t.end();
    });
  }

  t.test(`a packet without fault is taken: those above fail for their fault alone, IPv${isIpv6 ? 6 : 4}`, (t) => {
    const hosts = bed(isIpv6);
    const { host, rc, uc, ud } = hosts;
    const opcodes = [RC_SEND_ONLY, UC_SEND_ONLY, UD_SEND_ONLY];
    // a limited member may talk to a full one.
    const pKeys = [0xffff, 0x7fff, 0xffff];
    for (const [i, qp] of [rc, uc, ud].entries()) {
      const udOnly = qp === ud ? { qKey: Q_KEY } : {};
      const packet = { opcode: opcodes[i]!, qpn: qp.qpNum, pKey: pKeys[i]!, ...udOnly };
      host.receive(frameOf(packet, isIpv6), 0);
      t.equal(qp.recvCq.count(), 1);
    }
    t.equal(host.rnic.counters.get('rcvd_pkts'), 3);
    t.end();
  });
}

/** Takes a QP back, and forward to `state`. */
function bringTo(host: SimHost, qp: SimQp, state: QpState): void {
  host.modify(qp, QpAttr.STATE, { qpState: QpState.RESET });
  if (state === QpState.RESET) return;
  if (state === QpState.ERR) {
    host.connect(qp, QpType.RC, ADDRESS_B, PEER_QPN, 0, CONNECTION);
    host.modify(qp, QpAttr.STATE, { qpState: QpState.ERR });
  } else {
    const { STATE, PKEY_INDEX, PORT, ACCESS_FLAGS } = QpAttr;
    const attributes = { qpState: QpState.INIT, pKeyIndex: 0, portNum: 1, qpAccessFlags: 0 };
    host.modify(qp, STATE | PKEY_INDEX | PORT | ACCESS_FLAGS, attributes);
  }
}

for (const [name, state] of [
  ['RESET', QpState.RESET],
  ['INIT', QpState.INIT],
  ['ERR', QpState.ERR],
] as const) {
  t.test(`R-026: a QP in ${name} takes neither requests nor acknowledgements`, (t) => {
    const hosts = bed(false);
    bringTo(hosts.host, hosts.rc, state);
    const qpn = hosts.rc.qpNum;
    judge(t, hosts, { qpn }, 'drop_qp_state');
    judge(t, hosts, { qpn, opcode: RC_ACKNOWLEDGE, payload: 0 }, 'drop_qp_state');
    t.end();
  });
}

t.test('R-026: a QP in RTR takes no acknowledgement', (t) => {
  const hosts = bed(false);
  const { host, rc } = hosts;
  bringTo(host, rc, QpState.INIT);
  const { STATE, AV, PATH_MTU, DEST_QPN, RQ_PSN, MAX_DEST_RD_ATOMIC, MIN_RNR_TIMER } = QpAttr;
  const av = { dgid: new Uint8Array(16), sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
  host.execute({
    op: 'modifyQp',
    qp: rc.handle,
    mask: STATE | AV | PATH_MTU | DEST_QPN | RQ_PSN | MAX_DEST_RD_ATOMIC | MIN_RNR_TIMER,
    attributes: { ...CONNECTION, qpState: QpState.RTR, av, destQpNum: PEER_QPN, rqPsn: 0 },
    path: host.pathTo(ADDRESS_B),
  });
  judge(t, hosts, { qpn: rc.qpNum, opcode: RC_ACKNOWLEDGE, payload: 0 }, 'drop_qp_state');
  t.end();
});

t.test('R-155: a QP number rests after its QP, then names no QP', (t) => {
  const hosts = bed(false);
  const { host, uc } = hosts;
  host.execute({ op: 'destroyQp', qp: uc.handle });
  judge(t, hosts, { qpn: uc.qpNum, opcode: UC_SEND_ONLY }, 'drop_quarantined_qp');
  t.end();
});

t.test('a group member refuses on its own: the other has the datagram', (t) => {
  const { host, ud } = bed(false);
  const gid = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xe0, 0, 0, 1]);
  const stranger = host.createQp(QpType.UD, 7, false);
  host.open(stranger, Q_KEY + 1, 0);
  for (const qp of [stranger, ud]) host.execute({ op: 'attachMcast', qp: qp.handle, gid });
  const packet = { opcode: UD_SEND_ONLY, qpn: 0xff_ffff, qKey: Q_KEY, to: GROUP };
  host.receive(frameOf(packet, false), 0);
  t.equal(host.rnic.counters.get('drop_qkey'), 1);
  t.equal(host.rnic.counters.get('rcvd_pkts'), 1);
  t.equal(ud.recvCq.count(), 1);
  t.equal(stranger.recvCq.count(), 0);
  t.end();
});
