// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts. Vector 0 tells of events, vector 1 of faults in the device's page
 * tables, where it has some; the others are shared out among the queues. With
 * too few vectors, vector 0 tells of faults as well, and a single one of all.
 */
#include <linux/eventfd.h>
#include <linux/interrupt.h>

#include "hsl.h"
#include "trace.h"

/* Two for each CPU, so that few queues share one; the CPU's own are scarce. */
static unsigned int hsl_irq_want(struct hsl_device *hdev)
{
	unsigned int queues = min(max(8, 2 * num_online_cpus()), hdev->limits.nr_queues);
	unsigned int faults = hdev->limits.caps & HSL_CAP_XLATE_DEVICE ? 1 : 0;

	return min(1 + faults + queues, hdev->limits.nr_vectors);
}

/*
 * On a vector of several, only a queue that wrote completions is told. One
 * that is told too early for its cq_event looks, sees, and sleeps again.
 */
static bool hsl_irq_progress(struct hsl_vector *vec, struct hsl_queue *q)
{
	u32 tail;

	if (vec->nr_queues == 1)
		return true;

	tail = hsl_read(vec->hdev, HSL_REG_Q(q->hwq) + HSL_Q_CQ_TAIL);
	if (tail == q->cq_seen)
		return false;
	q->cq_seen = tail;
	return true;
}

static irqreturn_t hsl_irq_completion(int irq, void *data)
{
	struct hsl_vector *vec = data;
	struct hsl_queue *q;

	guard(spinlock)(&vec->lock);
	vec->interrupts++;
	list_for_each_entry(q, &vec->queues, vector_node) {
		if (!hsl_irq_progress(vec, q))
			continue;
		trace_hsl_interrupt(vec->hdev, hsl_irq_index(vec), q);
		if (q->eventfd[HSL_EVENTFD_COMPLETION])
			eventfd_signal(q->eventfd[HSL_EVENTFD_COMPLETION]);
		wake_up_interruptible_poll(&q->ctx->wait, EPOLLIN | EPOLLRDNORM);
	}
	return IRQ_HANDLED;
}

static irqreturn_t hsl_irq_event(int irq, void *data)
{
	struct hsl_vector *vec = data;

	if (vec->hdev->nr_vectors == 1)
		hsl_irq_completion(irq, data);
	if (!vec->hdev->fault_vector)
		hsl_fltq_process(vec->hdev);
	return hsl_evq_pending(vec->hdev) ? IRQ_WAKE_THREAD : IRQ_HANDLED;
}

static irqreturn_t hsl_irq_fault(int irq, void *data)
{
	struct hsl_vector *vec = data;

	hsl_fltq_process(vec->hdev);
	return IRQ_HANDLED;
}

static irqreturn_t hsl_irq_event_thread(int irq, void *data)
{
	struct hsl_vector *vec = data;
	unsigned int rounds = 64;

	/* Bounded: a device that always has one more event must not own a CPU. */
	while (rounds-- && hsl_evq_process(vec->hdev))
		cond_resched();
	return IRQ_HANDLED;
}

static int hsl_irq_request(struct hsl_device *hdev, unsigned int n)
{
	struct hsl_vector *vec = &hdev->vectors[n];

	vec->hdev = hdev;
	spin_lock_init(&vec->lock);
	INIT_LIST_HEAD(&vec->queues);
	if (n == 0)
		return pci_request_irq(hdev->pdev, n, hsl_irq_event, hsl_irq_event_thread,
				       vec, "%s-event", dev_name(&hdev->dev));
	if (n == hdev->fault_vector)
		return pci_request_irq(hdev->pdev, n, hsl_irq_fault, NULL, vec,
				       "%s-fault", dev_name(&hdev->dev));
	return pci_request_irq(hdev->pdev, n, hsl_irq_completion, NULL, vec,
			       "%s-queue%u", dev_name(&hdev->dev),
			       n - hdev->fault_vector - 1);
}

int hsl_irq_init(struct hsl_device *hdev)
{
	struct pci_dev *pdev = hdev->pdev;
	unsigned int n;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, 1, hsl_irq_want(hdev), PCI_IRQ_MSIX);
	if (ret < 0) {
		dev_err(&pdev->dev, "no MSI-X vectors: %pe\n", ERR_PTR(ret));
		return ret;
	}

	hdev->nr_vectors = ret;
	/* One for events, one for faults, one at least for queues */
	hdev->fault_vector = hdev->limits.caps & HSL_CAP_XLATE_DEVICE && hdev->nr_vectors > 2;
	hdev->vectors = kcalloc(hdev->nr_vectors, sizeof(*hdev->vectors), GFP_KERNEL);
	ret = hdev->vectors ? 0 : -ENOMEM;
	for (n = 0; !ret && n < hdev->nr_vectors; n++)
		ret = hsl_irq_request(hdev, n);
	if (!ret)
		return 0;

	/* The last one was not granted. */
	if (n)
		n--;
	while (n--)
		pci_free_irq(pdev, n, &hdev->vectors[n]);
	kfree(hdev->vectors);
	hdev->vectors = NULL;
	pci_free_irq_vectors(pdev);
	return ret;
}

/* The vectors themselves stay as long as queues do: poll() tells through them. */
void hsl_irq_exit(struct hsl_device *hdev)
{
	unsigned int n;

	for (n = 0; n < hdev->nr_vectors; n++)
		pci_free_irq(hdev->pdev, n, &hdev->vectors[n]);
	pci_free_irq_vectors(hdev->pdev);
}

/* The vector of a hardware queue. */
struct hsl_vector *hsl_irq_vector(struct hsl_device *hdev, u32 hwq)
{
	unsigned int first = 1 + hdev->fault_vector;

	if (hdev->nr_vectors == 1)
		return &hdev->vectors[0];
	return &hdev->vectors[first + hwq % (hdev->nr_vectors - first)];
}

u32 hsl_irq_index(struct hsl_vector *vec)
{
	return vec - vec->hdev->vectors;
}

void hsl_irq_add(struct hsl_queue *q)
{
	struct hsl_vector *vec = q->vector;

	guard(spinlock_irqsave)(&vec->lock);
	list_add_tail(&q->vector_node, &vec->queues);
	vec->nr_queues++;
}

/* After this no interrupt looks at the queue. */
void hsl_irq_del(struct hsl_queue *q)
{
	struct hsl_vector *vec = q->vector;

	guard(spinlock_irqsave)(&vec->lock);
	list_del_init(&q->vector_node);
	vec->nr_queues--;
}
