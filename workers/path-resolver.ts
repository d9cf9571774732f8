/** From an address vector to a path: GID table, route, neighbour, headers. Answers at once, or says that it waits for a neighbour. */
import { Errno, type Refusal } from '../rnic/commands.ts';
import type { GidEntry } from '../rnic/config.ts';
import type { AddressVector, Path } from '../rnic/path.ts';
import { RecentMap } from '../rnic/recent-map.ts';
import type { Transport } from '../vswitch/transport.ts';
import * as Gid from '../wire/gid.ts';
import type { Micros } from '../wire/types.ts';
import { gidText } from './linux/netdev.ts';
import { nextHop } from './linux/routes.ts';
import { NeighbourPaths } from './neighbour-paths.ts';
import { multicastMac, type Neighbours, Resolution } from './neighbours.ts';
import { LOCAL_PORT, type Overlay, type Way } from './overlay/overlay.ts';
import type { Translation } from './overlay/translation.ts';
import { buildPath, familyMismatch } from './path-builder.ts';
import type { Port } from './port.ts';

/** Index of the vRNIC's ports. */
export const WIRE_PORT = 0;
export const LOOPBACK_PORT = 1;

export interface PathResolverOptions {
  readonly mac: Uint8Array;
  readonly gids: readonly GidEntry[];
  readonly ports: readonly Port[];
  readonly neighbours: Neighbours;
  /** Whose routes lead to gateways; absent: everything is on the link. */
  readonly netdev?: string;
  /** In a tenant's network: its endpoints are the only neighbours. */
  readonly overlay?: Overlay | null;
  /** Null where the vRNIC has no interface to translate to. */
  readonly translation?: Translation | null;
}

interface Found {
  readonly path: Path;
  /** The neighbour that it goes by. */
  readonly hop?: Uint8Array;
}

const refuse = (errno: number, reason: string, argument: string): Refusal => ({ ok: false, errno, reason, argument });

export class PathResolver {
  readonly #options: PathResolverOptions;
  #gids: readonly GidEntry[];
  readonly #paths: NeighbourPaths;
  readonly #templates = new RecentMap<Uint8Array>();

  constructor(options: PathResolverOptions) {
    this.#options = options;
    this.#gids = options.gids;
    this.#paths = new NeighbourPaths(options.neighbours);
  }

  setGids(gids: readonly GidEntry[]): void {
    this.#gids = gids;
  }

  /** `null`: ask again when the neighbour table has changed. */
  resolve(
    av: AddressVector,
    transport: Transport,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: Path } | Refusal | null {
    const found = this.#resolve(av, transport, localQpn, remoteQpn, now);
    if (found === null || 'ok' in found) return found;
    const isNew = !this.#shareTemplate(found.path, av, transport);
    if (isNew && found.hop) this.#paths.remember(found.hop, found.path.template);
    return found;
  }

  /** Whatever moves one of these paths, or gives it another traffic class, does the same to all of them. False: there is none like it yet. */
  #shareTemplate(path: Path, { sgidIndex, dgid, trafficClass }: AddressVector, transport: Transport): boolean {
    const key = `${transport} ${sgidIndex} ${dgid} ${trafficClass}`;
    const known = this.#templates.get(key);
    const isShared = known !== undefined && Buffer.compare(known, path.template) === 0;
    if (isShared) path.template = known;
    else this.#templates.set(key, path.template);
    return isShared;
  }

  #resolve(
    av: AddressVector,
    transport: Transport,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): Found | Refusal | null {
    const sgid = this.#gids[av.sgidIndex]?.gid;
    if (!sgid || Gid.isZero(sgid)) return refuse(Errno.EINVAL, `no GID at sgid_index ${av.sgidIndex}`, 'av.sgidIndex');
    if (av.dgid.length !== 16 || Gid.isZero(av.dgid)) return refuse(Errno.EINVAL, 'dgid is no address', 'av.dgid');
    const mismatch = familyMismatch(sgid, av.dgid);
    if (mismatch) return refuse(Errno.ENETUNREACH, mismatch, 'av.dgid');
    if (this.#gids.some(({ gid }) => Gid.isSame(gid, av.dgid)))
      return this.#build(av, sgid, localQpn, remoteQpn, LOOPBACK_PORT, this.#options.mac);
    if (this.#options.overlay)
      return this.#resolveEndpoint(this.#options.overlay, av, transport, sgid, localQpn, remoteQpn, now);
    const group = multicastMac(av.dgid);
    if (group) return this.#buildGroup(av, sgid, localQpn, remoteQpn, group);
    if (this.#options.ports[WIRE_PORT]!.link === 'ip')
      return this.#build(av, sgid, localQpn, remoteQpn, WIRE_PORT, group ?? this.#options.mac);
    return this.#resolveNeighbour(av, sgid, localQpn, remoteQpn, now);
  }

  #resolveEndpoint(
    overlay: Overlay,
    av: AddressVector,
    transport: Transport,
    sgid: Uint8Array,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: Path } | Refusal | null {
    if (!overlay.isOwn(sgid))
      return refuse(Errno.EADDRNOTAVAIL, `${gidText(sgid)} is not this vRNIC's address in its tenant`, 'av.sgidIndex');
    const way = overlay.wayTo(sgid, av.dgid, transport, av.underlay);
    if ('ok' in way) return way;
    const marked = { ...av, trafficClass: overlay.trafficClass(av.trafficClass, way.underlay) };
    if (way.underlay === 'translate') {
      const translated = this.#translate(way, marked, localQpn, remoteQpn, now);
      if (translated !== null && 'path' in translated)
        overlay.follow(sgid, av.dgid, transport, translated.path, av.trafficClass, av.underlay);
      return translated;
    }
    const port = way.underlay === 'local' ? LOCAL_PORT : WIRE_PORT;
    const built = multicastMac(av.dgid)
      ? this.#buildGroup(marked, sgid, localQpn, remoteQpn, way.mac, way)
      : this.#build(marked, sgid, localQpn, remoteQpn, port, way.mac, way);
    overlay.follow(sgid, av.dgid, transport, built.path, av.trafficClass, av.underlay);
    return built;
  }

  #translate(
    way: Way,
    av: AddressVector,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: Path } | Refusal | null {
    const { translation } = this.#options;
    if (!translation)
      return refuse(Errno.EOPNOTSUPP, 'this vRNIC has no interface and no QPNs of its own to translate to', 'av.dgid');
    return translation.resolve(way.host, av, localQpn, remoteQpn, now);
  }

  #buildGroup(
    av: AddressVector,
    sgid: Uint8Array,
    localQpn: number,
    remoteQpn: number,
    group: Uint8Array,
    way?: Way,
  ): { path: Path } {
    const { path } = this.#build(av, sgid, localQpn, remoteQpn, WIRE_PORT, group, way);
    const local = this.#build(av, sgid, localQpn, remoteQpn, LOOPBACK_PORT, group).path;
    return { path: { ...path, local, ...(way?.copies !== undefined && { copies: way.copies }) } };
  }

  #resolveNeighbour(
    av: AddressVector,
    sgid: Uint8Array,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): Found | Refusal | null {
    const { netdev, neighbours } = this.#options;
    const hop = netdev === undefined ? av.dgid : nextHop(netdev, av.dgid);
    if (!hop) return refuse(Errno.ENETUNREACH, `no route to ${gidText(av.dgid)} by ${netdev}`, 'av.dgid');
    const state = neighbours.resolve(hop, sgid, now);
    if (state === Resolution.PENDING) return null;
    const mac = neighbours.macOf(hop);
    if (!mac) return refuse(Errno.EHOSTUNREACH, neighbours.failureText(hop), 'av.dgid');
    return { ...this.#build(av, sgid, localQpn, remoteQpn, WIRE_PORT, mac), hop };
  }

  #build(
    av: AddressVector,
    sgid: Uint8Array,
    localQpn: number,
    remoteQpn: number,
    portIndex: number,
    mac: Uint8Array,
    way?: Way,
  ): { path: Path } {
    const path = buildPath({
      av,
      sgid,
      sourceMac: this.#options.mac,
      destinationMac: mac,
      localQpn,
      remoteQpn,
      portIndex,
      port: this.#options.ports[portIndex]!,
      icrcElided: portIndex === LOOPBACK_PORT || portIndex === LOCAL_PORT,
      ...(way && { encapsulation: way.encapsulation, destination: way.destination }),
    });
    return { path };
  }
}
