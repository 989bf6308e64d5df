/*
 * HSL-like accelerator endpoint: device state and internal interfaces
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_HSL_INTERNAL_H
#define HW_HSL_INTERNAL_H

#include "hw/pci/pci_device.h"
#include "hw/pci/pci.h"
#include "qemu/bitops.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "system/hostmem.h"
#include "system/memory.h"
#include "system/memory_cached.h"
#include "system/runstate.h"
#include "hsl-fabric.h"
#include "hsl_hw.h"

#define TYPE_HSL "hsl"
OBJECT_DECLARE_SIMPLE_TYPE(HslState, HSL)

/* Descriptors of one queue that may be under way at the same time */
#define HSL_SLOTS           16
/* Largest piece of work under the lock: what an invalidation may wait for */
#define HSL_CHUNK           (64 * KiB)
/* Pages in one page request group, and groups sent ahead of an operation */
#define HSL_PRG_PAGES       32
#define HSL_PRG_AHEAD       3
#define HSL_PRGS_ORDER      6
#define HSL_PRGS            (1 << HSL_PRGS_ORDER)
/* Page requests outstanding; of 3 devices they fit Linux's VT-d queue */
#define HSL_PRI_CAPACITY    512
/* Translations without progress after which an access is a fault */
#define HSL_MAX_RETRIES     64
#define HSL_ATC_WAYS        4
#define HSL_INV_LOG         1024
#define HSL_WINDOWS         64
/* Last tables of walks remembered per address space, a power of two */
#define HSL_WALKS           4
#define HSL_MAX_VECTORS     1024
#define HSL_MAX_RING_ORDER  16
#define HSL_PAGE_ORDER      12
#define HSL_PAGE_SIZE       BIT_ULL(HSL_PAGE_ORDER)
#define HSL_PAGE_MASK       (~(HSL_PAGE_SIZE - 1))
#define HSL_HUGE_ORDER      21
/* VT-d takes these for interrupts, with a PASID too */
#define HSL_MSI_FIRST       0xfee00000ull
#define HSL_MSI_LAST        0xfeefffffull
#define HSL_EVQ_ORDER_MAX   14
#define HSL_EVENTS          256
#define HSL_COALESCE_USECS_MAX  1000000

#define HSL_ALL_OPS         (BIT_ULL(HSL_OP_NR) - 1)

/* A piece of guest RAM mapped in this process: guest physical to pointer */
typedef struct HslWindow {
    hwaddr base;
    MemoryRegionCache cache;
} HslWindow;

/* The last table of a walk, for the 2 MiB that it maps */
typedef struct HslWalk {
    uint64_t va;                /* of the 2 MiB, | 1; 0: free */
    uint64_t table;             /* bus address */
    uint64_t epoch;
    uint32_t gen;
} HslWalk;

/*
 * An address space translations belong to: a PASID or the bus address space
 * (shared by the contexts that use it), or the page tables of one context,
 * which lead to bus addresses: those are translated in a space of their own.
 */
typedef struct HslSpace {
    HslState *s;
    uint32_t refs;
    uint32_t gen;               /* cached translations of older ones are void */
    uint32_t changes;           /* +1 whenever some translations were dropped */
    enum hsl_xlate xlate;
    uint32_t pasid;
    uint64_t limit;             /* first address that cannot be translated */
    bool identity;              /* bus addresses without an IOMMU: physical */
    bool huge;                  /* the last hit was a large translation */
    uint32_t context;           /* HSL_XLATE_DEVICE: the one it belongs to, */
    int32_t bus;                /* the space of its bus addresses, */
    uint64_t root;              /* the top table and */
    HslWalk walks[HSL_WALKS];   /* what is remembered of walks */
    IOMMUNotifier iotlb;
    IOMMUPRINotifier pri;
    uint32_t prg_pages, prgs;   /* page requests outstanding, in groups */
    bool iotlb_registered;
    bool pri_registered;
} HslSpace;

typedef struct HslContext {
    uint32_t ctrl;
    uint32_t xlate;
    uint32_t pasid;
    uint64_t root;
    uint64_t inv_start, inv_last;
    uint32_t events;            /* fault events in the event queue, unread */
    int32_t space;              /* index in HslState.spaces, -1: none */
} HslContext;

typedef struct HslAtcEntry {
    uint64_t va;                /* page | its order; 0: free */
    uint64_t gpa;               /* HSL_XLATE_DEVICE: bus address, or offset */
    uint64_t epoch;             /* HslState.epoch when it was asked for */
    uint32_t space_gen;
    uint16_t space;
    uint8_t perm;               /* IOMMUAccessFlags */
    bool local;                 /* gpa is an offset in device memory */
    uint8_t node;               /* of this node + 1; 0: own */
    uint8_t out_perm;           /* of the following; 0: not known */
    uint32_t out_changes;       /* HslSpace.changes of the bus when right */
    uint64_t out;               /* what the bus address gpa translates to */
    uint64_t out_epoch;
} QEMU_ALIGNED(64) HslAtcEntry;

typedef struct HslInv {
    uint64_t start, last;
    uint16_t space;
} HslInv;

/* A page request group, or a fault of the device's own tables, under way */
typedef struct HslPrg {
    bool used;
    bool device;                /* a fault */
    bool pending;               /* fault: to be written to the fault queue */
    uint32_t tag;               /* fault: of its record; else the PRG index */
    uint16_t space;
    uint16_t pages;             /* requested, 0 for a fault */
    uint16_t queue;
    bool write;
    uint32_t ahead;             /* fault: pages the operation goes on to */
    uint32_t asked;             /* request: which pages from start on */
    uint64_t start, last;
} HslPrg;

/* What an address translates to */
typedef struct HslHit {
    hwaddr gpa;                 /* local: an offset in device memory */
    uint64_t left;              /* bytes from there on that follow each other */
    uint64_t epoch;
    bool local;
    uint8_t node;               /* local: of this node + 1; 0: own */
    int32_t bus_space;          /* -1: translated once, else again as this */
    uint64_t bus, bus_epoch;
} HslHit;

/* Whose memory it is and, of a peer's, the way to it: in the order of HW 6 */
typedef enum HslWay {
    HSL_WAY_HOST,
    HSL_WAY_OWN,
    HSL_WAY_LINK,
    HSL_WAY_PCIE,
    HSL_WAY_VIA_HOST,
} HslWay;

/* Where a peer's memory appears on the bus */
typedef struct HslPeer {
    uint64_t base, size;
    uint32_t node, ctrl;
} HslPeer;

/* The right of a context to ring a queue */
typedef struct HslSignal {
    uint32_t user, node, queue, ctrl;
    uint32_t run;               /* of that queue when it became valid */
} HslSignal;

/* A mapped piece of guest memory, valid while the lock is held */
typedef struct HslMap {
    uint8_t *ptr;
    uint64_t len;
    uint64_t va;
    uint16_t space;
    HslHit at;
    HslWindow *win;
    hwaddr in;                  /* offset in it */
    HslState *owner;            /* of device memory: the device */
    HslWay way;
    uint32_t node;              /* HSL_WAY_LINK: of the owner */
} HslMap;

typedef enum HslXlate {
    HSL_X_OK,
    HSL_X_WAIT,                 /* a page request or a fault is under way */
    HSL_X_FAULT,
    HSL_X_BUS_ERROR,
    HSL_X_POISON,
    HSL_X_UNREACHABLE,          /* no way to a peer that the queue may take */
    HSL_X_LINK_ERROR,           /* the link was lost on the way */
    HSL_X_GONE,                 /* the lock was dropped and the queue changed */
} HslXlate;

/* The event queue or the fault queue: a ring that the device fills */
typedef struct HslReports {
    uint64_t base;
    uint32_t order, vector, ctrl, head, tail;
    bool error;                 /* unreachable; cleared by enabling it anew */
    bool error_told;            /* by an interrupt */
} HslReports;

/* struct hsl_hw_event before it is written */
typedef struct HslEvent {
    uint16_t type;
    uint8_t code, access;
    uint32_t queue, context, pasid;
    uint64_t addr, user_data;
} HslEvent;

/* What a slot or a ring waits for */
typedef struct HslWait {
    int16_t prg;                /* index in HslState.prgs, -1: nothing */
    uint16_t retries;
    bool backoff;               /* until HslState.retry_timer */
    bool room;                  /* or until there is room for a request */
    uint8_t answer;             /* enum hsl_fault_code, the last one */
    bool single;                /* ask for one page only, and not by another */
    uint64_t about;             /* page | 1 for a write, or HSL_ABOUT_NOTHING */
    int64_t until;              /* of a link's delay, virtual clock; 0: none */
} HslWait;

typedef struct HslOperand {
    uint64_t requested;         /* page requests were sent up to here */
    HslWait wait;
} HslOperand;

/* struct hsl_desc as read, in host byte order */
typedef struct HslDesc {
    uint8_t op, flags;
    bool reserved;              /* a reserved field was not 0 */
    uint32_t len;
    uint64_t user_data, dst, src;
    uint64_t operand[2];
} HslDesc;

/* What an operand takes in the model of HW 7.6, in picoseconds */
typedef struct HslFlow {
    uint64_t fixed, stream;     /* of the runs that are over */
    uint64_t run_fixed, run_stream; /* of the one that goes on, so far */
    uint64_t bytes;             /* of that one */
    uint32_t since;             /* its path, */
    uint32_t node;
    uint8_t way;                /* HslWay, */
    bool there;                 /* and its direction */
    bool asked;                 /* an atomic: the packet there asks for it */
} HslFlow;

/* Of a slot whose descriptor is TIMED */
typedef struct HslTiming {
    int64_t start;              /* host clock */
    HslFlow dst, src;
} HslTiming;

typedef struct HslSlot {
    bool busy;
    HslDesc d;
    uint32_t done;
    uint64_t result;
    uint64_t addr;
    uint8_t status;
    uint8_t access;
    bool finished;              /* only the completion is left to write */
    bool linked;                /* has moved bytes over the link */
    HslOperand dst, src;
} HslSlot;

typedef struct HslQueue {
    HslState *s;
    uint32_t id;
    /* registers */
    uint32_t context, vector;
    uint64_t sq_base, cq_base, ctl_base;
    uint32_t sq_order, cq_order;
    uint64_t ops;
    uint32_t coalesce_count, coalesce_usecs;
    uint32_t priority;
    uint32_t routes;
    /* state */
    uint8_t state, error;
    uint32_t run;               /* another at every start and stop, not 0 */
    int32_t space;
    uint32_t sq_head, sq_tail;
    uint32_t tail_word;         /* sq_tail in the control words, as last seen */
    uint64_t fetched;           /* sq_head without the wrap */
    bool fencing;               /* a FENCE is in a slot: fetch nothing more */
    uint32_t sq_head_seen;      /* what the process was told */
    uint32_t cq_tail, cq_head;
    uint32_t cq_event_seen;     /* cq_event was checked up to here */
    bool armed;                 /* db_needed is set, the doorbell wakes us */
    bool irq_hold;              /* an interrupt waits to be coalesced */
    uint32_t irq_held;          /* completions it has gathered */
    bool irq_pending;
    bool error_event;           /* a QUEUE_ERROR event waits to be sent */
    uint64_t error_addr;
    uint8_t error_access;
    uint64_t counters[HSL_Q_CNT_NR];
    HslWait wait;               /* for the rings and control words */
    HslSlot slots[HSL_SLOTS];
    HslTiming timing[HSL_SLOTS];
    uint32_t nr_busy;
    QEMUTimer *coalesce_timer;
    /* written by any vCPU without a lock */
    uint32_t db_tail;
    bool db_rung;
    uint64_t doorbells;
    /* written by any engine without a lock: run << 32 | tail; 0: nothing */
    uint64_t signal;
} HslQueue;

/* What a device that is told to by x-fail does not do */
enum hsl_fail {
    HSL_FAIL_STOP,              /* queues go on when RUN = 0 is written */
    HSL_FAIL_CONTEXTS,          /* every context is refused */
    HSL_FAIL_QUEUES,            /* every start of a queue is refused */
    HSL_FAIL_START,             /* every queue that starts fails at once */
    HSL_FAIL_INVALIDATIONS,     /* the STATUS of each reads BUSY for ever */
    HSL_FAIL_EVENTS,            /* EVQ_TAIL is wrong */
    HSL_FAIL_EVENT_WRITES,      /* the event queue cannot be written */
    HSL_FAIL_FAULT_WRITES,      /* nor can the fault queue */
    HSL_FAIL_NR,
};

struct HslState {
    PCIDevice parent_obj;
    MemoryRegion ctrl_bar, lockless, db_bar, mem_bar, mem_alias;
    MemoryRegion *mem;
    AddressSpace mem_as;        /* device memory alone */
    HslWindow local;            /* all of it */
    int32_t mem_pages;
    unsigned long *poison;      /* pages of it that have lost their contents, */
    unsigned long *poison_tell; /* the event of it still to be sent */
    uint64_t nr_poisoned;
    bool poison_told;           /* nothing in poison_tell */

    /* properties */
    uint32_t nr_queues, nr_contexts, nr_vectors;
    uint32_t ring_order;
    uint32_t max_xfer;
    uint64_t ops;
    uint64_t memsize;
    HostMemoryBackend *memdev;
    uint16_t vendor_id, device_id;
    uint32_t atc_entries;
    uint32_t poll_us;
    bool rang;                  /* another device, in this pass; the engine's */
    bool pri;
    bool iommu_xlate, device_xlate;
    bool timed;
    bool ignore_invalidations;
    uint32_t fail;              /* bits of enum hsl_fail */
    uint16_t version;
    HslFabric *fabric;
    uint32_t node;

    /*
     * Lock order: BQL, then the IOMMU's, then this one. The engine holds this
     * one for at most HSL_CHUNK of work and takes no other lock under it but a
     * fabric's, the innermost; what needs the BQL or the IOMMU it does after
     * dropping it and looks again.
     */
    QemuMutex lock;
    uint32_t lock_waiters;      /* atomic: somebody other than the engine */
    QemuThread thread;          /* holds a reference to the device */
    QemuEvent wake;
    bool quit;
    bool paused;                /* the virtual machine does not run */
    bool bus_master;
    VMChangeStateEntry *vmstate_entry;

    /* control registers */
    uint32_t ctrl, generation;
    bool oracle;
    HslReports evq, fltq;
    uint16_t *evq_owner;        /* of faults unread, by index: context + mark */
    uint32_t evq_lost;
    uint32_t response_tag;      /* low half of a FAULT_RESPONSE */
    HslEvent faults[HSL_EVENTS];        /* to be written to the event queue */
    uint32_t nr_faults;
    uint64_t counters[HSL_CNT_NR];
    uint64_t doorbells;         /* atomic */

    HslContext *contexts;
    HslSpace *spaces;           /* one per context and one of bus addresses */
    uint32_t nr_spaces;
    HslQueue *queues;
    unsigned long *db_bitmap;   /* atomic: doorbells not yet looked at */
    unsigned long *active;      /* queues the engine looks at in every pass */
    uint32_t drops;             /* times the engine let the lock go */
    unsigned long *tell;        /* queues with something to deliver */
    unsigned long *vectors;     /* hsl_bql_work()'s own */
    bool bql_work;              /* atomic: something waits for the BQL */
    bool urgent;                /* and it does not wait for the pass to end */

    /* translation */
    HslWindow windows[HSL_WINDOWS];
    uint32_t nr_windows;
    bool windows_full;
    MemoryListener listener;
    HslAtcEntry *atc;
    uint32_t atc_sets;
    uint32_t atc_victim;
    HslInv inv_log[HSL_INV_LOG];
    uint64_t epoch;             /* invalidations so far */
    HslPrg prgs[HSL_PRGS];
    uint32_t prg_pages, nr_prgs;    /* page requests outstanding, in groups */
    GHashTable *pasids;         /* all that were ever used */
    uint16_t next_prgi;
    uint32_t next_tag;          /* not reused: answers may come late */
    QEMUTimer *retry_timer;
    QEMUTimer *delay_timer;     /* what a link delays goes on */

    /* the link */
    bool joined;
    uint32_t port_tell;         /* atomic: events of ports still to be sent */
    HslPeer peers[HSL_MAX_PEERS];
    uint32_t peers_valid;       /* bitmap */
    uint32_t peer_ways[HSL_MAX_NODES];  /* HSL_PEER_* of the valid ones */
    uint32_t paths_version;     /* of the fabric's states that paths[] is of */
    HslPath paths[HSL_MAX_NODES];
    Error *migration_blocker;
    HslSignal signals[HSL_MAX_SIGNALS];
};

/* hsl-xlate.c */
void hsl_xlate_init(HslState *s);
void hsl_xlate_exit(HslState *s);
void hsl_xlate_free(HslState *s);
int hsl_space_get(HslState *s, uint32_t context);
void hsl_space_put(HslState *s, int space);
HslXlate hsl_map(HslQueue *q, uint64_t va, uint64_t len, bool write,
                 uint64_t ahead, HslOperand *op, HslWait *wait, HslMap *map);
void hsl_map_written(HslState *s, HslMap *map, uint64_t offset, uint64_t len);
void hsl_map_check(HslState *s, const HslMap *map);
void hsl_windows_trim(HslState *s);
static inline bool hsl_xlate_failed(HslXlate x)
{
    return x != HSL_X_OK && x != HSL_X_WAIT && x != HSL_X_GONE;
}
bool hsl_waiting(const HslWait *wait);
void hsl_wait_reset(HslWait *wait);
bool hsl_queue_has_requests(HslQueue *q);
void hsl_oracle_set(HslState *s, bool on);
bool hsl_invalidated_since(HslState *s, uint64_t epoch, uint16_t space,
                           uint64_t start, uint64_t last);
void hsl_invalidate(HslState *s, uint16_t space, uint64_t start, uint64_t last);
void hsl_atc_void(HslState *s);
bool hsl_lookup(HslState *s, uint16_t space, uint64_t va, bool write,
                HslHit *hit);
HslXlate hsl_map_hit(HslState *s, HslQueue *q, HslMap *map, uint64_t len,
                     HslWait *wait);
HslXlate hsl_ats(HslQueue *q, uint16_t space, uint64_t page, unsigned pages,
                 bool write, uint32_t *missing);
HslAtcEntry *hsl_atc_lookup(HslState *s, uint16_t space, uint64_t va,
                            bool write, unsigned *order);
void hsl_atc_insert(HslState *s, uint16_t space, uint64_t va, unsigned order,
                    const HslAtcEntry *to);
void hsl_wait_about(HslWait *wait, uint64_t page, bool write);
HslPrg *hsl_prg_new(HslQueue *q, HslPrg prg);
bool hsl_prg_release(HslState *s, int i, enum hsl_fault_code answer);
void hsl_backoff(HslState *s, HslWait *wait);
void hsl_wait_for_room(HslState *s, HslWait *wait);
bool hsl_delayed(HslState *s, HslWait *wait, uint64_t ns);

/* hsl-walk.c */
HslXlate hsl_walk_miss(HslQueue *q, uint64_t va, bool write, uint64_t ahead,
                       HslWait *wait);
void hsl_walk_forget(HslSpace *sp, uint64_t start, uint64_t last);
void hsl_queue_drop_faults(HslQueue *q);
bool hsl_fault_response(HslState *s, uint32_t tag, uint32_t code);
bool hsl_faults_pending(HslState *s);
void hsl_faults_refuse(HslState *s);

/* hsl-mem.c */
extern const VMStateDescription vmstate_hsl_poison;
bool hsl_mem_init(HslState *s, Error **errp);
void hsl_mem_exit(HslState *s);
void hsl_mem_free(HslState *s);
void hsl_mem_reset(HslState *s);
void hsl_mem_pre_load(HslState *s);
void hsl_mem_class_init(ObjectClass *klass);
HslXlate hsl_mem_check(HslState *s, HslMap *map);

/* hsl-link.c */
extern const VMStateDescription vmstate_hsl_peer;
bool hsl_link_check(HslState *s, Error **errp);
void hsl_link_join(HslState *s);
void hsl_link_leave(HslState *s);
void hsl_link_unblock(HslState *s);
void hsl_link_reset(HslState *s);
uint32_t hsl_nr_ports(const HslState *s);
void hsl_peers_update(HslState *s);
bool hsl_peers_sane(HslState *s);
const HslPeer *hsl_peer_at(HslState *s, hwaddr gpa, uint64_t *len);
HslXlate hsl_peer_map(HslQueue *q, HslMap *map, const HslPeer *peer,
                      uint64_t offset, uint64_t len, HslWait *wait);
HslXlate hsl_map_carry(HslState *s, const HslMap *map, uint64_t len, bool write,
                       const uint8_t *payload, size_t stride, HslWait *wait,
                       HslFlow *flow);
HslState *hsl_link_device(HslState *s, uint32_t node);
HslXlate hsl_link_message(HslQueue *q, uint32_t node, const uint8_t *payload,
                          size_t len, HslWait *wait, HslFlow *flow,
                          HslState **owner);
bool hsl_link_addr(hwaddr addr);
uint64_t hsl_link_read(HslState *s, hwaddr addr, unsigned size);
void hsl_link_write(HslState *s, hwaddr addr, uint64_t val, unsigned size);

/* hsl-signal.c */
extern const VMStateDescription vmstate_hsl_signal;
bool hsl_signal_addr(hwaddr addr);
uint64_t hsl_signal_read(HslState *s, hwaddr addr);
void hsl_signal_write(HslState *s, hwaddr addr, uint64_t val);
HslXlate hsl_signal_send(HslQueue *q, const HslDesc *d, HslWait *wait,
                         HslFlow *flow, enum hsl_status *status);

/* hsl-model.c */
extern const VMStateDescription vmstate_hsl_timing;
uint64_t hsl_model_replay(const HslPath *path, unsigned hop, uint64_t n);
void hsl_model_link(HslFlow *flow, const HslPath *path, uint32_t node,
                    bool there, uint64_t bytes, uint64_t replay_ps);
void hsl_model_memory(HslFlow *flow, HslWay way, uint64_t bytes);
uint64_t hsl_model_result(const HslTiming *t);

/* hsl-queue.c */
typedef enum HslTail {
    HSL_TAIL_AHEAD,
    HSL_TAIL_PASSED,            /* says nothing new */
    HSL_TAIL_BAD,
} HslTail;
HslTail hsl_queue_tail_check(const HslQueue *q, uint32_t tail);
void hsl_queue_run_loaded(HslQueue *q);
bool hsl_queue_sane(const HslQueue *q);
void hsl_queue_start(HslQueue *q);
void hsl_queue_stop(HslQueue *q);
void hsl_queue_settle(HslQueue *q);
void hsl_queue_fail(HslQueue *q, enum hsl_q_error error, uint64_t addr,
                    uint8_t access);
bool hsl_queue_step(HslQueue *q);
bool hsl_queue_arm(HslQueue *q);
void hsl_queue_reset(HslQueue *q);
void hsl_queue_interrupt(HslQueue *q);

/* hsl-ops.c */
bool hsl_op_valid(HslState *s, const HslDesc *d);
HslXlate hsl_op_step(HslQueue *q, HslSlot *slot);

/* hsl-engine.c */
void hsl_lock(HslState *s);
void hsl_unlock(HslState *s);
void hsl_engine_lock(HslState *s);
void hsl_engine_start(HslState *s);
void hsl_engine_stop(HslState *s);
bool hsl_may_run(HslState *s);

/* hsl-event.c */
void hsl_event_fault(HslQueue *q, const HslSlot *slot);
void hsl_event_tell(HslQueue *q);
bool hsl_reports_on(const HslReports *r);
bool hsl_evq_waits(HslState *s);
void hsl_evq_read(HslState *s, uint32_t head);
void hsl_bql_work(HslState *s);

/* hsl-ctrl.c */
extern const MemoryRegionOps hsl_ctrl_ops;
extern const MemoryRegionOps hsl_lockless_ops;
extern const MemoryRegionOps hsl_db_ops;
void hsl_reset(HslState *s);

/* One half or the whole of a 64-bit register */
static inline void hsl_set64(uint64_t *reg, hwaddr addr, uint64_t val,
                             unsigned size)
{
    if (size == 8) {
        *reg = val;
    } else {
        *reg = deposit64(*reg, addr & 4 ? 32 : 0, 32, val);
    }
}

static inline uint32_t hsl_caps(const HslState *s)
{
    return HSL_CAP_XLATE_BUS | HSL_CAP_ORACLE |
           (s->iommu_xlate ? HSL_CAP_XLATE_IOMMU : 0) |
           (s->device_xlate ? HSL_CAP_XLATE_DEVICE : 0) |
           (s->mem ? HSL_CAP_MEM : 0) | (s->fabric ? HSL_CAP_LINK : 0) |
           (s->timed ? HSL_CAP_TIMED : 0);
}

static inline bool hsl_fails(const HslState *s, enum hsl_fail what)
{
    return unlikely(s->fail & BIT(what));
}

static inline bool hsl_is_msi(uint64_t addr)
{
    return addr >= HSL_MSI_FIRST && addr <= HSL_MSI_LAST;
}

/* Where to note what @slot takes; NULL: it is not TIMED */
static inline HslTiming *hsl_timing(HslQueue *q, const HslSlot *slot)
{
    return unlikely(slot->d.flags & HSL_DESC_F_TIMED) ?
           &q->timing[slot - q->slots] : NULL;
}

static inline void hsl_count(HslQueue *q, enum hsl_counter c, uint64_t n)
{
    q->s->counters[c] += n;
    q->counters[c] += n;
}

/* The operand @map has been read or written */
static inline void hsl_map_count(HslState *s, const HslMap *map, uint64_t n)
{
    s->counters[HSL_CNT_HOST_BYTES + map->way] += n;
}

#endif /* HW_HSL_INTERNAL_H */
