/** The headers around a body, and the ICRC behind it: right mostly, and spoilt on purpose. */
import type { Path } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import { crc32 } from '../../wire/crc32.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import type { Random } from '../support/sim/random.ts';

const IP_AT = 14;

export interface Envelope {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Octets of one of several packets that share the headers; 0 for a packet by itself. */
  readonly segmentBytes: number;
}

/** Bodies of one length behind one set of headers, as a network card joins them; the last may be shorter. */
export function seal(path: Path, bodies: readonly Uint8Array[], hasGoodIcrc: boolean, random: Random): Envelope {
  const { template, isIpv6, udpAt } = path;
  const bthAt = template.length;
  const total = bodies.reduce((bytes, body) => bytes + body.length + Icrc.BYTES, 0);
  const frame = new Uint8Array(bthAt + total);
  const view = new DataView(frame.buffer);
  frame.set(template);
  if (random.chance(0.02)) frame[IP_AT + 1] = (frame[IP_AT + 1]! & 0xfc) | 3;
  if (isIpv6 && random.chance(0.05)) frame[IP_AT + 1] = frame[IP_AT + 1]! | 0x30;
  view.setUint16(udpAt + 4, Udp.BYTES + total);
  const identification = random.below(65_536);
  if (isIpv6) view.setUint16(IP_AT + 4, Udp.BYTES + total);
  else Ipv4.renumber(view, IP_AT, Ipv4.BYTES + Udp.BYTES + total, identification);
  let at = bthAt;
  for (const [i, body] of bodies.entries()) {
    frame.set(body, at);
    const icrcAt = at + body.length;
    const udpBytes = Udp.BYTES + body.length + Icrc.BYTES;
    const ipBytes = isIpv6 ? udpBytes : Ipv4.BYTES + udpBytes;
    const id = (identification + i) & 0xffff;
    if (hasGoodIcrc && body.length >= Bth.BYTES) {
      const header = Icrc.headerCrc(view, IP_AT, isIpv6, udpAt, at, id, ipBytes, udpBytes);
      Icrc.write(view, icrcAt, crc32(frame, at + Bth.BYTES, icrcAt, header));
    }
    at = icrcAt + Icrc.BYTES;
  }
  return { bytes: frame, segmentBytes: bodies.length > 1 ? bodies[0]!.length + Icrc.BYTES : 0 };
}

/** Something in the headers around the packet, which no ICRC saves. */
export function spoil({ bytes }: Envelope, random: Random): void {
  const view = new DataView(bytes.buffer);
  const isIpv6 = view.getUint16(12) === 0x86dd;
  const udpAt = IP_AT + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
  const lengthAt = isIpv6 ? IP_AT + 4 : IP_AT + 2;
  switch (random.below(8)) {
    case 0:
      return view.setUint16(udpAt + 4, random.below(65_536));
    case 1:
      return view.setUint16(lengthAt, random.below(65_536));
    case 2: {
      const less = random.below(40) - 20;
      view.setUint16(udpAt + 4, view.getUint16(udpAt + 4) + less);
      return view.setUint16(lengthAt, view.getUint16(lengthAt) + less);
    }
    case 3:
      return view.setUint8(IP_AT, random.below(256));
    case 4:
      return isIpv6 ? view.setUint8(IP_AT + 6, random.below(256)) : view.setUint16(IP_AT + 6, random.below(65_536));
    case 5:
      return view.setUint16(12, random.pick([0x0800, 0x86dd, 0x0806, 0x8100, random.below(65_536)]));
    case 6:
      return view.setUint16(udpAt + 2, random.below(65_536));
    default: {
      const at = random.below(udpAt + Udp.BYTES);
      view.setUint8(at, view.getUint8(at) ^ (1 << random.below(8)));
    }
  }
}
