/** What every header module is held to: any octets survive read and writeFields, and no field leaks into its neighbours. */
import fc from 'fast-check';
import type { Test } from 'tap';

export interface HeaderModule<Fields extends object> {
  readonly BYTES: number;
  readonly fits: (end: number, at: number) => boolean;
  readonly read: (view: DataView, at: number) => Fields;
  readonly writeFields: (view: DataView, at: number, fields: Fields) => unknown;
}

const MARGIN = 8;
const GUARD = 0xee;

/** A view over `octets` with guard octets on both sides. */
function guarded(octets: Uint8Array): DataView {
  const bytes = new Uint8Array(octets.length + 2 * MARGIN).fill(GUARD);
  bytes.set(octets, MARGIN);
  return new DataView(bytes.buffer);
}

const inside = (view: DataView): Uint8Array => new Uint8Array(view.buffer, MARGIN, view.byteLength - 2 * MARGIN);

function guardsHold(view: DataView): boolean {
  const bytes = new Uint8Array(view.buffer);
  return bytes.every((octet, i) => (i >= MARGIN && i < bytes.length - MARGIN) || octet === GUARD);
}

/** `normalise` sets what the header fixes (a protocol number that Fields does not hold). */
export function holdsHeader<Fields extends object>(
  t: Test,
  name: string,
  header: HeaderModule<Fields>,
  normalise: (octets: Uint8Array) => void = () => {},
): void {
  const roundTrip = (octets: Uint8Array): Uint8Array => {
    const view = guarded(new Uint8Array(octets.length).fill(0x55));
    header.writeFields(view, MARGIN, header.read(guarded(octets), MARGIN));
    t.ok(guardsHold(view), `${name} writes inside its octets`);
    return inside(view);
  };

  t.test(`${name}: any octets survive read and writeFields`, (t) => {
    const octetsOf = fc.uint8Array({ minLength: header.BYTES, maxLength: header.BYTES });
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(octetsOf, (octets) => {
          normalise(octets);
          return roundTrip(octets).every((octet, i) => octet === octets[i]);
        }),
      ),
    );
    t.end();
  });

  t.test(`${name}: each field at its maximum leaves its neighbours at zero`, (t) => {
    const zeros = new Uint8Array(header.BYTES);
    const ones = new Uint8Array(header.BYTES).fill(0xff);
    normalise(zeros);
    normalise(ones);
    const low = header.read(guarded(zeros), MARGIN);
    const high = header.read(guarded(ones), MARGIN);
    for (const key of Object.keys(low) as (keyof Fields)[]) {
      const one = { ...low, [key]: high[key] };
      const view = guarded(zeros);
      header.writeFields(view, MARGIN, one);
      t.same(header.read(view, MARGIN), one, `${name}.${String(key)}`);
    }
    t.end();
  });

  t.test(`${name}: fits only where its ${header.BYTES} octets are`, (t) => {
    t.ok(header.fits(100 + header.BYTES, 100));
    t.notOk(header.fits(100 + header.BYTES - 1, 100));
    t.end();
  });
}
