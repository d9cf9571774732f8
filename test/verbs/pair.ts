/** Two vRNICs joined by memory, each opened: what most tests of the verbs begin with. */
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
} from '../../verbs/index.ts';
import { toGid } from '../../workers/linux/netdev.ts';

export interface Side {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
  readonly gid: Uint8Array;
}

export interface Teardown {
  teardown(undo: () => unknown): void;
}

const MEMORY_BYTES = 1 << 20;
const ALL_ACCESS =
  Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC | Access.MW_BIND;
let pairs = 0;
/** How the contexts reach their vRNICs: within the process, or as a program of another one would. */
let way: (t: Teardown, device: Device) => Promise<Context> = (_t, device) => device.open();
export const openBy = (other: typeof way): void => {
  way = other;
};

/** Two contexts on two vRNICs, 10.0.0.1 and 10.0.0.2, in one worker. */
export async function twoContexts(t: Teardown): Promise<[Context, Context, Uint8Array, Uint8Array]> {
  const name = `test${process.pid}-${pairs++}`;
  const ends = newMemoryPair(name);
  const gids = [toGid('10.0.0.1'), toGid('10.0.0.2')] as const;
  const contexts = await Promise.all(
    ends.map(async (end, i) => {
      const mac = Uint8Array.of(2, 0, 0, 0, 0, i + 1);
      const device = await hostDevice({
        name: `${name}-${i}`,
        port: { kind: 'memory', end },
        mac,
        gids: [gids[i]!],
        spin: 20,
      });
      t.teardown(() => device.stop());
      return way(t, device);
    }),
  );
  return [contexts[0]!, contexts[1]!, gids[0], gids[1]];
}

async function side(context: Context, gid: Uint8Array, type: QpType, withChannel: boolean): Promise<Side> {
  const pd = await context.allocPd();
  const channel = withChannel ? await context.createCompChannel() : undefined;
  const cq = await context.createCq(256, channel);
  const mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), ALL_ACCESS);
  const qp = await pd.createQp({ type, sendCq: cq, recvCq: cq });
  return { context, pd, cq, mr, qp, gid };
}

/** Two sides, each with a PD, a CQ (on a channel, unless told otherwise), a region of 1 MiB and a QP in RESET. */
export async function twoSides(t: Teardown, type: QpType = QpType.RC, withChannel = true): Promise<[Side, Side]> {
  const [left, right, leftGid, rightGid] = await twoContexts(t);
  return [await side(left, leftGid, type, withChannel), await side(right, rightGid, type, withChannel)];
}

/** RESET → RTS, both ways. */
export async function connectSides(left: Side, right: Side, rights = ALL_ACCESS & 15): Promise<void> {
  for (const [one, other] of [
    [left, right],
    [right, left],
  ] as const) {
    await one.qp.toInit({ accessFlags: rights });
    await one.qp.toRtr({ gid: other.gid, qpNum: other.qp.qpNum, psn: 7 }, { pathMtu: 5 });
    await one.qp.toRts(7);
  }
}
