/** Those of rdma-unit-test's traffic/ that mean something without time and load: each operation many times, RNR, MTUs, a full CQ, a burst of datagrams. */
import type { StatusName } from '../language/names.ts';
import { DST, listed, statusesOf, type Unit, type UnitOptions, unit } from './unit.ts';

const OK = 'SUCCESS';
const ok = (count: number): StatusName[] => Array.from({ length: count }, () => OK);
const UD: UnitOptions = { type: 'ud' };
const COUNT = 40;

const send = (u: Unit, bytes = 64): void => {
  u.recv({ sges: [u.into(bytes)] });
  u.d.post.send(u.work({ sges: [u.from(bytes)] }));
};
const datagram = (u: Unit): void => {
  u.recv({ sges: [u.into(104)] });
  u.d.post.send(u.work({ ah: u.d.ah(), destQpn: u.remote.qpn, qKey: 0x1111 }));
};
const write = (u: Unit, bytes = 64): number => u.d.post.write(u.work({ sges: [u.from(bytes)] }));
const read = (u: Unit, bytes = 64): number => u.d.post.read(u.work({ sges: [u.from(bytes)] }));
const fetchAdd = (u: Unit): number => u.d.post.fetchAdd(u.atomic());
const compareSwap = (u: Unit): number => u.d.post.compareSwap(u.atomic({ compare: 0n, swap: 0n }));

/** `COUNT` operations, one after the other; each ends well. */
function each(name: string, post: (u: Unit, i: number) => unknown, options: UnitOptions = {}): void {
  unit(
    name,
    (u) => {
      for (let i = 0; i < COUNT; i++) {
        post(u, i);
        u.d.expect.that(statusesOf(u.local), [OK], 'completion');
        statusesOf(u.remote);
      }
    },
    options,
  );
}

each('SimpleRdmaTest.Write', (u) => write(u));
each('SimpleRdmaTest.Read', (u) => read(u));
each('SimpleRdmaTest.RcSend', (u) => send(u));
each('SimpleRdmaTest.UdSend', datagram, UD);
each('SimpleRdmaTest.FetchAdd', fetchAdd);
each('SimpleRdmaTest.CompareSwap', compareSwap);

const MIXED = [(u: Unit) => send(u), (u: Unit) => write(u), (u: Unit) => read(u), fetchAdd, compareSwap] as const;
for (const name of ['SimpleRdmaTest.MixedOpType', 'MixedOpsTest.Basic'])
  each(name, (u, i) => MIXED[i % MIXED.length]!(u));
each('SimpleRdmaTest.MixedOpSize', (u, i) => (i % 2 === 0 ? write : read)(u, 1 + ((i * 997) % 4096)));
each('ConstantOpTest.Basic', (u) => write(u, 4096));
each('UdConstantOpTest.OneToOne', datagram, UD);

unit('SimpleRdmaTest.Batching', (u) => {
  u.d.together(() => {
    for (let i = 0; i < COUNT; i++) write(u);
  });
  u.ends({ local: ok(COUNT) });
});

unit(
  'RnrNackTest.RetryFailure',
  (u) => {
    u.d.post.send(u.work());
    u.ends({ local: ['RNR_RETRY_EXC_ERR'], remote: [], states: ['ERR', 'RTS'] });
  },
  { local: { rnrRetry: 3 } },
);

unit(
  'RnrNackTest.RetrySuccess',
  (u) => {
    u.d.post.send(u.work());
    u.d.advance('2ms');
    u.recv();
    u.ends({ local: [OK], remote: [OK] });
  },
  { local: { rnrRetry: 3 }, remote: { minRnrTimer: 14 } },
);

unit('CqOverrunTest.Basic', (u) => {
  const cq = u.d.cq(3);
  const [local] = u.d.pair('rc', { sendCq: cq });
  for (let i = 0; i < 6; i++) write(u);
  u.d.use(local);
  u.d.expect.that(statusesOf(local), ok(3), 'what fits');
  u.d.expect.that(u.d.events().slice(0, 2), ['CQ_ERR', 'QP_FATAL'], 'events');
  u.d.expect.state('ERR');
  // Nobody else is touched.
  u.d.use(u.local);
  write(u);
  u.d.expect.completion({ status: OK });
});

unit(
  'UdBurstTest.TrafficOkAfterBurst',
  (u) => {
    const to = { ah: u.d.ah(), destQpn: u.remote.qpn, qKey: 0x1111 };
    for (let i = 0; i < 60; i++) u.d.post.send(u.work(to));
    u.ends({ local: ok(60), remote: [] });
    u.recv({ sges: [u.into(104)] });
    u.d.post.send(u.work(to));
    u.ends({ local: [OK], remote: [OK] });
  },
  UD,
);

for (const mtu of [256, 512, 1024, 2048, 4096] as const) {
  unit(
    `VaryMtuTest.VaryMtuTest/${mtu}`,
    (u) => {
      write(u, 4096);
      read(u, 3000);
      send(u, 4095);
      u.ends({ local: ok(3), remote: [OK] });
      u.d.expect.that(u.dst.octets(DST, 4095), u.src.octets(0x20_0000, 4095), 'octets');
    },
    { local: { mtu }, remote: { mtu } },
  );
}

for (const [name, count] of [
  ['OneOpIsSuccessful', 1],
  ['ManyOpsAreSuccessful', COUNT],
] as const) {
  unit(`EventDrivenCompletionsTest.${name}`, (u) => {
    const { channel } = u.d.execute({ op: 'createCompChannel' });
    const cq = u.d.cq(63, channel);
    const [local] = u.d.pair('rc', { sendCq: cq });
    for (let i = 0; i < count; i++) {
      u.d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: false });
      u.d.use(local);
      write(u);
      u.d.expect.wake(cq);
      u.d.expect.completion({ status: OK });
    }
  });
}

unit('MixedQpModeTest.BasicTest', (u) => {
  const [ud, udPeer] = u.d.pair('ud');
  for (let i = 0; i < COUNT; i++) {
    u.d.use(udPeer);
    u.d.post.recv({ sges: [u.into(104)] });
    u.d.use(ud);
    u.d.post.send(u.work({ ah: u.d.ah(), destQpn: udPeer.qpn, qKey: 0x1111 }));
    u.d.use(u.local);
    write(u);
  }
  u.d.expect.that([statusesOf(ud), statusesOf(udPeer), statusesOf(u.local)], [ok(COUNT), ok(COUNT), ok(COUNT)], 'all');
});

listed('traffic');
