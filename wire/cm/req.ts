/** REQ: asks for a connection. IBA Vol. 1, ch. 12, table 106. Fields of the primary path, then of the alternate one, then private data. */
import { bits, type Layout, message, octets, u8, u16, u24, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  serviceIdHi: u32(8),
  serviceIdLo: u32(12),
  localCaGuidHi: u32(16),
  localCaGuidLo: u32(20),
  localQKey: u32(28),
  localQpn: u24(32),
  responderResources: u8(35),
  localEecn: u24(36),
  initiatorDepth: u8(39),
  remoteEecn: u24(40),
  remoteCmResponseTimeout: bits(43, 0, 5),
  transportServiceType: bits(43, 5, 2),
  endToEndFlowControl: bits(43, 7, 1),
  startingPsn: u24(44),
  localCmResponseTimeout: bits(47, 0, 5),
  retryCount: bits(47, 5, 3),
  pKey: u16(48),
  /** 1…5 for 256…4096. */
  pathMtu: bits(50, 0, 4),
  rdcExists: bits(50, 4, 1),
  rnrRetryCount: bits(50, 5, 3),
  maxCmRetries: bits(51, 0, 4),
  srq: bits(51, 4, 1),
  extendedTransportType: bits(51, 5, 3),
  primaryLocalLid: u16(52),
  primaryRemoteLid: u16(54),
  primaryLocalGid: octets(56, 16),
  primaryRemoteGid: octets(72, 16),
  primaryFlowLabel: bits(88, 0, 20),
  primaryPacketRate: bits(91, 2, 6),
  primaryTrafficClass: u8(92),
  primaryHopLimit: u8(93),
  primarySl: bits(94, 0, 4),
  primarySubnetLocal: bits(94, 4, 1),
  primaryLocalAckTimeout: bits(95, 0, 5),
  alternateLocalLid: u16(96),
  alternateRemoteLid: u16(98),
  alternateLocalGid: octets(100, 16),
  alternateRemoteGid: octets(116, 16),
  alternateFlowLabel: bits(132, 0, 20),
  alternatePacketRate: bits(135, 2, 6),
  alternateTrafficClass: u8(136),
  alternateHopLimit: u8(137),
  alternateSl: bits(138, 0, 4),
  alternateSubnetLocal: bits(138, 4, 1),
  alternateLocalAckTimeout: bits(139, 0, 5),
  privateData: octets(140, 92),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 92;
/** Transport service types. */
export const SERVICE_RC = 0;
export const SERVICE_UC = 1;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
