// SPDX-License-Identifier: GPL-2.0
/* Which mappings of a dma-buf say where in the buffer they begin, and where its memory is. */
#include <kunit/device.h>

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

#ifdef CONFIG_HMM_MIRROR
#define HSL_TEST_IMPORT_PAGES	3

/* An exporter, which says where the memory is and may move it */
static struct sg_table *hsl_test_map_dma(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	dma_addr_t *at = attach->dmabuf->priv;
	struct sg_table *sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);

	if (!sgt || sg_alloc_table(sgt, 1, GFP_KERNEL)) {
		kfree(sgt);
		return ERR_PTR(-ENOMEM);
	}
	sg_dma_address(sgt->sgl) = *at;
	sg_dma_len(sgt->sgl) = attach->dmabuf->size;
	return sgt;
}

static void hsl_test_unmap_dma(struct dma_buf_attachment *attach, struct sg_table *sgt,
			       enum dma_data_direction dir)
{
	sg_free_table(sgt);
	kfree(sgt);
}

static int hsl_test_pin(struct dma_buf_attachment *attach)
{
	return 0;
}

static void hsl_test_unpin(struct dma_buf_attachment *attach)
{
}

static void hsl_test_release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_ops hsl_test_exporter_ops = {
	.pin = hsl_test_pin,
	.unpin = hsl_test_unpin,
	.map_dma_buf = hsl_test_map_dma,
	.unmap_dma_buf = hsl_test_unmap_dma,
	.release = hsl_test_release,
};

/* Its memory at *@at, imported where no device has leaves */
static struct hsl_import *hsl_test_import(struct kunit *test, dma_addr_t *at)
{
	struct hsl_import *im = kunit_kzalloc(test, sizeof(*im), GFP_KERNEL);
	struct device *dev = kunit_device_register(test, "hsl_test_importer");
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	KUNIT_ASSERT_NOT_NULL(test, im);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	im->m = kunit_kzalloc(test, sizeof(*im->m), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, im->m);
	mutex_init(&im->m->lock);
	im->m->dead = true;
	im->dir = DMA_BIDIRECTIONAL;
	im->first = ULONG_MAX;
	info.ops = &hsl_test_exporter_ops;
	info.size = HSL_TEST_IMPORT_PAGES * PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = at;
	im->dmabuf = dma_buf_export(&info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, im->dmabuf);
	im->attach = dma_buf_dynamic_attach(im->dmabuf, dev, &hsl_import_ops, im);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, im->attach);
	return im;
}

static void hsl_test_import_end(struct hsl_import *im)
{
	dma_resv_lock(im->dmabuf->resv, NULL);
	hsl_import_unmap(im);
	dma_resv_unlock(im->dmabuf->resv);
	dma_buf_detach(im->dmabuf, im->attach);
	dma_buf_put(im->dmabuf);
}

/* Where a leaf for page @n would lead, or an errno */
static s64 hsl_test_import_at(struct hsl_import *im, unsigned long n)
{
	s64 ret = hsl_import_lock(im);

	if (ret)
		return ret;
	scoped_guard(mutex, &im->m->lock)
		ret = hsl_import_pte(im, n, n * PAGE_SIZE) & HSL_PTE_ADDR;
	hsl_import_unlock(im);
	return ret;
}

/* The exporter tells that it has moved it, and may add a fence. */
static void hsl_test_import_move(struct kunit *test, struct hsl_import *im, struct dma_fence *fence,
				 enum dma_resv_usage usage)
{
	dma_resv_lock(im->dmabuf->resv, NULL);
	if (fence) {
		KUNIT_EXPECT_EQ(test, dma_resv_reserve_fences(im->dmabuf->resv, 1), 0);
		dma_resv_add_fence(im->dmabuf->resv, fence, usage);
	}
	hsl_import_moved(im->attach);
	dma_resv_unlock(im->dmabuf->resv);
}

/* It is found where it is now, and nowhere behind its end. */
static void hsl_test_import_moves(struct kunit *test)
{
	dma_addr_t at = SZ_1M;
	struct hsl_import *im = hsl_test_import(test, &at);

	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, 2), SZ_1M + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, HSL_TEST_IMPORT_PAGES), 0);
	KUNIT_EXPECT_EQ(test, im->first, 2 * PAGE_SIZE);
	at = SZ_16M;
	hsl_test_import_move(test, im, NULL, 0);
	KUNIT_EXPECT_EQ(test, im->first, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, 2), SZ_16M + 2 * PAGE_SIZE);
	hsl_test_import_end(im);
}

static const char *hsl_test_fence_name(struct dma_fence *fence)
{
	return "hsl_test";
}

static const struct dma_fence_ops hsl_test_fence_ops = {
	.get_driver_name = hsl_test_fence_name,
	.get_timeline_name = hsl_test_fence_name,
};

static DEFINE_SPINLOCK(hsl_test_fence_lock);

static struct dma_fence *hsl_test_fence(struct kunit *test)
{
	struct dma_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fence);
	dma_fence_init(fence, &hsl_test_fence_ops, &hsl_test_fence_lock, dma_fence_context_alloc(1), 1);
	return fence;
}

/* The kernel's own, of a move, is waited for; what others have under way there is not. */
static void hsl_test_import_fences(struct kunit *test)
{
	struct dma_fence *move = hsl_test_fence(test), *others = hsl_test_fence(test);
	dma_addr_t at = SZ_1M;
	struct hsl_import *im = hsl_test_import(test, &at);

	hsl_test_import_move(test, im, others, DMA_RESV_USAGE_WRITE);
	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, 0), SZ_1M);
	hsl_test_import_move(test, im, move, DMA_RESV_USAGE_KERNEL);
	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, 0), -EAGAIN);
	dma_fence_signal(move);
	KUNIT_EXPECT_EQ(test, hsl_test_import_at(im, 0), SZ_1M);
	dma_fence_signal(others);
	dma_fence_put(move);
	dma_fence_put(others);
	hsl_test_import_end(im);
}
#endif

static struct kunit_case hsl_import_cases[] = {
	KUNIT_CASE_PARAM(hsl_test_import_offset, hsl_offset_gen_params),
#ifdef CONFIG_HMM_MIRROR
	KUNIT_CASE(hsl_test_import_moves),
	KUNIT_CASE(hsl_test_import_fences),
#endif
	{}
};

static struct kunit_suite hsl_import_suite = {
	.name = "hsl_import",
	.test_cases = hsl_import_cases,
};

kunit_test_suite(hsl_import_suite);
