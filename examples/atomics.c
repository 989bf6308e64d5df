// SPDX-License-Identifier: MIT
/*
 * One word, counted by threads of the program and by the device at once. Atomics are
 * atomic towards both, and each tells what was there before it.
 */
#include <hsl.h>
#include <pthread.h>
#include <stdio.h>

enum { TIMES = 100000, BY_DEVICE = 10000 };

static uint64_t counter;

static void *count(void *unused)
{
	for (int i = 0; i < TIMES; i++)
		__atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
	return unused;
}

int main(void)
{
	uint64_t last = 0, not_rising = 0, total;
	uint32_t sent = 0, seen = 0;
	const struct hsl_cqe *c;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct hsl_desc *d;
	pthread_t thread[2];
	int err;

	err = hsl_open(NULL, NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	if (err) {
		fprintf(stderr, "atomics: %s\n", hsl_strerror(err));
		return 1;
	}
	for (int i = 0; i < 2; i++) {
		if (pthread_create(&thread[i], NULL, count, NULL)) {
			fprintf(stderr, "atomics: no thread\n");
			return 1;
		}
	}
	while (seen < BY_DEVICE) {
		/* As many as there is room for; fenced, so that one comes after the other. */
		while (sent < BY_DEVICE && (d = hsl_get_desc(q))) {
			hsl_prep_atomic_add(d, &counter, sizeof(counter), 1);
			hsl_desc_set_flags(d, HSL_DESC_F_FENCE);
			sent++;
		}
		hsl_submit(q);
		err = hsl_wait(q, &c, -1);
		if (err || c->status != HSL_ST_OK) {
			fprintf(stderr, "atomics: %s\n", err ? hsl_strerror(err) : hsl_strstatus(c->status));
			return 1;
		}
		/* The result is the value before. */
		if (seen && c->result <= last)
			not_rising++;
		last = c->result;
		hsl_seen(q, 1);
		seen++;
	}
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	hsl_close(ctx);

	total = 2 * TIMES + BY_DEVICE;
	printf("%llu of %llu counted\n", (unsigned long long)counter, (unsigned long long)total);
	return counter != total || not_rising;
}
