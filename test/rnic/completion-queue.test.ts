/** Completion queues: arming, overrun, resizing, who may destroy them. SPEC-CHECKLIST R-154 … R-160. */
import fc from 'fast-check';
import t from 'tap';
import { Errno, EventKind } from '../../rnic/commands.ts';
import type { CompletionQueue } from '../../rnic/completion-queue.ts';
import { AsyncEvent, QpState, QpType, WcStatus } from '../../rnic/constants.ts';
import { Arm } from '../../rnic/queue/layout.ts';
import type { Ring } from '../../rnic/queue/ring.ts';
import { TestEngine } from '../support/engine.ts';
import { openRing, readCompletion } from '../support/sim/work.ts';

/** A CQ of an engine, from both sides. */
function opened(cqe = 7) {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const { channel } = engine.execute({ op: 'createCompChannel' });
  const created = engine.execute({ op: 'createCq', cqe, channel, cookie: 77n });
  const qp = engine.createQp(QpType.UD, pd, created.cq);
  const inside = engine.rnic.qps.find(qp.qpn)!.recvCq as CompletionQueue;
  return { engine, pd, channel, cq: created.cq, qp, inside, ring: openRing(created.queue) };
}

let serial = 0;
const push = (cq: CompletionQueue, solicited = false, status: WcStatus = WcStatus.SUCCESS): boolean =>
  cq.push(++serial, 0, status, 128, 0, 0, 5, 6, 0, solicited, 0);
const told = (engine: TestEngine): number => engine.events().filter(({ kind }) => kind === EventKind.COMPLETION).length;

t.test('CQ: one event for the first completion after arming, and none before it is armed again', async (t) => {
  const { engine, inside, ring, cq, channel } = opened();
  push(inside);
  t.equal(told(engine), 0, 'not armed');
  ring.arm(Arm.NEXT);
  t.equal(told(engine), 0, 'what came before arming does not count');
  push(inside);
  push(inside);
  const events = engine.events();
  t.match(events, [{ kind: EventKind.COMPLETION, handle: cq, channel, cookie: 77n }]);
  t.equal(events.length, 1);
  t.equal(ring.armed(), Arm.NONE);
});

t.test('CQ: armed for solicited, it passes over others but not over errors', async (t) => {
  const { engine, inside, ring } = opened(31);
  for (const [solicited, status, events] of [
    [false, WcStatus.SUCCESS, 0],
    [true, WcStatus.SUCCESS, 1],
    [false, WcStatus.WR_FLUSH_ERR, 1],
    [false, WcStatus.LOC_LEN_ERR, 1],
  ] as const) {
    ring.arm(Arm.SOLICITED);
    push(inside, solicited, status);
    t.equal(told(engine), events, `solicited ${solicited}, status ${status}`);
  }
});

t.test('CQ: arming may be raised to any completion, never lowered', async (t) => {
  const { engine, inside, ring, cq } = opened();
  ring.arm(Arm.SOLICITED);
  ring.arm(Arm.NEXT);
  push(inside);
  t.equal(told(engine), 1, 'raised');
  engine.execute({ op: 'reqNotifyCq', cq, solicitedOnly: false });
  engine.execute({ op: 'reqNotifyCq', cq, solicitedOnly: true });
  push(inside);
  t.equal(told(engine), 1, 'not lowered');
});

t.test('CQ: without a channel nobody is told, and nothing is counted', async (t) => {
  const engine = new TestEngine();
  const { pd } = engine.execute({ op: 'allocPd' });
  const { cq, queue } = engine.execute({ op: 'createCq', cqe: 7 });
  const inside = engine.rnic.qps.find(engine.createQp(QpType.RC, pd, cq).qpn)!.sendCq as CompletionQueue;
  openRing(queue).arm(Arm.NEXT);
  push(inside);
  t.equal(told(engine), 0);
});

/** What an application that waits does; one step at a time, so that the engine may come between any two. */
class Waiter {
  polled = 0;
  isAsleep = false;
  readonly #ring: Ring;
  #next: 'drain' | 'arm' | 'look' = 'drain';

  constructor(ring: Ring) {
    this.#ring = ring;
  }

  step(): void {
    if (this.isAsleep) return;
    if (this.#next === 'arm') {
      this.#ring.arm(Arm.NEXT);
      this.#next = 'look';
    } else if (readCompletion(this.#ring) !== undefined) {
      this.polled++;
      this.#next = 'drain';
    } else if (this.#next === 'look') this.isAsleep = true;
    else this.#next = 'arm';
  }

  wake(): void {
    this.isAsleep = false;
    this.#next = 'drain';
  }
}

t.test('CQ: however polling, arming and completing are interleaved, no wake-up is lost', async (t) => {
  const property = fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (steps) => {
    const { engine, inside, ring } = opened(255);
    const waiter = new Waiter(ring);
    let pushed = 0;
    for (const isEngine of steps) {
      if (isEngine) {
        push(inside);
        pushed++;
      } else waiter.step();
      if (told(engine) > 0) waiter.wake();
    }
    // Left alone, it takes all there is before it sleeps; asleep, it has taken all.
    for (let i = 0; i < 1000 && !waiter.isAsleep; i++) waiter.step();
    return waiter.isAsleep && waiter.polled === pushed;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }));
});

t.test('CQ: overrun overwrites nothing, is told once, and ends every QP of the CQ and no other', async (t) => {
  const { engine, pd, cq, qp, ring, inside } = opened(3);
  const other = engine.execute({ op: 'createCq', cqe: 31 });
  const sends = engine.createQp(QpType.RC, pd, cq, other.cq);
  const receives = engine.createQp(QpType.UC, pd, other.cq, cq);
  const apart = engine.createQp(QpType.RC, pd, other.cq);
  for (const each of [qp, sends, receives, apart]) engine.moveTo(each, QpState.RTS);
  const pushes = [1, 2, 3, 4, 5].map(() => push(inside));
  t.same(pushes, [true, true, true, false, false]);
  t.equal(engine.rnic.pollTimeout(), 0, 'there is something to do at once');
  engine.turn();
  const stateOf = (each: { handle: number }) => engine.execute({ op: 'queryQp', qp: each.handle }).attributes.qpState;
  t.same([qp, sends, receives, apart].map(stateOf), [QpState.ERR, QpState.ERR, QpState.ERR, QpState.RTS]);
  const events = engine.events();
  t.equal(events.filter(({ code }) => code === AsyncEvent.CQ_ERR).length, 1);
  t.same(
    events
      .filter(({ code }) => code === AsyncEvent.QP_FATAL)
      .map(({ handle }) => handle)
      .sort(),
    [qp.handle, sends.handle, receives.handle].sort(),
  );
  t.equal(engine.rnic.counters.get('cq_overrun') >= 2, true);
  const first = serial - 4;
  t.same(
    [1, 2, 3].map(() => readCompletion(ring)?.wrId),
    [first, first + 1, first + 2],
    'what was there is there',
  );
  t.equal(push(inside), false, 'room does not bring it back');
});

t.test('CQ: an application that lies about its consumer index harms its own completions only', async (t) => {
  const { inside, ring } = opened(7);
  for (let lie = -20; lie < 20; lie++) {
    Atomics.store(new Int32Array(ring.memory.buffer), 256 >> 2, lie * 0x1234_5677);
    push(inside);
  }
  t.ok(ring.producer() <= 7);
});

t.test('CQ: resizing keeps completions in order, and the arming', async (t) => {
  const { engine, inside, cq, ring } = opened(7);
  for (let i = 0; i < 5; i++) push(inside);
  t.equal(readCompletion(ring)?.wrId, serial - 4);
  ring.arm(Arm.SOLICITED);
  t.equal(engine.refusal({ op: 'resizeCq', cq, cqe: 2 }).argument, 'cqe', 'four wait');
  t.equal(engine.queues.size, 3, 'the ring that was not needed is given back');
  const answer = engine.execute({ op: 'resizeCq', cq, cqe: 100 });
  t.equal(answer.cqe, 127);
  const larger = openRing(answer.queue);
  push(inside, true);
  t.equal(told(engine), 1);
  t.same(
    [0, 1, 2, 3, 4].map(() => readCompletion(larger)?.wrId),
    [0, 1, 2, 3, 4].map((i) => serial - 4 + i),
  );
  t.equal(engine.queues.size, 3);
});

t.test('CQ: it is not destroyed while a QP uses it, nor its channel while it lives', async (t) => {
  const { engine, cq, qp, channel } = opened();
  t.equal(engine.refusal({ op: 'destroyCq', cq }).errno, Errno.EBUSY);
  t.equal(engine.refusal({ op: 'destroyCompChannel', channel }).errno, Errno.EBUSY);
  engine.execute({ op: 'destroyQp', qp: qp.handle });
  engine.execute({ op: 'destroyCq', cq });
  engine.execute({ op: 'destroyCompChannel', channel });
  t.equal(engine.refusal({ op: 'destroyCq', cq }).argument, 'cq', 'its handle is stale');
});

t.test('CQ: destroying it answers how many events were told, not those that nobody heard', async (t) => {
  const { engine, inside, ring, cq, qp } = opened();
  ring.arm(Arm.NEXT);
  push(inside);
  t.equal(told(engine), 1);
  ring.arm(Arm.NEXT);
  push(inside);
  engine.execute({ op: 'destroyQp', qp: qp.handle });
  t.match(engine.execute({ op: 'destroyCq', cq }), { completionEvents: 1, asyncEvents: 0 });
  t.equal(engine.events().length, 0, 'nobody hears of it any more');
});

t.test('CQ: sizes, cookies and channels are checked; the answer says what it really holds', async (t) => {
  const engine = new TestEngine({ limits: { cqs: 2, cqDepth: 1000 } });
  for (const cqe of [0, -1, 1001, 1.5, Number.NaN]) {
    t.equal(engine.refusal({ op: 'createCq', cqe }).argument, 'cqe');
  }
  t.equal(engine.refusal({ op: 'createCq', cqe: 1, channel: 5 }).argument, 'channel');
  t.equal(engine.refusal({ op: 'createCq', cqe: 1, cookie: -1n }).argument, 'cookie');
  t.equal(engine.execute({ op: 'createCq', cqe: 1000 }).cqe, 1023);
  engine.execute({ op: 'createCq', cqe: 1 });
  t.equal(engine.refusal({ op: 'createCq', cqe: 1 }).errno, Errno.ENOMEM);
});

t.test('CQ: events that pile up unread are told in order, however many', async (t) => {
  const { engine, inside, ring } = opened(7);
  const many = 300_000;
  for (let i = 0; i < many; i++) {
    ring.arm(Arm.NEXT);
    push(inside);
    ring.publishConsumer(ring.producer());
  }
  const event = { kind: 0, context: 0, code: 0, handle: 0, channel: 0, cookie: 0n };
  for (let i = 0; i < many - 10; i++) engine.rnic.pollEvent(event);
  ring.arm(Arm.NEXT);
  push(inside);
  t.equal(told(engine), 11);
});
