/** What perftest's programs can be asked: each with every transport and option that its `--help` offers. */

interface Program {
  readonly name: string;
  readonly transports: readonly ('RC' | 'UC' | 'UD')[];
  readonly options: readonly string[];
}

const BANDWIDTH = ['-b', '-q 16', '-R'];
const PROGRAMS: readonly Program[] = [
  { name: 'ib_send_bw', transports: ['RC', 'UC', 'UD'], options: ['-a', '-e', '--use-srq -q 4', ...BANDWIDTH] },
  { name: 'ib_send_lat', transports: ['RC', 'UC', 'UD'], options: ['-a', '-e', '--use-srq', '-R'] },
  { name: 'ib_write_bw', transports: ['RC', 'UC'], options: ['-a', ...BANDWIDTH] },
  { name: 'ib_write_lat', transports: ['RC', 'UC'], options: ['-a', '-R'] },
  { name: 'ib_read_bw', transports: ['RC'], options: ['-a', '-e', ...BANDWIDTH] },
  { name: 'ib_read_lat', transports: ['RC'], options: ['-a', '-e', '-R'] },
  { name: 'ib_atomic_bw', transports: ['RC'], options: ['-e', ...BANDWIDTH] },
  { name: 'ib_atomic_lat', transports: ['RC'], options: ['-e', '-R'] },
];

/** What is tested each time: every program, transport and option at least once. */
export const CHOSEN: readonly string[] = [
  'ib_send_bw -n 200',
  'ib_send_lat -n 200',
  'ib_write_bw -n 200',
  'ib_write_lat -n 200',
  'ib_read_bw -n 200',
  'ib_read_lat -n 200',
  'ib_atomic_bw -n 200',
  'ib_atomic_lat -n 200',
  'ib_write_bw -n 20 -a',
  'ib_send_bw -n 20 -a -b',
  'ib_write_bw -n 50 -q 16',
  'ib_read_bw -n 50 -q 16',
  'ib_write_bw -n 200 -b',
  'ib_atomic_bw -n 200 -b',
  'ib_send_bw -n 200 -e',
  'ib_send_lat -n 200 -e',
  'ib_read_lat -n 200 -e',
  'ib_atomic_lat -n 200 -e',
  'ib_send_bw -n 100 --use-srq -q 4',
  'ib_send_bw -n 200 -c UC',
  'ib_send_lat -n 200 -c UC',
  'ib_write_bw -n 200 -c UC',
  'ib_write_lat -n 200 -c UC',
  'ib_send_bw -n 200 -c UD',
  'ib_send_lat -n 200 -c UD',
  'ib_send_bw -n 200 -R',
  'ib_write_lat -n 200 -R',
  'ib_read_bw -n 200 -R',
  'ib_write_bw -D 2',
];

const iterations = (option: string): number => (option === '-a' ? 20 : 100);

/** "UC is not supported in librdmacm", says perftest, and ibv_create_qp(3) that a UC QP has its own receive queue. */
const isOffered = (transport: string, option: string): boolean => transport !== 'UC' || !/-R|--use-srq/.test(option);

/** All of them; `-D` with the seconds that the issue asks for. */
export const everything = (): string[] =>
  PROGRAMS.flatMap(({ name, transports, options }) =>
    transports.flatMap((transport) => [
      `${name} -c ${transport} -n 100`,
      ...options
        .filter((option) => isOffered(transport, option))
        .map((option) => `${name} -c ${transport} -n ${iterations(option)} ${option}`),
      `${name} -c ${transport} -D 5`,
    ]),
  );
