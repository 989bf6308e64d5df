// SPDX-License-Identifier: GPL-2.0
/*
 * The fault queue: what the device did not find in its own page tables. The
 * device writes struct hsl_hw_fault into one ring in DMA memory; each goes to
 * the mirror of the context it names, whose worker answers it.
 *
 * A mirror keeps as many as the device can have outstanding. When there are
 * more, the oldest are of queues that have stopped, or the device is mad: they
 * are sent back, and whoever still waits for one asks again.
 */
#include <linux/dma-mapping.h>

#include "mirror.h"
#include "trace.h"

static bool hsl_fltq_exists(struct hsl_device *hdev)
{
	return hdev->limits.caps & HSL_CAP_XLATE_DEVICE;
}

int hsl_fltq_init(struct hsl_device *hdev)
{
	struct hsl_fltq *fltq = &hdev->fltq;

	if (!hsl_fltq_exists(hdev))
		return 0;

	fltq->mirrors = kcalloc(hdev->limits.nr_contexts, sizeof(*fltq->mirrors), GFP_KERNEL);
	if (!fltq->mirrors)
		return -ENOMEM;
	fltq->ring = dma_alloc_coherent(&hdev->pdev->dev,
					sizeof(*fltq->ring) << hdev->limits.fltq_order,
					&fltq->dma, GFP_KERNEL);
	if (!fltq->ring) {
		kfree(fltq->mirrors);
		fltq->mirrors = NULL;
		return -ENOMEM;
	}
	return 0;
}

void hsl_fltq_exit(struct hsl_device *hdev)
{
	struct hsl_fltq *fltq = &hdev->fltq;

	if (!hsl_fltq_exists(hdev))
		return;
	dma_free_coherent(&hdev->pdev->dev, sizeof(*fltq->ring) << hdev->limits.fltq_order,
			  fltq->ring, fltq->dma);
	fltq->ring = NULL;
	kfree(fltq->mirrors);
	fltq->mirrors = NULL;
}

void hsl_fltq_start(struct hsl_device *hdev)
{
	struct hsl_fltq *fltq = &hdev->fltq;

	if (!hsl_fltq_exists(hdev))
		return;

	guard(spinlock_irqsave)(&fltq->lock);
	hsl_write(hdev, HSL_REG_FLTQ_CTRL, 0);
	memset(fltq->ring, 0, sizeof(*fltq->ring) << hdev->limits.fltq_order);
	hsl_write64(hdev, HSL_REG_FLTQ_BASE, fltq->dma);
	hsl_write(hdev, HSL_REG_FLTQ_ORDER, hdev->limits.fltq_order);
	hsl_write(hdev, HSL_REG_FLTQ_VECTOR, hdev->fault_vector);
	hsl_write(hdev, HSL_REG_FLTQ_CTRL, HSL_FLTQ_ENABLE);
	fltq->head = 0;
	fltq->told = 0;
	fltq->on = true;
}

void hsl_fltq_stop(struct hsl_device *hdev)
{
	struct hsl_fltq *fltq = &hdev->fltq;

	if (!hsl_fltq_exists(hdev))
		return;

	guard(spinlock_irqsave)(&fltq->lock);
	fltq->on = false;
	hsl_write(hdev, HSL_REG_FLTQ_CTRL, 0);
	/* The device has stopped writing when this read comes back. */
	hsl_read(hdev, HSL_REG_FLTQ_CTRL);
}

/* Faults of this context number go to @m from now on; NULL: to nobody. */
void hsl_fltq_attach(struct hsl_device *hdev, u32 nr, struct hsl_mirror *m)
{
	if (!hsl_fltq_exists(hdev))
		return;

	guard(spinlock_irqsave)(&hdev->fltq.lock);
	hdev->fltq.mirrors[nr] = m;
}

/* Unless the number has got another mirror already */
void hsl_fltq_detach(struct hsl_mirror *m)
{
	struct hsl_device *hdev = m->hdev;

	guard(spinlock_irqsave)(&hdev->fltq.lock);
	if (hdev->fltq.mirrors[m->ctx->nr] == m)
		hdev->fltq.mirrors[m->ctx->nr] = NULL;
	m->head = m->tail;
}

/*
 * The register has two halves where the bus has no 64-bit writes. The caller
 * may touch registers.
 */
void hsl_fltq_answer(struct hsl_device *hdev, u32 tag, enum hsl_fault_code code)
{
	guard(spinlock_irqsave)(&hdev->fltq.lock);
	hsl_write64(hdev, HSL_REG_FAULT_RESPONSE, HSL_FAULT_RESPONSE(tag, code));
}

/* The next record, if it is there. */
static bool hsl_fltq_take(struct hsl_device *hdev, struct hsl_hw_fault *f)
{
	struct hsl_fltq *fltq = &hdev->fltq;
	u32 order = hdev->limits.fltq_order;
	struct hsl_hw_fault *from = &fltq->ring[fltq->head & ((1u << order) - 1)];

	lockdep_assert_held(&fltq->lock);

	if (READ_ONCE(from->lap) != (u16)((fltq->head >> order) + 1))
		return false;
	/* The lap before what it covers. */
	dma_rmb();
	/* The device may write it again: check and use one copy. */
	*f = *from;
	barrier_data(f);
	fltq->head++;
	return true;
}

/* false: it made no sense. */
static bool hsl_fault_deliver(struct hsl_device *hdev, const struct hsl_hw_fault *f,
			      struct hsl_mirror *caller)
{
	u32 entries = 1u << hdev->limits.fltq_order;
	struct hsl_mirror *m;
	u32 old;

	lockdep_assert_held(&hdev->fltq.lock);

	m = f->context < hdev->limits.nr_contexts ? hdev->fltq.mirrors[f->context] : NULL;
	if (!m) {
		hsl_write64(hdev, HSL_REG_FAULT_RESPONSE,
			    HSL_FAULT_RESPONSE(f->tag, HSL_FAULT_REFUSED));
		return false;
	}

	if (m->tail - m->head == entries) {
		old = m->faults[m->head++ & (entries - 1)].tag;
		hsl_write64(hdev, HSL_REG_FAULT_RESPONSE,
			    HSL_FAULT_RESPONSE(old, HSL_FAULT_RETRY));
	}
	m->faults[m->tail++ & (entries - 1)] = *f;
	if (m != caller)
		hsl_mirror_kick(m);
	return true;
}

/*
 * All that the device has written; the worker of @caller need not be woken. No
 * register is read, and the device is told only now and then how far we are: the
 * ring is twice as large as it needs.
 */
static void hsl_fltq_drain(struct hsl_device *hdev, struct hsl_mirror *caller)
{
	struct hsl_fltq *fltq = &hdev->fltq;
	u32 entries = 1u << hdev->limits.fltq_order, n;
	struct hsl_hw_fault f;
	bool known;

	lockdep_assert_held(&fltq->lock);

	/* A device that writes without end gets the next interrupt for the rest. */
	for (n = 0; fltq->on && n < entries && hsl_fltq_take(hdev, &f); n++) {
		known = hsl_fault_deliver(hdev, &f, caller);
		trace_hsl_fault(hdev, &f, known);
		fltq->seen++;
		if (!known) {
			fltq->dropped++;
			dev_dbg_ratelimited(&hdev->dev, "refused a fault of context %u\n",
					    f.context);
		}
	}
	if (fltq->head - fltq->told >= entries / 4) {
		hsl_write(hdev, HSL_REG_FLTQ_HEAD, fltq->head);
		fltq->told = fltq->head;
	}
}

/* In the interrupt handler; every record comes with an interrupt of its own. */
void hsl_fltq_process(struct hsl_device *hdev)
{
	guard(spinlock_irqsave)(&hdev->fltq.lock);
	hsl_fltq_drain(hdev, NULL);
}

/*
 * The oldest fault of @m, for its worker. Those that are in the ring and whose
 * interrupt is still on its way count.
 */
bool hsl_fltq_next(struct hsl_mirror *m, struct hsl_hw_fault *f)
{
	struct hsl_device *hdev = m->hdev;

	guard(spinlock_irqsave)(&hdev->fltq.lock);
	if (m->head == m->tail)
		hsl_fltq_drain(hdev, m);
	if (m->head == m->tail)
		return false;
	*f = m->faults[m->head++ & ((1u << hdev->limits.fltq_order) - 1)];
	return true;
}

/* The @n'th fault that no worker has taken yet, of all contexts; false: there are fewer. */
bool hsl_fltq_peek(struct hsl_device *hdev, u32 n, struct hsl_hw_fault *f)
{
	struct hsl_mirror *m;

	guard(spinlock_irqsave)(&hdev->fltq.lock);
	for (u32 nr = 0; hdev->fltq.mirrors && nr < hdev->limits.nr_contexts; nr++) {
		m = hdev->fltq.mirrors[nr];
		if (!m)
			continue;
		if (n < m->tail - m->head) {
			*f = m->faults[(m->head + n) & ((1u << hdev->limits.fltq_order) - 1)];
			return true;
		}
		n -= m->tail - m->head;
	}
	return false;
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/fault_test.c"
#endif
