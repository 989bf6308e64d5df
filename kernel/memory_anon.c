// SPDX-License-Identifier: GPL-2.0
/*
 * What leads from a page to its owners: the anon_vma.
 *
 * While a page is migrated nobody maps it, and the way back to those who did is
 * page->mapping. Where no mmap lock is held, since it is device memory that is
 * emptied and not an address space, they may all exit or unmap meanwhile, and the
 * last of them frees the anon_vma. Core mm's own migration therefore holds it,
 * with folio_get_anon_vma(); migrate_device_range() does not, and leaves nothing
 * that its caller could hold instead. Neither that function nor put_anon_vma() is
 * exported, so both are here, as they are in mm/rmap.c.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/slab.h>

#include "compat.h"
#include "memory.h"

static void hsl_anon_free(struct anon_vma *anon)
{
	might_sleep();
	/* Who locked it before he could see that his page is not mapped any more. */
	if (rwsem_is_locked(&anon->root->rwsem)) {
		down_write(&anon->root->rwsem);
		up_write(&anon->root->rwsem);
	}
	/* Whatever cache it is from. */
	kfree(anon);
}

static void hsl_anon_put(struct anon_vma *anon)
{
	struct anon_vma *root = anon->root;

	if (!atomic_dec_and_test(&anon->refcount))
		return;
	hsl_anon_free(anon);
	if (root != anon && atomic_dec_and_test(&root->refcount))
		hsl_anon_free(root);
}

static struct anon_vma *hsl_anon_get(struct folio *folio)
{
	unsigned long mapping;
	struct anon_vma *anon;

	scoped_guard(rcu) {
		mapping = (unsigned long)READ_ONCE(folio->mapping);
		if ((mapping & HSL_COMPAT_MAPPING_FLAGS) != HSL_COMPAT_MAPPING_ANON ||
		    !folio_mapped(folio))
			return NULL;
		anon = (struct anon_vma *)(mapping - HSL_COMPAT_MAPPING_ANON);
		/* If it was freed, it is still one, though perhaps of others. */
		if (!atomic_inc_not_zero(&anon->refcount))
			return NULL;
		if (folio_mapped(folio))
			return anon;
	}
	hsl_anon_put(anon);
	return NULL;
}

/*
 * Until the page is with its owners again. Comes with a reference to the page: as
 * long as there is one, a write fault does not give the page to the anon_vma of a
 * child. The caller drops it when he has locked the page, before he migrates it.
 * NULL, and no reference: nobody has mapped the page, or somebody else works with it.
 *
 * UFFDIO_MOVE does not look at references. If it moves the page to another mapping
 * before the caller has locked it, that mapping's anon_vma is not held. Nothing can be
 * done about that from here.
 */
struct anon_vma *hsl_anon_hold(struct page *page)
{
	struct folio *folio = page_folio(page);
	struct anon_vma *anon = NULL;

	if (!folio_try_get(folio))
		return NULL;
	if (folio_trylock(folio)) {
		anon = hsl_anon_get(folio);
		folio_unlock(folio);
	}
	if (!anon)
		folio_put(folio);
	return anon;
}

void hsl_anon_release(struct anon_vma *anon)
{
	if (anon)
		hsl_anon_put(anon);
}
