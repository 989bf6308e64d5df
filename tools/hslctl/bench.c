// SPDX-License-Identifier: MIT
/*
 * hslctl bench: how fast devices work. Every result is looked at before a figure
 * is printed: the status and length of each completion, and then each byte that
 * was to be written, against what the CPU says it should be.
 */
#include <errno.h>
#include <hsl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "../crc32c.h"
#include "hslctl.h"

#define MAX_THREADS	64
#define MAX_WORK_QUEUES	16		/* of a thread */
#define MAX_DEPTH	4096
#define MAX_SIZE	(1ul << 30)
#define REGION		(64ul << 20)	/* of a thread, unless one operation is larger */
#define IDLE_LOOKS	20000
#define BOUND_NS	(60 * 1000000000ll)
#define PAGE		4096ul
#define PATTERN		0x5ca1ab1e0ddba11ull

enum { ALL_FROM = 3, ALL_TO = 23 };	/* 8 bytes to 8 MiB, as powers of two */

struct arguments {
	struct words words;
	uint32_t op;
	const char *src, *dst;
	unsigned long size, iterations, depth, queues, threads;
	double duration;
	bool all, both, matrix, latency, histogram;
	struct hsl_open_opts open;
};

static struct arguments args = {
	.op = HSL_OP_COPY, .src = "host", .dst = "host", .size = 65536, .iterations = 1000, .queues = 1, .threads = 1,
	.open = { .size = sizeof(struct hsl_open_opts) },
};

static const struct choice {
	const char *name;
	uint32_t val;
} ops[] = {
	{ "copy", HSL_OP_COPY }, { "fill", HSL_OP_FILL }, { "compare", HSL_OP_COMPARE }, { "crc32c", HSL_OP_CRC32C },
	{ "atomic_add", HSL_OP_ATOMIC_ADD }, { "nop", HSL_OP_NOP }, { }
}, providers[] = {
	{ "auto", HSL_SVA_NONE }, { "iommu", HSL_SVA_IOMMU }, { "hmm", HSL_SVA_HMM }, { }
}, routes[] = {
	{ "any", HSL_ROUTE_ALL }, { "link", HSL_ROUTE_LINK }, { "pcie", HSL_ROUTE_PCIE },
	{ "via-host", HSL_ROUTE_VIA_HOST }, { }
};

static uint32_t choose(const struct choice *c, const char *text, const char *option, struct argp_state *state)
{
	char all[128] = "";

	for (; c->name; c++) {
		if (!strcmp(c->name, text))
			return c->val;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), " %s", c->name);
	}
	argp_error(state, "%s: '%s' is none of:%s", option, text, all);
	return 0;
}

static const char *op_name(void)
{
	const struct choice *c = ops;

	while (c->val != args.op)
		c++;
	return c->name;
}

enum { THREADS = 256 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'o':
		args.op = choose(ops, arg, "--op", state);
		return 0;
	case 'f':
		args.src = arg;
		return 0;
	case 'T':
		args.dst = arg;
		return 0;
	case 's':
		args.size = number_option(arg, 1, MAX_SIZE, "--size", state);
		return 0;
	case 'a':
		args.all = true;
		return 0;
	case 'n':
		args.iterations = number_option(arg, 1, 100000000, "--iterations", state);
		return 0;
	case 'D':
		args.duration = seconds_option(arg, 0.01, "--duration", state);
		return 0;
	case 't':
		args.depth = number_option(arg, 1, MAX_DEPTH, "--depth", state);
		return 0;
	case 'q':
		args.queues = number_option(arg, 1, MAX_WORK_QUEUES, "--queues", state);
		return 0;
	case THREADS:
		args.threads = number_option(arg, 1, MAX_THREADS, "--threads", state);
		return 0;
	case 'b':
		args.both = true;
		return 0;
	case 'm':
		args.matrix = true;
		return 0;
	case 'l':
		args.latency = true;
		return 0;
	case 'H':
		args.latency = args.histogram = true;
		return 0;
	case 'v':
		args.open.sva = choose(providers, arg, "--sva", state);
		return 0;
	case 'r':
		args.open.routes = choose(routes, arg, "--route", state);
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&args.words, arg, state);
	case ARGP_KEY_END:
		if (!args.depth)
			args.depth = args.latency ? 1 : 32;
		if (args.duration && args.latency)
			argp_error(state, "--duration is for bandwidth; latency is of --iterations");
		if (args.words.nr > 1 && !args.matrix)
			argp_error(state, "one device works; --from and --to name those whose memory it is, --matrix takes several");
		if (args.matrix && args.op != HSL_OP_COPY)
			argp_error(state, "--matrix is about copies");
		if (args.both && args.op != HSL_OP_COPY)
			argp_error(state, "--bidirectional is about copies");
		if (args.op == HSL_OP_ATOMIC_ADD)
			args.size = 8;
		if (args.op == HSL_OP_NOP)
			args.size = 0;
		if (args.all && (args.op == HSL_OP_ATOMIC_ADD || args.op == HSL_OP_NOP))
			argp_error(state, "--all: this operation has one size");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/*
 * Devices and memory
 */

static struct hsl_ctx **contexts;

static struct hsl_ctx *context_of(const struct device *d)
{
	struct hsl_ctx **ctx = &contexts[d - devices];
	char path[32];
	int err;

	if (*ctx)
		return *ctx;
	if (!d->name[0])
		fail("%s: no driver is bound; hslctl doctor says why", d->bdf);
	snprintf(path, sizeof(path), "/dev/hsl/%s", d->name);
	err = hsl_open(path, &args.open, ctx);
	if (err)
		fail("%s: %s", path, hsl_strerror(err));
	return *ctx;
}

struct region {
	struct hsl_ctx *ctx;	/* NULL: of the host */
	unsigned char *mem;
	size_t len;
};

/* @where: host, own, or a device. */
static void region_get(struct region *r, const char *where, const struct device *worker, size_t len)
{
	void *mem;
	int err;

	r->len = (len + PAGE - 1) & ~(PAGE - 1);
	if (!r->len)
		r->len = PAGE;
	if (!strcmp(where, "host")) {
		r->ctx = NULL;
		r->mem = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (r->mem == MAP_FAILED)
			fail("%zu bytes of host memory: %s", r->len, strerror(errno));
		return;
	}
	r->ctx = context_of(!strcmp(where, "own") ? worker : device_bound(where));
	err = hsl_alloc(r->ctx, r->len, &mem);
	if (err)
		fail("%zu bytes of device memory (%s): %s", r->len, where, hsl_strerror(err));
	r->mem = mem;
}

static void region_put(struct region *r)
{
	if (r->ctx)
		hsl_free(r->ctx, r->mem);
	else
		munmap(r->mem, r->len);
}

/* Every word different, and different in every place. */
static void stamp(unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = (i + 1) * 0x9e3779b97f4a7c15ull ^ seed;

		memcpy(p + i, &w, len - i < 8 ? len - i : 8);
	}
}

/*
 * Workers: threads, each with queues and memory of its own
 */

struct tag {
	uint32_t slot;
	bool out;		/* submitted, and not completed yet */
	double sent;
};

struct lane {
	struct hsl_queue *q;
	struct tag tags[MAX_DEPTH];
	uint32_t free[MAX_DEPTH];
	uint32_t nr_free;
};

struct worker {
	pthread_t thread;
	const struct device *device;
	unsigned long size, slots, iterations;
	struct region src, dst;
	uint32_t *crc;		/* of each slot's source */
	uint64_t *adds;		/* to each slot */
	struct lane *lanes;
	unsigned long sent, done;
	double until;		/* no more are sent; 0: until there were enough */
	float *latency;		/* seconds, in the order of completion; NULL: not wanted */
	double ended;
	char error[160];
};

static pthread_barrier_t barrier;

static bool wrong(struct worker *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(struct worker *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->error[0]) {
		va_start(ap, fmt);
		vsnprintf(w->error, sizeof(w->error), fmt, ap);
		va_end(ap);
	}
	return false;
}

static void prepare(struct worker *w, struct hsl_desc *d, uint32_t slot)
{
	unsigned char *src = w->src.mem + slot * w->size, *dst = w->dst.mem + slot * w->size;

	switch (args.op) {
	case HSL_OP_COPY:
		hsl_prep_copy(d, dst, src, w->size);
		break;
	case HSL_OP_FILL:
		hsl_prep_fill(d, dst, PATTERN + slot, w->size);
		break;
	case HSL_OP_COMPARE:
		hsl_prep_compare(d, src, dst, w->size);
		break;
	case HSL_OP_CRC32C:
		hsl_prep_crc32c(d, src, w->size, 0);
		break;
	case HSL_OP_ATOMIC_ADD:
		hsl_prep_atomic_add(d, dst, 8, 3);
		w->adds[slot]++;
		break;
	default:
		hsl_prep_nop(d);
	}
}

static bool check_completion(struct worker *w, const struct hsl_cqe *c, uint32_t slot)
{
	if (c->status != HSL_ST_OK)
		return wrong(w, "an operation ended with: %s", hsl_strstatus(c->status));
	if (args.op == HSL_OP_CRC32C && c->result != w->crc[slot])
		return wrong(w, "WRONG DATA: CRC32C %#llx, the CPU says %#x", (unsigned long long)c->result,
			     w->crc[slot]);
	if (args.op == HSL_OP_COMPARE && c->result != w->size)
		return wrong(w, "WRONG DATA: equal operands are said to differ at %llu", (unsigned long long)c->result);
	if (c->bytes != w->size)
		return wrong(w, "an operation did %u bytes of %lu", c->bytes, w->size);
	return true;
}

static bool reap(struct worker *w, struct lane *l)
{
	const struct hsl_cqe *c[32];
	int n = hsl_peek_batch(l->q, c, 32);
	double at = n > 0 && w->latency ? now() : 0;

	for (int i = 0; i < n; i++) {
		uint64_t tag = c[i]->user_data;
		struct tag *t = &l->tags[tag < args.depth ? tag : 0];

		if (tag >= args.depth || !t->out)
			return wrong(w, "an operation completed that was not under way: %#llx",
				     (unsigned long long)tag);
		if (!check_completion(w, c[i], t->slot))
			return false;
		t->out = false;
		if (w->latency)
			w->latency[w->done] = at - t->sent;
		l->free[l->nr_free++] = tag;
		w->done++;
	}
	if (n > 0)
		hsl_seen(l->q, n);
	return true;
}

static void send(struct worker *w, struct lane *l)
{
	bool any = false;

	if (w->until && now() >= w->until)
		w->iterations = w->sent;
	while (l->nr_free && w->sent < w->iterations) {
		struct hsl_desc *d = hsl_get_desc(l->q);
		uint32_t tag, slot = w->sent % w->slots;

		if (!d)
			break;
		tag = l->free[--l->nr_free];
		prepare(w, d, slot);
		hsl_desc_set_user_data(d, tag);
		l->tags[tag].slot = slot;
		l->tags[tag].out = true;
		if (w->latency)
			l->tags[tag].sent = now();
		w->sent++;
		any = true;
		/* Each as soon as it can be, when it is the time that counts. */
		if (w->latency)
			hsl_submit(l->q);
	}
	if (any)
		hsl_submit(l->q);
}

static bool pass(struct worker *w)
{
	unsigned long idle = 0, before;

	w->sent = w->done = 0;
	while (w->done < w->iterations) {
		before = w->done;
		for (unsigned long i = 0; i < args.queues; i++) {
			send(w, &w->lanes[i]);
			if (!reap(w, &w->lanes[i]))
				return false;
		}
		idle = w->done == before ? idle + 1 : 0;
		if (idle < IDLE_LOOKS)
			continue;
		for (unsigned long i = 0; i < args.queues; i++) {
			const struct hsl_cqe *c;
			int err;

			if (!hsl_in_flight(w->lanes[i].q))
				continue;
			err = hsl_wait(w->lanes[i].q, &c, BOUND_NS);
			if (err)
				return wrong(w, "no completion: %s", hsl_strerror(err));
			break;
		}
		idle = 0;
	}
	return true;
}

/* What each slot's operation has to leave behind. */
static bool verify(struct worker *w)
{
	unsigned long used = w->iterations < w->slots ? w->iterations : w->slots;
	unsigned char expect[8];

	for (unsigned long s = 0; s < used; s++) {
		unsigned char *src = w->src.mem + s * w->size, *dst = w->dst.mem + s * w->size;
		uint64_t val = PATTERN + s;

		switch (args.op) {
		case HSL_OP_COPY:
			if (memcmp(src, dst, w->size))
				return wrong(w, "WRONG DATA: a copy differs from its source");
			break;
		case HSL_OP_FILL:
			memcpy(expect, &val, 8);
			for (unsigned long i = 0; i < w->size; i++)
				if (dst[i] != expect[i % 8])
					return wrong(w, "WRONG DATA: a fill left something else");
			break;
		case HSL_OP_ATOMIC_ADD:
			memcpy(&val, dst, 8);
			if (val != 3 * w->adds[s])
				return wrong(w, "WRONG DATA: an atomic has %llu, not %llu", (unsigned long long)val,
					     3 * (unsigned long long)w->adds[s]);
			break;
		}
	}
	return true;
}

/* Operands as they are at the start; where results go there is nothing like them. */
static void lay_out(struct worker *w, uint64_t seed)
{
	stamp(w->src.mem, w->slots * w->size, seed);
	memset(w->dst.mem, 0, w->slots * w->size);
	if (args.op == HSL_OP_COMPARE)
		memcpy(w->dst.mem, w->src.mem, w->slots * w->size);
	for (unsigned long s = 0; s < w->slots; s++) {
		w->adds[s] = 0;
		if (args.op == HSL_OP_CRC32C)
			w->crc[s] = crc32c(0, w->src.mem + s * w->size, w->size);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned long iterations = args.duration ? ULONG_MAX : args.iterations;
	float *latency = w->latency;
	bool ok;

	/* Once without the clock: pages are there then, and translations. */
	w->iterations = w->slots;
	w->latency = NULL;
	lay_out(w, (uintptr_t)w);
	ok = pass(w) && verify(w);
	w->iterations = iterations;
	w->latency = latency;
	lay_out(w, (uintptr_t)w ^ 0x5555);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	if (args.duration)
		w->until = now() + args.duration;
	if (ok)
		ok = pass(w);
	w->ended = now();
	if (ok)
		verify(w);
	return NULL;
}

static void lane_open(struct lane *l, struct hsl_ctx *ctx)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 2 };
	int err;

	while (opts.sq_entries < args.depth)
		opts.sq_entries *= 2;
	err = hsl_queue_create(ctx, &opts, &l->q);
	if (err)
		fail("a queue of %u entries: %s", opts.sq_entries, hsl_strerror(err));
	for (l->nr_free = 0; l->nr_free < args.depth; l->nr_free++)
		l->free[l->nr_free] = l->nr_free;
}

static void worker_open(struct worker *w, const struct device *d, const char *src, const char *dst, unsigned long size)
{
	memset(w, 0, sizeof(*w));
	w->device = d;
	w->size = size;
	w->slots = args.depth * args.queues;
	if (size && w->slots > REGION / size)
		w->slots = REGION / size;
	/* One that is written by several at once would say nothing about any of them. */
	if (!w->slots)
		w->slots = 1;
	region_get(&w->src, src, d, w->slots * size);
	region_get(&w->dst, dst, d, w->slots * size);
	w->crc = calloc(w->slots, sizeof(*w->crc));
	w->adds = calloc(w->slots, sizeof(*w->adds));
	w->lanes = calloc(args.queues, sizeof(*w->lanes));
	if (args.latency)
		w->latency = calloc(args.iterations, sizeof(*w->latency));
	if (!w->crc || !w->adds || !w->lanes || (args.latency && !w->latency))
		fail("out of memory");
	for (unsigned long i = 0; i < args.queues; i++)
		lane_open(&w->lanes[i], context_of(d));
}

static void worker_close(struct worker *w)
{
	for (unsigned long i = 0; i < args.queues; i++)
		hsl_queue_destroy(w->lanes[i].q);
	region_put(&w->src);
	region_put(&w->dst);
	free(w->crc);
	free(w->adds);
	free(w->lanes);
	free(w->latency);
}

/*
 * Figures
 */

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static float percentile(const float *v, size_t n, double percent)
{
	size_t at = (size_t)ceil(n * percent / 100);

	return v[at ? at - 1 : 0];
}

/* Buckets grow by the fourth root of two; the empty ones are left out. */
static json_object *histogram(const float *v, size_t n)
{
	json_object *list = json_object_new_array();
	size_t i = 0;

	while (i < n) {
		double step = floor(log2(fmax(v[i], 1e-9) * 1e9) * 4), from = exp2(step / 4), to = exp2((step + 1) / 4);
		json_object *o = json_object_new_object();
		size_t count = 0;

		/* The first is in it by definition, whatever rounding says. */
		do
			count++;
		while (++i < n && v[i] * 1e9 < to);
		put_real(o, "from_ns", from);
		put_real(o, "to_ns", to);
		put_number(o, "count", count);
		json_object_array_add(list, o);
	}
	return list;
}

static void put_latency(json_object *row, struct worker *w, size_t nr)
{
	static const struct {
		const char *key;
		double percent;
	} points[] = {
		{ "min_ns", 0 }, { "p50_ns", 50 }, { "p90_ns", 90 }, { "p99_ns", 99 }, { "p99_9_ns", 99.9 },
		{ "max_ns", 100 }
	};
	size_t n = nr * args.iterations;
	float *v = malloc(n * sizeof(*v));
	double sum = 0, squares = 0;

	if (!v)
		fail("out of memory");
	for (size_t i = 0; i < nr; i++)
		memcpy(v + i * args.iterations, w[i].latency, args.iterations * sizeof(*v));
	qsort(v, n, sizeof(*v), by_value);
	for (size_t i = 0; i < n; i++) {
		sum += v[i];
		squares += (double)v[i] * v[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(points); i++)
		put_real(row, points[i].key, percentile(v, n, points[i].percent) * 1e9);
	put_real(row, "average_ns", sum / n * 1e9);
	put_real(row, "stdev_ns", sqrt(fmax(0, squares / n - sum / n * (sum / n))) * 1e9);
	if (args.histogram)
		put(row, "histogram", histogram(v, n));
	free(v);
}

/*
 * One figure: threads of @d from @src to @dst, and as many of @back the other way if
 * there is one. The row says error instead of figures when something went wrong.
 */
static json_object *measure(const struct device *d, const char *src, const char *dst, const struct device *back,
			    unsigned long size)
{
	static struct worker workers[2 * MAX_THREADS];
	size_t nr = args.threads * (back ? 2 : 1);
	json_object *row = json_object_new_object();
	unsigned long done = 0;
	double start, end = 0;
	const char *error = NULL;

	for (size_t i = 0; i < nr; i++) {
		if (i < args.threads)
			worker_open(&workers[i], d, src, dst, size);
		else if (back == d)
			worker_open(&workers[i], d, dst, src, size);
		else
			worker_open(&workers[i], back, "own", d->name, size);
	}
	pthread_barrier_init(&barrier, NULL, nr + 1);
	for (size_t i = 0; i < nr; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			fail("cannot start a thread");
	pthread_barrier_wait(&barrier);
	start = now();
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < nr; i++) {
		pthread_join(workers[i].thread, NULL);
		end = workers[i].ended > end ? workers[i].ended : end;
		done += workers[i].done;
		if (workers[i].error[0] && !error)
			error = workers[i].error;
	}
	pthread_barrier_destroy(&barrier);

	put_text(row, "op", op_name());
	put_text(row, "device", d->name);
	put_text(row, "from", src);
	put_text(row, "to", dst);
	put_bool(row, "bidirectional", back);
	put_number(row, "size_bytes", size);
	put_number(row, "threads", args.threads);
	put_number(row, "queues", args.queues);
	put_number(row, "depth", args.depth);
	put_number(row, "iterations", done);
	put_bool(row, "verified", !error);
	if (error) {
		put_text(row, "error", error);
	} else {
		put_real(row, "bytes_per_second", (double)done * size / (end - start));
		put_real(row, "gb_per_second", (double)done * size / (end - start) / 1e9);
		put_real(row, "ops_per_second", done / (end - start));
		if (args.latency)
			put_latency(row, workers, nr);
	}
	for (size_t i = 0; i < nr; i++)
		worker_close(&workers[i]);
	return row;
}

static void show_histogram(json_object *row)
{
	json_object *list;
	uint64_t most = 0;

	if (!json_object_object_get_ex(row, "histogram", &list))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (get_number(json_object_array_get_idx(list, i), "count") > most)
			most = get_number(json_object_array_get_idx(list, i), "count");
	printf("\n%llu bytes, microseconds:\n", (unsigned long long)get_number(row, "size_bytes"));
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i), *from, *to;
		uint64_t count = get_number(o, "count");

		json_object_object_get_ex(o, "from_ns", &from);
		json_object_object_get_ex(o, "to_ns", &to);
		printf("%10.3f to %10.3f %10llu %.*s\n", json_object_get_double(from) / 1e3,
		       json_object_get_double(to) / 1e3, (unsigned long long)count, (int)(count * 40 / most),
		       "########################################");
	}
}

static const struct column columns[] = {
	{ "op", "OP", TEXT }, { "device", "DEVICE", TEXT }, { "from", "FROM", TEXT }, { "to", "TO", TEXT },
	{ "size_bytes", "BYTES", NUMBER }, { "iterations", "ITERATIONS", NUMBER }, { "gb_per_second", "GB/S", FIGURE },
	{ "ops_per_second", "OPS/S", FIGURE }, { "min_ns", "MIN NS", FIGURE }, { "average_ns", "AVERAGE", FIGURE },
	{ "p50_ns", "P50", FIGURE }, { "p90_ns", "P90", FIGURE }, { "p99_ns", "P99", FIGURE },
	{ "p99_9_ns", "P99.9", FIGURE }, { "max_ns", "MAX", FIGURE }, { "error", "ERROR", TEXT }, { }
};

/* From the memory of the line's device to that of the column's, by the line's. */
static void show_matrix(json_object *rows)
{
	struct column *cols = calloc(nr_devices + 2, sizeof(*cols));
	json_object *lines = json_object_new_array(), *line = NULL, *val;
	const char *last = "";
	struct device *d;
	size_t n = 1;

	if (!cols)
		fail("out of memory");
	cols[0] = (struct column){ "from", "GB/S FROM", TEXT };
	for_each_chosen(d)
		cols[n++] = (struct column){ d->name, d->name, FIGURE };
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		json_object *o = json_object_array_get_idx(rows, i);
		const char *device = get_text(o, "device");

		if (strcmp(device, last)) {
			line = json_object_new_object();
			put_text(line, "from", device);
			json_object_array_add(lines, line);
			last = device;
		}
		if (json_object_object_get_ex(o, "gb_per_second", &val))
			put_real(line, get_text(o, "to"), json_object_get_double(val));
		else
			put(line, get_text(o, "to"), NULL);
	}
	table_show(cols, lines);
	free(cols);
	json_object_put(lines);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		json_object *o = json_object_array_get_idx(rows, i);

		if (*get_text(o, "error"))
			printf("%s to %s: %s\n", get_text(o, "device"), get_text(o, "to"), get_text(o, "error"));
	}
}

static json_object *all_pairs(void)
{
	json_object *rows = json_object_new_array();
	struct device *from, *to;

	for_each_chosen(from) {
		context_of(from);
		for_each_chosen(to) {
			json_object *row = measure(from, "own", to == from ? "own" : to->name, args.both ? to : NULL,
						   args.size);

			put_text(row, "to", to->name);
			json_object_array_add(rows, row);
		}
	}
	return rows;
}

static json_object *one_way(void)
{
	json_object *rows = json_object_new_array();
	const struct device *d = args.words.nr ? device_bound(args.words.word[0]) : devices;
	const struct device *back = NULL;

	if (args.both)
		back = strcmp(args.dst, "host") && strcmp(args.dst, "own") ? device_bound(args.dst) : d;
	if (back && back != d && strcmp(args.src, "own"))
		fail("--bidirectional with a peer is from own memory to the peer's: use --from own");
	if (!args.all) {
		json_object_array_add(rows, measure(d, args.src, args.dst, back, args.size));
		return rows;
	}
	for (int order = ALL_FROM; order <= ALL_TO; order++)
		json_object_array_add(rows, measure(d, args.src, args.dst, back, 1ul << order));
	return rows;
}

int cmd_bench(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "op", 'o', "OP", 0, "copy (default), fill, compare, crc32c, atomic_add or nop", 0 },
		{ "from", 'f', "WHERE", 0, "Memory of the source: host (default), own, or a device", 0 },
		{ "to", 'T', "WHERE", 0, "Memory of the destination, likewise", 0 },
		{ "size", 's', "BYTES", 0, "Of an operation: 64K; K, M and G are powers of 1024", 1 },
		{ "all", 'a', NULL, 0, "All sizes from 8 bytes to 8 MiB", 1 },
		{ "iterations", 'n', "N", 0, "Operations of each thread and size (1000)", 1 },
		{ "duration", 'D', "SECONDS", 0, "As many operations as there is time for, instead", 1 },
		{ "depth", 't', "N", 0, "Operations in flight in each queue (32; with --latency 1)", 2 },
		{ "queues", 'q', "N", 0, "Queues of each thread (1)", 2 },
		{ "threads", THREADS, "N", 0, "Threads (1)", 2 },
		{ "bidirectional", 'b', NULL, 0, "As much the other way at the same time; a peer does it itself", 3 },
		{ "matrix", 'm', NULL, 0, "All pairs: each device writes to the memory of each", 3 },
		{ "latency", 'l', NULL, 0, "Percentiles of the time from submission to completion", 4 },
		{ "histogram", 'H', NULL, 0, "And how it is distributed", 4 },
		{ "sva", 'v', "PROVIDER", 0, "Of shared addresses: auto, iommu or hmm", 5 },
		{ "route", 'r', "ROUTE", 0, "To peers: any, link, pcie or via-host", 5 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE]\n--matrix [DEVICE...]",
		.doc = "Measure bandwidth and latency of an HSL device. Figures are printed only of data that was verified.",
		.children = common_options,
	};
	json_object *rows, *top;
	int bad = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &args);
	need_live_machine("bench");
	devices_choose(&args.words);
	if (!nr_devices)
		fail("no HSL device");
	contexts = calloc(nr_devices, sizeof(*contexts));
	crc32c_init();
	rows = args.matrix ? all_pairs() : one_way();
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		bad |= *get_text(json_object_array_get_idx(rows, i), "error") != 0;
	if (options.json) {
		top = json_object_new_object();
		put(top, "results", rows);
		json_show(top);
	} else {
		if (args.matrix)
			show_matrix(rows);
		else
			table_show(columns, rows);
		for (size_t i = 0; i < json_object_array_length(rows); i++)
			show_histogram(json_object_array_get_idx(rows, i));
		json_object_put(rows);
	}
	for (int i = 0; i < nr_devices; i++)
		hsl_close(contexts[i]);
	return bad;
}
