/** Enters a network namespace. It counts for the calling thread only: sockets that it opens from then on live there. */
import { closeSync, openSync } from 'node:fs';
import * as Linux from './constants.ts';
import * as Libc from './libc.ts';

/** @param path for instance /var/run/netns/blue. @throws SystemError (needs CAP_SYS_ADMIN), or the error of open. */
export function enterNetworkNamespace(path: string): void {
  const fd = openSync(path, 'r');
  try {
    Libc.check(Libc.setns(fd, Linux.CLONE_NEWNET), `setns ${path}`);
  } finally {
    closeSync(fd);
  }
}
