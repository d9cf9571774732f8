/**
 * A vRNIC that talks to itself, two QPs in one polled device, as rxe does in its virtual machine: bandwidth and latency without any wire. Alone,
 * `unshare -n node dist/bench/itself.js [seconds]` prints them; bench/vm.ts sets them beside rxe's.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as Layout from '../rnic/queue/layout.ts';
import {
  Access,
  type Context,
  type Cq,
  type Device,
  hostDevice,
  type Mr,
  type Qp,
  QpType,
  SendFlag,
  WcOpcode,
  WorkCompletion,
  WrOpcode,
} from '../verbs/index.ts';
import type { Verb } from './measure.ts';

const OPCODES: Record<Verb, WrOpcode> = {
  WRITE: WrOpcode.RDMA_WRITE,
  READ: WrOpcode.RDMA_READ,
  SEND: WrOpcode.SEND,
};
const SIZES = [4096, 65_536, 1_048_576];
const MEMORY_BYTES = 4 << 20;
/** Where messages come from, and where they go. */
const SOURCE_AT = 0;
const TARGET_AT = MEMORY_BYTES / 2;
const UNDER_WAY_BYTES = 1 << 20;
const DEPTH = 64;
const RECEIVES = 128;
const PING_BYTES = 64;
/** Pings between two completions, which give the send queue back. */
const PINGS_A_SIGNAL = 16;
const GID_INDEX = 1;
const PSN = 0x1234;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ;

export class Itself {
  readonly #device: Device;
  readonly #context: Context;
  readonly #cq: Cq;
  readonly #mr: Mr;
  readonly #qps: readonly [Qp, Qp];
  readonly #completion = new WorkCompletion();
  #receives = 0;

  private constructor(device: Device, context: Context, cq: Cq, mr: Mr, qps: readonly [Qp, Qp]) {
    this.#device = device;
    this.#context = context;
    this.#cq = cq;
    this.#mr = mr;
    this.#qps = qps;
  }

  /** In a network namespace of its own. */
  static async open(): Promise<Itself> {
    for (const text of [
      'link add eth0 type veth peer name eth1',
      'link set eth1 mtu 9000 up',
      'link set eth0 mtu 9000 up',
      'addr add 192.0.2.1/24 dev eth0',
    ]) {
      execFileSync('ip', text.split(' '));
    }
    const device = await hostDevice({ netdev: 'eth0', polled: true });
    const context = await device.open();
    const pd = await context.allocPd();
    const cq = await context.createCq(1024);
    const mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), RIGHTS);
    const cap = { maxSendWr: DEPTH, maxRecvWr: RECEIVES, maxSendSge: 1, maxRecvSge: 1 };
    const make = () => pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq, cap });
    const qps = [await make(), await make()] as const;
    const gid = await context.queryGid(GID_INDEX);
    const { activeMtu } = await context.queryPort();
    for (const [i, qp] of qps.entries()) {
      await qp.toInit({ accessFlags: RIGHTS });
      await qp.toRtr({ gid, qpNum: qps[1 - i]!.qpNum, psn: PSN }, { sgidIndex: GID_INDEX, pathMtu: activeMtu });
      await qp.toRts(PSN);
    }
    return new Itself(device, context, cq, mr, qps);
  }

  /** MB/s. */
  flow(verb: Verb, bytes: number, seconds: number): number {
    const [qp] = this.#qps;
    const depth = Math.max(2, Math.min(DEPTH - 1, UNDER_WAY_BYTES / bytes));
    const put = this.#writer(OPCODES[verb], bytes, SendFlag.SIGNALED);
    if (verb === 'SEND') this.#postReceives();
    let [underWay, done] = [0, 0];
    const begin = performance.now();
    for (let isOver = false; !isOver || underWay > 0; ) {
      for (; !isOver && underWay < depth; underWay++) qp.postRaw(put);
      if (!this.#takeOne()) continue;
      underWay--;
      done++;
      isOver ||= performance.now() >= begin + seconds * 1000;
    }
    return (done * bytes) / (performance.now() - begin) / 1000;
  }

  /** Median, microseconds: from the post until it is seen where it went. */
  latency(seconds: number): number {
    const words = (at: number) => new Int32Array(this.#mr.bytes.buffer, at, PING_BYTES / 4);
    const [ours, theirs] = [words(SOURCE_AT), words(TARGET_AT)];
    const quiet = this.#writer(WrOpcode.RDMA_WRITE, PING_BYTES, 0);
    const signaled = this.#writer(WrOpcode.RDMA_WRITE, PING_BYTES, SendFlag.SIGNALED);
    const last = ours.length - 1;
    const times: number[] = [];
    theirs.fill(0);
    let begin = performance.now();
    for (const end = begin + seconds * 1000; begin < end; ) {
      const count = times.length + 1;
      ours[last] = count;
      const isSignaled = count % PINGS_A_SIGNAL === 0;
      this.#qps[0].postRaw(isSignaled ? signaled : quiet);
      while (Atomics.load(theirs, last) !== count) this.#context.progress();
      times.push((performance.now() - begin) * 1000);
      while (isSignaled && !this.#takeOne());
      begin = performance.now();
    }
    times.sort((a, b) => a - b);
    return times[times.length >> 1]!;
  }

  async close(): Promise<void> {
    await this.#context.close();
    await this.#device.stop();
  }

  /** A send that has completed; receives are posted again as they are used. */
  #takeOne(): boolean {
    const completion = this.#completion;
    if (!this.#cq.pollOne(completion)) return false;
    if (!completion.isSuccess) throw new Error(`a work request ended with ${completion.statusName}`);
    if (completion.opcode !== WcOpcode.RECV) return true;
    this.#receives--;
    this.#postReceives();
    return false;
  }

  #postReceives(): void {
    const request = { sgList: [{ mr: this.#mr, offset: TARGET_AT, length: UNDER_WAY_BYTES }] };
    for (; this.#receives < RECEIVES; this.#receives++) this.#qps[1].postRecv(request);
  }

  /** Fills WQEs of one kind. */
  #writer(opcode: WrOpcode, bytes: number, flags: number): (view: DataView, at: number) => void {
    const { Send, Sge } = Layout;
    const mr = this.#mr;
    const remote = BigInt(mr.addr) + BigInt(TARGET_AT);
    const [remoteLo, remoteHi] = [Number(remote & 0xffff_ffffn), Number(remote >> 32n)];
    return (view, at) => {
      view.setUint32(at + Send.WR_ID, 0, true);
      view.setUint32(at + Send.WR_ID + 4, 0, true);
      view.setUint32(at + Send.OPCODE, opcode, true);
      view.setUint32(at + Send.FLAGS, flags, true);
      view.setUint32(at + Send.IMM_OR_INVALIDATE, 0, true);
      view.setUint32(at + Send.REMOTE_ADDR, remoteLo, true);
      view.setUint32(at + Send.REMOTE_ADDR + 4, remoteHi, true);
      view.setUint32(at + Send.RDMA_RKEY, mr.rKey, true);
      view.setUint32(at + Send.DMA_LENGTH, bytes, true);
      view.setUint32(at + Send.DMA_NUM_SGE, 1, true);
      mr.writeAddress(view, at + Send.SGE + Sge.ADDR, SOURCE_AT);
      view.setUint32(at + Send.SGE + Sge.LENGTH, bytes, true);
      view.setUint32(at + Send.SGE + Sge.LKEY, mr.lKey, true);
    };
  }
}

/** Figures by name. @param warmUpSeconds before each, for V8 to compile what it runs. */
async function talkToItself(seconds: number, warmUpSeconds: number): Promise<Record<string, number>> {
  const itself = await Itself.open();
  const found: Record<string, number> = {};
  itself.latency(warmUpSeconds);
  found['WRITE 64, one way, µs'] = itself.latency(seconds);
  for (const verb of Object.keys(OPCODES) as Verb[]) {
    for (const bytes of SIZES) {
      itself.flow(verb, bytes, warmUpSeconds);
      found[`${verb} ${bytes}`] = itself.flow(verb, bytes, seconds);
    }
  }
  await itself.close();
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const seconds = Number(process.argv[2] ?? 1);
  console.log(JSON.stringify(await talkToItself(seconds, Number(process.argv[3] ?? seconds))));
}
