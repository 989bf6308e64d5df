/* SPDX-License-Identifier: GPL-2.0 */
/* What is behind an address, for root */
#ifndef HSL_PAGEMAP_H
#define HSL_PAGEMAP_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Physical page of an address; 0: not there */
static inline uint64_t pfn_of(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t e = 0;

	if (pread(fd, &e, sizeof(e), (uintptr_t)p / sysconf(_SC_PAGESIZE) * sizeof(e)) != sizeof(e))
		e = 0;
	close(fd);
	return e >> 63 ? e & ((1ull << 55) - 1) : 0;
}

/* The page of zeros that all have who have only read */
static inline bool is_zero_page(const void *p)
{
	const int kpf_zero_page = 24;
	uint64_t pfn = pfn_of(p), flags = 0;
	int fd;

	if (!pfn)
		return false;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		flags = 0;
	close(fd);
	return flags >> kpf_zero_page & 1;
}

/* ioctl PAGEMAP_SCAN, which headers before 6.7 do not have */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN		_IOWR('f', 16, struct scan_arg)
#define SCAN_IS_HUGE	(1 << 6)

/* Is all of it mapped by huge pages? */
static inline bool is_huge(const char *at, size_t len)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct scan_region r = { 0 };
	struct scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)at, .end = (uintptr_t)at + len,
		.vec = (uintptr_t)&r, .vec_len = 1, .category_mask = SCAN_IS_HUGE, .return_mask = SCAN_IS_HUGE,
	};
	bool huge = ioctl(fd, SCAN, &arg) == 1 && r.start == arg.start && r.end == arg.end;

	close(fd);
	return huge;
}

#endif
