/** What must become of a frame: it is a QP's, or exactly one counter says why not. Which frames are RoCE at all is worked out here anew, and not asked of the engine. */
import { COUNTER_NAMES, Counter, type CounterName, type Counters } from '../../rnic/counters.ts';

const ETHERNET_BYTES = 14;
const UDP_BYTES = 8;
const ROCE_BYTES_MIN = 16;
const UDP = 17;
const ICMPV6 = 58;
const ROCE_PORT = 4791;
const MULTICAST_QPN = 0xff_ffff;

/** Drops that a packet meets behind a QP's door: it was counted as received before. */
const INSIDE: readonly CounterName[] = [
  'drop_payload_length',
  'drop_duplicate_read',
  'drop_duplicate_atomic',
  'drop_response',
  'drop_uc_sequence',
  'drop_access',
  'drop_recv_too_small',
  'drop_after_nak',
  'drop_rnr_wait',
];
const OUTSIDE = COUNTER_NAMES.filter((name) => name.startsWith('drop_') && !INSIDE.includes(name));
const FATES = [...OUTSIDE, 'rx_icrc_encapsulated' as const, 'rp_cnp_ignored' as const, 'rcvd_pkts' as const].map(
  (name) => Counter[name],
);

export class Ledger {
  readonly #counters: Counters;
  #fates = 0;

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  open(): void {
    this.#fates = this.#sum();
  }

  /** Packets that were given to a QP or dropped since `open`. */
  close(): number {
    return this.#sum() - this.#fates;
  }

  #sum(): number {
    let sum = 0;
    for (const index of FATES) sum += this.#counters.values[index]!;
    return sum;
  }
}

export interface Due {
  readonly least: number;
  readonly most: number;
}

const NONE: Due = { least: 0, most: 0 };
const ONE: Due = { least: 1, most: 1 };

/** How many fates the packets of a frame have together; a datagram for a group has one for each member. */
export function dueFor(frame: Uint8Array, segmentBytes: number, groupMembers: number): Due {
  if (frame.length < ETHERNET_BYTES) return ONE;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const type = view.getUint16(12);
  if (type !== 0x0800 && type !== 0x86dd) return NONE;
  const isIpv6 = type === 0x86dd;
  const udpAt = ETHERNET_BYTES + (isIpv6 ? 40 : 20);
  if (isIpv6 && frame.length > udpAt && frame[20] === ICMPV6) return NONE;
  if (frame.length < udpAt + UDP_BYTES + ROCE_BYTES_MIN) return ONE;
  if (!isIpv6 && (frame[14] !== 0x45 || (view.getUint16(20) & 0x3fff) !== 0)) return ONE;
  const protocol = isIpv6 ? frame[20] : frame[23];
  if (protocol !== UDP || view.getUint16(udpAt + 2) !== ROCE_PORT) return NONE;
  const end = udpAt + view.getUint16(udpAt + 4);
  const ipEnd = isIpv6 ? udpAt + view.getUint16(18) : ETHERNET_BYTES + view.getUint16(16);
  // A length that lies: the frame is dropped whole, however many packets it held.
  if (end !== ipEnd || end > frame.length) return ONE;
  return dueForSegments(view, udpAt + UDP_BYTES, end, segmentBytes === 0 ? frame.length : segmentBytes, groupMembers);
}

function dueForSegments(view: DataView, from: number, end: number, segmentBytes: number, groupMembers: number): Due {
  let least = 0;
  let most = 0;
  for (let at = from; at < end; at += segmentBytes) {
    const isGroups = end - at >= 8 && (view.getUint32(at + 4) & 0xff_ffff) === MULTICAST_QPN;
    least++;
    most += isGroups ? Math.max(1, groupMembers) : 1;
  }
  return { least, most };
}
