// SPDX-License-Identifier: GPL-2.0
/*
 * Ends: of a process, a file, an address space, a queue, a binding, a function,
 * a module, each in the middle of work. After every one the device must work
 * for the next process, and nothing may be left of the last one.
 */
#include <limits.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <hsl.h>

#include "hsl_fd.h"
#include "hsl_raw.h"

#define MB		(1024 * 1024ul)
#define BUF		(8 * MB)
#define PCI_DEVICES	"/sys/bus/pci/devices/"
#define PCI_DRIVER	"/sys/bus/pci/drivers/hsl/"

static long long contexts(void)
{
	return read_number(CLASS_DIR "/contexts");
}

static long long queues(void)
{
	return read_number(CLASS_DIR "/queues");
}

static long long breaches(void)
{
	return read_number(CLASS_DIR "/counters/oracle_breaches");
}

/* What every context of this test is on */
static enum hsl_sva provider;

static int open_device(void)
{
	return raw_open_on(provider);
}

/* A provider that is closed here is no test. */
#define USE_PROVIDER(sva) do {							\
	int try_;								\
	provider = sva;								\
	RAW_OPEN_DEVICE(sva, &try_);						\
	close(try_);								\
} while (0)

/* Copies something, on a context of its own, and looks at the result. */
static bool device_works(void)
{
	int fd = open_device();
	struct hsl_desc d;
	bool ok = false;
	char *src, *dst;
	struct raw q;

	src = map_anon(2 * PAGE);
	dst = map_anon(2 * PAGE);
	if (fd >= 0 && src && dst && !raw_create(&q, fd, 4)) {
		memset(src, 0x3c, 2 * PAGE);
		d = desc_copy(dst, src, 2 * PAGE, 9);
		ok = raw_run(&q, &d) == HSL_ST_OK && !memcmp(src, dst, 2 * PAGE);
		ok &= !raw_destroy(&q);
	}
	munmap(src, 2 * PAGE);
	munmap(dst, 2 * PAGE);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* What a queue can be busy with when the end comes */
enum work {
	WORK_COPY,	/* between pages that are there */
	WORK_FAULT,	/* into pages that are not: page requests in flight */
	WORK_NOP,
};

static void push_work(struct raw *q, enum work work, char *dst, char *src, unsigned int n)
{
	struct hsl_desc d = desc_nop(n);

	if (work != WORK_NOP)
		d = desc_copy(dst, src, BUF, n);
	raw_push(q, &d);
}

static bool work_buffers(enum work work, char **dst, char **src)
{
	*dst = map_anon(BUF);
	*src = map_anon(BUF);
	if (!*dst || !*src)
		return false;
	/* A fresh page is faulted in by whoever is first. */
	madvise(*dst, BUF, MADV_NOHUGEPAGE);
	if (work != WORK_FAULT)
		memset(*dst, 1, BUF);
	memset(*src, 2, BUF);
	return true;
}

FIXTURE(life) {
	char pci[64];
};

PROVIDER_VARIANTS(life);

FIXTURE_SETUP(life)
{
	NEED_DEVICE();
	USE_PROVIDER(variant->sva);
	ASSERT_EQ(0, pci_name(0, self->pci, sizeof(self->pci)));
	ASSERT_EQ(0, contexts());
	ASSERT_EQ(0, queues());
	ASSERT_TRUE(device_works());
}

FIXTURE_TEARDOWN(life)
{
	if (access(NODE, F_OK))
		return;
	EXPECT_TRUE(COMES_TRUE(contexts() == 0));
	EXPECT_EQ(0, queues());
	EXPECT_TRUE(device_works());
}

/*
 * The end of a process, a file, a queue
 */

FIXTURE(busy) {
	int fd;
	long long breaches;
	struct raw q;
	char *dst, *src;
};

FIXTURE_VARIANT(busy) {
	enum hsl_sva sva;
	enum work work;
};

PROVIDER_VARIANT_ADD(busy, copy, WORK_COPY);
PROVIDER_VARIANT_ADD(busy, fault, WORK_FAULT);
PROVIDER_VARIANT_ADD(busy, nop, WORK_NOP);

FIXTURE_SETUP(busy)
{
	unsigned int i;

	NEED_DEVICE();
	USE_PROVIDER(variant->sva);
	self->breaches = breaches();
	self->fd = open_device();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, raw_create(&self->q, self->fd, 16));
	ASSERT_TRUE(work_buffers(variant->work, &self->dst, &self->src));
	for (i = 0; i < 16; i++)
		push_work(&self->q, variant->work, self->dst, self->src, i);
}

FIXTURE_TEARDOWN(busy)
{
	if (self->fd >= 0)
		close(self->fd);
	if (self->q.db)
		munmap((void *)self->q.db, PAGE);
	EXPECT_TRUE(COMES_TRUE(contexts() == 0));
	EXPECT_EQ(0, queues());
	EXPECT_TRUE(device_works());
	EXPECT_EQ(self->breaches, breaches());
}

/* Nobody writes to memory any more: what we put there stays. */
static bool left_alone(char *p)
{
	size_t i;

	memset(p, 0x77, BUF);
	/* The device does something else meanwhile, after whatever it still did. */
	if (!device_works())
		return false;
	for (i = 0; i < BUF; i++)
		if (p[i] != 0x77)
			return false;
	return true;
}

TEST_F(busy, destroy)
{
	struct hsl_queue_destroy d = { .size = sizeof(d), .queue = self->q.par.queue };

	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	EXPECT_TRUE(left_alone(self->dst));
	EXPECT_EQ(0, queues());
	EXPECT_EQ(0, cmd(self->fd, HSL_QUEUE_CREATE, &self->q.par));
}

TEST_F(busy, close)
{
	munmap((void *)self->q.db, PAGE);
	self->q.db = NULL;
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(0, contexts());
	EXPECT_TRUE(left_alone(self->dst));
}

TEST_F(busy, unmap_the_work)
{
	ASSERT_EQ(0, munmap(self->dst, BUF));
	ASSERT_EQ(0, munmap(self->src, BUF));
	EXPECT_TRUE(device_works());
}

TEST_F(busy, unmap_the_rings)
{
	ASSERT_EQ(0, munmap(self->q.sq, self->q.bytes));
	EXPECT_TRUE(device_works());
}

FIXTURE(death) {
	long long breaches;
};

FIXTURE_VARIANT(death) {
	enum hsl_sva sva;
	enum work work;
	int contexts;
	int queues;
};

PROVIDER_VARIANT_ADD(death, copy, WORK_COPY, 1, 1);
PROVIDER_VARIANT_ADD(death, fault, WORK_FAULT, 1, 4);
PROVIDER_VARIANT_ADD(death, nop, WORK_NOP, 2, 4);
PROVIDER_VARIANT_ADD(death, fault_in_two_contexts, WORK_FAULT, 2, 2);

FIXTURE_SETUP(death)
{
	NEED_DEVICE();
	USE_PROVIDER(variant->sva);
	self->breaches = breaches();
	ASSERT_EQ(0, contexts());
}

FIXTURE_TEARDOWN(death)
{
	EXPECT_TRUE(device_works());
	EXPECT_EQ(self->breaches, breaches());
}

/* Works until it is killed. */
static void victim(const FIXTURE_VARIANT(death) *variant, int ready)
{
	struct raw q[16];
	char *dst, *src;
	int c, i, fd, nr = 0;
	unsigned int n;

	if (!work_buffers(variant->work, &dst, &src))
		_exit(1);
	for (c = 0; c < variant->contexts; c++) {
		fd = open_device();
		if (fd < 0)
			_exit(2);
		for (i = 0; i < variant->queues; i++)
			if (raw_create(&q[nr++], fd, 16))
				_exit(3);
	}
	for (n = 0; ; n++) {
		struct hsl_cqe cqe;

		for (i = 0; i < nr; i++) {
			if (n >= 8 && !raw_wait(&q[i], &cqe))
				_exit(4);
			push_work(&q[i], variant->work, dst, src, n);
		}
		if (n == 8 && write(ready, "", 1) != 1)
			_exit(5);
		if (variant->work == WORK_FAULT)
			madvise(dst, BUF, MADV_DONTNEED);
	}
}

TEST_F_TIMEOUT(death, kill, 120)
{
	int round, status, ready[2];
	char c;

	for (round = 0; round < 5; round++) {
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			victim(variant, ready[1]);
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		close(ready[0]);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_TRUE(COMES_TRUE(contexts() == 0));
		ASSERT_EQ(0, queues());
	}
}

/*
 * The wrong address space
 */

/* The number of the check that failed, 0 if all is refused as it should be */
static int all_refused(int fd, int err, uint64_t doorbell, int revents)
{
	struct hsl_query query = { .size = sizeof(query) };
	struct hsl_queue_destroy destroy = { .size = sizeof(destroy) };
	struct hsl_queue_state state = { .size = sizeof(state) };
	struct hsl_counters counters = { .size = sizeof(counters), .queue = HSL_QUEUE_NONE };
	struct hsl_queue_eventfd efd = { .size = sizeof(efd), .fd = -1 };
	struct hsl_submit submit = { .size = sizeof(submit) };
	struct hsl_events events = { .size = sizeof(events) };
	struct hsl_bind bind = { .size = sizeof(bind), .sva = provider };
	struct hsl_migrate migrate = { .size = sizeof(migrate), .len = PAGE };
	struct hsl_advise advise = { .size = sizeof(advise), .len = PAGE };
	struct raw r;
	int nr;

	if (raw_rings(&r, 4))
		return 1;
	/* The state comes before the structure, the command before the state. */
	for (nr = HSL_CMD_QUERY; nr < HSL_CMD_END; nr++)
		if (cmd(fd, _IO(HSL_TYPE, nr), NULL) != err)
			return 100 + nr;
	if (cmd(fd, _IO(HSL_TYPE, HSL_CMD_END), NULL) != ENOTTY)
		return 3;
	if (cmd(fd, HSL_QUERY, &query) != err)
		return 4;
	if (cmd(fd, HSL_QUEUE_CREATE, &r.par) != err)
		return 5;
	if (cmd(fd, HSL_QUEUE_DESTROY, &destroy) != err)
		return 6;
	if (cmd(fd, HSL_QUEUE_STATE, &state) != err)
		return 7;
	if (cmd(fd, HSL_COUNTERS, &counters) != err)
		return 8;
	if (cmd(fd, HSL_QUEUE_EVENTFD, &efd) != err)
		return 9;
	if (cmd(fd, HSL_SUBMIT, &submit) != err)
		return 10;
	if (cmd(fd, HSL_EVENTS, &events) != err)
		return 11;
	if (cmd(fd, HSL_BIND, &bind) != err)
		return 14;
	migrate.addr = advise.addr = (uintptr_t)r.sq & ~(PAGE - 1);
	if (cmd(fd, HSL_MIGRATE, &migrate) != err)
		return 15;
	if (cmd(fd, HSL_ADVISE, &advise) != err)
		return 16;
	if (raw_map_doorbell(fd, doorbell) != MAP_FAILED || errno != err)
		return 12;
	if (poll_fd(fd, POLLIN | POLLPRI, 0) != revents)
		return 13;
	munmap(r.sq, r.bytes);
	return 0;
}

static sigjmp_buf fault_jmp;

static void on_fault(int sig)
{
	siglongjmp(fault_jmp, sig);
}

/* 0, or the signal that the access raised */
static int poke(volatile uint32_t *p)
{
	struct sigaction sa = { .sa_handler = on_fault }, bus, segv;
	int sig;

	sigaction(SIGBUS, &sa, &bus);
	sigaction(SIGSEGV, &sa, &segv);
	sig = sigsetjmp(fault_jmp, 1);
	if (!sig)
		*p = 0;
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return sig;
}

static int exit_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST_F(life, fork)
{
	struct hsl_desc d = desc_nop(1);
	struct raw q;
	pid_t pid;
	int fd = open_device(), err;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, raw_create(&q, fd, 4));
	ASSERT_EQ(HSL_ST_OK, raw_run(&q, &d));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		err = all_refused(fd, EPERM, q.par.doorbell_offset, POLLERR | POLLHUP);
		if (err)
			_exit(err);
		if (poke(q.db) != SIGSEGV)
			_exit(20);
		/* The rings are a copy now, of which the device knows nothing. */
		memset(q.sq, 0xff, q.bytes);
		/* A context of its own it may have. */
		_exit(device_works() ? 0 : 21);
	}
	EXPECT_EQ(0, exit_status(pid));
	EXPECT_EQ(HSL_ST_OK, raw_run(&q, &d));
	EXPECT_EQ(0, raw_destroy(&q));
	close(fd);
}

/* Another thread, and a child that shares memory, are the same address space. */
static void *query_thread(void *arg)
{
	struct hsl_query q = { .size = sizeof(q) };

	return (void *)(long)cmd((int)(long)arg, HSL_QUERY, &q);
}

TEST_F(life, threads)
{
	pthread_t t;
	void *ret;
	volatile int fd = open_device();
	pid_t pid;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, query_thread, (void *)(long)fd));
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(NULL, ret);
	pid = vfork();
	if (!pid)
		_exit((int)(long)query_thread((void *)(long)fd));
	EXPECT_EQ(0, exit_status(pid));
	close(fd);
}

/* This program as the one that is executed */
static void __attribute__((constructor)) executed(void)
{
	const char *fd = getenv("HSL_TEST_FD"), *db = getenv("HSL_TEST_DOORBELL");

	if (fd && db)
		_exit(all_refused(atoi(fd), EPERM, strtoull(db, NULL, 0), POLLERR | POLLHUP));
}

TEST_F(life, exec)
{
	char num[16], off[32], *argv[] = { "exec", NULL }, *dst, *src;
	struct raw q;
	pid_t pid;
	int fd, i;

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		fd = open_device();
		fcntl(fd, F_SETFD, 0);
		if (fd < 0 || raw_create(&q, fd, 16) || !work_buffers(WORK_FAULT, &dst, &src))
			_exit(30);
		for (i = 0; i < 8; i++)
			push_work(&q, WORK_FAULT, dst, src, i);
		snprintf(num, sizeof(num), "%d", fd);
		snprintf(off, sizeof(off), "%llu", (unsigned long long)q.par.doorbell_offset);
		setenv("HSL_TEST_FD", num, 1);
		setenv("HSL_TEST_DOORBELL", off, 1);
		execv("/proc/self/exe", argv);
		_exit(31);
	}
	EXPECT_EQ(0, exit_status(pid));
}

/* The opener dies in the middle of work; its file lives on in a stranger's hands. */
TEST_F(life, file_outlives_its_address_space)
{
	char *dst, *src;
	struct raw q;
	int sock[2], fd, i;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		fd = open_device();
		if (fd < 0 || raw_create(&q, fd, 16) || !work_buffers(WORK_FAULT, &dst, &src))
			_exit(30);
		for (i = 0; i < 16; i++)
			push_work(&q, WORK_FAULT, dst, src, i);
		_exit(send_fd(sock[1], fd) ? 31 : 0);
	}
	fd = recv_fd(sock[0]);
	ASSERT_GE(fd, 0);
	/* While the opener is there, and after */
	EXPECT_EQ(0, all_refused(fd, EPERM, 0, POLLERR | POLLHUP));
	EXPECT_EQ(0, exit_status(pid));
	EXPECT_EQ(0, all_refused(fd, EPERM, 0, POLLERR | POLLHUP));
	EXPECT_EQ(1, contexts());
	EXPECT_EQ(1, queues());
	EXPECT_TRUE(device_works());
	close(fd);
	close(sock[0]);
	close(sock[1]);
	/* The opener's memory, doorbell included, may take a moment longer to go. */
	EXPECT_TRUE(COMES_TRUE(contexts() == 0));
}

/*
 * The end of the device
 */

enum end {
	END_UNBIND,
	END_REMOVE,
	END_FLR,
};

FIXTURE(gone) {
	char pci[64];
	int fd;
	struct raw q[4];
	int done, bad;	/* eventfds of queue 0 */
	char *dst, *src;
	long long generation;
};

FIXTURE_VARIANT(gone) {
	enum hsl_sva sva;
	enum end end;
};

PROVIDER_VARIANT_ADD(gone, unbind, END_UNBIND);
PROVIDER_VARIANT_ADD(gone, remove, END_REMOVE);
PROVIDER_VARIANT_ADD(gone, flr, END_FLR);

static int end_begin(enum end end, const char *pci)
{
	char path[PATH_MAX];

	switch (end) {
	case END_UNBIND:
		return write_text(PCI_DRIVER "unbind", pci);
	case END_REMOVE:
		snprintf(path, sizeof(path), PCI_DEVICES "%s/remove", pci);
		return write_text(path, "1");
	case END_FLR:
		snprintf(path, sizeof(path), PCI_DEVICES "%s/reset_method", pci);
		if (write_text(path, "flr"))
			return -1;
		snprintf(path, sizeof(path), PCI_DEVICES "%s/reset", pci);
		return write_text(path, "1");
	}
	return -1;
}

static int end_back(enum end end, const char *pci)
{
	switch (end) {
	case END_UNBIND:
		return write_text(PCI_DRIVER "bind", pci);
	case END_REMOVE:
		return write_text("/sys/bus/pci/rescan", "1");
	case END_FLR:
		return 0;
	}
	return -1;
}

FIXTURE_SETUP(gone)
{
	struct hsl_queue_eventfd e = { .size = sizeof(e) };
	int i, j;

	NEED_DEVICE();
	USE_PROVIDER(variant->sva);
	ASSERT_EQ(0, pci_name(0, self->pci, sizeof(self->pci)));
	self->generation = read_number(CLASS_DIR "/generation");

	self->fd = open_device();
	ASSERT_GE(self->fd, 0);
	ASSERT_TRUE(work_buffers(WORK_FAULT, &self->dst, &self->src));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, raw_create(&self->q[i], self->fd, 16));
	self->done = eventfd(0, EFD_CLOEXEC);
	self->bad = eventfd(0, EFD_CLOEXEC);
	e.queue = self->q[3].par.queue;
	e.kind = HSL_EVENTFD_COMPLETION;
	e.fd = self->done;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	e.kind = HSL_EVENTFD_ERROR;
	e.fd = self->bad;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	/* Queue 3 is idle and is slept on; the others work. */
	for (i = 0; i < 3; i++)
		for (j = 0; j < 8; j++)
			push_work(&self->q[i], i ? WORK_FAULT : WORK_NOP, self->dst, self->src, j);
}

FIXTURE_TEARDOWN(gone)
{
	if (self->fd >= 0)
		close(self->fd);
	/* Whatever failed above, the next test wants a device. */
	if (access(NODE, F_OK))
		end_back(variant->end, self->pci);
}

static void *sleep_in_poll(void *arg)
{
	return (void *)(long)poll_fd((int)(long)arg, POLLPRI, BOUND_MS);
}

TEST_F_TIMEOUT(gone, with_work_in_flight, 120)
{
	pthread_t t;
	void *revents;
	int i, fd;
	pid_t pid;

	ASSERT_EQ(0, pthread_create(&t, NULL, sleep_in_poll, (void *)(long)self->fd));
	EXPECT_EQ(0, poll_fd(self->bad, POLLIN, 0));
	EXPECT_EQ(0, poke(self->q[3].db));

	ASSERT_EQ(0, end_begin(variant->end, self->pci));

	/* Everybody has been woken. */
	EXPECT_EQ(POLLIN, poll_fd(self->bad, POLLIN, 0));
	EXPECT_EQ(POLLIN, poll_fd(self->done, POLLIN, 0));
	ASSERT_EQ(0, pthread_join(t, &revents));
	EXPECT_EQ(POLLERR | POLLHUP, (long)revents & (POLLERR | POLLHUP));
	/* Doorbells lead nowhere, everything else is refused. */
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, poke(self->q[i].db));
	EXPECT_EQ(0, all_refused(self->fd, ENODEV, self->q[3].par.doorbell_offset,
				 POLLERR | POLLHUP));
	/* Whose it is comes before what has become of it. */
	pid = fork();
	if (!pid)
		_exit(all_refused(self->fd, EPERM, self->q[3].par.doorbell_offset, POLLERR | POLLHUP));
	EXPECT_EQ(0, exit_status(pid));
	EXPECT_EQ(variant->end == END_FLR ? 0 : -1, access(NODE, F_OK));

	ASSERT_EQ(0, end_back(variant->end, self->pci));

	/* The same name, while the old file is still open */
	ASSERT_TRUE(COMES_TRUE(!access(NODE, F_OK)));
	ASSERT_EQ(0, contexts());
	EXPECT_EQ(0, queues());
	if (variant->end == END_FLR)
		EXPECT_GT(read_number(CLASS_DIR "/generation"), self->generation);
	EXPECT_TRUE(device_works());
	EXPECT_EQ(0, all_refused(self->fd, ENODEV, self->q[3].par.doorbell_offset,
				 POLLERR | POLLHUP));
	EXPECT_EQ(0, poke(self->q[3].db));

	/* Old and new side by side; the old one's end does not hurt the new. */
	fd = open_device();
	ASSERT_GE(fd, 0);
	for (i = 0; i < 4; i++)
		munmap((void *)self->q[i].db, PAGE);
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(1, contexts());
	close(fd);
	EXPECT_EQ(0, contexts());
}

/* A program on libhsl that sleeps, submits and waits over the end learns of it. */
TEST_F_TIMEOUT(gone, library, 120)
{
	const struct hsl_cqe *c;
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = provider };
	struct hsl_queue *q;
	struct hsl_ctx *ctx;

	ASSERT_EQ(0, hsl_open(NODE, &opts, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	hsl_prep_nop(hsl_get_desc(q));
	ASSERT_EQ(1, hsl_submit(q));
	ASSERT_EQ(0, hsl_wait(q, &c, 10000000000));
	hsl_seen(q, 1);
	/* Asleep: the next one rings the doorbell. */
	ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&q->ctl->db_needed, __ATOMIC_RELAXED)));

	ASSERT_EQ(0, end_begin(variant->end, self->pci));
	hsl_prep_nop(hsl_get_desc(q));
	EXPECT_EQ(1, hsl_submit(q));
	EXPECT_EQ(-ENODEV, hsl_wait(q, &c, 10000000000));
	EXPECT_EQ(-ENODEV, hsl_query(ctx, &info));
	EXPECT_EQ(0, hsl_queue_destroy(q));
	hsl_close(ctx);

	ASSERT_EQ(0, end_back(variant->end, self->pci));
	ASSERT_TRUE(COMES_TRUE(!access(NODE, F_OK)));
	EXPECT_TRUE(device_works());
}

TEST_F_TIMEOUT(gone, again_and_again, 200)
{
	int round;

	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, end_begin(variant->end, self->pci));
		ASSERT_EQ(0, end_back(variant->end, self->pci));
		ASSERT_TRUE(COMES_TRUE(!access(NODE, F_OK)));
		ASSERT_TRUE(device_works()) TH_LOG("round %d", round);
	}
}

/* Threads in every call while the device goes and comes */
static bool stop_racing;

/* To an open(); all other calls know one error for it. */
static bool may_happen(int err)
{
	return !err || err == ENODEV || err == ENOENT || err == ENXIO;
}

static void *race_open(void *arg)
{
	long bad = 0;

	while (!READ_ONCE(stop_racing) && !bad) {
		struct hsl_query query = { .size = sizeof(query) };
		int err, fd = open_device();

		if (fd < 0) {
			bad = may_happen(-fd) ? 0 : -fd;
			continue;
		}
		err = cmd(fd, HSL_QUERY, &query);
		if (err && err != ENODEV)
			bad = 1000 + err;
		close(fd);
	}
	return (void *)bad;
}

/* 0, or the errno that must not be and in thousands which call */
static long race_calls(int fd, bool use)
{
	struct hsl_desc d = desc_nop(1);
	struct hsl_submit s = { .size = sizeof(s), .nr = 1, .descs = (uintptr_t)&d };
	struct raw q;
	int err;

	err = raw_create(&q, fd, 4);
	if (err) {
		munmap(q.sq, q.bytes);
		return err == ENODEV ? 0 : 2000 + err;
	}
	if (use) {
		s.queue = q.par.queue;
		err = cmd(fd, HSL_SUBMIT, &s);
		if (err && err != ENODEV)
			return 3000 + err;
		poll_fd(fd, POLLIN, 0);
	}
	err = raw_destroy(&q);
	return !err || err == ENODEV ? 0 : 4000 + err;
}

static void *race_queue(void *arg)
{
	bool use = arg;
	long bad = 0;

	while (!READ_ONCE(stop_racing) && !bad) {
		int i, fd = open_device();

		if (fd < 0)
			continue;
		for (i = 0; i < 10 && !bad; i++)
			bad = race_calls(fd, use);
		close(fd);
	}
	return (void *)bad;
}

static void *race_sysfs(void *arg)
{
	while (!READ_ONCE(stop_racing)) {
		read_number(CLASS_DIR "/counters/ops");
		read_number(CLASS_DIR "/queues");
		read_number(CLASS_DIR "/generation");
	}
	return NULL;
}

TEST_F_TIMEOUT(gone, under_fire, 200)
{
	pthread_t t[4];
	void *bad;
	int i;

	stop_racing = false;
	ASSERT_EQ(0, pthread_create(&t[0], NULL, race_open, NULL));
	ASSERT_EQ(0, pthread_create(&t[1], NULL, race_queue, NULL));
	ASSERT_EQ(0, pthread_create(&t[2], NULL, race_queue, (void *)1));
	ASSERT_EQ(0, pthread_create(&t[3], NULL, race_sysfs, NULL));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(0, end_begin(variant->end, self->pci));
		EXPECT_EQ(0, end_back(variant->end, self->pci));
		EXPECT_TRUE(COMES_TRUE(!access(NODE, F_OK)));
	}
	WRITE_ONCE(stop_racing, true);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, pthread_join(t[i], &bad));
		EXPECT_EQ(NULL, bad) TH_LOG("thread %d: %ld", i, (long)bad);
	}
	EXPECT_EQ(0, contexts());
	EXPECT_EQ(0, queues());
	EXPECT_TRUE(device_works());
}

/* Is the text in what the kernel has logged since @fd was there? */
static bool logged(int fd, const char *text)
{
	char record[2048];
	bool found = false;
	ssize_t n;

	/* Each read gives a record; EPIPE: older ones have made room. */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		record[n > 0 ? n : 0] = '\0';
		found |= !!strstr(record, text);
	}
	return found;
}

/* A module that is told of something it does not know: 0 when it is refused, and the log has this. */
static int refused(int module, const char *args, const char *text)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), err;

	if (log < 0 || lseek(log, 0, SEEK_END) < 0)
		return -errno;
	err = syscall(SYS_finit_module, module, args, 0) ? errno : 0;
	if (err == EINVAL)
		err = logged(log, text) ? 0 : ENOMSG;
	else
		err = err ?: EEXIST;
	close(log);
	return err;
}

TEST_F(life, module)
{
	const char *path = getenv("HSL_MODULE");
	int fd, module;

	if (!path || access(path, R_OK))
		SKIP(return, "HSL_MODULE does not name a module to load again");
	fd = open_device();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "hsl", O_NONBLOCK));
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
	ASSERT_EQ(0, syscall(SYS_delete_module, "hsl", O_NONBLOCK)) TH_LOG("%s", strerror(errno));
	EXPECT_EQ(-1, access(NODE, F_OK));
	module = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(module, 0);
	EXPECT_EQ(0, refused(module, "sva=none", "hsl: sva=none: no such provider\n"));
	EXPECT_EQ(0, refused(module, "memory=none", "hsl: memory=none: no such mode\n"));
	EXPECT_EQ(-1, access("/sys/module/hsl", F_OK));
	ASSERT_EQ(0, syscall(SYS_finit_module, module, "", 0)) TH_LOG("%s", strerror(errno));
	close(module);
	ASSERT_TRUE(COMES_TRUE(!access(NODE, F_OK)));
}

/*
 * Many
 */

TEST_F_TIMEOUT(life, many_contexts_many_queues, 120)
{
	struct { int fd; struct raw q[16]; } *c;
	uint64_t *mem;
	long long nr_queues = read_number(CLASS_DIR "/limits/nr_queues");
	int i, j, nr;

	nr = nr_queues / 16 < 16 ? nr_queues / 16 : 16;
	c = calloc(nr, sizeof(*c));
	mem = map_anon(2 * 16 * nr * sizeof(*mem));
	ASSERT_NE(NULL, c);
	ASSERT_NE(NULL, mem);
	for (i = 0; i < nr; i++) {
		c[i].fd = open_device();
		ASSERT_GE(c[i].fd, 0);
		for (j = 0; j < 16; j++)
			ASSERT_EQ(0, raw_create(&c[i].q[j], c[i].fd, 4));
	}
	EXPECT_EQ(nr, contexts());
	EXPECT_EQ(nr * 16, queues());
	/* All at once, then look */
	for (i = 0; i < nr * 16; i++) {
		struct hsl_desc d = desc_copy(&mem[16 * nr + i], &mem[i], sizeof(*mem), i);

		mem[i] = 0x1000 + i;
		raw_push(&c[i / 16].q[i % 16], &d);
	}
	for (i = 0; i < nr * 16; i++) {
		struct hsl_cqe cqe;

		ASSERT_TRUE(raw_wait(&c[i / 16].q[i % 16], &cqe));
		ASSERT_EQ(HSL_ST_OK, cqe.status);
		ASSERT_EQ(i, cqe.user_data);
		ASSERT_EQ(0x1000 + i, mem[16 * nr + i]);
	}
	/* Every other queue by hand, the rest with the file */
	for (i = 0; i < nr; i++) {
		for (j = 0; j < 16; j += 2)
			ASSERT_EQ(0, raw_destroy(&c[i].q[j]));
		for (j = 1; j < 16; j += 2)
			munmap((void *)c[i].q[j].db, PAGE);
		close(c[i].fd);
	}
	free(c);
}

TEST_HARNESS_MAIN
