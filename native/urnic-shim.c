/*
 * urnic-shim: makes the libibverbs, librdmacm and librxe of a distribution talk to a urnic vRNIC where the kernel has no RDMA. Loaded with LD_PRELOAD
 * (urnic run does it). It only redirects: paths, opens, writes, and the descriptors that events come from; what a command means is decided by the
 * daemon (verbs/uverbs/). docs/unmodified-programs.md explains it call by call.
 *
 *   paths         /sys/class/infiniband*, /sys/class/misc/rdma_cm and /dev/infiniband lie in the vRNIC's directory ($URNIC_VRNIC)
 *   open          of a device node connects to the daemon, which hands over a queue file (uverbs) or an event pipe (rdma_cm)
 *   write         of a command goes to the daemon and comes back with things to do (urnic-protocol.h); doorbells and CQ arming stay in shared memory
 *   read          of events is counted, for that is what destroying an object has to report
 *   ioctl         ENOTTY: libibverbs falls back to write()
 *   socket        NETLINK_RDMA does not exist: libibverbs falls back to sysfs
 *   close, dup, fork   as a kernel device would have it
 *   a thread      waits for the daemon's end: programs that poll a CQ find an error in it
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "urnic-protocol.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif
#define NETLINK_RDMA_FAMILY 20

#ifdef URNIC_PREBUILT
/* Runs with C libraries older than the one that it is linked with: these have a younger version only since they moved between libraries (glibc 2.32, 2.34). */
__asm__(".symver dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver pthread_attr_setstacksize, pthread_attr_setstacksize@GLIBC_2.2.5");
__asm__(".symver pthread_create, pthread_create@GLIBC_2.2.5");
__asm__(".symver pthread_sigmask, pthread_sigmask@GLIBC_2.2.5");
__asm__(".symver pthread_once, pthread_once@GLIBC_2.2.5");
/* The sha256 of what it was made from: a test holds that against the sources. */
__attribute__((used)) static const char sources[] = "urnic-shim of " URNIC_PREBUILT;
#endif

/* ------------------------------------------------------------------ the C library below us */

static struct {
	int (*open)(const char *, int, ...);
	int (*openat)(int, const char *, int, ...);
	int (*close)(int);
	ssize_t (*read)(int, void *, size_t);
	ssize_t (*write)(int, const void *, size_t);
	int (*ioctl)(int, unsigned long, ...);
	int (*fcntl)(int, int, ...);
	int (*socket)(int, int, int);
	int (*dup)(int);
	int (*dup2)(int, int);
	int (*dup3)(int, int, int);
	int (*stat)(const char *, struct stat *);
	int (*lstat)(const char *, struct stat *);
	int (*fstat)(int, struct stat *);
	int (*fstatat)(int, const char *, struct stat *, int);
	int (*statx)(int, const char *, int, unsigned, struct statx *);
	int (*access)(const char *, int);
	int (*faccessat)(int, const char *, int, int);
	ssize_t (*readlink)(const char *, char *, size_t);
	ssize_t (*readlinkat)(int, const char *, char *, size_t);
	char *(*realpath)(const char *, char *);
	FILE *(*fopen)(const char *, const char *);
	DIR *(*opendir)(const char *);
	int (*scandir)(const char *, struct dirent ***, int (*)(const struct dirent *), int (*)(const struct dirent **, const struct dirent **));
} libc;

static char directory[PATH_MAX]; /* of the vRNIC */
static pid_t owner;              /* the process whose memory this is: a vfork child shares it and must not change the tables */
static unsigned generation;      /* counts forks: a child needs control sockets of its own */

static void forget_watch(void);

static void after_fork(void)
{
	owner = getpid();
	generation++;
	forget_watch();
}

static void bind_libc(void)
{
#define BIND(name) libc.name = dlsym(RTLD_NEXT, #name)
	BIND(open); BIND(openat); BIND(close); BIND(read); BIND(write); BIND(ioctl); BIND(fcntl); BIND(socket);
	BIND(dup); BIND(dup2); BIND(dup3); BIND(stat); BIND(lstat); BIND(fstat); BIND(fstatat); BIND(statx);
	BIND(access); BIND(faccessat); BIND(readlink); BIND(readlinkat); BIND(realpath); BIND(fopen); BIND(opendir); BIND(scandir);
#undef BIND
	const char *given = getenv("URNIC_VRNIC");
	snprintf(directory, sizeof directory, "%s", given ? given : "/run/urnic/vrnic");
	owner = getpid();
	pthread_atfork(NULL, NULL, after_fork);
}

/* Other libraries' constructors may come first. */
__attribute__((constructor)) static void init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, bind_libc);
}

/* ------------------------------------------------------------------ what we know of descriptors */

enum kind { PLAIN, UVERBS, CM, COMPLETIONS, ASYNC };

struct counted { uint64_t element; uint32_t kind, count; };

#define CHUNK 1024u
#define CHUNKS 1024u /* handles: 20 bits of index */

/* An open uverbs context or rdma_cm channel. Shared by duplicates of its descriptor and by its event descriptors. */
struct context {
	atomic_int uses;
	atomic_bool has_failed;  /* the daemon, or the vRNIC, is no more */
	enum kind kind;
	int control;             /* the socket */
	int wake;                /* eventfd of the worker, uverbs only */
	unsigned generation;     /* of the process that connected `control` */
	uint32_t id;             /* rdma_cm: what MIGRATE_ID names it by */
	unsigned char token[TOKEN_BYTES];
	pthread_mutex_t command; /* one request at a time */
	unsigned char *file;     /* the queue file, mapped */
	size_t file_bytes;
	uint32_t top_words, summary_at, bitmap_at, slots; /* the doorbell page: rnic/queue/doorbell.ts */
	_Atomic(uint64_t *) qps[CHUNKS];    /* by handle: state << 56 | QPN << 32 | doorbell slot */
	_Atomic(uint64_t *) qp_cqs[CHUNKS]; /* by handle of the QP: receive CQ << 32 | send CQ */
	_Atomic(uint64_t *) cqs[CHUNKS];    /* by handle: offset of the ARM word */
	pthread_mutex_t events;  /* of `counts` */
	struct counted *counts;
	size_t count_room, count_used;
};

struct descriptor { enum kind kind; uint32_t channel; dev_t device; struct context *context; };

#define DESCRIPTORS 65536
static struct descriptor table[DESCRIPTORS];

static struct descriptor *known(int fd)
{
	return fd >= 0 && fd < DESCRIPTORS && table[fd].kind != PLAIN ? &table[fd] : NULL;
}

static bool shares_memory(void) { return getpid() != owner; }

static void unwatch(struct context *c);

static void release(struct context *c)
{
	if (atomic_fetch_sub(&c->uses, 1) != 1)
		return;
	unwatch(c);
	libc.close(c->control);
	if (c->wake >= 0)
		libc.close(c->wake);
	if (c->file)
		munmap(c->file, c->file_bytes);
	for (unsigned i = 0; i < CHUNKS; i++) {
		free(atomic_load(&c->qps[i]));
		free(atomic_load(&c->qp_cqs[i]));
		free(atomic_load(&c->cqs[i]));
	}
	free(c->counts);
	free(c);
}

static void learn(int fd, enum kind kind, struct context *c, uint32_t channel, dev_t device)
{
	atomic_fetch_add(&c->uses, 1);
	table[fd] = (struct descriptor){ kind, channel, device, c };
}

static void forget(int fd)
{
	struct context *c = table[fd].context;
	table[fd] = (struct descriptor){ PLAIN, 0, 0, NULL };
	release(c);
}

/* Out of the way of programs that count their descriptors from 3. */
static int hide(int fd)
{
	int high = libc.fcntl(fd, F_DUPFD_CLOEXEC, 768);
	if (high < 0)
		return fd;
	libc.close(fd);
	return high;
}

/* ------------------------------------------------------------------ tables by handle, read without a lock */

static _Atomic uint64_t *cell(_Atomic(uint64_t *) *chunks, uint32_t handle, bool make)
{
	uint32_t index = handle & (CHUNK * CHUNKS - 1);
	uint64_t *chunk = atomic_load(&chunks[index / CHUNK]);
	if (!chunk && make) {
		uint64_t *fresh = calloc(CHUNK, sizeof *fresh);
		if (!fresh)
			return NULL;
		if (atomic_compare_exchange_strong(&chunks[index / CHUNK], &chunk, fresh))
			chunk = fresh;
		else
			free(fresh);
	}
	return chunk ? (_Atomic uint64_t *)&chunk[index % CHUNK] : NULL;
}

/* ------------------------------------------------------------------ the daemon's end */

/*
 * Who polls a CQ looks at memory only, and would poll for ever: when a context's control socket hangs up, a thread puts an error of each QP into its
 * CQs. Nobody else writes them any more: the daemon hangs up after the vRNIC's worker has ended, and a process that is killed closes its files when the last of its threads has ended. One thread for a process, and one epoll descriptor with the control sockets.
 */
static struct { int epoll; pthread_mutex_t lock; } watch = { -1, PTHREAD_MUTEX_INITIALIZER };

enum { CQ_INDEX_MASK = 4, CQ_PRODUCER = 128, CQ_CONSUMER = 256, CQ_ARM = 320, CQ_DATA = 384, CQE_BYTES = 64, CQE_STATUS = 8, CQE_QP_NUM = 28, WC_FATAL_ERR = 19 };

/* The layout of rnic/queue/layout.ts. In a full CQ the error takes the place of the newest completion. */
static void push_error(struct context *c, uint32_t cq, uint32_t qp_num)
{
	_Atomic uint64_t *entry = cell(c->cqs, cq, false);
	uint64_t arm_at = entry ? atomic_load(entry) : 0;
	if (arm_at < CQ_ARM || arm_at + CQ_DATA - CQ_ARM > c->file_bytes)
		return;
	unsigned char *queue = c->file + arm_at - CQ_ARM;
	uint32_t mask = *(uint32_t *)(queue + CQ_INDEX_MASK);
	_Atomic uint32_t *producer = (void *)(queue + CQ_PRODUCER), *consumer = (void *)(queue + CQ_CONSUMER);
	uint32_t at = atomic_load(producer) & mask, next = (at + 1) & mask;
	if (next == (atomic_load(consumer) & mask)) {
		next = at;
		at = (at - 1) & mask;
	}
	unsigned char *element = queue + CQ_DATA + (uint64_t)at * CQE_BYTES;
	if (element + CQE_BYTES > c->file + c->file_bytes)
		return;
	memset(element, 0, CQE_BYTES);
	*(uint32_t *)(element + CQE_STATUS) = WC_FATAL_ERR;
	*(uint32_t *)(element + CQE_QP_NUM) = qp_num;
	atomic_store(producer, next);
}

static void fail(struct context *c)
{
	atomic_store(&c->has_failed, true);
	for (uint32_t handle = 0; handle < CHUNK * CHUNKS; handle++) {
		_Atomic uint64_t *entry = cell(c->qps, handle, false), *ends = cell(c->qp_cqs, handle, false);
		uint64_t qp = entry ? atomic_load(entry) : 0, cqs = ends ? atomic_load(ends) : 0;
		uint32_t qp_num = qp >> 32 & 0xffffff, send_cq = cqs, receive_cq = cqs >> 32;
		if (qp_num == 0) /* none, or gone */
			continue;
		push_error(c, send_cq, qp_num);
		if (receive_cq != send_cq)
			push_error(c, receive_cq, qp_num);
	}
}

/* What hangs up is fetched under the lock: a context that is not watched any more is not there. */
static void *watch_daemons(void *epoll)
{
	struct pollfd waits = { (int)(intptr_t)epoll, POLLIN, 0 };
	for (;;) {
		struct epoll_event event;
		poll(&waits, 1, -1);
		pthread_mutex_lock(&watch.lock);
		if (epoll_wait(waits.fd, &event, 1, 0) == 1) {
			struct context *c = event.data.ptr;
			epoll_ctl(waits.fd, EPOLL_CTL_DEL, c->control, NULL);
			fail(c);
		}
		pthread_mutex_unlock(&watch.lock);
	}
	return NULL;
}

/* With a small stack, for programs that lock all memory, and deaf to the program's signals. False: without it the program runs as well. */
static bool start_watching(int epoll)
{
	sigset_t all, before;
	pthread_t thread;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&thread, &attributes, watch_daemons, (void *)(intptr_t)epoll);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return !failed;
}

static void watch_daemon_of(struct context *c)
{
	struct epoll_event event = { .events = EPOLLRDHUP, .data.ptr = c };
	pthread_mutex_lock(&watch.lock);
	if (watch.epoll < 0) {
		int epoll = epoll_create1(EPOLL_CLOEXEC);
		if (epoll >= 0)
			epoll = hide(epoll);
		if (epoll >= 0 && !start_watching(epoll)) {
			libc.close(epoll);
			epoll = -1;
		}
		watch.epoll = epoll;
	}
	if (watch.epoll >= 0)
		epoll_ctl(watch.epoll, EPOLL_CTL_ADD, c->control, &event);
	pthread_mutex_unlock(&watch.lock);
}

static void unwatch(struct context *c)
{
	pthread_mutex_lock(&watch.lock);
	if (watch.epoll >= 0 && c->control >= 0)
		epoll_ctl(watch.epoll, EPOLL_CTL_DEL, c->control, NULL);
	pthread_mutex_unlock(&watch.lock);
}

/* In a forked child: it has no such thread, and the descriptor is the parent's. */
static void forget_watch(void)
{
	pthread_mutex_init(&watch.lock, NULL);
	if (watch.epoll >= 0)
		libc.close(watch.epoll);
	watch.epoll = -1;
}

/* ------------------------------------------------------------------ events that were read */

static struct counted *counted(struct context *c, uint64_t element, uint32_t kind)
{
	size_t mask = c->count_room - 1, at = (element * 0x9e3779b97f4a7c15ull >> 40 ^ kind) & mask;
	while (c->counts[at].kind && (c->counts[at].element != element || c->counts[at].kind != kind))
		at = (at + 1) & mask;
	return &c->counts[at];
}

static bool grow_counts(struct context *c)
{
	size_t room = c->count_room;
	struct counted *old = c->counts, *fresh = calloc(room ? room * 2 : 256, sizeof *fresh);
	if (!fresh)
		return false;
	c->counts = fresh;
	c->count_room = room ? room * 2 : 256;
	c->count_used = 0;
	for (size_t i = 0; i < room; i++) {
		if (!old[i].count)
			continue;
		*counted(c, old[i].element, old[i].kind) = old[i];
		c->count_used++;
	}
	free(old);
	return true;
}

static void count_event(struct context *c, uint64_t element, uint32_t kind)
{
	pthread_mutex_lock(&c->events);
	if (c->count_used * 2 < c->count_room || grow_counts(c)) {
		struct counted *entry = counted(c, element, kind);
		if (!entry->kind) {
			*entry = (struct counted){ element, kind, 0 };
			c->count_used++;
		}
		entry->count++;
	}
	pthread_mutex_unlock(&c->events);
}

static uint32_t take_count(struct context *c, uint64_t element, uint32_t kind)
{
	uint32_t count = 0;
	pthread_mutex_lock(&c->events);
	if (c->count_room) {
		struct counted *entry = counted(c, element, kind);
		count = entry->count;
		entry->count = 0;
	}
	pthread_mutex_unlock(&c->events);
	return count;
}

/* ------------------------------------------------------------------ the control socket */

static int send_all(int socket, const void *from, size_t length)
{
	const char *at = from;
	while (length > 0) {
		ssize_t sent = send(socket, at, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return errno = EIO, -1;
		at += sent;
		length -= sent;
	}
	return 0;
}

static int receive_all(int socket, void *to, size_t length)
{
	char *at = to;
	while (length > 0) {
		ssize_t got = recv(socket, at, length, MSG_WAITALL);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return errno = EIO, -1;
		at += got;
		length -= got;
	}
	return 0;
}

/* The header of a reply, and the descriptors that came with it. */
static int receive_reply(int socket, struct reply *reply, int *fds)
{
	union { char room[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))]; struct cmsghdr align; } ancillary;
	struct iovec io = { reply, sizeof *reply };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	ssize_t got;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	while (got < 0 && errno == EINTR);
	for (int i = 0; i < DESCRIPTORS_MAX; i++)
		fds[i] = -1;
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	if (got <= 0)
		return errno = EIO, -1;
	if ((size_t)got == sizeof *reply)
		return 0;
	return receive_all(socket, (char *)reply + got, sizeof *reply - got);
}

static int exchange(int socket, const struct request *request, struct reply *reply, char **body, int *fds)
{
	*body = NULL;
	if (send_all(socket, request, request->length) || receive_reply(socket, reply, fds))
		return -1;
	size_t length = reply->length - sizeof *reply;
	if (length == 0)
		return 0;
	if (reply->length < sizeof *reply || !(*body = malloc(length)))
		return errno = EIO, -1;
	return receive_all(socket, *body, length);
}

static void purge(struct context *c, uint32_t channel, uint64_t element);

static void learn_context(struct context *c, const struct action *action)
{
	uint32_t bitmap = (action->argument + 31) / 32, summary = (bitmap + 31) / 32;
	c->file_bytes = action->address;
	c->slots = action->argument;
	c->id = action->argument;
	c->top_words = (summary + 31) / 32;
	c->summary_at = 16 + c->top_words;
	c->bitmap_at = c->summary_at + summary;
	if (action->length == TOKEN_BYTES)
		memcpy(c->token, action + 1, TOKEN_BYTES);
}

/* Does what the reply says, to the program's own memory and descriptors. */
static void obey(struct context *c, const struct action *action, int *fds, int *taken)
{
	void *address = (void *)(uintptr_t)action->address;
	uint32_t count;
	_Atomic uint64_t *entry;
	switch (action->type) {
	case ACTION_POKE:
		memcpy(address, action + 1, action->length);
		break;
	case ACTION_NEW_FD: {
		int fd = *taken < DESCRIPTORS_MAX ? fds[*taken] : -1;
		uint32_t event = action->argument >> 32;
		fds[(*taken)++] = -1;
		if (fd >= 0 && fd < DESCRIPTORS)
			learn(fd, event == EVENT_ASYNC ? ASYNC : COMPLETIONS, c, (uint32_t)action->argument, 0);
		memcpy(address, &fd, sizeof fd);
		break;
	}
	case ACTION_COMP_COUNT:
	case ACTION_ASYNC_COUNT:
		count = take_count(c, action->argument, action->type == ACTION_COMP_COUNT ? EVENT_COMPLETION : EVENT_ASYNC);
		memcpy(address, &count, sizeof count);
		break;
	case ACTION_PURGE:
		purge(c, action->address, action->argument);
		break;
	case ACTION_QP:
	case ACTION_CQ:
		entry = cell(action->type == ACTION_QP ? c->qps : c->cqs, action->address, true);
		if (entry)
			atomic_store(entry, action->argument);
		if (action->length == sizeof(uint64_t) && (entry = cell(c->qp_cqs, action->address, true)))
			atomic_store(entry, *(const uint64_t *)(action + 1));
		break;
	case ACTION_CONTEXT:
		learn_context(c, action);
		break;
	}
}

static int obey_all(struct context *c, const struct reply *reply, const char *body, int *fds)
{
	int taken = c->kind == PLAIN ? DESCRIPTORS_MAX : 0; /* of a hello the caller takes them */
	size_t at = 0, length = reply->length - sizeof *reply;
	for (uint32_t i = 0; i < reply->actions && at + sizeof(struct action) <= length; i++) {
		const struct action *action = (const void *)(body + at);
		at += sizeof *action + ((action->length + 7u) & ~7u);
		if (at > length)
			break;
		obey(c, action, fds, &taken);
	}
	return reply->result;
}

/* One request and its reply. Returns 0, or -1 and errno. `fds`, when given, gets the descriptors. */
static int call(struct context *c, uint32_t op, uint64_t argument, const void *payload, size_t length, int *fds)
{
	char small[1024], *body = NULL;
	int own[DESCRIPTORS_MAX], *received = fds ? fds : own, result = -1, error;
	struct reply reply;
	struct request *request = length + sizeof *request <= sizeof small ? (void *)small : malloc(length + sizeof *request);
	if (!request)
		return -1;
	*request = (struct request){ length + sizeof *request, op, argument };
	if (length)
		memcpy(request + 1, payload, length);
	pthread_mutex_lock(&c->command);
	int failed = exchange(c->control, request, &reply, &body, received);
	pthread_mutex_unlock(&c->command);
	if (!failed)
		result = obey_all(c, &reply, body, received);
	error = failed ? errno : -result;
	if (!fds)
		for (int i = 0; !failed && i < DESCRIPTORS_MAX; i++)
			if (own[i] >= 0)
				libc.close(own[i]);
	free(body);
	if ((char *)request != small)
		free(request);
	if (error)
		return errno = error, -1;
	return 0;
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (snprintf(address.sun_path, sizeof address.sun_path, "%s/uverbs", directory) >= (int)sizeof address.sun_path)
		return errno = ENAMETOOLONG, -1;
	int fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (void *)&address, sizeof address)) {
		int error = errno == EACCES ? EACCES : ENODEV;
		libc.close(fd);
		return errno = error, -1;
	}
	/* Where Yama restricts ptrace, the daemon may reach our registered memory all the same. */
	struct ucred daemon;
	socklen_t length = sizeof daemon;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &daemon, &length) == 0 && daemon.pid > 0)
		prctl(PR_SET_PTRACER, (unsigned long)daemon.pid, 0, 0, 0);
	return hide(fd);
}

/* A forked child issues its first command: a socket of its own, the same objects. */
static int attach_again(struct context *c)
{
	int fresh = dial();
	if (fresh < 0)
		return -1;
	libc.close(c->control);
	c->control = fresh;
	c->generation = generation;
	pthread_mutex_init(&c->command, NULL); /* another thread of the parent may have held it */
	pthread_mutex_init(&c->events, NULL);
	if (call(c, OP_HELLO, c->kind == CM ? ROLE_CM_ATTACH : ROLE_ATTACH, c->token, TOKEN_BYTES, NULL))
		return -1;
	if (c->kind == UVERBS)
		watch_daemon_of(c);
	return 0;
}

static int command(struct context *c, uint32_t op, uint64_t argument, const void *payload, size_t length)
{
	if (c->generation != generation && attach_again(c))
		return -1;
	return call(c, op, argument, payload, length, NULL);
}

/* Drops the unread events of one element, and puts the others back in their order. */
static void purge(struct context *c, uint32_t channel, uint64_t element)
{
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		struct descriptor *d = known(fd);
		if (!d || d->context != c || d->channel != channel || (d->kind != COMPLETIONS && d->kind != ASYNC))
			continue;
		size_t size = d->kind == ASYNC ? 16 : 8, kept = 0;
		char keep[4096];
		int flags = libc.fcntl(fd, F_GETFL);
		libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		while (kept + size <= sizeof keep && libc.read(fd, keep + kept, size) == (ssize_t)size)
			if (memcmp(keep + kept, &element, sizeof element) != 0)
				kept += size;
		libc.fcntl(fd, F_SETFL, flags);
		if (kept)
			call(c, OP_REQUEUE, channel, keep, kept, NULL);
		return;
	}
}

/* ------------------------------------------------------------------ opening a device */

#define UVERBS_NODE "/dev/infiniband/uverbs0"
#define CM_NODE "/dev/infiniband/rdma_cm"

static enum kind node_kind(const char *path, dev_t *device)
{
	char socket[PATH_MAX + 16];
	enum kind kind = !path || strncmp(path, "/dev/infiniband/", 16) ? PLAIN
		: !strcmp(path, UVERBS_NODE) ? UVERBS : !strcmp(path, CM_NODE) ? CM : PLAIN;
	if (kind == PLAIN)
		return PLAIN;
	snprintf(socket, sizeof socket, "%s/uverbs", directory);
	if (libc.access(socket, F_OK))
		return PLAIN;
	*device = kind == UVERBS ? makedev(231, 192) : makedev(10, 58);
	return kind;
}

static struct context *new_context(void)
{
	struct context *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	atomic_init(&c->uses, 1);
	c->control = c->wake = -1;
	pthread_mutex_init(&c->command, NULL);
	pthread_mutex_init(&c->events, NULL);
	return c;
}

static int map_queue_file(struct context *c, int fd)
{
	void *file = mmap(NULL, c->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (file == MAP_FAILED)
		return -1;
	c->file = file;
	return 0;
}

/* Returns the descriptor that the program sees, or -1. */
static int open_device(enum kind kind, dev_t device, int flags)
{
	int fds[DESCRIPTORS_MAX] = { -1, -1, -1, -1 }, fd = -1;
	struct context *c = new_context();
	if (!c)
		return errno = ENOMEM, -1;
	c->generation = generation;
	c->control = dial();
	if (c->control >= 0 && call(c, OP_HELLO, kind == UVERBS ? ROLE_CONTEXT : ROLE_CM, NULL, 0, fds) == 0)
		fd = fds[0];
	c->kind = kind;
	if (kind == UVERBS && fds[1] >= 0)
		c->wake = hide(fds[1]);
	if (fd >= DESCRIPTORS || (fd >= 0 && kind == UVERBS && map_queue_file(c, fd))) {
		libc.close(fd);
		errno = EMFILE;
		fd = -1;
	}
	if (fd >= 0) {
		if (!(flags & O_CLOEXEC))
			libc.fcntl(fd, F_SETFD, 0);
		if (flags & O_NONBLOCK)
			libc.fcntl(fd, F_SETFL, O_NONBLOCK);
		learn(fd, kind, c, 0, device);
		if (kind == UVERBS)
			watch_daemon_of(c);
	}
	int error = errno;
	if (c->control < 0)
		free(c);
	else
		release(c);
	errno = error;
	return fd;
}

/* ------------------------------------------------------------------ commands */

enum { CMD_CREATE_CQ = 18, CMD_REQ_NOTIFY_CQ = 23, CMD_POST_SEND = 28, EXTENDED = 1u << 31 };
enum { CM_GET_EVENT = 12, CM_SET_OPTION = 14, CM_MIGRATE_ID = 18 };

/* Sets the QP's bit, and wakes the worker only if it sleeps. See rnic/queue/doorbell.ts for the order. */
static int ring(struct context *c, uint32_t handle)
{
	_Atomic uint64_t *entry = cell(c->qps, handle, false);
	uint64_t qp = entry ? atomic_load(entry) : 0;
	uint32_t state = qp >> 56, slot = (uint32_t)qp, word = slot / 32, group = word / 32;
	if (state < QP_STATE_RTS || state == QP_GONE || slot >= c->slots)
		return errno = EINVAL, -1;
	if (atomic_load(&c->has_failed))
		return errno = EIO, -1;
	_Atomic uint32_t *words = (void *)c->file;
	atomic_fetch_or(&words[c->bitmap_at + word], 1u << (slot & 31));
	atomic_fetch_or(&words[c->summary_at + group], 1u << (word & 31));
	atomic_fetch_or(&words[16 + group / 32], 1u << (group & 31));
	if (atomic_load(&words[0]) != 0) {
		uint64_t one = 1;
		if (libc.write(c->wake, &one, sizeof one) < 0 && errno != EAGAIN)
			return -1;
	}
	return 0;
}

/* Arms a CQ: NEXT is not lowered to SOLICITED. See rnic/queue/layout.ts, ARM. */
static int arm(struct context *c, uint32_t handle, bool solicited)
{
	_Atomic uint64_t *entry = cell(c->cqs, handle, false);
	uint64_t offset = entry ? atomic_load(entry) : 0;
	if (offset == 0 || offset + 4 > c->file_bytes)
		return errno = EINVAL, -1;
	if (atomic_load(&c->has_failed))
		return errno = EIO, -1;
	_Atomic uint32_t *word = (void *)(c->file + offset);
	uint32_t none = 0;
	if (solicited)
		atomic_compare_exchange_strong(word, &none, 1);
	else
		atomic_store(word, 2);
	return 0;
}

/* CREATE_CQ names its completion channel by descriptor; the daemon knows it by number. */
static int create_cq(struct context *c, const char *buffer, size_t length)
{
	char copy[256];
	size_t at = *(const uint32_t *)buffer & EXTENDED ? 40 : 32;
	int32_t fd;
	if (length > sizeof copy || length < at + sizeof fd)
		return errno = EINVAL, -1;
	memcpy(copy, buffer, length);
	memcpy(&fd, copy + at, sizeof fd);
	if (fd >= 0) {
		struct descriptor *channel = known(fd);
		if (!channel || channel->kind != COMPLETIONS || channel->context != c)
			return errno = EBADF, -1;
		memcpy(copy + at, &channel->channel, sizeof fd);
	}
	return command(c, OP_WRITE, 0, copy, length);
}

static int write_uverbs(struct context *c, const void *buffer, size_t length)
{
	const uint32_t *words = buffer;
	if (length < 8)
		return errno = EINVAL, -1;
	if (words[0] == CMD_POST_SEND && length >= 24 && words[5] == 0)
		return ring(c, words[4]);
	if (words[0] == CMD_REQ_NOTIFY_CQ && length >= 16)
		return arm(c, words[2], words[3] != 0);
	if ((words[0] & 0xff) == CMD_CREATE_CQ)
		return create_cq(c, buffer, length);
	return command(c, OP_WRITE, 0, buffer, length);
}

/*
 * Another thread has closed the descriptor that this one reads: with a kernel device the read would go on, for the file is still in use. Programs that end so (rping) must
 * not hear of an error.
 */
static void wait_if_closed(int fd, const struct context *c)
{
	while (!known(fd) || table[fd].context != c)
		pause();
}

/*
 * One octet waits in the pipe for each event that may be fetched: so poll, epoll and O_NONBLOCK work as they are. While a thread waits here the channel stays open, whoever
 * closes its descriptor, as it is with a kernel: the daemon goes on, and the event still comes.
 */
static int get_cm_event(int fd, struct context *c, const void *buffer, size_t length)
{
	int failed, error;
	atomic_fetch_add(&c->uses, 1);
	for (;;) {
		char token;
		ssize_t got = libc.read(fd, &token, 1);
		if (got == 0)
			errno = EIO; /* the daemon has gone */
		failed = got == 1 ? command(c, OP_WRITE, 0, buffer, length) : -1;
		if (!failed || got != 1 || errno != EAGAIN)
			break;
		wait_if_closed(fd, c); /* the event went with its id: the next one */
	}
	error = errno;
	release(c);
	errno = error;
	return failed;
}

static int write_cm(int fd, struct context *c, const void *buffer, size_t length)
{
	const uint32_t *words = buffer;
	uint32_t copy[264];
	if (length < 8 || length > 1024)
		return errno = EINVAL, -1;
	if (words[0] == CM_GET_EVENT)
		return get_cm_event(fd, c, buffer, length);
	memcpy(copy, buffer, length);
	if (words[0] == CM_MIGRATE_ID && length >= 24) {
		struct descriptor *other = known(words[5]);
		if (!other || other->kind != CM)
			return errno = EINVAL, -1;
		copy[5] = other->context->id;
	}
	if (words[0] == CM_SET_OPTION && length == 32 && words[7] <= 32) { /* the value lies elsewhere in memory: it goes along */
		memcpy(copy + 8, (const void *)(uintptr_t)((uint64_t)words[3] << 32 | words[2]), words[7]);
		length += words[7];
	}
	return command(c, OP_WRITE, 0, copy, length);
}

ssize_t write(int fd, const void *buffer, size_t length)
{
	init();
	struct descriptor *d = known(fd);
	if (!d || (d->kind != UVERBS && d->kind != CM))
		return libc.write(fd, buffer, length);
	int failed = d->kind == UVERBS ? write_uverbs(d->context, buffer, length) : write_cm(fd, d->context, buffer, length);
	return failed ? -1 : (ssize_t)length;
}

ssize_t read(int fd, void *buffer, size_t length)
{
	init();
	struct descriptor *d = known(fd);
	if (!d || (d->kind != COMPLETIONS && d->kind != ASYNC))
		return libc.read(fd, buffer, length);
	struct context *c = d->context;
	size_t size = d->kind == ASYNC ? 16 : 8; /* one event at a time, as the kernel gives them */
	if (length < size)
		return errno = EINVAL, -1;
	ssize_t got = libc.read(fd, buffer, size);
	uint64_t element;
	if (got == (ssize_t)size) {
		memcpy(&element, buffer, sizeof element);
		if (known(fd) && table[fd].context == c)
			count_event(c, element, size == 16 ? EVENT_ASYNC : EVENT_COMPLETION);
	}
	if (got == 0) {
		wait_if_closed(fd, c);
		return errno = EIO, -1; /* the daemon has gone */
	}
	return got;
}
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room) { (void)room; return read(fd, buffer, length); }

int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	va_start(list, request);
	void *argument = va_arg(list, void *);
	va_end(list);
	init();
	struct descriptor *d = known(fd);
	if (d && d->kind == UVERBS)
		return errno = ENOTTY, -1;
	return libc.ioctl(fd, request, argument);
}

int socket(int domain, int type, int protocol)
{
	init();
	if (domain == AF_NETLINK && protocol == NETLINK_RDMA_FAMILY)
		return errno = EPROTONOSUPPORT, -1;
	return libc.socket(domain, type, protocol);
}

/* ------------------------------------------------------------------ the life of descriptors */

int close(int fd)
{
	init();
	struct descriptor *d = known(fd);
	if (d && !shares_memory()) {
		struct context *c = d->context;
		uint32_t channel = d->channel;
		bool last = d->kind == COMPLETIONS;
		for (int i = 0; last && i < DESCRIPTORS; i++)
			last = i == fd || !known(i) || table[i].context != c || table[i].channel != channel;
		if (last && c->generation == generation)
			call(c, OP_CLOSE_CHANNEL, channel, NULL, 0, NULL);
		forget(fd);
	}
	return libc.close(fd);
}

static int duplicated(int from, int to)
{
	struct descriptor *d = known(from);
	if (to < 0 || from == to || shares_memory())
		return to;
	if (known(to))
		forget(to);
	if (d && to < DESCRIPTORS)
		learn(to, d->kind, d->context, d->channel, d->device);
	return to;
}

int dup(int fd) { init(); return duplicated(fd, libc.dup(fd)); }
int dup2(int fd, int to) { init(); return duplicated(fd, libc.dup2(fd, to)); }
int dup3(int fd, int to, int flags) { init(); return duplicated(fd, libc.dup3(fd, to, flags)); }

static int control_file(int fd, int request, void *argument)
{
	int result = libc.fcntl(fd, request, argument);
	return request == F_DUPFD || request == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}
#define VARIADIC_POINTER(last) va_list list; va_start(list, last); void *argument = va_arg(list, void *); va_end(list)
int fcntl(int fd, int request, ...) { VARIADIC_POINTER(request); init(); return control_file(fd, request, argument); }
int fcntl64(int fd, int request, ...) { VARIADIC_POINTER(request); init(); return control_file(fd, request, argument); }

/* ------------------------------------------------------------------ paths */

#define PATH_ROOM (2 * PATH_MAX)

/* Where a path really lies: itself, or a place in the vRNIC's directory, written to `room`. */
static const char *redirect(const char *path, char *room)
{
	init();
	if (!path || path[0] != '/')
		return path;
	if (!strncmp(path, "/sys/class/infiniband", 21) || !strncmp(path, "/sys/class/misc/rdma_cm", 23))
		snprintf(room, PATH_ROOM, "%s%s", directory, path);
	else if (!strncmp(path, "/dev/infiniband", 15))
		snprintf(room, PATH_ROOM, "%s%s", directory, path);
	else
		return path;
	return room;
}

#define REDIRECTED(path) char room[PATH_ROOM]; const char *real = redirect(path, room)

static int open_path(int at, const char *path, int flags, mode_t mode)
{
	REDIRECTED(path);
	dev_t device;
	enum kind kind = node_kind(path, &device);
	if (kind != PLAIN)
		return open_device(kind, device, flags);
	return at == AT_FDCWD ? libc.open(real, flags, mode) : libc.openat(at, real, flags, mode);
}

#define VARIADIC_MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *path, int flags, ...) { VARIADIC_MODE(flags) return open_path(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { VARIADIC_MODE(flags) return open_path(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { VARIADIC_MODE(flags) return open_path(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { VARIADIC_MODE(flags) return open_path(at, path, flags | O_LARGEFILE, mode); }
/* What _FORTIFY_SOURCE makes of them. */
int __open_2(const char *path, int flags) { return open_path(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_path(AT_FDCWD, path, flags | O_LARGEFILE, 0); }
int __openat_2(int at, const char *path, int flags) { return open_path(at, path, flags, 0); }
int __openat64_2(int at, const char *path, int flags) { return open_path(at, path, flags | O_LARGEFILE, 0); }

FILE *fopen(const char *path, const char *mode) { REDIRECTED(path); return libc.fopen(real, mode); }
FILE *fopen64(const char *path, const char *mode) { REDIRECTED(path); return libc.fopen(real, mode); }
DIR *opendir(const char *path) { REDIRECTED(path); return libc.opendir(real); }
char *realpath(const char *path, char *resolved) { REDIRECTED(path); return libc.realpath(real, resolved); }
char *__realpath_chk(const char *path, char *resolved, size_t size) { (void)size; return realpath(path, resolved); }
ssize_t readlink(const char *path, char *to, size_t size) { REDIRECTED(path); return libc.readlink(real, to, size); }
ssize_t readlinkat(int at, const char *path, char *to, size_t size) { REDIRECTED(path); return libc.readlinkat(at, real, to, size); }
int scandir(const char *path, struct dirent ***names, int (*filter)(const struct dirent *),
	    int (*compare)(const struct dirent **, const struct dirent **)) { REDIRECTED(path); return libc.scandir(real, names, filter, compare); }

static int node_stat(dev_t device, struct stat *st)
{
	memset(st, 0, sizeof *st);
	st->st_mode = S_IFCHR | 0666;
	st->st_rdev = device;
	st->st_nlink = 1;
	st->st_ino = device;
	return 0;
}

int fstatat(int at, const char *path, struct stat *st, int flags)
{
	REDIRECTED(path);
	dev_t device;
	return node_kind(path, &device) != PLAIN ? node_stat(device, st) : libc.fstatat(at, real, st, flags);
}
int stat(const char *path, struct stat *st) { return fstatat(AT_FDCWD, path, st, 0); }
int lstat(const char *path, struct stat *st) { return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int fstat(int fd, struct stat *st)
{
	init();
	struct descriptor *d = known(fd);
	return d && d->device ? node_stat(d->device, st) : libc.fstat(fd, st);
}
/* On the 64-bit machines that we build for the two layouts are one. */
int stat64(const char *path, struct stat64 *st) { return stat(path, (struct stat *)st); }
int lstat64(const char *path, struct stat64 *st) { return lstat(path, (struct stat *)st); }
int fstat64(int fd, struct stat64 *st) { return fstat(fd, (struct stat *)st); }
int fstatat64(int at, const char *path, struct stat64 *st, int flags) { return fstatat(at, path, (struct stat *)st, flags); }
/* Programs that were linked before glibc 2.33. */
int __xstat(int version, const char *path, struct stat *st) { (void)version; return stat(path, st); }
int __lxstat(int version, const char *path, struct stat *st) { (void)version; return lstat(path, st); }
int __fxstat(int version, int fd, struct stat *st) { (void)version; return fstat(fd, st); }
int __xstat64(int version, const char *path, struct stat64 *st) { (void)version; return stat64(path, st); }
int __lxstat64(int version, const char *path, struct stat64 *st) { (void)version; return lstat64(path, st); }
int __fxstat64(int version, int fd, struct stat64 *st) { (void)version; return fstat64(fd, st); }

int statx(int at, const char *path, int flags, unsigned mask, struct statx *st)
{
	REDIRECTED(path);
	dev_t device;
	if (node_kind(path, &device) == PLAIN)
		return libc.statx(at, real, flags, mask, st);
	memset(st, 0, sizeof *st);
	st->stx_mask = STATX_BASIC_STATS;
	st->stx_mode = S_IFCHR | 0666;
	st->stx_nlink = 1;
	st->stx_rdev_major = major(device);
	st->stx_rdev_minor = minor(device);
	return 0;
}

int faccessat(int at, const char *path, int mode, int flags)
{
	REDIRECTED(path);
	dev_t device;
	return node_kind(path, &device) != PLAIN ? 0 : libc.faccessat(at, real, mode, flags);
}
int access(const char *path, int mode)
{
	REDIRECTED(path);
	dev_t device;
	return node_kind(path, &device) != PLAIN ? 0 : libc.access(real, mode);
}
