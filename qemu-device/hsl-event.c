/*
 * HSL-like accelerator endpoint: event queue, fault queue, interrupts
 *
 * What the engine has to tell the driver needs the big lock; it is gathered
 * under the device's own and delivered here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "hsl-internal.h"
#include "trace.h"

#define HSL_OWNED   BIT(15)
QEMU_BUILD_BUG_ON(HSL_MAX_CONTEXTS > HSL_OWNED);

void hsl_event_tell(HslQueue *q)
{
    set_bit(q->id, q->s->tell);
    qatomic_set(&q->s->bql_work, true);
}

/*
 * A descriptor met an address that is not there. A context may have as many of
 * these gathered, and as many unread, as it leaves room for: one that faults
 * without end does not crowd out the others.
 */
void hsl_event_fault(HslQueue *q, const HslSlot *slot)
{
    HslState *s = q->s;
    uint32_t own = 0;

    for (uint32_t i = 0; i < s->nr_faults; i++) {
        own += s->faults[i].context == q->context;
    }
    if (own >= HSL_EVENTS - s->nr_faults) {
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

bool hsl_reports_on(const HslReports *r)
{
    return (r->ctrl & HSL_EVQ_ENABLE) && !r->error;
}

static uint32_t hsl_reports_room(const HslReports *r)
{
    return hsl_reports_on(r) ? BIT(r->order) - (r->tail - r->head) : 0;
}

/*
 * One entry, for which there is room. False: it is not in the ring, which
 * cannot be written, or has been reset: where it lies is the guest's choice,
 * and may be what resets or unplugs this device.
 */
static bool hsl_reports_put(HslState *s, HslReports *r, const void *entry)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    const uint32_t size = sizeof(struct hsl_hw_event), last = size - 8;
    dma_addr_t to = r->base + (r->tail & (BIT(r->order) - 1)) * size;
    uint32_t generation = s->generation;
    MemTxResult res;

    QEMU_BUILD_BUG_ON(sizeof(struct hsl_hw_fault) != size);
    res = hsl_fails(s, r == &s->evq ? HSL_FAIL_EVENT_WRITES :
                                      HSL_FAIL_FAULT_WRITES) ?
          MEMTX_ERROR : pci_dma_write(pdev, to, entry, last);
    if (s->generation != generation) {
        return false;
    }
    if (res == MEMTX_OK) {
        /* Whoever looks for the lap finds the rest there. */
        smp_wmb();
        res = stq_le_pci_dma(pdev, to + last, ldq_le_p(entry + last),
                             MEMTXATTRS_UNSPECIFIED);
    }
    if (s->generation != generation) {
        return false;
    }
    if (res != MEMTX_OK) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: event or fault queue at 0x%" PRIx64
                      " cannot be written\n", r->base);
        hsl_lock(s);
        r->error = true;
        hsl_unlock(s);
        return false;
    }
    r->tail++;
    return true;
}

/* Has it failed, and nobody knows? */
static bool hsl_reports_tell(HslReports *r)
{
    bool tell = r->error && !r->error_told;

    r->error_told |= tell;
    return tell;
}

static uint16_t *hsl_evq_owner(HslState *s, uint32_t i)
{
    return &s->evq_owner[i & (BIT(HSL_EVQ_ORDER_MAX) - 1)];
}

/* The driver has read up to @head */
void hsl_evq_read(HslState *s, uint32_t head)
{
    for (uint32_t i = s->evq.head; i != head; i++) {
        uint16_t *owner = hsl_evq_owner(s, i);

        if (*owner) {
            s->contexts[*owner & ~HSL_OWNED].events--;
            *owner = 0;
        }
    }
}

static bool hsl_evq_write(HslState *s, const HslEvent *ev)
{
    HslReports *r = &s->evq;
    uint32_t room = hsl_reports_room(r), reserve = 0;
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

    if (!hsl_may_run(s)) {
        return false;
    }
    /* Others may come in any number; a queue fails once. Keep room for that. */
    if (room && ev->type != HSL_EV_QUEUE_ERROR) {
        reserve = MIN(s->nr_queues, BIT(r->order) / 2);
    }
    if (room <= reserve ||
        (ev->type == HSL_EV_PAGE_FAULT &&
         s->contexts[ev->context].events >= room - reserve) ||
        !hsl_reports_put(s, r, &hw)) {
        return false;
    }
    if (ev->type == HSL_EV_PAGE_FAULT) {
        *hsl_evq_owner(s, r->tail - 1) = ev->context | HSL_OWNED;
        s->contexts[ev->context].events++;
    }
    trace_hsl_event(ev->type, ev->code, ev->queue, ev->context, ev->addr);
    return true;
}

/* Is there an event that waits for room? */
bool hsl_evq_waits(HslState *s)
{
    return qatomic_read(&s->port_tell) || (s->nr_poisoned && !s->poison_told);
}

/* Poison that finds no room waits for it */
static void hsl_evq_poison(HslState *s)
{
    uint64_t page = 0;
    HslEvent ev = {
        .type = HSL_EV_POISON,
        .code = HSL_ST_POISON,
        .queue = UINT32_MAX,
        .context = UINT32_MAX,
    };

    if (!s->nr_poisoned || s->poison_told) {
        return;
    }
    while ((page = find_next_bit(s->poison_tell, s->mem_pages, page)) <
           s->mem_pages) {
        ev.addr = page << HSL_PAGE_ORDER;
        if (!hsl_evq_write(s, &ev)) {
            return;
        }
        clear_bit(page, s->poison_tell);
    }
    s->poison_told = true;
}

/* So do links, of which the last state is told */
static void hsl_evq_links(HslState *s)
{
    uint32_t tell = qatomic_xchg(&s->port_tell, 0);
    uint32_t generation = s->generation;

    for (; tell; tell &= tell - 1) {
        unsigned port = ctz32(tell);
        const HslVertex *v = &s->fabric->vertices[s->node];
        const HslLink *l = &s->fabric->links[v->ports[port].link];
        uint32_t status = qatomic_read(&l->status);
        HslEvent ev = {
            .type = HSL_EV_LINK,
            .code = status & 0xff,
            .access = status >> 8,
            .queue = port,
            .context = UINT32_MAX,
        };

        if (!hsl_evq_write(s, &ev)) {
            if (s->generation == generation) {
                qatomic_or(&s->port_tell, tell);
            }
            return;
        }
    }
}

/* The record of a fault that is to be written next. False: there is none. */
static bool hsl_fltq_next(HslState *s, struct hsl_hw_fault *hw)
{
    bool found = false;

    hsl_lock(s);
    for (int i = 0; s->nr_prgs && i < HSL_PRGS && !found; i++) {
        HslPrg *prg = &s->prgs[i];
        uint32_t context = s->spaces[prg->space].context;

        found = prg->used && prg->pending;
        if (!found) {
            continue;
        }
        prg->pending = false;
        *hw = (struct hsl_hw_fault) {
            .tag = cpu_to_le32(prg->tag),
            .context = cpu_to_le32(context),
            .addr = cpu_to_le64(prg->start),
            .pages = cpu_to_le32(prg->ahead),
            .access = prg->write ? HSL_ACCESS_WRITE : 0,
            .lap = cpu_to_le16((s->fltq.tail >> s->fltq.order) + 1),
        };
        trace_hsl_fault(prg->tag, context, prg->start, prg->ahead, prg->write);
    }
    hsl_unlock(s);
    return found;
}

/* Faults that find no room wait for it */
static void hsl_fltq_work(HslState *s)
{
    struct hsl_hw_fault hw;

    while (hsl_may_run(s) && hsl_reports_room(&s->fltq) &&
           hsl_fltq_next(s, &hw) && hsl_reports_put(s, &s->fltq, &hw)) {
    }
    if (!hsl_reports_on(&s->fltq)) {
        hsl_lock(s);
        hsl_faults_refuse(s);
        hsl_unlock(s);
    }
}

/* What finds no room is lost; a reset meanwhile has forgotten it */
static void hsl_evq_put(HslState *s, const HslEvent *ev)
{
    uint32_t generation = s->generation;

    if (!hsl_evq_write(s, ev) && s->generation == generation) {
        s->evq_lost++;
    }
}

/* Only this thread adds faults, and it is here; but a reset drops them all */
static void hsl_evq_faults(HslState *s)
{
    uint32_t n = 0;

    while (n < s->nr_faults && hsl_may_run(s)) {
        hsl_evq_put(s, &s->faults[n++]);
    }
    n = MIN(n, s->nr_faults);
    s->nr_faults -= n;
    memmove(s->faults, s->faults + n, s->nr_faults * sizeof(*s->faults));
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

    hsl_evq_put(s, &ev);
}

/*
 * Deliver what was gathered. Called by the engine without the lock; the lock
 * is not needed below the BQL for what nobody else changes without the BQL.
 *
 * Addresses of event queue and interrupts are the guest's choice and may be
 * those of this device's own registers: the guard refuses that. They may also
 * be registers of others that turn off bus mastering, reset this device or
 * unplug it, all before the write returns: look again after each.
 */
void hsl_bql_work(HslState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    MemReentrancyGuard *guard = &DEVICE(s)->mem_reentrancy_guard;
    uint32_t evq_tail, fltq_tail, generation;
    bool told;

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

    generation = s->generation;
    evq_tail = s->evq.tail;
    fltq_tail = s->fltq.tail;
    hsl_fltq_work(s);
    hsl_evq_poison(s);
    hsl_evq_links(s);
    hsl_evq_faults(s);
    for (uint32_t i = find_first_bit(s->tell, s->nr_queues);
         i < s->nr_queues && hsl_may_run(s);
         i = find_next_bit(s->tell, s->nr_queues, i + 1)) {
        HslQueue *q = &s->queues[i];

        clear_bit(i, s->tell);
        if (q->irq_pending) {
            q->irq_pending = false;
            hsl_count(q, HSL_CNT_INTERRUPTS, 1);
            set_bit(q->vector, s->vectors);
        }
        if (q->error_event) {
            q->error_event = false;
            hsl_evq_error(s, q);
        }
    }
    if (s->generation == generation) {
        told = hsl_reports_tell(&s->evq);
        told |= hsl_reports_tell(&s->fltq);
        if ((told || s->evq.tail != evq_tail) &&
            s->evq.vector < s->nr_vectors) {
            set_bit(s->evq.vector, s->vectors);
        }
        if (s->fltq.tail != fltq_tail && s->fltq.vector < s->nr_vectors) {
            set_bit(s->fltq.vector, s->vectors);
        }
    }
    for (uint32_t i = find_first_bit(s->vectors, s->nr_vectors);
         i < s->nr_vectors && hsl_may_run(s);
         i = find_next_bit(s->vectors, s->nr_vectors, i + 1)) {
        clear_bit(i, s->vectors);
        trace_hsl_interrupt(i);
        msix_notify(pdev, i);
    }
    /* Bus mastering was turned off: the rest later */
    if (!hsl_may_run(s)) {
        qatomic_set(&s->bql_work, true);
    }
    guard->engaged_in_io = false;
    bql_unlock();
}
