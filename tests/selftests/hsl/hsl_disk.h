/* SPDX-License-Identifier: GPL-2.0 */
/* The disk for data (scripts/vm --nvme SIZE), and what shows whether host memory was used. */
#ifndef HSL_DISK_H
#define HSL_DISK_H

#include <sys/mount.h>

#include "hsl_test.h"

#define GB	(1024 * MB)

struct disk {
	char name[16];
	char path[32];
};

/* The NVMe namespace whose serial says so */
static inline bool find_disk(struct disk *d)
{
	for (int i = 0; i < 8; i++) {
		char name[64], serial[64] = "";
		FILE *f;

		snprintf(name, sizeof(name), "/sys/block/nvme%dn1/device/serial", i);
		f = fopen(name, "r");
		if (!f)
			continue;
		if (!fgets(serial, sizeof(serial), f))
			serial[0] = '\0';
		fclose(f);
		if (!strncmp(serial, "disk", 4)) {
			snprintf(d->name, sizeof(d->name), "nvme%dn1", i);
			snprintf(d->path, sizeof(d->path), "/dev/%s", d->name);
			return true;
		}
	}
	return false;
}

/* Lines "name value" of a file in /proc; of all whose name begins so */
static inline long long proc_value(const char *file, const char *name)
{
	char line[128], word[64];
	long long val, found = -1;
	FILE *f = fopen(file, "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lld", word, &val) == 2 && !strncmp(word, name, strlen(name)))
			found = val + (found < 0 ? 0 : found);
	if (f)
		fclose(f);
	return found;
}

static inline void drop_caches(void)
{
	sync();
	write_text("/proc/sys/vm/drop_caches", "1");
}

/* The n-th number of its statistics, which is of sectors, in bytes */
static inline long long disk_stat(const struct disk *d, int n)
{
	unsigned long long sectors = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", d->name);
	f = fopen(path, "r");
	while (f && n-- && fscanf(f, "%llu", &sectors) == 1)
		;
	if (!f || n >= 0)
		sectors = 0;
	if (f)
		fclose(f);
	return sectors * 512;
}

/* Bytes that the disk has read so far */
static inline long long disk_bytes(const struct disk *d)
{
	return disk_stat(d, 3);
}

static inline long long disk_written(const struct disk *d)
{
	return disk_stat(d, 7);
}

/* What the disk has there, by way of no cache. 0 or -errno; @buf is of pages */
static inline int disk_contents(const struct disk *d, void *buf, size_t len, off_t at)
{
	int fd = open(d->path, O_RDONLY | O_DIRECT | O_CLOEXEC), err = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, buf, len, at);
	if (n != (ssize_t)len)
		err = n < 0 ? -errno : -EIO;
	close(fd);
	return err;
}

/* Of the first @len bytes of the file, pages that are in the page cache */
static inline long long cached_pages(int fd, size_t len)
{
	unsigned char *vec = malloc(len / 4096);
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	long long n = -1;

	if (vec && map != MAP_FAILED && !mincore(map, len, vec)) {
		n = 0;
		for (size_t i = 0; i < len / 4096; i++)
			n += vec[i] & 1;
	}
	if (map != MAP_FAILED)
		munmap(map, len);
	free(vec);
	return n;
}

/* What moves when host memory is used */
struct traces {
	long long file;		/* pages of the file that are in the page cache */
	long long cache;	/* pages in the page cache */
	long long allocated;	/* pages that anybody has allocated */
	long long swiotlb;	/* most slots of bounce buffers that were ever in use */
	long long read;		/* bytes that the disk has read */
	long long written;	/* bytes that it has written */
};

static inline struct traces traces(const struct disk *d, int fd, long long pages)
{
	return (struct traces) {
		.file = cached_pages(fd, pages * 4096),
		.cache = proc_value("/proc/vmstat", "nr_file_pages"),
		.allocated = proc_value("/proc/vmstat", "pgalloc_"),
		.swiotlb = read_number("/sys/kernel/debug/swiotlb/io_tlb_used_hiwater"),
		.read = disk_bytes(d),
		.written = disk_written(d),
	};
}

/* What shows that @pages, or a part of them, went through host memory between the two; "": nothing */
static inline const char *through_host(const struct traces *t, const struct traces *now, long long pages)
{
	/* What the rest of the system does meanwhile */
	long long others = pages / 8;

	return now->file != t->file ? "the file is in the page cache" :
	       now->cache - t->cache >= others ? "the page cache has grown" :
	       now->allocated - t->allocated >= others ? "memory was allocated" :
	       now->swiotlb != t->swiotlb ? "bounce buffers were used" : "";
}

#endif
