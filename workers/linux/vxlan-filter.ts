/**
 * Who takes which VXLAN datagram where a VTEP has two sockets (workers/ports/vxlan-ring.ts): small ones of known tenants, by one interface and whole, are the packet socket's;
 * of larger ones it sees that they came. The UDP socket has all the rest. Both filters ask the same of the same octets, so that each datagram has one taker.
 */
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Bpf from './bpf.ts';

export interface VxlanFilter {
  readonly interfaceIndex: number;
  /** 4 octets, or 16. */
  readonly local: Uint8Array;
  readonly udpPort: number;
  readonly vnis: readonly number[];
}

/** An outer IP packet up to here is small. With its Ethernet and virtio headers it fits into a slot of the ring. */
export const SMALL_IP_BYTES = 384;
/** Of a larger one, and of what leaves: its outer headers. */
const MARK_BYTES = 64;

const UDP = 17;
/** From the UDP header. */
const PORT_AT = 2;
const VNI_AT = 12;
const FRAGMENT = 0x3fff;
/** IPv4, no options. */
const PLAIN_IPV4 = 0x45;

/** For the packet socket. Where it is asked for what leaves, too (PACKET_IGNORE_OUTGOING): the outer headers of what this VTEP sends. */
export function ringFilter(wanted: VxlanFilter): Bpf.Filter {
  const filter = new Bpf.Filter();
  filter.op(Bpf.LOAD_BYTE, Bpf.VLAN_TAG_PRESENT).require(Bpf.JUMP_EQUAL, 0);
  filter.op(Bpf.LOAD_BYTE, Bpf.PACKET_TYPE).test(Bpf.JUMP_EQUAL, Bpf.PACKET_OUTGOING, 'leaves', '');
  filter.require(Bpf.JUMP_EQUAL, Bpf.PACKET_HOST);
  const isIpv4 = wanted.local.length === 4;
  requireVxlan(filter, wanted, isIpv4 ? Ipv4.DESTINATION_AT : Ipv6.DESTINATION_AT);
  const udpAt = Ethernet.BYTES + (isIpv4 ? Ipv4.BYTES : Ipv6.BYTES);
  filter.op(Bpf.LOAD_WORD, udpAt + VNI_AT).op(Bpf.SHIFT_RIGHT, 8);
  for (const vni of wanted.vnis) filter.test(Bpf.JUMP_EQUAL, vni, 'ours', '');
  filter.drop().label('ours');
  loadIpBytes(filter, Ethernet.BYTES, isIpv4);
  filter.test(Bpf.JUMP_GREATER_EQUAL, SMALL_IP_BYTES + 1, '', 'small').answer(MARK_BYTES);
  filter.label('small').accept().label('leaves');
  requireVxlan(filter, wanted, isIpv4 ? Ipv4.SOURCE_AT : Ipv6.SOURCE_AT);
  return filter.answer(MARK_BYTES);
}

/** For the UDP socket: whatever the other one does not take. */
export function socketFilter({ interfaceIndex, local, vnis }: VxlanFilter): Bpf.Filter {
  const filter = new Bpf.Filter();
  const isIpv4 = local.length === 4;
  const is = (code: number, at: number, value: number, name: string): void => {
    filter.op(code, at).test(Bpf.JUMP_EQUAL, value, name, '').accept().label(name);
  };
  is(Bpf.LOAD_WORD, Bpf.INTERFACE_INDEX, interfaceIndex, 'interface');
  if (isIpv4) is(Bpf.LOAD_BYTE, Bpf.NETWORK_HEADER, PLAIN_IPV4, 'plain');
  else is(Bpf.LOAD_BYTE, Bpf.NETWORK_HEADER + 6, UDP, 'plain');
  loadIpBytes(filter, Bpf.NETWORK_HEADER, isIpv4);
  filter
    .test(Bpf.JUMP_GREATER_EQUAL, SMALL_IP_BYTES + 1, '', 'small')
    .accept()
    .label('small');
  filter.op(Bpf.LOAD_WORD, VNI_AT).op(Bpf.SHIFT_RIGHT, 8);
  for (const vni of vnis) filter.test(Bpf.JUMP_EQUAL, vni, 'ours', '');
  return filter.accept().label('ours').drop();
}

/** @param addressAt of the VTEP's own in the IP header. */
function requireVxlan(filter: Bpf.Filter, { local, udpPort }: VxlanFilter, addressAt: number): void {
  const isIpv4 = local.length === 4;
  filter.op(Bpf.LOAD_HALF, 12).require(Bpf.JUMP_EQUAL, isIpv4 ? 0x0800 : 0x86dd);
  requirePlainUdp(filter, Ethernet.BYTES, isIpv4);
  const view = new DataView(local.buffer, local.byteOffset, local.length);
  for (let i = 0; i < local.length; i += 4)
    filter.op(Bpf.LOAD_WORD, Ethernet.BYTES + addressAt + i).require(Bpf.JUMP_EQUAL, view.getUint32(i));
  const udpAt = Ethernet.BYTES + (isIpv4 ? Ipv4.BYTES : Ipv6.BYTES);
  filter.op(Bpf.LOAD_HALF, udpAt + PORT_AT).require(Bpf.JUMP_EQUAL, udpPort);
}

/** No options, no fragments, no extension headers. */
function requirePlainUdp(filter: Bpf.Filter, ipAt: number, isIpv4: boolean): void {
  if (!isIpv4) {
    filter.op(Bpf.LOAD_BYTE, ipAt + 6).require(Bpf.JUMP_EQUAL, UDP);
    return;
  }
  filter.op(Bpf.LOAD_BYTE, ipAt).require(Bpf.JUMP_EQUAL, PLAIN_IPV4);
  filter.op(Bpf.LOAD_BYTE, ipAt + 9).require(Bpf.JUMP_EQUAL, UDP);
  filter.op(Bpf.LOAD_HALF, ipAt + 6).refuse(Bpf.JUMP_SET, FRAGMENT);
}

/** Octets of the whole IP packet, as its header says; IPv6 does not count its own. */
function loadIpBytes(filter: Bpf.Filter, ipAt: number, isIpv4: boolean): void {
  filter.op(Bpf.LOAD_HALF, ipAt + (isIpv4 ? 2 : 4));
  if (!isIpv4) filter.op(Bpf.ADD, Ipv6.BYTES);
}
