/** The rxe peer itself: it boots, its device is active, it talks to itself, and what it says is well formed. */
import t from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { Namespace } from '../support/netns.ts';
import { lacksPeer, RxePeer } from '../support/rxe-peer.ts';

t.setTimeout(1_500_000);

t.test(
  'rxe peer: boots with an active device that talks to itself',
  { skip: lacksPeer(), timeout: 900_000 },
  async (t) => {
    await exclusive(t, 'machine');
    const lab = await Namespace.create(t, 'lab');
    await lab.addTap('tap0', '192.0.2.1/24', 9000);
    const peer = await RxePeer.start(t, lab, { address: '192.0.2.2/24' });
    t.match(await peer.must('ibv_devinfo'), /hca_id:\s+rxe0[\s\S]*PORT_ACTIVE/);
    t.equal((await peer.exec('exit 7')).code, 7, 'the exit code comes through');
    const output = await peer.must('ibv_rc_pingpong -g 1 -n 10 & sleep 1; ibv_rc_pingpong -g 1 -n 10 192.0.2.2; wait');
    t.match(output, /10 iters/);

    const rivals = [
      'touch /tmp/one; until [ -e /tmp/two ]; do sleep 0.1; done',
      'touch /tmp/two; until [ -e /tmp/one ]; do sleep 0.1; done',
    ];
    t.same(await Promise.all(rivals.map((command) => peer.must(command))), ['', ''], 'two commands at once');
    const late = await peer.exec('echo began; sleep 997 & sleep 997', { timeoutMillis: 2000 });
    t.same(late, { code: 124, output: 'began\n' }, 'a command that takes too long');
    t.equal((await peer.exec('pgrep -x sleep')).code, 1, 'nothing of it goes on in the peer');
  },
);
