/** What a vRNIC of a tenant takes from the overlay: frames of its VNI, for its MAC, from an endpoint that lives where they come from and is who it says. */
import * as Ethernet from '../wire/ethernet.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Vxlan from '../wire/vxlan.ts';
import { macNumber, type TenantView } from './tenant-view.ts';

/** Reasons to drop a frame; ACCEPT is none. */
export const Admission = { ACCEPT: 0, SHORT: 1, VNI: 2, NOT_OURS: 3, SPOOFED: 4, DENIED: 5 } as const;
export type Admission = (typeof Admission)[keyof typeof Admission];

const ETHERNET_AT = Vxlan.BYTES;
const IPV4_BYTES = 4;

const macAt = (view: DataView, at: number): number => view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);

export class Admitter {
  readonly #view: TenantView;
  readonly #mac: number;

  constructor(view: TenantView, mac: Uint8Array) {
    this.#view = view;
    this.#mac = macNumber(mac);
  }

  /** A frame from its VXLAN header on. `vtep`: the address of the host that sent it, 16 octets. R-180 … R-186, T-01. */
  admit(frame: DataView, at: number, end: number, vtep: Uint8Array): Admission {
    if (end - at < ETHERNET_AT + Ethernet.BYTES + Ipv4.BYTES) return Admission.SHORT;
    if (!Vxlan.hasVni(frame, at) || Vxlan.vni(frame, at) !== this.#view.vni) return Admission.VNI;
    const ethernetAt = at + ETHERNET_AT;
    if (macAt(frame, ethernetAt) !== this.#mac) return Admission.NOT_OURS;
    const peer = this.#view.withMac(macAt(frame, ethernetAt + Ethernet.MAC_BYTES));
    if (peer === undefined || !isSame(peer.endpoint.host, vtep)) return Admission.SPOOFED;
    if (!hasAddress(frame, ethernetAt, end, peer.endpoint.address)) return Admission.SPOOFED;
    return peer.inbound.isAllowed ? Admission.ACCEPT : Admission.DENIED;
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether the inner packet's source is the endpoint's address. */
function hasAddress(frame: DataView, ethernetAt: number, end: number, address: Uint8Array): boolean {
  const ipAt = ethernetAt + Ethernet.BYTES;
  const type = frame.getUint16(ethernetAt + 12);
  const isIpv6 = type === Ethernet.ETHER_TYPE_IPV6;
  if (!isIpv6 && type !== Ethernet.ETHER_TYPE_IPV4) return false;
  const at = ipAt + (isIpv6 ? 8 : 12);
  const bytes = isIpv6 ? 16 : IPV4_BYTES;
  if (at + bytes > end) return false;
  for (let i = 0; i < bytes; i++) if (frame.getUint8(at + i) !== address[16 - bytes + i]) return false;
  return isIpv6 || isMapped(address);
}

function isMapped(address: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}
