/** Where an RDMA WRITE goes: looked up once when its first packet names it, then filled packet by packet. */
import * as Reth from '../wire/reth.ts';
import { Access } from './constants.ts';
import { KeyVerdict, type Qp, type Region, type Regions } from './core.ts';

export class WriteTarget {
  /** Octets of the whole message, and those that have not come. */
  length = 0;
  left = 0;
  #region: Region | null = null;
  #offset = 0;

  /** Reads the RETH's length: before the key is looked at. */
  measure(view: DataView, rethAt: number): void {
    this.length = Reth.length(view, rethAt);
    this.left = this.length;
  }

  /** the whole range is checked before an octet is written. R-076: nothing is asked about an empty one. A KeyVerdict. */
  open(regions: Regions, qp: Qp, view: DataView, rethAt: number): number {
    this.#region = null;
    if (this.length === 0) return KeyVerdict.ACCEPT;
    const hi = Reth.virtualAddressHi(view, rethAt) | 0;
    const lo = Reth.virtualAddressLo(view, rethAt) | 0;
    const key = Reth.rKey(view, rethAt) | 0;
    const verdict = regions.checkRemote(key, hi, lo, this.length, qp.pd, qp.qpn, Access.REMOTE_WRITE);
    if (verdict !== KeyVerdict.ACCEPT) return verdict;
    this.#region = regions.found;
    this.#offset = regions.offset;
    return KeyVerdict.ACCEPT;
  }

  /** false once the region was revoked. */
  isValid(): boolean {
    return this.length === 0 || (this.#region?.valid ?? false);
  }

  /** False when the memory is gone; of payload that is followed by more of the message, the next call may tell. */
  place(bytes: Uint8Array, at: number, length: number, isFollowed: boolean): boolean {
    if (length === 0) return true;
    const region = this.#region;
    if (region === null || !region.memory.write(this.#offset, bytes, at, length, isFollowed)) return false;
    this.#offset += length;
    this.left -= length;
    return true;
  }
}
