/** What limits mean beside one another. */
import type { Limit } from './model.ts';

export const sameLimit = (a: Limit, b: Limit): boolean =>
  a.rate === b.rate && a.burst === b.burst && a.guarantee === b.guarantee;
