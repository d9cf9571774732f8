/** DSCP and ECN of a tenant: what its packets carry inside and outside, and what a congested hop's mark does to them. RFC 6040 §4.2. */
import t from 'tap';
import { CE, ecnOf, innerClass, outerClass, setCongested } from '../../vswitch/traffic-class.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';

t.test('a tenant’s DSCP stands for the program’s; ECN stays the packet’s', async (t) => {
  t.equal(innerClass({}, 0xb9), 0xb9, 'as asked');
  t.equal(innerClass({ dscp: 10 }, 0xb9), (10 << 2) | 1);
  t.equal(innerClass({ dscp: 0 }, 0xb8), 0);
  t.equal(innerClass({ ecn: true }, 0), 2, 'ECT(0)');
  t.equal(innerClass({ ecn: true }, 1), 1, 'ECT(1) as asked');
  t.equal(innerClass({ dscp: 63, ecn: true }, 0xff), 0xff);
  t.equal(outerClass({}, 0xb9), 1, 'hosts see no program’s DSCP');
  t.equal(outerClass({ dscp: 10, ecn: true }, 0xb8), (10 << 2) | 2);
});

function ipv4(ecn: number): DataView {
  const view = new DataView(new ArrayBuffer(14 + 20));
  view.setUint16(12, 0x0800);
  Ipv4.write(view, 14, (10 << 2) | ecn, 60, 7, 64, 17, 0x0a00_0001, 0x0a00_0002);
  return view;
}

function ipv6(ecn: number): DataView {
  const view = new DataView(new ArrayBuffer(14 + 40));
  view.setUint16(12, 0x86dd);
  Ipv6.write(view, 14, (10 << 2) | ecn, 0x54321, 20, 17, 64, new DataView(new ArrayBuffer(32)), 0, 16);
  return view;
}

t.test('a mark on the outer header becomes one of the packet, if its ends understand', async (t) => {
  for (const ecn of [1, 2, 3]) {
    const four = ipv4(ecn);
    t.ok(setCongested(four, 0));
    t.equal(Ipv4.typeOfService(four, 14), (10 << 2) | CE);
    t.ok(Ipv4.verifyChecksum(four, 14));
    const six = ipv6(ecn);
    t.ok(setCongested(six, 0));
    t.equal(Ipv6.trafficClass(six, 14), (10 << 2) | CE);
    t.equal(Ipv6.flowLabel(six, 14), 0x54321);
    t.equal(ecnOf(six, 0), CE);
  }
  for (const view of [ipv4(0), ipv6(0), new DataView(new ArrayBuffer(60))]) {
    const before = Buffer.from(view.buffer).toString('hex');
    t.notOk(setCongested(view, 0), 'to be dropped');
    t.equal(Buffer.from(view.buffer).toString('hex'), before);
  }
});
