// SPDX-License-Identifier: GPL-2.0
/*
 * Files under the mapping that the device works in: cut off, punched, written
 * back, dropped from the cache. What the device wrote reaches the disk.
 */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "hsl_mm_disk.h"
#include "hsl_swap.h"

enum kind {
	MEMFD,		/* no disk: what is in memory is all there is */
	DISK,		/* MAP_SHARED, on a file system with a page cache */
	PRIVATE,	/* MAP_PRIVATE, there */
};

#define ORIGINAL	0x0123456789abcdef	/* what the file is full of */

FIXTURE(file) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct mm_oracle oracle;
	struct mm_region r;
	enum kind kind;
	char *mem;
	size_t len;
	int fd;
	char dir[32];
	bool mounted, swap_ours;
	int tries;	/* that it may take until some page is evicted */
	long evicted;
};

FIXTURE_VARIANT(file) {
	enum hsl_sva sva;
	enum kind kind;
};

PROVIDER_VARIANT_ADD(file, memfd, MEMFD);
PROVIDER_VARIANT_ADD(file, disk, DISK);
PROVIDER_VARIANT_ADD(file, private, PRIVATE);

static bool map_file(FIXTURE_DATA(file) *self)
{
	return mm_map_at(self->mem, self->len, self->kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED, self->fd, 0);
}

FIXTURE_SETUP(file)
{
	const char *why;
	char path[64];

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	mm_oracle_begin(&self->oracle, self->ctx);
	self->kind = variant->kind;
	self->len = 64 * page_size();
	self->mem = mm_reserve(self->len);
	ASSERT_NE(NULL, self->mem);
	if (self->kind == MEMFD) {
		self->fd = memfd_create("hsl_mm", MFD_CLOEXEC);
	} else {
		strcpy(self->dir, "/tmp/hsl_mm_XXXXXX");
		ASSERT_NE(NULL, mkdtemp(self->dir));
		why = mount_disk(self->dir);
		if (why)
			SKIP(return, "%s", why);
		self->mounted = true;
		snprintf(path, sizeof(path), "%s/m/file", self->dir);
		self->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	}
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, ftruncate(self->fd, self->len));
	ASSERT_TRUE(map_file(self));
}

FIXTURE_TEARDOWN(file)
{
	if (!self->ctx)
		return;
	if (self->r.mem)
		mm_oracle_end(_metadata, &self->oracle, self->ctx);
	hsl_close(self->ctx);
	if (self->swap_ours)
		EXPECT_TRUE(swap_off_zram());
	if (!self->dir[0])
		return;
	munmap(self->mem, self->len);
	close(self->fd);
	EXPECT_TRUE(remove_disk(self->dir, self->mounted));
}

static void begin(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, uint64_t blank, unsigned int flags)
{
	ASSERT_TRUE(fill_file(self->fd, 0, self->len, blank));
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, blank, flags));
	mm_start(_metadata, &self->r);
	ASSERT_TRUE(mm_let_work(&self->r, 200));
}

struct part {
	size_t first, nr, off, len;
	char *at;
};

static struct part pick(FIXTURE_DATA(file) *self)
{
	struct mm_region *r = &self->r;
	struct part p = { .nr = 1 + rnd(rnd(2) ? 4 : r->pages / 4) };

	p.first = rnd(r->pages - p.nr + 1);
	p.off = p.first * r->page;
	p.len = p.nr * r->page;
	p.at = r->mem + p.off;
	return p;
}

typedef bool (*event_fn)(FIXTURE_DATA(file) *self);

/* In the end a shared file holds what the model says, read from the disk if there is one. */
static void run(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, uint64_t blank, unsigned int flags,
		event_fn event)
{
	begin(_metadata, self, blank, flags);
	MM_WHILE_WORKING(&self->r) {
		if (!event(self)) {
			EXPECT_TRUE(false) TH_LOG("%s", strerror(errno));
			self->r.stop = true;
		}
	}
	while (self->tries-- > 0 && !self->evicted && !self->r.stop)
		EXPECT_TRUE(event(self));
	mm_stop(_metadata, &self->r);
	if (flags & MM_CLOSES)
		EXPECT_GT(mm_must_faults(&self->r), 0);
	if (self->kind == PRIVATE)
		return;
	ASSERT_EQ(0, munmap(self->mem, self->len));
	if (self->kind == DISK) {
		ASSERT_EQ(0, fsync(self->fd));
		ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
		ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "3"));
	}
	ASSERT_TRUE(map_file(self));
	mm_verify(_metadata, &self->r);
}

/* Cut off and grown again: what lay beyond the end is gone, private copies of it, too. */
static bool truncate_and_grow(FIXTURE_DATA(file) *self)
{
	struct part p = pick(self);
	bool ok;

	p.nr = self->r.pages - p.first;
	mm_lose(&self->r, p.first, p.nr);
	ok = !ftruncate(self->fd, p.off);
	mm_next(&self->r, p.first, p.nr, 1);
	mm_stay_closed(&self->r);
	mm_next(&self->r, p.first, p.nr, 1);
	ok &= !ftruncate(self->fd, self->len);
	mm_next(&self->r, p.first, p.nr, 1);
	return ok;
}

TEST_F_TIMEOUT(file, truncate, 60)
{
	run(_metadata, self, 0, MM_CLOSES, truncate_and_grow);
}

static bool punch(FIXTURE_DATA(file) *self)
{
	struct part p = pick(self);
	bool ok;

	if (self->kind != PRIVATE)
		mm_lose(&self->r, p.first, p.nr);
	ok = !fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, p.off, p.len);
	if (self->kind != PRIVATE)
		mm_next(&self->r, p.first, p.nr, 3);
	/* Now and then there are blocks again, of zeros. */
	return ok && (rnd(2) || !fallocate(self->fd, 0, p.off, p.len));
}

/* A private copy does not mind that the file has lost the page. */
TEST_F_TIMEOUT(file, punch_hole, 60)
{
	run(_metadata, self, 0, 0, punch);
}

static bool write_back(FIXTURE_DATA(file) *self)
{
	struct part p = pick(self);

	switch (rnd(4)) {
	case 0:
		return !msync(p.at, p.len, MS_SYNC);
	case 1:
		return !msync(p.at, p.len, MS_ASYNC);
	case 2:
		return !fdatasync(self->fd);
	default:
		return !sync_file_range(self->fd, p.off, p.len, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
	}
}

/* Each write-back protects the pages, so that the next write is heard of. */
TEST_F_TIMEOUT(file, write_back, 60)
{
	run(_metadata, self, 0, 0, write_back);
}

/* Neither in the page cache nor, where it is private, in memory otherwise */
static long not_in_memory(struct part *p)
{
	unsigned char vec[p->nr];
	long n = 0;
	size_t i;

	if (mincore(p->at, p->len, vec))
		return 0;
	for (i = 0; i < p->nr; i++)
		n += !(vec[i] & 1);
	return n;
}

/* Out of the mapping, then out of the cache: the next access reads the disk. */
static bool evict(FIXTURE_DATA(file) *self)
{
	struct part p = pick(self);
	bool ok;

	if (self->kind != PRIVATE) {
		if (madvise(p.at, p.len, rnd(2) ? MADV_DONTNEED : MADV_PAGEOUT))
			return false;
	} else if (madvise(p.at, p.len, MADV_PAGEOUT)) {
		return false;
	}
	if (rnd(2) && fdatasync(self->fd))
		return false;
	if (rnd(8))
		ok = !posix_fadvise(self->fd, p.off, p.len, POSIX_FADV_DONTNEED);
	else
		ok = !write_text("/proc/sys/vm/drop_caches", "1");
	self->evicted += not_in_memory(&p);
	return ok;
}

#define TRIES	500

TEST_F_TIMEOUT(file, evict, 60)
{
	/* What has no disk below, and private copies, go to swap. */
	if (self->kind != DISK && !swap_is_on()) {
		self->swap_ours = swap_on_zram();
		if (!self->swap_ours)
			SKIP(return, "no swap, and no RAM disk to make one of");
	}
	self->tries = TRIES;
	run(_metadata, self, ORIGINAL, 0, evict);
	EXPECT_GT(self->evicted, 0);
}

/* A private mapping falls back to the file, a shared one is the file. */
static bool discard(FIXTURE_DATA(file) *self)
{
	struct part p = pick(self);
	bool ok;

	if (self->kind == PRIVATE)
		mm_lose(&self->r, p.first, p.nr);
	ok = !madvise(p.at, p.len, MADV_DONTNEED);
	if (self->kind == PRIVATE)
		mm_next(&self->r, p.first, p.nr, 3);
	return ok;
}

TEST_F_TIMEOUT(file, madv_dontneed, 60)
{
	run(_metadata, self, ORIGINAL, 0, discard);
}

/* read() and write() are coherent with what the device does through the mapping. */
TEST_F_TIMEOUT(file, read_and_write, 60)
{
	const size_t page = page_size();
	uint64_t words[page / 8], val = 1;
	struct hsl_cqe c;
	size_t n;

	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, 0));
	for (n = 0; n < 500; n++, val++) {
		size_t at = rnd(self->len / page) * page;

		if (rnd(2)) {
			/* A private page that has not been written shows what the file gets, or not: ask nobody. */
			if (self->kind == PRIVATE)
				continue;
			mm_words(words, val, page);
			ASSERT_EQ(page, pwrite(self->fd, words, page, at));
			ASSERT_EQ(0, do_copy(self->q, &c, words, self->mem + at, page));
			ASSERT_EQ(HSL_ST_OK, c.status);
			ASSERT_EQ(val, words[0]);
			ASSERT_EQ(val, words[page / 8 - 1]);
		} else {
			hsl_prep_fill(hsl_get_desc(self->q), self->mem + at, val, page);
			ASSERT_EQ(0, finish_one(self->q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
			ASSERT_EQ(page, pread(self->fd, words, page, at));
			/* What is private the file never sees. */
			ASSERT_EQ(self->kind == PRIVATE ? 0 : val, words[0]);
			ASSERT_EQ(self->kind == PRIVATE ? 0 : val, words[page / 8 - 1]);
		}
		if (!rnd(16))
			ASSERT_EQ(0, fsync(self->fd));
	}
}

/* A second mapping, elsewhere and read-only, shows what the device writes, and refuses it. */
TEST_F_TIMEOUT(file, second_mapping, 60)
{
	const size_t page = page_size();
	char *view = mmap(NULL, self->len, PROT_READ, MAP_SHARED, self->fd, 0);
	uint64_t words[page / 8];
	struct hsl_cqe c;
	size_t n;

	ASSERT_NE(MAP_FAILED, view);
	ASSERT_EQ(0, mm_init(&self->r, self->ctx, self->mem, self->len, 0, 0));
	for (n = 1; n < 300; n++) {
		size_t at = rnd(self->len / page) * page;

		hsl_prep_fill(hsl_get_desc(self->q), self->mem + at, n, page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(self->kind == PRIVATE ? 0 : n, *(volatile uint64_t *)(view + at));
		ASSERT_EQ(0, do_copy(self->q, &c, words, view + at, page));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(self->kind == PRIVATE ? 0 : n, words[page / 8 - 1]);
		hsl_prep_fill(hsl_get_desc(self->q), view + at, ~0ull, page);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_PAGE_FAULT, c.status);
		ASSERT_EQ(n, *(volatile uint64_t *)(self->mem + at));
		if (!rnd(16))
			ASSERT_EQ(0, msync(self->mem, self->len, MS_SYNC));
	}
	ASSERT_EQ(0, munmap(view, self->len));
}

TEST_HARNESS_MAIN
