// SPDX-License-Identifier: GPL-2.0
/*
 * Signals: queues that ring other queues, of this device or of another one of
 * its fabric (HW 7.5).
 *
 * A grant is a file that stands for the right to ring one queue. A context that
 * is shown it gets an entry in the signal table of its device. The grant ends with
 * the file and with the queue, whichever is first; then the entries that came of it
 * ring nothing any more, and are kept until their users give them back, so that a
 * number never comes to mean another queue by itself.
 *
 * hsl_signals_lock guards all of it, of all devices. Whoever ends a queue may hold
 * the lock of its context; the contexts that use the grant are reached without
 * theirs.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/seq_file.h>

#include "hsl.h"

/* Within hsl_context.lock; hsl_device.lock within it, of one device at a time. */
static DEFINE_MUTEX(hsl_signals_lock);

#define HSL_CTX_SIGNALS	32	/* entries that one context may have */

/* Private to the file. All under hsl_signals_lock. */
struct hsl_grant {
	struct hsl_queue *q;		/* NULL: it is no more */
	struct list_head queue_node;	/* in hsl_queue.grants */
	struct list_head signals;
};

/* An entry in the table of the device of the context that uses it. */
struct hsl_signal {
	struct hsl_device *hdev;
	struct list_head context_node;	/* in hsl_context.signals */
	struct list_head grant_node;	/* empty: the right has ended */
	u32 nr;
	u64 cookie;			/* another for each that there ever was */
};

static u64 hsl_signal_cookies;		/* hsl_signals_lock */

static bool hsl_signals_supported(struct hsl_device *hdev)
{
	return hdev->limits.ops & BIT_ULL(HSL_OP_SIGNAL);
}

/* The caller may touch registers. On return the entry rings nothing. */
static void hsl_signal_clear(struct hsl_signal *sig)
{
	u32 reg = HSL_REG_SIGNAL(sig->nr) + HSL_SIGNAL_CTRL;

	lockdep_assert_held(&hsl_signals_lock);
	hsl_write(sig->hdev, reg, 0);
	hsl_read(sig->hdev, reg);
}

/*
 * The right has ended. A device that is being taken down stops all its queues; the
 * device of the queue itself does not take the next run of it for this one.
 */
static void hsl_grant_end(struct hsl_grant *grant)
{
	struct hsl_signal *sig, *next;

	lockdep_assert_held(&hsl_signals_lock);

	list_for_each_entry_safe(sig, next, &grant->signals, grant_node) {
		list_del_init(&sig->grant_node);
		guard(mutex)(&sig->hdev->lock);
		if (sig->hdev->state == HSL_ALIVE)
			hsl_signal_clear(sig);
	}
	if (grant->q)
		list_del(&grant->queue_node);
	grant->q = NULL;
}

/* Before the queue stops: nobody rings it, nor what has its number next. */
void hsl_signal_queue_stop(struct hsl_queue *q)
{
	struct hsl_grant *grant, *next;

	guard(mutex)(&hsl_signals_lock);
	list_for_each_entry_safe(grant, next, &q->grants, queue_node)
		hsl_grant_end(grant);
}

/* The caller may touch registers. */
static void hsl_signal_free(struct hsl_context *ctx, struct hsl_signal *sig)
{
	hsl_signal_clear(sig);
	list_del(&sig->grant_node);
	list_del(&sig->context_node);
	ctx->nr_signals--;
	hsl_user_give_back(ctx->user, HSL_QUOTA_SIGNALS);
	__clear_bit(sig->nr, ctx->hdev->signal_map);
	kfree(sig);
}

/* The context ends, and its registers may be touched. */
void hsl_signal_context_stop(struct hsl_context *ctx)
{
	struct hsl_signal *sig, *next;

	lockdep_assert_held(&ctx->lock);

	guard(mutex)(&hsl_signals_lock);
	list_for_each_entry_safe(sig, next, &ctx->signals, context_node)
		hsl_signal_free(ctx, sig);
}

/*
 * The file
 */

static int hsl_grant_release(struct inode *inode, struct file *file)
{
	struct hsl_grant *grant = file->private_data;

	scoped_guard(mutex, &hsl_signals_lock)
		hsl_grant_end(grant);
	kfree(grant);
	return 0;
}

static void hsl_grant_fdinfo(struct seq_file *m, struct file *file)
{
	struct hsl_grant *grant = file->private_data;

	guard(mutex)(&hsl_signals_lock);
	if (!grant->q) {
		seq_puts(m, "hsl-grant:\tended\n");
		return;
	}
	seq_printf(m, "hsl-grant:\t%s queue %u\n", dev_name(&grant->q->ctx->hdev->dev),
		   grant->q->hwq);
	seq_printf(m, "hsl-signals:\t%zu\n", list_count_nodes(&grant->signals));
}

static const struct file_operations hsl_grant_fops = {
	.owner = THIS_MODULE,
	.release = hsl_grant_release,
	.show_fdinfo = hsl_grant_fdinfo,
};

static int hsl_grant_attach(struct hsl_grant *grant, struct hsl_context *ctx, u32 id)
{
	struct hsl_queue *q;

	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	q = xa_load(&ctx->queues, id);
	if (!q)
		return -ENOENT;
	guard(mutex)(&hsl_signals_lock);
	grant->q = q;
	list_add(&grant->queue_node, &q->grants);
	return 0;
}

int hsl_ioctl_queue_grant(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_queue_grant *cmd = ucmd->cmd;
	struct hsl_grant *grant;
	struct file *file;
	int fd, ret;

	if (!hsl_signals_supported(ctx->hdev))
		return -EOPNOTSUPP;
	grant = kzalloc(sizeof(*grant), GFP_KERNEL_ACCOUNT);
	if (!grant)
		return -ENOMEM;
	INIT_LIST_HEAD(&grant->signals);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		kfree(grant);
		return fd;
	}
	file = anon_inode_getfile("[hsl-grant]", &hsl_grant_fops, grant, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		kfree(grant);
		return PTR_ERR(file);
	}

	ret = hsl_grant_attach(grant, ctx, cmd->queue);
	if (!ret) {
		cmd->fd = fd;
		ret = hsl_ucmd_respond(ucmd);
	}
	if (ret) {
		put_unused_fd(fd);
		fput(file);
		return ret;
	}
	fd_install(fd, file);
	return 0;
}

/*
 * Entries
 */

static int hsl_signal_program(struct hsl_signal *sig, struct hsl_context *ctx,
			      struct hsl_queue *q)
{
	struct hsl_device *hdev = ctx->hdev, *to = q->ctx->hdev;
	u32 reg = HSL_REG_SIGNAL(sig->nr);

	hsl_write(hdev, reg + HSL_SIGNAL_USER, ctx->nr);
	hsl_write(hdev, reg + HSL_SIGNAL_NODE, to == hdev ? HSL_NODE_NONE : to->limits.node);
	hsl_write(hdev, reg + HSL_SIGNAL_QUEUE, q->hwq);
	hsl_write(hdev, reg + HSL_SIGNAL_CTRL, HSL_SIGNAL_VALID);
	if (hsl_read(hdev, reg + HSL_SIGNAL_CTRL) == HSL_SIGNAL_VALID)
		return 0;
	/* Refused, the queue does not run: it has failed. */
	return hsl_hw_gone(hdev) ? -ENODEV : -ESTALE;
}

/* On success @sig is the context's; *@nr and *@cookie say which it is. */
static int hsl_signal_start(struct hsl_context *ctx, struct hsl_grant *grant,
			    struct hsl_signal *sig, u32 *nr, u64 *cookie)
{
	struct hsl_device *hdev = ctx->hdev;
	int ret;

	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	guard(mutex)(&hsl_signals_lock);
	if (!grant->q)
		return -ESTALE;
	if (grant->q->ctx->hdev != hdev && !hsl_same_fabric(grant->q->ctx->hdev, hdev))
		return -EXDEV;
	sig->nr = find_first_zero_bit(hdev->signal_map, HSL_MAX_SIGNALS);
	if (sig->nr >= HSL_MAX_SIGNALS || ctx->nr_signals >= HSL_CTX_SIGNALS)
		return -ENOSPC;

	ret = hsl_user_take(ctx->user, HSL_QUOTA_SIGNALS);
	if (ret)
		return ret;
	ret = hsl_signal_program(sig, ctx, grant->q);
	if (ret) {
		hsl_user_give_back(ctx->user, HSL_QUOTA_SIGNALS);
		return ret;
	}
	__set_bit(sig->nr, hdev->signal_map);
	sig->hdev = hdev;
	*nr = sig->nr;
	*cookie = sig->cookie = ++hsl_signal_cookies;
	ctx->nr_signals++;
	list_add(&sig->context_node, &ctx->signals);
	list_add(&sig->grant_node, &grant->signals);
	return 0;
}

/* @cookie: only if it is this one still; 0: whichever it is. */
static int hsl_signal_stop(struct hsl_context *ctx, u32 nr, u64 cookie)
{
	struct hsl_signal *sig;

	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	guard(mutex)(&hsl_signals_lock);
	list_for_each_entry(sig, &ctx->signals, context_node) {
		if (sig->nr != nr || (cookie && sig->cookie != cookie))
			continue;
		hsl_signal_free(ctx, sig);
		return 0;
	}
	return -ENOENT;
}

int hsl_ioctl_signal_add(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_signal_add *cmd = ucmd->cmd;
	struct hsl_signal *sig;
	u64 cookie;
	int ret;

	if (!hsl_signals_supported(ctx->hdev))
		return -EOPNOTSUPP;

	CLASS(fd, f)(cmd->fd);

	if (!fd_file(f))
		return -EBADF;
	if (fd_file(f)->f_op != &hsl_grant_fops)
		return -EINVAL;
	sig = kzalloc(sizeof(*sig), GFP_KERNEL_ACCOUNT);
	if (!sig)
		return -ENOMEM;
	ret = hsl_signal_start(ctx, fd_file(f)->private_data, sig, &cmd->handle, &cookie);
	if (ret) {
		kfree(sig);
		return ret;
	}

	/* Another thread may have given it back already. */
	ret = hsl_ucmd_respond(ucmd);
	if (ret)
		hsl_signal_stop(ctx, cmd->handle, cookie);
	return ret;
}

int hsl_ioctl_signal_del(struct hsl_ucmd *ucmd)
{
	struct hsl_signal_del *cmd = ucmd->cmd;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	return hsl_signal_stop(ucmd->ctx, cmd->handle, 0);
}
