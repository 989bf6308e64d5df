// SPDX-License-Identifier: MIT
/*
 * Many operations by one submission. Blocks are filled, and each is summed up when it is
 * full: operations of a queue run side by side and end in any order, so a fence stands
 * between what writes and what reads. user_data says whose completion it is.
 */
#include <hsl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 16, BLOCK = 64 << 10 };

int main(void)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 64 };
	static unsigned char block[BLOCKS][BLOCK];
	uint32_t crc[BLOCKS], expected = 0;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct hsl_desc *d;
	int err, i, wrong = 0;

	err = hsl_open(NULL, NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, &opts, &q);
	if (err) {
		fprintf(stderr, "batch: %s\n", hsl_strerror(err));
		return 1;
	}

	/* The ring has room for all of them, else hsl_get_desc() would give NULL. */
	for (i = 0; i < BLOCKS; i++) {
		d = hsl_get_desc(q);
		hsl_prep_fill(d, block[i], 0x0101010101010101 * i, BLOCK);
		hsl_desc_set_user_data(d, BLOCKS);
	}
	d = hsl_get_desc(q);
	hsl_prep_fence(d);
	hsl_desc_set_user_data(d, BLOCKS);
	for (i = 0; i < BLOCKS; i++) {
		d = hsl_get_desc(q);
		hsl_prep_crc32c(d, block[i], BLOCK, 0);
		hsl_desc_set_user_data(d, i);
	}
	printf("%d operations submitted\n", hsl_submit(q));

	while (hsl_in_flight(q)) {
		const struct hsl_cqe *c;

		err = hsl_wait(q, &c, -1);
		if (err) {
			fprintf(stderr, "batch: %s\n", hsl_strerror(err));
			return 1;
		}
		if (c->status != HSL_ST_OK) {
			fprintf(stderr, "batch: %s at %#llx\n", hsl_strstatus(c->status), (unsigned long long)c->addr);
			return 1;
		}
		if (c->user_data < BLOCKS)
			crc[c->user_data] = (uint32_t)c->result;
		hsl_seen(q, 1);
	}

	/* The same once more, one at a time and written by the CPU. */
	for (i = 0; i < BLOCKS; i++) {
		memset(block[i], i, BLOCK);
		expected = 0;
		err = hsl_crc32c(q, block[i], BLOCK, &expected);
		wrong += err || expected != crc[i];
	}
	hsl_close(ctx);
	printf("%d of %d sums are right\n", BLOCKS - wrong, BLOCKS);
	return wrong != 0;
}
