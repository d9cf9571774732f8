/** What a vRNIC of a tenant takes from the overlay: frames of its VNI, for its MAC, from an endpoint that lives where they come from and is who it says. */
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import * as Vxlan from '../wire/vxlan.ts';
import { macNumber, type TenantView } from './tenant-view.ts';
import { type Transport, transportOf } from './transport.ts';

/** Reasons to drop a frame; ACCEPT is none. */
export const Admission = { ACCEPT: 0, SHORT: 1, VNI: 2, NOT_OURS: 3, SPOOFED: 4, DENIED: 5 } as const;
export type Admission = (typeof Admission)[keyof typeof Admission];

const ETHERNET_AT = Vxlan.BYTES;
const TYPE_AT = ETHERNET_AT + 2 * Ethernet.MAC_BYTES;
const IP_AT = ETHERNET_AT + Ethernet.BYTES;
const IPV4_BYTES = 4;
const SOURCE = 0;
const DESTINATION = 1;

/** VXLAN and Ethernet header, without the type. */
const LINK_WORDS = (Vxlan.BYTES + 2 * Ethernet.MAC_BYTES) / 4;
/** Both addresses of IPv6. */
const ADDRESS_WORDS = 8;

/** Where both addresses of a frame begin, from its VXLAN header, and how many words they are. */
const addressesAt = (type: number): number =>
  IP_AT + (type === Ethernet.ETHER_TYPE_IPV6 ? Ipv6.SOURCE_AT : Ipv4.SOURCE_AT);
const addressWords = (type: number): number => (type === Ethernet.ETHER_TYPE_IPV6 ? ADDRESS_WORDS : ADDRESS_WORDS / 4);

/** Of a frame that was accepted: all that the answer came from. Of others that have it, too, the answer is the same as long as the tenant is. */
class LastAccepted {
  readonly #words = new Int32Array(LINK_WORDS + ADDRESS_WORDS);
  #type = 0;
  #transport = -1;
  #vtep: Uint8Array | null = null;

  is(frame: DataView, at: number, end: number, vtep: Uint8Array, transport: Transport): boolean {
    const type = frame.getUint16(at + TYPE_AT);
    if (vtep !== this.#vtep || transport !== this.#transport || type !== this.#type) return false;
    const words = this.#words;
    for (let i = 0; i < LINK_WORDS; i++) if (frame.getInt32(at + i * 4) !== words[i]) return false;
    const from = at + addressesAt(type);
    const count = addressWords(type);
    if (from + count * 4 > end) return false;
    for (let i = 0; i < count; i++) if (frame.getInt32(from + i * 4) !== words[LINK_WORDS + i]) return false;
    return true;
  }

  /** Both addresses lie before the end: the source was found there, and what is shorter is not looked for. */
  note(frame: DataView, at: number, end: number, vtep: Uint8Array, transport: Transport): void {
    const type = frame.getUint16(at + TYPE_AT);
    const from = at + addressesAt(type);
    const count = addressWords(type);
    if (from + count * 4 > end) return;
    for (let i = 0; i < LINK_WORDS; i++) this.#words[i] = frame.getInt32(at + i * 4);
    for (let i = 0; i < count; i++) this.#words[LINK_WORDS + i] = frame.getInt32(from + i * 4);
    this.#type = type;
    this.#transport = transport;
    this.#vtep = vtep;
  }
}

export class Admitter {
  /** One for each of our addresses. */
  readonly #views: readonly TenantView[];
  readonly #mac: number;
  readonly #last = new LastAccepted();

  constructor(views: readonly TenantView[], mac: Uint8Array) {
    this.#views = views;
    this.#mac = macNumber(mac);
  }

  /** A frame from its VXLAN header on. `vtep`: the address of the host that sent it, 16 octets, which nobody changes. R-180 … R-186, T-01. */
  admit(frame: DataView, at: number, end: number, vtep: Uint8Array): Admission {
    if (end - at < ETHERNET_AT + Ethernet.BYTES + Ipv4.BYTES) return Admission.SHORT;
    const transport = transportOf(frame, at + ETHERNET_AT, end);
    if (this.#last.is(frame, at, end, vtep, transport)) return Admission.ACCEPT;
    const admission = this.#judge(frame, at, end, vtep, transport);
    if (admission === Admission.ACCEPT) this.#last.note(frame, at, end, vtep, transport);
    return admission;
  }

  #judge(frame: DataView, at: number, end: number, vtep: Uint8Array, transport: Transport): Admission {
    if (!Vxlan.hasVni(frame, at) || Vxlan.vni(frame, at) !== this.#views[0]!.vni) return Admission.VNI;
    const ethernetAt = at + ETHERNET_AT;
    if (Ethernet.macAt(frame, ethernetAt) !== this.#mac && !isForGroup(frame, ethernetAt, end))
      return Admission.NOT_OURS;
    const peers = this.#viewOf(frame, ethernetAt, end).withMac(Ethernet.macAt(frame, ethernetAt + Ethernet.MAC_BYTES));
    if (peers === undefined || !Gid.isSame(peers[0]!.endpoint.host, vtep)) return Admission.SPOOFED;
    for (const peer of peers)
      if (hasAddress(frame, ethernetAt, end, peer.address, SOURCE))
        return peer.inbound(transport).isAllowed ? Admission.ACCEPT : Admission.DENIED;
    return Admission.SPOOFED;
  }

  /** Of the address that the packet is for; whether that is one of ours the engine sees to. */
  #viewOf(frame: DataView, ethernetAt: number, end: number): TenantView {
    const views = this.#views;
    for (let i = 1; i < views.length; i++)
      if (hasAddress(frame, ethernetAt, end, views[i]!.own, DESTINATION)) return views[i]!;
    return views[0]!;
  }
}

/** Whether a frame is for a group by both its addresses: one that only its MAC sends to everybody is for nobody. */
function isForGroup(frame: DataView, ethernetAt: number, end: number): boolean {
  if (!Ethernet.isMulticast(frame, ethernetAt)) return false;
  const isIpv6 = frame.getUint16(ethernetAt + 12) === Ethernet.ETHER_TYPE_IPV6;
  const at = ethernetAt + Ethernet.BYTES + (isIpv6 ? 24 : 16);
  if (at >= end) return false;
  return isIpv6 ? frame.getUint8(at) === 0xff : frame.getUint8(at) >> 4 === 0xe;
}

/** Whether the inner packet's source or destination is the address. */
function hasAddress(frame: DataView, ethernetAt: number, end: number, address: Uint8Array, which: 0 | 1): boolean {
  const ipAt = ethernetAt + Ethernet.BYTES;
  const type = frame.getUint16(ethernetAt + 12);
  const isIpv6 = type === Ethernet.ETHER_TYPE_IPV6;
  if (!isIpv6 && type !== Ethernet.ETHER_TYPE_IPV4) return false;
  const bytes = isIpv6 ? 16 : IPV4_BYTES;
  const at = ipAt + (isIpv6 ? 8 : 12) + which * bytes;
  if (at + bytes > end) return false;
  for (let i = 0; i < bytes; i++) if (frame.getUint8(at + i) !== address[16 - bytes + i]) return false;
  return isIpv6 || Gid.isMappedIpv4(address);
}
