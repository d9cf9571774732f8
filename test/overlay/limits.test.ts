/** Rate limits of a tenant's vRNIC, end to end: what arrives is no more than its limits let through, whatever the program wants; changes count at once. */
import t from 'tap';
import { burstOf } from '../../vswitch/bucket.ts';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const RATE = 40e6;
/** Ethernet, IPv4 and UDP before each BTH. */
const HEADER_BYTES = 42;
/** On their way when the first look was taken: a tenant of this rate has less in its socket's buffers. */
const UNDER_WAY_BYTES = 262_144;
const LOOK_MILLIS = 500;
const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));

const configuration = (address: string): string => `
tenants:
  - name: blue
    vni: 100
    endpoints:
      - { address: 10.0.0.1, host: 192.0.2.1 }
      - { address: 10.0.0.2, host: 192.0.2.2, limit: { rate: ${RATE} } }
  - name: red
    vni: 200
    underlay: translate
    endpoints:
      - { address: 10.0.0.1, host: 192.0.2.1 }
      - { address: 10.0.0.2, host: 192.0.2.2, limit: { rate: ${RATE} } }
vrnics:
  - { name: v, tenant: blue, address: ${address}, netdev: eth0 }
  - { name: translated, tenant: red, address: ${address}, netdev: eth0 }
`;

t.test('limits', { skip: lacks('root', 'gcc', 'ib_write_bw'), timeout: 600_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
  const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));
  const control = (...args: string[]) => b.urnic(...args, '--socket', b.socket);
  const count = async (host: UrnicHost, vrnic: string, ...names: string[]): Promise<number[]> => {
    const { output } = await host.urnic('stat', vrnic, '--json', '--socket', host.socket);
    const { counters } = (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)[vrnic]!;
    return names.map((name) => counters[name]!);
  };
  /** Octets of the tenant's frames that have arrived. */
  const arrived = async (vrnic: string): Promise<number> => {
    const [bytes, packets] = await count(a, vrnic, 'rcvd_bytes', 'rcvd_pkts');
    return bytes! + packets! * HEADER_BYTES;
  };
  const flood = async (port: number, vrnic = 'v') => {
    const program = `ib_write_bw -d rxe0 -x 1 -F -s 65536 -p ${port} -D 300`.split(' ');
    const server = a.spawn(t, program, vrnic);
    await server.waits();
    const client = b.spawn(t, [...program, '192.0.2.1'], vrnic);
    const before = await arrived(vrnic);
    await eventually(async () => (await arrived(vrnic)) > before + 1e6);
    return async () => {
      await client.stop('SIGKILL');
      await server.stop('SIGKILL');
    };
  };
  /** The most that may have arrived in what passes meanwhile, and what has. */
  const look = async (rate: number, vrnic = 'v'): Promise<{ most: number; got: number }> => {
    const since = performance.now();
    const before = await arrived(vrnic);
    await pause(LOOK_MILLIS);
    const got = (await arrived(vrnic)) - before;
    return { most: (rate * (performance.now() - since)) / 8000 + burstOf(rate) + UNDER_WAY_BYTES, got };
  };

  const stop = await flood(18_701);
  await t.test('a vRNIC sends no more than its limit, and counts for how long its packets have waited', async (t) => {
    for (let times = 0; times < 3; times++) {
      const { most, got } = await look(RATE);
      t.ok(got > 0 && got <= most, `${got} octets, at most ${most}`);
    }
    t.ok((await count(b, 'v', 'limited_micros'))[0]! > 0);
    t.equal((await count(b, 'v', 'retry_exceeded_err'))[0], 0);
  });

  await t.test('a limit of its tenant counts too, the lesser of both', async (t) => {
    t.match(await control('limit', 'set', 'blue', '--rate', '10mbit', '--burst', '32kb'), { code: 0 });
    const { most, got } = await look(10e6);
    t.ok(got > 0 && got <= most, `${got} octets, at most ${most}`);
    t.match(await control('limit', 'show'), {
      output: /blue rate 10mbit burst 32768b\nblue 10\.0\.0\.2 rate 40mbit burst 50000b\n/,
    });
  });

  await t.test('T-54: what cannot be is refused, and nothing changes', async (t) => {
    const refused = await control('limit', 'set', 'blue', '10.0.0.2', '--rate', '1mbit', '--guarantee', '2mbit');
    t.match(refused, { code: 1, output: /guarantee less/ });
    t.match(await control('limit', 'set', 'blue', '10.0.0.9', '--rate', '1mbit'), {
      output: /no endpoint 10\.0\.0\.9/,
    });
    t.match(await control('limit', 'set', 'blue', '--rate', 'much'), { output: /such as 100mbit/ });
    t.match(await control('limit', 'show', '--json'), { output: /"rate":10000000,"burst":32768/ });
  });

  await t.test('without limits it sends as fast as it can', async (t) => {
    await control('limit', 'del', 'blue');
    await control('limit', 'del', 'blue', '10.0.0.2');
    const isFaster = await eventually(async () => {
      const { most, got } = await look(RATE);
      return got > most;
    });
    t.ok(isFaster);
  });
  await stop();

  await t.test('a limit holds a translated connection as well, and one of its tenant when that comes', async (t) => {
    const stop = await flood(18_702, 'translated');
    t.match(await control('conn', 'list', 'translated'), { output: /underlay translate\n$/ });
    for (const [rate, ...args] of [[RATE], [10e6, '--rate', '10mbit', '--burst', '32kb']] as const) {
      if (args.length > 0) t.match(await control('limit', 'set', 'red', ...args), { code: 0 });
      const { most, got } = await look(rate, 'translated');
      t.ok(got > 0 && got <= most, `${got} octets, at most ${most}`);
    }
    t.ok((await count(b, 'translated', 'limited_micros'))[0]! > 0);
    t.equal((await count(b, 'translated', 'retry_exceeded_err'))[0], 0);
    await stop();
  });
});
