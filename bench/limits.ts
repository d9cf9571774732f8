/**
 * Rate limits and neighbours: what arrives of a limited tenant, from 10 Mb/s to 10 Gb/s (two hosts on a veth pair, a daemon each, unmodified perftest programs; the rate is
 * read at the receiver, as frames of the tenant, which is what a limit counts), and what a neighbour costs another tenant: its latency beside limits, and everything beside attacks. As root:
 * `node dist/bench/limits.js [rates] [neighbours] [matrix]`, all by default.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../daemon/control-client.ts';
import { rateText } from '../daemon/rates.ts';
import { type Background, type Teardown, twoHosts } from '../test/support/netns.ts';
import { UrnicHost } from '../test/uverbs/lab.ts';
import { matrix } from './matrix.ts';
import { neighbours } from './neighbour.ts';

const RATES = [10e6, 100e6, 1e9, 2e9, 5e9, 10e9];
const MEASURE_MILLIS = 3000;
const WARM_MILLIS = 1000;
const PORT = 18_600;
/** More than are sent. */
const MESSAGES = 2_000_000;
/** Ethernet, IPv4 and UDP before each BTH. */
const HEADER_BYTES = 42;

const TENANTS = ['blue', 'red'];
const tenantText = (name: string, index: number): string => `
  - name: ${name}
    vni: ${index + 100}
    endpoints:
      - { address: 10.0.0.1, host: 192.0.2.1 }
      - { address: 10.0.0.2, host: 192.0.2.2 }`;
const configuration = (address: string): string => `
workers: 1
tenants:${TENANTS.map(tenantText).join('')}
vrnics:${TENANTS.map((name) => `\n  - { name: ${name}, tenant: ${name}, address: ${address}, netdev: eth0 }`).join('')}
`;

interface Lab {
  readonly a: UrnicHost;
  readonly b: UrnicHost;
  readonly t: Teardown;
}

/** Octets of frames of the tenant that the vRNIC has received. */
async function received(host: UrnicHost, vrnic: string): Promise<{ bytes: number; at: number }> {
  const { counters } = (await ask(host.socket, { op: 'statistics', vrnic })) as { counters: Record<string, number> };
  const bytes = counters['rcvd_bytes']! + counters['rcvd_pkts']! * HEADER_BYTES;
  return { bytes, at: performance.now() };
}

/** SENDs of 64 KiB from `b` to `a`, until they are stopped. */
async function flood({ a, b, t }: Lab, vrnic: string, port: number): Promise<() => Promise<void>> {
  // With events: a program that polls takes a core from those that are measured, whatever leaves.
  const program = `ib_send_bw -d rxe0 -x 1 -F -e -s 65536 -t 16 -p ${port} -N -n ${MESSAGES}`.split(' ');
  const server = a.spawn(t, program, vrnic);
  await server.waits();
  const client = b.spawn(t, [...program, '192.0.2.1'], vrnic);
  return async () => {
    await Promise.all([client, server].map((one: Background) => one.stop('SIGKILL')));
  };
}

async function rateOf(lab: Lab, vrnic: string): Promise<number> {
  const before = await received(lab.a, vrnic);
  await sleep(MEASURE_MILLIS);
  const after = await received(lab.a, vrnic);
  return ((after.bytes - before.bytes) * 8) / ((after.at - before.at) / 1000);
}

/** Packets that the vRNIC has sent, and those among them that it repeated. */
async function sentBy(host: UrnicHost, vrnic: string): Promise<[number, number]> {
  const { counters } = (await ask(host.socket, { op: 'statistics', vrnic })) as { counters: Record<string, number> };
  return [counters['sent_pkts']!, counters['retransmitted_pkts']!];
}

const limit = (host: UrnicHost, tenant: string, rate?: number): Promise<unknown> =>
  ask(host.socket, { op: 'setLimit', tenant, key: '10.0.0.2', ...(rate && { limit: { rate } }) });

async function limits(lab: Lab): Promise<void> {
  const stop = await flood(lab, 'red', PORT);
  await sleep(WARM_MILLIS);
  console.log(`unlimited ${rateText(Math.round((await rateOf(lab, 'red')) / 1e6) * 1e6)}`);
  for (const rate of RATES) {
    await limit(lab.b, 'red', rate);
    await sleep(WARM_MILLIS);
    const before = await sentBy(lab.b, 'red');
    const measured = await rateOf(lab, 'red');
    const after = await sentBy(lab.b, 'red');
    const repeated = (((after[1] - before[1]) / (after[0] - before[0])) * 100).toFixed(2);
    const error = ((measured / rate - 1) * 100).toFixed(2);
    console.log(`limit ${rateText(rate)}: ${(measured / 1e6).toFixed(2)} Mb/s, ${error} %, ${repeated} % repeated`);
  }
  await limit(lab.b, 'red');
  await stop();
}

async function rates(): Promise<void> {
  const undo: (() => unknown)[] = [];
  const t: Teardown = { teardown: (one) => undo.unshift(one) };
  try {
    const [here, there] = await twoHosts(t);
    const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
    const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));
    await limits({ a, b, t });
  } finally {
    for (const one of undo) await one();
  }
}

const parts = process.argv.slice(2);
if (parts.length === 0 || parts.includes('rates')) await rates();
if (parts.length === 0 || parts.includes('neighbours')) await neighbours();
if (parts.length === 0 || parts.includes('matrix')) await matrix();
