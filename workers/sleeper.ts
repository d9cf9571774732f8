/** How a worker sleeps: ppoll on its ports and its bell until something comes or a deadline passes. */
import { Arena } from './linux/arena.ts';
import * as Linux from './linux/constants.ts';
import * as Libc from './linux/libc.ts';

const POLLFD_BYTES = 8;
const TIMESPEC_BYTES = 16;

export class Sleeper {
  #memory = new Arena(TIMESPEC_BYTES + 16 * POLLFD_BYTES);
  #count = 0;

  /** Begins a new set of descriptors. */
  reset(): void {
    this.#count = 0;
  }

  /** @param forRoom also wakes when the socket takes frames again. */
  add(fileDescriptor: number, forRoom: boolean): void {
    const at = TIMESPEC_BYTES + this.#count * POLLFD_BYTES;
    if (at + POLLFD_BYTES > this.#memory.bytes.length) this.#grow();
    const { view } = this.#memory;
    view.setInt32(at, fileDescriptor, true);
    view.setInt16(at + 4, forRoom ? Linux.POLLIN | Linux.POLLOUT : Linux.POLLIN, true);
    view.setInt16(at + 6, 0, true);
    this.#count++;
  }

  /** @param micros at most, 0 or more; Infinity: until something comes. */
  sleep(micros: number): void {
    const { view, address } = this.#memory;
    if (micros === Number.POSITIVE_INFINITY) {
      Libc.ppoll(address + TIMESPEC_BYTES, this.#count, 0, 0);
      return;
    }
    const seconds = Math.floor(micros / 1e6);
    view.setUint32(0, seconds, true);
    view.setUint32(4, 0, true);
    view.setUint32(8, Math.floor((micros - seconds * 1e6) * 1000), true);
    view.setUint32(12, 0, true);
    Libc.ppoll(address + TIMESPEC_BYTES, this.#count, address, 0);
  }

  #grow(): void {
    const larger = new Arena(this.#memory.bytes.length * 2);
    larger.bytes.set(this.#memory.bytes);
    this.#memory = larger;
  }
}
