/** Translated connections of several vRNICs of one worker: one packet socket, each packet to the vRNIC that its QPN names. */
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { readNetdev } from '../../workers/linux/netdev.ts';
import { HostMember } from '../../workers/overlay/host-hub.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { eventually } from '../support/eventually.ts';
import { FrameMaker } from '../workers/test-frames.ts';
import { makeVeth, whyNoNamespaces, within } from '../workers/veth.ts';

const skip = whyNoNamespaces();
const RANGE = 0x100;
const [FIRST, SECOND, THIRD] = [0x1000, 0x1100, 0x2000];

t.test('translated packets go to the vRNIC that their QPN names, and who has left gets none', { skip }, async (t) => {
  const veth = makeVeth('hosthub');
  const { left, right } = veth;
  const sender = within(left, () => new AfPacketPort({ netdev: left.netdev, addresses: [left.ipv4] }));
  const members = [FIRST, SECOND, THIRD].map(
    (base) => new HostMember({ netdev: right.netdev, mtu: 9000, local: right.ipv4, qpns: { base, count: RANGE } }),
  ) as [HostMember, HostMember, HostMember];
  t.teardown(() => {
    for (const port of [sender, ...members]) port.close();
    veth.remove();
  });
  const [first, second, third] = members;
  t.equal(first.fileDescriptor, -1, 'no socket before it is needed');
  within(right, () => {
    for (const member of members) member.open();
  });
  t.equal(first.fileDescriptor, third.fileDescriptor, 'one socket');
  const taken: [number, number, number][] = [];
  const note = (member: HostMember, { view, at }: ReceiveBurst, i: number, now: number): void => {
    const isUdp = view.getUint16(at[i]! + 12) === 0x0800 && view.getUint8(at[i]! + 23) === 17;
    if (isUdp) taken.push([member.qpns.base, view.getUint32(at[i]! + 46) & 0xff_ffff, now]);
  };
  for (const member of members) member.sink = (burst, i, now) => note(member, burst, i, now);
  const path = buildPath({
    av: { dgid: right.ipv4, sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 },
    sgid: left.ipv4,
    sourceMac: sender.netdev.mac,
    destinationMac: within(right, () => readNetdev(right.netdev)).mac,
    localQpn: 1,
    remoteQpn: 2,
    portIndex: 0,
    port: sender,
  });
  const burst = new ReceiveBurst();
  /** Who reads has its own frames in the burst; those of others go to their sinks. */
  const poll = (member: HostMember): void => {
    member.receive(burst);
    for (let i = 0; i < burst.count; i++) note(member, burst, i, member.now);
  };
  /** What a run of packets brings, by QPN. */
  const send = async (qpns: readonly number[], poller: HostMember): Promise<[number, number, number][]> => {
    const maker = new FrameMaker();
    for (const qpn of qpns) maker.put(path, 1, 64, qpn);
    sender.transmit(maker.burst);
    taken.length = 0;
    await eventually(() => {
      for (const member of [poller, ...members]) poll(member);
      return taken.some(([, qpn]) => qpn === qpns.at(-1));
    });
    return [...taken].sort(([, one], [, other]) => one - other);
  };
  for (const member of members) member.now = 3;
  t.strictSame(await send([FIRST, THIRD - 1, THIRD + 5, 1, 0xff_ffff, SECOND + RANGE - 1], first), [
    [FIRST, FIRST, 3],
    [SECOND, SECOND + RANGE - 1, 3],
    [THIRD, THIRD + 5, 3],
  ]);
  for (const { counters } of members) t.match(counters, { rxFrames: 1 });
  t.match(second.counters, { rxDropped: 0 });
  const ip = (...args: string[]): Buffer => execFileSync('ip', ['-n', right.namespace, ...args]);
  second.close();
  t.strictSame(await send([SECOND, SECOND + 1, THIRD], third), [[THIRD, THIRD, 3]]);
  within(right, () => second.open());
  t.equal(second.fileDescriptor, -1, 'who has left does not come back');
  t.notOk(within(right, () => first.isStale));
  ip('link', 'del', right.netdev);
  t.notOk(
    within(right, () => first.isStale),
    'it may come back',
  );
  ip('link', 'add', right.netdev, 'type', 'veth', 'peer', 'name', 'other');
  t.ok(
    within(right, () => first.isStale),
    'another one has its name',
  );
  third.close();
  within(right, () => {
    const next = new HostMember({ netdev: right.netdev, mtu: 9000, local: right.ipv4, qpns: third.qpns });
    next.open();
    t.notOk(next.isStale, 'who begins anew has a socket of its own');
    next.close();
  });
  first.close();
  t.equal(first.fileDescriptor, -1);
  t.equal(first.receive(burst), 0);
});
