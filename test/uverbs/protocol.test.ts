/** The shim's header and verbs/uverbs/protocol.ts say the same; replies and requests have the header's shape, whatever way the octets come. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import * as Protocol from '../../verbs/uverbs/protocol.ts';
import { ROOT } from '../support/root.ts';

const HEADER = readFileSync(join(ROOT, 'native/urnic-protocol.h'), 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, '');
const WIDTHS: Record<string, number> = { uint32_t: 4, int32_t: 4, uint64_t: 8 };

/** `enum name { PREFIX_MEMBER = 1, … }` of the header, without the prefix. */
function enumeration(name: string, prefix: string): Record<string, number> {
  const body = new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(HEADER)?.[1] ?? '';
  const members = [...body.matchAll(/(\w+) = (\d+)/g)];
  return Object.fromEntries(members.map(([, member, value]) => [member!.replace(prefix, ''), Number(value)]));
}

function define(name: string): number {
  return Number(new RegExp(`#define ${name} (\\w+?)u?$`, 'm').exec(HEADER)?.[1]);
}

/** Where each field of a `struct` lies: no compiler pads these, for each field lies at a multiple of its size. */
function offsets(name: string): Record<string, number> {
  const body = new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(HEADER)?.[1] ?? '';
  const found: Record<string, number> = {};
  let at = 0;
  for (const [, type, fields] of body.matchAll(/(\w+) ([\w, ]+);/g)) {
    for (const field of fields!.split(', ')) {
      found[field] = at;
      at += WIDTHS[type!]!;
    }
  }
  return { ...found, bytes: at };
}

t.test('the header has the numbers of protocol.ts', async (t) => {
  t.strictSame(enumeration('request_op', 'OP_'), Protocol.RequestOp);
  t.strictSame(enumeration('role', 'ROLE_'), Protocol.Role);
  t.strictSame(enumeration('action_type', 'ACTION_'), Protocol.ActionType);
  t.strictSame(enumeration('event_kind', 'EVENT_'), Protocol.EventPipe);
  t.equal(define('CHANNEL_ASYNC'), Protocol.CHANNEL_ASYNC);
  t.equal(define('QP_GONE'), Protocol.QP_GONE);
  t.equal(define('TOKEN_BYTES'), Protocol.TOKEN_BYTES);
  t.equal(define('DESCRIPTORS_MAX'), Protocol.DESCRIPTORS_MAX);
});

t.test('a reply lies as the structs of the header', async (t) => {
  const head = offsets('reply');
  const action = offsets('action');
  const reply = new Protocol.Reply();
  reply.poke(0x1234_5678_9abcn, Uint8Array.of(1, 2, 3));
  reply.newDescriptor(0x2000n, Protocol.EventPipe.ASYNC, Protocol.CHANNEL_ASYNC, 7);
  const octets = reply.encode();
  const second = head.bytes! + action.bytes! + 8;
  t.equal(octets.length, second + action.bytes!, 'a payload is padded to 8 octets');
  t.equal(octets.readUInt32LE(head.length), octets.length);
  t.equal(octets.readInt32LE(head.result), 0);
  t.equal(octets.readUInt32LE(head.actions), 2);
  t.equal(octets.readUInt32LE(head.descriptors), 1);
  t.equal(octets.readUInt32LE(head.bytes! + action.type!), Protocol.ActionType.POKE);
  t.equal(octets.readUInt32LE(head.bytes! + action.length!), 3, 'its length is told without the padding');
  t.equal(octets.readBigUInt64LE(head.bytes! + action.address!), 0x1234_5678_9abcn);
  t.strictSame([...octets.subarray(second - 8, second)], [1, 2, 3, 0, 0, 0, 0, 0]);
  t.equal(octets.readUInt32LE(second + action.type!), Protocol.ActionType.NEW_FD);
  t.equal(octets.readBigUInt64LE(second + action.argument!), 0x2_ffff_ffffn, 'kind above, channel below');
});

t.test('a reply that refuses tells the errno and nothing to do', async (t) => {
  const { bytes, result, actions, descriptors } = offsets('reply');
  const reply = new Protocol.Reply();
  reply.poke(0x1000n, Uint8Array.of(1));
  reply.attach(7);
  reply.result = -22;
  const octets = reply.encode();
  t.equal(octets.length, bytes);
  t.equal(octets.readInt32LE(result), -22);
  t.equal(octets.readUInt32LE(actions), 0);
  t.equal(octets.readUInt32LE(descriptors), 0);
});

function request(op: number, argument: bigint, payload: string): Buffer {
  const at = offsets('request');
  const octets = Buffer.alloc(at.bytes! + payload.length);
  octets.writeUInt32LE(octets.length, at.length);
  octets.writeUInt32LE(op, at.op);
  octets.writeBigUInt64LE(argument, at.argument);
  octets.write(payload, at.bytes!, 'latin1');
  return octets;
}

t.test('requests are the same in whatever pieces they come', async (t) => {
  const stream = Buffer.concat([request(1, 2n ** 63n, 'hello'), request(2, 0n, ''), request(3, 9n, 'x'.repeat(100))]);
  const expected = [
    [1, 2n ** 63n, 'hello'],
    [2, 0n, ''],
    [3, 9n, 'x'.repeat(100)],
  ];
  for (let piece = 1; piece <= stream.length; piece++) {
    const reader = new Protocol.RequestReader();
    const taken: unknown[] = [];
    for (let at = 0; at < stream.length; at += piece)
      for (const { op, argument, payload } of reader.take(stream.subarray(at, at + piece)))
        taken.push([op, argument, payload.toString('latin1')]);
    t.strictSame(taken, expected, `pieces of ${piece}`);
  }
});

t.test('a length that no request has is refused as soon as the header is there', async (t) => {
  for (const length of [0, Protocol.REQUEST_HEADER_BYTES - 1, Protocol.REQUEST_BYTES_MAX + 1, 0xffff_ffff]) {
    const octets = request(1, 0n, '');
    octets.writeUInt32LE(length, 0);
    t.throws(() => [...new Protocol.RequestReader().take(octets)], RangeError, `${length}`);
  }
});
