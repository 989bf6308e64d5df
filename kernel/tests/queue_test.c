// SPDX-License-Identifier: GPL-2.0
/* What a queue may be, and which number it gets. */
#include "tests/fake.h"

#define HSL_TEST_OPS	(BIT_ULL(HSL_OP_NOP) | BIT_ULL(HSL_OP_COPY))

struct hsl_queue_test {
	const char *name;
	struct hsl_fake_value change;
	int ret;
};

#define HSL_QUEUE_TEST(_name, _field, _val, _ret) {				\
		.name = _name,							\
		.change = HSL_FAKE_FIELD(hsl_queue_create, _field, _val),	\
		.ret = _ret,							\
	}

static const struct hsl_queue_test hsl_queue_tests[] = {
	{ "as it is", {}, 0 },
	HSL_QUEUE_TEST("no submission ring", sq_entries, 0, -EINVAL),
	HSL_QUEUE_TEST("a ring of one", sq_entries, 1, -EINVAL),
	HSL_QUEUE_TEST("the smallest ring", sq_entries, 2, 0),
	HSL_QUEUE_TEST("not a power of two", sq_entries, 48, -EINVAL),
	HSL_QUEUE_TEST("as many as completions", sq_entries, 128, 0),
	HSL_QUEUE_TEST("more than completions", sq_entries, 256, -EINVAL),
	HSL_QUEUE_TEST("the largest ring", cq_entries, 1024, 0),
	HSL_QUEUE_TEST("larger than the device knows", cq_entries, 2048, -EINVAL),
	HSL_QUEUE_TEST("fewer completions", cq_entries, 32, -EINVAL),
	HSL_QUEUE_TEST("completions not a power of two", cq_entries, 96, -EINVAL),
	HSL_QUEUE_TEST("the highest priority", priority, 3, 0),
	HSL_QUEUE_TEST("a higher priority", priority, 4, -EINVAL),
	HSL_QUEUE_TEST("the longest wait", coalesce_usecs, 1000000, 0),
	HSL_QUEUE_TEST("a longer wait", coalesce_usecs, 1000001, -EINVAL),
	HSL_QUEUE_TEST("a count of one", coalesce_count, 1, 0),
	HSL_QUEUE_TEST("a count without a time", coalesce_count, 2, -EINVAL),
	HSL_QUEUE_TEST("all operations", ops, 0, 0),
	HSL_QUEUE_TEST("an operation that there is", ops, BIT_ULL(HSL_OP_NOP), 0),
	HSL_QUEUE_TEST("one that there is not", ops, HSL_TEST_OPS | BIT_ULL(63), -EOPNOTSUPP),
	HSL_QUEUE_TEST("all routes", routes, 0, 0),
	HSL_QUEUE_TEST("one route", routes, HSL_ROUTE_PCIE, 0),
	HSL_QUEUE_TEST("a route that there is not", routes, HSL_ROUTE_ALL + 1, -EOPNOTSUPP),
	HSL_QUEUE_TEST("reserved", reserved, 1, -EOPNOTSUPP),
	HSL_QUEUE_TEST("a ring that is not aligned", sq_addr, 0x100020, -EINVAL),
	HSL_QUEUE_TEST("a ring of the kernel", sq_addr, -PAGE_SIZE, -EINVAL),
	HSL_QUEUE_TEST("completions not aligned", cq_addr, 0x200001, -EINVAL),
	HSL_QUEUE_TEST("completions of the kernel", cq_addr, -PAGE_SIZE, -EINVAL),
	HSL_QUEUE_TEST("control words not aligned", ctl_addr, 0x300040, -EINVAL),
	HSL_QUEUE_TEST("control words of the kernel", ctl_addr, -PAGE_SIZE, -EINVAL),
};

KUNIT_ARRAY_PARAM_DESC(hsl_queue, hsl_queue_tests, name);

static void hsl_test_queue_check(struct kunit *test)
{
	const struct hsl_queue_test *t = test->param_value;
	const struct hsl_limits limits = { .ops = HSL_TEST_OPS, .ring_order = 10 };
	struct hsl_queue_create par = {
		.sq_addr = 0x100000, .cq_addr = 0x200000, .ctl_addr = 0x300000,
		.sq_entries = 64, .cq_entries = 128, .ops = BIT_ULL(HSL_OP_COPY),
		.routes = HSL_ROUTE_LINK,
	}, asked;

	hsl_fake_set(&par, &t->change);
	asked = par;
	KUNIT_EXPECT_EQ(test, hsl_queue_check(&limits, &par), t->ret);
	if (t->ret)
		return;
	/* What is left to us, and nothing else, is filled in. */
	if (!asked.ops)
		asked.ops = HSL_TEST_OPS;
	if (!asked.routes)
		asked.routes = HSL_ROUTE_ALL;
	KUNIT_EXPECT_MEMEQ(test, &par, &asked, sizeof(par));
}

/* All of it has to lie where the process can have it. */
static void hsl_test_user_range(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, hsl_user_range(0, TASK_SIZE, 64), 0);
	KUNIT_EXPECT_EQ(test, hsl_user_range(TASK_SIZE - PAGE_SIZE, PAGE_SIZE, 64), 0);
	KUNIT_EXPECT_EQ(test, hsl_user_range(TASK_SIZE - PAGE_SIZE, PAGE_SIZE + 1, 64), -EINVAL);
	KUNIT_EXPECT_EQ(test, hsl_user_range(TASK_SIZE - PAGE_SIZE, U64_MAX, 64), -EINVAL);
	KUNIT_EXPECT_EQ(test, hsl_user_range(TASK_SIZE, 0, PAGE_SIZE), -EINVAL);
	KUNIT_EXPECT_EQ(test, hsl_user_range(32, 64, 64), -EINVAL);
	KUNIT_EXPECT_EQ(test, hsl_user_range(32, 64, 32), 0);
}

static const unsigned int hsl_queue_numbers[] = { 1, 2, 63, 64, 65, 200, 1024 };

static void hsl_queue_numbers_desc(const unsigned int *nr, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u", *nr);
}

KUNIT_ARRAY_PARAM(hsl_queue_numbers, hsl_queue_numbers, hsl_queue_numbers_desc);

/* A number that was given back comes after all others: somebody may still mean what it was. */
static void hsl_test_queue_next_fit(struct kunit *test)
{
	unsigned int nr = *(const unsigned int *)test->param_value, n, freed = nr / 2;
	DECLARE_BITMAP(map, HSL_MAX_QUEUES) = {};
	unsigned long next = 0, hwq;

	for (n = 0; n < nr; n++) {
		hwq = hsl_queue_next_fit(map, nr, next);
		KUNIT_ASSERT_EQ(test, hwq, n);
		__set_bit(hwq, map);
		next = hwq + 1;
		/* It is free again at once. */
		if (n == freed)
			__clear_bit(freed, map);
	}
	KUNIT_EXPECT_EQ(test, hsl_queue_next_fit(map, nr, next), freed);
	__set_bit(freed, map);
	for (next = 0; next <= nr; next++)
		KUNIT_EXPECT_GE(test, hsl_queue_next_fit(map, nr, next), nr);
}

/* Of the queues that were waiting for page requests, those that have stopped since */
static void hsl_test_queue_reclaim(struct kunit *test)
{
	struct hsl_device *hdev = hsl_fake_device(test);
	DECLARE_BITMAP(used, 3) = { 7 };
	DECLARE_BITMAP(drain, 3) = { 6 };

	hdev->limits.nr_queues = 3;
	hdev->queue_map = used;
	hdev->drain_map = drain;
	hsl_write(hdev, HSL_REG_Q(1) + HSL_Q_STATUS, HSL_Q_STOPPING);
	hsl_write(hdev, HSL_REG_Q(2) + HSL_Q_STATUS, HSL_Q_STOPPED);

	guard(mutex)(&hdev->lock);
	hdev->state = HSL_CLAIMED;
	hsl_queue_reclaim(hdev);
	KUNIT_EXPECT_EQ(test, used[0], 7);
	KUNIT_EXPECT_EQ(test, drain[0], 6);

	hdev->state = HSL_ALIVE;
	hsl_queue_reclaim(hdev);
	KUNIT_EXPECT_EQ(test, used[0], 3);
	KUNIT_EXPECT_EQ(test, drain[0], 2);
}

static struct kunit_case hsl_queue_cases[] = {
	KUNIT_CASE_PARAM(hsl_test_queue_check, hsl_queue_gen_params),
	KUNIT_CASE(hsl_test_user_range),
	KUNIT_CASE_PARAM(hsl_test_queue_next_fit, hsl_queue_numbers_gen_params),
	KUNIT_CASE(hsl_test_queue_reclaim),
	{}
};

static struct kunit_suite hsl_queue_suite = {
	.name = "hsl_queue",
	.test_cases = hsl_queue_cases,
};

kunit_test_suite(hsl_queue_suite);
