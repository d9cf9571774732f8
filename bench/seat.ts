/** Pairs of vRNICs in one thread, joined by memory, which breathe in turns as those of a worker do, without threads that wait for a core. */
import type { Result } from '../rnic/commands.ts';
import {
  Access,
  Context,
  type Cq,
  type Mr,
  newMemoryPair,
  type Pd,
  type Qp,
  QpType,
  WorkCompletion,
} from '../verbs/index.ts';
import { clock } from '../workers/clock.ts';
import type { LinkCommand } from '../workers/device-link.ts';
import { ENGINE_PARTS } from '../workers/engine-parts.ts';
import { toGid } from '../workers/linux/netdev.ts';
import { PolledLink } from '../workers/polled-link.ts';
import type { FaultOptions } from '../workers/ports/faulty.ts';
import { Turns } from '../workers/turns.ts';
import { openVrnic, type Vrnic } from '../workers/vrnic.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';

export const REGION_BYTES = 1 << 20;
const CQ_ENTRIES = 4096;
const BATCH = 64;
const PSN = 1;
const GIDS = ['10.0.0.1', '10.0.0.2'].map(toGid);
export const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
/** An RNR timer of 10 µs, so that who has no receive is asked again at once. */
const MIN_RNR_TIMER = 1;

export type Pair = readonly [Seat, Seat];

/** One vRNIC, its region and its CQ. */
export class Seat {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly gid: Uint8Array;
  /** Work that has completed, well or not. */
  done = 0;
  readonly #found = Array.from({ length: BATCH }, () => new WorkCompletion());

  constructor(context: Context, pd: Pd, cq: Cq, mr: Mr, gid: Uint8Array) {
    this.context = context;
    this.pd = pd;
    this.cq = cq;
    this.mr = mr;
    this.gid = gid;
  }

  newQp(type: QpType, cap = {}): Promise<Qp> {
    return this.pd.createQp({
      type,
      sendCq: this.cq,
      recvCq: this.cq,
      cap: { maxSendWr: 128, maxRecvWr: 128, ...cap },
    });
  }

  poll(): void {
    this.done += this.cq.pollInto(this.#found);
  }
}

interface Mail {
  readonly vrnic: Vrnic;
  readonly read: () => void;
}

/** What a worker thread does for its vRNICs. What their programs do, which have cores of their own, is the caller's, between two rounds. */
export class Thread {
  /** How long its rounds took. */
  micros = 0;
  readonly #vrnics: Vrnic[] = [];
  readonly #turns = new Turns();
  #mail: Mail[] = [];

  /** One round. */
  breathe(): void {
    const begin = clock();
    this.#readMail();
    this.#turns.breathe(this.#vrnics, clock());
    this.micros += clock() - begin;
  }

  open(config: VrnicConfig): Context {
    const vrnic = openVrnic(config, ENGINE_PARTS);
    this.#vrnics.push(vrnic);
    const link = new MailedLink(config.name, this, vrnic);
    const { application } = vrnic.attach(link)!;
    link.begin(application, () => vrnic.detach(application, clock()));
    return new Context(link);
  }

  /** To be read in a round to come: by itself, where the caller waits for nothing else. */
  post(vrnic: Vrnic, read: () => void): void {
    this.#mail.push({ vrnic, read });
    if (this.#mail.length === 1) this.#breatheLater();
  }

  close(): void {
    for (const vrnic of this.#vrnics) vrnic.close(clock());
  }

  #breatheLater(): void {
    setImmediate(() => {
      this.breathe();
      if (this.#mail.length > 0) this.#breatheLater();
    });
  }

  #readMail(): void {
    const all = this.#mail;
    this.#mail = [];
    for (const mail of all) {
      const { vrnic, read } = mail;
      if (!this.#turns.admits(vrnic)) {
        this.#mail.push(mail);
        continue;
      }
      const begin = clock();
      read();
      this.#turns.charge(vrnic, clock() - begin);
    }
  }
}

/** Its commands are mail. */
class MailedLink extends PolledLink {
  readonly #thread: Thread;
  readonly #vrnic: Vrnic;

  constructor(name: string, thread: Thread, vrnic: Vrnic) {
    super(name, () => thread.breathe());
    this.#thread = thread;
    this.#vrnic = vrnic;
  }

  override call<C extends LinkCommand>(command: C): Promise<Result<C['op']>> {
    return new Promise((resolve) => {
      this.#thread.post(this.#vrnic, () => resolve(super.call(command)));
    });
  }
}

export async function openPair(thread: Thread, name: string, faults?: FaultOptions): Promise<Pair> {
  const seats: Seat[] = [];
  for (const [i, end] of newMemoryPair(`${name}-${process.pid}`).entries()) {
    const gid = GIDS[i]!;
    const place = { port: { kind: 'memory', end }, mac: Uint8Array.of(2, 0, 0, 0, 0, i + 1), gids: [gid] } as const;
    const context = thread.open({ ...place, name: `${name}${i}`, ...(faults && { faults }) });
    const pd = await context.allocPd();
    const cq = await context.createCq(CQ_ENTRIES);
    seats.push(new Seat(context, pd, cq, await pd.regMr(new SharedArrayBuffer(REGION_BYTES), RIGHTS), gid));
  }
  return seats as unknown as Pair;
}

/** Two QPs that talk. */
export async function connected(pair: Pair, type: QpType = QpType.RC, cap = {}): Promise<readonly [Qp, Qp]> {
  const qps = [await pair[0].newQp(type, cap), await pair[1].newQp(type, cap)] as const;
  await Promise.all([join(qps[0], pair[1], qps[1]), join(qps[1], pair[0], qps[0])]);
  return qps;
}

/** From RESET to RTS. */
export async function join(qp: Qp, to: Seat, peer: Qp): Promise<void> {
  await qp.toInit(qp.type === QpType.UD ? { qKey: 1 } : { accessFlags: RIGHTS });
  const destination = { gid: to.gid, qpNum: peer.qpNum, psn: PSN };
  await qp.toRtr(destination, { pathMtu: 5, minRnrTimer: MIN_RNR_TIMER });
  await qp.toRts(PSN);
}
