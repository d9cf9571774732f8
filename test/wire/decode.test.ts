/** Decoding whatever comes: nothing throws, nothing is lost, and what is wrong is said. */
import fc from 'fast-check';
import t from 'tap';
import { decode } from '../../wire/decode.ts';
import { describe, line, syndromeMeaning } from '../../wire/describe.ts';
import { encode } from '../../wire/encode.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import { CAPTURES, capture } from './golden-captures.ts';

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

/** Decodes, describes and re-encodes. False when octets were lost; reserved bits of CM messages are not kept. */
function survives(octets: Uint8Array): boolean {
  const decoded = decode(octets);
  line(describe(decoded));
  JSON.stringify(describe(decoded));
  const hasCm = decoded.layers.some(({ kind }) => kind === 'cm');
  return hasCm || hex(encode(decoded)) === hex(octets);
}

for (const { name, frames } of CAPTURES)
  t.test(`${name}: truncated at every octet, every packet is malformed and nothing throws (R-003)`, (t) => {
    for (const [i, octets] of frames.entries()) {
      const trailer = decode(octets).layers.find(({ kind }) => kind === 'trailer');
      for (let bytes = 0; bytes < octets.length - (trailer?.bytes ?? 0); bytes++)
        if (decode(octets.subarray(0, bytes)).malformed === undefined) t.fail(`packet ${i} cut to ${bytes} octets`);
    }
    t.pass('all cuts decoded');
    t.end();
  });

const ETHERNET_BYTES = 14;
const UDP_AT = ETHERNET_BYTES + Ipv4.BYTES;

/** The first `bytes` octets of an IPv4 RoCE frame, with lengths and checksum that say that this is all. */
function shortened(octets: Uint8Array, bytes: number): Uint8Array {
  const frame = octets.slice(0, bytes);
  const view = new DataView(frame.buffer);
  view.setUint16(UDP_AT + 4, bytes - UDP_AT);
  Ipv4.renumber(view, ETHERNET_BYTES, bytes - ETHERNET_BYTES, Ipv4.identification(view, ETHERNET_BYTES));
  return frame;
}

t.test('decode: a datagram too short for its headers is malformed, whatever its lengths say (R-003)', (t) => {
  const seen = new Map(
    CAPTURES.filter(({ name }) => !/ipv6|vxlan/.test(name)).flatMap(({ frames }) =>
      frames.map((octets) => [describe(decode(octets)).opcode, octets] as const),
    ),
  );
  t.ok(seen.size >= 20, 'most opcodes are there');
  for (const [opcode, octets] of seen) {
    const least = octets.length - (describe(decode(octets)).payloadBytes ?? 0);
    for (let bytes = UDP_AT + 8; bytes < octets.length; bytes++) {
      const { icrc, malformed } = decode(shortened(octets, bytes));
      if (bytes < least !== (malformed !== undefined)) t.fail(`${opcode} of ${bytes} octets: ${malformed}`);
      if (icrc !== (bytes < least ? undefined : 'bad')) t.fail(`${opcode} of ${bytes} octets: ICRC ${icrc}`);
    }
  }
  t.end();
});

t.test('decode: no octets at all make it throw, and encode gives every one of them back', (t) => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), survives), { numRuns: 2000 }));
  t.end();
});

t.test('decode: mutated captures do not make it throw, and encode gives every octet back', (t) => {
  const anyFrame = fc.constantFrom(...CAPTURES.flatMap(({ frames }) => frames.slice(0, 12)));
  const change = fc.tuple(fc.nat(120), fc.nat(255));
  const mutated = fc.property(anyFrame, fc.array(change, { minLength: 1, maxLength: 6 }), (octets, changes) => {
    const frame = octets.slice();
    for (const [at, octet] of changes) frame[at % frame.length] = octet;
    return survives(frame);
  });
  t.doesNotThrow(() => fc.assert(mutated, { numRuns: 5000 }));
  t.end();
});

const first = (name: string): Uint8Array => (capture(name).frames[0] as Uint8Array).slice();

t.test('decode: a changed payload octet makes the ICRC bad', (t) => {
  const frame = first('send_bw_1_byte.pcap');
  frame[54] = (frame[54] as number) ^ 1;
  t.equal(decode(frame).icrc, 'bad');
  t.end();
});

t.test('decode: says what is malformed', (t) => {
  const problemOf = (change: (frame: Uint8Array) => void): string | undefined => {
    const frame = first('write_lat.pcap');
    change(frame);
    return decode(frame).malformed;
  };
  const set = (at: number, octet: number) => (frame: Uint8Array) => {
    frame[at] = octet;
  };
  t.equal(problemOf(set(14, 0x44)), 'an IPv4 header of 16 octets');
  t.equal(problemOf(set(14, 0x65)), 'IP version 6 in an IPv4 frame');
  t.equal(problemOf(set(22, 1)), 'the IPv4 header checksum is wrong');
  t.equal(problemOf(set(42, 0x15)), 'opcode 0x15 is unknown');
  t.equal(problemOf(set(43, 0x01)), 'transport version 1');
  t.equal(problemOf(set(39, 20)), 'UDP length 20, but the IP packet holds 104');
  t.match(problemOf(set(38, 0xff)), /^UDP length 65384, but 104 octets are there$/);
  t.end();
});

t.test('decode: a CNP captured on a ConnectX-4 Lx reads as scapy reads it, and re-encodes', (t) => {
  const frame = Uint8Array.from(
    Buffer.from(
      'e41d2dab2bc27cfe90643b32080045c2003c718c4000401191610a0011010a001201000012b7002800008100ffff40000118' +
        `${'00'.repeat(20)}82fd002a`,
      'hex',
    ),
  );
  const described = describe(decode(frame));
  t.match(described, { opcode: 'CNP', destQp: 0x118, psn: 0, flags: ['becn'], ecn: 2, sourcePort: 0, icrc: 'ok' });
  t.equal(described.malformed, undefined);
  t.ok(survives(frame));
  t.end();
});

t.test('describe: VXLAN is looked through, its outside kept beside', (t) => {
  const frames = capture('vxlan_write_bw.pcap').frames.map((octets) => describe(decode(octets)));
  const write = frames.find(({ opcode }) => opcode === 'RC_RDMA_WRITE_FIRST');
  t.match(write, { protocol: 'RoCEv2', vni: 5001, icrc: 'ok', outer: { protocol: 'UDP', destinationPort: 4789 } });
  t.match(write?.source, /^10\.1\.1\./);
  t.match(write?.outer?.source, /^192\.0\.2\./);
  t.end();
});

t.test('describe: syndromes are words', (t) => {
  t.equal(syndromeMeaning(0x1f), 'ACK');
  t.equal(syndromeMeaning(0x03), 'ACK: 3 credits');
  t.equal(syndromeMeaning(0x2c), 'RNR NAK: wait 0.64 ms');
  t.equal(syndromeMeaning(0x60), 'NAK: PSN sequence error');
  t.equal(syndromeMeaning(0x62), 'NAK: remote access error');
  t.equal(syndromeMeaning(0x7f), 'NAK: code 31');
  t.equal(syndromeMeaning(0x40), 'reserved syndrome 64');
  t.end();
});
