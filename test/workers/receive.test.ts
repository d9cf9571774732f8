/** What a receiver says of packets that come together, and that nothing of them waits when they have come. */
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Counters } from '../../rnic/counters.ts';
import type { ReceivedPacket } from '../../rnic/packet.ts';
import { Framing } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import { hasRest, putOff } from '../../workers/hosted/placement.ts';
import { type PacketSink, Receiver } from '../../workers/receive.ts';
import { pathBetween } from '../support/paths.ts';
import { FrameMaker } from './test-frames.ts';

t.test(
  'of a super-frame each packet but the last is followed, and what they put off is placed at its end',
  async (t) => {
    const placed: number[] = [];
    const memory = {
      place: (offset: number, bytes: number, _: number, count: number) => placed.push(offset, bytes, count),
    };
    const seen: boolean[] = [];
    const sink: PacketSink = {
      counters: new Counters(),
      handlePacket: (packet: ReceivedPacket) => {
        seen.push(packet.isFollowed);
        if (Bth.psn(packet.view, packet.bthAt) !== 4) putOff(memory, (seen.length - 1) * 1024, 0, 1024);
      },
    };
    const receiver = new Receiver(sink, null, new ReceiveBurst());
    const maker = new FrameMaker();
    const path = pathBetween(1, 2, { framing: Framing.HEADER_ONCE });
    maker.putRun(path, 1, 3, 1024);
    receiver.handleOwn(maker.burst, 0, 0);
    t.strictSame(seen, [true, true, false]);
    t.strictSame(placed, [0, 3072, 3], 'its last packet may not end the message');
    t.notOk(hasRest());
    maker.burst.reset();
    maker.putRun(path, 4, 1, 1024);
    receiver.handleOwn(maker.burst, 0, 0);
    t.strictSame(seen.slice(3), [false], 'a packet alone');
    t.equal(placed.length, 3);
  },
);
