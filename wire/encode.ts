/** A decoded frame back to octets, each layer by its header module's own `writeFields`: the proof that decoding lost nothing. */
import * as Aeth from './aeth.ts';
import * as Arp from './arp.ts';
import * as AtomicAckEth from './atomic-ack-eth.ts';
import * as AtomicEth from './atomic-eth.ts';
import * as Bth from './bth.ts';
import * as Messages from './cm/messages.ts';
import type { Decoded, LayerFields, LayerKind } from './decode.ts';
import * as Deth from './deth.ts';
import * as Ethernet from './ethernet.ts';
import * as Feth from './feth.ts';
import * as Icmpv6Nd from './icmpv6-nd.ts';
import * as Ieth from './ieth.ts';
import * as ImmDt from './imm-dt.ts';
import * as Ipv4 from './ipv4.ts';
import * as Ipv6 from './ipv6.ts';
import * as Mad from './mad.ts';
import * as Reth from './reth.ts';
import * as Udp from './udp.ts';
import * as Vxlan from './vxlan.ts';
import * as XrcEth from './xrceth.ts';

type Write<K extends LayerKind> = (view: DataView, at: number, fields: LayerFields[K]) => unknown;

function writeOctets(view: DataView, at: number, octets: Uint8Array): void {
  for (const [i, octet] of octets.entries()) view.setUint8(at + i, octet);
}

const WRITERS: { readonly [K in LayerKind]: Write<K> } = {
  ethernet: Ethernet.writeFields,
  arp: Arp.writeFields,
  ipv4: Ipv4.writeFields,
  ipv6: Ipv6.writeFields,
  icmpv6Nd: Icmpv6Nd.writeFields,
  udp: Udp.writeFields,
  vxlan: Vxlan.writeFields,
  bth: Bth.writeFields,
  deth: Deth.writeFields,
  xrcEth: XrcEth.writeFields,
  feth: Feth.writeFields,
  reth: Reth.writeFields,
  atomicEth: AtomicEth.writeFields,
  aeth: Aeth.writeFields,
  atomicAckEth: AtomicAckEth.writeFields,
  immDt: ImmDt.writeFields,
  ieth: Ieth.writeFields,
  mad: Mad.writeFields,
  cm: (view, at, { attributeId, message }) => Messages.of(attributeId)?.write(view, at, message),
  icrc: (view, at, { value }) => view.setUint32(at, value),
  options: writeOctets,
  payload: writeOctets,
  pad: writeOctets,
  trailer: writeOctets,
};

/** The frame that `decode` was given; reserved bits of CM messages come out as zero. */
export function encode(decoded: Decoded): Uint8Array<ArrayBuffer> {
  const octets = new Uint8Array(decoded.bytes);
  const view = new DataView(octets.buffer);
  for (const layer of decoded.layers) (WRITERS[layer.kind] as Write<LayerKind>)(view, layer.at, layer.fields as never);
  return octets;
}
