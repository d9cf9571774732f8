/** Command → handler: every control verb there is. */
import type { Command } from '../commands.ts';
import * as CompletionQueues from './completion-queues.ts';
import type { Handler } from './control.ts';
import { queryDevice, queryGid, queryPort } from './device.ts';
import * as Domains from './domains.ts';
import { modifyQp } from './modify-qp.ts';
import * as QueuePairs from './queue-pairs.ts';
import * as Regions from './regions.ts';
import * as SharedReceiveQueues from './shared-receive-queues.ts';

export const HANDLERS: { readonly [Op in Command['op']]: Handler<Op> } = {
  queryDevice,
  queryPort,
  queryGid,
  allocPd: Domains.allocPd,
  deallocPd: Domains.deallocPd,
  regMr: Regions.regMr,
  reregMr: Regions.reregMr,
  deregMr: Regions.deregMr,
  allocMr: Regions.allocMr,
  allocMw: Regions.allocMw,
  deallocMw: Regions.deallocMw,
  createCompChannel: Domains.createCompChannel,
  destroyCompChannel: Domains.destroyCompChannel,
  createCq: CompletionQueues.createCq,
  resizeCq: CompletionQueues.resizeCq,
  destroyCq: CompletionQueues.destroyCq,
  reqNotifyCq: CompletionQueues.reqNotifyCq,
  createSrq: SharedReceiveQueues.createSrq,
  modifySrq: SharedReceiveQueues.modifySrq,
  querySrq: SharedReceiveQueues.querySrq,
  destroySrq: SharedReceiveQueues.destroySrq,
  createQp: QueuePairs.createQp,
  modifyQp,
  queryQp: QueuePairs.queryQp,
  destroyQp: QueuePairs.destroyQp,
  createAh: Domains.createAh,
  destroyAh: Domains.destroyAh,
  attachMcast: QueuePairs.attachMcast,
  detachMcast: QueuePairs.detachMcast,
};
