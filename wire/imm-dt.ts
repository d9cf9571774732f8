/** ImmDt: four octets of immediate data, whose meaning is the application's (verbs keep them in network order). IBA Vol. 1, ch. 9. */
export const BYTES = 4;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
/** The four octets as one big-endian number. */
export const immediate = (view: DataView, at: number): number => view.getUint32(at);

export const write = (view: DataView, at: number, immediate: number): void => view.setUint32(at, immediate);

export interface Fields {
  readonly immediate: number;
}

export const read = (view: DataView, at: number): Fields => ({ immediate: immediate(view, at) });
export const writeFields = (view: DataView, at: number, f: Fields): void => write(view, at, f.immediate);
