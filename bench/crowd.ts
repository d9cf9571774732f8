/** Many pairs of vRNICs at once, each with a QP that writes 64 KiB messages to the other's: plain, over VXLAN, translated, or by memory. One program moves them all. */
import { Access, Context, type Cq, type Mr, type Qp, QpType, SendFlag, WrOpcode } from '../verbs/index.ts';
import { connect } from '../workers/client.ts';
import { Supervisor } from '../workers/supervisor.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';
import { placeOf, rangeOf, tenantOn } from './tenant.ts';

export type Way = 'plain' | 'vxlan' | 'translate' | 'local';

/** Two namespaces joined by a wire. */
export interface Ends {
  readonly left: End;
  readonly right: End;
  readonly mtu: number;
}

interface End {
  readonly path: string;
  readonly netdev: string;
  /** IPv4. */
  readonly address: string;
}

interface Side {
  readonly context: Context;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
  readonly gid: Uint8Array;
  /** Messages that its region holds. */
  readonly slots: number;
}

const BYTES = 65_536;
const DEPTH = 16;
const MODERATION = 4;
/** Workers are new, and V8 compiles what they do again and again meanwhile. */
const WARM_SECONDS = 5;
const GID_INDEX = 1;
const PSN = 1;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;

/** vRNICs of pair i: 2i + 1 sends, 2i + 2 receives. `local`: both on the left. */
function configs(way: Way, pairs: number, { left, right, mtu }: Ends): VrnicConfig[] {
  const ends = Array.from({ length: pairs * 2 }, (_, i) => (i % 2 === 1 && way !== 'local' ? right : left));
  const tenant =
    way === 'plain'
      ? null
      : tenantOn(
          ends.map(({ address }) => address),
          way,
        );
  return ends.map(({ path, netdev }, i) => {
    const name = `${way}${i + 1}`;
    if (tenant) return { name, namespace: path, ...placeOf(tenant, i + 1, netdev, mtu) };
    return { name, namespace: path, port: { kind: 'af_packet', netdev }, ...rangeOf(i + 1) };
  });
}

async function open(supervisor: Supervisor, config: VrnicConfig, slots: number): Promise<Side> {
  await supervisor.startVrnic(config);
  const context = new Context(await connect(await supervisor.endpoint(config.name)));
  const pd = await context.allocPd();
  const cq = await context.createCq(64, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES * slots), RIGHTS);
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  await qp.toInit({ accessFlags: RIGHTS });
  return { context, cq, mr, qp, gid: await context.queryGid(GID_INDEX), slots };
}

/** Until `end`, then what is under way; how many completed. */
async function write({ qp, mr, cq, slots }: Side, to: Side, end: number): Promise<number> {
  let slot = 0;
  const post = (): void => {
    for (let i = 1; i <= MODERATION; i++) {
      slot = (slot + 1) % slots;
      qp.postSend({
        opcode: WrOpcode.RDMA_WRITE,
        sendFlags: i === MODERATION ? SendFlag.SIGNALED : 0,
        remoteAddr: to.mr.addr + BigInt(slot * BYTES),
        rKey: to.mr.rKey,
        sgList: [{ mr, offset: slot * BYTES, length: BYTES }],
      });
    }
  };
  let underWay = 0;
  let done = 0;
  for (; underWay < DEPTH; underWay += MODERATION) post();
  while (underWay > 0) {
    for (const completion of await cq.next()) {
      if (completion.status !== 0) throw new Error(`a WRITE ended with status ${completion.status}`);
      underWay -= MODERATION;
      done += MODERATION;
      if (performance.now() < end) {
        post();
        underWay += MODERATION;
      }
    }
  }
  return done;
}

export interface CrowdFigures {
  /** Of all pairs together. */
  readonly gigabits: number;
  /** Gb for each second that all threads ran: other programs on the machine cost it little. */
  readonly gigabitsPerCpuSecond: number;
}

/** As many pairs as it was made of. Idle they sleep, so that several crowds can be measured in turn. */
export class Crowd {
  readonly #supervisor: Supervisor;
  readonly #sides: Side[] = [];

  private constructor(way: Way) {
    this.#supervisor = new Supervisor({ workers: way === 'local' ? 1 : 2, spin: 50 });
  }

  /** @param slots messages that each side's region holds: one, the same octets again and again, or as many as make all regions together as large for any number of pairs. */
  static async open(way: Way, pairs: number, ends: Ends, slots = 1): Promise<Crowd> {
    const crowd = new Crowd(way);
    try {
      for (const config of configs(way, pairs, ends)) crowd.#sides.push(await open(crowd.#supervisor, config, slots));
      await crowd.#connect();
      await crowd.run(WARM_SECONDS);
      return crowd;
    } catch (error) {
      await crowd.close();
      throw error;
    }
  }

  async #connect(): Promise<void> {
    for (const [i, side] of this.#sides.entries()) {
      const other = this.#sides[i ^ 1]!;
      const to = { gid: other.gid, qpNum: other.qp.qpNum, psn: PSN };
      await side.qp.toRtr(to, { sgidIndex: GID_INDEX, pathMtu: 5 });
      await side.qp.toRts(PSN, { timeout: 18 });
    }
  }

  async run(seconds: number): Promise<CrowdFigures> {
    const sides = this.#sides;
    const senders = sides.filter((_, i) => i % 2 === 0);
    const [begin, used] = [performance.now(), process.cpuUsage()];
    const done = await Promise.all(senders.map((side, i) => write(side, sides[2 * i + 1]!, begin + seconds * 1000)));
    const gigabits = (done.reduce((sum, count) => sum + count, 0) * BYTES * 8) / 1e9;
    const { user, system } = process.cpuUsage(used);
    const elapsed = (performance.now() - begin) / 1000;
    return { gigabits: gigabits / elapsed, gigabitsPerCpuSecond: gigabits / ((user + system) / 1e6) };
  }

  async close(): Promise<void> {
    for (const { context } of this.#sides) await context.close();
    await this.#supervisor.stop();
  }
}
