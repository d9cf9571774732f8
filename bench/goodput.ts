/**
 * Goodput under random loss each way, in the simulation: one QP, 64 KiB messages, eight under way, 10 Gb/s, path MTU 4096 and 1024. A table, and JSON with `--json FILE`.
 * Virtual time: the same figures on every machine.
 *
 *     node dist/bench/goodput.js [--json FILE] [--ms 100]
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { QpType, SendFlag, WcStatus, WrOpcode } from '../rnic/constants.ts';
import { Framing } from '../rnic/path.ts';
import { SimHost, type SimQp } from '../test/support/sim/host.ts';
import { ADDRESS_A, ADDRESS_B, CONNECTION } from '../test/support/sim/pair.ts';
import { Random } from '../test/support/sim/random.ts';
import { NO_FAULTS, Wire } from '../test/support/sim/wire.ts';
import { readCompletion } from '../test/support/sim/work.ts';
import { World } from '../test/support/sim/world.ts';

const MESSAGE_BYTES = 65_536;
const UNDER_WAY = 8;
const MEMORY_BYTES = 2 * MESSAGE_BYTES;
const BYTES_PER_MICRO = 1250;
const LOSSES = [0, 0.001, 0.01, 0.05, 0.1] as const;
const ROUND_TRIPS = [20, 50, 100] as const;
/** By their enum ibv_mtu. */
const PATH_MTUS = { 4096: 5, 1024: 3 } as const;
const WORK = { WRITE: WrOpcode.RDMA_WRITE, SEND: WrOpcode.SEND, READ: WrOpcode.RDMA_READ } as const;

/** As bench/plots.ts reads it. */
interface Goodput {
  readonly series: string;
  readonly lossPercent: number;
  readonly gigabits: number;
  /** Of what comes without loss. */
  readonly share: number;
}

interface Network {
  readonly loss: number;
  readonly roundTrip: number;
  /** Enum ibv_mtu. */
  readonly pathMtu: number;
}

function hosts({ loss, roundTrip, pathMtu }: Network) {
  const random = new Random(7);
  const options = { isIpv6: false, framing: Framing.HEADER_ONCE, memoryBytes: MEMORY_BYTES, mtu: 9000 };
  const engine = { strictTimers: false, reorderWindow: 1024, burstFrames: 256 };
  const a = new SimHost({ ...options, ...engine, address: ADDRESS_A }, random);
  const b = new SimHost({ ...options, ...engine, address: ADDRESS_B }, random);
  const faults = { ...NO_FAULTS, loss, delayMicros: roundTrip / 2, bytesPerMicro: BYTES_PER_MICRO };
  const world = new World(a, b, new Wire(random, faults), false);
  const [qpA, qpB] = [a.createQp(QpType.RC, UNDER_WAY, false), b.createQp(QpType.RC, UNDER_WAY, false)];
  const connection = { ...CONNECTION, timeout: 14, pathMtu, maxRdAtomic: 16, maxDestRdAtomic: 16 };
  b.connect(qpB, QpType.RC, ADDRESS_A, qpA.qpNum, connection.sqPsn, connection);
  a.connect(qpA, QpType.RC, ADDRESS_B, qpB.qpNum, connection.sqPsn, connection);
  return { world, a, b, qpA, qpB };
}

function take(ring: SimQp['sendCq']): number {
  let count = 0;
  for (let next = readCompletion(ring); next; next = readCompletion(ring)) {
    if (next.status !== WcStatus.SUCCESS) throw new Error(`a work request ended with status ${next.status}`);
    count++;
  }
  return count;
}

/** Gb/s of payload that is known to have arrived, over so many microseconds. */
function goodput(opcode: WrOpcode, network: Network, micros: number): number {
  const { world, a, b, qpA, qpB } = hosts(network);
  const remote = { remoteAddress: MESSAGE_BYTES, rKey: b.key };
  let done = 0;
  const act = (): boolean => {
    take(qpB.recvCq);
    while (b.postReceive(qpB, 0, [b.sge(0, MESSAGE_BYTES)]));
    done += take(qpA.sendCq);
    const request = { wrId: 0, opcode, flags: SendFlag.SIGNALED, sges: [a.sge(0, MESSAGE_BYTES)], ...remote };
    while (a.postSend(qpA, request));
    return false;
  };
  world.run(micros, act, 5);
  return (done * MESSAGE_BYTES * 8) / world.now / 1000;
}

function measure(micros: number): Goodput[] {
  const rows: Goodput[] = [];
  for (const [mtu, pathMtu] of Object.entries(PATH_MTUS)) {
    for (const [work, opcode] of Object.entries(WORK)) {
      for (const roundTrip of ROUND_TRIPS) {
        const without = goodput(opcode, { loss: 0, roundTrip, pathMtu }, micros);
        for (const loss of LOSSES) {
          const gigabits = loss === 0 ? without : goodput(opcode, { loss, roundTrip, pathMtu }, micros);
          const series = `${work}, MTU ${mtu}, RTT ${roundTrip} µs`;
          rows.push({ series, lossPercent: loss * 100, gigabits, share: gigabits / without });
        }
      }
    }
  }
  return rows;
}

const { values: flags } = parseArgs({ options: { json: { type: 'string' }, ms: { type: 'string', default: '100' } } });
const rows = measure(Number(flags.ms) * 1000);
for (const { series, lossPercent, gigabits, share } of rows) {
  const cells = [`${lossPercent} %`, `${gigabits.toFixed(2)} Gb/s`, `${Math.round(share * 100)} %`];
  console.log(series.padEnd(28) + cells.map((cell) => cell.padStart(12)).join(''));
}
if (flags.json) writeFileSync(flags.json, `${JSON.stringify(rows, null, 2)}\n`);
