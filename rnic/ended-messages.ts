/** Messages that have come whole and wait for their payload to be placed: nobody hears of them before. Of one responder at a time. */
import type { Psn } from '../wire/types.ts';
import { WcOpcode, WcStatus } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import { isLostBefore, putOffBytes, settlePutOff } from './memory/put-off.ts';
import { completeReceive } from './receive-work.ts';

/** What is told of a message, and what is needed to refuse it after all. */
export class EndedMessage {
  /** Of its last packet. */
  psn = 0 as Psn;
  /** MSN before it. */
  msn = 0;
  isSend = false;
  /** It completes a receive WQE; what follows is for the CQE. */
  completes = false;
  wrIdLo = 0;
  wrIdHi = 0;
  byteLen = 0;
  immediate = 0;
  wcFlags = 0;
  solicited = false;
  /** Its octets are before this one of those that were put off. */
  end = 0;
}

/** Whose messages they are. */
export interface Teller {
  /** Its payload is placed. */
  tell(message: EndedMessage): void;
  /** Payload of messages[first] could not be placed: neither that one nor those behind it, up to `count`, have come. */
  refuseEnded(messages: readonly EndedMessage[], first: number, count: number): void;
}

export class EndedMessages {
  readonly #placeRest: () => void;
  readonly #messages: EndedMessage[] = [];
  #count = 0;
  #teller: Teller | null = null;
  /** Whose packets come: QPN, and whether they are requests. */
  #qpn = -1;
  #isRequest = false;

  /** @param placeRest places what was put off. */
  constructor(placeRest: () => void) {
    this.#placeRest = placeRest;
  }

  /** Before each packet: of what came for somebody else nothing waits any more, so that what is lost is lost to one. */
  turnTo(qpn: number, isRequest: boolean): void {
    if (qpn === this.#qpn && isRequest === this.#isRequest) return;
    this.settle();
    this.#qpn = qpn;
    this.#isRequest = isRequest;
  }

  /** The next one, to be filled in. */
  add(teller: Teller): EndedMessage {
    this.#teller = teller;
    const known = this.#messages[this.#count++];
    const message = known ?? new EndedMessage();
    if (known === undefined) this.#messages.push(message);
    message.end = putOffBytes();
    return message;
  }

  /** Places what was put off, and tells of all messages that waited for that, in their order: up to the first one that is lost. */
  settle(): void {
    this.#placeRest();
    const count = this.#count;
    this.#count = 0;
    let told = 0;
    while (told < count && !isLostBefore(this.#messages[told]!.end)) this.#teller!.tell(this.#messages[told++]!);
    settlePutOff(told < count);
    if (told < count) this.#teller!.refuseEnded(this.#messages, told, count);
    this.#teller = null;
  }
}

/** Writes the CQE of the receive WQE that a message has filled, if it has one. */
export function completeEnded(qp: Qp, core: EngineCore, message: EndedMessage, status: WcStatus): void {
  if (!message.completes) return;
  const { wrIdLo, wrIdHi, isSend, byteLen, immediate, wcFlags, solicited } = message;
  if (status === WcStatus.SUCCESS) {
    const opcode = isSend ? WcOpcode.RECV : WcOpcode.RECV_RDMA_WITH_IMM;
    const { destQpn } = qp;
    completeReceive(qp, core, wrIdLo, wrIdHi, status, opcode, byteLen, immediate, destQpn, wcFlags, solicited);
  } else completeReceive(qp, core, wrIdLo, wrIdHi, status, WcOpcode.RECV, 0, 0, 0, 0, false);
}
