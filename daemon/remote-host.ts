/** A host as its director sees it, a process in a network namespace of its own, told what to do by JSON lines; and what that process does with them. For the demo and for the bench. */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export class RemoteHost<Step extends { readonly do: string }> {
  /** Process id, known once plugged: its network namespace goes by it. */
  pid = 0;
  readonly name: string;
  protected readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  /** @param argv of the Node.js program that it runs. */
  constructor(name: string, argv: readonly string[]) {
    this.name = name;
    this.child = spawn('unshare', ['-n', process.execPath, ...argv], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits for its namespace and moves an end of the wire there, as eth0. */
  async plug(device: string): Promise<void> {
    const { ready } = await this.#answer<{ ready: number }>();
    this.pid = ready;
    execFileSync('ip', ['link', 'set', device, 'netns', String(ready), 'name', 'eth0']);
  }

  async do<T = void>(step: Step): Promise<T> {
    this.child.stdin.write(`${JSON.stringify(step)}\n`);
    const answer = await this.#answer<{ value: T; error?: string }>();
    if (answer.error !== undefined) throw new Error(`${this.name}: ${step.do}: ${answer.error}`);
    return answer.value;
  }

  end(): void {
    this.child.stdin.end();
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  async #answer<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended`);
    return JSON.parse(value) as T;
  }
}

/** Joins two hosts by a veth pair. */
export async function joinByWire<Step extends { readonly do: string }>(
  a: RemoteHost<Step>,
  b: RemoteHost<Step>,
): Promise<void> {
  execFileSync('ip', ['link', 'add', 'wire-a', 'type', 'veth', 'peer', 'name', 'wire-b']);
  await a.plug('wire-a');
  await b.plug('wire-b');
}

// ── The host's side ──

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
export const withStack = (error: unknown): string => (error instanceof Error && error.stack) || message(error);

/** Carries out steps until its input ends. `explain` says what the director is told of a step that failed. */
export async function serveSteps<Step>(run: (step: Step) => unknown, explain = message): Promise<void> {
  console.log(JSON.stringify({ ready: process.pid }));
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify({ value: (await run(JSON.parse(line) as Step)) ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ error: explain(error) }));
    }
  }
}

/** Brings up what the host has: its loopback, and its end of the wire with an address. */
export function bringUp(address: string, mtu: number): void {
  for (const args of [
    ['link', 'set', 'lo', 'up'],
    ['link', 'set', 'eth0', 'mtu', String(mtu), 'up'],
    ['addr', 'replace', address, 'dev', 'eth0'],
  ])
    execFileSync('ip', args);
}
