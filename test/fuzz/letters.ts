/** Connection management messages that the fuzzed engine should take: requests for its listeners, and answers to what it has sent. */
import * as IpPrivateData from '../../wire/cm/ip-private-data.ts';
import * as Messages from '../../wire/cm/messages.ts';
import * as Deth from '../../wire/deth.ts';
import * as Mad from '../../wire/mad.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { Psn, QKey, Qpn } from '../../wire/types.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import type { Random } from '../support/sim/random.ts';
import { type Body, EXTENSION_AT, layOut } from './body.ts';

export const LISTEN_PORT = 7471;
export const MAD_AT = EXTENSION_AT + Deth.BYTES;
const GSI_QPN = 1;
const GSI = GSI_QPN as Qpn;
const LETTERS_MAX = 16;
const TYPES = [
  Messages.REQ,
  Messages.REP,
  Messages.RTU,
  Messages.REJ,
  Messages.MRA,
  Messages.DREQ,
  Messages.DREP,
  Messages.SIDR_REQ,
  Messages.SIDR_REP,
];
/** What is likely to be wanted next by who has sent this. */
const ANSWERS: Readonly<Record<number, readonly number[]>> = {
  [Messages.REQ]: [Messages.REP, Messages.REP, Messages.MRA, Messages.REJ],
  [Messages.REP]: [Messages.RTU, Messages.RTU, Messages.RTU, Messages.MRA, Messages.REJ, Messages.DREQ],
  [Messages.RTU]: [Messages.DREQ],
  [Messages.DREQ]: [Messages.DREP, Messages.DREQ],
  [Messages.SIDR_REQ]: [Messages.SIDR_REP],
};

interface Letter {
  readonly attributeId: number;
  readonly idHi: number;
  readonly idLo: number;
  /** The engine's name of the connection, and its peer's. */
  readonly ours: number;
  readonly theirs: number;
}

export class Letters {
  readonly #random: Random;
  readonly #letters: Letter[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** A datagram that the engine sent to QP 1. */
  saw(view: DataView, madAt: number): void {
    const attributeId = Mad.attributeId(view, madAt);
    const at = madAt + Mad.BYTES;
    const [ours, theirs] = [view.getUint32(at), view.getUint32(at + 4)];
    const letter = { attributeId, idHi: Mad.transactionIdHi(view, madAt), idLo: Mad.transactionIdLo(view, madAt) };
    this.#letters.push({ ...letter, ours, theirs });
    if (this.#letters.length > LETTERS_MAX) this.#letters.shift();
  }

  next(): Body {
    const random = this.#random;
    if (this.#letters.length === 0 || random.chance(0.3)) return this.#request();
    const letter = random.chance(0.7) ? this.#letters.at(-1)! : random.pick(this.#letters);
    const answers = ANSWERS[letter.attributeId];
    const attributeId = answers !== undefined && random.chance(0.9) ? random.pick(answers) : random.pick(TYPES);
    return this.#letter(attributeId, letter);
  }

  #request(): Body {
    const random = this.#random;
    const attributeId = random.chance(0.7) ? Messages.REQ : Messages.SIDR_REQ;
    const theirs = random.chance(0.2) ? random.below(8) : random.bits();
    return this.#letter(attributeId, { attributeId, idHi: random.bits(), idLo: random.bits(), ours: 0, theirs });
  }

  #letter(attributeId: number, { idHi, idLo, ours, theirs }: Letter): Body {
    const random = this.#random;
    const body = layOut(Opcode.UD_SEND_ONLY, GSI_QPN, 0 as Psn, false, Mad.MAD_BYTES, random);
    Deth.write(body.view, EXTENSION_AT, Mad.GSI_Q_KEY as QKey, GSI);
    Mad.writeCm(body.view, MAD_AT, attributeId, idHi, idLo);
    const message = Messages.of(attributeId)!;
    const blank = message.read(new DataView(new ArrayBuffer(256)), 0);
    const fields = { ...this.#fields(attributeId), localCommId: theirs || random.bits(), remoteCommId: ours };
    const known = Object.fromEntries(Object.entries({ ...fields, requestId: ours }).filter(([name]) => name in blank));
    message.write(body.view, MAD_AT + Mad.BYTES, { ...blank, ...known });
    return body;
  }

  #fields(attributeId: number): Record<string, number | Uint8Array> {
    const random = this.#random;
    const space = attributeId === Messages.SIDR_REQ ? IpPrivateData.PORT_SPACE_UDP : IpPrivateData.PORT_SPACE_TCP;
    const isRequest = attributeId === Messages.REQ || attributeId === Messages.SIDR_REQ;
    return {
      serviceIdHi: IpPrivateData.SERVICE_ID_HI,
      serviceIdLo: IpPrivateData.serviceIdLo(space, LISTEN_PORT),
      localQpn: random.below(2 ** 24),
      startingPsn: random.below(2 ** 24),
      pathMtu: 1 + random.below(5),
      transportServiceType: random.below(2),
      responderResources: random.below(8),
      initiatorDepth: random.below(8),
      retryCount: random.below(8),
      rnrRetryCount: random.below(8),
      serviceTimeout: random.below(32),
      reason: random.below(32),
      messageRejected: random.below(3),
      messageMraed: random.below(3),
      status: random.below(3),
      qpn: random.below(2 ** 24),
      qKey: random.bits(),
      ...(isRequest && { privateData: addresses(random.chance(0.1)) }),
    };
  }
}

/** What rdma_cm puts first. */
function addresses(isIpv6: boolean): Uint8Array {
  const octets = new Uint8Array(IpPrivateData.BYTES + 8);
  const end = (address: number): Uint8Array => {
    const gid = new Uint8Array(16);
    new DataView(gid.buffer).setUint32(12, address);
    return gid;
  };
  IpPrivateData.writeFields(new DataView(octets.buffer), 0, {
    majorVersion: 0,
    minorVersion: 0,
    ipVersion: isIpv6 ? 6 : 4,
    reserved4: 0,
    sourcePort: 40_000,
    source: end(THEIRS),
    destination: end(OURS),
  });
  return octets;
}
