/* SPDX-License-Identifier: GPL-2.0 */
/* Swap for a test, where the machine has none: a compressed RAM disk. */
#ifndef HSL_SWAP_H
#define HSL_SWAP_H

#include <sys/swap.h>

#include "hsl_test.h"

#define OUR_SWAP	"/dev/zram0"

static inline bool swap_is_on(void)
{
	char line[256];
	FILE *f = fopen("/proc/swaps", "re");
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

/* With the header that mkswap writes */
static inline bool swap_on_zram(void)
{
	static union {
		char page[4096];
		struct {
			char boot[1024];
			uint32_t version, last_page;
		};
	} header;
	const long size = 64 * MB;
	int fd;

	if (read_number("/sys/block/zram0/disksize") != 0 || write_number("/sys/block/zram0/disksize", size))
		return false;
	header.version = 1;
	header.last_page = size / 4096 - 1;
	memcpy(header.page + 4096 - 10, "SWAPSPACE2", 10);
	fd = open(OUR_SWAP, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (write(fd, &header, 4096) != 4096 || fsync(fd)) {
		close(fd);
		return false;
	}
	close(fd);
	return !swapon(OUR_SWAP, 0);
}

static inline bool swap_off_zram(void)
{
	return !swapoff(OUR_SWAP) && !write_text("/sys/block/zram0/reset", "1");
}

#endif
