// SPDX-License-Identifier: MIT
/*
 * hsl-bench-link [--rounds N] [--disk DEV]: what scripts/bench measures on devices
 * that are joined to a fabric, and of storage. A line per figure and round, "name
 * value"; in the first rounds also of charts, "point series x y" and "cell matrix from to
 * value". Nothing is printed before its data was verified.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "bench.h"
#include "bench-copy.h"

#define MAX_DEVS	8
#define DEPTH		8
#define MEM		COPY_BYTES
#define OPS_QD1		2000
#define CHAINS		20
#define STEPS		256	/* half of them on each of two devices */
#define STEP_BYTES	(64u << 10)
#define DISK_BYTES	(64ul << 20)
#define CHART_ROUNDS	3

static struct dev {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct hsl_queue *batch;	/* interrupts come for eight at a time */
	struct hsl_queue *chain;	/* and at the end of a chain */
	char *mem;		/* of the device */
	char *more;		/* as much again */
} devs[MAX_DEVS];
static int nr_devs;
static char *host;		/* as much of the host's */

static void open_devices(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };

	for (; nr_devs < MAX_DEVS; nr_devs++) {
		struct dev *d = &devs[nr_devs];
		char path[32];
		void *mem;
		int err;

		snprintf(path, sizeof(path), "/dev/hsl/hsl%d", nr_devs);
		if (access(path, F_OK))
			break;
		err = hsl_open(path, NULL, &d->ctx);
		if (!err)
			err = hsl_queue_create(d->ctx, &opts, &d->q);
		opts.coalesce_count = DEPTH;
		opts.coalesce_usecs = 1000;
		if (!err)
			err = hsl_queue_create(d->ctx, &opts, &d->batch);
		opts.coalesce_count = opts.coalesce_usecs = 0;
		opts.sq_entries = STEPS;
		if (!err)
			err = hsl_queue_create(d->ctx, &opts, &d->chain);
		opts.sq_entries = 0;
		if (!err)
			err = hsl_alloc(d->ctx, MEM, &mem);
		if (err)
			fail("%s: %s", path, hsl_strerror(err));
		d->mem = mem;
		if (nr_devs)
			continue;
		err = hsl_alloc(d->ctx, MEM, &mem);
		if (err)
			fail("%s: %s", path, hsl_strerror(err));
		d->more = mem;
	}
	if (nr_devs < 2)
		fail("needs two devices in a fabric");
	host = memory(MEM);
	memset(host, 0, MEM);
}

/* Once through so many pieces of 1 MiB, a power of two, 8 in flight; seconds. */
static double copy_pass(struct hsl_queue *q, char *dst, const char *src, int pieces, unsigned long looks)
{
	double start = now();
	int sent = 0, seen = 0;

	while (seen < pieces) {
		for (; sent < pieces && sent - seen < DEPTH; sent++) {
			size_t at = (size_t)(sent * 13 % pieces) * COPY_PIECE;

			hsl_prep_copy(hsl_get_desc(q), dst + at, src + at, COPY_PIECE);
		}
		hsl_submit(q);
		finish(q, looks);
		seen++;
	}
	return now() - start;
}

static double copy_bw(struct hsl_queue *q, char *dst, char *src, uint64_t seed)
{
	double seconds = 0;

	copy_stamp(src, seed);
	memset(dst, 0, MEM);
	copy_pass(q, dst, src, COPY_PIECES, LOOKS_BRIEF);
	memset(dst, 0, MEM);
	for (int i = 0; i < COPY_ROUNDS; i++)
		seconds += copy_pass(q, dst, src, COPY_PIECES, LOOKS_BRIEF);
	if (memcmp(src, dst, MEM))
		fail("the copy is wrong");
	return (double)COPY_ROUNDS * MEM / seconds / 1e9;
}

/* The same bytes in two steps: to host memory, and from there by the other device */
static double bounce_bw(uint64_t seed)
{
	char *src = devs[0].mem, *dst = devs[1].mem;
	int sent = 0, half = 0, seen = 0, total = COPY_ROUNDS * COPY_PIECES;
	const struct hsl_cqe *c;
	double seconds;

	copy_stamp(src, seed);
	memset(dst, 0, MEM);
	seconds = now();
	while (seen < total) {
		for (; sent < total && sent - seen < DEPTH; sent++)
			hsl_prep_copy(hsl_get_desc(devs[0].q), host + COPY_ORDER(sent), src + COPY_ORDER(sent),
				      COPY_PIECE);
		hsl_submit(devs[0].q);
		while (!hsl_peek(devs[0].q, &c)) {
			if (c->status != HSL_ST_OK)
				fail("bounce: %s", hsl_strstatus(c->status));
			hsl_seen(devs[0].q, 1);
			/* Pieces of one queue end in any order: 8 at a time, they are the next 8. */
			half++;
			if (half % DEPTH)
				continue;
			for (int i = half - DEPTH; i < half; i++)
				hsl_prep_copy(hsl_get_desc(devs[1].q), dst + COPY_ORDER(i), host + COPY_ORDER(i),
					      COPY_PIECE);
			hsl_submit(devs[1].q);
		}
		while (!hsl_peek(devs[1].q, &c)) {
			if (c->status != HSL_ST_OK)
				fail("bounce: %s", hsl_strstatus(c->status));
			hsl_seen(devs[1].q, 1);
			seen++;
		}
	}
	seconds = now() - seconds;
	if (memcmp(src, dst, MEM))
		fail("bounce: the copy is wrong");
	return (double)total * COPY_PIECE / seconds / 1e9;
}

static double latency(struct hsl_queue *q, char *dst, const char *src, uint64_t seed)
{
	static double lat[OPS_QD1];

	copy_stamp((char *)src, seed);
	memset(dst, 0, 64 * BLOCK);
	for (int i = 0; i < OPS_QD1; i++) {
		size_t at = (size_t)(i % 64) * BLOCK;
		double start = now();

		hsl_prep_copy(hsl_get_desc(q), dst + at, src + at, BLOCK);
		hsl_submit(q);
		finish(q, LOOKS_POLLED);
		lat[i] = now() - start;
	}
	if (memcmp(src, dst, 64 * BLOCK))
		fail("p2p_4k_latency: the copy is wrong");
	return percentile(lat, OPS_QD1, 50) * 1e6;
}

/* Each device copies from its own memory to the next one's, asleep in between. */
static void *pair_run(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < COPY_ROUNDS; i++)
		copy_pass(devs[n].batch, devs[(n + 1) % nr_devs].mem + MEM / 2, devs[n].mem, COPY_PIECES / 2, 0);
	return NULL;
}

static double pairs_bw(int nr)
{
	pthread_t thread[MAX_DEVS];
	int which[MAX_DEVS];
	double seconds;

	for (int i = 0; i < nr_devs; i++) {
		copy_stamp(devs[i].mem, i);
		memset(devs[i].mem + MEM / 2, 0, MEM / 2);
	}
	seconds = now();
	for (int i = 0; i < nr; i++) {
		which[i] = i;
		if (pthread_create(&thread[i], NULL, pair_run, &which[i]))
			fail("a thread");
	}
	for (int i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	seconds = now() - seconds;
	for (int i = 0; i < nr; i++)
		if (memcmp(devs[i].mem, devs[(i + 1) % nr_devs].mem + MEM / 2, MEM / 2))
			fail("p2p_all_pairs: a copy is wrong");
	return nr * (double)COPY_ROUNDS * MEM / 2 / seconds / 1e9;
}

/* Each device's memory to each one's, one pair at a time; the diagonal is within its own. */
static void matrix(uint64_t seed)
{
	const int pieces = COPY_PIECES / 2;

	for (int from = 0; from < nr_devs; from++) {
		char *src = devs[from].mem;

		copy_stamp(src, seed + from);
		for (int to = 0; to < nr_devs; to++) {
			char *dst = devs[to].mem + MEM / 2;
			double seconds = 0;

			copy_pass(devs[from].q, dst, src, pieces, LOOKS_BRIEF);
			memset(dst, 0, MEM / 2);
			for (int i = 0; i < COPY_PASSES; i++)
				seconds += copy_pass(devs[from].q, dst, src, pieces, LOOKS_BRIEF);
			if (memcmp(src, dst, MEM / 2))
				fail("p2p_matrix: the copy from %d to %d is wrong", from, to);
			printf("cell p2p_matrix %d %d %.9g\n", from, to,
			       COPY_PASSES * (double)MEM / 2 / seconds / 1e9);
		}
	}
	fflush(stdout);
}

static char *chain_block(int step)
{
	return devs[step % 2].mem + (size_t)(step / 2) * STEP_BYTES;
}

/* What step @i of a chain does: a mark goes from block to block, between two devices. */
static void chain_step(struct hsl_queue *q, int i, uint64_t mark)
{
	struct hsl_desc *d = hsl_get_desc(q);

	if (i)
		hsl_prep_copy(d, chain_block(i), chain_block(i - 1), STEP_BYTES);
	else
		hsl_prep_fill(d, chain_block(0), mark, STEP_BYTES);
	hsl_desc_set_flags(d, HSL_DESC_F_TIMED);
}

/* All of it is armed; returns what the first step waits for. */
static uint32_t chain_arm(const int *handle, uint64_t mark)
{
	uint32_t first = hsl_sq_tail(devs[0].chain) + 2;

	for (int i = 0; i < STEPS; i++) {
		struct hsl_queue *q = devs[i % 2].chain, *next = devs[!(i % 2)].chain;

		chain_step(q, i, mark);
		if (i < STEPS - 1)
			hsl_prep_signal(hsl_get_desc(q), handle[i % 2],
					hsl_sq_tail(next) + (i < STEPS - 2 ? 2 : 1));
		hsl_hold(q);
	}
	return first;
}

/*
 * Seconds for all that is not the work itself, from the moment when the first step is
 * submitted. Without signals the program waits until a step has ended, as programs do,
 * and submits the next, which it has prepared meanwhile.
 */
static double chain_pass(const int *handle, uint64_t mark)
{
	double start, work = 0;
	uint32_t first;
	int err;

	if (!handle) {
		chain_step(devs[0].q, 0, mark);
		start = now();
		for (int i = 0; i < STEPS; i++) {
			hsl_submit(devs[i % 2].q);
			if (i < STEPS - 1)
				chain_step(devs[!(i % 2)].q, i + 1, mark);
			work += finish(devs[i % 2].q, 0);
		}
		return now() - start - work;
	}
	first = chain_arm(handle, mark);
	hsl_prep_signal(hsl_get_desc(devs[1].q), handle[1], first);
	start = now();
	hsl_submit(devs[1].q);
	err = hsl_wait_batch(devs[1].chain, STEPS - 1, BOUND_NS);
	start = now() - start;
	if (err)
		fail("p2p_signal_latency: %s", hsl_strerror(err));
	for (int i = 0; i < STEPS - 1; i++)
		work += finish(devs[1].chain, LOOKS_POLLED);
	finish(devs[1].q, LOOKS_POLLED);
	for (int i = 0; i < STEPS; i++)
		work += finish(devs[0].chain, LOOKS_POLLED);
	return start - work;
}

static void signal_chain(const int *handle)
{
	static double lat[CHAINS];
	static uint64_t mark;

	for (int i = 0; i < CHAINS; i++) {
		mark++;
		lat[i] = chain_pass(handle, mark) / STEPS;
		for (int n = 0; n < STEPS; n++)
			for (size_t at = 0; at < STEP_BYTES; at += sizeof(mark))
				if (memcmp(chain_block(n) + at, &mark, sizeof(mark)))
					fail("p2p_signal_latency: step %d was not done", n);
	}
	figure(handle ? "p2p_signal_latency" : "p2p_by_cpu_latency", percentile(lat, CHAINS, 50) * 1e6);
}

/* What rings @to on behalf of @from */
static int signal_handle(struct dev *from, struct dev *to)
{
	int fd = hsl_queue_grant(to->chain), handle;

	if (fd < 0)
		fail("no grant: %s", hsl_strerror(fd));
	handle = hsl_signal_add(from->ctx, fd);
	if (handle < 0)
		fail("no signal: %s", hsl_strerror(handle));
	return handle;
}

/* A number of a port; as its neighbour that one's node */
static unsigned int port_number(int dev, unsigned int port, const char *name)
{
	char path[96], text[32];
	unsigned int val;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%d/port%u/%s", dev, port, name);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f) ||
	    (sscanf(text, "node %u", &val) != 1 && sscanf(text, "%u", &val) != 1))
		fail("%s: no number", path);
	fclose(f);
	return val;
}

/* The port of a device that leads straight to another one, which has the node of its index */
static unsigned int port_to(int dev, int to)
{
	for (unsigned int p = 0; p < nr_devs - 1u; p++)
		if (port_number(dev, p, "neighbour") == (unsigned int)to)
			return p;
	fail("model_time_error: wants a mesh");
}

/* Leave of a mesh the links of a chain, or give the others back; the way through takes so many. */
static void chain(bool on, uint32_t hops)
{
	struct hsl_peer_info info[MAX_DEVS];
	double start = now();
	char path[96];
	int n;

	for (int a = 0; a < nr_devs; a++) {
		for (int b = a + 2; b < nr_devs; b++) {
			FILE *f;

			snprintf(path, sizeof(path), "/sys/class/hsl/hsl%d/port%u/enable", a, port_to(a, b));
			f = fopen(path, "w");
			if (!f || fprintf(f, "%d", !on) < 0 || fclose(f))
				fail("%s: %s", path, strerror(errno));
		}
	}
	do {
		n = hsl_peers(devs[0].ctx, info, MAX_DEVS);
		/* There may be more than are told of. */
		if (n > MAX_DEVS)
			n = MAX_DEVS;
		while (--n > 0 && info[n].index != nr_devs - 1u)
			;
		if (now() - start > 10)
			fail("model_time_error: links do not come up");
	} while (n < 0 || info[n].hops != hops);
}

/* What @len bytes take along the chain by the formula, in ns: from own memory there, or back to it */
static double model_formula(int to, double len, bool back)
{
	double fixed = HSL_MODEL_OWN_LATENCY, grows = len * 1000 / HSL_MODEL_OWN_RATE;
	double packets = len / HSL_PACKET, whole = HSL_PACKET + HSL_PACKET_OVERHEAD;

	for (int i = 0; i < to; i++) {
		unsigned int p = port_to(i, i + 1), credits = port_number(i, p, "credits");
		double byte = 8000.0 / port_number(i, p, "width") / port_number(i, p, "rate");
		double latency = port_number(i, p, "latency");
		double stall = 2 * latency + whole * byte * (1 - (double)credits);
		double link = (packets - 1) * whole * byte;

		if (stall > 0)
			link += (unsigned long)(packets - 1) / credits * stall;
		if (link > grows)
			grows = link;
		fixed += latency * (1 + back) + whole * byte;
	}
	return fixed + grows;
}

/* The worst of what completions say against the formula, over one link and more */
static double model_error(void)
{
	struct hsl_queue *q = devs[0].q;
	double worst = 0;

	for (int i = 0; i < nr_devs; i++)
		copy_stamp(devs[i].mem, i);
	chain(true, nr_devs - 1);
	for (int to = 1; to < nr_devs; to++) {
		for (uint32_t len = BLOCK; len <= COPY_PIECE; len *= 2) {
			for (int back = 0; back < 2; back++) {
				double want = model_formula(to, len, back), off;
				char *own = devs[0].mem, *peer = devs[to].mem;
				char *src = back ? peer : own, *dst = (back ? own : peer) + MEM / 2;
				struct hsl_desc *d = hsl_get_desc(q);
				const struct hsl_cqe *c;

				memset(dst, 0, len + 1);
				hsl_prep_copy(d, dst, src, len);
				hsl_desc_set_flags(d, HSL_DESC_F_TIMED);
				hsl_submit(q);
				if (hsl_wait(q, &c, BOUND_NS) || c->status != HSL_ST_OK)
					fail("model_time_error: a copy failed");
				off = hsl_cqe_model_ns(c) / want - 1;
				hsl_seen(q, 1);
				if (memcmp(src, dst, len) || dst[len])
					fail("model_time_error: the copy to or from %d is wrong", to);
				if (off < 0)
					off = -off;
				if (off > worst)
					worst = off;
			}
		}
	}
	chain(false, 1);
	return worst;
}

/* A disk's data into the memory of a device: by itself, and by way of host memory */
static void storage(const char *path, bool first)
{
	static char *dst, *buf, *truth;
	struct hsl_file_io io = { .size = sizeof(io) };
	double seconds;
	void *mem;
	int fd, err;

	if (first) {
		truth = memory(DISK_BYTES);
		buf = memory(DISK_BYTES);
		memset(buf, 0, DISK_BYTES);
		for (size_t i = 0; i < DISK_BYTES / 8; i++)
			((uint64_t *)truth)[i] = i * 0x9e3779b97f4a7c15ull;
		err = hsl_alloc(devs[0].ctx, DISK_BYTES, &mem);
		if (err)
			fail("device memory: %s", hsl_strerror(err));
		dst = mem;
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, truth, DISK_BYTES) != (ssize_t)DISK_BYTES || fsync(fd))
			fail("%s: %s", path, strerror(errno));
		close(fd);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", path, strerror(errno));

	memset(dst, 0, DISK_BYTES);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	seconds = now();
	if (hsl_file_read(fd, 0, dst, DISK_BYTES, &io) != (ssize_t)DISK_BYTES)
		fail("nvme_to_device: a read failed");
	seconds = now() - seconds;
	if (io.bounced)
		fail("nvme_to_device: %s", hsl_strfile(io.why));
	if (memcmp(dst, truth, DISK_BYTES))
		fail("nvme_to_device: the data is wrong");
	figure("nvme_to_device_bw", DISK_BYTES / seconds / 1e9);

	memset(dst, 0, DISK_BYTES);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	seconds = now();
	if (pread(fd, buf, DISK_BYTES, 0) != (ssize_t)DISK_BYTES)
		fail("nvme_by_host: a read failed");
	hsl_prep_copy(hsl_get_desc(devs[0].q), dst, buf, DISK_BYTES);
	hsl_submit(devs[0].q);
	finish(devs[0].q, 0);
	seconds = now() - seconds;
	if (memcmp(dst, truth, DISK_BYTES))
		fail("nvme_by_host: the data is wrong");
	figure("nvme_by_host_bw", DISK_BYTES / seconds / 1e9);
	close(fd);
}

static int usage(FILE *to, int status)
{
	fputs("usage: hsl-bench-link [--rounds N] [--disk DEV]\n"
	      "  --rounds N   how often everything is measured (7)\n"
	      "  --disk DEV   storage too; what is on this disk is lost\n"
	      "A line per figure and round: name, value; and of charts: point, series, x, y;\n"
	      "cell, matrix, from, to, value. scripts/bench makes a table and a page of them.\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'u' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "disk", required_argument, NULL, 'd' },
		{ }
	};
	int opt, handle[2], rounds = 7;
	const char *disk = NULL;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (opt == 'd')
			disk = optarg;
		else
			return opt == 'u' ? usage(stdout, 0) : usage(stderr, 2);
	}
	if (optind < argc || rounds < 1)
		return usage(stderr, 2);
	open_devices();
	for (int i = 0; i < 2; i++)
		handle[i] = signal_handle(&devs[i], &devs[!i]);

	for (int i = 0; i < rounds; i++) {
		struct hsl_queue *q = devs[0].q;
		char *own = devs[0].mem, *peer = devs[1].mem;

		figure("p2p_local_1m_bw", copy_bw(q, devs[0].more, own, 4 * i));
		figure("p2p_1m_bw", copy_bw(q, peer, own, 4 * i + 1));
		figure("p2p_bounce_1m_bw", bounce_bw(4 * i + 2));
		figure("p2p_local_4k_latency", latency(q, devs[0].more, own, 4 * i + 3));
		figure("p2p_4k_latency", latency(q, peer, own, 4 * i + 4));
		signal_chain(handle);
		signal_chain(NULL);
		figure("p2p_one_pair", pairs_bw(1));
		figure("p2p_all_pairs", pairs_bw(nr_devs));
		figure("model_time_error", model_error());
		if (disk)
			storage(disk, !i);
		if (i >= CHART_ROUNDS)
			continue;
		for (int n = 1; n <= nr_devs; n++)
			point("bandwidth_devices", n, pairs_bw(n));
		matrix(8 * i);
	}
	return 0;
}
