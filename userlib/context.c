// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Contexts: an open device, what it reports, what it counted, what went wrong. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

#define DEV_DIR	"/dev/hsl"
#define CPU_NAME	"cpu"

int hsl_ioctl(const struct hsl_ctx *ctx, unsigned long cmd, void *arg)
{
	if (ctx->cpu)
		return cpu_ioctl(ctx->cpu, cmd, arg);
	return ioctl(ctx->fd, cmd, arg) < 0 ? -errno : 0;
}

/*
 * An option structure of a program that was compiled against an older or a
 * newer library, by the rules of <linux/hsl.h>: what it does not have is 0,
 * what this library does not know has to be.
 */
int hsl_take_opts(void *known, size_t known_size, size_t min_size, const void *user)
{
	const unsigned char *bytes = user;
	uint32_t size, i;

	memcpy(&size, user, sizeof(size));
	if (size < min_size)
		return -EINVAL;
	/* No version will be that long: a size that was never set. */
	if (size > HSL_OPTS_MAX)
		return -E2BIG;
	for (i = known_size; i < size; i++)
		if (bytes[i])
			return -E2BIG;
	memset(known, 0, known_size);
	memcpy(known, user, size < known_size ? size : known_size);
	return 0;
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name + 3) - atoi((*b)->d_name + 3);
}

static int is_device(const struct dirent *d)
{
	int n, end = 0;

	return sscanf(d->d_name, "hsl%d%n", &n, &end) == 1 && !d->d_name[end];
}

/* What the program does not choose is for whoever runs it to choose. */
struct choice {
	const char *name;
	uint32_t val;
};

static const struct choice sva_choices[] = {
	{ "auto", HSL_SVA_NONE },
	{ "iommu", HSL_SVA_IOMMU },
	{ "hmm", HSL_SVA_HMM },
	{ NULL, 0 }
};

static const struct choice routes_choices[] = {
	{ "link-only", HSL_ROUTE_LINK },
	{ "link-then-pcie", HSL_ROUTE_LINK | HSL_ROUTE_PCIE },
	{ "any", HSL_ROUTE_ALL },
	{ NULL, 0 }
};

static int from_env(const char *name, const struct choice *c, uint32_t *val)
{
	const char *s = secure_getenv(name);

	if (*val || !s || !*s)
		return 0;
	for (; c->name; c++) {
		if (!strcmp(s, c->name)) {
			*val = c->val;
			return 0;
		}
	}
	return -EOPNOTSUPP;
}

static int open_path(const char *path, uint32_t sva)
{
	struct hsl_bind bind = { .size = sizeof(bind), .sva = sva };
	int fd, ret;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (sva && ioctl(fd, HSL_BIND, &bind) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* The first that opens; if none does, why the first did not. */
static int open_first(uint32_t sva)
{
	struct dirent **found;
	int i, n, ret = -ENOENT;

	n = scandir(DEV_DIR, &found, is_device, by_number);
	if (n < 0)
		return -errno;
	for (i = 0; i < n; i++) {
		char path[sizeof(DEV_DIR) + sizeof(found[i]->d_name) + 1];

		snprintf(path, sizeof(path), DEV_DIR "/%s", found[i]->d_name);
		free(found[i]);
		if (ret < 0) {
			int fd = open_path(path, sva);

			if (fd >= 0 || !i)
				ret = fd;
		}
	}
	free(found);
	return ret;
}

/* Sets c->fd, or c->cpu. */
static int open_device(struct hsl_ctx *c, const char *path, uint32_t sva)
{
	int ret;

	c->fd = -1;
	if (!path) {
		path = secure_getenv("HSL_DEVICE");
		if (path && !*path)
			path = NULL;
	}
	/* It carries addresses in none of the ways that can be asked for. */
	if (path && !strcmp(path, CPU_NAME))
		return sva ? -EOPNOTSUPP : cpu_open(&c->cpu);
	ret = path ? open_path(path, sva) : open_first(sva);
	if (ret < 0)
		return ret;
	c->fd = ret;
	return 0;
}

static void close_device(struct hsl_ctx *c)
{
	if (c->cpu)
		cpu_close(c->cpu);
	else
		close(c->fd);
}

HSL_PUBLIC int hsl_open(const char *path, const struct hsl_open_opts *user, struct hsl_ctx **ctx)
{
	struct hsl_open_opts opts = { .size = sizeof(opts) };
	struct hsl_query info = { .size = sizeof(info) };
	struct hsl_ctx *c;
	int ret;

	if (user) {
		ret = hsl_take_opts(&opts, sizeof(opts), HSL_OPEN_OPTS_MIN, user);
		if (ret)
			return ret;
	}
	if (opts.flags || opts.routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	ret = from_env("HSL_SVA", sva_choices, &opts.sva);
	if (!ret)
		ret = from_env("HSL_ROUTES", routes_choices, &opts.routes);
	if (ret)
		return ret;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	ret = open_device(c, path, opts.sva);
	if (ret)
		goto err_free;
	ret = hsl_ioctl(c, HSL_QUERY, &info);
	if (ret)
		goto err_close;
	memory_watch_forks();
	c->pid = getpid();
	c->max_xfer = info.max_xfer;
	c->max_ring_entries = info.max_ring_entries;
	c->routes = opts.routes;
	c->trace_fd = hsl_trace_open();
	pthread_mutex_init(&c->lock, NULL);
	*ctx = c;
	return 0;

err_close:
	close_device(c);
err_free:
	free(c);
	return ret;
}

HSL_PUBLIC void hsl_close(struct hsl_ctx *ctx)
{
	int cancel;

	if (!ctx)
		return;
	/* All of it or nothing: close() is where a thread may be cancelled. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/*
	 * In a forked child the first handle reads as zeros, its link too: the
	 * rest of these small mappings stays until the child exits.
	 */
	while (ctx->queues)
		queue_free(ctx, ctx->queues);
	allocs_forget(ctx);
	imports_forget(ctx);
	close_device(ctx);
	if (ctx->trace_fd >= 0)
		close(ctx->trace_fd);
	/* Another thread of the parent may have had it. */
	if (ctx_is_ours(ctx))
		pthread_mutex_destroy(&ctx->lock);
	free(ctx);
	pthread_setcancelstate(cancel, NULL);
}

HSL_PUBLIC int hsl_fd(const struct hsl_ctx *ctx)
{
	return ctx->cpu ? -EOPNOTSUPP : ctx->fd;
}

HSL_PUBLIC int hsl_query(struct hsl_ctx *ctx, struct hsl_query *info)
{
	return hsl_ioctl(ctx, HSL_QUERY, info);
}

HSL_PUBLIC int hsl_counters(struct hsl_ctx *ctx, const struct hsl_queue *q, uint64_t *values, unsigned int nr)
{
	struct hsl_counters arg = {
		.size = sizeof(arg),
		.queue = HSL_QUEUE_NONE,
		.nr = nr,
		.values = (uintptr_t)values,
	};
	int ret;

	if (q && !queue_is_ours(q))
		return -EPERM;
	if (q)
		arg.queue = to_queue(q)->id;
	ret = hsl_ioctl(ctx, HSL_COUNTERS, &arg);
	return ret ? ret : (int)arg.nr;
}

HSL_PUBLIC int hsl_peers(struct hsl_ctx *ctx, struct hsl_peer_info *peers, unsigned int nr)
{
	struct hsl_peers arg = {
		.size = sizeof(arg),
		.nr = nr,
		.routes = ctx->routes,
		.peers = (uintptr_t)peers,
	};
	int ret;

	ret = hsl_ioctl(ctx, HSL_PEERS, &arg);
	return ret ? ret : (int)arg.nr;
}

HSL_PUBLIC int hsl_events(struct hsl_ctx *ctx, struct hsl_event *events, unsigned int nr, uint32_t *lost)
{
	struct hsl_events arg = {
		.size = sizeof(arg),
		.nr = nr,
		.events = (uintptr_t)events,
	};
	int ret;

	ret = hsl_ioctl(ctx, HSL_EVENTS, &arg);
	if (ret)
		return ret;
	if (lost)
		*lost = arg.lost;
	return arg.nr;
}
