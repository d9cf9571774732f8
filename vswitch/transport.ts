/** The kinds of traffic that rules tell apart, and how a frame shows of which it is. */
import * as Bth from '../wire/bth.ts';
import * as Ethernet from '../wire/ethernet.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import * as Opcode from '../wire/opcode.ts';
import * as Udp from '../wire/udp.ts';

/**
 * CM: management datagrams, whatever goes to QP 1. OTHER: no RoCE. UNCLEAR: what may turn out to be any of them when its receiver has put it together
 * (fragments, extension headers); it passes where all of them would.
 */
export const Transport = { RC: 0, UC: 1, UD: 2, CM: 3, OTHER: 4, UNCLEAR: 5 } as const;
export type Transport = (typeof Transport)[keyof typeof Transport];
export const TRANSPORT_COUNT = 6;

const GSI_QPN = 1;
const IPV4_HEADER_BYTES_MIN = 20;
/** Hop-by-hop, routing, fragment, ESP, AH, destination options: a UDP header may stand behind them. RFC 8200 §4.1. */
const EXTENSIONS: readonly boolean[] = [0, 43, 44, 50, 51, 60].reduce<boolean[]>(
  (table, header) => {
    table[header] = true;
    return table;
  },
  Array.from({ length: 256 }, () => false),
);

/** Of a frame with its Ethernet header at `at`. */
export function transportOf(view: DataView, at: number, end: number): Transport {
  const ipAt = at + Ethernet.BYTES;
  if (end < ipAt + IPV4_HEADER_BYTES_MIN) return Transport.OTHER;
  const type = view.getUint16(at + 12);
  if (type === Ethernet.ETHER_TYPE_IPV4) return ofIpv4(view, ipAt, end);
  return type === Ethernet.ETHER_TYPE_IPV6 ? ofIpv6(view, ipAt, end) : Transport.OTHER;
}

function ofIpv4(view: DataView, ipAt: number, end: number): Transport {
  if (Ipv4.protocol(view, ipAt) !== Ipv4.PROTOCOL_UDP) return Transport.OTHER;
  if (Ipv4.isFragment(view, ipAt)) return Transport.UNCLEAR;
  return ofUdp(view, ipAt + (view.getUint8(ipAt) & 0x0f) * 4, end);
}

function ofIpv6(view: DataView, ipAt: number, end: number): Transport {
  if (end < ipAt + Ipv6.BYTES) return Transport.OTHER;
  const next = Ipv6.nextHeader(view, ipAt);
  if (next === Ipv6.NEXT_HEADER_UDP) return ofUdp(view, ipAt + Ipv6.BYTES, end);
  return EXTENSIONS[next] === true ? Transport.UNCLEAR : Transport.OTHER;
}

function ofUdp(view: DataView, udpAt: number, end: number): Transport {
  const bthAt = udpAt + Udp.BYTES;
  if (end < bthAt + Bth.BYTES || Udp.destinationPort(view, udpAt) !== Udp.PORT_ROCE) return Transport.OTHER;
  switch (Opcode.transport(Bth.opcode(view, bthAt))) {
    case Opcode.UC:
      return Transport.UC;
    case Opcode.UD:
      return Bth.destQp(view, bthAt) === GSI_QPN ? Transport.CM : Transport.UD;
    default:
      // Congestion notifications answer RC; what nobody speaks here is dropped by its opcode.
      return Transport.RC;
  }
}
