/** Who of a socket's members reads, and what of its time that is for others. */
import t from 'tap';
import { SocketTurn } from '../../workers/overlay/socket-turn.ts';

const newMember = () => ({ stir: null, errandMicros: 0 });

/** A socket, and one that reads it. */
function socket() {
  const machine = { now: 0 };
  const turn = new SocketTurn<ReturnType<typeof newMember>>(() => machine.now);
  const member = newMember();
  /** So many frames, of which so many are for others, in so long. False: it may not. */
  const read = (frames: number, others: number, micros: number, isShared = true): boolean => {
    if (!turn.mayRead(member, isShared)) return false;
    machine.now += micros;
    turn.hasRead(member, frames);
    turn.hasHanded(member, others, frames);
    return true;
  };
  return { turn, member, read };
}

t.test('who reads for others knows how much of its time that took', async (t) => {
  const { member, read } = socket();
  read(3, 2, 30);
  t.equal(member.errandMicros, 20);
  read(4, 0, 100);
  t.equal(member.errandMicros, 20, 'all for itself');
  read(1, 1, 7);
  t.equal(member.errandMicros, 27);
  read(1, 1, 7, false);
  t.equal(member.errandMicros, 27, 'there is nobody else');
});

t.test('what comes after a look in vain is not timed, what follows it is', async (t) => {
  const { turn, member, read } = socket();
  read(0, 0, 1);
  t.notOk(turn.mayRead(newMember(), true), 'the reader goes on');
  read(2, 2, 50);
  t.equal(member.errandMicros, 0);
  read(2, 2, 50);
  t.equal(member.errandMicros, 50);
});
