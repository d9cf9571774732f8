/** The application that connects, listens, accepts, refuses and hangs up on the fuzzed engine, by chance. */
import { type CmCommand, type CmEvent, CmEventType, PortSpace } from '../../rnic/cm/commands.ts';
import { QpType } from '../../rnic/constants.ts';
import { OURS, type TestEngine, THEIRS } from '../support/engine.ts';
import type { Random } from '../support/sim/random.ts';
import { LISTEN_PORT } from './letters.ts';

/** Ids at once, besides the listeners. */
const IDS_MAX = 24;

/** An IPv4 address as a GID. */
function gidOf(address: number): Uint8Array {
  const gid = new Uint8Array(16);
  gid.fill(0xff, 10, 12);
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

export class Connections {
  readonly #engine: TestEngine;
  readonly #random: Random;
  readonly #anyQpn: () => number;
  readonly #ids: number[] = [];

  constructor(engine: TestEngine, random: Random, anyQpn: () => number) {
    this.#engine = engine;
    this.#random = random;
    this.#anyQpn = anyQpn;
    for (const portSpace of [PortSpace.TCP, PortSpace.UDP]) this.#listen(portSpace);
  }

  act(): void {
    const { rnic } = this.#engine;
    for (let event = rnic.pollCmEvent(); event; event = rnic.pollCmEvent()) this.#answer(event);
    const random = this.#random;
    if (random.chance(0.05)) this.#begin(random.pick([PortSpace.TCP, PortSpace.UDP]));
    if (this.#ids.length === 0 || !random.chance(0.1)) return;
    const id = random.pick(this.#ids);
    const kind = random.below(4);
    if (kind === 0) this.#run({ op: 'cmDisconnect', id });
    else if (kind === 1) this.#run({ op: 'cmNotify', id });
    else if (kind === 2) this.#run({ op: 'cmReject', id, privateData: new Uint8Array(4) });
    else this.#end(id);
  }

  /** Every step may be refused: the id may be in any state. */
  #run(command: CmCommand): { id: number } | null {
    const { rnic, context, now } = this.#engine;
    const result = rnic.execute(context, command, now);
    return result.ok ? (result as unknown as { id: number }) : null;
  }

  #listen(portSpace: PortSpace): void {
    const made = this.#run({ op: 'cmCreateId', portSpace, qpType: QpType.RC })!;
    this.#run({ op: 'cmBindAddr', id: made.id, local: { address: gidOf(OURS), port: LISTEN_PORT } });
    this.#run({ op: 'cmListen', id: made.id, backlog: 8 });
  }

  #begin(portSpace: PortSpace): void {
    const made = this.#run({ op: 'cmCreateId', portSpace, qpType: QpType.RC });
    if (made === null) return;
    this.#keep(made.id);
    const destination = { address: gidOf(THEIRS), port: LISTEN_PORT };
    this.#run({ op: 'cmResolveAddr', id: made.id, destination, timeoutMillis: 2000 });
  }

  #keep(id: number): void {
    this.#ids.push(id);
    if (this.#ids.length > IDS_MAX) this.#end(this.#ids[0]!);
  }

  #end(id: number): void {
    this.#ids.splice(this.#ids.indexOf(id), 1);
    this.#run({ op: 'cmDestroyId', id });
  }

  #answer({ type, id }: CmEvent): void {
    const parameters = this.#parameters();
    if (type === CmEventType.ADDR_RESOLVED) this.#run({ op: 'cmResolveRoute', id });
    else if (type === CmEventType.ROUTE_RESOLVED) this.#run({ op: 'cmConnect', id, parameters });
    else if (type === CmEventType.CONNECT_RESPONSE) this.#run({ op: 'cmAccept', id });
    else if (type === CmEventType.DISCONNECTED) this.#run({ op: 'cmDisconnect', id });
    else if (type === CmEventType.CONNECT_REQUEST) {
      this.#keep(id);
      // Some are left to think.
      if (this.#random.chance(0.7)) this.#run({ op: 'cmAccept', id, parameters });
    }
  }

  #parameters() {
    const random = this.#random;
    return {
      qpNum: this.#anyQpn(),
      privateData: new Uint8Array(random.below(32)),
      srq: false,
      responderResources: random.below(8),
      initiatorDepth: random.below(8),
      flowControl: false,
      retryCount: random.below(8),
      rnrRetryCount: random.below(8),
    };
  }
}
