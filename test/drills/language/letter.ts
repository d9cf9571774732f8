/** Messages of connection management as drills write them: `{ message: 'REP', localCommId: 7 }`. What is not said is zero, or, expected, may be anything. */
import * as Messages from '../../../wire/cm/messages.ts';
import type { LayerFields } from '../../../wire/decode.ts';
import * as Mad from '../../../wire/mad.ts';

const ATTRIBUTES = {
  REQ: Messages.REQ,
  MRA: Messages.MRA,
  REJ: Messages.REJ,
  REP: Messages.REP,
  RTU: Messages.RTU,
  DREQ: Messages.DREQ,
  DREP: Messages.DREP,
  SIDR_REQ: Messages.SIDR_REQ,
  SIDR_REP: Messages.SIDR_REP,
} as const;

export interface Letter {
  readonly message: keyof typeof ATTRIBUTES;
  readonly transaction?: bigint;
  /** The fields of the message, as wire/cm names them. */
  readonly [field: string]: number | bigint | string | Uint8Array | undefined;
}

/** The 256 octets. */
export function madOf({ message, transaction = 1n, ...fields }: Letter): Uint8Array {
  const octets = new Uint8Array(Mad.MAD_BYTES);
  const view = new DataView(octets.buffer);
  const attributeId = ATTRIBUTES[message];
  const layout = Messages.of(attributeId)!;
  const zeroes = layout.read(view, Mad.BYTES);
  Mad.writeCm(view, 0, attributeId, Number(transaction >> 32n), Number(transaction & 0xffff_ffffn));
  layout.write(view, Mad.BYTES, { ...zeroes, ...(fields as typeof zeroes) });
  return octets;
}

export function letterOf(mad: LayerFields['mad'] | undefined, cm: LayerFields['cm'] | undefined): Letter | undefined {
  if (mad === undefined || cm === undefined) return undefined;
  const transaction = (BigInt(mad.transactionIdHi >>> 0) << 32n) | BigInt(mad.transactionIdLo >>> 0);
  return { message: Messages.name(cm.attributeId) as Letter['message'], transaction, ...cm.message };
}
