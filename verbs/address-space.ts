/** Addresses for SharedArrayBuffers: JavaScript has none to show, verbs need them. Each buffer gets a range of its own, the same for the life of the process. */

/** Far from where anything is mapped, so that a stray number is not a valid address. */
const FIRST = 0x7e00_0000_0000n;
/** Ranges do not touch: one octet past a buffer is nobody's. */
const PAGE = 4096n;

const addresses = new WeakMap<ArrayBufferLike, bigint>();
let next = FIRST;

/** Address of the buffer's first octet. */
export function addressOf(buffer: ArrayBufferLike): bigint {
  let address = addresses.get(buffer);
  if (address === undefined) {
    address = next;
    addresses.set(buffer, address);
    next += ((BigInt(buffer.byteLength) + PAGE - 1n) / PAGE + 1n) * PAGE;
  }
  return address;
}
