/** What a simulation runs: connections or datagrams between two hosts, with the work that they do and a model of it. */
import type { End, JudgedConnection } from '../../referee/referee.ts';

export interface Scenario {
  /** All work is done, or has failed where it may. */
  readonly isDone: boolean;
  /** How far it is, in words. */
  readonly state: string;
  readonly completions: number;
  /** Work requests that ended with an error. */
  readonly errors: number;
  /** For the referee. */
  readonly connections: readonly JudgedConnection[];
  /** UD QPs whose datagrams it may see. */
  readonly senders: readonly End[];
  /** What applications do now and then: poll, look, post. */
  act(): void;
  /** Checks all that was promised, when nothing is under way any more. */
  finish(): void;
}

/** The low 32 bits of the hosts' addresses. */
export const A = 0x0a00_0001;
export const B = 0x0a00_0002;

/** An address as the referee writes it. */
export const addressName = (host: number, isIpv6: boolean): string =>
  isIpv6 ? `fd${'0'.repeat(22)}${host.toString(16).padStart(8, '0')}` : `10.0.0.${host & 0xff}`;
