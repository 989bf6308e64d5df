// SPDX-License-Identifier: MIT
/*
 * The queue code against a device in software that lives on the same rings:
 * no completion lost, doubled or invented, whatever the ring sizes, the batch
 * sizes and the indices, above all where 32-bit indices and 16-bit laps wrap.
 *
 * The device here is strict: it checks what a real one would answer with an
 * error, and it reuses every byte the contract lets it reuse.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "tap.h"

#define BOUND_SECONDS	30

static uint64_t rng_state;

static uint32_t rnd_from(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 16;
}

static uint32_t rnd(uint32_t n)
{
	return rnd_from(&rng_state) % n;
}

struct device {
	struct hsl_queue q;	/* the program's side */
	void *mem;
	uint32_t doorbell;

	/* the device's side; it knows addresses and sizes, and nothing else of q */
	struct hsl_q_ctl *ctl;
	struct hsl_desc *sq;
	struct hsl_cqe *cq;
	uint32_t sq_entries, cq_entries, cq_order;
	uint32_t sq_head, cq_tail;
	struct hsl_desc *held;	/* fetched, not completed, in no order */
	uint32_t nr_held;
	uint64_t rng;
	const char *broken;	/* first breach of the contract */
	atomic_int interrupt;
	atomic_bool stop;
};

static void device_init(struct device *dev, uint32_t sq_entries, uint32_t cq_entries, uint32_t first)
{
	size_t size = (hsl_rings_size(sq_entries, cq_entries) + 127) & ~127ul;
	uint32_t i;

	memset(dev, 0, sizeof(*dev));
	dev->mem = aligned_alloc(128, size);
	memset(dev->mem, 0, size);
	dev->doorbell = first;
	hsl_queue_init_rings(&dev->q, dev->mem, sq_entries, cq_entries, &dev->doorbell, first);
	dev->ctl = dev->q.ctl;
	dev->sq = dev->q.sq;
	dev->cq = dev->q.cq;
	dev->sq_entries = sq_entries;
	dev->cq_entries = cq_entries;
	dev->cq_order = __builtin_ctz(cq_entries);
	dev->sq_head = dev->cq_tail = first;
	dev->held = calloc(cq_entries, sizeof(*dev->held));
	dev->rng = rng_state | 1;
	/* What the lap before would have left behind. */
	for (i = 0; first && i < cq_entries; i++) {
		uint32_t before = first - cq_entries + i;

		dev->cq[before & (cq_entries - 1)].lap = (before >> dev->cq_order) + 1;
		dev->cq[before & (cq_entries - 1)].user_data = ~0ull;
	}
}

static void device_free(struct device *dev)
{
	free(dev->mem);
	free(dev->held);
}

static void breach(struct device *dev, const char *what)
{
	if (!dev->broken)
		dev->broken = what;
}

static void device_publish(struct device *dev)
{
	__atomic_store_n(&dev->ctl->sq_head, dev->sq_head, __ATOMIC_RELEASE);
}

/* Take up to @max descriptors; the slots are the program's again at once. */
static uint32_t device_fetch(struct device *dev, uint32_t max)
{
	uint32_t tail = __atomic_load_n(&dev->ctl->sq_tail, __ATOMIC_ACQUIRE);
	uint32_t n = 0;

	if (tail - dev->sq_head > dev->sq_entries)
		breach(dev, "tail more than the ring ahead");
	while (n < max && dev->sq_head != tail) {
		struct hsl_desc *d = &dev->sq[dev->sq_head & (dev->sq_entries - 1)];

		if (dev->nr_held == dev->cq_entries) {
			breach(dev, "more in flight than completions fit");
			break;
		}
		dev->held[dev->nr_held++] = *d;
		memset(d, 0xa5, sizeof(*d));
		dev->sq_head++;
		n++;
	}
	/* A device may say so later; a completion says it too. */
	if (n && rnd_from(&dev->rng) % 2)
		device_publish(dev);
	return n;
}

/* Complete one of the held, any one, and interrupt if asked to. */
static void device_complete(struct device *dev)
{
	typedef uint64_t __attribute__((may_alias)) word;
	uint32_t used = __atomic_load_n(&dev->ctl->cq_head, __ATOMIC_ACQUIRE);
	struct hsl_cqe *c = &dev->cq[dev->cq_tail & (dev->cq_entries - 1)];
	uint32_t i = rnd_from(&dev->rng) % dev->nr_held;
	struct hsl_desc d = dev->held[i];
	uint16_t lap = (dev->cq_tail >> dev->cq_order) + 1;

	if (dev->cq_tail - used >= dev->cq_entries) {
		breach(dev, "completion ring overflows");
		return;
	}
	dev->held[i] = dev->held[--dev->nr_held];
	c->user_data = d.user_data;
	c->result = d.operand[0] + 1;
	c->addr = 0;
	__atomic_store_n((word *)(void *)&c->bytes, d.len | (uint64_t)lap << 48, __ATOMIC_RELEASE);
	dev->cq_tail++;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&dev->ctl->cq_event, __ATOMIC_RELAXED) == dev->cq_tail - 1)
		atomic_store(&dev->interrupt, 1);
}

/*
 * Nothing to do: ask for a doorbell, look once more, then sleep until it rings.
 * Only a ring wakes the device: were it to look at the tail again by itself, a
 * doorbell forgotten would go unnoticed.
 */
static void device_sleep(struct device *dev)
{
	uint32_t rung = __atomic_load_n(&dev->doorbell, __ATOMIC_ACQUIRE);

	__atomic_store_n(&dev->ctl->db_needed, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&dev->ctl->sq_tail, __ATOMIC_ACQUIRE) == dev->sq_head)
		while (__atomic_load_n(&dev->doorbell, __ATOMIC_ACQUIRE) == rung && !atomic_load(&dev->stop))
			sched_yield();
	__atomic_store_n(&dev->ctl->db_needed, 0, __ATOMIC_RELAXED);
}

static void *device_thread(void *arg)
{
	struct device *dev = arg;

	while (!atomic_load(&dev->stop) && !dev->broken) {
		uint32_t got = device_fetch(dev, 1 + rnd_from(&dev->rng) % dev->sq_entries);

		while (dev->nr_held && rnd_from(&dev->rng) % 8)
			device_complete(dev);
		if (!got)
			device_publish(dev);
		if (!got && !dev->nr_held)
			device_sleep(dev);
		else if (!got)
			sched_yield();
	}
	return NULL;
}

/* What the program knows: which user_data are on their way. */
struct program {
	uint64_t sent, seen;
	uint8_t *pending;	/* by user_data */
	uint64_t wrong;
};

static void program_submit(struct program *p, struct hsl_queue *q, uint32_t want, uint64_t total)
{
	struct hsl_desc *d;

	while (want-- && p->sent < total && (d = hsl_get_desc(q))) {
		hsl_prep(d, HSL_OP_NOP, NULL, NULL, (uint32_t)p->sent, p->sent * 3, 0);
		hsl_desc_set_user_data(d, p->sent);
		p->pending[p->sent++] = 1;
	}
}

static void program_take(struct program *p, const struct hsl_cqe *c)
{
	uint64_t id = c->user_data;

	if (id >= p->sent || !p->pending[id] || c->result != id * 3 + 1 || c->bytes != (uint32_t)id) {
		p->wrong++;
		return;
	}
	p->pending[id] = 0;
	p->seen++;
}

static void program_reap(struct program *p, struct hsl_queue *q, uint32_t want)
{
	const struct hsl_cqe *c[64];
	int i, n;

	if (rnd(2)) {
		n = hsl_peek_batch(q, c, want < 64 ? want : 64);
		for (i = 0; i < n; i++)
			program_take(p, c[i]);
		hsl_seen(q, n);
	} else {
		while (want-- && !hsl_peek(q, &c[0])) {
			program_take(p, c[0]);
			hsl_seen(q, 1);
		}
	}
}

/* Where to begin so that something wraps within the first few hundred entries. */
static uint32_t first_index(int where, uint32_t cq_entries)
{
	switch (where) {
	case 0:
		return 0;
	case 1:	/* indices */
		return -(3 * cq_entries + rnd(cq_entries));
	default: /* laps: from 65535 through 0 to 1, indices nowhere near */
		return 65533u * cq_entries + rnd(cq_entries);
	}
}

static const char *const where_text[] = { "zero", "the end of 32-bit indices", "the end of 16-bit laps" };

/* Both sides in one thread, in an order that only the seed knows. */
static bool interleaved(uint32_t sq_entries, uint32_t cq_entries, int where)
{
	const uint64_t total = 40 * cq_entries;
	struct program p = { .pending = calloc(total, 1) };
	uint32_t first = first_index(where, cq_entries);
	struct device dev;
	uint64_t steps;
	bool good;

	device_init(&dev, sq_entries, cq_entries, first);
	for (steps = 0; p.seen < total && steps < 10000 * total && !dev.broken; steps++) {
		switch (rnd(4)) {
		case 0:
			program_submit(&p, &dev.q, rnd(sq_entries + 1), total);
			if (rnd(2))
				hsl_submit(&dev.q);
			break;
		case 1:
			device_fetch(&dev, rnd(sq_entries + 1));
			break;
		case 2:
			while (dev.nr_held && rnd(4))
				device_complete(&dev);
			break;
		case 3:
			program_reap(&p, &dev.q, rnd(cq_entries + 1));
			break;
		}
	}
	good = !dev.broken && !p.wrong && p.seen == total && !hsl_in_flight(&dev.q);
	if (!good)
		diag("sq %u cq %u first %u: %s; sent %lu seen %lu wrong %lu", sq_entries, cq_entries, first,
		     dev.broken ?: "lost or wrong", p.sent, p.seen, p.wrong);
	free(p.pending);
	device_free(&dev);
	return good;
}

static bool out_of_time(struct timespec start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - start.tv_sec > BOUND_SECONDS;
}

/*
 * Two threads. The device sleeps until the doorbell rings; with @sleep the
 * program sleeps until the interrupt comes. A wake-up lost on either side ends
 * in silence, which is a failure when the time is over.
 */
static bool threaded(uint32_t sq_entries, uint32_t cq_entries, int where, bool sleep, uint64_t total)
{
	struct program p = { .pending = calloc(total, 1) };
	uint32_t first = first_index(where, cq_entries);
	uint32_t window = 1 + rnd(cq_entries);
	struct timespec start;
	struct device dev;
	pthread_t thread;
	bool good;

	device_init(&dev, sq_entries, cq_entries, first);
	clock_gettime(CLOCK_MONOTONIC, &start);
	pthread_create(&thread, NULL, device_thread, &dev);
	while (p.seen < total && !p.wrong && !out_of_time(start)) {
		uint64_t before = p.seen;

		if (hsl_in_flight(&dev.q) < window) {
			program_submit(&p, &dev.q, 1 + rnd(sq_entries), total);
			hsl_submit(&dev.q);
		}
		program_reap(&p, &dev.q, 1 + rnd(cq_entries));
		if (p.seen != before)
			continue;
		if (!sleep) {
			sched_yield();
		} else if (hsl_in_flight(&dev.q) && !hsl_arm(&dev.q)) {
			while (!atomic_exchange(&dev.interrupt, 0) && !out_of_time(start))
				sched_yield();
		}
	}
	atomic_store(&dev.stop, true);
	pthread_join(thread, NULL);
	good = !dev.broken && !p.wrong && p.seen == total && dev.cq_tail == dev.q.cq_head;
	if (!good)
		diag("sq %u cq %u first %u: %s; sent %lu seen %lu wrong %lu", sq_entries, cq_entries, first,
		     dev.broken ?: "lost or wrong", p.sent, p.seen, p.wrong);
	free(p.pending);
	device_free(&dev);
	return good;
}

static void test_full(void)
{
	const struct hsl_cqe *c;
	struct device dev;
	uint32_t i, n;

	device_init(&dev, 4, 8, 0);
	for (n = 0; hsl_get_desc(&dev.q); n++)
		;
	ok(n == 4 && !hsl_sq_space(&dev.q), "a full submission ring says so");
	for (i = 0; i < n; i++)
		hsl_prep_nop(&dev.q.sq[i]);
	ok(hsl_submit(&dev.q) == 4 && hsl_submit(&dev.q) == 0, "submit counts descriptors, once");

	device_fetch(&dev, 4);
	device_publish(&dev);
	ok(hsl_sq_space(&dev.q) == 4, "fetched slots are free again");
	for (n = 0; hsl_get_desc(&dev.q); n++)
		hsl_prep_nop(&dev.q.sq[n]);
	hsl_submit(&dev.q);
	device_fetch(&dev, 4);
	device_publish(&dev);
	ok(n == 4 && !hsl_get_desc(&dev.q) && !hsl_sq_space(&dev.q) && hsl_in_flight(&dev.q) == 8,
	   "no more in flight than completions fit, though slots are free");

	while (dev.nr_held)
		device_complete(&dev);
	ok(!hsl_get_desc(&dev.q), "a completion not seen still holds its place");
	ok(!hsl_peek(&dev.q, &c), "peek finds it");
	hsl_seen(&dev.q, 1);
	ok(hsl_get_desc(&dev.q) && !hsl_get_desc(&dev.q), "seen gives one place back");
	ok(!dev.broken, "the device has nothing to complain about");
	device_free(&dev);
}

/* The device is late with its word, not with the completions. */
static void test_late_head(void)
{
	struct device dev;
	int n;

	device_init(&dev, 4, 8, 0xfffffffe);
	for (n = 0; hsl_get_desc(&dev.q); n++)
		;
	hsl_submit(&dev.q);
	device_fetch(&dev, 4);
	__atomic_store_n(&dev.ctl->sq_head, 0xfffffffe, __ATOMIC_RELEASE);
	device_complete(&dev);
	hsl_seen(&dev.q, 1);
	ok(n == 4 && hsl_sq_space(&dev.q) == 1 && hsl_get_desc(&dev.q) && !hsl_get_desc(&dev.q),
	   "a completion frees a slot whatever sq_head says");
	device_free(&dev);
}

static void test_doorbell(void)
{
	struct device dev;

	device_init(&dev, 8, 8, 0);
	hsl_prep_nop(hsl_get_desc(&dev.q));
	hsl_submit(&dev.q);
	ok(dev.doorbell == 0 && dev.ctl->sq_tail == 1, "no doorbell for a device that is awake");
	dev.ctl->db_needed = 1;
	hsl_submit(&dev.q);
	ok(dev.doorbell == 0, "no doorbell with nothing to submit");
	hsl_prep_nop(hsl_get_desc(&dev.q));
	hsl_submit(&dev.q);
	ok(dev.doorbell == 2, "a sleeping device gets the tail");
	device_free(&dev);
}

static void test_arm(void)
{
	struct device dev;

	device_init(&dev, 8, 8, 0xfffffffe);
	hsl_prep_nop(hsl_get_desc(&dev.q));
	hsl_prep_nop(hsl_get_desc(&dev.q));
	hsl_submit(&dev.q);
	device_fetch(&dev, 8);
	ok(hsl_arm(&dev.q) == 0, "armed while nothing is there");
	device_complete(&dev);
	ok(atomic_exchange(&dev.interrupt, 0) && hsl_arm(&dev.q) == 1, "interrupt; armed again: already there");
	hsl_seen(&dev.q, 1);
	ok(hsl_arm(&dev.q) == 0 && dev.ctl->cq_event == 0xffffffff, "armed for the next");
	device_complete(&dev);
	ok(atomic_exchange(&dev.interrupt, 0), "interrupt at the end of the indices");
	device_free(&dev);
}

/* A comparison of 100 bytes whose completion is there already */
static int compare(uint64_t result, size_t *differs)
{
	struct hsl_ctx ctx = { .max_xfer = 4096 };
	struct queue p = { .ctx = &ctx, .spin = 1 };
	struct device dev;
	int ret;

	device_init(&dev, 8, 8, 0);
	p.q = dev.q;
	dev.cq[0].result = result;
	__atomic_store_n(&dev.cq[0].lap, 1, __ATOMIC_RELEASE);
	ret = hsl_compare(&p.q, &p, &p, 100, differs);
	device_free(&dev);
	return ret;
}

static void test_results(void)
{
	size_t at = 7;

	ok(compare(101, &at) == -EIO && compare(~0ull, &at) == -EIO && at == 7,
	   "what differs behind the end is an error of the device");
	ok(!compare(99, &at) && at == 99 && !compare(100, &at) && at == 100,
	   "what differs within, or not at all, is none");
}

/* What a forked child sees: MADV_WIPEONFORK makes the handle zeros. */
static void test_wiped(void)
{
	static const struct queue zero;
	const struct hsl_cqe *c[2];
	struct queue p = zero;
	struct hsl_queue *q = &p.q;
	struct hsl_queue_state state;
	size_t at;
	uint32_t crc = 0;

	ok(!hsl_get_desc(q) && !hsl_sq_space(q) && hsl_submit(q) == -EPERM, "wiped queue: nothing to submit with");
	ok(hsl_peek(q, c) == -EPERM && hsl_peek_batch(q, c, 2) == -EPERM && hsl_arm(q) == -EPERM &&
	   hsl_wait(q, c, -1) == -EPERM, "wiped queue: nothing to wait for");
	ok(!hsl_cqe_at(q, 0) && !hsl_sq_refresh(q) && !hsl_in_flight(q), "wiped queue: nothing there to look at");
	hsl_seen(q, 1);
	ok(hsl_queue_state(q, &state) == -EPERM && hsl_queue_eventfd(q, HSL_EVENTFD_ERROR) == -EPERM &&
	   hsl_queue_id(q) == -EPERM && hsl_queue_destroy(q) == -EPERM, "wiped queue: no queue calls");
	ok(hsl_copy(q, &p, c, 1) == -EPERM && hsl_fill(q, &p, 0, 1) == -EPERM &&
	   hsl_compare(q, &p, c, 1, &at) == -EPERM && hsl_crc32c(q, &p, 1, &crc) == -EPERM,
	   "wiped queue: no synchronous calls");
	ok(!memcmp(&p, &zero, sizeof(p)), "wiped queue: untouched by all that");
}

static void test_null(void)
{
	struct queue p = { .q.sq_entries = 2 };

	hsl_close(NULL);
	ok(!hsl_queue_destroy(NULL), "nothing to close, nothing to destroy");
	ok(!hsl_compare(&p.q, &p, &p, 0, NULL), "compare without a place for the offset");
}

/* As the programs of an older and a newer header call; no device is needed to say no. */
static void test_opts(void)
{
	struct {
		struct hsl_open_opts known;
		uint64_t tail;
	} open_opts = { .known.size = sizeof(open_opts.known) };
	struct {
		struct hsl_queue_opts known;
		uint64_t tail;
	} queue_opts = { .known.size = sizeof(queue_opts.known) };
	struct hsl_ctx none = { .fd = -1, .max_ring_entries = 64 }, *ctx;
	struct hsl_queue *q;

#define OPEN()	hsl_open("/dev/null", &open_opts.known, &ctx)
#define CREATE() hsl_queue_create(&none, &queue_opts.known, &q)
	ok(OPEN() == -ENOTTY && CREATE() == -EBADF, "options of this version");
	open_opts.known.size = sizeof(open_opts);
	queue_opts.known.size = sizeof(queue_opts);
	ok(OPEN() == -ENOTTY && CREATE() == -EBADF, "a longer structure with nothing in its tail");
	open_opts.tail = queue_opts.tail = 1ull << 56;
	ok(OPEN() == -E2BIG && CREATE() == -E2BIG, "a longer structure with something in its tail");
	open_opts.known.size = queue_opts.known.size = ~0u;
	ok(OPEN() == -E2BIG && CREATE() == -E2BIG, "a size that cannot be");
	open_opts.known.size = HSL_OPEN_OPTS_MIN - 1;
	queue_opts.known.size = HSL_QUEUE_OPTS_MIN - 1;
	ok(OPEN() == -EINVAL && CREATE() == -EINVAL, "a structure shorter than the first version");
	open_opts.known.size = queue_opts.known.size = 0;
	ok(OPEN() == -EINVAL && CREATE() == -EINVAL, "a size that was not set");
	open_opts.known = (struct hsl_open_opts){ .size = HSL_OPEN_OPTS_MIN, .flags = 1u << 31 };
	queue_opts.known = (struct hsl_queue_opts){ .size = HSL_QUEUE_OPTS_MIN, .flags = 1u << 31 };
	ok(OPEN() == -EOPNOTSUPP && CREATE() == -EOPNOTSUPP, "an unknown flag");
#undef OPEN
#undef CREATE
}

static void test_prep(void)
{
	struct hsl_desc d, want = { .op = HSL_OP_COPY, .len = 7, .dst = 0x1000, .src = 0x2000 };
	const struct hsl_cqe c = { .addr = 0x0123456789abcdef };
	uint64_t *old = (uint64_t *)(uintptr_t)0x1000;

	memset(&d, 0xff, sizeof(d));
	hsl_prep_copy(&d, (void *)0x1000, (void *)0x2000, 7);
	ok(!memcmp(&d, &want, sizeof(d)), "prep writes every byte of a descriptor");
	hsl_desc_set_user_data(&d, 9);
	hsl_desc_set_flags(&d, HSL_DESC_F_FENCE);
	ok(d.user_data == 9 && d.flags == HSL_DESC_F_FENCE, "user data and flags");
	ok(hsl_cqe_model_ns(&c) == 0x89abcdef && hsl_cqe_real_ns(&c) == 0x01234567, "durations in a completion");
	hsl_prep_atomic_cas(&d, old, 8, 1, 2);
	ok(d.op == HSL_OP_ATOMIC_CAS && d.dst == 0x1000 && d.len == 8 && d.operand[0] == 1 && d.operand[1] == 2,
	   "compare-and-swap: expected, then desired");
	hsl_prep_compare(&d, (void *)0x1000, (void *)0x2000, 5);
	ok(d.op == HSL_OP_COMPARE && d.src == 0x1000 && d.dst == 0x2000, "compare: first is src, second dst");
}

static void test_text(void)
{
	unsigned int i;
	bool all = true;

	for (i = 0; i < HSL_ST_NR; i++)
		all &= hsl_strstatus(i) && !strstr(hsl_strstatus(i), "unknown");
	for (i = 0; i <= HSL_QERR_PEER; i++)
		all &= hsl_strqerr(i) && !strstr(hsl_strqerr(i), "unknown");
	for (i = 0; i < HSL_OP_NR; i++)
		all &= hsl_strop(i) && !strstr(hsl_strop(i), "unknown");
	ok(all, "every status, queue error and operation has a name");
	ok(strstr(hsl_strstatus(200), "unknown") && strstr(hsl_strqerr(200), "unknown") &&
	   strstr(hsl_strop(200), "unknown"), "numbers from a newer device do too");
	ok(!strcmp(hsl_strerror(-ENOENT), hsl_strerror(ENOENT)) && strstr(hsl_strerror(-ENOENT), "module"),
	   "errno in words, either sign");
	all = hsl_status_errno(HSL_ST_OK) == 0;
	for (i = 1; i < HSL_ST_NR; i++) {
		int err = hsl_status_errno(i);

		/* These are about the process and its files. */
		all &= err < 0 && err != -EACCES && err != -EPERM && strcmp(hsl_strerror(err), strerror(-err));
	}
	ok(all && hsl_status_errno(HSL_ST_PAGE_FAULT) == -EFAULT, "status to errno, and that in words of our own");
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 2, 4, 8, 16, 32, 64 };
	unsigned int i, j;
	int where;

	rng_state = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) << 16 ^ getpid();
	rng_state |= 1;
	plan(1 + 3 + 3 + 8 + 3 + 4 + 2 + 6 + 2 + 7 + 5 + 4);
	diag("seed %#lx", rng_state);

	test_full();
	test_late_head();
	test_doorbell();
	test_arm();
	test_results();
	test_wiped();
	test_null();
	test_opts();
	test_prep();
	test_text();

	for (where = 0; where < 3; where++) {
		bool good = true;

		for (i = 0; i < 6; i++)
			for (j = i; j < 6; j++)
				good &= interleaved(sizes[i], sizes[j], where);
		ok(good, "all sizes, one thread, from %s", where_text[where]);
	}
	for (where = 0; where < 3; where++) {
		bool good = true;

		for (i = 0; i < 6; i++)
			for (j = i; j < 6; j += 2)
				good &= threaded(sizes[i], sizes[j], where, (i + j) / 2 & 1, 20000);
		ok(good, "all sizes, two threads with doorbells and interrupts, from %s", where_text[where]);
	}
	return tap_done();
}
