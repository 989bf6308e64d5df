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
#include <linux/userfaultfd.h>

#include "hsl_mm_area.h"
#include "hsl_pagemap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MPOL_BIND
#define MPOL_DEFAULT	0
#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif

#define SHAKERS	3

struct place {
	struct mm_area a;
	pthread_mutex_t lock;	/* one event at a time */
	struct hsl_ctx *ctx;
	enum hsl_sva sva;
	bool guards;
	bool late;	/* only what has never been done yet is waited for */
};

static const enum mm_kind kinds[] = {
	MM_ANON, MM_HUGE, MM_SHARED, MM_ANON, MM_HUGE,
	/* Without a disk the places end here. */
	MM_DISK, MM_PRIVATE,
};

#define WITHOUT_DISK	5

/* What an event may want of the machine, and why it is not there */
enum need { NO_MORE, NODES, KSM, GUARDS, HUGE_PAGES, DEVICE_MEMORY, DISK, USERFAULTFD, HUGETLB, NEEDS };

#define NR_HUGE	"/proc/sys/vm/nr_hugepages"

FIXTURE(churn) {
	struct hsl_ctx *ctx;
	struct mm_oracle oracle;
	struct place place[ARRAY(kinds)];
	unsigned int places;
	const char *lacks[NEEDS];
	long long had_huge;
	char dir[32];
	bool mounted;
};

PROVIDER_VARIANTS(churn);

static bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1/meminfo", R_OK);
}

static bool kernel_has(const char *file_system)
{
	FILE *f = fopen("/proc/filesystems", "re");
	char line[64];
	bool has = false;

	while (f && fgets(line, sizeof(line), f))
		has |= strstr(line, file_system) != NULL;
	if (f)
		fclose(f);
	return has;
}

static int open_userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			    UFFD_FEATURE_WP_UNPOPULATED,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool can_guard(char *at)
{
	return !madvise(at, page_size(), MADV_GUARD_INSTALL) && !madvise(at, page_size(), MADV_GUARD_REMOVE);
}

static void look_round(FIXTURE_DATA(churn) *self)
{
	struct hsl_query info = { .size = sizeof(info) };
	int fd = open_userfaultfd();
	char *page = map_anon(page_size());

	if (!two_nodes())
		self->lacks[NODES] = "there is one NUMA node";
	if (access("/sys/kernel/mm/ksm/run", F_OK))
		self->lacks[KSM] = "kernel without CONFIG_KSM";
	if (!can_guard(page))
		self->lacks[GUARDS] = "kernel without guard pages";
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK))
		self->lacks[HUGE_PAGES] = "kernel without transparent huge pages";
	if (hsl_query(self->ctx, &info) || info.mem_mode != HSL_MEMORY_COHERENT)
		self->lacks[DEVICE_MEMORY] = "the device has no coherent memory";
	if (!kernel_has("ext4"))
		self->lacks[DISK] = "kernel without ext4";
	self->had_huge = read_number(NR_HUGE);
	/* One for each that may have one at a time */
	if (self->had_huge < 0 || write_number(NR_HUGE, self->had_huge + SHAKERS) ||
	    read_number(NR_HUGE) < self->had_huge + SHAKERS)
		self->lacks[HUGETLB] = "no hugetlb pages";
	if (fd < 0)
		self->lacks[USERFAULTFD] = "no userfaultfd with write protection of all pages";
	else
		close(fd);
	munmap(page, page_size());
}

FIXTURE_SETUP(churn)
{
	const char *why;
	char files[64];
	unsigned int i;

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	mm_oracle_begin(&self->oracle, self->ctx);
	look_round(self);
	for (i = 0; i < NEEDS; i++)
		if (self->lacks[i])
			TH_LOG("%s", self->lacks[i]);
	if (!self->lacks[DISK]) {
		strcpy(self->dir, "/tmp/hsl_churn_XXXXXX");
		ASSERT_NE(NULL, mkdtemp(self->dir));
		why = mount_disk(self->dir);
		ASSERT_EQ(NULL, why)
			TH_LOG("%s", why);
		self->mounted = true;
		snprintf(files, sizeof(files), "%s/m", self->dir);
	}
	self->places = self->mounted ? ARRAY(kinds) : WITHOUT_DISK;
	for (i = 0; i < self->places; i++) {
		struct place *p = &self->place[i];
		struct mm_area *a = &p->a;

		ASSERT_EQ(0, mm_area_init(a, self->ctx, kinds[i], files));
		a->splits = true;
		p->ctx = self->ctx;
		p->sva = variant->sva;
		p->guards = can_guard(a->mem);
		pthread_mutex_init(&p->lock, NULL);
		ASSERT_EQ(0, mm_init(&a->r, self->ctx, a->mem, a->len, a->kind == MM_PRIVATE ? MM_ORIGINAL : 0,
				     MM_CLOSES));
	}
}

FIXTURE_TEARDOWN(churn)
{
	unsigned int i;

	if (!self->ctx)
		return;
	mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
	if (self->had_huge >= 0)
		EXPECT_EQ(0, write_number(NR_HUGE, self->had_huge));
	for (i = 0; i < self->places; i++) {
		munmap(self->place[i].a.mem, self->place[i].a.len);
		close(self->place[i].a.fd);
	}
	if (self->dir[0])
		EXPECT_TRUE(remove_disk(self->dir, self->mounted));
}

/* What the kernel refuses for a while is NOTHING, and so is what the place cannot have. */
enum outcome { FAILED, DONE, NOTHING };

static enum outcome done(bool ok)
{
	return ok ? DONE : FAILED;
}

static enum outcome page_out(struct place *p)
{
	return done(mm_advise(&p->a, MADV_PAGEOUT));
}

static enum outcome guard(struct place *p)
{
	return p->guards ? done(mm_guard_and_remove(&p->a)) : NOTHING;
}

static enum outcome advise_huge(struct place *p)
{
	return done(mm_advise(&p->a, mm_area_rnd(&p->a, 2) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
}

static enum outcome collapse(struct place *p)
{
	char *at = p->a.mem + mm_area_rnd(&p->a, 2) * HUGE_PAGE;
	bool was = is_huge(at, HUGE_PAGE);

	/* It wants a whole mapping, and room. */
	madvise(at, HUGE_PAGE, MADV_HUGEPAGE);
	return !madvise(at, HUGE_PAGE, MADV_COLLAPSE) && !was && is_huge(at, HUGE_PAGE) ? DONE : NOTHING;
}

static enum outcome merge(struct place *p)
{
	return done(mm_advise(&p->a, mm_area_rnd(&p->a, 2) ? MADV_MERGEABLE : MADV_UNMERGEABLE));
}

static enum outcome punch_hole(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	bool ok;

	mm_lose(&a->r, part.first, part.nr);
	if (mm_area_rnd(a, 2))
		ok = !madvise(part.at, part.len, MADV_REMOVE);
	else
		ok = !fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, part.at - a->mem, part.len);
	mm_step(a, &part, 3);
	return done(ok);
}

/* The end of the file comes nearer and goes again. */
static enum outcome cut_and_grow(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	bool ok;

	part.nr = a->r.pages - part.first;
	mm_lose(&a->r, part.first, part.nr);
	ok = !ftruncate(a->fd, part.at - a->mem);
	mm_step(a, &part, 1);
	mm_stay_closed(&a->r);
	mm_step(a, &part, 1);
	ok &= !ftruncate(a->fd, a->len);
	mm_step(a, &part, 1);
	return done(ok);
}

/* To the disk, after which the next write is heard of again */
static enum outcome write_back(struct place *p)
{
	struct mm_part part = mm_pick(&p->a);

	return done(mm_area_rnd(&p->a, 2) ? !msync(part.at, part.len, MS_SYNC) : !fdatasync(p->a.fd));
}

/* Out of the page cache: the next access reads the disk. */
static enum outcome evict(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	unsigned char vec[part.nr];
	size_t i, out = 0;

	if (madvise(part.at, part.len, MADV_PAGEOUT) || fdatasync(a->fd) ||
	    posix_fadvise(a->fd, part.at - a->mem, part.len, POSIX_FADV_DONTNEED) || mincore(part.at, part.len, vec))
		return FAILED;
	for (i = 0; i < part.nr; i++)
		out += !(vec[i] & 1);
	return out ? DONE : NOTHING;
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

static enum outcome move_some(struct place *p)
{
	struct mm_part part = mm_pick(&p->a);

	return done(move_to_node(&p->a, part.at, part.len));
}

static enum outcome bind(struct place *p)
{
	struct mm_part part = mm_pick(&p->a);
	unsigned long mask = 1ul << mm_area_rnd(&p->a, 2);

	return done(!syscall(SYS_mbind, part.at, part.len, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
		    !syscall(SYS_mbind, part.at, part.len, MPOL_DEFAULT, NULL, 0, 0));
}

static enum outcome shake_rings(struct place *p)
{
	struct mm_area *a = &p->a;
	size_t len;
	char *rings = rings_of(a->r.worker[mm_area_rnd(a, a->r.workers)].q, &len);

	if (two_nodes() && mm_area_rnd(a, 2))
		return done(move_to_node(a, rings, len));
	return done(!madvise(rings, len, MADV_PAGEOUT));
}

/* All of memory: it takes its time, so not often. */
static enum outcome compact(struct place *p)
{
	if (!p->late && mm_area_rnd(&p->a, 8))
		return NOTHING;
	return done(!write_text("/proc/sys/vm/compact_memory", "1") &&
		    !write_text("/proc/sys/vm/drop_caches", "1"));
}

/* A child that looks, writes, or both; its memory is its own, unless it is shared. */
static enum outcome fork_child(struct place *p)
{
	struct mm_area *a = &p->a;
	bool writes = mm_area_rnd(a, 2);
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *copy = map_anon(a->len);
		size_t i;

		if (!copy)
			_exit(2);
		if (mm_is_kept(a))
			_exit(0);
		for (i = 0; writes && i < a->r.pages; i += 1 + i % 3)
			memset(a->mem + i * a->r.page, 0xcc, a->r.page);
		memcpy(copy, a->mem, a->len);
		usleep(1000);
		_exit(memcmp(copy, a->mem, a->len) ? 1 : 0);
	}
	return done(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
}

/* A child that borrows the address space and has one of its own then */
static enum outcome exec_child(struct place *p)
{
	static char *const argv[] = { "true", NULL };
	int status;
	pid_t pid = vfork();

	if (!pid) {
		execv("/bin/true", argv);
		_exit(1);
	}
	return done(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
}

/*
 * A child that opens the device anew, does something with it in its own address space and
 * ends. Returns how, or -1.
 */
static int child_with_device(struct place *p, bool (*life)(struct hsl_queue *q))
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = p->sva };
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (hsl_open(dev_path(0), &opts, &ctx) || hsl_queue_create(ctx, NULL, &q))
			_exit(2);
		_exit(life(q) ? 0 : 1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static bool device_fills(struct hsl_queue *q, char *at, size_t len)
{
	const uint64_t val = 0x5151515151515151;
	struct hsl_cqe c;
	size_t i;

	hsl_prep_fill(hsl_get_desc(q), at, val, len);
	if (finish_one(q, &c) || c.status != HSL_ST_OK)
		return false;
	for (i = 0; i < len / sizeof(val); i++)
		if (((uint64_t *)at)[i] != val)
			return false;
	return true;
}

static bool work_in_hugetlb(struct hsl_queue *q)
{
	char *at = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return at != MAP_FAILED && device_fills(q, at, HUGE_PAGE) && !munmap(at, HUGE_PAGE) &&
	       !device_fills(q, at, HUGE_PAGE);
}

static enum outcome hugetlb(struct place *p)
{
	return done(!child_with_device(p, work_in_hugetlb));
}

/* Nobody else maps anything in this address space, so that what is below stays free. */
static bool work_on_growing_stack(struct hsl_queue *q)
{
	const size_t page = page_size(), room = 32 * page;
	char *low = mm_reserve(room), *stack = low + room - page;

	if (!low || munmap(low, room) ||
	    !mm_map_at(stack, page, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0))
		return false;
	for (; stack > low; stack -= page) {
		if (!device_fills(q, stack, page) || device_fills(q, stack - page, page))
			return false;
		*(volatile char *)(stack - page) = 0;
	}
	return device_fills(q, low, room);
}

static enum outcome stack(struct place *p)
{
	return done(!child_with_device(p, work_on_growing_stack));
}

/* With work under way that nobody waits for */
static void begin_work(struct hsl_queue *q)
{
	char *at = map_anon(MB);
	int i;

	for (i = 0; at && i < 8; i++)
		hsl_prep_fill(hsl_get_desc(q), at, i, MB);
	hsl_submit(q);
}

static bool exits(struct hsl_queue *q)
{
	begin_work(q);
	return true;
}

static bool is_killed(struct hsl_queue *q)
{
	begin_work(q);
	kill(getpid(), SIGKILL);
	return false;
}

static bool becomes_another(struct hsl_queue *q)
{
	static char *const argv[] = { "true", NULL };

	begin_work(q);
	execv("/bin/true", argv);
	return false;
}

static enum outcome end(struct place *p)
{
	switch (mm_area_rnd(&p->a, 3)) {
	case 0:
		return done(!child_with_device(p, exits));
	case 1:
		return done(child_with_device(p, is_killed) == SIGKILL);
	default:
		return done(!child_with_device(p, becomes_another));
	}
}

/* To the device or back; what is busy, pinned or has no room there stays where it is. */
static enum outcome migrate(struct place *p, enum hsl_where where)
{
	struct hsl_migrate m = { .size = sizeof(m) };
	struct mm_part part = mm_pick(&p->a);

	hsl_migrate(p->ctx, part.at, part.len, where, &m);
	return m.moved ? DONE : NOTHING;
}

static enum outcome to_device(struct place *p)
{
	return migrate(p, HSL_WHERE_DEVICE);
}

static enum outcome to_host(struct place *p)
{
	return migrate(p, HSL_WHERE_HOST);
}

/*
 * By userfaultfd, and nobody handles the faults: who writes waits until the event is over. But
 * for the IOMMU's page requests, which wait for nobody.
 */
static enum outcome write_protect(struct place *p)
{
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	struct uffdio_register reg = { .range = { (uintptr_t)part.at, part.len }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	bool closes = p->sva == HSL_SVA_IOMMU, ok;
	int fd = open_userfaultfd();

	if (fd < 0 || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return FAILED;
	}
	if (closes) {
		mm_keep_readable(&a->r, part.first, part.nr);
		mm_step(a, &part, 1);
	}
	ok = !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	if (closes)
		mm_step(a, &part, 1);
	usleep(2000);
	if (closes)
		mm_step(a, &part, 1);
	wp.mode = 0;
	ok &= !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	ok &= !ioctl(fd, UFFDIO_UNREGISTER, &reg.range);
	if (closes)
		mm_step(a, &part, 1);
	close(fd);
	return done(ok);
}

/*
 * The same for pages that are not there: one is put there by hand, the rest come by themselves
 * when the event is over. Nothing is mapped here: it could come to lie where another event has
 * just unmapped something.
 */
static enum outcome fetch_missing(struct place *p)
{
	static char blank[64 * KB];
	struct mm_area *a = &p->a;
	struct mm_part part = mm_pick(a);
	struct uffdio_register reg = {
		.range = { (uintptr_t)part.at, part.len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_copy copy = { .dst = (uintptr_t)part.at, .src = (uintptr_t)blank, .len = a->r.page };
	bool closes = p->sva == HSL_SVA_IOMMU, ok;
	int fd = open_userfaultfd();

	if (fd < 0 || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return FAILED;
	}
	mm_lose(&a->r, part.first, part.nr);
	ok = !madvise(part.at, part.len, MADV_DONTNEED);
	if (closes)
		mm_step(a, &part, 1);
	usleep(2000);
	if (closes)
		mm_step(a, &part, 1);
	ok &= !ioctl(fd, UFFDIO_COPY, &copy);
	ok &= !ioctl(fd, UFFDIO_UNREGISTER, &reg.range);
	mm_step(a, &part, closes ? 1 : 3);
	close(fd);
	return done(ok);
}

#define ON_AREA(event) static enum outcome place_##event(struct place *p) { return done(mm_##event(&p->a)); }
ON_AREA(unmap_and_map)
ON_AREA(map_over)
ON_AREA(protect_none)
ON_AREA(protect_read)
ON_AREA(move_and_back)
ON_AREA(move_pages_away)
ON_AREA(shrink_and_grow)
ON_AREA(dontneed)
ON_AREA(free_and_drop)
ON_AREA(lock_and_unlock)
ON_AREA(hint)

#define ANON		(1 << MM_ANON | 1 << MM_HUGE)
#define ON_DISK		(1 << MM_DISK | 1 << MM_PRIVATE)
#define KEPT		(1 << MM_SHARED | 1 << MM_DISK)
#define ALL		(ANON | KEPT | ON_DISK)

static const struct {
	enum outcome (*fn)(struct place *p);
	const char *name;
	unsigned int kinds;	/* of memory that it is for */
	enum need need;
} events[] = {
	{ place_unmap_and_map, "unmap", ALL },
	{ place_map_over, "map over", ALL },
	{ place_protect_none, "protect", ALL },
	{ place_protect_read, "read-only", ALL },
	{ place_move_and_back, "move", ALL },
	{ place_move_pages_away, "move away", ALL },
	{ place_shrink_and_grow, "shrink", ALL },
	{ place_dontneed, "dontneed", ALL },
	{ place_free_and_drop, "free", ANON },
	{ place_lock_and_unlock, "lock", ALL },
	{ place_hint, "hint", ALL },
	{ page_out, "page out", ALL },
	{ guard, "guard", ALL, GUARDS },
	{ advise_huge, "huge", 1 << MM_HUGE, HUGE_PAGES },
	{ collapse, "collapse", 1 << MM_HUGE, HUGE_PAGES },
	{ merge, "merge", ANON | 1 << MM_PRIVATE, KSM },
	{ punch_hole, "hole", KEPT },
	{ cut_and_grow, "cut", KEPT },
	{ write_back, "write back", ON_DISK, DISK },
	{ evict, "evict", ON_DISK, DISK },
	{ move_some, "node", ALL, NODES },
	{ bind, "bind", ALL, NODES },
	{ shake_rings, "rings", ALL },
	{ compact, "compact", ALL },
	{ fork_child, "fork", ALL },
	{ exec_child, "exec", ALL },
	{ to_device, "to device", ANON, DEVICE_MEMORY },
	{ to_host, "to host", ANON, DEVICE_MEMORY },
	{ write_protect, "write-protect", ANON | 1 << MM_SHARED, USERFAULTFD },
	{ fetch_missing, "missing", ANON, USERFAULTFD },
	{ hugetlb, "hugetlb", ALL, HUGETLB },
	{ stack, "stack", ALL },
	{ end, "end", ALL },
};

struct shaker {
	FIXTURE_DATA(churn) *churn;
	pthread_t thread;
	uint64_t seed;
	bool *stop, *late;
	uint64_t *done;		/* by all of them, of each event */
	char wrong[128];
};

static bool is_missing(FIXTURE_DATA(churn) *churn, const uint64_t *done, unsigned int e)
{
	return !churn->lacks[events[e].need] && !__atomic_load_n(&done[e], __ATOMIC_SEQ_CST);
}

static bool any_is_missing(FIXTURE_DATA(churn) *churn, const uint64_t *done)
{
	unsigned int e;

	for (e = 0; e < ARRAY(events); e++)
		if (is_missing(churn, done, e))
			return true;
	return false;
}

static unsigned int shaker_rnd(struct shaker *s, unsigned int below)
{
	s->seed = s->seed * 6364136223846793005 + 1442695040888963407;
	return (s->seed >> 33) % below;
}

static void *shake(void *arg)
{
	struct shaker *s = arg;

	while (!__atomic_load_n(s->stop, __ATOMIC_SEQ_CST)) {
		bool late = __atomic_load_n(s->late, __ATOMIC_SEQ_CST);
		unsigned int e = shaker_rnd(s, ARRAY(events));
		struct place *p = &s->churn->place[shaker_rnd(s, s->churn->places)];
		enum outcome was = NOTHING;

		if (!(events[e].kinds >> p->a.kind & 1) || s->churn->lacks[events[e].need] ||
		    (late && !is_missing(s->churn, s->done, e)))
			continue;
		if (pthread_mutex_trylock(&p->lock))
			continue;
		p->late = late;
		if (!p->a.r.stop)
			was = events[e].fn(p);
		if (was == FAILED && !p->a.r.stop) {
			snprintf(s->wrong, sizeof(s->wrong), "%s of kind %d: %s", events[e].name, p->a.kind,
				 strerror(errno));
			__atomic_store_n(s->stop, true, __ATOMIC_SEQ_CST);
		}
		if (was == DONE)
			__atomic_fetch_add(&s->done[e], 1, __ATOMIC_SEQ_CST);
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
	uint64_t accesses = 0, faults = 0, done[ARRAY(events)] = { 0 };
	struct shaker s[SHAKERS] = { 0 };
	bool stop = false, late = false;
	char line[1024];
	unsigned int i, e;
	long long end;
	int at = 0;

	for (i = 0; i < self->places; i++)
		mm_start(_metadata, &self->place[i].a.r);
	for (i = 0; i < SHAKERS; i++) {
		s[i] = (struct shaker){ .churn = self, .seed = rnd64(), .stop = &stop, .late = &late, .done = done };
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, shake, &s[i]));
	}
	end = now_ms() + seconds() * 1000LL;
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		usleep(50000);
		for (i = 0; i < self->places; i++)
			if (__atomic_load_n(&self->place[i].a.r.stop, __ATOMIC_SEQ_CST))
				stop = true;
		if (now_ms() < end && (!late || any_is_missing(self, done)))
			continue;
		/* What has not come to pass by chance has its time now. */
		if (late || !any_is_missing(self, done))
			break;
		__atomic_store_n(&late, true, __ATOMIC_SEQ_CST);
		end = now_ms() + BOUND_MS;
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < SHAKERS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ('\0', s[i].wrong[0])
			TH_LOG("%s", s[i].wrong);
	}
	for (i = 0; i < self->places; i++) {
		mm_stop(_metadata, &self->place[i].a.r);
		accesses += mm_accesses(&self->place[i].a.r);
		faults += mm_must_faults(&self->place[i].a.r);
	}
	for (e = 0; e < ARRAY(events); e++)
		at += snprintf(line + at, sizeof(line) - at, "%s%s %lu", e ? ", " : "", events[e].name, done[e]);
	TH_LOG("%lu accesses, %lu of them refused for sure; %s", accesses, faults, line);
	EXPECT_GT(faults, 0);
	for (e = 0; e < ARRAY(events); e++) {
		EXPECT_FALSE(is_missing(self, done, e))
			TH_LOG("%s never came to pass", events[e].name);
	}
}

TEST_HARNESS_MAIN
