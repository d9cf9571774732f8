/**
 * The sockets of one VTEP, one for each worker that has vRNICs there, in the supervisor's thread: SO_REUSEPORT, and a program that steers datagrams by their VNI to the worker
 * that has the tenant. A worker gets a duplicate; the socket stays where it is in the group when a worker ends, for the next one.
 */
import { duplicateDescriptor } from './bell.ts';
import * as Bpf from './linux/bpf.ts';
import * as Linux from './linux/constants.ts';
import { closeOwned } from './linux/descriptors.ts';
import { isMappedIpv4 } from './linux/netdev.ts';
import * as Socket from './linux/socket.ts';

const VXLAN_UDP_PORT = 4789;
/** Of the VXLAN header, which is where a reuse-port program begins to read: VNI and a reserved octet. */
const VNI_WORD_AT = 4;

interface Slot<W> {
  readonly fd: number;
  /** Null once it has ended, or has none of the VTEP's tenants any more. */
  worker: W | null;
}

interface Seat {
  readonly slot: number;
  /** vRNICs and switch ports of the tenant. */
  users: number;
}

export class VtepGroup<W> {
  readonly #local: Uint8Array;
  readonly #slots: Slot<W>[] = [];
  /** By VNI. */
  readonly #seats = new Map<number, Seat>();

  /** @param local the VTEP's address, 16 octets. @throws SystemError: not ours, or another program has it. */
  constructor(local: Uint8Array) {
    this.#local = isMappedIpv4(local) ? local.slice(12) : local;
    // Whoever binds without sharing sees whether somebody else is there.
    closeOwned(this.#open(false));
  }

  get isEmpty(): boolean {
    return this.#seats.size === 0;
  }

  /** The worker that the tenant's vRNICs here are in. */
  workerOf(vni: number): W | null {
    const seat = this.#seats.get(vni);
    return seat ? this.#slots[seat.slot]!.worker : null;
  }

  /** One more of a tenant in the worker that has the others, or in this one. Returns a descriptor of the worker's socket, the caller's to close. @throws SystemError */
  enter(vni: number, worker: W): number {
    const known = this.#seats.get(vni);
    const slot = known && this.#slots[known.slot]!.worker === worker ? known.slot : this.#slotOf(worker);
    const users = known?.slot === slot ? known.users : 0;
    this.#seats.set(vni, { slot, users: users + 1 });
    this.#steer();
    return duplicateDescriptor(this.#slots[slot]!.fd);
  }

  leave(vni: number): void {
    const seat = this.#seats.get(vni);
    if (!seat || --seat.users > 0) return;
    this.#seats.delete(vni);
    if (!this.isEmpty) this.#steer();
  }

  /** All its tenants' vRNICs are gone. */
  workerEnded(worker: W): void {
    for (const [index, slot] of this.#slots.entries()) {
      if (slot.worker !== worker) continue;
      slot.worker = null;
      for (const [vni, seat] of this.#seats) if (seat.slot === index) this.#seats.delete(vni);
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
    const [first] = this.#seats.values();
    const program = new Bpf.Filter().op(Bpf.LOAD_WORD, VNI_WORD_AT).op(Bpf.SHIFT_RIGHT, 8);
    for (const [vni, { slot }] of this.#seats) {
      if (slot === first!.slot) continue;
      program.test(Bpf.JUMP_EQUAL, vni, '', `not ${vni}`).answer(slot).label(`not ${vni}`);
    }
    program.answer(first!.slot).attach(this.#slots[0]!.fd, Linux.SO_ATTACH_REUSEPORT_CBPF);
  }

  #open(isShared: boolean): number {
    const family = this.#local.length === 4 ? Linux.AF_INET : Linux.AF_INET6;
    return Socket.openSocket(family, Linux.SOCK_DGRAM, 0, (fd) => {
      if (isShared) Socket.requireOption(fd, Linux.SOL_SOCKET, Linux.SO_REUSEPORT, 1, 'SO_REUSEPORT');
      Socket.bindInet(fd, this.#local, VXLAN_UDP_PORT);
    });
  }
}
