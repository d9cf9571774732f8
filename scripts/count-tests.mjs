/** Counts the assertions of a TAP stream: the line that CI reads. Nothing counted is a failure. */
import { readFileSync } from 'node:fs';

const counts = { passed: 0, failed: 0, skipped: 0 };
for (const line of readFileSync(process.argv[2], 'utf8').split('\n')) {
  const found = /^\s*(not )?ok \d+(.*)$/.exec(line);
  if (!found) continue;
  // A subtest's closing line counts nothing of its own, but a file that fails as a whole (it did not even load) is a failure.
  const isClosing = /# time=/.test(found[2]);
  if (isClosing && !(found[1] && /\.test\.js # time=/.test(found[2]))) continue;
  if (/# SKIP/i.test(found[2])) counts.skipped++;
  else counts[found[1] ? 'failed' : 'passed']++;
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
if (counts.passed === 0) process.exit(1);
