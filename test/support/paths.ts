/** Paths between two addresses, and the packets in a burst as the kernel would put them on a wire. */
import type { TransmitBurst } from '../../rnic/burst.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';

const IP_AT = 14;

export interface PathOptions {
  readonly framing?: Framing;
  readonly isIpv6?: boolean;
  readonly port?: number;
  readonly icrcElided?: boolean;
  readonly sourcePort?: number;
}

/** A path from host `source` to host `destination`: 32-bit numbers, the low octets of their addresses. */
export function pathBetween(source: number, destination: number, options: PathOptions = {}): Path {
  const { framing = Framing.SINGLE, isIpv6 = false, port = 0, icrcElided = false, sourcePort = 0xc123 } = options;
  const ipBytes = isIpv6 ? Ipv6.BYTES : Ipv4.BYTES;
  const udpAt = IP_AT + ipBytes;
  const template = new Uint8Array(udpAt + Udp.BYTES);
  const view = new DataView(template.buffer);
  view.setUint32(2, destination);
  view.setUint32(8, source);
  view.setUint16(12, isIpv6 ? 0x86dd : 0x0800);
  if (isIpv6) {
    const addresses = new DataView(new ArrayBuffer(2 * Ipv6.ADDRESS_BYTES));
    for (const [i, low] of [source, destination].entries()) {
      addresses.setUint32(i * Ipv6.ADDRESS_BYTES, 0xfd00_0000);
      addresses.setUint32(i * Ipv6.ADDRESS_BYTES + 12, low);
    }
    Ipv6.write(view, IP_AT, 0, 0, 0, Ipv6.NEXT_HEADER_UDP, 64, addresses, 0, Ipv6.ADDRESS_BYTES);
  } else Ipv4.write(view, IP_AT, 0, 0, 0, 64, Ipv4.PROTOCOL_UDP, source, destination);
  Udp.write(view, udpAt, 0, Udp.PORT_ROCE, 0);
  const places = { ethernetAt: 0, ipAt: IP_AT, udpAt };
  return { template, sourcePort, ...places, isIpv6, port, destination: 7, framing, icrcElided };
}

/** Frame `index` of a burst, cut into the frames that leave: HEADER_ONCE as the kernel segments it, with IPv4 identifications that count up. */
export function framesOf(burst: TransmitBurst, index: number, path: Path): Uint8Array<ArrayBuffer>[] {
  const at = burst.at[index]!;
  const whole = burst.bytes.slice(at, at + burst.frameBytes[index]!);
  const segmentBytes = burst.segmentBytes[index]!;
  if (segmentBytes === 0) return [whole];
  const headerBytes = burst.headerBytes[index]!;
  const frames: Uint8Array<ArrayBuffer>[] = [];
  for (let from = headerBytes; from < whole.length; from += segmentBytes) {
    const segment = whole.subarray(from, from + segmentBytes);
    const frame = new Uint8Array(headerBytes + segment.length);
    frame.set(whole.subarray(0, headerBytes));
    frame.set(segment, headerBytes);
    if (headerBytes !== 0) renumber(frame, path, frames.length);
    frames.push(frame);
  }
  return frames;
}

function renumber(frame: Uint8Array<ArrayBuffer>, path: Path, index: number): void {
  const view = new DataView(frame.buffer);
  const udpBytes = frame.length - path.udpAt;
  view.setUint16(path.udpAt + 4, udpBytes);
  if (path.isIpv6) {
    view.setUint16(path.ipAt + 4, udpBytes);
    return;
  }
  const id = (Ipv4.identification(view, path.ipAt) + index) & 0xffff;
  Ipv4.renumber(view, path.ipAt, frame.length - path.ipAt, id);
}
