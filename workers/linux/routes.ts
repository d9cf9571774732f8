/** The kernel's routes, read when a path is built: which neighbour of an interface leads to an address. Formats: proc(5), net/ipv4/fib_trie.c, net/ipv6/route.c. */
import { readFileSync } from 'node:fs';
import * as Gid from '../../wire/gid.ts';

interface Route {
  readonly network: Uint8Array;
  readonly prefix: number;
  /** All zero: the destination itself is the neighbour. */
  readonly gateway: Uint8Array;
  readonly metric: number;
}

const RTF_UP = 1;
const RTF_REJECT = 0x0200;
/** Of this thread: it may live in another network namespace than the process. */
const PROC = '/proc/thread-self/net';

const lines = (file: string): string[][] => {
  try {
    return readFileSync(`${PROC}/${file}`, 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return []; // a kernel without that family
  }
};

/** Four octets in hexadecimal, in host order as /proc/net/route prints them, as an IPv4-mapped address. */
function mapped(hex: string): Uint8Array {
  return Gid.ofIpv4(Buffer.from(hex.padStart(8, '0'), 'hex').reverse());
}

const bitCount = (octets: Uint8Array): number =>
  octets.reduce((sum, octet) => sum + octet.toString(2).replaceAll('0', '').length, 0);

function ipv4Routes(netdev: string): Route[] {
  const routes: Route[] = [];
  for (const [name, network, gateway, flags, , , metric, mask] of lines('route').slice(1)) {
    const bits = Number.parseInt(flags ?? '0', 16);
    if (name !== netdev || !network || !gateway || !mask || (bits & RTF_UP) === 0 || (bits & RTF_REJECT) !== 0)
      continue;
    const prefix = 96 + bitCount(mapped(mask).subarray(12));
    routes.push({ network: mapped(network), prefix, gateway: mapped(gateway), metric: Number(metric) });
  }
  return routes;
}

function ipv6Routes(netdev: string): Route[] {
  const routes: Route[] = [];
  for (const [network, prefix, , , gateway, metric, , , flags, name] of lines('ipv6_route')) {
    const bits = Number.parseInt(flags ?? '0', 16);
    if (name !== netdev || !network || !prefix || !gateway || (bits & RTF_UP) === 0 || (bits & RTF_REJECT) !== 0)
      continue;
    const hops = Number.parseInt(metric ?? '0', 16);
    const octets = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
    routes.push({
      network: octets(network),
      prefix: Number.parseInt(prefix, 16),
      gateway: octets(gateway),
      metric: hops,
    });
  }
  return routes;
}

function matches(route: Route, address: Uint8Array): boolean {
  for (let bit = 0; bit < route.prefix; bit += 8) {
    const mask = (0xff << Math.max(0, 8 - (route.prefix - bit))) & 0xff;
    if (((route.network[bit >> 3]! ^ address[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

/**
 * The neighbour on `netdev` to which packets for `address` (16 octets) go: itself, or a gateway. Undefined when no route leads there.
 * The longest prefix wins, then the lowest metric.
 */
export function nextHop(netdev: string, address: Uint8Array): Uint8Array | undefined {
  const routes = Gid.isMappedIpv4(address) ? ipv4Routes(netdev) : ipv6Routes(netdev);
  const best = routes
    .filter((route) => matches(route, address))
    .sort((a, b) => b.prefix - a.prefix || a.metric - b.metric)[0];
  if (!best) return undefined;
  return Gid.isAny(best.gateway) ? address : best.gateway;
}
