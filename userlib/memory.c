// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Memory: where it is, and memory that begins its life on the device. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define HUGE_SIZE	(2ul << 20)

/* What hsl_alloc() gave: hsl_free() is told no length. */
struct alloc {
	struct alloc *next;
	struct alloc *next_pcie;
	void *mem;
	size_t len;
	bool pcie;		/* a mapping of the device's file, in the list below */
};

static struct alloc *pcie_allocs;	/* of all contexts: files are read without one */
static pthread_mutex_t pcie_lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * Forks
 */

static void before_fork(void)
{
	pthread_mutex_lock(&pcie_lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&pcie_lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

/* A lock that another thread had at the time of a fork would never be free in the child. */
void memory_watch_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
}

/* False in a forked child, where a context is only good to be closed, and its memory to be freed. */
bool ctx_is_ours(const struct hsl_ctx *ctx)
{
	return ctx->pid == getpid();
}

/* In a child by the lock that is free after a fork. */
void ctx_lock(struct hsl_ctx *ctx)
{
	pthread_mutex_lock(ctx_is_ours(ctx) ? &ctx->lock : &pcie_lock);
}

void ctx_unlock(struct hsl_ctx *ctx)
{
	pthread_mutex_unlock(ctx_is_ours(ctx) ? &ctx->lock : &pcie_lock);
}

/*
 * Log
 */

static hsl_log_fn log_fn;

HSL_PUBLIC void hsl_set_log(hsl_log_fn fn)
{
	__atomic_store_n(&log_fn, fn, __ATOMIC_RELEASE);
}

static void log_stderr(const char *text)
{
	const char *on = getenv("HSL_LOG");

	if (on && !strcmp(on, "1"))
		fprintf(stderr, "libhsl: %s\n", text);
}

void hsl_log(const char *fmt, ...)
{
	hsl_log_fn fn = __atomic_load_n(&log_fn, __ATOMIC_ACQUIRE);
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(fn ? fn : log_stderr)(text);
}

static void log_migrate(struct hsl_ctx *ctx, const struct hsl_migrate *arg, int err)
{
	struct hsl_query info = { .size = sizeof(info) };

	if (!err)
		return;
	hsl_ioctl(ctx, HSL_QUERY, &info);
	hsl_log("%" PRIu64 " of %" PRIu64 " bytes are %s: %" PRIu64 " pinned, %" PRIu64
		" without room, %" PRIu64 " of other kinds; the device has %" PRIu64 " of %" PRIu64
		" bytes free (%s)",
		(uint64_t)arg->moved, (uint64_t)arg->len,
		arg->where == HSL_WHERE_DEVICE ? "on the device" : "in host memory",
		(uint64_t)arg->pinned, (uint64_t)arg->nomem, (uint64_t)arg->other,
		(uint64_t)info.mem_free, (uint64_t)info.mem_size, strerror(-err));
}

/*
 * Where memory is
 */

static int migrate(struct hsl_ctx *ctx, void *mem, size_t len, unsigned int where, struct hsl_migrate *arg)
{
	int ret;

	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	arg->addr = (uintptr_t)mem;
	arg->len = len;
	arg->where = where;
	ret = hsl_ioctl(ctx, HSL_MIGRATE, arg);
	log_migrate(ctx, arg, ret);
	return ret;
}

HSL_PUBLIC int hsl_migrate(struct hsl_ctx *ctx, void *mem, size_t len, enum hsl_where where,
			   struct hsl_migrate *result)
{
	struct hsl_migrate arg;
	uint32_t size = sizeof(arg);
	int ret;

	if (result && result->size < HSL_MIGRATE_MIN)
		return -EINVAL;
	ret = migrate(ctx, mem, len, where, &arg);
	if (result) {
		if (size > result->size)
			size = result->size;
		arg.size = result->size;
		memcpy(result, &arg, size);
	}
	return ret;
}

HSL_PUBLIC int hsl_advise(struct hsl_ctx *ctx, void *mem, size_t len, enum hsl_advice advice,
			  enum hsl_where where)
{
	struct hsl_advise arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)mem,
		.len = len,
		.advice = advice,
		.where = where,
	};

	return hsl_ioctl(ctx, HSL_ADVISE, &arg);
}

/*
 * Memory on the device
 */

/* Anonymous memory; from the size of a huge page on aligned like one. */
static void *map_aligned(size_t len)
{
	size_t extra = len >= HUGE_SIZE ? HUGE_SIZE : 0, before, after;
	char *mem;

	if (len + extra < len)
		return NULL;
	mem = mmap(NULL, len + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	if (!extra)
		return mem;

	before = -(uintptr_t)mem & (HUGE_SIZE - 1);
	after = extra - before;
	if (before)
		munmap(mem, before);
	mem += before;
	if (after)
		munmap(mem + len, after);
	/* For what comes back to host memory. Not every kernel has it. */
	madvise(mem, len, MADV_HUGEPAGE);
	return mem;
}

/* Does it lie in memory that hsl_alloc() has mapped in mode pcie? */
bool memory_is_pcie(const void *mem)
{
	const struct alloc *a;

	/* Where there is none it costs nothing. */
	if (!__atomic_load_n(&pcie_allocs, __ATOMIC_RELAXED))
		return false;
	pthread_mutex_lock(&pcie_lock);
	for (a = pcie_allocs; a; a = a->next_pcie)
		if ((uintptr_t)mem - (uintptr_t)a->mem < a->len)
			break;
	pthread_mutex_unlock(&pcie_lock);
	return a;
}

static int alloc_pcie(struct hsl_ctx *ctx, struct alloc *a)
{
	int ret;

	a->mem = mmap(NULL, a->len, PROT_READ | PROT_WRITE, MAP_SHARED, ctx->fd, HSL_MMAP_MEMORY);
	if (a->mem == MAP_FAILED) {
		ret = -errno;
		hsl_log("%zu bytes of device memory cannot be mapped (%s)", a->len, strerror(-ret));
		return ret;
	}
	a->pcie = true;
	pthread_mutex_lock(&pcie_lock);
	a->next_pcie = pcie_allocs;
	__atomic_store_n(&pcie_allocs, a, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pcie_lock);
	return 0;
}

static int alloc_anon(struct hsl_ctx *ctx, struct alloc *a)
{
	struct hsl_migrate arg;
	int ret;

	a->mem = map_aligned(a->len);
	if (!a->mem)
		return -ENOMEM;
	ret = migrate(ctx, a->mem, a->len, HSL_WHERE_DEVICE, &arg);
	if (ret)
		munmap(a->mem, a->len);
	return ret;
}

static void alloc_unmap(const struct hsl_ctx *ctx, struct alloc *a)
{
	struct alloc **p;

	if (a->pcie) {
		pthread_mutex_lock(&pcie_lock);
		for (p = &pcie_allocs; *p != a; p = &(*p)->next_pcie)
			;
		__atomic_store_n(p, a->next_pcie, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&pcie_lock);
	}
	/* A child has no mapping of the device, and by now perhaps one of its own there. */
	if (!a->pcie || ctx_is_ours(ctx))
		munmap(a->mem, a->len);
}

HSL_PUBLIC int hsl_alloc(struct hsl_ctx *ctx, size_t len, void **mem)
{
	struct hsl_query info = { .size = sizeof(info) };
	size_t page = sysconf(_SC_PAGESIZE);
	struct alloc *a;
	int ret;

	if (!len || len > SIZE_MAX - page)
		return -EINVAL;
	ret = hsl_ioctl(ctx, HSL_QUERY, &info);
	if (ret)
		return ret;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->len = (len + page - 1) & ~(page - 1);
	ret = info.mem_mode == HSL_MEMORY_PCIE ? alloc_pcie(ctx, a) : alloc_anon(ctx, a);
	if (ret) {
		free(a);
		return ret;
	}

	ctx_lock(ctx);
	a->next = ctx->allocs;
	ctx->allocs = a;
	ctx_unlock(ctx);
	*mem = a->mem;
	return 0;
}

HSL_PUBLIC int hsl_free(struct hsl_ctx *ctx, void *mem)
{
	struct alloc **p, *a;

	if (!mem)
		return 0;
	ctx_lock(ctx);
	for (p = &ctx->allocs; *p && (*p)->mem != mem; p = &(*p)->next)
		;
	a = *p;
	if (a)
		*p = a->next;
	ctx_unlock(ctx);
	if (!a)
		return -EINVAL;
	alloc_unmap(ctx, a);
	free(a);
	return 0;
}

/* The memory itself stays, but for mappings of the file: they would keep it open. */
void allocs_forget(struct hsl_ctx *ctx)
{
	while (ctx->allocs) {
		struct alloc *a = ctx->allocs;

		ctx->allocs = a->next;
		if (a->pcie)
			alloc_unmap(ctx, a);
		free(a);
	}
}
