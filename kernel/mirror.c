// SPDX-License-Identifier: GPL-2.0
/*
 * A mirror: page tables for the device that say what those of a process say.
 *
 * They are filled by page faults of the device and emptied by invalidations of
 * the process. Between them stands the usual protocol of
 * mmu_interval_notifier: note the sequence number, look at the process's page
 * tables, take the mirror's lock, and if the number has changed start again.
 *
 * The address space is watched in slices, each with a notifier of its own, so
 * that what a process does in one place does not make faults in another start
 * again. A slice comes with the first fault in it and goes some time after
 * nothing is mapped there any more; a table goes with the last entry in it.
 *
 * An entry of the device's tables that is valid was true when it was written
 * and has been since: whatever changes the process's page, its permissions
 * included, invalidates first. Hence a second fault on a valid entry can at
 * most add the permission to write.
 */
#include <linux/dma-mapping.h>
#include <linux/hmm.h>
#include <linux/hugetlb_inline.h>
#include <linux/iopoll.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

#include "compat.h"
#include "mirror.h"
#include "trace.h"

#define HSL_INV_TIMEOUT_US	(1 * USEC_PER_SEC)

/* How long a fault that meets one invalidation after the other is tried */
#define HSL_FAULT_TIMEOUT	HZ
#define HSL_FAULT_ROUNDS	8

/* A table, and what the device need not know of it */
struct hsl_table {
	u64 *entry;
	dma_addr_t dma;
	unsigned int used;		/* valid entries */
	struct hsl_table **child;	/* not in the last one */
};

struct hsl_slice {
	struct mmu_interval_notifier mn;
	struct hsl_mirror *m;
	unsigned int used;	/* of its blocks: something is mapped; hsl_mirror.lock */
};

/* What is to be mapped for one fault, within a block of 2 MiB */
struct hsl_window {
	unsigned long addr;	/* that faulted */
	unsigned long want;	/* from addr to here pages are faulted in, */
	unsigned long start;	/* from here */
	unsigned long end;	/* to here those are taken that are there */
	unsigned long ahead;	/* to here the operation goes on, beyond the block */
	struct hsl_stream *stream;
	struct hsl_import *import;	/* a dma-buf is mapped there, */
	unsigned long pgoff;	/* at start this page of it */
	bool write;
	bool tried;		/* the next page fault has been waited for already */
	unsigned long done;	/* mapped without a gap, from addr to here */
	struct hsl_table *spare[HSL_PT_LEVELS - 1];
};

/*
 * Tables
 */

static unsigned int hsl_index(unsigned long addr, unsigned int level)
{
	return addr >> (PAGE_SHIFT + 9 * level) & (HSL_PT_ENTRIES - 1);
}

/* Bytes that one entry of a table of this level stands for */
static unsigned long hsl_span(unsigned int level)
{
	return PAGE_SIZE << 9 * level;
}

static void hsl_table_free(struct hsl_table *t)
{
	if (!t)
		return;
	free_page((unsigned long)t->entry);
	kfree(t->child);
	kfree(t);
}

/* Known to the device only when it is linked. */
static struct hsl_table *hsl_table_alloc(unsigned int level)
{
	struct hsl_table *t;

	t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return NULL;
	t->entry = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (level)
		t->child = kcalloc(HSL_PT_ENTRIES, sizeof(*t->child), GFP_KERNEL_ACCOUNT);
	if (!t->entry || (level && !t->child)) {
		hsl_table_free(t);
		return NULL;
	}
	return t;
}

static int hsl_table_map(struct hsl_mirror *m, struct hsl_table *t)
{
	struct device *dev = &m->hdev->pdev->dev;

	t->dma = dma_map_page(dev, virt_to_page(t->entry), 0, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(dev, t->dma))
		return -ENOMEM;
	m->nr_tables++;
	return 0;
}

static void hsl_table_unmap(struct hsl_mirror *m, struct hsl_table *t)
{
	dma_unmap_page(&m->hdev->pdev->dev, t->dma, PAGE_SIZE, DMA_TO_DEVICE);
	m->nr_tables--;
}

/* The table of this level that @addr goes through, or NULL */
static struct hsl_table *hsl_table_find(struct hsl_mirror *m, unsigned long addr,
					unsigned int level)
{
	struct hsl_table *t = m->root;
	unsigned int l;

	lockdep_assert_held(&m->lock);

	for (l = HSL_PT_LEVELS - 1; t && l > level; l--)
		t = t->child[hsl_index(addr, l)];
	return t;
}

/* The same, with those that are missing taken from @spare: all, or none is linked. */
static struct hsl_table *hsl_table_get(struct hsl_mirror *m, unsigned long addr,
				       unsigned int level, struct hsl_table **spare)
{
	unsigned int top = level, l, i;
	struct hsl_table *t;

	lockdep_assert_held(&m->lock);

	for (; !hsl_table_find(m, addr, top); top++)
		if (!spare[top])
			return ERR_PTR(-EAGAIN);
	for (l = level; l < top; l++) {
		if (!hsl_table_map(m, spare[l]))
			continue;
		while (l-- > level)
			hsl_table_unmap(m, spare[l]);
		return ERR_PTR(-ENOMEM);
	}

	t = hsl_table_find(m, addr, top);
	for (l = top; l-- > level; t = t->child[i]) {
		i = hsl_index(addr, l + 1);
		t->child[i] = spare[l];
		spare[l] = NULL;
		t->used++;
		/* Zeros before the way to them. */
		dma_wmb();
		WRITE_ONCE(t->entry[i], t->child[i]->dma | HSL_PTE_VALID);
	}
	return t;
}

/* What hsl_table_get() will want. Not under the lock: may wait for memory. */
static int hsl_table_prepare(struct hsl_mirror *m, unsigned long addr, struct hsl_table **spare)
{
	unsigned int level;
	bool missing;

	for (level = 0; level < HSL_PT_LEVELS - 1; level++) {
		scoped_guard(mutex, &m->lock)
			missing = !hsl_table_find(m, addr, level);
		if (!missing)
			return 0;
		if (!spare[level])
			spare[level] = hsl_table_alloc(level);
		if (!spare[level])
			return -ENOMEM;
	}
	return 0;
}

/*
 * Pages
 */

#define HSL_PAGE_NOT_NOW	HSL_PTE_VALID

/* Where @page is for the device, without HSL_PTE_VALID; 0: it cannot go there; HSL_PAGE_NOT_NOW */
static u64 hsl_page_map(struct hsl_mirror *m, struct page *page, unsigned long size)
{
	struct device *dev = &m->hdev->pdev->dev;
	u64 offset, owner = 0;
	dma_addr_t dma;

	if (hsl_memory_offset(m->hdev, page, &offset) ||
	    hsl_memory_of_peer(m->hdev, page, &owner, &offset))
		return IS_ALIGNED(offset, size) ? offset | HSL_PTE_LEAF | HSL_PTE_LOCAL | owner : 0;
	/* Memory of another device: nothing says that this one reaches it. */
	if (is_device_private_page(page) || is_device_coherent_page(page) ||
	    is_pci_p2pdma_page(page))
		return 0;

	dma = dma_map_page_attrs(dev, page, 0, size, DMA_BIDIRECTIONAL, HSL_DMA_ATTRS);
	if (dma_mapping_error(dev, dma))
		return HSL_PAGE_NOT_NOW;
	if (!IS_ALIGNED(dma, size) || (dma & ~HSL_PTE_ADDR)) {
		dma_unmap_page_attrs(dev, dma, size, DMA_BIDIRECTIONAL, HSL_DMA_ATTRS);
		return 0;
	}
	return dma | HSL_PTE_LEAF;
}

static void hsl_page_unmap(struct hsl_mirror *m, u64 pte, unsigned long size)
{
	/* What is imported, the exporter has mapped. */
	if (!(pte & (HSL_PTE_LOCAL | HSL_PTE_SOFT)))
		dma_unmap_page_attrs(&m->hdev->pdev->dev, pte & HSL_PTE_ADDR, size,
				     DMA_BIDIRECTIONAL, HSL_DMA_ATTRS);
}

/*
 * The device writes without leaving a mark in the process's page tables. Memory
 * that is swapped, or freed lazily, must not be taken for clean then; whoever
 * cleans it later invalidates first. Files have been told by the write fault.
 */
static void hsl_page_dirty(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (!folio_test_dirty(folio) && (folio_test_anon(folio) || folio_test_swapbacked(folio)))
		folio_mark_dirty(folio);
}

/*
 * Invalidation
 */

/* The device did not obey: keep it off the bus, and reset it when that can be. */
static void hsl_mirror_lost(struct hsl_mirror *m)
{
	struct hsl_device *hdev = m->hdev;

	dev_err(&hdev->pdev->dev, "an invalidation does not end, bus mastering is off\n");
	pci_clear_master(hdev->pdev);
	m->lost = true;
	hsl_device_reset_later(hdev, "an invalidation did not end");
}

/* On return the device uses nothing that the tables said before. */
static void hsl_mirror_flush(struct hsl_mirror *m, unsigned long start, unsigned long last)
{
	void __iomem *reg = m->hdev->ctrl + HSL_REG_INV(m->ctx->nr);
	u32 status;

	lockdep_assert_held(&m->lock);

	if (m->lost)
		return;
	writeq(start, reg + HSL_INV_START);
	writeq(last, reg + HSL_INV_LAST);
	/* All ones: it is gone. May be called where nothing sleeps. */
	if (readl_poll_timeout_atomic(reg + HSL_INV_STATUS, status,
				      !(status & HSL_INV_BUSY) || status == ~0u,
				      1, HSL_INV_TIMEOUT_US))
		hsl_mirror_lost(m);
}

/* First pass: nothing new is found from here on. What was mapped stays noted. */
static bool hsl_block_hide(struct hsl_mirror *m, struct hsl_table *l1, unsigned long start,
			   unsigned long last)
{
	unsigned int i = hsl_index(start, 1), n;
	struct hsl_table *t = l1->child[i];
	bool any = false;

	if (!t) {
		/* A part of a large page: all of it. */
		if (!(l1->entry[i] & HSL_PTE_VALID))
			return false;
		WRITE_ONCE(l1->entry[i], l1->entry[i] & ~HSL_PTE_VALID);
		l1->used--;
		return true;
	}

	for (n = hsl_index(start, 0); n <= hsl_index(last, 0); n++) {
		if (!(t->entry[n] & HSL_PTE_VALID))
			continue;
		WRITE_ONCE(t->entry[n], t->entry[n] & ~HSL_PTE_VALID);
		t->used--;
		any = true;
	}
	if (!t->used) {
		WRITE_ONCE(l1->entry[i], 0);
		l1->used--;
	}
	return any;
}

/* Second pass: what the first one hid is given back. */
static void hsl_block_drop(struct hsl_mirror *m, struct hsl_table *l1, unsigned long start,
			   unsigned long last)
{
	unsigned int i = hsl_index(start, 1), n;
	struct hsl_table *t = l1->child[i];
	u64 pte;

	if (!t) {
		pte = l1->entry[i];
		if (pte && !(pte & HSL_PTE_VALID)) {
			WRITE_ONCE(l1->entry[i], 0);
			hsl_page_unmap(m, pte, HSL_BLOCK_SIZE);
			m->nr_huge--;
		}
		return;
	}

	for (n = hsl_index(start, 0); n <= hsl_index(last, 0); n++) {
		pte = t->entry[n];
		if (!pte || (pte & HSL_PTE_VALID))
			continue;
		WRITE_ONCE(t->entry[n], 0);
		hsl_page_unmap(m, pte, PAGE_SIZE);
		m->nr_small--;
	}
	if (!t->used) {
		l1->child[i] = NULL;
		hsl_table_unmap(m, t);
		hsl_table_free(t);
	}
}

/* The way to the last table of @addr, if nothing is left in it. Returns what the flush must cover. */
static unsigned long hsl_tables_hide(struct hsl_mirror *m, unsigned long addr)
{
	unsigned long span = HSL_BLOCK_SIZE;
	unsigned int level;

	for (level = 1; level < HSL_PT_LEVELS - 1; level++) {
		struct hsl_table *parent = hsl_table_find(m, addr, level + 1);

		if (hsl_table_find(m, addr, level)->used)
			break;
		WRITE_ONCE(parent->entry[hsl_index(addr, level + 1)], 0);
		parent->used--;
		span = hsl_span(level + 1);
	}
	return span;
}

static void hsl_tables_drop(struct hsl_mirror *m, unsigned long addr)
{
	unsigned int level;

	for (level = 1; level < HSL_PT_LEVELS - 1; level++) {
		struct hsl_table *parent = hsl_table_find(m, addr, level + 1);
		struct hsl_table *t = hsl_table_find(m, addr, level);

		if (t->used)
			break;
		parent->child[hsl_index(addr, level + 1)] = NULL;
		hsl_table_unmap(m, t);
		hsl_table_free(t);
	}
}

/* Of this slice only. Waits for the device, and for nobody else. */
static void hsl_mirror_unmap(struct hsl_mirror *m, struct hsl_slice *slice, unsigned long start,
			     unsigned long last)
{
	unsigned long addr, end, span, flush_start = ~0ul, flush_last = 0;
	struct hsl_table *l1;
	unsigned int used;

	lockdep_assert_held(&m->lock);

	/* One for the whole slice */
	l1 = hsl_table_find(m, start, 1);
	if (!l1)
		return;

	used = l1->used;
	for (addr = start; addr <= last && addr >= start; addr = end + 1) {
		end = min(last, addr | ~HSL_BLOCK_MASK);
		if (!hsl_block_hide(m, l1, addr, end))
			continue;
		flush_start = min(flush_start, addr & HSL_BLOCK_MASK);
		flush_last = addr | ~HSL_BLOCK_MASK;
	}
	if (!flush_last)
		return;
	slice->used -= used - l1->used;
	if (!slice->used)
		m->nr_idle++;

	span = hsl_tables_hide(m, start);
	if (span > HSL_BLOCK_SIZE) {
		flush_start = start & ~(span - 1);
		flush_last = start | (span - 1);
	}
	hsl_mirror_flush(m, flush_start, flush_last);

	for (addr = start; addr <= last && addr >= start; addr = end + 1) {
		end = min(last, addr | ~HSL_BLOCK_MASK);
		hsl_block_drop(m, l1, addr, end);
	}
	hsl_tables_drop(m, start);
	m->stats.invalidations++;
}

/* From @first to @last, in whatever slices. */
void hsl_mirror_drop(struct hsl_mirror *m, unsigned long first, unsigned long last)
{
	struct hsl_slice *slice;
	unsigned long index;

	lockdep_assert_held(&m->lock);

	xa_for_each_range(&m->slices, index, slice, first >> HSL_SLICE_SHIFT, last >> HSL_SLICE_SHIFT)
		hsl_mirror_unmap(m, slice, max(first, slice->mn.interval_tree.start),
				 min(last, slice->mn.interval_tree.last));
}

static bool hsl_mirror_invalidate(struct mmu_interval_notifier *mn,
				  const struct mmu_notifier_range *range, unsigned long seq)
{
	struct hsl_slice *slice = container_of(mn, struct hsl_slice, mn);
	struct hsl_mirror *m = slice->m;
	unsigned long start = max(range->start, mn->interval_tree.start);
	unsigned long last = min(range->end - 1, mn->interval_tree.last);
	bool trim;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&m->lock);
	else if (!mutex_trylock(&m->lock))
		return false;

	mmu_interval_set_seq(mn, seq);
	if (!m->dead) {
		trace_hsl_mirror_invalidate(m->ctx, start, last, range->event);
		hsl_mirror_unmap(m, slice, start, last);
	}
	trim = !m->dead && m->nr_idle > HSL_IDLE_SLICES;
	mutex_unlock(&m->lock);

	/* A notifier cannot be removed here. */
	if (trim)
		hsl_mirror_kick(m);
	return true;
}

static const struct mmu_interval_notifier_ops hsl_mirror_ops = {
	.invalidate = hsl_mirror_invalidate,
};

/*
 * Slices. Only the worker adds and removes them, until the mirror is dead.
 */

static void hsl_slice_remove(struct hsl_slice *slice)
{
	mmu_interval_notifier_remove(&slice->mn);
	kfree(slice);
}

/* For the worker, which has the address space in use. */
static struct hsl_slice *hsl_slice_get(struct hsl_mirror *m, unsigned long addr)
{
	unsigned long index = addr >> HSL_SLICE_SHIFT;
	struct hsl_slice *slice;
	int ret;

	slice = xa_load(&m->slices, index);
	if (slice)
		return slice;

	slice = kzalloc(sizeof(*slice), GFP_KERNEL_ACCOUNT);
	if (!slice)
		return ERR_PTR(-ENOMEM);
	slice->m = m;
	ret = xa_reserve(&m->slices, index, GFP_KERNEL_ACCOUNT);
	if (!ret)
		ret = mmu_interval_notifier_insert(&slice->mn, m->mm, index << HSL_SLICE_SHIFT,
						   HSL_SLICE_SIZE, &hsl_mirror_ops);
	if (ret) {
		xa_release(&m->slices, index);
		kfree(slice);
		return ERR_PTR(ret);
	}

	scoped_guard(mutex, &m->lock) {
		if (!m->dead) {
			/* The place was reserved: no memory is needed. */
			xa_store(&m->slices, index, slice, GFP_NOWAIT);
			m->nr_slices++;
			m->nr_idle++;
			return slice;
		}
	}
	xa_release(&m->slices, index);
	hsl_slice_remove(slice);
	return ERR_PTR(-ESHUTDOWN);
}

/* Too many slices with nothing in them? From the worker. */
void hsl_mirror_trim(struct hsl_mirror *m)
{
	struct hsl_slice *slice;
	unsigned long index;
	bool remove;

	if (READ_ONCE(m->nr_idle) <= HSL_IDLE_SLICES)
		return;
	xa_for_each(&m->slices, index, slice) {
		scoped_guard(mutex, &m->lock) {
			if (m->dead)
				return;
			remove = !slice->used;
			if (remove) {
				xa_erase(&m->slices, index);
				m->nr_slices--;
				m->nr_idle--;
			}
		}
		if (remove)
			hsl_slice_remove(slice);
	}
}

/*
 * Page faults of the device
 */

static bool hsl_pfn_serves(unsigned long pfn, bool write)
{
	return pfn & HMM_PFN_VALID && !(pfn & HMM_PFN_ERROR) && (!write || pfn & HMM_PFN_WRITE);
}

/* Has somebody mapped it in the meantime? */
static bool hsl_mirror_has(struct hsl_mirror *m, unsigned long addr, bool write)
{
	u64 need = HSL_PTE_VALID | HSL_PTE_LEAF | (write ? HSL_PTE_WRITE : 0);
	struct hsl_table *t = hsl_table_find(m, addr, 1);
	u64 pte;

	if (!t)
		return false;
	pte = t->entry[hsl_index(addr, 1)];
	if (t->child[hsl_index(addr, 1)])
		pte = t->child[hsl_index(addr, 1)]->entry[hsl_index(addr, 0)];
	return (pte & need) == need;
}

/* Pages are missing here: most likely they are beyond the window as well. */
static void hsl_ahead(struct hsl_mirror *m, const struct hsl_window *w)
{
	unsigned long end = min(w->ahead, w->want + HSL_AHEAD_MAX);

	if (end <= w->want)
		return;
	scoped_guard(spinlock, &m->ahead_lock) {
		if (m->ahead_start < w->want || m->ahead_start > end)
			m->ahead_start = w->want;
		m->ahead_end = end;
		m->ahead_write = w->write;
	}
	hsl_mirror_kick_ahead(m);
}

/*
 * How far around: an access that follows none gets what the kernel gives a CPU
 * that faults on a file. One that goes on where another ended looks ahead, twice
 * as far each time all of it was there, and half as far when it was not. What
 * the operation is known to go on to is faulted in as well, to the end of the
 * block.
 */
static void hsl_window_init(struct hsl_mirror *m, struct hsl_window *w, unsigned long pages)
{
	unsigned long block = w->addr & HSL_BLOCK_MASK, around = HSL_WINDOW_PAGES;
	struct hsl_stream *s;
	unsigned int n;

	w->start = w->addr & ~(around * PAGE_SIZE - 1);
	for (n = 0; n < HSL_STREAMS; n++) {
		s = &m->streams[n];
		if (s->next == w->addr && s->pages) {
			around = s->pages;
			w->start = w->addr;
			break;
		}
	}
	if (n == HSL_STREAMS) {
		n = m->next_stream++ % HSL_STREAMS;
		s = &m->streams[n];
		s->missing = false;
	}
	s->next = 0;
	w->stream = s;

	pages = clamp(pages, 1ul, (TASK_SIZE_MAX - w->addr) >> PAGE_SHIFT);
	w->ahead = w->addr + pages * PAGE_SIZE;
	w->want = min(w->ahead, block + HSL_BLOCK_SIZE);
	w->end = max(min(w->start + around * PAGE_SIZE, block + HSL_BLOCK_SIZE), w->want);
	if (s->missing)
		hsl_ahead(m, w);
}

/* What was wanted is mapped. */
static void hsl_window_done(struct hsl_window *w)
{
	struct hsl_stream *s = w->stream;
	unsigned long pages = (w->end - w->start) >> PAGE_SHIFT;

	s->next = w->done;
	s->pages = w->done >= w->end ? min(2 * pages, HSL_BLOCK_PAGES) : max(pages / 2, 1ul);
}

static void hsl_window_shrink(struct hsl_window *w)
{
	w->start = w->addr;
	w->want = w->addr + PAGE_SIZE;
	w->end = w->want;
	w->ahead = w->want;
}

/* Something is mapped in one more block. */
static void hsl_slice_use(struct hsl_mirror *m, struct hsl_slice *slice)
{
	if (!slice->used++)
		m->nr_idle--;
}

/* One leaf for the whole block, where the process has one. 0: no; 1: done. */
static int hsl_map_huge(struct hsl_mirror *m, struct hsl_slice *slice, struct hsl_window *w)
{
	unsigned long pfn = m->pfns[(w->addr - w->start) >> PAGE_SHIFT];
	unsigned int i = hsl_index(w->addr, 1);
	struct hsl_table *l1;
	struct page *page;
	u64 pte = 0;

	if (w->import || hmm_pfn_to_map_order(pfn) < HSL_BLOCK_SHIFT - PAGE_SHIFT)
		return 0;
	l1 = hsl_table_find(m, w->addr, 1);
	if (l1 && l1->child[i])
		return 0;

	page = hmm_pfn_to_page(pfn) - hsl_index(w->addr, 0);
	if (l1)
		pte = l1->entry[i];
	if (!pte) {
		pte = hsl_page_map(m, page, HSL_BLOCK_SIZE);
		if (!pte || pte == HSL_PAGE_NOT_NOW)
			return 0;
		l1 = hsl_table_get(m, w->addr, 1, w->spare);
		if (IS_ERR(l1)) {
			hsl_page_unmap(m, pte, HSL_BLOCK_SIZE);
			return PTR_ERR(l1);
		}
		l1->used++;
		hsl_slice_use(m, slice);
		m->nr_huge++;
		m->stats.mapped++;
	}
	if (pfn & HMM_PFN_WRITE && !(pte & HSL_PTE_WRITE)) {
		hsl_page_dirty(page);
		pte |= HSL_PTE_WRITE;
	}
	WRITE_ONCE(l1->entry[i], pte | HSL_PTE_VALID);
	w->done = (w->addr & HSL_BLOCK_MASK) + HSL_BLOCK_SIZE;
	return 1;
}

/* In the table @t, or in the one that is got when the page can be mapped. */
static int hsl_map_page(struct hsl_mirror *m, struct hsl_slice *slice, struct hsl_window *w,
			struct hsl_table **t, unsigned long addr)
{
	unsigned long n = (addr - w->start) >> PAGE_SHIFT, pfn = m->pfns[n];
	struct page *page = w->import ? NULL : hmm_pfn_to_page(pfn);
	unsigned int i = hsl_index(addr, 0);
	u64 pte = *t ? (*t)->entry[i] : 0;

	if (!pte) {
		pte = page ? hsl_page_map(m, page, PAGE_SIZE) : hsl_import_pte(w->import, w->pgoff + n, addr);
		if (pte == HSL_PAGE_NOT_NOW)
			return -ENOMEM;
		if (!pte)
			return page && is_device_coherent_page(page) ? -EXDEV : -EFAULT;
		if (!*t) {
			*t = hsl_table_get(m, addr, 0, w->spare);
			if (IS_ERR(*t)) {
				hsl_page_unmap(m, pte, PAGE_SIZE);
				return PTR_ERR(*t);
			}
			hsl_slice_use(m, slice);
		}
		(*t)->used++;
		m->nr_small++;
		m->stats.mapped++;
	}
	if (pfn & HMM_PFN_WRITE && !(pte & HSL_PTE_WRITE)) {
		if (page)
			hsl_page_dirty(page);
		pte |= HSL_PTE_WRITE;
	}
	WRITE_ONCE((*t)->entry[i], pte | HSL_PTE_VALID);
	return 0;
}

/* The page that faulted first, for it must be there; around it what is there. */
static int hsl_map_small(struct hsl_mirror *m, struct hsl_slice *slice, struct hsl_window *w)
{
	struct hsl_table *t = hsl_table_find(m, w->addr, 0), *l1 = hsl_table_find(m, w->addr, 1);
	unsigned long addr;
	int ret;

	/* The process's large page would have to be split without telling. */
	if (WARN_ON_ONCE(!t && l1 && l1->entry[hsl_index(w->addr, 1)]))
		return -EAGAIN;
	ret = hsl_map_page(m, slice, w, &t, w->addr);
	if (ret)
		return ret;

	/*
	 * Bus addresses are handed out from the top down: in this order they
	 * follow each other as the pages do, and the device asks for many at once.
	 */
	w->done = w->end;
	for (addr = w->end; addr > w->start; ) {
		addr -= PAGE_SIZE;
		if (hsl_pfn_serves(m->pfns[(addr - w->start) >> PAGE_SHIFT], false) &&
		    !hsl_map_page(m, slice, w, &t, addr))
			continue;
		if (addr > w->addr)
			w->done = addr;
	}
	return 0;
}

/* HMM takes memory that can be written and not read for memory that cannot be used. */
static bool hsl_vma_allows(struct vm_area_struct *vma, bool write)
{
	return vma && vma->vm_flags & VM_READ && (!write || vma->vm_flags & VM_WRITE);
}

/* No pages, as far as HMM can tell */
static bool hsl_vma_is_raw(struct vm_area_struct *vma)
{
	return vma->vm_flags & (VM_IO | VM_PFNMAP);
}

/* A file that nobody reads ahead: then RETRY_NOWAIT reads, and waits. */
static bool hsl_vma_is_waited_for(struct vm_area_struct *vma)
{
	return vma->vm_file && !vma_is_anonymous(vma) && !is_vm_hugetlb_page(vma) &&
	       !shmem_mapping(vma->vm_file->f_mapping) &&
	       (vma->vm_flags & VM_RAND_READ || !vma->vm_file->f_ra.ra_pages);
}

/*
 * Fault in, for another CPU, what an operation will need next: what waits for a
 * disk or for a program (RETRY_NOWAIT), or fails, is left to the fault that needs
 * it.
 */
static void hsl_ahead_fault_in(struct hsl_mirror *m, unsigned long addr, unsigned long end, bool write)
{
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT |
			     FAULT_FLAG_KILLABLE | (write ? FAULT_FLAG_WRITE : 0);
	struct vm_area_struct *vma = NULL;

	mmap_read_lock(m->mm);
	for (; addr < end && !mmap_lock_is_contended(m->mm); addr += PAGE_SIZE) {
		if (!vma || addr >= vma->vm_end)
			vma = vma_lookup(m->mm, addr);
		if (!hsl_vma_allows(vma, write) || hsl_vma_is_raw(vma) || hsl_vma_is_waited_for(vma) ||
		    check_stable_address_space(m->mm) ||
		    handle_mm_fault(vma, addr, flags, NULL) & (VM_FAULT_ERROR | VM_FAULT_RETRY))
			break;
	}
	mmap_read_unlock(m->mm);
}

void hsl_mirror_ahead_work(struct work_struct *work)
{
	struct hsl_mirror *m = container_of(work, struct hsl_mirror, ahead_work);
	bool alive = mmget_not_zero(m->mm), write;
	unsigned long addr, end;

	while (alive) {
		scoped_guard(spinlock, &m->ahead_lock) {
			addr = m->ahead_start;
			end = min(addr + HSL_AHEAD_STEP, m->ahead_end);
			write = m->ahead_write;
			m->ahead_start = max(addr, end);
		}
		if (addr >= end || READ_ONCE(m->dead))
			break;
		hsl_memory_fault(m->ctx, addr, end);
		hsl_ahead_fault_in(m, addr, end, write);
		cond_resched();
	}
	if (alive)
		mmput_async(m->mm);
	hsl_mirror_put(m);
}

/* 1: look again */
static int hsl_fault_in(struct hsl_mirror *m, struct vm_area_struct *vma, struct hsl_window *w,
			unsigned long addr, bool once, bool *locked)
{
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	vm_fault_t ret;

	if (w->write)
		flags |= FAULT_FLAG_WRITE;
	if (w->tried)
		flags |= FAULT_FLAG_TRIED;
	w->tried = false;
	/* After the first one it may be a large page, and the rest be there. */
	if (!once && !w->stream->missing) {
		w->stream->missing = true;
		hsl_ahead(m, w);
	}

	for (; addr < w->want; addr += PAGE_SIZE) {
		if (hsl_pfn_serves(m->pfns[(addr - w->start) >> PAGE_SHIFT], w->write))
			continue;
		ret = handle_mm_fault(vma, addr, flags, NULL);
		if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) {
			*locked = false;
			w->tried = ret & VM_FAULT_RETRY;
			return 1;
		}
		if (ret & VM_FAULT_ERROR) {
			if (addr == w->addr)
				return vm_fault_to_errno(ret, FOLL_HWPOISON);
			w->want = addr;
			return 1;
		}
		m->stats.faulted_in++;
		if (once || mmap_lock_is_contended(m->mm) || READ_ONCE(m->dead))
			return 1;
		flags &= ~FAULT_FLAG_TRIED;
		cond_resched();
	}
	return 1;
}

/*
 * Is it a dma-buf that has been imported? A private mapping may have copies of it, of
 * which the exporter knows nothing; and may be written where the file may not.
 */
static void hsl_window_import(struct hsl_mirror *m, struct vm_area_struct *vma, struct hsl_window *w)
{
	hsl_import_put(w->import);
	w->import = NULL;
	if (vma->vm_file && vma->vm_flags & VM_MAYSHARE && !list_empty(&m->imports))
		w->import = hsl_import_find(m, vma->vm_file);
	w->pgoff = linear_page_index(vma, w->start);
}

/* What hmm_range_fault() does for others: which pages are there, and which may be written? */
static int hsl_import_look(struct hsl_mirror *m, struct vm_area_struct *vma, struct hsl_window *w)
{
	struct follow_pfnmap_args args = { .vma = vma };
	unsigned long *pfn = m->pfns;

	hsl_window_import(m, vma, w);
	if (!w->import)
		return -EFAULT;
	for (args.address = w->start; args.address < w->end; args.address += PAGE_SIZE, pfn++) {
		*pfn = 0;
		if (follow_pfnmap_start(&args))
			continue;
		*pfn = HMM_PFN_VALID | (args.writable ? HMM_PFN_WRITE : 0);
		follow_pfnmap_end(&args);
	}
	return 0;
}

static int hsl_window_look(struct hsl_mirror *m, struct vm_area_struct *vma, struct hsl_window *w,
			   struct hmm_range *range)
{
	if (hsl_vma_is_raw(vma))
		return hsl_import_look(m, vma, w);
	hsl_window_import(m, vma, w);
	range->start = w->start;
	range->end = w->end;
	return hmm_range_fault(range);
}

/* 0: the page that faulted is there; 1: look again */
static int hsl_mirror_look_locked(struct hsl_mirror *m, struct hsl_window *w,
				  struct hmm_range *range, unsigned int round, bool *locked)
{
	struct vm_area_struct *vma;
	unsigned long addr;
	int ret;

	if (check_stable_address_space(m->mm))
		return -EFAULT;
	vma = vma_lookup(m->mm, w->addr);
	if (!hsl_vma_allows(vma, w->write))
		return -EFAULT;
	w->start = max(w->start, vma->vm_start);
	w->end = min(w->end, vma->vm_end);
	w->want = min(w->want, vma->vm_end);

	ret = hsl_window_look(m, vma, w, range);
	if (ret)
		return ret == -EBUSY ? -EAGAIN : ret;

	for (addr = w->addr; addr < w->want; addr += PAGE_SIZE)
		if (!hsl_pfn_serves(m->pfns[(addr - w->start) >> PAGE_SHIFT], w->write))
			break;
	if (addr == w->want)
		return 0;
	/* Faulted in, and still nothing that a device could use */
	if (round && m->pfns[(w->addr - w->start) >> PAGE_SHIFT] & HMM_PFN_ERROR)
		return -EFAULT;
	/* What goes away again and again is not waited for beyond the first page. */
	if (round >= HSL_FAULT_ROUNDS / 2 && addr > w->addr)
		return 0;
	return hsl_fault_in(m, vma, w, addr, !round, locked);
}

/*
 * What the process's page tables say, after faulting in what is wanted. Page
 * faults are taken here and not by hmm_range_fault(), which keeps mmap_lock
 * meanwhile: it would block the process for as long as a page takes, and refuse
 * those of userfaultfd.
 */
static int hsl_mirror_look(struct hsl_mirror *m, struct hsl_window *w, struct hmm_range *range)
{
	unsigned int round;
	bool locked;
	int ret;

	for (round = 0; round < HSL_FAULT_ROUNDS; round++) {
		if (READ_ONCE(m->dead))
			return -ESHUTDOWN;
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		mmap_read_lock(m->mm);
		locked = true;
		ret = hsl_mirror_look_locked(m, w, range, round, &locked);
		if (locked)
			mmap_read_unlock(m->mm);
		if (ret <= 0)
			return ret;
	}
	return -EAGAIN;
}

/* Nothing has changed since: what was seen is true for the device. */
static int hsl_mirror_commit(struct hsl_mirror *m, struct hsl_slice *slice, struct hsl_window *w,
			     struct hmm_range *range)
{
	int ret;

	guard(mutex)(&m->lock);
	if (m->dead)
		return -ESHUTDOWN;
	if (mmu_interval_read_retry(range->notifier, range->notifier_seq))
		return -EAGAIN;
	ret = hsl_map_huge(m, slice, w);
	if (ret)
		return min(ret, 0);
	return hsl_map_small(m, slice, w);
}

static int hsl_mirror_try(struct hsl_mirror *m, struct hsl_window *w)
{
	struct hmm_range range = { .hmm_pfns = m->pfns };
	struct hsl_slice *slice;
	int ret;

	slice = hsl_slice_get(m, w->addr);
	if (IS_ERR(slice))
		return PTR_ERR(slice);
	ret = hsl_table_prepare(m, w->addr, w->spare);
	if (ret)
		return ret;
	range.notifier = &slice->mn;
	ret = hsl_mirror_look(m, w, &range);
	if (ret)
		return ret;
	if (!w->import)
		return hsl_mirror_commit(m, slice, w, &range);

	ret = hsl_import_lock(w->import);
	if (ret)
		return ret;
	ret = hsl_mirror_commit(m, slice, w, &range);
	hsl_import_unlock(w->import);
	return ret;
}

/*
 * Answers that say nothing new are numbered: the device takes 64 of them for a
 * refusal. So a fault that meets invalidations is tried for a while first.
 */
enum hsl_fault_code hsl_mirror_fault(struct hsl_mirror *m, const struct hsl_hw_fault *f)
{
	struct hsl_window w = {
		.addr = f->addr & PAGE_MASK,
		.write = f->access & HSL_ACCESS_WRITE,
	};
	unsigned long deadline = jiffies + HSL_FAULT_TIMEOUT;
	unsigned int level;
	int ret;

	if (f->addr >= 1ull << HSL_PT_VA_BITS)
		return HSL_FAULT_REFUSED;
	scoped_guard(mutex, &m->lock) {
		if (m->dead)
			return HSL_FAULT_REFUSED;
		m->stats.faults++;
		if (hsl_mirror_has(m, w.addr, w.write))
			return HSL_FAULT_RETRY;
	}

	hsl_window_init(m, &w, f->pages);
	hsl_memory_fault(m->ctx, w.addr, w.want);
	for (;;) {
		ret = hsl_mirror_try(m, &w);
		/* In the memory of another device, which nothing says that this one reaches. */
		if (ret == -EXDEV)
			ret = hsl_memory_fetch(m->ctx, w.addr, w.want);
		if ((ret != -EAGAIN && ret != -ENOMEM && ret != -EBUSY) || time_after(jiffies, deadline))
			break;
		m->stats.conflicts++;
		hsl_window_shrink(&w);
		usleep_range(20, 100);
	}
	for (level = 0; level < ARRAY_SIZE(w.spare); level++)
		hsl_table_free(w.spare[level]);
	hsl_import_put(w.import);
	trace_hsl_mirror_map(m->ctx, w.addr, w.start, w.end, w.write, ret);

	switch (ret) {
	case 0:
		hsl_window_done(&w);
		return HSL_FAULT_RETRY;
	case -EAGAIN:
	case -ENOMEM:
		return HSL_FAULT_RETRY;
	case -EHWPOISON:
		return HSL_FAULT_POISON;
	default:
		return HSL_FAULT_REFUSED;
	}
}

/* In the worker, as for a fault; 0, or an errno of the first page that cannot be had. */
int hsl_mirror_prefetch(struct hsl_mirror *m, unsigned long start, unsigned long end, bool write)
{
	struct hsl_hw_fault f = { .access = write ? HSL_ACCESS_WRITE : 0 };
	unsigned long addr;
	bool there;

	for (addr = start; addr < end; addr += PAGE_SIZE) {
		scoped_guard(mutex, &m->lock) {
			if (m->dead)
				return -ENODEV;
			there = hsl_mirror_has(m, addr, write);
		}
		if (there)
			continue;
		f.addr = addr;
		f.pages = (end - addr) >> PAGE_SHIFT;
		switch (hsl_mirror_fault(m, &f)) {
		case HSL_FAULT_RETRY:
			break;
		case HSL_FAULT_POISON:
			return -EHWPOISON;
		default:
			return READ_ONCE(m->dead) ? -ENODEV : -EFAULT;
		}
		cond_resched();
	}
	return 0;
}

/*
 * The mirror
 */

static void hsl_mirror_free(struct kref *kref)
{
	struct hsl_mirror *m = container_of(kref, struct hsl_mirror, kref);
	struct hsl_slice *slice;
	unsigned long index;

	xa_for_each(&m->slices, index, slice)
		kfree(slice);
	xa_destroy(&m->slices);
	mutex_destroy(&m->lock);
	mmdrop(m->mm);
	hsl_context_put(m->ctx);
	kfree(m->faults);
	kfree(m);
	module_put(THIS_MODULE);
}

void hsl_mirror_put(struct hsl_mirror *m)
{
	kref_put(&m->kref, hsl_mirror_free);
}

struct hsl_mirror *hsl_mirror_create(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_mirror *m;
	int ret;

	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return ERR_PTR(-ENOMEM);
	m->hdev = hdev;
	m->faults = kcalloc(1u << hdev->limits.fltq_order, sizeof(*m->faults), GFP_KERNEL_ACCOUNT);
	m->root = hsl_table_alloc(HSL_PT_LEVELS - 1);
	ret = m->faults && m->root ? hsl_table_map(m, m->root) : -ENOMEM;
	if (ret) {
		hsl_table_free(m->root);
		kfree(m->faults);
		kfree(m);
		return ERR_PTR(ret);
	}

	kref_init(&m->kref);
	mutex_init(&m->lock);
	xa_init_flags(&m->slices, XA_FLAGS_ACCOUNT);
	INIT_LIST_HEAD(&m->wants);
	INIT_LIST_HEAD(&m->imports);
	INIT_WORK(&m->work, hsl_mirror_work);
	spin_lock_init(&m->ahead_lock);
	INIT_WORK(&m->ahead_work, hsl_mirror_ahead_work);
	mmgrab(ctx->mm);
	m->mm = ctx->mm;
	kref_get(&ctx->kref);
	m->ctx = ctx;
	/* The caller's file holds it already. */
	__module_get(THIS_MODULE);
	return m;
}

u64 hsl_mirror_root(struct hsl_mirror *m)
{
	return m->root->dma;
}

static void hsl_tree_free(struct hsl_mirror *m, struct hsl_table *t, unsigned int level)
{
	unsigned int i;

	for (i = 0; i < HSL_PT_ENTRIES; i++) {
		if (level && t->child[i])
			hsl_tree_free(m, t->child[i], level - 1);
		else if (t->entry[i])
			hsl_page_unmap(m, t->entry[i], hsl_span(level));
	}
	hsl_table_unmap(m, t);
	hsl_table_free(t);
	cond_resched();
}

/* The device has stopped using it. Does not wait for a page that the worker waits for. */
void hsl_mirror_destroy(struct hsl_mirror *m)
{
	struct hsl_slice *slice;
	unsigned long index;
	bool busy;

	hsl_fltq_detach(m);
	scoped_guard(mutex, &m->lock)
		m->dead = true;

	/* The worker may still look at them: freed with the mirror. */
	xa_for_each(&m->slices, index, slice)
		mmu_interval_notifier_remove(&slice->mn);
	scoped_guard(mutex, &m->lock) {
		hsl_tree_free(m, m->root, HSL_PT_LEVELS - 1);
		m->root = NULL;
	}
	hsl_imports_end(m);

	/* What it holds counts as the user's: let it end if it can. */
	read_poll_timeout(hsl_mirror_busy, busy, !busy, 50, HSL_IDLE_TIMEOUT_US, false, m);
	hsl_mirror_put(m);
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/mirror_test.c"
#endif
