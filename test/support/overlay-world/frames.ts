/** Frames of a tenant as they travel by VXLAN: one RoCE packet, of which only what the switch reads is there. */
import { macOf } from '../../../vswitch/model.ts';
import { Transport } from '../../../vswitch/transport.ts';
import * as Ethernet from '../../../wire/ethernet.ts';
import * as Gid from '../../../wire/gid.ts';
import * as Ipv4 from '../../../wire/ipv4.ts';
import * as Ipv6 from '../../../wire/ipv6.ts';
import * as Udp from '../../../wire/udp.ts';
import * as Vxlan from '../../../wire/vxlan.ts';
import { toGid } from '../../../workers/linux/netdev.ts';

const BTH_BYTES = 12;
const ICRC_BYTES = 4;
const OPCODES: Readonly<Record<number, number>> = { [Transport.RC]: 0x04, [Transport.UC]: 0x24, [Transport.UD]: 0x64 };
const QPN = 17;

/** From one of a tenant's addresses to another, in text. */
export interface Flow {
  readonly vni: number;
  readonly from: string;
  readonly to: string;
  readonly transport: Transport;
}

const known = new Map<string, Uint8Array>();

/** 16 octets, which nobody changes. */
export function gidOf(address: string): Uint8Array {
  const gid = known.get(address) ?? toGid(address);
  known.set(address, gid);
  return gid;
}

/** The MAC of the endpoint whose first address it is. */
export const macAt = (vni: number, address: string): Uint8Array => macOf(vni, gidOf(address));

/** From its VXLAN header on. */
export function frameOf({ vni, from, to, transport }: Flow, fromMac: Uint8Array, toMac: Uint8Array): Uint8Array {
  const [source, destination] = [gidOf(from), gidOf(to)];
  const isIpv6 = !Gid.isMappedIpv4(source);
  const ipBytes = isIpv6 ? Ipv6.BYTES : Ipv4.BYTES;
  const udpBytes = Udp.BYTES + BTH_BYTES + ICRC_BYTES;
  const ipAt = Vxlan.BYTES + Ethernet.BYTES;
  const bytes = new Uint8Array(ipAt + ipBytes + udpBytes);
  const view = new DataView(bytes.buffer);
  Vxlan.write(view, 0, vni);
  bytes.set(toMac, Vxlan.BYTES);
  bytes.set(fromMac, Vxlan.BYTES + Ethernet.MAC_BYTES);
  view.setUint16(ipAt - 2, isIpv6 ? Ethernet.ETHER_TYPE_IPV6 : Ethernet.ETHER_TYPE_IPV4);
  if (isIpv6) {
    const addresses = new DataView(Uint8Array.of(...source, ...destination).buffer);
    Ipv6.write(view, ipAt, 0, 0, udpBytes, Ipv6.NEXT_HEADER_UDP, 64, addresses, 0, Ipv6.ADDRESS_BYTES);
  } else {
    Ipv4.write(view, ipAt, 0, ipBytes + udpBytes, 0, 64, Ipv4.PROTOCOL_UDP, wordOf(source), wordOf(destination));
  }
  Udp.write(view, ipAt + ipBytes, 0xc000, Udp.PORT_ROCE, udpBytes);
  view.setUint8(ipAt + ipBytes + Udp.BYTES, OPCODES[transport]!);
  view.setUint32(ipAt + ipBytes + Udp.BYTES + 4, QPN);
  return bytes;
}

const wordOf = (gid: Uint8Array): number => new DataView(gid.buffer, gid.byteOffset).getUint32(12);
