/**
 * VXLAN header, between an outer UDP header and an inner Ethernet frame. RFC 7348.
 *
 *     +-+-+-+-+-+-+-+-+-----------------------------------------------+
 *   0 |R|R|R|R|I|R|R|R|                   Reserved                    |
 *     +-+-+-+-+-+-+-+-+-----------------------------------------------+
 *   4 |                      VNI                      |   Reserved    |
 *     +-----------------------------------------------+---------------+
 */
export const BYTES = 8;
const FLAG_I = 0x08;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
/** The I flag: without it the VNI means nothing. R-183. */
export const hasVni = (view: DataView, at: number): boolean => (view.getUint8(at) & FLAG_I) !== 0;
export const vni = (view: DataView, at: number): number => view.getUint32(at + 4) >>> 8;

export function write(view: DataView, at: number, vni: number): void {
  view.setUint32(at, FLAG_I << 24);
  view.setUint32(at + 4, vni << 8);
}

export interface Fields {
  readonly flags: number;
  readonly reserved24: number;
  readonly vni: number;
  readonly reserved8: number;
}

export const read = (view: DataView, at: number): Fields => ({
  flags: view.getUint8(at),
  reserved24: view.getUint32(at) & 0xff_ffff,
  vni: vni(view, at),
  reserved8: view.getUint8(at + 7),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  view.setUint32(at, (f.flags << 24) | f.reserved24);
  view.setUint32(at + 4, (f.vni << 8) | f.reserved8);
}
