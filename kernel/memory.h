/* SPDX-License-Identifier: GPL-2.0 */
/* Device memory: what memory*.c share and nobody else looks into. */
#ifndef _HSL_MEMORY_H
#define _HSL_MEMORY_H

#include <linux/bitmap.h>
#include <linux/memremap.h>
#include <linux/mm.h>

#include "hsl.h"

struct anon_vma;
struct dmem_cgroup_pool_state;
struct dmem_cgroup_region;
struct p2pdma_provider;

#define HSL_BLOCK_SHIFT		PMD_SHIFT
#define HSL_BLOCK_SIZE		BIT(HSL_BLOCK_SHIFT)
#define HSL_BLOCK_ORDER		(HSL_BLOCK_SHIFT - PAGE_SHIFT)
#define HSL_BLOCK_PAGES		(HSL_BLOCK_SIZE / PAGE_SIZE)

/* hsl_memory.mode: enum hsl_memory_mode, or this: nobody comes in, another will be set */
#define HSL_MEMORY_CHANGING	(HSL_MEMORY_PCIE + 1)

/* How long pages that are in use are waited for, where the device stays */
#define HSL_MEM_TIMEOUT		(3 * HZ)

/* What a user has on this device, whichever file placed it. */
struct hsl_mem_user {
	struct list_head node;
	kuid_t uid;
	unsigned int owners;
	unsigned long pages;
};

/* The account of a file, which pages outlive. */
struct hsl_mem_owner {
	struct hsl_mem_user *user;
	unsigned int refs;	/* the context, each page */
	unsigned long pages;
	bool unlimited;		/* set before anyone else sees it: whoever opened the file may */
};

/* Of each page that is in use */
struct hsl_mem_page {
	struct hsl_mem_owner *owner;
	struct dmem_cgroup_pool_state *pool;
};

/* As large as a huge page, and aligned like one. */
struct hsl_mem_block {
	struct list_head room;	/* in hsl_memory.empty or .partial, or in neither */
	struct list_head lru;	/* in hsl_memory.lru while pages are in use that can move */
	u64 op;			/* the last that placed or found pages here */
	u64 tried;		/* the last attempt to make room that has tried this one */
	unsigned int free;
	unsigned int used;
	unsigned int fixed;	/* of these, that no migration moves */
	DECLARE_BITMAP(taken, HSL_BLOCK_PAGES);	/* in use, or not to be used */
	DECLARE_BITMAP(stays, HSL_BLOCK_PAGES);	/* the fixed ones */
	DECLARE_BITMAP(bad, HSL_BLOCK_PAGES);	/* lost their contents: never again */
	DECLARE_BITMAP(kept, HSL_BLOCK_PAGES);	/* of these, kept from the pool in HSL_MEMORY_PCIE: map_lock */
};

/* For making room */
struct hsl_mem_scratch {
	struct anon_vma *anon[HSL_BLOCK_PAGES];
	struct page *room[HSL_BLOCK_PAGES];
	unsigned long src[HSL_BLOCK_PAGES];
	unsigned long dst[HSL_BLOCK_PAGES];
};

/* Lives as long as the struct of its device. */
struct hsl_memory {
	struct hsl_device *hdev;
	phys_addr_t start;
	unsigned long pfn;
	unsigned long nr_pages;
	unsigned long nr_blocks;
	struct resource *res;		/* mode_lock; the range while it is used */
	struct dev_pagemap pgmap;
	struct dmem_cgroup_region *region;
	struct mutex evict_lock;	/* one makes room at a time; scratch */
	struct hsl_mem_scratch *scratch;
	struct mutex mode_lock;		/* one changes the mode at a time */
	wait_queue_head_t idle;		/* active fell to 0 */
	int nid;			/* mode_lock; in HSL_MEMORY_NODE, as the next one */
	struct notifier_block node_notifier;
	bool gone;			/* mode_lock; what pages held is lost, and with it perhaps the device */
	bool away;			/* mode_lock; the device is being reset, or did not come back */
	struct work_struct lose_work;
	struct list_head pcie_node;	/* in HSL_MEMORY_PCIE, as the next two; see memory_pcie.c */
	void *all;			/* mode_lock; taken while the device is reset */
	struct list_head areas;		/* map_lock; that files have mapped */
	struct mutex map_lock;		/* who maps it and who takes it away */
	struct mutex bufs_lock;
	struct list_head bufs;		/* bufs_lock; hsl_buf.node, see buf.c */
	struct p2pdma_provider *p2p;	/* NULL: no other driver's device is let in */

	spinlock_t lock;	/* innermost, interrupts off: pages are freed anywhere; all below */
	u32 mode;
	unsigned int active;	/* callers that work with pages */
	struct hsl_mem_block *blocks;
	struct hsl_mem_page *pages;
	struct list_head empty;
	struct list_head partial;
	struct list_head lru;	/* least recently used first */
	struct list_head users;
	unsigned long free;
	unsigned long used;
	unsigned long mapped;	/* in HSL_MEMORY_PCIE */
	unsigned long bad;
	u64 last_op;
	u64 evicted;		/* this and the next two: pages so far */
	u64 moved_in;
	u64 moved_out;
};

/* A call that moves pages */
struct hsl_mem_op {
	struct hsl_memory *mem;		/* of the device that is asked */
	struct hsl_mem_owner *owner;
	struct mm_struct *mm;
	u64 id;
	u32 where;		/* enum hsl_where */
	bool only_new;		/* nothing that is anywhere already */
	bool only_others;	/* nothing that is on this device */
	bool fixed;		/* what is placed is not to be moved: not by a migration */
	u64 moved;		/* bytes, as in struct hsl_migrate */
	u64 pinned;
	u64 nomem;
	u64 other;

	unsigned long start;	/* the part of a huge page that is being worked on */
	unsigned int nr;	/* its pages */
	unsigned int may;	/* pages that the limits allow, of those wanted */
	bool anon;		/* holes can be filled */
	DECLARE_BITMAP(hopeless, HSL_BLOCK_PAGES);	/* cannot be faulted in */
	void *from;		/* the pgmap's owner of a page in other device memory; not looked into */
	u8 state[HSL_BLOCK_PAGES];
	bool want[HSL_BLOCK_PAGES];
	unsigned long large[HSL_BLOCK_PAGES];	/* pfn of the huge page that it was found in, or 0 */
	struct dmem_cgroup_pool_state *pools[HSL_BLOCK_PAGES];
	struct page *pages[HSL_BLOCK_PAGES];
	struct page *room[HSL_BLOCK_PAGES];	/* destinations, reserved */
	bool whole;		/* what is there now is all of a huge page */
	bool huge;		/* it goes to one: @room is that, or a block that can become one */
	unsigned long src[HSL_BLOCK_PAGES];
	unsigned long dst[HSL_BLOCK_PAGES];
};

/* memory.c */
bool hsl_mem_enter(struct hsl_memory *mem);
void hsl_mem_leave(struct hsl_memory *mem);
struct hsl_memory *hsl_mem_of(struct page *page);
unsigned int hsl_mem_take(struct hsl_mem_op *op, bool all);
void hsl_mem_ready(struct hsl_memory *mem, struct page *page, unsigned int order);
void hsl_mem_give_back(struct hsl_memory *mem, struct page *page, unsigned int nr);
void hsl_mem_touch(struct hsl_memory *mem, struct page *page, u64 op);
u64 hsl_mem_next_op(struct hsl_memory *mem);
struct hsl_mem_block *hsl_mem_pick(struct hsl_memory *mem, u64 op, u64 attempt);
bool hsl_mem_next_lost(struct hsl_memory *mem, unsigned long *n);
bool hsl_mem_has_room(struct hsl_memory *mem, unsigned int pages, bool whole);
bool hsl_mem_is_bad(struct hsl_memory *mem, unsigned long n);
bool hsl_mem_is_lost(struct hsl_memory *mem, unsigned long n, unsigned long nr);
void hsl_mem_lose_again(struct hsl_memory *mem);
int hsl_mem_charge(struct hsl_memory *mem, struct hsl_mem_owner *owner, unsigned long pages,
		   struct dmem_cgroup_pool_state **pool);
void hsl_mem_uncharge(struct hsl_memory *mem, struct hsl_mem_owner *owner, unsigned long pages,
		      struct dmem_cgroup_pool_state *pool);
void hsl_mem_region_add(struct hsl_memory *mem);
void hsl_mem_region_del(struct hsl_memory *mem);

/* memory_anon.c */
struct anon_vma *hsl_anon_hold(struct page *page);
void hsl_anon_release(struct anon_vma *anon);

/* memory_move.c */
bool hsl_mem_evict_one(struct hsl_memory *mem, u64 op, u64 attempt);
int hsl_mem_move(struct hsl_context *ctx, struct hsl_migrate *cmd);
void hsl_mem_place(struct hsl_context *ctx, unsigned long addr, unsigned long end);
struct hsl_mem_op *hsl_mem_op_alloc(struct hsl_context *ctx, struct hsl_memory *mem, u32 where);
bool hsl_mem_usable(struct hsl_context *ctx);
int hsl_mem_reserve(struct hsl_mem_op *op, unsigned int nr);
bool hsl_mem_range_ok(struct hsl_context *ctx, u64 addr, u64 len);
bool hsl_mem_lose_page(struct hsl_memory *mem, unsigned long n);

/* memory_node.c */
int hsl_node_add(struct hsl_memory *mem, char *why, size_t len);
int hsl_node_remove(struct hsl_memory *mem);
void hsl_node_lose(struct hsl_memory *mem);

/* memory_pcie.c */
struct hsl_memory *hsl_pcie_of(struct page *page);
void hsl_pcie_lose(struct hsl_memory *mem);
bool hsl_pcie_suspend(struct hsl_memory *mem);
void hsl_pcie_resume(struct hsl_memory *mem);
int hsl_pcie_add(struct hsl_memory *mem, char *why, size_t len);
int hsl_pcie_remove(struct hsl_memory *mem, bool patient);

/* buf.c */
#ifdef HSL_HAVE_BUFS
void hsl_bufs_start(struct hsl_memory *mem);
void hsl_bufs_stop(struct hsl_memory *mem);
void hsl_bufs_revoke(struct hsl_memory *mem);
bool hsl_buf_lose(struct hsl_memory *mem, unsigned long n);
bool hsl_buf_is_mapped(struct vm_area_struct *vma);
#else
static inline void hsl_bufs_start(struct hsl_memory *mem) {}
static inline void hsl_bufs_stop(struct hsl_memory *mem) {}
static inline void hsl_bufs_revoke(struct hsl_memory *mem) {}
static inline bool hsl_buf_lose(struct hsl_memory *mem, unsigned long n) { return false; }
static inline bool hsl_buf_is_mapped(struct vm_area_struct *vma) { return false; }
#endif

#endif /* _HSL_MEMORY_H */
