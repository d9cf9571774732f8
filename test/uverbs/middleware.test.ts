/** What stands on verbs, as it is: UCX over RC and UD, qperf, an OpenMPI program over UCX. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { runPair, SHIM, UrnicHost } from './lab.ts';

const SERVER = '192.0.2.1';
const ucx = (transport: string, ...args: string[]): string[] => [
  ...['env', `UCX_TLS=${transport}`, 'UCX_NET_DEVICES=rxe0:1', 'UCX_IB_GID_INDEX=1'],
  ...args,
];

t.test('UCX between two urnic hosts', { skip: lacks('root', 'gcc', 'ucx_perftest'), timeout: 900_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here);
  const b = await UrnicHost.start(t, there);
  for (const transport of ['rc', 'ud']) {
    for (const test of ['tag_bw', 'tag_lat', 'ucp_put_lat', 'ucp_get']) {
      await t.test(`${transport} ${test}`, async (t) => {
        const perftest = ucx(transport, 'ucx_perftest', '-t', test, '-s', '16384', '-n', '200', '-w', '20');
        const server = ucx(transport, 'ucx_perftest');
        const [served, asked] = await runPair(t, a, b, { server, client: [...perftest, SERVER] });
        t.equal(asked.code, 0, asked.output.slice(-1500));
        t.match(asked.output, /Final:/);
        t.equal(served.code, 0, served.output.slice(-1500));
      });
    }
  }
});

t.test('qperf between two urnic hosts', { skip: lacks('root', 'gcc', 'qperf'), timeout: 900_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here);
  const b = await UrnicHost.start(t, there);
  await a.spawn(t, ['qperf']).waits();
  const tests = ['rc_bw', 'rc_lat', 'rc_rdma_read_bw', 'rc_rdma_write_bw', 'rc_rdma_write_lat'];
  const { code, output } = await b.run(['qperf', '-t', '1', '-cm', '1', SERVER, ...tests], { timeoutMillis: 120_000 });
  t.equal(code, 0, output);
  for (const test of tests) t.match(output, new RegExp(`${test}:\\s+(bw|latency)\\s+=`));
});

t.test(
  'an OpenMPI program over UCX, half of its ranks on each of two hosts',
  { skip: lacks('root', 'gcc', 'mpicc', 'mpirun'), timeout: 900_000 },
  async (t) => {
    await exclusive(t, 'machine');
    const [here, there] = await twoHosts(t);
    const a = await UrnicHost.start(t, here);
    const b = await UrnicHost.start(t, there);
    const program = join(a.folder, 'ring');
    execFileSync('mpicc', ['-O1', '-o', program, join(ROOT, 'test/uverbs/ring.c')]);
    // What stands for ssh: `agent HOST COMMAND…` runs it in the other namespace, on the vRNIC there.
    const agent = join(a.folder, 'agent');
    const environment = ['env', `TMPDIR=${b.folder}`, `LD_PRELOAD=${SHIM}`, `URNIC_VRNIC=${b.directory}`];
    const elsewhere = there.command([...environment, ...ucx('rc,self').slice(1), 'sh', '-c', '"$*"']).join(' ');
    writeFileSync(agent, `#!/bin/sh\nshift\nexec ${elsewhere}\n`, { mode: 0o755 });
    for (const ranks of [2, 4, 8]) {
      const hosts = [SERVER, '192.0.2.2'].map((host) => `${host}:${ranks / 2}`).join();
      const mpirun = ['mpirun', '--allow-run-as-root', '--mca', 'plm_rsh_agent', agent, '--mca', 'pml', 'ucx'];
      const command = [...mpirun, '--host', hosts, '-n', String(ranks), program];
      const { code, output } = await a.run(ucx('rc,self', ...command), { timeoutMillis: 240_000 });
      t.equal(code, 0, output);
      t.match(output, `${ranks} ranks agree`);
    }
    t.ok((await b.counters()).sent_pkts! > 10_000, 'and what they told each other went over the wire');
  },
);
