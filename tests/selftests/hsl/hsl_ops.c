// SPDX-License-Identifier: GPL-2.0
/* Every operation against the CPU: random sizes, offsets, overlaps; and what is refused. */
#include "hsl_test.h"

#define ARENA	(256 * KB)

FIXTURE(ops) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	unsigned char *mem;	/* what the device works on */
	unsigned char *ref;	/* what it should look like */
};

PROVIDER_VARIANTS(ops);

FIXTURE_SETUP(ops)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->mem = map_anon(ARENA);
	self->ref = map_anon(ARENA);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->ref);
	SEED();
	fill_random(self->mem, ARENA);
	memcpy(self->ref, self->mem, ARENA);
}

FIXTURE_TEARDOWN(ops)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

/* Sizes of all magnitudes are equally likely. */
static uint32_t rnd_len(uint32_t max)
{
	return rnd((max >> rnd(16)) + 1);
}

TEST_F_TIMEOUT(ops, copy, 120)
{
	struct hsl_cqe c;
	int i;

	for (i = 0; i < 3000; i++) {
		uint32_t len = rnd_len(ARENA);
		size_t dst = rnd(ARENA - len + 1), src = rnd(ARENA - len + 1);

		if (rnd(2) && len) {	/* overlaps often, and by a little */
			size_t shift = rnd(1 + (rnd(2) ? len : 64));

			src = rnd(2) ? dst + shift : dst - shift;
			if (src > ARENA - len)
				src = dst;
		}
		ASSERT_EQ(0, do_copy(self->q, &c, self->mem + dst, self->mem + src, len));
		ASSERT_EQ(HSL_ST_OK, c.status)
			TH_LOG("%s", hsl_strstatus(c.status));
		ASSERT_EQ(len, c.bytes);
		memmove(self->ref + dst, self->ref + src, len);
		ASSERT_EQ(0, memcmp(self->mem, self->ref, ARENA))
			TH_LOG("round %d: dst %zu src %zu len %u", i, dst, src, len);
	}
}

TEST_F_TIMEOUT(ops, fill, 120)
{
	struct hsl_cqe c;
	int i;

	for (i = 0; i < 2000; i++) {
		uint32_t len = rnd_len(ARENA), k;
		size_t dst = rnd(ARENA - len + 1);
		uint64_t pattern = rnd(4) ? rnd64() : 0x0101010101010101 * rnd(256);

		hsl_prep_fill(hsl_get_desc(self->q), self->mem + dst, pattern, len);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(len, c.bytes);
		for (k = 0; k < len; k++)
			self->ref[dst + k] = pattern >> k % 8 * 8;
		ASSERT_EQ(0, memcmp(self->mem, self->ref, ARENA))
			TH_LOG("round %d: dst %zu len %u pattern %#lx", i, dst, len, pattern);
	}
}

TEST_F_TIMEOUT(ops, compare, 120)
{
	struct hsl_cqe c;
	int i;

	for (i = 0; i < 3000; i++) {
		uint32_t len = rnd_len(ARENA / 2), expect = len;
		size_t a = rnd(ARENA / 2 - len + 1), b = ARENA / 2 + rnd(ARENA / 2 - len + 1);
		int nr = rnd(4);

		memcpy(self->mem + b, self->mem + a, len);
		while (len && nr--) {
			uint32_t at = rnd(len);

			self->mem[b + at] = ~self->mem[a + at];
			if (at < expect)
				expect = at;
		}
		hsl_prep_compare(hsl_get_desc(self->q), self->mem + a, self->mem + b, len);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(expect, c.result)
			TH_LOG("round %d: a %zu b %zu len %u", i, a, b, len);
	}
}

TEST_F_TIMEOUT(ops, crc32c, 120)
{
	static const char check[] = "123456789";
	struct hsl_cqe c;
	int i;

	/* The check value of the catalogue of CRCs. */
	ASSERT_EQ(0xe3069283, crc32c_ref(0, check, 9));
	hsl_prep_crc32c(hsl_get_desc(self->q), check, 9, 0);
	ASSERT_EQ(0, finish_one(self->q, &c));
	ASSERT_EQ(0xe3069283, c.result);

	for (i = 0; i < 1000; i++) {
		uint32_t len = rnd_len(64 * KB), seed = rnd(2) ? rnd64() : 0;
		size_t src = rnd(ARENA - len + 1);

		hsl_prep_crc32c(hsl_get_desc(self->q), self->mem + src, len, seed);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(len, c.bytes);
		ASSERT_EQ(crc32c_ref(seed, self->mem + src, len), c.result)
			TH_LOG("round %d: src %zu len %u seed %#x", i, src, len, seed);
	}
}

TEST_F_TIMEOUT(ops, atomics, 120)
{
	struct hsl_cqe c;
	int i;

	for (i = 0; i < 3000; i++) {
		uint32_t len = rnd(2) ? 4 : 8;
		uint64_t mask = len == 4 ? 0xffffffff : ~0ull;
		size_t at = rnd(ARENA / len) * len;
		uint64_t old = 0, new, v = rnd64(), w = rnd64();
		struct hsl_desc *d = hsl_get_desc(self->q);

		memcpy(&old, self->ref + at, len);
		switch (rnd(4)) {
		case 0:
			hsl_prep_atomic_add(d, self->mem + at, len, v);
			new = old + v;
			break;
		case 1:
			hsl_prep_atomic_swap(d, self->mem + at, len, v);
			new = v;
			break;
		case 2:
			hsl_prep_atomic_cas(d, self->mem + at, len, old, w);
			new = w;
			break;
		default:
			hsl_prep_atomic_cas(d, self->mem + at, len, v & mask, w);
			new = old == (v & mask) ? w : old;
			break;
		}
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(old, c.result);
		memcpy(self->ref + at, &new, len);
		ASSERT_EQ(0, memcmp(self->mem, self->ref, ARENA))
			TH_LOG("round %d: at %zu len %u", i, at, len);
	}
}

struct adder {
	void *word;
	int bytes;
	int nr;
};

static void *add_by_cpu(void *arg)
{
	struct adder *a = arg;
	int i;

	for (i = 0; i < a->nr; i++) {
		if (a->bytes == 8)
			__atomic_fetch_add((uint64_t *)a->word, 3, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add((uint32_t *)a->word, 3, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The device and two CPU threads on one word: nothing is lost. */
TEST_F_TIMEOUT(ops, atomics_against_cpu, 120)
{
	int bytes, i;

	for (bytes = 4; bytes <= 8; bytes += 4) {
		uint64_t *word = (uint64_t *)self->mem;
		struct adder a = { .word = word, .bytes = bytes, .nr = 2000000 };
		const uint32_t total = 5000;
		uint32_t sent = 0, seen = 0;
		const struct hsl_cqe *c;
		struct hsl_desc *d;
		pthread_t t[2];
		uint64_t want;

		*word = 0;
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, pthread_create(&t[i], NULL, add_by_cpu, &a));
		while (seen < total) {
			while (sent < total && (d = hsl_get_desc(self->q))) {
				hsl_prep_atomic_add(d, word, bytes, 1000000);
				sent++;
			}
			hsl_submit(self->q);
			ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
			ASSERT_EQ(HSL_ST_OK, c->status);
			hsl_seen(self->q, 1);
			seen++;
		}
		for (i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		want = 2ull * a.nr * 3 + total * 1000000ull;
		if (bytes == 4)
			want &= 0xffffffff;
		EXPECT_EQ(want, *word);
	}
}

static void *increment_by_cas(void *arg)
{
	struct adder *a = arg;
	uint64_t *word = a->word;
	int i;

	for (i = 0; i < a->nr; i++) {
		uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

		while (!__atomic_compare_exchange_n(word, &old, old + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			;
	}
	return NULL;
}

TEST_F_TIMEOUT(ops, cas_against_cpu, 120)
{
	uint64_t *word = (uint64_t *)self->mem;
	struct adder a = { .word = word, .nr = 300000 };
	uint32_t won = 0, tries = 0;
	struct hsl_cqe c;
	pthread_t t;

	*word = 0;
	ASSERT_EQ(0, pthread_create(&t, NULL, increment_by_cas, &a));
	while (won < 500 && tries++ < 1000000) {
		uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

		hsl_prep_atomic_cas(hsl_get_desc(self->q), word, 8, old, old + 1);
		ASSERT_EQ(0, finish_one(self->q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		won += c.result == old;
	}
	pthread_join(t, NULL);
	TH_LOG("%u of %u tries won", won, tries);
	EXPECT_EQ(500, won);
	EXPECT_EQ(a.nr + won, *word);
}

/* Many different operations in flight, on parts that do not touch. */
TEST_F_TIMEOUT(ops, mixed_in_flight, 120)
{
	const uint32_t parts = 32, part = ARENA / 32;
	uint64_t expect[32];
	const struct hsl_cqe *c;
	uint32_t i, k;
	int round;

	for (round = 0; round < 300; round++) {
		for (i = 0; i < parts; i++) {
			unsigned char *m = self->mem + i * part, *r = self->ref + i * part;
			struct hsl_desc *d = hsl_get_desc(self->q);
			uint32_t len = rnd_len(part), at = rnd(part - len + 1), from = rnd(part - len + 1);
			uint64_t v = rnd64();

			ASSERT_NE(NULL, d);
			expect[i] = 0;
			switch (rnd(6)) {
			case 0:
				hsl_prep_copy(d, m + at, m + from, len);
				memmove(r + at, r + from, len);
				break;
			case 1:
				hsl_prep_fill(d, m + at, v, len);
				for (k = 0; k < len; k++)
					r[at + k] = v >> k % 8 * 8;
				break;
			case 2:
				hsl_prep_crc32c(d, m + at, len, v);
				expect[i] = crc32c_ref(v, r + at, len);
				break;
			case 3:
				hsl_prep_compare(d, m + at, m + from, len);
				while (expect[i] < len && r[at + expect[i]] == r[from + expect[i]])
					expect[i]++;
				break;
			case 4:
				at = rnd(part / 8) * 8;
				hsl_prep_atomic_add(d, m + at, 8, v);
				memcpy(&expect[i], r + at, 8);
				v += expect[i];
				memcpy(r + at, &v, 8);
				break;
			default:
				hsl_prep_nop(d);
				break;
			}
			hsl_desc_set_user_data(d, i);
		}
		hsl_submit(self->q);
		for (i = 0; i < parts; i++) {
			ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
			ASSERT_EQ(HSL_ST_OK, c->status);
			ASSERT_LT(c->user_data, parts);
			if (c->result || expect[c->user_data])
				ASSERT_EQ(expect[c->user_data], c->result);
			hsl_seen(self->q, 1);
		}
		ASSERT_EQ(0, memcmp(self->mem, self->ref, ARENA));
	}
}

/* Each completes INVALID, touches nothing, and the operation after it runs. */
TEST_F(ops, invalid)
{
	struct hsl_query info = { .size = sizeof(info) };
	const uint64_t at = (uintptr_t)self->mem;
	unsigned int i;
	struct hsl_cqe c;

	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	struct {
		const char *what;
		struct hsl_desc d;
	} bad[] = {
		{ "opcode after the last", { .op = HSL_OP_NR } },
		{ "opcode 255", { .op = 255 } },
		{ "unknown flag", { .op = HSL_OP_NOP, .flags = 0x80 } },
		{ "reserved0", { .op = HSL_OP_NOP, .reserved0 = 1 } },
		{ "reserved1[0]", { .op = HSL_OP_NOP, .reserved1 = { 1, 0 } } },
		{ "reserved1[1]",
		  { .op = HSL_OP_COPY, .len = 8, .dst = at, .src = at + 64, .reserved1 = { 0, 1ull << 63 } } },
		{ "copy too long", { .op = HSL_OP_COPY, .len = info.max_xfer + 1, .dst = at, .src = at + 64 } },
		{ "fill too long", { .op = HSL_OP_FILL, .len = info.max_xfer + 1, .dst = at } },
		{ "destination wraps", { .op = HSL_OP_FILL, .len = 64, .dst = -32ull } },
		{ "source wraps", { .op = HSL_OP_COPY, .len = 64, .dst = at, .src = -32ull } },
		{ "atomic of 2", { .op = HSL_OP_ATOMIC_ADD, .len = 2, .dst = at, .operand = { 1 } } },
		{ "atomic of 16", { .op = HSL_OP_ATOMIC_ADD, .len = 16, .dst = at, .operand = { 1 } } },
		{ "atomic of 0", { .op = HSL_OP_ATOMIC_SWAP, .len = 0, .dst = at, .operand = { 1 } } },
		{ "4 at 2", { .op = HSL_OP_ATOMIC_ADD, .len = 4, .dst = at + 2, .operand = { 1 } } },
		{ "8 at 4", { .op = HSL_OP_ATOMIC_CAS, .len = 8, .dst = at + 4, .operand = { 0, 1 } } },
	};
	for (i = 0; i < ARRAY(bad); i++) {
		struct hsl_desc *d;

		if (info.max_xfer == ~0u && strstr(bad[i].what, "too long"))
			continue;
		d = hsl_get_desc(self->q);
		*d = bad[i].d;
		d->user_data = i + 1;
		ASSERT_EQ(0, finish_one(self->q, &c));
		EXPECT_EQ(HSL_ST_INVALID, c.status)
			TH_LOG("%s: %s", bad[i].what, hsl_strstatus(c.status));
		EXPECT_EQ(i + 1, c.user_data);
		EXPECT_EQ(0, c.bytes);
		ASSERT_EQ(0, do_copy(self->q, &c, self->mem, self->mem, 64));
		EXPECT_EQ(HSL_ST_OK, c.status);
	}
	EXPECT_EQ(0, memcmp(self->mem, self->ref, ARENA));
}

TEST_F(ops, mask)
{
	struct hsl_queue_opts opts = {
		.size = sizeof(opts), .ops = 1 << HSL_OP_NOP | 1 << HSL_OP_CRC32C,
	};
	struct hsl_queue *q;
	struct hsl_cqe c;

	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	ASSERT_EQ(0, do_copy(q, &c, self->mem, self->mem + 64, 64));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, c.status);
	hsl_prep_fill(hsl_get_desc(q), self->mem, 0, 64);
	ASSERT_EQ(0, finish_one(q, &c));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, c.status);
	EXPECT_EQ(-EOPNOTSUPP, hsl_copy(q, self->mem, self->mem + 64, 64));
	hsl_prep_crc32c(hsl_get_desc(q), self->mem, 64, 0);
	ASSERT_EQ(0, finish_one(q, &c));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(crc32c_ref(0, self->ref, 64), c.result);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, ARENA));
}

/* The synchronous calls, on more than one descriptor may name if that can be. */
TEST_F_TIMEOUT(ops, synchronous, 120)
{
	struct hsl_query info = { .size = sizeof(info) };
	const struct hsl_cqe *c;
	unsigned char *a, *b;
	size_t len, at, k;
	uint32_t crc = 0;
	bool cut;

	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	cut = info.max_xfer <= 64 * MB;
	len = (cut ? info.max_xfer : 8 * MB) + 4099;
	TH_LOG("%zu bytes, %u per descriptor", len, info.max_xfer);
	a = map_anon(len + 8192);
	b = map_anon(len + 8192);
	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	fill_random(a, len + 8192);

	ASSERT_EQ(0, hsl_copy(self->q, b, a, len + 8192));
	EXPECT_EQ(0, memcmp(a, b, len + 8192));
	ASSERT_EQ(0, hsl_compare(self->q, a, b, len, &at));
	EXPECT_EQ(len, at);
	b[len - 2] ^= 1;
	ASSERT_EQ(0, hsl_compare(self->q, a, b, len, &at));
	EXPECT_EQ(len - 2, at);
	b[len - 2] ^= 1;
	ASSERT_EQ(0, hsl_crc32c(self->q, a, len, &crc));
	EXPECT_EQ(crc32c_ref(0, b, len), crc);
	/* Onto itself, up and down. */
	ASSERT_EQ(0, hsl_copy(self->q, b + 8000, b, len));
	EXPECT_EQ(0, memcmp(b + 8000, a, len));
	ASSERT_EQ(0, hsl_copy(self->q, b + 1, b + 8000, len));
	EXPECT_EQ(0, memcmp(b + 1, a, len));
	ASSERT_EQ(0, hsl_fill(self->q, a + 3, 0x0807060504030201, len));
	for (k = 0; k < len && a[3 + k] == k % 8 + 1; k++)
		;
	EXPECT_EQ(len, k);
	EXPECT_EQ(0, hsl_copy(self->q, a, b, 0));
	EXPECT_EQ(-EFAULT, hsl_copy(self->q, NULL, a, 100));

	hsl_prep_nop(hsl_get_desc(self->q));
	EXPECT_EQ(-EBUSY, hsl_copy(self->q, a, b, 1));
	hsl_submit(self->q);
	EXPECT_EQ(-EBUSY, hsl_copy(self->q, a, b, 1));
	ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
	hsl_seen(self->q, 1);
	EXPECT_EQ(0, hsl_copy(self->q, a, b, 1));
}

/* The counters count what was done. */
TEST_F(ops, counters)
{
	uint64_t v[HSL_CNT_NR];
	struct hsl_cqe c;
	int i, n;

	/* A device that looks by itself, as after the start, needs no doorbell. */
	ASSERT_TRUE(COMES_TRUE(__atomic_load_n(&self->q->ctl->db_needed, __ATOMIC_RELAXED)));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, do_copy(self->q, &c, self->mem, self->mem + 4096, 1000));
	n = hsl_counters(self->ctx, self->q, v, HSL_CNT_NR);
	ASSERT_EQ(HSL_Q_CNT_NR, n);
	EXPECT_EQ(10, v[HSL_CNT_OPS]);
	EXPECT_EQ(10 * 1000, v[HSL_CNT_BYTES]);
	EXPECT_EQ(0, v[HSL_CNT_FAULTS]);
	EXPECT_GE(v[HSL_CNT_DOORBELLS], 1);
	EXPECT_LE(v[HSL_CNT_DOORBELLS], 10);
	n = hsl_counters(self->ctx, NULL, v, HSL_CNT_NR);
	ASSERT_EQ(HSL_CNT_NR, n);
	EXPECT_GE(v[HSL_CNT_OPS], 10);
	EXPECT_EQ(0, v[HSL_CNT_ORACLE_BREACHES]);
}

TEST_HARNESS_MAIN
