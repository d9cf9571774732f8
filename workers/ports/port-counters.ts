/** The counters of a port, at zero. */
import type { PortCounters } from '../port.ts';

export const newPortCounters = (): PortCounters => ({
  rxFrames: 0,
  rxBytes: 0,
  txFrames: 0,
  txBytes: 0,
  rxCalls: 0,
  txCalls: 0,
  rxDropped: 0,
  txBusy: 0,
  txErrors: 0,
});
