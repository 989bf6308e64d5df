// SPDX-License-Identifier: MIT
/*
 * host-memcpy [--sizes]: GB/s of memcpy() in pieces of 1 MiB, for hsl-bench. Same sizes,
 * same buffers, same order as the device's copies: see copy_1m() there. With --sizes of
 * pieces of 4 KiB to 16 MiB instead, as points of a chart: see sizes() of hsl-bench-scale.
 */
#include <string.h>

#define TOOL	"host-memcpy"
#include "tool.h"
#include "bench-copy.h"

static int sizes(char *dst, char *src)
{
	for (size_t size = COPY_SMALLEST; size <= COPY_LARGEST; size *= 2) {
		double bw = copy_by_cpu(dst, src, size);

		if (bw < 0)
			fail("the copy is wrong");
		printf("point bandwidth_host_memcpy %zu %.9g\n", size, bw);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char *src = copy_buffer(), *dst = copy_buffer();
	double start, seconds;
	int i;

	if (!src || !dst)
		fail("out of memory");
	if (argc == 2 && !strcmp(argv[1], "--sizes"))
		return sizes(dst, src);
	if (argc > 1) {
		fputs("usage: host-memcpy [--sizes]\n", stderr);
		return 2;
	}
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
