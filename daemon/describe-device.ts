/** A vRNIC in plain values: what devinfo, link and the control socket show. */
import type { DeviceAttributes, PortAttributes } from '../rnic/commands.ts';
import type { Context } from '../verbs/index.ts';
import { gidText } from '../workers/linux/netdev.ts';

export interface DeviceDescription {
  readonly name: string;
  readonly device: DeviceAttributes;
  readonly port: PortAttributes;
  readonly gids: string[];
}

export async function describeDevice(name: string, context: Context): Promise<DeviceDescription> {
  const device = await context.queryDevice();
  const port = await context.queryPort();
  const gids = await Promise.all(
    Array.from({ length: port.gidTableLength }, async (_, index) => gidText(await context.queryGid(index))),
  );
  return { name, device, port, gids };
}
