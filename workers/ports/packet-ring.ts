/**
 * A packet socket's receive ring (packet(7), PACKET_RX_RING, version 2): the kernel puts frames into memory that both see, and who polls finds one without a system
 * call. A slot takes a small frame whole. Of a larger one (a super-frame, a packet of 4 KiB) it takes the beginning only, and the frame waits in the socket's queue as
 * ever (PACKET_COPY_THRESH): the slots tell in which order the two came, and what is large is copied by the core that reads it, not by the one that sends.
 *
 *     slot:  0 status │ 4 octets on the wire │ 8 octets here │ 12 where the frame begins (16 bits) │ … │ 42 to whom it was sent (8 bits) │ … │ virtio header │ frame
 */
import { Arena } from '../linux/arena.ts';
import * as Bpf from '../linux/bpf.ts';
import * as Linux from '../linux/constants.ts';
import * as Libc from '../linux/libc.ts';
import { type Mapping, mapShared, release } from '../linux/memory-map.ts';
import * as Socket from '../linux/socket.ts';

/** Frames up to about 420 octets are small. */
const SLOT_BYTES = 512;
const SLOT_WORDS = SLOT_BYTES / 4;
const SLOT_COUNT = 8192;
const BLOCK_BYTES = 1 << 16;
const RING_BYTES = SLOT_BYTES * SLOT_COUNT;

const STATUS = 0;
const WIRE_BYTES = 1;
const HERE_BYTES = 2;
const MAC_AT = 3;
/** struct sockaddr_ll stands behind the 32 octets of struct tpacket2_hdr. */
const PACKET_TYPE = 10;
const PACKET_TYPE_SHIFT = 16;

/** What the next slot holds. */
export const Next = {
  NONE: 0,
  /** A small frame, in the slot. */
  HERE: 1,
  /** A frame in the socket's queue. */
  QUEUED: 2,
  /** The beginning of a frame: the socket's queue had no room for it, or its filter wanted no more. */
  CUT: 3,
  /** What this host sends: it was asked for that, too. */
  LEAVING: 4,
} as const;
export type Next = (typeof Next)[keyof typeof Next];

export class PacketRing {
  readonly #mapping: Mapping;
  readonly #words: Int32Array;
  /** First word of the slot that the kernel fills next, or has. */
  #slot = 0;

  /** Of a socket that `request` was asked for. @throws SystemError: no memory, and the socket is of no use. */
  constructor(fd: number) {
    this.#mapping = mapShared(fd, 0, RING_BYTES);
    this.#words = new Int32Array(this.#mapping.buffer);
  }

  /**
   * Before bind, so that no frame comes without a slot, and after PACKET_VNET_HDR. False where the kernel does not have it, or not the memory.
   * @param queues what is too large for a slot; else only its beginning is to be had.
   */
  static request(fd: number, queues = true): boolean {
    return (
      Socket.setOption(fd, Linux.SOL_PACKET, Linux.PACKET_VERSION, Linux.TPACKET_V2) &&
      (!queues || Socket.setOption(fd, Linux.SOL_PACKET, Linux.PACKET_COPY_THRESH, 1)) &&
      requestRing(fd)
    );
  }

  next(): Next {
    return this.#kindAt(this.#slot);
  }

  /** So many slots that follow each other hold the same kind, as far as `most`. */
  run(kind: Next, most: number): number {
    let slot = this.#slot;
    let count = 0;
    for (; count < most && this.#kindAt(slot) === kind; count++) slot = after(slot);
    return count;
  }

  /** Octets of the frame that are in the slot. */
  get frameBytes(): number {
    return this.#words[this.#slot + HERE_BYTES]!;
  }

  /**
   * Copies the slot's frame and the `headBytes` before it, word by word: it keeps its place in its words. Returns the octet at which the frame begins; it ends less
   * than 4 octets before the end of the copy.
   */
  copy(headBytes: number, to: Int32Array, toOctet: number): number {
    const words = this.#words;
    const macAt = words[this.#slot + MAC_AT]! & 0xffff;
    const first = (macAt - headBytes) >> 2;
    const from = this.#slot + first;
    const end = this.#slot + ((macAt + this.frameBytes + 3) >> 2);
    for (let source = from, target = toOctet >> 2; source < end; source++, target++) to[target] = words[source]!;
    return toOctet + macAt - first * 4;
  }

  /** Gives so many slots back to the kernel. */
  release(count: number): void {
    for (let i = 0; i < count; i++) {
      Atomics.store(this.#words, this.#slot + STATUS, Linux.TP_STATUS_KERNEL);
      this.#slot = after(this.#slot);
    }
  }

  /** Before the socket is closed. */
  close(): void {
    release(this.#mapping);
  }

  #kindAt(slot: number): Next {
    // Mostly there is none, and an atomic look takes ten times as long.
    if ((this.#words[slot + STATUS]! & Linux.TP_STATUS_USER) === 0) return Next.NONE;
    const status = Atomics.load(this.#words, slot + STATUS);
    if (((this.#words[slot + PACKET_TYPE]! >> PACKET_TYPE_SHIFT) & 0xff) === Bpf.PACKET_OUTGOING) return Next.LEAVING;
    if ((status & Linux.TP_STATUS_COPY) !== 0) return Next.QUEUED;
    return this.#words[slot + WIRE_BYTES] === this.#words[slot + HERE_BYTES] ? Next.HERE : Next.CUT;
  }
}

const after = (slot: number): number => (slot + SLOT_WORDS === SLOT_COUNT * SLOT_WORDS ? 0 : slot + SLOT_WORDS);

/** struct tpacket_req: octets of a block, blocks, octets of a slot, slots. */
function requestRing(fd: number): boolean {
  const request = new Arena(16);
  for (const [i, value] of [BLOCK_BYTES, RING_BYTES / BLOCK_BYTES, SLOT_BYTES, SLOT_COUNT].entries())
    request.view.setUint32(i * 4, value, true);
  return Libc.setsockopt(fd, Linux.SOL_PACKET, Linux.PACKET_RX_RING, request.address, 16) === 0;
}
