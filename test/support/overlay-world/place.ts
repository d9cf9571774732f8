/** A vRNIC or a port of a tenant on a host, with the parts of the product that decide there: an `Overlay` or a `PortPipeline`, and its share of the host's VTEP. */
import { TransmitBurst } from '../../../rnic/burst.ts';
import type { Path } from '../../../rnic/path.ts';
import { addressesOf, type Endpoint, type Tenant, type Underlay } from '../../../vswitch/model.ts';
import { Outcome, PortPipeline } from '../../../vswitch/port-pipeline.ts';
import { macNumber } from '../../../vswitch/tenant-view.ts';
import type { Transport } from '../../../vswitch/transport.ts';
import { hostsOf } from '../../../vswitch/underlay.ts';
import * as Ethernet from '../../../wire/ethernet.ts';
import * as Gid from '../../../wire/gid.ts';
import * as Vxlan from '../../../wire/vxlan.ts';
import { gidText } from '../../../workers/linux/netdev.ts';
import { joinLocal, type LocalMember } from '../../../workers/overlay/local-hub.ts';
import { LOCAL_PORT, Overlay } from '../../../workers/overlay/overlay.ts';
import { TRANSLATED_PORT } from '../../../workers/overlay/translation.ts';
import { joinVtep, type VxlanMember } from '../../../workers/overlay/vxlan-hub.ts';
import { type Flow, frameOf, gidOf } from './frames.ts';
import type { ConnectionFacts } from './referee.ts';

const MTU = 1400;
const FRAME_BYTES_MAX = 256;
const VXLAN_PORT = 0;

/** What a program sends by: a connection, or an address handle. */
export interface Handle {
  readonly flow: Flow;
  readonly path: Path;
}

/** One of the two ends of a connection. */
export interface End extends Handle {
  readonly qpn: number;
  readonly place: Place;
  readonly facts: ConnectionFacts;
  /** Since when what its host knows forbids it. */
  forbiddenSince: number | undefined;
  /** The other end has gone: this one may go at any time. */
  isAlone: boolean;
}

/** Where frames go. */
export interface Wire {
  /** To the host with that VTEP. */
  vxlan(from: Place, vtep: Uint8Array, bytes: Uint8Array, flow: Flow): void;
  translated(end: End): void;
  /** By memory. It was taken. */
  local(to: Place): void;
  /** What is handed to a vRNIC of this host until the next call comes from it. */
  handing(from: Place, flow: Flow): void;
}

const burst = new TransmitBurst(FRAME_BYTES_MAX, 1);

export class Place {
  readonly host: number;
  readonly tenant: string;
  readonly address: string;
  readonly mac: Uint8Array;
  readonly member: VxlanMember;
  readonly overlay: Overlay | null;
  readonly pipeline: PortPipeline | null;
  /** By QPN. */
  readonly ends = new Map<number, End>();
  readonly handles: Handle[] = [];
  isOpen = true;
  /** What its host knew when it was told of its tenant last. */
  toldRevision: number;
  readonly #local: LocalMember | null;
  readonly #wire: Wire;
  readonly #vtep: Uint8Array;

  constructor(host: number, vtep: Uint8Array, tenant: Tenant, endpoint: Endpoint, revision: number, wire: Wire) {
    const { address, mac, kind } = endpoint;
    this.host = host;
    this.tenant = tenant.name;
    this.address = gidText(address);
    this.mac = mac;
    this.toldRevision = revision;
    this.#vtep = vtep;
    this.#wire = wire;
    const isPort = kind === 'veth';
    const number = macNumber(mac);
    this.member = joinVtep({ local: vtep, mtu: MTU, udpPort: 0 }, tenant.vni, number, isPort);
    this.#local = isPort ? null : joinLocal(vtep, tenant.vni, number, MTU);
    this.overlay = isPort ? null : new Overlay(tenant, this.member, mac, addressesOf(endpoint), this.#local);
    this.pipeline = isPort ? this.#newPipeline(tenant, address) : null;
    if (this.#local)
      this.#local.sink = ({ view, at, frameBytes }, i) => {
        if (this.overlay!.admitLocal(view, at[i]!, at[i]! + frameBytes[i]!) === 0) wire.local(this);
      };
  }

  get vni(): number {
    return this.member.vni;
  }

  /** Its own addresses, as the tenant has them now. */
  get addresses(): readonly string[] {
    return this.overlay ? this.overlay.addresses.map(gidText) : [this.address];
  }

  /** Its tenant has changed: the connections that this ended. */
  update(tenant: Tenant, revision: number): End[] {
    this.toldRevision = revision;
    if (this.pipeline) this.#nameHosts(tenant);
    this.pipeline?.update(tenant);
    const qpns = this.overlay?.update(tenant, (qpn) => this.ends.has(qpn)) ?? [];
    return qpns.map((qpn) => this.end(qpn)!);
  }

  end(qpn: number): End | undefined {
    const end = this.ends.get(qpn);
    this.ends.delete(qpn);
    return end;
  }

  /** All its connections go with it: those. */
  close(): End[] {
    if (!this.isOpen) return [];
    this.isOpen = false;
    this.member.close();
    this.#local?.close();
    const ends = [...this.ends.values()];
    this.ends.clear();
    return ends;
  }

  /** Undefined: its vRNIC refuses. With the host that the other lives on. */
  pathTo(flow: Flow, wanted?: Underlay): { path: Path; host: string; underlay: Underlay } | undefined {
    const [from, to] = [gidOf(flow.from), gidOf(flow.to)];
    const way = this.overlay!.wayTo(from, to, flow.transport, wanted);
    if ('ok' in way) return undefined;
    const port = { vxlan: VXLAN_PORT, local: LOCAL_PORT, translate: TRANSLATED_PORT }[way.underlay];
    const template = new Uint8Array(Vxlan.BYTES + Ethernet.BYTES);
    template.set(way.mac, Vxlan.BYTES);
    const path = { destination: way.destination, template, ethernetAt: Vxlan.BYTES, port } as Path;
    this.overlay!.follow(from, to, flow.transport, path, 0, wanted);
    return { path, host: gidText(way.host), underlay: way.underlay };
  }

  open(end: End, underlay: Underlay): void {
    const { qpn, flow, facts } = end;
    this.ends.set(qpn, end);
    const [local, remote] = [gidOf(flow.from), gidOf(flow.to)];
    const { transport } = flow;
    const wanted = facts.wanted === undefined ? {} : { wanted: facts.wanted as Underlay };
    this.overlay!.opened({ qpn, destQpn: qpn, local, remote, transport, underlay, ...wanted }, (one) =>
      this.ends.has(one),
    );
  }

  /** By its path as it is now. */
  send({ flow, path }: Handle): void {
    const mac = path.template.subarray(path.ethernetAt, path.ethernetAt + Ethernet.MAC_BYTES);
    const bytes = frameOf(flow, this.mac, mac);
    if (path.port === LOCAL_PORT) this.#hand(flow, bytes, path.destination);
    else this.#sendTo(path.destination, bytes, flow);
  }

  /** What a machine behind the port says. False: it goes nowhere. */
  sendFromPort(flow: Flow, fromMac: Uint8Array, toMac: Uint8Array, now: number): boolean {
    const bytes = frameOf(flow, fromMac, toMac);
    const view = new DataView(bytes.buffer);
    const ipBytes = bytes.length - Vxlan.BYTES - Ethernet.BYTES;
    const outcome = this.pipeline!.fromPort(view, Vxlan.BYTES, bytes.length, ipBytes, now * 1000);
    if (outcome === Outcome.PEER) this.#sendTo(this.pipeline!.destination, bytes, flow);
    else if (outcome === Outcome.FLOOD) for (const host of this.member.hosts.values()) this.#sendTo(host, bytes, flow);
    else return false;
    return true;
  }

  /** A frame that came by VXLAN. */
  takes(bytes: Uint8Array, vtep: Uint8Array, now: number): boolean {
    const view = new DataView(bytes.buffer);
    const source = this.member.hub.vtepIndex(vtep);
    if (this.overlay) return this.overlay.admit(view, 0, bytes.length, source) === 0;
    return this.pipeline!.fromNetwork(view, 0, bytes.length, source, now * 1000) === Outcome.DELIVER;
  }

  toString(): string {
    return `${this.tenant} ${this.address} on host ${this.host}`;
  }

  flow(from: string, to: string, transport: Transport): Flow {
    return { vni: this.vni, from, to, transport };
  }

  #newPipeline(tenant: Tenant, address: Uint8Array): PortPipeline {
    const { hub } = this.member;
    this.#nameHosts(tenant);
    const hostIndex = (host: Uint8Array): number => hub.vtepIndex(host);
    return new PortPipeline({ tenant, address, mtu: MTU, local: this.#vtep, hostIndex });
  }

  /** As switch-port.ts does. */
  #nameHosts(tenant: Tenant): void {
    this.member.hub.nameHosts(this.member, [this.#vtep, ...hostsOf(tenant, this.#vtep)]);
  }

  #sendTo(destination: number, bytes: Uint8Array, flow: Flow): void {
    const vtep = this.member.hub.vtep(destination);
    if (vtep !== undefined) this.#wire.vxlan(this, vtep, bytes, flow);
  }

  #hand(flow: Flow, bytes: Uint8Array, destination: number): void {
    burst.reset();
    burst.bytes.set(bytes);
    burst.at[0] = 0;
    burst.frameBytes[0] = bytes.length;
    burst.headerBytes[0] = bytes.length;
    burst.destination[0] = destination;
    burst.count = 1;
    this.#wire.handing(this, flow);
    this.#local!.transmit(burst);
  }
}

/** Whether a frame is for the MAC. */
export const isFor = (bytes: Uint8Array, mac: Uint8Array): boolean =>
  mac.every((octet, i) => bytes[Vxlan.BYTES + i] === octet);

export const isSameGid = Gid.isSame;
