// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory as memory: what a process does to any memory, done to pages that
 * are on the device, by the CPU and by the device, with everything compared.
 */
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "hsl_memory.h"
#include "hsl_swap.h"

/* All of it on the device, by the kernel's word */
static void expect_where(struct __test_metadata *_metadata, struct hsl_ctx *ctx, void *mem, size_t len,
			 enum hsl_where where)
{
	struct hsl_migrate r = { .size = sizeof(r) };
	long long before = mine(ctx);

	ASSERT_EQ(0, hsl_migrate(ctx, mem, len, where, &r));
	EXPECT_EQ(len, r.moved);
	EXPECT_EQ(before, mine(ctx));
}

TEST_F(memory, alloc_free)
{
	const size_t sizes[] = { 1, self->page, 3 * self->page, 64 * KB, MB, HUGE_PAGE,
				 HUGE_PAGE + 5 * self->page, 9 * MB };
	size_t i, len;
	void *mem;

	for (i = 0; i < ARRAY(sizes); i++) {
		len = (sizes[i] + self->page - 1) & ~(self->page - 1);
		ASSERT_EQ(0, hsl_alloc(self->ctx, sizes[i], &mem));
		EXPECT_EQ((long long)len, mine(self->ctx));
		EXPECT_EQ(len, (size_t)mem_file("used"));
		EXPECT_EQ(self->total - len, (size_t)mem_file("free"));
		if (sizes[i] >= HUGE_PAGE) {
			EXPECT_EQ(0, (uintptr_t)mem % HUGE_PAGE);
		}
		EXPECT_EQ(0, *(char *)mem);
		EXPECT_EQ(0, memcmp(mem, (char *)mem + 1, len - 1));
		ASSERT_EQ(0, hsl_free(self->ctx, mem));
		EXPECT_EQ(0, mine(self->ctx));
		EXPECT_EQ(0, mem_file("used"));
	}
	EXPECT_EQ(-EINVAL, hsl_alloc(self->ctx, 0, &mem));
	EXPECT_EQ(-EINVAL, hsl_free(self->ctx, self));
	EXPECT_EQ(0, hsl_free(self->ctx, NULL));
}

TEST_F(memory, both_see_each_others_writes)
{
	const size_t len = HUGE_PAGE + 3 * self->page;
	char *host = map_anon(len), *back = map_anon(len);
	void *mem;

	ASSERT_NE(NULL, host);
	ASSERT_NE(NULL, back);
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	/* The device writes, the CPU reads. */
	fill_random(host, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, host, len));
	EXPECT_EQ(0, memcmp(mem, host, len));
	/* The CPU writes, the device reads. */
	fill_random(mem, len);
	ASSERT_EQ(0, hsl_copy(self->q, back, mem, len));
	EXPECT_EQ(0, memcmp(mem, back, len));
	expect_where(_metadata, self->ctx, mem, len, HSL_WHERE_DEVICE);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

TEST_F(memory, migrate_both_ways)
{
	const size_t len = 5 * MB + 3 * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	int round;

	ASSERT_NE(NULL, mem);
	fill_random(mem, len);
	memcpy(ref, mem, len);
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
		EXPECT_EQ(len, r.moved);
		EXPECT_EQ((long long)len, mine(self->ctx));
		EXPECT_EQ(0, memcmp(mem, ref, len));
		fill_random(ref, len);
		ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
		EXPECT_EQ(len, r.moved);
		EXPECT_EQ(0, mine(self->ctx));
		EXPECT_EQ(0, memcmp(mem, ref, len));
	}
	EXPECT_EQ(0, mem_file("used"));
}

/* Holes of a range, touched pages among them, go there and come back. */
TEST_F(memory, holes_and_pages)
{
	const size_t pages = 700, len = pages * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	unsigned char *in = malloc(pages);
	size_t i, resident;

	for (i = 0; i < pages; i++)
		if (rnd(3) == 0) {
			fill_random(mem + i * self->page, self->page);
			memcpy(ref + i * self->page, mem + i * self->page, self->page);
		}
	/* The zero page is a hole, too. */
	for (i = 0; i < pages; i++)
		if (rnd(3) == 0) {
			EXPECT_EQ(ref[i * self->page], *(volatile char *)(mem + i * self->page));
		}
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len, r.moved);
	EXPECT_EQ((long long)len, mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(0, memcmp(mem, ref, len));

	/* Host memory leaves holes alone. */
	munmap(mem, len);
	mem = map_anon(len);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(len, r.moved);
	ASSERT_EQ(0, mincore(mem, len, in));
	for (resident = i = 0; i < pages; i++)
		resident += in[i] & 1;
	EXPECT_EQ(0, resident);
	munmap(mem, len);
	free(in);
}

struct fork_arg {
	char *mem, *ref;
	size_t len;
};

static void child_writes(void *p)
{
	struct fork_arg *a = p;
	size_t i;

	if (memcmp(a->mem, a->ref, a->len))
		_exit(1);
	for (i = 0; i < a->len; i += 512)
		a->mem[i] ^= 0x55;
	for (i = 0; i < a->len; i++)
		if (a->mem[i] != (char)(a->ref[i] ^ (i % 512 ? 0 : 0x55)))
			_exit(2);
}

TEST_F(memory, fork_child_writes)
{
	struct fork_arg a = { .ref = map_anon(3 * MB), .len = 3 * MB };
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, a.len, &mem));
	a.mem = mem;
	fill_random(a.mem, a.len);
	memcpy(a.ref, a.mem, a.len);
	EXPECT_EQ(0, touch_in_child(child_writes, &a));
	EXPECT_EQ(0, memcmp(a.mem, a.ref, a.len));
	/* The child's end left the parent its pages. */
	EXPECT_EQ((long long)a.len, mine(self->ctx));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	EXPECT_EQ(0, mem_file("used"));
}

TEST_F(memory, fork_parent_writes)
{
	const size_t len = 3 * MB;
	char *ref = map_anon(len), *new = map_anon(len);
	int go[2], status;
	void *mem;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	fill_random(new, len);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(memcmp(mem, ref, len) ? 2 : 0);
	}
	/* By the CPU and by the device; both meet copy on write. */
	memcpy(mem, new, len / 2);
	ASSERT_EQ(0, hsl_copy(self->q, (char *)mem + len / 2, new + len / 2, len / 2));
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcmp(mem, new, len));
	/* What the parent wrote is in host memory now, until it asks again. */
	expect_where(_metadata, self->ctx, mem, 0 + self->page, HSL_WHERE_HOST);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(0, memcmp(mem, new, len));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	close(go[0]);
	close(go[1]);
}

/* Pages that two processes share move for both, to the device and back. */
TEST_F(memory, fork_shared_pages_move)
{
	const size_t len = MB;
	char *mem = map_anon(len), *ref = map_anon(len);
	int go[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		if (memcmp(mem, ref, len))
			_exit(2);
		memset(mem, 1, len);
		_exit(0);
	}
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ((long long)len, mine(self->ctx));
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_F(memory, mremap_moves_it)
{
	const size_t len = 2 * HUGE_PAGE;
	char *mem = map_anon(len), *ref = map_anon(len), *to = map_anon(len + MB) + MB;

	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	ASSERT_EQ(to, mremap(mem, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, memcmp(to, ref, len));
	EXPECT_EQ((long long)len, mine(self->ctx));
	fill_random(ref, len);
	ASSERT_EQ(0, hsl_copy(self->q, to, ref, len));
	EXPECT_EQ(0, memcmp(to, ref, len));
	expect_where(_metadata, self->ctx, to, len, HSL_WHERE_DEVICE);
	munmap(to, len);
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_F(memory, mprotect)
{
	const size_t len = 64 * KB;
	char *ref = map_anon(len);
	struct hsl_cqe c;
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, mprotect(mem, len, PROT_READ));
	ASSERT_EQ(0, do_copy(self->q, &c, mem, ref, len));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(0, memcmp(mem, ref, len));
	/* It moves with whatever protection it has. */
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, mine(self->ctx));
	ASSERT_EQ(0, mprotect(mem, len, PROT_NONE));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ((long long)len, mine(self->ctx));
	ASSERT_EQ(0, do_copy(self->q, &c, ref, mem, len));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	ASSERT_EQ(0, mprotect(mem, len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, do_copy(self->q, &c, mem, ref, len));
	EXPECT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

TEST_F(memory, munmap_part)
{
	const size_t len = MB, cut = 60 * self->page;
	char *ref = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	struct hsl_cqe c;
	void *p;
	char *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &p));
	mem = p;
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, munmap(mem + cut, cut));
	EXPECT_EQ((long long)(len - cut), mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, cut));
	EXPECT_EQ(0, memcmp(mem + 2 * cut, ref + 2 * cut, len - 2 * cut));
	ASSERT_EQ(0, do_copy(self->q, &c, ref, mem, len));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(cut, c.bytes);
	EXPECT_EQ(-EFAULT, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(cut, r.moved);
	munmap(mem, cut);
	munmap(mem + 2 * cut, len - 2 * cut);
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_F(memory, dontneed_gives_it_back)
{
	const size_t len = MB;
	char *mem = map_anon(len);

	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	memset(mem, 1, len);
	ASSERT_EQ(0, madvise(mem, len, MADV_DONTNEED));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_EQ(0, mem[len - 1]);
}

static void alloc_and_die(void *arg)
{
	struct hsl_ctx *ctx;
	void *mem;

	if (open_on(dev_path(0), *(enum hsl_sva *)arg, &ctx) || hsl_alloc(ctx, 8 * MB, &mem))
		_exit(1);
	memset(mem, 1, 8 * MB);
	raise(SIGKILL);
}

TEST_F(memory, exit_gives_it_back)
{
	enum hsl_sva sva = variant->sva;

	EXPECT_EQ(128 + SIGKILL, touch_in_child(alloc_and_die, &sva));
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

/* More than there is: the call says how much there was room for, and ends. */
TEST_F(memory, exhaustion)
{
	const size_t len = self->total + 4 * MB;
	struct hsl_migrate r = { .size = sizeof(r) };
	char *mem = map_anon(len);
	long long start = now_ms();
	void *p = NULL;

	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, len, &p));
	EXPECT_EQ(NULL, p);
	EXPECT_EQ(0, mem_file("used"));
	EXPECT_EQ(-ENOMEM, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(self->total, r.moved);
	EXPECT_EQ(len - self->total, r.nomem);
	EXPECT_EQ(0, r.pinned);
	EXPECT_EQ(0, r.other);
	EXPECT_EQ(0, mem_file("free"));
	EXPECT_GT(BOUND_MS, now_ms() - start);
	munmap(mem, len);
	EXPECT_EQ(self->total, (size_t)mem_file("free"));
	ASSERT_EQ(0, hsl_alloc(self->ctx, self->total, &p));
	ASSERT_EQ(0, hsl_free(self->ctx, p));
}

/* Three thirds and a bit: what goes is what was used least recently. */
TEST_F(memory, eviction_order)
{
	const size_t third = self->total / 3 / HUGE_PAGE * HUGE_PAGE;
	struct hsl_migrate r = { .size = sizeof(r) };
	char *ref = map_anon(third), *part[3];
	long long evicted;
	void *p;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, hsl_alloc(self->ctx, third, &p));
		part[i] = p;
		memset(part[i], i + 1, third);
	}
	/* Found there counts as use. */
	ASSERT_EQ(0, hsl_migrate(self->ctx, part[0], third, HSL_WHERE_DEVICE, &r));
	evicted = mem_file("evicted");
	ASSERT_EQ(0, hsl_alloc(self->ctx, third, &p));
	EXPECT_LT(evicted, mem_file("evicted"));
	memset(p, 9, third);

	/* The second third is what went. HOST finds what did not. */
	evicted = mem_file("moved_out");
	ASSERT_EQ(0, hsl_migrate(self->ctx, part[1], third, HSL_WHERE_HOST, &r));
	EXPECT_GE(2 * (long long)HUGE_PAGE, mem_file("moved_out") - evicted);
	evicted = mem_file("moved_out");
	ASSERT_EQ(0, hsl_migrate(self->ctx, part[0], third, HSL_WHERE_HOST, &r));
	EXPECT_EQ((long long)third, mem_file("moved_out") - evicted);
	for (i = 0; i < 3; i++) {
		memset(ref, i + 1, third);
		EXPECT_EQ(0, memcmp(ref, part[i], third));
		ASSERT_EQ(0, hsl_free(self->ctx, part[i]));
	}
	memset(ref, 9, third);
	EXPECT_EQ(0, memcmp(ref, p, third));
	ASSERT_EQ(0, hsl_free(self->ctx, p));
	EXPECT_EQ(0, mem_file("used"));
}

enum use { BY_CPU, BY_ADVICE, BY_DEVICE, BY_DEVICE_AGAIN, NR_USES };

/* Of each block */
static int use(FIXTURE_DATA(memory) *self, char *mem, size_t len, enum use how)
{
	uint32_t crc = 0;
	int err = 0;
	size_t at;

	if (how == BY_ADVICE)
		return hsl_advise(self->ctx, mem, len, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE);
	for (at = 0; at < len && !err; at += HUGE_PAGE) {
		if (how == BY_CPU)
			mem[at]++;
		else
			err = hsl_crc32c(self->q, mem + at, 8, &crc);
	}
	return err;
}

/* What the driver hears of is use: calls, and faults of a device that are its to answer. */
TEST_F_TIMEOUT(memory, what_counts_as_use, 120)
{
	const size_t third = self->total / 3 / HUGE_PAGE * HUGE_PAGE;

	for (enum use how = 0; how < NR_USES; how++) {
		bool counts = how == BY_ADVICE || (how == BY_DEVICE && variant->sva == HSL_SVA_HMM);
		void *part[4];
		long long out;

		for (int i = 0; i < 3; i++) {
			ASSERT_EQ(0, hsl_alloc(self->ctx, third, &part[i]));
			if (how == BY_DEVICE_AGAIN)
				ASSERT_EQ(0, use(self, part[i], third, BY_DEVICE));
		}
		ASSERT_EQ(0, use(self, part[0], third, how));
		ASSERT_EQ(0, hsl_alloc(self->ctx, third, &part[3]));
		/* HOST finds what is still there. */
		out = mem_file("moved_out");
		ASSERT_EQ(0, hsl_migrate(self->ctx, part[0], third, HSL_WHERE_HOST, NULL));
		out = mem_file("moved_out") - out;
		TH_LOG("use %u: %lld of %zu bytes have stayed", how, out, third);
		if (counts) {
			EXPECT_EQ((long long)third, out);
		} else {
			EXPECT_GE(2 * (long long)HUGE_PAGE, out);
		}
		for (int i = 0; i < 4; i++)
			ASSERT_EQ(0, hsl_free(self->ctx, part[i]));
	}
}

/* Full, and of a part every other page is given back: that is room like any. */
TEST_F(memory, fragmentation)
{
	const size_t len = 32 * MB, half = len / 2;
	char *mem = map_anon(len), *ref = map_anon(half);
	long long evicted;
	void *rest, *p;
	size_t i;

	ASSERT_EQ(0, hsl_alloc(self->ctx, self->total - len, &rest));
	ASSERT_EQ(0, madvise(mem, len, MADV_NOHUGEPAGE));
	/* Less than a block at a time: for a whole one, room would be made. */
	for (i = 0; i < len; i += MB) {
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem + i, MB, HSL_WHERE_DEVICE, NULL));
	}
	EXPECT_EQ(0, mem_file("free"));
	for (i = 0; i < len / self->page; i++) {
		memset(mem + i * self->page, i, self->page);
		if (i & 1) {
			ASSERT_EQ(0, madvise(mem + i * self->page, self->page, MADV_DONTNEED));
		}
	}
	EXPECT_EQ((long long)half, mem_file("free"));
	evicted = mem_file("evicted");
	for (i = 0; i < half; i += MB) {
		p = map_anon(MB);
		madvise(p, MB, MADV_NOHUGEPAGE);
		ASSERT_EQ(0, hsl_migrate(self->ctx, p, MB, HSL_WHERE_DEVICE, NULL));
		fill_random(ref, MB);
		ASSERT_EQ(0, hsl_copy(self->q, p, ref, MB));
		EXPECT_EQ(0, memcmp(p, ref, MB));
	}
	EXPECT_EQ(0, mem_file("free"));
	EXPECT_EQ(evicted, mem_file("evicted"));
	for (i = 0; i < len / self->page; i += 2) {
		ASSERT_EQ((char)i, mem[i * self->page]);
	}
	ASSERT_EQ(0, hsl_free(self->ctx, rest));
	munmap(mem, len);
}

static void cannot(struct __test_metadata *_metadata, struct hsl_ctx *ctx, void *mem, size_t len)
{
	struct hsl_migrate r = { .size = sizeof(r) };

	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(0, r.moved);
	EXPECT_EQ(len, r.other);
	EXPECT_EQ(0, hsl_migrate(ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(len, r.moved);
}

#define NR_HUGE	"/proc/sys/vm/nr_hugepages"

TEST_F(memory, other_kinds)
{
	const size_t len = 64 * KB;
	struct hsl_migrate r = { .size = sizeof(r) };
	int fd = memfd_create("hsl", 0);
	long long huge;
	char *mem;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, len));
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(mem, 1, len);
	cannot(_metadata, self->ctx, mem, len);
	munmap(mem, len);
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cannot(_metadata, self->ctx, mem, len);
	munmap(mem, len);

	/* Of a private file mapping, what was written is the process's own. */
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	EXPECT_EQ(1, *(volatile char *)mem);
	memset(mem + len / 2, 2, len / 2);
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len / 2, r.moved);
	EXPECT_EQ(len / 2, r.other);
	EXPECT_EQ(2, mem[len - 1]);
	munmap(mem, len);
	close(fd);

	/* Nor do pages of hugetlb, if the kernel has such. */
	huge = read_number(NR_HUGE);
	if (huge >= 0 && !write_number(NR_HUGE, huge + 1)) {
		mem = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		EXPECT_NE(MAP_FAILED, mem);
		if (mem != MAP_FAILED) {
			memset(mem, 1, HUGE_PAGE);
			cannot(_metadata, self->ctx, mem, HUGE_PAGE);
			munmap(mem, HUGE_PAGE);
		}
		EXPECT_EQ(0, write_number(NR_HUGE, huge));
	}

	/* The doorbell page of a queue is no memory. */
	cannot(_metadata, self->ctx, (void *)((uintptr_t)self->q->doorbell & ~(self->page - 1)), self->page);
}

TEST_F(memory, arguments)
{
	char *mem = map_anon(4 * self->page);
	struct hsl_migrate r = { .size = sizeof(r) }, bad;

	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem + 1, self->page, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem, self->page - 1, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem, 0, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem, self->page, 77, &r));
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem, -self->page, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, (void *)-self->page, self->page, HSL_WHERE_DEVICE, &r));
	r.size = 8;
	EXPECT_EQ(-EINVAL, hsl_migrate(self->ctx, mem, self->page, HSL_WHERE_DEVICE, &r));
	r.size = sizeof(r);
	munmap(mem + 2 * self->page, self->page);
	EXPECT_EQ(-EFAULT, hsl_migrate(self->ctx, mem, 4 * self->page, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(2 * self->page, r.moved);
	bad = (struct hsl_migrate) { .size = sizeof(bad), .flags = 1, .addr = (uintptr_t)mem, .len = self->page };
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_MIGRATE, &bad));
	EXPECT_EQ(EOPNOTSUPP, errno);
	bad = (struct hsl_migrate) { .size = sizeof(bad), .reserved = 1, .addr = (uintptr_t)mem, .len = self->page };
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_MIGRATE, &bad));
	EXPECT_EQ(EOPNOTSUPP, errno);
	bad = (struct hsl_migrate) { .size = offsetof(struct hsl_migrate, other) };
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_MIGRATE, &bad));
	EXPECT_EQ(EINVAL, errno);
}

static long long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

/* A pipe holds the pages: they are not waited for, but looked at again a few times. */
TEST_F(memory, pinned_by_a_pipe)
{
	const size_t len = 8 * self->page;
	char *mem = map_anon(len), *got = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	struct iovec iov = { .iov_base = mem, .iov_len = len / 2 };
	long long start;
	int p[2];

	ASSERT_EQ(0, pipe(p));
	memset(mem, 3, len);
	ASSERT_EQ(len / 2, vmsplice(p[1], &iov, 1, 0));
	start = now_us();
	EXPECT_EQ(-EBUSY, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	/* It sleeps before it looks for the third time, and the next ones. */
	EXPECT_LE(600, now_us() - start);
	EXPECT_EQ(len / 2, r.pinned);
	EXPECT_EQ(len / 2, r.moved);
	EXPECT_GT(BOUND_MS * 500ll, now_us() - start);
	ASSERT_EQ(len / 2, read(p[0], got, len));
	EXPECT_EQ(0, memcmp(mem, got, len / 2));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));

	/* The same in the other direction, and pressure finds no room there. */
	ASSERT_EQ(len / 2, vmsplice(p[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(len / 2, r.pinned);
	ASSERT_EQ(len / 2, read(p[0], got, len));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(3, mem[len - 1]);
	close(p[0]);
	close(p[1]);
}

/* Pinned pages on the device are neither evicted nor waited for. */
TEST_F(memory, pressure_leaves_pinned_pages)
{
	const size_t len = 4 * self->page;
	char *got = map_anon(len);
	struct iovec iov = { .iov_len = len };
	void *held, *big = NULL;
	int p[2];

	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &held));
	memset(held, 5, len);
	iov.iov_base = held;
	ASSERT_EQ(len, vmsplice(p[1], &iov, 1, 0));
	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, self->total, &big));
	EXPECT_EQ((long long)len, mine(self->ctx));
	ASSERT_EQ(len, read(p[0], got, len));
	EXPECT_EQ(5, got[len - 1]);
	ASSERT_EQ(0, hsl_alloc(self->ctx, self->total, &big));
	ASSERT_EQ(0, hsl_free(self->ctx, big));
	EXPECT_EQ(5, *(char *)held);
	ASSERT_EQ(0, hsl_free(self->ctx, held));
	close(p[0]);
	close(p[1]);
}

static char last_log[512];

static void keep_log(const char *text)
{
	snprintf(last_log, sizeof(last_log), "%s", text);
}

TEST_F(memory, the_log_says_amounts)
{
	char total[32];
	void *p;

	hsl_set_log(keep_log);
	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, self->total + HUGE_PAGE, &p));
	snprintf(total, sizeof(total), " %llu ", (unsigned long long)self->total + HUGE_PAGE);
	EXPECT_NE(NULL, strstr(last_log, total))
		TH_LOG("%s", last_log);
	EXPECT_NE(NULL, strstr(last_log, " 2097152 without room"))
		TH_LOG("%s", last_log);
	hsl_set_log(NULL);
}

/*
 * Swap, merged pages, registered buffers, direct I/O
 */

TEST_F(memory, swapped_out)
{
	const size_t pages = 256, len = pages * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	bool ours = !swap_is_on();
	size_t i, out = 0;

	if (ours && !swap_on_zram())
		SKIP(return, "no swap, and no RAM disk to make one of");
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, madvise(mem, len, MADV_PAGEOUT));
	for (i = 0; i < pages; i++)
		out += !pfn_of(mem + i * self->page);
	EXPECT_LT(pages / 2, out);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len, r.moved);
	EXPECT_EQ(0, memcmp(mem, ref, len));
	/* Device pages are not swapped, whatever is asked for. */
	madvise(mem, len, MADV_PAGEOUT);
	madvise(mem, len, MADV_COLD);
	EXPECT_EQ((long long)len, mine(self->ctx));
	ASSERT_EQ(0, hsl_copy(self->q, ref, mem, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	munmap(mem, len);
	if (ours)
		EXPECT_TRUE(swap_off_zram());
}

/* The neighbours of device pages are swapped out and back. */
TEST_F(memory, neighbours_are_swapped)
{
	const size_t pages = 512, len = pages * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	bool ours = !swap_is_on();
	size_t i;

	if (ours && !swap_on_zram())
		SKIP(return, "no swap, and no RAM disk to make one of");
	fill_random(mem, len);
	memcpy(ref, mem, len);
	for (i = 0; i < pages; i += 16) {
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem + i * self->page, 8 * self->page, HSL_WHERE_DEVICE, NULL));
	}
	ASSERT_EQ(0, madvise(mem, len, MADV_PAGEOUT));
	EXPECT_EQ((long long)len / 2, mine(self->ctx));
	ASSERT_EQ(0, hsl_fill(self->q, mem, 0x1122334455667788, self->page));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, self->page));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	munmap(mem, len);
	if (ours)
		EXPECT_TRUE(swap_off_zram());
}

TEST_F(memory, merged_pages)
{
	const size_t pages = 64, len = pages * self->page;
	struct hsl_migrate r = { .size = sizeof(r) };
	char *mem = map_anon(len);
	long long shared;
	size_t i;

	if (access("/sys/kernel/mm/ksm/run", W_OK))
		SKIP(return, "kernel built without CONFIG_KSM");
	memset(mem, 0x5a, len);
	ASSERT_EQ(0, madvise(mem, len, MADV_MERGEABLE));
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/pages_to_scan", "2000"));
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/sleep_millisecs", "1"));
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/run", "1"));
	EXPECT_TRUE(COMES_TRUE((shared = read_number("/sys/kernel/mm/ksm/pages_sharing")) >= (long long)pages - 1));
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/run", "0"));
	/* Each gets a page of its own there. */
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len, r.moved);
	EXPECT_EQ((long long)len, mine(self->ctx));
	for (i = 0; i < len; i++) {
		ASSERT_EQ(0x5a, mem[i]);
	}
	mem[0] = 1;
	EXPECT_EQ(0x5a, mem[self->page]);
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/run", "2"));
	ASSERT_EQ(0, write_text("/sys/kernel/mm/ksm/run", "0"));
}

/* A registered buffer is pinned for long: core mm moves it to the host first. */
TEST_F(memory, registered_buffer)
{
	const size_t len = 16 * self->page;
	struct hsl_migrate r = { .size = sizeof(r) };
	struct io_uring_params par = { 0 };
	struct iovec iov = { .iov_len = len };
	int ring = syscall(__NR_io_uring_setup, 4, &par);
	void *mem;

	if (ring < 0)
		SKIP(return, "io_uring: %s", strerror(errno));
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	memset(mem, 6, len);
	iov.iov_base = mem;
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_EQ(-EBUSY, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len, r.pinned);
	EXPECT_EQ(0, r.moved);
	/* The device uses it where it is. */
	ASSERT_EQ(0, hsl_fill(self->q, mem, 0x0606060606060606, len));
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_TRUE(COMES_TRUE(hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r) == 0));
	EXPECT_EQ(6, ((char *)mem)[len - 1]);
	close(ring);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

TEST_F(memory, direct_io)
{
	const size_t len = 64 * self->page;
	char *ref = map_anon(len);
	char path[] = "/tmp/hsl_memory_XXXXXX";
	int file = mkstemp(path), fd;
	void *mem;

	/* tmpfs takes O_DIRECT since 6.6, and copies. */
	ASSERT_LE(0, file);
	fill_random(ref, len);
	ASSERT_EQ(len, write(file, ref, len));
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	unlink(path);
	if (fd < 0)
		SKIP(return, "O_DIRECT: %s", strerror(errno));
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	ASSERT_EQ(len, pread(fd, mem, len, 0));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	fill_random(mem, len);
	ASSERT_EQ(len, pwrite(fd, mem, len, 0));
	ASSERT_EQ(len, pread(file, ref, len, 0));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ((long long)len, mine(self->ctx));
	close(fd);
	close(file);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

TEST_F(memory, written_by_a_system_call)
{
	const size_t len = 16 * self->page;
	char *ref = map_anon(len), *got = map_anon(len);
	struct iovec ours = { ref, len }, theirs = { .iov_len = len };
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	theirs.iov_base = mem;
	fill_random(ref, len);
	ASSERT_EQ(len, process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_copy(self->q, got, mem, len));
	EXPECT_EQ(0, memcmp(got, ref, len));
	EXPECT_EQ((long long)len, mine(self->ctx));
	fill_random(got, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, got, len));
	ASSERT_EQ(len, process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0));
	EXPECT_EQ(0, memcmp(got, ref, len));
	EXPECT_EQ((long long)len, mine(self->ctx));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

/* A number of /proc/self/status, or -1 */
static long long status_kb(const char *name)
{
	FILE *f = fopen("/proc/self/status", "re");
	size_t len = strlen(name);
	long long kb = -1;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && sscanf(line + len, ": %lld kB", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* Who may lock no memory may use the device all the same. */
TEST_F(memory, nothing_locked)
{
	const size_t len = 4 * MB;
	struct rlimit none = { 0, 0 };
	char *ref = map_anon(len);
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	void *mem;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_EQ(-1, mlock(ref, self->page));
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	ASSERT_EQ(0, hsl_alloc(ctx, len, &mem));
	fill_random(ref, len);
	ASSERT_EQ(0, hsl_copy(q, mem, ref, len));
	ASSERT_EQ(0, hsl_migrate(ctx, ref, len, HSL_WHERE_DEVICE, NULL));
	ASSERT_EQ(0, hsl_migrate(ctx, mem, len, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(0, status_kb("VmLck"));
	EXPECT_EQ(0, status_kb("VmPin"));
	ASSERT_EQ(0, hsl_free(ctx, mem));
	hsl_close(ctx);
}

/* The pages of another device come here directly. */
TEST_F(memory, from_device_to_device)
{
	const size_t len = 3 * MB;
	struct hsl_ctx *other;
	char *ref = map_anon(len);
	void *mem;

	SKIP_WITHOUT_DEVICES(2);
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &other));
	ASSERT_EQ(0, hsl_alloc(other, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	EXPECT_EQ((long long)len, mine(other));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(0, mine(other));
	EXPECT_EQ((long long)len, mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_migrate(other, mem, MB, HSL_WHERE_DEVICE, NULL));
	/* This device works in the memory of that one, or has it brought to the host. */
	fill_random(ref, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(variant->sva == HSL_SVA_HMM ? 0 : (long long)MB, mine(other));
	/* Host memory is host memory, whoever says it. */
	ASSERT_EQ(0, hsl_migrate(other, mem, len, HSL_WHERE_HOST, NULL));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_EQ(0, mine(other));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_free(other, mem));
	hsl_close(other);
}

/*
 * What comes to host memory for a device that does not reach it where it is comes page
 * by page: one that stays, because somebody holds it, stops nobody who wants others.
 */
TEST_F_TIMEOUT(memory, fetched_beside_pinned, 60)
{
	const size_t len = 32 * self->page, held = 20 * self->page;
	char *got = map_anon(len);
	const bool there = variant->sva == HSL_SVA_IOMMU;	/* reached in its place */
	struct iovec iov = { .iov_len = self->page };
	struct hsl_ctx *other;
	struct hsl_cqe c;
	void *mem;
	int p[2];

	SKIP_WITHOUT_DEVICES(2);
	ASSERT_NE(NULL, got);
	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &other));
	ASSERT_EQ(0, hsl_alloc(other, len, &mem));
	fill_random(mem, len);
	iov.iov_base = mem + held;
	ASSERT_EQ((ssize_t)self->page, vmsplice(p[1], &iov, 1, 0));

	ASSERT_EQ(0, do_copy(self->q, &c, got, mem, held));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, memcmp(got, mem, held));
	EXPECT_EQ((long long)(there ? len : len - held), mine(other));
	/* It is waited for, but not for ever. */
	ASSERT_EQ(0, do_copy(self->q, &c, got, mem, len));
	EXPECT_EQ(there ? HSL_ST_OK : HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(there ? len : held, c.bytes);

	ASSERT_EQ((ssize_t)self->page, read(p[0], got, self->page));
	ASSERT_EQ(0, do_copy(self->q, &c, got, mem, len));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, memcmp(got, mem, len));
	close(p[0]);
	close(p[1]);
	ASSERT_EQ(0, hsl_free(other, mem));
	hsl_close(other);
}

/*
 * Advice
 */

/* The pages of the rings too are asked for, when they are used first. */
static int do_nop(struct hsl_queue *q)
{
	struct hsl_cqe c;

	hsl_prep_nop(hsl_get_desc(q));
	return finish_one(q, &c);
}

TEST_F(memory, advice_prefetch)
{
	const size_t len = HUGE_PAGE + 7 * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	uint64_t requests;

	ASSERT_EQ(0, hsl_advise(self->ctx, mem, len, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE));
	EXPECT_EQ((long long)len, mine(self->ctx));
	fill_random(ref, len);
	/* It is there: the device asks for nothing. */
	ASSERT_EQ(0, hsl_advise(self->ctx, ref, len, HSL_ADVICE_PREFETCH, HSL_WHERE_NONE));
	ASSERT_EQ(0, do_nop(self->q));
	requests = device_counter(self->ctx, HSL_CNT_PAGE_REQUESTS);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(requests, device_counter(self->ctx, HSL_CNT_PAGE_REQUESTS));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_advise(self->ctx, mem, len, HSL_ADVICE_PREFETCH, HSL_WHERE_HOST));
	EXPECT_EQ(0, mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));
}

TEST_F(memory, advice_accessed_by)
{
	const size_t len = 300 * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	unsigned char in[300];
	uint64_t requests;
	size_t i;

	fill_random(ref, len);
	ASSERT_EQ(0, hsl_advise(self->ctx, mem, len, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, mincore(mem, len, in));
	for (i = 0; i < ARRAY(in); i++) {
		EXPECT_EQ(1, in[i] & 1);
	}
	EXPECT_EQ(0, mine(self->ctx));
	ASSERT_EQ(0, hsl_advise(self->ctx, ref, len, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, do_nop(self->q));
	requests = device_counter(self->ctx, HSL_CNT_PAGE_REQUESTS);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(requests, device_counter(self->ctx, HSL_CNT_PAGE_REQUESTS));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	/* What may only be read is only read. */
	ASSERT_EQ(0, mprotect(ref, len, PROT_READ));
	ASSERT_EQ(0, hsl_advise(self->ctx, ref, len, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, mprotect(ref, len, PROT_NONE));
	EXPECT_EQ(-EFAULT, hsl_advise(self->ctx, ref, len, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
}

TEST_F(memory, advice_preferred)
{
	const size_t half = MB, len = 2 * half;
	char *mem = map_anon(len), *ref = map_anon(len);

	/* Or a huge page of the one would reach into the other. */
	ASSERT_EQ(0, madvise(mem, len, MADV_NOHUGEPAGE));
	fill_random(ref, len);
	memset(mem, 1, self->page);	/* in host memory already */
	ASSERT_EQ(0, hsl_advise(self->ctx, mem, half, HSL_ADVICE_PREFERRED, HSL_WHERE_DEVICE));
	if (variant->sva == HSL_SVA_IOMMU) {
		EXPECT_EQ((long long)half, mine(self->ctx));
		ASSERT_EQ(0, hsl_advise(self->ctx, mem, half, HSL_ADVICE_PREFERRED, HSL_WHERE_HOST));
		EXPECT_EQ(0, mine(self->ctx));
		return;
	}
	EXPECT_EQ(0, mine(self->ctx));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ((long long)(half - self->page), mine(self->ctx));

	/* Pages on the device stay there; what is new is created there. */
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ((long long)(half - self->page), mine(self->ctx));

	/* Forgotten when it is unmapped, */
	munmap(mem, len);
	ASSERT_EQ(mem, mmap(mem, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, mine(self->ctx));
	/*
	 * and when something else is said. That first: behind a copy the driver may still
	 * be bringing in what it would have come to.
	 */
	ASSERT_EQ(0, hsl_advise(self->ctx, mem, len, HSL_ADVICE_PREFERRED, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, hsl_advise(self->ctx, mem + half, half, HSL_ADVICE_PREFERRED, HSL_WHERE_NONE));
	ASSERT_EQ(0, madvise(mem, len, MADV_DONTNEED));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ((long long)half, mine(self->ctx));
}

/* Remembered are as many ranges as the header says, and only what is mapped. */
TEST_F(memory, advice_preferred_is_bounded)
{
	const size_t step = 2 * self->page, len = (HSL_MAX_PREFERRED + 2) * step;
	char *mem = map_anon(len), *ref = map_anon(len);
	const enum hsl_advice advice = HSL_ADVICE_PREFERRED;
	size_t n;

	if (variant->sva == HSL_SVA_IOMMU) {
		EXPECT_EQ(-EFAULT, hsl_advise(self->ctx, (void *)self->page, step, advice, HSL_WHERE_DEVICE));
		return;
	}
	/* Or a huge page of the one would reach into the other. */
	ASSERT_EQ(0, madvise(mem, len, MADV_NOHUGEPAGE));
	fill_random(ref, len);
	EXPECT_EQ(-EFAULT, hsl_advise(self->ctx, (void *)self->page, step, advice, HSL_WHERE_DEVICE));
	EXPECT_EQ(-EFAULT, hsl_advise(self->ctx, (void *)self->page, step, advice, HSL_WHERE_NONE));
	/* Every second page, the last ones first */
	for (n = HSL_MAX_PREFERRED; n--;)
		ASSERT_EQ(0, hsl_advise(self->ctx, mem + n * step, self->page, advice, HSL_WHERE_DEVICE));
	EXPECT_EQ(-ENOSPC, hsl_advise(self->ctx, mem + len - self->page, self->page, advice, HSL_WHERE_DEVICE));
	/* What touches others is no range more. */
	ASSERT_EQ(0, hsl_advise(self->ctx, mem + self->page, self->page, advice, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, hsl_advise(self->ctx, mem + len - self->page, self->page, advice, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ((long long)((HSL_MAX_PREFERRED + 2) * self->page), mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));

	/* A range in two, with no place for the second part; then all are one. */
	ASSERT_EQ(0, madvise(mem, len, MADV_DONTNEED));
	ASSERT_EQ(mem + self->page, mmap(mem + self->page, self->page, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ((long long)(HSL_MAX_PREFERRED * self->page), mine(self->ctx));
	ASSERT_EQ(0, hsl_advise(self->ctx, mem, len, advice, HSL_WHERE_DEVICE));
	ASSERT_EQ(0, madvise(mem, len, MADV_DONTNEED));
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ((long long)len, mine(self->ctx));
	EXPECT_EQ(0, memcmp(mem, ref, len));
}

TEST_F(memory, advice_arguments)
{
	char *mem = map_anon(2 * self->page);
	struct hsl_advise bad = { .size = sizeof(bad), .flags = 1 };

	EXPECT_EQ(-EINVAL, hsl_advise(self->ctx, mem, self->page, 99, HSL_WHERE_DEVICE));
	EXPECT_EQ(-EINVAL, hsl_advise(self->ctx, mem, self->page, HSL_ADVICE_PREFETCH, 99));
	EXPECT_EQ(-EINVAL, hsl_advise(self->ctx, mem, self->page, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_HOST));
	EXPECT_EQ(-EINVAL, hsl_advise(self->ctx, mem + 1, self->page, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE));
	EXPECT_EQ(-EINVAL, hsl_advise(self->ctx, mem, 0, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE));
	EXPECT_EQ(-1, ioctl(hsl_fd(self->ctx), HSL_ADVISE, &bad));
	EXPECT_EQ(EOPNOTSUPP, errno);
	munmap(mem + self->page, self->page);
	EXPECT_EQ(-EFAULT, hsl_advise(self->ctx, mem, 2 * self->page, HSL_ADVICE_PREFETCH, HSL_WHERE_NONE));
}

/* A page that has lost its contents */
static sigjmp_buf poison_jmp;
static siginfo_t poison_info;

static void on_sigbus(int sig, siginfo_t *info, void *uc)
{
	poison_info = *info;
	siglongjmp(poison_jmp, 1);
}

static bool touch_dies(volatile char *p)
{
	char c;

	if (sigsetjmp(poison_jmp, 1))
		return true;
	c = *p;
	(void)c;
	return false;
}

TEST_F(memory, lost_page)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct hsl_migrate r = { .size = sizeof(r) };
	long long poisoned = mem_file("poisoned");
	const size_t len = 16 * self->page;
	char *bad;
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	memset(mem, 7, len);
	bad = (char *)mem + 5 * self->page;
	sigaction(SIGBUS, &sa, NULL);
	if (madvise(bad, self->page, MADV_HWPOISON))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	EXPECT_TRUE(COMES_TRUE(touch_dies(bad)));
	EXPECT_EQ(bad, (char *)poison_info.si_addr);
	EXPECT_EQ(BUS_MCEERR_AR, poison_info.si_code);
	EXPECT_FALSE(touch_dies(bad - 1));
	EXPECT_FALSE(touch_dies(bad + self->page));
	EXPECT_EQ(7, bad[-1]);
	EXPECT_EQ(poisoned + (long long)self->page, mem_file("poisoned"));
	EXPECT_EQ((long long)(len - self->page), mine(self->ctx));
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len - self->page, r.moved);
	EXPECT_EQ(self->page, r.other);
	/* Other memory in its place. */
	ASSERT_EQ(bad, mmap(bad, self->page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(0, bad[0]);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	EXPECT_EQ((long long)(self->total - self->page), mem_file("free"));
}

/* What cannot be taken away yet is not copied either, and taken when it can be. */
TEST_F(memory, lost_while_pinned)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct hsl_migrate r = { .size = sizeof(r) };
	long long poisoned = mem_file("poisoned");
	const size_t len = 4 * self->page;
	struct iovec iov = { .iov_len = self->page };
	char *bad, got[4096];
	void *mem;
	int p[2], err;

	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	memset(mem, 7, len);
	bad = (char *)mem + self->page;
	iov.iov_base = bad;
	sigaction(SIGBUS, &sa, NULL);
	ASSERT_EQ(self->page, vmsplice(p[1], &iov, 1, 0));
	if (madvise(bad, self->page, MADV_HWPOISON))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	ASSERT_EQ(poisoned + (long long)self->page, mem_file("poisoned"));
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
	EXPECT_EQ(self->page, r.other);
	EXPECT_EQ(len - self->page, r.moved);
	EXPECT_EQ((long long)self->page, mine(self->ctx));
	/* Longer than anybody tries to take it away by himself */
	usleep(600000);

	ASSERT_EQ(self->page, read(p[0], got, sizeof(got)));
	err = hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r);
	EXPECT_TRUE(!err || err == -EOPNOTSUPP)
		TH_LOG("%s", hsl_strerror(err));
	EXPECT_TRUE(COMES_TRUE(touch_dies(bad)));
	EXPECT_TRUE(COMES_TRUE(!mine(self->ctx)));
	EXPECT_EQ(7, bad[-1]);
	EXPECT_EQ(7, bad[self->page]);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	close(p[0]);
	close(p[1]);
}

TEST_HARNESS_MAIN
