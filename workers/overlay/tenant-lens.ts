/**
 * Translated packets, which travel between hosts' addresses, as their tenant would see them: between its endpoints, with their MACs, and an ICRC that is right where the packet's
 * was. For captures: it looks through all connections for each packet.
 */
import * as Bth from '../../wire/bth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Gid from '../../wire/gid.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import { FRAME_BYTES_MAX, type Lens } from '../ports/recorder.ts';
import type { Connection, Overlay } from './overlay.ts';

/** An address of a tenant and the MAC that it has there. */
interface End {
  readonly gid: Uint8Array;
  readonly mac: Uint8Array;
}

const IPV4_AT = 12;

/** @param mac of the vRNIC. @param connections that it has now. */
export function tenantLens(overlay: Overlay, mac: Uint8Array, connections: () => Connection[]): Lens {
  const octets = new Uint8Array(FRAME_BYTES_MAX);
  const view = new DataView(octets.buffer);
  return (frame, frameView, length) => {
    const ipAt = Ethernet.headerBytes(frameView, 0);
    const isIpv6 = Ipv6.version(frameView, ipAt) === 6;
    const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
    // ARP and neighbour discovery of the host are no affair of the tenant.
    if (length < udpAt + Udp.BYTES + Bth.BYTES || Udp.destinationPort(frameView, udpAt) !== Udp.PORT_ROCE) return null;
    const named = Bth.destQp(frameView, udpAt + Udp.BYTES);
    const hostAt = (at: number): Uint8Array => addressAt(frame, ipAt, isIpv6, at);
    for (const { qpn, destQpn, local, remote, transport, underlay } of connections()) {
      if (underlay !== 'translate' || (named !== qpn && named !== destQpn)) continue;
      const way = overlay.wayTo(local, remote, transport, underlay);
      if ('ok' in way) continue;
      const [own, peer]: [End, End] = [
        { gid: local, mac },
        { gid: remote, mac: way.mac },
      ];
      const isOurs = named === destQpn && Gid.isSame(hostAt(DESTINATION), way.host);
      if (!isOurs && !(named === qpn && Gid.isSame(hostAt(SOURCE), way.host))) continue;
      const [from, to] = isOurs ? [own, peer] : [peer, own];
      return rewrite(frame, frameView, length, { ipAt, udpAt, isIpv6 }, from, to);
    }
    return null;
  };

  function rewrite(
    frame: Uint8Array,
    frameView: DataView,
    length: number,
    { ipAt, udpAt, isIpv6 }: { ipAt: number; udpAt: number; isIpv6: boolean },
    from: End,
    to: End,
  ): Uint8Array {
    const udpBytes = length - udpAt;
    octets.set(to.mac, 0);
    octets.set(from.mac, Ethernet.MAC_BYTES);
    const toUdp = writeIp(frameView, ipAt, isIpv6, udpBytes, from, to);
    octets.set(frame.subarray(udpAt, length), toUdp);
    const icrcAt = toUdp + udpBytes - Icrc.BYTES;
    const icrc = Icrc.compute(view, octets, Ethernet.BYTES, icrcAt);
    Icrc.write(view, icrcAt, Icrc.verify(frameView, frame, ipAt, length) ? icrc : ~icrc);
    return octets.subarray(0, icrcAt + Icrc.BYTES);
  }

  /** Of the tenant's family, with the hop's own class, hop limit and identification. Where the UDP header begins. */
  function writeIp(from: DataView, ipAt: number, isIpv6: boolean, udpBytes: number, source: End, target: End): number {
    const tos = isIpv6 ? Ipv6.trafficClass(from, ipAt) : Ipv4.typeOfService(from, ipAt);
    const hops = isIpv6 ? Ipv6.hopLimit(from, ipAt) : Ipv4.timeToLive(from, ipAt);
    const at = Ethernet.BYTES;
    const isTenantIpv4 = Gid.isMappedIpv4(source.gid);
    view.setUint16(at - 2, isTenantIpv4 ? Ethernet.ETHER_TYPE_IPV4 : Ethernet.ETHER_TYPE_IPV6);
    if (isTenantIpv4) {
      const id = isIpv6 ? 0 : Ipv4.identification(from, ipAt);
      const [src, dst] = [wordAt(source.gid, IPV4_AT), wordAt(target.gid, IPV4_AT)];
      Ipv4.write(view, at, tos, Ipv4.BYTES + udpBytes, id, hops, Ipv4.PROTOCOL_UDP, src, dst);
      return at + Ipv4.BYTES;
    }
    const addresses = new DataView(new ArrayBuffer(2 * Ipv6.ADDRESS_BYTES));
    const both = new Uint8Array(addresses.buffer);
    both.set(source.gid, 0);
    both.set(target.gid, Ipv6.ADDRESS_BYTES);
    Ipv6.write(view, at, tos, 0, udpBytes, Ipv6.NEXT_HEADER_UDP, hops, addresses, 0, Ipv6.ADDRESS_BYTES);
    return at + Ipv6.BYTES;
  }
}

const SOURCE = 0;
const DESTINATION = 1;

/** As a GID. */
function addressAt(frame: Uint8Array, ipAt: number, isIpv6: boolean, which: number): Uint8Array {
  if (isIpv6) {
    const at = ipAt + Ipv6.SOURCE_AT + which * Ipv6.ADDRESS_BYTES;
    return frame.slice(at, at + Ipv6.ADDRESS_BYTES);
  }
  const at = ipAt + Ipv4.SOURCE_AT + which * 4;
  return Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...frame.subarray(at, at + 4));
}

const wordAt = (octets: Uint8Array, at: number): number => new DataView(octets.buffer, octets.byteOffset).getUint32(at);
