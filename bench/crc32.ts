/**
 * What a CRC-32 costs by each library: `node dist/bench/crc32.js`. The memory is a shared arena of 64 MiB, each call at another
 * offset of it, so what a library needs per call (a view, a pointer) is counted. Figures: docs/adr/0004-icrc-library.md.
 */
import os from 'node:os';
import { registerArena } from '../wire/arena.ts';
import { BACKENDS, type Crc32 } from '../wire/crc32-backends.ts';
import * as Icrc from '../wire/icrc.ts';

const ARENA_BYTES = 64 << 20;
const SLOTS = 4096;
const SIZES = [16, 32, 64, 128, 256, 1024, 4096];
const ROUNDS = 7;

const arena = new Uint8Array(new SharedArrayBuffer(ARENA_BYTES));
for (let i = 0; i < ARENA_BYTES; i += 61) arena[i] = i;
const view = new DataView(arena.buffer);

/** The least nanoseconds a call of several rounds: noise only adds. */
function measure(calls: number, call: (i: number) => number): number {
  let best = Infinity;
  let sink = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) sink ^= call(i);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / calls);
  }
  if (sink === 1) console.log('');
  return best;
}

const slotAt = (i: number): number => (i % SLOTS) * 256 + 14;

function row(crc32: Crc32): Record<string, string> {
  const cells: Record<string, string> = {};
  for (const bytes of SIZES) {
    const calls = Math.max(2000, Math.floor(20_000_000 / (bytes + 200)));
    const nanos = measure(calls, (i) => crc32(arena, slotAt(i), slotAt(i) + bytes, i));
    cells[`${bytes} B`] = nanos.toFixed(0);
  }
  return cells;
}

const rows: Record<string, Record<string, string>> = {};
for (const { name, load } of BACKENDS)
  try {
    const crc32 = load();
    registerArena(arena);
    rows[name] = row(crc32);
  } catch (error) {
    console.log(`${name}: ${(error as Error).message}`);
  }
console.log(`ns a call, node ${process.version}, ${os.cpus()[0]?.model}, ${new Date().toISOString().slice(0, 10)}`);
console.table(rows);

const header = (isIpv6: boolean, ipBytes: number): string => {
  const crc = (i: number): number =>
    Icrc.headerCrc(view, slotAt(i), isIpv6, slotAt(i) + ipBytes, slotAt(i) + ipBytes + 8, i & 0xffff, 1000, 980);
  return measure(100_000, crc).toFixed(0);
};
console.log(`masked headers: IPv4 ${header(false, 20)} ns, IPv6 ${header(true, 40)} ns`);
