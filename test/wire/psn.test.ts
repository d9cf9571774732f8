/** PSN arithmetic against a BigInt model. */
import fc from 'fast-check';
import t from 'tap';
import * as Psn from '../../wire/psn.ts';
import { psn } from '../../wire/types.ts';

const MODULUS = 1n << 24n;
const anyPsn = fc.oneof(
  fc.integer({ min: 0, max: Psn.MASK }),
  fc.constantFrom(0, 1, 0x7fffff, 0x800000, 0x800001, 0xfffffe, 0xffffff),
);

function modelDifference(a: number, b: number): bigint {
  const ahead = (BigInt(a) - BigInt(b) + MODULUS) % MODULUS;
  return ahead >= MODULUS / 2n ? ahead - MODULUS : ahead;
}

t.test('PSN: difference is the signed distance on the circle', (t) => {
  const agrees = fc.property(
    anyPsn,
    anyPsn,
    (a, b) => BigInt(Psn.difference(psn(a), psn(b))) === modelDifference(a, b),
  );
  t.doesNotThrow(() => fc.assert(agrees, { numRuns: 2000 }));
  t.end();
});

t.test('PSN: add goes round the circle, and difference takes it back', (t) => {
  const agrees = fc.property(anyPsn, fc.integer({ min: -(2 ** 23), max: 2 ** 23 - 1 }), (a, count) => {
    const sum = Psn.add(psn(a), count);
    const model = (((BigInt(a) + BigInt(count)) % MODULUS) + MODULUS) % MODULUS;
    return BigInt(sum) === model && Psn.difference(sum, psn(a)) === count;
  });
  t.doesNotThrow(() => fc.assert(agrees, { numRuns: 2000 }));
  t.end();
});

t.test('PSN: next of the last is the first, and order survives the wrap', (t) => {
  t.equal(Psn.next(psn(0xffffff)), 0);
  t.ok(Psn.compare(psn(0xffffff), psn(0)) < 0);
  t.ok(Psn.compare(psn(0), psn(0xffffff)) > 0);
  t.equal(Psn.compare(psn(5), psn(5)), 0);
  t.equal(Psn.difference(psn(0x800000), psn(0)), -(2 ** 23));
  t.end();
});
