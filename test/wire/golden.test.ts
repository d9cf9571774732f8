/** Golden captures of Linux rxe: every packet decodes, re-encodes to the same octets, and its ICRC verifies. */
import t from 'tap';
import * as IpPrivateData from '../../wire/cm/ip-private-data.ts';
import * as Messages from '../../wire/cm/messages.ts';
import { type Decoded, decode } from '../../wire/decode.ts';
import { describe, layersOf, line } from '../../wire/describe.ts';
import { encode } from '../../wire/encode.ts';
import { ipv6 } from '../../wire/text.ts';
import { seePacket } from '../referee/packet.ts';
import { CAPTURES, capture } from './golden-captures.ts';

/** What each capture holds, as tshark counts it. TCP and multicast listener reports of the VXLAN capture count as their IP version. */
const CONTENTS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'atomic_cs.pcap': { RC_COMPARE_SWAP: 5, RC_ATOMIC_ACKNOWLEDGE: 5 },
  'mckey.pcap': { UD_SEND_ONLY_WITH_IMMEDIATE: 3 },
  'rc_pingpong.pcap': { RC_SEND_FIRST: 10, RC_SEND_MIDDLE: 20, RC_SEND_LAST: 10, RC_ACKNOWLEDGE: 10 },
  'rc_pingpong_ipv6ll.pcap': { RC_SEND_FIRST: 10, RC_SEND_LAST: 10, RC_ACKNOWLEDGE: 10 },
  'read_bw_9000.pcap': {
    RC_RDMA_READ_REQUEST: 5,
    RC_RDMA_READ_RESPONSE_FIRST: 5,
    RC_RDMA_READ_RESPONSE_MIDDLE: 35,
    RC_RDMA_READ_RESPONSE_LAST: 5,
  },
  'rping.pcap': {
    'CM REQ': 1,
    'CM REP': 1,
    'CM RTU': 1,
    RC_SEND_ONLY: 12,
    RC_ACKNOWLEDGE: 15,
    RC_RDMA_READ_REQUEST: 3,
    RC_RDMA_READ_RESPONSE_ONLY: 3,
    RC_RDMA_WRITE_ONLY: 3,
    'CM DREQ': 1,
    'CM DREP': 1,
  },
  'send_bw_1_byte.pcap': { RC_SEND_ONLY: 5, RC_ACKNOWLEDGE: 5 },
  'send_uc.pcap': { UC_SEND_FIRST: 5, UC_SEND_MIDDLE: 5, UC_SEND_LAST: 5 },
  'send_ud.pcap': { UD_SEND_ONLY: 5 },
  'srq_pingpong.pcap': { RC_SEND_ONLY: 16, RC_ACKNOWLEDGE: 16 },
  'uc_pingpong.pcap': { UC_SEND_FIRST: 10, UC_SEND_MIDDLE: 20, UC_SEND_LAST: 10 },
  'ucmatose.pcap': {
    'CM REQ': 1,
    'CM REP': 1,
    'CM RTU': 1,
    RC_SEND_ONLY: 6,
    RC_ACKNOWLEDGE: 6,
    'CM DREQ': 1,
    'CM DREP': 1,
  },
  'ud_pingpong.pcap': { UD_SEND_ONLY: 10 },
  'vxlan_write_bw.pcap': {
    IPv6: 7,
    ND: 1,
    ARP: 2,
    IPv4: 43,
    RC_RDMA_WRITE_FIRST: 5,
    RC_RDMA_WRITE_MIDDLE: 5,
    RC_RDMA_WRITE_LAST: 5,
    RC_ACKNOWLEDGE: 5,
  },
  'write_bw_mtu1024.pcap': {
    RC_RDMA_WRITE_FIRST: 5,
    RC_RDMA_WRITE_MIDDLE: 40,
    RC_RDMA_WRITE_LAST: 5,
    RC_ACKNOWLEDGE: 5,
  },
  'write_bw_mtu256.pcap': {
    RC_RDMA_WRITE_FIRST: 4,
    RC_RDMA_WRITE_MIDDLE: 122,
    RC_RDMA_WRITE_LAST: 3,
    RC_ACKNOWLEDGE: 4,
  },
  'write_bw_mtu4096.pcap': {
    RC_RDMA_WRITE_FIRST: 5,
    RC_RDMA_WRITE_MIDDLE: 5,
    RC_RDMA_WRITE_LAST: 5,
    RC_ACKNOWLEDGE: 5,
  },
  'write_lat.pcap': { RC_RDMA_WRITE_ONLY: 10, RC_ACKNOWLEDGE: 10 },
  'write_uc.pcap': { UC_RDMA_WRITE_FIRST: 5, UC_RDMA_WRITE_MIDDLE: 5, UC_RDMA_WRITE_LAST: 5 },
};

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

function kindOf(decoded: Decoded): string {
  const { cm, opcode, protocol } = describe(decoded);
  return cm === undefined ? (opcode ?? protocol ?? '') : `CM ${cm}`;
}

function count(frames: readonly Uint8Array[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const octets of frames) {
    const kind = kindOf(decode(octets));
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

t.test('golden captures: the folder holds those listed here', (t) => {
  t.same(CAPTURES.map(({ name }) => name).sort(), Object.keys(CONTENTS).sort());
  t.end();
});

for (const { name, frames } of CAPTURES) {
  t.test(`${name}: every packet decodes, re-encodes to the same octets, and its ICRC verifies`, (t) => {
    for (const [i, octets] of frames.entries()) {
      const decoded = decode(octets);
      t.equal(decoded.malformed, undefined, `packet ${i} is well formed`);
      t.equal(hex(encode(decoded)), hex(octets), `packet ${i} re-encodes`);
      const isRoce = decoded.layers.some(({ kind }) => kind === 'bth');
      t.equal(decoded.icrc, isRoce ? 'ok' : undefined, `packet ${i} has a good ICRC`);
    }
    t.same(count(frames), CONTENTS[name]);
    t.end();
  });
}

for (const { name, frames } of CAPTURES.filter((each) => each.name !== 'vxlan_write_bw.pcap'))
  t.test(`${name}: decode and the referee's own reader agree`, (t) => {
    for (const [i, octets] of frames.entries()) {
      const seen = seePacket(Buffer.from(octets), i, 0);
      const decoded = decode(octets);
      const [bth] = layersOf(decoded, 'bth');
      const [reth] = layersOf(decoded, 'reth');
      const [aeth] = layersOf(decoded, 'aeth');
      t.match(seen, {
        opcode: bth?.opcode,
        destQpn: bth?.destQp,
        psn: bth?.psn,
        ackRequest: bth?.ackRequest,
        padCount: bth?.padCount,
        icrcOk: decoded.icrc === 'ok',
        ...(reth !== undefined && { reth: { rKey: reth.rKey, length: reth.length } }),
        ...(aeth !== undefined && { syndrome: aeth.syndrome, msn: aeth.msn }),
      });
    }
    t.end();
  });

t.test('rping.pcap: the REQ says what tshark reads in it', (t) => {
  const [cm] = layersOf(decode(capture('rping.pcap').frames[0] as Uint8Array), 'cm');
  t.equal(cm?.attributeId, Messages.REQ);
  t.match(cm?.message, {
    localCommId: 0x22b44cd9,
    serviceIdHi: 0,
    serviceIdLo: 0x01061c06,
    localCaGuidHi: 0x505400ff,
    localCaGuidLo: 0xfe000002,
    localQpn: 0x42,
    responderResources: 1,
    initiatorDepth: 1,
    remoteCmResponseTimeout: 0x14,
    startingPsn: 0x07d74c,
    localCmResponseTimeout: 0x14,
    retryCount: 7,
    pKey: 0xffff,
    pathMtu: 5,
    rnrRetryCount: 7,
    maxCmRetries: 15,
    primaryLocalLid: 0xffff,
    primaryHopLimit: 0x40,
    primaryLocalAckTimeout: 0x13,
  });
  t.equal(ipv6(cm?.message.primaryLocalGid as Uint8Array), '::ffff:192.0.2.3');
  const privateData = cm?.message.privateData as Uint8Array;
  const addresses = IpPrivateData.read(new DataView(privateData.buffer), 0);
  t.match(addresses, { majorVersion: 0, minorVersion: 0, ipVersion: 4, sourcePort: 0x9e52 });
  t.same([...addresses.source.subarray(12)], [192, 0, 2, 3]);
  t.same([...addresses.destination.subarray(12)], [192, 0, 2, 2]);
  t.end();
});

t.test('rping.pcap: the REP says what tshark reads in it', (t) => {
  const [cm] = layersOf(decode(capture('rping.pcap').frames[1] as Uint8Array), 'cm');
  t.match(cm?.message, {
    localCommId: 0xfc03a5d1,
    remoteCommId: 0x22b44cd9,
    localQpn: 0x5e,
    startingPsn: 0xd8e86b,
    responderResources: 1,
    initiatorDepth: 1,
    targetAckDelay: 0x0f,
    rnrRetryCount: 7,
    srq: 0,
  });
  t.end();
});

t.test('describe: one line says who, what, which PSN and whether the ICRC holds', (t) => {
  const lineOf = (name: string, index: number): string =>
    line(describe(decode(capture(name).frames[index] as Uint8Array)));
  t.equal(
    lineOf('write_lat.pcap', 0),
    '192.0.2.2 > 192.0.2.3  RC_RDMA_WRITE_ONLY  QPN 65  PSN 9341211  VA 0x0000562871283000  R_Key 0x00002f37' +
      '  length 64  [ackRequest]  payload 64  ICRC ok',
  );
  t.equal(
    lineOf('write_lat.pcap', 1),
    '192.0.2.3 > 192.0.2.2  RC_ACKNOWLEDGE  QPN 93  PSN 9341211  ACK, MSN 1  payload 0  ICRC ok',
  );
  t.equal(
    lineOf('rping.pcap', 0),
    '192.0.2.3 > 192.0.2.2  UD_SEND_ONLY  CM REQ  QPN 1  from QPN 1  PSN 7  [ackRequest]  payload 256  ICRC ok',
  );
  t.equal(lineOf('vxlan_write_bw.pcap', 1), ':: > ff02::1:ff27:7808  VNI 5001  ND  who has fe80::44de:eaff:fe27:7808?');
  t.end();
});
