/** What a copy between two arenas costs, made natively by address and made by `set(subarray)`. `node dist/bench/copy.js`. */
import { registerArena } from '../wire/arena.ts';
import { copy } from '../wire/copy.ts';

const ARENA_BYTES = 1 << 20;
const CALLS = 300_000;

const [source, target] = [
  new Uint8Array(new SharedArrayBuffer(ARENA_BYTES)),
  new Uint8Array(new SharedArrayBuffer(ARENA_BYTES)),
];
registerArena(source);
registerArena(target);
const bySet = (from: number, at: number, length: number): void => target.set(source.subarray(from, from + length), at);
const byAddress = (from: number, at: number, length: number): void => copy(source, from, target, at, length);

for (const length of [16, 64, 256, 1024, 4096]) {
  for (const [name, step] of Object.entries({ byAddress, bySet })) {
    let nanos = 0;
    for (let round = 0; round < 2; round++) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < CALLS; i++) step((i & 127) * 4096, ((i * 7) & 127) * 4096, length);
      nanos = Number(process.hrtime.bigint() - start) / CALLS;
    }
    console.log(`${String(length).padStart(5)} B  ${name.padEnd(10)} ${nanos.toFixed(0)} ns`);
  }
}
