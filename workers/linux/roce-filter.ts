/** The packet filter of a vRNIC's AF_PACKET socket: RoCEv2 to its addresses and QPNs, ARP and neighbour discovery, nothing else. */
import * as Gid from '../../wire/gid.ts';
import * as Bpf from './bpf.ts';

export interface QpnRange {
  readonly base: number;
  readonly count: number;
}

export interface RoceFilter {
  /** 16 octets each (GIDs). RoCE to any other address is left to others. */
  readonly addresses: readonly Uint8Array[];
  /** Only QPNs of these ranges, QP1 and the multicast QPN 0xffffff; absent: all. */
  readonly qpns?: readonly QpnRange[];
  /** Only QPNs of the ranges: neither QP1 nor multicast. */
  readonly connectedOnly?: boolean;
  /** UDP destination port; 4791 by default. */
  readonly udpPort?: number;
}

const ETHER_TYPE_AT = 12;
const IP_AT = 14;
const UDP = 17;
const ICMPV6 = 58;
const ROCE_PORT = 4791;
/** Octets from the UDP header to the word that holds the BTH's DestQP. */
const DEST_QP_FROM_UDP = 12;
const GSI_QPN = 1;
const MULTICAST_QPN = 0xff_ffff;

export function roceFilter(wanted: RoceFilter): Bpf.Filter {
  const filter = new Bpf.Filter();
  // The kernel takes 802.1Q tags off before we look: a frame of another VLAN must not pass for one of ours.
  filter.op(Bpf.LOAD_BYTE, Bpf.VLAN_TAG_PRESENT).require(Bpf.JUMP_EQUAL, 0);
  filter.op(Bpf.LOAD_HALF, ETHER_TYPE_AT);
  filter.test(Bpf.JUMP_EQUAL, 0x0800, 'ipv4', '').test(Bpf.JUMP_EQUAL, 0x86dd, 'to ipv6', '');
  filter.require(Bpf.JUMP_EQUAL, 0x0806).accept();
  filter.label('to ipv6').jump('ipv6');
  writeIpv4(filter, wanted);
  writeIpv6(filter, wanted);
  return filter;
}

function writeIpv4(filter: Bpf.Filter, wanted: RoceFilter): void {
  filter
    .label('ipv4')
    .op(Bpf.LOAD_BYTE, IP_AT + 9)
    .require(Bpf.JUMP_EQUAL, UDP);
  // Later fragments have no UDP header to look at.
  filter.op(Bpf.LOAD_HALF, IP_AT + 6).refuse(Bpf.JUMP_SET, 0x1fff);
  filter.op(Bpf.LOAD_X_IHL, IP_AT);
  filter.op(Bpf.LOAD_HALF_X, IP_AT + 2).require(Bpf.JUMP_EQUAL, wanted.udpPort ?? ROCE_PORT);
  filter.op(Bpf.LOAD_WORD, IP_AT + 16);
  filter.test(Bpf.JUMP_GREATER_EQUAL, 0xe000_0000, 'ipv4 qpn', '');
  for (const address of wanted.addresses) {
    if (Gid.isMappedIpv4(address)) filter.test(Bpf.JUMP_EQUAL, wordOf(address, 12), 'ipv4 qpn', '');
  }
  filter.drop().label('ipv4 qpn');
  if (wanted.qpns) filter.op(Bpf.LOAD_WORD_X, IP_AT + DEST_QP_FROM_UDP);
  writeQpn(filter, wanted, 'ipv4');
}

function writeIpv6(filter: Bpf.Filter, wanted: RoceFilter): void {
  filter
    .label('ipv6')
    .op(Bpf.LOAD_BYTE, IP_AT + 6)
    .test(Bpf.JUMP_EQUAL, UDP, 'ipv6 udp', '');
  filter.require(Bpf.JUMP_EQUAL, ICMPV6);
  filter
    .op(Bpf.LOAD_BYTE, IP_AT + 40)
    .test(Bpf.JUMP_EQUAL, 135, 'ipv6 nd', '')
    .require(Bpf.JUMP_EQUAL, 136);
  filter.label('ipv6 nd').accept();
  filter
    .label('ipv6 udp')
    .op(Bpf.LOAD_HALF, IP_AT + 42)
    .require(Bpf.JUMP_EQUAL, wanted.udpPort ?? ROCE_PORT);
  filter
    .op(Bpf.LOAD_BYTE, IP_AT + 24)
    .test(Bpf.JUMP_EQUAL, 0xff, '', 'ipv6 address 0')
    .jump('ipv6 qpn');
  const addresses = wanted.addresses.filter((address) => !Gid.isMappedIpv4(address));
  for (const [index, address] of addresses.entries()) writeIpv6Address(filter, index, address);
  filter.label(`ipv6 address ${addresses.length}`).drop();
  filter.label('ipv6 qpn');
  if (wanted.qpns) filter.op(Bpf.LOAD_WORD, IP_AT + 40 + DEST_QP_FROM_UDP);
  writeQpn(filter, wanted, 'ipv6');
}

function writeIpv6Address(filter: Bpf.Filter, index: number, address: Uint8Array): void {
  const next = `ipv6 address ${index + 1}`;
  filter.label(`ipv6 address ${index}`);
  for (const word of [12, 8, 4, 0]) {
    filter.op(Bpf.LOAD_WORD, IP_AT + 24 + word).test(Bpf.JUMP_EQUAL, wordOf(address, word), '', next);
  }
  filter.jump('ipv6 qpn');
}

/** Ranges that touch are one: the filter looks at one after the other. */
function merged(ranges: readonly QpnRange[]): QpnRange[] {
  const found: { base: number; count: number }[] = [];
  for (const { base, count } of [...ranges].sort((a, b) => a.base - b.base)) {
    const last = found.at(-1);
    if (last && last.base + last.count === base) last.count += count;
    else found.push({ base, count });
  }
  return found;
}

/** The word that holds DestQP is loaded. */
function writeQpn(filter: Bpf.Filter, { qpns, connectedOnly }: RoceFilter, family: string): void {
  if (!qpns) {
    filter.accept();
    return;
  }
  filter.op(Bpf.AND, 0xff_ffff);
  for (const special of connectedOnly ? [] : [GSI_QPN, MULTICAST_QPN]) {
    const other = `${family} not ${special}`;
    filter.test(Bpf.JUMP_EQUAL, special, '', other).accept().label(other);
  }
  for (const [i, { base, count }] of merged(qpns).entries()) {
    const next = `${family} range ${i + 1}`;
    filter.test(Bpf.JUMP_GREATER_EQUAL, base, '', next).test(Bpf.JUMP_GREATER_EQUAL, base + count, next, '');
    filter.accept().label(next);
  }
  filter.drop();
}

const wordOf = (address: Uint8Array, at: number): number =>
  new DataView(address.buffer, address.byteOffset, 16).getUint32(at);
