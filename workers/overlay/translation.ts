/**
 * Translation (MasQ's): a connection of a tenant whose packets travel as plain RoCEv2 between the hosts' own addresses. The tenant's addresses are replaced once, in
 * the QP's path; a QPN says which vRNIC a packet is for, since each vRNIC of a host has a range of its own. Datagrams never come this way.
 */
import { Errno, type Refusal } from '../../rnic/commands.ts';
import type { AddressVector, Path } from '../../rnic/path.ts';
import { RecentMap } from '../../rnic/recent-map.ts';
import type { Micros } from '../../wire/types.ts';
import { gidText, type Netdev } from '../linux/netdev.ts';
import type { QpnRange } from '../linux/roce-filter.ts';
import { nextHop } from '../linux/routes.ts';
import { NeighbourPaths } from '../neighbour-paths.ts';
import { Neighbours, Resolution } from '../neighbours.ts';
import { buildPath } from '../path-builder.ts';
import { HostMember } from './host-hub.ts';

/** Index of its port among the vRNIC's. */
export const TRANSLATED_PORT = 3;

/** Which way leads to a host is asked of the kernel again after so long: connections come in crowds. */
const HOP_MICROS: Micros = 100_000;

interface Hop {
  readonly address: Uint8Array;
  readonly until: Micros;
}

export interface TranslationOptions {
  readonly netdev: Netdev;
  /** The host's own address, 16 octets: its VTEP. */
  readonly local: Uint8Array;
  /** Of the vRNIC alone, among all of the host's. */
  readonly qpns: QpnRange;
}

export class Translation {
  readonly port: HostMember;
  /** Hosts, as ARP and neighbour discovery know them; the kernel answers for us. */
  readonly neighbours: Neighbours;
  readonly #netdev: Netdev;
  readonly #local: Uint8Array;
  readonly #paths: NeighbourPaths;
  /** By host. */
  readonly #hops = new RecentMap<Hop>();

  constructor({ netdev, local, qpns }: TranslationOptions) {
    this.#netdev = netdev;
    this.#local = local;
    this.port = new HostMember({ netdev: netdev.name, mtu: netdev.mtu, local, qpns });
    this.neighbours = new Neighbours({ mac: netdev.mac, addresses: [local], answers: false });
    this.#paths = new NeighbourPaths(this.neighbours);
  }

  /** A path to a QP on another host. `null`: ask again when the neighbour table has changed. */
  resolve(
    host: Uint8Array,
    av: AddressVector,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: Path } | Refusal | null {
    const unopened = this.#open();
    if (unopened) return unopened;
    const { name, mac } = this.#netdev;
    const hop = this.#hopTo(host, now);
    if (!hop) return refuse(Errno.ENETUNREACH, `no route to host ${gidText(host)} by ${name}`);
    if (this.neighbours.resolve(hop, this.#local, now) === Resolution.PENDING) return null;
    const destinationMac = this.neighbours.macOf(hop);
    if (!destinationMac) return refuse(Errno.EHOSTUNREACH, this.neighbours.failureText(hop));
    // The tenant's hop limit counts hops of the tenant's network, where every peer is a neighbour.
    const outer = { ...av, dgid: host, hopLimit: 0 };
    const names = { localQpn, remoteQpn, portIndex: TRANSLATED_PORT, port: this.port };
    const path = buildPath({ av: outer, sgid: this.#local, sourceMac: mac, destinationMac, ...names });
    this.#paths.remember(hop, path.template);
    return { path };
  }

  #hopTo(host: Uint8Array, now: Micros): Uint8Array | undefined {
    const key = gidText(host);
    const known = this.#hops.get(key);
    if (known && now < known.until) return known.address;
    const address = nextHop(this.#netdev.name, host);
    if (address) this.#hops.set(key, { address, until: now + HOP_MICROS });
    return address;
  }

  #open(): Refusal | undefined {
    try {
      this.port.open();
      return undefined;
    } catch (error) {
      return refuse(Errno.EOPNOTSUPP, `translation cannot begin: ${(error as Error).message}`);
    }
  }
}

const refuse = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason, argument: 'av.dgid' });
