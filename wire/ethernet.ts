/**
 * Ethernet II with up to two 802.1Q tags. IEEE 802.3, 802.1Q.
 *
 *     +---------------------------------------------------------------+
 *   0 |                 Destination MAC (6 octets)                    |
 *   6 |                    Source MAC (6 octets)                      |
 *     +-------------------------------+---+-+-------------------------+
 *  12 |     0x8100 (0, 1 or 2 times)  |PCP|D|         VLAN id         |
 *     +-------------------------------+---+-+-------------------------+
 *     |           EtherType           |
 *     +-------------------------------+
 *
 * A MAC is read as `hi`, its first two octets, and `lo`, its last four.
 */
export const BYTES = 14;
export const TAG_BYTES = 4;
export const MAC_BYTES = 6;
/** Tags that are looked through; a third makes the EtherType that of the tag. */
const TAG_COUNT_MAX = 2;

export const ETHER_TYPE_IPV4 = 0x0800;
export const ETHER_TYPE_ARP = 0x0806;
export const ETHER_TYPE_VLAN = 0x8100;
export const ETHER_TYPE_QINQ = 0x88a8;
export const ETHER_TYPE_IPV6 = 0x86dd;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const destinationHi = (view: DataView, at: number): number => view.getUint16(at);
export const destinationLo = (view: DataView, at: number): number => view.getUint32(at + 2);
export const sourceHi = (view: DataView, at: number): number => view.getUint16(at + 6);
export const sourceLo = (view: DataView, at: number): number => view.getUint32(at + 8);
/** The MAC at `at`, the destination's at a frame's begin, as a number of 48 bits. */
export const macAt = (view: DataView, at: number): number => view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);
export const isMulticast = (view: DataView, at: number): boolean => (view.getUint8(at) & 1) !== 0;
export const isTag = (etherType: number): boolean => etherType === ETHER_TYPE_VLAN || etherType === ETHER_TYPE_QINQ;

/** Octets up to the payload, tags included. A tag that the view cuts short is not looked through. */
export function headerBytes(view: DataView, at: number): number {
  let bytes = BYTES;
  for (let tagCount = 0; tagCount < TAG_COUNT_MAX; tagCount++) {
    if (!isTag(view.getUint16(at + bytes - 2)) || at + bytes + TAG_BYTES > view.byteLength) break;
    bytes += TAG_BYTES;
  }
  return bytes;
}

/** The EtherType of the payload, behind any tags. */
export const etherType = (view: DataView, at: number): number => view.getUint16(at + headerBytes(view, at) - 2);

/** The outermost VLAN id, or −1 for an untagged frame. */
export const vlanId = (view: DataView, at: number): number =>
  headerBytes(view, at) === BYTES ? -1 : view.getUint16(at + BYTES) & 0x0fff;

/** Copies a MAC's six octets, for instance source to destination of an answer. */
export function copyMac(from: DataView, fromAt: number, to: DataView, toAt: number): void {
  to.setUint16(toAt, from.getUint16(fromAt));
  to.setUint32(toAt + 2, from.getUint32(fromAt + 2));
}

/** Writes an untagged header. */
export function write(
  view: DataView,
  at: number,
  destinationHi: number,
  destinationLo: number,
  sourceHi: number,
  sourceLo: number,
  etherType: number,
): void {
  view.setUint16(at, destinationHi);
  view.setUint32(at + 2, destinationLo);
  view.setUint16(at + 6, sourceHi);
  view.setUint32(at + 8, sourceLo);
  view.setUint16(at + 12, etherType);
}

/** One 802.1Q tag. */
export interface Tag {
  readonly protocol: number;
  readonly priority: number;
  readonly dropEligible: boolean;
  readonly vlanId: number;
}

export interface Fields {
  readonly destinationHi: number;
  readonly destinationLo: number;
  readonly sourceHi: number;
  readonly sourceLo: number;
  readonly tags: readonly Tag[];
  readonly etherType: number;
}

function readTag(view: DataView, at: number): Tag {
  const control = view.getUint16(at + 2);
  const protocol = view.getUint16(at);
  return { protocol, priority: control >> 13, dropEligible: (control & 0x1000) !== 0, vlanId: control & 0x0fff };
}

export function read(view: DataView, at: number): Fields {
  const tags: Tag[] = [];
  for (let i = BYTES; i < headerBytes(view, at); i += TAG_BYTES) tags.push(readTag(view, at + i - 2));
  return {
    destinationHi: destinationHi(view, at),
    destinationLo: destinationLo(view, at),
    sourceHi: sourceHi(view, at),
    sourceLo: sourceLo(view, at),
    tags,
    etherType: etherType(view, at),
  };
}

/** Writes the header with its tags and answers how many octets it took. */
export function writeFields(view: DataView, at: number, f: Fields): number {
  write(view, at, f.destinationHi, f.destinationLo, f.sourceHi, f.sourceLo, f.etherType);
  let bytes = BYTES;
  for (const tag of f.tags) {
    view.setUint16(at + bytes - 2, tag.protocol);
    view.setUint16(at + bytes, (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.vlanId);
    bytes += TAG_BYTES;
  }
  view.setUint16(at + bytes - 2, f.etherType);
  return bytes;
}
