/** CRC-32: every backend that loads agrees with the plain bit-by-bit definition, and a wrong one is never chosen. */
import fc from 'fast-check';
import t from 'tap';
import { registerArena } from '../../wire/arena.ts';
import { backendName, choose, crc32 as native, selfTest } from '../../wire/crc32.ts';
import { BACKENDS, type Crc32 } from '../../wire/crc32-backends.ts';
import * as Slice from '../../wire/crc32-slice.ts';

function definition(octets: Uint8Array): number {
  let state = -1;
  for (const octet of octets) {
    state ^= octet;
    for (let bit = 0; bit < 8; bit++) state = (state & 1) !== 0 ? (state >>> 1) ^ 0xedb8_8320 : state >>> 1;
  }
  return ~state;
}

function agreesWithDefinition(crc32: Crc32): void {
  const arena = new Uint8Array(new SharedArrayBuffer(8192));
  registerArena(arena);
  const anywhere = fc.tuple(fc.uint8Array({ maxLength: 600 }), fc.nat(4000), fc.nat(600));
  fc.assert(
    fc.property(anywhere, ([octets, start, split]) => {
      arena.set(octets, start);
      const middle = start + Math.min(split, octets.length);
      const end = start + octets.length;
      const crc = crc32(arena, middle, end, crc32(arena, start, middle, 0));
      return crc === definition(octets) && crc === (crc | 0);
    }),
  );
}

/** The backend, or why this machine has not got it. */
function tryLoad(load: () => Crc32): Crc32 | string {
  try {
    return load();
  } catch (error) {
    return (error as Error).message;
  }
}

for (const { name, load } of BACKENDS) {
  const crc32 = tryLoad(load);
  const skip = typeof crc32 === 'string' && crc32;
  t.test(`CRC-32: ${name} agrees with the definition, whole and in parts`, { skip }, (t) => {
    t.doesNotThrow(() => selfTest(crc32 as Crc32));
    t.doesNotThrow(() => agreesWithDefinition(crc32 as Crc32));
    t.end();
  });
}

t.test('CRC-32: the chosen function agrees with the definition, over registered memory and not', (t) => {
  t.doesNotThrow(() => agreesWithDefinition(native));
  const loose = Uint8Array.from({ length: 3000 }, (_, i) => i * 31);
  t.equal(native(loose, 0, 3000, 0), definition(loose));
  t.ok(BACKENDS.some(({ name }) => name === backendName()));
  t.end();
});

t.test('CRC-32: libdeflate reads nothing beyond the memory it was told of', (t) => {
  const [libdeflate] = BACKENDS;
  const crc32 = tryLoad(libdeflate?.load as () => Crc32);
  if (typeof crc32 === 'string') t.comment(`libdeflate is not on this machine: ${crc32}`);
  else {
    const arena = new Uint8Array(new SharedArrayBuffer(4096));
    registerArena(arena);
    t.throws(() => crc32(arena, 0, 4097, 0), RangeError);
    t.throws(() => crc32(arena, -1, 64, 0), RangeError);
    t.throws(() => crc32(arena, 65, 64, 0), RangeError);
    t.doesNotThrow(() => crc32(arena, 4096, 4096, 0));
  }
  t.end();
});

t.test('CRC-32: a backend that is missing or wrong gives way to the next', (t) => {
  const missing = {
    name: 'missing',
    load: (): Crc32 => {
      throw new Error('no such library');
    },
  };
  const wrong = { name: 'wrong', load: (): Crc32 => () => 0 };
  const seedless = { name: 'seedless', load: (): Crc32 => (bytes, start, end) => Slice.crc32(bytes, start, end, 0) };
  const right = { name: 'right', load: (): Crc32 => Slice.crc32 };
  t.equal(choose([missing, wrong, seedless, right]).name, 'right');
  t.throws(() => choose([missing, wrong]), /missing: no such library; wrong: wrong CRC-32 of the check string/);
  t.end();
});
