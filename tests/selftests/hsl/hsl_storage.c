// SPDX-License-Identifier: GPL-2.0
/*
 * A disk and a device in plain PCIe memory mode. Below one switch, and with no IOMMU that
 * translates in between, the disk writes the device's memory by itself and reads it by
 * itself; that host memory takes no part is shown by counters, which another test shows
 * to move when it does. Anywhere else the library has to notice, and to say so.
 * Wants an empty disk (scripts/vm --nvme SIZE).
 */
#include <limits.h>
#include <sys/stat.h>

#include "hsl_disk.h"
#include "hsl_pcie.h"

#define LEN	(32 * MB)

FIXTURE(storage) {
	struct disk disk;
	bool direct;		/* the disk reaches the device */
	int fd;			/* the disk */
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint64_t total, free;
	unsigned char *mem;
	unsigned char *ref;	/* what the disk has */
};

PROVIDER_VARIANTS(storage);

/* The upstream port of the switch that it is below, or "" */
static void switch_of(const char *link, char *name, size_t len)
{
	char path[PATH_MAX], *p, *root;

	name[0] = '\0';
	if (!realpath(link, path))
		return;
	/* …/pci0000:00/root port/upstream port/downstream port/function */
	p = strstr(path, "/pci0000:00/");
	root = p ? strchr(p + 1, '/') : NULL;
	p = root ? strchr(root + 1, '/') : NULL;
	if (p && strchr(p + 1, '/') && strchr(strchr(p + 1, '/') + 1, ':'))
		snprintf(name, len, "%.12s", p + 1);
}

static bool translated(const char *link)
{
	char path[128], type[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/iommu_group/type", link);
	f = fopen(path, "r");
	if (f && !fgets(type, sizeof(type), f))
		type[0] = '\0';
	if (f)
		fclose(f);
	return !strncmp(type, "DMA", 3);
}

/* By what the machine is, not by what the library finds */
static bool reaches(const struct disk *d)
{
	char link[64], of_disk[32], of_device[32];

	snprintf(link, sizeof(link), "/sys/block/%s/device/device", d->name);
	switch_of(link, of_disk, sizeof(of_disk));
	switch_of("/sys/class/hsl/hsl0/device", of_device, sizeof(of_device));
	return *of_disk && !strcmp(of_disk, of_device) && !translated(link);
}

FIXTURE_SETUP(storage)
{
	struct hsl_query info = { .size = sizeof(info) };
	void *mem;
	int err;

	self->fd = -1;
	SKIP_WITHOUT_DEVICES(1);
	if (!find_disk(&self->disk))
		SKIP(return, "no NVMe disk with the serial number \"disk\"");
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	err = memory_mode(0, "pcie");
	SKIP_WITHOUT_PCIE(err);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	ASSERT_EQ(HSL_MEMORY_PCIE, info.mem_mode);
	self->total = info.mem_size;
	self->free = info.mem_free;
	self->direct = reaches(&self->disk);
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	ASSERT_EQ(0, hsl_alloc(self->ctx, LEN + MB, &mem));
	self->mem = mem;
	self->ref = map_anon(LEN);
	ASSERT_NE(NULL, self->ref);
	SEED();
	fill_random(self->ref, LEN);
	self->fd = open(self->disk.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(LEN, pwrite(self->fd, self->ref, LEN, 0));
	ASSERT_EQ(0, fsync(self->fd));
	drop_caches();
}

FIXTURE_TEARDOWN(storage)
{
	if (self->fd >= 0)
		close(self->fd);
	if (self->ctx)
		hsl_close(self->ctx);
	if (self->mem)
		EXPECT_TRUE(memory_mode_back(0));
}

static struct traces look(FIXTURE_DATA(storage) *self, int fd, long long pages)
{
	return traces(&self->disk, fd, pages);
}

/* None of @pages went through host memory, or all of them did. */
static void expect_traces(struct __test_metadata *_metadata, FIXTURE_DATA(storage) *self, int fd,
			  struct traces t, long long pages, bool direct)
{
	struct traces now = look(self, fd, pages);

	TH_LOG("%lld pages: %lld of the file and %lld more in all cached, %lld allocated, %lld bytes read", pages,
	       now.file, now.cache - t.cache, now.allocated - t.allocated, now.read - t.read);
	EXPECT_LE(pages * 4096, now.read - t.read);
	if (direct) {
		/* The block that proves the way is read twice more. */
		EXPECT_GE(pages * 4096 + 2 * 4096, now.read - t.read);
		EXPECT_STREQ("", through_host(&t, &now, pages));
	} else {
		EXPECT_LE(pages, now.file);
		EXPECT_LE(pages, now.allocated - t.allocated);
		EXPECT_STRNE("", through_host(&t, &now, pages));
	}
}

static void expect_io(struct __test_metadata *_metadata, FIXTURE_DATA(storage) *self,
		      const struct hsl_file_io *io, uint64_t len)
{
	EXPECT_EQ(self->direct ? len : 0, io->direct);
	EXPECT_EQ(self->direct ? 0 : len, io->bounced);
	EXPECT_EQ(self->direct ? HSL_FILE_DIRECT : HSL_FILE_NO_PATH, io->why)
		TH_LOG("%s", hsl_strfile(io->why));
}

/* The disk itself, in one call. */
TEST_F_TIMEOUT(storage, whole_blocks, 60)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	uint64_t own = device_counter(self->ctx, HSL_CNT_OWN_BYTES);
	struct traces t = look(self, self->fd, LEN / 4096);
	uint32_t crc = 0;

	ASSERT_EQ(LEN, hsl_file_read(self->fd, 0, self->mem, LEN, &io));
	expect_io(_metadata, self, &io, LEN);
	expect_traces(_metadata, self, self->fd, t, LEN / 4096, self->direct);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));
	/* The device has it, in its own memory. */
	ASSERT_EQ(0, hsl_crc32c(self->q, self->mem + MB, MB, &crc));
	EXPECT_EQ(crc32c_ref(0, self->ref + MB, MB), crc);
	EXPECT_EQ(MB, device_counter(self->ctx, HSL_CNT_OWN_BYTES) - own);
}

/* The counters above are no good if they do not see this. */
TEST_F_TIMEOUT(storage, bounce_shows, 60)
{
	struct traces t = look(self, self->fd, LEN / 4096);
	size_t n = 0;
	ssize_t r;

	while (n < LEN && (r = pread(self->fd, self->mem + n, LEN - n, n)) > 0)
		n += r;
	ASSERT_EQ(LEN, n);
	expect_traces(_metadata, self, self->fd, t, LEN / 4096, false);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));
}

/* So would a bounce by a program, or a library, in memory of its own. */
TEST_F_TIMEOUT(storage, own_bounce_shows, 60)
{
	int fd = open(self->disk.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	struct traces t = look(self, self->fd, LEN / 4096), now;
	char *buf = map_anon(LEN);

	ASSERT_LE(0, fd);
	ASSERT_EQ(LEN, pread(fd, buf, LEN, 0));
	memcpy(self->mem, buf, LEN);
	now = look(self, self->fd, LEN / 4096);
	EXPECT_STREQ("memory was allocated", through_host(&t, &now, LEN / 4096));
	munmap(buf, LEN);
	close(fd);
}

/* A file on ext4, and the image that it is in */
TEST_F_TIMEOUT(storage, file_system, 120)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	char dir[] = "/tmp/hsl-storage-XXXXXX", cmd[256];
	const size_t len = 24 * MB;
	struct traces t;
	int fd;

	close(self->fd);
	self->fd = -1;
	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q -F %s >/dev/null 2>&1 && mount -t ext4 %s %s", self->disk.path,
		 self->disk.path, dir);
	ASSERT_EQ(0, system(cmd));
	snprintf(cmd, sizeof(cmd), "%s/file", dir);
	fd = open(cmd, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	EXPECT_LE(0, fd);
	EXPECT_EQ(len, write(fd, self->ref, len));
	EXPECT_EQ(0, fsync(fd));
	drop_caches();
	t = look(self, fd, len / 4096);
	EXPECT_EQ(len, hsl_file_read(fd, 0, self->mem, len, &io));
	expect_io(_metadata, self, &io, len);
	/* The disk is asked for the file's extents, too. */
	if (self->direct)
		EXPECT_EQ(0, cached_pages(fd, len));
	EXPECT_LE((long long)len, disk_bytes(&self->disk) - t.read);
	EXPECT_EQ(0, memcmp(self->mem, self->ref, len));
	/* Two ends that are not of whole blocks */
	memset(self->mem, 0, len);
	EXPECT_EQ(5 * MB + 77, hsl_file_read(fd, 4096 - 33, self->mem + 4096 - 33, 5 * MB + 77, &io));
	EXPECT_EQ(0, memcmp(self->mem + 4096 - 33, self->ref + 4096 - 33, 5 * MB + 77));
	if (self->direct) {
		EXPECT_EQ(33 + 44, io.bounced);
		EXPECT_EQ(HSL_FILE_UNALIGNED, io.why);
	}
	close(fd);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);

	/* All of the file system's image so far, its superblock at its place */
	fd = open(self->disk.path, O_RDONLY | O_CLOEXEC);
	drop_caches();
	EXPECT_EQ(LEN, hsl_file_read(fd, 0, self->mem, LEN, &io));
	expect_io(_metadata, self, &io, LEN);
	EXPECT_EQ(0xef53, *(uint16_t *)(self->mem + 1024 + 56));
	EXPECT_EQ(LEN, pread(fd, self->ref, LEN, 0));
	EXPECT_EQ(0, memcmp(self->mem, self->ref, LEN));
	close(fd);
}

/* Any offset, address and length: the right bytes, and an honest account */
TEST_F_TIMEOUT(storage, unaligned, 120)
{
	for (int i = 0; i < 40; i++) {
		struct hsl_file_io io = { .size = sizeof(io) };
		size_t at = rnd(LEN), len = rnd(3 * MB) + 1, skew = i % 3 ? rnd(8192) : at % 4096;
		ssize_t want = len < LEN - at ? len : LEN - at;

		memset(self->mem, 0, 3 * MB + 8192 + 1);
		ASSERT_EQ(want, hsl_file_read(self->fd, at, self->mem + skew, want, &io));
		ASSERT_EQ(want, (ssize_t)(io.direct + io.bounced));
		ASSERT_EQ(0, memcmp(self->mem + skew, self->ref + at, want));
		ASSERT_EQ(0, self->mem[skew + want]);
		if (!self->direct) {
			ASSERT_EQ(0, io.direct);
		} else if (io.bounced) {
			ASSERT_EQ(HSL_FILE_UNALIGNED, io.why);
		}
	}
}

/* A file on a file system that knows nothing of such memory: the guest's root */
TEST_F(storage, other_file_system)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	char self_exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self_exe, sizeof(self_exe) - 1);
	struct stat st;
	int fd;

	ASSERT_LT(0, n);
	self_exe[n] = '\0';
	fd = open(self_exe, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	ASSERT_GT(LEN, st.st_size);
	ASSERT_EQ(st.st_size, hsl_file_read(fd, 0, self->mem, st.st_size, &io));
	EXPECT_EQ(st.st_size, (ssize_t)io.bounced);
	EXPECT_TRUE(io.why == HSL_FILE_NO_PEER || io.why == HSL_FILE_NO_PATH || io.why == HSL_FILE_NO_DIRECT)
		TH_LOG("%s", hsl_strfile(io.why));
	TH_LOG("%s", hsl_strfile(io.why));
	ASSERT_EQ(st.st_size, pread(fd, self->ref, st.st_size, 0));
	EXPECT_EQ(0, memcmp(self->mem, self->ref, st.st_size));
	close(fd);
}

/*
 * The other way: what is in the device's memory is what the disk has then. The disk reads
 * it by itself, if it reaches the device; by way of the page cache it comes there anyway.
 */
TEST_F_TIMEOUT(storage, write, 60)
{
	unsigned char *model = map_anon(LEN), *got = map_anon(LEN);
	int direct = open(self->disk.path, O_RDWR | O_DIRECT | O_CLOEXEC);

	ASSERT_NE(NULL, model);
	ASSERT_NE(NULL, got);
	ASSERT_LE(0, direct);
	for (int cached = !self->direct; cached < 2; cached++) {
		struct traces t;

		fill_random(model, LEN);
		memcpy(self->mem, model, LEN);
		memset(got, 0, LEN);
		t = look(self, self->fd, LEN / 4096);
		ASSERT_EQ(LEN, pwrite(cached ? self->fd : direct, self->mem, LEN, 0));
		if (!cached) {
			struct traces now = look(self, self->fd, LEN / 4096);

			EXPECT_STREQ("", through_host(&t, &now, LEN / 4096));
		}
		ASSERT_EQ(0, fsync(self->fd));
		EXPECT_LE((long long)LEN, disk_written(&self->disk) - t.written);
		ASSERT_EQ(0, disk_contents(&self->disk, got, LEN, 0));
		EXPECT_EQ(0, memcmp(model, got, LEN))
			TH_LOG("%s", cached ? "by the page cache" : "directly");
		EXPECT_EQ(0, memcmp(model, self->mem, LEN));
	}
	close(direct);
}

struct reader {
	int fd;
	unsigned char *mem;
	volatile bool stop;
	unsigned int done;
	int err;
};

/* Not by the library, which would touch the memory with the CPU */
static void *read_on(void *arg)
{
	struct reader *r = arg;

	while (!r->stop) {
		ssize_t n = pread(r->fd, r->mem, 8 * MB, 0);

		if (n < 0) {
			r->err = errno;
			break;
		}
		r->done++;
	}
	return NULL;
}

/* The device is reset while the disk writes to it: the disk's requests end, and so does the reset. */
TEST_F_TIMEOUT(storage, reset_under_reads, 120)
{
	struct reader r = { .fd = open(self->disk.path, O_RDONLY | O_DIRECT | O_CLOEXEC), .mem = self->mem };
	struct hsl_ctx *ctx;
	pthread_t thread;
	void *mem;

	ASSERT_LE(0, r.fd);
	if (self->direct) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, read_on, &r));
		ASSERT_TRUE(COMES_TRUE(r.done > 1 || r.err));
	}
	ASSERT_EQ(0, write_text("/sys/class/hsl/hsl0/device/reset", "1"));
	if (self->direct) {
		pthread_join(thread, NULL);
		EXPECT_EQ(EFAULT, r.err);
	}
	EXPECT_EQ(SIGBUS, touch_signal((char *)self->mem));
	ASSERT_EQ(0, open_on(dev_path(0), variant->sva, &ctx));
	ASSERT_EQ(0, hsl_alloc(ctx, LEN, &mem));
	ASSERT_EQ(LEN, hsl_file_read(self->fd, 0, mem, LEN, NULL));
	EXPECT_EQ(0, memcmp(mem, self->ref, LEN));
	hsl_close(ctx);
	close(r.fd);
}

/* As much as there is, and where disk and device have it no less than 1 GiB, in one call */
TEST_F_TIMEOUT(storage, one_call, 240)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	uint64_t len = GB;
	uint32_t want = 0, crc = 0;
	struct traces t;
	long long size;
	int fd;
	void *m;

	ASSERT_EQ(0, hsl_free(self->ctx, self->mem));
	size = lseek(self->fd, 0, SEEK_END);
	while (len > self->free || len > (uint64_t)size)
		len /= 2;
	ASSERT_LE(128 * MB, len);
	/* Memory that somebody has lost does not count. */
	if (self->total > GB && size >= (long long)GB)
		ASSERT_EQ(GB, len);
	ASSERT_EQ(0, hsl_alloc(self->ctx, len, &m));
	self->mem = m;
	/* The same everywhere but for a word in each block */
	fd = open(self->disk.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (uint64_t at = 0; at < len; at += LEN) {
		for (uint64_t i = 0; i < LEN; i += 4096)
			*(uint64_t *)(self->ref + i) = test_seed ^ (at + i);
		ASSERT_EQ(LEN, pwrite(fd, self->ref, LEN, at));
		ASSERT_EQ(0, hsl_crc32c(self->q, self->ref, LEN, &want));
	}
	close(fd);
	drop_caches();
	t = look(self, self->fd, len / 4096);
	ASSERT_EQ((ssize_t)len, hsl_file_read(self->fd, 0, self->mem, len, &io));
	expect_io(_metadata, self, &io, len);
	if (self->direct)
		expect_traces(_metadata, self, self->fd, t, len / 4096, true);
	ASSERT_EQ(0, hsl_crc32c(self->q, self->mem, len, &crc));
	EXPECT_EQ(want, crc);
	for (uint64_t i = 0; i < len; i += 4096)
		ASSERT_EQ(test_seed ^ i, *(uint64_t *)(self->mem + i));
	TH_LOG("%llu MiB", (unsigned long long)len >> 20);
}

TEST_HARNESS_MAIN
