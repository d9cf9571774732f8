/**
 * How a connection management message lies in the 232 octets after its MAD header: rows of a table, as the specification has them.
 * Connections are rare and their messages have up to forty fields, so these are read and written as values, not field by field.
 */

/** Octets of every CM message. */
export const BYTES = 232;

/** A number of `width` ≤ 32 bits whose first bit is bit `bit` (0 the most significant) of octet `at`. */
export interface BitField {
  readonly kind: 'bits';
  readonly at: number;
  readonly bit: number;
  readonly width: number;
}

/** A run of octets: a GID, private data. */
export interface OctetField {
  readonly kind: 'octets';
  readonly at: number;
  readonly bytes: number;
}

export type Layout = Readonly<Record<string, BitField | OctetField>>;
export type Values<L extends Layout> = {
  readonly [K in keyof L]: L[K] extends OctetField ? Uint8Array : L[K] extends BitField ? number : number | Uint8Array;
};

/** What a message module offers: `at` is the octet after the MAD header. */
export interface Message<L extends Layout> {
  read(view: DataView, at: number): Values<L>;
  /** Writes all 232 octets: what is reserved, or beyond an octet field's value, as zero. */
  write(view: DataView, at: number, fields: Values<L>): void;
}

export const bits = (at: number, bit: number, width: number): BitField => ({ kind: 'bits', at, bit, width });
export const u8 = (at: number): BitField => bits(at, 0, 8);
export const u16 = (at: number): BitField => bits(at, 0, 16);
export const u24 = (at: number): BitField => bits(at, 0, 24);
export const u32 = (at: number): BitField => bits(at, 0, 32);
export const octets = (at: number, bytes: number): OctetField => ({ kind: 'octets', at, bytes });

/** Octets that a bit field touches. */
const spanOf = ({ bit, width }: BitField): number => (bit + width + 7) >> 3;

function readBits(view: DataView, at: number, field: BitField): number {
  const span = spanOf(field);
  let value = 0;
  for (let i = 0; i < span; i++) value = value * 256 + view.getUint8(at + field.at + i);
  return Math.floor(value / 2 ** (span * 8 - field.bit - field.width)) % 2 ** field.width;
}

/** Adds a field to octets that were zeroed. */
function writeBits(view: DataView, at: number, field: BitField, value: number): void {
  const span = spanOf(field);
  let rest = (value % 2 ** field.width) * 2 ** (span * 8 - field.bit - field.width);
  for (let i = at + field.at + span - 1; i >= at + field.at; i--) {
    view.setUint8(i, view.getUint8(i) | (rest % 256));
    rest = Math.floor(rest / 256);
  }
}

const readOctets = (view: DataView, at: number, { at: offset, bytes }: OctetField): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => view.getUint8(at + offset + i));

function writeOctets(view: DataView, at: number, field: OctetField, value: Uint8Array): void {
  if (value.length > field.bytes) throw new RangeError(`${value.length} octets given for a field of ${field.bytes}`);
  for (const [i, octet] of value.entries()) view.setUint8(at + field.at + i, octet);
}

export function message<const L extends Layout>(layout: L): Message<L> {
  const rows = Object.entries(layout);
  return {
    read: (view, at) =>
      Object.fromEntries(
        rows.map(([name, row]) => [name, row.kind === 'bits' ? readBits(view, at, row) : readOctets(view, at, row)]),
      ) as Values<L>,
    write: (view, at, fields) => {
      for (let i = 0; i < BYTES; i += 4) view.setUint32(at + i, 0);
      for (const [name, row] of rows) {
        if (row.kind === 'bits') writeBits(view, at, row, fields[name] as number);
        else writeOctets(view, at, row, fields[name] as Uint8Array);
      }
    },
  };
}
