/** The connection management messages by attribute ID. IBA Vol. 1, ch. 12. */
import * as Drep from './drep.ts';
import * as Dreq from './dreq.ts';
import type { Layout, Message } from './layout.ts';
import * as Mra from './mra.ts';
import * as Rej from './rej.ts';
import * as Rep from './rep.ts';
import * as Req from './req.ts';
import * as Rtu from './rtu.ts';
import * as SidrRep from './sidr-rep.ts';
import * as SidrReq from './sidr-req.ts';

export const REQ = 0x10;
export const MRA = 0x11;
export const REJ = 0x12;
export const REP = 0x13;
export const RTU = 0x14;
export const DREQ = 0x15;
export const DREP = 0x16;
export const SIDR_REQ = 0x17;
export const SIDR_REP = 0x18;
/** Alternate paths: named, not spoken. */
export const LAP = 0x19;
export const APR = 0x1a;

const NAMES: Readonly<Record<number, string>> = {
  [REQ]: 'REQ',
  [MRA]: 'MRA',
  [REJ]: 'REJ',
  [REP]: 'REP',
  [RTU]: 'RTU',
  [DREQ]: 'DREQ',
  [DREP]: 'DREP',
  [SIDR_REQ]: 'SIDR_REQ',
  [SIDR_REP]: 'SIDR_REP',
  [LAP]: 'LAP',
  [APR]: 'APR',
};

const MESSAGES: Readonly<Record<number, Message<Layout>>> = {
  [REQ]: Req,
  [MRA]: Mra,
  [REJ]: Rej,
  [REP]: Rep,
  [RTU]: Rtu,
  [DREQ]: Dreq,
  [DREP]: Drep,
  [SIDR_REQ]: SidrReq,
  [SIDR_REP]: SidrRep,
};

export const name = (attributeId: number): string => NAMES[attributeId] ?? `CM_0x${attributeId.toString(16)}`;
/** The message behind an attribute ID, or undefined when it is not spoken here. */
export const of = (attributeId: number): Message<Layout> | undefined => MESSAGES[attributeId];
