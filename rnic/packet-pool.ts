/**
 * Copies of packets that came too early: before those that go before them (SPEC-CHECKLIST §6), or before the receive WQE that they need. One pool of each kind per
 * vRNIC, so that no tenant holds more than its limit. Slots come in slabs, made when they are first needed and kept.
 */
import { registerArena } from '../wire/arena.ts';
import { copy } from '../wire/copy.ts';
import { BYTES as IPV6_BYTES } from '../wire/ipv6.ts';
import { BYTES as UDP_BYTES } from '../wire/udp.ts';
import { newReceivedPacket, type ReceivedPacket } from './packet.ts';

/** Room for a packet from its IP header to its ICRC: 40 + 8 + 12 + 32 + 4096 + 4, rounded up. */
const SLOT_BYTES = 4224;
const SLAB_SLOTS = 64;

export class PacketPool {
  readonly #limit: number;
  readonly #slabs: ReceivedPacket[] = [];
  #free: Int32Array = new Int32Array(0);
  #freeCount = 0;
  /** Octets from IP header to ICRC of each slot; the IP header is at the slot's start. */
  #packetBytes: Int32Array = new Int32Array(0);
  #headerBytes: Int32Array = new Int32Array(0);
  #ipIds: Int32Array = new Int32Array(0);

  /** @param limit packets held at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Slots in use. */
  get held(): number {
    return this.#slabs.length * SLAB_SLOTS - this.#freeCount;
  }

  /** Copies a packet; its slot, or -1 when the pool is full. */
  hold(packet: ReceivedPacket): number {
    // In a super-frame the headers stand once, before the first segment, and this packet may be a later one.
    const headerBytes = packet.udpAt + UDP_BYTES - packet.ipAt;
    const byteLength = headerBytes + packet.end - packet.bthAt;
    if (byteLength > SLOT_BYTES || this.held >= this.#limit) return -1;
    if (this.#freeCount === 0) this.#grow();
    const slot = this.#free[--this.#freeCount]!;
    const to = (slot % SLAB_SLOTS) * SLOT_BYTES;
    const { bytes } = this.#slabs[Math.floor(slot / SLAB_SLOTS)]!;
    copy(packet.bytes, packet.ipAt, bytes, to, headerBytes);
    copy(packet.bytes, packet.bthAt, bytes, to + headerBytes, packet.end - packet.bthAt);
    this.#packetBytes[slot] = byteLength;
    this.#headerBytes[slot] = headerBytes;
    this.#ipIds[slot] = packet.ipId;
    return slot;
  }

  /** The packet in a slot, as a place to read; good until the next `open` of the same slab. */
  open(slot: number): ReceivedPacket {
    const packet = this.#slabs[Math.floor(slot / SLAB_SLOTS)]!;
    packet.ipAt = (slot % SLAB_SLOTS) * SLOT_BYTES;
    packet.bthAt = packet.ipAt + this.#headerBytes[slot]!;
    packet.udpAt = packet.bthAt - UDP_BYTES;
    packet.end = packet.ipAt + this.#packetBytes[slot]!;
    packet.isIpv6 = this.#headerBytes[slot] === IPV6_BYTES + UDP_BYTES;
    packet.ipId = this.#ipIds[slot]!;
    return packet;
  }

  release(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  #grow(): void {
    const slots = this.#slabs.length * SLAB_SLOTS;
    this.#slabs.push(emptySlab());
    this.#free = new Int32Array(slots + SLAB_SLOTS);
    for (let i = 0; i < SLAB_SLOTS; i++) this.#free[i] = slots + SLAB_SLOTS - 1 - i;
    this.#freeCount = SLAB_SLOTS;
    this.#packetBytes = grown(this.#packetBytes, slots + SLAB_SLOTS);
    this.#headerBytes = grown(this.#headerBytes, slots + SLAB_SLOTS);
    this.#ipIds = grown(this.#ipIds, slots + SLAB_SLOTS);
  }
}

function emptySlab(): ReceivedPacket {
  const memory = new SharedArrayBuffer(SLAB_SLOTS * SLOT_BYTES);
  const bytes = new Uint8Array(memory);
  registerArena(bytes);
  return newReceivedPacket(bytes, new DataView(memory));
}

function grown(array: Int32Array, length: number): Int32Array {
  const larger = new Int32Array(length);
  larger.set(array);
  return larger;
}
