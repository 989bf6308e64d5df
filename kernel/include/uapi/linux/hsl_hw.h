/* SPDX-License-Identifier: (GPL-2.0-or-later WITH Linux-syscall-note) OR MIT */
/*
 * HSL-like accelerator endpoint: the hardware contract.
 *
 * The one place where the hardware is written down for programs: the QEMU
 * device, the driver, the library, the qtests and the tools all include this
 * file. Documentation/hardware/ is its prose: section numbers (HW 3.2) below
 * refer to it.
 *
 * All fields are little-endian. Registers are accessed with naturally aligned
 * 32-bit accesses; registers marked u64 also accept one aligned 64-bit access.
 * A read of an undefined offset gives 0, a write to one is ignored.
 */
#ifndef _UAPI_LINUX_HSL_HW_H
#define _UAPI_LINUX_HSL_HW_H

#include <linux/types.h>

/*
 * Identity (HW 1). Class 0x120000; vendor and device id are the card maker's.
 * What makes a function an HSL endpoint is this DVSEC.
 */
#define HSL_PCI_CLASS			0x120000
#define HSL_DVSEC_VENDOR		0x1234
#define HSL_DVSEC_ID			0x4853
#define HSL_DVSEC_REV			1
#define HSL_DVSEC_LEN			0x18
#define HSL_DVSEC_VERSION		0x0a	/* u16, HSL_VERSION */
#define HSL_DVSEC_CAPS			0x0c	/* u32, HSL_CAP_* */
#define HSL_DVSEC_CTRL_BAR		0x10	/* u8, BAR number */
#define HSL_DVSEC_DB_BAR		0x11	/* u8, BAR number */
#define HSL_DVSEC_MEM_BAR		0x12	/* u8, BAR number or HSL_BAR_NONE */
#define HSL_DVSEC_NR_PORTS		0x13	/* u8, link ports */
#define HSL_BAR_NONE			0xff

#define HSL_VERSION_MAJOR		1
#define HSL_VERSION_MINOR		0
#define HSL_VERSION			((HSL_VERSION_MAJOR << 8) | HSL_VERSION_MINOR)

#define HSL_CAP_XLATE_BUS		(1u << 0)
#define HSL_CAP_XLATE_IOMMU		(1u << 1)
#define HSL_CAP_XLATE_DEVICE		(1u << 2)
#define HSL_CAP_MEM			(1u << 3)
#define HSL_CAP_ORACLE			(1u << 4)
#define HSL_CAP_LINK			(1u << 5)	/* is a node of a fabric */
#define HSL_CAP_TIMED			(1u << 6)	/* HSL_DESC_F_TIMED is known */

/*
 * Control BAR (HW 2). Privileged: never mapped to a process.
 */
#define HSL_REG_MAGIC			0x000	/* RO u32 */
#define   HSL_MAGIC			0x314c5348	/* "HSL1" */
#define HSL_REG_VERSION			0x004	/* RO u32, HSL_VERSION */
#define HSL_REG_CAPS			0x008	/* RO u32, HSL_CAP_* */
#define HSL_REG_NR_QUEUES		0x010	/* RO u32 */
#define HSL_REG_NR_CONTEXTS		0x014	/* RO u32 */
#define HSL_REG_NR_VECTORS		0x018	/* RO u32, MSI-X vectors */
#define HSL_REG_RING_ORDER		0x01c	/* RO u32, log2 of the largest ring */
#define HSL_REG_MAX_XFER		0x020	/* RO u32, bytes a descriptor may name */
#define HSL_REG_EVQ_ORDER_MAX		0x024	/* RO u32, log2 of the largest event queue */
#define HSL_REG_OPS			0x028	/* RO u64, bit n: opcode n exists */
#define HSL_REG_MEM_SIZE		0x030	/* RO u64, bytes of device memory */
#define HSL_REG_CTRL			0x080	/* RW u32 */
#define   HSL_CTRL_ENABLE		(1u << 0)	/* queues may run */
#define   HSL_CTRL_RESET		(1u << 1)	/* WO, reads 0 */
#define HSL_REG_STATUS			0x084	/* RO u32 */
#define   HSL_STATUS_READY		(1u << 0)
#define   HSL_STATUS_EVQ_ERROR		(1u << 1)	/* event queue unreachable */
#define   HSL_STATUS_FLTQ_ERROR		(1u << 2)	/* fault queue unreachable or off */
#define HSL_REG_GENERATION		0x088	/* RO u32, +1 at every reset */
#define HSL_REG_ORACLE			0x08c	/* RW u32, 1: check every access */
#define HSL_REG_NODE			0x090	/* RO u32, this device's in the fabric */
#define   HSL_NODE_NONE			0xffffffffu
#define HSL_REG_FABRIC			0x094	/* RO u32, the same in all nodes of a fabric */
#define HSL_REG_NR_PORTS		0x098	/* RO u32, link ports */

/* Event queue (HW 5): a ring of struct hsl_hw_event in DMA memory. */
#define HSL_REG_EVQ_BASE		0x100	/* RW u64, bus address, 4 KiB aligned */
#define HSL_REG_EVQ_ORDER		0x108	/* RW u32, log2 of the entries */
#define HSL_REG_EVQ_VECTOR		0x10c	/* RW u32 */
#define HSL_REG_EVQ_CTRL		0x110	/* RW u32 */
#define   HSL_EVQ_ENABLE		(1u << 0)	/* 0 to 1 empties the queue */
#define HSL_REG_EVQ_HEAD		0x114	/* RW u32, entries consumed, free running */
#define HSL_REG_EVQ_TAIL		0x118	/* RO u32, entries produced, free running */
#define HSL_REG_EVQ_LOST		0x11c	/* RO u32, events not recorded */

/*
 * Fault queue (HW 5.3): a ring of struct hsl_hw_fault in DMA memory, for
 * contexts with HSL_XLATE_DEVICE. Registers as those of the event queue. A ring
 * of FLTQ_ORDER_MIN or more never fills up: no more faults are outstanding.
 */
#define HSL_REG_FLTQ_BASE		0x120	/* RW u64, bus address, 4 KiB aligned */
#define HSL_REG_FLTQ_ORDER		0x128	/* RW u32, log2 of the entries */
#define HSL_REG_FLTQ_VECTOR		0x12c	/* RW u32 */
#define HSL_REG_FLTQ_CTRL		0x130	/* RW u32 */
#define   HSL_FLTQ_ENABLE		(1u << 0)	/* 0 to 1 empties the queue */
#define HSL_REG_FLTQ_HEAD		0x134	/* RW u32, entries consumed, free running */
#define HSL_REG_FLTQ_TAIL		0x138	/* RO u32, entries produced, free running */
#define HSL_REG_FLTQ_ORDER_MIN		0x13c	/* RO u32 */

/* Counters (HW 6): RO u64 each, HSL_REG_COUNTER(enum hsl_counter). */
#define HSL_REG_COUNTERS		0x200
#define HSL_REG_COUNTER(n)		(HSL_REG_COUNTERS + 8 * (n))
enum hsl_counter {
	HSL_CNT_OPS,		/* descriptors completed, whatever the status */
	HSL_CNT_BYTES,		/* sum of hsl_cqe.bytes */
	HSL_CNT_ATS_REQUESTS,	/* translation requests sent */
	HSL_CNT_ATC_HITS,	/* pieces of work that found their translation cached */
	HSL_CNT_PAGE_REQUESTS,	/* pages asked for by PRI, records in the fault queue */
	HSL_CNT_INVALIDATIONS,	/* invalidations acknowledged */
	HSL_CNT_DOORBELLS,	/* doorbell writes, and signals that have come */
	HSL_CNT_INTERRUPTS,	/* completion interrupts raised */
	HSL_CNT_FAULTS,		/* descriptors completed PAGE_FAULT or BUS_ERROR */
	HSL_CNT_QUEUE_ERRORS,	/* queues stopped with an error */
	HSL_CNT_ORACLE_CHECKS,	/* accesses the oracle checked */
	HSL_CNT_ORACLE_BREACHES, /* accesses through an invalidated translation */
	HSL_CNT_WALKS,		/* walks of the device's own page tables */
	HSL_CNT_POISONED,	/* accesses refused for poison */
	HSL_CNT_HOST_BYTES,	/* bytes of operands in host memory, */
	HSL_CNT_OWN_BYTES,	/* in the device's own, */
	HSL_CNT_LINK_BYTES,	/* in a peer's, over the link, */
	HSL_CNT_PCIE_BYTES,	/* over PCIe below one switch, */
	HSL_CNT_VIA_HOST_BYTES,	/* over PCIe through the host bridge */
	HSL_CNT_UNREACHABLE,	/* descriptors completed PEER_UNREACHABLE or LINK_ERROR */
	HSL_CNT_NR,
};

/* Contexts (HW 3.1): an address space the device may work in. */
#define HSL_REG_CONTEXTS		0x1000
#define HSL_CTX_STRIDE			0x20
#define HSL_REG_CTX(n)			(HSL_REG_CONTEXTS + HSL_CTX_STRIDE * (n))
#define HSL_CTX_CTRL			0x00	/* RW u32 */
#define   HSL_CTX_VALID			(1u << 0)	/* 1 to 0 stops its queues */
#define   HSL_CTX_ERROR			(1u << 31)	/* RO, last 0 to 1 was refused */
#define HSL_CTX_XLATE			0x04	/* RW u32, enum hsl_xlate */
#define HSL_CTX_PASID			0x08	/* RW u32, 20 bits, for HSL_XLATE_IOMMU */
#define HSL_CTX_ROOT			0x10	/* RW u64, for HSL_XLATE_DEVICE: bus address of
						   the top table, 4 KiB aligned */
#define HSL_MAX_CONTEXTS		1024
enum hsl_xlate {
	HSL_XLATE_BUS,		/* bus addresses, for the kernel's own queues */
	HSL_XLATE_IOMMU,	/* ATS, PASID and PRI */
	HSL_XLATE_DEVICE,	/* the device's own page tables */
};

/*
 * Page tables of the device (HW 5.2): 4 levels of 4 KiB tables with 512 entries
 * of 64 bits, 9 bits of the address each, the top one bits 47:39. Addresses in
 * entries are bus addresses, or, with LOCAL, offsets in device memory. Entries
 * are read with one 64-bit access. Bits not named here are 0, or the access ends
 * with BUS_ERROR. An entry that is not VALID, or a write without WRITE, is a
 * fault for the fault queue.
 */
#define HSL_PT_LEVELS			4
#define HSL_PT_ENTRIES			512
#define HSL_PT_VA_BITS			48
#define HSL_PTE_VALID			(1ull << 0)
#define HSL_PTE_WRITE			(1ull << 1)	/* leaf */
#define HSL_PTE_LEAF			(1ull << 2)	/* in the last table always; in the one
							   above: 2 MiB, aligned */
#define HSL_PTE_LOCAL			(1ull << 3)	/* leaf: offset in device memory, */
#define HSL_PTE_NODE(n)			((__u64)((n) + 1) << 52)	/* of this node's; 0: own */
#define HSL_PTE_NODE_MASK		0x0ff0000000000000ull
#define HSL_PTE_ADDR			0x000ffffffffff000ull
#define HSL_PTE_SOFT			(1ull << 4)	/* leaf: the driver's own, ignored */

/*
 * The link (HW 7). Devices that are joined to one fabric are its nodes. A node
 * has ports, each with a link to a port of another node or of a switch.
 */
#define HSL_MAX_NODES			16
#define HSL_MAX_PORTS			16
#define HSL_PACKET			256	/* bytes of payload, at most */
#define HSL_PACKET_OVERHEAD		16	/* header and CRC */
#define HSL_REG_PORTS			0x9000
#define HSL_PORT_STRIDE			0x80
#define HSL_REG_PORT(n)			(HSL_REG_PORTS + HSL_PORT_STRIDE * (n))
#define HSL_PORT_CTRL			0x00	/* RW u32, ENABLE after reset */
#define   HSL_PORT_ENABLE		(1u << 0)
#define   HSL_PORT_RETRAIN		(1u << 1)	/* WO, reads 0 */
#define HSL_PORT_STATE			0x04	/* RO u32, enum hsl_link_state */
#define HSL_PORT_REASON			0x08	/* RO u32, enum hsl_link_reason */
#define HSL_PORT_NEIGHBOUR		0x0c	/* RO u32, node | port << 8 at the other end */
#define   HSL_NEIGHBOUR_SWITCH		0xff	/* as the node: a switch */
#define   HSL_NEIGHBOUR_NODE(v)		((v) & 0xff)
#define   HSL_NEIGHBOUR_PORT(v)		((v) >> 8 & 0xff)
#define HSL_PORT_WIDTH			0x10	/* RO u32, lanes in use, 0 while down */
#define HSL_PORT_WIDTH_MAX		0x14	/* RO u32, lanes there are */
#define HSL_PORT_RATE			0x18	/* RO u32, Mbit/s per lane */
#define HSL_PORT_LATENCY		0x1c	/* RO u32, ns from end to end, with what delays it */
#define HSL_PORT_CREDITS		0x20	/* RO u32, packets that may be unacknowledged now */
#define HSL_PORT_COUNTERS		0x28	/* RO u64 each */
#define HSL_PORT_COUNTER(n)		(HSL_PORT_COUNTERS + 8 * (n))
enum hsl_port_counter {
	HSL_PORT_CRC_ERRORS,	/* packets that arrived here damaged */
	HSL_PORT_REPLAYS,	/* packets sent from here once more */
	HSL_PORT_RETRAINS,	/* times the link was trained again */
	HSL_PORT_TX_PACKETS,
	HSL_PORT_RX_PACKETS,
	HSL_PORT_TX_BYTES,	/* of payload */
	HSL_PORT_RX_BYTES,
	HSL_PORT_CNT_NR,
};

enum hsl_link_state {
	HSL_LINK_DOWN,
	HSL_LINK_TRAINING,	/* becomes ACTIVE or DEGRADED; transfers wait for it */
	HSL_LINK_ACTIVE,
	HSL_LINK_DEGRADED,	/* active, with fewer lanes than there are */
	HSL_LINK_ERROR,		/* down until RETRAIN is written */
	HSL_LINK_NR,
};

/* Why a link is DOWN or in ERROR */
enum hsl_link_reason {
	HSL_LINK_NO_REASON,
	HSL_LINK_DISABLED,	/* ENABLE is 0 at either end */
	HSL_LINK_NO_PARTNER,	/* the device at the other end is not there */
	HSL_LINK_CUT,		/* from outside */
	HSL_LINK_NO_LANES,	/* all are lost */
	HSL_LINK_REPLAYS,	/* a packet was not acknowledged however often it was sent */
	HSL_LINK_STARVED,	/* the other end gave no credits for too long */
};

/* How to get to a node: hops | port << 8, or HSL_ROUTE_NONE. RO u32 each. */
#define HSL_REG_ROUTES			0x9800
#define HSL_REG_ROUTE(node)		(HSL_REG_ROUTES + 4 * (node))
#define   HSL_ROUTE_NONE		0xffffffffu
#define   HSL_ROUTE_HOPS(v)		((v) & 0xff)	/* links; 0: this node */
#define   HSL_ROUTE_PORT(v)		((v) >> 8 & 0xff)

/*
 * Peers (HW 7.4): where translations lead into the memory of other devices. A
 * translated address within BASE, SIZE belongs to a peer. BASE, SIZE and NODE are
 * writable while VALID is 0. Ranges that overlap are refused.
 */
#define HSL_MAX_PEERS			32
#define HSL_REG_PEERS			0x9a00
#define HSL_PEER_STRIDE			0x20
#define HSL_REG_PEER(n)			(HSL_REG_PEERS + HSL_PEER_STRIDE * (n))
#define HSL_PEER_BASE			0x00	/* RW u64, physical address, 4 KiB aligned */
#define HSL_PEER_SIZE			0x08	/* RW u64, bytes, of whole pages */
#define HSL_PEER_NODE			0x10	/* RW u32, or HSL_NODE_NONE: no link leads there */
#define HSL_PEER_CTRL			0x14	/* RW u32 */
#define   HSL_PEER_VALID		(1u << 0)	/* stays 0 when refused */
#define   HSL_PEER_PCIE			(1u << 1)	/* both are below one PCIe switch */
#define   HSL_PEER_VIA_HOST		(1u << 2)	/* the host bridge forwards */

/* Ways to the memory of a peer, tried in this order: HSL_Q_ROUTES */
#define HSL_ROUTE_LINK			(1u << 0)
#define HSL_ROUTE_PCIE			(1u << 1)
#define HSL_ROUTE_VIA_HOST		(1u << 2)
#define HSL_ROUTE_ALL			(HSL_ROUTE_LINK | HSL_ROUTE_PCIE | HSL_ROUTE_VIA_HOST)

/*
 * Invalidation of what the device cached of a context's page tables, leaves and
 * tables alike, for HSL_XLATE_DEVICE (HW 5.2). Writing LAST, its high half when
 * 32 bits at a time, starts it; when STATUS reads 0, no access through what the
 * tables said before happens any more. One at a time per context. These and
 * FAULT_RESPONSE take no lock that a page fault or an interrupt may be waiting
 * for.
 */
#define HSL_REG_INVS			0x60000
#define HSL_INV_STRIDE			0x20
#define HSL_REG_INV(n)			(HSL_REG_INVS + HSL_INV_STRIDE * (n))
#define HSL_INV_START			0x00	/* RW u64, first address */
#define HSL_INV_LAST			0x08	/* RW u64, last address */
#define HSL_INV_STATUS			0x10	/* RO u32 */
#define   HSL_INV_BUSY			(1u << 0)

/* Answer to a fault: tag | enum hsl_fault_code << 32. Unknown tags are ignored. */
#define HSL_REG_FAULT_RESPONSE		0x70000	/* WO u64 */
#define HSL_FAULT_RESPONSE(tag, code)	((__u64)(code) << 32 | (tag))
enum hsl_fault_code {
	HSL_FAULT_RETRY,	/* the tables have changed: look again */
	HSL_FAULT_REFUSED,	/* no such access; of several pages, the first */
	HSL_FAULT_POISON,	/* the first page has lost its contents */
};

/*
 * Signals (HW 7.5): which queues the queues of a context may ring, of this device or
 * of another node. USER, NODE and QUEUE are writable while VALID is 0. An entry is
 * for the run of its queue that it found when it became VALID, and for no later one.
 */
#define HSL_MAX_SIGNALS			256
#define HSL_REG_SIGNALS			0x71000
#define HSL_SIGNAL_STRIDE		0x10
#define HSL_REG_SIGNAL(n)		(HSL_REG_SIGNALS + HSL_SIGNAL_STRIDE * (n))
#define HSL_SIGNAL_USER			0x00	/* RW u32, context whose queues may use it */
#define HSL_SIGNAL_NODE			0x04	/* RW u32, or HSL_NODE_NONE: this device */
#define HSL_SIGNAL_QUEUE		0x08	/* RW u32, queue there */
#define HSL_SIGNAL_CTRL			0x0c	/* RW u32 */
#define   HSL_SIGNAL_VALID		(1u << 0)	/* stays 0 when refused */

/* MSI-X table and pending bits live in the control BAR. */
#define HSL_MSIX_TABLE			0xa000
#define HSL_MSIX_PBA			0xf000

/* Queues (HW 3.2). Configuration is writable while the queue is STOPPED. */
#define HSL_REG_QUEUES			0x10000
#define HSL_Q_STRIDE			0x100
#define HSL_REG_Q(n)			(HSL_REG_QUEUES + HSL_Q_STRIDE * (n))
#define HSL_Q_CTRL			0x00	/* RW u32 */
#define   HSL_Q_RUN			(1u << 0)	/* 1: start, 0: stop */
#define HSL_Q_STATUS			0x04	/* RO u32, enum hsl_q_state | error << 8 */
#define   HSL_Q_STATE(s)		((s) & 0xff)
#define   HSL_Q_ERROR(s)		(((s) >> 8) & 0xff)
#define HSL_Q_CONTEXT			0x08	/* RW u32 */
#define HSL_Q_VECTOR			0x0c	/* RW u32, HSL_VECTOR_NONE: no interrupt */
#define   HSL_VECTOR_NONE		0xffffffffu
#define HSL_Q_SQ_BASE			0x10	/* RW u64, 64-byte aligned */
#define HSL_Q_CQ_BASE			0x18	/* RW u64, 64-byte aligned */
#define HSL_Q_CTL_BASE			0x20	/* RW u64, struct hsl_q_ctl, 128-byte aligned */
#define HSL_Q_SQ_ORDER			0x28	/* RW u32, log2 of the entries */
#define HSL_Q_CQ_ORDER			0x2c	/* RW u32, log2 of the entries, >= SQ_ORDER */
#define HSL_Q_OPS			0x30	/* RW u64, allowed opcodes */
#define HSL_Q_COALESCE_COUNT		0x38	/* RW u32, completions an interrupt waits for */
#define HSL_Q_COALESCE_USECS		0x3c	/* RW u32, and no longer than this; <= 1 s */
#define HSL_Q_PRIORITY			0x40	/* RW u32, 0 (low) to 3; share 1, 2, 4, 8 */
#define HSL_Q_ROUTES			0x4c	/* RW u32, HSL_ROUTE_LINK | ...; all after reset */
#define HSL_Q_SQ_HEAD			0x44	/* RO u32, descriptors fetched */
#define HSL_Q_CQ_TAIL			0x48	/* RO u32, completions written */
#define HSL_Q_COUNTERS			0x80	/* RO u64 each, of this queue since start */
#define HSL_Q_COUNTER(n)		(HSL_Q_COUNTERS + 8 * (n)) /* HSL_CNT_OPS .. FAULTS */
#define HSL_Q_CNT_NR			(HSL_CNT_FAULTS + 1)
#define HSL_MAX_QUEUES			1024
#define HSL_CTRL_BAR_SIZE		0x80000

enum hsl_q_state {
	HSL_Q_STOPPED,
	HSL_Q_RUNNING,
	HSL_Q_STOPPING,		/* page requests outstanding; ends by itself */
	HSL_Q_FAILED,		/* stopped by an error; write RUN = 0 to clear */
};

enum hsl_q_error {
	HSL_QERR_NONE,
	HSL_QERR_CONFIG,	/* RUN refused: a queue register is out of range */
	HSL_QERR_CONTEXT,	/* RUN refused, or context went invalid */
	HSL_QERR_DOORBELL,	/* tail, rung or in sq_tail, not within the ring */
	HSL_QERR_SQ_FAULT,	/* submission ring unreachable */
	HSL_QERR_CQ_FAULT,	/* completion ring unreachable */
	HSL_QERR_CTL_FAULT,	/* control words unreachable */
	HSL_QERR_CQ_OVERFLOW,	/* completion ring full: completions not consumed */
	HSL_QERR_BUS,		/* a ring lies in memory that is not RAM */
	HSL_QERR_POISON,	/* a ring lies in poisoned memory */
	HSL_QERR_PEER,		/* a ring lies in the memory of a peer that is out of reach */
};

/*
 * Doorbell BAR (HW 4): page n belongs to queue n. A 32-bit write at offset 0
 * of the page sets the tail. All else reads 0 and ignores writes.
 */
#define HSL_DB_STRIDE			0x1000
#define HSL_DB_TAIL			0x000	/* WO u32, descriptors written, free running */

/*
 * Queue control words (HW 4.1), in process memory: one line written by the
 * device, one by the process. Indices run free over 32 bits; entry = index
 * modulo ring size.
 *
 * To submit: write descriptors, store sq_tail (release), full barrier, load
 * db_needed; if it is not 0, write the tail to the doorbell.
 * To be interrupted: store cq_event = index of a completion, full barrier,
 * then look at the completion ring once more before sleeping. The interrupt
 * comes when completion number cq_event has been written.
 */
struct hsl_q_ctl {
	/* written by the device */
	__u32 sq_head;		/* descriptors fetched: their slots are free; may lag
				   behind the completions, which say it too */
	__u32 db_needed;	/* not 0: the device sleeps, ring the doorbell */
	__u32 dev_reserved[14];
	/* written by the process */
	__u32 sq_tail;		/* descriptors written; may lag behind what was rung */
	__u32 cq_head;		/* completions consumed */
	__u32 cq_event;
	__u32 reserved[13];
};

/* Operations (HW 4.3) */
enum hsl_op {
	HSL_OP_NOP,
	HSL_OP_COPY,		/* dst = src, memmove semantics */
	HSL_OP_FILL,		/* dst = 8-byte pattern operand[0], repeated */
	HSL_OP_COMPARE,		/* result = offset of the first difference, or len */
	HSL_OP_CRC32C,		/* result = crc32c of src, seed operand[0] */
	HSL_OP_ATOMIC_ADD,	/* *dst += operand[0]; result = old */
	HSL_OP_ATOMIC_SWAP,	/* *dst = operand[0]; result = old */
	HSL_OP_ATOMIC_CAS,	/* if *dst == operand[0], *dst = operand[1]; result = old */
	HSL_OP_FENCE,		/* ends after all earlier, before any later one starts */
	HSL_OP_SIGNAL,		/* ring the queue of signal operand[0]: tail operand[1] */
	HSL_OP_NR,
};

#define HSL_DESC_F_FENCE	(1u << 0)	/* start after all earlier ones ended */
#define HSL_DESC_F_TIMED	(1u << 1)	/* tell how long it took; needs HSL_CAP_TIMED */
#define HSL_DESC_F_VALID	(HSL_DESC_F_FENCE | HSL_DESC_F_TIMED)

struct hsl_desc {
	__u8 op;		/* enum hsl_op */
	__u8 flags;		/* HSL_DESC_F_* */
	__u16 reserved0;	/* 0 */
	__u32 len;		/* bytes; 4 or 8 for an atomic */
	__u64 user_data;	/* returned in the completion */
	__u64 dst;		/* COPY, FILL, atomics; COMPARE: the second operand */
	__u64 src;		/* COPY, COMPARE, CRC32C */
	__u64 operand[2];
	__u64 reserved1[2];	/* 0 */
};

/* Completion status (HW 4.4) */
enum hsl_status {
	HSL_ST_OK,
	HSL_ST_INVALID,		/* opcode, flags, reserved bits, length, alignment */
	HSL_ST_NOT_PERMITTED,	/* opcode outside the queue's mask, or no such signal */
	HSL_ST_PAGE_FAULT,	/* addr, access and bytes say where */
	HSL_ST_BUS_ERROR,	/* addr translates to something that is not memory */
	HSL_ST_POISON,		/* addr lies in memory that has lost its contents */
	HSL_ST_PEER_UNREACHABLE, /* addr lies in the memory of a peer, and no route that the
				    queue allows leads there */
	HSL_ST_LINK_ERROR,	/* the link to that peer was lost under way */
	HSL_ST_NR,
};

/* struct hsl_cqe.access, struct hsl_hw_event.access, struct hsl_hw_fault.access */
#define HSL_ACCESS_WRITE	(1u << 0)	/* else a read */
#define HSL_ACCESS_BACKWARD	(1u << 1)	/* COPY up onto itself: bytes counts from the end */

/*
 * Written payload first, the last eight bytes in one store with release
 * semantics: an entry whose lap is (index >> order) + 1, modulo 2^16, is
 * complete. Laps start at 1, so that a zeroed ring is empty.
 */
struct hsl_cqe {
	__u64 user_data;
	__u64 result;		/* see enum hsl_op; CRC32C fault: crc so far */
	__u64 addr;		/* OK of a TIMED one: durations, HSL_TIME_*; OK of others: 0;
				   PAGE_FAULT and the statuses after it: the address */
	__u32 bytes;		/* bytes done, from the start unless access says BACKWARD */
	__u8 status;		/* enum hsl_status */
	__u8 access;		/* of the same: HSL_ACCESS_* bits */
	__u16 lap;
};

/*
 * What a TIMED operation took (HW 7.6), in ns, 0xffffffff for what is more. The
 * one is what a model says, the same for the same transfers; the other was
 * measured, from the fetch of the descriptor to its completion.
 */
#define HSL_TIME_MODEL(addr)	((__u32)(addr))
#define HSL_TIME_REAL(addr)	((__u32)((addr) >> 32))

/* Memory in that model: ns until the first byte, bytes per microsecond from there */
#define HSL_MODEL_HOST_LATENCY		500u
#define HSL_MODEL_HOST_RATE		50000u
#define HSL_MODEL_OWN_LATENCY		100u
#define HSL_MODEL_OWN_RATE		200000u
#define HSL_MODEL_PCIE_LATENCY		800u	/* of a peer, below one switch */
#define HSL_MODEL_PCIE_RATE		25000u
#define HSL_MODEL_VIA_HOST_LATENCY	1500u	/* of a peer, through the host bridge */
#define HSL_MODEL_VIA_HOST_RATE		12500u

/* Event queue entries (HW 5) */
enum hsl_event_type {
	HSL_EV_NONE,
	HSL_EV_PAGE_FAULT,	/* a descriptor completed PAGE_FAULT, BUS_ERROR or POISON */
	HSL_EV_QUEUE_ERROR,	/* code: enum hsl_q_error */
	HSL_EV_POISON,		/* device memory has lost a page: addr is its offset;
				   queue and context are 0xffffffff */
	HSL_EV_LINK,		/* a link changed: queue is the port, code its state,
				   access the reason; context is 0xffffffff */
};

struct hsl_hw_event {
	__u16 type;		/* enum hsl_event_type */
	__u8 code;		/* QUEUE_ERROR: enum hsl_q_error, else hsl_status */
	__u8 access;		/* HSL_ACCESS_* bits */
	__u32 queue;
	__u32 context;
	__u32 pasid;
	__u64 addr;
	__u64 user_data;	/* PAGE_FAULT: of the descriptor */
};

/*
 * Fault queue entries (HW 5.3). Each is answered once, by FAULT_RESPONSE. The last
 * eight bytes are written last, and lap says the same as in struct hsl_cqe.
 */
struct hsl_hw_fault {
	__u32 tag;		/* to be repeated in the answer */
	__u32 context;
	__u64 addr;		/* of a page */
	__u64 reserved0;
	__u32 pages;		/* that the operation goes on to, this one included */
	__u8 access;		/* HSL_ACCESS_WRITE or 0 */
	__u8 reserved1;
	__u16 lap;
};

#endif /* _UAPI_LINUX_HSL_HW_H */
