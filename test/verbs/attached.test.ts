/** The verbs and the connection manager once more, by links that reach their vRNICs as a program of another process does: socket, queue file, pipes, process_vm_readv. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DaemonDevice, openDevice } from '../../verbs/index.ts';
import { UverbsServer } from '../../verbs/uverbs/server.ts';
import { openBy } from './pair.ts';

openBy(async (t, device) => {
  const directory = mkdtempSync(join(tmpdir(), 'urnic-attached-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const endpoint = async () => (await device.share()).value;
  const server = await UverbsServer.start({ directory: join(directory, device.name), netdev: 'memory', endpoint });
  t.teardown(() => server.stop());
  const context = await openDevice(new DaemonDevice(join(directory, device.name)));
  t.teardown(() => context.close());
  return context;
});
await import('./rc.test.ts');
await import('./cm.test.ts');
