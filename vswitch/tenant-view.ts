/** A tenant's network as one address of one of its endpoints sees it: who is where, and who may talk to it. Made anew when the tenant changes; looked up for every packet. */
import { type Direction, judge, type Verdict } from './judge.ts';
import { addressesOf, type Endpoint, type Tenant } from './model.ts';
import { TRANSPORT_COUNT, Transport } from './transport.ts';

/** An address of an endpoint, and what group and rules say of it and us. Judged when first asked: most endpoints of a large tenant never talk to us. */
export class Peer {
  readonly address: Uint8Array;
  readonly endpoint: Endpoint;
  readonly #tenant: Tenant;
  readonly #own: Uint8Array;
  readonly #isOfOurGroup: boolean;
  readonly #inbound: (Verdict | undefined)[] = Array.from({ length: TRANSPORT_COUNT }, () => undefined);
  readonly #outbound: (Verdict | undefined)[] = Array.from({ length: TRANSPORT_COUNT }, () => undefined);

  /** @param own our address. @param group ours. */
  constructor(tenant: Tenant, endpoint: Endpoint, address: Uint8Array, own: Uint8Array, group: string | undefined) {
    this.#tenant = tenant;
    this.address = address;
    this.endpoint = endpoint;
    this.#own = own;
    this.#isOfOurGroup = endpoint.group === group;
  }

  /** Of what it sends to us. */
  inbound(transport: Transport): Verdict {
    this.#inbound[transport] ??= this.#judge(this.address, this.#own, 'in', transport);
    return this.#inbound[transport];
  }

  /** Of what we send to it. */
  outbound(transport: Transport): Verdict {
    this.#outbound[transport] ??= this.#judge(this.#own, this.address, 'out', transport);
    return this.#outbound[transport];
  }

  /**
   * Why no connection may be made to it; undefined when one may. Connections and their management go both ways; a datagram leaves, and is judged again where it
   * arrives.
   */
  denial(transport: Transport): string | undefined {
    const outbound = this.outbound(transport);
    const verdict = outbound.isAllowed && transport !== Transport.UD ? this.inbound(transport) : outbound;
    if (verdict.isAllowed) return undefined;
    if (verdict.rule !== undefined) return `rule ${verdict.rule} of tenant ${this.#tenant.name} denies`;
    return `groups of tenant ${this.#tenant.name} keep us apart from`;
  }

  /** Groups first: no rule allows what they keep apart. */
  #judge(source: Uint8Array, destination: Uint8Array, direction: Direction, transport: Transport): Verdict {
    if (!this.#isOfOurGroup) return { isAllowed: false };
    return judge(this.#tenant.rules, source, destination, direction, transport);
  }
}

const keyOf = (octets: Uint8Array): string => octets.join('.');

export class TenantView {
  readonly vni: number;
  readonly own: Uint8Array;
  readonly #byAddress = new Map<string, Peer>();
  /** By MAC as a number of 48 bits: exact in a double. */
  readonly #byMac = new Map<number, Peer[]>();

  constructor(tenant: Tenant, own: Uint8Array) {
    this.vni = tenant.vni;
    this.own = own;
    const key = keyOf(own);
    const self = tenant.endpoints.find((endpoint) => addressesOf(endpoint).some((address) => keyOf(address) === key));
    for (const endpoint of tenant.endpoints) {
      const peers = addressesOf(endpoint).map((address) => new Peer(tenant, endpoint, address, own, self?.group));
      for (const peer of peers) this.#byAddress.set(keyOf(peer.address), peer);
      this.#byMac.set(macNumber(endpoint.mac), peers);
    }
  }

  at(address: Uint8Array): Peer | undefined {
    return this.#byAddress.get(keyOf(address));
  }

  /** One for each address of the endpoint. */
  withMac(mac: number): readonly Peer[] | undefined {
    return this.#byMac.get(mac);
  }
}

export const macNumber = (mac: Uint8Array): number => mac.reduce((sum, octet) => sum * 256 + octet, 0);
