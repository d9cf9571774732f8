/* One thread waits for an rdma_cm event; another asks for one, and closes the channel at once. The event comes, as it does with a kernel: the file is in use. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int channel_fd;
static uint32_t event[128]; /* the fourth word says which */
static volatile pid_t waiter;

static void *wait_for_event(void *nothing)
{
	struct { uint32_t command; uint16_t in, out; uint64_t response; } command = { 12, 8, sizeof event, (uintptr_t)event }; /* GET_EVENT */
	waiter = gettid();
	return write(channel_fd, &command, sizeof command) == sizeof command ? nothing : strerror(errno);
}

static int is_asleep(pid_t thread)
{
	char path[64], state = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
	FILE *file = fopen(path, "r");
	int found = file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1;
	if (file)
		fclose(file);
	return found && state == 'S';
}

int main(int count, char **words)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(7471) };
	struct timespec limit;
	inet_pton(AF_INET, words[count - 1], &there.sin_addr);
	for (int round = 0; round < 20; round++) {
		pthread_t thread;
		struct rdma_cm_id *id;
		void *failure = "it waits for ever";
		struct rdma_event_channel *channel = rdma_create_event_channel();
		if (!channel || rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
			return perror("rdma_create_id"), 1;
		channel_fd = channel->fd;
		waiter = 0;
		pthread_create(&thread, NULL, wait_for_event, NULL);
		while (!waiter || !is_asleep(waiter))
			usleep(1000);
		if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&there, 2000))
			return perror("rdma_resolve_addr"), 1;
		close(channel_fd);
		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_sec += 30;
		if (pthread_timedjoin_np(thread, &failure, &limit) || failure || event[3] != RDMA_CM_EVENT_ADDR_RESOLVED)
			return printf("round %d: %s, event %u\n", round, (char *)failure, event[3]), 1;
	}
	puts("every event came");
	return 0;
}
