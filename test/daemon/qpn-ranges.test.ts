/** A QPN names its vRNIC. */
import t from 'tap';
import { QpnRanges } from '../../daemon/qpn-ranges.ts';

t.test('vRNICs of one interface have no QPN in common: 1,024 of tenants and 32 others, and no more', async (t) => {
  const ranges = new QpnRanges();
  const taken: [number, number][] = [];
  for (let i = 0; i < 1056; i++) {
    const { qpnBase, qpnCount } = ranges.allot(`v${i}`, 'eth0', i < 1024);
    t.ok(qpnCount > 10_000);
    taken.push([qpnBase, qpnBase + qpnCount]);
  }
  taken.sort(([a], [b]) => a - b);
  t.notOk(taken.some(([from], i) => i > 0 && from < taken[i - 1]![1]));
  t.equal(taken.at(-1)![1], 2 ** 24);
  t.throws(() => ranges.allot('one more', 'eth0', true), { message: /one more: eth0 has 1024/ });
  t.throws(() => ranges.allot('one more', 'eth0', false), { message: /one more: eth0 has 32/ });
  t.equal(ranges.allot('elsewhere', 'eth1', true).qpnBase, 2 ** 22);
});

t.test('the range of a vRNIC that is no more is given out again', async (t) => {
  const ranges = new QpnRanges();
  const [, second] = ['a', 'b', 'c'].map((name) => ranges.allot(name, 'eth0', true));
  ranges.release('b');
  t.strictSame(ranges.allot('d', 'eth0', true), second);
});
