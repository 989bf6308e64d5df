// SPDX-License-Identifier: GPL-2.0
/* What users may have. */
#include "tests/fake.h"

#define HSL_TEST_UID	KUIDT_INIT(0x7ffffffe)	/* of nobody who is there */

static struct hsl_user *hsl_test_find(kuid_t uid)
{
	guard(mutex)(&hsl_users_lock);
	return hsl_user_find(uid);
}

/* Files: up to the limit, all counted on one account, which goes with the last. */
static void hsl_test_user_contexts(struct kunit *test)
{
	unsigned int max = READ_ONCE(max_contexts_per_user), n;
	struct hsl_user *user, *first;

	KUNIT_ASSERT_GE(test, max, 2);
	first = hsl_user_charge(HSL_TEST_UID);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	for (n = 1; n < max; n++) {
		user = hsl_user_charge(HSL_TEST_UID);
		KUNIT_EXPECT_PTR_EQ(test, user, first);
	}
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(hsl_user_charge(HSL_TEST_UID)), -EMFILE);
	KUNIT_EXPECT_EQ(test, first->contexts, max);
	/* Somebody else has limits of his own. */
	user = hsl_user_charge(KUIDT_INIT(0x7ffffffd));
	KUNIT_EXPECT_FALSE(test, IS_ERR(user) || user == first);
	if (!IS_ERR(user))
		hsl_user_uncharge(user);

	hsl_user_uncharge(first);
	KUNIT_EXPECT_PTR_EQ(test, hsl_user_charge(HSL_TEST_UID), first);
	for (n = 0; n < max; n++) {
		KUNIT_EXPECT_PTR_EQ(test, hsl_test_find(HSL_TEST_UID), first);
		hsl_user_uncharge(first);
	}
	KUNIT_EXPECT_NULL(test, hsl_test_find(HSL_TEST_UID));
}

/* Each kind is counted by itself. */
static void hsl_test_user_quotas(struct kunit *test)
{
	struct hsl_user *user = kunit_kzalloc(test, sizeof(*user), GFP_KERNEL);
	unsigned int kind, other;

	KUNIT_ASSERT_NOT_NULL(test, user);
	for (kind = 0; kind < HSL_NR_QUOTAS; kind++) {
		KUNIT_EXPECT_NOT_NULL(test, hsl_quotas[kind]);
		KUNIT_EXPECT_EQ(test, hsl_user_take(user, kind), 0);
		for (other = 0; other < HSL_NR_QUOTAS; other++)
			KUNIT_EXPECT_EQ(test, user->used[other], other == kind);
		hsl_user_give_back(user, kind);
		KUNIT_EXPECT_EQ(test, user->used[kind], 0);
	}
}

static struct kunit_case hsl_context_cases[] = {
	KUNIT_CASE(hsl_test_user_contexts),
	KUNIT_CASE(hsl_test_user_quotas),
	{}
};

static struct kunit_suite hsl_context_suite = {
	.name = "hsl_context",
	.test_cases = hsl_context_cases,
};

kunit_test_suite(hsl_context_suite);
