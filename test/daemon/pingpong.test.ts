/** urnic to urnic over a veth pair, in two processes, by each kind of port. */
import { join } from 'node:path';
import t from 'tap';
import { listening } from '../interop/lab.ts';
import { twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks, lacksPackage } from '../support/skip.ts';

t.setTimeout(300_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');

for (const [kind, lacking] of [
  ['af_packet', false],
  ['cap', lacksPackage('cap')],
  ['raw-socket', lacksPackage('raw-socket')],
] as const) {
  t.test(
    `pingpong: the types between two processes over ${kind}`,
    { skip: lacks('root', 'ip') || lacking, timeout: 90_000 },
    async (t) => {
      const [here, there] = await twoHosts(t);
      for (const type of kind === 'af_packet' ? ['rc', 'uc', 'ud', 'srq'] : ['rc', 'uc', 'ud']) {
        const command = [
          process.execPath,
          CLI,
          'pingpong',
          '--netdev',
          'eth0',
          '--port-kind',
          kind,
          '--type',
          type,
          '-n',
          '30',
          '-s',
          type === 'ud' ? '1000' : '20000',
          '-g',
          '1',
          '-c',
        ];
        const server = there.spawn(t, command);
        await listening(there, 18_515, server);
        t.match(
          await here.run([...command, '192.0.2.2'], { timeoutMillis: 30_000 }),
          { code: 0, output: /30 iters in/ },
          `${type}: client`,
        );
        t.equal(await server.end(10_000), 0, `${type}: server`);
        t.match(server.output, /30 iters in/);
      }
    },
  );
}

t.test('pingpong: flags that mean nothing here are refused in words', async (t) => {
  const { run } = await import('../support/netns.ts');
  const urnic = (...args: string[]) => run([process.execPath, CLI, 'pingpong', ...args]);
  t.match(await urnic('-m', '1500'), { code: 1, output: /must be one of 256, 512, 1024, 2048, 4096/ });
  t.match(await urnic('--type', 'xrc'), { code: 1, output: /rc, uc, ud/ });
  t.match(await urnic('--type', 'srq', '-r', '3', '-q', '4'), { code: 1, output: /rx-depth 3 is too small for 4 QPs/ });
  t.match(await urnic('-p', '0'), { code: 1, output: /1 … 65535/ });
  t.match(await urnic('--netdev', 'nosuch0'), { code: 1, output: /nosuch0/ });
});
