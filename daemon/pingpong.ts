/**
 * The pingpong programs of libibverbs, either side: `ibv_rc_pingpong`, `ibv_uc_pingpong`, `ibv_ud_pingpong`, `ibv_srq_pingpong`. They agree over TCP by
 * one line, `LID:QPN:PSN:GID` in hexadecimal, and the client ends with `done`. The last has several RC QPs with one shared receive queue, and sends a line for
 * each of the most that there may be, those that there are first.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import {
  Access,
  type Ah,
  type Context,
  type Cq,
  type Mr,
  type Pd,
  type Qp,
  QpState,
  QpType,
  SendFlag,
  type SendWr,
  type Srq,
  WorkCompletion,
  WrOpcode,
} from '../verbs/index.ts';

export type PingpongType = 'rc' | 'uc' | 'ud' | 'srq';

export interface PingpongOptions {
  readonly type: PingpongType;
  /** The server; we are the server without one. */
  readonly host?: string;
  readonly port: number;
  /** Octets of a message. */
  readonly size: number;
  /** Octets: 256 … 4096. */
  readonly mtu: number;
  readonly rxDepth: number;
  readonly iterations: number;
  readonly gidIndex: number;
  /** Sleep on a completion channel instead of polling. */
  readonly useEvents: boolean;
  /** QPs: one, but for `srq`. */
  readonly qps: number;
  /** Compare what the server received. */
  readonly check: boolean;
}

export interface PingpongResult {
  readonly bytes: number;
  readonly seconds: number;
  readonly iterations: number;
}

interface Address {
  readonly qpn: number;
  readonly psn: number;
  readonly gid: Uint8Array;
}

const TYPES = { rc: QpType.RC, uc: QpType.UC, ud: QpType.UD, srq: QpType.RC } as const;
/** Lines of ibv_srq_pingpong, whatever its QPs. */
const SRQ_LINES = 256;
const NOBODY: Address = { qpn: 0, psn: 0, gid: new Uint8Array(16) };
/** `sizeof "0000:000000:000000:<32 digits>"`, its NUL included. */
const LINE_BYTES = 52;
const DONE = Buffer.from('done\0');
const GRH_BYTES = 40;
const PAGE_BYTES = 4096;
const FILLING = 0x7b;
const UD_Q_KEY = 0x1111_1111;
/** Bits of what a QP waits for. */
const RECV_ID = 1;
const SEND_ID = 2;
/** Polls before the event loop has a turn. */
const POLLS = 4000;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

function encode({ qpn, psn, gid }: Address): Buffer {
  const line = Buffer.alloc(LINE_BYTES);
  line.write(`0000:${hex(qpn, 6)}:${hex(psn, 6)}:${Buffer.from(gid).toString('hex')}`);
  return line;
}

function decode(line: Buffer): Address {
  const found = /^[0-9a-f]{4}:([0-9a-f]{6}):([0-9a-f]{6}):([0-9a-f]{32})/.exec(line.toString('latin1'));
  if (!found)
    throw new Error(
      `the other side said ${JSON.stringify(line.toString('latin1'))}, not an address: is it a pingpong program?`,
    );
  return {
    qpn: Number.parseInt(found[1]!, 16),
    psn: Number.parseInt(found[2]!, 16),
    gid: Buffer.from(found[3]!, 'hex'),
  };
}

export const describeAddress = ({ qpn, psn, gid }: Address, formatGid: (gid: Uint8Array) => string): string =>
  `LID 0x0000, QPN 0x${hex(qpn, 6)}, PSN 0x${hex(psn, 6)}, GID ${formatGid(gid)}`;

/** Reads exactly `bytes` octets of a socket. */
async function readBytes(socket: Socket, bytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let missing = bytes;
  while (missing > 0) {
    // All that is there is taken: a socket that holds something calls itself readable at once, whoever waits for more.
    const octets = socket.read(Math.min(missing, socket.readableLength)) as Buffer | null;
    if (octets) {
      parts.push(octets);
      missing -= octets.length;
    } else if (socket.readableEnded || socket.destroyed) throw new Error('the other side closed the connection');
    else await changeOf(socket);
  }
  return Buffer.concat(parts);
}

/** Waits until the socket has something to read, or never will. */
async function changeOf(socket: Socket): Promise<void> {
  const done = new AbortController();
  const { signal } = done;
  try {
    await Promise.race(['readable', 'end', 'close'].map((event) => once(socket, event, { signal })));
  } finally {
    done.abort();
  }
}

async function accept(port: number): Promise<Socket> {
  const server = createServer();
  server.listen(port, '::');
  try {
    const [socket] = (await once(server, 'connection')) as [Socket];
    return socket;
  } finally {
    server.close();
  }
}

async function dial(host: string, port: number): Promise<Socket> {
  const socket = connect(port, host);
  await once(socket, 'connect');
  return socket;
}

export class Pingpong {
  readonly #options: PingpongOptions;
  readonly #context: Context;
  readonly #completion = new WorkCompletion();
  #pd!: Pd;
  #cq!: Cq;
  #mr!: Mr;
  #srq: Srq | null = null;
  #ah: Ah | null = null;
  /** By index of the QP. */
  readonly #qps: Qp[] = [];
  readonly #requests: SendWr[] = [];
  readonly #pending: number[] = [];
  readonly #indexOf = new Map<number, number>();
  readonly local: Address[] = [];
  readonly remote: Address[] = [];

  constructor(context: Context, options: PingpongOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Makes the QPs, with their receives posted, and our addresses. */
  async prepare(): Promise<void> {
    const { size, rxDepth, useEvents, type, qps } = this.#options;
    const context = this.#context;
    this.#pd = await context.allocPd();
    const channel = useEvents ? await context.createCompChannel() : undefined;
    this.#cq = await context.createCq(rxDepth + qps, channel);
    this.#mr = await this.#pd.regMr(new SharedArrayBuffer(size + GRH_BYTES), Access.LOCAL_WRITE);
    this.#mr.bytes.fill(FILLING);
    if (type === 'srq') this.#srq = await this.#pd.createSrq({ maxWr: rxDepth });
    for (let i = 0; i < qps; i++) await this.#createQp(i);
    this.#postReceives(0, rxDepth);
  }

  async #createQp(index: number): Promise<void> {
    const { rxDepth, gidIndex, type } = this.#options;
    const cap = { maxSendWr: 1, maxRecvWr: rxDepth, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
    const queues = { sendCq: this.#cq, recvCq: this.#cq, ...(this.#srq && { srq: this.#srq }) };
    const qp = await this.#pd.createQp({ type: TYPES[type], ...queues, cap });
    await qp.toInit({ qKey: UD_Q_KEY });
    this.#qps.push(qp);
    this.#indexOf.set(qp.qpNum, index);
    this.local.push({ qpn: qp.qpNum, psn: randomInt(1 << 24), gid: await this.#context.queryGid(gidIndex) });
  }

  /** Tells the other side who we are, hears who it is, and connects. The server is connected before it answers. */
  async exchange(onPeer: () => void): Promise<void> {
    const { host, port } = this.#options;
    const socket = host === undefined ? await accept(port) : await dial(host, port);
    try {
      const lines = this.#srq ? SRQ_LINES : 1;
      const ours = Buffer.concat(Array.from({ length: lines }, (_, i) => encode(this.local[i] ?? NOBODY)));
      if (host !== undefined) socket.write(ours);
      const theirs = await readBytes(socket, lines * LINE_BYTES);
      for (const i of this.local.keys()) this.remote.push(decode(theirs.subarray(i * LINE_BYTES)));
      onPeer();
      if (host === undefined) {
        await this.#connectAll();
        socket.write(ours);
        await readBytes(socket, DONE.length);
      } else {
        socket.write(DONE);
        await this.#connectAll();
      }
    } finally {
      socket.end();
    }
  }

  /** Sends and receives `iterations` messages. @throws Error when a completion fails or, with `check`, octets differ. */
  async run(): Promise<PingpongResult> {
    const { iterations, host, size, check } = this.#options;
    const start = process.hrtime.bigint();
    let sent = 0;
    let received = 0;
    this.#cq.reqNotify();
    if (host !== undefined && check) for (let i = 0; i < size; i += PAGE_BYTES) this.#mr.bytes[this.#payloadAt + i] = 0;
    for (const index of this.#qps.keys()) {
      if (host !== undefined) this.#send(index);
      else this.#pending[index] = RECV_ID;
    }
    while (sent < iterations || received < iterations) {
      const id = await this.#next();
      const index = this.#indexOf.get(this.#completion.qpNum)!;
      if (id === SEND_ID) sent++;
      else {
        received++;
        this.#postReceives(index, 1);
      }
      this.#pending[index]! &= ~id;
      if (sent < iterations && this.#pending[index] === 0) this.#send(index);
    }
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    if (check && host === undefined) this.#verify();
    return { bytes: size * iterations * 2, seconds, iterations };
  }

  get #payloadAt(): number {
    return this.#options.type === 'ud' ? GRH_BYTES : 0;
  }

  async #connectAll(): Promise<void> {
    for (const index of this.#qps.keys()) await this.#connect(index);
  }

  async #connect(index: number): Promise<void> {
    const { type, mtu, gidIndex } = this.#options;
    const { gid, qpn, psn } = this.remote[index]!;
    const qp = this.#qps[index]!;
    const ourPsn = this.local[index]!.psn;
    const av = { dgid: gid, sgidIndex: gidIndex, hopLimit: 1, trafficClass: 0, flowLabel: 0, portNum: 1 };
    if (type === 'ud') {
      await qp.toRtr();
      await qp.toRts(ourPsn);
      this.#ah = await this.#pd.createAh(av);
    } else {
      const pathMtu = 24 - Math.clz32(mtu);
      const reliable = type !== 'uc' ? { maxDestRdAtomic: 1, minRnrTimer: 12 } : {};
      await qp.modifyQp({ qpState: QpState.RTR, av, pathMtu, destQpNum: qpn, rqPsn: psn, ...reliable });
      await qp.toRts(ourPsn, { maxRdAtomic: 1 });
    }
    this.#requests[index] = {
      wrId: SEND_ID,
      opcode: WrOpcode.SEND,
      sendFlags: SendFlag.SIGNALED,
      sgList: [{ mr: this.#mr, offset: this.#payloadAt, length: this.#options.size }],
      ...(this.#ah && { ah: this.#ah, remoteQpn: qpn, remoteQKey: UD_Q_KEY }),
    };
  }

  #postReceives(index: number, count: number): void {
    const queue = this.#srq ?? this.#qps[index]!;
    const length = this.#options.size + this.#payloadAt;
    for (let i = 0; i < count; i++) queue.postRecv({ wrId: RECV_ID, sgList: [{ mr: this.#mr, length }] });
  }

  #send(index: number): void {
    this.#qps[index]!.postSend(this.#requests[index]!);
    this.#pending[index] = SEND_ID | RECV_ID;
  }

  /** The wrId of the next completion. */
  async #next(): Promise<number> {
    const completion = this.#completion;
    while (!this.#poll()) {
      if (this.#options.useEvents) {
        this.#cq.reqNotify();
        if (this.#poll()) break;
        await this.#cq.channel!.getCqEvent();
      } else await new Promise(setImmediate);
    }
    if (completion.isSuccess) return completion.wrIdLo;
    throw new Error(`Failed status ${completion.statusName} (${completion.status}) for wr_id ${completion.wrIdLo}`);
  }

  #poll(): boolean {
    for (let polls = this.#options.useEvents ? 1 : POLLS; polls > 0; polls--)
      if (this.#cq.pollOne(this.#completion)) return true;
    return false;
  }

  #verify(): void {
    for (let i = 0; i < this.#options.size; i += PAGE_BYTES) {
      if (this.#mr.bytes[this.#payloadAt + i] !== 0) throw new Error(`invalid data in page ${i / PAGE_BYTES}`);
    }
  }
}
