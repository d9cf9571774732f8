/** The kernel's end of a sandbox: system calls that wait for an answer, and the answers. seccomp_unotify(2). */
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';

/** _IOWR('!', 0, struct seccomp_notif) and the next ones. */
const RECEIVE = 0xc050_2100;
const SEND = 0xc018_2101;
const ADD_DESCRIPTOR = 0x4018_2103;
const CONTINUE = 1;
const SET_NUMBER = 1;
const AND_SEND = 2;
const NOTIFICATION_BYTES = 80;

/** One system call that waits. */
export interface Notification {
  readonly id: bigint;
  /** The thread, as our process numbers it. */
  readonly tid: number;
  readonly number: number;
  /** Pointers and lengths of user space are safe integers. */
  readonly args: readonly number[];
}

const received = new Arena(NOTIFICATION_BYTES);
const response = new Arena(24);
const addition = new Arena(24);

export class Notifications {
  readonly fileDescriptor: number;

  constructor(fileDescriptor: number) {
    this.fileDescriptor = fileDescriptor;
  }

  /** Undefined when the thread has gone meanwhile. */
  receive(): Notification | undefined {
    received.bytes.fill(0);
    if (Libc.ioctl(this.fileDescriptor, RECEIVE, received.address) === -1) return undefined;
    const { view } = received;
    const args = [0, 1, 2, 3, 4, 5].map((index) => Number(view.getBigUint64(32 + 8 * index, true)));
    return { id: view.getBigUint64(0, true), tid: view.getUint32(8, true), number: view.getInt32(16, true), args };
  }

  /** The call runs as it is. */
  proceed(of: Notification): void {
    this.#respond(of, 0, 0, CONTINUE);
  }

  succeed(of: Notification, value = 0): void {
    this.#respond(of, value, 0, 0);
  }

  fail(of: Notification, errno: number): void {
    this.#respond(of, 0, -errno, 0);
  }

  /** Gives the thread's process a duplicate of our descriptor, under this number. False: it has gone, or takes no more. */
  give(of: Notification, fd: number, number: number, flags: number): boolean {
    return this.#add(of, fd, number, SET_NUMBER, flags) !== -1;
  }

  /** The same as the call's answer; without a number, under the lowest that is free. */
  answerWith(of: Notification, fd: number, flags: number, number?: number): void {
    const how = number === undefined ? AND_SEND : AND_SEND | SET_NUMBER;
    if (this.#add(of, fd, number ?? 0, how, flags) === -1) this.fail(of, Libc.errno());
  }

  #add(of: Notification, fd: number, number: number, how: number, flags: number): number {
    const { view } = addition;
    view.setBigUint64(0, of.id, true);
    view.setUint32(8, how, true);
    view.setUint32(12, fd, true);
    view.setUint32(16, number, true);
    view.setUint32(20, flags, true);
    return Libc.ioctl(this.fileDescriptor, ADD_DESCRIPTOR, addition.address);
  }

  #respond(of: Notification, value: number, error: number, flags: number): void {
    const { view } = response;
    view.setBigUint64(0, of.id, true);
    view.setBigInt64(8, BigInt(value), true);
    view.setInt32(16, error, true);
    view.setUint32(20, flags, true);
    Libc.ioctl(this.fileDescriptor, SEND, response.address); // ENOENT: a signal has ended the thread
  }
}
