// SPDX-License-Identifier: MIT
/*
 * hsl-bench [--rounds N] [--nvme DEV] [--host DIR]: what scripts/bench measures
 * in the guest. A line per figure and round, "name value"; all figures of a
 * round one after the other, so that what disturbs one round disturbs them all
 * alike. No figure is printed before its data was verified.
 *
 * With --host it says "host N" in each round and waits for the file DIR/host-N:
 * then scripts/bench measures on the host while this guest rests.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hsl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench-copy.h"
#include "syscount.h"

#define BLOCK		4096
#define DEPTH		32
#define OPS_QD32	20000
#define OPS_QD1		2000
#define READS_QD32	4000
#define READS_QD1	500
#define FRESH_PAGES	300
#define LONG_COPY	(32ul << 20)
#define LOOKS_BRIEF	20000		/* longer than a copy of 1 MiB takes */
#define LOOKS_POLLED	(1ul << 28)	/* sleeps only when something is wrong */
#define BOUND_NS	(60 * 1000000000ll)

static struct hsl_ctx *ctx;
static struct hsl_queue *q;

__attribute__((format(printf, 1, 2), noreturn))
static void fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void figure(const char *name, double value)
{
	printf("%s %.9g\n", name, value);
	fflush(stdout);
}

static void *memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("out of memory");
	return p;
}

/* Pages that nobody has touched, and small ones. */
static char *fresh(size_t len)
{
	char *p = memory(len);

	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

/* One completion after @looks at most, then by sleeping. */
static void finish(unsigned long looks)
{
	const struct hsl_cqe *c;
	int err;

	while ((err = hsl_peek(q, &c)) == -EAGAIN && looks--)
		;
	if (err)
		err = hsl_wait(q, &c, BOUND_NS);
	if (err)
		fail("no completion: %s", hsl_strerror(err));
	if (c->status != HSL_ST_OK)
		fail("an operation ended with '%s'", hsl_strstatus(c->status));
	hsl_seen(q, 1);
}

static uint64_t counter(enum hsl_counter n)
{
	uint64_t v[HSL_CNT_NR];
	int nr = hsl_counters(ctx, q, v, HSL_CNT_NR);

	if (nr <= (int)n)
		fail("counters: %s", hsl_strerror(nr));
	return v[n];
}

/* The job of bench-copy.h. */
static void copy_1m(void)
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
			seconds = copy_now();
		}
		while (sent < (COPY_ROUNDS + 1) * COPY_PIECES && sent - seen < 8 &&
		       (sent != COPY_PIECES || seen == sent) && (d = hsl_get_desc(q))) {
			hsl_prep_copy(d, dst + COPY_ORDER(sent), src + COPY_ORDER(sent), COPY_PIECE);
			sent++;
		}
		hsl_submit(q);
		finish(LOOKS_BRIEF);
		seen++;
	}
	seconds = copy_now() - seconds;
	if (memcmp(src, dst, COPY_BYTES))
		fail("copy_1m: the copy is wrong");
	figure("copy_1m_bw", (double)COPY_ROUNDS * COPY_BYTES / seconds / 1e9);
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
static void run_qd32(int total)
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

static void copy_4k_qd32(void)
{
	uint64_t doorbells;
	double seconds;

	blocks_stamp();
	run_qd32(DEPTH);
	blocks_verify("copy_4k_qd32");
	blocks_stamp();
	doorbells = counter(HSL_CNT_DOORBELLS);
	seconds = copy_now();
	run_qd32(OPS_QD32);
	seconds = copy_now() - seconds;
	doorbells = counter(HSL_CNT_DOORBELLS) - doorbells;
	blocks_verify("copy_4k_qd32");
	figure("copy_4k_qd32_ops", OPS_QD32 / seconds);
	figure("doorbells_per_op_qd32", (double)doorbells / OPS_QD32);
}

static void copy_4k_qd1(void)
{
	static double lat[OPS_QD1];
	int i;

	blocks_stamp();
	for (i = 0; i < OPS_QD1; i++) {
		size_t at = (size_t)(i % DEPTH) * BLOCK;
		double start = copy_now();

		hsl_prep_copy(hsl_get_desc(q), blocks_dst + at, blocks_src + at, BLOCK);
		hsl_submit(q);
		finish(LOOKS_POLLED);
		lat[i] = copy_now() - start;
	}
	blocks_verify("copy_4k_qd1");
	figure("copy_4k_qd1_latency", median(lat, OPS_QD1) * 1e6);
}

/* The device touches one page that is not there; then the CPU. */
static void page_request_latency(void)
{
	static double lat[FRESH_PAGES];
	char *mem = fresh(FRESH_PAGES * BLOCK);
	uint64_t requests = counter(HSL_CNT_PAGE_REQUESTS);
	int i;

	for (i = 0; i < FRESH_PAGES; i++) {
		double start = copy_now();

		hsl_prep_fill(hsl_get_desc(q), mem + (size_t)i * BLOCK, i + 1, 8);
		hsl_submit(q);
		finish(LOOKS_POLLED);
		lat[i] = copy_now() - start;
	}
	requests = counter(HSL_CNT_PAGE_REQUESTS) - requests;
	for (i = 0; i < FRESH_PAGES; i++)
		if (*(uint64_t *)(mem + (size_t)i * BLOCK) != (uint64_t)i + 1)
			fail("page_request_latency: page %d is wrong", i);
	if (requests < FRESH_PAGES)
		fail("page_request_latency: %d fresh pages and %lu page requests", FRESH_PAGES, requests);
	figure("page_request_latency", median(lat, FRESH_PAGES) * 1e6);
	munmap(mem, FRESH_PAGES * BLOCK);

	mem = fresh(FRESH_PAGES * BLOCK);
	for (i = 0; i < FRESH_PAGES; i++) {
		double start = copy_now();

		*(volatile uint64_t *)(mem + (size_t)i * BLOCK) = i + 1;
		lat[i] = copy_now() - start;
	}
	figure("cpu_fault_latency", median(lat, FRESH_PAGES) * 1e6);
	munmap(mem, FRESH_PAGES * BLOCK);
}

/* A long copy into memory that is not there. The program sleeps meanwhile. */
static void page_request_throughput(void)
{
	static char *src;
	const struct hsl_cqe *c;
	double seconds;
	char *dst;
	int err;

	if (!src) {
		src = memory(LONG_COPY);
		for (size_t i = 0; i < LONG_COPY / 8; i++)
			((uint64_t *)src)[i] = i * 0x9e3779b97f4a7c15ull;
	}
	dst = fresh(LONG_COPY);
	seconds = copy_now();
	hsl_prep_copy(hsl_get_desc(q), dst, src, LONG_COPY);
	hsl_submit(q);
	err = hsl_wait(q, &c, BOUND_NS);
	seconds = copy_now() - seconds;
	if (err || c->status != HSL_ST_OK)
		fail("the long copy: %s", err ? hsl_strerror(err) : hsl_strstatus(c->status));
	hsl_seen(q, 1);
	if (memcmp(src, dst, LONG_COPY))
		fail("page_request_throughput: the copy is wrong");
	figure("page_request_throughput", seconds / (LONG_COPY / BLOCK) * 1e9);
	munmap(dst, LONG_COPY);

	dst = fresh(LONG_COPY);
	seconds = copy_now();
	memcpy(dst, src, LONG_COPY);
	seconds = copy_now() - seconds;
	if (memcmp(src, dst, LONG_COPY))
		fail("page_request_throughput: the CPU's copy is wrong");
	figure("cpu_fault_throughput", seconds / (LONG_COPY / BLOCK) * 1e9);
	munmap(dst, LONG_COPY);
}

/* The yardstick: 4 KiB reads of an NVMe disk without a medium, through io_uring. */
static void nvme(int fd)
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

	seconds = copy_now();
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
				fail("nvme: a read gave %d", cqe->res);
			io_uring_cqe_seen(&ring, cqe);
		}
		seen += n;
	}
	seconds = copy_now() - seconds;
	for (i = 0; i < DEPTH * BLOCK; i++)
		if (buf[i])
			fail("nvme: byte %d was not read", i);
	figure("nvme_4k_qd32_ops", READS_QD32 / seconds);

	memset(buf, 0xff, DEPTH * BLOCK);
	for (i = 0; i < READS_QD1; i++) {
		double start = copy_now();

		io_uring_prep_read(io_uring_get_sqe(&ring), fd, buf + (size_t)(i % DEPTH) * BLOCK, BLOCK,
				   (uint64_t)(i * 7919 % 65536) * BLOCK);
		err = io_uring_submit_and_wait(&ring, 1);
		if (err < 0 || io_uring_peek_cqe(&ring, &cqe) || cqe->res != BLOCK)
			fail("nvme: a read failed");
		io_uring_cqe_seen(&ring, cqe);
		lat[i] = copy_now() - start;
	}
	for (i = 0; i < DEPTH * BLOCK; i++)
		if (buf[i])
			fail("nvme: byte %d was not read", i);
	figure("nvme_4k_qd1_latency", median(lat, READS_QD1) * 1e6);
	io_uring_queue_exit(&ring);
	free(buf);
}

/* Untimed, for it is watched: a system call in the fast path would be counted. */
static void syscalls(void)
{
	long calls;

	if (!syscount_start())
		fail("system calls cannot be counted here");
	blocks_stamp();
	syscount_begin();
	run_qd32(OPS_QD32);
	calls = syscount_end();
	syscount_stop();
	blocks_verify("syscalls_per_op");
	figure("syscalls_per_op", (double)calls / OPS_QD32);
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

static int usage(FILE *to, int status)
{
	fputs("usage: hsl-bench [--rounds N] [--nvme DEV] [--host DIR]\n"
	      "  --rounds N   how often everything is measured (7)\n"
	      "  --nvme DEV   reads of this disk too\n"
	      "  --host DIR   before round N say \"host N\" and wait for the file DIR/host-N\n"
	      "A line per figure and round: name, value. scripts/bench makes a table of them.\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'u' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "nvme", required_argument, NULL, 'n' },
		{ "host", required_argument, NULL, 'h' },
		{ }
	};
	const char *disk = NULL, *host = NULL;
	int opt, err, round, rounds = 7, fd = -1;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (opt == 'n')
			disk = optarg;
		else if (opt == 'h')
			host = optarg;
		else
			return opt == 'u' ? usage(stdout, 0) : usage(stderr, 2);
	}
	if (optind < argc || rounds < 1)
		return usage(stderr, 2);
	err = hsl_open(NULL, NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		fail("%s", hsl_strerror(err));
	if (disk) {
		fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			fail("%s: %s", disk, strerror(errno));
	}

	for (round = 1; round <= rounds; round++) {
		if (host)
			let_host(host, round);
		copy_1m();
		copy_4k_qd32();
		copy_4k_qd1();
		if (fd >= 0)
			nvme(fd);
		page_request_latency();
		page_request_throughput();
	}
	syscalls();
	hsl_close(ctx);
	return 0;
}
