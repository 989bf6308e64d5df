/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that a device works in while something happens to its mapping.
 *
 * A region is an array of pages, each full of one 8-byte value, but for a first
 * word that atomics add to. Workers, each with a queue of the device and pages
 * of its own, write, add, read and compare, by the device and by the CPU, and
 * know what must be there. The test does things to the mapping meanwhile and
 * tells the workers by the page's phase, a counter:
 *
 *   phase % 4 == 0  open: every access succeeds
 *                1  it is being closed, or loses its contents
 *                2  closed: every access must fault (after mm_keep_readable(): every write)
 *                3  it is being opened
 *
 * An access that saw one phase from before its submission to after its
 * completion is held to it exactly. Around a change both outcomes are right; but
 * what was complete before an event that loses it began must never be seen after
 * that event, and what was written after it must be there.
 *
 * While an event that loses contents goes on there may be two pages at an address:
 * one that is unmapped already, but is still reached by a translation which the
 * kernel is about to flush, and a new one that a fault has brought in. A write then
 * goes to either and the next access to the other. Until such a page is written or
 * looked at in peace, all that is sure of it is that it holds what is there after
 * the event, or something that was written to it since the last write before.
 */
#ifndef HSL_MM_H
#define HSL_MM_H

#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "hsl_test.h"

#define MM_CLOSES	1	/* there may be closed pages: the CPU goes carefully */
#define MM_READABLE	2	/* closed is for writing only, for all pages */
#define MM_LAZY		4	/* what events lose is lost at some later time, or never */
#define MM_TWINS	8	/* many pages with the same contents, for KSM */
#define MM_FAULTY	16	/* PAGE_FAULT is right at any time: what faults is done again */

#define MM_BLOCK	4	/* pages in a row that one worker has */
#define MM_BATCH	8
#define MM_WORKERS	2
#define HUGE_PAGE	(2 * MB)

struct mm_value {
	uint64_t val;
	uint32_t since;	/* phase when the write that made it began */
	uint32_t known;	/* phase when it was over */
};

struct mm_page {
	struct mm_value word, body;
	bool torn;	/* a write stopped inside the page */
	bool split;	/* written when there may have been two of it */
	uint64_t before, first;	/* if split: the last value before, the first one since */
};

struct mm_worker {
	struct mm_region *region;
	struct hsl_queue *q;
	pthread_t thread;
	unsigned int id;
	uint64_t seed, seq;
	char *buf;	/* MM_BATCH blocks for the device to write to or to read */
	uint64_t ok, faults, must_fault;
	char wrong[256];
};

struct mm_region {
	struct hsl_ctx *ctx;
	char *mem;
	size_t page, pages;
	unsigned int flags;
	uint64_t blank;
	uint32_t *phase;
	uint32_t *lost;	/* phase in which the last event began that lost the contents */
	uint32_t *readable;	/* phase in which it is, or was, closed for writing only */
	struct mm_page *model;
	bool stop;
	/* How a CPU reads or writes a page; false: it could not. NULL: this thread itself */
	bool (*cpu)(struct mm_region *r, void *ours, void *theirs, bool write);
	void *cpu_arg;
	unsigned int workers;
	struct mm_worker worker[MM_WORKERS];
};

static inline uint64_t mm_rnd(struct mm_worker *w, uint64_t below)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return (w->seed >> 11) % below;
}

static inline uint32_t mm_phase(struct mm_region *r, size_t page)
{
	return __atomic_load_n(&r->phase[page], __ATOMIC_SEQ_CST);
}

/* What a worker writes: its own, and more each time. */
static inline uint64_t mm_value_nr(const struct mm_worker *w, uint64_t nr)
{
	return (uint64_t)(w->id + 1) << 56 | nr;
}

/* The next time that these open pages are closed, it is for writing only. */
static inline void mm_keep_readable(struct mm_region *r, size_t first, size_t nr)
{
	for (; nr--; first++)
		__atomic_store_n(&r->readable[first], mm_phase(r, first) + 2, __ATOMIC_SEQ_CST);
}

/* The next phase for some pages. */
static inline void mm_next(struct mm_region *r, size_t first, size_t nr, uint32_t by)
{
	while (nr--)
		__atomic_fetch_add(&r->phase[first++], by, __ATOMIC_SEQ_CST);
}

/* The same, and what they hold is lost by what comes now. */
static inline void mm_lose(struct mm_region *r, size_t first, size_t nr)
{
	for (; nr--; first++)
		__atomic_store_n(&r->lost[first], __atomic_add_fetch(&r->phase[first], 1, __ATOMIC_SEQ_CST),
				 __ATOMIC_SEQ_CST);
}

static __attribute__((format(printf, 2, 3))) inline void mm_wrong(struct mm_worker *w, const char *fmt, ...)
{
	va_list ap;

	if (w->wrong[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->wrong, sizeof(w->wrong), fmt, ap);
	va_end(ap);
	__atomic_store_n(&w->region->stop, true, __ATOMIC_SEQ_CST);
}

/* May it be seen by an access to the page that began in phase @ph0? */
static inline bool mm_may_be(struct mm_region *r, size_t page, const struct mm_value *v, uint64_t seen,
			     uint32_t ph0)
{
	uint32_t lost = __atomic_load_n(&r->lost[page], __ATOMIC_SEQ_CST);

	if (!lost || lost + 3 <= v->since)
		return seen == v->val;
	if (!(r->flags & MM_LAZY) && lost > v->known && lost + 3 <= ph0)
		return seen == r->blank;
	return seen == v->val || seen == r->blank;
}

static inline void mm_set(struct mm_value *v, uint64_t val, uint32_t ph0, uint32_t ph1)
{
	*v = (struct mm_value){ .val = val, .since = ph0, .known = ph1 };
}

static inline void mm_set_page(struct mm_region *r, size_t page, uint64_t val, uint32_t ph0, uint32_t ph1)
{
	mm_set(&r->model[page].word, val, ph0, ph1);
	mm_set(&r->model[page].body, val, ph0, ph1);
	r->model[page].torn = r->model[page].split = false;
}

/* A write of @val that began in phase @ph0: may there have been two pages? */
static inline bool mm_split(struct mm_region *r, size_t page, uint64_t val, uint32_t ph0)
{
	uint32_t lost = __atomic_load_n(&r->lost[page], __ATOMIC_SEQ_CST);
	struct mm_page *p = &r->model[page];

	if (!lost || ph0 > lost)
		return false;
	if (!p->split) {
		p->before = p->body.val == r->blank ? 0 : p->body.val;
		p->first = val;
	}
	return p->split = true;
}

/* All of a page is written. */
static inline void mm_write_page(struct mm_region *r, size_t page, uint64_t val, uint32_t ph0, uint32_t ph1)
{
	bool split = mm_split(r, page, val, ph0);

	mm_set_page(r, page, val, ph0, ph1);
	r->model[page].split = split;
}

/* mm_may_be() for the body of a page that is split */
static inline bool mm_may_be_either(struct mm_region *r, size_t page, uint64_t seen, uint32_t ph0)
{
	uint32_t lost = __atomic_load_n(&r->lost[page], __ATOMIC_SEQ_CST);
	const struct mm_worker *w = &r->worker[page / MM_BLOCK % r->workers];
	bool over = lost + 3 <= ph0 && !(r->flags & MM_LAZY);
	const struct mm_page *p = &r->model[page];

	return seen == r->blank || (seen >= (over ? p->first : p->before) && seen <= mm_value_nr(w, w->seq) &&
				    seen > mm_value_nr(w, 0));
}

/* Are these the contents of a page? Those that cannot change any more become exact. */
static inline void mm_check(struct mm_worker *w, size_t page, const uint64_t *seen, uint32_t ph0, uint32_t ph1,
			    const char *who)
{
	struct mm_region *r = w->region;
	struct mm_page *p = &r->model[page];
	size_t i, words = r->page / 8;
	bool blank = true, even = true;

	if (p->torn)
		return;
	for (i = 0; i < words; i++) {
		struct mm_value *v = i ? &p->body : &p->word;

		if (p->split ? i && !mm_may_be_either(r, page, seen[i], ph0) : !mm_may_be(r, page, v, seen[i], ph0)) {
			mm_wrong(w, "%s finds %#lx at page %zu word %zu, not %#lx%s nor blank %#lx; written in %u to %u, lost in %u, now %u to %u",
				 who, (unsigned long)seen[i], page, i, (unsigned long)v->val,
				 p->split ? " nor one before" : "", (unsigned long)r->blank, v->since, v->known,
				 r->lost[page], ph0, ph1);
			return;
		}
		blank &= seen[i] == r->blank;
		even &= !i || seen[i] == seen[1];
	}
	if (ph0 != ph1 || ph0 & 3)
		return;
	if (blank)
		mm_set_page(r, page, r->blank, ph0, ph1);
	else if (even && !(r->flags & MM_LAZY)) {
		mm_set(&p->word, seen[0], ph0, ph1);
		mm_set(&p->body, seen[1], ph0, ph1);
		p->split = false;
	}
}

static inline uint64_t mm_new_value(struct mm_worker *w)
{
	if (w->region->flags & MM_TWINS)
		return 0x7777000077770000 + mm_rnd(w, 2);
	return mm_value_nr(w, ++w->seq);
}

enum mm_do { MM_FILL, MM_STORE, MM_ADD, MM_READ, MM_COMPARE, MM_DO_NR };

struct mm_op {
	enum mm_do what;
	size_t first, nr;	/* pages */
	uint64_t val;
	uint32_t ph0[MM_BLOCK];
	uint64_t *buf;
};

static inline void mm_words(uint64_t *p, uint64_t val, size_t len)
{
	for (len /= 8; len--; p++)
		*(volatile uint64_t *)p = val;
}

static inline void mm_prepare(struct mm_worker *w, struct mm_op *op, unsigned int slot, size_t block)
{
	struct mm_region *r = w->region;
	struct hsl_desc *d = hsl_get_desc(w->q);
	size_t i, k, off = mm_rnd(w, MM_BLOCK);
	char *at;

	*op = (struct mm_op){
		.what = mm_rnd(w, MM_DO_NR), .first = block * MM_BLOCK + off,
		.nr = 1 + mm_rnd(w, MM_BLOCK - off), .val = mm_new_value(w),
		.buf = (uint64_t *)(w->buf + slot * MM_BLOCK * r->page),
	};
	if (op->what == MM_ADD && r->flags & MM_TWINS)
		op->what = MM_READ;
	if (op->what == MM_ADD)
		op->nr = 1;
	for (i = 0; i < op->nr; i++) {
		if (r->model[op->first + i].torn)
			op->what = MM_FILL;
		op->ph0[i] = mm_phase(r, op->first + i);
	}
	at = r->mem + op->first * r->page;
	switch (op->what) {
	case MM_FILL:
		hsl_prep_fill(d, at, op->val, op->nr * r->page);
		break;
	case MM_STORE:
		mm_words(op->buf, op->val, op->nr * r->page);
		hsl_prep_copy(d, at, op->buf, op->nr * r->page);
		break;
	case MM_ADD:
		hsl_prep_atomic_add(d, at, 8, op->val);
		break;
	case MM_COMPARE:
		for (i = 0; i < op->nr; i++)
			for (k = 0; k < r->page / 8; k++)
				op->buf[i * (r->page / 8) + k] =
					k ? r->model[op->first + i].body.val : r->model[op->first + i].word.val;
		hsl_prep_compare(d, op->buf, at, op->nr * r->page);
		break;
	default:
		hsl_prep_copy(d, op->buf, at, op->nr * r->page);
		break;
	}
	hsl_desc_set_user_data(d, slot);
}

/* One that ended before its end: was that right, and what did it leave? */
static inline size_t mm_faulted(struct mm_worker *w, struct mm_op *op, const struct hsl_cqe *c, const uint32_t *ph1,
				const bool *readable)
{
	struct mm_region *r = w->region;
	uintptr_t start = (uintptr_t)r->mem + op->first * r->page;
	size_t at = (c->addr - start) / r->page;
	bool writes = op->what <= MM_ADD;

	w->faults++;
	if (c->addr < start || at >= op->nr || c->bytes != c->addr - start ||
	    c->access != (writes ? HSL_ACCESS_WRITE : 0)) {
		mm_wrong(w, "op %d of %zu pages at %#lx: fault at %#lx, access %u, %u bytes done", op->what, op->nr,
			 (unsigned long)start, (unsigned long)c->addr, c->access, c->bytes);
		return 0;
	}
	if (r->flags & MM_FAULTY) {
		;
	} else if (!(r->flags & MM_CLOSES) || (!writes && r->flags & MM_READABLE)) {
		mm_wrong(w, "op %d: fault at %#lx that no event explains", op->what, (unsigned long)c->addr);
	} else if (op->ph0[at] == ph1[at]) {
		if (!(ph1[at] & 3) || (!writes && readable[at]))
			mm_wrong(w, "op %d: fault at %#lx in an open page, phase %u", op->what,
				 (unsigned long)c->addr, ph1[at]);
		if ((ph1[at] & 3) == 2)
			__atomic_fetch_add(&w->must_fault, 1, __ATOMIC_RELAXED);
	}
	if (writes && c->addr % r->page) {
		mm_split(r, op->first + at, op->val, op->ph0[at]);
		r->model[op->first + at].torn = true;
	}
	return at;
}

static inline void mm_done(struct mm_worker *w, struct mm_op *op, const struct hsl_cqe *c)
{
	struct mm_region *r = w->region;
	size_t i, nr = op->nr, words = r->page / 8;
	uint32_t ph1[MM_BLOCK];
	bool readable[MM_BLOCK];

	/* In this order: where the phase has not changed, the mark is of no later one. */
	for (i = 0; i < op->nr; i++) {
		uint32_t ph = __atomic_load_n(&r->readable[op->first + i], __ATOMIC_SEQ_CST);

		ph1[i] = mm_phase(r, op->first + i);
		readable[i] = r->flags & MM_READABLE || (ph && ph == ph1[i]);
	}
	if (c->status == HSL_ST_PAGE_FAULT) {
		nr = mm_faulted(w, op, c, ph1, readable);
	} else if (c->status != HSL_ST_OK) {
		mm_wrong(w, "op %d at page %zu: %s at %#lx", op->what, op->first, hsl_strstatus(c->status),
			 (unsigned long)c->addr);
		return;
	} else {
		w->ok++;
		/* It looked no further than to the first difference. */
		if (op->what == MM_COMPARE && c->result / r->page + 1 < nr)
			nr = c->result / r->page + 1;
	}
	for (i = 0; i < nr; i++) {
		struct mm_page *p = &r->model[op->first + i];
		bool closed = op->ph0[i] == ph1[i] && (ph1[i] & 3) == 2;

		if (closed && (op->what <= MM_ADD || !readable[i]))
			mm_wrong(w, "op %d went through closed page %zu, phase %u", op->what, op->first + i, ph1[i]);
		switch (op->what) {
		case MM_FILL:
		case MM_STORE:
			mm_write_page(r, op->first + i, op->val, op->ph0[i], ph1[i]);
			break;
		case MM_ADD:
			if (!p->split && !mm_may_be(r, op->first, &p->word, c->result, op->ph0[i]))
				mm_wrong(w, "add at page %zu finds %#lx, not %#lx nor blank %#lx; written in %u to %u, lost in %u, now %u to %u",
					 op->first, (unsigned long)c->result, (unsigned long)p->word.val,
					 (unsigned long)r->blank, p->word.since, p->word.known, r->lost[op->first],
					 op->ph0[i], ph1[i]);
			mm_split(r, op->first, op->val, op->ph0[i]);
			mm_set(&p->word, c->result + op->val, op->ph0[i], ph1[i]);
			break;
		case MM_READ:
			mm_check(w, op->first + i, op->buf + i * words, op->ph0[i], ph1[i], "the device");
			break;
		default:
			if (c->status == HSL_ST_OK && !r->lost[op->first + i] && !p->torn &&
			    c->result < (i + 1) * r->page && c->result >= i * r->page)
				mm_wrong(w, "compare at page %zu differs at %lu: the CPU sees %#lx instead of %#lx, page starts %#lx",
					 op->first, (unsigned long)c->result,
					 *(unsigned long *)(r->mem + op->first * r->page + (c->result & ~7)),
					 (unsigned long)op->buf[c->result / 8],
					 *(unsigned long *)(r->mem + (op->first + i) * r->page));
			break;
		}
	}
}

/* Between process and itself, so that a closed page is an errno and no signal. */
static inline bool mm_carefully(void *ours, void *theirs, size_t len, bool write)
{
	struct iovec l = { ours, len }, t = { theirs, len };
	ssize_t n = write ? process_vm_writev(getpid(), &l, 1, &t, 1, 0) : process_vm_readv(getpid(), &l, 1, &t, 1, 0);

	return n == (ssize_t)len;
}

/* The CPU's turn at a page. */
static inline void mm_by_cpu(struct mm_worker *w, size_t block)
{
	struct mm_region *r = w->region;
	size_t page = block * MM_BLOCK + mm_rnd(w, MM_BLOCK);
	char *at = r->mem + page * r->page;
	uint64_t *buf = (uint64_t *)(w->buf + MM_BATCH * MM_BLOCK * r->page), val = mm_new_value(w);
	bool write = r->model[page].torn || mm_rnd(w, 2), done = true;
	uint32_t ph0 = mm_phase(r, page), ph1;

	if (write)
		mm_words(buf, val, r->page);
	if (r->cpu)
		done = r->cpu(r, buf, at, write);
	else if (r->flags & MM_CLOSES)
		done = mm_carefully(buf, at, r->page, write);
	else if (write)
		mm_words((uint64_t *)at, val, r->page);
	else
		memcpy(buf, at, r->page);
	ph1 = mm_phase(r, page);
	if (!done && ph0 == ph1 && !(ph1 & 3) && !(r->flags & MM_FAULTY))
		mm_wrong(w, "the CPU cannot reach page %zu, phase %u", page, ph1);
	if (done && write)
		mm_write_page(r, page, val, ph0, ph1);
	else if (done)
		mm_check(w, page, buf, ph0, ph1, "the CPU");
}

static inline void mm_round(struct mm_worker *w)
{
	struct mm_region *r = w->region;
	size_t blocks = r->pages / MM_BLOCK / r->workers, base = mm_rnd(w, blocks);
	unsigned int i, nr = 1 + mm_rnd(w, blocks > MM_BATCH ? MM_BATCH : blocks - 1);
	struct mm_op op[MM_BATCH];
	struct hsl_cqe c;
	int err;

	for (i = 0; i < nr; i++)
		mm_prepare(w, &op[i], i, (base + i) % blocks * r->workers + w->id);
	hsl_submit(w->q);
	mm_by_cpu(w, (base + nr) % blocks * r->workers + w->id);
	for (i = 0; i < nr; i++) {
		err = finish_one(w->q, &c);
		if (err) {
			mm_wrong(w, "no completion: %s", hsl_strerror(err));
			return;
		}
		mm_done(w, &op[c.user_data], &c);
	}
}

static inline void *mm_work(void *arg)
{
	struct mm_worker *w = arg;

	while (!__atomic_load_n(&w->region->stop, __ATOMIC_SEQ_CST))
		mm_round(w);
	return NULL;
}

/* A region over @len bytes at @mem, which are all @blank. */
static inline int mm_init(struct mm_region *r, struct hsl_ctx *ctx, void *mem, size_t len, uint64_t blank,
			  unsigned int flags)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	r->ctx = ctx;
	r->mem = mem;
	r->page = page_size();
	r->pages = len / r->page;
	r->flags = flags;
	r->blank = blank;
	r->workers = MM_WORKERS;
	r->phase = map_anon(r->pages * sizeof(*r->phase));
	r->lost = map_anon(r->pages * sizeof(*r->lost));
	r->readable = map_anon(r->pages * sizeof(*r->readable));
	r->model = map_anon(r->pages * sizeof(*r->model));
	if (!r->phase || !r->lost || !r->readable || !r->model)
		return -ENOMEM;
	for (i = 0; i < r->pages; i++)
		mm_set_page(r, i, blank, 0, 0);
	for (i = 0; i < r->workers; i++) {
		struct mm_worker *w = &r->worker[i];
		int err = hsl_queue_create(ctx, NULL, &w->q);

		w->region = r;
		w->id = i;
		w->seed = rnd64() | 1;
		w->buf = map_anon((MM_BATCH + 1) * MM_BLOCK * r->page);
		if (err || !w->buf)
			return err ? err : -ENOMEM;
	}
	return 0;
}

static inline void mm_start(struct __test_metadata *_metadata, struct mm_region *r)
{
	unsigned int i;

	r->stop = false;
	for (i = 0; i < r->workers; i++)
		ASSERT_EQ(0, pthread_create(&r->worker[i].thread, NULL, mm_work, &r->worker[i]));
}

static inline uint64_t mm_accesses(struct mm_region *r)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < r->workers; i++)
		n += __atomic_load_n(&r->worker[i].ok, __ATOMIC_RELAXED) +
		     __atomic_load_n(&r->worker[i].faults, __ATOMIC_RELAXED);
	return n;
}

static inline uint64_t mm_must_faults(struct mm_region *r)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < r->workers; i++)
		n += __atomic_load_n(&r->worker[i].must_fault, __ATOMIC_RELAXED);
	return n;
}

/* Until somebody ran against closed pages: patiently if nobody has yet, else not for long. */
static inline void mm_stay_closed(struct mm_region *r)
{
	uint64_t faults = mm_must_faults(r);
	long long end = now_ms() + (faults ? 5 : BOUND_MS);

	while (mm_must_faults(r) == faults && now_ms() < end && !__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST))
		sched_yield();
}

/* Let the workers do so many more things. */
static inline bool mm_let_work(struct mm_region *r, uint64_t nr)
{
	uint64_t end = mm_accesses(r) + nr;

	return COMES_TRUE(mm_accesses(r) >= end || __atomic_load_n(&r->stop, __ATOMIC_SEQ_CST));
}

/* In peace again: everything is what it must be, for the CPU and for the device. */
static inline void mm_verify(struct __test_metadata *_metadata, struct mm_region *r)
{
	struct mm_worker *w = &r->worker[0];
	size_t page;

	for (page = 0; page < r->pages && !w->wrong[0]; page++) {
		uint64_t *buf = (uint64_t *)w->buf;
		char *at = r->mem + page * r->page;
		uint32_t ph = mm_phase(r, page);
		struct hsl_cqe c;

		if (ph & 3)
			mm_wrong(w, "the test left page %zu in phase %u", page, ph);
		mm_check(w, page, (uint64_t *)at, ph, ph, "at the end, the CPU");
		if (do_copy(w->q, &c, buf, at, r->page) || c.status != HSL_ST_OK)
			mm_wrong(w, "at the end, the device cannot read page %zu", page);
		else
			mm_check(w, page, buf, ph, ph, "at the end, the device");
	}
	EXPECT_EQ('\0', w->wrong[0])
		TH_LOG("%s", w->wrong);
}

static inline void mm_stop(struct __test_metadata *_metadata, struct mm_region *r)
{
	unsigned int i;

	__atomic_store_n(&r->stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < r->workers; i++)
		pthread_join(r->worker[i].thread, NULL);
	for (i = 0; i < r->workers; i++) {
		EXPECT_EQ('\0', r->worker[i].wrong[0])
			TH_LOG("worker %u: %s", i, r->worker[i].wrong);
	}
	EXPECT_GT(mm_accesses(r), 0);
	mm_verify(_metadata, r);
}

/* Do the thing below again and again while the workers work: long enough, and often enough. */
#define MM_MS		200
#define MM_TIMES	8
#define MM_WHILE_WORKING(r)							\
	for (long long end_ = now_ms() + MM_MS, n_ = 0;				\
	     !__atomic_load_n(&(r)->stop, __ATOMIC_SEQ_CST) && (n_ < MM_TIMES || now_ms() < end_); \
	     n_++)

/* The oracle: on before, clean and not idle after. */
struct mm_oracle {
	bool on;
	uint64_t checks, breaches;
};

static inline void mm_oracle_begin(struct mm_oracle *o, struct hsl_ctx *ctx)
{
	o->on = oracle_on(dev_path(0));
	o->checks = device_counter(ctx, HSL_CNT_ORACLE_CHECKS);
	o->breaches = device_counter(ctx, HSL_CNT_ORACLE_BREACHES);
}

static inline void mm_oracle_end(struct __test_metadata *_metadata, struct mm_oracle *o, struct hsl_ctx *ctx)
{
	if (!o->on)
		TH_LOG("the oracle is off: no debugfs");
	EXPECT_EQ(o->breaches, device_counter(ctx, HSL_CNT_ORACLE_BREACHES));
	/* A test that is skipped has not asked the device for anything. */
	EXPECT_TRUE(!o->on || _metadata->exit_code == KSFT_SKIP ||
		    device_counter(ctx, HSL_CNT_ORACLE_CHECKS) > o->checks);
}

/* Address space for @len bytes, aligned to a huge page, with a gap on each side */
static inline char *mm_reserve(size_t len)
{
	size_t room = len + 2 * HUGE_PAGE;
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	return (char *)(((uintptr_t)p + HUGE_PAGE) & ~(HUGE_PAGE - 1));
}

static inline char *mm_map_at(char *at, size_t len, int flags, int fd, off_t off)
{
	char *p = mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, off);

	return p == MAP_FAILED ? NULL : p;
}

static inline char *mm_anon(size_t len, bool huge)
{
	char *p = mm_reserve(len);

	p = p ? mm_map_at(p, len, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : NULL;
	if (p)
		madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

/*
 * Huge pages from the beginning. Where the device reads first there is the huge zero
 * page, and before 6.13 a write to that makes small pages of it.
 */
static inline void mm_touch_huge(char *at, size_t len)
{
	size_t n;

	for (n = 0; n < len; n += HUGE_PAGE)
		*(volatile char *)(at + n) = 0;
}

/* A figure of /proc/self/smaps in kB, summed over the mappings within a range */
static inline long mm_smaps(const void *at, size_t len, const char *what)
{
	unsigned long start, end, first = (uintptr_t)at, last = first + len;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool in = false;
	long kb, sum = 0;
	size_t n = strlen(what);

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < strchr(line, ' '))
			in = start < last && end > first;
		else if (in && !strncmp(line, what, n) && line[n] == ':' && sscanf(line + n + 1, "%ld", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum;
}

#endif
