/** Names in drills for the numbers of the wire and of libibverbs. */
import { AsyncEvent, QpState, WcOpcode, WcStatus } from '../../../rnic/constants.ts';
import * as Aeth from '../../../wire/aeth.ts';
import * as Opcode from '../../../wire/opcode.ts';
import type { OpCode } from '../../../wire/types.ts';

export type StateName = keyof typeof QpState;
export type StatusName = keyof typeof WcStatus;
export type CompletionName = keyof typeof WcOpcode;
export type EventName = keyof typeof AsyncEvent;

const nameIn = <Name extends string>(table: Record<Name, number>, value: number): Name =>
  (Object.keys(table) as Name[]).find((name) => table[name] === value) ?? (`${value}` as Name);

export const stateName = (value: number): StateName => nameIn(QpState, value);
export const statusName = (value: number): StatusName => nameIn(WcStatus, value);
export const completionName = (value: number): CompletionName => nameIn(WcOpcode, value);
export const eventName = (value: number): EventName => nameIn(AsyncEvent, value);

const OPCODES = new Map<string, OpCode>();
for (let value = 0; value < 256; value++) {
  const opcode = value as OpCode;
  if (Opcode.flags(opcode) !== 0) OPCODES.set(Opcode.name(opcode), opcode);
}

/** `SEND_ONLY` is `RC_SEND_ONLY` to an RC QP; a full name says which. @throws Error for a name that is none. */
export function opcodeOf(name: string | number, transport: string): OpCode {
  if (typeof name === 'number') return name as OpCode;
  const opcode = OPCODES.get(name) ?? OPCODES.get(`${transport}_${name}`);
  if (opcode === undefined) throw new Error(`there is no opcode ${name}`);
  return opcode;
}

/** The name without its transport. */
export const opcodeName = (opcode: OpCode): string => Opcode.name(opcode).replace(/^(RC|UC|UD|XRC)_/, '');

export const NAKS = {
  PSN_SEQUENCE_ERROR: Aeth.NAK_PSN_SEQUENCE_ERROR,
  INVALID_REQUEST: Aeth.NAK_INVALID_REQUEST,
  REMOTE_ACCESS_ERROR: Aeth.NAK_REMOTE_ACCESS_ERROR,
  REMOTE_OPERATIONAL_ERROR: Aeth.NAK_REMOTE_OPERATIONAL_ERROR,
  INVALID_RD_REQUEST: Aeth.NAK_INVALID_RD_REQUEST,
} as const;
export type NakName = keyof typeof NAKS;
export type SyndromeName = 'ACK' | 'RNR_NAK' | NakName;

/** The syndrome octet of an AETH as words: credits of an ACK, timer code of an RNR NAK. Reserved ones stay numbers. */
export function syndromeFields(value: number): { syndrome: SyndromeName | number; credits?: number; timer?: number } {
  if (Aeth.isAck(value)) return { syndrome: 'ACK', credits: Aeth.code(value) };
  if (Aeth.isRnrNak(value)) return { syndrome: 'RNR_NAK', timer: Aeth.code(value) };
  const name = (Object.keys(NAKS) as NakName[]).find((nak) => NAKS[nak] === value);
  return { syndrome: name ?? value };
}

export function syndromeOf(syndrome: SyndromeName | number, credits: number, timer: number): number {
  if (typeof syndrome === 'number') return syndrome;
  if (syndrome === 'ACK') return Aeth.ackSyndrome(credits);
  return syndrome === 'RNR_NAK' ? Aeth.rnrNakSyndrome(timer) : NAKS[syndrome];
}
