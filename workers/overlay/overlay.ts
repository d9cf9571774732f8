/** A vRNIC's place in a tenant's network: where its packets go, which it takes, which of its connections the rules still allow. */
import { Errno, type Refusal } from '../../rnic/commands.ts';
import { Counter } from '../../rnic/counters.ts';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { judge } from '../../vswitch/judge.ts';
import type { Tenant } from '../../vswitch/model.ts';
import { TenantView } from '../../vswitch/tenant-view.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText } from '../linux/netdev.ts';
import type { VxlanMember } from './vxlan-hub.ts';

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
  #tenant: Tenant;
  #view: TenantView;
  #admitter: Admitter;

  constructor(tenant: Tenant, member: VxlanMember, mac: Uint8Array, own: Uint8Array) {
    this.#member = member;
    this.#mac = mac;
    this.#own = own;
    this.#encapsulation = new Uint8Array(Vxlan.BYTES);
    Vxlan.write(new DataView(this.#encapsulation.buffer), 0, tenant.vni);
    this.#tenant = tenant;
    this.#view = new TenantView(tenant, own);
    this.#admitter = new Admitter(this.#view, mac);
    this.#nameVteps();
  }

  /** The tenant has changed: QPNs of connections that are allowed no longer, or whose peer is no more or lives elsewhere now. */
  update(tenant: Tenant, isConnected: (qpn: number) => boolean): number[] {
    const before = this.#view;
    this.#tenant = tenant;
    this.#view = new TenantView(tenant, this.#own);
    this.#admitter = new Admitter(this.#view, this.#mac);
    this.#nameVteps();
    const ended: number[] = [];
    for (const { qpn, remote } of this.connections(isConnected)) if (!this.#mayStay(before, remote)) ended.push(qpn);
    for (const qpn of ended) this.#connections.delete(qpn);
    return ended;
  }

  /** EHOSTUNREACH: no such endpoint. EACCES: a rule forbids it. */
  wayTo(address: Uint8Array): Way | Refusal {
    const peer = this.#view.at(address);
    const { name } = this.#tenant;
    if (!peer) return refuse(Errno.EHOSTUNREACH, `tenant ${name} has no endpoint ${gidText(address)}`);
    const { inbound, outbound, endpoint } = peer;
    const denial = outbound.isAllowed ? inbound : outbound;
    if (!denial.isAllowed)
      return refuse(Errno.EACCES, `rule ${denial.rule} of tenant ${name} denies ${gidText(address)}`);
    const destination = this.#member.hub.vtepIndex(endpoint.host);
    return { mac: endpoint.mac, destination, encapsulation: this.#encapsulation };
  }

  opened(connection: Connection, isConnected: (qpn: number) => boolean): void {
    // Doubling sizes only: each connection pays for a sweep once.
    const count = this.#connections.size;
    if (count >= SWEEP_FROM && (count & (count - 1)) === 0) this.connections(isConnected);
    this.#connections.set(connection.qpn, connection);
  }

  /** Those that live. A QP says nothing when it goes: whoever looks finds out. */
  connections(isConnected: (qpn: number) => boolean): Connection[] {
    for (const qpn of [...this.#connections.keys()]) if (!isConnected(qpn)) this.#connections.delete(qpn);
    return [...this.#connections.values()];
  }

  /** A frame from its VXLAN header on: the counter to drop it under, or 0. */
  admit(view: DataView, at: number, end: number, source: number): number {
    const admission = this.#admitter.admit(view, at, end, this.#member.hub.vtep(source));
    return admission === Admission.ACCEPT ? 0 : REASONS[admission]!;
  }

  #mayStay(before: TenantView, remote: Uint8Array): boolean {
    const now = this.#view.at(remote);
    const then = before.at(remote);
    if (!now || !then) return false;
    const hasMoved = now.endpoint.host.some((octet, i) => octet !== then.endpoint.host[i]);
    const { rules } = this.#tenant;
    return !hasMoved && judge(rules, this.#own, remote).isAllowed && judge(rules, remote, this.#own).isAllowed;
  }

  #nameVteps(): void {
    for (const { host } of this.#tenant.endpoints) this.#member.hub.vtepIndex(host);
  }
}

const refuse = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason, argument: 'av.dgid' });
