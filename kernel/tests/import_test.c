// SPDX-License-Identifier: GPL-2.0
/* Which mappings of a dma-buf say where in the buffer they begin. */
#include "tests/fake.h"

struct hsl_offset_test {
	const char *name;
	unsigned long pgoff;
	unsigned long pages;
	u64 size;	/* of the buffer, pages */
	bool ok;
};

static const struct hsl_offset_test hsl_offset_tests[] = {
	{ "all of it", 0, 16, 16, true },
	{ "a part", 8, 8, 16, true },
	{ "beyond its end", 8, 9, 16, false },
	{ "an offset of the driver's own", HSL_DRM_PGOFF, 16, 16, false },
	{ "the same within a large buffer", HSL_DRM_PGOFF, 16, 2 * HSL_DRM_PGOFF, false },
	{ "across 4 GiB", HSL_DRM_PGOFF - 1, 16, 2 * HSL_DRM_PGOFF, true },
};

KUNIT_ARRAY_PARAM_DESC(hsl_offset, hsl_offset_tests, name);

static void hsl_test_import_offset(struct kunit *test)
{
	const struct hsl_offset_test *t = test->param_value;
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vma);
	vma->vm_start = PAGE_SIZE;
	vma->vm_end = vma->vm_start + t->pages * PAGE_SIZE;
	vma->vm_pgoff = t->pgoff;
	KUNIT_EXPECT_EQ(test, hsl_import_offset_ok(vma, t->size << PAGE_SHIFT), t->ok);
}

static struct kunit_case hsl_import_cases[] = {
	KUNIT_CASE_PARAM(hsl_test_import_offset, hsl_offset_gen_params),
	{}
};

static struct kunit_suite hsl_import_suite = {
	.name = "hsl_import",
	.test_cases = hsl_import_cases,
};

kunit_test_suite(hsl_import_suite);
