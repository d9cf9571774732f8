/** A shell in the rxe peer that is held open: one more command costs a fork there, where a connection for each would start five programs under emulation. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { type Namespace, ownedBy, type Ran } from './netns.ts';

const EXIT_MARK = /urnic-exit:(\d+)\n/;

export class PeerShell {
  readonly #connection: ChildProcessByStdio<Writable, Readable, null>;
  #output = '';
  #isOpen = true;
  /** Looks at what came; of the command that runs. */
  #look = (): void => {};

  constructor(namespace: Namespace, port: number) {
    const command = namespace.command(['nc', '127.0.0.1', String(port)]);
    this.#connection = spawn('setpriv', ownedBy(command), { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#connection.stdin.on('error', () => {}); // `close` follows
    this.#connection.stdout.on('data', (octets) => {
      this.#output += octets;
      this.#look();
    });
    this.#connection.once('close', () => {
      this.#isOpen = false;
      this.#look();
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** One at a time. Resolves to null when it has not ended in time: the shell is of no more use then. */
  run(command: string, timeoutMillis: number): Promise<Ran | null> {
    this.#output = '';
    this.#connection.stdin.write(`(${command}\n) 2>&1 </dev/null; echo "urnic-exit:$?"\n`);
    return new Promise((resolve) => {
      const end = (ran: Ran | null): void => {
        clearTimeout(timer);
        this.#look = () => {};
        resolve(ran);
      };
      const timer = setTimeout(() => end(null), timeoutMillis);
      this.#look = () => {
        const found = EXIT_MARK.exec(this.#output);
        if (found) end({ code: Number(found[1]), output: this.#output.slice(0, found.index) });
        else if (!this.#isOpen) end({ code: 1, output: this.#output });
      };
      this.#look();
    });
  }

  /** What the command has printed so far. */
  get output(): string {
    return this.#output;
  }

  close(): void {
    this.#connection.kill('SIGKILL');
  }
}
