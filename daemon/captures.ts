/** Captures that commands have begun: one at a time of each vRNIC or port, for frames are copied for one file only. */
import { beginShared } from '../workers/ports/capture-file.ts';
import type { Supervisor } from '../workers/supervisor.ts';

export class Captures {
  readonly #supervisor: Supervisor;
  /** Where frames go, by vRNIC or port. */
  readonly #files = new Map<string, string>();

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  /** Returns what ends it. @throws Error of the file, or of a worker, or that there is a capture already: then none is begun. */
  async begin(names: readonly string[], file: string, isShared: boolean): Promise<() => Promise<void>> {
    for (const name of names) {
      const other = this.#files.get(name);
      if (other !== undefined) throw new Error(`${name} is being captured already, to ${other}`);
    }
    if (isShared) beginShared(file, names);
    for (const name of names) this.#files.set(name, file);
    const end = async (): Promise<void> => {
      await Promise.allSettled(names.map((name) => this.#supervisor.capture(name)));
      for (const name of names) this.#files.delete(name);
    };
    const begun = names.map((name, interfaceIndex) =>
      this.#supervisor.capture(name, { file, ...(isShared && { interfaceIndex }) }),
    );
    try {
      await Promise.all(begun);
    } catch (error) {
      await Promise.allSettled(begun);
      await end();
      throw error;
    }
    return end;
  }
}
