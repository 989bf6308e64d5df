/*
 * HSL-like accelerator endpoint: address translation
 *
 * Translations come from the IOMMU by ATS, or from the device's own page tables
 * (hsl-walk.c), and are cached here (the ATC). Missing pages are asked for by
 * PRI, or by the fault queue. One property matters more than all
 * others: once an invalidation has been acknowledged, no access through the
 * old translation happens any more. It follows from three rules:
 *  - memory is accessed only with the lock held, through a translation looked
 *    up under the same hold;
 *  - an invalidation takes the lock, so that it returns (which acknowledges
 *    it) only between two accesses, and removes the entry before it does;
 *  - the IOMMU is asked without the lock (but with the BQL, which it needs when
 *    it has a fault to report), and an answer is cached only when no
 *    overlapping invalidation came in meanwhile.
 * The oracle checks the property by other means: it keeps the log of what was
 * acknowledged and compares every access with it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/log.h"
#include "qemu/memalign.h"
#include "qemu/main-loop.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "system/address-spaces.h"
#include "hsl-internal.h"
#include "trace.h"

#define HSL_RETRY_MS        1
/* log2 of the sets of the translation cache that stay together */
#define HSL_ATC_RUN         4
/* Bus addresses, and process addresses where the IOMMU does not say */
#define HSL_BUS_BITS        52
#define HSL_VA_BITS         48
/* HslWait.about: no page, and no access */
#define HSL_ABOUT_NOTHING   UINT64_MAX
/* Larger invalidations void the whole address space and look for nothing */
#define HSL_INV_PROBE_PAGES 512

static uint64_t hsl_page_of(uint64_t va, unsigned order)
{
    return va & ~(BIT_ULL(order) - 1);
}

/* Windows: guest RAM by guest physical address */

static void hsl_windows_clear(HslState *s)
{
    for (uint32_t i = 0; i < s->nr_windows; i++) {
        address_space_cache_destroy(&s->windows[i].cache);
    }
    s->nr_windows = 0;
    s->windows_full = false;
}

/* The new memory map is in force by now: what was mapped before may be gone */
static void hsl_listener_commit(MemoryListener *listener)
{
    HslState *s = container_of(listener, HslState, listener);

    hsl_lock(s);
    hsl_windows_clear(s);
    hsl_unlock(s);
}

/* With no map in use: make room if the table has filled up */
void hsl_windows_trim(HslState *s)
{
    if (s->windows_full) {
        hsl_windows_clear(s);
    }
}

static HslWindow *hsl_window(HslState *s, hwaddr gpa)
{
    MemoryRegionCache cache = { 0 };
    hwaddr base, len, got;
    HslWindow *w;

    for (uint32_t i = 0; i < s->nr_windows; i++) {
        w = &s->windows[i];
        if (gpa - w->base < w->cache.len) {
            return w;
        }
    }
    if (s->nr_windows == HSL_WINDOWS) {
        /* Maps in use point into the table */
        s->windows_full = true;
        return NULL;
    }

    /*
     * One byte says what RAM it is in: map all of that. The memory map may have
     * changed in between, but only once: who changes it waits for our lock.
     */
    for (int i = 0; i < 2; i++) {
        address_space_cache_init(&cache, &address_space_memory, gpa, 1, true);
        if (cache.ptr) {
            base = cache.mrs.offset_within_address_space;
            len = int128_get64(cache.mrs.size);
            address_space_cache_destroy(&cache);
            got = address_space_cache_init(&cache, &address_space_memory,
                                           base, len, true);
            if (cache.ptr && gpa - base < got) {
                w = &s->windows[s->nr_windows++];
                w->base = base;
                w->cache = cache;
                trace_hsl_window(base, got);
                return w;
            }
        }
        address_space_cache_destroy(&cache);
    }
    return NULL;
}

/* Invalidation log */

bool hsl_invalidated_since(HslState *s, uint64_t epoch, uint16_t space,
                           uint64_t start, uint64_t last)
{
    if (s->epoch - epoch > HSL_INV_LOG) {
        return true;
    }
    for (uint64_t e = epoch; e != s->epoch; e++) {
        const HslInv *inv = &s->inv_log[e % HSL_INV_LOG];

        if (inv->space == space && inv->start <= last && inv->last >= start) {
            return true;
        }
    }
    return false;
}

static void hsl_log_invalidation(HslState *s, uint16_t space,
                                 uint64_t start, uint64_t last)
{
    s->inv_log[s->epoch % HSL_INV_LOG] = (HslInv) {
        .space = space, .start = start, .last = last,
    };
    s->epoch++;
}

/* Translation cache */

static HslAtcEntry *hsl_atc_set(HslState *s, uint16_t space, uint64_t va,
                                unsigned order)
{
    /* Pages that follow each other have sets that do: they are looked up so */
    uint64_t h = ((va >> order >> HSL_ATC_RUN) ^ ((uint64_t)space << 40) ^
                  order) * 0x9e3779b97f4a7c15ull;
    uint64_t set = (h >> 32 << HSL_ATC_RUN) |
                   ((va >> order) & (BIT(HSL_ATC_RUN) - 1));

    return &s->atc[(set & (s->atc_sets - 1)) * HSL_ATC_WAYS];
}

static HslAtcEntry *hsl_atc_probe(HslState *s, uint16_t space, uint64_t va,
                                  unsigned order)
{
    HslAtcEntry *e = hsl_atc_set(s, space, va, order);
    uint64_t tag = hsl_page_of(va, order) | order;

    for (int i = 0; i < HSL_ATC_WAYS; i++, e++) {
        if (e->va == tag && e->space == space &&
            e->space_gen == s->spaces[space].gen) {
            return e;
        }
    }
    return NULL;
}

HslAtcEntry *hsl_atc_lookup(HslState *s, uint16_t space, uint64_t va,
                            bool write, unsigned *order)
{
    HslSpace *sp = &s->spaces[space];
    bool huge = sp->huge;
    HslAtcEntry *e;

    for (int i = 0; i < 2; i++, huge = !huge) {
        *order = huge ? HSL_HUGE_ORDER : HSL_PAGE_ORDER;
        e = hsl_atc_probe(s, space, va, *order);
        if (!e || !(e->perm & (write ? IOMMU_WO : IOMMU_RO))) {
            continue;
        }
        /* The oracle judges by the log: nothing older than that is used */
        if (s->oracle && s->epoch - e->epoch > HSL_INV_LOG) {
            continue;
        }
        sp->huge = huge;
        return e;
    }
    return NULL;
}

/* Of @to, gpa, perm, local, node and epoch count */
void hsl_atc_insert(HslState *s, uint16_t space, uint64_t va, unsigned order,
                    const HslAtcEntry *to)
{
    HslAtcEntry *e = hsl_atc_probe(s, space, va, order);

    if (!e) {
        HslAtcEntry *set = hsl_atc_set(s, space, va, order);

        for (int i = 0; i < HSL_ATC_WAYS && !e; i++) {
            if (!set[i].va ||
                set[i].space_gen != s->spaces[set[i].space].gen) {
                e = &set[i];
            }
        }
        /* By chance, so that no pattern of use evicts for ever what it needs */
        s->atc_victim = s->atc_victim * 1103515245 + 12345;
        e = e ?: &set[(s->atc_victim >> 16) % HSL_ATC_WAYS];
    }
    *e = (HslAtcEntry) {
        .va = hsl_page_of(va, order) | order,
        .gpa = hsl_page_of(to->gpa, order),
        .perm = to->perm,
        .local = to->local,
        .node = to->node,
        .epoch = to->epoch,
        .space = space,
        .space_gen = s->spaces[space].gen,
    };
}

static void hsl_atc_remove(HslState *s, uint16_t space, uint64_t start,
                           uint64_t last)
{
    uint64_t pages = ((last - start) >> HSL_PAGE_ORDER) + 1;
    HslAtcEntry *e;

    s->spaces[space].changes++;
    if (pages > HSL_INV_PROBE_PAGES) {
        s->spaces[space].gen++;
        return;
    }
    for (uint64_t i = 0, va = start; i < pages; i++, va += HSL_PAGE_SIZE) {
        e = hsl_atc_probe(s, space, va, HSL_PAGE_ORDER);
        if (e) {
            e->va = 0;
        }
    }
    for (uint64_t va = hsl_page_of(start, HSL_HUGE_ORDER); ;
         va += BIT_ULL(HSL_HUGE_ORDER)) {
        e = hsl_atc_probe(s, space, va, HSL_HUGE_ORDER);
        if (e) {
            e->va = 0;
        }
        if (last - va < BIT_ULL(HSL_HUGE_ORDER)) {
            break;
        }
    }
}

/* With the lock held; to release it is to acknowledge */
void hsl_invalidate(HslState *s, uint16_t space, uint64_t start, uint64_t last)
{
    HslSpace *sp = &s->spaces[space];

    if (!s->ignore_invalidations) {
        hsl_atc_remove(s, space, start, last);
        hsl_walk_forget(sp, start, last);
    }
    hsl_log_invalidation(s, space, start, last);
    s->counters[HSL_CNT_INVALIDATIONS]++;
    trace_hsl_invalidate(space, sp->xlate, sp->pasid, start, last);
}

/* The guest has changed what the IOMMU may be asked for: ask again for all */
void hsl_atc_void(HslState *s)
{
    hsl_lock(s);
    for (uint32_t i = 0; i < s->nr_spaces; i++) {
        HslSpace *sp = &s->spaces[i];

        if (sp->iotlb_registered) {
            sp->gen++;
            sp->changes++;
        }
    }
    hsl_unlock(s);
}

/* Called by the IOMMU; to return is to acknowledge */
static void hsl_iotlb_notify(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    HslSpace *sp = container_of(n, HslSpace, iotlb);
    HslState *s = sp->s;
    uint16_t space = sp - s->spaces;
    uint64_t start = entry->iova & ~entry->addr_mask & HSL_PAGE_MASK;
    uint64_t last = entry->iova | entry->addr_mask | ~HSL_PAGE_MASK;

    hsl_lock(s);
    hsl_invalidate(s, space, start, last);
    hsl_unlock(s);
}

/*
 * What @va is at this moment, as far as it is cached. A translation by the
 * device's tables is put together from two, so that to invalidate either one
 * is enough; the result is kept with the first for as long as nothing of the
 * other space is invalidated.
 */
bool hsl_lookup(HslState *s, uint16_t space, uint64_t va, bool write,
                HslHit *hit)
{
    const HslSpace *sp = &s->spaces[space], *bus;
    IOMMUAccessFlags need = write ? IOMMU_WO : IOMMU_RO;
    HslAtcEntry *e, *out;
    unsigned order, bus_order;
    uint64_t in;

    hit->bus_space = -1;
    hit->local = false;
    hit->node = 0;
    if (sp->identity) {
        hit->gpa = va;
        hit->left = sp->limit - va;
        hit->epoch = s->epoch;
        return va < sp->limit;
    }
    e = hsl_atc_lookup(s, space, va, write, &order);
    if (!e) {
        return false;
    }
    in = va & (BIT_ULL(order) - 1);
    hit->gpa = e->gpa | in;
    hit->left = BIT_ULL(order) - in;
    hit->epoch = e->epoch;
    hit->local = e->local;
    hit->node = e->node;
    if (sp->xlate != HSL_XLATE_DEVICE || e->local) {
        return true;
    }
    bus = &s->spaces[sp->bus];
    if (bus->identity) {
        return true;
    }

    hit->bus_space = sp->bus;
    hit->bus = hit->gpa;
    if ((e->out_perm & need) && e->out_changes == bus->changes &&
        (!s->oracle || s->epoch - e->out_epoch <= HSL_INV_LOG)) {
        hit->gpa = e->out | in;
        hit->bus_epoch = e->out_epoch;
        return true;
    }
    out = hsl_atc_lookup(s, sp->bus, hit->bus, write, &bus_order);
    if (!out) {
        return false;
    }
    if (bus_order >= order) {
        e->out = out->gpa | (e->gpa & (BIT_ULL(bus_order) - 1));
        e->out_perm = out->perm;
        e->out_epoch = out->epoch;
        e->out_changes = bus->changes;
    }
    in = hit->bus & (BIT_ULL(bus_order) - 1);
    hit->gpa = out->gpa | in;
    hit->left = MIN(hit->left, BIT_ULL(bus_order) - in);
    hit->bus_epoch = out->epoch;
    return true;
}

/* Page requests */

bool hsl_waiting(const HslWait *wait)
{
    return wait->prg >= 0 || wait->backoff;
}

void hsl_wait_reset(HslWait *wait)
{
    *wait = (HslWait) { .prg = -1, .about = HSL_ABOUT_NOTHING };
}

/* What @wait says holds for this page and access only */
void hsl_wait_about(HslWait *wait, uint64_t page, bool write)
{
    if (wait->about != (page | write)) {
        hsl_wait_reset(wait);
        wait->about = page | write;
    }
}

static bool hsl_wait_answer(HslState *s, HslWait *wait, int i,
                            enum hsl_fault_code answer)
{
    const HslPrg *prg = &s->prgs[i];

    if (wait->prg != i) {
        return false;
    }
    wait->prg = -1;
    /* The answer to a fault is about its first page; others look again */
    if (prg->device && wait->about != (prg->start | prg->write)) {
        answer = HSL_FAULT_RETRY;
    }
    wait->answer = answer;
    return true;
}

/*
 * Page requests that @sp may send: it may have as many outstanding as it leaves
 * free, and one. However many ask for all they can, there is room for one more.
 */
static uint32_t hsl_request_room(HslState *s, const HslSpace *sp)
{
    uint32_t allowed = MIN(pcie_pri_get_req_alloc(PCI_DEVICE(s)),
                           HSL_PRI_CAPACITY);
    uint32_t room = allowed - MIN(allowed, s->prg_pages);

    room -= MIN(room, sp->prg_pages);
    return DIV_ROUND_UP(room, 2);
}

/*
 * A request less is outstanding: one that waits for room for another goes on,
 * if there is some. False: none does.
 */
static bool hsl_queue_room(HslQueue *q)
{
    HslState *s = q->s;
    const HslSpace *sp = &s->spaces[q->space];
    HslWait *wait = q->wait.room ? &q->wait : NULL;

    for (int i = 0; !wait && i < HSL_SLOTS; i++) {
        HslSlot *slot = &q->slots[i];

        wait = slot->dst.wait.room ? &slot->dst.wait :
               slot->src.wait.room ? &slot->src.wait : NULL;
    }
    if (!wait || sp->prgs >= HSL_PRGS - s->nr_prgs ||
        (sp->xlate == HSL_XLATE_IOMMU && !hsl_request_room(s, sp))) {
        return false;
    }
    wait->room = wait->backoff = false;
    return true;
}

/* Does somebody wait for the answer to it? */
static bool hsl_prg_awaited(HslState *s, int i)
{
    for (uint32_t n = find_first_bit(s->active, s->nr_queues);
         n < s->nr_queues; n = find_next_bit(s->active, s->nr_queues, n + 1)) {
        const HslQueue *q = &s->queues[n];
        bool awaited = q->wait.prg == i;

        for (int j = 0; j < HSL_SLOTS; j++) {
            awaited |= q->slots[j].dst.wait.prg == i ||
                       q->slots[j].src.wait.prg == i;
        }
        if (awaited) {
            return true;
        }
    }
    return false;
}

/* True: somebody has waited for it, and the engine has to be woken */
bool hsl_prg_release(HslState *s, int i, enum hsl_fault_code answer)
{
    HslQueue *owner = &s->queues[s->prgs[i].queue];
    HslSpace *sp = &s->spaces[s->prgs[i].space];
    bool waited = false;

    s->prg_pages -= s->prgs[i].pages;
    s->nr_prgs--;
    sp->prg_pages -= s->prgs[i].pages;
    sp->prgs--;
    s->prgs[i].used = false;

    for (uint32_t n = find_first_bit(s->active, s->nr_queues);
         n < s->nr_queues; n = find_next_bit(s->active, s->nr_queues, n + 1)) {
        HslQueue *q = &s->queues[n];

        waited |= hsl_wait_answer(s, &q->wait, i, answer);
        for (int j = 0; j < HSL_SLOTS; j++) {
            waited |= hsl_wait_answer(s, &q->slots[j].dst.wait, i, answer);
            waited |= hsl_wait_answer(s, &q->slots[j].src.wait, i, answer);
        }
        waited |= hsl_queue_room(q);
    }
    hsl_queue_settle(owner);
    return waited;
}

/* The large pages of these addresses are not to be cached as a whole */
static bool hsl_huge_has_msi(uint64_t va, uint64_t end)
{
    return hsl_page_of(va, HSL_HUGE_ORDER) <= HSL_MSI_LAST &&
           end > hsl_page_of(HSL_MSI_FIRST, HSL_HUGE_ORDER);
}

/*
 * Cache what the IOMMU, asked when @epoch was the last, has said of @pages
 * pages, unless it was invalidated meanwhile. A bit for each it does not have.
 */
static uint32_t hsl_ats_cache(HslState *s, uint16_t space, uint64_t page,
                              unsigned pages, bool write, uint64_t epoch,
                              const IOMMUTLBEntry *res, ssize_t n)
{
    IOMMUAccessFlags need = write ? IOMMU_RW : IOMMU_RO;
    uint64_t va = page, end = page + pages * HSL_PAGE_SIZE;
    uint32_t missing = 0;

    for (int i = 0; i < n && va < end; i++) {
        uint64_t size_mask = res[i].addr_mask | ~HSL_PAGE_MASK;
        uint64_t next = (va | size_mask) + 1;
        bool got = (res[i].perm & need) == need;
        uint64_t stop = next > va ? MIN(next, end) : end;

        if (got && size_mask >= BIT_ULL(HSL_HUGE_ORDER) - 1 &&
            !hsl_huge_has_msi(va, stop)) {
            for (uint64_t a = va, last; a < stop; a = last + 1) {
                last = a | (BIT_ULL(HSL_HUGE_ORDER) - 1);
                /* All that is cached, also beyond what was asked for */
                if (hsl_invalidated_since(s, epoch, space,
                                          hsl_page_of(a, HSL_HUGE_ORDER),
                                          last)) {
                    continue;
                }
                hsl_atc_insert(s, space, a, HSL_HUGE_ORDER, &(HslAtcEntry) {
                    .gpa = (res[i].translated_addr & ~size_mask) |
                           (a & size_mask),
                    .perm = res[i].perm, .epoch = epoch,
                });
            }
            va = stop;
            continue;
        }
        for (; va < stop; va += HSL_PAGE_SIZE) {
            if (!got) {
                missing |= BIT((va - page) >> HSL_PAGE_ORDER);
            } else if (!hsl_invalidated_since(s, epoch, space, va,
                                              va | ~HSL_PAGE_MASK)) {
                hsl_atc_insert(s, space, va, HSL_PAGE_ORDER, &(HslAtcEntry) {
                    .gpa = (res[i].translated_addr & ~size_mask) |
                           (va & size_mask),
                    .perm = res[i].perm, .epoch = epoch,
                });
            }
        }
    }
    return missing;
}

/*
 * The pages of group @i are there: have them in the cache before it is known,
 * so that who waits for them need not ask, for which it would want the BQL that
 * the caller holds. Drops the lock, and what the IOMMU reports may be a write
 * to any register of this device.
 */
static void hsl_prg_translate(HslState *s, int i)
{
    const HslPrg *prg = &s->prgs[i];
    HslQueue *q = &s->queues[prg->queue];
    HslSpace *sp = &s->spaces[prg->space];
    uint32_t pasid = sp->pasid, gen = sp->gen, run = q->run, errors;
    uint16_t space = prg->space;
    uint64_t epoch = s->epoch, page = prg->start;
    unsigned pages = (prg->last - page + 1) >> HSL_PAGE_ORDER;
    IOMMUTLBEntry res[HSL_PRG_PAGES];
    bool write = prg->write;
    ssize_t n;

    /* What has stopped does not ask */
    if (q->state != HSL_Q_RUNNING || !hsl_may_run(s)) {
        return;
    }
    hsl_unlock(s);
    n = pci_ats_request_translation(PCI_DEVICE(s), pasid, false, false, page,
                                    pages * HSL_PAGE_SIZE, !write, res,
                                    ARRAY_SIZE(res), &errors);
    trace_hsl_ats(pasid, page, pages, write, n);
    hsl_lock(s);
    if (q->run == run) {
        hsl_count(q, HSL_CNT_ATS_REQUESTS, 1);
    }
    if (n > 0 && sp->gen == gen && hsl_may_run(s)) {
        hsl_ats_cache(s, space, page, pages, write, epoch, res, n);
    }
}

static int hsl_prg_answered(HslState *s, uint16_t space, uint16_t prgi)
{
    for (int i = 0; i < HSL_PRGS; i++) {
        const HslPrg *prg = &s->prgs[i];

        if (prg->used && prg->space == space && prg->tag == prgi) {
            return i;
        }
    }
    return -1;
}

static void hsl_pri_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    HslSpace *sp = container_of(n, HslSpace, pri);
    HslState *s = sp->s;
    bool success = response->response_code == IOMMU_PRI_RESP_SUCCESS;
    bool waited = false;
    uint16_t space = sp - s->spaces;
    int i;

    trace_hsl_pri_response(sp->pasid, response->prgi, response->response_code);
    hsl_lock(s);
    i = hsl_prg_answered(s, space, response->prgi);
    /* Of one sent ahead the engine asks when it comes there: it is at work */
    if (i >= 0 && success && hsl_prg_awaited(s, i)) {
        hsl_prg_translate(s, i);
        /* A reset has dropped it, or the engine, which could not send it all */
        i = hsl_prg_answered(s, space, response->prgi);
    }
    if (i >= 0) {
        waited = hsl_prg_release(s, i, success ? HSL_FAULT_RETRY :
                                                 HSL_FAULT_REFUSED);
    }
    hsl_unlock(s);
    if (waited) {
        qemu_event_set(&s->wake);
    }
}

bool hsl_queue_has_requests(HslQueue *q)
{
    for (int i = 0; i < HSL_PRGS; i++) {
        const HslPrg *prg = &q->s->prgs[i];

        if (prg->used && !prg->device && prg->queue == q->id) {
            return true;
        }
    }
    return false;
}

/* Answers that come later find no entry */
static void hsl_space_drop_requests(HslState *s, uint16_t space)
{
    for (int i = 0; i < HSL_PRGS; i++) {
        if (s->prgs[i].used && s->prgs[i].space == space) {
            /* Others may have waited for the room */
            if (hsl_prg_release(s, i, HSL_FAULT_REFUSED)) {
                qemu_event_set(&s->wake);
            }
        }
    }
}

static int hsl_prg_find(HslState *s, uint16_t space, uint64_t page, bool write)
{
    for (int i = 0; i < HSL_PRGS; i++) {
        HslPrg *prg = &s->prgs[i];

        if (prg->used && prg->space == space && prg->write >= write &&
            prg->start <= page && prg->last >= page &&
            (prg->asked & BIT((page - prg->start) >> HSL_PAGE_ORDER))) {
            return i;
        }
    }
    return -1;
}

static void hsl_retry_timer(void *opaque)
{
    HslState *s = opaque;

    hsl_lock(s);
    for (uint32_t n = find_first_bit(s->active, s->nr_queues);
         n < s->nr_queues; n = find_next_bit(s->active, s->nr_queues, n + 1)) {
        HslQueue *q = &s->queues[n];

        q->wait.backoff = q->wait.room = false;
        for (int j = 0; j < HSL_SLOTS; j++) {
            HslSlot *slot = &q->slots[j];

            slot->dst.wait.backoff = slot->dst.wait.room = false;
            slot->src.wait.backoff = slot->src.wait.room = false;
        }
    }
    hsl_unlock(s);
    qemu_event_set(&s->wake);
}

void hsl_backoff(HslState *s, HslWait *wait)
{
    wait->backoff = true;
    wait->retries--;            /* counts what was asked and came to nothing */
    /* Others wait for it too */
    timer_mod_anticipate(s->retry_timer,
                         qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                         HSL_RETRY_MS);
}

/*
 * Until somebody's request is answered. That may be one of another device,
 * which has filled the same queue: look again after a while in any case.
 */
void hsl_wait_for_room(HslState *s, HslWait *wait)
{
    wait->room = true;
    hsl_backoff(s, wait);
}

/*
 * What waits here is held up for @ns from the first time on that it is asked,
 * until HslWait.until is cleared. True: it is not over yet.
 */
bool hsl_delayed(HslState *s, HslWait *wait, uint64_t ns)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    if (!wait->until) {
        wait->until = now + ns;
    }
    if (now >= wait->until) {
        return false;
    }
    wait->backoff = true;
    timer_mod_anticipate_ns(s->delay_timer, wait->until);
    return true;
}

/* NULL: this address space has its share of requests outstanding */
HslPrg *hsl_prg_new(HslQueue *q, HslPrg prg)
{
    HslState *s = q->s;
    HslSpace *sp = &s->spaces[q->space];
    int i = 0;

    if (sp->prgs >= HSL_PRGS - s->nr_prgs) {
        return NULL;
    }
    while (s->prgs[i].used) {
        i++;
    }
    prg.used = true;
    prg.space = q->space;
    prg.queue = q->id;
    s->prgs[i] = prg;
    s->prg_pages += prg.pages;
    s->nr_prgs++;
    sp->prg_pages += prg.pages;
    sp->prgs++;
    return &s->prgs[i];
}

/* One that no group under way has: they may be answered in any order */
static uint16_t hsl_prgi_new(HslState *s)
{
    uint16_t prgi;
    bool taken;

    do {
        prgi = s->next_prgi++ & PCI_PRI_PRGI_MASK;
        taken = false;
        for (int i = 0; s->nr_prgs && i < HSL_PRGS; i++) {
            taken |= s->prgs[i].used && !s->prgs[i].device &&
                     s->prgs[i].tag == prgi;
        }
    } while (taken);
    return prgi;
}

/*
 * Take the BQL for more than one question to the IOMMU: each of them would take
 * it by itself. It is the caller's to let go. False: the queue has changed.
 */
static bool hsl_bql_take(HslQueue *q)
{
    HslState *s = q->s;
    uint32_t run = q->run;

    hsl_unlock(s);
    bql_lock();
    hsl_engine_lock(s);
    return q->run == run && hsl_may_run(s);
}

/*
 * Ask for the pages of the bitmap @missing from @page on, as one group.
 * @wait, if any, waits for the answer. Drops the lock.
 */
static HslXlate hsl_prg_send(HslQueue *q, uint64_t page, uint32_t missing,
                             bool write, HslWait *wait)
{
    HslState *s = q->s;
    PCIDevice *pdev = PCI_DEVICE(s);
    HslSpace *sp = &s->spaces[q->space];
    uint32_t run = q->run, pasid = sp->pasid;
    uint32_t room = hsl_request_room(s, sp);
    int ret = 0, sent = 0, last;
    uint16_t prgi;
    HslPrg *prg = NULL;

    if (!pcie_pri_get_req_alloc(pdev)) {
        return HSL_X_FAULT;
    }
    while (ctpop32(missing) > room) {
        missing &= ~BIT(31 - clz32(missing));
    }
    if (missing) {
        last = 31 - clz32(missing);
        prgi = hsl_prgi_new(s);
        prg = hsl_prg_new(q, (HslPrg) {
            .tag = prgi,
            .pages = ctpop32(missing),
            .asked = missing,
            .write = write,
            .start = page,
            .last = page + (last + 1) * HSL_PAGE_SIZE - 1,
        });
    }
    if (!prg) {
        if (wait) {
            hsl_wait_for_room(s, wait);
        }
        return HSL_X_WAIT;
    }
    if (wait) {
        wait->prg = prg - s->prgs;
    }
    hsl_unlock(s);

    trace_hsl_pri_request(pasid, prgi, page, ctpop32(missing), write);
    {
        BQL_LOCK_GUARD();
        for (int n = 0; n <= last && !ret; n++) {
            /* Each is a write to where the guest says, and may unplug us */
            if (q->run != run || !hsl_may_run(s)) {
                ret = -ECANCELED;
            } else if (missing & BIT(n)) {
                ret = pci_pri_request_page(pdev, pasid, false, false,
                                           page + n * HSL_PAGE_SIZE, n == last,
                                           prgi, true, write);
                sent += !ret;
            }
        }
    }

    hsl_engine_lock(s);
    hsl_count(q, HSL_CNT_PAGE_REQUESTS, sent);
    /* The answer may have come already, and the entry be another's by now */
    if (ret && prg->used && !prg->device && prg->tag == prgi) {
        hsl_prg_release(s, prg - s->prgs, HSL_FAULT_RETRY);
        if (ret == -ENOSPC && wait && q->run == run) {
            /* The IOMMU's queue overflowed and the group is void */
            hsl_backoff(s, wait);
        }
    }
    if (q->run != run || !hsl_may_run(s) || ret == -ECANCELED) {
        return HSL_X_GONE;
    }
    return ret && ret != -ENOSPC ? HSL_X_FAULT : HSL_X_WAIT;
}

/*
 * Ask the IOMMU for @pages pages of @space and cache the answers. Sets the bits
 * of @missing for those it does not have. Drops the lock.
 */
HslXlate hsl_ats(HslQueue *q, uint16_t space, uint64_t page, unsigned pages,
                 bool write, uint32_t *missing)
{
    HslState *s = q->s;
    PCIDevice *pdev = PCI_DEVICE(s);
    HslSpace *sp = &s->spaces[space];
    uint32_t pasid = sp->xlate == HSL_XLATE_BUS ? PCI_NO_PASID : sp->pasid;
    uint32_t run = q->run, gen = sp->gen, errors;
    uint64_t epoch = s->epoch;
    IOMMUTLBEntry res[HSL_PRG_PAGES];
    ssize_t n;

    hsl_unlock(s);
    {
        /*
         * The IOMMU may report a fault of its own, by an interrupt. And who
         * stops a queue or the device holds the BQL: what has stopped does not
         * ask.
         */
        BQL_LOCK_GUARD();
        n = q->run != run || !hsl_may_run(s) ? -ECANCELED :
            pci_ats_request_translation(pdev, pasid, false, false, page,
                                        pages * HSL_PAGE_SIZE, !write, res,
                                        ARRAY_SIZE(res), &errors);
    }
    trace_hsl_ats(pasid, page, pages, write, n);
    hsl_engine_lock(s);

    hsl_count(q, HSL_CNT_ATS_REQUESTS, n != -ECANCELED);
    if (q->run != run || !hsl_may_run(s) || n == -ECANCELED) {
        return HSL_X_GONE;
    }
    if (sp->gen != gen) {
        /* All of it was invalidated meanwhile: ask again */
        return HSL_X_OK;
    }
    if (n <= 0) {
        return HSL_X_FAULT;
    }
    *missing |= hsl_ats_cache(s, space, page, pages, write, epoch, res, n);
    return HSL_X_OK;
}

/* A group of the pages from op->requested on, and advance that. BQL held. */
static HslXlate hsl_request_group(HslQueue *q, uint64_t limit, bool write,
                                  HslOperand *op)
{
    uint64_t page = op->requested;
    unsigned pages = MIN((limit - page) >> HSL_PAGE_ORDER, HSL_PRG_PAGES);
    uint64_t last = page + (pages - 1) * HSL_PAGE_SIZE;
    uint32_t missing = 0, edge = 0;
    HslXlate x;

    /*
     * Where the first and the last are missing, so are those in between more
     * often than not: to ask for one that is there costs less than to look at
     * each.
     */
    x = hsl_ats(q, q->space, page, 1, write, &missing);
    if (x == HSL_X_OK && missing && pages > 1) {
        x = hsl_ats(q, q->space, last, 1, write, &edge);
    }
    if (x == HSL_X_OK && edge) {
        missing = MAKE_64BIT_MASK(0, pages);
    } else if (x == HSL_X_OK && pages > 1) {
        missing = 0;
        x = hsl_ats(q, q->space, page, pages, write, &missing);
    }
    if (x == HSL_X_OK && missing) {
        x = hsl_prg_send(q, page, missing, write, NULL);
        x = x == HSL_X_WAIT ? HSL_X_OK : x;
    }
    if (x == HSL_X_OK) {
        op->requested = page + pages * HSL_PAGE_SIZE;
    }
    return x;
}

/* Request the groups that an operation will need after the one it waits for */
static HslXlate hsl_request_ahead(HslQueue *q, uint64_t from, uint64_t end,
                                  bool write, HslOperand *op)
{
    uint64_t limit = MIN(end, from + HSL_PRG_AHEAD * HSL_PRG_PAGES *
                              HSL_PAGE_SIZE);
    HslXlate x;

    op->requested = MAX(op->requested, from);
    if (op->requested >= limit) {
        return HSL_X_WAIT;
    }
    x = hsl_bql_take(q) ? HSL_X_OK : HSL_X_GONE;
    while (x == HSL_X_OK && op->requested < limit) {
        x = hsl_request_group(q, limit, write, op);
    }
    bql_unlock();
    return x == HSL_X_GONE ? x : HSL_X_WAIT;
}

/* Ask for pages, and request those that are missing if @page is. BQL held. */
static HslXlate hsl_ask_or_request(HslQueue *q, uint64_t page, unsigned pages,
                                   bool write, HslWait *wait)
{
    HslState *s = q->s;
    uint32_t missing = 0;
    HslXlate x = hsl_ats(q, q->space, page, pages, write, &missing);

    if (x != HSL_X_OK || !(missing & 1)) {
        return x;
    }
    hsl_wait_about(wait, page, write);
    if (s->spaces[q->space].xlate != HSL_XLATE_IOMMU || !s->pri ||
        wait->retries++ >= HSL_MAX_RETRIES) {
        return HSL_X_FAULT;
    }
    if (wait->answer != HSL_FAULT_RETRY) {
        /* Of a group, any page may be the reason: ask for this one alone */
        if (wait->single) {
            return HSL_X_FAULT;
        }
        wait->single = true;
        wait->answer = HSL_FAULT_RETRY;
        missing = 1;
    }

    wait->prg = hsl_prg_find(s, q->space, page, write);
    if (wait->prg >= 0 && !wait->single) {
        return HSL_X_WAIT;
    }
    wait->prg = -1;
    return hsl_prg_send(q, page, missing, write, wait);
}

/* HSL_X_OK: look again, the translation may be there now */
static HslXlate hsl_miss(HslQueue *q, uint64_t va, bool write, uint64_t ahead,
                         HslOperand *op, HslWait *wait)
{
    HslState *s = q->s;
    HslSpace *sp = &s->spaces[q->space];
    uint64_t page = va & HSL_PAGE_MASK;
    uint64_t end = ROUND_UP(MIN(va + ahead, sp->limit), HSL_PAGE_SIZE);
    unsigned pages;
    HslXlate x;

    if (sp->xlate == HSL_XLATE_DEVICE) {
        return hsl_walk_miss(q, va, write, ahead, wait);
    }
    /* No page request mends these, and the kernel logs each that it gets */
    if (va >= sp->limit ||
        (sp->xlate == HSL_XLATE_IOMMU && hsl_is_msi(va))) {
        return HSL_X_FAULT;
    }
    end = MIN(end, sp->limit);
    if (sp->xlate == HSL_XLATE_IOMMU && va < HSL_MSI_FIRST) {
        end = MIN(end, HSL_MSI_FIRST);
    }
    pages = wait->single ? 1 : MIN((end - page) >> HSL_PAGE_ORDER,
                                   HSL_PRG_PAGES);

    /*
     * Asked for already: the IOMMU is asked again when the whole group is
     * there, not page by page while the kernel, which needs the same lock,
     * fills it.
     */
    if (sp->xlate == HSL_XLATE_IOMMU &&
        !(wait->single && wait->about == (page | write))) {
        int prg = hsl_prg_find(s, q->space, page, write);

        if (prg >= 0) {
            hsl_wait_about(wait, page, write);
            wait->prg = prg;
            return op ? hsl_request_ahead(q, page + pages * HSL_PAGE_SIZE, end,
                                          write, op) : HSL_X_WAIT;
        }
    }
    x = hsl_bql_take(q) ? hsl_ask_or_request(q, page, pages, write, wait) :
                          HSL_X_GONE;
    bql_unlock();
    if (x != HSL_X_WAIT) {
        return x;
    }
    if (op && !wait->single) {
        return hsl_request_ahead(q, page + pages * HSL_PAGE_SIZE, end, write,
                                 op);
    }
    return HSL_X_WAIT;
}

/*
 * Map what map->at says, up to @len bytes, fewer where the memory behind it
 * ends or is poisoned. Without a queue (@q) a peer's memory is not for it.
 */
HslXlate hsl_map_hit(HslState *s, HslQueue *q, HslMap *map, uint64_t len,
                     HslWait *wait)
{
    const HslHit *at = &map->at;
    const HslPeer *peer = NULL;
    HslXlate x = HSL_X_OK;

    map->owner = NULL;
    map->way = HSL_WAY_HOST;
    if (unlikely(at->node)) {
        return hsl_peer_map(q, map, NULL, at->gpa, len, wait);
    }
    if (unlikely(s->peers_valid) && !at->local) {
        peer = hsl_peer_at(s, at->gpa, &len);
    }
    map->win = at->local ? &s->local : hsl_window(s, at->gpa);
    if (!map->win && s->windows_full) {
        return HSL_X_GONE;
    }
    if (map->win && s->mem && map->win->cache.mrs.mr == s->mem) {
        map->way = HSL_WAY_OWN;
        map->owner = s;
    } else if (peer) {
        return hsl_peer_map(q, map, peer, at->gpa - peer->base, len, wait);
    }
    if (!map->win) {
        return HSL_X_BUS_ERROR;
    }
    map->in = at->gpa - map->win->base;
    map->len = MIN(len, map->win->cache.len - map->in);
    map->ptr = map->win->cache.ptr + map->in;
    if (map->owner && unlikely(s->nr_poisoned)) {
        x = hsl_mem_check(s, map);
    }
    return x;
}

/*
 * Make @va accessible: up to @len bytes, fewer where the page ends; the
 * operation will go on to @ahead bytes. May drop the lock in between, but on
 * HSL_X_OK the map is good until the caller drops it.
 */
HslXlate hsl_map(HslQueue *q, uint64_t va, uint64_t len, bool write,
                 uint64_t ahead, HslOperand *op, HslWait *wait, HslMap *map)
{
    HslState *s = q->s;
    HslHit *at = &map->at, next;
    uint64_t size;
    HslXlate x;

    if (hsl_lookup(s, q->space, va, write, at)) {
        hsl_count(q, HSL_CNT_ATC_HITS, 1);
    } else {
        x = hsl_miss(q, va, write, ahead, op, wait);
        if (x != HSL_X_OK) {
            return x;
        }
        if (!hsl_lookup(s, q->space, va, write, at)) {
            /* Invalidated while it was on its way: later, others first */
            return HSL_X_GONE;
        }
    }
    /* A ring may be readable for ever and its next entry never writable */
    if (wait->about == ((va & HSL_PAGE_MASK) | write)) {
        hsl_wait_reset(wait);
    }

    /* Pages that follow each other in memory too make one piece */
    for (size = at->left; size < len; size += next.left) {
        if (!hsl_lookup(s, q->space, va + size, write, &next) ||
            next.gpa != at->gpa + size || next.local != at->local ||
            next.node != at->node) {
            break;
        }
        /* The oracle judges a piece by one epoch */
        if (s->oracle &&
            (next.epoch != at->epoch ||
             (at->bus_space >= 0 && (next.bus_epoch != at->bus_epoch ||
                                     next.bus != at->bus + size)))) {
            break;
        }
    }
    map->va = va;
    map->space = q->space;
    return hsl_map_hit(s, q, map, MIN(size, len), wait);
}

void hsl_map_written(HslState *s, HslMap *map, uint64_t offset, uint64_t len)
{
    address_space_cache_invalidate(&map->win->cache, map->in + offset, len);
}

static void hsl_oracle_judge(HslState *s, uint64_t epoch, uint16_t space,
                             uint64_t va, uint64_t len)
{
    if (hsl_invalidated_since(s, epoch, space, va & HSL_PAGE_MASK,
                              (va + len - 1) | ~HSL_PAGE_MASK)) {
        s->counters[HSL_CNT_ORACLE_BREACHES]++;
        trace_hsl_oracle_breach(space, s->spaces[space].xlate,
                                s->spaces[space].pasid, va, len);
    }
}

/* To be called after an access, the lock not dropped since hsl_map() */
void hsl_map_check(HslState *s, const HslMap *map)
{
    const HslHit *at = &map->at;

    if (!s->oracle) {
        return;
    }
    s->counters[HSL_CNT_ORACLE_CHECKS]++;
    hsl_oracle_judge(s, at->epoch, map->space, map->va, map->len);
    if (at->bus_space >= 0) {
        hsl_oracle_judge(s, at->bus_epoch, at->bus_space, at->bus, map->len);
    }
}

void hsl_oracle_set(HslState *s, bool on)
{
    /* Old entries would be judged by a log that does not reach back so far */
    if (on && !s->oracle) {
        for (uint32_t i = 0; i < s->nr_spaces; i++) {
            s->spaces[i].gen++;
        }
    }
    s->oracle = on;
}

/* Address spaces. All with the BQL held and the lock not held. */

static void hsl_space_unregister(HslState *s, HslSpace *sp)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t pasid = sp->xlate == HSL_XLATE_BUS ? PCI_NO_PASID : sp->pasid;

    if (sp->iotlb_registered) {
        uint8_t *pasid_ctrl = pdev->config + pdev->exp.pasid_cap +
                              PCI_PASID_CTRL;
        uint16_t ctrl = pci_get_word(pasid_ctrl);

        /* Refused while the guest has PASID disabled, but has to be done */
        if (s->iommu_xlate) {
            pci_set_word(pasid_ctrl, ctrl | PCI_PASID_CTRL_ENABLE);
        }
        pci_iommu_unregister_iotlb_notifier(pdev, pasid, &sp->iotlb);
        if (s->iommu_xlate) {
            pci_set_word(pasid_ctrl, ctrl);
        }
        sp->iotlb_registered = false;
    }
    if (sp->pri_registered) {
        pci_pri_unregister_notifier(pdev, pasid);
        sp->pri_registered = false;
    }
}

/* Refused while bus mastering is off, but to listen sends nothing */
static bool hsl_space_listen(HslState *s, HslSpace *sp)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    bool is_master = pdev->is_master, ok;

    pdev->is_master = true;
    ok = !pci_pri_register_notifier(pdev, sp->pasid, &sp->pri);
    pdev->is_master = is_master;
    return ok;
}

/* Of a context, or of all that have the same translations */
static int hsl_space_new(HslState *s, uint32_t xlate, uint32_t pasid)
{
    HslSpace *sp = s->spaces;

    while (sp->refs) {
        sp++;
    }
    hsl_lock(s);
    sp->xlate = xlate;
    sp->pasid = pasid;
    sp->identity = false;
    sp->gen++;
    hsl_unlock(s);
    return sp - s->spaces;
}

static int hsl_space_share(HslState *s, uint32_t xlate, uint32_t pasid)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t page_size;
    uint8_t bits;
    HslSpace *sp;
    int n;

    for (n = 0; n < s->nr_spaces; n++) {
        sp = &s->spaces[n];
        if (sp->refs && sp->xlate == xlate && sp->pasid == pasid) {
            if (sp->iotlb_registered &&
                (!pcie_ats_enabled(pdev) ||
                 (xlate == HSL_XLATE_IOMMU && !pcie_pasid_enabled(pdev)))) {
                return -1;
            }
            sp->refs++;
            return n;
        }
    }
    n = hsl_space_new(s, xlate, pasid);
    sp = &s->spaces[n];
    sp->limit = BIT_ULL(HSL_BUS_BITS);
    iommu_notifier_init(&sp->iotlb, hsl_iotlb_notify,
                        IOMMU_NOTIFIER_DEVIOTLB_UNMAP, 0, HWADDR_MAX, 0);
    sp->pri.notify = hsl_pri_notify;
    switch (xlate) {
    case HSL_XLATE_BUS:
        /* Without an IOMMU bus addresses are physical: nothing to listen to */
        if (pci_device_iommu_address_space(pdev) == &address_space_memory) {
            sp->identity = true;
        } else {
            if (!pcie_ats_enabled(pdev) ||
                pci_iommu_register_iotlb_notifier(pdev, PCI_NO_PASID,
                                                  &sp->iotlb)) {
                return -1;
            }
            sp->iotlb_registered = true;
        }
        break;
    case HSL_XLATE_IOMMU:
        /* QEMU's IOMMU never forgets a PASID: bound what a guest can use up */
        if (!g_hash_table_contains(s->pasids, GUINT_TO_POINTER(pasid))) {
            if (g_hash_table_size(s->pasids) >= 2 * s->nr_contexts) {
                return -1;
            }
            g_hash_table_add(s->pasids, GUINT_TO_POINTER(pasid));
        }
        if (!s->iommu_xlate || !pcie_ats_enabled(pdev) ||
            pci_iommu_register_iotlb_notifier(pdev, pasid, &sp->iotlb)) {
            return -1;
        }
        sp->iotlb_registered = true;
        sp->pri_registered = hsl_space_listen(s, sp);
        if (s->pri && !sp->pri_registered) {
            hsl_space_unregister(s, sp);
            return -1;
        }
        if (pci_iommu_get_iotlb_info(pdev, &bits, &page_size)) {
            bits = HSL_VA_BITS;
        }
        /* The upper half of what it translates is the kernel's */
        sp->limit = BIT_ULL(bits - 1);
        break;
    default:
        return -1;
    }
    sp->refs = 1;
    trace_hsl_space_get(n, xlate, pasid);
    return n;
}

int hsl_space_get(HslState *s, uint32_t context)
{
    const HslContext *c = &s->contexts[context];
    HslSpace *sp;
    int n, bus;

    if (c->xlate != HSL_XLATE_DEVICE) {
        return hsl_space_share(s, c->xlate,
                               c->xlate == HSL_XLATE_IOMMU ? c->pasid : 0);
    }
    if (!s->device_xlate || (c->root & ~HSL_PTE_ADDR)) {
        return -1;
    }
    bus = hsl_space_share(s, HSL_XLATE_BUS, 0);
    if (bus < 0) {
        return -1;
    }
    n = hsl_space_new(s, HSL_XLATE_DEVICE, 0);
    sp = &s->spaces[n];
    sp->limit = BIT_ULL(HSL_PT_VA_BITS);
    sp->context = context;
    sp->bus = bus;
    sp->root = c->root;
    sp->refs = 1;
    trace_hsl_space_get(n, c->xlate, context);
    return n;
}

void hsl_space_put(HslState *s, int space)
{
    HslSpace *sp = &s->spaces[space];

    if (--sp->refs) {
        return;
    }
    trace_hsl_space_put(space, sp->xlate, sp->pasid);
    hsl_lock(s);
    sp->gen++;
    hsl_space_drop_requests(s, space);
    hsl_unlock(s);
    hsl_space_unregister(s, sp);
    if (sp->xlate == HSL_XLATE_DEVICE) {
        hsl_space_put(s, sp->bus);
    }
}

void hsl_xlate_init(HslState *s)
{
    s->atc_sets = s->atc_entries / HSL_ATC_WAYS;
    s->atc = qemu_memalign(sizeof(*s->atc), sizeof(*s->atc) * s->atc_entries);
    memset(s->atc, 0, sizeof(*s->atc) * s->atc_entries);
    s->nr_spaces = s->nr_contexts + 1;
    s->spaces = g_new0(HslSpace, s->nr_spaces);
    for (uint32_t i = 0; i < s->nr_spaces; i++) {
        s->spaces[i].s = s;
    }
    s->pasids = g_hash_table_new(NULL, NULL);
    s->retry_timer = timer_new_ms(QEMU_CLOCK_REALTIME, hsl_retry_timer, s);
    s->delay_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, hsl_retry_timer, s);
    s->listener = (MemoryListener) {
        .name = "hsl",
        .commit = hsl_listener_commit,
    };
    memory_listener_register(&s->listener, &address_space_memory);
}

void hsl_xlate_exit(HslState *s)
{
    memory_listener_unregister(&s->listener);
    hsl_lock(s);
    hsl_windows_clear(s);
    hsl_unlock(s);
    timer_del(s->retry_timer);
    timer_del(s->delay_timer);
}

void hsl_xlate_free(HslState *s)
{
    if (s->pasids) {
        g_hash_table_destroy(s->pasids);
    }
    timer_free(s->retry_timer);
    timer_free(s->delay_timer);
    qemu_vfree(s->atc);
    g_free(s->spaces);
}
