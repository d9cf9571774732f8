/** Random work of every opcode of RC, and what the model expects of each work request. */
import { Access, AsyncEvent, SendFlag, WcOpcode, WcStatus, WrOpcode } from '../../../rnic/constants.ts';
import * as Feth from '../../../wire/feth.ts';
import * as Area from './area.ts';
import { Broken } from './broken.ts';
import { ACCESS_REFUSED, type Failure, type Flow, type FlowEnd, sendMessage } from './flow.ts';
import { KeyState, type SharedKey } from './keys.ts';
import { lengthOf, type Payload, payloadOf, splitSges } from './payload.ts';
import type { SgeValue } from './work.ts';

const MOST_SEND_BYTES = 60_000;
/** Where the result of an atomic goes that has none. */
const SPARE_WORD = Area.RESULTS_AT + Area.RESULTS * 8;

/** What all flows to one host share: the word that they all add to, and what each addition found there. */
export interface Tally {
  readonly wordAt: number;
  readonly found: bigint[];
  /** Additions of which it is not known whether they were done. */
  unheard: number;
}

/** How much a flow does, and how. */
export interface Load {
  readonly mtu: number;
  /** Work requests. */
  readonly work: number;
  /** Octets of the longest message. */
  readonly mostBytes: number;
  /** Some work requests are wrong, and break the connection. */
  readonly hasHazards: boolean;
}

const INVALID: Failure = { ...ACCESS_REFUSED, status: WcStatus.REM_INV_REQ_ERR, event: AsyncEvent.QP_REQ_ERR };
const LOCAL: Failure = { isSure: true, status: WcStatus.LOC_PROT_ERR, receive: null, event: null };

/** Remote octets that a work request names: through a key, with what the model knows of it. */
interface Remote {
  readonly rKey: number;
  readonly remoteAddress: number;
  /** Octet of the peer's memory. */
  readonly at: number;
  readonly length: number;
  readonly fails: Failure | undefined;
  /** The key, when it may be taken away meanwhile. */
  readonly key: SharedKey | null;
}

const OPERATIONS = ['write', 'write', 'read', 'read', 'flush', 'swap'] as const;

/** Octets that a key does not grant for this operation; null: for none. */
interface Wrong extends Omit<Remote, 'fails' | 'key'> {
  readonly operation: (typeof OPERATIONS)[number] | null;
}

type Post = (wrId: number, flags: number) => boolean;

export class RcWork {
  readonly #flow: Flow;
  readonly #from: FlowEnd;
  readonly #to: FlowEnd;
  readonly #load: Load;
  readonly #tally: Tally;
  /** Ends of the same host that the peer's windows are not meant for. */
  readonly #strangers: () => readonly FlowEnd[];
  #readsOut = 0;
  #resultsOut = 0;
  #nextRead = 0;
  #nextResult = 0;
  readonly #kinds: readonly Post[];
  readonly #hazards: readonly Post[];

  constructor(flow: Flow, load: Load, tally: Tally, strangers: () => readonly FlowEnd[]) {
    this.#flow = flow;
    this.#from = flow.from;
    this.#to = flow.to;
    this.#load = load;
    this.#tally = tally;
    this.#strangers = strangers;
    this.#kinds = [
      (wrId, flags) => this.#postSend(wrId, flags, false),
      (wrId, flags) => this.#postSend(wrId, flags, true),
      (wrId, flags) => this.#postSend(wrId, flags, true),
      (wrId, flags) => this.#postWrite(wrId, flags, false),
      (wrId, flags) => this.#postWrite(wrId, flags, false),
      (wrId, flags) => this.#postWrite(wrId, flags, true),
      (wrId, flags) => this.#postRead(wrId, flags),
      (wrId, flags) => this.#postRead(wrId, flags),
      (wrId, flags) => this.#postAdd(wrId, flags),
      (wrId, flags) => this.#postSwap(wrId, flags),
      (wrId, flags) => this.#postAtomicWrite(wrId, flags),
      (wrId, flags) => this.#postFlush(wrId, flags),
      (wrId, flags) => this.#postRelay(wrId, flags),
      (wrId, flags) => this.#postKey(wrId, flags),
      (wrId, flags) => this.#postKey(wrId, flags),
      (wrId, flags) => this.#postInvalidating(wrId, flags),
    ];
    this.#hazards = [
      (wrId, flags) => this.#postTooLong(wrId, flags),
      (wrId, flags) => this.#postWrongLKey(wrId, flags),
      (wrId, flags) => this.#postWrongInvalidate(wrId, flags),
      (wrId, flags) => this.#postWrongGrant(wrId, flags),
      (wrId, flags) => this.#postMisaligned(wrId, flags),
      ...Array.from({ length: 6 }, (): Post => (wrId, flags) => this.#postWrongKey(wrId, flags)),
    ];
  }

  get isDone(): boolean {
    return this.#flow.nextWrId >= this.#load.work;
  }

  /** Posts as an application would now and then. */
  act(): void {
    const { random } = this.#flow;
    if (random.chance(0.8)) this.#to.receives.post(random);
    while (!this.isDone && random.chance(0.8) && this.#post());
  }

  /** The connection begins anew. */
  restart(): void {
    this.#readsOut = 0;
    this.#resultsOut = 0;
  }

  #post(): boolean {
    const { random, nextWrId } = this.#flow;
    const isLast = nextWrId === this.#load.work - 1;
    const signaled = isLast || random.chance(0.6);
    const flags =
      (signaled ? SendFlag.SIGNALED : 0) |
      (random.chance(0.15) ? SendFlag.FENCE : 0) |
      (random.chance(0.2) ? SendFlag.SOLICITED : 0);
    const isHazard = this.#load.hasHazards && random.chance(0.03);
    return random.pick(isHazard ? this.#hazards : this.#kinds)(nextWrId, flags);
  }

  // ── Octets ──

  #length(most: number): number {
    return lengthOf(this.#load.mtu, most, this.#flow.random);
  }

  #sges(at: number, length: number): SgeValue[] {
    return splitSges(this.#from.host, at, length, this.#flow.random);
  }

  #payload(length: number, flags: number): Payload {
    const { host, area } = this.#from;
    return payloadOf(host, area, Area.SOURCE_BYTES, length, flags, this.#flow.random);
  }

  /** Octets that a WRITE may go to, or a READ come from, and the key for them: the host's own, or one that was given out. */
  #remote(most: number, access: number): Remote {
    const { random } = this.#flow;
    const { host, area, keys } = this.#to;
    // A key that is being taken back may be refused, or not.
    const given = keys.filter((key) => isUsable(key, access) && (key.state === KeyState.GIVEN || this.#mayTake()));
    if (given.length > 0 && random.chance(0.5)) {
      const key = random.pick(given);
      const length = this.#length(Math.min(most, key.length));
      return this.#through(key, random.below(key.length - length + 1), length);
    }
    const length = this.#length(most);
    const from = access === Access.REMOTE_READ ? area : area + Area.TARGET_AT;
    const at = from + random.below(Area.SOURCE_BYTES - length);
    return { rKey: host.key, remoteAddress: at, at, length, fails: undefined, key: null };
  }

  #through(key: SharedKey, offset: number, length: number): Remote {
    const remote = { rKey: key.key, remoteAddress: key.base + offset, at: key.at + offset, length, key };
    // nobody looks at the key of an empty request.
    const mayFail = length > 0 && key.state === KeyState.TAKING;
    return { ...remote, fails: mayFail ? { ...ACCESS_REFUSED, isSure: false } : undefined };
  }

  // ── SEND ──

  #postSend(wrId: number, flags: number, hasImmediate: boolean): boolean {
    const length = this.#length(Math.min(this.#load.mostBytes, MOST_SEND_BYTES));
    const { octets, parts } = this.#payload(length, flags);
    const immediate = this.#flow.random.bits();
    const message = sendMessage(octets, (flags & SendFlag.SOLICITED) !== 0);
    const opcode = hasImmediate ? WrOpcode.SEND_WITH_IMM : WrOpcode.SEND;
    const meaning = { opcode: WcOpcode.SEND, message: hasImmediate ? { ...message, immediate } : message };
    return this.#flow.submit({ wrId, opcode, immediate, ...parts }, meaning);
  }

  /** Takes a key back: what is posted behind it is refused. */
  #postInvalidating(wrId: number, flags: number): boolean {
    const given = this.#to.keys.filter((key) => key.kind !== 1 && isUsable(key, 0) && key.state === KeyState.GIVEN);
    if (given.length === 0) return this.#postSend(wrId, flags, false);
    const key = this.#flow.random.pick(given);
    const length = this.#length(Math.min(this.#load.mostBytes, MOST_SEND_BYTES));
    const { octets, parts } = this.#payload(length, flags);
    const message = { ...sendMessage(octets, (flags & SendFlag.SOLICITED) !== 0), invalidated: key };
    const { readers } = key;
    const mayTake = this.#mayTake();
    const fence = readers.length > 0 && !mayTake ? SendFlag.FENCE : 0;
    const request = { wrId, opcode: WrOpcode.SEND_WITH_INV, immediate: key.key, ...parts };
    request.flags |= fence;
    if (!this.#flow.submit(request, { opcode: WcOpcode.SEND, message })) return false;
    if (mayTake) for (const reader of readers) reader.warn();
    key.isSpent = true;
    return true;
  }

  // ── WRITE, READ ──

  #postWrite(wrId: number, flags: number, hasImmediate: boolean): boolean {
    const remote = this.#remote(this.#load.mostBytes, Access.REMOTE_WRITE);
    return this.#write(wrId, flags, hasImmediate, remote);
  }

  #write(wrId: number, flags: number, hasImmediate: boolean, remote: Remote): boolean {
    const { rKey, remoteAddress, at, length, key } = remote;
    const { octets, parts } = this.#payload(length, flags);
    const immediate = this.#flow.random.bits();
    const isSolicited = (flags & SendFlag.SOLICITED) !== 0;
    const isRefused = remote.fails?.isSure === true;
    const spoils = hasImmediate ? WcStatus.LOC_ACCESS_ERR : null;
    const fails = remote.fails && { ...remote.fails, receive: spoils };
    const message = {
      ...sendMessage(octets, isSolicited),
      opcode: WcOpcode.RECV_RDMA_WITH_IMM,
      immediate,
      octets: null,
    };
    const opcode = hasImmediate ? WrOpcode.RDMA_WRITE_WITH_IMM : WrOpcode.RDMA_WRITE;
    if (this.#from.qp.sq.count() === this.#from.qp.sq.mask) return false;
    const meaning = {
      opcode: WcOpcode.RDMA_WRITE,
      fails,
      mutation: isRefused ? undefined : this.#flow.image.write(at, octets),
      message: hasImmediate && !isRefused ? message : undefined,
      key,
    };
    return this.#flow.submit({ wrId, opcode, immediate, ...parts, remoteAddress, rKey }, meaning);
  }

  #postRead(wrId: number, flags: number): boolean {
    return this.#read(wrId, flags, this.#remote(this.#load.mostBytes, Access.REMOTE_READ));
  }

  #read(wrId: number, flags: number, remote: Remote): boolean {
    if (this.#readsOut >= Area.READ_BUFFERS) return false;
    const { rKey, remoteAddress, at, length, fails, key } = remote;
    const to = this.#readBuffer();
    const request = { wrId, opcode: WrOpcode.RDMA_READ, flags, sges: this.#sges(to, length), remoteAddress, rKey };
    const { image } = this.#flow;
    const before = key === null ? null : image.watch(at, length);
    const check = (): void => {
      this.#readsOut--;
      const got = this.#from.host.bytes.subarray(to, to + length);
      const isRight = before === null ? this.#isSource(got, at) : image.explains(before, got);
      if (!isRight) throw new Broken(`READ ${wrId} brought other octets`);
    };
    if (!this.#flow.submit(request, { opcode: WcOpcode.RDMA_READ, fails, check, key })) return false;
    this.#nextRead++;
    this.#readsOut++;
    return true;
  }

  #readBuffer(): number {
    return this.#from.area + Area.READ_AT + (this.#nextRead % Area.READ_BUFFERS) * Area.SOURCE_BYTES;
  }

  #isSource(got: Uint8Array, at: number): boolean {
    return Buffer.compare(got, this.#to.host.bytes.subarray(at, at + got.length)) === 0;
  }

  /** A fenced SEND of what a READ before it brings: without the fence it would leave too early. */
  #postRelay(wrId: number, flags: number): boolean {
    const { sq } = this.#from.qp;
    const isRoom = sq.mask - sq.count() >= 2 && this.#flow.nextWrId < this.#load.work - 1;
    if (!isRoom || this.#readsOut >= Area.READ_BUFFERS) return false;
    const length = 1 + this.#length(Math.min(this.#load.mostBytes, MOST_SEND_BYTES) - 1);
    const { host, area } = this.#to;
    const at = area + this.#flow.random.below(Area.SOURCE_BYTES - length);
    const buffer = this.#readBuffer();
    this.#from.host.bytes.fill(0, buffer, buffer + length);
    if (
      !this.#read(wrId, flags & ~SendFlag.FENCE, {
        rKey: host.key,
        remoteAddress: at,
        at,
        length,
        fails: undefined,
        key: null,
      })
    )
      return false;
    this.#readsOut++;
    const message = sendMessage(host.bytes.subarray(at, at + length), (flags & SendFlag.SOLICITED) !== 0);
    const fenced = flags | SendFlag.FENCE | SendFlag.SIGNALED;
    const request = { wrId: wrId + 1, opcode: WrOpcode.SEND, flags: fenced, sges: this.#sges(buffer, length) };
    const check = (): void => {
      this.#readsOut--;
    };
    return this.#flow.submit(request, { opcode: WcOpcode.SEND, message, check });
  }

  /** what was written before it is there when it completes. */
  #postFlush(wrId: number, flags: number): boolean {
    const { host, area } = this.#to;
    const length = this.#length(this.#load.mostBytes);
    const at = area + Area.TARGET_AT + this.#flow.random.below(Area.TARGET_BYTES - length);
    return this.#flush(wrId, flags, { rKey: host.key, remoteAddress: at, at, length, fails: undefined, key: null });
  }

  #flush(wrId: number, flags: number, { rKey, remoteAddress, length, fails }: Remote): boolean {
    const { random } = this.#flow;
    const type = random.pick([Feth.GLOBAL_VISIBILITY, Feth.PERSISTENCE, Feth.GLOBAL_VISIBILITY | Feth.PERSISTENCE]);
    const flush = { length, type, level: random.below(2) };
    const request = { wrId, opcode: WrOpcode.FLUSH, flags, remoteAddress, rKey, flush };
    return this.#flow.submit(request, { opcode: WcOpcode.FLUSH, fails });
  }

  // ── Atomics ──

  #postAtomicWrite(wrId: number, flags: number): boolean {
    const { random, image } = this.#flow;
    const { qp } = this.#from;
    if (qp.sq.count() === qp.sq.mask) return false;
    const remoteAddress = this.#to.area + Area.WRITE_WORD;
    const inline = new Uint8Array(8);
    random.fill(new Uint32Array(inline.buffer));
    const request = { wrId, opcode: WrOpcode.ATOMIC_WRITE, flags, inline, remoteAddress, rKey: this.#to.host.key };
    return this.#flow.submit(request, { opcode: WcOpcode.ATOMIC_WRITE, mutation: image.write(remoteAddress, inline) });
  }

  /** Where an atomic's result goes; −1 while there is no place. */
  #resultPlace(): number {
    const { sq } = this.#from.qp;
    if (this.#resultsOut === Area.RESULTS || sq.count() === sq.mask) return -1;
    this.#resultsOut++;
    return this.#from.area + Area.RESULTS_AT + (this.#nextResult++ % Area.RESULTS) * 8;
  }

  #postAdd(wrId: number, flags: number): boolean {
    const { host } = this.#from;
    const at = this.#resultPlace();
    if (at === -1) return false;
    const remote = { remoteAddress: this.#tally.wordAt, rKey: this.#to.host.key };
    const request = { wrId, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, flags, sges: [host.sge(at, 8)], compareAdd: 1n };
    const check = (): void => {
      this.#resultsOut--;
      this.#tally.found.push(host.view.getBigUint64(at, true));
    };
    const undo = (): void => {
      this.#tally.unheard++;
    };
    return this.#flow.submit({ ...request, ...remote }, { opcode: WcOpcode.FETCH_ADD, check, undo });
  }

  #postSwap(wrId: number, flags: number): boolean {
    const { host } = this.#from;
    const { random, image } = this.#flow;
    const at = this.#resultPlace();
    if (at === -1) return false;
    const remoteAddress = this.#to.area + Area.SWAP_WORD;
    const found = new BigUint64Array(image.expected(remoteAddress, 8).slice().buffer)[0]!;
    const compareAdd = random.chance(0.5) ? found : BigInt(random.bits());
    const swap = BigInt(random.bits()) << 13n;
    const remote = { remoteAddress, rKey: this.#to.host.key };
    const request = { wrId, opcode: WrOpcode.ATOMIC_CMP_AND_SWP, flags, sges: [host.sge(at, 8)], compareAdd, swap };
    const check = (): void => {
      this.#resultsOut--;
      if (host.view.getBigUint64(at, true) !== found) throw new Broken(`CMP_SWAP ${wrId} brought another value`);
    };
    const bytes = new Uint8Array(new BigUint64Array([swap]).buffer);
    const mutation = compareAdd === found ? image.write(remoteAddress, bytes) : undefined;
    return this.#flow.submit({ ...request, ...remote }, { opcode: WcOpcode.COMP_SWAP, check, mutation });
  }

  // ── Keys of this end ──

  /** Gives one of our keys out, or takes it back. */
  #postKey(wrId: number, flags: number): boolean {
    const { random } = this.#flow;
    const { keys } = this.#from;
    const used = keys.find((key) => key.kind === 0 && isUsable(key, 0) && key.users.size > 0);
    if (used?.state === KeyState.GIVEN && this.#load.hasHazards && random.chance(0.3)) {
      used.deregister();
      return true;
    }
    const free = keys.filter((key) => key.state === KeyState.FREE);
    if (free.length > 0 && random.chance(0.7)) return this.#give(wrId, flags, random.pick(free));
    const given = keys.filter((key) => key.state === KeyState.GIVEN && !key.isSpent);
    const key = given.length === 0 ? undefined : random.pick(given);
    // Who takes a key away that is in use breaks the connection.
    if (key === undefined || (key.users.size > 0 && !this.#mayTake())) return this.#postWrite(wrId, flags, false);
    if (key.kind === 0 && key.users.size === 0 && random.chance(0.5)) {
      key.deregister();
      return true;
    }
    if (key.kind !== 0 && random.chance(0.3)) this.#from.host.expectRegionBusy();
    return key.kind === 1 ? this.#give(wrId, flags, key) : this.#take(wrId, flags, key);
  }

  #mayTake(): boolean {
    return this.#load.hasHazards && this.#flow.random.chance(0.1);
  }

  #give(wrId: number, flags: number, key: SharedKey): boolean {
    const { request, given } = key.give(this.#flow.random);
    const wasGiven = key.state === KeyState.GIVEN;
    const undo = (isUnsure: boolean): void => {
      if (!isUnsure) key.state = wasGiven ? KeyState.GIVEN : KeyState.FREE;
    };
    const meaning = { opcode: WcOpcode.BIND_MW, check: given, undo };
    if (!this.#flow.submit({ wrId, flags: flags | SendFlag.SIGNALED, ...request }, meaning)) return false;
    key.warnUsers();
    key.state = KeyState.GIVING;
    return true;
  }

  #take(wrId: number, flags: number, key: SharedKey): boolean {
    const request = { wrId, opcode: WrOpcode.LOCAL_INV, flags: flags | SendFlag.SIGNALED, immediate: key.key };
    const undo = (isUnsure: boolean): void => {
      if (!isUnsure) key.state = KeyState.GIVEN;
    };
    if (!this.#flow.submit(request, { opcode: WcOpcode.LOCAL_INV, check: () => key.taken(), undo })) return false;
    key.warnUsers();
    key.state = KeyState.TAKING;
    return true;
  }

  // ── Work requests that break the connection ──

  #postTooLong(wrId: number, flags: number): boolean {
    const length = this.#to.receives.bufferBytes + 1 + this.#flow.random.below(5000);
    const { parts } = this.#payload(length, flags);
    const fails = { ...INVALID, receive: WcStatus.LOC_LEN_ERR };
    return this.#flow.submit({ wrId, opcode: WrOpcode.SEND, ...parts }, { opcode: WcOpcode.SEND, fails });
  }

  #postWrongLKey(wrId: number, flags: number): boolean {
    const sges = [
      { address: this.#from.area, length: 1 + this.#length(MOST_SEND_BYTES), lKey: this.#to.host.key ^ 0x100 },
    ];
    return this.#flow.submit({ wrId, opcode: WrOpcode.SEND, flags, sges }, { opcode: WcOpcode.SEND, fails: LOCAL });
  }

  /** the peer's QP ends, and tells nobody. */
  #postWrongInvalidate(wrId: number, flags: number): boolean {
    const { parts } = this.#payload(this.#length(3000), flags);
    const request = { wrId, opcode: WrOpcode.SEND_WITH_INV, immediate: this.#to.host.key, ...parts };
    const status = WcStatus.RETRY_EXC_ERR;
    return this.#flow.submit(request, {
      opcode: WcOpcode.SEND,
      fails: { ...ACCESS_REFUSED, status, receive: WcStatus.REM_INV_REQ_ERR },
    });
  }

  /** more octets than the region has. */
  #postWrongGrant(wrId: number, flags: number): boolean {
    const { random } = this.#flow;
    const { opcode, grant } = random.pick(this.#from.keys).give(random).request;
    const fails = { ...LOCAL, status: WcStatus.MW_BIND_ERR };
    const request = { wrId, opcode, flags, grant: { ...grant!, length: 2 ** 33 } };
    return this.#flow.submit(request, { opcode: WcOpcode.BIND_MW, fails });
  }

  /** */
  #postMisaligned(wrId: number, flags: number): boolean {
    const { host, area } = this.#from;
    const remote = { remoteAddress: this.#to.area + Area.SWAP_WORD + 4, rKey: this.#to.host.key };
    const sges = [host.sge(area + SPARE_WORD, 8)];
    const request = { wrId, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, flags, sges, compareAdd: 1n, ...remote };
    return this.#flow.submit(request, { opcode: WcOpcode.FETCH_ADD, fails: INVALID });
  }

  /** A WRITE or READ with a key that was taken back, of another QP, or for other octets or rights. */
  #postWrongKey(wrId: number, flags: number): boolean {
    const { random } = this.#flow;
    const kinds = this.#wrongRemotes().filter((remotes) => remotes.length > 0);
    if (kinds.length === 0) return false;
    const { operation, ...range } = random.pick(random.pick(kinds));
    const remote = { ...range, fails: ACCESS_REFUSED, key: null };
    switch (operation ?? random.pick(OPERATIONS)) {
      case 'write':
        return this.#write(wrId, flags, random.chance(0.5), remote);
      case 'read':
        return this.#read(wrId, flags, remote);
      case 'flush':
        return this.#flush(wrId, flags, remote);
      default:
        return this.#wrongSwap(wrId, flags, remote);
    }
  }

  /** By what is wrong with them. */
  #wrongRemotes(): Wrong[][] {
    const { random } = this.#flow;
    const { keys } = this.#to;
    const range = (key: SharedKey): Omit<Wrong, 'rKey' | 'operation'> => {
      const length = 1 + random.below(Math.max(1, Math.min(this.#load.mostBytes, key.length - 1)));
      return { remoteAddress: key.base, at: key.at, length };
    };
    const usable = keys.filter((key) => isUsable(key, 0));
    const theirs = this.#strangers().flatMap((end) => end.keys.filter((key) => key.kind === 2 && isUsable(key, 0)));
    return [
      keys.flatMap((key) => key.stale.map((rKey) => ({ ...range(key), rKey, operation: null }))),
      keys.filter(({ isSpent }) => isSpent).map((key) => ({ ...range(key), rKey: key.key, operation: null })),
      theirs.map((key) => ({ ...range(key), rKey: key.key, operation: null })),
      usable.map((key) => ({
        ...range(key),
        rKey: key.key,
        length: key.length + 1 + random.below(100),
        operation: null,
      })),
      usable.map((key) => ({ ...range(key), rKey: key.key, operation: 'flush' })),
      usable.filter(lacks(Access.REMOTE_READ)).map((key) => ({ ...range(key), rKey: key.key, operation: 'read' })),
      usable.filter(lacks(Access.REMOTE_WRITE)).map((key) => ({ ...range(key), rKey: key.key, operation: 'write' })),
    ];
  }

  #wrongSwap(wrId: number, flags: number, { rKey, remoteAddress, fails }: Remote): boolean {
    const { host, area } = this.#from;
    const sges = [host.sge(area + SPARE_WORD, 8)];
    const aligned = Math.floor(remoteAddress / 8) * 8;
    const request = { wrId, opcode: WrOpcode.ATOMIC_CMP_AND_SWP, flags, sges, remoteAddress: aligned, rKey };
    return this.#flow.submit(request, { opcode: WcOpcode.COMP_SWAP, fails });
  }
}

const lacks =
  (right: number) =>
  ({ access }: SharedKey): boolean =>
    (access & right) === 0;

/** Whether the peer may count on this key for these rights. */
const isUsable = ({ state, isSpent, access }: SharedKey, wanted: number): boolean =>
  (state === KeyState.GIVEN || state === KeyState.TAKING) && !isSpent && (access & wanted) === wanted;
