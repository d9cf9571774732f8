/**
 * RoCEv2 over IPv4 by npm's `raw-socket`: whole IP packets with our header (IP_HDRINCL), routed and resolved by the kernel. No Ethernet header, no IPv6 (the
 * kernel shows no IPv6 header to a raw socket), one packet a call, and every UDP packet of the host comes by. Main event loop only: see workers/bridge.ts.
 */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import * as Gid from '../../wire/gid.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Text from '../../wire/text.ts';
import * as Udp from '../../wire/udp.ts';
import { type Netdev, readNetdev } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { CallbackQueue } from './callback-queue.ts';
import type { PortOwner } from './create-port.ts';
import { loadOptional } from './load-optional.ts';
import { newPortCounters } from './port-counters.ts';
import { guardUdpPort, releaseGuards } from './udp-guard.ts';

interface RawSocket {
  send(buffer: Buffer, offset: number, bytes: number, to: string, done: (error: Error | null) => void): void;
  setOption(level: number, option: number, value: number): void;
  on(event: 'message', callback: (packet: Buffer) => void): void;
  on(event: 'error', callback: (error: Error) => void): void;
  close(): void;
}
interface RawSocketPackage {
  createSocket(options: { protocol: number; addressFamily: number; bufferSize: number }): RawSocket;
  SocketLevel: { SOL_SOCKET: number; IPPROTO_IP: number };
  SocketOption: { IP_HDRINCL: number; SO_RCVBUF: number };
  AddressFamily: { IPv4: number };
}

const PACKET_BYTES_MAX = 65_535;
const RECEIVE_BUFFER_BYTES = 4 << 20;
/** Packets that wait for the package to send them. */
const PENDING_COUNT_MAX = 256;

/** @throws Error: the package is not installed, no such interface, no IPv4 address, no CAP_NET_RAW. */
export function openRawSocketPort(netdev: string, owner: PortOwner): RawSocketPort {
  const raw = loadOptional<RawSocketPackage>('raw-socket', 'a C++ compiler');
  return new RawSocketPort(raw, readNetdev(netdev), owner);
}

export class RawSocketPort implements Port {
  readonly name: string;
  readonly link = 'ip';
  readonly mtu: number;
  readonly framing = Framing.SINGLE;
  readonly fileDescriptor = -1;
  readonly counters = newPortCounters();
  readonly #socket: RawSocket;
  readonly #queue = new CallbackQueue(this.counters);
  readonly #addresses: readonly number[];
  readonly #guards: number[];
  #pending = 0;
  #isOpen = true;
  #wake: () => void = () => {};

  constructor(raw: RawSocketPackage, netdev: Netdev, owner: PortOwner) {
    this.name = `raw_socket:${netdev.name}`;
    this.mtu = netdev.mtu;
    const ipv4 = owner.addresses.filter(Gid.isMappedIpv4);
    if (ipv4.length === 0) throw new Error(`${netdev.name} has no IPv4 address, and raw-socket carries IPv4 only`);
    this.#addresses = ipv4.map((gid) => new DataView(gid.buffer, gid.byteOffset, 16).getUint32(12));
    const options = {
      protocol: Ipv4.PROTOCOL_UDP,
      addressFamily: raw.AddressFamily.IPv4,
      bufferSize: PACKET_BYTES_MAX,
    };
    this.#socket = raw.createSocket(options);
    this.#socket.setOption(raw.SocketLevel.IPPROTO_IP, raw.SocketOption.IP_HDRINCL, 1);
    this.#socket.setOption(raw.SocketLevel.SOL_SOCKET, raw.SocketOption.SO_RCVBUF, RECEIVE_BUFFER_BYTES);
    this.#socket.on('message', (packet) => this.#handleMessage(packet));
    this.#socket.on('error', () => this.counters.txErrors++);
    this.#guards = ipv4.map((address) => guardUdpPort(address, netdev.index));
  }

  receive(burst: ReceiveBurst): number {
    return this.#queue.receive(burst);
  }

  transmit(burst: TransmitBurst): boolean {
    for (; burst.sent < burst.count; burst.sent++) {
      if (this.#pending >= PENDING_COUNT_MAX) {
        this.counters.txBusy++;
        return false;
      }
      const at = burst.at[burst.sent]!;
      this.#send(Buffer.from(burst.bytes.slice(at, at + burst.frameBytes[burst.sent]!)));
    }
    return true;
  }

  onReadable(wake: () => void): void {
    this.#wake = wake;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#socket.close();
    releaseGuards(this.#guards);
  }

  #send(packet: Buffer): void {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
    giveIdentification(view, packet);
    this.#pending++;
    this.counters.txCalls++;
    this.#socket.send(packet, 0, packet.length, Text.ipv4(Ipv4.destination(view, 0)), (error) => {
      this.#pending--;
      if (error) this.counters.txErrors++;
      else {
        this.counters.txFrames++;
        this.counters.txBytes += packet.length;
      }
      this.#wake();
    });
  }

  #handleMessage(packet: Buffer): void {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
    if (packet.length < Ipv4.BYTES + Udp.BYTES || !this.#addresses.includes(Ipv4.destination(view, 0))) return;
    const udpAt = Ipv4.headerBytes(view, 0);
    if (packet.length < udpAt + Udp.BYTES || Udp.destinationPort(view, udpAt) !== Udp.PORT_ROCE) return;
    this.#queue.push(packet);
    this.#wake();
  }
}

/** The kernel puts an identification of its own in place of zero (raw(7)), and the ICRC covers it: such a packet gets one before, and a new ICRC. */
function giveIdentification(view: DataView, packet: Uint8Array): void {
  if (Ipv4.identification(view, 0) !== 0) return;
  Ipv4.renumber(view, 0, Ipv4.totalLength(view, 0), 1);
  const icrcAt = packet.length - Icrc.BYTES;
  Icrc.write(view, icrcAt, Icrc.compute(view, packet, 0, icrcAt));
}
