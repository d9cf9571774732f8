/**
 * What the shim in a program (native/urnic-shim.c) and the daemon say to each other on a context's control socket. native/urnic-protocol.h holds the same
 * numbers. A request is answered by one reply, in order; all values are little endian.
 *
 *     request  { u32 length, u32 op, u64 argument } payload
 *     reply    { u32 length, i32 result, u32 actions, u32 descriptors } actions; the descriptors travel beside it (SCM_RIGHTS)
 *     action   { u32 type, u32 length, u64 address, u64 argument } payload, padded to 8 octets
 */
export const RequestOp = { HELLO: 1, WRITE: 2, REQUEUE: 3, CLOSE_CHANNEL: 4, CALL: 5, LEAVE: 6 } as const;
export const Role = { CONTEXT: 1, ATTACH: 2, CM: 3, CM_ATTACH: 4, LINK: 5, WAKE: 6 } as const;
/** What the daemon says to a TypeScript program after the hello: the same shape as a request. ANSWER's argument is that of its CALL or LEAVE. */
export const NoticeOp = { ANSWER: 1, EVENT: 2 } as const;
export const ActionType = {
  POKE: 1,
  NEW_FD: 2,
  COMP_COUNT: 3,
  ASYNC_COUNT: 4,
  PURGE: 5,
  QP: 6,
  CQ: 7,
  CONTEXT: 8,
} as const;
export const EventPipe = { COMPLETION: 1, ASYNC: 2, CM: 3 } as const;
export const CHANNEL_ASYNC = 0xffff_ffff;
export const QP_GONE = 0xff;
export const TOKEN_BYTES = 16;
export const DESCRIPTORS_MAX = 4;
/** `vxlan`, `translate` or `local`, in the environment of a program. */
export const UNDERLAY_VARIABLE = 'URNIC_UNDERLAY';

export const REQUEST_HEADER_BYTES = 16;
/** A longer request ends the connection. */
export const REQUEST_BYTES_MAX = 16_384;
const REPLY_HEADER_BYTES = 16;
const ACTION_HEADER_BYTES = 24;

export interface Request {
  readonly op: number;
  readonly argument: bigint;
  readonly payload: Buffer;
}

export interface Action {
  readonly type: number;
  readonly address: bigint;
  readonly argument: bigint;
  readonly payload: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** A reply as it grows: what the shim is to do in the program. */
export class Reply {
  /** 0, or a negative errno; then the actions are not sent. */
  result = 0;
  readonly #actions: Action[] = [];
  readonly #descriptors: number[] = [];

  /** Descriptors that travel along; the server closes its own after it has sent them. */
  get descriptors(): readonly number[] {
    return this.#descriptors;
  }

  poke(address: bigint, octets: Uint8Array): void {
    this.#add(ActionType.POKE, address, 0n, octets);
  }

  /** The program's number for `fd` is written to `address`, 32 bits. */
  newDescriptor(address: bigint, kind: number, channel: number, fd: number): void {
    this.#descriptors.push(fd);
    this.#add(ActionType.NEW_FD, address, (BigInt(kind) << 32n) | BigInt(channel));
  }

  /** A descriptor that the shim itself takes, in the order of the protocol. */
  attach(fd: number): void {
    this.#descriptors.push(fd);
  }

  completionCount(address: bigint, element: bigint): void {
    this.#add(ActionType.COMP_COUNT, address, element);
  }

  asyncCount(address: bigint, element: bigint): void {
    this.#add(ActionType.ASYNC_COUNT, address, element);
  }

  purge(channel: number, element: bigint): void {
    this.#add(ActionType.PURGE, BigInt(channel), element);
  }

  /** @param cqs of a new one: for sends, for receives. */
  qp(handle: number, state: number, slot: number, qpNum: number, cqs: readonly number[] = []): void {
    const argument = (BigInt(state) << 56n) | (BigInt(qpNum) << 32n) | BigInt(slot);
    this.#add(ActionType.QP, BigInt(handle), argument, new Uint8Array(Uint32Array.from(cqs).buffer));
  }

  cq(handle: number, armOffset: number): void {
    this.#add(ActionType.CQ, BigInt(handle), BigInt(armOffset));
  }

  context(fileBytes: number, slots: number, token: Uint8Array): void {
    this.#add(ActionType.CONTEXT, BigInt(fileBytes), BigInt(slots), token);
  }

  encode(): Buffer {
    const actions = this.result === 0 ? this.#actions : [];
    const length = actions.reduce(
      (sum, { payload }) => sum + ACTION_HEADER_BYTES + padded(payload),
      REPLY_HEADER_BYTES,
    );
    const octets = Buffer.alloc(length);
    octets.writeUInt32LE(length, 0);
    octets.writeInt32LE(this.result, 4);
    octets.writeUInt32LE(actions.length, 8);
    octets.writeUInt32LE(this.result === 0 ? this.#descriptors.length : 0, 12);
    let at = REPLY_HEADER_BYTES;
    for (const { type, address, argument, payload } of actions) {
      octets.writeUInt32LE(type, at);
      octets.writeUInt32LE(payload.length, at + 4);
      octets.writeBigUInt64LE(address, at + 8);
      octets.writeBigUInt64LE(argument, at + 16);
      octets.set(payload, at + ACTION_HEADER_BYTES);
      at += ACTION_HEADER_BYTES + padded(payload);
    }
    return octets;
  }

  #add(type: number, address: bigint, argument: bigint, payload: Uint8Array = NOTHING): void {
    this.#actions.push({ type, address, argument, payload });
  }
}

const padded = (payload: Uint8Array): number => (payload.length + 7) & ~7;

/** A request, or a notice. */
export function encodeRequest(op: number, argument: bigint, payload: Uint8Array = NOTHING): Buffer {
  const octets = Buffer.alloc(REQUEST_HEADER_BYTES + payload.length);
  octets.writeUInt32LE(octets.length, 0);
  octets.writeUInt32LE(op, 4);
  octets.writeBigUInt64LE(argument, 8);
  octets.set(payload, REQUEST_HEADER_BYTES);
  return octets;
}

/** A reply, as whoever asked reads it. @throws RangeError when it is cut short. */
export function decodeReply(octets: Buffer): { result: number; actions: Action[] } {
  const actions: Action[] = [];
  let at = REPLY_HEADER_BYTES;
  for (let count = octets.readUInt32LE(8); count > 0; count--) {
    const length = octets.readUInt32LE(at + 4);
    const payload = octets.subarray(at + ACTION_HEADER_BYTES, at + ACTION_HEADER_BYTES + length);
    const [address, argument] = [octets.readBigUInt64LE(at + 8), octets.readBigUInt64LE(at + 16)];
    actions.push({ type: octets.readUInt32LE(at), address, argument, payload });
    at += ACTION_HEADER_BYTES + padded(payload);
  }
  return { result: octets.readInt32LE(4), actions };
}

/** Cuts requests out of a byte stream. */
export class RequestReader {
  #pending: Buffer = Buffer.alloc(0);

  /** @throws RangeError for a length that no request has. */
  *take(octets: Buffer): Generator<Request> {
    this.#pending = this.#pending.length === 0 ? octets : Buffer.concat([this.#pending, octets]);
    while (this.#pending.length >= REQUEST_HEADER_BYTES) {
      const length = this.#pending.readUInt32LE(0);
      if (length < REQUEST_HEADER_BYTES || length > REQUEST_BYTES_MAX)
        throw new RangeError(`a request of ${length} octets`);
      if (this.#pending.length < length) return;
      const request = this.#pending.subarray(0, length);
      this.#pending = this.#pending.subarray(length);
      yield { op: request.readUInt32LE(4), argument: request.readBigUInt64LE(8), payload: request.subarray(16) };
    }
  }
}
