/* SPDX-License-Identifier: MIT */
/* What the benchmark programs share. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <hsl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define TOOL	"bench"
#include "tool.h"

#define BLOCK		4096
#define LOOKS_BRIEF	20000		/* longer than a copy of 1 MiB takes */
#define LOOKS_POLLED	(1ul << 28)	/* sleeps only when something is wrong */
#define BOUND_NS	(60 * 1000000000ll)

static inline void figure(const char *name, double value)
{
	printf("%s %.9g\n", name, value);
	fflush(stdout);
}

/* Of a chart: @series at @x; the units are in scripts/bench. */
static inline void point(const char *series, double x, double y)
{
	printf("point %s %.9g %.9g\n", series, x, y);
	fflush(stdout);
}

static inline void *memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("out of memory");
	return p;
}

/* Which of the @n groups @name is; -1: there is no such group. */
static inline int group_named(const char *name, const char *const *groups, int n)
{
	while (n-- && strcmp(name, groups[n]))
		;
	return n;
}

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double sorted_percentile(const double *v, int n, double percent)
{
	return v[(int)((n - 1) * percent / 100)];
}

static inline double percentile(double *v, int n, double percent)
{
	qsort(v, n, sizeof(*v), by_value);
	return sorted_percentile(v, n, percent);
}

/* How @n times in seconds are distributed: p1 to p99.9, in us. */
static inline void distribution(const char *series, double *v, int n)
{
	static const double percents[] = { 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9 };

	qsort(v, n, sizeof(*v), by_value);
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		point(series, percents[i], sorted_percentile(v, n, percents[i]) * 1e6);
}

/*
 * One completion after @looks at most, then by sleeping. What the device measured of a
 * TIMED operation, in seconds, else 0.
 */
static inline double finish(struct hsl_queue *q, unsigned long looks)
{
	const struct hsl_cqe *c;
	double seconds;
	int err;

	while ((err = hsl_peek(q, &c)) == -EAGAIN && looks--)
		;
	if (err)
		err = hsl_wait(q, &c, BOUND_NS);
	if (err)
		fail("no completion: %s", hsl_strerror(err));
	if (c->status != HSL_ST_OK)
		fail("an operation ended with '%s'", hsl_strstatus(c->status));
	seconds = hsl_cqe_real_ns(c) / 1e9;
	hsl_seen(q, 1);
	return seconds;
}

/*
 * To the last CPU: the first one takes the interrupts of the IOMMU, and whoever
 * answers page requests should not have to wait for whoever polls.
 */
static inline void stay_on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(get_nprocs() - 1, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity: %s", strerror(errno));
}

#endif
