/* SPDX-License-Identifier: GPL-2.0 */
/* Device memory in mode pcie: for the time of a test. */
#ifndef HSL_PCIE_H
#define HSL_PCIE_H

#include "hsl_memory.h"

static inline int memory_mode(unsigned int dev, const char *mode)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/memory/mode", dev);
	return write_text(path, mode);
}

/* Nobody but a test that has failed is in the way for long. */
static inline bool memory_mode_back(unsigned int dev)
{
	return COMES_TRUE(!memory_mode(dev, "coherent"));
}

#define SKIP_WITHOUT_PCIE(err) do {						\
	if ((err) == -EOPNOTSUPP || (err) == -ENOENT)				\
		SKIP(return, "kernel built without CONFIG_PCI_P2PDMA or CONFIG_DEVICE_MIGRATION"); \
	ASSERT_EQ(0, err);							\
} while (0)

/* A signal that reading it gives, or 0 */
static inline int touch_signal(const volatile char *p)
{
	int status;
	pid_t pid;

	fflush(stdout);
	/* As a thread would: a forked child does not have the mapping. */
	pid = vfork();
	if (!pid) {
		(void)*p;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#endif
