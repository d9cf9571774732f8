/**
 * The rdma_cm commands that programs write() on /dev/infiniband/rdma_cm: number → what it does. Layouts are those of rdma/rdma_user_cm.h, offsets counted behind the
 * command header. Meaning is the connection manager's (rnic/cm); here ids belong to channels, and a channel to a program.
 */
import { type CmAddress, type CmOption, type CmParameters, PortSpace } from '../../rnic/cm/commands.ts';
import { Errno, type QpAttributes } from '../../rnic/commands.ts';
import type { QpState, QpType } from '../../rnic/constants.ts';
import type { AddressVector } from '../../rnic/path.ts';
import * as Gid from '../../wire/gid.ts';
import type { CmChannel, QueuedEvent } from './cm-channel.ts';
import { CommandError, granted, invalid } from './errors.ts';
import * as Layouts from './layouts.ts';
import type { Reply } from './protocol.ts';
import { Input, Output } from './structure.ts';

const HEADER_BYTES = 8;

interface Call {
  readonly channel: CmChannel;
  readonly input: Input;
  /** Writes the response, cut to the room that the program has for it. */
  respond(address: bigint, out: Output): void;
}

type Handler = (call: Call) => Promise<void> | void;

/** `write()` of a program on its rdma_cm descriptor. @throws CommandError */
export async function executeCm(channel: CmChannel, octets: Buffer, reply: Reply): Promise<void> {
  const header = new Input(octets);
  const handler = HANDLERS[header.u32(0)];
  if (!handler) throw new CommandError(Errno.EOPNOTSUPP, `no such command: ${header.u32(0)}`);
  const room = header.u16(6);
  const respond = (address: bigint, out: Output): void => reply.poke(address, out.octets.subarray(0, room));
  await handler({ channel, input: new Input(octets.subarray(HEADER_BYTES)), respond });
}

const word = (value: number): Output => new Output(4).u32(0, value);

// ── Addresses ──

const AF_INET = 2;
const AF_INET6 = 10;
const SOCKADDR_BYTES = 28;

/** A sockaddr_in or sockaddr_in6. @throws CommandError EAFNOSUPPORT's place is EINVAL, as from the kernel's ucma. */
function readAddress(input: Input, at: number): CmAddress {
  const family = input.u16(at);
  const port = (input.u8(at + 2) << 8) | input.u8(at + 3);
  if (family === AF_INET6) return { address: input.octets(at + 8, 16), port };
  if (family !== AF_INET) throw invalid('an address is of IPv4 or IPv6');
  const address = new Uint8Array(16);
  address.fill(0xff, 10, 12);
  address.set(input.octets(at + 4, 4), 12);
  return { address, port };
}

function writeAddress(out: Output, at: number, { address, port }: CmAddress, family: number): void {
  const isIpv4 = Gid.isMappedIpv4(address) || (family === AF_INET && Gid.isZero(address));
  out
    .u16(at, isIpv4 ? AF_INET : AF_INET6)
    .u8(at + 2, port >> 8)
    .u8(at + 3, port & 0xff);
  if (isIpv4) out.set(at + 4, address.subarray(12));
  else out.set(at + 8, address);
}

// ── Connection parameters ──

const PRIVATE_DATA = 8;
const CONN_PARAM_BYTES = 272;

/** `rdma_ucm_conn_param`; undefined when it is marked as absent. */
function readParameters(input: Input, at: number): CmParameters | undefined {
  if (input.u8(at + 271) === 0) return undefined;
  return {
    qpNum: input.u32(at),
    qKey: input.u32(at + 4),
    privateData: input.octets(at + PRIVATE_DATA, input.u8(at + 264)),
    srq: input.u8(at + 265) !== 0,
    responderResources: input.u8(at + 266),
    initiatorDepth: input.u8(at + 267),
    flowControl: input.u8(at + 268) !== 0,
    retryCount: input.u8(at + 269) & 7,
    rnrRetryCount: input.u8(at + 270) & 7,
  };
}

function writeParameters(out: Output, at: number, of: CmParameters): void {
  out
    .u32(at, of.qpNum)
    .u32(at + 4, of.qKey ?? 0)
    .set(at + PRIVATE_DATA, of.privateData);
  out
    .u8(at + 264, of.privateData.length)
    .u8(at + 265, of.srq ? 1 : 0)
    .u8(at + 266, of.responderResources);
  out
    .u8(at + 267, of.initiatorDepth)
    .u8(at + 268, of.flowControl ? 1 : 0)
    .u8(at + 269, of.retryCount);
  out.u8(at + 270, of.rnrRetryCount).u8(at + 271, 1);
}

/** `rdma_ucm_ud_param`. */
function writeDatagramParameters(out: Output, at: number, of: CmParameters, av: AddressVector | undefined): void {
  out.u32(at, of.qpNum).u32(at + 4, of.qKey ?? 0);
  if (av) Layouts.writeAhAttr(out, at + 8, av);
  out.set(at + 40, of.privateData).u8(at + 296, of.privateData.length);
}

// ── Commands ──

async function createId({ channel, input, respond }: Call): Promise<void> {
  const portSpace = input.u16(16) as PortSpace;
  const { id } = granted(await channel.link.call({ op: 'cmCreateId', portSpace, qpType: input.u8(18) as QpType }));
  channel.add({ uid: input.u64(0), portSpace, handle: id, reported: 0, isMulticast: false });
  respond(input.u64(8), word(id));
}

async function destroyId({ channel, input, respond }: Call): Promise<void> {
  const record = channel.get(input.u32(8));
  granted(await channel.link.call({ op: 'cmDestroyId', id: record.handle }));
  channel.remove(record);
  respond(input.u64(0), word(record.reported));
}

async function bindIp({ channel, input }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(36));
  granted(await channel.link.call({ op: 'cmBindAddr', id, local: readAddress(input, 8) }));
}

async function resolveIp({ channel, input }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(56));
  const source = input.u16(0) === 0 ? undefined : readAddress(input, 0);
  const destination = readAddress(input, SOCKADDR_BYTES);
  granted(
    await channel.link.call({
      op: 'cmResolveAddr',
      id,
      destination,
      timeoutMillis: input.u32(60),
      ...(source && { source }),
    }),
  );
}

async function resolveRoute({ channel, input }: Call): Promise<void> {
  granted(await channel.link.call({ op: 'cmResolveRoute', id: channel.get(input.u32(0)).handle }));
}

const ROUTE_BYTES = 208;
const PATH_BYTES = 64;
const DEFAULT_PKEY = 0xffff;

/** `rdma_ucm_query_route_resp`: the first `ib_user_path_rec` lies at 8: dgid, sgid, …, pkey at 52, mtu at 60. */
async function queryRoute({ channel, input, respond }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(8));
  const { local, remote, isBound, av } = granted(await channel.link.call({ op: 'cmQueryRoute', id }));
  const out = new Output(ROUTE_BYTES);
  const family = Gid.isMappedIpv4(remote.address) ? AF_INET : Gid.isMappedIpv4(local.address) ? AF_INET : AF_INET6;
  writeAddress(out, 8 + 2 * PATH_BYTES, local, family);
  writeAddress(out, 8 + 2 * PATH_BYTES + SOCKADDR_BYTES, remote, family);
  if (isBound) {
    out
      .be64(0, channel.nodeGuid)
      .u8(196, 1)
      .set(8, av?.dgid ?? remote.address)
      .set(24, local.address);
    out.u8(8 + 52, DEFAULT_PKEY >> 8).u8(8 + 53, DEFAULT_PKEY & 0xff);
  }
  respond(input.u64(0), out.u32(192, av ? 1 : 0).u32(200, 0xffff_ffff));
}

async function connect({ channel, input }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(CONN_PARAM_BYTES));
  const parameters = readParameters(input, 0);
  if (!parameters) throw invalid('a connection needs parameters');
  granted(await channel.link.call({ op: 'cmConnect', id, parameters }));
}

async function listen({ channel, input }: Call): Promise<void> {
  granted(await channel.link.call({ op: 'cmListen', id: channel.get(input.u32(0)).handle, backlog: input.u32(4) }));
}

async function accept({ channel, input }: Call): Promise<void> {
  const record = channel.get(input.u32(8 + CONN_PARAM_BYTES));
  const parameters = readParameters(input, 8);
  granted(await channel.link.call({ op: 'cmAccept', id: record.handle, ...(parameters && { parameters }) }));
  if (parameters) record.uid = input.u64(0);
}

async function reject({ channel, input }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(0));
  const [length, reason] = [input.u8(4), input.u8(5)];
  const privateData = input.octets(8, length);
  granted(await channel.link.call({ op: 'cmReject', id, privateData, ...(reason !== 0 && { reason }) }));
}

async function disconnect({ channel, input }: Call): Promise<void> {
  granted(await channel.link.call({ op: 'cmDisconnect', id: channel.get(input.u32(0)).handle }));
}

async function initQpAttr({ channel, input, respond }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(8));
  const state = input.u32(12) as QpState;
  const { mask, attributes } = granted(await channel.link.call({ op: 'cmInitQpAttr', id, state }));
  respond(input.u64(0), qpAttr(mask, attributes));
}

/** `ib_uverbs_qp_attr`. */
function qpAttr(mask: number, of: QpAttributes): Output {
  const out = new Output(144)
    .u32(0, mask)
    .u32(4, of.qpState ?? 0)
    .u32(12, of.pathMtu ?? 0)
    .u32(20, of.qKey ?? 0);
  out
    .u32(24, of.rqPsn ?? 0)
    .u32(28, of.sqPsn ?? 0)
    .u32(32, of.destQpNum ?? 0)
    .u32(36, of.qpAccessFlags ?? 0);
  if (of.av) Layouts.writeAhAttr(out, 40, of.av);
  out
    .u16(124, of.pKeyIndex ?? 0)
    .u8(130, of.maxRdAtomic ?? 0)
    .u8(131, of.maxDestRdAtomic ?? 0);
  out
    .u8(132, of.minRnrTimer ?? 0)
    .u8(133, of.portNum ?? 0)
    .u8(134, of.timeout ?? 0)
    .u8(135, of.retryCnt ?? 0);
  return out.u8(136, of.rnrRetry ?? 0);
}

function getEvent({ channel, input, respond }: Call): void {
  const taken = channel.takeEvent();
  if (!taken) throw new CommandError(Errno.EAGAIN, 'no event');
  respond(input.u64(0), eventOutput(taken));
}

const EVENT_BYTES = 336;
const EVENT_PARAMETERS = 20;

/** `rdma_ucm_event_resp`. */
function eventOutput({ uid, portSpace, event }: QueuedEvent): Output {
  const out = new Output(EVENT_BYTES).u64(0, uid).u32(8, event.multicast ?? event.id);
  out.u32(12, event.type).u32(16, event.status);
  const { parameters, av } = event;
  if (parameters && portSpace === PortSpace.UDP) writeDatagramParameters(out, EVENT_PARAMETERS, parameters, av);
  else if (parameters) writeParameters(out, EVENT_PARAMETERS, parameters);
  return out;
}

const OPTIONS: Readonly<Record<number, CmOption>> = { 0: 'tos', 1: 'reuseAddr', 2: 'afOnly', 3: 'ackTimeout' };
const OPTION_VALUE = 24;

/** The shim sends the option's value behind the command. Of RDMA_OPTION_IB there is nothing to set: a RoCE path is what routes say. */
async function setOption({ channel, input }: Call): Promise<void> {
  const { handle: id } = channel.get(input.u32(8));
  const [level, name, length] = [input.u32(12), input.u32(16), input.u32(20)];
  const option = level === 0 ? OPTIONS[name] : undefined;
  if (!option) throw new CommandError(Errno.ENOSYS, 'no such option');
  const value = length >= 4 ? input.u32(OPTION_VALUE) : input.u8(OPTION_VALUE);
  granted(await channel.link.call({ op: 'cmSetOption', id, option, value: value & 0xff }));
}

async function notify({ channel, input }: Call): Promise<void> {
  granted(await channel.link.call({ op: 'cmNotify', id: channel.get(input.u32(0)).handle }));
}

/** `rdma_ucm_join_ip_mcast`. */
async function joinIpMulticast({ channel, input, respond }: Call): Promise<void> {
  respond(input.u64(0), word(await join(channel, input.u32(44), input.u64(8), readAddress(input, 16))));
}

/** `rdma_ucm_join_mcast`. */
async function joinMulticast({ channel, input, respond }: Call): Promise<void> {
  respond(input.u64(0), word(await join(channel, input.u32(16), input.u64(8), readAddress(input, 24))));
}

async function join(channel: CmChannel, handle: number, uid: bigint, { address }: CmAddress): Promise<number> {
  const { handle: id, portSpace } = channel.get(handle);
  const { multicast } = granted(await channel.link.call({ op: 'cmJoinMulticast', id, group: address }));
  channel.add({ uid, portSpace, handle: multicast, reported: 0, isMulticast: true });
  return multicast;
}

async function leaveMulticast({ channel, input, respond }: Call): Promise<void> {
  const record = channel.getJoin(input.u32(8));
  granted(await channel.link.call({ op: 'cmLeaveMulticast', multicast: record.handle }));
  channel.remove(record);
  respond(input.u64(0), word(record.reported));
}

/** The shim names the channel that the id comes from by number. */
function migrateId({ channel, input, respond }: Call): void {
  const record = channel.migrateHere(input.u32(8), input.u32(12));
  respond(input.u64(0), word(record.reported));
}

/** `enum` of RDMA_USER_CM_CMD_…; the AF_IB family (19 … 21) is refused: librdmacm then uses these. */
const HANDLERS: { readonly [number: number]: Handler } = {
  0: createId,
  1: destroyId,
  2: bindIp,
  3: resolveIp,
  4: resolveRoute,
  5: queryRoute,
  6: connect,
  7: listen,
  8: accept,
  9: reject,
  10: disconnect,
  11: initQpAttr,
  12: getEvent,
  14: setOption,
  15: notify,
  16: joinIpMulticast,
  17: leaveMulticast,
  18: migrateId,
  22: joinMulticast,
};
