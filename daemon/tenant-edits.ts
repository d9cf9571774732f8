/** What a command makes of a tenant: texts in, texts out. */
import type { z } from 'zod';
import { isAddress } from './address-syntax.ts';
import { canonical } from './addresses.ts';
import { EndpointText, type LimitText, NameText, QuotasText, type RuleText, TenantText } from './configuration.ts';
import { checkedBy, memberText } from './schema-faults.ts';

export const TENANT_OPS = [
  ...(['addTenant', 'setTenant', 'deleteTenant'] as const),
  ...(['addRule', 'deleteRule', 'addEndpoint', 'deleteEndpoint', 'moveEndpoint', 'setLimit'] as const),
] as const;
export type TenantOp = (typeof TENANT_OPS)[number];

/** An endpoint as a command changes it: null takes it out of its group, or takes its quotas away. */
export const EndpointChange = EndpointText.extend({
  group: NameText.nullable().optional(),
  quotas: QuotasText.nullable().optional(),
});

export interface Change {
  readonly rule?: z.infer<typeof RuleText> | undefined;
  readonly endpoint?: z.infer<typeof EndpointChange> | undefined;
  /** None: no limit any more. */
  readonly limit?: z.infer<typeof LimitText> | undefined;
  /** Of the tenant itself, as in urnic.yaml. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
  /** What is deleted, or limited: a rule's id, an endpoint's address. */
  readonly key?: string | undefined;
}

/** Undefined: the tenant is no more. @throws Error in words: no such tenant, no such rule, already there. */
export function edited(
  name: string,
  before: TenantText | undefined,
  op: TenantOp,
  change: Change,
): TenantText | undefined {
  if (op === 'addTenant') {
    if (before) throw new Error(`there is a tenant named ${name} already`);
    return checked({ ...change.settings, name });
  }
  if (!before) throw new Error(`no tenant named ${JSON.stringify(name)}`);
  if (op === 'deleteTenant') return undefined;
  if (op === 'setTenant') return checked({ ...before, ...change.settings, name });
  if (op === 'setLimit') return limited(before, change);
  if (op === 'addRule' || op === 'deleteRule') return { ...before, rules: editedRules(before, op, change) };
  return { ...before, endpoints: editedEndpoints(before, op, change) };
}

/** With the rules and endpoints of the other, which has the same name. */
export const joined = (tenant: TenantText, { rules, endpoints }: TenantText): TenantText => ({
  ...tenant,
  rules: [...tenant.rules.filter(({ id }) => !rules.some((one) => one.id === id)), ...rules],
  endpoints: [
    ...tenant.endpoints.filter(({ address }) => !endpoints.some((one) => one.address === address)),
    ...endpoints,
  ],
});

/** Null takes a setting away. */
function checked(settings: object): TenantText {
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null));
  const { data, fault } = checkedBy(TenantText, given);
  if (fault) throw new Error(`${memberText(fault.at) || 'tenant'}: ${fault.text}`);
  return data;
}

function editedRules({ name, rules }: TenantText, op: TenantOp, { rule, key = '' }: Change): TenantText['rules'] {
  if (op === 'deleteRule') return without(rules, ({ id }) => id === key, `tenant ${name} has no rule ${key}`);
  if (!rule) throw new Error(`${op} lacks the rule`);
  if (rules.some(({ id }) => id === rule.id)) throw new Error(`tenant ${name} has a rule ${rule.id} already`);
  return [...rules, rule];
}

/** An endpoint that is there already moves, and keeps what is not said anew. */
function editedEndpoints(
  { name, endpoints }: TenantText,
  op: TenantOp,
  { endpoint, key = '' }: Change,
): TenantText['endpoints'] {
  if (op === 'deleteEndpoint') {
    const text = isAddress(key) ? canonical(key) : key;
    return without(endpoints, ({ address }) => address === text, `tenant ${name} has no endpoint ${key}`);
  }
  if (!endpoint) throw new Error(`${op} lacks the endpoint`);
  const before = endpoints.find(({ address }) => address === endpoint.address);
  if (op === 'moveEndpoint' && !before) throw new Error(`tenant ${name} has no endpoint ${endpoint.address}`);
  const { group, quotas, ...after } = { ...before, ...endpoint };
  const kept = { ...after, ...(group && { group }), ...(quotas && { quotas }) };
  return [...endpoints.filter((one) => one !== before), kept];
}

/** `key`: of this endpoint; of the whole tenant when it is empty. */
function limited(tenant: TenantText, { key = '', limit = {} }: Change): TenantText {
  if (key === '') return { ...tenant, limit };
  const text = isAddress(key) ? canonical(key) : key;
  const endpoint = tenant.endpoints.find(({ address }) => address === text);
  if (!endpoint) throw new Error(`tenant ${tenant.name} has no endpoint ${key}`);
  return { ...tenant, endpoints: tenant.endpoints.map((one) => (one === endpoint ? { ...one, limit } : one)) };
}

function without<T>(list: readonly T[], isIt: (one: T) => boolean, otherwise: string): T[] {
  if (!list.some(isIt)) throw new Error(otherwise);
  return list.filter((one) => !isIt(one));
}
