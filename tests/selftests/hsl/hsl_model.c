// SPDX-License-Identifier: GPL-2.0
/*
 * How long a TIMED operation says that it took. What the model says has to be what its
 * formula (HW 7.6) gives, which is computed here anew, from what sysfs has of the ports.
 * Devices of any fabric; links are taken away by disabling a port.
 */
#include "hsl_ports.h"

#define MAX_DEVS	8
#define LEN		(1 * MB)

struct run {
	double fixed, grows;	/* ns */
};

static const struct run none;

static const uint32_t sizes[] = { 8, 256, 4 * KB, 64 * KB, 300 * KB, 1 * MB };

FIXTURE(model) {
	unsigned int nr;
	struct hsl_ctx *ctx[MAX_DEVS];
	struct hsl_queue *q[MAX_DEVS];	/* the link only */
	unsigned char *mem[MAX_DEVS];	/* in the device's memory */
	unsigned char *host, *more;
	uint32_t ports[MAX_DEVS];
};

PROVIDER_VARIANTS(model);

/* Links from @from to @to; 0: no way leads there now */
static unsigned int hops(FIXTURE_DATA(model) *self, unsigned int from, unsigned int to)
{
	struct hsl_peer_info info[MAX_DEVS];
	int n = hsl_peers(self->ctx[from], info, MAX_DEVS);

	while (n-- > 0)
		if (info[n].index == to)
			return info[n].hops;
	return 0;
}

static bool all_reach_all(FIXTURE_DATA(model) *self)
{
	for (unsigned int d = 0; d < self->nr; d++)
		for (unsigned int p = 0; p < self->ports[d]; p++)
			if (!read_number(port_file(d, p, "width")))
				return false;
	return true;
}

/* At the other end of a port: a device, -1 a switch, -2 a port that is not up */
static int neighbour(unsigned int dev, unsigned int port)
{
	char text[32] = "";
	unsigned int node;
	FILE *f;

	if (!read_number(port_file(dev, port, "width")))
		return -2;
	f = fopen(port_file(dev, port, "neighbour"), "r");
	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	return sscanf(text, "node %u", &node) == 1 ? (int)node : -1;
}

FIXTURE_SETUP(model)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };

	while (self->nr < MAX_DEVS && have_devices(self->nr + 1))
		self->nr++;
	SKIP_WITHOUT_DEVICES(2);
	for (unsigned int i = 0; i < self->nr; i++) {
		struct hsl_query info = { .size = sizeof(info) };
		char path[64];
		void *mem;

		OPEN_DEVICE(dev_path(i), variant->sva, &self->ctx[i]);
		ASSERT_EQ(0, hsl_query(self->ctx[i], &info));
		if (!(info.hw_caps & HSL_CAP_LINK) || !(info.hw_caps & HSL_CAP_TIMED))
			SKIP(return, "%s is in no fabric, or tells no durations", dev_path(i));
		if (info.mem_mode != HSL_MEMORY_COHERENT)
			SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
		/* Neighbours are named by node. */
		snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/fabric_node", i);
		ASSERT_EQ(i, read_number(path));
		self->ports[i] = info.nr_ports;
		ASSERT_EQ(0, hsl_queue_create(self->ctx[i], &opts, &self->q[i]));
		ASSERT_EQ(0, hsl_alloc(self->ctx[i], LEN, &mem));
		self->mem[i] = mem;
		oracle_on(dev_path(i));
	}
	self->host = map_anon(LEN);
	self->more = map_anon(LEN);
	ASSERT_NE(NULL, self->host);
	ASSERT_NE(NULL, self->more);
	/* There before they are timed, though a fault would change nothing */
	memset(self->host, 1, LEN);
	memset(self->more, 1, LEN);
	ASSERT_TRUE(COMES_TRUE(all_reach_all(self)));
}

FIXTURE_TEARDOWN(model)
{
	for (unsigned int i = 0; i < self->nr; i++) {
		ports_enable(i, self->ports[i], true);
		if (!self->ctx[i])
			continue;
		EXPECT_EQ(0, device_counter(self->ctx[i], HSL_CNT_ORACLE_BREACHES));
		hsl_close(self->ctx[i]);
	}
}

/*
 * The ports over which @from sends to @to: of the ways with the fewest links the one by
 * the lowest port. A switch has no ports in sysfs: its link is that of the device there.
 */
static unsigned int way(FIXTURE_DATA(model) *self, unsigned int from, unsigned int to, unsigned int ends[][2])
{
	unsigned int left = hops(self, from, to), at = from, nr = 0, p;

	while (at != to && left) {
		for (p = 0; p < self->ports[at]; p++) {
			int n = neighbour(at, p);

			if (n == -1 || n == (int)to || (n >= 0 && left > 1 && hops(self, n, to) == left - 1))
				break;
		}
		if (p == self->ports[at])
			return 0;
		ends[nr][0] = at;
		ends[nr++][1] = p;
		left--;
		if (neighbour(at, p) >= 0) {
			at = neighbour(at, p);
			continue;
		}
		for (p = 0; p < self->ports[to] && neighbour(to, p) != -1; p++)
			;
		ends[nr][0] = at = to;
		ends[nr++][1] = p;
	}
	return nr;
}

/* A run of @n bytes from @from to @to, or, if it @asks, from there back here */
static struct run over_links(FIXTURE_DATA(model) *self, unsigned int from, unsigned int to, uint32_t n, bool asks)
{
	uint32_t packets = (n + HSL_PACKET - 1) / HSL_PACKET;
	uint32_t first = (n < HSL_PACKET ? n : HSL_PACKET) + HSL_PACKET_OVERHEAD;
	unsigned int ends[2 * MAX_DEVS][2], nr = way(self, from, to, ends);
	struct run r = { 0 };

	for (unsigned int i = 0; i < nr; i++) {
		double rate = read_number(port_file(ends[i][0], ends[i][1], "rate"));
		double width = read_number(port_file(ends[i][0], ends[i][1], "width"));
		double latency = read_number(port_file(ends[i][0], ends[i][1], "latency"));
		unsigned int credits = read_number(port_file(ends[i][0], ends[i][1], "credits"));
		double byte = 8000 / (width * rate), packet = (HSL_PACKET + HSL_PACKET_OVERHEAD) * byte;
		double stall = 2 * latency + packet - credits * packet, grows;

		grows = (n + packets * HSL_PACKET_OVERHEAD - first) * byte;
		if (stall > 0)
			grows += (packets - 1) / credits * stall;
		if (grows > r.grows)
			r.grows = grows;
		r.fixed += latency * (asks ? 2 : 1) + first * byte;
	}
	return r;
}

static struct run in_memory(double n, unsigned int latency, unsigned int rate)
{
	return (struct run){ .fixed = latency, .grows = n * 1000 / rate };
}

static struct run host_memory(double n)
{
	return in_memory(n, HSL_MODEL_HOST_LATENCY, HSL_MODEL_HOST_RATE);
}

static struct run own_memory(double n)
{
	return in_memory(n, HSL_MODEL_OWN_LATENCY, HSL_MODEL_OWN_RATE);
}

/* What the descriptor that was prepared last takes */
static int timed(struct hsl_queue *q, struct hsl_desc *d, struct hsl_cqe *c)
{
	hsl_desc_set_flags(d, HSL_DESC_F_TIMED);
	return finish_one(q, c);
}

/* The formula up to its rounding: a thousandth, or up to 2 ns */
#define EXPECT_MODEL(q, d, a, b) do {							\
	struct run a_ = (a), b_ = (b);							\
	double want_ = a_.fixed + b_.fixed + (a_.grows > b_.grows ? a_.grows : b_.grows); \
	struct hsl_cqe c_;								\
											\
	ASSERT_EQ(0, timed(q, d, &c_));							\
	ASSERT_EQ(HSL_ST_OK, c_.status)							\
		TH_LOG("%s", hsl_strstatus(c_.status));					\
	EXPECT_LE(want_ - 0.5 - want_ / 1000, (double)hsl_cqe_model_ns(&c_))		\
		TH_LOG("%s of %u bytes", hsl_strop((d)->op), (d)->len);			\
	EXPECT_GE(want_ + 2 + want_ / 1000, (double)hsl_cqe_model_ns(&c_))		\
		TH_LOG("%s of %u bytes", hsl_strop((d)->op), (d)->len);			\
	EXPECT_LT(0, hsl_cqe_real_ns(&c_));						\
} while (0)

static struct hsl_desc *copy_of(struct hsl_queue *q, void *dst, const void *src, uint32_t len)
{
	struct hsl_desc *d = hsl_get_desc(q);

	hsl_prep_copy(d, dst, src, len);
	return d;
}

/* Who does not ask is told nothing. */
TEST_F(model, not_asked)
{
	struct hsl_cqe c;

	ASSERT_EQ(0, do_copy(self->q[0], &c, self->mem[1], self->host, LEN));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, c.addr);
}

/* What moves nothing takes nothing, in the model. */
TEST_F(model, nothing_moved)
{
	struct hsl_desc *d = hsl_get_desc(self->q[0]);

	hsl_prep_nop(d);
	EXPECT_MODEL(self->q[0], d, none, none);
	d = hsl_get_desc(self->q[0]);
	hsl_prep_fence(d);
	EXPECT_MODEL(self->q[0], d, none, none);
	EXPECT_MODEL(self->q[0], copy_of(self->q[0], self->mem[1], self->host, 0), none, none);
}

TEST_F(model, host_memory)
{
	struct hsl_queue *q = self->q[0];

	for (size_t i = 0; i < ARRAY(sizes); i++) {
		struct run r = host_memory(sizes[i]);
		struct hsl_desc *d;

		EXPECT_MODEL(q, copy_of(q, self->more, self->host, sizes[i]), r, r);
		d = hsl_get_desc(q);
		hsl_prep_fill(d, self->host, 5, sizes[i]);
		EXPECT_MODEL(q, d, r, none);
		d = hsl_get_desc(q);
		hsl_prep_crc32c(d, self->host, sizes[i], 0);
		EXPECT_MODEL(q, d, r, none);
	}
}

TEST_F(model, own_memory)
{
	for (unsigned int by = 0; by < self->nr; by++) {
		struct hsl_queue *q = self->q[by];

		for (size_t i = 0; i < ARRAY(sizes); i++) {
			struct run own = own_memory(sizes[i]), host = host_memory(sizes[i]);
			struct hsl_desc *d;

			EXPECT_MODEL(q, copy_of(q, self->host, self->mem[by], sizes[i]), own, host);
			EXPECT_MODEL(q, copy_of(q, self->mem[by], self->host, sizes[i]), own, host);
			d = hsl_get_desc(q);
			hsl_prep_fill(d, self->mem[by], 5, sizes[i]);
			EXPECT_MODEL(q, d, own, none);
		}
	}
}

/* Every operation of every device on the memory of every other */
TEST_F_TIMEOUT(model, peers, 60)
{
	for (unsigned int by = 0; by < self->nr; by++) {
		struct hsl_queue *q = self->q[by];

		for (unsigned int at = 0; at < self->nr; at++) {
			for (size_t i = 0; i < ARRAY(sizes) && at != by; i++) {
				uint32_t n = sizes[i];
				struct run there = over_links(self, by, at, n, false);
				struct run back = over_links(self, by, at, n, true);
				struct hsl_desc *d;

				ASSERT_LT(0, there.fixed);
				EXPECT_MODEL(q, copy_of(q, self->mem[at], self->mem[by], n), there, own_memory(n));
				EXPECT_MODEL(q, copy_of(q, self->host, self->mem[at], n), back, host_memory(n));
				d = hsl_get_desc(q);
				hsl_prep_fill(d, self->mem[at], 7, n);
				EXPECT_MODEL(q, d, there, none);
				d = hsl_get_desc(q);
				hsl_prep_crc32c(d, self->mem[at], n, 0);
				EXPECT_MODEL(q, d, back, none);
				memset(self->host, 7, n);
				memset(self->mem[at], 7, n);
				d = hsl_get_desc(q);
				hsl_prep_compare(d, self->mem[at], self->host, n);
				EXPECT_MODEL(q, d, back, host_memory(n));
			}
		}
	}
}

/* From one peer to another, or within one: both are over links */
TEST_F(model, peer_to_peer)
{
	struct hsl_queue *q = self->q[0];
	unsigned int to = self->nr > 2 ? 2 : 1;
	struct run back = over_links(self, 0, 1, LEN / 2, true);
	struct run there = over_links(self, 0, to, LEN / 2, false);

	EXPECT_MODEL(q, copy_of(q, self->mem[to] + LEN / 2, self->mem[1], LEN / 2), back, there);
}

/* One packet there and one back, each way once */
TEST_F(model, atomics)
{
	for (unsigned int by = 0; by < self->nr; by++) {
		struct hsl_queue *q = self->q[by];
		unsigned int at = (by + 1) % self->nr;
		struct run once = over_links(self, by, at, 8, false);
		struct hsl_desc *d = hsl_get_desc(q);

		hsl_prep_atomic_add(d, self->mem[at], 8, 1);
		EXPECT_MODEL(q, d, once, once);
		d = hsl_get_desc(q);
		hsl_prep_atomic_cas(d, self->mem[by], 8, 1, 2);
		EXPECT_MODEL(q, d, own_memory(8), none);
		d = hsl_get_desc(q);
		hsl_prep_atomic_swap(d, self->host, 4, 1);
		EXPECT_MODEL(q, d, host_memory(4), none);
	}
}

/* A signal too. */
TEST_F(model, signal)
{
	struct run once = over_links(self, 0, 1, 8, false);
	struct hsl_desc *d = hsl_get_desc(self->q[0]);
	struct hsl_queue *rung;
	int fd, handle;

	ASSERT_EQ(0, hsl_queue_create(self->ctx[1], NULL, &rung));
	fd = hsl_queue_grant(rung);
	ASSERT_LE(0, fd);
	handle = hsl_signal_add(self->ctx[0], fd);
	ASSERT_LE(0, handle);
	hsl_prep_signal(d, handle, hsl_sq_tail(rung));
	EXPECT_MODEL(self->q[0], d, once, once);
	close(fd);
}

/* How the device cuts it, by what translations it has at the time, makes no difference. */
TEST_F(model, unaligned)
{
	const uint32_t len = LEN - 100;
	struct run there = over_links(self, 0, 1, len, false), back = over_links(self, 0, 1, len, true);
	struct hsl_queue *q = self->q[0];

	for (int i = 0; i < 3; i++)
		EXPECT_MODEL(q, copy_of(q, self->mem[1] + 99, self->host + 1, len), there, host_memory(len));
	EXPECT_MODEL(q, copy_of(q, self->mem[1] + 1, self->mem[1], len), there, back);
}

struct load {
	struct hsl_queue *q;
	unsigned char *dst, *src;
	volatile bool stop;
	int err;
};

static void *load_run(void *arg)
{
	struct load *l = arg;
	struct hsl_cqe c;

	while (!l->stop && !l->err) {
		l->err = do_copy(l->q, &c, l->dst, l->src, LEN);
		if (!l->err && c.status != HSL_ST_OK)
			l->err = hsl_status_errno(c.status);
	}
	return NULL;
}

/* The same transfers take the same, whatever else goes on. */
TEST_F_TIMEOUT(model, same_under_load, 60)
{
	struct hsl_queue *q = self->q[0];
	struct load load[MAX_DEVS] = { 0 };
	pthread_t thread[MAX_DEVS];
	struct hsl_cqe first, c;

	ASSERT_EQ(0, timed(q, copy_of(q, self->mem[1], self->host, LEN), &first));
	ASSERT_EQ(HSL_ST_OK, first.status);
	for (unsigned int i = 1; i < self->nr; i++) {
		load[i] = (struct load){ .q = self->q[i], .dst = self->more, .src = self->mem[0] };
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, load_run, &load[i]));
	}
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, timed(q, copy_of(q, self->mem[1], self->host, LEN), &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		ASSERT_EQ(hsl_cqe_model_ns(&first), hsl_cqe_model_ns(&c));
	}
	for (unsigned int i = 1; i < self->nr; i++) {
		load[i].stop = true;
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, load[i].err);
	}
}

/* Pages that are not there yet take time, but none of the model's. */
TEST_F(model, faults)
{
	unsigned char *fresh = map_anon(LEN);
	struct hsl_queue *q = self->q[0];
	unsigned char *wall;
	struct hsl_cqe c;

	ASSERT_NE(NULL, fresh);
	EXPECT_MODEL(q, copy_of(q, fresh, self->mem[0], LEN), own_memory(LEN), host_memory(LEN));
	/* And an operation that fails says where instead. */
	wall = fresh + LEN / 2;
	ASSERT_EQ(0, munmap(wall, LEN / 2));
	ASSERT_EQ(0, timed(q, copy_of(q, fresh, self->mem[0], LEN), &c));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ((uintptr_t)wall, c.addr);
	EXPECT_EQ(LEN / 2, c.bytes);
}

/* Without its first port a device goes another way, and takes what that takes. */
TEST_F(model, another_way)
{
	struct hsl_queue *q = self->q[0];
	unsigned int was = hops(self, 0, 1);
	struct run there, own = own_memory(LEN);
	struct hsl_cqe c;

	there = over_links(self, 0, 1, LEN, false);
	EXPECT_MODEL(q, copy_of(q, self->mem[1], self->mem[0], LEN), there, own);
	ASSERT_EQ(0, port_write(0, 0, "enable", 0));
	if (hops(self, 0, 1)) {
		EXPECT_LT(was, hops(self, 0, 1));
		there = over_links(self, 0, 1, LEN, false);
		EXPECT_MODEL(q, copy_of(q, self->mem[1], self->mem[0], LEN), there, own);
	} else {
		ASSERT_EQ(0, timed(q, copy_of(q, self->mem[1], self->mem[0], LEN), &c));
		EXPECT_EQ(HSL_ST_PEER_UNREACHABLE, c.status);
		EXPECT_EQ((uintptr_t)self->mem[1], c.addr);
	}
	ASSERT_EQ(0, port_write(0, 0, "enable", 1));
	ASSERT_TRUE(COMES_TRUE(all_reach_all(self)));
	there = over_links(self, 0, 1, LEN, false);
	EXPECT_MODEL(q, copy_of(q, self->mem[1], self->mem[0], LEN), there, own);
}

/* Many at a time are each told their own. */
TEST_F(model, many_at_once)
{
	struct hsl_queue *q = self->q[0];
	uint32_t alone[ARRAY(sizes)];
	const struct hsl_cqe *seen;
	uint64_t which;
	struct hsl_desc *d;
	struct hsl_cqe c;

	for (size_t i = 0; i < ARRAY(sizes); i++) {
		ASSERT_EQ(0, timed(q, copy_of(q, self->mem[1], self->host, sizes[i]), &c));
		ASSERT_EQ(HSL_ST_OK, c.status);
		alone[i] = hsl_cqe_model_ns(&c);
	}
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 32; i++) {
			d = copy_of(q, self->mem[1], self->host, sizes[i % ARRAY(sizes)]);
			hsl_desc_set_user_data(d, i);
			hsl_desc_set_flags(d, i % 3 ? HSL_DESC_F_TIMED : 0);
		}
		hsl_submit(q);
		for (int i = 0; i < 32; i++) {
			ASSERT_EQ(0, hsl_wait(q, &seen, BOUND_NS));
			ASSERT_EQ(HSL_ST_OK, seen->status);
			which = seen->user_data;
			EXPECT_EQ(which % 3 ? alone[which % ARRAY(sizes)] : 0, hsl_cqe_model_ns(seen));
			hsl_seen(q, 1);
		}
	}
}

TEST_HARNESS_MAIN
