// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that are joined to a fabric: the memory of one is named by the same
 * pointer on all. Any topology of two to eight devices, which may differ in what they
 * can do; links are cut here by disabling a port.
 */
#include <poll.h>
#include <sys/wait.h>

#include "hsl_ports.h"

#define MAX_DEVS	8
#define LEN		(300 * KB)	/* more than a piece of work, not a multiple of one */
#define TRAFFIC		200

FIXTURE(peer) {
	unsigned int nr;
	struct hsl_ctx *ctx[MAX_DEVS];
	struct hsl_queue *q[MAX_DEVS];	/* the link only */
	unsigned char *mem[MAX_DEVS];	/* in the device's memory */
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
		ASSERT_EQ(0, hsl_alloc(self->ctx[i], LEN, &mem));
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
	return fdinfo(self->ctx[dev], "hsl-memory-device") >= LEN;
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

/* The rings of a queue may lie there too. */
TEST_F(peer, rings_at_a_peer)
{
	struct hsl_queue *q;
	struct hsl_cqe c;
	size_t len;
	void *rings;

	ASSERT_EQ(0, hsl_queue_create(self->ctx[0], NULL, &q));
	rings = rings_of(q, &len);
	ASSERT_EQ(0, hsl_migrate(self->ctx[1], rings, len, HSL_WHERE_DEVICE, NULL));
	for (int i = 0; i < 200; i++) {
		hsl_prep_nop(hsl_get_desc(q));
		ASSERT_EQ(0, finish_one(q, &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
	}
	EXPECT_LT(0, device_counter(self->ctx[0], HSL_CNT_LINK_BYTES));
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

		ASSERT_EQ(0, hsl_migrate(self->ctx[to], self->mem[0], LEN, HSL_WHERE_DEVICE, NULL));
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
	EXPECT_LE(2, device_counter(self->ctx[0], HSL_CNT_UNREACHABLE));
	ASSERT_TRUE(on_device(self, 1));

	ports_enable(0, self->ports[0], true);
	ASSERT_TRUE(COMES_TRUE(all_links_up(self->nr, self->ports)));
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->host, self->mem[1], LEN));
	EXPECT_EQ(HSL_ST_OK, c.status);
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

/* Link events come to whoever has queues, by poll() too. */
TEST_F(peer, events)
{
	struct pollfd p = { .fd = hsl_fd(self->ctx[0]), .events = POLLPRI };
	struct hsl_event ev[64];
	bool down = false, up = false;
	int n;

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
}

/* The port's counters are those of what went over it. */
TEST_F(peer, port_counters)
{
	long long tx = 0, rx = 0, packets = 0;
	struct hsl_cqe c;

	for (unsigned int p = 0; p < self->ports[0]; p++) {
		tx -= port_read(0, p, "tx_bytes");
		rx -= port_read(0, p, "rx_bytes");
		packets -= port_read(0, p, "tx_packets");
	}
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->mem[1], self->host, LEN));
	ASSERT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, do_copy(self->q[0], &c, self->host, self->mem[1], 4096));
	ASSERT_EQ(HSL_ST_OK, c.status);
	for (unsigned int p = 0; p < self->ports[0]; p++) {
		tx += port_read(0, p, "tx_bytes");
		rx += port_read(0, p, "rx_bytes");
		packets += port_read(0, p, "tx_packets");
	}
	EXPECT_EQ(LEN, tx);
	EXPECT_EQ(4096, rx);
	EXPECT_LE(LEN / 256, packets);
}

struct traffic {
	struct hsl_queue *q;
	unsigned char *dst, *src;
	volatile bool stop;
	unsigned int done, lost;
	int err;
};

static void *traffic_run(void *arg)
{
	struct traffic *t = arg;
	struct hsl_cqe c;

	while (!t->stop && !t->err) {
		memset(t->dst, 0, LEN);
		t->err = do_copy(t->q, &c, t->dst, t->src, LEN);
		if (t->err)
			break;
		if (c.status != HSL_ST_OK && c.status != HSL_ST_PEER_UNREACHABLE && c.status != HSL_ST_LINK_ERROR)
			t->err = hsl_status_errno(c.status);
		/* What is said to be done is there, whatever came then. */
		if (memcmp(t->dst, t->src, c.status == HSL_ST_OK ? LEN : c.bytes))
			t->err = -EBADMSG;
		if (c.status == HSL_ST_OK)
			t->done++;
		else
			t->lost++;
	}
	return NULL;
}

/* A thread for each device */
struct crowd {
	struct traffic t[MAX_DEVS];	/* without a queue: none for this one */
	pthread_t thread[MAX_DEVS];
};

/* Each copies from the next one, or, if @of is one of them, all others from that. */
static bool crowd_start(FIXTURE_DATA(peer) *self, struct crowd *c, int of)
{
	for (unsigned int i = 0; i < self->nr; i++) {
		struct traffic *t = &c->t[i];

		if ((int)i == of)
			continue;
		t->dst = map_anon(LEN);
		t->src = self->mem[of < 0 ? (i + 1) % self->nr : (unsigned int)of];
		if (!t->dst)
			return false;
		t->q = self->q[i];
		if (pthread_create(&c->thread[i], NULL, traffic_run, t))
			return false;
	}
	return true;
}

static bool crowd_has_begun(FIXTURE_DATA(peer) *self, struct crowd *c)
{
	for (unsigned int i = 0; i < self->nr; i++)
		if (c->t[i].q && !c->t[i].done && !c->t[i].err)
			return false;
	return true;
}

/* All of them get something, and nothing wrong. How many copies it was. */
static unsigned int crowd_stop(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, struct crowd *c)
{
	unsigned int done = 0;

	/* Where there are more threads than CPUs, one may not have come to it yet. */
	EXPECT_TRUE(COMES_TRUE(crowd_has_begun(self, c)));
	for (unsigned int i = 0; i < self->nr; i++)
		c->t[i].stop = true;
	for (unsigned int i = 0; i < self->nr; i++) {
		struct traffic *t = &c->t[i];

		if (!t->q)
			continue;
		pthread_join(c->thread[i], NULL);
		EXPECT_EQ(0, t->err)
			TH_LOG("hsl%u: %s", i, strerror(-t->err));
		EXPECT_LT(0, t->done);
		done += t->done;
		munmap(t->dst, LEN);
	}
	return done;
}

/* So long, and what happens to the links meanwhile is somebody else's business. */
TEST_F_TIMEOUT(peer, traffic, 60)
{
	const char *ms = getenv("HSL_TRAFFIC_MS");
	struct crowd c = { 0 };

	for (unsigned int i = 0; i < self->nr; i++)
		fill_random(self->mem[i], LEN);
	ASSERT_TRUE(crowd_start(self, &c, -1));
	usleep(1000 * (ms ? atoi(ms) : 300));
	crowd_stop(_metadata, self, &c);
}

/* Every device copies from the next one while the links of the first are cut. */
TEST_F_TIMEOUT(peer, cut_under_traffic, 120)
{
	struct crowd c = { 0 };
	uint32_t crc = 0;

	for (unsigned int i = 0; i < self->nr; i++)
		fill_random(self->mem[i], LEN);
	ASSERT_TRUE(crowd_start(self, &c, -1));
	for (int i = 0; i < 100; i++) {
		unsigned int port = rnd(self->ports[0]);

		port_write(0, port, "enable", 0);
		usleep(rnd(3000));
		port_write(0, port, "enable", 1);
		if (i % 10 == 0)
			port_write(0, port, "retrain", 1);
		usleep(rnd(3000));
	}
	TH_LOG("%u copies", crowd_stop(_metadata, self, &c));
	ASSERT_TRUE(COMES_TRUE(all_links_up(self->nr, self->ports)));
	for (unsigned int i = 0; i < self->nr; i++)
		ASSERT_EQ(0, hsl_crc32c(self->q[i], self->mem[(i + 1) % self->nr], LEN, &crc));
}

/* Addresses of another process lead nowhere. */
TEST_F(peer, isolation)
{
	int in[2], out[2], status;
	uintptr_t addr;
	char ok;
	pid_t pid;

	ASSERT_EQ(0, pipe(in));
	ASSERT_EQ(0, pipe(out));
	pid = fork();
	if (!pid) {
		struct hsl_ctx *ctx;
		void *mem;

		if (open_on(dev_path(1), variant->sva, &ctx) || hsl_alloc(ctx, LEN, &mem))
			_exit(1);
		memset(mem, 0x5a, LEN);
		addr = (uintptr_t)mem;
		if (write(in[1], &addr, sizeof(addr)) != sizeof(addr) || read(out[0], &ok, 1) != 1)
			_exit(2);
		for (size_t i = 0; i < LEN; i++)
			if (((unsigned char *)mem)[i] != 0x5a)
				_exit(3);
		_exit(0);
	}
	ASSERT_EQ(sizeof(addr), read(in[0], &addr, sizeof(addr)));
	/* Nothing of ours is there: the other's alone. */
	if (madvise((void *)addr, LEN, MADV_NORMAL)) {
		for (unsigned int by = 0; by < self->nr; by++) {
			struct hsl_cqe c;

			ASSERT_EQ(0, do_copy(self->q[by], &c, self->host, (void *)addr, 4096));
			EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
			ASSERT_EQ(0, do_copy(self->q[by], &c, (void *)addr, self->host, 4096));
			EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
		}
	}
	ASSERT_EQ(1, write(out[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* A process ends in the middle of transfers between all pairs: nobody else minds. */
TEST_F_TIMEOUT(peer, kill_under_traffic, 120)
{
	uint32_t crc = 0, want;

	fill_random(self->mem[1], LEN);
	want = crc32c_ref(0, self->mem[1], LEN);
	for (int round = 0; round < 100; round++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			struct hsl_ctx *ctx[2];
			struct hsl_queue *q[2];
			void *mem[2];

			for (int i = 0; i < 2; i++)
				if (open_on(dev_path(i), variant->sva, &ctx[i]) ||
				    hsl_queue_create(ctx[i], NULL, &q[i]) || hsl_alloc(ctx[i], LEN, &mem[i]))
					_exit(1);
			for (;;) {
				for (int i = 0; i < 2; i++)
					while (hsl_sq_space(q[i]))
						hsl_prep_copy(hsl_get_desc(q[i]), mem[i], mem[!i], LEN);
				for (int i = 0; i < 2; i++) {
					const struct hsl_cqe *c;

					hsl_submit(q[i]);
					if (hsl_wait(q[i], &c, BOUND_NS) || c->status != HSL_ST_OK)
						_exit(2);
					hsl_seen(q[i], 1);
				}
			}
		}
		ASSERT_LT(0, pid);
		usleep(5000 + rnd(15000));
		crc = 0;
		ASSERT_EQ(0, hsl_crc32c(self->q[0], self->mem[1], LEN, &crc));
		EXPECT_EQ(want, crc);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status))
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
	err = hsl_migrate(ctx, self->mem[1], LEN, HSL_WHERE_DEVICE, NULL);
	hsl_close(ctx);
	/* Who reads a page at this moment holds it. */
	return err == -EBUSY ? 0 : err;
}

/* All others copy from the memory of hsl1 while that device goes and comes back. */
static void goes_under_traffic(struct __test_metadata *_metadata, FIXTURE_DATA(peer) *self, enum hsl_sva sva,
			       int times, int (*go)(const char *path), const char *path)
{
	struct crowd c = { 0 };
	int err = 0;

	fill_random(self->mem[1], LEN);
	memcpy(self->ref, self->mem[1], LEN);
	ASSERT_TRUE(crowd_start(self, &c, 1));
	for (int i = 0; i < times && !err; i++) {
		err = go(path);
		if (!err)
			err = place_again(self, sva);
	}
	EXPECT_EQ(0, err);
	crowd_stop(_metadata, self, &c);
	EXPECT_EQ(0, memcmp(self->ref, self->mem[1], LEN));
	/* The file that was open died with the device. */
	hsl_close(self->ctx[1]);
	self->ctx[1] = NULL;
}

static int reset(const char *path)
{
	return write_text(path, "1");
}

static int remove_and_rescan(const char *path)
{
	int err = write_text(path, "1");

	return err ? err : write_text("/sys/bus/pci/rescan", "1");
}

TEST_F_TIMEOUT(peer, reset_under_traffic, 180)
{
	const char *path = "/sys/class/hsl/hsl1/device/reset";

	if (access(path, W_OK))
		SKIP(return, "this device cannot be reset from here");
	goes_under_traffic(_metadata, self, variant->sva, 100, reset, path);
}

TEST_F_TIMEOUT(peer, removal_under_traffic, 180)
{
	char name[64], path[128];

	ASSERT_EQ(0, pci_name(1, name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", name);
	if (access(path, W_OK))
		SKIP(return, "this device cannot be removed from here");
	goes_under_traffic(_metadata, self, variant->sva, 100, remove_and_rescan, path);
}

TEST_HARNESS_MAIN
