/** An etcd of a test's own: in a namespace or not, restarted with its data, gone with the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { Background, type Namespace, type Teardown } from './netns.ts';

export class Etcd {
  readonly url: string;
  readonly #start: () => Background;
  #process: Background;

  private constructor(url: string, start: () => Background) {
    this.url = url;
    this.#start = start;
    this.#process = start();
  }

  /** Listens at `address` and loopback's 2379 and 2380 there. */
  static async inNamespace(t: Teardown, namespace: Namespace, address: string): Promise<Etcd> {
    return Etcd.#begin(
      t,
      address,
      2379,
      2380,
      (command) => namespace.command(command),
      async (url) => (await namespace.run(['curl', '-sf', `${url}/health`])).code === 0,
    );
  }

  static async here(t: Teardown): Promise<Etcd> {
    const [port, peerPort] = [await freePort(), await freePort()];
    return Etcd.#begin(t, '127.0.0.1', port, peerPort, (command) => [...command], isHealthy);
  }

  static async #begin(
    t: Teardown,
    address: string,
    port: number,
    peerPort: number,
    inPlace: (command: readonly string[]) => string[],
    isUp: (url: string) => Promise<boolean>,
  ): Promise<Etcd> {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-etcd-'));
    const url = `http://${address}:${port}`;
    const peers = `http://127.0.0.1:${peerPort}`;
    const command = `etcd --name t --data-dir ${folder} --listen-client-urls ${url} --advertise-client-urls ${url} --listen-peer-urls ${peers} --initial-advertise-peer-urls ${peers} --initial-cluster t=${peers}`;
    const etcd = new Etcd(url, () => new Background(inPlace(command.split(' '))));
    etcd.#isUp = () => isUp(url);
    t.teardown(async () => {
      await etcd.kill();
      rmSync(folder, { recursive: true, force: true });
    });
    await etcd.#ready();
    return etcd;
  }

  #isUp: () => Promise<boolean> = async () => false;

  async kill(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }

  /** With the data that it had. */
  async restart(): Promise<void> {
    await this.kill();
    this.#process = this.#start();
    await this.#ready();
  }

  async #ready(): Promise<void> {
    if (!(await eventually(this.#isUp, 60_000))) throw new Error(`etcd does not answer:\n${this.#process.output}`);
  }
}

const isHealthy = (url: string): Promise<boolean> =>
  fetch(`${url}/health`).then(
    (response) => response.ok,
    () => false,
  );

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
