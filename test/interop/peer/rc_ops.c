/*
 * WRITE, READ, atomics and immediate data over one RC connection, for the interoperability tests: runs in the rxe peer.
 *
 *   rc_ops server PORT GID_INDEX MTU          offers 1 MiB of memory, then says what became of it
 *   rc_ops client HOST PORT GID_INDEX MTU     works on the server's memory and checks every octet and result
 *
 * Both sides say one line over TCP, `QPN PSN GID(32 hex digits) RKEY ADDR`, numbers in decimal. The client says `done` when it has finished; the server answers
 * `sum N`, the sum of all octets of its memory, and both end.
 */
#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES (1 << 20)
#define CELL 8192 /* where the atomics work */
#define RECEIVED (1 << 19) /* where SENDs land */
#define IMMEDIATES 5

#define CHECK(condition, ...) do { if (!(condition)) { fprintf(stderr, __VA_ARGS__); fprintf(stderr, " (%s)\n", #condition); exit(1); } } while (0)

struct end { uint32_t qpn, psn; union ibv_gid gid; uint32_t rkey; uint64_t addr; };

static struct ibv_cq *cq;
static struct ibv_qp *qp;
static struct ibv_mr *mr;
static uint8_t *memory;

static FILE *from_peer, *to_peer;

static void say(FILE *peer, const struct end *e) {
  fprintf(peer, "%u %u ", e->qpn, e->psn);
  for (int i = 0; i < 16; i++) fprintf(peer, "%02x", e->gid.raw[i]);
  fprintf(peer, " %u %llu\n", e->rkey, (unsigned long long)e->addr);
  fflush(peer);
}

static void hear(FILE *peer, struct end *e) {
  char gid[33];
  unsigned long long addr;
  CHECK(fscanf(peer, "%u %u %32s %u %llu", &e->qpn, &e->psn, gid, &e->rkey, &addr) == 5, "no address from the peer");
  e->addr = addr;
  for (int i = 0; i < 16; i++) { unsigned octet; sscanf(gid + 2 * i, "%2x", &octet); e->gid.raw[i] = octet; }
}

static void connect_to(const struct end *self, const struct end *peer, int gid_index, int mtu) {
  struct ibv_qp_attr rtr = { .qp_state = IBV_QPS_RTR, .path_mtu = mtu, .dest_qp_num = peer->qpn, .rq_psn = peer->psn, .max_dest_rd_atomic = 4, .min_rnr_timer = 12,
    .ah_attr = { .is_global = 1, .port_num = 1, .grh = { .dgid = peer->gid, .sgid_index = gid_index, .hop_limit = 64 } } };
  CHECK(!ibv_modify_qp(qp, &rtr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER), "RTR");
  struct ibv_qp_attr rts = { .qp_state = IBV_QPS_RTS, .sq_psn = self->psn, .timeout = 14, .retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 4 };
  CHECK(!ibv_modify_qp(qp, &rts, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC), "RTS");
}

static void run(struct ibv_send_wr wr, uint64_t offset, uint32_t length) {
  struct ibv_sge sge = { .addr = (uintptr_t)memory + offset, .length = length, .lkey = mr->lkey };
  struct ibv_send_wr *bad;
  struct ibv_wc wc;
  wr.sg_list = &sge;
  wr.num_sge = 1;
  wr.send_flags = IBV_SEND_SIGNALED;
  CHECK(!ibv_post_send(qp, &wr, &bad), "post");
  while (ibv_poll_cq(cq, 1, &wc) == 0) {}
  CHECK(wc.status == IBV_WC_SUCCESS, "%s", ibv_wc_status_str(wc.status));
}

static void work(const struct end *peer) {
  for (uint32_t length = 1; length <= BYTES / 2; length = length * 4 + 3) {
    for (uint32_t i = 0; i < length; i++) memory[i] = i * 7 + length;
    run((struct ibv_send_wr){ .opcode = IBV_WR_RDMA_WRITE, .wr.rdma = { peer->addr, peer->rkey } }, 0, length);
    memset(memory + BYTES / 2, 0, length);
    run((struct ibv_send_wr){ .opcode = IBV_WR_RDMA_READ, .wr.rdma = { peer->addr, peer->rkey } }, BYTES / 2, length);
    CHECK(!memcmp(memory, memory + BYTES / 2, length), "READ of %u octets brought others than were written", length);
  }
  uint64_t *result = (uint64_t *)memory, zero = 0;
  memcpy(memory + 64, &zero, 8);
  run((struct ibv_send_wr){ .opcode = IBV_WR_RDMA_WRITE, .wr.rdma = { peer->addr + CELL, peer->rkey } }, 64, 8);
  for (uint64_t i = 0; i < 20; i++) {
    run((struct ibv_send_wr){ .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .wr.atomic = { .remote_addr = peer->addr + CELL, .compare_add = 0x100000001ull, .rkey = peer->rkey } }, 0, 8);
    CHECK(*result == i * 0x100000001ull, "FETCH_ADD %llu returned %llx", (unsigned long long)i, (unsigned long long)*result);
  }
  run((struct ibv_send_wr){ .opcode = IBV_WR_ATOMIC_CMP_AND_SWP, .wr.atomic = { .remote_addr = peer->addr + CELL, .compare_add = 1, .swap = 2, .rkey = peer->rkey } }, 0, 8);
  CHECK(*result == 20 * 0x100000001ull, "a CMP_SWAP that misses returned %llx", (unsigned long long)*result);
  run((struct ibv_send_wr){ .opcode = IBV_WR_ATOMIC_CMP_AND_SWP, .wr.atomic = { .remote_addr = peer->addr + CELL, .compare_add = 20 * 0x100000001ull, .swap = 77, .rkey = peer->rkey } }, 0, 8);
  run((struct ibv_send_wr){ .opcode = IBV_WR_RDMA_READ, .wr.rdma = { peer->addr + CELL, peer->rkey } }, 0, 8);
  CHECK(*result == 77, "after CMP_SWAP the cell holds %llx", (unsigned long long)*result);
  for (uint32_t i = 0; i < IMMEDIATES; i++) {
    uint32_t length = i * 700;
    run((struct ibv_send_wr){ .opcode = IBV_WR_SEND_WITH_IMM, .imm_data = htonl(0xa0000000 + i) }, 0, length);
    run((struct ibv_send_wr){ .opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .imm_data = htonl(0xb0000000 + i), .wr.rdma = { peer->addr, peer->rkey } }, 0, length);
  }
}

static void post_receives(void) {
  struct ibv_sge sge = { .addr = (uintptr_t)memory + RECEIVED, .length = 1 << 16, .lkey = mr->lkey };
  struct ibv_recv_wr wr = { .sg_list = &sge, .num_sge = 1 }, *bad;
  for (int i = 0; i < 2 * IMMEDIATES; i++) CHECK(!ibv_post_recv(qp, &wr, &bad), "post_recv");
}

static void expect_immediates(void) {
  for (uint32_t i = 0; i < 2 * IMMEDIATES; i++) {
    struct ibv_wc wc;
    while (ibv_poll_cq(cq, 1, &wc) == 0) {}
    uint32_t expected = (i % 2 ? 0xb0000000 : 0xa0000000) + i / 2;
    CHECK(wc.status == IBV_WC_SUCCESS && (wc.wc_flags & IBV_WC_WITH_IMM), "receive %u: %s", i, ibv_wc_status_str(wc.status));
    CHECK(wc.opcode == (i % 2 ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV), "receive %u: opcode %d", i, wc.opcode);
    CHECK(ntohl(wc.imm_data) == expected && wc.byte_len == i / 2 * 700, "receive %u: immediate %x, %u octets", i, ntohl(wc.imm_data), wc.byte_len);
  }
}

static int tcp(int is_server, const char *host, const char *port) {
  struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = is_server ? AI_PASSIVE : 0, .ai_family = AF_INET }, *found;
  CHECK(!getaddrinfo(is_server ? NULL : host, port, &hints, &found), "address");
  int fd = socket(found->ai_family, SOCK_STREAM, 0), one = 1;
  if (!is_server) { CHECK(!connect(fd, found->ai_addr, found->ai_addrlen), "connect"); return fd; }
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  CHECK(!bind(fd, found->ai_addr, found->ai_addrlen) && !listen(fd, 1), "listen");
  return accept(fd, NULL, NULL);
}

int main(int argc, char **argv) {
  CHECK(argc >= 5, "usage: rc_ops server PORT GID MTU | client HOST PORT GID MTU");
  int is_server = !strcmp(argv[1], "server");
  char **rest = argv + (is_server ? 2 : 3);
  int gid_index = atoi(rest[1]), bytes = atoi(rest[2]), mtu = 1;
  while ((128 << mtu) < bytes) mtu++;

  struct ibv_device **devices = ibv_get_device_list(NULL);
  CHECK(devices && devices[0], "no device");
  struct ibv_context *context = ibv_open_device(devices[0]);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  memory = aligned_alloc(4096, BYTES);
  memset(memory, 0, BYTES);
  int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
  mr = ibv_reg_mr(pd, memory, BYTES, access);
  cq = ibv_create_cq(context, 16, NULL, NULL, 0);
  struct ibv_qp_init_attr init = { .send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .cap = { 16, 16, 1, 1, 0 } };
  qp = ibv_create_qp(pd, &init);
  CHECK(mr && cq && qp, "objects");
  struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = access };
  CHECK(!ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS), "INIT");

  struct end self = { .qpn = qp->qp_num, .psn = 0xfffff8, .rkey = mr->rkey, .addr = (uintptr_t)memory }, other;
  CHECK(!ibv_query_gid(context, 1, gid_index, &self.gid), "gid");
  int fd = tcp(is_server, argv[2], rest[0]);
  from_peer = fdopen(fd, "r");
  to_peer = fdopen(dup(fd), "w");
  if (is_server) { post_receives(); hear(from_peer, &other); connect_to(&self, &other, gid_index, mtu); say(to_peer, &self); }
  else { say(to_peer, &self); hear(from_peer, &other); connect_to(&self, &other, gid_index, mtu); }

  char word[16];
  unsigned long sum = 0;
  if (is_server) {
    CHECK(fscanf(from_peer, "%15s", word) == 1 && !strcmp(word, "done"), "the client did not finish");
    expect_immediates();
    for (int i = 0; i < BYTES; i++) sum += memory[i];
    fprintf(to_peer, "sum %lu\n", sum);
  } else {
    work(&other);
    fprintf(to_peer, "done\n");
    fflush(to_peer);
    CHECK(fscanf(from_peer, "%15s %lu", word, &sum) == 2 && !strcmp(word, "sum"), "no sum");
  }
  fflush(to_peer);
  printf("ok sum %lu\n", sum);
  return 0;
}
