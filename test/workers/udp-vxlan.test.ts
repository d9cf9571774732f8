/** When the socket of a VTEP is looked at: each look is a system call. */
import t from 'tap';
import { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { eventually } from '../support/eventually.ts';

const [HERE, THERE] = [toGid('127.9.0.1'), toGid('127.9.0.2')];
const FRAME_BYTES = 64;
const PAUSE_MAX = 50;

t.test('a socket that has something is looked at in each breath, a silent one seldom', async (t) => {
  const port = new UdpVxlanPort({ local: HERE, mtu: 1450, udpPort: 0 });
  const host = new UdpVxlanPort({ local: THERE, mtu: 1450, udpPort: 0 });
  t.teardown(() => {
    port.close();
    host.close();
  });
  host.setVtep(0, HERE, port.udpPort);
  const burst = new ReceiveBurst();
  /** Looks in so many breaths, a microsecond each. */
  const looks = (from: number, breaths: number): number => {
    const before = port.counters.rxCalls;
    for (let now = from; now < from + breaths; now++) port.receive(burst, now);
    return port.counters.rxCalls - before;
  };
  t.equal(looks(0, 1000), 1000 / PAUSE_MAX, 'nothing has ever come');
  const frame = new TransmitBurst(1024);
  Vxlan.write(frame.view, 0, 100);
  frame.frameBytes[0] = FRAME_BYTES;
  frame.count = 1;
  t.ok(host.transmit(frame));
  let now = 1000;
  await eventually(() => {
    now += PAUSE_MAX;
    return port.receive(burst, now) === 1;
  });
  t.equal(looks(now + 1, 30), 30);
  t.equal(looks(now + 33, 3), 2, 'after 32 µs of silence not in each microsecond');
  looks(now + 36, 3000);
  t.equal(looks(now + 4000, 1000), 1000 / PAUSE_MAX);
  const before = port.counters.rxCalls;
  port.receive(burst);
  port.receive(burst);
  t.equal(port.counters.rxCalls - before, 2, 'who does not say what time it is asks the socket');
});
