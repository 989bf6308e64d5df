/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the HSL tests share. They drive the device through libhsl, so that the
 * library is tested too, and reach below it where a program should not.
 */
#ifndef HSL_TEST_H
#define HSL_TEST_H

#include <fcntl.h>
#include <hsl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <time.h>

#include "kselftest_harness.h"
#include "hsl_common.h"

#define BOUND_NS	(BOUND_MS * 1000000LL)

#define KB	1024ul
#define MB	(1024 * KB)

/*
 * HSL_DEVICE=cpu: what needs no kernel of ours runs on the CPU. There is one such
 * device, and addresses come to it in one way whatever the variant says.
 */
static inline bool on_cpu(void)
{
	const char *s = getenv("HSL_DEVICE");

	return s && !strcmp(s, "cpu");
}

static inline const char *dev_path(unsigned int n)
{
	/* Of the thread: others ask while this one opens. */
	static __thread char path[8][32];

	if (on_cpu())
		return "cpu";
	snprintf(path[n % 8], sizeof(path[0]), "/dev/hsl/hsl%u", n);
	return path[n % 8];
}

static inline bool have_devices(unsigned int nr)
{
	if (on_cpu())
		return nr <= 1;
	while (nr--)
		if (access(dev_path(nr), F_OK))
			return false;
	return true;
}

static inline bool no_permission(unsigned int nr)
{
	while (nr--)
		if (access(dev_path(nr), R_OK | W_OK) && errno == EACCES)
			return true;
	return false;
}

#define SKIP_WITHOUT_DEVICES(nr) do {						\
	if (!have_devices(nr))							\
		SKIP(return, "needs %u device%s: %s is missing", (unsigned int)(nr), \
		     (nr) > 1 ? "s" : "", dev_path((nr) - 1));			\
	if (no_permission(nr))							\
		SKIP(return, "no permission for the device: run as root");	\
} while (0)

/* On the provider that the variant names */
static inline int open_on(const char *path, enum hsl_sva sva, struct hsl_ctx **ctx)
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = on_cpu() ? HSL_SVA_NONE : sva };

	return hsl_open(path, &opts, ctx);
}

#define OPEN_DEVICE(path, sva, ctx) do {					\
	int open_err_;								\
	SKIP_LEFT_OUT_PROVIDER(sva);						\
	open_err_ = open_on(path, sva, ctx);					\
	SKIP_CLOSED_PROVIDER(path, sva, open_err_);				\
	ASSERT_EQ(0, open_err_)							\
		TH_LOG("%s: %s", (path), hsl_strerror(open_err_));		\
} while (0)

/* Random numbers; every test prints its seed, HSL_SEED=0x… repeats a run. */
static uint64_t test_seed;

static inline uint64_t rnd64(void)
{
	test_seed ^= test_seed << 13;
	test_seed ^= test_seed >> 7;
	test_seed ^= test_seed << 17;
	return test_seed;
}

static inline uint64_t rnd(uint64_t below)
{
	return (rnd64() >> 11) % below;
}

static inline uint64_t seed_random(void)
{
	const char *s = getenv("HSL_SEED");
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	test_seed = s ? strtoull(s, NULL, 0) : (uint64_t)t.tv_nsec << 20 ^ t.tv_sec ^ getpid();
	test_seed |= 1;
	return test_seed;
}

#define SEED()	TH_LOG("seed %#lx", (unsigned long)seed_random())

static inline void fill_random(void *p, size_t len)
{
	unsigned char *c = p;

	for (; len >= 8; len -= 8, c += 8) {
		uint64_t r = rnd64();

		memcpy(c, &r, 8);
	}
	while (len--)
		*c++ = rnd64();
}

/* CRC-32C bit by bit: as slow and as sure as can be. */
static inline uint32_t crc32c_ref(uint32_t crc, const void *p, size_t len)
{
	const unsigned char *c = p;
	int bit;

	crc = ~crc;
	while (len--) {
		crc ^= *c++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static inline size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* Submit what was taken, wait for one completion, give it back as a copy. */
static inline int finish_one(struct hsl_queue *q, struct hsl_cqe *out)
{
	const struct hsl_cqe *c;
	int err;

	hsl_submit(q);
	err = hsl_wait(q, &c, BOUND_NS);
	if (err)
		return err;
	*out = *c;
	hsl_seen(q, 1);
	return 0;
}

static inline int do_copy(struct hsl_queue *q, struct hsl_cqe *out, void *dst, const void *src, uint32_t len)
{
	hsl_prep_copy(hsl_get_desc(q), dst, src, len);
	return finish_one(q, out);
}

/* Its status, or -errno */
static inline int copies(struct hsl_queue *q, void *dst, const void *src, uint32_t len)
{
	struct hsl_cqe c;
	int err = do_copy(q, &c, dst, src, len);

	return err ? err : c.status;
}

/* A thread whose device adds 3 to a word, so many times */
struct device_adder {
	struct hsl_queue *q;
	uint64_t *word;
	int times;
	int err;
};

static inline void *device_adds(void *arg)
{
	struct device_adder *a = arg;
	struct hsl_cqe c;

	for (int i = 0; i < a->times && !a->err; i++) {
		hsl_prep_atomic_add(hsl_get_desc(a->q), a->word, 8, 3);
		a->err = finish_one(a->q, &c);
		if (!a->err && c.status != HSL_ST_OK)
			a->err = hsl_status_errno(c.status);
	}
	return NULL;
}

static inline uint64_t device_counter(struct hsl_ctx *ctx, enum hsl_counter n)
{
	uint64_t values[HSL_CNT_NR] = { 0 };

	return hsl_counters(ctx, NULL, values, HSL_CNT_NR) > (int)n ? values[n] : ~0ull;
}

static inline uint64_t queue_counter(struct hsl_ctx *ctx, const struct hsl_queue *q, enum hsl_counter n)
{
	uint64_t values[HSL_CNT_NR] = { 0 };

	return hsl_counters(ctx, q, values, HSL_CNT_NR) > (int)n ? values[n] : ~0ull;
}

/* A number in the fdinfo of this context; 0: the line is not there */
static inline unsigned long long fdinfo(struct hsl_ctx *ctx, const char *name)
{
	size_t len = strlen(name);
	unsigned long long n = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", hsl_fd(ctx));
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ':')
			n = strtoull(line + len + 1, NULL, 10);
	fclose(f);
	return n;
}

static inline struct hsl_queue_state queue_state(const struct hsl_queue *q)
{
	struct hsl_queue_state s = { .size = sizeof(s), .state = ~0u };

	if (hsl_queue_state(q, &s))
		s.state = ~0u;
	return s;
}

static inline bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLIN;
}

/* The one mapping that control words, descriptors and completions lie in */
static inline void *rings_of(struct hsl_queue *q, size_t *len)
{
	*len = ((char *)(q->cq + q->cq_entries) - (char *)q->ctl + page_size() - 1) & ~(page_size() - 1);
	return q->ctl;
}

#endif
