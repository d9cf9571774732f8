/** urnic.yaml: what is refused, and how. */
import t from 'tap';
import { loadConfiguration, parseConfiguration } from '../../daemon/configuration.ts';

t.test('configuration: the least there can be is filled with defaults', async (t) => {
  const parsed = parseConfiguration('vrnics:\n  - name: blue\n    netdev: eth0\n');
  t.strictSame(parsed, {
    workers: 2,
    spin: 50,
    log: 'info',
    vrnics: [{ name: 'blue', netdev: 'eth0', port: 'af_packet' }],
  });
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
  refused('vrnics:\n  - name: a\n', /^urnic\.yaml:2: vrnics\[0\]\.netdev: /);
  refused('vrnics: []\n', /^urnic\.yaml:1: vrnics: name at least one vRNIC/);
  refused('vrnics:\n  - name: a\n    netdev: eth0\n    colour: red\n', /colour/);
  refused('vrnics:\n - {\n', /^urnic\.yaml:\d: /);
  refused('', /vrnics/);
  refused('vrnics:\n  - {name: a, netdev: x}\n  - {name: a, netdev: y}\n', /two vRNICs are named a/);
});

t.test('configuration: a file that is not there says how to name one', async (t) => {
  t.throws(() => loadConfiguration('/nonexistent/urnic.yaml'), { message: /no such file.*-c/ });
});
