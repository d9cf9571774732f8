/** A capture beside a test: tcpdump writes it, tshark and the referee judge it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Background, type Namespace, run, type Teardown } from './netns.ts';

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
