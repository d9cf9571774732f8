/** The demo: two hosts in two network namespaces, joined by one wire, and RDMA between them. Leaves nothing behind: namespaces and wire end with the processes. */
import { spawnSync } from 'node:child_process';
import { WrOpcode } from '../../verbs/index.ts';
import { joinByWire, RemoteHost } from '../remote-host.ts';
import type { DemoHost, HostAddress, Step } from './host.ts';
import { showTenants, WARM_UP_SECONDS } from './tenants.ts';

const MTU = 9000;
const MESSAGE_BYTES = 1 << 20;

/** Runs the demo in a network namespace of its own, as root or in a user namespace. Resolves to the exit code. */
export function startDemo(cli: string, isJson: boolean): number {
  const flags = process.getuid?.() === 0 ? ['-n'] : ['-U', '-r', '-n'];
  const inner = [process.execPath, cli, 'demo', '--inside', ...(isJson ? ['--json'] : [])];
  const { status, error } = spawnSync('unshare', [...flags, ...inner], { stdio: 'inherit' });
  if (error) throw new Error(`the demo needs unshare(1) of util-linux: ${error.message}`);
  if (status === 1 && process.getuid?.() !== 0)
    console.error('without root the demo needs unprivileged user namespaces (kernel.unprivileged_userns_clone)');
  return status ?? 1;
}

/** One line of the demo's story. */
interface Finding {
  readonly what: string;
  readonly result: string;
}

/** Inside the namespace: plays the whole demo. @throws Error at the first thing that is not as it should be. */
export async function directDemo(cli: string, isJson: boolean): Promise<void> {
  const findings: Finding[] = [];
  const tell = (what: string, result: string): void => {
    findings.push({ what, result });
    if (!isJson) console.log(`  ${what.padEnd(46)} ${result}`);
  };
  const argv = [cli, 'demo', '--host'];
  const hosts = [new RemoteHost<Step>('host A', argv), new RemoteHost<Step>('host B', argv)] as const;
  const [a, b] = hosts;
  try {
    await joinByWire(a, b);
    if (!isJson)
      console.log('Two hosts, each with a vRNIC, joined by a wire (veth, MTU 9000). No kernel RDMA anywhere.\n');
    const atA = await a.do<HostAddress>({ do: 'start', address: '192.0.2.1/24', mtu: MTU });
    const atB = await b.do<HostAddress>({ do: 'start', address: '192.0.2.2/24', mtu: MTU });
    await Promise.all([a.do({ do: 'connect', peer: atB }), b.do({ do: 'connect', peer: atA })]);
    tell('RC connection 192.0.2.1 ↔ 192.0.2.2', `QP 0x${atA.qpNum.toString(16)} ↔ QP 0x${atB.qpNum.toString(16)}`);
    await verify(a, b, tell);
    await measure(a, tell);
    if (!isJson) console.log('\nThree tenants on the same two hosts, each with the address 10.0.0.1.\n');
    await showTenants(a, b, tell);
    await Promise.all(hosts.map((host) => host.do({ do: 'end' })));
    for (const host of hosts) host.end();
  } catch (error) {
    for (const host of hosts) host.kill();
    throw error;
  }
  if (isJson) console.log(JSON.stringify({ findings }));
  else console.log('\nAll octets compared. Next: urnic pingpong --help, docs/verbs/, examples/.');
}

async function verify(a: DemoHost, b: DemoHost, tell: (what: string, result: string) => void): Promise<void> {
  const bytes = MESSAGE_BYTES;
  const expect = async (host: DemoHost, value: number): Promise<void> => {
    const at = await host.do<number>({ do: 'differs', value, bytes });
    if (at !== -1) throw new Error(`${host.name}: octet ${at} is not what was sent`);
  };
  await b.do({ do: 'postRecv', bytes });
  await a.do({ do: 'fill', value: 0x11, bytes });
  await a.do({ do: 'transfer', opcode: WrOpcode.SEND, bytes });
  await expect(b, 0x11);
  tell('SEND of 1 MiB, A → B', 'verified');
  await a.do({ do: 'fill', value: 0x22, bytes });
  await a.do({ do: 'transfer', opcode: WrOpcode.RDMA_WRITE, bytes });
  await expect(b, 0x22);
  tell("RDMA WRITE of 1 MiB into B's memory", 'verified');
  await b.do({ do: 'fill', value: 0x33, bytes });
  await a.do({ do: 'transfer', opcode: WrOpcode.RDMA_READ, bytes });
  await expect(a, 0x33);
  tell("RDMA READ of 1 MiB from B's memory", 'verified');
  await b.do({ do: 'fill', value: 0, bytes });
  const before = await a.do<string>({ do: 'atomic', opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, value: 42 });
  const after = await a.do<string>({ do: 'atomic', opcode: WrOpcode.ATOMIC_CMP_AND_SWP, value: 42 });
  if (before !== '0' || after !== '42') throw new Error(`atomics returned ${before} and ${after}, not 0 and 42`);
  tell('FETCH_ADD 42, then CMP_SWAP 42 → 7', 'verified (0, then 42)');
}

async function measure(a: DemoHost, tell: (what: string, result: string) => void): Promise<void> {
  for (const [name, opcode] of [
    ['WRITE', WrOpcode.RDMA_WRITE],
    ['READ', WrOpcode.RDMA_READ],
  ] as const) {
    await a.do({ do: 'bandwidth', opcode, bytes: 65_536, seconds: WARM_UP_SECONDS });
    const gbits = await a.do<number>({ do: 'bandwidth', opcode, bytes: 65_536, seconds: 2 });
    tell(`64 KiB ${name}s, one QP`, `${gbits.toFixed(1)} Gb/s`);
  }
  const micros = await a.do<number>({ do: 'latency', bytes: 64, seconds: 1 });
  tell('64 B WRITE, post to completion (median)', `${micros.toFixed(1)} µs`);
}
