import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { makeVeth, type VethEnd, whyNoNamespaces } from './veth.ts';

const script = fileURLToPath(new URL('./peer-process.js', import.meta.url));

class Peer {
  readonly process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #complaints = '';

  constructor(end: VethEnd, ...args: string[]) {
    this.process = spawn('ip', ['netns', 'exec', end.namespace, process.execPath, script, ...args]);
    this.process.stderr.on('data', (text) => {
      this.#complaints += text;
    });
    this.#lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async hear(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the process ended: ${this.#complaints}`);
    return JSON.parse(value);
  }

  tell(what: unknown): void {
    this.process.stdin.write(`${JSON.stringify(what)}\n`);
  }

  end(): Promise<unknown> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.stdin.end();
    return this.process.exitCode === null ? ended : Promise.resolve();
  }
}

const skip = whyNoNamespaces();
for (const [kind, gids] of [
  ['af_packet', ['10.99.0.1', '10.99.0.2']],
  // Addresses that the kernel does not hold: the vRNIC answers for them.
  ['af_packet', ['10.99.0.101', '10.99.0.102']],
  ['af_packet', ['fd99::101', 'fd99::102']],
  ['cap', ['10.99.0.1', '10.99.0.2']],
  ['raw_socket', ['10.99.0.1', '10.99.0.2']],
] as const) {
  t.test(`two processes over ${kind}, ${gids[0]}: WRITE and READ arrive whole`, skip ? { skip } : {}, async (t) => {
    const veth = makeVeth('procs');
    const left = new Peer(veth.left, kind, veth.left.netdev, gids[0], gids[1], 'drive');
    const right = new Peer(veth.right, kind, veth.right.netdev, gids[1], gids[0], 'serve');
    t.teardown(async () => {
      await Promise.all([left.end(), right.end()]);
      veth.remove();
    });
    const [one, two] = await Promise.all([left.hear(), right.hear()]);
    left.tell(two);
    right.tell(one);
    t.match(await Promise.all([left.hear(), right.hear()]), [{ ok: true }, { ok: true }]);
    left.tell('go');
    right.tell('go');
    t.same(
      await left.hear(),
      [1, 64, 1000, 4096, 65_536].map((size) => `${size}: WRITE 0, READ 0, whole`),
    );
  });
}
