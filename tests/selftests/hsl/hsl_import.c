// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of other drivers, where the process has mapped them: udmabuf, which is memory
 * of a memfd, and the system heap.
 */
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hsl_pci.h"
#include "hsl_test.h"

#define LEN	(4 * MB + 12 * KB)
#define IMPORTS	64

FIXTURE(import) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	int memfd;
	int fd;		/* dma-buf of the memfd's memory */
	char *file;	/* the memfd, mapped */
	char *host;
};

PROVIDER_VARIANTS(import);

static int udmabuf(int memfd, uint64_t offset, uint64_t size)
{
	struct udmabuf_create c = { .memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .offset = offset, .size = size };
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, UDMABUF_CREATE, &c);
	if (fd < 0)
		fd = -errno;
	close(dev);
	return fd;
}

FIXTURE_SETUP(import)
{
	SKIP_WITHOUT_DEVICES(1);
	if (access("/dev/udmabuf", R_OK | W_OK))
		SKIP(return, "no /dev/udmabuf: a kernel with CONFIG_UDMABUF, and root");
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	oracle_on(dev_path(0));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	self->memfd = memfd_create("udmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(0, ftruncate(self->memfd, LEN));
	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, F_SEAL_SHRINK));
	self->file = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, self->memfd, 0);
	ASSERT_NE(MAP_FAILED, self->file);
	self->fd = udmabuf(self->memfd, 0, LEN);
	ASSERT_GE(self->fd, 0) TH_LOG("%s", strerror(-self->fd));
	self->host = map_anon(LEN);
	ASSERT_NE(NULL, self->host);
	SEED();
}

FIXTURE_TEARDOWN(import)
{
	if (!self->ctx)
		return;
	/* ~0: the context is dead, and cannot be asked. */
	EXPECT_LE(device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES) + 1, 1);
	hsl_close(self->ctx);
}

static int cmd_import(struct hsl_ctx *ctx, int fd, const void *addr, size_t len, uint32_t *handle)
{
	struct hsl_buf_import a = { .size = sizeof(a), .fd = fd, .addr = (uintptr_t)addr, .len = len };

	if (ioctl(hsl_fd(ctx), HSL_BUF_IMPORT, &a))
		return errno;
	*handle = a.handle;
	return 0;
}

static int cmd_unimport(struct hsl_ctx *ctx, uint32_t handle)
{
	struct hsl_buf_unimport a = { .size = sizeof(a), .handle = handle };

	return ioctl(hsl_fd(ctx), HSL_BUF_UNIMPORT, &a) ? errno : 0;
}

/* Without being told the device finds nothing there, if it has tables of its own. */
static int unknown(enum hsl_sva sva)
{
	return sva == HSL_SVA_HMM ? HSL_ST_PAGE_FAULT : HSL_ST_OK;
}

#define RW	(PROT_READ | PROT_WRITE)
#define IMPORT(mem) ASSERT_EQ(0, hsl_import(self->ctx, self->fd, 0, LEN, RW, (void **)&(mem)))

/* What is in the memfd the device reads, and what the device writes is in the memfd. */
TEST_F(import, both_ways)
{
	uint64_t host = device_counter(self->ctx, HSL_CNT_HOST_BYTES);
	char *mem;

	fill_random(self->file, LEN);
	IMPORT(mem);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(host + 2 * LEN, device_counter(self->ctx, HSL_CNT_HOST_BYTES));
	EXPECT_EQ(0, memcmp(self->host, self->file, LEN));
	fill_random(self->host, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(self->host, self->file, LEN));
	EXPECT_EQ(0, memcmp(self->host, mem, LEN));
	EXPECT_EQ(0, hsl_unimport(self->ctx, mem));
	EXPECT_EQ(-EINVAL, hsl_unimport(self->ctx, mem));
}

TEST_F(import, write_first)
{
	char *mem;

	fill_random(self->host, LEN);
	IMPORT(mem);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, mem, self->host, LEN));
	EXPECT_EQ(0, memcmp(self->host, self->file, LEN));
}

TEST_F(import, atomics)
{
	struct hsl_cqe c;
	char *mem;

	IMPORT(mem);
	for (int i = 0; i < 50; i++) {
		hsl_prep_atomic_add(hsl_get_desc(self->q), mem + MB, 8, 3);
		hsl_submit(self->q);
		__atomic_fetch_add((uint64_t *)(self->file + MB), 5, __ATOMIC_RELAXED);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
	}
	EXPECT_EQ(400, *(uint64_t *)(self->file + MB));
}

TEST_F(import, not_imported)
{
	char *mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);

	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, mem, LEN));
}

/* A part of it, and a part of the memfd */
TEST_F(import, offset)
{
	int fd = udmabuf(self->memfd, 2 * MB, MB);
	char *mem;

	ASSERT_GE(fd, 0);
	fill_random(self->file, LEN);
	ASSERT_EQ(0, hsl_import(self->ctx, fd, 5 * self->page, 7 * self->page, PROT_READ, (void **)&mem));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem + 100, 6 * self->page));
	EXPECT_EQ(0, memcmp(self->host, self->file + 2 * MB + 5 * self->page + 100, 6 * self->page));
	/* A window around the fault does not leave the mapping. */
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, mem + 6 * self->page, self->page));
	EXPECT_EQ(-EINVAL, hsl_import(self->ctx, fd, 1, self->page, PROT_READ, (void **)&mem));
	EXPECT_EQ(-EINVAL, hsl_import(self->ctx, fd, 0, 2 * MB, PROT_READ, (void **)&mem));
	EXPECT_EQ(-EINVAL, hsl_import(self->ctx, fd, 0, 0, PROT_READ, (void **)&mem));
}

/* Memory that lies in pieces, in another order than the memfd's */
TEST_F(import, list)
{
	const unsigned int n = 200;
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item item[200];
	} l = { .head = { .flags = UDMABUF_FLAGS_CLOEXEC, .count = n } };
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd;
	char *mem;

	for (unsigned int i = 0; i < n; i++)
		l.item[i] = (struct udmabuf_create_item) {
			.memfd = self->memfd, .offset = (n - i) * 3 * self->page, .size = self->page,
		};
	fd = ioctl(dev, UDMABUF_CREATE_LIST, &l);
	ASSERT_GE(fd, 0) TH_LOG("%s", strerror(errno));
	close(dev);
	fill_random(self->file, LEN);
	ASSERT_EQ(0, hsl_import(self->ctx, fd, 0, n * self->page, PROT_READ, (void **)&mem));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, n * self->page));
	for (unsigned int i = 0; i < n; i++)
		ASSERT_EQ(0, memcmp(self->host + i * self->page, self->file + (n - i) * 3 * self->page, self->page));
}

TEST_F(import, protection)
{
	char *mem;

	ASSERT_EQ(0, hsl_import(self->ctx, self->fd, 0, LEN, PROT_READ, (void **)&mem));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, mem, self->host, 64));
	ASSERT_EQ(0, mprotect(mem, LEN, RW));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, mem, self->host, LEN));
	ASSERT_EQ(0, mprotect(mem, LEN, PROT_READ));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, mem + LEN / 2, self->host, 64));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	ASSERT_EQ(0, mprotect(mem, LEN, PROT_NONE));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, self->host, mem, 64));
}

/* Files closed: the mapping holds the memory. */
TEST_F(import, closed)
{
	char *mem;

	fill_random(self->file, LEN);
	IMPORT(mem);
	memcpy(self->host, self->file, LEN);
	close(self->fd);
	close(self->memfd);
	munmap(self->file, LEN);
	char *got = map_anon(LEN);

	ASSERT_EQ(HSL_ST_OK, copies(self->q, got, mem, LEN));
	EXPECT_EQ(0, memcmp(self->host, got, LEN));
	ASSERT_EQ(0, munmap(mem, LEN));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(self->q, got, mem, 64));
}

/* What was mapped there before and what is there now are not mistaken for each other. */
TEST_F(import, replaced)
{
	char *mem;

	memset(self->file, 1, LEN);
	IMPORT(mem);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	ASSERT_EQ(mem, mmap(mem, LEN, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memset(mem, 2, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(2, self->host[LEN - 1]);
	EXPECT_EQ(1, self->file[LEN - 1]);
	/* And back, at another offset */
	self->file[self->page] = 3;
	ASSERT_EQ(mem, mmap(mem, self->page, RW, MAP_SHARED | MAP_FIXED, self->fd, self->page));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, 2 * self->page));
	EXPECT_EQ(3, self->host[0]);
	EXPECT_EQ(2, self->host[self->page]);
}

/* One import is for each mapping of the file, and ends for each. */
TEST_F(import, every_mapping)
{
	char *a = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0), *b = mmap(NULL, MB, RW, MAP_SHARED, self->fd, MB);
	uint32_t handle = 0;

	memset(self->file, 4, LEN);
	ASSERT_EQ(0, cmd_import(self->ctx, self->fd, a, LEN, &handle));
	EXPECT_EQ(variant->sva == HSL_SVA_HMM, handle != 0);
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, a, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, b, MB));
	EXPECT_EQ(handle ? 0 : ENOENT, cmd_unimport(self->ctx, handle));
	EXPECT_EQ(ENOENT, cmd_unimport(self->ctx, handle));
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, a, LEN));
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, b, MB));
}

struct work {
	struct hsl_queue *q;
	char *mem;
	char *host;
	bool stop;
	unsigned long done;
	int odd;	/* a status that should not be */
};

static void *work_there(void *p)
{
	struct work *w = p;
	int status;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		status = copies(w->q, w->mem, w->host, LEN);
		if (status == HSL_ST_OK)
			__atomic_fetch_add(&w->done, 1, __ATOMIC_RELAXED);
		else if (status != HSL_ST_PAGE_FAULT)
			w->odd = status;
	}
	return NULL;
}

/* Unmapped and mapped again, and imported and not, while the device works there */
TEST_F_TIMEOUT(import, under_traffic, 120)
{
	struct work w = { .q = self->q, .host = self->host };
	uint32_t handle = 0;
	pthread_t t;

	w.mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, w.mem);
	ASSERT_EQ(0, pthread_create(&t, NULL, work_there, &w));
	for (int i = 0; i < 60; i++) {
		ASSERT_EQ(0, cmd_import(self->ctx, self->fd, w.mem, LEN, &handle));
		usleep(rnd(3000));
		switch (rnd(3)) {
		case 0:
			ASSERT_EQ(0, munmap(w.mem + MB, MB));
			break;
		case 1:
			ASSERT_EQ(0, mprotect(w.mem, 2 * MB, PROT_READ));
			break;
		}
		if (handle)
			ASSERT_EQ(0, cmd_unimport(self->ctx, handle));
		usleep(rnd(1000));
		ASSERT_EQ(w.mem, mmap(w.mem, LEN, RW, MAP_SHARED | MAP_FIXED, self->fd, 0));
	}
	ASSERT_EQ(0, cmd_import(self->ctx, self->fd, w.mem, LEN, &handle));
	w.done = 0;
	EXPECT_TRUE(COMES_TRUE(__atomic_load_n(&w.done, __ATOMIC_RELAXED) > 2));
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	EXPECT_EQ(0, w.odd);
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
}

TEST_F(import, wrong_arguments)
{
	char *mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);
	int other = udmabuf(self->memfd, 0, MB), plain = open("/dev/zero", O_RDWR | O_CLOEXEC);
	size_t page = self->page;
	uint32_t handle = 77;

	ASSERT_GE(other, 0);
	EXPECT_EQ(EBADF, cmd_import(self->ctx, -1, mem, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, plain, mem, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->memfd, self->file, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, other, mem, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, self->file, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, self->host, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, mem, 0, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, mem, LEN - 1, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, mem + 1, page, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, mem + page, LEN, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, mem, -(size_t)page, &handle));
	EXPECT_EQ(EINVAL, cmd_import(self->ctx, self->fd, (void *)-page, page, &handle));
	EXPECT_EQ(EFAULT, cmd_import(self->ctx, self->fd, (void *)page, page, &handle));
	EXPECT_EQ(77, handle);
	EXPECT_EQ(ENOENT, cmd_unimport(self->ctx, 1));
	EXPECT_EQ(ENOENT, cmd_unimport(self->ctx, ~0u));
}

TEST_F(import, as_many_as_there_may_be)
{
	char *mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);
	uint32_t handle[IMPORTS + 1] = { 0 };

	for (int i = 0; i < IMPORTS; i++)
		ASSERT_EQ(0, cmd_import(self->ctx, self->fd, mem, LEN, &handle[i]));
	EXPECT_EQ(handle[0] ? ENOSPC : 0, cmd_import(self->ctx, self->fd, mem, LEN, &handle[IMPORTS]));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	for (int i = 0; handle[0] && i < IMPORTS; i++) {
		/* As long as there is one left */
		ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
		ASSERT_EQ(0, cmd_unimport(self->ctx, handle[i]));
	}
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, mem, LEN));
}

/* Its place for the handle cannot be written: nothing is left behind. */
TEST_F(import, cannot_be_told)
{
	char *mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);
	struct hsl_buf_import *a = map_anon(self->page);
	uint32_t handle = 0;

	*a = (struct hsl_buf_import) { .size = sizeof(*a), .fd = self->fd, .addr = (uintptr_t)mem, .len = LEN };
	ASSERT_EQ(0, mprotect(a, self->page, PROT_READ));
	for (int i = 0; i < 2 * IMPORTS; i++) {
		ASSERT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BUF_IMPORT, a));
		ASSERT_EQ(EFAULT, errno);
	}
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, mem, LEN));
	ASSERT_EQ(0, cmd_import(self->ctx, self->fd, mem, LEN, &handle));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
}

/* A binding has its own; what carries the addresses afterwards has not been told. */
TEST_F(import, bound_anew)
{
	struct hsl_bind bind = { .size = sizeof(bind), .sva = variant->sva };
	uint32_t handle = 0;
	char *mem;

	mem = mmap(NULL, LEN, RW, MAP_SHARED, self->fd, 0);
	ASSERT_EQ(0, cmd_import(self->ctx, self->fd, mem, LEN, &handle));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	ASSERT_EQ(0, hsl_queue_destroy(self->q));
	ASSERT_EQ(0, ioctl(hsl_fd(self->ctx), HSL_BIND, &bind));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	EXPECT_EQ(unknown(variant->sva), copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(ENOENT, cmd_unimport(self->ctx, handle ? handle : 1));
	ASSERT_EQ(0, cmd_import(self->ctx, self->fd, mem, LEN, &handle));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
}

/* The child has the mapping and not the device; what it does with the one is nothing to the other. */
TEST_F(import, fork)
{
	int status;
	char *mem;
	pid_t pid;

	memset(self->file, 5, LEN);
	IMPORT(mem);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		mem[0] = 6;
		munmap(mem, LEN);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(6, self->host[0]);
	EXPECT_EQ(5, self->host[LEN - 1]);
}

/* A process that ends in the middle of it leaves nothing behind. */
TEST_F_TIMEOUT(import, killed, 60)
{
	int status;
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			struct work w = { .host = self->host };
			struct hsl_ctx *ctx;

			if (open_on(dev_path(0), variant->sva, &ctx) || hsl_queue_create(ctx, NULL, &w.q) ||
			    hsl_import(ctx, self->fd, 0, LEN, RW, (void **)&w.mem))
				_exit(1);
			work_there(&w);
			_exit(2);
		}
		usleep(50000 + rnd(50000));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("status %#x", status);
	}
}

#define BUFINFO		"/sys/kernel/debug/dma_buf/bufinfo"

/* Devices that are attached to this dma-buf, by the kernel's word; -1: it says nothing */
static int attached(int fd)
{
	unsigned long long ino;
	FILE *f = fopen(BUFINFO, "re");
	bool this = false;
	struct stat st;
	char line[256];
	int n = -1;

	while (f && !fstat(fd, &st) && n < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %*x %*x %*d %*s %llu", &ino) == 1)
			this = ino == st.st_ino;
		else if (!this || sscanf(line, "Total %d devices attached", &n) != 1)
			n = -1;
	}
	if (f)
		fclose(f);
	return n;
}

/* The device goes while it works there, and comes back: it lets go, the mapping is the program's own and stays. */
static void goes(struct __test_metadata *_metadata, FIXTURE_DATA(import) *self, enum hsl_sva sva,
		 int (*how)(const char *pci))
{
	struct hsl_ctx *ctx = NULL;
	struct hsl_queue *q;
	char *mem, *again;
	char pci[64];

	ASSERT_EQ(0, pci_name(0, pci, sizeof(pci)));
	memset(self->file, 5, LEN);
	IMPORT(mem);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(sva == HSL_SVA_HMM, attached(self->fd));
	hsl_prep_copy(hsl_get_desc(self->q), mem, self->host, LEN);
	hsl_submit(self->q);
	ASSERT_EQ(0, how(pci));
	/* Although the context is still open */
	EXPECT_EQ(0, attached(self->fd));
	EXPECT_EQ(5, mem[LEN - 1]);
	memset(mem, 6, LEN);
	EXPECT_EQ(6, self->file[LEN - 1]);
	EXPECT_EQ(-ENODEV, hsl_import(self->ctx, self->fd, 0, LEN, RW, (void **)&again));
	ASSERT_TRUE(COMES_TRUE(!open_on(dev_path(0), sva, &ctx)));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	EXPECT_EQ(unknown(sva), copies(q, self->host, mem, LEN));
	ASSERT_EQ(0, hsl_import(ctx, self->fd, 0, LEN, RW, (void **)&again));
	EXPECT_EQ(HSL_ST_OK, copies(q, self->host, again, LEN));
	EXPECT_EQ(6, self->host[LEN - 1]);
	EXPECT_EQ(HSL_ST_OK, copies(q, self->host, mem, LEN));
	hsl_close(ctx);
	EXPECT_EQ(0, hsl_unimport(self->ctx, mem));
}

TEST_F_TIMEOUT(import, reset, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, pci_reset);
}

TEST_F_TIMEOUT(import, removed, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, remove_and_rescan);
}

TEST_F_TIMEOUT(import, unbound, 120)
{
	NEED_ROOT();
	goes(_metadata, self, variant->sva, unbind_and_bind);
}

/* Two devices, one memory */
TEST_F(import, two_devices)
{
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	char *a, *b;

	SKIP_WITHOUT_DEVICES(2);
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	IMPORT(a);
	ASSERT_EQ(0, hsl_import(ctx, self->fd, 0, LEN, RW, (void **)&b));
	fill_random(self->host, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, a, self->host, LEN));
	memset(self->host, 0, LEN);
	/* At either address, now that both know it */
	ASSERT_EQ(HSL_ST_OK, copies(q, self->host, b, LEN));
	EXPECT_EQ(0, memcmp(self->host, self->file, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(q, self->host, a, LEN));
	EXPECT_EQ(HSL_ST_OK, copies(self->q, self->host, b, LEN));
	hsl_close(ctx);
}

/* Another exporter, which asks for its calls around accesses of the CPU */
TEST_F(import, heap)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };
	struct dma_heap_allocation_data data = { .len = LEN, .fd_flags = O_RDWR | O_CLOEXEC };
	int heap = open("/dev/dma_heap/system", O_RDONLY | O_CLOEXEC);
	char *mem;

	if (heap < 0)
		SKIP(return, "no /dev/dma_heap/system: CONFIG_DMABUF_HEAPS_SYSTEM");
	data.len = (LEN + self->page - 1) & ~(self->page - 1);
	ASSERT_EQ(0, ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data));
	ASSERT_EQ(0, hsl_import(self->ctx, data.fd, 0, LEN, RW, (void **)&mem));
	ASSERT_EQ(0, ioctl(data.fd, DMA_BUF_IOCTL_SYNC, &sync));
	fill_random(mem, LEN);
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	ASSERT_EQ(0, ioctl(data.fd, DMA_BUF_IOCTL_SYNC, &sync));
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(0, memcmp(self->host, mem, LEN));
	EXPECT_EQ(0, hsl_unimport(self->ctx, mem));
}

/* Memory of a device by file is pages already, on either provider. */
TEST_F(import, our_own)
{
	int fd = hsl_buf_create(self->ctx, LEN);
	uint32_t handle = 5;
	char *mem;

	if (fd == -EOPNOTSUPP)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, hsl_import(self->ctx, fd, 0, LEN, RW, (void **)&mem));
	ASSERT_EQ(0, cmd_import(self->ctx, fd, mem, LEN, &handle));
	EXPECT_EQ(0, handle);
	fill_random(mem, LEN);
	ASSERT_EQ(HSL_ST_OK, copies(self->q, self->host, mem, LEN));
	EXPECT_EQ(0, memcmp(self->host, mem, LEN));
	EXPECT_EQ(0, hsl_unimport(self->ctx, mem));
	close(fd);
}

/* No call of ours makes a file of what is imported. */
TEST_F(import, not_exported_again)
{
	char *mem;

	IMPORT(mem);
	EXPECT_EQ(-EINVAL, hsl_buf_share(self->ctx, self->fd, HSL_BUF_READ));
	EXPECT_EQ(-EINVAL, hsl_buf_revoke(self->ctx, self->fd, self->fd));
}

TEST_HARNESS_MAIN
