/** A demo host's daemon: vRNICs of tenants, each attached to by this process, with a connection to a peer of its tenant. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Access,
  AsyncEvent,
  type Context,
  type Cq,
  getDeviceList,
  type Mr,
  openDevice,
  type Qp,
  QpType,
  SendFlag,
  type SendWr,
  WrOpcode,
} from '../../verbs/index.ts';
import { parseConfiguration } from '../configuration.ts';
import { ask } from '../control-client.ts';
import { Daemon } from '../daemon.ts';
import type { HostAddress } from './host.ts';

const MEMORY_BYTES = 1 << 20;
const MESSAGE_BYTES = 65_536;
const OUTSTANDING = 32;
const PSN = 7;
const GID_INDEX = 1;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;

interface Place {
  readonly context: Context;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
  peer: HostAddress | null;
}

export class TenantHost {
  #daemon: Daemon | null = null;
  readonly #folder = mkdtempSync(join(tmpdir(), 'urnic-demo-'));
  /** By vRNIC. */
  readonly #places = new Map<string, Place>();

  /** Starts a daemon with this urnic.yaml. */
  async serve(configuration: string): Promise<void> {
    this.#daemon = await Daemon.start(parseConfiguration(configuration), this.#socket);
  }

  /** Attaches to a vRNIC of the daemon, as any program of this host may. */
  async join(vrnic: string): Promise<HostAddress> {
    const device = getDeviceList(this.#folder).find(({ name }) => name === vrnic)!;
    const context = await openDevice(device);
    const pd = await context.allocPd();
    const cq = await context.createCq(64, await context.createCompChannel());
    const mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), RIGHTS);
    const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
    await qp.toInit({ accessFlags: RIGHTS });
    this.#places.set(vrnic, { context, cq, mr, qp, peer: null });
    const gid = Buffer.from(await context.queryGid(GID_INDEX)).toString('hex');
    return { gid, qpNum: qp.qpNum, psn: PSN, addr: String(mr.addr), rKey: mr.rKey };
  }

  /** Says by which underlay. */
  async connect(vrnic: string, peer: HostAddress): Promise<string> {
    const place = this.#places.get(vrnic)!;
    const { context, qp } = place;
    place.peer = peer;
    const { activeMtu } = await context.queryPort();
    const to = { gid: Buffer.from(peer.gid, 'hex'), qpNum: peer.qpNum, psn: peer.psn };
    await qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: activeMtu });
    await qp.toRts(PSN);
    const found = (await ask(this.#socket, { op: 'connections', vrnic })) as { underlay: string }[];
    return found[0]!.underlay;
  }

  /** Fills the peer's memory with `value`. Says how the WRITE ended. */
  async write(vrnic: string, value: number): Promise<string> {
    const place = this.#places.get(vrnic)!;
    place.mr.bytes.fill(value);
    place.qp.postSend(requestOf(place, MEMORY_BYTES));
    const [completion] = await place.cq.next(1);
    return completion!.statusName;
  }

  /** -1 when all octets are `value`. */
  differs(vrnic: string, value: number): number {
    return this.#places.get(vrnic)!.mr.bytes.findIndex((octet) => octet !== value);
  }

  /** Gigabits a second of WRITEs of 64 KiB. */
  async bandwidth(vrnic: string, seconds: number): Promise<number> {
    const place = this.#places.get(vrnic)!;
    const request = requestOf(place, MESSAGE_BYTES);
    const start = performance.now();
    const end = start + seconds * 1000;
    let posted = 0;
    let done = 0;
    while (done < posted || performance.now() < end) {
      for (; posted - done < OUTSTANDING && performance.now() < end; posted++) place.qp.postSend(request);
      for (const { isSuccess, statusName } of await place.cq.next(OUTSTANDING)) {
        if (!isSuccess) throw new Error(`a work request of ${vrnic} ended with ${statusName}`);
        done++;
      }
    }
    return (done * MESSAGE_BYTES * 8) / ((performance.now() - start) * 1e6);
  }

  async limit(tenant: string, rate: number): Promise<void> {
    await ask(this.#socket, { op: 'setLimit', tenant, limit: { rate } });
  }

  /** Nobody of this tenant may talk any more. Milliseconds until the live connection of its vRNIC heard of it. */
  async deny(tenant: string): Promise<number> {
    const start = performance.now();
    const heard = this.#places.get(tenant)!.context.getAsyncEvent();
    await ask(this.#socket, { op: 'addRule', tenant, rule: { id: 'cut', action: 'deny' } });
    const { code } = await heard;
    if (code !== AsyncEvent.QP_FATAL) throw new Error(`the connection of ${tenant} heard event ${code}, not QP_FATAL`);
    return performance.now() - start;
  }

  async stop(): Promise<void> {
    for (const { context } of this.#places.values()) await context.close();
    await this.#daemon?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #socket(): string {
    return join(this.#folder, 'control.sock');
  }
}

function requestOf({ mr, peer }: Place, length: number): SendWr {
  const { addr, rKey } = peer!;
  const sgList = [{ mr, length }];
  return { opcode: WrOpcode.RDMA_WRITE, sendFlags: SendFlag.SIGNALED, remoteAddr: BigInt(addr), rKey, sgList };
}
