/** The lab of the interoperability tests: a real rxe peer on a tap, and urnic on the same tap's other side. */
import { join } from 'node:path';
import { exclusive } from '../support/exclusive.ts';
import { type Background, Namespace, type Teardown } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { RxePeer } from '../support/rxe-peer.ts';

export const OURS = '192.0.2.1';
export const PEER = '192.0.2.2';
const LISTENS_MILLIS = 60_000;
export const CLI = join(ROOT, 'dist/daemon/cli.js');

export interface Lab {
  readonly here: Namespace;
  readonly peer: RxePeer;
}

/** Boots the peer. The machine is this test's alone until it ends. */
export async function openLab(t: Teardown, mtu = 9000): Promise<Lab> {
  await exclusive(t, 'machine');
  const here = await Namespace.create(t, 'lab');
  await here.addTap('tap0', `${OURS}/24`, mtu);
  const peer = await RxePeer.start(t, here, { address: `${PEER}/24`, mtu });
  return { here, peer };
}

/** `urnic …` in the lab's namespace, on its tap. */
export const urnic = (...args: string[]): string[] => [process.execPath, CLI, ...args];

/** Waits until something listens on the TCP port in the namespace. */
export async function listening(namespace: Namespace, port: number, who: Background): Promise<void> {
  for (const deadline = Date.now() + LISTENS_MILLIS; Date.now() < deadline; ) {
    const { output } = await namespace.run(['ss', '-Hltn', `sport = :${port}`]);
    if (output.trim() !== '') return;
    if (who.child.exitCode !== null) throw new Error(`it ended before it listened:\n${who.output}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}:\n${who.output}`);
}
