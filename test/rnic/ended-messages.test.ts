/** Messages whose payload is placed together with that of the packets behind them: nobody hears of one before all of it is placed, and of none that is lost. */
import t from 'tap';
import { Access, QpState, QpType, WcStatus } from '../../rnic/constants.ts';
import type { Memory } from '../../rnic/memory/memory.ts';
import { addPutOff, losePutOff, putOffBytes } from '../../rnic/memory/put-off.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import * as Aeth from '../../wire/aeth.ts';
import * as Bth from '../../wire/bth.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as Reth from '../../wire/reth.ts';
import type { RKey } from '../../wire/types.ts';
import { TestEngine } from '../support/engine.ts';
import { BTH_AT, type PacketShape, packetOf } from '../support/packets.ts';
import { completionsOf } from '../support/sim/pair.ts';
import { openRing } from '../support/sim/work.ts';

const { SUCCESS, LOC_PROT_ERR, LOC_ACCESS_ERR, WR_FLUSH_ERR } = WcStatus;
const FIRST_PSN = 5;
const MTU = 1024;
const PAGE = 4096;

interface Piece {
  readonly offset: number;
  readonly octets: Uint8Array;
}

/** Puts off what is followed, as workers/hosted/process-memory.ts does. A page of it may be gone. */
class PatientMemory extends SharedMemory implements Memory {
  gone = -1;
  readonly waiting: Piece[] = [];
  #isLost = false;

  override write(offset: number, source: Uint8Array, at: number, length: number, isFollowed = false): boolean {
    this.waiting.push({ offset, octets: source.slice(at, at + length) });
    addPutOff(length);
    if (!isFollowed) this.placeRest();
    const isWhole = !this.#isLost;
    this.#isLost = false;
    return isWhole;
  }

  placeRest(): void {
    let from = putOffBytes() - this.waiting.reduce((sum, { octets }) => sum + octets.length, 0);
    for (const { offset, octets } of this.waiting.splice(0)) {
      if (Math.floor(offset / PAGE) === this.gone) return losePutOff(from, this);
      super.write(offset, octets, 0, octets.length);
      from += octets.length;
    }
  }

  lost(): void {
    this.#isLost = true;
  }

  forgetLoss(): void {
    this.#isLost = false;
  }
}

/** A QP with seven receives of a page each, and completions that were seen whenever something was placed. */
function setUp(receives = 7) {
  const octets = new SharedArrayBuffer(8 * PAGE);
  const memory = new PatientMemory(octets);
  const seen: number[] = [];
  const frames: Uint8Array[] = [];
  const engine = new TestEngine({
    onFrame: (frame) => frames.push(frame),
    placeRest: () => {
      if (memory.waiting.length > 0) seen.push(cqRing.count());
      memory.placeRest();
    },
  });
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq, queue } = engine.execute({ op: 'createCq', cqe: 31 });
  const cqRing = openRing(queue);
  const access = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
  const { lKey } = engine.execute({ op: 'regMr', pd, memory, start: 0, length: 8 * PAGE, iova: 0n, access });
  const newQp = () => {
    const qp = engine.createQp(QpType.RC, pd, cq);
    engine.moveTo(qp, QpState.RTS);
    return qp;
  };
  const qp = newQp();
  for (let i = 0; i < receives; i++) engine.postReceive(qp, i, [{ address: i * PAGE, length: PAGE, lKey }]);
  engine.turn();
  /** Packets of one super-frame: each but the last is followed. */
  const frame = (...shapes: Omit<PacketShape, 'destQp'>[]): void => {
    for (const shape of shapes) engine.rnic.handlePacket(packetOf({ destQp: qp.qpn, isFollowed: true, ...shape }), 1);
  };
  const send = (i: number, fill = i): Omit<PacketShape, 'destQp'> => ({
    opcode: Opcode.RC_SEND_ONLY,
    psn: FIRST_PSN + i,
    payload: MTU,
    before: (view) => {
      view.setUint8(BTH_AT + 8, 0x80);
      view.setUint8(BTH_AT + Bth.BYTES, 100 + fill);
    },
  });
  const withReth = (opcode: number, i: number, page: number, bytes: number, payload: number) => ({
    opcode,
    psn: FIRST_PSN + i,
    payload,
    before: (view: DataView) => {
      view.setUint8(BTH_AT + 8, 0x80);
      Reth.write(view, BTH_AT + Bth.BYTES, 0, page * PAGE, lKey as RKey, bytes);
      if (payload > 0) view.setUint8(BTH_AT + Bth.BYTES + Reth.BYTES, 100 + page);
    },
  });
  const write = (i: number, page: number) => withReth(Opcode.RC_RDMA_WRITE_ONLY, i, page, MTU, MTU);
  const read = (i: number, page: number) => withReth(Opcode.RC_RDMA_READ_REQUEST, i, page, 4, 0);
  const firsts = (): number[] => Array.from({ length: 8 }, (_, i) => new Uint8Array(octets)[i * PAGE]!);
  const statuses = (): number[] => completionsOf(cqRing).map(({ status }) => status);
  /** What leaves now, as [opcode, PSN, syndrome, MSN]. */
  const answers = (): number[][] => {
    frames.length = 0;
    engine.turn();
    return frames.map((octets) => {
      const view = new DataView(octets.buffer, octets.byteOffset);
      const at = BTH_AT + Bth.BYTES;
      return [Bth.psn(view, BTH_AT), Aeth.syndrome(view, at), Aeth.msn(view, at)];
    });
  };
  return {
    engine,
    memory,
    qp,
    newQp,
    seen,
    frame,
    send,
    write,
    read,
    firsts,
    statuses,
    answers,
    cqRing,
    settle: () => engine.rnic.settle(),
  };
}

t.test('no completion can be seen before its payload is placed, nor any order but that of the messages', async (t) => {
  const { frame, send, write, settle, firsts, seen, cqRing, statuses, answers } = setUp();
  frame(send(0), send(1), write(2, 6), send(3));
  t.equal(cqRing.count(), 0);
  t.strictSame(firsts(), [0, 0, 0, 0, 0, 0, 0, 0], 'all of them wait');
  settle();
  t.strictSame(seen, [0], 'placed by one call, before anything was told');
  t.strictSame(firsts(), [100, 101, 103, 0, 0, 0, 106, 0]);
  t.strictSame(statuses(), [SUCCESS, SUCCESS, SUCCESS]);
  t.strictSame(answers(), [[FIRST_PSN + 3, Aeth.ackSyndrome(31), 4]], 'one acknowledgement of all');
});

t.test('with a packet that nothing follows, what waited is placed and told, too', async (t) => {
  const { frame, send, firsts, statuses } = setUp();
  frame(send(0), send(1), { ...send(2), isFollowed: false });
  t.strictSame(firsts().slice(0, 3), [100, 101, 102]);
  t.strictSame(statuses(), [SUCCESS, SUCCESS, SUCCESS]);
});

t.test(
  'of three SENDs the second is lost: the first is told, the second ends the QP, the third never came',
  async (t) => {
    for (const last of [true, false]) {
      const { frame, send, settle, memory, statuses, answers, firsts } = setUp(4);
      memory.gone = 1;
      frame(send(0), send(1), { ...send(2), isFollowed: last });
      settle();
      t.strictSame(statuses(), [SUCCESS, LOC_PROT_ERR, WR_FLUSH_ERR, WR_FLUSH_ERR]);
      t.strictSame(firsts().slice(0, 3), [100, 0, 0]);
      t.strictSame(
        answers(),
        [[FIRST_PSN + 1, Aeth.NAK_REMOTE_OPERATIONAL_ERROR, 1]],
        'the first is acknowledged by it',
      );
    }
  },
);

t.test('a WRITE that is lost is refused as one to memory that is gone, with what came behind it', async (t) => {
  const { frame, send, write, settle, memory, statuses, answers } = setUp(3);
  memory.gone = 7;
  frame(send(0), write(1, 7), send(2));
  settle();
  t.strictSame(statuses(), [SUCCESS, WR_FLUSH_ERR, WR_FLUSH_ERR]);
  t.strictSame(answers(), [[FIRST_PSN + 1, Aeth.NAK_REMOTE_ACCESS_ERROR, 1]]);
});

t.test('a WRITE with immediate data that is lost spoils its receive WQE', async (t) => {
  const { frame, write, settle, memory, statuses } = setUp(2);
  memory.gone = 7;
  frame({ ...write(0, 7), opcode: Opcode.RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE });
  settle();
  t.strictSame(statuses(), [LOC_ACCESS_ERR, WR_FLUSH_ERR]);
});

t.test('what one QP has lost is nothing to another one of the same memory', async (t) => {
  const { engine, frame, send, write, memory, newQp, settle, statuses, firsts } = setUp(1);
  const other = newQp();
  memory.gone = 0;
  frame(send(0));
  engine.rnic.handlePacket(packetOf({ destQp: other.qpn, ...write(0, 6) }), 1);
  settle();
  t.strictSame(statuses(), [LOC_PROT_ERR]);
  t.equal(firsts()[6], 106);
  engine.rnic.handlePacket(packetOf({ destQp: other.qpn, ...write(1, 5) }), 1);
  t.equal(firsts()[5], 105, 'nor is it told later');
});

t.test('a READ finds what the messages before it have brought, and a refusal comes behind them', async (t) => {
  const { frame, send, read, settle, firsts, statuses, answers } = setUp(2);
  frame(send(0), read(1, 0));
  t.equal(firsts()[0], 100);
  t.strictSame(statuses(), [SUCCESS]);
  settle();
  t.strictSame(
    answers().map(([psn]) => psn),
    [FIRST_PSN, FIRST_PSN + 1],
  );
  frame(send(2), send(3));
  t.strictSame(statuses(), [SUCCESS], 'the second finds no receive WQE');
  t.strictSame(answers(), [[FIRST_PSN + 3, Aeth.rnrNakSyndrome(12), 3]]);
});
