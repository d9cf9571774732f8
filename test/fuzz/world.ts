/** An engine with QPs of every type in every state, receives posted, guarded memory around its region: what mutated frames are thrown at. */
import { ReceiveBurst } from '../../rnic/burst.ts';
import { CmEventType, PortSpace } from '../../rnic/cm/commands.ts';
import { Access, QpState, QpType } from '../../rnic/constants.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { crc32 } from '../../wire/crc32.ts';
import type { Micros } from '../../wire/types.ts';
import type { Port } from '../../workers/port.ts';
import { Receiver } from '../../workers/receive.ts';
import { CAP, OURS, TestEngine, type TestQp } from '../support/engine.ts';
import { openRing, writeReceive } from '../support/sim/work.ts';

const GUARD_BYTES = 65_536;
export const REGION_BYTES = 32_768;
export const IOVA = 0x1_0000;
export const LISTEN_PORT = 7471;
const STATES = [QpState.RESET, QpState.INIT, QpState.RTR, QpState.RTS, QpState.SQD, QpState.ERR];
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
const CQES = 4096;
const SRQ_WRS = 63;
const STEP_MICROS: Micros = 3;
const WIRE = { link: 'ethernet' } as Port;

/** An IPv4 address as a GID. */
function mapped(address: number): Uint8Array {
  const gid = new Uint8Array(16);
  gid.fill(0xff, 10, 12);
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

export class World {
  readonly engine = new TestEngine({ gids: [mapped(OURS)], managesConnections: true });
  readonly qps: TestQp[] = [];
  readonly key: number;
  readonly #arena = new Uint8Array(new SharedArrayBuffer(2 * GUARD_BYTES + REGION_BYTES));
  readonly #guards: number;
  readonly #burst = new ReceiveBurst();
  readonly #receiver = new Receiver(this.engine.rnic, null, this.#burst);

  constructor() {
    const { engine } = this;
    const { pd } = engine.execute({ op: 'allocPd' });
    const { cq } = engine.execute({ op: 'createCq', cqe: CQES });
    const memory = new SharedMemory(this.#arena.buffer);
    const region = { pd, memory, start: GUARD_BYTES, length: REGION_BYTES, iova: BigInt(IOVA), access: RIGHTS };
    this.key = engine.execute({ op: 'regMr', ...region }).rKey;
    const { srq, queue } = engine.execute({ op: 'createSrq', pd, maxWr: SRQ_WRS, maxSge: 1 });
    const ring = openRing(queue);
    for (let i = 0; i < SRQ_WRS; i++) writeReceive(ring, i, this.#buffer());
    for (const state of STATES) {
      for (const type of [QpType.RC, QpType.UC, QpType.UD]) this.#add(engine.createQp(type, pd, cq), state);
      this.#add(engine.createQp(QpType.RC, pd, cq, cq, srq), state);
    }
    for (const portSpace of [PortSpace.TCP, PortSpace.UDP]) this.#listen(portSpace);
    this.#arena.fill(0xa5, 0, GUARD_BYTES).fill(0x5a, GUARD_BYTES + REGION_BYTES);
    this.#guards = this.#sum();
  }

  /** One frame from the wire, and all that follows from it. */
  receive(frame: Uint8Array): void {
    const burst = this.#burst;
    burst.bytes.set(frame);
    burst.frameBytes[0] = frame.length;
    burst.count = 1;
    this.#receiver.handleBurst(burst, WIRE, 0, false, this.engine.now);
    this.engine.turn(STEP_MICROS);
    this.engine.events();
    this.#answerRequests();
  }

  /** Sum of all counters: moves with every RoCE frame, whatever becomes of it. */
  counted(): number {
    let sum = 0;
    for (const value of this.engine.rnic.counters.values) sum += value;
    return sum;
  }

  /** False: an octet outside the region has changed. */
  guardsHold(): boolean {
    return this.#sum() === this.#guards;
  }

  #sum(): number {
    const arena = this.#arena;
    return crc32(arena, GUARD_BYTES + REGION_BYTES, arena.length, crc32(arena, 0, GUARD_BYTES, 0));
  }

  #buffer() {
    return [{ address: IOVA, length: 1024, lKey: this.key }];
  }

  #add(qp: TestQp, state: QpState): void {
    this.engine.moveTo(qp, state);
    this.qps.push(qp);
    if (!qp.rq || state === QpState.RESET) return;
    for (let i = 0; i < CAP.maxRecvWr; i++) writeReceive(qp.rq, i, this.#buffer());
  }

  #listen(portSpace: PortSpace): void {
    const { rnic, context, now } = this.engine;
    const made = rnic.execute(context, { op: 'cmCreateId', portSpace, qpType: QpType.RC }, now) as unknown as {
      id: number;
    };
    const local = { address: mapped(OURS), port: LISTEN_PORT };
    rnic.execute(context, { op: 'cmBindAddr', id: made.id, local }, now);
    rnic.execute(context, { op: 'cmListen', id: made.id, backlog: 8 }, now);
  }

  /** Every other request for a connection is accepted. */
  #answerRequests(): void {
    const { rnic, context, now } = this.engine;
    for (let event = rnic.pollCmEvent(); event; event = rnic.pollCmEvent()) {
      if (event.type !== CmEventType.CONNECT_REQUEST) continue;
      const { id, parameters } = event;
      const accept = { op: 'cmAccept', id, parameters: { ...parameters!, qpNum: this.qps[0]!.qpn } } as const;
      rnic.execute(context, (id & 1) === 0 ? accept : { op: 'cmDestroyId', id }, now);
    }
  }
}
