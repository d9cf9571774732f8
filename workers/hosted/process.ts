/** Another process whose memory we read and write: alive, or never touched again. process_vm_readv(2), pidfd_open(2). */
import { addressOfArena } from '../../wire/arena.ts';
import { Arena } from '../linux/arena.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned, own } from '../linux/descriptors.ts';
import * as Libc from '../linux/libc.ts';

/** Where the time of the worker's current breath stands: nobody reads a clock for each packet. */
export interface BreathClock {
  now: number;
}

/** A process id is not given to a new process so soon after its old one has ended: within this time one look is enough. */
const FRESH_MICROS = 1000;
const STAGE_BYTES = 1 << 16;
/** struct iovec local, remote; struct pollfd; struct timespec of zero. */
const LOCAL = 0;
const REMOTE = 16;
const POLL = 32;
const ZERO = 40;

const scratch = new Arena(64);
const stage = new Arena(STAGE_BYTES);

type Transfer = (pid: number, local: number, locals: number, remote: number, remotes: number, flags: number) => number;

export class Process {
  readonly pid: number;
  readonly #pidfd: number;
  readonly #clock: BreathClock;
  #seenAt = Number.NEGATIVE_INFINITY;
  #hasEnded = false;

  /** Takes the pidfd over. */
  constructor(pid: number, pidfd: number, clock: BreathClock) {
    this.pid = pid;
    this.#pidfd = own(pidfd);
    this.#clock = clock;
  }

  /** Copies from its memory at `address` to target[at …). False: not all of it could be read. */
  read(address: number, target: Uint8Array, at: number, length: number): boolean {
    const arena = addressOfArena(target);
    if (arena !== undefined) return this.#transfer(Libc.processVmReadv, arena + at, address, length);
    for (let done = 0; done < length; done += STAGE_BYTES) {
      const part = Math.min(STAGE_BYTES, length - done);
      if (!this.#transfer(Libc.processVmReadv, stage.address, address + done, part)) return false;
      target.set(stage.bytes.subarray(0, part), at + done);
    }
    return true;
  }

  /** Copies source[at …) to its memory at `address`. False: not all of it could be written. */
  write(address: number, source: Uint8Array, at: number, length: number): boolean {
    const arena = addressOfArena(source);
    if (arena !== undefined) return this.#transfer(Libc.processVmWritev, arena + at, address, length);
    for (let done = 0; done < length; done += STAGE_BYTES) {
      const part = Math.min(STAGE_BYTES, length - done);
      stage.bytes.set(source.subarray(at + done, at + done + part));
      if (!this.#transfer(Libc.processVmWritev, stage.address, address + done, part)) return false;
    }
    return true;
  }

  /** Copies pieces of ours to pieces of its memory (struct iovec, both). How many octets could be written, from the first on. */
  writePieces(pieces: number, count: number, remotes: number, remoteCount: number): number {
    if (!this.#isAlive()) return 0;
    return Math.max(0, Libc.processVmWritev(this.pid, pieces, count, remotes, remoteCount, 0));
  }

  close(): void {
    this.#hasEnded = true;
    closeOwned(this.#pidfd);
  }

  #transfer(transfer: Transfer, local: number, remote: number, length: number): boolean {
    if (length === 0) return true;
    scratch.setPointer(LOCAL, local);
    scratch.setPointer(LOCAL + 8, length);
    if (!this.#isAlive()) return false;
    scratch.setPointer(REMOTE, remote);
    scratch.setPointer(REMOTE + 8, length);
    return transfer(this.pid, scratch.address + LOCAL, 1, scratch.address + REMOTE, 1, 0) === length;
  }

  #isAlive(): boolean {
    const { now } = this.#clock;
    if (this.#hasEnded) return false;
    if (now - this.#seenAt <= FRESH_MICROS) return true;
    scratch.view.setInt32(POLL, this.#pidfd, true);
    scratch.view.setInt32(POLL + 4, Linux.POLLIN, true);
    // A pidfd is readable once its process has ended. A signal that comes just now (-1, EINTR) says nothing of that.
    this.#hasEnded = Libc.ppoll(scratch.address + POLL, 1, scratch.address + ZERO, 0) === 1;
    this.#seenAt = now;
    return !this.#hasEnded;
  }
}
