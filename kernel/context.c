// SPDX-License-Identifier: GPL-2.0
/*
 * Contexts: an open file, the opener's address space on the device.
 *
 * A context dies in two steps, each of which may come from close(), a reset or
 * the removal of the device, whichever is first: hsl_context_stop() after which
 * no register is touched for it, and, once its queues have really stopped,
 * hsl_context_unbind() which lets the address space go.
 */
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "hsl.h"
#include "trace.h"

static unsigned int max_contexts_per_user = 128;
module_param(max_contexts_per_user, uint, 0644);
MODULE_PARM_DESC(max_contexts_per_user, "Files one user may have open, all devices together (default 128)");

static unsigned int max_queues_per_user = 128;
module_param(max_queues_per_user, uint, 0644);
MODULE_PARM_DESC(max_queues_per_user, "Queues one user may have, all devices together; CAP_SYS_RESOURCE: any number (default 128)");

static unsigned int max_signals_per_user = 128;
module_param(max_signals_per_user, uint, 0644);
MODULE_PARM_DESC(max_signals_per_user, "Entries of signal tables one user may have, all devices together; CAP_SYS_RESOURCE: any number (default 128)");

/* More than stopping all queues and then a reset take */
#define HSL_QUIET_TIMEOUT	(10 * HZ)

static unsigned int *const hsl_quotas[HSL_NR_QUOTAS] = {
	[HSL_QUOTA_QUEUES] = &max_queues_per_user,
	[HSL_QUOTA_SIGNALS] = &max_signals_per_user,
};

struct hsl_user {
	struct list_head node;
	kuid_t uid;
	unsigned int contexts;
	unsigned int used[HSL_NR_QUOTAS];
};

static DEFINE_MUTEX(hsl_users_lock);	/* innermost */
static LIST_HEAD(hsl_users);

DEFINE_FREE(hsl_context_put, struct hsl_context *, if (_T) hsl_context_put(_T))

static struct hsl_user *hsl_user_find(kuid_t uid)
{
	struct hsl_user *user;

	lockdep_assert_held(&hsl_users_lock);

	list_for_each_entry(user, &hsl_users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

static struct hsl_user *hsl_user_charge(kuid_t uid)
{
	struct hsl_user *user;

	guard(mutex)(&hsl_users_lock);

	user = hsl_user_find(uid);
	if ((user ? user->contexts : 0) >= READ_ONCE(max_contexts_per_user))
		return ERR_PTR(-EMFILE);

	if (!user) {
		user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
		if (!user)
			return ERR_PTR(-ENOMEM);
		user->uid = uid;
		list_add(&user->node, &hsl_users);
	}
	user->contexts++;
	return user;
}

static void hsl_user_uncharge(struct hsl_user *user)
{
	guard(mutex)(&hsl_users_lock);

	if (--user->contexts)
		return;
	list_del(&user->node);
	kfree(user);
}

/* Nobody shall have all that there are. */
int hsl_user_take(struct hsl_user *user, enum hsl_quota what)
{
	guard(mutex)(&hsl_users_lock);

	if (user->used[what] >= READ_ONCE(*hsl_quotas[what]) && !capable(CAP_SYS_RESOURCE))
		return -ENOSPC;
	user->used[what]++;
	return 0;
}

void hsl_user_give_back(struct hsl_user *user, enum hsl_quota what)
{
	guard(mutex)(&hsl_users_lock);
	user->used[what]--;
}

static void hsl_context_free(struct kref *kref)
{
	struct hsl_context *ctx = container_of(kref, struct hsl_context, kref);

	if (ctx->user)
		hsl_user_uncharge(ctx->user);
	hsl_mem_owner_put(ctx->hdev, ctx->memory);
	mmdrop(ctx->mm);
	kvfree(ctx->prefer);
	xa_destroy(&ctx->queues);
	kvfree(ctx->events);
	mutex_destroy(&ctx->read_lock);
	mutex_destroy(&ctx->lock);
	put_device(&ctx->hdev->dev);
	kfree(ctx);
}

void hsl_context_put(struct hsl_context *ctx)
{
	kref_put(&ctx->kref, hsl_context_free);
}

static struct hsl_context *hsl_context_alloc(struct hsl_device *hdev)
{
	struct hsl_context *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return NULL;
	ctx->events = kvcalloc(HSL_CTX_EVENTS, sizeof(*ctx->events), GFP_KERNEL_ACCOUNT);
	if (!ctx->events) {
		kfree(ctx);
		return NULL;
	}

	kref_init(&ctx->kref);
	mutex_init(&ctx->lock);
	mutex_init(&ctx->read_lock);
	xa_init_flags(&ctx->queues, XA_FLAGS_ALLOC | XA_FLAGS_ACCOUNT);
	init_waitqueue_head(&ctx->wait);
	INIT_LIST_HEAD(&ctx->signals);
	get_device(&hdev->dev);
	ctx->hdev = hdev;
	mmgrab(current->mm);
	ctx->mm = current->mm;
	ctx->tgid = current->tgid;
	return ctx;
}

/*
 * A number in the device. Next fit: an event that the device sends late should
 * name a number that nobody has rather than somebody else's.
 */
static int hsl_context_get_number(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;
	u32 n, nr;

	guard(mutex)(&hdev->lock);

	if (hdev->state == HSL_CLAIMED)
		return -EAGAIN;
	if (hdev->state != HSL_ALIVE)
		return -ENODEV;

	for (n = 0; n < hdev->limits.nr_contexts; n++) {
		nr = (hdev->next_context + n) % hdev->limits.nr_contexts;
		if (hdev->contexts[nr])
			continue;
		hdev->next_context = nr + 1;
		kref_get(&ctx->kref);
		hdev->contexts[nr] = ctx;
		hdev->nr_open++;
		ctx->nr = nr;
		ctx->generation = hdev->generation;
		return 0;
	}
	return -EBUSY;
}

static void hsl_context_put_number(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;

	scoped_guard(mutex, &hdev->lock) {
		hdev->contexts[ctx->nr] = NULL;
		hdev->nr_open--;
	}
	/* Not the last one: the caller holds the lock of the context. */
	hsl_context_put(ctx);
}

static int hsl_context_program(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;
	u32 reg = HSL_REG_CTX(ctx->nr);
	u32 ctrl;

	hsl_write(hdev, reg + HSL_CTX_CTRL, 0);
	hsl_fltq_attach(hdev, ctx->nr, ctx->sva.mirror);
	hsl_write(hdev, reg + HSL_CTX_XLATE, ctx->sva.xlate);
	hsl_write(hdev, reg + HSL_CTX_PASID, ctx->sva.pasid);
	hsl_write64(hdev, reg + HSL_CTX_ROOT, ctx->sva.root);
	hsl_write(hdev, reg + HSL_CTX_CTRL, HSL_CTX_VALID);

	ctrl = hsl_read(hdev, reg + HSL_CTX_CTRL);
	if (ctrl == HSL_CTX_VALID)
		return 0;
	if (hsl_hw_gone(hdev))
		return -ENODEV;
	dev_err_ratelimited(&hdev->dev, "context %u refused, control %#x\n", ctx->nr, ctrl);
	return -EIO;
}

/*
 * Whoever registers with an address space is turned away by any signal
 * (mm_take_all_locks()). The caller has handled it, and does not hear of it.
 */
static int hsl_after_signal(int err)
{
	return err == -EINTR && signal_pending(current) ? -ERESTARTNOINTR : err;
}

DEFINE_FREE(hsl_mm_unwatch, struct hsl_mm_watch *, if (!IS_ERR_OR_NULL(_T)) hsl_mm_unwatch(_T))

/*
 * Bind and tell the device: all of it, or nothing has changed. @watch, which is ours now,
 * was begun without the lock, as that may take long: a reset waits for the lock. Where
 * the provider has a notifier of its own, watching begins anew after it, see mm.c.
 */
static int hsl_context_bind(struct hsl_context *ctx, u32 want, struct hsl_mm_watch *watch)
{
	struct hsl_binding sva, old = ctx->sva;
	struct hsl_mm_watch *later;
	int ret;

	lockdep_assert_held(&ctx->lock);

	ret = hsl_sva_bind(ctx, want, &sva);
	if (ret) {
		hsl_mm_unwatch(watch);
		return hsl_after_signal(ret);
	}
	if (sva.ops->notified) {
		later = hsl_mm_watch(ctx);
		hsl_mm_unwatch(watch);
		if (IS_ERR(later)) {
			hsl_sva_unbind(ctx, &sva);
			return hsl_after_signal(PTR_ERR(later));
		}
		watch = later;
	}

	ctx->sva = sva;
	ret = hsl_context_program(ctx);
	if (ret) {
		ctx->sva = old;
		if (old.ops && hsl_context_program(ctx))
			dev_err(&ctx->hdev->dev, "context %u refused what it had before\n", ctx->nr);
		hsl_mm_unwatch(watch);
		hsl_sva_unbind(ctx, &sva);
		return ret;
	}

	hsl_mm_unwatch(ctx->watch);
	ctx->watch = watch;
	if (old.ops)
		hsl_sva_unbind(ctx, &old);
	return 0;
}

static int hsl_context_start(struct hsl_context *ctx)
{
	int ret;

	struct hsl_mm_watch *watch __free(hsl_mm_unwatch) = hsl_mm_watch(ctx);
	if (IS_ERR(watch))
		return hsl_after_signal(PTR_ERR(watch));

	/*
	 * Once the number is there, a reset or removal that begins waits for
	 * the lock: the bind never runs against a device that is gone.
	 */
	guard(mutex)(&ctx->lock);

	ret = hsl_context_get_number(ctx);
	if (ret)
		return ret;

	ret = hsl_context_bind(ctx, HSL_SVA_NONE, no_free_ptr(watch));
	if (ret) {
		ctx->dead = true;
		hsl_context_put_number(ctx);
		return ret;
	}
	ctx->bound = true;
	return 0;
}

struct hsl_context *hsl_context_open(struct hsl_device *hdev, struct file *file)
{
	unsigned int tries = 3;
	struct hsl_mem_owner *memory;
	struct hsl_user *user;
	int ret;

	if (!current->mm)
		return ERR_PTR(-EPERM);

	struct hsl_context *ctx __free(hsl_context_put) = hsl_context_alloc(hdev);

	if (!ctx)
		return ERR_PTR(-ENOMEM);

	user = hsl_user_charge(current_uid());
	if (IS_ERR(user))
		return ERR_CAST(user);
	ctx->user = user;
	memory = hsl_mem_owner_get(hdev);
	if (IS_ERR(memory))
		return ERR_CAST(memory);
	ctx->memory = memory;
	ctx->mapping = file->f_mapping;

	do {
		ret = hsl_device_wait(hdev);
		if (!ret)
			ret = hsl_context_start(ctx);
	} while (ret == -EAGAIN && --tries);
	if (ret)
		return ERR_PTR(ret == -EAGAIN ? -ENODEV : ret);

	trace_hsl_context_open(ctx);
	return_ptr(ctx);
}

/*
 * The file is dead from here on. false: a queue did not stop, and the device
 * must be reset before hsl_context_unbind(). Whoever stops a context unbinds
 * it.
 */
bool hsl_context_stop(struct hsl_context *ctx, ktime_t until)
{
	bool stopped;

	lockdep_assert_held(&ctx->lock);

	WRITE_ONCE(ctx->dead, true);
	stopped = hsl_queue_stop_all(ctx, until);
	hsl_signal_context_stop(ctx);
	hsl_write(ctx->hdev, HSL_REG_CTX(ctx->nr) + HSL_CTX_CTRL, 0);
	hsl_memory_context_stop(ctx);
	WRITE_ONCE(ctx->quiet, stopped);
	wake_up_all(&ctx->wait);
	return stopped;
}

/*
 * ENODEV says that the device is done with the process's memory, which it may
 * reuse: not before every queue has stopped or the device was reset.
 */
int hsl_context_wait_quiet(struct hsl_context *ctx)
{
	long left;

	left = wait_event_killable_timeout(ctx->wait, READ_ONCE(ctx->quiet), HSL_QUIET_TIMEOUT);
	if (left < 0)
		return -EINTR;
	if (!left)
		dev_err_ratelimited(&ctx->hdev->dev, "context %u does not come to rest\n", ctx->nr);
	return -ENODEV;
}

void hsl_context_unbind(struct hsl_context *ctx)
{
	lockdep_assert_held(&ctx->lock);

	WRITE_ONCE(ctx->quiet, true);
	wake_up_all(&ctx->wait);
	if (!ctx->bound)
		return;
	ctx->bound = false;
	hsl_sva_unbind(ctx, &ctx->sva);
	hsl_context_put_number(ctx);
}

/* The last reference to the file is gone; any task may be current. */
void hsl_context_close(struct hsl_context *ctx)
{
	bool stopped = true;

	trace_hsl_context_close(ctx);

	scoped_guard(mutex, &ctx->lock) {
		hsl_mm_unwatch(ctx->watch);
		ctx->watch = NULL;
		/* No mapping is left, and the inode may go. */
		ctx->mapping = NULL;
		if (!ctx->dead) {
			stopped = hsl_context_stop(ctx, hsl_queue_stop_deadline());
			if (stopped)
				hsl_context_unbind(ctx);
		}
	}
	/* Takes the locks of all contexts, and unbinds this one as well. */
	if (!stopped)
		hsl_device_reset(ctx->hdev, "a queue of a closed file did not stop");
	hsl_context_put(ctx);
}

int hsl_ioctl_query(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_device *hdev = ctx->hdev;
	struct hsl_query *cmd = ucmd->cmd;

	if (cmd->reserved[0] || cmd->reserved[1] || cmd->reserved1)
		return -EOPNOTSUPP;

	cmd->hw_version = hdev->limits.version;
	cmd->hw_caps = hdev->limits.caps;
	cmd->ops = hdev->limits.ops;
	cmd->mem_size = hdev->limits.mem_size;
	cmd->max_xfer = hdev->limits.max_xfer;
	cmd->max_ring_entries = 1u << hdev->limits.ring_order;
	cmd->nr_queues = hdev->limits.nr_queues;
	cmd->max_queues = hdev->max_queues;
	cmd->vendor = hdev->pdev->vendor;
	cmd->device = hdev->pdev->device;
	cmd->generation = ctx->generation;
	cmd->context = ctx->nr;
	cmd->node = dev_to_node(&hdev->pdev->dev);
	cmd->fabric = hdev->limits.fabric;
	cmd->fabric_node = hdev->limits.node;
	cmd->nr_ports = hdev->limits.nr_ports;
	hsl_memory_query(hdev, cmd);
	memset(cmd->sva_why, 0, sizeof(cmd->sva_why));
	scoped_guard(mutex, &ctx->lock) {
		cmd->sva = ctx->sva.ops->id;
		cmd->pasid = ctx->sva.pasid;
		strscpy(cmd->sva_why, ctx->sva.why, sizeof(cmd->sva_why));
	}
	return hsl_ucmd_respond(ucmd);
}

int hsl_ioctl_bind(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	struct hsl_bind *cmd = ucmd->cmd;
	unsigned long id = 0;

	if (cmd->reserved)
		return -EOPNOTSUPP;

	struct hsl_mm_watch *watch __free(hsl_mm_unwatch) = hsl_mm_watch(ctx);
	if (IS_ERR(watch))
		return hsl_after_signal(PTR_ERR(watch));

	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	/* One that is being created has no entry yet, and will run on the new one. */
	if (xa_find(&ctx->queues, &id, ULONG_MAX, XA_PRESENT))
		return -EBUSY;
	/* Of queues that are no more: what they wait for must not pile up. */
	if (ctx->sva.ops->busy && ctx->sva.ops->busy(&ctx->sva))
		return -EBUSY;
	return hsl_context_bind(ctx, cmd->sva, no_free_ptr(watch));
}

/* Copies @nr of the counters, at most HSL_CNT_NR, and says how many there are. */
static int hsl_counters_read(struct hsl_context *ctx, u32 queue, u64 *values)
{
	struct hsl_device *hdev = ctx->hdev;
	int n;

	struct hsl_queue *q __free(hsl_queue_put) =
		queue == HSL_QUEUE_NONE ? NULL : hsl_queue_get(ctx, queue);
	if (IS_ERR(q))
		return PTR_ERR(q);

	guard(mutex)(&ctx->lock);
	if (ctx->dead)
		return -ENODEV;
	/* Destroyed meanwhile: its counters may be another's by now. */
	if (q && xa_load(&ctx->queues, queue) != q)
		return -ENOENT;

	if (q) {
		hsl_queue_counters(q, values);
		return HSL_Q_CNT_NR;
	}
	for (n = 0; n < HSL_CNT_NR; n++)
		values[n] = hsl_read64(hdev, HSL_REG_COUNTER(n));
	return HSL_CNT_NR;
}

int hsl_ioctl_counters(struct hsl_ucmd *ucmd)
{
	struct hsl_counters *cmd = ucmd->cmd;
	u64 values[HSL_CNT_NR];
	int nr;

	nr = hsl_counters_read(ucmd->ctx, cmd->queue, values);
	if (nr < 0)
		return nr;

	cmd->nr = min_t(u32, cmd->nr, nr);
	if (copy_to_user(u64_to_user_ptr(cmd->values), values, cmd->nr * sizeof(*values)))
		return -EFAULT;
	return hsl_ucmd_respond(ucmd);
}

/* Anybody who may read the process's fdinfo; no address space is touched. */
void hsl_context_fdinfo(struct hsl_context *ctx, struct seq_file *m)
{
	struct hsl_device *hdev = ctx->hdev;
	u64 values[HSL_Q_CNT_NR], sum[HSL_Q_CNT_NR];
	struct hsl_queue *q;
	unsigned long id;
	u32 queues = 0;
	u64 lost;
	int n;

	/* Whoever reads it may be anybody, and go. */
	if (mutex_lock_interruptible(&ctx->lock))
		return;
	memcpy(sum, ctx->counters, sizeof(sum));
	if (!ctx->dead) {
		xa_for_each(&ctx->queues, id, q) {
			queues++;
			hsl_queue_counters(q, values);
			for (n = 0; n < HSL_Q_CNT_NR; n++)
				sum[n] += values[n];
		}
	}
	scoped_guard(spinlock, &hdev->event_lock)
		lost = ctx->ev_lost_total;

	seq_printf(m, "hsl-device:\t%s\n", dev_name(&hdev->dev));
	seq_printf(m, "hsl-pdev:\t%s\n", pci_name(hdev->pdev));
	seq_printf(m, "hsl-state:\t%s\n", ctx->dead ? "dead" : "alive");
	seq_printf(m, "hsl-generation:\t%u\n", ctx->generation);
	seq_printf(m, "hsl-context:\t%u\n", ctx->nr);
	seq_printf(m, "hsl-sva:\t%s\n", ctx->sva.ops->name);
	seq_printf(m, "hsl-sva-why:\t%s\n", ctx->sva.why);
	seq_printf(m, "hsl-pasid:\t%u\n", ctx->sva.pasid);
	seq_printf(m, "hsl-queues:\t%u\n", queues);
	seq_printf(m, "hsl-ops:\t%llu\n", sum[HSL_CNT_OPS]);
	seq_printf(m, "hsl-bytes:\t%llu\n", sum[HSL_CNT_BYTES]);
	seq_printf(m, "hsl-faults:\t%llu\n", sum[HSL_CNT_FAULTS]);
	seq_printf(m, "hsl-events-lost:\t%llu\n", lost);
	seq_printf(m, "hsl-memory-device:\t%llu\n", hsl_mem_owner_bytes(hdev, ctx->memory));
	if (ctx->bound && ctx->sva.ops->show)
		ctx->sva.ops->show(&ctx->sva, m);
	mutex_unlock(&ctx->lock);
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/context_test.c"
#endif
