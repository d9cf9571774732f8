/** Hosts with a urnic daemon each, on which unmodified programs of the distribution run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Background, Namespace, Ran, RunOptions, Teardown } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

export const CLI = join(ROOT, 'dist/daemon/cli.js');
export const SHIM = join(ROOT, 'dist/native/urnic-shim.so');
/** What makes a program start without waiting for its peer's turn of the processor. */
const START_MILLIS = 90_000;

/** One namespace, one daemon with a vRNIC `v` on its netdev. */
export class UrnicHost {
  readonly namespace: Namespace;
  readonly folder: string;
  daemon: Background;
  readonly #t: Teardown;

  private constructor(t: Teardown, namespace: Namespace, folder: string, daemon: Background) {
    this.#t = t;
    this.namespace = namespace;
    this.folder = folder;
    this.daemon = daemon;
  }

  /** @param configuration urnic.yaml; by default one vRNIC `v` on the netdev. */
  static async start(
    t: Teardown,
    namespace: Namespace,
    netdev = 'eth0',
    configuration = `vrnics:\n  - name: v\n    netdev: ${netdev}\n`,
  ): Promise<UrnicHost> {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-host-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'urnic.yaml'), configuration);
    const host = new UrnicHost(t, namespace, folder, up(t, namespace, folder));
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
    await this.daemon.matches(/"msg":"ready"/, START_MILLIS);
  }

  /** After its daemon has ended. */
  async restart(): Promise<void> {
    this.daemon = up(this.#t, this.namespace, this.folder);
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

  /** The shim is for the program, not for what starts it. */
  #wrapped(command: readonly string[], vrnic: string): string[] {
    return ['env', `LD_PRELOAD=${SHIM}`, `URNIC_VRNIC=${this.directoryOf(vrnic)}`, ...command];
  }
}

function up(t: Teardown, namespace: Namespace, folder: string): Background {
  const files = ['-c', join(folder, 'urnic.yaml'), '--socket', join(folder, 'control.sock')];
  return namespace.spawn(t, [process.execPath, CLI, 'up', ...files]);
}

export interface Pair {
  readonly server: readonly string[];
  readonly client: readonly string[];
  readonly timeoutMillis?: number;
}

/** Runs a server on one host and its client on another. Both exit codes and outputs. */
export async function runPair(t: Teardown, a: UrnicHost, b: UrnicHost, pair: Pair): Promise<[Ran, Ran]> {
  const { timeoutMillis = 120_000 } = pair;
  const server = a.spawn(t, pair.server);
  await server.waits();
  const client = await b.run(pair.client, { timeoutMillis });
  const code = await server.end(timeoutMillis);
  return [{ code, output: server.output }, client];
}
