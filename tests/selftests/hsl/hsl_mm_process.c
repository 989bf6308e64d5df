// SPDX-License-Identifier: GPL-2.0
/*
 * What processes do to address spaces while a device works in them: fork, exec
 * and end, write into each other's memory, and handle each other's faults.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "hsl_mm.h"

extern char **environ;

enum kind { ANON, HUGE };

/*
 * Fork: private memory is everybody's own from then on.
 */

FIXTURE(forks) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct mm_region r;
	char *mem;
	size_t len;
	pid_t kept[3];
};

FIXTURE_VARIANT(forks) {
	enum hsl_sva sva;
	enum kind kind;
};

PROVIDER_VARIANT_ADD(forks, anon, ANON);
PROVIDER_VARIANT_ADD(forks, huge, HUGE);

FIXTURE_SETUP(forks)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	self->len = variant->kind == HUGE ? 2 * HUGE_PAGE : 64 * page_size();
	self->mem = mm_anon(self->len, variant->kind == HUGE);
	ASSERT_NE(NULL, self->mem);
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, 0));
}

FIXTURE_TEARDOWN(forks)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static bool ended_well(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

/* In a child of many threads: nothing but system calls and its own memory. */
static bool stays(FIXTURE_DATA(forks) *self, const char *copy)
{
	int i;

	for (i = 0; i < 4; i++) {
		if (memcmp(copy, self->mem, self->len))
			return false;
		usleep(500);
	}
	return true;
}

static bool child_looks(FIXTURE_DATA(forks) *self)
{
	pid_t pid = fork();

	if (!pid) {
		char *copy = map_anon(self->len);

		memcpy(copy, self->mem, self->len);
		_exit(!stays(self, copy));
	}
	return ended_well(pid);
}

static bool child_writes(FIXTURE_DATA(forks) *self)
{
	pid_t pid = fork();

	if (!pid) {
		char *copy = map_anon(self->len);
		size_t page = page_size(), i;

		/* Some pages only, so that others stay shared. */
		for (i = 0; i < self->len / page; i += 1 + i % 3)
			memset(self->mem + i * page, 0xcc, page);
		memcpy(copy, self->mem, self->len);
		_exit(!stays(self, copy));
	}
	return ended_well(pid);
}

static bool grandchildren(FIXTURE_DATA(forks) *self)
{
	pid_t pid = fork();

	if (!pid) {
		char *copy = map_anon(self->len);
		pid_t second;

		memcpy(copy, self->mem, self->len);
		second = fork();
		if (!second) {
			memset(self->mem, 0xee, self->len);
			_exit(0);
		}
		if (!stays(self, copy) || !ended_well(second))
			_exit(1);
		memset(self->mem, 0xdd, self->len);
		_exit(0);
	}
	return ended_well(pid);
}

/* Three at a time, that hold the pages shared until they are killed */
static bool children_stay(FIXTURE_DATA(forks) *self)
{
	unsigned int n = rnd(3);
	int status;

	if (self->kept[n]) {
		kill(self->kept[n], SIGKILL);
		if (waitpid(self->kept[n], &status, 0) != self->kept[n] || !WIFSIGNALED(status))
			return false;
	}
	self->kept[n] = fork();
	if (!self->kept[n]) {
		char *copy = map_anon(self->len);

		memcpy(copy, self->mem, self->len);
		while (stays(self, copy))
			;
		_exit(1);
	}
	return self->kept[n] > 0;
}

static bool spawns(FIXTURE_DATA(forks) *self)
{
	char *argv[] = { "true", NULL };
	pid_t pid;

	if (rnd(2)) {
		pid = vfork();
		if (!pid) {
			execv("/bin/true", argv);
			_exit(1);
		}
	} else if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ)) {
		return false;
	}
	return ended_well(pid);
}

/* A child that is to have nothing of it: zeros, or no mapping at all */
static bool child_gets_zeros(FIXTURE_DATA(forks) *self)
{
	pid_t pid;

	if (madvise(self->mem, self->len, MADV_WIPEONFORK))
		return false;
	pid = fork();
	if (!pid) {
		size_t i;

		for (i = 0; i < self->len; i++)
			if (self->mem[i])
				_exit(1);
		memset(self->mem, 1, self->len);
		_exit(0);
	}
	return ended_well(pid) && !madvise(self->mem, self->len, MADV_KEEPONFORK);
}

static bool child_gets_nothing(FIXTURE_DATA(forks) *self)
{
	pid_t pid;

	if (madvise(self->mem, self->len, MADV_DONTFORK))
		return false;
	pid = fork();
	if (!pid) {
		unsigned char vec[1];

		_exit(!(mincore(self->mem, page_size(), vec) < 0 && errno == ENOMEM));
	}
	return ended_well(pid) && !madvise(self->mem, self->len, MADV_DOFORK);
}

static void run_forks(struct __test_metadata *_metadata, FIXTURE_DATA(forks) *self,
		      bool (*event)(FIXTURE_DATA(forks) *self))
{
	int i;

	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 200));
	MM_WHILE_WORKING(&self->r) {
		if (!event(self)) {
			EXPECT_TRUE(false) TH_LOG("%s", strerror(errno));
			break;
		}
	}
	for (i = 0; i < 3; i++) {
		int status;

		if (!self->kept[i])
			continue;
		kill(self->kept[i], SIGKILL);
		EXPECT_EQ(self->kept[i], waitpid(self->kept[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	mm_stop(_metadata, &self->r);
}

TEST_F_TIMEOUT(forks, child_looks, 60)
{
	run_forks(_metadata, self, child_looks);
}

TEST_F_TIMEOUT(forks, child_writes, 60)
{
	run_forks(_metadata, self, child_writes);
}

TEST_F_TIMEOUT(forks, grandchildren, 60)
{
	run_forks(_metadata, self, grandchildren);
}

TEST_F_TIMEOUT(forks, children_stay, 60)
{
	run_forks(_metadata, self, children_stay);
}

TEST_F_TIMEOUT(forks, vfork_and_exec, 60)
{
	run_forks(_metadata, self, spawns);
}

TEST_F_TIMEOUT(forks, wiped, 60)
{
	run_forks(_metadata, self, child_gets_zeros);
}

TEST_F_TIMEOUT(forks, not_inherited, 60)
{
	run_forks(_metadata, self, child_gets_nothing);
}

/*
 * The end of a process whose threads keep the device busy while its mapping
 * changes: afterwards the device is idle, and nothing is left.
 */

enum end { EXIT, KILL, SEGV, EXEC, LEADER_FIRST };

#define CLASS_DIR "/sys/class/hsl/hsl0/"

FIXTURE(ends) {
	struct hsl_ctx *ctx;	/* of the survivor */
	struct mm_oracle oracle;
	long long contexts, queues;
};

FIXTURE_VARIANT(ends) {
	enum hsl_sva sva;
	enum end end;
};

PROVIDER_VARIANT_ADD(ends, exit, EXIT);
PROVIDER_VARIANT_ADD(ends, kill, KILL);
PROVIDER_VARIANT_ADD(ends, segv, SEGV);
PROVIDER_VARIANT_ADD(ends, exec, EXEC);
PROVIDER_VARIANT_ADD(ends, leader_first, LEADER_FIRST);

FIXTURE_SETUP(ends)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	self->contexts = read_number(CLASS_DIR "contexts");
	self->queues = read_number(CLASS_DIR "queues");
}

FIXTURE_TEARDOWN(ends)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static void *outlive_the_leader(void *arg)
{
	usleep(20000);
	_exit(0);
}

static void busy_to_the_end(struct __test_metadata *_metadata, const FIXTURE_VARIANT(ends) *variant, int ready)
{
	struct rlimit none = { 0 };
	char *argv[] = { "true", NULL };
	static struct mm_region r;
	struct hsl_ctx *ctx;
	size_t len = 64 * page_size();
	char *mem = mm_anon(len, false);
	pthread_t thread;
	long long end;

	setrlimit(RLIMIT_CORE, &none);
	if (!mem || open_on(dev_path(0), variant->sva, &ctx) || mm_init(&r, ctx, mem, len, 0, MM_CLOSES))
		_exit(10);
	mm_start(_metadata, &r);
	mm_let_work(&r, 50);
	/* Closed when it ends, now and then. */
	mm_next(&r, 0, 16, 1);
	if (rnd(2))
		munmap(mem, 16 * r.page);
	else
		mprotect(mem, 16 * r.page, PROT_READ);
	if (r.stop || write(ready, "", 1) != 1)
		_exit(11);
	switch (variant->end) {
	case EXIT:
		exit(0);
	case SEGV:
		raise(SIGSEGV);
		_exit(12);
	case EXEC:
		execv("/bin/true", argv);
		_exit(13);
	case LEADER_FIRST:
		if (pthread_create(&thread, NULL, outlive_the_leader, NULL))
			_exit(14);
		syscall(SYS_exit, 0);
		_exit(15);
	default:
		for (end = now_ms() + BOUND_MS; now_ms() < end; )
			madvise(mem + 32 * r.page, 16 * r.page, MADV_COLD);
		_exit(16);
	}
}

TEST_F_TIMEOUT(ends, at_work, 100)
{
	struct hsl_queue *q;
	struct hsl_cqe c;
	uint64_t word = 0;
	int round;

	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &q));
	for (round = 0; round < 4; round++) {
		int ready[2], status;
		pid_t pid;
		char byte;

		ASSERT_EQ(0, pipe(ready));
		rnd64();
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			busy_to_the_end(_metadata, variant, ready[1]);
		close(ready[1]);
		EXPECT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		if (variant->end == KILL)
			ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(variant->end == KILL ? SIGKILL : variant->end == SEGV ? SIGSEGV : 0, status);
		EXPECT_TRUE(COMES_TRUE(read_number(CLASS_DIR "contexts") == self->contexts));
		EXPECT_EQ(self->queues + 1, read_number(CLASS_DIR "queues"));
		/* The survivor goes on. */
		hsl_prep_atomic_add(hsl_get_desc(q), &word, 8, 1);
		ASSERT_EQ(0, finish_one(q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(round, c.result);
	}
}

/*
 * Another process writes into the memory, and reads what the device wrote.
 */

enum method { VM_WRITEV, PROC_MEM, PTRACE };

struct order {
	bool fill;	/* else: read */
	char *at;
	uint64_t val;
};

struct answer {
	int status;
	uint64_t first, last;
};

FIXTURE(peer) {
	pid_t pid;	/* works the device; we write into it */
	int order, answer, mem;
	char *page, *read_only;
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
};

FIXTURE_VARIANT(peer) {
	enum hsl_sva sva;
	enum method method;
};

PROVIDER_VARIANT_ADD(peer, process_vm, VM_WRITEV);
PROVIDER_VARIANT_ADD(peer, proc_mem, PROC_MEM);
PROVIDER_VARIANT_ADD(peer, ptrace, PTRACE);

static void obey(enum hsl_sva sva, int order, int answer)
{
	size_t page = page_size();
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint64_t buf[page / 8];
	struct order o;

	int err = open_on(dev_path(0), sva, &ctx);

	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		_exit(-err);
	while (read(order, &o, sizeof(o)) == sizeof(o)) {
		struct answer a = { 0 };
		struct hsl_cqe c;

		if (o.fill)
			hsl_prep_fill(hsl_get_desc(q), o.at, o.val, page);
		else
			hsl_prep_copy(hsl_get_desc(q), buf, o.at, page);
		if (finish_one(q, &c))
			_exit(254);
		a.status = c.status;
		a.first = buf[0];
		a.last = buf[page / 8 - 1];
		if (write(answer, &a, sizeof(a)) != sizeof(a))
			_exit(255);
	}
	_exit(0);
}

FIXTURE_SETUP(peer)
{
	int order[2], answer[2];
	char path[64];

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	self->page = map_anon(4 * page_size());
	ASSERT_NE(NULL, self->page);
	self->read_only = self->page + 2 * page_size();
	ASSERT_EQ(0, mprotect(self->read_only, page_size(), PROT_READ));
	ASSERT_EQ(0, pipe(order));
	ASSERT_EQ(0, pipe(answer));
	self->pid = fork();
	ASSERT_GE(self->pid, 0);
	if (!self->pid) {
		close(order[1]);
		close(answer[0]);
		obey(variant->sva, order[0], answer[1]);
	}
	close(order[0]);
	close(answer[1]);
	self->order = order[1];
	self->answer = answer[0];
	snprintf(path, sizeof(path), "/proc/%d/mem", self->pid);
	self->mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->mem, 0);
}

FIXTURE_TEARDOWN(peer)
{
	int status;

	if (!self->ctx)
		return;
	close(self->order);
	EXPECT_EQ(self->pid, waitpid(self->pid, &status, 0));
	EXPECT_EQ(0, status)
		TH_LOG("it ended with status %#x", status);
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static struct answer tell(FIXTURE_DATA(peer) *self, bool fill, char *at, uint64_t val)
{
	struct order o = { .fill = fill, .at = at, .val = val };
	struct answer a = { .status = -1 };

	if (write(self->order, &o, sizeof(o)) != sizeof(o) || read(self->answer, &a, sizeof(a)) != sizeof(a))
		a.status = -1;
	return a;
}

/* The first and the last word of a page of the other process */
static bool access_words(FIXTURE_DATA(peer) *self, enum method method, char *at, uint64_t *words, bool write)
{
	size_t page = page_size(), i, n = page / 8;
	uint64_t buf[n];
	struct iovec l = { buf, page }, r = { at, page };
	bool ok = true;
	int status;

	switch (method) {
	case VM_WRITEV:
	case PROC_MEM:
		if (write) {
			mm_words(buf, words[0], page);
			buf[n - 1] = words[1];
		}
		if (method == VM_WRITEV)
			ok = (write ? process_vm_writev(self->pid, &l, 1, &r, 1, 0) :
			      process_vm_readv(self->pid, &l, 1, &r, 1, 0)) == (ssize_t)page;
		else
			ok = (write ? pwrite(self->mem, buf, page, (uintptr_t)at) :
			      pread(self->mem, buf, page, (uintptr_t)at)) == (ssize_t)page;
		words[0] = buf[0];
		words[1] = buf[n - 1];
		return ok;
	case PTRACE:
		if (ptrace(PTRACE_ATTACH, self->pid, NULL, NULL) || waitpid(self->pid, &status, 0) != self->pid)
			return false;
		for (i = 0; i < 2; i++) {
			char *word = at + (i ? page - 8 : 0);

			errno = 0;
			if (write)
				ok &= !ptrace(PTRACE_POKEDATA, self->pid, word, words[i]);
			else
				words[i] = ptrace(PTRACE_PEEKDATA, self->pid, word, NULL);
			ok &= !errno;
		}
		return !ptrace(PTRACE_DETACH, self->pid, NULL, NULL) && ok;
	}
	return false;
}

TEST_F_TIMEOUT(peer, to_and_fro, 60)
{
	uint64_t words[2];
	struct answer a;
	uint64_t n;

	for (n = 1; n <= 100; n++) {
		words[0] = n;
		words[1] = ~n;
		ASSERT_TRUE(access_words(self, variant->method, self->page, words, true));
		a = tell(self, false, self->page, 0);
		ASSERT_EQ(HSL_ST_OK, a.status);
		ASSERT_EQ(n, a.first);
		ASSERT_EQ(~n, a.last);
		a = tell(self, true, self->page, n << 32);
		ASSERT_EQ(HSL_ST_OK, a.status);
		ASSERT_TRUE(access_words(self, variant->method, self->page, words, false));
		ASSERT_EQ(n << 32, words[0]);
		ASSERT_EQ(n << 32, words[1]);
	}
}

/* Whether /proc/PID/mem may do so is a matter of the kernel's configuration. */
static bool can_force(enum method method)
{
	char *page = mmap(NULL, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
	bool can = fd >= 0 && pwrite(fd, "x", 1, (uintptr_t)page) == 1 && *page == 'x';

	close(fd);
	munmap(page, page_size());
	return method == PTRACE || (method == PROC_MEM && can);
}

/* A debugger writes to what is read-only; the device sees it and cannot do the same. */
TEST_F_TIMEOUT(peer, read_only, 60)
{
	bool forced = can_force(variant->method);
	uint64_t words[2];
	struct answer a;
	uint64_t n;

	for (n = 1; n <= 20; n++) {
		a = tell(self, false, self->read_only, 0);
		ASSERT_EQ(HSL_ST_OK, a.status);
		words[0] = n;
		words[1] = ~n;
		ASSERT_EQ(forced,
			  access_words(self, variant->method, self->read_only, words, true));
		a = tell(self, false, self->read_only, 0);
		ASSERT_EQ(HSL_ST_OK, a.status);
		ASSERT_EQ(forced ? n : 0, a.first);
		a = tell(self, true, self->read_only, 0x99);
		ASSERT_EQ(HSL_ST_PAGE_FAULT, a.status);
		ASSERT_TRUE(access_words(self, variant->method, self->read_only, words, false));
		ASSERT_EQ(forced ? n : 0, words[0]);
	}
}

/*
 * The other way round: the device works here all along, and what the CPU has to do
 * another process does.
 */

struct request {
	char *at;
	bool write;
};

FIXTURE(helped) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct mm_region r;
	char *mem, *exchange;	/* a page that both have */
	size_t len;
	pid_t pid;		/* who helps */
	int order, answer;
	pthread_mutex_t lock;
	long forced, refused;	/* writes to pages that were read-only all the time */
};

FIXTURE_VARIANT(helped) {
	enum hsl_sva sva;
	enum method method;
};

PROVIDER_VARIANT_ADD(helped, process_vm, VM_WRITEV);
PROVIDER_VARIANT_ADD(helped, proc_mem, PROC_MEM);
PROVIDER_VARIANT_ADD(helped, ptrace, PTRACE);

static bool access_all(pid_t pid, int mem, enum method method, struct request *q, uint64_t *buf)
{
	size_t page = page_size(), i;
	struct iovec l = { buf, page }, r = { q->at, page };
	bool ok = true;
	int status;

	switch (method) {
	case VM_WRITEV:
		return (q->write ? process_vm_writev(pid, &l, 1, &r, 1, 0) :
			process_vm_readv(pid, &l, 1, &r, 1, 0)) == (ssize_t)page;
	case PROC_MEM:
		return (q->write ? pwrite(mem, buf, page, (uintptr_t)q->at) :
			pread(mem, buf, page, (uintptr_t)q->at)) == (ssize_t)page;
	case PTRACE:
		/* Of the threads only the first one stops. */
		if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid)
			return false;
		for (i = 0; i < page / 8 && ok; i++) {
			errno = 0;
			if (q->write)
				ok = !ptrace(PTRACE_POKEDATA, pid, q->at + i * 8, buf[i]);
			else
				buf[i] = ptrace(PTRACE_PEEKDATA, pid, q->at + i * 8, NULL);
			ok &= !errno;
		}
		return !ptrace(PTRACE_DETACH, pid, NULL, NULL) && ok;
	}
	return false;
}

static void help(pid_t pid, enum method method, int order, int answer, uint64_t *exchange)
{
	struct request q;
	char path[64];
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		_exit(1);
	while (read(order, &q, sizeof(q)) == sizeof(q)) {
		bool ok = access_all(pid, mem, method, &q, exchange);

		if (write(answer, &ok, sizeof(ok)) != sizeof(ok))
			_exit(2);
	}
	_exit(0);
}

static bool by_helper(struct mm_region *r, void *ours, void *theirs, bool write_it)
{
	FIXTURE_DATA(helped) *self = r->cpu_arg;
	size_t page = ((char *)theirs - r->mem) / r->page;
	struct request q = { .at = theirs, .write = write_it };
	uint32_t ph = mm_phase(r, page);
	bool ok = false;

	pthread_mutex_lock(&self->lock);
	if (write_it)
		memcpy(self->exchange, ours, r->page);
	if (write(self->order, &q, sizeof(q)) != sizeof(q) || read(self->answer, &ok, sizeof(ok)) != sizeof(ok))
		ok = false;
	if (ok && !write_it)
		memcpy(ours, self->exchange, r->page);
	if (write_it && (ph & 3) == 2 && ph == mm_phase(r, page)) {
		self->forced += ok;
		self->refused += !ok;
	}
	pthread_mutex_unlock(&self->lock);
	return ok;
}

FIXTURE_SETUP(helped)
{
	int order[2], answer[2];
	pid_t us = getpid();

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	self->len = 64 * page_size();
	self->mem = mm_anon(self->len, false);
	self->exchange = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(MAP_FAILED, self->exchange);
	pthread_mutex_init(&self->lock, NULL);
	ASSERT_EQ(0, pipe(order));
	ASSERT_EQ(0, pipe(answer));
	self->pid = fork();
	ASSERT_GE(self->pid, 0);
	if (!self->pid) {
		close(order[1]);
		close(answer[0]);
		help(us, variant->method, order[0], answer[1], (uint64_t *)self->exchange);
	}
	close(order[0]);
	close(answer[1]);
	self->order = order[1];
	self->answer = answer[0];
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, MM_CLOSES));
	self->r.cpu = by_helper;
	self->r.cpu_arg = self;
}

FIXTURE_TEARDOWN(helped)
{
	if (!self->ctx)
		return;
	close(self->order);
	EXPECT_TRUE(ended_well(self->pid));
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

/* Pages are read-only for a while: never for a debugger, for everybody else, and for the device. */
TEST_F_TIMEOUT(helped, at_work, 60)
{
	bool can = can_force(variant->method);
	struct mm_region *r = &self->r;
	int i;

	mm_start(_metadata, r);
	ASSERT_TRUE(mm_let_work(r, 100));
	MM_WHILE_WORKING(r) {
		size_t nr = 1 + rnd(16), first = rnd(r->pages - nr + 1);
		char *at = r->mem + first * r->page;

		mm_keep_readable(r, first, nr);
		mm_next(r, first, nr, 1);
		ASSERT_EQ(0, mprotect(at, nr * r->page, PROT_READ));
		mm_next(r, first, nr, 1);
		mm_stay_closed(r);
		for (i = 0; i < 100 && !__atomic_load_n(can ? &self->forced : &self->refused, __ATOMIC_RELAXED); i++)
			mm_let_work(r, 10);
		mm_next(r, first, nr, 1);
		ASSERT_EQ(0, mprotect(at, nr * r->page, PROT_READ | PROT_WRITE));
		mm_next(r, first, nr, 1);
	}
	mm_stop(_metadata, r);
	EXPECT_GT(mm_must_faults(r), 0);
	EXPECT_GT(can ? self->forced : self->refused, 0);
	EXPECT_EQ(0, can ? self->refused : self->forced);
}

/*
 * Faults that a program handles itself
 */

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif

FIXTURE(uffd) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct mm_oracle oracle;
	struct mm_region r;
	char *mem, *fresh;
	size_t len, page;
	int fd;
	pthread_t handler;
	bool stop;
	long handled;
};

PROVIDER_VARIANTS(uffd);

FIXTURE_SETUP(uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP };

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	if (ioctl(self->fd, UFFDIO_API, &api))
		SKIP(return, "userfaultfd without write protection: %s", strerror(errno));
	mm_oracle_begin(&self->oracle, self->ctx);
	self->page = page_size();
	self->len = 64 * self->page;
	self->mem = mm_anon(self->len, false);
	self->fresh = map_anon(self->page);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->fresh);
	reg.range.start = (uintptr_t)self->mem;
	reg.range.len = self->len;
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN(uffd)
{
	if (!self->ctx)
		return;
	if (self->mem)
		mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static bool give_page(FIXTURE_DATA(uffd) *self, uintptr_t at)
{
	struct uffdio_copy copy = {
		.dst = at & ~(self->page - 1), .src = (uintptr_t)self->fresh, .len = self->page,
	};

	return !ioctl(self->fd, UFFDIO_COPY, &copy) || copy.copy == -EEXIST;
}

static bool protect_pages(FIXTURE_DATA(uffd) *self, char *at, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)at, len }, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(self->fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Whatever comes gets its page, or its right to write. */
static void *handle(void *arg)
{
	FIXTURE_DATA(uffd) *self = arg;
	struct uffd_msg m;

	while (!__atomic_load_n(&self->stop, __ATOMIC_SEQ_CST)) {
		struct pollfd p = { .fd = self->fd, .events = POLLIN };
		char *at;

		if (poll(&p, 1, 10) != 1 || read(self->fd, &m, sizeof(m)) != sizeof(m) ||
		    m.event != UFFD_EVENT_PAGEFAULT)
			continue;
		at = (char *)(uintptr_t)(m.arg.pagefault.address & ~(self->page - 1));
		if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			protect_pages(self, at, self->page, false);
		else
			give_page(self, (uintptr_t)at);
		__atomic_fetch_add(&self->handled, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void handler_start(struct __test_metadata *_metadata, FIXTURE_DATA(uffd) *self)
{
	self->stop = false;
	ASSERT_EQ(0, pthread_create(&self->handler, NULL, handle, self));
}

static void handler_stop(FIXTURE_DATA(uffd) *self)
{
	__atomic_store_n(&self->stop, true, __ATOMIC_SEQ_CST);
	pthread_join(self->handler, NULL);
}

/*
 * A page that the handler has to bring. The kernel's I/O page fault path does
 * not wait for it: PAGE_FAULT, and the program does it again. The provider hmm
 * waits.
 */
TEST_F_TIMEOUT(uffd, missing, 60)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };
	struct hsl_cqe c;
	struct uffd_msg m;
	char seen[self->page];
	size_t n;

	for (n = 0; n < 16; n++) {
		char *at = self->mem + n * self->page;

		memset(self->fresh, n + 1, self->page);
		hsl_prep_copy(hsl_get_desc(self->q), seen, at, self->page);
		if (variant->sva == HSL_SVA_IOMMU) {
			ASSERT_EQ(0, finish_one(self->q, &c));
			ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
			ASSERT_EQ((uintptr_t)at, c.addr);
			ASSERT_TRUE(give_page(self, (uintptr_t)at));
			hsl_prep_copy(hsl_get_desc(self->q), seen, at, self->page);
		} else {
			hsl_submit(self->q);
			ASSERT_EQ(1, poll(&p, 1, BOUND_MS));
			ASSERT_EQ(sizeof(m), read(self->fd, &m, sizeof(m)));
			ASSERT_EQ(UFFD_EVENT_PAGEFAULT, m.event);
			ASSERT_EQ((uintptr_t)at, m.arg.pagefault.address & ~(self->page - 1));
			ASSERT_EQ(NULL, hsl_cqe_at(self->q, self->q->cq_head));
			ASSERT_TRUE(give_page(self, (uintptr_t)at));
		}
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(0, memcmp(seen, self->fresh, self->page));
	}
}

/* Pages vanish and come back by the handler while everybody works. */
TEST_F_TIMEOUT(uffd, missing_at_work, 60)
{
	size_t n;

	for (n = 0; n < 64; n++)
		ASSERT_TRUE(give_page(self, (uintptr_t)self->mem + n * self->page));
	handler_start(_metadata, self);
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0,
			     variant->sva == HSL_SVA_IOMMU ? MM_FAULTY : 0));
	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 100));
	MM_WHILE_WORKING(&self->r) {
		size_t nr = 1 + rnd(8), first = rnd(64 - nr);

		mm_lose(&self->r, first, nr);
		ASSERT_EQ(0, madvise(self->mem + first * self->page, nr * self->page, MADV_DONTNEED));
		mm_next(&self->r, first, nr, 3);
	}
	/* What is missing still comes for the CPU. */
	mm_let_work(&self->r, 100);
	__atomic_store_n(&self->r.stop, true, __ATOMIC_SEQ_CST);
	for (n = 0; n < self->r.workers; n++)
		pthread_join(self->r.worker[n].thread, NULL);
	for (n = 0; n < self->r.workers; n++) {
		EXPECT_EQ('\0', self->r.worker[n].wrong[0])
			TH_LOG("%s", self->r.worker[n].wrong);
	}
	mm_verify(_metadata, &self->r);
	handler_stop(self);
	EXPECT_GT(self->handled, 0);
}

/* Writing to a protected page is for the handler, reading is not. */
TEST_F_TIMEOUT(uffd, write_protect, 60)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };
	struct uffd_msg m;
	struct hsl_cqe c;
	char seen[self->page];
	size_t n;

	for (n = 0; n < 16; n++) {
		char *at = self->mem + n * self->page;

		memset(self->fresh, n + 1, self->page);
		ASSERT_TRUE(give_page(self, (uintptr_t)at));
		/* The device can write there when it is protected. */
		hsl_prep_fill(hsl_get_desc(self->q), at, n, self->page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_TRUE(protect_pages(self, at, self->page, true));
		ASSERT_EQ(0, do_copy(self->q, &c, seen, at, self->page));
		ASSERT_EQ(HSL_ST_OK, c.status);
		hsl_prep_fill(hsl_get_desc(self->q), at, ~0ull, self->page);
		if (variant->sva == HSL_SVA_IOMMU) {
			ASSERT_EQ(0, finish_one(self->q, &c));
			ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
			ASSERT_EQ(HSL_ACCESS_WRITE, c.access);
			ASSERT_EQ(n, *(volatile uint64_t *)at);
			ASSERT_TRUE(protect_pages(self, at, self->page, false));
			hsl_prep_fill(hsl_get_desc(self->q), at, ~0ull, self->page);
		} else {
			hsl_submit(self->q);
			ASSERT_EQ(1, poll(&p, 1, BOUND_MS));
			ASSERT_EQ(sizeof(m), read(self->fd, &m, sizeof(m)));
			ASSERT_EQ(UFFD_EVENT_PAGEFAULT, m.event);
			ASSERT_NE(0, m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
			ASSERT_EQ(n, *(volatile uint64_t *)at);
			ASSERT_TRUE(protect_pages(self, at, self->page, false));
		}
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(~0ull, *(volatile uint64_t *)at);
	}
}

TEST_F_TIMEOUT(uffd, write_protect_at_work, 60)
{
	size_t n;

	for (n = 0; n < 64; n++)
		ASSERT_TRUE(give_page(self, (uintptr_t)self->mem + n * self->page));
	handler_start(_metadata, self);
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0,
			     variant->sva == HSL_SVA_IOMMU ? MM_FAULTY : 0));
	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 100));
	MM_WHILE_WORKING(&self->r) {
		size_t nr = 1 + rnd(8), first = rnd(64 - nr);

		ASSERT_TRUE(protect_pages(self, self->mem + first * self->page, nr * self->page, true));
	}
	mm_let_work(&self->r, 100);
	ASSERT_TRUE(protect_pages(self, self->mem, self->len, false));
	mm_stop(_metadata, &self->r);
	handler_stop(self);
	EXPECT_GT(self->handled, 0);
}

/* What the device wrote counts as written for those who watch. */
#define PAGEMAP_SOFT_DIRTY	(1ull << 55)

static bool soft_dirty(int pagemap, char *at)
{
	uint64_t entry = 0;

	return pread(pagemap, &entry, 8, (uintptr_t)at / page_size() * 8) == 8 && entry & PAGEMAP_SOFT_DIRTY;
}

FIXTURE(watch) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct mm_oracle oracle;
};

PROVIDER_VARIANTS(watch);

FIXTURE_SETUP(watch)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
}

FIXTURE_TEARDOWN(watch)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

TEST_F_TIMEOUT(watch, soft_dirty, 60)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), round;
	const size_t page = page_size(), nr = 64;
	char *mem = mm_anon(nr * page, false);
	struct hsl_cqe c;
	size_t i;

	ASSERT_NE(NULL, mem);
	ASSERT_GE(pagemap, 0);
	memset(mem, 1, nr * page);
	if (write_text("/proc/self/clear_refs", "4") || soft_dirty(pagemap, mem))
		SKIP(return, "no soft-dirty bits in page tables");
	mem[0] = 2;
	if (!soft_dirty(pagemap, mem))
		SKIP(return, "no soft-dirty bits in page tables");
	for (round = 0; round < 8; round++) {
		bool wrote[nr];

		ASSERT_EQ(0, write_text("/proc/self/clear_refs", "4"));
		for (i = 0; i < nr; i++) {
			char seen[page];

			wrote[i] = rnd(2);
			/* Either way it has just been read. */
			ASSERT_EQ(0, do_copy(self->q, &c, seen, mem + i * page, page));
			ASSERT_EQ(HSL_ST_OK, c.status);
			if (!wrote[i])
				continue;
			hsl_prep_fill(hsl_get_desc(self->q), mem + i * page, round, page);
			ASSERT_EQ(0, finish_one(self->q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
		}
		for (i = 0; i < nr; i++)
			ASSERT_EQ(wrote[i], soft_dirty(pagemap, mem + i * page));
	}
}

TEST_HARNESS_MAIN
