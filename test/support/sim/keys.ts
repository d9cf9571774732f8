/** Keys that come and go: memory windows and regions for fast registration, as their owner gives them out and takes them back, and as its peer may use them. */
import { Access, WcOpcode, WrOpcode } from '../../../rnic/constants.ts';
import { SLOT_BYTES } from './area.ts';
import { Broken } from './broken.ts';
import type { SimHost } from './host.ts';
import type { Random } from './random.ts';
import type { SendRequest } from './work.ts';

/** Type of a window; 0: a region for fast registration. */
export type KeyKind = 0 | 1 | 2;

/** FREE: grants nothing. GIVING: its BIND_MW or REG_MR is under way. GIVEN: the peer knows it. TAKING: its LOCAL_INV is under way. */
export const KeyState = { FREE: 0, GIVING: 1, GIVEN: 2, TAKING: 3 } as const;

const REMOTE_RIGHTS = [
  Access.REMOTE_READ | Access.REMOTE_WRITE,
  Access.REMOTE_READ | Access.REMOTE_WRITE,
  Access.REMOTE_READ,
  Access.REMOTE_WRITE,
];

/** A work request that may be refused from now on, for its key is being taken away. */
export interface KeyUser {
  readonly opcode: number;
  warn(): void;
}

export class SharedKey {
  readonly kind: KeyKind;
  readonly #host: SimHost;
  /** Where its octets are. */
  readonly #slotAt: number;
  #handle = -1;
  state: number = KeyState.FREE;
  /** The key that the engine has for it. */
  key = 0;
  /** Keys that it had. */
  stale: number[] = [];
  /** What it grants: octets of the host's memory, the address that the peer calls the first of them by, and rights. */
  at = 0;
  length = 0;
  base = 0;
  access = 0;
  /** Its octets when its region was deregistered; null when it has granted something since. */
  #left: Uint8Array | null = null;
  /** Counts what it granted: another range, or the same again, is another grant. */
  grant = 0;
  /** The peer has posted a SEND that takes it back: what is posted behind it on the same QP is refused. */
  isSpent = false;
  /** Work requests under way that name it. */
  readonly users = new Set<KeyUser>();

  constructor(host: SimHost, kind: KeyKind, slotAt: number) {
    this.#host = host;
    this.kind = kind;
    this.#slotAt = slotAt;
    this.renew();
  }

  /** A new object in place of one that went with its QP. */
  renew(): void {
    if (this.#handle !== -1) this.#free(this.#handle);
    if (this.kind === 0) {
      const { mr, rKey } = this.#host.allocRegion(this.#slotAt, SLOT_BYTES);
      this.#handle = mr;
      this.key = rKey;
    } else {
      const { mw, rKey } = this.#host.allocWindow(this.kind);
      this.#handle = mw;
      this.key = rKey;
    }
    this.state = KeyState.FREE;
    this.stale = [];
    this.isSpent = false;
  }

  /** Its region is deregistered, whoever uses it; another one takes its place. */
  deregister(): void {
    const stale = [...this.stale, this.key];
    this.warnUsers();
    this.renew();
    this.stale = stale;
    this.#left = this.#slot().slice();
  }

  /** What was under way when its region was deregistered has changed nothing since. */
  check(): void {
    if (this.#left === null) return;
    if (this.state !== KeyState.FREE) this.#left = null;
    else if (Buffer.compare(this.#left, this.#slot()) !== 0)
      throw new Broken('memory of a region that was deregistered has changed');
  }

  #slot(): Uint8Array {
    return this.#host.bytes.subarray(this.#slotAt, this.#slotAt + SLOT_BYTES);
  }

  #free(handle: number): void {
    this.#host.execute(this.kind === 0 ? { op: 'deregMr', mr: handle } : { op: 'deallocMw', mw: handle });
  }

  /** A request that gives it out anew; `given` is called when that is done. */
  give(random: Random): { request: Pick<SendRequest, 'opcode' | 'grant'>; given: () => void } {
    const isFast = this.kind === 0;
    const length = 1 + random.below(SLOT_BYTES);
    const offset = isFast ? 0 : random.below(SLOT_BYTES - length + 1);
    const isZeroBased = this.kind !== 1 && random.chance(0.3);
    const address = isFast ? random.below(2 ** 20) * 2 ** 30 + random.below(2 ** 30) : this.#slotAt + offset;
    const access = random.pick(REMOTE_RIGHTS) | (isFast ? Access.LOCAL_WRITE : 0);
    const newKey = ((this.key & 0xffff_ff00) | ((this.key + 1 + random.below(3)) & 0xff)) >>> 0;
    const own = isFast ? { lKey: this.key, rKey: newKey } : { lKey: this.#host.key, rKey: this.key };
    const grant = { address, length, newKey, access: access | (isZeroBased ? Access.ZERO_BASED : 0), ...own };
    const given = (): void => {
      if (newKey !== this.key) this.stale.push(this.key);
      this.state = KeyState.GIVEN;
      this.isSpent = false;
      this.grant++;
      Object.assign(this, { key: newKey, at: this.#slotAt + offset, length, access, base: isZeroBased ? 0 : address });
    };
    return { request: { opcode: isFast ? WrOpcode.REG_MR : WrOpcode.BIND_MW, grant }, given };
  }

  /** It grants nothing any more. */
  taken(): void {
    this.state = KeyState.FREE;
    this.isSpent = false;
  }

  /** READs under way that name it: without a fence, what comes behind them may take it away before they are answered. */
  get readers(): KeyUser[] {
    return [...this.users].filter(({ opcode }) => opcode === WcOpcode.RDMA_READ);
  }

  /** The connection ended: what the peer had under way is over, done or not. @param isUnsure whether what its owner had under way was done, nobody knows. */
  forgetPeer(isUnsure: boolean): void {
    const isChanging = this.isSpent || this.state === KeyState.GIVING || this.state === KeyState.TAKING;
    this.isSpent = false;
    this.users.clear();
    if (isUnsure && isChanging) this.renew();
  }

  /** Its owner takes it away without asking who uses it: they may be refused, or not. */
  warnUsers(): void {
    for (const user of this.users) user.warn();
  }
}
