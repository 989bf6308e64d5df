// SPDX-License-Identifier: GPL-2.0
/* The table of ioctls, and which sizes of their structures are taken. */
#include "tests/fake.h"

static void hsl_test_ioctl_table(struct kunit *test)
{
	const struct hsl_ioctl *op;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_ioctls); n++) {
		op = &hsl_ioctls[n];
		KUNIT_EXPECT_PTR_EQ(test, hsl_ioctl_find(op->cmd), op);
		KUNIT_EXPECT_EQ(test, _IOC_TYPE(op->cmd), HSL_TYPE);
		KUNIT_EXPECT_NOT_NULL(test, op->fn);
		/* What every structure begins with, and no more than there is room for */
		KUNIT_EXPECT_GT(test, op->min_size, sizeof(struct hsl_head));
		KUNIT_EXPECT_LE(test, op->min_size, op->size);
		KUNIT_EXPECT_LE(test, op->size, sizeof(union hsl_args));
		/* Without padding at the end, on any architecture */
		KUNIT_EXPECT_EQ(test, op->size % sizeof(u64), 0);
	}
}

static void hsl_test_ioctl_unknown(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(0));
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(~0u));
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(_IO(HSL_TYPE, HSL_CMD_QUERY - 1)));
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(_IO(HSL_TYPE, HSL_CMD_END)));
	/* Our number with another type, and with a size */
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(_IO(HSL_TYPE + 1, HSL_CMD_QUERY)));
	KUNIT_EXPECT_NULL(test, hsl_ioctl_find(_IOWR(HSL_TYPE, HSL_CMD_QUERY, struct hsl_query)));
}

static void hsl_test_ioctl_size(struct kunit *test)
{
	const struct hsl_ioctl *op;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_ioctls); n++) {
		op = &hsl_ioctls[n];
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, 0), -EINVAL);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, op->min_size - 1), -EINVAL);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, op->min_size), 0);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, op->size), 0);
		/* Of a program that is newer than we are */
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, op->size + 8), 0);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, PAGE_SIZE), 0);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, PAGE_SIZE + 1), -E2BIG);
		KUNIT_EXPECT_EQ(test, hsl_ioctl_check_size(op, U32_MAX), -E2BIG);
	}
}

static struct kunit_case hsl_chardev_cases[] = {
	KUNIT_CASE(hsl_test_ioctl_table),
	KUNIT_CASE(hsl_test_ioctl_unknown),
	KUNIT_CASE(hsl_test_ioctl_size),
	{}
};

static struct kunit_suite hsl_chardev_suite = {
	.name = "hsl_chardev",
	.test_cases = hsl_chardev_cases,
};

kunit_test_suite(hsl_chardev_suite);
