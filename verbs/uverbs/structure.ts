/** C structures of the kernel's ABI, read from a program and written for it: little endian, bounds checked. */
import { invalid } from './errors.ts';

/** What a program wrote. Every read past its end is EINVAL: the program gave a shorter structure than its command has. */
export class Input {
  readonly #octets: Buffer;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  get length(): number {
    return this.#octets.length;
  }

  u8(at: number): number {
    return this.#octets[this.#check(at, 1)]!;
  }

  u16(at: number): number {
    return this.#octets.readUInt16LE(this.#check(at, 2));
  }

  u32(at: number): number {
    return this.#octets.readUInt32LE(this.#check(at, 4));
  }

  s32(at: number): number {
    return this.#octets.readInt32LE(this.#check(at, 4));
  }

  u64(at: number): bigint {
    return this.#octets.readBigUInt64LE(this.#check(at, 8));
  }

  /** A length or an address in user space; larger than 2^53 is EINVAL. */
  size(at: number): number {
    const value = this.u64(at);
    if (value > Number.MAX_SAFE_INTEGER) throw invalid('a length or address beyond all memory');
    return Number(value);
  }

  /** A copy. */
  octets(at: number, length: number): Uint8Array {
    return Uint8Array.from(this.#octets.subarray(this.#check(at, length), at + length));
  }

  #check(at: number, length: number): number {
    if (at + length > this.#octets.length) throw invalid('the command is shorter than its structure');
    return at;
  }
}

/** What the program gets back. */
export class Output {
  readonly octets: Buffer;

  constructor(length: number) {
    this.octets = Buffer.alloc(length);
  }

  u8(at: number, value: number): this {
    this.octets[at] = value;
    return this;
  }

  u16(at: number, value: number): this {
    this.octets.writeUInt16LE(value & 0xffff, at);
    return this;
  }

  u32(at: number, value: number): this {
    this.octets.writeUInt32LE(value >>> 0, at);
    return this;
  }

  u64(at: number, value: bigint): this {
    this.octets.writeBigUInt64LE(BigInt.asUintN(64, value), at);
    return this;
  }

  be64(at: number, value: bigint): this {
    this.octets.writeBigUInt64BE(BigInt.asUintN(64, value), at);
    return this;
  }

  set(at: number, octets: Uint8Array): this {
    this.octets.set(octets, at);
    return this;
  }
}
