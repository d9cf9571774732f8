/** Memory at one address for ever: what native code reads and writes without a pointer being made per call. */
import koffi from 'koffi';

/** Address of octets that live in a SharedArrayBuffer (never moved, and alive while `bytes` is). */
export const addressOf = (bytes: Uint8Array): number => Number(koffi.address(bytes));

export class Arena {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: number;

  constructor(byteLength: number) {
    const memory = new SharedArrayBuffer(byteLength);
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.address = addressOf(this.bytes);
  }

  pointer(at: number): number {
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 0x1_0000_0000;
  }

  /** A pointer or size_t in native order. User addresses stay below 2^47. */
  setPointer(at: number, value: number): void {
    this.view.setUint32(at, value >>> 0, true);
    this.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
  }
}
