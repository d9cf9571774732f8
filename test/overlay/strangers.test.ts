/** A Linux vxlan device as a tenant's other host: it finds a vRNIC by ARP and neighbour discovery, as it would any machine. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { macOf } from '../../vswitch/model.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { eventually } from '../support/eventually.ts';
import { type Namespace, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const VNI = 100;
const CONFIGURATION = `
tenants:
  - name: blue
    vni: ${VNI}
    endpoints:
      - { address: 10.0.0.1, also: ['fd00::1'], host: 192.0.2.1 }
      - { address: 10.0.0.2, also: ['fd00::2'], host: 192.0.2.2 }
      - { address: 10.0.0.3, host: 192.0.2.1 }
vrnics:
  - { name: v, tenant: blue, address: 10.0.0.1, netdev: eth0 }
`;
const macText = (address: string): string =>
  [...macOf(VNI, toGid(address))].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
/** Whether this kernel has vxlan devices. */
const hasVxlan = (): boolean =>
  spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'vx0', 'type', 'vxlan', 'id', '1', 'dstport', '4789', 'dev', 'lo'])
    .status === 0;
const DEVICE = `type vxlan id ${VNI} dstport 4789 local 192.0.2.2 remote 192.0.2.1 dev eth0`;

/** Who Linux asks for an address, and what it has learned by that. */
async function neighbour(there: Namespace, address: string): Promise<string> {
  await there.run(`ip neigh flush dev vx0`.split(' '));
  await there.run(`busybox ping -c 1 -W 1 ${address}`.split(' '));
  return (await there.run(`ip neigh show ${address} dev vx0`.split(' '))).output;
}

t.test(
  'another implementation’s VTEP',
  {
    skip: lacks('root', 'busybox', 'bridge') || (hasVxlan() ? false : 'this kernel has no vxlan device'),
    timeout: 300_000,
  },
  async (t) => {
    const [here, there] = await twoHosts(t);
    t.equal((await there.run(`ip link add vx0 address ${macText('10.0.0.2')} ${DEVICE}`.split(' '))).code, 0);
    for (const command of [
      'ip addr add 10.0.0.2/24 dev vx0',
      'ip addr add fd00::2/64 dev vx0 nodad',
      'ip link set vx0 mtu 8950 up',
    ])
      t.equal((await there.run(command.split(' '))).code, 0, command);
    const host = await UrnicHost.start(t, here, 'eth0', CONFIGURATION);
    const found = macText('10.0.0.1');
    /** It is asked anew as long as it takes: a busy machine answers late. */
    const learns = (address: string): Promise<boolean> =>
      eventually(async () => (await neighbour(there, address)).includes(found), 60_000);

    await t.test('an endpoint finds the vRNIC by ARP and by neighbour discovery, and keeps it', async (t) => {
      t.ok(await learns('10.0.0.1'));
      t.ok(await learns('fd00::1'));
      const isProbed = async (): Promise<boolean> => {
        // What it knows it asks for again by the MAC that it knows.
        await there.run(`ip neigh replace 10.0.0.1 lladdr ${found} dev vx0 nud probe`.split(' '));
        await there.run('sleep 0.3'.split(' '));
        return (await there.run('ip neigh show 10.0.0.1 dev vx0'.split(' '))).output.includes('REACHABLE');
      };
      t.ok(await eventually(isProbed, 60_000));
      const { output } = await there.run('bridge fdb show dev vx0'.split(' '));
      t.match(output, new RegExp(`${found} dst 192.0.2.1`), 'its VTEP was learned from the answer');
    });

    await t.test('so does a machine behind that VTEP that is no endpoint', async (t) => {
      for (const command of [
        'ip link set vx0 address 02:00:00:00:00:99',
        'ip addr del 10.0.0.2/24 dev vx0',
        'ip addr add 10.0.0.99/24 dev vx0',
      ])
        t.equal((await there.run(command.split(' '))).code, 0, command);
      t.ok(await learns('10.0.0.1'));
    });

    await t.test('who takes an endpoint’s address has no answer, and is counted', async (t) => {
      for (const command of ['ip addr del 10.0.0.99/24 dev vx0', 'ip addr add 10.0.0.3/24 dev vx0'])
        await there.run(command.split(' '));
      const drops = async (): Promise<number> => {
        const { output } = await host.urnic('stat', 'v', '--json', '--socket', host.socket);
        const { counters } = (JSON.parse(output) as { v: { counters: Record<string, number> } }).v;
        return counters.drop_inner_address! + counters.drop_spoofed!;
      };
      const before = await drops();
      t.ok(
        await eventually(async () => {
          t.notMatch(await neighbour(there, '10.0.0.1'), found);
          return (await drops()) > before;
        }, 60_000),
      );
    });
  },
);

const VTEPS = { ipv4: ['192.0.2.1', '192.0.2.2'], ipv6: ['fd99::1', 'fd99::2'] } as const;
const LIMIT_MILLIS = 60_000;
/** By GID index of a plain vRNIC on the device: the addresses that it has there. */
const GIDS = { ipv4: 1, ipv6: 2 } as const;
const plain = `
vrnics:
  - { name: v, netdev: vx0 }
`;
const tenantAt = ([one, two]: readonly [string, string]): string => `
tenants:
  - name: blue
    vni: ${VNI}
    endpoints:
      - { address: 10.0.0.1, also: ['fd00::1'], host: '${one}' }
      - { address: 10.0.0.2, also: ['fd00::2'], host: '${two}' }
vrnics:
  - { name: v, tenant: blue, address: 10.0.0.1, netdev: eth0 }
`;

for (const outer of ['ipv4', 'ipv6'] as const)
  t.test(
    `RoCE through the kernel’s VXLAN, VTEPs of ${outer}`,
    {
      skip:
        lacks('root', 'gcc', 'ibv_rc_pingpong', 'ibv_uc_pingpong', 'ibv_ud_pingpong') ||
        (hasVxlan() ? false : 'this kernel has no vxlan device'),
      timeout: 300_000,
    },
    async (t) => {
      const [here, there] = await twoHosts(t);
      for (const [i, host] of [here, there].entries())
        await host.ip('addr', 'add', `${VTEPS.ipv6[i]}/64`, 'dev', 'eth0', 'nodad');
      const [one, two] = VTEPS[outer];
      const device = `type vxlan id ${VNI} dstport 4789 local ${two} remote ${one} dev eth0`.split(' ');
      await there.ip('link', 'add', 'vx0', 'address', macText('10.0.0.2'), ...device);
      await there.ip('addr', 'add', '10.0.0.2/24', 'dev', 'vx0');
      await there.ip('addr', 'add', 'fd00::2/64', 'dev', 'vx0', 'nodad');
      await there.ip('link', 'set', 'vx0', 'mtu', '4400', 'up');
      const a = await UrnicHost.start(t, here, 'eth0', tenantAt([one, two]));
      const b = await UrnicHost.start(t, there, 'vx0', plain);
      let port = 18_610;
      for (const inner of ['ipv4', 'ipv6'] as const)
        for (const type of ['rc', 'uc', 'ud'])
          await t.test(`${type} of ${inner}`, async (t) => {
            port++;
            const program = [
              `ibv_${type}_pingpong`,
              '-d',
              'rxe0',
              '-g',
              String(GIDS[inner]),
              '-n',
              '200',
              '-p',
              `${port}`,
            ];
            const server = a.spawn(t, program);
            t.ok(
              await eventually(async () => (await here.run(['ss', '-Hltn', `sport = :${port}`])).output.trim() !== ''),
            );
            const client = await b.run([...program, '192.0.2.1'], { timeoutMillis: LIMIT_MILLIS });
            t.equal(client.code, 0, client.output);
            t.equal(await server.end(LIMIT_MILLIS), 0, server.output);
          });
    },
  );
