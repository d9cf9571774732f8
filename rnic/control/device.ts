/** What the vRNIC says of itself. IBA Vol. 1, §11.2.1 (query HCA); `ibv_query_device(3)`, `ibv_query_port(3)`. */
import type { GidEntry } from '../config.ts';
import * as Layout from '../queue/layout.ts';
import { invalid, isWhole } from '../refusal.ts';
import type { Control, Handler } from './control.ts';
import { mostOf } from './room.ts';

/** `enum ibv_device_cap_flags`: BAD_PKEY_CNTR, BAD_QKEY_CNTR, CURR_QP_STATE_MOD, SRQ_RESIZE, RC_RNR_NAK_GEN, MEM_WINDOW, MEM_MGT_EXTENSIONS, MEM_WINDOW_TYPE_2B. */
const CAPABILITIES = (1 << 1) | (1 << 2) | (1 << 7) | (1 << 13) | (1 << 12) | (1 << 17) | (1 << 21) | (1 << 24);
const PORT_DOWN = 1;
const PORT_ACTIVE = 4;
const DISABLED = 3;
const LINK_UP = 5;
const LINK_LAYER_ETHERNET = 2;
/** 4x EDR: what perftest prints its peak by; nothing here is limited to it. */
const WIDTH_4X = 2;
const SPEED_EDR = 32;
const MESSAGE_BYTES_MAX = 2 ** 31;
const MTU_MAX = 5;
/** Addresses of 46 bits: what x86-64 and arm64 give a process, and less. */
export const REGION_BYTES_MAX = 2 ** 46;

export const queryDevice: Handler<'queryDevice'> = (control) => {
  const { limits, mac } = control.config;
  const qps = mostOf(control, 'qps');
  return {
    ok: true,
    fwVer: '0.1.0',
    nodeGuid: guidOf(mac),
    maxMrBytes: BigInt(Math.min(REGION_BYTES_MAX, mostOf(control, 'registeredBytes'))),
    maxQp: Math.min(qps, control.qps.capacity),
    maxQpWr: limits.queueDepth,
    maxSge: Layout.MAX_SGE,
    maxCq: mostOf(control, 'cqs'),
    maxCqe: limits.cqDepth,
    maxMr: mostOf(control, 'mrs'),
    maxPd: limits.pds,
    maxMw: limits.mws,
    maxAh: limits.ahs,
    maxQpRdAtom: limits.rdAtomic,
    maxQpInitRdAtom: limits.rdAtomic,
    maxResRdAtom: Math.min(0x7fff_ffff, limits.rdAtomic * qps),
    maxSrq: limits.srqs,
    maxSrqWr: limits.queueDepth,
    maxSrqSge: Layout.MAX_SGE,
    maxMcastGrp: limits.multicastGroups,
    maxMcastQpAttach: limits.multicastMembers,
    maxTotalMcastQpAttach: limits.multicastGroups * limits.multicastMembers,
    maxPkeys: 1,
    physPortCnt: 1,
    localCaAckDelay: 15,
    deviceCapFlags: CAPABILITIES,
  };
};

export const queryPort: Handler<'queryPort'> = (control, _context, command) => {
  if (command.portNum !== 1) return invalid('portNum', 'a vRNIC has one port, number 1');
  const { counters } = control.core;
  return {
    ok: true,
    state: control.isUp ? PORT_ACTIVE : PORT_DOWN,
    maxMtu: MTU_MAX,
    activeMtu: 24 - Math.clz32(control.mtuBytes()),
    gidTableLength: control.config.gids.length,
    pKeyTableLength: 1,
    maxMsgBytes: MESSAGE_BYTES_MAX,
    activeSpeed: SPEED_EDR,
    activeWidth: WIDTH_4X,
    physState: control.isUp ? LINK_UP : DISABLED,
    linkLayer: LINK_LAYER_ETHERNET,
    // these two saturate.
    badPKeyCounter: Math.min(0xffff, counters.get('drop_pkey')),
    qKeyViolationCounter: Math.min(0xffff, counters.get('drop_qkey')),
  };
};

export const queryGid: Handler<'queryGid'> = (control, _context, command) => {
  if (command.portNum !== 1) return invalid('portNum', 'a vRNIC has one port, number 1');
  const entry = gidAt(control, command.index);
  if (entry === undefined) return invalid('index', `there are ${control.config.gids.length} GIDs`);
  return { ok: true, gid: Uint8Array.from(entry.gid) };
};

/** The GID at an index that an application gave; undefined when there is none. */
export function gidAt(control: Control, index: unknown): GidEntry | undefined {
  const { gids } = control.config;
  return isWhole(index, 0, gids.length - 1) ? gids[index] : undefined;
}

/** EUI-64 from the MAC (RFC 4291, appendix A). */
export function guidOf(mac: Uint8Array): bigint {
  const octets = [mac[0]! ^ 2, mac[1]!, mac[2]!, 0xff, 0xfe, mac[3]!, mac[4]!, mac[5]!];
  return octets.reduce((guid, octet) => (guid << 8n) | BigInt(octet), 0n);
}
