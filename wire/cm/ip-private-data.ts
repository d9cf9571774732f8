/**
 * What rdma_cm puts first in the private data of a REQ or SIDR_REQ: the IP addresses of both ends. IBA Vol. 1, Annex A11.
 *
 *     +-------+-------+-------+-------+-------------------------------+
 *   0 | Major | Minor | IPVer | resv4 |          Source Port          |
 *     +-------+-------+-------+-------+-------------------------------+
 *   4 |     Source address, 16 octets; an IPv4 one in the last 4      |
 *  20 |   Destination address, 16 octets; an IPv4 one in the last 4   |
 *     +---------------------------------------------------------------+
 *  36 |                   the consumer's private data                 |
 */
export const BYTES = 36;
const ADDRESS_BYTES = 16;

/** Port spaces: which protocol's ports a service ID speaks of. */
export const PORT_SPACE_TCP = 0x06;
export const PORT_SPACE_UDP = 0x11;

/** A service ID of RDMA IP CM is the prefix 0x0000000001, a port space and a port; its upper half is zero. */
export const SERVICE_ID_HI = 0;
export const serviceIdLo = (portSpace: number, port: number): number => (0x0100_0000 | (portSpace << 16) | port) >>> 0;
export const isIpServiceId = (hi: number, lo: number): boolean => hi === SERVICE_ID_HI && lo >>> 24 === 1;
export const servicePortSpace = (lo: number): number => (lo >>> 16) & 0xff;
export const servicePort = (lo: number): number => lo & 0xffff;

export interface Fields {
  readonly majorVersion: number;
  readonly minorVersion: number;
  /** 4 or 6. */
  readonly ipVersion: number;
  readonly reserved4: number;
  readonly sourcePort: number;
  /** 16 octets, as they lie. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

export const fits = (end: number, at: number): boolean => end - at >= BYTES;

const readAddress = (view: DataView, at: number): Uint8Array =>
  Uint8Array.from({ length: ADDRESS_BYTES }, (_, i) => view.getUint8(at + i));

export const read = (view: DataView, at: number): Fields => ({
  majorVersion: view.getUint8(at) >> 4,
  minorVersion: view.getUint8(at) & 0x0f,
  ipVersion: view.getUint8(at + 1) >> 4,
  reserved4: view.getUint8(at + 1) & 0x0f,
  sourcePort: view.getUint16(at + 2),
  source: readAddress(view, at + 4),
  destination: readAddress(view, at + 20),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  view.setUint8(at, (f.majorVersion << 4) | f.minorVersion);
  view.setUint8(at + 1, (f.ipVersion << 4) | f.reserved4);
  view.setUint16(at + 2, f.sourcePort);
  for (let i = 0; i < ADDRESS_BYTES; i++) {
    view.setUint8(at + 4 + i, f.source[i] ?? 0);
    view.setUint8(at + 20 + i, f.destination[i] ?? 0);
  }
}
