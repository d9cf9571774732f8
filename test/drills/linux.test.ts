/**
 * Drills from what Linux rxe did (test/golden): our engine takes the place of one end, hears what that end heard, and says what it said. First as responder, packet by
 * packet; then as requester, with the work that the packets tell of.
 */
import { capture } from '../wire/golden-captures.ts';
import { type Drill, drill, IP_AT, LOCAL } from './language/drill.ts';
import type { DrillMemory } from './language/memory.ts';
import { type Packet, packetOf } from './language/packet.ts';
import type { Work } from './language/post.ts';

type End = 'server' | 'client';
const PAGE = 4096n;

interface Heard {
  readonly from: End;
  readonly packet: Packet;
}

const isResponse = ({ opcode }: Packet): boolean => /RESPONSE|ACKNOWLEDGE/.test(`${opcode}`);
const isManagement = ({ dest }: Packet): boolean => dest === 1;
const octetsIn = ({ payload }: Packet): Uint8Array => payload as Uint8Array;

/** RoCE packets of a capture, those of connection management left out. The client speaks first. */
function heardIn(name: string): Heard[] {
  let client = '';
  return capture(`${name}.pcap`).frames.flatMap((frame) => {
    const isIpv6 = frame[12] === 0x86;
    const packet = packetOf(frame);
    const source = frame.subarray(IP_AT + (isIpv6 ? 8 : 12), IP_AT + (isIpv6 ? 24 : 16)).join('.');
    client ||= source;
    return isManagement(packet) ? [] : [{ from: source === client ? 'client' : 'server', packet } as const];
  });
}

/** What a packet says, apart from whose QP it is for and what differs by choice: MigReq (rxe sends 0), where inside a message an ACK is asked for. */
function said(packet: Packet): Partial<Packet> {
  const { opcode, psn, pad, solicited, va, length, swapOrAdd, compare, syndrome, credits, msn, original, imm } = packet;
  const all = { opcode, psn, pad, solicited, va, length, swapOrAdd, compare, syndrome, credits, msn, original, imm };
  const found = Object.entries({ ...all, payload: Buffer.from(octetsIn(packet)).toString('hex') });
  return Object.fromEntries(found.filter(([, value]) => value !== undefined));
}

// (write_bw_mtu256 is left out: the capture itself missed packets of it.)

// ── As responder ──

const addressOf = ({ va }: Packet): bigint => BigInt(va ?? 0);

/** A region of ours where the capture's was, for each of its keys. */
function regionsFor(d: Drill, requests: readonly Packet[]): Map<number, DrillMemory> {
  const regions = new Map<number, DrillMemory>();
  for (const key of new Set(requests.flatMap(({ rKey }) => (rKey === undefined ? [] : [rKey])))) {
    const ranges = requests.filter(({ rKey }) => rKey === key);
    const ends = ranges.flatMap((packet) => [addressOf(packet), addressOf(packet) + BigInt(packet.length ?? 8)]);
    ends.sort((one, other) => Number(one - other));
    const first = ends[0]! & ~(PAGE - 1n);
    const last = ends.at(-1)!;
    regions.set(key, d.region({ address: first, bytes: Number(last - first) }));
  }
  return regions;
}

/** Puts into memory what the responses brought from there. */
function recall(request: Packet, responses: readonly Packet[], memory: DrillMemory | undefined): void {
  if (memory === undefined) return;
  const at = Number(addressOf(request) - memory.address);
  const answer = responses.filter(({ psn }) => psn! >= request.psn!);
  if (request.opcode === 'RDMA_READ_REQUEST') {
    let offset = 0;
    for (const packet of answer) {
      if (offset >= request.length!) break;
      memory.bytes.set(octetsIn(packet), at + offset);
      offset += octetsIn(packet).length;
    }
  } else if (answer[0]?.original !== undefined) memory.view.setBigUint64(at, answer[0].original, true);
}

function asResponder(name: string, place: End, mtu: 256 | 1024 | 4096): void {
  const isIpv6 = name.includes('ipv6');
  drill(`Linux: ${name}: as the ${place}, each request gets the answer that rxe gave`, { isIpv6 }, (d) => {
    const heard = heardIn(name);
    const requests = heard
      .filter(({ from, packet }) => from !== place && !isResponse(packet))
      .map(({ packet }) => packet);
    const responses = heard
      .filter(({ from, packet }) => from === place && isResponse(packet))
      .map(({ packet }) => packet);
    d.qp('rc', { mtu, rqPsn: requests[0]!.psn!, maxDestRdAtomic: 16 });
    const room = d.region({ bytes: 8192, address: 0x70_0000 });
    const regions = regionsFor(d, requests);
    const takesReceive = requests.filter(({ opcode }) => /^SEND_(FIRST|ONLY)/.test(`${opcode}`)).length;
    for (let i = 0; i < takesReceive; i++)
      d.post.recv({ sges: [{ address: 0x70_0000, length: 8192, lKey: room.key }] });
    for (const { dest: _, ...request } of requests) {
      const region = regions.get(request.rKey ?? -1);
      recall(request, responses, region);
      d.inject({ ...request, ...(region && { rKey: region.key }) });
    }
    d.expect.that(d.sent().map(said), responses.map(said), 'answers');
    for (let i = 0; i < takesReceive; i++) d.expect.completion({ status: 'SUCCESS' });
    d.expect.state('RTS');
  });
}

asResponder('send_bw_1_byte', 'server', 1024);
asResponder('atomic_cs', 'server', 1024);
asResponder('write_lat', 'server', 1024);
asResponder('write_lat', 'client', 1024);
asResponder('write_bw_mtu1024', 'server', 1024);
asResponder('write_bw_mtu4096', 'server', 4096);
asResponder('read_bw_9000', 'server', 1024);
asResponder('rc_pingpong', 'server', 1024);
asResponder('rc_pingpong', 'client', 1024);
asResponder('rc_pingpong_ipv6ll', 'server', 1024);
asResponder('rc_pingpong_ipv6ll', 'client', 1024);
asResponder('rping', 'server', 1024);
asResponder('rping', 'client', 1024);

// ── As requester ──

interface Message {
  readonly kind: string;
  readonly first: Packet;
  readonly last: Packet;
  readonly payload: Uint8Array;
}

/** The messages that request packets are of. */
function messagesOf(packets: readonly Packet[]): Message[] {
  const messages: Message[] = [];
  let parts: Packet[] = [];
  for (const packet of packets) {
    parts.push(packet);
    if (/_(FIRST|MIDDLE)$/.test(`${packet.opcode}`)) continue;
    const payload = Uint8Array.from(parts.flatMap((part) => [...octetsIn(part)]));
    messages.push({ kind: `${parts[0]!.opcode}`, first: parts[0]!, last: packet, payload });
    parts = [];
  }
  return messages;
}

/** The work request that makes such a message. */
function post(d: Drill, { kind, first, last, payload }: Message, at: number): void {
  const { va: to = 0, rKey = 0, imm } = first;
  const immediate = imm ?? last.imm;
  const work: Work = {
    to,
    rKey,
    sges: [{ address: at, length: payload.length, lKey: d.memory.key }],
    solicited: last.solicited ?? false,
    ...(immediate !== undefined && { imm: immediate }),
  };
  if (kind.startsWith('SEND')) d.post.send(work);
  else if (kind.startsWith('RDMA_WRITE')) d.post.write(work);
  else if (kind === 'RDMA_READ_REQUEST')
    d.post.read({ ...work, sges: [{ address: at, length: first.length!, lKey: d.memory.key }] });
  else
    d.post.compareSwap({
      ...work,
      sges: [{ address: at, length: 8, lKey: d.memory.key }],
      compare: first.compare!,
      swap: first.swapOrAdd!,
    });
}

function asRequester(name: string, type: 'rc' | 'uc', place: End, mtu: 256 | 1024 | 4096): void {
  const isIpv6 = name.includes('ipv6');
  drill(`Linux: ${name}: as the ${place}, the same work makes the packets that rxe sent`, { isIpv6 }, (d) => {
    const heard = heardIn(name);
    const requests = heard
      .filter(({ from, packet }) => from === place && !isResponse(packet))
      .map(({ packet }) => packet);
    d.qp(type, { mtu, sqPsn: requests[0]!.psn!, maxRdAtomic: 16 });
    const messages = messagesOf(requests);
    for (const [i, message] of messages.entries()) {
      const at = LOCAL + (i % 4) * 16_384;
      d.memory.bytes.set(message.payload, at - LOCAL);
      post(d, message, at);
      for (const { dest: _, ...packet } of answersTo(message, heard, place)) d.inject(packet);
      d.expect.completion({ wrId: i + 1, status: 'SUCCESS' });
    }
    const sent = d.sent();
    d.expect.that(sent.map(said), requests.map(said), 'packets');
    if (type === 'rc') {
      const lasts = new Set(messages.map(({ last }) => last.psn));
      d.expect.that(
        sent.every(({ psn, ackReq }) => !lasts.has(psn) || ackReq),
        true,
        'an ACK is asked for at each end',
      );
    }
  });
}

const answersTo = ({ first, last }: Message, heard: readonly Heard[], place: End): Packet[] =>
  heard
    .filter(({ from, packet }) => from !== place && isResponse(packet))
    .map(({ packet }) => packet)
    .filter(
      ({ psn }) =>
        psn! >= first.psn! && psn! <= Math.max(last.psn!, first.psn! + Math.ceil((first.length ?? 1) / 1024) - 1),
    );

asRequester('send_bw_1_byte', 'rc', 'client', 1024);
asRequester('atomic_cs', 'rc', 'client', 1024);
asRequester('write_lat', 'rc', 'client', 1024);
asRequester('write_bw_mtu1024', 'rc', 'client', 1024);
asRequester('write_bw_mtu4096', 'rc', 'client', 4096);
asRequester('read_bw_9000', 'rc', 'client', 1024);
asRequester('rc_pingpong', 'rc', 'client', 1024);
asRequester('rc_pingpong', 'rc', 'server', 1024);
asRequester('rc_pingpong_ipv6ll', 'rc', 'client', 1024);
asRequester('rc_pingpong_ipv6ll', 'rc', 'server', 1024);
asRequester('rping', 'rc', 'client', 1024);
asRequester('rping', 'rc', 'server', 1024);
asRequester('uc_pingpong', 'uc', 'client', 1024);
asRequester('send_uc', 'uc', 'client', 1024);
asRequester('write_uc', 'uc', 'client', 1024);
