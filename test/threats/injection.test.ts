/** Threats of who can send packets to a QP but is not its peer, or is its peer and means ill: SPEC-CHECKLIST §4.1 and §4.3. */
import { TransmitBurst } from '../../rnic/burst.ts';
import { PacketWriter } from '../../rnic/packet-writer.ts';
import { type Drill, type DrillQp, drill, PEER_KEY, REMOTE } from '../drills/language/drill.ts';
import { ack, frameOf, nak, type Packet, received } from '../drills/language/packet.ts';
import { AV, OURS, THEIRS } from '../support/engine.ts';

const WRITE: Packet = { opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 'good', ackReq: true };
const STRANGER = 0x0a00_0009;
const BUDGET = 16;
/** RDMA READ response. */
const RESPONSE_FIRST = 0x0d;
const RESPONSE_MIDDLE = 0x0e;

drill(
  `T-06: over UC, where wrong keys are silent, ${BUDGET} of them end the QP`,
  { limits: { violations: BUDGET } },
  (d) => {
    d.qp('uc');
    for (let psn = 0; psn < BUDGET - 1; psn++) d.inject({ ...WRITE, psn, rKey: 0x1000 + psn });
    d.expect.nothing();
    d.expect.state('RTS');
    d.expect.counter('drop_access', BUDGET - 1);
    d.inject({ ...WRITE, psn: BUDGET - 1, rKey: 0x2000 });
    d.expect.event('QP_ACCESS_ERR');
    d.expect.counter('violations_exceeded', 1);
    d.expect.state('ERR');
    d.expect.untouched(REMOTE, 64);
  },
);

/** What the peer of `address` presents until it has no key more, or its QP has ended. How many it came to present. */
function guess(d: Drill, keys: number): number {
  for (let psn = 0; psn < keys; psn++) {
    d.inject({ ...WRITE, psn, rKey: PEER_KEY + psn });
    if (d.state() === 'ERR') return psn + 1;
  }
  return keys;
}

/** A UC QP of its own, or the last one made anew, to the peer whose address ends so. */
const UC_TO = (last: number) => ({ av: { ...AV, dgid: new Uint8Array(16).fill(last, 15) } });

drill(
  'T-06: over UC a guesser that connects anew, by the same QP or another one, has its peer’s budget left and then one guess for each connection',
  { limits: { violations: BUDGET, peerViolations: 4 * BUDGET } },
  (d) => {
    d.qp('uc', UC_TO(1));
    const again = [
      () => {
        d.modify('RESET');
        d.connect(UC_TO(1));
      },
      () => void d.qp('uc', UC_TO(1)),
    ];
    const guesses = Array.from({ length: 8 }, (_, i) => {
      if (i > 0) again[i % 2]!();
      return guess(d, 1000);
    });
    d.expect.that(guesses, [BUDGET, BUDGET, BUDGET, BUDGET, 1, 1, 1, 1], 'guesses of each connection');
    d.expect.that(d.events(), Array(8).fill('QP_ACCESS_ERR'), 'each was told of');
    d.expect.counter('violations_exceeded', 4);
    d.expect.counter('peer_violations_exceeded', 4);
    d.expect.untouched(REMOTE, 64);
  },
);

drill(
  'T-06: a peer that has presented too many wrong keys over UC goes on with right ones, is forgiven one a second, and harms no other peer',
  { limits: { violations: BUDGET, peerViolations: 8 } },
  (d) => {
    d.qp('uc', UC_TO(1));
    const bystander = d.qp('uc', UC_TO(1));
    const other = d.qp('uc', UC_TO(2));
    d.qp('uc', UC_TO(1));
    d.expect.that(guess(d, 1000), 9, 'it has eight, and the next one ends its QP');
    d.expect.event('QP_ACCESS_ERR');
    d.use(other);
    d.expect.that(guess(d, 8), 8, 'another peer has its own');
    d.expect.state('RTS');
    d.use(bystander);
    for (let psn = 0; psn < 100; psn++) d.inject({ ...WRITE, psn });
    d.expect.state('RTS');
    d.expect.memory(REMOTE, 'good');
    d.advance('3s');
    for (const [psn, state] of ['RTS', 'RTS', 'RTS', 'ERR'].entries()) {
      d.inject({ ...WRITE, psn: 100 + psn, rKey: PEER_KEY });
      d.expect.state(state as 'RTS' | 'ERR');
    }
    d.expect.event('QP_ACCESS_ERR');
    d.expect.counter('peer_violations_exceeded', 2);
  },
);

drill('T-06: over RC one wrong key is one NAK and the end of the QP: a guess for each connection', (d) => {
  d.qp('rc');
  d.inject({ ...WRITE, rKey: PEER_KEY });
  d.expect.packet(nak('REMOTE_ACCESS_ERROR', 0));
  d.expect.event('QP_ACCESS_ERR');
  d.expect.state('ERR');
  d.inject({ ...WRITE, rKey: d.memory.key });
  d.expect.nothing();
  d.expect.untouched(REMOTE, 64);
});

drill('T-07: from another host nothing is taken, whatever it gets right', (d) => {
  d.qp('rc');
  for (let psn = 0; psn < 64; psn++) d.inject({ ...WRITE, psn, from: STRANGER });
  d.expect.nothing();
  d.expect.counter('drop_address', 64);
  d.expect.untouched(REMOTE, 64);
  d.inject(WRITE);
  d.expect.packet(ack(0, { msn: 1 }));
});

drill(
  'T-07: packets with a wrong PSN change nothing that lasts: wrong keys and lengths do not end the QP',
  { reorderWindow: 0 },
  (d) => {
    d.qp('rc', { rqPsn: 1000 });
    const wrong: Packet[] = [{ rKey: 1 }, { length: 4_000_000 }, { opcode: 'RDMA_WRITE_MIDDLE' }].map((more) => ({
      ...WRITE,
      ...more,
    }));
    for (const psn of [0, 500, 999, 1001, 1500, 0x80_0000, 0xff_ffff]) {
      for (const packet of wrong) d.inject({ ...packet, psn });
    }
    d.sent(); // one NAK for the gap, and repeated acknowledgements
    d.expect.state('RTS');
    d.expect.untouched(REMOTE, 64);
    d.inject({ ...WRITE, psn: 1000 });
    d.expect.packet(ack(1000, { msn: 1 }));
    d.expect.memory(REMOTE, 'good');
  },
);

for (const psn of [9, 14, 0x80_0009, 0xff_ffff]) {
  drill(`T-08: a fatal NAK for PSN ${psn}, that is not outstanding, ends nothing`, (d) => {
    d.qp('rc', { sqPsn: 10 });
    for (let i = 0; i < 4; i++) d.post.write();
    d.expect.packet(...[10, 11, 12, 13].map((own) => ({ opcode: 'RDMA_WRITE_ONLY', psn: own })));
    for (const syndrome of ['INVALID_REQUEST', 'REMOTE_ACCESS_ERROR', 'REMOTE_OPERATIONAL_ERROR'] as const)
      d.inject(nak(syndrome, psn));
    d.expect.nothing();
    d.expect.state('RTS');
    d.inject(ack(13, { msn: 4 }));
    d.expect.completion(...[1, 2, 3, 4].map((wrId) => ({ wrId, status: 'SUCCESS' as const })));
  });
}

drill('T-08: an acknowledgement of what was never sent completes nothing', (d) => {
  d.qp('rc', { sqPsn: 10 });
  d.post.write();
  d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn: 10 });
  for (const psn of [9, 11, 12, 1000, 0x7f_ffff, 0xff_ffff]) d.inject(ack(psn, { msn: 1 }));
  d.expect.nothing();
  d.inject(ack(10, { msn: 1 }));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill('T-11: the GRH area of a datagram over IPv4 holds the IPv4 header, and nothing of ours before it', (d) => {
  d.qp('ud');
  d.post.recv({ length: 256 });
  const before = d.memory.octets(REMOTE, 20);
  d.inject({ opcode: 'SEND_ONLY', payload: 'hello' });
  d.expect.completion({ wrId: 1, status: 'SUCCESS', grh: true, byteLen: 45 });
  const octets = d.memory.octets(REMOTE, 20);
  d.expect.that(
    [...octets].every((octet, i) => octet === 0 || octet === before[i]),
    true,
    'zeros, or what the application had there',
  );
  d.expect.that(d.memory.octets(REMOTE + 20, 1)[0], 0x45, 'IPv4');
});

drill('T-11: a READ response is as long as was asked for, and its pad octets are zero', (d) => {
  d.qp('rc');
  for (const [psn, length] of [1, 2, 3, 5, 6, 7].entries()) {
    d.inject({ opcode: 'RDMA_READ_REQUEST', psn, length });
    d.expect.packet({
      opcode: 'RDMA_READ_RESPONSE_ONLY',
      psn,
      pad: -length & 3,
      payload: d.memory.octets(REMOTE, length),
    });
  }
});

drill('T-20: late packets for a QP that is gone find nobody, and no new QP gets its number soon', (d) => {
  const { handle, qpn } = d.qp('rc');
  d.execute({ op: 'destroyQp', qp: handle });
  for (let i = 0; i < 64; i++) {
    const next = d.qp('rc');
    d.expect.that(next.qpn === qpn, false, 'another number');
  }
  d.inject(
    { ...WRITE, dest: qpn },
    { opcode: 'ACKNOWLEDGE', dest: qpn, syndrome: 'ACK' },
    { opcode: 'SEND_ONLY', dest: qpn, payload: 8 },
  );
  d.expect.nothing();
  d.expect.counter('drop_quarantined_qp', 3);
  d.expect.untouched(REMOTE, 64);
});

const LIES: readonly (readonly [what: string, packet: Packet])[] = [
  ['a RETH that says less', { ...WRITE, payload: 8, length: 7 }],
  ['a RETH that says more', { ...WRITE, payload: 8, length: 9 }],
  ['a RETH that says nothing', { ...WRITE, payload: 8, length: 0 }],
  ['a RETH that says 2^32 - 1', { ...WRITE, payload: 8, length: 0xffff_ffff }],
  ['a pad count that is too large', { ...WRITE, payload: 8, pad: 3, cutTo: 16 + 2 }],
  ['more than the path MTU', { ...WRITE, payload: 260 }],
  ['a FIRST that is not full', { opcode: 'RDMA_WRITE_FIRST', payload: 255, length: 512, ackReq: true }],
];
for (const [what, packet] of LIES) {
  drill(`T-23: lengths that lie: ${what}`, (d) => {
    d.qp('rc');
    d.inject({ ...packet, psn: 0 });
    const answers = d.sent();
    d.engine.events();
    d.expect.that(
      answers.every(({ syndrome }) => syndrome === 'INVALID_REQUEST' || syndrome === 'REMOTE_ACCESS_ERROR'),
      true,
      'refused, or dropped',
    );
    d.expect.untouched(REMOTE, 1024);
  });
}

const CUT = {
  rc: [
    'RDMA_WRITE_ONLY',
    'RDMA_READ_REQUEST',
    'FETCH_ADD',
    'ACKNOWLEDGE',
    'ATOMIC_ACKNOWLEDGE',
    'RDMA_READ_RESPONSE_ONLY',
    'ATOMIC_WRITE',
    'FLUSH',
  ],
  uc: ['SEND_ONLY_WITH_IMMEDIATE', 'RDMA_WRITE_ONLY', 'RDMA_WRITE_ONLY_WITH_IMMEDIATE'],
  ud: ['SEND_ONLY', 'SEND_ONLY_WITH_IMMEDIATE'],
} as const;
for (const type of ['rc', 'uc', 'ud'] as const) {
  drill(`T-30: every opcode cut within its headers is dropped, and the QP does not notice: ${type}`, (d) => {
    d.qp(type);
    d.post.recv();
    for (const opcode of CUT[type]) for (let cutTo = 0; cutTo < 4; cutTo++) d.inject({ opcode, psn: 0, cutTo });
    d.expect.state('RTS');
    d.expect.nothing();
    d.expect.counter('drop_short', 4 * CUT[type].length);
  });
}

drill('T-31: an ATOMIC_WRITE of fewer than 8 octets writes none', (d) => {
  d.qp('rc');
  d.inject({ opcode: 'ATOMIC_WRITE', psn: 0, payload: 4, length: 8, ackReq: true });
  d.sent();
  d.engine.events();
  d.expect.untouched(REMOTE, 64);
});

drill('T-32: a packet behind ERR completes none of the many receives', (d) => {
  d.qp('rc');
  for (let i = 0; i < 60; i++) d.post.recv();
  d.modify('ERR');
  d.expect.completion(...Array.from({ length: 60 }, (_, i) => ({ wrId: i + 1, status: 'WR_FLUSH_ERR' as const })));
  for (let psn = 0; psn < 10; psn++) d.inject({ opcode: 'SEND_ONLY', psn, payload: 8, ackReq: true });
  d.expect.nothing();
  d.expect.counter('drop_qp_state', 10);
});

for (const wait of ['0us', '1ms', '60ms', '10s'] as const) {
  drill(`T-33: a QP that is destroyed ${wait} after it sent: no timer of it fires`, (d) => {
    const { handle } = d.qp('rc', { retryCnt: 7, timeout: 22 });
    d.post.write();
    d.post.read();
    d.advance(wait);
    d.sent();
    d.execute({ op: 'destroyQp', qp: handle });
    d.advance('600s');
    d.expect.nothing();
  });
}

drill('T-34: a QP that is reset with READ responses under way, and connected anew, sends none of them', (d) => {
  d.qp('rc');
  d.together(() => {
    d.inject({ opcode: 'RDMA_READ_REQUEST', psn: 0, length: 16_384 });
    d.modify('RESET');
    d.connect({ rqPsn: 77 });
  });
  d.expect.nothing();
  d.inject({ ...WRITE, psn: 77 });
  d.expect.packet(ack(77, { msn: 1 }));
});

/** A region, and a peer that reads from its beginning; what it asks for waits for the next poll. */
function readable(d: Drill) {
  const va = 0x100_0000;
  const { key } = d.region({ bytes: 1 << 20, address: va });
  const to = { transport: 'RC', from: THEIRS, to: OURS, va, rKey: key, qKey: 0, isIpv6: false } as const;
  return ({ qpn }: DrillQp, packet: Packet): void =>
    d.engine.rnic.handlePacket(received(frameOf(packet, { ...to, dest: qpn }), false), d.now);
}

drill('T-44, T-46: a peer that asks for 16 MiB does not keep others from their turn', (d) => {
  const greedy = d.qp('rc', { maxDestRdAtomic: 16 });
  const small = d.qp('rc');
  const { rnic } = d.engine;
  const give = readable(d);
  for (let i = 0; i < 16; i++) give(greedy, { opcode: 'RDMA_READ_REQUEST', psn: i * 4096, length: 1 << 20 });
  give(small, { ...WRITE });
  const burst = new TransmitBurst();
  const writer = new PacketWriter([burst], 1);
  let octets = 0;
  let isAnswered = false;
  for (let breaths = 0; breaths < 64 && !isAnswered; breaths++) {
    rnic.pollTransmit(writer, d.now);
    for (let i = 0; i < burst.count; i++) {
      const at = burst.at[i]!;
      octets += burst.frameBytes[i]!;
      if (burst.view.getUint8(at + 42) === 0x11) isAnswered = true;
    }
    burst.reset();
  }
  d.expect.that(isAnswered, true, 'the small one was answered');
  d.expect.that(octets < 1 << 20, true, `behind ${octets} octets of 16 Mi`);
});

drill(
  'T-46: whoever has others to look after gets a burst as short as it wants, and next time from QPs that had none',
  (d) => {
    const { rnic } = d.engine;
    const give = readable(d);
    const qps = Array.from({ length: 20 }, () => d.qp('rc', { maxDestRdAtomic: 16 }));
    const burst = new TransmitBurst();
    const writer = new PacketWriter([burst], 1);
    writer.turnBytes = 60_000;
    writer.pollBytes = 60_000;
    const poll = () => {
      burst.reset();
      const hasMore = rnic.pollTransmit(writer, d.now);
      return { hasMore, frames: burst.count, octets: burst.end };
    };
    for (const qp of qps) give(qp, { opcode: 'RDMA_READ_REQUEST', psn: 0, length: 8 });
    const [some, others] = [poll(), poll()];
    d.expect.that([some.frames, some.hasMore], [15, true], 'of many');
    d.expect.that([others.frames, others.hasMore], [5, false], 'the others');
    for (const qp of qps.slice(0, 3)) give(qp, { opcode: 'RDMA_READ_REQUEST', psn: 1, length: 1 << 20 });
    for (let turns = 0; turns < 6; turns++) {
      const { octets } = poll();
      d.expect.that(octets > 60_000 && octets < 70_000, true, `a burst has ${octets} octets`);
      d.expect.that(
        burst.view.getUint8(burst.at[0]! + 42),
        turns < 3 ? RESPONSE_FIRST : RESPONSE_MIDDLE,
        'each in turn',
      );
    }
  },
);

drill(
  'T-46: a QP that waits for its peer’s receive WQEs, one that lost its answers and one in SQD keep no other from sending',
  (d) => {
    const rnr = d.qp('rc');
    d.post.send();
    d.sent();
    d.inject({ opcode: 'ACKNOWLEDGE', syndrome: 'RNR_NAK', timer: 0, psn: 0 });
    const lost = d.qp('rc');
    d.post.write();
    const drained = d.qp('rc');
    d.modify('SQD');
    d.post.write();
    d.sent();
    const free = d.qp('rc');
    for (let i = 0; i < 10; i++) {
      d.post.write();
      d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn: i });
      d.inject(ack(i, { msn: i + 1, dest: free.qpn }));
      d.expect.completion({ wrId: 4 + i, status: 'SUCCESS' });
    }
    d.expect.that(new Set([rnr, lost, drained, free].map(({ qpn }) => qpn)).size, 4, 'four QPs');
  },
);

drill('T-55: a clock that leaps: after a minute in which nothing ran a QP goes on, or ends with an error', (d) => {
  d.qp('rc', { retryCnt: 7, timeout: 14 });
  d.post.write();
  d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn: 0 });
  d.engine.now += 60_000_000;
  d.engine.turn();
  d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn: 0 });
  d.expect.state('RTS');
  d.inject(ack(0, { msn: 1 }));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill('T-57: what a peer writes while its region goes does not arrive behind the command that removes it', (d) => {
  d.qp('rc');
  let region = d.region({ bytes: 4096, address: 0x50_0000 });
  for (let round = 0, psn = 0; round < 1000; round++) {
    const to = { va: 0x50_0000, rKey: region.key, payload: 8 };
    d.inject({ opcode: 'RDMA_WRITE_FIRST', psn, ...to, length: 512, payload: 256 });
    d.execute({ op: 'deregMr', mr: region.mr });
    region.bytes.fill(0xca);
    d.inject(
      { opcode: 'RDMA_WRITE_LAST', psn: psn + 1, payload: 256, ackReq: true },
      { ...WRITE, psn: psn + 2, ...to },
    );
    if (!region.bytes.every((octet) => octet === 0xca)) return d.expect.that(round, -1, 'written after it was removed');
    d.modify('RESET');
    d.sent();
    d.engine.events();
    psn = (psn + 3) & 0xff_ffff;
    d.connect({ rqPsn: psn });
    region = d.region({ bytes: 4096, address: 0x50_0000 });
  }
});

drill(
  'T-09: a Q_Key with the high bit, from a program, stands for the QP’s own: nobody poses as a management agent',
  (d) => {
    d.qp('ud', { qKey: 0x1234 });
    const ah = d.ah();
    d.post.send({ ah, destQpn: 0x99, qKey: 0x8001_0000 });
    d.expect.packet({ opcode: 'SEND_ONLY', qKey: 0x1234 });
    d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  },
);

drill('T-10: a key of another protection domain opens nothing, from here or from the peer', (d) => {
  const { pd } = d.execute({ op: 'allocPd' });
  const foreign = d.region({ pd, address: 0x60_0000 });
  d.qp('rc');
  d.post.send({ sges: [{ address: 0x60_0000, length: 8, lKey: foreign.key }] });
  d.expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
  d.expect.state('ERR');
  d.qp('rc');
  d.inject({ ...WRITE, va: 0x60_0000, rKey: foreign.key });
  d.expect.packet(nak('REMOTE_ACCESS_ERROR', 0));
  d.expect.event('QP_ACCESS_ERR');
  d.expect.that(foreign.isUntouched, true, 'untouched');
});
