import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { readCapture } from '../../wire/capture.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { CapturePort } from '../../workers/ports/capture.ts';
import { beginShared, CaptureFile } from '../../workers/ports/capture-file.ts';
import { MemoryPort, newMemoryPair } from '../../workers/ports/memory.ts';
import { PcapFilePort } from '../../workers/ports/pcap-file.ts';
import { asItIs, Recorder } from '../../workers/ports/recorder.ts';
import { FrameMaker } from './test-frames.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);

function pathOf(port: PcapFilePort | MemoryPort): ReturnType<typeof buildPath> {
  const av = { dgid: toGid('10.0.0.2'), sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  const ends = { sourceMac: MAC, destinationMac: MAC, localQpn: 1, remoteQpn: 2, portIndex: 0 };
  return buildPath({ av, sgid: toGid('10.0.0.1'), ...ends, port });
}

/** Each frame of a capture is one whole packet with its own identification and a right ICRC. */
function checkCapture(t: Test, file: string, sizes: number[], copies = 1): void {
  const frames = readCapture(readFileSync(file)).map(({ octets }) => octets);
  t.same(
    frames.map((frame) => frame.length),
    sizes.map((size) => 42 + 12 + size + 4),
  );
  const ids = new Set<number>();
  for (const frame of frames) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    ids.add(Ipv4.identification(view, 14));
    t.ok(Ipv4.verifyChecksum(view, 14) && Icrc.verify(view, frame, 14, frame.length), 'checksum and ICRC');
  }
  t.equal(ids.size * copies, frames.length);
}

t.test('pcap-file port: what is sent can be read again by another, super-frames as single packets', async (t) => {
  const file = join(t.testdir(), 'sent.pcapng');
  const [port, maker] = [new PcapFilePort({ write: file }), new FrameMaker()];
  maker.putRun(pathOf(port), 0, 20, 512);
  maker.putRun(pathOf(port), 20, 1, 100);
  t.equal(port.transmit(maker.burst), true);
  t.equal(port.counters.txFrames, 21);
  port.close();
  port.close();
  checkCapture(t, file, [...new Array<number>(20).fill(512), 100]);
  const [reader, burst] = [new PcapFilePort({ read: file }), new ReceiveBurst()];
  t.equal(reader.setSleeping(true), false, 'no sleep while frames are left');
  t.equal(reader.receive(burst), 21);
  t.equal(reader.receive(burst), 0);
  t.equal(reader.setSleeping(true), true);
  reader.close();
});

t.test('capture file: a pipe that nobody reads is refused: nobody waits for a reader', async (t) => {
  const pipe = join(t.testdir(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  t.throws(() => new CaptureFile({ file: pipe }, 'tap0'), { code: 'ENXIO' });
  t.throws(() => beginShared(pipe, ['tap0']), { code: 'ENXIO' });
});

t.test('pcap-file port: a file that is no capture, or is not there, is an error', async (t) => {
  const file = join(t.testdir(), 'noise');
  writeFileSync(file, 'this is no capture, whatever its name says');
  t.throws(() => new PcapFilePort({ read: file }), { name: 'CaptureError' });
  t.throws(() => new PcapFilePort({ read: `${file}-missing` }), { code: 'ENOENT' });
});

t.test('capture: both directions of a port, as they are on the wire', async (t) => {
  const file = join(t.testdir(), 'tap.pcapng');
  const [left, right] = newMemoryPair('tap');
  const far = new MemoryPort(right);
  const capture = new CaptureFile({ file }, 'tap0');
  const port = new CapturePort(new MemoryPort(left), new Recorder(capture, asItIs));
  const [maker, burst] = [new FrameMaker(), new ReceiveBurst()];
  maker.putRun(pathOf(far), 0, 10, 256);
  port.transmit(maker.burst);
  far.receive(burst);
  maker.burst.sent = 0;
  far.transmit(maker.burst); // and back
  t.equal(port.receive(burst), 1, 'one super-frame');
  port.close();
  capture.close();
  far.close();
  checkCapture(t, file, new Array<number>(20).fill(256), 2);
});
