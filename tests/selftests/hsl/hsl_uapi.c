// SPDX-License-Identifier: GPL-2.0
/* The uAPI by hand: every command, every size, every field that may be wrong. */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "hsl_raw.h"

#define MAGIC_BYTE	0x5a

/* One page that ends where nothing may be read or written. */
struct edge {
	char *page;
};

static bool edge_init(struct edge *e)
{
	e->page = map_anon(2 * PAGE);
	return e->page && !mprotect(e->page + PAGE, PAGE, PROT_NONE);
}

static void *edge_at(struct edge *e, size_t bytes)
{
	return e->page + PAGE - bytes;
}

/* An open file, memory for a ring, and the edge of a page to put arguments at */
#define OPEN_WITH_RING(sva) do {						\
	self->fd = -1;								\
	NEED_DEVICE();								\
	RAW_OPEN_DEVICE(sva, &self->fd);					\
	ASSERT_TRUE(edge_init(&self->edge));					\
	ASSERT_EQ(0, raw_rings(&self->ring, 8));				\
} while (0)

FIXTURE(uapi) {
	int fd;
	struct edge edge;
	struct raw ring;	/* memory only */
};

PROVIDER_VARIANTS(uapi);

FIXTURE_SETUP(uapi)
{
	OPEN_WITH_RING(variant->sva);
}

FIXTURE_TEARDOWN(uapi)
{
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F(uapi, query)
{
	struct hsl_query q = { .size = sizeof(q), .node = 12345 };

	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &q));
	EXPECT_EQ(sizeof(q), q.size);
	EXPECT_EQ(HSL_VERSION_MAJOR, q.hw_version >> 8);
	EXPECT_NE(0, q.hw_caps & (variant->sva == HSL_SVA_IOMMU ? HSL_CAP_XLATE_IOMMU : HSL_CAP_XLATE_DEVICE));
	EXPECT_EQ(1, q.ops & 1);
	EXPECT_GT(q.max_xfer, 0);
	EXPECT_GE(q.max_ring_entries, 2);
	EXPECT_EQ(0, q.max_ring_entries & (q.max_ring_entries - 1));
	EXPECT_GT(q.nr_queues, 0);
	EXPECT_GT(q.max_queues, 0);
	EXPECT_LE(q.max_queues, q.nr_queues);
	EXPECT_NE(0, q.vendor);
	EXPECT_EQ(variant->sva, q.sva);
	EXPECT_EQ(variant->sva == HSL_SVA_IOMMU, q.pasid != 0);
	EXPECT_STREQ("chosen by the program", (char *)q.sva_why);
	EXPECT_LT(q.pasid, 1 << 20);
	EXPECT_NE(0, q.sva_why[0]);
	EXPECT_NE(NULL, memchr(q.sva_why, 0, sizeof(q.sva_why)));
	EXPECT_GE(q.node, -1);
	EXPECT_NE(12345, q.node);
	EXPECT_EQ(q.nr_queues, read_number(CLASS_DIR "/limits/nr_queues"));
	EXPECT_EQ(q.max_xfer, read_number(CLASS_DIR "/limits/max_xfer"));
	EXPECT_EQ(q.generation, read_number(CLASS_DIR "/generation"));
}

/* A provider that works and one that does not are told as their files in sysfs tell it. */
TEST_F(uapi, bind)
{
	struct hsl_bind b = { .size = sizeof(b) };
	struct hsl_query before = { .size = sizeof(before) }, q = before;
	struct hsl_desc nop = desc_nop(1);
	uint32_t automatic;
	struct raw ring;

	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &before));
	b.sva = HSL_SVA_NONE;
	ASSERT_EQ(0, cmd(self->fd, HSL_BIND, &b));
	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &q));
	automatic = q.sva;
	before = q;

	for (b.sva = 1; b.sva < HSL_SVA_NR; b.sva++) {
		bool works = !provider_closed(NODE, b.sva);

		EXPECT_EQ(works ? 0 : EOPNOTSUPP, cmd(self->fd, HSL_BIND, &b)) TH_LOG("%s", provider_name(b.sva));
		memset(&q, 0, sizeof(q));
		q.size = sizeof(q);
		ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &q));
		if (works) {
			EXPECT_EQ(b.sva, q.sva);
			EXPECT_STREQ("chosen by the program", (char *)q.sva_why);
		} else {
			EXPECT_EQ(before.sva, q.sva);
			EXPECT_STREQ((char *)before.sva_why, (char *)q.sva_why);
		}
		EXPECT_EQ(before.context, q.context);
		/* Whatever it is now, it works. */
		ASSERT_EQ(0, raw_create(&ring, self->fd, 8));
		EXPECT_EQ(HSL_ST_OK, raw_run(&ring, &nop));
		EXPECT_EQ(EBUSY, cmd(self->fd, HSL_BIND, &b));
		EXPECT_EQ(0, raw_destroy(&ring));
		before = q;
	}

	b.sva = HSL_SVA_NR;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BIND, &b));
	b.sva = ~0u;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BIND, &b));
	b.sva = HSL_SVA_NONE;
	EXPECT_EQ(0, cmd(self->fd, HSL_BIND, &b));
	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &q));
	EXPECT_EQ(automatic, q.sva);
}

/* A PASID is the address space's, a context number the file's. */
TEST_F(uapi, second_open)
{
	struct hsl_query a = { .size = sizeof(a) }, b = a;
	int fd = raw_open_on(variant->sva);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &a));
	ASSERT_EQ(0, cmd(fd, HSL_QUERY, &b));
	EXPECT_EQ(a.pasid, b.pasid);
	EXPECT_NE(a.context, b.context);
	close(fd);
	EXPECT_EQ(0, cmd(self->fd, HSL_QUERY, &a));
}

/*
 * All commands, with an argument for which the answer is known.
 */

#define MAX_ARG	256

union arg {
	struct {
		uint32_t size;
		uint32_t flags;
	};
	struct hsl_query query;
	struct hsl_counters counters;
	struct hsl_queue_create create;
	struct hsl_queue_destroy destroy;
	struct hsl_queue_eventfd eventfd;
	struct hsl_queue_state state;
	struct hsl_submit submit;
	struct hsl_events events;
	struct hsl_bind bind;
	struct hsl_migrate migrate;
	struct hsl_advise advise;
	struct hsl_peers peers;
	struct hsl_queue_grant grant;
	struct hsl_signal_add signal_add;
	struct hsl_signal_del signal_del;
	struct hsl_buf_create buf_create;
	struct hsl_buf_share buf_share;
	struct hsl_buf_revoke buf_revoke;
	struct hsl_buf_import buf_import;
	struct hsl_buf_unimport buf_unimport;
	char bytes[MAX_ARG + 2 * 64];
};

FIXTURE(command) {
	int fd;
	struct edge edge;
	struct raw ring;
	union arg arg;
};

FIXTURE_VARIANT(command) {
	unsigned long nr;
	size_t size;
	int answer;
	size_t first;	/* size of the first version: a number, which never changes */
};

#define NO_QUEUE	40000

FIXTURE_VARIANT_ADD(command, query) { HSL_QUERY, sizeof(struct hsl_query), 0, 240 };
FIXTURE_VARIANT_ADD(command, counters) { HSL_COUNTERS, sizeof(struct hsl_counters), 0, 24 };
FIXTURE_VARIANT_ADD(command, create) { HSL_QUEUE_CREATE, sizeof(struct hsl_queue_create), 0, 80 };
FIXTURE_VARIANT_ADD(command, destroy) { HSL_QUEUE_DESTROY, sizeof(struct hsl_queue_destroy), ENOENT, 16 };
FIXTURE_VARIANT_ADD(command, eventfd) { HSL_QUEUE_EVENTFD, sizeof(struct hsl_queue_eventfd), ENOENT, 24 };
FIXTURE_VARIANT_ADD(command, state) { HSL_QUEUE_STATE, sizeof(struct hsl_queue_state), ENOENT, 32 };
FIXTURE_VARIANT_ADD(command, submit) { HSL_SUBMIT, sizeof(struct hsl_submit), ENOENT, 24 };
FIXTURE_VARIANT_ADD(command, events) { HSL_EVENTS, sizeof(struct hsl_events), 0, 24 };
FIXTURE_VARIANT_ADD(command, bind) { HSL_BIND, sizeof(struct hsl_bind), 0, 16 };
FIXTURE_VARIANT_ADD(command, migrate) { HSL_MIGRATE, sizeof(struct hsl_migrate), EFAULT, 64 };
FIXTURE_VARIANT_ADD(command, advise) { HSL_ADVISE, sizeof(struct hsl_advise), EFAULT, 32 };
FIXTURE_VARIANT_ADD(command, peers) { HSL_PEERS, sizeof(struct hsl_peers), 0, 24 };
FIXTURE_VARIANT_ADD(command, grant) { HSL_QUEUE_GRANT, sizeof(struct hsl_queue_grant), ENOENT, 16 };
FIXTURE_VARIANT_ADD(command, signal_add) { HSL_SIGNAL_ADD, sizeof(struct hsl_signal_add), EBADF, 16 };
FIXTURE_VARIANT_ADD(command, signal_del) { HSL_SIGNAL_DEL, sizeof(struct hsl_signal_del), ENOENT, 16 };
FIXTURE_VARIANT_ADD(command, buf_create) { HSL_BUF_CREATE, sizeof(struct hsl_buf_create), EINVAL, 24 };
FIXTURE_VARIANT_ADD(command, buf_share) { HSL_BUF_SHARE, sizeof(struct hsl_buf_share), EBADF, 24 };
FIXTURE_VARIANT_ADD(command, buf_revoke) { HSL_BUF_REVOKE, sizeof(struct hsl_buf_revoke), EBADF, 16 };
FIXTURE_VARIANT_ADD(command, buf_import) { HSL_BUF_IMPORT, sizeof(struct hsl_buf_import), EBADF, 32 };
FIXTURE_VARIANT_ADD(command, buf_unimport) { HSL_BUF_UNIMPORT, sizeof(struct hsl_buf_unimport), ENOENT, 16 };

FIXTURE_SETUP(command)
{
	union arg *a = &self->arg;

	OPEN_WITH_RING(HSL_SVA_NONE);

	memset(a, 0, sizeof(*a));
	switch (variant->nr) {
	case HSL_COUNTERS:
		a->counters.queue = HSL_QUEUE_NONE;
		break;
	case HSL_QUEUE_CREATE:
		a->create = self->ring.par;
		break;
	case HSL_QUEUE_DESTROY:
		a->destroy.queue = NO_QUEUE;
		break;
	case HSL_QUEUE_EVENTFD:
		a->eventfd.queue = NO_QUEUE;
		a->eventfd.fd = -1;
		break;
	case HSL_QUEUE_STATE:
		a->state.queue = NO_QUEUE;
		break;
	case HSL_SUBMIT:
		a->submit.queue = NO_QUEUE;
		break;
	case HSL_QUEUE_GRANT:
		a->grant.queue = NO_QUEUE;
		break;
	case HSL_SIGNAL_ADD:
		a->signal_add.fd = -1;
		break;
	case HSL_BUF_SHARE:
		a->buf_share.fd = -1;
		a->buf_share.rights = HSL_BUF_READ;
		break;
	case HSL_BUF_REVOKE:
		a->buf_revoke.fd = -1;
		a->buf_revoke.share = -1;
		break;
	case HSL_BUF_IMPORT:
		a->buf_import.addr = PAGE;
		a->buf_import.len = PAGE;
		a->buf_import.fd = -1;
		break;
	case HSL_MIGRATE:
	case HSL_ADVISE:
		/* Where nothing is mapped, in the place of both structures */
		a->migrate.addr = PAGE;
		a->migrate.len = PAGE;
		if (variant->nr == HSL_ADVISE) {
			a->advise.advice = HSL_ADVICE_ACCESSED_BY;
			a->advise.where = HSL_WHERE_DEVICE;
		} else {
			a->migrate.where = HSL_WHERE_DEVICE;
		}
		break;
	}
	a->size = variant->size;
}

FIXTURE_TEARDOWN(command)
{
	if (self->fd >= 0)
		close(self->fd);
}

/* What a command that created a queue left is taken back. */
static int run_command(int fd, unsigned long nr, void *arg)
{
	int err = cmd(fd, nr, arg);

	if (!err && nr == HSL_QUEUE_CREATE) {
		struct hsl_queue_create *c = arg;
		struct hsl_queue_destroy d = { .size = sizeof(d), .queue = c->queue };

		if (cmd(fd, HSL_QUEUE_DESTROY, &d))
			return -1;
	}
	return err;
}

TEST_F(command, every_size)
{
	size_t size;

	for (size = 0; size <= variant->size + 64; size++) {
		size_t room = size < 4 ? 4 : size;
		char *p = edge_at(&self->edge, room);
		int want = size < variant->first ? EINVAL : variant->answer;

		self->arg.size = size;
		memcpy(p, &self->arg, room);
		ASSERT_EQ(want, run_command(self->fd, variant->nr, p))
			TH_LOG("size %zu", size);
	}
}

/*
 * A program of long ago: the size that it was compiled with is taken as long as there are
 * kernels, and what its structure lacks is zero, not what lies behind it in memory.
 */
TEST_F(command, first_version)
{
	size_t size;

	for (size = variant->first; size <= variant->size; size += 4) {
		char *p = self->edge.page;

		memset(p, 0xff, PAGE);
		self->arg.size = size;
		memcpy(p, &self->arg, size);
		ASSERT_EQ(variant->answer, run_command(self->fd, variant->nr, p)) TH_LOG("size %zu", size);
		/* Nothing is written there either. */
		for (size_t i = size; i < PAGE; i++)
			ASSERT_EQ((char)0xff, p[i]);
	}
	self->arg.size = variant->first - 1;
	EXPECT_EQ(EINVAL, cmd(self->fd, variant->nr, &self->arg));
}

TEST_F(command, unknown_tail)
{
	size_t extra;

	for (extra = 1; extra <= 64; extra++) {
		size_t size = variant->size + extra;
		char *p = edge_at(&self->edge, size);

		self->arg.size = size;
		memcpy(p, &self->arg, size);
		p[size - 1] = MAGIC_BYTE;
		ASSERT_EQ(E2BIG, cmd(self->fd, variant->nr, p)) TH_LOG("size %zu", size);
		/* Nothing was written, to the tail either. */
		ASSERT_EQ(MAGIC_BYTE, p[size - 1]);
	}
}

TEST_F(command, longer_than_a_page)
{
	char *p = map_anon(4 * PAGE);

	ASSERT_NE(NULL, p);
	self->arg.size = 2 * PAGE;
	memcpy(p, &self->arg, variant->size);
	EXPECT_EQ(E2BIG, cmd(self->fd, variant->nr, p));
	self->arg.size = ~0u;
	memcpy(p, &self->arg, variant->size);
	EXPECT_EQ(E2BIG, cmd(self->fd, variant->nr, p));
}

/* The size says more than there is. */
TEST_F(command, cut_off)
{
	size_t room;

	for (room = 4; room < variant->size; room += 4) {
		char *p = edge_at(&self->edge, room);

		memcpy(p, &self->arg, room);
		ASSERT_EQ(EFAULT, cmd(self->fd, variant->nr, p)) TH_LOG("%zu bytes", room);
	}
	for (room = 0; room < 4; room++)
		ASSERT_EQ(EFAULT, cmd(self->fd, variant->nr, edge_at(&self->edge, room)));
	EXPECT_EQ(EFAULT, cmd(self->fd, variant->nr, NULL));
	EXPECT_EQ(EFAULT, cmd(self->fd, variant->nr, (void *)-8L));
}

TEST_F(command, flags)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		self->arg.flags = 1u << bit;
		ASSERT_EQ(EOPNOTSUPP, cmd(self->fd, variant->nr, &self->arg)) TH_LOG("bit %d", bit);
	}
}

/* The order in which mistakes are told: size, tail, flags. */
TEST_F(command, order)
{
	self->arg.size = variant->first - 1;
	self->arg.flags = 1;
	EXPECT_EQ(EINVAL, cmd(self->fd, variant->nr, &self->arg));
	self->arg.size = variant->size + 8;
	self->arg.bytes[variant->size] = 1;
	EXPECT_EQ(E2BIG, cmd(self->fd, variant->nr, &self->arg));
	self->arg.bytes[variant->size] = 0;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, variant->nr, &self->arg));
}

/* The number carries neither size nor direction. */
TEST_F(command, other_encodings)
{
	int size;

	for (size = 1; size < 128; size++)
		ASSERT_EQ(ENOTTY, cmd(self->fd, variant->nr | size << _IOC_SIZESHIFT, &self->arg));
	EXPECT_EQ(ENOTTY, cmd(self->fd, variant->nr | _IOC_READ << _IOC_DIRSHIFT, &self->arg));
	EXPECT_EQ(ENOTTY, cmd(self->fd, variant->nr | _IOC_WRITE << _IOC_DIRSHIFT, &self->arg));
	EXPECT_EQ(ENOTTY, cmd(self->fd, _IO(HSL_TYPE + 1, _IOC_NR(variant->nr)), &self->arg));
}

TEST_F(uapi, unknown_commands)
{
	union arg arg = { .size = sizeof(struct hsl_query) };
	int nr;

	for (nr = 0; nr < 256; nr++) {
		if (nr >= HSL_CMD_QUERY && nr < HSL_CMD_END)
			continue;
		ASSERT_EQ(ENOTTY, cmd(self->fd, _IO(HSL_TYPE, nr), &arg)) TH_LOG("%d", nr);
	}
}

TEST_F(uapi, reserved_fields)
{
	struct hsl_query q = { .size = sizeof(q) };
	struct hsl_queue_destroy d = { .size = sizeof(d), .reserved = 1 };
	struct hsl_queue_eventfd e = { .size = sizeof(e), .fd = -1, .reserved = 1 };
	struct hsl_bind b = { .size = sizeof(b), .reserved = 1 };
	struct hsl_migrate m = { .size = sizeof(m), .addr = PAGE, .len = PAGE, .reserved = 1 };
	struct hsl_signal_del s = { .size = sizeof(s), .reserved = 1 };
	struct hsl_peers p = { .size = sizeof(p), .routes = HSL_ROUTE_ALL + 1 };
	struct hsl_buf_create bc = { .size = sizeof(bc), .len = PAGE, .reserved = 1 };
	struct hsl_buf_share bs = { .size = sizeof(bs), .fd = -1, .rights = HSL_BUF_READ, .reserved = 1 };
	struct hsl_buf_unimport un = { .size = sizeof(un), .reserved = 1 };
	struct hsl_queue_create c = self->ring.par;

	q.reserved1 = 1;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUERY, &q));
	q.reserved1 = 0;
	q.reserved[0] = 1;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUERY, &q));
	q.reserved[0] = 0;
	q.reserved[1] = 1u << 31;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUERY, &q));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BIND, &b));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_MIGRATE, &m));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_SIGNAL_DEL, &s));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_PEERS, &p));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BUF_CREATE, &bc));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BUF_SHARE, &bs));
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_BUF_UNIMPORT, &un));
	c.reserved = 1;
	EXPECT_EQ(EOPNOTSUPP, cmd(self->fd, HSL_QUEUE_CREATE, &c));
}

/* Nowhere to put the answer: nothing happens. */
TEST_F(uapi, read_only_argument)
{
	long long queues = read_number(CLASS_DIR "/queues");
	struct hsl_query *q = (void *)self->edge.page;
	struct hsl_queue_create *c = (void *)q;
	struct hsl_query info = { .size = sizeof(info) };
	unsigned int i;

	q->size = sizeof(*q);
	ASSERT_EQ(0, mprotect(self->edge.page, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, cmd(self->fd, HSL_QUERY, q));
	ASSERT_EQ(0, mprotect(self->edge.page, PAGE, PROT_READ | PROT_WRITE));

	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &info));
	*c = self->ring.par;
	ASSERT_EQ(0, mprotect(self->edge.page, PAGE, PROT_READ));
	/* Once too often, if one were lost each time */
	for (i = 0; i <= info.max_queues; i++)
		ASSERT_EQ(EFAULT, cmd(self->fd, HSL_QUEUE_CREATE, c));
	EXPECT_EQ(queues, read_number(CLASS_DIR "/queues"));
	EXPECT_EQ(0, run_command(self->fd, HSL_QUEUE_CREATE, &self->ring.par));
	EXPECT_EQ(0, self->ring.par.queue);
}

TEST_F(uapi, create_errors)
{
	struct hsl_query info = { .size = sizeof(info) };
	const struct hsl_queue_create good = self->ring.par;
	struct hsl_queue_create p;
	char *hole, *ro;
	int bit;

#define TEST_ERR(err, change) do {						\
	p = good;								\
	change;									\
	EXPECT_EQ(err, run_command(self->fd, HSL_QUEUE_CREATE, &p)) TH_LOG(#change); \
} while (0)

	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &info));
	TEST_ERR(0, (void)0);
	/* counts */
	TEST_ERR(EINVAL, p.sq_entries = 0);
	TEST_ERR(EINVAL, p.sq_entries = 1);
	TEST_ERR(EINVAL, p.sq_entries = 3);
	TEST_ERR(EINVAL, p.sq_entries = 1u << 31; p.cq_entries = 1u << 31);
	TEST_ERR(EINVAL, p.sq_entries = ~0u);
	TEST_ERR(EINVAL, p.cq_entries = 0);
	TEST_ERR(EINVAL, p.cq_entries = 4);
	TEST_ERR(EINVAL, p.cq_entries = 12);
	TEST_ERR(EINVAL, p.cq_entries = info.max_ring_entries * 2);
	TEST_ERR(EINVAL, p.sq_entries = p.cq_entries = info.max_ring_entries * 2);
	TEST_ERR(0, p.sq_entries = 2);
	/* alignment */
	for (bit = 0; bit < 6; bit++) {
		TEST_ERR(EINVAL, p.sq_addr += 1 << bit);
		TEST_ERR(EINVAL, p.cq_addr += 1 << bit);
	}
	for (bit = 0; bit < 7; bit++)
		TEST_ERR(EINVAL, p.ctl_addr += 1 << bit);
	/* range */
	TEST_ERR(EINVAL, p.sq_addr = 1ull << 63);
	TEST_ERR(EINVAL, p.cq_addr = -4096ull);
	TEST_ERR(EINVAL, p.ctl_addr = -128ull);
	TEST_ERR(EINVAL, p.sq_addr = 0xffff888000000000ull);
	TEST_ERR(EINVAL, p.cq_addr = (1ull << 47) - 64);
	/* not there, or not to be written */
	hole = map_anon(PAGE);
	ASSERT_NE(NULL, hole);
	ASSERT_EQ(0, munmap(hole, PAGE));
	ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, ro);
	TEST_ERR(EFAULT, p.sq_addr = (uintptr_t)hole);
	TEST_ERR(EFAULT, p.cq_addr = (uintptr_t)hole);
	TEST_ERR(EFAULT, p.ctl_addr = (uintptr_t)hole);
	TEST_ERR(EFAULT, p.sq_addr = (uintptr_t)ro);
	TEST_ERR(EFAULT, p.cq_addr = (uintptr_t)ro);
	TEST_ERR(EFAULT, p.ctl_addr = (uintptr_t)ro);
	TEST_ERR(EFAULT, p.sq_addr = (uintptr_t)self->edge.page + PAGE - 64);
	TEST_ERR(EFAULT, p.sq_addr = 0);
	/* the rest */
	TEST_ERR(EINVAL, p.priority = 4);
	TEST_ERR(0, p.priority = 3);
	TEST_ERR(EINVAL, p.coalesce_usecs = 1000001);
	TEST_ERR(EINVAL, p.coalesce_count = 2);
	TEST_ERR(0, p.coalesce_count = 2; p.coalesce_usecs = 1000000);
	TEST_ERR(0, p.coalesce_count = 1);
	TEST_ERR(0, p.ops = 1);
	for (bit = 0; bit < 64; bit++)
		TEST_ERR(info.ops >> bit & 1 ? 0 : EOPNOTSUPP, p.ops = 1ull << bit);
	EXPECT_EQ(0, read_number(CLASS_DIR "/queues"));
#undef TEST_ERR
}

TEST_F(uapi, mmap_errors)
{
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));

#define TEST_ERR(err, ...) do {							\
	EXPECT_EQ(MAP_FAILED, mmap(__VA_ARGS__));				\
	EXPECT_EQ(err, errno) TH_LOG(#__VA_ARGS__);				\
} while (0)

	TEST_ERR(EINVAL, NULL, 2 * PAGE, PROT_WRITE, MAP_SHARED, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_WRITE, MAP_PRIVATE, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_NONE, MAP_SHARED, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_WRITE | PROT_EXEC, MAP_SHARED, self->fd, q.par.doorbell_offset);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_WRITE, MAP_SHARED, self->fd, q.par.doorbell_offset + PAGE);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_WRITE, MAP_SHARED, self->fd, 1ull << 40);
	TEST_ERR(EINVAL, NULL, PAGE, PROT_WRITE, MAP_SHARED, self->fd, q.par.doorbell_offset + 1);
#undef TEST_ERR

	/* What it is not mapped for it cannot become. */
	EXPECT_EQ(-1, mprotect((void *)q.db, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect((void *)q.db, PAGE, PROT_WRITE | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	/* Nor grow over the next queue's. */
	EXPECT_EQ(MAP_FAILED, mremap((void *)q.db, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);

	EXPECT_EQ(0, raw_destroy(&q));
	EXPECT_EQ(MAP_FAILED, raw_map_doorbell(self->fd, q.par.doorbell_offset));
	EXPECT_EQ(EINVAL, errno);
}

/* Another context's doorbell is not ours, though the offset is good there. */
TEST_F(uapi, mmap_of_another_context)
{
	int fd = raw_open_on(variant->sva);
	struct raw q;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, raw_create(&q, fd, 8));
	EXPECT_EQ(MAP_FAILED, raw_map_doorbell(self->fd, q.par.doorbell_offset));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* Forks nothing, sleeps nowhere: the handler says where the access went. */
static sigjmp_buf bus_jmp;

static void on_bus(int sig)
{
	siglongjmp(bus_jmp, sig);
}

/* 0, or the signal that the access raised */
static int poke(volatile uint32_t *p, uint32_t val)
{
	struct sigaction sa = { .sa_handler = on_bus }, old_bus, old_segv;
	int sig;

	sigaction(SIGBUS, &sa, &old_bus);
	sigaction(SIGSEGV, &sa, &old_segv);
	sig = sigsetjmp(bus_jmp, 1);
	if (!sig)
		*p = val;
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return sig;
}

static uint64_t doorbells(struct raw *q)
{
	uint64_t values[HSL_Q_CNT_NR] = { 0 };
	struct hsl_counters c = { .size = sizeof(c), .queue = q->par.queue, .nr = HSL_Q_CNT_NR,
				  .values = (uintptr_t)values };

	return cmd(q->fd, HSL_COUNTERS, &c) ? ~0ull : values[HSL_CNT_DOORBELLS];
}

/* A doorbell mapping dies with its queue and is not the next one's. */
TEST_F(uapi, doorbell_after_destroy)
{
	struct hsl_queue_destroy d = { .size = sizeof(d) };
	volatile uint32_t *moved;
	struct raw a, b;
	int i;

	ASSERT_EQ(0, raw_create(&a, self->fd, 8));
	moved = raw_map_doorbell(self->fd, a.par.doorbell_offset);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(0, poke(moved, 0));
	moved = mremap((void *)moved, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, self->edge.page);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(0, poke(moved, 0));
	EXPECT_EQ(0, poke(a.db, 0));

	d.queue = a.par.queue;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	EXPECT_EQ(0, poke(a.db, 0));
	EXPECT_EQ(0, poke(moved, 0));

	/* Until every hardware queue has been had again */
	for (i = 0; i < read_number(CLASS_DIR "/limits/nr_queues") + 1; i++) {
		ASSERT_EQ(0, raw_create(&b, self->fd, 8));
		if (b.par.doorbell_offset == a.par.doorbell_offset)
			break;
		ASSERT_EQ(0, raw_destroy(&b));
	}
	ASSERT_EQ(a.par.doorbell_offset, b.par.doorbell_offset);
	/* A tail that is a lie would fail the queue that it reaches. */
	EXPECT_EQ(0, poke(a.db, 0x80000000));
	EXPECT_EQ(0, poke(moved, 0x80000000));
	EXPECT_EQ(0, doorbells(&b));
	EXPECT_EQ(0, poke(b.db, 0));
	EXPECT_EQ(1, doorbells(&b));
}

TEST_F(uapi, destroy)
{
	struct hsl_queue_destroy d = { .size = sizeof(d) };
	struct hsl_queue_state s;
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	d.queue = q.par.queue + 1;
	EXPECT_EQ(ENOENT, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	d.queue = q.par.queue;
	EXPECT_EQ(0, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	EXPECT_EQ(ENOENT, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	EXPECT_EQ(ENOENT, raw_state(self->fd, q.par.queue, &s));
	d.queue = HSL_QUEUE_NONE;
	EXPECT_EQ(ENOENT, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
}

TEST_F(uapi, out_of_queues)
{
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_queue_destroy d = { .size = sizeof(d) };
	uint32_t i, n, total = 0;
	int fds[64], nr = 0;

	ASSERT_EQ(0, cmd(self->fd, HSL_QUERY, &info));

	/* of a context; the rings may be shared for a test that submits nothing */
	for (i = 0; i < info.max_queues; i++)
		ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_CREATE, &self->ring.par));
	total = info.max_queues;
	ASSERT_EQ(ENOSPC, cmd(self->fd, HSL_QUEUE_CREATE, &self->ring.par));
	EXPECT_EQ(total, read_number(CLASS_DIR "/queues"));
	d.queue = 0;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_DESTROY, &d));
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_CREATE, &self->ring.par));

	/* of the device */
	while (total < info.nr_queues && nr < (int)ARRAY(fds)) {
		fds[nr] = raw_open_on(variant->sva);
		ASSERT_GE(fds[nr], 0);
		for (n = 0; n < info.max_queues && total < info.nr_queues; n++, total++)
			ASSERT_EQ(0, cmd(fds[nr], HSL_QUEUE_CREATE, &self->ring.par));
		nr++;
	}
	ASSERT_EQ(total, info.nr_queues);
	fds[nr] = raw_open_on(variant->sva);
	ASSERT_GE(fds[nr], 0);
	EXPECT_EQ(ENOSPC, cmd(fds[nr], HSL_QUEUE_CREATE, &self->ring.par));
	EXPECT_EQ(0, close(fds[0]));
	EXPECT_EQ(0, cmd(fds[nr], HSL_QUEUE_CREATE, &self->ring.par));
	for (n = 1; n <= (uint32_t)nr; n++)
		close(fds[n]);
	EXPECT_EQ(info.max_queues, read_number(CLASS_DIR "/queues"));
}

TEST_F(uapi, queues_per_user)
{
	const char *param = PARAM_DIR "/max_queues_per_user";
	long long limit = read_number(param);
	int fd2 = raw_open_on(variant->sva), err[5];
	struct raw q[3];

	ASSERT_GT(limit, 0);
	ASSERT_GE(fd2, 0);
	if (write_number(param, 2))
		SKIP(return, "cannot change %s", param);
	/* Whoever may exceed resource limits is not held back. */
	err[0] = raw_create(&q[0], self->fd, 8);
	err[1] = raw_create(&q[1], fd2, 8);
	err[2] = raw_create(&q[2], self->fd, 8);
	if (!err[2])
		raw_destroy(&q[2]);
	ASSERT_EQ(0, drop_capability(CAP_SYS_RESOURCE));
	err[3] = raw_create(&q[2], self->fd, 8);
	raw_destroy(&q[1]);
	err[4] = raw_create(&q[2], self->fd, 8);
	ASSERT_EQ(0, write_number(param, limit));

	EXPECT_EQ(0, err[0]);
	EXPECT_EQ(0, err[1]);
	EXPECT_EQ(0, err[2]);
	EXPECT_EQ(ENOSPC, err[3]);
	EXPECT_EQ(0, err[4]);
	close(fd2);
}

TEST_F(uapi, out_of_contexts)
{
	const char *param = PARAM_DIR "/max_contexts_per_user";
	long long limit = read_number(param), nr = read_number(CLASS_DIR "/limits/nr_contexts");
	struct rlimit rl;
	long long n;
	int *fds;

	ASSERT_GT(limit, 0);
	ASSERT_GT(nr, 0);
	/* Of programs that have just ended */
	ASSERT_TRUE(COMES_TRUE(read_number(CLASS_DIR "/contexts") == 1));
	if (write_number(param, 4))
		SKIP(return, "cannot change %s", param);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = nr + 64;
	if (rl.rlim_max < rl.rlim_cur)
		rl.rlim_max = rl.rlim_cur;
	EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	fds = calloc(nr + 1, sizeof(*fds));
	ASSERT_NE(NULL, fds);

	for (n = 0; n < 3; n++) {
		fds[n] = raw_open_on(variant->sva);
		EXPECT_GE(fds[n], 0);
	}
	EXPECT_EQ(-EMFILE, raw_open_on(variant->sva));
	close(fds[--n]);
	fds[n++] = raw_open_on(variant->sva);
	EXPECT_GE(fds[n - 1], 0);

	EXPECT_EQ(0, write_number(param, nr + 16));
	for (; n < nr - 1; n++) {
		fds[n] = raw_open_on(variant->sva);
		if (fds[n] < 0)
			break;
	}
	EXPECT_EQ(nr - 1, n);
	EXPECT_EQ(nr, read_number(CLASS_DIR "/contexts"));
	EXPECT_EQ(-EBUSY, raw_open_on(variant->sva));
	if (n)
		close(fds[--n]);
	fds[n++] = raw_open_on(variant->sva);
	EXPECT_GE(fds[n - 1], 0);

	EXPECT_EQ(0, write_number(param, limit));
	while (n--)
		close(fds[n]);
	EXPECT_EQ(1, read_number(CLASS_DIR "/contexts"));
	free(fds);
}

TEST_F(uapi, eventfd_errors)
{
	struct hsl_queue_eventfd e = { .size = sizeof(e) };
	int efd = eventfd(0, EFD_CLOEXEC), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct raw q;

	ASSERT_GE(efd, 0);
	ASSERT_GE(null, 0);
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));

#define TEST_ERR(err, _queue, _kind, _fd) do {					\
	e.queue = _queue;							\
	e.kind = _kind;								\
	e.fd = _fd;								\
	EXPECT_EQ(err, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));			\
} while (0)

	TEST_ERR(ENOENT, q.par.queue + 1, HSL_EVENTFD_COMPLETION, efd);
	TEST_ERR(EINVAL, q.par.queue, HSL_EVENTFD_NR, efd);
	TEST_ERR(EINVAL, q.par.queue, ~0u, efd);
	TEST_ERR(EINVAL, q.par.queue, HSL_EVENTFD_COMPLETION, -2);
	TEST_ERR(EBADF, q.par.queue, HSL_EVENTFD_COMPLETION, 12345);
	TEST_ERR(EINVAL, q.par.queue, HSL_EVENTFD_COMPLETION, null);
	TEST_ERR(0, q.par.queue, HSL_EVENTFD_COMPLETION, efd);
	TEST_ERR(0, q.par.queue, HSL_EVENTFD_COMPLETION, efd);
	TEST_ERR(0, q.par.queue, HSL_EVENTFD_ERROR, efd);
	TEST_ERR(0, q.par.queue, HSL_EVENTFD_COMPLETION, -1);
	TEST_ERR(0, q.par.queue, HSL_EVENTFD_COMPLETION, -1);
#undef TEST_ERR
	close(efd);
	close(null);
}

/* No more files, no more rights to ring; the queue is as before. */
TEST_F(uapi, grant_without_a_file)
{
	struct hsl_queue_grant g = { .size = sizeof(g), .fd = -5 };
	struct rlimit rl, none;
	struct hsl_desc d = desc_nop(1);
	int free = dup(self->fd);
	struct raw q;

	ASSERT_GE(free, 0);
	close(free);
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	g.queue = q.par.queue;
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &rl));
	none = rl;
	none.rlim_cur = free;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(EMFILE, cmd(self->fd, HSL_QUEUE_GRANT, &g));
	EXPECT_EQ(-5, g.fd);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_EQ(HSL_ST_OK, raw_run(&q, &d));
	EXPECT_EQ(0, cmd(self->fd, HSL_QUEUE_GRANT, &g));
	EXPECT_EQ(free, g.fd);
	close(g.fd);
}

TEST_F(uapi, counters)
{
	struct hsl_counters c = { .size = sizeof(c), .queue = HSL_QUEUE_NONE };
	uint64_t *end, values[64];
	struct hsl_desc d = desc_nop(7);
	struct raw q;
	uint32_t nr;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(HSL_ST_OK, raw_run(&q, &d));

	for (nr = 0; nr < 40; nr++) {
		uint32_t want = nr < HSL_CNT_NR ? nr : HSL_CNT_NR;

		/* It ends where nothing may be written. */
		end = edge_at(&self->edge, want * 8);
		c.nr = nr;
		c.values = (uintptr_t)end;
		ASSERT_EQ(0, cmd(self->fd, HSL_COUNTERS, &c));
		ASSERT_EQ(want, c.nr);
	}
	EXPECT_GE(end[HSL_CNT_OPS], 1);

	c.queue = q.par.queue;
	c.nr = ARRAY(values);
	c.values = (uintptr_t)values;
	ASSERT_EQ(0, cmd(self->fd, HSL_COUNTERS, &c));
	EXPECT_EQ(HSL_CNT_FAULTS + 1, c.nr);
	EXPECT_EQ(1, values[HSL_CNT_OPS]);

	c.nr = 4;
	c.values = (uintptr_t)edge_at(&self->edge, 24);
	EXPECT_EQ(EFAULT, cmd(self->fd, HSL_COUNTERS, &c));
	c.queue = q.par.queue + 1;
	EXPECT_EQ(ENOENT, cmd(self->fd, HSL_COUNTERS, &c));
}

static int submit(int fd, uint32_t queue, const void *descs, uint32_t nr, uint32_t *took)
{
	struct hsl_submit s = {
		.size = sizeof(s), .queue = queue, .nr = nr, .descs = (uintptr_t)descs,
	};
	int err = cmd(fd, HSL_SUBMIT, &s);

	*took = s.nr;
	return err;
}

TEST_F(uapi, submit)
{
	struct hsl_desc d[20];
	struct hsl_cqe c;
	struct hsl_queue_state s;
	uint32_t took, i, total = 0;
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	/* No process but the kernel rings. */
	munmap((void *)q.db, PAGE);
	q.db = NULL;

	EXPECT_EQ(0, submit(self->fd, q.par.queue, d, 0, &took));
	EXPECT_EQ(0, took);
	EXPECT_EQ(0, submit(self->fd, q.par.queue, NULL, 0, &took));
	EXPECT_EQ(ENOENT, submit(self->fd, q.par.queue + 1, d, 1, &took));
	EXPECT_EQ(EFAULT, submit(self->fd, q.par.queue, NULL, 1, &took));
	EXPECT_EQ(EFAULT, submit(self->fd, q.par.queue, edge_at(&self->edge, 64), 2, &took));
	EXPECT_EQ(0, q.ctl->sq_tail);

	/* Around the ring several times, more at once than fit */
	while (total < 100) {
		for (i = 0; i < ARRAY(d); i++)
			d[i] = desc_nop(total + i);
		ASSERT_EQ(0, submit(self->fd, q.par.queue, d, ARRAY(d), &took));
		ASSERT_GT(took, 0);
		ASSERT_LE(took, 8);
		for (i = 0; i < took; i++) {
			ASSERT_TRUE(raw_wait(&q, &c));
			ASSERT_EQ(HSL_ST_OK, c.status);
		}
		total += took;
		ASSERT_EQ(total, q.ctl->sq_tail);
	}
	ASSERT_EQ(0, raw_state(self->fd, q.par.queue, &s));
	EXPECT_EQ(HSL_Q_RUNNING, s.state);
	EXPECT_EQ(total, s.sq_head);
	EXPECT_EQ(total, s.cq_tail);
}

/* Completions that nobody consumes leave no room: nothing is taken, until some is given back. */
TEST_F(uapi, submit_no_room)
{
	struct hsl_desc d[9];
	uint32_t took, i;
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	for (i = 0; i < ARRAY(d); i++)
		d[i] = desc_nop(i);
	ASSERT_EQ(0, submit(self->fd, q.par.queue, d, ARRAY(d), &took));
	ASSERT_EQ(8, took);
	ASSERT_TRUE(COMES_TRUE(READ_ONCE(q.ctl->sq_head) == 8));
	EXPECT_EQ(EAGAIN, submit(self->fd, q.par.queue, d, 1, &took));
	EXPECT_EQ(8, q.ctl->sq_tail);
	WRITE_ONCE(q.ctl->cq_head, 1);
	EXPECT_EQ(0, submit(self->fd, q.par.queue, d, 2, &took));
	EXPECT_EQ(1, took);
	EXPECT_EQ(9, q.ctl->sq_tail);
}

/*
 * It begins at sq_tail: behind what was submitted directly, and in the place of what was
 * written for a signal, which sq_tail does not count.
 */
TEST_F(uapi, submit_begins_at_sq_tail)
{
	struct hsl_desc d = desc_nop(1);
	struct hsl_cqe c;
	uint32_t took;
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(HSL_ST_OK, raw_run(&q, &d));
	d.user_data = 2;
	ASSERT_EQ(0, submit(self->fd, q.par.queue, &d, 1, &took));
	EXPECT_EQ(1, q.sq[0].user_data);
	EXPECT_EQ(2, q.sq[1].user_data);
	ASSERT_TRUE(raw_wait(&q, &c));
	EXPECT_EQ(2, c.user_data);

	q.sq[2] = desc_nop(77);
	d.user_data = 3;
	ASSERT_EQ(0, submit(self->fd, q.par.queue, &d, 1, &took));
	EXPECT_EQ(3, q.sq[2].user_data);
	EXPECT_EQ(3, q.ctl->sq_tail);
	ASSERT_TRUE(raw_wait(&q, &c));
	EXPECT_EQ(3, c.user_data);
	EXPECT_FALSE(raw_ready(&q));
}

/*
 * The control words are the process's to spoil; the answer is an error, no more. Where
 * sq_tail cannot be stored no doorbell rings.
 */
TEST_F(uapi, submit_bad_control_words)
{
	struct hsl_desc d = desc_nop(1);
	uint32_t took;
	uint64_t rung;
	struct raw q;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	WRITE_ONCE(q.ctl->sq_head, 1000);
	EXPECT_EQ(EINVAL, submit(self->fd, q.par.queue, &d, 1, &took));
	WRITE_ONCE(q.ctl->sq_head, 0);
	/* From here on the device does not look: its own fault would be the queue's end. */
	ASSERT_TRUE(COMES_TRUE(READ_ONCE(q.ctl->db_needed)));
	rung = doorbells(&q);
	ASSERT_EQ(0, mprotect(q.ctl, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, submit(self->fd, q.par.queue, &d, 1, &took));
	EXPECT_EQ(rung, doorbells(&q));
	ASSERT_EQ(0, mprotect(q.ctl, PAGE, PROT_NONE));
	EXPECT_EQ(EFAULT, submit(self->fd, q.par.queue, &d, 1, &took));
	EXPECT_EQ(rung, doorbells(&q));
}

/* A doorbell outside the ring stops the queue; nobody sleeps on, and it says so. */
TEST_F(uapi, submit_to_a_failed_queue)
{
	struct hsl_queue_eventfd e = { .size = sizeof(e) };
	struct hsl_event ev;
	struct hsl_events evs = { .size = sizeof(evs), .nr = 1, .events = (uintptr_t)&ev };
	struct hsl_desc d = desc_nop(1);
	int done = eventfd(0, EFD_CLOEXEC), bad = eventfd(0, EFD_CLOEXEC);
	uint32_t took;
	struct raw q, other;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(0, raw_create(&other, self->fd, 8));
	e.queue = q.par.queue;
	e.kind = HSL_EVENTFD_COMPLETION;
	e.fd = done;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	e.kind = HSL_EVENTFD_ERROR;
	e.fd = bad;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	EXPECT_EQ(0, poll_fd(bad, POLLIN, 0));

	*q.db = 1000;
	ASSERT_EQ(POLLIN, poll_fd(bad, POLLIN, BOUND_MS));
	ASSERT_EQ(POLLIN, poll_fd(done, POLLIN, BOUND_MS));
	EXPECT_TRUE(raw_failed(&q));
	EXPECT_EQ(EIO, submit(self->fd, q.par.queue, &d, 1, &took));
	EXPECT_EQ(POLLERR | POLLPRI, poll_fd(self->fd, POLLIN | POLLPRI, BOUND_MS));
	ASSERT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
	ASSERT_EQ(1, evs.nr);
	EXPECT_EQ(HSL_EV_QUEUE_ERROR, ev.type);
	EXPECT_EQ(HSL_QERR_DOORBELL, ev.code);
	EXPECT_EQ(q.par.queue, ev.queue);
	EXPECT_EQ(HSL_ST_OK, raw_run(&other, &d));

	EXPECT_EQ(0, raw_destroy(&q));
	EXPECT_EQ(0, poll_fd(self->fd, POLLIN | POLLPRI, 0));
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	EXPECT_EQ(HSL_ST_OK, raw_run(&q, &d));
}

TEST_F(uapi, completion_eventfd)
{
	struct hsl_queue_eventfd e = { .size = sizeof(e), .kind = HSL_EVENTFD_COMPLETION };
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct hsl_desc d = desc_nop(1);
	struct raw q;
	uint64_t n;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	e.queue = q.par.queue;
	e.fd = efd;
	ASSERT_EQ(0, cmd(self->fd, HSL_QUEUE_EVENTFD, &e));
	/* cq_event is 0: the first completion interrupts. */
	raw_push(&q, &d);
	ASSERT_EQ(POLLIN, poll_fd(efd, POLLIN, BOUND_MS));
	EXPECT_TRUE(raw_ready(&q));
	EXPECT_EQ(8, read(efd, &n, 8));
	/* Ended by the driver when the queue goes, like any waiter. */
	EXPECT_EQ(0, raw_destroy(&q));
	EXPECT_EQ(POLLIN, poll_fd(efd, POLLIN, 0));
}

TEST_F(uapi, poll)
{
	struct hsl_desc d = desc_nop(1);
	struct hsl_cqe c;
	struct raw a, b;
	int i;

	EXPECT_EQ(0, poll_fd(self->fd, POLLIN | POLLPRI, 0));
	ASSERT_EQ(0, raw_create(&a, self->fd, 8));
	ASSERT_EQ(0, raw_create(&b, self->fd, 8));
	EXPECT_EQ(0, poll_fd(self->fd, POLLIN | POLLPRI, 0));

	/* Who waits for completions is to be woken by the next one of each queue, whatever was wished for. */
	WRITE_ONCE(a.ctl->cq_event, 1000);
	WRITE_ONCE(b.ctl->cq_event, 1001);
	EXPECT_EQ(0, poll_fd(self->fd, POLLPRI, 0));
	EXPECT_EQ(1000, READ_ONCE(a.ctl->cq_event));
	EXPECT_EQ(0, poll_fd(self->fd, POLLIN, 0));
	EXPECT_EQ(0, READ_ONCE(a.ctl->cq_event));
	EXPECT_EQ(0, READ_ONCE(b.ctl->cq_event));

	for (i = 0; i < 50; i++) {
		struct raw *q = i & 1 ? &b : &a;

		raw_push(q, &d);
		ASSERT_EQ(POLLIN, poll_fd(self->fd, POLLIN, BOUND_MS));
		/* level-triggered */
		ASSERT_EQ(POLLIN, poll_fd(self->fd, POLLIN, BOUND_MS));
		ASSERT_TRUE(raw_ready(q));
		ASSERT_TRUE(raw_wait(q, &c));
		ASSERT_EQ(0, poll_fd(self->fd, POLLIN, 0));
	}

	/* A ring that cannot be looked at is an error and not silence. */
	ASSERT_EQ(0, mprotect(b.ctl, PAGE, PROT_NONE));
	EXPECT_NE(0, POLLERR & poll_fd(self->fd, POLLIN, 0));
	EXPECT_EQ(0, POLLHUP & poll_fd(self->fd, POLLIN, 0));
}

/* The same by the other ways to wait for a file. */
TEST_F(uapi, select_and_epoll)
{
	struct epoll_event want = { .events = EPOLLIN }, got;
	struct timeval none = { 0 }, bound;
	int ep = epoll_create1(EPOLL_CLOEXEC), i;
	struct hsl_desc d = desc_nop(1);
	struct hsl_cqe c;
	struct raw q;
	fd_set in;

	ASSERT_GE(ep, 0);
	ASSERT_LT(self->fd, FD_SETSIZE);
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->fd, &want));
	FD_ZERO(&in);
	for (i = 0; i < 50; i++) {
		EXPECT_EQ(0, epoll_wait(ep, &got, 1, 0));
		FD_SET(self->fd, &in);
		EXPECT_EQ(0, select(self->fd + 1, &in, NULL, NULL, &none));
		raw_push(&q, &d);
		/* Either may be the one that waits; level-triggered both */
		if (i & 1) {
			bound = (struct timeval) { .tv_sec = BOUND_MS / 1000 };
			FD_SET(self->fd, &in);
			ASSERT_EQ(1, select(self->fd + 1, &in, NULL, NULL, &bound));
		}
		ASSERT_EQ(1, epoll_wait(ep, &got, 1, BOUND_MS));
		ASSERT_EQ(1, epoll_wait(ep, &got, 1, 0));
		EXPECT_EQ(EPOLLIN, got.events);
		FD_SET(self->fd, &in);
		ASSERT_EQ(1, select(self->fd + 1, &in, NULL, NULL, &none));
		ASSERT_TRUE(raw_ready(&q));
		ASSERT_TRUE(raw_wait(&q, &c));
	}
	close(ep);
}

TEST_F(uapi, fault_events)
{
	struct hsl_event ev[4];
	struct hsl_events evs = { .size = sizeof(evs), .nr = 4, .events = (uintptr_t)ev };
	char *none = self->edge.page + PAGE;
	struct hsl_desc d = desc_copy(none, self->edge.page, 64, 0x77);
	struct raw q;

	EXPECT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
	EXPECT_EQ(0, evs.nr);
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(HSL_ST_PAGE_FAULT, raw_run(&q, &d));
	ASSERT_EQ(POLLPRI, poll_fd(self->fd, POLLPRI, BOUND_MS));

	/* Nobody asked for it, or nowhere to put it: it stays. */
	evs.nr = 0;
	evs.lost = 77;
	EXPECT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
	EXPECT_EQ(0, evs.nr);
	EXPECT_EQ(0, evs.lost);
	ASSERT_EQ(POLLPRI, poll_fd(self->fd, POLLPRI, 0));
	evs.nr = 1;
	evs.events = (uintptr_t)none;
	EXPECT_EQ(EFAULT, cmd(self->fd, HSL_EVENTS, &evs));
	ASSERT_EQ(POLLPRI, poll_fd(self->fd, POLLPRI, 0));

	evs.nr = 4;
	evs.events = (uintptr_t)ev;
	ASSERT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
	ASSERT_EQ(1, evs.nr);
	EXPECT_EQ(0, evs.lost);
	EXPECT_EQ(HSL_EV_PAGE_FAULT, ev[0].type);
	EXPECT_EQ(HSL_ST_PAGE_FAULT, ev[0].code);
	EXPECT_EQ(HSL_ACCESS_WRITE, ev[0].access);
	EXPECT_EQ(q.par.queue, ev[0].queue);
	EXPECT_EQ((uintptr_t)none, ev[0].addr);
	EXPECT_EQ(0x77, ev[0].user_data);
	EXPECT_NE(0, ev[0].time_ns);
	EXPECT_EQ(0, poll_fd(self->fd, POLLPRI, 0));
}

/* What debugfs says of the event queue: each record that the device writes */
TEST_F(uapi, event_queue)
{
	struct hsl_event ev[4];
	struct hsl_events evs = { .size = sizeof(evs), .events = (uintptr_t)ev };
	char *none = self->edge.page + PAGE;
	struct hsl_desc d = desc_copy(none, self->edge.page, 64, 0x77);
	long long seen, head, dropped;
	struct raw q;
	int i;

	SKIP_WITHOUT_DEBUGFS();
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	seen = debugfs_sum(NODE, "events", "seen");
	head = debugfs_sum(NODE, "events", "head");
	dropped = debugfs_sum(NODE, "events", "dropped");
	EXPECT_EQ(1, debugfs_sum(NODE, "events", "on"));
	EXPECT_LE(1, debugfs_sum(NODE, "events", "entries"));
	EXPECT_LE(0, dropped);
	for (i = 1; i <= 10; i++) {
		ASSERT_EQ(HSL_ST_PAGE_FAULT, raw_run(&q, &d));
		ASSERT_EQ(POLLPRI, poll_fd(self->fd, POLLPRI, BOUND_MS));
		evs.nr = ARRAY(ev);
		ASSERT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
		ASSERT_EQ(1, evs.nr);
		EXPECT_EQ(seen + i, debugfs_sum(NODE, "events", "seen"));
	}
	EXPECT_EQ(head + 10, debugfs_sum(NODE, "events", "head"));
	EXPECT_EQ(dropped, debugfs_sum(NODE, "events", "dropped"));
}

/* More faults than anybody keeps: bounded, counted, and a queue error still gets in. */
TEST_F(uapi, fault_flood)
{
	char *none = self->edge.page + PAGE;
	struct hsl_events evs = { .size = sizeof(evs) };
	struct hsl_event ev[64];
	uint32_t faults = 0, errors = 0, lost = 0, i, n;
	const uint32_t total = 600;
	struct hsl_query a = { .size = sizeof(a) };
	struct raw q, other;
	int fd = raw_open_on(variant->sva);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, cmd(fd, HSL_QUERY, &a));
	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(0, raw_create(&other, fd, 8));
	for (i = 0; i < total; i++) {
		struct hsl_desc d = desc_copy(none, self->edge.page, 64, i);

		ASSERT_EQ(HSL_ST_PAGE_FAULT, raw_run(&q, &d));
	}
	*q.db = 1000;
	ASSERT_TRUE(COMES_TRUE(raw_failed(&q)));
	ASSERT_EQ(POLLERR, POLLERR & poll_fd(self->fd, POLLIN, BOUND_MS));

	do {
		evs.nr = ARRAY(ev);
		evs.events = (uintptr_t)ev;
		ASSERT_EQ(0, cmd(self->fd, HSL_EVENTS, &evs));
		for (n = 0; n < evs.nr; n++) {
			if (ev[n].type == HSL_EV_PAGE_FAULT) {
				/* the first ones, in order */
				ASSERT_EQ(faults, ev[n].user_data);
				faults++;
			} else {
				ASSERT_EQ(HSL_EV_QUEUE_ERROR, ev[n].type);
				errors++;
			}
		}
		lost += evs.lost;
	} while (evs.nr);
	EXPECT_EQ(1, errors);
	EXPECT_GT(faults, 100);
	EXPECT_EQ(total, faults + lost + read_number(CLASS_DIR "/events_lost"));

	/* The neighbour has heard nothing of it. */
	evs.nr = ARRAY(ev);
	ASSERT_EQ(0, cmd(fd, HSL_EVENTS, &evs));
	EXPECT_EQ(0, evs.nr);
	EXPECT_EQ(0, evs.lost);
	close(fd);
}

/* To and fro, and each time the device finds the memory as it is now. */
TEST_F(uapi, bind_again)
{
	enum hsl_sva other = variant->sva == HSL_SVA_IOMMU ? HSL_SVA_HMM : HSL_SVA_IOMMU;
	struct hsl_bind b = { .size = sizeof(b) };
	char *mem = map_anon(4 * PAGE);
	struct hsl_desc d;
	struct raw q;
	int i;

	ASSERT_NE(NULL, mem);
	for (i = 0; i < 20; i++) {
		b.sva = i % 2 || provider_closed(NODE, other) ? variant->sva : other;
		ASSERT_EQ(0, cmd(self->fd, HSL_BIND, &b));
		ASSERT_EQ(0, raw_create(&q, self->fd, 8));
		memset(mem, i + 1, PAGE);
		madvise(mem + 2 * PAGE, PAGE, MADV_DONTNEED);
		d = desc_copy(mem + 2 * PAGE, mem, PAGE, i);
		ASSERT_EQ(HSL_ST_OK, raw_run(&q, &d));
		EXPECT_EQ(0, memcmp(mem, mem + 2 * PAGE, PAGE));
		ASSERT_EQ(0, raw_destroy(&q));
	}
}

static bool stop_signals;

static void *send_signals(void *arg)
{
	pthread_t target = *(pthread_t *)arg;

	/* With pauses, in which a restarted call comes to its end */
	while (!READ_ONCE(stop_signals)) {
		pthread_kill(target, SIGUSR1);
		usleep(2000);
	}
	return NULL;
}

static void ignore_signal(int sig)
{
}

/* A signal that has a handler ends no open() and no bind: EINTR is for those that kill. */
TEST_F_TIMEOUT(uapi, signals_while_opening, 60)
{
	struct sigaction sa = { .sa_handler = ignore_signal };
	struct hsl_bind b = { .size = sizeof(b), .sva = variant->sva };
	pthread_t main_thread = pthread_self(), thread;
	int fd, n;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	stop_signals = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_signals, &main_thread));
	for (n = 0; n < 100; n++) {
		fd = raw_open();
		ASSERT_GE(fd, 0) TH_LOG("%s", strerror(-fd));
		ASSERT_EQ(0, cmd(fd, HSL_BIND, &b));
		close(fd);
	}
	WRITE_ONCE(stop_signals, true);
	pthread_join(thread, NULL);
}

TEST_F(uapi, fdinfo)
{
	struct hsl_desc d = desc_nop(1);
	char path[64], text[2048], line[64];
	struct raw q;
	FILE *f;
	size_t n;

	ASSERT_EQ(0, raw_create(&q, self->fd, 8));
	ASSERT_EQ(HSL_ST_OK, raw_run(&q, &d));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	EXPECT_NE(NULL, strstr(text, "hsl-device:\thsl0\n"));
	EXPECT_NE(NULL, strstr(text, "hsl-state:\talive\n"));
	snprintf(line, sizeof(line), "hsl-sva:\t%s\n", provider_name(variant->sva));
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "hsl-sva-why:\t"));
	EXPECT_NE(NULL, strstr(text, "hsl-queues:\t1\n"));
	snprintf(line, sizeof(line), "hsl-ops:\t1\n");
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", text);
	/* Work of queues that are no more still counts. */
	ASSERT_EQ(0, raw_destroy(&q));
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	EXPECT_NE(NULL, strstr(text, "hsl-queues:\t0\n"));
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", text);
}

TEST_HARNESS_MAIN
