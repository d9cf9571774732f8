/** etcd as operators run it: three members of which one dies, and connections that both sides prove who they are on. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseConfiguration } from '../../daemon/configuration.ts';
import { openStore } from '../../daemon/open-store.ts';
import { EtcdStore } from '../../daemon/store/etcd-store.ts';
import { Mirror } from '../../daemon/store/mirror.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { lacks } from '../support/skip.ts';

/** Until it holds: an election takes its time. */
const patiently = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
  let done: T | undefined;
  await eventually(
    () =>
      act().then(
        (value) => {
          done = value;
          return value !== undefined;
        },
        () => false,
      ),
    120_000,
  );
  return done;
};

t.test('a cluster of three', { skip: lacks('etcd'), timeout: 600_000 }, async (t) => {
  const members = await Etcd.cluster(t);
  const urls = members.map(({ url }) => url);
  const store = new EtcdStore({ urls, prefix: 'cluster/' });
  t.teardown(() => store.close());
  const failures: string[] = [];
  const told: string[] = [];
  const mirror = await Mirror.start(store, '', {
    changed: async ({ edits }) => void told.push(...edits.map(({ key, value }) => `${key}=${value}`)),
    failed: ({ message }) => failures.push(message),
  });
  t.teardown(() => mirror.close());
  const lease = await store.lease(60);
  let hasEnded = false;
  void lease.ended.then(() => {
    hasEnded = true;
  });
  await mirror.until((await store.commit([{ key: 'a', value: '1', lease }]))!);

  await t.test(
    'goes on without the member that was asked: commits, watches, and a lease that does not end',
    async (t) => {
      await members[0]!.kill();
      const revision = await patiently(() => store.commit([{ key: 'b', value: '2' }]));
      t.ok(revision);
      await mirror.until(revision!);
      t.equal(told.filter((one) => one === 'a=1').length, 1, 'what was told is not told again');
      t.equal(told.at(-1), 'b=2');
      t.ok(await store.get('a'));
      t.notOk(hasEnded);
    },
  );

  await t.test('a member that has no leader is no answer; with two again there is one', async (t) => {
    await members[1]!.kill();
    await t.rejects(store.commit([{ key: 'c', value: '3' }]), { message: /does not answer/ });
    t.notOk(hasEnded, 'nobody has said that the lease is over');
    await members[1]!.restart().catch(() => {}); // it answers once it has met the other
    const revision = await patiently(() => store.commit([{ key: 'd', value: '4' }]));
    t.ok(revision);
    await mirror.until(revision!);
    t.equal(told.at(-1), 'd=4');
    t.ok(failures.length > 0);
  });
});

/** An authority, and certificates that it signed: for 127.0.0.1, and for a client. */
function certificates(folder: string): (name: string) => string {
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  for (const name of ['ca', 'other'])
    openssl(
      'req',
      '-x509',
      ...curve,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  for (const [name, usage] of [
    ['server', 'serverAuth,clientAuth'],
    ['client', 'clientAuth'],
  ] as const) {
    openssl('req', ...curve, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    writeFileSync(file(`${name}.ext`), `subjectAltName=IP:127.0.0.1\nextendedKeyUsage=${usage}\n`);
    const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, ...sign, '-out', `${name}.pem`);
  }
  return file;
}

t.test('https with certificates on both sides', { skip: lacks('etcd', 'openssl'), timeout: 300_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-tls-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = certificates(folder);
  const etcd = await Etcd.secure(t, { ca: file('ca.pem'), cert: file('server.pem'), key: file('server.key') });
  const text = (...settings: string[]): string => `
store: { etcd: ['${etcd.url}'], ${settings.join(', ')} }
vrnics: [{ name: a, netdev: lo }]`;
  const [ca, cert, key] = [`ca: ${file('ca.pem')}`, `cert: ${file('client.pem')}`, `key: ${file('client.key')}`];
  const open = async (...settings: string[]) => {
    const { store } = await openStore(parseConfiguration(text(...settings)).store);
    t.teardown(() => store.close());
    return store;
  };

  await t.test('who has both is served, watches included', async (t) => {
    const store = await open(ca!, cert!, key!);
    const mirror = await Mirror.start(store, '', { changed: async () => {}, failed: () => {} });
    t.teardown(() => mirror.close());
    await mirror.until((await store.commit([{ key: 'a', value: '1' }]))!);
    t.equal(mirror.entries.get('a')?.value, '1');
  });

  await t.test(
    'an etcd that no authority of ours has signed is not believed, a client without a certificate not served',
    async (t) => {
      await t.rejects((await open(`ca: ${file('other.pem')}`, cert!, key!)).list(''), {
        message: /does not answer: .*(self|issuer|verify|certificate)/,
      });
      await t.rejects((await open(ca!)).list(''), {
        message: /does not answer: .*(certificate|handshake|alert|reset|hang up)/i,
      });
    },
  );

  t.test('a configuration that cannot be says so', (t) => {
    t.throws(() => parseConfiguration(text(ca!, cert!)), { message: /cert and key go together/ });
    t.throws(() => parseConfiguration(text(ca!).replace('https', 'http')), { message: /https/ });
    t.end();
  });
  await t.rejects(open(`ca: ${file('none.pem')}`), { message: /store\.ca: .*ENOENT/ });
  t.match(readFileSync(file('ca.pem'), 'utf8'), /BEGIN CERTIFICATE/);
});
