/** RC through the verbs, on two real vRNICs. */
import t from 'tap';
import { AsyncEvent, QpState, QpType, SendFlag, WcOpcode, WcStatus, WrOpcode } from '../../verbs/index.ts';
import { connectSides, twoSides } from './pair.ts';

t.test('verbs: SEND arrives in a posted buffer, with its immediate data', async (t) => {
  const [left, right] = await twoSides(t);
  await connectSides(left, right);
  right.qp.postRecv({ wrId: 5n, sgList: [{ mr: right.mr, offset: 100, length: 1000 }] });
  left.mr.bytes.fill(0xab, 0, 600);
  const flags = SendFlag.SIGNALED;
  left.qp.postSend({
    wrId: 2n ** 63n,
    opcode: WrOpcode.SEND_WITH_IMM,
    sendFlags: flags,
    immData: 0x01020304,
    sgList: [{ mr: left.mr, length: 600 }],
  });
  const [received] = await right.cq.next();
  t.match(received, {
    wrId: 5n,
    status: WcStatus.SUCCESS,
    opcode: WcOpcode.RECV,
    byteLen: 600,
    immData: 0x01020304,
    qpNum: right.qp.qpNum,
  });
  const [sent] = await left.cq.next();
  t.match(sent, { wrId: 2n ** 63n, status: WcStatus.SUCCESS, opcode: WcOpcode.SEND });
  t.ok(right.mr.bytes.subarray(100, 700).every((octet) => octet === 0xab));
  t.equal(right.mr.bytes[700], 0, 'not one octet more');
});

t.test('verbs: WRITE, READ, CMP_SWAP and FETCH_ADD reach the peer memory', async (t) => {
  const [left, right] = await twoSides(t);
  await connectSides(left, right);
  const { rKey, addr } = right.mr;
  const sendFlags = SendFlag.SIGNALED;
  const cell = new BigUint64Array(right.mr.bytes.buffer, 4096, 1);
  const result = new BigUint64Array(left.mr.bytes.buffer, 0, 1);
  left.mr.bytes.fill(0x5a, 100_000, 400_000);
  left.qp.postSend({
    opcode: WrOpcode.RDMA_WRITE,
    sendFlags,
    remoteAddr: addr + 200_000n,
    rKey,
    sgList: [{ mr: left.mr, offset: 100_000, length: 300_000 }],
  });
  t.match(await left.cq.next(), [{ status: WcStatus.SUCCESS, opcode: WcOpcode.RDMA_WRITE }]);
  t.ok(right.mr.bytes.subarray(200_000, 500_000).every((octet) => octet === 0x5a));
  left.qp.postSend({
    opcode: WrOpcode.RDMA_READ,
    sendFlags,
    remoteAddr: addr + 200_000n,
    rKey,
    sgList: [{ mr: left.mr, offset: 600_000, length: 300_000 }],
  });
  t.match(await left.cq.next(), [{ status: WcStatus.SUCCESS, opcode: WcOpcode.RDMA_READ, byteLen: 300_000 }]);
  t.equal(left.mr.bytes[899_999], 0x5a);
  cell[0] = 40n;
  const atomic = { sendFlags, remoteAddr: addr + 4096n, rKey, sgList: [{ mr: left.mr, length: 8 }] };
  left.qp.postSend({ ...atomic, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, compareAdd: 2n });
  t.match(await left.cq.next(), [{ status: WcStatus.SUCCESS }]);
  t.strictSame([result[0], cell[0]], [40n, 42n], 'FETCH_ADD returns the old value');
  left.qp.postSend({ ...atomic, opcode: WrOpcode.ATOMIC_CMP_AND_SWP, compareAdd: 42n, swap: 2n ** 64n - 1n });
  t.match(await left.cq.next(), [{ status: WcStatus.SUCCESS }]);
  t.strictSame([result[0], cell[0]], [42n, 2n ** 64n - 1n], 'CMP_SWAP swaps what it expected');
});

t.test('verbs: a wrong key ends both QPs, and what follows is flushed', async (t) => {
  const [left, right] = await twoSides(t);
  await connectSides(left, right);
  const wr = { opcode: WrOpcode.RDMA_WRITE, remoteAddr: right.mr.addr, sgList: [{ mr: left.mr, length: 8 }] };
  right.qp.postRecv({ wrId: 9n });
  left.qp.postSend([
    { ...wr, wrId: 1n, rKey: right.mr.rKey ^ 0x100 },
    { ...wr, wrId: 2n, rKey: right.mr.rKey },
  ]);
  const completions = await left.cq.next();
  while (completions.length < 2) completions.push(...(await left.cq.next()));
  t.match(completions, [
    { wrId: 1n, status: WcStatus.REM_ACCESS_ERR },
    { wrId: 2n, status: WcStatus.WR_FLUSH_ERR },
  ]);
  t.match(await right.cq.next(), [{ wrId: 9n, status: WcStatus.WR_FLUSH_ERR }]);
  let event = await right.context.getAsyncEvent();
  if (event.code === AsyncEvent.COMM_EST) event = await right.context.getAsyncEvent();
  t.match(event, { code: AsyncEvent.QP_ACCESS_ERR, element: right.qp });
  t.equal((await left.qp.queryQp()).attributes.qpState, QpState.ERR);
});

t.test('verbs: refusals name the verb, the argument and the errno', async (t) => {
  const [left] = await twoSides(t);
  await t.rejects(left.qp.modifyQp({ qpState: QpState.RTS }), {
    code: 'EINVAL',
    verb: 'modifyQp',
    message: /no transition RESET → RTS/,
  });
  await t.rejects(left.qp.modifyQp({ qpState: QpState.INIT, portNum: 1 }), {
    message: /RESET → INIT needs ACCESS_FLAGS, PKEY_INDEX/,
  });
  await t.rejects(left.context.createCq(0), { code: 'EINVAL', argument: 'cqe' });
  await t.rejects(left.pd.dealloc(), { code: 'EBUSY' });
  await t.rejects(left.pd.regMr(new Uint8Array(8), 0), { message: /SharedArrayBuffer/ });
  await t.rejects(left.pd.regMr(new SharedArrayBuffer(8), 2), { code: 'EINVAL', argument: 'access' });
  t.throws(() => left.qp.postSend({ opcode: WrOpcode.SEND }), { code: 'EINVAL', message: /RESET/ });
});

t.test('verbs: a list is posted up to its first bad request', async (t) => {
  const [left, right] = await twoSides(t);
  await connectSides(left, right);
  const good = {
    opcode: WrOpcode.RDMA_WRITE,
    sendFlags: SendFlag.SIGNALED,
    remoteAddr: right.mr.addr,
    rKey: right.mr.rKey,
    sgList: [{ mr: left.mr, length: 8 }],
  };
  const bad = { ...good, sgList: Array.from({ length: 5 }, () => ({ mr: left.mr, length: 8 })) };
  t.throws(() => left.qp.postSend([good, good, bad, good]), /4 SGEs/);
  const completions = await left.cq.next();
  while (completions.length < 2) completions.push(...(await left.cq.next()));
  t.equal(completions.length, 2, 'the two before it ran');
  t.throws(() => left.qp.postSend(Array.from({ length: 300 }, () => good)), { code: 'ENOMEM' }, 'a full queue says so');
});

t.test('verbs: closing a context ends everything, and waiting for it rejects', async (t) => {
  const [left] = await twoSides(t, QpType.RC);
  const rejected = t.rejects(left.context.getAsyncEvent(), { code: 'ENODEV' });
  await left.context.close();
  await rejected;
  await t.rejects(left.context.allocPd(), { code: 'EIO' });
});
