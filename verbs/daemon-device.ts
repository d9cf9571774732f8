/** Devices of a daemon: every vRNIC is a directory with a socket, and whoever can reach it can open it. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Context } from './context.ts';
import { attach } from './uverbs/attached-link.ts';

/** The socket that programs attach to. */
const SOCKET = 'uverbs';

export class DaemonDevice {
  /** As the daemon names it. */
  readonly name: string;
  readonly directory: string;

  constructor(directory: string) {
    this.name = basename(directory);
    this.directory = directory;
  }

  /** @throws Error when its daemon has gone, or refuses. */
  async open(): Promise<Context> {
    return new Context(await attach(this.directory));
  }
}

/** Where the daemon of this machine runs, unless its control socket is said to be elsewhere. */
const runDirectory = (): string => dirname(process.env.URNIC_SOCKET ?? '/run/urnic/control.sock');

/**
 * The vRNICs of the daemon that runs in `directory`, by name; and the one that a container was given: `vrnic` in there, or what URNIC_VRNIC says.
 * Whether a daemon still serves them is found out when one is opened.
 */
export function daemonDevices(directory = runDirectory()): DaemonDevice[] {
  const all = join(directory, 'vrnics');
  const given = [process.env.URNIC_VRNIC, join(directory, 'vrnic')].flatMap((path) => path ?? []);
  const paths = [...given, ...namesIn(all).map((name) => join(all, name))];
  return [...new Set(paths)].filter((path) => existsSync(join(path, SOCKET))).map((path) => new DaemonDevice(path));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return []; // no daemon, or not for us
  }
}
