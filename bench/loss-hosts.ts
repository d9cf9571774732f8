/** Goodput under loss between two hosts of this machine: urnic with polled devices, and one TCP stream beside it. */
import type { LossyWire } from '../test/support/lossy-wire.ts';
import { Lab } from './host.ts';
import { type Goodput, series } from './loss-rows.ts';
import { flow, latency, type Verb } from './measure.ts';
import { iperf3 } from './peers.ts';

const BYTES = 65_536;
const SECONDS = 0.7;
const TCP_SECONDS = 2;
const ROUNDS = 3;
const UNDER_WAY = 16;
/** What is under way when the time is over may be lost, too. */
const MARGIN_SECONDS = 0.5;
const VERBS: readonly Verb[] = ['WRITE', 'READ', 'SEND'];

export async function betweenHosts(wire: LossyWire, which: ReadonlySet<string>): Promise<Goodput[]> {
  const lab = new Lab(9000);
  try {
    await lab.plugEnds(await wire.plug('left'), await wire.plug('right'));
    await lab.connect({ mode: 'polled', spin: 0, qps: 1, depth: UNDER_WAY });
    const rows: Goodput[] = [];
    const measure = async (verb: Verb): Promise<number> => {
      const wanted = { verb, bytes: BYTES, seconds: SECONDS, depth: UNDER_WAY, moderation: 1, slots: UNDER_WAY };
      return (await flow(lab, { ...wanted, marginSeconds: MARGIN_SECONDS })).gigabits;
    };
    if (which.has('urnic')) {
      for (const verb of VERBS) await measure(verb);
      console.log(`urnic, 64 octets, one way: ${(await latency(lab, 1, false)).p50.toFixed(1)} µs`);
      for (const verb of VERBS)
        rows.push(...(await series(`urnic ${verb}`, { wire, rounds: ROUNDS }, () => measure(verb))));
    }
    if (which.has('tcp'))
      rows.push(
        ...(await series(
          'TCP',
          { wire, rounds: ROUNDS },
          async () => (await iperf3(lab, TCP_SECONDS)) ?? 'not installed',
        )),
      );
    await lab.drop();
    return rows;
  } finally {
    await lab.end();
  }
}
