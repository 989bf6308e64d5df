// SPDX-License-Identifier: GPL-2.0
/*
 * Starting, stopping and resetting the device, and who may do so.
 *
 * A reset drops every context of the device: their files are dead from then on
 * and say ENODEV. hsl_device_claim() makes one caller the owner of the device,
 * who then takes it down and up without holding a lock; hsl_device_yield()
 * ends that. In between, open() waits and everybody else sees dead contexts.
 */
#include <linux/iopoll.h>

#include "hsl.h"
#include "trace.h"

#define HSL_READY_TIMEOUT_US	(1 * USEC_PER_SEC)
#define HSL_OPEN_TIMEOUT	(10 * HZ)

/* Unplugged, or in a reset that is not ours: reads give all ones. */
bool hsl_hw_gone(struct hsl_device *hdev)
{
	return hsl_read(hdev, HSL_REG_MAGIC) != HSL_MAGIC;
}

static int hsl_hw_ready(struct hsl_device *hdev)
{
	u32 status;
	int ret;

	ret = readl_poll_timeout(hdev->ctrl + HSL_REG_STATUS, status,
				 status & HSL_STATUS_READY, 100, HSL_READY_TIMEOUT_US);
	if (ret)
		return ret;
	return hsl_hw_gone(hdev) ? -ENODEV : 0;
}

/* By the register. If that does not help, the device is at least kept off the bus. */
int hsl_hw_reset(struct hsl_device *hdev)
{
	int ret;

	hsl_evq_stop(hdev);
	hsl_fltq_stop(hdev);
	hsl_write(hdev, HSL_REG_CTRL, HSL_CTRL_RESET);
	ret = hsl_hw_ready(hdev);
	if (!ret)
		return 0;
	if (pci_device_is_present(hdev->pdev))
		dev_err(&hdev->pdev->dev, "no answer after a reset, bus mastering is off\n");
	pci_clear_master(hdev->pdev);
	return ret;
}

/* Let queues run. Also at probe, with no context there yet. */
int hsl_hw_start(struct hsl_device *hdev)
{
	int ret;

	ret = hsl_hw_ready(hdev);
	if (ret)
		return ret;

	scoped_guard(mutex, &hdev->lock) {
		hdev->generation = hsl_read(hdev, HSL_REG_GENERATION);
		/* Queues that did not stop have now been reset. */
		bitmap_andnot(hdev->queue_map, hdev->queue_map, hdev->stuck_map,
			      hdev->limits.nr_queues);
		bitmap_andnot(hdev->queue_map, hdev->queue_map, hdev->drain_map,
			      hdev->limits.nr_queues);
		bitmap_zero(hdev->stuck_map, hdev->limits.nr_queues);
		bitmap_zero(hdev->drain_map, hdev->limits.nr_queues);
	}
	/* It may have been taken off the bus. */
	pci_set_master(hdev->pdev);
	/* In this order: an old error of the fault queue is gone when events are looked at. */
	hsl_fltq_start(hdev);
	hsl_evq_start(hdev);
	hsl_peers_start(hdev);
	hsl_write(hdev, HSL_REG_CTRL, HSL_CTRL_ENABLE);
	return 0;
}

/* No queue runs and no event arrives any more. */
void hsl_hw_stop(struct hsl_device *hdev)
{
	hsl_write(hdev, HSL_REG_CTRL, 0);
	hsl_evq_stop(hdev);
	hsl_fltq_stop(hdev);
}

/*
 * Become the one who takes the device down, and return what it was before. Waits
 * for another who does: that ends, each of its waits being bounded.
 */
enum hsl_state hsl_device_claim(struct hsl_device *hdev)
{
	enum hsl_state before;

	for (;;) {
		wait_event(hdev->state_wait, READ_ONCE(hdev->state) != HSL_CLAIMED);
		scoped_guard(mutex, &hdev->lock) {
			before = hdev->state;
			if (before != HSL_CLAIMED) {
				WRITE_ONCE(hdev->state, HSL_CLAIMED);
				return before;
			}
		}
	}
}

void hsl_device_yield(struct hsl_device *hdev, enum hsl_state state)
{
	scoped_guard(mutex, &hdev->lock)
		WRITE_ONCE(hdev->state, state);
	wake_up_all(&hdev->state_wait);
	if (state == HSL_ALIVE)
		hsl_peers_refresh(hdev);
}

/* A reset is nobody's fault who happens to open the device during it. */
int hsl_device_wait(struct hsl_device *hdev)
{
	long left;

	left = wait_event_killable_timeout(hdev->state_wait,
					   READ_ONCE(hdev->state) != HSL_CLAIMED,
					   HSL_OPEN_TIMEOUT);
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ENODEV;
}

static struct hsl_context *hsl_context_get_nr(struct hsl_device *hdev, u32 nr)
{
	struct hsl_context *ctx;

	guard(mutex)(&hdev->lock);
	ctx = hdev->contexts[nr];
	if (ctx)
		kref_get(&ctx->kref);
	return ctx;
}

/*
 * Every context dies: queues stopped, mappings gone, address space let go. The
 * caller has claimed the device, so that no context can be added. @reset, or a
 * queue that does not stop, resets the device before the address spaces go:
 * they must not go from under a queue that runs. Such a queue may also have
 * been met by a destroy or close that now waits for us.
 */
void hsl_device_kill_contexts(struct hsl_device *hdev, bool reset)
{
	/* Of all together: a queue stops at once, or an engine hangs that runs them all. */
	ktime_t until = hsl_queue_stop_deadline();
	struct hsl_context *ctx;
	bool stuck;
	u32 nr;

	for (nr = 0; nr < hdev->limits.nr_contexts; nr++) {
		ctx = hsl_context_get_nr(hdev, nr);
		if (!ctx)
			continue;
		scoped_guard(mutex, &ctx->lock) {
			if (!ctx->dead)
				hsl_context_stop(ctx, until);
		}
		hsl_context_put(ctx);
	}

	scoped_guard(mutex, &hdev->lock)
		stuck = !bitmap_empty(hdev->stuck_map, hdev->limits.nr_queues);
	/* Who resets it on purpose has dumped it before, when more was there. */
	if (stuck && !reset)
		hsl_coredump(hdev, "a queue did not stop");
	if (stuck || reset)
		hsl_hw_reset(hdev);

	for (nr = 0; nr < hdev->limits.nr_contexts; nr++) {
		ctx = hsl_context_get_nr(hdev, nr);
		if (!ctx)
			continue;
		scoped_guard(mutex, &ctx->lock)
			hsl_context_unbind(ctx);
		hsl_context_put(ctx);
	}
}

/*
 * The driver's own reset. On return every context that was there is dead, by
 * this reset or by another one. Called without locks.
 */
void hsl_device_reset(struct hsl_device *hdev, const char *why)
{
	int ret;

	scoped_guard(mutex, &hdev->lock) {
		if (hdev->state == HSL_ALIVE) {
			WRITE_ONCE(hdev->state, HSL_CLAIMED);
			ret = 0;
		} else {
			ret = -EBUSY;
		}
	}
	if (ret) {
		wait_event(hdev->state_wait, READ_ONCE(hdev->state) != HSL_CLAIMED);
		return;
	}

	dev_warn(&hdev->dev, "resetting: %s\n", why);
	trace_hsl_reset(hdev, why);
	hsl_coredump(hdev, why);
	hsl_device_kill_contexts(hdev, true);
	ret = hsl_hw_start(hdev);
	if (ret)
		dev_err(&hdev->dev, "not usable after a reset: %pe\n", ERR_PTR(ret));
	hsl_device_yield(hdev, ret ? HSL_BROKEN : HSL_ALIVE);
}

/* For those who may not wait. Cancelled at removal. */
void hsl_device_reset_later(struct hsl_device *hdev, const char *why)
{
	WRITE_ONCE(hdev->reset_why, why);
	WRITE_ONCE(hdev->reset_generation, READ_ONCE(hdev->generation));
	schedule_work(&hdev->reset_work);
}

void hsl_device_reset_work(struct work_struct *work)
{
	struct hsl_device *hdev = container_of(work, struct hsl_device, reset_work);

	/* Else somebody has reset it meanwhile. */
	if (READ_ONCE(hdev->reset_generation) == READ_ONCE(hdev->generation))
		hsl_device_reset(hdev, READ_ONCE(hdev->reset_why));
}
