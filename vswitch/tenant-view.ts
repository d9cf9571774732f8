/** A tenant's network as one of its endpoints sees it: who is where, and who may talk to it. Made anew when the tenant changes; looked up for every packet. */
import { judge, type Verdict } from './judge.ts';
import type { Endpoint, Tenant } from './model.ts';

/** An endpoint, and what the rules say of it and us. */
export interface Peer {
  readonly endpoint: Endpoint;
  /** Of what it sends to us. */
  readonly inbound: Verdict;
  /** Of what we send to it. */
  readonly outbound: Verdict;
}

const keyOf = (octets: Uint8Array): string => octets.join('.');

export class TenantView {
  readonly vni: number;
  readonly #byAddress = new Map<string, Peer>();
  /** By MAC as a number of 48 bits: exact in a double. */
  readonly #byMac = new Map<number, Peer>();

  constructor(tenant: Tenant, own: Uint8Array) {
    this.vni = tenant.vni;
    for (const endpoint of tenant.endpoints) {
      const inbound = judge(tenant.rules, endpoint.address, own);
      const outbound = judge(tenant.rules, own, endpoint.address);
      const peer = { endpoint, inbound, outbound };
      this.#byAddress.set(keyOf(endpoint.address), peer);
      this.#byMac.set(macNumber(endpoint.mac), peer);
    }
  }

  at(address: Uint8Array): Peer | undefined {
    return this.#byAddress.get(keyOf(address));
  }

  withMac(mac: number): Peer | undefined {
    return this.#byMac.get(mac);
  }
}

export const macNumber = (mac: Uint8Array): number => mac.reduce((sum, octet) => sum * 256 + octet, 0);
