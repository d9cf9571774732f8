/** The loops of the bench, run between two hosts: bandwidth, rate and latency as single figures. */
import { WrOpcode } from '../verbs/index.ts';
import type { Lab } from './host.ts';
import type { Usage, Work } from './side.ts';

export type Verb = 'WRITE' | 'READ' | 'SEND';

const OPCODES: Record<Verb, WrOpcode> = {
  WRITE: WrOpcode.RDMA_WRITE,
  READ: WrOpcode.RDMA_READ,
  SEND: WrOpcode.SEND,
};
const MARGIN_SECONDS = 0.2;

export interface Flow {
  readonly verb: Verb;
  readonly bytes: number;
  readonly seconds: number;
  readonly qps?: number;
  readonly depth?: number;
  readonly moderation?: number;
  /** One for each QP by default. */
  readonly slots?: number;
  /** So much longer the target attends than the source posts. */
  readonly marginSeconds?: number;
}

export interface FlowFigures {
  readonly gigabits: number;
  readonly messagesPerSecond: number;
  /** Minor collections a second in all threads of the host that sends, and of the other. */
  readonly minorsSender: number;
  readonly minorsReceiver: number;
  /** Octets resident at the end, of the host that sends. */
  readonly residentBytes: number;
}

export async function flow(lab: Lab, wanted: Flow): Promise<FlowFigures> {
  const { verb, bytes, seconds, qps = 1, depth = 128, moderation = 16, marginSeconds = MARGIN_SECONDS } = wanted;
  const { slots = qps } = wanted;
  const work: Work = { opcode: OPCODES[verb], bytes, seconds, qps, depth, moderation, slots };
  const before = await usages(lab);
  const attending = lab.b.do(
    verb === 'SEND'
      ? { do: 'receive', seconds: seconds + marginSeconds }
      : { do: 'attend', seconds: seconds + marginSeconds },
  );
  const sent = await lab.a.do<{ bytesPerSecond: number; messagesPerSecond: number }>({ do: 'send', ...work });
  await attending;
  const after = await usages(lab);
  return {
    gigabits: (sent.bytesPerSecond * 8) / 1e9,
    messagesPerSecond: sent.messagesPerSecond,
    minorsSender: (minors(after[0]!) - minors(before[0]!)) / seconds,
    minorsReceiver: (minors(after[1]!) - minors(before[1]!)) / seconds,
    residentBytes: after[0]!.residentBytes,
  };
}

const usages = (lab: Lab): Promise<Usage[]> =>
  Promise.all([lab.a, lab.b].map((host) => host.do<Usage>({ do: 'usage' })));
const minors = ({ gc }: Usage): number => gc.main.minor + gc.workers.minor;

export interface Latency {
  readonly p50: number;
  readonly p99: number;
}

/** One way, microseconds: half of there and back, 64 octets. */
export async function latency(lab: Lab, seconds: number, sleeping: boolean, bytes = 64): Promise<Latency> {
  const answering = lab.b.do({ do: 'pong', seconds, sleeping, bytes });
  const times = await lab.a.do<number[]>({ do: 'ping', seconds, sleeping, bytes });
  await answering;
  return { p50: times[times.length >> 1]!, p99: times[Math.floor(times.length * 0.99)]! };
}
