// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers: device memory as dma-bufs, which other processes are given by file
 * descriptor, with rights, and from whom it can be taken back.
 *
 * A buffer is pages of the device that no migration moves. Each share of it is a
 * dma-buf, with a file and an address_space of its own: so one share can be unmapped
 * everywhere while the others stay. A share made from another one goes with it. The
 * right to write is the mode of the file, which core mm holds all mappings to.
 *
 * Mappings have the pages themselves, which the IOMMU, hmm_range_fault(), direct I/O
 * and ptrace find there as they find any memory; a long-term pin is refused by core mm,
 * as of all coherent device memory that cannot be moved away. When the last share is
 * revoked or closed the pages are given back; each is free when nobody has a reference.
 *
 * All shares of a buffer have one dma_resv, whose lock guards the buffer. It is what
 * importers and core mm's lock order expect: taken under mmap_lock, and page tables are
 * filled and emptied under it.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "memory.h"

#ifdef HSL_COMPAT_P2P
#include <linux/dma-buf-mapping.h>
#include <linux/pci-p2pdma.h>
#endif

MODULE_IMPORT_NS(HSL_COMPAT_NS_DMA_BUF);

#define HSL_BUF_SHARES	256	/* of one buffer; half of them for whoever created it */
#define HSL_BUF_TIMEOUT	(10 * HZ)	/* for what an importer has under way */

struct hsl_buf {
	struct kref kref;		/* each share; whoever creates it */
	struct hsl_memory *mem;
	struct hsl_device *hdev;	/* referenced: mem lives as long */
	struct list_head node;		/* in hsl_memory.bufs */
	unsigned long nr_pages;

	struct dma_resv resv;		/* its lock: all below */
	struct list_head shares;	/* a share comes after the one it was made from */
	unsigned int nr_valid;		/* that are not revoked */
	unsigned int nr_dma;		/* lists of its pages that importers have */
	bool stuck;			/* a fence has been waited for in vain */
	unsigned long until;		/* jiffies, when all buffers end and wait together; else 0 */
	bool ended;			/* the pages are given back, and none are taken */
	unsigned long nr_filled;
	struct page **pages;
};

struct hsl_share {
	struct hsl_buf *buf;
	struct dma_buf *dmabuf;
	struct inode *inode;		/* referenced: its file may end before the dma-buf does (O_PATH) */
	u32 rights;
	bool first;			/* of HSL_BUF_CREATE */

	struct list_head node;		/* this and below: the lock of hsl_buf.resv */
	struct hsl_share *parent;	/* that it was made from, or what that was made from */
	bool revoked;
};

/*
 * Buffers
 */

static void hsl_buf_lock(struct hsl_buf *buf)
{
	dma_resv_lock(&buf->resv, NULL);
}

static void hsl_buf_unlock(struct hsl_buf *buf)
{
	dma_resv_unlock(&buf->resv);
}

DEFINE_GUARD(hsl_buf, struct hsl_buf *, hsl_buf_lock(_T), hsl_buf_unlock(_T))

/* No process maps them; an importer that still does gives them back. */
static void hsl_buf_end(struct hsl_buf *buf)
{
	dma_resv_assert_held(&buf->resv);

	buf->ended = true;
	while (!buf->nr_dma && buf->nr_filled)
		put_page(buf->pages[--buf->nr_filled]);
}

static void hsl_buf_free(struct kref *kref)
{
	struct hsl_buf *buf = container_of(kref, struct hsl_buf, kref);

	/* Whoever still finds it there has the lock, and needs no reference. */
	scoped_guard(mutex, &buf->mem->bufs_lock)
		list_del(&buf->node);
	scoped_guard(hsl_buf, buf)
		hsl_buf_end(buf);
	dma_resv_fini(&buf->resv);
	kvfree(buf->pages);
	put_device(&buf->hdev->dev);
	kfree(buf);
}

static void hsl_buf_put(struct hsl_buf *buf)
{
	kref_put(&buf->kref, hsl_buf_free);
}

DEFINE_FREE(hsl_buf_put, struct hsl_buf *, if (!IS_ERR_OR_NULL(_T)) hsl_buf_put(_T))

/* A block more, zeroed */
static int hsl_buf_fill_block(struct hsl_buf *buf, struct hsl_mem_op *op)
{
	unsigned int i, nr = min(buf->nr_pages - buf->nr_filled, HSL_BLOCK_PAGES);
	int ret;

	ret = hsl_mem_reserve(op, nr);
	if (ret)
		return ret;
	for (i = 0; i < nr; i++)
		clear_highpage(op->room[i]);

	scoped_guard(hsl_buf, buf) {
		ret = buf->ended ? -ENODEV : 0;
		for (i = 0; i < nr; i++) {
			if (ret)
				put_page(op->room[i]);
			else
				buf->pages[buf->nr_filled++] = op->room[i];
		}
	}
	hsl_mem_leave(buf->mem);
	return ret;
}

static int hsl_buf_fill(struct hsl_buf *buf, struct hsl_context *ctx)
{
	struct hsl_mem_op *op;
	int ret = 0;

	op = hsl_mem_op_alloc(ctx, ctx->hdev->memory, HSL_WHERE_DEVICE);
	if (!op)
		return -ENOMEM;
	op->fixed = true;
	/* Only this call adds pages, so that it may look without the lock. */
	while (!ret && READ_ONCE(buf->nr_filled) < buf->nr_pages) {
		ret = READ_ONCE(buf->ended) ? -ENODEV : hsl_buf_fill_block(buf, op);
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(op);
	return ret;
}

static struct hsl_buf *hsl_buf_create(struct hsl_context *ctx, u64 len)
{
	struct hsl_memory *mem = ctx->hdev->memory;
	struct hsl_buf *buf;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return ERR_PTR(-ENOMEM);
	buf->nr_pages = len >> PAGE_SHIFT;
	buf->pages = kvcalloc(buf->nr_pages, sizeof(*buf->pages), GFP_KERNEL_ACCOUNT);
	if (!buf->pages) {
		kfree(buf);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&buf->kref);
	dma_resv_init(&buf->resv);
	INIT_LIST_HEAD(&buf->shares);
	buf->mem = mem;
	buf->hdev = ctx->hdev;
	get_device(&buf->hdev->dev);
	/* From here on it ends with the memory. */
	scoped_guard(mutex, &mem->bufs_lock)
		list_add_tail(&buf->node, &mem->bufs);
	return buf;
}

/*
 * Mappings
 */

/* Has its page @n lost its contents? */
static bool hsl_buf_is_bad(struct hsl_buf *buf, unsigned long n)
{
	return hsl_mem_is_bad(buf->mem, page_to_pfn(buf->pages[n]) - buf->mem->pfn);
}

/* What of the mapping lies in one block of the buffer with the page that is wanted */
static vm_fault_t hsl_share_map(struct hsl_share *share, struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct hsl_buf *buf = share->buf;
	unsigned long n = vmf->pgoff, i, end, addr;
	int ret;

	dma_resv_assert_held(&buf->resv);

	if (share->revoked || n >= buf->nr_filled)
		return VM_FAULT_SIGBUS;
	if (hsl_buf_is_bad(buf, n))
		return VM_FAULT_HWPOISON;
	ret = vm_insert_page(vma, vmf->address & PAGE_MASK, buf->pages[n]);
	/* Another thread was faster. */
	if (ret && ret != -EBUSY)
		return vmf_error(ret);

	i = max(rounddown(n, HSL_BLOCK_PAGES), vma->vm_pgoff);
	end = min3(rounddown(n, HSL_BLOCK_PAGES) + HSL_BLOCK_PAGES, buf->nr_filled,
		   vma->vm_pgoff + vma_pages(vma));
	for (; i < end; i++) {
		addr = vma->vm_start + ((i - vma->vm_pgoff) << PAGE_SHIFT);
		if (i == n || hsl_buf_is_bad(buf, i))
			continue;
		ret = vm_insert_page(vma, addr, buf->pages[i]);
		if (ret && ret != -EBUSY)
			break;
	}
	return VM_FAULT_NOPAGE;
}

static vm_fault_t hsl_share_fault(struct vm_fault *vmf)
{
	struct hsl_share *share = vmf->vma->vm_private_data;
	vm_fault_t ret;

	/* A signal goes first, and then the access is tried again. */
	if (dma_resv_lock_interruptible(&share->buf->resv, NULL))
		return VM_FAULT_NOPAGE;
	ret = hsl_share_map(share, vmf);
	hsl_buf_unlock(share->buf);
	return ret;
}

static const struct vm_operations_struct hsl_share_vm_ops = {
	.fault = hsl_share_fault,
};

bool hsl_buf_is_mapped(struct vm_area_struct *vma)
{
	return vma->vm_ops == &hsl_share_vm_ops;
}

/* The length was checked, and what the file's mode forbids VM_MAYWRITE does not have. */
static int hsl_share_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct hsl_share *share = dmabuf->priv;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (READ_ONCE(share->revoked))
		return -ENODEV;
	vma->vm_ops = &hsl_share_vm_ops;
	vma->vm_private_data = share;
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

/*
 * Shares
 */

static void hsl_share_release(struct dma_buf *dmabuf)
{
	struct hsl_share *share = dmabuf->priv, *s;
	struct hsl_buf *buf = share->buf;

	scoped_guard(hsl_buf, buf) {
		/* It may not have been added. */
		if (!list_empty(&share->node)) {
			list_for_each_entry(s, &buf->shares, node)
				if (s->parent == share)
					s->parent = share->parent;
			list_del(&share->node);
			buf->nr_valid -= !share->revoked;
			if (!buf->nr_valid)
				hsl_buf_end(buf);
		}
	}
	iput(share->inode);
	kfree(share);
	hsl_buf_put(buf);
}

/*
 * For devices of other drivers, and for those of this one that no link leads from: by
 * PCIe peer-to-peer, and dynamically, for the memory must go when it is taken back.
 */

#ifdef HSL_COMPAT_P2P
/*
 * As long as the mode is coherent: in mode pcie the PCI core is to find nothing of it,
 * for it adds what it is given to the pool that it has.
 */
void hsl_bufs_start(struct hsl_memory *mem)
{
	struct pci_dev *pdev = mem->hdev->pdev;
	int ret;

	if (!devres_open_group(&pdev->dev, &mem->p2p, GFP_KERNEL))
		return;
	ret = pcim_p2pdma_init(pdev);
	devres_close_group(&pdev->dev, &mem->p2p);
	if (ret) {
		devres_release_group(&pdev->dev, &mem->p2p);
		dev_info(&pdev->dev, "no PCIe peer-to-peer for device memory: %d\n", ret);
		return;
	}
	mem->p2p = pcim_p2pdma_provider(pdev, mem->hdev->mem_bar);
}

/* All buffers are revoked, and their pages have come back. */
void hsl_bufs_stop(struct hsl_memory *mem)
{
	/* Whoever attaches looks at the provider, which goes at once. */
	guard(mutex)(&mem->bufs_lock);
	if (!mem->p2p)
		return;
	mem->p2p = NULL;
	devres_release_group(&mem->hdev->pdev->dev, &mem->p2p);
}

static bool hsl_share_reachable(struct hsl_share *share, struct device *dev)
{
	guard(mutex)(&share->buf->mem->bufs_lock);
	return share->buf->mem->p2p && pci_p2pdma_distance(share->buf->hdev->pdev, dev, false) >= 0;
}

/* Runs of pages that follow each other; how many. @vec may be NULL. */
static unsigned long hsl_buf_runs(struct hsl_buf *buf, struct phys_vec *vec)
{
	unsigned long i, n = 0;

	dma_resv_assert_held(&buf->resv);

	for (i = 0; i < buf->nr_filled; i++) {
		bool first = !i || page_to_pfn(buf->pages[i]) != page_to_pfn(buf->pages[i - 1]) + 1;

		n += first;
		if (!vec)
			continue;
		if (first)
			vec[n - 1] = (struct phys_vec) { .paddr = page_to_phys(buf->pages[i]) };
		vec[n - 1].len += PAGE_SIZE;
	}
	return n;
}

static struct sg_table *hsl_share_map_dma(struct dma_buf_attachment *attach,
					  enum dma_data_direction dir)
{
	struct hsl_share *share = attach->dmabuf->priv;
	struct hsl_buf *buf = share->buf;
	struct phys_vec *vec;
	struct sg_table *sgt;
	unsigned long nr;

	dma_resv_assert_held(&buf->resv);

	if (share->revoked)
		return ERR_PTR(-ENODEV);
	if (dir != DMA_TO_DEVICE && !(share->rights & HSL_BUF_WRITE))
		return ERR_PTR(-EACCES);
	nr = hsl_buf_runs(buf, NULL);
	vec = kvcalloc(nr, sizeof(*vec), GFP_KERNEL);
	if (!vec)
		return ERR_PTR(-ENOMEM);
	hsl_buf_runs(buf, vec);
	sgt = dma_buf_phys_vec_to_sgt(attach, buf->mem->p2p, vec, nr, attach->dmabuf->size, dir);
	kvfree(vec);
	if (!IS_ERR(sgt))
		buf->nr_dma++;
	return sgt;
}

static void hsl_share_unmap_dma(struct dma_buf_attachment *attach, struct sg_table *sgt,
				enum dma_data_direction dir)
{
	struct hsl_share *share = attach->dmabuf->priv;
	struct hsl_buf *buf = share->buf;

	dma_resv_assert_held(&buf->resv);

	/* 7.3 says that the list has nothing for CPUs, and would not free it then. */
	sgt->orig_nents = sgt->nents;
	dma_buf_free_sgt(attach, sgt, dir);
	buf->nr_dma--;
	if (buf->ended)
		hsl_buf_end(buf);
}

/*
 * On return importers use it no more. What one cannot stop at once it has left a fence
 * for. Anybody who has the file may add fences, so one that does not come is waited for
 * once.
 */
static void hsl_share_invalidate(struct hsl_share *share)
{
	struct hsl_buf *buf = share->buf;
	long left = HSL_BUF_TIMEOUT;

	dma_resv_assert_held(&buf->resv);

	if (list_empty(&share->dmabuf->attachments))
		return;
	dma_buf_invalidate_mappings(share->dmabuf);
	if (buf->until)
		left = max(1, (long)(buf->until - jiffies));
	if (buf->stuck || dma_resv_wait_timeout(&buf->resv, DMA_RESV_USAGE_BOOKKEEP, false, left) > 0)
		return;
	buf->stuck = true;
	dev_err(&buf->hdev->dev, "a device of another driver does not let go of device memory\n");
}
#else
void hsl_bufs_start(struct hsl_memory *mem)
{
}

void hsl_bufs_stop(struct hsl_memory *mem)
{
}

static bool hsl_share_reachable(struct hsl_share *share, struct device *dev)
{
	return false;
}

static struct sg_table *hsl_share_map_dma(struct dma_buf_attachment *attach,
					  enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void hsl_share_unmap_dma(struct dma_buf_attachment *attach, struct sg_table *sgt,
				enum dma_data_direction dir)
{
}

static void hsl_share_invalidate(struct hsl_share *share)
{
}
#endif

/* Why the device does not get it; NULL: it does. */
static const char *hsl_share_refused(struct hsl_share *share, struct dma_buf_attachment *attach)
{
	if (!attach->peer2peer || !attach->importer_ops->hsl_compat_invalidate_mappings)
		return "its driver wants host memory, or memory that is never taken back";
	if (!hsl_share_reachable(share, attach->dev))
		return "the kernel knows of no PCIe peer-to-peer between the two";
	return NULL;
}

static int hsl_share_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct hsl_share *share = dmabuf->priv;
	const char *why;

	if (READ_ONCE(share->revoked))
		return -ENODEV;
	why = hsl_share_refused(share, attach);
	if (!why)
		return 0;
	dev_info_ratelimited(&share->buf->hdev->dev, "device memory is not for %s: %s\n",
			     dev_name(attach->dev), why);
	return -EOPNOTSUPP;
}

static const struct dma_buf_ops hsl_share_ops = {
	.attach = hsl_share_attach,
	.map_dma_buf = hsl_share_map_dma,
	.unmap_dma_buf = hsl_share_unmap_dma,
	.mmap = hsl_share_mmap,
	.release = hsl_share_release,
};

/* dma_buf_put() ends it from here on; its file is nobody's yet. */
static struct dma_buf *hsl_share_export(struct hsl_buf *buf, u32 rights, bool first)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct hsl_share *share;
	struct dma_buf *dmabuf;

	share = kzalloc(sizeof(*share), GFP_KERNEL_ACCOUNT);
	if (!share)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&share->node);
	share->buf = buf;
	share->rights = rights;
	share->first = first;
	kref_get(&buf->kref);

	info.ops = &hsl_share_ops;
	info.size = buf->nr_pages << PAGE_SHIFT;
	info.flags = rights & HSL_BUF_WRITE ? O_RDWR : O_RDONLY;
	info.resv = &buf->resv;
	info.priv = share;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		kfree(share);
		hsl_buf_put(buf);
		return dmabuf;
	}
	share->dmabuf = dmabuf;
	share->inode = file_inode(dmabuf->file);
	ihold(share->inode);
	return dmabuf;
}

/* @parent is NULL for the first one. */
static int hsl_share_add(struct hsl_share *share, struct hsl_share *parent)
{
	struct hsl_buf *buf = share->buf;

	guard(hsl_buf)(buf);
	if (parent && parent->revoked)
		return -ESTALE;
	if (buf->ended)
		return -ENODEV;
	if (buf->nr_valid >= (parent && !parent->first ? HSL_BUF_SHARES / 2 : HSL_BUF_SHARES))
		return -ENOSPC;
	share->parent = parent;
	list_add_tail(&share->node, &buf->shares);
	buf->nr_valid++;
	return 0;
}

/* On return nothing is mapped by it. */
static void hsl_share_revoke(struct hsl_share *share)
{
	struct hsl_buf *buf = share->buf;

	dma_resv_assert_held(&buf->resv);

	if (share->revoked)
		return;
	WRITE_ONCE(share->revoked, true);
	unmap_mapping_range(share->inode->i_mapping, 0, 0, 1);
	hsl_share_invalidate(share);
	if (!--buf->nr_valid)
		hsl_buf_end(buf);
}

/* @share and all that were made from it */
static void hsl_share_revoke_tree(struct hsl_share *share)
{
	struct hsl_buf *buf = share->buf;
	struct hsl_share *s;

	dma_resv_assert_held(&buf->resv);

	list_for_each_entry(s, &buf->shares, node)
		if (s == share || (s->parent && s->parent->revoked))
			hsl_share_revoke(s);
}

static bool hsl_share_comes_of(struct hsl_share *share, struct hsl_share *from)
{
	struct hsl_share *s;

	dma_resv_assert_held(&from->buf->resv);

	for (s = share; s; s = s->parent)
		if (s == from)
			return s != share || s->first;
	return false;
}

/*
 * The memory goes, and with it every buffer. The mode has been changed: none that is
 * being created gets more pages.
 */
void hsl_bufs_revoke(struct hsl_memory *mem)
{
	unsigned long until = (jiffies + HSL_BUF_TIMEOUT) ?: 1;
	struct hsl_share *share;
	struct hsl_buf *buf;

	guard(mutex)(&mem->bufs_lock);
	list_for_each_entry(buf, &mem->bufs, node) {
		guard(hsl_buf)(buf);
		buf->until = until;
		list_for_each_entry(share, &buf->shares, node)
			hsl_share_revoke(share);
		hsl_buf_end(buf);
	}
}

/* Page @n of the memory has lost its contents. false: it is not in a buffer. */
bool hsl_buf_lose(struct hsl_memory *mem, unsigned long n)
{
	struct page *page = pfn_to_page(mem->pfn + n);
	struct hsl_share *share;
	struct hsl_buf *buf;
	unsigned long i;

	guard(mutex)(&mem->bufs_lock);
	list_for_each_entry(buf, &mem->bufs, node) {
		guard(hsl_buf)(buf);
		for (i = 0; i < buf->nr_filled && buf->pages[i] != page; i++)
			;
		if (i == buf->nr_filled)
			continue;
		/* The next touch finds that it is lost. */
		list_for_each_entry(share, &buf->shares, node)
			unmap_mapping_range(share->inode->i_mapping, (loff_t)i << PAGE_SHIFT, PAGE_SIZE, 1);
		return true;
	}
	return false;
}

/*
 * For users
 */

/* A reference, or an errno */
static struct dma_buf *hsl_share_get(int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);

	if (!IS_ERR(dmabuf) && dmabuf->ops != &hsl_share_ops) {
		dma_buf_put(dmabuf);
		return ERR_PTR(-EINVAL);
	}
	return dmabuf;
}

/* Of another device, whose pages do not say how @hdev reaches them? */
bool hsl_buf_is_foreign(struct dma_buf *dmabuf, struct hsl_device *hdev)
{
	struct hsl_share *share = dmabuf->priv;

	return dmabuf->ops == &hsl_share_ops && share->buf->hdev != hdev &&
	       !hsl_same_fabric(share->buf->hdev, hdev);
}

DEFINE_FREE(hsl_dma_buf_put, struct dma_buf *, if (!IS_ERR_OR_NULL(_T)) dma_buf_put(_T))

/* Copies @fd out, then gives the file to the process. */
static int hsl_share_publish(struct hsl_ucmd *ucmd, s32 *out, struct dma_buf *dmabuf)
{
	int fd, ret;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	*out = fd;
	ret = hsl_ucmd_respond(ucmd);
	if (ret) {
		put_unused_fd(fd);
		return ret;
	}
	fd_install(fd, get_file(dmabuf->file));
	return 0;
}

/* The memory has gone under a buffer that was being made: with the device, or to another mode. */
static int hsl_buf_gone(struct hsl_context *ctx, int err)
{
	if (err != -ENODEV && err != -EOPNOTSUPP)
		return err;
	return READ_ONCE(ctx->dead) ? -ENODEV : -EOPNOTSUPP;
}

int hsl_ioctl_buf_create(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_buf_create *cmd = ucmd->cmd;
	int ret;

	if (cmd->reserved || !hsl_mem_usable(ctx))
		return -EOPNOTSUPP;
	if (!cmd->len || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ctx->hdev->memory->nr_pages)
		return -EINVAL;

	struct hsl_buf *buf __free(hsl_buf_put) = hsl_buf_create(ctx, cmd->len);

	if (IS_ERR(buf))
		return PTR_ERR(buf);
	ret = hsl_buf_fill(buf, ctx);
	if (ret)
		return hsl_buf_gone(ctx, ret);

	struct dma_buf *dmabuf __free(hsl_dma_buf_put) = hsl_share_export(buf, HSL_BUF_ALL, true);

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	ret = hsl_share_add(dmabuf->priv, NULL);
	return ret ? hsl_buf_gone(ctx, ret) : hsl_share_publish(ucmd, &cmd->fd, dmabuf);
}

static int hsl_rights_check(u32 rights)
{
	if (rights & ~HSL_BUF_ALL)
		return -EOPNOTSUPP;
	if (!(rights & HSL_BUF_READ) || (rights & HSL_BUF_ATOMIC && !(rights & HSL_BUF_WRITE)))
		return -EINVAL;
	/* A CPU that may write may do so with a locked instruction. */
	return rights & HSL_BUF_WRITE && !(rights & HSL_BUF_ATOMIC) ? -EOPNOTSUPP : 0;
}

int hsl_ioctl_buf_share(struct hsl_ucmd *ucmd)
{
	struct hsl_buf_share *cmd = ucmd->cmd;
	struct hsl_share *parent;
	int ret;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	ret = hsl_rights_check(cmd->rights);
	if (ret)
		return ret;

	struct dma_buf *from __free(hsl_dma_buf_put) = hsl_share_get(cmd->fd);

	if (IS_ERR(from))
		return PTR_ERR(from);
	parent = from->priv;
	if (cmd->rights & ~parent->rights)
		return -EACCES;

	struct dma_buf *dmabuf __free(hsl_dma_buf_put) = hsl_share_export(parent->buf, cmd->rights, false);

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	ret = hsl_share_add(dmabuf->priv, parent);
	return ret ? ret : hsl_share_publish(ucmd, &cmd->share, dmabuf);
}

int hsl_ioctl_buf_revoke(struct hsl_ucmd *ucmd)
{
	struct hsl_buf_revoke *cmd = ucmd->cmd;
	struct hsl_share *from, *share;

	struct dma_buf *from_buf __free(hsl_dma_buf_put) = hsl_share_get(cmd->fd);
	if (IS_ERR(from_buf))
		return PTR_ERR(from_buf);
	struct dma_buf *share_buf __free(hsl_dma_buf_put) = hsl_share_get(cmd->share);
	if (IS_ERR(share_buf))
		return PTR_ERR(share_buf);

	from = from_buf->priv;
	share = share_buf->priv;
	if (from->buf != share->buf)
		return -EACCES;
	guard(hsl_buf)(from->buf);
	if (!hsl_share_comes_of(share, from))
		return -EACCES;
	hsl_share_revoke_tree(share);
	return 0;
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/buf_test.c"
#endif
