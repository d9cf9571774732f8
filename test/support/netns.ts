/** Network namespaces, veth pairs and taps for tests: made by iproute2, removed when the test ends. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

export interface Ran {
  readonly code: number;
  readonly output: string;
}

export interface RunOptions {
  readonly timeoutMillis?: number;
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** What a test offers to be cleaned up with: tap's `t`. */
export interface Teardown {
  teardown(undo: () => unknown): void;
}

const RUN_MILLIS = 60_000;
const OUTPUT_BYTES_MAX = 64 << 20;

/** Arguments of setpriv for a program that ends when this process does, however that happens. */
export const ownedBy = (command: readonly string[]): string[] => ['--pdeathsig', 'KILL', '--', ...command];

/** Runs a program to its end; standard output and error together. A program that was killed for taking too long has code 124. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { timeoutMillis = RUN_MILLIS, input, env = process.env } = options;
  return new Promise((resolve) => {
    const settings = { timeout: timeoutMillis, maxBuffer: OUTPUT_BYTES_MAX, env, killSignal: 'SIGKILL' as const };
    const child = execFile('setpriv', ownedBy(command), settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.killed ? 124 : typeof error.code === 'number' ? error.code : 1;
      resolve({ code, output: stdout + stderr });
    });
    child.stdin?.on('error', () => {}); // it may end without reading
    child.stdin?.end(input ?? '');
  });
}

/** As `run`, and throws with the output when it fails. */
export async function must(...command: string[]): Promise<string> {
  const { code, output } = await run(command);
  if (code !== 0) throw new Error(`${command.join(' ')}: exit ${code}\n${output}`);
  return output;
}

/** Looks, not the clock: a machine that stands still meanwhile counts for nothing. */
const LOOK_MILLIS = 50;
const QUIET_LOOKS = 8;

/** Of all threads of a process: whether none runs, and the clock ticks of processor time that they have used. */
function activityOf(pid: number): { isAsleep: boolean; ticks: number } {
  let isAsleep = true;
  let ticks = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const fields = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      if (fields[0] !== 'S') isAsleep = false;
      ticks += Number(fields[11]) + Number(fields[12]);
    }
  } catch {
    return { isAsleep: false, ticks }; // a thread that ended just now
  }
  return { isAsleep, ticks };
}

/** A program in the background. */
export class Background {
  readonly child: ChildProcess;
  output = '';
  readonly ended: Promise<number>;

  constructor(command: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.child = spawn('setpriv', ownedBy(command), {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.on('data', (data) => {
        this.output += data;
      });
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.output += error.message;
      });
      this.child.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
    });
  }

  /** Waits until what it printed matches; throws when it ends or the time runs out before. */
  async matches(pattern: RegExp, timeoutMillis = 60_000): Promise<RegExpExecArray> {
    const deadline = Date.now() + timeoutMillis;
    for (;;) {
      const found = pattern.exec(this.output);
      if (found) return found;
      if (this.child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`${this.child.spawnargs.join(' ')} did not print ${pattern}:\n${this.output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Until it waits for somebody, as a server does once it listens: asleep, and no processor time used for a while. Returns too when it has ended. */
  async waits(timeoutMillis = 60_000): Promise<void> {
    let quiet = 0;
    let before = -1;
    for (let looks = timeoutMillis / LOOK_MILLIS; looks > 0; looks--) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MILLIS));
      if (this.child.exitCode !== null || this.child.signalCode !== null) return;
      const { isAsleep, ticks } = activityOf(this.child.pid!);
      const isQuiet = isAsleep && Math.abs(ticks - before) <= 1;
      quiet = isQuiet ? quiet + 1 : 0;
      if (quiet >= QUIET_LOOKS) return;
      if (Math.abs(ticks - before) > 1) before = ticks;
    }
    throw new Error(
      `${this.child.spawnargs.join(' ')} is still at work after ${timeoutMillis / 1000} s:\n${this.output}`,
    );
  }

  /** Its exit code; it is killed when it does not end by itself in time. Looks, not the clock, as above. */
  async end(timeoutMillis = RUN_MILLIS): Promise<number> {
    let looks = timeoutMillis / LOOK_MILLIS;
    const timer = setInterval(() => {
      if (--looks <= 0) this.child.kill('SIGKILL');
    }, LOOK_MILLIS);
    const code = await this.ended;
    clearInterval(timer);
    return code;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return this.end(10_000);
  }
}

let made = 0;

/** Namespaces of test processes that were killed before they could clean up. */
async function removeOrphans(): Promise<void> {
  const { output } = await run(['ip', 'netns', 'list']);
  for (const [name, pid] of output.matchAll(/^urnic-(\d+)-\S+/gm))
    if (!existsSync(`/proc/${pid}`)) await run(['ip', 'netns', 'del', name]);
}

/** One namespace with its loopback up. */
export class Namespace {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(t: Teardown, hint: string): Promise<Namespace> {
    if (made === 0) await removeOrphans();
    const namespace = new Namespace(`urnic-${process.pid}-${made++}-${hint}`);
    await must('ip', 'netns', 'add', namespace.name);
    t.teardown(() => run(['ip', 'netns', 'del', namespace.name]));
    await namespace.ip('link', 'set', 'lo', 'up');
    // Link-local addresses are there at once, not after a second of duplicate address detection.
    await namespace.run(['sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.all.accept_dad=0']);
    return namespace;
  }

  command(command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.name, ...command];
  }

  ip(...args: string[]): Promise<string> {
    return must('ip', '-n', this.name, ...args);
  }

  run(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return run(this.command(command), options);
  }

  /** In the background; stopped when the test ends. */
  spawn(t: Teardown, command: readonly string[], env?: NodeJS.ProcessEnv): Background {
    const background = new Background(this.command(command), env);
    t.teardown(() => background.stop('SIGKILL'));
    return background;
  }

  async addTap(name: string, address: string, mtu: number): Promise<void> {
    await this.ip('tuntap', 'add', 'dev', name, 'mode', 'tap');
    await this.#up(name, address, mtu);
  }

  async #up(device: string, address: string, mtu: number): Promise<void> {
    await this.ip('link', 'set', device, 'mtu', String(mtu), 'up');
    await this.ip('addr', 'add', address, 'dev', device);
  }

  /** Joins two namespaces by a veth pair; each end is named `eth0`. */
  static async join(a: Namespace, addressA: string, b: Namespace, addressB: string, mtu: number): Promise<void> {
    await must('ip', 'link', 'add', 'eth0', 'netns', a.name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b.name);
    await a.#up('eth0', addressA, mtu);
    await b.#up('eth0', addressB, mtu);
  }

  /** `eth0` of ours is a port of another namespace's bridge. */
  async plugInto(hub: Namespace, bridge: string, port: string, address: string, mtu: number): Promise<void> {
    await must(
      'ip',
      'link',
      'add',
      'eth0',
      'netns',
      this.name,
      'type',
      'veth',
      'peer',
      'name',
      port,
      'netns',
      hub.name,
    );
    await hub.ip('link', 'set', port, 'mtu', String(mtu), 'master', bridge, 'up');
    await this.#up('eth0', address, mtu);
  }
}

/** Two hosts on one wire: 192.0.2.1 and 192.0.2.2, both `eth0`. */
export async function twoHosts(t: Teardown, mtu = 9000): Promise<[Namespace, Namespace]> {
  const a = await Namespace.create(t, 'a');
  const b = await Namespace.create(t, 'b');
  await Namespace.join(a, '192.0.2.1/24', b, '192.0.2.2/24', mtu);
  return [a, b];
}

/** Hosts on one switch: 192.0.2.1 and on, each `eth0`; the switch's own namespace has 192.0.2.254 on `br0`. */
export async function hostsOnSwitch(t: Teardown, count: number, mtu = 9000): Promise<[Namespace, ...Namespace[]]> {
  const hub = await Namespace.create(t, 'switch');
  await hub.ip('link', 'add', 'br0', 'type', 'bridge');
  await hub.ip('link', 'set', 'br0', 'mtu', String(mtu), 'up');
  await hub.ip('addr', 'add', '192.0.2.254/24', 'dev', 'br0');
  const hosts: Namespace[] = [];
  for (let i = 1; i <= count; i++) {
    const host = await Namespace.create(t, `h${i}`);
    await host.plugInto(hub, 'br0', `port${i}`, `192.0.2.${i}/24`, mtu);
    hosts.push(host);
  }
  return [hub, ...hosts];
}
