/** What is done to a packet that was right: one field of it gets another value. Each of these leaves most of the others as they were, so that the packet comes far. */
import * as AtomicEth from '../../wire/atomic-eth.ts';
import * as Bth from '../../wire/bth.ts';
import * as Deth from '../../wire/deth.ts';
import * as Feth from '../../wire/feth.ts';
import * as Ieth from '../../wire/ieth.ts';
import * as Mad from '../../wire/mad.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as Reth from '../../wire/reth.ts';
import type { Random } from '../support/sim/random.ts';
import { type Body, bodyOf, EXTENSION_AT } from './body.ts';
import { MAD_AT } from './letters.ts';
import type { Place } from './terrain.ts';

type Mutation = (body: Body, random: Random, places: readonly Place[]) => void;

const LENGTHS = [0, 1, 7, 8, 9, 255, 256, 4096, 32_768, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1];
const PSN_STEPS = [-1, 1, -2, 2, 3, 8, 31, 32, 33, -16, 2 ** 23 - 1, 2 ** 23, -(2 ** 23)];
const OPCODES = Array.from({ length: 256 }, (_, value) => value).filter((value) => Opcode.flags(value as never) !== 0);

/** Writes a 32-bit word where the packet still has one. */
function put32({ bytes, view }: Body, at: number, value: number): void {
  if (at + 4 <= bytes.length) view.setUint32(at, value);
}

function add32({ bytes, view }: Body, at: number, step: number): void {
  if (at + 4 <= bytes.length) view.setUint32(at, view.getUint32(at) + step);
}

function put8({ bytes, view }: Body, at: number, value: number): void {
  if (at < bytes.length) view.setUint8(at, value);
}

/** Where the RETH or AtomicETH is that the opcode calls for; the AETH and DETH stand in the same place. */
function targetAt({ view }: Body): number {
  const flags = Opcode.flags(Bth.opcode(view, 0));
  return (flags & Opcode.HAS_FETH) !== 0 ? EXTENSION_AT + Feth.BYTES : EXTENSION_AT;
}

/** Where the R_Key stands. */
const keyAt = (body: Body): number => targetAt(body) + 8;

const psn: Mutation = (body, random) => {
  const step = random.chance(0.7) ? random.pick(PSN_STEPS) : random.below(2 ** 24);
  const before = body.view.getUint32(8);
  put32(body, 8, (before & 0xff00_0000) | ((before + step) & 0xff_ffff));
};
const opcode: Mutation = (body, random) => {
  const { view } = body;
  const same = OPCODES.filter((value) => (value & 0xe0) === (view.getUint8(0) & 0xe0));
  put8(body, 0, random.chance(0.7) && same.length > 0 ? random.pick(same) : random.below(256));
};
const destQp: Mutation = (body, random) =>
  put32(body, 4, random.chance(0.5) ? random.bits() : random.pick([0, 1, 0xff_ffff]));
const bits: Mutation = (body, random) => put8(body, 1, random.below(256));
const pad: Mutation = (body, random) => put8(body, 1, (body.view.getUint8(1) & 0xcf) | (random.below(4) << 4));
const pKey: Mutation = (body, random) => body.view.setUint16(2, random.pick([0x7fff, 0, 0xfffe, random.below(65_536)]));
const flagsOf: Mutation = (body, random) => put8(body, random.pick([4, 8]), random.below(256));
const key: Mutation = (body, random, places) => {
  const at = keyAt(body);
  if (random.chance(0.6)) put32(body, at, random.pick(places).key);
  else if (at + 4 <= body.bytes.length) put32(body, at, body.view.getUint32(at) ^ (1 << random.below(32)));
};
const address: Mutation = (body, random) => {
  const at = targetAt(body);
  const kind = random.below(4);
  if (kind === 0) put32(body, at, random.bits());
  else if (kind === 1) put32(body, at + 4, random.bits());
  else add32(body, at + (random.chance(0.9) ? 4 : 0), random.pick([-1, 1, 8, -8, 4096, -4096, 32_768, -65_536]));
};
const length: Mutation = (body, random) => {
  const at = targetAt(body) + Reth.BYTES - 4;
  if (random.chance(0.5)) put32(body, at, random.pick(LENGTHS));
  else add32(body, at, random.pick([-1, 1, 4, -4, 256, -256]));
};
const syndrome: Mutation = (body, random) => put8(body, EXTENSION_AT, random.below(256));
const msn: Mutation = (body, random) => put32(body, EXTENSION_AT, random.bits());
const qKey: Mutation = (body, random) => put32(body, EXTENSION_AT, random.chance(0.5) ? random.bits() : Mad.GSI_Q_KEY);
const operand: Mutation = (body, random) =>
  put32(body, EXTENSION_AT + AtomicEth.BYTES - 4 * (1 + random.below(4)), random.bits());
const lastHeader: Mutation = (body, random, places) => {
  const at = Opcode.headerBytes(Bth.opcode(body.view, 0)) - Ieth.BYTES;
  if (at >= EXTENSION_AT) put32(body, at, random.chance(0.5) ? random.pick(places).key : random.bits());
};
const shorter: Mutation = (body, random) => {
  const cut = Math.min(body.bytes.length, random.pick([1, 2, 3, 4, 8, 16, random.below(body.bytes.length + 1)]));
  if (body.bytes.length - cut >= Bth.BYTES) Object.assign(body, bodyOf(body.bytes.slice(0, body.bytes.length - cut)));
};
const longer: Mutation = (body, random) => {
  const longer = new Uint8Array(body.bytes.length + random.pick([1, 2, 3, 4, 8, 256, 1024]));
  longer.set(body.bytes);
  Object.assign(body, bodyOf(longer));
};
const anyOctet: Mutation = (body, random) =>
  put8(body, random.below(Math.min(body.bytes.length, 64)), random.below(256));
const anyBit: Mutation = (body, random) => {
  const at = random.below(body.bytes.length);
  put8(body, at, body.view.getUint8(at) ^ (1 << random.below(8)));
};

const ANY: readonly Mutation[] = [
  ...[psn, psn, psn, opcode, opcode, opcode, pad, pad, flagsOf, flagsOf, destQp],
  ...[shorter, shorter, longer, longer, anyOctet, anyOctet, anyBit, anyBit, bits, pKey],
];
const FOR_TARGET: readonly Mutation[] = [key, key, address, address, length, length, length];
const FOR_ANSWER: readonly Mutation[] = [syndrome, syndrome, msn];
const FOR_DATAGRAM: readonly Mutation[] = [qKey, qKey];
const FOR_MAD: readonly Mutation[] = [
  (body, random) => put8(body, MAD_AT + random.below(Mad.BYTES), random.below(256)),
  (body, random) => put8(body, MAD_AT + Mad.BYTES + random.below(100), random.below(256)),
  (body, random) => put8(body, MAD_AT + Mad.BYTES + random.below(232), random.below(256)),
  (body, random) => put32(body, MAD_AT + Mad.BYTES + 4 * random.below(58), random.bits()),
];

/** Those that mean something to this packet, and those that mean something to all. */
function fitting({ bytes, view }: Body): readonly Mutation[] {
  const flags = Opcode.flags(Bth.opcode(view, 0));
  const fit = [...ANY];
  if ((flags & (Opcode.HAS_RETH | Opcode.HAS_ATOMIC)) !== 0) fit.push(...FOR_TARGET);
  if ((flags & Opcode.HAS_ATOMIC) !== 0) fit.push(operand);
  if ((flags & Opcode.HAS_AETH) !== 0) fit.push(...FOR_ANSWER);
  if ((flags & (Opcode.HAS_IETH | Opcode.HAS_IMM)) !== 0) fit.push(lastHeader);
  if ((flags & Opcode.HAS_DETH) !== 0) fit.push(...FOR_DATAGRAM);
  const isMad = (flags & Opcode.HAS_DETH) !== 0 && bytes.length === EXTENSION_AT + Deth.BYTES + Mad.MAD_BYTES;
  if (isMad) fit.push(...FOR_MAD, ...FOR_MAD, ...FOR_MAD);
  return fit;
}

/** One to three fields. */
export function mutate(body: Body, random: Random, places: readonly Place[]): void {
  for (let count = random.pick([1, 1, 1, 2, 3]); count > 0; count--) random.pick(fitting(body))(body, random, places);
}
