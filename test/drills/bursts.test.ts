/**
 * Drills: transmit bursts that hold next to nothing. Whatever does not fit waits for the next one: no packet is lost, none leaves twice, and their order is that of the
 * rules.
 */
import { PortSpace } from '../../rnic/cm/commands.ts';
import { QpType } from '../../rnic/constants.ts';
import { THEIRS } from '../support/engine.ts';
import { type Drill, type DrillOptions, drill, REMOTE } from './language/drill.ts';
import { gidOf, MANAGED, Manager, PARAMETERS, PORT } from './language/manager.ts';
import { ack, nak, type Packet } from './language/packet.ts';

/** Ethernet, IPv4 and UDP; BTH, RETH; 256 octets; ICRC: the longest packet of these drills but for datagrams of management. */
const PACKET_BYTES = 42 + 12 + 16 + 256 + 4;
const MAD_PACKET_BYTES = 42 + 12 + 8 + 256 + 4;
const COUNT = 20;
const BYTES = COUNT * 256;
/** One frame; octets for one packet to the octet; for one and all but the last octet of a second; three frames; and the usual. */
const BURSTS: readonly DrillOptions[] = [
  { burst: { bytes: 1 << 20, frames: 1 } },
  { burst: { bytes: PACKET_BYTES, frames: 256 } },
  { burst: { bytes: 2 * PACKET_BYTES - 17, frames: 256 } },
  { burst: { bytes: 1 << 20, frames: 3 } },
  {},
];
const psns = (packets: readonly Packet[]): number[] => packets.map(({ psn }) => psn!);
const upTo = (end: number, from = 0): number[] => Array.from({ length: end - from }, (_, i) => from + i);

function inEach(title: string, script: (d: Drill) => void): void {
  for (const options of BURSTS) {
    const { burst } = options;
    const size = burst ? `${burst.frames} frame(s) or ${burst.bytes} octets` : 'as it usually is';
    drill(`burst of ${size}: ${title}`, options, script);
  }
}

inEach('a long WRITE leaves whole, in order and once', (d) => {
  d.qp('rc');
  d.post.write({ length: BYTES });
  d.expect.that(psns(d.sent()), upTo(COUNT), 'PSNs');
  d.inject(ack(COUNT - 1));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.counter('sent_pkts', COUNT);
});

inEach('a READ is answered whole, behind the acknowledgement that was due and before what came after it', (d) => {
  d.qp('rc');
  d.post.recv();
  d.inject(
    { opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 'abc', ackReq: true },
    { opcode: 'RDMA_READ_REQUEST', psn: 1, va: REMOTE, length: BYTES },
    { opcode: 'FETCH_ADD', psn: 1 + COUNT, va: REMOTE + 8, swapOrAdd: 1n },
    { opcode: 'SEND_ONLY', psn: 2 + COUNT, payload: 'end', ackReq: true },
  );
  const sent = d.sent();
  d.expect.that(psns(sent), upTo(3 + COUNT), 'PSNs');
  const names = sent.map(({ opcode }) => opcode);
  d.expect.that(
    [names[0], names[1], names[COUNT], names[COUNT + 1], names[COUNT + 2]],
    ['ACKNOWLEDGE', 'RDMA_READ_RESPONSE_FIRST', 'RDMA_READ_RESPONSE_LAST', 'ATOMIC_ACKNOWLEDGE', 'ACKNOWLEDGE'],
    'opcodes',
  );
  d.expect.completion({ status: 'SUCCESS', byteLen: 3 });
});

inEach('a NAK that ends the QP leaves behind the answers that were due', (d) => {
  d.qp('rc');
  d.inject(
    { opcode: 'RDMA_READ_REQUEST', psn: 0, va: REMOTE, length: BYTES },
    { opcode: 'RDMA_WRITE_ONLY', psn: COUNT, payload: 'abc', rKey: 1 },
  );
  const sent = d.sent();
  d.expect.that(psns(sent), upTo(COUNT + 1), 'PSNs');
  d.expect.that(sent.at(-1)!.syndrome, 'REMOTE_ACCESS_ERROR', 'the last');
  d.expect.event('QP_ACCESS_ERR');
  d.expect.state('ERR');
});

inEach('what is sent again leaves once from where it was asked for', (d) => {
  d.qp('rc');
  d.post.write({ length: BYTES });
  d.sent();
  d.inject(nak('PSN_SEQUENCE_ERROR', 5));
  const first = psns(d.sent());
  d.expect.that(first[0], 5, 'first');
  d.expect.that(first, upTo(5 + first.length, 5), 'in order');
  d.inject(ack(COUNT - 1));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

inEach('five QPs send by turns, each in order', (d) => {
  const dests = upTo(5).map((i) => 0x100 + i);
  d.together(() => {
    for (const destQpNum of dests) {
      d.qp('rc', { destQpNum });
      d.post.write({ length: 4 * 256 });
    }
  });
  const sent = d.sent();
  d.expect.that(sent.length, 20, 'packets');
  for (const dest of dests) d.expect.that(psns(sent.filter((packet) => packet.dest === dest)), upTo(4), 'PSNs');
});

inEach('UC and UD lose nothing either', (d) => {
  d.qp('uc');
  d.post.write({ length: BYTES });
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.that(psns(d.sent()), upTo(COUNT), 'UC');
  d.qp('ud');
  const ah = d.ah();
  d.together(() => {
    for (let i = 0; i < COUNT; i++) d.post.send({ ah, length: 100, wrId: i });
  });
  d.expect.completion(...upTo(COUNT).map((wrId) => ({ wrId, status: 'SUCCESS' as const })));
  d.expect.that(psns(d.sent()), upTo(COUNT), 'UD');
});

for (const burst of [
  { bytes: 1 << 20, frames: 1 },
  { bytes: MAD_PACKET_BYTES, frames: 256 },
  { bytes: 2 * MAD_PACKET_BYTES - 1, frames: 256 },
]) {
  const title = `burst of ${burst.frames} frame(s) or ${burst.bytes} octets: each of eight REQs leaves once`;
  drill(title, { ...MANAGED, burst }, (d) => {
    const m = new Manager(d);
    const ids = upTo(8).map(() => {
      const { id } = m.do({ op: 'cmCreateId', portSpace: PortSpace.TCP, qpType: QpType.RC });
      m.do({ op: 'cmResolveAddr', id, destination: { address: gidOf(THEIRS), port: PORT }, timeoutMillis: 1000 });
      m.event('ADDR_RESOLVED', { id });
      m.do({ op: 'cmResolveRoute', id });
      m.event('ROUTE_RESOLVED', { id });
      return id;
    });
    const { rnic, context } = d.engine;
    for (const id of ids) rnic.execute(context, { op: 'cmConnect', id, parameters: PARAMETERS }, d.now);
    d.advance('0us');
    const sent = d.sent();
    d.expect.that(
      sent.map(({ letter }) => letter?.message),
      Array(8).fill('REQ'),
      'letters',
    );
    d.expect.that(new Set(sent.map(({ letter }) => letter!.localCommId)).size, 8, 'each its own');
  });
}
