// SPDX-License-Identifier: GPL-2.0
/*
 * The end of an address space comes before the end of its files: a process
 * that exits or executes another program first gives up its memory. The IOMMU
 * then takes the PASID away from under the device. So the queues are told to
 * stop at the same moment, and just before: notifiers run in the reverse order
 * of their registration, and the IOMMU's is older. The rest is left to close().
 *
 * Nothing may be waited for here. It can be the IOMMU's own page request
 * handler that drops the last reference to the address space, so that neither
 * would page requests be answered meanwhile, nor whoever holds the context's
 * lock and waits for that come to an end.
 */
#include <linux/mmu_notifier.h>
#include <linux/slab.h>

#include "hsl.h"

/* Outlives the context by a grace period, which ends where nothing may sleep. */
struct hsl_mm_watch {
	struct mmu_notifier mn;
	spinlock_t lock;	/* ctx */
	struct hsl_context *ctx;	/* NULL once the file is closed */
};

static void hsl_mm_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct hsl_mm_watch *watch = container_of(mn, struct hsl_mm_watch, mn);
	struct hsl_context *ctx;

	scoped_guard(spinlock, &watch->lock) {
		ctx = watch->ctx;
		if (ctx)
			kref_get(&ctx->kref);
	}
	if (!ctx)
		return;
	hsl_queue_halt_all(ctx);
	hsl_context_put(ctx);
}

static void hsl_mm_free(struct mmu_notifier *mn)
{
	kfree(container_of(mn, struct hsl_mm_watch, mn));
}

/* Nothing may be waited for here either. */
static int hsl_mm_invalidate(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct hsl_mm_watch *watch = container_of(mn, struct hsl_mm_watch, mn);

	if (range->event != MMU_NOTIFY_UNMAP)
		return 0;
	guard(spinlock)(&watch->lock);
	if (watch->ctx)
		hsl_memory_forget(watch->ctx, range->start, range->end);
	return 0;
}

static const struct mmu_notifier_ops hsl_mm_ops = {
	.invalidate_range_start = hsl_mm_invalidate,
	.release = hsl_mm_release,
	.free_notifier = hsl_mm_free,
};

/* Current is the opener. Without the context's lock, or after a bind that takes the same lock as this. */
struct hsl_mm_watch *hsl_mm_watch(struct hsl_context *ctx)
{
	struct hsl_mm_watch *watch;
	int ret;

	watch = kzalloc(sizeof(*watch), GFP_KERNEL_ACCOUNT);
	if (!watch)
		return ERR_PTR(-ENOMEM);
	watch->mn.ops = &hsl_mm_ops;
	watch->ctx = ctx;
	spin_lock_init(&watch->lock);

	/* Another thread of the process may have it for as long as a fault of its takes. */
	ret = mmap_write_lock_killable(ctx->mm);
	if (!ret) {
		ret = __mmu_notifier_register(&watch->mn, ctx->mm);
		mmap_write_unlock(ctx->mm);
	}
	if (ret) {
		kfree(watch);
		return ERR_PTR(ret);
	}
	return watch;
}

/* Does not wait for a release that is under way. */
void hsl_mm_unwatch(struct hsl_mm_watch *watch)
{
	if (!watch)
		return;
	scoped_guard(spinlock, &watch->lock)
		watch->ctx = NULL;
	mmu_notifier_put(&watch->mn);
}

/* Before the module goes. */
void hsl_mm_exit(void)
{
	mmu_notifier_synchronize();
}
