/** Memory regions and windows. IBA Vol. 1, §10.6 and §11.2.8; SPEC-CHECKLIST R-170 … R-178. */
import type { CommandOf, Refusal } from '../commands.ts';
import { Errno } from '../commands.ts';
import { Access } from '../constants.ts';
import type { Context, ProtectionDomain, RegionObject } from '../context.ts';
import { NO_MEMORY, type RegionEntry, rightsAgree } from '../memory/regions.ts';
import { busy, full, invalid, isWhole, isWide, noSuch, refuse } from '../refusal.ts';
import type { Control, Handler } from './control.ts';
import { REGION_BYTES_MAX } from './device.ts';
import { giveRoom, takeRoom } from './room.ts';

const KNOWN_ACCESS = Object.values(Access).reduce((all, bit) => all | bit, 0);
/** `enum ibv_rereg_mr_flags`. */
const Rereg = { TRANSLATION: 1, PD: 2, ACCESS: 4 } as const;

export const regMr: Handler<'regMr'> = (control, context, command) => {
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  const refusal = checkRange(command) ?? checkAccess(command.access) ?? takeRegion(control, command.length);
  if (refusal) return refusal;
  const entry = control.regions.create(pd, 0, null);
  give(entry, command);
  const mr = addRegion(context, pd, entry, command.length);
  return { ok: true, mr: mr.handle, lKey: entry.key, rKey: entry.key };
};

/** All that can be refused is refused before anything changes: a failed rereg leaves the region as it was. */
export const reregMr: Handler<'reregMr'> = (control, context, command) => {
  const mr = context.regions.get(command.mr);
  if (!mr) return noSuch('memory region', 'mr');
  const { flags } = command;
  if (!isWhole(flags, 1, 7)) return invalid('flags', 'must name a translation (1), a PD (2) or access rights (4)');
  const { entry } = mr;
  if (entry.windows !== 0) return busy('memory region', 'a memory window is bound to it');
  const { grant } = entry;
  if (entry.fast !== null || grant === null) return invalid('mr', 'was made for fast registration');
  const pd = (flags & Rereg.PD) !== 0 ? context.pds.get(command.pd) : (entry.pd as ProtectionDomain);
  if (!pd) return noSuch('protection domain', 'pd');
  const access = (flags & Rereg.ACCESS) !== 0 ? command.access : grant.access;
  const refusal =
    checkAccess(access) ?? ((flags & Rereg.TRANSLATION) !== 0 ? takeTranslation(control, mr, command) : undefined);
  if (refusal) return refusal;
  (entry.pd as ProtectionDomain).children--;
  pd.children++;
  entry.pd = pd;
  if ((flags & Rereg.TRANSLATION) !== 0) {
    mr.bytes = command.length!;
    give(entry, { ...command, access: access! } as Giving);
  } else entry.give(grant, grant.iovaHi, grant.iovaLo, access!);
  return { ok: true, lKey: entry.key, rKey: entry.key };
};

export const deregMr: Handler<'deregMr'> = (control, context, command) => {
  const mr = context.regions.get(command.mr);
  if (!mr) return noSuch('memory region', 'mr');
  if (mr.entry.windows !== 0) return busy('memory region', `${mr.entry.windows} memory windows are bound to it`);
  removeRegion(control, context, mr);
  return { ok: true };
};

export const allocMr: Handler<'allocMr'> = (control, context, command) => {
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  if (!isWhole(command.maxBytes, 1, REGION_BYTES_MAX))
    return invalid('maxBytes', 'must be a number of octets of at least 1');
  const start = command.start ?? 0;
  const memory = command.memory ?? NO_MEMORY;
  if (!isWhole(start, 0, Number.MAX_SAFE_INTEGER)) return invalid('start', 'must be an octet of the memory');
  const refusal = takeRegion(control, command.maxBytes);
  if (refusal) return refusal;
  // What REG_MR may give out ends where the memory does.
  const length = Math.max(0, Math.min(command.maxBytes, memory.byteLength - start));
  const entry = control.regions.create(pd, 0, { memory, start, length });
  const mr = addRegion(context, pd, entry, command.maxBytes);
  return { ok: true, mr: mr.handle, lKey: entry.key, rKey: entry.key };
};

export const allocMw: Handler<'allocMw'> = (control, context, command) => {
  const { totals, config } = control;
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  if (command.type !== 1 && command.type !== 2) return invalid('type', 'must be 1 or 2');
  if (totals.mws >= config.limits.mws) return full('memory windows', config.limits.mws);
  const entry = control.regions.create(pd, command.type, null);
  totals.mws++;
  pd.children++;
  const mw = context.windows.add<RegionObject>((handle) => ({ handle, entry, bytes: 0 }));
  return { ok: true, mw: mw.handle, rKey: entry.key };
};

export const deallocMw: Handler<'deallocMw'> = (control, context, command) => {
  const mw = context.windows.get(command.mw);
  if (!mw) return noSuch('memory window', 'mw');
  removeWindow(control, context, mw);
  return { ok: true };
};

export function removeRegion(control: Control, context: Context, mr: RegionObject): void {
  control.regions.remove(mr.entry);
  context.regions.remove(mr.handle);
  (mr.entry.pd as ProtectionDomain).children--;
  giveRoom(control, 'mrs');
  giveRoom(control, 'registeredBytes', mr.bytes);
}

export function removeWindow(control: Control, context: Context, mw: RegionObject): void {
  control.regions.remove(mw.entry);
  context.windows.remove(mw.handle);
  (mw.entry.pd as ProtectionDomain).children--;
  control.totals.mws--;
}

type Giving = Pick<CommandOf<'regMr'>, 'memory' | 'start' | 'length' | 'iova' | 'access'>;

function give(entry: RegionEntry, { memory, start, length, iova, access }: Giving): void {
  const first = (access & Access.ZERO_BASED) !== 0 ? 0n : iova;
  entry.give({ memory, start, length }, Number(first >> 32n), Number(first & 0xffff_ffffn), access);
}

function addRegion(context: Context, pd: ProtectionDomain, entry: RegionEntry, bytes: number): RegionObject {
  pd.children++;
  return context.regions.add<RegionObject>((handle) => ({ handle, entry, bytes }));
}

function checkRange(command: Partial<Giving>): Refusal | undefined {
  if (!isWhole(command.length, 0, REGION_BYTES_MAX)) return invalid('length', 'must be a number of octets');
  if (!isWhole(command.start, 0, Number.MAX_SAFE_INTEGER)) return invalid('start', 'must be an octet of the memory');
  if (!isWide(command.iova)) return invalid('iova', 'must be a 64-bit address');
  if (command.iova + BigInt(command.length) > 2n ** 64n)
    return invalid('length', 'the region would pass the end of the address space');
  if (!command.memory?.read) return refuse(Errno.EFAULT, 'the memory cannot be reached', 'memory');
  if (command.start + command.length > command.memory.byteLength)
    return refuse(Errno.EFAULT, 'the region lies outside its memory', 'length');
  return undefined;
}

function checkAccess(access: unknown): Refusal | undefined {
  if (!isWhole(access, 0, 0x7fff_ffff) || (access & ~KNOWN_ACCESS) !== 0)
    return invalid('access', 'has bits that are not access flags');
  if (!rightsAgree(access)) return invalid('access', 'REMOTE_WRITE and REMOTE_ATOMIC need LOCAL_WRITE');
  return undefined;
}

/** Room for a region of so many octets. */
function takeRegion(control: Control, bytes: number): Refusal | undefined {
  const refusal = takeRoom(control, 'mrs');
  if (refusal) return refusal;
  const short = takeRoom(control, 'registeredBytes', bytes);
  if (short) giveRoom(control, 'mrs');
  return short;
}

/** Room for what it is to have more of, or gives back what it is to have less of. */
function takeTranslation(control: Control, mr: RegionObject, command: CommandOf<'reregMr'>): Refusal | undefined {
  const refusal = checkRange(command);
  if (refusal) return refusal;
  const more = command.length! - mr.bytes;
  if (more > 0) return takeRoom(control, 'registeredBytes', more);
  giveRoom(control, 'registeredBytes', -more);
  return undefined;
}
