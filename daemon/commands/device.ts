/** `urnic devinfo`, `link`, `stat`, `res`, `capture`: a running daemon's vRNICs, or one made for the moment on `--netdev`. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { QpState, QpType } from '../../rnic/constants.ts';
import type { ContextResources } from '../../rnic/resources.ts';
import type { AttachedProgram } from '../../verbs/uverbs/server.ts';
import { number, tenantOrVni } from '../arguments.ts';
import { ask, type ControlRequest, DEFAULT_SOCKET, hold } from '../control-client.ts';
import type { DeviceDescription } from '../describe-device.ts';
import { type HostFlags, hostFlags } from '../device-flags.ts';
import { toJson } from '../json.ts';

interface Flags extends HostFlags {
  /** devinfo only: opens the vRNIC as a program would, through its directory. */
  device?: string;
  socket: string;
  json?: boolean;
  all?: boolean;
}

/** What a timer of Node takes, and more than anybody waits. */
const SECONDS_MAX = 1e6;

type Op = 'device' | 'statistics' | 'resources';
interface Statistics {
  readonly counters: Record<string, number>;
  readonly ports: Record<string, Record<string, number>>;
}

export function addDevice(program: Command): void {
  const devinfo = program
    .command('devinfo')
    .description('devices and their attributes, as ibv_devinfo prints them')
    .argument('[vrnic]');
  deviceFlags(devinfo)
    .option('-v, --verbose', 'all attributes')
    .option('--device <vrnic>', "open a vRNIC of the daemon as a program does, by name or by its directory's path")
    .action((name, flags: Flags & { verbose?: boolean }) =>
      show<DeviceDescription>('device', name, flags, (found) => devinfoText(found, flags.verbose ?? false)),
    );
  const link = program.command('link').description('state of the ports, as rdma link prints it').argument('[vrnic]');
  deviceFlags(link).action((name, flags: Flags) => show<DeviceDescription>('device', name, flags, linkText));
  const stat = program.command('stat').description('counters, as rdma statistic prints them').argument('[vrnic]');
  deviceFlags(stat)
    .option('-a, --all', 'zeros too')
    .action((name, flags: Flags) =>
      show<Statistics>('statistics', name, flags, (found, vrnic) => statText(found, vrnic, flags.all ?? false)),
    );
  const res = program
    .command('res')
    .description('objects that live on the devices, as rdma resource prints them')
    .argument('[vrnic]');
  deviceFlags(res).action((name, flags: Flags) => show<Resources>('resources', name, flags, resText));
  program
    .command('capture')
    .description(
      'write the frames of a vRNIC or port of the daemon to a pcapng file, until interrupted (no --json: the file is what it has to say)',
    )
    .argument('<names...>', "a vRNIC or a port of a tenant's switch, and a file: absolute, or from here")
    .option('--tenant <name or VNI>', "all of a tenant's vRNICs and ports here, in one file, as the tenant sees them")
    .option('--socket <path>', 'the daemon', DEFAULT_SOCKET)
    .option('--seconds <count>', 'end by itself after so long', number(0, SECONDS_MAX))
    .action(capture);
}

function deviceFlags(command: Command): Command {
  return hostFlags(command).option('--socket <path>', 'the daemon', DEFAULT_SOCKET).option('--json', 'print JSON');
}

/** Finds it for one vRNIC, or for all of the daemon's, and prints it. */
async function show<T>(
  op: Op,
  name: string | undefined,
  flags: Flags,
  text: (found: T, vrnic: string) => string,
): Promise<void> {
  const found = await finder(flags)<T>(op, name, flags);
  if (flags.json) console.log(toJson(Object.fromEntries(found)));
  else for (const [vrnic, value] of found) console.log(text(value, vrnic));
}

const finder = ({ netdev, device }: Flags) =>
  netdev !== undefined ? fromHosted : device !== undefined ? fromDevice : fromDaemon;

async function fromDaemon<T>(op: Op, name: string | undefined, { socket }: Flags): Promise<Map<string, T>> {
  const names = name === undefined ? ((await ask(socket, { op: 'list' })) as string[]) : [name];
  // Ports of tenants' switches have counters, and nothing else that is asked for here.
  if (name === undefined && op === 'statistics')
    names.push(...((await ask(socket, { op: 'switchPorts' })) as string[]));
  const found = new Map<string, T>();
  for (const vrnic of names) found.set(vrnic, (await ask(socket, { op, vrnic } satisfies ControlRequest)) as T);
  return found;
}

async function fromDevice<T>(_op: Op, _name: string | undefined, flags: Flags): Promise<Map<string, T>> {
  const { openContext } = await import('../hosted.ts');
  const { describeDevice } = await import('../describe-device.ts');
  const { context, stop } = await openContext(flags);
  try {
    const { deviceName } = context;
    return new Map([[deviceName, JSON.parse(toJson(await describeDevice(deviceName, context))) as T]]);
  } finally {
    await stop();
  }
}

async function fromHosted<T>(op: Op, _name: string | undefined, flags: Flags): Promise<Map<string, T>> {
  const { openHosted } = await import('../hosted.ts');
  const { describeDevice } = await import('../describe-device.ts');
  const { device, context, stop } = await openHosted(flags);
  try {
    const { counters, ports, resources } = await device.statistics();
    const value = {
      device: await describeDevice(device.name, context),
      statistics: { counters, ports },
      resources: { contexts: resources, programs: [] },
    }[op];
    return new Map([[device.name, JSON.parse(toJson(value)) as T]]);
  } finally {
    await stop();
  }
}

const MTUS = ['', '256', '512', '1024', '2048', '4096'];

function devinfoText({ name, device, port, gids }: DeviceDescription, isVerbose: boolean): string {
  const guid = BigInt(device.nodeGuid)
    .toString(16)
    .padStart(16, '0')
    .replace(/(....)(?=.)/g, '$1:');
  const lines = [
    `hca_id:\t${name}`,
    '\ttransport:\t\t\tInfiniBand (0)',
    `\tfw_ver:\t\t\t\t${device.fwVer}`,
    `\tnode_guid:\t\t\t${guid}`,
    `\tphys_port_cnt:\t\t\t${device.physPortCnt}`,
  ];
  if (isVerbose) for (const [member, value] of Object.entries(device)) lines.push(`\t${member}:\t\t${value}`);
  lines.push(
    '\t\tport:\t1',
    `\t\t\tstate:\t\t\t${port.state === 4 ? 'PORT_ACTIVE (4)' : `PORT_DOWN (${port.state})`}`,
    `\t\t\tmax_mtu:\t\t${MTUS[port.maxMtu]} (${port.maxMtu})`,
    `\t\t\tactive_mtu:\t\t${MTUS[port.activeMtu]} (${port.activeMtu})`,
    '\t\t\tlink_layer:\t\tEthernet',
    ...gids.map((gid, index) => `\t\t\tGID[${index}]:\t\t\t${gid}, RoCE v2`),
  );
  return lines.join('\n');
}

const linkText = ({ name, port, gids }: DeviceDescription): string =>
  `link ${name}/1 state ${port.state === 4 ? 'ACTIVE' : 'DOWN'} physical_state ${port.physState === 5 ? 'LINK_UP' : 'DISABLED'} active_mtu ${MTUS[port.activeMtu]} gids ${gids.join(',')}`;

function statText({ counters, ports }: Statistics, vrnic: string, isAll: boolean): string {
  const pairs = (values: Record<string, number>): string =>
    Object.entries(values)
      .filter(([, value]) => isAll || value !== 0)
      .map(([name, value]) => `${name} ${value}`)
      .join(' ');
  const lines = [`link ${vrnic}/1 ${pairs(counters)}`];
  for (const [port, values] of Object.entries(ports)) lines.push(`port ${port} ${pairs(values)}`);
  return lines.join('\n');
}

const nameOf = (names: Record<string, number>, value: number): string =>
  Object.entries(names).find(([, number]) => number === value)?.[0] ?? String(value);

interface Resources {
  readonly contexts: ContextResources[];
  /** Unmodified programs that are attached. */
  readonly programs: AttachedProgram[];
}

function resText({ contexts, programs }: Resources, vrnic: string): string {
  const total = (count: (context: ContextResources) => number): number =>
    contexts.reduce((sum, context) => sum + count(context), 0);
  const lines = [
    `${vrnic}: ctx ${contexts.length} pd ${total((c) => c.pds)} cq ${total((c) => c.cqs)} qp ${total((c) => c.qps.length)} srq ${total((c) => c.srqs)} mr ${total((c) => c.mrs)} mw ${total((c) => c.mws)} ah ${total((c) => c.ahs)}`,
  ];
  for (const { context, processes } of programs)
    for (const { pid, name } of processes) lines.push(`link ${vrnic}/1 ctxn ${context} pid ${pid} comm ${name}`);
  for (const { context, qps } of contexts) {
    for (const qp of qps) {
      const { qpn, destQpn, type, state, sqPsn, rqPsn } = qp;
      lines.push(
        `link ${vrnic}/1 lqpn ${qpn} rqpn ${destQpn} type ${nameOf(QpType, type)} state ${nameOf(QpState, state)} sq-psn ${sqPsn} rq-psn ${rqPsn} ctxn ${context}`,
      );
    }
  }
  return lines.join('\n');
}

interface CaptureFlags {
  readonly socket: string;
  readonly seconds?: number;
  readonly tenant?: string;
}

async function capture(names: string[], { socket, seconds, tenant }: CaptureFlags): Promise<void> {
  const [file, vrnic] = [...names].reverse();
  if (file === undefined || names.length > 2 || (vrnic === undefined) === (tenant === undefined))
    throw new Error('give a vRNIC or --tenant, and a file');
  const what =
    tenant === undefined
      ? { op: 'capture' as const, vrnic: vrnic! }
      : { op: 'captureTenant' as const, ...tenantOrVni(tenant) };
  const held = await hold(socket, { ...what, file: resolve(file) });
  console.log(`capturing ${tenant === undefined ? vrnic : `tenant ${tenant}`} to ${file}; interrupt to end`);
  const ended = new Promise<'ended'>((resolve) => {
    const end = (): void => resolve('ended');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
    if (seconds !== undefined) setTimeout(end, seconds * 1000);
  });
  if ((await Promise.race([ended, held.lost])) !== 'ended')
    throw new Error('the daemon has ended, and the capture with it');
  await held.release();
  process.exit(0);
}
