// SPDX-License-Identifier: MIT
/*
 * What a program executes to prepare, submit and reap one of a batch of 32: the work that
 * scripts/instructions has callgrind count, in prepare_and_submit() and reap() alone.
 *
 * The device is the CPU, so that there is one anywhere and no more runs than that. It is
 * kept awake by a long fill: db_needed is 0, as it is with a device that is busy, and each
 * run takes the same instructions. Prints how many operations went through, when all were
 * found right.
 */
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { BATCH = 32, ROUNDS = 16, LEN = 256, LONG = 16 << 20 };

static unsigned char src[BATCH * LEN], dst[BATCH * LEN];

/* callgrind knows these two by their names. */
static __attribute__((noinline)) void prepare_and_submit(struct hsl_queue *q)
{
	for (unsigned int i = 0; i < BATCH; i++) {
		struct hsl_desc *d = hsl_get_desc(q);

		if (!d)
			fail("the ring is full");
		hsl_prep_copy(d, dst + i * LEN, src + i * LEN, LEN);
		hsl_desc_set_user_data(d, i);
	}
	hsl_submit(q);
}

/* The sum of their user_data, or -1 if one of them failed */
static __attribute__((noinline)) uint64_t reap(struct hsl_queue *q)
{
	const struct hsl_cqe *c[BATCH];
	int n = hsl_peek_batch(q, c, BATCH);
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		if (c[i]->status != HSL_ST_OK)
			return -1;
		sum += c[i]->user_data;
	}
	hsl_seen(q, n);
	return sum;
}

/* Not counted, however long it takes. */
static void wait_for(struct hsl_queue *q, uint32_t nr)
{
	const struct hsl_cqe *c;
	int err;

	while (nr && !hsl_cqe_at(q, q->cq_head + nr - 1)) {
		err = hsl_wait(q, &c, BOUND_NS);
		if (err)
			fail("no completion: %s", hsl_strerror(err));
		usleep(100);
	}
}

int main(void)
{
	const uint64_t all = BATCH * (BATCH - 1) / 2, other = 1000;
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 2 * BATCH };
	uint64_t counters[HSL_CNT_NR], sum;
	unsigned char *big = memory(LONG);
	const struct hsl_cqe *c;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct hsl_desc *d;
	int err;

	err = hsl_open("cpu", NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, &opts, &q);
	if (err)
		fail("%s", hsl_strerror(err));
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BATCH * LEN; i++)
			src[i] = (unsigned char)(i * 7 + round);

		/* Asleep, and what it has fetched is known: each round begins like the one before. */
		while (!hsl_observe(&q->ctl->db_needed))
			usleep(100);
		hsl_sq_refresh(q);
		d = hsl_get_desc(q);
		hsl_prep_fill(d, big, round, LONG);
		hsl_desc_set_user_data(d, other);
		hsl_submit(q);
		while (hsl_observe(&q->ctl->db_needed) && !hsl_cqe_at(q, q->cq_head))
			usleep(100);

		prepare_and_submit(q);
		wait_for(q, BATCH);
		sum = reap(q);
		wait_for(q, 1);
		if (hsl_peek(q, &c) || c->status != HSL_ST_OK || sum + c->user_data != all + other)
			fail("a completion is wrong in round %d", round);
		hsl_seen(q, 1);
		if (memcmp(src, dst, sizeof(src)))
			fail("a copy is wrong in round %d", round);
	}
	/* Was it awake each time? */
	if (hsl_counters(ctx, q, counters, HSL_CNT_NR) <= HSL_CNT_DOORBELLS)
		fail("no counters");
	if (counters[HSL_CNT_DOORBELLS] != ROUNDS)
		fail("the device fell asleep under way: %llu doorbells",
		     (unsigned long long)counters[HSL_CNT_DOORBELLS]);
	hsl_close(ctx);
	printf("operations %d\n", BATCH * ROUNDS);
	return 0;
}
