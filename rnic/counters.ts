/**
 * Every counter of a vRNIC, by name: one list gives the index, the name that `urnic stat` prints and the text that explains it. Linux rxe's and mlx5's names where they have
 * one (rxe_hw_counters.c, mlx5 `hw_counters`), so that existing dashboards read them.
 */
const LIST = [
  ['sent_pkts', 'RoCE packets sent'],
  ['rcvd_pkts', 'RoCE packets received and accepted by a QP'],
  ['sent_bytes', 'octets of those packets, from the BTH to the ICRC'],
  ['rcvd_bytes', 'octets of those packets, from the BTH to the ICRC'],
  ['duplicate_request', 'requests received again'],
  ['out_of_sequence', 'requests received ahead of the expected PSN'],
  ['rcvd_rnr_err', 'RNR NAKs received'],
  ['send_rnr_err', 'RNR NAKs sent'],
  ['rcvd_seq_err', 'NAKs for a PSN sequence error received (mlx5: packet_seq_err)'],
  ['send_seq_err', 'NAKs for a PSN sequence error sent'],
  ['implied_nak_seq_err', 'gaps seen by a requester in READ or atomic responses'],
  ['local_ack_timeout_err', 'times that an acknowledgement did not come in time'],
  ['retry_exceeded_err', 'work requests ended because retry_cnt was used up'],
  ['retry_rnr_exceeded_err', 'work requests ended because rnr_retry was used up'],
  ['completer_retry_err', 'times that a requester went back'],
  ['retransmitted_pkts', 'packets sent again'],
  ['ack_deferred', 'acknowledgements joined into a later one'],
  ['rx_write_requests', 'RDMA WRITE requests executed'],
  ['rx_read_requests', 'RDMA READ requests executed'],
  ['rx_atomic_requests', 'atomic requests executed'],
  ['rx_send_requests', 'SEND requests executed'],
  ['req_cqe_error', 'send completions with an error other than flush'],
  ['req_cqe_flush_error', 'send completions flushed'],
  ['resp_cqe_error', 'receive completions with an error other than flush'],
  ['resp_cqe_flush_error', 'receive completions flushed'],
  ['req_remote_invalid_request', 'NAKs for an invalid request received'],
  ['req_remote_access_errors', 'NAKs for a remote access error received'],
  ['req_remote_operational_errors', 'NAKs for a remote operational error received'],
  ['resp_remote_invalid_request', 'NAKs for an invalid request sent'],
  ['resp_remote_access_errors', 'NAKs for a remote access error sent'],
  ['resp_remote_operational_errors', 'NAKs for a remote operational error sent'],
  ['resp_local_length_error', 'messages longer than their receive buffer'],
  ['out_of_buffer', 'requests that found no receive WQE (UC and UD: dropped)'],
  ['receive_awaited', 'datagrams held until their QP had a receive WQE, or until they were dropped'],
  ['reorder_held', 'out-of-order packets held until the gap closed'],
  ['reorder_full', 'out-of-order packets dropped because the pool or window was full'],
  ['np_ecn_marked_roce_packets', 'packets received with Congestion Experienced'],
  ['np_cnp_sent', 'congestion notifications sent'],
  ['rp_cnp_handled', 'congestion notifications received and honoured'],
  ['rp_cnp_ignored', 'congestion notifications received for no RC QP of ours'],
  ['limited_micros', 'microseconds for which packets waited because of a rate limit'],
  ['limit_refused', 'commands refused because the vRNIC holds as much as it may, or connects as often'],
  ['async_events_lost', 'asynchronous events dropped because nobody read them'],
  ['cq_overrun', 'completions that found their CQ full'],
  ['rx_icrc_encapsulated', 'dropped: wrong ICRC'],
  ['drop_short', 'dropped: shorter than its headers and ICRC'],
  ['drop_length', 'dropped: lengths that contradict each other'],
  ['drop_fragment', 'dropped: IPv4 fragment or options'],
  ['drop_version', 'dropped: BTH version other than 0'],
  ['drop_opcode', 'dropped: unknown or unsupported opcode'],
  ['drop_opcode_class', "dropped: opcode of a transport other than the QP's"],
  ['drop_payload_length', 'dropped: payload of a length that its opcode or the path MTU forbids'],
  ['drop_pkey', 'dropped: P_Key mismatch'],
  ['drop_qkey', 'dropped: Q_Key mismatch'],
  ['drop_no_qp', 'dropped: no such QP'],
  ['drop_quarantined_qp', 'dropped: QP destroyed a short while ago'],
  ['drop_qp_state', "dropped: the QP's state does not take it"],
  ['drop_address', "dropped: source or destination is not the connection's"],
  [
    'drop_underlay',
    'dropped: came by another way than its QP is connected by, or a datagram where only connections travel',
  ],
  ['drop_vni', "dropped: a VXLAN frame without a VNI, or of another tenant's"],
  ['drop_inner_address', 'dropped: a VXLAN frame for a MAC that no vRNIC here has'],
  ['drop_vtep', 'dropped: VXLAN from a host that is in no tenant'],
  ['drop_spoofed', 'dropped: a VXLAN frame whose sender is not who and where it says'],
  ['drop_rule', 'dropped: a rule of the tenant denies it'],
  ['drop_no_group', 'dropped: multicast without an attached QP'],
  ['drop_flood_limit', 'dropped: multicast to all hosts of the tenant, more of it than its limit lets through'],
  ['drop_duplicate_read', 'dropped: repeated READ outside the original request'],
  ['drop_duplicate_atomic', 'dropped: repeated atomic whose result is no longer kept'],
  ['drop_response', 'dropped: response that answers nothing outstanding'],
  ['drop_uc_sequence', 'dropped: UC packet of a broken message'],
  ['drop_access', 'dropped: key, rights or range refused (UC, UD)'],
  ['drop_recv_too_small', 'dropped: UD datagram longer than its receive buffer'],
  ['drop_after_nak', 'dropped: ahead of a PSN already asked for again'],
  ['drop_rnr_wait', 'dropped: ahead of a PSN that waits for a receive WQE'],
  ['wqe_invalid', 'work requests refused: opcode, SGE list or length'],
  ['wqe_protection', 'work requests ended by a local protection error'],
  ['cm_tx_msgs', 'connection management messages sent'],
  ['cm_tx_retries', 'connection management messages sent again'],
  ['cm_rx_msgs', 'connection management messages received'],
  ['cm_rx_duplicates', 'connection management messages received again'],
  ['cm_send_lost', 'connection management messages dropped: no path, or too many waiting'],
  ['cm_backlog_full', 'connection requests refused: the listener holds its backlog'],
  ['cm_drop_malformed', 'dropped: management datagram of no class, version or message that is spoken here'],
  ['cm_drop_unknown', 'dropped: connection management message for no connection of ours'],
  ['violations_exceeded', 'QPs ended for presenting too many wrong keys'],
  ['peer_violations_exceeded', 'QPs ended at a wrong key because their peer had presented too many before'],
] as const;

export type CounterName = (typeof LIST)[number][0];

/** Index of each counter, by name: `counters.add(Counter.drop_no_qp)`. */
export const Counter = Object.fromEntries(LIST.map(([name], index) => [name, index])) as Record<CounterName, number>;

export const COUNTER_NAMES: readonly CounterName[] = LIST.map(([name]) => name);

/** Doubles in shared memory: one writer (the worker), any reader. */
export class Counters {
  readonly values: Float64Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(LIST.length * 8)) {
    this.values = new Float64Array(memory);
  }

  add(index: number, count = 1): void {
    this.values[index]! += count;
  }

  get(name: CounterName): number {
    return this.values[Counter[name]] ?? 0;
  }

  toObject(): Record<CounterName, number> {
    return Object.fromEntries(COUNTER_NAMES.map((name, index) => [name, this.values[index] ?? 0])) as Record<
      CounterName,
      number
    >;
  }
}
