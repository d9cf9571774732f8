/** What the examples share: two vRNICs in this process, joined by memory, and a connected QP on each. In a real program each half runs on its own host, on a netdev. */
import {
  Access,
  type CompChannel,
  type Context,
  type Cq,
  type Device,
  hostDevice,
  type Mr,
  newMemoryPair,
  type Pd,
  type Qp,
  QpType,
} from '../verbs/index.ts';

export interface Host {
  readonly device: Device;
  readonly context: Context;
  readonly pd: Pd;
  readonly channel: CompChannel;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
  readonly gid: Uint8Array;
}

const BYTES = 1 << 20;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
const PSN = 0;

/** 10.0.0.1 and 10.0.0.2, RC, in RTS. */
export async function twoHosts(): Promise<[Host, Host]> {
  const ends = newMemoryPair('example');
  const hosts: Host[] = [];
  for (const [i, end] of ends.entries()) {
    const gid = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, i + 1);
    const device = await hostDevice({
      name: `host${i + 1}`,
      port: { kind: 'memory', end },
      mac: Uint8Array.of(2, 0, 0, 0, 0, i + 1),
      gids: [gid],
    });
    const context = await device.open();
    const pd = await context.allocPd();
    const channel = await context.createCompChannel();
    const cq = await context.createCq(128, channel);
    const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
    const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
    hosts.push({ device, context, pd, channel, cq, mr, qp, gid });
  }
  const [a, b] = hosts as [Host, Host];
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    await one.qp.toInit({ accessFlags: RIGHTS });
    await one.qp.toRtr({ gid: other.gid, qpNum: other.qp.qpNum, psn: PSN });
    await one.qp.toRts(PSN);
  }
  return [a, b];
}

export async function stop(...hosts: Host[]): Promise<void> {
  for (const { device } of hosts) await device.stop();
}
