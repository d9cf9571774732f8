/** rdma-unit-test's device_test: what the device says of itself, and its limits, each reached and not passed. */
import type { Command, CommandOf } from '../../../rnic/commands.ts';
import type { RnicLimits } from '../../../rnic/config.ts';
import { SharedMemory } from '../../../rnic/memory/shared-memory.ts';
import { AV, OURS } from '../../support/engine.ts';
import { pathBetween } from '../../support/paths.ts';
import { listed, type Unit, unit } from './unit.ts';

/** More than a case has made when it begins. */
const LIMIT = 12;
const memory = new SharedMemory(new SharedArrayBuffer(64));

unit('DeviceTest.QueryDevice', (u) => {
  const device = u.d.execute({ op: 'queryDevice' });
  u.d.expect.that(device.maxQp > 0 && device.maxSge >= 4 && device.physPortCnt === 1, true, 'device');
});

function untilFull<Op extends Command['op']>(u: Unit, command: CommandOf<Op>): void {
  let made = 0;
  while (made <= LIMIT && u.d.engine.tryExecute(command).ok) made++;
  u.d.expect.that(made > 0 && made <= LIMIT, true, `${made} made`);
  u.d.expect.refused('ENOMEM', command);
}

const COMMANDS: Readonly<Record<string, [keyof RnicLimits, (u: Unit) => Command]>> = {
  MaxAh: ['ahs', (u) => ({ op: 'createAh', pd: u.d.pd, av: AV, path: pathBetween(OURS, OURS) })],
  MaxCqMixed: ['cqs', () => ({ op: 'createCq', cqe: 1 })],
  MaxMr: ['mrs', (u) => ({ op: 'regMr', pd: u.d.pd, memory, start: 0, length: 64, iova: 0n, access: 0 })],
  MaxMw: ['mws', (u) => ({ op: 'allocMw', pd: u.d.pd, type: 1 })],
  MaxPd: ['pds', () => ({ op: 'allocPd' })],
  MaxQp: [
    'qps',
    (u) => {
      const cq = u.local.sendCq.handle;
      const cap = { maxSendWr: 1, maxRecvWr: 1, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
      return { op: 'createQp', pd: u.d.pd, type: 2, sendCq: cq, recvCq: cq, cap, sqSigAll: false };
    },
  ],
  MaxSrq: ['srqs', (u) => ({ op: 'createSrq', pd: u.d.pd, maxWr: 1, maxSge: 1 })],
};
for (const [name, [limit, command]] of Object.entries(COMMANDS)) {
  unit(`DeviceLimitTest.${name}`, (u) => untilFull(u, command(u)), { limits: { [limit]: LIMIT } });
}

listed('device');
