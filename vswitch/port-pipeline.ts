/**
 * What becomes of a frame at a port of a tenant's switch: sans-IO, frames in, decisions out, time is an argument.
 *
 *     from the port:     classify → validate source → answer ARP, ND → rules → forward (host, all hosts)
 *     from the network:  decapsulate → classify → validate source and host → learn → rules → deliver
 */
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import type { Micros } from '../wire/types.ts';
import * as Vxlan from '../wire/vxlan.ts';
import { portFlood } from './limit.ts';
import { endpointAt, type Tenant } from './model.ts';
import { PortCounter, PortCounters } from './port-counters.ts';
import { AddressTable } from './stages/address-table.ts';
import { ANSWER_BYTES_MAX, answer } from './stages/answer.ts';
import { Frame } from './stages/classify.ts';
import { FloodBudget } from './stages/flood.ts';
import { LearnedMacs, NOBODY } from './stages/learn.ts';
import { RuleStage } from './stages/rules.ts';
import { Identity, isStrangerHonest } from './stages/validate-source.ts';
import { hostsOf } from './underlay.ts';

/** ANSWER: the frame in `answer` goes back to the port. PEER: to the host `destination`. FLOOD: to all hosts of the tenant and all ports here. */
export const Outcome = { DROP: 0, ANSWER: 1, PEER: 2, FLOOD: 3, DELIVER: 4 } as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

export interface PipelineOptions {
  readonly tenant: Tenant;
  /** The first address of the port's endpoint. */
  readonly address: Uint8Array;
  /** Largest IP packet. */
  readonly mtu: number;
  /** The VTEP of this host. */
  readonly local: Uint8Array;
  /** The number by which frames name a VTEP. */
  hostIndex(host: Uint8Array): number;
}

interface Peer {
  readonly identity: Identity;
  readonly host: number;
}

/** Everything that is made anew when the tenant changes. */
interface View {
  readonly vni: number;
  readonly own: Identity;
  readonly byMac: ReadonlyMap<number, Peer>;
  readonly addresses: AddressTable;
  readonly hosts: ReadonlySet<number>;
  readonly rules: RuleStage;
}

export class PortPipeline {
  readonly counters = new PortCounters();
  /** After ANSWER: the frame, of `answerBytes`. */
  readonly answer = new Uint8Array(ANSWER_BYTES_MAX);
  answerBytes = 0;
  /** After PEER: the number of the host. */
  destination = NOBODY;
  readonly #options: PipelineOptions;
  readonly #frame = new Frame();
  readonly #answerView = new DataView(this.answer.buffer);
  readonly #learned = new LearnedMacs();
  readonly #flood = new FloodBudget();
  /** Null while the endpoint is not on this host. */
  #view: View | null;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#bound(options.tenant);
    this.#view = this.#viewOf(options.tenant);
  }

  /** Rules, endpoints, hosts or limits have changed. */
  update(tenant: Tenant): void {
    this.#bound(tenant);
    this.#view = this.#viewOf(tenant);
    if (this.#view !== null) this.#learned.forgetOthers(this.#view.hosts);
  }

  /** A frame that the port sent, Ethernet header first. @param ipBytes of the largest IP packet that it stands for: less than the frame's where that is a super-frame. */
  fromPort(view: DataView, at: number, end: number, ipBytes: number, now: Micros): Outcome {
    this.counters.add(PortCounter.from_port);
    const tenant = this.#view;
    if (tenant === null) return this.#drop(PortCounter.drop_away);
    const frame = this.#frame;
    const refused = frame.classify(view, at, end);
    if (refused !== 0) return this.#drop(refused);
    if (ipBytes > this.#options.mtu) return this.#drop(PortCounter.drop_too_long);
    if (!tenant.own.isSenderOf(frame)) return this.#drop(PortCounter.drop_spoofed);
    this.answerBytes = answer(frame, tenant.addresses, tenant.own.endpoint, this.#answerView);
    if (this.answerBytes > 0) return this.#answered();
    const peer = tenant.byMac.get(frame.destinationMac);
    if (!tenant.rules.allows(frame, peer?.identity.endpoint, 'out')) return this.#drop(PortCounter.drop_rule);
    if (frame.destinationMac === tenant.own.mac) return this.#drop(PortCounter.drop_hairpin);
    if (peer !== undefined && !tenant.hosts.has(peer.host)) return this.#drop(PortCounter.drop_underlay);
    this.destination = peer === undefined ? this.#learned.hostOf(frame.destinationMac, now) : peer.host;
    if (this.destination !== NOBODY && !frame.isMulticast) return Outcome.PEER;
    if (!this.#flood.take(now)) return this.#drop(PortCounter.drop_flood_limit);
    this.counters.add(PortCounter.flooded);
    return Outcome.FLOOD;
  }

  /** A frame from its VXLAN header on, from the host with that number. */
  fromNetwork(view: DataView, at: number, end: number, host: number, now: Micros): Outcome {
    const tenant = this.#view;
    if (tenant === null) return this.#drop(PortCounter.drop_away);
    if (end - at < Vxlan.BYTES + Ethernet.BYTES) return this.#drop(PortCounter.drop_short);
    if (!Vxlan.hasVni(view, at) || Vxlan.vni(view, at) !== tenant.vni) return this.#drop(PortCounter.drop_vni);
    if (!tenant.hosts.has(host)) return this.#drop(PortCounter.drop_vtep);
    const frame = this.#frame;
    const refused = frame.classify(view, at + Vxlan.BYTES, end) || this.#refuseSender(tenant, host, now);
    if (refused !== 0) return this.#drop(refused);
    const isOwn = frame.destinationMac === tenant.own.mac;
    if (!isOwn && !frame.isMulticast && tenant.byMac.has(frame.destinationMac))
      return this.#drop(PortCounter.drop_inner_address);
    const peer = tenant.byMac.get(frame.sourceMac);
    if (!tenant.rules.allows(frame, peer?.identity.endpoint, 'in')) return this.#drop(PortCounter.drop_rule);
    this.counters.add(PortCounter.to_port);
    return Outcome.DELIVER;
  }

  drop(counter: number): void {
    this.counters.add(counter);
  }

  /** An endpoint speaks from its own host, with its own addresses; a MAC of none is learned, with the host that it is behind. */
  #refuseSender(tenant: View, host: number, now: Micros): number {
    const frame = this.#frame;
    const peer = tenant.byMac.get(frame.sourceMac);
    if (peer !== undefined)
      return peer.host === host && peer.identity.isSenderOf(frame) && peer.identity !== tenant.own
        ? 0
        : PortCounter.drop_spoofed;
    if (Ethernet.isMulticast(frame.view, frame.at + Ethernet.MAC_BYTES)) return PortCounter.drop_spoofed;
    if (!isStrangerHonest(frame, tenant.addresses)) return PortCounter.drop_spoofed;
    if (this.#learned.learn(frame.sourceMac, host, now)) this.counters.add(PortCounter.learned);
    return 0;
  }

  #bound(tenant: Tenant): void {
    this.#flood.update(portFlood(endpointAt(tenant, this.#options.address)?.limit, tenant.limit));
  }

  #answered(): Outcome {
    this.counters.add(PortCounter.answered);
    return Outcome.ANSWER;
  }

  #drop(counter: number): Outcome {
    this.counters.add(counter);
    return Outcome.DROP;
  }

  #viewOf(tenant: Tenant): View | null {
    const { address, local, hostIndex } = this.#options;
    const own = endpointAt(tenant, address);
    if (own === undefined || !Gid.isSame(own.host, local)) return null;
    const byMac = new Map<number, Peer>();
    for (const endpoint of tenant.endpoints) {
      const identity = new Identity(endpoint);
      byMac.set(identity.mac, { identity, host: hostIndex(endpoint.host) });
    }
    return {
      vni: tenant.vni,
      own: byMac.get(new Identity(own).mac)!.identity,
      byMac,
      addresses: new AddressTable(tenant),
      hosts: new Set(hostsOf(tenant, local).map(hostIndex)),
      rules: new RuleStage(tenant, own),
    };
  }
}
