// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that are joined to a fabric: the memory of one is named by the same
 * pointer on all. Any topology of two to eight devices, which may differ in what they
 * can do; links are cut here by disabling a port.
 */
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "hsl_ports.h"

#define MAX_DEVS	8
#define LEN		(300 * KB)	/* more than a piece of work, not a multiple of one */
#define PAIR_LEN	(68 * KB)	/* so is this */
/* Where the kernel places nothing by itself: what is there is what one process put there. */
#define APART(n)	((unsigned char *)((1ul << 45) + ((unsigned long)(n) << 30)))
#define TRAFFIC		200

FIXTURE(peer) {
	unsigned int nr;
	size_t all;			/* bytes of memory that each device has for this */
	struct hsl_ctx *ctx[MAX_DEVS];
	struct hsl_queue *q[MAX_DEVS];	/* the link only */
	unsigned char *mem[MAX_DEVS];	/* in the device's memory; behind LEN a slot for each device */
	unsigned char *host;
	unsigned char *ref;
	uint32_t ports[MAX_DEVS];
	uint64_t ops[MAX_DEVS];
};

PROVIDER_VARIANTS(peer);

/* If not, a descriptor of it has to be refused. */
static bool can(FIXTURE_DATA(peer) *self, unsigned int dev, enum hsl_op op)
{
	return self->ops[dev] >> op & 1;
}

/* Unlike what another seed gives; of each thread, as fill_random() is not */
static void stamp(void *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)((char *)p + i) = (seed << 32 | i) * 0x9e3779b97f4a7c15;
}

static bool is_stamped(const void *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8)
		if (*(const uint64_t *)((const char *)p + i) != (seed << 32 | i) * 0x9e3779b97f4a7c15)
			return false;
	return true;
}

static long long port_read(unsigned int dev, unsigned int port, const char *name)
{
	return read_number(port_file(dev, port, name));
}

static bool port_is(unsigned int dev, unsigned int port, const char *want)
{
	int fd = open(port_file(dev, port, "state"), O_RDONLY | O_CLOEXEC);
	char buf[32] = "";
	ssize_t n;

	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 && !strncmp(buf, want, strlen(want));
}

static bool all_links_up(unsigned int nr, const uint32_t *ports)
{
	for (unsigned int d = 0; d < nr; d++)
		for (unsigned int p = 0; p < ports[d]; p++)
			if (!port_is(d, p, "active"))
				return false;
	return true;
}

FIXTURE_SETUP(peer)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };

	while (self->nr < MAX_DEVS && have_devices(self->nr + 1))
		self->nr++;
	SKIP_WITHOUT_DEVICES(2);
	self->all = LEN + self->nr * PAIR_LEN;
	for (unsigned int i = 0; i < self->nr; i++) {
		struct hsl_query info = { .size = sizeof(info) };
		void *mem;

		OPEN_DEVICE(dev_path(i), variant->sva, &self->ctx[i]);
		ASSERT_EQ(0, hsl_query(self->ctx[i], &info));
		if (!(info.hw_caps & HSL_CAP_LINK))
			SKIP(return, "%s is in no fabric", dev_path(i));
		if (info.mem_mode != HSL_MEMORY_COHERENT)
			SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
		self->ports[i] = info.nr_ports;
		self->ops[i] = info.ops;
		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], &opts, &self->q[i]));
		ASSERT_EQ(0, hsl_alloc(self->ctx[i], self->all, &mem));
		self->mem[i] = mem;
		oracle_on(dev_path(i));
	}
	self->host = map_anon(LEN);
	self->ref = map_anon(LEN);
	ASSERT_NE(NULL, self->host);
	ASSERT_NE(NULL, self->ref);
	ASSERT_TRUE(COMES_TRUE(all_links_up(self->nr, self->ports)));
	SEED();
}

FIXTURE_TEARDOWN(peer)
{
	for (unsigned int i = 0; i < self->nr; i++) {
		ports_enable(i, self->ports[i], true);
		if (!self->ctx[i])
			continue;
		EXPECT_EQ(0, device_counter(self->ctx[i], HSL_CNT_ORACLE_BREACHES));
		hsl_close(self->ctx[i]);
	}
}

/* That memory is still where it was placed: else a test would be of something else. */
static bool on_device(FIXTURE_DATA(peer) *self, unsigned int dev)
{
	return fdinfo(self->ctx[dev], "hsl-memory-device") >= self->all;
}

/* What each executes between each two kinds of memory, over the link alone */
TEST_F_TIMEOUT(peer, copy, 120)
{
	struct hsl_cqe c;

	for (unsigned int by = 0; by < self->nr; by++) {
		for (unsigned int at = 0; at < self->nr; at++) {
			unsigned int other = (at + 1) % self->nr;
			uint64_t link = device_counter(self->ctx[by], HSL_CNT_LINK_BYTES);
			uint64_t own = device_counter(self->ctx[by], HSL_CNT_OWN_BYTES);
			uint64_t host = device_counter(self->ctx[by], HSL_CNT_HOST_BYTES);

			fill_random(self->ref, LEN);
			memcpy(self->host, self->ref, LEN);
			ASSERT_EQ(0, do_copy(self->q[by], &c, self->mem[at], self->host, LEN));
			ASSERT_EQ(HSL_ST_OK, c.status)
				TH_LOG("hsl%u to the memory of hsl%u: %s", by, at, hsl_strstatus(c.status));
			ASSERT_EQ(0, memcmp(self->ref, self->mem[at], LEN));
			ASSERT_EQ(0, do_copy(self->q[by], &c, self->mem[other], self->mem[at], LEN));
			ASSERT_EQ(HSL_ST_OK, c.status);
			ASSERT_EQ(0, memcmp(self->ref, self->mem[other], LEN));
			memset(self->host, 0, LEN);
			ASSERT_EQ(0, do_copy(self->q[by], &c, self->host, self->mem[other], LEN));
			ASSERT_EQ(HSL_ST_OK, c.status);
			ASSERT_EQ(0, memcmp(self->ref, self->host, LEN));

			ASSERT_TRUE(on_device(self, at) && on_device(self, other));
			link = device_counter(self->ctx[by], HSL_CNT_LINK_BYTES) - link;
			own = device_counter(self->ctx[by], HSL_CNT_OWN_BYTES) - own;
			host = device_counter(self->ctx[by], HSL_CNT_HOST_BYTES) - host;
			EXPECT_EQ(2ul * LEN * ((by != at) + (by != other)), link);
			EXPECT_EQ(2ul * LEN * ((by == at) + (by == other)), own);
			EXPECT_EQ(2ul * LEN, host);
		}
	}
}

TEST_F(peer, operations)
{
	struct hsl_cqe c;
	uint32_t crc = 0;
	size_t differs;

	for (unsigned int by = 0; by < self->nr; by++) {
		unsigned int at = (by + 1) % self->nr;
		struct hsl_queue *q = self->q[by];

		ASSERT_EQ(0, hsl_fill(q, self->mem[at], 0x0102030405060708, LEN));
		for (size_t i = 0; i < LEN; i += 8)
			ASSERT_EQ(0x0102030405060708, *(uint64_t *)(self->mem[at] + i));
		fill_random(self->mem[at], LEN);
		memcpy(self->ref, self->mem[at], LEN);
		crc = 0;
		ASSERT_EQ(0, hsl_crc32c(q, self->mem[at], LEN, &crc));
		EXPECT_EQ(crc32c_ref(0, self->ref, LEN), crc);
		memcpy(self->mem[by], self->ref, LEN);
		if (can(self, by, HSL_OP_COMPARE)) {
			ASSERT_EQ(0, hsl_compare(q, self->mem[at], self->mem[by], LEN, &differs));
			EXPECT_EQ(LEN, differs);
			self->mem[at][LEN - 5] ^= 1;
			ASSERT_EQ(0, hsl_compare(q, self->mem[at], self->mem[by], LEN, &differs));
			EXPECT_EQ(LEN - 5, differs);
		} else {
			EXPECT_EQ(hsl_status_errno(HSL_ST_INVALID),
				  hsl_compare(q, self->mem[at], self->mem[by], LEN, &differs));
		}

		/* memmove() within the memory of a peer, both ways */
		memcpy(self->mem[at], self->ref, LEN);
		memmove(self->ref + 1000, self->ref, LEN - 1000);
		ASSERT_EQ(0, do_copy(q, &c, self->mem[at] + 1000, self->mem[at], LEN - 1000));
		ASSERT_EQ(HSL_ST_OK, c.status);
		EXPECT_EQ(0, memcmp(self->ref, self->mem[at], LEN));
		memmove(self->ref, self->ref + 4999, LEN - 4999);
		ASSERT_EQ(0, do_copy(q, &c, self->mem[at], self->mem[at] + 4999, LEN - 4999));
		ASSERT_EQ(HSL_ST_OK, c.status);
		EXPECT_EQ(0, memcmp(self->ref, self->mem[at], LEN));
	}
}

/* All devices and the CPU add to one word, in the memory of each in turn. */
TEST_F(peer, atomics_of_all)
{
	struct hsl_cqe c;

	for (unsigned int at = 0; at < self->nr; at++) {
		uint64_t *word = (uint64_t *)(self->mem[at] + 4096);
		struct device_adder a[MAX_DEVS];
		pthread_t thread[MAX_DEVS];

		*word = 0;
		for (unsigned int i = 0; i < self->nr; i++) {
			a[i] = (struct device_adder) { .q = self->q[i], .word = word, .times = TRAFFIC };
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, device_adds, &a[i]));
		}
		for (int i = 0; i < 10000; i++)
			__atomic_fetch_add(word, 5, __ATOMIC_RELAXED);
		for (unsigned int i = 0; i < self->nr; i++) {
			pthread_join(thread[i], NULL);
			EXPECT_EQ(0, a[i].err);
		}
		EXPECT_EQ(self->nr * TRAFFIC * 3 + 50000, *word);
		ASSERT_TRUE(on_device(self, at));
	}

	for (unsigned int by = 0; by < self->nr; by++) {
		uint64_t *word = (uint64_t *)self->mem[(by + 1) % self->nr];

		*word = 11;
		hsl_prep_atomic_swap(hsl_get_desc(self->q[by]), word, 8, 22);
		ASSERT_EQ(0, finish_one(self->q[by], &c));
		if (can(self, by, HSL_OP_ATOMIC_SWAP)) {
			EXPECT_EQ(HSL_ST_OK, c.status);
			EXPECT_EQ(11, c.result);
		} else {
			EXPECT_EQ(HSL_ST_INVALID, c.status);
			EXPECT_EQ(11, *word);
			*word = 22;
		}
		hsl_prep_atomic_cas(hsl_get_desc(self->q[by]), word, 8, 22, 33);
		ASSERT_EQ(0, finish_one(self->q[by], &c));
		EXPECT_EQ(22, c.result);
		EXPECT_EQ(33, *word);
	}
}

static long long ports_sum(unsigned int dev, unsigned int ports, const char *name)
{
	long long sum = 0;

	for (unsigned int p = 0; p < ports; p++)
		sum += port_read(dev, p, name);
	return sum;
}

/*
 * The rings of a queue may lie there too. What goes there is not of operands, so the
 * ports tell, and none of it finds another way.
 */
TEST_F(peer, rings_at_a_peer)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };
	long long tx, rx, operands;
	const long long times = 200;
	struct hsl_queue *q;
	struct hsl_cqe c;
	size_t len;
	void *rings;

	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], &opts, &q));
	rings = rings_of(q, &len);
	for (int there = 0; there < 2; there++) {
		if (there)
			ASSERT_EQ(0, hsl_migrate(self->ctx[1], rings, len, HSL_WHERE_DEVICE, NULL));
		tx = ports_sum(0, self->ports[0], "tx_bytes");
		rx = ports_sum(0, self->ports[0], "rx_bytes");
		operands = device_counter(self->ctx[0], HSL_CNT_LINK_BYTES);
		for (int i = 0; i < times; i++) {
			hsl_prep_nop(hsl_get_desc(q));
			ASSERT_EQ(0, finish_one(q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
		}
		tx = ports_sum(0, self->ports[0], "tx_bytes") - tx;
		rx = ports_sum(0, self->ports[0], "rx_bytes") - rx;
		if (there) {
			EXPECT_LE(times * (long long)sizeof(struct hsl_cqe), tx);
			EXPECT_LE(times * (long long)sizeof(struct hsl_desc), rx);
		} else {
			EXPECT_EQ(0, tx);
			EXPECT_EQ(0, rx);
		}
		EXPECT_EQ(operands, (long long)device_counter(self->ctx[0], HSL_CNT_LINK_BYTES));
	}
	EXPECT_LE(self->all + len, fdinfo(self->ctx[1], "hsl-memory-device"));

	ports_enable(0, self->ports[0], false);
	hsl_prep_nop(hsl_get_desc(q));
	EXPECT_EQ(-EIO, finish_one(q, &c));
	EXPECT_EQ(HSL_Q_FAILED, queue_state(q).state);
	EXPECT_EQ(HSL_QERR_PEER, queue_state(q).error);
}

/* Memory moves from one device to the next while they all read it. */
TEST_F_TIMEOUT(peer, migrate_round, 60)
{
	uint32_t crc, want;

	fill_random(self->mem[0], LEN);
	memcpy(self->ref, self->mem[0], LEN);
	want = crc32c_ref(0, self->ref, LEN);
	for (unsigned int i = 0; i < 3 * self->nr; i++) {
		unsigned int to = (i + 1) % self->nr;

		if (i % 2) {
			ASSERT_EQ(0, hsl_migrate(self->ctx[to], self->mem[0], LEN, HSL_WHERE_DEVICE, NULL));
		} else {
			ASSERT_EQ(0, hsl_advise(self->ctx[to], self->mem[0], LEN, HSL_ADVICE_PREFETCH,
						HSL_WHERE_DEVICE));
		}
		ASSERT_LE(self->all + (to ? LEN : 0), fdinfo(self->ctx[to], "hsl-memory-device"));
		for (unsigned int by = 0; by < self->nr; by++) {
			crc = 0;
			ASSERT_EQ(0, hsl_crc32c(self->q[by], self->mem[0], LEN, &crc));
			ASSERT_EQ(want, crc);
		}
	}
	EXPECT_EQ(0, memcmp(self->ref, self->mem[0], LEN));
}

/* What the matrix says is what happens. */
TEST_F(peer, matrix)
{
	struct hsl_peer_info info[MAX_DEVS];
	uint64_t unreachable;
	struct hsl_cqe c;
	int n;

	n = hsl_peers(self->ctx[0], info, MAX_DEVS);
	ASSERT_EQ((int)self->nr - 1, n);
	for (int i = 0; i < n; i++) {
		EXPECT_LT(0, info[i].index);
		EXPECT_EQ(HSL_WHY_OPEN, info[i].why[0]);
		EXPECT_TRUE(info[i].routes & HSL_ROUTE_LINK);
		EXPECT_LE(1, info[i].hops);
		EXPECT_LT(0, info[i].mem_size);
	}
	/* Too small an array: as many as fit, and how many there are */
	memset(info, 0xff, sizeof(info));
	EXPECT_EQ((int)self->nr - 1, hsl_peers(self->ctx[0], info, 0));
	EXPECT_EQ(~0u, info[0].index);

	unreachable = device_counter(self->ctx[0], HSL_CNT_UNREACHABLE);
	ports_enable(0, self->ports[0], false);
	n = hsl_peers(self->ctx[0], info, MAX_DEVS);
	for (int i = 0; i < n; i++) {
		EXPECT_EQ(HSL_WHY_NO_PATH, info[i].why[0]);
		EXPECT_FALSE(info[i].routes & HSL_ROUTE_LINK);
		EXPECT_EQ(0, info[i].hops);
	}
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, c.status);
	EXPECT_EQ((uintptr_t)self->mem[1], c.addr);
	EXPECT_EQ(0, c.access);
	EXPECT_EQ(0, c.bytes);
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->mem[1], self->host, LEN));
	EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, c.status);
	EXPECT_EQ((uintptr_t)self->mem[1], c.addr);
	EXPECT_EQ(HSL_ACCESS_WRITE, c.access);
	EXPECT_EQ(unreachable + 2, device_counter(self->ctx[0], HSL_CNT_UNREACHABLE));
	ASSERT_TRUE(on_device(self, 1));

	ports_enable(0, self->ports[0], true);
	ASSERT_TRUE(COMES_TRUE(all_links_up(self->nr, self->ports)));
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(HSL_ST_OK, c.status);
}

/* Of what the opener does not want it says so, and the rest as to others. */
TEST_F(peer, matrix_by_policy)
{
	static const uint32_t wants[] = { HSL_ROUTE_LINK, HSL_ROUTE_PCIE, HSL_ROUTE_LINK | HSL_ROUTE_VIA_HOST };
	struct hsl_peer_info all[MAX_DEVS], info[MAX_DEVS];
	int n;

	n = hsl_peers(self->ctx[0], all, MAX_DEVS);
	ASSERT_EQ((int)self->nr - 1, n);
	for (unsigned int w = 0; w < ARRAY(wants); w++) {
		struct hsl_open_opts opts = { .size = sizeof(opts), .sva = variant->sva, .routes = wants[w] };
		struct hsl_ctx *ctx;

		ASSERT_EQ(0, hsl_open(dev_path(0), &opts, &ctx));
		ASSERT_EQ(n, hsl_peers(ctx, info, MAX_DEVS));
		for (int i = 0; i < n; i++) {
			EXPECT_EQ(all[i].index, info[i].index);
			EXPECT_EQ(all[i].hops, info[i].hops);
			EXPECT_EQ(all[i].routes & wants[w], info[i].routes);
			for (unsigned int r = 0; r < 3; r++) {
				bool closed = all[i].routes & ~wants[w] & 1u << r;

				EXPECT_EQ(closed ? HSL_WHY_POLICY : all[i].why[r], info[i].why[r]);
			}
		}
		hsl_close(ctx);
	}
}

/* Without the link, another queue of the same context goes where it is allowed to. */
TEST_F(peer, policy)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK | HSL_ROUTE_PCIE };
	struct hsl_peer_info info[MAX_DEVS];
	uint64_t link, pcie, bridge;
	struct hsl_queue *two, *any;
	struct hsl_cqe c;
	uint32_t open;
	int n;

	n = hsl_peers(self->ctx[0], info, MAX_DEVS);
	ASSERT_LT(0, n);
	while (--n && info[n].index != 1)
		;
	ASSERT_EQ(1, info[n].index);
	open = info[n].routes;
	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], &opts, &two));
	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], NULL, &any));
	fill_random(self->mem[1], LEN);

	link = device_counter(self->ctx[0], HSL_CNT_LINK_BYTES);
	ASSERT_EQ(0, do_copy(any, &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(link + LEN, device_counter(self->ctx[0], HSL_CNT_LINK_BYTES));

	ports_enable(0, self->ports[0], false);
	pcie = device_counter(self->ctx[0], HSL_CNT_PCIE_BYTES);
	bridge = device_counter(self->ctx[0], HSL_CNT_VIA_HOST_BYTES);
	memset(self->host, 0, LEN);
	ASSERT_EQ(0, do_copy(two, &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(open & HSL_ROUTE_PCIE ? HSL_ST_OK : HSL_ST_PEER_UNREACHABLE, c.status);
	ASSERT_EQ(0, do_copy(any, &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(open & (HSL_ROUTE_PCIE | HSL_ROUTE_VIA_HOST) ? HSL_ST_OK : HSL_ST_PEER_UNREACHABLE, c.status);
	if (c.status == HSL_ST_OK)
		EXPECT_EQ(0, memcmp(self->host, self->mem[1], LEN));
	pcie = device_counter(self->ctx[0], HSL_CNT_PCIE_BYTES) - pcie;
	bridge = device_counter(self->ctx[0], HSL_CNT_VIA_HOST_BYTES) - bridge;
	EXPECT_EQ(open & HSL_ROUTE_PCIE ? 2 * LEN : 0, pcie);
	EXPECT_EQ(!(open & HSL_ROUTE_PCIE) && open & HSL_ROUTE_VIA_HOST ? LEN : 0, bridge);
	ASSERT_TRUE(on_device(self, 1));

	opts.routes = 1u << 5;
	EXPECT_EQ(-EOPNOTSUPP, hsl_queue_create(self->ctx[0], &opts, &two));
}

/* The first of the ways that are allowed and open, or none; the links are cut. */
static uint32_t way_without_link(uint32_t allowed, uint32_t open)
{
	allowed &= open;
	return allowed & HSL_ROUTE_PCIE ? HSL_ROUTE_PCIE : allowed & HSL_ROUTE_VIA_HOST;
}

/* It goes that way, and comes over it; @way 0: it does not. */
static void expect_way(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, struct hsl_queue *q, uint32_t way)
{
	uint64_t pcie = device_counter(self->ctx[0], HSL_CNT_PCIE_BYTES);
	uint64_t bridge = device_counter(self->ctx[0], HSL_CNT_VIA_HOST_BYTES);
	uint64_t link = device_counter(self->ctx[0], HSL_CNT_LINK_BYTES);
	struct hsl_cqe c;

	memset(self->host, 0, LEN);
	ASSERT_EQ(0, do_copy(q, &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(way ? HSL_ST_OK : HSL_ST_PEER_UNREACHABLE, c.status);
	EXPECT_EQ(way ? LEN : 0, c.bytes);
	if (way)
		EXPECT_EQ(0, memcmp(self->host, self->mem[1], LEN));
	EXPECT_EQ(way == HSL_ROUTE_PCIE ? LEN : 0, device_counter(self->ctx[0], HSL_CNT_PCIE_BYTES) - pcie);
	EXPECT_EQ(way == HSL_ROUTE_VIA_HOST ? LEN : 0, device_counter(self->ctx[0], HSL_CNT_VIA_HOST_BYTES) - bridge);
	EXPECT_EQ(way == HSL_ROUTE_LINK ? LEN : 0, device_counter(self->ctx[0], HSL_CNT_LINK_BYTES) - link);
}

/*
 * What the context says is for queues that say nothing, in either direction; what it
 * does not say the environment may.
 */
TEST_F_TIMEOUT(peer, policy_of_the_context, 60)
{
	static const struct {
		const char *env;
		uint32_t opt, queue, routes;	/* of the context, of the queue, and what follows */
	} cases[] = {
		{ NULL, 0, 0, HSL_ROUTE_ALL },
		{ "", 0, 0, HSL_ROUTE_ALL },
		{ NULL, HSL_ROUTE_LINK, 0, HSL_ROUTE_LINK },
		{ NULL, HSL_ROUTE_PCIE, 0, HSL_ROUTE_PCIE },
		{ NULL, HSL_ROUTE_VIA_HOST, 0, HSL_ROUTE_VIA_HOST },
		{ NULL, HSL_ROUTE_LINK | HSL_ROUTE_PCIE, 0, HSL_ROUTE_LINK | HSL_ROUTE_PCIE },
		{ NULL, HSL_ROUTE_ALL, 0, HSL_ROUTE_ALL },
		{ NULL, HSL_ROUTE_LINK, HSL_ROUTE_ALL, HSL_ROUTE_ALL },
		{ NULL, HSL_ROUTE_ALL, HSL_ROUTE_LINK, HSL_ROUTE_LINK },
		{ NULL, HSL_ROUTE_LINK, HSL_ROUTE_PCIE, HSL_ROUTE_PCIE },
		{ "link-only", 0, 0, HSL_ROUTE_LINK },
		{ "link-then-pcie", 0, 0, HSL_ROUTE_LINK | HSL_ROUTE_PCIE },
		{ "any", 0, 0, HSL_ROUTE_ALL },
		{ "link-only", HSL_ROUTE_ALL, 0, HSL_ROUTE_ALL },
		{ "any", HSL_ROUTE_LINK, 0, HSL_ROUTE_LINK },
		{ "link-only", 0, HSL_ROUTE_ALL, HSL_ROUTE_ALL },
		{ "any", 0, HSL_ROUTE_LINK, HSL_ROUTE_LINK },
	};
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = variant->sva };
	struct hsl_peer_info info[MAX_DEVS];
	struct hsl_queue *q[ARRAY(cases)];
	struct hsl_ctx *ctx[ARRAY(cases)];
	const char *was = getenv("HSL_ROUTES");
	uint32_t open = 0;
	int n;

	n = hsl_peers(self->ctx[0], info, MAX_DEVS);
	ASSERT_LT(0, n);
	while (--n >= 0)
		open |= info[n].index == 1 ? info[n].routes : 0;
	ASSERT_TRUE(open & HSL_ROUTE_LINK);
	TH_LOG("besides the link: %s",
	       open & HSL_ROUTE_PCIE ? "PCIe" : open & HSL_ROUTE_VIA_HOST ? "via host" : "none");
	for (unsigned int i = 0; i < ARRAY(cases); i++) {
		struct hsl_queue_opts q_opts = { .size = sizeof(q_opts), .routes = cases[i].queue };

		if (cases[i].env)
			setenv("HSL_ROUTES", cases[i].env, 1);
		else
			unsetenv("HSL_ROUTES");
		opts.routes = cases[i].opt;
		ASSERT_EQ(0, hsl_open(dev_path(0), &opts, &ctx[i]));
		/* It counts when the context is opened. */
		setenv("HSL_ROUTES", "link-only", 1);
		ASSERT_EQ(0, hsl_queue_create(ctx[i], cases[i].queue ? &q_opts : NULL, &q[i]));
	}
	fill_random(self->mem[1], LEN);
	for (unsigned int i = 0; i < ARRAY(cases); i++) {
		uint32_t way = cases[i].routes & HSL_ROUTE_LINK;

		expect_way(_metadata, self, q[i], way ? way : way_without_link(cases[i].routes, open));
	}
	ports_enable(0, self->ports[0], false);
	for (unsigned int i = 0; i < ARRAY(cases); i++)
		expect_way(_metadata, self, q[i], way_without_link(cases[i].routes, open));
	ASSERT_TRUE(on_device(self, 1));
	for (unsigned int i = 0; i < ARRAY(cases); i++)
		hsl_close(ctx[i]);

	/* What it is not one of is no policy, whoever says it. */
	opts.routes = 1u << 5;
	EXPECT_EQ(-EOPNOTSUPP, hsl_open(dev_path(0), &opts, &ctx[0]));
	opts.routes = 0;
	setenv("HSL_ROUTES", "pcie", 1);
	EXPECT_EQ(-EOPNOTSUPP, hsl_open(dev_path(0), &opts, &ctx[0]));
	if (was)
		setenv("HSL_ROUTES", was, 1);
	else
		unsetenv("HSL_ROUTES");
}

/* What the kernel tells udev */
static int listen_to_uevents(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int s = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	return s < 0 || bind(s, (void *)&addr, sizeof(addr)) ? -1 : s;
}

/* Is the next one a change of the device with this word? */
static bool uevent_says(int s, const char *device, const char *word)
{
	bool ours = false, says = false;
	char text[4096];
	ssize_t len = recv(s, text, sizeof(text) - 1, 0);

	text[len < 0 ? 0 : len] = '\0';
	for (char *at = text; at < text + len; at += strlen(at) + 1) {
		ours |= !strncmp(at, "change@", 7) && !strcmp(strrchr(at, '/') + 1, device);
		says |= !strcmp(at, word);
	}
	return ours && says;
}

/* Link events come to whoever has queues, by poll() too, and to udev. */
TEST_F(peer, events)
{
	struct pollfd p = { .fd = hsl_fd(self->ctx[0]), .events = POLLPRI };
	int uevents = listen_to_uevents(), n;
	struct hsl_ctx *other, *without;
	struct hsl_event ev[64];
	bool down = false, up = false;
	struct hsl_queue *q;

	ASSERT_LE(0, uevents);
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &other));
	ASSERT_EQ(0, hsl_queue_create(other, NULL, &q));
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &without));
	hsl_events(self->ctx[0], ev, ARRAY(ev), NULL);
	ASSERT_EQ(0, port_write(0, 0, "enable", 0));
	ASSERT_EQ(1, poll(&p, 1, BOUND_MS));
	ASSERT_EQ(0, port_write(0, 0, "enable", 1));
	for (long long end = now_ms() + BOUND_MS; !(down && up) && now_ms() < end; ) {
		ASSERT_EQ(1, poll(&p, 1, BOUND_MS));
		n = hsl_events(self->ctx[0], ev, ARRAY(ev), NULL);
		ASSERT_LE(0, n);
		for (int i = 0; i < n; i++) {
			ASSERT_EQ(HSL_EV_LINK, ev[i].type);
			EXPECT_EQ(0, ev[i].queue);
			down |= ev[i].code == HSL_LINK_DOWN && ev[i].access == HSL_LINK_DISABLED;
			up |= ev[i].code == HSL_LINK_ACTIVE;
		}
	}
	EXPECT_TRUE(down && up);
	EXPECT_TRUE(COMES_TRUE(hsl_events(other, ev, ARRAY(ev), NULL) > 0));
	EXPECT_EQ(HSL_EV_LINK, ev[0].type);
	EXPECT_EQ(0, hsl_events(without, ev, ARRAY(ev), NULL));
	EXPECT_TRUE(COMES_TRUE(uevent_says(uevents, "hsl0", "HSL_LINK=port0:down")));
	EXPECT_TRUE(COMES_TRUE(uevent_says(uevents, "hsl0", "HSL_LINK=port0:active")));
	hsl_close(other);
	hsl_close(without);
	close(uevents);
}

/* The port's counters are those of what went over it. */
TEST_F(peer, port_counters)
{
	long long tx = ports_sum(0, self->ports[0], "tx_bytes"), rx = ports_sum(0, self->ports[0], "rx_bytes");
	long long packets = ports_sum(0, self->ports[0], "tx_packets");
	struct hsl_cqe c;

	ASSERT_EQ(0, do_copy(self->q[0], &c, self->mem[1], self->host, LEN));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->host, self->mem[1], 4096));
	ASSERT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(LEN, ports_sum(0, self->ports[0], "tx_bytes") - tx);
	EXPECT_EQ(4096, ports_sum(0, self->ports[0], "rx_bytes") - rx);
	EXPECT_LE(LEN / 256, ports_sum(0, self->ports[0], "tx_packets") - packets);
}

/* One device's, with all others */
struct traffic {
	unsigned int by, nr;
	enum hsl_sva sva;
	bool comes_back;		/* the device goes, and is opened again */
	struct hsl_ctx *ctx;		/* then */
	struct hsl_queue *q;
	unsigned char *const *mem;
	unsigned char *host;
	volatile bool stop;
	volatile unsigned int tried[MAX_DEVS], done[MAX_DEVS];
	int err;
};

/* Reads the first PAIR_LEN of what each other device has, or writes its slot there. 0 or -errno */
static int traffic_turn(struct traffic *t, bool write)
{
	unsigned char *dst[MAX_DEVS], *src[MAX_DEVS];
	int n = 0, err;

	for (unsigned int at = 0; at < t->nr; at++) {
		unsigned char *host = t->host + at * PAIR_LEN, *slot = t->mem[at] + LEN + t->by * PAIR_LEN;
		struct hsl_desc *d;

		if (at == t->by)
			continue;
		dst[at] = write ? slot : host;
		src[at] = write ? host : t->mem[at];
		if (write)
			stamp(host, PAIR_LEN, t->tried[at] * MAX_DEVS + at + 1);
		memset(dst[at], 0, PAIR_LEN);
		d = hsl_get_desc(t->q);
		if (!d)
			return -EBADMSG;
		hsl_prep_copy(d, dst[at], src[at], PAIR_LEN);
		hsl_desc_set_user_data(d, at);
		n++;
	}
	hsl_submit(t->q);
	while (n--) {
		const struct hsl_cqe *c;
		unsigned int at;
		uint32_t status;

		err = hsl_wait(t->q, &c, BOUND_NS);
		if (err)
			return err;
		at = c->user_data;
		status = c->status;
		if (status != HSL_ST_OK && status != HSL_ST_PEER_UNREACHABLE && status != HSL_ST_LINK_ERROR)
			return hsl_status_errno(status);
		/* What is said to be done is there, whatever came then. */
		if (memcmp(dst[at], src[at], status == HSL_ST_OK ? PAIR_LEN : c->bytes))
			return -EBADMSG;
		hsl_seen(t->q, 1);
		t->tried[at]++;
		t->done[at] += status == HSL_ST_OK;
	}
	return 0;
}

/* Anew on a device that may be gone for a moment; the queue that it had is dead. */
static int traffic_open(struct traffic *t)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };
	long long end = now_ms() + BOUND_MS;
	int err;

	if (t->ctx)
		hsl_close(t->ctx);
	do {
		t->ctx = NULL;
		err = open_on(dev_path(t->by), t->sva, &t->ctx);
		if (!err)
			err = hsl_queue_create(t->ctx, &opts, &t->q);
		if (!err)
			return 0;
		if (t->ctx)
			hsl_close(t->ctx);
		usleep(200);
	} while (now_ms() < end);
	t->ctx = NULL;
	return err;
}

static void *traffic_run(void *arg)
{
	struct traffic *t = arg;

	if (t->comes_back)
		t->err = traffic_open(t);
	for (bool write = false; !t->stop && !t->err; write = !write) {
		t->err = traffic_turn(t, write);
		/* So that what is to happen meanwhile has a CPU. */
		usleep(3000);
		if (t->err == -ENODEV && t->comes_back)
			t->err = traffic_open(t);
	}
	if (t->ctx)
		hsl_close(t->ctx);
	return NULL;
}

/* A thread for each device */
struct crowd {
	struct traffic t[MAX_DEVS];
	pthread_t thread[MAX_DEVS];
	unsigned int before[MAX_DEVS][MAX_DEVS];
};

/* Each device reads from each other one and writes to it; if @going is one of them, that one goes and comes back. */
static bool crowd_start(FIXTURE_DATA(peer) *self, struct crowd *c, enum hsl_sva sva, int going)
{
	for (unsigned int i = 0; i < self->nr; i++)
		fill_random(self->mem[i], self->all);
	for (unsigned int i = 0; i < self->nr; i++) {
		struct traffic *t = &c->t[i];

		*t = (struct traffic) {
			.by = i, .nr = self->nr, .sva = sva, .comes_back = (int)i == going,
			.q = self->q[i], .mem = self->mem, .host = map_anon(self->nr * PAIR_LEN),
		};
		if (!t->host || pthread_create(&c->thread[i], NULL, traffic_run, t))
			return false;
	}
	return true;
}

static unsigned int *pair_of(struct crowd *c, unsigned int by, unsigned int at, bool done)
{
	return (unsigned int *)(done ? &c->t[by].done[at] : &c->t[by].tried[at]);
}

/* From here on */
static void crowd_mark(FIXTURE_DATA(peer) *self, struct crowd *c, bool done)
{
	for (unsigned int by = 0; by < self->nr; by++)
		for (unsigned int at = 0; at < self->nr; at++)
			c->before[by][at] = __atomic_load_n(pair_of(c, by, at, done), __ATOMIC_RELAXED);
}

/* Has each pair tried it since, or done it, but for what @without does? Or is something wrong already? */
static bool crowd_went_on(FIXTURE_DATA(peer) *self, struct crowd *c, bool done, int without)
{
	for (unsigned int by = 0; by < self->nr; by++)
		for (unsigned int at = 0; at < self->nr; at++)
			if (by != at && (int)by != without && !c->t[by].err &&
			    __atomic_load_n(pair_of(c, by, at, done), __ATOMIC_RELAXED) == c->before[by][at])
				return false;
	return true;
}

/* Where there are more threads than CPUs, one may not have come to it yet. */
static bool crowd_all_began(FIXTURE_DATA(peer) *self, struct crowd *c)
{
	memset(c->before, 0, sizeof(c->before));
	return COMES_TRUE(crowd_went_on(self, c, true, -1));
}

/* All of them get something, and nothing wrong. How many copies it was. */
static unsigned int crowd_stop(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, struct crowd *c)
{
	unsigned int done = 0;

	EXPECT_TRUE(crowd_all_began(self, c));
	for (unsigned int i = 0; i < self->nr; i++)
		c->t[i].stop = true;
	for (unsigned int i = 0; i < self->nr; i++) {
		struct traffic *t = &c->t[i];

		pthread_join(c->thread[i], NULL);
		EXPECT_EQ(0, t->err)
			TH_LOG("hsl%u: %s", i, strerror(-t->err));
		for (unsigned int at = 0; at < self->nr; at++) {
			if (at != i)
				EXPECT_LT(0, t->done[at]) TH_LOG("hsl%u and hsl%u", i, at);
			done += t->done[at];
		}
		munmap(t->host, self->nr * PAIR_LEN);
	}
	return done;
}

/*
 * So long, and what happens to the links meanwhile is somebody else's business, who
 * waits for the word that all have begun.
 */
TEST_F_TIMEOUT(peer, traffic, 60)
{
	const char *ms = getenv("HSL_TRAFFIC_MS");
	struct crowd c = { 0 };

	ASSERT_TRUE(crowd_start(self, &c, variant->sva, -1));
	EXPECT_TRUE(crowd_all_began(self, &c));
	TH_LOG("all pairs copy");
	usleep(1000 * (ms ? atoi(ms) : 300));
	crowd_stop(_metadata, self, &c);
}

/* All pairs copy while the links of the first device are cut, in every round. */
TEST_F_TIMEOUT(peer, cut_under_traffic, 120)
{
	struct crowd c = { 0 };
	uint32_t crc = 0;

	ASSERT_TRUE(crowd_start(self, &c, variant->sva, -1));
	for (int i = 0; i < 100; i++) {
		unsigned int port = rnd(self->ports[0]);

		crowd_mark(self, &c, false);
		port_write(0, port, "enable", 0);
		usleep(rnd(3000));
		port_write(0, port, "enable", 1);
		if (i % 10 == 0)
			port_write(0, port, "retrain", 1);
		usleep(rnd(3000));
		EXPECT_TRUE(COMES_TRUE(crowd_went_on(self, &c, false, -1)));
	}
	TH_LOG("%u copies", crowd_stop(_metadata, self, &c));
	ASSERT_TRUE(COMES_TRUE(all_links_up(self->nr, self->ports)));
	for (unsigned int i = 0; i < self->nr; i++)
		ASSERT_EQ(0, hsl_crc32c(self->q[i], self->mem[(i + 1) % self->nr], LEN, &crc));
}

/* What the other process has: memory of each device, of the host, and a device's by file descriptor */
static unsigned int foreign_areas(unsigned int nr)
{
	return nr + 2;
}

/* Until @go says so, or its other end is closed; the exit status */
static int have_areas(unsigned int nr, enum hsl_sva sva, int tell, int go)
{
	struct hsl_ctx *ctx[MAX_DEVS];
	unsigned long long there[MAX_DEVS];
	int fd = -1;
	char word;

	for (unsigned int i = 0; i < nr; i++)
		if (open_on(dev_path(i), sva, &ctx[i]))
			return 1;
	fd = hsl_buf_create(ctx[0], LEN);
	for (unsigned int i = 0; i < foreign_areas(nr); i++) {
		bool buf = i > nr;

		if (mmap(APART(i), LEN, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE |
			 (buf ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), buf ? fd : -1, 0) != APART(i))
			return 2;
		stamp(APART(i), LEN, i + 1);
		if (i < nr && hsl_migrate(ctx[i], APART(i), LEN, HSL_WHERE_DEVICE, NULL))
			return 3;
	}
	for (unsigned int i = 0; i < nr; i++) {
		there[i] = fdinfo(ctx[i], "hsl-memory-device");
		if (there[i] < LEN)
			return 4;
	}
	if (write(tell, "x", 1) != 1 || read(go, &word, 1) != 1)
		return 5;
	for (unsigned int i = 0; i < nr; i++)
		if (fdinfo(ctx[i], "hsl-memory-device") != there[i])
			return 6;
	for (unsigned int i = 0; i < foreign_areas(nr); i++)
		if (!is_stamped(APART(i), LEN, i + 1))
			return 7;
	return 0;
}

/* All that a descriptor can do to memory, at an address where this process has none */
static void expect_nothing_at(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, unsigned int by,
			      unsigned char *at, uint32_t len)
{
	struct hsl_desc todo[11];
	unsigned char *mine[] = { self->host, self->mem[by], self->mem[(by + 1) % self->nr] };
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY(mine); i++) {
		hsl_prep_copy(&todo[n++], mine[i], at, len);
		hsl_prep_copy(&todo[n++], at, mine[i], len);
	}
	hsl_prep_fill(&todo[n++], at, 0x1122334455667788, len);
	hsl_prep_crc32c(&todo[n++], at, len, 0);
	hsl_prep_compare(&todo[n++], at, self->host, len);
	hsl_prep_compare(&todo[n++], self->host, at, len);
	hsl_prep_copy(&todo[n++], at + 8, at, len - 8);
	ASSERT_EQ(ARRAY(todo), n);
	for (unsigned int i = 0; i < n; i++) {
		struct hsl_cqe c;

		*hsl_get_desc(self->q[by]) = todo[i];
		ASSERT_EQ(0, finish_one(self->q[by], &c));
		EXPECT_EQ(can(self, by, todo[i].op) ? HSL_ST_PAGE_FAULT : HSL_ST_INVALID, c.status)
			TH_LOG("operation %u at %p by hsl%u", todo[i].op, at, by);
		EXPECT_EQ(0, c.bytes);
		if (can(self, by, todo[i].op))
			EXPECT_GT(len, c.addr - (uintptr_t)at);
	}
	/* Of 4 and of 8 bytes */
	for (unsigned int i = 0; i < 6; i++) {
		struct hsl_desc *d = hsl_get_desc(self->q[by]);
		unsigned char *word = at + (-(uintptr_t)at & 7);
		uint32_t bytes = i < 3 ? 4 : 8, op;
		struct hsl_cqe c;

		if (i % 3 == 0)
			hsl_prep_atomic_add(d, word, bytes, 1);
		else if (i % 3 == 1)
			hsl_prep_atomic_swap(d, word, bytes, 1);
		else
			hsl_prep_atomic_cas(d, word, bytes, 0, 1);
		op = d->op;
		ASSERT_EQ(0, finish_one(self->q[by], &c));
		EXPECT_EQ(can(self, by, op) ? HSL_ST_PAGE_FAULT : HSL_ST_INVALID, c.status)
			TH_LOG("operation %u at %p by hsl%u", op, word, by);
		EXPECT_EQ(0, c.result);
	}
}

/* Addresses of another process lead nowhere, and nothing comes from there or goes there. */
TEST_F_TIMEOUT(peer, isolation, 60)
{
	int in[2], out[2], status;
	unsigned char vec[1];
	pid_t pid;
	char ok;

	for (unsigned int i = 0; i < foreign_areas(self->nr); i++) {
		ASSERT_EQ(-1, mincore(APART(i), page_size(), vec));
		ASSERT_EQ(ENOMEM, errno);
	}
	stamp(self->host, LEN, 100);
	for (unsigned int i = 0; i < self->nr; i++)
		stamp(self->mem[i], LEN, 101 + i);
	ASSERT_EQ(0, pipe(in));
	ASSERT_EQ(0, pipe(out));
	pid = fork();
	if (!pid) {
		close(out[1]);
		_exit(have_areas(self->nr, variant->sva, in[1], out[0]));
	}
	close(in[1]);
	ASSERT_EQ(1, read(in[0], &ok, 1));
	for (unsigned int by = 0; by < self->nr; by++) {
		for (unsigned int i = 0; i < foreign_areas(self->nr); i++) {
			expect_nothing_at(_metadata, self, by, APART(i), LEN);
			expect_nothing_at(_metadata, self, by, APART(i) + LEN - 4096, 4096);
			expect_nothing_at(_metadata, self, by, APART(i) + rnd(LEN / 2), 64 + rnd(1000));
			EXPECT_GT(0, hsl_migrate(self->ctx[by], APART(i), LEN, HSL_WHERE_DEVICE, NULL));
		}
	}
	EXPECT_TRUE(is_stamped(self->host, LEN, 100));
	for (unsigned int i = 0; i < self->nr; i++)
		EXPECT_TRUE(is_stamped(self->mem[i], LEN, 101 + i));
	/* Still there is nothing of ours: it was the other's alone. */
	for (unsigned int i = 0; i < foreign_areas(self->nr); i++)
		EXPECT_EQ(-1, mincore(APART(i), page_size(), vec));
	ASSERT_EQ(1, write(out[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Every device copies from every other one, and all of it is checked, until the end; never returns. */
static void all_pairs_for_ever(unsigned int nr, enum hsl_sva sva, unsigned int *turns)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .sq_entries = 16, .routes = HSL_ROUTE_LINK };
	unsigned char *mem[MAX_DEVS];
	struct hsl_queue *q[MAX_DEVS];
	struct hsl_ctx *ctx[MAX_DEVS];

	for (unsigned int i = 0; i < nr; i++) {
		void *p;

		if (open_on(dev_path(i), sva, &ctx[i]) || hsl_queue_create(ctx[i], &opts, &q[i]) ||
		    hsl_alloc(ctx[i], (1 + nr) * PAIR_LEN, &p))
			_exit(1);
		mem[i] = p;
		stamp(mem[i], PAIR_LEN, getpid() * MAX_DEVS + i);
	}
	for (;;) {
		/* All of them are at work at once. */
		for (unsigned int i = 0; i < nr; i++) {
			memset(mem[i] + PAIR_LEN, 0, nr * PAIR_LEN);
			for (unsigned int j = 0; hsl_sq_space(q[i]); j = (j + 1) % nr)
				if (i != j)
					hsl_prep_copy(hsl_get_desc(q[i]), mem[i] + (1 + j) * PAIR_LEN, mem[j],
						      PAIR_LEN);
		}
		for (unsigned int i = 0; i < nr; i++)
			hsl_submit(q[i]);
		for (unsigned int i = 0; i < nr; i++) {
			for (unsigned int n = 0; n < 16; n++) {
				const struct hsl_cqe *c;

				if (hsl_wait(q[i], &c, BOUND_NS) || c->status != HSL_ST_OK)
					_exit(2);
				hsl_seen(q[i], 1);
			}
			for (unsigned int j = 0; j < nr; j++)
				if (i != j && memcmp(mem[i] + (1 + j) * PAIR_LEN, mem[j], PAIR_LEN))
					_exit(3);
		}
		__atomic_fetch_add(turns, 1, __ATOMIC_RELAXED);
	}
}

/* A process ends in the middle of transfers between all pairs: nobody else minds. */
TEST_F_TIMEOUT(peer, kill_under_traffic, 120)
{
	unsigned int *turns = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t want[MAX_DEVS];

	ASSERT_NE(MAP_FAILED, turns);
	for (unsigned int i = 0; i < self->nr; i++) {
		fill_random(self->mem[i], PAIR_LEN);
		want[i] = crc32c_ref(0, self->mem[i], PAIR_LEN);
	}
	for (int round = 0; round < 100; round++) {
		int status = 0;
		pid_t pid;

		*turns = 0;
		pid = fork();
		if (!pid)
			all_pairs_for_ever(self->nr, variant->sva, turns);
		ASSERT_LT(0, pid);
		EXPECT_TRUE(COMES_TRUE(__atomic_load_n(turns, __ATOMIC_RELAXED) ||
				       waitpid(pid, &status, WNOHANG) == pid));
		usleep(rnd(5000));
		for (unsigned int by = 0; by < self->nr; by++) {
			for (unsigned int at = 0; at < self->nr; at++) {
				uint32_t crc = 0;

				if (at == by)
					continue;
				ASSERT_EQ(0, hsl_crc32c(self->q[by], self->mem[at], PAIR_LEN, &crc));
				ASSERT_EQ(want[at], crc);
			}
		}
		if (!status) {
			kill(pid, SIGKILL);
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		}
		ASSERT_TRUE(WIFSIGNALED(status))
			TH_LOG("the child ended by itself with %d", WEXITSTATUS(status));
	}
}

/* The memory back to where the device is again */
static int place_again(FIXTURE_DATA(peer) *self, enum hsl_sva sva)
{
	long long end = now_ms() + BOUND_MS;
	struct hsl_ctx *ctx;
	int err;

	do {
		err = open_on(dev_path(1), sva, &ctx);
		if (err)
			usleep(1000);
	} while (err && now_ms() < end);
	if (err)
		return err;
	err = hsl_migrate(ctx, self->mem[1], self->all, HSL_WHERE_DEVICE, NULL);
	hsl_close(ctx);
	/* Who reads a page at this moment holds it. */
	return err == -EBUSY ? 0 : err;
}

/* Memory of hsl1 that does not move, but ends with the device */
static void *lent_by(enum hsl_sva sva)
{
	struct hsl_ctx *ctx;
	void *mem;
	int fd;

	if (open_on(dev_path(1), sva, &ctx))
		return MAP_FAILED;
	fd = hsl_buf_create(ctx, page_size());
	mem = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	hsl_close(ctx);
	return mem;
}

/* How hsl1 goes and comes back; without @come it does not stay away. 0 or -errno */
struct way {
	int (*go)(struct __test_metadata *_metadata, const char *path);
	int (*come)(struct __test_metadata *_metadata);
	const char *path;
};

/* All pairs copy, hsl1 too as long as it is there, while that device goes and comes back. */
static void goes_under_traffic(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, enum hsl_sva sva,
			       int times, const struct way *way)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };
	struct hsl_query info = { .size = sizeof(info) };
	struct crowd c = { 0 };
	struct hsl_queue *q;
	void *lent;
	int err = 0;

	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], &opts, &q));
	ASSERT_TRUE(crowd_start(self, &c, sva, 1));
	memcpy(self->ref, self->mem[1], LEN);
	for (int i = 0; i < times && !err; i++) {
		lent = lent_by(sva);
		EXPECT_NE(MAP_FAILED, lent);
		EXPECT_TRUE(COMES_TRUE(copies(q, self->host, lent, page_size()) == HSL_ST_OK));
		err = way->go(_metadata, way->path);
		EXPECT_EQ(HSL_ST_PAGE_FAULT, copies(q, self->host, lent, page_size()));
		munmap(lent, page_size());
		EXPECT_EQ(-ENODEV, hsl_query(self->ctx[1], &info));
		if (!err && way->come) {
			/* The others have each other, round the gap, and what was on it. */
			crowd_mark(self, &c, true);
			EXPECT_TRUE(COMES_TRUE(crowd_went_on(self, &c, true, 1)));
			err = way->come(_metadata);
		}
		if (!err)
			err = place_again(self, sva);
		/* Of what is back each has something, in every round. */
		crowd_mark(self, &c, true);
		EXPECT_TRUE(COMES_TRUE(crowd_went_on(self, &c, true, -1)));
	}
	EXPECT_EQ(0, err);
	TH_LOG("%u copies", crowd_stop(_metadata, self, &c));
	EXPECT_EQ(0, memcmp(self->ref, self->mem[1], LEN));
	/* The file that was open died with the device. */
	hsl_close(self->ctx[1]);
	self->ctx[1] = NULL;
}

static int write_one(struct __test_metadata *_metadata, const char *path)
{
	return write_text(path, "1");
}

static int rescan(struct __test_metadata *_metadata)
{
	return write_text("/sys/bus/pci/rescan", "1");
}

static int unplugged(struct __test_metadata *_metadata, const char *path)
{
	TH_LOG("hsl1 may go");
	return COMES_TRUE(access(path, F_OK)) ? 0 : -ETIMEDOUT;
}

static int plugged_in(struct __test_metadata *_metadata)
{
	TH_LOG("hsl1 may come");
	return COMES_TRUE(!access(dev_path(1), F_OK)) ? 0 : -ETIMEDOUT;
}

TEST_F_TIMEOUT(peer, reset_under_traffic, 180)
{
	const struct way way = { .go = write_one, .path = "/sys/class/hsl/hsl1/device/reset" };

	if (access(way.path, W_OK))
		SKIP(return, "this device cannot be reset from here");
	goes_under_traffic(_metadata, self, variant->sva, 100, &way);
}

/* With HSL_UNPLUGS somebody outside does it, so often, at our word. */
TEST_F_TIMEOUT(peer, removal_under_traffic, 180)
{
	const char *times = getenv("HSL_UNPLUGS");
	char name[64], path[128];
	const struct way outside = { .go = unplugged, .come = plugged_in, .path = path };
	const struct way remove = { .go = write_one, .come = rescan, .path = path };

	ASSERT_EQ(0, pci_name(1, name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", name);
	if (access(path, W_OK))
		SKIP(return, "this device cannot be removed from here");
	goes_under_traffic(_metadata, self, variant->sva, times ? atoi(times) : 100, times ? &outside : &remove);
}

TEST_HARNESS_MAIN
