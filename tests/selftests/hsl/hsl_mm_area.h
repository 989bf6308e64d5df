/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Areas of memory of each kind and the things that can happen to their mapping.
 * An event is a function that does one to some part of the area, tells the phases
 * of it, and returns false if the kernel refused.
 */
#ifndef HSL_MM_AREA_H
#define HSL_MM_AREA_H

#include "hsl_mm_disk.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

enum mm_kind {
	MM_ANON,
	MM_HUGE,
	MM_SHARED,	/* a file without a disk */
	MM_DISK,	/* a file on one */
	MM_PRIVATE,	/* copies of its pages */
};

#define MM_ORIGINAL	0x0123456789abcdef	/* what the file below MM_PRIVATE is full of */

struct mm_area {
	struct mm_region r;
	struct hsl_queue *q;	/* of whoever makes things happen */
	enum mm_kind kind;
	char *mem, *spare;	/* of the same size, nothing mapped there */
	size_t len;
	int fd;			/* of the file */
	bool splits;		/* the mapping falls to pieces, and mremap() takes only one */
	uint64_t seed;
};

typedef bool (*mm_event)(struct mm_area *a);

static inline uint64_t mm_area_rnd(struct mm_area *a, uint64_t below)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return (a->seed >> 11) % below;
}

static inline bool mm_is_anon(const struct mm_area *a)
{
	return a->kind == MM_ANON || a->kind == MM_HUGE;
}

/* What is written is in the file, whatever becomes of the mapping. */
static inline bool mm_is_kept(const struct mm_area *a)
{
	return a->kind == MM_SHARED || a->kind == MM_DISK;
}

/* Map it as it was: new anonymous memory, or the same of the file. */
static inline bool mm_map_again(struct mm_area *a, char *at, size_t len)
{
	if (!mm_is_anon(a))
		return mm_map_at(at, len, mm_is_kept(a) ? MAP_SHARED : MAP_PRIVATE, a->fd, at - a->mem);
	if (!mm_map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
		return false;
	madvise(at, len, a->kind == MM_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return true;
}

/* @dir: where files are that have a disk */
static inline int mm_area_init(struct mm_area *a, struct hsl_ctx *ctx, enum mm_kind kind, const char *dir)
{
	int err = hsl_queue_create(ctx, NULL, &a->q);

	if (err)
		return err;
	a->seed = rnd64() | 1;
	a->kind = kind;
	a->len = kind == MM_HUGE ? 2 * HUGE_PAGE : 64 * page_size();
	a->fd = -1;
	if (!mm_is_anon(a)) {
		a->fd = kind == MM_SHARED ? memfd_create("hsl_mm", MFD_CLOEXEC) :
			open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (a->fd < 0 || ftruncate(a->fd, a->len))
			return -errno;
		if (kind == MM_PRIVATE && !fill_file(a->fd, 0, a->len, MM_ORIGINAL))
			return -errno;
	}
	a->mem = mm_reserve(a->len);
	a->spare = mm_reserve(a->len);
	return a->mem && a->spare && mm_map_again(a, a->mem, a->len) ? 0 : -ENOMEM;
}

/* Some pages in a row, now and then whole huge ones */
struct mm_part {
	size_t first, nr;
	char *at;
	size_t len;
};

static inline struct mm_part mm_pick(struct mm_area *a)
{
	struct mm_region *r = &a->r;
	size_t most = r->pages / 4;
	struct mm_part p = { .nr = 1 + mm_area_rnd(a, most) };

	if (a->kind == MM_HUGE && mm_area_rnd(a, 2)) {
		p.nr = HUGE_PAGE / r->page;
		p.first = mm_area_rnd(a, 2) * p.nr;
	} else {
		if (mm_area_rnd(a, 2))
			p.nr = 1 + mm_area_rnd(a, 4);
		p.first = mm_area_rnd(a, r->pages - p.nr + 1);
	}
	p.at = r->mem + p.first * r->page;
	p.len = p.nr * r->page;
	return p;
}

static inline void mm_step(struct mm_area *a, const struct mm_part *p, uint32_t by)
{
	mm_next(&a->r, p->first, p->nr, by);
}

/* What is private loses what it held by what comes now; the file holds it. */
static inline void mm_losing(struct mm_area *a, const struct mm_part *p)
{
	if (mm_is_kept(a))
		mm_step(a, p, 1);
	else
		mm_lose(&a->r, p->first, p->nr);
}

static inline bool mm_unmap_and_map(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_losing(a, &p);
	ok = !munmap(p.at, p.len);
	mm_step(a, &p, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &p, 1);
	ok &= mm_map_again(a, p.at, p.len);
	mm_step(a, &p, 1);
	return ok;
}

static inline bool mm_map_over(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_losing(a, &p);
	ok = mm_map_again(a, p.at, p.len);
	mm_step(a, &p, 3);
	return ok;
}

static inline bool mm_protect(struct mm_area *a, int prot)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	if (prot == PROT_READ)
		mm_keep_readable(&a->r, p.first, p.nr);
	mm_step(a, &p, 1);
	ok = !mprotect(p.at, p.len, prot);
	mm_step(a, &p, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &p, 1);
	ok &= !mprotect(p.at, p.len, PROT_READ | PROT_WRITE);
	mm_step(a, &p, 1);
	return ok;
}

static inline bool mm_protect_none(struct mm_area *a)
{
	return mm_protect(a, PROT_NONE);
}

static inline bool mm_protect_read(struct mm_area *a)
{
	return mm_protect(a, PROT_READ);
}

/* The CPU and the device find the same there, and it does not change. */
static inline bool mm_quiet(struct mm_area *a, char *at, size_t len)
{
	size_t page = page_size(), i;
	char seen[page], before[page];
	struct hsl_cqe c;

	for (i = 0; i < len / page && i < 4; i++) {
		memcpy(before, at + i * page, page);
		if (do_copy(a->q, &c, seen, at + i * page, page) || c.status != HSL_ST_OK)
			return false;
		if (memcmp(before, seen, page) || memcmp(at + i * page, seen, page))
			return false;
	}
	return true;
}

/* What mremap() can move at once */
static inline struct mm_part mm_pick_to_move(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);

	if (a->splits) {
		p.nr = 1;
		p.len = a->r.page;
	}
	return p;
}

static inline bool mm_move_and_back(struct mm_area *a)
{
	struct mm_part p = mm_pick_to_move(a);
	char *there = a->spare + p.first * a->r.page;
	bool ok;

	mm_step(a, &p, 1);
	ok = mremap(p.at, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there;
	mm_step(a, &p, 1);
	ok &= mm_quiet(a, there, p.len);
	mm_stay_closed(&a->r);
	mm_step(a, &p, 1);
	ok &= mremap(there, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED, p.at) == p.at;
	mm_step(a, &p, 1);
	return ok;
}

/* The pages go elsewhere, the mapping stays, empty. */
static inline bool mm_move_pages_away(struct mm_area *a)
{
	struct mm_part p = mm_pick_to_move(a);
	char *there = a->spare + p.first * a->r.page;
	bool ok;

	mm_losing(a, &p);
	ok = mremap(p.at, p.len, p.len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, there) == there;
	mm_step(a, &p, 3);
	if (!mm_is_kept(a))
		ok &= mm_quiet(a, there, p.len);
	ok &= !munmap(there, p.len);
	return ok;
}

/* By way of the last page that stays, which is in one mapping with nothing beyond it. */
static inline bool mm_shrink_and_grow(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	const size_t page = a->r.page;
	char *last = p.at - page;
	size_t all;
	bool ok;

	if (!p.first)
		return true;
	p.nr = a->r.pages - p.first;
	all = (1 + p.nr) * page;
	mm_losing(a, &p);
	ok = mremap(last, all, page, 0) == last;
	mm_step(a, &p, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &p, 1);
	ok &= mremap(last, page, all, 0) == last;
	mm_step(a, &p, 1);
	return ok;
}

static inline bool mm_advise_losing(struct mm_area *a, int advice)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_lose(&a->r, p.first, p.nr);
	ok = !madvise(p.at, p.len, advice);
	mm_step(a, &p, 3);
	return ok;
}

static inline bool mm_advise(struct mm_area *a, int advice)
{
	struct mm_part p = mm_pick(a);

	return !madvise(p.at, p.len, advice);
}

static inline bool mm_dontneed(struct mm_area *a)
{
	return mm_is_kept(a) ? mm_advise(a, MADV_DONTNEED) : mm_advise_losing(a, MADV_DONTNEED);
}

/* Gone at some time that nobody tells; to know what is there afterwards, all of it in the end. */
static inline bool mm_free_and_drop(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_lose(&a->r, p.first, p.nr);
	ok = !madvise(p.at, p.len, MADV_FREE) && (mm_area_rnd(a, 2) || !madvise(p.at, p.len, MADV_PAGEOUT));
	mm_let_work(&a->r, 4);
	ok &= !madvise(p.at, p.len, MADV_DONTNEED);
	mm_step(a, &p, 3);
	return ok;
}

static inline bool mm_guard_and_remove(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok;

	mm_losing(a, &p);
	ok = !madvise(p.at, p.len, MADV_GUARD_INSTALL);
	mm_step(a, &p, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &p, 1);
	ok &= !madvise(p.at, p.len, MADV_GUARD_REMOVE);
	mm_step(a, &p, 1);
	return ok;
}

static inline bool mm_lock_and_unlock(struct mm_area *a)
{
	struct mm_part p = mm_pick(a);
	bool ok = !(mm_area_rnd(a, 2) ? mlock(p.at, p.len) : mlock2(p.at, p.len, MLOCK_ONFAULT));

	return ok && !munlock(p.at, p.len);
}

/* Advice that changes nothing that can be seen */
static inline bool mm_hint(struct mm_area *a)
{
	static const int advice[] = {
		MADV_COLD, MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTDUMP, MADV_DODUMP,
	};

	return mm_advise(a, advice[mm_area_rnd(a, ARRAY(advice))]);
}

#endif
