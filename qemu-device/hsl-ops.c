/*
 * HSL-like accelerator endpoint: what a descriptor does
 *
 * Every operation is done in pieces of at most HSL_CHUNK bytes, each under one
 * hold of the lock, so that an invalidation, a stop or a pause waits for one
 * piece only. A slot remembers how far it has come.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "qemu/host-utils.h"
#include "hsl-internal.h"
#include "trace.h"

/* Times both operands of a copy are mapped before others get their turn */
#define HSL_PAIR_TRIES  4

static bool hsl_op_is_atomic(uint8_t op)
{
    return op == HSL_OP_ATOMIC_ADD || op == HSL_OP_ATOMIC_SWAP ||
           op == HSL_OP_ATOMIC_CAS;
}

bool hsl_op_valid(HslState *s, const HslDesc *d)
{
    uint64_t end;

    if (d->op >= HSL_OP_NR || !(s->ops & BIT_ULL(d->op)) ||
        (d->flags & ~HSL_DESC_F_VALID) ||
        ((d->flags & HSL_DESC_F_TIMED) && !s->timed) ||
        d->reserved ||
        d->len > s->max_xfer ||
        uadd64_overflow(d->dst, d->len, &end) ||
        uadd64_overflow(d->src, d->len, &end)) {
        return false;
    }
    if (hsl_op_is_atomic(d->op)) {
        return (d->len == 4 || d->len == 8) && !(d->dst & (d->len - 1));
    }
    if (d->op == HSL_OP_NOP || d->op == HSL_OP_FENCE) {
        return d->len == 0;
    }
    if (d->op == HSL_OP_SIGNAL) {
        return d->len == 0 && d->operand[1] <= UINT32_MAX;
    }
    return true;
}

/* crc32c */

#if defined(__x86_64__)
static uint32_t __attribute__((target("sse4.2")))
hsl_crc32c_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t c = crc;

    for (; len >= 8; len -= 8, p += 8) {
        c = __builtin_ia32_crc32di(c, ldq_le_p(p));
    }
    for (; len; len--, p++) {
        c = __builtin_ia32_crc32qi(c, *p);
    }
    return c;
}
#endif

/* Of the register, neither preset nor inverted */
static uint32_t hsl_crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return hsl_crc32c_sse42(crc, p, len);
    }
#endif
    return crc32c(crc, p, len) ^ 0xffffffff;
}

static void hsl_fill(uint8_t *p, size_t len, uint64_t pattern, unsigned phase)
{
    uint64_t turned = phase ? pattern >> (8 * phase) |
                              pattern << (64 - 8 * phase) : pattern;

    if (pattern == (pattern & 0xff) * 0x0101010101010101ull) {
        memset(p, pattern & 0xff, len);
        return;
    }
    for (; len >= 8; len -= 8, p += 8) {
        stq_le_p(p, turned);
    }
    for (; len; len--, p++, turned >>= 8) {
        *p = turned;
    }
}

static uint64_t hsl_atomic(const HslDesc *d, uint8_t *p)
{
    uint64_t old, new;

    for (;;) {
        old = d->len == 8 ? le64_to_cpu(qatomic_read((uint64_t *)p)) :
                            le32_to_cpu(qatomic_read((uint32_t *)p));
        switch (d->op) {
        case HSL_OP_ATOMIC_ADD:
            new = old + d->operand[0];
            break;
        case HSL_OP_ATOMIC_SWAP:
            new = d->operand[0];
            break;
        default:
            if (old != (d->len == 8 ? d->operand[0] :
                                      (uint32_t)d->operand[0])) {
                return old;
            }
            new = d->operand[1];
            break;
        }
        if (d->len == 8) {
            uint64_t was = cpu_to_le64(old);

            if (qatomic_cmpxchg((uint64_t *)p, was, cpu_to_le64(new)) == was) {
                return old;
            }
        } else {
            uint32_t was = cpu_to_le32(old);

            if (qatomic_cmpxchg((uint32_t *)p, was,
                                cpu_to_le32((uint32_t)new)) == was) {
                return old;
            }
        }
    }
}

static void hsl_slot_finish(HslSlot *slot, uint8_t status)
{
    slot->status = status;
    slot->finished = true;
}

static HslXlate hsl_slot_fault(HslSlot *slot, HslXlate x, uint64_t addr,
                               uint8_t access)
{
    slot->addr = addr;
    slot->access = access;
    switch (x) {
    case HSL_X_FAULT:
        hsl_slot_finish(slot, HSL_ST_PAGE_FAULT);
        break;
    case HSL_X_POISON:
        hsl_slot_finish(slot, HSL_ST_POISON);
        break;
    case HSL_X_UNREACHABLE:
        hsl_slot_finish(slot, slot->linked ? HSL_ST_LINK_ERROR :
                                             HSL_ST_PEER_UNREACHABLE);
        break;
    case HSL_X_LINK_ERROR:
        hsl_slot_finish(slot, HSL_ST_LINK_ERROR);
        break;
    default:
        hsl_slot_finish(slot, HSL_ST_BUS_ERROR);
        break;
    }
    return HSL_X_OK;
}

/* Map one operand; false: *ret is what the step returns */
static bool hsl_operand(HslQueue *q, HslSlot *slot, HslOperand *op,
                        uint64_t va, uint64_t len, uint64_t ahead,
                        uint8_t access, HslMap *map, HslXlate *ret)
{
    *ret = hsl_map(q, va, len, access & HSL_ACCESS_WRITE, ahead, op,
                   &op->wait, map);
    if (hsl_xlate_failed(*ret)) {
        *ret = hsl_slot_fault(slot, *ret, va, access);
        return false;
    }
    return *ret == HSL_X_OK;
}

static HslFlow *hsl_flow(HslQueue *q, const HslSlot *slot, const HslOperand *op)
{
    HslTiming *t = hsl_timing(q, slot);

    return likely(!t) ? NULL : op == &slot->dst ? &t->dst : &t->src;
}

/*
 * Before @len bytes of an operand are read or written: if they lie at the end
 * of a link, take them over it. False: *ret is what the step returns.
 */
static bool hsl_carry(HslQueue *q, HslSlot *slot, HslOperand *op,
                      const HslMap *map, uint64_t len, uint8_t access,
                      const uint8_t *payload, size_t stride, HslXlate *ret)
{
    if (likely(map->way != HSL_WAY_LINK)) {
        return true;
    }
    *ret = hsl_map_carry(q->s, map, len, access & HSL_ACCESS_WRITE, payload,
                         stride, &op->wait, hsl_flow(q, slot, op));
    if (hsl_xlate_failed(*ret)) {
        *ret = hsl_slot_fault(slot, *ret, map->va, access);
        return false;
    }
    slot->linked |= *ret == HSL_X_OK;
    return *ret == HSL_X_OK;
}

static void hsl_operand_done(HslQueue *q, const HslSlot *slot,
                             const HslOperand *op, const HslMap *map,
                             uint64_t len)
{
    HslFlow *flow = hsl_flow(q, slot, op);

    if (unlikely(flow) && map->way != HSL_WAY_LINK) {
        hsl_model_memory(flow, map->way, len);
    }
    hsl_map_count(q->s, map, len);
    hsl_map_check(q->s, map);
}

/* Map source and destination (or second source) under one hold of the lock */
static bool hsl_pair(HslQueue *q, HslSlot *slot, uint64_t offset,
                     uint64_t len, uint64_t ahead, uint8_t dst_access,
                     HslMap *src, HslMap *dst, HslXlate *ret)
{
    HslState *s = q->s;
    uint8_t direction = dst_access & HSL_ACCESS_BACKWARD;
    uint32_t drops;

    for (int i = 0; i < HSL_PAIR_TRIES; i++) {
        if (!hsl_operand(q, slot, &slot->src, slot->d.src + offset, len, ahead,
                         direction, src, ret)) {
            return false;
        }
        drops = s->drops;
        if (!hsl_operand(q, slot, &slot->dst, slot->d.dst + offset, len, ahead,
                         dst_access, dst, ret)) {
            return false;
        }
        if (s->drops == drops) {
            return true;
        }
    }
    *ret = HSL_X_GONE;
    return false;
}

/* A piece of at most one page that ends at @offset, for copying downwards */
static uint64_t hsl_backward_piece(const HslDesc *d, uint64_t offset)
{
    uint64_t src_end = d->src + offset, dst_end = d->dst + offset;
    uint64_t src_piece = ((src_end - 1) & 0xfff) + 1;
    uint64_t dst_piece = ((dst_end - 1) & 0xfff) + 1;

    return MIN(offset, MIN(src_piece, dst_piece));
}

static HslXlate hsl_copy_step(HslQueue *q, HslSlot *slot)
{
    HslState *s = q->s;
    const HslDesc *d = &slot->d;
    uint64_t left = d->len - slot->done, offset = slot->done, n, ahead = left;
    uint8_t access = HSL_ACCESS_WRITE;
    HslMap src, dst;
    HslXlate ret;

    n = MIN(left, HSL_CHUNK);
    if (d->dst > d->src && d->dst - d->src < d->len) {
        n = ahead = hsl_backward_piece(d, left);
        offset = left - n;
        access |= HSL_ACCESS_BACKWARD;
    }
    if (!hsl_pair(q, slot, offset, n, ahead, access, &src, &dst, &ret)) {
        return ret;
    }
    if (!(access & HSL_ACCESS_BACKWARD)) {
        n = MIN(n, MIN(src.len, dst.len));
    } else if (src.len < n || dst.len < n) {
        /* The RAM behind the page is smaller than a page */
        return hsl_slot_fault(slot, HSL_X_BUS_ERROR, d->dst + offset, access);
    }
    if (!hsl_carry(q, slot, &slot->src, &src, n, access & HSL_ACCESS_BACKWARD,
                   src.ptr, HSL_PACKET, &ret) ||
        !hsl_carry(q, slot, &slot->dst, &dst, n, access, src.ptr, HSL_PACKET,
                   &ret)) {
        return ret;
    }
    memmove(dst.ptr, src.ptr, n);
    hsl_map_written(s, &dst, 0, n);
    hsl_operand_done(q, slot, &slot->src, &src, n);
    hsl_operand_done(q, slot, &slot->dst, &dst, n);
    slot->done += n;
    return HSL_X_OK;
}

static HslXlate hsl_compare_step(HslQueue *q, HslSlot *slot)
{
    const HslDesc *d = &slot->d;
    uint64_t left = d->len - slot->done, n, read;
    HslMap src, dst;
    HslXlate ret;

    if (!hsl_pair(q, slot, slot->done, MIN(left, HSL_CHUNK), left, 0, &src,
                  &dst, &ret)) {
        return ret;
    }
    n = read = MIN(src.len, dst.len);
    if (!hsl_carry(q, slot, &slot->src, &src, n, 0, src.ptr, HSL_PACKET,
                   &ret) ||
        !hsl_carry(q, slot, &slot->dst, &dst, n, 0, dst.ptr, HSL_PACKET,
                   &ret)) {
        return ret;
    }
    if (memcmp(src.ptr, dst.ptr, n)) {
        uint64_t i = 0;

        /* The process may change it meanwhile: then there is no difference */
        while (i < n && src.ptr[i] == dst.ptr[i]) {
            i++;
        }
        if (i < n) {
            slot->done += i;
            hsl_slot_finish(slot, HSL_ST_OK);
            n = 0;
        }
    }
    hsl_operand_done(q, slot, &slot->src, &src, read);
    hsl_operand_done(q, slot, &slot->dst, &dst, read);
    slot->done += n;
    slot->result = slot->done;
    return HSL_X_OK;
}

static HslXlate hsl_fill_step(HslQueue *q, HslSlot *slot)
{
    const HslDesc *d = &slot->d;
    uint64_t left = d->len - slot->done;
    uint8_t packet[HSL_PACKET];
    HslMap dst;
    HslXlate ret;

    if (!hsl_operand(q, slot, &slot->dst, d->dst + slot->done,
                     MIN(left, HSL_CHUNK), left, HSL_ACCESS_WRITE, &dst,
                     &ret)) {
        return ret;
    }
    if (dst.way == HSL_WAY_LINK) {
        /* All packets are the same */
        hsl_fill(packet, sizeof(packet), d->operand[0], slot->done & 7);
    }
    if (!hsl_carry(q, slot, &slot->dst, &dst, dst.len, HSL_ACCESS_WRITE, packet,
                   0, &ret)) {
        return ret;
    }
    hsl_fill(dst.ptr, dst.len, d->operand[0], slot->done & 7);
    hsl_map_written(q->s, &dst, 0, dst.len);
    hsl_operand_done(q, slot, &slot->dst, &dst, dst.len);
    slot->done += dst.len;
    return HSL_X_OK;
}

static HslXlate hsl_crc_step(HslQueue *q, HslSlot *slot)
{
    const HslDesc *d = &slot->d;
    uint64_t left = d->len - slot->done;
    HslMap src;
    HslXlate ret;

    if (!hsl_operand(q, slot, &slot->src, d->src + slot->done,
                     MIN(left, HSL_CHUNK), left, 0, &src, &ret)) {
        return ret;
    }
    if (!hsl_carry(q, slot, &slot->src, &src, src.len, 0, src.ptr, HSL_PACKET,
                   &ret)) {
        return ret;
    }
    slot->result = ~hsl_crc32c(~(uint32_t)slot->result, src.ptr, src.len);
    slot->result = (uint32_t)slot->result;
    hsl_operand_done(q, slot, &slot->src, &src, src.len);
    slot->done += src.len;
    return HSL_X_OK;
}

static HslXlate hsl_atomic_step(HslQueue *q, HslSlot *slot)
{
    const HslDesc *d = &slot->d;
    HslMap dst;
    HslXlate ret;

    if (!hsl_operand(q, slot, &slot->dst, d->dst, d->len, d->len,
                     HSL_ACCESS_WRITE, &dst, &ret)) {
        return ret;
    }
    if (dst.len < d->len) {
        return hsl_slot_fault(slot, HSL_X_BUS_ERROR, d->dst, HSL_ACCESS_WRITE);
    }
    /* There and back, both first: what is not told must not be done */
    if (!hsl_carry(q, slot, &slot->dst, &dst, d->len, HSL_ACCESS_WRITE,
                   (const uint8_t *)d->operand, 0, &ret) ||
        !hsl_carry(q, slot, &slot->dst, &dst, d->len, 0, dst.ptr, 0, &ret)) {
        return ret;
    }
    slot->result = hsl_atomic(d, dst.ptr);
    hsl_map_written(q->s, &dst, 0, d->len);
    hsl_operand_done(q, slot, &slot->dst, &dst, d->len);
    slot->done = d->len;
    return HSL_X_OK;
}

static HslXlate hsl_signal_step(HslQueue *q, HslSlot *slot)
{
    enum hsl_status status;
    HslXlate x = hsl_signal_send(q, &slot->d, &slot->dst.wait,
                                 hsl_flow(q, slot, &slot->dst), &status);

    if (hsl_xlate_failed(x)) {
        return hsl_slot_fault(slot, x, 0, 0);
    }
    if (x == HSL_X_OK) {
        hsl_slot_finish(slot, status);
    }
    return x;
}

/*
 * One piece of @slot. HSL_X_OK: it has advanced, and finished if it says so.
 * HSL_X_WAIT, HSL_X_GONE: see hsl_map().
 */
HslXlate hsl_op_step(HslQueue *q, HslSlot *slot)
{
    HslXlate x = HSL_X_OK;

    if (slot->done < slot->d.len) {
        switch (slot->d.op) {
        case HSL_OP_COPY:
            x = hsl_copy_step(q, slot);
            break;
        case HSL_OP_FILL:
            x = hsl_fill_step(q, slot);
            break;
        case HSL_OP_COMPARE:
            x = hsl_compare_step(q, slot);
            break;
        case HSL_OP_CRC32C:
            x = hsl_crc_step(q, slot);
            break;
        default:
            x = hsl_atomic_step(q, slot);
            break;
        }
    } else if (slot->d.op == HSL_OP_SIGNAL) {
        x = hsl_signal_step(q, slot);
    }
    if (x == HSL_X_OK && !slot->finished && slot->done == slot->d.len) {
        hsl_slot_finish(slot, HSL_ST_OK);
    }
    return x;
}
