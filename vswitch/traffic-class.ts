/**
 * DSCP and ECN of a tenant's frames. Inside, the tenant's DSCP stands for what programs ask; outside, a host's network sees the tenant's DSCP and no program's. ECN is the
 * packet's: copied out, and back in where a hop was congested. RFC 2983 (pipe model), RFC 6040 §4.
 */
import * as Checksum from '../wire/checksum.ts';
import * as Ethernet from '../wire/ethernet.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import type { Tenant } from './model.ts';

export const NOT_ECT = 0;
const ECT_0 = 2;
export const CE = 3;
const ECN_BITS = 3;

type Marks = Pick<Tenant, 'dscp' | 'ecn'>;

/** The traffic class (IPv4: type of service) of packets for which a program asked for this one. */
export function innerClass({ dscp, ecn }: Marks, asked: number): number {
  const own = asked & ECN_BITS;
  const bits = ecn && own === NOT_ECT ? ECT_0 : own;
  return ((dscp === undefined ? asked & 0xfc : dscp << 2) | bits) & 0xff;
}

/** Of packets that hosts see as they are: translated ones. */
export const outerClass = (marks: Marks, asked: number): number =>
  outerClassOf(marks.dscp ?? 0, innerClass(marks, asked) & ECN_BITS);

export const outerClassOf = (dscp: number, ecn: number): number => (dscp << 2) | ecn;

/** ECN of the packet in a frame; Not-ECT where there is no IP. */
export function ecnOf(view: DataView, ethernetAt: number): number {
  const type = view.getUint16(ethernetAt + 12);
  if (type === Ethernet.ETHER_TYPE_IPV4) return Ipv4.ecn(view, ethernetAt + Ethernet.BYTES);
  return type === Ethernet.ETHER_TYPE_IPV6 ? Ipv6.ecn(view, ethernetAt + Ethernet.BYTES) : NOT_ECT;
}

/** The outer header says that a hop was congested: so does the packet from now on. False: it says that its sender would not understand, and must be dropped. */
export function setCongested(view: DataView, ethernetAt: number): boolean {
  const ecn = ecnOf(view, ethernetAt);
  if (ecn === NOT_ECT) return false;
  const ipAt = ethernetAt + Ethernet.BYTES;
  const before = view.getUint16(ipAt);
  if (view.getUint16(ethernetAt + 12) === Ethernet.ETHER_TYPE_IPV4) {
    view.setUint16(ipAt, before | CE);
    view.setUint16(ipAt + 10, Checksum.update(Ipv4.checksum(view, ipAt), before, before | CE));
  } else view.setUint16(ipAt, before | (CE << 4));
  return true;
}
