// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that ring queues, of other devices of the fabric and of other processes.
 * Needs three devices that are joined. Links are cut here by disabling ports.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "hsl_fd.h"
#include "hsl_ports.h"

#define STAGES		3
#define BLOCK		(16 * KB)
#define BLOCKS		200
#define ENTRIES		64
#define MAX_SIGNALS	32	/* of one context */

FIXTURE(signal) {
	struct hsl_ctx *ctx[STAGES];
	struct hsl_queue *q[STAGES];	/* the link only */
	uint32_t ports[STAGES];
};

PROVIDER_VARIANTS(signal);

/* All devices reach each other. */
static bool joined(FIXTURE_DATA(signal) *self)
{
	struct hsl_peer_info info[16];

	for (unsigned int i = 0; i < STAGES; i++) {
		int n = hsl_peers(self->ctx[i], info, ARRAY(info));

		if (n < 0)
			return false;
		for (int p = 0; p < n; p++)
			if (info[p].index < STAGES && !info[p].hops)
				return false;
	}
	return true;
}

static int link_queue(struct hsl_ctx *ctx, uint32_t entries, struct hsl_queue **q)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = entries, .routes = HSL_ROUTE_LINK };

	return hsl_queue_create(ctx, &opts, q);
}

FIXTURE_SETUP(signal)
{
	SKIP_WITHOUT_DEVICES(STAGES);
	for (unsigned int i = 0; i < STAGES; i++) {
		struct hsl_query info = { .size = sizeof(info) };

		OPEN_DEVICE(dev_path(i), variant->sva, &self->ctx[i]);
		ASSERT_EQ(0, hsl_query(self->ctx[i], &info));
		if (!(info.hw_caps & HSL_CAP_LINK))
			SKIP(return, "%s is in no fabric", dev_path(i));
		self->ports[i] = info.nr_ports;
		ASSERT_EQ(0, link_queue(self->ctx[i], ENTRIES, &self->q[i]));
		oracle_on(dev_path(i));
	}
	ASSERT_TRUE(COMES_TRUE(joined(self)));
	SEED();
}

FIXTURE_TEARDOWN(signal)
{
	for (unsigned int i = 0; i < STAGES; i++) {
		ports_enable(i, self->ports[i], true);
		if (!self->ctx[i])
			continue;
		/* One that a test has reset does not answer any more. */
		if (device_counter(self->ctx[i], HSL_CNT_ORACLE_BREACHES) != ~0ull)
			EXPECT_EQ(0, device_counter(self->ctx[i], HSL_CNT_ORACLE_BREACHES));
		hsl_close(self->ctx[i]);
	}
}

/* The status of a signal, or -errno */
static int signal_status(struct hsl_queue *q, int handle, uint32_t tail)
{
	struct hsl_cqe c;
	int err;

	hsl_prep_signal(hsl_get_desc(q), handle, tail);
	err = finish_one(q, &c);
	return err ? err : c.status;
}

/* One descriptor in @to, held: rung by @handle in @from it runs. */
static int relay(struct hsl_queue *from, int handle, struct hsl_queue *to)
{
	static uint64_t pattern = 0x1111;
	static uint64_t word;
	const struct hsl_cqe *c;
	int err;

	hsl_prep_fill(hsl_get_desc(to), &word, ++pattern, sizeof(word));
	hsl_hold(to);
	err = signal_status(from, handle, hsl_sq_tail(to));
	if (err)
		return err;
	err = hsl_wait(to, &c, BOUND_NS);
	if (err)
		return err;
	err = c->status;
	hsl_seen(to, 1);
	return err ? err : word == pattern ? 0 : -EBADMSG;
}

/* What every stage does to a block: of the memory of the one before into its own. */
struct stages {
	struct hsl_queue *q[STAGES];
	unsigned char *mem[STAGES];	/* BLOCKS blocks in the device's memory */
	unsigned char *src;
	int ring[STAGES];		/* handle by which it rings the next; the last: none */
	unsigned int nr[STAGES];	/* descriptors of a block */
};

static void stage_prep(struct stages *s, unsigned int stage, unsigned int block)
{
	unsigned char *own = s->mem[stage] + block * BLOCK;
	unsigned char *from = (stage ? s->mem[stage - 1] : s->src) + block * BLOCK;
	struct hsl_queue *q = s->q[stage];
	struct hsl_desc *d;

	hsl_prep_copy(hsl_get_desc(q), own, from, BLOCK);
	d = hsl_get_desc(q);
	hsl_prep_atomic_add(d, own, 8, stage + 1);
	hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
	d = hsl_get_desc(q);
	hsl_prep_fill(d, own + 64 * (stage + 1), 0x0101010101010101 * (stage + 1), 64);
	hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
	d = hsl_get_desc(q);
	hsl_prep_crc32c(d, own, BLOCK, 0);
	hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
	hsl_desc_set_user_data(d, block + 1);
	s->nr[stage] = 4;
	if (stage + 1 < STAGES) {
		hsl_prep_signal(hsl_get_desc(q), s->ring[stage], hsl_sq_tail(s->q[stage + 1]));
		s->nr[stage]++;
	}
}

/* The same by the CPU */
static void stages_expect(unsigned char *block, unsigned int stages)
{
	for (unsigned int i = 0; i < stages; i++) {
		uint64_t first;

		memcpy(&first, block, 8);
		first += i + 1;
		memcpy(block, &first, 8);
		memset(block + 64 * (i + 1), i + 1, 64);
	}
}

static int stages_init(FIXTURE_DATA(signal) *self, struct stages *s, uint32_t entries, int *grant)
{
	int err = 0;

	s->src = map_anon(BLOCKS * BLOCK);
	if (!s->src)
		return -ENOMEM;
	fill_random(s->src, BLOCKS * BLOCK);
	for (unsigned int i = 0; i < STAGES && !err; i++) {
		void *mem;

		err = hsl_alloc(self->ctx[i], BLOCKS * BLOCK, &mem);
		s->mem[i] = mem;
		if (!err)
			err = link_queue(self->ctx[i], entries, &s->q[i]);
	}
	for (unsigned int i = 0; i + 1 < STAGES && !err; i++) {
		grant[i] = hsl_queue_grant(s->q[i + 1]);
		s->ring[i] = grant[i] < 0 ? grant[i] : hsl_signal_add(self->ctx[i], grant[i]);
		if (s->ring[i] < 0)
			err = s->ring[i];
	}
	return err;
}

/* Completions that are there are checked and given back; how many, or -EBADMSG. */
static int stage_reap(struct stages *s, unsigned int stage, const uint32_t *crc)
{
	const struct hsl_cqe *c;
	int n = 0;

	for (; !hsl_peek(s->q[stage], &c); n++) {
		if (c->status != HSL_ST_OK) {
			fprintf(stderr, "# stage %u: %s\n", stage, hsl_strstatus(c->status));
			return -EBADMSG;
		}
		if (c->user_data && stage == STAGES - 1 && c->result != crc[c->user_data - 1])
			return -EBADMSG;
		hsl_seen(s->q[stage], 1);
	}
	return n;
}

static void stages_crc(struct stages *s, uint32_t *crc)
{
	static unsigned char block[BLOCK];

	for (unsigned int b = 0; b < BLOCKS; b++) {
		memcpy(block, s->src + b * BLOCK, BLOCK);
		stages_expect(block, STAGES);
		crc[b] = crc32c_ref(0, block, BLOCK);
	}
}

static bool stages_good(struct stages *s)
{
	static unsigned char block[BLOCK];

	for (unsigned int i = 0; i < STAGES; i++) {
		for (unsigned int b = 0; b < BLOCKS; b++) {
			memcpy(block, s->src + b * BLOCK, BLOCK);
			stages_expect(block, i + 1);
			if (memcmp(block, s->mem[i] + b * BLOCK, BLOCK)) {
				fprintf(stderr, "# stage %u, block %u\n", i, b);
				return false;
			}
		}
	}
	return true;
}

/* The first stage is submitted, the last one waited for; what is between is nobody's work. */
TEST_F_TIMEOUT(signal, pipeline, 120)
{
	struct stages s = { 0 };
	uint64_t link[STAGES], ops;
	uint32_t crc[BLOCKS];
	int grant[STAGES], n;

	ASSERT_EQ(0, stages_init(self, &s, 1024, grant));
	stages_crc(&s, crc);
	for (unsigned int i = 0; i < STAGES; i++)
		link[i] = device_counter(self->ctx[i], HSL_CNT_LINK_BYTES);
	/* From the end, so that a signal knows the tail it rings: per block. */
	for (unsigned int b = 0; b < BLOCKS; b++)
		for (int i = STAGES - 1; i >= 0; i--)
			stage_prep(&s, i, b);
	for (unsigned int i = 1; i < STAGES; i++)
		ASSERT_EQ((int)(BLOCKS * s.nr[i]), hsl_hold(s.q[i]));
	/* Held is not started. */
	usleep(20000);
	for (unsigned int i = 1; i < STAGES; i++)
		ASSERT_EQ(0, queue_counter(self->ctx[i], s.q[i], HSL_CNT_OPS));

	ASSERT_EQ((int)(BLOCKS * s.nr[0]), hsl_submit(s.q[0]));
	for (unsigned int done = 0; done < BLOCKS * s.nr[STAGES - 1]; done += n) {
		const struct hsl_cqe *c;

		ASSERT_EQ(0, hsl_wait(s.q[STAGES - 1], &c, BOUND_NS));
		n = stage_reap(&s, STAGES - 1, crc);
		ASSERT_LT(0, n);
	}
	EXPECT_TRUE(stages_good(&s));
	for (unsigned int i = 0; i < STAGES; i++) {
		ops = queue_counter(self->ctx[i], s.q[i], HSL_CNT_OPS);
		/* Of a signal the completion may be the last thing. */
		ASSERT_TRUE(COMES_TRUE(queue_counter(self->ctx[i], s.q[i], HSL_CNT_OPS) == BLOCKS * s.nr[i]))
			TH_LOG("stage %u: %llu of %u", i, (unsigned long long)ops, BLOCKS * s.nr[i]);
		if (i + 1 < STAGES)
			ASSERT_EQ((int)(BLOCKS * s.nr[i]), stage_reap(&s, i, crc));
		EXPECT_EQ(0, hsl_in_flight(s.q[i]));
		if (!i)
			continue;
		/* Nobody but the signals has told it anything. */
		EXPECT_EQ(0, s.q[i]->ctl->sq_tail);
		EXPECT_EQ(BLOCKS, queue_counter(self->ctx[i], s.q[i], HSL_CNT_DOORBELLS));
		EXPECT_LE(BLOCKS * BLOCK, device_counter(self->ctx[i], HSL_CNT_LINK_BYTES) - link[i]);
	}
}

/* Rings much smaller than the work: sq_tail of the later stages is left behind by far. */
TEST_F_TIMEOUT(signal, refill, 120)
{
	const unsigned int rounds = 3 * BLOCKS;
	unsigned int done[STAGES] = { 0 };
	struct stages s = { 0 };
	uint32_t crc[BLOCKS];
	int grant[STAGES];
	long long end;

	ASSERT_EQ(0, stages_init(self, &s, 16, grant));
	stages_crc(&s, crc);
	end = now_ms() + 3 * BOUND_MS;
	for (unsigned int b = 0; b < rounds || done[STAGES - 1] < rounds * 4; ) {
		bool room = b < rounds;

		ASSERT_GT(end, now_ms())
			TH_LOG("block %u, done %u %u %u", b, done[0], done[1], done[2]);
		for (unsigned int i = 0; i < STAGES; i++) {
			int n = stage_reap(&s, i, crc);

			ASSERT_LE(0, n);
			done[i] += n;
			room &= hsl_sq_space(s.q[i]) >= 5;
		}
		if (!room)
			continue;
		for (int i = STAGES - 1; i >= 0; i--) {
			stage_prep(&s, i, b % BLOCKS);
			if (i)
				hsl_hold(s.q[i]);
			else
				hsl_submit(s.q[i]);
		}
		b++;
	}
	EXPECT_TRUE(stages_good(&s));
	for (unsigned int i = 1; i < STAGES; i++) {
		EXPECT_EQ(0, s.q[i]->ctl->sq_tail);
		EXPECT_EQ(HSL_Q_RUNNING, queue_state(s.q[i]).state);
		/* and what is submitted goes on from there */
		ASSERT_TRUE(COMES_TRUE((stage_reap(&s, i, crc), !hsl_in_flight(s.q[i]))));
		EXPECT_EQ(0, hsl_fill(s.q[i], s.mem[i], i, 4096));
		EXPECT_EQ(i, *(uint64_t *)s.mem[i]);
	}
}

/* Submitted, rung and held descriptors of one queue; a signal within one queue. */
TEST_F(signal, mixed)
{
	struct hsl_queue *q = self->q[1];
	uint64_t word = 0;
	int grant, handle, own;
	struct hsl_desc *d;
	struct hsl_cqe c;

	grant = hsl_queue_grant(q);
	ASSERT_LE(0, grant);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	own = hsl_signal_add(self->ctx[1], grant);
	ASSERT_LE(0, own);
	for (int i = 0; i < 3 * ENTRIES; i++) {
		ASSERT_EQ(0, relay(self->q[0], handle, q));
		if (i % 3 == 0)
			ASSERT_EQ(0, hsl_fill(q, &word, i, 8));
	}

	/* A submission takes along what is held. */
	hsl_prep_atomic_add(hsl_get_desc(q), &word, 8, 1000000);
	ASSERT_EQ(1, hsl_hold(q));
	EXPECT_EQ(0, hsl_submit(q));
	hsl_prep_nop(hsl_get_desc(q));
	EXPECT_EQ(2, hsl_in_flight(q) + 1);
	ASSERT_EQ(0, finish_one(q, &c));
	ASSERT_EQ(0, finish_one(q, &c));
	EXPECT_LE(1000000, word);

	/* It rings itself: the signal is submitted, what comes after it is not. */
	word = 0;
	d = hsl_get_desc(q);
	hsl_prep_fill(hsl_get_desc(q), &word, 77, 8);
	hsl_prep_signal(d, own, hsl_sq_tail(q));
	hsl_hold(q);
	hsl_publish(&q->ctl->sq_tail, hsl_sq_tail(q) - 1);
	hsl_ring_doorbell(q->doorbell, hsl_sq_tail(q) - 1);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, finish_one(q, &c));
		EXPECT_EQ(HSL_ST_OK, c.status);
	}
	EXPECT_EQ(77, word);
	close(grant);
}

TEST_F(signal, no_right)
{
	struct hsl_queue *q = self->q[0], *other;
	struct hsl_ctx *ctx;
	struct hsl_cqe c;
	int grant, handle;

	for (int h = 0; h < 256; h += 51)
		EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(q, h, 1));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(q, 256, 1));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(q, -1, 1));

	grant = hsl_queue_grant(self->q[1]);
	ASSERT_LE(0, grant);
	EXPECT_TRUE(fcntl(grant, F_GETFD) & FD_CLOEXEC);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	EXPECT_EQ(0, relay(q, handle, self->q[1]));

	/* Of another context of this device, and of another device */
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &other));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(other, handle, 0));
	EXPECT_EQ(-ENOENT, hsl_signal_del(ctx, handle));
	hsl_close(ctx);
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[2], handle, 0));

	/* The descriptor itself */
	hsl_prep(hsl_get_desc(q), HSL_OP_SIGNAL, NULL, NULL, 8, handle, 1);
	ASSERT_EQ(0, finish_one(q, &c));
	EXPECT_EQ(HSL_ST_INVALID, c.status);
	hsl_prep(hsl_get_desc(q), HSL_OP_SIGNAL, NULL, NULL, 0, handle, 1ull << 32);
	ASSERT_EQ(0, finish_one(q, &c));
	EXPECT_EQ(HSL_ST_INVALID, c.status);

	/* Files that are no right */
	EXPECT_EQ(-EBADF, hsl_signal_add(self->ctx[0], -1));
	EXPECT_EQ(-EINVAL, hsl_signal_add(self->ctx[0], hsl_fd(self->ctx[1])));
	EXPECT_EQ(-EINVAL, hsl_signal_add(self->ctx[0], 2));

	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(q, handle, 0));
	EXPECT_EQ(-ENOENT, hsl_signal_del(self->ctx[0], handle));
	EXPECT_EQ(-ENOENT, hsl_signal_del(self->ctx[0], 100000));
	close(grant);
}

/* A tail that is none is the sender's mistake, not the end of the queue. */
TEST_F(signal, bad_tails)
{
	struct hsl_queue *q = self->q[1];
	int grant, handle;
	uint32_t at;

	grant = hsl_queue_grant(q);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	for (int i = 0; i < 2; i++) {
		const uint32_t bad[] = { ENTRIES + 1, 0x7fffffff, 0x80000000, 0x80000001, -ENTRIES - 1 };

		at = hsl_sq_tail(q);
		for (size_t j = 0; j < ARRAY(bad); j++)
			EXPECT_EQ(HSL_ST_INVALID, signal_status(self->q[0], handle, at + bad[j]));
		/* Passed already: true, and nothing follows. */
		EXPECT_EQ(HSL_ST_OK, signal_status(self->q[0], handle, at));
		EXPECT_EQ(i ? HSL_ST_OK : HSL_ST_INVALID, signal_status(self->q[0], handle, at - 5));
		EXPECT_EQ(HSL_Q_RUNNING, queue_state(q).state);
		for (int n = 0; n < 5 * ENTRIES; n++)
			ASSERT_EQ(0, relay(self->q[0], handle, q));
	}
	close(grant);
}

/* Closed by everyone, or given back */
TEST_F(signal, close_ends_the_right)
{
	int grant, copy, second, handle[2];

	grant = hsl_queue_grant(self->q[1]);
	second = hsl_queue_grant(self->q[1]);
	ASSERT_LE(0, second);
	handle[0] = hsl_signal_add(self->ctx[0], grant);
	handle[1] = hsl_signal_add(self->ctx[0], second);
	ASSERT_LE(0, handle[0]);
	ASSERT_LE(0, handle[1]);
	copy = dup(grant);
	close(grant);
	EXPECT_EQ(0, relay(self->q[0], handle[0], self->q[1]));
	close(copy);
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle[0], hsl_sq_tail(self->q[1])));
	/* The other right is another. */
	EXPECT_EQ(0, relay(self->q[0], handle[1], self->q[1]));
	/* What is left of it is the user's to give back. */
	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle[0]));
	EXPECT_EQ(-ENOENT, hsl_signal_del(self->ctx[0], handle[0]));
	close(second);
}

/* The line of its fdinfo that begins so */
static bool grant_says(int grant, const char *want)
{
	char path[64], line[128];
	bool says = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", grant);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		says |= !strncmp(line, want, strlen(want));
	if (f)
		fclose(f);
	return says;
}

/* The queue ends; another takes its number and is not rung. */
TEST_F(signal, destroy_ends_the_right)
{
	struct hsl_queue *q = self->q[1], *next;
	struct hsl_query info = { .size = sizeof(info) };
	uint32_t hwq = queue_state(q).hw_queue;
	int grant, handle;
	bool met = false;
	char whose[64];

	grant = hsl_queue_grant(q);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, relay(self->q[0], handle, q));
	snprintf(whose, sizeof(whose), "hsl-grant:\thsl1 queue %u\n", hwq);
	EXPECT_TRUE(grant_says(grant, whose));
	ASSERT_EQ(0, hsl_queue_destroy(q));
	EXPECT_TRUE(grant_says(grant, "hsl-grant:\tended\n"));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
	EXPECT_EQ(-ESTALE, hsl_signal_add(self->ctx[0], grant));

	/* Numbers are given out in turn. */
	ASSERT_EQ(0, hsl_query(self->ctx[1], &info));
	for (unsigned int i = 0; i < 2 * info.nr_queues && !met; i++) {
		ASSERT_EQ(0, hsl_queue_create(self->ctx[1], NULL, &next));
		met = queue_state(next).hw_queue == hwq;
		if (!met)
			ASSERT_EQ(0, hsl_queue_destroy(next));
	}
	ASSERT_TRUE(met);
	hsl_prep_nop(hsl_get_desc(next));
	hsl_hold(next);
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
	usleep(10000);
	EXPECT_EQ(0, queue_counter(self->ctx[1], next, HSL_CNT_DOORBELLS));
	EXPECT_EQ(0, queue_counter(self->ctx[1], next, HSL_CNT_OPS));
	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));
	close(grant);
}

/* A queue that has failed is not rung, nor can it be. */
TEST_F(signal, failed_queue)
{
	struct hsl_queue *q = self->q[1];
	int grant, handle;

	grant = hsl_queue_grant(q);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	hsl_ring_doorbell(q->doorbell, 0x40000000);
	ASSERT_TRUE(COMES_TRUE(queue_state(q).state == HSL_Q_FAILED));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
	EXPECT_EQ(-ESTALE, hsl_signal_add(self->ctx[0], grant));
	close(grant);
}

/* The file of a context is closed with a right outside. */
TEST_F(signal, context_ends)
{
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	int grant, handle, n;

	/* Of the queue */
	ASSERT_EQ(0, open_on(dev_path(2), variant->sva, &ctx));
	ASSERT_EQ(0, link_queue(ctx, ENTRIES, &q));
	grant = hsl_queue_grant(q);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, relay(self->q[0], handle, q));
	hsl_close(ctx);
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
	EXPECT_EQ(-ESTALE, hsl_signal_add(self->ctx[0], grant));
	close(grant);
	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));

	/* Of the one that rings: nothing is left of it in the table. */
	grant = hsl_queue_grant(self->q[1]);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx));
		ASSERT_EQ(0, link_queue(ctx, ENTRIES, &q));
		for (n = 0; n < MAX_SIGNALS; n++) {
			handle = hsl_signal_add(ctx, grant);
			ASSERT_LE(0, handle);
		}
		ASSERT_EQ(0, relay(q, handle, self->q[1]));
		hsl_close(ctx);
	}
	close(grant);
}

static int reset_device(unsigned int dev)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/device/reset", dev);
	return write_text(path, "1");
}

/* Either device is reset under the right. */
TEST_F_TIMEOUT(signal, reset, 60)
{
	int grant, handle;

	/* The one that is rung */
	grant = hsl_queue_grant(self->q[1]);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, relay(self->q[0], handle, self->q[1]));
	ASSERT_EQ(0, reset_device(1));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
	EXPECT_EQ(-ESTALE, hsl_signal_add(self->ctx[0], grant));
	EXPECT_EQ(-ENODEV, hsl_queue_grant(self->q[1]));
	EXPECT_EQ(-ENODEV, hsl_signal_add(self->ctx[1], grant));
	close(grant);
	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));
	hsl_close(self->ctx[1]);
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &self->ctx[1]));
	ASSERT_EQ(0, link_queue(self->ctx[1], ENTRIES, &self->q[1]));
	ASSERT_TRUE(COMES_TRUE(joined(self)));

	/* The one that rings */
	grant = hsl_queue_grant(self->q[1]);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, relay(self->q[0], handle, self->q[1]));
	ASSERT_EQ(0, reset_device(0));
	EXPECT_EQ(-ENODEV, hsl_signal_del(self->ctx[0], handle));
	hsl_close(self->ctx[0]);
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &self->ctx[0]));
	ASSERT_EQ(0, link_queue(self->ctx[0], ENTRIES, &self->q[0]));
	for (int h = 0; h < 256; h++)
		ASSERT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], h, 1));
	ASSERT_TRUE(COMES_TRUE(joined(self)));
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	EXPECT_EQ(0, relay(self->q[0], handle, self->q[1]));
	close(grant);
}

/* Either device leaves its driver, with the file still open. */
TEST_F_TIMEOUT(signal, unbind, 60)
{
	for (int leaves = 1; leaves >= 0; leaves--) {
		int grant, handle;
		char name[64];

		grant = hsl_queue_grant(self->q[1]);
		handle = hsl_signal_add(self->ctx[0], grant);
		ASSERT_LE(0, handle);
		ASSERT_EQ(0, relay(self->q[0], handle, self->q[1]));

		ASSERT_EQ(0, pci_name(leaves, name, sizeof(name)));
		ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/hsl/unbind", name));
		if (leaves == 1) {
			EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
			EXPECT_EQ(-ESTALE, hsl_signal_add(self->ctx[0], grant));
			EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));
		} else {
			EXPECT_EQ(-ENODEV, hsl_signal_del(self->ctx[0], handle));
		}
		ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/hsl/bind", name));
		hsl_close(self->ctx[leaves]);
		ASSERT_EQ(0, open_on(dev_path(leaves), variant->sva, &self->ctx[leaves]));
		ASSERT_EQ(0, link_queue(self->ctx[leaves], ENTRIES, &self->q[leaves]));
		ASSERT_TRUE(COMES_TRUE(joined(self)));
		/* What it was granted before means nothing to it now. */
		EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
		close(grant);
	}
}

TEST_F(signal, cut_link)
{
	uint64_t lost = device_counter(self->ctx[0], HSL_CNT_UNREACHABLE);
	int grant[2], handle[2];
	struct hsl_queue *own, *pcie;
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_PCIE | HSL_ROUTE_VIA_HOST };

	ASSERT_EQ(0, link_queue(self->ctx[0], ENTRIES, &own));
	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], &opts, &pcie));
	grant[0] = hsl_queue_grant(self->q[1]);
	grant[1] = hsl_queue_grant(own);
	for (int i = 0; i < 2; i++) {
		handle[i] = hsl_signal_add(self->ctx[0], grant[i]);
		ASSERT_LE(0, handle[i]);
	}
	EXPECT_EQ(0, relay(self->q[0], handle[0], self->q[1]));
	/* A queue that may not use the link may not ring by it. */
	EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, signal_status(pcie, handle[0], hsl_sq_tail(self->q[1])));
	EXPECT_EQ(0, relay(pcie, handle[1], own));

	for (int i = 0; i < 5; i++) {
		ports_enable(0, self->ports[0], false);
		EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, signal_status(self->q[0], handle[0], hsl_sq_tail(self->q[1])));
		EXPECT_EQ(0, relay(self->q[0], handle[1], own));
		/* No link, no matter: the right is there. */
		EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle[0]));
		handle[0] = hsl_signal_add(self->ctx[0], grant[0]);
		ASSERT_LE(0, handle[0]);
		/* It waits while the link trains. */
		ports_enable(0, self->ports[0], true);
		EXPECT_EQ(0, relay(self->q[0], handle[0], self->q[1]));
	}
	EXPECT_LE(lost + 6, device_counter(self->ctx[0], HSL_CNT_UNREACHABLE));
	EXPECT_EQ(HSL_Q_RUNNING, queue_state(self->q[1]).state);
	close(grant[0]);
	close(grant[1]);
}

TEST_F(signal, limits)
{
	struct hsl_ctx *ctx[256 / MAX_SIGNALS + 1] = { 0 };
	int grant, handle = -1, last = -1;
	unsigned int n, total = 0;

	grant = hsl_queue_grant(self->q[1]);
	for (n = 0; n < MAX_SIGNALS; n++) {
		handle = hsl_signal_add(self->ctx[0], grant);
		ASSERT_LE(0, handle);
		ASSERT_NE(last, handle);
		last = handle;
	}
	EXPECT_EQ(-ENOSPC, hsl_signal_add(self->ctx[0], grant));
	EXPECT_EQ(0, relay(self->q[0], handle, self->q[1]));
	ASSERT_EQ(0, hsl_signal_del(self->ctx[0], handle));
	handle = hsl_signal_add(self->ctx[0], grant);
	EXPECT_LE(0, handle);
	EXPECT_EQ(0, relay(self->q[0], handle, self->q[1]));

	/* The whole table */
	total = MAX_SIGNALS;
	for (unsigned int i = 0; i < ARRAY(ctx); i++) {
		ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx[i]));
		for (n = 0; n < MAX_SIGNALS && hsl_signal_add(ctx[i], grant) >= 0; n++)
			total++;
	}
	EXPECT_EQ(256, total);
	EXPECT_EQ(-ENOSPC, hsl_signal_add(ctx[ARRAY(ctx) - 1], grant));
	hsl_close(ctx[0]);
	EXPECT_LE(0, hsl_signal_add(ctx[ARRAY(ctx) - 1], grant));
	for (unsigned int i = 1; i < ARRAY(ctx); i++)
		hsl_close(ctx[i]);
	/* The file outlives the entries, and ends them. */
	close(grant);
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 0));
}

TEST_F(signal, per_user)
{
	const char *param = PARAM_DIR "/max_signals_per_user";
	long long limit = read_number(param);
	int grant, handle[3], again;

	ASSERT_LT(0, limit);
	if (write_number(param, 2))
		SKIP(return, "cannot change %s", param);
	grant = hsl_queue_grant(self->q[2]);
	/* Whoever may exceed resource limits is not held back; others are, all devices together. */
	for (unsigned int i = 0; i < 3; i++)
		handle[i] = hsl_signal_add(self->ctx[i], grant);
	hsl_signal_del(self->ctx[2], handle[2]);
	EXPECT_EQ(0, drop_capability(CAP_SYS_RESOURCE));
	again = hsl_signal_add(self->ctx[2], grant);
	EXPECT_EQ(-ENOSPC, again);
	EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle[0]));
	again = hsl_signal_add(self->ctx[2], grant);
	/* What a context that ends gives back counts as well. */
	hsl_close(self->ctx[1]);
	self->ctx[1] = NULL;
	handle[0] = hsl_signal_add(self->ctx[0], grant);
	ASSERT_EQ(0, write_number(param, limit));
	for (unsigned int i = 1; i < 3; i++)
		EXPECT_LE(0, handle[i]);
	EXPECT_LE(0, again);
	EXPECT_LE(0, handle[0]);
	close(grant);
}

/* A process whose queue is rung: grants it, says so, and waits for @nr operations. */
static void consumer(int sock, enum hsl_sva sva, unsigned int nr)
{
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	uint64_t sum = 0;
	int grant;

	if (open_on(dev_path(1), sva, &ctx) || link_queue(ctx, ENTRIES, &q))
		_exit(1);
	grant = hsl_queue_grant(q);
	if (grant < 0)
		_exit(2);
	for (unsigned int i = 0; i < ENTRIES; i++)
		hsl_prep_atomic_add(hsl_get_desc(q), &sum, 8, 3);
	hsl_hold(q);
	if (send_fd(sock, grant))
		_exit(3);
	close(grant);
	for (unsigned int i = 0; i < nr; i++) {
		const struct hsl_cqe *c;

		if (hsl_wait(q, &c, BOUND_NS) || c->status != HSL_ST_OK)
			_exit(4);
		hsl_seen(q, 1);
	}
	/* As many as were rung, and no more. */
	usleep(10000);
	_exit(sum == nr * 3 ? 0 : 5);
}

TEST_F(signal, passed_to_another_process)
{
	int sock[2], grant, handle, status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	if (!pid) {
		close(sock[0]);
		consumer(sock[1], variant->sva, ENTRIES / 2);
	}
	close(sock[1]);
	grant = recv_fd(sock[0]);
	ASSERT_LE(0, grant);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	for (int i = 1; i <= ENTRIES / 2; i++)
		ASSERT_EQ(HSL_ST_OK, signal_status(self->q[0], handle, i));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, read(sock[0], &byte, 1));
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, ENTRIES));
	close(grant);
	close(sock[0]);
}

/* A child has the file, not the queue; it rings by a context of its own. */
TEST_F(signal, fork)
{
	int grant, handle, status;
	const struct hsl_cqe *c;
	uint64_t word = 0;
	pid_t pid;

	grant = hsl_queue_grant(self->q[1]);
	handle = hsl_signal_add(self->ctx[0], grant);
	ASSERT_LE(0, handle);
	hsl_prep_fill(hsl_get_desc(self->q[1]), &word, 99, 8);
	hsl_hold(self->q[1]);
	pid = fork();
	if (!pid) {
		struct hsl_queue *q;
		struct hsl_ctx *ctx;

		if (hsl_queue_grant(self->q[1]) != -EPERM || hsl_hold(self->q[1]) != -EPERM ||
		    hsl_sq_tail(self->q[1]) || hsl_signal_add(self->ctx[0], grant) != -EPERM ||
		    hsl_signal_del(self->ctx[0], handle) != -EPERM)
			_exit(1);
		if (open_on(dev_path(0), variant->sva, &ctx) || link_queue(ctx, ENTRIES, &q))
			_exit(2);
		if (signal_status(q, handle, 1) != HSL_ST_NOT_PERMITTED)
			_exit(3);
		handle = hsl_signal_add(ctx, grant);
		if (handle < 0)
			_exit(4);
		_exit(signal_status(q, handle, 1));
	}
	/* Ours is closed; the child's is the same right. */
	close(grant);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, hsl_wait(self->q[1], &c, BOUND_NS));
	EXPECT_EQ(99, word);
	/* and ended with it */
	EXPECT_EQ(HSL_ST_NOT_PERMITTED, signal_status(self->q[0], handle, 1));
}

/* Whoever is rung is killed; whoever rings hears of it and goes on. */
TEST_F_TIMEOUT(signal, kill_the_consumer, 120)
{
	for (int round = 0; round < 15; round++) {
		int sock[2], grant, handle, status, last;
		uint32_t tail = 0;
		pid_t pid;

		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
		pid = fork();
		if (!pid)
			consumer(sock[1], variant->sva, ~0u);
		grant = recv_fd(sock[0]);
		ASSERT_LE(0, grant);
		handle = hsl_signal_add(self->ctx[0], grant);
		ASSERT_LE(0, handle);
		if (round % 3)
			kill(pid, SIGKILL);
		while ((last = signal_status(self->q[0], handle, ++tail % ENTRIES)) == HSL_ST_OK ||
		       last == HSL_ST_INVALID)
			if (tail == 50)
				kill(pid, SIGKILL);
		EXPECT_EQ(HSL_ST_NOT_PERMITTED, last);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, hsl_signal_del(self->ctx[0], handle));
		close(grant);
		close(sock[0]);
		close(sock[1]);
	}
}

/* Whoever rings is killed in the middle of it; the queue goes on. */
TEST_F_TIMEOUT(signal, kill_the_producer, 120)
{
	struct hsl_queue *q = self->q[1];
	int grant, handle;
	uint64_t word;

	grant = hsl_queue_grant(q);
	handle = hsl_signal_add(self->ctx[2], grant);
	ASSERT_LE(0, handle);
	for (int round = 0; round < 15; round++) {
		uint32_t base = hsl_sq_tail(q);
		pid_t pid = fork();
		int status;

		if (!pid) {
			struct hsl_queue *mine;
			struct hsl_ctx *ctx;
			int ring;

			if (open_on(dev_path(0), variant->sva, &ctx) || link_queue(ctx, ENTRIES, &mine))
				_exit(1);
			ring = hsl_signal_add(ctx, grant);
			if (ring < 0)
				_exit(2);
			/* The parent works on: these are old, then too old, or were never. */
			for (;;) {
				const struct hsl_cqe *c;

				while (hsl_sq_space(mine))
					hsl_prep_signal(hsl_get_desc(mine), ring, base - rnd(3));
				hsl_submit(mine);
				if (hsl_wait(mine, &c, BOUND_NS))
					_exit(3);
				if (c->status != HSL_ST_OK && c->status != HSL_ST_INVALID)
					_exit(4);
				hsl_seen(mine, 1);
			}
		}
		ASSERT_LT(0, pid);
		for (long long end = now_ms() + 20 + rnd(30); now_ms() < end; )
			ASSERT_EQ(0, hsl_fill(q, &word, base, sizeof(word)));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status))
			TH_LOG("the child ended by itself with %d", WEXITSTATUS(status));
		ASSERT_EQ(0, relay(self->q[2], handle, q));
		EXPECT_EQ(HSL_Q_RUNNING, queue_state(q).state);
	}
	close(grant);
}

struct churn {
	struct hsl_ctx *ctx;
	struct hsl_queue *from, *to;
	volatile bool stop;
	unsigned int rung;
	int err;
};

static void *ring_on(void *arg)
{
	struct churn *c = arg;

	while (!c->stop && !c->err) {
		int grant = hsl_queue_grant(c->to), handle, status;
		bool closed;

		handle = grant < 0 ? grant : hsl_signal_add(c->ctx, grant);
		if (handle < 0) {
			c->err = handle;
			break;
		}
		/* Either may be first. */
		closed = rnd(2);
		if (closed)
			close(grant);
		status = signal_status(c->from, handle, 0);
		if (hsl_signal_del(c->ctx, handle))
			c->err = -EBADMSG;
		if (!closed)
			close(grant);
		if (status != (closed ? HSL_ST_NOT_PERMITTED : HSL_ST_OK))
			c->err = status < 0 ? status : -EBADMSG;
		c->rung += status == HSL_ST_OK;
	}
	return NULL;
}

/* All at once: rights come and go in both directions on all devices. */
TEST_F_TIMEOUT(signal, churn, 60)
{
	struct churn c[STAGES] = { 0 };
	pthread_t thread[STAGES];

	for (unsigned int i = 0; i < STAGES; i++) {
		c[i] = (struct churn) { .ctx = self->ctx[i], .from = self->q[i] };
		ASSERT_EQ(0, link_queue(self->ctx[(i + 1) % STAGES], ENTRIES, &c[i].to));
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, ring_on, &c[i]));
	}
	sleep(2);
	for (unsigned int i = 0; i < STAGES; i++) {
		c[i].stop = true;
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, c[i].err)
			TH_LOG("hsl%u: %s", i, strerror(-c[i].err));
		EXPECT_LT(0, c[i].rung);
	}
}

TEST_HARNESS_MAIN
