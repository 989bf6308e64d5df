/*
 * HSL-like accelerator endpoint: event queue and interrupts
 *
 * What the engine has to tell the driver needs the big lock; it is gathered
 * under the device's own and delivered here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "hsl-internal.h"
#include "trace.h"

void hsl_event_tell(HslQueue *q)
{
    set_bit(q->id, q->s->tell);
    qatomic_set(&q->s->bql_work, true);
}

/* A descriptor met an address that is not there */
void hsl_event_fault(HslQueue *q, const HslSlot *slot)
{
    HslState *s = q->s;

    if (s->nr_faults == HSL_EVENTS) {
        s->evq_lost++;
        return;
    }
    s->faults[s->nr_faults++] = (HslEvent) {
        .type = HSL_EV_PAGE_FAULT,
        .code = slot->status,
        .access = slot->access,
        .queue = q->id,
        .context = q->context,
        .pasid = s->contexts[q->context].pasid,
        .addr = slot->addr,
        .user_data = slot->d.user_data,
    };
    qatomic_set(&s->bql_work, true);
}

static bool hsl_evq_write(HslState *s, const HslEvent *ev)
{
    uint32_t entries = BIT(s->evq_order), used = s->evq_tail - s->evq_head;
    uint32_t reserve = 0;
    struct hsl_hw_event hw = {
        .type = cpu_to_le16(ev->type),
        .code = ev->code,
        .access = ev->access,
        .queue = cpu_to_le32(ev->queue),
        .context = cpu_to_le32(ev->context),
        .pasid = cpu_to_le32(ev->pasid),
        .addr = cpu_to_le64(ev->addr),
        .user_data = cpu_to_le64(ev->user_data),
    };

    /* Faults may come in any number; a queue fails once. Keep room for that. */
    if (ev->type == HSL_EV_PAGE_FAULT) {
        reserve = MIN(s->nr_queues, entries / 2);
    }
    if (!(s->evq_ctrl & HSL_EVQ_ENABLE) || s->evq_error ||
        used + reserve >= entries) {
        return false;
    }
    if (pci_dma_write(PCI_DEVICE(s), s->evq_base +
                      (s->evq_tail & (entries - 1)) * sizeof(hw),
                      &hw, sizeof(hw)) != MEMTX_OK) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: event queue at 0x%" PRIx64
                      " cannot be written\n", s->evq_base);
        s->evq_error = true;
        return false;
    }
    s->evq_tail++;
    trace_hsl_event(ev->type, ev->code, ev->queue, ev->context, ev->addr);
    return true;
}

static void hsl_evq_error(HslState *s, HslQueue *q)
{
    HslEvent ev = {
        .type = HSL_EV_QUEUE_ERROR,
        .code = q->error,
        .access = q->error_access,
        .queue = q->id,
        .context = q->context,
        .pasid = s->contexts[q->context].pasid,
        .addr = q->error_addr,
    };

    s->evq_lost += !hsl_evq_write(s, &ev);
}

/*
 * Deliver what was gathered. Called by the engine without the lock; the lock
 * is not needed below the BQL for what nobody else changes without the BQL.
 *
 * Addresses of event queue and interrupts are the guest's choice and may be
 * those of this device's own registers: the guard refuses that.
 */
void hsl_bql_work(HslState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    MemReentrancyGuard *guard = &DEVICE(s)->mem_reentrancy_guard;
    uint32_t tail;

    if (!qatomic_read(&s->bql_work)) {
        return;
    }
    bql_lock();
    if (!hsl_may_run(s)) {
        bql_unlock();
        return;
    }
    qatomic_set(&s->bql_work, false);
    guard->engaged_in_io = true;

    /* Only this thread adds faults, and it is here */
    tail = s->evq_tail;
    for (uint32_t i = 0; i < s->nr_faults; i++) {
        s->evq_lost += !hsl_evq_write(s, &s->faults[i]);
    }
    s->nr_faults = 0;
    for (uint32_t i = find_first_bit(s->tell, s->nr_queues); i < s->nr_queues;
         i = find_next_bit(s->tell, s->nr_queues, i + 1)) {
        HslQueue *q = &s->queues[i];

        clear_bit(i, s->tell);
        if (q->error_event) {
            q->error_event = false;
            hsl_evq_error(s, q);
        }
        if (q->irq_pending) {
            q->irq_pending = false;
            hsl_count(q, HSL_CNT_INTERRUPTS, 1);
            set_bit(q->vector, s->vectors);
        }
    }
    if (s->evq_tail != tail && s->evq_vector < s->nr_vectors) {
        set_bit(s->evq_vector, s->vectors);
    }
    for (uint32_t i = find_first_bit(s->vectors, s->nr_vectors);
         i < s->nr_vectors;
         i = find_next_bit(s->vectors, s->nr_vectors, i + 1)) {
        clear_bit(i, s->vectors);
        trace_hsl_interrupt(i);
        msix_notify(pdev, i);
    }
    guard->engaged_in_io = false;
    bql_unlock();
}
