/** Drills: connections by address, message by message over QP 1, as rdma_cm speaks them. IBA Vol. 1, ch. 12; Annex A11 (IP addresses in private data). */
import { PortSpace } from '../../rnic/cm/commands.ts';
import { QpState } from '../../rnic/constants.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import { type Drill, drill } from './language/drill.ts';
import type { Letter } from './language/letter.ts';
import {
  addressed,
  gidOf,
  letter,
  listening,
  MANAGED,
  type Manager,
  PARAMETERS,
  resolved,
  serviceIdOf,
} from './language/manager.ts';

const PEER_ID = 0x7777_0001;
const REQ_FIELDS = {
  localCommId: PEER_ID,
  ...serviceIdOf(PortSpace.TCP),
  localQpn: 0x99,
  startingPsn: 0x12_3456,
  responderResources: 4,
  initiatorDepth: 1,
  retryCount: 7,
  rnrRetryCount: 6,
  pathMtu: 3,
  primaryLocalGid: gidOf(THEIRS),
  primaryRemoteGid: gidOf(OURS),
  primaryLocalAckTimeout: 17,
  privateData: addressed(Uint8Array.of(9, 8)),
};
/** Time in which an answer is due: 4.096 µs · 2^20, and 2^16 for each way. */
const ANSWER = '4.9s';
const TRIES = 15;

/** …that has asked: our name for the connection, and the transaction. */
function asking(d: Drill): { m: Manager; id: number; ourId: number; transaction: bigint } {
  const { m, id } = resolved(d);
  m.do({ op: 'cmConnect', id, parameters: PARAMETERS });
  const [request] = d.sent();
  const { localCommId, transaction } = request!.letter!;
  return { m, id, ourId: localCommId as number, transaction: transaction! };
}

/** …whose peer has agreed. */
function connected(d: Drill): ReturnType<typeof asking> {
  const made = asking(d);
  d.inject(letter('REP', { transaction: made.transaction, localCommId: PEER_ID, remoteCommId: made.ourId }));
  made.m.event('CONNECT_RESPONSE');
  made.m.do({ op: 'cmAccept', id: made.id });
  d.expect.packet(letter('RTU'));
  return made;
}

/** A listener that a peer has asked, and the id that was made for it. */
function asked(d: Drill, fields: Partial<Letter> = {}): { m: Manager; id: number; listener: number } {
  const { m, id: listener } = listening(d);
  d.inject(letter('REQ', { transaction: 5n, ...REQ_FIELDS, ...fields }));
  const { id } = m.event('CONNECT_REQUEST', { listenId: listener });
  return { m, id, listener };
}

/** …and has accepted. */
function accepted(d: Drill): { m: Manager; id: number; ourId: number } {
  const { m, id } = asked(d);
  m.do({ op: 'cmAccept', id, parameters: PARAMETERS });
  const [reply] = d.sent();
  return { m, id, ourId: reply!.letter!.localCommId as number };
}

drill('CM active: a REQ says who asks whom for what, with both IP addresses before the private data', MANAGED, (d) => {
  const { m, id } = resolved(d);
  m.do({ op: 'cmConnect', id, parameters: PARAMETERS });
  d.expect.packet(
    letter('REQ', {
      ...serviceIdOf(PortSpace.TCP),
      localQpn: 0x4321,
      responderResources: 3,
      initiatorDepth: 2,
      retryCount: 6,
      rnrRetryCount: 5,
      endToEndFlowControl: 1,
      transportServiceType: 0,
      pKey: 0xffff,
      pathMtu: 5,
      maxCmRetries: TRIES,
      primaryLocalGid: gidOf(OURS),
      primaryRemoteGid: gidOf(THEIRS),
    }),
  );
});

drill(`CM active: an unanswered REQ is repeated ${TRIES} times, then the peer is unreachable`, MANAGED, (d) => {
  const { m, id } = resolved(d);
  m.do({ op: 'cmConnect', id, parameters: PARAMETERS });
  const [first] = d.sent();
  for (let i = 0; i < TRIES; i++) {
    d.advance('4830ms');
    d.expect.nothing();
    d.advance('1839us');
    d.expect.packet(
      letter('REQ', { transaction: first!.letter!.transaction!, localCommId: first!.letter!.localCommId }),
    );
  }
  d.advance(ANSWER);
  m.event('UNREACHABLE', { id });
  d.expect.counter('cm_tx_retries', TRIES);
});

drill('CM active: a REP is told with what the peer offers; agreeing sends the RTU', MANAGED, (d) => {
  const { m, id, ourId, transaction } = asking(d);
  const rep = letter('REP', {
    transaction,
    localCommId: PEER_ID,
    remoteCommId: ourId,
    localQpn: 0x99,
    startingPsn: 0x55,
    responderResources: 1,
    initiatorDepth: 7,
    rnrRetryCount: 4,
    privateData: Uint8Array.of(1, 2, 3),
  });
  d.inject(rep);
  const { parameters } = m.event('CONNECT_RESPONSE', { id });
  d.expect.that(parameters!.qpNum, 0x99, 'QP of the peer');
  d.expect.that([parameters!.initiatorDepth, parameters!.responderResources], [1, 7], 'depths, the other way round');
  m.do({ op: 'cmAccept', id });
  d.expect.packet(letter('RTU', { transaction, localCommId: ourId, remoteCommId: PEER_ID }));
  const { attributes } = m.do({ op: 'cmInitQpAttr', id, state: QpState.RTR });
  d.expect.that([attributes.destQpNum, attributes.rqPsn! >= 0], [0x99, true], 'attributes');
  // The RTU was lost: the peer says its REP again.
  d.inject(rep);
  d.expect.packet(letter('RTU', { localCommId: ourId, remoteCommId: PEER_ID }));
  m.noEvent();
});

drill('CM active: a REJ ends it with its reason', MANAGED, (d) => {
  const { m, id, ourId, transaction } = asking(d);
  d.inject(letter('REJ', { transaction, remoteCommId: ourId, reason: 28, privateData: Uint8Array.of(7) }));
  m.event('REJECTED', { id, status: 28 });
  d.advance('60s');
  m.noEvent();
});

drill('CM active: a late REJ of an id that had refused the same REQ changes nothing', MANAGED, (d) => {
  const { m, ourId, transaction } = connected(d);
  d.inject(letter('REJ', { transaction, localCommId: PEER_ID + 1, remoteCommId: ourId, reason: 28 }));
  m.noEvent();
  d.expect.counter('cm_drop_unknown', 1);
});

drill('CM: a DREQ that comes again after TIMEWAIT is answered by a DREP', MANAGED, (d) => {
  const { m, id, ourId, transaction } = connected(d);
  const dreq = letter('DREQ', { transaction, localCommId: PEER_ID, remoteCommId: ourId });
  d.inject(dreq);
  m.event('DISCONNECTED', { id });
  m.do({ op: 'cmDisconnect', id });
  d.sent();
  d.advance('60s');
  m.event('TIMEWAIT_EXIT', { id });
  d.inject(dreq);
  d.expect.packet(letter('DREP', { transaction, localCommId: ourId, remoteCommId: PEER_ID }));
  m.noEvent();
});

drill('CM active: an MRA lengthens the wait by what it says', MANAGED, (d) => {
  const { m, id, ourId, transaction } = asking(d);
  d.inject(letter('MRA', { transaction, localCommId: PEER_ID, remoteCommId: ourId, serviceTimeout: 22 }));
  d.advance('21s');
  d.expect.nothing();
  d.advance('2s');
  d.expect.packet(letter('REQ', { transaction, localCommId: ourId }));
  m.noEvent();
  m.do({ op: 'cmDestroyId', id });
  d.expect.packet(letter('REJ', { reason: 4, messageRejected: 2 }));
});

drill('CM active: a REP for a request that is none of ours is counted, and answered by nothing', MANAGED, (d) => {
  const { m } = asking(d);
  d.inject(letter('REP', { localCommId: PEER_ID, remoteCommId: 0x1234 }));
  m.noEvent();
  d.expect.counter('cm_drop_unknown', 1);
});

drill('CM: a DREQ is told, and answered when the application agrees, again if the answer is lost', MANAGED, (d) => {
  const { m, id, ourId } = connected(d);
  const dreq = letter('DREQ', { transaction: 9n, localCommId: PEER_ID, remoteCommId: ourId });
  d.inject(dreq);
  m.event('DISCONNECTED', { id, status: 0 });
  d.expect.nothing();
  m.do({ op: 'cmDisconnect', id });
  const drep = letter('DREP', { transaction: 9n, localCommId: ourId, remoteCommId: PEER_ID });
  d.expect.packet(drep);
  d.inject(dreq);
  d.expect.packet(drep);
  d.advance('1s');
  m.event('TIMEWAIT_EXIT', { id });
});

drill('CM: a DREQ of ours is repeated until a DREP comes', MANAGED, (d) => {
  const { m, id, ourId } = connected(d);
  m.do({ op: 'cmDisconnect', id });
  const dreq = letter('DREQ', { localCommId: ourId, remoteCommId: PEER_ID });
  d.expect.packet(dreq);
  d.advance(ANSWER);
  d.expect.packet(dreq);
  d.inject(letter('DREP', { localCommId: PEER_ID, remoteCommId: ourId }));
  m.event('DISCONNECTED', { id, status: 0 });
  d.advance('1s');
  m.event('TIMEWAIT_EXIT', { id });
  d.advance('60s');
});

drill('CM: a DREQ of ours that nobody answers ends all the same', MANAGED, (d) => {
  const { m, id } = connected(d);
  m.do({ op: 'cmDisconnect', id });
  for (let i = 0; i <= TRIES; i++) d.advance(ANSWER);
  d.expect.that(d.sent().length, TRIES + 1, 'DREQs');
  m.event('DISCONNECTED', { id, status: -110 });
});

drill('CM: a DREQ for a connection that is over is answered: the peer must not wait', MANAGED, (d) => {
  const { m } = listening(d);
  d.inject(letter('DREQ', { transaction: 3n, localCommId: PEER_ID, remoteCommId: 0x9999 }));
  d.expect.packet(letter('DREP', { transaction: 3n, localCommId: 0x9999, remoteCommId: PEER_ID }));
  m.noEvent();
});

drill('CM passive: a REQ is told with the peer’s parameters, the depths the other way round', MANAGED, (d) => {
  const { m, id: listener } = listening(d);
  d.inject(letter('REQ', { transaction: 5n, ...REQ_FIELDS }));
  const { parameters, id } = m.event('CONNECT_REQUEST', { listenId: listener });
  const { qpNum, responderResources, initiatorDepth, retryCount, privateData } = parameters!;
  d.expect.that([qpNum, responderResources, initiatorDepth, retryCount], [0x99, 1, 4, 7], 'parameters');
  d.expect.that([...privateData.slice(0, 2)], [9, 8], 'private data, without the addresses');
  const { remote } = m.do({ op: 'cmQueryRoute', id });
  d.expect.that([remote.port, [...remote.address.slice(12)]], [5555, [10, 0, 0, 2]], 'who asks');
});

drill('CM passive: accepting sends a REP, again and again until an RTU comes', MANAGED, (d) => {
  const { m, id } = asked(d);
  m.do({ op: 'cmAccept', id, parameters: PARAMETERS });
  const rep = letter('REP', { transaction: 5n, remoteCommId: PEER_ID, localQpn: 0x4321, responderResources: 3 });
  const [first] = [d.sent()[0]!];
  d.expect.that(first.letter!.message, 'REP', 'answer');
  d.advance(ANSWER);
  d.expect.packet(rep);
  d.inject(letter('RTU', { transaction: 5n, localCommId: PEER_ID, remoteCommId: first.letter!.localCommId }));
  m.event('ESTABLISHED', { id });
  d.advance('60s');
});

drill(
  'CM passive: a REQ that comes again is answered by an MRA while the application decides, then by the REP',
  MANAGED,
  (d) => {
    const { m, id } = asked(d);
    d.inject(letter('REQ', { transaction: 5n, ...REQ_FIELDS }));
    d.expect.packet(letter('MRA', { transaction: 5n, remoteCommId: PEER_ID, messageMraed: 0 }));
    m.noEvent();
    m.do({ op: 'cmAccept', id, parameters: PARAMETERS });
    d.expect.packet(letter('REP', { remoteCommId: PEER_ID }));
    d.inject(letter('REQ', { transaction: 5n, ...REQ_FIELDS }));
    d.expect.packet(letter('REP', { remoteCommId: PEER_ID }));
    m.noEvent();
  },
);

drill('CM passive: data before the RTU establishes the connection', MANAGED, (d) => {
  const { m, id } = accepted(d);
  m.do({ op: 'cmNotify', id });
  m.event('ESTABLISHED', { id });
  d.advance('60s');
});

drill('CM passive: a REP that nobody answers ends the connection, and the peer is told', MANAGED, (d) => {
  const { m, id } = accepted(d);
  for (let i = 0; i <= TRIES; i++) d.advance(ANSWER);
  const sent = d.sent();
  d.expect.that(sent.at(-1)!.letter!.message, 'REJ', 'the last word');
  d.expect.that(
    sent.slice(0, -1).every((packet) => packet.letter!.message === 'REP'),
    true,
    'REPs',
  );
  m.event('UNREACHABLE', { id });
});

drill('CM passive: refusing sends the application’s reason and data', MANAGED, (d) => {
  const { m, id } = asked(d);
  m.do({ op: 'cmReject', id, privateData: Uint8Array.of(4, 2) });
  d.expect.packet(letter('REJ', { transaction: 5n, remoteCommId: PEER_ID, messageRejected: 0, reason: 28 }));
});

for (const [what, fields, reason] of [
  ['for a port where nobody listens', { serviceIdLo: serviceIdOf(PortSpace.TCP).serviceIdLo + 1 }, 8],
  ['for a service that is no port', { serviceIdHi: 1 }, 8],
  ['without addresses in its private data', { privateData: Uint8Array.of(0xff) }, 8],
  ['for a larger MTU than ours', { pathMtu: 6 }, 26],
] as const) {
  drill(`CM passive: a REQ ${what} is refused`, MANAGED, (d) => {
    const { m } = listening(d);
    d.inject(letter('REQ', { transaction: 5n, ...REQ_FIELDS, ...fields }));
    d.expect.packet(letter('REJ', { transaction: 5n, remoteCommId: PEER_ID, reason }));
    m.noEvent();
  });
}

drill('CM passive: more requests than the backlog are refused, and counted', MANAGED, (d) => {
  const { m } = listening(d, PortSpace.TCP, 1);
  for (const localCommId of [1, 2])
    d.inject(letter('REQ', { ...REQ_FIELDS, localCommId, localQpn: 0x100 + localCommId }));
  m.event('CONNECT_REQUEST');
  d.expect.packet(letter('REJ', { remoteCommId: 2, reason: 3 }));
  d.expect.counter('cm_backlog_full', 1);
  m.noEvent();
});

drill('CM passive: a QP that is connected asks anew: stale connection', MANAGED, (d) => {
  const { m, id, ourId } = accepted(d);
  d.inject(letter('RTU', { transaction: 5n, localCommId: PEER_ID, remoteCommId: ourId }));
  m.event('ESTABLISHED', { id });
  d.inject(letter('REQ', { transaction: 6n, ...REQ_FIELDS, localCommId: PEER_ID + 1 }));
  d.expect.packet(letter('REJ', { transaction: 6n, remoteCommId: PEER_ID + 1, reason: 10 }));
  m.noEvent();
});

drill('CM datagrams: a SIDR_REQ asks for a QP and its Q_Key', MANAGED, (d) => {
  const { m, id } = resolved(d, PortSpace.UDP);
  m.do({ op: 'cmConnect', id, parameters: PARAMETERS });
  const [request] = d.sent();
  d.expect.that(request!.letter!.message, 'SIDR_REQ', 'question');
  const { requestId, transaction } = request!.letter!;
  d.inject(letter('SIDR_REP', { transaction: transaction!, requestId, status: 0, qpn: 0x66, qKey: 0x0123_4567 }));
  const { parameters } = m.event('ESTABLISHED', { id });
  d.expect.that([parameters!.qpNum, parameters!.qKey], [0x66, 0x0123_4567], 'where to send');
});

drill('CM datagrams: a listener answers with its QP, again if asked again', MANAGED, (d) => {
  const { m, id: listener } = listening(d, PortSpace.UDP);
  const question = letter('SIDR_REQ', {
    transaction: 8n,
    requestId: 0x55,
    ...serviceIdOf(PortSpace.UDP),
    privateData: addressed(),
  });
  d.inject(question);
  const { id } = m.event('CONNECT_REQUEST', { listenId: listener });
  m.do({ op: 'cmAccept', id, parameters: PARAMETERS });
  const answer = letter('SIDR_REP', { transaction: 8n, requestId: 0x55, status: 0, qpn: 0x4321, qKey: 0x0123_4567 });
  d.expect.packet(answer);
  d.inject(question);
  d.expect.packet(answer);
  m.noEvent();
});

drill('CM datagrams: where nobody listens the answer says so', MANAGED, (d) => {
  const { m } = listening(d, PortSpace.TCP);
  d.inject(letter('SIDR_REQ', { requestId: 0x55, ...serviceIdOf(PortSpace.UDP), privateData: addressed() }));
  d.expect.packet(letter('SIDR_REP', { requestId: 0x55, status: 1 }));
  m.noEvent();
});

for (const [what, octet, value, counter] of [
  ['base version', 0, 2, 'cm_drop_malformed'],
  ['class', 1, 0x04, 'cm_drop_malformed'],
  ['class version', 2, 1, 'cm_drop_malformed'],
  ['method', 3, 0x81, 'cm_drop_malformed'],
  ['attribute', 17, 0x50, 'cm_drop_unknown'],
] as const) {
  drill(`CM: a management datagram of another ${what} is dropped and counted`, MANAGED, (d) => {
    const { m } = listening(d);
    const { letter: _, ...packet } = letter('REQ');
    const mad = new Uint8Array(256);
    mad.set([1, 7, 2, 3]);
    mad[17] = 0x10;
    mad[octet] = value;
    d.inject({ ...packet, payload: mad });
    d.expect.counter(counter, 1);
    m.noEvent();
  });
}
