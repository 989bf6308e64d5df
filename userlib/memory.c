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
	void *mem;
	size_t len;
};

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
		" bytes free (%s)", (uint64_t)arg->moved, (uint64_t)arg->len,
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

HSL_PUBLIC int hsl_alloc(struct hsl_ctx *ctx, size_t len, void **mem)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct hsl_migrate arg;
	struct alloc *a;
	int ret;

	if (!len || len > SIZE_MAX - page)
		return -EINVAL;
	a = malloc(sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->len = (len + page - 1) & ~(page - 1);
	a->mem = map_aligned(a->len);
	if (!a->mem) {
		free(a);
		return -ENOMEM;
	}
	ret = migrate(ctx, a->mem, a->len, HSL_WHERE_DEVICE, &arg);
	if (ret) {
		munmap(a->mem, a->len);
		free(a);
		return ret;
	}

	pthread_mutex_lock(&ctx->lock);
	a->next = ctx->allocs;
	ctx->allocs = a;
	pthread_mutex_unlock(&ctx->lock);
	*mem = a->mem;
	return 0;
}

HSL_PUBLIC int hsl_free(struct hsl_ctx *ctx, void *mem)
{
	struct alloc **p, *a;

	if (!mem)
		return 0;
	pthread_mutex_lock(&ctx->lock);
	for (p = &ctx->allocs; *p && (*p)->mem != mem; p = &(*p)->next)
		;
	a = *p;
	if (a)
		*p = a->next;
	pthread_mutex_unlock(&ctx->lock);
	if (!a)
		return -EINVAL;
	munmap(a->mem, a->len);
	free(a);
	return 0;
}

/* The memory itself stays. */
void allocs_forget(struct hsl_ctx *ctx)
{
	while (ctx->allocs) {
		struct alloc *a = ctx->allocs;

		ctx->allocs = a->next;
		free(a);
	}
}
