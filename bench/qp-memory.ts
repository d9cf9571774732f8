/**
 * Octets of process memory for each idle, connected RC QP, besides its queues: 100,000 of them on one vRNIC behind 20,000 others, with the address vector and the
 * path that a worker makes for each. `node --expose-gc dist/bench/qp-memory.js [count]`.
 */
import { TransmitBurst } from '../rnic/burst.ts';
import type { Answers, Command, CommandOf } from '../rnic/commands.ts';
import { DEFAULT_LIMITS } from '../rnic/config.ts';
import { QpAttr, QpState, QpType } from '../rnic/constants.ts';
import { PacketWriter } from '../rnic/packet-writer.ts';
import { DoorbellPage, doorbellBytes } from '../rnic/queue/doorbell.ts';
import { Rnic } from '../rnic/rnic.ts';
import { Transport } from '../vswitch/transport.ts';
import { toGid } from '../workers/linux/netdev.ts';
import { Neighbours } from '../workers/neighbours.ts';
import { PathResolver } from '../workers/path-resolver.ts';
import { MemoryPort, newLoopback } from '../workers/ports/memory.ts';
import { QueueSlabs } from '../workers/queue-slabs.ts';

const count = Number(process.argv[2] ?? 100_000);
const FIRST = 20_000;
const CAP = { maxSendWr: 1, maxRecvWr: 1, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const GID = toGid('192.0.2.1');
const PEER = toGid('192.0.2.2');
const AV = { dgid: PEER, sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };

const slabs = new QueueSlabs();
let random = 1;
const page = new DoorbellPage(new Int32Array(new SharedArrayBuffer(doorbellBytes(FIRST + count))), FIRST + count);
const rnic = new Rnic(
  {
    name: 'bench',
    mac: new Uint8Array(6),
    gids: [{ gid: new Uint8Array(16) }],
    mtu: 4500,
    qpnBase: 0x1000,
    qpnCount: 1 << 20,
    limits: { ...DEFAULT_LIMITS, qps: FIRST + count },
    strictTimers: false,
    reorderWindow: 128,
  },
  {
    random32: () => {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
      return random;
    },
    allocateQueue: (context, bytes) => slabs.of(context).allocate(bytes),
    freeQueue: (context, memory) => slabs.of(context).free(memory),
  },
);
const context = rnic.openContext(page);

const paths = new PathResolver({
  mac: MAC,
  gids: [{ gid: GID }],
  ports: [new MemoryPort(newLoopback(4500))],
  neighbours: acquainted(),
});

/** A neighbour table that knows the peer. */
function acquainted(): Neighbours {
  const us = new Neighbours({ mac: MAC, addresses: [GID], answers: true });
  const peer = new Neighbours({ mac: Uint8Array.of(2, 0, 0, 0, 0, 2), addresses: [PEER], answers: true });
  us.resolve(PEER, GID, 0);
  for (const [from, to] of [
    [us, peer],
    [peer, us],
  ] as const)
    to.handleFrame(from.burst.view, from.burst.at[0]!, from.burst.at[0]! + from.burst.frameBytes[0]!, 0);
  return us;
}

function execute<Op extends Command['op']>(command: CommandOf<Op>): Answers[Op] {
  const result = rnic.execute(context, command as Command, 0);
  if (!result.ok) throw new Error(`${command.op}: ${result.reason}`);
  return result as unknown as Answers[Op];
}

const { STATE, PKEY_INDEX, PORT, ACCESS_FLAGS, PATH_MTU, DEST_QPN, RQ_PSN, SQ_PSN } = QpAttr;
const TO_RTR = QpAttr.AV | PATH_MTU | DEST_QPN | RQ_PSN | QpAttr.MAX_DEST_RD_ATOMIC | QpAttr.MIN_RNR_TIMER;
const TO_RTS = SQ_PSN | QpAttr.TIMEOUT | QpAttr.RETRY_CNT | QpAttr.RNR_RETRY | QpAttr.MAX_QP_RD_ATOMIC;
const STEPS = [
  [QpState.INIT, PKEY_INDEX | PORT | ACCESS_FLAGS],
  [QpState.RTR, TO_RTR],
  [QpState.RTS, TO_RTS],
] as const;

function connectOne(pd: number, cq: number): void {
  const cookie = 0n;
  const { qp, qpNum } = execute({
    op: 'createQp',
    pd,
    type: QpType.RC,
    sendCq: cq,
    recvCq: cq,
    cap: CAP,
    sqSigAll: false,
    cookie,
  });
  const destQpNum = 0x123456;
  // As a worker gets it, and what it makes of it.
  const av = structuredClone(AV);
  const found = paths.resolve(av, Transport.RC, qpNum, destQpNum, 0);
  if (found === null || 'ok' in found) throw new Error('no path');
  for (const [qpState, mask] of STEPS) {
    const attributes = {
      qpState,
      pKeyIndex: 0,
      portNum: 1,
      qpAccessFlags: 15,
      av,
      pathMtu: 3,
      destQpNum,
      rqPsn: 0x800000,
      sqPsn: 0x900000,
      maxDestRdAtomic: 16,
      maxRdAtomic: 16,
      minRnrTimer: 12,
      timeout: 14,
      retryCnt: 7,
      rnrRetry: 7,
    };
    execute({ op: 'modifyQp', qp, mask: mask | STATE, attributes, path: found.path });
  }
}

/** Memory after what can be collected is. */
function settled(): NodeJS.MemoryUsage {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return process.memoryUsage();
}

const { pd } = execute({ op: 'allocPd' });
const { cq } = execute({ op: 'createCq', cqe: 1024 });

/** So many QPs more, each of which had its first turn and nothing to send: now they are idle. */
function connectMany(qps: number): void {
  for (let i = 0; i < qps; i++) connectOne(pd, cq);
  while (rnic.pollTransmit(new PacketWriter([new TransmitBurst()], 0), 0));
}

// The first ones give the process what it has once, V8's nursery above all.
connectMany(FIRST);
const before = settled();
const started = process.hrtime.bigint();
connectMany(count);
const nanos = Number(process.hrtime.bigint() - started);
const after = settled();
const each = (bytes: number): string => (bytes / count).toFixed(0);
const queues = after.arrayBuffers - before.arrayBuffers;
console.log(`${FIRST + count} RC QPs in RTS, one slot of work each way; of the last ${count} each has`);
console.log(`heap:     ${each(after.heapUsed - before.heapUsed)} octets`);
console.log(`queues:   ${each(queues)} octets (two of 1 KiB at least), all resident`);
console.log(`resident: ${each(after.rss - before.rss - queues)} octets besides its queues`);
console.log(`connected in ${(nanos / count / 1000).toFixed(1)} µs`);
if (globalThis.gc === undefined) console.log('without --expose-gc these figures hold garbage too');
