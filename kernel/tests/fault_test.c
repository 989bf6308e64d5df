// SPDX-License-Identifier: GPL-2.0
/* The fault queue's ring: its laps, and what becomes of faults that nobody can take. */
#include "tests/fake.h"

#define HSL_TEST_ORDER	2

static struct hsl_device *hsl_test_fltq(struct kunit *test)
{
	struct hsl_device *hdev = hsl_fake_device(test);
	struct hsl_fltq *fltq = &hdev->fltq;

	hdev->limits.caps = HSL_CAP_XLATE_DEVICE;
	hdev->limits.nr_contexts = 2;
	hdev->limits.fltq_order = HSL_TEST_ORDER;
	fltq->ring = kunit_kcalloc(test, 1 << HSL_TEST_ORDER, sizeof(*fltq->ring), GFP_KERNEL);
	fltq->mirrors = kunit_kcalloc(test, 2, sizeof(*fltq->mirrors), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fltq->ring);
	KUNIT_ASSERT_NOT_NULL(test, fltq->mirrors);
	fltq->on = true;
	return hdev;
}

static struct hsl_mirror *hsl_test_fault_mirror(struct kunit *test, struct hsl_device *hdev)
{
	struct hsl_mirror *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->faults = kunit_kcalloc(test, 1 << HSL_TEST_ORDER, sizeof(*m->faults), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->faults);
	m->hdev = hdev;
	return m;
}

/* As the device does it */
static void hsl_test_fault_write(struct hsl_device *hdev, u32 n, u32 context)
{
	hdev->fltq.ring[n % (1 << HSL_TEST_ORDER)] = (struct hsl_hw_fault) {
		.tag = n, .context = context, .lap = (n >> HSL_TEST_ORDER) + 1,
	};
}

static u64 hsl_test_answer(struct hsl_device *hdev)
{
	return hsl_read64(hdev, HSL_REG_FAULT_RESPONSE);
}

/* An entry counts when its lap is this one; laps are 16 bits wide. */
static void hsl_test_fltq_laps(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_fltq(test);
	struct hsl_hw_fault f;
	u32 n;

	guard(spinlock_irqsave)(&hdev->fltq.lock);
	KUNIT_EXPECT_FALSE(test, hsl_fltq_take(hdev, &f));
	for (n = 0; n < 5 << HSL_TEST_ORDER; n++) {
		hsl_test_fault_write(hdev, n, 0);
		KUNIT_EXPECT_TRUE(test, hsl_fltq_take(hdev, &f));
		KUNIT_EXPECT_EQ(test, f.tag, n);
		KUNIT_EXPECT_FALSE(test, hsl_fltq_take(hdev, &f));
	}
	for (n = 0xfffe << HSL_TEST_ORDER; n < 0x10002 << HSL_TEST_ORDER; n++) {
		hdev->fltq.head = n;
		hsl_test_fault_write(hdev, n, 0);
		KUNIT_EXPECT_TRUE(test, hsl_fltq_take(hdev, &f));
		KUNIT_EXPECT_EQ(test, f.tag, n);
	}
}

/* Of a context that is not there, or that has no mirror: refused, and counted. */
static void hsl_test_fault_unknown(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_fltq(test);

	hsl_test_fault_write(hdev, 0, 2);
	hsl_test_fault_write(hdev, 1, ~0u);
	hsl_test_fault_write(hdev, 2, 1);
	hsl_fltq_process(hdev);
	KUNIT_EXPECT_EQ(test, hdev->fltq.seen, 3);
	KUNIT_EXPECT_EQ(test, hdev->fltq.dropped, 3);
	KUNIT_EXPECT_EQ(test, hsl_test_answer(hdev), HSL_FAULT_RESPONSE(2, HSL_FAULT_REFUSED));
	/* The device knows how far we are. */
	KUNIT_EXPECT_EQ(test, hsl_read(hdev, HSL_REG_FLTQ_HEAD), 3);
}

/* When there are more than the device can have outstanding, the oldest goes back. */
static void hsl_test_fault_overflow(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_fltq(test);
	struct hsl_mirror *m = hsl_test_fault_mirror(test, hdev);
	struct hsl_hw_fault f;
	u32 n;

	hdev->fltq.mirrors[1] = m;
	for (n = 0; n < 1 << HSL_TEST_ORDER; n++)
		hsl_test_fault_write(hdev, n, 1);
	/* This takes all of them over, and the first one out. */
	KUNIT_EXPECT_TRUE(test, hsl_fltq_next(m, &f));
	KUNIT_EXPECT_EQ(test, f.tag, 0);
	KUNIT_EXPECT_EQ(test, hsl_test_answer(hdev), 0);

	scoped_guard(spinlock_irqsave, &hdev->fltq.lock) {
		hsl_test_fault_write(hdev, n, 1);
		hsl_test_fault_write(hdev, n + 1, 1);
		hsl_fltq_drain(hdev, m);
	}
	KUNIT_EXPECT_EQ(test, hsl_test_answer(hdev), HSL_FAULT_RESPONSE(1, HSL_FAULT_RETRY));
	KUNIT_EXPECT_EQ(test, hdev->fltq.dropped, 0);
	for (n = 2; n < 6; n++) {
		KUNIT_EXPECT_TRUE(test, hsl_fltq_next(m, &f));
		KUNIT_EXPECT_EQ(test, f.tag, n);
	}
	KUNIT_EXPECT_FALSE(test, hsl_fltq_next(m, &f));
}

/* What is of another lap, and what comes while the queue is off, is not taken. */
static void hsl_test_fltq_stops(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_fltq(test);
	u32 n;

	for (n = 0; n < 1 << HSL_TEST_ORDER; n++)
		hsl_test_fault_write(hdev, n, 0);
	hdev->fltq.ring[1].lap = 2;
	hsl_fltq_process(hdev);
	KUNIT_EXPECT_EQ(test, hdev->fltq.seen, 1);
	hdev->fltq.ring[1].lap = 1;
	hsl_fltq_process(hdev);
	KUNIT_EXPECT_EQ(test, hdev->fltq.seen, 1 << HSL_TEST_ORDER);

	hdev->fltq.on = false;
	hsl_test_fault_write(hdev, n, 0);
	hsl_fltq_process(hdev);
	KUNIT_EXPECT_EQ(test, hdev->fltq.seen, 1 << HSL_TEST_ORDER);
}

static struct kunit_case hsl_fault_cases[] = {
	KUNIT_CASE(hsl_test_fltq_laps),
	KUNIT_CASE(hsl_test_fault_unknown),
	KUNIT_CASE(hsl_test_fault_overflow),
	KUNIT_CASE(hsl_test_fltq_stops),
	{}
};

static struct kunit_suite hsl_fault_suite = {
	.name = "hsl_fault",
	.test_cases = hsl_fault_cases,
};

kunit_test_suite(hsl_fault_suite);
