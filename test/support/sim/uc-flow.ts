/** Random UC work from one QP to its peer, and what must come of it: whole messages, told from the packets that arrive, and octets of WRITEs as they come. */
import { Access, SendFlag, WcOpcode, WcStatus, WrOpcode } from '../../../rnic/constants.ts';
import * as Area from './area.ts';
import type { Arrival } from './arrival.ts';
import { ArrivalsModel, Level, type Tallies } from './arrivals-model.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp } from './host.ts';
import { KeyState, type SharedKey } from './keys.ts';
import type { OneWayPosts } from './one-way-posts.ts';
import { lengthOf, payloadOf } from './payload.ts';
import type { Random } from './random.ts';
import type { Receives } from './receives.ts';

const PSN_MASK = 0xff_ffff;

/** One end of a UC connection. */
export interface UcEnd {
  readonly host: SimHost;
  readonly qp: SimQp;
  readonly area: number;
  readonly receives: Receives;
  readonly posts: OneWayPosts;
  readonly keys: readonly SharedKey[];
  readonly sqPsn: number;
  /** Whether it lets its peer write. */
  readonly mayBeWritten: boolean;
  readonly tallies: Tallies;
}

export interface UcLoad {
  readonly mtu: number;
  readonly work: number;
  readonly mostBytes: number;
  readonly hasHazards: boolean;
}

interface Sent {
  readonly packets: number;
  readonly octets: Uint8Array;
  readonly isSend: boolean;
  readonly immediate: number | null;
  /** Where a WRITE goes: octet of the peer's memory, and the key that says so. */
  readonly at: number;
  readonly grants: () => boolean;
}

/** The message that the peer is in the middle of. */
interface InHand {
  readonly sent: Sent;
  next: number;
  received: number;
}

export class UcFlow {
  readonly from: UcEnd;
  readonly to: UcEnd;
  readonly #load: UcLoad;
  readonly #random: Random;
  readonly #model: ArrivalsModel;
  /** By the number of its first packet, counted from the first PSN, each packet of what was sent. */
  readonly #packets: { readonly sent: Sent; readonly index: number }[] = [];
  #inHand: InHand | null = null;
  readonly #target: Uint8Array;

  constructor(from: UcEnd, to: UcEnd, load: UcLoad, random: Random) {
    this.from = from;
    this.to = to;
    this.#load = load;
    this.#random = random;
    this.#model = new ArrivalsModel(to.qp, new Level(() => to.qp.rq), to.receives, to.tallies);
    this.#target = to.host.bytes.slice(to.area + Area.TARGET_AT, to.area + Area.WRITTEN_END);
  }

  get isDone(): boolean {
    return this.from.posts.count >= this.#load.work && this.from.posts.isIdle;
  }

  poll(): void {
    this.from.posts.poll();
    this.#model.poll();
  }

  act(): void {
    const random = this.#random;
    if (random.chance(0.8)) this.to.receives.post(random);
    if (random.chance(0.5)) this.from.posts.resume();
    while (this.from.posts.count < this.#load.work && random.chance(0.8) && this.#post());
  }

  finish(): void {
    this.poll();
    const { host, area } = this.to;
    const now = host.bytes.subarray(area + Area.TARGET_AT, area + Area.WRITTEN_END);
    if (Buffer.compare(now, this.#target) !== 0) throw new Broken('memory is not what the packets wrote that arrived');
  }

  // ── Arrivals ──

  /** A packet of this flow comes to the peer. */
  arrive({ psn, payload }: Arrival): void {
    this.to.tallies.add('rcvd_pkts');
    this.#model.level.begin();
    const packet = this.#packets[(psn - this.from.sqPsn) & PSN_MASK];
    if (packet === undefined) throw new Broken(`PSN ${psn} arrived, which was not sent`);
    const { sent, index } = packet;
    if (index === 0) this.#inHand = { sent, next: 0, received: 0 };
    const inHand = this.#inHand;
    if (inHand === null || inHand.sent !== sent || inHand.next !== index) {
      this.#inHand = null;
      this.to.tallies.add('drop_uc_sequence');
    } else if (!this.#take(inHand, payload)) this.#inHand = null;
  }

  /** False when the message is dropped. */
  #take(inHand: InHand, payload: Uint8Array): boolean {
    const { sent } = inHand;
    const { tallies } = this.to;
    const isLast = inHand.next === sent.packets - 1;
    const isTaken = sent.isSend ? this.#takeSend(inHand, payload) : this.#takeWrite(inHand, payload, isLast);
    if (!isTaken) return false;
    inHand.next++;
    if (!isLast) return true;
    this.#inHand = null;
    tallies.add(sent.isSend ? 'rx_send_requests' : 'rx_write_requests');
    if (sent.isSend || sent.immediate !== null) this.#complete(sent);
    return true;
  }

  #takeSend(inHand: InHand, payload: Uint8Array): boolean {
    if (inHand.next === 0 && !this.#model.take()) return false;
    inHand.received += payload.length;
    const fits = inHand.received <= this.to.receives.bufferBytes;
    if (!fits) this.to.tallies.add('drop_payload_length');
    return fits;
  }

  #takeWrite({ sent, next }: InHand, payload: Uint8Array, isLast: boolean): boolean {
    if (!this.to.mayBeWritten || (sent.octets.length > 0 && !sent.grants())) {
      this.to.tallies.add('drop_access');
      return false;
    }
    if (isLast && sent.immediate !== null && !this.#model.take()) return false;
    this.#target.set(payload, sent.at - this.to.area - Area.TARGET_AT + next * this.#load.mtu);
    return true;
  }

  #complete({ isSend, octets, immediate, at: target }: Sent): void {
    const { host, area } = this.to;
    const check = (buffer: number): void => {
      const [at, want] = isSend
        ? [buffer, octets]
        : [
            target,
            this.#target.subarray(target - area - Area.TARGET_AT, target - area - Area.TARGET_AT + octets.length),
          ];
      if (Buffer.compare(host.bytes.subarray(at, at + octets.length), want) !== 0)
        throw new Broken('a message came with other octets');
    };
    const opcode = isSend ? WcOpcode.RECV : WcOpcode.RECV_RDMA_WITH_IMM;
    const srcQp = this.from.qp.qpNum;
    this.#model.complete({ opcode, byteLen: octets.length, immediate, srcQp, flags: 0, check });
  }

  // ── Work ──

  #post(): boolean {
    const random = this.#random;
    const flags = (random.chance(0.6) ? SendFlag.SIGNALED : 0) | (random.chance(0.2) ? SendFlag.SOLICITED : 0);
    if (this.#load.hasHazards && random.chance(0.01)) return this.#postWrong(flags);
    switch (random.below(8)) {
      case 0:
        return this.#postKey(flags);
      case 1:
      case 2:
      case 3:
        return this.#postSend(flags, random.chance(0.5));
      default:
        return this.#postWrite(flags, random.chance(0.5));
    }
  }

  #postSend(flags: number, hasImmediate: boolean): boolean {
    const random = this.#random;
    // Some are longer than the peer's buffers.
    const most = Math.min(this.#load.mostBytes, this.to.receives.bufferBytes + (this.#load.hasHazards ? 5000 : 0));
    const { parts, octets } = this.#payload(lengthOf(this.#load.mtu, most, random), flags);
    const immediate = random.bits();
    const opcode = hasImmediate ? WrOpcode.SEND_WITH_IMM : WrOpcode.SEND;
    if (!this.from.posts.post({ opcode, immediate, ...parts }, WcOpcode.SEND)) return false;
    this.#sent({ octets, isSend: true, immediate: hasImmediate ? immediate : null, at: 0, grants: () => true });
    return true;
  }

  #postWrite(flags: number, hasImmediate: boolean): boolean {
    const random = this.#random;
    const { remoteAddress, rKey, at, length, grants } = this.#remote();
    const { parts, octets } = this.#payload(length, flags);
    const immediate = random.bits();
    const opcode = hasImmediate ? WrOpcode.RDMA_WRITE_WITH_IMM : WrOpcode.RDMA_WRITE;
    if (!this.from.posts.post({ opcode, immediate, ...parts, remoteAddress, rKey }, WcOpcode.RDMA_WRITE)) return false;
    this.#sent({ octets, isSend: false, immediate: hasImmediate ? immediate : null, at, grants });
    return true;
  }

  #payload(length: number, flags: number) {
    const { host, area } = this.from;
    return payloadOf(host, area, Area.SOURCE_BYTES, length, flags, this.#random);
  }

  /** Its packets leave before anything else happens, unless the send queue has stopped. */
  #sent(message: Omit<Sent, 'packets'>): void {
    if (!this.from.posts.isSending) return;
    const packets = Math.max(1, Math.ceil(message.octets.length / this.#load.mtu));
    const sent = { ...message, packets };
    for (let index = 0; index < packets; index++) this.#packets.push({ sent, index });
  }

  /** Octets of the peer: in its region, or through a key that may be gone when the packet comes, or never was good for this. */
  #remote(): { remoteAddress: number; rKey: number; at: number; length: number; grants: () => boolean } {
    const random = this.#random;
    const { host, area, keys } = this.to;
    const key = random.pick(keys);
    if (key.length === 0 || random.chance(0.6)) {
      const length = lengthOf(this.#load.mtu, this.#load.mostBytes, random);
      const at = area + Area.TARGET_AT + random.below(Area.TARGET_BYTES - length);
      const isWrong = this.#load.hasHazards && random.chance(0.03);
      return { remoteAddress: at, rKey: isWrong ? host.key ^ 0x100 : host.key, at, length, grants: () => !isWrong };
    }
    const length = lengthOf(this.#load.mtu, Math.min(this.#load.mostBytes, key.length), random);
    const offset = random.below(key.length - length + 1);
    const past = this.#load.hasHazards && random.chance(0.05) ? key.length : 0;
    const { grant, base, at, access } = key;
    const isAllowed = past === 0 && (access & Access.REMOTE_WRITE) !== 0;
    // the key that it was, and no other that it has become.
    const grants = (): boolean => isAllowed && key.state === KeyState.GIVEN && key.grant === grant;
    return { remoteAddress: base + offset + past, rKey: key.key, at: at + offset, length, grants };
  }

  /** Gives one of this end's keys out, or takes it back: that is done before anything else arrives. */
  #postKey(flags: number): boolean {
    const { posts, keys } = this.from;
    if (!posts.isSending) return this.#postSend(flags, false);
    const key = this.#random.pick(keys);
    if (key.state === KeyState.FREE || key.kind === 1) {
      const { request, given } = key.give(this.#random);
      if (!posts.post({ flags, ...request }, WcOpcode.BIND_MW)) return false;
      given();
      return true;
    }
    if (!posts.post({ opcode: WrOpcode.LOCAL_INV, flags, immediate: key.key }, WcOpcode.LOCAL_INV)) return false;
    key.taken();
    return true;
  }

  /** A local key that is none, or a window larger than its region: the send queue stops. */
  #postWrong(flags: number): boolean {
    const { host, area, posts, keys } = this.from;
    if (this.#random.chance(0.5)) {
      const sges = [{ address: area, length: 1 + this.#random.below(3000), lKey: host.key ^ 0x100 }];
      return posts.post({ opcode: WrOpcode.SEND, flags, sges }, WcOpcode.SEND, WcStatus.LOC_PROT_ERR);
    }
    const { opcode, grant } = this.#random.pick(keys).give(this.#random).request;
    const wrong = { ...grant!, length: 2 ** 33 };
    return posts.post({ opcode, flags, grant: wrong }, WcOpcode.BIND_MW, WcStatus.MW_BIND_ERR);
  }
}
