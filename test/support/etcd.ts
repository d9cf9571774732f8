/** An etcd of a test's own: in a namespace or not, restarted with its data, gone with the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { Background, must, type Namespace, type Teardown } from './netns.ts';

export class Etcd {
  /** For those who are to use it. */
  readonly url: string;
  readonly #namespace: Namespace | null;
  readonly #command: readonly string[];
  #process: Background;

  private constructor(url: string, namespace: Namespace | null, command: readonly string[]) {
    this.url = url;
    this.#namespace = namespace;
    this.#command = namespace ? namespace.command(command) : command;
    this.#process = new Background(this.#command);
  }

  static inNamespace(t: Teardown, namespace: Namespace, address: string): Promise<Etcd> {
    return Etcd.#start(t, namespace, address, 2379, 2380);
  }

  static async here(t: Teardown): Promise<Etcd> {
    return Etcd.#start(t, null, '127.0.0.1', await freePort(), await freePort());
  }

  /** Three members; the first that dies leaves a cluster that goes on. */
  static async cluster(t: Teardown): Promise<Etcd[]> {
    const places = await Promise.all(
      ['m0', 'm1', 'm2'].map(async (name) => ({ name, port: await freePort(), peerPort: await freePort() })),
    );
    const initial = places.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join();
    const members = places.map(({ name, port, peerPort }) =>
      Etcd.#make(t, null, `http://127.0.0.1:${port}`, peerPort, { name, initial }),
    );
    await Promise.all(members.map((member) => member.#ready()));
    return members;
  }

  /** It asks for a client's certificate. Files are PEM. */
  static async secure(t: Teardown, { ca, cert, key }: Record<'ca' | 'cert' | 'key', string>): Promise<Etcd> {
    const flags = ['--client-cert-auth', '--trusted-ca-file', ca, '--cert-file', cert, '--key-file', key];
    const etcd = Etcd.#make(t, null, `https://127.0.0.1:${await freePort()}`, await freePort(), { flags });
    // What it says once clients may come: nobody here has a certificate.
    const isUp = (): boolean =>
      /serving client traffic securely|ready to serve client requests/.test(etcd.#process.output);
    if (!(await eventually(isUp, 60_000))) throw new Error(`etcd does not start:\n${etcd.#process.output}`);
    return etcd;
  }

  static async #start(
    t: Teardown,
    namespace: Namespace | null,
    address: string,
    port: number,
    peerPort: number,
  ): Promise<Etcd> {
    const etcd = Etcd.#make(t, namespace, `http://${address}:${port}`, peerPort);
    await etcd.#ready();
    return etcd;
  }

  static #make(
    t: Teardown,
    namespace: Namespace | null,
    url: string,
    peerPort: number,
    { name = 't', initial, flags = [] }: { name?: string; initial?: string; flags?: readonly string[] } = {},
  ): Etcd {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-etcd-'));
    const peers = `http://127.0.0.1:${peerPort}`;
    const addresses = `--listen-client-urls ${url} --advertise-client-urls ${url} --listen-peer-urls ${peers} --initial-advertise-peer-urls ${peers} --initial-cluster ${initial ?? `${name}=${peers}`}`;
    const etcd = new Etcd(url, namespace, [
      'etcd',
      '--name',
      name,
      '--data-dir',
      folder,
      ...addresses.split(' '),
      ...flags,
    ]);
    t.teardown(async () => {
      await etcd.kill();
      rmSync(folder, { recursive: true, force: true });
    });
    return etcd;
  }

  async kill(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }

  /** With the data that it had. */
  async restart(): Promise<void> {
    await this.kill();
    this.#process = new Background(this.#command);
    await this.#ready();
  }

  /** A request from beside it. */
  async ask<T>(path: string, body: object): Promise<T> {
    const program = `fetch('${this.url}${path}', { method: 'POST', body: '${JSON.stringify(body)}' }).then((r) => r.text()).then(console.log)`;
    const command = [process.execPath, '-e', program];
    return JSON.parse(await must(...(this.#namespace?.command(command) ?? command))) as T;
  }

  async #ready(): Promise<void> {
    const isUp = (): Promise<boolean> =>
      this.ask<{ version?: string }>('/v3/maintenance/status', {}).then(
        ({ version }) => version !== undefined,
        () => false,
      );
    if (!(await eventually(isUp, 60_000))) throw new Error(`etcd does not answer:\n${this.#process.output}`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
