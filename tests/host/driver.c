// SPDX-License-Identifier: MIT
/*
 * The library against a driver that does not behave: ioctl(), open() and pread() of this
 * program are its own. The device is a file in memory, with memory in mode pcie; a disk
 * loses what it writes there; threads have locks at the time of a fork.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "tap.h"

#define LEN		(64u << 10)
#define BOUND_S		60		/* longer than anything takes; a child that long hangs */
#define BOUND_NS	(BOUND_S * 1000000000ll)

static int device_fd;			/* what stands for the device */
static struct hsl_ctx *ctx;
static unsigned char *mem;		/* of it */

/*
 * The driver
 */

static struct hsl_queue *dying;		/* completes one thing while the device goes */
static int state = -1;			/* of queues; -1: the device is gone */

static void complete_first(struct hsl_queue *q)
{
	q->cq[0].status = HSL_ST_OK;
	__atomic_store_n(&q->cq[0].lap, 1, __ATOMIC_RELEASE);
}

int ioctl(int fd, unsigned long cmd, ...)
{
	struct hsl_queue_create *create;
	struct hsl_query *info;
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (cmd) {
	case HSL_QUERY:
		info = arg;
		info->max_xfer = 1 << 30;
		info->max_ring_entries = 64;
		info->mem_mode = HSL_MEMORY_PCIE;
		return 0;
	case HSL_QUEUE_CREATE:
		create = arg;
		create->queue = 0;
		create->doorbell_offset = 0;
		return 0;
	case HSL_QUEUE_EVENTFD:
		complete_first(dying);
		errno = ENODEV;
		return -1;
	case HSL_QUEUE_STATE:
	case HSL_QUEUE_DESTROY:
		if (cmd == HSL_QUEUE_STATE && state >= 0) {
			((struct hsl_queue_state *)arg)->state = (uint32_t)state;
			return 0;
		}
		errno = ENODEV;
		return -1;
	}
	return (int)syscall(SYS_ioctl, fd, cmd, arg);
}

/*
 * The disk
 */

static int direct_fd = -1;		/* the last that was opened for direct I/O */
static bool loses;			/* what it should write to the device */
static int refuses;			/* this errno, once */

int open(const char *path, int flags, ...)
{
	int fd;

	if (!(flags & O_DIRECT))
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
	/* Not every file system has it; what is read is the same. */
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags & ~O_DIRECT, 0);
	direct_fd = fd;
	return fd;
}

static bool on_device(const void *p)
{
	return (uintptr_t)p - (uintptr_t)mem < LEN;
}

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	char *other;
	ssize_t n;

	if (fd != direct_fd)
		return syscall(SYS_pread64, fd, buf, len, offset);
	if (refuses) {
		errno = refuses;
		refuses = 0;
		return -1;
	}
	if (!loses || !on_device(buf))
		return syscall(SYS_pread64, fd, buf, len, offset);
	other = malloc(len);
	n = syscall(SYS_pread64, fd, other, len, offset);
	free(other);
	return n;
}

static int file_of(size_t len)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	unsigned char c = 1;
	size_t i;

	for (i = 0; i < len; i++, c = (unsigned char)(c * 5 + 1))
		if (write(fd, &c, 1) != 1)
			abort();
	return fd;
}

static bool has_file(const unsigned char *p, size_t len)
{
	unsigned char c = 1;
	size_t i;

	for (i = 0; i < len; i++, c = (unsigned char)(c * 5 + 1))
		if (p[i] != c)
			return false;
	return true;
}

/* A read of all that a file of @len bytes has into memory of the device. */
static bool reads(size_t len, uint32_t why)
{
	struct hsl_file_io io = { .size = sizeof(io) };
	int fd = file_of(len);
	ssize_t n;
	bool good;

	memset(mem, 0, LEN);
	n = hsl_file_read(fd, 0, mem, LEN, &io);
	good = n == (ssize_t)len && has_file(mem, len) && io.why == why && io.direct + io.bounced == len &&
	       (why == HSL_FILE_DIRECT) == !io.bounced;
	if (!good)
		diag("%zu bytes: %zd, direct %llu bounced %llu, %s", len, n, (unsigned long long)io.direct,
		     (unsigned long long)io.bounced, hsl_strfile(io.why));
	close(fd);
	return good;
}

static void test_file(void)
{
	static const size_t lens[] = { 100, 4096, 5000 };
	struct { struct hsl_file_io io; uint64_t tail; } longer = { .io.size = sizeof(longer) };
	bool direct = true, lost = true;
	size_t i;
	char fifo[] = "/tmp/hsl-fifo-XXXXXX";
	int fd;

	for (i = 0; i < 3; i++) {
		loses = false;
		/* Of a block that is not whole the device gets no more than there is. */
		direct &= reads(lens[i], HSL_FILE_DIRECT);
		loses = true;
		lost &= reads(lens[i], HSL_FILE_NO_PATH);
	}
	ok(direct, "files of any length are read directly");
	ok(lost, "a disk that does not reach the device is found out, short files too");
	refuses = EINTR;
	ok(reads(100, HSL_FILE_NO_PATH), "what an interrupted look has not shown is not taken as shown");
	loses = false;
	refuses = EINVAL;
	ok(reads(5000, HSL_FILE_NO_DIRECT), "what cannot be read directly is read otherwise");
	fd = file_of(5000);
	refuses = EIO;
	ok(hsl_file_read(fd, 0, mem, LEN, NULL) == -EIO, "an error of the disk is told");

	ok(hsl_file_read(fd, 0, mem, LEN, &longer.io) == 5000, "a longer structure with nothing in its tail");
	longer.tail = 1ull << 56;
	ok(hsl_file_read(fd, 0, mem, LEN, &longer.io) == -E2BIG, "a longer structure with something in its tail");
	longer.io.size = sizeof(longer.io) - 1;
	ok(hsl_file_read(fd, 0, mem, LEN, &longer.io) == -EINVAL, "a shorter one");
	close(fd);

	fd = mkstemp(fifo);
	if (fd < 0 || close(fd) || unlink(fifo) || mkfifo(fifo, 0600))
		abort();
	fd = open(fifo, O_RDONLY | O_NONBLOCK);
	unlink(fifo);
	/* Nobody will open it for writing. */
	alarm(BOUND_S);
	ok(hsl_file_read(fd, 0, mem, LEN, NULL) == -ESPIPE, "a FIFO is refused, not opened");
	alarm(0);
	close(fd);
}

/*
 * Memory
 */

static void log_over_errno(const char *text)
{
	(void)text;
	errno = 0;
}

static void test_alloc(void)
{
	void *p = NULL;
	int ret;

	hsl_set_log(log_over_errno);
	ret = hsl_alloc(ctx, 1ull << 62, &p);
	hsl_set_log(NULL);
	ok(ret == -ENOMEM && !p, "an allocation that fails says so, whatever the log does with errno");
}

/* True: it ended by itself, and well. */
static bool child_is_well(pid_t pid)
{
	int status = -1;

	if (waitpid(pid, &status, 0) != pid || status)
		diag("the child's status is %#x", status);
	return !status;
}

/* The hole that the parent's memory of the device is in a child gets memory of the child. */
static bool survives(bool by_close)
{
	pid_t pid = fork();
	size_t i;

	if (!pid) {
		unsigned char *own = mmap(mem, LEN, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (own != mem)
			_exit(1);
		memset(own, 5, LEN);
		if (!by_close && hsl_free(ctx, mem))
			_exit(2);
		if (!by_close && hsl_free(ctx, mem) != -EINVAL)
			_exit(3);
		if (by_close)
			hsl_close(ctx);
		if (msync(own, LEN, MS_ASYNC))
			_exit(4);
		for (i = 0; i < LEN; i++)
			if (own[i] != 5)
				_exit(5);
		_exit(0);
	}
	return child_is_well(pid);
}

/*
 * Forks
 */

static pthread_barrier_t barrier;

static void *holds_lock(void *arg)
{
	pthread_mutex_lock(&ctx->lock);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	pthread_mutex_unlock(&ctx->lock);
	return arg;
}

static bool stop;

/* As it reads files */
static void *looks(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (!memory_is_pcie(mem))
			abort();
	return arg;
}

static void test_forks(void)
{
	bool good = true;
	pthread_t thread;
	pid_t pid;
	int i;

	madvise(mem, LEN, MADV_DONTFORK);
	ok(survives(false) && survives(true), "a child that frees or closes keeps its own memory");

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, holds_lock, NULL);
	pthread_barrier_wait(&barrier);
	pid = fork();
	if (!pid) {
		alarm(BOUND_S);
		i = hsl_free(ctx, mem);
		hsl_close(ctx);
		_exit(i != 0);
	}
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	ok(child_is_well(pid), "a context whose lock a thread had is freed and closed by the child");

	pthread_create(&thread, NULL, looks, NULL);
	for (i = 0; i < 200 && good; i++) {
		pid = fork();
		if (!pid) {
			alarm(BOUND_S);
			hsl_close(ctx);
			_exit(0);
		}
		good = child_is_well(pid);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ok(good, "so is one while another thread looks at what memory is");
}

/*
 * Queues
 */

static void test_dying(void)
{
	static char from[16], to[16];
	const struct hsl_cqe *c;
	struct hsl_queue *q = NULL;
	uint32_t crc = 0;
	size_t at;

	if (hsl_queue_create(ctx, NULL, &q))
		abort();
	dying = q;
	hsl_prep_nop(hsl_get_desc(q));
	hsl_submit(q);
	ok(!hsl_wait(q, &c, BOUND_NS) && c->status == HSL_ST_OK,
	   "what was completed before the device went is given out");
	hsl_seen(q, 1);
	ok(hsl_copy(q, to, from, sizeof(to)) == -ENODEV, "and then that it is gone");
	ok(hsl_copy(q, to, from, sizeof(to)) == -ENODEV && hsl_fill(q, to, 0, 8) == -ENODEV &&
	   hsl_compare(q, to, from, sizeof(to), &at) == -ENODEV && hsl_crc32c(q, to, 8, &crc) == -ENODEV,
	   "which each call after it says too");
	state = HSL_Q_FAILED;
	ok(hsl_copy(q, to, from, sizeof(to)) == -EIO, "of a queue that has failed it is that,");
	state = HSL_Q_RUNNING;
	ok(hsl_copy(q, to, from, sizeof(to)) == -EBUSY, "and only of one that works that it is in use");
	state = -1;
	hsl_queue_destroy(q);
}

int main(void)
{
	char path[32];
	void *p;

	plan(9 + 1 + 3 + 5);
	unsetenv("HSL_SVA");
	unsetenv("HSL_ROUTES");
	device_fd = memfd_create("device", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", device_fd);
	if (device_fd < 0 || ftruncate(device_fd, HSL_MMAP_MEMORY + LEN) || hsl_open(path, NULL, &ctx) ||
	    hsl_alloc(ctx, LEN, &p)) {
		puts("Bail out! the device cannot be made up");
		return 1;
	}
	mem = p;
	test_file();
	test_alloc();
	test_dying();
	test_forks();
	hsl_free(ctx, mem);
	hsl_close(ctx);
	close(device_fd);
	return tap_done();
}
