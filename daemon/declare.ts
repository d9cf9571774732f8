/** What a configuration file declares, against what the store has: whatever changed in the file is put, whatever commands changed since is left. */
import type { TenantText } from './configuration.ts';
import type { Condition, Edit, Entry } from './store/control-store.ts';
import { entriesOf, tenantOfKey } from './tenant-entries.ts';

/** What each host's file declared last. */
const DECLARED = 'declared/';

type Values = Readonly<Record<string, string>>;

const read = (entry: Entry | undefined): Values | undefined => entry && (JSON.parse(entry.value) as Values);

/** To be committed in this order. The conditions keep what another host put meanwhile. */
export function editsOf(
  host: string,
  texts: readonly TenantText[],
  entries: ReadonlyMap<string, Entry>,
): { edits: Edit[]; conditions: Condition[] } {
  const ownKey = DECLARED + host;
  const before = read(entries.get(ownKey)) ?? {};
  const now: Values = Object.fromEntries(texts.flatMap((text) => [...entriesOf(text)]));
  const edits: Edit[] = gone(before, now, othersOf(ownKey, entries), entries).map((key) => ({ key }));
  for (const [key, value] of Object.entries(now)) {
    const isNew = before[key] === undefined;
    if (before[key] === value || (isNew && entries.has(key))) continue;
    edits.push({ key, value });
  }
  const conditions = edits.map(({ key }) => ({ key, revision: entries.get(key)?.revision ?? 0 }));
  const value = JSON.stringify(now);
  if (entries.get(ownKey)?.value !== value) edits.push({ key: ownKey, value });
  return { edits, conditions };
}

/** Keys that other hosts' files declare. */
function othersOf(ownKey: string, entries: ReadonlyMap<string, Entry>): Set<string> {
  const others = [...entries.values()].filter(({ key }) => key.startsWith(DECLARED) && key !== ownKey);
  return new Set(others.flatMap((entry) => Object.keys(read(entry)!)));
}

/** A tenant that the file has no more goes with everything that commands gave it. */
function gone(before: Values, now: Values, others: Set<string>, entries: ReadonlyMap<string, Entry>): string[] {
  const dropped = Object.keys(before).filter((key) => now[key] === undefined && !others.has(key) && entries.has(key));
  const tenants = new Set(dropped.filter((key) => key.startsWith('tenants/')).map(tenantOfKey));
  const theirs = [...entries.keys()].filter((key) => tenants.has(tenantOfKey(key) ?? '') && !dropped.includes(key));
  return [...dropped, ...theirs];
}
