/** Rules: prefixes, priorities, and what counts where nothing matches. */
import t from 'tap';
import { prefixText, toPrefix } from '../../daemon/addresses.ts';
import { contains, judge } from '../../vswitch/judge.ts';
import type { Rule } from '../../vswitch/model.ts';
import { Transport } from '../../vswitch/transport.ts';
import { toGid } from '../../workers/linux/netdev.ts';

const rule = (id: string, priority: number, action: Rule['action'], source: string, destination: string): Rule => ({
  id,
  priority,
  action,
  source: toPrefix(source),
  destination: toPrefix(destination),
});

t.test('a prefix contains the addresses that begin with it', async (t) => {
  for (const [prefix, address, isInside] of [
    ['10.0.0.0/24', '10.0.0.255', true],
    ['10.0.0.0/24', '10.0.1.0', false],
    ['10.0.0.128/25', '10.0.0.127', false],
    ['10.0.0.128/25', '10.0.0.128', true],
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['any', '2001:db8::1', true],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['2001:db8::/33', '2001:db8:8000::1', false],
  ] as const)
    t.equal(contains(toPrefix(prefix), toGid(address)), isInside, `${address} in ${prefix}`);
  for (const text of ['any', '10.0.0.0/24', '10.0.0.1', '2001:db8::/33']) t.equal(prefixText(toPrefix(text)), text);
});

t.test('the matching rule with the highest priority decides; of two equal ones the denial; of none, yes', async (t) => {
  const verdict = (rules: Rule[], source: string, destination: string) =>
    judge(rules, toGid(source), toGid(destination), 'out', Transport.RC);
  const rules = [
    rule('wall', 10, 'deny', 'any', 'any'),
    rule('door', 20, 'allow', '10.0.0.0/24', '10.0.0.0/24'),
    rule('ban', 30, 'deny', '10.0.0.66', 'any'),
  ];
  t.strictSame(verdict(rules, '10.0.0.1', '10.0.0.2'), { isAllowed: true, rule: 'door' });
  t.strictSame(verdict(rules, '10.0.0.66', '10.0.0.2'), { isAllowed: false, rule: 'ban' });
  t.strictSame(verdict(rules, '10.0.0.1', '10.0.1.2'), { isAllowed: false, rule: 'wall' });
  t.strictSame(verdict([], '10.0.0.1', '10.0.1.2'), { isAllowed: true });
  const equal = [rule('yes', 5, 'allow', 'any', 'any'), rule('no', 5, 'deny', 'any', 'any')];
  t.equal(verdict(equal, '10.0.0.1', '10.0.0.2').rule, 'no');
  t.equal(verdict(equal.toReversed(), '10.0.0.1', '10.0.0.2').rule, 'no');
});

t.test('direction and transport: every combination of a rule and a question', async (t) => {
  const [one, two] = [toGid('10.0.0.1'), toGid('10.0.0.2')];
  const kinds = ['rc', 'uc', 'ud', 'cm', 'any'] as const;
  for (const direction of ['in', 'out', 'both'] as const)
    for (const [of, transport] of kinds.entries()) {
      const rules = [{ ...rule('no', 1, 'deny', '10.0.0.1', '10.0.0.2'), direction, transport }];
      for (const asked of ['in', 'out'] as const)
        for (const kind of Object.values(Transport)) {
          const counts = direction === 'both' || direction === asked;
          const matches = transport === 'any' || of === kind || kind === Transport.UNCLEAR;
          const what = `${direction} ${transport} asked ${asked} ${kind}`;
          t.equal(judge(rules, one, two, asked, kind).isAllowed, !(counts && matches), what);
          t.equal(judge(rules, two, one, asked, kind).isAllowed, true, 'the way back is another question');
        }
    }
});
