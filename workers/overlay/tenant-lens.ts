/**
 * Translated packets, which travel between hosts' addresses, as their tenant would see them: between its endpoints, with their MACs, and an ICRC that is right where the packet's
 * was. For captures: it looks through all connections for each packet.
 */
import { Framing } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Gid from '../../wire/gid.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import { buildPath } from '../path-builder.ts';
import { FRAME_BYTES_MAX, type Lens } from '../ports/recorder.ts';
import type { Connection, Overlay } from './overlay.ts';

/** An address of a tenant and the MAC that it has there. */
interface End {
  readonly gid: Uint8Array;
  readonly mac: Uint8Array;
}

/** @param mac of the vRNIC. @param connections that it has now. */
export function tenantLens(overlay: Overlay, mac: Uint8Array, connections: () => Connection[]): Lens {
  const octets = new Uint8Array(FRAME_BYTES_MAX);
  const view = new DataView(octets.buffer);
  return (frame, frameView, length, write) => {
    const ipAt = Ethernet.headerBytes(frameView, 0);
    const isIpv6 = Ipv6.version(frameView, ipAt) === 6;
    const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
    // ARP and neighbour discovery of the host are no affair of the tenant.
    if (length < udpAt + Udp.BYTES + Bth.BYTES || Udp.destinationPort(frameView, udpAt) !== Udp.PORT_ROCE) return;
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
      return write(rewrite(frame, frameView, length, { ipAt, udpAt, isIpv6 }, from, to));
    }
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
    const toUdp = writeHead(frameView, ipAt, isIpv6, udpBytes, from, to);
    octets.set(frame.subarray(udpAt, length), toUdp);
    const icrcAt = toUdp + udpBytes - Icrc.BYTES;
    const icrc = Icrc.compute(view, octets, Ethernet.BYTES, icrcAt);
    Icrc.write(view, icrcAt, Icrc.verify(frameView, frame, ipAt, length) ? icrc : ~icrc);
    return octets.subarray(0, icrcAt + Icrc.BYTES);
  }

  /** Of the tenant's family, with the hop's own class, hop limit and identification. Where the UDP header begins. */
  function writeHead(hop: DataView, ipAt: number, isIpv6: boolean, udpBytes: number, from: End, to: End): number {
    const trafficClass = isIpv6 ? Ipv6.trafficClass(hop, ipAt) : Ipv4.typeOfService(hop, ipAt);
    const hopLimit = isIpv6 ? Ipv6.hopLimit(hop, ipAt) : Ipv4.timeToLive(hop, ipAt);
    const av = { dgid: to.gid, sgidIndex: 0, hopLimit, trafficClass, flowLabel: 0, portNum: 1 };
    const request = { av, sgid: from.gid, sourceMac: from.mac, destinationMac: to.mac, localQpn: 0, remoteQpn: 0 };
    const path = buildPath({ ...request, portIndex: 0, port: WIRE });
    octets.set(path.template);
    const at = path.ipAt;
    if (path.isIpv6) view.setUint16(at + 4, udpBytes);
    else Ipv4.renumber(view, at, Ipv4.BYTES + udpBytes, isIpv6 ? 0 : Ipv4.identification(hop, ipAt));
    return path.udpAt;
  }
}

/** Of the tenant's network, if it had one of its own. */
const WIRE = { link: 'ethernet', framing: Framing.SINGLE } as const;
const SOURCE = 0;
const DESTINATION = 1;

/** As a GID. */
function addressAt(frame: Uint8Array, ipAt: number, isIpv6: boolean, which: number): Uint8Array {
  if (isIpv6) {
    const at = ipAt + Ipv6.SOURCE_AT + which * Ipv6.ADDRESS_BYTES;
    return frame.slice(at, at + Ipv6.ADDRESS_BYTES);
  }
  const at = ipAt + Ipv4.SOURCE_AT + which * 4;
  return Gid.ofIpv4(frame.subarray(at, at + 4));
}
