/** Drills: where packets never leave the host's memory, one may stand for several of its message (rnic/span.ts). */
import { drill, REMOTE } from './language/drill.ts';
import { ack, filled, nak, type Packet } from './language/packet.ts';

const SPANS: Packet = { opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 600, span: 3, ackReq: true };

drill('one packet that stands for three takes their PSNs, and is answered as the last of them', (d) => {
  d.qp('rc');
  d.injectLocal(SPANS);
  d.expect.packet(ack(2, { msn: 1 }));
  d.expect.memory(REMOTE, filled(0, 600));
  d.expect.counter('rcvd_pkts', 3);
  d.injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 3, payload: 8, ackReq: true });
  d.expect.packet(ack(3, { msn: 2 }));
});

drill('first, middle and last may each stand for several', (d) => {
  d.qp('rc');
  d.injectLocal(
    { opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 1300, payload: 512, span: 2 },
    { opcode: 'RDMA_WRITE_MIDDLE', psn: 2, payload: 512, span: 2 },
    { opcode: 'RDMA_WRITE_LAST', psn: 4, payload: 276, span: 2, ackReq: true },
  );
  d.expect.packet(ack(5, { msn: 1 }));
  d.expect.memory(REMOTE, Uint8Array.of(...filled(0, 512), ...filled(2, 512), ...filled(4, 276)));
});

for (const [what, packet] of [
  ['says too few', { ...SPANS, span: 2 }],
  ['says too many', { ...SPANS, span: 4 }],
  ['has none to say', { ...SPANS, span: 1 }],
  ['is not full', { opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 900, payload: 508, span: 2 }],
] as const)
  drill(`one that ${what} is an invalid request`, (d) => {
    d.qp('rc');
    d.injectLocal(packet);
    d.expect.packet(nak('INVALID_REQUEST', 0));
    d.expect.event('QP_REQ_ERR');
    d.expect.state('ERR');
  });

drill('by a wire no packet stands for others, whatever stands where the ICRC is', (d) => {
  d.qp('rc');
  d.inject(SPANS);
  d.expect.packet(nak('INVALID_REQUEST', 0));
  d.expect.event('QP_REQ_ERR');
});

drill('one that comes early is not kept, and is asked for again', (d) => {
  d.qp('rc');
  d.injectLocal({ ...SPANS, psn: 1 });
  d.expect.packet(nak('PSN_SEQUENCE_ERROR', 0));
  d.expect.counter('reorder_held', 0);
  d.injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8 }, { ...SPANS, psn: 1 });
  d.expect.packet(ack(3, { msn: 2 }));
});

drill('one that was here already is acknowledged again', (d) => {
  d.qp('rc');
  d.injectLocal(SPANS);
  d.expect.packet(ack(2, { msn: 1 }));
  d.injectLocal(SPANS);
  d.expect.packet(ack(2, { msn: 1 }));
  d.expect.counter('duplicate_request', 1);
});

drill("a READ's answer may come in one, or in two", (d) => {
  d.qp('rc');
  d.post.read({ length: 900 });
  d.expect.packet({ opcode: 'RDMA_READ_REQUEST', psn: 0, length: 900 });
  d.injectLocal(
    { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 0, payload: 512, span: 2 },
    { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 2, payload: 388, span: 2 },
  );
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill("a READ's answer that says too few is none", (d) => {
  d.qp('rc');
  d.post.read({ length: 900 });
  d.expect.packet({ opcode: 'RDMA_READ_REQUEST', psn: 0, length: 900 });
  d.injectLocal({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0, payload: 900, span: 3 });
  d.expect.completion({ wrId: 1, status: 'LOC_LEN_ERR' });
});
