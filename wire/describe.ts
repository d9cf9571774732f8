/** A decoded frame for people: one flat object for JSON, one line for a terminal. VXLAN is looked through, its outside kept beside. */
import * as Aeth from './aeth.ts';
import * as Arp from './arp.ts';
import * as IpPrivateData from './cm/ip-private-data.ts';
import type { Layout, Values } from './cm/layout.ts';
import * as Messages from './cm/messages.ts';
import * as Rej from './cm/rej.ts';
import type { Decoded, IcrcVerdict, Layer, LayerFields, LayerKind } from './decode.ts';
import * as Icmpv6Nd from './icmpv6-nd.ts';
import * as Opcode from './opcode.ts';
import { hex32, hex64, ipv4, ipv6, mac } from './text.ts';

/** What can be said of an AETH. */
export interface AethDescription {
  readonly syndrome: number;
  readonly meaning: string;
  readonly msn: number;
}

/** One frame. What a frame has not got is absent; addresses, keys and 64-bit numbers are text. */
export interface Description {
  bytes?: number;
  /** ARP, ND, UDP, IPv4, IPv6, Ethernet or RoCEv2. */
  protocol?: string;
  sourceMac?: string;
  destinationMac?: string;
  vlanId?: number;
  source?: string;
  destination?: string;
  ecn?: number;
  sourcePort?: number;
  destinationPort?: number;
  vni?: number;
  /** The frame around the VXLAN header. */
  outer?: Description;
  /** ARP or neighbour discovery in words. */
  says?: string;
  opcode?: string;
  destQp?: number;
  sourceQp?: number;
  psn?: number;
  pKey?: number;
  qKey?: string;
  /** BTH bits that are set. */
  flags?: string[];
  padCount?: number;
  virtualAddress?: string;
  rKey?: string;
  length?: number;
  swapOrAdd?: string;
  compare?: string;
  original?: string;
  aeth?: AethDescription;
  immediate?: string;
  invalidateRKey?: string;
  flush?: { placement: number; selectivity: number };
  xrcSrq?: number;
  payloadBytes?: number;
  /** The name of a CM message, and its fields. */
  cm?: string;
  cmFields?: Record<string, string | number>;
  icrc?: IcrcVerdict;
  malformed?: string;
}

const NAKS: Readonly<Record<number, string>> = {
  [Aeth.NAK_PSN_SEQUENCE_ERROR]: 'NAK: PSN sequence error',
  [Aeth.NAK_INVALID_REQUEST]: 'NAK: invalid request',
  [Aeth.NAK_REMOTE_ACCESS_ERROR]: 'NAK: remote access error',
  [Aeth.NAK_REMOTE_OPERATIONAL_ERROR]: 'NAK: remote operational error',
  [Aeth.NAK_INVALID_RD_REQUEST]: 'NAK: invalid RD request',
};

/** What a syndrome means, in words. */
export function syndromeMeaning(syndrome: number): string {
  const code = Aeth.code(syndrome);
  if (Aeth.isRnrNak(syndrome)) return `RNR NAK: wait ${Aeth.rnrMicros(code) / 1000} ms`;
  if (Aeth.isNak(syndrome)) return NAKS[syndrome] ?? `NAK: code ${code}`;
  if (!Aeth.isAck(syndrome)) return `reserved syndrome ${syndrome}`;
  return code === Aeth.UNLIMITED_CREDITS ? 'ACK' : `ACK: ${Aeth.credits(code)} credits`;
}

function bthFlags(bth: LayerFields['bth']): string[] {
  const { ackRequest, solicited, migReq, fecn, becn } = bth;
  return Object.entries({ ackRequest, solicited, migReq, fecn, becn }).flatMap(([name, set]) => (set ? [name] : []));
}

function describeArp(arp: LayerFields['arp']): string {
  const sender = `${ipv4(arp.senderIp)} is at ${mac(arp.senderMacHi, arp.senderMacLo)}`;
  if (arp.operation === Arp.REPLY) return sender;
  return arp.operation === Arp.REQUEST
    ? `who has ${ipv4(arp.targetIp)}? tell ${ipv4(arp.senderIp)}`
    : `operation ${arp.operation}`;
}

const describeNd = ({ type, target }: LayerFields['icmpv6Nd']): string =>
  type === Icmpv6Nd.NEIGHBOR_SOLICITATION ? `who has ${ipv6(target)}?` : `${ipv6(target)} is here`;

const CM_ADDRESSES = new Set(['primaryLocalGid', 'primaryRemoteGid', 'alternateLocalGid', 'alternateRemoteGid']);
const octetsText = (octets: Uint8Array): string =>
  Buffer.from(octets)
    .toString('hex')
    .replace(/(00)+$/, '');

/** The fields that say something: numbers that are not zero, GIDs, private data without the zeros that end it. */
function describeCm(attributeId: number, message: Values<Layout>): Record<string, string | number> {
  const described: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(message) as [string, number | Uint8Array][]) {
    const text = typeof value === 'number' ? value : CM_ADDRESSES.has(name) ? ipv6(value) : octetsText(value);
    if (text !== 0 && text !== '' && text !== '::') described[name] = text;
  }
  if (attributeId === Messages.REJ) described.reasonName = Rej.reasonName(Number(message.reason));
  const serviceIdLo = Number(message.serviceIdLo ?? 0);
  if (IpPrivateData.isIpServiceId(Number(message.serviceIdHi ?? 1), serviceIdLo))
    described.servicePort = IpPrivateData.servicePort(serviceIdLo);
  return described;
}

type Describe<K extends LayerKind> = (to: Description, fields: LayerFields[K]) => unknown;

const NOTHING = (): void => {};

const DESCRIBERS: { readonly [K in LayerKind]: Describe<K> } = {
  ethernet: (to, f) => {
    to.protocol = 'Ethernet';
    to.sourceMac = mac(f.sourceHi, f.sourceLo);
    to.destinationMac = mac(f.destinationHi, f.destinationLo);
    if (f.tags[0] !== undefined) to.vlanId = f.tags[0].vlanId;
  },
  arp: (to, f) => Object.assign(to, { protocol: 'ARP', says: describeArp(f) }),
  ipv4: (to, f) => {
    to.protocol = 'IPv4';
    to.source = ipv4(f.source);
    to.destination = ipv4(f.destination);
    if ((f.typeOfService & 3) !== 0) to.ecn = f.typeOfService & 3;
  },
  ipv6: (to, f) => {
    to.protocol = 'IPv6';
    to.source = ipv6(f.source);
    to.destination = ipv6(f.destination);
    if ((f.trafficClass & 3) !== 0) to.ecn = f.trafficClass & 3;
  },
  icmpv6Nd: (to, f) => Object.assign(to, { protocol: 'ND', says: describeNd(f) }),
  udp: (to, f) => {
    to.protocol = 'UDP';
    to.sourcePort = f.sourcePort;
    to.destinationPort = f.destinationPort;
  },
  vxlan: (to, f) => {
    to.vni = f.vni;
  },
  bth: (to, f) => {
    to.protocol = 'RoCEv2';
    to.opcode = Opcode.name(f.opcode);
    to.destQp = f.destQp;
    to.psn = f.psn;
    to.pKey = f.pKey;
    to.flags = bthFlags(f);
    to.padCount = f.padCount;
    to.payloadBytes = 0;
  },
  deth: (to, f) => Object.assign(to, { sourceQp: f.sourceQp, qKey: hex32(f.qKey) }),
  xrcEth: (to, f) => Object.assign(to, { xrcSrq: f.xrcSrq }),
  feth: (to, f) => Object.assign(to, { flush: { placement: f.placement, selectivity: f.selectivity } }),
  reth: (to, f) => {
    to.virtualAddress = hex64(f.virtualAddressHi, f.virtualAddressLo);
    to.rKey = hex32(f.rKey);
    to.length = f.length;
  },
  atomicEth: (to, f) => {
    to.virtualAddress = hex64(f.virtualAddressHi, f.virtualAddressLo);
    to.rKey = hex32(f.rKey);
    to.swapOrAdd = hex64(f.swapOrAddHi, f.swapOrAddLo);
    to.compare = hex64(f.compareHi, f.compareLo);
  },
  aeth: (to, f) => {
    to.aeth = { syndrome: f.syndrome, meaning: syndromeMeaning(f.syndrome), msn: f.msn };
  },
  atomicAckEth: (to, f) => {
    to.original = hex64(f.originalHi, f.originalLo);
  },
  immDt: (to, f) => {
    to.immediate = hex32(f.immediate);
  },
  ieth: (to, f) => {
    to.invalidateRKey = hex32(f.rKey);
  },
  mad: (to, f) => {
    to.payloadBytes = 256;
    if (f.managementClass === 7) to.cm = Messages.name(f.attributeId);
  },
  cm: (to, f) => {
    to.cmFields = describeCm(f.attributeId, f.message);
  },
  icrc: (to, f) => {
    to.icrc = f.verdict;
  },
  payload: (to, octets) => {
    to.payloadBytes ??= 0;
    if (to.cm === undefined) to.payloadBytes += octets.length;
  },
  options: NOTHING,
  pad: NOTHING,
  trailer: NOTHING,
};

/** The frame as one flat object, its absent parts absent. */
export function describe(decoded: Decoded): Description {
  let description: Description = { bytes: decoded.bytes };
  let outer: Description | undefined;
  for (const layer of decoded.layers) {
    if (layer.kind === 'vxlan') {
      outer = description;
      description = { bytes: decoded.bytes, outer };
    }
    (DESCRIBERS[layer.kind] as Describe<LayerKind>)(description, layer.fields as never);
  }
  if (decoded.malformed !== undefined) description.malformed = decoded.malformed;
  return description;
}

const hexField = (name: string, value: string | undefined): string[] =>
  value === undefined ? [] : [`${name} ${value}`];
const numberField = (name: string, value: number | undefined): string[] =>
  value === undefined ? [] : [`${name} ${value}`];

function roceWords(d: Description): string[] {
  return [
    ...(d.opcode === undefined ? [] : [d.opcode]),
    ...(d.cm === undefined ? [] : [`CM ${d.cm}`]),
    ...numberField('QPN', d.destQp),
    ...numberField('from QPN', d.sourceQp),
    ...numberField('PSN', d.psn),
    ...hexField('VA', d.virtualAddress),
    ...hexField('R_Key', d.rKey),
    ...numberField('length', d.length),
    ...hexField('imm', d.immediate),
    ...(d.aeth === undefined ? [] : [`${d.aeth.meaning}, MSN ${d.aeth.msn}`]),
    ...(d.flags !== undefined && d.flags.length > 0 ? [`[${d.flags.join(' ')}]`] : []),
    ...numberField('payload', d.payloadBytes),
    ...(d.icrc === undefined ? [] : [`ICRC ${d.icrc}`]),
  ];
}

/** The frame on one line. */
export function line(d: Description): string {
  const words = [
    `${d.source ?? d.sourceMac ?? '?'} > ${d.destination ?? d.destinationMac ?? '?'}`,
    ...numberField('VNI', d.vni),
    ...(d.protocol === 'RoCEv2' ? roceWords(d) : [d.protocol ?? 'octets', ...(d.says === undefined ? [] : [d.says])]),
    ...(d.protocol === 'UDP' ? [`${d.sourcePort} > ${d.destinationPort}`] : []),
    ...(d.malformed === undefined ? [] : [`MALFORMED: ${d.malformed}`]),
  ];
  return words.join('  ');
}

/** The layers of one kind, outermost first. */
export const layersOf = <K extends LayerKind>(decoded: Decoded, kind: K): LayerFields[K][] =>
  decoded.layers.filter((layer: Layer) => layer.kind === kind).map((layer) => layer.fields as LayerFields[K]);
