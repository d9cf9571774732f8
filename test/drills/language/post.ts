/** Work requests of drills, as an application writes them into its queues. */
import { SendFlag, WrOpcode } from '../../../rnic/constants.ts';
import { Send } from '../../../rnic/queue/layout.ts';
import type { Ring } from '../../../rnic/queue/ring.ts';
import { type SendRequest, type SgeValue, writeReceive, writeSend } from '../../support/sim/work.ts';
import { octetsOf, type Payload } from './packet.ts';

/** What every work request may say. Without `sges`: one SGE of `length` octets. */
export interface Work {
  readonly wrId?: number;
  readonly length?: number;
  readonly sges?: readonly SgeValue[];
  readonly lKey?: number;
  readonly inline?: Payload;
  readonly signaled?: boolean;
  readonly fence?: boolean;
  readonly solicited?: boolean;
  /** Where it goes, or comes from. */
  readonly to?: number | bigint;
  readonly rKey?: number;
  /** Immediate data as a number in network order; the key to invalidate. */
  readonly imm?: number;
  readonly invalidate?: number;
  readonly add?: bigint;
  readonly compare?: bigint;
  readonly swap?: bigint;
  /** UD. */
  readonly ah?: number;
  readonly destQpn?: number;
  readonly qKey?: number;
}

/** A window to be bound, or a region to be registered fast: `address` and `length` of the range, its rights, its key to come. */
export interface Bind {
  readonly wrId?: number;
  readonly window: number;
  readonly region: number;
  readonly address: number;
  readonly length: number;
  readonly access: number;
  readonly newKey: number;
  readonly signaled?: boolean;
}

export interface WorkDefaults {
  readonly address: number;
  readonly lKey: number;
  readonly to: number;
  readonly rKey: number;
}

/** Octets that nobody turns round: the number whose little-endian octets are those of `value` in network order. */
export const swapped = (value: number): number =>
  (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

export function sgesOf(work: Work, { address, lKey }: WorkDefaults): readonly SgeValue[] {
  if (work.sges !== undefined) return work.sges;
  const length = work.length ?? 8;
  return [{ address, length, lKey: work.lKey ?? lKey }];
}

const flagsOf = (work: Work): number =>
  (work.signaled === false ? 0 : SendFlag.SIGNALED) |
  (work.fence ? SendFlag.FENCE : 0) |
  (work.solicited ? SendFlag.SOLICITED : 0) |
  (work.inline === undefined ? 0 : SendFlag.INLINE);

/** False when the queue is full. */
export function putSend(ring: Ring, opcode: WrOpcode, wrId: number, work: Work, defaults: WorkDefaults): boolean {
  const { ah, destQpn, qKey } = work;
  const request: SendRequest = {
    wrId,
    opcode,
    flags: flagsOf(work),
    ...(work.inline === undefined ? { sges: sgesOf(work, defaults) } : { inline: octetsOf(work.inline) }),
    immediate: work.invalidate ?? swapped(work.imm ?? 0),
    rKey: work.rKey ?? defaults.rKey,
    ...(work.compare !== undefined && { compareAdd: work.compare }),
    ...(work.add !== undefined && { compareAdd: work.add }),
    ...(work.swap !== undefined && { swap: work.swap }),
    ...(ah !== undefined && { ahNum: ah, destQpn: destQpn ?? 0x99, qKey: qKey ?? 0x1111 }),
  };
  const at = ring.slotAt(ring.producer());
  if (!writeSend(ring, request)) return false;
  if (ah === undefined) ring.view.setBigUint64(at + Send.REMOTE_ADDR, BigInt(work.to ?? defaults.to), true);
  return true;
}

export function putFlush(ring: Ring, wrId: number, to: number, length: number, rKey: number): boolean {
  const at = ring.slotAt(ring.producer());
  if (!writeSend(ring, { wrId, opcode: WrOpcode.FLUSH, flags: SendFlag.SIGNALED })) return false;
  const { view } = ring;
  view.setBigUint64(at + Send.REMOTE_ADDR, BigInt(to), true);
  view.setUint32(at + Send.FLUSH_LENGTH, length, true);
  view.setUint32(at + Send.FLUSH_RKEY, rKey, true);
  view.setUint8(at + Send.FLUSH_TYPE, 1);
  return true;
}

/** BIND_MW and REG_MR. */
export function putBind(ring: Ring, opcode: WrOpcode, wrId: number, bind: Bind): boolean {
  const at = ring.slotAt(ring.producer());
  if (!writeSend(ring, { wrId, opcode, flags: bind.signaled === false ? 0 : SendFlag.SIGNALED })) return false;
  const { view } = ring;
  view.setBigUint64(at + Send.MW_ADDR, BigInt(bind.address), true);
  view.setBigUint64(at + Send.MW_LENGTH, BigInt(bind.length), true);
  view.setUint32(at + Send.MW_MR_LKEY, bind.region, true);
  view.setUint32(at + Send.MW_RKEY, opcode === WrOpcode.REG_MR ? bind.newKey : bind.window, true);
  view.setUint32(at + Send.MW_NEW_RKEY, bind.newKey, true);
  view.setUint32(at + Send.MW_ACCESS, bind.access, true);
  return true;
}

/** False when the queue is full. */
export const putReceive = (ring: Ring, wrId: number, work: Work, defaults: WorkDefaults): boolean =>
  writeReceive(ring, wrId, sgesOf(work, defaults));
