/** One wish for a connection (or a datagram service), and what both sides may hear of it. */
import { CmEventType, PortSpace } from '../../../rnic/cm/commands.ts';
import type { Micros } from '../../../wire/types.ts';
import { Broken } from './broken.ts';

/** Whose private data it is. */
export const Says = { CONNECT: 1, ACCEPT: 2, REJECT: 3 } as const;
type Says = (typeof Says)[keyof typeof Says];

const HEAD_BYTES = 5;

/** Private data that names its attempt. */
export function privateData(attempt: number, says: Says, mostBytes: number): Uint8Array {
  const octets = new Uint8Array(HEAD_BYTES + ((attempt * 13) % (mostBytes - HEAD_BYTES + 1)));
  new DataView(octets.buffer).setUint32(0, attempt);
  octets[4] = says;
  for (let i = HEAD_BYTES; i < octets.length; i++) octets[i] = attempt * 31 + i * says;
  return octets;
}

/** Fields have a fixed length: behind the data come zeros. */
export function checkData(found: Uint8Array, wanted: Uint8Array, what: string): void {
  const isRight = found.length >= wanted.length && found.every((octet, i) => octet === (wanted[i] ?? 0));
  if (!isRight) throw new Broken(`${what}: the private data is not what was said`);
}

export const attemptIn = (octets: Uint8Array): number =>
  new DataView(octets.buffer, octets.byteOffset, octets.byteLength).getUint32(0);

export interface Attempt {
  readonly number: number;
  readonly portSpace: PortSpace;
  readonly startedAt: Micros;
  /** The active side has agreed to a response. */
  isConfirmed: boolean;
  /** The active side has destroyed its id at once, whatever it was told. */
  isGivenUp: boolean;
  /** The passive side's ids, one after the other: a request that comes late, after its id was destroyed, makes another. */
  readonly passives: CmSimId[];
}

const LETTERS: Partial<Record<CmEventType, string>> = {
  [CmEventType.ADDR_RESOLVED]: 'A',
  [CmEventType.ROUTE_RESOLVED]: 'O',
  [CmEventType.CONNECT_REQUEST]: 'Q',
  [CmEventType.CONNECT_RESPONSE]: 'P',
  [CmEventType.ESTABLISHED]: 'E',
  [CmEventType.DISCONNECTED]: 'D',
  [CmEventType.TIMEWAIT_EXIT]: 'T',
  [CmEventType.REJECTED]: 'R',
  [CmEventType.UNREACHABLE]: 'U',
};
/** All that an id may hear, and in which order. */
const STORIES = {
  active: { [PortSpace.TCP]: /^A?O?$|^AO(U|R|P(R|DT?)?)$/, [PortSpace.UDP]: /^A?O?$|^AO[EU]$/ },
  passive: { [PortSpace.TCP]: /^Q(U|R|E?(DT?)?)$/, [PortSpace.UDP]: /^Q$/ },
} as const;

/** An id of either side, as its application knows it. */
export class CmSimId {
  readonly id: number;
  readonly attempt: Attempt;
  readonly side: keyof typeof STORIES;
  /** One letter for each event. */
  story = '';
  isGone = false;
  /** Since when it waits for the peer; Infinity when it does not. */
  waitsSince: Micros = Number.POSITIVE_INFINITY;

  constructor(id: number, attempt: Attempt, side: keyof typeof STORIES) {
    this.id = id;
    this.attempt = attempt;
    this.side = side;
  }

  hears(type: CmEventType): void {
    this.story += LETTERS[type] ?? '?';
    if (!STORIES[this.side][this.attempt.portSpace].test(this.story))
      throw new Broken(`the ${this.side} side of connection ${this.attempt.number} heard ${this.story}`);
    this.waitsSince = Number.POSITIVE_INFINITY;
  }
}
