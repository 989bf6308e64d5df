/*
 * HSL-like accelerator endpoint: signals, by which a queue rings another
 *
 * The queue that is rung may be another device's, whose lock is not taken:
 * a signal is one word of the queue, HslQueue.signal, that is set without a
 * lock and names the run of the queue that it is for. The other device is there
 * as long as this one's lock is held, see hsl-link.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "migration/vmstate.h"
#include "hsl-internal.h"
#include "trace.h"

static bool hsl_signal_is_local(const HslState *s, uint32_t node)
{
    return node == HSL_NODE_NONE || node == s->node;
}

/* The run that the entry's queue is in, 0: it does not run. With the BQL. */
static uint32_t hsl_signal_run(HslState *s, const HslSignal *e)
{
    HslState *owner = s;
    uint32_t run = 0;

    if (!hsl_signal_is_local(s, e->node)) {
        owner = hsl_link_device(s, e->node);
    }
    if (owner && e->queue < owner->nr_queues) {
        HslQueue *t = &owner->queues[e->queue];

        hsl_lock(owner);
        run = t->state == HSL_Q_RUNNING ? t->run : 0;
        hsl_unlock(owner);
    }
    return run;
}

static void hsl_signal_ctrl(HslState *s, uint32_t n, bool valid)
{
    HslSignal *e = &s->signals[n];
    uint32_t run;

    if (valid == !!(e->ctrl & HSL_SIGNAL_VALID)) {
        return;
    }
    run = valid ? hsl_signal_run(s, e) : 0;
    if (valid && !run) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: signal %u refused: queue %u of "
                      "node 0x%x does not run\n", n, e->queue, e->node);
    }
    hsl_lock(s);
    e->run = run;
    e->ctrl = run ? HSL_SIGNAL_VALID : 0;
    hsl_unlock(s);
    trace_hsl_signal_entry(n, e->user, e->node, e->queue, e->ctrl);
}

bool hsl_signal_addr(hwaddr addr)
{
    return addr >= HSL_REG_SIGNALS && addr < HSL_REG_SIGNAL(HSL_MAX_SIGNALS);
}

/* With the lock held */
uint64_t hsl_signal_read(HslState *s, hwaddr addr)
{
    const HslSignal *e;

    addr -= HSL_REG_SIGNALS;
    e = &s->signals[addr / HSL_SIGNAL_STRIDE];
    switch (addr % HSL_SIGNAL_STRIDE) {
    case HSL_SIGNAL_USER:
        return e->user;
    case HSL_SIGNAL_NODE:
        return e->node;
    case HSL_SIGNAL_QUEUE:
        return e->queue;
    case HSL_SIGNAL_CTRL:
        return e->ctrl;
    }
    return 0;
}

/* Without the lock */
void hsl_signal_write(HslState *s, hwaddr addr, uint64_t val)
{
    HslSignal *e;
    uint32_t n;

    addr -= HSL_REG_SIGNALS;
    n = addr / HSL_SIGNAL_STRIDE;
    e = &s->signals[n];
    addr %= HSL_SIGNAL_STRIDE;
    if (addr == HSL_SIGNAL_CTRL) {
        hsl_signal_ctrl(s, n, val & HSL_SIGNAL_VALID);
        return;
    }
    if (e->ctrl & HSL_SIGNAL_VALID) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: signal %u is valid, write to 0x%"
                      HWADDR_PRIx " ignored\n", n, addr);
        return;
    }
    switch (addr) {
    case HSL_SIGNAL_USER:
        e->user = val;
        break;
    case HSL_SIGNAL_NODE:
        e->node = val;
        break;
    case HSL_SIGNAL_QUEUE:
        e->queue = val;
        break;
    }
}

/*
 * Ring @t, of whatever device, if it is still in @run. What is pending of this
 * run is further than @tail, or gives way to it.
 */
static enum hsl_status hsl_signal_ring(HslQueue *t, uint32_t run,
                                       uint32_t tail)
{
    HslState *owner = t->s;
    uint64_t word = (uint64_t)run << 32 | tail, old;

    do {
        /* Before the run: one of a later run makes the exchange fail */
        old = qatomic_load_acquire(&t->signal);
        if (qatomic_read(&t->run) != run) {
            return HSL_ST_NOT_PERMITTED;
        }
        switch (hsl_queue_tail_check(t, tail)) {
        case HSL_TAIL_BAD:
            return HSL_ST_INVALID;
        case HSL_TAIL_PASSED:
            word = old;
            break;
        default:
            if (old >> 32 == run && (int32_t)(tail - (uint32_t)old) <= 0) {
                word = old;
            }
            break;
        }
    } while (word != old && qatomic_cmpxchg(&t->signal, old, word) != old);

    trace_hsl_signal(owner->node, t->id, tail);
    qatomic_inc(&t->doorbells);
    qatomic_inc(&owner->doorbells);
    set_bit_atomic(t->id, owner->db_bitmap);
    qemu_event_set(&owner->wake);
    return HSL_ST_OK;
}

/*
 * The descriptor @d of @q. HSL_X_OK: *@status is its outcome; else as
 * hsl_link_message() has it.
 */
HslXlate hsl_signal_send(HslQueue *q, const HslDesc *d, HslWait *wait,
                         HslFlow *flow, enum hsl_status *status)
{
    HslState *s = q->s, *owner = s;
    const HslSignal *e;
    uint64_t payload = cpu_to_le64(d->operand[1]);
    HslXlate x;

    *status = HSL_ST_NOT_PERMITTED;
    if (d->operand[0] >= HSL_MAX_SIGNALS) {
        return HSL_X_OK;
    }
    e = &s->signals[d->operand[0]];
    if (!(e->ctrl & HSL_SIGNAL_VALID) || e->user != q->context) {
        return HSL_X_OK;
    }
    if (!hsl_signal_is_local(s, e->node)) {
        x = hsl_link_message(q, e->node, (const uint8_t *)&payload,
                             sizeof(payload), wait, flow, &owner);
        if (x != HSL_X_OK) {
            return x;
        }
    }
    /* Another device may be there by now */
    if (e->queue < owner->nr_queues) {
        *status = hsl_signal_ring(&owner->queues[e->queue], e->run,
                                  d->operand[1]);
        s->rang = owner != s;
    }
    return HSL_X_OK;
}

const VMStateDescription vmstate_hsl_signal = {
    .name = "hsl/signal",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(user, HslSignal),
        VMSTATE_UINT32(node, HslSignal),
        VMSTATE_UINT32(queue, HslSignal),
        VMSTATE_UINT32(ctrl, HslSignal),
        VMSTATE_UINT32(run, HslSignal),
        VMSTATE_END_OF_LIST()
    },
};
