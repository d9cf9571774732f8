/** The tenants of the simulated overlay, their endpoints, and which hosts have a place for each of them. Two tenants have the same addresses, of both families. */
import type { Claim } from '../../../daemon/presence.ts';
import { addressesOf } from './referee.ts';

export const HOST_COUNT = 4;
export const TENANTS = ['blue', 'red'] as const;
export const VNIS: Readonly<Record<string, number>> = { blue: 100, red: 200 };

interface Entry {
  readonly address: string;
  readonly also?: string[];
  readonly kind: 'vrnic' | 'veth';
  /** Its host says nothing of translation. */
  readonly isPlain?: true;
}

/** Of each tenant. */
export const CATALOGUE: readonly Entry[] = [
  { address: '10.0.0.1', also: ['fd00::1'], kind: 'vrnic' },
  { address: '10.0.0.2', kind: 'veth' },
  { address: 'fd00::3', kind: 'vrnic' },
  { address: 'fd00::4', kind: 'veth' },
  { address: '10.0.0.5', kind: 'vrnic', isPlain: true },
  { address: '10.0.0.6', also: ['fd00::6'], kind: 'vrnic' },
  { address: 'fd00::7', also: ['10.0.0.7'], kind: 'vrnic' },
];

const NAMES = new Map(CATALOGUE.flatMap((one) => addressesOf(one).map((address) => [address, one.address])));
/** Nobody has the last ones. */
export const ADDRESSES: readonly string[] = [...NAMES.keys(), '10.0.0.8', 'fd00::8'];

/** The first address of the endpoint that has this one. */
export const nameOf = (address: string): string => NAMES.get(address) ?? address;

export const isOfOneFamily = (one: string, other: string): boolean => one.includes(':') === other.includes(':');

export const vtepOf = (host: number): string => `127.0.1.${host + 1}`;

const indexOf = (address: string): number => CATALOGUE.findIndex((one) => one.address === address);

/** The hosts that have a vRNIC for the endpoint, or an interface; the first one has it at first. Blue is never on the last host, nor red on the first. */
export function homesOf(tenant: string, address: string): readonly number[] {
  const first = tenant === 'blue' ? 0 : 1;
  const count = HOST_COUNT - 1;
  return [first + (indexOf(address) % count), first + ((indexOf(address) + 1) % count)];
}

/** What a configuration file says of an endpoint of that host. */
export function claimOf(
  { tenant, address }: { readonly tenant: string; readonly address: string },
  host: number,
): Claim {
  const { kind, isPlain, ...one } = CATALOGUE[indexOf(address)]!;
  const port = { kind, netdev: `${tenant}${indexOf(address)}` };
  const more = kind === 'veth' ? port : { ...one, ...(!isPlain && { translates: true }) };
  return { tenant, address, host: vtepOf(host), more };
}

/** In the file of a host: vRNICs at all their homes; an interface is in one file only. */
export function configured(kind: Entry['kind'], host: number): { tenant: string; address: string }[] {
  return TENANTS.flatMap((tenant) =>
    CATALOGUE.filter((one) => {
      const homes = homesOf(tenant, one.address);
      return one.kind === kind && (kind === 'veth' ? homes[0] === host : homes.includes(host));
    }).map(({ address }) => ({ tenant, address })),
  );
}
