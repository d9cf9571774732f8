/** Third stage: ARP requests and neighbour solicitations for addresses of other endpoints are answered here, from the endpoint table. */
import * as Arp from '../../wire/arp.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Nd from '../../wire/icmpv6-nd.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import type { Endpoint } from '../model.ts';
import type { AddressTable } from './address-table.ts';
import { type Frame, Kind } from './classify.ts';
import { isUnspecified } from './validate-source.ts';

export const ANSWER_BYTES_MAX = Ethernet.BYTES + Ipv6.BYTES + Nd.BYTES + Nd.OPTION_BYTES;
const HOP_LIMIT = 255;
/** ff02::1 and its Ethernet address. */
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_HI = 0x3333;
const ALL_NODES_LO = 1;

/** Writes the answer, an Ethernet frame, at the start of `out`. Its octets; 0 when the question is not about an endpoint of the table other than `own`. */
export function answer(frame: Frame, table: AddressTable, own: Endpoint | null, out: DataView): number {
  if (frame.kind === Kind.ARP) return answerArp(frame, table, own, out);
  return frame.kind === Kind.ND ? answerNd(frame, table, own, out) : 0;
}

function answerArp(
  { view, at, bodyAt, destinationAt }: Frame,
  table: AddressTable,
  own: Endpoint | null,
  out: DataView,
): number {
  if (!Arp.isIpv4OverEthernet(view, bodyAt) || Arp.operation(view, bodyAt) !== Arp.REQUEST) return 0;
  const target = table.find(view, destinationAt, 4);
  if (target === undefined || target === own) return 0;
  const { mac } = target;
  const [hi, lo] = [(mac[0]! << 8) | mac[1]!, ((mac[2]! << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!) >>> 0];
  const [askerHi, askerLo] = [Ethernet.sourceHi(view, at), Ethernet.sourceLo(view, at)];
  Ethernet.write(out, 0, askerHi, askerLo, hi, lo, Ethernet.ETHER_TYPE_ARP);
  const sender = Arp.senderIp(view, bodyAt);
  Arp.write(out, Ethernet.BYTES, Arp.REPLY, hi, lo, Arp.targetIp(view, bodyAt), askerHi, askerLo, sender);
  return Ethernet.BYTES + Arp.BYTES;
}

function answerNd({ view, at, bodyAt, end }: Frame, table: AddressTable, own: Endpoint | null, out: DataView): number {
  const messageAt = bodyAt + Ipv6.BYTES;
  const messageEnd = messageAt + Ipv6.payloadLength(view, bodyAt);
  if (messageEnd > end || !Nd.fits(messageEnd, messageAt) || Nd.type(view, messageAt) !== Nd.NEIGHBOR_SOLICITATION)
    return 0;
  const target = table.find(view, messageAt + Nd.TARGET_AT, 16);
  if (target === undefined || target === own || !Nd.verifyChecksum(view, bodyAt, messageAt, messageEnd)) return 0;
  const { mac } = target;
  const [hi, lo] = [(mac[0]! << 8) | mac[1]!, ((mac[2]! << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!) >>> 0];
  const isProbe = isUnspecified(view, bodyAt + Ipv6.SOURCE_AT, 16);
  const [askerHi, askerLo] = isProbe
    ? [ALL_NODES_HI, ALL_NODES_LO]
    : [Ethernet.sourceHi(view, at), Ethernet.sourceLo(view, at)];
  Ethernet.write(out, 0, askerHi, askerLo, hi, lo, Ethernet.ETHER_TYPE_IPV6);
  const ipAt = Ethernet.BYTES;
  const bytes = Nd.BYTES + Nd.OPTION_BYTES;
  Ipv6.write(
    out,
    ipAt,
    0,
    0,
    bytes,
    Ipv6.NEXT_HEADER_ICMPV6,
    HOP_LIMIT,
    view,
    messageAt + Nd.TARGET_AT,
    bodyAt + Ipv6.SOURCE_AT,
  );
  if (isProbe) for (let i = 0; i < 16; i++) out.setUint8(ipAt + Ipv6.DESTINATION_AT + i, ALL_NODES[i]!);
  const flags = Nd.OVERRIDE | (isProbe ? 0 : Nd.SOLICITED);
  Nd.write(out, ipAt, ipAt + Ipv6.BYTES, Nd.NEIGHBOR_ADVERTISEMENT, flags, view, messageAt + Nd.TARGET_AT, hi, lo);
  return ANSWER_BYTES_MAX;
}
