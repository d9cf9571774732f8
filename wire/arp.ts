/**
 * ARP for IPv4 over Ethernet. RFC 826.
 *
 *     +-------------------------------+-------------------------------+
 *   0 |       Hardware type (1)       |    Protocol type (0x0800)     |
 *   4 |       6       |       4       |           Operation           |
 *     +-------------------------------+-------------------------------+
 *   8 |                    Sender MAC (6 octets)                      |
 *  14 |                    Sender IPv4 address                        |
 *  18 |                    Target MAC (6 octets)                      |
 *  24 |                    Target IPv4 address                        |
 *     +---------------------------------------------------------------+
 */
export const BYTES = 28;
export const REQUEST = 1;
export const REPLY = 2;
const ETHERNET = 1;
const IPV4 = 0x0800;
const LENGTHS = 0x0604;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
/** True when the packet speaks of IPv4 over Ethernet, the only kind known here. */
export const isIpv4OverEthernet = (view: DataView, at: number): boolean =>
  view.getUint16(at) === ETHERNET && view.getUint16(at + 2) === IPV4 && view.getUint16(at + 4) === LENGTHS;
export const operation = (view: DataView, at: number): number => view.getUint16(at + 6);
export const senderMacHi = (view: DataView, at: number): number => view.getUint16(at + 8);
export const senderMacLo = (view: DataView, at: number): number => view.getUint32(at + 10);
export const senderIp = (view: DataView, at: number): number => view.getUint32(at + 14);
export const targetMacHi = (view: DataView, at: number): number => view.getUint16(at + 18);
export const targetMacLo = (view: DataView, at: number): number => view.getUint32(at + 20);
export const targetIp = (view: DataView, at: number): number => view.getUint32(at + 24);

export function write(
  view: DataView,
  at: number,
  operation: number,
  senderMacHi: number,
  senderMacLo: number,
  senderIp: number,
  targetMacHi: number,
  targetMacLo: number,
  targetIp: number,
): void {
  view.setUint16(at, ETHERNET);
  view.setUint16(at + 2, IPV4);
  view.setUint16(at + 4, LENGTHS);
  view.setUint16(at + 6, operation);
  view.setUint16(at + 8, senderMacHi);
  view.setUint32(at + 10, senderMacLo);
  view.setUint32(at + 14, senderIp);
  view.setUint16(at + 18, targetMacHi);
  view.setUint32(at + 20, targetMacLo);
  view.setUint32(at + 24, targetIp);
}

export interface Fields {
  readonly operation: number;
  readonly senderMacHi: number;
  readonly senderMacLo: number;
  readonly senderIp: number;
  readonly targetMacHi: number;
  readonly targetMacLo: number;
  readonly targetIp: number;
}

export const read = (view: DataView, at: number): Fields => ({
  operation: operation(view, at),
  senderMacHi: senderMacHi(view, at),
  senderMacLo: senderMacLo(view, at),
  senderIp: senderIp(view, at),
  targetMacHi: targetMacHi(view, at),
  targetMacLo: targetMacLo(view, at),
  targetIp: targetIp(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  const { senderMacHi, senderMacLo, senderIp, targetMacHi, targetMacLo, targetIp } = f;
  write(view, at, f.operation, senderMacHi, senderMacLo, senderIp, targetMacHi, targetMacLo, targetIp);
}
