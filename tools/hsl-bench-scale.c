// SPDX-License-Identifier: MIT
/*
 * hsl-bench-scale [--rounds N] [--only GROUP]... [--disk NAME=DEV]...: what scripts/bench
 * measures over sizes, queues and contexts. A line per point and round, "point series x y",
 * and per figure, "name value". Nothing is printed before its data was verified.
 */
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "bench-copy.h"

#define DEPTH_SIZES	8
#define READ_BYTES	(64ul << 20)
#define MOST_READS	2000
#define DISK_BYTES	(256ul << 20)	/* of a disk that are read */

#define MAX_LANES	256
#define MAX_QUEUES	64
#define DEPTH		32
#define BLOCKS		((int)(COPY_BYTES / BLOCK))
#define PASSES		4

/* Of each queue, when it is fairness that counts */
#define BACKLOG		1024
#define PIECE		(16u << 10)
#define PIECES		((int)(COPY_BYTES / PIECE))
#define TRIES		8

#define COUNTED		64		/* contexts whose memory can be told apart from noise */
#define CGROUP		"/sys/fs/cgroup"

static const struct side {
	const char *name;
	uint32_t sva;
} sides[] = {
	{ "iommu", HSL_SVA_IOMMU },
	{ "hmm", HSL_SVA_HMM },
};

static struct disk {
	char name[32];
	int fd;
} disks[4];
static int nr_disks;

static char *src, *dst;		/* COPY_BYTES each */

/* A queue, and the context if it has one of its own */
static struct lane {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	int sent, seen;
} lanes[MAX_LANES];

static struct hsl_ctx *context(uint32_t sva)
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = sva };
	struct hsl_ctx *ctx;
	int err = hsl_open(NULL, &opts, &ctx);

	if (err == -EMFILE)
		fail("no more contexts: load hsl.ko with max_contexts_per_user=%d or more", MAX_LANES);
	if (err)
		fail("a context: %s", hsl_strerror(err));
	return ctx;
}

static struct hsl_queue *queue(struct hsl_ctx *ctx, uint32_t entries)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = entries };
	struct hsl_queue *q;
	int err = hsl_queue_create(ctx, &opts, &q);

	if (err)
		fail("a queue: %s", hsl_strerror(err));
	return q;
}

static void verify(const char *what)
{
	if (memcmp(src, dst, COPY_BYTES))
		fail("%s: a copy is wrong", what);
}

/*
 * Over sizes: the same 32 MiB in pieces, 8 in flight; memcpy() has one. The first pass warms up.
 */

static double copy_by_device(struct hsl_queue *q, size_t size)
{
	size_t pieces = COPY_BYTES / size, total = (1 + COPY_PASSES) * pieces, sent = 0, seen = 0;
	double start = 0;

	copy_stamp(src, size);
	copy_stamp(dst, ~size);
	while (seen < total) {
		size_t most = seen < pieces ? pieces : total;

		if (seen == pieces && sent == seen) {
			copy_stamp(dst, ~size);
			start = now();
		}
		for (; sent < most && sent - seen < DEPTH_SIZES; sent++) {
			size_t at = copy_order(sent, size);

			hsl_prep_copy(hsl_get_desc(q), dst + at, src + at, size);
		}
		hsl_submit(q);
		finish(q, LOOKS_BRIEF);
		seen++;
	}
	start = now() - start;
	verify("bandwidth_hsl");
	return COPY_PASSES * COPY_BYTES / start / 1e9;
}

static double read_disk(const struct disk *d, char *buf, size_t size)
{
	size_t total = READ_BYTES / size, sent = 0, seen = 0;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	double seconds;
	int err;

	if (total > MOST_READS)
		total = MOST_READS;
	if (total < DEPTH_SIZES)
		total = DEPTH_SIZES;
	memset(buf, 0xff, DEPTH_SIZES * size);
	err = io_uring_queue_init(DEPTH_SIZES, &ring, 0);
	if (err)
		fail("io_uring: %s", strerror(-err));
	seconds = now();
	while (seen < total) {
		/* A part of the buffer is written again only when what was there has come. */
		if (seen == sent) {
			for (int i = 0; i < DEPTH_SIZES && sent < total; i++, sent++)
				io_uring_prep_read(io_uring_get_sqe(&ring), d->fd, buf + i * size, size,
						   sent * size % DISK_BYTES);
		}
		err = io_uring_submit_and_wait(&ring, 1);
		if (err < 0)
			fail("io_uring: %s", strerror(-err));
		for (; !io_uring_peek_cqe(&ring, &cqe); seen++) {
			if (cqe->res != (int)size)
				fail("%s: a read of %zu gave %d", d->name, size, cqe->res);
			io_uring_cqe_seen(&ring, cqe);
		}
	}
	seconds = now() - seconds;
	io_uring_queue_exit(&ring);
	for (size_t i = 0; i < DEPTH_SIZES * size; i++)
		if (buf[i])
			fail("%s: byte %zu was not read as zero", d->name, i);
	return total * size / seconds / 1e9;
}

static void sizes(void)
{
	char series[64], *buf = NULL;
	size_t size;

	for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++) {
		struct hsl_ctx *ctx = context(sides[i].sva);
		struct hsl_queue *q = queue(ctx, 0);

		snprintf(series, sizeof(series), "bandwidth_hsl_%s", sides[i].name);
		for (size = COPY_SMALLEST; size <= COPY_LARGEST; size *= 2)
			point(series, size, copy_by_device(q, size));
		hsl_close(ctx);
	}
	for (size = COPY_SMALLEST; size <= COPY_LARGEST; size *= 2) {
		double bw = copy_by_cpu(dst, src, size);

		if (bw < 0)
			fail("memcpy: the copy is wrong");
		point("bandwidth_guest_memcpy", size, bw);
	}
	if (nr_disks && posix_memalign((void **)&buf, BLOCK, DEPTH_SIZES * COPY_LARGEST))
		fail("out of memory");
	for (int i = 0; i < nr_disks; i++) {
		snprintf(series, sizeof(series), "bandwidth_%.31s", disks[i].name);
		for (size = COPY_SMALLEST; size <= COPY_LARGEST; size *= 2)
			point(series, size, read_disk(&disks[i], buf, size));
	}
	free(buf);
}

/*
 * Over queues and contexts: blocks of 4 KiB, the same ones however many share the work,
 * so that a cache is of no more use to few than to many.
 */

static void check_seen(struct lane *l, int max)
{
	const struct hsl_cqe *c[DEPTH];
	int n = hsl_peek_batch(l->q, c, max < DEPTH ? max : DEPTH);

	for (int i = 0; i < n; i++)
		if (c[i]->status != HSL_ST_OK)
			fail("a copy ended with '%s'", hsl_strstatus(c[i]->status));
	if (n > 0) {
		hsl_seen(l->q, n);
		l->seen += n;
	}
}

/* Seconds for all blocks, so often, by @nr lanes with DEPTH in flight each. */
static double share(int nr, int passes)
{
	int each = BLOCKS / nr, left = nr;
	double start = now(), end;

	for (int i = 0; i < nr; i++)
		lanes[i] = (struct lane){ .ctx = lanes[i].ctx, .q = lanes[i].q };
	do {
		for (int i = 0; i < nr; i++) {
			struct lane *l = &lanes[i];
			struct hsl_desc *d;

			if (l->seen == each * passes)
				continue;
			while (l->sent < each * passes && l->sent - l->seen < DEPTH && (d = hsl_get_desc(l->q))) {
				size_t at = ((size_t)i * each + l->sent % each) * BLOCK;

				hsl_prep_copy(d, dst + at, src + at, BLOCK);
				l->sent++;
			}
			hsl_submit(l->q);
			check_seen(l, DEPTH);
			left -= l->seen == each * passes;
		}
		end = now();
		if (end - start > BOUND_NS / 1e9)
			fail("no completion: %d of %d queues are not done", left, nr);
	} while (left);
	return end - start;
}

/* Copies a second */
static double throughput(int nr, const char *what)
{
	double seconds;

	copy_stamp(src, nr);
	memset(dst, 0, COPY_BYTES);
	share(nr, 1);
	verify(what);
	memset(dst, 0, COPY_BYTES);
	seconds = share(nr, PASSES);
	verify(what);
	return (double)PASSES * BLOCKS / seconds;
}

/*
 * Jain's index of what @nr equal queues got while all had work waiting: 1 is the same for
 * each, 1/@nr all for one. Everything is submitted before it counts, and it stops counting when
 * half is done, so that it is the device that chooses and not this program. Less than 0: half
 * was done before all was submitted, because this program had no CPU.
 */
static double try_fairness(int nr)
{
	static int before[MAX_QUEUES], done[MAX_QUEUES];
	double start = now(), sum = 0, squares = 0;
	int had = 0, have;

	copy_stamp(src, ~nr);
	memset(dst, 0, COPY_BYTES);
	for (int i = 0; i < nr; i++) {
		lanes[i].seen = 0;
		done[i] = 0;
		for (int n = 0; n < BACKLOG; n++) {
			size_t at = (size_t)((i * BACKLOG + n) % PIECES) * PIECE;

			hsl_prep_copy(hsl_get_desc(lanes[i].q), dst + at, src + at, PIECE);
		}
	}
	for (int i = 0; i < nr; i++)
		hsl_submit(lanes[i].q);
	for (bool first = true;; first = false) {
		have = 0;
		for (int i = 0; i < nr; i++) {
			struct hsl_queue *q = lanes[i].q;

			while (done[i] < BACKLOG && hsl_cqe_at(q, q->cq_head + done[i]))
				done[i]++;
			if (first)
				before[i] = done[i];
			have += done[i];
		}
		if (first)
			had = have;
		if (have - had >= (nr * BACKLOG - had) / 2)
			break;
		if (now() - start > BOUND_NS / 1e9)
			fail("queue_fairness: no completion");
	}
	for (int i = 0; i < nr; i++) {
		double got = done[i] - before[i];

		sum += got;
		squares += got * got;
	}
	for (int i = 0; i < nr; i++) {
		while (lanes[i].seen < BACKLOG) {
			check_seen(&lanes[i], BACKLOG - lanes[i].seen);
			if (now() - start > BOUND_NS / 1e9)
				fail("queue_fairness: no completion");
		}
	}
	verify("queue_fairness");
	return had < nr * BACKLOG / 2 ? sum * sum / (nr * squares) : -1;
}

static double fairness(int nr)
{
	for (int i = 0; i < TRIES; i++) {
		double fair = try_fairness(nr);

		if (fair >= 0)
			return fair;
	}
	fail("queue_fairness: half is done before all is submitted; others keep the CPUs busy");
}

static void queues(void)
{
	struct hsl_ctx *ctx = context(HSL_SVA_IOMMU);

	for (int i = 0; i < MAX_QUEUES; i++)
		lanes[i].q = queue(ctx, BACKLOG);
	for (int nr = 1; nr <= MAX_QUEUES; nr *= 2) {
		double fair;

		point("throughput_queues", nr, throughput(nr, "throughput_queues"));
		if (nr == 1)
			continue;
		fair = fairness(nr);
		point("fairness_queues", nr, fair);
		if (nr == MAX_QUEUES)
			figure("queue_fairness_64", fair);
	}
	hsl_close(ctx);
}

/* Memory of the kernel that this program's control group is charged for, in bytes */
static long kernel_memory(void)
{
	FILE *f = fopen(CGROUP "/hsl-bench/memory.stat", "r");
	long val = -1;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "kernel %ld", &val) == 1)
			break;
	if (f)
		fclose(f);
	if (val < 0)
		fail("idle_context_memory: no 'kernel' in " CGROUP "/hsl-bench/memory.stat");
	return val;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* A group of its own; the charges of what it has already stay where they are. */
static void enter_cgroup(void)
{
	if (!put(CGROUP "/cgroup.subtree_control", "+memory"))
		fail(CGROUP ": no memory controller: %s", strerror(errno));
	if (mkdir(CGROUP "/hsl-bench", 0755) && errno != EEXIST)
		fail(CGROUP "/hsl-bench: %s", strerror(errno));
	if (!put(CGROUP "/hsl-bench/cgroup.procs", "0"))
		fail(CGROUP "/hsl-bench/cgroup.procs: %s", strerror(errno));
}

static void leave_cgroup(void)
{
	if (!put(CGROUP "/cgroup.procs", "0") || rmdir(CGROUP "/hsl-bench"))
		fail(CGROUP "/hsl-bench stays: %s", strerror(errno));
}

/*
 * Contexts of this process, each with a queue. What one takes of the kernel's memory is what
 * the control group is charged for all of them, page tables of their rings included, by their
 * number; the rings are the program's own and not counted.
 */
static void contexts(void)
{
	struct rlimit files = { .rlim_cur = 8 * MAX_LANES, .rlim_max = 8 * MAX_LANES };

	if (setrlimit(RLIMIT_NOFILE, &files))
		fail("%d open files: %s", 8 * MAX_LANES, strerror(errno));
	enter_cgroup();
	for (int nr = 1; nr <= MAX_LANES; nr *= 2) {
		double ops, kib;
		long memory = kernel_memory();

		for (int i = 0; i < nr; i++) {
			lanes[i].ctx = context(HSL_SVA_IOMMU);
			lanes[i].q = queue(lanes[i].ctx, 0);
		}
		kib = (kernel_memory() - memory) / 1024.0 / nr;
		ops = throughput(nr, "throughput_contexts");
		point("throughput_contexts", nr, ops);
		/* The kernel's books are in batches of pages for each CPU: of few contexts they say nothing. */
		if (nr >= COUNTED)
			point("memory_contexts", nr, kib);
		if (nr == 1)
			figure("contexts_1_ops", ops);
		if (nr == MAX_LANES) {
			figure("contexts_256_ops", ops);
			if (kib <= 0)
				fail("idle_context_memory: %d contexts cost nothing, which cannot be", nr);
			figure("idle_context_memory", kib);
		}
		for (int i = 0; i < nr; i++)
			hsl_close(lanes[i].ctx);
	}
	leave_cgroup();
}

enum group { SIZES, QUEUES, CONTEXTS, GROUPS };

static const char *const groups[] = { "sizes", "queues", "contexts" };
static void (*const measure[])(void) = { sizes, queues, contexts };

static bool disk_open(char *text)
{
	char *path = strchr(text, '=');
	struct disk *d = &disks[nr_disks];

	if (!path || path == text || (size_t)(path - text) >= sizeof(d->name) ||
	    nr_disks == sizeof(disks) / sizeof(disks[0]))
		return false;
	*path++ = '\0';
	strcpy(d->name, text);
	d->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (d->fd < 0)
		fail("%s: %s", path, strerror(errno));
	if (lseek(d->fd, 0, SEEK_END) < (off_t)DISK_BYTES)
		fail("%s: is smaller than %lu MiB", path, DISK_BYTES >> 20);
	nr_disks++;
	return true;
}

static int usage(FILE *to, int status)
{
	fputs("usage: hsl-bench-scale [--rounds N] [--only GROUP]... [--disk NAME=DEV]...\n"
	      "  --rounds N      how often everything is measured (3)\n"
	      "  --only GROUP    one of sizes, queues, contexts\n"
	      "  --disk NAME=DEV reads of this disk too, as series bandwidth_NAME; it is one of\n"
	      "                  256 MiB or more that reads as zeros\n"
	      "256 contexts want hsl.ko with max_contexts_per_user=256 or more, and root.\n"
	      "A line per point and round: point, series, x, y; per figure: name, value.\n"
	      "scripts/bench makes a table and a page of them.\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'u' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ "disk", required_argument, NULL, 'd' },
		{ }
	};
	bool on[GROUPS] = { }, some = false;
	int n, opt, rounds = 3;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		n = opt == 'o' ? group_named(optarg, groups, GROUPS) : -1;
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (n >= 0)
			on[n] = some = true;
		else if (opt != 'd' || !disk_open(optarg))
			return opt == 'u' ? usage(stdout, 0) : usage(stderr, 2);
	}
	if (optind < argc || rounds < 1)
		return usage(stderr, 2);
	src = copy_buffer();
	dst = copy_buffer();
	if (!src || !dst)
		fail("out of memory");
	stay_on_one_cpu();
	for (int i = 0; i < rounds; i++)
		for (n = 0; n < GROUPS; n++)
			if (!some || on[n])
				measure[n]();
	return 0;
}
