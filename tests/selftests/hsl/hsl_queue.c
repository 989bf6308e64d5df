// SPDX-License-Identifier: GPL-2.0
/* Queues: rings that fill and wrap, order, wake-ups of either side, many at once. */
#include "hsl_test.h"

FIXTURE(ring) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
};

FIXTURE_VARIANT(ring) {
	enum hsl_sva sva;
	uint32_t sq, cq;
};

PROVIDER_VARIANT_ADD(ring, smallest, .sq = 2, .cq = 2);
PROVIDER_VARIANT_ADD(ring, small_wide, .sq = 2, .cq = 16);
PROVIDER_VARIANT_ADD(ring, page, .sq = 64, .cq = 128);
PROVIDER_VARIANT_ADD(ring, large, .sq = 1024, .cq = 1024);

FIXTURE_SETUP(ring)
{
	struct hsl_queue_opts opts = {
		.size = sizeof(opts), .sq_entries = variant->sq, .cq_entries = variant->cq,
	};

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &self->q));
}

FIXTURE_TEARDOWN(ring)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

TEST_F(ring, one)
{
	struct hsl_desc *d = hsl_get_desc(self->q);
	struct hsl_cqe c;

	hsl_prep_nop(d);
	hsl_desc_set_user_data(d, 0x1122334455667788);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(0x1122334455667788, c.user_data);
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, c.bytes);
	EXPECT_EQ(1, c.lap);
	EXPECT_EQ(HSL_Q_RUNNING, queue_state(self->q).state);
}

/* The ring says when it is full, and every one in it completes once. */
TEST_F(ring, fill_and_drain)
{
	const struct hsl_cqe *c;
	uint32_t n, i, rounds;
	uint8_t seen[1024];

	for (rounds = 0; rounds < 8; rounds++) {
		struct hsl_desc *d;

		for (n = 0; (d = hsl_get_desc(self->q)); n++) {
			hsl_prep_nop(d);
			hsl_desc_set_user_data(d, n);
		}
		ASSERT_EQ(variant->sq, n);
		ASSERT_EQ(n, hsl_submit(self->q));
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
			ASSERT_LT(c->user_data, n);
			ASSERT_EQ(0, seen[c->user_data]++);
			hsl_seen(self->q, 1);
		}
		ASSERT_EQ(-EAGAIN, hsl_peek(self->q, &c));
		ASSERT_EQ(-ENODATA, hsl_wait(self->q, &c, 0));
	}
}

/* Random batches many times around; the data show what ran, and how often. */
TEST_F_TIMEOUT(ring, random_batches, 120)
{
	const uint64_t total = 200 * variant->cq < 20000 ? 20000 : 60 * variant->cq;
	const struct hsl_cqe *c[64];
	uint64_t sent = 0, seen = 0;
	uint64_t *counts;
	int i, n;

	SEED();
	counts = calloc(total, sizeof(*counts));
	ASSERT_NE(NULL, counts);
	while (seen < total) {
		uint64_t want = rnd(variant->sq + 1);
		struct hsl_desc *d;

		while (want-- && sent < total && (d = hsl_get_desc(self->q))) {
			hsl_prep_atomic_add(d, &counts[sent], 8, sent + 1);
			hsl_desc_set_user_data(d, sent++);
		}
		hsl_submit(self->q);
		if (hsl_in_flight(self->q) && (!hsl_sq_space(self->q) || sent == total || !rnd(4)))
			ASSERT_EQ(0, hsl_wait(self->q, c, BOUND_NS));
		n = hsl_peek_batch(self->q, c, 1 + rnd(64));
		for (i = 0; i < n; i++) {
			ASSERT_EQ(HSL_ST_OK, c[i]->status);
			ASSERT_LT(c[i]->user_data, sent);
			ASSERT_EQ(0, c[i]->result);
		}
		hsl_seen(self->q, n);
		seen += n;
	}
	for (seen = 0; seen < total; seen++)
		ASSERT_EQ(seen + 1, counts[seen]);
	EXPECT_EQ(total, queue_counter(self->ctx, self->q, HSL_CNT_OPS));
	free(counts);
}

FIXTURE(queue) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
};

PROVIDER_VARIANTS(queue);

FIXTURE_SETUP(queue)
{
	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
}

FIXTURE_TEARDOWN(queue)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

/* The lap counter of a completion is 16 bits: once around, and on. */
TEST_F_TIMEOUT(queue, laps_wrap, 120)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 2 };
	const uint32_t total = 2 * 65536 + 100;
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	uint32_t sent = 0, seen = 0;
	struct hsl_desc *d;

	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	while (seen < total) {
		while (sent < total && (d = hsl_get_desc(q))) {
			hsl_prep_nop(d);
			hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
			hsl_desc_set_user_data(d, sent++);
		}
		hsl_submit(q);
		ASSERT_EQ(0, hsl_wait(q, &c, BOUND_NS));
		ASSERT_EQ(seen, c->user_data);
		ASSERT_EQ((uint16_t)(seen / 2 + 1), c->lap);
		hsl_seen(q, 1);
		seen++;
	}
}

/* A fenced descriptor finds what all earlier ones wrote, to the last byte. */
TEST_F_TIMEOUT(queue, fence_flag, 120)
{
	const size_t big = 1 * MB;
	unsigned char *a = map_anon(big), *b = map_anon(big), out[64];
	const struct hsl_cqe *c;
	struct hsl_desc *d;
	int round, i;

	SEED();
	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	for (round = 0; round < 30; round++) {
		size_t at = rnd(big - sizeof(out));

		fill_random(a, big);
		hsl_prep_copy(hsl_get_desc(self->q), b, a, big);
		d = hsl_get_desc(self->q);
		hsl_prep_copy(d, out, b + at, sizeof(out));
		hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
		d = hsl_get_desc(self->q);
		hsl_prep_fill(d, b, 0, big);
		hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
		hsl_submit(self->q);
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
			ASSERT_EQ(HSL_ST_OK, c->status);
			hsl_seen(self->q, 1);
		}
		ASSERT_EQ(0, memcmp(out, a + at, sizeof(out)));
	}
}

/* FENCE completes after all before it and before all after it. */
TEST_F_TIMEOUT(queue, fence_op, 120)
{
	unsigned char *a = map_anon(256 * KB), *b = map_anon(256 * KB);
	const struct hsl_cqe *c;
	uint64_t i;
	int round;

	SEED();
	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	for (round = 0; round < 200; round++) {
		uint64_t fence = 1 + rnd(30), last = fence + 1 + rnd(30);

		for (i = 0; i <= last; i++) {
			struct hsl_desc *d = hsl_get_desc(self->q);

			if (i == fence)
				hsl_prep_fence(d);
			else
				hsl_prep_copy(d, b, a, rnd(2) ? 8 : 1 + rnd(256 * KB));
			hsl_desc_set_user_data(d, i);
		}
		hsl_submit(self->q);
		for (i = 0; i <= last; i++) {
			ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
			ASSERT_EQ(HSL_ST_OK, c->status);
			/* Which side of the fence, and the fence itself: as submitted. */
			ASSERT_EQ(i < fence, c->user_data < fence);
			ASSERT_EQ(i == fence, c->user_data == fence);
			hsl_seen(self->q, 1);
		}
	}
}

/*
 * The device sleeps whenever it likes, between any two submissions. A doorbell
 * that the protocol of db_needed loses leaves the last one here waiting.
 */
TEST_F_TIMEOUT(queue, doorbell_protocol, 120)
{
	const int total = 20000;
	const struct hsl_cqe *c;
	uint64_t doorbells;
	int i;

	SEED();
	for (i = 0; i < total; i++) {
		volatile uint64_t pause = rnd(16) ? rnd(200) : rnd(20000);
		int64_t end;

		while (pause--)
			;
		hsl_prep_nop(hsl_get_desc(self->q));
		hsl_submit(self->q);
		/* Only looking: hsl_wait() might wake it. */
		end = now_ms() + BOUND_MS;
		while (hsl_peek(self->q, &c))
			ASSERT_LT(now_ms(), end);
		hsl_seen(self->q, 1);
	}
	doorbells = queue_counter(self->ctx, self->q, HSL_CNT_DOORBELLS);
	TH_LOG("%lu doorbells for %d submissions", (unsigned long)doorbells, total);
	EXPECT_LE(doorbells, total);
	EXPECT_GT(doorbells, 0);
}

/* The same with the program as the sleeper: each wait goes through the interrupt. */
TEST_F_TIMEOUT(queue, sleep_protocol, 120)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .spin = 1 };
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	int i;

	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	for (i = 0; i < 2000; i++) {
		uint64_t n = 1 + rnd(8);
		uint64_t k;

		for (k = 0; k < n; k++)
			hsl_prep_nop(hsl_get_desc(q));
		hsl_submit(q);
		for (k = 0; k < n; k++) {
			ASSERT_EQ(0, hsl_wait(q, &c, BOUND_NS));
			hsl_seen(q, 1);
		}
	}
	EXPECT_GT(queue_counter(self->ctx, q, HSL_CNT_INTERRUPTS), 0);
}

/* Woken by the last of them, and by no other */
TEST_F_TIMEOUT(queue, wait_batch, 60)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .spin = 1 };
	const struct hsl_cqe *cqes[16];
	char *p = map_anon(MB);
	struct hsl_queue *q;
	uint64_t before;
	int i, k;

	ASSERT_NE(NULL, p);
	SEED();
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	EXPECT_EQ(0, hsl_wait_batch(q, 0, BOUND_NS));
	EXPECT_EQ(-ENODATA, hsl_wait_batch(q, 1, BOUND_NS));
	/* A new queue is armed for its first completion. */
	hsl_prep_fill(hsl_get_desc(q), p, 0, MB);
	hsl_submit(q);
	ASSERT_EQ(0, hsl_wait_batch(q, 1, BOUND_NS));
	hsl_seen(q, 1);

	before = queue_counter(self->ctx, q, HSL_CNT_INTERRUPTS);
	for (i = 0; i < 100; i++) {
		int n = 1 + rnd(ARRAY(cqes));

		for (k = 0; k < n; k++)
			hsl_prep_fill(hsl_get_desc(q), p, i, 64 * KB);
		hsl_submit(q);
		ASSERT_EQ(-ENODATA, hsl_wait_batch(q, n + 1, BOUND_NS));
		ASSERT_EQ(0, hsl_wait_batch(q, n, BOUND_NS));
		ASSERT_EQ(n, hsl_peek_batch(q, cqes, ARRAY(cqes)));
		hsl_seen(q, n);
	}
	EXPECT_GE(100, queue_counter(self->ctx, q, HSL_CNT_INTERRUPTS) - before);

	/* What comes in time is there also when the rest does not. */
	for (k = 0; k < 4; k++)
		hsl_prep_fill(hsl_get_desc(q), p, i, 64 * KB);
	hsl_submit(q);
	hsl_prep_nop(hsl_get_desc(q));
	hsl_hold(q);
	EXPECT_EQ(-ETIMEDOUT, hsl_wait_batch(q, 5, 200 * 1000000ll));
	EXPECT_TRUE(COMES_TRUE(hsl_peek_batch(q, cqes, ARRAY(cqes)) == 4));
}

TEST_F(queue, wait_is_bounded)
{
	const struct hsl_cqe *c;
	size_t big = 64 * MB;
	char *p = map_anon(big);
	int err, i;

	ASSERT_NE(NULL, p);
	EXPECT_EQ(-ENODATA, hsl_wait(self->q, &c, BOUND_NS));
	/* Taken and not submitted is nothing in flight either. */
	hsl_prep_fill(hsl_get_desc(self->q), p, 0x0101010101010101, big);
	EXPECT_EQ(-ENODATA, hsl_wait(self->q, &c, BOUND_NS));
	for (i = 0; i < 7; i++)
		hsl_prep_fill(hsl_get_desc(self->q), p, 0x0101010101010101, big);
	hsl_submit(self->q);
	err = hsl_wait(self->q, &c, 1000);
	EXPECT_TRUE(err == -ETIMEDOUT || !err);
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
		EXPECT_EQ(HSL_ST_OK, c->status);
		hsl_seen(self->q, 1);
	}
	EXPECT_EQ(1, p[big - 1]);
}

static void ignore_signal(int sig)
{
}

static void *send_signals(void *arg)
{
	pthread_t target = *(pthread_t *)arg;
	int i;

	for (i = 0; i < 50; i++) {
		pthread_kill(target, SIGUSR1);
		usleep(500);
	}
	return NULL;
}

TEST_F(queue, wait_survives_signals)
{
	struct sigaction sa = { .sa_handler = ignore_signal };
	struct hsl_queue_opts opts = { .size = sizeof(opts), .spin = 1 };
	pthread_t self_thread = pthread_self(), thread;
	size_t big = 32 * MB;
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	char *p = map_anon(big);
	int i;

	ASSERT_NE(NULL, p);
	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_signals, &self_thread));
	for (i = 0; i < 8; i++) {
		hsl_prep_fill(hsl_get_desc(q), p, i, big);
		hsl_submit(q);
		ASSERT_EQ(0, hsl_wait(q, &c, BOUND_NS));
		EXPECT_EQ(HSL_ST_OK, c->status);
		hsl_seen(q, 1);
	}
	pthread_join(thread, NULL);
}

TEST_F(queue, eventfd)
{
	int fd = hsl_queue_eventfd(self->q, HSL_EVENTFD_COMPLETION);
	const struct hsl_cqe *c;
	uint64_t signals;
	int i;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(fd, hsl_queue_eventfd(self->q, HSL_EVENTFD_COMPLETION));
	EXPECT_EQ(-EINVAL, hsl_queue_eventfd(self->q, HSL_EVENTFD_NR));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, hsl_arm(self->q));
		hsl_prep_nop(hsl_get_desc(self->q));
		hsl_submit(self->q);
		ASSERT_TRUE(readable(fd, BOUND_MS));
		ASSERT_EQ(sizeof(signals), read(fd, &signals, sizeof(signals)));
		/* The interrupt comes after the completion, never before. */
		ASSERT_EQ(0, hsl_peek(self->q, &c));
		ASSERT_EQ(1, hsl_arm(self->q));
		hsl_seen(self->q, 1);
	}
}

/* What debugfs says of the vectors: a queue more, and each interrupt that it takes */
TEST_F(queue, vectors)
{
	long long queues, interrupts;
	struct hsl_queue *q;
	uint64_t signals;
	int fd, i;

	SKIP_WITHOUT_DEBUGFS();
	queues = debugfs_sum(dev_path(0), "vectors", "queues");
	EXPECT_LE(1, queues);
	EXPECT_LE(1, debugfs_sum(dev_path(0), "vectors", "vector"));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &q));
	EXPECT_EQ(queues + 1, debugfs_sum(dev_path(0), "vectors", "queues"));
	fd = hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION);
	ASSERT_GE(fd, 0);
	interrupts = debugfs_sum(dev_path(0), "vectors", "interrupts");
	for (i = 0; i < 20; i++) {
		const struct hsl_cqe *c;

		ASSERT_EQ(0, hsl_arm(q));
		hsl_prep_nop(hsl_get_desc(q));
		hsl_submit(q);
		ASSERT_TRUE(readable(fd, BOUND_MS));
		ASSERT_EQ(sizeof(signals), read(fd, &signals, sizeof(signals)));
		ASSERT_EQ(0, hsl_peek(q, &c));
		hsl_seen(q, 1);
	}
	EXPECT_EQ(interrupts + 20, debugfs_sum(dev_path(0), "vectors", "interrupts"));
	EXPECT_EQ(20, queue_counter(self->ctx, q, HSL_CNT_INTERRUPTS));
	ASSERT_EQ(0, hsl_queue_destroy(q));
	EXPECT_EQ(queues, debugfs_sum(dev_path(0), "vectors", "queues"));
}

/* Nobody asked, so nobody is interrupted. */
TEST_F(queue, polling_takes_no_interrupts)
{
	const struct hsl_cqe *c;
	uint64_t before;
	int i;

	/* A new queue is armed for its first completion. */
	hsl_prep_nop(hsl_get_desc(self->q));
	hsl_submit(self->q);
	ASSERT_EQ(0, hsl_wait(self->q, &c, BOUND_NS));
	hsl_seen(self->q, 1);
	/* hsl_wait() may have armed the second, too. */
	hsl_prep_nop(hsl_get_desc(self->q));
	hsl_submit(self->q);
	ASSERT_TRUE(COMES_TRUE(!hsl_peek(self->q, &c)));
	hsl_seen(self->q, 1);

	before = queue_counter(self->ctx, self->q, HSL_CNT_INTERRUPTS);
	for (i = 0; i < 1000; i++) {
		hsl_prep_nop(hsl_get_desc(self->q));
		hsl_submit(self->q);
		ASSERT_TRUE(COMES_TRUE(!hsl_peek(self->q, &c)));
		hsl_seen(self->q, 1);
	}
	EXPECT_EQ(before, queue_counter(self->ctx, self->q, HSL_CNT_INTERRUPTS));
}

TEST_F(queue, poll_file)
{
	struct pollfd p = { .fd = hsl_fd(self->ctx), .events = POLLIN };
	const struct hsl_cqe *c;
	int i;

	EXPECT_EQ(0, poll(&p, 1, 0));
	for (i = 0; i < 50; i++) {
		hsl_prep_nop(hsl_get_desc(self->q));
		hsl_submit(self->q);
		ASSERT_EQ(1, poll(&p, 1, BOUND_MS));
		ASSERT_EQ(POLLIN, p.revents & (POLLIN | POLLERR | POLLHUP));
		ASSERT_EQ(0, hsl_peek(self->q, &c));
		hsl_seen(self->q, 1);
		ASSERT_EQ(0, poll(&p, 1, 0));
	}
}

/* An interrupt for several completions, and one for a straggler in time. */
TEST_F(queue, coalescing)
{
	struct hsl_queue_opts opts = {
		.size = sizeof(opts), .coalesce_count = 8, .coalesce_usecs = 300000,
	};
	const struct hsl_cqe *c[16];
	struct hsl_queue *q;
	uint64_t signals, interrupts;
	int fd, i, round;
	long long took;

	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	fd = hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION);
	ASSERT_GE(fd, 0);
	for (round = 0; round < 20; round++) {
		int nr = round == 19 ? 1 : 8;

		hsl_arm(q);
		for (i = 0; i < nr; i++)
			hsl_prep_nop(hsl_get_desc(q));
		took = now_ms();
		hsl_submit(q);
		ASSERT_TRUE(readable(fd, BOUND_MS));
		took = now_ms() - took;
		ASSERT_EQ(sizeof(signals), read(fd, &signals, sizeof(signals)));
		/* Before its time it is for all of them. The clocks of guest and device differ by a little. */
		if (nr < 8) {
			EXPECT_LE(250, took);
		} else if (took < 250) {
			EXPECT_EQ(nr, hsl_peek_batch(q, c, 16));
		}
		ASSERT_TRUE(COMES_TRUE(hsl_peek_batch(q, c, 16) == nr));
		hsl_seen(q, nr);
	}
	interrupts = queue_counter(self->ctx, q, HSL_CNT_INTERRUPTS);
	TH_LOG("%lu interrupts for %d completions", (unsigned long)interrupts, 19 * 8 + 1);
	EXPECT_LE(interrupts, 2 * 20);
}

/* Through the kernel, with a ring that is too small for what is handed in. */
TEST_F_TIMEOUT(queue, submit_ioctl, 60)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 4 };
	uint64_t counts[64] = { 0 };
	struct hsl_desc d[64];
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	uint32_t sent = 0, seen = 0, i;
	int64_t end = now_ms() + BOUND_MS;

	ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q));
	for (i = 0; i < 64; i++) {
		hsl_prep_atomic_add(&d[i], &counts[i], 8, i + 1);
		hsl_desc_set_user_data(&d[i], i);
	}
	while (seen < 64) {
		struct hsl_submit arg = {
			.size = sizeof(arg), .queue = hsl_queue_id(q),
			.nr = 64 - sent, .descs = (uintptr_t)&d[sent],
		};

		if (sent < 64) {
			int err = ioctl(hsl_fd(self->ctx), HSL_SUBMIT, &arg) ? errno : 0;

			ASSERT_TRUE(!err || err == EAGAIN)
				TH_LOG("%s", strerror(err));
			if (!err) {
				ASSERT_GE(arg.nr, 1);
				ASSERT_LE(arg.nr, 4);
				sent += arg.nr;
			}
		}
		while (!hsl_peek(q, &c)) {
			ASSERT_EQ(HSL_ST_OK, c->status);
			ASSERT_LT(c->user_data, sent);
			hsl_seen(q, 1);
			seen++;
		}
		ASSERT_LT(now_ms(), end);
	}
	for (i = 0; i < 64; i++)
		EXPECT_EQ(i + 1, counts[i]);
}

/* As many queues as a context may have, all at work, twice over. */
TEST_F_TIMEOUT(queue, many, 120)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 8 };
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_queue *more, **q;
	uint64_t (*counts)[100];
	const struct hsl_cqe *c;
	unsigned int i, n, k, round;

	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	ASSERT_GE(info.max_queues, 2);
	n = info.max_queues - 1;	/* the fixture has one */
	q = calloc(n, sizeof(*q));
	counts = calloc(n, sizeof(*counts));
	for (round = 0; round < 2; round++) {
		memset(counts, 0, n * sizeof(*counts));
		for (i = 0; i < n; i++) {
			opts.priority = i % 4;
			ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q[i]))
				TH_LOG("queue %u of %u", i, n);
		}
		EXPECT_EQ(-ENOSPC, hsl_queue_create(self->ctx, &opts, &more));
		for (k = 0; k < 100; k++) {
			for (i = 0; i < n; i++) {
				struct hsl_desc *d = hsl_get_desc(q[i]);

				if (!d) {
					ASSERT_EQ(0, hsl_wait(q[i], &c, BOUND_NS));
					ASSERT_EQ(HSL_ST_OK, c->status);
					hsl_seen(q[i], 1);
					d = hsl_get_desc(q[i]);
				}
				ASSERT_NE(NULL, d);
				hsl_prep_atomic_add(d, &counts[i][k], 8, i * 100 + k + 1);
				hsl_submit(q[i]);
			}
		}
		for (i = 0; i < n; i++) {
			while (hsl_in_flight(q[i])) {
				ASSERT_EQ(0, hsl_wait(q[i], &c, BOUND_NS));
				ASSERT_EQ(HSL_ST_OK, c->status);
				hsl_seen(q[i], 1);
			}
			for (k = 0; k < 100; k++)
				ASSERT_EQ(i * 100 + k + 1, counts[i][k]);
			ASSERT_EQ(0, hsl_queue_destroy(q[i]));
		}
	}
	free(q);
	free(counts);
}

/* All priorities make progress while the others are busy. */
TEST_F_TIMEOUT(queue, priorities, 120)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts) };
	const size_t len = 64 * KB;
	uint64_t done[4] = { 0 };
	struct hsl_queue *q[4];
	const struct hsl_cqe *c;
	char *src = map_anon(len), *dst = map_anon(4 * len);
	int64_t end;
	int i;

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	opts.priority = 4;
	ASSERT_EQ(-EINVAL, hsl_queue_create(self->ctx, &opts, &q[0]));
	for (i = 0; i < 4; i++) {
		opts.priority = i;
		ASSERT_EQ(0, hsl_queue_create(self->ctx, &opts, &q[i]));
	}
	memset(src, 0x5a, len);
	end = now_ms() + BOUND_MS;
	/* Until each has had its turn while all were full. */
	while (done[0] < 200 || done[1] < 200 || done[2] < 200 || done[3] < 200) {
		for (i = 0; i < 4; i++) {
			struct hsl_desc *d;

			while ((d = hsl_get_desc(q[i])))
				hsl_prep_copy(d, dst + i * len, src, len);
			hsl_submit(q[i]);
			while (!hsl_peek(q[i], &c)) {
				ASSERT_EQ(HSL_ST_OK, c->status);
				hsl_seen(q[i], 1);
				done[i]++;
			}
		}
		ASSERT_LT(now_ms(), end);
	}
	TH_LOG("done by priority: %lu %lu %lu %lu", done[0], done[1], done[2], done[3]);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, hsl_queue_destroy(q[i]));
		EXPECT_EQ(0, memcmp(dst + i * len, src, len));
	}
}

TEST_F(queue, options)
{
	struct {
		struct hsl_queue_opts opts;
		uint64_t tail;
	} newer = { .opts.size = sizeof(newer) };
	struct hsl_queue_opts opts = { .size = sizeof(opts) };
	struct hsl_queue *q;

	opts.size = sizeof(opts) - 4;
	EXPECT_EQ(-EINVAL, hsl_queue_create(self->ctx, &opts, &q));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, &newer.opts, &q));
	EXPECT_EQ(0, hsl_queue_destroy(q));
	newer.tail = 1;
	EXPECT_EQ(-E2BIG, hsl_queue_create(self->ctx, &newer.opts, &q));
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .flags = 1 };
	EXPECT_EQ(-EOPNOTSUPP, hsl_queue_create(self->ctx, &opts, &q));
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .sq_entries = 3 };
	EXPECT_EQ(-EINVAL, hsl_queue_create(self->ctx, &opts, &q));
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .sq_entries = 8, .cq_entries = 4 };
	EXPECT_EQ(-EINVAL, hsl_queue_create(self->ctx, &opts, &q));
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .sq_entries = 1 << 24 };
	EXPECT_EQ(-EINVAL, hsl_queue_create(self->ctx, &opts, &q));
	opts = (struct hsl_queue_opts){ .size = sizeof(opts), .ops = 1ull << 63 };
	EXPECT_EQ(-EOPNOTSUPP, hsl_queue_create(self->ctx, &opts, &q));
}

/* A forked child gets a clear refusal and leaves the parent's queue alone. */
TEST_F(queue, fork)
{
	const struct hsl_cqe *c;
	struct hsl_queue *q = self->q;
	struct hsl_queue_state state = { .size = sizeof(state) };
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_cqe done;
	int status;
	pid_t pid;

	hsl_prep_nop(hsl_get_desc(q));
	ASSERT_EQ(0, finish_one(q, &done));
	pid = fork();
	if (!pid) {
		int bad = 0;

		bad |= hsl_get_desc(q) != NULL;
		bad |= (hsl_submit(q) != -EPERM) << 1;
		bad |= (hsl_peek(q, &c) != -EPERM) << 2;
		bad |= (hsl_wait(q, &c, 0) != -EPERM || hsl_wait_batch(q, 1, 0) != -EPERM ||
			hsl_wait_batch(q, 0, 0) != -EPERM) << 3;
		bad |= (hsl_queue_state(q, &state) != -EPERM) << 4;
		bad |= (hsl_query(self->ctx, &info) != -EPERM) << 5;
		bad |= (hsl_cqe_at(q, 0) || hsl_sq_refresh(q) || hsl_sq_space(q) || hsl_in_flight(q)) << 6;
		hsl_seen(q, 1);
		bad |= (hsl_in_flight(q) || hsl_arm(q) != -EPERM) << 7;
		hsl_close(self->ctx);
		_exit(bad);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	hsl_prep_nop(hsl_get_desc(q));
	ASSERT_EQ(0, finish_one(q, &done));
	EXPECT_EQ(HSL_ST_OK, done.status);
}

static void *reset_soon(void *arg)
{
	int fd = open("/sys/class/hsl/hsl0/device/reset", O_WRONLY | O_CLOEXEC);
	bool *done = arg;

	usleep(100000);
	*done = fd >= 0 && write(fd, "1", 1) == 1;
	close(fd);
	return NULL;
}

/* The device is reset under a program that sleeps, without limit, in the library. */
TEST_F_TIMEOUT(queue, reset, 60)
{
	struct hsl_query info = { .size = sizeof(info) };
	const struct hsl_cqe *c;
	struct hsl_queue *q;
	struct hsl_cqe done;
	bool reset = false;
	pthread_t thread;

	if (access("/sys/class/hsl/hsl0/device/reset", W_OK))
		SKIP(return, "this device cannot be reset from here");
	hsl_prep_nop(hsl_get_desc(self->q));
	ASSERT_EQ(0, finish_one(self->q, &done));
	/* In flight as far as the library knows; the device never hears of it. */
	hsl_prep_nop(hsl_get_desc(self->q));
	self->q->sq_published++;
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_soon, &reset));
	EXPECT_EQ(-ENODEV, hsl_wait(self->q, &c, -1));
	pthread_join(thread, NULL);
	ASSERT_TRUE(reset);
	EXPECT_EQ(-ENODEV, hsl_wait(self->q, &c, -1));
	EXPECT_EQ(-ENODEV, hsl_query(self->ctx, &info));
	EXPECT_EQ(-ENODEV, hsl_queue_create(self->ctx, NULL, &q));
	EXPECT_EQ(0, hsl_queue_destroy(self->q));
	hsl_close(self->ctx);

	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	hsl_prep_nop(hsl_get_desc(self->q));
	ASSERT_EQ(0, finish_one(self->q, &done));
	EXPECT_EQ(HSL_ST_OK, done.status);
}

TEST_HARNESS_MAIN
