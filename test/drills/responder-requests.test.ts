/** Drills: what makes a request valid to an RC responder, in the order of its checks. SPEC-CHECKLIST §2.3. */
import { Access } from '../../rnic/constants.ts';
import { type Drill, drill, REMOTE } from './language/drill.ts';
import { ack, filled, nak, type Packet, rnrNak } from './language/packet.ts';

const SEND_FIRST: Packet = { opcode: 'SEND_FIRST', psn: 0, payload: 256 };
const WRITE_FIRST: Packet = { opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 512, payload: 256 };
const WRITE_LAST: Packet = { opcode: 'RDMA_WRITE_LAST', psn: 1, payload: 256, ackReq: true };
const READ: Packet = { opcode: 'RDMA_READ_REQUEST', psn: 0, va: REMOTE, length: 8 };
const WRONG_KEY = 0x1234_5678;

/** The request at `psn` is refused as invalid, and that is the end of the QP. */
function refusedAsInvalid({ expect }: Drill, psn: number): void {
  expect.packet(nak('INVALID_REQUEST', psn));
  expect.event('QP_REQ_ERR');
  expect.state('ERR');
}

function refusedAccess({ expect }: Drill, psn: number): void {
  expect.packet(nak('REMOTE_ACCESS_ERROR', psn));
  expect.event('QP_ACCESS_ERR');
  expect.state('ERR');
}

const REQUESTS: readonly Packet[] = [
  { opcode: 'SEND_FIRST', payload: 256 },
  { opcode: 'SEND_MIDDLE', payload: 256 },
  { opcode: 'SEND_LAST', payload: 4 },
  { opcode: 'SEND_LAST_WITH_IMMEDIATE', payload: 4 },
  { opcode: 'SEND_LAST_WITH_INVALIDATE', payload: 4 },
  { opcode: 'SEND_ONLY', payload: 4 },
  { opcode: 'SEND_ONLY_WITH_IMMEDIATE', payload: 4 },
  { opcode: 'SEND_ONLY_WITH_INVALIDATE', payload: 4 },
  { opcode: 'RDMA_WRITE_FIRST', length: 512, payload: 256 },
  { opcode: 'RDMA_WRITE_MIDDLE', payload: 256 },
  { opcode: 'RDMA_WRITE_LAST', payload: 4 },
  { opcode: 'RDMA_WRITE_LAST_WITH_IMMEDIATE', payload: 4 },
  { opcode: 'RDMA_WRITE_ONLY', payload: 4 },
  { opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', payload: 4 },
  { opcode: 'RDMA_READ_REQUEST', length: 4 },
  { opcode: 'COMPARE_SWAP' },
  { opcode: 'FETCH_ADD' },
  { opcode: 'ATOMIC_WRITE', payload: 8 },
  { opcode: 'FLUSH', length: 8 },
];

const goesOn = (inside: string, { opcode }: Packet): boolean =>
  ['MIDDLE', 'LAST'].some((part) => `${opcode}`.startsWith(`${inside}_${part}`));

for (const [inside, first] of [
  ['SEND', SEND_FIRST],
  ['RDMA_WRITE', WRITE_FIRST],
] as const) {
  for (const request of REQUESTS.filter((request) => !goesOn(inside, request))) {
    drill(`R-062: inside a ${inside} a ${request.opcode} is an invalid request`, (d) => {
      d.qp('rc');
      d.post.recv({ length: 1024 });
      d.inject(first);
      d.inject({ ...request, psn: 1 });
      d.expect.packet(nak('INVALID_REQUEST', 1));
      d.expect.event('QP_REQ_ERR');
      d.expect.state('ERR');
      d.expect.completion({ wrId: 1, status: inside === 'SEND' ? 'REM_INV_REQ_ERR' : 'WR_FLUSH_ERR' });
    });
  }
}

for (const request of REQUESTS.filter(({ opcode }) => /MIDDLE|LAST/.test(`${opcode}`))) {
  drill(`R-063: outside a message a ${request.opcode} is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ ...request, psn: 0 });
    refusedAsInvalid(d, 0);
  });
}

for (const [request, missing] of [
  [{ opcode: 'RDMA_WRITE_ONLY', payload: 8 }, Access.REMOTE_WRITE],
  [{ opcode: 'RDMA_WRITE_ONLY', payload: 0 }, Access.REMOTE_WRITE],
  [READ, Access.REMOTE_READ],
  [{ opcode: 'FETCH_ADD' }, Access.REMOTE_ATOMIC],
  [{ opcode: 'COMPARE_SWAP' }, Access.REMOTE_ATOMIC],
  [{ opcode: 'ATOMIC_WRITE', payload: 8 }, Access.REMOTE_WRITE],
  [{ opcode: 'FLUSH', length: 8 }, Access.FLUSH_GLOBAL],
] as const) {
  const octets = 'payload' in request ? ` of ${request.payload} octets` : '';
  drill(`R-067: a ${request.opcode}${octets} to a QP that does not allow it is an invalid request`, (d) => {
    d.qp('rc', { qpAccessFlags: 0x3ff & ~missing });
    d.inject({ ...request, psn: 0 });
    refusedAsInvalid(d, 0);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

for (const opcode of [0x15, 0x18, 0x1b, 0x1e, 0x1f]) {
  drill(`R-068: reserved opcode 0x${opcode.toString(16)} is dropped and counted; the QP goes on`, (d) => {
    d.qp('rc');
    d.inject({ opcode, psn: 0, payload: 8 });
    d.expect.counter('drop_opcode', 1);
    d.expect.state('RTS');
    d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
    d.expect.packet(ack(0));
  });
}

for (const [payload, pad] of [
  [252, 0],
  [255, 1],
  [257, 3],
  [260, 0],
] as const) {
  drill(`R-069: a FIRST of ${payload} octets at MTU 256 is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ ...WRITE_FIRST, payload, pad });
    refusedAsInvalid(d, 0);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
  drill(`R-069: a MIDDLE of ${payload} octets at MTU 256 is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ ...WRITE_FIRST, length: 1024 });
    d.inject({ opcode: 'RDMA_WRITE_MIDDLE', psn: 1, payload, pad });
    refusedAsInvalid(d, 1);
    d.expect.untouched(REMOTE + 256, 300);
  });
}

drill('R-070: an ONLY holds 0 octets to the MTU', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 0, ackReq: true });
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 1, payload: 256, ackReq: true });
  expect.packet(ack(0), ack(1));
  expect.memory(REMOTE, filled(1, 256));
});

drill('R-070: an ONLY of the MTU and an octet is an invalid request', (d) => {
  d.qp('rc');
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 257 });
  refusedAsInvalid(d, 0);
});

for (const payload of [0, 257]) {
  drill(`R-070: a LAST of ${payload} octets is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ ...WRITE_FIRST, length: 256 + payload });
    d.inject({ ...WRITE_LAST, payload });
    refusedAsInvalid(d, payload === 0 ? 0 : 1);
  });
}

for (const request of [READ, { opcode: 'FETCH_ADD' }, { opcode: 'COMPARE_SWAP' }, { opcode: 'FLUSH', length: 8 }]) {
  drill(`R-071: a ${request.opcode} with a payload is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ psn: 0, ...request, length: 8, payload: 4 });
    refusedAsInvalid(d, 0);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

for (const opcode of ['RDMA_READ_REQUEST', 'RDMA_WRITE_FIRST']) {
  drill(`R-072: a ${opcode} of 2^31 and an octet is an invalid request, one of 2^31 is judged by its key`, (d) => {
    const payload = opcode === 'RDMA_WRITE_FIRST' ? 256 : 0;
    d.qp('rc');
    d.inject({ opcode, psn: 0, length: 2 ** 31 + 1, payload });
    refusedAsInvalid(d, 0);
    d.qp('rc');
    d.inject({ opcode, psn: 0, length: 2 ** 31, payload });
    refusedAccess(d, 0);
  });
}

for (const [what, packets] of [
  ['ends early', [WRITE_FIRST, { ...WRITE_LAST, payload: 252 }]],
  ['ends late', [{ ...WRITE_FIRST, length: 500 }, WRITE_LAST]],
  ['goes on behind its end', [WRITE_FIRST, { opcode: 'RDMA_WRITE_MIDDLE', psn: 1, payload: 256 }]],
] as const) {
  drill(`R-073: a WRITE that ${what} is an invalid request`, (d) => {
    d.qp('rc');
    d.inject(...packets);
    refusedAsInvalid(d, 1);
    d.expect.untouched(REMOTE + 256, 256);
  });
}

drill('R-073: an ONLY whose RETH says another length is an invalid request', (d) => {
  d.qp('rc');
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, length: 12, payload: 8 });
  refusedAsInvalid(d, 0);
});

drill('R-074: a SEND longer than its receive WQE ends both sides', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.recv({ length: 7 });
  inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
  expect.packet(nak('INVALID_REQUEST', 0));
  expect.completion({ wrId: 1, status: 'LOC_LEN_ERR' });
  expect.event('QP_REQ_ERR');
  expect.state('ERR');
});

drill('R-075: with another MTU than ours the peer’s first long packet is an invalid request', (d) => {
  d.qp('rc', { mtu: 256 });
  d.inject({ opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 1024, payload: 512 });
  refusedAsInvalid(d, 0);
  d.qp('rc', { mtu: 1024 });
  d.inject({ opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 1024, payload: 512 });
  refusedAsInvalid(d, 0);
});

drill('R-075: a path MTU that the port does not carry is refused', { mtu: 1400 }, ({ qp, expect }) => {
  qp('rc', { state: 'INIT' });
  expect.refusedModify('EINVAL', 'RTR', { pathMtu: 4, destQpNum: 1, rqPsn: 0, maxDestRdAtomic: 1, minRnrTimer: 1 });
  expect.state('INIT');
});

drill('R-076: an empty WRITE or READ needs no valid key nor address', ({ qp, inject, expect, memory }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, va: 0, rKey: WRONG_KEY, ackReq: true });
  expect.packet(ack(0));
  inject({ opcode: 'RDMA_READ_REQUEST', psn: 1, va: 0, rKey: WRONG_KEY, length: 0 });
  expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 1, payload: 0 });
  expect.that(memory.isUntouched, true, 'memory');
});

drill('R-076: an empty WRITE with immediate data still takes a receive WQE', ({ qp, post, inject, expect }) => {
  qp('rc');
  const write: Packet = { opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', psn: 0, rKey: WRONG_KEY, imm: 7, ackReq: true };
  inject(write);
  expect.packet(rnrNak(12, 0));
  post.recv();
  inject(write);
  expect.packet(ack(0));
  expect.completion({ status: 'SUCCESS', opcode: 'RECV_RDMA_WITH_IMM', byteLen: 0, imm: 7 });
});

drill('R-077: an empty SEND takes a receive WQE and fills nothing of it', ({ qp, post, inject, expect, memory }) => {
  qp('rc');
  post.recv();
  inject({ opcode: 'SEND_ONLY', psn: 0, ackReq: true });
  expect.packet(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'RECV', byteLen: 0 });
  expect.that(memory.isUntouched, true, 'memory');
});

for (const [what, more] of [
  ['a key that nobody gave out', { rKey: WRONG_KEY }],
  ['key 0', { rKey: 0 }],
  ['an octet before the region', { va: 0xffff }],
  ['an octet behind it', { va: 0x1_fff9 }],
  ['an address that wraps round', { va: 0xffff_ffff_ffff_fffcn }],
] as const) {
  drill(`R-078: a WRITE with ${what} is a remote access error`, (d) => {
    d.qp('rc');
    d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ...more });
    refusedAccess(d, 0);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

drill('R-078: the key of another protection domain is a remote access error', (d) => {
  const { pd } = d.execute({ op: 'allocPd' });
  const theirs = d.region({ pd, address: 0x40_0000 });
  d.qp('rc');
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, va: 0x40_0000, rKey: theirs.key });
  refusedAccess(d, 0);
  d.expect.that(theirs.isUntouched, true, 'memory');
});

for (const [opcode, right] of [
  ['RDMA_WRITE_ONLY', Access.REMOTE_WRITE],
  ['RDMA_READ_REQUEST', Access.REMOTE_READ],
  ['FETCH_ADD', Access.REMOTE_ATOMIC],
] as const) {
  drill(`R-078: a ${opcode} needs the right on the region too`, (d) => {
    const region = d.region({ address: 0x40_0000, access: 0x1f & ~right });
    d.qp('rc');
    d.inject({
      opcode,
      psn: 0,
      payload: right === Access.REMOTE_WRITE ? 8 : 0,
      length: 8,
      va: 0x40_0000,
      rKey: region.key,
    });
    refusedAccess(d, 0);
    d.expect.that(region.isUntouched, true, 'memory');
  });
}

drill('R-078: a region may end with the last octet of the address space', ({ qp, region, inject, expect }) => {
  const { key } = region({ bytes: 4096, address: 2n ** 64n - 4096n });
  qp('rc');
  inject({ opcode: 'RDMA_READ_REQUEST', psn: 0, va: 2n ** 64n - 8n, rKey: key, length: 8 });
  expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: 8 });
});

drill('R-079: the whole range is judged at the first packet: nothing is written of a WRITE that ends outside', (d) => {
  d.qp('rc');
  d.inject({ ...WRITE_FIRST, va: 0x1_ff00 });
  refusedAccess(d, 0);
  d.expect.that(d.memory.isUntouched, true, 'memory');
});

drill('R-080: a region that goes in the middle of a WRITE takes no more of it', (d) => {
  const region = d.region({ address: 0x40_0000 });
  d.qp('rc');
  d.inject({ ...WRITE_FIRST, va: 0x40_0000, rKey: region.key });
  d.execute({ op: 'deregMr', mr: region.mr });
  d.inject(WRITE_LAST);
  refusedAccess(d, 1);
  d.expect.memory(0x40_0000, filled(0, 256), region);
  d.expect.untouched(0x40_0100, 256, region);
});

drill('R-083: an atomic to an address that 8 does not divide is an invalid request, whatever its key', (d) => {
  d.qp('rc');
  d.inject({ opcode: 'FETCH_ADD', psn: 0, va: REMOTE + 4, rKey: WRONG_KEY });
  refusedAsInvalid(d, 0);
});

drill('R-084: atomics work on words of the host, and give back what stood there', ({ qp, inject, expect, memory }) => {
  qp('rc');
  memory.setWord(REMOTE, 0xffff_ffffn);
  inject({ opcode: 'FETCH_ADD', psn: 0, va: REMOTE, swapOrAdd: 1n });
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', original: 0xffff_ffffn });
  expect.word(REMOTE, 0x1_0000_0000n);
  inject({ opcode: 'COMPARE_SWAP', psn: 1, va: REMOTE, compare: 0x1_0000_0000n, swapOrAdd: 0x0123_4567_89ab_cdefn });
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', original: 0x1_0000_0000n });
  inject({ opcode: 'COMPARE_SWAP', psn: 2, va: REMOTE, compare: 5n, swapOrAdd: 6n });
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', original: 0x0123_4567_89ab_cdefn });
  expect.word(REMOTE, 0x0123_4567_89ab_cdefn);
});

drill('R-084: FETCH_ADD counts modulo 2^64', ({ qp, inject, expect, memory }) => {
  qp('rc');
  memory.setWord(REMOTE, 2n ** 64n - 1n);
  inject({ opcode: 'FETCH_ADD', psn: 0, va: REMOTE, swapOrAdd: 3n });
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', original: 2n ** 64n - 1n });
  expect.word(REMOTE, 2n);
});

drill('R-085: ATOMIC_WRITE writes its 8 octets and is answered by an empty READ response', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'ATOMIC_WRITE', psn: 0, va: REMOTE, payload: '8 octets' });
  expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: 0, msn: 1 });
  expect.memory(REMOTE, '8 octets');
});

for (const [what, more] of [
  ['of 4 octets', { payload: 4 }],
  ['to an address that 8 does not divide', { payload: 8, va: REMOTE + 4 }],
  ['whose RETH says 16', { payload: 8, length: 16 }],
] as const) {
  drill(`R-085: an ATOMIC_WRITE ${what} is an invalid request`, (d) => {
    d.qp('rc');
    d.inject({ opcode: 'ATOMIC_WRITE', psn: 0, ...more });
    refusedAsInvalid(d, 0);
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

drill('R-085: FLUSH needs its right on the region, and is answered by an empty READ response', (d) => {
  const region = d.region({ address: 0x40_0000, access: Access.FLUSH_GLOBAL });
  d.qp('rc');
  d.inject({ opcode: 'FLUSH', psn: 0, va: 0x40_0000, rKey: region.key, length: 4096, placement: 1 });
  d.expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: 0 });
  d.inject({ opcode: 'FLUSH', psn: 1, va: 0x40_0000, rKey: region.key, length: 4096, placement: 2 });
  refusedAccess(d, 1);
});

drill('R-086: octets are in place when their completion is seen, and those of WRITEs before a SEND too', (d) => {
  d.qp('rc');
  d.post.recv({ length: 8 });
  d.inject(
    { opcode: 'RDMA_WRITE_ONLY', psn: 0, va: REMOTE + 64, payload: 'written!' },
    { opcode: 'SEND_ONLY', psn: 1, payload: 'received' },
  );
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.memory(REMOTE, 'received');
  d.expect.memory(REMOTE + 64, 'written!');
});

drill('R-087: a READ brings what stands there when it is answered: a repetition may see a later WRITE', (d) => {
  d.qp('rc');
  const before = d.memory.octets(REMOTE, 8);
  d.inject(READ);
  d.expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: before });
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 1, payload: 'later on', ackReq: true });
  d.expect.packet(ack(1));
  d.inject(READ);
  d.expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: 'later on' });
});

drill('R-088: immediate data comes with the last packet, and nobody turns its octets round', (d) => {
  d.qp('rc');
  d.post.recv({ length: 512 });
  d.inject(SEND_FIRST, { opcode: 'SEND_LAST_WITH_IMMEDIATE', psn: 1, payload: 4, imm: 0x0102_0304 });
  d.expect.completion({ wrId: 1, opcode: 'RECV', byteLen: 260, imm: 0x0102_0304 });
});

drill('R-089: a WRITE with immediate data takes a receive WQE, not its buffer', (d) => {
  d.qp('rc');
  d.post.recv({ sges: [{ address: REMOTE + 1024, length: 8, lKey: d.memory.key }] });
  d.inject(WRITE_FIRST, { opcode: 'RDMA_WRITE_LAST_WITH_IMMEDIATE', psn: 1, payload: 256, imm: 9, ackReq: true });
  d.expect.packet(ack(1));
  d.expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'RECV_RDMA_WITH_IMM', byteLen: 512, imm: 9 });
  d.expect.untouched(REMOTE + 1024, 8);
});

drill('R-090: without a receive WQE only the last packet of a WRITE with immediate data has to wait', (d) => {
  d.qp('rc');
  const last: Packet = { opcode: 'RDMA_WRITE_LAST_WITH_IMMEDIATE', psn: 2, payload: 8, imm: 3, ackReq: true };
  d.inject({ ...WRITE_FIRST, length: 520 }, { opcode: 'RDMA_WRITE_MIDDLE', psn: 1, payload: 256, ackReq: true });
  d.expect.packet(ack(1));
  d.inject(last);
  d.expect.packet(rnrNak(12, 2));
  d.expect.memory(REMOTE + 256, filled(1, 256));
  d.expect.untouched(REMOTE + 512, 8);
  d.post.recv();
  d.inject(last);
  d.expect.packet(ack(2, { msn: 1 }));
  d.expect.completion({ status: 'SUCCESS', byteLen: 520, imm: 3 });
});

drill('R-091: a WRITE with immediate data and a wrong key spoils its receive WQE', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.recv();
  post.recv();
  inject({ opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', psn: 0, payload: 8, rKey: WRONG_KEY });
  expect.packet(nak('REMOTE_ACCESS_ERROR', 0));
  expect.completion({ wrId: 1, status: 'LOC_ACCESS_ERR' }, { wrId: 2, status: 'WR_FLUSH_ERR' });
  expect.event('QP_ACCESS_ERR');
});

drill('R-091: the key comes first: a wrong one is refused even where no receive WQE is', (d) => {
  d.qp('rc');
  d.inject({ opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', psn: 0, payload: 8, rKey: WRONG_KEY });
  refusedAccess(d, 0);
});

drill('R-092: SEND_WITH_INV takes the key back behind the data and before the completion', (d) => {
  d.qp('rc');
  const { rKey } = d.window(2);
  const range = { address: REMOTE, length: 64, access: Access.REMOTE_WRITE };
  d.post.bind({ window: rKey, region: d.memory.key, ...range, newKey: rKey + 1 });
  d.expect.completion({ status: 'SUCCESS', opcode: 'BIND_MW' });
  const bound = ((rKey & ~0xff) | ((rKey + 1) & 0xff)) >>> 0;
  d.post.recv({ length: 8 });
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, rKey: bound, payload: 8 });
  d.inject({ opcode: 'SEND_ONLY_WITH_INVALIDATE', psn: 1, payload: 'the data', invalidate: bound, ackReq: true });
  d.expect.packet(ack(1));
  d.expect.completion({ status: 'SUCCESS', invalidated: bound, byteLen: 8 });
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 2, rKey: bound, payload: 8 });
  refusedAccess(d, 2);
});

drill('R-092: SEND_WITH_INV of a key that is none ends the receiver, and the sender is not told', (d) => {
  d.qp('rc');
  d.post.recv();
  d.inject({ opcode: 'SEND_ONLY_WITH_INVALIDATE', psn: 0, payload: 8, invalidate: WRONG_KEY, ackReq: true });
  d.expect.completion({ wrId: 1, status: 'REM_INV_REQ_ERR' });
  d.expect.event('QP_ACCESS_ERR');
  d.expect.state('ERR');
});

drill('R-098: a receive WQE with a wrong key is a remote operational error to the peer', (d) => {
  d.qp('rc');
  d.post.recv({ lKey: WRONG_KEY });
  d.inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
  d.expect.packet(nak('REMOTE_OPERATIONAL_ERROR', 0));
  d.expect.counter('resp_remote_operational_errors', 1);
  d.expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
  d.expect.state('ERR');
});

drill('R-099: behind a fatal NAK no request gets an answer', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, rKey: WRONG_KEY });
  expect.packet(nak('REMOTE_ACCESS_ERROR', 0));
  expect.event('QP_ACCESS_ERR');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 7, payload: 8, ackReq: true });
  expect.counter('drop_qp_state', 2);
});

drill('R-100: a message that was taken before ERR completes once, and what it did not fill is flushed', (d) => {
  d.qp('rc');
  for (let i = 0; i < 4; i++) d.post.recv();
  d.inject(
    { opcode: 'SEND_ONLY', psn: 0, payload: 8 },
    { opcode: 'RDMA_WRITE_ONLY', psn: 1, payload: 8, rKey: WRONG_KEY },
    { opcode: 'SEND_ONLY', psn: 2, payload: 8 },
  );
  d.expect.packet(nak('REMOTE_ACCESS_ERROR', 1, { msn: 1 }));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  for (const wrId of [2, 3, 4]) d.expect.completion({ wrId, status: 'WR_FLUSH_ERR' });
  d.expect.event('QP_ACCESS_ERR');
});
