// SPDX-License-Identifier: MIT
/*
 * The shortest way: one call, one operation. A file is mapped, the device copies it to the
 * heap and both are compared and summed up by the device. Nothing is registered: these are
 * the pointers that mmap() and malloc() gave.
 *
 *     copy FILE            HSL_DEVICE=cpu copy FILE, where no device is
 */
#include <fcntl.h>
#include <hsl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int fail(const char *what, int err)
{
	fprintf(stderr, "copy: %s: %s\n", what, hsl_strerror(err));
	return 1;
}

int main(int argc, char **argv)
{
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint32_t crc = 0;
	size_t differs;
	struct stat st;
	void *file, *heap;
	int fd, err;

	if (argc != 2) {
		fprintf(stderr, "usage: copy FILE\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st) || !st.st_size) {
		fprintf(stderr, "copy: %s cannot be read, or is empty\n", argv[1]);
		return 1;
	}
	file = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	heap = malloc(st.st_size);
	if (file == MAP_FAILED || !heap) {
		perror("copy");
		return 1;
	}

	err = hsl_open(NULL, NULL, &ctx);
	if (err)
		return fail("no device was opened", err);
	err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		return fail("no queue", err);

	/* Each returns when it is done; any length. */
	err = hsl_copy(q, heap, file, st.st_size);
	if (!err)
		err = hsl_compare(q, heap, file, st.st_size, &differs);
	if (!err)
		err = hsl_crc32c(q, heap, st.st_size, &crc);
	hsl_close(ctx);
	if (err)
		return fail("the device", err);
	printf("%lld bytes copied, %s, CRC-32C %08x\n", (long long)st.st_size,
	       differs == (size_t)st.st_size ? "equal" : "different", crc);
	free(heap);
	return differs != (size_t)st.st_size;
}
