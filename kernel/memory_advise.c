// SPDX-License-Identifier: GPL-2.0
/*
 * Advice: where memory should be, and what the device will use. What an advice is
 * worth depends on the provider, see struct hsl_advise. What has to be remembered
 * is kept by address in the context, as long as something is mapped there.
 */
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "memory.h"

#define HSL_POPULATE_BATCH	64

/*
 * Preferred location
 */

struct hsl_span {
	unsigned long start, end;
};

/* Where the device is preferred. A range is given up where nothing may be allocated. */
struct hsl_prefer {
	spinlock_t lock;	/* the rest */
	unsigned int nr;
	struct hsl_span span[HSL_MAX_PREFERRED];	/* sorted, apart from each other */
};

/* The first span that ends after @addr */
static unsigned int hsl_prefer_find(struct hsl_prefer *p, unsigned long addr)
{
	unsigned int low = 0, high = p->nr, i;

	lockdep_assert_held(&p->lock);

	while (low < high) {
		i = (low + high) / 2;
		if (p->span[i].end > addr)
			high = i;
		else
			low = i + 1;
	}
	return low;
}

/* @nr spans from @first on become those of @by, for which there is room. */
static void hsl_prefer_replace(struct hsl_prefer *p, unsigned int first, unsigned int nr,
			       const struct hsl_span *by, unsigned int nr_by)
{
	lockdep_assert_held(&p->lock);

	memmove(&p->span[first + nr_by], &p->span[first + nr],
		(p->nr - first - nr) * sizeof(*by));
	memcpy(&p->span[first], by, nr_by * sizeof(*by));
	p->nr += nr_by - nr;
}

static int hsl_prefer_add(struct hsl_prefer *p, unsigned long start, unsigned long end)
{
	struct hsl_span new = { start, end };
	unsigned int first, next;

	guard(spinlock)(&p->lock);
	/* What it touches becomes one with it. */
	first = hsl_prefer_find(p, max(start, 1UL) - 1);
	next = first;
	while (next < p->nr && p->span[next].start <= end)
		next++;
	if (next == first && p->nr == HSL_MAX_PREFERRED)
		return -ENOSPC;
	if (next > first) {
		new.start = min(start, p->span[first].start);
		new.end = max(end, p->span[next - 1].end);
	}
	hsl_prefer_replace(p, first, next - first, &new, 1);
	return 0;
}

static void hsl_prefer_cut(struct hsl_prefer *p, unsigned long start, unsigned long end)
{
	struct hsl_span left[2];
	unsigned int first, next, n = 0;

	guard(spinlock)(&p->lock);
	first = hsl_prefer_find(p, start);
	next = first;
	while (next < p->nr && p->span[next].start < end)
		next++;
	if (next == first)
		return;
	if (p->span[first].start < start)
		left[n++] = (struct hsl_span){ p->span[first].start, start };
	if (p->span[next - 1].end > end)
		left[n++] = (struct hsl_span){ end, p->span[next - 1].end };
	/* In two, and there is no room for the second: it was only advice. */
	n = min(n, HSL_MAX_PREFERRED - p->nr + next - first);
	hsl_prefer_replace(p, first, next - first, left, n);
}

/* The first part of @addr to @end that is preferred. false: there is none. */
static bool hsl_prefer_next(struct hsl_prefer *p, unsigned long addr, unsigned long end, struct hsl_span *part)
{
	unsigned int i;

	guard(spinlock)(&p->lock);
	i = hsl_prefer_find(p, addr);
	if (i == p->nr || p->span[i].start >= end)
		return false;
	part->start = max(addr, p->span[i].start);
	part->end = min(end, p->span[i].end);
	return part->start < part->end;
}

static bool hsl_all_mapped(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);

	for (; addr < end; addr = vma->vm_end) {
		vma = vma_lookup(mm, addr);
		if (!vma)
			return false;
	}
	return true;
}

/* With the address space locked, so that no unmap() comes between the look and the note. */
static int hsl_prefer(struct hsl_context *ctx, unsigned long addr, unsigned long end, bool device)
{
	struct hsl_prefer *p = READ_ONCE(ctx->prefer);
	int ret = 0;

	if (mmap_read_lock_killable(ctx->mm))
		return -EINTR;
	if (!hsl_all_mapped(ctx->mm, addr, end))
		ret = -EFAULT;
	else if (device)
		ret = hsl_prefer_add(p, addr, end);
	else
		hsl_prefer_cut(p, addr, end);
	mmap_read_unlock(ctx->mm);
	return ret;
}

/* Unmapped. Nothing may be waited for here. */
void hsl_memory_forget(struct hsl_context *ctx, unsigned long start, unsigned long end)
{
	struct hsl_prefer *p = READ_ONCE(ctx->prefer);

	if (p && READ_ONCE(p->nr))
		hsl_prefer_cut(p, start, end);
}

/*
 * The device faults on @addr and will go on to @end: create what the process has
 * not touched yet where it prefers it. No lock is held; the caller holds the mm.
 */
void hsl_memory_fault(struct hsl_context *ctx, unsigned long addr, unsigned long end)
{
	struct hsl_prefer *p = READ_ONCE(ctx->prefer);
	struct hsl_span part;

	if (!p || !READ_ONCE(p->nr))
		return;
	for (; hsl_prefer_next(p, addr, end, &part); addr = part.end)
		hsl_mem_place(ctx, part.start, part.end);
}

/*
 * Presence
 */

static int hsl_populate_some(struct mm_struct *mm, unsigned long *addr, unsigned long end, bool *write)
{
	struct page *pages[HSL_POPULATE_BATCH];
	struct vm_area_struct *vma;
	unsigned long stop;
	int locked = 1;
	long n, got;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = vma_lookup(mm, *addr);
	if (!vma) {
		mmap_read_unlock(mm);
		return -EFAULT;
	}
	stop = min3(end, vma->vm_end, *addr + HSL_POPULATE_BATCH * PAGE_SIZE);
	*write = vma->vm_flags & VM_WRITE;
	got = get_user_pages_remote(mm, *addr, (stop - *addr) >> PAGE_SHIFT,
				    FOLL_PCI_P2PDMA | (*write ? FOLL_WRITE : 0), pages, &locked);
	if (locked)
		mmap_read_unlock(mm);
	for (n = 0; n < got; n++)
		put_page(pages[n]);
	if (got <= 0)
		return got ? got : -EFAULT;
	*addr += got << PAGE_SHIFT;
	return 0;
}

/* Fault in what is missing, as a write would if it may be written, and map it for the device. */
static int hsl_populate(struct hsl_context *ctx, unsigned long addr, unsigned long end)
{
	unsigned long start;
	bool write;
	int ret;

	while (addr < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		start = addr;
		ret = hsl_populate_some(ctx->mm, &addr, end, &write);
		if (!ret)
			ret = hsl_sva_map(ctx, start, addr, write);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static int hsl_move_to(struct hsl_context *ctx, const struct hsl_advise *cmd)
{
	struct hsl_migrate move = { .addr = cmd->addr, .len = cmd->len, .where = cmd->where };

	return cmd->where == HSL_WHERE_NONE ? 0 : hsl_mem_move(ctx, &move);
}

static int hsl_advise_preferred(struct hsl_context *ctx, const struct hsl_advise *cmd)
{
	struct hsl_prefer *p;
	u32 sva;

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead)
			return -ENODEV;
		sva = ctx->sva.ops->id;
		if (sva == HSL_SVA_HMM && !ctx->prefer) {
			p = kvzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
			if (!p)
				return -ENOMEM;
			spin_lock_init(&p->lock);
			WRITE_ONCE(ctx->prefer, p);
		}
	}
	/* Nobody asks us when the device meets a page that is missing. */
	if (sva == HSL_SVA_IOMMU)
		return hsl_move_to(ctx, cmd);
	if (cmd->where == HSL_WHERE_DEVICE && !ctx->hdev->memory)
		return -EOPNOTSUPP;
	return hsl_prefer(ctx, cmd->addr, cmd->addr + cmd->len, cmd->where == HSL_WHERE_DEVICE);
}

int hsl_ioctl_advise(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_advise *cmd = ucmd->cmd;
	int ret;

	if (cmd->where > HSL_WHERE_NONE || !hsl_mem_range_ok(ctx, cmd->addr, cmd->len))
		return -EINVAL;

	switch (cmd->advice) {
	case HSL_ADVICE_PREFETCH:
		ret = hsl_move_to(ctx, cmd);
		return ret ? ret : hsl_populate(ctx, cmd->addr, cmd->addr + cmd->len);
	case HSL_ADVICE_PREFERRED:
		return hsl_advise_preferred(ctx, cmd);
	case HSL_ADVICE_ACCESSED_BY:
		if (cmd->where == HSL_WHERE_HOST)
			return -EINVAL;
		if (cmd->where == HSL_WHERE_NONE)
			return 0;
		return hsl_populate(ctx, cmd->addr, cmd->addr + cmd->len);
	default:
		return -EINVAL;
	}
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/memory_advise_test.c"
#endif
