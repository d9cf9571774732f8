/** Goodput under loss between two virtual machines, by perftest: with the kernel's rxe; the wire between them is the same. */
import type { LossyWire, WireEnd } from '../test/support/lossy-wire.ts';
import type { Teardown } from '../test/support/netns.ts';
import { RxePeer } from '../test/support/rxe-peer.ts';
import { type Goodput, series } from './loss-rows.ts';
import { rowOf } from './perftest-row.ts';

const BYTES = 65_536;
const SECONDS = 4;
const UNDER_WAY = 16;
const PROGRAM_MILLIS = 20_000;
const PERFTEST_PORT = 18_515;
const SERVER = '192.0.2.2';
const PROGRAMS = { WRITE: 'ib_write_bw', READ: 'ib_read_bw', SEND: 'ib_send_bw' } as const;
export type VmVerb = keyof typeof PROGRAMS;

export class Pair {
  readonly #client: RxePeer;
  readonly #server: RxePeer;
  readonly #wire: LossyWire;

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
      boot('left', '192.0.2.1', '52:54:00:00:00:01'),
      boot('right', SERVER, '52:54:00:00:00:02'),
    ]);
    return new Pair(wire, client, server);
  }

  /** Microseconds from a WRITE of 64 octets to its answer, the median. */
  async roundTrip(): Promise<number> {
    const output = await this.#run('ib_write_lat', '-s 64 -n 500');
    return 2 * Number(rowOf(output, 64)[4]);
  }

  curve(verb: VmVerb): Promise<Goodput[]> {
    const how = { wire: this.#wire, sparedTcpPort: PERFTEST_PORT, rounds: 1 };
    return series(`rxe ${verb}`, how, () => this.#bandwidth(PROGRAMS[verb]));
  }

  /** Gb/s, or what perftest says when a work request fails. */
  async #bandwidth(program: string): Promise<number | string> {
    const options = `-m 4096 -s ${BYTES} -t ${UNDER_WAY} -Q 1 -D ${SECONDS} --report_gbits`;
    const output = await this.#run(program, options);
    const gigabits = rowOf(output, BYTES)[3];
    if (gigabits !== undefined) return Number(gigabits);
    return /Completion with error.*|Failed status.*/.exec(output)?.[0] ?? output.slice(-200);
  }

  /** What the client prints. */
  async #run(program: string, its: string): Promise<string> {
    const command = `${program} -d rxe0 -x 1 -F ${its}`;
    const options = { timeoutMillis: PROGRAM_MILLIS };
    const serving = this.#server.exec(command, options);
    await this.#server.listens(PERFTEST_PORT);
    const { output } = await this.#client.exec(`${command} ${SERVER}`, options);
    await serving;
    return output;
  }
}
