/** A vRNIC's place in a tenant's network: where its packets go, which it takes, which of its connections the rules still allow. */
import { Errno, type Refusal } from '../../rnic/commands.ts';
import { Counter } from '../../rnic/counters.ts';
import type { Path } from '../../rnic/path.ts';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { judge } from '../../vswitch/judge.ts';
import type { Tenant } from '../../vswitch/model.ts';
import { TenantView } from '../../vswitch/tenant-view.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText, toGid } from '../linux/netdev.ts';
import { NOWHERE, type VxlanMember } from './vxlan-hub.ts';

/** A connection as the rules see it. */
export interface Connection {
  readonly qpn: number;
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
}

/** Where a packet goes: the peer's MAC, the VTEP that it lives behind. */
export interface Way {
  readonly mac: Uint8Array;
  readonly destination: number;
  /** The VXLAN header. */
  readonly encapsulation: Uint8Array;
}

const isPowerOfTwo = (count: number): boolean => (count & (count - 1)) === 0;
const SWEEP_FROM = 64;

const REASONS: readonly number[] = [
  0,
  Counter.drop_short,
  Counter.drop_vni,
  Counter.drop_inner_address,
  Counter.drop_spoofed,
  Counter.drop_rule,
];

export class Overlay {
  readonly #member: VxlanMember;
  readonly #mac: Uint8Array;
  readonly #own: Uint8Array;
  readonly #encapsulation: Uint8Array;
  /** By QPN. */
  readonly #connections = new Map<number, Connection>();
  /** Paths that were given out, by the address that they lead to: address handles live on when the tenant changes. */
  readonly #paths = new Map<string, WeakRef<Path>[]>();
  #tenant: Tenant;
  #view: TenantView;
  #admitter: Admitter;
  /** False once our own endpoint was deleted or moved to another host: nothing comes or goes. */
  #isAtHome: boolean;

  constructor(tenant: Tenant, member: VxlanMember, mac: Uint8Array, own: Uint8Array) {
    this.#member = member;
    this.#mac = mac;
    this.#own = own;
    this.#encapsulation = new Uint8Array(Vxlan.BYTES);
    Vxlan.write(new DataView(this.#encapsulation.buffer), 0, tenant.vni);
    this.#tenant = tenant;
    this.#view = new TenantView(tenant, own);
    this.#admitter = new Admitter(this.#view, mac);
    this.#isAtHome = this.#livesHere();
    this.#nameVteps();
  }

  /** The tenant has changed: QPNs of connections that are allowed no longer, or whose peer is no more or lives elsewhere now. */
  update(tenant: Tenant, isConnected: (qpn: number) => boolean): number[] {
    const before = this.#view;
    this.#tenant = tenant;
    this.#view = new TenantView(tenant, this.#own);
    this.#admitter = new Admitter(this.#view, this.#mac);
    this.#isAtHome = this.#livesHere();
    this.#nameVteps();
    this.#redirectPaths();
    const ended: number[] = [];
    for (const { qpn, remote } of this.connections(isConnected)) if (!this.#mayStay(before, remote)) ended.push(qpn);
    for (const qpn of ended) this.#connections.delete(qpn);
    return ended;
  }

  /** Peers drop what comes from another of our GIDs. */
  isOwn(gid: Uint8Array): boolean {
    return this.#own.every((octet, i) => octet === gid[i]);
  }

  /** EHOSTUNREACH: no such endpoint. EACCES: a rule forbids it. */
  wayTo(address: Uint8Array): Way | Refusal {
    const peer = this.#view.at(address);
    const { name } = this.#tenant;
    if (!this.#isAtHome)
      return refuse(Errno.EHOSTUNREACH, `tenant ${name} has no endpoint ${gidText(this.#own)} on this host any more`);
    if (!peer) return refuse(Errno.EHOSTUNREACH, `tenant ${name} has no endpoint ${gidText(address)}`);
    const { inbound, outbound, endpoint } = peer;
    const denial = outbound.isAllowed ? inbound : outbound;
    if (!denial.isAllowed)
      return refuse(Errno.EACCES, `rule ${denial.rule} of tenant ${name} denies ${gidText(address)}`);
    const destination = this.#member.hub.vtepIndex(endpoint.host);
    return { mac: endpoint.mac, destination, encapsulation: this.#encapsulation };
  }

  /** `path` leads to `address`: it follows the endpoint when that moves, and ends where a rule forbids it. */
  follow(address: Uint8Array, path: Path): void {
    const key = gidText(address);
    const paths = this.#paths.get(key) ?? [];
    paths.push(new WeakRef(path));
    this.#paths.set(key, isPowerOfTwo(paths.length) ? paths.filter((one) => one.deref() !== undefined) : paths);
  }

  opened(connection: Connection, isConnected: (qpn: number) => boolean): void {
    // Doubling sizes only: each connection pays for a sweep once.
    const count = this.#connections.size;
    if (count >= SWEEP_FROM && isPowerOfTwo(count)) this.connections(isConnected);
    this.#connections.set(connection.qpn, connection);
  }

  /** Those that live. A QP says nothing when it goes: whoever looks finds out. */
  connections(isConnected: (qpn: number) => boolean): Connection[] {
    for (const qpn of [...this.#connections.keys()]) if (!isConnected(qpn)) this.#connections.delete(qpn);
    return [...this.#connections.values()];
  }

  /** A frame from its VXLAN header on: the counter to drop it under, or 0. */
  admit(view: DataView, at: number, end: number, source: number): number {
    if (!this.#isAtHome) return Counter.drop_inner_address;
    const admission = this.#admitter.admit(view, at, end, this.#member.hub.vtep(source));
    return admission === Admission.ACCEPT ? 0 : REASONS[admission]!;
  }

  #mayStay(before: TenantView, remote: Uint8Array): boolean {
    const now = this.#view.at(remote);
    const then = before.at(remote);
    if (!now || !then || !this.#isAtHome) return false;
    const hasMoved = now.endpoint.host.some((octet, i) => octet !== then.endpoint.host[i]);
    const { rules } = this.#tenant;
    return !hasMoved && judge(rules, this.#own, remote).isAllowed && judge(rules, remote, this.#own).isAllowed;
  }

  #livesHere(): boolean {
    const own = this.#view.at(this.#own);
    return own?.endpoint.host.every((octet, i) => octet === this.#member.hub.local[i]) ?? false;
  }

  #redirectPaths(): void {
    for (const [text, paths] of this.#paths) {
      const way = this.wayTo(toGid(text));
      for (const one of paths) {
        const path = one.deref();
        if (path) path.destination = 'ok' in way ? NOWHERE : way.destination;
      }
    }
  }

  #nameVteps(): void {
    for (const { host } of this.#tenant.endpoints) this.#member.hub.vtepIndex(host);
  }
}

const refuse = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason, argument: 'av.dgid' });
