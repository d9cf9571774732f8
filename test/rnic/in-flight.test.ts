/** What all QPs of a vRNIC have in flight together: rnic/in-flight.ts. */
import t from 'tap';
import { InFlight, InFlightShare } from '../../rnic/in-flight.ts';

/** Fills the room in steps of one packet of 4 KiB; returns how many it held. */
function fill(inFlight: InFlight): number {
  let packets = 0;
  for (; inFlight.hasRoom; packets++) inFlight.change(inFlight.weigh(4096, 1));
  return packets;
}

t.test(
  'in flight: a short path has the room that caches hold, a long one less than a socket buffer holds',
  async (t) => {
    t.ok(fill(new InFlight()) * 4096 < 1 << 20);
    const inFlight = new InFlight();
    for (let i = 0; i < 1000; i++) inFlight.measured(1000);
    const packets = fill(inFlight);
    t.ok(packets * 8192 < 16 << 20, 'the share of each packet included');
    t.ok(packets * 4096 > 4 << 20, 'and enough for a fast wire');
  },
);

t.test('in flight: a shorter round trip counts at once, a longer one little by little, none not at all', async (t) => {
  const inFlight = new InFlight();
  inFlight.measured(1000);
  inFlight.measured(0);
  const once = fill(inFlight);
  t.ok(once > fill(new InFlight()));
  t.ok(once * 4096 < 2 << 20);
  const both = new InFlight();
  for (let i = 0; i < 1000; i++) both.measured(1000);
  both.measured(10);
  t.equal(fill(both), fill(new InFlight()));
});

t.test('in flight: a packet measures the path while next to nothing is under way', async (t) => {
  const inFlight = new InFlight();
  t.ok(inFlight.isLow);
  fill(inFlight);
  t.notOk(inFlight.isLow);
});

t.test(
  'in flight: who waits goes on in the order of arrival, some in each turn, when there is room again',
  async (t) => {
    const inFlight = new InFlight();
    fill(inFlight);
    const order: number[] = [];
    for (let i = 0; i < 100; i++) inFlight.wait({ handleRoom: () => order.push(i) });
    inFlight.release();
    t.strictSame(order, [], 'nobody while it is full');
    inFlight.change(-inFlight.weigh(65_536, 16));
    t.ok(inFlight.mayRelease);
    inFlight.release();
    t.ok(order.length > 0 && order.length < 100, 'some');
    while (inFlight.mayRelease) inFlight.release();
    t.strictSame(
      order,
      Array.from({ length: 100 }, (_, i) => i),
    );
  },
);

t.test('in flight: a turn ends when those who went on have filled the room', async (t) => {
  const inFlight = new InFlight();
  fill(inFlight);
  let released = 0;
  const weight = inFlight.weigh(65_536, 16);
  for (let i = 0; i < 10; i++) {
    inFlight.wait({
      handleRoom: () => {
        released++;
        inFlight.change(weight);
      },
    });
  }
  inFlight.change(-weight * 2);
  inFlight.release();
  t.ok(released >= 1 && released <= 3);
  t.notOk(inFlight.hasRoom);
});

t.test('in flight: who comes later waits behind those in line; who sends again does not', async (t) => {
  const inFlight = new InFlight();
  fill(inFlight);
  const order: string[] = [];
  const sender = (name: string) => {
    const share = new InFlightShare();
    const handleRoom = (): void => {
      share.leaveLine();
      order.push(name);
    };
    return { share, handleRoom };
  };
  const [early, late] = [sender('early'), sender('late')];
  t.notOk(early.share.mayGo(inFlight, early, false));
  inFlight.change(-inFlight.weigh(4096, 1));
  t.notOk(late.share.mayGo(inFlight, late, false), 'there is room, but not for it');
  t.ok(late.share.mayGo(inFlight, late, true), 'what the peer waits for');
  inFlight.release();
  t.strictSame(order, ['early', 'late']);
  t.ok(early.share.mayGo(inFlight, early, false));
  early.share.endTurn();
  inFlight.change(inFlight.weigh(4096, 1));
  t.notOk(late.share.mayGo(inFlight, late, false), 'its turn has come, but the room is full again');
  t.notOk(early.share.mayGo(inFlight, early, false));
  inFlight.change(-inFlight.weigh(4096, 1));
  inFlight.release();
  t.strictSame(order.slice(2), ['late', 'early'], 'so it is the first of the line');
});
