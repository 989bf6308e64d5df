// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages in device memory: they go there and come back as one, where the kernel
 * allows that, and are split there by whatever splits one in host memory.
 */
#include <linux/io_uring.h>
#include <linux/mman.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "hsl_memory.h"

#define NR	4
#define LEN	(NR * HUGE_PAGE)
#define CUT	(100 * self->page)

/* Bytes that are mapped as huge pages, of the mappings that lie in the range */
static size_t huge_bytes(const char *mem, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	uintptr_t start = 0, end = 0, from, to;
	size_t sum = 0, kb;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			start = from;
			end = to;
		}
		if (start < (uintptr_t)mem || end > (uintptr_t)mem + len)
			continue;
		if (sscanf(line, "AnonHugePages: %zu kB", &kb) == 1)
			sum += kb * KB;
	}
	if (f)
		fclose(f);
	return sum;
}

/* Random contents on the device, in huge pages, and a copy of them */
static char *on_device(FIXTURE_DATA(memory) *self, char *ref)
{
	char *mem = map_huge(LEN);

	if (!mem || !ref)
		return NULL;
	fill_random(mem, LEN);
	memcpy(ref, mem, LEN);
	if (huge_bytes(mem, LEN) != LEN || hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL))
		return NULL;
	return huge_bytes(mem, LEN) == LEN ? mem : NULL;
}

#define NEEDS_HUGE_PAGES() do {								\
	if (mem_file("huge_pages") != 1)						\
		SKIP(return, "this kernel has no huge pages of coherent memory");	\
} while (0)

/* By the device and by the CPU */
static bool same(FIXTURE_DATA(memory) *self, const char *mem, const char *ref, size_t len)
{
	static char *copy;

	if (!copy)
		copy = map_anon(LEN);
	if (hsl_copy(self->q, copy, mem, len))
		return false;
	return !memcmp(copy, ref, len) && !memcmp(mem, ref, len);
}

TEST_F(memory, there_and_back)
{
	char *mem, *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	for (int i = 0; i < NR; i++)
		EXPECT_TRUE(in_one_block(mem + i * HUGE_PAGE));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	/* Written by the device, there */
	ASSERT_EQ(0, hsl_fill(self->q, mem + MB, 0x4242424242424242, HUGE_PAGE));
	memset(ref + MB, 0x42, HUGE_PAGE);
	EXPECT_EQ(LEN, mine(self->ctx));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	EXPECT_EQ(LEN, huge_bytes(mem, LEN));
}

/* With or without huge pages of device memory. */
TEST_F(memory, in_step)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_huge(len), *ref = map_anon(len);

	ASSERT_NE(NULL, mem);
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_TRUE(in_one_block(mem));
	EXPECT_TRUE(in_one_block(mem + HUGE_PAGE));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	/* Part of one: the rest stays, and keeps its contents. */
	memset(mem, 1, len);
	fill_random(mem + MB, 5 * self->page);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem + MB, 5 * self->page, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(5 * (long long)self->page, mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_copy(self->q, ref, mem, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
}

TEST_F(memory, hole)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_huge(len);
	uint64_t in_step = 0;

	/* The huge zero page is a hole. */
	EXPECT_EQ(0, *(volatile char *)(mem + HUGE_PAGE));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_TRUE(in_one_block(mem));
	EXPECT_TRUE(in_one_block(mem + HUGE_PAGE));
	EXPECT_EQ(0, mem[0]);
	EXPECT_EQ(0, memcmp(mem, mem + 1, len - 1));
	/* What is placed bit by bit is in step, too, as long as a block is free. */
	ASSERT_EQ(0, madvise(mem, len, MADV_DONTNEED));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem + MB, MB, HSL_WHERE_DEVICE, NULL));
	in_step = pfn_of(mem + MB);
	EXPECT_EQ(MB / self->page, in_step % (HUGE_PAGE / self->page));
}

/* What is not there yet comes as huge pages where the process wants such. */
TEST_F(memory, hole_as_one)
{
	char *mem = map_huge(LEN), *ref = map_anon(LEN);
	void *p;

	NEEDS_HUGE_PAGES();
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(LEN, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	munmap(mem, LEN);
	EXPECT_EQ(0, mine(self->ctx));

	mem = map_huge(LEN);
	ASSERT_EQ(0, madvise(mem, LEN, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(0, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	munmap(mem, LEN);

	ASSERT_EQ(0, hsl_alloc(self->ctx, LEN, &p));
	EXPECT_TRUE(in_one_block(p));
	EXPECT_TRUE(same(self, p, ref, LEN));
	ASSERT_EQ(0, hsl_free(self->ctx, p));
	EXPECT_EQ(0, mine(self->ctx));
}

/* Where the kernel has none of device memory they become small ones, until they are collapsed; else they stay. */
TEST_F(memory, small_until_collapsed)
{
	const size_t there = mem_file("huge_pages") ? LEN : 0;
	char *mem = map_huge(LEN), *ref = map_anon(LEN);

	ASSERT_NE(NULL, mem);
	fill_random(mem, LEN);
	memcpy(ref, mem, LEN);
	ASSERT_EQ(LEN, huge_bytes(mem, LEN));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(there, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(there, huge_bytes(mem, LEN));
	ASSERT_EQ(0, madvise(mem, LEN, MADV_COLLAPSE));
	EXPECT_EQ(LEN, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
}

/* A huge page that is pinned somewhere does not move; what is around it does. */
TEST_F(memory, pinned_in_host_memory)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_huge(len), *got = map_anon(self->page);
	struct hsl_migrate r = { .size = sizeof(r) };
	struct iovec iov = { .iov_base = mem + MB, .iov_len = self->page };
	int p[2];

	ASSERT_EQ(0, pipe(p));
	memset(mem, 4, len);
	ASSERT_EQ(self->page, vmsplice(p[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(HUGE_PAGE, r.moved);
	EXPECT_EQ(HUGE_PAGE, r.pinned);
	ASSERT_EQ(self->page, read(p[0], got, self->page));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(4, mem[len - 1]);
	close(p[0]);
	close(p[1]);
}

/* Its memory can be had again, also by others. */
TEST_F(memory, part_unmapped)
{
	char *mem, *ref = map_anon(LEN);
	struct hsl_cqe c;
	void *all;

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, munmap(mem + i * HUGE_PAGE + CUT, CUT));
	EXPECT_EQ(LEN, mine(self->ctx));
	ASSERT_EQ(0, do_copy(self->q, &c, ref, mem, HUGE_PAGE));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(CUT, c.bytes);
	for (int i = 0; i < NR; i++) {
		size_t at = i * HUGE_PAGE;

		EXPECT_TRUE(same(self, mem + at, ref + at, CUT));
		at += 2 * CUT;
		EXPECT_TRUE(same(self, mem + at, ref + at, HUGE_PAGE - 2 * CUT));
	}
	ASSERT_EQ(0, hsl_alloc(self->ctx, self->total - LEN + NR * CUT, &all));
	EXPECT_EQ((long long)self->total, mine(self->ctx));
	ASSERT_EQ(0, hsl_free(self->ctx, all));
	for (int i = 0; i < NR; i++) {
		munmap(mem + i * HUGE_PAGE, CUT);
		munmap(mem + i * HUGE_PAGE + 2 * CUT, HUGE_PAGE - 2 * CUT);
	}
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_F(memory, part_protected)
{
	char *mem, *ref = map_anon(LEN);
	struct hsl_cqe c;

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, mprotect(mem + MB, CUT, PROT_READ));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, do_copy(self->q, &c, mem, ref, LEN));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(MB, c.bytes);
	ASSERT_EQ(0, mprotect(mem + MB, CUT, PROT_READ | PROT_WRITE));
	fill_random(ref, LEN);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	EXPECT_EQ(LEN, mine(self->ctx));
}

TEST_F(memory, part_dropped)
{
	char *mem, *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem + MB, CUT, MADV_DONTNEED));
	memset(ref + MB, 0, CUT);
	EXPECT_TRUE(same(self, mem, ref, LEN));
	fill_random(ref + MB, CUT);
	ASSERT_EQ(0, hsl_copy(self->q, mem + MB, ref + MB, CUT));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	/* What does not work on device memory does no harm either. */
	madvise(mem, LEN, MADV_FREE);
	madvise(mem, LEN, MADV_COLD);
	madvise(mem, LEN, MADV_PAGEOUT);
	madvise(mem, LEN, MADV_COLLAPSE);
	EXPECT_TRUE(same(self, mem, ref, LEN));
}

TEST_F(memory, part_moved_away)
{
	char *mem, *to = map_anon(CUT), *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(to, mremap(mem + MB, CUT, CUT, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_TRUE(same(self, to, ref + MB, CUT));
	EXPECT_TRUE(same(self, mem, ref, MB));
	EXPECT_TRUE(same(self, mem + MB + CUT, ref + MB + CUT, LEN - MB - CUT));
	/* To the host, from two mappings */
	ASSERT_EQ(0, hsl_migrate(self->ctx, to, CUT, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(LEN - (long long)CUT, mine(self->ctx));
	EXPECT_TRUE(same(self, to, ref + MB, CUT));
	EXPECT_TRUE(same(self, mem, ref, MB));
}

TEST_F(memory, all_moved_away)
{
	char *mem, *to = map_huge(LEN), *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(to, mremap(mem, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(LEN, huge_bytes(to, LEN));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_TRUE(same(self, to, ref, LEN));
}

TEST_F(memory, part_to_the_host)
{
	char *mem, *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem + MB, CUT, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(LEN - (long long)CUT, mine(self->ctx));
	EXPECT_EQ(LEN - HUGE_PAGE, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_TRUE(same(self, mem, ref, LEN));
}

/* A write of a child, and of its parent, each to a half of one page after the other */
TEST_F(memory, copy_on_write)
{
	char *mem, *ref = map_anon(LEN);
	int p[2], status;
	pid_t pid;
	char c;

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, pipe(p));
	pid = fork();
	if (!pid) {
		bool ok = !memcmp(mem, ref, LEN);

		memset(mem + MB / 2, 7, MB);
		ok = ok && read(p[0], &c, 1) == 1;
		ok = ok && !memcmp(mem, ref, MB / 2) && mem[MB / 2] == 7 && mem[MB / 2 + MB - 1] == 7;
		ok = ok && !memcmp(mem + MB / 2 + MB, ref + MB / 2 + MB, LEN - MB / 2 - MB);
		_exit(!ok);
	}
	ASSERT_LT(0, pid);
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, hsl_fill(self->q, mem + HUGE_PAGE + MB, 0x0909090909090909, HUGE_PAGE));
	memset(ref + HUGE_PAGE + MB, 9, HUGE_PAGE);
	/* The child has the old contents still. */
	ASSERT_EQ(1, write(p[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(p[0]);
	close(p[1]);
	EXPECT_TRUE(same(self, mem, ref, LEN));
}

/* Registered in the middle: core mm splits it, and takes only that to the host. */
TEST_F(memory, registered_buffer_in_it)
{
	char *mem, *ref = map_anon(LEN);
	struct io_uring_params par = { 0 };
	struct iovec iov = { .iov_len = 16 * self->page };
	int ring;

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ring = syscall(__NR_io_uring_setup, 4, &par);
	ASSERT_LE(0, ring);
	/* Across a border of two */
	iov.iov_base = mem + HUGE_PAGE - 8 * self->page;
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	EXPECT_EQ(LEN - (long long)iov.iov_len, mine(self->ctx));
	EXPECT_EQ(LEN - 2 * HUGE_PAGE, huge_bytes(mem, LEN));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_TRUE(COMES_TRUE(hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL) == 0));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	close(ring);
}

/* More than there is: the least recently used go, whether or not the host has huge pages. */
TEST_F(memory, evicted)
{
	const size_t len = self->total + NR * HUGE_PAGE;
	char *mem, *ref = map_anon(LEN), *more;
	long long evicted = mem_file("evicted");

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	more = map_huge(len);
	for (size_t at = 0; at < len; at += self->page)
		*(uint64_t *)(more + at) = at;
	for (size_t at = 0; at < len; at += HUGE_PAGE)
		ASSERT_EQ(0, hsl_migrate(self->ctx, more + at, HUGE_PAGE, HSL_WHERE_DEVICE, NULL));
	EXPECT_LE(evicted + LEN, mem_file("evicted"));
	EXPECT_TRUE(same(self, mem, ref, LEN));
	for (size_t at = 0; at < len; at += self->page)
		ASSERT_EQ(at, *(uint64_t *)(more + at));
	munmap(more, len);
	/* Half a page of each is not used any more. */
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, LEN, HSL_WHERE_DEVICE, NULL));
	for (int i = 0; i < NR; i++)
		ASSERT_EQ(0, munmap(mem + i * HUGE_PAGE, MB));
	more = map_huge(len);
	for (size_t at = 0; at < len; at += HUGE_PAGE)
		ASSERT_EQ(0, hsl_migrate(self->ctx, more + at, HUGE_PAGE, HSL_WHERE_DEVICE, NULL));
	for (int i = 0; i < NR; i++)
		EXPECT_TRUE(same(self, mem + i * HUGE_PAGE + MB, ref + i * HUGE_PAGE + MB, MB));
	munmap(more, len);
}

/* The device is given back in the middle of it: nothing is lost. */
TEST_F(memory, mode_goes)
{
	char *mem, *ref = map_anon(LEN);

	NEEDS_HUGE_PAGES();
	mem = on_device(self, ref);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, munmap(mem + MB, CUT));
	ASSERT_EQ(0, write_text(MEM_DIR "mode", "off"));
	EXPECT_EQ(0, memcmp(mem, ref, MB));
	EXPECT_EQ(0, memcmp(mem + MB + CUT, ref + MB + CUT, LEN - MB - CUT));
	ASSERT_EQ(0, write_text(MEM_DIR "mode", "coherent"));
	EXPECT_EQ(0, mine(self->ctx));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, MB, HSL_WHERE_DEVICE, NULL));
	EXPECT_TRUE(same(self, mem, ref, MB));
}

struct pusher {
	struct hsl_ctx *ctx;
	char *mem;
	unsigned int seed;
	bool stop;
	unsigned long moves;
	int err;
};

/* Anything between a page and all of it, there and back */
static void *push(void *arg)
{
	struct pusher *p = arg;

	while (!p->stop && !p->err) {
		size_t from = rand_r(&p->seed) % (LEN / page_size()), nr = 1 + rand_r(&p->seed) % 600;

		if (rand_r(&p->seed) % 2) {
			from = from / 512 * 512;
			nr = 512;
		}
		if (from + nr > LEN / page_size())
			nr = LEN / page_size() - from;
		p->err = hsl_migrate(p->ctx, p->mem + from * page_size(), nr * page_size(),
				     rand_r(&p->seed) % 2 ? HSL_WHERE_DEVICE : HSL_WHERE_HOST, NULL);
		if (p->err == -EBUSY)
			p->err = 0;
		p->moves++;
	}
	return NULL;
}

/* Two threads move it, a third collapses and splits, the CPU and the device write. */
TEST_F_TIMEOUT(memory, pushed_about, 120)
{
	const size_t pages = LEN / self->page;
	char *mem = map_huge(LEN), *ref = map_anon(LEN);
	struct pusher p[2];
	pthread_t thread[2];
	long long end;

	NEEDS_HUGE_PAGES();
	fill_random(mem, LEN);
	memcpy(ref, mem, LEN);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct pusher) { .ctx = self->ctx, .mem = mem, .seed = rnd(1u << 30) };
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, push, &p[i]));
	}
	for (end = now_ms() + 3000; now_ms() < end;) {
		size_t from = rnd(pages), nr = 1 + rnd(700), at = from * self->page, len;
		uint64_t word = rnd64();

		if (from + nr > pages)
			nr = pages - from;
		len = nr * self->page;
		switch (rnd(6)) {
		case 0:
			ASSERT_EQ(0, hsl_fill(self->q, mem + at, word, len));
			for (size_t n = 0; n < len; n += 8)
				memcpy(ref + at + n, &word, 8);
			break;
		case 1:
			memset(mem + at, word, len);
			memset(ref + at, word, len);
			break;
		case 2:
			ASSERT_EQ(0, madvise(mem + at, len, MADV_DONTNEED));
			memset(ref + at, 0, len);
			break;
		case 3:
			madvise(mem + at / HUGE_PAGE * HUGE_PAGE, HUGE_PAGE, MADV_COLLAPSE);
			break;
		case 4:
			ASSERT_EQ(0, mprotect(mem + at, len, PROT_READ));
			ASSERT_EQ(0, mprotect(mem + at, len, PROT_READ | PROT_WRITE));
			break;
		case 5:
			ASSERT_EQ(0, hsl_copy(self->q, mem + at, ref + at, len));
			break;
		}
		ASSERT_EQ(0, memcmp(mem + at, ref + at, len));
	}
	for (int i = 0; i < 2; i++)
		p[i].stop = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, p[i].err)
			TH_LOG("%s", strerror(-p[i].err));
	}
	TH_LOG("%lu moves", p[0].moves + p[1].moves);
	EXPECT_TRUE(same(self, mem, ref, LEN));
	munmap(mem, LEN);
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_HARNESS_MAIN
