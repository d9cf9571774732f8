/**
 * MAD: Management Datagram, 256 octets of which these 24 are common to all classes. IBA Vol. 1, ch. 13.
 *
 *     +---------------+---------------+---------------+---------------+
 *   0 |  BaseVersion  |   MgmtClass   | ClassVersion  |R|   Method    |
 *     +---------------+---------------+---------------+---------------+
 *   4 |            Status             |         ClassSpecific         |
 *     +-------------------------------+-------------------------------+
 *   8 |                    TransactionID (8 octets)                   |
 *     +-------------------------------+-------------------------------+
 *  16 |          AttributeID          |           Reserved            |
 *  20 |                       AttributeModifier                       |
 *     +---------------------------------------------------------------+
 */
export const BYTES = 24;
/** Octets of a whole MAD: the header and its class's data. */
export const MAD_BYTES = 256;
export const BASE_VERSION = 1;
/** Communication management: its class, class version and only method. */
export const CLASS_CM = 0x07;
export const CLASS_VERSION_CM = 2;
export const METHOD_SEND = 0x03;
/** The Q_Key of QP1, on every MAD sent to it. */
export const GSI_Q_KEY = 0x8001_0000;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const baseVersion = (view: DataView, at: number): number => view.getUint8(at);
export const managementClass = (view: DataView, at: number): number => view.getUint8(at + 1);
export const classVersion = (view: DataView, at: number): number => view.getUint8(at + 2);
export const method = (view: DataView, at: number): number => view.getUint8(at + 3);
export const status = (view: DataView, at: number): number => view.getUint16(at + 4);
export const transactionIdHi = (view: DataView, at: number): number => view.getUint32(at + 8);
export const transactionIdLo = (view: DataView, at: number): number => view.getUint32(at + 12);
export const attributeId = (view: DataView, at: number): number => view.getUint16(at + 16);
export const attributeModifier = (view: DataView, at: number): number => view.getUint32(at + 20);

/** Writes the header of a connection management message; the 232 octets after it are the message's own. */
export function writeCm(view: DataView, at: number, attributeId: number, idHi: number, idLo: number): void {
  view.setUint32(at, (BASE_VERSION << 24) | (CLASS_CM << 16) | (CLASS_VERSION_CM << 8) | METHOD_SEND);
  view.setUint32(at + 4, 0);
  view.setUint32(at + 8, idHi);
  view.setUint32(at + 12, idLo);
  view.setUint32(at + 16, attributeId << 16);
  view.setUint32(at + 20, 0);
}

export interface Fields {
  readonly baseVersion: number;
  readonly managementClass: number;
  readonly classVersion: number;
  readonly method: number;
  readonly status: number;
  readonly classSpecific: number;
  readonly transactionIdHi: number;
  readonly transactionIdLo: number;
  readonly attributeId: number;
  readonly reserved16: number;
  readonly attributeModifier: number;
}

export const read = (view: DataView, at: number): Fields => ({
  baseVersion: baseVersion(view, at),
  managementClass: managementClass(view, at),
  classVersion: classVersion(view, at),
  method: method(view, at),
  status: status(view, at),
  classSpecific: view.getUint16(at + 6),
  transactionIdHi: transactionIdHi(view, at),
  transactionIdLo: transactionIdLo(view, at),
  attributeId: attributeId(view, at),
  reserved16: view.getUint16(at + 18),
  attributeModifier: attributeModifier(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  view.setUint32(at, (f.baseVersion << 24) | (f.managementClass << 16) | (f.classVersion << 8) | f.method);
  view.setUint32(at + 4, (f.status << 16) | f.classSpecific);
  view.setUint32(at + 8, f.transactionIdHi);
  view.setUint32(at + 12, f.transactionIdLo);
  view.setUint32(at + 16, (f.attributeId << 16) | f.reserved16);
  view.setUint32(at + 20, f.attributeModifier);
}
