import t from 'tap';
import { gidTable } from '../../workers/gid-table.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const table = (known: string[], addresses: string[]): string[] =>
  gidTable(known.map(toGid), addresses.map(toGid), MAC).map(gidText);
const MADE = 'fe80::5054:ff:fe12:3456';

t.test('gid table: entry 0 is the link-local address, made from the MAC while there is none', async (t) => {
  t.same(table([], []), [MADE]);
  t.same(table([], ['10.0.0.1', 'fd00::1']), [MADE, '10.0.0.1', 'fd00::1']);
  t.same(table([], ['fe80::7', '10.0.0.1']), ['fe80::7', '10.0.0.1']);
  t.same(table([MADE, '10.0.0.1'], ['fe80::7', '10.0.0.1']), ['fe80::7', '10.0.0.1'], 'and follows it');
});

t.test('gid table: an address keeps its index, a lost one leaves a hole, a new one fills it', async (t) => {
  t.same(table([MADE, '10.0.0.1', '10.0.0.2'], ['10.0.0.2']), [MADE, '::', '10.0.0.2']);
  t.same(table([MADE, '::', '10.0.0.2'], ['10.0.0.2', '10.0.0.3']), [MADE, '10.0.0.3', '10.0.0.2']);
  t.same(table([MADE, '10.0.0.1', '10.0.0.2'], ['10.0.0.1']), [MADE, '10.0.0.1'], 'holes at the end go');
  t.same(table([MADE, '10.0.0.1'], ['10.0.0.1', 'fd00::1']), [MADE, '10.0.0.1', 'fd00::1']);
});
