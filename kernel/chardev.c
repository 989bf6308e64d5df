// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hsl/hslN: the node, and the way from a system call to the file of the
 * object it is about. Every entry first asks whose address space calls.
 */
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "hsl.h"

static dev_t hsl_devt;
static DEFINE_IDA(hsl_minors);

/* The administrator decides who shares the engine: see the admin guide. */
static char *hsl_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0660;
	return kasprintf(GFP_KERNEL, "hsl/%s", dev_name(dev));
}

static const struct class hsl_class = {
	.name = "hsl",
	.devnode = hsl_devnode,
	.dev_groups = hsl_sysfs_groups,
};

int hsl_chardev_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&hsl_devt, 0, HSL_MAX_DEVICES, "hsl");
	if (ret)
		return ret;
	ret = class_register(&hsl_class);
	if (ret)
		unregister_chrdev_region(hsl_devt, HSL_MAX_DEVICES);
	return ret;
}

void hsl_chardev_exit(void)
{
	class_unregister(&hsl_class);
	unregister_chrdev_region(hsl_devt, HSL_MAX_DEVICES);
}

/*
 * System calls
 */

static int hsl_open(struct inode *inode, struct file *file)
{
	struct hsl_device *hdev = container_of(inode->i_cdev, struct hsl_device, cdev);
	struct hsl_context *ctx;

	ctx = hsl_context_open(hdev, file);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	file->private_data = ctx;
	return nonseekable_open(inode, file);
}

static int hsl_release(struct inode *inode, struct file *file)
{
	hsl_context_close(file->private_data);
	return 0;
}

static int hsl_check(struct hsl_context *ctx)
{
	if (current->mm != ctx->mm)
		return -EPERM;
	if (READ_ONCE(ctx->dead))
		return -ENODEV;
	return 0;
}

/* What all argument structures begin with. */
struct hsl_head {
	__u32 size;
	__u32 flags;
};

union hsl_args {
	struct hsl_head head;
	struct hsl_query query;
	struct hsl_counters counters;
	struct hsl_queue_create queue_create;
	struct hsl_queue_destroy queue_destroy;
	struct hsl_queue_eventfd queue_eventfd;
	struct hsl_queue_state queue_state;
	struct hsl_submit submit;
	struct hsl_events events;
	struct hsl_bind bind;
	struct hsl_migrate migrate;
	struct hsl_advise advise;
	struct hsl_peers peers;
	struct hsl_queue_grant queue_grant;
	struct hsl_signal_add signal_add;
	struct hsl_signal_del signal_del;
	struct hsl_buf_create buf_create;
	struct hsl_buf_share buf_share;
	struct hsl_buf_revoke buf_revoke;
	struct hsl_buf_import buf_import;
	struct hsl_buf_unimport buf_unimport;
};

struct hsl_ioctl {
	unsigned int cmd;
	u32 size;
	u32 min_size;
	u32 flags;	/* known ones */
	int (*fn)(struct hsl_ucmd *ucmd);
};

/* @_last: the last field of the structure's first version. */
#define HSL_IOCTL(_cmd, _fn, _struct, _last)					\
	[_IOC_NR(_cmd) - HSL_CMD_QUERY] = {					\
		.cmd = _cmd,							\
		.size = sizeof(struct _struct) +				\
			BUILD_BUG_ON_ZERO(offsetof(struct _struct, size) != 0) + \
			BUILD_BUG_ON_ZERO(offsetof(struct _struct, flags) != 4), \
		.min_size = offsetofend(struct _struct, _last),			\
		.fn = _fn,							\
	}

static const struct hsl_ioctl hsl_ioctls[] = {
	HSL_IOCTL(HSL_QUERY, hsl_ioctl_query, hsl_query, reserved1),
	HSL_IOCTL(HSL_COUNTERS, hsl_ioctl_counters, hsl_counters, values),
	HSL_IOCTL(HSL_QUEUE_CREATE, hsl_ioctl_queue_create, hsl_queue_create, reserved),
	HSL_IOCTL(HSL_QUEUE_DESTROY, hsl_ioctl_queue_destroy, hsl_queue_destroy, reserved),
	HSL_IOCTL(HSL_QUEUE_EVENTFD, hsl_ioctl_queue_eventfd, hsl_queue_eventfd, reserved),
	HSL_IOCTL(HSL_QUEUE_STATE, hsl_ioctl_queue_state, hsl_queue_state, cq_tail),
	HSL_IOCTL(HSL_SUBMIT, hsl_ioctl_submit, hsl_submit, descs),
	HSL_IOCTL(HSL_EVENTS, hsl_ioctl_events, hsl_events, events),
	HSL_IOCTL(HSL_BIND, hsl_ioctl_bind, hsl_bind, reserved),
	HSL_IOCTL(HSL_MIGRATE, hsl_ioctl_migrate, hsl_migrate, other),
	HSL_IOCTL(HSL_ADVISE, hsl_ioctl_advise, hsl_advise, where),
	HSL_IOCTL(HSL_PEERS, hsl_ioctl_peers, hsl_peers, peers),
	HSL_IOCTL(HSL_QUEUE_GRANT, hsl_ioctl_queue_grant, hsl_queue_grant, fd),
	HSL_IOCTL(HSL_SIGNAL_ADD, hsl_ioctl_signal_add, hsl_signal_add, handle),
	HSL_IOCTL(HSL_SIGNAL_DEL, hsl_ioctl_signal_del, hsl_signal_del, reserved),
	HSL_IOCTL(HSL_BUF_CREATE, hsl_ioctl_buf_create, hsl_buf_create, reserved),
	HSL_IOCTL(HSL_BUF_SHARE, hsl_ioctl_buf_share, hsl_buf_share, reserved),
	HSL_IOCTL(HSL_BUF_REVOKE, hsl_ioctl_buf_revoke, hsl_buf_revoke, share),
	HSL_IOCTL(HSL_BUF_IMPORT, hsl_ioctl_buf_import, hsl_buf_import, handle),
	HSL_IOCTL(HSL_BUF_UNIMPORT, hsl_ioctl_buf_unimport, hsl_buf_unimport, reserved),
};
static_assert(ARRAY_SIZE(hsl_ioctls) == HSL_CMD_END - HSL_CMD_QUERY);

int hsl_ucmd_respond(struct hsl_ucmd *ucmd)
{
	if (copy_to_user(ucmd->ubuf, ucmd->cmd, min(ucmd->user_size, ucmd->size)))
		return -EFAULT;
	return 0;
}

/* NULL: there is none. */
static const struct hsl_ioctl *hsl_ioctl_find(unsigned int nr)
{
	unsigned int n = _IOC_NR(nr) - HSL_CMD_QUERY;

	return n < ARRAY_SIZE(hsl_ioctls) && hsl_ioctls[n].cmd == nr ? &hsl_ioctls[n] : NULL;
}

/* Can the caller's structure be this long? What is behind what we know has to be 0. */
static int hsl_ioctl_check_size(const struct hsl_ioctl *op, u32 size)
{
	if (size < op->min_size)
		return -EINVAL;
	/* A tail this long is not looked through for the byte that is not 0. */
	return size > PAGE_SIZE ? -E2BIG : 0;
}

static int hsl_ioctl_run(struct hsl_context *ctx, unsigned int nr, unsigned long arg)
{
	struct hsl_ucmd ucmd = { .ctx = ctx, .ubuf = (void __user *)arg };
	const struct hsl_ioctl *op = hsl_ioctl_find(nr);
	union hsl_args args;
	int ret;

	if (!op)
		return -ENOTTY;

	ret = hsl_check(ctx);
	if (ret)
		return ret;

	ret = get_user(ucmd.user_size, (u32 __user *)ucmd.ubuf);
	if (ret)
		return ret;
	ret = hsl_ioctl_check_size(op, ucmd.user_size);
	if (ret)
		return ret;

	ret = copy_struct_from_user(&args, op->size, ucmd.ubuf, ucmd.user_size);
	if (ret)
		return ret;
	if (args.head.flags & ~op->flags)
		return -EOPNOTSUPP;

	ucmd.size = op->size;
	ucmd.cmd = &args;
	return op->fn(&ucmd);
}

static long hsl_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	struct hsl_context *ctx = file->private_data;
	int ret = hsl_ioctl_run(ctx, nr, arg);

	if (ret == -ENODEV && READ_ONCE(ctx->dead))
		ret = hsl_context_wait_quiet(ctx);
	return ret;
}

static __poll_t hsl_poll(struct file *file, poll_table *wait)
{
	struct hsl_context *ctx = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &ctx->wait, wait);

	if (hsl_check(ctx))
		return EPOLLERR | EPOLLHUP;

	scoped_guard(spinlock, &ctx->hdev->event_lock) {
		if (ctx->ev_tail != ctx->ev_head)
			mask |= EPOLLPRI;
	}
	return mask | hsl_queue_poll(ctx, poll_requested_events(wait) & (EPOLLIN | EPOLLRDNORM));
}

static int hsl_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hsl_context *ctx = file->private_data;
	int ret;

	ret = hsl_check(ctx);
	if (ret)
		return ret;
	return vma->vm_pgoff < HSL_MMAP_MEMORY >> PAGE_SHIFT ? hsl_queue_mmap(ctx, vma) :
							       hsl_memory_mmap(ctx, vma);
}

static void hsl_show_fdinfo(struct seq_file *m, struct file *file)
{
	hsl_context_fdinfo(file->private_data, m);
}

static const struct file_operations hsl_fops = {
	.owner = THIS_MODULE,
	.open = hsl_open,
	.release = hsl_release,
	.unlocked_ioctl = hsl_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = hsl_poll,
	.mmap = hsl_mmap,
	.show_fdinfo = hsl_show_fdinfo,
};

/*
 * The struct of a device
 */

static void hsl_device_release(struct device *dev)
{
	struct hsl_device *hdev = container_of(dev, struct hsl_device, dev);

	hsl_memory_free(hdev);
	kfree(hdev->vectors);
	kfree(hdev->contexts);
	kfree(hdev->queues);
	bitmap_free(hdev->queue_map);
	bitmap_free(hdev->stuck_map);
	bitmap_free(hdev->drain_map);
	mutex_destroy(&hdev->evq.lock);
	mutex_destroy(&hdev->lock);
	pci_dev_put(hdev->pdev);
	kfree(hdev);
}

struct hsl_device *hsl_device_alloc(struct pci_dev *pdev)
{
	struct hsl_device *hdev;
	int minor, ret;

	minor = ida_alloc_max(&hsl_minors, HSL_MAX_DEVICES - 1, GFP_KERNEL);
	if (minor < 0)
		return ERR_PTR(minor);
	hdev = kzalloc(sizeof(*hdev), GFP_KERNEL);
	if (!hdev) {
		ida_free(&hsl_minors, minor);
		return ERR_PTR(-ENOMEM);
	}

	mutex_init(&hdev->lock);
	mutex_init(&hdev->evq.lock);
	spin_lock_init(&hdev->event_lock);
	spin_lock_init(&hdev->fltq.lock);
	INIT_WORK(&hdev->reset_work, hsl_device_reset_work);
	init_waitqueue_head(&hdev->state_wait);
	hdev->minor = minor;
	hdev->pdev = pci_dev_get(pdev);

	device_initialize(&hdev->dev);
	hdev->dev.class = &hsl_class;
	hdev->dev.parent = &pdev->dev;
	hdev->dev.release = hsl_device_release;
	hdev->dev.devt = MKDEV(MAJOR(hsl_devt), MINOR(hsl_devt) + minor);
	cdev_init(&hdev->cdev, &hsl_fops);
	hdev->cdev.owner = THIS_MODULE;

	ret = dev_set_name(&hdev->dev, "hsl%d", minor);
	if (ret) {
		hsl_device_put(hdev);
		return ERR_PTR(ret);
	}
	return hdev;
}

/*
 * The reference of the binding to the PCI function. The name goes with it, so
 * that a device that comes back gets it again while old files are still open.
 */
void hsl_device_put(struct hsl_device *hdev)
{
	ida_free(&hsl_minors, hdev->minor);
	put_device(&hdev->dev);
}

int hsl_device_add(struct hsl_device *hdev)
{
	int ret;

	ret = cdev_device_add(&hdev->cdev, &hdev->dev);
	if (!ret)
		hsl_debugfs_add(hdev);
	return ret;
}

/* On return nobody is in, or comes into, a file of sysfs or debugfs. */
void hsl_device_del(struct hsl_device *hdev)
{
	hsl_debugfs_del(hdev);
	cdev_device_del(&hdev->cdev, &hdev->dev);
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/chardev_test.c"
#endif
