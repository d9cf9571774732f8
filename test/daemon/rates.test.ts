/** Rates and sizes as people write them. */
import t from 'tap';
import { parseConfiguration } from '../../daemon/configuration.ts';
import { parseRate, parseSize, rateText } from '../../daemon/rates.ts';

t.test('rates as tc reads them', async (t) => {
  for (const [text, rate] of [
    ['10mbit', 10e6],
    ['1gbit', 1e9],
    ['1.5Gbit', 1.5e9],
    ['250kbit', 250e3],
    ['64000', 64_000],
    ['64000bit', 64_000],
    ['1mbps', 8e6],
    ['2tbit', 2e12],
  ] as const)
    t.equal(parseRate(text), rate, text);
  for (const text of ['', 'fast', '10 mbit', '-1mbit', '1e9', '10mb', '1qbit'])
    t.ok(Number.isNaN(parseRate(text)), text);
  for (const rate of [10e6, 1e9, 1.5e9, 64_000, 12_345, 33_333_333, 1e12])
    t.equal(parseRate(rateText(rate)), rate, rateText(rate));
  t.equal(rateText(1.5e9), '1.5gbit');
});

t.test('sizes as tc reads them', async (t) => {
  for (const [text, size] of [
    ['64kb', 65_536],
    ['64k', 65_536],
    ['1mb', 2 ** 20],
    ['1500b', 1500],
    ['1500', 1500],
    ['1.5kb', 1536],
  ] as const)
    t.equal(parseSize(text), size, text);
  for (const text of ['', '64kbit', 'b', '-5']) t.ok(Number.isNaN(parseSize(text)), text);
});

const configuration = (limit: string, endpoint = ''): string => `
tenants:
  - name: blue
    vni: 100
    limit: ${limit}
    endpoints:
      - { address: 10.0.0.1, host: 192.0.2.1${endpoint} }
vrnics:
  - { name: v, tenant: blue, address: 10.0.0.1, netdev: eth0 }
`;

t.test('limits of a configuration are read, and refused with the line and what would do', async (t) => {
  const [tenant] = parseConfiguration(
    configuration('{ rate: 1gbit, burst: 64kb, flood: 0 }', ', limit: { rate: 100mbit, guarantee: 5000000, flood: 9 }'),
  ).tenants;
  t.strictSame(tenant!.limit, { rate: 1e9, burst: 65_536, flood: 0 });
  t.strictSame(tenant!.endpoints[0]!.limit, { rate: 100e6, guarantee: 5e6, flood: 9 });
  for (const [limit, endpoint, message] of [
    ['{ rate: fast }', '', /:5: tenants\[0\]\.limit\.rate: must be a rate such as 100mbit/],
    ['{ rate: 1kbit }', '', /must be a rate/],
    ['{ burst: 1b }', '', /must be a size such as 64kb/],
    ['{ speed: 1gbit }', '', /speed/],
    ['{ flood: -1 }', '', /:5: tenants\[0\]\.limit\.flood: /],
    ['{ flood: 1.5 }', '', /:5: tenants\[0\]\.limit\.flood: /],
    ['{ flood: 10000001 }', '', /:5: tenants\[0\]\.limit\.flood: /],
    ['{}', ', limit: { rate: 1mbit, guarantee: 2mbit }', /guaranteed 2mbit and limited to 1mbit: guarantee less/],
    ['{ rate: 1mbit, guarantee: 2mbit }', '', /tenant blue is guaranteed 2mbit and limited to 1mbit/],
    [
      '{ rate: 1mbit }',
      ', limit: { guarantee: 2mbit }',
      /guaranteed 2mbit together, and the tenant is limited to 1mbit/,
    ],
  ] as const)
    t.throws(() => parseConfiguration(configuration(limit, endpoint)), { message });
});
