/** A tenant's network as one address of one of its endpoints sees it: who is where, and who may talk to it. Made anew when the tenant changes; looked up for every packet. */
import { judge, type Verdict } from './judge.ts';
import { addressesOf, type Endpoint, type Tenant } from './model.ts';

/** An address of an endpoint, and what the rules say of it and us. */
export interface Peer {
  readonly address: Uint8Array;
  readonly endpoint: Endpoint;
  /** Of what it sends to us. */
  readonly inbound: Verdict;
  /** Of what we send to it. */
  readonly outbound: Verdict;
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
    for (const endpoint of tenant.endpoints) {
      const peers = addressesOf(endpoint).map((address) => ({
        address,
        endpoint,
        inbound: judge(tenant.rules, address, own),
        outbound: judge(tenant.rules, own, address),
      }));
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
