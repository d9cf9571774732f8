/** Sender of a UD QP: each work request is one datagram to the address handle that it names. SPEC-CHECKLIST §2.5. */
import type { Micros, Psn } from '../wire/types.ts';
import { WcStatus } from './constants.ts';
import { Counter } from './counters.ts';
import { OneWaySender } from './one-way-sender.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { Path } from './path.ts';
import { Put, putDatagram } from './request-packets.ts';
import type { SendWork } from './send-work.ts';

export class UdSender extends OneWaySender {
  protected override packetsOf(work: SendWork): number {
    // the spec would send nothing and say nothing; NICs say this, and so do we.
    if (work.length > this.qp.pathMtuBytes) work.status = WcStatus.LOC_LEN_ERR;
    //
    else if (this.#handle(work)?.pd !== this.qp.pd) work.status = WcStatus.LOC_QP_OP_ERR;
    return 1;
  }

  /** The address handle may have gone since the work request was taken and found no room. */
  protected override put(out: PacketWriter, work: SendWork, _index: number, psn: Psn, now: Micros): number {
    const handle = this.#handle(work);
    if (handle === null) return Put.PROTECTION;
    const { path } = handle;
    const flood = path.copies === undefined ? undefined : this.core.host.flood;
    if (flood?.hasRoom(now) === false) return this.#dropFlood(out, path.local!, work, psn);
    const put = putDatagram(out, this.qp, this.core, path, work, psn);
    if (put <= 0) return put;
    flood?.take(now);
    // Members on this vRNIC get a copy; where there is no room for it, it is a datagram lost.
    if (path.local !== undefined) putDatagram(out, this.qp, this.core, path.local, work, psn);
    return put;
  }

  /** Members on this vRNIC hear what the network does not. */
  #dropFlood(out: PacketWriter, local: Path, work: SendWork, psn: Psn): number {
    const put = putDatagram(out, this.qp, this.core, local, work, psn);
    if (put <= 0) return put;
    this.core.counters.add(Counter.drop_flood_limit);
    return Put.DROPPED;
  }

  #handle(work: SendWork) {
    return this.core.addressHandle(this.qp.context, work.ahNum);
  }
}
