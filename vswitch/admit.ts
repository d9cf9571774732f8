/** What a vRNIC of a tenant takes from the overlay: frames of its VNI, for its MAC, from an endpoint that lives where they come from and is who it says. */
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Vxlan from '../wire/vxlan.ts';
import { macNumber, type TenantView } from './tenant-view.ts';
import { transportOf } from './transport.ts';

/** Reasons to drop a frame; ACCEPT is none. */
export const Admission = { ACCEPT: 0, SHORT: 1, VNI: 2, NOT_OURS: 3, SPOOFED: 4, DENIED: 5 } as const;
export type Admission = (typeof Admission)[keyof typeof Admission];

const ETHERNET_AT = Vxlan.BYTES;
const IPV4_BYTES = 4;
const SOURCE = 0;
const DESTINATION = 1;

export class Admitter {
  /** One for each of our addresses. */
  readonly #views: readonly TenantView[];
  readonly #mac: number;

  constructor(views: readonly TenantView[], mac: Uint8Array) {
    this.#views = views;
    this.#mac = macNumber(mac);
  }

  /** A frame from its VXLAN header on. `vtep`: the address of the host that sent it, 16 octets. R-180 … R-186, T-01. */
  admit(frame: DataView, at: number, end: number, vtep: Uint8Array): Admission {
    if (end - at < ETHERNET_AT + Ethernet.BYTES + Ipv4.BYTES) return Admission.SHORT;
    if (!Vxlan.hasVni(frame, at) || Vxlan.vni(frame, at) !== this.#views[0]!.vni) return Admission.VNI;
    const ethernetAt = at + ETHERNET_AT;
    if (Ethernet.macAt(frame, ethernetAt) !== this.#mac && !isForGroup(frame, ethernetAt, end))
      return Admission.NOT_OURS;
    const peers = this.#viewOf(frame, ethernetAt, end).withMac(Ethernet.macAt(frame, ethernetAt + Ethernet.MAC_BYTES));
    if (peers === undefined || !Gid.isSame(peers[0]!.endpoint.host, vtep)) return Admission.SPOOFED;
    for (const peer of peers)
      if (hasAddress(frame, ethernetAt, end, peer.address, SOURCE))
        return peer.inbound(transportOf(frame, ethernetAt, end)).isAllowed ? Admission.ACCEPT : Admission.DENIED;
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
