/** Run inside the virtual machine by bench/vm.ts: urnic between two network namespaces in there; JSON on the standard output. */
import { Lab } from './host.ts';
import { SETTINGS } from './lines.ts';
import { flow, latency, type Verb } from './measure.ts';

const SIZES = [4096, 65_536, 1_048_576];
const SECONDS = 3;
const WARM_UP_SECONDS = 4;
/** What is under way when the time is over takes its time here. */
const MARGIN_SECONDS = 3;
const UNDER_WAY_BYTES = 1 << 20;

const lab = new Lab(9000);
await lab.plug();
await lab.connect({ ...SETTINGS.polled, qps: 1 });
const found: Record<string, number> = {};
for (const verb of ['WRITE', 'READ', 'SEND'] as Verb[]) {
  for (const bytes of SIZES) {
    const depth = Math.max(4, Math.min(128, UNDER_WAY_BYTES / bytes));
    const wanted = { verb, bytes, depth, moderation: Math.max(1, depth / 8), marginSeconds: MARGIN_SECONDS };
    await flow(lab, { ...wanted, seconds: WARM_UP_SECONDS });
    found[`${verb} ${bytes}`] = ((await flow(lab, { ...wanted, seconds: SECONDS })).gigabits * 1000) / 8;
  }
}
await latency(lab, WARM_UP_SECONDS, false);
found['WRITE 64, one way, µs'] = (await latency(lab, SECONDS, false)).p50;
await lab.drop();
await lab.end();
console.log(JSON.stringify(found));
