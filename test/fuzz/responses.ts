/** What a peer may answer to the requests of a QP of the fuzzed engine: data, results, acknowledgements and refusals. */
import * as Aeth from '../../wire/aeth.ts';
import * as AtomicAckEth from '../../wire/atomic-ack-eth.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as PsnMath from '../../wire/psn.ts';
import type { OpCode, Psn } from '../../wire/types.ts';
import type { Random } from '../support/sim/random.ts';
import { type Body, EXTENSION_AT, layOut } from './body.ts';
import type { Request, Target } from './target.ts';

const NAKS = [
  Aeth.NAK_INVALID_REQUEST,
  Aeth.NAK_REMOTE_ACCESS_ERROR,
  Aeth.NAK_REMOTE_OPERATIONAL_ERROR,
  Aeth.NAK_INVALID_RD_REQUEST,
];

export class Responses {
  readonly #random: Random;
  #msn = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** To the oldest request mostly. */
  next(target: Target): Body {
    const random = this.#random;
    const { requests } = target;
    if (requests.length === 0) return this.#acknowledge(target, random.bits() as Psn, Aeth.ackSyndrome(31));
    const request = random.chance(0.8) ? requests[0]! : random.pick(requests);
    const kind = random.fraction();
    if (kind < 0.04) return this.#acknowledge(target, request.psn, Aeth.NAK_PSN_SEQUENCE_ERROR);
    if (kind < 0.08) return this.#acknowledge(target, request.psn, Aeth.rnrNakSyndrome(random.below(32)));
    if (kind < 0.09) return this.#acknowledge(target, request.psn, random.pick(NAKS));
    return this.#answer(target, request);
  }

  #answer(target: Target, request: Request): Body {
    const flags = Opcode.flags(request.opcode);
    if ((flags & Opcode.IS_READ) !== 0) return this.#readResponse(target, request);
    this.#settle(target, request);
    if ((flags & Opcode.IS_ATOMIC) !== 0) return this.#result(target, request);
    const isEmpty = (flags & (Opcode.IS_ATOMIC_WRITE | Opcode.IS_FLUSH)) !== 0;
    if (isEmpty) return this.#withAeth(target, Opcode.RC_RDMA_READ_RESPONSE_ONLY, request.psn, 0);
    return this.#acknowledge(target, request.psn, Aeth.ackSyndrome(this.#random.below(32)));
  }

  #readResponse(target: Target, request: Request): Body {
    const random = this.#random;
    const index = random.chance(0.95) ? request.given : random.below(request.packets);
    const isLast = index === request.packets - 1;
    const mtu = target.mtuBytes;
    const bytes = isLast ? request.bytes - index * mtu : mtu;
    request.given = index + 1;
    if (isLast) this.#settle(target, request);
    const psn = PsnMath.add(request.psn, index);
    if (request.packets === 1) return this.#withAeth(target, Opcode.RC_RDMA_READ_RESPONSE_ONLY, psn, bytes);
    if (index === 0) return this.#withAeth(target, Opcode.RC_RDMA_READ_RESPONSE_FIRST, psn, bytes);
    if (isLast) return this.#withAeth(target, Opcode.RC_RDMA_READ_RESPONSE_LAST, psn, bytes);
    return layOut(Opcode.RC_RDMA_READ_RESPONSE_MIDDLE, target.qp.qpn, psn, false, bytes, random);
  }

  #result(target: Target, { psn }: Request): Body {
    const body = this.#withAeth(target, Opcode.RC_ATOMIC_ACKNOWLEDGE, psn, 0);
    AtomicAckEth.write(body.view, EXTENSION_AT + Aeth.BYTES, this.#random.bits(), this.#random.bits());
    return body;
  }

  #withAeth(target: Target, opcode: OpCode, psn: Psn, payloadBytes: number): Body {
    const body = layOut(opcode, target.qp.qpn, psn, false, payloadBytes, this.#random);
    this.#msn = (this.#msn + 1) & PsnMath.MASK;
    Aeth.write(body.view, EXTENSION_AT, Aeth.ackSyndrome(31), this.#msn);
    return body;
  }

  #acknowledge(target: Target, psn: Psn, syndrome: number): Body {
    const body = this.#withAeth(target, Opcode.RC_ACKNOWLEDGE, PsnMath.add(psn, 0), 0);
    Aeth.write(body.view, EXTENSION_AT, syndrome, this.#msn);
    return body;
  }

  /** It and those before it are done with; sometimes they are answered again. */
  #settle(target: Target, request: Request): void {
    if (this.#random.chance(0.1)) return;
    target.requests.splice(0, target.requests.indexOf(request) + 1);
  }
}
