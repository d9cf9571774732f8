/** `urnic run`: an unmodified libibverbs or librdmacm program on a vRNIC. */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { constants as system } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { ask, DEFAULT_SOCKET } from '../control-client.ts';
import { vrnicDirectory } from '../daemon.ts';
import { isStaticallyLinked } from '../statically-linked.ts';

const SHIM = fileURLToPath(new URL('../../native/urnic-shim.so', import.meta.url));

interface RunFlags {
  readonly vrnic?: string;
  readonly socket: string;
  readonly directory?: string;
}

export function addRun(program: Command): void {
  program
    .command('run')
    .description('run an unmodified RDMA program on a vRNIC of the daemon')
    .usage('[options] -- PROGRAM ARGS…')
    .option('--vrnic <name>', 'the vRNIC; may be left out where the daemon has one only')
    .option('--directory <path>', "the vRNIC's directory, where the daemon itself cannot be asked (in a container)")
    .option('--socket <path>', 'where the daemon listens for commands', DEFAULT_SOCKET)
    .argument('<program...>', 'the program and its arguments')
    .passThroughOptions()
    .action(async ([name, ...args]: string[], flags: RunFlags) => {
      const directory = flags.directory ?? vrnicDirectory(flags.socket, await chooseVrnic(flags));
      process.exitCode = await run(findProgram(name!), args, directory);
    });
}

async function chooseVrnic({ vrnic, socket }: RunFlags): Promise<string> {
  if (vrnic !== undefined) return vrnic;
  const names = (await ask(socket, { op: 'list' })) as string[];
  if (names.length === 1) return names[0]!;
  throw new Error(`which vRNIC? --vrnic ${names.join('|')}`);
}

/** @throws Error that says what is wrong with it: not found, or setuid, where the loader takes no preload. */
function findProgram(name: string): string {
  const path = name.includes('/') ? name : searchPath(name);
  const mode = statSync(path).mode;
  if ((mode & 0o6000) !== 0) {
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

/** Runs it with the shim in front of the C library. Returns its exit status, or 128 + signal as shells do. */
async function run(path: string, args: readonly string[], directory: string): Promise<number> {
  if (!existsSync(join(directory, 'uverbs')))
    throw new Error(`no vRNIC at ${directory}: is the daemon up, and the name right?`);
  if (!existsSync(SHIM)) throw new Error(`${SHIM} is not built: it needs a C compiler (npm run build:native)`);
  // What it starts may be reached all the same: a static shell runs ordinary programs.
  if (isStaticallyLinked(path)) console.error(`urnic: ${path} is statically linked: it will see no vRNIC itself`);
  const preload = [SHIM, process.env.LD_PRELOAD].filter(Boolean).join(':');
  const child = spawn(path, args, {
    stdio: 'inherit',
    env: { ...process.env, LD_PRELOAD: preload, URNIC_VRNIC: directory },
  });
  const forward = (signal: NodeJS.Signals): boolean => child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, forward);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? system.signals[signal] : 0)));
  });
}

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
