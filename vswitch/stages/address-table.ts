/** Which endpoint has an address: looked up in a frame, without a copy. Link-local addresses are those that the endpoints' MACs make. */
import * as Gid from '../../wire/gid.ts';
import { addressesOf, type Endpoint, type Tenant } from '../model.ts';

interface Entry {
  readonly address: Uint8Array;
  readonly endpoint: Endpoint;
}

const NONE: readonly Entry[] = [];

/** Whether `bytes` octets (4: IPv4, 16) of a frame are the address, of 16 octets. */
export function isAddress(view: DataView, at: number, bytes: number, address: Uint8Array): boolean {
  const skipped = 16 - bytes;
  for (let i = 0; i < bytes; i++) if (view.getUint8(at + i) !== address[skipped + i]) return false;
  return bytes === 16 || Gid.isMappedIpv4(address);
}

export class AddressTable {
  /** By the last 32 bits, in which most differ. */
  readonly #entries = new Map<number, Entry[]>();

  constructor({ endpoints }: Tenant) {
    for (const endpoint of endpoints)
      for (const address of [...addressesOf(endpoint), Gid.linkLocalOf(endpoint.mac)]) {
        const key = new DataView(address.buffer, address.byteOffset).getInt32(12);
        this.#entries.set(key, [...(this.#entries.get(key) ?? NONE), { address, endpoint }]);
      }
  }

  /** @param bytes 4 or 16. */
  find(view: DataView, at: number, bytes: number): Endpoint | undefined {
    const alike = this.#entries.get(view.getInt32(at + bytes - 4)) ?? NONE;
    for (let i = 0; i < alike.length; i++) if (isAddress(view, at, bytes, alike[i]!.address)) return alike[i]!.endpoint;
    return undefined;
  }
}
