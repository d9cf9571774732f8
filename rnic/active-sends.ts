/** What an RC sender has while it works: made when the first work request comes; an idle QP has none of it. */
import type { Psn } from '../wire/types.ts';
import { CongestionWindow } from './congestion.ts';
import { Recovery } from './recovery.ts';
import { Repair } from './repair.ts';
import { SendWindow } from './send-window.ts';

export class ActiveSends {
  readonly window: SendWindow;
  readonly recovery = new Recovery();
  readonly congestion = new CongestionWindow();
  readonly repair = new Repair();

  constructor(psn: Psn, mtu: number) {
    this.window = new SendWindow(psn, mtu);
  }
}
