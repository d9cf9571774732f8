/** Drills: which leaves first when a request and an acknowledgement of one QP wait together. ADR 0012. */
import { type Drill, drill, REMOTE } from './language/drill.ts';
import { ack, type Packet } from './language/packet.ts';

const send = (psn: number, ackReq: boolean): Packet => ({ opcode: 'SEND_ONLY', psn, payload: 'ping', ackReq });
const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn, payload: 'data', ackReq: true });
const ANSWER: Packet = { opcode: 'SEND_ONLY' };

/** These packets come, and the application posts an answer before anything has left. */
function answerAtOnce(d: Drill, ...packets: readonly Packet[]): void {
  d.together(() => {
    d.inject(...packets);
    d.post.send();
  });
}

/** What takes a receive is acknowledged before the answer, what takes none behind it: so nothing of an earlier receipt is left. */
function owesNothing(d: Drill, psn: number): void {
  answerAtOnce(d, write(psn));
  d.expect.packet(ANSWER, ack(psn));
}

drill("a message that took a receive is acknowledged before its program's answer leaves", (d) => {
  d.qp('rc');
  d.post.recv();
  answerAtOnce(d, send(0, true));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet(ack(0), ANSWER);
});

drill("a message that took no receive is acknowledged behind its program's request", (d) => {
  d.qp('rc');
  owesNothing(d, 0);
});

drill("a receipt whose acknowledgement nobody asked for is owed no longer than until its QP's next turn", (d) => {
  d.qp('rc');
  d.post.recv();
  answerAtOnce(d, send(0, false));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet(ANSWER);
  owesNothing(d, 1);
});

drill('a receipt that was acknowledged before a READ is answered is owed no more', (d) => {
  d.qp('rc');
  d.post.recv();
  d.inject(send(0, true), { opcode: 'RDMA_READ_REQUEST', psn: 1, va: REMOTE, length: 8 });
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet(ack(0), { opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 1 });
  owesNothing(d, 2);
});

drill('a QP that was reset owes no receipt', (d) => {
  d.qp('rc');
  d.post.recv();
  d.together(() => {
    d.inject(send(0, true));
    d.modify('RESET');
  });
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.connect();
  owesNothing(d, 0);
});
