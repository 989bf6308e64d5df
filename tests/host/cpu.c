// SPDX-License-Identifier: MIT
/*
 * hsl_open("cpu") against what <linux/hsl_hw.h> says of a device: each operation with
 * random arguments on memory with holes, compared byte by byte with a model; the rings,
 * errors, waits and signals around it; what such a device refuses.
 *
 *     cpu [DEVICE]
 *
 * With the path of a device, in a guest: the part that is true of any, so that the model is
 * that of the device too (HSL_SVA=iommu|hmm). HSL_SEED=0x… repeats a run.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"
#include "tap.h"

#define PAGE		4096u
#define PAGES		48
#define ARENA		(PAGES * PAGE)
#define BOUND_NS	60000000000LL	/* longer than anything takes; a wait that long has failed */
#define ARRAY(a)	(sizeof(a) / sizeof((a)[0]))

static uint64_t rng;

static uint64_t rnd64(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint32_t rnd(uint32_t below)
{
	return (uint32_t)((rnd64() >> 11) % below);
}

/* Whatever a test expects; the first thing that was not so says where. */
static bool good;

#define EXPECT(cond) do {						\
	if (!(cond)) {							\
		if (good)						\
			diag("%s:%d: %s", __func__, __LINE__, #cond);	\
		good = false;						\
	}								\
} while (0)

static const char *device = "cpu";
static bool on_cpu = true;
static struct hsl_ctx *ctx;
static struct hsl_queue *queue;

static struct hsl_queue *new_queue(uint32_t sq_entries, uint32_t cq_entries)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = sq_entries, .cq_entries = cq_entries };
	struct hsl_queue *q = NULL;

	EXPECT(!hsl_queue_create(ctx, &opts, &q));
	return q;
}

/* What was taken is submitted, and one completion comes back as a copy. */
static struct hsl_cqe finish(struct hsl_queue *q)
{
	struct hsl_cqe out = { .status = HSL_ST_NR };
	const struct hsl_cqe *c;

	hsl_submit(q);
	if (!hsl_wait(q, &c, BOUND_NS)) {
		out = *c;
		hsl_seen(q, 1);
	}
	return out;
}

static struct hsl_cqe run(struct hsl_queue *q, const struct hsl_desc *what)
{
	*hsl_get_desc(q) = *what;
	return finish(q);
}

static bool nop_runs(struct hsl_queue *q)
{
	hsl_prep_nop(hsl_get_desc(q));
	return finish(q).status == HSL_ST_OK;
}

static bool comes_true(bool (*is)(void *), void *arg)
{
	int n;

	for (n = 0; n < 60000 && !is(arg); n++)
		usleep(1000);
	return is(arg);
}

/*
 * The model: memory as the device should leave it, and which pages it may use.
 */

static unsigned char *mem, *ref;
static int prot[PAGES];

static bool readable_at(uint64_t at)
{
	return prot[at / PAGE] != PROT_NONE;
}

static bool writable_at(uint64_t at)
{
	return prot[at / PAGE] & PROT_WRITE;
}

/* Any bytes, also those that the program may not touch */
static void arena_fill(void)
{
	uint32_t i;

	mprotect(mem, ARENA, PROT_READ | PROT_WRITE);
	for (i = 0; i < ARENA; i += 8) {
		uint64_t r = rnd64();

		memcpy(ref + i, &r, 8);
	}
	memcpy(mem, ref, ARENA);
}

static void arena_protect(bool holes)
{
	static const int kinds[] = { PROT_NONE, PROT_READ };
	uint32_t i;

	for (i = 0; i < PAGES; i++) {
		prot[i] = holes && !rnd(5) ? kinds[rnd(2)] : PROT_READ | PROT_WRITE;
		mprotect(mem + i * PAGE, PAGE, prot[i]);
	}
}

static bool arena_same(void)
{
	mprotect(mem, ARENA, PROT_READ | PROT_WRITE);
	return !memcmp(mem, ref, ARENA);
}

/* Bit by bit: as slow and as sure as can be. */
static uint32_t crc32c_ref(uint32_t crc, const unsigned char *p, size_t len)
{
	int bit;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static struct hsl_cqe fault_at(uint64_t at, uint32_t bytes, uint8_t access, uint64_t result)
{
	return (struct hsl_cqe){
		.status = HSL_ST_PAGE_FAULT, .addr = (uintptr_t)mem + at, .bytes = bytes, .access = access,
		.result = result,
	};
}

/* HW 4.3: from the end, and what a page of either side lacks comes not at all. */
static struct hsl_cqe model_backward(uint64_t dst, uint64_t src, uint32_t len)
{
	uint32_t left = len;

	while (left) {
		uint32_t a = (src + left - 1) % PAGE + 1, b = (dst + left - 1) % PAGE + 1;
		uint32_t n = a < b ? a : b;

		n = n < left ? n : left;
		if (!readable_at(src + left - n))
			return fault_at(src + left - n, len - left, HSL_ACCESS_BACKWARD, 0);
		if (!writable_at(dst + left - n))
			return fault_at(dst + left - n, len - left, HSL_ACCESS_BACKWARD | HSL_ACCESS_WRITE, 0);
		left -= n;
		memmove(ref + dst + left, ref + src + left, n);
	}
	return (struct hsl_cqe){ .bytes = len };
}

static struct hsl_cqe model_copy(uint64_t dst, uint64_t src, uint32_t len)
{
	uint32_t i;

	if (dst > src && dst - src < len)
		return model_backward(dst, src, len);
	for (i = 0; i < len; i++) {
		if (!readable_at(src + i))
			return fault_at(src + i, i, 0, 0);
		if (!writable_at(dst + i))
			return fault_at(dst + i, i, HSL_ACCESS_WRITE, 0);
		ref[dst + i] = ref[src + i];
	}
	return (struct hsl_cqe){ .bytes = len };
}

static struct hsl_cqe model_fill(uint64_t dst, uint64_t pattern, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++) {
		if (!writable_at(dst + i))
			return fault_at(dst + i, i, HSL_ACCESS_WRITE, 0);
		ref[dst + i] = (unsigned char)(pattern >> i % 8 * 8);
	}
	return (struct hsl_cqe){ .bytes = len };
}

static struct hsl_cqe model_compare(uint64_t src, uint64_t dst, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++) {
		if (!readable_at(src + i))
			return fault_at(src + i, i, 0, i);
		if (!readable_at(dst + i))
			return fault_at(dst + i, i, 0, i);
		if (ref[src + i] != ref[dst + i])
			break;
	}
	return (struct hsl_cqe){ .bytes = i, .result = i };
}

static struct hsl_cqe model_crc(uint64_t src, uint32_t seed, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len && readable_at(src + i); i++)
		;
	seed = crc32c_ref(seed, ref + src, i);
	return i < len ? fault_at(src + i, i, 0, seed) : (struct hsl_cqe){ .bytes = len, .result = seed };
}

static struct hsl_cqe model_atomic(const struct hsl_desc *d)
{
	uint64_t at = d->dst - (uintptr_t)mem, old = 0, new = 0, mask = d->len == 8 ? ~0ull : 0xffffffff;

	if (!writable_at(at))
		return fault_at(at, 0, HSL_ACCESS_WRITE, 0);
	memcpy(&old, ref + at, d->len);
	switch (d->op) {
	case HSL_OP_ATOMIC_ADD:
		new = old + d->operand[0];
		break;
	case HSL_OP_ATOMIC_SWAP:
		new = d->operand[0];
		break;
	default:
		new = old == (d->operand[0] & mask) ? d->operand[1] : old;
		break;
	}
	memcpy(ref + at, &new, d->len);
	return (struct hsl_cqe){ .bytes = d->len, .result = old };
}

/* An operation that could be valid, and in *@want what becomes of it */
static struct hsl_desc any_operation(struct hsl_cqe *want)
{
	/* Sizes of all magnitudes are equally likely. */
	uint32_t len = rnd((ARENA >> rnd(18)) + 1);
	uint64_t dst = rnd(ARENA - len + 1), src = rnd(ARENA - len + 1), v = rnd64(), w = rnd64();
	uint64_t base = (uintptr_t)mem;
	struct hsl_desc d;

	if (rnd(2) && len) {	/* overlaps often, and by a little */
		src = dst + rnd(len) / (1 + rnd(64));
		if (src > ARENA - len)
			src = dst - (src - dst);
		if (src > ARENA - len)
			src = dst;
	}
	switch (rnd(7)) {
	case 0:
		hsl_prep_copy(&d, mem + dst, mem + src, len);
		*want = model_copy(dst, src, len);
		break;
	case 1:
		v = rnd(4) ? v : 0x0101010101010101 * (v & 0xff);
		hsl_prep_fill(&d, mem + dst, v, len);
		*want = model_fill(dst, v, len);
		break;
	case 2:
		hsl_prep_compare(&d, mem + src, mem + dst, len);
		*want = model_compare(src, dst, len);
		break;
	case 3:
		hsl_prep_crc32c(&d, mem + src, len, (uint32_t)v);
		*want = model_crc(src, (uint32_t)v, len);
		break;
	default:
		len = rnd(2) ? 4 : 8;
		dst = rnd(ARENA / len) * len;
		if (rnd(2)) {
			uint64_t old = 0;

			memcpy(&old, ref + dst, len);
			hsl_prep_atomic_cas(&d, (void *)(base + dst), len, rnd(2) ? old : v, w);
		} else if (rnd(2)) {
			hsl_prep_atomic_add(&d, (void *)(base + dst), len, v);
		} else {
			hsl_prep_atomic_swap(&d, (void *)(base + dst), len, v);
		}
		*want = model_atomic(&d);
		break;
	}
	d.user_data = want->user_data = rnd64();
	return d;
}

static bool same_completion(const struct hsl_cqe *got, const struct hsl_cqe *want)
{
	return got->user_data == want->user_data && got->result == want->result && got->addr == want->addr &&
	       got->bytes == want->bytes && got->status == want->status && got->access == want->access;
}

static void operations(bool holes, int rounds)
{
	uint32_t faults = 0;
	int i;

	arena_fill();
	for (i = 0; i < rounds && good; i++) {
		struct hsl_cqe want = { 0 }, got;
		struct hsl_desc d;

		arena_protect(holes);
		d = any_operation(&want);
		got = run(queue, &d);
		faults += got.status == HSL_ST_PAGE_FAULT;
		EXPECT(same_completion(&got, &want));
		EXPECT(arena_same());
		if (!good) {
			diag("round %d: %s dst %#lx src %#lx len %u of %p:", i, hsl_strop(d.op), (unsigned long)d.dst,
			     (unsigned long)d.src, d.len, mem);
			diag("status %u bytes %u addr %#lx access %u result %#lx, not %u %u %#lx %u %#lx", got.status,
			     got.bytes, (unsigned long)got.addr, got.access, (unsigned long)got.result,
			     want.status, want.bytes, (unsigned long)want.addr, want.access,
			     (unsigned long)want.result);
		}
	}
	EXPECT(holes ? faults > (uint32_t)rounds / 20 : !faults);
}

static void operations_whole(void)
{
	operations(false, 1500);
}

static void operations_holes(void)
{
	operations(true, 3000);
}

/* Addresses that are nobody's, and the end of a file */
static void bad_pointers(void)
{
	static const uint64_t nowhere[] = { 0, 8, 0x7ffffffff000, 1ull << 48, 0xffff800000000000, 0xfffffffffffff000 };
	int fd = memfd_create("short", MFD_CLOEXEC);
	unsigned char *file;
	struct hsl_desc d;
	struct hsl_cqe c;
	uint32_t i;

	for (i = 0; i < ARRAY(nowhere); i++) {
		hsl_prep(&d, HSL_OP_COPY, mem, (void *)nowhere[i], 64, 0, 0);
		c = run(queue, &d);
		EXPECT(c.status == HSL_ST_PAGE_FAULT && c.addr == nowhere[i] && !c.access && !c.bytes);
		hsl_prep(&d, HSL_OP_FILL, (void *)nowhere[i], NULL, 64, 0, 0);
		c = run(queue, &d);
		EXPECT(c.status == HSL_ST_PAGE_FAULT && c.addr == nowhere[i] && c.access == HSL_ACCESS_WRITE);
		hsl_prep(&d, HSL_OP_ATOMIC_ADD, (void *)nowhere[i], NULL, 8, 1, 0);
		c = run(queue, &d);
		EXPECT(c.status == HSL_ST_PAGE_FAULT && c.addr == nowhere[i] && c.access == HSL_ACCESS_WRITE);
	}
	EXPECT(hsl_copy(queue, NULL, mem, 100) == -EFAULT);

	EXPECT(!ftruncate(fd, PAGE + 1));
	file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	hsl_prep_fill(&d, file, 0x2222222222222222, 4 * PAGE);
	c = run(queue, &d);
	EXPECT(c.status == HSL_ST_PAGE_FAULT && c.bytes == 2 * PAGE && c.addr == (uintptr_t)file + 2 * PAGE);
	EXPECT(file[0] == 0x22 && file[PAGE] == 0x22);
	hsl_prep_atomic_add(&d, file + 3 * PAGE, 4, 1);
	c = run(queue, &d);
	EXPECT(c.status == HSL_ST_PAGE_FAULT && c.addr == (uintptr_t)file + 3 * PAGE);
	munmap(file, 4 * PAGE);
	close(fd);
}

/* Each completes INVALID, touches nothing, and the operation after it runs. */
static void invalid(void)
{
	const uint64_t at = (uintptr_t)mem;
	struct hsl_query info = { .size = sizeof(info) };
	uint32_t i;

	EXPECT(!hsl_query(ctx, &info));
	struct hsl_desc bad[] = {
		{ .op = HSL_OP_NR }, { .op = 255 }, { .op = HSL_OP_NOP, .flags = 0x80 },
		{ .op = HSL_OP_NOP, .reserved0 = 1 }, { .op = HSL_OP_NOP, .reserved1 = { 1, 0 } },
		{ .op = HSL_OP_COPY, .len = 8, .dst = at, .src = at + 64, .reserved1 = { 0, 1ull << 63 } },
		{ .op = HSL_OP_COPY, .len = info.max_xfer + 1, .dst = at, .src = at },
		{ .op = HSL_OP_FILL, .len = 64, .dst = -32ull },
		{ .op = HSL_OP_COPY, .len = 64, .dst = at, .src = -64ull },
		{ .op = HSL_OP_NOP, .len = 1 }, { .op = HSL_OP_FENCE, .len = 1 },
		{ .op = HSL_OP_SIGNAL, .len = 1 }, { .op = HSL_OP_SIGNAL, .operand = { 0, 1ull << 32 } },
		{ .op = HSL_OP_ATOMIC_ADD, .len = 2, .dst = at }, { .op = HSL_OP_ATOMIC_ADD, .len = 16, .dst = at },
		{ .op = HSL_OP_ATOMIC_SWAP, .len = 0, .dst = at }, { .op = HSL_OP_ATOMIC_ADD, .len = 4, .dst = at + 2 },
		{ .op = HSL_OP_ATOMIC_CAS, .len = 8, .dst = at + 4 },
	};
	arena_fill();
	for (i = 0; i < ARRAY(bad); i++) {
		struct hsl_cqe want = { .status = HSL_ST_INVALID, .user_data = i }, got;

		bad[i].user_data = i;
		got = run(queue, &bad[i]);
		EXPECT(same_completion(&got, &want));
		EXPECT(nop_runs(queue));
	}
	EXPECT(arena_same());
}

static void mask(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .ops = 1 << HSL_OP_NOP | 1 << HSL_OP_CRC32C };
	struct hsl_queue *q = NULL;
	struct hsl_cqe c;

	arena_fill();
	EXPECT(!hsl_queue_create(ctx, &opts, &q));
	hsl_prep_copy(hsl_get_desc(q), mem, mem + 64, 64);
	c = finish(q);
	EXPECT(c.status == HSL_ST_NOT_PERMITTED && !c.bytes && !c.addr);
	EXPECT(hsl_fill(q, mem, 0, 64) == -EOPNOTSUPP);
	hsl_prep_crc32c(hsl_get_desc(q), "123456789", 9, 0);
	EXPECT(finish(q).result == 0xe3069283);
	EXPECT(arena_same());
	EXPECT(!hsl_queue_destroy(q));
}

/* Many in flight, on parts that do not touch; every one completes once. */
static void in_flight(void)
{
	const struct hsl_cqe *c[64];
	uint64_t sent = 0, seen = 0, total = 20000, *counts = calloc(total, sizeof(*counts)), i;
	struct hsl_queue *q = new_queue(16, 64);
	int n;

	while (seen < total && good) {
		uint32_t want = rnd(17);
		struct hsl_desc *d;

		while (want-- && sent < total && (d = hsl_get_desc(q))) {
			hsl_prep_atomic_add(d, &counts[sent], 8, sent + 1);
			hsl_desc_set_user_data(d, sent++);
		}
		hsl_submit(q);
		if (hsl_in_flight(q))
			EXPECT(!hsl_wait(q, c, BOUND_NS));
		n = hsl_peek_batch(q, c, 1 + rnd(64));
		for (i = 0; i < (uint64_t)n; i++)
			EXPECT(c[i]->status == HSL_ST_OK && c[i]->user_data < sent && !c[i]->result);
		hsl_seen(q, (uint32_t)n);
		seen += (uint64_t)n;
	}
	for (i = 0; i < total; i++)
		EXPECT(counts[i] == i + 1);
	EXPECT(!hsl_queue_destroy(q));
	free(counts);
}

/* A flag waits for what is before it; the operation keeps back what is after it, too. */
static void fences(void)
{
	enum { BIG = 1 << 20, MARK = 60 };
	unsigned char *a = malloc(BIG), *b = malloc(BIG), out[64];
	struct hsl_queue *q = new_queue(64, 64);
	const struct hsl_cqe *c;
	struct hsl_desc *d;
	bool overtaken = false;
	uint32_t i, round;

	for (round = 0; round < 20 && good; round++) {
		uint32_t at = rnd(BIG - sizeof(out)), fence = 1 + rnd(20), last = fence + 1 + rnd(20);

		memset(a, (int)rnd(256), BIG);
		hsl_prep_copy(hsl_get_desc(q), b, a, BIG);
		d = hsl_get_desc(q);
		hsl_prep_copy(d, out, b + at, sizeof(out));
		hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
		hsl_submit(q);
		for (i = 0; i < 2; i++) {
			EXPECT(!hsl_wait(q, &c, BOUND_NS));
			hsl_seen(q, 1);
		}
		EXPECT(!memcmp(out, a, sizeof(out)));

		for (i = 0; i <= last; i++) {
			d = hsl_get_desc(q);
			if (i == fence)
				hsl_prep_fence(d);
			else
				hsl_prep_copy(d, b, a, rnd(2) ? 8 : rnd(BIG));
			hsl_desc_set_user_data(d, i);
		}
		hsl_submit(q);
		for (i = 0; i <= last; i++) {
			EXPECT(!hsl_wait(q, &c, BOUND_NS));
			EXPECT((i < fence) == (c->user_data < fence) && (i == fence) == (c->user_data == fence));
			overtaken |= c->user_data != i;
			hsl_seen(q, 1);
		}
	}
	/* The short ones do not wait for the long ones: a fence that is missing shows. */
	EXPECT(overtaken);
	EXPECT(!hsl_queue_destroy(q));
	free(a);
	free(b);
}

/* HW 7.6, of memory of the host */
static void modelled_time(void)
{
	static const uint32_t len[] = { 0, 1, 4096, 65536, 65537, 1000000 };
	unsigned char *a = malloc(1000000), *b = malloc(1000000);
	struct hsl_desc d;
	struct hsl_cqe c;
	uint32_t i;

	memset(a, 1, 1000000);
	memset(b, 1, 1000000);
	for (i = 0; i < ARRAY(len); i++) {
		uint64_t stream = len[i] * 1000000ull / HSL_MODEL_HOST_RATE;

		hsl_prep_copy(&d, b, a, len[i]);
		hsl_desc_set_flags(&d, HSL_DESC_F_TIMED);
		c = run(queue, &d);
		EXPECT(c.status == HSL_ST_OK &&
		       hsl_cqe_model_ns(&c) ==
			       (len[i] ? (2 * HSL_MODEL_HOST_LATENCY * 1000ull + stream + 999) / 1000 : 0));
		hsl_prep_fill(&d, b, 0x0101010101010101, len[i]);
		hsl_desc_set_flags(&d, HSL_DESC_F_TIMED);
		c = run(queue, &d);
		EXPECT(c.status == HSL_ST_OK &&
		       hsl_cqe_model_ns(&c) == (len[i] ? (HSL_MODEL_HOST_LATENCY * 1000ull + stream + 999) / 1000 : 0));
	}
	hsl_prep_fill(&d, NULL, 0, 64);
	hsl_desc_set_flags(&d, HSL_DESC_F_TIMED);
	c = run(queue, &d);
	EXPECT(c.status == HSL_ST_PAGE_FAULT && !c.addr);
	free(a);
	free(b);
}

struct adder {
	uint64_t *word;
	uint32_t bytes;
	struct hsl_queue *q;	/* NULL: the CPU's own instruction, until it is told to stop */
	bool stop;
	uint64_t times;
	uint32_t bad;
};

#define ADDS	20000

static void *adds(void *arg)
{
	struct adder *a = arg;
	uint32_t sent, seen;

	while (!a->q && !__atomic_load_n(&a->stop, __ATOMIC_RELAXED)) {
		if (a->bytes == 8)
			__atomic_fetch_add(a->word, 3, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add((uint32_t *)(void *)a->word, 3, __ATOMIC_RELAXED);
		a->times++;
	}
	for (sent = seen = 0; a->q && seen < ADDS; seen++) {
		const struct hsl_cqe *c;
		struct hsl_desc *d;

		while (sent < ADDS && (d = hsl_get_desc(a->q))) {
			hsl_prep_atomic_add(d, a->word, a->bytes, 5);
			sent++;
		}
		hsl_submit(a->q);
		if (hsl_wait(a->q, &c, BOUND_NS)) {
			a->bad++;
			break;
		}
		a->bad += c->status != HSL_ST_OK;
		hsl_seen(a->q, 1);
	}
	return NULL;
}

/* Two threads of the program and two queues on one word: nothing is lost. */
static void atomics_are_atomic(void)
{
	uint32_t bytes, i;

	for (bytes = 4; bytes <= 8; bytes += 4) {
		uint64_t word = 0, sum = 2 * ADDS * 5;
		struct adder a[4];
		pthread_t t[4];

		for (i = 0; i < 4; i++) {
			a[i] = (struct adder){ .word = &word, .bytes = bytes, .q = i < 2 ? NULL : new_queue(64, 64) };
			EXPECT(!pthread_create(&t[i], NULL, adds, &a[i]));
		}
		/* The queues first: the others go on as long as they do. */
		for (i = 4; i--;) {
			__atomic_store_n(&a[i].stop, true, __ATOMIC_RELAXED);
			pthread_join(t[i], NULL);
			EXPECT(!a[i].bad);
			sum += a[i].times * 3;
			if (a[i].q)
				EXPECT(!hsl_queue_destroy(a[i].q));
		}
		EXPECT(word == (bytes == 8 ? sum : (uint32_t)sum));
	}
}

/* More than a descriptor may name, by the synchronous calls */
static void synchronous(void)
{
	size_t len = (1ul << 30) + 4099, differs = 0;
	unsigned char *big = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);
	uint32_t crc = 0;

	/* Nothing but zeros of one page, so that it costs no memory: reading is enough to cut it. */
	EXPECT(big != MAP_FAILED);
	EXPECT(!hsl_compare(queue, big, big, len, &differs) && differs == len);
	munmap(big, len);
	EXPECT(!hsl_crc32c(queue, "123456789", 9, &crc) && crc == 0xe3069283);
	arena_fill();
	EXPECT(!hsl_copy(queue, mem + 100, mem, 100000));
	memmove(ref + 100, ref, 100000);
	EXPECT(arena_same());
	hsl_prep_nop(hsl_get_desc(queue));
	EXPECT(hsl_copy(queue, mem, mem, 1) == -EBUSY);
	EXPECT(finish(queue).status == HSL_ST_OK);
}

/*
 * Waiting
 */

static void waits(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .spin = 1 };
	const struct hsl_cqe *c;
	struct hsl_queue *q = NULL;
	int i;

	EXPECT(!hsl_queue_create(ctx, &opts, &q));
	EXPECT(hsl_wait(q, &c, BOUND_NS) == -ENODATA);
	EXPECT(hsl_peek(q, &c) == -EAGAIN);
	/* Held: nobody will signal it, until it is submitted with another. */
	hsl_prep_nop(hsl_get_desc(q));
	EXPECT(hsl_hold(q) == 1 && hsl_in_flight(q) == 1);
	EXPECT(hsl_wait(q, &c, 1000000) == -ETIMEDOUT);
	hsl_prep_nop(hsl_get_desc(q));
	hsl_submit(q);
	for (i = 0; i < 2; i++) {
		EXPECT(!hsl_wait(q, &c, BOUND_NS));
		hsl_seen(q, 1);
	}
	/* So far in the future that it cannot be told */
	hsl_prep_fill(hsl_get_desc(q), mem, 0, ARENA);
	hsl_submit(q);
	EXPECT(!hsl_wait(q, &c, INT64_MAX));
	hsl_seen(q, 1);
	/* Each of these goes through the eventfd, or is there before. */
	for (i = 0; i < 2000 && good; i++)
		EXPECT(nop_runs(q));
	EXPECT(!hsl_queue_destroy(q));
}

/* A call that is done on return does not return before, though there is nothing to sleep on. */
static void waits_without_files(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .spin = 1 };
	struct rlimit before, none;
	size_t len = 64 << 20, i;
	struct hsl_queue *q = NULL;
	unsigned char *big = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd;

	EXPECT(big != MAP_FAILED && !hsl_queue_create(ctx, &opts, &q));
	fd = dup(0);
	close(fd);
	EXPECT(fd >= 0 && !getrlimit(RLIMIT_NOFILE, &before));
	none = before;
	none.rlim_cur = (rlim_t)fd;
	EXPECT(!setrlimit(RLIMIT_NOFILE, &none) && dup(0) < 0);
	EXPECT(!hsl_fill(q, big, 0x4242424242424242, len));
	EXPECT(!hsl_in_flight(q));
	for (i = 0; i < len; i += PAGE)
		EXPECT(big[i] == 0x42);
	EXPECT(!setrlimit(RLIMIT_NOFILE, &before));
	EXPECT(nop_runs(q) && !hsl_fill(q, big, 0, len));
	EXPECT(!hsl_queue_destroy(q));
	munmap(big, len);
}

/*
 * The thread goes to sleep whenever it likes, between any two submissions. A wake-up that
 * is lost leaves the last one waiting.
 */
static void doorbells(void)
{
	uint64_t counters[HSL_CNT_NR];
	const struct hsl_cqe *c;
	int i, looks;

	for (i = 0; i < 20000 && good; i++) {
		volatile uint32_t pause = rnd(16) ? rnd(300) : rnd(20000);

		while (pause)
			pause--;
		hsl_prep_nop(hsl_get_desc(queue));
		hsl_submit(queue);
		/* Only looking: hsl_wait() looks after the queue's state once in a while. */
		for (looks = 0; hsl_peek(queue, &c) && looks < 1000000; looks++)
			if (looks > 1000)
				usleep(10);
		EXPECT(looks < 1000000);
		hsl_seen(queue, 1);
	}
	EXPECT(hsl_counters(ctx, queue, counters, HSL_CNT_NR) == HSL_Q_CNT_NR && counters[HSL_CNT_DOORBELLS]);
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void eventfds(void)
{
	struct hsl_queue *q = new_queue(64, 64);
	int fd = hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION), i;
	const struct hsl_cqe *c;
	uint64_t signals, counters[HSL_CNT_NR];

	EXPECT(fd >= 0 && fd == hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION));
	EXPECT(hsl_queue_eventfd(q, HSL_EVENTFD_NR) == -EINVAL);
	for (i = 0; i < 100 && good; i++) {
		EXPECT(!hsl_arm(q));
		hsl_prep_nop(hsl_get_desc(q));
		hsl_submit(q);
		EXPECT(readable(fd, 60000) && read(fd, &signals, sizeof(signals)) == sizeof(signals));
		EXPECT(!hsl_peek(q, &c) && hsl_arm(q) == 1);
		hsl_seen(q, 1);
	}
	/* Who does not ask is not interrupted. */
	for (i = 0; i < 100; i++) {
		hsl_prep_nop(hsl_get_desc(q));
		hsl_submit(q);
		while (hsl_peek(q, &c))
			sched_yield();
		hsl_seen(q, 1);
	}
	EXPECT(hsl_counters(ctx, q, counters, HSL_CNT_NR) == HSL_Q_CNT_NR);
	EXPECT(counters[HSL_CNT_INTERRUPTS] == 100 && counters[HSL_CNT_OPS] == 200);
	EXPECT(!readable(fd, 0));
	EXPECT(!hsl_queue_destroy(q));
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One interrupt for eight completions, and for one after a while */
static void coalescing(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .coalesce_count = 8, .coalesce_usecs = 200000 };
	uint64_t signals, counters[HSL_CNT_NR];
	const struct hsl_cqe *c[8];
	struct hsl_queue *q = NULL;
	int fd, i, round, nr;
	double took;

	EXPECT(!hsl_queue_create(ctx, &opts, &q));
	fd = hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION);
	for (round = 0; round < 10 && good; round++) {
		nr = round == 9 ? 1 : 8;
		hsl_arm(q);
		for (i = 0; i < nr; i++)
			hsl_prep_nop(hsl_get_desc(q));
		took = seconds();
		hsl_submit(q);
		EXPECT(readable(fd, 60000) && read(fd, &signals, sizeof(signals)) == sizeof(signals));
		took = seconds() - took;
		/* Before its time it is for all of them. A guest's clock and a device's differ by a little. */
		if (nr < 8)
			EXPECT(took > 0.15);
		else if (took < 0.15)
			EXPECT(hsl_peek_batch(q, c, 8) == nr);
		while ((i = hsl_peek_batch(q, c, 8)) < nr)
			sched_yield();
		hsl_seen(q, (uint32_t)i);
	}
	/* More only if the eight took longer than the time. */
	EXPECT(hsl_counters(ctx, q, counters, HSL_CNT_NR) == HSL_Q_CNT_NR && counters[HSL_CNT_INTERRUPTS] >= 10);
	EXPECT(!hsl_queue_destroy(q));
}

/* Sum over the threads of queues: how often they slept and were woken */
static long switches(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *t;
	char path[300], line[100];
	bool ours;
	long n, sum = 0;
	FILE *f;

	while ((t = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", t->d_name);
		f = fopen(path, "r");
		ours = false;
		while (f && fgets(line, sizeof(line), f)) {
			ours |= !strcmp(line, "Name:\thsl-cpu\n");
			if (ours && (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1 ||
				     sscanf(line, "nonvoluntary_ctxt_switches: %ld", &n) == 1))
				sum += n;
		}
		if (f)
			fclose(f);
	}
	closedir(tasks);
	return sum;
}

static bool is_asleep(void *arg)
{
	struct hsl_queue *q = arg;

	return __atomic_load_n(&q->ctl->db_needed, __ATOMIC_ACQUIRE);
}

/* Who has nothing to do does not look around. */
static void idle_is_asleep(void)
{
	struct hsl_queue *q[8];
	long before;
	int i;

	for (i = 0; i < 8; i++) {
		q[i] = new_queue(8, 8);
		EXPECT(nop_runs(q[i]));
	}
	for (i = 0; i < 8; i++)
		EXPECT(comes_true(is_asleep, q[i]));
	usleep(50000);
	before = switches();
	usleep(200000);
	EXPECT(before > 0 && switches() == before);
	for (i = 0; i < 8; i++) {
		EXPECT(nop_runs(q[i]));
		EXPECT(!hsl_queue_destroy(q[i]));
	}
}

/*
 * What goes wrong
 */

static bool is_failed(void *arg)
{
	struct hsl_queue_state s = { .size = sizeof(s) };

	return !hsl_queue_state(arg, &s) && s.state == HSL_Q_FAILED;
}

/* It failed with @error, everybody who waits is told, also who begins only now, and a new queue works. */
static void expect_failed(struct hsl_queue *q, uint32_t error)
{
	struct hsl_queue_state s = { .size = sizeof(s) };
	const struct hsl_cqe *c;
	struct hsl_event ev;
	bool recorded = false;

	EXPECT(comes_true(is_failed, q));
	EXPECT(!hsl_queue_state(q, &s) && s.error == error);
	EXPECT(readable(hsl_queue_eventfd(q, HSL_EVENTFD_ERROR), 60000));
	while (hsl_events(ctx, &ev, 1, NULL) == 1)
		recorded |= ev.type == HSL_EV_QUEUE_ERROR && ev.code == error && (int)ev.queue == hsl_queue_id(q);
	EXPECT(recorded);
	while (!hsl_peek(q, &c))
		hsl_seen(q, 1);
	hsl_prep_nop(hsl_get_desc(q));
	hsl_submit(q);
	EXPECT(hsl_wait(q, &c, -1) == -EIO);
	EXPECT(!hsl_queue_destroy(q));
	EXPECT(nop_runs(queue));
}

static void tail_outside_ring(void)
{
	struct hsl_queue *q = new_queue(8, 8);

	hsl_queue_eventfd(q, HSL_EVENTFD_ERROR);
	EXPECT(nop_runs(q));
	hsl_publish(&q->ctl->sq_tail, q->sq_tail + 1000);
	hsl_wake(q);
	expect_failed(q, HSL_QERR_DOORBELL);
}

static bool has_completion(void *arg)
{
	struct hsl_queue *q = arg;

	return hsl_cqe_at(q, q->sq_tail - 1);
}

static void completions_not_consumed(void)
{
	struct hsl_queue *q = new_queue(8, 8);
	uint32_t i;

	/* Behind the library's back: it would not hand out so many. */
	for (i = 0; i <= 8; i++) {
		hsl_prep_nop(&q->sq[i % 8]);
		hsl_publish(&q->ctl->sq_tail, ++q->sq_tail);
		hsl_wake(q);
		if (i < 8)
			EXPECT(comes_true(has_completion, q));
	}
	q->sq_published = q->sq_head = q->sq_tail;
	expect_failed(q, HSL_QERR_CQ_OVERFLOW);
}

static void *break_later(void *arg)
{
	struct hsl_queue *q = arg;

	usleep(50000);
	hsl_publish(&q->ctl->sq_tail, 1000);
	hsl_wake(q);
	return NULL;
}

static void fails_under_a_sleeper(void)
{
	struct hsl_queue *q = new_queue(8, 8);
	const struct hsl_cqe *c;
	pthread_t t;

	hsl_prep_nop(hsl_get_desc(q));
	hsl_hold(q);
	EXPECT(!pthread_create(&t, NULL, break_later, q));
	EXPECT(hsl_wait(q, &c, -1) == -EIO);
	pthread_join(t, NULL);
	EXPECT(!hsl_queue_destroy(q));
}

/* The thread of a queue has not run between two looks. */
static bool has_rested(void *arg)
{
	struct timespec a, b;
	clockid_t clock;

	if (pthread_getcpuclockid(to_queue(arg)->cpu->thread, &clock) || clock_gettime(clock, &a))
		return false;
	usleep(20000);
	clock_gettime(clock, &b);
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Also when an interrupt was to come after a while, and the while is over. */
static void failed_is_asleep(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .coalesce_count = 8, .coalesce_usecs = 300000 };
	struct hsl_queue *q = NULL;
	int n;

	EXPECT(!hsl_queue_create(ctx, &opts, &q));
	EXPECT(!hsl_arm(q));
	hsl_prep_nop(hsl_get_desc(q));
	hsl_submit(q);
	EXPECT(comes_true(has_completion, q));
	hsl_publish(&q->ctl->sq_tail, 1000);
	hsl_wake(q);
	EXPECT(comes_true(is_failed, q));
	usleep(400000);
	for (n = 0; n < 100 && !has_rested(q); n++)
		;
	EXPECT(n < 100);
	EXPECT(!hsl_queue_destroy(q));
}

/* Faults are recorded, the first of them if there are too many; an error has room always. */
static void events(void)
{
	struct hsl_ctx *other, *before = ctx;
	struct hsl_event ev[300];
	struct hsl_queue *q, *bad;
	struct hsl_desc d;
	uint32_t lost = 1, i;

	EXPECT(!hsl_open("cpu", NULL, &other));
	ctx = other;
	q = new_queue(8, 8);
	bad = new_queue(8, 8);
	EXPECT(!hsl_events(ctx, ev, ARRAY(ev), &lost) && !lost);
	for (i = 0; i < 250; i++) {
		hsl_prep_fill(&d, (void *)0x1000, 0, 64);
		d.user_data = i;
		EXPECT(run(q, &d).status == HSL_ST_PAGE_FAULT);
	}
	hsl_publish(&bad->ctl->sq_tail, 1000);
	hsl_wake(bad);
	EXPECT(comes_true(is_failed, bad));
	EXPECT(hsl_events(ctx, (void *)8, 1, NULL) == -EFAULT);
	EXPECT(hsl_events(ctx, ev, 100, &lost) == 100 && lost == 250 - 192);
	EXPECT(hsl_events(ctx, ev + 100, ARRAY(ev) - 100, &lost) == 93 && !lost);
	for (i = 0; i < 192; i++)
		EXPECT(ev[i].type == HSL_EV_PAGE_FAULT && ev[i].code == HSL_ST_PAGE_FAULT && ev[i].user_data == i &&
		       ev[i].addr == 0x1000 && ev[i].access == HSL_ACCESS_WRITE &&
		       (int)ev[i].queue == hsl_queue_id(q) && ev[i].time_ns);
	EXPECT(ev[192].type == HSL_EV_QUEUE_ERROR && (int)ev[192].queue == hsl_queue_id(bad));
	hsl_close(ctx);
	ctx = before;
}

/* Destroyed and closed with work of many gigabytes in flight; nothing is touched after. */
static void ends_at_work(void)
{
	size_t len = 64 << 20;
	unsigned char *big = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hsl_ctx *other;
	struct hsl_queue *q;
	uint32_t round, i;

	for (round = 0; round < 6; round++) {
		EXPECT(!hsl_open("cpu", NULL, &other));
		EXPECT(!hsl_queue_create(other, NULL, &q));
		for (i = 0; i < 64; i++)
			hsl_prep_fill(hsl_get_desc(q), big, 0x4141414141414141, (uint32_t)len);
		hsl_submit(q);
		usleep(rnd(3000));
		if (round % 2)
			EXPECT(!hsl_queue_destroy(q));
		hsl_close(other);
		memset(big, 0x42, 1 << 20);
		usleep(2000);
		for (i = 0; i < 1 << 20; i++)
			EXPECT(big[i] == 0x42);
	}
	munmap(big, len);
}

/*
 * Signals
 */

static void signals(void)
{
	struct hsl_queue *a = new_queue(8, 8), *b = new_queue(8, 8);
	int fd = hsl_queue_grant(b), handle = hsl_signal_add(ctx, fd), more[40], null[2], i;
	uint64_t word = 0;
	struct hsl_desc d;
	const struct hsl_cqe *c;

	EXPECT(fd >= 0 && handle >= 0);
	/* The copy is there for what it starts, without the CPU in between. */
	for (i = 0; i < 500 && good; i++) {
		uint64_t seen = 0, value = rnd64();

		hsl_prep_copy(hsl_get_desc(b), &seen, &word, 8);
		EXPECT(hsl_hold(b) == 1);
		hsl_prep_fill(hsl_get_desc(a), &word, value, 8);
		hsl_prep_signal(hsl_get_desc(a), handle, hsl_sq_tail(b));
		hsl_submit(a);
		EXPECT(!hsl_wait(b, &c, BOUND_NS) && c->status == HSL_ST_OK);
		hsl_seen(b, 1);
		EXPECT(seen == value);
		EXPECT(finish(a).status == HSL_ST_OK && finish(a).status == HSL_ST_OK);
	}
	/* A tail that is passed is fine, one out of the ring is not, and b does not notice. */
	hsl_prep_signal(&d, handle, hsl_sq_tail(b));
	EXPECT(run(a, &d).status == HSL_ST_OK);
	hsl_prep_signal(&d, handle, hsl_sq_tail(b) + 9);
	EXPECT(run(a, &d).status == HSL_ST_INVALID);
	EXPECT(nop_runs(b));
	/* No such right */
	hsl_prep_signal(&d, handle + 1, 0);
	EXPECT(run(a, &d).status == HSL_ST_NOT_PERMITTED);
	hsl_prep_signal(&d, -1, 0);
	EXPECT(run(a, &d).status == HSL_ST_NOT_PERMITTED);
	EXPECT(hsl_signal_add(ctx, -1) == -EBADF && hsl_signal_add(ctx, 0) == -EINVAL);
	EXPECT(!pipe(null) && hsl_signal_add(ctx, null[1]) == -EINVAL);
	close(null[0]);
	close(null[1]);
	/* It ends with its last copy: */
	hsl_prep_signal(&d, handle, hsl_sq_tail(b));
	i = dup(fd);
	close(fd);
	EXPECT(run(a, &d).status == HSL_ST_OK);
	close(i);
	EXPECT(run(a, &d).status == HSL_ST_NOT_PERMITTED);
	EXPECT(!hsl_signal_del(ctx, handle) && hsl_signal_del(ctx, handle) == -ENOENT);
	/* and with the queue. */
	for (i = 0; i < 33; i++) {
		more[i] = hsl_queue_grant(b);
		handle = hsl_signal_add(ctx, more[i]);
		EXPECT(i < 32 ? handle >= 0 : handle == -ENOSPC);
	}
	hsl_prep_signal(&d, 7, hsl_sq_tail(b));
	EXPECT(run(a, &d).status == HSL_ST_OK);
	EXPECT(!hsl_queue_destroy(b));
	EXPECT(run(a, &d).status == HSL_ST_NOT_PERMITTED);
	EXPECT(!hsl_signal_del(ctx, 0) && hsl_signal_add(ctx, more[0]) == -ESTALE);
	for (i = 0; i < 33; i++)
		close(more[i]);
	for (i = 1; i < 32; i++)
		EXPECT(!hsl_signal_del(ctx, i));
	EXPECT(!hsl_queue_destroy(a));
}

struct cancelled {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	int fd;
};

/* What begins while the thread is to end is done, or is not begun. */
static void *grants_and_closes(void *arg)
{
	struct cancelled *c = arg;

	pthread_cancel(pthread_self());
	c->fd = hsl_queue_grant(c->q);
	hsl_close(c->ctx);
	pthread_testcancel();
	return NULL;
}

static void cancels(void)
{
	struct cancelled c = { .fd = -1 };
	struct hsl_queue *q = new_queue(8, 8);
	int fd = hsl_queue_grant(q);
	void *ended = NULL;
	pthread_t t;
	bool is_free;

	EXPECT(!hsl_open("cpu", NULL, &c.ctx) && !hsl_queue_create(c.ctx, NULL, &c.q));
	EXPECT(hsl_queue_eventfd(c.q, HSL_EVENTFD_COMPLETION) >= 0);
	EXPECT(!pthread_create(&t, NULL, grants_and_closes, &c) && !pthread_join(t, &ended));
	EXPECT(ended == PTHREAD_CANCELED && c.fd >= 0);
	is_free = !pthread_mutex_trylock(&cpu_device.lock);
	EXPECT(is_free);
	if (!is_free) {
		printf("Bail out! the thread ended with the lock of the device\n");
		exit(1);
	}
	pthread_mutex_unlock(&cpu_device.lock);
	close(c.fd);
	close(fd);
	EXPECT(!hsl_queue_destroy(q));
}

/*
 * The calls
 */

static void limits(void)
{
	static struct hsl_ctx *c[300];
	static struct hsl_queue *q[100];
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 2 };
	uint32_t i, n;
	int ret = 0;

	EXPECT(!hsl_open("cpu", NULL, &c[0]) && !hsl_query(c[0], &info));
	for (n = 0; n < ARRAY(q) && !(ret = hsl_queue_create(c[0], &opts, &q[n])); n++)
		EXPECT(hsl_queue_id(q[n]) == (int)n);
	EXPECT(ret == -ENOSPC && n == info.max_queues);
	/* A number that is given back is taken again. */
	EXPECT(!hsl_queue_destroy(q[5]) && !hsl_queue_create(c[0], &opts, &q[5]) && hsl_queue_id(q[5]) == 5);
	for (i = 0; i < n; i++)
		EXPECT(nop_runs(q[i]));
	hsl_close(c[0]);
	for (n = 0; n < ARRAY(c) && !(ret = hsl_open("cpu", NULL, &c[n])); n++)
		;
	EXPECT(ret == -EBUSY && n == 255);
	for (i = 0; i < n; i++)
		hsl_close(c[i]);

	opts.sq_entries = info.max_ring_entries * 2;
	EXPECT(hsl_queue_create(ctx, &opts, &q[0]) == -EINVAL);
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .priority = 4 };
	EXPECT(hsl_queue_create(ctx, &opts, &q[0]) == -EINVAL);
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .coalesce_count = 2 };
	EXPECT(hsl_queue_create(ctx, &opts, &q[0]) == -EINVAL);
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .ops = 1ull << HSL_OP_NR };
	EXPECT(hsl_queue_create(ctx, &opts, &q[0]) == -EOPNOTSUPP);
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .sq_entries = 1 };
	EXPECT(hsl_queue_create(ctx, &opts, &q[0]) == -EINVAL);
}

static void opening(void)
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = HSL_SVA_HMM };
	struct hsl_query info = { .size = sizeof(info) };
	struct { struct hsl_query q; uint64_t tail; } longer = { .q.size = sizeof(longer) };
	struct hsl_ctx *c = NULL;

	EXPECT(hsl_open("cpu", &opts, &c) == -EOPNOTSUPP);
	setenv("HSL_SVA", "iommu", 1);
	EXPECT(hsl_open("cpu", NULL, &c) == -EOPNOTSUPP);
	setenv("HSL_SVA", "auto", 1);
	setenv("HSL_DEVICE", "cpu", 1);
	EXPECT(!hsl_open(NULL, NULL, &c));
	unsetenv("HSL_SVA");
	EXPECT(!hsl_query(c, &info) && info.ops == (1u << HSL_OP_NR) - 1 && info.sva == HSL_SVA_NONE &&
	       info.sva_why[0] && info.hw_version == HSL_VERSION && info.hw_caps == HSL_CAP_TIMED &&
	       !info.mem_size && info.node == -1 &&
	       info.mem_mode == HSL_MEMORY_OFF && info.fabric_node == HSL_NODE_NONE && info.size == sizeof(info));
	EXPECT(hsl_fd(c) == -EOPNOTSUPP);
	hsl_close(c);
	setenv("HSL_DEVICE", "/nowhere", 1);
	EXPECT(hsl_open(NULL, NULL, &c) == -ENOENT);
	EXPECT(!hsl_open("cpu", NULL, &c));
	hsl_close(c);
	unsetenv("HSL_DEVICE");

	/* The rules of sizes, as by ioctl */
	EXPECT(!hsl_query(ctx, &longer.q) && longer.q.size == sizeof(longer) && longer.q.max_xfer);
	longer.q = (struct hsl_query){ .size = sizeof(longer) };
	longer.tail = 1;
	EXPECT(hsl_query(ctx, &longer.q) == -E2BIG);
	info = (struct hsl_query){ .size = 16 };
	EXPECT(hsl_query(ctx, &info) == -EINVAL);
	info = (struct hsl_query){ .size = sizeof(info), .flags = 1 };
	EXPECT(hsl_query(ctx, &info) == -EOPNOTSUPP);
}

static void refused(void)
{
	struct hsl_migrate m = { .size = sizeof(m) };
	struct hsl_peer_info peer;
	uint64_t values[HSL_CNT_NR];
	void *p, *hole;

	arena_fill();
	arena_protect(false);
	EXPECT(hsl_alloc(ctx, 1 << 20, &p) == -EOPNOTSUPP && hsl_alloc(ctx, 0, &p) == -EINVAL);
	EXPECT(hsl_migrate(ctx, mem, ARENA, HSL_WHERE_DEVICE, &m) == -EOPNOTSUPP && m.other == ARENA && !m.moved);
	EXPECT(hsl_migrate(ctx, mem + 1, ARENA, HSL_WHERE_DEVICE, NULL) == -EINVAL);
	EXPECT(hsl_advise(ctx, mem, ARENA, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE) == -EOPNOTSUPP);
	EXPECT(!hsl_advise(ctx, mem, ARENA, HSL_ADVICE_PREFETCH, HSL_WHERE_NONE));
	EXPECT(!hsl_advise(ctx, mem, ARENA, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
	EXPECT(hsl_advise(ctx, mem, ARENA, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_HOST) == -EINVAL);
	EXPECT(!hsl_advise(ctx, mem, ARENA, HSL_ADVICE_PREFERRED, HSL_WHERE_HOST));
	mprotect(mem + PAGE, PAGE, PROT_NONE);
	EXPECT(hsl_advise(ctx, mem, ARENA, HSL_ADVICE_PREFETCH, HSL_WHERE_NONE) == -EFAULT);
	EXPECT(!hsl_advise(ctx, mem, ARENA, HSL_ADVICE_PREFERRED, HSL_WHERE_NONE));
	hole = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap((char *)hole + PAGE, PAGE);
	EXPECT(!hsl_advise(ctx, hole, PAGE, HSL_ADVICE_PREFERRED, HSL_WHERE_NONE));
	EXPECT(hsl_advise(ctx, hole, 3 * PAGE, HSL_ADVICE_PREFERRED, HSL_WHERE_NONE) == -EFAULT);
	EXPECT(hsl_advise(ctx, hole, 3 * PAGE, HSL_ADVICE_PREFERRED, HSL_WHERE_HOST) == -EFAULT);
	munmap(hole, 3 * PAGE);
	EXPECT(arena_same());
	EXPECT(hsl_buf_create(ctx, 4096) == -EOPNOTSUPP && hsl_buf_share(ctx, 0, HSL_BUF_READ) == -EOPNOTSUPP);
	EXPECT(!hsl_peers(ctx, &peer, 1));
	EXPECT(hsl_counters(ctx, NULL, (void *)8, 4) == -EFAULT);
	EXPECT(hsl_counters(ctx, NULL, values, 3) == 3);
	EXPECT(hsl_counters(ctx, NULL, values, HSL_CNT_NR) == HSL_CNT_NR && values[HSL_CNT_HOST_BYTES] &&
	       !values[HSL_CNT_LINK_BYTES]);
}

/* A child gets a clear refusal and may open the CPU for itself. */
static void forks(void)
{
	struct hsl_queue *q = new_queue(8, 8);
	int fd = hsl_queue_grant(q), status = -1;
	pid_t pid;

	EXPECT(nop_runs(q));
	pid = fork();
	if (!pid) {
		struct hsl_query info = { .size = sizeof(info) };
		const struct hsl_cqe *c;
		struct hsl_ctx *own;
		int bad = 0;

		bad |= hsl_get_desc(q) != NULL;
		bad |= (hsl_submit(q) != -EPERM || hsl_wait(q, &c, 0) != -EPERM) << 1;
		bad |= (hsl_query(ctx, &info) != -EPERM || hsl_queue_create(ctx, NULL, &q) != -EPERM) << 2;
		hsl_close(ctx);
#ifdef __SANITIZE_THREAD__
		/* It does not let a child of threads start threads. */
		_exit(bad);
#endif
		bad |= (hsl_open("cpu", NULL, &own) != 0) << 3;
		if (bad)
			_exit(bad);
		bad |= (hsl_queue_create(own, NULL, &q) || !nop_runs(q)) << 4;
		/* The right to ring is one within a process. */
		bad |= (hsl_signal_add(own, fd) != -EINVAL) << 5;
		hsl_close(own);
		_exit(bad);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && !status);
	if (status)
		diag("the child's status is %#x", status);
	EXPECT(nop_runs(q));
	close(fd);
	EXPECT(!hsl_queue_destroy(q));
}

static void *own_queue(void *arg)
{
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	uint64_t word;
	uint32_t *bad = arg;
	int i;

	for (i = 0; i < 20; i++) {
		word = 0;
		if (hsl_queue_create(ctx, NULL, &q)) {
			__atomic_fetch_add(bad, 1, __ATOMIC_RELAXED);
			break;
		}
		hsl_prep_fill(hsl_get_desc(q), &word, 0x0706050403020100, 8);
		hsl_submit(q);
		if (hsl_wait(q, &c, BOUND_NS) || word != 0x0706050403020100)
			__atomic_fetch_add(bad, 1, __ATOMIC_RELAXED);
		hsl_queue_destroy(q);
	}
	return NULL;
}

/* A context is anybody's at once. */
static void threads(void)
{
	pthread_t t[8];
	uint32_t bad = 0, i;

	for (i = 0; i < ARRAY(t); i++)
		EXPECT(!pthread_create(&t[i], NULL, own_queue, &bad));
	for (i = 0; i < ARRAY(t); i++)
		pthread_join(t[i], NULL);
	EXPECT(!bad);
}

/*
 * Calls beside the rings
 */

static char logged[256];
static unsigned int nr_logged;

static void log_here(const char *text)
{
	nr_logged++;
	snprintf(logged, sizeof(logged), "%s", text);
}

/* An unlinked file that holds the arena's reference */
static int file_of_ref(size_t len)
{
	const char *dir = getenv("TMPDIR");
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/hsl-cpu-XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	EXPECT(fd >= 0 && !unlink(path) && write(fd, ref, len) == (ssize_t)len);
	return fd;
}

/* Whichever way the bytes went, they are those of the file, and go nowhere else. */
static void files(void)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	const char *text[HSL_FILE_NO_PATH + 1];
	uint32_t i, j, round;
	int fd, null[2];

	arena_fill();
	arena_protect(false);
	fd = file_of_ref(ARENA - 100);
	for (round = 0; round < 200 && good; round++) {
		uint32_t len = rnd((ARENA >> rnd(18)) + 1), offset = rnd(ARENA), at = rnd(ARENA - len + 1);
		uint32_t want = offset >= ARENA - 100 ? 0 : ARENA - 100 - offset;

		if (rnd(2)) {	/* of whole blocks, which may go directly */
			offset &= ~(PAGE - 1);
			at &= ~(PAGE - 1);
			want = offset >= ARENA - 100 ? 0 : ARENA - 100 - offset;
		}
		want = want < len ? want : len;
		memset(mem, 0x5a, ARENA);
		io = (struct hsl_file_io){ .size = sizeof(io) };
		EXPECT(hsl_file_read(fd, offset, mem + at, len, &io) == (ssize_t)want);
		EXPECT(io.direct + io.bounced == want && io.why <= HSL_FILE_NO_PATH && !io.why == !io.bounced);
		EXPECT(!memcmp(mem + at, ref + offset, want));
		/* The last block of a file comes whole, as far as there was room for it. */
		for (i = 0; i < ARENA; i++)
			if (i - at >= len && mem[i] != 0x5a)
				break;
		EXPECT(i == ARENA);
	}
	/* What goes through host memory is told to the log. */
	hsl_set_log(log_here);
	nr_logged = 0;
	EXPECT(hsl_file_read(fd, 1, mem + 1, 10, NULL) == 10 && nr_logged == 1 && strstr(logged, "10 of 10 bytes"));
	hsl_set_log(NULL);
	EXPECT(hsl_file_read(fd, 1, mem + 1, 10, NULL) == 10 && nr_logged == 1);

	io = (struct hsl_file_io){ .size = sizeof(io) - 1 };
	EXPECT(hsl_file_read(fd, 0, mem, 1, &io) == -EINVAL);
	io = (struct hsl_file_io){ .size = sizeof(io), .flags = 1 };
	EXPECT(hsl_file_read(fd, 0, mem, 1, &io) == -EOPNOTSUPP);
	EXPECT(hsl_file_read(fd, 1ull << 63, mem, 1, NULL) == -EINVAL);
	close(fd);
	EXPECT(hsl_file_read(-1, 0, mem, 1, NULL) == -EBADF);
	EXPECT(!pipe(null) && hsl_file_read(null[0], 0, mem, 1, NULL) == -ESPIPE);
	close(null[0]);
	close(null[1]);

	/* Each reason has words of its own, and what is none has some, too. */
	for (i = 0; i <= HSL_FILE_NO_PATH; i++) {
		text[i] = hsl_strfile(i);
		EXPECT(text[i] && *text[i] && strcmp(text[i], hsl_strfile(HSL_FILE_NO_PATH + 1)));
		for (j = 0; j < i && good; j++)
			EXPECT(strcmp(text[i], text[j]));
	}
	EXPECT(!strcmp(hsl_strfile(HSL_FILE_NO_PATH + 1), hsl_strfile(~0u)));
}

/* What is no dma-buf, and what was never given out */
/* The first thread of this process is gone, and its last one says how it went. */
static void *copies_alone(void *arg)
{
	char from[] = "without the first thread", to[sizeof(from)] = "", state[2] = "";
	struct hsl_file_io io = { .size = sizeof(io) };
	struct hsl_ctx *c = NULL, *late = NULL;
	struct hsl_queue *q = NULL;
	uint64_t counters[HSL_CNT_NR];
	int fd = *(int *)arg;
	FILE *f;

	while (*state != 'Z') {
		f = fopen("/proc/self/stat", "r");
		if (!f || fscanf(f, "%*d (%*[^)]) %1s", state) != 1)
			_exit(2);
		fclose(f);
	}
	if (hsl_open(device, NULL, &c) || hsl_queue_create(c, NULL, &q) || hsl_copy(q, to, from, sizeof(from)) ||
	    memcmp(to, from, sizeof(from)) || hsl_counters(c, q, counters, HSL_CNT_NR) < 0 ||
	    hsl_open(device, NULL, &late))
		_exit(1);
	if (hsl_file_read(fd, 0, to, sizeof(to), &io) != sizeof(to) || io.why == HSL_FILE_REOPEN)
		_exit(3);
	hsl_close(late);
	hsl_close(c);
	_exit(0);
}

/* This program once more, with two words: the device, and a file that is open */
static int be_alone(char **argv)
{
	static int fd;
	pthread_t thread;

	device = argv[2];
	fd = atoi(argv[3]);
	if (!pthread_create(&thread, NULL, copies_alone, &fd))
		syscall(SYS_exit, 0);
	return 4;
}

static void first_thread_gone(void)
{
	char name[] = "/tmp/hsl-cpu-XXXXXX", file[12];
	int fd = mkstemp(name), status;
	pid_t pid;

	unlink(name);
	EXPECT(fd >= 0 && !ftruncate(fd, 4096));
	snprintf(file, sizeof(file), "%d", fd);
	pid = fork();
	if (!pid) {
		execl("/proc/self/exe", "cpu", "--alone", device, file, NULL);
		_exit(5);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
	diag("the child ended with %d", WEXITSTATUS(status));
	close(fd);
}

static void not_ours(void)
{
	int fd = memfd_create("hsl_cpu", 0), ro;
	char path[32];
	void *p = &fd;

	EXPECT(fd >= 0 && !ftruncate(fd, 4 * PAGE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	EXPECT(ro >= 0);
	EXPECT(hsl_import(ctx, fd, 0, 0, PROT_READ, &p) == -EINVAL);
	EXPECT(hsl_import(ctx, fd, 100, PAGE, PROT_READ, &p) == -EINVAL);
	EXPECT(hsl_import(ctx, fd, 0, SIZE_MAX, PROT_READ, &p) == -EINVAL);
	EXPECT(hsl_import(ctx, -1, 0, PAGE, PROT_READ, &p) == -EBADF);
	EXPECT(hsl_import(ctx, ro, 0, PAGE, PROT_READ | PROT_WRITE, &p) == -EACCES);
	EXPECT(hsl_import(ctx, fd, 0, PAGE, PROT_READ, &p) == (on_cpu ? -EOPNOTSUPP : -EINVAL));
	EXPECT(p == &fd);
	EXPECT(!hsl_unimport(ctx, NULL) && hsl_unimport(ctx, mem) == -EINVAL);
	EXPECT(!hsl_free(ctx, NULL) && hsl_free(ctx, mem) == -EINVAL);
	EXPECT(hsl_buf_revoke(ctx, fd, 0) == (on_cpu ? -EOPNOTSUPP : -EINVAL));
	close(ro);
	close(fd);
}

/* Two descriptors, the second held, by the first queue of a context that records */
static void record(struct hsl_ctx *c, char *text, size_t size, int fd, bool by_hand)
{
	static uint64_t word;
	struct hsl_queue *q = NULL;
	ssize_t n;

	EXPECT(!hsl_queue_create(c, NULL, &q));
	hsl_prep_fill(hsl_get_desc(q), &word, 7, 8);
	if (by_hand)
		hsl_trace_submit(q, 0);
	EXPECT(hsl_submit(q) == 1);
	hsl_prep_nop(hsl_get_desc(q));
	if (by_hand)
		hsl_trace_submit(q, 1);
	EXPECT(hsl_hold(q) == 1);
	if (by_hand) {
		const struct hsl_cqe *cqe;

		EXPECT(!hsl_wait(q, &cqe, BOUND_NS));
		hsl_trace_seen(q, 1);
		hsl_seen(q, 1);
	} else {
		EXPECT(finish(q).status == HSL_ST_OK);
	}
	EXPECT(!hsl_queue_destroy(q));
	n = pread(fd, text, size - 1, 0);
	EXPECT(n >= 0);
	text[n > 0 ? n : 0] = '\0';
}

/* A device's queues record by themselves, in lines for hslctl trace; the CPU's when the calls are made. */
static void traces(void)
{
	char path[] = "/tmp/hsl-cpu-XXXXXX", text[4096];
	int fd = mkstemp(path);
	struct hsl_ctx *c = NULL;

	setenv("HSL_TRACE", path, 1);
	EXPECT(fd >= 0 && !hsl_open(device, NULL, &c));
	record(c, text, sizeof(text), fd, false);
	EXPECT(on_cpu ? !*text : strstr(text, "hsl_desc_submit hsl") && strstr(text, "op=2") &&
	       strstr(text, "held=1") && strstr(text, "hsl_desc_complete hsl"));
	EXPECT(!ftruncate(fd, 0));
	record(c, text, sizeof(text), fd, true);
	EXPECT(strstr(text, "hsl_desc_submit ") && strstr(text, "index=0") && strstr(text, "len=8") &&
	       strstr(text, "held=0") && strstr(text, "index=1") && strstr(text, "held=1") &&
	       strstr(text, "hsl_desc_complete ") && strstr(text, "status=0 bytes=8"));
	hsl_close(c);
	close(fd);
	unlink(path);

	/* One that cannot be opened is told, and no more. */
	hsl_set_log(log_here);
	nr_logged = 0;
	setenv("HSL_TRACE", "/nowhere/at/all", 1);
	EXPECT(!hsl_open(device, NULL, &c) && nr_logged == 1 && strstr(logged, "/nowhere/at/all cannot be opened"));
	hsl_close(c);
	hsl_set_log(NULL);
	unsetenv("HSL_TRACE");
}

int main(int argc, char **argv)
{
	static const struct {
		void (*func)(void);
		const char *what;
		bool any;	/* of any device */
	} tests[] = {
		{ opening, "what opens, and what it says of itself", false },
		{ operations_whole, "random operations give what the model gives", true },
		{ operations_holes, "and on memory with holes, down to address and byte", true },
		{ bad_pointers, "pointers to nowhere and beyond the end of a file are page faults", true },
		{ invalid, "invalid descriptors", true },
		{ mask, "operations that the queue may not use", true },
		{ in_flight, "many in flight, each completes once", true },
		{ fences, "fences keep order, and only they do", true },
		{ modelled_time, "the time that the model says", true },
		{ atomics_are_atomic, "atomics of threads and queues on one word", true },
		{ synchronous, "synchronous calls, longer than a descriptor", false },
		{ waits, "waits end", true },
		{ waits_without_files, "waits that find no file descriptor too", false },
		{ doorbells, "doorbells wake", true },
		{ eventfds, "interrupts by eventfd, only for who asks", true },
		{ coalescing, "interrupts that wait for more", true },
		{ idle_is_asleep, "threads without work sleep", false },
		{ tail_outside_ring, "a tail outside of the ring fails the queue", false },
		{ completions_not_consumed, "so does a full completion ring", false },
		{ fails_under_a_sleeper, "and whoever sleeps on it wakes up", false },
		{ failed_is_asleep, "a queue that failed sleeps", false },
		{ events, "records of faults and errors, and of what was lost", false },
		{ ends_at_work, "queues and contexts end with work in flight", false },
		{ signals, "queues ring queues", false },
		{ cancels, "a thread that is cancelled leaves no lock behind", false },
		{ limits, "limits are those of hsl_query()", false },
		{ refused, "what the CPU does not have", false },
		{ forks, "a forked child", false },
		{ threads, "threads share a context", false },
		{ first_thread_gone, "a process whose first thread has ended", true },
		{ files, "files come into memory, and the log says how", true },
		{ not_ours, "imports, buffers and memory that there are not", true },
		{ traces, "what is submitted and seen is recorded", true },
	};
	const char *seed = getenv("HSL_SEED");
	struct timespec t;
	int nr = 0;
	size_t i;

	if (argc == 4 && !strcmp(argv[1], "--alone"))
		return be_alone(argv);
	clock_gettime(CLOCK_REALTIME, &t);
	rng = (seed ? strtoull(seed, NULL, 0) : (uint64_t)t.tv_nsec << 20 ^ (uint64_t)t.tv_sec) | 1;
	if (argc > 1) {
		device = argv[1];
		on_cpu = false;
	} else {
		unsetenv("HSL_DEVICE");
		unsetenv("HSL_SVA");
	}
	for (i = 0; i < ARRAY(tests); i++)
		nr += on_cpu || tests[i].any;
	plan(nr);
	diag("seed %#lx", (unsigned long)rng);
	mem = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ref = malloc(ARENA);
	if (hsl_open(device, NULL, &ctx) || hsl_queue_create(ctx, NULL, &queue)) {
		printf("Bail out! %s cannot be opened\n", device);
		return 1;
	}
	for (i = 0; i < ARRAY(tests); i++) {
		if (!on_cpu && !tests[i].any)
			continue;
		good = true;
		tests[i].func();
		ok(good, "%s", tests[i].what);
	}
	hsl_close(ctx);
	munmap(mem, ARENA);
	free(ref);
	return tap_done();
}
