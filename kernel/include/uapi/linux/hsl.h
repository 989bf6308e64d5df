/* SPDX-License-Identifier: (GPL-2.0-or-later WITH Linux-syscall-note) OR MIT */
/*
 * HSL-like accelerator endpoint: the interface between a process and hsl.ko.
 *
 * An open of /dev/hsl/hslN is a context: the opener's address space on that
 * device. Queues belong to a context. Descriptors carry the process's own
 * virtual addresses; their layout, and that of rings and completions, is the
 * hardware's: <linux/hsl_hw.h>.
 *
 * All commands follow these rules.
 *
 * The first field of every structure is its size as the caller compiled it.
 * A kernel that knows a longer structure takes the missing tail as zeros; one
 * that knows a shorter structure accepts the call if the tail it does not know
 * is zero.
 *
 * errno of every command:
 *   ENOTTY      no such command
 *   EINVAL      size smaller than the first version of the structure, or a
 *               value out of its range
 *   E2BIG       a tail unknown to this kernel is not zero, or the size is more
 *               than a page
 *   EOPNOTSUPP  a flag unknown to this kernel, a reserved field not zero, or
 *               something this device does not have
 *   EFAULT      an argument cannot be read or written; nothing was changed
 *   EPERM       the caller's address space is not the one that opened the file
 *               (a forked child, or a descriptor passed to another process)
 *   ENODEV      the device was reset or removed since the open: this file is
 *               dead, close it and open again. No queue of it runs any more, so
 *               that memory they worked on may be used anew
 *   ENOENT      no such queue in this context
 *   ENOMEM      out of memory
 *   EINTR       a fatal signal arrived during a bounded wait
 * open() gives besides:
 *   EOPNOTSUPP  no way to shared virtual addressing works here; the kernel
 *               log and sysfs (sva) say which gate failed and what opens it
 *   EBUSY       every context of the device is in use
 *   EMFILE      this user has max_contexts_per_user contexts open
 *   EIO         the device refused the context
 * Commands that give more say so below.
 *
 * poll(): EPOLLIN a completion is waiting in some ring of the context, EPOLLPRI
 * an event record waits for HSL_EVENTS, EPOLLERR a queue has failed or its ring
 * cannot be read, EPOLLERR | EPOLLHUP the file is dead or the caller's address
 * space is not the opener's. Asked for EPOLLIN, poll() arms cq_event in the
 * queues it looks at.
 *
 * mmap(): one page at a queue's doorbell_offset, MAP_SHARED, PROT_WRITE: the
 * doorbell page of that queue. Not inherited by fork. Once the queue is gone, by
 * destroy, reset or removal, what is written there goes nowhere. errno: EINVAL
 * wrong length, offset or protection, or MAP_PRIVATE.
 * At offset HSL_MMAP_MEMORY, MAP_SHARED: memory of the device, if that is used in mode
 * HSL_MEMORY_PCIE; each call gives another piece, zeroed. It stays on the device, is not
 * inherited by fork and does not grow; disks and other PCI devices below the same switch
 * read and write it directly (O_DIRECT). It is given back when all of it is unmapped,
 * and taken away (SIGBUS) when the file dies. errno: EOPNOTSUPP another mode, or there is
 * no memory; ENOMEM no piece that large is free, or the user or the cgroup has reached
 * its limit; EINVAL PROT_EXEC, MAP_PRIVATE or a higher offset.
 */
#ifndef _UAPI_LINUX_HSL_H
#define _UAPI_LINUX_HSL_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/hsl_hw.h>

#define HSL_TYPE	0xB9

#define HSL_MMAP_MEMORY	(1ull << 44)	/* offset for mmap(); doorbells are below */

/* Sizes are fields, so the command number carries none: _IO, not _IOWR. */
enum {
	HSL_CMD_QUERY = 0x10,
	HSL_CMD_COUNTERS,
	HSL_CMD_QUEUE_CREATE,
	HSL_CMD_QUEUE_DESTROY,
	HSL_CMD_QUEUE_EVENTFD,
	HSL_CMD_QUEUE_STATE,
	HSL_CMD_SUBMIT,
	HSL_CMD_EVENTS,
	HSL_CMD_BIND,
	HSL_CMD_MIGRATE,
	HSL_CMD_ADVISE,
	HSL_CMD_PEERS,
	HSL_CMD_QUEUE_GRANT,
	HSL_CMD_SIGNAL_ADD,
	HSL_CMD_SIGNAL_DEL,
	HSL_CMD_BUF_CREATE,
	HSL_CMD_BUF_SHARE,
	HSL_CMD_BUF_REVOKE,
	HSL_CMD_BUF_IMPORT,
	HSL_CMD_BUF_UNIMPORT,
	HSL_CMD_END,
};

/* Which provider carries the process's addresses to the device, by preference */
enum hsl_sva {
	HSL_SVA_NONE,
	HSL_SVA_IOMMU,		/* iommu_sva_bind_device: PASID, ATS, PRI */
	HSL_SVA_HMM,		/* page tables of the device, kept by the driver */
	HSL_SVA_NR,
};

/* What the memory of a device is used for */
enum hsl_memory_mode {
	HSL_MEMORY_OFF,		/* nothing, or there is none */
	HSL_MEMORY_COHERENT,	/* pages that HSL_MIGRATE gives to processes */
	HSL_MEMORY_NODE,	/* a NUMA node of its own */
	HSL_MEMORY_PCIE,	/* memory of a PCI device, that mmap() gives to processes */
};

/**
 * struct hsl_query - ioctl(HSL_QUERY)
 * @size: sizeof(struct hsl_query)
 * @flags: 0
 * @hw_version: out, HSL_VERSION of the device
 * @hw_caps: out, HSL_CAP_*
 * @ops: out, bit n: opcode n exists
 * @mem_size: out, bytes of device memory
 * @max_xfer: out, bytes one descriptor may name
 * @max_ring_entries: out, entries of the largest ring
 * @nr_queues: out, queues of the device, all contexts together
 * @max_queues: out, queues one context may have
 * @vendor: out, PCI vendor id
 * @device: out, PCI device id
 * @generation: out, resets of the device so far
 * @context: out, context number, as in the device's event records
 * @sva: out, enum hsl_sva
 * @pasid: out, PASID of the address space, 0 with a provider that has none
 * @node: out, NUMA node of the device, -1 if unknown
 * @reserved: 0
 * @sva_why: out, text that ends in 0: why this provider and not the one before it
 * @mem_free: out, bytes of device memory that HSL_MIGRATE can use without making
 *            room, or in HSL_MEMORY_PCIE that mmap() has not given away, perhaps not
 *            in one piece; 0 in other modes
 * @mem_mode: out, enum hsl_memory_mode
 * @mem_node: out, NUMA node that the device memory is, -1 unless @mem_mode is
 *            HSL_MEMORY_NODE
 * @fabric: out, number that all nodes of one fabric have
 * @fabric_node: out, number of the device in it, HSL_NODE_NONE: in none
 * @nr_ports: out, link ports
 * @reserved1: 0
 */
struct hsl_query {
	__u32 size;
	__u32 flags;
	__u32 hw_version;
	__u32 hw_caps;
	__aligned_u64 ops;
	__aligned_u64 mem_size;
	__u32 max_xfer;
	__u32 max_ring_entries;
	__u32 nr_queues;
	__u32 max_queues;
	__u16 vendor;
	__u16 device;
	__u32 generation;
	__u32 context;
	__u32 sva;
	__u32 pasid;
	__s32 node;
	__u32 reserved[2];
	__u8 sva_why[128];
	__aligned_u64 mem_free;
	__u32 mem_mode;
	__s32 mem_node;
	__u32 fabric;
	__u32 fabric_node;
	__u32 nr_ports;
	__u32 reserved1;
};
#define HSL_QUERY _IO(HSL_TYPE, HSL_CMD_QUERY)

#define HSL_QUEUE_NONE 0xffffffffu

/**
 * struct hsl_counters - ioctl(HSL_COUNTERS)
 * @size: sizeof(struct hsl_counters)
 * @flags: 0
 * @queue: queue id, or HSL_QUEUE_NONE for the whole device
 * @nr: in: elements of @values; out: how many were filled in
 * @values: user pointer to __u64[@nr], indexed by enum hsl_counter
 *
 * A queue has the counters up to HSL_CNT_FAULTS, since its creation; the
 * device all, since its last reset.
 */
struct hsl_counters {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__u32 nr;
	__aligned_u64 values;
};
#define HSL_COUNTERS _IO(HSL_TYPE, HSL_CMD_COUNTERS)

/**
 * struct hsl_queue_create - ioctl(HSL_QUEUE_CREATE)
 * @size: sizeof(struct hsl_queue_create)
 * @flags: 0
 * @sq_addr: submission ring, struct hsl_desc[@sq_entries], 64-byte aligned
 * @cq_addr: completion ring, struct hsl_cqe[@cq_entries], 64-byte aligned,
 *           zeroed
 * @ctl_addr: struct hsl_q_ctl, 128-byte aligned, zeroed
 * @sq_entries: power of two, 2 to max_ring_entries
 * @cq_entries: power of two, @sq_entries to max_ring_entries
 * @ops: opcodes this queue may use; 0: all the device has
 * @priority: 0 (low) to 3, shares of the engine 1, 2, 4, 8
 * @coalesce_count: completions an interrupt waits for; 0 and 1: none
 * @coalesce_usecs: microseconds after which it does not; 0 to 1000000, not 0
 *                  when @coalesce_count is more than 1
 * @queue: out, queue id in this context
 * @doorbell_offset: out, mmap offset of the doorbell page
 * @routes: HSL_ROUTE_LINK | ...: ways to the memory of other devices that this
 *          queue may use, tried in the order of their bits; 0: all. When none of
 *          them is open a descriptor completes HSL_ST_PEER_UNREACHABLE
 * @reserved: 0
 *
 * errno: EINVAL a range or alignment above is not met, or the rings do not lie
 * in the address space; EFAULT one of them is not mapped writable; EOPNOTSUPP
 * @ops names an opcode the device lacks; ENOSPC the context has @max_queues, the
 * user has max_queues_per_user or the device has none left; EIO the device
 * refused the queue, or it failed at once: HSL_EVENTS says of what.
 */
struct hsl_queue_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 sq_addr;
	__aligned_u64 cq_addr;
	__aligned_u64 ctl_addr;
	__u32 sq_entries;
	__u32 cq_entries;
	__aligned_u64 ops;
	__u32 priority;
	__u32 coalesce_count;
	__u32 coalesce_usecs;
	__u32 queue;
	__aligned_u64 doorbell_offset;
	__u32 routes;
	__u32 reserved;
};
#define HSL_QUEUE_CREATE _IO(HSL_TYPE, HSL_CMD_QUEUE_CREATE)

/**
 * struct hsl_queue_destroy - ioctl(HSL_QUEUE_DESTROY)
 * @size: sizeof(struct hsl_queue_destroy)
 * @flags: 0
 * @queue: queue id
 * @reserved: 0
 *
 * Stops the queue and forgets it; on return the device touches none of its
 * memory again. Descriptors in flight do not complete.
 */
struct hsl_queue_destroy {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__u32 reserved;
};
#define HSL_QUEUE_DESTROY _IO(HSL_TYPE, HSL_CMD_QUEUE_DESTROY)

enum hsl_eventfd_kind {
	HSL_EVENTFD_COMPLETION,	/* a completion interrupt of the queue */
	HSL_EVENTFD_ERROR,	/* the queue failed, or the device is gone */
	HSL_EVENTFD_NR,
};

/* When the queue fails or ends, both are signalled, and one that comes later at once: nobody sleeps on. */

/**
 * struct hsl_queue_eventfd - ioctl(HSL_QUEUE_EVENTFD)
 * @size: sizeof(struct hsl_queue_eventfd)
 * @flags: 0
 * @queue: queue id
 * @kind: enum hsl_eventfd_kind
 * @fd: eventfd that takes the place of the one before, -1: none
 * @reserved: 0
 *
 * errno: EBADF @fd is not open, EINVAL it is no eventfd.
 */
struct hsl_queue_eventfd {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__u32 kind;
	__s32 fd;
	__u32 reserved;
};
#define HSL_QUEUE_EVENTFD _IO(HSL_TYPE, HSL_CMD_QUEUE_EVENTFD)

/**
 * struct hsl_queue_state - ioctl(HSL_QUEUE_STATE)
 * @size: sizeof(struct hsl_queue_state)
 * @flags: 0
 * @queue: queue id
 * @state: out, enum hsl_q_state
 * @error: out, enum hsl_q_error
 * @hw_queue: out, queue number in the device, as in its event records
 * @sq_head: out, descriptors the device has fetched
 * @cq_tail: out, completions the device has written
 */
struct hsl_queue_state {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__u32 state;
	__u32 error;
	__u32 hw_queue;
	__u32 sq_head;
	__u32 cq_tail;
};
#define HSL_QUEUE_STATE _IO(HSL_TYPE, HSL_CMD_QUEUE_STATE)

/**
 * struct hsl_submit - ioctl(HSL_SUBMIT)
 * @size: sizeof(struct hsl_submit)
 * @flags: 0
 * @queue: queue id
 * @nr: in: descriptors at @descs; out: how many were taken
 * @descs: user pointer to struct hsl_desc[@nr]
 *
 * Copies descriptors into the queue's submission ring and rings the doorbell,
 * for programs that may not or do not want to map it. Not to be mixed with
 * direct submission from another thread at the same time, nor with descriptors that
 * wait for a signal (HSL_QUEUE_GRANT): it begins at sq_tail.
 *
 * errno: EAGAIN nothing was taken, for want of room in the submission ring or
 * for the completions; EIO the queue failed, see HSL_QUEUE_STATE.
 */
struct hsl_submit {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__u32 nr;
	__aligned_u64 descs;
};
#define HSL_SUBMIT _IO(HSL_TYPE, HSL_CMD_SUBMIT)

/**
 * struct hsl_event - one record of HSL_EVENTS
 * @type: enum hsl_event_type
 * @code: enum hsl_q_error for QUEUE_ERROR, enum hsl_status for PAGE_FAULT, enum
 *        hsl_link_state for LINK
 * @access: HSL_ACCESS_* bits; LINK: enum hsl_link_reason
 * @queue: queue id; LINK: port of the device
 * @addr: address that could not be reached
 * @user_data: PAGE_FAULT: of the descriptor
 * @time_ns: CLOCK_MONOTONIC when the driver saw it
 */
struct hsl_event {
	__u16 type;
	__u8 code;
	__u8 access;
	__u32 queue;
	__aligned_u64 addr;
	__aligned_u64 user_data;
	__aligned_u64 time_ns;
};

/**
 * struct hsl_events - ioctl(HSL_EVENTS)
 * @size: sizeof(struct hsl_events)
 * @flags: 0
 * @nr: in: elements of @events; out: how many were filled in, oldest first
 * @lost: out, records of this context dropped since the last call
 * @events: user pointer to struct hsl_event[@nr]
 *
 * Reads and removes event records; does not wait. @nr 0 reads only @lost. When
 * there is no room for a new record, that one is lost; queue errors have room
 * of their own, so that page faults do not push them out.
 */
struct hsl_events {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 lost;
	__aligned_u64 events;
};
#define HSL_EVENTS _IO(HSL_TYPE, HSL_CMD_EVENTS)

/**
 * struct hsl_bind - ioctl(HSL_BIND)
 * @size: sizeof(struct hsl_bind)
 * @flags: 0
 * @sva: enum hsl_sva; HSL_SVA_NONE: the first that works, as open() chooses
 * @reserved: 0
 *
 * Chooses the provider of this context anew. On error the one before stays.
 *
 * errno: EBUSY the context has queues, page faults of queues that it had are not
 * answered yet, or there is no room for another address space; EOPNOTSUPP this
 * provider does not work here, the kernel log and sysfs (providers/) say why; EIO the
 * device refused the context.
 */
struct hsl_bind {
	__u32 size;
	__u32 flags;
	__u32 sva;
	__u32 reserved;
};
#define HSL_BIND _IO(HSL_TYPE, HSL_CMD_BIND)

/* Where memory is */
enum hsl_where {
	HSL_WHERE_HOST,
	HSL_WHERE_DEVICE,	/* in the memory of this device */
	HSL_WHERE_NONE,		/* in HSL_ADVISE only: anywhere */
};

/**
 * struct hsl_migrate - ioctl(HSL_MIGRATE)
 * @size: sizeof(struct hsl_migrate)
 * @flags: 0
 * @addr: first address, of a page
 * @len: bytes, whole pages
 * @where: enum hsl_where
 * @reserved: 0
 * @moved: out, bytes that are there now, those that were before included
 * @pinned: out, bytes that something else uses, so that they cannot move: direct
 *          I/O, a pipe, a registered buffer, another migration
 * @nomem: out, bytes for which there is no room: on the device, within the limits
 *         of the user or the cgroup, or in host memory
 * @other: out, bytes that cannot be there: shared or file memory, hugetlb pages,
 *         memory of devices, pages that have lost their contents
 *
 * Moves pages, at the same addresses and under whatever protection they have.
 * Pages that were never touched are created there, without a copy; none are
 * created in host memory. On the device, room is made by moving to host memory
 * what was used there least recently. Pages shared with a forked process move for
 * both. Nothing is pinned: later, pressure, a fork or a fault may move them again.
 *
 * The amounts are filled in and add up to @len, unless the call ended early with
 * EFAULT, EINTR or ENODEV.
 *
 * errno: EINVAL @addr or @len are not of whole pages, @len is 0, or it is no range
 * of the address space; EFAULT a part is not mapped, what comes before it has been
 * worked on; else the first of: EBUSY @pinned is not 0; ENOMEM @nomem is not 0;
 * EOPNOTSUPP @other is not 0, or this kernel, device or mode has no device memory
 * to migrate to.
 */
struct hsl_migrate {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 len;
	__u32 where;
	__u32 reserved;
	__aligned_u64 moved;
	__aligned_u64 pinned;
	__aligned_u64 nomem;
	__aligned_u64 other;
};
#define HSL_MIGRATE _IO(HSL_TYPE, HSL_CMD_MIGRATE)

#define HSL_MAX_PREFERRED 1024	/* ranges of a context for HSL_ADVICE_PREFERRED */

enum hsl_advice {
	/*
	 * Move the range to @where, with HSL_WHERE_NONE nowhere, and create what
	 * is missing; with HSL_SVA_HMM, map it for the device.
	 */
	HSL_ADVICE_PREFETCH,
	/*
	 * With HSL_SVA_HMM: what the process has not touched when the device comes to
	 * it is created on the device (HSL_WHERE_DEVICE), or in host memory, as without
	 * advice (HSL_WHERE_HOST, HSL_WHERE_NONE). Holds for the addresses until they
	 * are unmapped or the file is closed. With HSL_SVA_IOMMU, where the kernel
	 * answers the device: moves the range there now, nothing is remembered.
	 */
	HSL_ADVICE_PREFERRED,
	/*
	 * HSL_WHERE_DEVICE: the device will access the range. Creates what is missing
	 * and, with HSL_SVA_HMM, maps it for the device, so that its next accesses do
	 * not fault. Not kept up: what the process changes afterwards faults again.
	 * HSL_WHERE_NONE: it will not. There is nothing to take back, and nothing is done.
	 */
	HSL_ADVICE_ACCESSED_BY,
};

/**
 * struct hsl_advise - ioctl(HSL_ADVISE)
 * @size: sizeof(struct hsl_advise)
 * @flags: 0
 * @addr: first address, of a page
 * @len: bytes, whole pages
 * @advice: enum hsl_advice
 * @where: enum hsl_where
 *
 * Advice changes how fast something is, never what it gives.
 *
 * errno: EINVAL as for HSL_MIGRATE, or @advice and @where do not go together;
 * those of HSL_MIGRATE, where it moves; EFAULT a part is not mapped, or cannot be
 * accessed at all; ENOSPC a range more than HSL_MAX_PREFERRED that touches no other
 * one; ENOMEM.
 */
struct hsl_advise {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 len;
	__u32 advice;
	__u32 where;
};
#define HSL_ADVISE _IO(HSL_TYPE, HSL_CMD_ADVISE)

/* Is a way to a peer open, and if not, why? */
enum hsl_route_why {
	HSL_WHY_OPEN,
	HSL_WHY_NO_MEMORY,	/* the peer has none */
	HSL_WHY_NO_FABRIC,	/* the two are not nodes of one fabric */
	HSL_WHY_NO_PATH,	/* no path of links that are up */
	HSL_WHY_NO_SWITCH,	/* no PCIe switch is above both */
	HSL_WHY_ACS,		/* access control sends what crosses that switch to the root */
	HSL_WHY_NO_BRIDGE,	/* the host bridge is not known to forward: via_host */
	HSL_WHY_RESET,		/* the device is being reset, or broken */
	HSL_WHY_POLICY,		/* it is, but the caller does not want it */
	HSL_WHY_NR,
};

/**
 * struct hsl_peer_info - one record of HSL_PEERS
 * @index: N of the peer's /dev/hsl/hslN
 * @node: its number in the fabric, or HSL_NODE_NONE
 * @hops: links on the way to it, 0: no way
 * @routes: HSL_ROUTE_LINK | ...: that are open now
 * @why: enum hsl_route_why, by the number of the route's bit
 * @reserved: 0
 * @mem_size: bytes of its memory
 */
struct hsl_peer_info {
	__u32 index;
	__u32 node;
	__u32 hops;
	__u32 routes;
	__u8 why[4];
	__u32 reserved;
	__aligned_u64 mem_size;
};

/**
 * struct hsl_peers - ioctl(HSL_PEERS)
 * @size: sizeof(struct hsl_peers)
 * @flags: 0
 * @nr: in: elements of @peers; out: other devices that there are
 * @routes: HSL_ROUTE_LINK | ...: ways that the caller would use, 0: all
 * @peers: user pointer to struct hsl_peer_info[@nr]
 *
 * How this device reaches the memory of each other one. It may have changed by
 * the time the call returns: event records of type HSL_EV_LINK say so. A way that
 * is open and not in @routes is closed with HSL_WHY_POLICY.
 *
 * errno: EOPNOTSUPP an unknown bit in @routes.
 */
struct hsl_peers {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 routes;
	__aligned_u64 peers;
};
#define HSL_PEERS _IO(HSL_TYPE, HSL_CMD_PEERS)

/**
 * struct hsl_queue_grant - ioctl(HSL_QUEUE_GRANT)
 * @size: sizeof(struct hsl_queue_grant)
 * @flags: 0
 * @queue: queue id
 * @fd: out, close-on-exec file that stands for the right to ring the queue
 *
 * Whoever is given the file may ring the queue by HSL_OP_SIGNAL, as if by its
 * doorbell: start what is in its ring, and nothing else. The right ends when the last
 * descriptor of the file is closed, and with the queue. Another call gives another
 * file, whose right ends on its own.
 *
 * errno: EMFILE, ENFILE no room for a file.
 */
struct hsl_queue_grant {
	__u32 size;
	__u32 flags;
	__u32 queue;
	__s32 fd;
};
#define HSL_QUEUE_GRANT _IO(HSL_TYPE, HSL_CMD_QUEUE_GRANT)

/**
 * struct hsl_signal_add - ioctl(HSL_SIGNAL_ADD)
 * @size: sizeof(struct hsl_signal_add)
 * @flags: 0
 * @fd: of HSL_QUEUE_GRANT, of this or another process
 * @handle: out, operand[0] for HSL_OP_SIGNAL in queues of this context
 *
 * When the right ends, signals by @handle complete HSL_ST_NOT_PERMITTED. It stays in
 * use until HSL_SIGNAL_DEL or the close of the context.
 *
 * errno: EBADF @fd is not open; EINVAL it is no grant; EXDEV its queue is on a device
 * that is not this one nor in its fabric; ESTALE its queue has failed or is no more;
 * ENOSPC the context has 32 signals, its user as many as the administrator allows, or
 * the device none left.
 */
struct hsl_signal_add {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 handle;
};
#define HSL_SIGNAL_ADD _IO(HSL_TYPE, HSL_CMD_SIGNAL_ADD)

/**
 * struct hsl_signal_del - ioctl(HSL_SIGNAL_DEL)
 * @size: sizeof(struct hsl_signal_del)
 * @flags: 0
 * @handle: of HSL_SIGNAL_ADD; on return nothing is rung by it
 * @reserved: 0
 *
 * errno: ENOENT the context has no such handle.
 */
struct hsl_signal_del {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 reserved;
};
#define HSL_SIGNAL_DEL _IO(HSL_TYPE, HSL_CMD_SIGNAL_DEL)

/*
 * What the holder of a share may do with the memory. The right to write comes with
 * that to use atomics: whoever may store can do so with a locked instruction.
 */
#define HSL_BUF_READ	(1u << 0)
#define HSL_BUF_WRITE	(1u << 1)
#define HSL_BUF_ATOMIC	(1u << 2)
#define HSL_BUF_ALL	(HSL_BUF_READ | HSL_BUF_WRITE | HSL_BUF_ATOMIC)

/**
 * struct hsl_buf_create - ioctl(HSL_BUF_CREATE)
 * @size: sizeof(struct hsl_buf_create)
 * @flags: 0
 * @len: bytes, whole pages
 * @fd: out, close-on-exec dma-buf with all rights
 * @reserved: 0
 *
 * Zeroed memory of this device in a dma-buf: any process that is given the file maps
 * it with mmap(), MAP_SHARED, and works on the mapping with its CPUs and with every
 * device that it has opened. It stays on the device: room for it is made by moving
 * other memory to the host, but it is not moved itself. It is charged to this context,
 * and lives as long as a share of it is open or mapped, this file being the first. It
 * does not end with the context, but with the device: when that is unbound, unplugged,
 * reset by FLR or a bus error, or the mode of its memory changes, all shares are revoked.
 *
 * errno: EINVAL @len is 0, not of whole pages, or more than the device has; ENOMEM no
 * room: on the device, within the limits of the user or the cgroup, or in host memory;
 * EOPNOTSUPP this kernel, device or mode has no coherent device memory; EMFILE,
 * ENFILE no room for a file.
 */
struct hsl_buf_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 len;
	__s32 fd;
	__u32 reserved;
};
#define HSL_BUF_CREATE _IO(HSL_TYPE, HSL_CMD_BUF_CREATE)

/**
 * struct hsl_buf_share - ioctl(HSL_BUF_SHARE)
 * @size: sizeof(struct hsl_buf_share)
 * @flags: 0
 * @fd: of HSL_BUF_CREATE or HSL_BUF_SHARE, of whatever HSL device
 * @rights: HSL_BUF_READ, or HSL_BUF_ALL; not more than @fd has
 * @share: out, close-on-exec dma-buf of the same memory
 * @reserved: 0
 *
 * With HSL_BUF_READ the mapping cannot be made writable, by whoever has the file.
 *
 * errno: EBADF @fd is not open; EINVAL it is no dma-buf of an HSL device, or @rights
 * lacks HSL_BUF_READ or has HSL_BUF_ATOMIC alone; EOPNOTSUPP @rights has HSL_BUF_WRITE
 * and not HSL_BUF_ATOMIC, which nothing could hold a CPU to; EACCES @fd has not got
 * these rights; ESTALE it is revoked; ENOSPC the memory has 256 shares that are not revoked,
 * or 128 where @fd is not of HSL_BUF_CREATE; EMFILE, ENFILE no room for a file.
 */
struct hsl_buf_share {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 rights;
	__s32 share;
	__u32 reserved;
};
#define HSL_BUF_SHARE _IO(HSL_TYPE, HSL_CMD_BUF_SHARE)

/**
 * struct hsl_buf_revoke - ioctl(HSL_BUF_REVOKE)
 * @size: sizeof(struct hsl_buf_revoke)
 * @flags: 0
 * @fd: of HSL_BUF_CREATE or HSL_BUF_SHARE
 * @share: made from @fd, or from one that was made from it; or, where @fd is of
 *         HSL_BUF_CREATE, that file itself
 *
 * Takes @share, and what was made from it, from all who have it; other shares are not
 * affected. On return no mapping of it leads to the memory: a CPU that touches one gets
 * SIGBUS, a device HSL_ST_PAGE_FAULT, and mmap() of the file gives ENODEV. Direct I/O
 * that was under way is not waited for. To revoke what is revoked is no mistake.
 *
 * errno: EBADF, EINVAL as for HSL_BUF_SHARE, of either file; EACCES @share was not
 * made from @fd.
 */
struct hsl_buf_revoke {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__s32 share;
};
#define HSL_BUF_REVOKE _IO(HSL_TYPE, HSL_CMD_BUF_REVOKE)

/**
 * struct hsl_buf_import - ioctl(HSL_BUF_IMPORT)
 * @size: sizeof(struct hsl_buf_import)
 * @flags: 0
 * @addr: first address of a mapping of the dma-buf, of a page
 * @len: bytes, whole pages, all in that one mapping
 * @fd: dma-buf of whichever driver
 * @handle: out, for HSL_BUF_UNIMPORT; 0: nothing is to be taken back
 *
 * Lets the device work where the process has mapped a dma-buf. With HSL_SVA_IOMMU,
 * and where the exporter maps ordinary pages, as those of HSL_BUF_CREATE are for the
 * devices of its fabric, it can do so anyway, @handle is 0 and the call merely says so.
 * With HSL_SVA_HMM the device is attached to the dma-buf (dynamically: the exporter may
 * move it), until HSL_BUF_UNIMPORT, HSL_BIND or the end of the context, and every mapping
 * of that dma-buf through the same file is served, with the protection that it has. After
 * munmap() the address is a page fault, as is any of a dma-buf that is not imported.
 *
 * errno: EBADF @fd is not open; EINVAL it is no dma-buf, @addr or @len are not of whole
 * pages, or they are not in one shared mapping of this dma-buf, of its own file; EFAULT nothing
 * is mapped at @addr; EOPNOTSUPP the exporter does not let this device attach, or with
 * HSL_SVA_HMM the mapping has an offset of the exporter's own (DRM drivers') or one from
 * 4 GiB on, or this kernel has no dma-buf; ENOSPC the context has 64 imports.
 */
struct hsl_buf_import {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 len;
	__s32 fd;
	__u32 handle;
};
#define HSL_BUF_IMPORT _IO(HSL_TYPE, HSL_CMD_BUF_IMPORT)

/**
 * struct hsl_buf_unimport - ioctl(HSL_BUF_UNIMPORT)
 * @size: sizeof(struct hsl_buf_unimport)
 * @flags: 0
 * @handle: of HSL_BUF_IMPORT; on return the device uses nothing of it any more
 * @reserved: 0
 *
 * errno: ENOENT the context has no such handle.
 */
struct hsl_buf_unimport {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 reserved;
};
#define HSL_BUF_UNIMPORT _IO(HSL_TYPE, HSL_CMD_BUF_UNIMPORT)

#endif /* _UAPI_LINUX_HSL_H */
