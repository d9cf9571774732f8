/** A small application on a link: one RC QP, WQEs written by hand as librxe writes them. For tests that have no verbs between them and the worker. */
import type { Test } from 'tap';
import type { Result } from '../../rnic/commands.ts';
import { Access, QpAttr, QpState, QpType, SendFlag, WcStatus, WrOpcode } from '../../rnic/constants.ts';
import { Cqe, Send, Sge, sendElementBytes } from '../../rnic/queue/layout.ts';
import { Ring } from '../../rnic/queue/ring.ts';
import type { DeviceLink, LinkCommand } from '../../workers/device-link.ts';
import { eventually } from '../support/eventually.ts';

const DEPTH = 64;
export const IOVA = 0x10_0000n;

async function must<C extends LinkCommand>(
  link: DeviceLink,
  command: C,
): Promise<Extract<Result<C['op']>, { ok: true }>> {
  const result = await link.call(command);
  if (!result.ok) throw new Error(`${command.op}: ${result.reason}`);
  return result as Extract<Result<C['op']>, { ok: true }>;
}

export class RcApp {
  readonly link: DeviceLink;
  readonly memory: Uint8Array;
  readonly rKey: number;
  readonly qpNum: number;
  readonly #lKey: number;
  readonly #qp: number;
  readonly #slot: number;
  readonly #sq: Ring;
  readonly #cq: Ring;

  private constructor(
    link: DeviceLink,
    memory: Uint8Array,
    mr: { lKey: number; rKey: number },
    qp: { qp: number; qpNum: number; slot: number },
    sq: Ring,
    cq: Ring,
  ) {
    this.link = link;
    this.memory = memory;
    this.rKey = mr.rKey;
    this.#lKey = mr.lKey;
    this.#qp = qp.qp;
    this.qpNum = qp.qpNum;
    this.#slot = qp.slot;
    this.#sq = sq;
    this.#cq = cq;
  }

  static async open(link: DeviceLink, bytes: number): Promise<RcApp> {
    const sab = new SharedArrayBuffer(bytes);
    const { pd } = await must(link, { op: 'allocPd' });
    const access = Access.LOCAL_WRITE | Access.REMOTE_READ | Access.REMOTE_WRITE | Access.REMOTE_ATOMIC;
    const mr = await must(link, {
      op: 'regMr',
      pd,
      memory: { sab, byteOffset: 0 },
      start: 0,
      length: bytes,
      iova: IOVA,
      access,
    });
    const created = await must(link, { op: 'createCq', cqe: 2 * DEPTH });
    const cap = { maxSendWr: DEPTH, maxRecvWr: DEPTH, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
    const { cq } = created;
    const qp = await must(link, { op: 'createQp', pd, type: QpType.RC, sendCq: cq, recvCq: cq, cap, sqSigAll: true });
    const sqElement = qp.sq.byteLength;
    const sendElement = sendElementBytes(qp.cap.maxSendSge, qp.cap.maxInlineData);
    const mask = new DataView(qp.sq.buffer, qp.sq.byteOffset, sqElement).getUint32(4, true);
    const cqMask = new DataView(created.queue.buffer, created.queue.byteOffset).getUint32(4, true);
    const sq = new Ring(qp.sq, mask + 1, sendElement);
    return new RcApp(link, new Uint8Array(sab), mr, qp, sq, new Ring(created.queue, cqMask + 1, Cqe.ELEMENT_BYTES));
  }

  async connect(dgid: Uint8Array, sgidIndex: number, destQpNum: number, pathMtu = 3): Promise<Result<'modifyQp'>> {
    const qp = this.#qp;
    const qpAccessFlags = Access.REMOTE_READ | Access.REMOTE_WRITE | Access.REMOTE_ATOMIC;
    const initial = { qpState: QpState.INIT, pKeyIndex: 0, portNum: 1, qpAccessFlags };
    const initialMask = QpAttr.STATE | QpAttr.PKEY_INDEX | QpAttr.PORT | QpAttr.ACCESS_FLAGS;
    await must(this.link, { op: 'modifyQp', qp, mask: initialMask, attributes: initial });
    const av = { dgid, sgidIndex, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
    const ready = { qpState: QpState.RTR, av, pathMtu, destQpNum, rqPsn: 7, maxDestRdAtomic: 16, minRnrTimer: 12 };
    const { STATE, AV, PATH_MTU, DEST_QPN, RQ_PSN, MAX_DEST_RD_ATOMIC, MIN_RNR_TIMER } = QpAttr;
    const readyMask = STATE | AV | PATH_MTU | DEST_QPN | RQ_PSN | MAX_DEST_RD_ATOMIC | MIN_RNR_TIMER;
    const rtr = await this.link.call({ op: 'modifyQp', qp, mask: readyMask, attributes: ready });
    if (!rtr.ok) return rtr;
    const sending = { qpState: QpState.RTS, timeout: 14, retryCnt: 7, rnrRetry: 7, sqPsn: 7, maxRdAtomic: 16 };
    const { TIMEOUT, RETRY_CNT, RNR_RETRY, SQ_PSN, MAX_QP_RD_ATOMIC } = QpAttr;
    const sendingMask = STATE | TIMEOUT | RETRY_CNT | RNR_RETRY | SQ_PSN | MAX_QP_RD_ATOMIC;
    return this.link.call({ op: 'modifyQp', qp, mask: sendingMask, attributes: sending });
  }

  /** Posts one RDMA WRITE or READ: `length` octets at `local` and `remote` of both memories. */
  post(opcode: number, local: number, length: number, rKey: number, remote: number): void {
    const index = this.#sq.producer();
    const at = this.#sq.slotAt(index);
    const { view } = this.#sq;
    this.#sq.bytes.fill(0, at, at + Send.HEADER_BYTES + Sge.BYTES);
    view.setUint32(at + Send.OPCODE, opcode, true);
    view.setUint32(at + Send.FLAGS, SendFlag.SIGNALED, true);
    view.setBigUint64(at + Send.REMOTE_ADDR, IOVA + BigInt(remote), true);
    view.setUint32(at + Send.RDMA_RKEY, rKey, true);
    view.setUint32(at + Send.DMA_LENGTH, length, true);
    view.setUint32(at + Send.DMA_NUM_SGE, 1, true);
    view.setBigUint64(at + Send.SGE + Sge.ADDR, IOVA + BigInt(local), true);
    view.setUint32(at + Send.SGE + Sge.LENGTH, length, true);
    view.setUint32(at + Send.SGE + Sge.LKEY, this.#lKey, true);
    this.#sq.publishProducer(this.#sq.next(index));
    if (this.link.doorbell.ring(this.#slot)) this.link.wake();
  }

  write = (local: number, length: number, rKey: number, remote: number): void =>
    this.post(WrOpcode.RDMA_WRITE, local, length, rKey, remote);
  read = (local: number, length: number, rKey: number, remote: number): void =>
    this.post(WrOpcode.RDMA_READ, local, length, rKey, remote);

  /** Takes one completion; -1 when there is none, else its status. */
  pollCq(): number {
    if (this.#cq.count() === 0) return -1;
    const at = this.#cq.slotAt(this.#cq.consumer());
    const status = this.#cq.view.getUint32(at + Cqe.STATUS, true);
    this.#cq.publishConsumer(this.#cq.next(this.#cq.consumer()));
    return status;
  }
}

/** A WRITE of all of one's memory into the other's, compared. */
export async function writeAll(t: Test, from: RcApp, to: RcApp, seed: number): Promise<void> {
  const bytes = from.memory.length;
  for (let i = 0; i < bytes; i++) from.memory[i] = (i * 31 + (i >> 9) + seed) & 0xff;
  from.write(0, bytes, to.rKey, 0);
  let status = -1;
  const hasCompleted = (): boolean => {
    status = from.pollCq();
    return status >= 0;
  };
  t.ok(await eventually(hasCompleted));
  t.equal(status, WcStatus.SUCCESS);
  t.equal(Buffer.compare(to.memory, from.memory), 0, 'arrives whole');
}
