/** Registering memory by command: what is refused, what is counted, what a failed command leaves. SPEC-CHECKLIST … R-178. */
import t from 'tap';
import { Errno } from '../../rnic/commands.ts';
import { Access, QpState, QpType, WrOpcode } from '../../rnic/constants.ts';
import { KeyVerdict } from '../../rnic/core.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { TestEngine } from '../support/engine.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;

function opened(limits = {}) {
  const engine = new TestEngine({ limits });
  const { pd } = engine.execute({ op: 'allocPd' });
  const memory = new SharedMemory(new SharedArrayBuffer(8192));
  const plain = { op: 'regMr', pd, memory, start: 0, length: 4096, iova: 0x10000n, access: LOCAL_WRITE } as const;
  return { engine, pd, memory, plain, regions: engine.rnic.regions };
}

t.test('regMr: every set of rights: writing from afar needs LOCAL_WRITE', async (t) => {
  const { engine, plain } = opened();
  for (let access = 0; access < 32; access++) {
    const result = engine.tryExecute({ ...plain, access });
    const needs = (access & (REMOTE_WRITE | REMOTE_ATOMIC)) !== 0;
    t.equal(result.ok, !needs || (access & LOCAL_WRITE) !== 0, `access ${access}`);
  }
});

t.test('regMr: bad ranges, rights, memories and PDs are refused by name', async (t) => {
  const { engine, plain } = opened();
  const argumentOf = (bad: object): string | undefined =>
    engine.refusal({ ...plain, ...bad } as unknown as typeof plain).argument;
  t.equal(argumentOf({ pd: 99 }), 'pd');
  for (const length of [-1, 1.5, Number.NaN, 2 ** 60, '4096', 8193]) t.equal(argumentOf({ length }), 'length');
  for (const start of [-1, 0.5, undefined]) t.equal(argumentOf({ start }), 'start');
  t.equal(argumentOf({ start: 8000 }), 'length', 'start and length together');
  for (const iova of [-1n, 2n ** 64n, 5, undefined]) t.equal(argumentOf({ iova }), 'iova');
  t.equal(argumentOf({ iova: 2n ** 64n - 4095n }), 'length', 'the address space ends');
  for (const access of [1 << 30, -1, 'x']) t.equal(argumentOf({ access }), 'access');
  for (const memory of [undefined, null, 7, {}]) t.equal(argumentOf({ memory }), 'memory');
  t.equal(engine.rnic.totals.mrs, 0);
  t.ok(engine.tryExecute({ ...plain, iova: 2n ** 64n - 4096n }).ok, 'up to the last address');
  t.ok(engine.tryExecute({ ...plain, length: 0 }).ok, 'an empty region is a region');
});

t.test('regMr: a zero-based region is addressed from 0', async (t) => {
  const { engine, plain, regions, pd } = opened();
  const { rKey } = engine.execute({ ...plain, access: ZERO_BASED | REMOTE_READ, start: 100 });
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const { pd: domain } = engine.rnic.qps.find(engine.createQp(QpType.RC, pd, cq).qpn)!;
  t.equal(regions.checkRemote(rKey, 0, 0, 4096, domain, 1, REMOTE_READ), KeyVerdict.ACCEPT);
  t.equal(regions.offset, 100);
  t.equal(regions.checkRemote(rKey, 0, 0x10000, 1, domain, 1, REMOTE_READ), KeyVerdict.OUT_OF_RANGE);
});

t.test('regMr: octets and regions are counted against their limits and given back exactly', async (t) => {
  const { engine, plain } = opened({ mrs: 3, registeredBytes: 10_000 });
  const first = engine.execute(plain);
  const second = engine.execute(plain);
  t.equal(engine.refusal(plain).errno, Errno.ENOMEM, 'octets');
  engine.execute({ ...plain, length: 10_000 - 8192 });
  t.match(engine.refusal({ ...plain, length: 0 }).reason, /memory regions/, 'regions');
  engine.execute({ op: 'deregMr', mr: first.mr });
  t.match(engine.refusal({ op: 'reregMr', mr: second.mr, flags: 1, ...range(plain, 8193) }).argument, 'length');
  engine.execute({ op: 'reregMr', mr: second.mr, flags: 1, ...range(plain, 8192) });
  t.equal(engine.rnic.totals.registeredBytes, 10_000);
});

function range({ memory, start, iova }: { memory: SharedMemory; start: number; iova: bigint }, length: number) {
  return { memory, start, iova, length };
}

t.test('reregMr: changes all that it names or nothing', async (t) => {
  const { engine, plain, memory, pd } = opened();
  const { pd: other } = engine.execute({ op: 'allocPd' });
  const { mr, lKey } = engine.execute({ ...plain, access: LOCAL_WRITE | REMOTE_READ });
  const refuses = (bad: object): string | undefined =>
    engine.refusal({
      op: 'reregMr',
      mr,
      flags: 7,
      pd: other,
      memory,
      start: 0,
      length: 10,
      iova: 0n,
      access: 1,
      ...bad,
    }).argument;
  t.equal(refuses({ flags: 0 }), 'flags');
  t.equal(refuses({ flags: 8 }), 'flags');
  t.equal(refuses({ pd: 77 }), 'pd');
  t.equal(refuses({ access: REMOTE_WRITE }), 'access');
  t.equal(refuses({ length: 9000 }), 'length');
  t.equal(engine.refusal({ op: 'deallocPd', pd }).errno, Errno.EBUSY, 'it is still where it was');
  engine.execute({ op: 'reregMr', mr, flags: 2, pd: other });
  engine.execute({ op: 'deallocPd', pd });
  const changed = engine.execute({ op: 'reregMr', mr, flags: 1, memory, start: 64, length: 128, iova: 0x5000n });
  t.equal(changed.lKey, lKey);
  t.equal(engine.rnic.totals.registeredBytes, 128);
  t.equal(engine.refusal({ op: 'deallocPd', pd: other }).errno, Errno.EBUSY);
  engine.execute({ op: 'deregMr', mr });
  engine.execute({ op: 'deallocPd', pd: other });
});

t.test('reregMr: a WRITE that is half done does not go on in the new place', async (t) => {
  const { engine, plain, memory, regions, pd } = opened();
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const { mr, rKey } = engine.execute({ ...plain, access: LOCAL_WRITE | REMOTE_WRITE });
  const created = engine.createQp(QpType.RC, pd, cq);
  const qp = engine.rnic.qps.find(created.qpn)!;
  t.equal(regions.checkRemote(rKey, 0, 0x10000, 4096, qp.pd, qp.qpn, REMOTE_WRITE), KeyVerdict.ACCEPT);
  const held = regions.found!;
  engine.execute({ op: 'reregMr', mr, flags: 1, memory, start: 4096, length: 16, iova: 0x10000n });
  t.equal(held.valid, false);
  t.equal(regions.checkRemote(rKey, 0, 0x10000, 17, qp.pd, qp.qpn, REMOTE_WRITE), KeyVerdict.OUT_OF_RANGE);
  t.equal(regions.checkRemote(rKey, 0, 0x10000, 16, qp.pd, qp.qpn, REMOTE_WRITE), KeyVerdict.ACCEPT);
  t.equal(regions.offset, 4096);
});

t.test('windows: a region with a bound window is neither deregistered nor changed; the window first', async (t) => {
  const { engine, plain, pd } = opened();
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const { mr, lKey } = engine.execute({ ...plain, access: LOCAL_WRITE | MW_BIND });
  const { mw, rKey } = engine.execute({ op: 'allocMw', pd, type: 2 });
  const qp = engine.createQp(QpType.RC, pd, cq);
  engine.moveTo(qp, QpState.RTS);
  const entry = engine.rnic.regions;
  const { pd: domain } = engine.rnic.qps.find(qp.qpn)!;
  t.equal(entry.bindWindow(domain, qp.qpn, 2, rKey, rKey + 1, lKey, 0, 0x10000, 100, REMOTE_READ), 0);
  t.equal(engine.refusal({ op: 'deregMr', mr }).errno, Errno.EBUSY);
  t.equal(engine.refusal({ op: 'reregMr', mr, flags: 4, access: 0 }).errno, Errno.EBUSY);
  engine.execute({ op: 'destroyQp', qp: qp.handle });
  t.equal(engine.refusal({ op: 'deregMr', mr }).errno, Errno.EBUSY, 'R-178: its QP may go, the window stays');
  engine.execute({ op: 'deallocMw', mw });
  engine.execute({ op: 'deregMr', mr });
});

t.test('allocMr: what REG_MR may give out ends where the memory does', async (t) => {
  const { engine, pd, memory } = opened();
  const { lKey } = engine.execute({ op: 'allocMr', pd, maxBytes: 8192, memory, start: 8000 });
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const { pd: domain } = engine.rnic.qps.find(engine.createQp(QpType.RC, pd, cq).qpn)!;
  t.equal(engine.rnic.regions.registerFast(domain, lKey, 1, 0, 0, 193, LOCAL_WRITE), 6);
  t.equal(engine.rnic.regions.registerFast(domain, lKey, 1, 0, 0, 192, LOCAL_WRITE), 0);
  for (const start of [-1, 0.5, 'x' as unknown as number]) {
    t.equal(engine.refusal({ op: 'allocMr', pd, maxBytes: 100, memory, start }).argument, 'start');
  }
  for (const maxBytes of [0, -1, 2 ** 50]) {
    t.equal(engine.refusal({ op: 'allocMr', pd, maxBytes, memory }).argument, 'maxBytes');
  }
});

t.test('PDs: none goes while anything lives in it', async (t) => {
  const { engine, plain, pd } = opened();
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const isBusy = (): void => {
    t.equal(engine.refusal({ op: 'deallocPd', pd }).errno, Errno.EBUSY);
  };
  const { mr } = engine.execute(plain);
  isBusy();
  engine.execute({ op: 'deregMr', mr });
  const { mw } = engine.execute({ op: 'allocMw', pd, type: 1 });
  isBusy();
  engine.execute({ op: 'deallocMw', mw });
  const { srq } = engine.execute({ op: 'createSrq', pd, maxWr: 4, maxSge: 1 });
  isBusy();
  engine.execute({ op: 'destroySrq', srq });
  const qp = engine.createQp(QpType.UD, pd, cq);
  isBusy();
  engine.execute({ op: 'destroyQp', qp: qp.handle });
  engine.execute({ op: 'deallocPd', pd });
  t.equal(engine.refusal({ op: 'deallocPd', pd }).argument, 'pd', 'its handle is stale');
});

t.test('LOCAL_INV: of a region that a command registered ends the QP, and the region stays', async (t) => {
  const { engine, plain, pd } = opened();
  const { cq } = engine.execute({ op: 'createCq', cqe: 7 });
  const { mr, rKey } = engine.execute(plain);
  const qp = engine.createQp(QpType.RC, pd, cq);
  engine.moveTo(qp, QpState.RTS);
  engine.postSend(qp, { wrId: 1, opcode: WrOpcode.LOCAL_INV, flags: 2, immediate: rKey });
  engine.turn();
  t.equal(engine.execute({ op: 'queryQp', qp: qp.handle }).attributes.qpState, QpState.ERR);
  t.equal(engine.rnic.regions.checkLocal(rKey, 0, 0x10000, 1, engine.rnic.qps.find(qp.qpn)!.pd, 0), KeyVerdict.ACCEPT);
  engine.execute({ op: 'deregMr', mr });
});
