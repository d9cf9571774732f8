/**
 * One of two processes that talk RDMA: hosts a vRNIC on a netdev of its own namespace. Standard input and output carry one JSON line each way: who it is, then who
 * the other is. The one told to `drive` writes to the other's memory, reads it back and says how it went; the other waits for its input to end.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { toGid } from '../../workers/linux/netdev.ts';
import { openLocalDevice } from '../../workers/local-device.ts';
import type { PortConfig } from '../../workers/vrnic-config.ts';
import { RcApp } from './rc-app.ts';

const SIZES = [1, 64, 1000, 4096, 65_536];
const [kind, netdev = '', own = '', other = '', role] = process.argv.slice(2);

async function completion(app: RcApp): Promise<number> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(1)) {
    const status = app.pollCq();
    if (status >= 0) return status;
  }
  return -1;
}

async function drive(app: RcApp, rKey: number): Promise<string[]> {
  const said: string[] = [];
  for (const size of SIZES) {
    for (let i = 0; i < size; i++) app.memory[i] = (i * 31 + size) & 0xff;
    app.write(0, size, rKey, 0);
    const wrote = await completion(app);
    app.memory.fill(0);
    app.read(0, size, rKey, 0);
    const read = await completion(app);
    const isWhole = app.memory.subarray(0, size).every((octet, i) => octet === ((i * 31 + size) & 0xff));
    said.push(`${size}: WRITE ${wrote}, READ ${read}, ${isWhole ? 'whole' : 'spoiled'}`);
  }
  return said;
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const device = await openLocalDevice({ port: { kind, netdev } as PortConfig, gids: [toGid(own)], spin: 20 });
try {
  const app = await RcApp.open(await device.open(), 1 << 17);
  console.log(JSON.stringify({ qpNum: app.qpNum, rKey: app.rKey }));
  const peer = JSON.parse(String((await lines.next()).value)) as { qpNum: number; rKey: number };
  const connected = await app.connect(toGid(other), 0, peer.qpNum);
  console.log(JSON.stringify(connected));
  await lines.next(); // both are connected
  if (role === 'drive') console.log(JSON.stringify(await drive(app, peer.rKey)));
  else await lines.next();
} finally {
  await device.stop();
  process.exit();
}
