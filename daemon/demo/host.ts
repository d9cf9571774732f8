/** One host of the demo: a process in its own network namespace that hosts a vRNIC and does what the director tells it, one JSON line each way. */
import {
  Access,
  type Context,
  type Cq,
  hostDevice,
  type Mr,
  type Qp,
  QpType,
  SendFlag,
  type SendWr,
  WorkCompletion,
  WrOpcode,
} from '../../verbs/index.ts';
import { bringUp, type RemoteHost, serveSteps } from '../remote-host.ts';
import { TenantHost } from './tenant-host.ts';

export interface HostAddress {
  readonly gid: string;
  readonly qpNum: number;
  readonly psn: number;
  readonly addr: string;
  readonly rKey: number;
}

export interface Step {
  readonly do:
    | 'start'
    | 'connect'
    | 'fill'
    | 'differs'
    | 'postRecv'
    | 'transfer'
    | 'atomic'
    | 'bandwidth'
    | 'latency'
    | 'stats'
    | 'serveTenants'
    | 'joinTenant'
    | 'connectTenant'
    | 'writeTenant'
    | 'tenantDiffers'
    | 'tenantBandwidth'
    | 'limitTenant'
    | 'denyTenant'
    | 'end';
  readonly address?: string;
  readonly mtu?: number;
  readonly peer?: HostAddress;
  readonly opcode?: WrOpcode;
  readonly bytes?: number;
  readonly value?: number;
  readonly seconds?: number;
  /** urnic.yaml. */
  readonly configuration?: string;
  /** Of a vRNIC, or of a tenant that has one of its name. */
  readonly name?: string;
}

/** A host as the demo's director sees it. */
export type DemoHost = RemoteHost<Step>;

const MEMORY_BYTES = 4 << 20;
const PSN = 0xff_fff0;
const GID_INDEX = 1;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
const OUTSTANDING = 32;

class Host {
  #context!: Context;
  #cq!: Cq;
  #mr!: Mr;
  #qp!: Qp;
  #peer!: HostAddress;
  readonly #tenants = new TenantHost();
  #stop: () => Promise<void> = async () => {};
  #statistics: () => Promise<unknown> = async () => null;
  readonly #completion = new WorkCompletion();

  async run(step: Step): Promise<unknown> {
    switch (step.do) {
      case 'start':
        return this.#start(step.address!, step.mtu!);
      case 'connect':
        return this.#connect(step.peer!);
      case 'fill':
        return void this.#mr.bytes.fill(step.value!, 0, step.bytes!);
      case 'differs':
        return this.#mr.bytes.subarray(0, step.bytes!).findIndex((octet) => octet !== step.value!);
      case 'postRecv':
        return this.#qp.postRecv({ sgList: [{ mr: this.#mr, length: step.bytes! }] });
      case 'transfer':
        return this.#complete(this.#request(step.opcode!, step.bytes!));
      case 'atomic':
        return this.#atomic(step.opcode!, step.value!);
      case 'bandwidth':
        return this.#bandwidth(step.opcode!, step.bytes!, step.seconds!);
      case 'latency':
        return this.#latency(step.bytes!, step.seconds!);
      case 'stats':
        return this.#statistics();
      case 'serveTenants':
        await this.#stop();
        return this.#tenants.serve(step.configuration!);
      case 'joinTenant':
        return this.#tenants.join(step.name!);
      case 'connectTenant':
        return this.#tenants.connect(step.name!, step.peer!);
      case 'writeTenant':
        return this.#tenants.write(step.name!, step.value!);
      case 'tenantDiffers':
        return this.#tenants.differs(step.name!, step.value!);
      case 'tenantBandwidth':
        return this.#tenants.bandwidth(step.name!, step.seconds!);
      case 'limitTenant':
        return this.#tenants.limit(step.name!, step.value!);
      case 'denyTenant':
        return this.#tenants.deny(step.name!);
      case 'end':
        return this.#tenants.stop();
    }
  }

  async #start(address: string, mtu: number): Promise<HostAddress> {
    bringUp(address, mtu);
    const device = await hostDevice({ netdev: 'eth0', spin: 200 });
    this.#stop = () => device.stop();
    this.#statistics = () => device.statistics();
    this.#context = await device.open();
    const pd = await this.#context.allocPd();
    this.#cq = await this.#context.createCq(256, await this.#context.createCompChannel());
    this.#mr = await pd.regMr(new SharedArrayBuffer(MEMORY_BYTES), RIGHTS);
    this.#qp = await pd.createQp({ type: QpType.RC, sendCq: this.#cq, recvCq: this.#cq });
    await this.#qp.toInit({ accessFlags: RIGHTS });
    const gid = Buffer.from(await this.#context.queryGid(GID_INDEX)).toString('hex');
    return { gid, qpNum: this.#qp.qpNum, psn: PSN, addr: String(this.#mr.addr), rKey: this.#mr.rKey };
  }

  async #connect(peer: HostAddress): Promise<void> {
    this.#peer = peer;
    const { activeMtu } = await this.#context.queryPort();
    const to = { gid: Buffer.from(peer.gid, 'hex'), qpNum: peer.qpNum, psn: peer.psn };
    await this.#qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: activeMtu });
    await this.#qp.toRts(PSN);
  }

  #request(opcode: WrOpcode, bytes: number): SendWr {
    const { addr, rKey } = this.#peer;
    return {
      opcode,
      sendFlags: SendFlag.SIGNALED,
      remoteAddr: BigInt(addr),
      rKey,
      sgList: [{ mr: this.#mr, length: bytes }],
    };
  }

  async #complete(request: SendWr): Promise<void> {
    this.#qp.postSend(request);
    await this.#one();
  }

  async #atomic(opcode: WrOpcode, value: number): Promise<string> {
    const request = this.#request(opcode, 8);
    await this.#complete({ ...request, compareAdd: BigInt(value), swap: 7n });
    return String(new BigUint64Array(this.#mr.bytes.buffer, 0, 1)[0]);
  }

  /** Gigabits a second. */
  async #bandwidth(opcode: WrOpcode, bytes: number, seconds: number): Promise<number> {
    const request = this.#request(opcode, bytes);
    const end = performance.now() + seconds * 1000;
    const start = performance.now();
    let posted = 0;
    let done = 0;
    while (done < posted || performance.now() < end) {
      while (posted - done < OUTSTANDING && performance.now() < end) {
        this.#qp.postSend(request);
        posted++;
      }
      // Sleeps between completions: polling would take the core that the worker needs.
      for (const { isSuccess, statusName } of await this.#cq.next(OUTSTANDING)) {
        if (!isSuccess) throw new Error(`a work request ended with ${statusName}`);
        done++;
      }
    }
    return (done * bytes * 8) / ((performance.now() - start) * 1e6);
  }

  /** Microseconds from posting a WRITE to its completion (there and back), median. */
  async #latency(bytes: number, seconds: number): Promise<number> {
    const request = this.#request(WrOpcode.RDMA_WRITE, bytes);
    const times: number[] = [];
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      const start = performance.now();
      this.#qp.postSend(request);
      await this.#one();
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    return times[times.length >> 1]! * 1000;
  }

  async #one(): Promise<void> {
    const completion = this.#completion;
    for (let polls = 1; !this.#cq.pollOne(completion); polls++) if (polls % 4096 === 0) await new Promise(setImmediate);
    if (!completion.isSuccess) throw new Error(`a work request ended with ${completion.statusName}`);
  }
}

/** Serves steps until its input ends. */
export async function serveHost(): Promise<void> {
  const host = new Host();
  await serveSteps<Step>((step) => host.run(step));
}
