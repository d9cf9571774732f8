/** One at a time among all test processes: virtual machines and benchmarks want the machine for themselves. */
import { createServer } from 'node:net';
import type { Teardown } from './netns.ts';

const WAIT_MILLIS = 1_200_000;
const RETRY_MILLIS = 100;

/** Waits for the named turn; given back when the test ends. The turn is an abstract socket: the kernel takes it from a holder that dies. */
export async function exclusive(t: Teardown, name: string): Promise<void> {
  for (const deadline = Date.now() + WAIT_MILLIS; Date.now() < deadline; ) {
    const giveBack = await take(`\0urnic-turn-${name}`);
    if (giveBack) return t.teardown(giveBack);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLIS));
  }
  throw new Error(`no turn for ${name} in ${WAIT_MILLIS / 1000} s`);
}

/** Null when somebody has it. */
function take(path: string): Promise<(() => void) | null> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error),
    );
    server.listen(path, () => {
      server.unref();
      resolve(() => server.close());
    });
  });
}
