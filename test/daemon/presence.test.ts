/** A host's endpoints in an etcd that it loses now and then: they come back, those that are no more go, whenever it is lost. */
import t, { type Test } from 'tap';
import { Presence } from '../../daemon/presence.ts';
import { EtcdStore } from '../../daemon/store/etcd-store.ts';
import { TenantDirectory } from '../../daemon/tenant-directory.ts';
import { gidText } from '../../workers/linux/netdev.ts';
import { CutWire } from '../support/cut-wire.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { lacks } from '../support/skip.ts';

const VTEP = '192.0.2.1';
const COMMIT = '/v3/kv/txn';
const GRANT = '/v3/lease/grant';
const claim = (address: string) => ({ tenant: 'blue', address, host: VTEP });

interface Host {
  readonly store: EtcdStore;
  readonly directory: TenantDirectory;
  readonly complaints: string[];
}

/** One that knows tenant blue, and is nowhere yet. */
async function newHost(t: Test, url: string, prefix: string, reviewed: () => void = () => {}): Promise<Host> {
  const store = new EtcdStore({ urls: [url], prefix });
  const complaints: string[] = [];
  const directory = await TenantDirectory.open(store, {
    changed: async () => {
      reviewed();
      return 0;
    },
    complained: (reason) => complaints.push(reason),
  });
  t.teardown(async () => {
    await directory.close();
    await store.close();
  });
  if (!directory.find('blue')) await directory.change('blue', 'addTenant', { settings: { vni: 100 } });
  return { store, directory, complaints };
}

/** One whose presence is kept up, as in a daemon. @param ttl Seconds; a third of it, and it knows that its lease has ended. */
async function present(t: Test, url: string, prefix: string, ttl: number): Promise<Host & { presence: Presence }> {
  let presence: Presence | undefined;
  const host = await newHost(t, url, prefix, () => presence?.review());
  const complain = (reason: string) => host.complaints.push(reason);
  presence = await Presence.start(host.store, host.directory, { name: 'host-1', ttl, complain });
  t.teardown(() => presence.stop());
  return { ...host, presence };
}

/** Last octets of endpoints that are heard of. */
const endpointsOf = ({ directory }: Host): string =>
  (directory.find('blue')?.endpoints ?? [])
    .filter(({ isLost }) => !isLost)
    .map(({ address }) => gidText(address).split('.').at(-1))
    .sort()
    .join();

/** As etcd ends it: of a host that it has not heard of for so long. */
async function endLease(etcd: Etcd, prefix: string): Promise<void> {
  const key = Buffer.from(`${prefix}hosts/host-1`).toString('base64');
  const { kvs } = await etcd.ask<{ kvs: { lease: string }[] }>('/v3/kv/range', { key });
  await etcd.ask('/v3/lease/revoke', { ID: kvs[0]!.lease });
}

/** Whoever has not heard of it until now can no longer. */
async function forget(etcd: Etcd): Promise<void> {
  const { header } = await etcd.ask<{ header: { revision: string } }>('/v3/kv/range', { key: 'AA==' });
  await etcd.ask('/v3/kv/compaction', { revision: header.revision });
}

/** The first request for a path is not `isIt`; those behind it are. */
function butTheFirst(path: string): (asked: string) => boolean {
  let count = 0;
  return (asked) => asked === path && ++count > 1;
}

t.test('a host and an etcd that is away at times', { skip: lacks('etcd'), timeout: 600_000 }, async (t) => {
  const etcd = await Etcd.here(t);
  const wire = await CutWire.before(t, etcd.url);

  await t.test(
    'a lease ends, and what follows on the next one fails: it is tried again until it is there',
    async (t) => {
      const prefix = 'again/';
      const one = await present(t, wire.url, prefix, 6);
      const two = await newHost(t, etcd.url, prefix);
      await one.presence.claim(['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(claim));
      t.ok(await eventually(() => endpointsOf(two) === '1,2,3'));
      const granted = wire.seen.lastIndexOf(GRANT);
      wire.isCut = (path) => path === COMMIT;
      await endLease(etcd, prefix);
      t.ok(await eventually(() => endpointsOf(two) === ''), 'they went with it');
      const also = { address: '10.0.0.50', also: ['10.0.0.2'], host: '192.0.2.2' };
      await two.directory.change('blue', 'addEndpoint', { endpoint: also });
      t.ok(await eventually(() => wire.seen.lastIndexOf(GRANT) > granted, 90_000), 'there is a new lease');
      t.ok(await eventually(() => one.complaints.filter((reason) => /does not answer/.test(reason)).length > 1));
      wire.isCut = () => false;
      t.ok(await eventually(() => endpointsOf(two) === '1,3,50'), endpointsOf(two));
      t.ok(await two.store.get('hosts/host-1'));
      t.match(
        one.complaints.at(-1),
        /endpoint 10\.0\.0\.2 of tenant blue collides with/,
        'what cannot be stops no other',
      );
    },
  );

  await t.test(
    'an endpoint that is released while etcd is away goes once it is back, unless it is here again',
    async (t) => {
      const prefix = 'ghost/';
      const one = await present(t, wire.url, prefix, 60);
      const two = await newHost(t, etcd.url, prefix);
      await one.presence.claim(['10.0.0.1', '10.0.0.2'].map(claim));
      t.ok(await eventually(() => endpointsOf(two) === '1,2'));
      wire.isCut = () => true;
      await one.presence.release(claim('10.0.0.1'));
      t.equal(endpointsOf(two), '1,2');
      t.match(one.complaints.at(-1), /does not answer/);
      wire.isCut = () => false;
      t.ok(await eventually(() => endpointsOf(two) === '2'), endpointsOf(two));

      wire.isCut = () => true;
      await one.presence.release(claim('10.0.0.2'));
      wire.isCut = () => false;
      await one.presence.claim([claim('10.0.0.2')]);
      await one.presence.claim([claim('10.0.0.3')]);
      t.ok(await eventually(() => endpointsOf(two) === '2,3'), endpointsOf(two));
      await one.presence.release(claim('10.0.0.3'));
      t.ok(await eventually(() => endpointsOf(two) === '2'), 'it stays');
    },
  );

  await t.test('who lists the store while a host is coming back takes its endpoints for lost', async (t) => {
    const prefix = 'back/';
    const away = await CutWire.before(t, etcd.url);
    const one = await present(t, wire.url, prefix, 6);
    const two = await newHost(t, away.url, prefix);
    const three = await newHost(t, etcd.url, prefix);
    const areLost = () => two.directory.find('blue')!.endpoints.map(({ isLost = false }) => isLost);
    await three.directory.change('blue', 'addEndpoint', { endpoint: { address: '10.0.0.3', host: VTEP } });
    await one.presence.claim(['10.0.0.1', '10.0.0.2'].map(claim));
    t.ok(await eventually(() => endpointsOf(two) === '1,2,3'));
    away.isCut = () => true;
    t.ok(await eventually(() => two.complaints.some((reason) => /does not answer/.test(reason))));

    // The host is heard of again, and its endpoints are not yet.
    wire.isCut = butTheFirst(COMMIT);
    await endLease(etcd, prefix);
    t.ok(await eventually(() => one.complaints.some((reason) => /does not answer/.test(reason)), 90_000));
    t.match(await one.store.get('hosts/host-1'), { value: /"isReturning":true/ });
    await three.directory.change('blue', 'deleteEndpoint', { key: '10.0.0.3' });
    await forget(etcd);
    away.isCut = () => false;
    const here = (await two.store.get('hosts/host-1'))!.revision;
    t.ok(await eventually(() => two.directory.known.revision >= here));
    t.strictSame(areLost(), [true, true, true], 'live connections to them stay');

    wire.isCut = () => false;
    t.ok(await eventually(() => endpointsOf(two) === '1,2'), endpointsOf(two));
    const host = () => two.directory.known.entries.get('hosts/host-1')?.value;
    t.ok(await eventually(() => host() === `{"vteps":["${VTEP}"]}`), 'it is back');
    t.ok(await eventually(() => areLost().join() === 'false,false'), 'what is not back with it was deleted');
  });

  await t.test('a claim that fails is none: not now, not later, and not where its answer alone was lost', async (t) => {
    const prefix = 'failed/';
    const one = await present(t, wire.url, prefix, 60);
    const two = await newHost(t, etcd.url, prefix);
    await two.directory.change('blue', 'addEndpoint', { endpoint: { address: '10.0.0.1', host: '192.0.2.9' } });
    t.ok(await eventually(() => endpointsOf(one) === '1'));
    wire.isCut = (path) => path === COMMIT;
    await t.rejects(one.presence.claim([claim('10.0.0.1')]), /does not answer/);
    wire.isCut = () => false;
    await two.directory.change('blue', 'moveEndpoint', { endpoint: { address: '10.0.0.1', host: VTEP } });
    t.ok(await eventually(() => one.directory.hostOf('blue', '10.0.0.1') === VTEP));
    await one.presence.claim([claim('10.0.0.2')]);
    const key = Buffer.from(`${prefix}endpoints/blue/10.0.0.1`).toString('base64');
    const { kvs } = await etcd.ask<{ kvs: { lease?: string }[] }>('/v3/kv/range', { key });
    t.equal(kvs[0]!.lease, undefined, 'it is under no lease of ours');

    wire.isMute = butTheFirst(COMMIT);
    await t.rejects(one.presence.claim([claim('10.0.0.3')]), /does not answer/);
    t.ok(await eventually(() => endpointsOf(two) === '1,2,3'), 'it was done');
    await one.presence.takeBack(claim('10.0.0.3'), undefined);
    wire.isMute = () => false;
    t.ok(await eventually(() => endpointsOf(two) === '1,2'), endpointsOf(two));
  });
});
