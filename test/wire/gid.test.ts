/** What a GID is, by its octets. */
import t from 'tap';
import * as Gid from '../../wire/gid.ts';
import { toGid } from '../../workers/linux/netdev.ts';

t.test('an IPv4 address is one that begins with ::ffff and nothing else', async (t) => {
  t.ok(Gid.isMappedIpv4(toGid('192.0.2.1')));
  for (const text of ['::', '::c000:201', '::fffe:c000:201', '1::ffff:c000:201', '2001:db8::1'])
    t.notOk(Gid.isMappedIpv4(toGid(text)), text);
});

t.test('no address is :: of either family; a place in a table is empty when all of it is zero', async (t) => {
  t.ok(Gid.isAny(toGid('::')));
  t.ok(Gid.isAny(toGid('0.0.0.0')));
  t.notOk(Gid.isAny(toGid('0.0.0.1')));
  t.ok(Gid.isZero(toGid('::')));
  t.notOk(Gid.isZero(toGid('0.0.0.0')));
});

t.test('groups are ff00::/8 and 224.0.0.0/4', async (t) => {
  for (const text of ['ff02::1', 'ff0e::db8', '224.0.0.1', '239.255.255.255']) t.ok(Gid.isMulticast(toGid(text)), text);
  for (const text of ['fe80::1', '223.255.255.255', '240.0.0.1', '::']) t.notOk(Gid.isMulticast(toGid(text)), text);
});

t.test("a MAC's link-local address has its universal bit turned and ff:fe in the middle", async (t) => {
  const gid = Gid.linkLocalOf(Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56));
  t.same(gid, toGid('fe80::5054:ff:fe12:3456'));
  t.ok(Gid.isLinkLocal(gid));
  t.ok(Gid.isLinkLocal(toGid('febf::1')));
  t.notOk(Gid.isLinkLocal(toGid('fec0::1')));
});

t.test('two GIDs are the same by every octet', async (t) => {
  const one = toGid('2001:db8::1');
  t.ok(Gid.isSame(one, toGid('2001:db8::1')));
  for (let i = 0; i < Gid.BYTES; i++) {
    const other = one.slice();
    other[i]! ^= 1;
    t.notOk(Gid.isSame(one, other));
  }
});
