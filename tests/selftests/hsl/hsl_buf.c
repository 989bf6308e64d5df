// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory by file descriptor: created, shared with rights, passed on, taken
 * back, and gone with its device.
 */
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "hsl_cgroup.h"
#include "hsl_fd.h"
#include "hsl_memory.h"
#include "hsl_pci.h"

#define LIMIT		"/sys/module/hsl/parameters/max_memory_per_user"
#define NOBODY		65534
#define LEN		(3 * MB + 20 * KB)	/* a block, and a part of another */

/* What a touch of memory that is gone gives: the code of the SIGBUS, 0: none came */
static sigjmp_buf bus_jmp;
static volatile int bus_code;

static void on_sigbus(int sig, siginfo_t *info, void *uc)
{
	bus_code = info->si_code;
	siglongjmp(bus_jmp, 1);
}

static int bus_error_at(const void *addr)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO }, old;

	bus_code = 0;
	sigaction(SIGBUS, &sa, &old);
	if (!sigsetjmp(bus_jmp, 1))
		(void)*(volatile const char *)addr;
	sigaction(SIGBUS, &old, NULL);
	return bus_code;
}

FIXTURE(buf) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	long long free;	/* before there was anything */
	int fd;
	char *mem;	/* all of it */
	char *host;
	char pci[64];
};

PROVIDER_VARIANTS(buf);

FIXTURE_SETUP(buf)
{
	struct hsl_query info = { .size = sizeof(info) };

	self->fd = -1;
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	if (info.mem_mode != HSL_MEMORY_COHERENT)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	oracle_on(dev_path(0));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	self->free = mem_file("free");
	self->fd = hsl_buf_create(self->ctx, LEN);
	ASSERT_GE(self->fd, 0) TH_LOG("%s", hsl_strerror(self->fd));
	self->mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->host = map_anon(LEN);
	ASSERT_NE(NULL, self->host);
	ASSERT_EQ(0, pci_name(0, self->pci, sizeof(self->pci)));
	SEED();
}

FIXTURE_TEARDOWN(buf)
{
	if (!self->ctx)
		return;
	if (self->fd >= 0)
		EXPECT_LE(device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES) + 1, 1);
	hsl_close(self->ctx);
}

static void *map_fd(int fd, int prot)
{
	void *p = mmap(NULL, LEN, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

TEST_F(buf, zeroed_and_on_the_device)
{
	uint64_t own = device_counter(self->ctx, HSL_CNT_OWN_BYTES);
	char *zero = map_anon(LEN);

	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	EXPECT_EQ(own + LEN, device_counter(self->ctx, HSL_CNT_OWN_BYTES));
	EXPECT_EQ(0, memcmp(zero, self->host, LEN));
	EXPECT_EQ(0, memcmp(zero, self->mem, LEN));
}

TEST_F(buf, cpu_and_device)
{
	char *ref = map_anon(LEN);

	fill_random(ref, LEN);
	memcpy(self->mem, ref, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	EXPECT_EQ(0, memcmp(ref, self->host, LEN));
	fill_random(ref, LEN);
	memcpy(self->host, ref, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(ref, self->mem, LEN));
}

/* No CPU has touched it before: each page is a page fault of the device. */
TEST_F(buf, device_first)
{
	fill_random(self->host, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(self->mem, self->host, LEN));
}

TEST_F(buf, atomics)
{
	uint64_t *word = (uint64_t *)(self->mem + MB);
	struct hsl_cqe c;

	for (int i = 0; i < 100; i++) {
		hsl_prep_atomic_add(hsl_get_desc(self->q), word, 8, 3);
		hsl_submit(self->q);
		__atomic_fetch_add(word, 5, __ATOMIC_RELAXED);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
	}
	EXPECT_EQ(800, *word);
}

TEST_F(buf, two_mappings_and_an_offset)
{
	char *part = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 2 * MB);

	ASSERT_NE(MAP_FAILED, part);
	strcpy(self->mem + 2 * MB + 17, "the same bytes");
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, part + 17, 15));
	EXPECT_STREQ("the same bytes", self->host);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, LEN, PROT_READ, MAP_SHARED, self->fd, self->page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, LEN, PROT_READ, MAP_PRIVATE, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->mem, LEN, 2 * LEN, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
}

/* It is charged like all device memory, to the file that made it, and given back with the last user. */
TEST_F(buf, accounts)
{
	struct hsl_ctx *other;
	char *again;

	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_EQ(self->free - LEN, mem_file("free"));
	again = map_fd(self->fd, PROT_READ);
	ASSERT_NE(NULL, again);
	EXPECT_EQ(LEN, mine(self->ctx));
	close(self->fd);
	strcpy(self->mem, "still here");
	EXPECT_STREQ("still here", again);
	ASSERT_EQ(0, munmap(self->mem, LEN));
	EXPECT_EQ(self->free - LEN, mem_file("free"));
	EXPECT_STREQ("still here", again);
	/* It does not end with the context. */
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &other));
	hsl_close(self->ctx);
	self->ctx = other;
	EXPECT_STREQ("still here", again);
	EXPECT_EQ(self->free - LEN, mem_file("free"));
	ASSERT_EQ(0, hsl_queue_create(other, NULL, &self->q));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, again, LEN));
	EXPECT_STREQ("still here", self->host);
	ASSERT_EQ(0, munmap(again, LEN));
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free));
}

/* Others' memory makes room for it, and it makes room for nobody. */
TEST_F_TIMEOUT(buf, stays, 120)
{
	struct hsl_migrate m = { .size = sizeof(m) };
	char *ref = map_anon(LEN);
	uint64_t own;
	void *mem;
	int fd;

	fill_random(ref, LEN);
	memcpy(self->mem, ref, LEN);
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, self->mem, LEN, HSL_WHERE_HOST, &m));
	/* Room for half of the device is not there without those who are in it. */
	ASSERT_EQ(0, hsl_alloc(self->ctx, (self->free - 4 * MB) & ~(2 * MB - 1), &mem));
	memset(mem, 1, MB);
	fd = hsl_buf_create(self->ctx, self->free / 2 & ~(2 * MB - 1));
	ASSERT_GE(fd, 0) TH_LOG("%s", hsl_strerror(fd));
	EXPECT_EQ(1, *((char *)mem + MB - 1));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	/* All that is left, in small pieces, time and again. */
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(0, hsl_alloc(self->ctx, self->free / 4, &mem));
		memset(mem, i, self->page);
	}
	own = device_counter(self->ctx, HSL_CNT_OWN_BYTES);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	EXPECT_EQ(own + LEN, device_counter(self->ctx, HSL_CNT_OWN_BYTES));
	EXPECT_EQ(0, memcmp(ref, self->host, LEN));
	close(fd);
}

TEST_F(buf, no_room)
{
	int fd;

	EXPECT_EQ(-EINVAL, hsl_buf_create(self->ctx, 0));
	EXPECT_EQ(-EINVAL, hsl_buf_create(self->ctx, mem_file("total") + self->page));
	/* LEN of it are taken for good. */
	EXPECT_EQ(-ENOMEM, hsl_buf_create(self->ctx, mem_file("total")));
	EXPECT_EQ(self->free - LEN, mem_file("free"));
	fd = hsl_buf_create(self->ctx, 1);
	ASSERT_GE(fd, 0);
	EXPECT_EQ((off_t)self->page, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(self->free - LEN - (long long)self->page, mem_file("free"));
	close(fd);
}

/* What the limit of a user is, it is for buffers and other memory together. */
TEST_F(buf, limit)
{
	struct hsl_ctx *ctx;
	int sock[2];
	pid_t pid;
	char ok;

	NEED_ROOT();
	ASSERT_EQ(0, write_text(LIMIT, "4M"));
	ASSERT_EQ(0, chmod(dev_path(0), 0666));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		void *mem;
		int fd;

		ok = !setresuid(NOBODY, NOBODY, NOBODY) && !open_on(dev_path(0), variant->sva, &ctx) &&
		     (fd = hsl_buf_create(ctx, 3 * MB)) >= 0 && hsl_buf_create(ctx, 2 * MB) == -ENOMEM &&
		     hsl_alloc(ctx, 2 * MB, &mem) == -ENOMEM && !close(fd) &&
		     (fd = hsl_buf_create(ctx, 4 * MB)) >= 0;
		_exit(!ok);
	}
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	chmod(dev_path(0), 0660);
	EXPECT_EQ(0, write_text(LIMIT, "100%"));
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - LEN));
}

struct in_cgroup {
	enum hsl_sva sva;
	int sock;
};

/* With 4 MiB in its cgroup */
static void within_cgroup(void *p)
{
	struct in_cgroup *a = p;
	struct hsl_ctx *ctx;
	void *mem;
	char *map;
	int fd;

	if (cgroup_enter())
		_exit(1);
	if (open_on(dev_path(0), a->sva, &ctx))
		_exit(2);
	if (hsl_buf_create(ctx, 4 * MB + page_size()) != -ENOMEM || !dmem_comes_to(0))
		_exit(3);
	fd = hsl_buf_create(ctx, LEN);
	if (fd < 0 || dmem_file("current") != LEN)
		_exit(4);
	/* Buffers and other memory together */
	if (hsl_buf_create(ctx, MB) != -ENOMEM || hsl_alloc(ctx, MB, &mem) != -ENOMEM || !dmem_comes_to(LEN))
		_exit(5);
	if (hsl_alloc(ctx, 4 * MB - LEN, &mem) || dmem_file("current") != 4 * (long long)MB)
		_exit(6);
	if (hsl_free(ctx, mem) || !dmem_comes_to(LEN))
		_exit(7);
	/* The mapping is the last to have it. */
	map = map_fd(fd, PROT_READ | PROT_WRITE);
	if (!map || close(fd) || dmem_file("current") != LEN)
		_exit(8);
	if (munmap(map, LEN) || !dmem_comes_to(0))
		_exit(9);
	/* Taken back while it is mapped */
	fd = hsl_buf_create(ctx, LEN);
	map = map_fd(fd, PROT_READ | PROT_WRITE);
	if (!map || hsl_buf_revoke(ctx, fd, fd) || !dmem_comes_to(0))
		_exit(10);
	fd = hsl_buf_create(ctx, LEN);
	if (fd < 0 || send_fd(a->sock, fd))
		_exit(11);
}

/* It is charged to the cgroup of who made it, until nobody has it any more. */
TEST_F_TIMEOUT(buf, limit_of_a_cgroup, 60)
{
	struct in_cgroup a = { .sva = variant->sva };
	int sock[2], fd, err;
	char *mem;

	NEED_ROOT();
	err = cgroup_begin();
	SKIP_WITHOUT_CGROUP(err);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	a.sock = sock[1];
	EXPECT_EQ(0, dmem_limit("4M"));
	EXPECT_EQ(0, touch_in_child(within_cgroup, &a));
	EXPECT_EQ(4 * (long long)MB, dmem_file("peak"));
	/* He has gone, and what he passed on is here. */
	fd = recv_fd(sock[0]);
	mem = map_fd(fd, PROT_READ | PROT_WRITE);
	EXPECT_NE(NULL, mem);
	EXPECT_EQ(LEN, dmem_file("current"));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, mem, self->host, LEN));
	munmap(mem, LEN);
	EXPECT_EQ(LEN, dmem_file("current"));
	close(fd);
	EXPECT_TRUE(dmem_comes_to(0));
	EXPECT_TRUE(cgroup_end());
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - LEN));
}

/* Another process, with a device of its own opened, is given the file and no more. */
TEST_F_TIMEOUT(buf, passed_on, 60)
{
	int sock[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	memset(self->mem, 'a', LEN);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct hsl_ctx *ctx;
		struct hsl_queue *q;
		char *mem, *host = map_anon(LEN);
		int fd;

		/* What fork left here is not what was given. */
		munmap(self->mem, LEN);
		close(self->fd);
		fd = recv_fd(sock[1]);
		mem = map_fd(fd, PROT_READ | PROT_WRITE);
		if (!mem || open_on(dev_path(0), variant->sva, &ctx) || hsl_queue_create(ctx, NULL, &q))
			_exit(1);
		if (copies(q, host, mem, LEN) || host[0] != 'a' || memcmp(host, host + 1, LEN - 1))
			_exit(2);
		memset(host, 'b', LEN);
		if (copies(q, mem, host, LEN))
			_exit(3);
		/* It is nobody else's account. */
		_exit(mine(ctx) ? 4 : 0);
	}
	ASSERT_EQ(0, send_fd(sock[0], self->fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	byte = self->mem[0];
	EXPECT_EQ('b', byte);
	EXPECT_EQ(0, memcmp(self->mem, self->mem + 1, LEN - 1));
}

/* Shared memory is not copied by a fork, and each of the two may go on alone. */
TEST_F(buf, fork)
{
	int status;
	pid_t pid;

	strcpy(self->mem, "parent");
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		bool ok = !strcmp(self->mem, "parent");

		strcpy(self->mem, "child");
		_exit(!ok);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	EXPECT_STREQ("child", self->host);
}

TEST_F(buf, rights)
{
	static const struct {
		uint32_t rights;
		int err;
	} bad[] = {
		{ 0, -EINVAL },
		{ HSL_BUF_WRITE, -EINVAL },
		{ HSL_BUF_ATOMIC, -EINVAL },
		{ HSL_BUF_WRITE | HSL_BUF_ATOMIC, -EINVAL },
		{ HSL_BUF_READ | HSL_BUF_ATOMIC, -EINVAL },
		{ HSL_BUF_READ | HSL_BUF_WRITE, -EOPNOTSUPP },
		{ HSL_BUF_ALL | 8, -EOPNOTSUPP },
		{ ~0u, -EOPNOTSUPP },
	};
	int ro, rw;

	for (unsigned int i = 0; i < ARRAY(bad); i++) {
		EXPECT_EQ(bad[i].err, hsl_buf_share(self->ctx, self->fd, bad[i].rights)) TH_LOG("%u", i);
	}
	rw = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL);
	ASSERT_GE(rw, 0);
	ro = hsl_buf_share(self->ctx, rw, HSL_BUF_READ);
	ASSERT_GE(ro, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(ro, F_GETFD));
	EXPECT_EQ(-EACCES, hsl_buf_share(self->ctx, ro, HSL_BUF_ALL));
	EXPECT_GE(hsl_buf_share(self->ctx, ro, HSL_BUF_READ), 0);
}

/* Who may only read finds no way to write. */
TEST_F(buf, read_only)
{
	int ro = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ), fd;
	struct hsl_cqe c;
	char path[64];
	char *mem;

	ASSERT_GE(ro, 0);
	memset(self->mem, 7, LEN);
	EXPECT_EQ(NULL, map_fd(ro, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	mem = map_fd(ro, PROT_READ);
	ASSERT_NE(NULL, mem);
	EXPECT_EQ(7, mem[LEN - 1]);
	EXPECT_EQ(-1, mprotect(mem, LEN, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);

	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(0, memcmp(self->mem, self->host, LEN));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, mem, self->host, 64));
	hsl_prep_atomic_add(hsl_get_desc(self->q), mem, 8, 1);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);

	/* Nor by the ways that a debugger has */
	fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, pwrite(fd, "x", 1, (uintptr_t)mem));
	close(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(7, mem[0]);
	EXPECT_EQ(7, self->mem[0]);
}

/* On return nothing of the share leads to the memory, and nothing else is affected. */
TEST_F(buf, revoke)
{
	int share = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL);
	int other = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
	char *mem, *stays;

	ASSERT_GE(share, 0);
	ASSERT_GE(other, 0);
	mem = map_fd(share, PROT_READ | PROT_WRITE);
	stays = map_fd(other, PROT_READ);
	ASSERT_NE(NULL, mem);
	ASSERT_NE(NULL, stays);
	fill_random(mem, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, share));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(mem));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(mem + LEN - 1));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, mem, self->host, LEN));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, self->host + MB, mem + MB, MB));
	EXPECT_EQ(NULL, map_fd(share, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-ESTALE, hsl_buf_share(self->ctx, share, HSL_BUF_READ));
	EXPECT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, share));

	EXPECT_EQ(0, memcmp(self->host, self->mem, LEN));
	EXPECT_EQ(0, memcmp(self->host, stays, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->mem, stays, LEN));
	EXPECT_EQ(0, munmap(mem, LEN));
}

/* What was made from a share goes with it, also when what is in between is closed. */
TEST_F(buf, revoke_what_came_of_it)
{
	int a = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL), b = hsl_buf_share(self->ctx, a, HSL_BUF_ALL);
	int c = hsl_buf_share(self->ctx, b, HSL_BUF_READ), d = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
	char *last, *beside;

	ASSERT_GE(c, 0);
	last = map_fd(c, PROT_READ);
	beside = map_fd(d, PROT_READ);
	ASSERT_NE(NULL, last);
	ASSERT_NE(NULL, beside);
	strcpy(self->mem, "here");
	EXPECT_STREQ("here", last);

	/* Not by those that it was not made from, nor by itself */
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, c, a));
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, d, c));
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, a, a));
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, a, self->fd));
	EXPECT_STREQ("here", last);

	close(b);
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, a));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(last));
	EXPECT_STREQ("here", beside);
	EXPECT_STREQ("here", self->mem);
}

/* A path keeps a share known when its file is no more, whose place in memory others get. */
TEST_F(buf, revoke_what_has_a_path)
{
	const size_t page = page_size();
	char path[64], *others[64];

	for (unsigned int i = 0; i < ARRAY(others); i++) {
		int a = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL), b = hsl_buf_share(self->ctx, a, HSL_BUF_ALL);
		int by_path, file;

		ASSERT_GE(b, 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", b);
		by_path = open(path, O_PATH | O_CLOEXEC);
		ASSERT_GE(by_path, 0);
		ASSERT_EQ(0, close(b));
		file = memfd_create("other", MFD_CLOEXEC);
		ASSERT_GE(file, 0);
		ASSERT_EQ(0, ftruncate(file, page));
		others[i] = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
		ASSERT_NE(MAP_FAILED, others[i]);
		memset(others[i], 5, page);
		ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, a));
		close(by_path);
		close(file);
		close(a);
	}
	for (unsigned int i = 0; i < ARRAY(others); i++) {
		for (size_t at = 0; at < page; at++)
			ASSERT_EQ(5, others[i][at]);
		munmap(others[i], page);
	}
	memset(self->mem, 1, LEN);
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
}

/* The first share takes all with it, and the memory is free whoever has files and mappings. */
TEST_F(buf, revoke_all)
{
	int share = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL);
	char *mem = map_fd(share, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, mem);
	memset(mem, 1, LEN);
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, self->fd));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(mem));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(self->mem));
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_EQ(-ESTALE, hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL));
}

struct toucher {
	pthread_t thread;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	char *mem;
	char *host;
	int first_bad;		/* status */
	unsigned long good;
};

static void *touch_until_gone(void *p)
{
	struct toucher *t = p;

	while ((t->first_bad = copies(t->q, t->mem, t->host, LEN)) == HSL_ST_OK)
		__atomic_fetch_add(&t->good, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *look_until_gone(void *p)
{
	while (!bus_error_at((char *)p + rnd(LEN)))
		;
	return NULL;
}

/* While devices and CPUs work in it */
TEST_F_TIMEOUT(buf, revoke_under_traffic, 120)
{
	for (int round = 0; round < 20; round++) {
		int share = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL);
		struct toucher t = { .ctx = self->ctx, .q = self->q, .host = self->host };
		pthread_t cpu;

		ASSERT_GE(share, 0);
		t.mem = map_fd(share, PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, t.mem);
		ASSERT_EQ(0, pthread_create(&t.thread, NULL, touch_until_gone, &t));
		ASSERT_EQ(0, pthread_create(&cpu, NULL, look_until_gone, t.mem));
		ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&t.good, __ATOMIC_RELAXED) > rnd(3)));
		usleep(rnd(3000));
		ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, share));
		pthread_join(t.thread, NULL);
		pthread_join(cpu, NULL);
		EXPECT_EQ(HSL_ST_PAGE_FAULT, t.first_bad);
		munmap(t.mem, LEN);
		close(share);
	}
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
}

/* Mapped anew at once, by the program itself, while the device works there */
TEST_F_TIMEOUT(buf, unmap_under_traffic, 120)
{
	for (int round = 0; round < 50; round++) {
		char *mem = map_fd(self->fd, PROT_READ | PROT_WRITE);
		struct hsl_cqe c;

		ASSERT_NE(NULL, mem);
		hsl_prep_copy(hsl_get_desc(self->q), mem, self->host, LEN);
		hsl_submit(self->q);
		usleep(rnd(2000));
		ASSERT_EQ(0, munmap(mem, LEN));
		ASSERT_EQ(0, finish_one(self->q, &c));
		EXPECT_TRUE(c.status == HSL_ST_OK || c.status == HSL_ST_PAGE_FAULT) TH_LOG("status %u", c.status);
	}
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
}

TEST_F(buf, protection)
{
	memset(self->mem, 1, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	ASSERT_EQ(0, mprotect(self->mem, LEN, PROT_READ));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, self->mem, self->host, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	ASSERT_EQ(0, mprotect(self->mem, LEN, PROT_READ | PROT_WRITE));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	ASSERT_EQ(0, madvise(self->mem, LEN, MADV_DONTNEED));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(self->mem, self->host, LEN));
}

/* What has a page of it keeps that page, and nothing else, after it was taken back. */
TEST_F(buf, pipe_keeps_a_page)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = self->page };
	char *got = map_anon(self->page);
	int p[2];

	memset(self->mem, 9, self->page);
	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ((ssize_t)self->page, vmsplice(p[1], &iov, 1, 0));
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, self->fd));
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - (long long)self->page));
	ASSERT_EQ((ssize_t)self->page, read(p[0], got, self->page));
	EXPECT_EQ(9, got[self->page - 1]);
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free));
}

/* A pin for long is refused, for the memory could not be taken back then. */
TEST_F(buf, no_long_pin)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = self->page };
	struct io_uring_params par = { 0 };
	int ring = syscall(__NR_io_uring_setup, 4, &par);

	if (ring < 0)
		SKIP(return, "io_uring: %s", strerror(errno));
	memset(self->mem, 3, LEN);
	EXPECT_EQ(-1, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	close(ring);
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, LEN));
	EXPECT_EQ(3, self->host[0]);
}

TEST_F(buf, files_read_into_it)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *ref = map_anon(LEN);
	ssize_t n;

	ASSERT_GE(fd, 0);
	n = pread(fd, ref, 64 * KB, 0);
	ASSERT_GT(n, (ssize_t)(16 * KB));
	ASSERT_EQ(n, hsl_file_read(fd, 0, self->mem, n, NULL));
	EXPECT_EQ(0, memcmp(ref, self->mem, n));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, self->mem, n));
	EXPECT_EQ(0, memcmp(ref, self->host, n));
}

TEST_F_TIMEOUT(buf, as_many_shares_as_there_may_be, 60)
{
	struct rlimit lim = { 1024, 1024 };
	int n, fd = self->fd, first = -1, next;
	char *mem;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &lim));
	/* Each made from the one before; half of them is for the creator alone. */
	for (n = 1; n < 300; n++) {
		next = hsl_buf_share(self->ctx, fd, HSL_BUF_READ);
		if (next < 0) {
			EXPECT_EQ(-ENOSPC, next);
			break;
		}
		if (first < 0)
			first = next;
		fd = next;
	}
	EXPECT_EQ(128, n);
	for (; n < 300; n++) {
		next = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
		if (next < 0) {
			EXPECT_EQ(-ENOSPC, next);
			break;
		}
	}
	EXPECT_EQ(256, n);
	mem = map_fd(fd, PROT_READ);
	ASSERT_NE(NULL, mem);
	EXPECT_EQ(0, mem[0]);
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, first));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(mem));
	EXPECT_EQ(0, self->mem[0]);
}

/* No file of ours names memory that is not the device's. */
TEST_F(buf, only_device_memory)
{
	struct hsl_buf_share s = { .size = sizeof(s), .rights = HSL_BUF_READ, .share = -5 };
	struct hsl_buf_create c = { .size = sizeof(c), .len = self->page, .reserved = 1 };
	int fds[] = {
		memfd_create("host", MFD_CLOEXEC), open("/dev/zero", O_RDWR | O_CLOEXEC),
		dup(hsl_fd(self->ctx)), hsl_queue_grant(self->q),
	};

	for (unsigned int i = 0; i < ARRAY(fds); i++) {
		ASSERT_GE(fds[i], 0);
		EXPECT_EQ(-EINVAL, hsl_buf_share(self->ctx, fds[i], HSL_BUF_ALL)) TH_LOG("%u", i);
		EXPECT_EQ(-EINVAL, hsl_buf_revoke(self->ctx, self->fd, fds[i])) TH_LOG("%u", i);
		EXPECT_EQ(-EINVAL, hsl_buf_revoke(self->ctx, fds[i], self->fd)) TH_LOG("%u", i);
	}
	EXPECT_EQ(-EBADF, hsl_buf_share(self->ctx, -1, HSL_BUF_ALL));
	EXPECT_EQ(-EBADF, hsl_buf_revoke(self->ctx, self->fd, 1000));
	s.fd = self->fd;
	s.reserved = 1;
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_SHARE, &s));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-5, s.share);
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_CREATE, &c));
	EXPECT_EQ(EOPNOTSUPP, errno);
	c.reserved = 0;
	c.len = self->page + 1;
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_CREATE, &c));
	EXPECT_EQ(EINVAL, errno);
	c.len = ~0ull << 12;
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_CREATE, &c));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(self->free - LEN, mem_file("free"));
}

/* No more files: no buffer, no share, and nothing is left of them. */
TEST_F(buf, without_a_file)
{
	int free = dup(self->fd), fd, share, other;
	struct rlimit rl, none;

	ASSERT_GE(free, 0);
	close(free);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &rl));
	none = rl;
	none.rlim_cur = free;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	fd = hsl_buf_create(self->ctx, MB);
	share = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_EQ(-EMFILE, fd);
	EXPECT_EQ(-EMFILE, share);
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - LEN));
	other = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
	EXPECT_EQ(free, other);
	close(other);
}

/* Two buffers know nothing of each other. */
TEST_F(buf, another_buffer)
{
	int other = hsl_buf_create(self->ctx, LEN);

	ASSERT_GE(other, 0);
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, other, self->fd));
	EXPECT_EQ(-EACCES, hsl_buf_revoke(self->ctx, self->fd, other));
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, other, other));
	EXPECT_EQ(0, self->mem[0]);
}

/* Its place for the result cannot be written: nothing is left behind. */
TEST_F(buf, cannot_be_told)
{
	struct hsl_buf_create *c = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = dup(0);

	ASSERT_GE(fd, 0);
	close(fd);
	c->size = sizeof(*c);
	c->len = MB;
	ASSERT_EQ(0, mprotect(c, self->page, PROT_READ));
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_CREATE, c));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - LEN));
	EXPECT_EQ(fd, dup(0));
}

/*
 * The device goes
 */

static void works_again(struct __test_metadata *_metadata, enum hsl_sva sva)
{
	struct hsl_ctx *ctx = NULL;
	struct hsl_queue *q;
	char *mem;
	int fd;

	ASSERT_TRUE(COMES_TRUE(!access(dev_path(0), R_OK | W_OK) && !open_on(dev_path(0), sva, &ctx)));
	EXPECT_EQ(mem_file("total") - mem_file("poisoned"), mem_file("free"));
	fd = hsl_buf_create(ctx, LEN);
	ASSERT_GE(fd, 0);
	mem = map_fd(fd, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	EXPECT_EQ(HSL_ST_OK, copies(q, mem, mem + MB, MB));
	munmap(mem, LEN);
	close(fd);
	hsl_close(ctx);
}

/* It is of the first device. */
static int change_mode(const char *pci)
{
	int err = write_text(MEM_DIR "mode", "off");

	return err ? err : write_text(MEM_DIR "mode", "coherent");
}

/* With the file held, mapped, and touched by the device and by CPUs all the time */
static void goes(struct __test_metadata *_metadata, FIXTURE_DATA(buf) *self, enum hsl_sva sva,
		 int (*how)(const char *pci))
{
	struct toucher t = { .ctx = self->ctx, .q = self->q, .mem = self->mem, .host = self->host };
	pthread_t cpu;

	ASSERT_EQ(0, pthread_create(&t.thread, NULL, touch_until_gone, &t));
	ASSERT_EQ(0, pthread_create(&cpu, NULL, look_until_gone, self->mem));
	ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&t.good, __ATOMIC_RELAXED)));
	ASSERT_EQ(0, how(self->pci));
	pthread_join(t.thread, NULL);
	pthread_join(cpu, NULL);
	EXPECT_TRUE(t.first_bad == -ENODEV || t.first_bad == HSL_ST_PAGE_FAULT) TH_LOG("%d", t.first_bad);
	EXPECT_EQ(BUS_ADRERR, bus_error_at(self->mem));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(self->mem + LEN - 1));
	EXPECT_EQ(NULL, map_fd(self->fd, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	works_again(_metadata, sva);
}

TEST_F_TIMEOUT(buf, reset, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, reset_function);
}

TEST_F_TIMEOUT(buf, removed, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, remove_and_rescan);
}

TEST_F_TIMEOUT(buf, unbound, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, unbind_and_bind);
}

TEST_F_TIMEOUT(buf, other_mode, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, change_mode);
}

/* Does the kernel let device 1 work in the memory of device 0 by PCIe peer-to-peer? */
static bool peer_to_peer(struct hsl_ctx *ctx)
{
	struct hsl_peer_info peers[8];
	struct utsname u;
	int major, minor, n;

	/* Since then it offers that to an exporter of dma-bufs. */
	if (uname(&u) || sscanf(u.release, "%d.%d", &major, &minor) != 2 || major * 100 + minor < 703)
		return false;
	n = hsl_peers(ctx, peers, ARRAY(peers));
	for (int i = 0; i < n && i < (int)ARRAY(peers); i++)
		if (!peers[i].index)
			return peers[i].routes & HSL_ROUTE_PCIE;
	return false;
}

/*
 * By another device: where page tables or a fabric lead to it, at the same address.
 * With tables of its own and no link the device has to be let in, and is if PCIe
 * peer-to-peer is to be had.
 */
TEST_F_TIMEOUT(buf, by_another_device, 120)
{
	struct hsl_query a = { .size = sizeof(a) }, b = { .size = sizeof(b) };
	struct toucher t = { .host = self->host };
	unsigned int said = log_count("device memory is not for");
	long long start = now_ms();
	bool reached, let_in;
	char *there;
	int share;

	SKIP_WITHOUT_DEVICES(2);
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &t.ctx));
	ASSERT_EQ(0, hsl_queue_create(t.ctx, NULL, &t.q));
	ASSERT_EQ(0, hsl_query(self->ctx, &a));
	ASSERT_EQ(0, hsl_query(t.ctx, &b));
	oracle_on(dev_path(1));
	reached = variant->sva == HSL_SVA_IOMMU ||
		  (a.fabric_node != HSL_NODE_NONE && b.fabric_node != HSL_NODE_NONE && a.fabric == b.fabric);
	let_in = reached || peer_to_peer(t.ctx);
	TH_LOG("%s", reached ? "reached" : let_in ? "let in" : "not reached");

	share = hsl_buf_share(self->ctx, self->fd, HSL_BUF_ALL);
	ASSERT_GE(share, 0);
	t.mem = map_fd(share, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, t.mem);
	fill_random(self->mem, LEN);
	EXPECT_EQ(reached ? HSL_ST_OK : HSL_ST_PAGE_FAULT, copies(t.q, self->host, t.mem, LEN));
	ASSERT_EQ(let_in ? 0 : -EOPNOTSUPP, hsl_import(t.ctx, share, MB, MB, PROT_READ, (void **)&there));
	EXPECT_LT(now_ms() - start, BOUND_MS);
	if (!let_in) {
		EXPECT_LT(said, log_count("device memory is not for"));
		hsl_close(t.ctx);
		return;
	}
	EXPECT_EQ(HSL_ST_OK, copies(t.q, self->host, t.mem, LEN));
	EXPECT_EQ(0, memcmp(self->host, self->mem, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(t.q, self->host, there, MB));
	EXPECT_EQ(0, memcmp(self->host, self->mem + MB, MB));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(t.q, there, self->host, 64));
	fill_random(self->host, LEN);
	EXPECT_EQ(HSL_ST_OK, copies(t.q, t.mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(self->host, self->mem, LEN));

	/* Taken back while it works there; the other one goes on. */
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, touch_until_gone, &t));
	ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&t.good, __ATOMIC_RELAXED) > 2));
	ASSERT_EQ(0, hsl_buf_revoke(self->ctx, self->fd, share));
	pthread_join(t.thread, NULL);
	EXPECT_EQ(HSL_ST_PAGE_FAULT, t.first_bad);
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(t.q, self->host, there, 64));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->mem, self->host, LEN));
	EXPECT_EQ(0, device_counter(t.ctx, HSL_CNT_ORACLE_BREACHES));
	EXPECT_EQ(0, hsl_unimport(t.ctx, there));
	hsl_close(t.ctx);
}

/* With less than all rights the device gets no more than its owner has. */
TEST_F(buf, by_another_device_to_read)
{
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	char *there;
	int ro, err;

	SKIP_WITHOUT_DEVICES(2);
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	ro = hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ);
	ASSERT_GE(ro, 0);
	fill_random(self->mem, LEN);
	err = hsl_import(ctx, ro, 0, LEN, PROT_READ, (void **)&there);
	if (err) {
		EXPECT_EQ(-EOPNOTSUPP, err);
		EXPECT_FALSE(peer_to_peer(ctx));
	} else {
		EXPECT_EQ(HSL_ST_OK, copies(q, self->host, there, LEN));
		EXPECT_EQ(0, memcmp(self->host, self->mem, LEN));
		EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(q, there, self->host, LEN));
	}
	hsl_close(ctx);
}

/* The device whose memory it is goes while another one, which has it imported, works in it. */
static void goes_from_under_another(struct __test_metadata *_metadata, FIXTURE_DATA(buf) *self, enum hsl_sva sva,
				    int (*how)(const char *pci))
{
	struct toucher t = { .host = self->host };
	char *other;
	int err;

	ASSERT_EQ(0, open_on(dev_path(1), sva, &t.ctx));
	ASSERT_EQ(0, hsl_queue_create(t.ctx, NULL, &t.q));
	err = hsl_import(t.ctx, self->fd, 0, LEN, PROT_READ | PROT_WRITE, (void **)&t.mem);
	if (err) {
		EXPECT_EQ(-EOPNOTSUPP, err);
		EXPECT_FALSE(peer_to_peer(t.ctx));
		hsl_close(t.ctx);
		return;
	}
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, touch_until_gone, &t));
	ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&t.good, __ATOMIC_RELAXED) > 2));
	ASSERT_EQ(0, how(self->pci));
	pthread_join(t.thread, NULL);
	EXPECT_EQ(HSL_ST_PAGE_FAULT, t.first_bad);
	EXPECT_EQ(BUS_ADRERR, bus_error_at(t.mem));
	EXPECT_EQ(BUS_ADRERR, bus_error_at(t.mem + LEN - 1));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(t.q, self->host, t.mem, 64));
	/* Not again either, and the one that stayed is none the worse for it. */
	EXPECT_GT(0, hsl_import(t.ctx, self->fd, 0, LEN, PROT_READ, (void **)&other));
	fill_random(self->host, MB);
	EXPECT_EQ(HSL_ST_OK, copies(t.q, self->host + MB, self->host, MB));
	EXPECT_EQ(0, memcmp(self->host, self->host + MB, MB));
	EXPECT_EQ(0, device_counter(t.ctx, HSL_CNT_ORACLE_BREACHES));
	hsl_close(t.ctx);
	works_again(_metadata, sva);
}

TEST_F_TIMEOUT(buf, removed_from_under_another, 120)
{
	NEED_ROOT();
	SKIP_WITHOUT_DEVICES(2);
	goes_from_under_another(_metadata, self, variant->sva, remove_and_rescan);
}

TEST_F_TIMEOUT(buf, reset_under_another, 120)
{
	NEED_ROOT();
	SKIP_WITHOUT_DEVICES(2);
	goes_from_under_another(_metadata, self, variant->sva, reset_function);
}

struct creator {
	struct hsl_ctx *ctx;
	bool stop;
	int odd;	/* an errno that should not be */
};

static void *create_all_the_time(void *p)
{
	struct creator *c = p;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		int fd = hsl_buf_create(c->ctx, 5 * MB);

		if (fd >= 0)
			close(fd);
		else if (fd != -EOPNOTSUPP && fd != -ENODEV)
			c->odd = fd;
	}
	return NULL;
}

/* The mode changes while buffers come and go. */
TEST_F_TIMEOUT(buf, created_while_the_memory_goes, 120)
{
	struct creator c = { .ctx = self->ctx };
	pthread_t thread;

	NEED_ROOT();
	ASSERT_EQ(0, pthread_create(&thread, NULL, create_all_the_time, &c));
	for (int i = 0; i < 20; i++) {
		usleep(rnd(20000));
		EXPECT_EQ(0, write_text(MEM_DIR "mode", "off"));
		EXPECT_EQ(0, write_text(MEM_DIR "mode", "coherent"));
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, c.odd);
	works_again(_metadata, variant->sva);
}

/* A page that loses its contents is lost for all who map it, and its neighbours are not. */
TEST_F_TIMEOUT(buf, poison, 60)
{
	char *bad = self->mem + MB, *other = map_fd(self->fd, PROT_READ);
	long long poisoned = mem_file("poisoned");
	int status;

	NEED_ROOT();
	memset(self->mem, 6, LEN);
	ASSERT_EQ(6, other[MB]);
	if (madvise(bad, self->page, MADV_HWPOISON))
		SKIP(return, "no MADV_HWPOISON: %s", strerror(errno));
	EXPECT_TRUE(COMES_TRUE(bus_error_at(bad) == BUS_MCEERR_AR));
	EXPECT_EQ(BUS_MCEERR_AR, bus_error_at(other + MB));
	EXPECT_EQ(6, bad[-1]);
	EXPECT_EQ(6, other[MB + self->page]);
	status = copies(self->q, self->host, bad, self->page);
	EXPECT_EQ(variant->sva == HSL_SVA_HMM ? HSL_ST_POISON : HSL_ST_PAGE_FAULT, status);
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, bad + self->page, self->page));
	EXPECT_EQ(poisoned + (long long)self->page, mem_file("poisoned"));
	munmap(other, LEN);
	munmap(self->mem, LEN);
	close(self->fd);
	EXPECT_TRUE(COMES_TRUE(mem_file("free") == self->free - (long long)self->page));
}

TEST_HARNESS_MAIN
