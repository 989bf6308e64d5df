// SPDX-License-Identifier: MIT
/*
 * hsl-demo FILE: the device works on a file that no CPU has read.
 *
 * The file is mapped and left alone; the device computes its CRC-32C, copies it
 * into memory that nobody has touched, compares the two and fills other fresh
 * memory. Every page on either side comes in because the device asked for it.
 * The CPU then does each step too, from the same start, and verifies all the
 * device did against what read() says is in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hsl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "crc32c.h"
#include "syscount.h"

#define TOOL	"demo: FAILED"
#include "tool.h"

#define PATTERN		0x6c73682d6f6d6564ull
#define BOUND_SECONDS	60

struct figures {
	double seconds;
	uint64_t count[HSL_CNT_NR];	/* device */
	long syscalls;			/* device, to submit and to look */
	long sleeping;			/* device, to sleep meanwhile */
	long faults;			/* CPU */
};

static struct hsl_ctx *ctx;
static struct hsl_queue *q;
static uint32_t max_xfer;

static long cpu_faults(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_minflt + r.ru_majflt;
}

/* Mapped and not touched. Ordinary pages: the faults are what this is about. */
static char *fresh_memory(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("no memory for %zu bytes, as large as the file: %s; try a smaller file", len, strerror(errno));
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

static char *fresh_file(int fd, size_t len)
{
	char *p;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		fail("the file cannot be mapped: %s", strerror(errno));
	return p;
}

/*
 * The completion of the one operation in flight. Submitting and looking are
 * the fast path; with nothing to do until the device is done, the CPU is better
 * left to whoever brings in its pages. Both kinds of system calls are counted.
 */
static uint64_t finish(struct figures *f)
{
	const struct hsl_cqe *c;
	uint64_t result;
	int err;

	err = hsl_peek(q, &c);
	if (err == -EAGAIN) {
		f->syscalls += syscount_end();
		syscount_begin();
		err = hsl_wait(q, &c, BOUND_SECONDS * 1000000000ll);
		f->sleeping += syscount_end();
		syscount_begin();
	}
	if (err)
		fail("no completion: %s", hsl_strerror(err));
	if (c->status != HSL_ST_OK)
		fail("an operation ended with '%s' at %#llx after %u bytes", hsl_strstatus(c->status),
		     (unsigned long long)c->addr, c->bytes);
	result = c->result;
	hsl_seen(q, 1);
	return result;
}

/*
 * One operation over the whole length, cut only where a descriptor ends. Of a
 * long one the device asks for pages ahead. Returns the last result, COMPARE
 * the offset of the first difference, or @len.
 */
static uint64_t device_run(struct figures *f, enum hsl_op op, const char *dst, const char *src, size_t len)
{
	uint64_t result = 0;
	size_t at, n;

	for (at = 0; at < len; at += n) {
		n = len - at < max_xfer ? len - at : max_xfer;
		hsl_prep(hsl_get_desc(q), op, dst ? dst + at : NULL, src ? src + at : NULL, n,
			 op == HSL_OP_FILL ? PATTERN : result, 0);
		hsl_submit(q);
		result = finish(f);
		if (op == HSL_OP_COMPARE && result < n)
			return at + result;
	}
	return op == HSL_OP_COMPARE ? len : result;
}

static void counters(uint64_t *v)
{
	int n = hsl_counters(ctx, q, v, HSL_CNT_NR);

	if (n < 0)
		fail("counters: %s", hsl_strerror(n));
}

/* Around a step of the device */
static void begin(struct figures *f)
{
	f->syscalls = f->sleeping = 0;
	counters(f->count);
	f->seconds = now();
	syscount_begin();
}

static void end(struct figures *f)
{
	uint64_t after[HSL_CNT_NR] = { 0 };

	f->syscalls += syscount_end();
	f->seconds = now() - f->seconds;
	counters(after);
	for (int i = 0; i < HSL_CNT_NR; i++)
		f->count[i] = after[i] - f->count[i];
}

static void begin_cpu(struct figures *f)
{
	f->faults = cpu_faults();
	f->seconds = now();
}

static void end_cpu(struct figures *f)
{
	f->seconds = now() - f->seconds;
	f->faults = cpu_faults() - f->faults;
}

static bool counted;

static const char *calls(long nr)
{
	static char text[2][24];
	static int turn;

	snprintf(text[turn ^= 1], sizeof(text[0]), "%ld", nr);
	return counted ? text[turn] : "-";
}

static void head(void)
{
	printf("%-8s | %-72s | %-21s\n", "", "device", "CPU, the same job");
	printf("%-8s | %7s %6s %6s %6s %6s %5s %6s %10s %8s | %7s %6s %6s\n", "", "", "", "page", "ATS", "ATC",
	       "door-", "inter-", "syscalls,", "to", "", "", "page");
	printf("%-8s | %7s %6s %6s %6s %6s %5s %6s %10s %8s | %7s %6s %6s\n", "step", "ms", "GB/s", "reqs", "reqs",
	       "hits", "bells", "rupts", "fast path", "sleep", "ms", "GB/s", "faults");
}

static void row(const char *name, size_t len, const struct figures *dev, const struct figures *cpu)
{
	printf("%-8s | %7.1f %6.2f %6llu %6llu %6llu %5llu %6llu %10s %8s | %7.1f %6.2f %6ld\n", name,
	       dev->seconds * 1e3, len / dev->seconds / 1e9,
	       (unsigned long long)dev->count[HSL_CNT_PAGE_REQUESTS],
	       (unsigned long long)dev->count[HSL_CNT_ATS_REQUESTS],
	       (unsigned long long)dev->count[HSL_CNT_ATC_HITS],
	       (unsigned long long)dev->count[HSL_CNT_DOORBELLS],
	       (unsigned long long)dev->count[HSL_CNT_INTERRUPTS], calls(dev->syscalls), calls(dev->sleeping),
	       cpu->seconds * 1e3, len / cpu->seconds / 1e9, cpu->faults);
	fflush(stdout);
}

static void read_whole(int fd, char *buf, size_t len)
{
	ssize_t n;

	for (size_t at = 0; at < len; at += n) {
		n = pread(fd, buf + at, len - at, at);
		if (n <= 0)
			fail("reading the file: %s", n ? strerror(errno) : "it became shorter");
	}
}

static void fill_by_cpu(char *dst, size_t len)
{
	uint64_t pattern = PATTERN;
	size_t at;

	for (at = 0; at + 8 <= len; at += 8)
		memcpy(dst + at, &pattern, 8);
	memcpy(dst + at, &pattern, len - at);
}

static size_t first_difference(const char *a, const char *b, size_t len)
{
	size_t at = 0;

	if (!memcmp(a, b, len))
		return len;
	while (a[at] == b[at])
		at++;
	return at;
}

static void set_up(void)
{
	struct hsl_query info = { .size = sizeof(info) };
	int err;

	err = hsl_open(NULL, NULL, &ctx);
	if (err)
		fail("cannot open a device: %s", hsl_strerror(err));
	err = hsl_query(ctx, &info);
	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		fail("cannot make a queue: %s", hsl_strerror(err));
	max_xfer = info.max_xfer;
	/* Made at the first sleep otherwise, and counted there. */
	hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION);
	hsl_queue_eventfd(q, HSL_EVENTFD_ERROR);
	printf("device %04x:%04x, hardware %u.%u, shared addresses by %s, PASID %u, context %u\n", info.vendor,
	       info.device, info.hw_version >> 8, info.hw_version & 0xff,
	       info.sva == HSL_SVA_IOMMU ? "the IOMMU" : "page tables of the device", info.pasid, info.context);
}

static int usage(FILE *to, int status)
{
	fputs("usage: hsl-demo FILE\n"
	      "The device computes the CRC-32C of FILE, copies it, compares the two and fills memory;\n"
	      "every byte of that is verified, and a table says what it cost beside the CPU.\n", to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	char *file, *copy, *filled, *cpu_file, *cpu_copy, *cpu_filled, *truth;
	struct figures dev = { 0 }, cpu = { 0 };
	size_t len, at, verified = 0;
	uint32_t crc, cpu_crc;
	struct stat st;
	const char *name;
	int fd, opt;

	opt = getopt_long(argc, argv, "h", options, NULL);
	if (opt != -1)
		return opt == 'h' ? usage(stdout, 0) : usage(stderr, 2);
	if (argc - optind != 1)
		return usage(stderr, 2);
	name = argv[optind];
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		fail("%s: %s", name, strerror(errno));
	len = st.st_size;
	if (!S_ISREG(st.st_mode) || !len)
		fail("%s: not a file with something in it", name);
	/* What cannot be mapped shall show before the table begins. */
	munmap(fresh_file(fd, len), len);
	truth = fresh_memory(len);
	copy = fresh_memory(len);
	cpu_copy = fresh_memory(len);
	filled = fresh_memory(len);
	cpu_filled = fresh_memory(len);

	set_up();
	crc32c_init();
	counted = syscount_start();
	if (!counted)
		printf("system calls cannot be counted here\n");
	printf("file %s, %zu bytes, mapped and not read\n\n", name, len);
	head();

	file = fresh_file(fd, len);
	begin(&dev);
	crc = device_run(&dev, HSL_OP_CRC32C, NULL, file, len);
	end(&dev);
	munmap(file, len);

	cpu_file = fresh_file(fd, len);
	begin_cpu(&cpu);
	cpu_crc = crc32c(0, cpu_file, len);
	end_cpu(&cpu);
	munmap(cpu_file, len);
	row("crc32c", len, &dev, &cpu);
	read_whole(fd, truth, len);
	if (crc != crc32c(0, truth, len) || cpu_crc != crc)
		fail("crc32c: the device says %08x, the CPU %08x", crc, crc32c(0, truth, len));
	verified += len;

	/* A new mapping, a new start, also for the page cache. */
	file = fresh_file(fd, len);
	begin(&dev);
	device_run(&dev, HSL_OP_COPY, copy, file, len);
	end(&dev);

	cpu_file = fresh_file(fd, len);
	begin_cpu(&cpu);
	memcpy(cpu_copy, cpu_file, len);
	end_cpu(&cpu);
	row("copy", len, &dev, &cpu);
	at = first_difference(copy, truth, len);
	if (at < len)
		fail("copy: byte %zu is %02x and should be %02x", at, copy[at] & 0xff, truth[at] & 0xff);
	verified += len;

	/* Both are there now; the device compares its copy with the file. */
	begin(&dev);
	at = device_run(&dev, HSL_OP_COMPARE, copy, file, len);
	end(&dev);
	begin_cpu(&cpu);
	if (memcmp(cpu_copy, cpu_file, len))
		fail("compare: the CPU's own copy differs from the file");
	end_cpu(&cpu);
	row("compare", len, &dev, &cpu);
	if (at != len)
		fail("compare: the device sees a difference at byte %zu and there is none", at);
	/* And it must see one that is there. */
	copy[len / 3 * 2] ^= 0x10;
	at = device_run(&dev, HSL_OP_COMPARE, copy, file, len);
	if (at != len / 3 * 2)
		fail("compare: byte %zu differs and the device says %zu", len / 3 * 2, at);
	verified += len;
	munmap(cpu_copy, len);

	begin(&dev);
	device_run(&dev, HSL_OP_FILL, filled, NULL, len);
	end(&dev);
	begin_cpu(&cpu);
	fill_by_cpu(cpu_filled, len);
	end_cpu(&cpu);
	row("fill", len, &dev, &cpu);
	at = first_difference(filled, cpu_filled, len);
	if (at < len)
		fail("fill: byte %zu is %02x and should be %02x", at, filled[at] & 0xff, cpu_filled[at] & 0xff);
	verified += len;

	hsl_close(ctx);
	printf("\nevery byte of the file in each of %zu steps\ndemo: ok, %zu bytes verified\n",
	       verified / len, verified);
	return 0;
}
