/** The structures of rdma/ib_user_verbs.h and rdma/rdma_user_rxe.h that commands carry, between their octets and the engine's terms. */
import type { DeviceAttributes, PortAttributes, QpAttributes, QpCap, Result } from '../../rnic/commands.ts';
import type { AddressVector } from '../../rnic/path.ts';
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import { invalid } from './errors.ts';
import { type Input, Output } from './structure.ts';
import { gidTableLength } from './sysfs.ts';

/** `struct mminfo` of librxe: where in the queue file a queue lies. */
export const MMINFO_BYTES = 16;
export function writeMminfo(out: Output, at: number, queue: QueueMemory | undefined): void {
  if (queue) out.u64(at, BigInt(queue.mapOffset)).u32(at + 8, queue.byteLength);
}

/** `ib_uverbs_ah_attr`. */
export function readAhAttr(input: Input, at: number): AddressVector {
  if (input.u8(at + 29) === 0) throw invalid('RoCE needs a global route');
  return {
    dgid: input.octets(at, 16),
    flowLabel: input.u32(at + 16),
    sgidIndex: input.u8(at + 20),
    hopLimit: input.u8(at + 21),
    trafficClass: input.u8(at + 22),
    sl: input.u8(at + 26),
    portNum: input.u8(at + 30),
  };
}

export function writeAhAttr(out: Output, at: number, av: AddressVector): void {
  out.set(at, av.dgid).u32(at + 16, av.flowLabel);
  out
    .u8(at + 20, av.sgidIndex)
    .u8(at + 21, av.hopLimit)
    .u8(at + 22, av.trafficClass);
  out
    .u8(at + 26, av.sl ?? 0)
    .u8(at + 29, 1)
    .u8(at + 30, av.portNum);
}

/** `ib_uverbs_qp_dest`. */
function readDestination(input: Input, at: number): AddressVector {
  if (input.u8(at + 30) === 0) throw invalid('RoCE needs a global route');
  return {
    dgid: input.octets(at, 16),
    flowLabel: input.u32(at + 16),
    sgidIndex: input.u8(at + 24),
    hopLimit: input.u8(at + 25),
    trafficClass: input.u8(at + 26),
    sl: input.u8(at + 27),
    portNum: input.u8(at + 31),
  };
}

function writeDestination(out: Output, at: number, av: AddressVector): void {
  out.set(at, av.dgid).u32(at + 16, av.flowLabel);
  out
    .u8(at + 24, av.sgidIndex)
    .u8(at + 25, av.hopLimit)
    .u8(at + 26, av.trafficClass)
    .u8(at + 27, av.sl ?? 0);
  out.u8(at + 30, 1).u8(at + 31, av.portNum);
}

/** `ib_uverbs_modify_qp` from its attr_mask on; `hasAv` says whether the destination counts. */
export function readQpAttributes(input: Input, hasAv: boolean): QpAttributes {
  return {
    ...(hasAv && { av: readDestination(input, 0) }),
    qKey: input.u32(72),
    rqPsn: input.u32(76),
    sqPsn: input.u32(80),
    destQpNum: input.u32(84),
    qpAccessFlags: input.u32(88),
    pKeyIndex: input.u16(92),
    qpState: input.u8(96) as NonNullable<QpAttributes['qpState']>,
    curQpState: input.u8(97) as NonNullable<QpAttributes['curQpState']>,
    pathMtu: input.u8(98),
    enSqdAsyncNotify: input.u8(100) !== 0,
    maxRdAtomic: input.u8(101),
    maxDestRdAtomic: input.u8(102),
    minRnrTimer: input.u8(103),
    portNum: input.u8(104),
    timeout: input.u8(105),
    retryCnt: input.u8(106),
    rnrRetry: input.u8(107),
  };
}

/** `ib_uverbs_query_qp_resp`. */
export function qpResponse({ attributes, sqSigAll }: Extract<Result<'queryQp'>, { ok: true }>): Output {
  const out = new Output(128);
  const { av, cap } = attributes;
  if (av) writeDestination(out, 0, av);
  writeCap(out, 64, cap);
  out.u32(84, attributes.qKey).u32(88, attributes.rqPsn).u32(92, attributes.sqPsn).u32(96, attributes.destQpNum);
  out.u32(100, attributes.qpAccessFlags).u16(104, attributes.pKeyIndex);
  out.u8(108, attributes.qpState).u8(109, attributes.curQpState).u8(110, attributes.pathMtu);
  out.u8(113, attributes.maxRdAtomic).u8(114, attributes.maxDestRdAtomic).u8(115, attributes.minRnrTimer);
  out.u8(116, attributes.portNum).u8(117, attributes.timeout).u8(118, attributes.retryCnt);
  return out.u8(119, attributes.rnrRetry).u8(122, sqSigAll ? 1 : 0);
}

/** Five words: max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data. */
export const readCap = (input: Input, at: number): QpCap => ({
  maxSendWr: input.u32(at),
  maxRecvWr: input.u32(at + 4),
  maxSendSge: input.u32(at + 8),
  maxRecvSge: input.u32(at + 12),
  maxInlineData: input.u32(at + 16),
});

export function writeCap(out: Output, at: number, cap: QpCap): void {
  out
    .u32(at, cap.maxSendWr)
    .u32(at + 4, cap.maxRecvWr)
    .u32(at + 8, cap.maxSendSge);
  out.u32(at + 12, cap.maxRecvSge).u32(at + 16, cap.maxInlineData);
}

const VENDOR_ID = 0xff_ffff; // rxe's RXE_VENDOR_ID: none
const ATOMIC_HCA = 1;
const PAGE_SIZES = 0xffff_f000n;
const DEVICE_BYTES = 176;
const DEVICE_EX_BYTES = 304;

/** `ib_uverbs_query_device_resp`, and with `extended` the rest of `ib_uverbs_ex_query_device_resp`. */
export function deviceResponse(device: DeviceAttributes, extended: boolean): Output {
  const out = new Output(extended ? DEVICE_EX_BYTES : DEVICE_BYTES);
  out.be64(8, device.nodeGuid).be64(16, device.nodeGuid).u64(24, device.maxMrBytes).u64(32, PAGE_SIZES);
  // From vendor_id at 40 to max_srq_sge at 164, in the structure's order.
  const words = [
    ...[VENDOR_ID, 0, 0, device.maxQp, device.maxQpWr, device.deviceCapFlags, device.maxSge, device.maxSge],
    ...[device.maxCq, device.maxCqe, device.maxMr, device.maxPd, device.maxQpRdAtom, 0, device.maxResRdAtom],
    ...[device.maxQpInitRdAtom, 0, ATOMIC_HCA, 0, 0, device.maxMw, 0, 0, device.maxMcastGrp, device.maxMcastQpAttach],
    ...[device.maxTotalMcastQpAttach, device.maxAh, 0, 0, device.maxSrq, device.maxSrqWr, device.maxSrqSge],
  ];
  for (const [i, word] of words.entries()) out.u32(40 + 4 * i, word);
  out.u16(168, device.maxPkeys).u8(170, device.localCaAckDelay).u8(171, device.physPortCnt);
  if (extended) out.u32(180, DEVICE_EX_BYTES).u64(224, BigInt(device.deviceCapFlags >>> 0));
  return out;
}

const CAP_MASK = 0x0001_0000; // IB_PORT_CM_SUP
/** `ib_uverbs_query_port_resp`. */
export function portResponse(port: PortAttributes): Output {
  const out = new Output(40);
  out.u32(0, CAP_MASK).u32(4, port.maxMsgBytes).u32(8, port.badPKeyCounter).u32(12, port.qKeyViolationCounter);
  out.u32(16, gidTableLength(port.gidTableLength)).u16(20, port.pKeyTableLength);
  out.u8(26, port.state).u8(27, port.maxMtu).u8(28, port.activeMtu).u8(30, 1);
  out.u8(34, port.activeWidth).u8(35, port.activeSpeed).u8(36, port.physState);
  return out.u8(37, port.linkLayer);
}
