// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory in plain PCIe memory mode: the memory BAR belongs to the PCI core's pool
 * (p2pdma), where other drivers and the administrator (sysfs p2pmem/) may take some of
 * it, and a program maps some with mmap() of its device file. Disks and network cards
 * below the same switch read and write it by themselves. Such memory stays where it is:
 * it is not migrated, not copied on write and not inherited by fork.
 *
 * A mapping is an area, one piece of the pool. The area has a reference to each of its
 * pages, and direct I/O under way may have others. Pages are mapped by page faults and not
 * by mmap(), because only then is the mapping known to unmap_mapping_range(): whoever
 * takes an area away clears ->addr, and what has been mapped until then is found.
 */
#include <linux/delay.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>

#include "compat.h"
#include "memory.h"

struct hsl_pcie_area {
	struct list_head node;		/* hsl_memory.areas; map_lock, as all below */
	struct hsl_context *ctx;	/* lives as long as the file that is mapped */
	struct dmem_cgroup_pool_state *pool;
	unsigned int vmas;		/* parts of a mapping that was split; its copy while it moves */
	unsigned long nr_pages;
	void *addr;			/* NULL: taken away */
	unsigned long *clean;		/* by block: it was zeroed */
};

static LIST_HEAD(hsl_pcie_memories);	/* hsl_memory.pcie_node */
static DEFINE_SPINLOCK(hsl_pcie_lock);	/* the list; a leaf */

/* The memory of an HSL device that a page of the pool is in. It is while the page is mapped. */
struct hsl_memory *hsl_pcie_of(struct page *page)
{
	struct hsl_memory *mem;

	if (!is_pci_p2pdma_page(page))
		return NULL;
	guard(spinlock)(&hsl_pcie_lock);
	list_for_each_entry(mem, &hsl_pcie_memories, pcie_node)
		if (page_to_pfn(page) - mem->pfn < mem->nr_pages)
			return mem;
	return NULL;
}

/*
 * Each context has a range of offsets of its own in the file that all of them share, for
 * unmap_mapping_range().
 */
static u64 hsl_pcie_offset(struct hsl_context *ctx)
{
	return HSL_MMAP_MEMORY * (ctx->nr + 1);
}

static u64 hsl_pcie_size(struct hsl_memory *mem)
{
	return (u64)mem->nr_pages << PAGE_SHIFT;
}

static unsigned long hsl_pcie_first(struct hsl_pcie_area *area)
{
	return page_to_pfn(virt_to_page(area->addr)) - area->ctx->hdev->memory->pfn;
}

/*
 * Taking and giving back
 */

/* Pages that have lost their contents stay behind, in nobody's hands. */
static void hsl_pcie_put_pages(struct hsl_memory *mem, unsigned long first, unsigned long nr)
{
	unsigned long n;

	lockdep_assert_held(&mem->map_lock);

	for (n = first; n < first + nr; n++) {
		if (hsl_mem_is_bad(mem, n))
			__set_bit(n % HSL_BLOCK_PAGES, mem->blocks[n / HSL_BLOCK_PAGES].kept);
		else
			put_page(pfn_to_page(mem->pfn + n));
	}
}

static void hsl_pcie_put_kept(struct hsl_memory *mem)
{
	unsigned long n;

	lockdep_assert_held(&mem->map_lock);

	for (n = 0; n < mem->nr_pages; n++)
		if (__test_and_clear_bit(n % HSL_BLOCK_PAGES, mem->blocks[n / HSL_BLOCK_PAGES].kept))
			put_page(pfn_to_page(mem->pfn + n));
}

/* A piece of the pool, with a reference to each page, or NULL */
static void *hsl_pcie_take(struct hsl_memory *mem, unsigned long nr)
{
	unsigned long first, n;
	struct page *page;
	void *addr;

	lockdep_assert_held(&mem->map_lock);

	for (;;) {
		addr = pci_alloc_p2pmem(mem->hdev->pdev, nr << PAGE_SHIFT);
		if (!addr)
			return NULL;
		/* It came with one reference to the pool; each page gives one back. */
		page = virt_to_page(addr);
		percpu_ref_get_many(&hsl_compat_page_pgmap(page)->ref, nr - 1);
		for (n = 0; n < nr; n++)
			set_page_count(page + n, 1);
		first = page_to_pfn(page) - mem->pfn;
		for (n = 0; n < nr && !hsl_mem_is_bad(mem, first + n); n++)
			;
		if (n == nr)
			return addr;
		/* Without those the next one is another. */
		hsl_pcie_put_pages(mem, first, nr);
	}
}

static void hsl_pcie_drop(struct hsl_memory *mem, struct hsl_pcie_area *area)
{
	lockdep_assert_held(&mem->map_lock);

	if (!area->addr)
		return;
	hsl_pcie_put_pages(mem, hsl_pcie_first(area), area->nr_pages);
	area->addr = NULL;
	hsl_mem_uncharge(mem, area->ctx->memory, area->nr_pages, area->pool);
}

/* Nobody comes to a page by a mapping any more. */
static void hsl_pcie_unmap(struct hsl_context *ctx, u64 offset, u64 len)
{
	if (ctx->mapping)
		unmap_mapping_range(ctx->mapping, hsl_pcie_offset(ctx) + offset, len, 1);
}

/* The context is dead: what it has mapped is taken away. Touching it gives SIGBUS. */
void hsl_memory_context_stop(struct hsl_context *ctx)
{
	struct hsl_memory *mem = ctx->hdev->memory;
	struct hsl_pcie_area *area;
	bool any = false;

	lockdep_assert_held(&ctx->lock);

	if (!mem)
		return;
	guard(mutex)(&mem->map_lock);
	list_for_each_entry(area, &mem->areas, node)
		any |= area->ctx == ctx && area->addr;
	if (!any)
		return;
	hsl_pcie_unmap(ctx, 0, HSL_MMAP_MEMORY);
	list_for_each_entry(area, &mem->areas, node)
		if (area->ctx == ctx)
			hsl_pcie_drop(mem, area);
}

static void hsl_pcie_lose_area(struct hsl_memory *mem, struct hsl_pcie_area *area)
{
	unsigned long n;

	lockdep_assert_held(&mem->map_lock);

	if (!area->addr)
		return;
	for (n = 0; n < area->nr_pages; n++)
		if (hsl_mem_is_bad(mem, hsl_pcie_first(area) + n))
			hsl_pcie_unmap(area->ctx, (u64)n << PAGE_SHIFT, PAGE_SIZE);
}

/* Pages have lost their contents: whoever touches one that he has mapped gets SIGBUS. */
void hsl_pcie_lose(struct hsl_memory *mem)
{
	struct hsl_pcie_area *area;

	guard(mutex)(&mem->map_lock);
	list_for_each_entry(area, &mem->areas, node)
		hsl_pcie_lose_area(mem, area);
}

/*
 * Mappings
 */

static void hsl_pcie_vma_open(struct vm_area_struct *vma)
{
	struct hsl_pcie_area *area = vma->vm_private_data;

	guard(mutex)(&area->ctx->hdev->memory->map_lock);
	area->vmas++;
}

static void hsl_pcie_vma_close(struct vm_area_struct *vma)
{
	struct hsl_pcie_area *area = vma->vm_private_data;
	struct hsl_memory *mem = area->ctx->hdev->memory;

	scoped_guard(mutex, &mem->map_lock) {
		if (--area->vmas)
			return;
		list_del(&area->node);
		hsl_pcie_drop(mem, area);
	}
	bitmap_free(area->clean);
	kfree(area);
}

/* All of a block that this mapping has, the page that is missing first */
static vm_fault_t hsl_pcie_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct hsl_pcie_area *area = vma->vm_private_data;
	struct hsl_memory *mem = area->ctx->hdev->memory;
	unsigned long base = hsl_pcie_offset(area->ctx) >> PAGE_SHIFT, n = vmf->pgoff - base;
	unsigned long block = n / HSL_BLOCK_PAGES, start, end, first;
	struct page *page;
	vm_fault_t ret;

	guard(mutex)(&mem->map_lock);
	if (!area->addr || n >= area->nr_pages)
		return VM_FAULT_SIGBUS;
	first = hsl_pcie_first(area);
	if (hsl_mem_is_bad(mem, first + n))
		return VM_FAULT_HWPOISON;
	page = virt_to_page(area->addr);
	start = block * HSL_BLOCK_PAGES;
	end = min(start + HSL_BLOCK_PAGES, area->nr_pages);
	/* Whoever had it before is not to be read. */
	if (!test_bit(block, area->clean)) {
		memset(area->addr + (start << PAGE_SHIFT), 0, (end - start) << PAGE_SHIFT);
		__set_bit(block, area->clean);
	}

	ret = vmf_insert_page(vma, vmf->address & PAGE_MASK, page + n);
	if (ret != VM_FAULT_NOPAGE)
		return ret;
	start = max(start, vma->vm_pgoff - base);
	end = min(end, vma->vm_pgoff - base + vma_pages(vma));
	for (n = start; n < end && ret == VM_FAULT_NOPAGE; n++)
		if (!hsl_mem_is_bad(mem, first + n))
			ret = vmf_insert_page(vma, vma->vm_start + ((base + n - vma->vm_pgoff) << PAGE_SHIFT),
					      page + n);
	return VM_FAULT_NOPAGE;
}

static const struct vm_operations_struct hsl_pcie_vm_ops = {
	.open = hsl_pcie_vma_open,
	.close = hsl_pcie_vma_close,
	.fault = hsl_pcie_fault,
};

static int hsl_pcie_area_fill(struct hsl_memory *mem, struct hsl_pcie_area *area)
{
	struct hsl_context *ctx = area->ctx;
	int ret;

	guard(mutex)(&mem->map_lock);
	/* Whoever stops the context or changes the mode comes to the lock after he has said so. */
	if (READ_ONCE(ctx->dead))
		return -ENODEV;
	if (READ_ONCE(mem->mode) != HSL_MEMORY_PCIE)
		return -EOPNOTSUPP;
	ret = hsl_mem_charge(mem, ctx->memory, area->nr_pages, &area->pool);
	if (ret)
		return ret;
	area->addr = hsl_pcie_take(mem, area->nr_pages);
	if (!area->addr) {
		hsl_mem_uncharge(mem, ctx->memory, area->nr_pages, area->pool);
		return -ENOMEM;
	}
	list_add(&area->node, &mem->areas);
	return 0;
}

int hsl_memory_mmap(struct hsl_context *ctx, struct vm_area_struct *vma)
{
	struct hsl_memory *mem = ctx->hdev->memory;
	struct hsl_pcie_area *area;
	int ret;

	if (vma->vm_pgoff != HSL_MMAP_MEMORY >> PAGE_SHIFT || !(vma->vm_flags & VM_SHARED) ||
	    vma->vm_flags & VM_EXEC)
		return -EINVAL;
	if (!mem || READ_ONCE(mem->mode) != HSL_MEMORY_PCIE)
		return -EOPNOTSUPP;
	if (vma_pages(vma) > mem->nr_pages)
		return -ENOMEM;

	area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	if (!area)
		return -ENOMEM;
	area->ctx = ctx;
	area->vmas = 1;
	area->nr_pages = vma_pages(vma);
	area->clean = bitmap_zalloc(DIV_ROUND_UP(area->nr_pages, HSL_BLOCK_PAGES), GFP_KERNEL_ACCOUNT);
	ret = area->clean ? hsl_pcie_area_fill(mem, area) : -ENOMEM;
	if (ret) {
		bitmap_free(area->clean);
		kfree(area);
		return ret;
	}

	vm_flags_mod(vma, VM_MIXEDMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	/* Prefetchable memory behind a bus. */
	vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
	vma->vm_pgoff = hsl_pcie_offset(ctx) >> PAGE_SHIFT;
	vma->vm_private_data = area;
	vma->vm_ops = &hsl_pcie_vm_ops;
	return 0;
}

/*
 * Modes
 */

/* All of the pool, so that nobody else has or gets any of it; NULL: not within the time */
static void *hsl_pcie_take_all(struct hsl_memory *mem, unsigned long timeout)
{
	unsigned long end = jiffies + timeout;
	void *all;

	scoped_guard(mutex, &mem->map_lock)
		hsl_pcie_put_kept(mem);
	while (!(all = pci_alloc_p2pmem(mem->hdev->pdev, hsl_pcie_size(mem)))) {
		if (time_after(jiffies, end) || fatal_signal_pending(current))
			return NULL;
		fsleep(2 * USEC_PER_MSEC);
	}
	return all;
}

static void hsl_pcie_give_all(struct hsl_memory *mem, void *all)
{
	pci_free_p2pmem(mem->hdev->pdev, all, hsl_pcie_size(mem));
}

/* A reset of the function: nobody uses the memory meanwhile. false: somebody does. */
bool hsl_pcie_suspend(struct hsl_memory *mem)
{
	lockdep_assert_held(&mem->mode_lock);

	mem->all = hsl_pcie_take_all(mem, HSL_MEM_TIMEOUT);
	return mem->all;
}

void hsl_pcie_resume(struct hsl_memory *mem)
{
	lockdep_assert_held(&mem->mode_lock);

	if (mem->all)
		hsl_pcie_give_all(mem, mem->all);
	mem->all = NULL;
}

/* An errno, and in @why the reason. */
int hsl_pcie_add(struct hsl_memory *mem, char *why, size_t len)
{
	struct pci_dev *pdev = mem->hdev->pdev;
	int ret;

	/* What the PCI core would keep until unbind goes with the group. */
	if (!devres_open_group(&pdev->dev, mem, GFP_KERNEL)) {
		strscpy(why, "out of memory", len);
		return -ENOMEM;
	}
	ret = pci_p2pdma_add_resource(pdev, mem->hdev->mem_bar, hsl_pcie_size(mem), 0);
	devres_close_group(&pdev->dev, mem);
	if (ret) {
		devres_release_group(&pdev->dev, mem);
		if (!IS_ENABLED(CONFIG_PCI_P2PDMA))
			strscpy(why, "kernel built without CONFIG_PCI_P2PDMA", len);
		else
			snprintf(why, len, "the PCI core does not take it for peers: %d", ret);
		return ret;
	}
	hsl_mem_region_add(mem);
	scoped_guard(spinlock, &hsl_pcie_lock)
		list_add(&mem->pcie_node, &hsl_pcie_memories);
	pci_p2pmem_publish(pdev, true);
	return 0;
}

/*
 * -EBUSY, and nothing has changed: some of it is in use. @patient: the device goes, and
 * every context has been stopped. What sysfs has mapped is taken away by the PCI core;
 * who has the page for a transfer, or another driver, is waited for.
 */
int hsl_pcie_remove(struct hsl_memory *mem, bool patient)
{
	struct pci_dev *pdev = mem->hdev->pdev;
	void *all;

	lockdep_assert_held(&mem->mode_lock);

	/* Who saw the mode before it changed is through. */
	mutex_lock(&mem->map_lock);
	mutex_unlock(&mem->map_lock);
	pci_p2pmem_publish(pdev, false);
	all = mem->all;
	mem->all = NULL;
	if (!all)
		all = hsl_pcie_take_all(mem, patient ? HSL_MEM_TIMEOUT : 0);
	if (!all && !patient) {
		pci_p2pmem_publish(pdev, true);
		return -EBUSY;
	}
	if (!all)
		dev_warn(&pdev->dev, "waiting for device memory that is in use: a transfer, another driver, or p2pmem/allocate in sysfs\n");
	else
		hsl_pcie_give_all(mem, all);
	scoped_guard(spinlock, &hsl_pcie_lock)
		list_del(&mem->pcie_node);
	devres_release_group(&pdev->dev, mem);
	hsl_mem_region_del(mem);
	return 0;
}
