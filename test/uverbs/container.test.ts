/** Containers, and users: who is given a vRNIC's directory has this vRNIC, and no other. */
import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Ran, type Teardown, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { SHIM, UrnicHost } from './lab.ts';

const skip = lacks('root', 'ibv_rc_pingpong', 'setpriv');
const NOBODY = 65_534;
const OWNER = 1000;
const EMPTY = '{"v":{"contexts":[],"programs":[]},"w":{"contexts":[],"programs":[]}}';

const CONFIGURATION = `
vrnics:
  - name: v
    netdev: eth0
  - name: w
    netdev: other0
    user: ${OWNER}
`;

/** One host with two vRNICs: `v` for everybody, `w` for one user. */
async function oneHost(t: Teardown): Promise<UrnicHost> {
  const [here] = await twoHosts(t);
  await here.ip('link', 'add', 'other0', 'type', 'veth', 'peer', 'name', 'other1');
  for (const netdev of ['other0', 'other1']) await here.ip('link', 'set', netdev, 'mtu', '9000', 'up');
  await here.ip('addr', 'add', '198.51.100.1/24', 'dev', 'other0');
  const host = await UrnicHost.start(t, here, 'eth0', CONFIGURATION);
  chmodSync(host.folder, 0o755);
  copyFileSync(SHIM, join(host.folder, 'urnic-shim.so')); // the tree may be where only root can go
  return host;
}

async function untilEmpty(host: UrnicHost): Promise<string> {
  for (let tries = 0; ; tries++) {
    const { output } = await host.urnic('res', '--json', '--socket', host.socket);
    if (output.trim() === EMPTY || tries === 100) return output.trim();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const as = (user: number): string => `setpriv --reuid ${user} --regid ${user} --clear-groups --no-new-privs`;

/** What docs/unmodified-programs.md says to mount and to set, both mounts read-only; of the host's other files of this test nothing is to be seen. */
function container(host: UrnicHost, user: number, script: string): Promise<Ran> {
  const give = (from: string, to: string): string => `mount --bind '${from}' ${to}; mount -o remount,ro,bind ${to}`;
  const inside = [
    'ip link set lo up',
    'mount -t tmpfs none /mnt',
    `touch /mnt/urnic-shim.so; ${give(SHIM, '/mnt/urnic-shim.so')}`,
    'mount -t tmpfs none /run',
    `mkdir -p /run/urnic/vrnic; ${give(host.directory, '/run/urnic/vrnic')}`,
    'mount -t tmpfs none /tmp',
    `${as(user)} env LD_PRELOAD=/mnt/urnic-shim.so sh -ec '${script}'`,
  ].join('; ');
  return host.namespace.run(['unshare', '-mpnf', '--mount-proc', 'sh', '-ec', inside]);
}

const pingpong = 'ibv_rc_pingpong -d rxe0 -g 1 -c -n 50';
const both = `${pingpong} & until ${pingpong} 127.0.0.1; do kill -0 $! && sleep 0.2; done; wait $!`;

for (const user of [0, NOBODY]) {
  const title = `a container with namespaces of its own uses the vRNIC that it was given, as user ${user}`;
  t.test(title, { skip, timeout: 300_000 }, async (t) => {
    const host = await oneHost(t);
    const { code, output } = await container(host, user, `id -u; ${both}`);
    t.equal(code, 0, output);
    t.match(output, new RegExp(`^${user}\\n[\\s\\S]*50 iters in`));
    for (const vrnic of ['v', 'w']) {
      const other = await container(host, user, `URNIC_VRNIC=${host.directoryOf(vrnic)} ibv_devinfo`);
      t.match(other, { output: /No IB devices|Failed/ }, `the host's directory of ${vrnic} is not there`);
      t.not(other.code, 0);
    }
    t.match(await container(host, user, `ls ${host.folder}`), { output: /No such file/ });
    const gids = await container(host, user, 'ibv_devinfo -v');
    t.match(gids, { code: 0, output: /192\.0\.2\.1/ });
    t.notMatch(gids.output, /198\.51\.100\.1/, 'nothing of the other vRNIC');
    t.equal(await untilEmpty(host), EMPTY);
  });
}

t.test('a vRNIC of one user is nobody else’s', { skip, timeout: 300_000 }, async (t) => {
  const host = await oneHost(t);
  const devinfo = (user: number, vrnic: string): Promise<Ran> =>
    host.namespace.run([
      ...as(user).split(' '),
      ...[
        'env',
        `LD_PRELOAD=${join(host.folder, 'urnic-shim.so')}`,
        `URNIC_VRNIC=${host.directoryOf(vrnic)}`,
        'ibv_devinfo',
        '-v',
      ],
    ]);
  t.match(await devinfo(OWNER, 'w'), { code: 0, output: /198\.51\.100\.1/ });
  t.match(await devinfo(0, 'w'), { code: 0 });
  t.match(await devinfo(NOBODY, 'v'), { code: 0, output: /192\.0\.2\.1/ });
  const refused = await devinfo(NOBODY, 'w');
  t.match(refused, { output: /No IB devices|Failed/ });
  t.not(refused.code, 0);
  const memory = await host.namespace.run([
    ...as(OWNER).split(' '),
    ...['env', `LD_PRELOAD=${join(host.folder, 'urnic-shim.so')}`, `URNIC_VRNIC=${host.directoryOf('w')}`, 'sh', '-ec'],
    both.replaceAll('127.0.0.1', '198.51.100.1'),
  ]);
  t.equal(memory.code, 0, memory.output);
});
