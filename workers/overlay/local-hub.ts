/**
 * Frames between vRNICs of one host: no wire, no system call. In one worker no copy either: who sends hands its burst to who receives, which reads it in place. To another
 * worker each frame is copied once, into a link (worker-link.ts), where the receiver reads it.
 *
 *     [ VXLAN ][ Ethernet ][ IP ][ UDP ][ BTH … ICRC of zeros ][ BTH … ] …
 *
 * The headers stand once, so the receiver asks once for each frame what it asks of any frame of a tenant.
 */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import type { Micros } from '../../wire/types.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { newPortCounters } from '../ports/port-counters.ts';
import { segmentCount } from '../ports/super-frame.ts';
import { elsewhereOf, type Link, type VtepElsewhere } from './elsewhere.ts';
import { FrameKind, type LinkedFrame } from './worker-link.ts';

/** Takes frame i of a burst; it may not keep it. */
export type FrameSink = (burst: TransmitBurst | ReceiveBurst, i: number, now: Micros) => void;

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
  const hub = hubs.get(key) ?? new LocalHub(vtep, () => hubs.delete(key));
  hubs.set(key, hub);
  return hub.join(vni, mac, mtu);
}

class LocalHub {
  readonly vtep: Uint8Array;
  readonly elsewhere: VtepElsewhere;
  readonly #places: Place[] = [];
  /** Index in `#places`, by VNI and MAC. */
  readonly #indices = new Map<number, Map<number, number>>();
  readonly #onEmpty: () => void;
  #memberCount = 0;

  constructor(vtep: Uint8Array, onEmpty: () => void) {
    this.vtep = vtep;
    this.elsewhere = elsewhereOf(vtep);
    this.#onEmpty = onEmpty;
    this.elsewhere.takeLocal = (frame, now) => this.#take(frame, now);
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
    if (--this.#memberCount > 0) return;
    this.elsewhere.takeLocal = null;
    this.#onEmpty();
  }

  /** The number by which frames name a vRNIC. @throws RangeError */
  indexOf(vni: number, mac: number): number {
    const ofVni = this.#indices.get(vni) ?? new Map<number, number>();
    this.#indices.set(vni, ofVni);
    const index = ofVni.get(mac) ?? this.#newIndex(vni, mac);
    ofVni.set(mac, index);
    return index;
  }

  memberAt(index: number): LocalMember | null {
    return this.#places[index]?.member ?? null;
  }

  /** To the worker that has this vRNIC; undefined: none has. */
  linkAt(index: number): Link | undefined {
    const place = this.#places[index];
    return place && this.elsewhere.linkTo(place.vni, place.mac);
  }

  /** Of all that there were, the oldest that nobody is at now is given up: a frame that still names it is its new owner's to refuse. */
  #newIndex(vni: number, mac: number): number {
    if (this.#places.length < PLACES_MAX) return this.#places.push({ vni, mac, member: null }) - 1;
    const index = this.#places.findIndex(({ member }) => member === null);
    const before = this.#places[index];
    if (before === undefined) throw new RangeError('too many endpoints on this host');
    this.#indices.get(before.vni)!.delete(before.mac);
    this.#places[index] = { vni, mac, member: null };
    return index;
  }

  #take({ burst, headerBytes }: LinkedFrame<VtepElsewhere>, now: Micros): void {
    const at = burst.at[0]!;
    const mac = Ethernet.macAt(burst.view, at + Vxlan.BYTES);
    const index = this.#indices.get(Vxlan.vni(burst.view, at))?.get(mac);
    const to = index === undefined ? null : this.memberAt(index);
    if (to === null || to.sink === null) return;
    to.counters.rxBytes += burst.frameBytes[0]!;
    to.counters.rxFrames += segmentCount(burst.frameBytes[0]!, burst.segmentBytes[0]!, headerBytes);
    to.sink(burst, 0, now);
  }
}

/** A vRNIC's share. What is for nobody here is dropped and counted (txErrors). */
export class LocalMember implements Port {
  readonly name = 'local';
  readonly link = 'vxlan';
  readonly framing = Framing.HEADER_ONCE;
  readonly fileDescriptor = -1;
  readonly isAsked = false;
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
      if (to !== null && to.sink !== null) this.#hand(burst, burst.sent, to);
      else if (!this.#post(burst, burst.sent)) return false;
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

  /** To another worker. False: it has no room for it yet. */
  #post(burst: TransmitBurst, i: number): boolean {
    const link = this.#hub.linkAt(burst.destination[i]!);
    if (link?.sendBurst(FrameKind.LOCAL, this.#hub.vtep, burst, i, this.now)) this.#countSent(burst, i);
    else if (link && !link.isStuck(this.now)) {
      this.counters.txBusy++;
      return false;
    } else this.counters.txErrors++;
    return true;
  }

  #countSent(burst: TransmitBurst, i: number): number {
    const bytes = burst.frameBytes[i]!;
    const frames = segmentCount(bytes, burst.segmentBytes[i]!, burst.headerBytes[i]!);
    this.counters.txBytes += bytes;
    this.counters.txFrames += frames;
    return frames;
  }

  #hand(burst: TransmitBurst, i: number, to: LocalMember): void {
    const bytes = burst.frameBytes[i]!;
    const frames = this.#countSent(burst, i);
    to.counters.rxBytes += bytes;
    to.counters.rxFrames += frames;
    to.sink!(burst, i, this.now);
  }
}
