/** Requests that a QP of the fuzzed engine should take: in order, with keys that were given out. */
import * as AtomicEth from '../../wire/atomic-eth.ts';
import * as Cnp from '../../wire/cnp.ts';
import * as Deth from '../../wire/deth.ts';
import * as Feth from '../../wire/feth.ts';
import * as Ieth from '../../wire/ieth.ts';
import * as ImmDt from '../../wire/imm-dt.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as PsnMath from '../../wire/psn.ts';
import * as Reth from '../../wire/reth.ts';
import type { OpCode, PKey, Psn, QKey, Qpn, RKey } from '../../wire/types.ts';
import type { Random } from '../support/sim/random.ts';
import { type Body, bodyOf, EXTENSION_AT, layOut } from './body.ts';
import type { Target } from './target.ts';
import type { Place } from './terrain.ts';

export const KNOWN_Q_KEY = 0x1111 as QKey;
const ENDS_OF_SEND = [Opcode.RC_SEND_LAST, Opcode.RC_SEND_LAST_WITH_IMMEDIATE, Opcode.RC_SEND_LAST_WITH_INVALIDATE];
const ENDS_OF_WRITE = [Opcode.RC_RDMA_WRITE_LAST, Opcode.RC_RDMA_WRITE_LAST_WITH_IMMEDIATE];
const WHOLE_SENDS = [Opcode.RC_SEND_ONLY, Opcode.RC_SEND_ONLY_WITH_IMMEDIATE, Opcode.RC_SEND_ONLY_WITH_INVALIDATE];
const WHOLE_WRITES = [Opcode.RC_RDMA_WRITE_ONLY, Opcode.RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE];
/** UC has the RC rows but those with a key to invalidate. */
const UC_COUNT = 2;

export class Requests {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  rc(target: Target, places: readonly Place[]): Body {
    if (target.inside !== 0 && this.#random.chance(0.9)) return this.#goOn(target, places, Opcode.RC);
    const kind = this.#random.below(10);
    if (kind < 3) return this.#begin(target, places, Opcode.RC, Opcode.IS_SEND);
    if (kind < 6) return this.#begin(target, places, Opcode.RC, Opcode.IS_WRITE);
    if (kind === 6) return this.#read(target, places);
    if (kind === 7) return this.#atomic(target, places);
    return kind === 8 ? this.#atomicWrite(target, places) : this.#flush(target, places);
  }

  uc(target: Target, places: readonly Place[]): Body {
    if (target.inside !== 0 && this.#random.chance(0.9)) return this.#goOn(target, places, Opcode.UC);
    const isSend = this.#random.chance(0.5);
    return this.#begin(target, places, Opcode.UC, isSend ? Opcode.IS_SEND : Opcode.IS_WRITE);
  }

  ud(destQpn: number, qKey = KNOWN_Q_KEY): Body {
    const random = this.#random;
    const opcode = random.chance(0.5) ? Opcode.UD_SEND_ONLY : Opcode.UD_SEND_ONLY_WITH_IMMEDIATE;
    const body = layOut(opcode, destQpn, random.below(2 ** 24) as Psn, false, this.#bytes(1024), random);
    Deth.write(body.view, EXTENSION_AT, qKey, (random.bits() & 0xff_ffff) as Qpn);
    return body;
  }

  cnp(target: Target): Body {
    const body = bodyOf(new Uint8Array(Cnp.BYTES));
    Cnp.write(body.view, 0, 0xffff as PKey, target.qp.qpn as Qpn);
    return body;
  }

  #bytes(mtu: number): number {
    const random = this.#random;
    return random.pick([0, 1, 3, 8, 100, mtu - 1, mtu, random.below(mtu)]);
  }

  /** The first packet of a message, or a whole one. */
  #begin(target: Target, places: readonly Place[], transport: number, kind: number): Body {
    const random = this.#random;
    const isSend = kind === Opcode.IS_SEND;
    const mtu = target.mtuBytes;
    const isLong = random.chance(0.4);
    const place = this.#place(places);
    const length = isLong ? mtu + 1 + random.below(2 * mtu) : this.#bytes(mtu);
    const first = isSend ? Opcode.RC_SEND_FIRST : Opcode.RC_RDMA_WRITE_FIRST;
    const whole = this.#pick(isSend ? WHOLE_SENDS : WHOLE_WRITES, transport);
    const opcode = (transport | (isLong ? first : whole)) as OpCode;
    const body = this.#next(target, opcode, isLong ? mtu : length);
    if (!isSend) this.#reth(body, EXTENSION_AT, place, length);
    target.inside = isLong ? kind : 0;
    target.left = isLong ? length - mtu : 0;
    return this.#finish(body, opcode, places);
  }

  #goOn(target: Target, places: readonly Place[], transport: number): Body {
    const isSend = target.inside === Opcode.IS_SEND;
    const mtu = target.mtuBytes;
    const ends = target.left <= mtu;
    const middle = isSend ? Opcode.RC_SEND_MIDDLE : Opcode.RC_RDMA_WRITE_MIDDLE;
    const last = this.#pick(isSend ? ENDS_OF_SEND : ENDS_OF_WRITE, transport);
    const opcode = (transport | (ends ? last : middle)) as OpCode;
    const body = this.#next(target, opcode, Math.min(target.left, mtu));
    target.left -= mtu;
    if (ends) target.inside = 0;
    return this.#finish(body, opcode, places);
  }

  #read(target: Target, places: readonly Place[]): Body {
    const length = this.#random.below(3 * target.mtuBytes);
    const body = this.#next(target, Opcode.RC_RDMA_READ_REQUEST, 0);
    this.#reth(body, EXTENSION_AT, this.#place(places), length);
    target.expected = PsnMath.add(target.expected, Math.max(1, Math.ceil(length / target.mtuBytes)) - 1);
    return body;
  }

  #atomic(target: Target, places: readonly Place[]): Body {
    const random = this.#random;
    const { key, hi, lo, bytes } = this.#place(places);
    const body = this.#next(target, random.chance(0.5) ? Opcode.RC_COMPARE_SWAP : Opcode.RC_FETCH_ADD, 0);
    const at = lo + (random.below(bytes) & ~7);
    const [a, b, c, d] = [random.bits(), random.bits(), random.below(2), random.below(2)];
    AtomicEth.write(body.view, EXTENSION_AT, hi, at, key as RKey, a, b, c, d);
    return body;
  }

  #atomicWrite(target: Target, places: readonly Place[]): Body {
    const body = this.#next(target, Opcode.RC_ATOMIC_WRITE, 8);
    this.#reth(body, EXTENSION_AT, this.#place(places), 8, ~7);
    return body;
  }

  #flush(target: Target, places: readonly Place[]): Body {
    const random = this.#random;
    const body = this.#next(target, Opcode.RC_FLUSH, 0);
    Feth.write(body.view, EXTENSION_AT, random.chance(0.8) ? Feth.GLOBAL_VISIBILITY : random.below(4), random.below(2));
    this.#reth(body, EXTENSION_AT + Feth.BYTES, this.#place(places), random.below(4096));
    return body;
  }

  /** A packet at the expected PSN, which moves on. */
  #next(target: Target, opcode: OpCode, payloadBytes: number): Body {
    const psn = target.expected;
    target.expected = PsnMath.next(psn);
    return layOut(opcode, target.qp.qpn, psn, this.#random.chance(0.7), payloadBytes, this.#random);
  }

  /** Inside the place where it fits. */
  #reth(body: Body, at: number, { key, hi, lo, bytes }: Place, length: number, mask = ~0): void {
    const room = Math.max(1, bytes - length + 1);
    Reth.write(body.view, at, hi, (lo + (this.#random.below(room) & mask)) >>> 0, key as RKey, length);
  }

  /** What stands last among the headers. */
  #finish(body: Body, opcode: OpCode, places: readonly Place[]): Body {
    const flags = Opcode.flags(opcode);
    const end = Opcode.headerBytes(opcode);
    if ((flags & Opcode.HAS_IMM) !== 0) ImmDt.write(body.view, end - ImmDt.BYTES, this.#random.bits());
    if ((flags & Opcode.HAS_IETH) !== 0) Ieth.write(body.view, end - Ieth.BYTES, this.#random.pick(places).key as RKey);
    return body;
  }

  /** Mostly the first, that grants everything: a wrong key is the end of a QP. */
  #place(places: readonly Place[]): Place {
    return this.#random.chance(0.75) ? places[0]! : this.#random.pick(places);
  }

  /** Keys are invalidated now and then only: they are worth keeping. */
  #pick(opcodes: readonly OpCode[], transport: number): OpCode {
    const mayInvalidate = transport === Opcode.RC && this.#random.chance(0.1);
    return opcodes[this.#random.below(mayInvalidate ? opcodes.length : UC_COUNT)]!;
  }
}
