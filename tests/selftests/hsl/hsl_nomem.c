// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation and every copy from or to the process that a command makes fails once,
 * the first, then the second and so on, until the command comes through: it gives ENOMEM or
 * EFAULT and has changed nothing, and the same command works afterwards. For a kernel with
 * fault injection; what leaks or goes wrong in the kernel its log tells.
 */
#include "hsl_raw.h"

#define MB		(1024 * 1024)
#define LEN		(2 * MB)
#define MOST		2000	/* allocations that no command makes */
#define FAULTS		"/sys/kernel/debug/"

FIXTURE(nomem) {
	int nth;		/* /proc/self/fail-nth */
	int fd;
	struct raw q;
	struct raw more;	/* memory of a second queue */
	char *mem;
	int opened;		/* what a command gave */
	int given;
	uint32_t handle;
	int grant;
	int buf;
	char *map;
	enum hsl_sva sva;
};

PROVIDER_VARIANTS(nomem);

/* So that allocations that may sleep fail too, and not one of them with a page of words */
static bool faults_ready(void)
{
	write_text(FAULTS "failslab/verbose", "0");
	write_text(FAULTS "fail_usercopy/verbose", "0");
	write_text(FAULTS "fail_page_alloc/verbose", "0");
	return !write_text(FAULTS "failslab/ignore-gfp-wait", "N");
}

FIXTURE_SETUP(nomem)
{
	self->fd = self->nth = -1;
	NEED_DEVICE();
	self->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->nth < 0 || !faults_ready())
		SKIP(return, "needs root, and a kernel with CONFIG_FAULT_INJECTION and CONFIG_FAILSLAB");
	self->sva = variant->sva;
	RAW_OPEN_DEVICE(variant->sva, &self->fd);
	ASSERT_EQ(0, raw_create(&self->q, self->fd, 8));
	ASSERT_EQ(0, raw_rings(&self->more, 8));
	self->mem = map_anon(LEN);
	ASSERT_NE(NULL, self->mem);
	self->opened = self->given = self->grant = self->buf = -1;
}

FIXTURE_TEARDOWN(nomem)
{
	struct hsl_desc nop = desc_nop(77);

	if (self->fd < 0)
		return;
	/* Whatever failed, the queue from before does its work. */
	EXPECT_EQ(HSL_ST_OK, raw_run(&self->q, &nop));
	close(self->fd);
}

static void nth_set(int fd, int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	/* To write 0 may be what fails. */
	while (pwrite(fd, text, len, 0) != len)
		;
}

/* Was there as many to fail? Then the count is 0 again. */
static bool nth_has_failed(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 && text[0] == '0';
}

typedef int (*call_fn)(FIXTURE_DATA(nomem) *self);

/* How often a command gave which error when something failed in it */
struct refused {
	int nomem, fault;
};

/*
 * @call gives an errno; @undo, if any, takes back what it did when it came through. Both have
 * been done before, so that memory and page tables that stay do not change what there is to fail.
 * There is something to fail in each, and the last time, with nothing left to fail, it comes through.
 */
static struct refused sweep(struct __test_metadata *_metadata, FIXTURE_DATA(nomem) *self, call_fn call,
			    call_fn undo)
{
	struct refused was = { 0 };
	bool failed = true;
	int n;
	int err = call(self);

	EXPECT_EQ(0, err) TH_LOG("%s", strerror(err));
	if (!err && undo)
		EXPECT_EQ(0, undo(self));
	for (n = 1; n < MOST; n++) {
		nth_set(self->nth, n);
		err = call(self);
		failed = nth_has_failed(self->nth);
		nth_set(self->nth, 0);
		if (!err && undo)
			EXPECT_EQ(0, undo(self));
		if (!failed)
			break;
		EXPECT_TRUE(!err || err == ENOMEM || err == EFAULT) TH_LOG("allocation %d: %s", n, strerror(err));
		was.nomem += err == ENOMEM;
		was.fault += err == EFAULT;
	}
	TH_LOG("%d to fail: %d ENOMEM, %d EFAULT", n - 1, was.nomem, was.fault);
	EXPECT_FALSE(failed);
	EXPECT_GT(n, 1);
	EXPECT_EQ(0, err) TH_LOG("%s", strerror(err));
	return was;
}

static int do_open(FIXTURE_DATA(nomem) *self)
{
	self->opened = open(NODE, O_RDWR | O_CLOEXEC);
	return self->opened < 0 ? errno : 0;
}

static int undo_open(FIXTURE_DATA(nomem) *self)
{
	return close(self->opened) ? errno : 0;
}

TEST_F(nomem, open)
{
	EXPECT_GT(sweep(_metadata, self, do_open, undo_open).nomem, 0);
}

static int do_queue(FIXTURE_DATA(nomem) *self)
{
	self->more.par.size = sizeof(self->more.par);
	return cmd(self->fd, HSL_QUEUE_CREATE, &self->more.par);
}

static int undo_queue(FIXTURE_DATA(nomem) *self)
{
	struct hsl_queue_destroy d = { .size = sizeof(d), .queue = self->more.par.queue };

	return cmd(self->fd, HSL_QUEUE_DESTROY, &d);
}

TEST_F(nomem, queue_create)
{
	EXPECT_GT(sweep(_metadata, self, do_queue, undo_queue).nomem, 0);
	/* No queue is left behind by those that failed. */
	ASSERT_EQ(0, do_queue(self));
	EXPECT_LE(self->more.par.queue, 1);
}

static int do_bind(FIXTURE_DATA(nomem) *self)
{
	struct hsl_bind b = { .size = sizeof(b), .sva = self->sva };

	return cmd(self->opened, HSL_BIND, &b);
}

TEST_F(nomem, bind)
{
	struct hsl_query before = { .size = sizeof(before) }, q = before;

	ASSERT_EQ(0, do_open(self));
	/* From the other one to this one, as often as it fails */
	ASSERT_EQ(0, cmd(self->opened, HSL_QUERY, &before));
	EXPECT_GT(sweep(_metadata, self, do_bind, NULL).nomem, 0);
	ASSERT_EQ(0, cmd(self->opened, HSL_QUERY, &q));
	EXPECT_EQ(variant->sva, q.sva);
	EXPECT_EQ(before.context, q.context);
	close(self->opened);
}

static int do_migrate(FIXTURE_DATA(nomem) *self)
{
	struct hsl_migrate m = {
		.size = sizeof(m), .addr = (uintptr_t)self->mem, .len = LEN, .where = HSL_WHERE_DEVICE,
	};

	return cmd(self->fd, HSL_MIGRATE, &m);
}

static int undo_migrate(FIXTURE_DATA(nomem) *self)
{
	return madvise(self->mem, LEN, MADV_DONTNEED) ? errno : 0;
}

/*
 * What it allocates itself it looks for in two places, and core mm does without what it lacks:
 * what is sure to be refused is the copy of the command.
 */
TEST_F(nomem, migrate)
{
	EXPECT_GT(sweep(_metadata, self, do_migrate, undo_migrate).fault, 0);
}

static int do_advise(FIXTURE_DATA(nomem) *self)
{
	struct hsl_advise a = {
		.size = sizeof(a), .addr = (uintptr_t)self->mem, .len = LEN,
		.advice = HSL_ADVICE_PREFETCH, .where = HSL_WHERE_DEVICE,
	};

	return cmd(self->fd, HSL_ADVISE, &a);
}

/* With page tables of the device they need memory; else it is a migration. */
TEST_F(nomem, advise)
{
	struct refused was = sweep(_metadata, self, do_advise, undo_migrate);

	EXPECT_GT(was.fault, 0);
	EXPECT_GE(was.nomem, variant->sva == HSL_SVA_HMM);
}

static int do_prefer(FIXTURE_DATA(nomem) *self)
{
	struct hsl_advise a = {
		.size = sizeof(a), .addr = (uintptr_t)self->mem, .len = LEN,
		.advice = HSL_ADVICE_PREFERRED, .where = HSL_WHERE_DEVICE,
	};

	return cmd(self->opened, HSL_ADVISE, &a);
}

/* What is to be remembered with HSL_SVA_HMM is large: as with a migration. */
TEST_F(nomem, prefer)
{
	self->opened = raw_open_on(variant->sva);
	ASSERT_GE(self->opened, 0);
	EXPECT_GT(sweep(_metadata, self, do_prefer, undo_migrate).fault, 0);
	close(self->opened);
}

static int do_grant(FIXTURE_DATA(nomem) *self)
{
	struct hsl_queue_grant g = { .size = sizeof(g), .queue = self->q.par.queue };
	int err = cmd(self->fd, HSL_QUEUE_GRANT, &g);

	self->given = g.fd;
	return err;
}

static int undo_given(FIXTURE_DATA(nomem) *self)
{
	return close(self->given) ? errno : 0;
}

TEST_F(nomem, queue_grant)
{
	EXPECT_GT(sweep(_metadata, self, do_grant, undo_given).nomem, 0);
}

static int do_signal(FIXTURE_DATA(nomem) *self)
{
	struct hsl_signal_add a = { .size = sizeof(a), .fd = self->grant };
	int err = cmd(self->fd, HSL_SIGNAL_ADD, &a);

	self->handle = a.handle;
	return err;
}

static int undo_signal(FIXTURE_DATA(nomem) *self)
{
	struct hsl_signal_del d = { .size = sizeof(d), .handle = self->handle };

	return cmd(self->fd, HSL_SIGNAL_DEL, &d);
}

TEST_F(nomem, signal_add)
{
	ASSERT_EQ(0, do_grant(self));
	self->grant = self->given;
	EXPECT_GT(sweep(_metadata, self, do_signal, undo_signal).nomem, 0);
	close(self->grant);
}

static int do_buf(FIXTURE_DATA(nomem) *self)
{
	struct hsl_buf_create c = { .size = sizeof(c), .len = LEN };
	int err = cmd(self->fd, HSL_BUF_CREATE, &c);

	self->given = c.fd;
	return err;
}

TEST_F(nomem, buf_create)
{
	EXPECT_GT(sweep(_metadata, self, do_buf, undo_given).nomem, 0);
}

static int do_share(FIXTURE_DATA(nomem) *self)
{
	struct hsl_buf_share s = { .size = sizeof(s), .fd = self->buf, .rights = HSL_BUF_READ };
	int err = cmd(self->fd, HSL_BUF_SHARE, &s);

	self->given = s.share;
	return err;
}

TEST_F(nomem, buf_share)
{
	ASSERT_EQ(0, do_buf(self));
	self->buf = self->given;
	EXPECT_GT(sweep(_metadata, self, do_share, undo_given).nomem, 0);
	close(self->buf);
}

TEST_HARNESS_MAIN
