/** The demo's second half: three tenants with the same addresses on the same two hosts, one for each underlay; a rule that cuts, a limit that holds. */
import type { DemoHost, HostAddress } from './host.ts';

type Tell = (what: string, result: string) => void;

const HOSTS = ['192.0.2.1', '192.0.2.2'];
const INSIDE = ['10.0.0.1', '10.0.0.2'];
/** Green lives on host A alone. */
const NEIGHBOUR = '10.0.0.3';
const LIMIT = 1e9;
const SECONDS = 1;
/** A worker's first second or two of traffic is V8's, which compiles. */
export const WARM_UP_SECONDS = 1.5;

const endpoints = (addresses: readonly string[], hosts: readonly string[]): string =>
  addresses.map((address, i) => `{ address: ${address}, host: ${hosts[i]} }`).join(', ');
const TENANTS = `
workers: 1
log: silent
tenants:
  - { name: blue, vni: 100, underlay: vxlan, endpoints: [${endpoints(INSIDE, HOSTS)}] }
  - { name: red, vni: 200, underlay: translate, endpoints: [${endpoints(INSIDE, HOSTS)}] }
  - { name: green, vni: 300, endpoints: [${endpoints([INSIDE[0]!, NEIGHBOUR], [HOSTS[0]!, HOSTS[0]!])}] }
vrnics:`;
const vrnic = (name: string, tenant: string, address: string): string =>
  `\n  - { name: ${name}, tenant: ${tenant}, address: ${address}, netdev: eth0 }`;
const AT_A = [
  vrnic('blue', 'blue', INSIDE[0]!),
  vrnic('red', 'red', INSIDE[0]!),
  vrnic('green', 'green', INSIDE[0]!),
  vrnic('green-2', 'green', NEIGHBOUR),
];
const AT_B = [vrnic('blue', 'blue', INSIDE[1]!), vrnic('red', 'red', INSIDE[1]!)];

/** One end of a connection: a vRNIC on a host of the demo. */
interface End {
  readonly host: DemoHost;
  readonly vrnic: string;
}

export async function showTenants(a: DemoHost, b: DemoHost, tell: Tell): Promise<void> {
  await Promise.all([
    a.do({ do: 'serveTenants', configuration: TENANTS + AT_A.join('') }),
    b.do({ do: 'serveTenants', configuration: TENANTS + AT_B.join('') }),
  ]);
  const pairs = [
    [
      { host: a, vrnic: 'blue' },
      { host: b, vrnic: 'blue' },
    ],
    [
      { host: a, vrnic: 'red' },
      { host: b, vrnic: 'red' },
    ],
    [
      { host: a, vrnic: 'green' },
      { host: a, vrnic: 'green-2' },
    ],
  ] as const;
  for (const [one, other] of pairs) {
    const underlay = await connect(one, other);
    const peer = one.vrnic === 'green' ? NEIGHBOUR : INSIDE[1];
    tell(`tenant ${one.vrnic}: ${INSIDE[0]} ↔ ${peer}, by ${underlay}`, 'connected');
  }
  await writeAtOnce(pairs);
  tell('WRITE of 1 MiB in all three, to the same address', 'each in its own');
  for (const [{ host, vrnic }] of pairs) {
    await host.do({ do: 'tenantBandwidth', name: vrnic, seconds: WARM_UP_SECONDS });
    const gbits = await host.do<number>({ do: 'tenantBandwidth', name: vrnic, seconds: SECONDS });
    tell(`64 KiB WRITEs in ${vrnic}`, `${gbits.toFixed(1)} Gb/s`);
  }
  await a.do({ do: 'limitTenant', name: 'red', value: LIMIT });
  const gbits = await a.do<number>({ do: 'tenantBandwidth', name: 'red', seconds: SECONDS });
  tell('red limited to 1 Gb/s', `${gbits.toFixed(2)} Gb/s`);
  const millis = await a.do<number>({ do: 'denyTenant', name: 'red' });
  tell('a rule denies red: its live connection', `cut in ${millis.toFixed(1)} ms`);
  const after = await a.do<string>({ do: 'writeTenant', name: 'blue', value: 0x51 });
  if (after !== 'SUCCESS') throw new Error(`tenant blue: ${after}`);
  tell('blue meanwhile', 'goes on');
}

/** Says by which underlay. */
async function connect(one: End, other: End): Promise<string> {
  const [atOne, atOther] = [
    await one.host.do<HostAddress>({ do: 'joinTenant', name: one.vrnic }),
    await other.host.do<HostAddress>({ do: 'joinTenant', name: other.vrnic }),
  ];
  const underlay = await one.host.do<string>({ do: 'connectTenant', name: one.vrnic, peer: atOther });
  await other.host.do({ do: 'connectTenant', name: other.vrnic, peer: atOne });
  return underlay;
}

async function writeAtOnce(pairs: readonly (readonly [End, End])[]): Promise<void> {
  const value = (i: number): number => 0x41 + i;
  const written: string[] = [];
  for (const [i, [{ host, vrnic }]] of pairs.entries())
    written.push(await host.do<string>({ do: 'writeTenant', name: vrnic, value: value(i) }));
  for (const [i, [, { host, vrnic }]] of pairs.entries()) {
    const at = await host.do<number>({ do: 'tenantDiffers', name: vrnic, value: value(i) });
    if (written[i] !== 'SUCCESS' || at !== -1) throw new Error(`tenant ${vrnic}: ${written[i]}, octet ${at} differs`);
  }
}
