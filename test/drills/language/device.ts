/** One real device that moves only when it is polled, with an RC QP connected to itself: for what the verbs do before the engine sees anything. */
import type { Test } from 'tap';
import {
  Access,
  type Context,
  type Cq,
  hostDevice,
  type Mr,
  newMemoryPair,
  type Pd,
  type Qp,
  QpType,
  SendFlag,
  type SendWr,
  VerbsError,
  WrOpcode,
} from '../../../verbs/index.ts';
import { toGid } from '../../../workers/linux/netdev.ts';

export interface Bed {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  readonly mr: Mr;
}

export const GID = toGid('10.0.0.1');
export const PSN = 3;

/** A device in this thread, whose wire leads nowhere but to itself. */
export async function bed(t: Test): Promise<Bed> {
  const [end] = newMemoryPair(`drill${process.pid}-${t.name}`);
  const device = await hostDevice({
    port: { kind: 'memory', end },
    mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    gids: [GID],
    polled: true,
  });
  t.teardown(() => device.stop());
  const context = await device.open();
  const pd = await context.allocPd();
  const mr = await pd.regMr(new SharedArrayBuffer(4096), Access.LOCAL_WRITE | Access.REMOTE_WRITE);
  return { context, pd, cq: await context.createCq(64), mr };
}

/** An RC QP that is connected to itself. */
export async function loopback({ pd, cq }: Bed, maxSendWr: number): Promise<Qp> {
  const cap = { maxSendWr, maxRecvWr: 7, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq, cap });
  await qp.toInit({ accessFlags: Access.REMOTE_WRITE });
  await qp.toRtr({ gid: GID, qpNum: qp.qpNum, psn: PSN });
  await qp.toRts(PSN);
  return qp;
}

export const write = ({ mr }: Bed, wrId: number, opcode: number = WrOpcode.RDMA_WRITE): SendWr => ({
  wrId: BigInt(wrId),
  opcode: opcode as SendWr['opcode'],
  sendFlags: SendFlag.SIGNALED,
  remoteAddr: BigInt(mr.addr),
  rKey: mr.rKey,
  sgList: [{ mr, length: 8 }],
});

/** What a post is refused for; throws when it is not. */
export function refusal(post: () => void): VerbsError {
  try {
    post();
  } catch (error) {
    if (error instanceof VerbsError) return error;
    throw error;
  }
  throw new Error('was not refused');
}
