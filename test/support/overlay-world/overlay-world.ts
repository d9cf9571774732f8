/**
 * Hosts, tenants and a control store in virtual time. On each host are the daemon's directory, mirror and presence, and for each vRNIC and port the parts that decide what passes.
 * Everything that can go wrong does: hosts die, ways to the store are cut, the store restarts and forgets; machines lie, strangers forge.
 *
 * A host's *view* is the state of the store at the last revision that its watch, or a listing, has handed to its mirror. Each host answers for what its own views said:
 *
 * - a frame leaves, is taken, and a connection lives only where one of the host's views of the last GRACE_MILLIS allows it;
 * - nothing is taken by another tenant than its sender's, by an endpoint that none of these views has here, nor from whom no endpoint of the tenant is;
 * - no connection ends unless a view since its vRNIC was told last forbids it: an endpoint that went with a lease alone forbids nothing;
 * - when all is well again and nothing changes, each host's view is the store, each endpoint is where a commit put it last if that host lives and claims it, nothing is under a
 *   host's lease that it does not claim, and everybody reaches whom they may, once, and nobody else.
 */
import { TRANSPORT_NAMES, type Underlay } from '../../../vswitch/model.ts';
import { Transport } from '../../../vswitch/transport.ts';
import { TRANSLATED_PORT } from '../../../workers/overlay/translation.ts';
import type { Random } from '../sim/random.ts';
import { ADDRESSES, configured, HOST_COUNT, isOfOneFamily, nameOf, TENANTS, VNIS, vtepOf } from './catalogue.ts';
import { Commands } from './commands.ts';
import { type Flow, frameOf, gidOf, macAt } from './frames.ts';
import { Host, type HostWorld } from './host.ts';
import { type End, isFor, type Place } from './place.ts';
import { allows, areApart, endpointAt, type Facts, Ledger, mayBeAt, reasonToEnd } from './referee.ts';
import { StoreServer } from './store-server.ts';
import { VirtualTime } from './virtual-time.ts';

const GRACE_MILLIS = 100;
const WIRE_MILLIS = 8;
/** Leases end, watches and daemons try again, hosts start. */
const SETTLE_MILLIS = 15_000;
const CONNECTIONS_MAX = 40;
const HANDLES_MAX = 8;
const TRANSPORTS = [Transport.RC, Transport.UC, Transport.UD] as const;

/** `origin`: who really sent it; null: a stranger. */
interface InFlight {
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly flow: Flow;
  readonly origin: Place | null;
}

const transportName = (transport: Transport): string => TRANSPORT_NAMES[transport as 0 | 1 | 2 | 3];

export class OverlayWorld {
  readonly violations: string[] = [];
  readonly counts: Record<string, number> = {};
  readonly #random: Random;
  readonly #time = new VirtualTime();
  readonly #ledger = new Ledger();
  readonly #server: StoreServer;
  readonly #hosts: (Host | null)[] = Array.from({ length: HOST_COUNT }, () => null);
  readonly #starting = new Set<number>();
  readonly #world: HostWorld;
  readonly #commands: Commands;
  /** Ends by QPN, both of a connection that has them. */
  readonly #connections = new Map<number, End[]>();
  /** What is handed over by memory now. */
  #handed: { from: Place; flow: Flow } | null = null;
  #nextQpn = 2;

  constructor(random: Random) {
    this.#random = random;
    const time = this.#time;
    const ledger = this.#ledger;
    this.#commands = new Commands(random, ledger, (what) => this.#count(what));
    this.#server = new StoreServer(time, (commit) => ledger.take(commit));
    this.#world = {
      time,
      random,
      ledger,
      server: this.#server,
      declared: TENANTS.map((name) => ({ name, vni: VNIS[name]!, endpoints: [], rules: [] })),
      wire: {
        vxlan: (from, vtep, bytes, flow) => this.#leaves(from, vtep, bytes, flow),
        translated: (end) => this.#leavesTranslated(end),
        handing: (from, flow) => {
          this.#handed = { from, flow };
        },
        local: (to) => this.#takenByMemory(this.#handed!.flow, this.#handed!.from, to),
      },
      ended: (ends) => this.#ended(ends),
      violated: (what) => this.#violated(what),
    };
  }

  /** All hosts run. */
  async begin(): Promise<void> {
    for (let host = 0; host < HOST_COUNT; host++) {
      this.#start(host);
      await this.#time.pass(500);
    }
    while (this.#hosts.includes(null)) {
      for (const [index, host] of this.#hosts.entries()) if (host === null) this.#start(index);
      await this.#time.pass(500);
    }
  }

  close(): void {
    for (const host of this.#hosts) host?.kill();
  }

  /** One thing happens, and time passes. */
  async step(): Promise<void> {
    const random = this.#random;
    await this.#time.pass(random.chance(0.01) ? random.fraction() * 400 : random.fraction() * 4);
    const choice = random.fraction() * 100;
    if (choice < 8) this.#command();
    else if (choice < 12) this.#changeWorld();
    else if (choice < 24) this.#connect();
    else if (choice < 45) this.#sendByConnection();
    else if (choice < 92) this.#sendAny();
    else this.#forge();
    this.#checkConnections();
  }

  /** Nothing changes any more, nothing is cut, and hosts that are down start. */
  async settle(): Promise<void> {
    this.#server.restart();
    for (const [index, host] of this.#hosts.entries()) {
      host?.client.heal();
      if (host === null) this.#start(index);
    }
    await this.#time.pass(SETTLE_MILLIS);
    this.#checkConnections();
    for (const host of this.#running) this.#checkView(host);
    this.#checkEndpoints();
    for (const facts of this.#ledger.last.tenants.values()) await this.#checkReaches(facts);
  }

  get #running(): Host[] {
    return this.#hosts.filter((host): host is Host => host?.isReady === true);
  }

  get #places(): Place[] {
    return this.#running.flatMap((host) => [...host.places.values()]);
  }

  #count(what: string, by = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + by;
  }

  #violated(what: string): void {
    this.violations.push(`${this.#time.now.toFixed(1)}: ${what}`);
  }

  #command(): void {
    const hosts = this.#running;
    if (hosts.length > 0) this.#commands.give(this.#random.pick(hosts));
  }

  /** What happens to hosts and the store by itself. */
  #changeWorld(): void {
    const random = this.#random;
    const index = random.below(HOST_COUNT);
    const host = this.#hosts[index] ?? null;
    const choice = random.below(100);
    if (host === null) this.#start(index);
    else if (!host.isReady) return;
    else if (choice < 40) this.#cutOrHeal(host);
    else if (choice < 55) host.client.breakWatches(random.chance(0.3));
    else if (choice < 70) this.#server.compact();
    else if (choice < 78) this.#restartStore();
    else if (choice < 84) this.#kill(index, host);
    else if (choice < 88) this.#stop(index, host);
  }

  /** It is cut for a fifth of the time. */
  #cutOrHeal(host: Host): void {
    if (host.client.isCut) host.client.heal();
    else if (this.#random.chance(0.25)) {
      this.#count('cuts');
      host.client.cut();
    }
  }

  #restartStore(): void {
    if (this.#server.isDown) return;
    this.#count('restarts');
    this.#server.isDown = true;
    for (const { client } of this.#running) client.breakWatches();
    this.#time.after(this.#random.fraction() * 2000, () => this.#server.restart());
  }

  #kill(index: number, host: Host): void {
    this.#count('killed');
    host.kill();
    this.#count('ambiguous', host.client.ambiguous);
    this.#hosts[index] = null;
  }

  #stop(index: number, host: Host): void {
    this.#count('stopped');
    void host.stop().then(() => {
      this.#hosts[index] = null;
    });
  }

  #start(index: number): void {
    if (this.#starting.has(index)) return;
    this.#starting.add(index);
    Host.start(index, this.#world, configured('vrnic', index), configured('veth', index))
      .then(
        (host) => {
          this.#hosts[index] = host;
          this.#count('started');
        },
        () => this.#count('notStarted'),
      )
      .finally(() => this.#starting.delete(index));
  }

  /** Both ends, or none. */
  #connect(): void {
    const random = this.#random;
    const vrnics = this.#places.filter(({ overlay }) => overlay !== null);
    if (vrnics.length === 0) return;
    const from = random.pick(vrnics);
    const peer = random.pick(vrnics.filter(({ tenant }) => tenant === from.tenant));
    const local = random.pick(from.addresses);
    const remote = peer.addresses.find((one) => isOfOneFamily(one, local));
    if (from.address === peer.address || remote === undefined) return;
    const transport = random.pick([Transport.RC, Transport.UC]);
    const flow = from.flow(local, remote, transport);
    const wanted = random.chance(0.2) ? random.pick<Underlay>(['vxlan', 'translate']) : undefined;
    const way = from.pathTo(flow, wanted);
    const to = way && vrnics.find((one) => isAt(one, from.tenant, flow.to) && vtepOf(one.host) === way.host);
    const back = to?.pathTo(to.flow(flow.to, flow.from, transport), wanted);
    if (!way || !back || !to || vtepOf(from.host) !== back.host) return;
    const qpn = this.#nextQpn++;
    const ends = [
      this.#newEnd(qpn, from, flow, way, wanted),
      this.#newEnd(qpn, to, to.flow(flow.to, flow.from, transport), back, wanted),
    ];
    this.#connections.set(qpn, ends);
    this.#count('connected');
    if (this.#connections.size > CONNECTIONS_MAX) this.#disconnect(random.pick([...this.#connections.keys()]));
  }

  #newEnd(
    qpn: number,
    place: Place,
    flow: Flow,
    { path, host, underlay }: NonNullable<ReturnType<Place['pathTo']>>,
    wanted: Underlay | undefined,
  ): End {
    const facts = {
      tenant: place.tenant,
      vni: place.vni,
      local: flow.from,
      remote: flow.to,
      transport: transportName(flow.transport),
      localHost: vtepOf(place.host),
      remoteHost: host,
      isTranslated: underlay === 'translate',
      wanted,
    };
    this.#count(underlay);
    const views = this.#hosts[place.host]!.recent(GRACE_MILLIS).map(({ revision }) => this.#ledger.at(revision));
    const known = views.flatMap(({ tenants }) => tenants.get(place.tenant) ?? []);
    if (!known.some((tenant) => endpointAt(tenant, flow.to) !== undefined))
      this.#violated(`${place} has connected to ${flow.to}, which is not there`);
    const isForbidden = reasonToEnd(views.at(-1)!, facts)?.isBinding === true;
    const end = {
      qpn,
      flow,
      path,
      place,
      facts,
      forbiddenSince: isForbidden ? this.#time.now : undefined,
      isAlone: false,
    };
    place.open(end, underlay);
    return end;
  }

  /** By their programs. */
  #disconnect(qpn: number): void {
    for (const { place } of this.#connections.get(qpn) ?? []) place.end(qpn);
    this.#connections.delete(qpn);
  }

  #ended(ends: readonly End[]): void {
    for (const { qpn } of ends) {
      this.#count('ended');
      const others = (this.#connections.get(qpn) ?? []).filter((end) => end.place.ends.get(qpn) === end);
      for (const other of others) other.isAlone = true;
      if (others.length === 0) this.#connections.delete(qpn);
    }
  }

  #sendByConnection(): void {
    if (this.#connections.size === 0) return;
    const ends = this.#random
      .pick([...this.#connections.values()])
      .filter((end) => end.place.ends.get(end.qpn) === end);
    if (ends.length === 0) return;
    const end = this.#random.pick(ends);
    if (end.path.port === TRANSLATED_PORT) this.#leavesTranslated(end);
    else end.place.send(end);
  }

  #flowFrom(place: Place, transport: Transport): Flow {
    const from = this.#random.pick(place.addresses);
    // What a vRNIC sends to itself never comes to its overlay.
    const others = ADDRESSES.filter((to) => isOfOneFamily(from, to) && !place.addresses.includes(to));
    return place.flow(from, this.#random.pick(others), transport);
  }

  /** A datagram of a vRNIC, or what a machine behind a port makes up. */
  #sendAny(): void {
    const places = this.#places;
    if (places.length === 0) return;
    const place = this.#random.pick(places);
    if (place.overlay) this.#sendDatagram(place);
    else this.#sendFromPort(place);
  }

  /** By an address handle, old or new. */
  #sendDatagram(place: Place): void {
    const random = this.#random;
    if (place.handles.length > 0 && random.chance(0.5)) return place.send(random.pick(place.handles));
    const flow = this.#flowFrom(place, Transport.UD);
    const way = place.pathTo(flow);
    if (!way) return this.#count('refused');
    const handle = { flow, path: way.path };
    if (place.handles.length >= HANDLES_MAX) place.handles.shift();
    place.handles.push(handle);
    place.send(handle);
  }

  #sendFromPort(place: Place): void {
    const random = this.#random;
    const honest = this.#flowFrom(place, random.pick(TRANSPORTS));
    const isLiar = random.chance(0.2);
    const from = random.pick(ADDRESSES.filter((one) => isOfOneFamily(one, honest.to)));
    const flow = isLiar ? { ...honest, from } : honest;
    const fromMac = isLiar && random.chance(0.5) ? macAt(place.vni, nameOf(from)) : place.mac;
    const toMac = macAt(place.vni, nameOf(isLiar ? random.pick(ADDRESSES) : flow.to));
    if (!place.sendFromPort(flow, fromMac, toMac, this.#time.now)) this.#count('refused');
  }

  /** A host that is in no tenant, or in the other one alone, says that it is somebody; or any host, under the VNI of one tenant, that it is somebody of the other, where that VNI is not. */
  #forge(): void {
    const random = this.#random;
    const [tenant, other] = random.chance(0.5) ? (['blue', 'red'] as const) : (['red', 'blue'] as const);
    const isOfOther = random.chance(0.3);
    const macVni = VNIS[isOfOther ? other : tenant]!;
    const from = random.pick(ADDRESSES);
    const to = random.pick(ADDRESSES.filter((one) => isOfOneFamily(from, one)));
    const flow = { vni: VNIS[tenant]!, from, to, transport: random.pick(TRANSPORTS) };
    const outsider = tenant === 'blue' ? HOST_COUNT - 1 : 0;
    this.#count('forged');
    const bytes = frameOf(flow, macAt(macVni, nameOf(from)), macAt(macVni, nameOf(to)));
    const way = isOfOther
      ? { from: random.below(HOST_COUNT), to: outsider }
      : { from: random.pick([outsider, HOST_COUNT]), to: random.below(HOST_COUNT) };
    this.#put({ ...way, bytes, flow, origin: null });
  }

  #leaves(from: Place, vtep: Uint8Array, bytes: Uint8Array, flow: Flow): void {
    this.#count('sent');
    this.#checkSender(from, flow);
    this.#put({ from: from.host, to: vtep[15]! - 1, bytes, flow, origin: from });
  }

  #takenByMemory(flow: Flow, from: Place, to: Place): void {
    this.#count('byMemory');
    this.#checkSender(from, flow);
    this.#delivered(flow, from, to);
  }

  /** It arrives where the connection's other end lives. */
  #leavesTranslated(end: End): void {
    this.#count('sent');
    this.#checkSender(end.place, end.flow);
    this.#time.after(this.#random.fraction() * WIRE_MILLIS, () => {
      const other = this.#connections.get(end.qpn)?.find((one) => one.place !== end.place);
      if (other && other.place.ends.get(end.qpn) === other) this.#delivered(end.flow, end.place, other.place);
    });
  }

  #put(frame: InFlight): void {
    this.#time.after(this.#random.fraction() * WIRE_MILLIS, () => this.#arrive(frame));
  }

  #arrive({ from, to, bytes, flow, origin }: InFlight): void {
    for (const place of this.#takersOf(to, bytes, flow.vni))
      if (place.takes(bytes, gidOf(vtepOf(from)), this.#time.now)) this.#delivered(flow, origin, place);
  }

  /** As the hub of the host's VTEP hands it out: to who has the MAC, else to ports; of a VNI that nobody has here, to somebody who is to drop it. */
  #takersOf(host: number, bytes: Uint8Array, vni: number): Place[] {
    const places = [...(this.#hosts[host]?.places.values() ?? [])];
    const here = places.filter((place) => place.vni === vni);
    const owner = (here.length > 0 ? here : places).find(({ mac }) => isFor(bytes, mac));
    return owner ? [owner] : here.filter(({ pipeline }) => pipeline);
  }

  /** Whether something its host knew in the time that counts has the place where it is, and is so. */
  #knew({ host, tenant, address }: Place, isSo: (facts: Facts) => boolean): boolean {
    const views = this.#hosts[host]?.recent(GRACE_MILLIS) ?? [];
    return views.some(({ revision }) => {
      const state = this.#ledger.at(revision);
      const facts = state.tenants.get(tenant);
      return facts !== undefined && mayBeAt(state, endpointAt(facts, address), vtepOf(host)) && isSo(facts);
    });
  }

  #checkSender(from: Place, flow: Flow): void {
    const transport = transportName(flow.transport);
    if (!this.#knew(from, (facts) => allows(facts, flow.from, flow.to, 'out', transport)))
      this.#violated(`${text(flow)} left ${from}`);
  }

  #delivered(flow: Flow, origin: Place | null, to: Place): void {
    this.#count('delivered');
    const what = `${text(flow)} was taken by ${to}`;
    if (origin === null) return this.#violated(`${what}: forged`);
    if (origin.tenant !== to.tenant) return this.#violated(`${what}: from ${origin}`);
    if (!origin.addresses.includes(flow.from)) return this.#violated(`${what}: a lie of ${origin}`);
    const name = to.addresses.includes(flow.to) ? flow.to : to.address;
    const mayCome = (facts: Facts): boolean =>
      !areApart(facts, flow.from, to.address) && allows(facts, flow.from, name, 'in', transportName(flow.transport));
    if (!this.#knew(to, mayCome)) this.#violated(`${what}: denied`);
  }

  #checkConnections(): void {
    for (const ends of this.#connections.values())
      for (const { place, qpn, facts, forbiddenSince } of ends)
        if (place.ends.has(qpn) && forbiddenSince !== undefined && this.#time.now - forbiddenSince > GRACE_MILLIS)
          this.#violated(`${place}: its connection to ${facts.remote} lives on: ${this.#reason(place, facts)}`);
  }

  #reason(place: Place, facts: End['facts']): string | undefined {
    const { revision } = this.#hosts[place.host]!.recent(0).at(-1)!;
    return reasonToEnd(this.#ledger.at(revision), facts)?.text;
  }

  /** It knows what the store says, and nothing is left undone. */
  #checkView(host: Host): void {
    const { index, directory, pending } = host;
    if (pending > 0) this.#violated(`host ${index} has ${pending} commands that nobody answered`);
    const theirs = JSON.stringify([...this.#server.entries.values()].map(({ key, value }) => [key, value]).sort());
    const ours = JSON.stringify([...directory.known.entries.values()].map(({ key, value }) => [key, value]).sort());
    if (theirs !== ours) this.#violated(`host ${index} does not know what the store says: ${ours} is not ${theirs}`);
    const said = [...this.#ledger.last.tenants.values()].flatMap(placesOf).sort();
    const known = directory.tenants
      .flatMap(({ name, vni, endpoints }) =>
        endpoints
          .filter(({ isLost }) => !isLost)
          .map((one) => `${name} ${vni} ${one.address} ${one.host} ${one.group}`),
      )
      .sort();
    if (String(said) !== String(known)) this.#violated(`host ${index} knows ${known}, not ${said}`);
  }

  /** Each is where a commit put it last, where that host lives and says so; and no ghost is there. */
  #checkEndpoints(): void {
    for (const [key, { host: vtep, address }] of this.#ledger.wanted) {
      const host = this.#running.find(({ index }) => vtepOf(index) === vtep);
      const [tenant = ''] = key.split(' ');
      const facts = this.#ledger.last.tenants.get(tenant);
      if (!host?.claimed.has(key) || !facts) continue;
      if (facts.endpoints.get(address)?.host !== vtep)
        this.#violated(`${key} is lost, which lives on host ${host.index}`);
      else if (!host.places.has(key)) this.#violated(`${key} has nothing on host ${host.index}`);
    }
    for (const { key, value, lease } of this.#server.entries.values()) {
      const [folder, tenant, address] = key.split('/');
      if (folder !== 'endpoints' || lease === undefined) continue;
      const { host: vtep } = JSON.parse(value) as { host: string };
      const host = this.#running.find(({ index }) => vtepOf(index) === vtep);
      if (!host?.claimed.has(`${tenant} ${address}`)) this.#violated(`${key} is a ghost on ${vtep}`);
    }
  }

  /** Each endpoint is reached from everywhere, where rules and groups allow it, and only there. */
  async #checkReaches(facts: Facts): Promise<void> {
    const here = [...facts.endpoints.values()].flatMap(
      ({ address, host }) =>
        this.#places.find((one) => isAt(one, facts.name, address) && vtepOf(one.host) === host) ?? [],
    );
    this.#count('reaches', here.length);
    for (const from of here)
      for (const to of here) {
        const source = from.addresses.find((one) => to.addresses.some((other) => isOfOneFamily(one, other)));
        if (from !== to && source !== undefined) await this.#checkReach(facts, from, to, source);
      }
  }

  async #checkReach(facts: Facts, from: Place, to: Place, source: string): Promise<void> {
    const before = this.counts['delivered'] ?? 0;
    const flow = from.flow(source, to.addresses.find((one) => isOfOneFamily(one, source))!, Transport.UD);
    if (from.pipeline) from.sendFromPort(flow, from.mac, to.mac, this.#time.now);
    else {
      const way = from.pathTo(flow);
      if (way) from.send({ flow, path: way.path });
    }
    await this.#time.pass(WIRE_MILLIS);
    const isWired = facts.underlay !== 'local' || from.host === to.host;
    const isAllowed =
      !areApart(facts, flow.from, flow.to) &&
      (['in', 'out'] as const).every((side) => allows(facts, flow.from, flow.to, side, 'ud'));
    const expected = isWired && isAllowed ? 1 : 0;
    const delivered = (this.counts['delivered'] ?? 0) - before;
    if (delivered !== expected)
      this.#violated(`${text(flow)}, from ${from} to ${to}: ${delivered} instead of ${expected}`);
  }
}

const isAt = (place: Place, tenant: string, address: string): boolean =>
  place.tenant === tenant && place.address === nameOf(address);

const text = ({ vni, from, to, transport }: Flow): string =>
  `${transportName(transport)} of VNI ${vni} ${from} to ${to}`;

const placesOf = ({ name, vni, endpoints }: Facts): string[] =>
  [...endpoints.values()].map(({ address, host, group }) => `${name} ${vni} ${gidOf(address)} ${gidOf(host)} ${group}`);
