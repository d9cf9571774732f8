/**
 * A wire-level referee: reads a trace of RC traffic and says what was wrong with it. It knows the rules of the protocol and nothing of the engine (SPEC-CHECKLIST 1.4, after Lumina).
 * The trace must hold every packet of the connections from their first one on, in the order of one point of the wire.
 */
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
const CNP_GAP_MICROS = 50;
const isResponse = (opcode: number): boolean => opcode >= 13 && opcode <= 18;
const keyOf = (address: string, qpn: number): string => `${address}/${qpn}`;

export function judge(frames: Iterable<TracedFrame>, connections: readonly JudgedConnection[]): Judgement {
  const violations: string[] = [];
  const violate = (packet: SeenPacket, text: string): void => {
    violations.push(
      `packet ${packet.index} (${packet.source} → ${packet.destination}, QP ${packet.destQpn}, PSN ${packet.psn}, opcode ${packet.opcode}) ${text}`,
    );
  };
  const byTarget = new Map<string, { asRequest: Direction; asResponse: Direction }>();
  const directions: Direction[] = [];
  for (const { a, b, mtu } of connections) {
    const forth = direction(a, b, mtu, violate);
    const back = direction(b, a, mtu, violate);
    directions.push(forth, back);
    byTarget.set(keyOf(b.address, b.qpn), { asRequest: forth, asResponse: back });
    byTarget.set(keyOf(a.address, a.qpn), { asRequest: back, asResponse: forth });
  }
  const cnpTimes = new Map<string, number>();
  let index = 0;
  let packets = 0;
  let cnps = 0;
  let ceMarked = 0;
  for (const frame of frames) {
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
    const judged = packet.opcode < 0x20 ? byTarget.get(keyOf(packet.destination, packet.destQpn)) : undefined;
    if (!judged) continue;
    if (isResponse(packet.opcode)) judged.asResponse.responses.response(packet);
    else {
      judged.asRequest.requests.request(packet);
      judged.asRequest.responses.requestSeen(packet);
    }
  }
  return { violations, directions, packets, cnps, ceMarked };
}

function direction(from: End, to: End, mtu: number, violate: (packet: SeenPacket, text: string) => void): Direction {
  const requests = new RequesterCheck(mtu, violate);
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
