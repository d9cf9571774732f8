/** Where a vRNIC of a daemon shows itself to programs: its socket and the files that they see. */
import { dirname, join } from 'node:path';

export const vrnicsDirectory = (socketPath: string): string => join(dirname(socketPath), 'vrnics');
export const vrnicDirectory = (socketPath: string, name: string): string => join(vrnicsDirectory(socketPath), name);
