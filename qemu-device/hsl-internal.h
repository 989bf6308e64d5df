/*
 * HSL-like accelerator endpoint: device state and internal interfaces
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_HSL_INTERNAL_H
#define HW_HSL_INTERNAL_H

#include "hw/pci/pci_device.h"
#include "hw/pci/pci.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "system/hostmem.h"
#include "system/memory.h"
#include "system/memory_cached.h"
#include "system/runstate.h"
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
#define HSL_PRGS            64
/* Page requests outstanding; of 3 devices they fit Linux's VT-d queue */
#define HSL_PRI_CAPACITY    512
/* Translations without progress after which an access is a fault */
#define HSL_MAX_RETRIES     64
#define HSL_ATC_WAYS        4
#define HSL_INV_LOG         1024
#define HSL_WINDOWS         64
#define HSL_MAX_VECTORS     1024
#define HSL_MAX_RING_ORDER  16
#define HSL_EVQ_ORDER_MAX   14
#define HSL_EVENTS          256
#define HSL_COALESCE_USECS_MAX  1000000

#define HSL_ALL_OPS         (BIT_ULL(HSL_OP_NR) - 1)

/* A piece of guest RAM mapped in this process: guest physical to pointer */
typedef struct HslWindow {
    hwaddr base;
    MemoryRegionCache cache;
} HslWindow;

/*
 * An address space translations belong to: a PASID (shared by the contexts
 * that use it) or the bus address space.
 */
typedef struct HslSpace {
    HslState *s;
    uint32_t refs;
    uint32_t gen;               /* cached translations of an older one are void */
    enum hsl_xlate xlate;
    uint32_t pasid;
    uint64_t limit;             /* first address that cannot be translated */
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
    int32_t space;              /* index in HslState.spaces, -1: none */
} HslContext;

typedef struct HslAtcEntry {
    uint64_t va;                /* page | its order; 0: free */
    uint64_t gpa;
    uint64_t epoch;             /* HslState.epoch when it was asked for */
    uint32_t space_gen;
    uint16_t space;
    uint8_t perm;
} HslAtcEntry;

typedef struct HslInv {
    uint64_t start, last;
    uint16_t space;
} HslInv;

/* A page request group under way */
typedef struct HslPrg {
    bool used;
    uint16_t prgi;
    uint16_t space;
    uint16_t pages;
    uint16_t queue;
    bool write;
    uint64_t start, last;
} HslPrg;

/* A mapped piece of guest memory, valid while the lock is held */
typedef struct HslMap {
    uint8_t *ptr;
    uint64_t len;
    uint64_t va;
    hwaddr gpa;
    uint64_t epoch;
    uint16_t space;
    HslWindow *win;
} HslMap;

typedef enum HslXlate {
    HSL_X_OK,
    HSL_X_WAIT,                 /* a page request is under way */
    HSL_X_FAULT,
    HSL_X_BUS_ERROR,
    HSL_X_GONE,                 /* the lock was dropped and the queue changed */
} HslXlate;

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
    bool refused;               /* the last page request came back invalid */
    bool single;                /* ask for one page only */
    uint64_t about;             /* page, | 1 for a write, of what is above */
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

typedef struct HslSlot {
    bool busy;
    HslDesc d;
    uint32_t done;
    uint64_t result;
    uint64_t addr;
    uint8_t status;
    uint8_t access;
    bool finished;              /* only the completion is left to write */
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
    /* state */
    uint8_t state, error;
    uint32_t run;               /* +1 at every start and stop */
    int32_t space;
    uint32_t sq_head, sq_tail;
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
    uint32_t nr_busy;
    QEMUTimer *coalesce_timer;
    /* written by any vCPU without a lock */
    uint32_t db_tail;
    bool db_rung;
    uint64_t doorbells;
} HslQueue;

struct HslState {
    PCIDevice parent_obj;
    MemoryRegion ctrl_bar, db_bar, mem_bar;
    MemoryRegion *mem;

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
    bool pri;
    bool ignore_invalidations;

    /*
     * Lock order: BQL, then the IOMMU's, then this one. The engine holds this
     * one for at most HSL_CHUNK of work and takes no other lock under it; what
     * needs the BQL or the IOMMU it does after dropping it and looks again.
     */
    QemuMutex lock;
    uint32_t lock_waiters;      /* atomic: somebody other than the engine */
    QemuThread thread;          /* holds a reference to the device */
    QemuEvent wake;
    QemuCond exited_cond;
    bool exited;
    bool quit;
    bool paused;                /* the virtual machine does not run */
    bool bus_master;
    VMChangeStateEntry *vmstate_entry;

    /* control registers */
    uint32_t ctrl, generation;
    bool oracle;
    bool evq_error;
    uint64_t evq_base;
    uint32_t evq_order, evq_vector, evq_ctrl, evq_head, evq_tail, evq_lost;
    HslEvent faults[HSL_EVENTS];        /* to be written to the event queue */
    uint32_t nr_faults;
    uint64_t counters[HSL_CNT_NR];
    uint64_t doorbells;         /* atomic */

    HslContext *contexts;
    HslSpace *spaces;           /* nr_contexts of them */
    HslQueue *queues;
    unsigned long *db_bitmap;   /* atomic: doorbells not yet looked at */
    unsigned long *active;      /* queues the engine looks at in every pass */
    uint32_t drops;             /* times the engine let the lock go */
    unsigned long *tell;        /* queues with something to deliver */
    unsigned long *vectors;     /* hsl_bql_work()'s own */
    bool bql_work;              /* atomic: something waits for the BQL */

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
    QEMUTimer *retry_timer;
};

/* hsl-xlate.c */
void hsl_xlate_init(HslState *s);
void hsl_xlate_exit(HslState *s);
void hsl_xlate_free(HslState *s);
int hsl_space_get(HslState *s, uint32_t xlate, uint32_t pasid);
void hsl_space_put(HslState *s, int space);
HslXlate hsl_map(HslQueue *q, uint64_t va, uint64_t len, bool write,
                 uint64_t ahead, HslOperand *op, HslWait *wait, HslMap *map);
void hsl_map_written(HslState *s, HslMap *map, uint64_t offset, uint64_t len);
void hsl_map_check(HslState *s, const HslMap *map);
void hsl_windows_trim(HslState *s);
bool hsl_waiting(const HslWait *wait);
void hsl_wait_reset(HslWait *wait);
bool hsl_queue_has_requests(HslQueue *q);
void hsl_oracle_set(HslState *s, bool on);

/* hsl-queue.c */
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
void hsl_bql_work(HslState *s);

/* hsl-ctrl.c */
extern const MemoryRegionOps hsl_ctrl_ops;
extern const MemoryRegionOps hsl_db_ops;
void hsl_reset(HslState *s);

static inline uint32_t hsl_caps(const HslState *s)
{
    return HSL_CAP_XLATE_BUS | HSL_CAP_XLATE_IOMMU | HSL_CAP_ORACLE |
           (s->mem ? HSL_CAP_MEM : 0);
}

static inline void hsl_count(HslQueue *q, enum hsl_counter c, uint64_t n)
{
    q->s->counters[c] += n;
    q->counters[c] += n;
}

#endif /* HW_HSL_INTERNAL_H */
