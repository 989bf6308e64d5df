// SPDX-License-Identifier: GPL-2.0
/*
 * What only the provider hmm has: page tables of the device that the driver
 * fills at faults, their memory, and a worker that may have to wait for a page.
 */
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hsl_test.h"

#define HUGE_PAGE	(2 * MB)
#define RESET		"/sys/class/hsl/hsl0/device/reset"
#define PARAM		"/sys/module/hsl/parameters/sva"

FIXTURE(hmm) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
};

FIXTURE_SETUP(hmm)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), HSL_SVA_HMM, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	SEED();
}

FIXTURE_TEARDOWN(hmm)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

static unsigned long long faults(FIXTURE_DATA(hmm) *self)
{
	return fdinfo(self->ctx, "hsl-mirror-faults");
}

/* Have the device read it: is it what the process reads? */
static int device_reads(struct hsl_queue *q, const void *mem, size_t len)
{
	uint32_t crc = 0;
	int err = hsl_crc32c(q, mem, len, &crc);

	if (err)
		return err;
	return crc == crc32c_ref(0, mem, len) ? 0 : -EBADMSG;
}

/* @len bytes at a multiple of 2 MiB, in pages of 4 KiB unless @huge */
static char *map_aligned(size_t len, bool huge)
{
	char *p = map_anon(len + HUGE_PAGE), *at;

	if (!p)
		return NULL;
	at = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & -HUGE_PAGE);
	if (at > p)
		munmap(p, at - p);
	munmap(at + len, p + HUGE_PAGE - at);
	madvise(at, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return at;
}

/* Pages that the process has there */
static size_t resident(FIXTURE_DATA(hmm) *self, char *mem, size_t len)
{
	unsigned char vec[1024];
	size_t i, n = 0;

	if (len / self->page > sizeof(vec) || mincore(mem, len, vec))
		return ~0ul;
	for (i = 0; i < len / self->page; i++)
		n += vec[i] & 1;
	return n;
}

static bool read_line(const char *path, char *text, size_t len)
{
	FILE *f = fopen(path, "r");
	bool ok = f && fgets(text, len, f);

	if (f)
		fclose(f);
	if (ok)
		text[strcspn(text, "\n")] = 0;
	return ok;
}

/*
 * The choice
 */

TEST_F(hmm, chosen)
{
	struct hsl_query info = { .size = sizeof(info) };

	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(HSL_SVA_HMM, info.sva);
	EXPECT_EQ(0, info.pasid);
	EXPECT_STREQ("chosen by the program", (char *)info.sva_why);
}

TEST_F(hmm, not_chosen)
{
	struct hsl_query info = { .size = sizeof(info) };
	char param[64], iommu[120], want[sizeof(info.sva_why)];
	struct hsl_ctx *ctx;

	ASSERT_TRUE(read_line(PARAM, param, sizeof(param)));
	ASSERT_TRUE(read_line("/sys/class/hsl/hsl0/providers/iommu", iommu, sizeof(iommu)));
	unsetenv("HSL_SVA");
	ASSERT_EQ(0, hsl_open(dev_path(0), NULL, &ctx));
	ASSERT_EQ(0, hsl_query(ctx, &info));
	hsl_close(ctx);

	if (!strcmp(param, "hmm"))
		snprintf(want, sizeof(want), "forced by module parameter");
	else if (!strcmp(iommu, "ok"))
		snprintf(want, sizeof(want), "automatic: first that works");
	else
		snprintf(want, sizeof(want), "iommu: %s", iommu);
	EXPECT_STREQ(want, (char *)info.sva_why);
	EXPECT_EQ(!strcmp(param, "auto") && !strcmp(iommu, "ok") ? HSL_SVA_IOMMU : HSL_SVA_HMM, info.sva);
}

TEST_F(hmm, environment)
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = HSL_SVA_HMM };
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_ctx *ctx;

	setenv("HSL_SVA", "hmm", 1);
	ASSERT_EQ(0, hsl_open(dev_path(0), NULL, &ctx));
	ASSERT_EQ(0, hsl_query(ctx, &info));
	EXPECT_EQ(HSL_SVA_HMM, info.sva);
	hsl_close(ctx);
	setenv("HSL_SVA", "auto", 1);
	ASSERT_EQ(0, hsl_open(dev_path(0), NULL, &ctx));
	hsl_close(ctx);
	setenv("HSL_SVA", "none such", 1);
	EXPECT_EQ(-EOPNOTSUPP, hsl_open(dev_path(0), NULL, &ctx));
	/* The program's own word counts more. */
	ASSERT_EQ(0, hsl_open(dev_path(0), &opts, &ctx));
	hsl_close(ctx);
	opts.sva = HSL_SVA_NR;
	EXPECT_EQ(-EOPNOTSUPP, hsl_open(dev_path(0), &opts, &ctx));
	opts.sva = HSL_SVA_HMM;
	opts.routes = 1u << 31;
	EXPECT_EQ(-EOPNOTSUPP, hsl_open(dev_path(0), &opts, &ctx));
}

/*
 * The window of a fault
 */

/* One operation over all of it: a fault for every 2 MiB, not for every page */
TEST_F(hmm, long_operation)
{
	const size_t len = 4 * HUGE_PAGE;
	char *mem = map_aligned(len, false);
	unsigned long long n;

	ASSERT_NE(NULL, mem);
	fill_random(mem, len);
	n = faults(self);
	ASSERT_EQ(0, device_reads(self->q, mem, len));
	n = faults(self) - n;
	EXPECT_GE(n, 1);
	EXPECT_LE(n, 4 + 4);
	EXPECT_GE(fdinfo(self->ctx, "hsl-mirror-bytes"), len);
}

/* What debugfs says of the fault queue: each fault that the driver is asked about, of a known context */
TEST_F(hmm, fault_queue)
{
	const size_t len = 4 * HUGE_PAGE;
	char *mem = map_aligned(len, false);
	long long seen, head, dropped, n;

	SKIP_WITHOUT_DEBUGFS();
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_fill(self->q, mem, 1, self->page));
	seen = debugfs_sum(dev_path(0), "faults", "seen");
	head = debugfs_sum(dev_path(0), "faults", "head");
	dropped = debugfs_sum(dev_path(0), "faults", "dropped");
	EXPECT_EQ(1, debugfs_sum(dev_path(0), "faults", "on"));
	EXPECT_LE(1, debugfs_sum(dev_path(0), "faults", "entries"));
	EXPECT_LE(1, seen);
	EXPECT_LE(0, dropped);
	/* Once more where it was: nothing to ask */
	ASSERT_EQ(0, hsl_fill(self->q, mem, 2, self->page));
	EXPECT_EQ(seen, debugfs_sum(dev_path(0), "faults", "seen"));
	n = faults(self);
	ASSERT_EQ(0, hsl_fill(self->q, mem, 3, len));
	n = faults(self) - n;
	EXPECT_LE(3, n);
	/* One that is answered together with another is not tried. */
	EXPECT_LE(seen + n, debugfs_sum(dev_path(0), "faults", "seen"));
	EXPECT_EQ(debugfs_sum(dev_path(0), "faults", "seen") - seen,
		  debugfs_sum(dev_path(0), "faults", "head") - head);
	EXPECT_EQ(dropped, debugfs_sum(dev_path(0), "faults", "dropped"));
}

/* The same memory untouched: what the operation names is there afterwards. */
TEST_F(hmm, long_operation_untouched)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_aligned(len, false);
	unsigned long long n;
	size_t i;

	ASSERT_NE(NULL, mem);
	n = faults(self);
	ASSERT_EQ(0, hsl_fill(self->q, mem, 0x0123456789abcdef, len));
	EXPECT_LE(faults(self) - n, 2 + 4);
	EXPECT_EQ(len / self->page, resident(self, mem, len));
	for (i = 0; i < len; i += 8)
		ASSERT_EQ(0x0123456789abcdef, *(uint64_t *)(mem + i));
}

/* Page by page in sequence: the window grows. */
TEST_F(hmm, small_operations_in_sequence)
{
	char *mem = map_aligned(HUGE_PAGE, false);
	unsigned long long n;
	size_t at;

	ASSERT_NE(NULL, mem);
	fill_random(mem, HUGE_PAGE);
	n = faults(self);
	for (at = 0; at < HUGE_PAGE; at += self->page)
		ASSERT_EQ(0, device_reads(self->q, mem + at, self->page));
	/* 16, 16, 32, 64, 128, 256 pages, and the rings */
	EXPECT_LE(faults(self) - n, 16);
}

/* Page by page anywhere: 16 pages each, no more */
TEST_F(hmm, small_operations_at_random)
{
	char *mem = map_aligned(HUGE_PAGE, false);
	unsigned long long bytes;

	ASSERT_NE(NULL, mem);
	fill_random(mem, HUGE_PAGE);
	ASSERT_EQ(0, device_reads(self->q, "x", 1));
	bytes = fdinfo(self->ctx, "hsl-mirror-bytes");
	ASSERT_EQ(0, device_reads(self->q, mem + 300 * self->page, 1));
	EXPECT_EQ(bytes + 16 * self->page, fdinfo(self->ctx, "hsl-mirror-bytes"));
	ASSERT_EQ(0, device_reads(self->q, mem + 100 * self->page, 1));
	EXPECT_EQ(bytes + 32 * self->page, fdinfo(self->ctx, "hsl-mirror-bytes"));
}

/* What an operation does not name is not faulted in for it. */
TEST_F(hmm, nothing_unasked)
{
	char *mem = map_aligned(HUGE_PAGE, false);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_fill(self->q, mem + 100 * self->page, 1, self->page));
	EXPECT_EQ(1, resident(self, mem, HUGE_PAGE));
	ASSERT_EQ(0, hsl_fill(self->q, mem + 101 * self->page, 1, self->page));
	EXPECT_EQ(2, resident(self, mem, HUGE_PAGE));
	ASSERT_EQ(0, hsl_fill(self->q, mem + 200 * self->page + 8, 1, 4 * self->page));
	EXPECT_EQ(2 + 5, resident(self, mem, HUGE_PAGE));
}

/* A hole in what an operation names: it gets as far as there is memory. */
TEST_F(hmm, up_to_the_hole)
{
	char *mem = map_aligned(HUGE_PAGE, false);
	size_t hole = 37 * self->page;
	struct hsl_cqe c;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, munmap(mem + hole, self->page));
	hsl_prep_fill(hsl_get_desc(self->q), mem, 7, HUGE_PAGE);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ((uintptr_t)mem + hole, c.addr);
	EXPECT_EQ(hole, c.bytes);
	EXPECT_EQ(37, resident(self, mem, hole));
}

/* Memory that has no pages, as of a device, is refused: the queue's own doorbell */
TEST_F(hmm, no_device_registers)
{
	char *mem = map_anon(self->page);
	struct hsl_cqe c;

	ASSERT_EQ(0, do_copy(self->q, &c, (void *)(uintptr_t)self->q->doorbell, mem, 64));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ((uintptr_t)self->q->doorbell, c.addr);
	ASSERT_EQ(0, do_copy(self->q, &c, mem, mem + 64, 64));
	EXPECT_EQ(HSL_ST_OK, c.status);
}

/* A page that was read may be the one of all zeros; to write it is another fault. */
TEST_F(hmm, read_then_write)
{
	char *mem = map_aligned(HUGE_PAGE, false);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, device_reads(self->q, mem, 64 * self->page));
	ASSERT_EQ(0, hsl_fill(self->q, mem + 5 * self->page, ~0ull, self->page));
	EXPECT_EQ(-1, mem[5 * self->page]);
	EXPECT_EQ(0, mem[4 * self->page]);
	EXPECT_EQ(0, mem[6 * self->page]);
}

/*
 * Large pages
 */

static bool is_huge(char *mem, size_t len)
{
	char line[256], at[32];
	bool here = false;
	unsigned long kb = 0;
	FILE *f = fopen("/proc/self/smaps", "r");

	snprintf(at, sizeof(at), "%lx-", (unsigned long)mem);
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, at, strlen(at)))
			here = true;
		if (here && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb * KB >= len;
}

TEST_F(hmm, large_pages)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_aligned(len, true);
	unsigned long long n, huge;

	ASSERT_NE(NULL, mem);
	fill_random(mem, len);
	if (!is_huge(mem, len))
		SKIP(return, "no transparent huge pages");
	n = faults(self);
	huge = fdinfo(self->ctx, "hsl-mirror-huge-bytes");
	/* Small operations: each maps all of its large page. */
	ASSERT_EQ(0, device_reads(self->q, mem + 1000, 1));
	EXPECT_EQ(huge + HUGE_PAGE, fdinfo(self->ctx, "hsl-mirror-huge-bytes"));
	ASSERT_EQ(0, device_reads(self->q, mem + len - 1, 1));
	EXPECT_EQ(huge + len, fdinfo(self->ctx, "hsl-mirror-huge-bytes"));
	ASSERT_EQ(0, device_reads(self->q, mem, len));
	EXPECT_LE(faults(self) - n, 2 + 4);

	/* A part of one is taken away: the other stays, and the rest is right. */
	ASSERT_EQ(0, munmap(mem + 17 * self->page, self->page));
	EXPECT_EQ(huge + HUGE_PAGE, fdinfo(self->ctx, "hsl-mirror-huge-bytes"));
	ASSERT_EQ(0, device_reads(self->q, mem, 17 * self->page));
	ASSERT_EQ(-EFAULT, hsl_compare(self->q, mem, mem, 18 * self->page, NULL));
	ASSERT_EQ(0, hsl_fill(self->q, mem + 18 * self->page, 3, HUGE_PAGE - 18 * self->page));
	EXPECT_EQ(3, *(uint64_t *)(mem + 18 * self->page));
	EXPECT_EQ(3, *(uint64_t *)(mem + HUGE_PAGE - 8));
}

/* Untouched, where the kernel gives large pages: one fault brings one. */
TEST_F(hmm, large_page_faulted_in)
{
	char *mem = map_aligned(HUGE_PAGE, true);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_fill(self->q, mem, 9, HUGE_PAGE));
	EXPECT_EQ(9, *(uint64_t *)(mem + HUGE_PAGE - 8));
	if (!is_huge(mem, HUGE_PAGE))
		SKIP(return, "no transparent huge pages");
	EXPECT_GE(fdinfo(self->ctx, "hsl-mirror-huge-bytes"), HUGE_PAGE);
}

/*
 * The memory of the tables
 */

TEST_F(hmm, tables_go_back)
{
	const size_t len = 256 * MB;
	unsigned long long tables, bytes;
	char *mem, *at;

	/* The queue's own pages, and those of the library */
	ASSERT_EQ(0, device_reads(self->q, &mem, sizeof(mem)));
	tables = fdinfo(self->ctx, "hsl-mirror-tables");
	bytes = fdinfo(self->ctx, "hsl-mirror-bytes");
	EXPECT_GT(tables, 1);

	mem = map_aligned(len, false);
	ASSERT_NE(NULL, mem);
	for (at = mem; at < mem + len; at += HUGE_PAGE)
		ASSERT_EQ(0, hsl_fill(self->q, at, 1, 8));
	EXPECT_GE(fdinfo(self->ctx, "hsl-mirror-tables"), tables + len / HUGE_PAGE);
	EXPECT_EQ(fdinfo(self->ctx, "hsl-mirror-bytes"), bytes + len / HUGE_PAGE * self->page);

	/* By half, then all */
	ASSERT_EQ(0, munmap(mem + len / 2, len / 2));
	EXPECT_LE(fdinfo(self->ctx, "hsl-mirror-tables"), tables + len / 2 / HUGE_PAGE + 2);
	EXPECT_EQ(fdinfo(self->ctx, "hsl-mirror-bytes"), bytes + len / 2 / HUGE_PAGE * self->page);
	ASSERT_EQ(0, munmap(mem, len / 2));
	EXPECT_EQ(tables, fdinfo(self->ctx, "hsl-mirror-tables"));
	EXPECT_EQ(bytes, fdinfo(self->ctx, "hsl-mirror-bytes"));
}

/* All over the address space: what watches it goes as well. */
TEST_F(hmm, slices_go_back)
{
	const size_t step = 64 * MB;
	char *mem, *at;
	size_t n = 100;

	mem = mmap(NULL, n * step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)mem);
	madvise(mem, n * step, MADV_NOHUGEPAGE);
	for (at = mem; at < mem + n * step; at += step)
		ASSERT_EQ(0, hsl_fill(self->q, at, 1, 8));
	EXPECT_GE(fdinfo(self->ctx, "hsl-mirror-slices"), n);
	ASSERT_EQ(0, munmap(mem, n * step));
	/* Some are kept, for what comes next. */
	EXPECT_TRUE(COMES_TRUE(fdinfo(self->ctx, "hsl-mirror-slices") < 32));
}

/* The device leaves no mark in the process's tables: nothing that it wrote may be taken for clean. */
TEST_F(hmm, lazily_freed_and_written)
{
	const size_t len = 32 * self->page;
	char *mem = map_anon(len);
	size_t i;

	ASSERT_NE(NULL, mem);
	madvise(mem, len, MADV_NOHUGEPAGE);
	memset(mem, 0x11, len);
	ASSERT_EQ(0, madvise(mem, len, MADV_FREE));
	/* Mapped by a read, as something that may be written */
	ASSERT_EQ(0, device_reads(self->q, mem, len));
	ASSERT_EQ(0, hsl_fill(self->q, mem, 0x2222222222222222, len));
	madvise(mem, len, MADV_PAGEOUT);
	for (i = 0; i < len && mem[i] == 0x22; i++)
		;
	EXPECT_EQ(len, i);
}

/*
 * A page that takes its time
 */

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif

FIXTURE(slow) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page, len;
	char *mem;	/* somebody else answers its faults */
	char *fresh;
	int fd;
};

FIXTURE_SETUP(slow)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	self->fd = -1;
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), HSL_SVA_HMM, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_API, &api));
	self->page = page_size();
	self->len = 16 * self->page;
	self->mem = map_anon(self->len);
	self->fresh = map_anon(self->page);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->fresh);
	memset(self->fresh, 0x5a, self->page);
	reg.range.start = (uintptr_t)self->mem;
	reg.range.len = self->len;
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN(slow)
{
	if (self->fd >= 0)
		close(self->fd);
	if (self->ctx)
		hsl_close(self->ctx);
}

/* Somebody waits for the page at @at. */
static bool waits(FIXTURE_DATA(slow) *self, char *at)
{
	struct uffd_msg m;

	return readable(self->fd, BOUND_MS) && read(self->fd, &m, sizeof(m)) == sizeof(m) &&
	       m.event == UFFD_EVENT_PAGEFAULT && (char *)(uintptr_t)(m.arg.pagefault.address & -self->page) == at;
}

static bool give(FIXTURE_DATA(slow) *self, char *at)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at, .src = (uintptr_t)self->fresh, .len = self->page,
	};

	return !ioctl(self->fd, UFFDIO_COPY, &copy);
}

/* It delays the context that wants it, and only it. */
TEST_F(slow, delays_nobody_else)
{
	char *src = map_anon(self->len), *dst = map_anon(self->len);
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	int i;

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	ASSERT_EQ(0, open_on(dev_path(0), HSL_SVA_HMM, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));

	hsl_prep_copy(hsl_get_desc(self->q), dst, self->mem + 3 * self->page, self->page);
	hsl_submit(self->q);
	ASSERT_TRUE(waits(self, self->mem + 3 * self->page));
	/* The neighbour faults in page after page meanwhile. */
	for (i = 0; i < 50; i++) {
		madvise(src, self->len, MADV_DONTNEED);
		ASSERT_EQ(0, hsl_fill(q, src, i, self->len));
		ASSERT_EQ(i, *(uint64_t *)(src + self->len - 8));
	}
	/* So does the process: its address space is not locked. */
	ASSERT_EQ(0, munmap(map_anon(self->page), self->page));
	EXPECT_EQ(-EAGAIN, hsl_peek(self->q, &c));

	ASSERT_TRUE(give(self, self->mem + 3 * self->page));
	ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
	EXPECT_EQ(HSL_ST_OK, c->status);
	EXPECT_EQ(0, memcmp(dst, self->fresh, self->page));
	hsl_close(ctx);
}

/* Pages behind the first one are waited for as well, one after the other. */
TEST_F(slow, all_of_an_operation)
{
	char *dst = map_anon(self->len);
	const struct hsl_cqe *c;
	size_t at;

	ASSERT_NE(NULL, dst);
	hsl_prep_copy(hsl_get_desc(self->q), dst, self->mem, self->len);
	hsl_submit(self->q);
	for (at = 0; at < self->len; at += self->page) {
		ASSERT_TRUE(waits(self, self->mem + at));
		ASSERT_TRUE(give(self, self->mem + at));
	}
	ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
	EXPECT_EQ(HSL_ST_OK, c->status);
	for (at = 0; at < self->len; at += self->page)
		EXPECT_EQ(0, memcmp(dst + at, self->fresh, self->page));
}

/* A queue, then the file, closed while a fault waits: nobody waits for it. */
TEST_F(slow, close)
{
	struct hsl_bind bind = { .size = sizeof(bind), .sva = HSL_SVA_HMM };
	int64_t start;

	hsl_prep_fill(hsl_get_desc(self->q), self->mem, 1, self->page);
	hsl_submit(self->q);
	ASSERT_TRUE(waits(self, self->mem));
	start = now_ms();
	ASSERT_EQ(0, hsl_queue_destroy(self->q));
	/* What waits must not pile up: no new address space before it is done. */
	ASSERT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_BIND, &bind));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	hsl_prep_fill(hsl_get_desc(self->q), self->mem + self->page, 1, self->page);
	hsl_submit(self->q);
	hsl_close(self->ctx);
	EXPECT_LT(now_ms() - start, BOUND_MS / 4);

	ASSERT_EQ(0, open_on(dev_path(0), HSL_SVA_HMM, &self->ctx));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_fill(self->q, self->fresh, 2, self->page));
}

TEST_F(slow, bind_again_once_answered)
{
	struct hsl_bind bind = { .size = sizeof(bind), .sva = HSL_SVA_HMM };

	hsl_prep_fill(hsl_get_desc(self->q), self->mem, 1, self->page);
	hsl_submit(self->q);
	ASSERT_TRUE(waits(self, self->mem));
	ASSERT_EQ(0, hsl_queue_destroy(self->q));
	ASSERT_TRUE(give(self, self->mem));
	EXPECT_TRUE(COMES_TRUE(!ioctl(hsl_fd(self->ctx), HSL_BIND, &bind)));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_fill(self->q, self->mem, 2, self->page));
	EXPECT_EQ(2, *(uint64_t *)self->mem);
}

/* A process ends, however it ends, with a fault that only itself could have answered. */
TEST_F(slow, process_ends)
{
	static const int signals[] = { 0, SIGKILL };
	size_t i;

	for (i = 0; i < ARRAY(signals); i++) {
		int ready[2], status;
		pid_t pid;
		char c;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			struct uffdio_api api = { .api = UFFD_API };
			struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
			struct hsl_queue *q;
			struct hsl_ctx *ctx;

			/* The device's file closes before the one that answers. */
			if (open_on(dev_path(0), HSL_SVA_HMM, &ctx) || hsl_queue_create(ctx, NULL, &q))
				_exit(1);
			self->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
			self->mem = map_anon(self->len);
			reg.range.start = (uintptr_t)self->mem;
			reg.range.len = self->len;
			if (ioctl(self->fd, UFFDIO_API, &api) || ioctl(self->fd, UFFDIO_REGISTER, &reg))
				_exit(2);
			hsl_prep_fill(hsl_get_desc(q), self->mem, 1, self->page);
			hsl_submit(q);
			if (!waits(self, self->mem) || write(ready[1], "", 1) != 1)
				_exit(3);
			if (signals[i])
				pause();
			_exit(0);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		close(ready[0]);
		if (signals[i])
			kill(pid, signals[i]);
		ASSERT_TRUE(COMES_TRUE(waitpid(pid, &status, WNOHANG) == pid));
		EXPECT_EQ(signals[i], WIFSIGNALED(status) ? WTERMSIG(status) : 0);
		EXPECT_EQ(0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
	}
	ASSERT_EQ(0, hsl_fill(self->q, self->fresh, 2, self->page));
}

/* Another resets the device under a fault that waits. */
TEST_F(slow, reset)
{
	int64_t start = now_ms();
	int fd;

	fd = open(RESET, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "cannot reset the device: %s", strerror(errno));
	hsl_prep_fill(hsl_get_desc(self->q), self->mem, 1, self->page);
	hsl_submit(self->q);
	ASSERT_TRUE(waits(self, self->mem));
	ASSERT_EQ(1, write(fd, "1", 1));
	close(fd);
	EXPECT_LT(now_ms() - start, BOUND_MS / 2);
	hsl_close(self->ctx);
	self->ctx = NULL;

	ASSERT_EQ(0, open_on(dev_path(0), HSL_SVA_HMM, &self->ctx));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_fill(self->q, self->fresh, 2, self->page));
	ASSERT_TRUE(give(self, self->mem));
	ASSERT_EQ(0, hsl_fill(self->q, self->mem, 3, self->page));
	EXPECT_EQ(3, *(uint64_t *)self->mem);
}

/*
 * Many at once
 */

#define CONTEXTS	32
#define ROUNDS		20

struct one {
	pthread_t thread;
	unsigned int id;
	const char *wrong;
	int err;
};

/* A context of its own, memory of its own, all of it faulted in anew in every round */
static void *one_context(void *arg)
{
	struct one *o = arg;
	const size_t len = 64 * page_size();
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	uint64_t i, k;
	char *mem;

	mem = map_anon(len);
	o->wrong = "open";
	if (!mem)
		return NULL;
	o->err = open_on(dev_path(0), HSL_SVA_HMM, &ctx);
	if (o->err)
		return NULL;
	o->wrong = "queue";
	o->err = hsl_queue_create(ctx, NULL, &q);
	if (o->err)
		goto out;
	for (i = 0; i < ROUNDS; i++) {
		uint64_t pattern = (uint64_t)o->id << 32 | i;

		o->wrong = "fill";
		o->err = hsl_fill(q, mem, pattern, len);
		if (o->err)
			goto out;
		o->wrong = "data";
		for (k = 0; k < len; k += 8)
			if (*(uint64_t *)(mem + k) != pattern)
				goto out;
		madvise(mem, len, MADV_DONTNEED);
	}
	o->wrong = NULL;
out:
	hsl_close(ctx);
	munmap(mem, len);
	return NULL;
}

TEST_F_TIMEOUT(hmm, many_contexts, 120)
{
	static struct one one[CONTEXTS];
	unsigned int i;

	for (i = 0; i < CONTEXTS; i++) {
		one[i].id = i;
		ASSERT_EQ(0, pthread_create(&one[i].thread, NULL, one_context, &one[i]));
	}
	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, pthread_join(one[i].thread, NULL));
		EXPECT_EQ(NULL, one[i].wrong) TH_LOG("context %u: %s: %s", i, one[i].wrong, hsl_strerror(one[i].err));
	}
}

struct churn {
	char *mem;
	size_t len, page;
	bool stop;
	unsigned long rounds;
};

/* Next door to what the device works in, as fast as can be */
static void *churn(void *arg)
{
	struct churn *ch = arg;

	while (!__atomic_load_n(&ch->stop, __ATOMIC_SEQ_CST)) {
		mprotect(ch->mem, ch->len, PROT_READ);
		mprotect(ch->mem, ch->len, PROT_READ | PROT_WRITE);
		memset(ch->mem, 1, ch->len);
		madvise(ch->mem, ch->len, MADV_DONTNEED);
		ch->rounds++;
	}
	return NULL;
}

/* Faults that always meet an invalidation next door end nevertheless, and never as page faults. */
TEST_F(hmm, churn_next_door)
{
	struct churn ch = { .page = self->page, .len = 8 * self->page };
	char *mem = map_aligned(HUGE_PAGE, false);
	int64_t end = now_ms() + 1000;
	pthread_t thread;
	unsigned long n = 0;
	struct hsl_cqe c;

	ASSERT_NE(NULL, mem);
	ch.mem = mem + 256 * self->page;
	ASSERT_EQ(0, pthread_create(&thread, NULL, churn, &ch));
	do {
		char *at = mem + (rnd(2) ? 0 : 264 + rnd(200)) * self->page + rnd(16) * self->page;

		hsl_prep_fill(hsl_get_desc(self->q), at, n, 4 * self->page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status) TH_LOG("after %lu", n);
		ASSERT_EQ(n, *(uint64_t *)(at + 4 * self->page - 8));
		madvise(at, 4 * self->page, MADV_DONTNEED);
		n++;
	} while (now_ms() < end);
	__atomic_store_n(&ch.stop, true, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_GT(ch.rounds, 0);
	TH_LOG("%lu operations, %lu rounds next door, %llu conflicts", n, ch.rounds,
	       fdinfo(self->ctx, "hsl-mirror-conflicts"));
}

TEST_HARNESS_MAIN
