// SPDX-License-Identifier: MIT
/*
 * host-memcpy: GB/s of memcpy() in pieces of 1 MiB, for hsl-bench. Same sizes,
 * same buffers, same order as the device's copies: see copy_1m() there.
 */
#include <string.h>

#define TOOL	"host-memcpy"
#include "tool.h"
#include "bench-copy.h"

int main(void)
{
	char *src = copy_buffer(), *dst = copy_buffer();
	double start, seconds;
	int i;

	if (!src || !dst)
		fail("out of memory");
	copy_stamp(src, 1);
	copy_stamp(dst, 2);
	for (i = 0; i < COPY_PIECES; i++)
		memcpy(dst + COPY_ORDER(i), src + COPY_ORDER(i), COPY_PIECE);
	copy_stamp(dst, 2);
	start = now();
	for (i = 0; i < COPY_ROUNDS * COPY_PIECES; i++) {
		memcpy(dst + COPY_ORDER(i), src + COPY_ORDER(i), COPY_PIECE);
		/* What is copied next time is not the same copy. */
		__asm__ volatile("" ::: "memory");
	}
	seconds = now() - start;
	if (memcmp(src, dst, COPY_BYTES))
		fail("the copy is wrong");
	printf("%.6f\n", (double)COPY_ROUNDS * COPY_BYTES / seconds / 1e9);
	return 0;
}
