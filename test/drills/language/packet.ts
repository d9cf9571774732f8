/** A packet as drills write it, one flat object: `{ opcode: 'RDMA_WRITE_ONLY', psn: 3, va: 0x18000, payload: 'hello' }`. To octets, and back. */
import type { ReceivedPacket } from '../../../rnic/packet.ts';
import * as Aeth from '../../../wire/aeth.ts';
import * as AtomicAckEth from '../../../wire/atomic-ack-eth.ts';
import * as AtomicEth from '../../../wire/atomic-eth.ts';
import * as Bth from '../../../wire/bth.ts';
import { type Decoded, decode, type LayerFields, type LayerKind } from '../../../wire/decode.ts';
import * as Deth from '../../../wire/deth.ts';
import * as Feth from '../../../wire/feth.ts';
import * as Icrc from '../../../wire/icrc.ts';
import * as Ieth from '../../../wire/ieth.ts';
import * as ImmDt from '../../../wire/imm-dt.ts';
import * as Ipv4 from '../../../wire/ipv4.ts';
import * as Opcode from '../../../wire/opcode.ts';
import * as Reth from '../../../wire/reth.ts';
import type { OpCode, OpFlags, PKey, Psn, QKey, Qpn, RKey } from '../../../wire/types.ts';
import { pathBetween } from '../../support/paths.ts';
import { type Letter, letterOf, madOf } from './letter.ts';
import { type NakName, opcodeName, opcodeOf, type SyndromeName, syndromeFields, syndromeOf } from './names.ts';

/** Octets; a text; or how many octets (sent: of a pattern that tells the PSN; expected: of whatever content). */
export type Payload = Uint8Array | string | number;

export interface Packet {
  /** Its name; a number for those that have none. */
  readonly opcode: string | number;
  readonly psn?: number;
  /** BTH. */
  readonly dest?: number;
  readonly ackReq?: boolean;
  readonly solicited?: boolean;
  readonly migReq?: boolean;
  readonly pad?: number;
  readonly version?: number;
  readonly pKey?: number;
  readonly fecn?: boolean;
  readonly becn?: boolean;
  readonly reserved6?: number;
  readonly reserved7?: number;
  /** RETH, AtomicETH. */
  readonly va?: number | bigint;
  readonly rKey?: number;
  readonly length?: number;
  readonly swapOrAdd?: bigint;
  readonly compare?: bigint;
  /** FETH. */
  readonly placement?: number;
  readonly selectivity?: number;
  /** AETH, AtomicAckETH. */
  readonly syndrome?: SyndromeName | number;
  readonly credits?: number;
  readonly timer?: number;
  readonly msn?: number;
  readonly original?: bigint;
  /** ImmDt as a number in network order, IETH, DETH. */
  readonly imm?: number;
  readonly invalidate?: number;
  readonly qKey?: number;
  readonly srcQp?: number;
  readonly payload?: Payload;
  /** Instead of a payload: a message of connection management. */
  readonly letter?: Letter;
  /** IP and UDP: hosts as the low 32 bits of their addresses. */
  readonly from?: number;
  readonly to?: number;
  readonly trafficClass?: number;
  readonly hopLimit?: number;
  readonly sourcePort?: number;
  /** The greatest of the pad octets; to send: all of them. */
  readonly padOctet?: number;
  /** Only sent: octets between the BTH and the ICRC cut to so many; a wrong ICRC. */
  readonly cutTo?: number;
  readonly badIcrc?: boolean;
  /** Only sent by memory: packets that it stands for (rnic/span.ts). */
  readonly span?: number;
  /** Only sent: so many octets more behind the ICRC. */
  readonly trailer?: number;
  /** Only sent: changes octets of the whole frame, ICRC and all, on the way. */
  readonly spoil?: (frame: DataView) => void;
}

/** What a packet is given that says nothing of it. */
export interface Defaults {
  readonly transport: string;
  readonly dest: number;
  readonly from: number;
  readonly to: number;
  readonly va: number;
  readonly rKey: number;
  readonly qKey: number;
  readonly isIpv6: boolean;
}

const U32 = 0xffff_ffffn;
const hiOf = (value: number | bigint): number => Number((BigInt(value) >> 32n) & U32);
const loOf = (value: number | bigint): number => Number(BigInt(value) & U32);
const join = (hi: number, lo: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

/** So many octets that tell the PSN of the packet that brings them. */
export const filled = (psn: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (psn * 37 + i * 11 + 5) & 0xff);

export function octetsOf(payload: Payload, psn = 0): Uint8Array {
  if (typeof payload === 'number') return filled(psn, payload);
  return typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
}

// ── Answers that every script needs ──

export const ack = (psn: number, more: Partial<Packet> = {}): Packet => ({
  opcode: 'ACKNOWLEDGE',
  syndrome: 'ACK',
  psn,
  ...more,
});
export const nak = (syndrome: NakName | number, psn: number, more: Partial<Packet> = {}): Packet => ({
  opcode: 'ACKNOWLEDGE',
  syndrome,
  psn,
  ...more,
});
export const rnrNak = (timer: number, psn: number, more: Partial<Packet> = {}): Packet => ({
  opcode: 'ACKNOWLEDGE',
  syndrome: 'RNR_NAK',
  timer,
  psn,
  ...more,
});

// ── To octets ──

type Extension = readonly [
  flag: OpFlags,
  bytes: number,
  write: (view: DataView, at: number, p: Packet, bytes: number, d: Defaults) => void,
];
const UNLIMITED = 31;

const EXTENSIONS: readonly Extension[] = [
  [
    Opcode.HAS_DETH,
    Deth.BYTES,
    (view, at, p, _, d) => Deth.write(view, at, (p.qKey ?? d.qKey) as QKey, (p.srcQp ?? 0x99) as Qpn),
  ],
  [
    Opcode.HAS_FETH,
    Feth.BYTES,
    (view, at, p) => Feth.write(view, at, p.placement ?? Feth.GLOBAL_VISIBILITY, p.selectivity ?? Feth.MEMORY_RANGE),
  ],
  [
    Opcode.HAS_RETH,
    Reth.BYTES,
    (view, at, p, bytes, d) =>
      Reth.write(view, at, hiOf(p.va ?? d.va), loOf(p.va ?? d.va), (p.rKey ?? d.rKey) as RKey, p.length ?? bytes),
  ],
  [
    Opcode.HAS_ATOMIC,
    AtomicEth.BYTES,
    (view, at, p, _, d) =>
      AtomicEth.write(
        view,
        at,
        hiOf(p.va ?? d.va),
        loOf(p.va ?? d.va),
        (p.rKey ?? d.rKey) as RKey,
        hiOf(p.swapOrAdd ?? 0n),
        loOf(p.swapOrAdd ?? 0n),
        hiOf(p.compare ?? 0n),
        loOf(p.compare ?? 0n),
      ),
  ],
  [
    Opcode.HAS_AETH,
    Aeth.BYTES,
    (view, at, p) =>
      Aeth.write(view, at, syndromeOf(p.syndrome ?? 'ACK', p.credits ?? UNLIMITED, p.timer ?? 0), p.msn ?? 0),
  ],
  [
    Opcode.HAS_ATOMIC_ACK,
    AtomicAckEth.BYTES,
    (view, at, p) => AtomicAckEth.write(view, at, hiOf(p.original ?? 0n), loOf(p.original ?? 0n)),
  ],
  [Opcode.HAS_IMM, ImmDt.BYTES, (view, at, p) => ImmDt.write(view, at, p.imm ?? 0)],
  [Opcode.HAS_IETH, Ieth.BYTES, (view, at, p) => Ieth.write(view, at, (p.invalidate ?? 0) as RKey)],
];

function writeBth(view: DataView, at: number, opcode: OpCode, p: Packet, padCount: number, d: Defaults): void {
  Bth.writeFields(view, at, {
    opcode,
    solicited: p.solicited ?? false,
    migReq: p.migReq ?? true,
    padCount,
    version: p.version ?? 0,
    pKey: (p.pKey ?? 0xffff) as PKey,
    fecn: p.fecn ?? false,
    becn: p.becn ?? false,
    reserved6: p.reserved6 ?? 0,
    destQp: (p.dest ?? d.dest) as Qpn,
    ackRequest: p.ackReq ?? false,
    reserved7: p.reserved7 ?? 0,
    psn: ((p.psn ?? 0) & 0xff_ffff) as Psn,
  });
}

/** The whole frame: Ethernet to ICRC. */
export function frameOf(packet: Packet, defaults: Defaults): Uint8Array<ArrayBuffer> {
  const opcode = opcodeOf(packet.opcode, defaults.transport);
  const { from, to, isIpv6 } = defaults;
  const { template, ipAt, udpAt } = pathBetween(packet.from ?? from, packet.to ?? to, {
    isIpv6,
    ...(packet.sourcePort !== undefined && { sourcePort: packet.sourcePort }),
  });
  const payload = packet.letter ? madOf(packet.letter) : octetsOf(packet.payload ?? 0, packet.psn);
  const padCount = packet.pad ?? Bth.padCountFor(payload.length);
  const bthAt = template.length;
  const payloadAt = bthAt + Math.max(Opcode.headerBytes(opcode), Bth.BYTES);
  const bytes = new Uint8Array(payloadAt + payload.length + padCount + Icrc.BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(template);
  writeBth(view, bthAt, opcode, packet, padCount, defaults);
  let at = bthAt + Bth.BYTES;
  for (const [flag, size, write] of EXTENSIONS) {
    if ((Opcode.flags(opcode) & flag) === 0) continue;
    write(view, at, packet, payload.length, defaults);
    at += size;
  }
  bytes.set(payload, payloadAt);
  bytes.fill(packet.padOctet ?? 0, payloadAt + payload.length, payloadAt + payload.length + padCount);
  const end = packet.cutTo === undefined ? bytes.length : bthAt + Bth.BYTES + packet.cutTo + Icrc.BYTES;
  if (packet.trafficClass !== undefined) setTrafficClass(view, ipAt, isIpv6, packet.trafficClass);
  view.setUint16(udpAt + 4, end - udpAt);
  view.setUint16(isIpv6 ? ipAt + 4 : ipAt + 2, isIpv6 ? end - udpAt : end - ipAt);
  const crc = Icrc.compute(view, bytes, ipAt, end - Icrc.BYTES);
  Icrc.write(view, end - Icrc.BYTES, packet.badIcrc ? ~crc : crc);
  packet.spoil?.(new DataView(bytes.buffer, 0, end));
  const frame = new Uint8Array(end + (packet.trailer ?? 0)).fill(0x7e);
  frame.set(bytes.subarray(0, end));
  return frame;
}

function setTrafficClass(view: DataView, ipAt: number, isIpv6: boolean, value: number): void {
  if (!isIpv6) view.setUint8(ipAt + 1, value);
  else view.setUint16(ipAt, 0x6000 | (value << 4) | (view.getUint16(ipAt) & 0x0f));
}

/** The frame as a port hands it to the engine. */
export function received(frame: Uint8Array<ArrayBuffer>, isIpv6: boolean): ReceivedPacket {
  const ipAt = 14;
  const view = new DataView(frame.buffer);
  const udpAt = ipAt + (isIpv6 ? 40 : 20);
  return {
    bytes: frame,
    view,
    ethernetAt: 0,
    ipAt,
    udpAt,
    bthAt: udpAt + 8,
    end: frame.length,
    isIpv6,
    ipId: isIpv6 ? 0 : Ipv4.identification(view, ipAt),
    isFollowed: false,
    port: 0,
    source: 0,
    icrcElided: false,
  };
}

// ── Back ──

function layerOf<Kind extends LayerKind>(decoded: Decoded, kind: Kind): LayerFields[Kind] | undefined {
  return decoded.layers.find((layer) => layer.kind === kind)?.fields as LayerFields[Kind] | undefined;
}

function bthOf(decoded: Decoded): Packet {
  const bth = layerOf(decoded, 'bth');
  if (bth === undefined || decoded.malformed !== undefined || decoded.icrc !== 'ok') {
    throw new Error(`the engine sent what is no good packet: ${decoded.malformed ?? `ICRC ${decoded.icrc}`}`);
  }
  return {
    opcode: opcodeName(bth.opcode),
    psn: bth.psn,
    dest: bth.destQp,
    ackReq: bth.ackRequest,
    solicited: bth.solicited,
    migReq: bth.migReq,
    pad: bth.padCount,
    version: bth.version,
    pKey: bth.pKey,
    fecn: bth.fecn,
    becn: bth.becn,
    reserved6: bth.reserved6,
    reserved7: bth.reserved7,
  };
}

function extensionsOf(decoded: Decoded): Partial<Packet> {
  const [reth, atomic, aeth] = [layerOf(decoded, 'reth'), layerOf(decoded, 'atomicEth'), layerOf(decoded, 'aeth')];
  const [result, imm, ieth] = [layerOf(decoded, 'atomicAckEth'), layerOf(decoded, 'immDt'), layerOf(decoded, 'ieth')];
  const [deth, feth] = [layerOf(decoded, 'deth'), layerOf(decoded, 'feth')];
  const range = reth ?? atomic;
  return {
    ...(range && { va: join(range.virtualAddressHi, range.virtualAddressLo), rKey: range.rKey }),
    ...(reth && { length: reth.length }),
    ...(atomic && {
      swapOrAdd: join(atomic.swapOrAddHi, atomic.swapOrAddLo),
      compare: join(atomic.compareHi, atomic.compareLo),
    }),
    ...(feth && { placement: feth.placement, selectivity: feth.selectivity }),
    ...(aeth && { ...syndromeFields(aeth.syndrome), msn: aeth.msn }),
    ...(result && { original: join(result.originalHi, result.originalLo) }),
    ...(imm && { imm: imm.immediate }),
    ...(ieth && { invalidate: ieth.rKey }),
    ...(deth && { qKey: deth.qKey, srcQp: deth.sourceQp }),
  };
}

/** What stands in a frame that the engine sent. @throws Error when it is malformed or its ICRC is wrong. */
export function packetOf(frame: Uint8Array): Packet {
  const decoded = decode(frame);
  const letter = letterOf(layerOf(decoded, 'mad'), layerOf(decoded, 'cm'));
  const [ipv4, ipv6, udp] = [layerOf(decoded, 'ipv4'), layerOf(decoded, 'ipv6'), layerOf(decoded, 'udp')];
  return {
    ...bthOf(decoded),
    ...extensionsOf(decoded),
    payload: layerOf(decoded, 'payload') ?? new Uint8Array(0),
    ...(letter && { letter }),
    padOctet: Math.max(0, ...(layerOf(decoded, 'pad') ?? [])),
    ...(ipv4 && { trafficClass: ipv4.typeOfService, hopLimit: ipv4.timeToLive }),
    ...(ipv6 && { trafficClass: ipv6.trafficClass, hopLimit: ipv6.hopLimit }),
    ...(udp && { sourcePort: udp.sourcePort }),
  };
}

/** Those fields of `found` that `wanted` names, in `wanted`'s form: equal to it when the packet is as wanted. */
export function asWanted(found: Packet | undefined, wanted: Packet): Partial<Packet> | undefined {
  if (found === undefined) return undefined;
  const entries = Object.entries(wanted).map(([name, value]) => {
    const own = found[name as keyof Packet];
    if (name === 'letter') return [name, partOf(own as Letter | undefined, value as Letter)];
    if (name === 'payload') return [name, payloadAs(own as Uint8Array, value as Payload)];
    return [name, typeof value === 'number' && typeof own === 'bigint' ? Number(own) : own];
  });
  return Object.fromEntries(entries) as Partial<Packet>;
}

const partOf = (found: Letter | undefined, wanted: Letter): Letter | undefined =>
  found && (Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name]])) as Letter);

function payloadAs(found: Uint8Array, wanted: Payload): Payload {
  if (typeof wanted === 'number') return found.length;
  return typeof wanted === 'string' ? new TextDecoder().decode(found) : Uint8Array.from(found);
}

/** One line for people. */
export function lineOf(packet: Packet): string {
  const { opcode, payload, letter, ...fields } = packet;
  if (letter !== undefined) return `${letter.message}, transaction ${letter.transaction ?? 'any'}`;
  const shown = Object.entries(fields).filter(([name]) => SHOWN.includes(name));
  const bytes = typeof payload === 'number' ? payload : (payload?.length ?? 0);
  return [opcode, ...shown.map(([name, value]) => `${name} ${value}`), `${bytes} octets`].join(', ');
}
const SHOWN = ['psn', 'ackReq', 'va', 'length', 'syndrome', 'timer', 'msn', 'original', 'imm', 'invalidate', 'credits'];
