/**
 * The VXLAN socket of one VTEP in one worker, shared by the vRNICs of all tenants there. Each vRNIC has a member, which looks like a port of its own. Who polls takes
 * its own frames in place; frames of others are kept for them.
 */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { newPortCounters } from '../ports/port-counters.ts';
import { UdpVxlanPort } from '../ports/udp-vxlan.ts';

export interface VxlanPortConfig {
  /** The VTEP's own address, 16 octets. */
  readonly local: Uint8Array;
  /** Largest inner IP packet. */
  readonly mtu: number;
  readonly udpPort?: number;
}

interface Kept {
  readonly octets: Uint8Array;
  readonly source: number;
}

/** Frames that wait for a vRNIC that has not polled yet; more are dropped and counted. */
const KEPT_MAX = 4096;
const VTEPS_MAX = 65_536;
/** No VTEP has this index: what goes there is dropped and counted (txErrors). */
export const NOWHERE = -1;

/** By VTEP address and UDP port. One thread's alone. */
const hubs = new Map<string, VxlanHub>();

/** Joins the VTEP's socket, opening it for the first. @throws SystemError: address not ours, port taken. */
export function joinVtep(config: VxlanPortConfig, vni: number, mac: number): VxlanMember {
  const key = `${gidText(config.local)} ${config.udpPort ?? ''}`;
  const hub = hubs.get(key) ?? new VxlanHub(config, () => hubs.delete(key));
  hubs.set(key, hub);
  return hub.join(vni, mac);
}

export class VxlanHub {
  readonly port: UdpVxlanPort;
  /** The VTEP's own address. */
  readonly local: Uint8Array;
  readonly #members: VxlanMember[] = [];
  readonly #addresses: Uint8Array[] = [];
  readonly #onClose: () => void;

  constructor(config: VxlanPortConfig, onClose: () => void) {
    this.port = new UdpVxlanPort(config);
    this.local = config.local;
    this.#onClose = onClose;
  }

  join(vni: number, mac: number): VxlanMember {
    const member = new VxlanMember(this, vni, mac);
    this.#members.push(member);
    return member;
  }

  leave(member: VxlanMember): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    if (this.#members.length > 0) return;
    this.port.close();
    this.#onClose();
  }

  /** The number by which frames name a VTEP. @throws RangeError: too many, or of the other address family. */
  vtepIndex(address: Uint8Array): number {
    const known = this.#addresses.findIndex((other) => other.every((octet, i) => octet === address[i]));
    if (known >= 0) return known;
    if (this.#addresses.length === VTEPS_MAX) throw new RangeError('too many VTEPs');
    this.port.setVtep(this.#addresses.length, address, this.port.udpPort);
    return this.#addresses.push(address) - 1;
  }

  vtep(index: number): Uint8Array {
    return this.#addresses[index]!;
  }

  /** Reads the socket for `member`: its frames stay in the burst, those of others are copied to them. */
  poll(member: VxlanMember, burst: ReceiveBurst): number {
    const read = this.port.receive(burst);
    if (this.#members.length === 1) return read;
    let kept = 0;
    for (let i = 0; i < read; i++) {
      if (this.#isAllFor(member, burst, i)) move(burst, i, kept++);
      else this.#share(burst, i);
    }
    burst.count = kept;
    return kept;
  }

  /** Datagrams that the kernel joined may be of several tenants: they have one pair of UDP ports. */
  #isAllFor(member: VxlanMember, burst: ReceiveBurst, i: number): boolean {
    const at = burst.at[i]!;
    const end = at + burst.frameBytes[i]!;
    const step = burst.segmentBytes[i]! || end - at;
    for (let from = at; from < end; from += step) if (!member.wants(burst.view, from, end)) return false;
    return true;
  }

  #share(burst: ReceiveBurst, i: number): void {
    const at = burst.at[i]!;
    const end = at + burst.frameBytes[i]!;
    const step = burst.segmentBytes[i]! || end - at;
    for (let from = at; from < end; from += step) {
      const to = Math.min(from + step, end);
      const owner = this.#members.find((member) => member.wants(burst.view, from, to)) ?? this.#members[0]!;
      owner.keep(burst.bytes.slice(from, to), burst.source[i]!);
    }
  }
}

function move(burst: ReceiveBurst, from: number, to: number): void {
  if (from === to) return;
  for (const column of [burst.at, burst.frameBytes, burst.segmentBytes, burst.source]) column[to] = column[from]!;
}

/** A vRNIC's share of a VTEP. */
export class VxlanMember implements Port {
  readonly link = 'vxlan';
  readonly framing = Framing.HEADER_EACH;
  readonly counters = newPortCounters();
  readonly hub: VxlanHub;
  readonly vni: number;
  readonly #mac: number;
  #kept: Kept[] = [];

  constructor(hub: VxlanHub, vni: number, mac: number) {
    this.hub = hub;
    this.vni = vni;
    this.#mac = mac;
  }

  get name(): string {
    return `${this.hub.port.name}/${this.vni}`;
  }

  get mtu(): number {
    return this.hub.port.mtu;
  }

  get fileDescriptor(): number {
    return this.hub.port.fileDescriptor;
  }

  /** Its VNI and its MAC. What is nobody's goes to the first member, which drops it by name. */
  wants(view: DataView, at: number, end: number): boolean {
    if (end - at < Vxlan.BYTES + 6) return false;
    const mac = view.getUint16(at + Vxlan.BYTES) * 2 ** 32 + view.getUint32(at + Vxlan.BYTES + 2);
    return Vxlan.vni(view, at) === this.vni && mac === this.#mac;
  }

  keep(octets: Uint8Array, source: number): void {
    if (this.#kept.length < KEPT_MAX) this.#kept.push({ octets, source });
    else this.counters.rxDropped++;
  }

  receive(burst: ReceiveBurst): number {
    this.counters.rxCalls++;
    const count = this.#kept.length > 0 ? this.#takeKept(burst) : this.hub.poll(this, burst);
    this.counters.rxFrames += count;
    for (let i = 0; i < count; i++) this.counters.rxBytes += burst.frameBytes[i]!;
    return count;
  }

  transmit(burst: TransmitBurst): boolean {
    const { counters } = this.hub.port;
    const before = burst.sent;
    const { txErrors, txBusy } = counters;
    const isAll = this.hub.port.transmit(burst);
    const failed = counters.txErrors - txErrors;
    this.counters.txCalls++;
    this.counters.txErrors += failed;
    this.counters.txBusy += counters.txBusy - txBusy;
    this.counters.txFrames += burst.sent - before - failed;
    return isAll;
  }

  setSleeping(): boolean {
    return this.#kept.length === 0;
  }

  onReadable(): void {}

  close(): void {
    this.hub.leave(this);
    this.#kept = [];
  }

  #takeKept(burst: ReceiveBurst): number {
    let at = 0;
    let count = 0;
    while (count < burst.at.length && count < this.#kept.length) {
      const { octets, source } = this.#kept[count]!;
      if (at + octets.length > burst.bytes.length) break;
      burst.bytes.set(octets, at);
      burst.at[count] = at;
      burst.frameBytes[count] = octets.length;
      burst.segmentBytes[count] = 0;
      burst.source[count] = source;
      at += (octets.length + 63) & ~63;
      count++;
    }
    this.#kept.splice(0, count);
    burst.count = count;
    return count;
  }
}
