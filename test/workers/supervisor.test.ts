import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { connect } from '../../workers/client.ts';
import type { DeviceLink, LinkEvent } from '../../workers/device-link.ts';
import { type MemoryEnd, newLoopback, newMemoryPair } from '../../workers/ports/memory.ts';
import { Supervisor, type SupervisorOptions } from '../../workers/supervisor.ts';
import type { VrnicConfig } from '../../workers/vrnic-config.ts';
import { Fault } from './probe-engine.ts';

const workerFile = fileURLToPath(new URL('./probe-worker.js', import.meta.url));
const configOf = (name: string, end: MemoryEnd = newLoopback(9000)): VrnicConfig => ({
  name,
  port: { kind: 'memory', end },
  mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  gids: [Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1)],
});
const newSupervisor = (options: SupervisorOptions = {}): Supervisor =>
  new Supervisor({ workerFile, spin: 0, ...options });

async function openLink(supervisor: Supervisor, name: string): Promise<DeviceLink> {
  return connect(await supervisor.endpoint(name));
}

/** The counter that the probe raises for each doorbell it takes. */
async function rungCounter(link: DeviceLink): Promise<Int32Array> {
  const created = await link.call({ op: 'createCq', cqe: 1 });
  if (!created.ok) throw new Error(created.reason);
  return new Int32Array(created.queue.buffer);
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

const until = async (condition: () => boolean, millis = 5000): Promise<boolean> => {
  for (const end = Date.now() + millis; Date.now() < end; await sleep(1)) if (condition()) return true;
  return condition();
};

t.test('worker: answers commands, sends events, and ends when told', async (t) => {
  const supervisor = newSupervisor();
  await supervisor.startVrnic(configOf('one'));
  t.same(supervisor.names, ['one']);
  const link = await openLink(supervisor, 'one');
  const events: LinkEvent[] = [];
  link.onEvent = (event) => events.push(event);
  t.match(await link.call({ op: 'allocPd' }), { ok: true, pd: 0 });
  t.match(await link.call({ op: 'queryDevice' }), { ok: false, reason: /knows no queryDevice/ });
  await rungCounter(link);
  await until(() => events.length > 0);
  t.same(events, [{ kind: 'completion', channel: 5, cq: 1, cookie: 77n }]);
  await link.close();
  t.match(await link.call({ op: 'allocPd' }), { ok: false, reason: /closed/ });
  await supervisor.stop();
});

t.test('worker: sleeps with spin 0 and misses no doorbell, however the ring falls', { timeout: 100_000 }, async (t) => {
  // No turns: a worker that slept through a ring would sleep for ever.
  const supervisor = newSupervisor({ turnMicros: Number.POSITIVE_INFINITY });
  await supervisor.startVrnic(configOf('sleepy'));
  const link = await openLink(supervisor, 'sleepy');
  const rung = await rungCounter(link);
  let wakes = 0;
  let missed = -1;
  const rounds = 10_000;
  for (let round = 0; round < rounds && missed < 0; round++) {
    for (let i = 0; i < (round * 7919) % 3000; i++) Atomics.load(rung, 0); // moves the ring about the moment of sleep
    if (link.doorbell.ring(round & 63)) {
      wakes++;
      link.wake();
    }
    const end = Date.now() + 3000;
    for (let i = 1; Atomics.load(rung, 0) <= round; i++) if ((i & 0xffff) === 0 && Date.now() > end) missed = round;
    if (missed >= 0) break;
  }
  t.equal(missed, -1, 'every ring was taken');
  t.ok(wakes > 0, 'some of them found it asleep');
  await link.close();
  await supervisor.stop();
});

t.test('worker: takes commands from a thread of the program while the main thread has its own link', async (t) => {
  const supervisor = newSupervisor();
  await supervisor.startVrnic(configOf('shared'));
  const link = await openLink(supervisor, 'shared');
  const endpoint = await supervisor.endpoint('shared');
  const code = `const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.client).then(async ({ connect }) => {
      const link = await connect(workerData.endpoint);
      const answers = [];
      for (let i = 0; i < 200; i++) answers.push(await link.call({ op: 'allocPd' }));
      await link.close();
      parentPort.postMessage(answers);
    });`;
  const client = new URL('../../workers/client.js', import.meta.url).href;
  const thread = new Worker(code, { eval: true, workerData: { client, endpoint }, transferList: [endpoint.port] });
  const answers = new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject));
  const own: unknown[] = [];
  for (let i = 0; i < 200; i++) own.push(await link.call({ op: 'allocPd' }));
  t.same(own, new Array(200).fill({ ok: true, pd: 0 }));
  t.same(await answers, new Array(200).fill({ ok: true, pd: 1 }), 'each has a context of its own');
  await supervisor.stop();
});

t.test('worker: an application thread that dies without a word leaves no context behind', async (t) => {
  const supervisor = new Supervisor({ spin: 0 });
  await supervisor.startVrnic({ ...configOf('small'), limits: { contexts: 1 } });
  const endpoint = await supervisor.endpoint('small');
  const code = `const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.client).then(async ({ connect }) => {
      await connect(workerData.endpoint);
      parentPort.postMessage('open');
      process.exit();
    });`;
  const client = new URL('../../workers/client.js', import.meta.url).href;
  const thread = new Worker(code, { eval: true, workerData: { client, endpoint }, transferList: [endpoint.port] });
  await new Promise((resolve, reject) => thread.once('exit', resolve).once('error', reject));
  let link: DeviceLink | null = null;
  for (const end = Date.now() + 10_000; link === null && Date.now() < end; await sleep(50)) {
    link = await openLink(supervisor, 'small').catch(() => null);
  }
  t.ok(link, 'its place is free again');
  await t.rejects(openLink(supervisor, 'small'), { message: /no context left/ });
  await supervisor.stop();
});

t.test('supervisor: a worker that hangs is ended all the same', { timeout: 60_000 }, async (t) => {
  const supervisor = newSupervisor();
  await supervisor.startVrnic(configOf('stuck'));
  const link = await openLink(supervisor, 'stuck');
  const events: LinkEvent[] = [];
  link.onEvent = (event) => events.push(event);
  await link.call({ op: 'deallocPd', pd: Fault.HANG });
  await supervisor.stop();
  t.ok(await until(() => events.length > 0));
  t.match(events, [{ kind: 'fatal' }]);
});

for (const [name, fault, options] of [
  ['an exception', Fault.THROW, {}],
  ['process.exit', Fault.EXIT, {}],
  ['a full heap', Fault.FILL_HEAP, { heapMegabytes: 48 }],
] as const) {
  t.test(
    `supervisor, T-51: ${name} in one worker leaves the other running; its vRNIC can be started again`,
    async (t) => {
      const before = openDescriptors();
      const supervisor = newSupervisor({ workers: 2, ...options });
      const failures: string[][] = [];
      supervisor.onFailure = (names) => failures.push(names);
      await supervisor.startVrnic(configOf('good'));
      await supervisor.startVrnic(configOf('bad'));
      const [good, bad] = [await openLink(supervisor, 'good'), await openLink(supervisor, 'bad')];
      const events: LinkEvent[] = [];
      bad.onEvent = (event) => events.push(event);
      await bad.call({ op: 'deallocPd', pd: fault });
      t.ok(await until(() => events.length > 0 && failures.length > 0, 30_000), 'application and supervisor are told');
      t.match(events, [{ kind: 'fatal', reason: /bad/ }]);
      t.same(failures, [['bad']]);
      t.match(await bad.call({ op: 'allocPd' }), { ok: false, errno: 5 }, 'later calls are refused');
      bad.wake();
      t.match(await good.call({ op: 'allocPd' }), { ok: true }, 'the other works');
      await supervisor.startVrnic(configOf('bad'));
      const again = await openLink(supervisor, 'bad');
      t.match(await again.call({ op: 'allocPd' }), { ok: true }, 'and so does the restarted one');
      await supervisor.stop();
      await until(() => openDescriptors() <= before);
      t.equal(openDescriptors(), before, 'nothing of the dead one stays open');
    },
  );
}

t.test(
  'supervisor, T-36: a vRNIC that is stopped twice at once, with a doorbell ringing, ends once; its name is free',
  async (t) => {
    const before = openDescriptors();
    const supervisor = newSupervisor();
    for (let round = 0; round < 20; round++) {
      await supervisor.startVrnic(configOf('brief'));
      const link = await openLink(supervisor, 'brief');
      const events: LinkEvent[] = [];
      link.onEvent = (event) => events.push(event);
      await rungCounter(link);
      const calls = Array.from({ length: 10 }, () => link.call({ op: 'allocPd' }));
      const ended = await Promise.allSettled([supervisor.stopVrnic('brief'), supervisor.stopVrnic('brief')]);
      t.ok(ended.some(({ status }) => status === 'fulfilled'));
      for (const answer of await Promise.all(calls)) t.ok(answer.ok || answer.errno === 5, 'an answer, or EIO');
      t.same(supervisor.names, []);
      t.ok(await until(() => events.some(({ kind }) => kind === 'fatal')), 'the application is told');
      await link.close();
    }
    await supervisor.stop();
    await until(() => openDescriptors() <= before);
    t.equal(openDescriptors(), before);
  },
);

t.test('supervisor: what cannot start says why and leaves nothing behind', async (t) => {
  const supervisor = newSupervisor();
  const lost: VrnicConfig = { name: 'lost', port: { kind: 'af_packet', netdev: 'no-such-netdev' } };
  await t.rejects(supervisor.startVrnic(lost), { message: /no network interface named no-such-netdev/ });
  t.same(supervisor.names, []);
  await t.rejects(supervisor.endpoint('lost'), { message: /no vRNIC named lost/ });
  await supervisor.startVrnic(configOf('twice'));
  await t.rejects(supervisor.startVrnic(configOf('twice')), { message: /already/ });
  await supervisor.stop();
});

t.test('supervisor: starting and stopping gives every descriptor back', async (t) => {
  const round = async (): Promise<void> => {
    const supervisor = newSupervisor();
    const [ours, theirs] = newMemoryPair('rounds');
    await supervisor.startVrnic(configOf('rounds', ours));
    await supervisor.startVrnic(configOf('other', theirs));
    const link = await openLink(supervisor, 'rounds');
    await link.call({ op: 'allocPd' });
    await link.close();
    await openLink(supervisor, 'rounds');
    await supervisor.stop();
    await sleep(50);
  };
  await round();
  const before = openDescriptors();
  for (let i = 0; i < 3; i++) await round();
  t.equal(openDescriptors(), before);
});
