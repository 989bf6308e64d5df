// SPDX-License-Identifier: GPL-2.0
/* The sorted array of preferred ranges. */
#include <linux/prandom.h>

#include "tests/fake.h"

#define HSL_TEST_PAGES	512	/* of the address space that the random test knows */
#define HSL_TEST_ROUNDS	4000

static struct hsl_prefer *hsl_test_prefer(struct kunit *test)
{
	struct hsl_prefer *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	spin_lock_init(&p->lock);
	return p;
}

/* Sorted, none empty, none touches the next. */
static void hsl_test_prefer_order(struct kunit *test, struct hsl_prefer *p)
{
	unsigned int i;

	for (i = 0; i < p->nr; i++) {
		KUNIT_ASSERT_LT(test, p->span[i].start, p->span[i].end);
		if (i)
			KUNIT_ASSERT_LT(test, p->span[i - 1].end, p->span[i].start);
	}
}

static void hsl_test_prefer_merge(struct kunit *test)
{
	struct hsl_prefer *p = hsl_test_prefer(test);

	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 10, 20), 0);
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 30, 40), 0);
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 0, 5), 0);
	KUNIT_ASSERT_EQ(test, p->nr, 3);
	hsl_test_prefer_order(test, p);
	/* Touches one, then fills the gap between two. */
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 40, 50), 0);
	KUNIT_EXPECT_EQ(test, p->nr, 3);
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 20, 30), 0);
	KUNIT_ASSERT_EQ(test, p->nr, 2);
	KUNIT_EXPECT_EQ(test, p->span[1].start, 10);
	KUNIT_EXPECT_EQ(test, p->span[1].end, 50);
	/* Within one, and over all */
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 15, 16), 0);
	KUNIT_EXPECT_EQ(test, p->nr, 2);
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 1, 100), 0);
	KUNIT_ASSERT_EQ(test, p->nr, 1);
	KUNIT_EXPECT_EQ(test, p->span[0].start, 0);
	KUNIT_EXPECT_EQ(test, p->span[0].end, 100);
}

static void hsl_test_prefer_cut(struct kunit *test)
{
	struct hsl_prefer *p = hsl_test_prefer(test);

	hsl_prefer_cut(p, 0, 1000);
	KUNIT_EXPECT_EQ(test, p->nr, 0);
	hsl_prefer_add(p, 10, 50);
	/* Beside it, at both ends, in the middle, all */
	hsl_prefer_cut(p, 0, 10);
	hsl_prefer_cut(p, 50, 60);
	KUNIT_ASSERT_EQ(test, p->nr, 1);
	hsl_prefer_cut(p, 5, 15);
	hsl_prefer_cut(p, 45, 55);
	KUNIT_ASSERT_EQ(test, p->nr, 1);
	KUNIT_EXPECT_EQ(test, p->span[0].start, 15);
	KUNIT_EXPECT_EQ(test, p->span[0].end, 45);
	hsl_prefer_cut(p, 20, 30);
	KUNIT_ASSERT_EQ(test, p->nr, 2);
	KUNIT_EXPECT_EQ(test, p->span[0].end, 20);
	KUNIT_EXPECT_EQ(test, p->span[1].start, 30);
	hsl_prefer_cut(p, 0, ~0ul);
	KUNIT_EXPECT_EQ(test, p->nr, 0);
}

/* No more than there is room for: another range is refused, a hole costs what is behind it. */
static void hsl_test_prefer_full(struct kunit *test)
{
	struct hsl_prefer *p = hsl_test_prefer(test);
	unsigned int n;

	for (n = 0; n < HSL_MAX_PREFERRED; n++)
		KUNIT_ASSERT_EQ(test, hsl_prefer_add(p, 100 * n, 100 * n + 50), 0);
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 100 * n, 100 * n + 50), -ENOSPC);
	KUNIT_EXPECT_EQ(test, p->nr, HSL_MAX_PREFERRED);
	/* One that touches another needs no place. */
	KUNIT_EXPECT_EQ(test, hsl_prefer_add(p, 50, 60), 0);
	KUNIT_EXPECT_EQ(test, p->span[0].end, 60);

	hsl_prefer_cut(p, 10, 20);
	KUNIT_EXPECT_EQ(test, p->nr, HSL_MAX_PREFERRED);
	KUNIT_EXPECT_EQ(test, p->span[0].end, 10);
	KUNIT_EXPECT_EQ(test, p->span[1].start, 100);
	hsl_test_prefer_order(test, p);
}

static void hsl_test_prefer_next(struct kunit *test)
{
	struct hsl_prefer *p = hsl_test_prefer(test);
	struct hsl_span part;

	KUNIT_EXPECT_FALSE(test, hsl_prefer_next(p, 0, ~0ul, &part));
	hsl_prefer_add(p, 10, 20);
	hsl_prefer_add(p, 30, 40);
	KUNIT_EXPECT_FALSE(test, hsl_prefer_next(p, 0, 10, &part));
	KUNIT_EXPECT_FALSE(test, hsl_prefer_next(p, 20, 30, &part));
	KUNIT_EXPECT_FALSE(test, hsl_prefer_next(p, 40, 100, &part));
	KUNIT_ASSERT_TRUE(test, hsl_prefer_next(p, 0, 100, &part));
	KUNIT_EXPECT_EQ(test, part.start, 10);
	KUNIT_EXPECT_EQ(test, part.end, 20);
	KUNIT_ASSERT_TRUE(test, hsl_prefer_next(p, part.end, 35, &part));
	KUNIT_EXPECT_EQ(test, part.start, 30);
	KUNIT_EXPECT_EQ(test, part.end, 35);
	KUNIT_ASSERT_TRUE(test, hsl_prefer_next(p, 15, 17, &part));
	KUNIT_EXPECT_EQ(test, part.start, 15);
	KUNIT_EXPECT_EQ(test, part.end, 17);
}

/* Against an array of a flag a page */
static void hsl_test_prefer_random(struct kunit *test)
{
	bool *model = kunit_kcalloc(test, HSL_TEST_PAGES, sizeof(*model), GFP_KERNEL);
	struct hsl_prefer *p = hsl_test_prefer(test);
	unsigned int round, n, start, end;
	struct rnd_state rnd;
	struct hsl_span part;
	bool add;

	KUNIT_ASSERT_NOT_NULL(test, model);
	prandom_seed_state(&rnd, 20);
	for (round = 0; round < HSL_TEST_ROUNDS; round++) {
		start = prandom_u32_state(&rnd) % HSL_TEST_PAGES;
		end = min(start + 1 + prandom_u32_state(&rnd) % 40, HSL_TEST_PAGES);
		add = prandom_u32_state(&rnd) & 1;
		if (add)
			KUNIT_ASSERT_EQ(test, hsl_prefer_add(p, start, end), 0);
		else
			hsl_prefer_cut(p, start, end);
		for (n = start; n < end; n++)
			model[n] = add;

		hsl_test_prefer_order(test, p);
		for (n = 0; n < HSL_TEST_PAGES; n++)
			KUNIT_ASSERT_EQ_MSG(test, hsl_prefer_next(p, n, n + 1, &part), model[n],
					    "page %u in round %u", n, round);
	}
}

static struct kunit_case hsl_memory_advise_cases[] = {
	KUNIT_CASE(hsl_test_prefer_merge),
	KUNIT_CASE(hsl_test_prefer_cut),
	KUNIT_CASE(hsl_test_prefer_full),
	KUNIT_CASE(hsl_test_prefer_next),
	KUNIT_CASE(hsl_test_prefer_random),
	{}
};

static struct kunit_suite hsl_memory_advise_suite = {
	.name = "hsl_memory_advise",
	.test_cases = hsl_memory_advise_cases,
};

kunit_test_suite(hsl_memory_advise_suite);
