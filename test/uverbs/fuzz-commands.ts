/**
 * Speaks the control protocol without the shim: well-made commands, and a flood of spoilt ones from a seed.
 *
 *     node dist/test/uverbs/fuzz-commands.js <vRNIC directory> --count 5000000 --seed 7
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RequestOp, Role } from '../../verbs/uverbs/protocol.ts';

/** A reply as it came: result, and what it pokes. */
export interface Answer {
  readonly result: number;
  /** 32 bits of the first poke. */
  poked(at: number): number;
}

export interface Link extends Answer {
  call(payload: Buffer): Promise<Answer>;
  readonly isClosed: boolean;
  /** Whole requests, without waiting for their answers. */
  send(requests: Buffer): void;
  /** Reads no more. */
  deafen(): void;
  /** Until the daemon has hung up. */
  closed(): Promise<unknown>;
  close(): void;
}

const HEADER = 16;
const ACTION = 24;
const CHUNK = 32;

function request(op: number, argument: bigint, payload: Buffer): Buffer {
  const octets = Buffer.alloc(HEADER + payload.length);
  octets.writeUInt32LE(octets.length, 0);
  octets.writeUInt32LE(op, 4);
  octets.writeBigUInt64LE(argument, 8);
  payload.copy(octets, HEADER);
  return octets;
}

/** A command as the shim sends it. */
export const whole = (payload: Buffer): Buffer => request(RequestOp.WRITE, 0n, payload);

/** Reads replies one by one. */
class Replies {
  #pending = Buffer.alloc(0);
  #wake: () => void = () => {};
  #isClosed = false;

  constructor(socket: Socket) {
    socket.on('data', (data) => {
      this.#pending = Buffer.concat([this.#pending, data as Buffer]);
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** Null when the daemon has hung up. */
  async next(): Promise<Answer | null> {
    for (;;) {
      const length = this.#pending.length >= HEADER ? this.#pending.readUInt32LE(0) : Number.POSITIVE_INFINITY;
      if (this.#pending.length >= length) {
        const reply = this.#pending.subarray(0, length);
        this.#pending = this.#pending.subarray(length);
        return { result: reply.readInt32LE(4), poked: (at) => reply.readUInt32LE(HEADER + ACTION + at) };
      }
      if (this.#isClosed) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Connects and says hello. The descriptors that come are dropped by Node. */
export async function hello(path: string, role: number, token: Buffer = Buffer.alloc(0)): Promise<Link> {
  const socket = connect(path);
  const replies = new Replies(socket);
  await once(socket, 'connect');
  socket.write(request(RequestOp.HELLO, BigInt(role), token));
  const first = await replies.next();
  return {
    result: first?.result ?? -1,
    poked: (at) => first!.poked(at),
    async call(payload) {
      socket.write(whole(payload));
      return (await replies.next()) ?? { result: -5, poked: () => 0 };
    },
    get isClosed() {
      return socket.destroyed;
    },
    send: (requests) => void socket.write(requests),
    deafen: () => void socket.pause(),
    closed: () => once(socket, 'close'),
    close: () => socket.destroy(),
  };
}

/** Command of the uverbs ABI: header, body. Responses go to an address that is never looked at. */
function command(number: number, body: Buffer): Buffer {
  const octets = Buffer.alloc(8 + body.length);
  octets.writeUInt32LE(number, 0);
  octets.writeUInt16LE(octets.length >> 2, 4);
  octets.writeUInt16LE(64, 6);
  body.copy(octets, 8);
  return octets;
}

/** A whole number below `below`. */
export type Draw = (below: number) => number;

export function drawFrom(seed: number): Draw {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Bodies that are right, but for their handles: drawn from a seed. */
export function commandsFrom(seed: number) {
  const draw = drawFrom(seed);
  const body = (bytes: number, fields: readonly (readonly [at: number, value: number])[]): Buffer => {
    const octets = Buffer.alloc(bytes);
    if (bytes >= 8) octets.writeUInt32LE(4096, 0);
    for (const [at, value] of fields) octets.writeUInt32LE(value >>> 0, at);
    return octets;
  };
  const handle = (): number => draw(8);
  /** Each of them, well made. */
  const kinds = [
    () => command(0, body(8, [])),
    () => command(1, body(8, [])),
    () => command(2, body(16, [[8, 1]])),
    () => command(3, body(8, [])),
    () => command(4, body(8, [[0, handle()]])),
    () =>
      command(
        9,
        body(40, [
          [8, draw(2 ** 31)],
          [16, draw(2 ** 24)],
          [24, draw(2 ** 31)],
          [32, handle()],
          [36, draw(16)],
        ]),
      ),
    () => command(13, body(8, [[0, handle()]])),
    () =>
      command(
        14,
        body(16, [
          [8, handle()],
          [12, draw(4)],
        ]),
      ),
    () => command(16, body(8, [[0, handle()]])),
    () =>
      command(
        18,
        body(32, [
          [16, draw(5000)],
          [20, draw(2)],
          [24, draw(3) - 1],
        ]),
      ),
    () =>
      command(
        19,
        body(16, [
          [8, handle()],
          [12, draw(5000)],
        ]),
      ),
    () => command(20, body(16, [[8, handle()]])),
    () =>
      command(
        24,
        body(64, [
          [16, handle()],
          [20, handle()],
          [24, handle()],
          [28, handle()],
          [32, draw(300)],
          [36, draw(300)],
          [40, draw(8)],
          [44, draw(8)],
          [48, draw(300)],
          [52, draw(2 ** 24)],
        ]),
      ),
    () => command(25, body(16, [[8, handle()]])),
    () =>
      command(
        26,
        body(112, [
          [64, handle()],
          [68, draw(2 ** 21)],
          [96, draw(2 ** 24)],
          [84, draw(2 ** 24)],
        ]),
      ),
    () => command(27, body(16, [[8, handle()]])),
    () => command(30, body(24, [[16, handle()]])),
    () =>
      command(
        32,
        body(32, [
          [16, handle()],
          [20, draw(300)],
          [24, draw(8)],
          [28, draw(300)],
        ]),
      ),
    () =>
      command(
        33,
        body(24, [
          [0, handle()],
          [4, draw(4)],
          [8, draw(300)],
          [12, draw(300)],
        ]),
      ),
    () => command(35, body(16, [[8, handle()]])),
  ];
  return {
    draw,
    kinds,
    allocPd: (): Buffer => command(3, body(8, [])),
    deallocPd: (pd: number): Buffer => command(4, body(8, [[0, pd]])),
    createCq: (): Buffer =>
      command(
        18,
        body(32, [
          [16, 10],
          [24, -1],
        ]),
      ),
    destroyCq: (cq: number): Buffer => command(20, body(16, [[8, cq]])),
    createSrq: (pd: number): Buffer =>
      command(
        32,
        body(32, [
          [16, pd],
          [20, 10],
          [24, 1],
        ]),
      ),
    destroySrq: (srq: number): Buffer => command(35, body(16, [[8, srq]])),
    createQp: (pd: number, cq: number): Buffer =>
      command(
        24,
        body(64, [
          [16, pd],
          [20, cq],
          [24, cq],
          [32, 1],
          [36, 1],
          [40, 1],
          [44, 1],
          [53, 2],
        ]),
      ),
    destroyQp: (qp: number): Buffer => command(27, body(16, [[8, qp]])),
    queryQp: (qp: number): Buffer => command(25, body(16, [[8, qp]])),
    /** One of all commands, mostly well made. */
    any: (): Buffer => spoil(kinds[draw(kinds.length)]!()),
  };

  /** Half of them as they are; others cut, changed in places, or renamed. */
  function spoil(octets: Buffer): Buffer {
    switch (draw(8)) {
      case 0:
        return octets.subarray(0, draw(octets.length + 1));
      case 1:
        for (let i = draw(6); i >= 0; i--) octets[draw(octets.length)] = draw(256);
        return octets;
      case 2:
        octets.writeUInt32LE((draw(2) === 0 ? 0 : 0x8000_0000) + draw(256), 0);
        return octets;
      case 3:
        return Buffer.concat([octets, Buffer.alloc(draw(200), draw(256))]);
      default:
        return octets;
    }
  }
}

export interface FloodCounts {
  granted: number;
  refused: number;
  /** The daemon hung up, or went. */
  unanswered: number;
  contexts: number;
}

/** Sends commands to one context after the other; each lives for a while. */
export async function flood(path: string, count: number, seed: number): Promise<FloodCounts> {
  const counts: FloodCounts = { granted: 0, refused: 0, unanswered: 0, contexts: 0 };
  const { any, draw } = commandsFrom(seed);
  for (let sent = 0; sent < count; ) {
    const socket = connect(path);
    const replies = new Replies(socket);
    await once(socket, 'connect');
    socket.write(request(RequestOp.HELLO, BigInt(Role.CONTEXT), Buffer.alloc(0)));
    if (!(await replies.next())) throw new Error('the daemon does not answer');
    counts.contexts++;
    for (let life = 200 + draw(4000); life > 0 && sent < count; life -= CHUNK) {
      const burst = Array.from({ length: Math.min(CHUNK, count - sent) }, () => request(RequestOp.WRITE, 0n, any()));
      socket.write(Buffer.concat(burst));
      for (const _ of burst) {
        const answer = await replies.next();
        sent++;
        if (!answer) counts.unanswered++;
        else if (answer.result === 0) counts.granted++;
        else counts.refused++;
      }
    }
    socket.destroy();
  }
  return counts;
}

if (process.argv[1]?.endsWith('fuzz-commands.js')) {
  const options = { count: { type: 'string', default: '5000000' }, seed: { type: 'string', default: '1' } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const counts = await flood(join(positionals[0] ?? '.', 'uverbs'), Number(values.count), Number(values.seed));
  console.log(JSON.stringify(counts));
}
