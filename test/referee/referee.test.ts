/** The referee judged: real rxe captures pass, and each kind of tampering is found. */
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/root.ts';
import { connectionsOf, sendersOf, unansweredOf } from './connections.ts';
import { seePacket } from './packet.ts';
import { readFrames, type TracedFrame } from './pcap-frames.ts';
import { type JudgedConnection, judge } from './referee.ts';

const golden = (name: string): TracedFrame[] => readFrames(join(ROOT, 'test/golden', name));
/** write_bw_mtu256.pcap is left out: its capture lost 32 packets in the middle, which the referee rightly reports. */
const MTU: Record<string, number> = {
  'rc_pingpong.pcap': 1024,
  'write_bw_mtu1024.pcap': 1024,
  'write_bw_mtu4096.pcap': 4096,
  'read_bw_9000.pcap': 1024,
  'atomic_cs.pcap': 4096,
};

/** The one RC connection of a capture. */
function connectionOf(frames: TracedFrame[], mtu: number): JudgedConnection {
  const [only, ...others] = connectionsOf(frames, mtu);
  if (!only || others.length > 0) throw new Error(`${others.length + 1} connections in the capture, not one`);
  return only;
}

t.test(
  'referee: tells connections from who answers whom, side by side too, and their MTU from their packets',
  async (t) => {
    const mtusOf = (name: string): number[] => connectionsOf(golden(name)).map(({ mtu }) => mtu);
    for (const [name, mtu] of Object.entries(MTU)) t.strictSame(mtusOf(name), [mtu], name);
    t.strictSame(mtusOf('srq_pingpong.pcap'), [4096, 4096, 4096, 4096]);
    const shared = golden('srq_pingpong.pcap');
    t.strictSame(judge(shared, connectionsOf(shared)).violations, []);
    t.strictSame(
      unansweredOf(golden('uc_pingpong.pcap')).map(({ mtu }) => mtu),
      [1024, 1024],
    );
    t.equal(sendersOf(golden('ud_pingpong.pcap')).length, 2);
  },
);

t.test('referee: finds nothing wrong with what Linux rxe says to itself', async (t) => {
  for (const [name, mtu] of Object.entries(MTU)) {
    const frames = golden(name);
    const judgement = judge(frames, [connectionOf(frames, mtu)]);
    t.strictSame(judgement.violations, [], name);
    t.ok(judgement.packets > 0, `${name}: ${judgement.packets} packets judged`);
  }
});

t.test('referee: a changed octet is a wrong ICRC', async (t) => {
  const frames = golden('write_bw_mtu1024.pcap');
  const octets = Buffer.from(frames[4]!.octets);
  octets[octets.length - 20]! ^= 1;
  const judgement = judge(
    [...frames.slice(0, 4), { ...frames[4]!, octets }, ...frames.slice(5)],
    [connectionOf(frames, 1024)],
  );
  t.match(judgement.violations.join('\n'), /packet 4 .*wrong ICRC/);
});

t.test('referee: a missing request is a skipped PSN', async (t) => {
  const frames = golden('write_bw_mtu1024.pcap');
  const judgement = judge([...frames.slice(0, 3), ...frames.slice(4)], [connectionOf(frames, 1024)]);
  t.match(judgement.violations.join('\n'), /skips 1 never sent/);
});

t.test('referee: a READ or an atomic that it sees only when it comes again may be answered', async (t) => {
  for (const [name, opcode] of [
    ['read_bw_9000.pcap', 12],
    ['atomic_cs.pcap', 19],
  ] as const) {
    const frames = golden(name);
    const asks = (frame: TracedFrame, index: number): boolean => seePacket(frame.octets, index, 0)?.opcode === opcode;
    const second = frames.findIndex((frame, index) => asks(frame, index) && frames.slice(0, index).some(asks));
    const third = frames.findIndex((frame, index) => index > second && asks(frame, index));
    const [before, between, behind] = [
      frames.slice(0, second),
      frames.slice(second + 1, third),
      frames.slice(third + 1),
    ];
    const inTurn = [...before, frames[third]!, frames[second]!, ...between, ...behind];
    const { violations } = judge(inTurn, [connectionOf(frames, MTU[name]!)]);
    t.match(violations.join('\n'), /skips .*\n.*(where none was|never saw)/, name);
    t.equal(violations.filter((text) => text.includes('answers')).length, 0, name);
  }
});

t.test('referee: more READs under way than the responder takes are found', async (t) => {
  const frames = golden('read_bw_9000.pcap');
  const connection = connectionOf(frames, 1024);
  t.strictSame(judge(frames, [{ ...connection, rdAtomic: 128 }]).violations, []);
  t.match(judge(frames, [{ ...connection, rdAtomic: 1 }]).violations.join(), /wait for an answer, of 1 at most/);
});

t.test('referee: an acknowledgement that comes before its request is for a PSN never sent', async (t) => {
  const frames = golden('rc_pingpong.pcap');
  const connection = connectionOf(frames, 1024);
  const ack = frames.findIndex((frame, index) => seePacket(frame.octets, index, 0)?.opcode === 17);
  const judgement = judge([frames[0]!, frames[ack]!, ...frames.slice(1)], [connection]);
  t.match(judgement.violations.join('\n'), /never sent|nothing was asked/);
});

const UC = 0x20;
const UD = 0x60;

/** What a capture holds of one transport: its frames' places, and the first sender's address and peer. */
function packetsOf(frames: TracedFrame[], transport: number) {
  return frames.flatMap(({ octets }, at) => {
    const packet = seePacket(octets, at, 0);
    return packet && packet.opcode >= transport && packet.opcode < transport + UC ? [{ ...packet, at }] : [];
  });
}

const endsOf = (packets: ReturnType<typeof packetsOf>): { address: string; qpn: number }[] => {
  const ends = new Map(packets.map(({ destination, destQpn }) => [`${destination}/${destQpn}`, destQpn]));
  return [...ends].map(([name, qpn]) => ({ address: name.split('/')[0]!, qpn }));
};

/** Drops a packet in the middle, and says one twice. */
function tamper(frames: TracedFrame[], at: number): TracedFrame[][] {
  return [
    [...frames.slice(0, at), ...frames.slice(at + 1)],
    [...frames.slice(0, at + 1), ...frames.slice(at)],
  ];
}

t.test('referee: UC of Linux rxe passes; a packet that is missing or comes twice is found', async (t) => {
  for (const name of ['uc_pingpong.pcap', 'send_uc.pcap', 'write_uc.pcap']) {
    const frames = golden(name);
    const packets = packetsOf(frames, UC);
    const [a, b] = endsOf(packets);
    const judgeThem = (them: TracedFrame[]) =>
      judge(them, [{ a: a!, b: b ?? { address: 'nobody', qpn: 0 }, mtu: 1024, isUnreliable: true }]);
    t.strictSame(judgeThem(frames).violations, [], name);
    t.ok(packets.length > 4, `${name}: ${packets.length} packets`);
    const middle = packets[packets.length >> 1]!;
    for (const tampered of tamper(frames, middle.at)) t.match(judgeThem(tampered).violations.join(), /was due/);
  }
});

t.test('referee: datagrams of Linux rxe pass; one that is missing or comes twice is found', async (t) => {
  for (const name of ['ud_pingpong.pcap', 'send_ud.pcap']) {
    const frames = golden(name);
    const packets = packetsOf(frames, UD).filter(({ destQpn }) => destQpn > 1);
    const sender = { address: packets[0]!.source, qpn: packets[0]!.transport.readUIntBE(17, 3) };
    t.strictSame(judge(frames, [], [sender]).violations, [], name);
    const theirs = packets.filter(({ source }) => source === sender.address);
    t.ok(theirs.length > 4, `${name}: ${theirs.length} packets`);
    for (const tampered of tamper(frames, theirs[theirs.length >> 1]!.at))
      t.match(judge(tampered, [], [sender]).violations.join(), /was due/);
  }
});
