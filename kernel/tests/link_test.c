// SPDX-License-Identifier: GPL-2.0
/* What ports say in sysfs: a text for every value that there is, and for those there are not. */
#include "tests/fake.h"

static char *hsl_test_page(struct kunit *test)
{
	void *page = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	/* sysfs_emit() wants a page of its own; kmalloc() aligns powers of two. */
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_TRUE(test, IS_ALIGNED((unsigned long)page, PAGE_SIZE));
	return page;
}

static void hsl_test_port_texts(struct kunit *test)
{
	char *buf = hsl_test_page(test);
	u32 n;

	for (n = 0; n < HSL_LINK_NR; n++) {
		KUNIT_EXPECT_NOT_NULL(test, hsl_link_states[n]);
		hsl_port_state(n, buf);
		KUNIT_EXPECT_STRNEQ(test, buf, "unknown\n");
	}
	hsl_port_state(HSL_LINK_NR, buf);
	KUNIT_EXPECT_STREQ(test, buf, "unknown\n");
	hsl_port_state(~0u, buf);
	KUNIT_EXPECT_STREQ(test, buf, "unknown\n");

	for (n = 0; n <= HSL_LINK_STARVED; n++) {
		KUNIT_EXPECT_NOT_NULL(test, hsl_link_reasons[n]);
		hsl_port_reason(n, buf);
		KUNIT_EXPECT_STRNEQ(test, buf, "unknown\n");
	}
	hsl_port_reason(ARRAY_SIZE(hsl_link_reasons), buf);
	KUNIT_EXPECT_STREQ(test, buf, "unknown\n");
	hsl_port_reason(~0u, buf);
	KUNIT_EXPECT_STREQ(test, buf, "unknown\n");
}

static void hsl_test_port_numbers(struct kunit *test)
{
	char *buf = hsl_test_page(test);

	hsl_port_neighbour(HSL_NEIGHBOUR_SWITCH, buf);
	KUNIT_EXPECT_STREQ(test, buf, "switch\n");
	hsl_port_neighbour(5 | 3 << 8, buf);
	KUNIT_EXPECT_STREQ(test, buf, "node 5 port 3\n");
	hsl_port_enabled(0, buf);
	KUNIT_EXPECT_STREQ(test, buf, "0\n");
	hsl_port_enabled(~0u, buf);
	KUNIT_EXPECT_STREQ(test, buf, "1\n");
}

static struct kunit_case hsl_link_cases[] = {
	KUNIT_CASE(hsl_test_port_texts),
	KUNIT_CASE(hsl_test_port_numbers),
	{}
};

static struct kunit_suite hsl_link_suite = {
	.name = "hsl_link",
	.test_cases = hsl_link_cases,
};

kunit_test_suite(hsl_link_suite);
