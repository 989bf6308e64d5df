// SPDX-License-Identifier: GPL-2.0
/*
 * SVA provider "hmm": the device walks page tables of its own, which the driver
 * fills from the process's and keeps in step with them (mirror.c). What the
 * device does not find there comes through the fault queue (fault.c) to the
 * worker of the context's mirror, below.
 *
 * Each context has a worker of its own: a page that comes from a slow disk, or
 * from a program that takes its time (userfaultfd, FUSE), delays the context
 * that wants it and nobody else. Nothing waits for a worker either: neither a
 * close nor a reset, for what it waits for may be whoever closes.
 */
#include <linux/dma-mapping.h>
#include <linux/iopoll.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/sched/clock.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>

#include "compat.h"
#include "mirror.h"
#include "trace.h"

#ifdef CONFIG_HMM_MIRROR

/* Contexts of several devices, all waiting for a page, are not too many. */
static struct workqueue_struct *hsl_fault_wq;

/* Each run holds a reference. */
static void hsl_mirror_queue(struct hsl_mirror *m, struct work_struct *work)
{
	kref_get(&m->kref);
	if (!queue_work(hsl_fault_wq, work))
		hsl_mirror_put(m);
}

/* May be called in an interrupt. */
void hsl_mirror_kick(struct hsl_mirror *m)
{
	hsl_mirror_queue(m, &m->work);
}

/* Runs beside the worker. */
void hsl_mirror_kick_ahead(struct hsl_mirror *m)
{
	hsl_mirror_queue(m, &m->ahead_work);
}

bool hsl_mirror_busy(struct hsl_mirror *m)
{
	return work_busy(&m->work) || work_busy(&m->ahead_work);
}

static void hsl_mirror_answer(struct hsl_mirror *m, const struct hsl_hw_fault *f,
			      enum hsl_fault_code code)
{
	trace_hsl_fault_answer(m->ctx, f, code);
	guard(mutex)(&m->lock);
	if (!m->dead)
		hsl_fltq_answer(m->hdev, f->tag, code);
}

static void hsl_mirror_want_put(struct hsl_mirror_want *want)
{
	if (refcount_dec_and_test(&want->refs))
		kfree(want);
}

static struct hsl_mirror_want *hsl_mirror_next_want(struct hsl_mirror *m)
{
	struct hsl_mirror_want *want;

	guard(mutex)(&m->lock);
	want = list_first_entry_or_null(&m->wants, struct hsl_mirror_want, node);
	if (want)
		list_del(&want->node);
	return want;
}

static bool hsl_mirror_serve_want(struct hsl_mirror *m, bool alive)
{
	struct hsl_mirror_want *want = list_empty(&m->wants) ? NULL : hsl_mirror_next_want(m);

	if (!want)
		return false;
	want->ret = alive ? hsl_mirror_prefetch(m, want->start, want->end, want->write) : -ESRCH;
	complete(&want->done);
	hsl_mirror_want_put(want);
	return true;
}

/*
 * The next fault. Where one followed the answer to another closely the next one
 * will too: it is looked for a while, rather than slept for. An interrupt and the
 * wake-up of another CPU take longer than all the rest.
 */
static bool hsl_mirror_next_fault(struct hsl_mirror *m, struct hsl_hw_fault *f, bool first)
{
	u64 start = local_clock();

	if (hsl_fltq_next(m, f)) {
		if (first)
			m->linger = start - m->answered < HSL_LINGER_NS;
		return true;
	}
	while (!first && m->linger && !need_resched() && !READ_ONCE(m->dead)) {
		cpu_relax();
		if (hsl_fltq_next(m, f))
			return true;
		m->linger = local_clock() - start < HSL_LINGER_NS;
	}
	return false;
}

static void hsl_mirror_serve(struct hsl_mirror *m)
{
	struct mem_cgroup *memcg, *old;
	bool alive, first = true;
	struct hsl_hw_fault f;

	/* A process that has ended faults nothing in. */
	alive = mmget_not_zero(m->mm);
	memcg = alive ? get_mem_cgroup_from_mm(m->mm) : NULL;
	old = set_active_memcg(memcg);
	for (; hsl_mirror_next_fault(m, &f, first); first = false) {
		hsl_mirror_answer(m, &f, alive ? hsl_mirror_fault(m, &f) : HSL_FAULT_REFUSED);
		m->answered = local_clock();
		/* Faults may come without end. */
		hsl_mirror_serve_want(m, alive);
		hsl_mirror_trim(m);
	}
	while (hsl_mirror_serve_want(m, alive))
		;
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	hsl_mirror_trim(m);
	/* The end of an address space takes long, and is not for this queue. */
	if (alive)
		mmput_async(m->mm);
}

void hsl_mirror_work(struct work_struct *work)
{
	struct hsl_mirror *m = container_of(work, struct hsl_mirror, work);

	hsl_mirror_serve(m);
	hsl_mirror_put(m);
}

int hsl_hmm_init(void)
{
	hsl_fault_wq = alloc_workqueue("hsl-fault", WQ_UNBOUND | WQ_HIGHPRI, WQ_MAX_ACTIVE);
	return hsl_fault_wq ? 0 : -ENOMEM;
}

/* Mirrors hold the module: what still runs is about to return. */
void hsl_hmm_exit(void)
{
	destroy_workqueue(hsl_fault_wq);
}

/*
 * Device and process share the memory: a DMA layer that copies, or caches that
 * somebody would have to write back, cannot be hidden. Whether it copies is only
 * known once it has mapped something.
 */
static int hsl_hmm_try_dma(struct hsl_device *hdev, char *why, size_t len)
{
	struct device *dev = &hdev->pdev->dev;
	struct page *page;
	dma_addr_t dma;
	bool error;

	page = alloc_page(GFP_KERNEL);
	if (!page)
		return hsl_sva_gate(why, len, "out of memory at probe");
	dma = dma_map_page_attrs(dev, page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL, HSL_DMA_ATTRS);
	error = dma_mapping_error(dev, dma);
	if (!error)
		dma_unmap_page_attrs(dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL, HSL_DMA_ATTRS);
	__free_page(page);

	if (error)
		return hsl_sva_gate(why, len, "the DMA layer maps no page for this device");
	if (!hsl_compat_dma_shared(dev))
		return hsl_sva_gate(why, len, "the DMA layer copies or is not coherent for this device: no swiotlb=force");
	return 0;
}

/*
 * Behind an IOMMU the device wants ATS for bus addresses (HW 3.1). That one is there
 * it knows even where the kernel does not use it: a context that nobody has yet is
 * made valid for a moment. Its tables are not looked at, as it has no queues.
 */
static int hsl_hmm_try_context(struct hsl_device *hdev, char *why, size_t len)
{
	u32 reg = HSL_REG_CTX(0);
	bool valid;

	hsl_write(hdev, reg + HSL_CTX_XLATE, HSL_XLATE_DEVICE);
	hsl_write64(hdev, reg + HSL_CTX_ROOT, 0);
	hsl_write(hdev, reg + HSL_CTX_CTRL, HSL_CTX_VALID);
	valid = hsl_read(hdev, reg + HSL_CTX_CTRL) == HSL_CTX_VALID;
	hsl_write(hdev, reg + HSL_CTX_CTRL, 0);
	if (valid)
		return 0;
	return hsl_sva_gate(why, len, "the device is behind an IOMMU that has ATS off for it: no pci=noats, and intel_iommu=on");
}

static int hsl_hmm_probe(struct hsl_device *hdev, char *why, size_t len)
{
	int ret;

	if (!(hdev->limits.caps & HSL_CAP_XLATE_DEVICE))
		return hsl_sva_gate(why, len, "the device does not offer it");
	if (PAGE_SIZE != 4096)
		return hsl_sva_gate(why, len, "this kernel's pages are not 4 KiB, as the device's are");
	ret = hsl_hmm_try_dma(hdev, why, len);
	return ret ? ret : hsl_hmm_try_context(hdev, why, len);
}

static int hsl_hmm_bind(struct hsl_context *ctx, struct hsl_binding *b, char *why, size_t len)
{
	struct hsl_mirror *m;

	m = hsl_mirror_create(ctx);
	if (IS_ERR(m))
		return PTR_ERR(m);
	b->mirror = m;
	b->xlate = HSL_XLATE_DEVICE;
	b->root = hsl_mirror_root(m);
	return 0;
}

static void hsl_hmm_unbind(struct hsl_context *ctx, struct hsl_binding *b)
{
	hsl_mirror_destroy(b->mirror);
}

static int hsl_mirror_ask(struct hsl_mirror *m, unsigned long start, unsigned long end, bool write)
{
	struct hsl_mirror_want *want;
	int ret;

	want = kzalloc(sizeof(*want), GFP_KERNEL_ACCOUNT);
	if (!want)
		return -ENOMEM;
	refcount_set(&want->refs, 2);
	init_completion(&want->done);
	want->start = start;
	want->end = end;
	want->write = write;
	scoped_guard(mutex, &m->lock)
		list_add_tail(&want->node, &m->wants);
	hsl_mirror_kick(m);

	ret = wait_for_completion_killable(&want->done) ? -EINTR : want->ret;
	hsl_mirror_want_put(want);
	return ret;
}

/* By the worker, to which the tables belong; its faults go first. */
static int hsl_hmm_map(struct hsl_context *ctx, unsigned long start, unsigned long end, bool write)
{
	struct hsl_mirror *m;
	int ret;

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead)
			return -ENODEV;
		if (ctx->sva.ops != &hsl_sva_hmm)
			return 0;
		m = ctx->sva.mirror;
		kref_get(&m->kref);
	}
	ret = hsl_mirror_ask(m, start, end, write);
	hsl_mirror_put(m);
	/* Bound anew meanwhile: there is nothing of it to prepare. */
	return ret == -ENODEV && !READ_ONCE(ctx->dead) ? 0 : ret;
}

/* A worker that is about to end is waited for. */
static bool hsl_hmm_busy(struct hsl_binding *b)
{
	bool busy;

	return read_poll_timeout(hsl_mirror_busy, busy, !busy, 50, HSL_IDLE_TIMEOUT_US, false,
				 b->mirror);
}

static void hsl_hmm_show(struct hsl_binding *b, struct seq_file *s)
{
	struct hsl_mirror *m = b->mirror;

	guard(mutex)(&m->lock);
	seq_printf(s, "hsl-mirror-bytes:\t%lu\n",
		   m->nr_small * PAGE_SIZE + m->nr_huge * HSL_BLOCK_SIZE);
	seq_printf(s, "hsl-mirror-huge-bytes:\t%lu\n", m->nr_huge * HSL_BLOCK_SIZE);
	seq_printf(s, "hsl-mirror-tables:\t%lu\n", m->nr_tables);
	seq_printf(s, "hsl-mirror-slices:\t%u\n", m->nr_slices);
	seq_printf(s, "hsl-mirror-imports:\t%u\n", m->nr_imports);
	seq_printf(s, "hsl-mirror-faults:\t%llu\n", m->stats.faults);
	seq_printf(s, "hsl-mirror-faulted-in:\t%llu\n", m->stats.faulted_in);
	seq_printf(s, "hsl-mirror-conflicts:\t%llu\n", m->stats.conflicts);
	seq_printf(s, "hsl-mirror-invalidations:\t%llu\n", m->stats.invalidations);
}

#else

static int hsl_hmm_probe(struct hsl_device *hdev, char *why, size_t len)
{
	return hsl_sva_gate(why, len, "kernel built without CONFIG_HMM_MIRROR, which another driver's option selects");
}

#endif

const struct hsl_sva_ops hsl_sva_hmm = {
	.name = "hmm",
	.id = HSL_SVA_HMM,
	.probe = hsl_hmm_probe,
#ifdef CONFIG_HMM_MIRROR
	.bind = hsl_hmm_bind,
	.unbind = hsl_hmm_unbind,
	.map = hsl_hmm_map,
	.busy = hsl_hmm_busy,
	.show = hsl_hmm_show,
#endif
};
