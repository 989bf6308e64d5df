// SPDX-License-Identifier: GPL-2.0
/*
 * Two cards of different makers, sizes and abilities, hsl0 and hsl1. Nothing here knows
 * which they are: what each reports decides what has to work and how it has to refuse.
 */
#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>

#include "hsl_test.h"

#define LEN		(300 * KB)
#define ADDS		500
#define MAX_QUEUES	1024

static const struct {
	enum hsl_op op;
	const char *name;
} all_ops[] = {
	{ HSL_OP_NOP, "NOP" }, { HSL_OP_COPY, "COPY" }, { HSL_OP_FILL, "FILL" },
	{ HSL_OP_COMPARE, "COMPARE" }, { HSL_OP_CRC32C, "CRC32C" }, { HSL_OP_ATOMIC_ADD, "ATOMIC_ADD" },
	{ HSL_OP_ATOMIC_SWAP, "ATOMIC_SWAP" }, { HSL_OP_ATOMIC_CAS, "ATOMIC_CAS" }, { HSL_OP_FENCE, "FENCE" },
};

/* How bytes in the memory of another device are reached */
enum way { WAY_NONE, WAY_HOST, WAY_LINK, WAY_PCIE, WAY_VIA_HOST, NR_WAYS };

static const char *const way_names[] = { "no way", "host memory", "the link", "PCIe", "the host bridge" };

FIXTURE(unlike) {
	struct hsl_ctx *ctx[2];
	struct hsl_queue *q[2];
	struct hsl_query info[2];
	struct hsl_peer_info peer[2];	/* the other, as this one sees it */
	unsigned char *mem[2];		/* in the memory of each, if it has some */
	unsigned char *host;
	unsigned char *ref;
};

FIXTURE_VARIANT(unlike) {
	enum hsl_sva sva;
};

/* Whatever works first on each: with a card that lacks PRI the two differ in that as well */
FIXTURE_VARIANT_ADD(unlike, first) { .sva = HSL_SVA_NONE };
FIXTURE_VARIANT_ADD(unlike, hmm) { .sva = HSL_SVA_HMM };

static int see_peer(struct hsl_ctx *ctx, unsigned int index, struct hsl_peer_info *peer)
{
	struct hsl_peer_info all[8];
	int n = hsl_peers(ctx, all, ARRAY(all));

	for (int i = 0; i < n && i < (int)ARRAY(all); i++) {
		if (all[i].index == index) {
			*peer = all[i];
			return 0;
		}
	}
	return -ENOENT;
}

/* Both are in one fabric. */
static bool joined(FIXTURE_DATA(unlike) *self)
{
	return self->info[0].hw_caps & self->info[1].hw_caps & HSL_CAP_LINK &&
	       self->info[0].fabric == self->info[1].fabric;
}

static bool link_open(FIXTURE_DATA(unlike) *self)
{
	return !see_peer(self->ctx[0], 1, &self->peer[0]) && !see_peer(self->ctx[1], 0, &self->peer[1]) &&
	       self->peer[0].hops && self->peer[1].hops;
}

FIXTURE_SETUP(unlike)
{
	SKIP_WITHOUT_DEVICES(2);
	for (unsigned int i = 0; i < 2; i++) {
		void *mem;

		OPEN_DEVICE(dev_path(i), variant->sva, &self->ctx[i]);
		self->info[i].size = sizeof(self->info[i]);
		ASSERT_EQ(0, hsl_query(self->ctx[i], &self->info[i]));
		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], NULL, &self->q[i]));
		oracle_on(dev_path(i));
		if (!self->info[i].mem_size)
			continue;
		ASSERT_EQ(HSL_MEMORY_COHERENT, self->info[i].mem_mode);
		ASSERT_EQ(0, hsl_alloc(self->ctx[i], LEN, &mem));
		self->mem[i] = mem;
	}
	if (self->info[0].vendor == self->info[1].vendor && self->info[0].device == self->info[1].device)
		SKIP(return, "the two devices are of one kind: scripts/check unlike has others");
	for (unsigned int i = 0; i < 2; i++)
		ASSERT_EQ(0, see_peer(self->ctx[i], !i, &self->peer[i]));
	if (joined(self))
		ASSERT_TRUE(COMES_TRUE(link_open(self)));
	self->host = map_anon(LEN);
	self->ref = map_anon(LEN);
	ASSERT_NE(NULL, self->host);
	ASSERT_NE(NULL, self->ref);
	SEED();
}

FIXTURE_TEARDOWN(unlike)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t breaches;

		if (!self->ctx[i])
			continue;
		/* One that a test has reset does not answer any more. */
		breaches = device_counter(self->ctx[i], HSL_CNT_ORACLE_BREACHES);
		EXPECT_TRUE(!breaches || breaches == ~0ull);
		hsl_close(self->ctx[i]);
	}
}

static bool can(FIXTURE_DATA(unlike) *self, unsigned int dev, enum hsl_op op)
{
	return self->info[dev].ops >> op & 1;
}

static long long pci_file(unsigned int dev, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/device/%s", dev, name);
	return read_number(path);
}

/* What the library says of a card is what its configuration space and its BARs say. */
TEST_F(unlike, identity)
{
	char path[96], link[256];
	ssize_t n;

	for (unsigned int i = 0; i < 2; i++) {
		struct hsl_query *info = &self->info[i];

		EXPECT_EQ(pci_file(i, "vendor"), info->vendor);
		EXPECT_EQ(pci_file(i, "device"), info->device);
		EXPECT_EQ(0x120000, pci_file(i, "class"));
		EXPECT_EQ(!!info->mem_size, !!(info->hw_caps & HSL_CAP_MEM));
		EXPECT_EQ(info->mem_size, self->peer[!i].mem_size);
		EXPECT_LT(0, info->nr_queues);
		EXPECT_LE(info->max_queues, info->nr_queues);
		EXPECT_EQ(!(info->hw_caps & HSL_CAP_LINK), info->fabric_node == HSL_NODE_NONE);
		snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/device/driver", i);
		n = readlink(path, link, sizeof(link) - 1);
		ASSERT_LT(0, n);
		link[n] = '\0';
		EXPECT_STREQ("hsl", strrchr(link, '/') + 1);
	}
}

/* A card without PRI, or behind no IOMMU, has one provider less and says which gate is closed. */
TEST_F(unlike, providers)
{
	for (unsigned int i = 0; i < 2; i++) {
		for (enum hsl_sva sva = HSL_SVA_IOMMU; sva < HSL_SVA_NR; sva++) {
			const char *why = provider_closed(dev_path(i), sva);
			struct hsl_ctx *ctx;

			if (why) {
				EXPECT_EQ(-EOPNOTSUPP, open_on(dev_path(i), sva, &ctx))
					TH_LOG("hsl%u, %s: %s", i, provider_name(sva), why);
				EXPECT_LT(10, strlen(why));
				continue;
			}
			ASSERT_EQ(0, open_on(dev_path(i), sva, &ctx));
			hsl_close(ctx);
		}
		EXPECT_EQ(variant->sva ? variant->sva :
			  provider_closed(dev_path(i), HSL_SVA_IOMMU) ? HSL_SVA_HMM : HSL_SVA_IOMMU,
			  self->info[i].sva);
	}
}

/* Each has its own largest ring and count of queues, and refuses what is beyond. */
TEST_F_TIMEOUT(unlike, queues, 60)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = self->info[i].max_ring_entries };
		struct hsl_queue *q[MAX_QUEUES];
		struct hsl_cqe c;
		unsigned int n = 0;
		int err;

		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], &opts, &q[0]));
		hsl_prep_nop(hsl_get_desc(q[0]));
		ASSERT_EQ(0, finish_one(q[0], &c));
		EXPECT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(0, hsl_queue_destroy(q[0]));
		opts.sq_entries *= 2;
		EXPECT_EQ(-EINVAL, hsl_queue_create(self->ctx[i], &opts, &q[0]));

		/* One is there already. */
		opts.sq_entries = 2;
		while (!(err = hsl_queue_create(self->ctx[i], &opts, &q[n])) && n < MAX_QUEUES - 1)
			n++;
		EXPECT_EQ(-ENOSPC, err);
		EXPECT_EQ(self->info[i].max_queues - 1, n);
		/* The other card does not mind. */
		ASSERT_EQ(0, hsl_fill(self->q[!i], self->host, i, LEN));
		while (n--)
			ASSERT_EQ(0, hsl_queue_destroy(q[n]));
	}
}

/* A descriptor has the limit of the card that executes it; the library cuts to that. */
TEST_F_TIMEOUT(unlike, transfer_size, 60)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t max = self->info[i].max_xfer;
		struct hsl_cqe c;

		hsl_prep_fill(hsl_get_desc(self->q[i]), self->host, 1, max + 1);
		ASSERT_EQ(0, finish_one(self->q[i], &c));
		EXPECT_EQ(HSL_ST_INVALID, c.status);
		EXPECT_EQ(0, self->host[0]);
		if (max < LEN) {
			hsl_prep_fill(hsl_get_desc(self->q[i]), self->host, 0x0101010101010101, max);
			ASSERT_EQ(0, finish_one(self->q[i], &c));
			EXPECT_EQ(HSL_ST_OK, c.status);
			EXPECT_EQ(max, c.bytes);
		}
		fill_random(self->ref, LEN);
		ASSERT_EQ(0, hsl_copy(self->q[i], self->host, self->ref, LEN));
		EXPECT_EQ(0, memcmp(self->host, self->ref, LEN));
		memset(self->host, 0, LEN);
	}
}

static void prep(struct hsl_desc *d, enum hsl_op op, unsigned char *dst, unsigned char *src)
{
	switch (op) {
	case HSL_OP_COPY:
		hsl_prep_copy(d, dst, src, 64);
		break;
	case HSL_OP_FILL:
		hsl_prep_fill(d, dst, 0x5a5a5a5a5a5a5a5a, 64);
		break;
	case HSL_OP_COMPARE:
		hsl_prep_compare(d, src, dst, 64);
		break;
	case HSL_OP_CRC32C:
		hsl_prep_crc32c(d, src, 64, 0);
		break;
	case HSL_OP_ATOMIC_ADD:
		hsl_prep_atomic_add(d, dst, 8, 7);
		break;
	case HSL_OP_ATOMIC_SWAP:
		hsl_prep_atomic_swap(d, dst, 8, 7);
		break;
	case HSL_OP_ATOMIC_CAS:
		hsl_prep_atomic_cas(d, dst, 8, 0, 7);
		break;
	case HSL_OP_FENCE:
		hsl_prep_fence(d);
		break;
	default:
		hsl_prep_nop(d);
	}
}

/* What it leaves in @dst, and returns; @dst is zero before. */
static uint64_t effect(enum hsl_op op, unsigned char *dst, const unsigned char *src)
{
	uint64_t seven = 7;

	switch (op) {
	case HSL_OP_COPY:
		memcpy(dst, src, 64);
		return 0;
	case HSL_OP_FILL:
		memset(dst, 0x5a, 64);
		return 0;
	case HSL_OP_COMPARE:
		return 0;	/* the first byte differs */
	case HSL_OP_CRC32C:
		return crc32c_ref(0, src, 64);
	case HSL_OP_ATOMIC_ADD:
	case HSL_OP_ATOMIC_SWAP:
	case HSL_OP_ATOMIC_CAS:
		memcpy(dst, &seven, 8);
		return 0;
	default:
		return 0;
	}
}

/* Each operation on each card: it works, or is one that it does not know and has touched nothing. */
TEST_F(unlike, operations)
{
	unsigned int missing = 0;

	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int n = 0; n < ARRAY(all_ops); n++) {
			enum hsl_op op = all_ops[n].op;
			unsigned char want[64] = { 0 };
			uint64_t result = 0;
			struct hsl_cqe c;

			memset(self->host, 0, 64);
			fill_random(self->ref, 64);
			self->ref[0] |= 1;
			prep(hsl_get_desc(self->q[i]), op, self->host, self->ref);
			ASSERT_EQ(0, finish_one(self->q[i], &c));
			if (can(self, i, op)) {
				result = effect(op, want, self->ref);
				EXPECT_EQ(HSL_ST_OK, c.status)
					TH_LOG("%s on hsl%u: %s", all_ops[n].name, i, hsl_strstatus(c.status));
			} else {
				missing++;
				EXPECT_EQ(HSL_ST_INVALID, c.status)
					TH_LOG("%s on hsl%u: %s", all_ops[n].name, i, hsl_strstatus(c.status));
				EXPECT_EQ(0, c.bytes);
			}
			if (c.status == HSL_ST_OK)
				EXPECT_EQ(result, c.result);
			EXPECT_EQ(0, memcmp(want, self->host, 64));
		}
	}
	TH_LOG("%u operations are missing", missing);
}

/* A queue can be given what its card has, and nothing else. */
TEST_F(unlike, operation_masks)
{
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int n = 0; n < ARRAY(all_ops); n++) {
			struct hsl_queue_opts opts = { .size = sizeof(opts), .ops = 1ull << all_ops[n].op };
			struct hsl_queue *q;
			int err = hsl_queue_create(self->ctx[i], &opts, &q);

			EXPECT_EQ(can(self, i, all_ops[n].op) ? 0 : -EOPNOTSUPP, err)
				TH_LOG("%s on hsl%u", all_ops[n].name, i);
			if (!err)
				hsl_queue_destroy(q);
		}
	}
}

/* The matrix gives each way between the two, or why there is none, and both agree. */
TEST_F(unlike, matrix)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct hsl_peer_info *peer = &self->peer[i];
		bool memory = self->info[!i].mem_size;

		EXPECT_EQ(self->info[!i].fabric_node, peer->node);
		for (unsigned int n = 0; n < 3; n++)
			EXPECT_EQ(peer->why[n] == HSL_WHY_OPEN, peer->routes >> n & 1);
		if (!memory) {
			EXPECT_EQ(0, peer->routes);
			for (unsigned int n = 0; n < 3; n++)
				EXPECT_EQ(HSL_WHY_NO_MEMORY, peer->why[n]);
			continue;
		}
		EXPECT_EQ(joined(self) ? HSL_WHY_OPEN : HSL_WHY_NO_FABRIC, peer->why[0]);
		EXPECT_EQ(joined(self), peer->hops != 0);
		if (self->info[i].mem_size) {
			EXPECT_EQ(self->peer[!i].why[1], peer->why[1]);
			EXPECT_EQ(self->peer[!i].why[2], peer->why[2]);
		}
	}
}

/*
 * The way that the device takes to the other's memory if it may use those. What a
 * device tree of its own cannot name moves to the host.
 */
static enum way expect_way(FIXTURE_DATA(unlike) *self, unsigned int by, uint32_t routes)
{
	uint32_t open = self->peer[by].routes & routes;

	if (self->info[by].sva == HSL_SVA_HMM && !joined(self))
		return WAY_HOST;
	return open & HSL_ROUTE_LINK ? WAY_LINK : open & HSL_ROUTE_PCIE ? WAY_PCIE :
	       open & HSL_ROUTE_VIA_HOST ? WAY_VIA_HOST : WAY_NONE;
}

static void way_bytes(struct hsl_ctx *ctx, uint64_t *bytes)
{
	static const enum hsl_counter counters[] = {
		[WAY_NONE] = HSL_CNT_UNREACHABLE, [WAY_HOST] = HSL_CNT_HOST_BYTES, [WAY_LINK] = HSL_CNT_LINK_BYTES,
		[WAY_PCIE] = HSL_CNT_PCIE_BYTES, [WAY_VIA_HOST] = HSL_CNT_VIA_HOST_BYTES,
	};

	for (unsigned int n = 0; n < NR_WAYS; n++)
		bytes[n] = device_counter(ctx, counters[n]);
}

/* Both directions between host memory and the other's memory, by these ways only */
static void over(struct __test_metadata *_metadata, FIXTURE_DATA(unlike) *self, uint32_t routes)
{
	for (unsigned int by = 0; by < 2; by++) {
		struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = routes };
		enum way way = expect_way(self, by, routes);
		uint64_t before[NR_WAYS], after[NR_WAYS];
		unsigned char *mem = self->mem[!by];
		struct hsl_queue *q;
		struct hsl_cqe c;

		if (!mem)
			continue;
		fill_random(self->ref, LEN);
		memcpy(mem, self->ref, LEN);
		memset(self->host, 0, LEN);
		ASSERT_EQ(0, hsl_queue_create(self->ctx[by], &opts, &q));
		way_bytes(self->ctx[by], before);
		if (way == WAY_NONE) {
			ASSERT_EQ(0, do_copy(q, &c, self->host, mem, 4096));
			EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, c.status);
			EXPECT_EQ((uintptr_t)mem, c.addr);
			EXPECT_EQ(0, c.access);
			EXPECT_EQ(0, c.bytes);
			EXPECT_EQ(0, self->host[0] | self->host[4095]);
			ASSERT_EQ(0, do_copy(q, &c, mem, self->host, 4096));
			EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, c.status);
			EXPECT_EQ(HSL_ACCESS_WRITE, c.access);
			EXPECT_EQ(0, memcmp(mem, self->ref, LEN));
			way_bytes(self->ctx[by], after);
			EXPECT_EQ(2, after[WAY_NONE] - before[WAY_NONE]);
		} else {
			ASSERT_EQ(0, hsl_copy(q, self->host, mem, LEN));
			EXPECT_EQ(0, memcmp(self->host, self->ref, LEN));
			fill_random(self->host, LEN);
			memcpy(self->ref, self->host, LEN);
			ASSERT_EQ(0, hsl_copy(q, mem, self->host, LEN));
			EXPECT_EQ(0, memcmp(mem, self->ref, LEN));
			way_bytes(self->ctx[by], after);
			for (enum way n = WAY_HOST; n < NR_WAYS; n++) {
				EXPECT_EQ(2ul * LEN * ((n == WAY_HOST) + (n == way)), after[n] - before[n])
					TH_LOG("hsl%u over %s", by, way_names[n]);
			}
		}
		ASSERT_EQ(0, hsl_queue_destroy(q));
		/* Where a test before it may have moved it */
		ASSERT_EQ(0, hsl_migrate(self->ctx[!by], mem, LEN, HSL_WHERE_DEVICE, NULL));
	}
}

TEST_F(unlike, over_link_only)
{
	over(_metadata, self, HSL_ROUTE_LINK);
}

TEST_F(unlike, over_pcie_only)
{
	over(_metadata, self, HSL_ROUTE_PCIE);
}

TEST_F(unlike, over_bridge_only)
{
	over(_metadata, self, HSL_ROUTE_VIA_HOST);
}

TEST_F(unlike, over_any)
{
	over(_metadata, self, HSL_ROUTE_ALL);
}

/* From the memory of one into that of the other, executed by each */
TEST_F(unlike, between)
{
	if (!self->mem[0] || !self->mem[1]) {
		/* Nothing to place: the card says so. */
		void *mem;

		EXPECT_EQ(-EOPNOTSUPP, hsl_alloc(self->ctx[self->mem[0] ? 1 : 0], LEN, &mem));
		return;
	}
	for (unsigned int by = 0; by < 2; by++) {
		for (unsigned int to = 0; to < 2; to++) {
			if (expect_way(self, by, HSL_ROUTE_ALL) == WAY_NONE)
				continue;
			fill_random(self->mem[!to], LEN);
			memcpy(self->ref, self->mem[!to], LEN);
			memset(self->mem[to], 0, LEN);
			ASSERT_EQ(0, hsl_copy(self->q[by], self->mem[to], self->mem[!to], LEN));
			EXPECT_EQ(0, memcmp(self->mem[to], self->ref, LEN));
			EXPECT_EQ(0, memcmp(self->mem[!to], self->ref, LEN));
		}
	}
}

/* Both cards that can, and the CPU, add to one word, wherever it is. */
TEST_F_TIMEOUT(unlike, atomics, 60)
{
	unsigned char *places[] = { self->host, self->mem[0], self->mem[1] };

	for (unsigned int p = 0; p < ARRAY(places); p++) {
		struct device_adder a[2] = { { .q = NULL } };
		uint64_t *word = (uint64_t *)places[p], want = 50000;
		pthread_t thread[2];

		if (!word)
			continue;
		*word = 0;
		for (unsigned int i = 0; i < 2; i++) {
			if (!can(self, i, HSL_OP_ATOMIC_ADD) ||
			    (p && i != p - 1 && expect_way(self, i, HSL_ROUTE_ALL) == WAY_NONE))
				continue;
			a[i] = (struct device_adder) { .q = self->q[i], .word = word, .times = ADDS };
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, device_adds, &a[i]));
			want += 3 * ADDS;
		}
		for (int i = 0; i < 10000; i++)
			__atomic_fetch_add(word, 5, __ATOMIC_RELAXED);
		for (unsigned int i = 0; i < 2; i++) {
			if (!a[i].q)
				continue;
			pthread_join(thread[i], NULL);
			EXPECT_EQ(0, a[i].err);
		}
		EXPECT_EQ(want, *word);
	}
}

/* As much as the one has and the other may not: each counts for itself. */
TEST_F_TIMEOUT(unlike, memory_sizes, 60)
{
	uint64_t len = 96 * MB;

	for (unsigned int i = 0; i < 2; i++) {
		uint64_t free;
		void *mem;
		int err;

		ASSERT_EQ(0, hsl_query(self->ctx[i], &self->info[i]));
		free = self->info[i].mem_free;
		EXPECT_LE(free, self->info[i].mem_size);
		err = hsl_alloc(self->ctx[i], len, &mem);
		EXPECT_EQ(!self->info[i].mem_size ? -EOPNOTSUPP : free < len ? -ENOMEM : 0, err)
			TH_LOG("hsl%u: %llu of %llu MiB free", i, (unsigned long long)free >> 20,
			       (unsigned long long)self->info[i].mem_size >> 20);
		if (!err) {
			EXPECT_LE(len, fdinfo(self->ctx[i], "hsl-memory-device"));
			hsl_free(self->ctx[i], mem);
		}
	}
}

/* The queue of one rung by the other: within a fabric, and if both cards have signals. */
TEST_F(unlike, signals)
{
	for (unsigned int i = 0; i < 2; i++) {
		bool mine = can(self, i, HSL_OP_SIGNAL), both = mine && can(self, !i, HSL_OP_SIGNAL);
		struct hsl_queue *q = self->q[!i];
		const struct hsl_cqe *none;
		int fd, handle = 0;
		struct hsl_cqe c;

		fd = hsl_queue_grant(q);
		if (can(self, !i, HSL_OP_SIGNAL)) {
			ASSERT_LE(0, fd);
			handle = hsl_signal_add(self->ctx[i], fd);
			ASSERT_EQ(both && joined(self), handle >= 0);
			if (handle < 0)
				EXPECT_EQ(mine ? -EXDEV : -EOPNOTSUPP, handle);
		} else {
			EXPECT_EQ(-EOPNOTSUPP, fd);
		}

		hsl_prep_nop(hsl_get_desc(q));
		hsl_hold(q);
		hsl_prep_signal(hsl_get_desc(self->q[i]), handle < 0 ? 0 : handle, hsl_sq_tail(q));
		ASSERT_EQ(0, finish_one(self->q[i], &c));
		EXPECT_EQ(!mine ? HSL_ST_INVALID : both && joined(self) ? HSL_ST_OK : HSL_ST_NOT_PERMITTED, c.status);
		if (c.status != HSL_ST_OK) {
			/* Nothing has started; the next submission does. */
			EXPECT_EQ(-EAGAIN, hsl_peek(q, &none));
			hsl_prep_nop(hsl_get_desc(q));
			ASSERT_EQ(0, finish_one(q, &c));
		}
		ASSERT_EQ(0, finish_one(q, &c));
		EXPECT_EQ(HSL_ST_OK, c.status);
		if (fd >= 0)
			close(fd);
	}
}

/* One is reset: it comes back as it was, what it held is kept, and the other goes on. */
TEST_F_TIMEOUT(unlike, reset_of_one, 60)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct hsl_query again = { .size = sizeof(again) };
		struct hsl_ctx *ctx;
		char path[96];

		snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/device/reset", i);
		if (self->mem[i]) {
			fill_random(self->mem[i], LEN);
			memcpy(self->ref, self->mem[i], LEN);
		}
		ASSERT_EQ(0, write_text(path, "1"));
		EXPECT_EQ(-ENODEV, hsl_query(self->ctx[i], &again));
		if (self->mem[i])
			EXPECT_EQ(0, memcmp(self->mem[i], self->ref, LEN));
		ASSERT_EQ(0, open_on(dev_path(!i), variant->sva, &ctx));
		hsl_close(ctx);
		ASSERT_EQ(0, open_on(dev_path(i), variant->sva, &ctx));
		ASSERT_EQ(0, hsl_query(ctx, &again));
		EXPECT_EQ(self->info[i].ops, again.ops);
		EXPECT_EQ(self->info[i].mem_size, again.mem_size);
		EXPECT_EQ(self->info[i].max_xfer, again.max_xfer);
		EXPECT_EQ(self->info[i].nr_queues, again.nr_queues);
		EXPECT_EQ(self->info[i].fabric_node, again.fabric_node);
		EXPECT_EQ(self->info[i].sva, again.sva);
		EXPECT_EQ(self->info[i].generation + 1, again.generation);
		hsl_close(ctx);
	}
}

TEST_HARNESS_MAIN
