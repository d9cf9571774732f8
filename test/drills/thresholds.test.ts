/** Drills: a moment before its time nothing happens, a moment after it has happened. Every timer of the engine. SPEC-CHECKLIST R-101 … R-109; R-029; CM timeouts. */
import { PortSpace } from '../../rnic/cm/commands.ts';
import { QpType } from '../../rnic/constants.ts';
import { rnrMicros } from '../../wire/aeth.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import { type Drill, type DrillOptions, drill } from './language/drill.ts';
import {
  addressed,
  gidOf,
  letter,
  MANAGED,
  Manager,
  PARAMETERS,
  PORT,
  resolved,
  serviceIdOf,
} from './language/manager.ts';
import { type Packet, rnrNak } from './language/packet.ts';

const STRICT: DrillOptions = { strictTimers: true };
/** Microseconds by which a drill comes too early, then too late: what a double loses in days is less. */
const MOMENT = 0.01;
const UNIT = 4.096;
const exponent = (value: number): number => UNIT * 2 ** value;
/** 4.096 µs · 2^20 for the peer, and 2^16 for each way. */
const ANSWER = exponent(20) + 2 * exponent(16);
const TRIES = 15;
const PEER_ID = 0x7777_0001;
const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn });

/** So much time passes but for a moment, in which nothing happens; then the moment passes too. `behind`: the time began a moment ago, when another ended. */
function pass(d: Drill, micros: number, behind = false): void {
  d.advance(`${micros - (behind ? 2 : 1) * MOMENT}us`);
  d.expect.nothing();
  d.advance(`${2 * MOMENT}us`);
}

for (let timeout = 1; timeout <= 31; timeout++) {
  drill(`R-102: timeout ${timeout} is 4.096 µs · 2^${timeout}, to the moment, each time`, STRICT, (d) => {
    d.qp('rc', { timeout, retryCnt: 2 });
    d.post.write();
    d.expect.packet(write(0));
    for (let retry = 0; retry < 2; retry++) {
      pass(d, exponent(timeout), retry > 0);
      d.expect.packet(write(0));
    }
    pass(d, exponent(timeout), true);
    d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
  });
}

for (let code = 0; code < 32; code++) {
  drill(`R-108: RNR code ${code} ends after ${rnrMicros(code)} µs, to the moment, each time`, STRICT, (d) => {
    d.qp('rc', { timeout: 31, rnrRetry: 7 });
    d.post.write();
    d.expect.packet(write(0));
    for (let wait = 0; wait < 3; wait++) {
      d.inject(rnrNak(code, 0));
      pass(d, rnrMicros(code));
      d.expect.packet(write(0));
    }
  });
}

drill('R-109: behind an RNR wait the acknowledgement timer begins anew', STRICT, (d) => {
  d.qp('rc', { timeout: 10 });
  d.post.write();
  d.expect.packet(write(0));
  d.advance(`${exponent(10) - 5}us`);
  d.inject(rnrNak(20, 0));
  pass(d, rnrMicros(20));
  d.expect.packet(write(0));
  pass(d, exponent(10), true);
  d.expect.packet(write(0));
});

drill('R-029: a second CNP leaves 50 µs behind the first, and no moment earlier', (d) => {
  const marked: Packet = { ...write(0), payload: 'x', trafficClass: 3 };
  const notified = (): number => d.sent().filter(({ opcode }) => opcode === 'CNP').length;
  d.qp('rc');
  d.inject({ ...marked, psn: 0 });
  d.expect.that(notified(), 1, 'the first');
  d.advance(`${50 - MOMENT}us`);
  d.inject({ ...marked, psn: 1 });
  d.expect.that(notified(), 0, 'too early');
  d.advance(`${2 * MOMENT}us`);
  d.inject({ ...marked, psn: 2 });
  d.expect.that(notified(), 1, 'the second');
});

// ── Connection management ──

/** An application that has asked for a connection. */
function asking(d: Drill, portSpace: PortSpace = PortSpace.TCP): ReturnType<typeof resolved> {
  const made = resolved(d, portSpace);
  made.m.do({ op: 'cmConnect', id: made.id, parameters: PARAMETERS });
  return made;
}

/** A message is repeated fifteen times, each time to the moment; and a last time nothing leaves. */
function repeats(d: Drill, message: Packet): void {
  for (let i = 0; i < TRIES; i++) {
    pass(d, ANSWER, i > 0);
    d.expect.packet(message);
  }
  pass(d, ANSWER, true);
  d.expect.nothing();
}

for (const [portSpace, message] of [
  [PortSpace.TCP, 'REQ'],
  [PortSpace.UDP, 'SIDR_REQ'],
] as const) {
  drill(`CM: a ${message} that nobody answers is repeated ${TRIES} times, to the moment`, MANAGED, (d) => {
    const { m, id } = asking(d, portSpace);
    d.expect.packet(letter(message));
    repeats(d, letter(message));
    m.event('UNREACHABLE', { id });
  });
}

for (const serviceTimeout of [10, 20, 24]) {
  drill(
    `CM: an MRA of 2^${serviceTimeout} is waited for, and then as long as for an answer, to the moment`,
    MANAGED,
    (d) => {
      const { m, id } = asking(d);
      const [request] = d.sent();
      const { transaction, localCommId } = request!.letter!;
      const names = { localCommId: PEER_ID, remoteCommId: localCommId as number };
      d.inject(letter('MRA', { transaction: transaction!, ...names, serviceTimeout }));
      pass(d, exponent(serviceTimeout) + ANSWER);
      d.expect.packet(letter('REQ'));
      m.do({ op: 'cmDestroyId', id });
      d.expect.packet(letter('REJ'));
    },
  );
}

drill('CM: a REP and a DREQ that nobody answers are repeated to the moment, and so ends TIMEWAIT', MANAGED, (d) => {
  const m = new Manager(d);
  const { id: listener } = m.do({ op: 'cmCreateId', portSpace: PortSpace.TCP, qpType: QpType.RC });
  m.do({ op: 'cmBindAddr', id: listener, local: { address: gidOf(OURS), port: PORT } });
  m.do({ op: 'cmListen', id: listener, backlog: 4 });
  const names = { localCommId: PEER_ID, localQpn: 0x99, startingPsn: 1, pathMtu: 3, ...serviceIdOf(PortSpace.TCP) };
  const gids = { primaryLocalGid: gidOf(THEIRS), primaryRemoteGid: gidOf(OURS), primaryLocalAckTimeout: 17 };
  d.inject(letter('REQ', { transaction: 5n, ...names, ...gids, privateData: addressed(Uint8Array.of()) }));
  const { id } = m.event('CONNECT_REQUEST', { listenId: listener });
  m.do({ op: 'cmAccept', id, parameters: PARAMETERS });
  d.expect.packet(letter('REP'));
  pass(d, ANSWER);
  d.expect.packet(letter('REP'));
  m.do({ op: 'cmDisconnect', id });
  d.expect.packet(letter('DREQ'));
  repeats(d, letter('DREQ'));
  m.event('DISCONNECTED', { id });
  d.advance(`${exponent(17) - 4 * MOMENT}us`);
  m.noEvent();
  d.advance(`${8 * MOMENT}us`);
  m.event('TIMEWAIT_EXIT', { id });
});
