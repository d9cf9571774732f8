/** One packet at a time, right or with one to three fields changed and its ICRC made right again: the engine does what the specification says, and says no other. */
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Access, QpAttr, QpState, QpType } from '../../rnic/constants.ts';
import type { Psn } from '../../wire/types.ts';
import type { Port } from '../../workers/port.ts';
import { Receiver } from '../../workers/receive.ts';
import { attributesFor, stepsTo, TestEngine } from '../support/engine.ts';
import { Random } from '../support/sim/random.ts';
import { openRing, writeReceive } from '../support/sim/work.ts';
import { seal } from './envelope.ts';
import { mutate } from './mutations.ts';
import { type Grant, type Outcome, outcomeOf, type Waiting } from './oracle.ts';
import { Requests } from './requests.ts';
import { type Home, Target } from './target.ts';
import { type Place, Terrain } from './terrain.ts';

const PACKETS = 30_000;
const ROOM = 700;
const BTH_AT = 42;
const CNP = 0x81;
const ACCESS = Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC | Access.FLUSH_GLOBAL;
const HOME: Home = { type: QpType.RC, state: QpState.RTR, isIpv6: false, mtu: 3, access: ACCESS, usesSrq: false };
const WIRE = { link: 'ethernet' } as Port;
const NAKS: Readonly<Record<number, Outcome>> = { 96: 'PSN NAK', 97: 'invalid', 98: 'access' };

/** The place that is of another protection domain: no key to this QP. */
const FOREIGN = 3;

/** The first place grants everything, the second reading, the others nothing. */
const grantOf = ({ key, hi, lo, bytes }: Place, index: number): Grant => ({
  key,
  first: (BigInt(hi) << 32n) | BigInt(lo),
  bytes,
  reads: index < 2,
  writes: index === 0,
  atomics: index === 0,
  flushes: index === 0,
});

/** One RC QP, brought back to RTR for each packet. */
class Bench {
  readonly sent: Uint8Array[] = [];
  readonly engine = new TestEngine({ onFrame: (frame) => this.sent.push(frame) });
  readonly pd = this.engine.execute({ op: 'allocPd' }).pd;
  readonly terrain = new Terrain(this.engine, this.pd);
  readonly target: Target;
  readonly #cq = this.engine.execute({ op: 'createCq', cqe: 64 });
  readonly #completions = openRing(this.#cq.queue);
  readonly #burst = new ReceiveBurst();
  readonly #receiver = new Receiver(this.engine.rnic, null, this.#burst);

  constructor() {
    const { cq } = this.#cq;
    this.target = new Target(this.engine.createQp(QpType.RC, this.pd, cq), HOME, 0x77);
  }

  begin(psn: number): void {
    const { qp, out } = this.target;
    const steps: [QpState, number][] = [[QpState.RESET, QpAttr.STATE], ...stepsTo(QpType.RC, QpState.RTR)];
    for (const [to, mask] of steps) {
      const attributes = { ...attributesFor(to), rqPsn: psn, qpAccessFlags: ACCESS, pathMtu: HOME.mtu };
      this.engine.execute({ op: 'modifyQp', qp: qp.handle, mask, attributes, path: out });
    }
    writeReceive(qp.rq!, 1, [this.terrain.inbox(0, ROOM)]);
    this.target.forget(psn as Psn);
  }

  give(frame: Uint8Array): Outcome {
    this.sent.length = 0;
    this.#burst.bytes.set(frame);
    this.#burst.frameBytes[0] = frame.length;
    this.#burst.count = 1;
    this.#receiver.handleBurst(this.#burst, WIRE, 0, false, this.engine.now);
    this.engine.turn(1);
    this.engine.events();
    this.#completions.publishConsumer(this.#completions.producer());
    return this.#outcome();
  }

  #outcome(): Outcome {
    const isBroken = this.engine.rnic.qps.find(this.target.qp.qpn)!.state === QpState.ERR;
    // A notification of congestion goes before; it is no answer.
    const answer = this.sent.find((frame) => frame[BTH_AT] !== CNP);
    if (answer === undefined) return isBroken ? 'broken in silence' : 'silence';
    const opcode = answer[BTH_AT]!;
    if (opcode === 0x12) return 'result';
    if (opcode !== 0x11) return 'data';
    const syndrome = answer[BTH_AT + 12]!;
    return syndrome < 0x20 ? 'ACK' : (NAKS[syndrome] ?? 'silence');
  }
}

t.test('T-22: of every mutated request a model says what becomes of it, and the engine agrees', async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = new Random(seed);
  const bench = new Bench();
  const requests = new Requests(random);
  const { target, terrain } = bench;
  const { places } = terrain;
  const grants = places.map(grantOf).filter((_, index) => index !== FOREIGN);
  const seen = new Map<Outcome, number>();
  for (let i = 0; i < PACKETS; i++) {
    const psn = random.chance(0.5) ? random.below(2 ** 24) : (2 ** 24 - 1 + random.below(2)) & 0xff_ffff;
    bench.begin(psn);
    const body = requests.rc(target, places);
    if (random.chance(0.75)) mutate(body, random, places);
    const waiting: Waiting = { qpn: target.qp.qpn, psn, mtu: target.mtuBytes, room: ROOM, grants };
    const due = outcomeOf(body.bytes, waiting);
    const found = bench.give(seal(target.in, [body.bytes], true, random).bytes);
    seen.set(due, (seen.get(due) ?? 0) + 1);
    if (found !== due || (i % 64 === 0 && !terrain.holds()))
      throw new Error(
        `seed ${seed}, packet ${i}: ${found} where ${due} was due: ${Buffer.from(body.bytes).toString('hex')}`,
      );
  }
  t.comment(`seed ${seed}: ${JSON.stringify(Object.fromEntries(seen))}`);
  t.equal(seen.size, 8, 'all that can become of a request');
});
