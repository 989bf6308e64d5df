// SPDX-License-Identifier: GPL-2.0
/*
 * Advice: where memory should be, and what the device will use. What an advice is
 * worth depends on the provider, see struct hsl_advise. What has to be remembered
 * is kept by address in the context, as long as something is mapped there.
 */
#include <linux/maple_tree.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "memory.h"

#define HSL_POPULATE_BATCH	64

/*
 * Preferred location
 */

static int hsl_prefer(struct hsl_context *ctx, unsigned long addr, unsigned long len, bool device)
{
	return mtree_store_range(&ctx->prefer, addr, addr + len - 1,
				 device ? xa_mk_value(HSL_WHERE_DEVICE) : NULL, GFP_KERNEL_ACCOUNT);
}

/* Unmapped. Nothing may be waited for here. */
void hsl_memory_forget(struct hsl_context *ctx, unsigned long start, unsigned long end)
{
	if (mtree_empty(&ctx->prefer))
		return;
	/* It was only advice. */
	if (mtree_store_range(&ctx->prefer, start, end - 1, NULL, GFP_NOWAIT))
		mtree_destroy(&ctx->prefer);
}

/*
 * The device faults on @addr and will go on to @end: create what the process has
 * not touched yet where it prefers it. No lock is held; the caller holds the mm.
 */
void hsl_memory_fault(struct hsl_context *ctx, unsigned long addr, unsigned long end)
{
	MA_STATE(mas, &ctx->prefer, addr, addr);
	void *where;

	if (mtree_empty(&ctx->prefer))
		return;
	/* Later ranges wait for their own fault. */
	mas_lock(&mas);
	where = mas_walk(&mas);
	end = min(end, mas.last + 1);
	mas_unlock(&mas);
	if (where)
		hsl_mem_place(ctx, addr, end);
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
	u32 sva;

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead)
			return -ENODEV;
		sva = ctx->sva.ops->id;
	}
	/* Nobody asks us when the device meets a page that is missing. */
	if (sva == HSL_SVA_IOMMU)
		return hsl_move_to(ctx, cmd);
	if (cmd->where == HSL_WHERE_DEVICE && !ctx->hdev->memory)
		return -EOPNOTSUPP;
	return hsl_prefer(ctx, cmd->addr, cmd->len, cmd->where == HSL_WHERE_DEVICE);
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
