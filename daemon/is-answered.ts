/** Whether somebody listens at a unix socket: the file alone may be a dead process's. */
import { once } from 'node:events';
import { connect } from 'node:net';

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
