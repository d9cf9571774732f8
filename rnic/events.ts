/** What applications are yet to be told: completion events of armed CQs, asynchronous events. Bounded per context; told in order. */
import { type EngineEvent, EventKind } from './commands.ts';
import { Counter, type Counters } from './counters.ts';

interface Waiting {
  kind: number;
  context: number;
  code: number;
  handle: number;
  channel: number;
  cookie: bigint;
}

const COMPACT_AT = 1024;

export class Events {
  readonly #counters: Counters;
  readonly #asyncLimit: number;
  /** A queue with a moving head; places are reused once it has run empty. */
  readonly #queue: Waiting[] = [];
  #head = 0;
  #tail = 0;
  readonly #asyncWaiting = new Map<number, number>();

  constructor(counters: Counters, asyncLimit: number) {
    this.#counters = counters;
    this.#asyncLimit = asyncLimit;
  }

  completion(context: number, channel: number, cq: number, cookie: bigint): void {
    this.#put(EventKind.COMPLETION, context, 0, cq, channel, cookie);
  }

  /** False when the context has too many unread: the event is lost, and counted. */
  async(context: number, code: number, handle: number, cookie: bigint): boolean {
    const waiting = this.#asyncWaiting.get(context) ?? 0;
    if (waiting >= this.#asyncLimit) {
      this.#counters.add(Counter.async_events_lost);
      return false;
    }
    this.#asyncWaiting.set(context, waiting + 1);
    this.#put(EventKind.ASYNC, context, code, handle, 0, cookie);
    return true;
  }

  poll(out: EngineEvent): boolean {
    while (this.#head !== this.#tail) {
      const event = this.#queue[this.#head++]!;
      if (this.#head === this.#tail) this.#head = this.#tail = 0;
      if (event.context === -1) continue;
      if (event.kind === EventKind.ASYNC)
        this.#asyncWaiting.set(event.context, this.#asyncWaiting.get(event.context)! - 1);
      out.kind = event.kind;
      out.context = event.context;
      out.code = event.code;
      out.handle = event.handle;
      out.channel = event.channel;
      out.cookie = event.cookie;
      return true;
    }
    return false;
  }

  /** The object is gone: nobody hears of it again. Codes tell a CQ's asynchronous events from a QP's of the same handle. How many were yet to be told. */
  forget(context: number, handle: number, isItsKind: (kind: number, code: number) => boolean): number {
    let forgotten = 0;
    for (let i = this.#head; i < this.#tail; i++) {
      const event = this.#queue[i]!;
      if (event.context !== context || event.handle !== handle || !isItsKind(event.kind, event.code)) continue;
      this.#cancel(event);
      forgotten++;
    }
    return forgotten;
  }

  forgetContext(context: number): void {
    for (let i = this.#head; i < this.#tail; i++)
      if (this.#queue[i]!.context === context) this.#cancel(this.#queue[i]!);
    this.#asyncWaiting.delete(context);
  }

  #cancel(event: Waiting): void {
    if (event.kind === EventKind.ASYNC)
      this.#asyncWaiting.set(event.context, this.#asyncWaiting.get(event.context)! - 1);
    event.context = -1;
  }

  #put(kind: number, context: number, code: number, handle: number, channel: number, cookie: bigint): void {
    if (this.#head > COMPACT_AT) this.#compact();
    let place = this.#queue[this.#tail];
    if (place === undefined) {
      place = { kind, context, code, handle, channel, cookie };
      this.#queue.push(place);
    } else {
      place.kind = kind;
      place.context = context;
      place.code = code;
      place.handle = handle;
      place.channel = channel;
      place.cookie = cookie;
    }
    this.#tail++;
  }

  /** Moves the used places to the end, so that the queue does not grow under a reader that never quite catches up. */
  #compact(): void {
    for (const used of this.#queue.splice(0, this.#head)) this.#queue.push(used);
    this.#tail -= this.#head;
    this.#head = 0;
  }
}
