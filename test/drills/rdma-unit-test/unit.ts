/**
 * What the cases of google/rdma-unit-test begin with: two QPs of one vRNIC connected to each other, a region for each. The names are theirs, so that results can
 * be laid side by side (docs/spec/rdma-unit-test.md); the cases are written anew.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../../support/root.ts';
import type { SgeValue } from '../../support/sim/work.ts';
import { readCompletion } from '../../support/sim/work.ts';
import { Drill, type DrillOptions, type DrillQp } from '../language/drill.ts';
import type { DrillMemory } from '../language/memory.ts';
import { type StateName, type StatusName, statusName } from '../language/names.ts';
import type { Work } from '../language/post.ts';
import type { QpOptions, TypeName } from '../language/qp.ts';

export const SRC = 0x20_0000;
export const DST = 0x40_0000;
export const BYTES = 4096;
export const WRONG_KEY = 0x1357_9bdf;

export interface UnitOptions extends DrillOptions {
  readonly type?: TypeName;
  readonly local?: QpOptions;
  readonly remote?: QpOptions;
}

/** What a case expects in the end; what is left out is not looked at. */
export interface Outcome {
  readonly local?: readonly StatusName[];
  readonly remote?: readonly StatusName[];
  readonly states?: readonly [StateName, StateName];
}

export class Unit {
  readonly d: Drill;
  readonly local: DrillQp;
  readonly remote: DrillQp;
  readonly src: DrillMemory;
  readonly dst: DrillMemory;

  constructor(d: Drill, { type = 'rc', local = {}, remote = {} }: UnitOptions) {
    this.d = d;
    this.src = d.region({ address: SRC, bytes: BYTES });
    this.dst = d.region({ address: DST, bytes: BYTES });
    [this.local, this.remote] = d.pair(type, { mtu: 1024, ...local }, { mtu: 1024, ...remote });
  }

  /** Octets of the local buffer, and of the remote one. */
  from(length = 64, offset = 0, lKey = this.src.key): SgeValue {
    return { address: SRC + offset, length, lKey };
  }

  into(length = 64, offset = 0, lKey = this.dst.key): SgeValue {
    return { address: DST + offset, length, lKey };
  }

  /** A work request on the local buffer that reaches the remote one. */
  work(more: Work = {}): Work {
    return { sges: [this.from()], to: DST, rKey: this.dst.key, ...more };
  }

  /** An atomic on the remote buffer's first word. */
  atomic(more: Work = {}): Work {
    const add = more.compare === undefined ? { add: 1n } : {};
    return this.work({ sges: [this.from(8)], ...add, ...more });
  }

  /** The remote side posts a receive buffer. */
  recv(work: Work = { sges: [this.into()] }): number {
    this.d.use(this.remote);
    const wrId = this.d.post.recv(work);
    this.d.use(this.local);
    return wrId;
  }

  /** Lets everything happen that will, and looks at what came of it. */
  ends({ local, remote, states }: Outcome): void {
    const { d } = this;
    d.advance('2s');
    d.events();
    if (local !== undefined) d.expect.that(statusesOf(this.local), local, 'local completions');
    if (remote !== undefined) d.expect.that(statusesOf(this.remote), remote, 'remote completions');
    if (states !== undefined) d.expect.that(this.states(), states, 'states');
  }

  states(): [StateName, StateName] {
    this.d.use(this.remote);
    const remote = this.d.state();
    this.d.use(this.local);
    return [this.d.state(), remote];
  }

  statuses(qp: DrillQp): StatusName[] {
    return statusesOf(qp);
  }

  srcUntouched(): void {
    this.d.expect.that(this.src.isUntouched, true, 'local buffer is as it was');
  }

  dstUntouched(): void {
    this.d.expect.that(this.dst.isUntouched, true, 'remote buffer is as it was');
  }

  /** The remote buffer begins with the local buffer's octets; or the other way round after a READ. */
  copied(bytes = 64): void {
    this.d.expect.that(this.dst.octets(DST, bytes), this.src.octets(SRC, bytes), 'octets');
  }
}

export function statusesOf(qp: DrillQp): StatusName[] {
  const found: StatusName[] = [];
  for (const { ring } of new Set([qp.sendCq, qp.recvCq]))
    for (let next = readCompletion(ring); next; next = readCompletion(ring)) found.push(statusName(next.status));
  return found;
}

const RUN = new Set<string>();

/** One case, by its name there and what it varies: `Suite.Name/parameter`. */
export function unit(name: string, script: (u: Unit) => void, options: UnitOptions = {}): void {
  ran(name);
  t.test(name, (t) => {
    const d = new Drill(t, { loopback: true, ...options });
    script(new Unit(d, options));
    d.end();
    t.end();
  });
}

/** Notes that a case is here. */
export function ran(name: string): void {
  RUN.add(name.split('/')[0]!);
}

/** At the end of each file: docs/spec/rdma-unit-test.md says of the same cases that they are in it. */
export function listed(file: string): void {
  t.test(`rdma-unit-test: the table lists the cases of ${file}.test.ts, and no others`, async (t) => {
    const page = readFileSync(join(ROOT, 'docs/spec/rdma-unit-test.md'), 'utf8');
    const rows = page.split('\n').filter((line) => line.includes(`/${file}.test.ts)`));
    const names = rows.flatMap((row) => [...row.matchAll(/`(\w+\.\w+)`/g)].map(([, name]) => name!));
    t.strictSame(names.sort(), [...RUN].sort());
  });
}
