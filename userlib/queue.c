// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Queues: their memory, their life, their state. The fast path is in hsl.h. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

static int order_of(uint32_t entries)
{
	return __builtin_ctz(entries);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/*
 * Rings lie as: control words, descriptors, completions. Each part is a
 * multiple of 64 bytes long, which is the alignment of the next.
 */
size_t hsl_rings_size(uint32_t sq_entries, uint32_t cq_entries)
{
	return sizeof(struct hsl_q_ctl) + sq_entries * sizeof(struct hsl_desc) +
	       cq_entries * sizeof(struct hsl_cqe);
}

/*
 * @mem is zeroed and aligned to 128 bytes. @first is the index of the first
 * descriptor and completion: 0 with a device, anything in a test.
 */
void hsl_queue_init_rings(struct hsl_queue *q, void *mem, uint32_t sq_entries, uint32_t cq_entries,
			  volatile uint32_t *doorbell, uint32_t first)
{
	memset(q, 0, sizeof(*q));
	q->ctl = mem;
	q->sq = (struct hsl_desc *)(q->ctl + 1);
	q->cq = (struct hsl_cqe *)(q->sq + sq_entries);
	q->doorbell = doorbell;
	q->sq_entries = sq_entries;
	q->cq_entries = cq_entries;
	q->cq_order = order_of(cq_entries);
	q->sq_tail = q->sq_published = q->sq_head = q->cq_head = first;
	q->ctl->sq_head = q->ctl->sq_tail = q->ctl->cq_head = q->ctl->cq_event = first;
}

/* Zeroed anonymous memory with a rule for what a fork makes of it. */
static void *map_anonymous(size_t size, int on_fork)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, size, on_fork)) {
		munmap(p, size);
		return NULL;
	}
	return p;
}

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* Everything but the queue in the device, which is gone or never was. */
static void unmap_queue(struct queue *p)
{
	int kind;

	for (kind = 0; kind < HSL_EVENTFD_NR; kind++)
		if (p->eventfd[kind] >= 0)
			close(p->eventfd[kind]);
	if (p->q.doorbell)
		munmap((void *)p->q.doorbell, page_size());
	if (p->rings.mem)
		munmap(p->rings.mem, p->rings.size);
	munmap(p, page_size());
}

static void destroy_in_device(struct hsl_ctx *ctx, uint32_t id)
{
	struct hsl_queue_destroy arg = { .size = sizeof(arg), .queue = id };

	/* It can fail only because the device is gone, and the queue with it. */
	hsl_ioctl(ctx, HSL_QUEUE_DESTROY, &arg);
}

void queue_free(struct hsl_ctx *ctx, struct queue *p)
{
	struct queue **link;

	ctx_lock(ctx);
	for (link = &ctx->queues; *link != p; link = &(*link)->next)
		;
	*link = p->next;
	ctx_unlock(ctx);

	if (queue_is_ours(&p->q)) {
		destroy_in_device(ctx, p->id);
		unmap_queue(p);
	} else {
		munmap(p, page_size());
	}
}

/* How the device is woken: by a page of its own, or if it is the CPU by hsl_wake(). */
static int map_doorbell(struct hsl_ctx *ctx, struct queue *p, uint64_t offset)
{
	void *doorbell;

	if (ctx->cpu) {
		p->cpu = cpu_queue(ctx->cpu, p->id);
		return 0;
	}
	doorbell = mmap(NULL, page_size(), PROT_WRITE, MAP_SHARED, ctx->fd, offset);
	if (doorbell == MAP_FAILED)
		return -errno;
	p->q.doorbell = doorbell;
	return 0;
}

HSL_PUBLIC int hsl_queue_create(struct hsl_ctx *ctx, const struct hsl_queue_opts *user,
				struct hsl_queue **queue)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts) };
	struct hsl_queue_create arg = { .size = sizeof(arg) };
	struct queue *p;
	int ret;

	if (user) {
		ret = hsl_take_opts(&opts, sizeof(opts), HSL_QUEUE_OPTS_MIN, user);
		if (ret)
			return ret;
	}
	if (opts.flags || opts.reserved || opts.routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	if (!opts.sq_entries)
		opts.sq_entries = min_u32(HSL_DEFAULT_ENTRIES, ctx->max_ring_entries);
	if (!opts.cq_entries)
		opts.cq_entries = opts.sq_entries;
	if (!opts.spin)
		opts.spin = HSL_DEFAULT_SPIN;
	/* The kernel checks too, but the memory would have been taken by then. */
	if (!is_power_of_two(opts.sq_entries) || !is_power_of_two(opts.cq_entries) ||
	    opts.cq_entries < opts.sq_entries || opts.cq_entries > ctx->max_ring_entries)
		return -EINVAL;

	p = map_anonymous(page_size(), MADV_WIPEONFORK);
	if (!p)
		return -ENOMEM;
	p->ctx = ctx;
	p->spin = opts.spin;
	p->eventfd[HSL_EVENTFD_COMPLETION] = p->eventfd[HSL_EVENTFD_ERROR] = -1;

	ret = -ENOMEM;
	p->rings.size = hsl_rings_size(opts.sq_entries, opts.cq_entries);
	p->rings.mem = map_anonymous(p->rings.size, MADV_DONTFORK);
	if (!p->rings.mem)
		goto err;
	/* So that the device's first look at the rings is no page request. */
	if (madvise(p->rings.mem, p->rings.size, MADV_POPULATE_WRITE))
		memset(p->rings.mem, 0, p->rings.size);
	hsl_queue_init_rings(&p->q, p->rings.mem, opts.sq_entries, opts.cq_entries, NULL, 0);

	arg.sq_addr = (uintptr_t)p->q.sq;
	arg.cq_addr = (uintptr_t)p->q.cq;
	arg.ctl_addr = (uintptr_t)p->q.ctl;
	arg.sq_entries = opts.sq_entries;
	arg.cq_entries = opts.cq_entries;
	arg.ops = opts.ops;
	arg.priority = opts.priority;
	arg.routes = opts.routes ? opts.routes : ctx->routes;
	arg.coalesce_count = opts.coalesce_count;
	arg.coalesce_usecs = opts.coalesce_usecs;
	ret = hsl_ioctl(ctx, HSL_QUEUE_CREATE, &arg);
	if (ret)
		goto err;
	p->id = arg.queue;

	ret = map_doorbell(ctx, p, arg.doorbell_offset);
	if (ret) {
		destroy_in_device(ctx, p->id);
		goto err;
	}
	if (ctx->trace_fd >= 0)
		hsl_trace_queue(p);

	ctx_lock(ctx);
	p->next = ctx->queues;
	ctx->queues = p;
	ctx_unlock(ctx);
	*queue = &p->q;
	return 0;

err:
	unmap_queue(p);
	return ret;
}

HSL_PUBLIC int hsl_queue_destroy(struct hsl_queue *q)
{
	struct queue *p = to_queue(q);
	int cancel;

	if (!q)
		return 0;
	if (!queue_is_ours(q))
		return -EPERM;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	queue_free(p->ctx, p);
	pthread_setcancelstate(cancel, NULL);
	return 0;
}

HSL_PUBLIC void hsl_wake(struct hsl_queue *q)
{
	if (to_queue(q)->cpu)
		cpu_queue_wake(to_queue(q)->cpu);
}

HSL_PUBLIC int hsl_queue_id(const struct hsl_queue *q)
{
	return queue_is_ours(q) ? (int)to_queue(q)->id : -EPERM;
}

HSL_PUBLIC int hsl_queue_state(const struct hsl_queue *q, struct hsl_queue_state *state)
{
	if (!queue_is_ours(q))
		return -EPERM;
	state->queue = to_queue(q)->id;
	return hsl_ioctl(to_queue(q)->ctx, HSL_QUEUE_STATE, state);
}

HSL_PUBLIC int hsl_queue_eventfd(struct hsl_queue *q, enum hsl_eventfd_kind kind)
{
	struct hsl_queue_eventfd arg = { .size = sizeof(arg), .kind = kind };
	struct queue *p = to_queue(q);
	int ret;

	if (!queue_is_ours(q))
		return -EPERM;
	if ((unsigned int)kind >= HSL_EVENTFD_NR)
		return -EINVAL;
	if (p->eventfd[kind] >= 0)
		return p->eventfd[kind];

	arg.queue = p->id;
	arg.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (arg.fd < 0)
		return -errno;
	ret = hsl_ioctl(p->ctx, HSL_QUEUE_EVENTFD, &arg);
	if (ret) {
		close(arg.fd);
		return ret;
	}
	p->eventfd[kind] = arg.fd;
	return arg.fd;
}
