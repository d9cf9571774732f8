/** `urnic rping`, in two namespaces: with itself and with the distribution's rping on urnic. */
import t from 'tap';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { CLI, UrnicHost } from '../uverbs/lab.ts';

const SERVER = '192.0.2.1';
const urnic = (...args: string[]): string[] => [process.execPath, CLI, 'rping', '--netdev', 'eth0', ...args];

t.test(
  'rping: urnic with urnic, and either side with librdmacm’s',
  { skip: lacks('root', 'rping', 'gcc'), timeout: 900_000 },
  async (t) => {
    const [here, there] = await twoHosts(t);

    await t.test('urnic and urnic, 10,000 octets', async (t) => {
      const server = here.spawn(t, urnic('-s', '-a', SERVER, '-S', '10000'));
      await server.waits();
      const { code, output } = await there.run(urnic('-c', '-a', SERVER, '-C', '10', '-S', '10000', '-V', '-v'));
      t.equal(code, 0, output);
      t.match(output, /ping data: rdma-ping-9: JKLMNO/);
      t.equal(await server.end(), 0, server.output);
    });

    const host = await UrnicHost.start(t, here);
    await t.test('the client is librdmacm’s', async (t) => {
      const server = there.spawn(t, urnic('-s', '-a', '192.0.2.2', '-v'));
      await server.waits();
      const { code, output } = await host.run(['rping', '-c', '-a', '192.0.2.2', '-C', '10', '-V', '-v']);
      t.equal(code, 0, output);
      t.match(output, /ping data: rdma-ping-9: JKLMNO/);
      t.equal(await server.end(), 0, server.output);
      t.match(server.output, /server ping data: rdma-ping-9: JKLMNO/);
    });

    await t.test('the server is librdmacm’s', async (t) => {
      const server = host.spawn(t, ['rping', '-s', '-a', SERVER, '-v']);
      await server.waits();
      const { code, output } = await there.run(urnic('-c', '-a', SERVER, '-C', '10', '-V', '-v'));
      t.equal(code, 0, output);
      t.equal(await server.end(), 0, server.output);
      t.match(server.output, /server ping data: rdma-ping-9: JKLMNO/);
    });

    await t.test('what cannot be is said', async (t) => {
      t.match(await here.run(urnic('-c')), { code: 1, output: /-a/ });
      t.match(await here.run(urnic('-s', '-c')), { code: 1, output: /server or client/ });
      t.match(await here.run(urnic('-c', '-a', '192.0.2.9')), { code: 1, output: /ADDR_ERROR/ });
      t.match(await there.run(urnic('-c', '-a', SERVER, '-p', '9')), { code: 1, output: /REJECTED/ });
    });
  },
);
