/** Fourth stage: groups and rules, judged once for each flow (two MACs' addresses and a transport) and remembered until the tenant changes. */
import * as Gid from '../../wire/gid.ts';
import { type Direction, judge } from '../judge.ts';
import { addressesOf, type Endpoint, type Tenant } from '../model.ts';
import { transportOf } from '../transport.ts';
import type { Frame } from './classify.ts';

const FLOW_COUNT = 1024;
/** Source and destination of four words each, the other's MAC in two, and direction, transport and verdict in one. */
const FLOW_WORDS = 12;
const MAC_HI_AT = 8;
const MAC_LO_AT = 9;
const KIND_AT = 10;
const VERDICT_AT = 11;
const ALLOWED = 1;
const DENIED = 2;
const MAPPED = 0xffff;

export class RuleStage {
  readonly #tenant: Tenant;
  readonly #own: Endpoint;
  /** Each flow has one place, by a hash: whoever comes later takes it. */
  readonly #flows = new Int32Array(FLOW_COUNT * FLOW_WORDS);
  readonly #key = new Int32Array(FLOW_WORDS);
  readonly #source = new Uint8Array(16);
  readonly #destination = new Uint8Array(16);

  constructor(tenant: Tenant, own: Endpoint) {
    this.#tenant = tenant;
    this.#own = own;
  }

  /** @param peer who has the other MAC, where an endpoint has. `in`: it sends to us. */
  allows(frame: Frame, peer: Endpoint | undefined, direction: Direction): boolean {
    const at = this.#find(frame, direction);
    if (this.#isKnown(at)) return this.#flows[at + VERDICT_AT] === ALLOWED;
    const isAllowed = this.#judge(frame, peer, direction);
    this.#key[VERDICT_AT] = isAllowed ? ALLOWED : DENIED;
    this.#flows.set(this.#key, at);
    return isAllowed;
  }

  /** Makes the flow's key; where its place is. */
  #find(frame: Frame, direction: Direction): number {
    const key = this.#key;
    const { view, at, end, addressBytes } = frame;
    if (addressBytes === 0) key.fill(0, 0, MAC_HI_AT);
    else {
      putAddress(key, 0, view, frame.sourceAt, addressBytes);
      putAddress(key, 4, view, frame.destinationAt, addressBytes);
    }
    const macAt = direction === 'out' ? at : at + 6;
    key[MAC_HI_AT] = view.getUint16(macAt);
    key[MAC_LO_AT] = view.getInt32(macAt + 2);
    key[KIND_AT] = (addressBytes << 8) | (transportOf(view, at, end) << 1) | (direction === 'out' ? 1 : 0);
    let hash = 0;
    for (let i = 0; i <= KIND_AT; i++) hash = (Math.imul(hash, 0x9e37_79b1) + key[i]!) | 0;
    return ((hash ^ (hash >>> 15)) & (FLOW_COUNT - 1)) * FLOW_WORDS;
  }

  #isKnown(at: number): boolean {
    if (this.#flows[at + VERDICT_AT] === 0) return false;
    for (let i = 0; i <= KIND_AT; i++) if (this.#flows[at + i] !== this.#key[i]) return false;
    return true;
  }

  /** Link-local addresses, and none at all, stand for the endpoint that has them: rules do not name those. */
  #judge(frame: Frame, peer: Endpoint | undefined, direction: Direction): boolean {
    const isOut = direction === 'out';
    // What is for many is judged by each who hears it. Strangers have no group.
    if (!(isOut && frame.isMulticast) && peer?.group !== this.#own.group) return false;
    const source = this.#name(frame, frame.sourceAt, isOut ? this.#own : peer, this.#source);
    const destination = this.#name(frame, frame.destinationAt, isOut ? peer : this.#own, this.#destination);
    const transport = transportOf(frame.view, frame.at, frame.end);
    const { rules } = this.#tenant;
    if (!judge(rules, source, destination, direction, transport).isAllowed) return false;
    // Who gets it counts, too, whatever address it bears: a flood, multicast, a packet for somebody behind.
    const receiver = isOut ? peer : this.#own;
    if (receiver === undefined || isOf(receiver, destination)) return true;
    return judge(rules, source, receiver.address, direction, transport).isAllowed;
  }

  #name({ view, addressBytes }: Frame, at: number, endpoint: Endpoint | undefined, into: Uint8Array): Uint8Array {
    into.fill(0);
    if (addressBytes === 4) into.fill(0xff, 10, 12);
    for (let i = 0; i < addressBytes; i++) into[16 - addressBytes + i] = view.getUint8(at + i);
    return endpoint !== undefined && (Gid.isLinkLocal(into) || Gid.isAny(into)) ? endpoint.address : into;
  }
}

const isOf = (endpoint: Endpoint, address: Uint8Array): boolean =>
  addressesOf(endpoint).some((own) => Gid.isSame(own, address));

function putAddress(key: Int32Array, word: number, view: DataView, at: number, bytes: number): void {
  const isIpv4 = bytes === 4;
  key[word] = isIpv4 ? 0 : view.getInt32(at);
  key[word + 1] = isIpv4 ? 0 : view.getInt32(at + 4);
  key[word + 2] = isIpv4 ? MAPPED : view.getInt32(at + 8);
  key[word + 3] = isIpv4 ? view.getInt32(at) : view.getInt32(at + 12);
}
