// SPDX-License-Identifier: GPL-2.0
/*
 * HSL_SUBMIT: the kernel writes the ring and rings the doorbell, by the same
 * protocol as a process that does it itself. Ring and control words are the
 * process's memory; what is read there is used as an index after masking, or
 * checked.
 */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "hsl.h"
#include "trace.h"

#define HSL_SUBMIT_BATCH	8

static int hsl_submit_room(struct hsl_queue *q, u32 *tail, u32 *room)
{
	struct hsl_q_ctl __user *ctl = u64_to_user_ptr(q->par.ctl_addr);
	u32 head, used;

	if (get_user(*tail, &ctl->sq_tail) || get_user(head, &ctl->sq_head) ||
	    get_user(used, &ctl->cq_head))
		return -EFAULT;
	/* What has completed was fetched, though sq_head may say so later. */
	if ((s32)(used - head) > 0)
		head = used;
	if (*tail - head > q->par.sq_entries || *tail - used > q->par.cq_entries)
		return -EINVAL;
	/* No more in flight than completions fit, or the queue would fail. */
	*room = min(q->par.sq_entries - (*tail - head), q->par.cq_entries - (*tail - used));
	/* Slots are written after the device is known to have read them. */
	smp_mb();
	return 0;
}

static int hsl_submit_copy(struct hsl_queue *q, u32 tail, u32 nr, u64 from)
{
	struct hsl_desc __user *sq = u64_to_user_ptr(q->par.sq_addr);
	const struct hsl_desc __user *src = u64_to_user_ptr(from);
	u32 mask = q->par.sq_entries - 1;
	struct hsl_desc batch[HSL_SUBMIT_BATCH];
	u32 n;

	for (; nr; nr -= n, src += n, tail += n) {
		n = min3(nr, (u32)HSL_SUBMIT_BATCH, q->par.sq_entries - (tail & mask));
		if (fatal_signal_pending(current))
			return -EINTR;
		if (copy_from_user(batch, src, n * sizeof(*batch)) ||
		    copy_to_user(sq + (tail & mask), batch, n * sizeof(*batch)))
			return -EFAULT;
	}
	return 0;
}

/* Queue and device still there? Why not is for the caller to know. */
static int hsl_submit_alive(struct hsl_queue *q)
{
	struct hsl_context *ctx = q->ctx;
	u32 status;
	int ret;

	guard(mutex)(&ctx->lock);

	if (ctx->dead)
		return -ENODEV;
	if (xa_load(&ctx->queues, q->id) != q)
		return -ENOENT;
	ret = hsl_queue_status(q, &status);
	if (ret)
		return ret;
	return HSL_Q_STATE(status) == HSL_Q_RUNNING ? 0 : -EIO;
}

static int hsl_submit_publish(struct hsl_queue *q, u32 nr, u32 tail)
{
	struct hsl_device *hdev = q->ctx->hdev;
	struct hsl_q_ctl __user *ctl = u64_to_user_ptr(q->par.ctl_addr);
	u32 needed;

	/* Descriptors before the tail. */
	smp_wmb();
	if (put_user(tail, &ctl->sq_tail))
		return -EFAULT;
	/* The device sets db_needed, then reads the tail once more. */
	smp_mb();
	if (get_user(needed, &ctl->db_needed))
		needed = 1;
	trace_hsl_submit(q, nr, tail, needed);
	if (!needed)
		return 0;

	scoped_guard(mutex, &q->db_lock) {
		if (q->db_live) {
			writel(tail, hdev->db + q->hwq * HSL_DB_STRIDE + HSL_DB_TAIL);
			return 0;
		}
	}
	return hsl_submit_alive(q);
}

static int hsl_submit_locked(struct hsl_queue *q, struct hsl_ucmd *ucmd)
{
	struct hsl_submit *cmd = ucmd->cmd;
	u32 tail, room, nr;
	int ret;

	lockdep_assert_held(&q->submit_lock);

	if (READ_ONCE(q->failed))
		return -EIO;
	ret = hsl_submit_room(q, &tail, &room);
	if (ret)
		return ret;

	nr = min(cmd->nr, room);
	if (cmd->nr && !nr) {
		/* Full for good, if the queue has stopped. */
		ret = hsl_submit_alive(q);
		return ret ? ret : -EAGAIN;
	}

	ret = hsl_submit_copy(q, tail, nr, cmd->descs);
	if (ret)
		return ret;

	/* The answer first: after the tail there is no way back. */
	cmd->nr = nr;
	ret = hsl_ucmd_respond(ucmd);
	if (ret || !nr)
		return ret;
	return hsl_submit_publish(q, nr, tail + nr);
}

int hsl_ioctl_submit(struct hsl_ucmd *ucmd)
{
	struct hsl_submit *cmd = ucmd->cmd;
	int ret;

	struct hsl_queue *q __free(hsl_queue_put) = hsl_queue_get(ucmd->ctx, cmd->queue);

	if (IS_ERR(q))
		return PTR_ERR(q);

	ret = mutex_lock_killable(&q->submit_lock);
	if (ret)
		return ret;
	ret = hsl_submit_locked(q, ucmd);
	mutex_unlock(&q->submit_lock);
	return ret;
}
