/** What people command on hosts: rules, moves, groups, endpoints and vRNICs that go and come again, underlays, tenants that are deleted and made anew. */
import type { Rule } from '../../../vswitch/model.ts';
import type { Random } from '../sim/random.ts';
import { ADDRESSES, CATALOGUE, claimOf, homesOf, TENANTS, VNIS, vtepOf } from './catalogue.ts';
import type { Host } from './host.ts';
import type { Facts, Ledger } from './referee.ts';

const UNDERLAYS = ['vxlan', 'translate', 'local', 'auto'] as const;

export class Commands {
  readonly #random: Random;
  readonly #ledger: Ledger;
  readonly #count: (what: string) => void;
  #nextRule = 0;

  /** @param count Is told of each command what it was, once it is answered. */
  constructor(random: Random, ledger: Ledger, count: (what: string) => void) {
    this.#random = random;
    this.#ledger = ledger;
    this.#count = count;
  }

  /** One, on that host. */
  give(host: Host): void {
    const tenant = this.#random.pick(TENANTS);
    const choice = this.#random.below(100);
    const facts = this.#ledger.last.tenants.get(tenant);
    if (!facts) this.#command('tenants', host.change(tenant, 'addTenant', { settings: { vni: this.#vniOf(tenant) } }));
    else if (choice < 36) this.#changeRules(host, facts);
    else if (choice < 54) this.#move(host, facts);
    else if (choice < 64) this.#regroup(host, facts);
    else if (choice < 84) this.#deleteOrAdd(host, facts);
    else if (choice < 90) this.#changeVrnics(host, tenant);
    else if (choice < 96)
      this.#command(
        'underlays',
        host.change(tenant, 'setTenant', { settings: { underlay: this.#random.pick(UNDERLAYS) } }),
      );
    else if (choice < 98)
      this.#command('vnis', host.change(tenant, 'setTenant', { settings: { vni: this.#vniOf(tenant) } }));
    else this.#command('deletedTenants', host.change(tenant, 'deleteTenant', {}));
  }

  /** Mostly the same one. */
  #vniOf(tenant: string): number {
    return VNIS[tenant]! + (this.#random.chance(0.3) ? 1 : 0);
  }

  #command(what: string, done: Promise<string | undefined>): void {
    void done.then((fault) => this.#count(fault === undefined ? what : 'refusedCommands'));
  }

  #changeRules(host: Host, { name, rules }: Facts): void {
    const random = this.#random;
    if (rules.length > 0 && random.chance(0.6)) {
      const key = random.pick(rules).id;
      return this.#command('rules', host.change(name, 'deleteRule', { key }));
    }
    const prefix = (): string => (random.chance(0.15) ? random.pick(['any', '0.0.0.0/0']) : random.pick(ADDRESSES));
    const rule = {
      id: `r${this.#nextRule++}`,
      priority: random.below(4),
      action: random.chance(0.8) ? ('deny' as const) : ('allow' as const),
      source: prefix(),
      destination: prefix(),
      direction: random.pick<NonNullable<Rule['direction']>>(['in', 'out', 'both']),
      transport: random.pick<NonNullable<Rule['transport']>>(['any', 'any', 'rc', 'ud']),
    };
    this.#command('rules', host.change(name, 'addRule', { rule }));
  }

  /** To one of its homes, as a command says. */
  #move(host: Host, { name, endpoints }: Facts): void {
    if (endpoints.size === 0) return;
    const { address } = this.#random.pick([...endpoints.values()]);
    const to = vtepOf(this.#random.pick(homesOf(name, address)));
    this.#command('moves', host.change(name, 'moveEndpoint', { endpoint: { address, host: to } }));
  }

  #regroup(host: Host, { name, endpoints }: Facts): void {
    if (endpoints.size === 0) return;
    const { address, host: at, group } = this.#random.pick([...endpoints.values()]);
    const next = group === undefined && this.#random.chance(0.5) ? 'g' : null;
    this.#command('groups', host.change(name, 'moveEndpoint', { endpoint: { address, host: at, group: next } }));
  }

  #deleteOrAdd(host: Host, { name, endpoints }: Facts): void {
    const random = this.#random;
    const absent = CATALOGUE.filter(({ address }) => !endpoints.has(address));
    if (absent.length === 0 || random.chance(0.2))
      return this.#command('deleted', host.change(name, 'deleteEndpoint', { key: random.pick(CATALOGUE).address }));
    const { address } = random.pick(absent);
    const { more } = claimOf({ tenant: name, address }, 0);
    const at = vtepOf(random.pick(homesOf(name, address)));
    this.#command('added', host.change(name, 'addEndpoint', { endpoint: { ...more, address, host: at } }));
  }

  #changeVrnics(host: Host, tenant: string): void {
    const random = this.#random;
    const { address } = random.pick(CATALOGUE.filter(({ kind }) => kind === 'vrnic'));
    if (!homesOf(tenant, address).includes(host.index)) return;
    if (host.claimed.has(`${tenant} ${address}`)) this.#command('vrnics', host.deleteVrnic({ tenant, address }));
    else this.#command('vrnics', host.addVrnic({ tenant, address }, random.chance(0.5)));
  }
}
