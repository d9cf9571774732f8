/** What a program that polls finds when its vRNIC's worker has died: a completion with an error, for polling is memory only, and nothing else would ever end it. */
import { readSync, writeSync } from 'node:fs';
import { WcStatus } from '../../rnic/constants.ts';
import { CONSUMER, Cqe, DATA, PRODUCER } from '../../rnic/queue/layout.ts';

/** A CQ in a queue file. */
export interface CqPlace {
  readonly offset: number;
  /** A power of two. */
  readonly slots: number;
}

/** Puts FATAL_ERR of this QP into the CQ, unless it is full. Nobody else writes it any more; its indices are the program's to spoil. @throws Error of the file. */
export function pushError(queueFd: number, { offset, slots }: CqPlace, qpNum: number): void {
  const mask = slots - 1;
  const header = Buffer.alloc(DATA);
  readSync(queueFd, header, 0, DATA, offset);
  const producer = header.readUInt32LE(PRODUCER) & mask;
  const next = (producer + 1) & mask;
  if (next === (header.readUInt32LE(CONSUMER) & mask)) return;
  const element = Buffer.alloc(Cqe.ELEMENT_BYTES);
  element.writeUInt32LE(WcStatus.FATAL_ERR, Cqe.STATUS);
  element.writeUInt32LE(qpNum, Cqe.QP_NUM);
  const index = Buffer.alloc(4);
  index.writeUInt32LE(next);
  writeSync(queueFd, element, 0, element.length, offset + DATA + producer * Cqe.ELEMENT_BYTES);
  writeSync(queueFd, index, 0, index.length, offset + PRODUCER);
}
