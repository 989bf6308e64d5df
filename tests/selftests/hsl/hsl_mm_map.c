// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping changes while the device works in it: unmapped and mapped again,
 * moved, protected, emptied. See hsl_mm.h for what is held against what.
 */
#define _GNU_SOURCE
#include "hsl_mm.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

enum kind { ANON, HUGE, SHARED };

FIXTURE(map) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct mm_oracle oracle;
	struct mm_region r;
	enum kind kind;
	char *mem, *spare;	/* of the same size, nothing mapped there */
	bool splits;		/* the mapping falls to pieces, and mremap() takes only one */
	size_t len;
	int fd;			/* of SHARED */
};

FIXTURE_VARIANT(map) {
	enum hsl_sva sva;
	enum kind kind;
};

PROVIDER_VARIANT_ADD(map, anon, ANON);
PROVIDER_VARIANT_ADD(map, huge, HUGE);
PROVIDER_VARIANT_ADD(map, shared, SHARED);

/* Map it as it was: new anonymous memory, or the same of the file. */
static bool map_again(FIXTURE_DATA(map) *self, char *at, size_t len)
{
	if (self->kind == SHARED)
		return mm_map_at(at, len, MAP_SHARED, self->fd, at - self->mem);
	if (!mm_map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
		return false;
	madvise(at, len, self->kind == HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return true;
}

FIXTURE_SETUP(map)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	mm_oracle_begin(&self->oracle, self->ctx);
	self->kind = variant->kind;
	self->len = self->kind == HUGE ? 2 * HUGE_PAGE : 64 * page_size();
	self->fd = -1;
	if (self->kind == SHARED) {
		self->fd = memfd_create("hsl_mm", MFD_CLOEXEC);
		ASSERT_EQ(0, ftruncate(self->fd, self->len));
	}
	self->mem = mm_reserve(self->len);
	self->spare = mm_reserve(self->len);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->spare);
	ASSERT_TRUE(map_again(self, self->mem, self->len));
}

FIXTURE_TEARDOWN(map)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static void begin(struct __test_metadata *_metadata, FIXTURE_DATA(map) *self, unsigned int flags)
{
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, flags));
	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 200));
	if (self->kind == HUGE)
		EXPECT_GT(mm_smaps(self->mem, self->len, "AnonHugePages"), 0);
}

/* Some pages in a row, now and then whole huge ones */
struct part {
	size_t first, nr;
	char *at;
	size_t len;
};

static struct part pick(FIXTURE_DATA(map) *self)
{
	struct mm_region *r = &self->r;
	size_t most = r->pages / 4;
	struct part p = { .nr = 1 + rnd(most) };

	if (self->kind == HUGE && rnd(2)) {
		p.nr = HUGE_PAGE / r->page;
		p.first = rnd(2) * p.nr;
	} else {
		if (rnd(2))
			p.nr = 1 + rnd(4);
		p.first = rnd(r->pages - p.nr + 1);
	}
	p.at = r->mem + p.first * r->page;
	p.len = p.nr * r->page;
	return p;
}

static void next(FIXTURE_DATA(map) *self, const struct part *p, uint32_t by)
{
	mm_next(&self->r, p->first, p->nr, by);
}

/* What is private loses what it held by what comes now; the file holds it. */
static void losing(FIXTURE_DATA(map) *self, const struct part *p)
{
	if (self->kind == SHARED)
		next(self, p, 1);
	else
		mm_lose(&self->r, p->first, p->nr);
}

/* The events. Each tells the phases; false: it could not be done. */

static bool unmap_and_map(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);
	bool ok;

	losing(self, &p);
	ok = !munmap(p.at, p.len);
	next(self, &p, 1);
	mm_stay_closed(&self->r);
	next(self, &p, 1);
	ok &= map_again(self, p.at, p.len);
	next(self, &p, 1);
	return ok;
}

static bool map_over(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);
	bool ok;

	losing(self, &p);
	ok = map_again(self, p.at, p.len);
	next(self, &p, 3);
	return ok;
}

static bool protect(FIXTURE_DATA(map) *self, int prot)
{
	struct part p = pick(self);
	bool ok;

	next(self, &p, 1);
	ok = !mprotect(p.at, p.len, prot);
	next(self, &p, 1);
	mm_stay_closed(&self->r);
	next(self, &p, 1);
	ok &= !mprotect(p.at, p.len, PROT_READ | PROT_WRITE);
	next(self, &p, 1);
	return ok;
}

static bool protect_none(FIXTURE_DATA(map) *self)
{
	return protect(self, PROT_NONE);
}

static bool protect_read(FIXTURE_DATA(map) *self)
{
	return protect(self, PROT_READ);
}

/* What two ways of looking at memory, the CPU's and the device's, find there, is the same and does not change. */
static bool quiet(FIXTURE_DATA(map) *self, char *at, size_t len)
{
	size_t page = page_size(), i;
	char seen[page], before[page];
	struct hsl_cqe c;

	for (i = 0; i < len / page && i < 4; i++) {
		memcpy(before, at + i * page, page);
		if (do_copy(self->q, &c, seen, at + i * page, page) || c.status != HSL_ST_OK)
			return false;
		if (memcmp(before, seen, page) || memcmp(at + i * page, seen, page))
			return false;
	}
	return true;
}

/* What mremap() can move at once */
static struct part pick_to_move(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);

	if (self->splits) {
		p.nr = 1;
		p.len = self->r.page;
	}
	return p;
}

static bool move_and_back(FIXTURE_DATA(map) *self)
{
	struct part p = pick_to_move(self);
	char *there = self->spare + p.first * self->r.page;
	bool ok;

	next(self, &p, 1);
	ok = mremap(p.at, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there;
	next(self, &p, 1);
	ok &= quiet(self, there, p.len);
	mm_stay_closed(&self->r);
	next(self, &p, 1);
	ok &= mremap(there, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED, p.at) == p.at;
	next(self, &p, 1);
	return ok;
}

/* The pages go elsewhere, the mapping stays, empty. */
static bool move_pages_away(FIXTURE_DATA(map) *self)
{
	struct part p = pick_to_move(self);
	char *there = self->spare + p.first * self->r.page;
	bool ok;

	losing(self, &p);
	ok = mremap(p.at, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, there) == there;
	next(self, &p, 3);
	if (self->kind != SHARED)
		ok &= quiet(self, there, p.len);
	ok &= !munmap(there, p.len);
	return ok;
}

static bool shrink_and_grow(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);
	size_t left = p.first * self->r.page;
	bool ok;

	if (!p.first)
		return true;
	p.nr = self->r.pages - p.first;
	losing(self, &p);
	ok = mremap(self->mem, self->len, left, 0) == self->mem;
	next(self, &p, 1);
	mm_stay_closed(&self->r);
	next(self, &p, 1);
	ok &= mremap(self->mem, left, self->len, 0) == self->mem;
	next(self, &p, 1);
	return ok;
}

static bool advise_losing(FIXTURE_DATA(map) *self, int advice)
{
	struct part p = pick(self);
	bool ok;

	mm_lose(&self->r, p.first, p.nr);
	ok = !madvise(p.at, p.len, advice);
	next(self, &p, 3);
	return ok;
}

static bool advise(FIXTURE_DATA(map) *self, int advice)
{
	struct part p = pick(self);

	return !madvise(p.at, p.len, advice);
}

static bool dontneed(FIXTURE_DATA(map) *self)
{
	return self->kind == SHARED ? advise(self, MADV_DONTNEED) : advise_losing(self, MADV_DONTNEED);
}

static bool guard_and_remove(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);
	bool ok;

	losing(self, &p);
	ok = !madvise(p.at, p.len, MADV_GUARD_INSTALL);
	next(self, &p, 1);
	mm_stay_closed(&self->r);
	next(self, &p, 1);
	ok &= !madvise(p.at, p.len, MADV_GUARD_REMOVE);
	next(self, &p, 1);
	return ok;
}

static bool lock_and_unlock(FIXTURE_DATA(map) *self)
{
	struct part p = pick(self);
	bool ok = !(rnd(2) ? mlock(p.at, p.len) : mlock2(p.at, p.len, MLOCK_ONFAULT));

	return ok && !munlock(p.at, p.len);
}

typedef bool (*event_fn)(FIXTURE_DATA(map) *self);

static void run(struct __test_metadata *_metadata, FIXTURE_DATA(map) *self, unsigned int flags, event_fn event)
{
	begin(_metadata, self, flags);
	MM_WHILE_WORKING(&self->r) {
		if (!event(self)) {
			EXPECT_TRUE(false) TH_LOG("%s", strerror(errno));
			break;
		}
	}
	mm_stop(_metadata, &self->r);
	if (flags & MM_CLOSES)
		EXPECT_GT(mm_must_faults(&self->r), 0);
}

TEST_F_TIMEOUT(map, munmap_and_reuse, 60)
{
	run(_metadata, self, MM_CLOSES, unmap_and_map);
}

TEST_F_TIMEOUT(map, mapped_over, 60)
{
	run(_metadata, self, 0, map_over);
}

TEST_F_TIMEOUT(map, mprotect_none, 60)
{
	run(_metadata, self, MM_CLOSES, protect_none);
}

TEST_F_TIMEOUT(map, mprotect_read_only, 60)
{
	run(_metadata, self, MM_CLOSES | MM_READABLE, protect_read);
}

TEST_F_TIMEOUT(map, mremap_move, 60)
{
	run(_metadata, self, MM_CLOSES, move_and_back);
}

TEST_F_TIMEOUT(map, mremap_dontunmap, 60)
{
	run(_metadata, self, 0, move_pages_away);
}

TEST_F_TIMEOUT(map, mremap_shrink_grow, 60)
{
	run(_metadata, self, MM_CLOSES, shrink_and_grow);
}

TEST_F_TIMEOUT(map, madv_dontneed, 60)
{
	run(_metadata, self, 0, dontneed);
}

/* Gone later, at some time that nobody tells; here it is helped. */
static bool free_lazily(FIXTURE_DATA(map) *self)
{
	return advise_losing(self, MADV_FREE) && (rnd(2) || advise(self, MADV_PAGEOUT));
}

static bool free_is_refused(FIXTURE_DATA(map) *self)
{
	return !advise(self, MADV_FREE) && errno == EINVAL;
}

TEST_F_TIMEOUT(map, madv_free, 60)
{
	if (self->kind == SHARED) {
		run(_metadata, self, 0, free_is_refused);
		return;
	}
	run(_metadata, self, MM_LAZY, free_lazily);
}

static bool remove_pages(FIXTURE_DATA(map) *self)
{
	return advise_losing(self, MADV_REMOVE);
}

static bool remove_is_refused(FIXTURE_DATA(map) *self)
{
	return !advise(self, MADV_REMOVE) && errno == EINVAL;
}

TEST_F_TIMEOUT(map, madv_remove, 60)
{
	if (self->kind != SHARED) {
		run(_metadata, self, 0, remove_is_refused);
		return;
	}
	run(_metadata, self, 0, remove_pages);
}

/* Guards take the place of pages; a file has its page still. */
TEST_F_TIMEOUT(map, guard_pages, 60)
{
	if (madvise(self->mem, page_size(), MADV_GUARD_INSTALL))
		SKIP(return, "no guard pages on %s memory: %s", self->kind == SHARED ? "shared" : "anonymous",
		     strerror(errno));
	ASSERT_EQ(0, madvise(self->mem, page_size(), MADV_GUARD_REMOVE));
	run(_metadata, self, MM_CLOSES, guard_and_remove);
}

TEST_F_TIMEOUT(map, mlock, 60)
{
	run(_metadata, self, 0, lock_and_unlock);
}

static bool hint(FIXTURE_DATA(map) *self)
{
	static const int advice[] = {
		MADV_COLD, MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTDUMP, MADV_DODUMP,
	};

	return advise(self, advice[rnd(ARRAY(advice))]);
}

/* Advice that changes nothing that can be seen */
TEST_F_TIMEOUT(map, madv_hints, 60)
{
	run(_metadata, self, 0, hint);
}

/* All of it, in any order */
static bool anything(FIXTURE_DATA(map) *self)
{
	static const event_fn events[] = {
		unmap_and_map, map_over, protect_none, move_and_back, move_pages_away, dontneed,
		lock_and_unlock, hint,
	};

	return events[rnd(ARRAY(events))](self);
}

TEST_F_TIMEOUT(map, anything, 60)
{
	self->splits = true;
	run(_metadata, self, MM_CLOSES, anything);
}

/* Read as zeros by the device, then written, by the one or the other, then read again. */
TEST_F_TIMEOUT(map, zero_page, 60)
{
	const size_t page = page_size();
	struct hsl_cqe c;
	char seen[page];
	size_t n, at;

	for (n = 0; n < self->len / page; n++) {
		char *p = self->mem + n * page;

		memset(seen, 1, page);
		ASSERT_EQ(0, do_copy(self->q, &c, seen, p, page));
		ASSERT_EQ(HSL_ST_OK, c.status);
		for (at = 0; at < page; at++)
			ASSERT_EQ(0, seen[at]);
		if (rnd(2)) {
			p[rnd(page)] = 5;
		} else {
			hsl_prep_fill(hsl_get_desc(self->q), p + rnd(page), 5, 1);
			ASSERT_EQ(0, finish_one(self->q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
		}
		ASSERT_EQ(0, do_copy(self->q, &c, seen, p, page));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(0, memcmp(seen, p, page));
		for (at = 0; at < page && seen[at] != 5; at++)
			;
		ASSERT_LT(at, page);
	}
}

/*
 * A stack grows when the CPU touches it. The device reaches what is there and
 * does not make it grow.
 */
TEST_F(map, stack_growth)
{
	const size_t page = page_size(), room = 64 * page;
	char *top = mm_reserve(room), *stack;
	struct hsl_cqe c;
	int i;

	ASSERT_NE(NULL, top);
	stack = top + room - page;
	ASSERT_EQ(0, munmap(top, room));
	ASSERT_EQ(stack, mmap(stack, page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
	for (i = 0; i < 8; i++, stack -= page) {
		hsl_prep_fill(hsl_get_desc(self->q), stack, i + 1, page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(i + 1, *(uint64_t *)stack);
		hsl_prep_fill(hsl_get_desc(self->q), stack - page, 0x99, page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
		ASSERT_EQ((uintptr_t)stack - page, c.addr);
		*(volatile char *)(stack - page) = 0;
	}
}

TEST_HARNESS_MAIN
