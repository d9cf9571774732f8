/** Frames for the fuzzed engine, all from a seed: right ones that its QPs wait for, mutated ones, those of captures aimed at its QPs, and noise. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QpState, QpType } from '../../rnic/constants.ts';
import { readCapture } from '../../wire/capture.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Mad from '../../wire/mad.ts';
import type { QKey } from '../../wire/types.ts';
import { ROOT } from '../support/root.ts';
import type { Random } from '../support/sim/random.ts';
import { type Body, bodyOf } from './body.ts';
import { type Envelope, seal, spoil } from './envelope.ts';
import { mutate } from './mutations.ts';
import { KNOWN_Q_KEY, Requests } from './requests.ts';
import { Responses } from './responses.ts';
import type { Position, Target } from './target.ts';
import type { World } from './world.ts';

const BTH_AT = 42;
const PAYLOAD_MAX = 4200;
const MULTICAST_QPN = 0xff_ffff;

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

const LIVE: readonly QpState[] = [QpState.RTR, QpState.RTS, QpState.SQD, QpState.SQE];

export class Frames {
  readonly #random: Random;
  readonly #seeds = readSeeds();
  readonly #requests: Requests;
  readonly #responses: Responses;

  constructor(random: Random) {
    this.#random = random;
    this.#requests = new Requests(random);
    this.#responses = new Responses(random);
  }

  get seeds(): number {
    return this.#seeds.length;
  }

  next(world: World): Envelope {
    const random = this.#random;
    if (random.chance(0.01)) return { bytes: this.#noise(), segmentBytes: 0 };
    const any = random.pick(world.targets);
    const target = LIVE.includes(any.home.state) || random.chance(0.4) ? any : random.pick(world.targets);
    world.aimedAt = target;
    const kind = random.fraction();
    const isMad = kind < 0.06;
    const isGroups = kind >= 0.06 && kind < 0.08;
    const path = isGroups ? random.pick(world.groupPaths) : target.in;
    const { position } = target;
    const first = isMad ? world.letters.next() : isGroups ? this.#requests.ud(MULTICAST_QPN) : this.#for(target, world);
    const bodies = [this.#mayMutate(first, target, position, world)];
    if (random.chance(0.03)) this.#join(bodies, target, world);
    const hasGoodIcrc = random.chance(0.97);
    const isSpoilt = random.chance(0.03);
    const envelope = seal(path, bodies, hasGoodIcrc, random);
    if (isSpoilt) spoil(envelope, random);
    if (isSpoilt || !hasGoodIcrc) target.restore(position);
    return envelope;
  }

  #noise(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: this.#random.below(200) }, () => this.#random.below(256));
  }

  #for(target: Target, world: World): Body {
    const random = this.#random;
    const kind = random.fraction();
    if (kind < 0.05) return this.#captured(target);
    if (kind < 0.06) return this.#invented(target);
    if (kind < 0.07) return this.#requests.cnp(target);
    const { type, state } = target.home;
    const { places } = world.terrain;
    if (type === QpType.UD)
      return this.#requests.ud(target.qp.qpn, (random.chance(0.97) ? KNOWN_Q_KEY : Mad.GSI_Q_KEY) as QKey);
    if (type === QpType.UC) return this.#requests.uc(target, places);
    const isAnswered = target.sends && target.requests.length > 0 && random.chance(0.5);
    if (isAnswered || !LIVE.includes(state)) return this.#responses.next(target);
    return this.#requests.rc(target, places);
  }

  /** Four of ten stay as they were: a QP that only hears nonsense gets nowhere. */
  #mayMutate(body: Body, target: Target, position: Position, world: World): Uint8Array {
    if (this.#random.chance(0.4)) return body.bytes;
    mutate(body, this.#random, world.terrain.places);
    target.restore(position);
    return body.bytes;
  }

  /** Packets as long as the first behind it; the last may be shorter. */
  #join(bodies: Uint8Array[], target: Target, world: World): void {
    for (let more = 1 + this.#random.below(3); more > 0; more--) {
      const { position } = target;
      const next = this.#mayMutate(this.#for(target, world), target, position, world);
      if (next.length > bodies[0]!.length) return target.restore(position);
      bodies.push(next);
      if (next.length < bodies[0]!.length) return;
    }
  }

  #captured({ qp, expected }: Target): Body {
    const body = bodyOf(Uint8Array.from(this.#random.pick(this.#seeds)));
    body.view.setUint32(4, qp.qpn);
    if (this.#random.chance(0.5)) body.view.setUint32(8, (0x8000_0000 | expected) >>> 0);
    return body;
  }

  /** Any opcode, with any payload. */
  #invented({ qp, expected }: Target): Body {
    const random = this.#random;
    const body = bodyOf(new Uint8Array(16 + random.below(random.chance(0.1) ? PAYLOAD_MAX : 80)));
    for (let i = 0; i < body.bytes.length; i++) body.bytes[i] = random.below(256);
    body.view.setUint8(1, random.below(4) << 4);
    body.view.setUint16(2, 0xffff);
    body.view.setUint32(4, qp.qpn);
    body.view.setUint32(8, (0x8000_0000 | expected) >>> 0);
    return body;
  }
}
