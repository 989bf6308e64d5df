/* SPDX-License-Identifier: MIT */
/*
 * The job of copy_1m_bw, which the device does in the guest and memcpy() on the
 * host: 32 pieces of 1 MiB from one buffer to another, again and again, so that
 * neither finds them in a cache of ordinary size. After tool.h.
 */
#ifndef BENCH_COPY_H
#define BENCH_COPY_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define COPY_PIECE	(1u << 20)
#define COPY_PIECES	32
#define COPY_BYTES	((size_t)COPY_PIECE * COPY_PIECES)
#define COPY_ROUNDS	16

/* Offset of the piece that comes at @i; 13 and 32 have no common divisor. */
#define COPY_ORDER(i)	((size_t)((i) * 13 % COPY_PIECES) * COPY_PIECE)

static inline char *copy_buffer(void)
{
	char *p = mmap(NULL, COPY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Of the same bytes in pieces of other sizes, which are powers of two. */
#define COPY_SMALLEST	4096ul
#define COPY_LARGEST	(16ul << 20)
#define COPY_PASSES	2

/* Offset of the piece of @size that comes at @i. */
static inline size_t copy_order(size_t i, size_t size)
{
	return i * 13 % (COPY_BYTES / size) * size;
}

/* Every word different, and different from every other @seed. */
static inline void copy_stamp(char *p, uint64_t seed)
{
	uint64_t *w = (uint64_t *)p;

	for (size_t i = 0; i < COPY_BYTES / 8; i++)
		w[i] = i * 0x9e3779b97f4a7c15ull + seed;
}

/* GB/s of memcpy() in pieces of @size; less than 0: the copy is wrong. */
static inline double copy_by_cpu(char *dst, char *src, size_t size)
{
	size_t pieces = COPY_BYTES / size;
	double start = 0;

	copy_stamp(src, size);
	copy_stamp(dst, ~size);
	for (size_t i = 0; i < (1 + COPY_PASSES) * pieces; i++) {
		if (i == pieces) {
			copy_stamp(dst, ~size);
			start = now();
		}
		memcpy(dst + copy_order(i, size), src + copy_order(i, size), size);
		/* What is copied next time is not the same copy. */
		__asm__ volatile("" ::: "memory");
	}
	start = now() - start;
	return memcmp(src, dst, COPY_BYTES) ? -1 : COPY_PASSES * COPY_BYTES / start / 1e9;
}

#endif
