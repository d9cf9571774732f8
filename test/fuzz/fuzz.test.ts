/** As much of the fuzz campaign as fits into CI, with a new seed each time; `urnic fuzz` runs more, or one seed again. */
import t from 'tap';
import { Random } from '../support/sim/random.ts';
import { runCampaign } from './campaign.ts';
import { Frames } from './frames.ts';
import { notReached } from './reach.ts';

const FRAMES = 2_000_000;
const MILLIS = 30_000;
/** So many frames reach what must be reached, with any seed. */
const REACH_FRAMES = 120_000;

/** Counters that say how far frames come: every transport, every object, every refusal. */
const MOVED = [
  ...['rx_write_requests', 'rx_read_requests', 'rx_atomic_requests', 'rx_send_requests', 'duplicate_request'],
  ...['send_seq_err', 'send_rnr_err', 'rcvd_seq_err', 'rcvd_rnr_err', 'implied_nak_seq_err', 'local_ack_timeout_err'],
  ...['resp_remote_invalid_request', 'resp_remote_access_errors', 'resp_local_length_error', 'retry_exceeded_err'],
  ...['req_cqe_error', 'resp_cqe_error', 'out_of_buffer', 'reorder_held', 'np_cnp_sent', 'rp_cnp_handled'],
  ...[
    'drop_qp_state',
    'drop_opcode',
    'drop_opcode_class',
    'drop_pkey',
    'drop_qkey',
    'drop_quarantined_qp',
    'drop_response',
  ],
  ...['drop_short', 'drop_length', 'drop_fragment', 'drop_uc_sequence', 'drop_access', 'drop_duplicate_atomic'],
  ...['rx_icrc_encapsulated', 'cm_rx_msgs', 'cm_rx_duplicates', 'cm_drop_malformed', 'cm_drop_unknown'],
];
/** The engine's files that packets pass through, and the functions of them that no packet reaches by itself. */
const PASSED = [
  ...['ingress', 'rc-responder', 'uc-responder', 'ud-responder', 'receive-work', 'write-target', 'response-queue'],
  ...[
    'early-packets',
    'packet-pool',
    'waiting-datagrams',
    'rc-sender',
    'awaited-responses',
    'response-placement',
    'fatal-nak',
    'recovery',
  ],
  ...['send-window', 'repair', 'notifier', 'congestion', 'sge-list', 'cm/active-side', 'cm/passive-side', 'cm/letters'],
];
const ELSEWHERE = [
  // Six megabytes in flight.
  'handleRoom',
  // A key that goes between two packets of an answer: rare.
  '#loseRead',
  // A READ that comes again after its key has gone: rare, and drilled.
  '#passOverRead',
  // Memory here puts nothing off (test/rnic/ended-messages.test.ts).
  'refuseEnded',
  'giveUp',
  // Asked for by nobody on this way.
  'handlePacket',
  'oldest',
  'skip',
];

t.test('fuzz: mutated frames break nothing, and each has one fate', { timeout: 300_000 }, async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { frames, worlds, counters } = runCampaign({ frames: FRAMES, seed, untilMillis: Date.now() + MILLIS });
  t.comment(`seed ${seed}: ${frames} frames, ${worlds} engines; ${JSON.stringify(counters)}`);
  t.ok(frames > 10_000);
});

t.test('fuzz: the frames come far', { timeout: 300_000 }, async (t) => {
  let moved: Readonly<Record<string, number>> = {};
  const missed = await notReached(() => {
    moved = runCampaign({ frames: REACH_FRAMES, seed: 1 }).counters;
  });
  t.strictSame(
    MOVED.filter((name) => !moved[name]),
    [],
    'counters that did not move',
  );
  for (const file of PASSED)
    t.strictSame(
      (missed.get(file) ?? []).filter((name) => !ELSEWHERE.includes(name)),
      [],
      `rnic/${file}.ts: functions that no frame reached`,
    );
});

t.test('fuzz: the captures give seeds', async (t) => {
  t.ok(new Frames(new Random(1)).seeds > 100);
});
