// SPDX-License-Identifier: GPL-2.0
/*
 * Imports: dma-bufs of other drivers, at the addresses where a process has mapped them.
 *
 * Such a mapping has no pages that hmm_range_fault() would take, or pages of a device that
 * this one cannot reach by itself. The provider hmm
 * therefore attaches the device to the dma-buf and has the exporter say where its memory
 * is for the device. Which addresses of the process lead there, and what they allow, say
 * the process's page tables, as of all memory: a leaf is written only for a page that
 * the CPU's tables have, so that munmap(), mprotect() and an exporter that takes its
 * mappings away invalidate it like any other (mirror.c).
 *
 * The attachment is dynamic. An exporter that moves the memory tells, under the dma_resv
 * of the dma-buf; the leaves go, and the next fault asks where it is now.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>

#include "compat.h"
#include "mirror.h"

MODULE_IMPORT_NS(HSL_COMPAT_NS_DMA_BUF);

#define HSL_IMPORTS		64	/* of one context */
#define HSL_IMPORT_TIMEOUT	HZ	/* for an exporter that is moving the memory */

DEFINE_FREE(hsl_dma_buf_put, struct dma_buf *, if (!IS_ERR_OR_NULL(_T)) dma_buf_put(_T))

#ifdef CONFIG_HMM_MIRROR

struct hsl_import {
	refcount_t refs;		/* hsl_mirror.imports, a fault under way */
	struct hsl_mirror *m;
	struct dma_buf *dmabuf;		/* referenced */
	struct dma_buf_attachment *attach;
	enum dma_data_direction dir;
	u32 handle;
	struct list_head node;		/* hsl_mirror.lock, as the next two */
	unsigned long first;		/* all leaves are between these addresses */
	unsigned long last;

	bool ended;			/* dma_resv of the dma-buf, as all below */
	bool settled;			/* the exporter has finished moving it */
	struct sg_table *sgt;		/* NULL: not asked yet, or moved since */
	dma_addr_t *pages;
};

void hsl_import_put(struct hsl_import *im)
{
	if (!im || !refcount_dec_and_test(&im->refs))
		return;
	dma_buf_detach(im->dmabuf, im->attach);
	dma_buf_put(im->dmabuf);
	kfree(im);
}

/* That of a mapping with this file, with a reference; NULL: there is none. */
struct hsl_import *hsl_import_find(struct hsl_mirror *m, struct file *file)
{
	struct hsl_import *im;

	guard(mutex)(&m->lock);
	list_for_each_entry(im, &m->imports, node) {
		if (im->dmabuf->file != file)
			continue;
		refcount_inc(&im->refs);
		return im;
	}
	return NULL;
}

/* On return the device uses nothing of it. */
static void hsl_import_unmap(struct hsl_import *im)
{
	struct hsl_mirror *m = im->m;

	dma_resv_assert_held(im->dmabuf->resv);

	scoped_guard(mutex, &m->lock) {
		/* With a dead one the tables have gone, or no device uses them. */
		if (!m->dead && im->first <= im->last)
			hsl_mirror_drop(m, im->first, im->last);
		im->first = ULONG_MAX;
		im->last = 0;
	}
	if (im->sgt)
		dma_buf_unmap_attachment(im->attach, im->sgt, im->dir);
	im->sgt = NULL;
	im->settled = false;
	kvfree(im->pages);
	im->pages = NULL;
}

static void hsl_import_moved(struct dma_buf_attachment *attach)
{
	hsl_import_unmap(attach->importer_priv);
}

static const struct dma_buf_attach_ops hsl_import_ops = {
	.allow_peer2peer = true,
	.hsl_compat_invalidate_mappings = hsl_import_moved,
};

/* Bus addresses by page, for the exporter's list has to be walked from its beginning. */
static int hsl_import_index(struct hsl_import *im)
{
	unsigned long n = 0, nr = im->dmabuf->size >> PAGE_SHIFT;
	struct scatterlist *sg;
	dma_addr_t addr, end;
	int i;

	im->pages = kvcalloc(nr, sizeof(*im->pages), GFP_KERNEL_ACCOUNT);
	if (!im->pages)
		return -ENOMEM;
	for_each_sgtable_dma_sg(im->sgt, sg, i) {
		addr = sg_dma_address(sg);
		end = addr + sg_dma_len(sg);
		if (!PAGE_ALIGNED(addr) || !PAGE_ALIGNED(end) || (end - 1) & ~(HSL_PTE_ADDR | ~PAGE_MASK))
			return -EFAULT;
		for (; addr < end && n < nr; addr += PAGE_SIZE)
			im->pages[n++] = addr;
	}
	return n == nr ? 0 : -EFAULT;
}

static int hsl_import_map(struct hsl_import *im)
{
	struct sg_table *sgt;
	int ret;

	dma_resv_assert_held(im->dmabuf->resv);

	if (im->ended)
		return -EFAULT;
	if (!im->sgt) {
		sgt = dma_buf_map_attachment(im->attach, im->dir);
		if (IS_ERR(sgt))
			return PTR_ERR(sgt);
		im->sgt = sgt;
		ret = hsl_import_index(im);
		if (ret) {
			hsl_import_unmap(im);
			return ret;
		}
	}
	if (!im->settled &&
	    dma_resv_wait_timeout(im->dmabuf->resv, DMA_RESV_USAGE_KERNEL, true, HSL_IMPORT_TIMEOUT) <= 0)
		return -EAGAIN;
	im->settled = true;
	return 0;
}

/* The memory is where hsl_import_pte() says until hsl_import_unlock(); or an errno. */
int hsl_import_lock(struct hsl_import *im)
{
	int ret;

	dma_resv_lock(im->dmabuf->resv, NULL);
	ret = hsl_import_map(im);
	if (ret)
		dma_resv_unlock(im->dmabuf->resv);
	return ret;
}

void hsl_import_unlock(struct hsl_import *im)
{
	dma_resv_unlock(im->dmabuf->resv);
}

/* A leaf for page @n that is about to be written at @addr; 0: the buffer ends before. */
u64 hsl_import_pte(struct hsl_import *im, unsigned long n, unsigned long addr)
{
	lockdep_assert_held(&im->m->lock);
	dma_resv_assert_held(im->dmabuf->resv);

	if (n >= im->dmabuf->size >> PAGE_SHIFT)
		return 0;
	im->first = min(im->first, addr);
	im->last = max(im->last, addr + PAGE_SIZE - 1);
	return im->pages[n] | HSL_PTE_LEAF | HSL_PTE_SOFT;
}

/* It is in no list any more. */
static void hsl_import_end(struct hsl_import *im)
{
	dma_resv_lock(im->dmabuf->resv, NULL);
	im->ended = true;
	hsl_import_unmap(im);
	dma_resv_unlock(im->dmabuf->resv);
	hsl_import_put(im);
}

static int hsl_import_create(struct hsl_mirror *m, struct dma_buf *dmabuf, u32 *handle)
{
	struct hsl_import *im;

	lockdep_assert_held(&m->ctx->lock);

	if (m->nr_imports == HSL_IMPORTS)
		return -ENOSPC;
	im = kzalloc(sizeof(*im), GFP_KERNEL_ACCOUNT);
	if (!im)
		return -ENOMEM;
	refcount_set(&im->refs, 1);
	im->m = m;
	im->dmabuf = dmabuf;
	/* No mapping of a file that is open for reading can be written. */
	im->dir = dmabuf->file->f_mode & FMODE_WRITE ? DMA_BIDIRECTIONAL : DMA_TO_DEVICE;
	im->first = ULONG_MAX;
	im->attach = dma_buf_dynamic_attach(dmabuf, &m->hdev->pdev->dev, &hsl_import_ops, im);
	if (IS_ERR(im->attach)) {
		int ret = PTR_ERR(im->attach);

		dev_info_ratelimited(&m->hdev->dev, "a dma-buf of %s cannot be attached: %d\n",
				     dmabuf->exp_name, ret);
		kfree(im);
		return ret == -ENOMEM ? ret : -EOPNOTSUPP;
	}
	get_dma_buf(dmabuf);
	do {
		*handle = im->handle = ++m->ctx->last_import;
	} while (!im->handle);
	m->nr_imports++;
	guard(mutex)(&m->lock);
	list_add_tail(&im->node, &m->imports);
	return 0;
}

static int hsl_import_forget(struct hsl_mirror *m, u32 handle)
{
	struct hsl_import *im, *found = NULL;

	lockdep_assert_held(&m->ctx->lock);

	scoped_guard(mutex, &m->lock) {
		list_for_each_entry(im, &m->imports, node)
			if (im->handle == handle)
				found = im;
		if (found)
			list_del(&found->node);
	}
	if (!found)
		return -ENOENT;
	m->nr_imports--;
	hsl_import_end(found);
	return 0;
}

/* The mirror is dead, and its tables are gone. */
void hsl_imports_end(struct hsl_mirror *m)
{
	struct hsl_import *im;

	for (;;) {
		scoped_guard(mutex, &m->lock) {
			im = list_first_entry_or_null(&m->imports, struct hsl_import, node);
			if (im)
				list_del(&im->node);
		}
		if (!im)
			return;
		hsl_import_end(im);
	}
}

static struct hsl_mirror *hsl_import_mirror(struct hsl_context *ctx)
{
	return ctx->sva.mirror;
}

#else

static struct hsl_mirror *hsl_import_mirror(struct hsl_context *ctx)
{
	return NULL;
}

static int hsl_import_create(struct hsl_mirror *m, struct dma_buf *dmabuf, u32 *handle)
{
	return -EOPNOTSUPP;
}

static int hsl_import_forget(struct hsl_mirror *m, u32 handle)
{
	return -ENOENT;
}

#endif

/* From where on drivers of graphics map their buffers, to tell them apart in one file */
#define HSL_DRM_PGOFF	((0xffffffffUL >> PAGE_SHIFT) + 1)

/*
 * Does the mapping say where in the buffer it begins? DRM drivers add an offset of
 * their own, from 4 GiB on.
 */
static bool hsl_import_offset_ok(struct vm_area_struct *vma, u64 size)
{
	return vma->vm_pgoff < HSL_DRM_PGOFF && vma->vm_pgoff + vma_pages(vma) <= size >> PAGE_SHIFT;
}

/* Is there a mapping of @dmabuf? 1: one that has to be imported; *@known: whose pages are known. */
static int hsl_import_check(struct hsl_context *ctx, struct dma_buf *dmabuf, u64 addr, u64 len,
			    bool *known)
{
	struct vm_area_struct *vma;
	int ret;

	if (mmap_read_lock_killable(ctx->mm))
		return -EINTR;
	vma = vma_lookup(ctx->mm, addr);
	if (!vma)
		ret = -EFAULT;
	else if (addr + len > vma->vm_end || vma->vm_file != dmabuf->file ||
		 !(vma->vm_flags & VM_MAYSHARE))
		ret = -EINVAL;
	else
		ret = vma->vm_flags & (VM_IO | VM_PFNMAP) || hsl_buf_is_foreign(dmabuf, ctx->hdev);
	*known = vma && hsl_import_offset_ok(vma, dmabuf->size);
	mmap_read_unlock(ctx->mm);
	return ret;
}

/* @handle stays 0 where the provider does not need it. */
static int hsl_import_add(struct hsl_context *ctx, struct dma_buf *dmabuf, bool known, u32 *handle)
{
	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	if (!hsl_import_mirror(ctx))
		return 0;
	return known ? hsl_import_create(hsl_import_mirror(ctx), dmabuf, handle) : -EOPNOTSUPP;
}

static int hsl_import_del(struct hsl_context *ctx, u32 handle)
{
	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	return hsl_import_mirror(ctx) ? hsl_import_forget(hsl_import_mirror(ctx), handle) : -ENOENT;
}

int hsl_ioctl_buf_import(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_buf_import *cmd = ucmd->cmd;
	bool known;
	int ret;

	struct dma_buf *dmabuf __free(hsl_dma_buf_put) = dma_buf_get(cmd->fd);

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (!cmd->len || !PAGE_ALIGNED(cmd->addr | cmd->len) || cmd->len > ctx->mm->task_size ||
	    cmd->addr > ctx->mm->task_size - cmd->len)
		return -EINVAL;
	ret = hsl_import_check(ctx, dmabuf, cmd->addr, cmd->len, &known);
	if (ret < 0)
		return ret;

	cmd->handle = 0;
	if (ret)
		ret = hsl_import_add(ctx, dmabuf, known, &cmd->handle);
	if (ret)
		return ret;
	ret = hsl_ucmd_respond(ucmd);
	/* Another thread may have taken it back already; no other import has its number. */
	if (ret && cmd->handle)
		hsl_import_del(ctx, cmd->handle);
	return ret;
}

int hsl_ioctl_buf_unimport(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_buf_unimport *cmd = ucmd->cmd;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	return hsl_import_del(ctx, cmd->handle);
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/import_test.c"
#endif
