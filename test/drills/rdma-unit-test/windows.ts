/** Memory windows in the cases of rdma-unit-test. */
import type { DrillQp } from '../language/drill.ts';
import type { DrillMemory } from '../language/memory.ts';
import type { StatusName } from '../language/names.ts';
import { BYTES, DST, type Unit } from './unit.ts';

export interface Window {
  readonly mw: number;
  readonly rKey: number;
}

export interface BindOptions {
  readonly type: 1 | 2;
  /** A new one unless said. */
  readonly window?: Window;
  /** The QP that binds: the remote one unless said. */
  readonly on?: DrillQp;
  readonly region?: Pick<DrillMemory, 'key'>;
  readonly address?: number;
  readonly length?: number;
  readonly access?: number;
  readonly status?: StatusName;
}

/** REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC. */
const REMOTE_ALL = 0xe;

/** The key after a bind: the lower 8 bits are the consumer's, here one more than before. */
export const nextKey = (rKey: number): number => ((rKey & 0xffff_ff00) | ((rKey + 1) & 0xff)) >>> 0;

/** Binds a window, expects the status; the window with its key from then on. */
export function bind(u: Unit, options: BindOptions): Window {
  const { type, on = u.remote, region = u.dst, address = DST, length = BYTES, access = REMOTE_ALL } = options;
  const { status = 'SUCCESS', window = u.d.window(type) } = options;
  u.d.use(on);
  const newKey = window.rKey + 1;
  const wrId = u.d.post.bind({ window: window.rKey, region: region.key, newKey, address, length, access });
  u.d.expect.completion({ wrId, status });
  u.d.use(u.local);
  return status === 'SUCCESS' ? { mw: window.mw, rKey: nextKey(window.rKey) } : window;
}
