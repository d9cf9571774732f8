/** Unmodified programs on urnic against the same programs on a real Linux rxe, either side: rdma_cm and perftest over one tap. A referee judges what crossed it. */
import t from 'tap';
import { OURS, openLab, PEER } from '../interop/lab.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from './lab.ts';

const skip = lacksPeer() || lacks('gcc', 'rping');
const STARTS_MILLIS = 700;
/** A program in the peer, under emulation, needs this long until it listens. */
const CM_STARTS_MILLIS = 5000;
const LIMIT_MILLIS = 25_000;

const words = (text: string): string[] => text.split(' ');
const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));

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

t.test('unmodified programs on urnic talk to Linux rxe', { skip, timeout: 600_000 }, async (t) => {
  const { here, peer } = await openLab(t);
  const host = await UrnicHost.start(t, here, 'tap0');
  const inPeer = (command: string) => peer.exec(command, { timeoutMillis: LIMIT_MILLIS });
  const onUrnic = (command: string) => host.run(words(command), { timeoutMillis: LIMIT_MILLIS });

  /** perftest and the pingpongs meet over TCP first; rdma_cm's listeners show nowhere and are given time. */
  const listensInPeer = async (server: string): Promise<void> => {
    if (!/^ib/.test(server) || server.includes('-R')) return pause(CM_STARTS_MILLIS);
    for (let tries = 0; tries < 40; tries++) {
      if ((await peer.exec('ss -Hltn "sport = :18515"')).output.trim() !== '') return;
      await pause(250);
    }
  };

  const serveHere = async (server: string, client: string) => {
    const served = onUrnic(server.replace('SERVER', OURS).replace('OWN', OURS));
    await pause(STARTS_MILLIS);
    const asked = await inPeer(client.replace('SERVER', OURS).replace('OWN', PEER));
    return [await served, asked] as const;
  };
  const serveThere = async (server: string, client: string) => {
    const served = inPeer(server.replace('SERVER', PEER).replace('OWN', PEER));
    await listensInPeer(server);
    const asked = await onUrnic(client.replace('SERVER', PEER).replace('OWN', OURS));
    return [await served, asked] as const;
  };

  for (const [server, client] of PROGRAMS) {
    for (const [side, serve] of [
      ['urnic', serveHere],
      ['rxe', serveThere],
    ] as const) {
      await t.test(
        `${server.split(' ').slice(0, 1)} ${server.includes('-R') ? '-R ' : ''}served by ${side}`,
        async (t) => {
          const [served, asked] = await serve(server, client);
          t.equal(asked.code, 0, `client: ${asked.output.slice(-1500)}`);
          t.equal(served.code, 0, `server: ${served.output.slice(-1500)}`);
        },
      );
    }
  }
});
