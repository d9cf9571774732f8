/** Sleeping until something completes: arm the CQ, look once more, wait for its channel. `cq.next()` does the same. */
import { SendFlag, WorkCompletion, WrOpcode } from '../verbs/index.ts';
import { stop, twoHosts } from './two-hosts.ts';

const [client, server] = await twoHosts();
const completion = new WorkCompletion();

async function nextReceive(): Promise<void> {
  for (;;) {
    if (server.cq.pollOne(completion)) return;
    server.cq.reqNotify();
    if (server.cq.pollOne(completion)) return; // it came between the poll and the arming
    await server.channel.getCqEvent();
  }
}

for (let i = 0; i < 10; i++) server.qp.postRecv({ wrId: i, sgList: [{ mr: server.mr, offset: i * 64, length: 64 }] });
for (let i = 0; i < 10; i++) {
  client.qp.postSend({
    opcode: WrOpcode.SEND_WITH_IMM,
    immData: i,
    sendFlags: SendFlag.SIGNALED,
    sgList: [{ mr: client.mr, length: 64 }],
  });
  await nextReceive();
  if (!completion.isSuccess || completion.immData !== i) throw new Error(`message ${i}: ${completion.statusName}`);
}
console.log('ten messages, each waited for asleep');
await stop(client, server);
