// SPDX-License-Identifier: GPL-2.0
/* Blocks of device memory: who has which pages, how they are filled, which is used least. */
#include <linux/prandom.h>

#include "tests/fake.h"

#define HSL_TEST_BLOCKS	4u
#define HSL_TEST_PFN	BIT(24)	/* the pages are named, and never touched */
#define HSL_TEST_ROUNDS	3000

struct hsl_memory_test {
	struct hsl_memory *mem;
	struct hsl_mem_user user;
	struct hsl_mem_owner *owner;
	struct hsl_mem_op *op;
};

static int hsl_memory_test_init(struct kunit *test)
{
	struct hsl_memory_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	struct hsl_memory *mem;

	if (!t)
		return -ENOMEM;
	t->mem = kunit_kzalloc(test, sizeof(*mem), GFP_KERNEL);
	t->op = kunit_kzalloc(test, sizeof(*t->op), GFP_KERNEL);
	t->owner = kunit_kzalloc(test, sizeof(*t->owner), GFP_KERNEL);
	if (!t->mem || !t->op || !t->owner)
		return -ENOMEM;
	mem = t->mem;
	mem->pfn = HSL_TEST_PFN;
	mem->nr_blocks = HSL_TEST_BLOCKS;
	mem->nr_pages = HSL_TEST_BLOCKS * HSL_BLOCK_PAGES;
	mem->mode = HSL_MEMORY_COHERENT;
	mem->blocks = kunit_kcalloc(test, mem->nr_blocks, sizeof(*mem->blocks), GFP_KERNEL);
	mem->pages = kunit_kcalloc(test, mem->nr_pages, sizeof(*mem->pages), GFP_KERNEL);
	if (!mem->blocks || !mem->pages)
		return -ENOMEM;
	spin_lock_init(&mem->lock);
	init_waitqueue_head(&mem->idle);
	INIT_LIST_HEAD(&mem->lru);
	INIT_LIST_HEAD(&mem->users);
	hsl_mem_reset_blocks(mem);

	t->user.owners = 1;
	t->owner->user = &t->user;
	t->owner->refs = 1;
	t->owner->unlimited = true;
	t->op->mem = mem;
	t->op->owner = t->owner;
	test->priv = t;
	return 0;
}

/* @nr pages at @first of a huge page; returns how many there were. */
static unsigned int hsl_test_take(struct hsl_memory_test *t, unsigned int first, unsigned int nr, bool all)
{
	struct hsl_mem_op *op = t->op;
	unsigned int i;

	op->id++;
	op->start = first * PAGE_SIZE;
	op->nr = nr;
	for (i = 0; i < nr; i++)
		op->want[i] = true;
	return hsl_mem_take(op, all);
}

/* What the last call took, by number */
static unsigned long hsl_test_page(struct hsl_memory_test *t, unsigned int i)
{
	return page_to_pfn(t->op->room[i]) - t->mem->pfn;
}

static void hsl_test_put(struct hsl_memory_test *t, unsigned long n)
{
	hsl_mem_give_back(t->mem, pfn_to_page(t->mem->pfn + n), 1);
}

/* The counts and the lists say what the bitmaps say. */
static void hsl_test_blocks(struct kunit *test, struct hsl_memory *mem)
{
	unsigned int free = 0, used = 0, empty = 0, partial = 0, lru = 0, bad = 0;
	struct hsl_mem_block *b;

	for (b = mem->blocks; b < mem->blocks + mem->nr_blocks; b++) {
		unsigned int taken = bitmap_weight(b->taken, HSL_BLOCK_PAGES);

		KUNIT_ASSERT_EQ(test, b->free, HSL_BLOCK_PAGES - taken);
		KUNIT_ASSERT_EQ(test, b->fixed, bitmap_weight(b->stays, HSL_BLOCK_PAGES));
		KUNIT_ASSERT_LE(test, b->used, taken);
		KUNIT_ASSERT_GE(test, b->used, b->fixed);
		KUNIT_ASSERT_TRUE(test, bitmap_subset(b->bad, b->taken, HSL_BLOCK_PAGES));
		KUNIT_ASSERT_EQ(test, list_empty(&b->room), !b->free);
		KUNIT_ASSERT_EQ(test, list_empty(&b->lru), b->used == b->fixed);
		free += b->free;
		used += b->used;
		bad += bitmap_weight(b->bad, HSL_BLOCK_PAGES);
		empty += b->free == HSL_BLOCK_PAGES;
		partial += b->free && b->free < HSL_BLOCK_PAGES;
		lru += b->used > b->fixed;
	}
	KUNIT_ASSERT_EQ(test, mem->free, free);
	KUNIT_ASSERT_EQ(test, mem->used, used);
	KUNIT_ASSERT_EQ(test, mem->bad, bad);
	KUNIT_ASSERT_EQ(test, list_count_nodes(&mem->empty), empty);
	KUNIT_ASSERT_EQ(test, list_count_nodes(&mem->partial), partial);
	KUNIT_ASSERT_EQ(test, list_count_nodes(&mem->lru), lru);
}

/* All of a huge page goes to one block, in order, and so does half of one. */
static void hsl_test_mem_whole(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	unsigned long first;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), HSL_BLOCK_PAGES);
	first = hsl_test_page(t, 0);
	KUNIT_EXPECT_EQ(test, first % HSL_BLOCK_PAGES, 0);
	for (i = 0; i < HSL_BLOCK_PAGES; i++)
		KUNIT_EXPECT_EQ(test, hsl_test_page(t, i), first + i);
	hsl_test_blocks(test, t->mem);

	/* The second half: to the second half of another block */
	KUNIT_ASSERT_EQ(test, hsl_test_take(t, HSL_BLOCK_PAGES / 2, HSL_BLOCK_PAGES / 2, true), HSL_BLOCK_PAGES / 2);
	for (i = 0; i < HSL_BLOCK_PAGES / 2; i++)
		KUNIT_EXPECT_EQ(test, hsl_test_page(t, i) % HSL_BLOCK_PAGES, HSL_BLOCK_PAGES / 2 + i);
	KUNIT_EXPECT_NE(test, hsl_test_page(t, 0) / HSL_BLOCK_PAGES, first / HSL_BLOCK_PAGES);
	hsl_test_blocks(test, t->mem);
}

/* What is small fills the gaps: whole blocks are kept for what is large. */
static void hsl_test_mem_gaps(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	unsigned int n;

	for (n = 0; n < HSL_BLOCK_PAGES / 8; n++) {
		KUNIT_ASSERT_EQ(test, hsl_test_take(t, 64 * (n % 8), 8, true), 8);
		KUNIT_EXPECT_EQ(test, list_count_nodes(&t->mem->empty), HSL_TEST_BLOCKS - 1);
	}
	hsl_test_blocks(test, t->mem);
	KUNIT_EXPECT_TRUE(test, list_empty(&t->mem->partial));
	KUNIT_EXPECT_TRUE(test, hsl_mem_has_room(t->mem, HSL_BLOCK_PAGES, true));
}

/* All of it or nothing, or as much as there is. */
static void hsl_test_mem_full(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	unsigned int n;

	for (n = 0; n < HSL_TEST_BLOCKS - 1; n++)
		KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), HSL_BLOCK_PAGES);
	KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, 4, true), 4);
	/* There is room for that many, but not in one block. */
	KUNIT_EXPECT_FALSE(test, hsl_mem_has_room(t->mem, 1, true));
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), 0);
	KUNIT_EXPECT_EQ(test, t->op->may, HSL_BLOCK_PAGES);
	hsl_test_blocks(test, t->mem);
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, false), HSL_BLOCK_PAGES - 4);
	KUNIT_EXPECT_EQ(test, t->mem->free, 0);
	KUNIT_EXPECT_EQ(test, t->owner->pages, t->mem->nr_pages);
	KUNIT_EXPECT_EQ(test, t->owner->refs, t->mem->nr_pages + 1);
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, 1, false), 0);
	hsl_test_blocks(test, t->mem);
}

/* A user who may have some: those, and the account is right afterwards. */
static void hsl_test_mem_limit(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	u64 saved = max_memory_per_user;

	t->owner->unlimited = false;
	max_memory_per_user = HSL_MEM_PERCENT | 50;
	KUNIT_EXPECT_EQ(test, hsl_mem_user_max(t->mem, t->owner), t->mem->nr_pages / 2);
	max_memory_per_user = 10 * PAGE_SIZE + 1;
	KUNIT_EXPECT_EQ(test, hsl_mem_user_max(t->mem, t->owner), 10);
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, 16, false), 10);
	KUNIT_EXPECT_EQ(test, t->op->may, 10);
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, 1, false), 0);
	/* Less than he has already */
	max_memory_per_user = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, hsl_test_take(t, 0, 1, false), 0);
	KUNIT_EXPECT_EQ(test, t->user.pages, 10);
	KUNIT_EXPECT_EQ(test, t->owner->pages, 10);
	KUNIT_EXPECT_EQ(test, t->owner->refs, 11);
	max_memory_per_user = saved;
	hsl_test_blocks(test, t->mem);
}

/* The block that was used least recently comes first; what stays where it is, not at all. */
static void hsl_test_mem_lru(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	struct hsl_mem_block *b[3];
	unsigned int n;

	for (n = 0; n < 3; n++) {
		KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), HSL_BLOCK_PAGES);
		b[n] = hsl_mem_block(t->mem, hsl_test_page(t, 0));
	}
	KUNIT_EXPECT_PTR_EQ(test, list_first_entry(&t->mem->lru, struct hsl_mem_block, lru), b[0]);
	hsl_mem_touch(t->mem, pfn_to_page(t->mem->pfn + (b[0] - t->mem->blocks) * HSL_BLOCK_PAGES), 77);
	KUNIT_EXPECT_EQ(test, b[0]->op, 77);
	KUNIT_EXPECT_PTR_EQ(test, list_first_entry(&t->mem->lru, struct hsl_mem_block, lru), b[1]);
	KUNIT_EXPECT_PTR_EQ(test, list_last_entry(&t->mem->lru, struct hsl_mem_block, lru), b[0]);

	t->op->fixed = true;
	KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, 8, true), 8);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&t->mem->lru), 3);
	hsl_test_blocks(test, t->mem);
	t->op->fixed = false;
	KUNIT_ASSERT_EQ(test, hsl_test_take(t, 8, 1, true), 1);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&t->mem->lru), 4);
	/* When the last goes that can move, so does the block. */
	hsl_test_put(t, hsl_test_page(t, 0));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&t->mem->lru), 3);
	hsl_test_blocks(test, t->mem);
}

/* A page that has lost its contents is not given out again, whether it was in use or not. */
static void hsl_test_mem_bad(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	unsigned long used, n = 0;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, 4, true), 4);
	used = hsl_test_page(t, 2);
	KUNIT_EXPECT_TRUE(test, hsl_mem_retire(t->mem, used));
	KUNIT_EXPECT_FALSE(test, hsl_mem_retire(t->mem, used));
	KUNIT_EXPECT_TRUE(test, hsl_mem_retire(t->mem, used + 2));
	KUNIT_EXPECT_TRUE(test, hsl_mem_is_bad(t->mem, used));
	KUNIT_EXPECT_FALSE(test, hsl_mem_is_bad(t->mem, used + 1));
	hsl_test_blocks(test, t->mem);

	/* The one in use is to be taken away, the other is nobody's. */
	KUNIT_ASSERT_TRUE(test, hsl_mem_next_lost(t->mem, &n));
	KUNIT_EXPECT_EQ(test, n, used);
	n++;
	KUNIT_EXPECT_FALSE(test, hsl_mem_next_lost(t->mem, &n));
	hsl_test_put(t, used);
	n = 0;
	KUNIT_EXPECT_FALSE(test, hsl_mem_next_lost(t->mem, &n));
	hsl_test_blocks(test, t->mem);

	while ((i = hsl_test_take(t, 0, HSL_BLOCK_PAGES, false))) {
		while (i--) {
			KUNIT_EXPECT_NE(test, hsl_test_page(t, i), used);
			KUNIT_EXPECT_NE(test, hsl_test_page(t, i), used + 2);
		}
	}
	KUNIT_EXPECT_EQ(test, t->mem->used, t->mem->nr_pages - 2);

	/* Another mode, and this one again: they are still bad. */
	INIT_LIST_HEAD(&t->mem->lru);
	t->mem->used = 0;
	hsl_mem_reset_blocks(t->mem);
	KUNIT_EXPECT_EQ(test, t->mem->free, t->mem->nr_pages - 2);
	hsl_test_blocks(test, t->mem);
}

/* Pages come and go at random, some to stay, some lose their contents. */
static void hsl_test_mem_random(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	unsigned int round, first, got, i, nr;
	struct rnd_state rnd;
	unsigned long n;

	prandom_seed_state(&rnd, 5);
	for (round = 0; round < HSL_TEST_ROUNDS; round++) {
		n = prandom_u32_state(&rnd) % t->mem->nr_pages;
		if (prandom_u32_state(&rnd) & 1) {
			first = n % HSL_BLOCK_PAGES;
			nr = 1 + prandom_u32_state(&rnd) % (HSL_BLOCK_PAGES - first);
			t->op->fixed = prandom_u32_state(&rnd) % 4 == 0;
			got = hsl_test_take(t, first, nr, prandom_u32_state(&rnd) & 1);
			for (i = 0; i < nr; i++) {
				if (!t->op->room[i])
					continue;
				got--;
				KUNIT_ASSERT_PTR_EQ(test, t->mem->pages[hsl_test_page(t, i)].owner, t->owner);
				KUNIT_ASSERT_FALSE(test, hsl_mem_is_bad(t->mem, hsl_test_page(t, i)));
			}
			KUNIT_ASSERT_EQ(test, got, 0);
		} else {
			for (i = 0; i < 200; i++, n = (n + 1) % t->mem->nr_pages)
				if (t->mem->pages[n].owner)
					hsl_test_put(t, n);
		}
		if (round % 100 == 0)
			hsl_mem_retire(t->mem, prandom_u32_state(&rnd) % t->mem->nr_pages);
		hsl_test_blocks(test, t->mem);
		KUNIT_ASSERT_EQ(test, t->owner->pages, t->mem->used);
		KUNIT_ASSERT_EQ(test, t->user.pages, t->mem->used);
		KUNIT_ASSERT_EQ(test, t->owner->refs, t->mem->used + 1);
	}
	for (n = 0; n < t->mem->nr_pages; n++)
		if (t->mem->pages[n].owner)
			hsl_test_put(t, n);
	KUNIT_EXPECT_EQ(test, t->mem->used, 0);
	KUNIT_EXPECT_EQ(test, t->owner->refs, 1);
	hsl_test_blocks(test, t->mem);
}

/* An attempt to make room tries each block once, however often others touch it meanwhile. */
static void hsl_test_mem_pick(struct kunit *test)
{
	struct hsl_memory_test *t = test->priv;
	struct hsl_mem_block *b, *tried[HSL_TEST_BLOCKS] = { };
	unsigned int i, n;
	u64 op, attempt;

	for (i = 0; i < HSL_TEST_BLOCKS; i++)
		KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), HSL_BLOCK_PAGES);
	/* hsl_test_take() has given itself numbers. */
	t->mem->last_op = t->op->id;
	for (i = 0; i < 3; i++) {
		op = hsl_mem_next_op(t->mem);
		attempt = hsl_mem_next_op(t->mem);
		KUNIT_EXPECT_GT(test, attempt, op);
		for (n = 0; n < HSL_TEST_BLOCKS; n++) {
			b = hsl_mem_pick(t->mem, op, attempt);
			KUNIT_ASSERT_NOT_NULL(test, b);
			for (unsigned int k = 0; k < n; k++)
				KUNIT_EXPECT_PTR_NE(test, b, tried[k]);
			tried[n] = b;
			/* By a device, or by another call */
			hsl_mem_touch(t->mem, pfn_to_page(t->mem->pfn + (b - t->mem->blocks) * HSL_BLOCK_PAGES),
				      i ? hsl_mem_next_op(t->mem) : 0);
		}
		KUNIT_EXPECT_NULL(test, hsl_mem_pick(t->mem, op, attempt));
	}
	/* What the call itself has found there stays. */
	op = hsl_mem_next_op(t->mem);
	hsl_mem_touch(t->mem, pfn_to_page(t->mem->pfn), op);
	for (n = 1; n < HSL_TEST_BLOCKS; n++)
		KUNIT_EXPECT_PTR_NE(test, hsl_mem_pick(t->mem, op, op), &t->mem->blocks[0]);
	KUNIT_EXPECT_NULL(test, hsl_mem_pick(t->mem, op, op));
}

/* Pages in use are found in whichever block, and none twice. */
static void hsl_test_mem_used(struct kunit *test)
{
	static const unsigned int used[] = { 0, 1, HSL_BLOCK_PAGES - 1, HSL_BLOCK_PAGES,
					     3 * HSL_BLOCK_PAGES + 7, 4 * HSL_BLOCK_PAGES - 1 };
	struct hsl_memory_test *t = test->priv;
	unsigned long n, at = 0;
	unsigned int i;

	for (i = 0; i < HSL_TEST_BLOCKS; i++)
		KUNIT_ASSERT_EQ(test, hsl_test_take(t, 0, HSL_BLOCK_PAGES, true), HSL_BLOCK_PAGES);
	for (n = 0; n < t->mem->nr_pages; n++) {
		for (i = 0; i < ARRAY_SIZE(used) && used[i] != n; i++)
			;
		if (i == ARRAY_SIZE(used))
			hsl_test_put(t, n);
	}
	for (i = 0; i < ARRAY_SIZE(used); i++, at++) {
		KUNIT_ASSERT_TRUE(test, hsl_mem_next_used(t->mem, &at, false));
		KUNIT_EXPECT_EQ(test, at, used[i]);
	}
	KUNIT_EXPECT_FALSE(test, hsl_mem_next_used(t->mem, &at, false));

	at = 0;
	KUNIT_EXPECT_FALSE(test, hsl_mem_next_lost(t->mem, &at));
	KUNIT_EXPECT_TRUE(test, hsl_mem_retire(t->mem, used[4]));
	at = 0;
	KUNIT_ASSERT_TRUE(test, hsl_mem_next_lost(t->mem, &at));
	KUNIT_EXPECT_EQ(test, at, used[4]);
	t->mem->gone = true;
	at = 0;
	KUNIT_ASSERT_TRUE(test, hsl_mem_next_lost(t->mem, &at));
	KUNIT_EXPECT_EQ(test, at, used[0]);
}

struct hsl_limit_text {
	const char *text;
	int ret;
	u64 val;
};

static const struct hsl_limit_text hsl_limit_texts[] = {
	{ "0", 0, 0 },
	{ "4096\n", 0, 4096 },
	{ "3M", 0, 3 << 20 },
	{ "0x10k", 0, 16 << 10 },
	{ "0%", 0, HSL_MEM_PERCENT },
	{ "100%", 0, HSL_MEM_PERCENT | 100 },
	{ "25%  ", 0, HSL_MEM_PERCENT | 25 },
	{ "101%", -EINVAL },
	{ "", -EINVAL },
	{ "%", -EINVAL },
	{ "all", -EINVAL },
	{ "5 M", -EINVAL },
	{ "5%5", -EINVAL },
	{ "0x8000000000000000", -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(hsl_limit, hsl_limit_texts, text);

/* The module parameter max_memory_per_user */
static void hsl_test_mem_limit_text(struct kunit *test)
{
	const struct hsl_limit_text *t = test->param_value;
	u64 saved = max_memory_per_user;

	max_memory_per_user = 1234;
	KUNIT_EXPECT_EQ(test, hsl_mem_limit_set(t->text, NULL), t->ret);
	KUNIT_EXPECT_EQ(test, max_memory_per_user, t->ret ? 1234 : t->val);
	max_memory_per_user = saved;
}

static struct kunit_case hsl_memory_cases[] = {
	KUNIT_CASE(hsl_test_mem_whole),
	KUNIT_CASE(hsl_test_mem_gaps),
	KUNIT_CASE(hsl_test_mem_full),
	KUNIT_CASE(hsl_test_mem_limit),
	KUNIT_CASE(hsl_test_mem_lru),
	KUNIT_CASE(hsl_test_mem_bad),
	KUNIT_CASE(hsl_test_mem_random),
	KUNIT_CASE(hsl_test_mem_pick),
	KUNIT_CASE(hsl_test_mem_used),
	KUNIT_CASE_PARAM(hsl_test_mem_limit_text, hsl_limit_gen_params),
	{}
};

static struct kunit_suite hsl_memory_suite = {
	.name = "hsl_memory",
	.init = hsl_memory_test_init,
	.test_cases = hsl_memory_cases,
};

kunit_test_suite(hsl_memory_suite);
