/** What a receive queue of a UC or UD QP holds, told from what arrives: which WQE is in hand, what completes, and what is dropped under which name. */
import { WcFlag, WcStatus } from '../../../rnic/constants.ts';
import type { CounterName } from '../../../rnic/counters.ts';
import type { Ring } from '../../../rnic/queue/ring.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp } from './host.ts';
import type { Receives } from './receives.ts';
import { type Completion, readCompletion } from './work.ts';

/** A completion that is due. */
export interface Due {
  readonly opcode: number;
  readonly byteLen: number;
  readonly immediate: number | null;
  readonly srcQp: number;
  /** Flags besides WITH_IMM. */
  readonly flags: number;
  /** Looks at the buffer that was filled, at an octet of the host's memory. */
  readonly check: (at: number) => void;
}

/** What a host must have counted. */
export class Tallies {
  readonly #counts = new Map<CounterName, number>();

  constructor(names: readonly CounterName[]) {
    for (const name of names) this.#counts.set(name, 0);
  }

  add(name: CounterName): void {
    this.#counts.set(name, this.#counts.get(name)! + 1);
  }

  check(host: SimHost): void {
    for (const [name, count] of this.#counts) {
      const counted = host.rnic.counters.get(name);
      if (counted !== count) throw new Broken(`${name} is ${counted}, and ${count} were`);
    }
  }
}

/** How many WQEs a queue holds, told before the engine takes those that one packet needs: with an SRQ each member of a group takes its own. */
export class Level {
  readonly #ring: () => Ring;
  #taken = 0;

  constructor(ring: () => Ring) {
    this.#ring = ring;
  }

  /** Another packet arrives: the engine has taken what the one before needed. */
  begin(): void {
    this.#taken = 0;
  }

  take(): boolean {
    if (this.#ring().count() === this.#taken) return false;
    this.#taken++;
    return true;
  }
}

export class ArrivalsModel {
  readonly qp: SimQp;
  readonly level: Level;
  readonly receives: Receives;
  readonly tallies: Tallies;
  #hasWqe = false;
  #due: Due[] = [];

  constructor(qp: SimQp, level: Level, receives: Receives, tallies: Tallies) {
    this.qp = qp;
    this.level = level;
    this.receives = receives;
    this.tallies = tallies;
  }

  /** Takes a WQE for a message, if none is in hand. False when there is none. */
  take(): boolean {
    this.#hasWqe ||= this.level.take();
    if (!this.#hasWqe) this.tallies.add('out_of_buffer');
    return this.#hasWqe;
  }

  complete(due: Due): void {
    this.#hasWqe = false;
    this.#due.push(due);
  }

  poll(): void {
    const due = this.#due;
    this.#due = [];
    for (const next of due) checkCompletion(readCompletion(this.qp.recvCq), next, this);
    const extra = readCompletion(this.qp.recvCq);
    if (extra !== undefined) throw new Broken(`a receive completion ${JSON.stringify(extra)} that was not due`);
  }
}

function checkCompletion(got: Completion | undefined, due: Due, { qp, receives }: ArrivalsModel): void {
  const { check, ...values } = due;
  if (got === undefined) throw new Broken(`${JSON.stringify(values)} was due and did not come`);
  const { immediate, flags } = due;
  const same =
    got.status === WcStatus.SUCCESS &&
    got.opcode === due.opcode &&
    got.byteLen === due.byteLen &&
    got.qpNum === qp.qpNum &&
    got.srcQp === due.srcQp &&
    got.wcFlags === (flags | (immediate === null ? 0 : WcFlag.WITH_IMM)) &&
    (immediate === null || got.immediate === immediate);
  if (!same) throw new Broken(`${JSON.stringify(got)} where ${JSON.stringify(values)} was due`);
  check(receives.complete(got.wrId));
}
