/** A vRNIC of a tenant and a Linux machine with a vxlan device and rxe on top: the same network for both. */
import t from 'tap';
import { macOf } from '../../vswitch/model.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { OURS, openLab, PEER } from '../interop/lab.ts';
import { eventually } from '../support/eventually.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const VNI = 100;
const LIMIT_MILLIS = 120_000;
const macText = (address: string): string =>
  [...macOf(VNI, toGid(address))].map((octet) => octet.toString(16).padStart(2, '0')).join(':');

const CONFIGURATION = `
tenants:
  - name: blue
    vni: ${VNI}
    endpoints:
      - { address: 10.0.0.1, host: ${OURS} }
      - { address: 10.0.0.2, host: ${PEER} }
vrnics:
  - { name: v, tenant: blue, address: 10.0.0.1, netdev: tap0 }
`;

/** The programs agree over TCP by the hosts' own addresses; `-g` names the tenant's. */
const PROGRAMS = [
  'ibv_rc_pingpong -n 50 -g 1 -d',
  'ibv_uc_pingpong -n 50 -g 1 -d',
  'ibv_ud_pingpong -n 50 -g 1 -d',
  'ib_write_bw -F -n 50 -x 1 -d',
  'ib_read_bw -F -n 50 -x 1 -d',
  'ib_atomic_bw -F -n 50 -x 1 -d',
];

t.test(
  'a tenant over VXLAN with Linux’s vxlan device and rxe',
  { skip: lacksPeer() || lacks('gcc'), timeout: 900_000 },
  async (t) => {
    const { here, peer } = await openLab(t);
    const host = await UrnicHost.start(t, here, 'tap0', CONFIGURATION);
    for (const command of [
      `modprobe vxlan; ip link add vx0 address ${macText('10.0.0.2')} type vxlan id ${VNI} dstport 4789 local ${PEER} remote ${OURS} dev eth0`,
      'ip addr add 10.0.0.2/24 dev vx0 && ip link set vx0 mtu 8950 up',
      `ip neigh replace 10.0.0.1 lladdr ${macText('10.0.0.1')} dev vx0 nud permanent`,
      'rdma link add rxe1 type rxe netdev vx0',
    ])
      await peer.must(command);
    for (const program of PROGRAMS) {
      await t.test(`${program.split(' ')[0]}, served by Linux`, async (t) => {
        const served = peer.exec(`${program} rxe1`, { timeoutMillis: LIMIT_MILLIS });
        await peer.listens(18_515);
        const asked = await host.run([...`${program} rxe0`.split(' '), PEER], { timeoutMillis: LIMIT_MILLIS });
        t.equal(asked.code, 0, asked.output.slice(-1500));
        t.equal((await served).code, 0, (await served).output.slice(-1500));
      });
      await t.test(`${program.split(' ')[0]}, served by urnic`, async (t) => {
        const server = host.spawn(t, `${program} rxe0`.split(' '));
        await server.waits();
        const asked = await peer.exec(`${program} rxe1 ${OURS}`, { timeoutMillis: LIMIT_MILLIS });
        t.equal(asked.code, 0, asked.output.slice(-1500));
        t.equal(await server.end(), 0, server.output.slice(-1500));
      });
    }
    await t.test('what another VNI sends is dropped by name', async (t) => {
      const dropped = async (): Promise<number> => {
        const { output } = await host.urnic('stat', 'v', '--json', '--socket', host.socket);
        return (JSON.parse(output) as { v: { counters: { drop_vni: number } } }).v.counters.drop_vni;
      };
      const before = await dropped();
      await peer.must(
        `ip link add vx9 type vxlan id 999 dstport 4789 local ${PEER} remote ${OURS} dev eth0 && ip addr add 10.9.9.2/24 dev vx9 && ip link set vx9 up && ip neigh replace 10.9.9.1 lladdr ${macText('10.0.0.1')} dev vx9`,
      );
      const pinged = eventually(async () => {
        await peer.exec('ping -c 3 -i 0.2 -W 1 10.9.9.1');
        return (await dropped()) >= before + 3;
      });
      t.ok(await pinged, 'its pings');
    });
  },
);
