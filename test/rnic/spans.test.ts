/** Packets that stand for several (rnic/span.ts): taken apart they are, octet for octet, what the same work puts on a wire. */
import t, { type Test } from 'tap';
import { QpType, SendFlag, WcStatus, WrOpcode } from '../../rnic/constants.ts';
import { completionsOf, connectedPair, finish, type Pair } from '../support/sim/pair.ts';
import type { SendRequest } from '../support/sim/work.ts';

const MTU = 1024;
/** None asks for an acknowledgement inside. */
const LENGTHS = [0, 1, MTU, MTU + 1, 5 * MTU, 14 * MTU + 3];
const REMOTE_AT = 32_768;

type Post = Omit<SendRequest, 'wrId' | 'flags' | 'sges'> & { readonly flags?: number };

const POSTS: Record<string, Post> = {
  send: { opcode: WrOpcode.SEND, flags: SendFlag.SOLICITED },
  'send with immediate data': { opcode: WrOpcode.SEND_WITH_IMM, immediate: 0x1234_5678 },
  write: { opcode: WrOpcode.RDMA_WRITE },
  'write with immediate data': { opcode: WrOpcode.RDMA_WRITE_WITH_IMM, immediate: 7 },
  read: { opcode: WrOpcode.RDMA_READ },
};

/** All frames, in order of their time; and how many frames passed. */
function framesOf(t: Test, isByMemory: boolean, isIpv6: boolean, post: Post, length: number): [string[], number] {
  const pair: Pair = connectedPair({ isByMemory, isIpv6, a: { sqPsn: 0xff_fffa } });
  const { a, b, qpA, qpB, world } = pair;
  b.postReceive(qpB, 1, [b.sge(0, REMOTE_AT)]);
  const at = { remoteAddress: REMOTE_AT, rKey: b.key };
  a.postSend(qpA, { ...at, ...post, wrId: 1, flags: SendFlag.SIGNALED | (post.flags ?? 0), sges: [a.sge(64, length)] });
  finish(pair);
  t.equal(completionsOf(qpA.sendCq)[0]?.status, WcStatus.SUCCESS);
  return [world.trace!.map(({ octets }) => octets.toString('hex')), world.wire.sent];
}

for (const isIpv6 of [false, true])
  for (const [name, post] of Object.entries(POSTS))
    t.test(`${name} over IPv${isIpv6 ? 6 : 4}`, async (t) => {
      for (const length of LENGTHS) {
        const [byWire, sent] = framesOf(t, false, isIpv6, post, length);
        const [byMemory, fewer] = framesOf(t, true, isIpv6, post, length);
        t.same(byMemory, byWire, `${length} octets`);
        if (length > MTU) t.ok(fewer < sent, `${fewer} packets instead of ${sent}`);
      }
    });

t.test('what is sent again goes packet by packet, and all arrives', async (t) => {
  const pair = connectedPair({ isByMemory: true, faults: { loss: 0.2 } });
  const { a, b, qpA } = pair;
  for (let i = 0; i < 20; i++) {
    const work = { opcode: WrOpcode.RDMA_WRITE, flags: SendFlag.SIGNALED, remoteAddress: REMOTE_AT, rKey: b.key };
    a.postSend(qpA, { ...work, wrId: i, sges: [a.sge(i * 8, 20_000)] });
  }
  finish(pair, 60e6);
  t.strictSame(
    completionsOf(qpA.sendCq).map(({ wrId, status }) => [wrId, status]),
    Array.from({ length: 20 }, (_, i) => [i, WcStatus.SUCCESS]),
  );
  t.ok(a.rnic.counters.get('retransmitted_pkts') > 0);
  t.same(b.bytes.subarray(REMOTE_AT, REMOTE_AT + 20_000), a.bytes.subarray(19 * 8, 19 * 8 + 20_000));
});

t.test('a UC message goes packet by packet', async (t) => {
  const pair = connectedPair({ isByMemory: true, type: QpType.UC });
  const { a, b, qpA, world } = pair;
  const work = { opcode: WrOpcode.RDMA_WRITE, flags: SendFlag.SIGNALED, remoteAddress: REMOTE_AT, rKey: b.key };
  a.postSend(qpA, { ...work, wrId: 1, sges: [a.sge(0, 4 * MTU)] });
  finish(pair);
  t.equal(world.wire.sent, 4);
});
