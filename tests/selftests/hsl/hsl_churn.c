// SPDX-License-Identifier: GPL-2.0
/*
 * Anything at any time: areas of each kind of memory, each with two workers of
 * the device, and threads that do random things to mappings, pages, rings and the
 * process, under the model of hsl_mm.h.
 *
 * HSL_SOAK_SECONDS: how long, all providers together (60); HSL_SEED: to decide
 * the same again; HSL_SVA: only this provider.
 */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "hsl_mm_area.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MPOL_BIND
#define MPOL_DEFAULT	0
#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#endif

#define AREAS	5
#define SHAKERS	3

struct place {
	struct mm_area a;
	pthread_mutex_t lock;	/* one event at a time */
	struct hsl_ctx *ctx;
	bool guards;
};

FIXTURE(churn) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct place place[AREAS];
};

PROVIDER_VARIANTS(churn);

FIXTURE_SETUP(churn)
{
	static const enum mm_kind kinds[AREAS] = { MM_ANON, MM_HUGE, MM_SHARED, MM_ANON, MM_HUGE };
	int i;

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	for (i = 0; i < AREAS; i++) {
		struct place *p = &self->place[i];
		struct mm_area *a = &p->a;

		ASSERT_EQ(0, mm_area_init(a, self->ctx, kinds[i]));
		a->splits = true;
		p->ctx = self->ctx;
		p->guards = !madvise(a->mem, page_size(), MADV_GUARD_INSTALL);
		if (p->guards)
			ASSERT_EQ(0, madvise(a->mem, page_size(), MADV_GUARD_REMOVE));
		pthread_mutex_init(&p->lock, NULL);
		ASSERT_EQ(0, mm_init(&a->r, self->ctx, a->mem, a->len, 0, MM_CLOSES));
	}
}

FIXTURE_TEARDOWN(churn)
{
	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
}

/* What a kernel may refuse for a while, or lack, is no event. */

static bool page_out(struct place *p)
{
	return mm_advise(&p->a, MADV_PAGEOUT);
}

static bool guard(struct place *p)
{
	return !p->guards || mm_guard_and_remove(&p->a);
}

static bool huge_or_not(struct place *p)
{
	struct mm_area *a = &p->a;

	if (a->kind != MM_HUGE)
		return true;
	switch (mm_area_rnd(a, 3)) {
	case 0:
		return mm_advise(a, MADV_NOHUGEPAGE);
	case 1:
		return mm_advise(a, MADV_HUGEPAGE);
	default:
		madvise(a->mem + mm_area_rnd(a, 2) * HUGE_PAGE, HUGE_PAGE, MADV_COLLAPSE);
		return true;
	}
}

static bool merge(struct place *p)
{
	struct mm_area *a = &p->a;

	if (a->kind != MM_SHARED && !access("/sys/kernel/mm/ksm/run", F_OK))
		return mm_advise(a, mm_area_rnd(a, 2) ? MADV_MERGEABLE : MADV_UNMERGEABLE);
	return true;
}

/* The file under a shared mapping: holes, and the end that comes nearer and goes again */
static bool change_file(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	off_t off = part.at - a->mem;
	bool ok;

	if (a->kind != MM_SHARED)
		return true;
	if (mm_area_rnd(a, 2)) {
		mm_lose(&a->r, part.first, part.nr);
		ok = !fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, part.len);
		mm_step(a, &part, 3);
		return ok;
	}
	part.nr = a->r.pages - part.first;
	mm_lose(&a->r, part.first, part.nr);
	ok = !ftruncate(a->fd, off);
	mm_step(a, &part, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &part, 1);
	ok &= !ftruncate(a->fd, a->len);
	mm_step(a, &part, 1);
	return ok;
}

static bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1/meminfo", R_OK);
}

static bool move_to_node(struct mm_area *a, char *at, size_t len)
{
	void *pages[32];
	int nodes[32], status[32], node = mm_area_rnd(a, 2);
	size_t n, i;

	for (n = 0; n < 32 && n * a->r.page < len; n++)
		pages[n] = at + n * a->r.page;
	for (i = 0; i < n; i++)
		nodes[i] = node;
	return syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE) >= 0 || errno == ENOENT;
}

static bool move_or_bind(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	unsigned long mask = 1ul << mm_area_rnd(a, 2);

	if (!two_nodes())
		return true;
	if (mm_area_rnd(a, 2))
		return move_to_node(a, part.at, part.len);
	return !syscall(SYS_mbind, part.at, part.len, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
	       !syscall(SYS_mbind, part.at, part.len, MPOL_DEFAULT, NULL, 0, 0);
}

static bool shake_rings(struct place *p)
{
	struct mm_area *a = &p->a;
	size_t len;
	char *rings = rings_of(a->r.worker[mm_area_rnd(a, a->r.workers)].q, &len);

	if (two_nodes() && mm_area_rnd(a, 2))
		return move_to_node(a, rings, len);
	return !madvise(rings, len, MADV_PAGEOUT);
}

static bool compact(struct place *p)
{
	if (mm_area_rnd(&p->a, 20))
		return true;
	write_text("/proc/sys/vm/compact_memory", "1");
	return !write_text("/proc/sys/vm/drop_caches", "1");
}

/* A child that looks, writes, or both; its memory is its own, unless it is shared. */
static bool fork_child(struct place *p)
{
	struct mm_area *a = &p->a;
	bool writes = mm_area_rnd(a, 2);
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *copy = map_anon(a->len);
		size_t i;

		if (a->kind == MM_SHARED || !copy)
			_exit(0);
		for (i = 0; writes && i < a->r.pages; i += 1 + i % 3)
			memset(a->mem + i * a->r.page, 0xcc, a->r.page);
		memcpy(copy, a->mem, a->len);
		usleep(1000);
		_exit(memcmp(copy, a->mem, a->len) ? 1 : 0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* To the device and back; what is busy, pinned or has no room there stays where it is. */
static bool migrate(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);

	if (a->kind != MM_SHARED)
		hsl_migrate(p->ctx, part.at, part.len, mm_area_rnd(a, 2) ? HSL_WHERE_DEVICE : HSL_WHERE_HOST, NULL);
	return true;
}

#define ON_AREA(event) static bool place_##event(struct place *p) { return mm_##event(&p->a); }
ON_AREA(unmap_and_map)
ON_AREA(map_over)
ON_AREA(protect_none)
ON_AREA(move_and_back)
ON_AREA(move_pages_away)
ON_AREA(dontneed)
ON_AREA(lock_and_unlock)
ON_AREA(hint)

static const struct {
	bool (*fn)(struct place *p);
	const char *name;
} events[] = {
	{ place_unmap_and_map, "unmap" },
	{ place_map_over, "map over" },
	{ place_protect_none, "protect" },
	{ place_move_and_back, "move" },
	{ place_move_pages_away, "move away" },
	{ place_dontneed, "dontneed" },
	{ place_lock_and_unlock, "lock" },
	{ place_hint, "hint" },
	{ page_out, "page out" },
	{ guard, "guard" },
	{ huge_or_not, "huge" },
	{ merge, "merge" },
	{ change_file, "file" },
	{ move_or_bind, "node" },
	{ shake_rings, "rings" },
	{ compact, "compact" },
	{ fork_child, "fork" },
	{ migrate, "migrate" },
};

struct shaker {
	struct place *place;
	pthread_t thread;
	uint64_t seed;
	bool *stop;
	uint64_t done[ARRAY(events)];
	char wrong[128];
};

static void *shake(void *arg)
{
	struct shaker *s = arg;

	while (!__atomic_load_n(s->stop, __ATOMIC_SEQ_CST)) {
		struct place *p;
		unsigned int e;

		s->seed = s->seed * 6364136223846793005 + 1442695040888963407;
		p = &s->place[(s->seed >> 33) % AREAS];
		e = (s->seed >> 40) % ARRAY(events);
		if (pthread_mutex_trylock(&p->lock))
			continue;
		if (!p->a.r.stop) {
			if (!events[e].fn(p) && !p->a.r.stop) {
				snprintf(s->wrong, sizeof(s->wrong), "%s: %s", events[e].name, strerror(errno));
				__atomic_store_n(s->stop, true, __ATOMIC_SEQ_CST);
			}
			s->done[e]++;
		}
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static int seconds(void)
{
	const char *text = getenv("HSL_SOAK_SECONDS");
	int all = text ? atoi(text) : 60;

	/* Of the providers that take part, each has its share. */
	if (getenv("HSL_SVA") || provider_closed(dev_path(0), HSL_SVA_IOMMU) ||
	    provider_closed(dev_path(0), HSL_SVA_HMM))
		return all;
	return (all + 1) / 2;
}

TEST_F_TIMEOUT(churn, anything, 1000000)
{
	struct shaker s[SHAKERS] = { 0 };
	uint64_t accesses = 0, faults = 0;
	bool stop = false;
	char line[512];
	unsigned int i, e;
	long long end;
	int at = 0;

	for (i = 0; i < AREAS; i++)
		mm_start(_metadata, &self->place[i].a.r);
	for (i = 0; i < SHAKERS; i++) {
		s[i].place = self->place;
		s[i].seed = rnd64();
		s[i].stop = &stop;
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, shake, &s[i]));
	}
	end = now_ms() + seconds() * 1000LL;
	while (now_ms() < end && !__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		usleep(50000);
		for (i = 0; i < AREAS; i++)
			if (__atomic_load_n(&self->place[i].a.r.stop, __ATOMIC_SEQ_CST))
				stop = true;
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < SHAKERS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ('\0', s[i].wrong[0])
			TH_LOG("%s", s[i].wrong);
	}
	for (i = 0; i < AREAS; i++) {
		mm_stop(_metadata, &self->place[i].a.r);
		accesses += mm_accesses(&self->place[i].a.r);
		faults += mm_must_faults(&self->place[i].a.r);
	}
	for (e = 0; e < ARRAY(events); e++) {
		uint64_t n = 0;

		for (i = 0; i < SHAKERS; i++)
			n += s[i].done[e];
		at += snprintf(line + at, sizeof(line) - at, "%s%s %lu", e ? ", " : "", events[e].name, n);
	}
	TH_LOG("%lu accesses, %lu of them refused for sure; %s", accesses, faults, line);
	EXPECT_GT(accesses, 0);
}

TEST_HARNESS_MAIN
