// SPDX-License-Identifier: GPL-2.0
/*
 * Storage straight into device memory and out of it: what an NVMe disk reads lands
 * there, what it writes it fetches there, and host memory is not touched. Wants an empty disk (scripts/vm --nvme SIZE).
 */
#include <linux/userfaultfd.h>
#include <pthread.h>

#include "hsl_disk.h"
#include "hsl_memory.h"

#define FILE_LEN	(6 * MB + 1234)

/* What the file has, by its seed; made once */
static const unsigned char *contents(uint64_t seed)
{
	static unsigned char *data;
	static uint64_t of;
	uint64_t keep = test_seed;

	if (data && of == seed)
		return data;
	free(data);
	data = malloc(FILE_LEN);
	of = test_seed = seed;
	fill_random(data, FILE_LEN);
	test_seed = keep;
	return data;
}

static bool same(const unsigned char *mem, uint64_t seed, size_t at, size_t len)
{
	return !memcmp(mem, contents(seed) + at, len);
}

/* A file on ext4 on that disk, of random data of a seed of its own */
static int make_file(const char *disk, const char *dir, uint64_t seed)
{
	char cmd[256];
	int fd, ret = -1;

	snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q -F %s >/dev/null 2>&1 && mount -t ext4 %s %s", disk, disk, dir);
	if (system(cmd))
		return -1;
	snprintf(cmd, sizeof(cmd), "%s/file", dir);
	fd = open(cmd, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && write(fd, contents(seed), FILE_LEN) == FILE_LEN && !fsync(fd))
		ret = fd;
	return ret;
}

/* Is every mapping for DMA looked at? */
static bool dma_check(void)
{
	char word = 'Y';
	int fd = open("/sys/kernel/debug/dma-api/disabled", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, &word, 1) != 1)
		word = 'Y';
	close(fd);
	return word == 'N';
}

FIXTURE(file) {
	struct disk disk;
	char dir[32];
	int fd;
	uint64_t seed;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	unsigned char *mem;
};

PROVIDER_VARIANTS(file);

FIXTURE_SETUP(file)
{
	struct hsl_query info = { .size = sizeof(info) };
	void *mem;

	self->fd = -1;
	SKIP_WITHOUT_DEVICES(1);
	if (!find_disk(&self->disk))
		SKIP(return, "no NVMe disk with the serial number \"disk\"");
	if (dma_check())
		SKIP(return, "CONFIG_DMA_API_DEBUG refuses to map device memory; boot with dma_debug=off");
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	if (info.mem_mode != HSL_MEMORY_COHERENT)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_alloc(self->ctx, FILE_LEN + MB, &mem));
	self->mem = mem;
	SEED();
	strcpy(self->dir, "/tmp/hsl-file-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	self->seed = rnd64() | 1;
	self->fd = make_file(self->disk.path, self->dir, self->seed);
	ASSERT_LE(0, self->fd);
	drop_caches();
}

FIXTURE_TEARDOWN(file)
{
	if (self->fd >= 0)
		close(self->fd);
	if (self->dir[0]) {
		umount(self->dir);
		rmdir(self->dir);
	}
	if (self->ctx)
		hsl_close(self->ctx);
}

/* What changes when device memory moves, or what is read or written goes through host memory */
struct before {
	long long mine, out, in;
	struct traces host;
};

/* @len bytes of the file, in whole pages */
static struct before look(FIXTURE_DATA(file) *self, int fd, size_t len)
{
	return (struct before) {
		.mine = mine(self->ctx),
		.out = mem_file("moved_out"),
		.in = mem_file("moved_in"),
		.host = traces(&self->disk, fd, len / 4096),
	};
}

static void expect_untouched(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, int fd, size_t len,
			     const struct before *t)
{
	struct before now = look(self, fd, len);

	EXPECT_EQ(t->mine, now.mine);
	EXPECT_EQ(t->out, now.out);
	EXPECT_EQ(t->in, now.in);
	EXPECT_STREQ("", through_host(&t->host, &now.host, len / 4096));
	TH_LOG("%zu pages: %lld more cached, %lld allocated, %lld bytes read, %lld written", len / 4096,
	       now.host.cache - t->host.cache, now.host.allocated - t->host.allocated,
	       now.host.read - t->host.read, now.host.written - t->host.written);
}

/* The disk was read once, but for what a file system wants to know. */
static void expect_read(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, long long len,
			const struct before *t)
{
	long long more = disk_bytes(&self->disk) - t->host.read - len;

	EXPECT_LE(0, more);
	EXPECT_GT(len / 8, more);
}

/* All of it: direct but for the last part of a block, and nothing moves. */
TEST_F_TIMEOUT(file, direct, 60)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	struct before t = look(self, self->fd, FILE_LEN);
	uint32_t crc = 0;

	ASSERT_LE((long long)FILE_LEN, t.mine);
	ASSERT_EQ(FILE_LEN, hsl_file_read(self->fd, 0, self->mem, FILE_LEN, &io));
	EXPECT_EQ(FILE_LEN, io.direct + io.bounced);
	EXPECT_GT(4096, io.bounced);
	EXPECT_EQ(HSL_FILE_UNALIGNED, io.why);
	/* Where it was, and no page cache on the way */
	expect_untouched(_metadata, self, self->fd, FILE_LEN, &t);
	expect_read(_metadata, self, FILE_LEN, &t);
	EXPECT_TRUE(same(self->mem, self->seed, 0, FILE_LEN));
	/* The device sees what the disk has written. */
	ASSERT_EQ(0, hsl_crc32c(self->q, self->mem, 100 * KB, &crc));
	EXPECT_EQ(crc32c_ref(0, contents(self->seed), 100 * KB), crc);
}

/* What is looked at above is no good if it does not see this: by the page cache */
TEST_F_TIMEOUT(file, bounce_shows, 60)
{
	struct before t = look(self, self->fd, FILE_LEN), now;
	size_t n = 0;
	ssize_t r;

	while (n < FILE_LEN && (r = pread(self->fd, self->mem + n, FILE_LEN - n, n)) > 0)
		n += r;
	ASSERT_EQ(FILE_LEN, n);
	now = look(self, self->fd, FILE_LEN);
	EXPECT_STREQ("the file is in the page cache", through_host(&t.host, &now.host, FILE_LEN / 4096));
	/* Nor if what the page cache has had before is not seen either */
	now.host.file = t.host.file;
	EXPECT_STREQ("the page cache has grown", through_host(&t.host, &now.host, FILE_LEN / 4096));
}

/* So would a bounce by a program, or a library, in memory of its own, both ways. */
TEST_F_TIMEOUT(file, own_bounce_shows, 60)
{
	const size_t len = 6 * MB;
	char path[64], *buf;
	struct before t, now;
	int fd;

	snprintf(path, sizeof(path), "%s/file", self->dir);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (int write = 0; write < 2; write++) {
		t = look(self, fd, len);
		buf = map_anon(len);
		ASSERT_NE(NULL, buf);
		if (write) {
			memcpy(buf, self->mem, len);
			ASSERT_EQ((ssize_t)len, pwrite(fd, buf, len, 0));
		} else {
			ASSERT_EQ((ssize_t)len, pread(fd, buf, len, 0));
			memcpy(self->mem, buf, len);
		}
		now = look(self, fd, len);
		EXPECT_STREQ("memory was allocated", through_host(&t.host, &now.host, len / 4096));
		munmap(buf, len);
	}
	EXPECT_TRUE(same(self->mem, self->seed, 0, len));
	close(fd);
}

/* Whole blocks only: no byte of it through the host */
TEST_F(file, whole_blocks)
{
	struct hsl_file_io io = { .size = sizeof(io) };

	ASSERT_EQ(4 * MB, hsl_file_read(self->fd, 1 * MB, self->mem, 4 * MB, &io));
	EXPECT_EQ(4 * MB, io.direct);
	EXPECT_EQ(0, io.bounced);
	EXPECT_EQ(HSL_FILE_DIRECT, io.why);
	EXPECT_TRUE(same(self->mem, self->seed, 1 * MB, 4 * MB));
}

/* Any offset, address and length gives the right bytes, and says what it did. */
TEST_F_TIMEOUT(file, unaligned, 120)
{
	for (int i = 0; i < 60; i++) {
		struct hsl_file_io io = { .size = sizeof(io) };
		size_t at = rnd(FILE_LEN), len = rnd(3 * MB) + 1, skew = i % 3 ? rnd(8192) : at % 4096;
		ssize_t want = len < FILE_LEN - at ? len : FILE_LEN - at;

		memset(self->mem, 0, 3 * MB + 8192 + 1);
		ASSERT_EQ(want, hsl_file_read(self->fd, at, self->mem + skew, len, &io));
		ASSERT_EQ(want, (ssize_t)(io.direct + io.bounced));
		ASSERT_TRUE(same(self->mem + skew, self->seed, at, want));
		ASSERT_EQ(0, self->mem[skew + want]);
		if (io.bounced)
			EXPECT_EQ(HSL_FILE_UNALIGNED, io.why);
	}
}

/* The disk itself, and a file system without direct I/O */
TEST_F(file, others)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	int fd;

	fd = open(self->disk.path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1 * MB, hsl_file_read(fd, 0, self->mem, 1 * MB, &io));
	EXPECT_EQ(0, io.bounced);
	close(fd);

	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_LT(0, hsl_file_read(fd, 0, self->mem, 4096, &io));
	EXPECT_EQ(0, io.direct);
	EXPECT_TRUE(io.why == HSL_FILE_NO_DIRECT || io.why == HSL_FILE_REOPEN)
		TH_LOG("%s", hsl_strfile(io.why));
	close(fd);
}

struct direct_read {
	int fd;
	void *to;
	size_t len;
	ssize_t got;
};

static void *read_directly(void *arg)
{
	struct direct_read *r = arg;

	r->got = pread(r->fd, r->to, r->len, 0);
	return NULL;
}

/*
 * While a disk has pages for its DMA they stay where they are, on the device or not,
 * and nobody waits for it. The last page is one that is yet to come: the kernel holds
 * those before it until then.
 */
TEST_F_TIMEOUT(file, pinned_by_direct_io, 60)
{
	const size_t page = page_size(), len = 64 * page, held = len - page;
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct direct_read r = { .len = len };
	char path[64], *zero = map_anon(page);
	int uffd;

	ASSERT_NE(NULL, zero);
	snprintf(path, sizeof(path), "%s/file", self->dir);
	r.fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, r.fd);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));

	for (int at = 0; at < 2; at++) {
		uint32_t here = at ? HSL_WHERE_DEVICE : HSL_WHERE_HOST, there = at ? HSL_WHERE_HOST : HSL_WHERE_DEVICE;
		struct hsl_migrate m = { .size = sizeof(m) };
		struct uffdio_copy copy = { .src = (uintptr_t)zero, .len = page };
		struct uffd_msg msg;
		pthread_t thread;

		r.to = map_anon(len);
		ASSERT_NE(NULL, r.to);
		memset(r.to, 0x77, held);
		ASSERT_EQ(0, hsl_migrate(self->ctx, r.to, held, here, &m));
		reg.range.start = copy.dst = (uintptr_t)r.to + held;
		reg.range.len = page;
		ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
		ASSERT_EQ(0, pthread_create(&thread, NULL, read_directly, &r));
		ASSERT_TRUE(readable(uffd, BOUND_MS));
		ASSERT_EQ((ssize_t)sizeof(msg), read(uffd, &msg, sizeof(msg)));
		ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
		EXPECT_EQ(copy.dst, msg.arg.pagefault.address & -page);

		EXPECT_EQ(-EBUSY, hsl_migrate(self->ctx, r.to, held, there, &m));
		EXPECT_EQ(held, m.pinned);
		EXPECT_EQ(0, m.moved);

		ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ((ssize_t)len, r.got);
		EXPECT_TRUE(same(r.to, self->seed, 0, len));
		ASSERT_EQ(0, hsl_migrate(self->ctx, r.to, held, there, &m));
		EXPECT_TRUE(same(r.to, self->seed, 0, len));
		ASSERT_EQ(0, munmap(r.to, len));
	}
	close(uffd);
	close(r.fd);
}

static void unmount(FIXTURE_DATA(file) *self)
{
	close(self->fd);
	self->fd = -1;
	umount(self->dir);
	rmdir(self->dir);
	self->dir[0] = '\0';
}

/* @fd is open for direct I/O. @got: the same once more, by way of host memory alone */
static void write_there(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, int fd, unsigned char *model,
			unsigned char *got, size_t len)
{
	struct before t;
	struct hsl_cqe c;

	/* By the device, so that no CPU has any of it in its cache; the rest differs from what is on the disk. */
	fill_random(model, len);
	ASSERT_EQ(0, do_copy(self->q, &c, self->mem, model, len));
	ASSERT_EQ(HSL_ST_OK, c.status);
	memset(got, 0, len);
	t = look(self, fd, len);
	ASSERT_LE((long long)len, t.mine);
	ASSERT_EQ((ssize_t)len, pwrite(fd, self->mem, len, 0));
	expect_untouched(_metadata, self, fd, len, &t);
	EXPECT_LE((long long)len, disk_written(&self->disk) - t.host.written);
	ASSERT_EQ((ssize_t)len, pread(fd, got, len, 0));
	EXPECT_EQ(0, memcmp(model, got, len));
	EXPECT_EQ(0, memcmp(model, self->mem, len));
}

/* The other way, to a file and to the disk itself: it is there, and nothing moves. */
TEST_F_TIMEOUT(file, write, 60)
{
	unsigned char *model = map_anon(FILE_LEN), *got = map_anon(FILE_LEN);
	char path[64];
	int fd;

	ASSERT_NE(NULL, model);
	ASSERT_NE(NULL, got);
	snprintf(path, sizeof(path), "%s/file", self->dir);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	write_there(_metadata, self, fd, model, got, 6 * MB);
	/* The file's end is as it was. */
	EXPECT_EQ(FILE_LEN, lseek(fd, 0, SEEK_END));
	close(fd);
	unmount(self);

	fd = open(self->disk.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	write_there(_metadata, self, fd, model, got, 6 * MB);
	close(fd);
	EXPECT_EQ(0, disk_contents(&self->disk, got, 6 * MB, 0));
	EXPECT_EQ(0, memcmp(model, got, 6 * MB));
}

/* As much as there is, and where disk and device have it no less than 1 GiB, in one call */
TEST_F_TIMEOUT(file, one_call, 240)
{
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_file_io io = { .size = sizeof(io) };
	const uint64_t step = 32 * MB;
	uint64_t len = GB;
	uint32_t want = 0, crc = 0;
	unsigned char *buf = map_anon(step);
	struct before t;
	long long size;
	void *mem;
	int fd;

	unmount(self);
	ASSERT_NE(NULL, buf);
	fd = open(self->disk.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	size = lseek(fd, 0, SEEK_END);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	while (len > info.mem_free || len > (uint64_t)size)
		len /= 2;
	ASSERT_LE(64 * MB, len);
	/* Memory that somebody has lost does not count. */
	if (info.mem_size > GB && size >= (long long)GB)
		ASSERT_EQ(GB, len);
	/* The same everywhere but for a word in each block */
	fill_random(buf, step);
	for (uint64_t at = 0; at < len; at += step) {
		for (uint64_t i = 0; i < step; i += 4096)
			*(uint64_t *)(buf + i) = self->seed ^ (at + i);
		ASSERT_EQ((ssize_t)step, pwrite(fd, buf, step, at));
		ASSERT_EQ(0, hsl_crc32c(self->q, buf, step, &want));
	}
	close(fd);

	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &mem));
	fd = open(self->disk.path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	drop_caches();
	t = look(self, fd, len);
	ASSERT_LE((long long)len, t.mine);
	ASSERT_EQ((ssize_t)len, hsl_file_read(fd, 0, mem, len, &io));
	EXPECT_EQ(len, io.direct);
	EXPECT_EQ(0, io.bounced);
	expect_untouched(_metadata, self, fd, len, &t);
	expect_read(_metadata, self, len, &t);
	ASSERT_EQ(0, hsl_crc32c(self->q, mem, len, &crc));
	EXPECT_EQ(want, crc);
	for (uint64_t i = 0; i < len; i += 4096)
		ASSERT_EQ(self->seed ^ i, *(uint64_t *)((char *)mem + i));
	TH_LOG("%llu MiB", (unsigned long long)len >> 20);
	close(fd);
}

TEST_F(file, errors)
{
	struct hsl_file_io io = { .size = sizeof(io) };

	EXPECT_EQ(-EBADF, hsl_file_read(-1, 0, self->mem, 4096, NULL));
	EXPECT_EQ(-EINVAL, hsl_file_read(self->fd, 1ull << 63, self->mem, 4096, NULL));
	EXPECT_EQ(0, hsl_file_read(self->fd, FILE_LEN, self->mem, 4096, &io));
	EXPECT_EQ(-EFAULT, hsl_file_read(self->fd, 0, (void *)4096, 4096, &io));
	io.size = 4;
	EXPECT_EQ(-EINVAL, hsl_file_read(self->fd, 0, self->mem, 4096, &io));
	io.size = sizeof(io);
	io.flags = 1;
	EXPECT_EQ(-EOPNOTSUPP, hsl_file_read(self->fd, 0, self->mem, 4096, &io));
}

TEST_HARNESS_MAIN
