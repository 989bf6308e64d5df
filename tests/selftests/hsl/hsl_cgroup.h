/* SPDX-License-Identifier: GPL-2.0 */
/* A cgroup with a limit of device memory, for the time of a test. */
#ifndef HSL_CGROUP_H
#define HSL_CGROUP_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "hsl_memory.h"

#define CGROUP	"/tmp/hsl_cgroup"

/* Empty and without a limit. -EOPNOTSUPP: this kernel has no such */
static inline int cgroup_begin(void)
{
	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL))
		return -errno;
	if (write_text(CGROUP "/cgroup.subtree_control", "+dmem")) {
		umount(CGROUP);
		return -EOPNOTSUPP;
	}
	return mkdir(CGROUP "/hsl", 0755) ? -errno : 0;
}

#define SKIP_WITHOUT_CGROUP(err) do {						\
	if ((err) == -EOPNOTSUPP)						\
		SKIP(return, "kernel without the dmem cgroup");			\
	ASSERT_EQ(0, err);							\
} while (0)

/* Nobody is in it any more. */
static inline bool cgroup_end(void)
{
	bool ok = COMES_TRUE(!rmdir(CGROUP "/hsl")) && !write_text(CGROUP "/cgroup.subtree_control", "-dmem");

	ok &= !umount(CGROUP);
	rmdir(CGROUP);
	return ok;
}

/* This process, without its memory so far */
static inline int cgroup_enter(void)
{
	return write_number(CGROUP "/hsl/cgroup.procs", getpid());
}

static inline int cgroup_leave(void)
{
	return write_number(CGROUP "/cgroup.procs", getpid());
}

/* Of the first device */
static inline int dmem_limit(const char *max)
{
	char line[64];

	snprintf(line, sizeof(line), "hsl/hsl0 %s", max);
	return write_text(CGROUP "/hsl/dmem.max", line);
}

/* The line of the region, or -1 */
static inline long long dmem_file(const char *name)
{
	char path[96], line[128];
	long long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), CGROUP "/hsl/dmem.%s", name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "hsl/hsl0 %lld", &val) == 1)
			break;
	if (f)
		fclose(f);
	return val;
}

/* Nothing is given back later than this. */
static inline bool dmem_comes_to(long long val)
{
	return COMES_TRUE(dmem_file("current") == val);
}

#endif
