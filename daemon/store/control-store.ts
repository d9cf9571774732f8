/** What a control store is: small texts by key, changed all or nothing, watched from any revision, and gone with the lease of who put them. */

/** Keys are paths without a leading slash: `rules/blue/wall`. */
export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Of the store when this was put; revisions only grow. */
  readonly revision: number;
}

export interface Snapshot {
  readonly revision: number;
  readonly entries: readonly Entry[];
}

/** A key's new value; without one it is deleted. */
export interface Edit {
  readonly key: string;
  readonly value?: string;
  /** The entry goes when this ends; without one it stays. `keep`: whatever it is under now; there must be a condition on its key. */
  readonly lease?: Lease | 'keep';
}

/** The entry was last changed at this revision; 0: there is none. */
export interface Condition {
  readonly key: string;
  readonly revision: number;
}

/** What one commit changed. */
export interface Batch {
  readonly revision: number;
  readonly edits: readonly Pick<Edit, 'key' | 'value'>[];
}

/** Kept alive by itself until it is revoked, or until its store has not been reached for so long that it ended. */
export interface Lease {
  readonly id: string;
  /** Resolves when the store says that the lease is no more. */
  readonly ended: Promise<void>;
  /** Its entries go, in one commit. */
  revoke(): Promise<void>;
}

/** What a watch asks for is no longer known: list again. */
export class CompactedError extends Error {}

export interface ControlStore {
  get(key: string): Promise<Entry | undefined>;
  /** Every entry whose key begins so. */
  list(prefix: string): Promise<Snapshot>;
  /**
   * All edits or none. The revision that they made, or undefined where a condition does not hold. What it has answered is kept, whatever happens to this process then.
   * @throws Error that says why the store did not take them, or why it is not sure that it has, or that it keeps them: full, out of reach, disk.
   */
  commit(edits: readonly Edit[], conditions?: readonly Condition[]): Promise<number | undefined>;
  /**
   * Every commit from revision `from` on that touches the prefix, in order, until the signal aborts.
   * @throws CompactedError, or Error of the connection: watch again from where it ended.
   */
  watch(prefix: string, from: number, signal: AbortSignal): AsyncIterable<Batch>;
  /** @throws Error: out of reach. */
  lease(seconds: number): Promise<Lease>;
  close(): Promise<void>;
}
