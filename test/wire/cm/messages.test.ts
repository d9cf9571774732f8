/** CM messages: every field where the specification has it, and none in another's place. */
import fc from 'fast-check';
import t from 'tap';
import * as IpPrivateData from '../../../wire/cm/ip-private-data.ts';
import { BYTES, type Layout, type Message, type Values } from '../../../wire/cm/layout.ts';
import * as Messages from '../../../wire/cm/messages.ts';
import * as Req from '../../../wire/cm/req.ts';
import * as Mad from '../../../wire/mad.ts';
import { holdsHeader } from '../header-property.ts';

holdsHeader(t, 'MAD', Mad);
holdsHeader(t, 'RDMA IP CM private data', IpPrivateData);

const SPOKEN = Array.from({ length: 11 }, (_, i) => Messages.REQ + i).filter((id) => Messages.of(id) !== undefined);
const viewOf = (fill: number): DataView => new DataView(new Uint8Array(BYTES).fill(fill).buffer);

/** The bits that a message's fields cover: what is left of ones. */
function coverage(message: Message<Layout>): Uint8Array {
  const covered = viewOf(0);
  message.write(covered, 0, message.read(viewOf(0xff), 0));
  return new Uint8Array(covered.buffer);
}

function survives(message: Message<Layout>, octets: Uint8Array<ArrayBuffer>): boolean {
  const again = viewOf(0x55);
  message.write(again, 0, message.read(new DataView(octets.buffer), 0));
  const mask = coverage(message);
  return octets.every((octet, i) => again.getUint8(i) === (octet & (mask[i] as number)));
}

for (const id of SPOKEN)
  t.test(`${Messages.name(id)}: any octets survive read and write, reserved bits as zero`, (t) => {
    const message = Messages.of(id) as Message<Layout>;
    const octetsOf = fc.uint8Array({ minLength: BYTES, maxLength: BYTES }).map((octets) => Uint8Array.from(octets));
    t.doesNotThrow(() => fc.assert(fc.property(octetsOf, (octets) => survives(message, octets))));
    t.end();
  });

for (const id of SPOKEN)
  t.test(`${Messages.name(id)}: each field at its maximum leaves its neighbours at zero`, (t) => {
    const message = Messages.of(id) as Message<Layout>;
    const low = message.read(viewOf(0), 0);
    const high = message.read(viewOf(0xff), 0);
    for (const key of Object.keys(low)) {
      const one = { ...low, [key]: high[key] } as Values<Layout>;
      const view = viewOf(0);
      message.write(view, 0, one);
      t.same(message.read(view, 0), one, key);
    }
    t.end();
  });

t.test('CM messages: nine are spoken, the two of alternate paths are named', (t) => {
  t.equal(SPOKEN.length, 9);
  t.equal(Messages.name(Messages.LAP), 'LAP');
  t.equal(Messages.name(Messages.APR), 'APR');
  t.equal(Messages.name(0x99), 'CM_0x99');
  t.end();
});

t.test('CM messages: private data longer than its field is refused', (t) => {
  const fields = { ...Req.read(viewOf(0), 0), privateData: new Uint8Array(Req.PRIVATE_DATA_BYTES + 1) };
  t.throws(() => Req.write(viewOf(0), 0, fields), /93 octets given for a field of 92/);
  t.end();
});

t.test('RDMA IP CM: a service ID names a port space and a port', (t) => {
  const lo = IpPrivateData.serviceIdLo(IpPrivateData.PORT_SPACE_TCP, 0x1c06);
  t.equal(lo, 0x01061c06);
  t.ok(IpPrivateData.isIpServiceId(0, lo));
  t.notOk(IpPrivateData.isIpServiceId(1, lo));
  t.equal(IpPrivateData.servicePortSpace(lo), IpPrivateData.PORT_SPACE_TCP);
  t.equal(IpPrivateData.servicePort(lo), 0x1c06);
  t.end();
});
