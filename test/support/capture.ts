/** A capture beside a test: tcpdump writes it, tshark and the referee judge it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Linux from '../../workers/linux/constants.ts';
import { closeOwned } from '../../workers/linux/descriptors.ts';
import { openSocket, requireOption } from '../../workers/linux/socket.ts';
import { type Background, type Namespace, run, type Teardown } from './netns.ts';

const SO_TIMESTAMP = 29;

export class Capture {
  readonly path: string;
  readonly #tcpdump: Background;

  private constructor(path: string, tcpdump: Background) {
    this.path = path;
    this.#tcpdump = tcpdump;
  }

  /** @param snapshotOctets longest frame there can be: super-frames by default. */
  static async start(
    t: Teardown,
    namespace: Namespace,
    device: string,
    { snapshotOctets = 66_000, filter = 'udp port 4791' } = {},
  ): Promise<Capture> {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-capture-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'trace.pcap');
    stampOnArrival(t);
    // In immediate mode the kernel's ring has a slot of the snapshot length for each frame: 256 MiB hold 4,000 of the longest.
    const options = [
      '-i',
      device,
      '-w',
      path,
      '-U',
      '-s',
      String(snapshotOctets),
      '-B',
      '262144',
      '--immediate-mode',
      '--time-stamp-precision=nano',
      '-Z',
      'root',
    ];
    const tcpdump = namespace.spawn(t, ['tcpdump', ...options, filter]);
    await tcpdump.matches(/listening on/);
    return new Capture(path, tcpdump);
  }

  /** Ends it. True when it is whole: a capture with holes proves nothing. */
  async end(): Promise<boolean> {
    await new Promise((resolve) => setTimeout(resolve, 200));
    await this.#tcpdump.stop('SIGINT');
    return /\b0 packets dropped by kernel/.test(this.#tcpdump.output);
  }

  /** Frames that Wireshark finds malformed or in error: one line each, none is the wish. (The referee checks the ICRC.) */
  async complaints(): Promise<string[]> {
    const filter = '_ws.malformed || _ws.expert.severity == error';
    const { output } = await run(['tshark', '-r', this.path, '-Y', filter]);
    return output.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Running as user'));
  }
}

/**
 * While any socket wants times the kernel stamps a frame as it arrives; otherwise it is stamped when it is copied for the capture, which may be after another
 * processor has answered it.
 */
function stampOnArrival(t: Teardown): void {
  const socket = openSocket(Linux.AF_INET, Linux.SOCK_DGRAM, 0, (fd) =>
    requireOption(fd, Linux.SOL_SOCKET, SO_TIMESTAMP, 1, 'have frames stamped as they arrive'),
  );
  t.teardown(() => closeOwned(socket));
}
