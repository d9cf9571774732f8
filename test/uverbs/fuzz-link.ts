/**
 * A flood of the commands by which TypeScript programs of other processes use a vRNIC: well made and spoilt ones, from a seed.
 *
 *     node dist/test/uverbs/fuzz-link.js <vRNIC directory> --count 1000000 --seed 7
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { decode, encode } from '../../verbs/uverbs/link-codec.ts';
import { encodeRequest, NoticeOp, RequestOp, RequestReader, Role } from '../../verbs/uverbs/protocol.ts';
import { type Draw, drawFrom, type FloodCounts } from './fuzz-commands.ts';

/** Under way at once: less than what a program may have. */
const CHUNK = 32;
const REPLY_HEADER_BYTES = 16;

type Members = Record<string, unknown>;

/** Every command in a form that may be granted. */
function commandsOf(draw: Draw): (() => Members)[] {
  const handle = (): number => draw(8);
  const number = (): number => draw(300);
  const octets = (length: number): Uint8Array => Uint8Array.from({ length }, () => draw(256));
  const av = (): Members => ({
    ...{ dgid: octets(16), sgidIndex: draw(3), hopLimit: draw(256), trafficClass: draw(256), flowLabel: draw(2 ** 20) },
    portNum: draw(3),
  });
  const cap = (): Members => ({
    ...{ maxSendWr: number(), maxRecvWr: number(), maxSendSge: draw(8), maxRecvSge: draw(8), maxInlineData: number() },
  });
  const range = (): Members => ({
    ...{ memory: { address: draw(2 ** 31) * draw(2 ** 16) }, start: draw(4096), length: draw(2 ** 24) },
  });
  const attributes = (): Members => ({
    ...{ qpState: draw(8), portNum: 1, pKeyIndex: 0, qpAccessFlags: draw(16), pathMtu: 1 + draw(5), av: av() },
    ...{ destQpNum: draw(2 ** 24), rqPsn: draw(2 ** 24), sqPsn: draw(2 ** 24), timeout: draw(32), retryCnt: draw(8) },
    ...{
      rnrRetry: draw(8),
      minRnrTimer: draw(32),
      maxRdAtomic: draw(20),
      maxDestRdAtomic: draw(20),
      qKey: draw(2 ** 31),
    },
  });
  const parameters = (): Members => ({
    ...{ qpNum: draw(2 ** 24), privateData: octets(draw(60)), srq: draw(2) === 0, responderResources: draw(20) },
    ...{ initiatorDepth: draw(20), flowControl: true, retryCount: draw(8), rnrRetryCount: draw(8) },
  });
  const address = (): Members => ({ address: octets(16), port: draw(65536) });
  return [
    () => ({ op: 'queryDevice' }),
    () => ({ op: 'queryPort', portNum: draw(3) }),
    () => ({ op: 'queryGid', portNum: draw(3), index: draw(20) }),
    () => ({ op: 'allocPd' }),
    () => ({ op: 'deallocPd', pd: handle() }),
    () => ({ op: 'regMr', pd: handle(), ...range(), iova: BigInt(draw(2 ** 31)), access: draw(512) }),
    () => ({ op: 'reregMr', mr: handle(), flags: draw(8), pd: handle(), ...range(), access: draw(512) }),
    () => ({ op: 'deregMr', mr: handle() }),
    () => ({ op: 'allocMr', pd: handle(), maxBytes: draw(2 ** 24) }),
    () => ({ op: 'allocMw', pd: handle(), type: 1 + draw(2) }),
    () => ({ op: 'deallocMw', mw: handle() }),
    () => ({ op: 'createCompChannel' }),
    () => ({ op: 'destroyCompChannel', channel: handle() }),
    () => ({ op: 'createCq', cqe: draw(5000), channel: handle(), cookie: BigInt(draw(2 ** 31)) }),
    () => ({ op: 'resizeCq', cq: handle(), cqe: draw(5000) }),
    () => ({ op: 'destroyCq', cq: handle() }),
    () => ({ op: 'reqNotifyCq', cq: handle(), solicitedOnly: draw(2) === 0 }),
    () => ({ op: 'createSrq', pd: handle(), maxWr: number(), maxSge: draw(8), cookie: 1n }),
    () => ({ op: 'modifySrq', srq: handle(), attributes: { maxWr: number(), srqLimit: number() } }),
    () => ({ op: 'querySrq', srq: handle() }),
    () => ({ op: 'destroySrq', srq: handle() }),
    () => ({
      ...{ op: 'createQp', pd: handle(), type: draw(6), sendCq: handle(), recvCq: handle(), cap: cap() },
      ...{ sqSigAll: draw(2) === 0, cookie: 2n },
    }),
    () => ({ op: 'modifyQp', qp: handle(), mask: draw(2 ** 21), attributes: attributes() }),
    () => ({ op: 'modifyQp', qp: handle(), mask: 0x39, attributes: { ...attributes(), qpState: 1 } }),
    () => ({ op: 'queryQp', qp: handle() }),
    () => ({ op: 'destroyQp', qp: handle() }),
    () => ({ op: 'createAh', pd: handle(), av: av() }),
    () => ({ op: 'destroyAh', ah: handle() }),
    () => ({ op: 'attachMcast', qp: handle(), gid: octets(16) }),
    () => ({ op: 'detachMcast', qp: handle(), gid: octets(16) }),
    () => ({ op: 'cmCreateId', portSpace: [0x106, 0x111][draw(2)], qpType: [2, 4][draw(2)], cookie: 3n }),
    () => ({ op: 'cmDestroyId', id: handle() }),
    () => ({ op: 'cmBindAddr', id: handle(), local: address() }),
    () => ({ op: 'cmResolveAddr', id: handle(), destination: address(), timeoutMillis: draw(10) }),
    () => ({ op: 'cmResolveRoute', id: handle() }),
    () => ({ op: 'cmQueryRoute', id: handle() }),
    () => ({ op: 'cmListen', id: handle(), backlog: draw(10) }),
    () => ({ op: 'cmConnect', id: handle(), parameters: parameters() }),
    () => ({ op: 'cmAccept', id: handle(), parameters: parameters() }),
    () => ({ op: 'cmReject', id: handle(), privateData: octets(draw(60)) }),
    () => ({ op: 'cmDisconnect', id: handle() }),
    () => ({ op: 'cmInitQpAttr', id: handle(), state: draw(8) }),
    () => ({ op: 'cmNotify', id: handle() }),
    () => ({ op: 'cmJoinMulticast', id: handle(), group: octets(16), cookie: 4n }),
    () => ({ op: 'cmLeaveMulticast', multicast: handle() }),
    () => ({ op: 'cmSetOption', id: handle(), option: 'tos', value: draw(256) }),
  ];
}

/** What no member should be, and names that objects have by themselves. */
const STRANGE: readonly unknown[] = [
  ...[-1, 0.5, 2 ** 53, 1e300, 2 ** 32, '', 'allocPd', null, true, [], {}, -1n, 2n ** 64n, new Uint8Array(4096)],
  ...[{ address: -1 }, { pid: 1, address: 0 }, { sab: {} }, [[[[]]]], { $int: 'x' }, { $octets: '' }],
];
const NAMES = ['__proto__', 'constructor', 'path', 'memory', 'context', 'toString', 'sab', 'pid', 'hasOwnProperty'];

/** Half of them as they are. */
function payloadFrom(draw: Draw, commands: readonly (() => Members)[]): Uint8Array {
  const command = commands[draw(commands.length)]!();
  const keys = Object.keys(command);
  const key = keys[draw(keys.length)]!;
  switch (draw(12)) {
    case 0:
      command[key] = STRANGE[draw(STRANGE.length)];
      break;
    case 1:
      delete command[key];
      break;
    case 2:
      // A member of its own, whatever the name means otherwise.
      Object.defineProperty(command, NAMES[draw(NAMES.length)]!, {
        value: STRANGE[draw(STRANGE.length)],
        enumerable: true,
      });
      break;
    case 3: {
      const octets = Buffer.from(encode(command));
      for (let i = draw(4); i >= 0; i--) octets[draw(octets.length)] = draw(256);
      return octets;
    }
    case 4:
      return encode(command).subarray(0, draw(40));
    case 5:
      return Buffer.from(`{"op":"${NAMES[draw(NAMES.length)]}","__proto__":{"pd":0}}`);
  }
  return encode(command);
}

/** Sends commands to one link after the other; each lives for a while. */
export async function floodLinks(path: string, count: number, seed: number): Promise<FloodCounts> {
  const counts: FloodCounts = { granted: 0, refused: 0, unanswered: 0, contexts: 0 };
  const draw = drawFrom(seed);
  const commands = commandsOf(draw);
  for (let sent = 0; sent < count; ) {
    counts.contexts++;
    const link = await openLink(path);
    for (let life = 200 + draw(4000); life > 0 && sent < count; life -= CHUNK) {
      const burst = Array.from({ length: Math.min(CHUNK, count - sent) }, () => payloadFrom(draw, commands));
      for (const isGranted of await link.callAll(burst)) {
        if (isGranted === undefined) counts.unanswered++;
        else if (isGranted) counts.granted++;
        else counts.refused++;
      }
      sent += burst.length;
    }
    link.close();
  }
  return counts;
}

/** One connection in the role of a TypeScript program. Events that come are passed over. */
async function openLink(path: string) {
  const socket = connect(path);
  const notices = new RequestReader();
  let head: Buffer | null = Buffer.alloc(0);
  let left = 0;
  let answers: boolean[] = [];
  let wake = (): void => {};
  let isClosed = false;
  const take = (octets: Buffer): void => {
    for (const { op, argument, payload } of notices.take(octets)) {
      if (op !== NoticeOp.ANSWER) continue;
      answers[Number(argument) - 1] = (decode(payload) as { ok: boolean }).ok;
      left--;
    }
    wake();
  };
  socket.on('data', (data) => {
    if (head === null) return take(data as Buffer);
    head = Buffer.concat([head, data as Buffer]);
    if (head.length < REPLY_HEADER_BYTES || head.length < head.readUInt32LE(0)) return;
    const rest = head.subarray(head.readUInt32LE(0));
    head = null;
    take(rest);
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    wake();
  });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition() && !isClosed)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  await once(socket, 'connect');
  socket.write(encodeRequest(RequestOp.HELLO, BigInt(Role.LINK)));
  await until(() => head === null);
  if (head !== null) throw new Error('the daemon does not answer');
  return {
    /** Of each whether it was granted; undefined where the daemon has hung up. */
    async callAll(payloads: readonly Uint8Array[]): Promise<(boolean | undefined)[]> {
      answers = [];
      left = payloads.length;
      socket.write(Buffer.concat(payloads.map((payload, i) => encodeRequest(RequestOp.CALL, BigInt(i + 1), payload))));
      await until(() => left === 0);
      return payloads.map((_, i) => answers[i]);
    },
    close: () => socket.destroy(),
  };
}

if (process.argv[1]?.endsWith('fuzz-link.js')) {
  const options = { count: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const counts = await floodLinks(join(positionals[0] ?? '.', 'uverbs'), Number(values.count), Number(values.seed));
  console.log(JSON.stringify(counts));
}
