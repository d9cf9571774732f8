/** What crosses the lab's tap while a test runs, judged by the referee. */
import { isIPv4 } from 'node:net';
import type { Test } from 'tap';
import { connectionsOf, sendersOf, unansweredOf } from '../referee/connections.ts';
import { seePacket } from '../referee/packet.ts';
import { readFrames, type TracedFrame } from '../referee/pcap-frames.ts';
import { judge } from '../referee/referee.ts';
import { Capture } from '../support/capture.ts';
import type { Namespace } from '../support/netns.ts';
import { type Lab, OURS } from './lab.ts';

/** Nothing on the tap is longer: a long frame takes a whole slot of the kernel's ring for each short one. */
const FRAME_OCTETS = 9100;

export interface Watched {
  /** RC connections that were seen. */
  readonly connections: number;
  readonly packets: number;
  /** RoCE packets that we sent, by the interface. */
  readonly sent: number;
}

/**
 * Runs it, and holds our packets against those that came before them. Ours alone: what the peer's packets suffer on their way looks like its fault. What is lost
 * behind the tap, on the way to the peer, the referee sees as sent.
 */
export async function watched(t: Test, { here }: Lab, run: () => Promise<void>): Promise<Watched> {
  const capture = await Capture.start(t, here, 'tap0', { snapshotOctets: FRAME_OCTETS });
  await run();
  t.ok(await capture.end(), 'the capture is whole');
  // A frame that we answer at once may be told of after its answer: who was first is told by the clock.
  const frames = readFrames(capture.path).sort((a, b) => a.timeMicros - b.timeMicros);
  const connections = connectionsOf(frames);
  const { violations, packets } = judge(frames, [...connections, ...unansweredOf(frames)], sendersOf(frames));
  const isOurs = await ownAddresses(here);
  t.strictSame(
    violations.filter((text) => isOurs(/\((\S+) →/.exec(text)![1]!)),
    [],
    'the referee finds nothing wrong with what we sent',
  );
  return { connections: connections.length, packets, sent: countSent(frames, isOurs) };
}

function countSent(frames: readonly TracedFrame[], isOurs: (address: string) => boolean): number {
  return frames.filter(({ octets }) => isOurs(seePacket(octets, 0, 0)?.source ?? '')).length;
}

/** As the referee writes addresses. */
async function ownAddresses(here: Namespace): Promise<(address: string) => boolean> {
  const { output } = await here.run(['cat', '/proc/net/if_inet6']);
  const ipv6 = output.split('\n').map((line) => line.split(' ')[0]!);
  return (address) => (isIPv4(address) ? address === OURS : ipv6.includes(address));
}
