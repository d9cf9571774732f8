/** Sender of a UC QP: SENDs and WRITEs in segments, none of them acknowledged. */
import * as Opcode from '../wire/opcode.ts';
import type { Psn } from '../wire/types.ts';
import { OneWaySender } from './one-way-sender.ts';
import type { PacketWriter } from './packet-writer.ts';
import { packetsFor, putSegment } from './request-packets.ts';
import type { SendWork } from './send-work.ts';

export class UcSender extends OneWaySender {
  protected override packetsOf(work: SendWork): number {
    return packetsFor(work.length, this.qp.pathMtuBytes);
  }

  protected override put(out: PacketWriter, work: SendWork, index: number, psn: Psn): number {
    return putSegment(out, this.qp, this.core, Opcode.UC, work, index, false, psn);
  }
}
