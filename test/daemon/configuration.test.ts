/** urnic.yaml: what is refused, and how. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadConfiguration, parseConfiguration, VrnicText } from '../../daemon/configuration.ts';
import { ROOT } from '../support/root.ts';

t.test('configuration: the least there can be is filled with defaults', async (t) => {
  const parsed = parseConfiguration('vrnics:\n  - name: blue\n    netdev: eth0\n');
  t.strictSame(parsed, {
    workers: 2,
    spin: 50,
    log: 'info',
    tenants: [],
    vrnics: [{ name: 'blue', netdev: 'eth0', port: 'af_packet' }],
  });
});

t.test('configuration: the example of its page is accepted, and shows every member of a vRNIC', async (t) => {
  const [, example] = /```yaml\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8'))!;
  const { vrnics } = parseConfiguration(example!);
  const members = new Set(vrnics.flatMap((vrnic) => Object.keys(vrnic)));
  t.same(members, new Set(Object.keys(VrnicText.shape)));
});

t.test('configuration: an error names file, line, member and what it should be', async (t) => {
  const refused = (text: string, message: RegExp): void => {
    t.throws(() => parseConfiguration(text, 'urnic.yaml'), { message });
  };
  refused('workers: 0\nvrnics:\n  - name: a\n    netdev: eth0\n', /^urnic\.yaml:1: workers: .*>=1/);
  refused(
    'vrnics:\n  - name: a\n    netdev: eth0\n  - name: b\n    netdev: eth0\n    port: tcp\n',
    /^urnic\.yaml:6: vrnics\[1\]\.port: .*af_packet/,
  );
  refused('vrnics:\n  - name: a\n', /^urnic\.yaml:2: vrnics\[0\]\.netdev: is missing: it must be text/);
  refused('workers: 1.5\n', /^urnic\.yaml:1: workers: must be a whole number$/);
  refused('workers: 1\nvrnics: { name: a }\n', /^urnic\.yaml:2: vrnics: must be a list$/);
  refused('vrnics: []\n', /^urnic\.yaml:1: vrnics: name at least one vRNIC/);
  refused(
    'vrnics:\n  - name: a\n    netdev: eth0\n    colour: red\n',
    /^urnic\.yaml:4: .*colour.*known are name, netdev, /,
  );
  refused('vrnics:\n - {\n', /^urnic\.yaml:\d: /);
  refused('vrnics: []\nq: 1\n', /^urnic\.yaml:2: q: there is no such member: known are workers, spin, .*, vrnics$/);
  refused('spin: sometimes\nvrnics: [{ name: a, netdev: x }]', /:1: spin: must be microseconds.*'always'/);
  refused('workers: 1\nvrnics: *none\n', /^urnic\.yaml:2: \*none stands for nothing: put &none before/);
  refused('', /vrnics/);
  refused(
    'vrnics:\n  - {name: a, netdev: x}\n  - {name: a, netdev: y}\n',
    /^urnic\.yaml:3: two vRNICs are named a: give/,
  );
});

t.test('configuration: a file that is not there says how to name one', async (t) => {
  t.throws(() => loadConfiguration('/nonexistent/urnic.yaml'), { message: /no such file.*-c/ });
});

t.test('configuration: a vRNIC of a tenant is one of its endpoints', async (t) => {
  const tenant = 'tenants:\n  - name: blue\n    vni: 100\n    endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 }]\n';
  const tap =
    '  - { name: vm, vni: 200, endpoints: [{ address: 10.0.0.9, host: 192.0.2.1, kind: tap, netdev: t0 }] }\n';
  const vrnic = (more: string): string => `${tenant}${tap}vrnics:\n  - { name: a, netdev: eth0, ${more} }\n`;
  t.match(parseConfiguration(vrnic('tenant: blue, address: 10.0.0.1')).tenants, [
    { name: 'blue', vni: 100, rules: [] },
  ]);
  for (const [more, message] of [
    ['tenant: blue,\n    address: 10.0.0.2', /yaml:8: vRNIC a: tenant blue has no endpoint 10\.0\.0\.2: add it/],
    ['tenant: red, address: 10.0.0.1', /yaml:7: vRNIC a: there is no tenant red: add it/],
    ['tenant: blue, address: 10.0.0.1/24', /must be an IPv4 or IPv6 address/],
    ['tenant: blue, address: 10.0.0.300', /must be an IPv4 or IPv6 address/],
    ['tenant: blue', /vrnics\[0\]: tenant and address go together/],
    [
      'tenant: blue, address: 10.0.0.1 }\n  - { name: b, netdev: eth0, tenant: blue, address: 10.0.0.1',
      /yaml:8: vRNICs a and b are both.*: give each its own/,
    ],
    ['tenant: vm,\n    address: 10.0.0.9', /yaml:8: vRNIC a: endpoint 10\.0\.0\.9 of tenant vm is a tap: name another/],
  ] as const)
    t.throws(() => parseConfiguration(vrnic(more)), { message });
  const rule = (source: string): string =>
    `${tenant.trimEnd()}\n    rules: [{ id: r, action: deny, source: ${source} }]\nvrnics:\n  - { name: a, netdev: eth0 }\n`;
  t.throws(() => parseConfiguration(rule('10.0.0.0/33')), { message: /prefix/ });
  t.match(parseConfiguration(rule('10.0.0.0/24')).tenants[0]!.rules, [
    { source: '10.0.0.0/24', destination: 'any', priority: 100 },
  ]);
});

t.test('configuration: what cannot be told apart is refused, with its line', async (t) => {
  const blue = (more: string): string =>
    `tenants:\n  - name: blue\n    vni: 100\n${more}vrnics: [{ name: a, netdev: eth0 }]\n`;
  const endpoints = (...of: string[]): string =>
    blue(`    endpoints:\n${of.map((address) => `      - { address: '${address}', host: 192.0.2.1 }\n`).join('')}`);
  const taps = (...of: string[]): string =>
    blue(
      `    endpoints:\n${of.map((netdev, i) => `      - { address: 10.0.0.${i + 1}, host: 192.0.2.1, kind: tap, netdev: ${netdev} }\n`).join('')}`,
    );
  for (const [text, message] of [
    [blue('  - name: red\n    vni: 100\n'), /yaml:5: tenants blue and red have VNI 100 both/],
    [blue('  - name: blue\n    vni: 200\n'), /yaml:4: two tenants are named blue/],
    [endpoints('224.0.0.1'), /endpoints\[0\]\.address: must be the address of one/],
    [endpoints('::'), /must be the address of one/],
    [endpoints('10.0.0.1', '10.0.0.1'), /yaml:6: .*two endpoints 10\.0\.0\.1/],
    [endpoints('fd00::1', 'FD00:0:0::1'), /yaml:6: .*two endpoints fd00::1/],
    [endpoints('fd00::1', 'fd00::1:0:0'), /yaml:6: endpoints fd00::1 and fd00::1:0:0 of tenant blue have MAC/],
    [blue('    rules:\n      - { id: r, action: deny }\n      - { id: r, action: allow }\n'), /yaml:6: .*two rules r/],
    [blue('    limit:\n      rate: 1gbit\n      guarantee: 2gbit\n'), /yaml:6: .*guarantee less/],
    [taps('c0', 'c0'), /yaml:6: .*10\.0\.0\.1 of .* and 10\.0\.0\.2 of tenant blue are both interface c0 on 192/],
    [
      blue(
        '    endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 },\n      { address: 10.0.0.2, host: "2001:db8::2" }]\n',
      ),
      /yaml:5: .*192\.0\.2\.1 and 2001:db8::2 .*two families/,
    ],
  ] as const)
    t.throws(() => parseConfiguration(text), { message });
  t.match(parseConfiguration(endpoints('FD00:0:0::1')).tenants[0]!.endpoints, [{ address: 'fd00::1' }]);
});
