/** A program with a worker thread of its own: the main thread hosts the device and shares it, the worker opens it and asks what it is. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { hostDevice, newMemoryPair, openDevice, type SharedDevice } from '../verbs/index.ts';

if (isMainThread) {
  const [end] = newMemoryPair('example');
  const gid = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1);
  const device = await hostDevice({ port: { kind: 'memory', end }, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), gids: [gid] });
  const { value, transfer } = await device.share();
  const worker = new Worker(new URL(import.meta.url), { workerData: value, transferList: transfer });
  const said = await new Promise<string>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  console.log(said);
  await device.stop();
} else {
  const context = await openDevice(workerData as SharedDevice['value']);
  const { maxQp } = await context.queryDevice();
  const pd = await context.allocPd();
  const mr = await pd.regMr(new SharedArrayBuffer(4096), 1);
  parentPort!.postMessage(
    `the worker opened ${context.deviceName}: up to ${maxQp} QPs, and registered ${mr.length} octets`,
  );
  await context.close();
}
