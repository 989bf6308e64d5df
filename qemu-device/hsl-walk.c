/*
 * HSL-like accelerator endpoint: the device's own page tables and their faults
 *
 * Tables are the guest's and may say anything at any time. An entry is read
 * once, by one load; a walk goes down one level with every entry, so that it
 * ends; what it finds goes to the translation cache as if the IOMMU had said
 * it. Tables lie at bus addresses: where the IOMMU has to be asked for one, the
 * lock is dropped and the walk starts again.
 *
 * What a walk does not find becomes a record in the fault queue, and the
 * operation waits for the answer. Records and page request groups share a table
 * and the rule of who may have how many of them outstanding.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/log.h"
#include "hsl-internal.h"
#include "trace.h"

/* Times a walk asks the IOMMU before others get their turn */
#define HSL_WALK_TRIES  16
#define HSL_PT_BITS     9

#define HSL_PTE_KNOWN   (HSL_PTE_VALID | HSL_PTE_WRITE | HSL_PTE_LEAF | \
                         HSL_PTE_LOCAL | HSL_PTE_SOFT | \
                         HSL_PTE_NODE_MASK | HSL_PTE_ADDR)

static uint64_t hsl_huge_of(uint64_t va)
{
    return va & ~(BIT_ULL(HSL_HUGE_ORDER) - 1);
}

static HslWalk *hsl_walk_slot(HslSpace *sp, uint64_t va)
{
    return &sp->walks[(va >> HSL_HUGE_ORDER) & (HSL_WALKS - 1)];
}

/* The tables that map these addresses may have changed */
void hsl_walk_forget(HslSpace *sp, uint64_t start, uint64_t last)
{
    for (int i = 0; i < HSL_WALKS; i++) {
        uint64_t va = hsl_huge_of(sp->walks[i].va);

        if (va <= last && va + (BIT_ULL(HSL_HUGE_ORDER) - 1) >= start) {
            sp->walks[i].va = 0;
        }
    }
}

/* HSL_X_WAIT: the IOMMU has to be asked for @addr first */
static HslXlate hsl_table_map(HslState *s, HslSpace *sp, uint64_t addr,
                              HslMap *map)
{
    HslXlate x;

    map->va = addr;
    map->space = sp->bus;
    if (!hsl_lookup(s, sp->bus, addr, false, &map->at)) {
        return HSL_X_WAIT;
    }
    x = hsl_map_hit(s, NULL, map, HSL_PAGE_SIZE - (addr & ~HSL_PAGE_MASK),
                    NULL);
    /* RAM may end within a page */
    return x == HSL_X_OK && map->len < sizeof(uint64_t) ? HSL_X_BUS_ERROR : x;
}

static uint64_t hsl_pte_read(const HslMap *map, unsigned i)
{
    return le64_to_cpu(qatomic_read((uint64_t *)map->ptr + i));
}

/* The node that a leaf with LOCAL names, + 1; 0: this one */
static unsigned hsl_leaf_node(HslState *s, uint64_t pte)
{
    unsigned node = (pte & HSL_PTE_NODE_MASK) / HSL_PTE_NODE(0);

    return s->joined && node == s->node + 1 ? 0 : node;
}

/*
 * A leaf: is it well-formed, and does it allow the access? What memory a peer
 * has is seen at each access, for peers come and go.
 */
static HslXlate hsl_leaf_check(HslState *s, uint64_t pte, unsigned order,
                               bool write)
{
    uint64_t addr = pte & HSL_PTE_ADDR;
    unsigned node = hsl_leaf_node(s, pte);

    if (((pte & HSL_PTE_NODE_MASK) && !(pte & HSL_PTE_LOCAL)) ||
        (node && (!s->joined || node > s->fabric->nodes))) {
        return HSL_X_BUS_ERROR;
    }
    if (!(pte & HSL_PTE_LEAF) || (pte & ~HSL_PTE_KNOWN) ||
        (addr & (BIT_ULL(order) - 1)) ||
        ((pte & HSL_PTE_LOCAL) && !node &&
         (!s->mem || addr + BIT_ULL(order) > memory_region_size(s->mem)))) {
        return HSL_X_BUS_ERROR;
    }
    return write && !(pte & HSL_PTE_WRITE) ? HSL_X_FAULT : HSL_X_OK;
}

static void hsl_leaf_insert(HslState *s, HslSpace *sp, uint64_t va,
                            uint64_t pte, unsigned order, uint64_t epoch)
{
    hsl_atc_insert(s, sp - s->spaces, va, order, &(HslAtcEntry) {
        .gpa = pte & HSL_PTE_ADDR,
        .perm = pte & HSL_PTE_WRITE ? IOMMU_RW : IOMMU_RO,
        .local = pte & HSL_PTE_LOCAL,
        .node = hsl_leaf_node(s, pte),
        .epoch = epoch,
    });
}

/*
 * Look @va up in the tables and cache what is there, and for the @pages pages
 * from @va on what the same table says of them. HSL_X_WAIT: the IOMMU has to be
 * asked for *@ask. Does not drop the lock.
 */
static HslXlate hsl_walk(HslState *s, HslSpace *sp, uint64_t va, bool write,
                         uint64_t pages, uint64_t *ask)
{
    HslWalk *walk = hsl_walk_slot(sp, va);
    int level = HSL_PT_LEVELS - 1;
    uint64_t table = sp->root, epoch = s->epoch, pte;
    unsigned shift, index;
    HslXlate x;
    HslMap map;

    /* A leaf is as old as the table it was found in, and the log is finite */
    if (walk->va == (hsl_huge_of(va) | 1) && walk->gen == sp->gen &&
        (!s->oracle || s->epoch - walk->epoch <= HSL_INV_LOG / 2)) {
        level = 0;
        table = walk->table;
        epoch = walk->epoch;
    }

    for (;; level--) {
        shift = HSL_PAGE_ORDER + level * HSL_PT_BITS;
        index = (va >> shift) & (HSL_PT_ENTRIES - 1);
        *ask = table;
        x = hsl_table_map(s, sp, table + index * sizeof(pte), &map);
        if (x != HSL_X_OK) {
            return x;
        }
        pte = hsl_pte_read(&map, 0);
        hsl_map_check(s, &map);
        if (!(pte & HSL_PTE_VALID)) {
            return HSL_X_FAULT;
        }
        if (level == 0 || (pte & HSL_PTE_LEAF)) {
            break;
        }
        if (pte & ~(HSL_PTE_VALID | HSL_PTE_ADDR)) {
            return HSL_X_BUS_ERROR;
        }
        table = pte & HSL_PTE_ADDR;
    }

    x = level > 1 ? HSL_X_BUS_ERROR : hsl_leaf_check(s, pte, shift, write);
    if (x != HSL_X_OK) {
        return x;
    }
    hsl_leaf_insert(s, sp, va, pte, shift, epoch);
    if (level == 0) {
        *walk = (HslWalk) {
            .va = hsl_huge_of(va) | 1,
            .table = table,
            .epoch = epoch,
            .gen = sp->gen,
        };
        pages = MIN(pages, MIN(map.len / sizeof(pte), HSL_PRG_PAGES));
        for (unsigned i = 1; i < pages; i++) {
            pte = hsl_pte_read(&map, i);
            if (!(pte & HSL_PTE_VALID) ||
                hsl_leaf_check(s, pte, shift, write) != HSL_X_OK) {
                break;
            }
            hsl_leaf_insert(s, sp, va + i * HSL_PAGE_SIZE, pte, shift, epoch);
        }
    }
    return HSL_X_OK;
}

/* Ask the IOMMU; what it does not translate is not memory. Drops the lock. */
static HslXlate hsl_ask(HslQueue *q, HslSpace *sp, uint64_t bus,
                        unsigned pages, bool write)
{
    uint32_t missing = 0;
    HslXlate x;

    if (hsl_is_msi(bus)) {
        return HSL_X_BUS_ERROR;
    }
    x = hsl_ats(q, sp->bus, bus & HSL_PAGE_MASK, pages, write, &missing);
    return x == HSL_X_FAULT || (missing & 1) ? HSL_X_BUS_ERROR : x;
}

/* The leaf of @va is cached: ask for its bus address and those that follow */
static HslXlate hsl_ask_leaf(HslQueue *q, HslSpace *sp, uint64_t va,
                             bool write, uint64_t pages)
{
    HslState *s = q->s;
    HslAtcEntry *e;
    unsigned order, n = 0;
    uint64_t bus = 0, size, at;

    for (; n < MIN(pages, HSL_PRG_PAGES); n += size >> HSL_PAGE_ORDER) {
        e = hsl_atc_lookup(s, q->space, va, write, &order);
        if (!e || e->local) {
            break;
        }
        at = e->gpa | (va & (BIT_ULL(order) - 1) & HSL_PAGE_MASK);
        if (n == 0) {
            bus = at;
        } else if (at != bus + n * HSL_PAGE_SIZE) {
            break;
        }
        size = BIT_ULL(order) - (va & (BIT_ULL(order) - 1) & HSL_PAGE_MASK);
        va += size;
    }
    n = MIN(n, HSL_PRG_PAGES);
    if (bus < HSL_MSI_FIRST) {
        n = MIN(n, (HSL_MSI_FIRST - bus) >> HSL_PAGE_ORDER);
    }
    return n ? hsl_ask(q, sp, bus, n, write) : HSL_X_OK;
}

/* Faults */

/*
 * The fault under way that this access can wait for: its own, or one that goes
 * on to it, which the driver may mend as well.
 */
static int hsl_fault_find(HslState *s, uint16_t space, uint64_t page,
                          bool write, bool own)
{
    int found = -1;

    for (int i = 0; i < HSL_PRGS; i++) {
        const HslPrg *prg = &s->prgs[i];

        if (!prg->used || prg->space != space) {
            continue;
        }
        if (prg->start == page && prg->write == write) {
            return i;
        }
        if (!own && prg->write >= write && prg->start <= page &&
            prg->last >= page) {
            found = i;
        }
    }
    return found;
}

static HslXlate hsl_fault(HslQueue *q, uint64_t page, uint64_t pages,
                          bool write, HslWait *wait)
{
    HslState *s = q->s;
    HslPrg *prg;
    int i;

    hsl_wait_about(wait, page, write);
    if (wait->answer == HSL_FAULT_POISON) {
        s->counters[HSL_CNT_POISONED]++;
        return HSL_X_POISON;
    }
    if (wait->answer == HSL_FAULT_REFUSED) {
        return HSL_X_FAULT;
    }
    if (!hsl_reports_on(&s->fltq)) {
        s->fltq.error = true;
        qatomic_set(&s->bql_work, true);
        return HSL_X_FAULT;
    }

    i = hsl_fault_find(s, q->space, page, write, wait->single);
    if (i >= 0 && s->prgs[i].start != page) {
        /* Once: the next time it asks itself */
        wait->prg = i;
        wait->single = true;
        return HSL_X_WAIT;
    }
    if (wait->retries++ >= HSL_MAX_RETRIES) {
        return HSL_X_FAULT;
    }
    if (i >= 0) {
        wait->prg = i;
        return HSL_X_WAIT;
    }
    prg = hsl_prg_new(q, (HslPrg) {
        .device = true,
        .pending = true,
        .tag = s->next_tag,
        .write = write,
        .ahead = pages,
        .start = page,
        .last = page + MIN(pages, HSL_PRG_PAGES) * HSL_PAGE_SIZE - 1,
    });
    if (!prg) {
        hsl_wait_for_room(s, wait);
        return HSL_X_WAIT;
    }
    s->next_tag++;
    hsl_count(q, HSL_CNT_PAGE_REQUESTS, 1);
    wait->prg = prg - s->prgs;
    qatomic_set(&s->bql_work, true);
    s->urgent = true;
    return HSL_X_WAIT;
}

/*
 * Any vCPU may say anything here, with the lock held. True: the engine has to
 * be woken.
 */
bool hsl_fault_response(HslState *s, uint32_t tag, uint32_t code)
{
    trace_hsl_fault_response(tag, code);
    if (code > HSL_FAULT_POISON) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: fault 0x%x answered with %u\n",
                      tag, code);
        code = HSL_FAULT_REFUSED;
    }
    for (int i = 0; i < HSL_PRGS; i++) {
        if (s->prgs[i].used && s->prgs[i].device && s->prgs[i].tag == tag) {
            return hsl_prg_release(s, i, code);
        }
    }
    return false;
}

/* Is there a record that is still to be written? With the lock held. */
bool hsl_faults_pending(HslState *s)
{
    for (int i = 0; s->nr_prgs && i < HSL_PRGS; i++) {
        if (s->prgs[i].used && s->prgs[i].pending) {
            return true;
        }
    }
    return false;
}

/* The queue has stopped. Others that waited for the same ask themselves. */
void hsl_queue_drop_faults(HslQueue *q)
{
    HslState *s = q->s;

    for (int i = 0; s->nr_prgs && i < HSL_PRGS; i++) {
        if (s->prgs[i].used && s->prgs[i].device &&
            s->prgs[i].queue == q->id) {
            hsl_prg_release(s, i, HSL_FAULT_RETRY);
            qemu_event_set(&s->wake);
        }
    }
}

/* The fault queue has failed or is off: nobody will answer. With the lock. */
void hsl_faults_refuse(HslState *s)
{
    for (int i = 0; s->nr_prgs && i < HSL_PRGS; i++) {
        if (s->prgs[i].used && s->prgs[i].device) {
            s->fltq.error = true;
            hsl_prg_release(s, i, HSL_FAULT_REFUSED);
        }
    }
    qemu_event_set(&s->wake);
}

/*
 * @va is not in the cache. HSL_X_OK: it may be there now. Drops the lock where
 * the IOMMU has to be asked.
 */
HslXlate hsl_walk_miss(HslQueue *q, uint64_t va, bool write, uint64_t ahead,
                       HslWait *wait)
{
    HslState *s = q->s;
    HslSpace *sp = &s->spaces[q->space];
    uint64_t page = va & HSL_PAGE_MASK, pages, ask = 0, epoch;
    HslHit hit;
    HslXlate x;

    if (va >= sp->limit) {
        return HSL_X_FAULT;
    }
    pages = (ROUND_UP(MIN(va + ahead, sp->limit), HSL_PAGE_SIZE) - page) >>
            HSL_PAGE_ORDER;

    s->counters[HSL_CNT_WALKS]++;
    for (int i = 0; i < HSL_WALK_TRIES; i++) {
        epoch = s->epoch;
        x = hsl_walk(s, sp, va, write, pages, &ask);
        trace_hsl_walk(sp->context, va, write, x);
        if (x == HSL_X_FAULT) {
            return hsl_fault(q, page, pages, write, wait);
        }
        if (x == HSL_X_OK) {
            if (hsl_lookup(s, q->space, va, write, &hit)) {
                return HSL_X_OK;
            }
            x = hsl_ask_leaf(q, sp, va, write, pages);
        } else if (x == HSL_X_WAIT) {
            x = hsl_ask(q, sp, ask, 1, false);
        }
        /* The IOMMU was asked for what the tables do not say any more */
        if (x == HSL_X_BUS_ERROR &&
            hsl_invalidated_since(s, epoch, q->space, page,
                                  page + HSL_PAGE_SIZE - 1)) {
            continue;
        }
        if (x != HSL_X_OK) {
            return x;
        }
        if (hsl_lookup(s, q->space, va, write, &hit)) {
            return HSL_X_OK;
        }
    }
    /* The IOMMU takes back what it gives: later, but not for ever */
    hsl_wait_about(wait, page, write);
    return wait->retries++ < HSL_MAX_RETRIES ? HSL_X_GONE : HSL_X_FAULT;
}
