/** Tells the sender of packets marked Congestion Experienced: one CNP per interval (R-029, DCQCN's N). */
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import type { Micros } from '../wire/types.ts';
import type { Qp } from './core.ts';
import { Counter, type Counters } from './counters.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import { Put } from './request-packets.ts';
import { putCnp } from './response-packets.ts';

const INTERVAL: Micros = 50;
const CONGESTION_EXPERIENCED = 3;

export class Notifier {
  isDue = false;
  #sentAt: Micros = Number.NEGATIVE_INFINITY;

  static isMarked(packet: ReceivedPacket): boolean {
    const { view, ipAt, isIpv6 } = packet;
    return (isIpv6 ? Ipv6.ecn(view, ipAt) : Ipv4.ecn(view, ipAt)) === CONGESTION_EXPERIENCED;
  }

  /** A marked packet came. True when a notification is due. */
  mark(now: Micros): boolean {
    if (now - this.#sentAt >= INTERVAL) this.isDue = true;
    return this.isDue;
  }

  /** Sends it. False when there was no room. */
  put(out: PacketWriter, qp: Qp, counters: Counters, now: Micros): boolean {
    const bytes = putCnp(out, qp);
    if (bytes === Put.FULL) return false;
    this.isDue = false;
    this.#sentAt = now;
    counters.add(Counter.np_cnp_sent);
    counters.add(Counter.sent_pkts);
    counters.add(Counter.sent_bytes, bytes);
    return true;
  }
}
