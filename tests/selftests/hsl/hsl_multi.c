// SPDX-License-Identifier: GPL-2.0
/* Several contexts, queues, devices and processes at once: one pointer for all of them. */
#include <sys/wait.h>

#include "hsl_test.h"

#define WORKERS	4

FIXTURE(multi) {
	struct hsl_ctx *ctx[2];
};

FIXTURE_VARIANT(multi) {
	enum hsl_sva sva;
	unsigned int devices;	/* that must be there */
	unsigned int second;	/* device of the second context */
	bool shared;		/* both contexts are the same */
	bool mixed;		/* the second is on another provider */
};

PROVIDER_VARIANT_ADD(multi, one_open, .devices = 1, .shared = true);
PROVIDER_VARIANT_ADD(multi, two_opens, .devices = 1, .second = 0);
PROVIDER_VARIANT_ADD(multi, two_devices, .devices = 2, .second = 1);
PROVIDER_VARIANT_ADD(multi, two_providers, .devices = 1, .mixed = true);

static enum hsl_sva second_sva(const FIXTURE_VARIANT(multi) *variant)
{
	if (!variant->mixed)
		return variant->sva;
	return variant->sva == HSL_SVA_IOMMU ? HSL_SVA_HMM : HSL_SVA_IOMMU;
}

FIXTURE_SETUP(multi)
{
	SKIP_WITHOUT_DEVICES(variant->devices);
	SEED();
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx[0]);
	if (variant->shared)
		self->ctx[1] = self->ctx[0];
	else
		OPEN_DEVICE(dev_path(variant->second), second_sva(variant), &self->ctx[1]);
}

FIXTURE_TEARDOWN(multi)
{
	if (self->ctx[0])
		hsl_close(self->ctx[0]);
	if (self->ctx[1] && self->ctx[1] != self->ctx[0])
		hsl_close(self->ctx[1]);
}

TEST_F(multi, identity)
{
	struct hsl_query a = { .size = sizeof(a) }, b = { .size = sizeof(b) };

	ASSERT_EQ(0, hsl_query(self->ctx[0], &a));
	ASSERT_EQ(0, hsl_query(self->ctx[1], &b));
	EXPECT_EQ(HSL_VERSION_MAJOR, a.hw_version >> 8);
	EXPECT_GE(a.max_ring_entries, 2);
	EXPECT_GE(a.max_xfer, 4096);
	EXPECT_EQ(variant->sva, a.sva);
	EXPECT_EQ(second_sva(variant), b.sva);
	/* One address space has one PASID; contexts of a device are told apart. */
	EXPECT_EQ(a.sva == HSL_SVA_IOMMU, a.pasid != 0);
	EXPECT_EQ(a.sva == b.sva, a.pasid == b.pasid);
	if (!variant->shared && variant->second == 0)
		EXPECT_NE(a.context, b.context);
}

/* A queue is rung from the same device, or from one that a fabric joins to its own. */
TEST_F(multi, signal)
{
	struct hsl_query info[2] = { { .size = sizeof(*info) }, { .size = sizeof(*info) } };
	const struct hsl_cqe *cqe;
	struct hsl_queue *q[2];
	uint64_t word = 0;
	int grant, handle;
	bool apart;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, hsl_query(self->ctx[i], &info[i]));
		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], NULL, &q[i]));
	}
	apart = variant->second && (!(info[0].hw_caps & info[1].hw_caps & HSL_CAP_LINK) ||
				    info[0].fabric != info[1].fabric);
	grant = hsl_queue_grant(q[1]);
	ASSERT_LE(0, grant);
	handle = hsl_signal_add(self->ctx[0], grant);
	if (apart) {
		EXPECT_EQ(-EXDEV, handle);
		close(grant);
		return;
	}
	ASSERT_LE(0, handle);
	hsl_prep_fill(hsl_get_desc(q[1]), &word, 42, sizeof(word));
	ASSERT_EQ(1, hsl_hold(q[1]));
	hsl_prep_signal(hsl_get_desc(q[0]), handle, hsl_sq_tail(q[1]));
	hsl_submit(q[0]);
	ASSERT_EQ(0, hsl_wait(q[1], &cqe, BOUND_NS));
	EXPECT_EQ(HSL_ST_OK, cqe->status);
	EXPECT_EQ(42, word);
	ASSERT_EQ(0, hsl_wait(q[0], &cqe, BOUND_NS));
	EXPECT_EQ(HSL_ST_OK, cqe->status);
	close(grant);
}

/* A buffer goes round: each queue takes what the other wrote, at the same address. */
TEST_F_TIMEOUT(multi, relay, 60)
{
	const size_t len = 300 * KB;
	char *buf[4], *ref = malloc(len);
	struct hsl_queue *q[2];
	struct hsl_cqe c;
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], NULL, &q[i]));
	for (i = 0; i < 4; i++)
		ASSERT_NE(NULL, buf[i] = map_anon(len));
	fill_random(buf[0], len);
	memcpy(ref, buf[0], len);
	for (i = 0; i < 200; i++) {
		char *src = buf[i % 4], *dst = buf[(i + 1) % 4];

		ASSERT_EQ(0, do_copy(q[i % 2], &c, dst, src, len));
		ASSERT_EQ(HSL_ST_OK, c.status);
		/* The CPU takes part. */
		ref[i]++;
		dst[i]++;
		memset(src, 0, len);
	}
	EXPECT_EQ(0, memcmp(buf[i % 4], ref, len));
	free(ref);
}

struct worker {
	struct hsl_ctx *ctx;
	uint64_t *shared;
	uint64_t seed;
	const char *wrong;
	pthread_t thread;
};

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 8;
}

/* A queue, memory and a life of its own; makes a new queue now and then. */
static void *work(void *arg)
{
	struct worker *w = arg;
	const size_t len = 64 * KB;
	char *src = malloc(len), *dst = malloc(len);
	struct hsl_cqe c;
	int round, i;

	for (round = 0; round < 8 && !w->wrong; round++) {
		struct hsl_queue_opts opts = {
			.size = sizeof(opts), .sq_entries = 2u << next(&w->seed) % 6,
			.priority = next(&w->seed) % 4,
		};
		struct hsl_queue *q;

		if (hsl_queue_create(w->ctx, &opts, &q)) {
			w->wrong = "no queue";
			break;
		}
		for (i = 0; i < 50 && !w->wrong; i++) {
			size_t n = next(&w->seed) % len + 1, off = next(&w->seed) % (len - n + 1);

			memset(src + off, next(&w->seed), n);
			if (do_copy(q, &c, dst + off, src + off, n) || c.status != HSL_ST_OK)
				w->wrong = "a copy failed";
			else if (memcmp(dst + off, src + off, n))
				w->wrong = "a copy is wrong";
			hsl_prep_atomic_add(hsl_get_desc(q), w->shared, 8, 1);
			if (finish_one(q, &c) || c.status != HSL_ST_OK)
				w->wrong = "an atomic failed";
		}
		if (hsl_queue_destroy(q))
			w->wrong = "the queue does not go";
	}
	free(src);
	free(dst);
	return NULL;
}

TEST_F_TIMEOUT(multi, threads, 120)
{
	struct worker w[2 * WORKERS] = { 0 };
	uint64_t shared = 0;
	int i;

	for (i = 0; i < 2 * WORKERS; i++) {
		w[i].ctx = self->ctx[i % 2];
		w[i].shared = &shared;
		w[i].seed = rnd64() | 1;
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, work, &w[i]));
	}
	for (i = 0; i < 2 * WORKERS; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(NULL, w[i].wrong)
			TH_LOG("worker %d: %s", i, w[i].wrong);
	}
	EXPECT_EQ(2 * WORKERS * 8 * 50, shared);
}

/* Processes of their own, each with the same virtual addresses, other memory. */
TEST_F_TIMEOUT(multi, processes, 120)
{
	char *mine = map_anon(1 * MB);
	pid_t pid[WORKERS];
	int i, status;

	ASSERT_NE(NULL, mine);
	memset(mine, 0xee, 1 * MB);
	for (i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			struct hsl_ctx *ctx;
			struct hsl_queue *q;
			struct hsl_cqe c;
			size_t at;
			int n;

			if (open_on(dev_path(i % 2 ? variant->second : 0),
				    i % 2 ? second_sva(variant) : variant->sva, &ctx) ||
			    hsl_queue_create(ctx, NULL, &q))
				_exit(1);
			for (n = 0; n < 20; n++) {
				hsl_prep_fill(hsl_get_desc(q), mine, 0x0101010101010101 * (i + 1), 1 * MB);
				if (finish_one(q, &c) || c.status != HSL_ST_OK)
					_exit(2);
				for (at = 0; at < 1 * MB; at += 511)
					if (mine[at] != i + 1)
						_exit(3);
			}
			/* Some close, some just go. */
			if (i % 2)
				hsl_close(ctx);
			_exit(0);
		}
	}
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	for (i = 0; i < (int)MB; i++)
		if (mine[i] != (char)0xee)
			break;
	EXPECT_EQ(MB, i);
}

/* One context goes while the other works. */
TEST_F_TIMEOUT(multi, close_beside, 60)
{
	uint64_t word = 0;
	struct hsl_queue *q;
	struct hsl_cqe c;
	int i;

	ASSERT_EQ(0, hsl_queue_create(self->ctx[1], NULL, &q));
	for (i = 0; i < 50; i++) {
		struct hsl_ctx *other;
		struct hsl_queue *oq;
		char *p = map_anon(4 * MB);

		OPEN_DEVICE(dev_path(0), variant->sva, &other);
		ASSERT_EQ(0, hsl_queue_create(other, NULL, &oq));
		hsl_prep_fill(hsl_get_desc(oq), p, i, 4 * MB);
		hsl_submit(oq);
		hsl_prep_atomic_add(hsl_get_desc(q), &word, 8, 1);
		hsl_submit(q);
		hsl_close(other);	/* in the middle of the fill */
		munmap(p, 4 * MB);
		ASSERT_EQ(0, finish_one(q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(i, c.result);
	}
}

/* As many opens as are allowed, an errno that says why not more, and again. */
TEST_F_TIMEOUT(multi, many_contexts, 120)
{
	struct hsl_ctx *ctx[2048];
	uint64_t word = 0;
	int round, n, err;

	for (round = 0; round < 2; round++) {
		for (n = 0; n < 2048; n++) {
			err = open_on(dev_path(0), variant->sva, &ctx[n]);
			if (err)
				break;
		}
		TH_LOG("%d contexts, then: %s", n, hsl_strerror(err));
		ASSERT_GT(n, 8);
		EXPECT_TRUE(err == -EMFILE || err == -EBUSY);
		while (n--) {
			struct hsl_queue *q;
			struct hsl_cqe c;

			if (n % 8 == 0) {
				ASSERT_EQ(0, hsl_queue_create(ctx[n], NULL, &q));
				hsl_prep_atomic_add(hsl_get_desc(q), &word, 8, 1);
				ASSERT_EQ(0, finish_one(q, &c));
				ASSERT_EQ(HSL_ST_OK, c.status);
			}
			hsl_close(ctx[n]);
		}
	}
	EXPECT_GE(word, 4);
}

TEST_HARNESS_MAIN
