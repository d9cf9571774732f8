/** rdma-unit-test's rc_test: RC QPs, what they do and what they are told when something is wrong. */
import type { StateName } from '../language/names.ts';
import { DST, listed, SRC, type Unit, unit, WRONG_KEY } from './unit.ts';
import { bind } from './windows.ts';

const BOTH_ERR = ['ERR', 'ERR'] as const;
const BOTH_RTS = ['RTS', 'RTS'] as const;
const LOCAL_ERR = ['ERR', 'RTS'] as const;
const OK = 'SUCCESS';

/** A window over the whole remote buffer, bound on the remote QP; its key. */
const bindOnRemote = (u: Unit, type: 1 | 2 = 2): number => bind(u, { type }).rKey;

unit('LoopbackRcQpTest.Send', (u) => {
  u.recv();
  u.d.post.send(u.work());
  u.ends({ local: [OK], remote: [OK], states: BOTH_RTS });
  u.copied();
});

unit('LoopbackRcQpTest.SendManyWithOneOutstanding', (u) => {
  for (let i = 0; i < 200; i++) {
    u.recv();
    u.d.post.send(u.work());
    u.ends({ local: [OK], remote: [OK] });
  }
});

unit('LoopbackRcQpTest.SendEmptySgl', (u) => {
  u.recv({ sges: [] });
  u.d.post.send(u.work({ sges: [] }));
  u.ends({ local: [OK], remote: [OK] });
  u.dstUntouched();
});

unit('LoopbackRcQpTest.UnsignaledSend', (u) => {
  u.recv();
  u.d.post.send(u.work({ signaled: false }));
  u.ends({ local: [], remote: [OK] });
});

unit('LoopbackRcQpTest.SendLargeChunk', (u) => {
  u.recv({ sges: [u.into(4096)] });
  u.d.post.send(u.work({ sges: [u.from(4096)] }));
  u.ends({ local: [OK], remote: [OK] });
  u.copied(4096);
});

unit('LoopbackRcQpTest.SendInlineData', (u) => {
  u.recv();
  u.d.post.send(u.work({ inline: 'no key, no region' }));
  u.ends({ local: [OK], remote: [OK] });
  u.d.expect.memory(DST, 'no key, no region', u.dst);
});

unit('LoopbackRcQpTest.SendExceedMaxInlineData', (u) => {
  u.recv();
  u.d.post.send(u.work({ inline: 65 }));
  u.ends({ local: ['LOC_LEN_ERR'], remote: [], states: LOCAL_ERR });
});

unit('LoopbackRcQpTest.SendInlineDataInvalidOp', (u) => {
  u.d.post.read(u.work({ inline: 8 }));
  u.ends({ local: ['LOC_QP_OP_ERR'], remote: [], states: LOCAL_ERR });
});

unit('LoopbackRcQpTest.SendImmData', (u) => {
  const wrId = u.recv();
  u.d.post.send(u.work({ imm: 0xbadd_c0de, signaled: false }));
  u.d.use(u.remote);
  u.d.expect.completion({ wrId, status: OK, opcode: 'RECV', imm: 0xbadd_c0de, byteLen: 64 });
});

function sendWithInvalidate(u: Unit, key: number, work = u.work()): void {
  u.d.post.send({ ...work, invalidate: key });
}

unit('LoopbackRcQpTest.SendWithInvalidate', (u) => {
  const key = bindOnRemote(u);
  const wrId = u.recv();
  sendWithInvalidate(u, key, u.work({ signaled: false }));
  u.d.use(u.remote);
  u.d.expect.completion({ wrId, status: OK, invalidated: key });
  u.d.use(u.local);
  u.d.post.read(u.work({ rKey: key }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
});

unit('LoopbackRcQpTest.SendWithInvalidateEmptySgl', (u) => {
  const key = bindOnRemote(u);
  u.recv({ sges: [] });
  sendWithInvalidate(u, key, u.work({ sges: [] }));
  u.ends({ local: [OK], remote: [OK] });
});

unit(
  'LoopbackRcQpTest.SendWithInvalidateNoBuffer',
  (u) => {
    const key = bindOnRemote(u);
    sendWithInvalidate(u, key);
    u.ends({ local: ['RNR_RETRY_EXC_ERR'], remote: [], states: LOCAL_ERR });
  },
  { local: { rnrRetry: 0 } },
);

for (const [name, key] of [
  ['SendWithInvalidateBadRkey', () => WRONG_KEY],
  ['SendWithInvalidateType1Rkey', (u: Unit) => bindOnRemote(u, 1)],
  ['SendWithInvalidateWrongQp', (u: Unit) => bind(u, { type: 2, on: u.local }).rKey],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    const bad = key(u);
    u.d.use(u.local);
    u.recv();
    sendWithInvalidate(u, bad);
    // Class J: the responder fails in silence, and the requester's retries run out.
    u.ends({ local: ['RETRY_EXC_ERR'], remote: ['REM_INV_REQ_ERR'], states: BOTH_ERR });
  });
}

unit('LoopbackRcQpTest.SendWithTooSmallRecv', (u) => {
  u.recv({ sges: [u.into(63)] });
  u.d.post.send(u.work());
  u.ends({ local: ['REM_INV_REQ_ERR'], remote: ['LOC_LEN_ERR'], states: BOTH_ERR });
});

unit(
  'LoopbackRcQpTest.SendRnr',
  (u) => {
    u.d.post.send(u.work());
    u.ends({ local: ['RNR_RETRY_EXC_ERR'], remote: [], states: LOCAL_ERR });
  },
  { local: { rnrRetry: 1 } },
);

unit('LoopbackRcQpTest.SendRnrInfiniteRetries', (u) => {
  u.d.post.send(u.work());
  u.ends({ local: [], remote: [], states: BOTH_RTS });
  u.recv();
  u.ends({ local: [OK], remote: [OK], states: BOTH_RTS });
});

for (const [name, receive] of [
  ['BadRecvAddr', (u: Unit) => u.into(64, -1)],
  ['RecvPayloadExceedMr', (u: Unit) => u.into(64, 0, u.d.region({ address: DST, bytes: 32 }).key)],
  ['BadRecvLkey', (u: Unit) => u.into(64, 0, WRONG_KEY)],
  ['RecvOnDeregisteredRegion', deregistered],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.recv({ sges: [receive(u)] });
    u.d.post.send(u.work());
    u.ends({ local: ['REM_OP_ERR'], remote: ['LOC_PROT_ERR'], states: BOTH_ERR });
  });
}

function deregistered(u: Unit) {
  const region = u.d.region({ address: DST, bytes: 64 });
  u.d.execute({ op: 'deregMr', mr: region.mr });
  return u.into(64, 0, region.key);
}

unit('LoopbackRcQpTest.RecvBufferExceedMr', (u) => {
  u.recv({ sges: [u.into(4096 + 32)] });
  u.d.post.send(u.work());
  // Two answers are allowed there: ours is that what fits is taken.
  u.ends({ local: [OK], remote: [OK] });
});

for (const [name, signaled] of [
  ['SendInvalidLkey', true],
  ['UnsignaledSendError', false],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.recv();
    u.d.post.send(u.work({ sges: [u.from(64, 0, WRONG_KEY)], signaled }));
    u.ends({ local: ['LOC_PROT_ERR'], remote: [], states: LOCAL_ERR });
    u.dstUntouched();
  });
}

// ── READ ──

for (const [name, bytes, signaled] of [
  ['BasicRead', 64, true],
  ['BasicReadLargePayload', 4096, true],
  ['UnsignaledRead', 64, false],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.dst.bytes.fill(0x33);
    u.d.post.read(u.work({ sges: [u.from(bytes)], signaled }));
    u.ends({ local: signaled ? [OK] : [], remote: [], states: BOTH_RTS });
    u.copied(bytes);
  });
}

unit(
  'LoopbackRcQpTest.QpSigAll',
  (u) => {
    u.d.post.read(u.work({ signaled: false }));
    u.ends({ local: [OK] });
  },
  { local: { sqSigAll: true } },
);

for (const [name, type, post] of [
  ['Type1MWRead', 1, 'read'],
  ['Type2MWRead', 2, 'read'],
  ['Type1MWWrite', 1, 'write'],
  ['Type2MWWrite', 2, 'write'],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    const rKey = bindOnRemote(u, type);
    u.d.post[post](u.work({ rKey }));
    u.ends({ local: [OK], states: BOTH_RTS });
    u.copied();
  });
}

unit('LoopbackRcQpTest.Type1MWUnbind', (u) => {
  const rKey = bindOnRemote(u, 1);
  u.d.post.read(u.work({ rKey }));
  u.ends({ local: [OK] });
  u.d.use(u.remote);
  u.d.post.bind({ window: rKey, region: u.dst.key, newKey: rKey + 1, address: 0, length: 0, access: 0 });
  u.d.expect.completion({ status: OK });
  u.d.use(u.local);
  u.d.post.read(u.work({ rKey }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
});

for (const [name, signaled] of [
  ['ReadInvalidLkey', true],
  ['UnsignaledReadError', false],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.d.post.read(u.work({ sges: [u.from(64, 0, WRONG_KEY)], signaled }));
    u.ends({ local: ['LOC_PROT_ERR'], remote: [], states: LOCAL_ERR });
    u.srcUntouched();
  });
}

unit('LoopbackRcQpTest.ReadInvalidRkey', (u) => {
  u.d.post.read(u.work({ rKey: WRONG_KEY }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
  u.srcUntouched();
});

unit('LoopbackRcQpTest.ReadInvalidRKeyAndInvalidLKey', (u) => {
  u.d.post.read(u.work({ rKey: WRONG_KEY, sges: [u.from(64, 0, WRONG_KEY)] }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
});

unit('LoopbackRcQpTest.ReadUnregisteredRemoteAddress', (u) => {
  u.d.post.read(u.work({ to: DST + 0x10_0000 }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
});

// ── WRITE ──

for (const [name, bytes, signaled] of [
  ['BasicWrite', 64, true],
  ['BasicWriteLargePayload', 4096, true],
  ['UnsignaledWrite', 64, false],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.d.post.write(u.work({ sges: [u.from(bytes)], signaled }));
    u.ends({ local: signaled ? [OK] : [], remote: [], states: BOTH_RTS });
    u.copied(bytes);
  });
}

unit('LoopbackRcQpTest.WriteInlineData', (u) => {
  u.d.post.write(u.work({ inline: 'inline' }));
  u.ends({ local: [OK] });
  u.d.expect.memory(DST, 'inline', u.dst);
});

unit('LoopbackRcQpTest.WriteZeroByteWithImmData', (u) => {
  const wrId = u.recv();
  u.d.post.write(u.work({ sges: [], imm: 7, signaled: false }));
  u.d.use(u.remote);
  u.d.expect.completion({ wrId, status: OK, opcode: 'RECV_RDMA_WITH_IMM', imm: 7, byteLen: 0 });
  u.dstUntouched();
});

unit('LoopbackRcQpTest.WriteImmData', (u) => {
  const wrId = u.recv({ sges: [u.into(64, 1024)] });
  u.d.post.write(u.work({ imm: 7, signaled: false }));
  u.d.use(u.remote);
  u.d.expect.completion({ wrId, status: OK, opcode: 'RECV_RDMA_WITH_IMM', imm: 7, byteLen: 64 });
  u.copied();
  u.d.expect.untouched(DST + 1024, 64, u.dst);
});

unit('LoopbackRcQpTest.WriteImmDataInvalidRKey', (u) => {
  u.recv();
  u.d.post.write(u.work({ imm: 7, rKey: WRONG_KEY }));
  // LOC_ACCESS_ERR or LOC_PROT_ERR there: ours is the first.
  u.ends({ local: ['REM_ACCESS_ERR'], remote: ['LOC_ACCESS_ERR'], states: BOTH_ERR });
});

unit(
  'LoopbackRcQpTest.WriteImmDataRnR',
  (u) => {
    u.d.post.write(u.work({ imm: 7 }));
    u.ends({ local: ['RNR_RETRY_EXC_ERR'], remote: [], states: LOCAL_ERR });
  },
  { local: { rnrRetry: 0 } },
);

unit('LoopbackRcQpTest.WriteInvalidLkey', (u) => {
  u.d.post.write(u.work({ sges: [u.from(64, 0, WRONG_KEY)] }));
  u.ends({ local: ['LOC_PROT_ERR'], remote: [], states: LOCAL_ERR });
  u.dstUntouched();
});

for (const [name, signaled] of [
  ['WriteInvalidRkey', true],
  ['UnsignaledWriteInvalidRkey', false],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.d.post.write(u.work({ rKey: WRONG_KEY, signaled }));
    u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
    u.dstUntouched();
  });
}

unit('LoopbackRcQpTest.WriteInvalidRKeyAndInvalidLKey', (u) => {
  u.d.post.write(u.work({ rKey: WRONG_KEY, sges: [u.from(64, 0, WRONG_KEY)] }));
  u.ends({ local: ['LOC_PROT_ERR'], states: LOCAL_ERR });
});

unit('LoopbackRcQpTest.WriteUnregisteredAddress', (u) => {
  u.d.post.write(u.work({ to: DST + 0x10_0000 }));
  u.ends({ local: ['REM_ACCESS_ERR'], states: BOTH_ERR });
});

// ── Atomics ──

const fetched = (u: Unit, wanted: bigint): void => u.d.expect.that(u.src.word(SRC), wanted, 'what was fetched');
const stored = (u: Unit, wanted: bigint): void => u.d.expect.that(u.dst.word(DST), wanted, 'what is stored');

for (const [name, add, before, after] of [
  ['FetchAddNoOp', 0n, 2n, 2n],
  ['FetchAddIncrementBy1', 1n, 2n, 3n],
  ['FetchAddLargeIncrement', 68_719_476_736n, 2n, 68_719_476_738n],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.dst.setWord(DST, before);
    u.d.post.fetchAdd(u.atomic({ add }));
    u.ends({ local: [OK], states: BOTH_RTS });
    fetched(u, before);
    stored(u, after);
  });
}

unit('LoopbackRcQpTest.FetchAddSplitSgl', (u) => {
  u.dst.setWord(DST, 0x1111_1111_2222_2222n);
  u.d.post.fetchAdd(u.atomic({ sges: [u.from(4, 8), u.from(4, 16)], add: 15n }));
  u.ends({ local: [OK] });
  u.d.expect.memory(SRC + 8, Uint8Array.of(0x22, 0x22, 0x22, 0x22), u.src);
  u.d.expect.memory(SRC + 16, Uint8Array.of(0x11, 0x11, 0x11, 0x11), u.src);
  u.d.expect.untouched(SRC + 12, 4, u.src);
  stored(u, 0x1111_1111_2222_2231n);
});

for (const [name, post] of [
  ['UnsignaledFetchAdd', 'fetchAdd'],
  ['UnsignaledCompareSwap', 'compareSwap'],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.dst.setWord(DST, 2n);
    u.d.post[post](u.atomic({ compare: 2n, swap: 4n, signaled: false }));
    u.ends({ local: [], states: BOTH_RTS });
    fetched(u, 2n);
    stored(u, 4n);
  });
}

for (const [name, compare, after] of [
  ['CompareSwapNotEqualNoSwap', 1n, 2n],
  ['CompareSwapEqualWithSwap', 2n, 3n],
] as const) {
  unit(`LoopbackRcQpTest.${name}`, (u) => {
    u.dst.setWord(DST, 2n);
    u.d.post.compareSwap(u.atomic({ compare, swap: 3n }));
    u.ends({ local: [OK], states: BOTH_RTS });
    fetched(u, 2n);
    stored(u, after);
  });
}

for (const [prefix, post] of [
  ['FetchAdd', 'fetchAdd'],
  ['CompareSwap', 'compareSwap'],
] as const) {
  const refused = (
    name: string,
    more: (u: Unit) => object,
    status: 'LOC_LEN_ERR' | 'REM_INV_REQ_ERR' | 'REM_ACCESS_ERR',
  ) =>
    unit(`LoopbackRcQpTest.${name}`, (u) => {
      u.d.post[post](u.atomic(more(u)));
      u.ends({ local: [status], remote: [], states: status === 'LOC_LEN_ERR' ? LOCAL_ERR : BOTH_ERR });
      u.srcUntouched();
      u.dstUntouched();
    });
  const badLKey = (u: Unit) => [u.from(8, 0, WRONG_KEY)];
  refused(`${prefix}InvalidSize`, (u) => ({ sges: [u.from(9)] }), 'LOC_LEN_ERR');
  refused(`${prefix}Unaligned`, () => ({ to: DST + 1 }), 'REM_INV_REQ_ERR');
  refused(`${prefix}InvalidRKey`, () => ({ rKey: WRONG_KEY }), 'REM_ACCESS_ERR');
  refused(`${prefix}UnalignedInvalidRKey`, () => ({ to: DST + 1, rKey: WRONG_KEY }), 'REM_INV_REQ_ERR');
  refused(`${prefix}UnalignedInvalidLKey`, (u) => ({ to: DST + 1, sges: badLKey(u) }), 'REM_INV_REQ_ERR');
  const both = prefix === 'FetchAdd' ? 'FetchAddInvalidLKeyAndInvalidRKey' : 'CompareSwapInvalidRKeyAndInvalidLKey';
  refused(both, (u) => ({ rKey: WRONG_KEY, sges: badLKey(u) }), 'REM_ACCESS_ERR');
  for (const [name, signaled] of [
    [`${prefix}InvalidLKey`, true],
    [`Unsignaled${prefix}Error`, false],
  ] as const) {
    unit(`LoopbackRcQpTest.${name}`, (u) => {
      u.dst.setWord(DST, 2n);
      u.d.post[post](u.atomic({ compare: 2n, swap: 4n, sges: badLKey(u), signaled }));
      u.ends({ local: ['LOC_PROT_ERR'], remote: [], states: LOCAL_ERR });
      u.srcUntouched();
      // The remote side had done its part by then.
      stored(u, 4n);
    });
  }
}

// ── The QP ──

unit('LoopbackRcQpTest.SgePointerChase', (u) => {
  const sges = [u.from()];
  u.d.post.write(u.work({ sges }));
  sges[0] = u.from(64, 0, WRONG_KEY);
  u.ends({ local: [OK] });
  u.copied();
});

unit('LoopbackRcQpTest.RemoteFatalError', (u) => {
  u.d.post.compareSwap(u.atomic({ compare: 2n, swap: 3n, to: DST + 1 }));
  u.ends({ local: ['REM_INV_REQ_ERR'], remote: [], states: BOTH_ERR });
  u.d.post.write(u.work());
  u.ends({ local: ['WR_FLUSH_ERR'], remote: [], states: BOTH_ERR });
  u.dstUntouched();
});

unit('LoopbackRcQpTest.QueryQpInitialState', (u) => {
  u.d.qp('rc', { state: 'RESET' });
  u.d.expect.state('RESET');
  u.d.qp('rc', { state: 'INIT' });
  u.d.expect.state('INIT');
});

const OPERATIONS = {
  Read: (u: Unit) => u.d.post.read(u.work()),
  Write: (u: Unit) => u.d.post.write(u.work()),
  FetchAndAdd: (u: Unit) => u.d.post.fetchAdd(u.atomic()),
  CompareAndSwap: (u: Unit) => u.d.post.compareSwap(u.atomic({ compare: 1n, swap: 2n })),
};
const STATE_NAMES: Readonly<Record<string, StateName>> = {
  Reset: 'RESET',
  Init: 'INIT',
  Rtr: 'RTR',
  Rts: 'RTS',
  Err: 'ERR',
};
for (const [operation, post] of Object.entries(OPERATIONS)) {
  for (const [name, state] of Object.entries(STATE_NAMES)) {
    unit(
      `RemoteRcQpStateTest.RemoteRcQpStateTests/RemoteQp${name}${operation}Test`,
      (u) => {
        post(u);
        u.ends({ local: [state === 'RTR' || state === 'RTS' ? OK : 'RETRY_EXC_ERR'] });
      },
      { remote: { state } },
    );
  }
}

unit('LoopbackRcQpTest.FullSubmissionQueue', (u) => {
  const batch = (u.local.sq.mask >> 1) & ~1;
  for (let round = 0; round < 20; round++) {
    u.d.together(() => {
      for (let i = 0; i < batch; i++) u.d.post.read(u.work());
    });
    u.ends({ local: Array.from({ length: batch }, () => OK), states: BOTH_RTS });
  }
});

unit('LoopbackRcQpTest.FlushErrorPollTogether', (u) => {
  u.d.together(() => {
    u.d.post.read(u.work({ sges: [u.from(64, 0, WRONG_KEY)] }));
    u.d.post.read(u.work());
  });
  u.ends({ local: ['LOC_PROT_ERR', 'WR_FLUSH_ERR'], remote: [], states: LOCAL_ERR });
  u.srcUntouched();
});

listed('rc');
