/** Connection management in drills: what the application asks of the manager, what it is told, what leaves and comes by QP 1. */
import {
  type CmAnswers,
  type CmCommand,
  type CmEvent,
  CmEventType,
  type CmParameters,
  PortSpace,
} from '../../../rnic/cm/commands.ts';
import type { AnyCommand } from '../../../rnic/commands.ts';
import { QpType } from '../../../rnic/constants.ts';
import * as IpPrivateData from '../../../wire/cm/ip-private-data.ts';
import { OURS, THEIRS } from '../../support/engine.ts';
import type { Drill, DrillOptions } from './drill.ts';
import type { Letter } from './letter.ts';
import type { Packet } from './packet.ts';

const GSI_Q_KEY = 0x8001_0000;

/** An IPv4 address as a GID. */
export const gidOf = (address: number): Uint8Array =>
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, address >>> 24, address >>> 16, address >>> 8, address);

export const MANAGED: DrillOptions = { managesConnections: true, gids: [gidOf(OURS)] };
export const PORT = 7174;

export const PARAMETERS: CmParameters = {
  qpNum: 0x4321,
  privateData: Uint8Array.of(1, 2, 3),
  srq: false,
  responderResources: 3,
  initiatorDepth: 2,
  flowControl: true,
  retryCount: 6,
  rnrRetryCount: 5,
};

/** A message by QP 1, sent or expected. */
export const letter = (message: Letter['message'], fields: Omit<Letter, 'message'> = {}): Packet => ({
  opcode: 'SEND_ONLY',
  dest: 1,
  srcQp: 1,
  qKey: GSI_Q_KEY,
  letter: { message, ...fields },
});

/** The IP addresses in front of a REQ's private data, of a peer that asks us. */
export function addressed(privateData: Uint8Array = new Uint8Array(0)): Uint8Array {
  const octets = new Uint8Array(IpPrivateData.BYTES + privateData.length);
  const last = (address: number): Uint8Array => Uint8Array.from([...new Uint8Array(12), ...gidOf(address).slice(12)]);
  IpPrivateData.writeFields(new DataView(octets.buffer), 0, {
    majorVersion: 0,
    minorVersion: 0,
    ipVersion: 4,
    reserved4: 0,
    sourcePort: 5555,
    source: last(THEIRS),
    destination: last(OURS),
  });
  octets.set(privateData, IpPrivateData.BYTES);
  return octets;
}

export const serviceIdOf = (portSpace: number) => ({
  serviceIdHi: IpPrivateData.SERVICE_ID_HI,
  serviceIdLo: IpPrivateData.serviceIdLo(portSpace & 0xff, PORT),
});

export class Manager {
  readonly #d: Drill;

  constructor(drill: Drill) {
    this.#d = drill;
  }

  /** Runs a command; throws what it is refused for. */
  readonly do = <Op extends CmCommand['op']>(command: Extract<CmCommand, { op: Op }>): CmAnswers[Op] => {
    const { engine } = this.#d;
    const result = engine.rnic.execute(engine.context, command as AnyCommand, engine.now);
    if (!result.ok) throw new Error(`${command.op}: ${result.reason}`);
    this.#d.together(() => undefined);
    return result as unknown as CmAnswers[Op];
  };

  /** The next event is this one. */
  readonly event = (type: keyof typeof CmEventType, wanted: Partial<CmEvent> = {}): CmEvent => {
    const event = this.#d.engine.rnic.pollCmEvent();
    const found = event && Object.fromEntries(Object.keys(wanted).map((name) => [name, event[name as keyof CmEvent]]));
    this.#d.expect.that(event?.type, CmEventType[type], `event ${type}`);
    this.#d.expect.that(found, wanted, `what ${type} says`);
    return event!;
  };

  readonly noEvent = (): void => this.#d.expect.that(this.#d.engine.rnic.pollCmEvent(), undefined, 'no event');
}

/** An application that listens for connections (or datagrams). */
export function listening(d: Drill, portSpace: PortSpace = PortSpace.TCP, backlog = 4): { m: Manager; id: number } {
  const m = new Manager(d);
  const { id } = m.do({ op: 'cmCreateId', portSpace, qpType: portSpace === PortSpace.TCP ? QpType.RC : QpType.UD });
  m.do({ op: 'cmBindAddr', id, local: { address: gidOf(OURS), port: PORT } });
  m.do({ op: 'cmListen', id, backlog });
  return { m, id };
}

/** An application that knows the way to the peer and has not asked for a connection yet. */
export function resolved(d: Drill, portSpace: PortSpace = PortSpace.TCP): { m: Manager; id: number } {
  const m = new Manager(d);
  const { id } = m.do({ op: 'cmCreateId', portSpace, qpType: portSpace === PortSpace.TCP ? QpType.RC : QpType.UD });
  m.do({ op: 'cmResolveAddr', id, destination: { address: gidOf(THEIRS), port: PORT }, timeoutMillis: 1000 });
  m.event('ADDR_RESOLVED', { id });
  m.do({ op: 'cmResolveRoute', id });
  m.event('ROUTE_RESOLVED', { id });
  return { m, id };
}
