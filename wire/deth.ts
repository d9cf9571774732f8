/**
 * DETH: Datagram Extended Transport Header, who sent a UD packet and with what right. IBA Vol. 1, ch. 9.
 *
 *     +---------------------------------------------------------------+
 *   0 |                             Q_Key                             |
 *     +---------------+-----------------------------------------------+
 *   4 |     resv8     |                     SrcQP                     |
 *     +---------------+-----------------------------------------------+
 */
import type { QKey, Qpn } from './types.ts';

export const BYTES = 8;
const MASK_24 = 0xff_ffff;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const qKey = (view: DataView, at: number): QKey => view.getUint32(at) as QKey;
export const sourceQp = (view: DataView, at: number): Qpn => (view.getUint32(at + 4) & MASK_24) as Qpn;

export function write(view: DataView, at: number, qKey: QKey, sourceQp: Qpn): void {
  view.setUint32(at, qKey);
  view.setUint32(at + 4, sourceQp);
}

export interface Fields {
  readonly qKey: QKey;
  readonly reserved8: number;
  readonly sourceQp: Qpn;
}

export const read = (view: DataView, at: number): Fields => ({
  qKey: qKey(view, at),
  reserved8: view.getUint8(at + 4),
  sourceQp: sourceQp(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  write(view, at, f.qKey, f.sourceQp);
  view.setUint8(at + 4, f.reserved8);
}
