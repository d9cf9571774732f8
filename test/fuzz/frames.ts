/** Frames that an engine has not asked for: from captures of real peers and from chance, aimed at its QPs, then spoilt. All from a seed. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QpType } from '../../rnic/constants.ts';
import * as Bth from '../../wire/bth.ts';
import { readCapture } from '../../wire/capture.ts';
import { crc32 } from '../../wire/crc32.ts';
import * as Deth from '../../wire/deth.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Opcode from '../../wire/opcode.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';
import { ROOT } from '../support/root.ts';
import type { Random } from '../support/sim/random.ts';
import { IOVA, REGION_BYTES, type World } from './world.ts';

const IP_AT = 14;
const UDP_AT = 34;
const BTH_AT = 42;
const EXTENSIONS_AT = BTH_AT + Bth.BYTES;
const PAYLOAD_MAX = 4200;
const KNOWN_Q_KEY = 0x1111;
const GSI_Q_KEY = 0x8001_0000;

/** BTH and what follows, without the ICRC, of every RoCE frame over IPv4 in the captures. */
function readSeeds(): Uint8Array[] {
  const folder = join(ROOT, 'test/golden');
  const files = readdirSync(folder).filter((name) => name.endsWith('.pcap') && !name.startsWith('vxlan'));
  return files.flatMap((name) =>
    readCapture(readFileSync(join(folder, name)))
      .map(({ octets }) => octets)
      .filter(
        (bytes) =>
          bytes.length > BTH_AT + 16 && bytes[12] === 8 && bytes[13] === 0 && bytes[36] === 0x12 && bytes[37] === 0xb7,
      )
      .map((bytes) => bytes.slice(BTH_AT, bytes.length - Icrc.BYTES)),
  );
}

export class Frames {
  readonly #random: Random;
  readonly #seeds = readSeeds();
  readonly #template = pathBetween(THEIRS, OURS).template;

  constructor(random: Random) {
    this.#random = random;
  }

  get seeds(): number {
    return this.#seeds.length;
  }

  /** The next frame, and whether its Ethernet, IP and UDP headers are whole: then some counter must move. */
  next(world: World): { frame: Uint8Array; isWhole: boolean } {
    const random = this.#random;
    if (random.chance(0.02)) return { frame: this.#noise(), isWhole: false };
    const body = random.chance(0.7) ? Uint8Array.from(random.pick(this.#seeds)) : this.#invent();
    this.#aim(new DataView(body.buffer), world);
    const cut = this.#resize(this.#spoil(body));
    const frame = this.#frame(cut, random.chance(0.9));
    if (random.chance(0.95)) return { frame, isWhole: true };
    this.#flip(frame, 0, frame.length, 4);
    return { frame, isWhole: false };
  }

  #noise(): Uint8Array {
    return Uint8Array.from({ length: this.#random.below(200) }, () => this.#random.below(256));
  }

  /** Any opcode, with any payload. */
  #invent(): Uint8Array {
    const random = this.#random;
    const body = new Uint8Array(Bth.BYTES + random.below(random.chance(0.1) ? PAYLOAD_MAX : 80));
    for (let i = 0; i < body.length; i++) body[i] = random.below(256);
    body[1] = random.below(4) << 4;
    body[2] = body[3] = 0xff;
    return body;
  }

  /** At one of the world's QPs, near the PSN that it expects, with keys that are right as often as not. */
  #aim(view: DataView, world: World): void {
    const random = this.#random;
    const opcode = view.getUint8(0);
    const qpn = this.#target(opcode, world);
    if (random.chance(0.95)) view.setUint32(4, qpn);
    if (random.chance(0.9))
      view.setUint32(
        8,
        (random.chance(0.5) ? 0x8000_0000 : 0) |
          ((random.chance(0.8) ? 3 + random.below(8) : random.bits()) & 0xff_ffff),
      );
    const at = Bth.BYTES;
    const flags = Opcode.flags(opcode as Parameters<typeof Opcode.flags>[0]);
    if ((flags & (Opcode.IS_WRITE | Opcode.IS_READ | Opcode.IS_ATOMIC)) !== 0 && view.byteLength >= at + 16) {
      if (random.chance(0.8)) view.setUint32(at, 0);
      if (random.chance(0.8)) view.setUint32(at + 4, IOVA + random.below(REGION_BYTES + 64) - 32);
      if (random.chance(0.8)) view.setUint32(at + 8, world.key);
      if (random.chance(0.7)) view.setUint32(at + 12, random.below(6000));
    }
    if (view.byteLength >= at + Deth.BYTES && (opcode & 0xe0) === 0x60 && random.chance(0.9))
      view.setUint32(at, qpn === 1 ? GSI_Q_KEY : KNOWN_Q_KEY);
  }

  /** Mostly a QP that takes such an opcode. */
  #target(opcode: number, world: World): number {
    const random = this.#random;
    if (random.chance(0.05)) return random.below(2 ** 24);
    const isUd = (opcode & 0xe0) === Opcode.UD;
    if (isUd && random.chance(0.3)) return 1;
    const type = isUd ? QpType.UD : (opcode & 0xe0) === Opcode.UC ? QpType.UC : QpType.RC;
    return random.pick(random.chance(0.9) ? world.qps.filter((qp) => qp.type === type) : world.qps).qpn;
  }

  #spoil(body: Uint8Array): Uint8Array {
    if (this.#random.chance(0.3)) this.#flip(body, 0, body.length, 3);
    if (this.#random.chance(0.05)) this.#flip(body, 0, Math.min(40, body.length), 12);
    return body;
  }

  #flip(octets: Uint8Array, from: number, to: number, most: number): void {
    for (let i = this.#random.below(most) + 1; i > 0 && to > from; i--)
      octets[from + this.#random.below(to - from)]! ^= 1 << this.#random.below(8);
  }

  #resize(body: Uint8Array): Uint8Array {
    const random = this.#random;
    if (random.chance(0.9)) return body;
    const length = random.chance(0.5) ? random.below(body.length + 1) : body.length + random.below(64);
    const resized = new Uint8Array(length);
    resized.set(body.subarray(0, length));
    return resized;
  }

  #frame(body: Uint8Array, hasGoodIcrc: boolean): Uint8Array {
    const frame = new Uint8Array(BTH_AT + body.length + Icrc.BYTES);
    const view = new DataView(frame.buffer);
    frame.set(this.#template);
    frame.set(body, BTH_AT);
    const udpBytes = frame.length - UDP_AT;
    view.setUint16(UDP_AT + 4, udpBytes);
    view.setUint16(IP_AT + 2, udpBytes + 20);
    const icrcAt = frame.length - Icrc.BYTES;
    if (hasGoodIcrc && icrcAt >= EXTENSIONS_AT) {
      const header = Icrc.headerCrc(view, IP_AT, false, UDP_AT, BTH_AT, 0, udpBytes + 20, udpBytes);
      Icrc.write(view, icrcAt, crc32(frame, EXTENSIONS_AT, icrcAt, header));
    }
    return frame;
  }
}
