/** Drills: regions, windows and their keys. SPEC-CHECKLIST §2.7, R-081, R-082. */
import { Access } from '../../rnic/constants.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { type Drill, drill, LOCAL, REMOTE } from './language/drill.ts';
import { ack, nak, type Packet } from './language/packet.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;
const WRITES = REMOTE_WRITE;
const memory = new SharedMemory(new SharedArrayBuffer(4096));
const registration = (pd: number) =>
  ({ op: 'regMr', pd, memory, start: 0, length: 4096, iova: 0n, access: 0 }) as const;

const write = (rKey: number, psn = 0, more: Partial<Packet> = {}): Packet => ({
  opcode: 'RDMA_WRITE_ONLY',
  psn,
  rKey,
  payload: 8,
  ackReq: true,
  ...more,
});

/** The key after a bind: its upper 24 bits stay, the lower 8 are the consumer's. */
const nextKey = (rKey: number): number => ((rKey & 0xffff_ff00) | ((rKey + 1) & 0xff)) >>> 0;

interface Bound {
  readonly mw: number;
  readonly rKey: number;
}

/** Binds a new window over 64 octets at REMOTE (or as said); its key. */
function bound(d: Drill, type: 1 | 2, more: { address?: number; length?: number; access?: number } = {}): Bound {
  const { mw, rKey } = d.window(type);
  const range = { address: REMOTE, length: 64, access: WRITES | REMOTE_READ, ...more };
  d.post.bind({ window: rKey, region: d.memory.key, newKey: rKey + 1, ...range });
  d.expect.completion({ status: 'SUCCESS', opcode: 'BIND_MW' });
  return { mw, rKey: nextKey(rKey) };
}

function refusedAccess({ expect }: Drill, psn: number): void {
  expect.packet(nak('REMOTE_ACCESS_ERROR', psn));
  expect.event('QP_ACCESS_ERR');
  expect.state('ERR');
}

for (const type of [1, 2] as const) {
  for (const [what, va] of [
    ['an octet before it', REMOTE - 1],
    ['an octet behind it', REMOTE + 57],
  ] as const) {
    drill(`R-081: a window of type ${type} grants its own range: ${what} is refused, inside its region or not`, (d) => {
      d.qp('rc');
      const { rKey } = bound(d, type);
      d.inject(write(rKey), write(rKey, 1, { va: REMOTE + 56 }));
      d.expect.packet(ack(1));
      d.inject(write(rKey, 2, { va }));
      refusedAccess(d, 2);
      d.expect.untouched(REMOTE - 8, 8);
      d.expect.untouched(REMOTE + 64, 8);
    });
  }
  const verdict = type === 1 ? 'any QP of its domain' : 'the QP that bound it';
  drill(`R-082: a window of type ${type} is good on ${verdict}`, (d) => {
    d.qp('rc');
    const { rKey } = bound(d, type);
    d.qp('rc');
    d.inject(write(rKey));
    if (type === 1) d.expect.packet(ack(0));
    else refusedAccess(d, 0);
  });
}

for (const access of [REMOTE_WRITE, REMOTE_ATOMIC, REMOTE_WRITE | REMOTE_READ]) {
  drill(`R-170: rights 0x${access.toString(16)} without LOCAL_WRITE are refused`, ({ pd, expect }) => {
    expect.refused('EINVAL', { ...registration(pd), access });
  });
}

drill('R-170: REMOTE_READ alone is granted, and our own SENDs read without any right', (d) => {
  const region = d.region({ access: REMOTE_READ, address: 0x40_0000 });
  d.qp('rc');
  d.inject({ opcode: 'RDMA_READ_REQUEST', psn: 0, va: 0x40_0000, rKey: region.key, length: 8 });
  d.expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', payload: region.octets(0x40_0000, 8) });
  d.post.send({ sges: [{ address: 0x40_0000, length: 8, lKey: region.key }] });
  d.expect.packet({ opcode: 'SEND_ONLY', payload: region.octets(0x40_0000, 8) });
});

drill('R-171: a region of no octets is granted; nothing but empty requests fits into it', (d) => {
  const empty = d.region({ bytes: 0, address: 0x40_0000 });
  d.qp('rc');
  d.inject(write(empty.key, 0, { va: 0x40_0000, payload: 0 }));
  d.expect.packet(ack(0));
  d.inject(write(empty.key, 1, { va: 0x40_0000, payload: 1 }));
  refusedAccess(d, 1);
});

drill('R-172: a region may end at 2^64, not beyond', ({ pd, expect, execute }) => {
  execute({ ...registration(pd), iova: 2n ** 64n - 4096n });
  expect.refused('EINVAL', { ...registration(pd), iova: 2n ** 64n - 4095n });
});

drill('R-172: a zero-based region begins at address 0, wherever it is', (d) => {
  const region = d.region({ address: 0x40_0000, access: LOCAL_WRITE | REMOTE_WRITE | ZERO_BASED });
  d.qp('rc');
  d.inject(write(region.key, 0, { va: 4088, payload: 'zero ref' }));
  d.expect.packet(ack(0));
  d.expect.memory(0x40_0000 + 4088, 'zero ref', region);
});

drill('R-173: a key grants from afar only what was given: an lkey without rights is no R_Key', (d) => {
  const region = d.region({ access: LOCAL_WRITE, address: REMOTE });
  d.qp('rc');
  d.inject(write(region.key));
  refusedAccess(d, 0);
});

drill('R-173: no key is 0, and key 0 is none', (d) => {
  for (let i = 0; i < 100; i++) d.expect.that(d.region({ bytes: 0 }).key === 0, false, 'key');
  d.qp('rc');
  d.post.send({ lKey: 0 });
  d.expect.completion({ status: 'LOC_PROT_ERR' });
});

drill('R-173: the R_Key of a window is no lkey', (d) => {
  d.qp('rc');
  const { rKey } = bound(d, 1);
  d.post.send({ sges: [{ address: REMOTE, length: 8, lKey: rKey }] });
  d.expect.completion({ status: 'LOC_PROT_ERR' });
});

drill('R-174: a region to which a window is bound stays; when it is gone, its key is', (d) => {
  d.qp('rc');
  const region = d.region({ address: 0x40_0000 });
  const { mw, rKey } = d.window(1);
  const range = { address: 0x40_0000, length: 64, access: WRITES };
  d.post.bind({ window: rKey, region: region.key, newKey: rKey + 1, ...range });
  d.expect.completion({ status: 'SUCCESS' });
  d.expect.refused('EBUSY', { op: 'deregMr', mr: region.mr });
  d.execute({ op: 'deallocMw', mw });
  d.execute({ op: 'deregMr', mr: region.mr });
  d.inject(write(region.key, 0, { va: 0x40_0000 }));
  refusedAccess(d, 0);
});

drill('R-175: a rereg that is refused leaves the region as it was', (d) => {
  const region = d.region({ address: REMOTE });
  d.expect.refused('EINVAL', { op: 'reregMr', mr: region.mr, flags: 4, access: REMOTE_WRITE });
  d.expect.refused('EINVAL', { op: 'reregMr', mr: region.mr, flags: 6, pd: 999, access: 0 });
  d.qp('rc');
  d.inject(write(region.key));
  d.expect.packet(ack(0));
});

drill('R-175: a rereg that is granted holds from then on', (d) => {
  const region = d.region({ address: REMOTE });
  const { rKey } = d.execute({ op: 'reregMr', mr: region.mr, flags: 4, access: REMOTE_READ });
  d.qp('rc');
  d.inject({ opcode: 'RDMA_READ_REQUEST', psn: 0, rKey, length: 8 });
  d.expect.packet({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0 });
  d.inject(write(rKey, 1));
  refusedAccess(d, 1);
});

interface BadBind {
  readonly what: string;
  readonly type: 1 | 2;
  readonly regionAccess?: number;
  readonly address?: number;
  readonly length?: number;
  readonly access?: number;
}

const BAD_BINDS: readonly BadBind[] = [
  { what: 'to a region without MW_BIND', type: 1, regionAccess: LOCAL_WRITE },
  { what: 'for writing to a region without LOCAL_WRITE', type: 2, regionAccess: MW_BIND },
  { what: 'that begins before its region', type: 1, address: LOCAL - 1 },
  { what: 'that ends behind its region', type: 2, address: 0x1_ffff, length: 2 },
  { what: 'of type 1 with zero-based addresses', type: 1, access: REMOTE_READ | ZERO_BASED },
  { what: 'of type 2 over no octets', type: 2, length: 0 },
];
for (const { what, type, regionAccess, address = REMOTE, length = 64, access = WRITES } of BAD_BINDS) {
  drill(`R-176: a bind ${what} is MW_BIND_ERR`, (d) => {
    d.qp('rc');
    const { rKey } = d.window(type);
    const other = regionAccess === undefined ? undefined : d.region({ access: regionAccess, address: REMOTE });
    d.post.bind({ window: rKey, region: (other ?? d.memory).key, newKey: rKey + 1, address, length, access });
    d.expect.completion({ wrId: 1, status: 'MW_BIND_ERR' });
    d.expect.state('ERR');
  });
}

for (const [what, pds] of [
  ['the window', { window: true }],
  ['the region', { region: true }],
] as const) {
  drill(`R-176: ${what} of another protection domain cannot be bound`, (d) => {
    const { pd } = d.execute({ op: 'allocPd' });
    d.qp('rc');
    const { rKey } = d.window(1, 'window' in pds ? pd : d.pd);
    const region = 'region' in pds ? d.region({ pd, address: REMOTE }) : d.memory;
    d.post.bind({ window: rKey, region: region.key, newKey: rKey + 1, address: REMOTE, length: 64, access: WRITES });
    d.expect.completion({ wrId: 1, status: 'MW_BIND_ERR' });
  });
}

drill('R-176: a bound window of type 2 is not bound again before it is invalidated', (d) => {
  d.qp('rc');
  const { rKey } = bound(d, 2);
  const range = { address: REMOTE, length: 8, access: WRITES };
  d.post.localInv(rKey);
  d.expect.completion({ status: 'SUCCESS', opcode: 'LOCAL_INV' });
  d.post.bind({ window: rKey, region: d.memory.key, newKey: rKey + 1, ...range });
  d.expect.completion({ status: 'SUCCESS' });
  d.post.bind({ window: nextKey(rKey), region: d.memory.key, newKey: rKey + 2, ...range });
  d.expect.completion({ status: 'MW_BIND_ERR' });
});

drill('R-176: a window of type 1 cannot be invalidated', (d) => {
  d.qp('rc');
  const { rKey } = bound(d, 1);
  d.post.localInv(rKey);
  d.expect.completion({ status: 'MW_BIND_ERR' });
});

drill('R-176: a window of type 1 bound to nothing grants nothing, and gives its old key up', (d) => {
  d.qp('rc');
  const { rKey } = bound(d, 1);
  d.post.bind({ window: rKey, region: 0, newKey: rKey + 1, address: 0, length: 0, access: 0 });
  d.expect.completion({ status: 'SUCCESS' });
  d.inject(write(rKey));
  refusedAccess(d, 0);
});

drill(
  'R-177: of a bound key the lower 8 bits are the consumer’s, the others stay; keys differ in the upper 24',
  (d) => {
    d.qp('rc');
    const tags = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const { rKey } = d.window(2);
      tags.add(rKey >>> 8);
      const newKey = 0x1234_5600 | ((rKey + 7) & 0xff);
      d.post.bind({ window: rKey, region: d.memory.key, newKey, address: REMOTE, length: 64, access: WRITES });
      d.expect.completion({ status: 'SUCCESS' });
      d.inject(write(((rKey & 0xffff_ff00) | (newKey & 0xff)) >>> 0, i));
      d.expect.packet(ack(i));
    }
    d.expect.that(tags.size, 20, 'different keys');
  },
);

drill('R-178: a QP goes with its bound windows of type 2: their keys name nothing any more', (d) => {
  const cq = d.cq();
  const first = d.qp('rc', { sendCq: cq });
  const { rKey } = bound(d, 2);
  d.execute({ op: 'destroyQp', qp: first.handle });
  d.qp('rc', { sendCq: cq });
  d.inject(write(rKey));
  refusedAccess(d, 0);
});

drill(
  'R-182: keys are drawn at random: their order tells nothing, and a key that was given back is not given out soon',
  (d) => {
    const keys: number[] = [];
    for (let i = 0; i < 200; i++) {
      const region = d.region({ bytes: 8 });
      keys.push(region.key);
      d.execute({ op: 'deregMr', mr: region.mr });
    }
    const steps = new Set(keys.slice(1).map((key, i) => (key - keys[i]!) >>> 0));
    d.expect.that(new Set(keys.map((key) => key >>> 8)).size, 200, 'different keys');
    d.expect.that(steps.size > 190, true, 'steps between keys');
  },
);

drill('R-182: fast registration gives a key out and takes it back, in the order of the send queue', (d) => {
  const { mr, lKey } = d.execute({ op: 'allocMr', pd: d.pd, maxBytes: 4096, memory, start: 0 });
  d.qp('rc');
  d.inject(write(lKey));
  refusedAccess(d, 0);
  d.qp('rc');
  d.post.register({
    window: 0,
    region: lKey,
    newKey: lKey + 1,
    address: REMOTE,
    length: 64,
    access: LOCAL_WRITE | WRITES,
  });
  d.expect.completion({ status: 'SUCCESS' });
  d.inject(write(nextKey(lKey)));
  d.expect.packet(ack(0));
  d.post.localInv(nextKey(lKey));
  d.expect.completion({ status: 'SUCCESS', opcode: 'LOCAL_INV' });
  d.inject(write(nextKey(lKey), 1));
  refusedAccess(d, 1);
  d.execute({ op: 'deregMr', mr });
});

drill('R-174: a window that is bound anew lets its old region go, and holds the new one', (d) => {
  d.qp('rc');
  const [first, second] = [d.region({ address: REMOTE }), d.region({ address: REMOTE })];
  const { rKey } = d.window(1);
  const range = { address: REMOTE, length: 64, access: WRITES };
  for (const [i, region] of [first, second].entries()) {
    d.post.bind({ window: i === 0 ? rKey : nextKey(rKey), region: region.key, newKey: rKey + 1 + i, ...range });
    d.expect.completion({ status: 'SUCCESS' });
  }
  d.execute({ op: 'deregMr', mr: first.mr });
  d.expect.refused('EBUSY', { op: 'deregMr', mr: second.mr });
  d.inject(write(nextKey(nextKey(rKey))));
  d.expect.packet(ack(0));
  d.expect.that([first.isUntouched, second.isUntouched], [true, false], 'where it was written');
});
