/** Responder of a UD QP: a datagram goes behind 40 octets that hold its IP header. Its Q_Key was checked on the way in. SPEC-CHECKLIST R-129 … R-136. */
import { registerArena } from '../wire/arena.ts';
import * as Bth from '../wire/bth.ts';
import * as Deth from '../wire/deth.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Opcode from '../wire/opcode.ts';
import type { Micros } from '../wire/types.ts';
import * as Udp from '../wire/udp.ts';
import { FROM_IPV6 } from './completion-queue.ts';
import { Access, WcFlag, WcOpcode, WcStatus } from './constants.ts';
import type { EngineCore, Qp, Responder } from './core.ts';
import { Counter } from './counters.ts';
import type { ReceivedPacket } from './packet.ts';
import { flushReceiveQueue } from './receive-completion.ts';
import { ReceiveWork } from './receive-work.ts';
import { WaitingDatagrams } from './waiting-datagrams.ts';

const GRH_BYTES = 40;
/** IPv6's header, or 20 octets of zero and IPv4's. One for all: a datagram is placed before the next one comes. */
const GRH = new Uint8Array(new SharedArrayBuffer(GRH_BYTES));
registerArena(GRH);
const GRH_VIEW = new DataView(GRH.buffer);
const IPV4_AT = GRH_BYTES - Ipv4.BYTES;

export class UdResponder implements Responder {
  readonly owesReceipt = false;
  readonly #qp: Qp;
  readonly #core: EngineCore;
  #receive: ReceiveWork | null = null;
  /** Made when the first one has to wait. */
  #waiting: WaitingDatagrams | null = null;

  constructor(qp: Qp, core: EngineCore) {
    this.#qp = qp;
    this.#core = core;
  }

  stateChanged(_now: Micros): void {}

  reset(): void {
    this.#receive = null;
    this.#waiting?.clear();
  }

  flush(): void {
    this.#waiting?.clear();
    flushReceiveQueue(this.#qp, this.#core, this.#receive);
  }

  /** Nothing is ever answered. */
  pollTransmit(): boolean {
    return false;
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    const isNext = this.#waiting === null || this.#waiting.deliver(now);
    if (!(isNext && this.#take(packet))) this.#await(packet, now);
  }

  /** False when there is no receive WQE for it. */
  #take(packet: ReceivedPacket): boolean {
    const { view, bthAt } = packet;
    const { counters } = this.#core;
    const payloadAt = bthAt + Opcode.headerBytes(Bth.opcode(view, bthAt));
    const payloadBytes = packet.end - Icrc.BYTES - Bth.padCount(view, bthAt) - payloadAt;
    if (payloadBytes > this.#qp.pathMtuBytes) {
      counters.add(Counter.drop_payload_length);
      return true;
    }
    const receive = this.#receiveWork();
    if (receive === null) return false;
    // the WQE stays for a datagram that fits.
    if (receive.isValid && GRH_BYTES + payloadBytes > receive.totalBytes) counters.add(Counter.drop_recv_too_small);
    else this.#deliver(packet, receive, payloadAt, payloadBytes);
    return true;
  }

  #await(packet: ReceivedPacket, now: Micros): void {
    const { config, counters, timers, waitingRoom } = this.#core;
    if (config.datagramsWait) {
      this.#waiting ??= new WaitingDatagrams(waitingRoom, timers, counters, (held) => this.#take(held));
      if (this.#waiting.hold(packet, now)) return;
    }
    counters.add(Counter.out_of_buffer);
  }

  /** The WQE in hand, or the next one. */
  #receiveWork(): ReceiveWork | null {
    this.#receive ??= new ReceiveWork();
    return this.#receive.isTaken || this.#receive.take(this.#qp) ? this.#receive : null;
  }

  #deliver(packet: ReceivedPacket, receive: ReceiveWork, payloadAt: number, payloadBytes: number): void {
    const qp = this.#qp;
    const { regions } = this.#core;
    const pd = receive.pd(qp);
    const { bytes, view, bthAt } = packet;
    fillGrh(packet);
    receive.restart();
    const placed =
      receive.isValid &&
      receive.sges.scatter(regions, pd, Access.LOCAL_WRITE, GRH, 0, GRH_BYTES, payloadBytes > 0) &&
      receive.sges.scatter(regions, pd, Access.LOCAL_WRITE, bytes, payloadAt, payloadBytes);
    if (!placed) {
      const status = receive.isValid ? WcStatus.LOC_PROT_ERR : WcStatus.LOC_QP_OP_ERR;
      receive.complete(qp, this.#core, status, WcOpcode.RECV, 0, 0, 0, 0, false);
      this.#core.fail(qp, WcStatus.WR_FLUSH_ERR, -1);
      return;
    }
    this.#core.counters.add(Counter.rx_send_requests);
    const hasImmediate = (Opcode.flags(Bth.opcode(view, bthAt)) & Opcode.HAS_IMM) !== 0;
    const immediate = hasImmediate ? view.getUint32(payloadAt - 4, true) : 0;
    const wcFlags = WcFlag.GRH | (hasImmediate ? WcFlag.WITH_IMM : 0) | (packet.isIpv6 ? FROM_IPV6 : 0);
    const sourceQp = Deth.sourceQp(view, bthAt + Bth.BYTES);
    const byteLen = GRH_BYTES + payloadBytes;
    const solicited = Bth.solicited(view, bthAt);
    receive.complete(qp, this.#core, WcStatus.SUCCESS, WcOpcode.RECV, byteLen, immediate, sourceQp, wcFlags, solicited);
  }
}

/** The IP header as this datagram would have had it by itself: in a super-frame length and identification stand for the whole. */
function fillGrh(packet: ReceivedPacket): void {
  const { view, ipAt, isIpv6 } = packet;
  const udpBytes = Udp.BYTES + packet.end - packet.bthAt;
  if (isIpv6) {
    for (let i = 0; i < GRH_BYTES; i += 4) GRH_VIEW.setUint32(i, view.getUint32(ipAt + i));
    GRH_VIEW.setUint16(4, udpBytes);
    return;
  }
  for (let i = 0; i < IPV4_AT; i += 4) GRH_VIEW.setUint32(i, 0);
  for (let i = 0; i < Ipv4.BYTES; i += 4) GRH_VIEW.setUint32(IPV4_AT + i, view.getUint32(ipAt + i));
  if (Ipv4.totalLength(view, ipAt) === Ipv4.BYTES + udpBytes) return;
  Ipv4.renumber(GRH_VIEW, IPV4_AT, Ipv4.BYTES + udpBytes, packet.ipId);
}
