/**
 * The commands that a TypeScript program of another process may give: those of a link in the same process (workers/device-link.ts), held against their shape here, for
 * the engine takes what it is given by our own code at its word. No member but those named gets through: a path, least of all, which is the daemon's to find.
 */
import { z } from 'zod';
import type { AnyCommand } from '../../rnic/commands.ts';
import { UNDERLAYS } from '../../vswitch/model.ts';
import type { LinkCommand } from '../../workers/device-link.ts';

const whole = (most: number) => z.number().int().min(0).max(most);
const u8 = whole(0xff);
const u16 = whole(0xffff);
const u32 = whole(0xffff_ffff);
const size = whole(Number.MAX_SAFE_INTEGER);
const u64 = z.bigint().min(0n).max(0xffff_ffff_ffff_ffffn);
const flag = z.boolean();
const gid = z.instanceof(Uint8Array).refine((octets) => octets.length === 16, 'a GID has 16 octets');
/** As much as any message of the connection manager holds. */
const privateData = z.instanceof(Uint8Array).refine((octets) => octets.length <= 255, 'too much private data');

const av = z.strictObject({
  dgid: gid,
  sgidIndex: u8,
  hopLimit: u8,
  trafficClass: u8,
  flowLabel: u32,
  sl: u8.optional(),
  portNum: u8,
  underlay: z.enum(UNDERLAYS).optional(),
});
const cap = z.strictObject({ maxSendWr: u32, maxRecvWr: u32, maxSendSge: u32, maxRecvSge: u32, maxInlineData: u32 });
const qpAttributes = z
  .strictObject({
    ...{ qpState: u8, curQpState: u8, pathMtu: u8, qKey: u32, rqPsn: u32, sqPsn: u32, destQpNum: u32 },
    ...{ qpAccessFlags: u32, cap, av, pKeyIndex: u16, enSqdAsyncNotify: flag, maxRdAtomic: u8, maxDestRdAtomic: u8 },
    ...{ minRnrTimer: u8, portNum: u8, timeout: u8, retryCnt: u8, rnrRetry: u8 },
  })
  .partial();
/** Octets of the program that gives the command: it cannot name another. */
const memory = z.strictObject({ address: size });
const address = z.strictObject({ address: gid, port: u16 });
const parameters = z.strictObject({
  ...{ qpNum: u32, qKey: u32.optional(), privateData, srq: flag, responderResources: u8, initiatorDepth: u8 },
  ...{ flowControl: flag, retryCount: u8, rnrRetryCount: u8 },
});
const id = u32;
const cookie = u64.optional();

const MEMBERS: { readonly [Op in AnyCommand['op']]: z.ZodRawShape } = {
  queryDevice: {},
  queryPort: { portNum: u8 },
  queryGid: { portNum: u8, index: u32 },
  allocPd: {},
  deallocPd: { pd: id },
  regMr: { pd: id, memory, start: size, length: size, iova: u64, access: u32 },
  reregMr: {
    ...{ mr: id, flags: u32, pd: id.optional(), memory: memory.optional(), start: size.optional() },
    ...{ length: size.optional(), iova: u64.optional(), access: u32.optional() },
  },
  deregMr: { mr: id },
  allocMr: { pd: id, maxBytes: size, memory: memory.optional(), start: size.optional() },
  allocMw: { pd: id, type: z.union([z.literal(1), z.literal(2)]) },
  deallocMw: { mw: id },
  createCompChannel: {},
  destroyCompChannel: { channel: id },
  createCq: { cqe: u32, channel: id.optional(), cookie },
  resizeCq: { cq: id, cqe: u32 },
  destroyCq: { cq: id },
  reqNotifyCq: { cq: id, solicitedOnly: flag },
  createSrq: { pd: id, maxWr: u32, maxSge: u32, srqLimit: u32.optional(), cookie },
  modifySrq: { srq: id, attributes: z.strictObject({ maxWr: u32, srqLimit: u32, maxSge: u32 }).partial() },
  querySrq: { srq: id },
  destroySrq: { srq: id },
  createQp: { pd: id, type: u8, sendCq: id, recvCq: id, srq: id.optional(), cap, sqSigAll: flag, cookie },
  modifyQp: { qp: id, mask: u32, attributes: qpAttributes },
  queryQp: { qp: id },
  destroyQp: { qp: id },
  createAh: { pd: id, av },
  destroyAh: { ah: id },
  attachMcast: { qp: id, gid },
  detachMcast: { qp: id, gid },
  cmCreateId: { portSpace: u16, qpType: u8, cookie },
  cmDestroyId: { id },
  cmBindAddr: { id, local: address },
  cmResolveAddr: { id, source: address.optional(), destination: address, timeoutMillis: u32 },
  cmResolveRoute: { id },
  cmQueryRoute: { id },
  cmListen: { id, backlog: u32 },
  cmConnect: { id, parameters },
  cmAccept: { id, parameters: parameters.optional(), cookie },
  cmReject: { id, privateData, reason: u16.optional() },
  cmDisconnect: { id },
  cmInitQpAttr: { id, state: u8 },
  cmNotify: { id },
  cmJoinMulticast: { id, group: gid, cookie },
  cmLeaveMulticast: { multicast: id },
  cmSetOption: { id, option: z.enum(['tos', 'reuseAddr', 'afOnly', 'ackTimeout']), value: u32 },
};
const SCHEMAS = new Map(
  Object.entries(MEMBERS).map(([op, members]) => [op, z.strictObject({ op: z.literal(op), ...members })]),
);

/** The command as the worker takes it, its memory named as that of process `pid`. @throws Error that says which member is wrong. */
export function checkCommand(given: unknown, pid: number): LinkCommand {
  const { op } = (given ?? {}) as { op?: unknown };
  const schema = typeof op === 'string' ? SCHEMAS.get(op) : undefined;
  if (!schema) throw new TypeError('no such command');
  const { success, data, error } = schema.safeParse(given);
  if (!success) throw new TypeError(`${error.issues[0]!.path.join('.')}: ${error.issues[0]!.message}`);
  const named = data as { memory?: { address: number } };
  return { ...data, ...(named.memory && { memory: { ...named.memory, pid } }) } as unknown as LinkCommand;
}
