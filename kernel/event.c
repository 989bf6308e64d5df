// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what the device tells the driver, and what the driver tells the
 * process.
 *
 * The device writes struct hsl_hw_event into one ring in DMA memory. Each is
 * checked, matched with the queue it names and passed to that queue's context:
 * by context number, for a PASID may have several contexts. A context keeps
 * the first HSL_CTX_EVENTS records and counts the rest: the first ones say how
 * it began. The last few places are for queue errors, which a flood of page
 * faults thus cannot push out.
 */
#include <linux/dma-mapping.h>
#include <linux/eventfd.h>
#include <linux/ktime.h>
#include <linux/uaccess.h>

#include "hsl.h"
#include "trace.h"

#define HSL_READ_BATCH	16

int hsl_evq_init(struct hsl_device *hdev)
{
	struct hsl_evq *evq = &hdev->evq;

	evq->order = hdev->limits.evq_order;
	evq->ring = dma_alloc_coherent(&hdev->pdev->dev, sizeof(*evq->ring) << evq->order,
				       &evq->dma, GFP_KERNEL);
	return evq->ring ? 0 : -ENOMEM;
}

void hsl_evq_exit(struct hsl_device *hdev)
{
	struct hsl_evq *evq = &hdev->evq;

	dma_free_coherent(&hdev->pdev->dev, sizeof(*evq->ring) << evq->order,
			  evq->ring, evq->dma);
	evq->ring = NULL;
}

void hsl_evq_start(struct hsl_device *hdev)
{
	struct hsl_evq *evq = &hdev->evq;

	guard(mutex)(&evq->lock);
	hsl_write(hdev, HSL_REG_EVQ_CTRL, 0);
	hsl_write64(hdev, HSL_REG_EVQ_BASE, evq->dma);
	hsl_write(hdev, HSL_REG_EVQ_ORDER, evq->order);
	hsl_write(hdev, HSL_REG_EVQ_VECTOR, 0);
	hsl_write(hdev, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
	WRITE_ONCE(evq->head, 0);
	evq->on = true;
}

void hsl_evq_stop(struct hsl_device *hdev)
{
	struct hsl_evq *evq = &hdev->evq;

	guard(mutex)(&evq->lock);
	evq->on = false;
	hsl_write(hdev, HSL_REG_EVQ_CTRL, 0);
	/* The device has stopped writing when this read comes back. */
	hsl_read(hdev, HSL_REG_EVQ_CTRL);
}

static bool hsl_evq_failed(u32 status)
{
	return status & (HSL_STATUS_EVQ_ERROR | HSL_STATUS_FLTQ_ERROR);
}

/* From the interrupt handler; a stale answer costs one wakeup. */
bool hsl_evq_pending(struct hsl_device *hdev)
{
	return hsl_read(hdev, HSL_REG_EVQ_TAIL) != READ_ONCE(hdev->evq.head) ||
	       hsl_evq_failed(hsl_read(hdev, HSL_REG_STATUS));
}

/* false: the record is lost. */
static bool hsl_event_store(struct hsl_context *ctx, const struct hsl_hw_event *hw, u32 queue)
{
	u32 room = HSL_CTX_EVENTS - (ctx->ev_tail - ctx->ev_head);
	struct hsl_event *ev;

	lockdep_assert_held(&ctx->hdev->event_lock);

	if (room <= (hw->type == HSL_EV_QUEUE_ERROR ? 0 : HSL_CTX_EVENTS_SPARE)) {
		ctx->ev_lost++;
		ctx->ev_lost_total++;
		return false;
	}

	ev = &ctx->events[ctx->ev_tail % HSL_CTX_EVENTS];
	ev->type = hw->type;
	ev->code = hw->code;
	ev->access = hw->type == HSL_EV_LINK ? hw->access :
		     hw->access & (HSL_ACCESS_WRITE | HSL_ACCESS_BACKWARD);
	ev->queue = queue;
	ev->addr = hw->addr;
	ev->user_data = hw->user_data;
	ev->time_ns = ktime_get_ns();
	ctx->ev_tail++;
	return true;
}

static bool hsl_event_valid(struct hsl_device *hdev, const struct hsl_hw_event *hw)
{
	if (hw->queue >= hdev->limits.nr_queues || hw->context >= hdev->limits.nr_contexts)
		return false;

	switch (hw->type) {
	case HSL_EV_PAGE_FAULT:
		return hw->code >= HSL_ST_PAGE_FAULT && hw->code <= HSL_ST_LINK_ERROR;
	case HSL_EV_QUEUE_ERROR:
		return hw->code >= HSL_QERR_CONFIG && hw->code <= HSL_QERR_PEER;
	default:
		return false;
	}
}

/* Links concern whoever has queues, once. */
static const char *hsl_event_deliver_link(struct hsl_device *hdev, const struct hsl_hw_event *hw)
{
	struct hsl_queue *q;
	bool lost = false;
	u32 n;

	if (!hsl_link_event(hdev, hw->queue, hw->code, hw->access))
		return NULL;

	guard(spinlock)(&hdev->event_lock);
	hdev->link_events++;
	for (n = 0; n < hdev->limits.nr_queues; n++) {
		q = hdev->queues[n];
		if (!q || q->ctx->link_event == hdev->link_events)
			continue;
		q->ctx->link_event = hdev->link_events;
		lost |= !hsl_event_store(q->ctx, hw, hw->queue);
		wake_up_interruptible_poll(&q->ctx->wait, EPOLLPRI);
	}
	return lost ? "lost" : "stored";
}

/* Returns what came of it, for the trace; NULL: it made no sense. */
static const char *hsl_event_deliver(struct hsl_device *hdev, const struct hsl_hw_event *hw)
{
	struct hsl_queue *q;
	bool stored;

	if (hw->type == HSL_EV_POISON)
		return hsl_memory_poison(hdev, hw->addr) ? "poison" : NULL;
	if (hw->type == HSL_EV_LINK)
		return hsl_event_deliver_link(hdev, hw);
	if (!hsl_event_valid(hdev, hw))
		return NULL;

	guard(spinlock)(&hdev->event_lock);

	q = hdev->queues[hw->queue];
	if (!q || q->ctx->nr != hw->context)
		return NULL;

	stored = hsl_event_store(q->ctx, hw, q->id);
	if (hw->type == HSL_EV_QUEUE_ERROR) {
		WRITE_ONCE(q->failed, true);
		if (q->eventfd[HSL_EVENTFD_ERROR])
			eventfd_signal(q->eventfd[HSL_EVENTFD_ERROR]);
		/* Who waits for completions waits in vain. */
		hsl_queue_tell(q);
		wake_up_interruptible_poll(&q->ctx->wait, EPOLLPRI | EPOLLERR);
	} else {
		wake_up_interruptible_poll(&q->ctx->wait, EPOLLPRI);
	}
	return stored ? "stored" : "lost";
}

/* For a queue that has failed and stopped: the record of it, if the device has sent none. */
void hsl_event_failed(struct hsl_queue *q, u32 error)
{
	const struct hsl_hw_event hw = {
		.type = HSL_EV_QUEUE_ERROR, .code = error,
		.queue = q->hwq, .context = q->ctx->nr, .pasid = q->ctx->sva.pasid,
	};
	bool stored;

	guard(spinlock)(&q->ctx->hdev->event_lock);
	if (q->failed)
		return;
	stored = hsl_event_store(q->ctx, &hw, q->id);
	trace_hsl_event(q->ctx->hdev, &hw, stored ? "stored" : "lost");
	wake_up_interruptible_poll(&q->ctx->wait, EPOLLPRI);
}

/*
 * Nobody would hear of a queue that fails, or answer a fault. Interrupts stay
 * quiet until the event queue is started anew.
 */
static void hsl_evq_give_up(struct hsl_device *hdev, const char *why)
{
	lockdep_assert_held(&hdev->evq.lock);

	hdev->evq.on = false;
	if (!hsl_hw_gone(hdev))
		hsl_device_reset_later(hdev, why);
}

/* Take what is there. true: there was something, and there may be more. */
bool hsl_evq_process(struct hsl_device *hdev)
{
	struct hsl_evq *evq = &hdev->evq;
	u32 entries = 1u << evq->order;
	struct hsl_hw_event hw;
	const char *result;
	u32 n, status;

	guard(mutex)(&evq->lock);

	if (!evq->on)
		return false;

	n = hsl_read(hdev, HSL_REG_EVQ_TAIL) - evq->head;
	if (n > entries) {
		hsl_evq_give_up(hdev, "its event queue runs ahead of its entries");
		return false;
	}
	if (!n) {
		status = hsl_read(hdev, HSL_REG_STATUS);
		if (hsl_evq_failed(status))
			hsl_evq_give_up(hdev, status & HSL_STATUS_EVQ_ERROR ?
					"it cannot write its event queue" :
					"it cannot write its fault queue");
		return false;
	}

	/* The tail before the entries it covers. */
	dma_rmb();
	while (n--) {
		/* The device may write it again: check and use one copy. */
		hw = evq->ring[evq->head & (entries - 1)];
		barrier_data(&hw);
		result = hsl_event_deliver(hdev, &hw);
		trace_hsl_event(hdev, &hw, result ? result : "dropped");
		if (!result) {
			evq->dropped++;
			dev_warn_ratelimited(&hdev->dev,
					     "dropped event type %u code %u of queue %u, context %u\n",
					     hw.type, hw.code, hw.queue, hw.context);
		}
		evq->seen++;
		WRITE_ONCE(evq->head, evq->head + 1);
	}
	hsl_write(hdev, HSL_REG_EVQ_HEAD, evq->head);
	return true;
}

/*
 * Copies out up to @nr records from the @done'th on and forgets none of them.
 * Records do not move while the reader holds read_lock: new ones are appended.
 */
static int hsl_events_copy(struct hsl_context *ctx, u32 done, u32 nr, u64 to)
{
	struct hsl_event __user *dst = u64_to_user_ptr(to);
	struct hsl_event batch[HSL_READ_BATCH];
	u32 n, i;

	scoped_guard(spinlock, &ctx->hdev->event_lock) {
		n = min3(nr, (u32)HSL_READ_BATCH, ctx->ev_tail - ctx->ev_head - done);
		for (i = 0; i < n; i++)
			batch[i] = ctx->events[(ctx->ev_head + done + i) % HSL_CTX_EVENTS];
	}
	if (copy_to_user(dst + done, batch, n * sizeof(*batch)))
		return -EFAULT;
	return n;
}

static int hsl_events_read(struct hsl_context *ctx, struct hsl_ucmd *ucmd)
{
	struct hsl_events *cmd = ucmd->cmd;
	u32 done = 0;
	int ret;

	lockdep_assert_held(&ctx->read_lock);

	while (done < cmd->nr) {
		ret = hsl_events_copy(ctx, done, cmd->nr - done, cmd->events);
		if (ret < 0)
			return ret;
		if (!ret)
			break;
		done += ret;
	}

	cmd->nr = done;
	scoped_guard(spinlock, &ctx->hdev->event_lock)
		cmd->lost = ctx->ev_lost;
	ret = hsl_ucmd_respond(ucmd);
	if (ret)
		return ret;

	scoped_guard(spinlock, &ctx->hdev->event_lock) {
		ctx->ev_head += done;
		ctx->ev_lost -= cmd->lost;
	}
	return 0;
}

int hsl_ioctl_events(struct hsl_ucmd *ucmd)
{
	struct hsl_context *ctx = ucmd->ctx;
	int ret;

	ret = mutex_lock_killable(&ctx->read_lock);
	if (ret)
		return ret;
	ret = hsl_events_read(ctx, ucmd);
	mutex_unlock(&ctx->read_lock);
	return ret;
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/event_test.c"
#endif
