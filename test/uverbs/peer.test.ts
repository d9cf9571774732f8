/** Unmodified programs on urnic against the same programs on a real Linux rxe, either side: rdma_cm and perftest over one tap. A referee judges what crossed it. */
import t from 'tap';
import { OURS, openLab, PEER, urnic } from '../interop/lab.ts';
import { watched } from '../interop/watched.ts';
import { eventually } from '../support/eventually.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from './lab.ts';

const skip = lacksPeer() || lacks('gcc', 'rping');
const LIMIT_MILLIS = 120_000;
/** For who is to hear that its peer has hung up. */
const HANG_UP_MILLIS = 30_000;
/** rping ends its id right behind its DREQ, and the kernel repeats none of an id that has ended (cm_destroy_id): on a lossy wire one is lost for good now and then, twice in a row seldom. */
const LOST_HANG_UPS = 2;
/** Of 224.0.1.9, as rxe maps it. */
const GROUP_MAC = '33:33:e0:00:01:09';
/** Where no group is to be seen, mckey is given so long. */
const STARTS_MILLIS = 8000;

const words = (text: string): string[] => text.split(' ');

/** `SERVER` stands for the server's address, `OWN` for one's own. */
const PROGRAMS: readonly (readonly [server: string, client: string])[] = [
  ['rping -s -a SERVER -C 10 -V -v', 'rping -c -a SERVER -C 10 -V -v'],
  ['ucmatose', 'ucmatose -s SERVER'],
  ['udaddy', 'udaddy -s SERVER'],
  ['mckey -m 224.0.1.9 -b OWN', 'mckey -m 224.0.1.9 -s -b OWN'],
  ['ibv_srq_pingpong -d rxe0 -g 1 -n 50', 'ibv_srq_pingpong -d rxe0 -g 1 -n 50 SERVER'],
  ['ib_write_bw -d rxe0 -x 1 -F -n 50', 'ib_write_bw -d rxe0 -x 1 -F -n 50 SERVER'],
  ['ib_read_bw -d rxe0 -x 1 -F -n 50', 'ib_read_bw -d rxe0 -x 1 -F -n 50 SERVER'],
  ['ib_send_lat -d rxe0 -x 1 -F -n 50', 'ib_send_lat -d rxe0 -x 1 -F -n 50 SERVER'],
  ['ib_atomic_bw -d rxe0 -x 1 -F -n 50', 'ib_atomic_bw -d rxe0 -x 1 -F -n 50 SERVER'],
  ['ib_send_bw -R -x 1 -F -n 50', 'ib_send_bw -R -x 1 -F -n 50 SERVER'],
];

const perftest = (line: string): readonly [string, string] => {
  const command = line.replace(/^\S+/, (program) => `${program} -d rxe0 -x 1 -F`);
  return [command, `${command} SERVER`];
};
const pingpong = (line: string): readonly [string, string] => [`${line} -d rxe0 -g 1`, `${line} -d rxe0 -g 1 SERVER`];
/** PROGRAMS=all: some minutes more. */
const OTHERS: readonly (readonly [server: string, client: string])[] = [
  ...['ibv_rc_pingpong -n 50 -e', 'ibv_uc_pingpong -n 50', 'ibv_ud_pingpong -n 50'].map(pingpong),
  ...[
    ...['ib_send_bw -n 50', 'ib_write_lat -n 50', 'ib_read_lat -n 50', 'ib_atomic_lat -n 50'],
    ...['ib_send_bw -c UC -n 50', 'ib_send_bw -c UD -n 50', 'ib_send_lat -c UD -n 50', 'ib_write_bw -c UC -n 50'],
    ...[
      'ib_write_bw -a -n 5',
      'ib_send_bw -e -n 50',
      'ib_send_bw --use-srq -q 4 -n 50',
      'ib_write_bw -q 16 -u 18 -n 50',
    ],
    ...['ib_write_bw -b -n 50', 'ib_write_bw -D 5'],
  ].map(perftest),
  ['rdma_server', 'rdma_client -s SERVER'],
  ['rstream -T b -S 16384 -I 20 -C 20', 'rstream -T b -S 16384 -I 20 -C 20 -s SERVER'],
];
const CHOSEN = process.env.PROGRAMS === 'all' ? [...PROGRAMS, ...OTHERS] : PROGRAMS;
/** Connections whose management and data are disturbed on the way. */
const DISTURBED: readonly (readonly [server: string, client: string, netem: string])[] = [
  ...['loss 1%', 'loss 5%', 'delay 2ms reorder 25%', 'duplicate 5%'].map(
    (netem) => ['ucmatose', 'ucmatose -s SERVER', netem] as const,
  ),
  ['udaddy', 'udaddy -s SERVER', 'delay 2ms reorder 25%'],
  ['udaddy', 'udaddy -s SERVER', 'duplicate 5%'],
  ['mckey -m 224.0.1.9 -b OWN', 'mckey -m 224.0.1.9 -s -b OWN', 'delay 2ms reorder 25%'],
  // Its datagrams would not come again; asking for the service is repeated.
  ['udaddy -C 0', 'udaddy -C 0 -s SERVER', 'loss 5%'],
  ['rping -s -a SERVER -C 10 -V -v', 'rping -c -a SERVER -C 10 -V -v', 'loss 1%'],
];
const LINK_LOCAL: readonly (readonly [server: string, client: string])[] = [
  ['ucmatose -f ipv6 -b SERVER', 'ucmatose -f ipv6 -s SERVER'],
  ['udaddy -f ipv6 -b SERVER', 'udaddy -f ipv6 -s SERVER'],
  ['rping -s -a SERVER -C 10 -V -v', 'rping -c -a SERVER -C 10 -V -v'],
];

/** What each side calls itself, and what the other calls it. */
interface Names {
  readonly ours: string;
  readonly theirs: string;
  readonly oursThere: string;
  readonly theirsHere: string;
}
const IPV4: Names = { ours: OURS, theirs: PEER, oursThere: OURS, theirsHere: PEER };

/** A service without messages ends with its answer. If that is lost, nobody is there to repeat it: the question that comes again is for no service (SIDR_REP status 1). */
const isLeftAlone = (server: string, output: string): boolean =>
  server.startsWith('udaddy -C 0') && output.includes('RDMA_CM_EVENT_UNREACHABLE, error: 1');

t.test('unmodified programs on urnic talk to Linux rxe', { skip, timeout: 900_000 }, async (t) => {
  const lab = await openLab(t);
  const { here, peer } = lab;
  const host = await UrnicHost.start(t, here, 'tap0');
  const inPeer = (command: string) => peer.exec(command, { timeoutMillis: LIMIT_MILLIS });
  const onUrnic = (command: string) => host.run(words(command), { timeoutMillis: LIMIT_MILLIS });

  /** perftest and the pingpongs meet over TCP first; others listen in rdma_cm's port space. mckey does not listen: rxe asks its interface for the group. */
  const listensInPeer = async (server: string): Promise<void> => {
    const isTcp = /^ib/.test(server) && !server.includes('-R');
    if (isTcp) return peer.listens(18_515);
    const joined = server.startsWith('mckey') && `ip maddr show dev eth0 | grep ${GROUP_MAC}`;
    // By name: the listener of the program before may not have gone yet. The kernel says LISTEN before a request finds the listener: when all threads sleep, it does.
    const [name] = server.split(' ');
    const listens = `rdma resource show cm_id | grep 'LISTEN.* comm ${name}'`;
    const look = joined || `${listens} && ! grep -qv ') S ' /proc/$(pgrep -x ${name})/task/*/stat`;
    const limit = server.startsWith('mckey') ? STARTS_MILLIS : LIMIT_MILLIS;
    await eventually(async () => (await peer.exec(look)).code === 0, limit);
  };

  const serveHere = async (server: string, client: string, names = IPV4) => {
    const served = host.spawn(t, words(server.replace('SERVER', names.ours).replace('OWN', names.ours)));
    await served.waits();
    const asked = await inPeer(client.replace('SERVER', names.oursThere).replace('OWN', names.theirs));
    return [{ code: await served.end(LIMIT_MILLIS), output: served.output }, asked] as const;
  };
  const serveThere = async (server: string, client: string, names = IPV4) => {
    const served = inPeer(server.replace('SERVER', names.theirs).replace('OWN', names.theirs));
    await listensInPeer(server);
    const asked = await onUrnic(client.replace('SERVER', names.theirsHere).replace('OWN', names.ours));
    return [await served, asked] as const;
  };
  const bothSides = async (server: string, client: string, what = '', names = IPV4): Promise<void> => {
    for (const [side, serve] of [
      ['urnic', serveHere],
      ['rxe', serveThere],
    ] as const) {
      await t.test(`${server} served by ${side}${what}`, async (t) => {
        const [served, asked] = await serve(server, client, names);
        t.ok(asked.code === 0 || isLeftAlone(server, asked.output), `client: ${asked.output.slice(-1500)}`);
        t.equal(served.code, 0, `server: ${served.output.slice(-1500)}`);
      });
    }
  };

  const linkLocal = async (netdev: string, run: (command: string) => Promise<{ output: string }>): Promise<string> =>
    /inet6 (fe80:[0-9a-f:]+)/.exec((await run(`ip -6 addr show dev ${netdev} scope link`)).output)![1]!;
  const peers6 = await linkLocal('eth0', (command) => peer.exec(command));
  const ours6 = await linkLocal('tap0', (command) => here.run(words(command)));
  const ipv6: Names = {
    ours: `${ours6}%tap0`,
    theirs: `${peers6}%eth0`,
    oursThere: `${ours6}%eth0`,
    theirsHere: `${peers6}%tap0`,
  };
  const seen = await watched(t, lab, async () => {
    for (const [server, client] of CHOSEN) await bothSides(server, client);

    for (const [server, client, netem] of DISTURBED) {
      await peer.disturbOutgoing(netem);
      await bothSides(server, client, `, with ${netem}`);
    }
    await peer.disturbOutgoing('');
    for (const [server, client] of LINK_LOCAL) await bothSides(server, client, ', link-local IPv6', ipv6);
  });
  t.ok(seen.connections > 2 * CHOSEN.length, `${seen.connections} RC connections were judged`);
  t.equal((await host.counters()).sent_pkts, seen.sent, 'what it counts as sent is what crossed the tap');

  await host.daemon.stop();
  const own = (...args: string[]) =>
    here.run(urnic('rping', '--netdev', 'tap0', ...args), { timeoutMillis: LIMIT_MILLIS });
  for (const netem of ['', 'loss 5%', 'delay 2ms reorder 25%', 'duplicate 5%']) {
    const clients: readonly (readonly [where: string, ours: string, theirs: string])[] =
      netem === ''
        ? [
            ['IPv4', PEER, OURS],
            ['link-local IPv6', peers6, ours6],
          ]
        : [['IPv4', PEER, OURS]];
    for (const [where, there, at] of clients) {
      await t.test(`urnic rping and rxe’s rping, ${where}${netem && `, with ${netem}`}`, async (t) => {
        await peer.disturbOutgoing(netem);
        const zone = (address: string, netdev: string): string =>
          address.includes(':') ? `${address}%${netdev}` : address;
        const theirServer = inPeer(`rping -s -a ${zone(there, 'eth0')} -C 10 -V -v`);
        await listensInPeer('rping');
        const client = await own('-c', '-a', there, '-C', '10', '-V', '-v');
        t.equal(client.code, 0, client.output);
        t.match((await theirServer).output, /server ping data: rdma-ping-9/);
        const serve = async (): Promise<{ code: number; output: string }> => {
          const ourServer = here.spawn(t, urnic('rping', '--netdev', 'tap0', '-s', '-a', at, '-v'));
          await ourServer.waits();
          const theirClient = await inPeer(`rping -c -a ${zone(at, 'eth0')} -C 10 -V -v`);
          t.equal(theirClient.code, 0, theirClient.output);
          return { code: await ourServer.end(HANG_UP_MILLIS), output: ourServer.output };
        };
        let served = await serve();
        for (let left = LOST_HANG_UPS; netem.includes('loss') && served.code !== 0 && left > 0; left--)
          served = await serve();
        t.equal(served.code, 0, served.output);
        t.match(served.output, /server ping data: rdma-ping-9/);
      });
    }
  }
});
