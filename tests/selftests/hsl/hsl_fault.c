// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses that are not there, not yet there, or gone in the middle: faults
 * are data, and nobody else notices.
 */
#include <sys/wait.h>

#include "hsl_test.h"

#define PAGES	16

FIXTURE(fault) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	size_t len;
	char *mem;	/* PAGES pages, touched and random */
	char *ref;	/* the same */
};

PROVIDER_VARIANTS(fault);

FIXTURE_SETUP(fault)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	self->len = PAGES * self->page;
	/* A page beyond each end, so that neighbours do not merge with it. */
	self->mem = map_anon(self->len + 2 * self->page);
	ASSERT_NE(NULL, self->mem);
	self->mem += self->page;
	self->ref = map_anon(self->len);
	ASSERT_NE(NULL, self->ref);
	SEED();
	fill_random(self->mem, self->len);
	memcpy(self->ref, self->mem, self->len);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

static void nop_runs(struct __test_metadata *_metadata, struct hsl_queue *q)
{
	struct hsl_cqe c;

	hsl_prep_nop(hsl_get_desc(q));
	ASSERT_EQ(0, finish_one(q, &c));
	ASSERT_EQ(HSL_ST_OK, c.status);
}

/* A copy across a page that stands in the way, which is then cured. */
FIXTURE(obstacle) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
};

FIXTURE_VARIANT(obstacle) {
	enum hsl_sva sva;
	bool write;	/* it is the destination's */
	int prot;	/* of the page; -1: not mapped at all */
};

PROVIDER_VARIANT_ADD(obstacle, read_unmapped, .write = false, .prot = -1);
PROVIDER_VARIANT_ADD(obstacle, read_none, .write = false, .prot = PROT_NONE);
PROVIDER_VARIANT_ADD(obstacle, write_unmapped, .write = true, .prot = -1);
PROVIDER_VARIANT_ADD(obstacle, write_none, .write = true, .prot = PROT_NONE);
PROVIDER_VARIANT_ADD(obstacle, write_readonly, .write = true, .prot = PROT_READ);

FIXTURE_SETUP(obstacle)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
}

FIXTURE_TEARDOWN(obstacle)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

TEST_F_TIMEOUT(obstacle, fault_cure_resume, 60)
{
	const size_t page = page_size(), len = PAGES * page;
	struct hsl_event ev[8];
	struct hsl_cqe c;
	uint32_t lost;
	int round;

	SEED();
	for (round = 0; round < 30; round++) {
		char *src = map_anon(len), *dst = map_anon(len);
		char *hit = variant->write ? dst : src;
		size_t where = 1 + rnd(PAGES - 2), off = rnd(page), n = len - off - rnd(page);
		char *wall = hit + where * page;
		char saved[page];
		struct hsl_desc *d;
		uint64_t faults;
		int nr;

		ASSERT_NE(NULL, src);
		ASSERT_NE(NULL, dst);
		fill_random(src, len);
		if (rnd(2))
			memset(dst, 0, len);	/* touched, or not */
		memcpy(saved, wall, page);
		ASSERT_EQ(0, variant->prot < 0 ? munmap(wall, page) : mprotect(wall, page, variant->prot));

		faults = queue_counter(self->ctx, self->q, HSL_CNT_FAULTS);
		d = hsl_get_desc(self->q);
		hsl_prep_copy(d, dst + off, src + off, n);
		hsl_desc_set_user_data(d, round + 1);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status)
			TH_LOG("%s", hsl_strstatus(c.status));
		EXPECT_EQ(variant->write ? HSL_ACCESS_WRITE : 0, c.access);
		EXPECT_EQ((uintptr_t)wall, c.addr);
		EXPECT_EQ((size_t)(wall - hit - off), c.bytes);
		EXPECT_EQ(0, memcmp(dst + off, src + off, c.bytes));
		EXPECT_EQ(faults + 1, queue_counter(self->ctx, self->q, HSL_CNT_FAULTS));
		nop_runs(_metadata, self->q);

		/* The kernel has a record of it. */
		ASSERT_TRUE(COMES_TRUE((nr = hsl_events(self->ctx, ev, ARRAY(ev), &lost)) > 0));
		EXPECT_EQ(1, nr);
		EXPECT_EQ(0, lost);
		EXPECT_EQ(HSL_EV_PAGE_FAULT, ev[0].type);
		EXPECT_EQ(HSL_ST_PAGE_FAULT, ev[0].code);
		EXPECT_EQ(c.access, ev[0].access);
		EXPECT_EQ(hsl_queue_id(self->q), (int)ev[0].queue);
		EXPECT_EQ(c.addr, ev[0].addr);
		EXPECT_EQ(round + 1, (int)ev[0].user_data);

		if (variant->prot < 0)
			mmap(wall, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		ASSERT_EQ(0, mprotect(wall, page, PROT_READ | PROT_WRITE));
		if (!variant->write)
			memcpy(wall, saved, page);
		ASSERT_EQ(0, do_copy(self->q, &c, dst + off + c.bytes, src + off + c.bytes, n - c.bytes));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(0, memcmp(dst + off, src + off, n));
		munmap(src, len);
		munmap(dst, len);
	}
}

/* Up onto itself a copy goes from the end; bytes count from there. */
TEST_F(fault, backward)
{
	char *wall = self->mem + 5 * self->page, *src = self->mem, *dst = self->mem + self->page / 2;
	size_t n = self->len - self->page / 2;
	struct hsl_cqe c;

	ASSERT_EQ(0, mprotect(wall, self->page, PROT_READ));
	ASSERT_EQ(0, do_copy(self->q, &c, dst, src, n));
	ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(HSL_ACCESS_WRITE | HSL_ACCESS_BACKWARD, c.access);
	EXPECT_GE(c.addr, (uintptr_t)wall);
	EXPECT_LT(c.addr, (uintptr_t)wall + self->page);
	EXPECT_EQ((size_t)(self->mem + self->len - (wall + self->page)), c.bytes);
	ASSERT_EQ(0, mprotect(wall, self->page, PROT_READ | PROT_WRITE));
	/* What is left are the first bytes. */
	ASSERT_EQ(0, do_copy(self->q, &c, dst, src, n - c.bytes));
	ASSERT_EQ(HSL_ST_OK, c.status);
	memmove(self->ref + self->page / 2, self->ref, n);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, self->len));
}

/* Every operation, at addresses that no process has. */
TEST_F(fault, nowhere)
{
	static const uint64_t nowhere[] = {
		0, 8, 0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff81000000,
		0x123456789000, 0xfee00000, 0xfffffffffffff000, 0x0100000000000000,
	};
	unsigned int i;
	int op;

	for (i = 0; i < ARRAY(nowhere); i++) {
		void *bad = (void *)nowhere[i];

		for (op = HSL_OP_COPY; op < HSL_OP_FENCE; op++) {
			bool atomic = op >= HSL_OP_ATOMIC_ADD;
			bool dst = op != HSL_OP_CRC32C && (op != HSL_OP_COMPARE || rnd(2));
			struct hsl_cqe c;

			hsl_prep(hsl_get_desc(self->q), op, dst ? bad : self->mem, dst ? self->mem : bad,
				 atomic ? 8 : 64, 0, 0);
			ASSERT_EQ(0, finish_one(self->q, &c));
			EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status)
				TH_LOG("%s at %p: %s", hsl_strop(op), bad, hsl_strstatus(c.status));
			EXPECT_EQ(nowhere[i], c.addr);
			EXPECT_EQ(0, c.bytes);
		}
		nop_runs(_metadata, self->q);
	}
	EXPECT_EQ(0, memcmp(self->mem, self->ref, self->len));
}

/*
 * Unmapping more at once than one invalidation of the IOMMU can name: each of
 * its pages has to be gone for the device, too.
 */
TEST_F(fault, large_munmap)
{
	const size_t len = 4096 * MB, page = page_size(), nr = 128;
	const size_t align = 2048 * MB;
	struct hsl_cqe c;
	char *area, *map;
	size_t i;

	area = mmap(NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	map = (char *)(((uintptr_t)area + align - 1) & ~(align - 1));
	ASSERT_EQ(map, mmap(map, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
	madvise(map, len, MADV_NOHUGEPAGE);
	for (i = 0; i < nr; i++) {
		hsl_prep_fill(hsl_get_desc(self->q), map + i * page, 0x2222222222222222, page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
	}
	/* From one end to the other, so that the whole is invalidated. */
	for (i = 1; i < 8; i++)
		map[i * (len / 8)] = 1;
	map[len - 1] = 1;

	ASSERT_EQ(0, munmap(map, len));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, do_copy(self->q, &c, self->mem, map + i * page, 64));
		ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status)
			TH_LOG("page %zu is still there", i);
	}
	EXPECT_EQ(0, memcmp(self->mem, self->ref, self->len));
	munmap(area, len + align);
}

TEST_F(fault, truncated_file)
{
	int fd = memfd_create("hsl", MFD_CLOEXEC);
	struct hsl_cqe c;
	char *map;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(self->len, write(fd, self->ref, self->len));
	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, map, self->len));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, ftruncate(fd, 4 * self->page));

	memset(self->mem, 0, self->len);
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, map, self->len));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ((uintptr_t)map + 4 * self->page, c.addr);
	EXPECT_EQ(4 * self->page, c.bytes);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, 4 * self->page));
	hsl_prep_fill(hsl_get_desc(self->q), map, 0, self->len);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(HSL_ACCESS_WRITE, c.access);
	nop_runs(_metadata, self->q);

	/* Grown again there are zeros. */
	ASSERT_EQ(0, ftruncate(fd, self->len));
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, map, self->len));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, self->mem[0] | self->mem[self->len - 1]);
	close(fd);
}

/* How often the device has asked for pages, with either provider. */
static uint64_t pages_asked(struct hsl_ctx *ctx, struct hsl_queue *q)
{
	return queue_counter(ctx, q, HSL_CNT_PAGE_REQUESTS);
}

/* Memory that nobody has touched: read as zeros, written as any other. */
TEST_F_TIMEOUT(fault, untouched, 60)
{
	const size_t len = 4 * MB;
	char *src = map_anon(len), *dst = map_anon(len);
	uint64_t asked;
	struct hsl_cqe c;
	size_t at;

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	madvise(src, len, MADV_NOHUGEPAGE);
	madvise(dst, len, MADV_NOHUGEPAGE);
	asked = pages_asked(self->ctx, self->q);
	hsl_prep_fill(hsl_get_desc(self->q), dst, 0xa5a5a5a5a5a5a5a5, len);
	ASSERT_EQ(0, finish_one(self->q, &c));
	ASSERT_EQ(HSL_ST_OK, c.status);
	EXPECT_GT(pages_asked(self->ctx, self->q), asked);
	for (at = 0; at < len; at += self->page)
		ASSERT_EQ((char)0xa5, dst[at]);
	ASSERT_EQ(0, do_copy(self->q, &c, dst, src, len));
	ASSERT_EQ(HSL_ST_OK, c.status);
	for (at = 0; at < len; at++)
		if (dst[at])
			break;
	EXPECT_EQ(len, at);
}

/* A file whose pages are not in the cache; the CPU reads it another way. */
TEST_F_TIMEOUT(fault, cold_file, 60)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	off_t len = lseek(fd, 0, SEEK_END);
	struct hsl_cqe c;
	char *map, *buf, *got;

	ASSERT_GT(len, 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	got = map_anon(len);
	buf = malloc(len);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_NE(NULL, got);
	ASSERT_EQ(0, do_copy(self->q, &c, got, map, len));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(len, pread(fd, buf, len, 0));
	EXPECT_EQ(0, memcmp(buf, got, len));
	hsl_prep_crc32c(hsl_get_desc(self->q), map, len, 0);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(crc32c_ref(0, buf, len), c.result);
	/* The mapping is read-only, whatever the file is. */
	hsl_prep_fill(hsl_get_desc(self->q), map, 0, 64);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	close(fd);
}

TEST_F(fault, stack_heap_and_globals)
{
	static char global[5000], global_dst[5000];
	char stack[5000], stack_dst[5000];
	char *heap = malloc(5000), *heap_dst = malloc(5000);
	struct { char *src, *dst; } p[] = {
		{ stack, heap_dst }, { heap, global_dst }, { global, stack_dst },
	};
	struct hsl_cqe c;
	unsigned int i;

	for (i = 0; i < ARRAY(p); i++) {
		fill_random(p[i].src, 5000);
		ASSERT_EQ(0, do_copy(self->q, &c, p[i].dst, p[i].src, 5000));
		ASSERT_EQ(HSL_ST_OK, c.status);
		EXPECT_EQ(0, memcmp(p[i].dst, p[i].src, 5000));
	}
	free(heap);
	free(heap_dst);
}

TEST_F_TIMEOUT(fault, huge_pages, 60)
{
	const size_t huge = 2 * MB, len = 4 * huge;
	char *base = map_anon(len + huge), *mem, *copy;
	struct hsl_cqe c;

	ASSERT_NE(NULL, base);
	mem = (char *)(((uintptr_t)base + huge - 1) & ~(huge - 1));
	if (madvise(mem, len, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	copy = map_anon(len);
	fill_random(copy, len);
	/* Untouched: the kernel may answer one page request with a huge page. */
	ASSERT_EQ(0, do_copy(self->q, &c, mem, copy, len));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, memcmp(mem, copy, len));
	/* Split under the device, which holds the huge translation. */
	ASSERT_EQ(0, mprotect(mem + huge + 4096, 4096, PROT_READ));
	ASSERT_EQ(0, do_copy(self->q, &c, mem, copy + 1, len - 1));
	ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ((uintptr_t)mem + huge + 4096, c.addr);
	EXPECT_EQ(huge + 4096, c.bytes);
	EXPECT_EQ(0, memcmp(mem, copy + 1, c.bytes));
	EXPECT_EQ(0, memcmp(mem + c.bytes, copy + c.bytes, len - c.bytes));
}

/* After a fork both see their own: what the device writes is the parent's. */
TEST_F(fault, copy_on_write)
{
	int go[2], status;
	struct hsl_cqe c;
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(go));
	/* The device holds writable translations when the fork happens. */
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, self->mem, self->len));
	hsl_prep_fill(hsl_get_desc(self->q), self->mem, 0, self->page);
	ASSERT_EQ(0, finish_one(self->q, &c));
	memset(self->ref, 0, self->page);
	child = fork();
	if (!child)
		_exit(read(go[0], &byte, 1) != 1 || memcmp(self->mem, self->ref, self->len));
	hsl_prep_fill(hsl_get_desc(self->q), self->mem, 0x7777777777777777, self->len);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	memset(self->ref, 0x77, self->len);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, self->len));
}

struct shaker {
	char *mem;
	size_t len;
	bool stop;
	uint64_t rounds;
	bool dirty;	/* the device wrote after mprotect() had returned */
};

/* Read-only to everyone: what is read twice must be the same. */
static bool stays_the_same(const char *at)
{
	const volatile uint64_t *p = (const volatile uint64_t *)at;
	uint64_t first = *p;
	int i;

	for (i = 0; i < 5000; i++)
		if (*p != first)
			return false;
	return true;
}

/* Every trick that takes a translation away, while the device writes there. */
static void *shake(void *arg)
{
	struct shaker *s = arg;
	size_t page = page_size();
	unsigned int r = 1;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		size_t first, n;
		char *at;

		r = r * 1103515245 + 12345;
		first = (r >> 8) % (s->len / page);
		n = (r >> 4) % 8 + 1;
		if (first + n > s->len / page)
			n = 1;
		at = s->mem + first * page;
		n *= page;
		switch (r >> 30) {
		case 0:
			munmap(at, n);
			mmap(at, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			break;
		case 1:
			madvise(at, n, MADV_DONTNEED);
			break;
		case 2:
			mprotect(at, n, PROT_READ);
			if (!stays_the_same(at))
				s->dirty = true;
			mprotect(at, n, PROT_READ | PROT_WRITE);
			break;
		case 3:
			munmap(mremap(at, n, n, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), n);
			break;
		}
		s->rounds++;
	}
	return NULL;
}

TEST_F_TIMEOUT(fault, munmap_during_copy, 120)
{
	const size_t len = 1 * MB;
	struct shaker s = { .mem = map_anon(len), .len = len };
	uint64_t checks, breaches, ok = 0, faults = 0;
	bool oracle = oracle_on(dev_path(0));
	pthread_t thread;
	struct hsl_cqe c;
	int64_t end;

	ASSERT_NE(NULL, s.mem);
	checks = device_counter(self->ctx, HSL_CNT_ORACLE_CHECKS);
	breaches = device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES);
	ASSERT_EQ(0, pthread_create(&thread, NULL, shake, &s));
	end = now_ms() + 5000;
	do {
		hsl_prep_fill(hsl_get_desc(self->q), s.mem, rnd64(), len);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_TRUE(c.status == HSL_ST_OK || c.status == HSL_ST_PAGE_FAULT)
			TH_LOG("%s at %#lx", hsl_strstatus(c.status), (unsigned long)c.addr);
		c.status == HSL_ST_OK ? ok++ : faults++;
	} while (now_ms() < end || !ok);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	TH_LOG("%lu fills done, %lu faulted, %lu changes of the mapping", ok, faults, s.rounds);
	EXPECT_GT(s.rounds, 10);
	/* process_vm_writev() goes on in the pages it has hold of, mprotect() or not. */
	EXPECT_TRUE(!s.dirty || on_cpu());
	if (!oracle)
		TH_LOG("the oracle is off: no debugfs");
	EXPECT_TRUE(!oracle || device_counter(self->ctx, HSL_CNT_ORACLE_CHECKS) > checks);
	EXPECT_EQ(breaches, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
	nop_runs(_metadata, self->q);
}

/*
 * A queue that a program broke stops with an error; its neighbour, in the same
 * context and at work all the time, does not notice.
 */
FIXTURE(broken) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q, *neighbour;
	pthread_t thread;
	bool stop;
	uint64_t done, bad;
};

PROVIDER_VARIANTS(broken);

static void *neighbour_works(void *arg)
{
	FIXTURE_DATA(broken) *self = arg;
	uint64_t n = 0, word = 0;
	struct hsl_cqe c;

	while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
		hsl_prep_atomic_add(hsl_get_desc(self->neighbour), &word, 8, 1);
		if (finish_one(self->neighbour, &c) || c.status != HSL_ST_OK || c.result != n) {
			__atomic_fetch_add(&self->bad, 1, __ATOMIC_RELAXED);
			break;
		}
		n++;
		__atomic_fetch_add(&self->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE_SETUP(broken)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 64 };

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &self->q));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->neighbour));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, neighbour_works, self));
}

FIXTURE_TEARDOWN(broken)
{
	uint64_t done;

	if (!self->ctx)
		return;
	done = __atomic_load_n(&self->done, __ATOMIC_RELAXED);
	EXPECT_TRUE(COMES_TRUE(__atomic_load_n(&self->done, __ATOMIC_RELAXED) > done + 10));
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	pthread_join(self->thread, NULL);
	EXPECT_EQ(0, self->bad);
	if (self->q)
		EXPECT_EQ(0, hsl_queue_destroy(self->q));
	/* A new queue in its place works. */
	EXPECT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	nop_runs(_metadata, self->q);
	hsl_close(self->ctx);
}

/* It failed with @error (0: any), and everybody who waits is told, also who begins only now. */
static void expect_failed(struct __test_metadata *_metadata, FIXTURE_DATA(broken) *self, uint32_t error)
{
	int fd = hsl_queue_eventfd(self->q, HSL_EVENTFD_ERROR);
	struct hsl_queue_state st;
	bool recorded = false;

	ASSERT_GE(fd, 0);
	ASSERT_TRUE(COMES_TRUE(queue_state(self->q).state == HSL_Q_FAILED)) {
		st = queue_state(self->q);
		TH_LOG("state %u, head %u, tail %u, completion %p", st.state, st.sq_head, st.cq_tail,
		       hsl_cqe_at(self->q, self->q->cq_head));
	}
	st = queue_state(self->q);
	TH_LOG("%s", hsl_strqerr(st.error));
	EXPECT_NE(HSL_QERR_NONE, st.error);
	EXPECT_TRUE(!error || st.error == error);
	EXPECT_TRUE(COMES_TRUE(({
		struct hsl_event ev;

		while (hsl_events(self->ctx, &ev, 1, NULL) == 1)
			recorded |= ev.type == HSL_EV_QUEUE_ERROR && ev.code == st.error &&
				    (int)ev.queue == hsl_queue_id(self->q);
		recorded; })));
	EXPECT_TRUE(readable(fd, BOUND_MS));
	fd = hsl_queue_eventfd(self->q, HSL_EVENTFD_COMPLETION);
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(readable(fd, BOUND_MS));
}

TEST_F(broken, doorbell_outside_ring)
{
	int fd = hsl_queue_eventfd(self->q, HSL_EVENTFD_ERROR);
	const struct hsl_cqe *c;

	ASSERT_GE(fd, 0);
	nop_runs(_metadata, self->q);
	EXPECT_FALSE(readable(fd, 0));
	hsl_ring_doorbell(self->q->doorbell, self->q->sq_tail + self->q->sq_entries + 1);
	EXPECT_TRUE(readable(fd, BOUND_MS));
	expect_failed(_metadata, self, HSL_QERR_DOORBELL);
	/* A wait does not hang on what will never come. */
	hsl_prep_nop(hsl_get_desc(self->q));
	hsl_submit(self->q);
	EXPECT_EQ(-EIO, hsl_wait(self->q, &c, BOUND_NS));
	EXPECT_EQ(-EIO, hsl_wait(self->q, &c, -1));
}

TEST_F(broken, tail_word_outside_ring)
{
	nop_runs(_metadata, self->q);
	hsl_publish(&self->q->ctl->sq_tail, self->q->sq_tail + 1000);
	hsl_ring_doorbell(self->q->doorbell, self->q->sq_tail + 1000);
	expect_failed(_metadata, self, HSL_QERR_DOORBELL);
}

/* Waiting when it happens, asleep, without limit. */
static void *break_later(void *arg)
{
	struct hsl_queue *q = arg;

	usleep(100000);
	hsl_ring_doorbell(q->doorbell, q->sq_tail + q->sq_entries + 1);
	return NULL;
}

TEST_F_TIMEOUT(broken, while_someone_sleeps, 60)
{
	const struct hsl_cqe *c;
	pthread_t thread;

	nop_runs(_metadata, self->q);
	/* In flight as far as the library knows; the device never hears of it. */
	hsl_prep_nop(hsl_get_desc(self->q));
	self->q->sq_published++;
	ASSERT_EQ(0, pthread_create(&thread, NULL, break_later, self->q));
	EXPECT_EQ(-EIO, hsl_wait(self->q, &c, -1));
	pthread_join(thread, NULL);
}

/* Whichever the device misses first. */
TEST_F(broken, rings_unmapped)
{
	struct hsl_query info = { .size = sizeof(info) };
	size_t len;
	void *mem;

	nop_runs(_metadata, self->q);
	mem = rings_of(self->q, &len);
	ASSERT_EQ(0, munmap(mem, len));
	hsl_ring_doorbell(self->q->doorbell, self->q->sq_tail + 1);
	expect_failed(_metadata, self, 0);
	EXPECT_EQ(0, hsl_query(self->ctx, &info));
	/* The library will unmap it again: nothing of ours may be there. */
	ASSERT_EQ(mem, mmap(mem, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
}

TEST_F(broken, rings_unmapped_at_work)
{
	const size_t big = 8 * MB;
	char *p = map_anon(big);
	size_t len;
	void *mem;
	int i;

	ASSERT_NE(NULL, p);
	mem = rings_of(self->q, &len);
	for (i = 0; i < 32; i++)
		hsl_prep_fill(hsl_get_desc(self->q), p, i, big);
	hsl_submit(self->q);
	ASSERT_EQ(0, munmap(mem, len));
	expect_failed(_metadata, self, 0);
	ASSERT_EQ(mem, mmap(mem, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
}

/* Readable still; the device may be asleep or look for work when it happens. */
TEST_F_TIMEOUT(broken, rings_read_only, 60)
{
	size_t len;
	void *mem;

	nop_runs(_metadata, self->q);
	mem = rings_of(self->q, &len);
	hsl_prep_nop(hsl_get_desc(self->q));
	if (rnd(2))
		usleep(20000);
	ASSERT_EQ(0, mprotect(mem, len, PROT_READ));
	hsl_ring_doorbell(self->q->doorbell, self->q->sq_tail);
	expect_failed(_metadata, self, 0);
	EXPECT_EQ(NULL, hsl_cqe_at(self->q, self->q->cq_head));
}

/* Control words and descriptors as before, only the completions have no place. */
TEST_F_TIMEOUT(broken, completions_read_only, 60)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 256 };
	const size_t page = page_size();
	char *cq;

	ASSERT_EQ(0, hsl_queue_destroy(self->q));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &self->q));
	/* The entries of the first page are used up before. */
	cq = (char *)(((uintptr_t)self->q->cq + page - 1) & ~(page - 1));
	while ((char *)&self->q->cq[self->q->cq_head] < cq)
		nop_runs(_metadata, self->q);
	ASSERT_EQ(0, mprotect(cq, page, PROT_READ));
	hsl_prep_nop(hsl_get_desc(self->q));
	hsl_submit(self->q);
	expect_failed(_metadata, self, HSL_QERR_CQ_FAULT);
	EXPECT_EQ(NULL, hsl_cqe_at(self->q, self->q->cq_head));
}

TEST_F(broken, completions_not_consumed)
{
	uint32_t i;

	/* Behind the library's back: it would not hand out so many. */
	for (i = 0; i <= self->q->cq_entries; i++) {
		hsl_prep_nop(&self->q->sq[i % self->q->sq_entries]);
		hsl_publish(&self->q->ctl->sq_tail, i + 1);
		hsl_store_then_look();
		hsl_ring_doorbell(self->q->doorbell, i + 1);
		if (i < self->q->cq_entries)
			ASSERT_TRUE(COMES_TRUE(hsl_cqe_at(self->q, i)));
	}
	expect_failed(_metadata, self, HSL_QERR_CQ_OVERFLOW);
}

/* Any bits at all in all of the rings: what happens is the program's own loss. */
TEST_F_TIMEOUT(broken, rings_overwritten, 60)
{
	struct hsl_query info = { .size = sizeof(info) };
	const size_t room = 1 * MB;
	char *p = map_anon(room), *outside = map_anon(room);
	int round;
	size_t i;

	ASSERT_NE(NULL, p);
	memset(outside, 0x42, room);
	for (round = 0; round < 20; round++) {
		struct hsl_queue *q;
		uint32_t k;

		ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &q));
		for (k = 0; k < q->sq_entries; k++) {
			struct hsl_desc *d = &q->sq[k];

			fill_random(d, sizeof(*d));
			/* Half of them plausible, within a buffer that may be ruined. */
			if (rnd(2)) {
				hsl_prep(d, rnd(HSL_OP_NR + 1), p + rnd(room / 2), p + rnd(room / 2),
					 rnd(room / 2), rnd64(), rnd64());
				d->flags = rnd(HSL_DESC_F_VALID + 2);
			}
		}
		if (rnd(2))
			fill_random(q->cq, q->cq_entries * sizeof(*q->cq));
		if (rnd(2))
			fill_random(q->ctl, sizeof(*q->ctl));
		hsl_publish(&q->ctl->sq_tail, rnd(4) ? q->sq_entries : rnd64());
		hsl_ring_doorbell(q->doorbell, rnd(4) ? rnd(q->sq_entries + 1) : rnd64());
		usleep(rnd(5000));
		if (rnd(2))
			fill_random(q->ctl, sizeof(*q->ctl));
		EXPECT_EQ(0, hsl_query(self->ctx, &info));
		EXPECT_NE(~0u, queue_state(q).state);
		EXPECT_EQ(0, hsl_queue_destroy(q));
	}
	for (i = 0; i < room; i++)
		if (outside[i] != 0x42)
			break;
	EXPECT_EQ(room, i);
}

TEST_HARNESS_MAIN
