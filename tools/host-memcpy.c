// SPDX-License-Identifier: MIT
/*
 * host-memcpy: GB/s of memcpy() in pieces of 1 MiB, for hsl-bench. Same sizes,
 * same buffers, same order as the device's copies: see copy_1m() there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench-copy.h"

int main(void)
{
	char *src = copy_buffer(), *dst = copy_buffer();
	double start, seconds;
	int i;

	if (!src || !dst)
		return 1;
	copy_stamp(src, 1);
	copy_stamp(dst, 2);
	for (i = 0; i < COPY_PIECES; i++)
		memcpy(dst + COPY_ORDER(i), src + COPY_ORDER(i), COPY_PIECE);
	copy_stamp(dst, 2);
	start = copy_now();
	for (i = 0; i < COPY_ROUNDS * COPY_PIECES; i++) {
		memcpy(dst + COPY_ORDER(i), src + COPY_ORDER(i), COPY_PIECE);
		/* What is copied next time is not the same copy. */
		__asm__ volatile("" ::: "memory");
	}
	seconds = copy_now() - start;
	if (memcmp(src, dst, COPY_BYTES)) {
		fprintf(stderr, "host-memcpy: the copy is wrong\n");
		return 1;
	}
	printf("%.6f\n", (double)COPY_ROUNDS * COPY_BYTES / seconds / 1e9);
	return 0;
}
