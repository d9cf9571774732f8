/**
 * What a packet must pass before a QP sees it: one chain of named checks, in the order of IBA Vol. 1, §9.6 and SPEC-CHECKLIST R-001 … R-026. Nothing is acted upon
 * before the ICRC held. A refusal is a counter, nothing else: no reply, no change of state.
 */
import * as Bth from '../wire/bth.ts';
import { crc32 } from '../wire/crc32.ts';
import * as Deth from '../wire/deth.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import * as Opcode from '../wire/opcode.ts';
import type { Micros } from '../wire/types.ts';
import * as Udp from '../wire/udp.ts';
import { QpState, QpType } from './constants.ts';
import { Counter, type Counters } from './counters.ts';
import type { EndedMessages } from './ended-messages.ts';
import type { MulticastGroups } from './multicast.ts';
import type { ReceivedPacket } from './packet.ts';
import type { Path } from './path.ts';
import type { QueuePair } from './qp.ts';
import type { QpTable } from './qp-table.ts';
import { spanOf } from './span.ts';

/** Who takes the management datagrams of QP 1: the connection manager. */
export interface GsiSink {
  handleMad(packet: ReceivedPacket, now: Micros): void;
}

const GSI_QPN = 1;
const MULTICAST_QPN = 0xff_ffff;
const GSI_Q_KEY = 0x8001_0000;
const FULL_MEMBER = 0x8000;
const OURS_P_KEY = 0xffff;
const ACCEPT = -1;

const TRANSPORTS: Record<number, number> = { [QpType.RC]: Opcode.RC, [QpType.UC]: Opcode.UC, [QpType.UD]: Opcode.UD };
const RECEIVING: readonly boolean[] = [QpState.RTR, QpState.RTS, QpState.SQD, QpState.SQE].reduce<boolean[]>(
  (states, state) => {
    states[state] = true;
    return states;
  },
  Array.from({ length: 7 }, () => false),
);

export class Ingress {
  gsi: GsiSink | null = null;
  readonly #counters: Counters;
  readonly #qps: QpTable;
  readonly #groups: MulticastGroups;
  readonly #ended: EndedMessages;

  /** The frame whose headers the ICRC went through last, the octets of its packets, and the state behind the UDP header. */
  #frame: number | undefined;
  #packetBytes = 0;
  #headerState = 0;

  constructor(counters: Counters, qps: QpTable, groups: MulticastGroups, ended: EndedMessages) {
    this.#counters = counters;
    this.#qps = qps;
    this.#groups = groups;
    this.#ended = ended;
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    const refused = this.#check(packet);
    if (refused !== ACCEPT) return this.#counters.add(refused);
    const qpn = Bth.destQp(packet.view, packet.bthAt);
    const isRequest = (Opcode.flags(Bth.opcode(packet.view, packet.bthAt)) & Opcode.IS_REQUEST) !== 0;
    this.#ended.turnTo(qpn, isRequest);
    if (packet.connectedOnly && (qpn === MULTICAST_QPN || qpn === GSI_QPN)) this.#counters.add(Counter.drop_underlay);
    else if (qpn === MULTICAST_QPN) this.#fanOut(packet, now);
    else if (qpn === GSI_QPN) this.#management(packet, now);
    else this.#deliver(packet, qpn, now);
  }

  /** The checks that need no QP. */
  #check(packet: ReceivedPacket): number {
    const { view, bthAt, end } = packet;
    const bytes = end - bthAt;
    if (bytes < Bth.BYTES + Icrc.BYTES) return Counter.drop_short;
    if (Bth.version(view, bthAt) !== 0) return Counter.drop_version;
    const opcode = Bth.opcode(view, bthAt);
    const flags = Opcode.flags(opcode);
    if (flags === 0) return Counter.drop_opcode;
    if (bytes < Opcode.headerBytes(opcode) + Bth.padCount(view, bthAt) + Icrc.BYTES) return Counter.drop_short;
    if (!packet.icrcElided && !this.#hasGoodIcrc(packet)) return Counter.rx_icrc_encapsulated;
    // limited members (MSB 0) may talk to full ones; ours is the default partition, full.
    if (((Bth.pKey(view, bthAt) ^ OURS_P_KEY) & ~FULL_MEMBER & 0xffff) !== 0) return Counter.drop_pkey;
    return ACCEPT;
  }

  #hasGoodIcrc(packet: ReceivedPacket): boolean {
    const { view, bytes, bthAt, end, isIpv6, ipId } = packet;
    if (packet.frame !== this.#frame || end - bthAt !== this.#packetBytes || this.#frame === undefined)
      this.#enterFrame(packet);
    const state = isIpv6 ? this.#headerState : this.#headerState ^ Icrc.identificationState(ipId);
    const icrcAt = end - Icrc.BYTES;
    return crc32(bytes, bthAt + Bth.BYTES, icrcAt, Icrc.bthCrc(state, view, bthAt)) === Icrc.read(view, icrcAt);
  }

  /** Packets of one super-frame have their headers in common. */
  #enterFrame(packet: ReceivedPacket): void {
    const { view, ipAt, udpAt, bthAt, end, isIpv6 } = packet;
    const udpBytes = Udp.BYTES + end - bthAt;
    const ipBytes = isIpv6 ? udpBytes : Ipv4.BYTES + udpBytes;
    this.#headerState = Icrc.udpState(view, ipAt, isIpv6, udpAt, ipBytes, udpBytes);
    this.#frame = packet.frame;
    this.#packetBytes = end - bthAt;
  }

  #deliver(packet: ReceivedPacket, qpn: number, now: Micros): void {
    const qp = this.#qps.find(qpn);
    if (qp === undefined) {
      const isCnp = Bth.opcode(packet.view, packet.bthAt) === Opcode.ROCE_CNP;
      if (isCnp) return this.#counters.add(Counter.rp_cnp_ignored);
      return this.#counters.add(this.#qps.isResting(qpn) ? Counter.drop_quarantined_qp : Counter.drop_no_qp);
    }
    const refused = this.#checkQp(packet, qp);
    if (refused !== ACCEPT) return this.#counters.add(refused);
    this.#accepted(packet);
    const opcode = Bth.opcode(packet.view, packet.bthAt);
    if ((Opcode.flags(opcode) & Opcode.IS_REQUEST) !== 0) qp.responder.handlePacket(packet, now);
    else qp.sender.handlePacket(packet, now);
  }

  #checkQp(packet: ReceivedPacket, qp: QueuePair): number {
    const { view, bthAt } = packet;
    const opcode = Bth.opcode(view, bthAt);
    const flags = Opcode.flags(opcode);
    const isCnp = (flags & Opcode.IS_CNP) !== 0;
    if (!isCnp && Opcode.transport(opcode) !== TRANSPORTS[qp.type]) return Counter.drop_opcode_class;
    const isRequest = (flags & Opcode.IS_REQUEST) !== 0;
    // requests from RTR on, responses from RTS on.
    if (RECEIVING[qp.state] !== true || (!isRequest && qp.state === QpState.RTR)) return Counter.drop_qp_state;
    // There is nothing to slow down but RC: whoever sends datagrams paces them.
    if (isCnp && qp.type !== QpType.RC) return Counter.rp_cnp_ignored;
    if (qp.type !== QpType.UD) return checkPeer(packet, qp);
    if (packet.connectedOnly) return Counter.drop_underlay;
    if (Deth.qKey(view, bthAt + Bth.BYTES) !== qp.qKey) return Counter.drop_qkey;
    return ACCEPT;
  }

  #fanOut(packet: ReceivedPacket, now: Micros): void {
    const { view, bthAt } = packet;
    if (Opcode.transport(Bth.opcode(view, bthAt)) !== Opcode.UD) return this.#counters.add(Counter.drop_opcode_class);
    const members = this.#groups.membersFor(view, packet.ipAt, packet.isIpv6);
    if (members === undefined) return this.#counters.add(Counter.drop_no_group);
    // what one member refuses or cannot take is nothing to the others.
    for (let i = 0; i < members.length; i++) {
      const qp = members[i]!;
      // Its own datagram, come back by this vRNIC's loopback, is not for the sender.
      if (packet.icrcElided && Deth.sourceQp(view, bthAt + Bth.BYTES) === qp.qpn) continue;
      const refused = this.#checkQp(packet, qp);
      if (refused !== ACCEPT) this.#counters.add(refused);
      else {
        this.#accepted(packet);
        qp.responder.handlePacket(packet, now);
      }
    }
  }

  #management(packet: ReceivedPacket, now: Micros): void {
    const { view, bthAt } = packet;
    if (Opcode.transport(Bth.opcode(view, bthAt)) !== Opcode.UD) return this.#counters.add(Counter.drop_opcode_class);
    if (Deth.qKey(view, bthAt + Bth.BYTES) !== GSI_Q_KEY) return this.#counters.add(Counter.drop_qkey);
    if (this.gsi === null) return this.#counters.add(Counter.drop_no_qp);
    this.#accepted(packet);
    this.gsi.handleMad(packet, now);
  }

  #accepted(packet: ReceivedPacket): void {
    this.#counters.add(Counter.rcvd_pkts, spanOf(packet));
    this.#counters.add(Counter.rcvd_bytes, packet.end - packet.bthAt);
  }
}

/** A connection has one way: what comes by another port is somebody else's, whatever its addresses say. */
function checkPeer(packet: ReceivedPacket, { path }: QueuePair): number {
  if (path !== null && path.port !== packet.port) return Counter.drop_underlay;
  return isFromPeer(packet, path) ? ACCEPT : Counter.drop_address;
}

/** source and destination are those of the connection, the other way round. */
function isFromPeer(packet: ReceivedPacket, path: Path | null): boolean {
  if (path === null || path.isIpv6 !== packet.isIpv6) return false;
  const { template } = path;
  const { bytes } = packet;
  const addressBytes = path.isIpv6 ? 16 : 4;
  const sourceAt = path.isIpv6 ? Ipv6.SOURCE_AT : Ipv4.SOURCE_AT;
  const ours = path.ipAt + sourceAt;
  const theirs = ours + addressBytes;
  const from = packet.ipAt + sourceAt;
  const to = from + addressBytes;
  for (let i = 0; i < addressBytes; i++) {
    if (bytes[from + i] !== template[theirs + i] || bytes[to + i] !== template[ours + i]) return false;
  }
  return true;
}
