/**
 * Runs a program in a mount namespace of its own in which /sys/class and, where there is one, /dev/infiniband show the vRNIC: for programs, and their children, that
 * look there by system calls of their own (Go programs, statically linked tools). Opening the device is the shim's affair as ever.
 */
import { existsSync } from 'node:fs';

/** The command that does it, by util-linux and mount(8). @throws Error when we may not. */
export function overlaid(path: string, args: readonly string[], directory: string): string[] {
  if (process.getuid?.() !== 0) throw new Error('--sandbox overlay needs root: it mounts');
  const mounts = ['mount -t overlay -o "lowerdir=$1/sys/class:/sys/class" overlay /sys/class'];
  if (existsSync('/dev/infiniband')) mounts.push('mount --bind "$1/dev/infiniband" /dev/infiniband');
  const script = `${mounts.join(' && ')} && shift && exec "$@"`;
  return ['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', script, 'sh', directory, path, ...args];
}
