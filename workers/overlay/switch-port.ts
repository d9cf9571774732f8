/** A port of a tenant's switch in a worker: an interface that a virtual machine or a container is behind, this host's share of the VTEP, and what decides between them. */
import {
  BURST_FRAMES,
  ReceiveBurst,
  SUPER_FRAME_BYTES,
  SUPER_FRAME_SEGMENTS,
  TransmitBurst,
} from '../../rnic/burst.ts';
import { endpointAt, type Tenant } from '../../vswitch/model.ts';
import { PortCounter } from '../../vswitch/port-counters.ts';
import { Outcome, PortPipeline } from '../../vswitch/port-pipeline.ts';
import { SegmentJoiner } from '../../vswitch/stages/join.ts';
import { Cut, completeChecksum, SuperFrame } from '../../vswitch/stages/offload.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import { hostsOf } from '../../vswitch/underlay.ts';
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import type { Micros } from '../../wire/types.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { clock } from '../clock.ts';
import { addressOf } from '../linux/arena.ts';
import { bringUp, ensureTap, inNamespace, isolate, removeTap } from '../linux/interfaces.ts';
import { ifNameToIndex } from '../linux/libc.ts';
import { Pace } from '../pace.ts';
import type { PortCounters } from '../port.ts';
import { CaptureFile, type CaptureTarget } from '../ports/capture-file.ts';
import { NetdevBurst, NetdevFrames, NetdevPort } from '../ports/netdev-port.ts';
import { segmentCount } from '../ports/super-frame.ts';
import type { Sleeper } from '../sleeper.ts';
import { type Breather, CROWD_FRAMES, Share } from '../turns.ts';
import { dropSocket, joinVtep, type VxlanMember } from './vxlan-hub.ts';

export interface SwitchPortConfig {
  readonly name: string;
  readonly tenant: Tenant;
  /** The first address of the endpoint, 16 octets. */
  readonly address: Uint8Array;
  /** Of a tap, one that is not there is made, for a virtual machine to open. */
  readonly kind: 'tap' | 'veth';
  readonly netdev: string;
  /** Where the interface is; the daemon's own by default. */
  readonly namespace?: string;
  /** The VTEP of this host. */
  readonly local: Uint8Array;
  /** Largest IP packet of the tenant. */
  readonly mtu: number;
  /** Of the tenant's limits, for all its vRNICs and ports of this host; one of its own by default. */
  readonly meter?: SharedArrayBuffer;
  /** The VTEP's socket, where several workers share it. */
  readonly descriptor?: number;
}

/** What one burst of the interface may grow to when it is cut into segments with headers of their own. */
const NETWORK_BYTES = 4 << 20;
/** The most that one can have: what is too long for the tenant is to be dropped here, by name, and not between the ends of the pair. */
const VETH_MTU = 65_535;
const BLOCKED_MICROS: Micros = 500;
const ALIGNMENT = 16;

/** @throws Error in words: no such endpoint, no such interface, no right to it. */
export function openSwitchPort(config: SwitchPortConfig): SwitchPort {
  const { kind, netdev, namespace, mtu, tenant, address, descriptor } = config;
  const own = endpointAt(tenant, address);
  if (!own) {
    dropSocket(config);
    throw new Error(`port ${config.name}: tenant ${tenant.name} has no such endpoint`);
  }
  const member = joinVtep(
    { local: config.local, mtu, ...(descriptor !== undefined && { descriptor }) },
    tenant.vni,
    macNumber(own.mac),
    true,
  );
  try {
    return inNamespace(namespace, () => {
      const isMade = kind === 'tap' && ensureTap(netdev);
      return new SwitchPort(config, member, openNetdev(config), isMade);
    });
  } catch (error) {
    member.close();
    throw error;
  }
}

function openNetdev({ kind, netdev, mtu }: SwitchPortConfig): NetdevPort {
  bringUp(netdev, kind === 'tap' ? mtu : VETH_MTU);
  isolate(netdev);
  return new NetdevPort(netdev);
}

export class SwitchPort implements Breather {
  readonly name: string;
  readonly share = new Share();
  readonly #config: SwitchPortConfig;
  readonly #member: VxlanMember;
  #netdev: NetdevPort;
  /** Whether the tap was made here, and goes with us. */
  readonly #isMade: boolean;
  readonly #pipeline: PortPipeline;
  readonly #fromNetdev = new NetdevBurst();
  readonly #fromNetwork = new ReceiveBurst();
  readonly #fromNetworkAddress: number;
  readonly #toNetwork = new TransmitBurst(NETWORK_BYTES);
  readonly #answers = new TransmitBurst(BURST_FRAMES * 128);
  readonly #answersAddress: number;
  readonly #superFrame = new SuperFrame();
  /** Frames of the network that go to the interface, and those that we answer ourselves. */
  readonly #toNetdev = new NetdevFrames(BURST_FRAMES * SUPER_FRAME_SEGMENTS);
  readonly #answered = new NetdevFrames(BURST_FRAMES);
  readonly #run = new SegmentJoiner();
  #capture: CaptureFile | null = null;
  readonly #pace: Pace;
  /** Its machine had sent something when that was last looked at. */
  #isSending = false;
  /** Octets that the machine has sent in this breath, as the tenant sees them. */
  #sentBytes = 0;

  constructor(config: SwitchPortConfig, member: VxlanMember, netdev: NetdevPort, isMade: boolean) {
    this.name = config.name;
    this.#config = config;
    this.#member = member;
    this.#netdev = netdev;
    this.#isMade = isMade;
    this.#nameHosts(config.tenant);
    const { tenant, address, mtu, local } = config;
    this.#pace = new Pace(address, config.meter);
    this.#limit(tenant);
    const hostIndex = (host: Uint8Array): number => member.hub.vtepIndex(host);
    this.#pipeline = new PortPipeline({ tenant, address, mtu, local, hostIndex });
    for (const burst of [this.#fromNetdev, this.#fromNetwork, this.#toNetwork]) registerArena(burst.bytes);
    this.#fromNetworkAddress = addressOf(this.#fromNetwork.bytes);
    this.#answersAddress = addressOf(this.#answers.bytes);
  }

  /** `mayTransmit` false: others go first, and what the machine sends waits in the interface's queue. */
  breathe(now: Micros, mayTransmit = true, crowd = 1): boolean {
    this.#member.hub.now = now;
    this.#member.errandMicros = 0;
    const most = crowd > 1 ? CROWD_FRAMES : BURST_FRAMES;
    this.#fromNetwork.limit = most;
    const isBusy = this.#takeFromNetwork(now);
    if (!mayTransmit) return (this.#isSending && !this.#pace.isWaiting) || isBusy;
    return (this.#flush() && this.#takeFromNetdev(now, most)) || isBusy;
  }

  /** It is always asked: nobody says what its machine sends. */
  dozes(): boolean {
    return false;
  }

  get errandMicros(): Micros {
    return this.#member.errandMicros;
  }

  get hasGuarantee(): boolean {
    return this.#pace.hasGuarantee;
  }

  /** Its machine has sent less than it is guaranteed, and sends. */
  isOwed(now: Micros): boolean {
    return this.#isSending && this.#pace.isOwed(now);
  }

  get hasRunOut(): boolean {
    return this.#pace.hasRunOut;
  }

  setSleeping(asleep: boolean): boolean {
    if (asleep) this.#capture?.flush();
    return this.#member.setSleeping();
  }

  watch(sleeper: Sleeper, now: Micros): Micros {
    const isBlocked = this.#toNetwork.count > 0;
    sleeper.add(this.#member.fileDescriptor, isBlocked);
    sleeper.add(this.#member.secondDescriptor, false);
    if (isBlocked) return now + BLOCKED_MICROS;
    if (this.#pace.isWaiting) return this.#pace.readyAt(now);
    sleeper.add(this.#netdev.fileDescriptor, false);
    return Number.POSITIVE_INFINITY;
  }

  /** A container that was started again has a new interface of the old name. */
  refresh(): void {
    const { namespace, netdev } = this.#config;
    try {
      inNamespace(namespace, () => {
        const index = ifNameToIndex(netdev);
        if (index !== 0 && index !== this.#netdev.index) this.#exchange(openNetdev(this.#config));
      });
    } catch {
      // It is being made, or has gone again: the next look tells.
    }
  }

  setTenant(tenant: Tenant): number {
    this.#nameHosts(tenant);
    this.#limit(tenant);
    this.#pipeline.update(tenant);
    return 0;
  }

  capture(target: CaptureTarget | undefined): void {
    this.#capture?.close();
    this.#capture = target ? new CaptureFile(target, this.name) : null;
  }

  statistics(): { counters: Record<string, number>; ports: Record<string, PortCounters> } {
    const ports = {
      [this.#netdev.name]: { ...this.#netdev.counters },
      [this.#member.name]: { ...this.#member.counters },
    };
    return { counters: this.#pipeline.counters.toObject(), ports };
  }

  close(): void {
    this.capture(undefined);
    this.#netdev.close();
    this.#member.close();
    const { namespace, netdev } = this.#config;
    if (this.#isMade) inNamespace(namespace, () => removeTap(netdev));
  }

  #exchange(netdev: NetdevPort): void {
    this.#netdev.close();
    this.#netdev = netdev;
  }

  #limit(tenant: Tenant): void {
    this.#pace.update(tenant, clock());
    this.#member.dscp = tenant.dscp ?? 0;
  }

  #nameHosts(tenant: Tenant): void {
    const { local } = this.#config;
    this.#member.hub.nameHosts(this.#member, [local, ...hostsOf(tenant, local)]);
  }

  /** What the network has for the interface. */
  #takeFromNetwork(now: Micros): boolean {
    const burst = this.#fromNetwork;
    const read = this.#member.receive(burst, now);
    this.#toNetdev.count = 0;
    // What it read for others is theirs already.
    for (let i = 0; i < burst.count; i++) {
      const end = burst.at[i]! + burst.frameBytes[i]!;
      const step = burst.segmentBytes[i]! || burst.frameBytes[i]!;
      for (let from = burst.at[i]!; from < end; from += step) {
        const to = Math.min(from + step, end);
        if (this.#pipeline.fromNetwork(burst.view, from, to, burst.source[i]!, now) !== Outcome.DELIVER) continue;
        if (this.#run.add(burst.bytes, from + Vxlan.BYTES, to)) continue;
        this.#endRun();
        this.#run.begin(burst.view, from + Vxlan.BYTES, to);
      }
    }
    this.#endRun();
    if (this.#toNetdev.count > 0) this.#give(burst.bytes, this.#fromNetworkAddress, this.#toNetdev);
    return read > 0;
  }

  /** What has been joined until now goes to the interface. */
  #endRun(): void {
    const run = this.#run;
    const { at, end, segmentBytes, headerBytes, layer4, count } = run;
    run.finish();
    run.reset();
    if (count === 1) this.#toNetdev.put(at, end - at);
    else if (count > 1) this.#toNetdev.put(at, end - at, segmentBytes, headerBytes, layer4);
  }

  /** To the interface, now or never: whoever is behind it would have to wait for the network otherwise. */
  #give(bytes: Uint8Array, arena: number, frames: NetdevFrames): void {
    const { at, octets, count } = frames;
    const sent = this.#netdev.send(arena, frames);
    for (let i = sent; i < count; i++) this.#pipeline.drop(PortCounter.drop_no_room);
    if (this.#capture) for (let i = 0; i < sent; i++) this.#capture.write(bytes.subarray(at[i]!, at[i]! + octets[i]!));
  }

  /** What the machine behind the interface sends. @param frames at most. */
  #takeFromNetdev(now: Micros, frames: number): boolean {
    const burst = this.#fromNetdev;
    const allowance = this.#pace.allowance(now);
    // Its frames wait where they are: in the interface's queue, and when that is full they are lost, as on a wire of this rate.
    const most = allowance > 0 ? Math.min(frames, 1 + Math.floor(allowance / SUPER_FRAME_BYTES)) : 0;
    const read = most > 0 ? this.#netdev.receive(burst, most) : 0;
    if (most > 0) this.#isSending = read > 0;
    this.#sentBytes = 0;
    for (let i = 0; i < read; i++) this.#forward(i, now);
    const answers = this.#answers;
    this.#answered.count = 0;
    for (let i = 0; i < answers.count; i++) this.#answered.put(answers.at[i]!, answers.frameBytes[i]!);
    if (answers.count > 0) this.#give(answers.bytes, this.#answersAddress, this.#answered);
    answers.reset();
    const waited = this.#pace.settle(this.#sentBytes, this.#sentBytes >= allowance, now);
    if (waited > 0) this.#pipeline.counters.add(PortCounter.limited_micros, waited);
    this.#flush();
    return read > 0;
  }

  #forward(i: number, now: Micros): void {
    const { view, bytes } = this.#fromNetdev;
    const [at, start] = [this.#fromNetdev.at[i]!, this.#fromNetdev.checksumStart[i]!];
    const end = at + this.#fromNetdev.frameBytes[i]!;
    const cut = this.#fromNetdev.cut[i] as Cut;
    const isWhole = cut === Cut.NONE;
    const segmentBytes = this.#fromNetdev.segmentBytes[i]!;
    const isRight = isWhole
      ? start < 0 || completeChecksum(view, at, end, start, this.#fromNetdev.checksumOffset[i]!)
      : start >= 0 && this.#superFrame.open(bytes, view, at, end, start, cut, segmentBytes);
    if (!isRight) return this.#pipeline.drop(PortCounter.drop_offload);
    const ipBytes = isWhole ? end - at - Ethernet.BYTES : this.#superFrame.ipBytes;
    const outcome = this.#pipeline.fromPort(view, at, end, ipBytes, now);
    if (this.#capture) this.#capture.write(bytes.subarray(at, end));
    if (outcome === Outcome.ANSWER) return this.#answer();
    if (outcome !== Outcome.PEER && outcome !== Outcome.FLOOD) return;
    const destination = outcome === Outcome.FLOOD ? this.#member.group : this.#pipeline.destination;
    if (isWhole) this.#sendWhole(at, end, destination);
    else this.#sendSegments(destination);
  }

  #answer(): void {
    const { answer, answerBytes } = this.#pipeline;
    const burst = this.#answers;
    if (burst.count === burst.at.length) return this.#pipeline.drop(PortCounter.drop_no_room);
    const i = burst.count++;
    burst.at[i] = i * 128;
    burst.frameBytes[i] = answerBytes;
    copy(answer, 0, burst.bytes, burst.at[i]!, answerBytes);
  }

  #sendWhole(at: number, end: number, destination: number): void {
    if (!this.#hasRoom(end - at)) return this.#pipeline.drop(PortCounter.drop_no_room);
    const to = this.#toNetwork.end;
    this.#encapsulate(to);
    copy(this.#fromNetdev.bytes, at, this.#toNetwork.bytes, to + Vxlan.BYTES, end - at);
    this.#send(to, Vxlan.BYTES + end - at, 0, destination);
  }

  /** As many segments in one datagram burst as a socket takes, each with all its headers. */
  #sendSegments(destination: number): void {
    const [one, burst] = [this.#superFrame, this.#toNetwork];
    const whole = Vxlan.BYTES + one.headerBytes + one.segmentBytes;
    const most = Math.min(SUPER_FRAME_SEGMENTS, Math.floor(SUPER_FRAME_BYTES / whole));
    for (let index = 0; index < one.count; ) {
      const last = Math.min(one.count, index + most);
      if (!this.#hasRoom((last - index) * whole)) return this.#pipeline.drop(PortCounter.drop_no_room);
      const begin = burst.end;
      let to = begin;
      for (; index < last; index++) {
        this.#encapsulate(to);
        to += Vxlan.BYTES + one.write(index, burst.bytes, burst.view, to + Vxlan.BYTES);
      }
      this.#send(begin, to - begin, to - begin > whole ? whole : 0, destination);
    }
  }

  #hasRoom(octets: number): boolean {
    const { end, count, at, bytes } = this.#toNetwork;
    return count < at.length && end + octets + Vxlan.BYTES + ALIGNMENT <= bytes.length;
  }

  #encapsulate(at: number): void {
    Vxlan.write(this.#toNetwork.view, at, this.#config.tenant.vni);
  }

  /** What is laid out at the end of the burst goes out with it, or at once to somebody on this host. */
  #send(at: number, octets: number, segmentBytes: number, destination: number): void {
    const burst = this.#toNetwork;
    const { group, copies } = this.#member;
    const bytes = octets - Vxlan.BYTES * segmentCount(octets, segmentBytes, 0);
    this.#sentBytes += destination === group ? bytes * copies : bytes;
    if (destination === this.#member.hub.localIndex) {
      const step = segmentBytes || octets;
      for (let from = at; from < at + octets; from += step)
        this.#member.hub.deliver(this.#member, burst.bytes, burst.view, from, Math.min(from + step, at + octets));
      return;
    }
    const i = burst.count++;
    burst.at[i] = at;
    burst.frameBytes[i] = octets;
    burst.segmentBytes[i] = segmentBytes;
    burst.headerBytes[i] = 0;
    burst.destination[i] = destination;
    burst.end = at + ((octets + ALIGNMENT - 1) & ~(ALIGNMENT - 1));
  }

  /** True when everything has left. */
  #flush(): boolean {
    if (this.#toNetwork.count === 0) return true;
    if (!this.#member.transmit(this.#toNetwork)) return false;
    this.#toNetwork.reset();
    return true;
  }
}
