/**
 * The argument of recvmmsg and sendmmsg: an array of messages, laid out once, filled in with numbers. struct mmsghdr on 64-bit Linux:
 *
 *     0  name *        8  name octets       16  iovec *     24  iovecs
 *     32 control *     40 control octets    48  flags       56  octets received or sent
 */
import { boxed } from '../../wire/arena.ts';
import { Arena } from './arena.ts';
import * as Libc from './libc.ts';

const HEADER_BYTES = 64;
const IOVEC_BYTES = 16;
const LENGTH_AT = 56;
const round8 = (bytes: number): number => (bytes + 7) & ~7;

export class MessageBatch {
  readonly memory: Arena;
  readonly count: number;
  readonly #iovecsAt: number;
  readonly #iovecCount: number;
  readonly #headsAt: number;
  readonly #headBytes: number;
  readonly #namesAt: number;
  readonly #nameBytes: number;
  readonly #controlsAt: number;
  readonly #controlBytes: number;

  /**
   * @param headBytes octets of a small area of its own for each message, its first iovec (a virtio header); 0 for none.
   * @param nameBytes room for an address of each message. @param controlBytes room for ancillary data of each.
   */
  constructor(count: number, headBytes: number, nameBytes: number, controlBytes: number) {
    this.count = count;
    this.#iovecCount = headBytes > 0 ? 2 : 1;
    this.#headBytes = headBytes;
    this.#nameBytes = round8(nameBytes);
    this.#controlBytes = round8(controlBytes);
    this.#iovecsAt = count * HEADER_BYTES;
    this.#headsAt = this.#iovecsAt + count * this.#iovecCount * IOVEC_BYTES;
    this.#namesAt = this.#headsAt + count * round8(headBytes);
    this.#controlsAt = this.#namesAt + count * this.#nameBytes;
    this.memory = new Arena(this.#controlsAt + count * this.#controlBytes);
    for (let i = 0; i < count; i++) this.#layOut(i);
  }

  /** Where the small area of message i begins in `memory`. */
  headAt(i: number): number {
    return this.#headsAt + i * round8(this.#headBytes);
  }

  nameAt(i: number): number {
    return this.#namesAt + i * this.#nameBytes;
  }

  controlAt(i: number): number {
    return this.#controlsAt + i * this.#controlBytes;
  }

  /** Where the data of message i lies. */
  setData(i: number, address: number, byteLength: number): void {
    const at = this.#iovecsAt + ((i + 1) * this.#iovecCount - 1) * IOVEC_BYTES;
    this.memory.setPointer(at, address);
    this.memory.setPointer(at + 8, byteLength);
  }

  /** recvmmsg leaves the lengths that it found here: they are set again before each call. */
  setNameBytes(i: number, byteLength: number): void {
    this.memory.view.setUint32(i * HEADER_BYTES + 8, byteLength, true);
  }

  setControlBytes(i: number, byteLength: number): void {
    this.memory.view.setUint32(i * HEADER_BYTES + 40, byteLength, true);
  }

  nameBytes(i: number): number {
    return this.memory.view.getUint32(i * HEADER_BYTES + 8, true);
  }

  controlBytes(i: number): number {
    return this.memory.view.getUint32(i * HEADER_BYTES + 40, true);
  }

  flags(i: number): number {
    return this.memory.view.getUint32(i * HEADER_BYTES + 48, true);
  }

  /** Octets of message i, its small area included. */
  byteLength(i: number): number {
    return this.memory.view.getUint32(i * HEADER_BYTES + LENGTH_AT, true);
  }

  receive(fd: number, count: number, flags: number): number {
    return Libc.recvmmsg(fd, boxed(this.memory.address), count, flags, 0);
  }

  send(fd: number, count: number, flags: number): number {
    return Libc.sendmmsg(fd, boxed(this.memory.address), count, flags);
  }

  /** The cheaper call for message 0 alone. Its octets, or -1. */
  receiveOne(fd: number, flags: number): number {
    const bytes = Libc.recvmsg(fd, boxed(this.memory.address), flags);
    if (bytes >= 0) this.memory.view.setUint32(LENGTH_AT, bytes, true);
    return bytes;
  }

  /** Message 0 alone: its octets, or -1. */
  sendOne(fd: number, flags: number): number {
    return Libc.sendmsg(fd, boxed(this.memory.address), flags);
  }

  #layOut(i: number): void {
    const header = i * HEADER_BYTES;
    const iovecs = this.#iovecsAt + i * this.#iovecCount * IOVEC_BYTES;
    if (this.#nameBytes > 0) this.memory.setPointer(header, this.memory.address + this.nameAt(i));
    if (this.#controlBytes > 0) this.memory.setPointer(header + 32, this.memory.address + this.controlAt(i));
    this.memory.setPointer(header + 16, this.memory.address + iovecs);
    this.memory.setPointer(header + 24, this.#iovecCount);
    if (this.#headBytes === 0) return;
    this.memory.setPointer(iovecs, this.memory.address + this.headAt(i));
    this.memory.setPointer(iovecs + 8, this.#headBytes);
  }
}
