/*
 * A hostile program: it makes a queue pair connected to itself, keeps it busy, and meanwhile writes at random into everything that it shares with the daemon: doorbell page,
 * queue indices, work requests that are being read. argv: seconds, seed. Succeeds when it lived to the end; what its own work came to does not matter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int stop;
static uint64_t seed;

static uint32_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 16;
}

struct area { unsigned char *at; size_t bytes; };
static struct area areas[64];
static int area_count;

/* Every mapping of the queue file, small ones as librxe makes them and the beginning of the shim's own. */
static void find_areas(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, maps)) {
		unsigned long from, to;
		if (!strstr(line, "urnic-queues") || sscanf(line, "%lx-%lx", &from, &to) != 2 || area_count == 64)
			continue;
		size_t bytes = to - from > (4u << 20) ? 4u << 20 : to - from;
		areas[area_count++] = (struct area){ (unsigned char *)from, bytes };
	}
	fclose(maps);
}

static void *scribble(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		struct area *area = &areas[draw() % area_count];
		/* Mostly where indices and the first elements are. */
		size_t reach = draw() % 4 ? 4096 : area->bytes, offset = draw() % (reach / 4) * 4;
		uint32_t value = draw() % 3 ? draw() : draw() % 64;
		*(volatile uint32_t *)(area->at + offset) = value;
		if (draw() % 64 == 0)
			usleep(50);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 3;
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) | 1 : 1;
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct ibv_context *context = devices && *devices ? ibv_open_device(*devices) : NULL;
	if (!context)
		return 2;
	if (ftruncate(context->cmd_fd, 0) == 0 || errno != EPERM)
		return 3; /* the queue file must be sealed */
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_cq *cq = ibv_create_cq(context, 256, NULL, NULL, 0);
	unsigned char *memory = calloc(1, 65536);
	struct ibv_mr *mr = ibv_reg_mr(pd, memory, 65536, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	struct ibv_qp_init_attr init = { .send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .cap = { 64, 64, 4, 4, 64 } };
	struct ibv_qp *qp = ibv_create_qp(pd, &init);
	union ibv_gid gid;
	if (!pd || !cq || !mr || !qp || ibv_query_gid(context, 1, 1, &gid))
		return 4;
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ };
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		return 5;
	attr = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = qp->qp_num, .max_dest_rd_atomic = 4, .min_rnr_timer = 1,
		.ah_attr = { .is_global = 1, .port_num = 1, .grh = { .dgid = gid, .sgid_index = 1, .hop_limit = 64 } } };
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		return 6;
	attr = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS, .timeout = 10, .retry_cnt = 1, .rnr_retry = 1, .max_rd_atomic = 4 };
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		return 7;
	find_areas();
	pthread_t scribbler;
	pthread_create(&scribbler, NULL, scribble, NULL);
	for (time_t end = time(NULL) + seconds; time(NULL) < end;) {
		/* Without librxe's own checks, which would trip over the damage: rings of the doorbell are what the daemon acts on. */
		struct { uint32_t command; uint16_t in, out; uint64_t response; uint32_t qp, count, sges, size; } bell = { 28, 8, 1, 0, qp->handle, 0, 0, 0 };
		if (write(context->cmd_fd, &bell, sizeof bell) < 0 && errno != EINVAL)
			break;
		usleep(20);
	}
	atomic_store(&stop, 1);
	pthread_join(scribbler, NULL);
	return 0;
}
