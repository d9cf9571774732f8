/** One vRNIC of a tenant without threads or wires: an engine behind the overlay's admission. Two of them with one seed have the same QPNs, keys and PSNs. */
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Access, QpState, QpType } from '../../rnic/constants.ts';
import { COUNTER_NAMES, type CounterName } from '../../rnic/counters.ts';
import type { Tenant } from '../../vswitch/model.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import { crc32 } from '../../wire/crc32.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Overlay } from '../../workers/overlay/overlay.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import type { Port } from '../../workers/port.ts';
import { Receiver } from '../../workers/receive.ts';
import { OURS, TestEngine, type TestQp, THEIRS } from '../support/engine.ts';
import type { Teardown } from '../support/netns.ts';
import { writeReceive } from '../support/sim/work.ts';

export const ADDRESSES = [toGid('10.0.0.1'), toGid('10.0.0.2')] as const;
export const VTEPS = [toGid('127.0.0.1'), toGid('127.0.0.2')] as const;
export const STRANGER = toGid('127.0.0.9');
/** As `pathBetween` makes them. */
export const MACS = [OURS, THEIRS].map((host) => Uint8Array.of(0, 0, host >>> 24, host >>> 16, host >>> 8, host));
export const IOVA = 0x1_0000;
const REGION_BYTES = 16_384;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
const WIRE = { link: 'vxlan' } as Port;

/** Two endpoints of one address, MAC and host in whichever tenant. */
export const tenantOf = (name: string, vni: number, more: Partial<Tenant> = {}): Tenant => ({
  name,
  vni,
  endpoints: ADDRESSES.map((address, i) => ({ address, mac: MACS[i]!, host: VTEPS[i]! })),
  rules: [],
  ...more,
});

/** The first of the two endpoints; the second is where its packets come from. */
export class TenantHost {
  readonly engine: TestEngine;
  readonly overlay: Overlay;
  readonly member: VxlanMember;
  readonly qps: Record<'rc' | 'uc' | 'ud', TestQp>;
  readonly memory: { readonly mr: number; readonly key: number; readonly bytes: Uint8Array };
  readonly pd: number;
  /** Ethernet frames that it sent. */
  readonly sent: Uint8Array[] = [];
  readonly #burst = new ReceiveBurst();
  readonly #receiver: Receiver;

  constructor(t: Teardown, tenant: Tenant) {
    this.engine = new TestEngine({ onFrame: (frame) => this.sent.push(frame) });
    this.member = joinVtep({ local: VTEPS[0], mtu: 4500, udpPort: 0 }, tenant.vni, macNumber(MACS[0]!));
    t.teardown(() => this.member.close());
    this.overlay = new Overlay(tenant, this.member, MACS[0]!, [ADDRESSES[0]]);
    this.#receiver = new Receiver(this.engine.rnic, null, this.#burst, this.overlay);
    this.pd = this.engine.execute({ op: 'allocPd' }).pd;
    const { cq } = this.engine.execute({ op: 'createCq', cqe: 1023 });
    this.memory = this.engine.registerMemory(this.pd, REGION_BYTES, RIGHTS, BigInt(IOVA));
    const make = (type: QpType): TestQp => {
      const qp = this.engine.createQp(type, this.pd, cq);
      this.engine.moveTo(qp, QpState.RTS);
      for (let i = 0; i < 7; i++) writeReceive(qp.rq!, i, [{ address: IOVA, length: 4096, lKey: this.memory.key }]);
      return qp;
    };
    this.qps = { rc: make(QpType.RC), uc: make(QpType.UC), ud: make(QpType.UD) };
  }

  /** An Ethernet frame that arrives in VXLAN from the host at `vtep`, and what the engine does about it. */
  receive(frame: Uint8Array, vni: number, vtep: Uint8Array, flags = 8): void {
    const whole = new Uint8Array(Vxlan.BYTES + frame.length);
    Vxlan.write(new DataView(whole.buffer), 0, vni);
    whole[0] = flags;
    whole.set(frame, Vxlan.BYTES);
    this.receiveOctets(whole, vtep);
  }

  receiveOctets(octets: Uint8Array, vtep: Uint8Array): void {
    const burst = this.#burst;
    burst.bytes.set(octets);
    burst.at[0] = 0;
    burst.frameBytes[0] = octets.length;
    burst.segmentBytes[0] = 0;
    burst.source[0] = this.member.hub.vtepIndex(vtep);
    burst.count = 1;
    this.#receiver.handleBurst(burst, WIRE, 0, false, this.engine.now);
    this.engine.turn();
  }

  /** Counters that are not zero. */
  counters(): Partial<Record<CounterName, number>> {
    const { counters } = this.engine.rnic;
    return Object.fromEntries(
      COUNTER_NAMES.map((name) => [name, counters.get(name)]).filter(([, count]) => count !== 0),
    );
  }

  /** QP states, and the sum of the memory: what no stranger may change. */
  snapshot(): object {
    const states = Object.values(this.qps).map(
      ({ handle }) => this.engine.execute({ op: 'queryQp', qp: handle }).attributes,
    );
    return { states, memory: crc32(this.memory.bytes, 0, REGION_BYTES, 0) };
  }
}
