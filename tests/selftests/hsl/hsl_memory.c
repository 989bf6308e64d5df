// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory as memory: what a process does to any memory, done to pages that
 * are on the device, by the CPU and by the device, with everything compared.
 */
#include <sys/wait.h>

#include "hsl_test.h"

#define HUGE_PAGE	(2 * MB)
#define MEM_DIR		"/sys/class/hsl/hsl0/memory/"

static long long mem_file(const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), MEM_DIR "%s", name);
	return read_number(path);
}

/* Bytes that this file placed on the device and that are there still */
static long long mine(struct hsl_ctx *ctx)
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

FIXTURE(memory) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	uint64_t total;
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
	self->total = mem_file("total");
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

/* All of it on the device, by the kernel's word */
static void expect_where(struct __test_metadata *_metadata, struct hsl_ctx *ctx, void *mem, size_t len,
			 enum hsl_where where)
{
	struct hsl_migrate r = { .size = sizeof(r) };
	long long before = mine(ctx);

	ASSERT_EQ(0, hsl_migrate(ctx, mem, len, where, &r));
	EXPECT_EQ(len, r.moved);
	EXPECT_EQ(before, mine(ctx));
}

TEST_F(memory, alloc_free)
{
	const size_t sizes[] = { 1, self->page, 3 * self->page, 64 * KB, MB, HUGE_PAGE, HUGE_PAGE + 5 * self->page, 9 * MB };
	size_t i, len;
	void *mem;

	for (i = 0; i < ARRAY(sizes); i++) {
		len = (sizes[i] + self->page - 1) & ~(self->page - 1);
		ASSERT_EQ(0, hsl_alloc(self->ctx, sizes[i], &mem));
		EXPECT_EQ((long long)len, mine(self->ctx));
		EXPECT_EQ(len, (size_t)mem_file("used"));
		EXPECT_EQ(self->total - len, (size_t)mem_file("free"));
		if (sizes[i] >= HUGE_PAGE)
			EXPECT_EQ(0, (uintptr_t)mem % HUGE_PAGE);
		EXPECT_EQ(0, *(char *)mem);
		EXPECT_EQ(0, memcmp(mem, (char *)mem + 1, len - 1));
		ASSERT_EQ(0, hsl_free(self->ctx, mem));
		EXPECT_EQ(0, mine(self->ctx));
		EXPECT_EQ(0, mem_file("used"));
	}
	EXPECT_EQ(-EINVAL, hsl_alloc(self->ctx, 0, &mem));
	EXPECT_EQ(-EINVAL, hsl_free(self->ctx, self));
	EXPECT_EQ(0, hsl_free(self->ctx, NULL));
}

TEST_F(memory, both_see_each_others_writes)
{
	const size_t len = HUGE_PAGE + 3 * self->page;
	char *host = map_anon(len), *back = map_anon(len);
	void *mem;

	ASSERT_NE(NULL, host);
	ASSERT_NE(NULL, back);
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	/* The device writes, the CPU reads. */
	fill_random(host, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, host, len));
	EXPECT_EQ(0, memcmp(mem, host, len));
	/* The CPU writes, the device reads. */
	fill_random(mem, len);
	ASSERT_EQ(0, hsl_copy(self->q, back, mem, len));
	EXPECT_EQ(0, memcmp(mem, back, len));
	expect_where(_metadata, self->ctx, mem, len, HSL_WHERE_DEVICE);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
}

TEST_F(memory, migrate_both_ways)
{
	const size_t len = 5 * MB + 3 * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	struct hsl_migrate r = { .size = sizeof(r) };
	int round;

	ASSERT_NE(NULL, mem);
	fill_random(mem, len);
	memcpy(ref, mem, len);
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
		EXPECT_EQ(len, r.moved);
		EXPECT_EQ((long long)len, mine(self->ctx));
		EXPECT_EQ(0, memcmp(mem, ref, len));
		fill_random(ref, len);
		ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
		ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, &r));
		EXPECT_EQ(len, r.moved);
		EXPECT_EQ(0, mine(self->ctx));
		EXPECT_EQ(0, memcmp(mem, ref, len));
	}
	EXPECT_EQ(0, mem_file("used"));
}

TEST_HARNESS_MAIN
