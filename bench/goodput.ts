/**
 * Goodput against random loss: nftables drops packets as they leave, at both ends (a packet socket reads before rules for what comes in). The wire
 * carries single packets, so that each is lost for itself.
 */
import type { Lab } from './host.ts';
import { SETTINGS } from './lines.ts';
import { flow } from './measure.ts';

export interface Goodput {
  readonly series: string;
  readonly lossPercent: number;
  readonly gigabits: number;
}

const LOSSES = [0, 0.1, 1, 5, 10];
const SECONDS = 2;
const PER_MILLE = 1000;

function lose(lab: Lab, percent: number): void {
  const share = Math.round((percent * PER_MILLE) / 100);
  for (const host of [lab.a, lab.b]) {
    host.run('nft', 'flush chain netdev bench loss');
    if (share > 0) {
      host.run('nft', `add rule netdev bench loss udp dport 4791 numgen random mod ${PER_MILLE} < ${share} drop`);
    }
  }
}

export async function goodput(lab: Lab): Promise<Goodput[]> {
  await lab.connect({ ...SETTINGS.polled, qps: 1, superFrames: false });
  for (const host of [lab.a, lab.b]) {
    host.run('nft', 'add table netdev bench');
    host.run('nft', 'add chain netdev bench loss { type filter hook egress device eth0 priority 0; }');
  }
  const found: Goodput[] = [];
  await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: SECONDS });
  for (const lossPercent of LOSSES) {
    lose(lab, lossPercent);
    const { gigabits } = await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: SECONDS });
    found.push({ series: 'urnic, path MTU 4096', lossPercent, gigabits });
  }
  await lab.drop();
  const [{ gigabits: whole }] = found as [Goodput];
  for (const { lossPercent, gigabits } of found) {
    console.log(
      `goodput at ${lossPercent} % loss: ${gigabits.toFixed(2)} Gb/s, ${((gigabits / whole) * 100).toFixed(0)} %`,
    );
  }
  return found;
}
