/** Where a unix socket may be: its path fits, and nobody listens there. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** sockaddr_un without its last NUL: of a longer path the beginning would be bound, where nobody looks. */
const PATH_BYTES_MAX = 107;

/** @throws Error: it is too long. */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > PATH_BYTES_MAX)
    throw new Error(
      `${path}: a socket's path has at most ${PATH_BYTES_MAX} octets, this one has ${bytes}: give a shorter --socket`,
    );
}

/** Somebody listens there: the file alone may be a dead process's. */
export async function isAnswered(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
