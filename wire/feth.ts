/**
 * FETH: what a FLUSH must make visible or lasting, and of how much. IBA Vol. 1, Annex A19.
 *
 *     +---------------------------------------------------+---+-------+
 *   0 |                     reserved (26)                 |SEL|  PLT  |
 *     +---------------------------------------------------+---+-------+
 */
export const BYTES = 4;

/** Placement type bits. */
export const GLOBAL_VISIBILITY = 1;
export const PERSISTENCE = 2;
/** Selectivity levels. */
export const MEMORY_RANGE = 0;
export const MEMORY_REGION = 1;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const placement = (view: DataView, at: number): number => view.getUint8(at + 3) & 0x0f;
export const selectivity = (view: DataView, at: number): number => (view.getUint8(at + 3) >> 4) & 3;

export const write = (view: DataView, at: number, placement: number, selectivity: number): void =>
  view.setUint32(at, ((selectivity & 3) << 4) | (placement & 0x0f));

export interface Fields {
  readonly reserved26: number;
  readonly selectivity: number;
  readonly placement: number;
}

export const read = (view: DataView, at: number): Fields => ({
  reserved26: view.getUint32(at) >>> 6,
  selectivity: selectivity(view, at),
  placement: placement(view, at),
});

export const writeFields = (view: DataView, at: number, f: Fields): void =>
  view.setUint32(at, (f.reserved26 << 6) | (f.selectivity << 4) | f.placement);
