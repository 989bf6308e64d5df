// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory in plain PCIe memory mode: what a program maps of it, who else reaches
 * it, and what becomes of mappings when the context, the mode or the device ends.
 */
#include <limits.h>
#include <linux/io_uring.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "hsl_cgroup.h"
#include "hsl_pci.h"
#include "hsl_pcie.h"

#define LEN		(3 * MB + 5 * 4096)
#define LIMIT		"/sys/module/hsl/parameters/max_memory_per_user"
#define NOBODY		65534

FIXTURE(pcie) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	struct hsl_query info;
	unsigned char *mem;
	unsigned char *ref;
	char pci[64];
};

PROVIDER_VARIANTS(pcie);

FIXTURE_SETUP(pcie)
{
	void *mem;
	int err;

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	err = memory_mode(0, "pcie");
	SKIP_WITHOUT_PCIE(err);
	self->info.size = sizeof(self->info);
	ASSERT_EQ(0, hsl_query(self->ctx, &self->info));
	ASSERT_EQ(HSL_MEMORY_PCIE, self->info.mem_mode);
	EXPECT_EQ(self->info.mem_size, self->info.mem_free + mem_file("poisoned"));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_alloc(self->ctx, LEN, &mem));
	self->mem = mem;
	self->ref = map_anon(LEN);
	ASSERT_NE(NULL, self->ref);
	ASSERT_EQ(0, pci_name(0, self->pci, sizeof(self->pci)));
	oracle_on(dev_path(0));
	SEED();
}

FIXTURE_TEARDOWN(pcie)
{
	if (self->ctx) {
		uint64_t breaches = device_counter(self->ctx, HSL_CNT_ORACLE_BREACHES);

		EXPECT_TRUE(!breaches || breaches == ~0ull);
		hsl_close(self->ctx);
	}
	if (self->mem) {
		EXPECT_EQ(0, mem_file("used"));
		EXPECT_TRUE(memory_mode_back(0));
	}
}

static void *map_memory(struct hsl_ctx *ctx, size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, hsl_fd(ctx), HSL_MMAP_MEMORY);

	return mem == MAP_FAILED ? NULL : mem;
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* CPU and device see the same, and it is the device's own memory. */
TEST_F(pcie, cpu_and_device)
{
	uint64_t own = device_counter(self->ctx, HSL_CNT_OWN_BYTES);
	uint64_t host = device_counter(self->ctx, HSL_CNT_HOST_BYTES);
	uint32_t crc = 0;

	ASSERT_TRUE(all_zero(self->mem, LEN));
	ASSERT_EQ(0, hsl_fill(self->q, self->mem, 0x0123456789abcdef, LEN));
	for (size_t i = 0; i < LEN; i += 8)
		ASSERT_EQ(0x0123456789abcdef, *(uint64_t *)(self->mem + i));
	fill_random(self->mem, LEN);
	ASSERT_EQ(0, hsl_crc32c(self->q, self->mem, 200 * KB, &crc));
	EXPECT_EQ(crc32c_ref(0, self->mem, 200 * KB), crc);
	EXPECT_EQ(LEN + 200 * KB, device_counter(self->ctx, HSL_CNT_OWN_BYTES) - own);
	EXPECT_EQ(host, device_counter(self->ctx, HSL_CNT_HOST_BYTES));
}

/* The device is the first to touch it: its page faults bring it, with zeros. */
TEST_F(pcie, device_first)
{
	size_t differs;

	if (!(self->info.ops >> HSL_OP_COMPARE & 1))
		return;
	ASSERT_EQ(0, hsl_compare(self->q, self->mem, self->ref, LEN, &differs));
	EXPECT_EQ(LEN, differs);
}

TEST_F(pcie, operations)
{
	uint64_t *word = (uint64_t *)(self->mem + MB);
	struct hsl_cqe c;

	fill_random(self->ref, LEN);
	ASSERT_EQ(0, hsl_copy(self->q, self->mem, self->ref, LEN));
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));
	/* Over each other, as memmove() */
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem + 1000, self->mem, LEN - 1000));
	ASSERT_EQ(HSL_ST_OK, c.status);
	memmove(self->ref + 1000, self->ref, LEN - 1000);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));
	memset(self->ref, 0, LEN);
	ASSERT_EQ(0, hsl_copy(self->q, self->ref, self->mem, LEN));
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));

	*word = 5;
	hsl_prep_atomic_add(hsl_get_desc(self->q), word, 8, 7);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(5, c.result);
	EXPECT_EQ(12, *word);
	hsl_prep_atomic_cas(hsl_get_desc(self->q), word, 8, 12, 1);
	ASSERT_EQ(0, finish_one(self->q, &c));
	EXPECT_EQ(12, c.result);
	EXPECT_EQ(1, *word);
}

/* What the one before has left there is not to be seen, by CPU or device. */
TEST_F(pcie, zeroed_again)
{
	uint64_t len = self->info.mem_size / 2;
	unsigned char *mem;
	void *m;

	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, hsl_alloc(self->ctx, len, &m));
		mem = m;
		for (size_t i = 0; i < len; i += 4096)
			ASSERT_EQ(0, *(uint64_t *)(mem + i + i / 4096 % 512 * 8));
		ASSERT_EQ(0, hsl_fill(self->q, mem, 0x5a5a5a5a5a5a5a5a, len));
		ASSERT_EQ(0, hsl_free(self->ctx, m));
	}
	ASSERT_EQ(0, hsl_alloc(self->ctx, LEN, &m));
	ASSERT_EQ(0, hsl_copy(self->q, self->ref, m, LEN));
	EXPECT_TRUE(all_zero(self->ref, LEN));
}

/* All of it, and not a page more; what is given back can be had again. */
TEST_F(pcie, all_there_is)
{
	uint64_t all = self->info.mem_free;
	struct hsl_query info = { .size = sizeof(info) };
	uint64_t got = 0, n;
	void *mem[64], *more;
	int nr = 0;

	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(all - LEN, info.mem_free);
	EXPECT_EQ(LEN, mem_file("used"));
	EXPECT_EQ(LEN, mine(self->ctx));
	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, all, &more));
	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, all + 4096, &more));
	/* In one piece, unless pages that are lost lie between. */
	for (n = all; got < all && nr < (int)ARRAY(mem) && n >= 4096;) {
		if (n > all - got || hsl_alloc(self->ctx, n, &mem[nr])) {
			n = n / 2 & ~4095ull;
			continue;
		}
		((char *)mem[nr++])[n - 1] = 1;
		got += n;
	}
	EXPECT_EQ(all, got);
	if (!mem_file("poisoned"))
		EXPECT_EQ(1, nr);
	EXPECT_EQ(-ENOMEM, hsl_alloc(self->ctx, 4096, &more));
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(0, info.mem_free);
	while (nr--)
		ASSERT_EQ(0, hsl_free(self->ctx, mem[nr]));
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(all, info.mem_free);
	EXPECT_EQ(0, mine(self->ctx));
}

TEST_F(pcie, mmap_errors)
{
	int fd = hsl_fd(self->ctx);

	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, HSL_MMAP_MEMORY));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, HSL_MMAP_MEMORY));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, HSL_MMAP_MEMORY + 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->info.mem_size + 4096, PROT_READ, MAP_SHARED, fd, HSL_MMAP_MEMORY));
	EXPECT_EQ(ENOMEM, errno);
	/* Just below are doorbells, of which there is none that high. */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, HSL_MMAP_MEMORY - 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mprotect(self->mem, 4096, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->mem, LEN, LEN + 4096, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(LEN, mem_file("used"));
}

/* A mapping for reading only is that for the device, too. */
TEST_F(pcie, read_only)
{
	struct hsl_cqe c;

	memset(self->mem, 3, 8192);
	ASSERT_EQ(0, mprotect(self->mem, 4096, PROT_READ));
	ASSERT_EQ(0, do_copy(self->q, &c, self->ref, self->mem, 8192));
	EXPECT_EQ(HSL_ST_OK, c.status);
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, self->ref + MB, 4096));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(3, self->mem[0]);
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem + 4096, self->ref + MB, 4096));
	EXPECT_EQ(HSL_ST_OK, c.status);
	EXPECT_EQ(0, self->mem[4096]);
}

/* Cut in two, one part moved: the contents are where they were, and all of it is charged. */
TEST_F(pcie, cut_and_moved)
{
	size_t half = 2 * MB;
	unsigned char *to;
	uint32_t crc = 0;
	struct hsl_cqe c;

	fill_random(self->mem, LEN);
	memcpy(self->ref, self->mem, LEN);
	ASSERT_EQ(0, munmap(self->mem + MB, 4096));
	to = mremap(self->mem + half, LEN - half, LEN - half, MREMAP_MAYMOVE | MREMAP_FIXED,
		    map_anon(LEN));
	ASSERT_NE(MAP_FAILED, (void *)to);
	EXPECT_EQ(0, memcmp(to, self->ref + half, LEN - half));
	EXPECT_EQ(0, memcmp(self->mem, self->ref, MB));
	EXPECT_EQ(0, memcmp(self->mem + MB + 4096, self->ref + MB + 4096, half - MB - 4096));
	ASSERT_EQ(0, hsl_crc32c(self->q, to, 100 * KB, &crc));
	EXPECT_EQ(crc32c_ref(0, self->ref + half, 100 * KB), crc);
	ASSERT_EQ(0, do_copy(self->q, &c, self->ref, self->mem + MB, 4096));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	ASSERT_EQ(0, do_copy(self->q, &c, self->ref, self->mem + half, 4096));
	EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	EXPECT_EQ(LEN, mine(self->ctx));
	ASSERT_EQ(0, munmap(to, LEN - half));
	EXPECT_EQ(LEN, mine(self->ctx));
	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	EXPECT_EQ(0, mine(self->ctx));
}

static void child_looks(void *arg)
{
	FIXTURE_DATA(pcie) *self = arg;
	unsigned char vec;

	/* Not even mapped */
	if (!mincore(self->mem, 4096, &vec) || errno != ENOMEM)
		_exit(1);
	if (map_memory(self->ctx, 4096) || errno != EPERM)
		_exit(2);
}

/* The child has memory of its own where its parent has the device's. */
static unsigned char *child_maps(FIXTURE_DATA(pcie) *self)
{
	unsigned char *own = mmap(self->mem, LEN, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (own != self->mem)
		_exit(3);
	return memset(own, 5, LEN);
}

static void child_frees(void *arg)
{
	FIXTURE_DATA(pcie) *self = arg;
	unsigned char *own = child_maps(self);

	if (hsl_free(self->ctx, self->mem))
		_exit(4);
	if (own[0] != 5 || memcmp(own, own + 1, LEN - 1))
		_exit(5);
}

static void child_closes(void *arg)
{
	FIXTURE_DATA(pcie) *self = arg;
	unsigned char *own = child_maps(self);

	hsl_close(self->ctx);
	if (own[0] != 5 || memcmp(own, own + 1, LEN - 1))
		_exit(6);
}

TEST_F(pcie, fork)
{
	memset(self->mem, 7, LEN);
	EXPECT_EQ(0, touch_in_child(child_looks, self));
	EXPECT_EQ(0, touch_in_child(child_frees, self));
	EXPECT_EQ(0, touch_in_child(child_closes, self));
	EXPECT_EQ(7, self->mem[LEN - 1]);
	EXPECT_EQ(LEN, mine(self->ctx));
}

/* It stays where it is, and says so; advice that does not move works. */
TEST_F(pcie, does_not_move)
{
	struct hsl_migrate r = { .size = sizeof(r) };

	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, self->mem, LEN, HSL_WHERE_HOST, &r));
	EXPECT_EQ(LEN, r.other);
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, self->ref, 4096, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(-EOPNOTSUPP, hsl_advise(self->ctx, self->mem, LEN, HSL_ADVICE_PREFETCH, HSL_WHERE_HOST));
	EXPECT_EQ(-EOPNOTSUPP, hsl_advise(self->ctx, self->ref, 4096, HSL_ADVICE_PREFETCH, HSL_WHERE_DEVICE));
	EXPECT_EQ(0, hsl_advise(self->ctx, self->mem, LEN, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE));
	EXPECT_EQ(0, hsl_fill(self->q, self->mem, 1, LEN));
}

#define EXPECT_REFUSED(call) do {						\
	EXPECT_EQ(-1, call);							\
	EXPECT_TRUE(errno == EFAULT || errno == EREMOTEIO) TH_LOG("%s", strerror(errno)); \
} while (0)

/* What takes the pages does not get them; what copies does. */
TEST_F(pcie, system_calls)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = 4096 };
	struct io_uring_params par = { 0 };
	int p[2], ring;

	ASSERT_EQ(0, pipe(p));
	memset(self->mem, 5, 4096);
	EXPECT_REFUSED(vmsplice(p[1], &iov, 1, 0));
	ring = syscall(__NR_io_uring_setup, 4, &par);
	if (ring >= 0)
		EXPECT_REFUSED(syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	close(ring);
	ASSERT_EQ(4096, write(p[1], self->mem, 4096));
	ASSERT_EQ(4096, read(p[0], self->mem + 8192, 4096));
	ASSERT_EQ(0, hsl_copy(self->q, self->ref, self->mem + 8192, 4096));
	EXPECT_EQ(0, memcmp(self->ref, self->mem, 4096));
	EXPECT_EQ(5, self->ref[4095]);
	close(p[0]);
	close(p[1]);
}

static void over_limit(void *arg)
{
	enum hsl_sva sva = *(enum hsl_sva *)arg;
	struct hsl_ctx *ctx, *two;
	void *a, *b;

	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(1);
	if (open_on(dev_path(0), sva, &ctx) || open_on(dev_path(0), sva, &two))
		_exit(2);
	if (hsl_alloc(ctx, 6 * MB + 4096, &a) != -ENOMEM)
		_exit(3);
	if (hsl_alloc(ctx, 4 * MB, &a))
		_exit(4);
	/* All his files together */
	if (hsl_alloc(two, 3 * MB, &b) != -ENOMEM)
		_exit(5);
	if (hsl_alloc(two, 2 * MB, &b) || hsl_free(ctx, a) || hsl_alloc(two, 4 * MB, &a))
		_exit(6);
}

TEST_F(pcie, limit_per_user)
{
	enum hsl_sva sva = variant->sva;
	struct stat before;

	if (geteuid())
		SKIP(return, "changes the system: run as root");
	ASSERT_EQ(0, stat(dev_path(0), &before));
	ASSERT_EQ(0, chmod(dev_path(0), 0666));
	ASSERT_EQ(0, write_text(LIMIT, "6M"));
	EXPECT_EQ(0, touch_in_child(over_limit, &sva));
	EXPECT_EQ(0, write_text(LIMIT, "100%"));
	EXPECT_EQ(0, chmod(dev_path(0), before.st_mode & 0777));
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == (long long)LEN));
}

/* With 4 MiB in its cgroup */
static void within_cgroup(void *arg)
{
	enum hsl_sva sva = *(enum hsl_sva *)arg;
	struct hsl_ctx *ctx;
	unsigned char *map;
	void *a, *b;

	if (cgroup_enter())
		_exit(1);
	if (open_on(dev_path(0), sva, &ctx))
		_exit(2);
	if (hsl_alloc(ctx, 4 * MB + 4096, &a) != -ENOMEM || dmem_file("current"))
		_exit(3);
	map = map_memory(ctx, LEN);
	if (!map || dmem_file("current") != LEN)
		_exit(4);
	if (hsl_alloc(ctx, MB, &a) != -ENOMEM || map_memory(ctx, MB) || errno != ENOMEM ||
	    dmem_file("current") != LEN)
		_exit(5);
	if (hsl_alloc(ctx, 4 * MB - LEN, &a) || dmem_file("current") != 4 * (long long)MB)
		_exit(6);
	if (hsl_free(ctx, a) || dmem_file("current") != LEN)
		_exit(7);
	/* As long as a part of it is mapped, whoever has closed the file */
	memset(map, 1, LEN);
	if (munmap(map, MB) || dmem_file("current") != LEN)
		_exit(8);
	hsl_close(ctx);
	if (dmem_file("current") != LEN)
		_exit(9);
	if (munmap(map + MB, LEN - MB) || !dmem_comes_to(0))
		_exit(10);
	/* What closing gives back, and what the end of the process does */
	if (open_on(dev_path(0), sva, &ctx) || hsl_alloc(ctx, 4 * MB, &a))
		_exit(11);
	hsl_close(ctx);
	if (!dmem_comes_to(0))
		_exit(12);
	if (open_on(dev_path(0), sva, &ctx) || hsl_alloc(ctx, LEN, &b) || dmem_file("current") != LEN)
		_exit(13);
}

TEST_F_TIMEOUT(pcie, limit_of_a_cgroup, 60)
{
	enum hsl_sva sva = variant->sva;
	int err;

	if (geteuid())
		SKIP(return, "changes the system: run as root");
	err = cgroup_begin();
	SKIP_WITHOUT_CGROUP(err);
	EXPECT_EQ(0, dmem_limit("4M"));
	EXPECT_EQ(0, touch_in_child(within_cgroup, &sva));
	EXPECT_TRUE(dmem_comes_to(0));
	EXPECT_EQ(4 * (long long)MB, dmem_file("peak"));
	EXPECT_TRUE(cgroup_end());
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == (long long)LEN));
}

/* The file lives as long as what it has mapped, whoever has closed it. */
TEST_F(pcie, mapping_outlives_descriptor)
{
	struct hsl_ctx *ctx;
	unsigned char *mem;

	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx));
	mem = map_memory(ctx, MB);
	ASSERT_NE(NULL, mem);
	memset(mem, 9, MB);
	hsl_close(ctx);
	EXPECT_EQ(9, mem[MB - 1]);
	ASSERT_EQ(0, hsl_copy(self->q, self->mem, mem, MB));
	EXPECT_EQ(9, self->mem[MB - 1]);
	EXPECT_EQ(LEN + MB, mem_file("used"));
	ASSERT_EQ(0, munmap(mem, MB));
	EXPECT_EQ(LEN, mem_file("used"));
}

/* A mode that is in use is not changed; one that is not is, there and back. */
TEST_F_TIMEOUT(pcie, mode_change, 60)
{
	static const char *const modes[] = { "coherent", "off" };
	void *mem;

	for (unsigned int i = 0; i < ARRAY(modes); i++)
		EXPECT_EQ(-EBUSY, memory_mode(0, modes[i]));
	self->mem[0] = 1;
	ASSERT_EQ(0, hsl_fill(self->q, self->mem, 2, LEN));
	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	for (unsigned int i = 0; i < 2 * ARRAY(modes); i++) {
		const char *mode = modes[i % ARRAY(modes)];

		ASSERT_EQ(0, memory_mode(0, mode));
		EXPECT_EQ(NULL, map_memory(self->ctx, 4096));
		EXPECT_EQ(EOPNOTSUPP, errno);
		EXPECT_EQ(strcmp(mode, "off") ? 0 : -EOPNOTSUPP, hsl_alloc(self->ctx, MB, &mem));
		if (!strcmp(mode, "coherent"))
			EXPECT_EQ(0, hsl_free(self->ctx, mem));
		ASSERT_EQ(0, memory_mode(0, "pcie"));
		ASSERT_EQ(0, hsl_alloc(self->ctx, LEN, &mem));
		EXPECT_TRUE(all_zero(mem, LEN));
		ASSERT_EQ(0, hsl_free(self->ctx, mem));
	}
}

static void *own_pool(FIXTURE_DATA(pcie) *self, size_t len)
{
	void *mem = MAP_FAILED;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/p2pmem/allocate", self->pci);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return mem == MAP_FAILED ? NULL : mem;
}

/* What the PCI core gives out of the same pool is the device's own memory as well. */
TEST_F_TIMEOUT(pcie, pool_of_the_pci_core, 60)
{
	uint64_t own = device_counter(self->ctx, HSL_CNT_OWN_BYTES);
	char path[PATH_MAX];
	unsigned char *mem;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/p2pmem/published", self->pci);
	EXPECT_EQ(1, read_number(path));
	mem = own_pool(self, MB);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, hsl_fill(self->q, mem, 0x0808080808080808, MB));
	EXPECT_EQ(8, mem[MB - 1]);
	EXPECT_EQ(MB, device_counter(self->ctx, HSL_CNT_OWN_BYTES) - own);
	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	EXPECT_EQ(-EBUSY, memory_mode(0, "off"));
	ASSERT_EQ(0, munmap(mem, MB));
	EXPECT_EQ(0, memory_mode(0, "off"));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/p2pmem", self->pci);
	EXPECT_NE(0, access(path, F_OK));
}

struct busy {
	struct hsl_queue *q;
	void *mem;
	volatile bool stop;
	unsigned int done;
};

static void *keep_busy(void *arg)
{
	struct busy *b = arg;

	while (!b->stop && !hsl_fill(b->q, b->mem, 1, LEN))
		b->done++;
	return NULL;
}

/* The device ends under a mapping that it works on: SIGBUS, nobody waits, and it comes back. */
static void ends(struct __test_metadata *_metadata, FIXTURE_DATA(pcie) *self, enum hsl_sva sva,
		 int (*end)(const char *pci))
{
	struct busy b = { .q = self->q, .mem = self->mem };
	unsigned char *pool = end == pci_reset ? NULL : own_pool(self, MB);
	struct hsl_ctx *ctx = NULL;
	pthread_t thread;
	void *mem;

	if (pool)
		memset(pool, 1, MB);
	self->mem[LEN - 1] = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_busy, &b));
	ASSERT_TRUE(COMES_TRUE(b.done > 2));
	ASSERT_EQ(0, end(self->pci));
	pthread_join(thread, NULL);
	EXPECT_EQ(SIGBUS, touch_signal((char *)self->mem));
	EXPECT_EQ(SIGBUS, touch_signal((char *)self->mem + LEN - 1));
	if (pool) {
		EXPECT_EQ(SIGBUS, touch_signal((char *)pool));
		munmap(pool, MB);
	}
	EXPECT_EQ(NULL, map_memory(self->ctx, 4096));
	EXPECT_EQ(ENODEV, errno);

	/* While the old mapping is still there */
	ASSERT_TRUE(COMES_TRUE(!open_on(dev_path(0), sva, &ctx)));
	if (end != pci_reset)
		ASSERT_EQ(0, memory_mode(0, "pcie"));
	EXPECT_EQ(0, mem_file("used"));
	ASSERT_EQ(0, hsl_alloc(ctx, LEN, &mem));
	EXPECT_TRUE(all_zero(mem, LEN));
	EXPECT_EQ(SIGBUS, touch_signal((char *)self->mem));
	hsl_close(ctx);
	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
}

TEST_F_TIMEOUT(pcie, reset, 60)
{
	ends(_metadata, self, variant->sva, pci_reset);
}

TEST_F_TIMEOUT(pcie, unbind, 60)
{
	ends(_metadata, self, variant->sva, unbind_and_bind);
}

TEST_F_TIMEOUT(pcie, removal, 60)
{
	ends(_metadata, self, variant->sva, remove_and_rescan);
}

/* Processes that map, write and give back are killed: no page is lost, none is seen by two. */
TEST_F_TIMEOUT(pcie, killed, 120)
{
	for (int round = 0; round < 30; round++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			struct hsl_ctx *ctx;
			struct hsl_queue *q;
			void *mem;

			if (open_on(dev_path(0), variant->sva, &ctx) || hsl_queue_create(ctx, NULL, &q))
				_exit(1);
			for (;;) {
				if (hsl_alloc(ctx, LEN, &mem) || !all_zero(mem, LEN) ||
				    hsl_fill(q, mem, round + 1, LEN) || hsl_free(ctx, mem))
					_exit(2);
			}
		}
		ASSERT_LT(0, pid);
		usleep(3000 + rnd(30000));
		ASSERT_TRUE(all_zero(self->mem, LEN));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status))
			TH_LOG("the child ended by itself with %d", WEXITSTATUS(status));
	}
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == (long long)LEN));
}

/* The two devices, with one word of the memory */
static void both_add(struct __test_metadata *_metadata, FIXTURE_DATA(pcie) *self, struct hsl_queue *other)
{
	uint64_t *word = (uint64_t *)(self->mem + 4096);
	struct device_adder a[] = {
		{ .q = self->q, .word = word, .times = 500 },
		{ .q = other, .word = word, .times = 500 },
	};
	pthread_t thread[2];

	*word = 0;
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, device_adds, &a[i]));
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, a[i].err);
	}
	EXPECT_EQ(2 * 500 * 3, *word);
}

/* The other device reaches it as it does memory of mode coherent: by the ways that are open. */
TEST_F(pcie, peer)
{
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_queue *q;
	uint64_t before, after = 0;
	struct hsl_ctx *ctx;
	struct hsl_cqe c;

	static const enum hsl_counter ways[] = { HSL_CNT_LINK_BYTES, HSL_CNT_PCIE_BYTES, HSL_CNT_VIA_HOST_BYTES };

	if (!have_devices(2) || provider_closed(dev_path(1), variant->sva))
		return;
	ASSERT_EQ(0, open_on(dev_path(1), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_query(ctx, &info));
	ASSERT_EQ(0, hsl_queue_create(ctx, NULL, &q));
	fill_random(self->mem, MB);
	before = device_counter(ctx, HSL_CNT_HOST_BYTES);
	for (unsigned int i = 0; i < ARRAY(ways); i++)
		after -= device_counter(ctx, ways[i]);
	ASSERT_EQ(0, do_copy(q, &c, self->ref, self->mem, MB));
	if (variant->sva == HSL_SVA_HMM &&
	    !(info.hw_caps & self->info.hw_caps & HSL_CAP_LINK && info.fabric == self->info.fabric)) {
		/* Its tables cannot name it, and it does not move. */
		EXPECT_EQ(HSL_ST_PAGE_FAULT, c.status);
	} else {
		EXPECT_EQ(HSL_ST_OK, c.status);
		EXPECT_EQ(0, memcmp(self->ref, self->mem, MB));
		for (unsigned int i = 0; i < ARRAY(ways); i++)
			after += device_counter(ctx, ways[i]);
		EXPECT_EQ(MB, after);
		EXPECT_EQ(MB, device_counter(ctx, HSL_CNT_HOST_BYTES) - before);
		both_add(_metadata, self, q);
	}
	hsl_close(ctx);
}

TEST_HARNESS_MAIN
