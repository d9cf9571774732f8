/** One QP of the fuzzed engine as its peer sees it: what it expects next, and what of its requests is not answered. */
import { QpState, type QpType } from '../../rnic/constants.ts';
import type { Path } from '../../rnic/path.ts';
import * as Aeth from '../../wire/aeth.ts';
import * as Bth from '../../wire/bth.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as PsnMath from '../../wire/psn.ts';
import * as Reth from '../../wire/reth.ts';
import type { OpCode, OpFlags, Psn } from '../../wire/types.ts';
import { OURS, type TestQp, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';

/** A request of ours, and how many of its responses were given. */
export interface Request {
  readonly psn: Psn;
  readonly opcode: OpCode;
  readonly packets: number;
  /** Octets that a READ asks for. */
  readonly bytes: number;
  given: number;
}

export interface Home {
  readonly type: QpType;
  /** The state that it is brought back to. */
  readonly state: QpState;
  readonly isIpv6: boolean;
  /** `enum ibv_mtu`. */
  readonly mtu: number;
  readonly access: number;
  readonly usesSrq: boolean;
}

/** Where a target stands in the stream of requests to it. */
export interface Position {
  readonly expected: Psn;
  readonly inside: number;
  readonly left: number;
}

const REQUESTS_MAX = 24;

export class Target {
  readonly qp: TestQp;
  readonly home: Home;
  /** The QP that it believes to be connected with: no other has the number. */
  readonly peerQpn: number;
  readonly out: Path;
  readonly in: Path;
  expected = 0 as Psn;
  /** IS_SEND or IS_WRITE inside a message, whose octets so many are to come. */
  inside = 0;
  left = 0;
  readonly requests: Request[] = [];

  constructor(qp: TestQp, home: Home, peerQpn: number) {
    this.qp = qp;
    this.home = home;
    this.peerQpn = peerQpn;
    this.out = pathBetween(OURS, THEIRS, { isIpv6: home.isIpv6 });
    this.in = pathBetween(THEIRS, OURS, { isIpv6: home.isIpv6 });
  }

  get mtuBytes(): number {
    return 128 << this.home.mtu;
  }

  get sends(): boolean {
    return this.home.state === QpState.RTS || this.home.state === QpState.SQD;
  }

  /** It begins anew. */
  forget(expected: Psn): void {
    this.expected = expected;
    this.inside = 0;
    this.left = 0;
    this.requests.length = 0;
  }

  /** What it expects, to be given back by `restore`. */
  get position(): Position {
    const { expected, inside, left } = this;
    return { expected, inside, left };
  }

  /** A packet for it was spoilt: it hardly takes it. If it does, what comes next is old to it, and its answer says so. */
  restore({ expected, inside, left }: Position): void {
    this.expected = expected;
    this.inside = inside;
    this.left = left;
  }

  /** A packet that it sent. */
  saw(view: DataView, bthAt: number): void {
    const opcode = Bth.opcode(view, bthAt);
    const flags = Opcode.flags(opcode);
    const psn = Bth.psn(view, bthAt);
    if ((flags & Opcode.IS_REQUEST) !== 0) this.#sawRequest(view, bthAt, opcode, flags, psn);
    else if ((flags & Opcode.IS_ACK) !== 0) this.#sawAcknowledge(Aeth.syndrome(view, bthAt + Bth.BYTES), psn);
    else if ((flags & Opcode.IS_RESPONSE) !== 0) this.#executed(psn);
  }

  #sawRequest(view: DataView, bthAt: number, opcode: OpCode, flags: OpFlags, psn: Psn): void {
    if (this.requests.some((request) => request.psn === psn)) return;
    const isRead = (flags & Opcode.IS_READ) !== 0;
    const bytes = isRead ? Reth.length(view, bthAt + Bth.BYTES) : 0;
    this.requests.push({ psn, opcode, packets: Math.max(1, Math.ceil(bytes / this.mtuBytes)), bytes, given: 0 });
    if (this.requests.length > REQUESTS_MAX) this.requests.shift();
  }

  #sawAcknowledge(syndrome: number, psn: Psn): void {
    if (Aeth.isAck(syndrome)) this.#executed(psn);
    else {
      this.expected = psn;
      this.inside = 0;
    }
  }

  #executed(psn: Psn): void {
    if (PsnMath.difference(psn, this.expected) >= 0) this.expected = PsnMath.next(psn);
  }
}
