/**
 * A small world under a virtual clock: hosts that hear of changes late, rules, groups and moves at random, two tenants with the same addresses, honest and forged frames
 * over real sockets. Nothing that arrives was forbidden for longer than the store's delay; when all have heard, everything that is allowed arrives, and nothing else.
 */
import t, { type Test } from 'tap';
import { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { type Endpoint, macOf, type Prefix, type Rule, type Tenant, TRANSPORT_NAMES } from '../../vswitch/model.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import type { Transport } from '../../vswitch/transport.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';
import { Overlay } from '../../workers/overlay/overlay.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import { eventually } from '../support/eventually.ts';

const SEEDS = [1, 2, 3, 4];
const STEPS = 400;
/** A change reaches every host within so much, milliseconds. */
const DELAY = 100;
const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'].map(toGid);
const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'].map(toGid);
const VNIS = [100, 200];
const UDP_PORT = 20_000 + (process.pid % 10_000);
const OPCODES = [Opcode.RC_SEND_ONLY, Opcode.UC_SEND_ONLY, Opcode.UD_SEND_ONLY, Opcode.UD_SEND_ONLY];
const CM = 3;
const FRAME_BYTES = 90;
const ID_AT = FRAME_BYTES - 4;
const PATIENCE_MILLIS = 20_000;
const isConnected = (): boolean => true;

/** A small generator of whole numbers below `most`. */
function random(seed: number): (most: number) => number {
  let state = seed * 7919;
  return (most) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

const bits = (octets: Uint8Array): string => [...octets].map((octet) => octet.toString(2).padStart(8, '0')).join('');
const isIn = (prefix: Prefix, address: Uint8Array): boolean =>
  bits(address).startsWith(bits(prefix.address).slice(0, prefix.bits));

/** The rules' meaning, told another way: all that match, by priority, denials first. */
function allows(tenant: Tenant, from: Endpoint, to: Endpoint, side: 'in' | 'out', transport: number): boolean {
  if (from.group !== to.group) return false;
  const [first] = tenant.rules
    .filter((rule) => ['both', side].includes(rule.direction ?? 'both'))
    .filter((rule) => ['any', TRANSPORT_NAMES[transport]].includes(rule.transport ?? 'any'))
    .filter((rule) => isIn(rule.source, from.address) && isIn(rule.destination, to.address))
    .sort((a, b) => b.priority - a.priority || (a.action === 'deny' ? -1 : 1));
  return first?.action !== 'deny';
}

const find = (tenant: Tenant, address: Uint8Array): Endpoint | undefined =>
  tenant.endpoints.find((one) => gidText(one.address) === gidText(address));
const livesOn = (endpoint: Endpoint | undefined, host: number): endpoint is Endpoint =>
  endpoint !== undefined && gidText(endpoint.host) === gidText(HOSTS[host]!);

interface Place {
  readonly tenant: number;
  readonly address: number;
  readonly host: number;
  readonly member: VxlanMember;
  readonly overlay: Overlay;
}

interface Sent {
  readonly vni: number;
  /** Indices of addresses. */
  readonly from: number;
  readonly to: number;
  readonly host: number;
  readonly transport: number;
}

class World {
  now = 0;
  readonly places: Place[] = [];
  /** Of each tenant, newest last. */
  readonly #versions: { readonly at: number; readonly tenant: Tenant }[][];
  readonly #pending: { readonly at: number; readonly host: number; readonly tenant: Tenant }[] = [];
  readonly #random: (most: number) => number;
  readonly #out = new TransmitBurst(4096);
  readonly #in = new ReceiveBurst(1 << 20);
  #nextId = 0;
  readonly #sent: Sent[] = [];

  constructor(t: Test, seed: number) {
    this.#random = random(seed);
    this.#versions = VNIS.map((vni) => [{ at: 0, tenant: this.#first(vni) }]);
    for (const [tenant, vni] of VNIS.entries())
      for (const address of ADDRESSES.keys())
        for (const [host, local] of HOSTS.entries()) {
          const mac = macOf(vni, ADDRESSES[address]!);
          const member = joinVtep({ local, mtu: 1450, udpPort: UDP_PORT }, vni, macNumber(mac));
          t.teardown(() => member.close());
          const overlay = new Overlay(this.truth(tenant), member, mac, [ADDRESSES[address]!]);
          this.places.push({ tenant, address, host, member, overlay });
        }
  }

  truth(tenant: number): Tenant {
    return this.#versions[tenant]!.at(-1)!.tenant;
  }

  /** Time passes, and hosts hear of what has changed. */
  pass(millis: number): void {
    this.now += millis;
    for (const one of this.#pending.splice(0)) {
      if (one.at > this.now) this.#pending.push(one);
      else this.#tell(one.host, one.tenant);
    }
  }

  change(): void {
    const tenant = this.#random(VNIS.length);
    const changed = this.#changed(this.truth(tenant));
    this.#versions[tenant]!.push({ at: this.now, tenant: changed });
    // A host hears of changes in their order.
    for (const host of HOSTS.keys()) {
      const earlier = this.#pending.filter((one) => one.host === host && one.tenant.vni === changed.vni);
      const least = Math.max(this.now, ...earlier.map(({ at }) => at));
      this.#pending.push({ at: least + this.#random(this.now + DELAY - least + 1), host, tenant: changed });
    }
  }

  /** What a vRNIC of somebody somewhere sends, if it may; undefined when it is refused. */
  honest(): Sent | undefined {
    const place = this.places[this.#random(this.places.length)]!;
    return this.send(place, this.#random(ADDRESSES.length), this.#random(TRANSPORT_NAMES.length));
  }

  send({ tenant, address: from, host, overlay, member }: Place, to: number, transport: number): Sent | undefined {
    if (from === to) return undefined;
    const way = overlay.wayTo(ADDRESSES[from]!, ADDRESSES[to]!, transport as Transport);
    if ('ok' in way) return undefined;
    const sent = { vni: VNIS[tenant]!, from, to, host, transport };
    this.#lay(sent, way.destination);
    member.transmit(this.#out);
    const qpn = this.#nextId++;
    const connection = { qpn, destQpn: qpn, transport: transport as Transport, underlay: 'vxlan' } as const;
    overlay.opened({ ...connection, local: ADDRESSES[from]!, remote: ADDRESSES[to]! }, isConnected);
    return sent;
  }

  /** What a host that lies sends: any VNI, anybody's addresses, to any host. */
  forged(): Sent {
    const [from, to, host] = [this.#random(4), this.#random(4), this.#random(HOSTS.length)];
    const sent = { vni: VNIS[this.#random(2)]!, from, to, host, transport: this.#random(TRANSPORT_NAMES.length) };
    const { member } = this.places.find((place) => place.host === host)!;
    this.#lay(sent, member.hub.vtepIndex(HOSTS[this.#random(HOSTS.length)]!));
    member.transmit(this.#out);
    return sent;
  }

  /** Who has taken what. The kernel may take its time with a frame: its octets say which it is. */
  arrived(): { place: Place; sent: Sent }[] {
    const taken: { place: Place; sent: Sent }[] = [];
    for (let isQuiet = false; !isQuiet; ) {
      isQuiet = true;
      for (const place of this.places) {
        if (place.member.receive(this.#in) > 0) isQuiet = false;
        const { view, at, frameBytes, source } = this.#in;
        for (let i = 0; i < this.#in.count; i++)
          for (let from = at[i]!; from < at[i]! + frameBytes[i]!; from += FRAME_BYTES) {
            if (place.overlay.admit(view, from, from + FRAME_BYTES, source[i]!) !== 0) continue;
            taken.push({ place, sent: this.#sent[view.getUint32(from + ID_AT)]! });
          }
      }
    }
    return taken;
  }

  /** Whether, at some moment of the last DELAY, this was no more than what its receiver's host should let in. */
  mayArrive({ vni, from, to, host, transport }: Sent, at: Place): boolean {
    if (VNIS[at.tenant] !== vni || at.address !== to) return false;
    const versions = this.#versions[at.tenant]!;
    return versions.some(({ tenant }, i) => {
      const isOver = i + 1 < versions.length && versions[i + 1]!.at < this.now - DELAY;
      const [source, destination] = [find(tenant, ADDRESSES[from]!), find(tenant, ADDRESSES[to]!)];
      if (isOver || !livesOn(source, host) || !livesOn(destination, at.host)) return false;
      return allows(tenant, source, destination, 'in', transport);
    });
  }

  /** Whether it must arrive when everybody knows the truth. */
  mustArrive({ tenant, address, host }: Place, to: number, transport: number): boolean {
    const truth = this.truth(tenant);
    const [source, destination] = [find(truth, ADDRESSES[address]!), find(truth, ADDRESSES[to]!)];
    if (!livesOn(source, host) || destination === undefined) return false;
    const isTwoWay = TRANSPORT_NAMES[transport] !== 'ud';
    const out = allows(truth, source, destination, 'out', transport);
    const back = allows(truth, destination, source, 'in', transport);
    return out && (!isTwoWay || back) && allows(truth, source, destination, 'in', transport);
  }

  #first(vni: number): Tenant {
    const endpoints = ADDRESSES.map((address, i) => this.#endpoint(vni, address, i % HOSTS.length));
    return { name: `tenant${vni}`, vni, endpoints, rules: [] };
  }

  #endpoint(vni: number, address: Uint8Array, host: number, group?: string): Endpoint {
    return { address, mac: macOf(vni, address), host: HOSTS[host]!, ...(group !== undefined && { group }) };
  }

  #tell(host: number, tenant: Tenant): void {
    for (const place of this.places) {
      if (place.host !== host || VNIS[place.tenant] !== tenant.vni) continue;
      place.overlay.update(tenant, isConnected);
      for (const { local, remote, transport } of place.overlay.connections(isConnected)) {
        const [own, peer] = [find(tenant, local), find(tenant, remote)];
        const stays = livesOn(own, host) && peer !== undefined && allows(tenant, own, peer, 'out', transport);
        if (!stays) throw new Error(`a connection to ${gidText(remote)} outlives what allowed it`);
      }
    }
  }

  #changed(tenant: Tenant): Tenant {
    const { vni, endpoints, rules } = tenant;
    const pick = this.#random(endpoints.length);
    switch (this.#random(5)) {
      case 0:
        return { ...tenant, rules: rules.filter((_, i) => i !== 0) };
      case 1: {
        const moved = endpoints.map((one, i) =>
          i === pick ? this.#endpoint(vni, one.address, this.#random(HOSTS.length), one.group) : one,
        );
        return { ...tenant, endpoints: moved };
      }
      case 2: {
        const group = this.#random(3) === 0 ? { group: 'apart' } : {};
        const { group: _, ...bare } = endpoints[pick] ?? this.#endpoint(vni, ADDRESSES[0]!, 0);
        return { ...tenant, endpoints: endpoints.map((one, i) => (i === pick ? { ...bare, ...group } : one)) };
      }
      case 3: {
        const gone = ADDRESSES.find((address) => !find(tenant, address));
        if (gone)
          return { ...tenant, endpoints: [...endpoints, this.#endpoint(vni, gone, this.#random(HOSTS.length))] };
        return { ...tenant, endpoints: endpoints.filter((_, i) => i !== pick) };
      }
      default:
        return { ...tenant, rules: [...rules.slice(-3), this.#rule()] };
    }
  }

  #rule(): Rule {
    const prefix = (): Prefix => ({ address: ADDRESSES[this.#random(4)]!, bits: [0, 126, 127, 128][this.#random(4)]! });
    return {
      id: `rule${this.#nextId++}`,
      priority: this.#random(4),
      action: this.#random(3) === 0 ? 'allow' : 'deny',
      source: prefix(),
      destination: prefix(),
      direction: (['in', 'out', 'both'] as const)[this.#random(3)]!,
      transport: ([...TRANSPORT_NAMES, 'any'] as const)[this.#random(5)]!,
    };
  }

  #lay(sent: Sent, destination: number): void {
    const { vni, from, to, transport } = sent;
    const burst = this.#out;
    burst.reset();
    const [ipAt, udpAt, bthAt] = [22, 42, 50];
    const word = (address: number): number => new DataView(ADDRESSES[address]!.buffer).getUint32(12);
    burst.bytes.fill(0, 0, FRAME_BYTES);
    Vxlan.write(burst.view, 0, vni);
    burst.bytes.set(macOf(vni, ADDRESSES[to]!), 8);
    burst.bytes.set(macOf(vni, ADDRESSES[from]!), 14);
    burst.view.setUint16(20, 0x0800);
    Ipv4.write(burst.view, ipAt, 0, FRAME_BYTES - ipAt, 0, 64, Ipv4.PROTOCOL_UDP, word(from), word(to));
    Udp.write(burst.view, udpAt, 1, Udp.PORT_ROCE, FRAME_BYTES - udpAt);
    burst.view.setUint32(ID_AT, this.#sent.push(sent) - 1);
    burst.view.setUint8(bthAt, OPCODES[transport]!);
    burst.view.setUint32(bthAt + 4, transport === CM ? 1 : 77);
    burst.at[0] = 0;
    burst.frameBytes[0] = FRAME_BYTES;
    burst.segmentBytes[0] = 0;
    burst.destination[0] = destination;
    burst.count = 1;
    burst.end = FRAME_BYTES;
  }
}

for (const seed of SEEDS)
  t.test(`a world of rules, moves and late hosts, seed ${seed}`, async (t) => {
    const world = new World(t, seed);
    const next = random(seed + 1000);
    const forged = new Set<Sent>();
    const counts = { arrived: 0, forged: 0, wrong: 0 };
    for (let step = 0; step < STEPS; step++) {
      world.pass(next(30));
      const what = next(10);
      if (what < 2) world.change();
      else if (what < 7) world.honest();
      else forged.add(world.forged());
      for (const { place, sent } of world.arrived()) {
        counts.arrived++;
        if (forged.has(sent)) counts.forged++;
        if (!world.mayArrive(sent, place)) counts.wrong++;
      }
    }
    t.equal(counts.wrong, 0, JSON.stringify(counts));
    t.ok(counts.arrived > STEPS / 20, `${counts.arrived} frames arrived`);

    world.pass(DELAY);
    const asked = new Set<Sent>();
    const wanted = new Set<Sent>();
    const got = new Map<Sent, Place>();
    const take = (): void => {
      for (const { place, sent } of world.arrived()) got.set(sent, place);
    };
    let refused = 0;
    for (const place of world.places)
      for (const to of ADDRESSES.keys())
        for (const transport of TRANSPORT_NAMES.keys()) {
          const isWanted = to !== place.address && world.mustArrive(place, to, transport);
          const sent = world.send(place, to, transport);
          if (sent) asked.add(sent);
          if (isWanted && sent) wanted.add(sent);
          else if (isWanted) refused++;
          take();
        }
    await eventually(() => {
      take();
      return [...wanted].every((sent) => got.has(sent));
    }, PATIENCE_MILLIS);
    const lost = [...wanted].filter((sent) => !got.has(sent)).length + refused;
    const crossed = [...got].filter(
      ([sent, place]) => asked.has(sent) !== wanted.has(sent) || !world.mayArrive(sent, place),
    ).length;
    t.strictSame({ lost, crossed }, { lost: 0, crossed: 0 }, 'when all have heard');
    t.ok(wanted.size > 0, `${wanted.size} ways that are open`);
  });
