/** A host of the bench as the command sees it, and the peers' programs that run in there. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { joinByWire, RemoteHost } from '../daemon/remote-host.ts';
import type { Setting } from './lines.ts';
import type { SideAddress, Step } from './side.ts';

const SIDE = fileURLToPath(new URL('./side.js', import.meta.url));
const COUNT_GC = new URL('./count-gc.js', import.meta.url).href;
const LISTEN_MILLIS = 400;

export class Host extends RemoteHost<Step> {
  readonly address: string;

  /** @param nodeFlags for profiles: `--cpu-prof` … */
  constructor(address: string, nodeFlags: readonly string[]) {
    super(address, ['--import', COUNT_GC, ...nodeFlags, SIDE]);
    this.address = address;
  }

  /** The output of a program in this host's network. Throws when it fails or is not installed. */
  run(command: string, ...args: string[]): string {
    const inside = ['-t', String(this.pid), '-n', command, ...args];
    return execFileSync('nsenter', inside, { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** A program of this host that listens until `work` is done. */
  async serving<T>(command: readonly string[], work: () => T | Promise<T>): Promise<T> {
    const server = spawn('nsenter', ['-t', String(this.pid), '-n', ...command], { stdio: 'ignore' });
    server.on('error', () => {});
    try {
      await sleep(LISTEN_MILLIS);
      return await work();
    } finally {
      await ended(server);
    }
  }

  override async end(): Promise<void> {
    super.end();
    await ended(this.child, false);
  }
}

async function ended(child: ChildProcess, kill = true): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const closed = once(child, 'close');
  if (kill) child.kill();
  await closed;
}

/** Two hosts and the wire between them. */
export class Lab {
  readonly a: Host;
  readonly b: Host;
  readonly mtu: number;

  constructor(mtu: number, nodeFlags: readonly string[] = []) {
    this.mtu = mtu;
    this.a = new Host('192.0.2.1', nodeFlags);
    this.b = new Host('192.0.2.2', nodeFlags);
  }

  plug(): Promise<void> {
    return joinByWire(this.a, this.b);
  }

  /** Moves the ends of a wire that is there to the hosts. */
  async plugEnds(endOfA: string, endOfB: string): Promise<void> {
    await this.a.plug(endOfA);
    await this.b.plug(endOfB);
  }

  /** vRNICs on both, and QPs from one to the other. */
  async connect({ qps: count, depth, ...how }: Omit<Setting, 'mtu'>): Promise<void> {
    const both = [this.a, this.b] as const;
    await Promise.all(
      both.map((host) => host.do({ do: 'start', address: `${host.address}/24`, mtu: this.mtu, ...how })),
    );
    const [atA, atB] = await Promise.all(both.map((host) => host.do<SideAddress>({ do: 'qps', count, depth })));
    await Promise.all([this.a.do({ do: 'connect', peer: atB! }), this.b.do({ do: 'connect', peer: atA! })]);
  }

  async drop(): Promise<void> {
    await Promise.all([this.a.do({ do: 'drop' }), this.b.do({ do: 'drop' })]);
  }

  async end(): Promise<void> {
    await Promise.all([this.a.end(), this.b.end()]);
  }
}
