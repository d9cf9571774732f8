/** `urnic run`: an unmodified libibverbs or librdmacm program on a vRNIC. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { constants as system } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { UNDERLAY_VARIABLE } from '../../verbs/uverbs/protocol.ts';
import { UNDERLAYS, type Underlay } from '../../vswitch/model.ts';
import { ask, DEFAULT_SOCKET } from '../control-client.ts';
import { overlaid } from '../sandbox/overlay.ts';
import { isStaticallyLinked } from '../statically-linked.ts';
import { vrnicDirectory } from '../vrnic-directory.ts';

const SHIM = fileURLToPath(new URL('../../native/urnic-shim.so', import.meta.url));

interface RunFlags {
  readonly vrnic?: string;
  readonly socket: string;
  readonly directory?: string;
  readonly sandbox?: Way;
  readonly underlay?: Underlay;
}

/** How a program comes to see a vRNIC. */
type Way = 'preload' | 'overlay' | 'seccomp';

export function addRun(program: Command): void {
  program
    .command('run')
    .description('run an unmodified RDMA program on a vRNIC of the daemon')
    .usage('[options] -- PROGRAM ARGS…')
    .option('--vrnic <name>', 'the vRNIC; may be left out where the daemon has one only')
    .option('--directory <path>', "the vRNIC's directory, where the daemon itself cannot be asked (in a container)")
    .option('--socket <path>', 'where the daemon listens for commands', DEFAULT_SOCKET)
    .addOption(
      new Option(
        '--sandbox <way>',
        'preload: the shim; overlay: and /sys/class as the kernel would show it; seccomp: system calls answered from outside (default: seccomp for statically linked programs, else preload)',
      ).choices(['preload', 'overlay', 'seccomp']),
    )
    .addOption(
      new Option(
        '--underlay <way>',
        'in a tenant’s network: which way its connections go, whatever the tenant’s own choice is; their peers must say the same',
      ).choices([...UNDERLAYS]),
    )
    .argument('<program...>', 'the program and its arguments')
    .passThroughOptions()
    .action(async ([name, ...args]: string[], flags: RunFlags) => {
      const directory = flags.directory ?? (await awaken(flags));
      if (!existsSync(join(directory, 'sys'))) {
        const { wake } = await import('../../verbs/uverbs/greeting.ts');
        await wake(directory);
      }
      if (flags.underlay !== undefined) process.env[UNDERLAY_VARIABLE] = flags.underlay;
      process.exitCode = await run(findProgram(name!), args, directory, flags.sandbox);
    });
}

/** The vRNIC runs: one that waits for its first use has it now. @throws Error that says why it cannot. */
async function awaken(flags: RunFlags): Promise<string> {
  const vrnic = await chooseVrnic(flags);
  const directory = vrnicDirectory(flags.socket, vrnic);
  if (!existsSync(join(directory, 'sys'))) await ask(flags.socket, { op: 'wake', vrnic });
  return directory;
}

async function chooseVrnic({ vrnic, socket }: RunFlags): Promise<string> {
  if (vrnic !== undefined) return vrnic;
  const names = ((await ask(socket, { op: 'vrnics' })) as { name: string }[]).map(({ name }) => name);
  if (names.length === 1) return names[0]!;
  throw new Error(
    names.length === 0 ? 'the daemon has no vRNIC: urnic vrnic add' : `which vRNIC? --vrnic ${names.join('|')}`,
  );
}

/** @throws Error that says what is wrong with it: not found, or setuid, where the loader takes no preload. */
function findProgram(name: string): string {
  const path = name.includes('/') ? name : searchPath(name);
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile()) throw new Error(`${path}: ${found ? 'not a program' : 'no such program'}`);
  if ((found.mode & 0o6000) !== 0) {
    throw new Error(
      `${path} is setuid or setgid: the loader ignores a preload there; run a copy without these bits, as the user you mean`,
    );
  }
  return path;
}

function searchPath(name: string): string {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {}
  }
  throw new Error(`${name}: no such program in PATH`);
}

/** Runs it. Returns its exit status, or 128 + signal as shells do. */
async function run(path: string, args: readonly string[], directory: string, wanted?: Way): Promise<number> {
  if (!existsSync(join(directory, 'uverbs')))
    throw new Error(`no vRNIC at ${directory}: is the daemon up, and the name right?`);
  const way = wanted ?? (isStaticallyLinked(path) && process.arch === 'x64' ? 'seccomp' : 'preload');
  if (!existsSync(SHIM) && way !== 'seccomp')
    throw new Error(`${SHIM} is not built: it needs a C compiler (npm run build:native)`);
  if (way !== 'seccomp' && isStaticallyLinked(path))
    console.error(`urnic: ${path} is statically linked: it will see no vRNIC itself`);
  const child = await start(path, args, directory, way);
  const forward = (signal: NodeJS.Signals): boolean => child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, forward);
  if (child.exitCode !== null || child.signalCode !== null) return statusOf(child.exitCode, child.signalCode);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(statusOf(code, signal)));
  });
}

const statusOf = (code: number | null, signal: NodeJS.Signals | null): number =>
  code ?? 128 + (signal ? system.signals[signal] : 0);

async function start(path: string, args: readonly string[], directory: string, way: Way): Promise<ChildProcess> {
  // What a statically linked program starts may well be reached by the shim: a static shell runs ordinary programs.
  const hasShim = way !== 'seccomp' || isStaticallyLinked(path);
  const preload = [hasShim && SHIM, process.env.LD_PRELOAD].filter(Boolean).join(':');
  const env = { ...process.env, URNIC_VRNIC: directory };
  if (way === 'seccomp') {
    const { spawnSupervised } = await import('../sandbox/seccomp.ts');
    return spawnSupervised({ socket: join(directory, 'uverbs'), path, args, preload }, directory, env);
  }
  const [program, ...rest] = way === 'overlay' ? overlaid(path, args, directory) : [path, ...args];
  return spawn(program!, rest, { stdio: 'inherit', env: { ...env, LD_PRELOAD: preload } });
}

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
