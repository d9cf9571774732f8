/** Classic BPF, enough of it to say which frames a socket wants. <linux/bpf_common.h>, <linux/filter.h>. */
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import * as Libc from './libc.ts';

/** Octets of the packet, absolute; the last relative to X. */
export const LOAD_WORD = 0x20;
export const LOAD_HALF = 0x28;
export const LOAD_BYTE = 0x30;
export const LOAD_WORD_X = 0x40;
export const LOAD_HALF_X = 0x48;
/** X = 4 × (low nibble of the octet at k): the length of an IPv4 header. */
export const LOAD_X_IHL = 0xb1;
export const ADD = 0x04;
export const AND = 0x54;
export const SHIFT_RIGHT = 0x74;
export const JUMP = 0x05;
export const JUMP_EQUAL = 0x15;
export const JUMP_GREATER_EQUAL = 0x35;
export const JUMP_SET = 0x45;
const RETURN = 0x06;
/** SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT: not a place in the packet but what the kernel took out of it. */
export const VLAN_TAG_PRESENT = 0xffff_f000 + 48;
/** SKF_AD_PKTTYPE: to whom the frame was sent; and this host itself. */
export const PACKET_TYPE = 0xffff_f000 + 4;
export const PACKET_HOST = 0;
/** This host sends it. */
export const PACKET_OUTGOING = 4;
/** SKF_AD_IFINDEX: a word. */
export const INTERFACE_INDEX = 0xffff_f000 + 8;
/** SKF_NET_OFF: the IP header, for a socket whose packets begin behind it. */
export const NETWORK_HEADER = 0xfff0_0000;
/** BPF_MAXINSNS. */
const INSTRUCTION_COUNT_MAX = 4096;
const INSTRUCTION_BYTES = 8;
const WHOLE_PACKET = 0x4_0000;

interface Instruction {
  readonly code: number;
  readonly k: number;
  readonly ifTrue: string;
  readonly ifFalse: string;
}

/** Instructions with labels; conditional jumps reach 255 instructions, `jump` any distance. */
export class Filter {
  readonly #code: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  /** The next instruction answers to this name. */
  label(name: string): this {
    this.#labels.set(name, this.#code.length);
    return this;
  }

  op(code: number, k: number): this {
    return this.#push(code, k, '', '');
  }

  /** '' goes on with the next instruction. */
  test(code: number, k: number, ifTrue: string, ifFalse: string): this {
    return this.#push(code, k, ifTrue, ifFalse);
  }

  /** Drops the packet unless the test holds. */
  require(code: number, k: number): this {
    const next = `line ${this.#code.length + 2}`;
    return this.test(code, k, next, '').drop().label(next);
  }

  /** Drops the packet if the test holds. */
  refuse(code: number, k: number): this {
    const next = `line ${this.#code.length + 2}`;
    return this.test(code, k, '', next).drop().label(next);
  }

  jump(to: string): this {
    return this.#push(JUMP, 0, to, '');
  }

  accept(): this {
    return this.op(RETURN, WHOLE_PACKET);
  }

  drop(): this {
    return this.op(RETURN, 0);
  }

  /** Ends with a number: which socket of a reuse-port group it shall be. */
  answer(value: number): this {
    return this.op(RETURN, value);
  }

  get length(): number {
    return this.#code.length;
  }

  /** Puts the filter on a socket, in place of the one it had. @param option what it is to the socket. @throws SystemError */
  attach(fd: number, option = Linux.SO_ATTACH_FILTER): void {
    if (this.#code.length > INSTRUCTION_COUNT_MAX) throw new RangeError('the packet filter is too long');
    const memory = new Arena(16 + this.#code.length * INSTRUCTION_BYTES);
    memory.view.setUint16(0, this.#code.length, true);
    memory.setPointer(8, memory.address + 16);
    for (let i = 0; i < this.#code.length; i++) this.#encode(memory.view, 16 + i * INSTRUCTION_BYTES, i);
    Libc.check(Libc.setsockopt(fd, Linux.SOL_SOCKET, option, memory.address, 16), 'attach a packet filter');
  }

  #push(code: number, k: number, ifTrue: string, ifFalse: string): this {
    this.#code.push({ code, k, ifTrue, ifFalse });
    return this;
  }

  #distance(from: number, to: string): number {
    return to === '' ? 0 : (this.#labels.get(to) ?? Number.NaN) - from - 1;
  }

  #encode(view: DataView, at: number, index: number): void {
    const { code, k, ifTrue, ifFalse } = this.#code[index]!;
    const yes = this.#distance(index, ifTrue);
    const no = this.#distance(index, ifFalse);
    const isFar = code === JUMP;
    if (!(yes >= 0 && no >= 0 && no < 256 && (isFar || yes < 256)))
      throw new RangeError(`jump of filter line ${index}`);
    view.setUint16(at, code, true);
    view.setUint8(at + 2, isFar ? 0 : yes);
    view.setUint8(at + 3, no);
    view.setUint32(at + 4, isFar ? yes : k >>> 0, true);
  }
}
