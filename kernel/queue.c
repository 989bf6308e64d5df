// SPDX-License-Identifier: GPL-2.0
/*
 * Queues: rings in the process's memory that the device reads and writes at
 * the process's own addresses, and a doorbell page that the process may map.
 *
 * A queue is visible to other threads from the moment its id was copied out;
 * it runs exactly as long as it is in hsl_context.queues. Each kind of user is
 * cut off in its own way when it stops: mappings and the submit call by
 * db_live, signals by their grants, interrupts by the vector's list, events by
 * hsl_device.queues.
 */
#include <linux/eventfd.h>
#include <linux/iopoll.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "hsl.h"
#include "trace.h"

#define HSL_STOP_TIMEOUT_US	(2 * USEC_PER_SEC)

#define HSL_RING_ALIGN		64
#define HSL_CTL_ALIGN		128
#define HSL_PRIORITY_MAX	3
#define HSL_COALESCE_USECS_MAX	1000000

static void hsl_queue_free(struct kref *kref)
{
	struct hsl_queue *q = container_of(kref, struct hsl_queue, kref);

	if (q->sink)
		__free_page(q->sink);
	mutex_destroy(&q->submit_lock);
	mutex_destroy(&q->db_lock);
	kfree(q);
}

void hsl_queue_put(struct hsl_queue *q)
{
	kref_put(&q->kref, hsl_queue_free);
}

/*
 * No such queue: the caller's mistake, or one that stopped with its context.
 * Whoever stops a context takes its queues away after he has said so.
 */
static struct hsl_queue *hsl_queue_missing(struct hsl_context *ctx, int err)
{
	return ERR_PTR(READ_ONCE(ctx->dead) ? -ENODEV : err);
}

/* The queue, or an error: -ENOENT, -ENODEV. */
struct hsl_queue *hsl_queue_get(struct hsl_context *ctx, u32 id)
{
	struct hsl_queue *q;

	xa_lock(&ctx->queues);
	q = xa_load(&ctx->queues, id);
	if (q)
		kref_get(&q->kref);
	xa_unlock(&ctx->queues);
	return q ?: hsl_queue_missing(ctx, -ENOENT);
}

/* By the number that its doorbell has as an mmap offset; -EINVAL, -ENODEV. */
static struct hsl_queue *hsl_queue_get_hw(struct hsl_context *ctx, unsigned long hwq)
{
	struct hsl_queue *q, *found = NULL;
	unsigned long id;

	xa_lock(&ctx->queues);
	xa_for_each(&ctx->queues, id, q) {
		if (q->hwq != hwq)
			continue;
		kref_get(&q->kref);
		found = q;
		break;
	}
	xa_unlock(&ctx->queues);
	return found ?: hsl_queue_missing(ctx, -EINVAL);
}

/* The first queue whose id is *id or more. */
static struct hsl_queue *hsl_queue_get_next(struct hsl_context *ctx, unsigned long *id)
{
	struct hsl_queue *q;

	xa_lock(&ctx->queues);
	q = xa_find(&ctx->queues, id, ULONG_MAX, XA_PRESENT);
	if (q)
		kref_get(&q->kref);
	xa_unlock(&ctx->queues);
	return q;
}

static u32 hsl_queue_reg(struct hsl_queue *q)
{
	return HSL_REG_Q(q->hwq);
}

/*
 * The status register, or -ENODEV. The caller holds the context's lock and
 * knows it to be alive, or has claimed the device.
 */
int hsl_queue_status(struct hsl_queue *q, u32 *status)
{
	struct hsl_device *hdev = q->ctx->hdev;
	u32 val = hsl_read(hdev, hsl_queue_reg(q) + HSL_Q_STATUS);

	if (HSL_Q_STATE(val) > HSL_Q_FAILED) {
		if (!hsl_hw_gone(hdev))
			dev_err_ratelimited(&hdev->dev, "queue %u: status %#x\n", q->hwq, val);
		return -ENODEV;
	}
	*status = val;
	return 0;
}

/* @values: HSL_Q_CNT_NR of them. */
void hsl_queue_counters(struct hsl_queue *q, u64 *values)
{
	u32 n;

	for (n = 0; n < HSL_Q_CNT_NR; n++)
		values[n] = hsl_read64(q->ctx->hdev, hsl_queue_reg(q) + HSL_Q_COUNTER(n));
}

/*
 * Creating
 */

/* A part of the process's address space, @bytes long? */
static int hsl_user_range(u64 addr, u64 bytes, u64 align)
{
	if (!IS_ALIGNED(addr, align) || addr >= TASK_SIZE || bytes > TASK_SIZE - addr)
		return -EINVAL;
	return 0;
}

static int hsl_user_writable(u64 addr, size_t bytes)
{
	return fault_in_safe_writeable(u64_to_user_ptr(addr), bytes) ? -EFAULT : 0;
}

/* Can there be such a queue on such a device? What is left to us is filled in. */
static int hsl_queue_check(const struct hsl_limits *limits, struct hsl_queue_create *par)
{
	u32 max = 1u << limits->ring_order;
	int ret;

	if (par->sq_entries < 2 || par->sq_entries > max || !is_power_of_2(par->sq_entries) ||
	    par->cq_entries < par->sq_entries || par->cq_entries > max ||
	    !is_power_of_2(par->cq_entries))
		return -EINVAL;
	if (par->priority > HSL_PRIORITY_MAX || par->coalesce_usecs > HSL_COALESCE_USECS_MAX ||
	    (par->coalesce_count > 1 && !par->coalesce_usecs))
		return -EINVAL;
	if (par->ops & ~limits->ops)
		return -EOPNOTSUPP;
	if (!par->ops)
		par->ops = limits->ops;
	if (par->reserved || par->routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	if (!par->routes)
		par->routes = HSL_ROUTE_ALL;

	ret = hsl_user_range(par->sq_addr, (u64)par->sq_entries * sizeof(struct hsl_desc),
			     HSL_RING_ALIGN);
	if (!ret)
		ret = hsl_user_range(par->cq_addr, (u64)par->cq_entries * sizeof(struct hsl_cqe),
				     HSL_RING_ALIGN);
	if (!ret)
		ret = hsl_user_range(par->ctl_addr, sizeof(struct hsl_q_ctl), HSL_CTL_ALIGN);
	return ret;
}

/*
 * Nothing keeps the rings mapped later on; a queue that loses them fails by
 * itself. This only tells a mistake early, and takes the first page faults here
 * and not in the device.
 */
static int hsl_queue_fault_in(const struct hsl_queue_create *par)
{
	int ret;

	ret = hsl_user_writable(par->sq_addr, par->sq_entries * sizeof(struct hsl_desc));
	if (!ret)
		ret = hsl_user_writable(par->cq_addr, par->cq_entries * sizeof(struct hsl_cqe));
	if (!ret)
		ret = hsl_user_writable(par->ctl_addr, sizeof(struct hsl_q_ctl));
	return ret;
}

static struct hsl_queue *hsl_queue_alloc(struct hsl_context *ctx,
					 const struct hsl_queue_create *par)
{
	struct hsl_queue *q;

	q = kzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
	if (!q)
		return NULL;
	kref_init(&q->kref);
	q->ctx = ctx;
	q->par = *par;
	mutex_init(&q->submit_lock);
	mutex_init(&q->db_lock);
	INIT_LIST_HEAD(&q->vector_node);
	INIT_LIST_HEAD(&q->grants);
	return q;
}

/* How a queue that was told to stop takes it */
enum hsl_stop {
	HSL_STOP_DONE,
	HSL_STOP_DRAINS,	/* works no more; page requests are not answered yet */
	HSL_STOP_STUCK,		/* nobody knows what it does */
};

/* Numbers of queues that had page requests outstanding when they were destroyed */
static void hsl_queue_reclaim(struct hsl_device *hdev)
{
	unsigned long hwq;
	u32 status;

	lockdep_assert_held(&hdev->lock);

	if (hdev->state != HSL_ALIVE)
		return;
	for_each_set_bit(hwq, hdev->drain_map, hdev->limits.nr_queues) {
		status = hsl_read(hdev, HSL_REG_Q(hwq) + HSL_Q_STATUS);
		if (HSL_Q_STATE(status) != HSL_Q_STOPPED)
			continue;
		__clear_bit(hwq, hdev->drain_map);
		__clear_bit(hwq, hdev->queue_map);
	}
}

/* Next fit, as for context numbers; @nr or more: all are taken. */
static unsigned long hsl_queue_next_fit(const unsigned long *map, unsigned long nr,
					unsigned long from)
{
	unsigned long hwq = find_next_zero_bit(map, nr, from);

	return hwq < nr ? hwq : find_first_zero_bit(map, nr);
}

static int hsl_queue_get_number(struct hsl_queue *q)
{
	struct hsl_device *hdev = q->ctx->hdev;
	u32 nr = hdev->limits.nr_queues;
	unsigned long hwq;
	int ret;

	ret = hsl_user_take(q->ctx->user, HSL_QUOTA_QUEUES);
	if (ret)
		return ret;

	guard(mutex)(&hdev->lock);

	hsl_queue_reclaim(hdev);
	hwq = hsl_queue_next_fit(hdev->queue_map, nr, hdev->next_queue);
	if (hwq >= nr) {
		hsl_user_give_back(q->ctx->user, HSL_QUOTA_QUEUES);
		return -ENOSPC;
	}
	__set_bit(hwq, hdev->queue_map);
	hdev->next_queue = hwq + 1;
	q->hwq = hwq;
	return 0;
}

static void hsl_queue_put_number(struct hsl_queue *q, enum hsl_stop how)
{
	struct hsl_device *hdev = q->ctx->hdev;

	hsl_user_give_back(q->ctx->user, HSL_QUOTA_QUEUES);
	guard(mutex)(&hdev->lock);
	switch (how) {
	case HSL_STOP_DONE:
		__clear_bit(q->hwq, hdev->queue_map);
		break;
	case HSL_STOP_DRAINS:
		__set_bit(q->hwq, hdev->drain_map);
		break;
	case HSL_STOP_STUCK:
		__set_bit(q->hwq, hdev->stuck_map);
		break;
	}
}

static void hsl_queue_program(struct hsl_queue *q)
{
	struct hsl_device *hdev = q->ctx->hdev;
	u32 reg = hsl_queue_reg(q);

	hsl_write(hdev, reg + HSL_Q_CONTEXT, q->ctx->nr);
	hsl_write(hdev, reg + HSL_Q_VECTOR, hsl_irq_index(q->vector));
	hsl_write64(hdev, reg + HSL_Q_SQ_BASE, q->par.sq_addr);
	hsl_write64(hdev, reg + HSL_Q_CQ_BASE, q->par.cq_addr);
	hsl_write64(hdev, reg + HSL_Q_CTL_BASE, q->par.ctl_addr);
	hsl_write(hdev, reg + HSL_Q_SQ_ORDER, ilog2(q->par.sq_entries));
	hsl_write(hdev, reg + HSL_Q_CQ_ORDER, ilog2(q->par.cq_entries));
	hsl_write64(hdev, reg + HSL_Q_OPS, q->par.ops);
	hsl_write(hdev, reg + HSL_Q_COALESCE_COUNT, q->par.coalesce_count);
	hsl_write(hdev, reg + HSL_Q_COALESCE_USECS, q->par.coalesce_usecs);
	hsl_write(hdev, reg + HSL_Q_PRIORITY, q->par.priority);
	hsl_write(hdev, reg + HSL_Q_ROUTES, q->par.routes);
}

/*
 * A page fault that the kernel cannot end soon, of a file whose server sleeps
 * for instance, keeps a queue from STOPPED. It accesses nothing by then, and it
 * must not cost its neighbours a reset.
 */
static enum hsl_stop hsl_queue_wait_stopped(struct hsl_queue *q, ktime_t until)
{
	struct hsl_device *hdev = q->ctx->hdev;
	s64 left = ktime_us_delta(until, ktime_get());
	u32 status;
	int ret;

	/* A status that no queue has is the status of a device that is gone. */
	ret = readl_poll_timeout(hdev->ctrl + hsl_queue_reg(q) + HSL_Q_STATUS, status,
				 HSL_Q_STATE(status) == HSL_Q_STOPPED ||
				 HSL_Q_STATE(status) > HSL_Q_FAILED,
				 50, max_t(s64, left, 100));
	if (!ret)
		return HSL_STOP_DONE;
	if (HSL_Q_STATE(status) == HSL_Q_STOPPING)
		return HSL_STOP_DRAINS;
	dev_err(&hdev->dev, "queue %u does not stop, status %#x\n", q->hwq, status);
	return HSL_STOP_STUCK;
}

/* Until when queues that are stopped now may take */
ktime_t hsl_queue_stop_deadline(void)
{
	return ktime_add_us(ktime_get(), HSL_STOP_TIMEOUT_US);
}

/* @error: what it failed of when it had run, enum hsl_q_error */
static int hsl_queue_run(struct hsl_queue *q, u32 *error)
{
	struct hsl_device *hdev = q->ctx->hdev;
	u32 status;
	int ret;

	*error = HSL_QERR_NONE;

	ret = hsl_queue_status(q, &status);
	if (ret)
		return ret;
	if (HSL_Q_STATE(status) == HSL_Q_STOPPED) {
		hsl_queue_program(q);
		hsl_write(hdev, hsl_queue_reg(q) + HSL_Q_CTRL, HSL_Q_RUN);
		ret = hsl_queue_status(q, &status);
		if (ret)
			return ret;
		if (HSL_Q_STATE(status) == HSL_Q_RUNNING)
			return 0;
		hsl_write(hdev, hsl_queue_reg(q) + HSL_Q_CTRL, 0);
	}

	dev_dbg(&hdev->dev, "queue %u refused, status %#x\n", q->hwq, status);
	if (HSL_Q_ERROR(status) > HSL_QERR_CONTEXT)
		*error = HSL_Q_ERROR(status);
	switch (HSL_Q_ERROR(status)) {
	case HSL_QERR_SQ_FAULT:
	case HSL_QERR_CQ_FAULT:
	case HSL_QERR_CTL_FAULT:
	case HSL_QERR_BUS:
	case HSL_QERR_POISON:
	case HSL_QERR_PEER:
		return -EFAULT;
	default:
		return -EIO;
	}
}

/*
 * From here on other threads see it. Gives the number back if it fails; @stuck: it
 * does not stop either, and the device must be reset.
 */
static int hsl_queue_start(struct hsl_queue *q, bool *stuck)
{
	struct hsl_context *ctx = q->ctx;
	struct hsl_device *hdev = ctx->hdev;
	enum hsl_stop how;
	u32 error;
	int ret;

	guard(mutex)(&ctx->lock);

	if (ctx->dead) {
		hsl_queue_put_number(q, HSL_STOP_DONE);
		return -ENODEV;
	}

	q->vector = hsl_irq_vector(hdev, q->hwq);
	/* Events may come at once. */
	scoped_guard(spinlock, &hdev->event_lock)
		hdev->queues[q->hwq] = q;

	ret = hsl_queue_run(q, &error);
	if (ret) {
		how = hsl_queue_wait_stopped(q, hsl_queue_stop_deadline());
		/*
		 * It may have run and failed at once, and the event says of what; unless
		 * we have stopped it before the device came to send one.
		 */
		hsl_evq_process(hdev);
		if (error)
			hsl_event_failed(q, error);
		scoped_guard(spinlock, &hdev->event_lock)
			hdev->queues[q->hwq] = NULL;
		hsl_queue_put_number(q, how);
		*stuck = how == HSL_STOP_STUCK;
		return ret;
	}

	/*
	 * Not before: CQ_TAIL is that of the number's last queue until then, and what
	 * is seen of it could be just what this one comes to. Nobody waits yet.
	 */
	hsl_irq_add(q);
	scoped_guard(mutex, &q->db_lock)
		q->db_live = true;
	/* The place was reserved: no memory is needed. */
	xa_store(&ctx->queues, q->id, q, GFP_KERNEL);
	trace_hsl_queue_create(q);
	return 0;
}

int hsl_ioctl_queue_create(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_queue_create *cmd = ucmd->cmd;
	bool stuck = false;
	int ret;

	ret = hsl_queue_check(&ctx->hdev->limits, cmd);
	if (!ret)
		ret = hsl_queue_fault_in(cmd);
	if (ret)
		return ret;

	struct hsl_queue *q __free(hsl_queue_put) = hsl_queue_alloc(ctx, cmd);

	if (!q)
		return -ENOMEM;

	ret = xa_alloc(&ctx->queues, &q->id, NULL, XA_LIMIT(0, ctx->hdev->max_queues - 1),
		       GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;

	ret = hsl_queue_get_number(q);
	if (!ret) {
		cmd->queue = q->id;
		cmd->doorbell_offset = (u64)q->hwq << PAGE_SHIFT;
		ret = hsl_ucmd_respond(ucmd);
		if (ret)
			hsl_queue_put_number(q, HSL_STOP_DONE);
		else
			ret = hsl_queue_start(q, &stuck);
	}
	if (ret) {
		xa_erase(&ctx->queues, q->id);
		if (stuck)
			hsl_device_reset(ctx->hdev, "a queue that did not start does not stop");
		return ret;
	}

	/* The reference went to ctx->queues. */
	retain_and_null_ptr(q);
	return 0;
}

/*
 * Stopping
 */

/* Whoever waits for completions looks again. */
void hsl_queue_tell(struct hsl_queue *q)
{
	guard(spinlock_irqsave)(&q->vector->lock);
	if (q->eventfd[HSL_EVENTFD_COMPLETION])
		eventfd_signal(q->eventfd[HSL_EVENTFD_COMPLETION]);
}

static void hsl_queue_signal_all(struct hsl_queue *q)
{
	struct hsl_device *hdev = q->ctx->hdev;

	scoped_guard(spinlock, &hdev->event_lock) {
		if (q->eventfd[HSL_EVENTFD_ERROR])
			eventfd_signal(q->eventfd[HSL_EVENTFD_ERROR]);
	}
	hsl_queue_tell(q);
}

/* First half: nobody can give the queue more work, and the device begins to stop. */
static void hsl_queue_stop_begin(struct hsl_queue *q)
{
	struct hsl_context *ctx = q->ctx;

	lockdep_assert_held(&ctx->lock);

	hsl_signal_queue_stop(q);
	scoped_guard(mutex, &q->db_lock)
		q->db_live = false;
	if (ctx->mapping)
		unmap_mapping_range(ctx->mapping, (loff_t)q->hwq << PAGE_SHIFT, PAGE_SIZE, 1);
	hsl_write(ctx->hdev, hsl_queue_reg(q) + HSL_Q_CTRL, 0);
}

/* Second half; drops the reference of ctx->queues. false: it has not stopped. */
static bool hsl_queue_stop_end(struct hsl_queue *q, ktime_t until)
{
	struct hsl_context *ctx = q->ctx;
	struct hsl_device *hdev = ctx->hdev;
	struct eventfd_ctx *eventfd;
	u64 values[HSL_Q_CNT_NR];
	enum hsl_stop how;
	int n;

	lockdep_assert_held(&ctx->lock);

	how = hsl_queue_wait_stopped(q, until);
	/* What it had to say, before its number names another queue. */
	hsl_evq_process(hdev);

	if (!hsl_hw_gone(hdev)) {
		hsl_queue_counters(q, values);
		for (n = 0; n < HSL_Q_CNT_NR; n++)
			ctx->counters[n] += values[n];
	}

	xa_erase(&ctx->queues, q->id);
	hsl_irq_del(q);
	scoped_guard(spinlock, &hdev->event_lock)
		hdev->queues[q->hwq] = NULL;
	trace_hsl_queue_destroy(q);

	/* Whoever sleeps on them shall look. */
	hsl_queue_signal_all(q);
	for (n = 0; n < HSL_EVENTFD_NR; n++) {
		scoped_guard(spinlock, &hdev->event_lock) {
			guard(spinlock_irqsave)(&q->vector->lock);
			eventfd = q->eventfd[n];
			q->eventfd[n] = NULL;
		}
		if (eventfd)
			eventfd_ctx_put(eventfd);
	}

	hsl_queue_put_number(q, how);
	hsl_queue_put(q);
	return how != HSL_STOP_STUCK;
}

/* All queues of the context: they stop side by side. */
bool hsl_queue_stop_all(struct hsl_context *ctx, ktime_t until)
{
	struct hsl_queue *q;
	unsigned long id;
	bool stopped = true;

	lockdep_assert_held(&ctx->lock);

	xa_for_each(&ctx->queues, id, q)
		hsl_queue_stop_begin(q);
	xa_for_each(&ctx->queues, id, q)
		stopped &= hsl_queue_stop_end(q, until);
	return stopped;
}

/* The address space ends, see mm.c: stop, and do not wait. */
void hsl_queue_halt_all(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_queue *q;
	unsigned long id;

	guard(mutex)(&hdev->lock);
	/* Else somebody is stopping all queues of the device already. */
	if (hdev->state != HSL_ALIVE)
		return;
	xa_lock(&ctx->queues);
	xa_for_each(&ctx->queues, id, q)
		hsl_write(hdev, hsl_queue_reg(q) + HSL_Q_CTRL, 0);
	xa_unlock(&ctx->queues);
}

static int hsl_queue_destroy(struct hsl_context *ctx, u32 id)
{
	struct hsl_queue *q;
	bool stopped;

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead)
			return -ENODEV;
		/* Entries change under the lock only. */
		q = xa_load(&ctx->queues, id);
		if (!q)
			return -ENOENT;
		hsl_queue_stop_begin(q);
		stopped = hsl_queue_stop_end(q, hsl_queue_stop_deadline());
	}
	if (!stopped)
		hsl_device_reset(ctx->hdev, "a queue did not stop");
	return 0;
}

int hsl_ioctl_queue_destroy(struct hsl_ucmd *ucmd)
{
	struct hsl_queue_destroy *cmd = ucmd->cmd;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	return hsl_queue_destroy(ucmd->ctx, cmd->queue);
}

/*
 * The rest of the calls
 */

int hsl_ioctl_queue_eventfd(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_queue_eventfd *cmd = ucmd->cmd;
	struct eventfd_ctx *eventfd = NULL;
	int ret = 0;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	if (cmd->kind >= HSL_EVENTFD_NR || cmd->fd < -1)
		return -EINVAL;

	struct hsl_queue *q __free(hsl_queue_put) = hsl_queue_get(ctx, cmd->queue);

	if (IS_ERR(q))
		return PTR_ERR(q);
	if (cmd->fd >= 0) {
		eventfd = eventfd_ctx_fdget(cmd->fd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead) {
			ret = -ENODEV;
		} else if (xa_load(&ctx->queues, cmd->queue) != q) {
			ret = -ENOENT;
		} else {
			guard(spinlock)(&hdev->event_lock);
			guard(spinlock_irqsave)(&q->vector->lock);
			swap(q->eventfd[cmd->kind], eventfd);
			/* A failure before this has told those that were there. */
			if (q->failed && q->eventfd[cmd->kind])
				eventfd_signal(q->eventfd[cmd->kind]);
		}
	}
	/* The one before, or ours if it was not taken. */
	if (eventfd)
		eventfd_ctx_put(eventfd);
	return ret;
}

static int hsl_queue_state(struct hsl_context *ctx, struct hsl_queue_state *cmd)
{
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_queue *q;
	u32 status;
	int ret;

	guard(mutex)(&ctx->lock);

	if (ctx->dead)
		return -ENODEV;
	q = xa_load(&ctx->queues, cmd->queue);
	if (!q)
		return -ENOENT;
	ret = hsl_queue_status(q, &status);
	if (ret)
		return ret;

	cmd->state = HSL_Q_STATE(status);
	cmd->error = HSL_Q_ERROR(status);
	cmd->hw_queue = q->hwq;
	cmd->sq_head = hsl_read(hdev, hsl_queue_reg(q) + HSL_Q_SQ_HEAD);
	cmd->cq_tail = hsl_read(hdev, hsl_queue_reg(q) + HSL_Q_CQ_TAIL);
	return 0;
}

int hsl_ioctl_queue_state(struct hsl_ucmd *ucmd)
{
	int ret = hsl_queue_state(ucmd->ctx, ucmd->cmd);

	return ret ? ret : hsl_ucmd_respond(ucmd);
}

/* Has the completion that the process will consume next been written? */
static int hsl_queue_ready(struct hsl_queue *q, u32 head)
{
	u32 order = ilog2(q->par.cq_entries);
	struct hsl_cqe __user *cqe = u64_to_user_ptr(q->par.cq_addr);
	u16 lap;

	if (get_user(lap, &cqe[head & (q->par.cq_entries - 1)].lap))
		return -EFAULT;
	return lap == (u16)((head >> order) + 1);
}

/*
 * Level-triggered: look, ask for an interrupt, look again. When another thread
 * consumed meanwhile, it may have asked for a later one and gone to sleep on its
 * eventfd, and this has overwritten it: that thread is to ask anew.
 */
static int hsl_queue_arm(struct hsl_queue *q)
{
	struct hsl_q_ctl __user *ctl = u64_to_user_ptr(q->par.ctl_addr);
	unsigned int tries = 4;
	u32 head, now;
	int ret;

	if (get_user(head, &ctl->cq_head))
		return -EFAULT;
	do {
		ret = hsl_queue_ready(q, head);
		if (ret)
			return ret;
		if (put_user(head, &ctl->cq_event))
			return -EFAULT;
		/* The device writes the completion, then reads cq_event. */
		smp_mb();
		ret = hsl_queue_ready(q, head);
		if (ret < 0 || get_user(now, &ctl->cq_head))
			return -EFAULT;
		if (now == head)
			return ret;
		hsl_queue_tell(q);
		head = now;
	} while (tries--);
	/* Somebody is at it all the time; the caller may look as well. */
	return 1;
}

/*
 * The caller's address space is the context's. A ring that cannot be read is
 * an error to be told, not a reason to sleep: its queue will not complete.
 */
__poll_t hsl_queue_poll(struct hsl_context *ctx, bool completions)
{
	__poll_t mask = 0;
	unsigned long id;
	int ret;

	for (id = 0; ; id++) {
		struct hsl_queue *q __free(hsl_queue_put) = hsl_queue_get_next(ctx, &id);

		if (!q)
			return mask;
		if (READ_ONCE(q->failed))
			mask |= EPOLLERR;
		if (!completions)
			continue;
		ret = hsl_queue_arm(q);
		if (ret < 0)
			mask |= EPOLLERR;
		else if (ret)
			mask |= EPOLLIN | EPOLLRDNORM;
	}
}

/*
 * The doorbell page
 */

static void hsl_doorbell_open(struct vm_area_struct *vma)
{
	struct hsl_queue *q = vma->vm_private_data;

	kref_get(&q->kref);
}

static void hsl_doorbell_close(struct vm_area_struct *vma)
{
	hsl_queue_put(vma->vm_private_data);
}

static vm_fault_t hsl_doorbell_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct hsl_queue *q = vma->vm_private_data;
	struct hsl_device *hdev = q->ctx->hdev;
	phys_addr_t page;

	/* Held over the insertion, so that stopping zaps whatever was inserted. */
	guard(mutex)(&q->db_lock);

	/*
	 * A program that submits while its device goes away learns so from its
	 * next call, not from a signal: its doorbell leads nowhere.
	 */
	if (!q->db_live) {
		if (!q->sink)
			q->sink = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!q->sink)
			return VM_FAULT_OOM;
		return vmf_insert_pfn_prot(vma, vmf->address, page_to_pfn(q->sink),
					   vm_get_page_prot(vma->vm_flags));
	}
	page = pci_resource_start(hdev->pdev, hdev->db_bar) + (u64)q->hwq * HSL_DB_STRIDE;
	return vmf_insert_pfn(vma, vmf->address, PHYS_PFN(page));
}

static const struct vm_operations_struct hsl_doorbell_ops = {
	.open = hsl_doorbell_open,
	.close = hsl_doorbell_close,
	.fault = hsl_doorbell_fault,
};

int hsl_queue_mmap(struct hsl_context *ctx, struct vm_area_struct *vma)
{
	struct hsl_queue *q;

	/* A larger page would hold the doorbells of other queues. */
	if (PAGE_SIZE != HSL_DB_STRIDE)
		return -EOPNOTSUPP;
	if (vma->vm_end - vma->vm_start != PAGE_SIZE || !(vma->vm_flags & VM_SHARED) ||
	    (vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC)) != VM_WRITE)
		return -EINVAL;

	q = hsl_queue_get_hw(ctx, vma->vm_pgoff);
	if (IS_ERR(q))
		return PTR_ERR(q);

	vm_flags_mod(vma, VM_IO | VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
		     VM_MAYREAD | VM_MAYEXEC);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_private_data = q;
	vma->vm_ops = &hsl_doorbell_ops;
	return 0;
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/queue_test.c"
#endif
