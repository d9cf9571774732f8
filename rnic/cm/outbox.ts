/** Management datagrams that leave by QP1: each waits here for its path and for room in a burst. */
import * as Bth from '../../wire/bth.ts';
import * as Deth from '../../wire/deth.ts';
import { GSI_Q_KEY, MAD_BYTES } from '../../wire/mad.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { Micros, PKey, Psn, QKey, Qpn } from '../../wire/types.ts';
import type { Refusal } from '../commands.ts';
import { Counter, type Counters } from '../counters.ts';
import type { PacketWriter } from '../packet-writer.ts';
import type { AddressVector, Path } from '../path.ts';

export type Resolve = (
  av: AddressVector,
  localQpn: number,
  remoteQpn: number,
  now: Micros,
) => { path: Path } | Refusal | null;

interface Letter {
  readonly mad: Uint8Array;
  readonly av: AddressVector;
}

const GSI_QPN = 1 as Qpn;
const DEFAULT_PKEY = 0xffff as PKey;
const HEADER_BYTES = Bth.BYTES + Deth.BYTES;
/** More are dropped: their senders repeat them. */
const LETTERS_MAX = 4096;

export class Outbox {
  readonly #letters: Letter[] = [];
  readonly #resolve: Resolve;
  readonly #counters: Counters;
  #psn = 0;

  constructor(resolve: Resolve, counters: Counters) {
    this.#resolve = resolve;
    this.#counters = counters;
  }

  post(mad: Uint8Array, av: AddressVector): void {
    if (this.#letters.length < LETTERS_MAX) this.#letters.push({ mad, av });
    else this.#counters.add(Counter.cm_send_lost);
  }

  /** True when some wait for room. Those whose neighbour is not known yet stay for the next time. */
  pollTransmit(out: PacketWriter, now: Micros): boolean {
    if (this.#letters.length === 0) return false;
    const waiting = this.#letters.splice(0);
    for (const [i, letter] of waiting.entries()) {
      const found = this.#resolve(letter.av, GSI_QPN, GSI_QPN, now);
      if (found === null) this.#letters.push(letter);
      else if ('ok' in found) this.#counters.add(Counter.cm_send_lost);
      else if (!this.#put(out, found.path, letter.mad)) {
        this.#letters.push(...waiting.slice(i));
        return true;
      }
    }
    return false;
  }

  #put(out: PacketWriter, path: Path, mad: Uint8Array): boolean {
    if (!out.begin(path, HEADER_BYTES, MAD_BYTES)) return false;
    const { view, bthAt } = out;
    const psn = this.#psn as Psn;
    Bth.write(view, bthAt, Opcode.UD_SEND_ONLY, Bth.MIG_REQ, DEFAULT_PKEY, GSI_QPN, false, psn);
    Deth.write(view, bthAt + Bth.BYTES, GSI_Q_KEY as QKey, GSI_QPN);
    out.putBytes(mad, 0, MAD_BYTES);
    const bytes = out.end();
    this.#psn = (this.#psn + 1) & 0xff_ffff;
    this.#counters.add(Counter.sent_pkts);
    this.#counters.add(Counter.sent_bytes, bytes);
    this.#counters.add(Counter.cm_tx_msgs);
    return true;
  }
}
