/** Who a vRNIC is on its network: as its configuration says, or else its interface. */
import type { GidEntry } from '../rnic/config.ts';
import { gidTable } from './gid-table.ts';
import { type Netdev, readNetdev } from './linux/netdev.ts';
import { dropSocket } from './overlay/vxlan-hub.ts';
import type { VrnicConfig } from './vrnic-config.ts';

/** Octets that a vRNIC's own address needs, and where they come from when the configuration leaves them out. */
export interface Identity {
  readonly mac: Uint8Array;
  readonly gids: GidEntry[];
  readonly netdev: Netdev | null;
}

/** @throws Error of the interface, or that says what is missing; what came with the configuration is given back then. */
export function identified(config: VrnicConfig): Identity {
  try {
    return identify(config);
  } catch (error) {
    if (config.port.kind === 'vxlan') dropSocket(config.port);
    throw error;
  }
}

function identify(config: VrnicConfig): Identity {
  const netdev = 'netdev' in config.port && config.port.netdev ? readNetdev(config.port.netdev) : null;
  const addresses = config.gids ?? netdev?.addresses;
  const mac = config.mac ?? netdev?.mac;
  if (!mac || !addresses)
    throw new Error(`vRNIC ${config.name}: mac and gids are needed with a port that has no netdev`);
  return { mac, gids: (config.gids ?? gidTable([], addresses, mac)).map((gid) => ({ gid })), netdev };
}
