/* SPDX-License-Identifier: GPL-2.0 */
/* For all HSL tests, whether through libhsl (hsl_test.h) or by hand (hsl_raw.h). */
#ifndef HSL_COMMON_H
#define HSL_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/hsl.h>

#include "kselftest_harness.h"

/* Longer than anything takes, on the slowest kernel; a wait that long has failed. */
#define BOUND_MS	20000

#define PARAM_DIR	"/sys/module/hsl/parameters"

#define ARRAY(a)	(sizeof(a) / sizeof((a)[0]))

static inline long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Is it true within the bound? */
#define COMES_TRUE(cond) ({							\
	long long end_ = now_ms() + BOUND_MS;					\
	bool true_;								\
										\
	while (!(true_ = (cond)) && now_ms() < end_)				\
		usleep(200);							\
	true_; })

static inline void *map_anon(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The number in a file of one line, or -1 */
static inline long long read_number(const char *path)
{
	char buf[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	buf[n] = 0;
	return strtoll(buf, NULL, 0);
}

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static inline int write_number(const char *path, long long val)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lld", val);
	return write_text(path, buf);
}

/* The device's own check of every access, where debugfs offers it */
static inline bool oracle_on(const char *device)
{
	const char *name = strrchr(device, '/');
	char path[64];

	if (!name)
		return false;
	snprintf(path, sizeof(path), "/sys/kernel/debug/hsl/%s/oracle", name + 1);
	return !write_text(path, "1");
}

/* The sum of the numbers that follow this word in a file of debugfs; -1: it is not there */
static inline long long debugfs_sum(const char *device, const char *file, const char *word)
{
	const char *name = strrchr(device, '/');
	char path[512], text[64];
	long long sum = -1, n;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/hsl/%s/%s", name ? name + 1 : device, file);
	f = fopen(path, "re");
	while (f && fscanf(f, "%63s", text) == 1)
		if (!strcmp(text, word) && fscanf(f, "%lld", &n) == 1)
			sum = sum < 0 ? n : sum + n;
	if (f)
		fclose(f);
	return sum;
}

#define SKIP_WITHOUT_DEBUGFS() do {						\
	if (access("/sys/kernel/debug/hsl", F_OK))				\
		SKIP(return, "no debugfs, or no permission for it");		\
} while (0)

/*
 * What carries the process's addresses to the device. Whatever a test says of
 * memory has to hold on every provider: it runs once on each. HSL_SVA=iommu|hmm
 * leaves out the other.
 *
 * PROVIDER_VARIANTS() is for a fixture without variants of its own, with
 * PROVIDER_VARIANT_ADD() each of its own is there on each provider.
 */
#define PROVIDER_VARIANTS(fixture)						\
FIXTURE_VARIANT(fixture) {							\
	enum hsl_sva sva;							\
};										\
FIXTURE_VARIANT_ADD(fixture, iommu) { .sva = HSL_SVA_IOMMU };			\
FIXTURE_VARIANT_ADD(fixture, hmm) { .sva = HSL_SVA_HMM }

/* The variant structure has a member sva. */
#define PROVIDER_VARIANT_ADD(fixture, name, ...)				\
FIXTURE_VARIANT_ADD(fixture, iommu_##name) { .sva = HSL_SVA_IOMMU, __VA_ARGS__ }; \
FIXTURE_VARIANT_ADD(fixture, hmm_##name) { .sva = HSL_SVA_HMM, __VA_ARGS__ }

static inline const char *provider_name(enum hsl_sva sva)
{
	return sva == HSL_SVA_IOMMU ? "iommu" : sva == HSL_SVA_HMM ? "hmm" : "no provider";
}

/* HSL_SVA names another one. */
static inline bool provider_left_out(enum hsl_sva sva)
{
	const char *only = getenv("HSL_SVA");

	return sva && only && *only && strcmp(only, provider_name(sva));
}

/* Why the provider does not work on this device; NULL: it says that it does. */
static inline const char *provider_closed(const char *device, enum hsl_sva sva)
{
	const char *base = strrchr(device, '/');
	static char why[256];
	char path[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/hsl/%s/providers/%s", base ? base + 1 : device,
		 provider_name(sva));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, why, sizeof(why) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return NULL;
	why[n] = '\0';
	why[strcspn(why, "\n")] = '\0';
	return strcmp(why, "ok") ? why : NULL;
}

/*
 * A provider that is closed here, and says why, is nothing to test. All else
 * that keeps a device from being opened is a failure, whatever the reason.
 */
#define SKIP_CLOSED_PROVIDER(device, sva, err) do {				\
	const char *why_ = (err) == -EOPNOTSUPP ? provider_closed(device, sva) : NULL; \
	if (why_)								\
		SKIP(return, "%s: %s", provider_name(sva), why_);		\
} while (0)

#define SKIP_LEFT_OUT_PROVIDER(sva) do {					\
	if (provider_left_out(sva))						\
		SKIP(return, "%s: HSL_SVA leaves it out", provider_name(sva));	\
} while (0)

/* The device in /sys/bus/pci/devices. 0 or -errno */
static inline int pci_name(unsigned int dev, char *name, size_t len)
{
	char path[64], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/device", dev);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = '\0';
	return snprintf(name, len, "%s", strrchr(link, '/') + 1) < (int)len ? 0 : -ENAMETOOLONG;
}

/* Of this thread, for good. 0 or -errno */
static inline int drop_capability(int cap)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	d[cap / 32].effective &= ~(1u << (cap % 32));
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

#endif
