/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hsl.ko: what its files share. Documentation/driver-api/hsl.rst tells the
 * story of the objects below.
 */
#ifndef _HSL_DRV_H
#define _HSL_DRV_H

#include <linux/cdev.h>
#include <linux/cleanup.h>
#include <linux/device.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <linux/hsl.h>

#if defined(CONFIG_DEVICE_MIGRATION) && defined(CONFIG_DMA_SHARED_BUFFER)
#define HSL_HAVE_BUFS
#endif

#define HSL_MAX_DEVICES		256u

struct dma_buf;
struct eventfd_ctx;
struct hsl_context;
struct hsl_device;
struct hsl_mem_owner;
struct hsl_memory;
struct hsl_mirror;
struct hsl_mm_watch;
struct hsl_port;
struct hsl_queue;
struct hsl_user;
struct iommu_sva;
struct seq_file;

/*
 * Lock order, outermost first (queue, context, mirror, device, event queue, vector, fault queue):
 * submit_lock, read_lock > ctx.lock > mmap_lock > db_lock, mirror.lock > hdev.lock > evq.lock >
 * event_lock > vec.lock > fltq.lock
 * hsl_peers_lock > hdev.lock, of any device, one at a time
 * ctx.lock > hsl_signals_lock > hdev.lock, of any device, one at a time
 * ctx.lock, mmap_lock > dma_resv of a dma-buf > mirror.lock, and what core mm takes to unmap
 * Device memory: mode_lock > bufs_lock > dma_resv > memory.lock
 * Device memory: mode_lock > evict_lock > what core mm takes to migrate pages > mirror.lock >
 * memory.lock, the innermost
 * ctx.lock, mode_lock, mmap_lock > map_lock > what core mm takes to map and unmap pages > mirror.lock
 *
 * Memory of a process is touched under submit_lock and read_lock only, which
 * neither reset nor removal takes: a process that stalls its own page faults
 * delays nobody else.
 *
 * Registers may be touched in four cases: hsl_device.lock is held and the
 * state is HSL_ALIVE; hsl_context.lock is held and the context is not dead;
 * hsl_mirror.lock is held and the mirror is not dead, for invalidations and
 * answers; or the caller has claimed the device, see reset.c.
 */

enum hsl_state {
	HSL_ALIVE,
	HSL_CLAIMED,	/* whoever set it owns the device until it sets another */
	HSL_BROKEN,	/* a reset failed or the bus is in error; another may help */
	HSL_GONE,	/* unbound or unplugged: final */
};

/* What the device reported, checked by hsl_hw_limits(). */
struct hsl_limits {
	u64 ops;
	u64 mem_size;
	u32 version;
	u32 caps;
	u32 nr_queues;
	u32 nr_contexts;
	u32 nr_vectors;
	u32 ring_order;
	u32 max_xfer;
	u32 evq_order;
	u32 fltq_order;		/* 0 without HSL_CAP_XLATE_DEVICE */
	u32 node;		/* HSL_NODE_NONE without HSL_CAP_LINK */
	u32 fabric;
	u32 nr_ports;
};

/* An interrupt vector and the queues that complete through it. */
struct hsl_vector {
	struct hsl_device *hdev;
	spinlock_t lock;	/* the list; eventfd[COMPLETION] and cq_seen of its queues */
	struct list_head queues;
	unsigned int nr_queues;
	u64 interrupts;
};

/* The device's event queue, see event.c. */
struct hsl_evq {
	struct mutex lock;	/* all below */
	struct hsl_hw_event *ring;
	dma_addr_t dma;
	u32 order;
	u32 head;
	bool on;
	bool uevents;		/* the device is in sysfs, and stays as long as this is set */
	u64 seen;
	u64 dropped;		/* events that made no sense */
};

/* The device's fault queue, see fault.c. */
struct hsl_fltq {
	spinlock_t lock;	/* all below; also taken in interrupts */
	struct hsl_hw_fault *ring;
	dma_addr_t dma;
	u32 head;
	u32 told;		/* the head that the device knows of */
	bool on;
	struct hsl_mirror **mirrors;	/* by context number */
	u64 seen;
	u64 dropped;		/* faults of contexts that are not there */
};

/* What a provider said of a device. */
struct hsl_sva_state {
	bool probed;		/* set at probe only: its gates are open */
	char why[256];		/* which gate failed, at probe or since; empty: none */
};

/* What a provider's bind() made of a context's address space. */
struct hsl_binding {
	const struct hsl_sva_ops *ops;
	u32 xlate;		/* enum hsl_xlate */
	u32 pasid;
	u64 root;
	struct iommu_sva *handle;	/* provider iommu */
	struct hsl_mirror *mirror;	/* provider hmm */
	char why[sizeof_field(struct hsl_query, sva_why)];
};

struct hsl_device {
	struct device dev;
	struct cdev cdev;
	int minor;
	struct pci_dev *pdev;	/* referenced; name and log outlive the binding */
	void __iomem *ctrl;
	void __iomem *db;
	u16 dvsec;
	u8 ctrl_bar;
	u8 db_bar;
	u8 mem_bar;
	struct hsl_limits limits;
	u32 max_queues;		/* one context may have */
	struct hsl_memory *memory;	/* NULL: has none */
	struct hsl_port *ports[HSL_MAX_PORTS];	/* in sysfs */
	struct list_head peer_node;	/* this and the next: hsl_peers_lock */
	struct hsl_device *peers[HSL_MAX_PEERS];	/* by PEER block */

	struct mutex lock;	/* all up to the blank line */
	enum hsl_state state;
	wait_queue_head_t state_wait;	/* HSL_CLAIMED ended */
	u32 generation;
	struct hsl_sva_state sva[HSL_SVA_NR];	/* by enum hsl_sva */
	struct hsl_context **contexts;	/* by context number; holds a reference */
	u32 next_context;
	unsigned int nr_open;
	unsigned long *queue_map;	/* hardware queues in use */
	unsigned long *stuck_map;	/* of these, did not stop: free at reset */
	unsigned long *drain_map;	/* of these, stopped, but the IOMMU owes an answer */
	u32 next_queue;

	DECLARE_BITMAP(signal_map, HSL_MAX_SIGNALS);	/* entries in use: hsl_signals_lock */

	spinlock_t event_lock;	/* up to the blank line; event ring, eventfd[ERROR] and failed */
	struct hsl_queue **queues;	/* by hardware queue number */
	u64 link_events;	/* so far */

	struct hsl_evq evq;
	struct hsl_fltq fltq;

	struct hsl_vector *vectors;
	unsigned int nr_vectors;
	unsigned int fault_vector;	/* 0: shared with the events */
	struct work_struct reset_work;	/* for whoever cannot wait for a reset */
	const char *reset_why;
	u32 reset_generation;	/* that shall end */
#ifdef CONFIG_DEBUG_FS
	struct dentry *debugfs;
#endif
};

/*
 * An open file: the opener's address space on this device. Holds the device
 * struct; lives until the file closes, however early its hardware goes away.
 */
struct hsl_context {
	struct kref kref;
	struct hsl_device *hdev;
	struct hsl_user *user;
	struct mm_struct *mm;	/* mmgrab: an identity that cannot be reused */
	pid_t tgid;
	struct hsl_mem_owner *memory;	/* NULL: the device has none */
	struct hsl_prefer *prefer;	/* once there, stays; own lock */

	struct mutex lock;	/* all up to the blank line; keeps the hardware there */
	bool dead;		/* once set, stays; a hint without the lock */
	bool quiet;		/* dead, and no queue runs any more; likewise */
	bool bound;
	u32 nr;			/* context number in the device */
	u32 generation;
	struct hsl_binding sva;
	struct hsl_mm_watch *watch;
	struct address_space *mapping;	/* of the file; NULL once it is closed */
	u64 counters[HSL_Q_CNT_NR];	/* of queues that are no more */
	u32 last_import;	/* handles that have been given out */

	struct list_head signals;	/* this and the next: hsl_signals_lock */
	u32 nr_signals;

	struct xarray queues;	/* by queue id; own lock, entries set under lock */
	wait_queue_head_t wait;

	struct mutex read_lock;	/* one reader of events at a time */
	struct hsl_event *events;	/* hsl_device.event_lock, as all below */
	u32 ev_head;
	u32 ev_tail;
	u32 ev_lost;
	u64 ev_lost_total;
	u64 link_event;		/* hsl_device.link_events that it was told last */
};

struct hsl_queue {
	struct kref kref;	/* the context, each mapping, each call under way */
	struct hsl_context *ctx;	/* whoever holds a queue holds the file */
	u32 id;
	u32 hwq;
	struct hsl_queue_create par;

	struct mutex submit_lock;	/* one submitting call at a time */
	struct mutex db_lock;	/* db_live, and every use of the doorbell page */
	bool db_live;
	struct page *sink;	/* under db_lock; behind mappings of a dead doorbell */
	struct list_head grants;	/* rights to ring it: hsl_signals_lock */

	struct hsl_vector *vector;
	struct list_head vector_node;
	u32 cq_seen;
	bool failed;		/* written under event_lock */
	struct eventfd_ctx *eventfd[HSL_EVENTFD_NR];
};

/*
 * A way to carry a process's addresses to the device. bind() fills xlate,
 * pasid or root, which context.c then writes to the device. The context may
 * have another binding at the same time, until that is done.
 */
struct hsl_sva_ops {
	const char *name;
	u32 id;			/* enum hsl_sva */
	bool notified;		/* bind() registers a notifier that takes the translation away */
	/* 0, or an errno and in @why the gate that failed and what opens it */
	int (*probe)(struct hsl_device *hdev, char *why, size_t len);
	void (*remove)(struct hsl_device *hdev);
	int (*bind)(struct hsl_context *ctx, struct hsl_binding *b, char *why, size_t len);
	/* The device has stopped using it. */
	void (*unbind)(struct hsl_context *ctx, struct hsl_binding *b);
	/*
	 * Optional: map for the device what the process has there, ahead of its
	 * faults. Called without locks; the context may have been bound anew.
	 */
	int (*map)(struct hsl_context *ctx, unsigned long start, unsigned long end, bool write);
	/* Optional. Page faults under way? Lines for fdinfo; hsl_context.lock is held. */
	bool (*busy)(struct hsl_binding *b);
	void (*show)(struct hsl_binding *b, struct seq_file *m);
};

/* An ioctl under way */
struct hsl_ucmd {
	struct hsl_context *ctx;
	void __user *ubuf;
	u32 user_size;
	u32 size;
	void *cmd;
};

#define HSL_CTX_EVENTS		256	/* records a context keeps */
#define HSL_CTX_EVENTS_SPARE	64	/* of these, only for queue errors */

/* reset.c */
bool hsl_hw_gone(struct hsl_device *hdev);
int hsl_hw_reset(struct hsl_device *hdev);
int hsl_hw_start(struct hsl_device *hdev);
void hsl_hw_stop(struct hsl_device *hdev);
enum hsl_state hsl_device_claim(struct hsl_device *hdev);
void hsl_device_yield(struct hsl_device *hdev, enum hsl_state state);
int hsl_device_wait(struct hsl_device *hdev);
void hsl_device_kill_contexts(struct hsl_device *hdev, bool reset);
void hsl_device_reset(struct hsl_device *hdev, const char *why);
void hsl_device_reset_later(struct hsl_device *hdev, const char *why);
void hsl_device_reset_work(struct work_struct *work);

/* coredump.c */
char *hsl_dump(struct hsl_device *hdev, const char *why, bool claimed, size_t *len);
void hsl_coredump(struct hsl_device *hdev, const char *why);

/* irq.c */
int hsl_irq_init(struct hsl_device *hdev);
void hsl_irq_exit(struct hsl_device *hdev);
struct hsl_vector *hsl_irq_vector(struct hsl_device *hdev, u32 hwq);
u32 hsl_irq_index(struct hsl_vector *vec);
void hsl_irq_add(struct hsl_queue *q);
void hsl_irq_del(struct hsl_queue *q);

/* chardev.c */
int hsl_chardev_init(void);
void hsl_chardev_exit(void);
struct hsl_device *hsl_device_alloc(struct pci_dev *pdev);
int hsl_device_add(struct hsl_device *hdev);
void hsl_device_del(struct hsl_device *hdev);
void hsl_device_put(struct hsl_device *hdev);
int hsl_ucmd_respond(struct hsl_ucmd *ucmd);

/* context.c */
struct hsl_context *hsl_context_open(struct hsl_device *hdev, struct file *file);
void hsl_context_close(struct hsl_context *ctx);
bool hsl_context_stop(struct hsl_context *ctx, ktime_t until);
int hsl_context_wait_quiet(struct hsl_context *ctx);
void hsl_context_unbind(struct hsl_context *ctx);
void hsl_context_put(struct hsl_context *ctx);
/* Of what a user has a limited number, on all devices together. */
enum hsl_quota {
	HSL_QUOTA_QUEUES,
	HSL_QUOTA_SIGNALS,
	HSL_NR_QUOTAS
};

int hsl_user_take(struct hsl_user *user, enum hsl_quota what);
void hsl_user_give_back(struct hsl_user *user, enum hsl_quota what);
int hsl_ioctl_query(struct hsl_ucmd *ucmd);
int hsl_ioctl_bind(struct hsl_ucmd *ucmd);
int hsl_ioctl_counters(struct hsl_ucmd *ucmd);
void hsl_context_fdinfo(struct hsl_context *ctx, struct seq_file *m);

/* mm.c */
#ifdef CONFIG_MMU_NOTIFIER
struct hsl_mm_watch *hsl_mm_watch(struct hsl_context *ctx);
void hsl_mm_unwatch(struct hsl_mm_watch *watch);
void hsl_mm_exit(void);
#else
static inline struct hsl_mm_watch *hsl_mm_watch(struct hsl_context *ctx) { return NULL; }
static inline void hsl_mm_unwatch(struct hsl_mm_watch *watch) {}
static inline void hsl_mm_exit(void) {}
#endif

/* queue.c */
struct hsl_queue *hsl_queue_get(struct hsl_context *ctx, u32 id);
void hsl_queue_put(struct hsl_queue *q);
DEFINE_FREE(hsl_queue_put, struct hsl_queue *, if (!IS_ERR_OR_NULL(_T)) hsl_queue_put(_T))
bool hsl_queue_stop_all(struct hsl_context *ctx, ktime_t until);
ktime_t hsl_queue_stop_deadline(void);
void hsl_queue_halt_all(struct hsl_context *ctx);
int hsl_queue_status(struct hsl_queue *q, u32 *status);
void hsl_queue_counters(struct hsl_queue *q, u64 *values);
void hsl_queue_tell(struct hsl_queue *q);
__poll_t hsl_queue_poll(struct hsl_context *ctx, bool completions);
int hsl_ioctl_queue_create(struct hsl_ucmd *ucmd);
int hsl_ioctl_queue_destroy(struct hsl_ucmd *ucmd);
int hsl_ioctl_queue_eventfd(struct hsl_ucmd *ucmd);
int hsl_ioctl_queue_state(struct hsl_ucmd *ucmd);
int hsl_queue_mmap(struct hsl_context *ctx, struct vm_area_struct *vma);

/* submit.c */
int hsl_ioctl_submit(struct hsl_ucmd *ucmd);

/* signal.c */
void hsl_signal_queue_stop(struct hsl_queue *q);
void hsl_signal_context_stop(struct hsl_context *ctx);
int hsl_ioctl_queue_grant(struct hsl_ucmd *ucmd);
int hsl_ioctl_signal_add(struct hsl_ucmd *ucmd);
int hsl_ioctl_signal_del(struct hsl_ucmd *ucmd);

/* event.c */
int hsl_evq_init(struct hsl_device *hdev);
void hsl_evq_exit(struct hsl_device *hdev);
void hsl_evq_start(struct hsl_device *hdev);
void hsl_evq_stop(struct hsl_device *hdev);
bool hsl_evq_process(struct hsl_device *hdev);
bool hsl_evq_pending(struct hsl_device *hdev);
void hsl_event_failed(struct hsl_queue *q, u32 error);
int hsl_ioctl_events(struct hsl_ucmd *ucmd);

/* fault.c */
#ifdef CONFIG_HMM_MIRROR
int hsl_fltq_init(struct hsl_device *hdev);
void hsl_fltq_exit(struct hsl_device *hdev);
void hsl_fltq_start(struct hsl_device *hdev);
void hsl_fltq_stop(struct hsl_device *hdev);
void hsl_fltq_attach(struct hsl_device *hdev, u32 nr, struct hsl_mirror *m);
void hsl_fltq_detach(struct hsl_mirror *m);
bool hsl_fltq_next(struct hsl_mirror *m, struct hsl_hw_fault *f);
void hsl_fltq_answer(struct hsl_device *hdev, u32 tag, enum hsl_fault_code code);
void hsl_fltq_process(struct hsl_device *hdev);
bool hsl_fltq_peek(struct hsl_device *hdev, u32 n, struct hsl_hw_fault *f);
int hsl_hmm_init(void);
void hsl_hmm_exit(void);
#else
static inline int hsl_fltq_init(struct hsl_device *hdev) { return 0; }
static inline void hsl_fltq_exit(struct hsl_device *hdev) {}
static inline void hsl_fltq_start(struct hsl_device *hdev) {}
static inline void hsl_fltq_stop(struct hsl_device *hdev) {}
static inline void hsl_fltq_attach(struct hsl_device *hdev, u32 nr, struct hsl_mirror *m) {}
static inline void hsl_fltq_process(struct hsl_device *hdev) {}
static inline bool hsl_fltq_peek(struct hsl_device *hdev, u32 n, struct hsl_hw_fault *f)
{
	return false;
}
static inline int hsl_hmm_init(void) { return 0; }
static inline void hsl_hmm_exit(void) {}
#endif

/* sva.c, sva_iommu.c, sva_hmm.c */
int hsl_sva_param(void);
void hsl_sva_probe(struct hsl_device *hdev);
void hsl_sva_remove(struct hsl_device *hdev);
int hsl_sva_bind(struct hsl_context *ctx, u32 want, struct hsl_binding *b);
void hsl_sva_unbind(struct hsl_context *ctx, struct hsl_binding *b);
int hsl_sva_map(struct hsl_context *ctx, unsigned long start, unsigned long end, bool write);
ssize_t hsl_sva_show(struct hsl_device *hdev, char *buf);
ssize_t hsl_sva_show_provider(struct hsl_device *hdev, u32 id, char *buf);
int hsl_sva_gate(char *why, size_t len, const char *text);
extern const struct hsl_sva_ops hsl_sva_iommu;
extern const struct hsl_sva_ops hsl_sva_hmm;

/* memory*.c */
#ifdef CONFIG_DEVICE_MIGRATION
int hsl_memory_param(void);
void hsl_memory_init(struct hsl_device *hdev);
void hsl_memory_start(struct hsl_device *hdev);
void hsl_memory_exit(struct hsl_device *hdev);
void hsl_memory_suspend(struct hsl_device *hdev);
void hsl_memory_resume(struct hsl_device *hdev, bool good);
void hsl_memory_lost(struct hsl_device *hdev);
bool hsl_memory_poison(struct hsl_device *hdev, u64 offset);
void hsl_memory_free(struct hsl_device *hdev);
void hsl_memory_query(struct hsl_device *hdev, struct hsl_query *cmd);
int hsl_memory_mmap(struct hsl_context *ctx, struct vm_area_struct *vma);
void hsl_memory_context_stop(struct hsl_context *ctx);
bool hsl_memory_offset(struct hsl_device *hdev, struct page *page, u64 *offset);
bool hsl_memory_of_peer(struct hsl_device *hdev, struct page *page, u64 *owner, u64 *offset);
struct hsl_mem_owner *hsl_mem_owner_get(struct hsl_device *hdev);
void hsl_mem_owner_put(struct hsl_device *hdev, struct hsl_mem_owner *owner);
u64 hsl_mem_owner_bytes(struct hsl_device *hdev, struct hsl_mem_owner *owner);
int hsl_ioctl_migrate(struct hsl_ucmd *ucmd);
int hsl_ioctl_advise(struct hsl_ucmd *ucmd);
void hsl_memory_forget(struct hsl_context *ctx, unsigned long start, unsigned long end);
void hsl_memory_fault(struct hsl_context *ctx, unsigned long addr, unsigned long end);
int hsl_memory_fetch(struct hsl_context *ctx, unsigned long addr, unsigned long end);
void hsl_node_exit(void);
extern const struct attribute_group hsl_sysfs_memory_group;
#else
static inline int hsl_memory_param(void) { return 0; }
static inline void hsl_memory_init(struct hsl_device *hdev) {}
static inline void hsl_memory_start(struct hsl_device *hdev) {}
static inline void hsl_memory_exit(struct hsl_device *hdev) {}
static inline void hsl_memory_suspend(struct hsl_device *hdev) {}
static inline void hsl_memory_resume(struct hsl_device *hdev, bool good) {}
static inline void hsl_memory_lost(struct hsl_device *hdev) {}
static inline bool hsl_memory_poison(struct hsl_device *hdev, u64 offset)
{
	return offset < hdev->limits.mem_size;
}
static inline void hsl_memory_free(struct hsl_device *hdev) {}
static inline void hsl_memory_query(struct hsl_device *hdev, struct hsl_query *cmd)
{
	cmd->mem_free = 0;
	cmd->mem_mode = HSL_MEMORY_OFF;
	cmd->mem_node = -1;
}
static inline int hsl_memory_mmap(struct hsl_context *ctx, struct vm_area_struct *vma)
{
	return -EOPNOTSUPP;
}
static inline void hsl_memory_context_stop(struct hsl_context *ctx) {}
static inline bool hsl_memory_offset(struct hsl_device *hdev, struct page *page, u64 *offset)
{
	return false;
}
static inline bool hsl_memory_of_peer(struct hsl_device *hdev, struct page *page, u64 *owner,
				      u64 *offset)
{
	return false;
}
static inline struct hsl_mem_owner *hsl_mem_owner_get(struct hsl_device *hdev) { return NULL; }
static inline void hsl_mem_owner_put(struct hsl_device *hdev, struct hsl_mem_owner *owner) {}
static inline u64 hsl_mem_owner_bytes(struct hsl_device *hdev, struct hsl_mem_owner *owner)
{
	return 0;
}
static inline int hsl_ioctl_migrate(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline int hsl_ioctl_advise(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline void hsl_memory_forget(struct hsl_context *ctx, unsigned long start,
				     unsigned long end) {}
static inline void hsl_memory_fault(struct hsl_context *ctx, unsigned long addr,
				    unsigned long end) {}
static inline int hsl_memory_fetch(struct hsl_context *ctx, unsigned long addr,
				   unsigned long end)
{
	return -EXDEV;
}
static inline void hsl_node_exit(void) {}
#endif

/* buf.c */
#ifdef HSL_HAVE_BUFS
int hsl_ioctl_buf_create(struct hsl_ucmd *ucmd);
int hsl_ioctl_buf_share(struct hsl_ucmd *ucmd);
int hsl_ioctl_buf_revoke(struct hsl_ucmd *ucmd);
bool hsl_buf_is_foreign(struct dma_buf *dmabuf, struct hsl_device *hdev);
#else
static inline int hsl_ioctl_buf_create(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline int hsl_ioctl_buf_share(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline int hsl_ioctl_buf_revoke(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline bool hsl_buf_is_foreign(struct dma_buf *dmabuf, struct hsl_device *hdev)
{
	return false;
}
#endif

/* import.c */
#ifdef CONFIG_DMA_SHARED_BUFFER
int hsl_ioctl_buf_import(struct hsl_ucmd *ucmd);
int hsl_ioctl_buf_unimport(struct hsl_ucmd *ucmd);
#else
static inline int hsl_ioctl_buf_import(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline int hsl_ioctl_buf_unimport(struct hsl_ucmd *ucmd) { return -EOPNOTSUPP; }
#endif

/* link.c */
void hsl_ports_add(struct hsl_device *hdev);
void hsl_ports_del(struct hsl_device *hdev);
bool hsl_link_event(struct hsl_device *hdev, u32 port, u32 state, u32 reason);

/* peer.c */
bool hsl_same_fabric(struct hsl_device *a, struct hsl_device *b);
void hsl_peers_start(struct hsl_device *hdev);
void hsl_peers_refresh(struct hsl_device *hdev);
void hsl_peers_join(struct hsl_device *hdev);
void hsl_peers_leave(struct hsl_device *hdev);
ssize_t hsl_peers_show(struct hsl_device *hdev, char *buf);
int hsl_ioctl_peers(struct hsl_ucmd *ucmd);

/* sysfs.c */
extern const struct attribute_group *hsl_sysfs_groups[];
const char *hsl_counter_name(u32 n);

/* debugfs.c */
#ifdef CONFIG_DEBUG_FS
void hsl_debugfs_init(void);
void hsl_debugfs_exit(void);
void hsl_debugfs_add(struct hsl_device *hdev);
void hsl_debugfs_del(struct hsl_device *hdev);
#else
static inline void hsl_debugfs_init(void) {}
static inline void hsl_debugfs_exit(void) {}
static inline void hsl_debugfs_add(struct hsl_device *hdev) {}
static inline void hsl_debugfs_del(struct hsl_device *hdev) {}
#endif

static inline u32 hsl_read(struct hsl_device *hdev, u32 reg)
{
	return readl(hdev->ctrl + reg);
}

static inline u64 hsl_read64(struct hsl_device *hdev, u32 reg)
{
	return readq(hdev->ctrl + reg);
}

static inline void hsl_write(struct hsl_device *hdev, u32 reg, u32 val)
{
	writel(val, hdev->ctrl + reg);
}

static inline void hsl_write64(struct hsl_device *hdev, u32 reg, u64 val)
{
	writeq(val, hdev->ctrl + reg);
}

#endif /* _HSL_DRV_H */
