/** Of which kind a frame is, as rules tell them apart: frames in, kinds out. */
import t from 'tap';
import { Transport, transportOf } from '../../vswitch/transport.ts';
import * as Opcode from '../../wire/opcode.ts';

interface Frame {
  readonly isIpv6?: boolean;
  readonly protocol?: number;
  readonly port?: number;
  readonly opcode?: number;
  readonly qpn?: number;
  /** Flags and offset of IPv4. */
  readonly fragment?: number;
  readonly optionWords?: number;
  readonly length?: number;
}

/** Ethernet, IP, UDP and a BTH. */
function kindOf({ isIpv6 = false, protocol = 17, port = 4791, opcode = 0, qpn = 77, ...more }: Frame): Transport {
  const { fragment = 0x4000, optionWords = 0, length } = more;
  const ipBytes = isIpv6 ? 40 : 20 + optionWords * 4;
  const bthAt = 14 + ipBytes + 8;
  const view = new DataView(new ArrayBuffer(bthAt + 12));
  view.setUint16(12, isIpv6 ? 0x86dd : 0x0800);
  if (isIpv6) view.setUint8(14 + 6, protocol);
  else {
    view.setUint8(14, 0x45 + optionWords);
    view.setUint16(14 + 6, fragment);
    view.setUint8(14 + 9, protocol);
  }
  view.setUint16(14 + ipBytes + 2, port);
  view.setUint8(bthAt, opcode);
  view.setUint32(bthAt + 4, qpn);
  return transportOf(view, 0, length ?? view.byteLength);
}

t.test('RoCE shows its transport by its opcode, management by its QP', async (t) => {
  for (const isIpv6 of [false, true]) {
    t.equal(kindOf({ isIpv6, opcode: Opcode.RC_SEND_ONLY }), Transport.RC);
    t.equal(kindOf({ isIpv6, opcode: Opcode.RC_ACKNOWLEDGE }), Transport.RC);
    t.equal(kindOf({ isIpv6, opcode: Opcode.UC_RDMA_WRITE_FIRST }), Transport.UC);
    t.equal(kindOf({ isIpv6, opcode: Opcode.UD_SEND_ONLY }), Transport.UD);
    t.equal(kindOf({ isIpv6, opcode: Opcode.UD_SEND_ONLY, qpn: 1 }), Transport.CM);
    t.equal(kindOf({ isIpv6, opcode: Opcode.ROCE_CNP }), Transport.RC);
    t.equal(kindOf({ isIpv6, port: 4790 }), Transport.OTHER);
    t.equal(kindOf({ isIpv6, protocol: 6 }), Transport.OTHER);
  }
});

t.test('what could hide its transport is told by itself', async (t) => {
  t.equal(kindOf({ opcode: Opcode.UC_SEND_ONLY, optionWords: 3 }), Transport.UC, 'IPv4 options hide nothing');
  t.equal(kindOf({ fragment: 0x2000 }), Transport.UNCLEAR);
  t.equal(kindOf({ fragment: 0x0001 }), Transport.UNCLEAR);
  for (const protocol of [0, 43, 44, 50, 51, 60]) t.equal(kindOf({ isIpv6: true, protocol }), Transport.UNCLEAR);
  t.equal(kindOf({ isIpv6: true, protocol: 58 }), Transport.OTHER);
});

t.test('a frame cut anywhere is read nowhere behind its end', async (t) => {
  for (let length = 0; length < 14 + 20 + 8 + 12; length++)
    t.equal(kindOf({ opcode: Opcode.UC_SEND_ONLY, length }), Transport.OTHER, `${length} octets`);
  for (let length = 0; length < 14 + 40 + 8 + 12; length++)
    t.equal(kindOf({ isIpv6: true, opcode: Opcode.UC_SEND_ONLY, length }), Transport.OTHER, `${length} octets`);
});
