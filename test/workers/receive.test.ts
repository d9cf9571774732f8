/** What a receiver says of packets that come together. */
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Counters } from '../../rnic/counters.ts';
import type { ReceivedPacket } from '../../rnic/packet.ts';
import { Framing } from '../../rnic/path.ts';
import { type PacketSink, Receiver } from '../../workers/receive.ts';
import { pathBetween } from '../support/paths.ts';
import { FrameMaker } from './test-frames.ts';

t.test('of a super-frame each packet but the last is followed, and its end is told behind them', async (t) => {
  const seen: (boolean | 'settled')[] = [];
  const sink: PacketSink = {
    counters: new Counters(),
    handlePacket: (packet: ReceivedPacket) => {
      seen.push(packet.isFollowed);
    },
    settle: () => seen.push('settled'),
  };
  const receiver = new Receiver(sink, null, new ReceiveBurst());
  const maker = new FrameMaker();
  const path = pathBetween(1, 2, { framing: Framing.HEADER_ONCE });
  maker.putRun(path, 1, 3, 1024);
  receiver.handleOwn(maker.burst, 0, 0);
  t.strictSame(seen, [true, true, false, 'settled']);
  maker.burst.reset();
  maker.putRun(path, 4, 1, 1024);
  receiver.handleOwn(maker.burst, 0, 0);
  t.strictSame(seen.slice(4), [false, 'settled'], 'a packet alone');
});
