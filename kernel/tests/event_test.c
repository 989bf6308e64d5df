// SPDX-License-Identifier: GPL-2.0
/* What a context keeps of the events, and which of them make sense. */
#include "tests/fake.h"

static struct hsl_context *hsl_test_context(struct kunit *test, struct hsl_device *hdev)
{
	struct hsl_context *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->events = kunit_kcalloc(test, HSL_CTX_EVENTS, sizeof(*ctx->events), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->events);
	ctx->hdev = hdev;
	init_waitqueue_head(&ctx->wait);
	return ctx;
}

static bool hsl_test_store(struct hsl_context *ctx, u16 type, u64 addr)
{
	struct hsl_hw_event hw = { .type = type, .addr = addr };

	guard(spinlock)(&ctx->hdev->event_lock);
	return hsl_event_store(ctx, &hw, 5);
}

/* Page faults leave room for queue errors; what is lost is counted, and what was there stays. */
static void hsl_test_event_room(struct kunit *test)
{
	struct hsl_context *ctx = hsl_test_context(test, hsl_fake_device(test));
	unsigned int n;

	for (n = 0; n < HSL_CTX_EVENTS - HSL_CTX_EVENTS_SPARE; n++)
		KUNIT_EXPECT_TRUE(test, hsl_test_store(ctx, HSL_EV_PAGE_FAULT, n));
	KUNIT_EXPECT_FALSE(test, hsl_test_store(ctx, HSL_EV_PAGE_FAULT, n));
	KUNIT_EXPECT_FALSE(test, hsl_test_store(ctx, HSL_EV_LINK, n));
	KUNIT_EXPECT_EQ(test, ctx->ev_lost, 2);
	for (; n < HSL_CTX_EVENTS; n++)
		KUNIT_EXPECT_TRUE(test, hsl_test_store(ctx, HSL_EV_QUEUE_ERROR, n));
	KUNIT_EXPECT_FALSE(test, hsl_test_store(ctx, HSL_EV_QUEUE_ERROR, n));
	KUNIT_EXPECT_EQ(test, ctx->ev_lost, 3);
	KUNIT_EXPECT_EQ(test, ctx->ev_lost_total, 3);
	for (n = 0; n < HSL_CTX_EVENTS; n++) {
		KUNIT_EXPECT_EQ(test, ctx->events[n].addr, n);
		KUNIT_EXPECT_EQ(test, ctx->events[n].queue, 5);
	}

	/* One that was read makes room for a queue error, and not yet for a page fault. */
	ctx->ev_head++;
	KUNIT_EXPECT_FALSE(test, hsl_test_store(ctx, HSL_EV_PAGE_FAULT, 0));
	KUNIT_EXPECT_TRUE(test, hsl_test_store(ctx, HSL_EV_QUEUE_ERROR, 1000));
	KUNIT_EXPECT_EQ(test, ctx->events[0].addr, 1000);
}

/* Of the bits of an access a program sees those that it knows; of a link it is the reason. */
static void hsl_test_event_access(struct kunit *test)
{
	struct hsl_context *ctx = hsl_test_context(test, hsl_fake_device(test));
	struct hsl_hw_event hw = { .type = HSL_EV_PAGE_FAULT, .access = 0xff };

	guard(spinlock)(&ctx->hdev->event_lock);
	hsl_event_store(ctx, &hw, 0);
	hw.type = HSL_EV_LINK;
	hsl_event_store(ctx, &hw, 0);
	KUNIT_EXPECT_EQ(test, ctx->events[0].access, HSL_ACCESS_WRITE | HSL_ACCESS_BACKWARD);
	KUNIT_EXPECT_EQ(test, ctx->events[1].access, 0xff);
}

struct hsl_event_test {
	const char *name;
	struct hsl_hw_event hw;
	bool valid;
};

static const struct hsl_event_test hsl_event_tests[] = {
	{ "page fault", { .type = HSL_EV_PAGE_FAULT, .code = HSL_ST_PAGE_FAULT }, true },
	{ "link error", { .type = HSL_EV_PAGE_FAULT, .code = HSL_ST_LINK_ERROR }, true },
	{ "page fault that was none", { .type = HSL_EV_PAGE_FAULT, .code = HSL_ST_OK }, false },
	{ "unknown status", { .type = HSL_EV_PAGE_FAULT, .code = HSL_ST_NR }, false },
	{ "queue error", { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_CONFIG }, true },
	{ "the last error", { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_PEER }, true },
	{ "no error", { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_NONE }, false },
	{ "unknown error", { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_PEER + 1 }, false },
	{ "no type", { .type = HSL_EV_NONE }, false },
	{ "unknown type", { .type = 0xffff }, false },
	{ "no such queue",
	  { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_BUS, .queue = 4 }, false },
	{ "no such context",
	  { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_BUS, .context = 2 }, false },
	{ "the last of both",
	  { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_BUS, .queue = 3, .context = 1 }, true },
};

KUNIT_ARRAY_PARAM_DESC(hsl_event, hsl_event_tests, name);

static void hsl_test_event_valid(struct kunit *test)
{
	const struct hsl_event_test *t = test->param_value;
	struct hsl_device *hdev = hsl_fake_device(test);

	hdev->limits.nr_queues = 4;
	hdev->limits.nr_contexts = 2;
	KUNIT_EXPECT_EQ(test, hsl_event_valid(hdev, &t->hw), t->valid);
}

/* Only the context that the device names hears of it, and only by a queue that is its own. */
static void hsl_test_event_deliver(struct kunit *test)
{
	struct hsl_device *hdev = hsl_fake_device(test);
	struct hsl_context *ctx = hsl_test_context(test, hdev);
	struct hsl_hw_event hw = { .type = HSL_EV_QUEUE_ERROR, .code = HSL_QERR_BUS };
	struct hsl_queue *q = kunit_kzalloc(test, sizeof(*q), GFP_KERNEL), *queues[2] = { q };
	struct hsl_vector vec = {};

	KUNIT_ASSERT_NOT_NULL(test, q);
	spin_lock_init(&vec.lock);
	hdev->limits.nr_queues = 2;
	hdev->limits.nr_contexts = 2;
	hdev->queues = queues;
	ctx->nr = 1;
	q->ctx = ctx;
	q->id = 9;
	q->vector = &vec;

	KUNIT_EXPECT_NULL(test, hsl_event_deliver(hdev, &hw));
	hw.context = 1;
	hw.queue = 1;
	KUNIT_EXPECT_NULL(test, hsl_event_deliver(hdev, &hw));
	KUNIT_EXPECT_EQ(test, ctx->ev_tail, 0);
	KUNIT_EXPECT_FALSE(test, q->failed);

	hw.queue = 0;
	KUNIT_EXPECT_STREQ(test, hsl_event_deliver(hdev, &hw), "stored");
	KUNIT_EXPECT_EQ(test, ctx->ev_tail, 1);
	KUNIT_EXPECT_EQ(test, ctx->events[0].queue, 9);
	KUNIT_EXPECT_TRUE(test, q->failed);
}

static void hsl_test_no_reset(struct work_struct *work)
{
}

struct hsl_evq_test {
	const char *name;
	u32 tail;
	u32 status;
	const char *why;
};

static const struct hsl_evq_test hsl_evq_tests[] = {
	{ "nothing new", 7, HSL_STATUS_READY },
	{ "it runs ahead", 10, HSL_STATUS_READY, "its event queue runs ahead of its entries" },
	{ "it runs backward", 6, HSL_STATUS_READY, "its event queue runs ahead of its entries" },
	{ "unwritten", 7, HSL_STATUS_READY | HSL_STATUS_EVQ_ERROR,
	  "it cannot write its event queue" },
	{ "unwritten faults", 7, HSL_STATUS_READY | HSL_STATUS_FLTQ_ERROR,
	  "it cannot write its fault queue" },
};

KUNIT_ARRAY_PARAM_DESC(hsl_evq, hsl_evq_tests, name);

/* A device that can no longer tell is reset, once; one that is off the bus is not. */
static void hsl_test_evq_process(struct kunit *test)
{
	const struct hsl_evq_test *t = test->param_value;

	for (unsigned int gone = 0; gone < 2; gone++) {
		struct hsl_device *hdev = hsl_fake_device(test);

		INIT_WORK(&hdev->reset_work, hsl_test_no_reset);
		hsl_write(hdev, HSL_REG_MAGIC, gone ? ~0u : HSL_MAGIC);
		hsl_write(hdev, HSL_REG_EVQ_TAIL, t->tail);
		hsl_write(hdev, HSL_REG_STATUS, t->status);
		hdev->evq.on = true;
		hdev->evq.order = 1;
		hdev->evq.head = 7;
		KUNIT_EXPECT_EQ(test, hsl_evq_pending(hdev), !!t->why);
		KUNIT_EXPECT_FALSE(test, hsl_evq_process(hdev));
		KUNIT_EXPECT_EQ(test, hdev->evq.on, !t->why);
		flush_work(&hdev->reset_work);
		if (t->why && !gone)
			KUNIT_EXPECT_STREQ(test, hdev->reset_why, t->why);
		else
			KUNIT_EXPECT_NULL(test, hdev->reset_why);
		hdev->reset_why = NULL;
		KUNIT_EXPECT_FALSE(test, hsl_evq_process(hdev));
		KUNIT_EXPECT_NULL(test, hdev->reset_why);
	}
}

static struct kunit_case hsl_event_cases[] = {
	KUNIT_CASE(hsl_test_event_room),
	KUNIT_CASE(hsl_test_event_access),
	KUNIT_CASE_PARAM(hsl_test_event_valid, hsl_event_gen_params),
	KUNIT_CASE(hsl_test_event_deliver),
	KUNIT_CASE_PARAM(hsl_test_evq_process, hsl_evq_gen_params),
	{}
};

static struct kunit_suite hsl_event_suite = {
	.name = "hsl_event",
	.test_cases = hsl_event_cases,
};

kunit_test_suite(hsl_event_suite);
