/** Drills: what a packet must be before any QP looks at it, and what every packet of ours is. SPEC-CHECKLIST §2.1. */
import { BTH_AT, type Drill, drill, IP_AT, PEER, REMOTE } from './language/drill.ts';
import { ack, type Packet } from './language/packet.ts';

const WRITE: Packet = { opcode: 'RDMA_WRITE_ONLY', psn: 0, va: REMOTE, payload: 'octets', ackReq: true };

/** IBA Vol. 1, table of opcodes, annexes A14 (XRC), A17 (CNP) and A19 (FLUSH, ATOMIC_WRITE). */
const KNOWN = new Set([
  ...Array.from({ length: 0x15 }, (_, i) => i),
  ...[0x16, 0x17, 0x1c, 0x1d, 0x64, 0x65, 0x81],
  ...Array.from({ length: 0x0c }, (_, i) => 0x20 + i),
  ...Array.from({ length: 0x15 }, (_, i) => 0xa0 + i),
  ...[0xb6, 0xb7, 0xbc, 0xbd],
]);

/** The packet is dropped, counted under this name, and is nothing to anybody. */
function dropped(d: Drill, packet: Packet, counter: Parameters<Drill['expect']['counter']>[0]): void {
  d.inject(packet);
  d.expect.nothing();
  d.expect.counter(counter, 1);
  d.expect.counter('rcvd_pkts', 0);
  d.expect.that(d.memory.isUntouched, true, 'memory');
}

for (let version = 1; version < 16; version++) {
  drill(`R-001: BTH version ${version} is dropped in silence`, (d) => {
    d.qp('rc');
    dropped(d, { ...WRITE, version }, 'drop_version');
    d.inject(WRITE);
    d.expect.packet(ack(0));
  });
}

drill('R-002: every opcode nobody defined is dropped, however long its packet is', (d) => {
  d.qp('rc');
  let unknown = 0;
  for (let opcode = 0; opcode < 256; opcode++) {
    if (KNOWN.has(opcode)) continue;
    unknown++;
    for (const cutTo of [0, 1, 15, 16, 28, 63]) d.inject({ opcode, psn: 0, payload: 64, cutTo });
  }
  d.expect.nothing();
  d.expect.counter('drop_opcode', unknown * 6);
  d.expect.state('RTS');
});

for (const [packet, headerBytes] of [
  [{ opcode: 'SEND_ONLY' }, 0],
  [{ opcode: 'SEND_ONLY_WITH_IMMEDIATE' }, 4],
  [{ opcode: 'SEND_ONLY_WITH_INVALIDATE' }, 4],
  [{ opcode: 'RDMA_WRITE_ONLY' }, 16],
  [{ opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE' }, 20],
  [{ opcode: 'RDMA_READ_REQUEST', length: 8 }, 16],
  [{ opcode: 'FETCH_ADD' }, 28],
  [{ opcode: 'COMPARE_SWAP' }, 28],
  [{ opcode: 'ACKNOWLEDGE' }, 4],
  [{ opcode: 'ATOMIC_ACKNOWLEDGE' }, 12],
  [{ opcode: 'FLUSH', length: 8 }, 20],
] as const) {
  drill(`R-003: a ${packet.opcode} cut off anywhere before its ICRC is dropped`, (d) => {
    d.qp('rc');
    for (let cutTo = -12; cutTo < headerBytes; cutTo++) d.inject({ psn: 0, ...packet, cutTo });
    d.expect.nothing();
    d.expect.counter('drop_short', headerBytes + 12);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

drill('R-003: a packet with more pad than payload is dropped', (d) => {
  d.qp('rc');
  dropped(d, { opcode: 'SEND_ONLY', psn: 0, pad: 3, cutTo: 2, payload: 4 }, 'drop_short');
});

drill(
  'R-005: payloads are padded to four octets, with zeroes, and the pad is counted',
  ({ qp, post, expect, memory }) => {
    qp('rc', { maxRdAtomic: 16 });
    for (const length of [1, 2, 3, 4, 5, 255, 256]) {
      post.send({ length });
      expect.packet({ opcode: 'SEND_ONLY', pad: -length & 3, padOctet: 0, payload: memory.octets(0x1_0000, length) });
    }
  },
);

drill('R-005: what stands in the pad is nothing to the receiver', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ ...WRITE, payload: 'abcde', padOctet: 0xff });
  expect.packet(ack(0));
  expect.memory(REMOTE, 'abcde');
  expect.untouched(REMOTE + 5, 3);
});

const MASKED_IPV4 = [IP_AT + 1, IP_AT + 8, IP_AT + 10, IP_AT + 11, BTH_AT - 2, BTH_AT - 1, BTH_AT + 4];
const MASKED_IPV6 = [IP_AT + 1, IP_AT + 2, IP_AT + 3, IP_AT + 7, BTH_AT + 18, BTH_AT + 19, BTH_AT + 24];

/** Of every octet from the IP header to the ICRC three bits are turned, one after the other: the packet is taken where the octet is masked, and nowhere else. */
function turnBits(
  d: Drill,
  masked: readonly number[],
  octets: number,
  isMaskedBit: (at: number, bit: number) => boolean,
): void {
  d.qp('rc');
  let accepted = 0;
  for (let at = IP_AT; at < octets; at++) {
    for (const bit of [0, 3, 7]) {
      const spoil = (frame: DataView): void => frame.setUint8(at, frame.getUint8(at) ^ (1 << bit));
      d.inject({ ...WRITE, spoil });
      if (masked.includes(at) || isMaskedBit(at, bit)) accepted++;
      d.expect.that(d.engine.rnic.counters.get('rcvd_pkts'), accepted, `octet ${at}, bit ${bit}`);
    }
  }
  d.sent();
}
const OCTETS_BEHIND_UDP = 12 + 16 + 8 + 4;

drill('R-007: of an IPv4 packet exactly TOS, TTL, both checksums and BTH octet 4 may change on the way', (d) => {
  turnBits(d, MASKED_IPV4, BTH_AT + OCTETS_BEHIND_UDP, () => false);
});

drill(
  'R-008: of an IPv6 packet exactly class, label, hop limit, UDP checksum and BTH octet 4 may change on the way',
  { isIpv6: true },
  (d) => {
    // The version shares its octet with half of the traffic class.
    turnBits(d, MASKED_IPV6, BTH_AT + 20 + OCTETS_BEHIND_UDP, (at, bit) => at === IP_AT && bit < 4);
  },
);

/** scapy's UC SEND ONLY example, from its IP header on, with the ICRC that scapy computes. */
const SCAPY =
  '45010040047840004011b4d5c0a80007c0a80007c00012b7002caca22460ffff000000d300cf1710' +
  '4630818be28935d90e9a95505401be885e50000078f353f3';
const SCAPY_ADDRESS = 0xc0a8_0007;

drill(
  'R-006: a packet whose ICRC another implementation computed is taken',
  { ours: SCAPY_ADDRESS, theirs: SCAPY_ADDRESS, qpnBase: 0xd3, qpnCount: 1 },
  ({ qp, post, injectFrame, expect }) => {
    const { qpn } = qp('uc', { rqPsn: 0xcf_1710 });
    expect.that(qpn, 0xd3, 'QPN');
    post.recv();
    const frame = Buffer.concat([Buffer.alloc(12), Buffer.from('0800', 'hex'), Buffer.from(SCAPY, 'hex')]);
    injectFrame(frame);
    expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 18 });
    expect.memory(REMOTE, Uint8Array.from(Buffer.from(SCAPY.slice(80, 116), 'hex')));
  },
);

for (const [what, counter, at, value] of [
  ['IPv4 total length says less', 'drop_length', IP_AT + 2, 60],
  ['UDP length says less', 'drop_length', IP_AT + 24, 40],
  ['UDP length says more than there is', 'drop_length', IP_AT + 24, 400],
  ['is the first fragment', 'drop_fragment', IP_AT + 6, 0x2000],
  ['is a later fragment', 'drop_fragment', IP_AT + 6, 0x0010],
] as const) {
  const rule = counter === 'drop_length' ? 'lengths' : 'fragment';
  if (rule === 'lengths') {
    drill(`R-004: a packet whose ${what} is dropped`, (d) => {
      d.qp('rc');
      dropped(d, { ...WRITE, spoil: (frame) => frame.setUint16(at, value) }, counter);
    });
  } else {
    drill(`R-017: a packet that ${what} is dropped`, (d) => {
      d.qp('rc');
      dropped(d, { ...WRITE, spoil: (frame) => frame.setUint16(at, value) }, counter);
    });
  }
}

drill('R-004: octets behind the packet are padding of the link, not payload', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ ...WRITE, trailer: 14 });
  expect.packet(ack(0));
  expect.memory(REMOTE, 'octets');
  expect.untouched(REMOTE + 6, 20);
});

drill('R-017: a packet with IPv4 options is dropped', (d) => {
  d.qp('rc');
  dropped(d, { ...WRITE, spoil: (frame) => frame.setUint8(IP_AT, 0x46) }, 'drop_fragment');
});

drill('R-014: RoCE is what comes to UDP port 4791, whatever its checksum', (d) => {
  d.qp('rc');
  d.inject({ ...WRITE, spoil: (frame) => frame.setUint16(BTH_AT - 6, 4792) });
  d.expect.nothing();
  d.expect.counter('rcvd_pkts', 0);
  d.inject({ ...WRITE, spoil: (frame) => frame.setUint16(BTH_AT - 2, 0x1234) });
  d.expect.packet(ack(0));
});

drill('R-009: the ICRC stands with its least significant octet first', (d) => {
  d.qp('rc');
  const turn = (frame: DataView): void =>
    frame.setUint32(frame.byteLength - 4, frame.getUint32(frame.byteLength - 4, true));
  dropped(d, { ...WRITE, spoil: turn }, 'rx_icrc_encapsulated');
});

drill('R-010: a wrong ICRC is counted, and earns no NAK', (d) => {
  d.qp('rc');
  dropped(d, { ...WRITE, psn: 5, badIcrc: true }, 'rx_icrc_encapsulated');
  d.expect.counter('out_of_sequence', 0);
});

for (const [what, more] of [
  ['its P_Key', { pKey: 1 }],
  ['its QP', { dest: 0x99_9999 }],
  ['its transport', { opcode: 'UC_RDMA_WRITE_ONLY' }],
  ['its sender', { from: 0x0a00_0099 }],
] as const) {
  drill(`R-011: the ICRC is judged before ${what}`, (d) => {
    d.qp('rc');
    dropped(d, { ...WRITE, ...more, badIcrc: true }, 'rx_icrc_encapsulated');
  });
}

drill('R-015: any UDP source port is taken, even 0', ({ qp, inject, expect }) => {
  qp('rc');
  for (const [psn, sourcePort] of [0, 1, 0xbfff, 0xffff].entries()) {
    inject({ ...WRITE, psn, sourcePort });
    expect.packet(ack(psn));
  }
});

drill('R-016: all packets of a QP leave with one UDP source port', ({ qp, post, inject, sent, expect }) => {
  qp('rc');
  post.write({ length: 2000 });
  post.read();
  inject(WRITE);
  expect.that(new Set(sent().map(({ sourcePort }) => sourcePort)).size, 1, 'source ports');
});

drill('R-019: MigReq is sent set, and means nothing when it comes', ({ qp, post, inject, expect }) => {
  qp('rc');
  inject({ ...WRITE, migReq: false }, { ...WRITE, psn: 1, migReq: true });
  expect.packet(ack(1, { migReq: true }));
  post.write();
  post.read();
  expect.packet({ opcode: 'RDMA_WRITE_ONLY', migReq: true }, { opcode: 'RDMA_READ_REQUEST', migReq: true });
});

drill('R-020: reserved bits are sent as zero and mean nothing when they come', ({ qp, post, inject, expect }) => {
  qp('rc');
  inject({ ...WRITE, fecn: true, becn: true, reserved6: 0x3f, reserved7: 0x7f });
  const zero = { fecn: false, becn: false, reserved6: 0, reserved7: 0, version: 0 };
  expect.packet(ack(0, zero));
  post.write();
  expect.packet({ opcode: 'RDMA_WRITE_ONLY', ...zero });
});

for (const pKey of [0xffff, 0x7fff]) {
  drill(`R-021: P_Key 0x${pKey.toString(16)} is of our partition`, ({ qp, inject, expect }) => {
    qp('rc');
    inject({ ...WRITE, pKey });
    expect.packet(ack(0, { pKey: 0xffff }));
  });
}

for (const pKey of [0x0000, 0x0001, 0x8001, 0xfffe]) {
  drill(`R-021: P_Key 0x${pKey.toString(16)} is dropped in silence`, (d) => {
    d.qp('rc');
    dropped(d, { ...WRITE, pKey }, 'drop_pkey');
  });
}

for (const [dest, counter] of [
  [0, 'drop_no_qp'],
  [2, 'drop_no_qp'],
  [1, 'drop_opcode_class'],
  [0xff_ffff, 'drop_opcode_class'],
] as const) {
  drill(`R-022: an RC packet to QP ${dest} is dropped`, (d) => {
    d.qp('rc');
    dropped(d, { ...WRITE, dest }, counter);
  });
}

drill('R-022: QP 0xFFFFFF needs a group: without a member the datagram is dropped', (d) => {
  d.qp('ud');
  dropped(d, { opcode: 'SEND_ONLY', dest: 0xff_ffff, to: 0xe000_0005, payload: 8 }, 'drop_no_group');
});

const SENDS = { rc: 'RC_SEND_ONLY', uc: 'UC_SEND_ONLY', ud: 'UD_SEND_ONLY' } as const;
for (const type of ['rc', 'uc', 'ud'] as const) {
  for (const other of ['rc', 'uc', 'ud'] as const) {
    const verdict = type === other ? 'takes' : 'drops';
    drill(`R-023: a QP of ${type} ${verdict} a SEND of ${other}`, ({ qp, post, inject, expect }) => {
      qp(type);
      post.recv();
      inject({ opcode: SENDS[other], psn: 0, payload: 8 });
      if (type === other) expect.completion({ wrId: 1, status: 'SUCCESS' });
      else expect.counter('drop_opcode_class', 1);
    });
  }
}

for (const type of ['rc', 'uc'] as const) {
  for (const elsewhere of [{ from: 0x0a00_0003 }, { to: 0x0a00_0004 }]) {
    const which = 'from' in elsewhere ? 'from another host' : 'to another address of ours';
    drill(`R-024: ${type} drops what comes ${which}`, (d) => {
      d.qp(type);
      d.post.recv();
      dropped(d, { opcode: 'SEND_ONLY', psn: 0, payload: 8, ...elsewhere }, 'drop_address');
    });
  }
}

drill('R-025: UD takes datagrams from any host', ({ qp, post, inject, expect }) => {
  qp('ud');
  post.recv();
  inject({ opcode: 'SEND_ONLY', from: 0x0b00_0009, payload: 8 });
  expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 48 });
});

for (const state of ['RESET', 'INIT', 'RTR', 'RTS', 'SQD', 'ERR'] as const) {
  const takesRequests = ['RTR', 'RTS', 'SQD'].includes(state);
  drill(`R-026: in ${state} requests are ${takesRequests ? 'taken' : 'dropped'}`, ({ qp, inject, expect }) => {
    qp('rc', { state });
    inject(WRITE);
    if (state === 'RTR') expect.event('COMM_EST');
    if (takesRequests) expect.packet(ack(0));
    else expect.counter('drop_qp_state', 1);
  });
  if (state === 'RTS' || state === 'SQD') continue;
  drill(`R-026: in ${state} responses are dropped`, ({ qp, inject, expect }) => {
    qp('rc', { state });
    inject(ack(0));
    expect.counter('drop_qp_state', 1);
  });
}

drill('R-026: in SQE a UC QP still receives', ({ qp, post, inject, expect }) => {
  qp('uc');
  post.send({ lKey: 1 });
  expect.completion({ status: 'LOC_PROT_ERR' });
  expect.state('SQE');
  post.recv();
  inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
  expect.completion({ status: 'SUCCESS', opcode: 'RECV' });
});

drill('R-027: the first good packet in RTR says that the connection stands, once', ({ qp, inject, expect }) => {
  qp('rc', { state: 'RTR' });
  inject({ ...WRITE, badIcrc: true });
  expect.nothing();
  inject(WRITE, { ...WRITE, psn: 1 });
  expect.event('COMM_EST');
  expect.packet(ack(1));
});

drill('R-028: a congestion notification changes no PSN and earns no answer', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.write();
  expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn: 0 });
  inject({ opcode: 'CNP', becn: true, psn: 0 });
  expect.nothing();
  expect.counter('rp_cnp_handled', 1);
  inject(WRITE, ack(0));
  expect.packet(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS' });
});

const MARKED = { trafficClass: 3 };
drill('R-028: ours goes to the QP that sent the marked packet, with BECN and PSN 0', ({ qp, inject, expect }) => {
  qp('rc', { rqPsn: 77 });
  inject({ ...WRITE, psn: 77, ...MARKED });
  expect.packet({ opcode: 'CNP', psn: 0, becn: true, dest: PEER }, ack(77));
  expect.counter('np_ecn_marked_roce_packets', 1);
});

drill('R-029: one notification in 50 µs, however many packets are marked', ({ qp, inject, expect, advance, sent }) => {
  qp('rc');
  const notified = (): number => sent().filter(({ opcode }) => opcode === 'CNP').length;
  inject(...Array.from({ length: 10 }, (_, psn) => ({ ...WRITE, psn, ...MARKED })));
  expect.that(notified(), 1, 'notifications');
  advance('49us');
  inject({ ...WRITE, psn: 10, ...MARKED });
  expect.that(notified(), 0, 'notifications');
  advance('2us');
  inject({ ...WRITE, psn: 11, ...MARKED });
  expect.that(notified(), 1, 'notifications');
  expect.counter('np_cnp_sent', 2);
});

drill('R-029: marked acknowledgements and notifications are not answered by one', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.write();
  expect.packet({ opcode: 'RDMA_WRITE_ONLY' });
  inject(ack(0, MARKED), { opcode: 'CNP', becn: true, ...MARKED });
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  expect.counter('np_cnp_sent', 0);
});

drill(
  'R-012: a right ICRC proves nothing: a stranger’s packet is dropped for its address',
  ({ qp, inject, advance, expect }) => {
    qp('rc');
    inject({ ...WRITE, from: 0x0a00_0066 });
    advance('60s');
    expect.counter('drop_address', 1);
    expect.counter('rx_icrc_encapsulated', 0);
  },
);

drill('R-027: so it is on UC, once', ({ qp, inject, expect }) => {
  qp('uc', { state: 'RTR' });
  inject({ ...WRITE, ackReq: false });
  expect.event('COMM_EST');
  inject({ ...WRITE, psn: 1, ackReq: false });
});
