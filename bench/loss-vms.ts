/** Goodput under loss between two virtual machines, by perftest: with the kernel's rxe, and with urnic in its place; the wire between them is the same. */
import type { LossyWire, WireEnd } from '../test/support/lossy-wire.ts';
import type { Teardown } from '../test/support/netns.ts';
import { RxePeer } from '../test/support/rxe-peer.ts';
import { CLI, SHIM } from '../test/uverbs/lab.ts';
import { type Goodput, series } from './loss-rows.ts';

const BYTES = 65_536;
const SECONDS = 4;
/** V8 compiles slowly in there. */
const WARM_UP_SECONDS = 8;
const UNDER_WAY = 16;
const PROGRAM_MILLIS = 20_000;
const PERFTEST_PORT = 18_515;
/** State 0A is LISTEN (proc(5)). */
const LISTENS = `grep -qE ':${PERFTEST_PORT.toString(16).toUpperCase()} 0+:0000 0A' /proc/net/tcp /proc/net/tcp6`;
const CLIENT = '192.0.2.1';
const SERVER = '192.0.2.2';
const VRNIC = '/tmp/run/vrnics/v';
const PROGRAMS = { WRITE: 'ib_write_bw', READ: 'ib_read_bw', SEND: 'ib_send_bw' } as const;
export type VmVerb = keyof typeof PROGRAMS;

export class Pair {
  readonly #client: RxePeer;
  readonly #server: RxePeer;
  readonly #wire: LossyWire;
  #system: 'rxe' | 'urnic' = 'rxe';
  /** How a program comes to its device, in each. */
  #prefixes: readonly [string, string] = ['', ''];

  private constructor(wire: LossyWire, client: RxePeer, server: RxePeer) {
    this.#wire = wire;
    this.#client = client;
    this.#server = server;
  }

  static async start(scope: Teardown, wire: LossyWire): Promise<Pair> {
    const boot = async (end: WireEnd, address: string, mac: string): Promise<RxePeer> => {
      const tap = `tap-${end}`;
      await wire.namespace.ip('tuntap', 'add', 'dev', tap, 'mode', 'tap');
      await wire.attach(tap, end);
      return RxePeer.start(scope, wire.namespace, { address: `${address}/24`, mac, tap, cpus: 1, memoryMib: 1024 });
    };
    const [client, server] = await Promise.all([
      boot('left', CLIENT, '52:54:00:00:00:01'),
      boot('right', SERVER, '52:54:00:00:00:02'),
    ]);
    return new Pair(wire, client, server);
  }

  /** In both, urnic's daemon has the interface from now on. */
  async giveToUrnic(): Promise<void> {
    const prefixes = await Promise.all([startUrnic(this.#client, CLIENT), startUrnic(this.#server, SERVER)]);
    this.#prefixes = prefixes as [string, string];
    this.#system = 'urnic';
    await this.#bandwidth(PROGRAMS.WRITE, WARM_UP_SECONDS);
  }

  /** Microseconds from a WRITE of 64 octets to its answer, the median. */
  async roundTrip(): Promise<number> {
    const output = await this.#run('ib_write_lat', '-s 64 -n 500');
    return 2 * Number(rowOf(output, 64)?.[4]);
  }

  curve(verb: VmVerb): Promise<Goodput[]> {
    const how = { wire: this.#wire, sparedTcpPort: PERFTEST_PORT, rounds: 1 };
    return series(`${this.#system}${this.#system === 'urnic' ? ' in the VMs' : ''} ${verb}`, how, () =>
      this.#bandwidth(PROGRAMS[verb]),
    );
  }

  /** Gb/s, or what perftest says when a work request fails. */
  async #bandwidth(program: string, seconds = SECONDS): Promise<number | string> {
    const options = `-m 4096 -s ${BYTES} -t ${UNDER_WAY} -Q 1 -D ${seconds} --report_gbits`;
    const output = await this.#run(program, options);
    const row = rowOf(output, BYTES);
    if (row !== undefined) return Number(row[3]);
    return /Completion with error.*|Failed status.*/.exec(output)?.[0] ?? output.slice(-200);
  }

  /** What the client prints. */
  async #run(program: string, its: string): Promise<string> {
    const command = `${program} -d rxe0 -x 1 -F ${its}`;
    const [ofClient, ofServer] = this.#prefixes;
    const options = { timeoutMillis: PROGRAM_MILLIS };
    const serving = this.#server.exec(`${ofServer} ${command}`, options);
    await this.#server.must(`until ${ofServer} ${LISTENS}; do sleep 0.1; done`);
    const { output } = await this.#client.exec(`${ofClient} ${command} ${SERVER}`, options);
    await serving;
    return output;
  }
}

/** Returns how programs come to its vRNIC. The interface moves to a network namespace of the daemon's own: rxe leaves it by that. */
async function startUrnic(peer: RxePeer, address: string): Promise<string> {
  const up = [
    'until ip link show eth0 > /dev/null 2>&1; do sleep 0.1; done',
    'ip link set lo up',
    `ip addr add ${address}/24 dev eth0 && ip link set eth0 mtu 9000 up`,
    'mkdir -p /tmp/run',
    String.raw`printf "vrnics:\n  - name: v\n    netdev: eth0\n" > /tmp/urnic.yaml`,
    `exec ${process.execPath} ${CLI} up -c /tmp/urnic.yaml --socket /tmp/run/control.sock`,
  ];
  const pid = (await peer.must(`setsid unshare -n sh -c '${up.join('; ')}' > /tmp/up.log 2>&1 & echo $!`)).trim();
  const ready = `for i in $(seq 100); do [ -S ${VRNIC}/uverbs ] && exit 0; sleep 0.3; done; cat /tmp/up.log; exit 1`;
  await peer.must(`sleep 0.5; ip link set eth0 netns ${pid}; ${ready}`);
  return `nsenter -t ${pid} -n env LD_PRELOAD=${SHIM} URNIC_VRNIC=${VRNIC}`;
}

/** The columns of perftest's line for messages of so many octets. */
const rowOf = (output: string, bytes: number): string[] | undefined =>
  output
    .split('\n')
    .map((line) => line.trim())
    .find((line) => line.startsWith(`${bytes} `))
    ?.split(/\s+/);
