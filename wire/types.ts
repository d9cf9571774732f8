/** The numbers of the protocol, branded so that one cannot be given for another. */

type Brand<Name extends string> = number & { readonly __brand: Name };

/** 24-bit packet sequence number. */
export type Psn = Brand<'Psn'>;
/** 24-bit queue pair number. */
export type Qpn = Brand<'Qpn'>;
/** The BTH's OpCode octet. */
export type OpCode = Brand<'OpCode'>;
/** What an OpCode means: bits of opcode.ts. */
export type OpFlags = Brand<'OpFlags'>;
/** The top three bits of an OpCode. */
export type Transport = Brand<'Transport'>;
/** 32-bit remote key. */
export type RKey = Brand<'RKey'>;
/** 32-bit local key. */
export type LKey = Brand<'LKey'>;
/** 32-bit queue key. */
export type QKey = Brand<'QKey'>;
/** 16-bit partition key. */
export type PKey = Brand<'PKey'>;
/** Microseconds of a monotonic clock, a double. Deadlines and durations too. */
export type Micros = number;

const MASK_24 = 0xff_ffff;

export const psn = (value: number): Psn => (value & MASK_24) as Psn;
export const qpn = (value: number): Qpn => (value & MASK_24) as Qpn;
export const opCode = (value: number): OpCode => (value & 0xff) as OpCode;
export const rKey = (value: number): RKey => (value >>> 0) as RKey;
export const lKey = (value: number): LKey => (value >>> 0) as LKey;
export const qKey = (value: number): QKey => (value >>> 0) as QKey;
export const pKey = (value: number): PKey => (value & 0xffff) as PKey;
