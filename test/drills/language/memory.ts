/** Memory of the application under drill: octets with a pattern, so that what was written shows, and what was not. */
import { Access } from '../../../rnic/constants.ts';
import type { TestEngine } from '../../support/engine.ts';

export const ALL_RIGHTS =
  Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC | Access.MW_BIND;

export interface RegionOptions {
  readonly bytes?: number;
  /** Address that SGEs and peers use. */
  readonly address?: number | bigint;
  readonly access?: number;
  readonly pd: number;
}

const patternAt = (i: number): number => (i * 29 + (i >> 8) * 3 + 17) & 0xff;

export class DrillMemory {
  readonly mr: number;
  readonly key: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: bigint;

  constructor(engine: TestEngine, { bytes = 4096, address = 0x10_0000, access = ALL_RIGHTS, pd }: RegionOptions) {
    this.address = BigInt(address);
    const { mr, key, bytes: octets } = engine.registerMemory(pd, bytes, access, this.address);
    this.mr = mr;
    this.key = key;
    this.bytes = octets;
    this.view = new DataView(octets.buffer);
    for (let i = 0; i < bytes; i++) octets[i] = patternAt(i);
  }

  octets(address: number | bigint, bytes: number): Uint8Array {
    const at = this.#offset(address);
    return Uint8Array.from(this.bytes.subarray(at, at + bytes));
  }

  /** What stood there at the start. */
  pattern(address: number | bigint, bytes: number): Uint8Array {
    const at = this.#offset(address);
    return Uint8Array.from({ length: bytes }, (_, i) => patternAt(at + i));
  }

  /** Everything is as it was at the start. */
  get isUntouched(): boolean {
    return this.bytes.every((octet, i) => octet === patternAt(i));
  }

  /** A word of 64 bits in the host's order, as atomics see it. */
  word(address: number): bigint {
    return this.view.getBigUint64(this.#offset(address), true);
  }

  setWord(address: number, value: bigint): void {
    this.view.setBigUint64(this.#offset(address), value, true);
  }

  #offset(address: number | bigint): number {
    return Number(BigInt(address) - this.address);
  }
}
