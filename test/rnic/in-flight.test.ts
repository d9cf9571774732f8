/** What all QPs of a vRNIC have in flight together: rnic/in-flight.ts. */
import t from 'tap';
import { InFlight } from '../../rnic/in-flight.ts';

/** Fills the room in steps of one packet of 4 KiB; returns how many it held. */
function fill(inFlight: InFlight): number {
  let packets = 0;
  for (; inFlight.hasRoom; packets++) inFlight.change(inFlight.weigh(4096, 1));
  return packets;
}

t.test('in flight: the room is less than a socket buffer holds, the share of each packet included', async (t) => {
  const packets = fill(new InFlight());
  t.ok(packets * 8192 < 16 << 20);
  t.ok(packets * 4096 > 4 << 20, 'and enough for a fast wire');
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
