/** Reasons to skip a test: what this machine lacks. `t.test(name, { skip: lacks('root', 'tshark') }, …)`. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

function hasProgram(name: string): boolean {
  for (const folder of (process.env.PATH ?? '').split(':').concat('/usr/sbin', '/sbin')) {
    try {
      accessSync(`${folder}/${name}`, constants.X_OK);
      return true;
    } catch {}
  }
  return false;
}

let canMakeNamespaces: boolean | undefined;
function hasNamespaces(): boolean {
  canMakeNamespaces ??= spawnSync('unshare', ['-n', 'true']).status === 0;
  return canMakeNamespaces;
}

/** False when nothing is missing, else the reason. `root` stands for the right to make network namespaces. */
export function lacks(...needs: string[]): string | false {
  for (const need of needs) {
    if (need === 'root') {
      if (process.getuid?.() !== 0 || !hasNamespaces()) return 'needs root and network namespaces';
    } else if (!hasProgram(need)) return `needs ${need}, which is not installed (scripts/setup-debian)`;
  }
  return false;
}

/** As `lacks`, of npm's optional packages. */
export function lacksPackage(name: string): string | false {
  try {
    require.resolve(name);
    return false;
  } catch {
    return `the optional package ${name} is not installed`;
  }
}
