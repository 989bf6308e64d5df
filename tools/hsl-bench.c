// SPDX-License-Identifier: MIT
/*
 * hsl-bench [--rounds N] [--only GROUP] [--nvme DEV] [--virtio-blk DEV] [--host DIR]: what
 * scripts/bench measures in the guest. A line per figure and round, "name value"; all figures of a
 * round one after the other, so that what disturbs one round disturbs them all
 * alike. Of latencies also how they are distributed: "point series percent us". Nothing is
 * printed before its data was verified.
 *
 * With --host it says "host N" in each round and waits for the file DIR/host-N:
 * then scripts/bench measures on the host while this guest rests.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hsl.h>
#include <liburing.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "bench.h"
#include "bench-copy.h"
#include "syscount.h"

#define DEPTH		32
#define OPS_QD32	20000
#define OPS_QD1		2000
#define READS_QD32	4000
#define READS_QD1	500
#define FRESH_PAGES	300
#define LONG_COPY	COPY_BYTES
#define FIRST_TOUCHES	21
#define INVALIDATIONS	500
#define LOAD_DEPTH	1024

/* The same device by two ways of translation; the second may not be there. */
static struct side {
	const char *name;
	uint32_t sva;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
} sides[] = {
	{ .name = "iommu", .sva = HSL_SVA_IOMMU },
	{ .name = "hmm", .sva = HSL_SVA_HMM },
};

#define SIDES	((int)(sizeof(sides) / sizeof(sides[0])))

static void figure_of(const struct side *s, const char *name, double value)
{
	printf("%s_%s %.9g\n", name, s->name, value);
	fflush(stdout);
}

static void distribution_of(const struct side *s, const char *what, double *v, int n)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", what, s->name);
	distribution(name, v, n);
}

/* Pages that nobody has touched, and small ones. */
static char *fresh(size_t len)
{
	char *p = memory(len);

	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

static uint64_t counter(const struct side *s, enum hsl_counter n)
{
	uint64_t v[HSL_CNT_NR];
	int nr = hsl_counters(s->ctx, s->q, v, HSL_CNT_NR);

	if (nr <= (int)n)
		fail("counters: %s", hsl_strerror(nr));
	return v[n];
}

/* The job of bench-copy.h. */
static double copy_1m(struct hsl_queue *q)
{
	static char *src, *dst;
	static uint64_t round;
	int sent = 0, seen = 0;
	double seconds = 0;

	if (!src) {
		src = copy_buffer();
		dst = copy_buffer();
		if (!src || !dst)
			fail("out of memory");
	}
	/* Data of this round; the first pass warms up, as on the host. */
	copy_stamp(src, ++round);
	copy_stamp(dst, ~round);
	while (seen < (COPY_ROUNDS + 1) * COPY_PIECES) {
		struct hsl_desc *d;

		if (seen == COPY_PIECES && sent == seen) {
			copy_stamp(dst, ~round);
			seconds = now();
		}
		while (sent < (COPY_ROUNDS + 1) * COPY_PIECES && sent - seen < 8 &&
		       (sent != COPY_PIECES || seen == sent) && (d = hsl_get_desc(q))) {
			hsl_prep_copy(d, dst + COPY_ORDER(sent), src + COPY_ORDER(sent), COPY_PIECE);
			sent++;
		}
		hsl_submit(q);
		finish(q, LOOKS_BRIEF);
		seen++;
	}
	seconds = now() - seconds;
	if (memcmp(src, dst, COPY_BYTES))
		fail("copy_1m: the copy is wrong");
	return (double)COPY_ROUNDS * COPY_BYTES / seconds / 1e9;
}

static char *blocks_src, *blocks_dst;

static void blocks_stamp(void)
{
	static uint64_t round;

	if (!blocks_src) {
		blocks_src = memory(DEPTH * BLOCK);
		blocks_dst = memory(DEPTH * BLOCK);
	}
	round++;
	for (int i = 0; i < DEPTH * BLOCK / 8; i++)
		((uint64_t *)blocks_src)[i] = i * 0x9e3779b97f4a7c15ull + round;
	memset(blocks_dst, 0, DEPTH * BLOCK);
}

/* @total copies of 4 KiB with 32 in flight; each of the 32 blocks over and over. */
static void run_qd32(struct hsl_queue *q, int total)
{
	const struct hsl_cqe *c[DEPTH];
	int sent = 0, seen = 0;

	while (seen < total) {
		struct hsl_desc *d;
		int i, n;

		while (sent < total && sent - seen < DEPTH && (d = hsl_get_desc(q))) {
			size_t at = (size_t)(sent % DEPTH) * BLOCK;

			hsl_prep_copy(d, blocks_dst + at, blocks_src + at, BLOCK);
			sent++;
		}
		hsl_submit(q);
		n = hsl_peek_batch(q, c, DEPTH);
		for (i = 0; i < n; i++)
			if (c[i]->status != HSL_ST_OK)
				fail("a copy ended with '%s'", hsl_strstatus(c[i]->status));
		hsl_seen(q, n);
		seen += n;
	}
}

static void blocks_verify(const char *what)
{
	if (memcmp(blocks_src, blocks_dst, DEPTH * BLOCK))
		fail("%s: a copy is wrong", what);
}

static void copy_4k_qd32(const struct side *s)
{
	uint64_t doorbells;
	double seconds;

	blocks_stamp();
	run_qd32(s->q, DEPTH);
	blocks_verify("copy_4k_qd32");
	blocks_stamp();
	doorbells = counter(s, HSL_CNT_DOORBELLS);
	seconds = now();
	run_qd32(s->q, OPS_QD32);
	seconds = now() - seconds;
	doorbells = counter(s, HSL_CNT_DOORBELLS) - doorbells;
	blocks_verify("copy_4k_qd32");
	figure("copy_4k_qd32_ops", OPS_QD32 / seconds);
	figure("doorbells_per_op_qd32", (double)doorbells / OPS_QD32);
}

static void copy_4k_qd1(const struct side *s)
{
	static double lat[OPS_QD1];
	int i;

	blocks_stamp();
	for (i = 0; i < OPS_QD1; i++) {
		size_t at = (size_t)(i % DEPTH) * BLOCK;
		double start = now();

		hsl_prep_copy(hsl_get_desc(s->q), blocks_dst + at, blocks_src + at, BLOCK);
		hsl_submit(s->q);
		finish(s->q, LOOKS_POLLED);
		lat[i] = now() - start;
	}
	blocks_verify("copy_4k_qd1");
	if (s == &sides[0])
		figure("copy_4k_qd1_latency", percentile(lat, OPS_QD1, 50) * 1e6);
	distribution_of(s, "latency_copy", lat, OPS_QD1);
}

/* The device touches one page that is not there, and then the next. */
static void fault_latency(const struct side *s)
{
	static double lat[FRESH_PAGES];
	char *mem = fresh(FRESH_PAGES * BLOCK);
	uint64_t requests = counter(s, HSL_CNT_PAGE_REQUESTS);
	int i;

	for (i = 0; i < FRESH_PAGES; i++) {
		double start = now();

		hsl_prep_fill(hsl_get_desc(s->q), mem + (size_t)i * BLOCK, i + 1, 8);
		hsl_submit(s->q);
		finish(s->q, LOOKS_POLLED);
		lat[i] = now() - start;
	}
	requests = counter(s, HSL_CNT_PAGE_REQUESTS) - requests;
	for (i = 0; i < FRESH_PAGES; i++)
		if (*(uint64_t *)(mem + (size_t)i * BLOCK) != (uint64_t)i + 1)
			fail("fault_latency: page %d is wrong", i);
	if (requests < FRESH_PAGES)
		fail("fault_latency: %d fresh pages and %lu page requests", FRESH_PAGES, requests);
	figure_of(s, "fault_latency", percentile(lat, FRESH_PAGES, 50) * 1e6);
	distribution_of(s, "latency_fault", lat, FRESH_PAGES);
	munmap(mem, FRESH_PAGES * BLOCK);
}

static void cpu_fault_latency(void)
{
	static double lat[FRESH_PAGES];
	char *mem = fresh(FRESH_PAGES * BLOCK);
	int i;

	for (i = 0; i < FRESH_PAGES; i++) {
		double start = now();

		*(volatile uint64_t *)(mem + (size_t)i * BLOCK) = i + 1;
		lat[i] = now() - start;
	}
	figure("cpu_fault_latency", percentile(lat, FRESH_PAGES, 50) * 1e6);
	distribution("latency_fault_cpu", lat, FRESH_PAGES);
	munmap(mem, FRESH_PAGES * BLOCK);
}

static char *long_src;

/* A long copy into memory that is not there. The program sleeps meanwhile. */
static void fault_throughput(const struct side *s)
{
	char *dst = fresh(LONG_COPY);
	double seconds = now();

	hsl_prep_copy(hsl_get_desc(s->q), dst, long_src, LONG_COPY);
	hsl_submit(s->q);
	finish(s->q, 0);
	seconds = now() - seconds;
	if (memcmp(long_src, dst, LONG_COPY))
		fail("fault_throughput: the copy is wrong");
	figure_of(s, "fault_throughput", seconds / (LONG_COPY / BLOCK) * 1e9);
	munmap(dst, LONG_COPY);
}

static void cpu_fault_throughput(void)
{
	char *dst = fresh(LONG_COPY);
	double seconds = now();

	memcpy(dst, long_src, LONG_COPY);
	seconds = now() - seconds;
	if (memcmp(long_src, dst, LONG_COPY))
		fail("fault_throughput: the CPU's copy is wrong");
	figure("cpu_fault_throughput", seconds / (LONG_COPY / BLOCK) * 1e9);
	munmap(dst, LONG_COPY);
}

/* Far from everything else: tables that lead there are always new. */
#define FIRST_WORD	0x100040000000ul

/*
 * From "there is no memory" to "the device has written a word in the middle of
 * it": nothing is registered, so that the length does not matter. The word is the
 * same for every length.
 */
static double first_touch(const struct side *s, size_t len)
{
	static double us[FIRST_TOUCHES];

	for (int i = 0; i < FIRST_TOUCHES; i++) {
		uint64_t *word = (uint64_t *)FIRST_WORD;
		char *p = (char *)FIRST_WORD - len / 2;
		double start;

		/* The last munmap() may have cost the device the way to its rings. */
		hsl_prep_nop(hsl_get_desc(s->q));
		hsl_submit(s->q);
		finish(s->q, LOOKS_POLLED);
		start = now();
		if (mmap(p, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != p)
			fail("first_touch: no place for %zu bytes", len);
		madvise(p, len, MADV_NOHUGEPAGE);

		hsl_prep_fill(hsl_get_desc(s->q), word, i + 1, 8);
		hsl_submit(s->q);
		finish(s->q, LOOKS_POLLED);
		us[i] = (now() - start) * 1e6;
		if (*word != (uint64_t)i + 1)
			fail("first_touch: the word is wrong");
		munmap(p, len);
	}
	return percentile(us, FIRST_TOUCHES, 50);
}

static void first_touches(const struct side *s)
{
	char name[64];

	snprintf(name, sizeof(name), "first_touch_1m_cost_%s", s->name);
	figure(name, first_touch(s, 1ul << 20));
	snprintf(name, sizeof(name), "first_touch_1g_cost_%s", s->name);
	figure(name, first_touch(s, 1ul << 30));
}

/*
 * How long the kernel waits for the device when a page goes that it has
 * translated; p99.
 */
static double invalidate(const struct side *s)
{
	static double us[INVALIDATIONS];
	char *mem = fresh(INVALIDATIONS * BLOCK);

	for (int i = 0; i < INVALIDATIONS; i++) {
		uint64_t *word = (uint64_t *)(mem + (size_t)i * BLOCK);
		double start;

		/* There already: the device asks for the translation, and no CPU is needed. */
		*word = i;
		hsl_prep_fill(hsl_get_desc(s->q), word, i + 1, 8);
		hsl_submit(s->q);
		finish(s->q, LOOKS_POLLED);
		if (*word != (uint64_t)i + 1)
			fail("invalidate: page %d is wrong", i);
		start = now();
		madvise(word, BLOCK, MADV_DONTNEED);
		us[i] = (now() - start) * 1e6;
		if (*word)
			fail("invalidate: page %d is still there", i);
	}
	munmap(mem, INVALIDATIONS * BLOCK);
	return percentile(us, INVALIDATIONS, 99);
}

/*
 * Keeps the engine busy from another queue with copies of 32 MiB, more than it
 * can do meanwhile: the device is loaded, and no CPU is.
 */
static void invalidate_latency(const struct side *s)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = LOAD_DEPTH };
	static char *src, *dst;
	struct hsl_queue *load;
	unsigned int done = 1;
	const struct hsl_cqe *c;
	char name[64];
	double idle, busy;
	int err;

	idle = invalidate(s);
	if (!src) {
		src = copy_buffer();
		dst = copy_buffer();
		if (!src || !dst)
			fail("out of memory");
	}
	copy_stamp(src, 3);
	memset(dst, 0, COPY_BYTES);
	err = hsl_queue_create(s->ctx, &opts, &load);
	if (err)
		fail("a second queue: %s", hsl_strerror(err));
	for (int i = 0; i < LOAD_DEPTH; i++)
		hsl_prep_copy(hsl_get_desc(load), dst, src, COPY_BYTES);
	hsl_submit(load);
	finish(load, 0);

	busy = invalidate(s);
	while (!hsl_peek(load, &c)) {
		if (c->status != HSL_ST_OK)
			fail("invalidate_latency: the load ended with '%s'", hsl_strstatus(c->status));
		hsl_seen(load, 1);
		done++;
	}
	if (done == LOAD_DEPTH)
		fail("invalidate_latency: the load has ended too soon");
	hsl_queue_destroy(load);
	if (memcmp(src, dst, COPY_BYTES))
		fail("invalidate_latency: the load is wrong");
	figure_of(s, "invalidate_latency", busy);
	snprintf(name, sizeof(name), "invalidate_idle_%s", s->name);
	figure(name, idle);
}

/* 32 MiB of touched memory to the device and back; the program's own pages. */
static void migrate_bw(const struct side *s)
{
	static char *mem;
	struct hsl_migrate r = { .size = sizeof(r) };
	double seconds, bytes = 2.0 * COPY_BYTES;
	uint64_t *expect = (uint64_t *)long_src;
	int err;

	if (!mem) {
		if (posix_memalign((void **)&mem, 2 << 20, COPY_BYTES))
			fail("out of memory");
		madvise(mem, COPY_BYTES, MADV_HUGEPAGE);
	}
	memcpy(mem, expect, COPY_BYTES);
	seconds = now();
	err = hsl_migrate(s->ctx, mem, COPY_BYTES, HSL_WHERE_DEVICE, &r);
	if (!err)
		err = hsl_migrate(s->ctx, mem, COPY_BYTES, HSL_WHERE_HOST, &r);
	seconds = now() - seconds;
	if (err)
		fail("migrate: %s; %lu bytes moved", hsl_strerror(err), (unsigned long)r.moved);
	if (memcmp(mem, expect, COPY_BYTES))
		fail("migrate: data got lost");
	figure("migrate_bw", bytes / seconds / 1e9);
}

/* memcpy() by the CPU within memory of one kind. */
static double cpu_copy(char *dst, const char *src)
{
	double seconds;

	memcpy(dst, src, COPY_BYTES);
	memset(dst, 0, COPY_BYTES);
	seconds = now();
	for (int i = 0; i < COPY_PIECES; i++)
		memcpy(dst + COPY_ORDER(i), src + COPY_ORDER(i), COPY_PIECE);
	seconds = now() - seconds;
	if (memcmp(dst, src, COPY_BYTES))
		fail("memcpy: the copy is wrong");
	return COPY_BYTES / seconds / 1e9;
}

static void cpu_bandwidth(const struct side *s)
{
	static char *host[2];
	void *dev[2];
	int err = 0;

	for (int i = 0; i < 2; i++) {
		if (!host[i]) {
			if (posix_memalign((void **)&host[i], 2 << 20, COPY_BYTES))
				fail("out of memory");
			madvise(host[i], COPY_BYTES, MADV_HUGEPAGE);
		}
		err = err ? err : hsl_alloc(s->ctx, COPY_BYTES, &dev[i]);
	}
	if (err)
		fail("device memory: %s", hsl_strerror(err));
	copy_stamp(host[0], 5);
	copy_stamp(dev[0], 5);
	figure("host_cpu_bw", cpu_copy(host[1], host[0]));
	figure("devmem_cpu_bw", cpu_copy(dev[1], dev[0]));
	hsl_free(s->ctx, dev[0]);
	hsl_free(s->ctx, dev[1]);
}

/*
 * The yardstick: 4 KiB reads of an NVMe disk without a medium, through io_uring. Of another
 * disk there is the distribution alone.
 */
static void disk(int fd, const char *series, bool figures)
{
	static double lat[READS_QD1];
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int i, n, err, sent = 0, seen = 0;
	double seconds;
	char *buf;

	if (posix_memalign((void **)&buf, BLOCK, DEPTH * BLOCK))
		fail("out of memory");
	memset(buf, 0xff, DEPTH * BLOCK);
	err = io_uring_queue_init(DEPTH, &ring, 0);
	if (err)
		fail("io_uring: %s", strerror(-err));

	seconds = now();
	while (seen < READS_QD32) {
		while (sent < READS_QD32 && sent - seen < DEPTH) {
			io_uring_prep_read(io_uring_get_sqe(&ring), fd, buf + (size_t)(sent % DEPTH) * BLOCK, BLOCK,
					   (uint64_t)(sent * 7919 % 65536) * BLOCK);
			sent++;
		}
		err = io_uring_submit_and_wait(&ring, 1);
		if (err < 0)
			fail("io_uring: %s", strerror(-err));
		for (n = 0; !io_uring_peek_cqe(&ring, &cqe); n++) {
			if (cqe->res != BLOCK)
				fail("%s: a read gave %d", series, cqe->res);
			io_uring_cqe_seen(&ring, cqe);
		}
		seen += n;
	}
	seconds = now() - seconds;
	for (i = 0; i < DEPTH * BLOCK; i++)
		if (buf[i])
			fail("%s: byte %d was not read", series, i);
	if (figures)
		figure("nvme_4k_qd32_ops", READS_QD32 / seconds);

	memset(buf, 0xff, DEPTH * BLOCK);
	for (i = 0; i < READS_QD1; i++) {
		double start = now();

		io_uring_prep_read(io_uring_get_sqe(&ring), fd, buf + (size_t)(i % DEPTH) * BLOCK, BLOCK,
				   (uint64_t)(i * 7919 % 65536) * BLOCK);
		err = io_uring_submit_and_wait(&ring, 1);
		if (err < 0 || io_uring_peek_cqe(&ring, &cqe) || cqe->res != BLOCK)
			fail("%s: a read failed", series);
		io_uring_cqe_seen(&ring, cqe);
		lat[i] = now() - start;
	}
	for (i = 0; i < DEPTH * BLOCK; i++)
		if (buf[i])
			fail("%s: byte %d was not read", series, i);
	if (figures)
		figure("nvme_4k_qd1_latency", percentile(lat, READS_QD1, 50) * 1e6);
	distribution(series, lat, READS_QD1);
	io_uring_queue_exit(&ring);
	free(buf);
}

/* Untimed, for it is watched: a system call in the fast path would be counted. */
static void syscalls(const struct side *s)
{
	long calls;

	if (!syscount_start())
		fail("system calls cannot be counted here");
	blocks_stamp();
	syscount_begin();
	run_qd32(s->q, OPS_QD32);
	calls = syscount_end();
	syscount_stop();
	blocks_verify("syscalls_per_op");
	figure("syscalls_per_op", (double)calls / OPS_QD32);
}

/* For the record: what runs the guest, which no file there names. */
static void machine(void)
{
	struct utsname u;

	if (!uname(&u))
		printf("machine guest_kernel %s\n", u.release);
#ifdef __x86_64__
	unsigned int eax, word[3];

	__cpuid(0x40000000, eax, word[0], word[1], word[2]);
	if (!memcmp(word, "KVMKVMKVM", 9))
		puts("machine accelerator kvm");
	else if (!memcmp(word, "TCGTCGTCG", 9))
		puts("machine accelerator tcg");
#endif
	fflush(stdout);
}

static void let_host(const char *dir, int round)
{
	char path[4096];
	int tries = 0;

	snprintf(path, sizeof(path), "%s/host-%d", dir, round);
	printf("host %d\n", round);
	fflush(stdout);
	while (access(path, F_OK)) {
		if (++tries > 60 * 200)
			fail("the host does not answer");
		usleep(5000);
	}
}

enum { NVME_DISK, VIRTIO_DISK, DISKS };

enum group {
	COPY, NVME, FAULT, FIRST_TOUCH, INVALIDATE, MIGRATE, CPU, SYSCALLS,
	GROUPS
};

static const char *const groups[] = {
	"copy", "nvme", "fault", "first_touch", "invalidate", "migrate", "cpu", "syscalls",
};

static int usage(FILE *to, int status)
{
	fputs("usage: hsl-bench [--rounds N] [--only GROUP]... [--nvme DEV] [--virtio-blk DEV] [--host DIR]\n"
	      "  --rounds N   how often everything is measured (7)\n"
	      "  --only GROUP one of copy, nvme, fault, first_touch, invalidate, migrate, cpu, syscalls\n"
	      "  --nvme DEV   reads of this disk too; it is one that reads as zeros\n"
	      "  --virtio-blk DEV   likewise\n"
	      "  --host DIR   before round N say \"host N\" and wait for the file DIR/host-N\n"
	      "A line per figure and round: name, value; and of charts: point, series, x, y.\n"
	      "scripts/bench makes a table and a page of them.\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'u' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ "nvme", required_argument, NULL, 'n' },
		{ "virtio-blk", required_argument, NULL, 'v' },
		{ "host", required_argument, NULL, 'h' },
		{ }
	};
	static const char *const series[DISKS] = { "latency_nvme", "latency_virtio_blk" };
	const char *path[DISKS] = { }, *host = NULL;
	int i, opt, err, round, rounds = 7, fd[DISKS] = { -1, -1 };
	bool on[GROUPS] = { }, some = false;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		i = opt == 'o' ? group_named(optarg, groups, GROUPS) : -1;
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (opt == 'n')
			path[NVME_DISK] = optarg;
		else if (opt == 'v')
			path[VIRTIO_DISK] = optarg;
		else if (opt == 'h')
			host = optarg;
		else if (i >= 0)
			on[i] = some = true;
		else
			return opt == 'u' ? usage(stdout, 0) : usage(stderr, 2);
	}
	if (optind < argc || rounds < 1)
		return usage(stderr, 2);
	for (i = 0; i < GROUPS; i++)
		on[i] |= !some;
	for (i = 0; i < SIDES; i++) {
		struct hsl_open_opts opts = { .size = sizeof(opts), .sva = sides[i].sva };

		err = hsl_open(NULL, &opts, &sides[i].ctx);
		if (!err)
			err = hsl_queue_create(sides[i].ctx, NULL, &sides[i].q);
		if (err)
			fail("%s: %s", sides[i].name, hsl_strerror(err));
	}
	long_src = memory(LONG_COPY);
	copy_stamp(long_src, 7);
	for (i = 0; i < DISKS; i++) {
		if (!path[i])
			continue;
		fd[i] = open(path[i], O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (fd[i] < 0)
			fail("%s: %s", path[i], strerror(errno));
	}

	machine();
	stay_on_one_cpu();
	for (round = 1; round <= rounds; round++) {
		if (host)
			let_host(host, round);
		if (on[COPY]) {
			figure("copy_1m_bw", copy_1m(sides[0].q));
			figure("copy_1m_bw_hmm", copy_1m(sides[1].q));
			copy_4k_qd32(&sides[0]);
			copy_4k_qd1(&sides[0]);
			copy_4k_qd1(&sides[1]);
		}
		for (i = 0; on[NVME] && i < DISKS; i++)
			if (fd[i] >= 0)
				disk(fd[i], series[i], i == NVME_DISK);
		if (on[FAULT]) {
			cpu_fault_latency();
			cpu_fault_throughput();
		}
		for (i = 0; i < SIDES; i++) {
			if (on[FAULT]) {
				fault_latency(&sides[i]);
				fault_throughput(&sides[i]);
			}
			if (on[FIRST_TOUCH])
				first_touches(&sides[i]);
			if (on[INVALIDATE])
				invalidate_latency(&sides[i]);
		}
		if (on[MIGRATE])
			migrate_bw(&sides[0]);
		if (on[MIGRATE] || on[CPU])
			cpu_bandwidth(&sides[0]);
	}
	if (on[SYSCALLS])
		syscalls(&sides[0]);
	for (i = 0; i < SIDES; i++)
		hsl_close(sides[i].ctx);
	return 0;
}
