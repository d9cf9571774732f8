/**
 * What a neighbour costs a tenant's latency. Two hosts of one thread each, which moves the vRNICs of all tenants there as a worker does, so that nobody waits for a core:
 * the 64-octet WRITEs of `blue`, there and back, alone and beside 64 KiB WRITEs of a tenant with a limit or of one without, by turns.
 */
import { fileURLToPath } from 'node:url';
import { rateText } from '../daemon/rates.ts';
import { bringUp, joinByWire, RemoteHost, serveSteps, withStack } from '../daemon/remote-host.ts';
import * as Layout from '../rnic/queue/layout.ts';
import {
  Access,
  type Context,
  type Cq,
  hostDevice,
  type Mr,
  type Qp,
  QpType,
  SendFlag,
  WorkCompletion,
  WrOpcode,
} from '../verbs/index.ts';
import type { Tenant } from '../vswitch/model.ts';
import { median } from './report.ts';
import { placeOf, rangeOf, tenantOn } from './tenant.ts';

const MTU = 9000;
const ADDRESSES = ['192.0.2.1', '192.0.2.2'];
/** What each may send, bits a second. */
const RATES = { blue: undefined, slow: 100e6, quick: 1e9, unlimited: undefined } as const;
type Name = keyof typeof RATES;
const TENANTS = Object.keys(RATES) as Name[];
const ROUNDS = 3;
const SECONDS = 1;
/** The ends wait for what is still under way. */
const LAST_MILLIS = 50;
const PING_BYTES = 64;
const MESSAGE_BYTES = 65_536;
const DEPTH = 8;
/** Where what arrives lies, and what is sent. */
const IN_AT = 0;
const OUT_AT = MESSAGE_BYTES;
const GID_INDEX = 1;
const PSN = 1;
const OVER = -1;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;

interface End {
  readonly gid: string;
  readonly qpNum: number;
  readonly addr: string;
  readonly rKey: number;
}

interface Latency {
  /** One way, microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Of the neighbour. */
  readonly gigabits: number;
}

type Step =
  | { readonly do: 'start'; readonly index: number }
  | { readonly do: 'connect'; readonly peers: Record<Name, End> }
  | { readonly do: 'ping'; readonly neighbour: Name }
  | { readonly do: 'pong' | 'end' };

/** One vRNIC and its QP. */
class Seat {
  readonly #context: Context;
  readonly #cq: Cq;
  readonly #mr: Mr;
  readonly #qp: Qp;
  readonly #found = new WorkCompletion();
  #peer!: End;
  #underWay = 0;
  done = 0;

  constructor(context: Context, cq: Cq, mr: Mr, qp: Qp) {
    this.#context = context;
    this.#cq = cq;
    this.#mr = mr;
    this.#qp = qp;
  }

  static async open(name: Name, index: number): Promise<Seat> {
    const number = TENANTS.indexOf(name);
    const rate = RATES[name];
    const limit = rate === undefined ? {} : { limit: { rate } };
    const tenant: Tenant = { ...tenantOn(ADDRESSES, 'vxlan'), name, vni: 100 + number, ...limit };
    const place = { ...placeOf(tenant, index, 'eth0', MTU), ...rangeOf(number * 2 + index) };
    const device = await hostDevice({ ...place, spin: 0, polled: true });
    const context = await device.open();
    const pd = await context.allocPd();
    const cq = await context.createCq(64);
    const mr = await pd.regMr(new SharedArrayBuffer(2 * MESSAGE_BYTES), RIGHTS);
    const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
    await qp.toInit({ accessFlags: RIGHTS });
    return new Seat(context, cq, mr, qp);
  }

  async address(): Promise<End> {
    const gid = Buffer.from(await this.#context.queryGid(GID_INDEX)).toString('hex');
    return { gid, qpNum: this.#qp.qpNum, addr: String(this.#mr.addr), rKey: this.#mr.rKey };
  }

  async connect(peer: End): Promise<void> {
    this.#peer = peer;
    const to = { gid: Buffer.from(peer.gid, 'hex'), qpNum: peer.qpNum, psn: PSN };
    await this.#qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: 5 });
    await this.#qp.toRts(PSN, { timeout: 18 });
  }

  words(at: number): Int32Array {
    return new Int32Array(this.#mr.bytes.buffer, at, PING_BYTES / 4);
  }

  progress(): void {
    this.#context.progress();
  }

  /** Keeps DEPTH messages under way while it may. True while there are any. */
  flood(mayPost: boolean): boolean {
    while (this.#cq.pollOne(this.#found)) {
      if (!this.#found.isSuccess) throw new Error(`a work request ended with ${this.#found.statusName}`);
      this.#underWay--;
      this.done++;
    }
    for (; mayPost && this.#underWay < DEPTH; this.#underWay++) this.write(MESSAGE_BYTES, SendFlag.SIGNALED);
    return this.#underWay > 0;
  }

  write(bytes: number, flags: number): void {
    const { Send, Sge } = Layout;
    const remote = BigInt(this.#peer.addr);
    const posted = this.#qp.postRaw((view, at) => {
      view.setBigUint64(at + Send.WR_ID, 0n, true);
      view.setUint32(at + Send.OPCODE, WrOpcode.RDMA_WRITE, true);
      view.setUint32(at + Send.FLAGS, flags, true);
      view.setBigUint64(at + Send.REMOTE_ADDR, remote, true);
      view.setUint32(at + Send.RDMA_RKEY, this.#peer.rKey, true);
      view.setUint32(at + Send.DMA_LENGTH, bytes, true);
      view.setUint32(at + Send.DMA_NUM_SGE, 1, true);
      this.#mr.writeAddress(view, at + Send.SGE + Sge.ADDR, OUT_AT);
      view.setUint32(at + Send.SGE + Sge.LENGTH, bytes, true);
      view.setUint32(at + Send.SGE + Sge.LKEY, this.#mr.lKey, true);
    });
    if (!posted) throw new Error('the send queue is full');
  }
}

class Side {
  readonly #seats = {} as Record<Name, Seat>;

  async run(step: Step): Promise<unknown> {
    if (step.do === 'start') return this.#start(step.index);
    if (step.do === 'ping') return this.#ping(step.neighbour);
    if (step.do === 'pong') return this.#pong();
    if (step.do === 'connect') for (const name of TENANTS) await this.#seats[name].connect(step.peers[name]);
    return undefined;
  }

  async #start(index: number): Promise<Record<Name, End>> {
    bringUp(`${ADDRESSES[index - 1]}/24`, MTU);
    for (const name of TENANTS) this.#seats[name] = await Seat.open(name, index);
    const ends = TENANTS.map(async (name) => [name, await this.#seats[name].address()] as const);
    return Object.fromEntries(await Promise.all(ends)) as Record<Name, End>;
  }

  #move(): void {
    for (const name of TENANTS) this.#seats[name].progress();
  }

  #ping(name: Name): Latency {
    const { blue } = this.#seats;
    const neighbour = name === 'blue' ? undefined : this.#seats[name];
    const others = TENANTS.map((one) => this.#seats[one]).filter((one) => one !== neighbour);
    const [words, sent] = [blue.words(IN_AT), blue.words(OUT_AT)];
    const last = words.length - 1;
    const times: number[] = [];
    const before = neighbour?.done ?? 0;
    const start = performance.now();
    let begin = start;
    for (let count = 1; begin < start + SECONDS * 1000; count++) {
      sent[last] = count;
      blue.write(PING_BYTES, 0);
      while (Atomics.load(words, last) !== count) {
        for (let i = 0; i < others.length; i++) others[i]!.progress();
        neighbour?.flood(true); // moves it, too
      }
      const now = performance.now();
      times.push(((now - begin) * 1000) / 2);
      begin = now;
    }
    const gigabits = (((neighbour?.done ?? 0) - before) * MESSAGE_BYTES * 8) / SECONDS / 1e9;
    while (neighbour?.flood(false)) this.#move();
    sent[last] = OVER;
    blue.write(PING_BYTES, 0);
    for (const end = performance.now() + LAST_MILLIS; performance.now() < end; ) this.#move();
    // The first tenth is for V8.
    const sorted = times.slice(times.length / 10).sort((a, b) => a - b);
    return { p50: sorted[sorted.length >> 1]!, p99: sorted[Math.floor(sorted.length * 0.99)]!, gigabits };
  }

  #pong(): void {
    const { blue } = this.#seats;
    const [words, sent] = [blue.words(IN_AT), blue.words(OUT_AT)];
    const last = words.length - 1;
    for (let count = 1; ; count++) {
      while (Atomics.load(words, last) !== count) {
        this.#move();
        if (Atomics.load(words, last) !== OVER) continue;
        words[last] = 0; // before the next run, whose first may come before this host is told
        return;
      }
      sent[last] = count;
      blue.write(PING_BYTES, 0);
    }
  }
}

function report(found: ReadonlyMap<Name, readonly Latency[]>): void {
  const least = median(found.get('blue')!.map(({ p99 }) => p99));
  for (const [name, all] of found) {
    const each = (what: 'p50' | 'p99') => all.map((one) => one[what].toFixed(1)).join(', ');
    const rate = RATES[name];
    const beside = `beside a neighbour ${rate === undefined ? 'without a limit' : `of ${rateText(rate)}`}`;
    const gigabits = name === 'blue' ? '' : `, which sent ${median(all.map((one) => one.gigabits)).toFixed(2)} Gb/s`;
    const ratio = (median(all.map(({ p99 }) => p99)) / least).toFixed(2);
    console.log(
      `64 B WRITE ${name === 'blue' ? 'alone' : beside}${gigabits}: p50 ${each('p50')}; p99 ${each('p99')} µs; ${ratio} x`,
    );
  }
}

/** Prints what it finds. */
export async function neighbours(): Promise<void> {
  const hosts = ADDRESSES.map((address) => new RemoteHost<Step>(address, [fileURLToPath(import.meta.url), 'side']));
  const [a, b] = hosts as [RemoteHost<Step>, RemoteHost<Step>];
  try {
    await joinByWire(a, b);
    const atA = await a.do<Record<Name, End>>({ do: 'start', index: 1 });
    const atB = await b.do<Record<Name, End>>({ do: 'start', index: 2 });
    await a.do({ do: 'connect', peers: atB });
    await b.do({ do: 'connect', peers: atA });
    const run = async (neighbour: Name): Promise<Latency> => {
      const answering = b.do({ do: 'pong' });
      const found = await a.do<Latency>({ do: 'ping', neighbour });
      await answering;
      return found;
    };
    for (const name of TENANTS) await run(name);
    const found = new Map<Name, Latency[]>(TENANTS.map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round++) for (const [name, all] of found) all.push(await run(name));
    report(found);
  } finally {
    for (const host of hosts) host.end();
  }
}

async function serve(): Promise<void> {
  const side = new Side();
  await serveSteps<Step>((step) => side.run(step), withStack);
  process.exit();
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === 'side') await serve();
