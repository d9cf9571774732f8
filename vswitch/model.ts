/** What a tenant's network is: plain values, in the configuration, in the control API and in every worker alike. */
import * as Gid from '../wire/gid.ts';

/** Transports as rules and commands name them; index = Transport. */
export const TRANSPORT_NAMES = ['rc', 'uc', 'ud', 'cm'] as const;
export type TransportName = (typeof TRANSPORT_NAMES)[number];

/** A place in a tenant's network: a vRNIC, here or on another host. */
export interface Endpoint {
  /** 16 octets: an IPv6 address, or an IPv4 address mapped into one. It is the endpoint's GID, and its name in the tenant. */
  readonly address: Uint8Array;
  /** More addresses of it: more GIDs. */
  readonly also?: readonly Uint8Array[];
  /** 6 octets. */
  readonly mac: Uint8Array;
  /** VTEP of the host that it lives on, 16 octets. */
  readonly host: Uint8Array;
  /** It talks to endpoints of its group alone; without one, to those without. */
  readonly group?: string;
  /** Its host offers translation. Of a host that says nothing, VXLAN is all that is known. */
  readonly translates?: boolean;
  readonly limit?: Limit;
  /** Of its vRNIC. */
  readonly quotas?: Quotas;
  /** Its host is not heard of any more: connections that live stay, new ones are refused. */
  readonly isLost?: boolean;
  /** What is there: a vRNIC where absent; a virtual machine's tap or a container's veth, an interface of the host that frames come and go by. */
  readonly kind?: 'vrnic' | 'tap' | 'veth';
  /** The interface of a tap or veth, and the network namespace of the host that it is in, where that is not the daemon's. */
  readonly netdev?: string;
  readonly namespace?: string;
}

/** The endpoint whose name in the tenant is `address`, 16 octets. */
export const endpointAt = ({ endpoints }: Tenant, address: Uint8Array): Endpoint | undefined =>
  endpoints.find((endpoint) => Gid.isSame(endpoint.address, address));

export const addressesOf = ({ address, also = [] }: Endpoint): Uint8Array[] => [address, ...also];

/** How fast: bits a second of frames as the tenant sees them, from the Ethernet header to the ICRC, that leave a vRNIC. */
export interface Limit {
  readonly rate?: number;
  /** Octets that may leave at once after a pause. */
  readonly burst?: number;
  /** Bits a second that it has before others have anything. */
  readonly guarantee?: number;
  /** Frames a second that a port or vRNIC may send to everybody (multicast, broadcast, unknown MACs). A tenant's: of each that has none of its own. */
  readonly flood?: number;
}

/** Addresses whose first `bits` (0 … 128) are those of `address`. */
export interface Prefix {
  readonly address: Uint8Array;
  readonly bits: number;
}

/** Who may send to whom. The matching rule with the highest priority decides; without one the answer is yes. */
export interface Rule {
  readonly id: string;
  readonly priority: number;
  readonly action: 'allow' | 'deny';
  readonly source: Prefix;
  readonly destination: Prefix;
  /** Where it is kept: where the traffic leaves `source` (`out`), where it comes to `destination` (`in`), or at both, which is the default. */
  readonly direction?: 'in' | 'out' | 'both';
  /** Default: any, also what is no RoCE. */
  readonly transport?: TransportName | 'any';
}

/** How packets of a connection travel: encapsulated; as plain RoCEv2 between the hosts' addresses; or never leaving the host. */
export const UNDERLAYS = ['vxlan', 'translate', 'local'] as const;
export type Underlay = (typeof UNDERLAYS)[number];

export interface Tenant {
  readonly name: string;
  /** 24 bits, RFC 7348. */
  readonly vni: number;
  readonly endpoints: readonly Endpoint[];
  readonly rules: readonly Rule[];
  /** Largest IP packet; where absent, what the host's interface carries. */
  readonly mtu?: number;
  /** `auto` where absent (vswitch/underlay.ts). */
  readonly underlay?: Underlay | 'auto';
  /** Of all its vRNICs of one host together. */
  readonly limit?: Limit;
  /** Of all its vRNICs of one host together. */
  readonly quotas?: Quotas;
  /** 0 … 63, of its packets, inside and outside; absent: programs' choice inside, 0 outside. */
  readonly dscp?: number;
  /** Its packets may be marked by congested hops (ECT); absent: where programs ask for it. */
  readonly ecn?: boolean;
}

/** How much a vRNIC may hold, or all of a tenant together, and how many connections they may make in a second. What is absent is the engine's own limit. */
export interface Quotas {
  readonly qps?: number;
  readonly cqs?: number;
  readonly mrs?: number;
  /** Octets registered at once. */
  readonly pinnedBytes?: number;
  readonly connectionsPerSecond?: number;
}

/** The MAC of an endpoint that was given none: locally administered, of the VNI and the address, so that every host makes the same. */
export function macOf(vni: number, address: Uint8Array): Uint8Array {
  const mac = Uint8Array.of(2, vni & 0xff, 0, 0, 0, 0);
  for (let i = 0; i < 16; i++) mac[2 + (i & 3)]! ^= address[i]!;
  return mac;
}
