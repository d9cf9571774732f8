/** Every underlay, transport and address family, end to end over a veth pair: TypeScript programs, two endpoints on one host and a third on another. */
import t, { type Test } from 'tap';
import { QpnRanges } from '../../daemon/qpn-ranges.ts';
import { Access, Context, type Mr, type Pd, type Qp, QpType, SendFlag, WcStatus, WrOpcode } from '../../verbs/index.ts';
import { macOf, type Tenant, type Underlay } from '../../vswitch/model.ts';
import { connect } from '../../workers/client.ts';
import { isMappedIpv4, linkLocalOf, toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { makeVeth, type Veth, type VethEnd, whyNoNamespaces } from '../workers/veth.ts';

const BYTES = 20_000;
const GRH_BYTES = 40;
const Q_KEY = 0x1234;
const PSN = 5;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;
const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];
/** The same in all tenants of a family. */
const ADDRESSES = { ipv4: ['10.0.0.1', '10.0.0.2', '10.0.0.3'], ipv6: ['fd00::1', 'fd00::2', 'fd00::3'] };
/** Ports by their names' beginnings. */
const PORTS: Record<Underlay, string> = { vxlan: 'udp_vxlan', translate: 'af_packet', local: 'local' };

interface Host {
  readonly name: string;
  readonly context: Context;
  readonly gid: Uint8Array;
}

function tenantOf(vni: number, inner: Family, outer: Family, { left, right }: Veth): Tenant {
  const hosts = [left, left, right].map((end) => end[outer]);
  const endpoints = ADDRESSES[inner].map((text, i) => {
    const address = toGid(text);
    return { address, mac: macOf(vni, address), host: hosts[i]! };
  });
  return { name: `t${vni}`, vni, endpoints, rules: [] };
}

async function start(
  t: Test,
  supervisor: Supervisor,
  ranges: QpnRanges,
  tenant: Tenant,
  i: number,
  { netdev, path }: VethEnd,
): Promise<Host> {
  const name = `${tenant.name}-${i}`;
  const { address, mac, host } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', netdev, local: host, mtu: 4400 } as const;
  const place = { tenant, mac, gids: [linkLocalOf(mac), address], namespace: path };
  await supervisor.startVrnic({ name, port, ...place, ...ranges.allot(name, netdev, true) });
  const context = new Context(await connect(await supervisor.endpoint(name)));
  t.teardown(() => context.close());
  return { name, context, gid: address };
}

interface Side {
  readonly pd: Pd;
  readonly qp: Qp;
  readonly mr: Mr;
  close(): Promise<void>;
}

async function open({ context }: Host, type: QpType): Promise<Side> {
  const pd = await context.allocPd();
  const cq = await context.createCq(16, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
  const qp = await pd.createQp({ type, sendCq: cq, recvCq: cq });
  await qp.toInit(type === QpType.UD ? { qKey: Q_KEY } : { accessFlags: RIGHTS });
  const close = async () => {
    await qp.destroy();
    await mr.dereg();
  };
  return { pd, qp, mr, close };
}

/** A WRITE of several packets. */
async function write(t: Test, from: Host, to: Host, type: QpType, underlay: Underlay): Promise<void> {
  const [a, b] = await Promise.all([open(from, type), open(to, type)]);
  const join = async (one: Side, gid: Uint8Array, qpNum: number): Promise<void> => {
    await one.qp.toRtr({ gid, qpNum, psn: PSN }, { sgidIndex: 1, underlay });
    await one.qp.toRts(PSN);
  };
  await Promise.all([join(a, to.gid, b.qp.qpNum), join(b, from.gid, a.qp.qpNum)]);
  const octets = Uint8Array.from({ length: BYTES }, (_, i) => (i * 7 + type) & 0xff);
  a.mr.bytes.set(octets);
  b.qp.postRecv({ sgList: [] });
  a.qp.postSend({
    opcode: WrOpcode.RDMA_WRITE_WITH_IMM,
    sendFlags: SendFlag.SIGNALED,
    immData: 1,
    remoteAddr: b.mr.addr,
    rKey: b.mr.rKey,
    sgList: [{ mr: a.mr, length: BYTES }],
  });
  t.match(await a.qp.sendCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.match(await b.qp.recvCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.equal(Buffer.compare(b.mr.bytes, octets), 0, 'arrives whole');
  await Promise.all([a.close(), b.close()]);
}

/** A datagram; its receiver sees the tenant's addresses. */
async function send(t: Test, from: Host, to: Host): Promise<void> {
  const [a, b] = await Promise.all([open(from, QpType.UD), open(to, QpType.UD)]);
  for (const { qp } of [a, b]) {
    await qp.toRtr();
    await qp.toRts(PSN);
  }
  const ah = await a.pd.createAh({ dgid: to.gid, sgidIndex: 1 });
  b.qp.postRecv({ sgList: [{ mr: b.mr, length: 1000 + GRH_BYTES }] });
  a.mr.bytes.fill(0x5a, 0, 1000);
  const remote = { ah, remoteQpn: b.qp.qpNum, remoteQKey: Q_KEY };
  a.qp.postSend({
    opcode: WrOpcode.SEND,
    sendFlags: SendFlag.SIGNALED,
    ...remote,
    sgList: [{ mr: a.mr, length: 1000 }],
  });
  t.match(await b.qp.recvCq.next(), [{ status: WcStatus.SUCCESS, byteLen: 1000 + GRH_BYTES, srcQp: a.qp.qpNum }]);
  const bytes = isMappedIpv4(from.gid) ? 4 : 16;
  const at = GRH_BYTES - 2 * bytes;
  t.strictSame(b.mr.bytes.slice(at, at + bytes), from.gid.slice(16 - bytes), 'from the tenant’s address');
  t.strictSame(b.mr.bytes.slice(at + bytes, GRH_BYTES), to.gid.slice(16 - bytes), 'to the tenant’s address');
  await ah.destroy();
  await Promise.all([a.close(), b.close()]);
}

const skip = whyNoNamespaces();
t.test('underlays', skip ? { skip } : { timeout: 300_000 }, async (t) => {
  const veth = makeVeth('under');
  // Each VTEP's vRNICs share a worker; a worker lives in one namespace.
  const supervisor = new Supervisor({ workers: 4, spin: 20 });
  const ranges = new QpnRanges();
  t.teardown(async () => {
    await supervisor.stop();
    veth.remove();
  });
  const sent = async (host: Host): Promise<Record<Underlay, number>> => {
    const { ports } = await supervisor.statistics(host.name);
    const of = (kind: string): number => Object.entries(ports).find(([name]) => name.startsWith(kind))![1].txFrames;
    return { vxlan: of(PORTS.vxlan), translate: of(PORTS.translate), local: of(PORTS.local) };
  };
  /** What `talk` sends goes by `underlay` and by nothing else. */
  const goesBy = async (t: Test, from: Host, underlay: Underlay, talk: () => Promise<void>): Promise<void> => {
    const before = await sent(from);
    await talk();
    const after = await sent(from);
    for (const one of ['vxlan', 'local', 'translate'] as const)
      if (one === underlay) t.ok(after[one] > before[one], `by ${one}`);
      else t.equal(after[one], before[one], `not by ${one}`);
  };

  let vni = 100;
  for (const outer of FAMILIES)
    for (const inner of FAMILIES)
      await t.test(`a tenant of ${inner} between hosts of ${outer}`, async (t) => {
        const tenant = tenantOf(vni++, inner, outer, veth);
        const hosts: Host[] = [];
        for (const [i, end] of [veth.left, veth.left, veth.right].entries())
          hosts.push(await start(t, supervisor, ranges, tenant, i, end));
        const [one, two, far] = hosts as [Host, Host, Host];
        for (const [to, underlay] of [
          [two, 'local'],
          [two, 'vxlan'],
          [far, 'translate'],
          [far, 'vxlan'],
        ] as const)
          for (const type of [QpType.RC, QpType.UC] as const)
            await t.test(`${type === QpType.RC ? 'RC' : 'UC'}: ${underlay}`, (t) =>
              goesBy(t, one, underlay, () => write(t, one, to, type, underlay)),
            );
        await t.test('memory to another host is refused in words', async (t) => {
          const { qp } = await open(one, QpType.RC);
          const options = { sgidIndex: 1, underlay: 'local' } as const;
          const refused = qp.toRtr({ gid: far.gid, qpNum: 1, psn: PSN }, options);
          await t.rejects(refused, { code: 'EHOSTUNREACH', message: /lives on host .*: not local/ });
          await qp.destroy();
        });
        await t.test('UD: within the host', (t) => goesBy(t, one, 'local', () => send(t, one, two)));
        await t.test('UD: between hosts', (t) => goesBy(t, far, 'vxlan', () => send(t, far, one)));
      });
});
