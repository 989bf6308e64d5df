/* SPDX-License-Identifier: GPL-2.0 */
/* Files that have a disk: ext4 on a loop device on a file in /tmp. */
#ifndef HSL_MM_DISK_H
#define HSL_MM_DISK_H

#include "hsl_mm.h"

/* Mounted at @dir/m; NULL, or why not. */
static inline const char *mount_disk(const char *dir)
{
	char cmd[512];

	if (!strstr(getenv("PATH") ?: "", "/sbin"))
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	snprintf(cmd, sizeof(cmd),
		 "truncate -s 64M %s/disk && mkfs.ext4 -q -F -O ^has_journal %s/disk 2>/dev/null && mkdir %s/m",
		 dir, dir, dir);
	if (system(cmd))
		return "no mkfs.ext4";
	snprintf(cmd, sizeof(cmd), "mount -o loop -t ext4 %s/disk %s/m 2>/dev/null", dir, dir);
	if (system(cmd))
		return "no loop device with ext4 on it";
	return NULL;
}

/* With all that mount_disk() made, and @dir */
static inline bool remove_disk(const char *dir, bool mounted)
{
	char path[64];
	bool ok = true;

	snprintf(path, sizeof(path), "%s/m", dir);
	/* The last reference to a page may be on its way still. */
	if (mounted)
		ok = COMES_TRUE(!syscall(SYS_umount2, path, 0)) && !rmdir(path);
	snprintf(path, sizeof(path), "%s/disk", dir);
	unlink(path);
	rmdir(dir);
	return ok;
}

static inline bool fill_file(int fd, size_t at, size_t len, uint64_t val)
{
	uint64_t words[512];

	for (mm_words(words, val, sizeof(words)); len; len -= sizeof(words), at += sizeof(words))
		if (pwrite(fd, words, sizeof(words), at) != sizeof(words))
			return false;
	return true;
}

#endif
