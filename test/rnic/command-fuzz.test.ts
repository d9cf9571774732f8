/** Any commands in any order with any arguments, any packets, any octets in the queues: nothing throws, and closing the device leaves nothing. SPEC-CHECKLIST T-24, T-35, T-40. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import type { Command } from '../../rnic/commands.ts';
import { QpState, QpType } from '../../rnic/constants.ts';
import { HANDLERS } from '../../rnic/control/handlers.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { heldIn, newCells, TenantQuota } from '../../vswitch/quota.ts';
import { AV, attributesFor, CAP, newPage, OURS, stepsTo, TestEngine, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';

const LIMITS = { contexts: 4, pds: 6, qps: 8, cqs: 6, srqs: 3, mrs: 6, mws: 4, ahs: 4, channels: 3, asyncEvents: 4 };
const NOTHING = Object.fromEntries(
  ['pds', 'mrs', 'mws', 'channels', 'cqs', 'srqs', 'qps', 'ahs', 'registeredBytes'].map((n) => [n, 0]),
);
const MEMORY = new SharedMemory(new SharedArrayBuffer(4096));
const PATH = pathBetween(OURS, THEIRS);

/** How long ago a handle was given out, 0 the last (see `Names`); and what is none. */
const handle = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 0, max: 5 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(-1, 0.5, Number.NaN, 2 ** 32, '0', null, undefined, {}, 1n, '__proto__'),
  },
) as fc.Arbitrary<number>;
const anything = fc.oneof(
  fc.constantFrom<unknown>(0, 1, 2, 3, 7, 255, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 53, 0n, 2n ** 64n, null, undefined),
  fc.constantFrom<unknown>('', 'length', '__proto__', true, {}, [], Symbol.iterator, MEMORY, PATH, AV, CAP),
);
const oneOf = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const type = oneOf(QpType.RC, QpType.UC, QpType.UD, QpType.GSI);
const gid = fc.integer({ min: 0, max: 2 }).map((n) => Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xff : n)));

const steps = fc
  .tuple(type, oneOf(...Object.values(QpState)), fc.integer({ min: 0, max: 2 ** 21 }), fc.boolean())
  .map(([qpType, to, mask, good]) => (good ? masks(qpType, to) : mask) | 1);

/** What the way to a state takes. */
function masks(qpType: QpType, to: QpState): number {
  return stepsTo(qpType, to).at(-1)?.[1] ?? 0;
}

/** What an application has before anything odd happens. */
const BASE: readonly Record<string, unknown>[] = [
  { op: 'allocPd' },
  { op: 'createCq', cqe: 7 },
  ...[QpType.UD, QpType.UC, QpType.RC].flatMap((qpType) => [
    { op: 'createQp', pd: 0, type: qpType, sendCq: 0, recvCq: 0, cap: CAP, sqSigAll: true },
    ...[QpState.INIT, QpState.RTR, QpState.RTS].map((to) => ({
      op: 'modifyQp',
      qp: 0,
      mask: masks(qpType, to) | 1,
      attributes: attributesFor(to),
      path: PATH,
    })),
  ]),
];

/** Commands that are mostly right. */
const usual = fc.oneof(
  fc.record({ op: oneOf('queryDevice', 'allocPd', 'createCompChannel') }),
  fc.record({ op: oneOf('deallocPd'), pd: handle }),
  fc.record({ op: oneOf('queryPort', 'queryGid'), portNum: oneOf(1, 1, 2), index: anything }),
  fc.record({
    op: oneOf('regMr'),
    pd: handle,
    memory: oneOf(MEMORY),
    start: oneOf(0, 8),
    length: oneOf(0, 100, 4096),
    iova: oneOf(0n, 2n ** 63n),
    access: fc.nat(63),
  }),
  fc.record({
    op: oneOf('reregMr'),
    mr: handle,
    flags: fc.nat(8),
    pd: handle,
    memory: oneOf(MEMORY),
    start: oneOf(0),
    length: oneOf(64),
    iova: oneOf(0n),
    access: fc.nat(31),
  }),
  fc.record({ op: oneOf('allocMr'), pd: handle, maxBytes: oneOf(64, 0), memory: oneOf(MEMORY, undefined) }),
  fc.record({ op: oneOf('allocMw'), pd: handle, type: oneOf(1, 2, 3) }),
  fc.record({
    op: oneOf('deregMr', 'deallocMw', 'destroyAh', 'destroySrq', 'querySrq'),
    mr: handle,
    mw: handle,
    ah: handle,
    srq: handle,
  }),
  fc.record({
    op: oneOf('createCq'),
    cqe: oneOf(1, 3, 15),
    channel: oneOf<unknown>(undefined, undefined, 0, 1),
    cookie: oneOf(5n),
  }),
  fc.record({ op: oneOf('resizeCq'), cq: handle, cqe: oneOf(1, 7, 31) }),
  fc.record({
    op: oneOf('reqNotifyCq', 'destroyCq', 'destroyCompChannel'),
    cq: handle,
    channel: handle,
    solicitedOnly: fc.boolean(),
  }),
  fc.record({ op: oneOf('createSrq'), pd: handle, maxWr: oneOf(1, 7), maxSge: oneOf(1, 2), srqLimit: oneOf(0, 1, 9) }),
  fc.record({
    op: oneOf('modifySrq'),
    srq: handle,
    attributes: oneOf<unknown>({ maxWr: 15 }, { srqLimit: 1 }, null, 7),
  }),
  fc.record({
    op: oneOf('createQp'),
    pd: handle,
    type,
    sendCq: handle,
    recvCq: handle,
    srq: oneOf<unknown>(undefined, undefined, 0),
    cap: oneOf<unknown>(CAP, CAP, null, 5),
    sqSigAll: fc.boolean(),
  }),
  fc.record({
    op: oneOf('modifyQp'),
    qp: handle,
    mask: steps,
    attributes: oneOf(...Object.values(QpState)).map(attributesFor),
    path: oneOf(PATH, PATH, undefined),
  }),
  fc.record({ op: oneOf('queryQp', 'destroyQp'), qp: handle }),
  fc.record({
    op: oneOf('createAh'),
    pd: handle,
    av: oneOf<unknown>(AV, { sgidIndex: 'length' }, 3),
    path: oneOf(PATH, undefined),
  }),
  fc.record({ op: oneOf('attachMcast', 'detachMcast'), qp: handle, gid }),
) as fc.Arbitrary<Record<string, unknown>>;

/** Commands with a member or two replaced by anything; and what is no command. */
const hostile = fc.oneof(
  fc
    .tuple(usual, fc.nat(9), anything)
    .map(([command, at, value]) => ({ ...command, [Object.keys(command)[at % Object.keys(command).length]!]: value })),
  fc.record({ op: fc.oneof(oneOf('toString', '__proto__', 'constructor', ''), anything) }),
  fc.record({ op: oneOf(...Object.keys(HANDLERS)) }),
  anything,
);

/** Random octets in a queue, its indices and a doorbell. */
const scribble = fc.record({
  queue: fc.nat(20),
  at: fc.nat(2000),
  value: fc.integer(),
  slot: fc.nat(31),
  page: fc.nat(17),
});

type Step =
  | { command: unknown }
  | { scribble: { queue: number; at: number; value: number; slot: number; page: number } }
  | { advance: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ command: usual }) },
  { weight: 4, arbitrary: fc.record({ command: hostile }) },
  { weight: 4, arbitrary: fc.record({ scribble }) },
  { weight: 1, arbitrary: fc.record({ advance: oneOf(10, 10_000, 11e6) }) },
);

const KIND: Record<string, string> = { sendCq: 'cq', recvCq: 'cq' };

/** The handles that an application was given, and those it gave back: commands name them by how long ago. */
class Names {
  readonly #given: Record<string, number[]> = {};

  resolve(command: unknown): unknown {
    if (typeof command !== 'object' || command === null || !('op' in command)) return command;
    return Object.fromEntries(Object.entries(command).map(([member, value]) => [member, this.#find(member, value)]));
  }

  note(answer: object): void {
    for (const kind of ['pd', 'mr', 'mw', 'channel', 'cq', 'srq', 'qp', 'ah']) {
      const value = (answer as Record<string, unknown>)[kind];
      if (typeof value !== 'number') continue;
      this.#given[kind] ??= [];
      this.#given[kind].unshift(value);
    }
  }

  #find(member: string, value: unknown): unknown {
    const given = this.#given[KIND[member] ?? member];
    return given && typeof value === 'number' ? (given[value] ?? value) : value;
  }
}

function run(engine: TestEngine, context: number, names: Names, { ...it }: Step): void {
  if ('command' in it) {
    const result = engine.tryExecute(names.resolve(it.command) as Command, context);
    if (result.ok) names.note(result);
    if (!result.ok && !(result.errno > 0 && result.reason.length > 0)) throw new Error('a refusal that says nothing');
    return;
  }
  if ('scribble' in it) {
    const { queue, at, value, slot, page } = it.scribble;
    const memory = [...engine.queues][queue];
    if (memory) new DataView(memory).setInt32(Math.min(at, memory.byteLength - 4) & ~3, value, true);
    if (memory && value % 3 === 0) new DataView(memory).setInt32(128, value, true);
    if (value % 5 === 0) engine.page.words[page % engine.page.words.length] = value;
    engine.page.ring(slot);
    return;
  }
  engine.turn(it.advance);
}

t.test('commands: whatever is asked in whatever order, none throws and closing leaves nothing', async (t) => {
  const property = fc.property(fc.array(step, { maxLength: 120 }), fc.boolean(), (all, isFull) => {
    const account = { all: newCells(), own: newCells() };
    const shared = new TenantQuota('tenant blue', account);
    shared.quotas = { qps: 7, cqs: 5, mrs: 5, pinnedBytes: 1000 };
    const engine = new TestEngine({ limits: LIMITS, shared, slots: 32, qpnCount: 64, queues: isFull ? 9 : 1000 });
    const other = engine.rnic.openContext(newPage(32));
    const names = new Names();
    for (const command of BASE) run(engine, engine.context, names, { command });
    for (const [i, each] of all.entries()) run(engine, i % 8 === 7 ? other : engine.context, names, each);
    engine.turn();
    const { qps, cqs, mrs, registeredBytes: pinnedBytes } = engine.rnic.totals;
    for (const cells of [account.all, account.own])
      if (!isDeepStrictEqual(heldIn(cells), { qps, cqs, mrs, pinnedBytes })) throw new Error('what is held is not');
    engine.rnic.closeContext(engine.context, engine.now);
    engine.rnic.closeContext(other, engine.now);
    const { rnic, queues } = engine;
    if (JSON.stringify(rnic.totals) !== JSON.stringify(NOTHING)) throw new Error(JSON.stringify(rnic.totals));
    for (const cells of [account.all, account.own])
      if (new BigInt64Array(cells).some((held) => held !== 0n)) throw new Error('something is held for ever');
    const left = [queues.size, rnic.regions.size, rnic.qps.size, rnic.groups.size, rnic.reorderPool.held];
    if (left.some((count) => count !== 0)) throw new Error(`left: ${left}`);
    if (engine.events().length !== 0) throw new Error('an event of an application that has gone');
    engine.turn();
    if (rnic.pollTimeout() !== Number.POSITIVE_INFINITY && rnic.pollTimeout() < engine.now)
      throw new Error('a timer of nobody');
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: Number(process.env.FUZZ_RUNS ?? 1000) }));
});

t.test('commands: the fuzz sends each with success, or it would prove little', async (t) => {
  const engine = new TestEngine({ limits: LIMITS, qpnCount: 64 });
  const names = new Names();
  const seen = new Set<string>();
  for (const command of [...BASE, ...fc.sample(usual, { numRuns: 6000, seed: 1 })]) {
    const result = engine.tryExecute(names.resolve(command) as Command);
    engine.now += 1e6;
    if (!result.ok) continue;
    seen.add(String((command as { op?: unknown }).op));
    names.note(result);
  }
  t.strictSame(
    Object.keys(HANDLERS).filter((op) => !seen.has(op)),
    [],
  );
});
