/** Protection domains, completion channels and address handles. */
import type { Answers, Result } from '../commands.ts';
import { busy, full, invalid, noSuch } from '../refusal.ts';
import type { Handler } from './control.ts';
import { gidAt } from './device.ts';

const NOTHING = { ok: true } as const;

export const allocPd: Handler<'allocPd'> = (control, context) => {
  const { totals, config } = control;
  if (totals.pds >= config.limits.pds) return full('protection domains', config.limits.pds);
  totals.pds++;
  const pd = context.pds.add((handle) => ({ handle, context: context.id, children: 0 }));
  return { ok: true, pd: pd.handle };
};

export const deallocPd: Handler<'deallocPd'> = (control, context, command) => {
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  if (pd.children !== 0) return busy('protection domain', `${pd.children} objects live in it`);
  context.pds.remove(pd.handle);
  control.totals.pds--;
  return NOTHING;
};

export const createCompChannel: Handler<'createCompChannel'> = (control, context) => {
  const { totals, config } = control;
  if (totals.channels >= config.limits.channels) return full('completion channels', config.limits.channels);
  totals.channels++;
  const channel = context.channels.add((handle) => ({ handle, users: 0 }));
  return { ok: true, channel: channel.handle };
};

export const destroyCompChannel: Handler<'destroyCompChannel'> = (control, context, command) => {
  const channel = context.channels.get(command.channel);
  if (!channel) return noSuch('completion channel', 'channel');
  if (channel.users !== 0) return busy('completion channel', `${channel.users} completion queues report to it`);
  context.channels.remove(channel.handle);
  control.totals.channels--;
  return NOTHING;
};

export const createAh: Handler<'createAh'> = (control, context, command): Result<'createAh'> => {
  const { totals, config } = control;
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  if (!command.path) return invalid('av', 'its address was not resolved to a path');
  if (!gidAt(control, command.av?.sgidIndex)) return invalid('av.sgidIndex', 'there is no GID at this index');
  if (totals.ahs >= config.limits.ahs) return full('address handles', config.limits.ahs);
  const { path, av } = command;
  totals.ahs++;
  pd.children++;
  const ah = context.addressHandles.add((handle) => ({ handle, pd, path, av }));
  // 0 is none: librxe takes it for a kernel that gives out no numbers, and resolves addresses itself.
  return { ok: true, ah: ah.handle, ahNum: ah.handle + 1 } satisfies { ok: true } & Answers['createAh'];
};

export const destroyAh: Handler<'destroyAh'> = (control, context, command) => {
  const ah = context.addressHandles.get(command.ah);
  if (!ah) return noSuch('address handle', 'ah');
  context.addressHandles.remove(ah.handle);
  ah.pd.children--;
  control.totals.ahs--;
  return NOTHING;
};
