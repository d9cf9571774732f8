/**
 * The sockets of one VTEP, one for each worker that has vRNICs there, in the supervisor's thread: SO_REUSEPORT, and a program that steers datagrams by their VNI, and by their
 * inner MAC where several workers have the tenant, to the worker that has the receiver. A worker gets a duplicate; the socket stays where it is in the group when a worker ends, for the next one.
 */
import * as Gid from '../wire/gid.ts';
import { duplicateDescriptor } from './bell.ts';
import * as Bpf from './linux/bpf.ts';
import * as Linux from './linux/constants.ts';
import { closeOwned } from './linux/descriptors.ts';
import * as Socket from './linux/socket.ts';

const VXLAN_UDP_PORT = 4789;
/** Of the VXLAN header, which is where a reuse-port program begins to read: VNI and a reserved octet. */
const VNI_WORD_AT = 4;
/** The lower 32 bits of the inner destination MAC. Two of a tenant that have them in common go to one worker, which sends on what is not its own. */
const MAC_WORD_AT = 10;
/** A longer program looks at VNIs only. */
const MAC_COUNT_MAX = 1000;

interface Slot<W> {
  readonly fd: number;
  /** Null once it has ended, or has none of the VTEP's tenants any more. */
  worker: W | null;
}

/** Of one VNI: in which socket the vRNIC or switch port with a MAC sits. */
type Seats = Map<number, number>;

export class VtepGroup<W> {
  readonly #local: Uint8Array;
  readonly #slots: Slot<W>[] = [];
  /** By VNI. */
  readonly #seats = new Map<number, Seats>();

  /** @param local the VTEP's address, 16 octets. @throws SystemError: not ours, or another program has it. */
  constructor(local: Uint8Array) {
    this.#local = Gid.isMappedIpv4(local) ? local.slice(12) : local;
    // Whoever binds without sharing sees whether somebody else is there.
    closeOwned(this.#open(false));
  }

  get isEmpty(): boolean {
    return this.#seats.size === 0;
  }

  /** The workers that have any of the tenant's vRNICs and switch ports here. */
  workersOf(vni: number): Set<W> {
    const slots = new Set(this.#seats.get(vni)?.values());
    return new Set([...slots].flatMap((slot) => this.#slots[slot]!.worker ?? []));
  }

  /** One more of a tenant. Returns a descriptor of the worker's socket, the caller's to close. @param mac as a number of 48 bits. @throws SystemError */
  enter(vni: number, mac: number, worker: W): number {
    const slot = this.#slotOf(worker);
    const seats: Seats = this.#seats.get(vni) ?? new Map();
    this.#seats.set(vni, seats.set(mac, slot));
    this.#steer();
    return duplicateDescriptor(this.#slots[slot]!.fd);
  }

  leave(vni: number, mac: number): void {
    const seats = this.#seats.get(vni);
    if (!seats?.delete(mac)) return;
    if (seats.size === 0) this.#seats.delete(vni);
    if (!this.isEmpty) this.#steer();
  }

  /** All its tenants' vRNICs are gone. */
  workerEnded(worker: W): void {
    for (const [index, slot] of this.#slots.entries()) {
      if (slot.worker !== worker) continue;
      slot.worker = null;
      for (const [vni, seats] of this.#seats) {
        for (const [mac, seat] of seats) if (seat === index) seats.delete(mac);
        if (seats.size === 0) this.#seats.delete(vni);
      }
    }
    if (!this.isEmpty) this.#steer();
  }

  close(): void {
    for (const { fd } of this.#slots) closeOwned(fd);
    this.#slots.length = 0;
  }

  #slotOf(worker: W): number {
    const own = this.#slots.findIndex((slot) => slot.worker === worker);
    if (own >= 0) return own;
    const free = this.#slots.findIndex((slot) => slot.worker === null);
    if (free < 0) return this.#slots.push({ fd: this.#open(true), worker }) - 1;
    this.#slots[free]!.worker = worker;
    return free;
  }

  /** What is of no tenant here goes to somebody who drops it by name. */
  #steer(): void {
    const [first] = this.#seats.values().next().value!.values();
    let macsLeft = MAC_COUNT_MAX;
    const program = new Bpf.Filter().op(Bpf.LOAD_WORD, VNI_WORD_AT).op(Bpf.SHIFT_RIGHT, 8);
    for (const [vni, seats] of this.#seats) {
      const home = mostOf(seats);
      const away = [...seats].filter(([, slot]) => slot !== home);
      if (away.length === 0 && home === first) continue;
      program.test(Bpf.JUMP_EQUAL, vni, `is ${vni}`, '').jump(`not ${vni}`).label(`is ${vni}`);
      if (away.length > 0 && away.length <= macsLeft) {
        macsLeft -= away.length;
        program.op(Bpf.LOAD_WORD, MAC_WORD_AT);
        for (const [mac, slot] of away)
          program
            .test(Bpf.JUMP_EQUAL, mac % 2 ** 32, '', `not ${mac}`)
            .answer(slot)
            .label(`not ${mac}`);
      }
      program.answer(home).label(`not ${vni}`);
    }
    program.answer(first!).attach(this.#slots[0]!.fd, Linux.SO_ATTACH_REUSEPORT_CBPF);
  }

  #open(isShared: boolean): number {
    const family = this.#local.length === 4 ? Linux.AF_INET : Linux.AF_INET6;
    return Socket.openSocket(family, Linux.SOCK_DGRAM, 0, (fd) => {
      if (isShared) Socket.requireOption(fd, Linux.SOL_SOCKET, Linux.SO_REUSEPORT, 1, 'SO_REUSEPORT');
      Socket.bindInet(fd, this.#local, VXLAN_UDP_PORT);
    });
  }
}

/** The socket that most of a tenant sit at. */
function mostOf(seats: Seats): number {
  const counts = new Map<number, number>();
  for (const slot of seats.values()) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best))[0];
}
