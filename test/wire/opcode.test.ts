/** The opcode table: total, and true to the reference list of extension headers. */
import t from 'tap';
import * as Opcode from '../../wire/opcode.ts';
import { opCode } from '../../wire/types.ts';

/** Octets after the BTH, from IBA Vol. 1 chapter 9 and Linux `ib_pack.h`; payload not counted. */
const RC_EXTENSIONS: readonly (readonly [number, number])[] = [
  [0x00, 0],
  [0x01, 0],
  [0x02, 0],
  [0x03, 4],
  [0x04, 0],
  [0x05, 4],
  [0x06, 16],
  [0x07, 0],
  [0x08, 0],
  [0x09, 4],
  [0x0a, 16],
  [0x0b, 20],
  [0x0c, 16],
  [0x0d, 4],
  [0x0e, 0],
  [0x0f, 4],
  [0x10, 4],
  [0x11, 4],
  [0x12, 12],
  [0x13, 28],
  [0x14, 28],
  [0x16, 4],
  [0x17, 4],
  [0x1c, 20],
  [0x1d, 16],
];
const XRC_RESPONSES = [0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12];

function expectedBytes(): Map<number, number> {
  const expected = new Map<number, number>();
  for (const [opcode, extension] of RC_EXTENSIONS) {
    expected.set(opcode, 12 + extension);
    if (opcode <= 0x0b) expected.set(0x20 | opcode, 12 + extension);
    if (opcode <= 0x17) expected.set(0xa0 | opcode, 12 + extension + (XRC_RESPONSES.includes(opcode) ? 0 : 4));
  }
  return expected.set(0x64, 20).set(0x65, 24).set(0x81, 28);
}

t.test('opcode table: all 256 values are known with their header octets, or unknown with none (R-002)', (t) => {
  const expected = expectedBytes();
  for (let value = 0; value < 256; value++) {
    const opcode = opCode(value);
    const bytes = expected.get(value) ?? 0;
    t.equal(Opcode.headerBytes(opcode), bytes, `header octets of ${value}`);
    t.equal(Opcode.flags(opcode) !== 0, bytes !== 0, `known: ${value}`);
    t.equal(Opcode.name(opcode).startsWith('UNKNOWN_0x'), bytes === 0, `name of ${value}`);
    t.equal(Opcode.transport(opcode), value & 0xe0);
  }
  t.end();
});

t.test('opcode table: each known opcode is a request, a response or a CNP, and has one place in its message', (t) => {
  for (let value = 0; value < 256; value++) {
    const flags = Opcode.flags(opCode(value));
    if (flags === 0) continue;
    const kinds = [Opcode.IS_REQUEST, Opcode.IS_RESPONSE, Opcode.IS_CNP].filter((bit) => (flags & bit) !== 0);
    t.equal(kinds.length, 1, `${value} is of one kind`);
    if ((flags & Opcode.IS_CNP) !== 0) continue;
    const middle = (flags & Opcode.MIDDLE) !== 0;
    t.equal(middle, (flags & (Opcode.STARTS | Opcode.ENDS)) === 0, `${value} starts, ends or is in the middle`);
  }
  t.end();
});

t.test('opcode table: names and constants are those of the spec', (t) => {
  t.equal(Opcode.name(Opcode.RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE), 'RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE');
  t.equal(Opcode.RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE, 0x0b);
  t.equal(Opcode.name(opCode(0xac)), 'XRC_RDMA_READ_REQUEST');
  t.equal(Opcode.name(opCode(0x15)), 'UNKNOWN_0x15');
  for (const [name, value] of Object.entries(Opcode))
    if (/^(RC|UC|UD)_/.test(name)) t.equal(Opcode.name(opCode(value as number)), name);
  t.end();
});

t.test('opcode table: a receive WQE is taken where a SEND starts or immediate data comes', (t) => {
  const takes = (value: number): boolean => (Opcode.flags(opCode(value)) & Opcode.NEEDS_RECV_WQE) !== 0;
  const takers = Array.from({ length: 0x20 }, (_, i) => i).filter(takes);
  t.same(takers, [0x00, 0x04, 0x05, 0x09, 0x0b, 0x17]);
  t.end();
});
