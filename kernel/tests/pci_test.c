// SPDX-License-Identifier: GPL-2.0
/* What a device may report, and what is made of it. No device of ours reports nonsense. */
#include "tests/fake.h"

#define HSL_TEST_MEM	(64ull << 20)

struct hsl_limits_test {
	const char *name;
	struct hsl_fake_value change;
	int ret;
};

#define HSL_LIMITS_TEST(_name, _reg, _val, _ret) \
	{ .name = _name, .change = HSL_FAKE_REG(_reg, _val), .ret = _ret }
#define HSL_LIMITS_TEST64(_name, _reg, _val, _ret) \
	{ .name = _name, .change = HSL_FAKE_REG64(_reg, _val), .ret = _ret }

#define HSL_TEST_CAPS	(HSL_CAP_XLATE_DEVICE | HSL_CAP_MEM | HSL_CAP_LINK)
#define HSL_TEST_OPS	(BIT_ULL(HSL_OP_NOP) | BIT_ULL(HSL_OP_SIGNAL))

/* What a device reports that is as it should be. */
static const struct hsl_fake_value hsl_good_device[] = {
	HSL_FAKE_REG(HSL_REG_MAGIC, HSL_MAGIC),
	HSL_FAKE_REG(HSL_REG_VERSION, HSL_VERSION),
	HSL_FAKE_REG(HSL_REG_CAPS, HSL_TEST_CAPS),
	HSL_FAKE_REG(HSL_REG_NR_QUEUES, 16),
	HSL_FAKE_REG(HSL_REG_NR_CONTEXTS, 8),
	HSL_FAKE_REG(HSL_REG_NR_VECTORS, 4),
	HSL_FAKE_REG(HSL_REG_RING_ORDER, 12),
	HSL_FAKE_REG(HSL_REG_MAX_XFER, 1 << 20),
	HSL_FAKE_REG(HSL_REG_EVQ_ORDER_MAX, 8),
	HSL_FAKE_REG(HSL_REG_FLTQ_ORDER_MIN, 6),
	HSL_FAKE_REG(HSL_REG_NODE, 3),
	HSL_FAKE_REG(HSL_REG_FABRIC, 77),
	HSL_FAKE_REG(HSL_REG_NR_PORTS, 2),
	HSL_FAKE_REG64(HSL_REG_OPS, HSL_TEST_OPS),
	HSL_FAKE_REG64(HSL_REG_MEM_SIZE, HSL_TEST_MEM),
};

static const struct hsl_limits_test hsl_limits_tests[] = {
	HSL_LIMITS_TEST("as it is", HSL_REG_MAGIC, HSL_MAGIC, 0),
	HSL_LIMITS_TEST("gone", HSL_REG_MAGIC, ~0u, -EINVAL),
	HSL_LIMITS_TEST("another minor version", HSL_REG_VERSION, HSL_VERSION + 1, 0),
	HSL_LIMITS_TEST("another major version", HSL_REG_VERSION, HSL_VERSION + 0x100, -EINVAL),
	HSL_LIMITS_TEST("no queues", HSL_REG_NR_QUEUES, 0, -EINVAL),
	HSL_LIMITS_TEST("more queues than doorbells", HSL_REG_NR_QUEUES, 17, -EINVAL),
	HSL_LIMITS_TEST("queues without end", HSL_REG_NR_QUEUES, ~0u, -EINVAL),
	HSL_LIMITS_TEST("no contexts", HSL_REG_NR_CONTEXTS, 0, -EINVAL),
	HSL_LIMITS_TEST("the most contexts", HSL_REG_NR_CONTEXTS, HSL_MAX_CONTEXTS, 0),
	HSL_LIMITS_TEST("more contexts", HSL_REG_NR_CONTEXTS, HSL_MAX_CONTEXTS + 1, -EINVAL),
	HSL_LIMITS_TEST("no vectors", HSL_REG_NR_VECTORS, 0, -EINVAL),
	HSL_LIMITS_TEST("more vectors than PCI has", HSL_REG_NR_VECTORS, 2049, -EINVAL),
	HSL_LIMITS_TEST("no ring", HSL_REG_RING_ORDER, 0, -EINVAL),
	HSL_LIMITS_TEST("a ring of all", HSL_REG_RING_ORDER, 32, -EINVAL),
	HSL_LIMITS_TEST("no transfers", HSL_REG_MAX_XFER, 0, -EINVAL),
	HSL_LIMITS_TEST("no event queue", HSL_REG_EVQ_ORDER_MAX, 0, -EINVAL),
	HSL_LIMITS_TEST("an event queue of all", HSL_REG_EVQ_ORDER_MAX, 32, -EINVAL),
	HSL_LIMITS_TEST("the smallest fault queue", HSL_REG_FLTQ_ORDER_MIN, 1, 0),
	HSL_LIMITS_TEST("a fault queue of one", HSL_REG_FLTQ_ORDER_MIN, 0, -EINVAL),
	HSL_LIMITS_TEST("the largest fault queue", HSL_REG_FLTQ_ORDER_MIN, 11, 0),
	HSL_LIMITS_TEST("a larger fault queue", HSL_REG_FLTQ_ORDER_MIN, 12, -EINVAL),
	HSL_LIMITS_TEST("a fault queue of all", HSL_REG_FLTQ_ORDER_MIN, ~0u, -EINVAL),
	HSL_LIMITS_TEST("a node too many", HSL_REG_NODE, HSL_MAX_NODES, -EINVAL),
	HSL_LIMITS_TEST("no node", HSL_REG_NODE, HSL_NODE_NONE, -EINVAL),
	HSL_LIMITS_TEST("a port too many", HSL_REG_NR_PORTS, HSL_MAX_PORTS + 1, -EINVAL),
	HSL_LIMITS_TEST64("no operations", HSL_REG_OPS, 0, -EINVAL),
	HSL_LIMITS_TEST64("as much memory as its BAR", HSL_REG_MEM_SIZE, HSL_TEST_MEM, 0),
	HSL_LIMITS_TEST64("more memory than its BAR", HSL_REG_MEM_SIZE, HSL_TEST_MEM + 1, -EINVAL),
	HSL_LIMITS_TEST64("no memory", HSL_REG_MEM_SIZE, 0, 0),
};

KUNIT_ARRAY_PARAM_DESC(hsl_limits, hsl_limits_tests, name);

static struct hsl_device *hsl_test_device(struct kunit *test)
{
	struct hsl_device *hdev = hsl_fake_device(test);
	void *regs = (void __force *)hdev->ctrl;
	unsigned int n;

	hdev->ctrl_bar = 0;
	hdev->db_bar = 2;
	hdev->mem_bar = 4;
	hdev->pdev->resource[0] = DEFINE_RES_MEM(0x10000000, HSL_CTRL_BAR_SIZE);
	hdev->pdev->resource[2] = DEFINE_RES_MEM(0x20000000, 16 * HSL_DB_STRIDE);
	hdev->pdev->resource[4] = DEFINE_RES_MEM(0x40000000, HSL_TEST_MEM);
	for (n = 0; n < ARRAY_SIZE(hsl_good_device); n++)
		hsl_fake_set(regs, &hsl_good_device[n]);
	return hdev;
}

static void hsl_test_limits(struct kunit *test)
{
	const struct hsl_limits_test *t = test->param_value;
	struct hsl_device *hdev = hsl_test_device(test);
	struct hsl_limits lim = {};

	hsl_fake_set((void __force *)hdev->ctrl, &t->change);
	KUNIT_EXPECT_EQ(test, hsl_hw_limits(hdev, &lim), t->ret);
}

static void hsl_test_limits_read(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_device(test);
	struct hsl_limits lim = {};

	KUNIT_ASSERT_EQ(test, hsl_hw_limits(hdev, &lim), 0);
	KUNIT_EXPECT_EQ(test, lim.version, HSL_VERSION);
	KUNIT_EXPECT_EQ(test, lim.caps, HSL_TEST_CAPS);
	KUNIT_EXPECT_EQ(test, lim.nr_queues, 16);
	KUNIT_EXPECT_EQ(test, lim.nr_contexts, 8);
	KUNIT_EXPECT_EQ(test, lim.nr_vectors, 4);
	KUNIT_EXPECT_EQ(test, lim.ring_order, 12);
	KUNIT_EXPECT_EQ(test, lim.max_xfer, 1 << 20);
	KUNIT_EXPECT_EQ(test, lim.evq_order, 8);
	/* Twice what the device can have outstanding */
	KUNIT_EXPECT_EQ(test, lim.fltq_order, 7);
	KUNIT_EXPECT_EQ(test, lim.node, 3);
	KUNIT_EXPECT_EQ(test, lim.fabric, 77);
	KUNIT_EXPECT_EQ(test, lim.nr_ports, 2);
	KUNIT_EXPECT_EQ(test, lim.ops, HSL_TEST_OPS);
	KUNIT_EXPECT_EQ(test, lim.mem_size, HSL_TEST_MEM);
}

/* More than we have a use for is not a mistake. */
static void hsl_test_limits_capped(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_device(test);
	struct hsl_limits lim = {};

	hsl_write(hdev, HSL_REG_RING_ORDER, 31);
	hsl_write(hdev, HSL_REG_EVQ_ORDER_MAX, 31);
	KUNIT_ASSERT_EQ(test, hsl_hw_limits(hdev, &lim), 0);
	KUNIT_EXPECT_EQ(test, lim.ring_order, HSL_RING_ORDER_CAP);
	KUNIT_EXPECT_EQ(test, lim.evq_order, HSL_EVQ_ORDER_CAP);
}

/* What it does not have is not looked at. */
static void hsl_test_limits_absent(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_device(test);
	struct hsl_limits lim = {};

	hsl_write(hdev, HSL_REG_CAPS, 0);
	hsl_write(hdev, HSL_REG_FLTQ_ORDER_MIN, ~0u);
	hsl_write(hdev, HSL_REG_NODE, ~0u);
	hsl_write64(hdev, HSL_REG_MEM_SIZE, ~0ull);
	hdev->mem_bar = HSL_BAR_NONE;
	KUNIT_ASSERT_EQ(test, hsl_hw_limits(hdev, &lim), 0);
	KUNIT_EXPECT_EQ(test, lim.fltq_order, 0);
	KUNIT_EXPECT_EQ(test, lim.node, HSL_NODE_NONE);
	KUNIT_EXPECT_EQ(test, lim.mem_size, 0);

	/* And what it has must lie in a BAR. */
	hsl_write(hdev, HSL_REG_CAPS, HSL_CAP_MEM);
	hsl_write64(hdev, HSL_REG_MEM_SIZE, 4096);
	KUNIT_EXPECT_EQ(test, hsl_hw_limits(hdev, &lim), -EINVAL);
}

struct hsl_bar_test {
	const char *name;
	u32 caps;
	u64 ops;
	u32 end;		/* of the registers that it wants */
};

static const struct hsl_bar_test hsl_bar_tests[] = {
	{ "queues", 0, BIT_ULL(HSL_OP_NOP), HSL_REG_Q(16) },
	{ "fault queue", HSL_CAP_XLATE_DEVICE, BIT_ULL(HSL_OP_NOP), HSL_REG_FAULT_RESPONSE + 8 },
	{ "signals", 0, BIT_ULL(HSL_OP_SIGNAL), HSL_REG_SIGNAL(HSL_MAX_SIGNALS) },
};

KUNIT_ARRAY_PARAM_DESC(hsl_bar, hsl_bar_tests, name);

/* The registers of what it has are there. */
static void hsl_test_limits_short_bar(struct kunit *test)
{
	const struct hsl_bar_test *t = test->param_value;
	struct hsl_device *hdev = hsl_test_device(test);
	struct resource *ctrl = &hdev->pdev->resource[0];
	struct hsl_limits lim = {};

	hsl_write(hdev, HSL_REG_CAPS, t->caps);
	hsl_write64(hdev, HSL_REG_OPS, t->ops);
	*ctrl = DEFINE_RES_MEM(0x10000000, t->end);
	KUNIT_EXPECT_EQ(test, hsl_hw_limits(hdev, &lim), 0);
	*ctrl = DEFINE_RES_MEM(0x10000000, t->end - 1);
	KUNIT_EXPECT_EQ(test, hsl_hw_limits(hdev, &lim), -EINVAL);
}

static void hsl_test_bar(struct kunit *test)
{
	struct hsl_device *hdev = hsl_test_device(test);

	KUNIT_EXPECT_TRUE(test, hsl_bar_ok(hdev->pdev, 0));
	KUNIT_EXPECT_FALSE(test, hsl_bar_ok(hdev->pdev, 1));
	KUNIT_EXPECT_FALSE(test, hsl_bar_ok(hdev->pdev, PCI_STD_NUM_BARS));
	KUNIT_EXPECT_FALSE(test, hsl_bar_ok(hdev->pdev, HSL_BAR_NONE));
	hdev->pdev->resource[1] = DEFINE_RES_IO(0x100, 0x100);
	KUNIT_EXPECT_FALSE(test, hsl_bar_ok(hdev->pdev, 1));
}

static struct kunit_case hsl_pci_cases[] = {
	KUNIT_CASE_PARAM(hsl_test_limits, hsl_limits_gen_params),
	KUNIT_CASE(hsl_test_limits_read),
	KUNIT_CASE(hsl_test_limits_capped),
	KUNIT_CASE(hsl_test_limits_absent),
	KUNIT_CASE_PARAM(hsl_test_limits_short_bar, hsl_bar_gen_params),
	KUNIT_CASE(hsl_test_bar),
	{}
};

static struct kunit_suite hsl_pci_suite = {
	.name = "hsl_pci",
	.test_cases = hsl_pci_cases,
};

kunit_test_suite(hsl_pci_suite);
