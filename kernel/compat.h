/* SPDX-License-Identifier: GPL-2.0 */
/* The one place that asks which kernel this is. Oldest: 6.12. */
#ifndef _HSL_COMPAT_H
#define _HSL_COMPAT_H

#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
static inline int hsl_compat_sva_enable(struct device *dev)
{
	int ret;

	ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_IOPF);
	if (ret)
		return ret;

	ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_SVA);
	if (ret)
		iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
	return ret;
}

static inline void hsl_compat_sva_disable(struct device *dev)
{
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_SVA);
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
}
#else
/* The IOMMU drivers do it themselves when the first PASID is attached. */
static inline int hsl_compat_sva_enable(struct device *dev)
{
	return 0;
}

static inline void hsl_compat_sva_disable(struct device *dev)
{
}
#endif

/* Is what was there on its way to another place? */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
#include <linux/swap.h>
#include <linux/swapops.h>

static inline bool hsl_compat_pte_migrates(pte_t pte)
{
	return !pte_none(pte) && !pte_present(pte) && is_migration_entry(pte_to_swp_entry(pte));
}

static inline bool hsl_compat_pmd_migrates(pmd_t pmd)
{
	return is_pmd_migration_entry(pmd);
}
#else
#include <linux/leafops.h>

static inline bool hsl_compat_pte_migrates(pte_t pte)
{
	return softleaf_is_migration(softleaf_from_pte(pte));
}

static inline bool hsl_compat_pmd_migrates(pmd_t pmd)
{
	return pmd_is_migration_entry(pmd);
}
#endif

/* Pages of device memory: one operation table by name, and how they are taken into use. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define HSL_COMPAT_PGMAP_OPS(_name, _free, _failure)				\
	static const struct dev_pagemap_ops _name = {				\
		.page_free = _free,						\
		.memory_failure = _failure,					\
	}

static inline struct dev_pagemap *hsl_compat_page_pgmap(struct page *page)
{
	return page->pgmap;
}

#define hsl_compat_device_folio_init(_page, _pgmap, _order)	zone_device_page_init(_page)
#else
#define HSL_COMPAT_PGMAP_OPS(_name, _free, _failure)				\
	static void _name##_folio_free(struct folio *folio)			\
	{									\
		_free(&folio->page);						\
	}									\
	static const struct dev_pagemap_ops _name = {				\
		.folio_free = _name##_folio_free,				\
		.memory_failure = _failure,					\
	}

static inline struct dev_pagemap *hsl_compat_page_pgmap(struct page *page)
{
	return page_pgmap(page);
}

#define hsl_compat_device_folio_init(_page, _pgmap, _order)	\
	zone_device_folio_init((struct folio *)(_page), _pgmap, _order)
#endif

/*
 * Huge pages of coherent memory: see scripts/linux-patches. Without it core mm takes
 * them for memory on the LRU when they are split.
 */
#if defined(DEVICE_COHERENT_LARGE_FOLIOS) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
#define HSL_COMPAT_HUGE			true
#define HSL_COMPAT_PFN_HUGE		MIGRATE_PFN_COMPOUND
#define HSL_COMPAT_SELECT_HUGE		MIGRATE_VMA_SELECT_COMPOUND

/* In host memory, if there is one at hand; where the policy of @vma wants it. */
static inline struct page *hsl_compat_alloc_huge(struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *folio;

	if (vma)
		folio = vma_alloc_folio(GFP_TRANSHUGE_LIGHT, HPAGE_PMD_ORDER, vma, addr);
	else
		folio = folio_alloc(GFP_TRANSHUGE_LIGHT, HPAGE_PMD_ORDER);
	return folio ? &folio->page : NULL;
}

static inline int hsl_compat_split(struct folio *folio)
{
	return split_folio(folio);
}

/*
 * The last reference to @folio, of @nr pages, is gone. Pages that are free are pages,
 * with nothing left of what they were as part of it.
 */
static inline void hsl_compat_device_folio_undo(struct folio *folio, unsigned int nr)
{
	struct dev_pagemap *pgmap = folio->pgmap;
	struct page *page = &folio->page;
	unsigned int i;

#ifdef NR_PAGES_IN_LARGE_FOLIO
	folio->_nr_pages = 0;
#endif
	for (i = 0; i < nr; i++, page++) {
		page->flags.f &= ~PAGE_FLAGS_CHECK_AT_PREP;
		page->mapping = NULL;
		set_page_private(page, 0);
		atomic_set(&page->_mapcount, -1);
		/* In the word that says whose part the page was. */
		((struct folio *)page)->pgmap = pgmap;
	}
}
#else
#define HSL_COMPAT_HUGE			false
#define HSL_COMPAT_PFN_HUGE		0
#define HSL_COMPAT_SELECT_HUGE		0

static inline struct page *hsl_compat_alloc_huge(struct vm_area_struct *vma, unsigned long addr)
{
	return NULL;
}

static inline int hsl_compat_split(struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline void hsl_compat_device_folio_undo(struct folio *folio, unsigned int nr)
{
}
#endif

/* What folio->mapping is of an anonymous page that is not KSM's. */
#ifdef FOLIO_MAPPING_ANON
#define HSL_COMPAT_MAPPING_ANON		FOLIO_MAPPING_ANON
#define HSL_COMPAT_MAPPING_FLAGS	FOLIO_MAPPING_FLAGS
#else
#define HSL_COMPAT_MAPPING_ANON		PAGE_MAPPING_ANON
#define HSL_COMPAT_MAPPING_FLAGS	PAGE_MAPPING_FLAGS
#endif

/*
 * Can a page of the swap cache go to device memory? From 6.12.49 on core mm takes it
 * out of the cache and then migrates it as if it was there still: the new page is put
 * into the cache in the place of some other, and neither page is ever free again.
 * "mm/migrate_device: clear stale mapping after freeing swapcache" mended that in
 * 6.12.111; 7.3 has it, those between may not.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0) ||				\
	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 111) &&			\
	 LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0))
static inline bool hsl_compat_may_move_in(struct folio *folio)
{
	return true;
}
#else
static inline bool hsl_compat_may_move_in(struct folio *folio)
{
	return !folio_test_swapcache(folio);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define hsl_compat_unbound_wq	system_unbound_wq
#else
#define hsl_compat_unbound_wq	system_dfl_wq
#endif

/* The dmem cgroup. Kernels before 7.3 do without, or have it in another form. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0) && IS_ENABLED(CONFIG_CGROUP_DMEM)
#include <linux/cgroup_dmem.h>

#define hsl_compat_dmem_register(_size, ...)					\
	dmem_cgroup_register_region(&(struct dmem_cgroup_init) { .size = (_size) }, __VA_ARGS__)

static inline void hsl_compat_dmem_unregister(struct dmem_cgroup_region *region)
{
	dmem_cgroup_unregister_region(region);
}

static inline int hsl_compat_dmem_charge(struct dmem_cgroup_region *region, u64 size,
					 struct dmem_cgroup_pool_state **pool)
{
	*pool = NULL;
	return region ? dmem_cgroup_try_charge(region, size, pool, NULL) : 0;
}

static inline void hsl_compat_dmem_uncharge(struct dmem_cgroup_pool_state *pool, u64 size)
{
	dmem_cgroup_uncharge(pool, size);
}
#else
struct dmem_cgroup_region;
struct dmem_cgroup_pool_state;

#define hsl_compat_dmem_register(_size, ...)	((struct dmem_cgroup_region *)NULL)

static inline void hsl_compat_dmem_unregister(struct dmem_cgroup_region *region)
{
}

static inline int hsl_compat_dmem_charge(struct dmem_cgroup_region *region, u64 size,
					 struct dmem_cgroup_pool_state **pool)
{
	*pool = NULL;
	return 0;
}

static inline void hsl_compat_dmem_uncharge(struct dmem_cgroup_pool_state *pool, u64 size)
{
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
/* Memory that process and device share: nothing to write back or to copy. */
#define HSL_DMA_ATTRS	DMA_ATTR_SKIP_CPU_SYNC

/* Does the DMA layer of this device leave memory where it is? */
static inline bool hsl_compat_dma_shared(struct device *dev)
{
#ifdef CONFIG_DMA_NEED_SYNC
	return dev->dma_skip_sync;
#else
	return true;
#endif
}
#else
#define HSL_DMA_ATTRS	(DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_REQUIRE_COHERENT)

static inline bool hsl_compat_dma_shared(struct device *dev)
{
#ifdef CONFIG_DMA_NEED_SYNC
	return dev_dma_skip_sync(dev);
#else
	return true;
#endif
}
#endif

/* dma-buf: how its symbols are named, and what an importer is told by. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define HSL_COMPAT_NS_DMA_BUF	DMA_BUF
#else
#define HSL_COMPAT_NS_DMA_BUF	"DMA_BUF"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
#define hsl_compat_invalidate_mappings	move_notify
#else
#define hsl_compat_invalidate_mappings	invalidate_mappings
#endif

/* Memory of a PCI function as a dma-buf for others: 7.3 does it for the exporter. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0) && IS_ENABLED(CONFIG_PCI_P2PDMA)
#define HSL_COMPAT_P2P
#endif

#endif /* _HSL_COMPAT_H */
