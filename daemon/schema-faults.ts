/** What a schema finds wrong with a value, in words that say what is wanted. */
import type { z } from 'zod';

/** What is wrong, in words with the fix, and with which member of what was looked at: `['endpoints', 1, 'mac']`. */
export interface Fault {
  readonly at: readonly PropertyKey[];
  readonly text: string;
}

type Checked<T> =
  | { readonly data: T; readonly fault?: undefined }
  | { readonly data?: undefined; readonly fault: Fault };

/** The value as the schema makes it, or the first fault. A member that is unknown is named, too. */
export function checkedBy<T>(schema: z.ZodType<T>, value: unknown): Checked<T> {
  const { success, data, error } = schema.safeParse(value, { error: wordsOf });
  if (success) return { data };
  const issue = error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  return { fault: { at: [...issue.path, ...unknown], text: issue.message } };
}

/** `vrnics[0].netdev`; empty: the whole. */
export const memberText = (at: readonly PropertyKey[]): string =>
  at
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');

const KINDS: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text (in quotes where it looks like a number)',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping of members to values',
};

/** Undefined: the schema's own words. */
function wordsOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'unrecognized_keys') {
    const { shape } = issue.inst as z.ZodObject;
    return `there is no such member: known are ${Object.keys(shape).join(', ')}`;
  }
  if (issue.code !== 'invalid_type') return undefined;
  const wanted = KINDS[issue.expected] ?? issue.expected;
  return issue.input === undefined ? `is missing: it must be ${wanted}` : `must be ${wanted}`;
}
