// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory and the system: limits, and what becomes of pages in use when the
 * device goes, is reset, or its memory is to be used for something else.
 */
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "hsl_cgroup.h"
#include "hsl_memory.h"
#include "hsl_pci.h"

#define LIMIT		"/sys/module/hsl/parameters/max_memory_per_user"
#define NOBODY		65534

FIXTURE(system) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page;
	uint64_t total;
	char pci[64];
};

PROVIDER_VARIANTS(system);

FIXTURE_SETUP(system)
{
	struct hsl_query info = { .size = sizeof(info) };

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	if (info.mem_mode != HSL_MEMORY_COHERENT)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	if (geteuid())
		SKIP(return, "changes the system: run as root");
	EXPECT_EQ(info.mem_size, (uint64_t)mem_file("total"));
	EXPECT_EQ(info.mem_free, (uint64_t)mem_file("free"));
	EXPECT_EQ(-1, info.mem_node);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	self->page = page_size();
	self->total = info.mem_size;
	ASSERT_EQ(0, pci_name(0, self->pci, sizeof(self->pci)));
	SEED();
}

FIXTURE_TEARDOWN(system)
{
	if (self->ctx)
		hsl_close(self->ctx);
}

/* The device works for a new context, and its memory is all free. */
static void works_again(struct __test_metadata *_metadata, enum hsl_sva sva)
{
	struct hsl_ctx *ctx = NULL;
	void *mem;

	ASSERT_TRUE(COMES_TRUE(!access(dev_path(0), R_OK | W_OK) && !open_on(dev_path(0), sva, &ctx)));
	EXPECT_EQ(mem_file("total") - mem_file("poisoned"), mem_file("free"));
	ASSERT_EQ(0, hsl_alloc(ctx, MB, &mem));
	ASSERT_EQ(0, hsl_free(ctx, mem));
	hsl_close(ctx);
}

/* Pages go to the host, and the process notices nothing but the end of its file. */
TEST_F_TIMEOUT(system, unbind, 60)
{
	const size_t len = 9 * MB + 5 * self->page;
	char *ref = map_anon(len);
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, write_text(PCI_DRIVER "unbind", self->pci));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	memset(mem, 1, len);
	EXPECT_EQ(-ENODEV, hsl_migrate(self->ctx, mem, len, HSL_WHERE_HOST, NULL));
	ASSERT_EQ(0, write_text(PCI_DRIVER "bind", self->pci));
	EXPECT_EQ(1, ((char *)mem)[len - 1]);
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	works_again(_metadata, variant->sva);
}

struct unbind_arg {
	const char *pci;
	int err;
	bool done;
};

static void *unbind_thread(void *p)
{
	struct unbind_arg *a = p;

	a->err = write_text(PCI_DRIVER "unbind", a->pci);
	__atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
	return NULL;
}

#define WAITING	"pages of device memory that cannot be moved"

/* A page that a pipe holds is waited for, as the log says, and only for as long as it does. */
TEST_F_TIMEOUT(system, unbind_waits_for_a_pin, 60)
{
	struct unbind_arg a = { .pci = self->pci };
	struct iovec iov = { .iov_len = self->page };
	unsigned int said = log_count(WAITING);
	char *got = map_anon(self->page);
	pthread_t thread;
	void *mem;
	int p[2];

	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, hsl_alloc(self->ctx, 4 * self->page, &mem));
	memset(mem, 8, 4 * self->page);
	iov.iov_base = mem;
	ASSERT_EQ(self->page, vmsplice(p[1], &iov, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unbind_thread, &a));
	EXPECT_TRUE(COMES_TRUE(access(dev_path(0), F_OK)));
	EXPECT_TRUE(COMES_TRUE(log_count(WAITING) > said));
	EXPECT_FALSE(__atomic_load_n(&a.done, __ATOMIC_ACQUIRE));
	ASSERT_EQ(self->page, read(p[0], got, self->page));
	EXPECT_TRUE(COMES_TRUE(__atomic_load_n(&a.done, __ATOMIC_ACQUIRE)));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, a.err);
	EXPECT_EQ(8, got[0]);
	EXPECT_EQ(8, ((char *)mem)[4 * self->page - 1]);
	ASSERT_EQ(0, write_text(PCI_DRIVER "bind", self->pci));
	works_again(_metadata, variant->sva);
	close(p[0]);
	close(p[1]);
}

TEST_F_TIMEOUT(system, function_reset, 60)
{
	const size_t len = 5 * MB;
	char *ref = map_anon(len);
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, reset_function(self->pci));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(0, mem_file("used"));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	works_again(_metadata, variant->sva);
}

/* Who holds a page does not keep the device from being reset; all others are in host memory then. */
TEST_F_TIMEOUT(system, reset_gives_up_on_a_pin, 60)
{
	const size_t len = 3 * MB;
	char *ref = map_anon(len), *mem = map_anon(len);
	struct iovec iov = { .iov_base = mem, .iov_len = self->page };
	int p[2];

	ASSERT_EQ(0, pipe(p));
	/* Or what goes with the page is held as well. */
	ASSERT_EQ(0, madvise(mem, len, MADV_NOHUGEPAGE));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	ASSERT_EQ(self->page, vmsplice(p[1], &iov, 1, 0));
	ASSERT_EQ(0, reset_function(self->pci));
	EXPECT_EQ((long long)self->page, mem_file("used"));
	EXPECT_EQ(0, memcmp(mem + self->page, ref + self->page, len - self->page));
	ASSERT_EQ(self->page, read(p[0], ref, self->page));
	ASSERT_EQ(0, munmap(mem, len));
	close(p[0]);
	close(p[1]);
	works_again(_metadata, variant->sva);
}

/* Memory of a process outlives the file that placed it. */
TEST_F(system, close_leaves_memory)
{
	const size_t len = MB;
	char *ref = map_anon(len);
	void *mem;

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	hsl_close(self->ctx);
	EXPECT_EQ((long long)len, mem_file("used"));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	munmap(mem, len);
	EXPECT_EQ(0, mem_file("used"));
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &self->ctx));
}

TEST_F_TIMEOUT(system, modes, 60)
{
	const size_t len = 3 * MB;
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_migrate r = { .size = sizeof(r) };
	struct iovec iov = { .iov_len = self->page };
	char *ref = map_anon(len);
	void *mem, *none;
	int p[2];

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fill_random(mem, len);
	memcpy(ref, mem, len);

	EXPECT_EQ(-EINVAL, write_text(MEM_DIR "mode", "elsewhere"));
	/* Pinned: no change, after a while. */
	ASSERT_EQ(0, pipe(p));
	iov.iov_base = mem;
	ASSERT_EQ(self->page, vmsplice(p[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, write_text(MEM_DIR "mode", "off"));
	ASSERT_EQ(self->page, read(p[0], ref, self->page));
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));

	ASSERT_EQ(0, write_text(MEM_DIR "mode", "off"));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(HSL_MEMORY_OFF, info.mem_mode);
	EXPECT_EQ(0, info.mem_free);
	EXPECT_EQ(-EOPNOTSUPP, hsl_alloc(self->ctx, len, &none));
	EXPECT_EQ(-EOPNOTSUPP, hsl_buf_create(self->ctx, len));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, len, PROT_READ, MAP_SHARED, hsl_fd(self->ctx), HSL_MMAP_MEMORY));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(len, r.other);
	/* The device uses it where it is. */
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));

	ASSERT_EQ(0, write_text(MEM_DIR "mode", "coherent"));
	/* The kernel may still hold pages that it has just brought to the host. */
	ASSERT_TRUE(COMES_TRUE(!hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL)));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	ASSERT_EQ(0, hsl_free(self->ctx, mem));
	close(p[0]);
	close(p[1]);
}

/*
 * Limits
 */

struct limit_arg {
	enum hsl_sva sva;
	size_t limit;
};

/* As another user, without capabilities */
static void within_limit(void *p)
{
	struct limit_arg *a = p;
	struct hsl_migrate r = { .size = sizeof(r) };
	struct hsl_ctx *one, *two;
	void *mem, *more;
	char *big;

	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(1);
	if (open_on(dev_path(0), a->sva, &one) || open_on(dev_path(0), a->sva, &two))
		_exit(2);
	if (hsl_alloc(one, a->limit + MB, &mem) != -ENOMEM)
		_exit(3);
	if (hsl_alloc(one, a->limit, &mem))
		_exit(4);
	/* All files of the user together */
	if (hsl_alloc(two, page_size(), &more) != -ENOMEM)
		_exit(5);
	if (hsl_free(one, mem))
		_exit(6);
	big = map_anon(a->limit + MB);
	if (hsl_migrate(two, big, a->limit + MB, HSL_WHERE_DEVICE, &r) != -ENOMEM)
		_exit(7);
	if (r.moved != a->limit || r.nomem != MB || r.pinned || r.other)
		_exit(8);
	/* What goes to the host is no longer charged. */
	if (hsl_migrate(two, big, MB, HSL_WHERE_HOST, &r) || hsl_alloc(one, MB, &mem))
		_exit(9);
}

static void limit_holds(struct __test_metadata *_metadata, enum hsl_sva sva, const char *text, size_t limit)
{
	struct limit_arg a = { .sva = sva, .limit = limit };
	struct stat before;

	ASSERT_EQ(0, stat(dev_path(0), &before));
	ASSERT_EQ(0, chmod(dev_path(0), 0666));
	ASSERT_EQ(0, write_text(LIMIT, text));
	EXPECT_EQ(0, touch_in_child(within_limit, &a));
	EXPECT_EQ(0, write_text(LIMIT, "100%"));
	EXPECT_EQ(0, chmod(dev_path(0), before.st_mode & 0777));
}

TEST_F_TIMEOUT(system, limit_in_bytes, 60)
{
	void *mem;

	limit_holds(_metadata, variant->sva, "6M", 6 * MB);
	/* Root may. */
	ASSERT_EQ(0, write_text(LIMIT, "4096"));
	EXPECT_EQ(0, hsl_alloc(self->ctx, 8 * MB, &mem));
	EXPECT_EQ(0, hsl_free(self->ctx, mem));
	EXPECT_EQ(0, write_text(LIMIT, "100%"));
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

TEST_F_TIMEOUT(system, limit_in_percent, 60)
{
	limit_holds(_metadata, variant->sva, "25%", self->total / 4);
	EXPECT_EQ(-EINVAL, write_text(LIMIT, "101%"));
	EXPECT_EQ(-EINVAL, write_text(LIMIT, "many"));
	EXPECT_EQ(-EINVAL, write_text(LIMIT, "5M x"));
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

/* The device is full: whoever may have a page gets room for a page, of others. */
static void one_page_of_many(void *p)
{
	struct limit_arg *a = p;
	struct hsl_migrate r = { .size = sizeof(r) };
	struct hsl_ctx *ctx;
	int i;

	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(1);
	if (open_on(dev_path(0), a->sva, &ctx))
		_exit(2);
	for (i = 0; i < 3; i++) {
		char *mem = map_anon(8 * MB);

		if (hsl_migrate(ctx, mem, 8 * MB, HSL_WHERE_DEVICE, &r) != -ENOMEM)
			_exit(3);
		if (r.moved != a->limit || r.nomem != 8 * MB - a->limit)
			_exit(4);
		munmap(mem, 8 * MB);
	}
}

TEST_F_TIMEOUT(system, limit_comes_before_eviction, 60)
{
	struct limit_arg a = { .sva = variant->sva, .limit = self->page };
	long long evicted;
	struct stat before;
	void *mem;

	ASSERT_EQ(0, stat(dev_path(0), &before));
	ASSERT_EQ(0, chmod(dev_path(0), 0666));
	ASSERT_EQ(0, write_text(LIMIT, "4096"));
	ASSERT_EQ(0, hsl_alloc(self->ctx, mem_file("free"), &mem));
	evicted = mem_file("evicted");
	EXPECT_EQ(0, touch_in_child(one_page_of_many, &a));
	/* The rest of the block serves the second and the third. */
	EXPECT_EQ((long long)HUGE_PAGE, mem_file("evicted") - evicted);
	EXPECT_EQ(0, write_text(LIMIT, "100%"));
	EXPECT_EQ(0, chmod(dev_path(0), before.st_mode & 0777));
	EXPECT_EQ(0, hsl_free(self->ctx, mem));
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

static void within_cgroup(void *p)
{
	struct limit_arg *a = p;
	struct hsl_migrate r = { .size = sizeof(r) };
	struct hsl_ctx *ctx;
	char *mem;

	if (cgroup_enter())
		_exit(1);
	if (open_on(dev_path(0), a->sva, &ctx))
		_exit(2);
	mem = map_anon(a->limit + MB);
	if (hsl_migrate(ctx, mem, a->limit + MB, HSL_WHERE_DEVICE, &r) != -ENOMEM)
		_exit(3);
	if (r.moved != a->limit || r.nomem != MB)
		_exit(4);
	if (hsl_migrate(ctx, mem, a->limit, HSL_WHERE_HOST, &r))
		_exit(5);
	if (hsl_migrate(ctx, mem + MB, a->limit, HSL_WHERE_DEVICE, &r))
		_exit(6);
	munmap(mem, a->limit + MB);
	if (cgroup_leave())
		_exit(7);
	hsl_close(ctx);
}

/* The same as one_page_of_many(), with nothing that it may have */
static void none_within_cgroup(void *p)
{
	struct limit_arg *a = p;
	struct hsl_migrate r = { .size = sizeof(r) };
	struct hsl_ctx *ctx;
	char *mem;

	if (cgroup_enter())
		_exit(1);
	if (open_on(dev_path(0), a->sva, &ctx))
		_exit(2);
	mem = map_anon(8 * MB);
	if (hsl_migrate(ctx, mem, 8 * MB, HSL_WHERE_DEVICE, &r) != -ENOMEM || r.nomem != 8 * MB)
		_exit(3);
	if (cgroup_leave())
		_exit(4);
}

/* What the device's faults create is not charged to it: the driver answers them. */
static void preferred_within_cgroup(void *p)
{
	struct limit_arg *a = p;
	struct hsl_queue *q;
	struct hsl_ctx *ctx;
	char *mem = map_anon(MB);

	if (cgroup_enter())
		_exit(1);
	if (open_on(dev_path(0), a->sva, &ctx) || hsl_queue_create(ctx, NULL, &q))
		_exit(2);
	madvise(mem, MB, MADV_NOHUGEPAGE);
	if (hsl_advise(ctx, mem, MB, HSL_ADVICE_PREFERRED, HSL_WHERE_DEVICE) || hsl_fill(q, mem, 1, MB))
		_exit(3);
	if (mine(ctx) != (long long)MB || dmem_file("current") > 0)
		_exit(4);
	if (cgroup_leave())
		_exit(5);
}

TEST_F_TIMEOUT(system, limit_of_a_cgroup, 60)
{
	struct limit_arg a = { .sva = variant->sva, .limit = 4 * MB };
	long long evicted;
	void *mem;
	int err;

	err = cgroup_begin();
	SKIP_WITHOUT_CGROUP(err);
	EXPECT_EQ(0, dmem_limit("4M"));
	EXPECT_EQ(0, touch_in_child(within_cgroup, &a));
	EXPECT_TRUE(dmem_comes_to(0));
	EXPECT_EQ(4 * (long long)MB, dmem_file("peak"));

	EXPECT_EQ(0, dmem_limit("0"));
	ASSERT_EQ(0, hsl_alloc(self->ctx, mem_file("free"), &mem));
	evicted = mem_file("evicted");
	EXPECT_EQ(0, touch_in_child(none_within_cgroup, &a));
	EXPECT_EQ(evicted, mem_file("evicted"));
	EXPECT_EQ(0, hsl_free(self->ctx, mem));
	if (variant->sva == HSL_SVA_HMM)
		EXPECT_EQ(0, touch_in_child(preferred_within_cgroup, &a));
	EXPECT_TRUE(cgroup_end());
	EXPECT_EQ(0, mem_file("used"));
}

TEST_HARNESS_MAIN
