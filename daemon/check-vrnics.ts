/** Whether the vRNICs of a configuration can be told apart, and have the places that they name. */
import type { Configuration, VrnicText } from './configuration.ts';
import type { Fault } from './schema-faults.ts';

/** Undefined: nothing is wrong. */
export function faultOfVrnics({ vrnics, tenants, store }: Configuration): Fault | undefined {
  const names = new Set<string>();
  const places = new Map<string, string>();
  for (const [i, vrnic] of vrnics.entries()) {
    const { name, tenant, address } = vrnic;
    if (names.has(name))
      return { at: ['vrnics', i, 'name'], text: `two vRNICs are named ${name}: give each its own name` };
    names.add(name);
    if (tenant === undefined) continue;
    // Other hosts, and commands, may have made what is not in the file.
    const fault = faultOfPlace(vrnic, tenants, store !== undefined);
    if (fault) return { at: ['vrnics', i, ...fault.at], text: `vRNIC ${name}: ${fault.text}` };
    const other = places.get(`${tenant} ${address}`);
    if (other !== undefined) {
      const text = `vRNICs ${other} and ${name} are both endpoint ${address} of tenant ${tenant}: give each its own`;
      return { at: ['vrnics', i, 'address'], text };
    }
    places.set(`${tenant} ${address}`, name);
  }
  return undefined;
}

function faultOfPlace(
  { tenant, address }: VrnicText,
  tenants: Configuration['tenants'],
  mayBeElsewhere: boolean,
): Fault | undefined {
  const found = tenants.find(({ name }) => name === tenant);
  const endpoint = found?.endpoints.find((one) => one.address === address);
  const { kind = 'vrnic' } = endpoint ?? {};
  if (kind !== 'vrnic') {
    const text = `endpoint ${address} of tenant ${tenant} is a ${kind}: name another one, or take its kind away`;
    return { at: ['address'], text };
  }
  if (endpoint || mayBeElsewhere) return undefined;
  return found
    ? { at: ['address'], text: `tenant ${tenant} has no endpoint ${address}: add it to the tenant's endpoints` }
    : { at: ['tenant'], text: `there is no tenant ${tenant}: add it to tenants` };
}
