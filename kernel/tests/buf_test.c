// SPDX-License-Identifier: GPL-2.0
/* Which devices of other drivers get at a buffer. */
#include "tests/fake.h"

static void hsl_test_moved(struct dma_buf_attachment *attach)
{
}

/* Peer-to-peer, and dynamic; and then a way between the two, which this device is without. */
static void hsl_test_buf_refused(struct kunit *test)
{
	static const struct dma_buf_attach_ops dynamic = {
		.allow_peer2peer = true, .hsl_compat_invalidate_mappings = hsl_test_moved,
	};
	static const struct dma_buf_attach_ops pinned = { .allow_peer2peer = true };
	struct dma_buf_attachment attach = { .importer_ops = &dynamic, .peer2peer = true };
	struct hsl_memory *mem = kunit_kzalloc(test, sizeof(*mem), GFP_KERNEL);
	struct hsl_buf *buf = kunit_kzalloc(test, sizeof(*buf), GFP_KERNEL);
	struct hsl_share share = { .buf = buf };
	const char *no_way;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	KUNIT_ASSERT_NOT_NULL(test, buf);
	mutex_init(&mem->bufs_lock);
	buf->mem = mem;
	no_way = hsl_share_refused(&share, &attach);
	KUNIT_ASSERT_NOT_NULL(test, no_way);
	KUNIT_EXPECT_NOT_NULL(test, strstr(no_way, "peer-to-peer"));
	attach.peer2peer = false;
	KUNIT_ASSERT_NOT_NULL(test, hsl_share_refused(&share, &attach));
	KUNIT_EXPECT_NOT_NULL(test, strstr(hsl_share_refused(&share, &attach), "never taken back"));
	attach.peer2peer = true;
	attach.importer_ops = &pinned;
	KUNIT_ASSERT_NOT_NULL(test, hsl_share_refused(&share, &attach));
	KUNIT_EXPECT_NOT_NULL(test, strstr(hsl_share_refused(&share, &attach), "never taken back"));
}

static struct kunit_case hsl_buf_cases[] = {
	KUNIT_CASE(hsl_test_buf_refused),
	{}
};

static struct kunit_suite hsl_buf_suite = {
	.name = "hsl_buf",
	.test_cases = hsl_buf_cases,
};

kunit_test_suite(hsl_buf_suite);
