// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping stays and its pages change while the device works in them: swapped
 * out, collapsed and split, moved between nodes, merged. Nobody may notice.
 */
#define _GNU_SOURCE

#include "hsl_mm.h"
#include "hsl_pagemap.h"
#include "hsl_swap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#define MPOL_DEFAULT	0

enum kind { ANON, HUGE, SHARED };

struct setup {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct mm_oracle oracle;
	struct mm_region r;
	enum kind kind;
	char *mem;
	size_t len;
	long done;	/* events that had an effect */
	bool splits;	/* huge pages are to be split, too */
	long split;
	bool swap_ours;
};

#define SETUP(sva, what) do {							\
	int fd_ = -1;								\
	SKIP_WITHOUT_DEVICES(1);						\
	OPEN_DEVICE(dev_path(0), sva, &self->s.ctx);				\
	SEED();									\
	ASSERT_EQ(0, hsl_queue_create(self->s.ctx, NULL, &self->s.q));		\
	mm_oracle_begin(&self->s.oracle, self->s.ctx);				\
	self->s.kind = (what);							\
	self->s.len = (what) == HUGE ? 2 * HUGE_PAGE : 64 * page_size();	\
	if ((what) == SHARED) {							\
		fd_ = memfd_create("hsl_mm", MFD_CLOEXEC);			\
		ASSERT_EQ(0, ftruncate(fd_, self->s.len));			\
		self->s.mem = mm_map_at(mm_reserve(self->s.len), self->s.len, MAP_SHARED, fd_, 0); \
	} else {								\
		self->s.mem = mm_anon(self->s.len, (what) == HUGE);		\
	}									\
	ASSERT_NE(NULL, self->s.mem);						\
} while (0)

static void teardown(struct __test_metadata *_metadata, struct setup *s)
{
	if (!s->ctx)
		return;
	if (s->swap_ours)
		EXPECT_TRUE(swap_off_zram());
	mm_oracle_end(_metadata, &s->oracle, s->ctx);
	hsl_close(s->ctx);
}

/* Pages of every kind */
FIXTURE(page) {
	struct setup s;
};

FIXTURE_VARIANT(page) {
	enum hsl_sva sva;
	enum kind kind;
};

PROVIDER_VARIANT_ADD(page, anon, ANON);
PROVIDER_VARIANT_ADD(page, huge, HUGE);
PROVIDER_VARIANT_ADD(page, shared, SHARED);

FIXTURE_SETUP(page)
{
	SETUP(variant->sva, variant->kind);
}

FIXTURE_TEARDOWN(page)
{
	teardown(_metadata, &self->s);
}

#define NEED_SWAP() do {							\
	if (!swap_is_on()) {							\
		self->s.swap_ours = swap_on_zram();				\
		if (!self->s.swap_ours)						\
			SKIP(return, "no swap, and no RAM disk to make one of"); \
	}									\
} while (0)

/* Both nodes with memory */
static bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1/meminfo", R_OK);
}

#define NEED_TWO_NODES() do {							\
	if (!two_nodes())							\
		SKIP(return, "needs two NUMA nodes");				\
} while (0)

static void begin(struct __test_metadata *_metadata, struct setup *s, unsigned int flags)
{
	ASSERT_EQ(0, mm_init(&s->r, s->ctx, s->mem, s->len, 0, flags));
	if (s->kind == HUGE)
		mm_touch_huge(s->mem, s->len);
	mm_start(_metadata, &s->r);
	ASSERT_TRUE(mm_let_work(&s->r, 200));
	/* Those that are to be merged do not stay whole for long. */
	if (s->kind == HUGE && !(flags & MM_TWINS))
		EXPECT_GT(mm_smaps(s->mem, s->len, "AnonHugePages"), 0);
}

struct part {
	size_t first, nr;
	char *at;
	size_t len;
};

static struct part pick(struct setup *s)
{
	struct mm_region *r = &s->r;
	struct part p = { .nr = 1 + rnd(rnd(2) ? 4 : r->pages / 4) };

	if (s->kind == HUGE && rnd(2)) {
		p.nr = HUGE_PAGE / r->page;
		p.first = rnd(2) * p.nr;
	} else {
		p.first = rnd(r->pages - p.nr + 1);
	}
	p.at = r->mem + p.first * r->page;
	p.len = p.nr * r->page;
	return p;
}

typedef bool (*event_fn)(struct setup *s);

#define TRIES	200

/* @s->done and @s->split count the times that the event did what it is for: not none, in so many tries. */
static void run(struct __test_metadata *_metadata, struct setup *s, unsigned int flags, event_fn event)
{
	int i;

	begin(_metadata, s, flags);
	MM_WHILE_WORKING(&s->r) {
		if (!event(s)) {
			EXPECT_TRUE(false) TH_LOG("%s", strerror(errno));
			s->r.stop = true;
		}
	}
	for (i = 0; i < TRIES && !s->r.stop && (!s->done || s->splits > s->split); i++)
		EXPECT_TRUE(event(s));
	mm_stop(_metadata, &s->r);
	EXPECT_GT(s->done, 0);
	EXPECT_GE(s->split, s->splits);
}

/*
 * Reclaim
 */

static long vmstat(const char *what)
{
	FILE *f = fopen("/proc/vmstat", "re");
	size_t n = strlen(what);
	char line[128];
	long val = -1;

	while (f && val < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, what, n) && line[n] == ' ')
			val = atol(line + n);
	if (f)
		fclose(f);
	return val;
}

static bool page_out(struct setup *s)
{
	long before = vmstat("pswpout");
	struct part p = pick(s);

	if (madvise(p.at, p.len, MADV_PAGEOUT))
		return false;
	s->done += vmstat("pswpout") - before;
	/* The CPU brings it back, or the device does. */
	return rnd(2) || !madvise(p.at, p.len, MADV_WILLNEED);
}

TEST_F_TIMEOUT(page, swap_out, 60)
{
	NEED_SWAP();
	run(_metadata, &self->s, 0, page_out);
}

/* Everything is in swap when the device comes. */
TEST_F_TIMEOUT(page, swap_in, 60)
{
	const size_t page = page_size(), nr = self->s.len / page;
	struct hsl_cqe c;
	uint64_t want;
	long before;
	size_t i, k;

	NEED_SWAP();
	for (i = 0; i < nr; i++)
		mm_words((uint64_t *)(self->s.mem + i * page), i + 1, page);
	before = vmstat("pswpout");
	for (k = 0; k < 20 && (size_t)(vmstat("pswpout") - before) < nr / 2; k++)
		ASSERT_EQ(0, madvise(self->s.mem, self->s.len, MADV_PAGEOUT));
	EXPECT_GE((size_t)(vmstat("pswpout") - before), nr / 2);
	for (i = 0; i < nr; i++) {
		uint64_t seen[page / 8];

		if (rnd(2)) {
			ASSERT_EQ(0, do_copy(self->s.q, &c, seen, self->s.mem + i * page, page));
		} else {
			hsl_prep_atomic_add(hsl_get_desc(self->s.q), self->s.mem + i * page, 8, 1ull << 40);
			ASSERT_EQ(0, finish_one(self->s.q, &c));
			ASSERT_EQ(i + 1, c.result);
			memcpy(seen, self->s.mem + i * page, page);
			ASSERT_EQ(i + 1 + (1ull << 40), seen[0]);
			seen[0] = i + 1;
		}
		ASSERT_EQ(HSL_ST_OK, c.status);
		for (k = 0, want = i + 1; k < page / 8; k++)
			ASSERT_EQ(want, seen[k]);
	}
}

/* Rings, completions and control words of the workers go out, and come back when the device wants them. */
static bool page_out_rings(struct setup *s)
{
	long before = vmstat("pswpout");
	size_t len;
	void *rings = rings_of(s->r.worker[rnd(s->r.workers)].q, &len);

	if (madvise(rings, len, MADV_PAGEOUT))
		return false;
	s->done += vmstat("pswpout") - before;
	return true;
}

TEST_F_TIMEOUT(page, rings_swapped_out, 60)
{
	NEED_SWAP();
	run(_metadata, &self->s, 0, page_out_rings);
}

/*
 * Huge pages
 */

/* Small pages become a huge one; refused now and then, when one is busy. */
static bool make_huge(struct setup *s, char *at)
{
	bool was = is_huge(at, HUGE_PAGE);

	if (!madvise(at, HUGE_PAGE, MADV_COLLAPSE))
		s->done += !was && is_huge(at, HUGE_PAGE);
	else if (errno != EAGAIN && errno != EBUSY)
		return false;
	return true;
}

/* Small pages of a huge one, and a huge one of them again */
static bool collapse(struct setup *s)
{
	struct part p = pick(s);
	char *at = p.at - (uintptr_t)p.at % HUGE_PAGE;
	bool was = is_huge(at, HUGE_PAGE);

	/* As many mappings as parts: huge pages are split where they end. */
	if (madvise(p.at, p.len, MADV_NOHUGEPAGE) || mprotect(p.at, p.len, PROT_READ | PROT_WRITE | PROT_EXEC))
		return false;
	s->split += was && !is_huge(at, HUGE_PAGE);
	mm_let_work(&s->r, 5);
	if (mprotect(p.at, p.len, PROT_READ | PROT_WRITE) || madvise(p.at, p.len, MADV_HUGEPAGE))
		return false;
	return make_huge(s, at);
}

/* Every third page goes and comes back, so that what is left is small; then it is collapsed. */
static bool break_up(struct setup *s)
{
	struct mm_region *r = &s->r;
	size_t huge = rnd(s->len / HUGE_PAGE) * (HUGE_PAGE / r->page), i;
	char *base = s->mem + huge * r->page;
	bool unmap = rnd(2), was = is_huge(base, HUGE_PAGE);

	for (i = rnd(64); i < HUGE_PAGE / r->page; i += 64 + rnd(64)) {
		char *at = base + i * r->page;

		if (rnd(4) == 0 && !mprotect(at, r->page, PROT_READ | PROT_WRITE | PROT_EXEC)) {
			mprotect(at, r->page, PROT_READ | PROT_WRITE);
			continue;
		}
		mm_lose(r, huge + i, 1);
		if (unmap) {
			if (munmap(at, r->page))
				return false;
			mm_next(r, huge + i, 1, 1);
			mm_next(r, huge + i, 1, 1);
			if (!mm_map_at(at, r->page, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ||
			    madvise(at, r->page, MADV_HUGEPAGE))
				return false;
			mm_next(r, huge + i, 1, 1);
		} else {
			if (madvise(at, r->page, MADV_DONTNEED))
				return false;
			mm_next(r, huge + i, 1, 3);
		}
	}
	s->split += was && !is_huge(base, HUGE_PAGE);
	mm_let_work(r, 10);
	return make_huge(s, base);
}

FIXTURE(thp) {
	struct setup s;
};

PROVIDER_VARIANTS(thp);

FIXTURE_SETUP(thp)
{
	SETUP(variant->sva, HUGE);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK))
		SKIP(return, "no transparent huge pages");
	memset(self->s.mem, 0, self->s.len);
	if (madvise(self->s.mem, self->s.len, MADV_COLLAPSE) && errno == EINVAL)
		SKIP(return, "no MADV_COLLAPSE");
}

FIXTURE_TEARDOWN(thp)
{
	teardown(_metadata, &self->s);
}

TEST_F_TIMEOUT(thp, collapse, 60)
{
	self->s.splits = true;
	run(_metadata, &self->s, 0, collapse);
}

TEST_F_TIMEOUT(thp, split_and_collapse, 60)
{
	self->s.splits = true;
	run(_metadata, &self->s, MM_CLOSES, break_up);
}

/*
 * NUMA
 */

static bool move_some(struct setup *s)
{
	struct part p = pick(s);
	size_t nr = p.nr < 64 ? p.nr : 64, i;
	void *pages[64];
	int nodes[64], status[64], node = rnd(2);
	long before = vmstat("pgmigrate_success");

	for (i = 0; i < nr; i++) {
		pages[i] = p.at + i * s->r.page;
		nodes[i] = node;
		status[i] = -1;
	}
	/* Positive: so many could not be moved now. */
	if (syscall(SYS_move_pages, 0, nr, pages, nodes, status, MPOL_MF_MOVE) < 0)
		return errno == ENOENT;
	s->done += vmstat("pgmigrate_success") - before;
	return true;
}

TEST_F_TIMEOUT(page, move_pages, 60)
{
	NEED_TWO_NODES();
	run(_metadata, &self->s, 0, move_some);
}

static bool bind(struct setup *s)
{
	struct part p = pick(s);
	int node = rnd(2);
	unsigned long mask = 1ul << node;
	long before = vmstat("pgmigrate_success");

	if (syscall(SYS_mbind, p.at, p.len, MPOL_BIND, &mask, 64, MPOL_MF_MOVE))
		return false;
	s->done += vmstat("pgmigrate_success") - before;
	return !syscall(SYS_mbind, p.at, p.len, MPOL_DEFAULT, NULL, 0, 0);
}

TEST_F_TIMEOUT(page, mbind, 60)
{
	NEED_TWO_NODES();
	run(_metadata, &self->s, 0, bind);
}

/* Rings and all */
static bool migrate_process(struct setup *s)
{
	unsigned long from = 3, to = 1ul << rnd(2);
	long before = vmstat("pgmigrate_success");

	if (syscall(SYS_migrate_pages, 0, 64, &from, &to) < 0)
		return false;
	s->done += vmstat("pgmigrate_success") - before;
	return true;
}

TEST_F_TIMEOUT(page, migrate_pages, 60)
{
	NEED_TWO_NODES();
	run(_metadata, &self->s, 0, migrate_process);
}

static bool move_rings(struct setup *s)
{
	size_t len, i, nr;
	char *rings = rings_of(s->r.worker[rnd(s->r.workers)].q, &len);
	void *pages[16];
	int nodes[16], status[16], node = rnd(2);
	long before = vmstat("pgmigrate_success");

	nr = len / s->r.page < 16 ? len / s->r.page : 16;
	for (i = 0; i < nr; i++) {
		pages[i] = rings + i * s->r.page;
		nodes[i] = node;
		status[i] = -1;
	}
	if (syscall(SYS_move_pages, 0, nr, pages, nodes, status, MPOL_MF_MOVE) < 0)
		return false;
	s->done += vmstat("pgmigrate_success") - before;
	return true;
}

TEST_F_TIMEOUT(page, rings_moved, 60)
{
	NEED_TWO_NODES();
	run(_metadata, &self->s, 0, move_rings);
}

/*
 * Compaction and merging
 */

#define COMPACT	"/proc/sys/vm/compact_memory"

/* The pages that the device works in, as they lie in memory */
static uint64_t *frames(struct setup *s)
{
	uint64_t *e = calloc(s->r.pages, sizeof(*e));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t len = s->r.pages * sizeof(*e), i;

	if (pread(fd, e, len, (uintptr_t)s->mem / s->r.page * sizeof(*e)) != (ssize_t)len)
		memset(e, 0, len);
	close(fd);
	for (i = 0; i < s->r.pages; i++)
		e[i] = e[i] >> 63 ? e[i] & ((1ull << 55) - 1) : 0;
	return e;
}

static bool compact(struct setup *s)
{
	const size_t len = 16 * MB, page = s->r.page;
	unsigned long from = 3, to = 1ul << rnd(2);
	uint64_t *before, *after;
	char *holes = map_anon(len);
	size_t i;

	if (!holes)
		return false;
	madvise(holes, len, MADV_NOHUGEPAGE);
	/* Pages and gaps, so that there is something to do. */
	for (i = 0; i < len; i += page)
		holes[i] = 1;
	for (i = 0; i < len; i += 2 * page)
		madvise(holes + i, page, MADV_DONTNEED);
	/* Into the gaps with ours, where there is another node: where they are may be where they are to be. */
	syscall(SYS_migrate_pages, 0, 64, &from, &to);
	before = frames(s);
	if (write_text(COMPACT, "1"))
		return false;
	after = frames(s);
	for (i = 0; i < s->r.pages; i++)
		s->done += before[i] && after[i] && before[i] != after[i];
	free(before);
	free(after);
	return !munmap(holes, len);
}

/* Compaction leaves huge pages where they are: half of the memory is to have small ones. */
TEST_F_TIMEOUT(page, compaction, 100)
{
	if (access(COMPACT, W_OK))
		SKIP(return, "no %s", COMPACT);
	if (variant->kind == HUGE)
		ASSERT_EQ(0, madvise(self->s.mem, HUGE_PAGE, MADV_NOHUGEPAGE));
	run(_metadata, &self->s, 0, compact);
	TH_LOG("%ld pages moved", self->s.done);
}

#define KSM	"/sys/kernel/mm/ksm/"

static bool merge(struct setup *s)
{
	long shared = read_number(KSM "pages_shared") + read_number(KSM "pages_sharing");

	s->done += shared > 0;
	usleep(10000);
	/* Apart again, now and then */
	if (!rnd(8)) {
		struct part p = pick(s);

		return !madvise(p.at, p.len, MADV_UNMERGEABLE) && !madvise(p.at, p.len, MADV_MERGEABLE);
	}
	return true;
}

FIXTURE(merge) {
	struct setup s;
};

FIXTURE_VARIANT(merge) {
	enum hsl_sva sva;
	enum kind kind;
};

PROVIDER_VARIANT_ADD(merge, anon, ANON);
PROVIDER_VARIANT_ADD(merge, huge, HUGE);

FIXTURE_SETUP(merge)
{
	SETUP(variant->sva, variant->kind);
}

FIXTURE_TEARDOWN(merge)
{
	teardown(_metadata, &self->s);
}

TEST_F_TIMEOUT(merge, ksm, 60)
{
	long long end = now_ms() + BOUND_MS;

	if (access(KSM "run", W_OK))
		SKIP(return, "no KSM");
	ASSERT_EQ(0, write_text(KSM "sleep_millisecs", "0"));
	ASSERT_EQ(0, write_text(KSM "pages_to_scan", "4000"));
	ASSERT_EQ(0, madvise(self->s.mem, self->s.len, MADV_MERGEABLE));
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	begin(_metadata, &self->s, MM_TWINS);
	/* Until it has merged, and on for a while. */
	while (!self->s.done && now_ms() < end && !self->s.r.stop)
		ASSERT_TRUE(merge(&self->s));
	MM_WHILE_WORKING(&self->s.r)
		ASSERT_TRUE(merge(&self->s));
	mm_stop(_metadata, &self->s.r);
	EXPECT_EQ(0, write_text(KSM "run", "2"));
	EXPECT_GT(self->s.done, 0);
	EXPECT_EQ(0, write_text(KSM "run", "0"));
	mm_verify(_metadata, &self->s.r);
}

/*
 * hugetlb
 */

FIXTURE(hugetlb) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct mm_region r;
	char *mem;
	size_t len;
	long long had;
	long done;
};

PROVIDER_VARIANTS(hugetlb);

#define NR_HUGE	"/proc/sys/vm/nr_hugepages"

FIXTURE_SETUP(hugetlb)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	self->had = read_number(NR_HUGE);
	if (self->had < 0)
		SKIP(return, "no hugetlb");
	self->len = 4 * HUGE_PAGE;
	/* Enough on either node to move there, and for a child's copies. */
	ASSERT_EQ(0, write_number(NR_HUGE, self->had + 16));
	ASSERT_GE(read_number(NR_HUGE), self->had + 10);
	mm_oracle_begin(&self->oracle, self->ctx);
	self->mem = mm_reserve(self->len);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, mm_map_at(self->mem, self->len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
}

FIXTURE_TEARDOWN(hugetlb)
{
	if (!self->ctx)
		return;
	if (self->mem) {
		mm_oracle_end(_metadata, &self->oracle, self->ctx);
		munmap(self->mem, self->len);
	}
	hsl_close(self->ctx);
	if (self->had >= 0)
		EXPECT_EQ(0, write_number(NR_HUGE, self->had));
}

static void hugetlb_begin(struct __test_metadata *_metadata, FIXTURE_DATA(hugetlb) *self, unsigned int flags)
{
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, flags));
	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 100));
}

TEST_F_TIMEOUT(hugetlb, unmap, 60)
{
	const size_t nr = HUGE_PAGE / page_size();

	hugetlb_begin(_metadata, self, MM_CLOSES);
	MM_WHILE_WORKING(&self->r) {
		size_t n = rnd(4);
		char *at = self->mem + n * HUGE_PAGE;

		mm_lose(&self->r, n * nr, nr);
		ASSERT_EQ(0, munmap(at, HUGE_PAGE));
		mm_next(&self->r, n * nr, nr, 1);
		mm_stay_closed(&self->r);
		mm_next(&self->r, n * nr, nr, 1);
		ASSERT_NE(NULL, mm_map_at(at, HUGE_PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
		mm_next(&self->r, n * nr, nr, 1);
	}
	mm_stop(_metadata, &self->r);
	EXPECT_GT(mm_must_faults(&self->r), 0);
}

TEST_F_TIMEOUT(hugetlb, mprotect, 60)
{
	const size_t nr = HUGE_PAGE / page_size();

	hugetlb_begin(_metadata, self, MM_CLOSES | MM_READABLE);
	MM_WHILE_WORKING(&self->r) {
		size_t n = rnd(4);
		char *at = self->mem + n * HUGE_PAGE;

		mm_next(&self->r, n * nr, nr, 1);
		ASSERT_EQ(0, mprotect(at, HUGE_PAGE, PROT_READ));
		mm_next(&self->r, n * nr, nr, 1);
		mm_stay_closed(&self->r);
		mm_next(&self->r, n * nr, nr, 1);
		ASSERT_EQ(0, mprotect(at, HUGE_PAGE, PROT_READ | PROT_WRITE));
		mm_next(&self->r, n * nr, nr, 1);
	}
	mm_stop(_metadata, &self->r);
	EXPECT_GT(mm_must_faults(&self->r), 0);
}

TEST_F_TIMEOUT(hugetlb, dontneed, 60)
{
	const size_t nr = HUGE_PAGE / page_size();

	if (madvise(self->mem, HUGE_PAGE, MADV_DONTNEED) && errno == EINVAL)
		SKIP(return, "no MADV_DONTNEED on hugetlb");
	hugetlb_begin(_metadata, self, 0);
	MM_WHILE_WORKING(&self->r) {
		size_t n = rnd(4);

		mm_lose(&self->r, n * nr, nr);
		ASSERT_EQ(0, madvise(self->mem + n * HUGE_PAGE, HUGE_PAGE, MADV_DONTNEED));
		mm_next(&self->r, n * nr, nr, 3);
	}
	mm_stop(_metadata, &self->r);
}

TEST_F_TIMEOUT(hugetlb, move_pages, 60)
{
	NEED_TWO_NODES();
	hugetlb_begin(_metadata, self, 0);
	MM_WHILE_WORKING(&self->r) {
		void *page = self->mem + rnd(4) * HUGE_PAGE;
		int node = rnd(2), status = -1;

		ASSERT_LE(0, syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE));
		self->done += status == node;
	}
	mm_stop(_metadata, &self->r);
	EXPECT_GT(self->done, 0);
}

TEST_HARNESS_MAIN
