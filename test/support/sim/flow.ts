/**
 * Random RC work from one QP to its peer, with a model of what it must do: the octets that arrive, the completions and their order, the atomics' results.
 *
 *     area of a QP in its host's memory:  source │ target of the peer's WRITEs │ receive buffers │ where its READs go │ words
 */
import { Access, SendFlag, WcFlag, WcOpcode, WcStatus, WrOpcode } from '../../../rnic/constants.ts';
import type { SimHost, SimQp } from './host.ts';
import type { Random } from './random.ts';
import { type Completion, readCompletion, type SendRequest, type SgeValue } from './work.ts';

const MOST_SEND_BYTES = 60_000;
const SOURCE_BYTES = 320 * 1024;
const TARGET_AT = SOURCE_BYTES;
const RECEIVE_AT = TARGET_AT + SOURCE_BYTES;
const RECEIVE_BYTES = 65_536;
const RECEIVE_BUFFERS = 4;
const READ_AT = RECEIVE_AT + RECEIVE_BUFFERS * RECEIVE_BYTES;
const READ_BUFFERS = 3;
const WORDS_AT = READ_AT + READ_BUFFERS * SOURCE_BYTES;
/** Words: one to compare and swap, one for ATOMIC_WRITE, then places for atomics' results. */
const SWAP_WORD = WORDS_AT;
const WRITE_WORD = WORDS_AT + 8;
const RESULTS_AT = WORDS_AT + 16;
const RESULTS = 16;
export const AREA_BYTES = 2 ** 21;

export const FLOW_ACCESS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;

/** What the first error of a sender may be; where the peer or the other direction broke, it may be flushed outright. */
const FIRST_ERRORS: readonly number[] = [WcStatus.RETRY_EXC_ERR, WcStatus.RNR_RETRY_EXC_ERR];
const FLUSHED: readonly number[] = [WcStatus.WR_FLUSH_ERR];
const FIRST_OR_FLUSHED = [...FIRST_ERRORS, ...FLUSHED];

export class Broken extends Error {}

/** A posted work request until it is known to be complete. */
interface Posted {
  readonly wrId: number;
  readonly signaled: boolean;
  readonly opcode: number;
  /** Looks at what the completion promises. */
  readonly check: () => void;
}

interface Expected {
  readonly length: number;
  readonly opcode: number;
  readonly immediate: number | null;
  /** Octet of the sender's memory that it came from; −1 for a WRITE. */
  readonly source: number;
}

/** What all flows to one host share: the word that they all add to, and what each addition found there. */
export interface Tally {
  readonly wordAt: number;
  readonly found: bigint[];
}

/** What becomes of a connection; both its flows share it. */
export interface Fate {
  /** So much is lost that the sender may give up. */
  readonly mayBreak: boolean;
  isBroken: boolean;
}

/** How much a flow does, and how. */
export interface Load {
  readonly mtu: number;
  /** Work requests. */
  readonly work: number;
  /** Octets of the longest message. */
  readonly mostBytes: number;
  readonly sqSigAll: boolean;
}

export interface FlowEnd {
  readonly host: SimHost;
  readonly qp: SimQp;
  /** Octet of the host's memory where the QP's area begins. */
  readonly area: number;
}

export class Flow {
  readonly #random: Random;
  readonly #from: FlowEnd;
  readonly #to: FlowEnd;
  readonly #tally: Tally;
  readonly #fate: Fate;
  readonly #mtu: number;
  readonly #mostBytes: number;
  readonly #work: number;
  readonly #sqSigAll: boolean;
  #nextWrId = 0;
  #posted: Posted[] = [];
  #readsOut = 0;
  #resultsOut = 0;
  #nextRead = 0;
  #nextResult = 0;
  /** What the peer's target and words must be in the end. */
  readonly #target: Uint8Array;
  #swapValue: bigint;
  #writeValue: bigint;
  #expected: Expected[] = [];
  #receivesPosted = 0;
  #received = 0;
  /** Completions, and those of them with an error. */
  completed = 0;
  errors = 0;

  constructor(from: FlowEnd, to: FlowEnd, tally: Tally, fate: Fate, load: Load, random: Random) {
    this.#from = from;
    this.#to = to;
    this.#tally = tally;
    this.#fate = fate;
    this.#mtu = load.mtu;
    this.#mostBytes = load.mostBytes;
    this.#work = load.work;
    this.#sqSigAll = load.sqSigAll;
    this.#random = random;
    const targetAt = to.area + TARGET_AT;
    this.#target = to.host.bytes.slice(targetAt, targetAt + SOURCE_BYTES);
    this.#swapValue = to.host.view.getBigUint64(to.area + SWAP_WORD, true);
    this.#writeValue = to.host.view.getBigUint64(to.area + WRITE_WORD, true);
  }

  get isDone(): boolean {
    // One that was not signalled ends well without a word.
    if (this.#fate.isBroken) return this.#posted.every(({ signaled }) => !signaled);
    return this.#nextWrId === this.#work && this.#posted.length === 0 && this.#expected.length === 0;
  }

  get state(): string {
    return `${this.#nextWrId} of ${this.#work} posted, ${this.#posted.length} outstanding, ${this.#expected.length} messages due`;
  }

  /** What an application does now and then. */
  act(): void {
    this.#pollSends();
    this.#pollReceives();
    if (this.#fate.isBroken) return;
    if (this.#random.chance(0.8)) this.#postReceives();
    while (this.#nextWrId < this.#work && this.#random.chance(0.8) && this.#post());
  }

  /** When all is done: is the peer's memory what the model says? */
  finish(): void {
    this.#pollSends();
    const { sendCq } = this.#from.qp;
    const extra = readCompletion(sendCq);
    if (extra !== undefined) throw new Broken(`one completion too many, wr_id ${extra.wrId}`);
    if (this.#fate.isBroken) return;
    const { host, area } = this.#to;
    const at = area + TARGET_AT;
    if (Buffer.compare(host.bytes.subarray(at, at + SOURCE_BYTES), this.#target) !== 0)
      throw new Broken('the target of WRITEs is not what was written');
    if (host.view.getBigUint64(area + SWAP_WORD, true) !== this.#swapValue)
      throw new Broken('the swapped word is wrong');
    if (host.view.getBigUint64(area + WRITE_WORD, true) !== this.#writeValue)
      throw new Broken('the ATOMIC_WRITE word is wrong');
  }

  // ── Posting ──

  #post(): boolean {
    const random = this.#random;
    const wrId = this.#nextWrId;
    const isLast = wrId === this.#work - 1;
    const signaled = isLast || random.chance(0.6);
    const flags =
      (signaled ? SendFlag.SIGNALED : 0) |
      (random.chance(0.15) ? SendFlag.FENCE : 0) |
      (random.chance(0.2) ? SendFlag.SOLICITED : 0);
    const kind = random.below(10);
    if (kind < 3) return this.#postSend(wrId, flags, kind > 0);
    if (kind < 6) return this.#postWrite(wrId, flags, kind === 5);
    if (kind < 8) return this.#postRead(wrId, flags);
    return this.#postAtomic(wrId, flags);
  }

  #length(most: number): number {
    const random = this.#random;
    const mtu = this.#mtu;
    const lengths = [0, 1, 3, 8, 64, mtu - 1, mtu, mtu + 1, 3 * mtu, random.below(300), random.below(5000)];
    lengths.push(random.below(most));
    return Math.min(random.pick(lengths), most);
  }

  /** Up to three elements, some of them empty. */
  #sges(at: number, length: number): SgeValue[] {
    const { host } = this.#from;
    const first = this.#random.below(length + 1);
    const second = this.#random.below(length - first + 1);
    const third = length - first - second;
    return [host.sge(at, first), host.sge(at + first, second), host.sge(at + first + second, third)];
  }

  #source(length: number): number {
    return this.#from.area + this.#random.below(SOURCE_BYTES - length);
  }

  /** The payload of a SEND or WRITE: inline when it is short, sometimes. */
  #payload(length: number, flags: number): Pick<SendRequest, 'sges' | 'inline' | 'flags'> & { source: number } {
    const source = this.#source(length);
    if (length > 100 || this.#random.chance(0.5)) return { sges: this.#sges(source, length), flags, source };
    const inline = this.#from.host.bytes.slice(source, source + length);
    return { inline, flags: flags | SendFlag.INLINE, source };
  }

  #postSend(wrId: number, flags: number, hasImmediate: boolean): boolean {
    const length = this.#length(Math.min(this.#mostBytes, MOST_SEND_BYTES));
    const { source, ...payload } = this.#payload(length, flags);
    const immediate = this.#random.bits();
    const opcode = hasImmediate ? WrOpcode.SEND_WITH_IMM : WrOpcode.SEND;
    if (!this.#submit({ wrId, opcode, immediate, ...payload }, WcOpcode.SEND)) return false;
    this.#expected.push({ length, opcode: WcOpcode.RECV, immediate: hasImmediate ? immediate : null, source });
    return true;
  }

  #postWrite(wrId: number, flags: number, hasImmediate: boolean): boolean {
    const length = this.#length(this.#mostBytes);
    const { source, ...payload } = this.#payload(length, flags);
    const offset = this.#random.below(SOURCE_BYTES - length);
    const immediate = this.#random.bits();
    const opcode = hasImmediate ? WrOpcode.RDMA_WRITE_WITH_IMM : WrOpcode.RDMA_WRITE;
    const remote = { remoteAddress: this.#to.area + TARGET_AT + offset, rKey: this.#to.host.key };
    if (!this.#submit({ wrId, opcode, immediate, ...payload, ...remote }, WcOpcode.RDMA_WRITE)) return false;
    this.#target.set(this.#from.host.bytes.subarray(source, source + length), offset);
    if (hasImmediate) this.#expected.push({ length, opcode: WcOpcode.RECV_RDMA_WITH_IMM, immediate, source: -1 });
    return true;
  }

  #postRead(wrId: number, flags: number): boolean {
    if (this.#readsOut === READ_BUFFERS) return false;
    const length = this.#length(this.#mostBytes);
    const at = this.#from.area + READ_AT + (this.#nextRead % READ_BUFFERS) * SOURCE_BYTES;
    const remoteAddress = this.#to.area + this.#random.below(SOURCE_BYTES - length);
    const request = { wrId, opcode: WrOpcode.RDMA_READ, flags, sges: this.#sges(at, length), remoteAddress };
    const check = (): void => {
      this.#readsOut--;
      const got = this.#from.host.bytes.subarray(at, at + length);
      const want = this.#to.host.bytes.subarray(remoteAddress, remoteAddress + length);
      if (Buffer.compare(got, want) !== 0) throw new Broken(`READ ${wrId} brought other octets`);
    };
    if (!this.#submit({ ...request, rKey: this.#to.host.key }, WcOpcode.RDMA_READ, check)) return false;
    this.#nextRead++;
    this.#readsOut++;
    return true;
  }

  #postAtomic(wrId: number, flags: number): boolean {
    const random = this.#random;
    if (this.#resultsOut === RESULTS) return false;
    const rKey = this.#to.host.key;
    if (random.chance(0.2)) {
      const value = BigInt(random.bits()) * BigInt(random.bits());
      const inline = new Uint8Array(new BigUint64Array([value]).buffer);
      const remoteAddress = this.#to.area + WRITE_WORD;
      const request = { wrId, opcode: WrOpcode.ATOMIC_WRITE, flags, inline, remoteAddress, rKey };
      if (!this.#submit(request, WcOpcode.ATOMIC_WRITE)) return false;
      this.#writeValue = value;
      return true;
    }
    const at = this.#from.area + RESULTS_AT + (this.#nextResult % RESULTS) * 8;
    const isAdd = random.chance(0.6);
    const posted = isAdd ? this.#submitAdd(wrId, flags, at) : this.#submitSwap(wrId, flags, at);
    if (!posted) return false;
    this.#nextResult++;
    this.#resultsOut++;
    return true;
  }

  #submitAdd(wrId: number, flags: number, at: number): boolean {
    const { host } = this.#from;
    const remote = { remoteAddress: this.#tally.wordAt, rKey: this.#to.host.key };
    const request = { wrId, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, flags, sges: [host.sge(at, 8)], compareAdd: 1n };
    return this.#submit({ ...request, ...remote }, WcOpcode.FETCH_ADD, () => {
      this.#resultsOut--;
      this.#tally.found.push(host.view.getBigUint64(at, true));
    });
  }

  #submitSwap(wrId: number, flags: number, at: number): boolean {
    const { host } = this.#from;
    const random = this.#random;
    const found = this.#swapValue;
    const compareAdd = random.chance(0.5) ? found : BigInt(random.bits());
    const swap = BigInt(random.bits()) << 13n;
    const remote = { remoteAddress: this.#to.area + SWAP_WORD, rKey: this.#to.host.key };
    const request = { wrId, opcode: WrOpcode.ATOMIC_CMP_AND_SWP, flags, sges: [host.sge(at, 8)], compareAdd, swap };
    const check = (): void => {
      this.#resultsOut--;
      if (host.view.getBigUint64(at, true) !== found) throw new Broken(`CMP_SWAP ${wrId} brought another value`);
    };
    if (!this.#submit({ ...request, ...remote }, WcOpcode.COMP_SWAP, check)) return false;
    if (compareAdd === found) this.#swapValue = swap;
    return true;
  }

  #submit(request: SendRequest, opcode: number, check: () => void = () => undefined): boolean {
    const { host, qp } = this.#from;
    if (!host.postSend(qp, request)) return false;
    const signaled = this.#sqSigAll || (request.flags & SendFlag.SIGNALED) !== 0;
    this.#posted.push({ wrId: request.wrId, signaled, opcode, check });
    this.#nextWrId++;
    return true;
  }

  // ── Completions ──

  /** signalled ones once, in order, and those before them are done. */
  #pollSends(): void {
    for (let got = readCompletion(this.#from.qp.sendCq); got; got = readCompletion(this.#from.qp.sendCq)) {
      if (got.status !== WcStatus.SUCCESS) {
        this.#takeError(got);
        continue;
      }
      if (this.errors > 0) throw new Broken(`send ${got.wrId} ended well behind an error`);
      const index = this.#posted.findIndex((posted) => posted.signaled);
      const due = this.#posted[index];
      if (due === undefined) throw new Broken(`a completion of ${got.wrId} that was not due`);
      if (due.wrId !== got.wrId || due.opcode !== got.opcode)
        throw new Broken(`a completion of ${got.wrId} (${got.opcode}) before ${due.wrId} (${due.opcode})`);
      for (const posted of this.#posted.splice(0, index + 1)) posted.check();
      this.completed++;
    }
  }

  /** the sender gives up once; all that was posted behind is flushed, signalled or not, in order. */
  #takeError(got: Completion): void {
    const first = this.#fate.isBroken ? FIRST_OR_FLUSHED : FIRST_ERRORS;
    const allowed = this.errors === 0 ? first : FLUSHED;
    if (!this.#fate.mayBreak || !allowed.includes(got.status))
      throw new Broken(`send ${got.wrId} ended with status ${got.status}`);
    const index = this.#posted.findIndex((posted) => posted.wrId === got.wrId);
    const isInOrder = index !== -1 && this.#posted.slice(0, index).every((posted) => !posted.signaled);
    if (!isInOrder || (this.errors > 0 && index !== 0)) throw new Broken(`an error of ${got.wrId}, which was not due`);
    for (const posted of this.#posted.splice(0, index)) posted.check();
    this.#posted.shift();
    this.#fate.isBroken = true;
    this.errors++;
    this.completed++;
  }

  #pollReceives(): void {
    const { recvCq } = this.#to.qp;
    for (let got = readCompletion(recvCq); got; got = readCompletion(recvCq)) {
      if (this.#fate.mayBreak && got.status === WcStatus.WR_FLUSH_ERR) {
        if (got.wrId !== this.#received++) throw new Broken(`receive ${got.wrId} was flushed out of order`);
        this.#fate.isBroken = true;
        continue;
      }
      const due = this.#expected.shift();
      if (due === undefined) throw new Broken(`a receive completion ${got.wrId} that was not due`);
      this.#checkReceive(got, due);
      this.#received++;
    }
  }

  #checkReceive(got: Completion, due: Expected): void {
    const hasImmediate = (got.wcFlags & WcFlag.WITH_IMM) !== 0;
    const same =
      got.status === WcStatus.SUCCESS &&
      got.wrId === this.#received &&
      got.opcode === due.opcode &&
      got.byteLen === due.length &&
      (hasImmediate ? got.immediate === due.immediate : due.immediate === null);
    if (!same) throw new Broken(`receive ${JSON.stringify(got)} where ${JSON.stringify(due)} was due`);
    if (due.source === -1) return;
    const at = this.#buffer(got.wrId);
    const placed = this.#to.host.bytes.subarray(at, at + due.length);
    const sent = this.#from.host.bytes.subarray(due.source, due.source + due.length);
    if (Buffer.compare(placed, sent) !== 0) throw new Broken(`receive ${got.wrId} holds other octets`);
  }

  #postReceives(): void {
    const { host, qp } = this.#to;
    while (this.#receivesPosted - this.#received < RECEIVE_BUFFERS && this.#random.chance(0.7)) {
      const at = this.#buffer(this.#receivesPosted);
      const cut = this.#random.below(2000);
      const sges = [host.sge(at, cut), host.sge(at + cut, 0), host.sge(at + cut, RECEIVE_BYTES - cut)];
      if (!host.postReceive(qp, this.#receivesPosted, sges)) return;
      this.#receivesPosted++;
    }
  }

  #buffer(wrId: number): number {
    return this.#to.area + RECEIVE_AT + (wrId % RECEIVE_BUFFERS) * RECEIVE_BYTES;
  }
}
