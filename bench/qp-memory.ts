/** Octets of process memory for each idle, connected RC QP, besides its queues: 100,000 of them on one vRNIC. `node --expose-gc dist/bench/qp-memory.js [count]`. */
import { TransmitBurst } from '../rnic/burst.ts';
import type { Answers, Command, CommandOf } from '../rnic/commands.ts';
import { DEFAULT_LIMITS } from '../rnic/config.ts';
import { QpAttr, QpState, QpType } from '../rnic/constants.ts';
import { PacketWriter } from '../rnic/packet-writer.ts';
import type { Path } from '../rnic/path.ts';
import { DoorbellPage, doorbellBytes } from '../rnic/queue/doorbell.ts';
import { Rnic } from '../rnic/rnic.ts';
import { QueueSlabs } from '../workers/queue-slabs.ts';

const count = Number(process.argv[2] ?? 100_000);
const CAP = { maxSendWr: 1, maxRecvWr: 1, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
const AV = { dgid: new Uint8Array(16), sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
/** One path for all: a path belongs to the worker that resolved it, and QPs to one peer share it. */
const PATH: Path = {
  template: new Uint8Array(42),
  ethernetAt: 0,
  ipAt: 14,
  udpAt: 34,
  isIpv6: false,
  port: 0,
  destination: 0,
  framing: 0,
  icrcElided: false,
};

const slabs = new QueueSlabs();
let random = 1;
const page = new DoorbellPage(new Int32Array(new SharedArrayBuffer(doorbellBytes(count))), count);
const rnic = new Rnic(
  {
    name: 'bench',
    mac: new Uint8Array(6),
    gids: [{ gid: new Uint8Array(16) }],
    mtu: 4500,
    qpnBase: 0x1000,
    qpnCount: 1 << 20,
    limits: { ...DEFAULT_LIMITS, qps: count },
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
  const { qp } = execute({
    op: 'createQp',
    pd,
    type: QpType.RC,
    sendCq: cq,
    recvCq: cq,
    cap: CAP,
    sqSigAll: false,
    cookie,
  });
  for (const [qpState, mask] of STEPS) {
    const attributes = {
      qpState,
      pKeyIndex: 0,
      portNum: 1,
      qpAccessFlags: 15,
      av: AV,
      pathMtu: 3,
      destQpNum: 0x123456,
      rqPsn: 0x800000,
      sqPsn: 0x900000,
      maxDestRdAtomic: 16,
      maxRdAtomic: 16,
      minRnrTimer: 12,
      timeout: 14,
      retryCnt: 7,
      rnrRetry: 7,
    };
    execute({ op: 'modifyQp', qp, mask: mask | STATE, attributes, path: PATH });
  }
}

/** Memory after what can be collected is. */
function settled(): NodeJS.MemoryUsage {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return process.memoryUsage();
}

const { pd } = execute({ op: 'allocPd' });
const { cq } = execute({ op: 'createCq', cqe: 1024 });
for (let i = 0; i < 100; i++) connectOne(pd, cq);
const before = settled();
const started = process.hrtime.bigint();
for (let i = 100; i < count; i++) connectOne(pd, cq);
const nanos = Number(process.hrtime.bigint() - started);
// Each had its first turn, and nothing to send: now they are idle.
while (rnic.pollTransmit(new PacketWriter([new TransmitBurst()], 0), 0));
const after = settled();
const made = count - 100;
const each = (bytes: number): string => (bytes / made).toFixed(0);
console.log(`${count} RC QPs in RTS, one slot of work each way`);
console.log(`heap:          ${each(after.heapUsed - before.heapUsed)} octets a QP`);
console.log(
  `array buffers: ${each(after.arrayBuffers - before.arrayBuffers)} octets a QP (its queues: two of 1 KiB at least)`,
);
console.log(`resident:      ${each(after.rss - before.rss)} octets a QP, queues that were touched included`);
console.log(`create and connect: ${(nanos / made / 1000).toFixed(1)} µs a QP`);
if (globalThis.gc === undefined) console.log('without --expose-gc these figures hold garbage too');
