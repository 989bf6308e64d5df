// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: the pages of the memory BAR, who has them, and what becomes of
 * them when the device goes.
 *
 * In coherent mode they are pages (MEMORY_DEVICE_COHERENT) that only a migration
 * puts somewhere (memory_move.c). From then on they are a process's anonymous
 * memory like any other: fork, copy on write, munmap and exit are core mm's
 * business, which gives each page back through hsl_mem_free(). Nobody shall pin
 * them for long, and core mm sees to that, so that each can be moved away again.
 *
 * A dma-buf (buf.c) has pages as well, which stay where they are until it is revoked.
 *
 * Pages are kept in blocks of the size and alignment of a huge page. What belongs
 * to one huge page of a process goes to one block, in order, as long as a whole
 * block is free; less than that fills the gaps of blocks that are in use.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/ioport.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "memory.h"

/* Bytes on each device, or with this bit percent of each device. */
#define HSL_MEM_PERCENT		BIT_ULL(63)

static u64 max_memory_per_user = HSL_MEM_PERCENT | 100;

static int hsl_mem_limit_set(const char *text, const struct kernel_param *kp)
{
	char *end;
	u64 val;

	val = memparse(text, &end);
	if (end == text || val & HSL_MEM_PERCENT)
		return -EINVAL;
	if (*end == '%') {
		if (val > 100)
			return -EINVAL;
		val |= HSL_MEM_PERCENT;
		end++;
	}
	if (*skip_spaces(end))
		return -EINVAL;
	WRITE_ONCE(max_memory_per_user, val);
	return 0;
}

static int hsl_mem_limit_get(char *buf, const struct kernel_param *kp)
{
	u64 val = READ_ONCE(max_memory_per_user);

	return sysfs_emit(buf, "%llu%s\n", val & ~HSL_MEM_PERCENT, val & HSL_MEM_PERCENT ? "%" : "");
}

static const struct kernel_param_ops hsl_mem_limit_ops = {
	.set = hsl_mem_limit_set,
	.get = hsl_mem_limit_get,
};

module_param_cb(max_memory_per_user, &hsl_mem_limit_ops, NULL, 0644);
MODULE_PARM_DESC(max_memory_per_user, "Memory one user may have on a device, in bytes or percent of the device; CAP_SYS_RESOURCE: any amount (default 100%)");

static char *memory = "coherent";
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "What device memory is used for: coherent (pages that processes move there, default), node (a NUMA node), pcie (mapped by programs and open to transfers of other PCI devices), off");

static const char *const hsl_mem_modes[] = {
	[HSL_MEMORY_OFF] = "off",
	[HSL_MEMORY_COHERENT] = "coherent",
	[HSL_MEMORY_NODE] = "node",
	[HSL_MEMORY_PCIE] = "pcie",
};

/*
 * Who is in
 */

/* Pages and blocks stay what they are until hsl_mem_leave(). Not to be kept for long. */
bool hsl_mem_enter(struct hsl_memory *mem)
{
	guard(spinlock_irqsave)(&mem->lock);
	if (mem->mode != HSL_MEMORY_COHERENT)
		return false;
	mem->active++;
	return true;
}

void hsl_mem_leave(struct hsl_memory *mem)
{
	guard(spinlock_irqsave)(&mem->lock);
	if (!--mem->active)
		wake_up_all(&mem->idle);
}

static bool hsl_mem_idle(struct hsl_memory *mem)
{
	guard(spinlock_irqsave)(&mem->lock);
	return !mem->active;
}

static void hsl_mem_set_mode(struct hsl_memory *mem, u32 mode)
{
	guard(spinlock_irqsave)(&mem->lock);
	mem->mode = mode;
}

/*
 * Accounts
 */

struct hsl_mem_owner *hsl_mem_owner_get(struct hsl_device *hdev)
{
	struct hsl_mem_user *user, *new_user;
	struct hsl_memory *mem = hdev->memory;
	struct hsl_mem_owner *owner;
	kuid_t uid = current_uid();

	if (!mem)
		return NULL;
	owner = kzalloc(sizeof(*owner), GFP_KERNEL_ACCOUNT);
	new_user = kzalloc(sizeof(*new_user), GFP_KERNEL_ACCOUNT);
	if (!owner || !new_user) {
		kfree(owner);
		kfree(new_user);
		return ERR_PTR(-ENOMEM);
	}
	owner->refs = 1;
	owner->unlimited = capable(CAP_SYS_RESOURCE);

	scoped_guard(spinlock_irqsave, &mem->lock) {
		list_for_each_entry(user, &mem->users, node)
			if (uid_eq(user->uid, uid))
				break;
		if (list_entry_is_head(user, &mem->users, node)) {
			user = new_user;
			new_user = NULL;
			user->uid = uid;
			list_add(&user->node, &mem->users);
		}
		user->owners++;
		owner->user = user;
	}
	kfree(new_user);
	return owner;
}

static void hsl_mem_owner_drop(struct hsl_memory *mem, struct hsl_mem_owner *owner)
{
	lockdep_assert_held(&mem->lock);

	if (--owner->refs)
		return;
	if (!--owner->user->owners) {
		list_del(&owner->user->node);
		kfree(owner->user);
	}
	kfree(owner);
}

void hsl_mem_owner_put(struct hsl_device *hdev, struct hsl_mem_owner *owner)
{
	if (!owner)
		return;
	guard(spinlock_irqsave)(&hdev->memory->lock);
	hsl_mem_owner_drop(hdev->memory, owner);
}

u64 hsl_mem_owner_bytes(struct hsl_device *hdev, struct hsl_mem_owner *owner)
{
	if (!owner)
		return 0;
	guard(spinlock_irqsave)(&hdev->memory->lock);
	return (u64)owner->pages << PAGE_SHIFT;
}

static unsigned long hsl_mem_user_max(struct hsl_memory *mem, struct hsl_mem_owner *owner)
{
	u64 max = READ_ONCE(max_memory_per_user);

	if (owner->unlimited)
		return ULONG_MAX;
	if (max & HSL_MEM_PERCENT)
		return mul_u64_u32_div(mem->nr_pages, max & ~HSL_MEM_PERCENT, 100);
	return max >> PAGE_SHIFT;
}

/* All at once, as a mapping is made; -ENOMEM: more than the user or the cgroup may have. */
int hsl_mem_charge(struct hsl_memory *mem, struct hsl_mem_owner *owner, unsigned long pages,
		   struct dmem_cgroup_pool_state **pool)
{
	unsigned long max = hsl_mem_user_max(mem, owner);

	if (hsl_compat_dmem_charge(mem->region, (u64)pages << PAGE_SHIFT, pool))
		return -ENOMEM;
	scoped_guard(spinlock_irqsave, &mem->lock) {
		if (pages <= max - min(max, owner->user->pages)) {
			owner->user->pages += pages;
			owner->pages += pages;
			owner->refs++;
			mem->mapped += pages;
			return 0;
		}
	}
	hsl_compat_dmem_uncharge(*pool, (u64)pages << PAGE_SHIFT);
	return -ENOMEM;
}

void hsl_mem_uncharge(struct hsl_memory *mem, struct hsl_mem_owner *owner, unsigned long pages,
		      struct dmem_cgroup_pool_state *pool)
{
	hsl_compat_dmem_uncharge(pool, (u64)pages << PAGE_SHIFT);
	guard(spinlock_irqsave)(&mem->lock);
	mem->mapped -= pages;
	owner->pages -= pages;
	owner->user->pages -= pages;
	hsl_mem_owner_drop(mem, owner);
}

/*
 * Blocks
 */

static struct hsl_mem_block *hsl_mem_block(struct hsl_memory *mem, unsigned long n)
{
	return &mem->blocks[n / HSL_BLOCK_PAGES];
}

/* Has it lost its contents? */
bool hsl_mem_is_bad(struct hsl_memory *mem, unsigned long n)
{
	return test_bit(n % HSL_BLOCK_PAGES, hsl_mem_block(mem, n)->bad);
}

/*
 * Such a page is not copied anywhere: it is taken away from whoever uses it. Without
 * CONFIG_MEMORY_FAILURE it cannot be, and moves as all others do.
 */
bool hsl_mem_is_lost(struct hsl_memory *mem, unsigned long n, unsigned long nr)
{
	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return false;
	while (nr--)
		if (hsl_mem_is_bad(mem, n++))
			return true;
	return false;
}

/* The block's counts have changed. */
static void hsl_mem_block_file(struct hsl_memory *mem, struct hsl_mem_block *b)
{
	lockdep_assert_held(&mem->lock);

	if (b->free == HSL_BLOCK_PAGES)
		list_move(&b->room, &mem->empty);
	else if (!b->free)
		list_del_init(&b->room);
	else
		list_move_tail(&b->room, &mem->partial);

	if (b->used == b->fixed)
		list_del_init(&b->lru);
}

static void hsl_mem_block_used(struct hsl_memory *mem, struct hsl_mem_block *b, u64 op)
{
	lockdep_assert_held(&mem->lock);

	/* A device's fault does not make it a stranger to the call that fills it. */
	if (op)
		b->op = op;
	if (b->used > b->fixed)
		list_move_tail(&b->lru, &mem->lru);
}

static struct page *hsl_mem_take_page(struct hsl_memory *mem, struct hsl_mem_block *b,
				      unsigned int n, struct hsl_mem_op *op)
{
	lockdep_assert_held(&mem->lock);

	__set_bit(n, b->taken);
	if (op->fixed) {
		__set_bit(n, b->stays);
		b->fixed++;
	}
	b->free--;
	b->used++;
	mem->free--;
	mem->used++;
	hsl_mem_block_used(mem, b, op->id);
	return pfn_to_page(mem->pfn + (b - mem->blocks) * HSL_BLOCK_PAGES + n);
}

/* @nr pages of one block, from page @n on */
static void hsl_mem_put_pages(struct hsl_memory *mem, unsigned long n, unsigned int nr)
{
	struct hsl_mem_block *b = hsl_mem_block(mem, n);

	lockdep_assert_held(&mem->lock);

	b->used -= nr;
	mem->used -= nr;
	for (n %= HSL_BLOCK_PAGES; nr--; n++) {
		b->fixed -= __test_and_clear_bit(n, b->stays);
		if (test_bit(n, b->bad))
			continue;
		__clear_bit(n, b->taken);
		b->free++;
		mem->free++;
	}
	hsl_mem_block_file(mem, b);
}

bool hsl_mem_has_room(struct hsl_memory *mem, unsigned int pages, bool whole)
{
	guard(spinlock_irqsave)(&mem->lock);
	return mem->free >= pages && (!whole || !list_empty(&mem->empty));
}

/*
 * Room for as many of the wanted pages as there is, @nr_want at most. A fresh
 * block is filled in step with the addresses.
 */
static unsigned int hsl_mem_take_pages(struct hsl_mem_op *op, unsigned int nr_want)
{
	unsigned int first = op->start % HSL_BLOCK_SIZE / PAGE_SIZE, i, n, got = 0;
	struct hsl_memory *mem = op->mem;
	struct hsl_mem_block *b;

	guard(spinlock_irqsave)(&mem->lock);

	/* Gaps are for what is small. */
	if (nr_want < HSL_BLOCK_PAGES / 2 || list_empty(&mem->empty))
		b = list_first_entry_or_null(&mem->partial, struct hsl_mem_block, room);
	else
		b = NULL;
	if (!b)
		b = list_first_entry_or_null(&mem->empty, struct hsl_mem_block, room);

	for (i = 0; i < op->nr && got < nr_want && b; i++) {
		if (!op->want[i])
			continue;
		n = first + i;
		if (test_bit(n, b->taken))
			n = find_first_zero_bit(b->taken, HSL_BLOCK_PAGES);
		op->room[i] = hsl_mem_take_page(mem, b, n, op);
		got++;
		if (b->free && got < nr_want)
			continue;
		hsl_mem_block_file(mem, b);
		b = list_first_entry_or_null(&mem->partial, struct hsl_mem_block, room);
		if (!b)
			b = list_first_entry_or_null(&mem->empty, struct hsl_mem_block, room);
	}
	return got;
}

/*
 * The same, charged to the owner and to current's cgroup; op->may is how many they may
 * have at most. Returns how many there are, with @all either those, a whole block if
 * that is as many, or none. Each is to be made ready with hsl_mem_ready(), or given
 * back.
 */
unsigned int hsl_mem_take(struct hsl_mem_op *op, bool all)
{
	struct hsl_mem_owner *owner = op->owner;
	struct hsl_memory *mem = op->mem;
	unsigned long max = hsl_mem_user_max(mem, owner);
	unsigned int i, may = 0, got, used = 0;

	for (i = 0; i < op->nr; i++) {
		op->room[i] = NULL;
		may += op->want[i];
	}

	scoped_guard(spinlock_irqsave, &mem->lock) {
		may = min_t(unsigned long, may, max - min(max, owner->user->pages));
		owner->user->pages += may;
		owner->pages += may;
		owner->refs += may;
	}

	for (got = 0; got < may; got++)
		if (hsl_compat_dmem_charge(mem->region, PAGE_SIZE, &op->pools[got]))
			break;
	if (got && (!all || hsl_mem_has_room(mem, got, got == HSL_BLOCK_PAGES)))
		used = hsl_mem_take_pages(op, got);
	op->may = got;
	while (got > used)
		hsl_compat_dmem_uncharge(op->pools[--got], PAGE_SIZE);

	guard(spinlock_irqsave)(&mem->lock);
	owner->user->pages -= may - used;
	owner->pages -= may - used;
	owner->refs -= may - used;	/* not the last: op has one */
	for (i = 0, got = 0; i < op->nr; i++)
		if (op->room[i])
			mem->pages[page_to_pfn(op->room[i]) - mem->pfn] = (struct hsl_mem_page) {
				.owner = owner, .pool = op->pools[got++],
			};
	return used;
}

/*
 * Locked, one reference, and without the marks of whom it served before. @order: of
 * a page, or of a block that was taken as a whole.
 */
void hsl_mem_ready(struct hsl_memory *mem, struct page *page, unsigned int order)
{
	struct folio *folio = page_folio(page);

	folio_clear_active(folio);
	folio_clear_unevictable(folio);
	folio_clear_referenced(folio);
	folio_clear_workingset(folio);
	folio_clear_dirty(folio);
	folio_clear_uptodate(folio);
	folio_clear_swapbacked(folio);
	hsl_compat_device_folio_init(page, &mem->pgmap, order);
}

/* @nr pages of one block, not made ready, or whose last reference went. In any context. */
void hsl_mem_give_back(struct hsl_memory *mem, struct page *page, unsigned int nr)
{
	unsigned long n = page_to_pfn(page) - mem->pfn;
	struct hsl_mem_page used;
	unsigned int run;

	for (; nr; nr -= run, n += run) {
		scoped_guard(spinlock_irqsave, &mem->lock) {
			used = mem->pages[n];
			for (run = 0; run < nr && mem->pages[n + run].owner == used.owner &&
			     mem->pages[n + run].pool == used.pool; run++)
				mem->pages[n + run] = (struct hsl_mem_page) { };
			used.owner->pages -= run;
			used.owner->user->pages -= run;
			used.owner->refs -= run - 1;
			hsl_mem_owner_drop(mem, used.owner);
			hsl_mem_put_pages(mem, n, run);
		}
		/* Each has a reference of its own. */
		for (unsigned int i = 0; i < run; i++)
			hsl_compat_dmem_uncharge(used.pool, PAGE_SIZE);
	}
}

static struct hsl_memory *hsl_mem_of_pgmap(struct dev_pagemap *pgmap)
{
	return container_of(pgmap, struct hsl_memory, pgmap);
}

static void hsl_mem_free(struct page *page)
{
	struct hsl_memory *mem = hsl_mem_of_pgmap(hsl_compat_page_pgmap(page));
	unsigned int nr = folio_nr_pages(page_folio(page));

	if (nr > 1)
		hsl_compat_device_folio_undo(page_folio(page), nr);
	hsl_mem_give_back(mem, page, nr);
}

/* Its block is the most recently used. */
void hsl_mem_touch(struct hsl_memory *mem, struct page *page, u64 op)
{
	struct hsl_mem_block *b = hsl_mem_block(mem, page_to_pfn(page) - mem->pfn);

	guard(spinlock_irqsave)(&mem->lock);
	if (b->used)
		hsl_mem_block_used(mem, b, op);
}

/* Names a call that moves pages, or an attempt to make room. */
u64 hsl_mem_next_op(struct hsl_memory *mem)
{
	guard(spinlock_irqsave)(&mem->lock);
	return ++mem->last_op;
}

/* The least recently used block that @op has not touched, once per @attempt. NULL: none */
struct hsl_mem_block *hsl_mem_pick(struct hsl_memory *mem, u64 op, u64 attempt)
{
	struct hsl_mem_block *b;

	guard(spinlock_irqsave)(&mem->lock);
	list_for_each_entry(b, &mem->lru, lru) {
		/* Others may touch it all the time: an attempt tries each once. */
		if (b->op == op || b->tried == attempt)
			continue;
		b->tried = attempt;
		/* If it does not become empty, it is pinned, and as good as in use. */
		b->op = op;
		list_move_tail(&b->lru, &mem->lru);
		return b;
	}
	return NULL;
}

/*
 * Is the page in the memory of this device, and where? In whatever mode. The
 * device is about to use it.
 */
bool hsl_memory_offset(struct hsl_device *hdev, struct page *page, u64 *offset)
{
	struct hsl_memory *mem = hdev->memory;
	unsigned long n;

	if (!mem)
		return false;
	n = page_to_pfn(page) - mem->pfn;
	if (n >= mem->nr_pages)
		return false;
	if (READ_ONCE(mem->mode) == HSL_MEMORY_COHERENT)
		hsl_mem_touch(mem, page, 0);
	*offset = (u64)n << PAGE_SHIFT;
	return true;
}

/*
 * Pages that lost their contents
 */

/* A page in use, if @bad one that has lost its contents, from *@n on */
static bool hsl_mem_next_used(struct hsl_memory *mem, unsigned long *n, bool bad)
{
	struct hsl_mem_block *b;
	unsigned long end;

	while (*n < mem->nr_pages) {
		guard(spinlock_irqsave)(&mem->lock);
		b = hsl_mem_block(mem, *n);
		end = (b - mem->blocks + 1) * HSL_BLOCK_PAGES;
		for (; b->used && *n < end; ++*n)
			if (mem->pages[*n].owner && (!bad || hsl_mem_is_bad(mem, *n)))
				return true;
		*n = end;
	}
	return false;
}

/* A page in use that is to be taken away from whoever uses it, from *@n on */
bool hsl_mem_next_lost(struct hsl_memory *mem, unsigned long *n)
{
	return hsl_mem_next_used(mem, n, !mem->gone);
}

#define HSL_MEM_LOSE_TRIES	20

/* Takes what can be taken; what is pinned is tried again when something else is lost. */
static void hsl_mem_lose(struct work_struct *work)
{
	struct hsl_memory *mem = container_of(work, struct hsl_memory, lose_work);
	unsigned int tries = 0;
	unsigned long n = 0;
	bool done;

	if (READ_ONCE(mem->mode) == HSL_MEMORY_NODE) {
		hsl_node_lose(mem);
		return;
	}
	hsl_pcie_lose(mem);
	while (hsl_mem_next_lost(mem, &n)) {
		if (!hsl_mem_enter(mem))
			return;
		done = hsl_buf_lose(mem, n) || hsl_mem_lose_page(mem, n);
		hsl_mem_leave(mem);
		if (!done && ++tries < HSL_MEM_LOSE_TRIES) {
			msleep(20);
			continue;
		}
		if (!done)
			dev_err_ratelimited(&mem->hdev->dev,
					    "lost page at %#lx of device memory: pinned, its users are not told\n",
					    n << PAGE_SHIFT);
		tries = 0;
		n++;
	}
}

/* false: known already. */
static bool hsl_mem_retire(struct hsl_memory *mem, unsigned long n)
{
	struct hsl_mem_block *b = hsl_mem_block(mem, n);

	guard(spinlock_irqsave)(&mem->lock);
	if (__test_and_set_bit(n % HSL_BLOCK_PAGES, b->bad))
		return false;
	mem->bad++;
	if (!__test_and_set_bit(n % HSL_BLOCK_PAGES, b->taken)) {
		b->free--;
		mem->free--;
		hsl_mem_block_file(mem, b);
	}
	return true;
}

/* Pages that have lost their contents may still be in use: try again to take them away. */
void hsl_mem_lose_again(struct hsl_memory *mem)
{
	queue_work(hsl_compat_unbound_wq, &mem->lose_work);
}

static void hsl_mem_lost(struct hsl_memory *mem, unsigned long n)
{
	if (!hsl_mem_retire(mem, n))
		return;
	dev_err(&mem->hdev->pdev->dev, "device memory lost the page at %#lx, it is not used again\n",
		n << PAGE_SHIFT);
	hsl_mem_lose_again(mem);
}

/* The device says so, again after each reset. false: it makes no sense. */
bool hsl_memory_poison(struct hsl_device *hdev, u64 offset)
{
	struct hsl_memory *mem = hdev->memory;

	/* It may have more than is used. */
	if (offset >= hdev->limits.mem_size)
		return false;
	if (mem && offset >> PAGE_SHIFT < mem->nr_pages)
		hsl_mem_lost(mem, offset >> PAGE_SHIFT);
	return true;
}

/* Somebody else says so: a machine check, or madvise(MADV_HWPOISON). */
static int hsl_mem_failure(struct dev_pagemap *pgmap, unsigned long pfn, unsigned long nr, int flags)
{
	struct hsl_memory *mem = hsl_mem_of_pgmap(pgmap);

	for (; nr--; pfn++)
		hsl_mem_lost(mem, pfn - mem->pfn);
	return 0;
}

HSL_COMPAT_PGMAP_OPS(hsl_pgmap_ops, hsl_mem_free, hsl_mem_failure);

/* NULL: not in the memory of any HSL device. The caller has a reference. */
struct hsl_memory *hsl_mem_of(struct page *page)
{
	struct dev_pagemap *pgmap;

	if (!is_device_coherent_page(page))
		return NULL;
	pgmap = hsl_compat_page_pgmap(page);
	return pgmap->ops == &hsl_pgmap_ops ? hsl_mem_of_pgmap(pgmap) : NULL;
}

/* Is it in the memory of a device that a link may lead to? @owner: HSL_PTE_NODE() of that */
bool hsl_memory_of_peer(struct hsl_device *hdev, struct page *page, u64 *owner, u64 *offset)
{
	struct hsl_memory *mem = hsl_mem_of(page);

	if (!mem)
		mem = hsl_pcie_of(page);
	if (!mem || !hsl_same_fabric(hdev, mem->hdev))
		return false;
	hsl_mem_touch(mem, page, 0);
	*owner = HSL_PTE_NODE(mem->hdev->limits.node);
	*offset = (u64)(page_to_pfn(page) - mem->pfn) << PAGE_SHIFT;
	return true;
}

/*
 * Coming and going
 */

static void hsl_mem_reset_blocks(struct hsl_memory *mem)
{
	struct hsl_mem_block *b;

	guard(spinlock_irqsave)(&mem->lock);
	INIT_LIST_HEAD(&mem->empty);
	INIT_LIST_HEAD(&mem->partial);
	mem->free = 0;
	for (b = mem->blocks; b < mem->blocks + mem->nr_blocks; b++) {
		INIT_LIST_HEAD(&b->room);
		INIT_LIST_HEAD(&b->lru);
		bitmap_copy(b->taken, b->bad, HSL_BLOCK_PAGES);
		b->free = HSL_BLOCK_PAGES - bitmap_weight(b->bad, HSL_BLOCK_PAGES);
		b->used = 0;
		b->fixed = 0;
		bitmap_zero(b->stays, HSL_BLOCK_PAGES);
		mem->free += b->free;
		if (b->free)
			list_add_tail(&b->room, b->free == HSL_BLOCK_PAGES ?
				      &mem->empty : &mem->partial);
	}
}

void hsl_mem_region_add(struct hsl_memory *mem)
{
	mem->region = hsl_compat_dmem_register((u64)mem->nr_pages << PAGE_SHIFT, "hsl/%s",
					       dev_name(&mem->hdev->dev));
	if (IS_ERR(mem->region)) {
		dev_warn(&mem->hdev->pdev->dev, "no dmem cgroup region for device memory: %pe\n",
			 mem->region);
		mem->region = NULL;
	}
}

void hsl_mem_region_del(struct hsl_memory *mem)
{
	hsl_compat_dmem_unregister(mem->region);
	mem->region = NULL;
}

static int hsl_mem_add_coherent(struct hsl_memory *mem, char *why, size_t len)
{
	struct pci_dev *pdev = mem->hdev->pdev;
	u64 size = (u64)mem->nr_pages << PAGE_SHIFT;
	void *addr;

	memset(&mem->pgmap, 0, sizeof(mem->pgmap));
	mem->pgmap.type = MEMORY_DEVICE_COHERENT;
	mem->pgmap.range.start = mem->start;
	mem->pgmap.range.end = mem->start + size - 1;
	mem->pgmap.nr_range = 1;
	mem->pgmap.ops = &hsl_pgmap_ops;
	mem->pgmap.owner = mem->hdev;
	addr = memremap_pages(&mem->pgmap, dev_to_node(&pdev->dev));
	if (IS_ERR(addr)) {
		snprintf(why, len, "the kernel cannot have it as pages: %pe", addr);
		return PTR_ERR(addr);
	}
	hsl_mem_region_add(mem);
	hsl_bufs_start(mem);
	hsl_mem_reset_blocks(mem);
	return 0;
}

static void hsl_mem_release(struct hsl_memory *mem)
{
	if (!mem->res)
		return;
	mem->res->flags |= IORESOURCE_BUSY;
	release_mem_region(mem->start, (u64)mem->nr_pages << PAGE_SHIFT);
	mem->res = NULL;
}

static int hsl_mem_start(struct hsl_memory *mem, u32 mode)
{
	char why[128] = "";
	int ret;

	lockdep_assert_held(&mem->mode_lock);

	if (mode == HSL_MEMORY_OFF) {
		hsl_mem_set_mode(mem, mode);
		return 0;
	}

	mem->res = request_mem_region(mem->start, (u64)mem->nr_pages << PAGE_SHIFT, KBUILD_MODNAME);
	if (!mem->res) {
		strscpy(why, "its address range is in use");
		ret = -EBUSY;
	} else if (mode == HSL_MEMORY_NODE) {
		/* So that the kernel's memory can be a part of it. */
		mem->res->flags &= ~IORESOURCE_BUSY;
		ret = hsl_node_add(mem, why, sizeof(why));
	} else if (mode == HSL_MEMORY_PCIE) {
		ret = hsl_pcie_add(mem, why, sizeof(why));
	} else {
		ret = hsl_mem_add_coherent(mem, why, sizeof(why));
	}
	if (ret) {
		hsl_mem_release(mem);
		dev_warn(&mem->hdev->pdev->dev, "device memory is not used in mode %s: %s\n",
			 hsl_mem_modes[mode], why);
		hsl_mem_set_mode(mem, HSL_MEMORY_OFF);
		return ret;
	}

	hsl_mem_set_mode(mem, mode);
	if (mode == HSL_MEMORY_NODE)
		hsl_node_lose(mem);
	return 0;
}

static void hsl_mem_report(struct hsl_memory *mem)
{
	unsigned long n = 0;
	struct page *page;

	if (!hsl_mem_next_used(mem, &n, false))
		return;
	page = pfn_to_page(mem->pfn + n);
	dev_warn(&mem->hdev->pdev->dev,
		 "waiting for %lu pages of device memory that cannot be moved; the one at %#lx has %d references, %d of them mappings\n",
		 READ_ONCE(mem->used), n << PAGE_SHIFT, page_ref_count(page), folio_mapcount(page_folio(page)));
}

#define HSL_MEM_REPORT_EVERY	(10 * HZ)

/* Has it taken @timeout jiffies since @begin, or has a signal come? 0: it takes what it takes. */
static bool hsl_mem_enough(unsigned long begin, unsigned long timeout)
{
	return timeout && (time_after(jiffies, begin + timeout) || fatal_signal_pending(current));
}

static void hsl_mem_empty_once(struct hsl_memory *mem, unsigned long begin, unsigned long timeout)
{
	unsigned long n;
	u64 attempt;

	for (n = 0; hsl_mem_next_lost(mem, &n); n++) {
		hsl_mem_lose_page(mem, n);
		cond_resched();
	}
	if (mem->gone)
		return;

	guard(mutex)(&mem->evict_lock);
	attempt = hsl_mem_next_op(mem);
	while (!hsl_mem_enough(begin, timeout) && hsl_mem_evict_one(mem, attempt, attempt))
		cond_resched();
}

/* Is nothing left but what is shared as a dma-buf? */
static bool hsl_mem_only_fixed(struct hsl_memory *mem)
{
	unsigned long n;

	guard(spinlock_irqsave)(&mem->lock);
	for (n = 0; n < mem->nr_blocks; n++)
		if (mem->blocks[n].used != mem->blocks[n].fixed)
			return false;
	return true;
}

/*
 * Nobody new comes in; what is shared as a dma-buf is taken from all who have it, and
 * everything else in use goes to host memory. What is pinned is waited for: as long as
 * it takes, or, @timeout not 0, as many jiffies. @gentle: nothing is taken from anybody
 * before all else has gone.
 */
static bool hsl_mem_empty(struct hsl_memory *mem, unsigned long timeout, bool gentle)
{
	unsigned long begin = jiffies, next = begin + HZ;
	unsigned int delay = 1;

	lockdep_assert_held(&mem->mode_lock);

	wait_event(mem->idle, hsl_mem_idle(mem));
	if (!gentle)
		hsl_bufs_revoke(mem);
	for (;;) {
		hsl_mem_empty_once(mem, begin, timeout);
		if (gentle && hsl_mem_only_fixed(mem)) {
			hsl_bufs_revoke(mem);
			gentle = false;
		}
		if (!READ_ONCE(mem->used))
			return true;
		if (hsl_mem_enough(begin, timeout))
			return false;
		if (time_after(jiffies, next)) {
			hsl_mem_report(mem);
			next = jiffies + HSL_MEM_REPORT_EVERY;
		}
		msleep(delay);
		delay = min(delay * 2, 500u);
	}
}

/* Every page has come back. */
static void hsl_mem_remove_coherent(struct hsl_memory *mem)
{
	hsl_bufs_stop(mem);
	memunmap_pages(&mem->pgmap);
	hsl_mem_region_del(mem);
}

/* The kernel's own pages move away, unless a signal comes or they cannot. */
static int hsl_mem_remove_node(struct hsl_memory *mem, bool patient)
{
	unsigned long next = jiffies;
	int ret;

	while ((ret = hsl_node_remove(mem)) && patient) {
		if (time_after_eq(jiffies, next)) {
			dev_warn(&mem->hdev->pdev->dev,
				 "waiting for device memory that is node %d and cannot be taken offline: %d\n",
				 mem->nid, ret);
			next = jiffies + HSL_MEM_REPORT_EVERY;
		}
		msleep(500);
	}
	return ret;
}

/* Mode off, or an errno, and nothing has changed. */
static int hsl_mem_stop(struct hsl_memory *mem, bool patient)
{
	u32 mode = mem->mode;
	int ret = 0;

	lockdep_assert_held(&mem->mode_lock);

	if (mode == HSL_MEMORY_OFF)
		return 0;
	hsl_mem_set_mode(mem, HSL_MEMORY_CHANGING);
	if (mode == HSL_MEMORY_NODE)
		ret = hsl_mem_remove_node(mem, patient);
	else if (mode == HSL_MEMORY_PCIE)
		ret = hsl_pcie_remove(mem, patient);
	else if (hsl_mem_empty(mem, patient ? 0 : HSL_MEM_TIMEOUT, !patient))
		hsl_mem_remove_coherent(mem);
	else
		ret = -EBUSY;
	if (ret) {
		hsl_mem_set_mode(mem, mode);
		/* Nobody could come in meanwhile, that work neither. */
		hsl_mem_lose_again(mem);
		return ret;
	}
	hsl_mem_release(mem);
	hsl_mem_set_mode(mem, HSL_MEMORY_OFF);
	return 0;
}

static int hsl_mem_switch(struct hsl_memory *mem, u32 mode)
{
	u32 before;
	int ret;

	ret = mutex_lock_killable(&mem->mode_lock);
	if (ret)
		return ret;
	before = mem->mode;
	if (mem->away || before == HSL_MEMORY_CHANGING) {
		ret = -EBUSY;
	} else if (mode != before) {
		ret = hsl_mem_stop(mem, false);
		if (!ret) {
			ret = hsl_mem_start(mem, mode);
			if (ret)
				hsl_mem_start(mem, before);
		}
	}
	mutex_unlock(&mem->mode_lock);
	return ret;
}

/* With the struct of the device; files hold that. */
void hsl_memory_free(struct hsl_device *hdev)
{
	struct hsl_memory *mem = hdev->memory;

	if (!mem)
		return;
	mutex_destroy(&mem->map_lock);
	mutex_destroy(&mem->bufs_lock);
	mutex_destroy(&mem->evict_lock);
	mutex_destroy(&mem->mode_lock);
	kvfree(mem->scratch);
	kvfree(mem->blocks);
	kvfree(mem->pages);
	kfree(mem);
	hdev->memory = NULL;
}

/*
 * Never fails: a device whose memory cannot be used works without, and says why.
 * Before events are taken; pages that are lost already are told of then.
 */
void hsl_memory_init(struct hsl_device *hdev)
{
	struct pci_dev *pdev = hdev->pdev;
	struct hsl_memory *mem;

	if (!(hdev->limits.caps & HSL_CAP_MEM) || !hdev->limits.mem_size)
		return;
	if (hdev->limits.mem_size < HSL_BLOCK_SIZE ||
	    !IS_ALIGNED(pci_resource_start(pdev, hdev->mem_bar), HSL_BLOCK_SIZE)) {
		dev_warn(&pdev->dev, "device memory is not used: less than 2 MiB, or not aligned\n");
		return;
	}

	mem = kzalloc(sizeof(*mem), GFP_KERNEL);
	if (!mem)
		goto nomem;
	mem->hdev = hdev;
	mem->nid = NUMA_NO_NODE;
	mem->start = pci_resource_start(pdev, hdev->mem_bar);
	mem->pfn = PHYS_PFN(mem->start);
	mem->nr_blocks = hdev->limits.mem_size / HSL_BLOCK_SIZE;
	mem->nr_pages = mem->nr_blocks * HSL_BLOCK_PAGES;
	mutex_init(&mem->evict_lock);
	mutex_init(&mem->map_lock);
	mutex_init(&mem->mode_lock);
	mutex_init(&mem->bufs_lock);
	INIT_LIST_HEAD(&mem->bufs);
	spin_lock_init(&mem->lock);
	init_waitqueue_head(&mem->idle);
	INIT_WORK(&mem->lose_work, hsl_mem_lose);
	INIT_LIST_HEAD(&mem->lru);
	INIT_LIST_HEAD(&mem->users);
	INIT_LIST_HEAD(&mem->areas);
	hdev->memory = mem;
	mem->scratch = kvzalloc(sizeof(*mem->scratch), GFP_KERNEL);
	/* A device may say that it has more memory than can be accounted for. */
	mem->blocks = kvcalloc(mem->nr_blocks, sizeof(*mem->blocks), GFP_KERNEL | __GFP_NOWARN);
	mem->pages = kvcalloc(mem->nr_pages, sizeof(*mem->pages), GFP_KERNEL | __GFP_NOWARN);
	if (!mem->scratch || !mem->blocks || !mem->pages) {
		hsl_memory_free(hdev);
		goto nomem;
	}
	hsl_mem_reset_blocks(mem);
	return;

nomem:
	dev_warn(&pdev->dev, "device memory is not used: out of memory\n");
}

void hsl_memory_start(struct hsl_device *hdev)
{
	struct hsl_memory *mem = hdev->memory;

	if (!mem)
		return;
	guard(mutex)(&mem->mode_lock);
	hsl_mem_start(mem, __sysfs_match_string(hsl_mem_modes, ARRAY_SIZE(hsl_mem_modes), memory));
}

/*
 * The device goes. Its address spaces are gone already, so that nothing but
 * processes and pins are left on the pages. If it went before we were told, its
 * pages have lost their contents, and nobody may take what reads in their place
 * for data.
 */
void hsl_memory_exit(struct hsl_device *hdev)
{
	struct hsl_memory *mem = hdev->memory;

	if (!mem)
		return;
	guard(mutex)(&mem->mode_lock);
	mem->gone |= mem->away || !pci_device_is_present(hdev->pdev);
	if (mem->gone && mem->used)
		dev_err(&hdev->pdev->dev, "gone with %lu pages of processes in its memory\n", mem->used);
	hsl_mem_stop(mem, true);
	cancel_work_sync(&mem->lose_work);
}

/*
 * The function is about to be reset, during which its memory cannot be reached.
 * hsl_memory_resume() ends that.
 */
void hsl_memory_suspend(struct hsl_device *hdev)
{
	struct hsl_memory *mem = hdev->memory;

	if (!mem)
		return;
	guard(mutex)(&mem->mode_lock);
	mem->away = true;
	if (mem->mode != HSL_MEMORY_COHERENT) {
		if (mem->mode == HSL_MEMORY_NODE)
			dev_err(&hdev->pdev->dev, "reset while its memory is node %d, which must not be used meanwhile\n",
				mem->nid);
		if (mem->mode == HSL_MEMORY_PCIE && !hsl_pcie_suspend(mem))
			dev_err(&hdev->pdev->dev, "reset while others use its memory\n");
		return;
	}
	hsl_mem_set_mode(mem, HSL_MEMORY_CHANGING);
	if (!hsl_mem_empty(mem, HSL_MEM_TIMEOUT, false))
		dev_err(&hdev->pdev->dev, "reset with %lu pinned pages of processes in its memory\n", mem->used);
}

/* @good: it came back, and its memory can be reached; else it stays away. */
void hsl_memory_resume(struct hsl_device *hdev, bool good)
{
	struct hsl_memory *mem = hdev->memory;
	unsigned long n = 0;

	if (!mem)
		return;
	guard(mutex)(&mem->mode_lock);
	hsl_pcie_resume(mem);
	if (!good)
		return;
	mem->away = false;
	/* Pinned all the while: whoever has it must not take what it reads for data. */
	for (; mem->gone && hsl_mem_next_used(mem, &n, false); n++)
		hsl_mem_lost(mem, n);
	mem->gone = false;
	/* Only now may anybody come in, for what he brings is not lost. */
	if (mem->mode == HSL_MEMORY_CHANGING) {
		hsl_mem_set_mode(mem, HSL_MEMORY_COHERENT);
		hsl_mem_lose_again(mem);
	}
}

/* The device cannot be reached any more, and what its memory held may be lost. */
void hsl_memory_lost(struct hsl_device *hdev)
{
	struct hsl_memory *mem = hdev->memory;

	if (!mem)
		return;
	guard(mutex)(&mem->mode_lock);
	mem->away = true;
	if (mem->mode != HSL_MEMORY_COHERENT)
		return;
	hsl_mem_set_mode(mem, HSL_MEMORY_CHANGING);
	mem->gone = true;
	if (mem->used)
		dev_err(&hdev->pdev->dev, "bus error with %lu pages of processes in its memory\n", mem->used);
	if (!hsl_mem_empty(mem, HSL_MEM_TIMEOUT, false))
		dev_err(&hdev->pdev->dev, "%lu of them are pinned\n", mem->used);
}

int hsl_memory_param(void)
{
	if (__sysfs_match_string(hsl_mem_modes, ARRAY_SIZE(hsl_mem_modes), memory) >= 0)
		return 0;
	pr_err("memory=%s: no such mode\n", memory);
	return -EINVAL;
}

/* That its processes can have; of the pool in mode pcie others may have some. */
static unsigned long hsl_mem_free_pages(struct hsl_memory *mem)
{
	unsigned long taken;

	lockdep_assert_held(&mem->lock);

	if (mem->mode == HSL_MEMORY_COHERENT)
		return mem->free;
	taken = mem->bad + mem->mapped;
	return mem->mode == HSL_MEMORY_PCIE && taken < mem->nr_pages ? mem->nr_pages - taken : 0;
}

void hsl_memory_query(struct hsl_device *hdev, struct hsl_query *cmd)
{
	struct hsl_memory *mem = hdev->memory;

	cmd->mem_free = 0;
	cmd->mem_mode = HSL_MEMORY_OFF;
	cmd->mem_node = NUMA_NO_NODE;
	if (!mem)
		return;

	guard(spinlock_irqsave)(&mem->lock);
	if (mem->mode == HSL_MEMORY_CHANGING)
		return;
	cmd->mem_mode = mem->mode;
	cmd->mem_node = mem->nid;
	cmd->mem_free = (u64)hsl_mem_free_pages(mem) << PAGE_SHIFT;
}

/*
 * sysfs
 */

static struct hsl_memory *hsl_mem_from_dev(struct device *dev)
{
	return container_of(dev, struct hsl_device, dev)->memory;
}

static ssize_t mode_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u32 mode = READ_ONCE(hsl_mem_from_dev(dev)->mode);

	return sysfs_emit(buf, "%s\n", mode == HSL_MEMORY_CHANGING ? "changing" : hsl_mem_modes[mode]);
}

static ssize_t mode_store(struct device *dev, struct device_attribute *attr, const char *buf,
			  size_t len)
{
	int mode, ret;

	mode = __sysfs_match_string(hsl_mem_modes, ARRAY_SIZE(hsl_mem_modes), buf);
	if (mode < 0)
		return mode;
	ret = hsl_mem_switch(hsl_mem_from_dev(dev), mode);
	return ret ? ret : len;
}
static DEVICE_ATTR_RW(mode);

static ssize_t node_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(hsl_mem_from_dev(dev)->nid));
}
static DEVICE_ATTR_RO(node);

static ssize_t huge_pages_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", HSL_COMPAT_HUGE);
}
static DEVICE_ATTR_RO(huge_pages);

#define HSL_MEM_ATTR(_name, _val)						\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf) \
{										\
	struct hsl_memory *mem = hsl_mem_from_dev(dev);				\
										\
	guard(spinlock_irqsave)(&mem->lock);					\
	return sysfs_emit(buf, "%llu\n", (u64)(_val) << PAGE_SHIFT);		\
}										\
static DEVICE_ATTR_RO(_name)

HSL_MEM_ATTR(total, mem->mode == HSL_MEMORY_OFF ? 0 : mem->nr_pages);
HSL_MEM_ATTR(free, hsl_mem_free_pages(mem));
HSL_MEM_ATTR(used, mem->mode == HSL_MEMORY_PCIE ? mem->mapped : mem->used);
HSL_MEM_ATTR(poisoned, mem->bad);
HSL_MEM_ATTR(evicted, mem->evicted);
HSL_MEM_ATTR(moved_in, mem->moved_in);
HSL_MEM_ATTR(moved_out, mem->moved_out);

static struct attribute *hsl_mem_attrs[] = {
	&dev_attr_mode.attr,
	&dev_attr_node.attr,
	&dev_attr_huge_pages.attr,
	&dev_attr_total.attr,
	&dev_attr_free.attr,
	&dev_attr_used.attr,
	&dev_attr_poisoned.attr,
	&dev_attr_evicted.attr,
	&dev_attr_moved_in.attr,
	&dev_attr_moved_out.attr,
	NULL
};

static umode_t hsl_mem_attr_visible(struct kobject *kobj, struct attribute *attr, int n)
{
	return hsl_mem_from_dev(kobj_to_dev(kobj)) ? attr->mode : 0;
}

const struct attribute_group hsl_sysfs_memory_group = {
	.name = "memory",
	.attrs = hsl_mem_attrs,
	.is_visible = hsl_mem_attr_visible,
};

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/memory_test.c"
#endif
