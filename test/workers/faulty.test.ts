import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { type FaultOptions, FaultyPort } from '../../workers/ports/faulty.ts';
import { MemoryPort, newMemoryPair } from '../../workers/ports/memory.ts';
import { FrameMaker } from './test-frames.ts';

const COUNT = 2000;

/** Sends numbered packets through a faulty port; returns the numbers as they come out, with whether the octets are whole. */
function sendThrough(options: FaultOptions): { psns: number[]; spoiled: number; port: FaultyPort } {
  const [left, right] = newMemoryPair('faults');
  const [inner, far] = [new MemoryPort(left), new MemoryPort(right)];
  const port = new FaultyPort(inner, options);
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const av = { dgid: toGid('10.0.0.2'), sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  const ends = { sourceMac: mac, destinationMac: mac, localQpn: 1, remoteQpn: 2, portIndex: 0 };
  const path = buildPath({ av, sgid: toGid('10.0.0.1'), ...ends, port });
  const [maker, burst] = [new FrameMaker(), new ReceiveBurst()];
  const psns: number[] = [];
  let spoiled = 0;
  const collect = (): void => {
    while (far.receive(burst) > 0) {
      for (let i = 0; i < burst.count; i++) {
        const at = burst.at[i]!;
        const isSpoiled = burst.bytes
          .subarray(at + 54, at + 54 + 64)
          .some((octet, j) => octet !== (((burst.view.getUint32(at + 50) & 0xffffff) * 7 + j) & 0xff));
        if (isSpoiled) spoiled++;
        psns.push(burst.view.getUint32(at + 50) & 0xff_ffff);
      }
    }
  };
  for (let psn = 0; psn < COUNT; psn += 100) {
    maker.putRun(path, psn, 100, 64);
    while (!port.transmit(maker.burst)) collect();
    maker.burst.reset();
    collect();
  }
  port.receive(burst); // nothing is sent any more: what was held back comes out
  collect();
  port.close();
  far.close();
  return { psns, spoiled, port };
}

const isAbout = (count: number, share: number): boolean => Math.abs(count - COUNT * share) < COUNT * share * 0.4;

t.test('faulty port: loses, repeats, reorders and spoils about as many as asked, and counts them', async (t) => {
  const lossy = sendThrough({ seed: 1, loss: 0.1 });
  t.ok(isAbout(lossy.port.faults.lost, 0.1));
  t.equal(lossy.psns.length, COUNT - lossy.port.faults.lost);
  const doubled = sendThrough({ seed: 2, duplication: 0.1 });
  t.equal(doubled.psns.length, COUNT + doubled.port.faults.duplicated);
  t.equal(new Set(doubled.psns).size, COUNT);
  const shuffled = sendThrough({ seed: 3, reordering: 0.1 });
  t.ok(shuffled.port.faults.reordered > 0);
  t.not(shuffled.psns.join(), [...shuffled.psns].sort((a, b) => a - b).join(), 'not in order');
  t.same(
    [...shuffled.psns].sort((a, b) => a - b),
    Array.from({ length: COUNT }, (_, i) => i),
    'but all there',
  );
  const spoiled = sendThrough({ seed: 4, corruption: 0.1 });
  t.ok(isAbout(spoiled.port.faults.corrupted, 0.1));
  t.ok(spoiled.spoiled > 0 && spoiled.spoiled <= spoiled.port.faults.corrupted);
});

t.test('faulty port: the same seed does the same', async (t) => {
  const options = { seed: 99, loss: 0.05, duplication: 0.05, reordering: 0.05 };
  t.same(sendThrough(options).psns, sendThrough(options).psns);
  t.notSame(sendThrough(options).psns, sendThrough({ ...options, seed: 100 }).psns);
});
