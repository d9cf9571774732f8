/** Rates and sizes as people write them and `tc` reads them: `10mbit`, `1.5gbit`, `64kb`. */

const PREFIXES: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const BINARY: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Bits a second: a number, or one with `bit`, `kbit`, `mbit`, `gbit`, `tbit`; `bps`, `kbps`, `mbps` … are octets a second, as with tc. NaN for anything else. */
export function parseRate(text: string): number {
  const found = /^(\d+(?:\.\d+)?)([kmgt]?)(bit|bps)?$/i.exec(text.trim());
  if (!found) return Number.NaN;
  const [, count, prefix = '', unit = 'bit'] = found;
  const factor = PREFIXES[prefix.toLowerCase()]! * (unit.toLowerCase() === 'bps' ? 8 : 1);
  return Math.round(Number(count) * factor);
}

/** Octets: a number, or one with `b`, `kb`, `mb`, `gb` (k, m, g): multiples of 1024, as with tc. NaN for anything else. */
export function parseSize(text: string): number {
  const found = /^(\d+(?:\.\d+)?)([kmg]?)b?$/i.exec(text.trim());
  return found ? Math.round(Number(found[1]) * BINARY[found[2]!.toLowerCase()]!) : Number.NaN;
}

/** The shortest text that means exactly this rate. */
export function rateText(rate: number): string {
  for (const prefix of ['t', 'g', 'm', 'k']) {
    const count = rate / PREFIXES[prefix]!;
    if (count >= 1 && Math.round(count * 1000) / 1000 === count) return `${count}${prefix}bit`;
  }
  return `${rate}bit`;
}
