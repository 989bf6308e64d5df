/* SPDX-License-Identifier: GPL-2.0 */
/* What the provider hmm (sva_hmm.c) and its page tables (mirror.c) share. */
#ifndef _HSL_MIRROR_H
#define _HSL_MIRROR_H

#include "hsl.h"

struct hsl_import;

/*
 * Limits of what one page fault of the device makes the driver do, see
 * Documentation/driver-api/hsl-sva.rst.
 */
#define HSL_BLOCK_SHIFT		21	/* a window never leaves a block of 2 MiB */
#define HSL_BLOCK_SIZE		BIT(HSL_BLOCK_SHIFT)
#define HSL_BLOCK_MASK		(~(HSL_BLOCK_SIZE - 1))
#define HSL_BLOCK_PAGES		(HSL_BLOCK_SIZE >> PAGE_SHIFT)
#define HSL_WINDOW_PAGES	16ul	/* of an access that follows no other */
#define HSL_STREAMS		4	/* sequences that are told apart */
#define HSL_AHEAD_MAX		(2 * HSL_BLOCK_SIZE)	/* faulted in beyond a window, by another CPU, */
#define HSL_AHEAD_STEP		(32 * PAGE_SIZE)	/* so much at a time */
#define HSL_LINGER_NS		(50 * NSEC_PER_USEC)	/* a worker looks for another fault */
#define HSL_SLICE_SHIFT		26	/* address space watched by one notifier */
#define HSL_SLICE_SIZE		BIT(HSL_SLICE_SHIFT)
#define HSL_IDLE_SLICES		16	/* kept although nothing is mapped in them */
#define HSL_IDLE_TIMEOUT_US	(50 * USEC_PER_MSEC)	/* a worker is given to end */

struct hsl_table;

/* Where a sequence of faults would go on, and how wide the last window was. */
struct hsl_stream {
	unsigned long next;
	unsigned long pages;
	bool missing;		/* the process has not got the pages */
};

/* Pages that a program wants mapped ahead of the device's faults */
struct hsl_mirror_want {
	struct list_head node;		/* in hsl_mirror.wants */
	refcount_t refs;		/* whoever asks, who may not wait to the end; the worker */
	struct completion done;
	unsigned long start;
	unsigned long end;
	bool write;
	int ret;
};

struct hsl_mirror_stats {
	u64 faults;
	u64 conflicts;		/* the address space changed in between: once more */
	u64 faulted_in;		/* pages that the process did not have */
	u64 mapped;		/* leaves written, of either size */
	u64 invalidations;	/* of the process that met something mapped */
};

/*
 * One binding's page tables. Lives as long as the binding, or as its fault
 * worker runs: that may be waiting for a page much longer than a close.
 */
struct hsl_mirror {
	struct kref kref;
	struct hsl_device *hdev;
	struct hsl_context *ctx;	/* referenced: what the worker holds stays charged */
	struct mm_struct *mm;		/* mmgrab */

	/*
	 * Taken in invalidations: whoever holds it waits for nothing that may
	 * wait for memory, for mmap_lock or for a page fault.
	 */
	struct mutex lock;		/* all up to the blank line */
	bool dead;			/* no registers, no DMA mappings any more */
	bool lost;			/* invalidations do not end; the device is off the bus */
	struct hsl_table *root;
	struct xarray slices;		/* by address >> HSL_SLICE_SHIFT */
	unsigned int nr_slices;
	unsigned int nr_idle;		/* of these, without anything mapped */
	unsigned long nr_tables;
	unsigned long nr_small;		/* leaves of 4 KiB */
	unsigned long nr_huge;		/* leaves of 2 MiB */
	struct hsl_mirror_stats stats;
	struct list_head wants;
	struct list_head imports;	/* dma-bufs of other drivers, import.c */

	unsigned int nr_imports;	/* hsl_context.lock */

	struct work_struct work;
	struct hsl_hw_fault *faults;	/* hsl_fltq.lock, as the next two */
	u32 head;
	u32 tail;

	struct work_struct ahead_work;
	spinlock_t ahead_lock;		/* for what it has to fault in; a leaf */
	unsigned long ahead_start;
	unsigned long ahead_end;
	bool ahead_write;

	/* of the worker alone */
	u64 answered;			/* the last fault, local_clock() */
	bool linger;			/* after it, for the next one */
	struct hsl_stream streams[HSL_STREAMS];
	unsigned int next_stream;
	unsigned long pfns[HSL_BLOCK_PAGES];
};

struct hsl_mirror *hsl_mirror_create(struct hsl_context *ctx);
void hsl_mirror_destroy(struct hsl_mirror *m);
void hsl_mirror_put(struct hsl_mirror *m);
u64 hsl_mirror_root(struct hsl_mirror *m);
int hsl_mirror_prefetch(struct hsl_mirror *m, unsigned long start, unsigned long end, bool write);
enum hsl_fault_code hsl_mirror_fault(struct hsl_mirror *m, const struct hsl_hw_fault *f);
void hsl_mirror_trim(struct hsl_mirror *m);
void hsl_mirror_kick(struct hsl_mirror *m);
void hsl_mirror_work(struct work_struct *work);
void hsl_mirror_kick_ahead(struct hsl_mirror *m);
void hsl_mirror_ahead_work(struct work_struct *work);
bool hsl_mirror_busy(struct hsl_mirror *m);
void hsl_mirror_drop(struct hsl_mirror *m, unsigned long first, unsigned long last);

/* import.c */
#ifdef CONFIG_DMA_SHARED_BUFFER
struct hsl_import *hsl_import_find(struct hsl_mirror *m, struct file *file);
void hsl_import_put(struct hsl_import *im);
int hsl_import_lock(struct hsl_import *im);
void hsl_import_unlock(struct hsl_import *im);
u64 hsl_import_pte(struct hsl_import *im, unsigned long n, unsigned long addr);
void hsl_imports_end(struct hsl_mirror *m);
#else
static inline struct hsl_import *hsl_import_find(struct hsl_mirror *m, struct file *file)
{
	return NULL;
}
static inline void hsl_import_put(struct hsl_import *im) {}
static inline int hsl_import_lock(struct hsl_import *im) { return -EOPNOTSUPP; }
static inline void hsl_import_unlock(struct hsl_import *im) {}
static inline u64 hsl_import_pte(struct hsl_import *im, unsigned long n, unsigned long addr)
{
	return 0;
}
static inline void hsl_imports_end(struct hsl_mirror *m) {}
#endif

#endif /* _HSL_MIRROR_H */
