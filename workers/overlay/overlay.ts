/** A vRNIC's place in a tenant's network: where its packets go, which it takes, which of its connections the rules still allow. */
import { TransmitBurst } from '../../rnic/burst.ts';
import { Errno, type Refusal } from '../../rnic/commands.ts';
import { Counter } from '../../rnic/counters.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { judge } from '../../vswitch/judge.ts';
import { addressesOf, endpointAt, type Tenant, type Underlay } from '../../vswitch/model.ts';
import { ENCAPSULATED_ANSWER_BYTES, NeighbourAnswerer } from '../../vswitch/neighbour-answerer.ts';
import { macNumber, TenantView } from '../../vswitch/tenant-view.ts';
import { innerClass, outerClass } from '../../vswitch/traffic-class.ts';
import { Transport } from '../../vswitch/transport.ts';
import { hostsOf, underlayOf } from '../../vswitch/underlay.ts';
import * as Gid from '../../wire/gid.ts';
import type { Micros } from '../../wire/types.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText } from '../linux/netdev.ts';
import { multicastMac } from '../neighbours.ts';
import { setTrafficClass } from '../path-builder.ts';
import type { LocalMember } from './local-hub.ts';
import { TRANSLATED_PORT } from './translation.ts';
import { NOWHERE } from './vtep-table.ts';
import type { VxlanMember } from './vxlan-hub.ts';

/** A connection as the rules see it. */
export interface Connection {
  readonly qpn: number;
  readonly destQpn: number;
  readonly transport: Transport;
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
  readonly underlay: Underlay;
  /** That its program asked for; absent: it left that to the tenant. */
  readonly wanted?: Underlay;
}

/** Index of the port among the vRNIC's by which it talks to others of its host. */
export const LOCAL_PORT = 2;
const VXLAN_PORT = 0;

/** Where a packet goes: the peer's MAC, the VTEP or the place on this host that it lives at. */
export interface Way {
  readonly mac: Uint8Array;
  readonly destination: number;
  /** The VXLAN header. */
  readonly encapsulation: Uint8Array;
  /** The address of the host that the peer lives on. */
  readonly host: Uint8Array;
  readonly underlay: Underlay;
  /** To a group: `Path.copies`. */
  readonly copies?: number;
}

/** A path that was given out, and the traffic class that its program asked for. */
interface GivenPath {
  readonly path: WeakRef<Path>;
  readonly asked: number;
}

/** From one of our addresses to a peer's, by the underlay that programs asked for, if they did. */
interface Route {
  readonly source: Uint8Array;
  readonly address: Uint8Array;
  readonly transport: Transport;
  readonly wanted: Underlay | undefined;
  paths: GivenPath[];
}

const isPowerOfTwo = (count: number): boolean => (count & (count - 1)) === 0;
const SWEEP_FROM = 64;

const REASONS: readonly number[] = [
  0,
  Counter.drop_short,
  Counter.drop_vni,
  Counter.drop_inner_address,
  Counter.drop_spoofed,
  Counter.drop_rule,
];

export class Overlay {
  readonly #member: VxlanMember;
  /** Null: the socket carries what stays on this host, too. */
  readonly #local: LocalMember | null;
  readonly #mac: Uint8Array;
  /** Our addresses; the first names us in the tenant. */
  #own: readonly Uint8Array[];
  readonly #encapsulation: Uint8Array;
  /** By QPN. */
  readonly #connections = new Map<number, Connection>();
  /** Paths that were given out, by the two addresses, the transport and the underlay asked for: address handles live on when the tenant changes. */
  readonly #routes = new Map<string, Route>();
  #tenant: Tenant;
  /** As each of our addresses sees the tenant. */
  #views: readonly TenantView[];
  #admitter: Admitter;
  /** Made when somebody asks: few do. */
  #answerer: NeighbourAnswerer | null = null;
  /** Made when somebody asks. */
  #answers: TransmitBurst | null = null;
  /** False once our own endpoint was deleted or moved to another host: nothing comes or goes. */
  #isAtHome: boolean;

  constructor(
    tenant: Tenant,
    member: VxlanMember,
    mac: Uint8Array,
    own: readonly Uint8Array[],
    local: LocalMember | null = null,
  ) {
    this.#member = member;
    this.#local = local;
    this.#mac = mac;
    this.#own = own;
    this.#encapsulation = new Uint8Array(Vxlan.BYTES);
    Vxlan.write(new DataView(this.#encapsulation.buffer), 0, tenant.vni);
    this.#tenant = tenant;
    this.#views = own.map((address) => new TenantView(tenant, address));
    this.#admitter = new Admitter(this.#views, mac);
    this.#isAtHome = this.#livesHere();
    this.#nameVteps();
  }

  get addresses(): readonly Uint8Array[] {
    return this.#own;
  }

  /** The tenant has changed: QPNs of connections that are allowed no longer, have no way any more, or whose peer is no more, lives elsewhere or has another MAC now. */
  update(tenant: Tenant, isConnected: (qpn: number) => boolean): number[] {
    const before = this.#views;
    const isReclassed = tenant.dscp !== this.#tenant.dscp || tenant.ecn !== this.#tenant.ecn;
    this.#tenant = tenant;
    const self = endpointAt(tenant, this.#own[0]!);
    if (self) this.#own = addressesOf(self);
    this.#views = this.#own.map((address) => new TenantView(tenant, address));
    this.#admitter = new Admitter(this.#views, this.#mac);
    this.#isAtHome = this.#livesHere();
    this.#nameVteps();
    this.#answerer = null;
    this.#redirectPaths(isReclassed);
    const ended: number[] = [];
    for (const connection of this.connections(isConnected)) {
      const { qpn } = connection;
      const underlay = this.#underlayNow(before, connection);
      if (underlay === undefined) ended.push(qpn);
      else this.#connections.set(qpn, { ...connection, underlay });
    }
    for (const qpn of ended) this.#connections.delete(qpn);
    return ended;
  }

  /** Peers drop what comes from another of our GIDs. */
  isOwn(gid: Uint8Array): boolean {
    return this.#own.some((own) => Gid.isSame(own, gid));
  }

  /** EHOSTUNREACH: no such endpoint. EACCES: a group or a rule forbids it. */
  wayTo(source: Uint8Array, address: Uint8Array, transport: Transport, wanted?: Underlay): Way | Refusal {
    if (viewOf(this.#views, source)?.at(address)?.endpoint.isLost)
      return refuse(Errno.EHOSTUNREACH, `the host of ${gidText(address)} is not heard of any more`);
    return this.#way(source, address, transport, wanted);
  }

  #way(source: Uint8Array, address: Uint8Array, transport: Transport, wanted?: Underlay): Way | Refusal {
    const peer = viewOf(this.#views, source)?.at(address);
    const { name } = this.#tenant;
    if (!this.#isAtHome || !this.isOwn(source))
      return refuse(Errno.EHOSTUNREACH, `tenant ${name} has no endpoint ${gidText(source)} on this host any more`);
    const group = multicastMac(address);
    if (group) return this.#wayToGroup(source, address, group, transport);
    if (!peer) return refuse(Errno.EHOSTUNREACH, `tenant ${name} has no endpoint ${gidText(address)}`);
    const denial = peer.denial(transport);
    if (denial !== undefined) return refuse(Errno.EACCES, `${denial} ${gidText(address)}`);
    const { mac, host } = peer.endpoint;
    const own = viewOf(this.#views, source)!.at(source)!.endpoint;
    const isConnected = transport === Transport.RC || transport === Transport.UC;
    // A tenant that wants no wire has none, whatever its programs say.
    const mayChoose = isConnected && this.#tenant.underlay !== 'local';
    const chosen = mayChoose && wanted ? { underlay: wanted } : this.#tenant;
    const best = underlayOf(chosen, own, peer.endpoint, isConnected);
    if (best === 'local' && !Gid.isSame(host, this.#member.hub.local))
      return refuse(Errno.EHOSTUNREACH, `${gidText(address)} lives on host ${gidText(host)}: not local`);
    const underlay = best === 'local' && this.#local === null ? 'vxlan' : best;
    const destination =
      underlay === 'local' ? this.#local!.destinationOf(macNumber(mac)) : this.#member.hub.vtepIndex(host);
    return { mac, host, underlay, destination, encapsulation: this.#encapsulation };
  }

  /** The traffic class of packets for which a program asked for this one. */
  trafficClass(asked: number, underlay: Underlay): number {
    return underlay === 'translate' ? outerClass(this.#tenant, asked) : innerClass(this.#tenant, asked);
  }

  /**
   * `path` leads from `source` to `address`: it follows the endpoint when that moves, and ends where a rule forbids it; a translated one stays where it is. All follow the
   * tenant's traffic class. @param asked the program's own. @param wanted the underlay that the program asked for: no change of the tenant takes it elsewhere.
   */
  follow(
    source: Uint8Array,
    address: Uint8Array,
    transport: Transport,
    path: Path,
    asked = 0,
    wanted?: Underlay,
  ): void {
    const key = `${gidText(source)} ${gidText(address)} ${transport} ${wanted}`;
    const route = this.#routes.get(key) ?? { source, address, transport, wanted, paths: [] };
    route.paths.push({ path: new WeakRef(path), asked });
    if (isPowerOfTwo(route.paths.length)) route.paths = route.paths.filter((one) => one.path.deref() !== undefined);
    this.#routes.set(key, route);
    this.#expectBy(path, transport);
  }

  opened(connection: Connection, isConnected: (qpn: number) => boolean): void {
    // Doubling sizes only: each connection pays for a sweep once.
    const count = this.#connections.size;
    if (count >= SWEEP_FROM && isPowerOfTwo(count)) this.connections(isConnected);
    this.#connections.set(connection.qpn, connection);
  }

  /** Those that live. A QP says nothing when it goes: whoever looks finds out. */
  connections(isConnected: (qpn: number) => boolean): Connection[] {
    for (const qpn of [...this.#connections.keys()]) if (!isConnected(qpn)) this.#connections.delete(qpn);
    return [...this.#connections.values()];
  }

  /** A frame from its VXLAN header on: the counter to drop it under, or 0. */
  admit(view: DataView, at: number, end: number, source: number): number {
    return this.#admitFrom(view, at, end, this.#hostAt(source));
  }

  /** The same for a frame of another vRNIC of this host. */
  admitLocal(view: DataView, at: number, end: number): number {
    return this.#admitFrom(view, at, end, this.#member.hub.local);
  }

  /** A frame that is not for us to take may ask for our MAC: another implementation's VTEP learns where we are by the answer. True: it did. */
  answer(view: DataView, at: number, end: number, source: number, now: Micros): boolean {
    const vtep = this.#hostAt(source);
    if (vtep === undefined || !this.#isAtHome) return false;
    const self = this.#views[0]!.at(this.#own[0]!)!.endpoint;
    this.#answerer ??= new NeighbourAnswerer(this.#tenant, self);
    const octets = this.#answerer.answer(view, at, end, vtep, now);
    if (octets === 0) return false;
    this.#answers ??= new TransmitBurst(ENCAPSULATED_ANSWER_BYTES, 1);
    const burst = this.#answers;
    burst.reset();
    burst.bytes.set(this.#answerer.bytes);
    burst.frameBytes[0] = octets;
    burst.destination[0] = source;
    burst.count = 1;
    // One that finds no room is asked for again.
    this.#member.transmit(burst);
    return true;
  }

  /** Undefined: no host that this tenant hears. */
  #hostAt(source: number): Uint8Array | undefined {
    const { hub } = this.#member;
    return this.#tenant.underlay !== 'local' || source === hub.localIndex ? hub.vtep(source) : undefined;
  }

  #admitFrom(view: DataView, at: number, end: number, vtep: Uint8Array | undefined): number {
    if (!this.#isAtHome) return Counter.drop_inner_address;
    if (vtep === undefined) return Counter.drop_vtep;
    const admission = this.#admitter.admit(view, at, end, vtep);
    return admission === Admission.ACCEPT ? 0 : REASONS[admission]!;
  }

  /** To all hosts of the tenant: which of their UD QPs are attached is their own affair. */
  #wayToGroup(source: Uint8Array, address: Uint8Array, mac: Uint8Array, transport: Transport): Way | Refusal {
    const { isAllowed, rule } = judge(this.#tenant.rules, source, address, 'out', transport);
    if (!isAllowed)
      return refuse(Errno.EACCES, `rule ${rule} of tenant ${this.#tenant.name} denies ${gidText(address)}`);
    const { hub, group: destination, copies } = this.#member;
    const encapsulation = this.#encapsulation;
    return { mac, host: hub.local, underlay: 'vxlan', destination, encapsulation, copies };
  }

  /**
   * By which a connection goes on; undefined: it may not, or has no way. A translated one cannot be led elsewhere: it ends where its tenant wants VXLAN, unless its program asked
   * for translation.
   */
  #underlayNow(
    before: readonly TenantView[],
    { local, remote, transport, underlay, wanted }: Connection,
  ): Underlay | undefined {
    const way = this.#way(local, remote, transport, wanted);
    const then = viewOf(before, local)?.at(remote)?.endpoint;
    if ('ok' in way || !then || !Gid.isSame(way.host, then.host)) return undefined;
    if (macNumber(way.mac) !== macNumber(then.mac)) return undefined;
    if (underlay !== 'translate') return way.underlay === 'local' ? 'local' : 'vxlan';
    return (wanted ?? this.#tenant.underlay) === 'vxlan' ? undefined : underlay;
  }

  #livesHere(): boolean {
    const self = this.#views[0]!.at(this.#own[0]!);
    return self !== undefined && Gid.isSame(self.endpoint.host, this.#member.hub.local);
  }

  #redirectPaths(isReclassed: boolean): void {
    for (const { source, address, transport, wanted, paths } of this.#routes.values()) {
      const way = this.#way(source, address, transport, wanted);
      for (const { path: reference, asked } of paths) {
        const path = reference.deref();
        if (!path) continue;
        const isTranslated = path.port === TRANSLATED_PORT;
        if (!isTranslated) redirect(path, way);
        this.#expectBy(path, transport);
        if (isReclassed) setTrafficClass(path, this.trafficClass(asked, isTranslated ? 'translate' : 'vxlan'));
      }
    }
  }

  /** What leaves by VXLAN is answered by it. */
  #expectBy({ port }: Path, transport: Transport): void {
    if (port === VXLAN_PORT && transport !== Transport.CM) this.#member.hub.expect(this.#tenant.vni);
  }

  #nameVteps(): void {
    const { hub } = this.#member;
    this.#member.dscp = this.#tenant.dscp ?? 0;
    this.#member.addresses = this.#isAtHome ? this.#own : [];
    hub.nameHosts(this.#member, hostsOf(this.#tenant, hub.local));
  }
}

/** An address handle's path: it leads by the new way from now on. */
function redirect(path: Path, way: Way | Refusal): void {
  path.destination = 'ok' in way ? NOWHERE : way.destination;
  if ('ok' in way) return;
  path.template.set(way.mac, path.ethernetAt);
  if (way.copies !== undefined) path.copies = way.copies;
  const isLocal = way.underlay === 'local';
  path.port = isLocal ? LOCAL_PORT : VXLAN_PORT;
  path.framing = isLocal ? Framing.HEADER_ONCE : Framing.HEADER_EACH;
  path.icrcElided = isLocal;
}

const viewOf = (views: readonly TenantView[], own: Uint8Array): TenantView | undefined =>
  views.find((view) => Gid.isSame(view.own, own));

const refuse = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason, argument: 'av.dgid' });
