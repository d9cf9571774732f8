/**
 * ARP requests and neighbour solicitations that come by the network for a vRNIC's addresses: its hosts are known by the endpoint table, but another implementation's VTEP, and what is
 * behind it, asks as on any Ethernet. Sans-IO: a frame in, the answer out.
 */
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import * as Nd from '../wire/icmpv6-nd.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import type { Micros } from '../wire/types.ts';
import * as Vxlan from '../wire/vxlan.ts';
import type { Endpoint, Tenant } from './model.ts';
import { AddressTable, isAddress } from './stages/address-table.ts';
import { ANSWER_BYTES_MAX, answer } from './stages/answer.ts';
import { Frame, Kind } from './stages/classify.ts';
import { FloodBudget } from './stages/flood.ts';
import { Identity, isStrangerHonest } from './stages/validate-source.ts';

export const ENCAPSULATED_ANSWER_BYTES = Vxlan.BYTES + ANSWER_BYTES_MAX;

export class NeighbourAnswerer {
  /** The answer, from its VXLAN header on. */
  readonly bytes = new Uint8Array(ENCAPSULATED_ANSWER_BYTES);
  readonly #vni: number;
  readonly #all: AddressTable;
  readonly #own: AddressTable;
  readonly #byMac = new Map<number, Identity>();
  readonly #hosts: readonly Uint8Array[];
  readonly #frame = new Frame();
  readonly #budget = new FloodBudget();
  readonly #out = new DataView(this.bytes.buffer, Vxlan.BYTES);

  /** @param own the endpoint that is asked for. */
  constructor(tenant: Tenant, own: Endpoint) {
    this.#vni = tenant.vni;
    this.#all = new AddressTable(tenant);
    this.#own = new AddressTable({ ...tenant, endpoints: [own] });
    this.#hosts = tenant.endpoints.map(({ host }) => host);
    for (const endpoint of tenant.endpoints) {
      const identity = new Identity(endpoint);
      this.#byMac.set(identity.mac, identity);
    }
    Vxlan.write(new DataView(this.bytes.buffer), 0, tenant.vni);
  }

  /** A frame from its VXLAN header on, from the host `vtep`. Octets of the answer in `bytes`; 0: it is no question about us, its sender is not who it says, or there were too many. */
  answer(view: DataView, at: number, end: number, vtep: Uint8Array, now: Micros): number {
    if (end - at < Vxlan.BYTES || !Vxlan.hasVni(view, at) || Vxlan.vni(view, at) !== this.#vni) return 0;
    const frame = this.#frame;
    if (frame.classify(view, at + Vxlan.BYTES, end) !== 0) return 0;
    if (frame.kind !== Kind.ARP && frame.kind !== Kind.ND) return 0;
    if (!this.#isHonest(vtep) || !this.#budget.take(now)) return 0;
    const octets = answer(frame, this.#own, null, this.#out);
    return octets === 0 ? 0 : Vxlan.BYTES + octets;
  }

  /** An endpoint asks from its own host; whoever else is behind a host of the tenant takes no endpoint's address. */
  #isHonest(vtep: Uint8Array): boolean {
    const frame = this.#frame;
    const known = this.#byMac.get(frame.sourceMac);
    if (known !== undefined) return Gid.isSame(known.endpoint.host, vtep) && known.isSenderOf(frame);
    const isGroup = Ethernet.isMulticast(frame.view, frame.at + Ethernet.MAC_BYTES);
    return !isGroup && this.#hosts.some((host) => Gid.isSame(host, vtep)) && isStrangerHonest(frame, this.#all);
  }
}

/** Whether an Ethernet frame is ARP or neighbour discovery that asks for one of these addresses. */
export class AskedFor {
  readonly #frame = new Frame();

  isFor(view: DataView, at: number, end: number, addresses: readonly Uint8Array[]): boolean {
    const frame = this.#frame;
    if (frame.classify(view, at, end) !== 0 || (frame.kind !== Kind.ARP && frame.kind !== Kind.ND)) return false;
    const targetAt = frame.kind === Kind.ARP ? frame.destinationAt : frame.bodyAt + Ipv6.BYTES + Nd.TARGET_AT;
    if (targetAt + frame.addressBytes > end) return false;
    for (let i = 0; i < addresses.length; i++)
      if (isAddress(view, targetAt, frame.addressBytes, addresses[i]!)) return true;
    return false;
  }
}
