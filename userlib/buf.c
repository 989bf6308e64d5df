// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Memory by file descriptor: dma-bufs of this device's memory, and of others'. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* A mapping of hsl_import() */
struct import {
	struct import *next;
	void *mem;
	size_t len;
	uint32_t handle;	/* 0: none */
};

HSL_PUBLIC int hsl_buf_create(struct hsl_ctx *ctx, size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct hsl_buf_create arg = { .size = sizeof(arg) };
	int ret;

	if (!len || len > SIZE_MAX - page)
		return -EINVAL;
	arg.len = (len + page - 1) & ~(page - 1);
	ret = hsl_ioctl(ctx, HSL_BUF_CREATE, &arg);
	return ret ? ret : arg.fd;
}

HSL_PUBLIC int hsl_buf_share(struct hsl_ctx *ctx, int fd, uint32_t rights)
{
	struct hsl_buf_share arg = { .size = sizeof(arg), .fd = fd, .rights = rights };
	int ret = hsl_ioctl(ctx, HSL_BUF_SHARE, &arg);

	return ret ? ret : arg.share;
}

HSL_PUBLIC int hsl_buf_revoke(struct hsl_ctx *ctx, int fd, int share)
{
	struct hsl_buf_revoke arg = { .size = sizeof(arg), .fd = fd, .share = share };

	return hsl_ioctl(ctx, HSL_BUF_REVOKE, &arg);
}

HSL_PUBLIC int hsl_import(struct hsl_ctx *ctx, int fd, uint64_t offset, size_t len, int prot, void **mem)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct hsl_buf_import arg = { .size = sizeof(arg), .fd = fd };
	struct import *im;
	int ret;

	if (!len || len > SIZE_MAX - page || offset & (page - 1) || offset > INT64_MAX)
		return -EINVAL;
	im = calloc(1, sizeof(*im));
	if (!im)
		return -ENOMEM;
	im->len = (len + page - 1) & ~(page - 1);
	im->mem = mmap(NULL, im->len, prot, MAP_SHARED, fd, offset);
	if (im->mem == MAP_FAILED) {
		ret = -errno;
		goto err_free;
	}
	arg.addr = (uintptr_t)im->mem;
	arg.len = im->len;
	ret = hsl_ioctl(ctx, HSL_BUF_IMPORT, &arg);
	if (ret)
		goto err_unmap;

	im->handle = arg.handle;
	ctx_lock(ctx);
	im->next = ctx->imports;
	ctx->imports = im;
	ctx_unlock(ctx);
	*mem = im->mem;
	return 0;

err_unmap:
	munmap(im->mem, im->len);
err_free:
	free(im);
	return ret;
}

HSL_PUBLIC int hsl_unimport(struct hsl_ctx *ctx, void *mem)
{
	struct hsl_buf_unimport arg = { .size = sizeof(arg) };
	struct import **p, *im;

	if (!mem)
		return 0;
	ctx_lock(ctx);
	for (p = &ctx->imports; *p && (*p)->mem != mem; p = &(*p)->next)
		;
	im = *p;
	if (im)
		*p = im->next;
	ctx_unlock(ctx);
	if (!im)
		return -EINVAL;
	/* If the context is dead, or bound anew, it has gone already. */
	if (im->handle) {
		arg.handle = im->handle;
		hsl_ioctl(ctx, HSL_BUF_UNIMPORT, &arg);
	}
	munmap(im->mem, im->len);
	free(im);
	return 0;
}

/* The mappings stay. */
void imports_forget(struct hsl_ctx *ctx)
{
	while (ctx->imports) {
		struct import *im = ctx->imports;

		ctx->imports = im->next;
		free(im);
	}
}
