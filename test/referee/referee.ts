/**
 * A wire-level referee: reads a trace of RC traffic and says what was wrong with it; of UC and UD, what can be told from the sender's side. It knows the rules of the protocol and nothing of the engine (SPEC-CHECKLIST 1.4, after Lumina).
 * The trace must hold every packet of the connections from their first one on, in the order of one point of the wire.
 */
import { DatagramCheck } from './datagram-check.ts';
import { type SeenPacket, seePacket } from './packet.ts';
import type { TracedFrame } from './pcap-frames.ts';
import { RequesterCheck } from './requester-check.ts';
import { ResponderCheck } from './responder-check.ts';

export interface End {
  readonly address: string;
  readonly qpn: number;
}

export interface JudgedConnection {
  readonly a: End;
  readonly b: End;
  readonly mtu: number;
  /** Position in the trace from which these are the ends: QPs that were reset begin anew. 0 when absent. */
  readonly from?: number;
  /** UC: nothing is answered, and nothing sent again. */
  readonly isUnreliable?: boolean;
  /** Most READs and atomics that may wait for an answer at once; any number when absent. */
  readonly rdAtomic?: number;
}

/** One direction: requests from → to, and the responses to them. */
export interface Direction {
  readonly from: End;
  readonly to: End;
  readonly requests: RequesterCheck;
  readonly responses: ResponderCheck;
}

export interface Judgement {
  readonly violations: string[];
  readonly directions: Direction[];
  readonly packets: number;
  readonly cnps: number;
  readonly ceMarked: number;
}

const CNP = 0x81;
const RC_END = 0x20;
const UC = 0x20;
const UD = 0x60;
const DETH_SOURCE_AT = 12 + 5;
const sourceQpn = ({ transport }: SeenPacket): number => transport.readUIntBE(DETH_SOURCE_AT, 3);
const CNP_GAP_MICROS = 50;
const isResponse = (opcode: number): boolean => opcode >= 13 && opcode <= 18;
const keyOf = (address: string, qpn: number): string => `${address}/${qpn}`;

/** @param senders UD QPs whose datagrams are judged. */
export function judge(
  frames: Iterable<TracedFrame>,
  connections: readonly JudgedConnection[],
  senders: readonly End[] = [],
): Judgement {
  const violations: string[] = [];
  const violate = (packet: SeenPacket, text: string): void => {
    violations.push(
      `packet ${packet.index} (${packet.source} → ${packet.destination}, QP ${packet.destQpn}, PSN ${packet.psn}, opcode ${packet.opcode}) ${text}`,
    );
  };
  const byTarget = new Map<string, { asRequest: Direction; asResponse: Direction }>();
  const byTargetUnreliable = new Map<string, Direction>();
  const datagrams = new Map(senders.map(({ address, qpn }) => [keyOf(address, qpn), new DatagramCheck(violate)]));
  const directions: Direction[] = [];
  const begin = ({ a, b, mtu, isUnreliable, rdAtomic = Number.POSITIVE_INFINITY }: JudgedConnection): void => {
    const forth = direction(a, b, mtu, rdAtomic, violate);
    const back = direction(b, a, mtu, rdAtomic, violate);
    directions.push(forth, back);
    if (isUnreliable) {
      byTargetUnreliable.set(keyOf(b.address, b.qpn), forth);
      byTargetUnreliable.set(keyOf(a.address, a.qpn), back);
      return;
    }
    byTarget.set(keyOf(b.address, b.qpn), { asRequest: forth, asResponse: back });
    byTarget.set(keyOf(a.address, a.qpn), { asRequest: back, asResponse: forth });
  };
  const waiting = connections.toSorted((x, y) => (x.from ?? 0) - (y.from ?? 0));
  const cnpTimes = new Map<string, number>();
  let index = 0;
  let packets = 0;
  let cnps = 0;
  let ceMarked = 0;
  for (const frame of frames) {
    while (waiting.length > 0 && (waiting[0]!.from ?? 0) <= index) begin(waiting.shift()!);
    const packet = seePacket(frame.octets, index++, frame.timeMicros);
    if (!packet) continue;
    packets++;
    if (!packet.icrcOk) violate(packet, 'has a wrong ICRC');
    if (packet.ce) ceMarked++;
    if (packet.opcode === CNP) {
      cnps++;
      judgeCnp(packet, ceMarked, cnpTimes, violate);
      continue;
    }
    if (packet.opcode >= UD) {
      datagrams.get(keyOf(packet.source, sourceQpn(packet)))?.datagram(packet);
      continue;
    }
    if (packet.opcode >= UC) {
      byTargetUnreliable.get(keyOf(packet.destination, packet.destQpn))?.requests.once(packet, packet.opcode - UC);
      continue;
    }
    const judged = packet.opcode < RC_END ? byTarget.get(keyOf(packet.destination, packet.destQpn)) : undefined;
    if (!judged) continue;
    if (isResponse(packet.opcode)) judged.asResponse.responses.response(packet);
    else {
      judged.asRequest.requests.request(packet);
      judged.asRequest.responses.requestSeen(packet);
    }
  }
  return { violations, directions, packets, cnps, ceMarked };
}

function direction(
  from: End,
  to: End,
  mtu: number,
  rdAtomic: number,
  violate: (packet: SeenPacket, text: string) => void,
): Direction {
  const requests = new RequesterCheck(mtu, rdAtomic, violate);
  return { from, to, requests, responses: new ResponderCheck(requests, mtu, violate) };
}

function judgeCnp(
  packet: SeenPacket,
  ceMarked: number,
  times: Map<string, number>,
  violate: (packet: SeenPacket, text: string) => void,
): void {
  if (!packet.becn) violate(packet, 'is a CNP without BECN');
  if (ceMarked === 0) violate(packet, 'is a CNP although nothing was marked');
  const flow = `${packet.destination}/${packet.destQpn}`;
  const last = times.get(flow);
  if (last !== undefined && packet.timeMicros - last < CNP_GAP_MICROS)
    violate(packet, `is a CNP ${packet.timeMicros - last} µs after the one before`);
  times.set(flow, packet.timeMicros);
}
