/*
 * HSL-like accelerator endpoint: queues
 *
 * Rings and control words lie in process memory and are reached through the
 * same translation as operands; a page that is missing there makes the queue
 * wait for a page request. Only the engine thread advances a queue; others
 * change its state under the lock, which the engine sees when it takes the lock
 * again: HslQueue.run then differs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/log.h"
#include "hsl-internal.h"
#include "trace.h"

/* Pieces of work one visit may take; times the queue's share */
#define HSL_STEP_PIECES     16

#define CTL(field)  offsetof(struct hsl_q_ctl, field)

/*
 * No two queues of all devices have a run in common, so that a signal cannot
 * take one that comes to its place for the one it is for.
 */
static uint32_t hsl_runs;

static uint32_t hsl_run_next(void)
{
    uint32_t run;

    do {
        run = qatomic_add_fetch(&hsl_runs, 1);
    } while (!run);
    return run;
}

/* Signals of a state that was loaded name it */
void hsl_queue_run_loaded(HslQueue *q)
{
    if ((int32_t)(q->run - qatomic_read(&hsl_runs)) > 0) {
        qatomic_set(&hsl_runs, q->run);
    }
}

static void hsl_queue_clear(HslQueue *q)
{
    HslState *s = q->s;

    /* Seen by other devices' engines before anything else of it changes */
    qatomic_set_mb(&q->run, hsl_run_next());
    q->nr_busy = 0;
    q->fencing = false;
    for (int i = 0; i < HSL_SLOTS; i++) {
        q->slots[i].busy = false;
        hsl_wait_reset(&q->slots[i].dst.wait);
        hsl_wait_reset(&q->slots[i].src.wait);
    }
    hsl_wait_reset(&q->wait);
    hsl_queue_drop_faults(q);
    q->armed = false;
    q->irq_hold = q->irq_pending = false;
    timer_del(q->coalesce_timer);
    clear_bit(q->id, s->active);
}

/* A queue rests when it has stopped and the IOMMU owes it no answer */
void hsl_queue_settle(HslQueue *q)
{
    if (q->state == HSL_Q_STOPPING && !hsl_queue_has_requests(q)) {
        q->state = HSL_Q_STOPPED;
        trace_hsl_queue_stopped(q->id);
    }
}

void hsl_queue_stop(HslQueue *q)
{
    if (q->state == HSL_Q_STOPPED || q->state == HSL_Q_STOPPING) {
        return;
    }
    trace_hsl_queue_stop(q->id);
    hsl_queue_clear(q);
    q->state = HSL_Q_STOPPING;
    q->error = HSL_QERR_NONE;
    q->error_event = false;
    hsl_queue_settle(q);
}

void hsl_queue_fail(HslQueue *q, enum hsl_q_error error, uint64_t addr,
                    uint8_t access)
{
    HslState *s = q->s;

    qemu_log_mask(LOG_GUEST_ERROR, "hsl: queue %u failed: error %d at 0x%"
                  PRIx64 "\n", q->id, error, addr);
    trace_hsl_queue_fail(q->id, error, addr);
    hsl_queue_clear(q);
    q->state = HSL_Q_FAILED;
    q->error = error;
    q->error_event = true;
    q->error_addr = addr;
    q->error_access = access;
    s->counters[HSL_CNT_QUEUE_ERRORS]++;
    hsl_event_tell(q);
}

static bool hsl_ring_valid(uint64_t base, uint64_t bytes, uint64_t align)
{
    return !(base & (align - 1)) && base + bytes >= base;
}

/* Are its registers, but for the context, those of a queue that may run? */
bool hsl_queue_sane(const HslQueue *q)
{
    const HslState *s = q->s;

    return q->sq_order >= 1 && q->sq_order <= s->ring_order &&
           q->cq_order >= q->sq_order && q->cq_order <= s->ring_order &&
           hsl_ring_valid(q->sq_base, sizeof(struct hsl_desc) << q->sq_order,
                          64) &&
           hsl_ring_valid(q->cq_base, sizeof(struct hsl_cqe) << q->cq_order,
                          64) &&
           hsl_ring_valid(q->ctl_base, sizeof(struct hsl_q_ctl), 128) &&
           (q->vector == HSL_VECTOR_NONE || q->vector < s->nr_vectors) &&
           !(q->ops & ~s->ops) && q->priority <= 3 &&
           !(q->routes & ~HSL_ROUTE_ALL) &&
           q->coalesce_usecs <= HSL_COALESCE_USECS_MAX &&
           (q->coalesce_count <= 1 || q->coalesce_usecs);
}

static enum hsl_q_error hsl_queue_check(HslQueue *q)
{
    HslState *s = q->s;
    HslContext *c;

    if (!hsl_queue_sane(q) || hsl_fails(s, HSL_FAIL_QUEUES)) {
        return HSL_QERR_CONFIG;
    }
    if (q->context >= s->nr_contexts) {
        return HSL_QERR_CONTEXT;
    }
    c = &s->contexts[q->context];
    return c->ctrl & HSL_CTX_VALID ? HSL_QERR_NONE : HSL_QERR_CONTEXT;
}

void hsl_queue_start(HslQueue *q)
{
    HslState *s = q->s;
    enum hsl_q_error error;

    if (q->state != HSL_Q_STOPPED) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: queue %u started in state %u\n",
                      q->id, q->state);
        return;
    }
    error = hsl_queue_check(q);
    if (error) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: queue %u refused: error %d\n",
                      q->id, error);
        q->state = HSL_Q_FAILED;
        q->error = error;
        return;
    }

    hsl_queue_clear(q);
    q->space = s->contexts[q->context].space;
    q->sq_head = q->sq_tail = q->sq_head_seen = q->tail_word = 0;
    q->fetched = 0;
    q->cq_head = q->cq_tail = q->cq_event_seen = 0;
    q->error = HSL_QERR_NONE;
    memset(q->counters, 0, sizeof(q->counters));
    qatomic_set(&q->db_rung, false);
    qatomic_set(&q->signal, 0);
    qatomic_set(&q->doorbells, 0);
    q->state = HSL_Q_RUNNING;
    trace_hsl_queue_start(q->id, q->context, q->sq_base, q->cq_base,
                          q->ctl_base);
    /* The first visit arms db_needed */
    set_bit(q->id, s->active);
    qemu_event_set(&s->wake);
    if (hsl_fails(s, HSL_FAIL_START)) {
        hsl_queue_fail(q, HSL_QERR_DOORBELL, q->ctl_base + CTL(sq_tail), 0);
    }
}

void hsl_queue_reset(HslQueue *q)
{
    hsl_queue_clear(q);
    q->state = HSL_Q_STOPPED;
    q->error = HSL_QERR_NONE;
    q->error_event = false;
    q->context = 0;
    q->vector = HSL_VECTOR_NONE;
    q->sq_base = q->cq_base = q->ctl_base = 0;
    q->sq_order = q->cq_order = 0;
    q->ops = 0;
    q->coalesce_count = q->coalesce_usecs = 0;
    q->priority = 0;
    q->routes = HSL_ROUTE_ALL;
    q->sq_head = q->sq_tail = q->cq_head = q->cq_tail = 0;
    memset(q->counters, 0, sizeof(q->counters));
    qatomic_set(&q->doorbells, 0);
}

/* Access to rings and control words */

static HslXlate hsl_ring_map(HslQueue *q, uint64_t va, uint64_t len,
                             bool write, enum hsl_q_error error, HslMap *map)
{
    HslXlate x = hsl_map(q, va, len, write, len, NULL, &q->wait, map);

    if (x == HSL_X_BUS_ERROR) {
        error = HSL_QERR_BUS;
    } else if (x == HSL_X_POISON) {
        error = HSL_QERR_POISON;
    }
    /* What goes over the link is what is there: it is only ever sent again */
    if (x == HSL_X_OK) {
        x = hsl_map_carry(q->s, map, MIN(len, map->len), write, map->ptr,
                          HSL_PACKET, &q->wait, NULL);
    }
    if (x == HSL_X_UNREACHABLE || x == HSL_X_LINK_ERROR) {
        error = HSL_QERR_PEER;
    }
    if (hsl_xlate_failed(x)) {
        hsl_queue_fail(q, error, va, write ? HSL_ACCESS_WRITE : 0);
        return HSL_X_GONE;
    }
    /* Entries do not cross pages, and RAM is not mapped in smaller pieces */
    if (x == HSL_X_OK && map->len < len) {
        hsl_queue_fail(q, HSL_QERR_BUS, va, write ? HSL_ACCESS_WRITE : 0);
        return HSL_X_GONE;
    }
    return x;
}

static HslXlate hsl_ctl_read(HslQueue *q, uint64_t offset, uint32_t *val)
{
    HslMap map;
    HslXlate x = hsl_ring_map(q, q->ctl_base + offset, sizeof(*val), false,
                              HSL_QERR_CTL_FAULT, &map);

    if (x == HSL_X_OK) {
        *val = le32_to_cpu(qatomic_load_acquire((uint32_t *)map.ptr));
        hsl_map_check(q->s, &map);
    }
    return x;
}

static HslXlate hsl_ctl_write(HslQueue *q, uint64_t offset, uint32_t val)
{
    HslMap map;
    HslXlate x = hsl_ring_map(q, q->ctl_base + offset, sizeof(val), true,
                              HSL_QERR_CTL_FAULT, &map);

    if (x == HSL_X_OK) {
        qatomic_store_release((uint32_t *)map.ptr, cpu_to_le32(val));
        hsl_map_written(q->s, &map, 0, sizeof(val));
        hsl_map_check(q->s, &map);
    }
    return x;
}

/*
 * Also without the lock: the head may be about to move on, and the order of a
 * queue that has stopped meanwhile be anything.
 */
HslTail hsl_queue_tail_check(const HslQueue *q, uint32_t tail)
{
    uint32_t entries = BIT(MIN(qatomic_read(&q->sq_order),
                               HSL_MAX_RING_ORDER));
    uint32_t head = qatomic_load_acquire(&q->sq_head);

    /* What was submitted before may be told late, and says nothing new */
    if (head - tail <= MIN(entries, qatomic_read(&q->fetched))) {
        return HSL_TAIL_PASSED;
    }
    return tail - head > entries ? HSL_TAIL_BAD : HSL_TAIL_AHEAD;
}

/* A new tail, from the doorbell, the control word or a signal */
static HslTail hsl_queue_tail(HslQueue *q, uint32_t tail)
{
    HslTail is = hsl_queue_tail_check(q, tail);

    if (is == HSL_TAIL_AHEAD && (int32_t)(tail - q->sq_tail) > 0) {
        q->sq_tail = tail;
    }
    return is;
}

static HslXlate hsl_queue_poll_tail(HslQueue *q)
{
    uint32_t tail;
    HslXlate x;

    if (qatomic_read(&q->signal)) {
        uint64_t word = qatomic_xchg(&q->signal, 0);

        /* It was good when it was sent, or is of the run before: no error */
        if (word >> 32 == q->run) {
            hsl_queue_tail(q, word);
        }
    }
    if (qatomic_xchg(&q->db_rung, false) &&
        hsl_queue_tail(q, qatomic_read(&q->db_tail)) == HSL_TAIL_BAD) {
        hsl_queue_fail(q, HSL_QERR_DOORBELL, 0, 0);
        return HSL_X_GONE;
    }
    x = hsl_ctl_read(q, CTL(sq_tail), &tail);
    /* Signals leave it behind, further than a tail may be */
    if (x != HSL_X_OK || tail == q->tail_word) {
        return x;
    }
    if (hsl_queue_tail(q, tail) == HSL_TAIL_BAD) {
        hsl_queue_fail(q, HSL_QERR_DOORBELL, q->ctl_base + CTL(sq_tail), 0);
        return HSL_X_GONE;
    }
    q->tail_word = tail;
    return x;
}

/* Interrupts */

static void hsl_queue_raise(HslQueue *q)
{
    q->irq_hold = false;
    if (q->vector == HSL_VECTOR_NONE) {
        return;
    }
    q->irq_pending = true;
    hsl_event_tell(q);
    q->s->urgent = true;
}

/* The coalescing time is over */
void hsl_queue_interrupt(HslQueue *q)
{
    if (q->state == HSL_Q_RUNNING && q->irq_hold) {
        hsl_queue_raise(q);
    }
}

/* After completions were written: does the process want to hear of them? */
static HslXlate hsl_queue_check_event(HslQueue *q)
{
    uint32_t event, written = q->cq_tail - q->cq_event_seen;
    HslXlate x;

    if (!written) {
        return HSL_X_OK;
    }
    smp_mb();   /* pairs with the process's, from cq_event to its last look */
    x = hsl_ctl_read(q, CTL(cq_event), &event);
    if (x != HSL_X_OK) {
        return x;
    }
    if (q->irq_hold) {
        q->irq_held += written;
    } else if ((uint32_t)(q->cq_tail - event - 1) < written) {
        q->irq_hold = true;
        q->irq_held = q->cq_tail - event;
        if (q->coalesce_count > 1 && q->irq_held < q->coalesce_count) {
            timer_mod(q->coalesce_timer,
                      qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) +
                      q->coalesce_usecs);
        }
    }
    if (q->irq_hold && q->irq_held >= MAX(q->coalesce_count, 1)) {
        hsl_queue_raise(q);
    }
    q->cq_event_seen = q->cq_tail;
    return HSL_X_OK;
}

/* Completions */

static HslXlate hsl_queue_complete(HslQueue *q, HslSlot *slot)
{
    HslState *s = q->s;
    uint32_t entries = BIT(q->cq_order);
    uint64_t va = q->cq_base + (q->cq_tail & (entries - 1)) *
                  sizeof(struct hsl_cqe);
    uint16_t lap = (q->cq_tail >> q->cq_order) + 1;
    HslTiming *timing = hsl_timing(q, slot);
    struct hsl_cqe cqe;
    uint64_t word;
    HslMap map;
    HslXlate x;

    if (q->cq_tail - q->cq_head >= entries) {
        x = hsl_ctl_read(q, CTL(cq_head), &q->cq_head);
        if (x != HSL_X_OK) {
            return x;
        }
        if (q->cq_tail - q->cq_head >= entries) {
            hsl_queue_fail(q, HSL_QERR_CQ_OVERFLOW, va, HSL_ACCESS_WRITE);
            return HSL_X_GONE;
        }
    }
    x = hsl_ring_map(q, va, sizeof(cqe), true, HSL_QERR_CQ_FAULT, &map);
    if (x != HSL_X_OK) {
        return x;
    }

    if (timing && slot->status == HSL_ST_OK) {
        slot->addr = hsl_model_result(timing);
    }
    cqe = (struct hsl_cqe) {
        .user_data = cpu_to_le64(slot->d.user_data),
        .result = cpu_to_le64(slot->result),
        .addr = cpu_to_le64(slot->addr),
        .bytes = cpu_to_le32(slot->done),
        .status = slot->status,
        .access = slot->access,
        .lap = cpu_to_le16(lap),
    };
    QEMU_BUILD_BUG_ON(offsetof(struct hsl_cqe, bytes) != 24);
    memcpy(map.ptr, &cqe, 24);
    memcpy(&word, (uint8_t *)&cqe + 24, sizeof(word));
    qatomic_store_release((uint64_t *)(map.ptr + 24), word);
    hsl_map_written(s, &map, 0, sizeof(cqe));
    hsl_map_check(s, &map);

    q->cq_tail++;
    slot->busy = false;
    q->fencing &= slot->d.op != HSL_OP_FENCE;
    q->nr_busy--;
    hsl_count(q, HSL_CNT_OPS, 1);
    hsl_count(q, HSL_CNT_BYTES, slot->done);
    trace_hsl_complete(q->id, slot->d.user_data, slot->d.op, slot->status,
                       slot->done);
    if (slot->status == HSL_ST_PAGE_FAULT ||
        slot->status == HSL_ST_BUS_ERROR) {
        hsl_count(q, HSL_CNT_FAULTS, 1);
        hsl_event_fault(q, slot);
    } else if (slot->status >= HSL_ST_POISON) {
        s->counters[HSL_CNT_UNREACHABLE] += slot->status != HSL_ST_POISON;
        hsl_event_fault(q, slot);
    }
    return HSL_X_OK;
}

/* Fetching */

static void hsl_slot_init(HslQueue *q, HslSlot *slot, const struct hsl_desc *d)
{
    HslTiming *timing;

    *slot = (HslSlot) {
        .busy = true,
        .d = {
            .op = d->op,
            .flags = d->flags,
            .reserved = d->reserved0 || d->reserved1[0] || d->reserved1[1],
            .len = le32_to_cpu(d->len),
            .user_data = le64_to_cpu(d->user_data),
            .dst = le64_to_cpu(d->dst),
            .src = le64_to_cpu(d->src),
            .operand = {
                le64_to_cpu(d->operand[0]), le64_to_cpu(d->operand[1]),
            },
        },
    };
    hsl_wait_reset(&slot->dst.wait);
    hsl_wait_reset(&slot->src.wait);
    timing = hsl_timing(q, slot);
    if (timing) {
        *timing = (HslTiming) { .start = get_clock() };
    }

    if (!hsl_op_valid(q->s, &slot->d)) {
        qemu_log_mask(LOG_GUEST_ERROR,
                      "hsl: queue %u: invalid descriptor, op %u len %u\n",
                      q->id, slot->d.op, slot->d.len);
        slot->status = HSL_ST_INVALID;
        slot->finished = true;
    } else if (!(q->ops & BIT_ULL(slot->d.op))) {
        slot->status = HSL_ST_NOT_PERMITTED;
        slot->finished = true;
    } else if (slot->d.op == HSL_OP_CRC32C) {
        slot->result = (uint32_t)slot->d.operand[0];
    }
    trace_hsl_fetch(q->id, slot->d.user_data, slot->d.op, slot->d.dst,
                    slot->d.src, slot->d.len);
}

static HslXlate hsl_queue_fetch(HslQueue *q)
{
    HslState *s = q->s;
    struct hsl_desc d;
    HslSlot *slot = q->slots;
    HslMap map;
    HslXlate x;

    while (!q->fencing && q->nr_busy < HSL_SLOTS &&
           q->sq_head != q->sq_tail) {
        x = hsl_ring_map(q, q->sq_base + (q->sq_head & (BIT(q->sq_order) - 1)) *
                         sizeof(d), sizeof(d), false, HSL_QERR_SQ_FAULT, &map);
        if (x != HSL_X_OK) {
            return x;
        }
        memcpy(&d, map.ptr, sizeof(d));
        hsl_map_check(s, &map);

        /* A fence stays in the ring until all before it have ended */
        if (q->nr_busy &&
            (d.op == HSL_OP_FENCE || (d.flags & HSL_DESC_F_FENCE))) {
            break;
        }
        while (slot->busy) {
            slot++;
        }
        hsl_slot_init(q, slot, &d);
        q->nr_busy++;
        /* In this order, for whoever checks the tail of a signal */
        qatomic_set(&q->fetched, q->fetched + 1);
        qatomic_store_release(&q->sq_head, q->sq_head + 1);
        q->fencing = slot->d.op == HSL_OP_FENCE;
    }
    return HSL_X_OK;
}

static bool hsl_slot_waiting(const HslSlot *slot)
{
    return hsl_waiting(&slot->dst.wait) || hsl_waiting(&slot->src.wait);
}

/* Is there anything to do without the process or the IOMMU doing something? */
static bool hsl_queue_runnable(HslQueue *q)
{
    if (q->state != HSL_Q_RUNNING || hsl_waiting(&q->wait)) {
        return false;
    }
    if (q->sq_head != q->sq_head_seen || q->cq_tail != q->cq_event_seen ||
        qatomic_read(&q->db_rung) || qatomic_read(&q->signal) ||
        (q->nr_busy == 0 && q->sq_head != q->sq_tail)) {
        return true;
    }
    for (int i = 0; i < HSL_SLOTS; i++) {
        if (q->slots[i].busy && !hsl_slot_waiting(&q->slots[i])) {
            return true;
        }
    }
    return false;
}

/*
 * One visit of the engine. True: something was done. Whatever returns in the
 * middle leaves a state from which the next visit goes on.
 */
bool hsl_queue_step(HslQueue *q)
{
    HslState *s = q->s;
    int budget = HSL_STEP_PIECES << q->priority;
    bool progress = false;
    HslXlate x;

    if (q->state != HSL_Q_RUNNING || hsl_waiting(&q->wait)) {
        return false;
    }
    hsl_windows_trim(s);
    if (q->armed) {
        /* Awake: the process need not ring */
        if (hsl_ctl_write(q, CTL(db_needed), 0) != HSL_X_OK) {
            return true;
        }
        q->armed = false;
        progress = true;
    }

    do {
        uint32_t head = q->sq_head, tail = q->cq_tail;
        bool moved = false;

        if (hsl_queue_poll_tail(q) != HSL_X_OK ||
            hsl_queue_fetch(q) != HSL_X_OK) {
            return true;
        }
        for (int i = 0; i < HSL_SLOTS && q->nr_busy; i++) {
            HslSlot *slot = &q->slots[i];

            if (!slot->busy || hsl_slot_waiting(slot)) {
                continue;
            }
            budget--;
            if (!slot->finished) {
                x = hsl_op_step(q, slot);
                if (x == HSL_X_GONE) {
                    return true;
                }
                moved |= x == HSL_X_OK;
            }
            if (slot->finished && hsl_queue_complete(q, slot) != HSL_X_OK) {
                return true;
            }
            if (qatomic_read(&s->lock_waiters)) {
                return true;
            }
        }
        moved |= q->sq_head != head || q->cq_tail != tail;
        if (q->sq_head_seen != q->sq_head) {
            if (hsl_ctl_write(q, CTL(sq_head), q->sq_head) != HSL_X_OK) {
                return true;
            }
            q->sq_head_seen = q->sq_head;
        }
        if (hsl_queue_check_event(q) != HSL_X_OK) {
            return true;
        }
        if (!moved) {
            return progress;
        }
        progress = true;
        /* Faults of all slots are told together, but do not wait for more */
    } while (budget > 0 && !s->urgent);
    return true;
}

/*
 * The engine is about to look away from this queue: from here on the process
 * has to ring. False: it has submitted meanwhile, or the words cannot be
 * reached yet; look again.
 */
bool hsl_queue_arm(HslQueue *q)
{
    uint32_t run = q->run, tail = q->sq_tail;

    if (q->state != HSL_Q_RUNNING || hsl_waiting(&q->wait)) {
        return true;
    }
    if (!q->armed) {
        if (hsl_ctl_write(q, CTL(db_needed), 1) != HSL_X_OK) {
            return q->run != run || hsl_waiting(&q->wait);
        }
        q->armed = true;
        smp_mb();   /* pairs with the process's between sq_tail and db_needed */
    }
    if (hsl_queue_poll_tail(q) != HSL_X_OK) {
        return q->run != run || hsl_waiting(&q->wait);
    }
    /* What has come need not wait for what the operations in slots wait for */
    return q->sq_tail == tail && !hsl_queue_runnable(q);
}
