/** Pairs of polled vRNICs in one thread, joined by memory: what a worker does for its vRNICs, without threads that wait for a core. */

import {
  Access,
  type Context,
  type Cq,
  type Device,
  hostDevice,
  type Mr,
  newMemoryPair,
  type Pd,
  type Qp,
  QpType,
  WorkCompletion,
} from '../verbs/index.ts';
import { toGid } from '../workers/linux/netdev.ts';
import type { FaultOptions } from '../workers/ports/faulty.ts';

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

  /** One breath: a poll in vain is one. */
  turn(): void {
    const count = this.cq.pollInto(this.#found);
    this.done += count;
    if (count > 0) this.context.progress();
  }
}

export async function openPair(name: string, faults?: FaultOptions): Promise<{ pair: Pair; stop(): Promise<void> }> {
  const devices: Device[] = [];
  const seats: Seat[] = [];
  for (const [i, end] of newMemoryPair(`${name}-${process.pid}`).entries()) {
    const gid = GIDS[i]!;
    const place = { port: { kind: 'memory', end }, mac: Uint8Array.of(2, 0, 0, 0, 0, i + 1), gids: [gid] } as const;
    const device = await hostDevice({
      ...place,
      name: `${name}${i}`,
      spin: 0,
      polled: true,
      ...(faults && { faults }),
    });
    devices.push(device);
    const context = await device.open();
    const pd = await context.allocPd();
    const cq = await context.createCq(CQ_ENTRIES);
    seats.push(new Seat(context, pd, cq, await pd.regMr(new SharedArrayBuffer(REGION_BYTES), RIGHTS), gid));
  }
  const stop = async (): Promise<void> => {
    for (const device of devices) await device.stop();
  };
  return { pair: seats as unknown as Pair, stop };
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
