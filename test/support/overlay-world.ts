/**
 * Hosts, tenants and a control store in virtual time. The store's changes reach each host after a delay of its own; frames take time, too. On each host are the real parts that decide:
 * an `Overlay` for each vRNIC, a `PortPipeline` for each port. What they let through is compared with what the store said.
 */
import type { Path } from '../../rnic/path.ts';
import { judge } from '../../vswitch/judge.ts';
import { type Endpoint, macOf, type Rule, type Tenant } from '../../vswitch/model.ts';
import { Outcome, PortPipeline } from '../../vswitch/port-pipeline.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import { Transport } from '../../vswitch/transport.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Overlay } from '../../workers/overlay/overlay.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import type { Random } from './sim/random.ts';

/** How long the store's changes take at most, and frames; together less than what is allowed for a rule to count everywhere. */
const STORE_MILLIS = 90;
const WIRE_MILLIS = 8;
const GRACE_MILLIS = 100;
const HOST_COUNT = 4;
const FRAME_BYTES = Vxlan.BYTES + Ethernet.BYTES + Ipv4.BYTES + Udp.BYTES + 24;
const OPCODES: Readonly<Record<number, number>> = { [Transport.RC]: 0x04, [Transport.UC]: 0x24, [Transport.UD]: 0x64 };
const TRANSPORTS = [Transport.RC, Transport.UC, Transport.UD] as const;

const text = (octets: Uint8Array): string => octets.join('.');
function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = a.length - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}

interface Version {
  readonly since: number;
  readonly tenant: Tenant;
}

interface Flow {
  readonly vni: number;
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly toMac: Uint8Array;
  readonly transport: Transport;
}

/** Who really sent it; null: an attacker. */
interface InFlight {
  readonly at: number;
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly flow: Flow;
  readonly origin: string | null;
}

interface Connection {
  readonly qpn: number;
  readonly flow: Flow;
  readonly path: Pick<Path, 'destination'>;
  readonly node: Node;
}

interface Node {
  readonly host: number;
  readonly tenant: string;
  readonly address: Uint8Array;
  readonly mac: Uint8Array;
  readonly member: VxlanMember;
  readonly overlay: Overlay | null;
  readonly pipeline: PortPipeline | null;
}

const hostOf = (index: number): Uint8Array => toGid(`127.0.1.${index + 1}`);

function frameOf({ vni, from, to, toMac, transport }: Flow, fromMac: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_BYTES);
  const view = new DataView(bytes.buffer);
  Vxlan.write(view, 0, vni);
  bytes.set(toMac, Vxlan.BYTES);
  bytes.set(fromMac, Vxlan.BYTES + 6);
  view.setUint16(Vxlan.BYTES + 12, Ethernet.ETHER_TYPE_IPV4);
  const ipAt = Vxlan.BYTES + Ethernet.BYTES;
  const word = (address: Uint8Array): number => new DataView(address.buffer, address.byteOffset).getUint32(12);
  Ipv4.write(view, ipAt, 0, FRAME_BYTES - ipAt, 0, 64, Ipv4.PROTOCOL_UDP, word(from), word(to));
  Udp.write(view, ipAt + Ipv4.BYTES, 0xc000, Udp.PORT_ROCE, FRAME_BYTES - ipAt - Ipv4.BYTES);
  view.setUint8(ipAt + Ipv4.BYTES + Udp.BYTES, OPCODES[transport]!);
  view.setUint32(ipAt + Ipv4.BYTES + Udp.BYTES + 4, 17);
  return bytes;
}

export class OverlayWorld {
  now = 0;
  readonly violations: string[] = [];
  readonly counts = { sent: 0, delivered: 0, refused: 0, forged: 0, ended: 0, moves: 0, rules: 0 };
  readonly #random: Random;
  readonly #history = new Map<string, Version[]>();
  /** What each host has heard of each tenant, and what it will hear. */
  readonly #news: { at: number; host: number; tenant: Tenant }[] = [];
  readonly #heardAt = new Map<string, number>();
  readonly #nodes: Node[] = [];
  readonly #inFlight: InFlight[] = [];
  #connections: Connection[] = [];
  #nextQpn = 2;
  #nextRule = 0;

  /** Two tenants with the same addresses; the first has no endpoint on the last host, nor the second on the first. */
  constructor(random: Random, teardown: (undo: () => void) => void) {
    this.#random = random;
    for (const [index, name] of ['blue', 'red'].entries()) {
      const vni = 100 * (index + 1);
      const endpoints = Array.from({ length: 6 }, (_, i): Endpoint => {
        const address = toGid(`10.0.0.${i + 1}`);
        const kind = i % 2 === 0 ? 'vrnic' : 'veth';
        return { address, mac: macOf(vni, address), host: hostOf(index + (i % 3)), kind };
      });
      this.#publish({ name, vni, endpoints, rules: [] }, true);
    }
    teardown(() => {
      for (const { member } of this.#nodes) member.close();
    });
  }

  /** One thing happens, and time passes. */
  step(): void {
    const random = this.#random;
    this.#passTo(this.now + random.fraction() * 4);
    const choice = random.below(100);
    if (choice < 6) this.#changeRules();
    else if (choice < 10) this.#move();
    else if (choice < 12) this.#regroup();
    else if (choice < 25) this.#connect();
    else if (choice < 50) this.#sendByConnection();
    else if (choice < 90) this.#sendAny(random.pick(this.#nodes));
    else this.#forge();
    this.#checkConnections();
  }

  /** Nothing changes any more: after a while everybody reaches whom they may, and nobody else. */
  settle(): void {
    this.#passTo(this.now + 2 * GRACE_MILLIS);
    for (const tenant of this.#current()) {
      for (const from of tenant.endpoints)
        for (const to of tenant.endpoints) if (from !== to) this.#checkReach(tenant, from, to);
    }
  }

  #current(): Tenant[] {
    return [...this.#history.values()].map((versions) => versions.at(-1)!.tenant);
  }

  #publish(tenant: Tenant, isFirst = false): void {
    const versions = this.#history.has(tenant.name) ? this.#recent(tenant.name) : [];
    this.#history.set(tenant.name, [...versions, { since: this.now, tenant }]);
    for (let host = 0; host < HOST_COUNT; host++) {
      const key = `${host} ${tenant.name}`;
      // In the store's order: what was said earlier is heard earlier.
      const at = isFirst ? 0 : Math.max(this.#heardAt.get(key) ?? 0, this.now + this.#random.fraction() * STORE_MILLIS);
      this.#heardAt.set(key, at);
      if (isFirst) this.#hear(host, tenant);
      else this.#news.push({ at, host, tenant });
    }
  }

  #passTo(until: number): void {
    for (;;) {
      const news = earliest(this.#news);
      const frame = earliest(this.#inFlight);
      const isNews = news !== undefined && (frame === undefined || news.at <= frame.at);
      const next = isNews ? news : frame;
      if (next === undefined || next.at > until) break;
      this.now = next.at;
      if (isNews) this.#hear(remove(this.#news, news).host, news.tenant);
      else this.#arrive(remove(this.#inFlight, frame!));
    }
    this.now = until;
  }

  #hear(host: number, tenant: Tenant): void {
    const local = hostOf(host);
    for (const endpoint of tenant.endpoints) {
      const isKnown = this.#nodes.some(
        (one) => one.host === host && one.tenant === tenant.name && same(one.address, endpoint.address),
      );
      if (!isKnown && same(endpoint.host, local)) this.#nodes.push(this.#newNode(host, tenant, endpoint));
    }
    for (const node of this.#nodes) if (node.host === host && node.tenant === tenant.name) this.#tell(node, tenant);
  }

  #newNode(host: number, tenant: Tenant, { address, mac, kind }: Endpoint): Node {
    const local = hostOf(host);
    const member = joinVtep({ local, mtu: 1400, udpPort: 0 }, tenant.vni, macNumber(mac), kind === 'veth');
    const hosts = tenant.endpoints.map((one) => one.host);
    member.hub.nameHosts(member, [local, ...hosts]);
    const base = { host, tenant: tenant.name, address, mac, member };
    if (kind !== 'veth') return { ...base, overlay: new Overlay(tenant, member, mac, [address]), pipeline: null };
    const hostIndex = (one: Uint8Array): number => member.hub.vtepIndex(one);
    return { ...base, overlay: null, pipeline: new PortPipeline({ tenant, address, mtu: 1400, local, hostIndex }) };
  }

  #tell({ overlay, pipeline, member, host }: Node, tenant: Tenant): void {
    if (pipeline) member.hub.nameHosts(member, [hostOf(host), ...tenant.endpoints.map((one) => one.host)]);
    pipeline?.update(tenant);
    const alive = new Set(this.#connections.map(({ qpn }) => qpn));
    const ended = new Set(overlay?.update(tenant, (qpn) => alive.has(qpn)));
    this.counts.ended += ended.size;
    this.#connections = this.#connections.filter(({ qpn }) => !ended.has(qpn));
  }

  #changeRules(): void {
    const random = this.#random;
    const tenant = random.pick(this.#current());
    this.counts.rules++;
    if (tenant.rules.length > 0 && random.chance(0.6)) {
      const gone = random.pick(tenant.rules);
      return this.#publish({ ...tenant, rules: tenant.rules.filter((rule) => rule !== gone) });
    }
    const prefix = (): Rule['source'] =>
      random.chance(0.3)
        ? { address: new Uint8Array(16), bits: 0 }
        : { address: random.pick(tenant.endpoints).address, bits: 128 };
    const rule: Rule = {
      id: `r${this.#nextRule++}`,
      priority: random.below(4),
      action: random.chance(0.8) ? 'deny' : 'allow',
      source: prefix(),
      destination: prefix(),
      direction: random.pick(['in', 'out', 'both']),
      transport: random.pick(['any', 'any', 'rc', 'ud']),
    };
    this.#publish({ ...tenant, rules: [...tenant.rules, rule] });
  }

  #alter(tenant: Tenant, endpoint: Endpoint, changed: Endpoint): void {
    this.#publish({ ...tenant, endpoints: tenant.endpoints.map((one) => (one === endpoint ? changed : one)) });
  }

  #move(): void {
    const tenant = this.#random.pick(this.#current());
    const endpoint = this.#random.pick(tenant.endpoints);
    this.counts.moves++;
    this.#alter(tenant, endpoint, {
      ...endpoint,
      host: hostOf((tenant.name === 'blue' ? 0 : 1) + this.#random.below(3)),
    });
  }

  #regroup(): void {
    const tenant = this.#random.pick(this.#current());
    const endpoint = this.#random.pick(tenant.endpoints);
    const { group, ...without } = endpoint;
    this.#alter(
      tenant,
      endpoint,
      group === undefined && this.#random.chance(0.5) ? { ...without, group: 'g' } : without,
    );
  }

  #flowTo(node: Node, to: Uint8Array, transport: Transport): Flow {
    const { vni } = node.member;
    return { vni, from: node.address, to, toMac: macOf(vni, to), transport };
  }

  #connect(): void {
    const node = this.#random.pick(this.#nodes);
    if (!node.overlay) return;
    const flow = this.#flowTo(
      node,
      toGid(`10.0.0.${1 + this.#random.below(6)}`),
      this.#random.pick([Transport.RC, Transport.UC]),
    );
    const way = node.overlay.wayTo(flow.from, flow.to, flow.transport);
    if ('ok' in way || same(flow.from, flow.to)) return;
    const path = { destination: way.destination, template: new Uint8Array(FRAME_BYTES), ethernetAt: Vxlan.BYTES };
    node.overlay.follow(flow.from, flow.to, flow.transport, path as Path);
    const qpn = this.#nextQpn++;
    this.#connections.push({ qpn, flow, path, node });
    const { from: local, to: remote, transport } = flow;
    node.overlay.opened({ qpn, destQpn: qpn, local, remote, transport, underlay: way.underlay }, (one) =>
      this.#connections.some((c) => c.qpn === one),
    );
  }

  #sendByConnection(): void {
    if (this.#connections.length === 0) return;
    const { node, flow, path } = this.#random.pick(this.#connections);
    this.#transmit(node, flow, frameOf(flow, node.mac), path.destination);
  }

  /** A datagram of a vRNIC, or what a machine behind a port makes up. */
  #sendAny(node: Node): void {
    const random = this.#random;
    const to = toGid(`10.0.0.${1 + random.below(7)}`);
    if (node.overlay) return this.#sendDatagram(node, this.#flowTo(node, to, Transport.UD));
    const honest = this.#flowTo(node, to, random.pick(TRANSPORTS));
    const isLiar = random.chance(0.2);
    const flow: Flow = isLiar
      ? {
          ...honest,
          from: toGid(`10.0.0.${1 + random.below(7)}`),
          toMac: macOf(node.member.vni, toGid(`10.0.0.${1 + random.below(7)}`)),
        }
      : honest;
    this.#sendFromPort(node, flow, isLiar && random.chance(0.5) ? macOf(node.member.vni, flow.from) : node.mac);
  }

  #sendDatagram(node: Node, flow: Flow): void {
    const way = node.overlay!.wayTo(flow.from, flow.to, flow.transport);
    if ('ok' in way) this.counts.refused++;
    else this.#transmit(node, flow, frameOf(flow, node.mac), way.destination);
  }

  #sendFromPort(node: Node, flow: Flow, fromMac: Uint8Array): void {
    const bytes = frameOf(flow, fromMac);
    const inner = bytes.length - Vxlan.BYTES;
    const outcome = node.pipeline!.fromPort(
      new DataView(bytes.buffer),
      Vxlan.BYTES,
      bytes.length,
      inner - Ethernet.BYTES,
      this.now * 1000,
    );
    if (outcome === Outcome.PEER) this.#transmit(node, flow, bytes, node.pipeline!.destination);
    else if (outcome === Outcome.FLOOD)
      for (const host of node.member.hosts.values()) this.#transmit(node, flow, bytes, host);
    else this.counts.refused++;
  }

  /** To the host with that number, where there still is one. */
  #transmit(node: Node, flow: Flow, bytes: Uint8Array, destination: number): void {
    const host = node.member.hub.vtep(destination);
    this.counts.sent++;
    if (host === undefined) return;
    this.#put(node.host, hostIndexOf(host), bytes, flow, `${node.tenant} ${text(node.address)}`);
  }

  #put(from: number, to: number, bytes: Uint8Array, flow: Flow, origin: string | null): void {
    this.#inFlight.push({ at: this.now + this.#random.fraction() * WIRE_MILLIS, from, to, bytes, flow, origin });
  }

  /** A host that is in no tenant, or in the other one alone, says that it is somebody. */
  #forge(): void {
    const random = this.#random;
    const isBlue = random.chance(0.5);
    const vni = isBlue ? 100 : 200;
    const [from, to] = [toGid(`10.0.0.${1 + random.below(6)}`), toGid(`10.0.0.${1 + random.below(6)}`)];
    const flow = { vni, from, to, toMac: macOf(vni, to), transport: random.pick(TRANSPORTS) };
    const outsider = isBlue ? HOST_COUNT - 1 : 0;
    this.counts.forged++;
    this.#put(
      random.pick([outsider, HOST_COUNT]),
      random.below(HOST_COUNT),
      frameOf(flow, macOf(vni, from)),
      flow,
      null,
    );
  }

  #arrive(frame: InFlight): void {
    const { bytes, to, flow } = frame;
    const here = this.#nodes.filter((node) => node.host === to && node.member.vni === flow.vni);
    const owner = here.find(({ mac }) => same(mac, flow.toMac));
    for (const node of owner ? [owner] : here.filter(({ pipeline }) => pipeline)) {
      const view = new DataView(bytes.buffer);
      const source = node.member.hub.vtepIndex(hostOf(frame.from));
      const isTaken = node.overlay
        ? node.overlay.admit(view, 0, bytes.length, source) === 0
        : node.pipeline!.fromNetwork(view, 0, bytes.length, source, this.now * 1000) === Outcome.DELIVER;
      if (isTaken) this.#delivered(frame, node);
    }
  }

  #delivered({ flow, origin }: InFlight, node: Node): void {
    this.counts.delivered++;
    const what = `${this.now.toFixed(1)}: ${text(flow.from)} to ${text(flow.to)} of VNI ${flow.vni}, at ${node.tenant} ${text(node.address)} on ${node.host}`;
    if (origin === null) this.violations.push(`forged ${what}`);
    else if (origin !== `${node.tenant} ${text(flow.from)}`) this.violations.push(`from ${origin} ${what}`);
    else if (this.#wasDenied(node.tenant, flow, node.address)) this.violations.push(`denied ${what}`);
    if (!this.#livedHere(node)) this.violations.push(`not at home ${what}`);
  }

  #checkConnections(): void {
    for (const { flow, node } of this.#connections) {
      const { from, to, transport } = flow;
      if (this.#recent(node.tenant).every(({ tenant }) => !mayConnect(tenant, from, to, transport)))
        this.violations.push(
          `${this.now.toFixed(1)}: a denied connection lives on: ${text(flow.from)} to ${text(flow.to)}`,
        );
    }
  }

  /** What the store has said since GRACE_MILLIS ago. */
  #recent(tenant: string): Version[] {
    const versions = this.#history.get(tenant)!;
    return versions.filter((_, i) => (versions[i + 1]?.since ?? Number.POSITIVE_INFINITY) > this.now - GRACE_MILLIS);
  }

  /** All the time, at one of the two ends: each of them judges by what it has heard. Who sends a flood does not know who hears it. */
  #wasDenied(tenant: string, { from, to, transport }: Flow, receiver: Uint8Array): boolean {
    const versions = this.#recent(tenant);
    const isFlood = !same(to, receiver);
    return (
      versions.every(({ tenant: { endpoints } }) => groupOf(endpoints, from) !== groupOf(endpoints, receiver)) ||
      versions.every(({ tenant: { rules } }) => !judge(rules, from, receiver, 'in', transport).isAllowed) ||
      (!isFlood && versions.every(({ tenant: { rules } }) => !judge(rules, from, to, 'out', transport).isAllowed))
    );
  }

  #livedHere({ tenant, address, host }: Node): boolean {
    return this.#recent(tenant).some(({ tenant: { endpoints } }) =>
      endpoints.some((one) => same(one.address, address) && same(one.host, hostOf(host))),
    );
  }

  /** No endpoint is lost: it is reached from everywhere, where rules and groups allow it, and only there. */
  #checkReach(tenant: Tenant, from: Endpoint, to: Endpoint): void {
    const node = this.#nodes.find(
      (one) => one.tenant === tenant.name && same(one.address, from.address) && same(hostOf(one.host), from.host),
    );
    if (!node) return void this.violations.push(`${tenant.name} ${text(from.address)} is nowhere`);
    const before = this.counts.delivered;
    const flow = this.#flowTo(node, to.address, Transport.UD);
    if (node.overlay) this.#sendDatagram(node, flow);
    else this.#sendFromPort(node, flow, node.mac);
    this.#passTo(this.now + WIRE_MILLIS);
    const expected = isAllowed(tenant, from.address, to.address, Transport.UD) ? 1 : 0;
    const delivered = this.counts.delivered - before;
    if (delivered !== expected)
      this.violations.push(
        `${tenant.name}: ${text(from.address)} to ${text(to.address)}: ${delivered} instead of ${expected}`,
      );
  }
}

/** Asked at `from`: what it sends there, and what it hears from there. */
function mayConnect({ rules, endpoints }: Tenant, from: Uint8Array, to: Uint8Array, transport: Transport): boolean {
  if (groupOf(endpoints, from) !== groupOf(endpoints, to)) return false;
  return judge(rules, from, to, 'out', transport).isAllowed && judge(rules, to, from, 'in', transport).isAllowed;
}

const groupOf = (endpoints: readonly Endpoint[], address: Uint8Array): string | undefined =>
  endpoints.find((endpoint) => same(endpoint.address, address))?.group;

/** Asked at `from` when it leaves, and at `to` when it comes. */
function isAllowed({ rules, endpoints }: Tenant, from: Uint8Array, to: Uint8Array, transport: Transport): boolean {
  if (groupOf(endpoints, from) !== groupOf(endpoints, to)) return false;
  return judge(rules, from, to, 'out', transport).isAllowed && judge(rules, from, to, 'in', transport).isAllowed;
}

const hostIndexOf = (host: Uint8Array): number => host[15]! - 1;

function earliest<T extends { at: number }>(list: readonly T[]): T | undefined {
  let best: T | undefined;
  for (const one of list) if (best === undefined || one.at < best.at) best = one;
  return best;
}

function remove<T>(list: T[], one: T): T {
  list.splice(list.indexOf(one), 1);
  return one;
}
