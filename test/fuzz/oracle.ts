/**
 * What must become of one packet at an RC QP that waits for its first request: worked out from the octets and the specification alone, with no code of the engine's.
 * IBA Vol. 1, §9.6, §9.7.4, §9.9.3, in the order in which they ask.
 */
export type Outcome = 'silence' | 'ACK' | 'PSN NAK' | 'invalid' | 'access' | 'data' | 'result' | 'broken in silence';

/** A key, and what it grants to a peer. */
export interface Grant {
  readonly key: number;
  readonly first: bigint;
  readonly bytes: number;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly atomics: boolean;
  readonly flushes: boolean;
}

export interface Waiting {
  readonly qpn: number;
  readonly psn: number;
  readonly mtu: number;
  /** Octets of the receive that is posted. */
  readonly room: number;
  readonly grants: readonly Grant[];
}

const BTH = 12;
const MESSAGE_MAX = 2 ** 31;
/** Requests that begin a message, by opcode; those that go on with one; octets of their headers behind the BTH. Then the answers. */
const FIRSTS: Readonly<Record<number, number>> = {
  0: 0,
  4: 0,
  5: 4,
  6: 16,
  10: 16,
  11: 20,
  12: 16,
  19: 28,
  20: 28,
  23: 4,
  28: 20,
  29: 16,
};
const LATERS: Readonly<Record<number, number>> = { 1: 0, 2: 0, 3: 4, 7: 0, 8: 0, 9: 4, 22: 4 };
const [SEND_FIRST, WRITE_FIRST, READ, COMPARE_SWAP, FETCH_ADD, SEND_INVALIDATE, FLUSH, ATOMIC_WRITE] = [
  0, 6, 12, 19, 20, 23, 28, 29,
];
const SENDS = [0, 1, 2, 3, 4, 5, 22, 23];
const WRITES = [6, 7, 8, 9, 10, 11];

export function outcomeOf(packet: Uint8Array, at: Waiting): Outcome {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const opcode = view.getUint8(0);
  const headers = FIRSTS[opcode] ?? LATERS[opcode];
  // Answers are for who has asked; other transports for other QPs; other numbers for nobody.
  if (headers === undefined || (view.getUint8(1) & 0x0f) !== 0) return 'silence';
  const payload = packet.length - BTH - headers - ((view.getUint8(1) >> 4) & 3);
  if (payload < 0 || (view.getUint16(2) & 0x7fff) !== 0x7fff) return 'silence';
  if ((view.getUint32(4) & 0xff_ffff) !== at.qpn) return 'silence';
  const ahead = ((view.getUint32(8) - at.psn) << 8) >> 8;
  const isData = SENDS.includes(opcode) || WRITES.includes(opcode);
  if (ahead < 0) return isData ? 'ACK' : 'silence';
  if (ahead > 0) return 'PSN NAK';
  if (FIRSTS[opcode] === undefined) return 'invalid';
  const asks = view.getUint8(8) >= 0x80;
  return isData ? data(view, opcode, payload, asks, at) : other(view, opcode, payload, at);
}

function data(view: DataView, opcode: number, payload: number, asks: boolean, at: Waiting): Outcome {
  const isFirst = opcode === SEND_FIRST || opcode === WRITE_FIRST;
  if (isFirst ? payload !== at.mtu : payload > at.mtu) return 'invalid';
  const done = asks ? 'ACK' : 'silence';
  if (SENDS.includes(opcode)) {
    if (payload > at.room) return 'invalid';
    // No key here may be invalidated from afar.
    return opcode === SEND_INVALIDATE ? 'broken in silence' : done;
  }
  const length = view.getUint32(BTH + 12);
  if (length > MESSAGE_MAX || (isFirst ? length <= payload : length !== payload)) return 'invalid';
  return length === 0 || granted(view, BTH, length, at, ({ writes }) => writes) ? done : 'access';
}

function other(view: DataView, opcode: number, payload: number, at: Waiting): Outcome {
  const flush = opcode === FLUSH ? view.getUint8(BTH + 3) & 0x0f : 0;
  // The QP lets a peer make data visible, not lasting.
  if ((flush & 2) !== 0) return 'invalid';
  if (payload !== (opcode === ATOMIC_WRITE ? 8 : 0)) return 'invalid';
  const target = opcode === FLUSH ? BTH + 4 : BTH;
  if (opcode === COMPARE_SWAP || opcode === FETCH_ADD) {
    if ((view.getUint32(target + 4) & 7) !== 0) return 'invalid';
    return granted(view, target, 8, at, ({ atomics }) => atomics) ? 'result' : 'access';
  }
  const length = view.getUint32(target + 12);
  if (opcode === ATOMIC_WRITE) {
    if (length !== 8 || (view.getUint32(target + 4) & 7) !== 0) return 'invalid';
    return granted(view, target, 8, at, ({ writes }) => writes) ? 'data' : 'access';
  }
  if (length > MESSAGE_MAX) return 'invalid';
  const right = (grant: Grant): boolean => (opcode === READ ? grant.reads : (flush & 1) === 0 || grant.flushes);
  return length === 0 || granted(view, target, length, at, right) ? 'data' : 'access';
}

function granted(view: DataView, target: number, length: number, at: Waiting, has: (grant: Grant) => boolean): boolean {
  const address = view.getBigUint64(target);
  const grant = at.grants.find(({ key }) => key === view.getUint32(target + 8));
  if (grant === undefined || !has(grant) || address < grant.first) return false;
  return address + BigInt(length) <= grant.first + BigInt(grant.bytes);
}
