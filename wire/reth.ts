/**
 * RETH: RDMA Extended Transport Header, where and how much a WRITE or READ touches. IBA Vol. 1, ch. 9.
 *
 *     +---------------------------------------------------------------+
 *   0 |                    Virtual Address (63-32)                    |
 *   4 |                    Virtual Address (31-0)                     |
 *     +---------------------------------------------------------------+
 *   8 |                             R_Key                             |
 *     +---------------------------------------------------------------+
 *  12 |                          DMA Length                           |
 *     +---------------------------------------------------------------+
 */
import type { RKey } from './types.ts';

export const BYTES = 16;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const virtualAddressHi = (view: DataView, at: number): number => view.getUint32(at);
export const virtualAddressLo = (view: DataView, at: number): number => view.getUint32(at + 4);
export const rKey = (view: DataView, at: number): RKey => view.getUint32(at + 8) as RKey;
/** DMA length in octets, of the whole message. */
export const length = (view: DataView, at: number): number => view.getUint32(at + 12);

export function write(view: DataView, at: number, hi: number, lo: number, rKey: RKey, length: number): void {
  view.setUint32(at, hi);
  view.setUint32(at + 4, lo);
  view.setUint32(at + 8, rKey);
  view.setUint32(at + 12, length);
}

export interface Fields {
  readonly virtualAddressHi: number;
  readonly virtualAddressLo: number;
  readonly rKey: RKey;
  readonly length: number;
}

export const read = (view: DataView, at: number): Fields => ({
  virtualAddressHi: virtualAddressHi(view, at),
  virtualAddressLo: virtualAddressLo(view, at),
  rKey: rKey(view, at),
  length: length(view, at),
});

export const writeFields = (view: DataView, at: number, f: Fields): void =>
  write(view, at, f.virtualAddressHi, f.virtualAddressLo, f.rKey, f.length);
