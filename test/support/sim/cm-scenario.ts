/** Connections of rdma_cm between two hosts: both sides agree or both give up, in time; each hears of each thing once; nothing is left. */
import { PortSpace } from '../../../rnic/cm/commands.ts';
import * as Messages from '../../../wire/cm/messages.ts';
import * as Mad from '../../../wire/mad.ts';
import type { Micros } from '../../../wire/types.ts';
import { Broken } from './broken.ts';
import { CmApplication } from './cm-application.ts';
import type { Attempt, CmSimId } from './cm-attempt.ts';
import type { SimHost } from './host.ts';
import type { Options } from './options.ts';
import type { Random } from './random.ts';
import { A, addressName, B, type Scenario } from './scenario.ts';
import type { World } from './world.ts';

/** Connections begin within so long. */
const BEGIN_MICROS = 90e6;
/** Sixteen messages, 4.096 µs · (2^20 + 2 · 2^16) apart (SPEC-CHECKLIST's CM section); an MRA asks for 4.096 µs · 2^24 more. */
const TRIES = 16;
const ANSWER_MICROS = 4.096 * (2 ** 20 + 2 ** 17);
const MRA_MICROS = 4.096 * 2 ** 24;
/** Sixteen messages in a row are not lost, nor their answers. */
const SLIGHT = 0.05;
const SLACK_MICROS = 1e6;
const UDP_AT = { true: 14 + 40, false: 14 + 20 } as const;
const MAD_BEHIND_UDP = 8 + 12 + 8;
const GSI_QPN = 1;

export class CmScenario implements Scenario {
  readonly #world: World;
  readonly #options: Options;
  /** From when on the other side is reached within the retries. */
  readonly #reachableFrom: Micros;
  readonly #attempts = new Map<number, Attempt>();
  readonly #applications: readonly [CmApplication, CmApplication];
  /** Those to come, the last one first. */
  readonly #toBegin: { readonly at: Micros; readonly by: CmApplication; readonly portSpace: PortSpace }[];
  /** MRAs that arrived at each host: each may put off what it waits for. */
  readonly #delays = new Map<CmApplication, number>();

  constructor(world: World, options: Options, random: Random) {
    this.#world = world;
    this.#options = options;
    const { loss, corrupt } = options.faults;
    const isSlight = loss <= SLIGHT && corrupt <= SLIGHT && options.cutMicros === 0;
    this.#reachableFrom = isSlight ? 0 : options.calmMicros;
    const application = (host: SimHost, peer: SimHost): CmApplication =>
      new CmApplication(world, host, peer, this.#attempts, this.#reachableFrom, random);
    const [a, b] = [application(world.a, world.b), application(world.b, world.a)];
    a.peerWasFullSince = (then) => b.wasFullSince(then);
    b.peerWasFullSince = (then) => a.wasFullSince(then);
    this.#applications = [a, b];
    this.#countDelays(world.a, a);
    this.#countDelays(world.b, b);
    this.#toBegin = Array.from({ length: options.work }, () => ({
      at: random.below(BEGIN_MICROS),
      by: random.pick([a, a, b]),
      portSpace: random.pick([PortSpace.TCP, PortSpace.TCP, PortSpace.UDP]),
    })).sort((x, y) => y.at - x.at);
  }

  get isDone(): boolean {
    const isEmpty = this.#toBegin.length === 0 && this.#ids.length === 0;
    return isEmpty && this.#world.wire.nextArrival() === Number.POSITIVE_INFINITY;
  }

  get state(): string {
    return this.#ids.map(({ attempt, side, story }) => `${attempt.number} ${side} ${story}`).join('; ');
  }

  get completions(): number {
    return this.#applications.reduce((sum, { completions }) => sum + completions, 0);
  }

  get errors(): number {
    return this.#applications.reduce((sum, { errors }) => sum + errors, 0);
  }

  readonly connections = [];

  get senders() {
    return [A, B].map((host) => ({ address: addressName(host, this.#options.isIpv6), qpn: GSI_QPN }));
  }

  act(): void {
    const { now } = this.#world;
    for (let next = this.#toBegin.at(-1); next && next.at <= now; next = this.#toBegin.at(-1)) {
      this.#toBegin.pop();
      const { by, portSpace } = next;
      const number = this.#attempts.size + 1;
      const attempt: Attempt = {
        number,
        portSpace,
        startedAt: now,
        isConfirmed: false,
        isGivenUp: false,
        passives: [],
      };
      this.#attempts.set(number, attempt);
      by.begin(attempt);
    }
    for (const application of this.#applications) {
      application.act();
      this.#checkPatience(application);
    }
  }

  /** Who waits for the peer hears of it, or that it is silent, within the retries. */
  #checkPatience(application: CmApplication): void {
    const most = TRIES * ANSWER_MICROS + (this.#delays.get(application) ?? 0) * (MRA_MICROS + ANSWER_MICROS);
    for (const { attempt, side, story, waitsSince } of application.ids.values())
      if (this.#world.now - waitsSince > most + SLACK_MICROS)
        throw new Broken(`the ${side} side of connection ${attempt.number} waits for ever behind ${story}`);
  }

  finish(): void {
    for (const [i, host] of [this.#world.a, this.#world.b].entries()) {
      const { idCount } = host.rnic.connections;
      const { listeners } = this.#applications[i]!;
      if (idCount !== listeners) throw new Broken(`${idCount} ids are left of ${listeners}`);
    }
    for (const { number, startedAt, isConfirmed, isGivenUp, passives } of this.#attempts.values())
      if (
        startedAt >= this.#reachableFrom &&
        isConfirmed &&
        !isGivenUp &&
        !passives.some(({ story }) => /[ED]/.test(story))
      )
        throw new Broken(`connection ${number}: one side is connected, the other has not heard of it`);
  }

  get #ids(): CmSimId[] {
    return this.#applications.flatMap(({ ids }) => [...ids.values()]);
  }

  #countDelays(host: SimHost, application: CmApplication): void {
    const at = UDP_AT[`${this.#options.isIpv6}`] + MAD_BEHIND_UDP;
    host.witness = (frame) => {
      if (Mad.attributeId(new DataView(frame.buffer), at) !== Messages.MRA) return;
      this.#delays.set(application, (this.#delays.get(application) ?? 0) + 1);
    };
  }
}
