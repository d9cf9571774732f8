/** The pool of packets that came too early: what is taken out is what was put in, headers and all. */
import t from 'tap';
import { newReceivedPacket } from '../../rnic/packet.ts';
import { PacketPool } from '../../rnic/packet-pool.ts';

t.test(
  'pool: a later segment of a super-frame keeps its octets, its identification and the headers that stand once',
  (t) => {
    const bytes = new Uint8Array(4096).map((_, i) => i % 251);
    const packet = newReceivedPacket(bytes, new DataView(bytes.buffer));
    const pool = new PacketPool(2);
    Object.assign(packet, { ipAt: 14, udpAt: 34, bthAt: 1000, end: 1060, ipId: 0x1234 });
    const slot = pool.hold(packet);
    pool.hold({ ...packet, ipAt: 14, udpAt: 54, bthAt: 2000, end: 2100, isIpv6: true, ipId: 0 });
    t.equal(pool.hold(packet), -1, 'full');
    const held = pool.open(slot);
    t.match(held, { ipId: 0x1234, isIpv6: false, udpAt: held.bthAt - 8, ipAt: held.bthAt - 28, end: held.bthAt + 60 });
    t.strictSame(held.bytes.slice(held.ipAt, held.bthAt), bytes.slice(14, 42));
    t.strictSame(held.bytes.slice(held.bthAt, held.end), bytes.slice(1000, 1060));
    pool.release(slot);
    t.equal(pool.held, 1);
    t.end();
  },
);
