// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of a device at one moment, as text: for a device core dump of
 * one that hangs, before the reset that mends it, and for debugfs. It is made of
 * registers and of what this driver remembers, never of what processes have in
 * their memory; user_data of their descriptors is a part of that.
 *
 * Documentation/admin-guide/coredump.rst describes the text. hslctl reads it.
 */
#include <linux/devcoredump.h>
#include <linux/module.h>
#include <linux/seq_buf.h>
#include <linux/sizes.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include "hsl.h"

#define HSL_DUMP_FORMAT		1
#define HSL_DUMP_RECORDS	64u	/* events, and faults */

/* Room for the longest lines there can be */
#define HSL_DUMP_BASE		SZ_32K
#define HSL_DUMP_PER_QUEUE	SZ_1K
#define HSL_DUMP_PER_CONTEXT	512
#define HSL_DUMP_PER_VECTOR	64
#define HSL_DUMP_END		sizeof("end truncated=0\n")

struct hsl_dump {
	struct hsl_device *hdev;
	struct seq_buf s;
	size_t whole;		/* lines up to here are whole */
	bool may_read;		/* registers */
	bool regs;		/* and there are some */
};

static void hsl_dump_line(struct hsl_dump *d)
{
	seq_buf_putc(&d->s, '\n');
	if (!seq_buf_has_overflowed(&d->s))
		d->whole = d->s.len;
}

static void hsl_dump_reg(struct hsl_dump *d, const char *key, u32 reg)
{
	seq_buf_printf(&d->s, " %s=%#x", key, hsl_read(d->hdev, reg));
}

/* A number, where the register above is bits */
static void hsl_dump_number(struct hsl_dump *d, const char *key, u32 reg)
{
	seq_buf_printf(&d->s, " %s=%u", key, hsl_read(d->hdev, reg));
}

static void hsl_dump_reg64(struct hsl_dump *d, const char *key, u32 reg)
{
	seq_buf_printf(&d->s, " %s=%#llx", key, hsl_read64(d->hdev, reg));
}

static void hsl_dump_count(struct hsl_dump *d, const char *key, u32 reg)
{
	seq_buf_printf(&d->s, " %s=%llu", key, hsl_read64(d->hdev, reg));
}

static void hsl_dump_identity(struct hsl_dump *d, const char *why)
{
	static const char *const states[] = {
		[HSL_ALIVE] = "alive",
		[HSL_CLAIMED] = "resetting",
		[HSL_BROKEN] = "broken",
		[HSL_GONE] = "gone",
	};
	struct hsl_device *hdev = d->hdev;
	struct hsl_limits *lim = &hdev->limits;
	struct pci_dev *pdev = hdev->pdev;
	u16 command, status;

	seq_buf_printf(&d->s, "hsl-coredump format=%u", HSL_DUMP_FORMAT);
	hsl_dump_line(d);
	seq_buf_printf(&d->s, "dump reason=\"%s\" time_ns=%llu monotonic_ns=%llu", why,
		       ktime_get_real_ns(), ktime_get_ns());
	seq_buf_printf(&d->s, " kernel=\"%s\" driver=\"%s\"", init_utsname()->release,
		       THIS_MODULE->version ?: "");
	hsl_dump_line(d);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	pci_read_config_word(pdev, PCI_STATUS, &status);
	seq_buf_printf(&d->s, "device name=%s pci=%s vendor=%#x device=%#x command=%#x status=%#x",
		       dev_name(&hdev->dev), pci_name(pdev), pdev->vendor, pdev->device,
		       command, status);
	seq_buf_printf(&d->s, " state=%s generation=%u registers=%s", states[hdev->state],
		       hdev->generation, !d->may_read ? "skipped" : d->regs ? "read" : "all-ones");
	hsl_dump_line(d);
	seq_buf_printf(&d->s, "limits version=%#x caps=%#x ops=%#llx queues=%u contexts=%u vectors=%u",
		       lim->version, lim->caps, lim->ops, lim->nr_queues, lim->nr_contexts,
		       lim->nr_vectors);
	seq_buf_printf(&d->s, " ring_order=%u max_xfer=%u mem_size=%llu node=%d fabric=%#x ports=%u",
		       lim->ring_order, lim->max_xfer, lim->mem_size, (int)lim->node, lim->fabric,
		       lim->nr_ports);
	hsl_dump_line(d);
}

static void hsl_dump_registers(struct hsl_dump *d)
{
	u32 n;

	seq_buf_puts(&d->s, "registers");
	hsl_dump_reg(d, "ctrl", HSL_REG_CTRL);
	hsl_dump_reg(d, "status", HSL_REG_STATUS);
	hsl_dump_number(d, "generation", HSL_REG_GENERATION);
	hsl_dump_number(d, "oracle", HSL_REG_ORACLE);
	hsl_dump_line(d);
	seq_buf_puts(&d->s, "counters");
	for (n = 0; n < HSL_CNT_NR; n++)
		hsl_dump_count(d, hsl_counter_name(n), HSL_REG_COUNTER(n));
	hsl_dump_line(d);
}

static void hsl_dump_event(struct hsl_dump *d, const struct hsl_hw_event *ev)
{
	seq_buf_printf(&d->s, "event type=%u code=%u access=%#x queue=%d context=%d pasid=%u addr=%#llx",
		       ev->type, ev->code, ev->access, (int)ev->queue, (int)ev->context,
		       ev->pasid, ev->addr);
	hsl_dump_line(d);
}

/* The event queue, and what is in it that nobody has taken yet */
static void hsl_dump_events(struct hsl_dump *d)
{
	struct hsl_evq *evq = &d->hdev->evq;
	u32 entries = 1u << evq->order, n = 0;
	struct hsl_hw_event ev;

	guard(mutex)(&evq->lock);
	seq_buf_printf(&d->s, "event-queue on=%d entries=%u taken=%u seen=%llu dropped=%llu",
		       evq->on, entries, evq->head, evq->seen, evq->dropped);
	if (d->regs) {
		hsl_dump_reg64(d, "base", HSL_REG_EVQ_BASE);
		hsl_dump_number(d, "order", HSL_REG_EVQ_ORDER);
		hsl_dump_number(d, "vector", HSL_REG_EVQ_VECTOR);
		hsl_dump_reg(d, "ctrl", HSL_REG_EVQ_CTRL);
		hsl_dump_number(d, "head", HSL_REG_EVQ_HEAD);
		hsl_dump_number(d, "tail", HSL_REG_EVQ_TAIL);
		hsl_dump_number(d, "lost", HSL_REG_EVQ_LOST);
		n = hsl_read(d->hdev, HSL_REG_EVQ_TAIL) - evq->head;
	}
	hsl_dump_line(d);
	if (!evq->ring || n > entries)
		return;
	/* The tail before the entries it covers. */
	dma_rmb();
	n = min(n, HSL_DUMP_RECORDS);
	for (u32 i = 0; i < n; i++) {
		ev = evq->ring[(evq->head + i) & (entries - 1)];
		barrier_data(&ev);
		hsl_dump_event(d, &ev);
	}
}

/* The fault queue, and what is not answered yet */
static void hsl_dump_faults(struct hsl_dump *d)
{
	struct hsl_device *hdev = d->hdev;
	struct hsl_hw_fault f;
	u32 n;

	if (!(hdev->limits.caps & HSL_CAP_XLATE_DEVICE))
		return;
	scoped_guard(spinlock_irqsave, &hdev->fltq.lock)
		seq_buf_printf(&d->s, "fault-queue on=%d entries=%u taken=%u seen=%llu dropped=%llu",
			       hdev->fltq.on, 1u << hdev->limits.fltq_order, hdev->fltq.head,
			       hdev->fltq.seen, hdev->fltq.dropped);
	if (d->regs) {
		hsl_dump_reg64(d, "base", HSL_REG_FLTQ_BASE);
		hsl_dump_number(d, "order", HSL_REG_FLTQ_ORDER);
		hsl_dump_number(d, "vector", HSL_REG_FLTQ_VECTOR);
		hsl_dump_reg(d, "ctrl", HSL_REG_FLTQ_CTRL);
		hsl_dump_number(d, "head", HSL_REG_FLTQ_HEAD);
		hsl_dump_number(d, "tail", HSL_REG_FLTQ_TAIL);
	}
	hsl_dump_line(d);
	for (n = 0; n < HSL_DUMP_RECORDS && hsl_fltq_peek(hdev, n, &f); n++) {
		seq_buf_printf(&d->s, "fault tag=%#x context=%u addr=%#llx pages=%u access=%#x",
			       f.tag, f.context, f.addr, f.pages, f.access);
		hsl_dump_line(d);
	}
}

static void hsl_dump_vectors(struct hsl_dump *d)
{
	struct hsl_vector *vec = d->hdev->vectors;

	for (u32 n = 0; vec && n < d->hdev->nr_vectors; n++, vec++) {
		scoped_guard(spinlock_irqsave, &vec->lock)
			seq_buf_printf(&d->s, "vector nr=%u queues=%u interrupts=%llu", n,
				       vec->nr_queues, vec->interrupts);
		hsl_dump_line(d);
	}
}

static void hsl_dump_queue(struct hsl_dump *d, u32 hwq)
{
	struct hsl_device *hdev = d->hdev;
	u32 reg = HSL_REG_Q(hwq), status, n;
	int id = -1, tgid = 0;
	bool failed = false;
	struct hsl_queue *q;

	scoped_guard(spinlock, &hdev->event_lock) {
		q = hdev->queues[hwq];
		if (q) {
			id = q->id;
			tgid = q->ctx->tgid;
			failed = q->failed;
		}
	}
	/* Without a structure it is being made or taken down. */
	seq_buf_printf(&d->s, "queue hwq=%u driver=%s id=%d tgid=%d failed=%d", hwq,
		       test_bit(hwq, hdev->stuck_map) ? "stuck" :
		       test_bit(hwq, hdev->drain_map) ? "draining" :
		       id >= 0 ? "running" : "passing", id, tgid, failed);
	if (d->regs) {
		status = hsl_read(hdev, reg + HSL_Q_STATUS);
		seq_buf_printf(&d->s, " state=%u error=%u", HSL_Q_STATE(status), HSL_Q_ERROR(status));
		hsl_dump_reg(d, "ctrl", reg + HSL_Q_CTRL);
		hsl_dump_reg(d, "status", reg + HSL_Q_STATUS);
		hsl_dump_number(d, "context", reg + HSL_Q_CONTEXT);
		seq_buf_printf(&d->s, " vector=%d", (int)hsl_read(hdev, reg + HSL_Q_VECTOR));
		hsl_dump_reg64(d, "sq_base", reg + HSL_Q_SQ_BASE);
		hsl_dump_reg64(d, "cq_base", reg + HSL_Q_CQ_BASE);
		hsl_dump_reg64(d, "ctl_base", reg + HSL_Q_CTL_BASE);
		hsl_dump_number(d, "sq_order", reg + HSL_Q_SQ_ORDER);
		hsl_dump_number(d, "cq_order", reg + HSL_Q_CQ_ORDER);
		hsl_dump_reg64(d, "allowed", reg + HSL_Q_OPS);
		hsl_dump_number(d, "coalesce_count", reg + HSL_Q_COALESCE_COUNT);
		hsl_dump_number(d, "coalesce_usecs", reg + HSL_Q_COALESCE_USECS);
		hsl_dump_number(d, "priority", reg + HSL_Q_PRIORITY);
		hsl_dump_reg(d, "routes", reg + HSL_Q_ROUTES);
		hsl_dump_number(d, "sq_head", reg + HSL_Q_SQ_HEAD);
		hsl_dump_number(d, "cq_tail", reg + HSL_Q_CQ_TAIL);
		for (n = 0; n < HSL_Q_CNT_NR; n++)
			hsl_dump_count(d, hsl_counter_name(n), reg + HSL_Q_COUNTER(n));
	}
	hsl_dump_line(d);
}

static void hsl_dump_context(struct hsl_dump *d, struct hsl_context *ctx)
{
	struct hsl_device *hdev = d->hdev;
	u32 reg = HSL_REG_CTX(ctx->nr), unread;
	const struct hsl_sva_ops *ops = READ_ONCE(ctx->sva.ops);
	u64 lost;

	scoped_guard(spinlock, &hdev->event_lock) {
		unread = ctx->ev_tail - ctx->ev_head;
		lost = ctx->ev_lost_total;
	}
	seq_buf_printf(&d->s, "context nr=%u tgid=%d dead=%d sva=%s pasid=%u events_unread=%u events_lost=%llu",
		       ctx->nr, ctx->tgid, READ_ONCE(ctx->dead), ops ? ops->name : "none",
		       READ_ONCE(ctx->sva.pasid), unread, lost);
	if (d->regs) {
		hsl_dump_reg(d, "ctrl", reg + HSL_CTX_CTRL);
		hsl_dump_number(d, "xlate", reg + HSL_CTX_XLATE);
		hsl_dump_number(d, "hw_pasid", reg + HSL_CTX_PASID);
		hsl_dump_reg64(d, "root", reg + HSL_CTX_ROOT);
	}
	hsl_dump_line(d);
}

static void hsl_dump_port(struct hsl_dump *d, u32 n)
{
	static const char *const counters[HSL_PORT_CNT_NR] = {
		[HSL_PORT_CRC_ERRORS] = "crc_errors",
		[HSL_PORT_REPLAYS] = "replays",
		[HSL_PORT_RETRAINS] = "retrains",
		[HSL_PORT_TX_PACKETS] = "tx_packets",
		[HSL_PORT_RX_PACKETS] = "rx_packets",
		[HSL_PORT_TX_BYTES] = "tx_bytes",
		[HSL_PORT_RX_BYTES] = "rx_bytes",
	};
	u32 reg = HSL_REG_PORT(n), i;

	seq_buf_printf(&d->s, "port nr=%u", n);
	hsl_dump_reg(d, "ctrl", reg + HSL_PORT_CTRL);
	hsl_dump_number(d, "state", reg + HSL_PORT_STATE);
	hsl_dump_number(d, "reason", reg + HSL_PORT_REASON);
	hsl_dump_reg(d, "neighbour", reg + HSL_PORT_NEIGHBOUR);
	hsl_dump_number(d, "width", reg + HSL_PORT_WIDTH);
	hsl_dump_number(d, "rate", reg + HSL_PORT_RATE);
	hsl_dump_number(d, "credits", reg + HSL_PORT_CREDITS);
	for (i = 0; i < HSL_PORT_CNT_NR; i++)
		hsl_dump_count(d, counters[i], reg + HSL_PORT_COUNTER(i));
	hsl_dump_line(d);
}

static void hsl_dump_write(struct hsl_dump *d, const char *why)
{
	struct hsl_device *hdev = d->hdev;
	unsigned long hwq;
	u32 n;

	lockdep_assert_held(&hdev->lock);

	hsl_dump_identity(d, why);
	if (d->regs)
		hsl_dump_registers(d);
	hsl_dump_events(d);
	hsl_dump_faults(d);
	hsl_dump_vectors(d);
	for_each_set_bit(hwq, hdev->queue_map, hdev->limits.nr_queues)
		hsl_dump_queue(d, hwq);
	for (n = 0; n < hdev->limits.nr_contexts; n++)
		if (hdev->contexts[n])
			hsl_dump_context(d, hdev->contexts[n]);
	for (n = 0; d->regs && n < hdev->limits.nr_ports; n++)
		hsl_dump_port(d, n);
}

static size_t hsl_dump_size(struct hsl_device *hdev)
{
	guard(mutex)(&hdev->lock);
	return HSL_DUMP_BASE + HSL_DUMP_PER_VECTOR * hdev->nr_vectors +
	       HSL_DUMP_PER_QUEUE * bitmap_weight(hdev->queue_map, hdev->limits.nr_queues) +
	       HSL_DUMP_PER_CONTEXT * hdev->nr_open;
}

/*
 * The text, for vfree(), and its length; NULL: no memory. Called without locks, by
 * whoever has claimed the device (@claimed) or by others. When the registers are
 * not to be read, or read as all ones, the text says so and has the rest.
 */
char *hsl_dump(struct hsl_device *hdev, const char *why, bool claimed, size_t *len)
{
	size_t size = hsl_dump_size(hdev);
	struct hsl_dump d = { .hdev = hdev };
	char *text;

	text = __vmalloc(size, GFP_KERNEL | __GFP_NOWARN);
	if (!text)
		return NULL;
	seq_buf_init(&d.s, text, size - HSL_DUMP_END);
	scoped_guard(mutex, &hdev->lock) {
		d.may_read = claimed || hdev->state == HSL_ALIVE;
		d.regs = d.may_read && !hsl_hw_gone(hdev);
		hsl_dump_write(&d, why);
	}
	*len = d.whole + scnprintf(text + d.whole, size - d.whole, "end truncated=%d\n",
				   seq_buf_has_overflowed(&d.s));
	return text;
}

/*
 * The device hangs, and is about to be reset by the caller, who has claimed it.
 * Whoever looks finds the dump in /sys/class/devcoredump; while one is there, the
 * kernel drops the next.
 */
void hsl_coredump(struct hsl_device *hdev, const char *why)
{
	size_t len;
	char *text;

	if (!IS_ENABLED(CONFIG_DEV_COREDUMP))
		return;
	text = hsl_dump(hdev, why, true, &len);
	if (!text) {
		dev_warn(&hdev->dev, "no memory for a dump of what is known of it\n");
		return;
	}
	dev_info(&hdev->dev, "what is known of it is in /sys/bus/pci/devices/%s/devcoredump/data\n",
		 pci_name(hdev->pdev));
	dev_coredumpv(&hdev->pdev->dev, text, len, GFP_KERNEL);
}
