// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory as a NUMA node: what places memory on nodes places it there, and
 * the device works in it.
 */
#include <dirent.h>
#include <sys/syscall.h>

#include "hsl_memory.h"
#include "hsl_swap.h"

#define NODES		"/sys/devices/system/node/"
#define MPOL_BIND	2
#define MPOL_MF_STRICT	1
#define MPOL_MF_MOVE	2

FIXTURE(node) {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	size_t page, block;
	int nid;
	bool ours;	/* the mode was changed here */
};

PROVIDER_VARIANTS(node);

/* A kernel that leaves new memory offline until somebody says so */
static int bring_online(int nid)
{
	char path[64], file[PATH_MAX];
	struct dirent *e;
	int ret = -ENOENT;
	DIR *d;

	snprintf(path, sizeof(path), NODES "node%d", nid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, "memory", 6) || e->d_name[6] < '0' || e->d_name[6] > '9')
			continue;
		snprintf(file, sizeof(file), "%s/%s/online", path, e->d_name);
		ret = read_number(file) == 1 ? 0 : -EAGAIN;
		snprintf(file, sizeof(file), "%s/%s/state", path, e->d_name);
		if (ret)
			ret = write_text(file, "online_movable");
		if (ret)
			break;
	}
	if (d)
		closedir(d);
	return ret;
}

FIXTURE_SETUP(node)
{
	struct hsl_query info = { .size = sizeof(info) };
	char line[64];
	FILE *f;
	int err;

	SKIP_WITHOUT_DEVICES(1);
	OPEN_DEVICE(dev_path(0), variant->sva, &self->ctx);
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	if (info.mem_mode != HSL_MEMORY_COHERENT)
		SKIP(return, "the device has no coherent memory, or this kernel no CONFIG_DEVICE_MIGRATION");
	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	ASSERT_NE(NULL, f);
	ASSERT_NE(NULL, fgets(line, sizeof(line), f));
	fclose(f);
	self->block = strtoul(line, NULL, 16);
	self->page = page_size();

	err = write_text(MEM_DIR "mode", "node");
	if (err == -ENXIO)
		SKIP(return, "the firmware declares no NUMA node without memory");
	if (info.mem_size % self->block) {
		EXPECT_EQ(-EINVAL, err);
		SKIP(return, "%llu bytes are not whole memory blocks", (unsigned long long)info.mem_size);
	}
	ASSERT_EQ(0, err);
	self->ours = true;
	ASSERT_EQ(0, hsl_query(self->ctx, &info));
	EXPECT_EQ(HSL_MEMORY_NODE, info.mem_mode);
	self->nid = info.mem_node;
	ASSERT_LE(0, self->nid);
	EXPECT_EQ(self->nid, mem_file("node"));
	ASSERT_EQ(0, bring_online(self->nid));
	ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &self->q));
	SEED();
}

FIXTURE_TEARDOWN(node)
{
	if (self->ours) {
		EXPECT_TRUE(COMES_TRUE(!write_text(MEM_DIR "mode", "coherent")));
		EXPECT_EQ(-1, mem_file("node"));
		EXPECT_LT(0, mem_file("free"));
	}
	if (self->ctx)
		hsl_close(self->ctx);
}

static int bind_to(void *mem, size_t len, int nid)
{
	unsigned long mask = 1ul << nid;

	return syscall(__NR_mbind, mem, len, MPOL_BIND, &mask, sizeof(mask) * 8 + 1, MPOL_MF_MOVE | MPOL_MF_STRICT);
}

/* All pages on that node; the number of those that are not */
static size_t elsewhere(char *mem, size_t len, int nid)
{
	size_t n, bad = 0;

	for (n = 0; n < len; n += page_size()) {
		void *p = mem + n;
		int at = -1;

		if (syscall(__NR_move_pages, 0, 1ul, &p, NULL, &at, 0) || at != nid)
			bad++;
	}
	return bad;
}

TEST_F_TIMEOUT(node, mbind, 60)
{
	const size_t len = 6 * MB;
	char *mem = map_anon(len), *ref = map_anon(len);

	ASSERT_EQ(0, bind_to(mem, len, self->nid));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	EXPECT_EQ(0, elsewhere(mem, len, self->nid));
	/* The device reads and writes it, and so does the CPU. */
	ASSERT_EQ(0, hsl_copy(self->q, ref, mem, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	fill_random(ref, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(0, elsewhere(mem, len, self->nid));
}

TEST_F_TIMEOUT(node, move_pages, 60)
{
	const size_t pages = 512, len = pages * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	void *at[512];
	int to[512], status[512], round;
	size_t i;

	/* Of a huge page, move_pages() calls all but the first busy. */
	madvise(mem, len, MADV_NOHUGEPAGE);
	fill_random(mem, len);
	memcpy(ref, mem, len);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < pages; i++) {
			at[i] = mem + i * self->page;
			to[i] = round & 1 ? 0 : self->nid;
		}
		ASSERT_LE(0, syscall(__NR_move_pages, 0, pages, at, to, status, MPOL_MF_MOVE));
		EXPECT_EQ(0, memcmp(to, status, sizeof(to)));
		EXPECT_EQ(0, memcmp(mem, ref, len));
		fill_random(ref, len);
		ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
		EXPECT_EQ(0, memcmp(mem, ref, len));
	}
}

/* Any kind of memory, not only anonymous */
TEST_F_TIMEOUT(node, shared_memory, 60)
{
	const size_t len = MB;
	char *ref = map_anon(len), *mem;

	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, bind_to(mem, len, self->nid));
	memset(mem, 3, len);
	EXPECT_EQ(0, elsewhere(mem, len, self->nid));
	fill_random(ref, len);
	ASSERT_EQ(0, hsl_copy(self->q, mem, ref, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
}

/* Whoever writes a file says where its pages are to be. */
TEST_F_TIMEOUT(node, files, 60)
{
	const size_t len = MB;
	unsigned long mask = 1ul << self->nid;
	int fd = memfd_create("hsl", MFD_CLOEXEC);
	char *ref = map_anon(len), *mem;
	ssize_t wrote;

	ASSERT_LE(0, fd);
	fill_random(ref, len);
	ASSERT_EQ(0, syscall(__NR_set_mempolicy, MPOL_BIND, &mask, sizeof(mask) * 8 + 1));
	wrote = write(fd, ref, len);
	ASSERT_EQ(0, syscall(__NR_set_mempolicy, 0, NULL, 0));
	ASSERT_EQ((ssize_t)len, wrote);
	mem = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(0, elsewhere(mem, len, self->nid));
	memset(ref, 0, len);
	ASSERT_EQ(0, hsl_copy(self->q, ref, mem, len));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	close(fd);
}

TEST_F_TIMEOUT(node, reclaimed, 60)
{
	const size_t pages = 512, len = pages * self->page;
	char *mem = map_anon(len), *ref = map_anon(len);
	bool ours = !swap_is_on();
	size_t i, out = 0;

	if (ours && !swap_on_zram())
		SKIP(return, "no swap, and no RAM disk to make one of");
	ASSERT_EQ(0, bind_to(mem, len, self->nid));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	EXPECT_EQ(0, elsewhere(mem, len, self->nid));
	ASSERT_EQ(0, madvise(mem, len, MADV_PAGEOUT));
	for (i = 0; i < pages; i++)
		out += !pfn_of(mem + i * self->page);
	EXPECT_LT(pages / 2, out);
	memset(ref, 0, len / 2);
	ASSERT_EQ(0, hsl_copy(self->q, ref, mem, len / 2));
	EXPECT_EQ(0, memcmp(mem, ref, len));
	munmap(mem, len);
	if (ours)
		EXPECT_TRUE(swap_off_zram());
}

/* Pages in a line of numa_maps that are on this node, or, with -1, on any */
static long pages_on(const char *line, int nid)
{
	const char *word = line;
	long pages = 0, n;
	int node;

	while ((word = strstr(word, " N"))) {
		word += 2;
		if (sscanf(word, "%d=%ld", &node, &n) == 2 && (nid < 0 || node == nid))
			pages += n;
	}
	return pages;
}

/* A shell that fills a variable shows where its memory lies: all of it that is anonymous and new. */
TEST_F_TIMEOUT(node, numactl, 60)
{
	const long least = 4 * MB / self->page;
	long here = 0, all = 0;
	char cmd[256], line[512];
	FILE *f;

	if (access("/usr/bin/numactl", X_OK))
		SKIP(return, "no numactl");
	snprintf(cmd, sizeof(cmd),
		 "exec numactl --membind=%d sh -c 'x=$(head -c %lu /dev/zero | tr \"\\000\" a); cat /proc/$$/numa_maps'",
		 self->nid, 4 * MB);
	f = popen(cmd, "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, " anon=") || strstr(line, " file="))
			continue;
		EXPECT_NE(NULL, strstr(line, " bind:"));
		here += pages_on(line, self->nid);
		all += pages_on(line, -1);
	}
	EXPECT_EQ(0, pclose(f));
	EXPECT_LE(least, here);
	EXPECT_EQ(all, here);
}

/* The library's calls say that the memory is used otherwise. */
TEST_F(node, no_migration)
{
	struct hsl_migrate r = { .size = sizeof(r) };
	char *mem = map_anon(MB);
	void *none;

	EXPECT_EQ(-EOPNOTSUPP, hsl_alloc(self->ctx, MB, &none));
	EXPECT_EQ(-EOPNOTSUPP, hsl_migrate(self->ctx, mem, MB, HSL_WHERE_DEVICE, &r));
	EXPECT_EQ(MB, r.other);
}

/* Back to pages with memory of a process on the node: it moves away. */
TEST_F_TIMEOUT(node, back_with_pages_in_use, 60)
{
	const size_t len = 8 * MB;
	char *mem = map_anon(len), *ref = map_anon(len);

	ASSERT_EQ(0, bind_to(mem, len, self->nid));
	fill_random(mem, len);
	memcpy(ref, mem, len);
	ASSERT_TRUE(COMES_TRUE(!write_text(MEM_DIR "mode", "coherent")));
	self->ours = false;
	EXPECT_EQ(0, memcmp(mem, ref, len));
	EXPECT_EQ(-1, mem_file("node"));
	/* The policy still names the node that is empty again: only what is there moves. */
	ASSERT_EQ(0, hsl_migrate(self->ctx, mem, len, HSL_WHERE_DEVICE, NULL));
	EXPECT_EQ(0, memcmp(mem, ref, len));
}

TEST_HARNESS_MAIN
