/** Drills from what Linux's rdma_cm said (test/golden): our connection manager at either end of rping's and ucmatose's connections. */
import { PortSpace } from '../../rnic/cm/commands.ts';
import { QpType } from '../../rnic/constants.ts';
import { capture } from '../wire/golden-captures.ts';
import { type DrillOptions, drill } from './language/drill.ts';
import type { Letter } from './language/letter.ts';
import { gidOf, letter, Manager } from './language/manager.ts';
import { packetOf } from './language/packet.ts';

const SERVER = 0xc000_0202;
const CLIENT = 0xc000_0203;
const at = (ours: number, theirs: number): DrillOptions => ({
  managesConnections: true,
  gids: [gidOf(ours)],
  ours,
  theirs,
});

/** Names, numbers and times that each end chooses: an end's QP, PSN, port and the name of its device; flow label and acknowledgement time are Linux's guesses. */
const OWN = [
  'localCommId',
  'startingPsn',
  'localCaGuidHi',
  'localCaGuidLo',
  'primaryFlowLabel',
  'primaryLocalAckTimeout',
];

function lettersIn(name: string): Letter[] {
  const frames = capture(`${name}.pcap`).frames.filter((frame) => frame[12] === 0x08);
  return frames.flatMap((frame) => packetOf(frame).letter ?? []);
}

const find = (letters: readonly Letter[], message: Letter['message']): Letter =>
  letters.find((one) => one.message === message)!;

/** What stands in a message apart from what its sender chooses, and from the transaction. */
function common(one: Letter | undefined): object {
  const { transaction: _, privateData, ...fields } = one ?? { message: 'REJ' };
  const octets = Buffer.from(privateData as Uint8Array);
  // The requester's port, in front of its address.
  if (fields.message === 'REQ') octets.fill(0, 2, 4);
  const kept = Object.entries(fields).filter(([field]) => !OWN.includes(field));
  const plain = kept.map(([field, value]) => [
    field,
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  ]);
  return { ...Object.fromEntries(plain), privateData: octets.toString('hex') };
}

const parametersOf = (one: Letter) => ({
  qpNum: one.localQpn as number,
  privateData: new Uint8Array(0),
  srq: one.srq === 1,
  responderResources: one.responderResources as number,
  initiatorDepth: one.initiatorDepth as number,
  flowControl: one.endToEndFlowControl === 1,
  retryCount: (one.retryCount as number | undefined) ?? 7,
  rnrRetryCount: one.rnrRetryCount as number,
});

for (const name of ['rping', 'ucmatose']) {
  const letters = lettersIn(name);
  const [req, rep] = [find(letters, 'REQ'), find(letters, 'REP')];
  const port = (req.serviceIdLo as number) & 0xffff;

  drill(`Linux: ${name}: to rdma_cm’s REQ our server gives the REP that rdma_cm gave`, at(SERVER, CLIENT), (d) => {
    const m = new Manager(d);
    const { id: listener } = m.do({ op: 'cmCreateId', portSpace: PortSpace.TCP, qpType: QpType.RC });
    m.do({ op: 'cmBindAddr', id: listener, local: { address: gidOf(SERVER), port } });
    m.do({ op: 'cmListen', id: listener, backlog: 1 });
    d.inject(letter('REQ', req));
    const { id, parameters } = m.event('CONNECT_REQUEST', { listenId: listener });
    d.expect.that(parameters!.qpNum, req.localQpn, 'QP of the client');
    m.do({ op: 'cmAccept', id, parameters: parametersOf(rep) });
    const answer = d.sent()[0]!.letter!;
    d.expect.that(common(answer), common(rep), 'REP');
    d.expect.that(answer.transaction, req.transaction, 'transaction');
    d.inject(letter('RTU', { ...find(letters, 'RTU'), remoteCommId: answer.localCommId }));
    m.event('ESTABLISHED', { id });
  });

  drill(`Linux: ${name}: our client sends the REQ and the RTU that rdma_cm sent`, at(CLIENT, SERVER), (d) => {
    const m = new Manager(d);
    const { id } = m.do({ op: 'cmCreateId', portSpace: PortSpace.TCP, qpType: QpType.RC });
    m.do({ op: 'cmResolveAddr', id, destination: { address: gidOf(SERVER), port }, timeoutMillis: 1000 });
    m.event('ADDR_RESOLVED');
    m.do({ op: 'cmResolveRoute', id });
    m.event('ROUTE_RESOLVED');
    m.do({ op: 'cmConnect', id, parameters: parametersOf(req) });
    const request = d.sent()[0]!.letter!;
    d.expect.that(common(request), common(req), 'REQ');
    d.inject(letter('REP', { ...rep, transaction: request.transaction, remoteCommId: request.localCommId }));
    m.event('CONNECT_RESPONSE', { id });
    m.do({ op: 'cmAccept', id });
    const { localCommId, transaction } = request;
    d.expect.packet(letter('RTU', { transaction, localCommId, remoteCommId: rep.localCommId }));
    const dreq = find(letters, 'DREQ');
    d.inject(letter('DREQ', { ...dreq, localCommId: rep.localCommId, remoteCommId: localCommId }));
    m.event('DISCONNECTED', { id });
    m.do({ op: 'cmDisconnect', id });
    d.expect.packet(letter('DREP', { transaction: dreq.transaction, localCommId, remoteCommId: rep.localCommId }));
  });
}
