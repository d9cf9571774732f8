/**
 * Sockets that VXLAN leaves by: a UDP socket has one source port, and the source port is what routers spread flows by (RFC 7348 §5). So inner flows are of 256 kinds, each with
 * a socket of its own that is opened when it is needed and hears nothing. A kind is of one tenant, unless two VNIs are equal in their last six bits: what the receiving
 * kernel joins, since its ports are the same, is seldom of two.
 */
import { randomInt } from 'node:crypto';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import * as Bpf from '../linux/bpf.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import * as Libc from '../linux/libc.ts';
import * as Socket from '../linux/socket.ts';

/** RFC 6335: dynamic ports. */
const PORT_FROM = 49_152;
const PORT_TO = 65_536;
const TRIES = 8;
const VNI_BITS = 6;
const FLOW_BITS = 2;
export const FLOW_COUNT = 1 << (VNI_BITS + FLOW_BITS);
const UNOPENED = -1;
const NOWHERE = -1;
/** So many frames alone to one VTEP in a row, and the flow's socket is connected to it. */
const RUN = 8;

/** Of a frame from its VXLAN header on. */
export function flowOf(view: DataView, at: number, end: number): number {
  const ethernetAt = at + Vxlan.BYTES;
  const ipAt = ethernetAt + Ethernet.BYTES;
  let hash = 0;
  if (end >= ipAt + Ipv6.BYTES + 4) {
    const isIpv6 = view.getUint16(ethernetAt + 12) === Ethernet.ETHER_TYPE_IPV6;
    // The peer's MAC, and the two ports of UDP and TCP; RoCE's source port is a hash of the QPNs.
    hash = view.getUint32(ethernetAt + 2) ^ view.getUint32(ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES));
    hash ^= hash >>> 16;
    hash ^= hash >>> 8;
    hash ^= hash >>> 4;
    hash ^= hash >>> FLOW_BITS;
  }
  const flow = hash & ((1 << FLOW_BITS) - 1);
  return ((Vxlan.vni(view, at) & ((1 << VNI_BITS) - 1)) << FLOW_BITS) | flow;
}

export class FlowSockets {
  readonly #local: Uint8Array;
  readonly #sendBytes: number;
  /** Where no socket can be had. */
  readonly #instead: number;
  readonly #sockets = new Int32Array(FLOW_COUNT).fill(UNOPENED);
  /** By flow: the VTEP that its socket is connected to; the one asked for last, and how often in a row. */
  readonly #connected = new Int32Array(FLOW_COUNT).fill(NOWHERE);
  readonly #asked = new Int32Array(FLOW_COUNT).fill(NOWHERE);
  readonly #runs = new Int32Array(FLOW_COUNT);

  /** @param local 4 octets, or 16. @param instead a socket for flows that get none of their own: its owner closes it. */
  constructor(local: Uint8Array, sendBytes: number, instead: number) {
    this.#local = local;
    this.#sendBytes = sendBytes;
    this.#instead = instead;
  }

  socketFor(flow: number): number {
    const known = this.#sockets[flow]!;
    return known === UNOPENED ? this.#open(flow) : known;
  }

  portOf(flow: number): number {
    return Socket.boundPort(this.socketFor(flow));
  }

  /**
   * Whether what the flow's socket sends without an address goes to this VTEP: the kernel need not look for the way each time. Messages with another address
   * leave by it all the same. @param name where the VTEP's sockaddr lies.
   */
  leadsTo(vtep: number, flow: number, name: number, nameBytes: number): boolean {
    if (this.#connected[flow] === vtep) return true;
    const fd = this.#sockets[flow]!;
    if (fd === this.#instead) return false;
    this.#runs[flow] = this.#asked[flow] === vtep ? this.#runs[flow]! + 1 : 1;
    this.#asked[flow] = vtep;
    if (this.#runs[flow]! < RUN) return false;
    this.#runs[flow] = 0;
    const isConnected = Libc.connect(fd, name, nameBytes) === 0;
    this.#connected[flow] = isConnected ? vtep : NOWHERE;
    return isConnected;
  }

  /** The number will name another VTEP. */
  forget(vtep: number): void {
    for (let flow = 0; flow < FLOW_COUNT; flow++) {
      if (this.#connected[flow] === vtep) this.#connected[flow] = NOWHERE;
      if (this.#asked[flow] === vtep) this.#asked[flow] = NOWHERE;
    }
  }

  close(): void {
    for (const fd of this.#sockets) if (fd !== UNOPENED && fd !== this.#instead) closeOwned(fd);
    this.#sockets.fill(this.#instead);
    this.#connected.fill(NOWHERE);
  }

  /** Ports are taken by others now and then, descriptors may run out: the flow leaves all the same. */
  #open(flow: number): number {
    let fd = this.#instead;
    for (let tries = 0; tries < TRIES && fd === this.#instead; tries++) fd = this.#bound(randomInt(PORT_FROM, PORT_TO));
    this.#sockets[flow] = fd;
    return fd;
  }

  #bound(port: number): number {
    const family = this.#local.length === 4 ? Linux.AF_INET : Linux.AF_INET6;
    try {
      return Socket.openSocket(family, Linux.SOCK_DGRAM, 0, (fd) => {
        new Bpf.Filter().drop().attach(fd);
        Socket.setBuffers(fd, 0, this.#sendBytes);
        Socket.bindInet(fd, this.#local, port);
      });
    } catch {
      return this.#instead;
    }
  }
}
