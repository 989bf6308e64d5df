// SPDX-License-Identifier: GPL-2.0
/*
 * Does the oracle see what it is there for? On a device that keeps translations
 * after their invalidation (QEMU property x-ignore-invalidations, told by
 * HSL_IGNORE_INVALIDATIONS=1) it must; on a sound one it must not.
 *
 * Both pages belong to a memfd, so that the access through the old translation
 * that the unsound device makes hits nobody else's memory.
 */
#define _GNU_SOURCE
#include "hsl_test.h"

FIXTURE(oracle) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint64_t breaches, checks;
};

PROVIDER_VARIANTS(oracle);

FIXTURE_SETUP(oracle)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	if (!oracle_on(dev_path(0)))
		SKIP(return, "the oracle cannot be switched on: no debugfs");
	self->checks = device_counter(self->ctx, HSL_CNT_ORACLE_CHECKS);
	self->breaches = device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES);
}

FIXTURE_TEARDOWN(oracle)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

TEST_F(oracle, remapped_page)
{
	bool unsound = getenv("HSL_IGNORE_INVALIDATIONS");
	size_t page = page_size();
	struct hsl_queue *q = self->q;
	uint64_t *view, *both;
	struct hsl_cqe c;
	int fd;

	fd = memfd_create("hsl_oracle", 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 2 * page));
	both = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	view = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, both);
	ASSERT_NE(MAP_FAILED, view);

	hsl_prep_fill(hsl_get_desc(q), view, 1, 8);
	ASSERT_EQ(0, finish_one(q, &c));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(1, both[0]);
	ASSERT_EQ(self->breaches, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));

	ASSERT_EQ(view, mmap(view, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, page));
	hsl_prep_fill(hsl_get_desc(q), view, 2, 8);
	ASSERT_EQ(0, finish_one(q, &c));
	ASSERT_EQ(HSL_ST_OK, c.status);
	EXPECT_LT(self->checks, device_counter(self->ctx, HSL_CNT_ORACLE_CHECKS));
	EXPECT_EQ(unsound ? 2 : 1, both[0]);
	EXPECT_EQ(unsound ? 0 : 2, both[page / 8]);
	EXPECT_EQ(unsound, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES) > self->breaches);

	munmap(view, page);
	munmap(both, 2 * page);
	close(fd);
}

TEST_HARNESS_MAIN
