#!/usr/bin/env node
/** The `urnic` command. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { addDecode } from './commands/decode.ts';
import { addDemo } from './commands/demo.ts';
import { addDevice } from './commands/device.ts';
import { addFuzz } from './commands/fuzz.ts';
import { addPingpong } from './commands/pingpong.ts';
import { addRping } from './commands/rping.ts';
import { addRun } from './commands/run.ts';
import { addSim } from './commands/sim.ts';
import { addStore } from './commands/store.ts';
import { addTenant } from './commands/tenant.ts';
import { addUp } from './commands/up.ts';
import { addVrnic } from './commands/vrnic.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const program = new Command('urnic')
  .description('RDMA on any Linux machine, in user space')
  .version(version)
  .enablePositionalOptions()
  .showHelpAfterError();

addUp(program);
addDemo(program, fileURLToPath(import.meta.url));
addPingpong(program);
addDevice(program);
addDecode(program);
addRping(program);
addTenant(program);
addStore(program);
addVrnic(program);
addRun(program);
addSim(program);
addFuzz(program);

try {
  await program.parseAsync();
} catch (error) {
  console.error(`urnic: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
