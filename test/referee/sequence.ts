/** 24-bit sequence arithmetic, the referee's own. */
export const after = (psn: number, steps: number): number => (psn + steps) & 0xff_ffff;

/** a - b, in -2^23 … 2^23 - 1. */
export const distance = (a: number, b: number): number => {
  const raw = (a - b) & 0xff_ffff;
  return raw >= 0x80_0000 ? raw - 0x100_0000 : raw;
};
