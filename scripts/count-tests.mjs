/** Counts the assertions of TAP streams: the line that CI reads. A file's last result counts: one that failed may have been run again. Nothing counted is a failure. */
import { readFileSync } from 'node:fs';

const FILE_ENDS = /^(not )?ok \d+ - (\S+\.test\.js)/;
const byFile = new Map();

function count(lines) {
  let counts = { passed: 0, failed: 0, skipped: 0 };
  for (const line of lines) {
    const found = /^\s*(not )?ok \d+(.*)$/.exec(line);
    if (!found) continue;
    // A subtest's closing line counts nothing of its own, but a file that fails as a whole (it did not even load) is a failure.
    const isClosing = /# time=/.test(found[2]);
    const isFailedFile = found[1] && FILE_ENDS.test(line);
    if (!isClosing || isFailedFile) {
      if (/# SKIP/i.test(found[2])) counts.skipped++;
      else counts[found[1] ? 'failed' : 'passed']++;
    }
    const file = FILE_ENDS.exec(line)?.[2];
    if (file === undefined) continue;
    byFile.set(file, counts);
    counts = { passed: 0, failed: 0, skipped: 0 };
  }
  return counts;
}

const total = { passed: 0, failed: 0, skipped: 0 };
const add = (counts) => {
  for (const key of Object.keys(total)) total[key] += counts[key];
};
for (const path of process.argv.slice(2)) add(count(readFileSync(path, 'utf8').split('\n')));
for (const counts of byFile.values()) add(counts);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (total.passed === 0 || total.failed > 0) process.exit(1);
