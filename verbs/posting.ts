/** Posting lists of work requests: stops at the first bad one, which the error names; the ones before it are posted (`bad_wr` of ibv_post_send(3)). */
import { Errno } from '../rnic/commands.ts';
import type { Ring } from '../rnic/queue/ring.ts';
import { VerbsError } from './errors.ts';

export function postAll<Wr>(
  verb: string,
  ring: Ring,
  requests: Wr | readonly Wr[],
  write: (wr: Wr, at: number) => void,
): void {
  const list = Array.isArray(requests) ? (requests as readonly Wr[]) : [requests as Wr];
  let producer = ring.producer();
  for (let i = 0; i < list.length; i++) {
    try {
      if (ring.next(producer) === ring.consumer()) {
        throw new VerbsError(
          verb,
          Errno.ENOMEM,
          `the queue holds ${ring.mask} work requests and is full: poll completions first`,
        );
      }
      write(list[i]!, ring.slotAt(producer));
    } catch (error) {
      if (error instanceof VerbsError) error.badWr = i;
      ring.publishProducer(producer);
      throw error;
    }
    producer = ring.next(producer);
  }
  ring.publishProducer(producer);
}
