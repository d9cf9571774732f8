/**
 * Frames of an interface by npm's `cap` (libpcap): portable, slow, one frame a call. The package lives on the main event loop: use it there, or by a bridge.
 * It sees frames as the kernel holds them: a peer on the same host that sends super-frames must be told not to (`superFrames: false`).
 */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { gidText, type Netdev, readNetdev } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { CallbackQueue } from './callback-queue.ts';
import type { PortOwner } from './create-port.ts';
import { loadOptional } from './load-optional.ts';
import { newPortCounters } from './port-counters.ts';
import { guardUdpPort, releaseGuards } from './udp-guard.ts';

interface Cap {
  open(device: string, filter: string, bufferBytes: number, buffer: Buffer): string;
  send(buffer: Buffer, bytes: number): void;
  close(): void;
  on(event: 'packet', callback: (bytes: number, isTruncated: boolean) => void): void;
}

const BUFFER_BYTES = 16 << 20;
const FRAME_BYTES_MAX = 65_600;

/** @throws Error: the package is not installed, no such interface, no CAP_NET_RAW. */
export function openCapPort(netdev: string, owner: PortOwner): CapPort {
  const { Cap } = loadOptional<{ Cap: new () => Cap }>('cap', 'libpcap-dev and a C++ compiler');
  return new CapPort(new Cap(), readNetdev(netdev), owner);
}

/**
 * cap 0.2.1 stops its poll handle on close but leaves it in the event loop's list: were the object collected, the list would lead into freed memory. A few hundred
 * octets are kept for each port ever closed.
 */
const closedForEver: Cap[] = [];

/** pcap-filter(7). Our own frames are not for us. */
function filterText(netdev: Netdev, addresses: readonly Uint8Array[]): string {
  const hosts = addresses.map((address) => `dst host ${gidText(address)}`);
  const mac = Buffer.from(netdev.mac)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
  const roce = `udp dst port 4791 and (${['ip multicast', 'ip6 multicast', ...hosts].join(' or ')})`;
  return `not ether src ${mac} and (arp or (icmp6 and (ip6[40] = 135 or ip6[40] = 136)) or (${roce}))`;
}

export class CapPort implements Port {
  readonly name: string;
  readonly link = 'ethernet';
  readonly mtu: number;
  readonly framing = Framing.SINGLE;
  readonly fileDescriptor = -1;
  readonly counters = newPortCounters();
  readonly #cap: Cap;
  readonly #queue = new CallbackQueue(this.counters);
  readonly #frame = Buffer.alloc(FRAME_BYTES_MAX);
  readonly #out = Buffer.alloc(FRAME_BYTES_MAX);
  readonly #guards: number[];
  #wake: () => void = () => {};
  #isOpen = true;

  constructor(cap: Cap, netdev: Netdev, owner: PortOwner) {
    this.name = `cap:${netdev.name}`;
    this.mtu = netdev.mtu;
    this.#cap = cap;
    this.#cap.open(netdev.name, filterText(netdev, owner.addresses), BUFFER_BYTES, this.#frame);
    this.#cap.on('packet', (bytes, isTruncated) => this.#handlePacket(bytes, isTruncated));
    this.#guards = owner.addresses.map((address) => guardUdpPort(address, netdev.index));
  }

  receive(burst: ReceiveBurst): number {
    return this.#queue.receive(burst);
  }

  transmit(burst: TransmitBurst): boolean {
    for (; burst.sent < burst.count; burst.sent++) {
      const at = burst.at[burst.sent]!;
      const bytes = burst.frameBytes[burst.sent]!;
      this.#out.set(burst.bytes.subarray(at, at + bytes));
      this.#send(bytes);
    }
    return true;
  }

  onReadable(wake: () => void): void {
    this.#wake = wake;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#cap.close();
    closedForEver.push(this.#cap);
    releaseGuards(this.#guards);
  }

  #send(bytes: number): void {
    this.counters.txCalls++;
    try {
      this.#cap.send(this.#out, bytes);
      this.counters.txFrames++;
      this.counters.txBytes += bytes;
    } catch {
      this.counters.txErrors++; // too long, interface down: lost, as on a cut wire
    }
  }

  #handlePacket(bytes: number, isTruncated: boolean): void {
    if (isTruncated) this.counters.rxDropped++;
    else this.#queue.push(this.#frame.subarray(0, bytes));
    this.#wake();
  }
}
