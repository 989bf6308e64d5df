/*
 * HSL-like accelerator endpoint: the PCI function
 *
 * An open, HSL-like coherent accelerator: Documentation/hardware/ of the HSL
 * stack specifies it, hsl_hw.h is its register header. This file is the shell:
 * configuration space, BARs, properties, migration. The work is done in
 * hsl-engine.c and what it calls.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/core/boards.h"
#include "hw/core/qdev-properties.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "migration/vmstate.h"
#include "system/tcg.h"
#include "hsl-internal.h"
#include "trace.h"

/* Configuration space */
#define HSL_CFG_MSIX        0x60
#define HSL_CFG_EXP         0x80
#define HSL_CFG_AER         0x100
#define HSL_CFG_ATS         0x150
#define HSL_CFG_PASID       0x160
#define HSL_CFG_PRI         0x170
#define HSL_CFG_DVSEC       0x180
#define HSL_PASID_BITS      20

/* BARs */
#define HSL_BAR_CTRL        0
#define HSL_BAR_DB          2
#define HSL_BAR_MEM         4

static void hsl_dvsec_init(HslState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *dvsec = pdev->config + HSL_CFG_DVSEC;

    pcie_add_capability(pdev, PCI_EXT_CAP_ID_DVSEC, 1, HSL_CFG_DVSEC,
                        HSL_DVSEC_LEN);
    pci_set_long(dvsec + PCI_DVSEC_HEADER1, HSL_DVSEC_VENDOR |
                 HSL_DVSEC_REV << 16 | HSL_DVSEC_LEN << 20);
    pci_set_word(dvsec + PCI_DVSEC_HEADER2, HSL_DVSEC_ID);
    pci_set_word(dvsec + HSL_DVSEC_VERSION, s->version);
    pci_set_long(dvsec + HSL_DVSEC_CAPS, hsl_caps(s));
    pci_set_byte(dvsec + HSL_DVSEC_CTRL_BAR, HSL_BAR_CTRL);
    pci_set_byte(dvsec + HSL_DVSEC_DB_BAR, HSL_BAR_DB);
    pci_set_byte(dvsec + HSL_DVSEC_MEM_BAR,
                 s->mem ? HSL_BAR_MEM : HSL_BAR_NONE);
    pci_set_byte(dvsec + HSL_DVSEC_NR_PORTS, hsl_nr_ports(s));
}

static bool hsl_check_properties(HslState *s, Error **errp)
{
    if (s->nr_queues < 1 || s->nr_queues > HSL_MAX_QUEUES) {
        error_setg(errp, "queues must be 1 to %u", HSL_MAX_QUEUES);
    } else if (s->nr_contexts < 1 || s->nr_contexts > HSL_MAX_CONTEXTS) {
        error_setg(errp, "contexts must be 1 to %u", HSL_MAX_CONTEXTS);
    } else if (s->nr_vectors < 1 || s->nr_vectors > HSL_MAX_VECTORS) {
        error_setg(errp, "vectors must be 1 to %u", HSL_MAX_VECTORS);
    } else if (s->ring_order < 1 || s->ring_order > HSL_MAX_RING_ORDER) {
        error_setg(errp, "ring-order must be 1 to %u", HSL_MAX_RING_ORDER);
    } else if (s->max_xfer < 4096 || s->max_xfer > 2 * GiB) {
        error_setg(errp, "max-xfer must be 4096 to 2147483648");
    } else if (s->ops & ~HSL_ALL_OPS) {
        error_setg(errp, "ops has bits outside 0x%llx", HSL_ALL_OPS);
    } else if (!is_power_of_2(s->atc_entries) || s->atc_entries < 64 ||
               s->atc_entries > 1 << 20) {
        error_setg(errp, "atc-entries must be a power of two, 64 to 1048576");
    } else if (s->poll_us > 1000000) {
        error_setg(errp, "poll-us must be at most 1000000");
    } else if (!s->memdev && s->memsize &&
               (!is_power_of_2(s->memsize) || s->memsize < 1 * MiB)) {
        error_setg(errp, "memsize must be a power of two, 1M at least");
    } else if (s->memdev && host_memory_backend_is_mapped(s->memdev)) {
        error_setg(errp, "memdev is used by another device");
    } else if (s->memdev && !is_power_of_2(memory_region_size(
                   host_memory_backend_get_memory(s->memdev)))) {
        error_setg(errp, "the size of memdev must be a power of two");
    } else {
        return true;
    }
    return false;
}

/* Where one vCPU at a time runs, TCG takes an atomic for a load and a store */
static bool hsl_atomics_are_none(void)
{
    return tcg_enabled() &&
           (!qemu_tcg_mttcg_enabled() ||
            MACHINE(qdev_get_machine())->smp.max_cpus == 1);
}

static void hsl_coalesce_timer(void *opaque)
{
    HslQueue *q = opaque;

    hsl_lock(q->s);
    hsl_queue_interrupt(q);
    hsl_unlock(q->s);
    qemu_event_set(&q->s->wake);
}

static void hsl_queues_init(HslState *s)
{
    s->queues = g_new0(HslQueue, s->nr_queues);
    s->contexts = g_new0(HslContext, s->nr_contexts);
    s->db_bitmap = bitmap_new(s->nr_queues);
    s->active = bitmap_new(s->nr_queues);
    s->tell = bitmap_new(s->nr_queues);
    s->vectors = bitmap_new(s->nr_vectors);
    s->evq_owner = g_new0(uint16_t, 1 << HSL_EVQ_ORDER_MAX);
    for (uint32_t i = 0; i < s->nr_contexts; i++) {
        s->contexts[i].space = -1;
    }
    for (uint32_t i = 0; i < s->nr_queues; i++) {
        s->queues[i].s = s;
        s->queues[i].id = i;
        s->queues[i].coalesce_timer = timer_new_us(QEMU_CLOCK_VIRTUAL,
                                                   hsl_coalesce_timer,
                                                   &s->queues[i]);
        hsl_queue_reset(&s->queues[i]);
    }
}

static void hsl_queues_free(HslState *s)
{
    for (uint32_t i = 0; s->queues && i < s->nr_queues; i++) {
        timer_free(s->queues[i].coalesce_timer);
    }
    g_free(s->queues);
    g_free(s->contexts);
    g_free(s->db_bitmap);
    g_free(s->active);
    g_free(s->tell);
    g_free(s->vectors);
    g_free(s->evq_owner);
}

static void hsl_realize(PCIDevice *pdev, Error **errp)
{
    HslState *s = HSL(pdev);

    if (!hsl_check_properties(s, errp) || !hsl_link_check(s, errp)) {
        return;
    }
    if (hsl_atomics_are_none()) {
        warn_report_once("the guest's atomics are not atomic towards the "
                         "device without thread=multi and maxcpus=2");
    }
    pci_set_word(pdev->config + PCI_VENDOR_ID, s->vendor_id);
    pci_set_word(pdev->config + PCI_DEVICE_ID, s->device_id);
    pci_set_word(pdev->config + PCI_SUBSYSTEM_VENDOR_ID, s->vendor_id);
    pci_set_word(pdev->config + PCI_SUBSYSTEM_ID, s->device_id);

    memory_region_init_io(&s->ctrl_bar, OBJECT(s), &hsl_ctrl_ops, s,
                          "hsl-ctrl", HSL_CTRL_BAR_SIZE);
    pci_register_bar(pdev, HSL_BAR_CTRL, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &s->ctrl_bar);
    memory_region_init_io(&s->lockless, OBJECT(s), &hsl_lockless_ops, s,
                          "hsl-lockless",
                          HSL_REG_FAULT_RESPONSE + 0x1000 - HSL_REG_INVS);
    memory_region_enable_lockless_io(&s->lockless);
    memory_region_add_subregion(&s->ctrl_bar, HSL_REG_INVS, &s->lockless);
    memory_region_init_io(&s->db_bar, OBJECT(s), &hsl_db_ops, s,
                          "hsl-doorbell",
                          pow2ceil(s->nr_queues) * HSL_DB_STRIDE);
    memory_region_enable_lockless_io(&s->db_bar);
    pci_register_bar(pdev, HSL_BAR_DB, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &s->db_bar);

    if (pcie_endpoint_cap_init(pdev, HSL_CFG_EXP) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        goto exit_link;
    }
    pcie_cap_deverr_init(pdev);
    pcie_cap_flr_init(pdev);
    if (pcie_aer_init(pdev, PCI_ERR_VER, HSL_CFG_AER, PCI_ERR_SIZEOF,
                      errp) < 0) {
        goto exit_cap;
    }
    pcie_ats_init(pdev, HSL_CFG_ATS, true);
    /* A card without the one way of translation lacks all it takes */
    s->pri &= s->iommu_xlate;
    if (s->iommu_xlate) {
        pcie_pasid_init(pdev, HSL_CFG_PASID, HSL_PASID_BITS, false, false);
    }
    if (s->pri) {
        pcie_pri_init(pdev, HSL_CFG_PRI, HSL_PRI_CAPACITY, true);
    }
    if (msix_init(pdev, s->nr_vectors, &s->ctrl_bar, HSL_BAR_CTRL,
                  HSL_MSIX_TABLE, &s->ctrl_bar, HSL_BAR_CTRL, HSL_MSIX_PBA,
                  HSL_CFG_MSIX, errp)) {
        goto exit_aer;
    }
    for (uint32_t i = 0; i < s->nr_vectors; i++) {
        msix_vector_use(pdev, i);
    }
    if (!hsl_mem_init(s, errp)) {
        goto exit_msix;
    }
    if (s->mem) {
        pci_register_bar(pdev, HSL_BAR_MEM, PCI_BASE_ADDRESS_SPACE_MEMORY |
                         PCI_BASE_ADDRESS_MEM_TYPE_64 |
                         PCI_BASE_ADDRESS_MEM_PREFETCH, s->mem);
    }
    hsl_dvsec_init(s);
    hsl_queues_init(s);
    hsl_xlate_init(s);
    hsl_link_join(s);
    hsl_engine_start(s);
    return;

exit_msix:
    msix_uninit(pdev, &s->ctrl_bar, &s->ctrl_bar);
exit_aer:
    pcie_aer_exit(pdev);
exit_cap:
    pcie_cap_exit(pdev);
exit_link:
    hsl_link_unblock(s);
}

static void hsl_exit(PCIDevice *pdev)
{
    HslState *s = HSL(pdev);

    hsl_engine_stop(s);
    hsl_link_leave(s);
    hsl_reset(s);
    hsl_xlate_exit(s);
    hsl_mem_exit(s);
    msix_uninit(pdev, &s->ctrl_bar, &s->ctrl_bar);
    pcie_aer_exit(pdev);
    pcie_cap_exit(pdev);
}

static void hsl_reset_hold(Object *obj, ResetType type)
{
    HslState *s = HSL(obj);
    PCIDevice *pdev = PCI_DEVICE(s);

    hsl_reset(s);
    hsl_lock(s);
    s->bus_master = false;
    hsl_unlock(s);
    pcie_cap_deverr_reset(pdev);
    pci_set_word(pdev->config + HSL_CFG_ATS + PCI_ATS_CTRL, 0);
    if (s->iommu_xlate) {
        pci_set_word(pdev->config + HSL_CFG_PASID + PCI_PASID_CTRL, 0);
    }
    if (s->pri) {
        pci_set_word(pdev->config + HSL_CFG_PRI + PCI_PRI_CTRL, 0);
        pci_set_long(pdev->config + HSL_CFG_PRI + PCI_PRI_ALLOC_REQ, 0);
    }
}

/* What the IOMMU may be asked for, by the registers of ATS and PASID */
static uint32_t hsl_may_ask(HslState *s)
{
    const uint8_t *config = PCI_DEVICE(s)->config;
    uint16_t pasid = !s->iommu_xlate ? 0 :
                     pci_get_word(config + HSL_CFG_PASID + PCI_PASID_CTRL);

    return (pci_get_word(config + HSL_CFG_ATS + PCI_ATS_CTRL) &
            PCI_ATS_CTRL_ENABLE) | pasid;
}

static void hsl_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val,
                             int len)
{
    HslState *s = HSL(pdev);
    uint32_t asks = hsl_may_ask(s);
    bool bus_master;

    pci_default_write_config(pdev, addr, val, len);
    pcie_cap_flr_write_config(pdev, addr, val, len);
    pcie_aer_write_config(pdev, addr, val, len);

    if (hsl_may_ask(s) != asks) {
        hsl_atc_void(s);
    }
    bus_master = pci_get_word(pdev->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
    if (bus_master != s->bus_master) {
        hsl_lock(s);
        s->bus_master = bus_master;
        hsl_unlock(s);
        qemu_event_set(&s->wake);
    }
}

static int hsl_pre_load(void *opaque)
{
    hsl_reset(opaque);
    hsl_mem_pre_load(opaque);
    return 0;
}

/* The order of one that is off may be anything; what is unread is looked at */
static bool hsl_reports_sane(const HslReports *r)
{
    bool on = r->ctrl & HSL_EVQ_ENABLE;

    return (!on || r->order <= HSL_EVQ_ORDER_MAX) &&
           r->tail - r->head <= BIT(on ? r->order : HSL_EVQ_ORDER_MAX);
}

/*
 * Of a queue that does not run only what is still to be told is looked at. At
 * rest it has nothing to tell: its registers may be written.
 */
static bool hsl_queue_loadable(const HslQueue *q)
{
    const HslState *s = q->s;

    return q->state <= HSL_Q_FAILED &&
           (!q->irq_pending || (q->state == HSL_Q_RUNNING &&
                                q->vector < s->nr_vectors)) &&
           (!q->error_event || (q->state == HSL_Q_FAILED &&
                                q->context < s->nr_contexts)) &&
           (q->state != HSL_Q_RUNNING ||
            (q->context < s->nr_contexts && hsl_queue_sane(q)));
}

/*
 * Translations are not migrated: they are asked for again. The same holds for
 * page requests and faults under way, whose answers went to the source, or come
 * with a tag that is not known.
 */
static int hsl_post_load(void *opaque, int version_id)
{
    HslState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    s->bus_master = pci_get_word(pdev->config + PCI_COMMAND) &
                    PCI_COMMAND_MASTER;
    if (s->nr_faults > HSL_EVENTS || !hsl_reports_sane(&s->evq) ||
        !hsl_reports_sane(&s->fltq) || !hsl_peers_sane(s)) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < s->nr_faults; i++) {
        if (s->faults[i].context >= s->nr_contexts) {
            return -EINVAL;
        }
    }
    for (uint32_t i = 0; i < s->nr_queues; i++) {
        if (!hsl_queue_loadable(&s->queues[i])) {
            return -EINVAL;
        }
        hsl_queue_run_loaded(&s->queues[i]);
    }
    for (uint32_t i = 0; i < s->nr_contexts; i++) {
        if (s->contexts[i].pasid >> HSL_PASID_BITS) {
            return -EINVAL;
        }
    }
    for (uint32_t i = 0; i < s->nr_contexts; i++) {
        HslContext *c = &s->contexts[i];

        if (c->ctrl & HSL_CTX_VALID) {
            int space = hsl_space_get(s, i);

            /* The guest may have turned ATS or PASID off in the meantime */
            hsl_lock(s);
            c->space = space;
            c->ctrl = space < 0 ? HSL_CTX_ERROR : HSL_CTX_VALID;
            hsl_unlock(s);
        }
    }

    hsl_lock(s);
    hsl_peers_update(s);
    for (uint32_t i = 0; i < s->nr_queues; i++) {
        HslQueue *q = &s->queues[i];

        if (q->error_event || q->irq_pending) {
            hsl_event_tell(q);
        }
        if (q->state == HSL_Q_STOPPING) {
            q->state = HSL_Q_STOPPED;
        }
        if (q->state != HSL_Q_RUNNING) {
            continue;
        }
        if (s->contexts[q->context].space < 0) {
            hsl_queue_fail(q, HSL_QERR_CONTEXT, 0, 0);
            continue;
        }
        q->space = s->contexts[q->context].space;
        q->nr_busy = 0;
        for (int j = 0; j < HSL_SLOTS; j++) {
            HslSlot *slot = &q->slots[j];

            slot->dst.requested = slot->src.requested = 0;
            slot->d.reserved = false;
            /* The clock of another host: from here on */
            q->timing[j].start = get_clock();
            q->nr_busy += slot->busy;
            if (slot->busy && (slot->done > slot->d.len ||
                               (!slot->finished &&
                                !hsl_op_valid(s, &slot->d)))) {
                hsl_unlock(s);
                return -EINVAL;
            }
        }
        if (q->irq_hold && q->coalesce_count > 1) {
            timer_mod(q->coalesce_timer, qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) +
                                         q->coalesce_usecs);
        }
        set_bit(i, s->active);
    }
    qatomic_set(&s->bql_work, true);
    hsl_unlock(s);
    qemu_event_set(&s->wake);
    return 0;
}

static const VMStateDescription vmstate_hsl_reports = {
    .name = "hsl/reports",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(base, HslReports),
        VMSTATE_UINT32(order, HslReports),
        VMSTATE_UINT32(vector, HslReports),
        VMSTATE_UINT32(ctrl, HslReports),
        VMSTATE_UINT32(head, HslReports),
        VMSTATE_UINT32(tail, HslReports),
        VMSTATE_BOOL(error, HslReports),
        VMSTATE_BOOL(error_told, HslReports),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_hsl_context = {
    .name = "hsl/context",
    .version_id = 2,
    .minimum_version_id = 2,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(ctrl, HslContext),
        VMSTATE_UINT32(xlate, HslContext),
        VMSTATE_UINT32(pasid, HslContext),
        VMSTATE_UINT64(root, HslContext),
        VMSTATE_UINT64(inv_start, HslContext),
        VMSTATE_UINT64(inv_last, HslContext),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_hsl_event = {
    .name = "hsl/event",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT16(type, HslEvent),
        VMSTATE_UINT8(code, HslEvent),
        VMSTATE_UINT8(access, HslEvent),
        VMSTATE_UINT32(queue, HslEvent),
        VMSTATE_UINT32(context, HslEvent),
        VMSTATE_UINT32(pasid, HslEvent),
        VMSTATE_UINT64(addr, HslEvent),
        VMSTATE_UINT64(user_data, HslEvent),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_hsl_slot = {
    .name = "hsl/slot",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(busy, HslSlot),
        VMSTATE_UINT8(d.op, HslSlot),
        VMSTATE_UINT8(d.flags, HslSlot),
        VMSTATE_UINT32(d.len, HslSlot),
        VMSTATE_UINT64(d.user_data, HslSlot),
        VMSTATE_UINT64(d.dst, HslSlot),
        VMSTATE_UINT64(d.src, HslSlot),
        VMSTATE_UINT64_ARRAY(d.operand, HslSlot, 2),
        VMSTATE_UINT32(done, HslSlot),
        VMSTATE_UINT64(result, HslSlot),
        VMSTATE_UINT64(addr, HslSlot),
        VMSTATE_UINT8(status, HslSlot),
        VMSTATE_UINT8(access, HslSlot),
        VMSTATE_BOOL(finished, HslSlot),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_hsl_queue = {
    .name = "hsl/queue",
    .version_id = 4,
    .minimum_version_id = 4,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(context, HslQueue),
        VMSTATE_UINT32(vector, HslQueue),
        VMSTATE_UINT64(sq_base, HslQueue),
        VMSTATE_UINT64(cq_base, HslQueue),
        VMSTATE_UINT64(ctl_base, HslQueue),
        VMSTATE_UINT32(sq_order, HslQueue),
        VMSTATE_UINT32(cq_order, HslQueue),
        VMSTATE_UINT64(ops, HslQueue),
        VMSTATE_UINT32(coalesce_count, HslQueue),
        VMSTATE_UINT32(coalesce_usecs, HslQueue),
        VMSTATE_UINT32(priority, HslQueue),
        VMSTATE_UINT32(routes, HslQueue),
        VMSTATE_UINT8(state, HslQueue),
        VMSTATE_UINT8(error, HslQueue),
        VMSTATE_UINT32(sq_head, HslQueue),
        VMSTATE_UINT32(sq_tail, HslQueue),
        VMSTATE_UINT32(tail_word, HslQueue),
        VMSTATE_UINT32(run, HslQueue),
        VMSTATE_UINT64(signal, HslQueue),
        VMSTATE_UINT64(fetched, HslQueue),
        VMSTATE_BOOL(fencing, HslQueue),
        VMSTATE_UINT32(sq_head_seen, HslQueue),
        VMSTATE_UINT32(cq_tail, HslQueue),
        VMSTATE_UINT32(cq_head, HslQueue),
        VMSTATE_UINT32(cq_event_seen, HslQueue),
        VMSTATE_BOOL(armed, HslQueue),
        VMSTATE_BOOL(irq_hold, HslQueue),
        VMSTATE_UINT32(irq_held, HslQueue),
        VMSTATE_BOOL(irq_pending, HslQueue),
        VMSTATE_BOOL(error_event, HslQueue),
        VMSTATE_UINT64(error_addr, HslQueue),
        VMSTATE_UINT8(error_access, HslQueue),
        VMSTATE_UINT64_ARRAY(counters, HslQueue, HSL_Q_CNT_NR),
        VMSTATE_UINT32(db_tail, HslQueue),
        VMSTATE_BOOL(db_rung, HslQueue),
        VMSTATE_UINT64(doorbells, HslQueue),
        VMSTATE_STRUCT_ARRAY(slots, HslQueue, HSL_SLOTS, 1, vmstate_hsl_slot,
                             HslSlot),
        VMSTATE_STRUCT_ARRAY(timing, HslQueue, HSL_SLOTS, 1,
                             vmstate_hsl_timing, HslTiming),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_hsl = {
    .name = "hsl",
    .version_id = 7,
    .minimum_version_id = 7,
    .pre_load = hsl_pre_load,
    .post_load = hsl_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, HslState),
        VMSTATE_STRUCT(parent_obj.exp.aer_log, HslState, 0,
                       vmstate_pcie_aer_log, PCIEAERLog),
        VMSTATE_MSIX(parent_obj, HslState),
        VMSTATE_UINT32_EQUAL(nr_queues, HslState),
        VMSTATE_UINT32_EQUAL(nr_contexts, HslState),
        VMSTATE_UINT32(ctrl, HslState),
        VMSTATE_UINT32(generation, HslState),
        VMSTATE_BOOL(oracle, HslState),
        VMSTATE_STRUCT(evq, HslState, 1, vmstate_hsl_reports, HslReports),
        VMSTATE_UINT32(evq_lost, HslState),
        VMSTATE_STRUCT(fltq, HslState, 1, vmstate_hsl_reports, HslReports),
        VMSTATE_UINT32(response_tag, HslState),
        VMSTATE_UINT32(next_tag, HslState),
        VMSTATE_UINT16(next_prgi, HslState),
        VMSTATE_UINT32(nr_faults, HslState),
        VMSTATE_STRUCT_ARRAY(faults, HslState, HSL_EVENTS, 1,
                             vmstate_hsl_event, HslEvent),
        VMSTATE_UINT64_ARRAY(counters, HslState, HSL_CNT_NR),
        VMSTATE_UINT64(doorbells, HslState),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(contexts, HslState, nr_contexts,
                                             vmstate_hsl_context, HslContext),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(queues, HslState, nr_queues,
                                             vmstate_hsl_queue, HslQueue),
        VMSTATE_STRUCT_ARRAY(peers, HslState, HSL_MAX_PEERS, 1,
                             vmstate_hsl_peer, HslPeer),
        VMSTATE_STRUCT_ARRAY(signals, HslState, HSL_MAX_SIGNALS, 1,
                             vmstate_hsl_signal, HslSignal),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_hsl_poison,
        NULL
    },
};

static const Property hsl_properties[] = {
    DEFINE_PROP_UINT32("queues", HslState, nr_queues, 256),
    DEFINE_PROP_UINT32("contexts", HslState, nr_contexts, 256),
    DEFINE_PROP_UINT32("vectors", HslState, nr_vectors, 32),
    DEFINE_PROP_UINT32("ring-order", HslState, ring_order, 12),
    DEFINE_PROP_UINT32("max-xfer", HslState, max_xfer, 1 * GiB),
    DEFINE_PROP_UINT64("ops", HslState, ops, HSL_ALL_OPS),
    /* Not used when there is a memdev; 0: no device memory */
    DEFINE_PROP_SIZE("memsize", HslState, memsize, 256 * MiB),
    DEFINE_PROP_LINK("memdev", HslState, memdev, TYPE_MEMORY_BACKEND,
                     HostMemoryBackend *),
    DEFINE_PROP_UINT16("vendor-id", HslState, vendor_id, PCI_VENDOR_ID_QEMU),
    DEFINE_PROP_UINT16("device-id", HslState, device_id, HSL_DVSEC_ID),
    DEFINE_PROP_UINT32("atc-entries", HslState, atc_entries, 65536),
    DEFINE_PROP_UINT32("poll-us", HslState, poll_us, 50),
    DEFINE_PROP_BOOL("pri", HslState, pri, true),
    DEFINE_PROP_BOOL("iommu-xlate", HslState, iommu_xlate, true),
    DEFINE_PROP_BOOL("device-xlate", HslState, device_xlate, true),
    DEFINE_PROP_BOOL("timed", HslState, timed, true),
    DEFINE_PROP_LINK("fabric", HslState, fabric, TYPE_HSL_FABRIC, HslFabric *),
    DEFINE_PROP_UINT32("node", HslState, node, HSL_NODE_NONE),
    /* For tests of what a driver makes of another one */
    DEFINE_PROP_UINT16("x-version", HslState, version, HSL_VERSION),
};

static bool hsl_get_ignore_invalidations(Object *obj, Error **errp)
{
    return HSL(obj)->ignore_invalidations;
}

static void hsl_set_ignore_invalidations(Object *obj, bool value, Error **errp)
{
    HslState *s = HSL(obj);

    hsl_lock(s);
    s->ignore_invalidations = value;
    hsl_unlock(s);
}

/* What x-fail may name, by enum hsl_fail */
static const char *const hsl_fail_names[HSL_FAIL_NR] = {
    [HSL_FAIL_STOP] = "stop",
    [HSL_FAIL_CONTEXTS] = "contexts",
    [HSL_FAIL_QUEUES] = "queues",
    [HSL_FAIL_START] = "start",
    [HSL_FAIL_INVALIDATIONS] = "invalidations",
    [HSL_FAIL_EVENTS] = "events",
    [HSL_FAIL_EVENT_WRITES] = "event-writes",
    [HSL_FAIL_FAULT_WRITES] = "fault-writes",
};

static char *hsl_get_fail(Object *obj, Error **errp)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (int i = 0; i < HSL_FAIL_NR; i++) {
        if (hsl_fails(HSL(obj), i)) {
            g_string_append_printf(text, "%s%s", text->len ? "+" : "",
                                   hsl_fail_names[i]);
        }
    }
    return g_string_free(g_steal_pointer(&text), false);
}

static void hsl_set_fail(Object *obj, const char *value, Error **errp)
{
    g_auto(GStrv) words = g_strsplit(value, "+", -1);
    HslState *s = HSL(obj);
    uint32_t fail = 0;

    for (int w = 0; words[w]; w++) {
        int i = 0;

        while (i < HSL_FAIL_NR && strcmp(words[w], hsl_fail_names[i])) {
            i++;
        }
        if (i == HSL_FAIL_NR) {
            error_setg(errp, "x-fail: '%s' is none of stop, contexts, queues, "
                       "start, invalidations, events, event-writes and "
                       "fault-writes", words[w]);
            return;
        }
        fail |= BIT(i);
    }
    hsl_lock(s);
    s->fail = fail;
    hsl_unlock(s);
}

static void hsl_instance_init(Object *obj)
{
    HslState *s = HSL(obj);

    qemu_mutex_init(&s->lock);
    qemu_event_init(&s->wake, false);
}

/*
 * A vCPU may be in hsl_db_write(), which takes no lock, while the device is
 * unrealized, and so may the engine be on its way out. Both keep the object
 * alive: what they touch goes here.
 */
static void hsl_instance_finalize(Object *obj)
{
    HslState *s = HSL(obj);

    hsl_xlate_free(s);
    hsl_queues_free(s);
    hsl_mem_free(s);
    qemu_event_destroy(&s->wake);
    qemu_mutex_destroy(&s->lock);
}

static void hsl_class_init(ObjectClass *klass, const void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    pc->realize = hsl_realize;
    pc->exit = hsl_exit;
    pc->config_write = hsl_config_write;
    pc->vendor_id = PCI_VENDOR_ID_QEMU;
    pc->device_id = HSL_DVSEC_ID;
    pc->class_id = HSL_PCI_CLASS >> 8;
    pc->revision = HSL_VERSION_MAJOR;
    rc->phases.hold = hsl_reset_hold;
    dc->desc = "HSL-like cache-coherent accelerator";
    dc->vmsd = &vmstate_hsl;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, hsl_properties);
    object_class_property_add_bool(klass, "x-ignore-invalidations",
                                   hsl_get_ignore_invalidations,
                                   hsl_set_ignore_invalidations);
    object_class_property_set_description(klass, "x-ignore-invalidations",
        "fault injection: keep translations that were invalidated, "
        "for the oracle to find");
    object_class_property_add_str(klass, "x-fail", hsl_get_fail, hsl_set_fail);
    object_class_property_set_description(klass, "x-fail",
        "fault injection: what the device does not do, words with + between: "
        "stop, contexts, queues, start, invalidations, events");
    hsl_mem_class_init(klass);
}

static const TypeInfo hsl_types[] = {
    {
        .name = TYPE_HSL,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(HslState),
        .instance_init = hsl_instance_init,
        .instance_finalize = hsl_instance_finalize,
        .class_init = hsl_class_init,
        .interfaces = (const InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { },
        },
    },
};

DEFINE_TYPES(hsl_types)
