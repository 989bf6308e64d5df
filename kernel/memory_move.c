// SPDX-License-Identifier: GPL-2.0
/*
 * Pages move: to the device and back, when a process asks for it, and to host
 * memory when room is needed.
 *
 * A range is worked through in windows of a huge page. Each takes a few passes:
 * look where the pages are, make room, migrate those that are elsewhere. Room is
 * made and pages are faulted in with nothing locked. What still does not move
 * after the last pass is counted by its reason, not waited for: whoever holds a
 * reference to a page may do so for as long as he likes.
 *
 * Data is copied between migrate_vma_pages(), after which nobody else has a
 * reference to the old page, and migrate_vma_finalize(): before it, memory that is
 * pinned could still be written.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "memory.h"

#define HSL_MEM_PASSES	5
/* For host pages: no process is killed for them. */
#define HSL_MEM_GFP	(GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* Where a page is. */
enum hsl_mem_state {
	HSL_AT_NOWHERE,		/* a hole, the zero page, or swap */
	HSL_AT_HOST,		/* in memory that can move */
	HSL_AT_FILE,		/* in the page cache */
	HSL_AT_HERE,		/* in the memory of this device */
	HSL_AT_OTHER,		/* in that of another one */
	HSL_AT_NOMEM,		/* there was no room for it */
	HSL_AT_BUF,		/* in a dma-buf, to stay there: buf.c */
	HSL_AT_LOST,		/* in the memory of a device, which has lost what was there */
	HSL_AT_MOVING,		/* somebody else moves it at this moment */
};

static void hsl_mem_copy(struct page *dst, struct page *src, unsigned int nr)
{
	/*
	 * If the source turns out to have lost it, the destination must not
	 * pass for data.
	 */
	for (; nr--; dst++, src++)
		if (copy_mc_highpage(dst, src))
			memory_failure_queue(page_to_pfn(dst), 0);
}

/* If the page is part of a huge one, split that. false: somebody works with it. */
static bool hsl_mem_make_small(struct page *page)
{
	struct folio *folio = page_folio(page);
	bool small;

	if (!folio_test_large(folio))
		return true;
	if (!folio_try_get(folio))
		return false;
	small = page_folio(page) == folio && folio_trylock(folio);
	if (small) {
		small = !folio_test_large(folio) || !hsl_compat_split(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
	return small;
}

/*
 * Making room
 */

/*
 * Is it anybody's memory? One that is not, but is still read or written by a pipe
 * or a device, stays.
 */
static bool hsl_mem_mapped(struct hsl_memory *mem, unsigned long n)
{
	return folio_mapped(page_folio(pfn_to_page(mem->pfn + n)));
}

/* A host page for each page of the block that is mapped and can move. */
static unsigned int hsl_mem_host_room(struct hsl_memory *mem, unsigned long first,
				      struct page **room)
{
	const unsigned long *stays = mem->blocks[first / HSL_BLOCK_PAGES].stays;
	unsigned int i, got = 0;

	for (i = 0; i < HSL_BLOCK_PAGES; i++) {
		room[i] = NULL;
		if (!READ_ONCE(mem->pages[first + i].owner) || test_bit(i, stays) ||
		    hsl_mem_is_lost(mem, first + i, 1) || !hsl_mem_mapped(mem, first + i))
			continue;
		room[i] = alloc_page(HSL_MEM_GFP);
		if (!room[i])
			break;
		got++;
	}
	for (; i < HSL_BLOCK_PAGES; i++)
		room[i] = NULL;
	return got;
}

/* Take them away from their owners. The way back is in s->anon. */
static void hsl_mem_isolate(struct hsl_memory *mem, unsigned long first, struct hsl_mem_scratch *s)
{
	unsigned int i, end;

	memset(s->src, 0, sizeof(s->src));
	for (i = 0; i < HSL_BLOCK_PAGES; i++)
		s->anon[i] = s->room[i] ? hsl_anon_hold(pfn_to_page(mem->pfn + first + i)) : NULL;
	for (i = 0; i < HSL_BLOCK_PAGES; i = end + 1) {
		end = i;
		while (end < HSL_BLOCK_PAGES && s->anon[end])
			end++;
		if (end > i)
			migrate_device_range(s->src + i, mem->pfn + first + i, end - i);
	}
	for (i = 0; i < HSL_BLOCK_PAGES; i++)
		if (s->anon[i])
			put_page(pfn_to_page(mem->pfn + first + i));
}

/* A block that is one huge page, with our reference: it is not split. */
static struct anon_vma *hsl_mem_hold_huge(struct page *page)
{
	struct anon_vma *anon;

	if (!folio_test_large(page_folio(page)))
		return NULL;
	anon = hsl_anon_hold(page);
	if (!anon)
		return NULL;
	/* One of which a part is not used any more is better off in small pages. */
	if (folio_test_large(page_folio(page)) && folio_entire_mapcount(page_folio(page)))
		return anon;
	put_page(page);
	hsl_anon_release(anon);
	return NULL;
}

/* To a huge page of the host. false: it did not move so. */
static bool hsl_mem_evict_huge(struct hsl_memory *mem, unsigned long first, struct hsl_mem_scratch *s)
{
	struct page *room, *page = pfn_to_page(mem->pfn + first);
	struct anon_vma *anon;
	bool moved;

	if (hsl_mem_is_lost(mem, first, HSL_BLOCK_PAGES))
		return false;
	anon = hsl_mem_hold_huge(page);
	if (!anon)
		return false;
	room = hsl_compat_alloc_huge(NULL, 0);
	if (!room) {
		put_page(page);
		hsl_anon_release(anon);
		return false;
	}

	memset(s->src, 0, sizeof(s->src));
	memset(s->dst, 0, sizeof(s->dst));
	migrate_device_range(s->src, mem->pfn + first, HSL_BLOCK_PAGES);
	put_page(page);
	if (s->src[0] & MIGRATE_PFN_MIGRATE) {
		lock_page(room);
		s->dst[0] = migrate_pfn(page_to_pfn(room)) | HSL_COMPAT_PFN_HUGE;
	} else {
		put_page(room);
	}
	migrate_device_pages(s->src, s->dst, HSL_BLOCK_PAGES);
	moved = s->dst[0] && s->src[0] & MIGRATE_PFN_MIGRATE;
	if (moved)
		hsl_mem_copy(room, page, HSL_BLOCK_PAGES);
	migrate_device_finalize(s->src, s->dst, HSL_BLOCK_PAGES);
	hsl_anon_release(anon);
	if (!moved)
		return false;
	guard(spinlock_irqsave)(&mem->lock);
	mem->evicted += HSL_BLOCK_PAGES;
	return true;
}

/*
 * Move the least recently used block that @op has not touched and @attempt has not
 * tried to host memory. false: there is none.
 */
bool hsl_mem_evict_one(struct hsl_memory *mem, u64 op, u64 attempt)
{
	struct hsl_mem_scratch *s = mem->scratch;
	struct hsl_mem_block *b;
	unsigned long first, moved = 0;
	unsigned int i, free;

	lockdep_assert_held(&mem->evict_lock);

	b = hsl_mem_pick(mem, op, attempt);
	if (!b)
		return false;
	first = (b - mem->blocks) * HSL_BLOCK_PAGES;
	free = READ_ONCE(b->free);
	if (hsl_mem_evict_huge(mem, first, s) || !hsl_mem_make_small(pfn_to_page(mem->pfn + first)))
		return true;
	/* Parts that nobody used any more: perhaps that is enough. */
	if (READ_ONCE(b->free) > free || !hsl_mem_host_room(mem, first, s->room))
		return true;

	hsl_mem_isolate(mem, first, s);
	for (i = 0; i < HSL_BLOCK_PAGES; i++) {
		s->dst[i] = 0;
		if (!(s->src[i] & MIGRATE_PFN_MIGRATE) || !s->room[i])
			continue;
		lock_page(s->room[i]);
		s->dst[i] = migrate_pfn(page_to_pfn(s->room[i]));
		s->room[i] = NULL;
	}
	migrate_device_pages(s->src, s->dst, HSL_BLOCK_PAGES);
	for (i = 0; i < HSL_BLOCK_PAGES; i++) {
		if (!(s->src[i] & MIGRATE_PFN_MIGRATE) || !s->dst[i])
			continue;
		hsl_mem_copy(migrate_pfn_to_page(s->dst[i]), migrate_pfn_to_page(s->src[i]), 1);
		moved++;
	}
	migrate_device_finalize(s->src, s->dst, HSL_BLOCK_PAGES);

	for (i = 0; i < HSL_BLOCK_PAGES; i++) {
		hsl_anon_release(s->anon[i]);
		if (s->room[i])
			__free_page(s->room[i]);
	}
	scoped_guard(spinlock_irqsave, &mem->lock)
		mem->evicted += moved;
	return true;
}

/*
 * Page @n has lost its contents. Whoever maps it gets a page in its place that
 * says so: SIGBUS at the next touch. That page is fine and goes back to the kernel.
 * false: somebody holds the page.
 */
bool hsl_mem_lose_page(struct hsl_memory *mem, unsigned long n)
{
	struct page *page, *lost = pfn_to_page(mem->pfn + n);
	unsigned long src, dst = 0, pfn = 0;
	struct anon_vma *anon;
	int ret;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE)) {
		dev_err_once(&mem->hdev->dev,
			     "kernel built without CONFIG_MEMORY_FAILURE: processes are not told that memory is lost\n");
		return false;
	}
	if (!hsl_mem_make_small(lost))
		return false;
	page = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_ZERO);
	if (!page)
		return false;

	anon = hsl_anon_hold(lost);
	if (!anon) {
		__free_page(page);
		return false;
	}
	migrate_device_range(&src, mem->pfn + n, 1);
	put_page(lost);
	if (src & MIGRATE_PFN_MIGRATE) {
		lock_page(page);
		dst = migrate_pfn(page_to_pfn(page));
	} else {
		__free_page(page);
	}
	migrate_device_pages(&src, &dst, 1);
	if (src & MIGRATE_PFN_MIGRATE) {
		pfn = page_to_pfn(page);
		get_page(page);
	}
	migrate_device_finalize(&src, &dst, 1);
	hsl_anon_release(anon);
	if (!pfn)
		return false;

	/* Takes the reference. Until here a CPU may have read zeros. */
	ret = memory_failure(pfn, MF_COUNT_INCREASED | MF_SW_SIMULATED);
	if (ret)
		dev_err(&mem->hdev->dev, "lost page at %#lx: its users cannot be told: %d\n",
			n << PAGE_SHIFT, ret);
	else if (unpoison_memory(pfn))
		/* So it is when any memory of this machine has failed before. */
		dev_warn_once(&mem->hdev->dev, "pages of the host that stand for lost ones do not come back to it\n");
	return true;
}

/*
 * Room for @pages, in one empty block if @whole and that does not cost much.
 * Nothing is locked. -EINTR, or 0: there may be room now. The caller is not in:
 * whoever empties the memory waits for one block at most.
 */
static int hsl_mem_make_room(struct hsl_mem_op *op, unsigned int pages, bool whole)
{
	u64 attempt = hsl_mem_next_op(op->mem);
	unsigned int tries = 2;
	bool more = true;

	if (mutex_lock_killable(&op->mem->evict_lock))
		return -EINTR;
	while (more && !hsl_mem_has_room(op->mem, pages, whole)) {
		if (hsl_mem_has_room(op->mem, pages, false) && !tries--)
			break;
		if (fatal_signal_pending(current) || !hsl_mem_enter(op->mem))
			break;
		more = hsl_mem_evict_one(op->mem, op->id, attempt);
		hsl_mem_leave(op->mem);
		cond_resched();
	}
	mutex_unlock(&op->mem->evict_lock);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/*
 * One window
 */

static unsigned long hsl_mem_addr(struct hsl_mem_op *op, unsigned int i)
{
	return op->start + i * PAGE_SIZE;
}

/* Can pages of it live in device memory at all? */
static bool hsl_mem_vma_ok(struct vm_area_struct *vma)
{
	return !is_vm_hugetlb_page(vma) && !(vma->vm_flags & (VM_SPECIAL | VM_SHARED)) &&
	       !vma_is_dax(vma);
}

static enum hsl_mem_state hsl_mem_where(struct hsl_mem_op *op, struct vm_area_struct *vma,
					struct page *page)
{
	struct hsl_memory *mem = hsl_mem_of(page);

	if (mem == op->mem) {
		hsl_mem_touch(mem, page, op->id);
		return HSL_AT_HERE;
	}
	if (mem) {
		op->from = mem->hdev;
		return HSL_AT_OTHER;
	}
	if (PageAnon(page))
		return HSL_AT_HOST;
	/* In anonymous memory it is the zero page, of either size. */
	return vma_is_anonymous(vma) ? HSL_AT_NOWHERE : HSL_AT_FILE;
}

/* Of op->pages[] from @n to @end, as many as follow each other in one folio */
static unsigned int hsl_mem_run(struct hsl_mem_op *op, unsigned int n, unsigned int end)
{
	struct folio *folio = page_folio(op->pages[n]);
	unsigned int nr = 1, most;

	most = min_t(unsigned long, end - n, folio_nr_pages(folio) - folio_page_idx(folio, op->pages[n]));
	while (nr < most && op->pages[n + nr] == op->pages[n] + nr)
		nr++;
	return nr;
}

/* Note where @nr pages of a folio are, which are at page @i of the window. */
static void hsl_mem_note(struct hsl_mem_op *op, struct vm_area_struct *vma, unsigned int i,
			 struct page *page, unsigned int nr)
{
	struct hsl_memory *mem = hsl_mem_of(page);
	struct folio *folio = page_folio(page);
	unsigned int n;

	memset(op->state + i, hsl_mem_where(op, vma, page), nr);
	for (n = 0; n < nr; n++)
		op->large[i + n] = folio_test_large(folio) ? folio_pfn(folio) : 0;
	if (!mem || !hsl_mem_is_lost(mem, page_to_pfn(page) - mem->pfn, nr))
		return;
	hsl_mem_lose_again(mem);
	for (n = 0; n < nr; n++)
		if (hsl_mem_is_lost(mem, page_to_pfn(page) - mem->pfn + n, 1))
			op->state[i + n] = HSL_AT_LOST;
}

/* The entry of the block with @addr; NULL: nothing has ever been mapped in all around it. */
static pmd_t *hsl_mem_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	mmap_assert_locked(mm);

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	return pud_none(*pud) || pud_leaf(*pud) ? NULL : pmd_offset(pud, addr);
}

/* Nothing has ever been mapped in all of the block with @addr: no table is there. */
static bool hsl_mem_is_empty(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = hsl_mem_pmd(mm, addr);

	return !pmd || pmd_none(pmdp_get_lockless(pmd));
}

/* Does somebody move what was at @addr? It may come to be where it was, too. */
static bool hsl_mem_migrates(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *at = hsl_mem_pmd(mm, addr), pmd;

	if (!at)
		return false;
	/* The table may be freed, by RCU or after an interrupt to all. */
	guard(irqsave)();
	pmd = pmdp_get_lockless(at);
	if (hsl_compat_pmd_migrates(pmd))
		return true;
	return pmd_present(pmd) && !pmd_leaf(pmd) && !pmd_bad(pmd) &&
	       hsl_compat_pte_migrates(ptep_get_lockless(pte_offset_kernel(&pmd, addr)));
}

/* Look, without faulting anything in; what is found may have changed since. */
static void hsl_mem_look(struct hsl_mem_op *op, struct vm_area_struct *vma)
{
	unsigned int i = 0, n, nr;
	long got;

	mmap_assert_locked(op->mm);

	op->from = NULL;
	op->whole = false;
	if (vma_is_anonymous(vma) && hsl_mem_is_empty(op->mm, op->start)) {
		memset(op->state, HSL_AT_NOWHERE, op->nr);
		memset(op->large, 0, op->nr * sizeof(*op->large));
		return;
	}
	while (i < op->nr) {
		got = get_user_pages_remote(op->mm, hsl_mem_addr(op, i), op->nr - i,
					    FOLL_NOFAULT | FOLL_FORCE, op->pages, NULL);
		if (got == HSL_BLOCK_PAGES)
			op->whole = folio_nr_pages(page_folio(op->pages[0])) == HSL_BLOCK_PAGES &&
				    op->pages[0] == &page_folio(op->pages[got - 1])->page;
		if (got <= 0) {
			op->large[i] = 0;
			op->state[i] = hsl_mem_migrates(op->mm, hsl_mem_addr(op, i)) ? HSL_AT_MOVING : HSL_AT_NOWHERE;
			i++;
			continue;
		}
		for (n = 0; n < got; n += nr, i += nr) {
			nr = hsl_mem_run(op, n, got);
			hsl_mem_note(op, vma, i, op->pages[n], nr);
			folio_put_refs(page_folio(op->pages[n]), nr);
		}
	}
}

/* Which pages are to move? How many. */
static unsigned int hsl_mem_want(struct hsl_mem_op *op, struct vm_area_struct *vma)
{
	unsigned int i, n = 0;

	for (i = 0; i < op->nr; i++) {
		switch (op->state[i]) {
		case HSL_AT_NOWHERE:
			op->want[i] = op->where == HSL_WHERE_DEVICE && vma_is_anonymous(vma);
			break;
		case HSL_AT_MOVING:
			op->want[i] = !op->only_new;
			break;
		case HSL_AT_HOST:
			op->want[i] = op->where == HSL_WHERE_DEVICE && !op->only_new;
			break;
		case HSL_AT_HERE:
			op->want[i] = op->where == HSL_WHERE_HOST && !op->only_others;
			break;
		case HSL_AT_OTHER:
			op->want[i] = !op->only_new;
			break;
		default:
			op->want[i] = false;
		}
		n += op->want[i];
	}
	return n;
}

/*
 * As one huge page? What is one stays one. Holes become one if the process wants huge
 * pages there: it is not for us to know what the system does with memory of which
 * nothing is said.
 */
static bool hsl_mem_want_huge(struct hsl_mem_op *op, struct vm_area_struct *vma, unsigned int want)
{
	unsigned int i;

	if (!HSL_COMPAT_HUGE || want != HSL_BLOCK_PAGES || vma->vm_flags & VM_NOHUGEPAGE)
		return false;
	for (i = 1; i < want; i++)
		if (op->state[i] != op->state[0])
			return false;
	return op->state[0] == HSL_AT_NOWHERE ? vma->vm_flags & VM_HUGEPAGE : op->whole;
}

/* A block, in order */
static bool hsl_mem_room_whole(struct hsl_mem_op *op)
{
	unsigned int i;

	if (!op->room[0] || !IS_ALIGNED(page_to_pfn(op->room[0]), HSL_BLOCK_PAGES))
		return false;
	for (i = 1; i < HSL_BLOCK_PAGES; i++)
		if (op->room[i] != op->room[0] + i)
			return false;
	return true;
}

static void hsl_mem_host_take(struct hsl_mem_op *op, struct vm_area_struct *vma)
{
	struct page *huge = op->huge ? hsl_compat_alloc_huge(vma, op->start) : NULL;
	unsigned int i;

	op->huge = huge;
	for (i = 0; i < op->nr && huge; i++)
		op->room[i] = huge + i;
	if (huge)
		return;
	for (i = 0; i < op->nr; i++) {
		op->room[i] = NULL;
		if (!op->want[i])
			continue;
		op->room[i] = alloc_page_vma(HSL_MEM_GFP, vma, hsl_mem_addr(op, i));
	}
}

static void hsl_mem_give_up_room(struct hsl_mem_op *op)
{
	unsigned int i;

	if (op->huge && op->where == HSL_WHERE_HOST) {
		if (op->room[0])
			put_page(op->room[0]);
		memset(op->room, 0, sizeof(op->room));
		return;
	}
	for (i = 0; i < op->nr; i++) {
		if (!op->room[i])
			continue;
		if (op->where == HSL_WHERE_DEVICE)
			hsl_mem_give_back(op->mem, op->room[i], 1);
		else
			__free_page(op->room[i]);
		op->room[i] = NULL;
	}
}

/* Has what was in the page, or a part of the huge one, been lost? */
static bool hsl_mem_src_lost(struct page *page)
{
	struct hsl_memory *mem = hsl_mem_of(page);

	return mem && hsl_mem_is_lost(mem, page_to_pfn(page) - mem->pfn, folio_nr_pages(page_folio(page)));
}

/* The destination of page @i, whose source is @src; 0: it stays. */
static unsigned long hsl_mem_dst(struct hsl_mem_op *op, unsigned int i, unsigned long src)
{
	struct page *old = migrate_pfn_to_page(src), *page = op->room[i];
	unsigned long huge = src & HSL_COMPAT_PFN_HUGE;
	unsigned int n, nr = huge ? HSL_BLOCK_PAGES : 1;

	if (!(src & MIGRATE_PFN_MIGRATE) || !page)
		return 0;
	/* A huge page has no room for others. */
	if (!huge && op->huge && op->where == HSL_WHERE_HOST)
		return 0;
	if (old && hsl_mem_src_lost(old))
		return 0;
	/* Others would be merged into it. A write fault gives the process one of its own. */
	if (old && folio_test_ksm(page_folio(old)))
		return 0;
	if (old && op->where == HSL_WHERE_DEVICE && !hsl_compat_may_move_in(page_folio(old)))
		return 0;
	memset(op->room + i, 0, nr * sizeof(*op->room));
	if (op->where == HSL_WHERE_DEVICE)
		hsl_mem_ready(op->mem, page, huge ? HSL_BLOCK_ORDER : 0);
	else
		lock_page(page);
	/* What is put into a hole can be seen at once. */
	for (n = 0; n < nr && !old; n++)
		clear_highpage(page + n);
	return migrate_pfn(page_to_pfn(page)) | huge;
}

/*
 * Migrate @nr pages from page @first on, those in the memory whose pgmap @from owns
 * or, without, in host memory.
 */
static void hsl_mem_migrate(struct hsl_mem_op *op, struct vm_area_struct *vma,
			    unsigned int first, unsigned int nr, void *from)
{
	struct migrate_vma args = {
		.vma = vma,
		.start = hsl_mem_addr(op, first),
		.end = hsl_mem_addr(op, first + nr),
		.src = op->src + first,
		.dst = op->dst + first,
		.pgmap_owner = from ? from : op->mem->hdev,
		.flags = from ? MIGRATE_VMA_SELECT_DEVICE_COHERENT : MIGRATE_VMA_SELECT_SYSTEM,
	};
	unsigned int i, n, moved = 0;

	if (op->huge && nr == HSL_BLOCK_PAGES)
		args.flags |= HSL_COMPAT_SELECT_HUGE;
	if (migrate_vma_setup(&args) || !args.cpages)
		return;
	for (i = first; i < first + nr; i++)
		op->dst[i] = hsl_mem_dst(op, i, op->src[i]);
	migrate_vma_pages(&args);
	for (i = first; i < first + nr; i++) {
		struct page *src = migrate_pfn_to_page(op->src[i]);
		struct page *dst = migrate_pfn_to_page(op->dst[i]);

		if (!(op->src[i] & MIGRATE_PFN_MIGRATE) || !dst)
			continue;
		n = op->dst[i] & HSL_COMPAT_PFN_HUGE ? HSL_BLOCK_PAGES : 1;
		if (src)
			hsl_mem_copy(dst, src, n);
		memset(op->want + i, false, n);
		memset(op->state + i, op->where == HSL_WHERE_DEVICE ? HSL_AT_HERE : HSL_AT_HOST, n);
		moved += n;
	}
	migrate_vma_finalize(&args);

	guard(spinlock_irqsave)(&op->mem->lock);
	*(op->where == HSL_WHERE_DEVICE ? &op->mem->moved_in : &op->mem->moved_out) += moved;
}

/*
 * What is wanted, run by run. @fine: past the first huge page of a run that does not
 * move, start again. One that cannot be split takes all that comes after it with it.
 */
static void hsl_mem_migrate_runs(struct hsl_mem_op *op, struct vm_area_struct *vma,
				 void *from, bool fine)
{
	unsigned long large;
	unsigned int i = 0, end;

	while (i < op->nr) {
		if (!op->want[i] || !op->room[i]) {
			i++;
			continue;
		}
		for (end = i; end < op->nr && op->want[end] && op->room[end]; end++)
			;
		hsl_mem_migrate(op, vma, i, end - i, from);
		if (!fine) {
			i = end;
			continue;
		}
		while (i < end && !(op->want[i] && op->large[i]))
			i++;
		for (large = i < end ? op->large[i] : 0; i < end && op->large[i] == large; i++)
			;
	}
}

/* Those that are to move and have no place to go to. */
static void hsl_mem_no_room(struct hsl_mem_op *op)
{
	unsigned int i;

	for (i = 0; i < op->nr; i++) {
		if (op->want[i] && !op->room[i]) {
			op->want[i] = false;
			op->state[i] = HSL_AT_NOMEM;
		}
	}
}

/*
 * Look and migrate. 1: something is left that another pass may move. If there
 * should be more room first, and may, *@room says how much.
 */
static int hsl_mem_pass(struct hsl_mem_op *op, struct vm_area_struct *vma, unsigned int pass,
			bool may_make_room, unsigned int *room)
{
	unsigned int want, taken;

	hsl_mem_look(op, vma);
	want = hsl_mem_want(op, vma);
	if (!want)
		return 0;
	op->huge = !pass && hsl_mem_want_huge(op, vma, want);

	if (op->where == HSL_WHERE_DEVICE) {
		taken = hsl_mem_take(op, may_make_room);
		/* Others make room for what the caller may have, and not for more. */
		if (may_make_room && taken < op->may) {
			hsl_mem_give_up_room(op);
			*room = op->may;
			return 1;
		}
		op->huge = op->huge && hsl_mem_room_whole(op);
	} else {
		hsl_mem_host_take(op, vma);
	}
	hsl_mem_no_room(op);

	if (op->where == HSL_WHERE_DEVICE)
		hsl_mem_migrate_runs(op, vma, NULL, pass == 1);
	if (op->from)
		hsl_mem_migrate_runs(op, vma, op->from, pass == 1);
	else if (op->where == HSL_WHERE_HOST)
		hsl_mem_migrate_runs(op, vma, op->mem->hdev, pass == 1);
	hsl_mem_give_up_room(op);
	return memchr_inv(op->want, 0, op->nr) != NULL;
}

/* Swapped out, or the same for several processes: a fault brings it in. */
static int hsl_mem_fault_in(struct hsl_mem_op *op, unsigned int flags)
{
	unsigned int i;
	int locked;
	long got;

	for (i = 0; i < op->nr; i++) {
		if (!op->want[i] || (op->state[i] != HSL_AT_NOWHERE && op->state[i] != HSL_AT_MOVING &&
				     op->state[i] != HSL_AT_HOST))
			continue;
		if (fatal_signal_pending(current))
			return -EINTR;
		mmap_read_lock(op->mm);
		locked = 1;
		got = get_user_pages_remote(op->mm, hsl_mem_addr(op, i), 1, flags, op->pages, &locked);
		if (locked)
			mmap_read_unlock(op->mm);
		if (got == 1)
			put_page(op->pages[0]);
		else if (got != -ENOMEM)
			__set_bit(i, op->hopeless);
	}
	return 0;
}

/* What the last pass left behind, by reason. */
static void hsl_mem_account(struct hsl_mem_op *op)
{
	unsigned int i;

	for (i = 0; i < op->nr; i++) {
		switch (op->state[i]) {
		case HSL_AT_NOMEM:
			op->nomem += PAGE_SIZE;
			break;
		case HSL_AT_OTHER:
		case HSL_AT_MOVING:
			op->pinned += PAGE_SIZE;
			break;
		case HSL_AT_BUF:
		case HSL_AT_LOST:
			op->other += PAGE_SIZE;
			break;
		case HSL_AT_HERE:
			*(op->where == HSL_WHERE_DEVICE || op->only_others ? &op->moved : &op->pinned) += PAGE_SIZE;
			break;
		case HSL_AT_HOST:
			*(op->where == HSL_WHERE_HOST ? &op->moved : &op->pinned) += PAGE_SIZE;
			break;
		case HSL_AT_NOWHERE:
			/* Somebody else moves it, each time we look. */
			if (op->where == HSL_WHERE_DEVICE && op->anon && !test_bit(i, op->hopeless)) {
				op->pinned += PAGE_SIZE;
				break;
			}
			fallthrough;
		default:
			*(op->where == HSL_WHERE_HOST ? &op->moved : &op->other) += PAGE_SIZE;
		}
	}
}

/* From @addr to the end of its huge page, its mapping or @end. */
static int hsl_mem_window(struct hsl_mem_op *op, unsigned long addr, unsigned long end)
{
	unsigned int pass = 0, spare = 3, room, flags = 0;
	struct vm_area_struct *vma;
	int ret;

	bitmap_zero(op->hopeless, HSL_BLOCK_PAGES);
	for (;;) {
		room = 0;
		if (mmap_read_lock_killable(op->mm))
			return -EINTR;
		vma = vma_lookup(op->mm, addr);
		if (!vma) {
			mmap_read_unlock(op->mm);
			return -EFAULT;
		}
		if (!hsl_mem_enter(op->mem)) {
			mmap_read_unlock(op->mm);
			return -EAGAIN;
		}
		op->start = addr;
		op->nr = (min3(end, vma->vm_end, ALIGN(addr + 1, HSL_BLOCK_SIZE)) - addr) >> PAGE_SHIFT;
		op->anon = vma_is_anonymous(vma);
		flags = vma->vm_flags & VM_WRITE ? FOLL_WRITE : FOLL_FORCE;
		if (hsl_mem_vma_ok(vma)) {
			ret = hsl_mem_pass(op, vma, pass, spare, &room);
		} else {
			memset(op->state, hsl_buf_is_mapped(vma) ? HSL_AT_BUF : HSL_AT_FILE, op->nr);
			/* Whoever fetches it has found it on a device. */
			ret = op->only_others ? -EOPNOTSUPP : 0;
		}
		hsl_mem_leave(op->mem);
		mmap_read_unlock(op->mm);

		if (room) {
			spare--;
			ret = hsl_mem_make_room(op, room, room == HSL_BLOCK_PAGES);
			if (ret)
				return ret;
			continue;
		}
		if (ret < 0)
			return ret;
		if (!ret || ++pass == HSL_MEM_PASSES || op->only_new)
			break;
		if (pass == 1 && op->where == HSL_WHERE_DEVICE) {
			ret = hsl_mem_fault_in(op, flags);
			if (ret)
				return ret;
		} else if (pass > 1) {
			usleep_range(50 << pass, 100 << pass);
		}
	}
	hsl_mem_account(op);
	return 0;
}

static int hsl_mem_range(struct hsl_mem_op *op, unsigned long addr, unsigned long end)
{
	int ret;

	while (addr < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = hsl_mem_window(op, addr, end);
		if (ret)
			return ret;
		addr += op->nr << PAGE_SHIFT;
		cond_resched();
	}
	return 0;
}

struct hsl_mem_op *hsl_mem_op_alloc(struct hsl_context *ctx, struct hsl_memory *mem, u32 where)
{
	struct hsl_mem_op *op;

	op = kvzalloc(sizeof(*op), GFP_KERNEL_ACCOUNT);
	if (!op)
		return NULL;
	op->mem = mem;
	op->owner = ctx->memory;
	op->mm = ctx->mm;
	op->where = where;
	op->id = hsl_mem_next_op(mem);
	return op;
}

bool hsl_mem_usable(struct hsl_context *ctx)
{
	return ctx->memory && READ_ONCE(ctx->hdev->memory->mode) == HSL_MEMORY_COHERENT;
}

/*
 * Move what @cmd names. The amounts are filled in whatever is returned. The
 * caller's address space is the context's.
 */
int hsl_mem_move(struct hsl_context *ctx, struct hsl_migrate *cmd)
{
	struct hsl_mem_op *op;
	int ret;

	cmd->moved = 0;
	cmd->pinned = 0;
	cmd->nomem = 0;
	cmd->other = 0;
	if (!hsl_mem_usable(ctx)) {
		cmd->other = cmd->len;
		return -EOPNOTSUPP;
	}

	op = hsl_mem_op_alloc(ctx, ctx->hdev->memory, cmd->where);
	if (!op) {
		cmd->nomem = cmd->len;
		return -ENOMEM;
	}

	ret = hsl_mem_range(op, cmd->addr, cmd->addr + cmd->len);
	cmd->moved = op->moved;
	cmd->pinned = op->pinned;
	cmd->nomem = op->nomem;
	cmd->other = op->other;
	kvfree(op);

	/* The mode has changed on the way, or the device has gone. */
	if (ret == -EAGAIN)
		ret = -EOPNOTSUPP;
	if (ret == -EOPNOTSUPP)
		cmd->other = cmd->len - cmd->moved - cmd->pinned - cmd->nomem;
	if (ret == -EOPNOTSUPP && READ_ONCE(ctx->dead))
		ret = -ENODEV;
	if (ret)
		return ret;
	if (cmd->pinned)
		return -EBUSY;
	if (cmd->nomem)
		return -ENOMEM;
	return cmd->other ? -EOPNOTSUPP : 0;
}

/*
 * @nr pages that nobody has, in op->room: up to a block. On success the caller is in
 * (hsl_mem_leave()), so that he can note whose they are before the mode changes.
 */
int hsl_mem_reserve(struct hsl_mem_op *op, unsigned int nr)
{
	unsigned int spare = 3;
	unsigned int i;
	int ret;

	op->nr = nr;
	memset(op->want, true, nr * sizeof(*op->want));
	for (;;) {
		if (!hsl_mem_enter(op->mem))
			return -EOPNOTSUPP;
		if (hsl_mem_take(op, spare) == nr)
			break;
		hsl_mem_give_up_room(op);
		hsl_mem_leave(op->mem);
		if (op->may < nr || !spare--)
			return -ENOMEM;
		ret = hsl_mem_make_room(op, nr, nr == HSL_BLOCK_PAGES);
		if (ret)
			return ret;
	}
	for (i = 0; i < nr; i++) {
		hsl_mem_ready(op->mem, op->room[i], 0);
		unlock_page(op->room[i]);
	}
	return 0;
}

/* Create on the device what is not there yet; if there is no room, others will. */
void hsl_mem_place(struct hsl_context *ctx, unsigned long addr, unsigned long end)
{
	struct hsl_mem_op *op;

	if (!hsl_mem_usable(ctx))
		return;
	op = hsl_mem_op_alloc(ctx, ctx->hdev->memory, HSL_WHERE_DEVICE);
	if (!op)
		return;
	op->only_new = true;
	hsl_mem_range(op, addr, end);
	kvfree(op);
}

/*
 * Whose coherent memory is at @addr? With a reference, or an errno: -EAGAIN it is no
 * device's at all (any more), or on the way to somewhere else; -EXDEV it is another
 * driver's.
 */
static int hsl_mem_owner_of(struct mm_struct *mm, unsigned long addr, struct hsl_device **hdev)
{
	struct hsl_memory *mem;
	struct page *page;
	int ret = -EAGAIN;

	mmap_read_lock(mm);
	if (get_user_pages_remote(mm, addr, 1, FOLL_NOFAULT | FOLL_FORCE, &page, NULL) == 1) {
		mem = hsl_mem_of(page);
		if (mem) {
			*hdev = mem->hdev;
			get_device(&mem->hdev->dev);
			ret = 0;
		} else if (is_zone_device_page(page)) {
			ret = -EXDEV;
		}
		put_page(page);
	}
	mmap_read_unlock(mm);
	return ret;
}

/* What became of the pages; of the first one alone, when it is not all of them */
static int hsl_mem_fetch_range(struct hsl_mem_op *op, unsigned long addr, unsigned long end)
{
	int ret = hsl_mem_range(op, addr, end);

	if (ret == -EOPNOTSUPP)
		return -EXDEV;
	if (ret)
		return ret;
	if (end > addr + PAGE_SIZE && (op->pinned || op->nomem || op->other)) {
		op->pinned = 0;
		op->nomem = 0;
		op->other = 0;
		return hsl_mem_fetch_range(op, addr, addr + PAGE_SIZE);
	}
	if (op->other)
		return -EXDEV;
	return op->pinned || op->nomem ? -EBUSY : -EAGAIN;
}

/*
 * Move to host memory what lies in the memory of other devices, the page at @addr
 * above all. -EAGAIN: look again. -EBUSY: it may be possible later. -EXDEV: it is not.
 * For those who cannot reach it there; they hold the mm, and no lock.
 */
int hsl_memory_fetch(struct hsl_context *ctx, unsigned long addr, unsigned long end)
{
	bool own = hsl_mem_usable(ctx);
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_mem_op *op;
	int ret;

	/* A device without such memory: that of the first page it wants. */
	if (own) {
		get_device(&hdev->dev);
	} else {
		ret = hsl_mem_owner_of(ctx->mm, addr, &hdev);
		if (ret)
			return ret;
	}

	ret = -ENOMEM;
	op = hsl_mem_op_alloc(ctx, hdev->memory, HSL_WHERE_HOST);
	if (op) {
		op->only_others = own;
		ret = hsl_mem_fetch_range(op, addr, end);
		kvfree(op);
	}
	put_device(&hdev->dev);
	return ret;
}

bool hsl_mem_range_ok(struct hsl_context *ctx, u64 addr, u64 len)
{
	u64 end;

	return len && PAGE_ALIGNED(addr) && PAGE_ALIGNED(len) &&
	       !check_add_overflow(addr, len, &end) && end <= ctx->mm->task_size;
}

int hsl_ioctl_migrate(struct hsl_ucmd *ucmd)
{
	struct hsl_migrate *cmd = ucmd->cmd;
	int ret, err;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	if (cmd->where > HSL_WHERE_DEVICE || !hsl_mem_range_ok(ucmd->ctx, cmd->addr, cmd->len))
		return -EINVAL;

	ret = hsl_mem_move(ucmd->ctx, cmd);
	err = hsl_ucmd_respond(ucmd);
	return err ? err : ret;
}
