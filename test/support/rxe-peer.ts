/** A real Linux rxe to talk to: a Debian kernel in QEMU, under software emulation, on a tap in a test's namespace. Ready in about 8 s. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Background, Namespace, Ran, RunOptions, Teardown } from './netns.ts';
import { PeerShell } from './peer-shell.ts';
import { ROOT } from './root.ts';
import { lacks } from './skip.ts';

const BUILD_FOLDER = join(ROOT, '.rxe-peer');
const READY_MILLIS = 90_000;
const EXEC_MILLIS = 60_000;
/** For a shell, and for what it starts, to be there or to go. */
const KILL_MILLIS = 5000;

/** What the peer needs of this machine; false when it is all here. */
export const lacksPeer = (): string | false =>
  lacks('root', 'qemu-system-x86_64', 'busybox', 'cpio', 'depmod', 'nc', 'ibv_devinfo', 'ib_write_bw');

/** Builds kernel and initramfs once for each version of the build script; kept for later runs. Throws with what the build printed. */
function build(): string {
  const script = join(ROOT, 'test/interop/peer/build');
  const version = createHash('sha256').update(readFileSync(script)).digest('hex').slice(0, 12);
  const folder = join(BUILD_FOLDER, version);
  if (existsSync(folder)) return folder;
  mkdirSync(BUILD_FOLDER, { recursive: true });
  const unfinished = mkdtempSync(join(BUILD_FOLDER, 'unfinished-'));
  const { status, stdout, stderr } = spawnSync(script, [unfinished], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the rxe peer could not be built:\n${stdout}${stderr}`);
  renameSync(unfinished, folder);
  return folder;
}

export interface PeerOptions {
  /** `192.0.2.2/24`: of the peer's eth0, on which rxe0 stands. GID 0 is its link-local address, GID 1 this one. */
  readonly address: string;
  readonly mtu?: number;
  readonly mac?: string;
  readonly tap?: string;
  readonly cpus?: number;
  readonly memoryMib?: number;
}

/** A shell in the peer that runs nothing, and its process group. */
type IdleShell = readonly [PeerShell, number];

export class RxePeer {
  readonly namespace: Namespace;
  readonly #port: number;
  readonly #vm: Background;
  readonly #t: Teardown;
  readonly #idle: IdleShell[] = [];

  private constructor(t: Teardown, namespace: Namespace, port: number, vm: Background) {
    this.#t = t;
    this.namespace = namespace;
    this.#port = port;
    this.#vm = vm;
  }

  /** Boots it on a tap, which must be there (`Namespace.addTap`). Stopped when the test ends. */
  static async start(t: Teardown, namespace: Namespace, options: PeerOptions): Promise<RxePeer> {
    const { address, mtu = 9000, mac = '52:54:00:00:00:01', tap = 'tap0', cpus = 2, memoryMib = 768 } = options;
    const folder = build();
    const scratch = mkdtempSync(join(tmpdir(), 'urnic-peer-'));
    t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
    const console = join(scratch, 'console');
    const port = 20_000 + ((process.pid * 7 + Number.parseInt(mac.slice(-2), 16)) % 20_000);
    const vm = namespace.spawn(t, [
      'qemu-system-x86_64',
      ...[
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        'max',
        '-smp',
        String(cpus),
        '-m',
        String(memoryMib),
        '-display',
        'none',
        '-no-reboot',
      ],
      ...['-serial', `file:${console}`, '-monitor', 'none'],
      ...['-kernel', join(folder, 'kernel'), '-initrd', join(folder, 'initramfs.cpio')],
      ...['-append', `console=ttyS0 quiet mitigations=off ip0=${address} mtu=${mtu}`],
      ...['-netdev', `tap,id=n0,ifname=${tap},script=no,downscript=no`],
      ...['-device', `virtio-net-pci,netdev=n0,mac=${mac},host_mtu=${mtu}`],
      ...[
        '-netdev',
        `user,id=n1,restrict=on,hostfwd=tcp:127.0.0.1:${port}-10.0.2.15:2222`,
        '-device',
        'virtio-net-pci,netdev=n1',
      ],
      ...['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
      ...['-object', 'rng-random,filename=/dev/urandom,id=r0', '-device', 'virtio-rng-pci,rng=r0'],
    ]);
    const peer = new RxePeer(t, namespace, port, vm);
    await peer.#ready(console);
    return peer;
  }

  /** Runs a command of bash in the peer, where this machine's files are to be read and /tmp is empty and its own. One that is killed for taking too long has code 124. */
  async exec(command: string, { timeoutMillis = EXEC_MILLIS }: Pick<RunOptions, 'timeoutMillis'> = {}): Promise<Ran> {
    const [shell, group] = this.#idle.pop() ?? (await this.#openShell());
    const ran = await shell.run(command, timeoutMillis);
    if (ran && shell.isOpen) this.#idle.push([shell, group]);
    if (ran) return ran;
    // In the peer too: it would go on there.
    const { output } = shell;
    shell.close();
    const [other] = this.#idle.pop() ?? (await this.#openShell());
    await other.run(`kill -KILL -- -${group}`, KILL_MILLIS);
    return { code: 124, output };
  }

  /** With its process group. */
  async #openShell(): Promise<IdleShell> {
    const shell = new PeerShell(this.namespace, this.#port);
    this.#t.teardown(() => shell.close());
    const ran = await shell.run('echo $$', KILL_MILLIS);
    return [shell, Number(ran?.output)];
  }

  /** As `exec`, and throws with the output when the command fails. */
  async must(command: string, options: Pick<RunOptions, 'timeoutMillis'> = {}): Promise<string> {
    const { code, output } = await this.exec(command, options);
    if (code !== 0) throw new Error(`in the peer: ${command}: exit ${code}\n${output}`);
    return output;
  }

  /** Puts a program into the peer, whose /tmp is its own: what this machine has there cannot be read in it. */
  async putProgram(path: string, octets: Buffer): Promise<void> {
    await this.must(`base64 -d > ${path} <<'END'\n${octets.toString('base64')}\nEND\nchmod +x ${path}`);
  }

  /** Waits until something in the peer listens on the TCP port. */
  async listens(port: number): Promise<void> {
    // State 0A is LISTEN (proc(5)).
    const line = `:${port.toString(16).toUpperCase().padStart(4, '0')} 0+:0000 0A`;
    await this.must(`until grep -qE '${line}' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done`);
  }

  /** What the peer sends suffers this (netem's words: `loss 5%`, `duplicate 5%`, `delay 1ms reorder 25%`); empty to end it. */
  async disturbOutgoing(netem: string): Promise<void> {
    await this.exec('tc qdisc del dev eth0 root');
    if (netem !== '') await this.must(`tc qdisc add dev eth0 root netem ${netem}`);
  }

  /** Of what comes to the peer one frame in so many is lost, at random; 0 to end it. */
  async loseIncoming(oneIn: number): Promise<void> {
    await this.exec('tc qdisc del dev eth0 clsact');
    const filter = `tc filter add dev eth0 ingress matchall action pass random netrand drop ${oneIn}`;
    if (oneIn !== 0) await this.must(`tc qdisc add dev eth0 clsact && ${filter}`);
  }

  async stop(): Promise<void> {
    await this.#vm.stop('SIGKILL');
  }

  async #ready(console: string): Promise<void> {
    for (const deadline = Date.now() + READY_MILLIS; Date.now() < deadline; ) {
      const printed = existsSync(console) ? readFileSync(console, 'utf8') : '';
      if (printed.includes('RXE-READY')) {
        if ((await this.exec('true', { timeoutMillis: 5000 })).code === 0) return;
      }
      if (this.#vm.child.exitCode !== null)
        throw new Error(`the peer ended:\n${this.#vm.output}${printed.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    throw new Error(`the peer was not ready in ${READY_MILLIS / 1000} s`);
  }
}
