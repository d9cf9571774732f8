/** An open uverbs context or rdma_cm channel of a sandboxed program: what the shim keeps of one (native/urnic-shim.c, struct context), kept by the supervisor. */
import { Errno } from '../../rnic/commands.ts';
import { QpState } from '../../rnic/constants.ts';
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import { ARM, Arm } from '../../rnic/queue/layout.ts';
import {
  type Action,
  ActionType,
  decodeReply,
  encodeRequest,
  QP_GONE,
  REQUEST_BYTES_MAX,
  REQUEST_HEADER_BYTES,
  RequestOp,
} from '../../verbs/uverbs/protocol.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { type Mapping, mapShared, release } from '../../workers/linux/memory-map.ts';
import { receiveDescriptors } from '../../workers/linux/unix-socket.ts';
import { pushError } from './last-words.ts';

export interface Answer {
  /** 0, or a negative errno. */
  readonly result: number;
  readonly actions: readonly Action[];
  readonly fds: number[];
}

const PAGE_BYTES = 4096;
const FOREVER = 0;
const outgoing = new Arena(REQUEST_BYTES_MAX + REQUEST_HEADER_BYTES);
const poll = new Arena(8);
const one = new Arena(8);
one.view.setUint32(0, 1, true);

/** Blocks until there is something to read. */
function wait(fd: number): void {
  poll.view.setInt32(0, fd, true);
  poll.view.setInt32(4, Linux.POLLIN, true);
  Libc.ppoll(poll.address, 1, FOREVER, 0);
}

interface Qp {
  readonly state: number;
  readonly slot: number;
  readonly qpNum: number;
  /** For sends, for receives. */
  readonly cqs: readonly number[];
}

export class GuestContext {
  readonly isCm: boolean;
  readonly control: number;
  hasFailed = false;
  /** What a command names an rdma_cm channel by. */
  number = 0;
  /** Descriptors of the program that need it. */
  uses = 0;
  #queueFd = -1;
  #wakeFd = -1;
  #doorbell: DoorbellPage | null = null;
  /** Parts of the queue file, by offset. */
  readonly #mappings = new Map<number, Mapping>();
  readonly #qps = new Map<number, Qp>();
  /** Where in the queue file a CQ's ARM word lies. */
  readonly #cqs = new Map<number, number>();
  readonly #counts = new Map<string, number>();

  /** Takes the connection over. */
  constructor(control: number, isCm: boolean) {
    this.control = control;
    this.isCm = isCm;
  }

  /** One request and its reply. The daemon's end of the connection is EIO. */
  request(op: number, argument: bigint, payload?: Uint8Array): Answer {
    const octets = encodeRequest(op, argument, payload);
    outgoing.bytes.set(octets);
    const sent = Libc.send(this.control, outgoing.address, octets.length, Linux.MSG_NOSIGNAL);
    const fds: number[] = [];
    let reply: Buffer = Buffer.alloc(0);
    while (sent === octets.length && (reply.length < 4 || reply.length < reply.readUInt32LE(0))) {
      wait(this.control);
      const part = receiveDescriptors(this.control);
      if (part?.octets.length === 0) break;
      fds.push(...(part?.fds ?? []));
      reply = Buffer.concat([reply, part?.octets ?? reply.subarray(0, 0)]);
    }
    if (reply.length < 4 || reply.length < reply.readUInt32LE(0)) return { result: -Errno.EIO, actions: [], fds };
    return { ...decodeReply(reply), fds };
  }

  /** Says hello. The descriptors that the program sees, or a negative errno. */
  open(role: number): number[] | number {
    const { result, actions, fds } = this.request(RequestOp.HELLO, BigInt(role));
    const context = actions.find(({ type }) => type === ActionType.CONTEXT);
    if (result < 0 || !context) return result || -Errno.EIO;
    this.number = Number(context.argument);
    if (this.isCm) return fds;
    const [queueFd, wakeFd] = fds;
    this.#queueFd = queueFd!;
    this.#wakeFd = wakeFd!;
    const slots = this.number;
    this.#doorbell = new DoorbellPage(new Int32Array(this.#map(0, doorbellBytes(slots)).buffer), slots);
    return [queueFd!];
  }

  /** What a reply says about queues. False for actions of another kind. */
  learn({ type, address, argument, payload }: Action): boolean {
    const handle = Number(address);
    if (type === ActionType.QP) {
      const state = Number(argument >> 56n);
      const [slot, qpNum] = [Number(argument & 0xffff_ffffn), Number((argument >> 32n) & 0xff_ffffn)];
      const cqs = payload.length > 0 ? new Uint32Array(Uint8Array.from(payload).buffer) : this.#qps.get(handle)?.cqs;
      if (state === QP_GONE) this.#qps.delete(handle);
      else this.#qps.set(handle, { state, slot, qpNum, cqs: [...(cqs ?? [])] });
    } else if (type === ActionType.CQ) {
      if (argument === 0n) this.#cqs.delete(handle);
      else this.#cqs.set(handle, Number(argument));
    } else return false;
    return true;
  }

  /** POST_SEND: 0, or a negative errno. */
  ring(handle: number): number {
    const qp = this.#qps.get(handle);
    if (!qp || qp.state < QpState.RTS) return -Errno.EINVAL;
    if (this.hasFailed) return -Errno.EIO;
    if (this.#doorbell?.ring(qp.slot)) Libc.write(this.#wakeFd, one.address, 8);
    return 0;
  }

  /** REQ_NOTIFY_CQ: NEXT is not lowered to SOLICITED. */
  arm(handle: number, solicitedOnly: boolean): number {
    const at = this.#cqs.get(handle);
    if (at === undefined) return -Errno.EINVAL;
    if (this.hasFailed) return -Errno.EIO;
    const page = at - (at % PAGE_BYTES);
    const words = new Int32Array(this.#map(page, PAGE_BYTES).buffer);
    const index = (at - page) >> 2;
    if (solicitedOnly) Atomics.compareExchange(words, index, Arm.NONE, Arm.SOLICITED);
    else Atomics.store(words, index, Arm.NEXT);
    return 0;
  }

  /** The daemon has ended: who polls finds an error of each QP. */
  fail(): void {
    this.hasFailed = true;
    for (const { qpNum, cqs } of this.#qps.values())
      for (const cq of new Set(cqs)) pushError(this.#queueFd, this.#cqs.get(cq)! - ARM, qpNum);
  }

  /** The program has read an event of this element. */
  count(kind: number, element: bigint): void {
    const name = `${kind} ${element}`;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** How many it has read; the count begins anew. */
  takeCount(kind: number, element: bigint): number {
    const name = `${kind} ${element}`;
    const count = this.#counts.get(name) ?? 0;
    this.#counts.delete(name);
    return count;
  }

  close(): void {
    for (const mapping of this.#mappings.values()) release(mapping);
    this.#mappings.clear();
    Libc.close(this.control);
    if (this.#wakeFd >= 0) Libc.close(this.#wakeFd);
  }

  #map(offset: number, byteLength: number): Mapping {
    const known = this.#mappings.get(offset);
    if (known) return known;
    const mapping = mapShared(this.#queueFd, offset, byteLength);
    this.#mappings.set(offset, mapping);
    return mapping;
  }
}
