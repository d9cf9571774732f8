/** Unmodified programs over every way that frames can leave by, besides the AF_PACKET socket of programs.test.ts: npm's cap and raw-socket, and VXLAN. */
import t, { type Test } from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { must, twoHosts } from '../support/netns.ts';
import { lacks, lacksPackage } from '../support/skip.ts';
import { runPair, UrnicHost } from './lab.ts';

const SERVER = '192.0.2.1';
const PINGPONG = '-d rxe0 -g 1 -n 50';
const PERF = '-d rxe0 -x 1 -F -n 50';

const PROGRAMS: readonly string[] = [
  `ibv_rc_pingpong ${PINGPONG} -c`,
  `ibv_rc_pingpong ${PINGPONG} -e -s 65536`,
  `ibv_uc_pingpong ${PINGPONG} -c`,
  `ibv_ud_pingpong ${PINGPONG}`,
  `ib_write_bw ${PERF}`,
  `ib_read_bw ${PERF}`,
  `ib_atomic_lat ${PERF}`,
  `ib_send_bw ${PERF} -c UD`,
];

const byPort = (port: string): string => `vrnics: [{ name: v, netdev: eth0, port: ${port} }]\n`;
const byVxlan = (host: number): string => `
tenants: [{ name: blue, vni: 100, endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 }, { address: 10.0.0.2, host: 192.0.2.2 }] }]
vrnics: [{ name: v, netdev: eth0, tenant: blue, address: 10.0.0.${host} }]
`;

const skip = lacks('root', 'gcc', 'tc', 'ibv_rc_pingpong', 'ib_write_bw');

async function runs(t: Test, a: UrnicHost, b: UrnicHost, program: string): Promise<void> {
  await t.test(program, async (t) => {
    const server = program.split(' ');
    const [served, asked] = await runPair(t, a, b, { server, client: [...server, SERVER] });
    t.equal(asked.code, 0, asked.output.slice(-2000));
    t.equal(served.code, 0, served.output.slice(-2000));
  });
}

for (const [port, name, lacking, configuration] of [
  ['cap', 'memory:cap:eth0:1', lacksPackage('cap'), () => byPort('cap')],
  ['raw-socket', 'memory:raw_socket:eth0:1', lacksPackage('raw-socket'), () => byPort('raw-socket')],
  ['vxlan', 'udp_vxlan:4789/100', false, byVxlan],
] as const) {
  t.test(
    `unmodified programs between two urnic hosts by ${port}`,
    { skip: skip || lacking, timeout: 900_000 },
    async (t) => {
      await exclusive(t, 'machine');
      const [here, there] = await twoHosts(t);
      const a = await UrnicHost.start(t, here, 'eth0', configuration(1));
      const b = await UrnicHost.start(t, there, 'eth0', configuration(2));
      for (const program of PROGRAMS) await runs(t, a, b, program);
      t.ok((await a.ports())[name]!.rxFrames > 0, 'what they told each other came by this port');
    },
  );
}

t.test('RC by VXLAN through a queue that is too short', { skip, timeout: 900_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here, 'eth0', byVxlan(1));
  const b = await UrnicHost.start(t, there, 'eth0', byVxlan(2));
  const queue = 'root tbf rate 100mbit burst 70k limit 100k'.split(' ');
  await must('tc', '-n', there.name, 'qdisc', 'add', 'dev', 'eth0', ...queue);
  await runs(t, a, b, `ibv_rc_pingpong ${PINGPONG} -c -s 65536`);
  await runs(t, a, b, `ib_write_bw ${PERF}`);
  const statistics = await must('tc', '-n', there.name, '-s', 'qdisc', 'show', 'dev', 'eth0');
  t.match(statistics, /dropped [1-9]/, 'the queue has dropped frames');
});
