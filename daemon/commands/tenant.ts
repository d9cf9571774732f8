/** `urnic tenant`, `endpoint`, `rule`, `conn`: the tenants' networks of a running daemon. */
import { type Command, Option } from 'commander';
import { burstOf } from '../../vswitch/bucket.ts';
import { type Limit, type Quotas, TRANSPORT_NAMES } from '../../vswitch/model.ts';
import type { Held } from '../../vswitch/quota.ts';
import { FLOOD_MAX } from '../../vswitch/stages/flood.ts';
import { rateArgument, sizeArgument, tenantOrVni, wholeNumber } from '../arguments.ts';
import { ask, type ControlRequest, DEFAULT_SOCKET } from '../control-client.ts';
import { rateText } from '../rates.ts';

interface Flags {
  readonly socket: string;
  readonly json?: boolean;
}

interface TenantView {
  readonly name: string;
  readonly vni: number;
  readonly underlay: string;
  readonly endpoints: readonly {
    address: string;
    also?: string[];
    host: string;
    mac: string;
    group?: string;
    kind?: string;
    netdev?: string;
    limit?: Limit;
    quotas?: Quotas;
  }[];
  readonly rules: readonly {
    id: string;
    priority: number;
    action: string;
    source: string;
    destination: string;
    direction: string;
    transport: string;
  }[];
  readonly limit?: Limit;
  readonly mtu?: number;
  readonly dscp?: number;
  readonly ecn?: boolean;
  readonly quotas?: Quotas;
  /** On this host; absent: it has had no vRNIC here. */
  readonly held?: Held;
}

const common = (command: Command): Command =>
  command.option('--socket <path>', 'the daemon', DEFAULT_SOCKET).option('--json', 'print JSON');

export function addTenant(program: Command): void {
  const tenant = program.command('tenant').description("tenants' networks");
  common(tenant.command('list')).action((flags: Flags) =>
    list(flags, (tenant) => [
      [
        `${tenant.name} vni ${tenant.vni} endpoints ${tenant.endpoints.length} rules ${tenant.rules.length} underlay ${tenant.underlay}`,
        ...settingsText(tenant),
      ].join(' '),
    ]),
  );
  addChanges(tenant);
  addEndpoint(program.command('endpoint').description('who is where in a tenant’s network'));
  addRule(program.command('rule').description('who may talk to whom'));
  addLimit(program.command('limit').description('how fast a tenant, or one of its endpoints, may send'));
  addConn(program.command('conn').description("connections of tenants' vRNICs"));
}

interface ConnFlags extends Flags {
  readonly vrnic?: string;
  readonly tenant?: string;
}

interface ConnectionView {
  readonly tenant: string;
  readonly vrnic: string;
  readonly qpn: number;
  readonly destQpn: number;
  readonly transport: string;
  readonly local: string;
  readonly remote: string;
  readonly underlay: string;
}

function addConn(conn: Command): void {
  common(conn.command('list').argument('[vrnic]', 'as --vrnic'))
    .description('connections of a vRNIC, of a tenant, or of all tenants here, one a line')
    .option('--vrnic <name>', 'of this vRNIC')
    .option('--tenant <name or VNI>', 'of all vRNICs of this tenant here')
    .action(async (name: string | undefined, { socket, json, vrnic = name, tenant }: ConnFlags) => {
      if ((name ?? vrnic) !== vrnic || (vrnic !== undefined && tenant !== undefined))
        throw new Error('give a vRNIC, or --tenant, or neither');
      const of = { ...(vrnic !== undefined && { vrnic }), ...(tenant !== undefined && tenantOrVni(tenant)) };
      const found = (await ask(socket, { op: 'connections', ...of })) as ConnectionView[];
      if (json) console.log(JSON.stringify(found));
      else for (const connection of found) console.log(connectionLine(connection, vrnic === undefined));
    });
}

/** @param isAmongOthers whose it is does not follow from what was asked for. */
function connectionLine(connection: ConnectionView, isAmongOthers: boolean): string {
  const { tenant, vrnic, qpn, destQpn, transport, local, remote, underlay } = connection;
  const whose = isAmongOthers ? `tenant ${tenant} vrnic ${vrnic} ` : '';
  return `${whose}lqpn ${qpn} rqpn ${destQpn} type ${transport} local ${local} remote ${remote} underlay ${underlay}`;
}

function addChanges(tenant: Command): void {
  common(tenant.command('add').argument('<name>').argument('[settings...]', 'key=value, as in urnic.yaml'))
    .description('add a tenant')
    .requiredOption('--vni <number>', 'its VXLAN network identifier', wholeNumber(1, 0xff_fffe))
    .action(async (name: string, settings: string[], { vni, ...flags }: Flags & { vni: number }) =>
      change(flags, { op: 'addTenant', tenant: name, settings: { ...(await settingsOf(settings)), vni } }),
    );
  common(
    tenant.command('set').argument('<name>').argument('<settings...>', 'key=value, as in urnic.yaml; key= for none'),
  )
    .description('change settings of a tenant')
    .action(async (name: string, settings: string[], flags: Flags) =>
      change(flags, { op: 'setTenant', tenant: name, settings: await settingsOf(settings) }),
    );
  common(tenant.command('delete').argument('<name>'))
    .description('delete a tenant, its rules and its endpoints; its vRNICs fall silent')
    .action((name: string, flags: Flags) => change(flags, { op: 'deleteTenant', tenant: name }));
}

/** Values are YAML: `mtu=1500`, `limit={rate: 1e9}`. */
async function settingsOf(texts: readonly string[]): Promise<Record<string, unknown>> {
  const settings: Record<string, unknown> = {};
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at < 1) throw new Error(`${text}: settings are key=value`);
    settings[text.slice(0, at)] = await yamlIn(text, at + 1);
  }
  return settings;
}

/** @param from where it begins in the argument. */
async function yamlIn(text: string, from = 0): Promise<unknown> {
  const { parse } = await import('yaml');
  try {
    return parse(text.slice(from));
  } catch (error) {
    throw new Error(`${text}: ${(error as Error).message.split('\n')[0]}`);
  }
}

interface EndpointFlags extends Flags {
  readonly host: string;
  readonly also?: string;
  /** False: none. */
  readonly group?: string | false;
  readonly quotas?: string | false;
  readonly kind?: string;
  readonly netdev?: string;
  readonly namespace?: string;
  readonly mac?: string;
}

function addEndpoint(endpoint: Command): void {
  common(endpoint.command('list')).action((flags: Flags) =>
    list(flags, ({ name, endpoints }) =>
      endpoints.map(({ address, also = [], host, mac, group, kind = 'vrnic', netdev, quotas }) =>
        [
          `${name} ${[address, ...also].join(',')} host ${host} mac ${mac}${kind === 'vrnic' ? '' : ` ${kind} ${netdev}`}${group === undefined ? '' : ` group ${group}`}`,
          ...quotasText(quotas),
        ].join(' '),
      ),
    ),
  );
  common(endpoint.command('add').argument('<tenant>').argument('<address>').requiredOption('--host <vtep>', 'its host'))
    .description('add an endpoint, or move one to another host or group')
    .option('--also <addresses>', 'more addresses of it, with commas between')
    .option('--group <name>', 'it talks to endpoints of this group alone')
    .option('--no-group', 'it is in no group any more')
    .option('--quotas <quotas>', 'how much its vRNIC may hold, as in urnic.yaml: {qps: 64}')
    .option('--no-quotas', 'as much as its tenant')
    .addOption(new Option('--kind <kind>', 'what is there').choices(['vrnic', 'tap', 'veth']))
    .option('--netdev <name>', 'the interface of its host that is a tap or veth')
    .option('--namespace <path>', 'the network namespace of its host that the interface is in')
    .option('--mac <mac>', 'its MAC; made of VNI and address otherwise')
    .option('--translates', 'its host offers translation')
    .option('--no-translates', 'it does not')
    .action(async (tenant: string, address: string, { also, group, quotas, socket, json, ...more }: EndpointFlags) => {
      const endpoint = {
        address,
        ...more,
        ...(also && { also: also.split(',') }),
        ...(group !== undefined && { group: group === false ? null : group }),
        ...(quotas !== undefined && { quotas: quotas === false ? null : await yamlIn(quotas) }),
      };
      return change({ socket, ...(json && { json }) }, { op: 'addEndpoint', tenant, endpoint });
    });
  common(
    endpoint.command('move').argument('<tenant>').argument('<address>').requiredOption('--host <vtep>', 'its new host'),
  )
    .description('move an endpoint to another host: its connections end, and are made anew to the same address')
    .action((tenant: string, address: string, { host, ...flags }: Flags & { host: string }) =>
      change(flags, { op: 'moveEndpoint', tenant, endpoint: { address, host } }),
    );
  common(endpoint.command('del').argument('<tenant>').argument('<address>')).action(
    (tenant: string, key: string, flags: Flags) => change(flags, { op: 'deleteEndpoint', tenant, key }),
  );
}

interface RuleFlags extends Flags {
  readonly priority: number;
  readonly action: string;
  readonly source: string;
  readonly destination: string;
  readonly direction: string;
  readonly transport: string;
}

function addRule(rule: Command): void {
  common(rule.command('list')).action((flags: Flags) =>
    list(flags, ({ name, rules }) =>
      rules.map(
        (r) =>
          `${name} ${r.id} priority ${r.priority} ${r.action} source ${r.source} destination ${r.destination} direction ${r.direction} transport ${r.transport}`,
      ),
    ),
  );
  common(rule.command('add').argument('<tenant>').argument('<id>'))
    .description('add a rule; live connections that it denies end at once')
    .addOption(new Option('--action <action>').choices(['allow', 'deny']).makeOptionMandatory())
    .option('--priority <number>', 'the highest that matches decides', wholeNumber(0, 65_535), 100)
    .option('--source <prefix>', 'an address, a prefix, or any', 'any')
    .option('--destination <prefix>', 'an address, a prefix, or any', 'any')
    .addOption(
      new Option(
        '--direction <side>',
        'kept where traffic leaves its source (out), comes to its destination (in), or both',
      )
        .choices(['in', 'out', 'both'])
        .default('both'),
    )
    .addOption(new Option('--transport <kind>').choices([...TRANSPORT_NAMES, 'any']).default('any'))
    .action((tenant: string, id: string, { socket, json, ...rule }: RuleFlags) =>
      change({ socket, ...(json && { json }) }, { op: 'addRule', tenant, rule: { id, ...rule } }),
    );
  common(rule.command('del').argument('<tenant>').argument('<id>')).action(
    (tenant: string, key: string, flags: Flags) => change(flags, { op: 'deleteRule', tenant, key }),
  );
}

interface LimitFlags extends Flags {
  readonly rate?: number;
  readonly burst?: number;
  readonly guarantee?: number;
  readonly flood?: number;
}

function addLimit(limit: Command): void {
  common(limit.command('show')).action((flags: Flags) =>
    list(flags, ({ name, limit, endpoints }) => [
      ...limitText(name, limit),
      ...endpoints.flatMap(({ address, limit }) => limitText(`${name} ${address}`, limit)),
    ]),
  );
  common(limit.command('set').argument('<tenant>').argument('[endpoint]'))
    .description('limit an endpoint, or all vRNICs of a tenant on each host together; what is not named is not limited')
    .option('--rate <rate>', 'at most so many bits a second, as 100mbit or 10gbit', rateArgument)
    .option('--burst <size>', 'so much at once after a pause, as 64kb; 10 ms by default', sizeArgument)
    .option('--guarantee <rate>', 'so much before others have anything', rateArgument)
    .option('--flood <frames>', 'a second to everybody, of each vRNIC and port', wholeNumber(0, FLOOD_MAX))
    .action((tenant: string, key: string | undefined, { socket, json, ...limit }: LimitFlags) =>
      change({ socket, ...(json && { json }) }, { op: 'setLimit', tenant, key: key ?? '', limit }),
    );
  common(limit.command('del').argument('<tenant>').argument('[endpoint]')).action(
    (tenant: string, key: string | undefined, flags: Flags) =>
      change(flags, { op: 'setLimit', tenant, key: key ?? '' }),
  );
}

function limitText(what: string, { rate, burst, guarantee, flood }: Limit = {}): string[] {
  const words = [
    ...(rate === undefined ? [] : [`rate ${rateText(rate)} burst ${burst ?? burstOf(rate)}b`]),
    ...(guarantee === undefined ? [] : [`guarantee ${rateText(guarantee)}`]),
    ...(flood === undefined ? [] : [`flood ${flood}`]),
  ];
  return words.length > 0 ? [`${what} ${words.join(' ')}`] : [];
}

/** What a tenant was given, and no more. */
function settingsText({ mtu, dscp, ecn, limit, quotas, held }: TenantView): string[] {
  const given = Object.entries({ mtu, dscp, ecn }).filter(([, value]) => value !== undefined);
  return [
    ...given.map(([name, value]) => `${name} ${value}`),
    ...limitText('limit', limit),
    ...quotasText(quotas, held),
  ];
}

/** @param held beside each: how much of it. */
function quotasText(quotas: Quotas = {}, held: Partial<Held> = {}): string[] {
  const words = Object.entries(quotas).map(([name, most]) => {
    const part = held[name as keyof Held];
    return part === undefined ? `${name} ${most}` : `${name} ${part} of ${most}`;
  });
  return words.length > 0 ? [`quotas ${words.join(' ')}`] : [];
}

async function list(flags: Flags, lines: (tenant: TenantView) => string[]): Promise<void> {
  const tenants = (await ask(flags.socket, { op: 'tenants' })) as TenantView[];
  if (flags.json) console.log(JSON.stringify(tenants));
  else for (const tenant of tenants) for (const line of lines(tenant)) console.log(line);
}

async function change(flags: Flags, request: ControlRequest): Promise<void> {
  const { ended } = (await ask(flags.socket, request)) as { ended: number };
  if (flags.json) console.log(JSON.stringify({ ended }));
  else if (ended > 0) console.log(`${ended} connection${ended === 1 ? '' : 's'} ended`);
}
