/** The connection manager, by the TypeScript API: two vRNICs joined by memory connect by address, as two programs with librdmacm would. */
import t from 'tap';
import {
  Access,
  type CmError,
  type CmId,
  type Context,
  PortSpace,
  QpState,
  SendFlag,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import { twoContexts } from './pair.ts';

const SERVER = { address: '10.0.0.1', port: 7471 };
const octets = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data).replace(/\0+$/, '');

async function failure(call: Promise<unknown>): Promise<CmError> {
  try {
    await call;
  } catch (error) {
    return error as CmError;
  }
  throw new Error('it was not refused');
}

async function listener(context: Context, portSpace: PortSpace = PortSpace.TCP, backlog = 0) {
  const channel = context.createEventChannel();
  const id = await channel.createId(portSpace);
  await id.bindAddr(SERVER);
  await id.listen(backlog);
  return { channel, id };
}

async function resolved(context: Context, portSpace: PortSpace = PortSpace.TCP): Promise<CmId> {
  const id = await context.createEventChannel().createId(portSpace);
  await id.resolveAddr(SERVER);
  await id.resolveRoute();
  return id;
}

async function withQp(context: Context, id: CmId) {
  const pd = await context.allocPd();
  const cq = await context.createCq(64, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(8192), Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ);
  const qp = await id.createQp(pd, { sendCq: cq, recvCq: cq });
  return { pd, cq, mr, qp };
}

t.test('rdma_cm: two ends connect by address, say something in private data, move data and part', async (t) => {
  const [server, client] = await twoContexts(t);
  const { channel, id: listening } = await listener(server);
  const asking = await resolved(client);
  const ours = await withQp(client, asking);
  const answered = asking.connect({ privateData: octets('hello'), responderResources: 4, initiatorDepth: 3 });
  const request = await channel.getCmEvent();
  t.match(request, { name: 'CONNECT_REQUEST', listenId: listening });
  t.equal(text(request.privateData), 'hello');
  t.match(request.parameters, { qpNum: ours.qp.qpNum, responderResources: 3, initiatorDepth: 4, retryCount: 7 });
  const theirs = await withQp(server, request.id);
  theirs.qp.postRecv({ wrId: 1n, sgList: [{ mr: theirs.mr, length: 4096 }] });
  await request.id.accept({ privateData: octets('welcome') });
  const answer = await answered;
  t.equal(answer.name, 'ESTABLISHED');
  t.equal(text(answer.privateData), 'welcome');
  t.match(await channel.getCmEvent(), { name: 'ESTABLISHED', id: request.id });
  t.strictSame([ours.qp.state, theirs.qp.state], [QpState.RTS, QpState.RTS]);
  t.match(await asking.addresses(), { local: { address: '10.0.0.2' }, remote: SERVER });
  t.match(await request.id.addresses(), { local: SERVER, remote: { address: '10.0.0.2' } });

  ours.mr.bytes.set(octets('over the wire'));
  ours.qp.postSend({
    wrId: 2n,
    opcode: WrOpcode.SEND,
    sendFlags: SendFlag.SIGNALED,
    sgList: [{ mr: ours.mr, length: 13 }],
  });
  t.match((await ours.cq.next())[0], { wrId: 2n, status: WcStatus.SUCCESS });
  t.match((await theirs.cq.next())[0], { wrId: 1n, status: WcStatus.SUCCESS, byteLen: 13 });
  t.equal(text(theirs.mr.bytes.slice(0, 13)), 'over the wire');

  await asking.disconnect();
  t.match(await channel.getCmEvent(), { name: 'DISCONNECTED', id: request.id });
  await request.id.disconnect();
  t.match(await asking.channel.getCmEvent(), { name: 'DISCONNECTED', id: asking });
  t.match(await channel.getCmEvent(), { name: 'TIMEWAIT_EXIT', id: request.id });
  await t.rejects(asking.disconnect(), { code: 'EINVAL' });
});

t.test('rdma_cm: a request may be refused, with a reason', async (t) => {
  const [server, client] = await twoContexts(t);
  const { channel } = await listener(server);
  const asking = await resolved(client);
  await withQp(client, asking);
  const refused = failure(asking.connect());
  const { id } = await channel.getCmEvent();
  await id.reject(octets('not today'));
  const error = await refused;
  t.match(error, { code: 'ECONNREFUSED', event: { name: 'REJECTED', status: 28 } });
  t.equal(text(error.event.privateData), 'not today');
});

t.test('rdma_cm: nobody listens, nobody is there, the port is taken, the address is not ours', async (t) => {
  const [server, client] = await twoContexts(t);
  const asking = await resolved(client);
  await withQp(client, asking);
  t.match((await failure(asking.connect())).event, { name: 'REJECTED', status: 8 }, 'invalid service ID');
  const lost = await client.createEventChannel().createId(PortSpace.TCP);
  const unanswered = lost.resolveAddr({ address: '10.0.0.77', port: 1 }, { timeoutMillis: 50 });
  t.match((await failure(unanswered)).event, { name: 'ADDR_ERROR', status: -110 });
  await t.rejects(lost.resolveAddr({ address: '2001:db8::1', port: 1 }), { code: 'ENETUNREACH' });
  await listener(server);
  const second = await server.createEventChannel().createId(PortSpace.TCP);
  await t.rejects(second.bindAddr(SERVER), { code: 'EADDRINUSE' });
  await t.rejects(second.bindAddr({ address: '10.9.9.9', port: 1 }), { code: 'EADDRNOTAVAIL' });
  await t.rejects(second.connect(), { code: 'EINVAL' }, 'not resolved yet');
  const datagrams = await server.createEventChannel().createId(PortSpace.UDP);
  await datagrams.bindAddr(SERVER);
});

t.test('rdma_cm: a listener takes as many requests as its backlog', async (t) => {
  const [server, client] = await twoContexts(t);
  const { channel } = await listener(server, PortSpace.TCP, 1);
  const first = await resolved(client);
  await withQp(client, first);
  first.connect().catch(() => {});
  await channel.getCmEvent();
  const second = await resolved(client);
  await withQp(client, second);
  t.match((await failure(second.connect())).event, { name: 'REJECTED', status: 3 }, 'no resources');
});

t.test('rdma_cm: who closes the device ends its connections', async (t) => {
  const [server, client] = await twoContexts(t);
  const { channel } = await listener(server);
  const asking = await resolved(client);
  const ours = await withQp(client, asking);
  const answered = asking.connect();
  const { id } = await channel.getCmEvent();
  await withQp(server, id);
  await id.accept();
  await answered;
  t.match(await channel.getCmEvent(), { name: 'ESTABLISHED' });
  t.equal(ours.qp.state, QpState.RTS);
  await client.close();
  t.match(await channel.getCmEvent(), { name: 'DISCONNECTED', id });
  await t.rejects(asking.channel.getCmEvent(), { code: 'ENODEV' });
});

t.test('rdma_cm: a datagram service is found by address (SIDR), and used', async (t) => {
  const [server, client] = await twoContexts(t);
  const { channel } = await listener(server, PortSpace.UDP);
  const asking = await resolved(client, PortSpace.UDP);
  const ours = await withQp(client, asking);
  const found = asking.connect({ privateData: octets('who serves?') });
  const request = await channel.getCmEvent();
  t.equal(text(request.privateData), 'who serves?');
  const theirs = await withQp(server, request.id);
  theirs.qp.postRecv({ wrId: 1n, sgList: [{ mr: theirs.mr, length: 4096 }] });
  await request.id.accept({ privateData: octets('I do') });
  const { parameters, av, privateData } = await found;
  t.equal(text(privateData), 'I do');
  t.match(parameters, { qpNum: theirs.qp.qpNum, qKey: 0x0123_4567 });
  const ah = await ours.pd.createAh(av!);
  ours.qp.postSend({
    opcode: WrOpcode.SEND,
    ah,
    remoteQpn: parameters!.qpNum,
    remoteQKey: parameters!.qKey!,
    sgList: [{ mr: ours.mr, length: 100 }],
  });
  t.match((await theirs.cq.next())[0], { wrId: 1n, status: WcStatus.SUCCESS, byteLen: 140 });
});

t.test('rdma_cm: a group is joined by address', async (t) => {
  const [server] = await twoContexts(t);
  const id = await server.createEventChannel().createId(PortSpace.UDP);
  const { parameters, av } = await id.joinMulticast('224.0.1.5');
  t.match(parameters, { qpNum: 0xff_ffff, qKey: 0x0123_4567 });
  t.strictSame([...av!.dgid.subarray(10)], [0xff, 0xff, 224, 0, 1, 5]);
  await t.rejects(id.joinMulticast('10.1.1.1'), { code: 'EINVAL' });
});
