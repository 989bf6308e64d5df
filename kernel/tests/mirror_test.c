// SPDX-License-Identifier: GPL-2.0
/* The device's page tables, and how far around a fault is looked. */
#include "tests/fake.h"

#define HSL_TEST_ADDR	0x7f1234600000ul	/* of a block */
#define HSL_TEST_NEXT	0x7f1234800000ul	/* of the one after it */

static struct hsl_mirror *hsl_test_mirror(struct kunit *test)
{
	struct hsl_device *hdev = hsl_fake_device(test);
	struct hsl_mirror *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct hsl_context *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	hdev->pdev->dev.dma_mask = &hdev->pdev->dma_mask;
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(&hdev->pdev->dev, DMA_BIT_MASK(64)), 0);
	m->hdev = hdev;
	m->ctx = ctx;
	mutex_init(&m->lock);
	spin_lock_init(&m->ahead_lock);
	INIT_LIST_HEAD(&m->imports);
	return m;
}

static void hsl_test_index(struct kunit *test)
{
	unsigned long addr = 0x123ul << 39 | 0x045ul << 30 | 0x1fful << 21 | 0x0abul << 12 | 0xfff;
	unsigned int level;

	KUNIT_EXPECT_EQ(test, hsl_index(addr, 3), 0x123);
	KUNIT_EXPECT_EQ(test, hsl_index(addr, 2), 0x045);
	KUNIT_EXPECT_EQ(test, hsl_index(addr, 1), 0x1ff);
	KUNIT_EXPECT_EQ(test, hsl_index(addr, 0), 0x0ab);

	KUNIT_EXPECT_EQ(test, hsl_span(0), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, hsl_span(1), HSL_BLOCK_SIZE);
	/* The tables of all levels reach as far as addresses do. */
	KUNIT_EXPECT_EQ(test, hsl_span(HSL_PT_LEVELS - 1) * HSL_PT_ENTRIES, 1ul << HSL_PT_VA_BITS);
	for (level = 0; level < HSL_PT_LEVELS; level++) {
		KUNIT_EXPECT_EQ(test, hsl_index((1ul << HSL_PT_VA_BITS) - 1, level), HSL_PT_ENTRIES - 1);
		KUNIT_EXPECT_EQ(test, hsl_index(hsl_span(level), level), 1);
		KUNIT_EXPECT_EQ(test, hsl_index(hsl_span(level) - 1, level), 0);
	}
}

static void hsl_test_pfn_serves(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, hsl_pfn_serves(0, false));
	KUNIT_EXPECT_FALSE(test, hsl_pfn_serves(HMM_PFN_WRITE, false));
	KUNIT_EXPECT_TRUE(test, hsl_pfn_serves(HMM_PFN_VALID, false));
	KUNIT_EXPECT_FALSE(test, hsl_pfn_serves(HMM_PFN_VALID, true));
	KUNIT_EXPECT_TRUE(test, hsl_pfn_serves(HMM_PFN_VALID | HMM_PFN_WRITE, true));
	KUNIT_EXPECT_FALSE(test, hsl_pfn_serves(HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR, false));
}

/*
 * Windows
 */

static struct hsl_window hsl_test_window(struct hsl_mirror *m, unsigned long page, unsigned long pages)
{
	struct hsl_window w = { .addr = HSL_TEST_ADDR + page * PAGE_SIZE };

	hsl_window_init(m, &w, pages);
	return w;
}

/* Of an access that follows none: what is around it, and what the operation goes on to */
static void hsl_test_window_first(struct kunit *test)
{
	struct hsl_mirror *m = hsl_test_mirror(test);
	struct hsl_window w;

	w = hsl_test_window(m, 37, 1);
	KUNIT_EXPECT_EQ(test, w.start, HSL_TEST_ADDR + 32 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, w.want, w.addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, w.ahead, w.want);
	KUNIT_EXPECT_EQ(test, w.end, HSL_TEST_ADDR + 48 * PAGE_SIZE);

	/* A device that knows nothing of it says 0. */
	w = hsl_test_window(m, 137, 0);
	KUNIT_EXPECT_EQ(test, w.want, w.addr + PAGE_SIZE);

	/* Beyond the window, and beyond the block */
	w = hsl_test_window(m, 237, 100);
	KUNIT_EXPECT_EQ(test, w.want, w.addr + 100 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, w.end, w.want);
	w = hsl_test_window(m, 500, 1000);
	KUNIT_EXPECT_EQ(test, w.want, HSL_TEST_NEXT);
	KUNIT_EXPECT_EQ(test, w.end, HSL_TEST_NEXT);
	KUNIT_EXPECT_EQ(test, w.ahead, w.addr + 1000 * PAGE_SIZE);

	/* Where addresses end */
	w = (struct hsl_window){ .addr = TASK_SIZE_MAX - PAGE_SIZE };
	hsl_window_init(m, &w, ~0u);
	KUNIT_EXPECT_EQ(test, w.ahead, TASK_SIZE_MAX);
	KUNIT_EXPECT_EQ(test, w.want, TASK_SIZE_MAX);
}

/* One that goes on where another ended: twice as far each time, up to a block */
static void hsl_test_window_stream(struct kunit *test)
{
	struct hsl_mirror *m = hsl_test_mirror(test);
	unsigned long page = 0, pages = HSL_WINDOW_PAGES, n;
	struct hsl_window w;

	for (n = 0; n < 20; n++) {
		w = hsl_test_window(m, page, 1);
		/* No window leaves its block. */
		pages = min(pages, HSL_BLOCK_PAGES - page % HSL_BLOCK_PAGES);
		KUNIT_EXPECT_EQ(test, w.start, w.addr);
		KUNIT_EXPECT_EQ(test, w.end, w.addr + pages * PAGE_SIZE);
		w.done = w.end;
		hsl_window_done(&w);
		page += pages;
		pages *= 2;
	}
	KUNIT_EXPECT_EQ(test, m->next_stream, 1);

	/* Half as far when not all of it was there; never less than a page */
	for (n = 0; n < 12; n++) {
		w = hsl_test_window(m, page, 1);
		pages = (w.end - w.start) / PAGE_SIZE;
		w.done = w.start + PAGE_SIZE;
		if (w.done == w.end)
			break;
		hsl_window_done(&w);
		KUNIT_EXPECT_EQ(test, w.stream->pages, max(pages / 2, 1ul));
		page++;
	}
	KUNIT_EXPECT_EQ(test, pages, 1);
	KUNIT_EXPECT_EQ(test, m->next_stream, 1);
}

/* Several at the same time are told apart; the oldest is forgotten. */
static void hsl_test_window_streams(struct kunit *test)
{
	struct hsl_mirror *m = hsl_test_mirror(test);
	struct hsl_window w;
	unsigned int n;

	for (n = 0; n < HSL_STREAMS; n++) {
		w = hsl_test_window(m, n * HSL_BLOCK_PAGES, 1);
		w.done = w.end;
		hsl_window_done(&w);
	}
	for (n = 0; n < HSL_STREAMS; n++) {
		w = hsl_test_window(m, n * HSL_BLOCK_PAGES + HSL_WINDOW_PAGES, 1);
		KUNIT_EXPECT_EQ(test, (w.end - w.start) / PAGE_SIZE, 2 * HSL_WINDOW_PAGES);
		KUNIT_EXPECT_PTR_EQ(test, w.stream, &m->streams[n]);
		w.done = w.end;
		hsl_window_done(&w);
	}
	w = hsl_test_window(m, 100 * HSL_BLOCK_PAGES, 1);
	KUNIT_EXPECT_PTR_EQ(test, w.stream, &m->streams[0]);
	w = hsl_test_window(m, 3 * HSL_WINDOW_PAGES, 1);
	KUNIT_EXPECT_PTR_EQ(test, w.stream, &m->streams[1]);
	KUNIT_EXPECT_EQ(test, (w.end - w.start) / PAGE_SIZE, HSL_WINDOW_PAGES);

	hsl_window_shrink(&w);
	KUNIT_EXPECT_EQ(test, w.start, w.addr);
	KUNIT_EXPECT_EQ(test, w.end, w.addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, w.want, w.end);
	KUNIT_EXPECT_EQ(test, w.ahead, w.end);
}

/*
 * Tables
 */

struct hsl_test_tables {
	struct hsl_mirror *m;
	struct hsl_slice slice;
	struct page *pages;	/* 32 of them, for the first ones of two blocks */
};

/* A mirror with a root, and pages to be mapped */
static struct hsl_test_tables *hsl_test_tables(struct kunit *test)
{
	struct hsl_test_tables *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	t->m = hsl_test_mirror(test);
	t->pages = alloc_pages(GFP_KERNEL, 5);
	KUNIT_ASSERT_NOT_NULL(test, t->pages);
	t->m->root = hsl_table_alloc(HSL_PT_LEVELS - 1);
	KUNIT_ASSERT_NOT_NULL(test, t->m->root);
	KUNIT_ASSERT_EQ(test, hsl_table_map(t->m, t->m->root), 0);
	t->m->nr_idle = 1;
	return t;
}

/* Nothing is left but the root. */
static void hsl_test_tables_end(struct kunit *test, struct hsl_test_tables *t)
{
	KUNIT_EXPECT_EQ(test, t->m->nr_tables, 1);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_huge, 0);
	KUNIT_EXPECT_EQ(test, t->slice.used, 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_idle, 1);
	KUNIT_EXPECT_EQ(test, t->m->root->used, 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->m->root->entry, 0, PAGE_SIZE));
	hsl_table_unmap(t->m, t->m->root);
	hsl_table_free(t->m->root);
	__free_pages(t->pages, 5);
}

/* The process has pages from @first to @last of the window, of 16, writable or not. */
static int hsl_test_map(struct hsl_test_tables *t, unsigned long addr, unsigned int first, unsigned int last,
			bool write)
{
	struct hsl_window w = {
		.addr = addr, .start = addr & ~(16 * PAGE_SIZE - 1), .write = write,
	};
	struct page *pages = t->pages + 16 * (hsl_index(addr, 1) & 1);
	unsigned int n;
	int ret;

	w.end = w.start + 16 * PAGE_SIZE;
	for (n = 0; n < 16; n++)
		t->m->pfns[n] = n < first || n > last ? 0 :
				page_to_pfn(pages + n) | HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	ret = hsl_table_prepare(t->m, addr, w.spare);
	if (!ret) {
		guard(mutex)(&t->m->lock);
		ret = hsl_map_small(t->m, &t->slice, &w);
	}
	for (n = 0; n < ARRAY_SIZE(w.spare); n++)
		hsl_table_free(w.spare[n]);
	return ret;
}

static void hsl_test_unmap(struct hsl_test_tables *t, unsigned long start, unsigned long last)
{
	guard(mutex)(&t->m->lock);
	hsl_mirror_unmap(t->m, &t->slice, start, last);
}

static bool hsl_test_has(struct hsl_test_tables *t, unsigned long page, bool write)
{
	guard(mutex)(&t->m->lock);
	return hsl_mirror_has(t->m, HSL_TEST_ADDR + page * PAGE_SIZE, write);
}

static u32 hsl_test_table_count(struct kunit *test, struct hsl_table *t, unsigned int level)
{
	u32 tables = 1, used = 0, i;

	for (i = 0; i < HSL_PT_ENTRIES; i++) {
		used += t->entry[i] & HSL_PTE_VALID;
		if (!level || !t->child[i])
			continue;
		/* The entry leads to the child. */
		KUNIT_EXPECT_EQ(test, t->entry[i], t->child[i]->dma | HSL_PTE_VALID);
		tables += hsl_test_table_count(test, t->child[i], level - 1);
	}
	KUNIT_EXPECT_EQ(test, t->used, used);
	return tables;
}

static void hsl_test_map_unmap(struct kunit *test)
{
	struct hsl_test_tables *t = hsl_test_tables(test);
	unsigned int n;

	KUNIT_ASSERT_EQ(test, hsl_test_map(t, HSL_TEST_ADDR + 5 * PAGE_SIZE, 2, 11, false), 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_tables, HSL_PT_LEVELS);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 10);
	KUNIT_EXPECT_EQ(test, t->slice.used, 1);
	KUNIT_EXPECT_EQ(test, t->m->nr_idle, 0);
	KUNIT_EXPECT_EQ(test, hsl_test_table_count(test, t->m->root, HSL_PT_LEVELS - 1), HSL_PT_LEVELS);
	for (n = 0; n < 16; n++) {
		KUNIT_EXPECT_EQ(test, hsl_test_has(t, n, false), n >= 2 && n <= 11);
		KUNIT_EXPECT_FALSE(test, hsl_test_has(t, n, true));
	}

	/* May be written now: the same entries, with one bit more. */
	KUNIT_ASSERT_EQ(test, hsl_test_map(t, HSL_TEST_ADDR + 3 * PAGE_SIZE, 3, 4, true), 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 10);
	for (n = 0; n < 16; n++)
		KUNIT_EXPECT_EQ(test, hsl_test_has(t, n, true), n == 3 || n == 4);

	/* One page, whose neighbours stay; the device is told of what changed. */
	hsl_test_unmap(t, HSL_TEST_ADDR + 4 * PAGE_SIZE, HSL_TEST_ADDR + 5 * PAGE_SIZE - 1);
	KUNIT_EXPECT_FALSE(test, hsl_test_has(t, 4, false));
	KUNIT_EXPECT_TRUE(test, hsl_test_has(t, 3, true));
	KUNIT_EXPECT_TRUE(test, hsl_test_has(t, 5, false));
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 9);
	KUNIT_EXPECT_EQ(test, t->m->stats.invalidations, 1);
	KUNIT_EXPECT_EQ(test, hsl_read64(t->m->hdev, HSL_REG_INV(0) + HSL_INV_START), HSL_TEST_ADDR);
	KUNIT_EXPECT_EQ(test, hsl_read64(t->m->hdev, HSL_REG_INV(0) + HSL_INV_LAST),
			HSL_TEST_NEXT - 1);

	/* Where nothing is mapped, the device hears nothing. */
	hsl_test_unmap(t, HSL_TEST_ADDR + 100 * PAGE_SIZE, HSL_TEST_NEXT - 1);
	KUNIT_EXPECT_EQ(test, t->m->stats.invalidations, 1);

	/* The rest, and with it every table: the device must forget the way there. */
	hsl_test_unmap(t, HSL_TEST_ADDR, HSL_TEST_NEXT - 1);
	KUNIT_EXPECT_EQ(test, t->m->stats.invalidations, 2);
	KUNIT_EXPECT_EQ(test, hsl_read64(t->m->hdev, HSL_REG_INV(0) + HSL_INV_START),
			HSL_TEST_ADDR & ~(hsl_span(3) - 1));
	KUNIT_EXPECT_EQ(test, hsl_read64(t->m->hdev, HSL_REG_INV(0) + HSL_INV_LAST),
			HSL_TEST_ADDR | (hsl_span(3) - 1));
	hsl_test_tables_end(test, t);
}

/* In two blocks */
static void hsl_test_map_blocks(struct kunit *test)
{
	struct hsl_test_tables *t = hsl_test_tables(test);
	unsigned long next = HSL_TEST_NEXT;

	KUNIT_ASSERT_EQ(test, hsl_test_map(t, HSL_TEST_ADDR, 0, 15, true), 0);
	KUNIT_ASSERT_EQ(test, hsl_test_map(t, next, 0, 0, true), 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_tables, HSL_PT_LEVELS + 1);
	KUNIT_EXPECT_EQ(test, t->slice.used, 2);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 17);
	hsl_test_table_count(test, t->m->root, HSL_PT_LEVELS - 1);

	/* Over both, the first with what is left in it */
	hsl_test_unmap(t, HSL_TEST_ADDR + 8 * PAGE_SIZE, next + PAGE_SIZE - 1);
	KUNIT_EXPECT_EQ(test, t->slice.used, 1);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 8);
	KUNIT_EXPECT_EQ(test, t->m->nr_tables, HSL_PT_LEVELS);
	KUNIT_EXPECT_EQ(test, hsl_read64(t->m->hdev, HSL_REG_INV(0) + HSL_INV_LAST), next + HSL_BLOCK_SIZE - 1);
	hsl_test_table_count(test, t->m->root, HSL_PT_LEVELS - 1);

	hsl_test_unmap(t, HSL_TEST_ADDR, HSL_TEST_ADDR + 8 * PAGE_SIZE - 1);
	hsl_test_tables_end(test, t);
}

/* A large page is one entry; a part of it takes all of it away. */
static void hsl_test_map_huge(struct kunit *test)
{
	struct hsl_test_tables *t = hsl_test_tables(test);
	struct page *huge = alloc_pages(GFP_KERNEL | __GFP_COMP, HSL_BLOCK_SHIFT - PAGE_SHIFT);
	struct hsl_window w = { .addr = HSL_TEST_ADDR + 7 * PAGE_SIZE, .start = HSL_TEST_ADDR };
	unsigned int n;

	if (!huge) {
		hsl_test_tables_end(test, t);
		kunit_skip(test, "no huge page");
	}
	t->m->pfns[7] = (page_to_pfn(huge) + 7) | HMM_PFN_VALID |
			(unsigned long)(HSL_BLOCK_SHIFT - PAGE_SHIFT) << HMM_PFN_ORDER_SHIFT;
	KUNIT_EXPECT_EQ(test, hsl_table_prepare(t->m, w.addr, w.spare), 0);
	scoped_guard(mutex, &t->m->lock)
		KUNIT_EXPECT_EQ(test, hsl_map_huge(t->m, &t->slice, &w), 1);
	for (n = 0; n < ARRAY_SIZE(w.spare); n++)
		hsl_table_free(w.spare[n]);
	KUNIT_EXPECT_EQ(test, t->m->nr_huge, 1);
	KUNIT_EXPECT_EQ(test, t->m->nr_small, 0);
	KUNIT_EXPECT_EQ(test, t->m->nr_tables, HSL_PT_LEVELS - 1);
	KUNIT_EXPECT_EQ(test, w.done, HSL_TEST_NEXT);
	KUNIT_EXPECT_TRUE(test, hsl_test_has(t, 511, false));
	KUNIT_EXPECT_FALSE(test, hsl_test_has(t, 512, false));

	hsl_test_unmap(t, HSL_TEST_ADDR + 3 * PAGE_SIZE, HSL_TEST_ADDR + 4 * PAGE_SIZE - 1);
	KUNIT_EXPECT_FALSE(test, hsl_test_has(t, 511, false));
	hsl_test_tables_end(test, t);
	__free_pages(huge, HSL_BLOCK_SHIFT - PAGE_SHIFT);
}

/* All tables that are missing, or none is linked. */
static void hsl_test_table_get(struct kunit *test)
{
	struct hsl_test_tables *t = hsl_test_tables(test);
	struct hsl_table *spare[HSL_PT_LEVELS - 1] = {};
	unsigned int n;

	KUNIT_ASSERT_EQ(test, hsl_table_prepare(t->m, HSL_TEST_ADDR, spare), 0);
	for (n = 0; n < ARRAY_SIZE(spare); n++)
		KUNIT_EXPECT_NOT_NULL(test, spare[n]);
	hsl_table_free(spare[1]);
	spare[1] = NULL;
	scoped_guard(mutex, &t->m->lock) {
		KUNIT_EXPECT_PTR_EQ(test, hsl_table_get(t->m, HSL_TEST_ADDR, 0, spare), ERR_PTR(-EAGAIN));
		KUNIT_EXPECT_EQ(test, t->m->nr_tables, 1);
		KUNIT_EXPECT_EQ(test, t->m->root->used, 0);
	}
	for (n = 0; n < ARRAY_SIZE(spare); n++)
		hsl_table_free(spare[n]);
	hsl_test_tables_end(test, t);
}

static struct kunit_case hsl_mirror_cases[] = {
	KUNIT_CASE(hsl_test_index),
	KUNIT_CASE(hsl_test_pfn_serves),
	KUNIT_CASE(hsl_test_window_first),
	KUNIT_CASE(hsl_test_window_stream),
	KUNIT_CASE(hsl_test_window_streams),
	KUNIT_CASE(hsl_test_map_unmap),
	KUNIT_CASE(hsl_test_map_blocks),
	KUNIT_CASE(hsl_test_map_huge),
	KUNIT_CASE(hsl_test_table_get),
	{}
};

static struct kunit_suite hsl_mirror_suite = {
	.name = "hsl_mirror",
	.test_cases = hsl_mirror_cases,
};

kunit_test_suite(hsl_mirror_suite);
