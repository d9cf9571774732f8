/** What a worker is told about a vRNIC and its ports: plain values that cross threads. */
import type { RnicLimits } from '../rnic/config.ts';
import type { Tenant } from '../vswitch/model.ts';
import type { Account } from '../vswitch/quota.ts';
import type { VxlanPortConfig } from './overlay/vxlan-hub.ts';
import type { AfPacketOptions } from './ports/af-packet.ts';
import type { FaultOptions } from './ports/faulty.ts';
import type { MemoryEnd } from './ports/memory.ts';

type OfVrnic = 'addresses' | 'qpns';

export type PortConfig = (
  | ({ readonly kind: 'af_packet' } & Omit<AfPacketOptions, OfVrnic>)
  /** Packages that live in the main thread: the supervisor puts a bridge in their place. */
  | { readonly kind: 'cap'; readonly netdev: string }
  | { readonly kind: 'raw_socket'; readonly netdev: string }
  /** `netdev` where the other end leads to one. */
  | { readonly kind: 'memory'; readonly end: MemoryEnd; readonly netdev?: string }
  /** A place in a tenant's network: `overlay` says which. */
  | ({ readonly kind: 'vxlan' } & VxlanPortConfig)
  | { readonly kind: 'pcap_file'; readonly read?: string; readonly write?: string; readonly mtu?: number }
) & {
  /** Loses, repeats, reorders and spoils frames, from a seed. */
  readonly faults?: FaultOptions;
};

export interface VrnicConfig {
  readonly name: string;
  readonly port: PortConfig;
  /** The tenant that it belongs to; its GIDs but the first are its addresses there. */
  readonly tenant?: Tenant;
  /** Of the tenant's rates, for all its vRNICs of this host (vswitch/bucket.ts); one of its own by default. */
  readonly meter?: SharedArrayBuffer;
  /** Of the tenant's quotas, in the same way (vswitch/quota.ts). */
  readonly account?: Account;
  /** Network namespace to enter before the port is opened, for instance /var/run/netns/blue. Counts for the worker thread: one namespace for all its vRNICs. */
  readonly namespace?: string;
  /** 6 octets; the netdev's by default. */
  readonly mac?: Uint8Array;
  /** 16 octets each, index = sgid_index; the netdev's addresses by default (and then the kernel answers ARP for them). */
  readonly gids?: readonly Uint8Array[];
  /** QPNs are drawn from this range; by default from all. */
  readonly qpnBase?: number;
  readonly qpnCount?: number;
  readonly limits?: Partial<RnicLimits>;
  readonly strictTimers?: boolean;
  readonly reorderWindow?: number;
}

/** How long a worker, or a polled device whose program waits, polls before it sleeps: microseconds, or for ever. */
export type Spin = number | 'always';
export const SPIN_MICROS = 50;
/** So long who polls in vain keeps its core from threads that have something to do. */
export const YIELD_MICROS = 5;
