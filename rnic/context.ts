/** One application's use of a vRNIC: its objects, by handle, and its doorbell page. */
import type { Micros } from '../wire/types.ts';
import type { QpCap } from './commands.ts';
import type { CompletionQueue } from './completion-queue.ts';
import type { Pd } from './core.ts';
import { Handles } from './handles.ts';
import type { RegionEntry } from './memory/regions.ts';
import type { AddressVector, Path } from './path.ts';
import type { QueuePair } from './qp.ts';
import type { DoorbellPage } from './queue/doorbell.ts';
import { RecentMap } from './recent-map.ts';
import type { SharedReceiveQueue } from './shared-receive-queue.ts';

export interface ProtectionDomain extends Pd {
  children: number;
}

/** A memory region or window, by handle. */
export interface RegionObject {
  readonly handle: number;
  readonly entry: RegionEntry;
  /** Octets it counts for in the registration limit. */
  bytes: number;
}

export interface CompletionChannel {
  readonly handle: number;
  users: number;
}

export interface AddressHandle {
  readonly handle: number;
  readonly pd: ProtectionDomain;
  readonly path: Path;
  readonly av: AddressVector;
}

const CAP_MEMBERS = ['maxSendWr', 'maxRecvWr', 'maxSendSge', 'maxRecvSge', 'maxInlineData'] as const;

export class Context {
  readonly id: number;
  readonly doorbell: DoorbellPage;
  readonly pds = new Handles<ProtectionDomain>();
  readonly regions = new Handles<RegionObject>();
  readonly windows = new Handles<RegionObject>();
  readonly channels = new Handles<CompletionChannel>();
  readonly cqs = new Handles<CompletionQueue>();
  readonly srqs = new Handles<SharedReceiveQueue>();
  readonly qps = new Handles<QueuePair>();
  readonly addressHandles = new Handles<AddressHandle>();
  /** Of the QP that was created last: applications create many alike, and those share it. */
  #cap: QpCap | null = null;
  readonly #avs = new RecentMap<AddressVector>();
  #now: Micros = 0;

  constructor(id: number, doorbell: DoorbellPage) {
    this.id = id;
    this.doorbell = doorbell;
  }

  /** The same object as last time when it says the same. */
  sharedCap(cap: QpCap): QpCap {
    const last = this.#cap;
    if (last === null || CAP_MEMBERS.some((member) => last[member] !== cap[member])) this.#cap = Object.freeze(cap);
    return this.#cap!;
  }

  /** The same object as another QP's that goes the same way. */
  sharedAv(av: AddressVector): AddressVector {
    const { dgid, sgidIndex, hopLimit, trafficClass, flowLabel, sl, portNum, underlay } = av;
    const key = `${dgid} ${sgidIndex} ${hopLimit} ${trafficClass} ${flowLabel} ${sl} ${portNum} ${underlay}`;
    const known = this.#avs.get(key);
    if (known === undefined) this.#avs.set(key, av);
    return known ?? av;
  }

  takeDoorbells(now: Micros): void {
    this.#now = now;
    this.doorbell.take(this);
  }

  /** For `DoorbellPage.take`. A slot without a QP is a lie or a late ring. */
  handleDoorbell(slot: number): void {
    this.qps.at(slot)?.sender.handleDoorbell(this.#now);
  }
}
