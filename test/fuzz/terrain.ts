/**
 * The memory of a fuzzed vRNIC: regions with every kind of right, and between them octets that no key names. What no packet may change is summed; what no packet may
 * read is filled with one octet, that a response is searched for.
 */
import { Access, WrOpcode } from '../../rnic/constants.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { crc32, registerArena } from '../../wire/crc32.ts';
import { putBind } from '../drills/language/post.ts';
import type { TestEngine, TestQp } from '../support/engine.ts';
import type { SgeValue } from '../support/sim/work.ts';

/** A key and the octets that it names: what a peer was told, and more. */
export interface Place {
  readonly key: number;
  readonly hi: number;
  readonly lo: number;
  readonly bytes: number;
}

export const OPEN_BYTES = 32_768;
const GUARD_BYTES = 4096;
const READABLE_BYTES = 8192;
const PARENT_BYTES = 16_384;
const WINDOW_BYTES = 4096;
const FOREIGN_BYTES = 4096;
const SOURCE_BYTES = 16_384;
const FAST_BYTES = 4096;
/** What stands where no packet may read. */
const SECRET = 0xa5;
const SECRET_RUN = Buffer.alloc(8, SECRET);

const OPEN_IOVA = 0x1_0000;
const SOURCE_IOVA = 0x100_0000;
const PARENT_IOVA = 0x7fff_f000;
const FAST_IOVA = 0xffff_f000;
const FOREIGN_IOVA = 0x3000;
/** Its last octet is the last address that there is. */
const READABLE_IOVA = 2n ** 64n - BigInt(READABLE_BYTES);

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED, FLUSH_GLOBAL } = Access;
const ALL = LOCAL_WRITE | REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC | FLUSH_GLOBAL;

interface Span {
  readonly at: number;
  readonly bytes: number;
}

export class Terrain {
  /** Keys by name; what one names may have gone. */
  readonly places: Place[] = [];
  readonly #arena: Uint8Array;
  readonly #engine: TestEngine;
  readonly #pd: number;
  readonly #memory: SharedMemory;
  /** What no packet may change. */
  readonly #still: Span[] = [];
  readonly #stillSum: number;
  readonly #open: Place;
  readonly #source: Place;
  readonly #parentKey: number;
  readonly #parent: Span;
  readonly #fast: Span;
  #end = 0;
  /** Windows and regions for fast registration, by the QP that has them. */
  readonly #mws = new Map<number, { mw: number; mr: number; places: Place[] }>();

  constructor(engine: TestEngine, pd: number) {
    this.#engine = engine;
    this.#pd = pd;
    const guards = 8;
    const bytes = OPEN_BYTES + READABLE_BYTES + PARENT_BYTES + FOREIGN_BYTES + SOURCE_BYTES + FAST_BYTES;
    this.#arena = new Uint8Array(new SharedArrayBuffer(bytes + guards * GUARD_BYTES));
    registerArena(this.#arena);
    this.#memory = new SharedMemory(this.#arena.buffer);
    const foreignPd = engine.execute({ op: 'allocPd' }).pd;
    this.#open = this.#region(pd, this.#span(OPEN_BYTES, 0), BigInt(OPEN_IOVA), ALL);
    this.#region(pd, this.#span(READABLE_BYTES, 0x11, true), READABLE_IOVA, REMOTE_READ);
    this.#parent = this.#span(PARENT_BYTES, SECRET);
    this.#parentKey = this.#region(pd, this.#parent, BigInt(PARENT_IOVA), LOCAL_WRITE | MW_BIND).key;
    this.#region(foreignPd, this.#span(FOREIGN_BYTES, SECRET, true), BigInt(FOREIGN_IOVA), ALL);
    this.#source = this.#region(pd, this.#span(SOURCE_BYTES, SECRET, true), BigInt(SOURCE_IOVA), LOCAL_WRITE);
    this.#fast = this.#span(FAST_BYTES, 0x33);
    this.#guard();
    const windowAt = this.#windowSpan();
    this.#still.push({ at: this.#parent.at, bytes: windowAt.at - this.#parent.at });
    const behind = windowAt.at + windowAt.bytes;
    this.#still.push({ at: behind, bytes: this.#parent.at + PARENT_BYTES - behind });
    this.#arena.fill(0x22, windowAt.at, behind);
    this.#stillSum = this.#sum();
  }

  /** False: an octet has changed that no packet may change. */
  holds(): boolean {
    return this.#sum() === this.#stillSum;
  }

  /** True when the octets hold what no key lets a peer read. */
  static tells(octets: Uint8Array): boolean {
    return Buffer.from(octets.buffer, octets.byteOffset, octets.length).includes(SECRET_RUN);
  }

  /** Where receives and the answers to our READs go. */
  inbox(offset: number, length: number): SgeValue {
    return { address: OPEN_IOVA + offset, length, lKey: this.#open.key };
  }

  /** What we send. */
  outbox(offset: number, length: number): SgeValue {
    return { address: SOURCE_IOVA + offset, length, lKey: this.#source.key };
  }

  /** A window of type 2 and a fast registration for a QP that has come to RTS; those that it had are gone. */
  grant(qp: TestQp): void {
    const engine = this.#engine;
    this.#revoke(qp);
    const { mw, rKey } = engine.execute({ op: 'allocMw', pd: this.#pd, type: (qp.qpn & 1) === 0 ? 2 : 1 });
    const address = PARENT_IOVA + this.#windowSpan().at - this.#parent.at;
    const access = REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC;
    const window = { window: rKey, region: this.#parentKey, address, length: WINDOW_BYTES, access };
    const isZeroBased = (qp.qpn & 3) === 0;
    const bind = { ...window, access: access | (isZeroBased ? ZERO_BASED : 0), newKey: (rKey + 1) & 0xff };
    const memory = this.#memory;
    const made = engine.execute({ op: 'allocMr', pd: this.#pd, maxBytes: FAST_BYTES, memory, start: this.#fast.at });
    const region = { region: made.rKey, window: 0, address: FAST_IOVA, length: FAST_BYTES, access: ALL };
    putBind(qp.sq, WrOpcode.BIND_MW, 1, bind);
    putBind(qp.sq, WrOpcode.REG_MR, 2, { ...region, newKey: (made.rKey + 1) & 0xff });
    engine.page.ring(qp.slot);
    const places = [
      placeOf(lastChanged(rKey), BigInt(isZeroBased ? 0 : address), WINDOW_BYTES),
      placeOf(lastChanged(made.rKey), BigInt(FAST_IOVA), FAST_BYTES),
    ];
    this.places.push(...places);
    this.#mws.set(qp.qpn, { mw, mr: made.mr, places });
  }

  #revoke(qp: TestQp): void {
    const had = this.#mws.get(qp.qpn);
    if (had === undefined) return;
    this.#engine.execute({ op: 'deallocMw', mw: had.mw });
    this.#engine.execute({ op: 'deregMr', mr: had.mr });
    for (const place of had.places) this.places.splice(this.places.indexOf(place), 1);
  }

  #windowSpan(): Span {
    return { at: this.#parent.at + 4096, bytes: WINDOW_BYTES };
  }

  #guard(): void {
    this.#still.push({ at: this.#end, bytes: GUARD_BYTES });
    this.#arena.fill(SECRET, this.#end, this.#end + GUARD_BYTES);
    this.#end += GUARD_BYTES;
  }

  /** The next octets, behind a guard. */
  #span(bytes: number, octet: number, isStill = false): Span {
    this.#guard();
    const span = { at: this.#end, bytes };
    this.#arena.fill(octet, span.at, span.at + bytes);
    this.#end += bytes;
    if (isStill) this.#still.push(span);
    return span;
  }

  #region(pd: number, { at, bytes }: Span, iova: bigint, access: number): Place {
    const region = { pd, memory: this.#memory, start: at, length: bytes, iova, access };
    const place = placeOf(this.#engine.execute({ op: 'regMr', ...region }).rKey, iova, bytes);
    this.places.push(place);
    return place;
  }

  #sum(): number {
    return this.#still.reduce((sum, { at, bytes }) => crc32(this.#arena, at, at + bytes, sum), 0);
  }
}

const lastChanged = (key: number): number => ((key & 0xffff_ff00) | ((key + 1) & 0xff)) >>> 0;

const placeOf = (key: number, iova: bigint, bytes: number): Place => ({
  key,
  hi: Number(iova >> 32n),
  lo: Number(iova & 0xffff_ffffn),
  bytes,
});
