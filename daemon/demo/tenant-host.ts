/** A demo host's tenants: vRNICs that share the host's VTEP, each with a connection to its namesake on the other host. */
import {
  Access,
  AsyncEvent,
  Context,
  type Cq,
  type Mr,
  type Qp,
  QpType,
  SendFlag,
  WrOpcode,
} from '../../verbs/index.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import { connect } from '../../workers/client.ts';
import { linkLocalOf, toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import type { HostAddress } from './host.ts';

const MEMORY_BYTES = 1 << 20;
const PSN = 7;
const GID_INDEX = 1;
const OVERHEAD = 50;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;
const ANY = { address: new Uint8Array(16), bits: 0 };

interface Place {
  readonly tenant: Tenant;
  readonly context: Context;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
  peer: HostAddress | null;
}

export interface TenantText {
  readonly name: string;
  readonly vni: number;
  /** Of this host, then of the other: inside, and their hosts'. */
  readonly addresses: readonly [string, string];
  readonly hosts: readonly [string, string];
  readonly mtu: number;
}

export class TenantHost {
  readonly #supervisor = new Supervisor({ workers: 1, spin: 50 });
  readonly #places = new Map<string, Place>();

  async join({ name, vni, addresses, hosts, mtu }: TenantText): Promise<HostAddress> {
    const endpoints = addresses.map((text, i) => {
      const address = toGid(text);
      return { address, mac: macOf(vni, address), host: toGid(hosts[i]!) };
    });
    const tenant = { name, vni, endpoints, rules: [] };
    const [{ address, mac, host: local }] = endpoints as [(typeof endpoints)[number]];
    const port = { kind: 'vxlan', local, mtu: mtu - OVERHEAD } as const;
    await this.#supervisor.startVrnic({ name, port, tenant, mac, gids: [linkLocalOf(mac), address] });
    const context = new Context(await connect(await this.#supervisor.endpoint(name)));
    const pd = await context.allocPd();
    const cq = await context.createCq(16, await context.createCompChannel());
    const mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), RIGHTS);
    const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
    await qp.toInit({ accessFlags: RIGHTS });
    this.#places.set(name, { tenant, context, cq, mr, qp, peer: null });
    const gid = Buffer.from(address).toString('hex');
    return { gid, qpNum: qp.qpNum, psn: PSN, addr: String(mr.addr), rKey: mr.rKey };
  }

  async connect(name: string, peer: HostAddress): Promise<void> {
    const place = this.#at(name);
    place.peer = peer;
    const to = { gid: Buffer.from(peer.gid, 'hex'), qpNum: peer.qpNum, psn: peer.psn };
    await place.qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: 5 });
    await place.qp.toRts(PSN);
  }

  /** Fills the peer's memory with `value`. Says how the WRITE ended. */
  async write(name: string, value: number): Promise<string> {
    const { mr, qp, cq, peer } = this.#at(name);
    mr.bytes.fill(value);
    const { addr, rKey } = peer!;
    const sgList = [{ mr, length: MEMORY_BYTES }];
    const request = {
      opcode: WrOpcode.RDMA_WRITE,
      sendFlags: SendFlag.SIGNALED,
      remoteAddr: BigInt(addr),
      rKey,
      sgList,
    };
    qp.postSend(request);
    const [completion] = await cq.next(1);
    return completion!.statusName;
  }

  /** -1 when all octets are `value`. */
  differs(name: string, value: number): number {
    return this.#at(name).mr.bytes.findIndex((octet) => octet !== value);
  }

  /** Nobody of this tenant may talk any more. Milliseconds until its live connection heard of it. */
  async deny(name: string): Promise<number> {
    const { tenant, context } = this.#at(name);
    const rule = { id: 'cut', priority: 100, action: 'deny', source: ANY, destination: ANY } as const;
    const start = performance.now();
    const heard = context.getAsyncEvent();
    await this.#supervisor.setTenant(name, { ...tenant, rules: [rule] });
    const { code } = await heard;
    if (code !== AsyncEvent.QP_FATAL) throw new Error(`the connection of ${name} heard event ${code}, not QP_FATAL`);
    return performance.now() - start;
  }

  stop(): Promise<void> {
    return this.#supervisor.stop();
  }

  #at(name: string): Place {
    return this.#places.get(name)!;
  }
}
