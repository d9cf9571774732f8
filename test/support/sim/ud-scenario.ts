/** Random datagrams between the UD QPs of two hosts, to QPs and to groups: each that is delivered is one that was sent, whole, and each drop is counted by its name. */
import { QpType, SendFlag, WcFlag, WcOpcode, WcStatus, WrOpcode } from '../../../rnic/constants.ts';
import type { End } from '../../referee/referee.ts';
import * as Area from './area.ts';
import { type Arrival, arrivalOf } from './arrival.ts';
import { ArrivalsModel, Level, Tallies } from './arrivals-model.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp } from './host.ts';
import { OneWayPosts } from './one-way-posts.ts';
import type { Options } from './options.ts';
import { lengthOf, payloadOf } from './payload.ts';
import type { Random } from './random.ts';
import { psnOf } from './rc-scenario.ts';
import { OwnReceives, SharedReceives } from './receives.ts';
import { A, addressName, B, type Scenario } from './scenario.ts';
import type { World } from './world.ts';

const GRH_BYTES = 40;
const PSN_MASK = 0xff_ffff;
const MULTICAST_QPN = 0xff_ffff;
const GROUPS = [0xef00_0001, 0xef00_0002];
const Q_KEYS = [0x1111, 0x2222];
const MTU = 4096;
const CQES = 600;
/** A datagram is little work. */
const WORK_FACTOR = 5;
const SHARED_BUFFERS = 12;
const OWN_BUFFERS = 8;
const PORT_BYTES = OWN_BUFFERS * (GRH_BYTES + MTU);
const NO_ADDRESS_HANDLE = 30_000;
const COUNTED = [
  'rcvd_pkts',
  'rx_send_requests',
  'out_of_buffer',
  'drop_no_qp',
  'drop_qkey',
  'drop_no_group',
  'drop_recv_too_small',
] as const;

/** Octets that a host needs: the source of all datagrams, and the buffers. */
export const udMemoryBytes = (pairs: number): number =>
  Area.SOURCE_BYTES + (pairs + 1) * PORT_BYTES + SHARED_BUFFERS * (GRH_BYTES + MTU);

/** A datagram as it was posted. */
interface Sent {
  readonly octets: Uint8Array;
  readonly immediate: number | null;
  readonly qKey: number;
  readonly destQpn: number;
}

interface Port {
  readonly qp: SimQp;
  readonly qKey: number;
  readonly sqPsn: number;
  readonly posts: OneWayPosts;
  readonly model: ArrivalsModel;
  /** In the order of their PSNs. */
  readonly sent: Sent[];
}

interface Side {
  readonly host: SimHost;
  readonly tallies: Tallies;
  readonly shared: SharedReceives | null;
  /** Of the SRQ. */
  readonly level: Level | null;
  readonly ports: Port[];
  /** Those attached to a group, in the order in which they came. */
  readonly members: Map<number, Port[]>;
  readonly ah: number;
  readonly groupAhs: readonly number[];
}

export class UdScenario implements Scenario {
  readonly #options: Options;
  readonly #random: Random;
  readonly #sides: readonly [Side, Side];
  /** Work requests of each QP. */
  readonly #work: number;

  constructor(world: World, options: Options, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#work = WORK_FACTOR * options.work;
    this.#sides = [this.#side(world.a, B), this.#side(world.b, A)];
    for (const side of this.#sides) {
      for (let i = 0; i <= options.pairs; i++) side.ports.push(this.#port(side, i));
      side.host.witness = (frame) => this.#arrive(side, arrivalOf(frame, options.isIpv6));
    }
  }

  get isDone(): boolean {
    return this.#ports.every(({ posts }) => posts.count >= this.#work && posts.isIdle);
  }

  get state(): string {
    return this.#ports.map(({ posts }) => `${posts.count} posted`).join('; ');
  }

  get completions(): number {
    return this.#ports.reduce((sum, { posts }) => sum + posts.completed, 0);
  }

  get errors(): number {
    return this.#ports.reduce((sum, { posts }) => sum + posts.errors, 0);
  }

  readonly connections = [];

  get senders(): readonly End[] {
    const { isIpv6 } = this.#options;
    return this.#sides.flatMap(({ host, ports }) =>
      ports.map(({ qp }) => ({ address: addressName(host.options.address, isIpv6), qpn: qp.qpNum })),
    );
  }

  act(): void {
    this.#poll();
    const random = this.#random;
    for (const [i, side] of this.#sides.entries()) {
      for (const port of side.ports) {
        if (random.chance(0.8)) port.model.receives.post(random);
        if (random.chance(0.5)) port.posts.resume();
        if (random.chance(0.05)) this.#changeGroup(side, port);
        const peers = this.#sides[1 - i]!.ports;
        while (port.posts.count < this.#work && random.chance(0.8) && this.#post(side, port, peers));
      }
    }
  }

  finish(): void {
    this.#poll();
    for (const { host, tallies } of this.#sides) tallies.check(host);
  }

  get #ports(): Port[] {
    return this.#sides.flatMap(({ ports }) => ports);
  }

  #poll(): void {
    for (const { posts, model } of this.#ports) {
      posts.poll();
      model.poll();
    }
    for (const { shared, ports } of this.#sides) shared?.check(ports.length);
  }

  // ── Set up ──

  #side(host: SimHost, peer: number): Side {
    const { hasSrq, pairs } = this.#options;
    const buffersAt = Area.SOURCE_BYTES + (pairs + 1) * PORT_BYTES;
    const bufferBytes = GRH_BYTES + this.#random.pick([100, 3000, MTU]);
    const shared = hasSrq ? new SharedReceives(host, buffersAt, SHARED_BUFFERS, bufferBytes) : null;
    return {
      host,
      tallies: new Tallies(COUNTED),
      shared,
      level: shared && new Level(() => shared.srq.ring),
      ports: [],
      members: new Map(GROUPS.map((group) => [group, []])),
      ah: host.createAh(peer),
      groupAhs: GROUPS.map((group) => host.createGroupAh(group)),
    };
  }

  #port({ host, shared, level, tallies }: Side, index: number): Port {
    const random = this.#random;
    const sqSigAll = random.chance(0.2);
    const srq = shared === null ? {} : { srq: shared.srq };
    const qp = host.createQp(QpType.UD, this.#options.depth, sqSigAll, { cqe: CQES, ...srq });
    const [qKey, sqPsn] = [random.pick(Q_KEYS), psnOf(random)];
    host.open(qp, qKey, sqPsn);
    const at = Area.SOURCE_BYTES + index * PORT_BYTES;
    const bufferBytes = GRH_BYTES + random.pick([100, 3000, MTU]);
    const receives = shared ?? new OwnReceives(host, () => qp, at, OWN_BUFFERS, bufferBytes);
    const model = new ArrivalsModel(qp, level ?? new Level(() => qp.rq), receives, tallies);
    return { qp, qKey, sqPsn, posts: new OneWayPosts(host, qp, sqSigAll), model, sent: [] };
  }

  // ── Arrivals ──

  #arrive(side: Side, arrival: Arrival | undefined): void {
    if (arrival === undefined) return;
    for (const { model } of side.ports) model.level.begin();
    const { destQpn } = arrival;
    if (destQpn === MULTICAST_QPN) this.#fanOut(side, arrival);
    else {
      const port = side.ports.find(({ qp }) => qp.qpNum === destQpn);
      if (port === undefined) side.tallies.add('drop_no_qp');
      else this.#deliver(side, port, arrival);
    }
  }

  /** one copy for each that is attached when it arrives. */
  #fanOut(side: Side, arrival: Arrival): void {
    const group = arrival.ip.readUInt32BE(arrival.ip.length - 4);
    const members = side.members.get(group) ?? [];
    if (members.length === 0) side.tallies.add('drop_no_group');
    for (const port of members) this.#deliver(side, port, arrival);
  }

  #deliver({ host, tallies }: Side, { qp, qKey, model }: Port, arrival: Arrival): void {
    const deth = arrival.transport.subarray(12, 20);
    const srcQp = deth.readUIntBE(5, 3);
    const sent = this.#sentBy(srcQp, arrival);
    if (deth.readUInt32BE(0) !== sent.qKey) throw new Broken('a datagram left with another Q_Key than it was to have');
    if (sent.qKey !== qKey) return tallies.add('drop_qkey');
    tallies.add('rcvd_pkts');
    if (!model.take()) return;
    const { octets, immediate } = sent;
    const byteLen = GRH_BYTES + octets.length;
    if (byteLen > model.receives.bufferBytes) return tallies.add('drop_recv_too_small');
    tallies.add('rx_send_requests');
    const want = Buffer.concat([grhOf(arrival.ip), octets]);
    const check = (at: number): void => {
      const got = Buffer.from(host.bytes.subarray(at, at + byteLen));
      if (!arrival.isIntact) want.copy(got, CHECKSUM_AT, CHECKSUM_AT, CHECKSUM_AT + 2);
      if (!got.equals(want)) throw new Broken(`QP ${qp.qpNum} got another datagram than QP ${srcQp} sent`);
    };
    model.complete({ opcode: WcOpcode.RECV, byteLen, immediate, srcQp, flags: WcFlag.GRH, check });
  }

  #sentBy(srcQp: number, { psn, destQpn }: Arrival): Sent {
    const port = this.#ports.find(({ qp }) => qp.qpNum === srcQp);
    const sent = port?.sent[(psn - port.sqPsn) & PSN_MASK];
    if (sent?.destQpn !== destQpn)
      throw new Broken(`a datagram of QP ${srcQp} arrived that was not sent to ${destQpn}`);
    return sent;
  }

  // ── Work ──

  #changeGroup(side: Side, port: Port): void {
    const group = this.#random.pick(GROUPS);
    const members = side.members.get(group)!;
    const index = members.indexOf(port);
    side.host.changeGroup(index === -1 ? 'attachMcast' : 'detachMcast', port.qp, group);
    if (index === -1) members.push(port);
    else members.splice(index, 1);
  }

  #post({ host, ah, groupAhs }: Side, port: Port, peers: readonly Port[]): boolean {
    const random = this.#random;
    const flags = (random.chance(0.6) ? SendFlag.SIGNALED : 0) | (random.chance(0.2) ? SendFlag.SOLICITED : 0);
    const length = lengthOf(1024, MTU, random);
    const { parts, octets } = payloadOf(host, 0, Area.SOURCE_BYTES, length, flags, random);
    const peer = random.pick(peers);
    const toGroup = random.chance(0.25);
    const qKey = random.chance(0.9) ? peer.qKey : 0x3333;
    // the highest bit asks for the QP's own.
    const asked = random.chance(0.05) ? 0x8000_0001 : qKey;
    const stranger = random.chance(0.03) ? peer.qp.qpNum ^ 0x80_0000 : peer.qp.qpNum;
    const destQpn = toGroup ? MULTICAST_QPN : stranger;
    const hasImmediate = random.chance(0.5);
    const immediate = random.bits();
    const opcode = hasImmediate ? WrOpcode.SEND_WITH_IMM : WrOpcode.SEND;
    const ahNum = toGroup ? random.pick(groupAhs) : ah;
    const request = { opcode, immediate, ...parts, ahNum, destQpn, qKey: asked };
    if (this.#options.hasHazards && random.chance(0.02)) return this.#postWrong(host, port, request);
    if (!port.posts.post(request, WcOpcode.SEND)) return false;
    const real = asked === qKey ? qKey : port.qKey;
    if (port.posts.isSending)
      port.sent.push({ octets, immediate: hasImmediate ? immediate : null, qKey: real, destQpn });
    return true;
  }

  /** too long, to nobody, of a kind that UD has not; a local key that is none. The send queue stops. */
  #postWrong(host: SimHost, { posts }: Port, request: Parameters<OneWayPosts['post']>[0]): boolean {
    const { opcode, flags, immediate = 0, ahNum = 0, destQpn = 0, qKey = 0 } = request;
    const plain = { opcode, flags: flags & ~SendFlag.INLINE, immediate, ahNum, destQpn, qKey };
    const { LOC_LEN_ERR, LOC_QP_OP_ERR, LOC_PROT_ERR } = WcStatus;
    switch (this.#random.below(4)) {
      case 0:
        return posts.post({ ...plain, sges: [host.sge(0, MTU + 1)] }, WcOpcode.SEND, LOC_LEN_ERR);
      case 1:
        return posts.post({ ...request, ahNum: NO_ADDRESS_HANDLE }, WcOpcode.SEND, LOC_QP_OP_ERR);
      case 2:
        return posts.post({ ...plain, opcode: WrOpcode.RDMA_WRITE }, WcOpcode.RDMA_WRITE, LOC_QP_OP_ERR);
      default: {
        const sges = [{ address: 0, length: 100, lKey: host.key ^ 0x100 }];
        return posts.post({ ...plain, sges }, WcOpcode.SEND, LOC_PROT_ERR);
      }
    }
  }
}

/** IPv4's checksum, behind 20 octets of zero. */
const CHECKSUM_AT = 20 + 10;

/** */
const grhOf = (ip: Buffer): Buffer => (ip.length === GRH_BYTES ? ip : Buffer.concat([Buffer.alloc(20), ip]));
