/** IETH: the R_Key that a SEND with invalidate takes out of service. Four octets. IBA Vol. 1, ch. 9. */
import type { RKey } from './types.ts';

export const BYTES = 4;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const rKey = (view: DataView, at: number): RKey => view.getUint32(at) as RKey;

export const write = (view: DataView, at: number, rKey: RKey): void => view.setUint32(at, rKey);

export interface Fields {
  readonly rKey: RKey;
}

export const read = (view: DataView, at: number): Fields => ({ rKey: rKey(view, at) });
export const writeFields = (view: DataView, at: number, f: Fields): void => write(view, at, f.rKey);
