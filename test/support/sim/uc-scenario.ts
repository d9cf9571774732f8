/** Random UC work over a few connections. What is lost stays lost; what is delivered follows from what arrives. */
import { Access, mtuBytes, QpType } from '../../../rnic/constants.ts';
import type { JudgedConnection } from '../../referee/referee.ts';
import * as Area from './area.ts';
import { arrivalOf } from './arrival.ts';
import { Tallies } from './arrivals-model.ts';
import type { SimHost } from './host.ts';
import { type KeyKind, SharedKey } from './keys.ts';
import { OneWayPosts } from './one-way-posts.ts';
import type { Options } from './options.ts';
import type { Random } from './random.ts';
import { psnOf } from './rc-scenario.ts';
import { OwnReceives } from './receives.ts';
import { A, addressName, B, type Scenario } from './scenario.ts';
import { type UcEnd, UcFlow } from './uc-flow.ts';
import type { World } from './world.ts';

const KEY_KINDS: readonly KeyKind[] = [2, 0, 2, 0, 1];
const CQES = 600;
/** Nothing is waited for: there is time for more work than RC has. */
const WORK_FACTOR = 3;
const COUNTED = [
  'rcvd_pkts',
  'rx_send_requests',
  'rx_write_requests',
  'out_of_buffer',
  'drop_uc_sequence',
  'drop_access',
  'drop_payload_length',
] as const;

export class UcScenario implements Scenario {
  readonly #options: Options;
  readonly #random: Random;
  readonly #hosts: readonly { readonly host: SimHost; readonly tallies: Tallies }[];
  readonly #flows: UcFlow[] = [];

  constructor(world: World, options: Options, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#hosts = [world.a, world.b].map((host) => ({ host, tallies: new Tallies(COUNTED) }));
    for (let i = 0; i < options.pairs; i++) this.#connect(i * Area.AREA_BYTES);
    for (const { host } of this.#hosts) host.witness = (frame) => this.#arrive(host, frame);
  }

  get isDone(): boolean {
    return this.#flows.every((flow) => flow.isDone);
  }

  get state(): string {
    return this.#flows.map(({ from }) => `${from.posts.count} posted`).join('; ');
  }

  get completions(): number {
    return this.#flows.reduce((sum, { from }) => sum + from.posts.completed, 0);
  }

  get errors(): number {
    return this.#flows.reduce((sum, { from }) => sum + from.posts.errors, 0);
  }

  readonly senders = [];

  get connections(): readonly JudgedConnection[] {
    const { isIpv6, pathMtu } = this.#options;
    return this.#flows
      .filter(({ from }) => from.host.options.address === A)
      .map(({ from, to }) => ({
        a: { address: addressName(A, isIpv6), qpn: from.qp.qpNum },
        b: { address: addressName(B, isIpv6), qpn: to.qp.qpNum },
        mtu: mtuBytes(pathMtu),
        isUnreliable: true,
      }));
  }

  act(): void {
    for (const flow of this.#flows) flow.poll();
    for (const flow of this.#flows) flow.act();
  }

  finish(): void {
    for (const flow of this.#flows) flow.finish();
    for (const { host, tallies } of this.#hosts) tallies.check(host);
  }

  #arrive(host: SimHost, frame: Uint8Array): void {
    const arrival = arrivalOf(frame, this.#options.isIpv6);
    const flow = this.#flows.find(({ to }) => to.host === host && to.qp.qpNum === arrival?.destQpn);
    if (arrival !== undefined) flow?.arrive(arrival);
  }

  #connect(area: number): void {
    const [a, b] = [this.#end(0, area), this.#end(1, area)];
    this.#connectEnd(a, b);
    this.#connectEnd(b, a);
    const { pathMtu, work, mostBytes, hasHazards } = this.#options;
    const load = { mtu: mtuBytes(pathMtu), work: WORK_FACTOR * work, mostBytes, hasHazards };
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const)
      this.#flows.push(new UcFlow(from, to, load, this.#random));
  }

  #end(side: 0 | 1, area: number): UcEnd {
    const random = this.#random;
    const { host, tallies } = this.#hosts[side]!;
    const sqSigAll = random.chance(0.2);
    const qp = host.createQp(QpType.UC, this.#options.depth, sqSigAll, { cqe: CQES });
    const bufferBytes = random.pick([2000, Area.RECEIVE_BYTES]);
    return {
      host,
      qp,
      area,
      receives: new OwnReceives(host, () => qp, area + Area.RECEIVE_AT, Area.RECEIVE_BUFFERS, bufferBytes),
      posts: new OneWayPosts(host, qp, sqSigAll),
      keys: KEY_KINDS.map((kind, i) => new SharedKey(host, kind, area + Area.SLOTS_AT + i * Area.SLOT_BYTES)),
      sqPsn: psnOf(random),
      mayBeWritten: random.chance(0.9),
      tallies,
    };
  }

  #connectEnd(end: UcEnd, peer: UcEnd): void {
    const { pathMtu } = this.#options;
    const accessFlags = Access.LOCAL_WRITE | (end.mayBeWritten ? Access.REMOTE_WRITE : 0);
    const unused = { timeout: 0, retryCnt: 0, rnrRetry: 0, minRnrTimer: 0, maxRdAtomic: 0, maxDestRdAtomic: 0 };
    const connection = { ...unused, pathMtu, accessFlags, sqPsn: end.sqPsn };
    const { address } = peer.host.options;
    end.host.connect(end.qp, QpType.UC, address, peer.qp.qpNum, peer.sqPsn, connection);
  }
}
