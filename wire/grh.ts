/**
 * GRH: Global Route Header. RoCEv2 sends an IP header in its place; a UD receiver finds one in its first 40 octets. IBA Vol. 1, ch. 8.
 *
 *     +-------+---------------+---------------------------------------+
 *   0 | IPVer |    TClass     |              Flow Label               |
 *     +-------+---------------+-------+---------------+---------------+
 *   4 |            PayLen             |    NxtHdr     |    HopLmt     |
 *     +-------------------------------+---------------+---------------+
 *   8 |                       SGID (16 octets)                        |
 *  24 |                       DGID (16 octets)                        |
 *     +---------------------------------------------------------------+
 *
 * The layout is that of IPv6, so the accessors are those of `ipv6.ts`.
 */
export {
  BYTES,
  copyDestination as copyDgid,
  copySource as copySgid,
  type Fields,
  fits,
  flowLabel,
  hopLimit,
  nextHeader,
  payloadLength,
  read,
  trafficClass,
  version,
  write,
  writeFields,
} from './ipv6.ts';

/** NxtHdr of a GRH that carries an IB transport header. */
export const NEXT_HEADER_IBA = 0x1b;

/**
 * Writes what a UD receiver finds before the payload of a packet that came over IPv4:
 * 20 octets of zero, then the IPv4 header as it came. IBA Vol. 1, Annex A17.
 */
export function writeFromIpv4(target: DataView, targetAt: number, source: DataView, ipAt: number): void {
  for (let i = 0; i < 20; i += 4) {
    target.setUint32(targetAt + i, 0);
    target.setUint32(targetAt + 20 + i, source.getUint32(ipAt + i));
  }
}
