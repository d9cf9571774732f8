import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import type { Path } from '../../rnic/path.ts';
import { clock } from '../../workers/clock.ts';
import { readNetdev, toGid } from '../../workers/linux/netdev.ts';
import { nextHop } from '../../workers/linux/routes.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { type AfPacketOptions, AfPacketPort } from '../../workers/ports/af-packet.ts';
import { Sleeper } from '../../workers/sleeper.ts';
import { FrameMaker } from './test-frames.ts';
import { makeVeth, type Veth, whyNoNamespaces, within } from './veth.ts';

const skip = whyNoNamespaces();
const options = skip ? { skip } : {};

function openSender(veth: Veth): AfPacketPort {
  return within(veth.left, () => new AfPacketPort({ netdev: veth.left.netdev, addresses: [veth.left.ipv4] }));
}

function openReceiver(veth: Veth, more: Partial<AfPacketOptions> = {}): AfPacketPort {
  const { netdev, ipv4, ipv6 } = veth.right;
  return within(veth.right, () => new AfPacketPort({ netdev, addresses: [ipv4, ipv6], ...more }));
}

const pathTo = (port: AfPacketPort, to: AfPacketPort, sgid: Uint8Array, dgid: Uint8Array): Path =>
  buildPath({
    av: { dgid, sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 },
    sgid,
    sourceMac: port.netdev.mac,
    destinationMac: to.netdev.mac,
    localQpn: 1,
    remoteQpn: 2,
    portIndex: 0,
    port,
  });

/** The kernel's own ARP and neighbour discovery comes by as well. */
function isUdp({ view }: ReceiveBurst, at: number): boolean {
  const type = view.getUint16(at + 12);
  return (type === 0x0800 && view.getUint8(at + 23) === 17) || (type === 0x86dd && view.getUint8(at + 20) === 17);
}

async function countReceived(port: AfPacketPort): Promise<number> {
  await sleep(20);
  const burst = new ReceiveBurst();
  let count = 0;
  while (port.receive(burst) > 0) {
    for (let i = 0; i < burst.count; i++) if (isUdp(burst, burst.at[i]!)) count++;
  }
  return count;
}

t.test('af_packet: lets in its own QPNs, QP1 and multicast, and nothing for others', options, async (t) => {
  const veth = makeVeth('filter');
  const a = openSender(veth);
  const b = openReceiver(veth, { qpns: [{ base: 0x1000, count: 0x100 }] });
  t.teardown(() => {
    a.close();
    b.close();
    veth.remove();
  });
  const maker = new FrameMaker();
  for (const [sgid, own, other, group] of [
    [veth.left.ipv4, veth.right.ipv4, toGid('10.99.0.77'), toGid('224.1.2.3')],
    [veth.left.ipv6, veth.right.ipv6, toGid('fd99::77'), toGid('ff0e::1')],
  ] as const) {
    const cases: [string, Uint8Array, number, number][] = [
      ['the first QPN of the range', own, 0x1000, 1],
      ['the last one', own, 0x10ff, 1],
      ['one below', own, 0x0fff, 0],
      ['one above', own, 0x1100, 0],
      ['QP1', own, 1, 1],
      ['the multicast QPN', group, 0xff_ffff, 1],
      ['another address', other, 0x1000, 0],
    ];
    for (const [name, dgid, qpn, expected] of cases) {
      maker.put(pathTo(a, b, sgid, dgid), 1, 64, qpn);
      a.transmit(maker.burst);
      maker.burst.reset();
      t.equal(await countReceived(b), expected, name);
    }
  }
  const wrongPort = pathTo(a, b, veth.left.ipv4, veth.right.ipv4);
  new DataView(wrongPort.template.buffer).setUint16(wrongPort.udpAt + 2, 4790);
  maker.put(wrongPort, 1, 64, 0x1000);
  a.transmit(maker.burst);
  t.equal(await countReceived(b), 0, 'another UDP port');
  b.setAddresses([toGid('10.99.0.77')]);
  maker.burst.reset();
  maker.put(pathTo(a, b, veth.left.ipv4, toGid('10.99.0.77')), 1, 64, 0x1000);
  maker.put(pathTo(a, b, veth.left.ipv4, veth.right.ipv4), 1, 64, 0x1000);
  a.transmit(maker.burst);
  t.equal(await countReceived(b), 1, 'after a change of addresses, the new one only');
});

t.test('af_packet: with it open the kernel answers no port-unreachable', options, async (t) => {
  const veth = makeVeth('guard');
  t.teardown(() => veth.remove());
  const unreachables = (): number => {
    const text = within(veth.right, () => readFileSync('/proc/thread-self/net/snmp', 'latin1'));
    const [names, values] = text
      .split('\n')
      .filter((line) => line.startsWith('Icmp: '))
      .map((line) => line.split(' '));
    return Number(values![names!.indexOf('OutDestUnreachs')]);
  };
  const send = async (): Promise<void> => {
    execFileSync('ip', ['netns', 'exec', veth.left.namespace, 'bash', '-c', 'echo x > /dev/udp/10.99.0.2/4791']);
    await sleep(20);
  };
  const before = unreachables();
  await send();
  t.equal(unreachables(), before + 1, 'without it it does');
  const port = openReceiver(veth);
  await send();
  t.equal(unreachables(), before + 1);
  port.close();
  await send();
  t.equal(unreachables(), before + 2, 'and again when it is closed');
});

t.test('routes: neighbours on the link, gateways behind it, nothing where no route leads', options, async (t) => {
  const veth = makeVeth('routes');
  t.teardown(() => veth.remove());
  const ip = (...args: string[]): Buffer => execFileSync('ip', ['-n', veth.left.namespace, ...args]);
  const hop = (address: string): Uint8Array | undefined =>
    within(veth.left, () => nextHop(veth.left.netdev, toGid(address)));
  t.same(hop('10.99.0.2'), toGid('10.99.0.2'));
  t.same(hop('fd99::2'), toGid('fd99::2'));
  t.equal(hop('192.0.2.1'), undefined);
  ip('route', 'add', '192.0.2.0/25', 'via', '10.99.0.2');
  ip('route', 'add', '192.0.2.64/26', 'via', '10.99.0.3');
  ip('-6', 'route', 'add', '2001:db8::/33', 'via', 'fd99::2');
  t.same(hop('192.0.2.1'), toGid('10.99.0.2'));
  t.same(hop('192.0.2.65'), toGid('10.99.0.3'), 'the longest prefix');
  t.equal(hop('192.0.2.129'), undefined);
  t.same(hop('2001:db8:7fff::1'), toGid('fd99::2'));
  t.equal(hop('2001:db8:8000::1'), undefined);
});

t.test('netdev: says MAC, MTU and addresses, link-local first; no such interface is an error', options, async (t) => {
  const veth = makeVeth('netdev', 4000);
  t.teardown(() => veth.remove());
  const read = () => within(veth.left, () => readNetdev(veth.left.netdev));
  // The kernel makes the link-local address when the carrier is there, in its own time.
  let netdev = read();
  for (const end = Date.now() + 20_000; netdev.addresses.length < 3 && Date.now() < end; netdev = read())
    await sleep(20);
  t.match(netdev, { name: 'v1', mtu: 4000, isRunning: true, isVeth: true });
  t.equal(within(veth.left, () => readNetdev('lo')).isVeth, false);
  t.equal(netdev.mac.length, 6);
  t.same(netdev.addresses.slice(1), [veth.left.ipv4, veth.left.ipv6]);
  t.same(netdev.addresses[0]?.slice(0, 2), Uint8Array.of(0xfe, 0x80));
  t.throws(() => readNetdev('no-such-if'), { message: 'no network interface named no-such-if' });
});

/** UDP payload octets of what came, in order: small frames of the ring and large ones of the queue. */
function lengthsReceived(port: AfPacketPort, wanted: number): number[] {
  const burst = new ReceiveBurst();
  const lengths: number[] = [];
  for (let end = Date.now() + 20_000; lengths.length < wanted && Date.now() < end; ) {
    port.receive(burst);
    for (let i = 0; i < burst.count; i++) {
      const at = burst.at[i]!;
      if (isUdp(burst, at)) lengths.push(burst.view.getUint16(at + 38) - 8);
    }
  }
  return lengths;
}

t.test('af_packet: small and large frames keep their order, however often the ring goes round', options, async (t) => {
  const veth = makeVeth('ring');
  const a = openSender(veth);
  const b = openReceiver(veth);
  t.teardown(() => {
    a.close();
    b.close();
    veth.remove();
  });
  const path = pathTo(a, b, veth.left.ipv4, veth.right.ipv4);
  const maker = new FrameMaker();
  // From far below a slot's size to far above it, and 250 frames that are small or large by turns of different lengths.
  const sent: number[] = [];
  for (let i = 0; i < 250; i++) {
    const payload = i % 7 < 3 ? 4 * (1 + (i % 50)) : i % 11 === 0 ? 4096 : 4 * (80 + (i % 40));
    sent.push(payload + 16);
    maker.put({ ...path }, 1, payload, 5);
  }
  for (let round = 0; round < 40; round++) {
    maker.burst.sent = 0;
    while (!a.transmit(maker.burst));
    const lengths = lengthsReceived(b, sent.length);
    if (lengths.length !== sent.length || lengths.some((length, i) => length !== sent[i]))
      t.same(lengths, sent, `round ${round}`);
  }
  t.equal(b.counters.rxDropped, 0);
});

t.test(
  'af_packet: what finds ring and queue full is lost and counted, and what comes later is read',
  options,
  async (t) => {
    const veth = makeVeth('full');
    const a = openSender(veth);
    const b = openReceiver(veth, { receiveBufferBytes: 65_536 });
    t.teardown(() => {
      a.close();
      b.close();
      veth.remove();
    });
    const path = pathTo(a, b, veth.left.ipv4, veth.right.ipv4);
    const flood = new FrameMaker();
    for (let i = 0; i < 200; i++) flood.put({ ...path }, 1, i % 2 === 0 ? 64 : 4096, 5);
    for (let round = 0; round < 60; round++) {
      flood.burst.sent = 0;
      while (!a.transmit(flood.burst));
    }
    const burst = new ReceiveBurst();
    let [small, large] = [0, 0];
    for (let idle = 0; idle < 100; idle++) {
      if (b.receive(burst) > 0) idle = 0;
      for (let i = 0; i < burst.count; i++) {
        if (!isUdp(burst, burst.at[i]!)) continue;
        if (burst.frameBytes[i]! < 200) small++;
        else large++;
      }
    }
    t.ok(small > 0 && large > 0 && small + large < 12_000, `${small} small and ${large} large ones`);
    t.ok(b.counters.rxDropped > 0);
    const maker = new FrameMaker();
    maker.put(path, 1, 1000, 5);
    a.transmit(maker.burst);
    t.same(lengthsReceived(b, 1), [1016]);
  },
);

t.test('af_packet: who sleeps on it can sleep on when its interface went down', options, async (t) => {
  const veth = makeVeth('down');
  const port = openReceiver(veth);
  const sleeper = new Sleeper();
  t.teardown(() => {
    port.close();
    sleeper.close();
    veth.remove();
  });
  execFileSync('ip', ['-n', veth.right.namespace, 'link', 'set', veth.right.netdev, 'down']);
  await countReceived(port);
  const micros = 20_000;
  const slept = (): number => {
    const begin = clock();
    sleeper.reset();
    sleeper.add(port.fileDescriptor, false);
    sleeper.sleep(micros);
    return clock() - begin;
  };
  slept();
  sleeper.clearErrors();
  // The timer that it set for the first sleep may end the second.
  t.ok(slept() >= micros / 2, 'nothing wakes it');
});
