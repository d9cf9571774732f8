/** What a program that polls finds when the daemon has ended: a completion with an error, for polling is memory only, and nothing else would ever end it. */
import { readSync, writeSync } from 'node:fs';
import { WcStatus } from '../../rnic/constants.ts';
import { CONSUMER, Cqe, DATA, INDEX_MASK, PRODUCER } from '../../rnic/queue/layout.ts';

/**
 * Puts FATAL_ERR of this QP into the CQ at `offset` of the queue file; into a full one in place of the newest completion. Nobody else writes it any more; what is in its
 * header is the program's to spoil. @throws Error of the file.
 */
export function pushError(queueFd: number, offset: number, qpNum: number): void {
  const header = Buffer.alloc(DATA);
  readSync(queueFd, header, 0, DATA, offset);
  const mask = header.readUInt32LE(INDEX_MASK);
  const consumer = (header.readUInt32LE(CONSUMER) & mask) >>> 0;
  let producer = (header.readUInt32LE(PRODUCER) & mask) >>> 0;
  let next = ((producer + 1) & mask) >>> 0;
  if (next === consumer) {
    next = producer;
    producer = ((producer - 1) & mask) >>> 0;
  }
  const element = Buffer.alloc(Cqe.ELEMENT_BYTES);
  element.writeUInt32LE(WcStatus.FATAL_ERR, Cqe.STATUS);
  element.writeUInt32LE(qpNum, Cqe.QP_NUM);
  const index = Buffer.alloc(4);
  index.writeUInt32LE(next);
  writeSync(queueFd, element, 0, element.length, offset + DATA + producer * Cqe.ELEMENT_BYTES);
  writeSync(queueFd, index, 0, index.length, offset + PRODUCER);
}
