/** A port that is opened when it is first needed: most vRNICs of tenants never translate, and an AF_PACKET socket costs every packet of its interface. */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import type { Port, PortCounters } from '../port.ts';
import { newPortCounters } from '../ports/port-counters.ts';

export class DeferredPort implements Port {
  readonly name: string;
  readonly link = 'ethernet';
  readonly mtu: number;
  readonly #make: () => Port;
  readonly #nothing = newPortCounters();
  #port: Port | null = null;
  #isClosed = false;

  /** @param make opens a port of link `ethernet`. */
  constructor(name: string, mtu: number, make: () => Port) {
    this.name = name;
    this.mtu = mtu;
    this.#make = make;
  }

  /** Idempotent. @throws what opening throws: no CAP_NET_RAW, interface gone. */
  open(): void {
    if (!this.#isClosed) this.#port ??= this.#make();
  }

  /** Of the open port. */
  get framing(): Framing {
    return this.#port?.framing ?? Framing.SINGLE;
  }

  get fileDescriptor(): number {
    return this.#port?.fileDescriptor ?? -1;
  }

  get counters(): PortCounters {
    return this.#port?.counters ?? this.#nothing;
  }

  receive(burst: ReceiveBurst): number {
    return this.#port === null ? 0 : this.#port.receive(burst);
  }

  /** Frames have paths, and paths are made once it is open. */
  transmit(burst: TransmitBurst): boolean {
    return this.#port === null || this.#port.transmit(burst);
  }

  onReadable(): void {}

  close(): void {
    this.#isClosed = true;
    this.#port?.close();
    this.#port = null;
  }
}
