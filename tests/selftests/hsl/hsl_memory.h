/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of device memory share. */
#ifndef HSL_MEMORY_H
#define HSL_MEMORY_H

#include <sys/klog.h>
#include <sys/wait.h>

#include "hsl_pagemap.h"
#include "hsl_test.h"

#define HUGE_PAGE	(2 * MB)
#define MEM_DIR		"/sys/class/hsl/hsl0/memory/"
/* Of klogctl(), for which there is no header */
#define LOG_READ_ALL	3
#define LOG_SIZE	10

static inline long long mem_file(const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), MEM_DIR "%s", name);
	return read_number(path);
}

/* Bytes that this file placed on the device and that are there still */
static inline long long mine(struct hsl_ctx *ctx)
{
	char path[64], line[128];
	long long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", hsl_fd(ctx));
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "hsl-memory-device: %lld", &val) == 1)
			break;
	fclose(f);
	return val;
}

/* How often the kernel's log has the text */
static inline unsigned int log_count(const char *text)
{
	int len = klogctl(LOG_SIZE, NULL, 0), n;
	char *log = malloc(len + 1), *at;
	unsigned int count = 0;

	n = klogctl(LOG_READ_ALL, log, len);
	log[n < 0 ? 0 : n] = '\0';
	for (at = log; (at = strstr(at, text)); at++)
		count++;
	free(log);
	return count;
}

/* Its exit status, or 128 and the signal */
static inline int touch_in_child(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In one block of the device, in order */
static inline bool in_one_block(const char *mem)
{
	uint64_t first = pfn_of(mem), n, pages = HUGE_PAGE / page_size();

	if (!first || first % pages)
		return false;
	for (n = 1; n < pages; n++)
		if (pfn_of(mem + n * page_size()) != first + n)
			return false;
	return true;
}

/*
 * Where huge pages are wanted. A mapping of its own: what is beside it is not in its
 * lines of smaps. NULL: no memory
 */
static inline char *map_huge(size_t len)
{
	char *all = mmap(NULL, len + 2 * HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = all + (-(uintptr_t)all & (HUGE_PAGE - 1));

	if (all == MAP_FAILED || mprotect(mem, len, PROT_READ | PROT_WRITE))
		return NULL;
	madvise(mem, len, MADV_HUGEPAGE);
	return mem;
}

FIXTURE(memory) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	uint64_t total;	/* that can be used */
};

PROVIDER_VARIANTS(memory);

FIXTURE_SETUP(memory)
{
	struct hsl_query info = { .size = sizeof(info) };

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	if (info.mem_mode != HSL_MEMORY_COHERENT)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	self->total = mem_file("total") - mem_file("poisoned");
	oracle_on(dev_path(0));
	SEED();
}

FIXTURE_TEARDOWN(memory)
{
	if (!self->ctx)
		return;
	EXPECT_EQ(0, device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES));
	hsl_close(self->ctx);
}

#endif
