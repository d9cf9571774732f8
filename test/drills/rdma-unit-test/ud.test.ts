/** rdma-unit-test's ud_test: datagrams between two QPs of one vRNIC, and between types that do not fit. */
import type { Work } from '../language/post.ts';
import { DST, listed, type Unit, type UnitOptions, unit, WRONG_KEY } from './unit.ts';

const OK = 'SUCCESS';
const UD: UnitOptions = { type: 'ud' };
const Q_KEY = 0x1111;

const send = (u: Unit, more: Work = {}): number =>
  u.d.post.send(u.work({ ah: u.d.ah(), destQpn: u.remote.qpn, qKey: Q_KEY, ...more }));
const recv = (u: Unit, length = 40 + 64): number => u.recv({ sges: [u.into(length)] });

unit(
  'LoopbackUdQpTest.Send',
  (u) => {
    const wrId = recv(u);
    send(u, { signaled: false });
    u.d.use(u.remote);
    u.d.expect.completion({ wrId, status: OK, byteLen: 104, grh: true, srcQp: u.local.qpn });
    u.d.expect.that(u.dst.octets(DST + 40, 64), u.src.octets(0x20_0000, 64), 'octets');
  },
  UD,
);

unit(
  'LoopbackUdQpTest.SendLargerThanMtu',
  (u) => {
    recv(u, 4096);
    send(u, { sges: [u.from(1025)] });
    u.ends({ local: ['LOC_LEN_ERR'], remote: [] });
  },
  { ...UD, mtu: 1500 },
);

unit(
  'LoopbackUdQpTest.SendRnr',
  (u) => {
    send(u);
    u.ends({ local: [OK], remote: [], states: ['RTS', 'RTS'] });
    u.dstUntouched();
  },
  UD,
);

unit(
  'LoopbackUdQpTest.SendRnrUnsignaledBatch',
  (u) => {
    for (let i = 0; i < 20; i++) send(u, { signaled: i === 19 });
    u.ends({ local: [OK], remote: [], states: ['RTS', 'RTS'] });
  },
  UD,
);

unit(
  'LoopbackUdQpTest.SendWithTooSmallRecv',
  (u) => {
    recv(u, 40 + 63);
    send(u);
    u.ends({ local: [OK], remote: [], states: ['RTS', 'RTS'] });
    // The buffer was not used up.
    send(u, { sges: [u.from(63)] });
    u.ends({ local: [OK], remote: [OK] });
  },
  UD,
);

for (const [name, more, local] of [
  ['SendInvalidAh', { ah: 777 }, 'LOC_QP_OP_ERR'],
  ['SendInvalidQpn', { destQpn: 0x99_9999 }, OK],
  ['SendInvalidQKey', { qKey: Q_KEY + 1 }, OK],
] as const) {
  unit(
    `LoopbackUdQpTest.${name}`,
    (u) => {
      recv(u);
      send(u, more);
      u.ends({ local: [local], remote: [] });
      u.dstUntouched();
    },
    UD,
  );
}

for (const [name, opcode] of [
  ['Write', 0],
  ['Read', 4],
  ['CompareSwap', 5],
  ['FetchAdd', 6],
] as const) {
  unit(
    `LoopbackUdQpTest.${name}`,
    (u) => {
      u.d.post.raw(opcode, u.work({ sges: [u.from(8)], ah: u.d.ah(), destQpn: u.remote.qpn }));
      u.ends({ local: ['LOC_QP_OP_ERR'], remote: [] });
      u.dstUntouched();
    },
    UD,
  );
}

unit(
  'LoopbackUdQpTest.PollMultipleCqe',
  (u) => {
    for (let i = 0; i < 10; i++) recv(u);
    for (let i = 0; i < 10; i++) send(u);
    const all = Array.from({ length: 10 }, () => OK as typeof OK);
    u.ends({ local: all, remote: all });
  },
  UD,
);

unit('AdvancedLoopbackTest.RcSendToUd', (u) => {
  const ud = u.d.qp('ud');
  u.d.post.recv({ sges: [u.into(128)] });
  const rc = u.d.qp('rc', { destQpNum: ud.qpn });
  u.d.post.send(u.work());
  u.d.advance('2s');
  u.d.use(rc);
  u.d.expect.completion({ status: 'RETRY_EXC_ERR' });
  u.d.use(ud);
  u.d.expect.state('RTS');
});

unit('AdvancedLoopbackTest.UdSendToRc', (u) => {
  u.recv();
  u.d.qp('ud');
  send(u, { rKey: WRONG_KEY });
  u.d.expect.completion({ status: OK });
  u.ends({ local: [], remote: [], states: ['RTS', 'RTS'] });
  u.dstUntouched();
});

listed('ud');
