/** urnic.yaml: read, checked, and refused in words that name the line and the fix. */
import { readFileSync } from 'node:fs';
import { type Alias, isNode, LineCounter, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { HANDLES_MAX } from '../rnic/handles.ts';
import { TRANSPORT_NAMES, UNDERLAYS } from '../vswitch/model.ts';
import { FLOOD_MAX } from '../vswitch/stages/flood.ts';
import { isAddress, isPrefix } from './address-syntax.ts';
import { canonical, isUnicast } from './addresses.ts';
import { faultOfTenants } from './check-tenants.ts';
import { faultOfVrnics } from './check-vrnics.ts';
import { parseRate, parseSize } from './rates.ts';
import { checkedBy, type Fault, memberText } from './schema-faults.ts';
import { toTenant } from './tenants.ts';

const address = z
  .string()
  .refine(isAddress, { message: 'must be an IPv4 or IPv6 address', abort: true })
  .transform(canonical);
const unicast = address.refine(isUnicast, 'must be the address of one host or endpoint, not 0.0.0.0 or a group');
const prefix = z.string().refine(isPrefix, 'must be an address, or a prefix such as 10.0.0.0/24');
const name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,31}$/i, 'a name begins with a letter and has up to 32 letters, digits, - and _');

const CONNECTIONS_MAX = 1_000_000;
const RATE_MIN = 10_000;
const RATE_MAX = 1e12;
const BURST_MIN = 4096;
const BURST_MAX = 2 ** 30;
const RATE_WORDS = 'must be a rate such as 100mbit or 10gbit, 10kbit … 1tbit';
const rate = z
  .union([z.number(), z.string()], RATE_WORDS)
  .transform((value) => (typeof value === 'string' ? parseRate(value) : value))
  .refine((value) => value >= RATE_MIN && value <= RATE_MAX, RATE_WORDS);
const SIZE_WORDS = 'must be a size such as 64kb, 4kb … 1gb';
const size = z
  .union([z.number(), z.string()], SIZE_WORDS)
  .transform((value) => (typeof value === 'string' ? parseSize(value) : value))
  .refine((value) => value >= BURST_MIN && value <= BURST_MAX, SIZE_WORDS);

export const LimitText = z.strictObject({
  rate: rate.optional(),
  burst: size.optional(),
  guarantee: rate.optional(),
  /** Frames a second to everybody. */
  flood: z.number().int().min(0).max(FLOOD_MAX).optional(),
});

const PINNED_MAX = 2 ** 46;
const PINNED_WORDS = 'must be a size such as 512mb';
const objects = z.number().int().min(0).max(HANDLES_MAX).optional();
export const QuotasText = z.strictObject({
  qps: objects,
  cqs: objects,
  mrs: objects,
  pinnedBytes: z
    .union([z.number(), z.string()], PINNED_WORDS)
    .transform((value) => (typeof value === 'string' ? parseSize(value) : value))
    .refine((value) => Number.isInteger(value) && value >= 0 && value <= PINNED_MAX, PINNED_WORDS)
    .optional(),
  connectionsPerSecond: z.number().int().min(1).max(CONNECTIONS_MAX).optional(),
});

const ADDRESSES_MAX = 16;

export const EndpointText = z.strictObject({
  address: unicast,
  /** More addresses of it: more GIDs. */
  also: z
    .array(unicast)
    .max(ADDRESSES_MAX - 1, `an endpoint has at most ${ADDRESSES_MAX} addresses`)
    .optional(),
  /** The VTEP of its host. */
  host: unicast,
  /** It talks to endpoints of its group alone; without one, to those without. */
  group: name.optional(),
  /** Its host offers translation. */
  translates: z.boolean().optional(),
  limit: LimitText.optional(),
  /** Of its vRNIC. */
  quotas: QuotasText.optional(),
  kind: z.enum(['vrnic', 'tap', 'veth']).optional(),
  /** Of a tap or veth, an interface of its host; `namespace`: where that is. */
  netdev: z.string().min(1).max(15).optional(),
  namespace: z.string().startsWith('/', 'must be a path, such as /var/run/netns/blue').optional(),
  /** Made of VNI and address where absent. */
  mac: z
    .string()
    .regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i, 'must be a unicast MAC, such as 02:00:00:00:00:01')
    .optional(),
});

export const RuleText = z.strictObject({
  id: name,
  priority: z.number().int().min(0).max(65_535).default(100),
  action: z.enum(['allow', 'deny']),
  source: prefix.default('any'),
  destination: prefix.default('any'),
  direction: z.enum(['in', 'out', 'both']).default('both'),
  transport: z.enum([...TRANSPORT_NAMES, 'any']).default('any'),
});

export const TenantText = z.strictObject({
  name,
  vni: z.number().int().min(1).max(0xff_fffe),
  endpoints: z.array(EndpointText).default([]),
  rules: z.array(RuleText).default([]),
  underlay: z.enum(['auto', ...UNDERLAYS]).optional(),
  /** Largest IP packet. */
  mtu: z.number().int().min(576).max(65_000).optional(),
  /** Of all its vRNICs of this host together. */
  limit: LimitText.optional(),
  /** Of the same. */
  quotas: QuotasText.optional(),
  dscp: z.number().int().min(0).max(63).optional(),
  ecn: z.boolean().optional(),
});
export const NameText = name;
export type TenantText = z.infer<typeof TenantText>;

export const VrnicText = z
  .strictObject({
    name,
    netdev: z.string().min(1),
    port: z.enum(['af_packet', 'cap', 'raw-socket']).default('af_packet'),
    namespace: z.string().optional(),
    /** Number of the only user, besides root, whose programs may use it. */
    user: z.number().int().min(0).max(0xffff_fffe).optional(),
    /** A place in this tenant's network: `address`, one of its endpoints; `netdev` carries the VXLAN. */
    tenant: z.string().optional(),
    address: address.optional(),
    /** The VTEP of this host; by default what the tenant's endpoint says, else the first address of `netdev`. */
    host: unicast.optional(),
    /** `use`: it is made when a program comes, and costs next to nothing before. */
    start: z.enum(['boot', 'use']).optional(),
    /** Seconds without a program after which one that starts by `use` ends, until the next comes; for ever by default. */
    idle: z.number().min(1).max(1e6).optional(),
  })
  .refine(
    ({ tenant, address }) => (tenant === undefined) === (address === undefined),
    'tenant and address go together',
  );
export type VrnicText = z.infer<typeof VrnicText>;

const PemPath = z.string().startsWith('/', 'must be an absolute path, such as /etc/urnic/ca.pem');

const StoreText = z
  .strictObject({
    /** Where the daemon keeps what commands change of tenants; without it they last until it ends. */
    file: z.string().startsWith('/', 'must be an absolute path, such as /var/lib/urnic/store').optional(),
    /** Members of the etcd cluster that the hosts share. */
    etcd: z
      .array(z.string().regex(/^https?:\/\/[^/]+\/?$/, 'must be a URL such as http://192.0.2.9:2379'))
      .min(1, 'name at least one member')
      .optional(),
    /** Before every key in etcd. */
    prefix: z
      .string()
      .regex(/^[!-.0-~][!-~]*\/$/, "must end with '/', such as urnic/")
      .default('urnic/'),
    /** Seconds after which a host that etcd has not heard of is gone. */
    ttl: z.number().int().min(2).max(3600).default(10),
    /** This host's name in etcd; its host name by default. */
    name: z
      .string()
      .regex(/^[^/\s]{1,253}$/, 'must be a name without blanks and slashes')
      .optional(),
    user: z.string().optional(),
    password: z.string().optional(),
    /** PEM files: the authority that etcd's certificate is signed by, where that is not one of the system's; and this host's own certificate. */
    ca: PemPath.optional(),
    cert: PemPath.optional(),
    key: PemPath.optional(),
  })
  .refine(({ file, etcd }) => (file === undefined) !== (etcd === undefined), 'give file or etcd, one of the two')
  .refine(({ user, password }) => (user === undefined) === (password === undefined), 'user and password go together')
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'cert and key go together')
  .refine(
    ({ etcd = [], ca, cert }) => (ca ?? cert) === undefined || etcd.every((url) => url.startsWith('https:')),
    'ca and cert are for members at https: URLs',
  );

const isPort = ({ kind = 'vrnic' }: { kind?: string | undefined }): boolean => kind !== 'vrnic';

const Configuration = z
  .strictObject({
    /** Worker threads at most; vRNICs share them when there are more. */
    workers: z.number().int().min(1).max(256).default(2),
    /** Microseconds to poll before sleeping. */
    spin: z
      .union([z.number().min(0).max(1e6), z.literal('always')], "must be microseconds, 0 … 1000000, or 'always'")
      .default(50),
    log: z.enum(['silent', 'error', 'warn', 'info', 'debug']).default('info'),
    store: StoreText.optional(),
    tenants: z.array(TenantText).default([]),
    vrnics: z.array(VrnicText).default([]),
  })
  .refine(
    ({ vrnics, tenants, store }) =>
      vrnics.length > 0 || store || tenants.some(({ endpoints }) => endpoints.some(isPort)),
    { path: ['vrnics'], message: "name at least one vRNIC, or a tenant's tap or veth" },
  );

export type Configuration = z.infer<typeof Configuration>;

type Document = ReturnType<typeof parseDocument>;

export class ConfigurationError extends Error {}

/** @throws ConfigurationError `urnic.yaml:7: vrnics[0].netdev: …`. */
export function loadConfiguration(path: string): Configuration {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigurationError(`${path}: ${(error as Error).message}; give a file with -c`);
  }
  return parseConfiguration(text, path);
}

export function parseConfiguration(text: string, path = 'urnic.yaml'): Configuration {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const refusal = (offset: number, words: string): ConfigurationError =>
    new ConfigurationError(`${path}:${lines.linePos(offset).line}: ${words}`);
  const [broken] = document.errors;
  if (broken) throw refusal(broken.pos[0], broken.message.split('\n')[0]!);
  const { data, fault } = checkedBy(Configuration, contentsOf(document, refusal));
  if (fault) throw refusal(offsetOf(document, fault.at), `${memberText(fault.at) || 'the file'}: ${fault.text}`);
  const found = faultOf(data);
  if (found) throw refusal(offsetOf(document, found.at), found.text);
  return data;
}

function faultOf(configuration: Configuration): Fault | undefined {
  const found = faultOfTenants(configuration.tenants.map(toTenant));
  return found ? { at: ['tenants', ...found.at], text: found.text } : faultOfVrnics(configuration);
}

function contentsOf(document: Document, refusal: (offset: number, words: string) => Error): unknown {
  try {
    return document.toJS() ?? {};
  } catch (error) {
    const aliases: Alias[] = [];
    visit(document, { Alias: (_key, alias) => void aliases.push(alias) });
    const dangling = aliases.find((alias) => !alias.resolve(document));
    if (dangling) {
      const { source } = dangling;
      throw refusal(dangling.range![0], `*${source} stands for nothing: put &${source} before what it is to stand for`);
    }
    const offset = aliases[0]?.range?.[0] ?? 0;
    throw refusal(offset, `${(error as Error).message}: write out what aliases stand for`);
  }
}

/** Where the nearest node begins that exists. */
function offsetOf(document: Document, at: readonly PropertyKey[]): number {
  for (let length = at.length; length >= 0; length--) {
    const node = document.getIn(at.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}
