/** modifyQp: which attributes each transition takes, for each type, and that a refused one changes nothing. SPEC-CHECKLIST §2.0, R-165 … R-168. */
import t from 'tap';
import { Errno } from '../../rnic/commands.ts';
import { QpAttr, QpState, QpType } from '../../rnic/constants.ts';
import { attributesFor, OURS, TestEngine, type TestQp, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';

type StateName = keyof typeof QpState;
const ABBREVIATIONS: Record<string, number> = {
  PKEY: QpAttr.PKEY_INDEX,
  ACCESS: QpAttr.ACCESS_FLAGS,
  ALT: QpAttr.ALT_PATH,
  MIG: QpAttr.PATH_MIG_STATE,
  MIN_RNR: QpAttr.MIN_RNR_TIMER,
  MAX_RD: QpAttr.MAX_QP_RD_ATOMIC,
  MAX_DEST_RD: QpAttr.MAX_DEST_RD_ATOMIC,
  NOTIFY: QpAttr.EN_SQD_ASYNC_NOTIFY,
};
const bitOf = (name: string): number => ABBREVIATIONS[name] ?? QpAttr[name as keyof typeof QpAttr];
const bits = (names: string): number[] => names.split(' ').filter(Boolean).map(bitOf);

/** The man page's table, typed a second time: from, to, required / optional. */
const TABLE: Record<'UD' | 'UC' | 'RC', string[]> = {
  UD: [
    'RESET INIT: PKEY PORT QKEY /',
    'INIT INIT: / PKEY PORT QKEY',
    'INIT RTR: / PKEY QKEY',
    'RTR RTS: SQ_PSN / CUR_STATE QKEY',
    'RTS RTS: / CUR_STATE QKEY',
    'RTS SQD: / NOTIFY',
    'SQD RTS: / CUR_STATE QKEY',
    'SQD SQD: / PKEY QKEY',
    'SQE RTS: / CUR_STATE QKEY',
  ],
  UC: [
    'RESET INIT: PKEY PORT ACCESS /',
    'INIT INIT: / PKEY PORT ACCESS',
    'INIT RTR: AV PATH_MTU DEST_QPN RQ_PSN / ALT ACCESS PKEY',
    'RTR RTS: SQ_PSN / CUR_STATE ALT ACCESS MIG',
    'RTS RTS: / CUR_STATE ACCESS ALT MIG',
    'RTS SQD: / NOTIFY',
    'SQD RTS: / CUR_STATE ALT ACCESS MIG',
    'SQD SQD: / AV ALT ACCESS PKEY MIG',
    'SQE RTS: / CUR_STATE ACCESS',
  ],
  RC: [
    'RESET INIT: PKEY PORT ACCESS /',
    'INIT INIT: / PKEY PORT ACCESS',
    'INIT RTR: AV PATH_MTU DEST_QPN RQ_PSN MAX_DEST_RD MIN_RNR / ALT ACCESS PKEY',
    'RTR RTS: SQ_PSN TIMEOUT RETRY_CNT RNR_RETRY MAX_RD / CUR_STATE ALT ACCESS MIN_RNR MIG',
    'RTS RTS: / CUR_STATE ACCESS ALT MIG MIN_RNR',
    'RTS SQD: / NOTIFY',
    'SQD RTS: / CUR_STATE ALT ACCESS MIN_RNR MIG',
    'SQD SQD: / PORT AV TIMEOUT RETRY_CNT RNR_RETRY MAX_RD MAX_DEST_RD ALT ACCESS PKEY MIN_RNR MIG',
  ],
};
const ATTRIBUTES = Object.values(QpAttr).filter((bit) => bit !== QpAttr.STATE);

/** Every union of some of these bits. */
function* subsets(of: readonly number[]): Generator<number> {
  for (let i = 0; i < 1 << of.length; i++) yield of.reduce((mask, bit, at) => ((i >> at) & 1 ? mask | bit : mask), 0);
}

class Bench {
  readonly engine = new TestEngine({ qpnCount: 1 << 20 });
  readonly #pd = this.engine.execute({ op: 'allocPd' }).pd;
  readonly #cq = this.engine.execute({ op: 'createCq', cqe: 15 }).cq;

  qpIn(type: QpType, state: QpState): TestQp {
    const qp = this.engine.createQp(type, this.#pd, this.#cq);
    this.engine.moveTo(qp, state === QpState.SQE ? QpState.RTS : state);
    if (state !== QpState.SQE) return qp;
    this.engine.postSend(qp, { wrId: 1, opcode: 4, flags: 0 });
    this.engine.turn();
    return qp;
  }

  query(qp: TestQp) {
    return this.engine.execute({ op: 'queryQp', qp: qp.handle }).attributes;
  }

  modify(qp: TestQp, from: QpState, to: QpState, mask: number) {
    const attributes = { ...attributesFor(to), curQpState: from };
    return this.engine.tryExecute({
      op: 'modifyQp',
      qp: qp.handle,
      mask: mask | QpAttr.STATE,
      attributes,
      path: pathBetween(OURS, THEIRS),
    });
  }

  destroy(qp: TestQp): void {
    this.engine.execute({ op: 'destroyQp', qp: qp.handle });
  }
}

interface Row {
  readonly type: QpType;
  readonly from: QpState;
  readonly to: QpState;
  readonly required: number[];
  readonly optional: number[];
}

const ROWS: Row[] = Object.entries(TABLE).flatMap(([type, rows]) =>
  rows.map((row) => {
    const [states = '', attributes = ''] = row.split(':');
    const [from, to] = states.split(' ').map((name) => QpState[name as StateName]) as [QpState, QpState];
    const [required = '', optional = ''] = attributes.split('/');
    return { type: QpType[type as 'RC'], from, to, required: bits(required), optional: bits(optional) };
  }),
);
const titleOf = ({ type, from, to }: Row): string => {
  const state = (value: number) => Object.keys(QpState)[value];
  return `${Object.keys(QpType).find((name) => QpType[name as 'RC'] === type)} ${state(from)} → ${state(to)}`;
};

/** What is not as the table has it, of every subset of the row's attributes. */
function wrongSubsets(bench: Bench, row: Row): string[] {
  const all = row.required.reduce((mask, bit) => mask | bit, 0);
  const wrong: string[] = [];
  let qp = bench.qpIn(row.type, row.from);
  let before = bench.query(qp);
  for (const mask of subsets([...row.required, ...row.optional])) {
    const result = bench.modify(qp, row.from, row.to, mask);
    const isWhole = (mask & all) === all;
    if (result.ok !== isWhole) wrong.push(`0x${mask.toString(16)} was ${result.ok ? 'taken' : 'refused'}`);
    if (!result.ok && JSON.stringify(before) !== JSON.stringify(bench.query(qp)))
      wrong.push('a refusal changed the QP');
    if (!result.ok) continue;
    if (bench.query(qp).qpState !== row.to) wrong.push('the state is not what was asked for');
    bench.destroy(qp);
    qp = bench.qpIn(row.type, row.from);
    before = bench.query(qp);
    // Numbers rest for ten seconds.
    bench.engine.now += 1e6;
  }
  bench.destroy(qp);
  return wrong;
}

/** What is not refused, of every attribute that the row does not name. */
function wrongExtras(bench: Bench, row: Row): string[] {
  const required = row.required.reduce((mask, bit) => mask | bit, 0);
  const qp = bench.qpIn(row.type, row.from);
  const before = JSON.stringify(bench.query(qp));
  const wrong: string[] = [];
  for (const bit of ATTRIBUTES.filter((bit) => !row.required.includes(bit) && !row.optional.includes(bit))) {
    const result = bench.modify(qp, row.from, row.to, required | bit);
    if (result.ok || result.errno !== Errno.EINVAL) wrong.push(`0x${bit.toString(16)} was taken`);
  }
  if (JSON.stringify(bench.query(qp)) !== before) wrong.push('a refusal changed the QP');
  bench.destroy(qp);
  return wrong;
}

for (const row of ROWS) {
  t.test(`modifyQp: ${titleOf(row)} takes what it needs and what it may have, and nothing else`, async (t) => {
    const bench = new Bench();
    t.strictSame(wrongSubsets(bench, row), []);
    t.strictSame(wrongExtras(bench, row), []);
  });
}

t.test('modifyQp: transitions that are in no table are refused and change nothing', async (t) => {
  const bench = new Bench();
  const every = ATTRIBUTES.reduce((mask, bit) => mask | bit, 0);
  for (const type of [QpType.RC, QpType.UC, QpType.UD]) {
    for (const from of Object.values(QpState).filter((state) => type !== QpType.RC || state !== QpState.SQE)) {
      for (const to of Object.values(QpState)) {
        if (to === QpState.RESET || (to === QpState.ERR && from !== QpState.RESET)) continue;
        if (ROWS.some((row) => row.type === type && row.from === from && row.to === to)) continue;
        const qp = bench.qpIn(type, from);
        const before = JSON.stringify(bench.query(qp));
        for (const mask of [0, QpAttr.CUR_STATE, every]) {
          if (bench.modify(qp, from, to, mask).ok) t.fail(`type ${type}: ${from} → ${to} was taken`);
        }
        if (JSON.stringify(bench.query(qp)) !== before) t.fail(`type ${type}: ${from} → ${to} changed the QP`);
        bench.destroy(qp);
      }
    }
  }
});

t.test('modifyQp: every state goes to RESET, and every one but RESET to ERR', async (t) => {
  const bench = new Bench();
  for (const type of [QpType.RC, QpType.UC, QpType.UD]) {
    for (const from of Object.values(QpState).filter((state) => type !== QpType.RC || state !== QpState.SQE)) {
      for (const to of [QpState.ERR, QpState.RESET]) {
        const qp = bench.qpIn(type, from);
        const isAllowed = to === QpState.RESET || from !== QpState.RESET;
        if (bench.modify(qp, from, to, 0).ok !== isAllowed) t.fail(`type ${type}: ${from} → ${to}`);
        bench.destroy(qp);
      }
    }
  }
});

t.test('modifyQp: a QP that was reset connects again as a new one does', async (t) => {
  const bench = new Bench();
  for (const type of [QpType.RC, QpType.UC, QpType.UD]) {
    const qp = bench.qpIn(type, QpState.RTS);
    bench.engine.postSend(qp, { wrId: 1, opcode: 2, flags: 2 });
    t.ok(bench.modify(qp, QpState.RTS, QpState.RESET, 0).ok);
    t.equal(bench.query(qp).av, undefined, 'whom it talked to is forgotten');
    t.equal(qp.sq.count(), 0, 'and so is what was posted');
    bench.engine.moveTo(qp, QpState.RTS);
    t.equal(bench.query(qp).qpState, QpState.RTS);
  }
});

t.test('modifyQp: values out of range are refused by name', async (t) => {
  const bench = new Bench();
  const cases: [keyof ReturnType<typeof attributesFor>, number, unknown[]][] = [
    ['timeout', QpAttr.TIMEOUT, [32, -1, 1.5, 'x', undefined]],
    ['retryCnt', QpAttr.RETRY_CNT, [8, -1]],
    ['rnrRetry', QpAttr.RNR_RETRY, [8, null]],
    ['minRnrTimer', QpAttr.MIN_RNR_TIMER, [32]],
    ['portNum', QpAttr.PORT, [0, 2]],
    ['pKeyIndex', QpAttr.PKEY_INDEX, [1]],
    ['maxRdAtomic', QpAttr.MAX_QP_RD_ATOMIC, [129, -1]],
    ['maxDestRdAtomic', QpAttr.MAX_DEST_RD_ATOMIC, [129, 2 ** 40]],
    ['av', QpAttr.AV, [undefined, 7, { ...attributesFor(0).av, sgidIndex: 1 }, { sgidIndex: 'length' }]],
  ];
  const qp = bench.qpIn(QpType.RC, QpState.SQD);
  const before = JSON.stringify(bench.query(qp));
  for (const [member, bit, values] of cases) {
    for (const value of values) {
      const attributes = { ...attributesFor(QpState.SQD), [member]: value };
      const mask = bit | QpAttr.STATE;
      const refusal = bench.engine.refusal({
        op: 'modifyQp',
        qp: qp.handle,
        mask,
        attributes,
        path: pathBetween(1, 2),
      });
      t.equal(refusal.argument?.split('.')[0], member, `${member} = ${JSON.stringify(value)}`);
    }
  }
  t.equal(JSON.stringify(bench.query(qp)), before);
});

t.test(
  'modifyQp: refuses a path MTU that the port does not carry, an unresolved address, a wrong CUR_STATE',
  async (t) => {
    const engine = new TestEngine({ mtu: 1500 });
    const { pd } = engine.execute({ op: 'allocPd' });
    const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
    const qp = engine.createQp(QpType.UC, pd, cq);
    engine.moveTo(qp, QpState.INIT);
    const { STATE, AV, PATH_MTU, DEST_QPN, RQ_PSN } = QpAttr;
    const toRtr = { op: 'modifyQp', qp: qp.handle, mask: STATE | AV | PATH_MTU | DEST_QPN | RQ_PSN } as const;
    const attributes = attributesFor(QpState.RTR);
    const path = pathBetween(OURS, THEIRS);
    t.equal(engine.refusal({ ...toRtr, attributes: { ...attributes, pathMtu: 4 }, path }).argument, 'pathMtu');
    t.equal(engine.refusal({ ...toRtr, attributes }).argument, 'av');
    engine.execute({ ...toRtr, attributes, path });
    const mask = STATE | QpAttr.SQ_PSN | QpAttr.CUR_STATE;
    const lie = { ...attributesFor(QpState.RTS), curQpState: QpState.RTS };
    t.equal(engine.refusal({ op: 'modifyQp', qp: qp.handle, mask, attributes: lie }).argument, 'curQpState');
  },
);

t.test('modifyQp: a controlled Q_Key needs a privilege that no application has', async (t) => {
  const bench = new Bench();
  const qp = bench.qpIn(QpType.UD, QpState.INIT);
  const attributes = { ...attributesFor(QpState.INIT), qKey: 0x8001_0000 };
  const mask = QpAttr.STATE | QpAttr.QKEY;
  const { errno, argument } = bench.engine.refusal({ op: 'modifyQp', qp: qp.handle, mask, attributes });
  t.equal(errno, Errno.EPERM);
  t.equal(argument, 'qKey');
});

t.test('modifyQp: PSNs keep 24 bits', async (t) => {
  const bench = new Bench();
  const qp = bench.qpIn(QpType.UC, QpState.RTR);
  const attributes = { ...attributesFor(QpState.RTS), sqPsn: 0xffff_fffe };
  bench.engine.execute({ op: 'modifyQp', qp: qp.handle, mask: QpAttr.STATE | QpAttr.SQ_PSN, attributes });
  t.equal(bench.query(qp).sqPsn, 0xff_fffe);
});
