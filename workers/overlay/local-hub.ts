/**
 * Frames between vRNICs of one host that share a worker: no wire, no system call, no copy. Who sends hands its burst to who receives, which reads it in place:
 *
 *     [ VXLAN ][ Ethernet ][ IP ][ UDP ][ BTH … ICRC of zeros ][ BTH … ] …
 *
 * The headers stand once, so the receiver asks once for each frame what it asks of any frame of a tenant.
 */
import type { TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import type { Micros } from '../../wire/types.ts';
import { gidText } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { newPortCounters } from '../ports/port-counters.ts';
import { segmentCount } from '../ports/super-frame.ts';

/** Takes frame i of a burst; it may not keep it. */
export type FrameSink = (burst: TransmitBurst, i: number, now: Micros) => void;

/** A vRNIC that may be here: paths name it before it is, and after it has gone. */
interface Place {
  readonly vni: number;
  readonly mac: number;
  member: LocalMember | null;
}

const PLACES_MAX = 65_536;

/** By VTEP. One thread's alone. */
const hubs = new Map<string, LocalHub>();

/** @param vtep of this host, 16 octets. */
export function joinLocal(vtep: Uint8Array, vni: number, mac: number, mtu: number): LocalMember {
  const key = gidText(vtep);
  const hub = hubs.get(key) ?? new LocalHub(() => hubs.delete(key));
  hubs.set(key, hub);
  return hub.join(vni, mac, mtu);
}

class LocalHub {
  readonly #places: Place[] = [];
  /** Index in `#places`, by VNI and MAC. */
  readonly #indices = new Map<string, number>();
  readonly #onEmpty: () => void;
  #memberCount = 0;

  constructor(onEmpty: () => void) {
    this.#onEmpty = onEmpty;
  }

  join(vni: number, mac: number, mtu: number): LocalMember {
    const member = new LocalMember(this, vni, mac, mtu);
    this.#places[this.indexOf(vni, mac)]!.member = member;
    this.#memberCount++;
    return member;
  }

  leave(member: LocalMember): void {
    const place = this.#places[this.indexOf(member.vni, member.mac)]!;
    if (place.member === member) place.member = null;
    if (--this.#memberCount === 0) this.#onEmpty();
  }

  /** The number by which frames name a vRNIC. @throws RangeError */
  indexOf(vni: number, mac: number): number {
    const key = `${vni} ${mac}`;
    const known = this.#indices.get(key);
    if (known !== undefined) return known;
    if (this.#places.length === PLACES_MAX) throw new RangeError('too many endpoints on this host');
    this.#indices.set(key, this.#places.length);
    return this.#places.push({ vni, mac, member: null }) - 1;
  }

  memberAt(index: number): LocalMember | null {
    return this.#places[index]?.member ?? null;
  }
}

/** A vRNIC's share. What is for nobody here is dropped and counted (txErrors). */
export class LocalMember implements Port {
  readonly name = 'local';
  readonly link = 'vxlan';
  readonly framing = Framing.HEADER_ONCE;
  readonly fileDescriptor = -1;
  readonly counters = newPortCounters();
  readonly mtu: number;
  readonly vni: number;
  readonly mac: number;
  /** Its vRNIC; null until there is one. */
  sink: FrameSink | null = null;
  /** The time of the breath that sends. */
  now: Micros = 0;
  readonly #hub: LocalHub;
  #isOpen = true;

  constructor(hub: LocalHub, vni: number, mac: number, mtu: number) {
    this.#hub = hub;
    this.vni = vni;
    this.mac = mac;
    this.mtu = mtu;
  }

  /** `Path.destination` for the vRNIC of this tenant with that MAC. */
  destinationOf(mac: number): number {
    return this.#hub.indexOf(this.vni, mac);
  }

  /** Frames come by the sink. */
  receive(): number {
    return 0;
  }

  transmit(burst: TransmitBurst): boolean {
    this.counters.txCalls++;
    for (; burst.sent < burst.count; burst.sent++) {
      const to = this.#hub.memberAt(burst.destination[burst.sent]!);
      if (to === null || to.sink === null) this.counters.txErrors++;
      else this.#hand(burst, burst.sent, to);
    }
    return true;
  }

  onReadable(): void {}

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.sink = null;
    this.#hub.leave(this);
  }

  #hand(burst: TransmitBurst, i: number, to: LocalMember): void {
    const bytes = burst.frameBytes[i]!;
    const frames = segmentCount(bytes, burst.segmentBytes[i]!, burst.headerBytes[i]!);
    this.counters.txBytes += bytes;
    this.counters.txFrames += frames;
    to.counters.rxBytes += bytes;
    to.counters.rxFrames += frames;
    to.sink!(burst, i, this.now);
  }
}
