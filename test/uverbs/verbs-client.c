/*
 * A verbs program that duplicates descriptors, forks and becomes itself again: two RC queue pairs of its own write to each other, by polling and by events, and it says what it
 * saw. With -DBY_SECCOMP for a statically linked one, whose supervisor knows descriptors by number and memory by process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#define BYTES 65536
#define CHECK(what) do { if (!(what)) { printf("failed: %s: %s\n", #what, strerror(errno)); exit(1); } } while (0)

static void connect_to(struct ibv_qp *qp, struct ibv_qp *peer, const union ibv_gid *gid)
{
	struct ibv_qp_attr init = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE };
	CHECK(ibv_modify_qp(qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0);
	struct ibv_qp_attr rtr = { .qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = peer->qp_num, .max_dest_rd_atomic = 1, .min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1, .grh = { .dgid = *gid, .sgid_index = 1, .hop_limit = 1 } } };
	CHECK(ibv_modify_qp(qp, &rtr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER) == 0);
	struct ibv_qp_attr rts = { .qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 1 };
	CHECK(ibv_modify_qp(qp, &rts, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC) == 0);
}

static void write_once(struct ibv_qp *qp, struct ibv_cq *cq, struct ibv_mr *mr, struct ibv_comp_channel *channel)
{
	struct ibv_sge sge = { (uintptr_t)mr->addr, BYTES, mr->lkey };
	struct ibv_send_wr wr = { .wr_id = 7, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { (uintptr_t)mr->addr + BYTES, mr->rkey } }, *bad;
	struct ibv_wc wc;
	void *context;
	if (channel)
		CHECK(ibv_req_notify_cq(cq, 0) == 0);
	CHECK(ibv_post_send(qp, &wr, &bad) == 0);
	if (channel) {
		CHECK(ibv_get_cq_event(channel, &cq, &context) == 0);
		ibv_ack_cq_events(cq, 1);
	}
	int found;
	while ((found = ibv_poll_cq(cq, 1, &wc)) == 0)
		;
	CHECK(found == 1 && wc.status == IBV_WC_SUCCESS && wc.wr_id == 7);
}

/* Nothing of rdma_cm is simulated here: an id is bound to the device's address, and says which device that is. */
static void bind_by_address(const char *address)
{
	struct rdma_addrinfo *found, hints = { .ai_flags = RAI_PASSIVE | RAI_NUMERICHOST, .ai_port_space = RDMA_PS_TCP };
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct rdma_cm_id *id;
	CHECK(channel);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	CHECK(rdma_getaddrinfo(address, "7471", &hints, &found) == 0);
	CHECK(rdma_bind_addr(id, found->ai_src_addr) == 0);
	CHECK(id->verbs);
	printf("bound to %s\n", ibv_get_device_name(id->verbs->device));
	CHECK(rdma_resolve_addr(id, NULL, found->ai_src_addr, 2000) == 0);
	struct rdma_cm_event *event;
	CHECK(rdma_get_cm_event(channel, &event) == 0);
	printf("%s\n", rdma_event_str(event->event));
	rdma_ack_cm_event(event);
	rdma_freeaddrinfo(found);
	rdma_destroy_id(id);
	rdma_destroy_event_channel(channel);
}

/* A child sees the device. By seccomp it may not open it: its memory is another one. */
static void try_in_child(struct ibv_device *device)
{
	int status;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct ibv_context *own = ibv_open_device(device);
		int result = own ? 1 : 2;
		if (own && ibv_close_device(own))
			result = 3;
		_exit(result);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
#ifdef BY_SECCOMP
	CHECK(WEXITSTATUS(status) == 2);
	printf("the child was refused\n");
#else
	CHECK(WEXITSTATUS(status) == 1);
	printf("the child opened its own\n");
#endif
}

/* The device's descriptors under other numbers are the device's, as long as one of them is open. */
static void duplicate(struct ibv_context *context)
{
	struct ibv_device_attr attr;
	int original = context->cmd_fd, copy = dup(original), high = fcntl(original, F_DUPFD_CLOEXEC, 800), other;
	CHECK(copy >= 0 && high >= 800);
	context->cmd_fd = copy;
	CHECK(ibv_query_device(context, &attr) == 0);
	CHECK(close(original) == 0);
	CHECK(ibv_query_device(context, &attr) == 0);
	CHECK(dup2(high, original) == original);
	other = open("/dev/null", O_WRONLY);
	CHECK(dup2(other, copy) == copy && close(copy) == 0);
	context->cmd_fd = original;
	CHECK(close(high) == 0 && ibv_query_device(context, &attr) == 0);
#ifdef BY_SECCOMP
	CHECK(dup2(original, 50) == -1 && errno == EINVAL);
#else
	CHECK(dup2(original, 50) == 50 && close(50) == 0 && ibv_query_device(context, &attr) == 0);
#endif
	close(other);
	printf("duplicates work\n");
}

/* A forked child goes on with what it has inherited. By seccomp it cannot register memory of its own. */
static void use_in_child(struct ibv_context *context, struct ibv_pd *pd)
{
	int status;
	char *memory = calloc(1, 4096);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct ibv_device_attr attr;
		if (ibv_query_device(context, &attr))
			_exit(1);
#ifdef BY_SECCOMP
		if (ibv_reg_mr(pd, memory, 4096, 0) || errno != EPERM)
			_exit(3);
#endif
		struct ibv_cq *cq = ibv_create_cq(context, 4, NULL, NULL, 0);
		_exit(cq && ibv_destroy_cq(cq) == 0 ? 0 : 2);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	free(memory);
	printf("the child used it\n");
}

/* Becoming another program closes the device: that one opens it anew. */
static void become(char **arguments)
{
	char *again[] = { arguments[0], arguments[1], "again", NULL };
	fflush(stdout);
	execv("/proc/self/exe", again);
	CHECK(0);
}

int main(int count, char **arguments)
{
	struct ibv_device **devices = ibv_get_device_list(NULL);
	CHECK(devices && devices[0]);
	try_in_child(devices[0]);
	struct ibv_context *context = ibv_open_device(devices[0]);
	CHECK(context);
	struct ibv_port_attr port;
	union ibv_gid gid;
	CHECK(ibv_query_port(context, 1, &port) == 0);
	CHECK(ibv_query_gid(context, 1, 1, &gid) == 0);
	duplicate(context);
	printf("%s is %s\n", ibv_get_device_name(devices[0]), ibv_port_state_str(port.state));
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_comp_channel *channel = ibv_create_comp_channel(context);
	CHECK(pd && channel);
	use_in_child(context, pd);
	struct ibv_cq *cq = ibv_create_cq(context, 16, NULL, channel, 0);
	CHECK(cq);
	char *memory = calloc(2, BYTES);
	struct ibv_mr *mr = ibv_reg_mr(pd, memory, 2 * BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	CHECK(mr);
	struct ibv_qp_init_attr make = { .send_cq = cq, .recv_cq = cq, .cap = { 16, 16, 1, 1, 0 }, .qp_type = IBV_QPT_RC };
	struct ibv_qp *one = ibv_create_qp(pd, &make), *other = ibv_create_qp(pd, &make);
	CHECK(one && other);
	connect_to(one, other, &gid);
	connect_to(other, one, &gid);
	for (int round = 0; round < 20; round++) {
		memset(memory, round + 1, BYTES);
		write_once(one, cq, mr, round % 2 ? channel : NULL);
		CHECK(memcmp(memory, memory + BYTES, BYTES) == 0);
	}
	printf("20 rounds\n");
	if (count == 2)
		become(arguments);
	if (count > 1)
		bind_by_address(arguments[1]);
	CHECK(ibv_destroy_qp(one) == 0 && ibv_destroy_qp(other) == 0 && ibv_dereg_mr(mr) == 0);
	CHECK(ibv_destroy_cq(cq) == 0 && ibv_destroy_comp_channel(channel) == 0 && ibv_dealloc_pd(pd) == 0);
	CHECK(ibv_close_device(context) == 0);
	ibv_free_device_list(devices);
	printf("done\n");
	return 0;
}
