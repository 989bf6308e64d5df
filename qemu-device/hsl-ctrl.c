/*
 * HSL-like accelerator endpoint: control registers, doorbells, reset
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "hsl-internal.h"
#include "trace.h"

static void hsl_stop_context(HslState *s, uint32_t n)
{
    hsl_lock(s);
    for (uint32_t i = 0; i < s->nr_queues; i++) {
        HslQueue *q = &s->queues[i];

        if (q->context == n && q->state == HSL_Q_RUNNING) {
            hsl_queue_fail(q, HSL_QERR_CONTEXT, 0, 0);
        }
    }
    hsl_unlock(s);
    qemu_event_set(&s->wake);
}

static void hsl_context_set(HslState *s, uint32_t n, bool valid)
{
    HslContext *c = &s->contexts[n];
    int space = c->space;

    if (valid == !!(c->ctrl & HSL_CTX_VALID)) {
        return;
    }
    trace_hsl_context(n, valid, c->xlate, c->pasid);
    if (!valid) {
        hsl_stop_context(s, n);
        hsl_lock(s);
        c->space = -1;
        c->ctrl = 0;
        hsl_unlock(s);
        /* None: a state that could not be loaded */
        if (space >= 0) {
            hsl_space_put(s, space);
        }
        return;
    }
    space = hsl_fails(s, HSL_FAIL_CONTEXTS) ? -1 : hsl_space_get(s, n);
    if (space < 0) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: context %u refused: translation "
                      "%u, pasid %u, root 0x%" PRIx64 "\n", n, c->xlate,
                      c->pasid, c->root);
    }
    /* Invalidations come without the BQL */
    hsl_lock(s);
    c->space = space;
    c->ctrl = space < 0 ? HSL_CTX_ERROR : HSL_CTX_VALID;
    hsl_unlock(s);
}

static uint64_t hsl_context_read(HslState *s, uint32_t n, hwaddr reg)
{
    HslContext *c = &s->contexts[n];

    switch (reg) {
    case HSL_CTX_CTRL:
        return c->ctrl;
    case HSL_CTX_XLATE:
        return c->xlate;
    case HSL_CTX_PASID:
        return c->pasid;
    case HSL_CTX_ROOT:
        return c->root;
    case HSL_CTX_ROOT + 4:
        return c->root >> 32;
    }
    return 0;
}

static void hsl_context_write(HslState *s, uint32_t n, hwaddr reg,
                              uint64_t val, unsigned size)
{
    HslContext *c = &s->contexts[n];

    if (reg == HSL_CTX_CTRL) {
        hsl_context_set(s, n, val & HSL_CTX_VALID);
        return;
    }
    if (c->ctrl & HSL_CTX_VALID) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: context %u is valid, write to "
                      "0x%" HWADDR_PRIx " ignored\n", n, reg);
        return;
    }
    switch (reg) {
    case HSL_CTX_XLATE:
        c->xlate = val;
        break;
    case HSL_CTX_PASID:
        c->pasid = val & MAKE_64BIT_MASK(0, 20);
        break;
    case HSL_CTX_ROOT:
    case HSL_CTX_ROOT + 4:
        hsl_set64(&c->root, reg, val, size);
        break;
    }
}

static uint64_t hsl_queue_read(HslQueue *q, hwaddr reg)
{
    switch (reg) {
    case HSL_Q_CTRL:
        return q->state == HSL_Q_RUNNING ? HSL_Q_RUN : 0;
    case HSL_Q_STATUS:
        return q->state | q->error << 8;
    case HSL_Q_CONTEXT:
        return q->context;
    case HSL_Q_VECTOR:
        return q->vector;
    case HSL_Q_SQ_BASE:
        return q->sq_base;
    case HSL_Q_CQ_BASE:
        return q->cq_base;
    case HSL_Q_CTL_BASE:
        return q->ctl_base;
    case HSL_Q_SQ_ORDER:
        return q->sq_order;
    case HSL_Q_CQ_ORDER:
        return q->cq_order;
    case HSL_Q_OPS:
        return q->ops;
    case HSL_Q_COALESCE_COUNT:
        return q->coalesce_count;
    case HSL_Q_COALESCE_USECS:
        return q->coalesce_usecs;
    case HSL_Q_PRIORITY:
        return q->priority;
    case HSL_Q_ROUTES:
        return q->routes;
    case HSL_Q_SQ_HEAD:
        return q->sq_head;
    case HSL_Q_CQ_TAIL:
        return q->cq_tail;
    case HSL_Q_COUNTER(0) ... HSL_Q_COUNTER(HSL_Q_CNT_NR) - 1:
        return reg == HSL_Q_COUNTER(HSL_CNT_DOORBELLS) ?
               qatomic_read(&q->doorbells) :
               q->counters[(reg - HSL_Q_COUNTERS) / 8];
    }
    return 0;
}

static void hsl_queue_write(HslQueue *q, hwaddr reg, uint64_t val,
                            unsigned size)
{
    if (reg == HSL_Q_CTRL) {
        if (val & HSL_Q_RUN) {
            hsl_queue_start(q);
        } else if (!hsl_fails(q->s, HSL_FAIL_STOP)) {
            hsl_queue_stop(q);
        }
        return;
    }
    if (q->state != HSL_Q_STOPPED) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: queue %u is not stopped, write "
                      "to 0x%" HWADDR_PRIx " ignored\n", q->id, reg);
        return;
    }
    switch (reg) {
    case HSL_Q_CONTEXT:
        q->context = val;
        break;
    case HSL_Q_VECTOR:
        q->vector = val;
        break;
    case HSL_Q_SQ_BASE:
    case HSL_Q_SQ_BASE + 4:
        hsl_set64(&q->sq_base, reg, val, size);
        break;
    case HSL_Q_CQ_BASE:
    case HSL_Q_CQ_BASE + 4:
        hsl_set64(&q->cq_base, reg, val, size);
        break;
    case HSL_Q_CTL_BASE:
    case HSL_Q_CTL_BASE + 4:
        hsl_set64(&q->ctl_base, reg, val, size);
        break;
    case HSL_Q_SQ_ORDER:
        q->sq_order = val;
        break;
    case HSL_Q_CQ_ORDER:
        q->cq_order = val;
        break;
    case HSL_Q_OPS:
    case HSL_Q_OPS + 4:
        hsl_set64(&q->ops, reg, val, size);
        break;
    case HSL_Q_COALESCE_COUNT:
        q->coalesce_count = val;
        break;
    case HSL_Q_COALESCE_USECS:
        q->coalesce_usecs = val;
        break;
    case HSL_Q_PRIORITY:
        q->priority = val;
        break;
    case HSL_Q_ROUTES:
        q->routes = val;
        break;
    }
}

void hsl_reset(HslState *s)
{
    trace_hsl_reset(s->generation + 1);
    hsl_lock(s);
    s->ctrl = 0;
    for (uint32_t i = 0; i < s->nr_queues; i++) {
        hsl_queue_reset(&s->queues[i]);
    }
    bitmap_zero(s->tell, s->nr_queues);
    bitmap_zero(s->vectors, s->nr_vectors);
    s->nr_faults = 0;
    hsl_unlock(s);

    for (uint32_t i = 0; i < s->nr_contexts; i++) {
        hsl_context_set(s, i, false);
        hsl_lock(s);
        s->contexts[i] = (HslContext) { .space = -1 };
        hsl_unlock(s);
    }

    hsl_lock(s);
    memset(s->counters, 0, sizeof(s->counters));
    qatomic_set(&s->doorbells, 0);
    s->evq = s->fltq = (HslReports) { 0 };
    memset(s->evq_owner, 0, sizeof(*s->evq_owner) << HSL_EVQ_ORDER_MAX);
    s->evq_lost = 0;
    memset(s->signals, 0, sizeof(s->signals));
    s->generation++;
    hsl_mem_reset(s);
    hsl_unlock(s);
    hsl_link_reset(s);
}

/* Event queue and fault queue: registers by their offset in the block */

#define EVQ(reg)    (HSL_REG_EVQ_##reg - HSL_REG_EVQ_BASE)
#define FLTQ(reg)   (HSL_REG_FLTQ_##reg - HSL_REG_FLTQ_BASE)
QEMU_BUILD_BUG_ON(EVQ(ORDER) != FLTQ(ORDER) || EVQ(VECTOR) != FLTQ(VECTOR) ||
                  EVQ(CTRL) != FLTQ(CTRL) || EVQ(HEAD) != FLTQ(HEAD) ||
                  EVQ(TAIL) != FLTQ(TAIL) || HSL_EVQ_ENABLE != HSL_FLTQ_ENABLE);

static uint64_t hsl_reports_read(const HslReports *r, hwaddr reg)
{
    switch (reg) {
    case EVQ(BASE):
        return r->base;
    case EVQ(BASE) + 4:
        return r->base >> 32;
    case EVQ(ORDER):
        return r->order;
    case EVQ(VECTOR):
        return r->vector;
    case EVQ(CTRL):
        return r->ctrl;
    case EVQ(HEAD):
        return r->head;
    case EVQ(TAIL):
        return r->tail;
    }
    return 0;
}

static void hsl_reports_ctrl(HslState *s, HslReports *r, uint32_t val,
                             uint32_t order_min)
{
    bool enable = val & HSL_EVQ_ENABLE;

    if (enable && !(r->ctrl & HSL_EVQ_ENABLE)) {
        if (r->order < order_min || r->order > HSL_EVQ_ORDER_MAX ||
            (r->base & 0xfff)) {
            qemu_log_mask(LOG_GUEST_ERROR, "hsl: event or fault queue refused: "
                          "base 0x%" PRIx64 ", order %u\n", r->base, r->order);
            return;
        }
        if (r == &s->evq) {
            hsl_evq_read(s, r->tail);
        }
        r->head = r->tail = 0;
        r->error = r->error_told = false;
    }
    /* At once: it may be on again before the engine looks */
    if (r == &s->fltq && !enable && (r->ctrl & HSL_FLTQ_ENABLE)) {
        hsl_faults_refuse(s);
    }
    r->ctrl = enable ? HSL_EVQ_ENABLE : 0;
}

static void hsl_reports_write(HslState *s, HslReports *r, hwaddr reg,
                              uint64_t val, unsigned size, uint32_t order_min)
{
    bool work = false;

    hsl_lock(s);
    switch (reg) {
    case EVQ(BASE):
    case EVQ(BASE) + 4:
        if (!(r->ctrl & HSL_EVQ_ENABLE)) {
            hsl_set64(&r->base, reg, val, size);
        }
        break;
    case EVQ(ORDER):
        if (!(r->ctrl & HSL_EVQ_ENABLE)) {
            r->order = val;
        }
        break;
    case EVQ(VECTOR):
        r->vector = val;
        break;
    case EVQ(CTRL):
        hsl_reports_ctrl(s, r, val, order_min);
        /* Also with nobody left to answer what waits */
        work = true;
        break;
    case EVQ(HEAD):
        if (r->tail - (uint32_t)val > r->tail - r->head) {
            qemu_log_mask(LOG_GUEST_ERROR, "hsl: event or fault queue head %u "
                          "is not between %u and tail %u\n", (uint32_t)val,
                          r->head, r->tail);
            break;
        }
        if (r == &s->evq) {
            hsl_evq_read(s, val);
        }
        r->head = val;
        /* There is room for what waits */
        work = r == &s->evq ? hsl_evq_waits(s) : hsl_faults_pending(s);
        break;
    }
    hsl_unlock(s);
    if (work) {
        qatomic_set(&s->bql_work, true);
        qemu_event_set(&s->wake);
    }
}

static uint64_t hsl_counter_read(HslState *s, unsigned n)
{
    return n == HSL_CNT_DOORBELLS ? qatomic_read(&s->doorbells) :
                                    s->counters[n];
}

static uint64_t hsl_global_read(HslState *s, hwaddr addr)
{
    switch (addr) {
    case HSL_REG_MAGIC:
        return HSL_MAGIC;
    case HSL_REG_VERSION:
        return s->version;
    case HSL_REG_CAPS:
        return hsl_caps(s);
    case HSL_REG_NR_QUEUES:
        return s->nr_queues;
    case HSL_REG_NR_CONTEXTS:
        return s->nr_contexts;
    case HSL_REG_NR_VECTORS:
        return s->nr_vectors;
    case HSL_REG_RING_ORDER:
        return s->ring_order;
    case HSL_REG_MAX_XFER:
        return s->max_xfer;
    case HSL_REG_EVQ_ORDER_MAX:
        return HSL_EVQ_ORDER_MAX;
    case HSL_REG_OPS:
        return s->ops;
    case HSL_REG_MEM_SIZE:
        return s->mem ? memory_region_size(s->mem) : 0;
    case HSL_REG_CTRL:
        return s->ctrl;
    case HSL_REG_STATUS:
        return HSL_STATUS_READY |
               (s->evq.error ? HSL_STATUS_EVQ_ERROR : 0) |
               (s->fltq.error ? HSL_STATUS_FLTQ_ERROR : 0);
    case HSL_REG_GENERATION:
        return s->generation;
    case HSL_REG_ORACLE:
        return s->oracle;
    case HSL_REG_NODE:
        return s->node;
    case HSL_REG_FABRIC:
        return s->fabric ? s->fabric->id : 0;
    case HSL_REG_NR_PORTS:
        return hsl_nr_ports(s);
    case HSL_REG_EVQ_TAIL:
        /* Further ahead than there are entries */
        return s->evq.tail +
               (hsl_fails(s, HSL_FAIL_EVENTS) ? BIT(HSL_EVQ_ORDER_MAX) * 2 : 0);
    case HSL_REG_EVQ_BASE ... HSL_REG_EVQ_HEAD:
        return hsl_reports_read(&s->evq, addr - HSL_REG_EVQ_BASE);
    case HSL_REG_EVQ_LOST:
        return s->evq_lost;
    case HSL_REG_FLTQ_BASE ... HSL_REG_FLTQ_TAIL:
        return hsl_reports_read(&s->fltq, addr - HSL_REG_FLTQ_BASE);
    case HSL_REG_FLTQ_ORDER_MIN:
        return HSL_PRGS_ORDER;
    case HSL_REG_COUNTER(0) ... HSL_REG_COUNTER(HSL_CNT_NR) - 1:
        return hsl_counter_read(s, (addr - HSL_REG_COUNTERS) / 8);
    }
    return 0;
}

static void hsl_global_write(HslState *s, hwaddr addr, uint64_t val,
                             unsigned size)
{
    switch (addr) {
    case HSL_REG_CTRL:
        if (val & HSL_CTRL_RESET) {
            hsl_reset(s);
            break;
        }
        hsl_lock(s);
        s->ctrl = val & HSL_CTRL_ENABLE;
        hsl_unlock(s);
        qemu_event_set(&s->wake);
        break;
    case HSL_REG_ORACLE:
        hsl_lock(s);
        hsl_oracle_set(s, val & 1);
        hsl_unlock(s);
        break;
    case HSL_REG_EVQ_BASE ... HSL_REG_EVQ_HEAD:
        hsl_reports_write(s, &s->evq, addr - HSL_REG_EVQ_BASE, val, size, 1);
        break;
    case HSL_REG_FLTQ_BASE ... HSL_REG_FLTQ_HEAD:
        hsl_reports_write(s, &s->fltq, addr - HSL_REG_FLTQ_BASE, val, size,
                          HSL_PRGS_ORDER);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: write to 0x%" HWADDR_PRIx
                      " ignored\n", addr);
        break;
    }
}

static HslQueue *hsl_addr_queue(HslState *s, hwaddr addr)
{
    hwaddr n = (addr - HSL_REG_QUEUES) / HSL_Q_STRIDE;

    return addr >= HSL_REG_QUEUES && n < s->nr_queues ? &s->queues[n] : NULL;
}

static bool hsl_addr_context(HslState *s, hwaddr addr, uint32_t *n)
{
    *n = (addr - HSL_REG_CONTEXTS) / HSL_CTX_STRIDE;
    return addr >= HSL_REG_CONTEXTS && addr < HSL_REG_QUEUES &&
           *n < s->nr_contexts;
}

static uint64_t hsl_ctrl_read(void *opaque, hwaddr addr, unsigned size)
{
    HslState *s = opaque;
    HslQueue *q = hsl_addr_queue(s, addr);
    bool high = size == 4 && (addr & 4);
    uint64_t val;
    uint32_t n;

    hsl_lock(s);
    if (q) {
        hwaddr reg = addr & (HSL_Q_STRIDE - 1);

        /* The high half of a 64-bit register; 32-bit ones have a case each */
        val = hsl_queue_read(q, reg);
        if (high && (reg >= HSL_Q_COUNTERS ||
                     (reg >= HSL_Q_SQ_BASE && reg < HSL_Q_SQ_ORDER) ||
                     reg == HSL_Q_OPS + 4)) {
            val = hsl_queue_read(q, reg - 4) >> 32;
        }
    } else if (hsl_addr_context(s, addr, &n)) {
        val = hsl_context_read(s, n, addr & (HSL_CTX_STRIDE - 1));
    } else if (hsl_link_addr(addr)) {
        val = hsl_link_read(s, addr, size);
    } else if (hsl_signal_addr(addr)) {
        val = hsl_signal_read(s, addr);
    } else {
        val = hsl_global_read(s, addr);
        if (high && (addr == HSL_REG_OPS + 4 || addr == HSL_REG_MEM_SIZE + 4 ||
                     (addr >= HSL_REG_COUNTERS &&
                      addr < HSL_REG_COUNTER(HSL_CNT_NR)))) {
            val = hsl_global_read(s, addr - 4) >> 32;
        }
    }
    hsl_unlock(s);
    trace_hsl_ctrl_read(addr, val, size);
    return val;
}

static void hsl_ctrl_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    HslState *s = opaque;
    HslQueue *q = hsl_addr_queue(s, addr);
    uint32_t n;

    trace_hsl_ctrl_write(addr, val, size);
    if (q) {
        hsl_lock(s);
        hsl_queue_write(q, addr & (HSL_Q_STRIDE - 1), val, size);
        hsl_unlock(s);
    } else if (hsl_addr_context(s, addr, &n)) {
        hsl_context_write(s, n, addr & (HSL_CTX_STRIDE - 1), val, size);
    } else if (hsl_link_addr(addr)) {
        hsl_link_write(s, addr, val, size);
    } else if (hsl_signal_addr(addr)) {
        hsl_signal_write(s, addr, val);
    } else {
        hsl_global_write(s, addr, val, size);
    }
}

const MemoryRegionOps hsl_ctrl_ops = {
    .read = hsl_ctrl_read,
    .write = hsl_ctrl_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 8 },
};

/*
 * What the driver writes while others of the guest may wait for it: without the
 * big lock. Offsets are from HSL_REG_INVS.
 */

static HslContext *hsl_addr_inv(HslState *s, hwaddr addr)
{
    hwaddr n = addr / HSL_INV_STRIDE;

    return n < s->nr_contexts ? &s->contexts[n] : NULL;
}

static uint64_t hsl_lockless_read(void *opaque, hwaddr addr, unsigned size)
{
    HslState *s = opaque;
    HslContext *c = hsl_addr_inv(s, addr);
    uint64_t val = 0;

    if (!c) {
        return 0;
    }
    hsl_lock(s);
    switch (addr & (HSL_INV_STRIDE - 1) & ~4ull) {
    case HSL_INV_START:
        val = c->inv_start;
        break;
    case HSL_INV_LAST:
        val = c->inv_last;
        break;
    case HSL_INV_STATUS:
        val = hsl_fails(s, HSL_FAIL_INVALIDATIONS) ? HSL_INV_BUSY : 0;
        break;
    }
    hsl_unlock(s);
    return addr & 4 ? val >> 32 : val;
}

static void hsl_inv_write(HslState *s, HslContext *c, hwaddr reg, uint64_t val,
                          unsigned size)
{
    switch (reg) {
    case HSL_INV_START:
    case HSL_INV_START + 4:
        hsl_set64(&c->inv_start, reg, val, size);
        return;
    case HSL_INV_LAST:
    case HSL_INV_LAST + 4:
        hsl_set64(&c->inv_last, reg, val, size);
        break;
    default:
        return;
    }
    if (reg == HSL_INV_LAST && size == 4) {
        return;
    }
    if (c->space < 0 || c->xlate != HSL_XLATE_DEVICE ||
        c->inv_start > c->inv_last) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: context %d: invalidation of 0x%"
                      PRIx64 " to 0x%" PRIx64 " ignored\n",
                      (int)(c - s->contexts), c->inv_start, c->inv_last);
        return;
    }
    hsl_invalidate(s, c->space, c->inv_start & HSL_PAGE_MASK,
                   c->inv_last | ~HSL_PAGE_MASK);
}

static void hsl_lockless_write(void *opaque, hwaddr addr, uint64_t val,
                               unsigned size)
{
    HslState *s = opaque;
    HslContext *c = hsl_addr_inv(s, addr);
    bool waited = false;

    trace_hsl_ctrl_write(HSL_REG_INVS + addr, val, size);
    hsl_lock(s);
    if (c) {
        hsl_inv_write(s, c, addr & (HSL_INV_STRIDE - 1), val, size);
    }
    switch (HSL_REG_INVS + addr) {
    case HSL_REG_FAULT_RESPONSE:
        s->response_tag = val;
        if (size == 8) {
            waited = hsl_fault_response(s, val, val >> 32);
        }
        break;
    case HSL_REG_FAULT_RESPONSE + 4:
        waited = hsl_fault_response(s, s->response_tag, val);
        break;
    }
    hsl_unlock(s);
    /* An invalidation is nothing to the engine */
    if (waited) {
        qemu_event_set(&s->wake);
    }
}

const MemoryRegionOps hsl_lockless_ops = {
    .read = hsl_lockless_read,
    .write = hsl_lockless_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 8 },
};

static uint64_t hsl_db_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

/* Runs in a vCPU without the big lock; takes none */
static void hsl_db_write(void *opaque, hwaddr addr, uint64_t val,
                         unsigned size)
{
    HslState *s = opaque;
    uint32_t n = addr / HSL_DB_STRIDE;
    HslQueue *q;

    if (n >= s->nr_queues || size != 4 ||
        (addr & (HSL_DB_STRIDE - 1)) != HSL_DB_TAIL) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: doorbell write of %u bytes at 0x%"
                      HWADDR_PRIx " ignored\n", size, addr);
        return;
    }
    q = &s->queues[n];
    trace_hsl_doorbell(n, val);
    qatomic_set(&q->db_tail, val);
    qatomic_store_release(&q->db_rung, true);
    qatomic_inc(&q->doorbells);
    qatomic_inc(&s->doorbells);
    set_bit_atomic(n, s->db_bitmap);
    qemu_event_set(&s->wake);
}

const MemoryRegionOps hsl_db_ops = {
    .read = hsl_db_read,
    .write = hsl_db_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};
