/** A virtual machine on a tap port runs its own rxe against a vRNIC of its tenant on another host. Programs of a container on a third port use that vRNIC, and meet the machine's over TCP in the tenant. */
import t from 'tap';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { must, Namespace, twoHosts } from '../support/netns.ts';
import { lacksPeer, RxePeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { SHIM, UrnicHost } from '../uverbs/lab.ts';

const [MACHINE, VRNIC, CONTAINER] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const MACHINE_MAC = '52:54:00:00:00:01';
const CONTAINER_MAC = '02:00:00:00:00:03';
const MTU = 8900;
const TEXT = `
tenants:
  - name: blue
    vni: 100
    mtu: ${MTU}
    endpoints:
      - { address: ${MACHINE}, host: 192.0.2.1, kind: tap, netdev: vm0, mac: '${MACHINE_MAC}' }
      - { address: ${VRNIC}, host: 192.0.2.2 }
      - { address: ${CONTAINER}, host: 192.0.2.2, kind: veth, netdev: c3, mac: '${CONTAINER_MAC}' }
`;
const LIMIT_MILLIS = 120_000;

/** The program meets its peer over TCP at the given port. */
const PROGRAMS = [
  ['ibv_rc_pingpong -n 50 -g 1 -d', 18_515],
  ['ibv_ud_pingpong -n 50 -g 1 -d', 18_515],
  ['ib_write_bw -F -n 50 -x 1 -d', 18_515],
] as const;

t.test(
  'a virtual machine on a tap, and a vRNIC on another host',
  { skip: lacksPeer() || lacks('gcc', 'rping'), timeout: 900_000 },
  async (t) => {
    await exclusive(t, 'machine');
    const [here, there] = await twoHosts(t);
    const inside = await Namespace.create(t, 'c3');
    await must(
      'ip',
      'link',
      'add',
      'c3',
      'netns',
      there.name,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      inside.name,
    );
    await inside.ip('link', 'set', 'eth0', 'address', CONTAINER_MAC, 'mtu', String(MTU), 'up');
    await inside.ip('addr', 'add', `${CONTAINER}/24`, 'dev', 'eth0');
    const a = await UrnicHost.start(t, here, 'eth0', TEXT);
    const b = await UrnicHost.start(
      t,
      there,
      'eth0',
      `${TEXT}vrnics:\n  - { name: v, tenant: blue, address: ${VRNIC}, netdev: eth0 }\n`,
    );
    t.match(await here.ip('link', 'show', 'vm0'), new RegExp(`mtu ${MTU}`), 'the daemon has made the tap');
    const peer = await RxePeer.start(t, here, { address: `${MACHINE}/24`, mtu: MTU, mac: MACHINE_MAC, tap: 'vm0' });
    const wrapped = (program: string): string[] => [
      'env',
      `LD_PRELOAD=${SHIM}`,
      `URNIC_VRNIC=${b.directory}`,
      ...program.split(' '),
    ];
    const counters = async (): Promise<Record<string, number>> => {
      const { output } = await a.urnic('stat', 'blue/vm0', '--json', '--socket', a.socket);
      return (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)['blue/vm0']!.counters;
    };
    const listens = (run: (command: string) => Promise<string>, port: number): Promise<boolean> =>
      eventually(async () => (await run('ss -Hltn')).includes(`:${port}`), LIMIT_MILLIS);

    for (const [program, port] of PROGRAMS) {
      const [name] = program.split(' ');
      await t.test(`${name}: the machine asks`, async (t) => {
        const served = inside.spawn(t, wrapped(`${program} rxe0`));
        t.ok(await listens(async (command) => (await inside.run(command.split(' '))).output, port), served.output);
        const asked = await peer.exec(`${program} rxe0 ${CONTAINER}`, { timeoutMillis: LIMIT_MILLIS });
        t.equal(asked.code, 0, asked.output.slice(-1500));
        t.equal(await served.end(LIMIT_MILLIS), 0, served.output.slice(-1500));
      });
      await t.test(`${name}: the machine serves`, async (t) => {
        const served = peer.exec(`${program} rxe0`, { timeoutMillis: LIMIT_MILLIS });
        t.ok(await listens(async (command) => (await peer.exec(command)).output, port));
        const asked = await inside.run(wrapped(`${program} rxe0 ${MACHINE}`), { timeoutMillis: LIMIT_MILLIS });
        t.equal(asked.code, 0, asked.output.slice(-1500));
        t.equal((await served).code, 0, (await served).output.slice(-1500));
      });
    }

    await t.test('rping: connections by the tenant’s addresses', async (t) => {
      const served = peer.exec(`rping -s -a ${MACHINE} -C 10`, { timeoutMillis: LIMIT_MILLIS });
      let asked = { code: 1, output: '' };
      await eventually(async () => {
        asked = await inside.run(wrapped(`rping -c -a ${MACHINE} -C 10`), { timeoutMillis: LIMIT_MILLIS });
        return asked.code === 0;
      }, LIMIT_MILLIS);
      t.equal(asked.code, 0, asked.output.slice(-1500));
      t.equal((await served).code, 0, (await served).output.slice(-1500));
    });

    await t.test('the port has carried it, and the machine cannot be somebody else', async (t) => {
      const before = await counters();
      t.ok(before.from_port! > 100 && before.to_port! > 100 && before.answered! > 0);
      await peer.must(
        `ip addr add ${VRNIC}/24 dev eth0; { busybox ping -c 2 -W 1 -I ${VRNIC} ${CONTAINER}; ip addr del ${VRNIC}/24 dev eth0; }`,
      );
      t.ok((await counters()).drop_spoofed! > before.drop_spoofed!);
    });
  },
);
