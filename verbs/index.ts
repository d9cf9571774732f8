/** urnic for TypeScript programs: libibverbs' nouns and verbs. */

export type { DeviceAttributes, PortAttributes, QpAttributes, QpCap, SrqAttributes } from '../rnic/commands.ts';
export {
  Access,
  AsyncEvent,
  QpAttr,
  QpState,
  QpType,
  SendFlag,
  WcFlag,
  WcOpcode,
  WcStatus,
  WrOpcode,
} from '../rnic/constants.ts';
export type { AddressVector } from '../rnic/path.ts';
export { newMemoryPair } from '../workers/ports/memory.ts';
export { Ah } from './address-handle.ts';
export {
  type CmAddress,
  CmError,
  type CmEvent,
  type CmEventName,
  CmId,
  type ConnectionParameters,
  EventChannel,
  PortSpace,
} from './cm.ts';
export { CompChannel } from './completion-channel.ts';
export { Cq } from './completion-queue.ts';
export { Context, type DeviceEvent } from './context.ts';
export { DaemonDevice } from './daemon-device.ts';
export { Device, getDeviceList, hostDevice, openDevice, type SharedDevice } from './device.ts';
export { VerbsError } from './errors.ts';
export { Mr } from './memory-region.ts';
export { Mw } from './memory-window.ts';
export { Pd } from './protection-domain.ts';
export { type Destination, Qp, type QpInitAttributes, stateName } from './queue-pair.ts';
export { Srq } from './shared-receive-queue.ts';
export { WorkCompletion, wcStatusName } from './work-completion.ts';
export type { RecvWr, SendWr, Sge } from './work-requests.ts';
