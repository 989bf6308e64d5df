// SPDX-License-Identifier: GPL-2.0
/*
 * A user who means harm: threads of one process, without privileges, that give every
 * command random arguments, half of them right; map, unmap and pass on what they get;
 * and write at random into rings, control words and doorbells. A neighbour works
 * meanwhile, and his data are checked. Afterwards nothing is left of the attacker, the
 * device was not reset, and no call has given an errno that <linux/hsl.h> does not name.
 *
 * HSL_FUZZ_SECONDS: how long at least, each variant (2); HSL_FUZZ_THREADS (3); HSL_SEED: the same
 * decisions again, which with one thread come in the same order.
 */
#include <assert.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "hsl_fd.h"
#include "hsl_pcie.h"
#include "hsl_raw.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define NOBODY		65534
#define MOVES		2000	/* at least, on a slow machine too */

/*
 * Where everything random is mapped and the device is let loose. Around it is as much of
 * nothing as a descriptor can reach, so that the process itself is not hit.
 */
#define ARENA		(16 * MB)
#define NOTHING		(5ul << 30)

#define CONTEXTS	3
#define FILES		4	/* of each kind */
#define HANDLES		4
#define RINGS		6

/* What a field is for, so that half of the values mean something. */
enum kind {
	K_ANY = 1,
	K_SMALL,	/* an enum, a few bits */
	K_QUEUE,
	K_BUF,		/* files, in the order of enum sort */
	K_GRANT,
	K_EVENTFD,
	K_SIGNAL,
	K_IMPORT,
	K_ADDR,		/* of a page */
	K_BYTES,	/* of whole pages */
	K_PLACE,	/* where something may be written */
	K_NR,
	K_ORDER,	/* a power of two */
	K_DESCS,
};

struct field {
	uint16_t at;
	uint8_t bytes;
	uint8_t kind;
};

#define FIELD(s, m, k)	{ offsetof(struct s, m), sizeof(((struct s *)0)->m), k }

static const struct command {
	unsigned long nr;
	const char *name;
	uint32_t size;
	struct field fields[12];
	int errors[8];		/* besides those of every command */
} commands[] = {
	{ HSL_QUERY, "query", sizeof(struct hsl_query) },
	{ HSL_COUNTERS, "counters", sizeof(struct hsl_counters), {
		FIELD(hsl_counters, queue, K_QUEUE), FIELD(hsl_counters, nr, K_NR),
		FIELD(hsl_counters, values, K_PLACE) } },
	{ HSL_QUEUE_CREATE, "create", sizeof(struct hsl_queue_create), {
		FIELD(hsl_queue_create, sq_addr, K_ADDR), FIELD(hsl_queue_create, cq_addr, K_ADDR),
		FIELD(hsl_queue_create, ctl_addr, K_ADDR), FIELD(hsl_queue_create, sq_entries, K_ORDER),
		FIELD(hsl_queue_create, cq_entries, K_ORDER), FIELD(hsl_queue_create, priority, K_SMALL),
		FIELD(hsl_queue_create, coalesce_count, K_SMALL), FIELD(hsl_queue_create, coalesce_usecs, K_NR),
		FIELD(hsl_queue_create, routes, K_SMALL) }, { ENOSPC, EIO } },
	{ HSL_QUEUE_DESTROY, "destroy", sizeof(struct hsl_queue_destroy), {
		FIELD(hsl_queue_destroy, queue, K_QUEUE) } },
	{ HSL_QUEUE_EVENTFD, "eventfd", sizeof(struct hsl_queue_eventfd), {
		FIELD(hsl_queue_eventfd, queue, K_QUEUE), FIELD(hsl_queue_eventfd, kind, K_SMALL),
		FIELD(hsl_queue_eventfd, fd, K_EVENTFD) } },
	{ HSL_QUEUE_STATE, "state", sizeof(struct hsl_queue_state), { FIELD(hsl_queue_state, queue, K_QUEUE) } },
	{ HSL_SUBMIT, "submit", sizeof(struct hsl_submit), {
		FIELD(hsl_submit, queue, K_QUEUE), FIELD(hsl_submit, nr, K_NR), FIELD(hsl_submit, descs, K_DESCS) },
		{ EAGAIN, EIO } },
	{ HSL_EVENTS, "events", sizeof(struct hsl_events), {
		FIELD(hsl_events, nr, K_NR), FIELD(hsl_events, events, K_PLACE) } },
	{ HSL_BIND, "bind", sizeof(struct hsl_bind), { FIELD(hsl_bind, sva, K_SMALL) }, { EBUSY, EIO } },
	{ HSL_MIGRATE, "migrate", sizeof(struct hsl_migrate), {
		FIELD(hsl_migrate, addr, K_ADDR), FIELD(hsl_migrate, len, K_BYTES),
		FIELD(hsl_migrate, where, K_SMALL) }, { EBUSY } },
	{ HSL_ADVISE, "advise", sizeof(struct hsl_advise), {
		FIELD(hsl_advise, addr, K_ADDR), FIELD(hsl_advise, len, K_BYTES),
		FIELD(hsl_advise, advice, K_SMALL), FIELD(hsl_advise, where, K_SMALL) }, { EBUSY, ENOSPC } },
	{ HSL_PEERS, "peers", sizeof(struct hsl_peers), {
		FIELD(hsl_peers, nr, K_NR), FIELD(hsl_peers, routes, K_SMALL), FIELD(hsl_peers, peers, K_PLACE) } },
	{ HSL_QUEUE_GRANT, "grant", sizeof(struct hsl_queue_grant), { FIELD(hsl_queue_grant, queue, K_QUEUE) },
		{ EMFILE, ENFILE } },
	{ HSL_SIGNAL_ADD, "signal_add", sizeof(struct hsl_signal_add), { FIELD(hsl_signal_add, fd, K_GRANT) },
		{ EXDEV, ESTALE, ENOSPC } },
	{ HSL_SIGNAL_DEL, "signal_del", sizeof(struct hsl_signal_del), { FIELD(hsl_signal_del, handle, K_SIGNAL) } },
	{ HSL_BUF_CREATE, "buf_create", sizeof(struct hsl_buf_create), { FIELD(hsl_buf_create, len, K_BYTES) },
		{ EMFILE, ENFILE } },
	{ HSL_BUF_SHARE, "buf_share", sizeof(struct hsl_buf_share), {
		FIELD(hsl_buf_share, fd, K_BUF), FIELD(hsl_buf_share, rights, K_SMALL) },
		{ EACCES, ESTALE, ENOSPC, EMFILE, ENFILE } },
	{ HSL_BUF_REVOKE, "buf_revoke", sizeof(struct hsl_buf_revoke), {
		FIELD(hsl_buf_revoke, fd, K_BUF), FIELD(hsl_buf_revoke, share, K_BUF) }, { EACCES } },
	{ HSL_BUF_IMPORT, "buf_import", sizeof(struct hsl_buf_import), {
		FIELD(hsl_buf_import, addr, K_ADDR), FIELD(hsl_buf_import, len, K_BYTES),
		FIELD(hsl_buf_import, fd, K_BUF) }, { ENOSPC } },
	{ HSL_BUF_UNIMPORT, "buf_unimport", sizeof(struct hsl_buf_unimport), {
		FIELD(hsl_buf_unimport, handle, K_IMPORT) } },
};

static_assert(ARRAY(commands) == HSL_CMD_END - HSL_CMD_QUERY, "a command is missing here");

/* EBADF: another thread has closed a file meanwhile. */
static const int every_command[] = {
	ENOTTY, EINVAL, E2BIG, EOPNOTSUPP, EFAULT, EPERM, ENODEV, ENOENT, ENOMEM, EINTR, EBADF,
};

/* Shared by the attacker and whoever judges him */
struct report {
	uint64_t calls[ARRAY(commands)];
	uint64_t good[ARRAY(commands)];
	uint64_t moves;
	char wrong[128];
};

enum sort {
	BUF,
	GRANT,
	EVENTFD,
	SORTS,
};

/* What the last mapping of a file in the arena was */
struct fuzz_map {
	char *at;
	int fd;
};

struct fuzz_ring {
	uint64_t sq, ctl;
	uint32_t entries;
	uint64_t doorbell;
	int fd;
};

/* All that the threads share; what one reads while another writes is random as well. */
static char *arena;
static struct report *report;
static unsigned int devices;
static volatile int contexts[CONTEXTS], files[SORTS][FILES];
static volatile uint32_t signals[HANDLES], imports[HANDLES];
static struct fuzz_ring rings[RINGS];
static struct fuzz_map maps[FILES];
static long long end_ms;

static __thread uint64_t state;
static __thread sigjmp_buf back;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t n)
{
	return (any() >> 16) % n;
}

/* Touching what another thread has just unmapped, or what was revoked */
static void on_fault(int sig)
{
	siglongjmp(back, 1);
}

#define TOUCH(code) do {							\
	if (!sigsetjmp(back, 1)) {						\
		code;								\
	}									\
} while (0)

static char *some_page(void)
{
	return arena + below(ARENA / PAGE) * PAGE;
}

/* From there on, within the arena, and mostly short */
static size_t some_bytes(const char *at)
{
	size_t left = arena + ARENA - at, len = (1 + below(below(16) ? 16 : 1024)) * PAGE;

	return len < left ? len : left;
}

static int some_file(void)
{
	unsigned int n = below(SORTS + 1);

	return n < SORTS ? files[n][below(FILES)] : contexts[below(CONTEXTS)];
}

static uint64_t evil(void)
{
	static const uint64_t values[] = {
		0, 1, ~0ull, 1ull << 63, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 47,
		(1ull << 47) - 4096, 0xffff800000000000, 0xffffffffff600000, 4096, 4095, 0xfffffffffffff000,
	};

	switch (below(4)) {
	case 0:
		return any();
	case 1:
		return 1ull << below(64);
	case 2:
		return (uintptr_t)arena + ARENA - below(2) * PAGE + below(16);
	default:
		return values[below(ARRAY(values))];
	}
}

static uint64_t value(enum kind kind)
{
	if (!below(12))
		return evil();
	switch (kind) {
	case K_SMALL:
		return below(below(4) ? 4 : 10);
	case K_QUEUE:
		return below(16) ? below(4) : HSL_QUEUE_NONE;
	case K_BUF:
	case K_GRANT:
	case K_EVENTFD:
		return below(16) ? (uint64_t)files[kind - K_BUF][below(FILES)] : (uint64_t)some_file();
	case K_SIGNAL:
		return signals[below(HANDLES)];
	case K_IMPORT:
		return imports[below(HANDLES)];
	case K_ADDR:
		return (uintptr_t)some_page();
	case K_BYTES:
		return some_bytes(some_page());
	case K_PLACE:
	case K_DESCS:
		return (uintptr_t)some_page() + below(PAGE);
	case K_NR:
		return below(below(4) ? 8 : 4096);
	case K_ORDER:
		return 2u << below(7);
	default:
		return any();
	}
}

static void put(char *arg, const struct field *f, uint64_t val)
{
	memcpy(arg + f->at, &val, f->bytes);
}

static uint64_t get(const char *arg, size_t at, size_t bytes)
{
	uint64_t val = 0;

	memcpy(&val, arg + at, bytes);
	return val;
}

#define GET(s, m)	get(arg, offsetof(struct s, m), sizeof(((struct s *)0)->m))

static void keep_file(enum sort sort, int fd)
{
	volatile int *slot = &files[sort][below(FILES)];
	int old = *slot;

	*slot = fd;
	if (old > 2)
		close(old);
}

/* What a command gave is for others to use. */
static void harvest(const struct command *c, int fd, const char *arg)
{
	struct fuzz_ring *r = &rings[below(RINGS)];

	switch (c->nr) {
	case HSL_QUEUE_CREATE:
		*r = (struct fuzz_ring) {
			GET(hsl_queue_create, sq_addr), GET(hsl_queue_create, ctl_addr),
			GET(hsl_queue_create, sq_entries), GET(hsl_queue_create, doorbell_offset), fd,
		};
		break;
	case HSL_QUEUE_GRANT:
		keep_file(GRANT, GET(hsl_queue_grant, fd));
		break;
	case HSL_BUF_CREATE:
		keep_file(BUF, GET(hsl_buf_create, fd));
		break;
	case HSL_BUF_SHARE:
		keep_file(BUF, GET(hsl_buf_share, share));
		break;
	case HSL_SIGNAL_ADD:
		signals[below(HANDLES)] = GET(hsl_signal_add, handle);
		break;
	case HSL_BUF_IMPORT:
		imports[below(HANDLES)] = GET(hsl_buf_import, handle);
		break;
	}
}

static bool known(const struct command *c, int err)
{
	unsigned int i;

	for (i = 0; i < ARRAY(every_command); i++)
		if (err == every_command[i])
			return true;
	for (i = 0; i < ARRAY(c->errors); i++)
		if (err == c->errors[i])
			return true;
	return false;
}

static void do_command(void)
{
	/* Without queues most of it is for nothing. */
	unsigned int n = below(8) ? below(ARRAY(commands)) : HSL_CMD_QUEUE_CREATE - HSL_CMD_QUERY, i;
	const struct command *c = &commands[n];
	int fd = contexts[below(CONTEXTS)], err;
	char arg[1024] = { 0 };
	uint32_t size = c->size;

	for (i = 0; i < ARRAY(c->fields) && c->fields[i].kind; i++)
		put(arg, &c->fields[i], value(c->fields[i].kind));
	/* Rings side by side are rings that work. */
	if (c->nr == HSL_QUEUE_CREATE && below(4)) {
		struct hsl_queue_create *q = (void *)arg;

		q->cq_entries = q->sq_entries;
		q->cq_addr = q->sq_addr + q->sq_entries * sizeof(struct hsl_desc);
		q->ctl_addr = q->cq_addr + q->cq_entries * sizeof(struct hsl_cqe);
		TOUCH(memset((void *)(uintptr_t)q->sq_addr, 0, 2 * PAGE));
	}
	/* So is a dma-buf where it was mapped. */
	if (c->nr == HSL_BUF_IMPORT && below(4)) {
		struct hsl_buf_import *im = (void *)arg;
		struct fuzz_map m = maps[below(FILES)];

		im->addr = (uintptr_t)m.at;
		im->len = PAGE;
		im->fd = m.fd;
	}
	if (!below(16))
		size = below(2) ? below(sizeof(arg)) : evil();
	if (!below(16))
		arg[below(c->size)] ^= 1 << below(8);
	if (below(64))
		memcpy(arg, &size, sizeof(size));

	err = ioctl(fd, below(64) ? c->nr : any(), arg) < 0 ? errno : 0;
	__atomic_add_fetch(&report->calls[n], 1, __ATOMIC_RELAXED);
	if (!err) {
		__atomic_add_fetch(&report->good[n], 1, __ATOMIC_RELAXED);
		harvest(c, fd, arg);
	} else if (!known(c, err) && !report->wrong[0]) {
		snprintf(report->wrong, sizeof(report->wrong), "%s gave %s", c->name, strerrorname_np(err));
	}
}

static struct hsl_desc some_desc(void)
{
	struct hsl_desc d = {
		.op = below(HSL_OP_NR + 1), .flags = below(8) ? 0 : below(8),
		.len = below(4) ? below(3 * PAGE) : below(2) ? 8 : any(), .user_data = any(),
		.dst = below(8) ? value(K_PLACE) & ~7ull : evil(), .src = below(8) ? value(K_PLACE) : evil(),
	};

	d.operand[0] = d.op == HSL_OP_SIGNAL ? value(K_SIGNAL) : any();
	d.operand[1] = below(2) ? below(256) : any();
	return d;
}

/* Descriptors, control words as they should be or not, and the doorbell */
static void do_ring(void)
{
	struct fuzz_ring r = rings[below(RINGS)];
	struct hsl_desc *sq = (void *)(uintptr_t)r.sq;
	struct hsl_q_ctl *ctl = (void *)(uintptr_t)r.ctl;
	volatile uint32_t *db;
	uint32_t tail = 0, n;

	if (!r.entries || r.sq - (uintptr_t)arena >= ARENA || r.ctl - (uintptr_t)arena >= ARENA)
		return;
	TOUCH({
		tail = READ_ONCE(ctl->sq_tail);
		for (n = below(6); n; n--)
			sq[tail++ % r.entries] = some_desc();
		WRITE_ONCE(ctl->sq_tail, tail);
		if (below(4))
			WRITE_ONCE(ctl->cq_head, READ_ONCE(ctl->sq_head));
		if (!below(32))
			((uint32_t *)ctl)[below(32)] = evil();
	});
	db = mmap(below(4) ? NULL : some_page(), PAGE, PROT_WRITE, MAP_SHARED, r.fd, r.doorbell);
	if (db == MAP_FAILED)
		return;
	TOUCH(*db = below(16) ? tail : evil());
	munmap((void *)db, PAGE);
}

static void fresh(char *at, size_t len)
{
	mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* A mapping of something in the arena, in place of what was there */
static void do_map(void)
{
	static const uint64_t offsets[] = { 0, 0, HSL_MMAP_MEMORY, HSL_MMAP_MEMORY };
	char *at = some_page();
	size_t len = some_bytes(at);
	int prot = below(4) ? PROT_READ | PROT_WRITE : below(8);
	uint64_t off = below(8) ? offsets[below(ARRAY(offsets))] : evil() & ~(PAGE - 1);
	int fd = off == HSL_MMAP_MEMORY ? contexts[below(CONTEXTS)] : files[BUF][below(FILES)];

	if (!below(3))
		fresh(at, len);
	else if (mmap(at, len, prot, (below(8) ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, fd, off) != MAP_FAILED)
		maps[below(FILES)] = (struct fuzz_map) { at, fd };
}

static void do_memory(void)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, MADV_COLD, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DOFORK,
		MADV_DONTFORK, MADV_WILLNEED, MADV_REMOVE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DODUMP,
		MADV_COLLAPSE,
	};
	char *at = some_page(), *to;
	size_t len = some_bytes(at);

	switch (below(6)) {
	case 0:
		mprotect(at, len, below(2) ? PROT_READ | PROT_WRITE : below(8));
		break;
	case 1:
	case 2:
		madvise(at, len, advice[below(ARRAY(advice))]);
		break;
	case 3:
		to = some_page();
		if (to + len > arena + ARENA || (to < at + len && at < to + len))
			break;
		if (mremap(at, below(16) ? len : 0, len, MREMAP_MAYMOVE | MREMAP_FIXED |
			   (below(4) ? 0 : MREMAP_DONTUNMAP), to) != MAP_FAILED)
			fresh(at, len);
		break;
	case 4:
		munmap(at, len);
		fresh(at, len);
		break;
	case 5:
		TOUCH(memset(at, any(), len < 2 * PAGE ? len : 2 * PAGE));
		break;
	}
}

/* Through a socket: some stay in it. */
static void do_pass(const int *sock)
{
	enum sort sort = below(SORTS);
	int fd;

	if (below(2))
		send_fd(sock[0], files[sort][below(FILES)]);
	fd = recv_fd(sock[1]);
	if (fd >= 0)
		keep_file(sort, fd);
}

/* A copy of the address space, which is not the one that opened */
static void do_fork(void)
{
	struct hsl_query q = { .size = sizeof(q) };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		int err = cmd(contexts[below(CONTEXTS)], HSL_QUERY, &q);

		for (int i = 0; i < 64; i++)
			TOUCH(*(volatile char *)some_page() = 1);
		_exit(!err);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status && !report->wrong[0])
		snprintf(report->wrong, sizeof(report->wrong), "a forked child was answered, or died: %#x", status);
}

static void do_open(void)
{
	char path[32];
	volatile int *slot = &contexts[below(CONTEXTS)];
	int old = *slot;

	snprintf(path, sizeof(path), "/dev/hsl/hsl%u", (unsigned int)below(devices));
	*slot = open(path, O_CLOEXEC | (below(8) ? O_RDWR : O_RDONLY));
	if (old > 2)
		close(old);
}

static void do_poll(void)
{
	struct pollfd p = { .fd = contexts[below(CONTEXTS)], .events = any() };

	poll(&p, 1, below(2));
}

static void *attack(void *seed)
{
	int sock[2];

	state = (uintptr_t)seed;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sock))
		return NULL;
	while ((now_ms() < end_ms || READ_ONCE(report->moves) < MOVES) && !report->wrong[0]) {
		unsigned int n = below(256);

		if (n < 130)
			do_command();
		else if (n < 180)
			do_ring();
		else if (n < 205)
			do_map();
		else if (n < 235)
			do_memory();
		else if (n < 242)
			do_pass(sock);
		else if (n < 249)
			do_poll();
		else if (n < 251)
			do_open();
		else if (n < 255)
			keep_file(EVENTFD, below(2) ? eventfd(0, EFD_CLOEXEC) : -1);
		else if (!below(8))
			do_fork();
		__atomic_add_fetch(&report->moves, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int number(const char *name, int otherwise)
{
	const char *text = getenv(name);

	return text ? atoi(text) : otherwise;
}

/* The attacker's process; what it leaves open is closed by its end. */
static int attacker(enum hsl_sva sva)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct hsl_bind bind = { .size = sizeof(bind), .sva = sva };
	int threads = number("HSL_FUZZ_THREADS", 3), i;
	pthread_t t[16];

	if (!geteuid() && setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	if (threads < 1 || threads > (int)ARRAY(t))
		return 2;
	arena = mmap(NULL, ARENA + 2 * NOTHING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return 3;
	arena += NOTHING;
	fresh(arena, ARENA);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	memset((void *)files, -1, sizeof(files));
	for (i = 0; i < CONTEXTS; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/dev/hsl/hsl%u", i % devices);
		contexts[i] = open(path, O_RDWR | O_CLOEXEC);
		if (contexts[i] < 0)
			return 4;
		cmd(contexts[i], HSL_BIND, &bind);
	}
	for (i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, attack, (void *)(uintptr_t)(rnd64() | 1)))
			return 5;
	for (i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return 0;
}

FIXTURE(fuzz) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	long long generation[2], contexts[2], queues[2], used[2];
};

FIXTURE_VARIANT(fuzz) {
	enum hsl_sva sva;
	const char *mode;
};

PROVIDER_VARIANT_ADD(fuzz, coherent, "coherent");
PROVIDER_VARIANT_ADD(fuzz, pcie, "pcie");

static long long class_number(unsigned int dev, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/%s", dev, name);
	return read_number(path);
}

FIXTURE_SETUP(fuzz)
{
	unsigned int i;
	int err;

	SKIP_WITHOUT_DEVICES(1);
	if (geteuid())
		SKIP(return, "changes the system: run as root");
	devices = have_devices(2) ? 2 : 1;
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	for (i = 0; i < devices; i++) {
		err = memory_mode(i, variant->mode);
		SKIP_WITHOUT_PCIE(err);
		oracle_on(dev_path(i));
		ASSERT_EQ(0, chmod(dev_path(i), 0666));
		self->generation[i] = class_number(i, "generation");
		self->contexts[i] = class_number(i, "contexts");
		self->queues[i] = class_number(i, "queues");
		self->used[i] = class_number(i, "memory/used");
	}
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, report);
	SEED();
}

FIXTURE_TEARDOWN(fuzz)
{
	unsigned int i;

	if (self->ctx)
		hsl_close(self->ctx);
	for (i = 0; self->ctx && i < devices; i++) {
		chmod(dev_path(i), 0660);
		EXPECT_TRUE(memory_mode_back(i));
	}
}

/* The neighbour: copies what differs each time, and looks. 0: right; a status; or -errno */
static int work(struct hsl_queue *q, char *dst, char *src, size_t len)
{
	int ret;

	fill_random(src, len);
	memset(dst, 0, len);
	ret = copies(q, dst, src, len);
	return ret ? ret : memcmp(dst, src, len) ? -EILSEQ : 0;
}

TEST_F_TIMEOUT(fuzz, hostile_user, 300)
{
	long long over = number("HSL_FUZZ_SECONDS", 2) * 1000LL;
	char *src = map_anon(MB);
	unsigned int i, kinds = 0;
	uint64_t rounds = 0;
	int status = -1, at = 0;
	char line[1024];
	void *dst;
	pid_t pid;

	ASSERT_NE(NULL, src);
	end_ms = now_ms() + over;
	fflush(stdout);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(attacker(variant->sva));
	/* On the device, from where the attacker may push it away. */
	ASSERT_EQ(0, hsl_alloc(self->ctx, MB, &dst));
	do {
		ASSERT_EQ(0, work(self->q, dst, src, 1 + rnd(MB)));
		rounds++;
		ASSERT_LT(now_ms(), end_ms + 3 * BOUND_MS) TH_LOG("the attacker does not end");
	} while (!waitpid(pid, &status, WNOHANG));
	EXPECT_EQ(0, status);
	EXPECT_EQ('\0', report->wrong[0]) TH_LOG("%s", report->wrong);

	EXPECT_EQ(0, work(self->q, dst, src, MB));
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
	ASSERT_EQ(0, hsl_free(self->ctx, dst));

	/* Nothing is left of him, and nobody else had to pay. */
	for (i = 0; i < devices; i++) {
		EXPECT_TRUE(COMES_TRUE(class_number(i, "contexts") == self->contexts[i]));
		EXPECT_EQ(self->queues[i], class_number(i, "queues"));
		EXPECT_TRUE(COMES_TRUE(class_number(i, "memory/used") == self->used[i]));
		EXPECT_EQ(self->generation[i], class_number(i, "generation"));
	}

	/* Commands that never succeed test little. */
	for (i = 0; i < ARRAY(commands); i++) {
		kinds += report->good[i] > 0;
		at += snprintf(line + at, sizeof(line) - at, " %s %llu/%llu", commands[i].name,
			       (unsigned long long)report->good[i], (unsigned long long)report->calls[i]);
	}
	TH_LOG("%llu moves, %llu copies next door;%s", (unsigned long long)report->moves,
	       (unsigned long long)rounds, line);
	EXPECT_GE(kinds, ARRAY(commands) / 2);
}

TEST_HARNESS_MAIN
