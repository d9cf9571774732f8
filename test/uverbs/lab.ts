/** Hosts with a urnic daemon each, on which unmodified programs of the distribution run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from '../../daemon/control-client.ts';
import type { PortCounters } from '../../workers/port.ts';
import type { Vrnic } from '../../workers/vrnic.ts';
import type { Background, Namespace, Ran, RunOptions, Teardown } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

export const CLI = join(ROOT, 'dist/daemon/cli.js');
export const SHIM = join(ROOT, 'dist/native/urnic-shim.so');

/** Where the pingpongs and perftest meet. */
export const PINGPONG_PORT = 18515;
/** `resources` where there is nothing. */
export const NOTHING = '{"contexts":[],"programs":[]}';

/** One namespace, one daemon with a vRNIC `v` on its netdev. */
export class UrnicHost {
  readonly namespace: Namespace;
  readonly folder: string;
  daemon: Background;
  readonly #t: Teardown;
  readonly #program: string;

  private constructor(t: Teardown, namespace: Namespace, folder: string, program: string) {
    this.#t = t;
    this.namespace = namespace;
    this.folder = folder;
    this.#program = program;
    this.daemon = this.#up();
  }

  /** @param configuration urnic.yaml; by default one vRNIC `v` on the netdev. @param program what stands for the command `urnic` in the daemon. */
  static async start(
    t: Teardown,
    namespace: Namespace,
    netdev = 'eth0',
    configuration = `vrnics:\n  - name: v\n    netdev: ${netdev}\n`,
    program = CLI,
  ): Promise<UrnicHost> {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-host-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'urnic.yaml'), configuration);
    const host = new UrnicHost(t, namespace, folder, program);
    await host.ready();
    return host;
  }

  get socket(): string {
    return join(this.folder, 'control.sock');
  }

  /** The vRNIC's directory, which programs see. */
  get directory(): string {
    return this.directoryOf('v');
  }

  directoryOf(vrnic: string): string {
    return join(this.folder, 'vrnics', vrnic);
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, LD_PRELOAD: SHIM, URNIC_VRNIC: this.directory };
  }

  async ready(): Promise<void> {
    const { daemon } = this;
    const isReady = (): boolean => daemon.output.includes('"msg":"ready"');
    await untilTrue(() => isReady() || daemon.child.exitCode !== null);
    if (!isReady())
      throw new Error(`the daemon does not say that it is ready (exit ${daemon.child.exitCode}):\n${daemon.output}`);
  }

  /** After its daemon has ended. */
  async restart(): Promise<void> {
    this.daemon = this.#up();
    await this.ready();
  }

  /** Runs a program on the vRNIC. */
  run(command: readonly string[], options: RunOptions = {}, vrnic = 'v'): Promise<Ran> {
    return this.namespace.run(this.#wrapped(command, vrnic), options);
  }

  spawn(t: Teardown, command: readonly string[], vrnic = 'v'): Background {
    return this.namespace.spawn(t, this.#wrapped(command, vrnic));
  }

  /** `urnic …` against this daemon. */
  urnic(...args: string[]): Promise<Ran> {
    return this.namespace.run([process.execPath, CLI, ...args]);
  }

  /** The vRNIC's counters by name. @throws Error when there is no answer. */
  async counters(): Promise<Record<string, number>> {
    return (await this.#statistics()).counters;
  }

  /** The vRNIC's ports by name. @throws Error when there is no answer. */
  async ports(): Promise<Record<string, PortCounters>> {
    return (await this.#statistics()).ports;
  }

  /** What lives on the vRNIC, as JSON; why there is no answer when there is none. */
  async resources(): Promise<string> {
    try {
      return JSON.stringify(await ask(this.socket, { op: 'resources', vrnic: 'v' }));
    } catch (error) {
      return (error as Error).message;
    }
  }

  async listens(port: number): Promise<boolean> {
    return (await this.namespace.run(['ss', '-Hltn', `sport = :${port}`])).output.trim() !== '';
  }

  async #statistics(): Promise<ReturnType<Vrnic['statistics']>> {
    return (await ask(this.socket, { op: 'statistics', vrnic: 'v' })) as ReturnType<Vrnic['statistics']>;
  }

  #up(): Background {
    const files = ['-c', join(this.folder, 'urnic.yaml'), '--socket', join(this.folder, 'control.sock')];
    return this.namespace.spawn(this.#t, [process.execPath, this.#program, 'up', ...files]);
  }

  /** The shim is for the program, not for what starts it. */
  #wrapped(command: readonly string[], vrnic: string): string[] {
    return ['env', `LD_PRELOAD=${SHIM}`, `URNIC_VRNIC=${this.directoryOf(vrnic)}`, ...command];
  }
}

const LOOK_MILLIS = 20;

/** Looks for as long as a minute takes, counted in looks: a machine that stands still meanwhile counts for nothing. False: it never came true. */
export async function untilTrue(condition: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let looks = 60_000 / LOOK_MILLIS; looks > 0; looks--) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLIS));
  }
  return condition();
}

/** Whether a program ends by itself; it is killed when it does not. */
export async function endsByItself(program: Background): Promise<boolean> {
  const { child } = program;
  const hasEnded = await untilTrue(() => child.exitCode !== null || child.signalCode !== null);
  await program.stop('SIGKILL');
  return hasEnded;
}

export interface Pair {
  readonly server: readonly string[];
  readonly client: readonly string[];
  readonly timeoutMillis?: number;
}

/** A server whose client has failed may wait for it for ever. */
const AFTER_FAILURE_MILLIS = 5000;

/** Runs a server on one host and its client on another. Both exit codes and outputs. */
export async function runPair(t: Teardown, a: UrnicHost, b: UrnicHost, pair: Pair): Promise<[Ran, Ran]> {
  const { timeoutMillis = 120_000 } = pair;
  const server = a.spawn(t, pair.server);
  await server.waits();
  const client = b.spawn(t, pair.client);
  const asked = await client.end(timeoutMillis);
  const served = await server.end(asked === 0 ? timeoutMillis : AFTER_FAILURE_MILLIS);
  return [
    { code: served, output: server.output },
    { code: asked, output: client.output },
  ];
}
