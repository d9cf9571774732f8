/** One host of the bench: a process in its own network namespace with a vRNIC, its QPs and the loops that are measured; told what to do by JSON lines. */
import { bringUp, serveSteps, withStack } from '../daemon/remote-host.ts';
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
  type RecvWr,
  SendFlag,
  WcOpcode,
  WorkCompletion,
  WrOpcode,
} from '../verbs/index.ts';
import { type GcCounts, gcCounts } from './count-gc.ts';
import { endpointAt } from './tenant.ts';

/** How a side waits: with a worker of its own thread (`worker`), or moved by the program (`polled`); `sleeping` blocks in the kernel where there is nothing to do. */
export type Mode = 'polled' | 'worker';

export interface SideAddress {
  readonly gid: string;
  readonly qpNums: number[];
  readonly addr: string;
  readonly rKey: number;
}

export interface Work {
  readonly opcode: WrOpcode;
  readonly bytes: number;
  readonly seconds: number;
  /** QPs that take turns. */
  readonly qps: number;
  /** Work requests under way on each QP, and how many of them share one completion. */
  readonly depth: number;
  readonly moderation: number;
  /** Messages that the region holds, each in its place: the next one goes to the next place. */
  readonly slots: number;
}

export interface Start {
  readonly address: string;
  readonly mtu: number;
  readonly mode: Mode;
  readonly spin: number | 'always';
  /** As an endpoint of a tenant that both hosts know (bench/overlay.ts). */
  readonly underlay?: 'vxlan' | 'translate';
}

export type Step =
  | ({ readonly do: 'start' } & Start)
  | { readonly do: 'qps'; readonly count: number; readonly depth: number }
  | { readonly do: 'connect'; readonly peer: SideAddress }
  | ({ readonly do: 'send' } & Work)
  /** So many connections to the peer's first QP, one after the other. */
  | { readonly do: 'setUp'; readonly count: number }
  | { readonly do: 'receive'; readonly seconds: number }
  | { readonly do: 'attend'; readonly seconds: number }
  | { readonly do: 'ping' | 'pong'; readonly seconds: number; readonly sleeping: boolean; readonly bytes: number }
  | { readonly do: 'usage' | 'statistics' | 'drop' | 'end' };

/** What a side has used so far. */
export interface Usage {
  readonly cpuMicros: number;
  readonly residentBytes: number;
  readonly gc: GcCounts;
}

const MEMORY_BYTES = 16 << 20;
const PSN = 0x1234;
/** A second: the machine may be busy with something else. */
const ACK_TIMEOUT = 18;
const GID_INDEX = 1;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ;
/** The ping's octets: where they come, and where they are sent from. */
const PING_AT = 0;
const PONG_AT = MEMORY_BYTES / 2;
const TURN_POLLS = 4096;
const RECEIVES = 500;
/** Of each receive: every message of the bench fits. */
const RECEIVE_BYTES = 1 << 20;
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Side {
  #device!: Device;
  #context!: Context;
  #cq!: Cq;
  #mr!: Mr;
  #qps: Qp[] = [];
  #peer!: SideAddress;
  #mode: Mode = 'polled';
  /** Receives that the first QP holds. */
  #receives = 0;
  readonly #completion = new WorkCompletion();

  run(step: Step): unknown {
    switch (step.do) {
      case 'start':
        return this.#start(step);
      case 'qps':
        return this.#makeQps(step.count, step.depth);
      case 'connect':
        return this.#connect(step.peer);
      case 'send':
        return this.#send(step);
      case 'setUp':
        return this.#setUp(step.count);
      case 'receive':
        return this.#receive(step.seconds);
      case 'attend':
        return this.#attend(step.seconds);
      case 'ping':
        return this.#ping(step.seconds, step.sleeping, step.bytes);
      case 'pong':
        return this.#pong(step.sleeping, step.bytes);
      case 'usage':
        return usage();
      case 'statistics':
        return this.#device.statistics();
      case 'drop':
        return this.#drop();
      case 'end':
        return this.#device.stop();
    }
  }

  async #start({ address, mtu, mode, spin, underlay }: Start): Promise<void> {
    bringUp(address, mtu);
    this.#mode = mode;
    this.#device = await hostDevice({
      ...(underlay ? endpointAt(address.split('/')[0]!, underlay, mtu) : { netdev: 'eth0' }),
      spin,
      polled: mode === 'polled',
    });
    this.#context = await this.#device.open();
  }

  async #makeQps(count: number, depth: number): Promise<SideAddress> {
    const channel = await this.#context.createCompChannel();
    const pd = await this.#context.allocPd();
    this.#cq = await this.#context.createCq(Math.max(1024, count * 2), channel);
    this.#mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), RIGHTS);
    const cap = { maxSendWr: depth, maxRecvWr: count > 16 ? depth : 511, maxSendSge: 1, maxRecvSge: 1 };
    for (let i = 0; i < count; i++) {
      const qp = await pd.createQp({ type: QpType.RC, sendCq: this.#cq, recvCq: this.#cq, cap });
      await qp.toInit({ accessFlags: RIGHTS });
      this.#qps.push(qp);
    }
    const gid = Buffer.from(await this.#context.queryGid(GID_INDEX)).toString('hex');
    return { gid, qpNums: this.#qps.map(({ qpNum }) => qpNum), addr: String(this.#mr.addr), rKey: this.#mr.rKey };
  }

  async #connect(peer: SideAddress): Promise<void> {
    this.#peer = peer;
    const { activeMtu } = await this.#context.queryPort();
    for (const [i, qp] of this.#qps.entries()) {
      const to = { gid: Buffer.from(peer.gid, 'hex'), qpNum: peer.qpNums[i]!, psn: PSN };
      await qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: activeMtu });
      await qp.toRts(PSN, { timeout: ACK_TIMEOUT });
    }
  }

  /** From createQp to RTS: microseconds for each. */
  async #setUp(count: number): Promise<number> {
    const pd = await this.#context.allocPd();
    const { activeMtu } = await this.#context.queryPort();
    const to = { gid: Buffer.from(this.#peer.gid, 'hex'), qpNum: this.#peer.qpNums[0]!, psn: PSN };
    const made: Qp[] = [];
    const begin = performance.now();
    for (let i = 0; i < count; i++) {
      const qp = await pd.createQp({ type: QpType.RC, sendCq: this.#cq, recvCq: this.#cq });
      await qp.toInit({ accessFlags: RIGHTS });
      await qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: activeMtu });
      await qp.toRts(PSN);
      made.push(qp);
    }
    const micros = ((performance.now() - begin) * 1000) / count;
    for (const qp of made) await qp.destroy();
    return micros;
  }

  async #drop(): Promise<void> {
    await this.#context.close();
    await this.#device.stop();
    this.#qps = [];
    this.#receives = 0;
  }

  /** Keeps `depth` work requests under way on each QP for so long; octets a second of what completed. */
  async #send(work: Work): Promise<{ bytesPerSecond: number; messagesPerSecond: number }> {
    const { bytes, depth, moderation } = work;
    const qps = this.#qps.slice(0, work.qps);
    const write = this.#writer(work);
    const posted = new Int32Array(qps.length);
    const room = new Int32Array(qps.length).fill(depth);
    const indexOf = new Map(qps.map((qp, i) => [qp.qpNum, i]));
    const begin = performance.now();
    const end = begin + work.seconds * 1000;
    let signal = false;
    const put = (view: DataView, at: number): void => write(view, at, signal);
    const fill = (i: number): void => {
      while (room[i]! >= moderation) {
        for (let one = 1; one <= moderation; one++) {
          signal = one === moderation;
          if (!qps[i]!.postRaw(put)) throw new Error('the send queue is full');
        }
        room[i]! -= moderation;
        posted[i]! += moderation;
      }
    };
    for (let i = 0; i < qps.length; i++) fill(i);
    let done = 0;
    let underWay = qps.length * (depth - (depth % moderation));
    const found = this.#completion;
    while (underWay > 0) {
      // Without a promise for each: what is measured makes no garbage, so the bench should not.
      for (let polls = 1; !this.#cq.pollOne(found); polls++) {
        if (this.#mode === 'worker') {
          await this.#next();
          break;
        }
        if (polls % TURN_POLLS === 0) await nextTurn();
      }
      if (!found.isSuccess) throw new Error(`a work request ended with ${found.statusName}`);
      const i = indexOf.get(found.qpNum)!;
      done += moderation;
      underWay -= moderation;
      room[i]! += moderation;
      if (performance.now() >= end) continue;
      fill(i);
      underWay += moderation;
    }
    const seconds = (performance.now() - begin) / 1000;
    return { bytesPerSecond: (done * bytes) / seconds, messagesPerSecond: done / seconds };
  }

  /** Fills WQEs of one kind. */
  #writer({ opcode, bytes, slots: wanted }: Work): (view: DataView, at: number, signal: boolean) => void {
    const { Send, Sge } = Layout;
    const remote = BigInt(this.#peer.addr);
    const [remoteLo, remoteHi] = [Number(remote & 0xffff_ffffn), Number(remote >> 32n)];
    const { rKey } = this.#peer;
    const { lKey } = this.#mr;
    const slots = Math.max(1, Math.min(wanted, Math.floor(MEMORY_BYTES / bytes)));
    let slot = 0;
    return (view, at, signal) => {
      slot = (slot + 1) % slots;
      view.setUint32(at + Send.WR_ID, 0, true);
      view.setUint32(at + Send.WR_ID + 4, 0, true);
      view.setUint32(at + Send.OPCODE, opcode, true);
      view.setUint32(at + Send.FLAGS, signal ? SendFlag.SIGNALED : 0, true);
      view.setUint32(at + Send.IMM_OR_INVALIDATE, 0, true);
      view.setUint32(at + Send.REMOTE_ADDR, remoteLo + slot * bytes, true);
      view.setUint32(at + Send.REMOTE_ADDR + 4, remoteHi, true);
      view.setUint32(at + Send.RDMA_RKEY, rKey, true);
      view.setUint32(at + Send.DMA_LENGTH, bytes, true);
      view.setUint32(at + Send.DMA_NUM_SGE, 1, true);
      this.#mr.writeAddress(view, at + Send.SGE + Sge.ADDR, slot * bytes);
      view.setUint32(at + Send.SGE + Sge.LENGTH, bytes, true);
      view.setUint32(at + Send.SGE + Sge.LKEY, lKey, true);
    };
  }

  /** Posts receives as SENDs take them. */
  async #receive(seconds: number): Promise<number> {
    const [qp] = this.#qps as [Qp];
    const request = this.#receiveWr();
    this.#postReceives();
    const batch = Array.from({ length: 64 }, () => new WorkCompletion());
    const requests = Array.from({ length: batch.length + 1 }, (_, count) => batch.slice(0, count).map(() => request));
    // Each reading of the clock leaves two numbers on the heap.
    const pollsPerReading = this.#mode === 'worker' ? 1 : 256;
    const end = performance.now() + seconds * 1000;
    let received = 0;
    for (let polls = 1; polls % pollsPerReading !== 0 || performance.now() < end; polls++) {
      const count = this.#cq.pollInto(batch);
      received += count;
      if (count > 0) qp.postRecv(requests[count]!);
      else if (this.#mode === 'worker') await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return received;
  }

  /** Is there for a peer that reads and writes. */
  async #attend(seconds: number): Promise<void> {
    if (this.#mode === 'worker') return void (await new Promise((resolve) => setTimeout(resolve, seconds * 1000)));
    const end = performance.now() + seconds * 1000;
    for (let polls = 1; performance.now() < end; polls++) {
      for (let i = 0; i < 256; i++) this.#context.progress();
      if (polls % 256 === 0) await nextTurn();
    }
  }

  /** WRITEs a counter, waits for the peer's: half of each round trip, sorted, microseconds. Sleeping: with immediate data, waiting for the completion. */
  async #ping(seconds: number, sleeping: boolean, bytes: number): Promise<number[]> {
    const times: number[] = [];
    const write = this.#pingWriter(sleeping, bytes);
    const words = new Int32Array(this.#mr.bytes.buffer, PING_AT, bytes / 4);
    let count = 0;
    if (sleeping) this.#postReceives();
    let begin = performance.now();
    for (const end = begin + seconds * 1000; begin < end; ) {
      write(++count);
      if (sleeping || !this.#pollFor(words, count)) await this.#awaitPing(words, count, sleeping);
      const now = performance.now();
      times.push(((now - begin) * 1000) / 2);
      begin = now;
    }
    write(-1);
    await this.#attend(0.05);
    this.#mr.bytes.fill(0, PING_AT, PING_AT + bytes);
    return times.slice(times.length / 10).sort((a, b) => a - b);
  }

  async #pong(sleeping: boolean, bytes: number): Promise<void> {
    const write = this.#pingWriter(sleeping, bytes);
    const words = new Int32Array(this.#mr.bytes.buffer, PING_AT, bytes / 4);
    if (sleeping) this.#postReceives();
    for (let count = 1; ; count++) {
      const isHere = !sleeping && this.#pollFor(words, count);
      if (!isHere && !(await this.#awaitPing(words, count, sleeping))) break;
      write(count);
    }
    this.#mr.bytes.fill(0, PING_AT, PING_AT + bytes);
    return this.#attend(0.05);
  }

  #receiveWr(): RecvWr {
    return { sgList: [{ mr: this.#mr, length: RECEIVE_BYTES }] };
  }

  #postReceives(): void {
    const request = this.#receiveWr();
    for (; this.#receives < RECEIVES; this.#receives++) this.#qps[0]!.postRecv(request);
  }

  /** Posts a message whose last word is a number. */
  #pingWriter(sleeping: boolean, bytes: number): (count: number) => void {
    const { Send, Sge } = Layout;
    const mr = this.#mr;
    const [qp] = this.#qps as [Qp];
    const remote = BigInt(this.#peer.addr) + BigInt(PING_AT);
    const [remoteLo, remoteHi] = [Number(remote & 0xffff_ffffn), Number(remote >> 32n)];
    const words = new Int32Array(mr.bytes.buffer, PONG_AT, bytes / 4);
    const put = (view: DataView, at: number): void => {
      view.setUint32(at + Send.WR_ID, 0, true);
      view.setUint32(at + Send.WR_ID + 4, 0, true);
      view.setUint32(at + Send.OPCODE, sleeping ? WrOpcode.RDMA_WRITE_WITH_IMM : WrOpcode.RDMA_WRITE, true);
      view.setUint32(at + Send.FLAGS, 0, true);
      view.setUint32(at + Send.IMM_OR_INVALIDATE, 0, true);
      view.setUint32(at + Send.REMOTE_ADDR, remoteLo, true);
      view.setUint32(at + Send.REMOTE_ADDR + 4, remoteHi, true);
      view.setUint32(at + Send.RDMA_RKEY, this.#peer.rKey, true);
      view.setUint32(at + Send.DMA_LENGTH, bytes, true);
      view.setUint32(at + Send.DMA_NUM_SGE, 1, true);
      mr.writeAddress(view, at + Send.SGE + Sge.ADDR, PONG_AT);
      view.setUint32(at + Send.SGE + Sge.LENGTH, bytes, true);
      view.setUint32(at + Send.SGE + Sge.LKEY, mr.lKey, true);
    };
    return (count) => {
      words[words.length - 1] = count;
      if (!qp.postRaw(put)) throw new Error('the send queue is full');
    };
  }

  /** Polls for the number for a while, without a turn of the event loop. False: it has not come, or it is the last one. */
  #pollFor(words: Int32Array, count: number): boolean {
    const last = words.length - 1;
    for (let polls = 0; polls < TURN_POLLS; polls++) {
      if (Atomics.load(words, last) === count) return true;
      this.#context.progress();
    }
    return false;
  }

  /** False when the peer says that it is over. */
  async #awaitPing(words: Int32Array, count: number, sleeping: boolean): Promise<boolean> {
    const last = words.length - 1;
    if (sleeping) {
      const { opcode } = await this.#next(true);
      if (opcode !== WcOpcode.RECV_RDMA_WITH_IMM) throw new Error(`an unexpected completion: opcode ${opcode}`);
      this.#receives--;
      this.#postReceives();
      return words[last] !== -1;
    }
    while (!this.#pollFor(words, count)) {
      if (Atomics.load(words, last) === -1) return false;
      await nextTurn();
    }
    return true;
  }

  /** The next completion: polled for where the program moves the device itself and has nothing else to do, else slept for. */
  async #next(sleeping = this.#mode === 'worker'): Promise<WorkCompletion> {
    const completion = this.#completion;
    const cq = this.#cq;
    for (let polls = 1; !cq.pollOne(completion); polls++) {
      if (sleeping) {
        cq.reqNotify();
        if (cq.pollOne(completion)) break;
        await cq.channel!.getCqEvent();
      } else if (polls % TURN_POLLS === 0) await nextTurn();
    }
    if (!completion.isSuccess) throw new Error(`a work request ended with ${completion.statusName}`);
    return completion;
  }
}

function usage(): Usage {
  const { user, system } = process.cpuUsage();
  return { cpuMicros: user + system, residentBytes: process.memoryUsage.rss(), gc: gcCounts() };
}

const side = new Side();
await serveSteps<Step>((step) => side.run(step), withStack);
