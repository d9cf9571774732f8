/** What each peer has presented of wrong keys: a table that does not grow. */
import t from 'tap';
import { PeerViolations } from '../../rnic/peer-violations.ts';

const PEERS = 1024;
const peer = (index: number): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, i) => (i < 14 ? 0 : index >> (8 * (15 - i))));

t.test(
  'peer violations: of more peers than are remembered, the one that was quiet for longest is forgotten',
  async (t) => {
    const violations = new PeerViolations();
    const isSpent = (index: number): boolean => violations.exceeds(peer(index), 1, 1000);
    for (let i = 0; i < PEERS; i++) if (isSpent(i)) t.fail(`${i} had presented none`);
    t.ok(isSpent(0), 'it is remembered, and was the last now');
    t.notOk(isSpent(PEERS), 'one more');
    t.notOk(isSpent(1), 'that one is forgotten');
    for (const index of [0, 3, PEERS - 1, PEERS]) t.ok(isSpent(index), `${index} is not`);
  },
);
