// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping changes while the device works in it: unmapped and mapped again,
 * moved, protected, emptied. See hsl_mm.h for what is held against what.
 */
#define _GNU_SOURCE
#include "hsl_mm_area.h"

FIXTURE(map) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct mm_area a;
};

FIXTURE_VARIANT(map) {
	enum hsl_sva sva;
	enum mm_kind kind;
};

PROVIDER_VARIANT_ADD(map, anon, MM_ANON);
PROVIDER_VARIANT_ADD(map, huge, MM_HUGE);
PROVIDER_VARIANT_ADD(map, shared, MM_SHARED);

FIXTURE_SETUP(map)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	ASSERT_EQ(0, mm_area_init(&self->a, self->ctx, variant->kind, ""));
}

FIXTURE_TEARDOWN(map)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

static void run(struct __test_metadata *_metadata, FIXTURE_DATA(map) *self, unsigned int flags, mm_event event)
{
	struct mm_area *a = &self->a;

	ASSERT_EQ(0, mm_init(&a->r, self->ctx, a->mem, a->len, 0, flags));
	if (a->kind == MM_HUGE)
		mm_touch_huge(a->mem, a->len);
	mm_start(_metadata, &a->r);
	ASSERT_TRUE(mm_let_work(&a->r, 200));
	if (a->kind == MM_HUGE)
		EXPECT_GT(mm_smaps(a->mem, a->len, "AnonHugePages"), 0);
	MM_WHILE_WORKING(&a->r) {
		if (!event(a)) {
			EXPECT_TRUE(false) TH_LOG("%s", strerror(errno));
			break;
		}
	}
	mm_stop(_metadata, &a->r);
	if (flags & MM_CLOSES)
		EXPECT_GT(mm_must_faults(&a->r), 0);
}

TEST_F_TIMEOUT(map, munmap_and_reuse, 60)
{
	run(_metadata, self, MM_CLOSES, mm_unmap_and_map);
}

TEST_F_TIMEOUT(map, mapped_over, 60)
{
	run(_metadata, self, 0, mm_map_over);
}

TEST_F_TIMEOUT(map, mprotect_none, 60)
{
	run(_metadata, self, MM_CLOSES, mm_protect_none);
}

TEST_F_TIMEOUT(map, mprotect_read_only, 60)
{
	run(_metadata, self, MM_CLOSES, mm_protect_read);
}

TEST_F_TIMEOUT(map, mremap_move, 60)
{
	run(_metadata, self, MM_CLOSES, mm_move_and_back);
}

TEST_F_TIMEOUT(map, mremap_dontunmap, 60)
{
	run(_metadata, self, 0, mm_move_pages_away);
}

TEST_F_TIMEOUT(map, mremap_shrink_grow, 60)
{
	run(_metadata, self, MM_CLOSES, mm_shrink_and_grow);
}

TEST_F_TIMEOUT(map, madv_dontneed, 60)
{
	run(_metadata, self, 0, mm_dontneed);
}

/* Gone later, at some time that nobody tells; here it is helped, as part of the event. */
static bool free_lazily(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_lose(&a->r, p.first, p.nr);
	ok = !madvise(p.at, p.len, MADV_FREE) && (mm_area_rnd(a, 2) || !madvise(p.at, p.len, MADV_PAGEOUT));
	mm_step(a, &p, 3);
	return ok;
}

static bool free_is_refused(struct mm_area *a)
{
	return !mm_advise(a, MADV_FREE) && errno == EINVAL;
}

TEST_F_TIMEOUT(map, madv_free, 60)
{
	if (self->a.kind == MM_SHARED) {
		run(_metadata, self, 0, free_is_refused);
		return;
	}
	run(_metadata, self, MM_LAZY, free_lazily);
}

static bool remove_pages(struct mm_area *a)
{
	return mm_advise_losing(a, MADV_REMOVE);
}

static bool remove_is_refused(struct mm_area *a)
{
	return !mm_advise(a, MADV_REMOVE) && errno == EINVAL;
}

TEST_F_TIMEOUT(map, madv_remove, 60)
{
	if (self->a.kind != MM_SHARED) {
		run(_metadata, self, 0, remove_is_refused);
		return;
	}
	run(_metadata, self, 0, remove_pages);
}

/* Guards take the place of pages; a file has its page still. */
TEST_F_TIMEOUT(map, guard_pages, 60)
{
	if (madvise(self->a.mem, page_size(), MADV_GUARD_INSTALL))
		SKIP(return, "no guard pages on %s memory: %s", self->a.kind == MM_SHARED ? "shared" : "anonymous",
		     strerror(errno));
	ASSERT_EQ(0, madvise(self->a.mem, page_size(), MADV_GUARD_REMOVE));
	run(_metadata, self, MM_CLOSES, mm_guard_and_remove);
}

TEST_F_TIMEOUT(map, mlock, 60)
{
	run(_metadata, self, 0, mm_lock_and_unlock);
}

TEST_F_TIMEOUT(map, madv_hints, 60)
{
	run(_metadata, self, 0, mm_hint);
}

/* All of it, in any order */
static bool anything(struct mm_area *a)
{
	static const mm_event events[] = {
		mm_unmap_and_map, mm_map_over, mm_protect_none, mm_move_and_back, mm_move_pages_away, mm_dontneed,
		mm_lock_and_unlock, mm_hint,
	};

	return events[mm_area_rnd(a, ARRAY(events))](a);
}

TEST_F_TIMEOUT(map, anything, 60)
{
	self->a.splits = true;
	run(_metadata, self, MM_CLOSES, anything);
}

/* Read as zeros by the device, then written, by the one or the other, then read again. */
TEST_F_TIMEOUT(map, zero_page, 60)
{
	const size_t page = page_size();
	struct hsl_cqe c;
	char seen[page];
	size_t n, at;

	for (n = 0; n < self->a.len / page; n++) {
		char *p = self->a.mem + n * page;

		memset(seen, 1, page);
		ASSERT_EQ(0, do_copy(self->a.q, &c, seen, p, page));
		ASSERT_EQ(HSL_ST_OK, c.status);
		for (at = 0; at < page; at++)
			ASSERT_EQ(0, seen[at]);
		if (rnd(2)) {
			p[rnd(page)] = 5;
		} else {
			hsl_prep_fill(hsl_get_desc(self->a.q), p + rnd(page), 5, 1);
			ASSERT_EQ(0, finish_one(self->a.q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
		}
		ASSERT_EQ(0, do_copy(self->a.q, &c, seen, p, page));
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
		hsl_prep_fill(hsl_get_desc(self->a.q), stack, i + 1, page);
		ASSERT_EQ(0, finish_one(self->a.q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(i + 1, *(uint64_t *)stack);
		hsl_prep_fill(hsl_get_desc(self->a.q), stack - page, 0x99, page);
		ASSERT_EQ(0, finish_one(self->a.q, &c));
		ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
		ASSERT_EQ((uintptr_t)stack - page, c.addr);
		*(volatile char *)(stack - page) = 0;
	}
}

/* The kernel grows it for others that touch it as well: they keep away. */
static bool where_it_has_grown(struct mm_region *r, void *ours, void *theirs, bool write)
{
	if (mm_phase(r, ((char *)theirs - r->mem) / r->page) & 3)
		return false;
	if (write)
		memcpy(theirs, ours, r->page);
	else
		memcpy(ours, theirs, r->page);
	return true;
}

/* The device works in all of the room: faults below the stack, and none in it. */
TEST_F_TIMEOUT(map, stack_growth_at_work, 60)
{
	const size_t page = page_size(), room = 64 * page;
	struct mm_region *r = &self->a.r;
	char *top = mm_reserve(room);
	size_t first = room / page - 1;

	ASSERT_NE(NULL, top);
	ASSERT_EQ(0, munmap(top, room));
	ASSERT_NE(NULL, mm_map_at(top + room - page, page, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
	ASSERT_EQ(0, mm_init(r, self->ctx, top, room, 0, MM_CLOSES));
	r->cpu = where_it_has_grown;
	mm_next(r, 0, first, 2);
	mm_start(_metadata, r);
	while (first && !__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST)) {
		size_t nr = 1 + rnd(first < 6 ? first : 6);

		mm_stay_closed(r);
		first -= nr;
		mm_next(r, first, nr, 1);
		/* Reading makes it grow too, and takes nothing from what the device writes there at once. */
		(void)*(volatile char *)(top + first * page);
		mm_next(r, first, nr, 1);
	}
	EXPECT_TRUE(mm_let_work(r, 100));
	mm_stop(_metadata, r);
	EXPECT_GT(mm_must_faults(r), 0);
}

TEST_HARNESS_MAIN
