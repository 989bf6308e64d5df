// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/hsl/hslN: for those who debug the device and this driver.
 * No promise is made to keep any of it.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>

#include "hsl.h"

static struct dentry *hsl_debugfs_root;

static int hsl_oracle_get(void *data, u64 *val)
{
	struct hsl_device *hdev = data;

	guard(mutex)(&hdev->lock);
	if (hdev->state != HSL_ALIVE)
		return -ENODEV;
	*val = hsl_read(hdev, HSL_REG_ORACLE);
	return 0;
}

static int hsl_oracle_set(void *data, u64 val)
{
	struct hsl_device *hdev = data;

	if (val > 1)
		return -EINVAL;
	guard(mutex)(&hdev->lock);
	if (hdev->state != HSL_ALIVE)
		return -ENODEV;
	hsl_write(hdev, HSL_REG_ORACLE, val);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(hsl_oracle_fops, hsl_oracle_get, hsl_oracle_set, "%llu\n");

static int contexts_show(struct seq_file *m, void *unused)
{
	struct hsl_device *hdev = m->private;
	struct hsl_context *ctx;
	struct hsl_queue *q;
	unsigned long id;
	u32 nr;

	guard(mutex)(&hdev->lock);
	for (nr = 0; nr < hdev->limits.nr_contexts; nr++) {
		ctx = hdev->contexts[nr];
		if (!ctx)
			continue;
		seq_printf(m, "context %u tgid %d pasid %u%s queues", nr, ctx->tgid,
			   ctx->sva.pasid, READ_ONCE(ctx->dead) ? " dead" : "");
		xa_lock(&ctx->queues);
		xa_for_each(&ctx->queues, id, q)
			seq_printf(m, " %lu:%u", id, q->hwq);
		xa_unlock(&ctx->queues);
		seq_puts(m, "\n");
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(contexts);

static int queues_show(struct seq_file *m, void *unused)
{
	struct hsl_device *hdev = m->private;
	u32 hwq, reg;

	guard(mutex)(&hdev->lock);
	if (hdev->state != HSL_ALIVE)
		return -ENODEV;
	for_each_set_bit(hwq, hdev->queue_map, hdev->limits.nr_queues) {
		reg = HSL_REG_Q(hwq);
		seq_printf(m, "hwq %u context %u vector %d status %#x head %u tail %u%s\n", hwq,
			   hsl_read(hdev, reg + HSL_Q_CONTEXT),
			   (int)hsl_read(hdev, reg + HSL_Q_VECTOR),
			   hsl_read(hdev, reg + HSL_Q_STATUS),
			   hsl_read(hdev, reg + HSL_Q_SQ_HEAD),
			   hsl_read(hdev, reg + HSL_Q_CQ_TAIL),
			   test_bit(hwq, hdev->stuck_map) ? " stuck" :
			   test_bit(hwq, hdev->drain_map) ? " draining" : "");
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(queues);

static int events_show(struct seq_file *m, void *unused)
{
	struct hsl_device *hdev = m->private;
	struct hsl_evq *evq = &hdev->evq;

	guard(mutex)(&evq->lock);
	seq_printf(m, "on %d\nentries %u\nhead %u\nseen %llu\ndropped %llu\n", evq->on,
		   1u << evq->order, evq->head, evq->seen, evq->dropped);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(events);

static int faults_show(struct seq_file *m, void *unused)
{
	struct hsl_device *hdev = m->private;
	struct hsl_fltq *fltq = &hdev->fltq;

	guard(spinlock_irq)(&fltq->lock);
	seq_printf(m, "on %d\nentries %u\nhead %u\nseen %llu\ndropped %llu\n", fltq->on,
		   1u << hdev->limits.fltq_order, fltq->head, fltq->seen, fltq->dropped);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(faults);

static int vectors_show(struct seq_file *m, void *unused)
{
	struct hsl_device *hdev = m->private;
	unsigned int n;

	for (n = 0; n < hdev->nr_vectors; n++) {
		struct hsl_vector *vec = &hdev->vectors[n];

		guard(spinlock_irq)(&vec->lock);
		seq_printf(m, "vector %u queues %u interrupts %llu\n", n, vec->nr_queues,
			   vec->interrupts);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vectors);

static int dump_show(struct seq_file *m, void *unused)
{
	size_t len;
	char *text;

	text = hsl_dump(m->private, "asked for", false, &len);
	if (!text)
		return -ENOMEM;
	seq_write(m, text, len);
	vfree(text);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(dump);

void hsl_debugfs_add(struct hsl_device *hdev)
{
	struct dentry *dir;

	dir = debugfs_create_dir(dev_name(&hdev->dev), hsl_debugfs_root);
	hdev->debugfs = dir;
	debugfs_create_file("contexts", 0400, dir, hdev, &contexts_fops);
	debugfs_create_file("queues", 0400, dir, hdev, &queues_fops);
	debugfs_create_file("events", 0400, dir, hdev, &events_fops);
	if (hdev->limits.caps & HSL_CAP_XLATE_DEVICE)
		debugfs_create_file("faults", 0400, dir, hdev, &faults_fops);
	debugfs_create_file("vectors", 0400, dir, hdev, &vectors_fops);
	debugfs_create_file("dump", 0400, dir, hdev, &dump_fops);
	if (hdev->limits.caps & HSL_CAP_ORACLE)
		debugfs_create_file("oracle", 0600, dir, hdev, &hsl_oracle_fops);
}

void hsl_debugfs_del(struct hsl_device *hdev)
{
	debugfs_remove(hdev->debugfs);
}

void hsl_debugfs_init(void)
{
	hsl_debugfs_root = debugfs_create_dir("hsl", NULL);
}

void hsl_debugfs_exit(void)
{
	debugfs_remove(hsl_debugfs_root);
}
