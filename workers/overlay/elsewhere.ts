/**
 * What this worker knows of the other workers of its host: which endpoints they have, and a link to each. One thread's alone. The supervisor says who is where
 * (workers/worker-mesh.ts); the hubs of this thread ask here for whom they do not have themselves, and take what comes.
 */
import type { Micros } from '../../wire/types.ts';
import { gidText } from '../linux/netdev.ts';
import { FrameKind, type LinkEnd, type LinkedFrame, WorkerLink } from './worker-link.ts';

/** A member of a VTEP: a vRNIC or a switch port. */
export interface Member {
  /** 16 octets. */
  readonly vtep: Uint8Array;
  readonly vni: number;
  /** As a number of 48 bits. */
  readonly mac: number;
}

/** Takes what another worker sent; it may not keep it. */
export type FrameTaker = (frame: LinkedFrame<VtepElsewhere>, now: Micros) => void;

export type Link = WorkerLink<VtepElsewhere>;

/** Members of one VNI in other workers. */
export class RemoteSegment {
  readonly byMac = new Map<number, Link>();
  /** Each of them once. */
  links: readonly Link[] = [];

  refresh(): void {
    this.links = [...new Set(this.byMac.values())];
  }
}

/** One VTEP as this worker sees it. */
export class VtepElsewhere {
  /** By VNI. */
  readonly segments = new Map<number, RemoteSegment>();
  /** Of the hubs of this thread; null while there is none. */
  takeLocal: FrameTaker | null = null;
  takeVxlan: FrameTaker | null = null;
  /** Told when other workers begin or cease to have a VNI. */
  changed: (() => void) | null = null;

  linkTo(vni: number, mac: number): Link | undefined {
    return this.segments.get(vni)?.byMac.get(mac);
  }

  put(vni: number, mac: number, link: Link): void {
    const known = this.segments.get(vni);
    const segment = known ?? new RemoteSegment();
    this.segments.set(vni, segment);
    segment.byMac.set(mac, link);
    segment.refresh();
    if (!known) this.changed?.();
  }

  /** Whoever has gone from that worker; without a MAC, all of it. */
  take(link: Link, gone?: Member): void {
    const before = this.segments.size;
    for (const [vni, segment] of this.segments) {
      for (const [mac, owner] of segment.byMac)
        if (owner === link && (!gone || (gone.vni === vni && gone.mac === mac))) segment.byMac.delete(mac);
      segment.refresh();
      if (segment.byMac.size === 0) this.segments.delete(vni);
    }
    if (this.segments.size !== before) this.changed?.();
  }
}

/** By address. A host has few. */
const vteps = new Map<string, VtepElsewhere>();
/** By worker. */
const links = new Map<number, Link>();
let list: readonly Link[] = [];
let breath: Micros = 0;

export function elsewhereOf(vtep: Uint8Array): VtepElsewhere {
  const key = gidText(vtep);
  const known = vteps.get(key) ?? new VtepElsewhere();
  vteps.set(key, known);
  return known;
}

/** @param members whom the other worker has. */
export function meet(end: LinkEnd, members: readonly Member[]): void {
  links.set(end.worker, new WorkerLink(end, elsewhereOf));
  list = [...links.values()];
  for (const member of members) came(end.worker, member);
}

/** The worker has ended, or has no member of a VTEP of ours any more. */
export function part(worker: number): void {
  const link = links.get(worker);
  if (!link) return;
  links.delete(worker);
  list = [...links.values()];
  for (const vtep of vteps.values()) vtep.take(link);
  link.close();
}

export function came(worker: number, { vtep, vni, mac }: Member): void {
  const link = links.get(worker);
  if (link) elsewhereOf(vtep).put(vni, mac, link);
}

export function went(worker: number, member: Member): void {
  const link = links.get(worker);
  if (link) elsewhereOf(member.vtep).take(link, member);
}

const deliver = (frame: LinkedFrame<VtepElsewhere>): void => {
  if (frame.kind === FrameKind.LOCAL) frame.vtep.takeLocal?.(frame, breath);
  else frame.vtep.takeVxlan?.(frame, breath);
};

/** Sends what this breath had for other workers, and takes what they have sent. True when there was something. */
export function breatheLinks(now: Micros): boolean {
  breath = now;
  let isBusy = false;
  for (let i = 0; i < list.length; i++) {
    list[i]!.publish();
    if (list[i]!.receive(deliver) > 0) isBusy = true;
  }
  return isBusy;
}

/** False when one of them has sent something meanwhile. */
export function setLinksSleeping(asleep: boolean): boolean {
  let isQuiet = true;
  for (const link of list) if (!link.setSleeping(asleep)) isQuiet = false;
  return isQuiet;
}

export function closeLinks(): void {
  for (const worker of [...links.keys()]) part(worker);
}
