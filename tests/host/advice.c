// SPDX-License-Identifier: MIT
/* hsl_advise() of a device that is the CPU: what it makes of memory, and by how many system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <hsl.h>
#include "../../tools/syscount.h"
#include "tap.h"

#define PAGE	4096u
#define PAGES	2048u
#define LEN	(PAGES * PAGE)
#define FEW	(PAGES / 64)	/* system calls for a range that is all alike; faults that others cause */

static struct hsl_ctx *ctx;

static char *map(int prot)
{
	char *p = mmap(NULL, LEN, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* One by one, so that their faults can be told. */
	if (p == MAP_FAILED || madvise(p, LEN, MADV_NOHUGEPAGE))
		abort();
	return p;
}

static long minor_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

/* The faults of so many pages from @at on when each is read, or written */
static long faults(char *p, uint32_t at, uint32_t nr, bool write)
{
	volatile char *c = p + at * PAGE;
	long before = minor_faults();
	uint32_t i;

	for (i = 0; i < nr; i++, c += PAGE) {
		if (write)
			*c = 1;
		else
			(void)*c;
	}
	return minor_faults() - before;
}

static int advise(char *p, uint32_t at, uint32_t nr, enum hsl_advice advice, enum hsl_where where)
{
	return hsl_advise(ctx, p + at * PAGE, (size_t)nr * PAGE, advice, where);
}

static int prefetch(char *p, uint32_t at, uint32_t nr)
{
	return advise(p, at, nr, HSL_ADVICE_PREFETCH, HSL_WHERE_NONE);
}

static void test_calls(char *p, bool write, const char *what)
{
	bool counted = syscount_start();
	long calls;
	int ret;

	syscount_begin();
	ret = prefetch(p, 0, PAGES);
	calls = syscount_end();
	syscount_stop();
	ok(!ret && faults(p, 0, PAGES, write) < FEW, "all of what is %s is there", what);
	if (counted)
		ok(calls < FEW, "by %ld system calls", calls);
	else
		ok(true, "# SKIP system calls cannot be counted here");
}

int main(void)
{
	char *p, *ro, *mixed, *none;
	int ret;

	plan(4 + 3 + 3);
	if (hsl_open("cpu", NULL, &ctx)) {
		puts("Bail out! there is no CPU");
		return 1;
	}
	p = map(PROT_READ | PROT_WRITE);
	ro = map(PROT_READ);
	mixed = map(PROT_READ | PROT_WRITE);
	none = map(PROT_READ | PROT_WRITE);
	test_calls(p, true, "written");
	test_calls(ro, false, "for reading only");

	mprotect(mixed + LEN / 4, LEN / 4, PROT_READ);
	ret = prefetch(mixed, 0, PAGES);
	ok(!ret && faults(mixed, 0, PAGES / 4, true) < FEW && faults(mixed, PAGES / 4, PAGES / 4, false) < FEW &&
	   faults(mixed, PAGES / 2, PAGES / 2, true) < FEW, "of a mixed range each page as it is used");
	mprotect(mixed + LEN / 2, PAGE, PROT_NONE);
	ok(prefetch(mixed, 0, PAGES) == -EFAULT && !prefetch(mixed, 0, PAGES / 2) &&
	   !prefetch(mixed, PAGES / 2 + 1, PAGES / 2 - 1), "what cannot be accessed is found");
	munmap(mixed + LEN / 2, PAGE);
	ok(prefetch(mixed, 0, PAGES) == -EFAULT && prefetch(ro, 0, PAGES) == 0, "and so is what is not mapped");

	ok(!advise(none, 0, PAGES, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_NONE) &&
	   faults(none, 0, PAGES / 2, true) > PAGES / 4,
	   "that a device will not access memory creates none");
	ok(!advise(none, 0, PAGES, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE) && faults(none, 0, PAGES, true) < FEW,
	   "that it will creates it");
	munmap(none, PAGE);
	ok(!advise(none, 0, PAGES, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_NONE) &&
	   advise(none, 0, PAGES, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_DEVICE) == -EFAULT &&
	   advise(none, 0, PAGES, HSL_ADVICE_ACCESSED_BY, HSL_WHERE_HOST) == -EINVAL,
	   "it can be taken back whatever is mapped");
	hsl_close(ctx);
	return tap_done();
}
