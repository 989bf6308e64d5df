/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * libhsl: HSL devices from a program.
 *
 * Descriptors carry the program's own pointers: nothing is registered, pinned
 * or translated by hand. Every function that can fail returns -errno.
 *
 * Threads: a context may be used by any threads at once; a queue by one thread
 * at a time. Give each thread a queue of its own.
 *
 * Fork: the child does not get the queues. On a queue of the parent
 *   hsl_get_desc(), hsl_cqe_at()                       give NULL,
 *   hsl_in_flight(), hsl_sq_space(), hsl_sq_refresh(),
 *   hsl_sq_tail()                                      give 0,
 *   hsl_seen()                                         does nothing,
 *   everything else                                    gives -EPERM.
 * On a context of the parent only hsl_close(), hsl_fd(), hsl_free() and
 * hsl_unimport() work, on what is the child's own of it.
 */
#ifndef HSL_H
#define HSL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/hsl.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HSL_LIB_MAJOR	0
#define HSL_LIB_MINOR	1

/* An open device in the address space of this process. */
struct hsl_ctx;

/*
 * A queue. The members belong to the functions below. They are laid out here
 * because the fast path is inline, and they are part of the ABI: a version of
 * the library that moves them has another soname. Memory of this kind reads as
 * zeros in a forked child, so every test for zero here is a test for that.
 */
struct hsl_queue {
	struct hsl_desc *sq;
	struct hsl_cqe *cq;
	struct hsl_q_ctl *ctl;
	volatile uint32_t *doorbell;	/* NULL: the CPU is the device, see hsl_wake() */
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint32_t cq_order;
	uint32_t sq_tail;	/* next descriptor to hand out */
	uint32_t sq_published;	/* tail the device was told */
	uint32_t sq_head;	/* what we last saw in ctl->sq_head */
	uint32_t cq_head;	/* next completion to look at */
	uint32_t traced;	/* descriptors and completions are recorded: HSL_TRACE */
};

/* Context */

struct hsl_open_opts {
	uint32_t size;		/* sizeof(struct hsl_open_opts) */
	uint32_t flags;		/* 0 */
	uint32_t sva;		/* enum hsl_sva; 0: by HSL_SVA, or the first that works */
	uint32_t routes;	/* HSL_ROUTE_*: ways to other devices' memory that queues may
				   use unless they say otherwise; 0: by HSL_ROUTES, or all */
};

int hsl_open(const char *path, const struct hsl_open_opts *opts, struct hsl_ctx **ctx);
void hsl_close(struct hsl_ctx *ctx);
int hsl_fd(const struct hsl_ctx *ctx);
int hsl_query(struct hsl_ctx *ctx, struct hsl_query *info);
int hsl_counters(struct hsl_ctx *ctx, const struct hsl_queue *q, uint64_t *values, unsigned int nr);
int hsl_peers(struct hsl_ctx *ctx, struct hsl_peer_info *peers, unsigned int nr);
int hsl_events(struct hsl_ctx *ctx, struct hsl_event *events, unsigned int nr, uint32_t *lost);

/* Queue */

struct hsl_queue_opts {
	uint32_t size;		/* sizeof(struct hsl_queue_opts) */
	uint32_t flags;		/* 0 */
	uint32_t sq_entries;	/* power of two; 0: 64, or the most there can be */
	uint32_t cq_entries;	/* power of two, >= sq_entries; 0: sq_entries */
	uint64_t ops;		/* opcodes allowed; 0: all */
	uint32_t priority;	/* 0 (low) to 3 */
	uint32_t coalesce_count;
	uint32_t coalesce_usecs;
	uint32_t spin;		/* looks hsl_wait() takes before it sleeps; 0: 1000 */
	uint32_t routes;	/* HSL_ROUTE_*, ways to other devices' memory; 0: the context's */
	uint32_t reserved;	/* 0 */
};

int hsl_queue_create(struct hsl_ctx *ctx, const struct hsl_queue_opts *opts, struct hsl_queue **q);
int hsl_queue_destroy(struct hsl_queue *q);
int hsl_queue_id(const struct hsl_queue *q);
int hsl_queue_state(const struct hsl_queue *q, struct hsl_queue_state *state);
int hsl_queue_eventfd(struct hsl_queue *q, enum hsl_eventfd_kind kind);

/* Signals: queues that ring other queues, without a CPU */

int hsl_queue_grant(struct hsl_queue *q);
int hsl_signal_add(struct hsl_ctx *ctx, int fd);
int hsl_signal_del(struct hsl_ctx *ctx, int handle);

/* One operation at a time, of any length, on a queue with nothing in flight */

int hsl_copy(struct hsl_queue *q, void *dst, const void *src, size_t len);
int hsl_fill(struct hsl_queue *q, void *dst, uint64_t pattern, size_t len);
int hsl_compare(struct hsl_queue *q, const void *a, const void *b, size_t len, size_t *differs);
int hsl_crc32c(struct hsl_queue *q, const void *src, size_t len, uint32_t *crc);

/*
 * Memory: any that a process has works, wherever it is. These say where.
 *
 * Device memory is anonymous memory like any other: the program and the device
 * read and write it, munmap() and exit give it back, a forked child has its copy. If
 * the administrator has chosen mode pcie it is a mapping of the device instead, that
 * hsl_free() and the end of the context give back and that a forked child does not have:
 * see hsl_alloc(3).
 */

int hsl_alloc(struct hsl_ctx *ctx, size_t len, void **mem);
int hsl_free(struct hsl_ctx *ctx, void *mem);
int hsl_migrate(struct hsl_ctx *ctx, void *mem, size_t len, enum hsl_where where,
		struct hsl_migrate *result);
int hsl_advise(struct hsl_ctx *ctx, void *mem, size_t len, enum hsl_advice advice,
	       enum hsl_where where);

/*
 * Memory by file descriptor: dma-bufs, which other processes and devices can be given.
 * One of this device's memory is created, shared with fewer rights (HSL_BUF_READ, or
 * HSL_BUF_ALL) and taken back; one of any driver is mapped, for program and device, until
 * hsl_unimport() unmaps the whole range.
 */

int hsl_buf_create(struct hsl_ctx *ctx, size_t len);
int hsl_buf_share(struct hsl_ctx *ctx, int fd, uint32_t rights);
int hsl_buf_revoke(struct hsl_ctx *ctx, int fd, int share);
int hsl_import(struct hsl_ctx *ctx, int fd, uint64_t offset, size_t len, int prot, void **mem);
int hsl_unimport(struct hsl_ctx *ctx, void *mem);

/*
 * Files into memory. Memory of a device is written by the disk itself, and host
 * memory is not touched, where that can be.
 */

enum hsl_file_why {
	HSL_FILE_DIRECT,	/* all was read directly */
	HSL_FILE_NO_DIRECT,	/* the file system has no direct I/O, or not for this file */
	HSL_FILE_REOPEN,	/* the file could not be opened again: permission, or deleted */
	HSL_FILE_UNALIGNED,	/* some was before or after whole blocks, or nothing is aligned */
	HSL_FILE_NO_PEER,	/* this file system or block driver does not transfer to PCI devices */
	HSL_FILE_NO_PATH,	/* what this disk writes does not come to the device */
};

struct hsl_file_io {
	uint32_t size;		/* sizeof(struct hsl_file_io) */
	uint32_t flags;		/* 0 */
	uint64_t direct;	/* out: bytes written by the disk */
	uint64_t bounced;	/* out: bytes that the CPU copied from the page cache */
	uint32_t why;		/* out: enum hsl_file_why, of those */
	uint32_t reserved;
};

ssize_t hsl_file_read(int fd, uint64_t offset, void *dst, size_t len, struct hsl_file_io *io);
const char *hsl_strfile(unsigned int why);

/* Text */

/* What went wrong and by how much; NULL: to stderr when HSL_LOG=1 is in the environment. */
typedef void (*hsl_log_fn)(const char *text);
void hsl_set_log(hsl_log_fn fn);

const char *hsl_strstatus(unsigned int status);
const char *hsl_strqerr(unsigned int qerr);
const char *hsl_strop(unsigned int op);
const char *hsl_strerror(int err);
int hsl_status_errno(unsigned int status);

/*
 * Ordering between the program and the device. Each name is a promise; the
 * code below uses nothing else to talk to the device.
 */

/* What was written before is visible to whoever observes @value in *@p. */
static inline void hsl_publish(uint32_t *p, uint32_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* What was written before @p was published is visible after. */
static inline uint32_t hsl_observe(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/*
 * Between a store of ours and a look at a word of the device, which does the
 * same the other way round: at least one side sees the other's store.
 */
static inline void hsl_store_then_look(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* The device finds everything written before when the doorbell reaches it. */
static inline void hsl_ring_doorbell(volatile uint32_t *doorbell, uint32_t tail)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile("fence w, o" ::: "memory");
#elif !defined(__x86_64__) && !defined(__i386__)
	/* x86 needs nothing: an uncached store does not pass an earlier one. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
	__atomic_store_n(doorbell, tail, __ATOMIC_RELAXED);
}

/* The same of a device that has no doorbell page: the CPU, hsl_open("cpu"). */
void hsl_wake(struct hsl_queue *q);

/*
 * For the functions below, when a queue is recorded (hslctl trace): the descriptors
 * taken and not yet published, which are @held for a signal or not; the @nr oldest
 * completions.
 */
void hsl_trace_submit(const struct hsl_queue *q, int held);
void hsl_trace_seen(const struct hsl_queue *q, uint32_t nr);

/* Submission */

/*
 * What the device has fetched, by its own word or by the completions we have
 * seen: as many descriptors were fetched at least, and that may be the later
 * news. Returns the free slots.
 */
static inline uint32_t hsl_sq_refresh(struct hsl_queue *q)
{
	if (!q->sq_entries)
		return 0;
	q->sq_head = hsl_observe(&q->ctl->sq_head);
	if ((int32_t)(q->cq_head - q->sq_head) > 0)
		q->sq_head = q->cq_head;
	return q->sq_entries - (q->sq_tail - q->sq_head);
}

/* How many descriptors hsl_get_desc() would give now. */
static inline uint32_t hsl_sq_space(struct hsl_queue *q)
{
	uint32_t slots, completions;

	if (!q->sq_entries)
		return 0;
	slots = hsl_sq_refresh(q);
	completions = q->cq_entries - (q->sq_tail - q->cq_head);
	return slots < completions ? slots : completions;
}

/*
 * The next free descriptor, or NULL when there is none: the ring is full, or
 * as many completions are on their way as their ring holds. Fill it with one
 * of hsl_prep_*() before hsl_submit().
 */
static inline struct hsl_desc *hsl_get_desc(struct hsl_queue *q)
{
	if (q->sq_tail - q->cq_head >= q->cq_entries)
		return NULL;
	if (q->sq_tail - q->sq_head >= q->sq_entries && !hsl_sq_refresh(q))
		return NULL;
	return &q->sq[q->sq_tail++ & (q->sq_entries - 1)];
}

static inline void hsl_prep(struct hsl_desc *d, enum hsl_op op, const void *dst, const void *src,
			    uint32_t len, uint64_t operand0, uint64_t operand1)
{
	d->op = (uint8_t)op;
	d->flags = 0;
	d->reserved0 = 0;
	d->len = len;
	d->user_data = 0;
	d->dst = (uintptr_t)dst;
	d->src = (uintptr_t)src;
	d->operand[0] = operand0;
	d->operand[1] = operand1;
	d->reserved1[0] = 0;
	d->reserved1[1] = 0;
}

static inline void hsl_prep_nop(struct hsl_desc *d)
{
	hsl_prep(d, HSL_OP_NOP, NULL, NULL, 0, 0, 0);
}

/* memmove(dst, src, len) */
static inline void hsl_prep_copy(struct hsl_desc *d, void *dst, const void *src, uint32_t len)
{
	hsl_prep(d, HSL_OP_COPY, dst, src, len, 0, 0);
}

static inline void hsl_prep_fill(struct hsl_desc *d, void *dst, uint64_t pattern, uint32_t len)
{
	hsl_prep(d, HSL_OP_FILL, dst, NULL, len, pattern, 0);
}

/* cqe.result: offset of the first byte that differs, or len */
static inline void hsl_prep_compare(struct hsl_desc *d, const void *a, const void *b, uint32_t len)
{
	hsl_prep(d, HSL_OP_COMPARE, b, a, len, 0, 0);
}

/* cqe.result: CRC32C of src. @crc is 0, or the CRC of what comes before src. */
static inline void hsl_prep_crc32c(struct hsl_desc *d, const void *src, uint32_t len, uint32_t crc)
{
	hsl_prep(d, HSL_OP_CRC32C, NULL, src, len, crc, 0);
}

/* Atomics work on 4 or 8 aligned bytes at @dst; cqe.result: the old value. */
static inline void hsl_prep_atomic_add(struct hsl_desc *d, void *dst, uint32_t bytes, uint64_t value)
{
	hsl_prep(d, HSL_OP_ATOMIC_ADD, dst, NULL, bytes, value, 0);
}

static inline void hsl_prep_atomic_swap(struct hsl_desc *d, void *dst, uint32_t bytes, uint64_t value)
{
	hsl_prep(d, HSL_OP_ATOMIC_SWAP, dst, NULL, bytes, value, 0);
}

static inline void hsl_prep_atomic_cas(struct hsl_desc *d, void *dst, uint32_t bytes,
				       uint64_t expected, uint64_t desired)
{
	hsl_prep(d, HSL_OP_ATOMIC_CAS, dst, NULL, bytes, expected, desired);
}

/* Ends after everything submitted before it and before anything after starts. */
static inline void hsl_prep_fence(struct hsl_desc *d)
{
	hsl_prep(d, HSL_OP_FENCE, NULL, NULL, 0, 0, 0);
}

/*
 * Rings the queue that @handle of hsl_signal_add() is for: its descriptors before @tail,
 * hsl_sq_tail() of it, start. After all earlier ones of this queue have ended: the
 * flag HSL_DESC_F_FENCE is set.
 */
static inline void hsl_prep_signal(struct hsl_desc *d, int handle, uint32_t tail)
{
	hsl_prep(d, HSL_OP_SIGNAL, NULL, NULL, 0, (uint32_t)handle, tail);
	d->flags = HSL_DESC_F_FENCE;
}

/* After hsl_prep_*(), which set them anew: */
static inline void hsl_desc_set_user_data(struct hsl_desc *d, uint64_t user_data)
{
	d->user_data = user_data;
}

static inline void hsl_desc_set_flags(struct hsl_desc *d, uint8_t flags)
{
	d->flags = flags;
}

/*
 * Hand every descriptor taken since the last call to the device; how many they
 * were. The doorbell is rung only if the device asks for it, and no system call is made
 * but to wake the CPU, where that is the device.
 */
static inline int hsl_submit(struct hsl_queue *q)
{
	uint32_t nr = q->sq_tail - q->sq_published;

	if (!nr)
		return q->sq_entries ? 0 : -EPERM;
	if (q->traced)
		hsl_trace_submit(q, 0);
	q->sq_published = q->sq_tail;
	hsl_publish(&q->ctl->sq_tail, q->sq_tail);
	hsl_store_then_look();
	if (__atomic_load_n(&q->ctl->db_needed, __ATOMIC_RELAXED)) {
		if (q->doorbell)
			hsl_ring_doorbell(q->doorbell, q->sq_tail);
		else
			hsl_wake(q);
	}
	return (int)nr;
}

/* The tail that covers every descriptor taken so far: what a signal rings. */
static inline uint32_t hsl_sq_tail(const struct hsl_queue *q)
{
	return q->sq_tail;
}

/*
 * Leave every descriptor taken since the last call to a signal, instead of
 * hsl_submit(); how many they were. They are in flight, for hsl_wait() too, from now
 * on. A later hsl_submit() of others starts these as well.
 */
static inline int hsl_hold(struct hsl_queue *q)
{
	uint32_t nr = q->sq_tail - q->sq_published;

	if (!q->sq_entries)
		return -EPERM;
	if (q->traced)
		hsl_trace_submit(q, 1);
	q->sq_published = q->sq_tail;
	return (int)nr;
}

/* Completion */

/* Submitted or held, and its completion not yet passed to hsl_seen(). */
static inline uint32_t hsl_in_flight(const struct hsl_queue *q)
{
	return q->sq_published - q->cq_head;
}

/*
 * Has the device written this entry in that lap around the ring? It writes the lap with
 * the last eight bytes in one store; they are read so too.
 */
static inline int _hsl_cqe_written(const struct hsl_cqe *c, uint32_t lap)
{
	typedef uint64_t __attribute__((__may_alias__)) word;
	word last = __atomic_load_n((const word *)(const void *)&c->bytes, __ATOMIC_ACQUIRE);

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (uint16_t)(last >> 48) == (uint16_t)lap;
#else
#error "libhsl is for little-endian machines"
#endif
}

/* Completion number @index if the device has written it, else NULL. */
static inline const struct hsl_cqe *hsl_cqe_at(const struct hsl_queue *q, uint32_t index)
{
	const struct hsl_cqe *c;

	if (!q->cq_entries)
		return NULL;
	c = &q->cq[index & (q->cq_entries - 1)];
	return _hsl_cqe_written(c, (index >> q->cq_order) + 1) ? c : NULL;
}

/* The oldest completion, which stays until hsl_seen(), or -EAGAIN. No system call. */
static inline int hsl_peek(const struct hsl_queue *q, const struct hsl_cqe **cqe)
{
	if (!q->cq_entries)
		return -EPERM;
	*cqe = hsl_cqe_at(q, q->cq_head);
	return *cqe ? 0 : -EAGAIN;
}

/* Up to @nr of the oldest completions; how many. They stay until hsl_seen(). */
static inline int hsl_peek_batch(const struct hsl_queue *q, const struct hsl_cqe **cqes, unsigned int nr)
{
	/* Once: what is stored in @cqes could be q's, for all that the compiler knows. */
	const struct hsl_cqe *cq = q->cq, *c;
	uint32_t entries = q->cq_entries, order = q->cq_order, index = q->cq_head;
	unsigned int n;

	if (!entries)
		return -EPERM;
	if (nr > entries)
		nr = entries;
	for (n = 0; n < nr; n++, index++) {
		c = &cq[index & (entries - 1)];
		if (!_hsl_cqe_written(c, (index >> order) + 1))
			break;
		cqes[n] = c;
	}
	return (int)n;
}

/*
 * The @nr oldest completions are used up: their entries go back to the device.
 * Not more than hsl_peek() or hsl_peek_batch() has shown to be there.
 */
static inline void hsl_seen(struct hsl_queue *q, uint32_t nr)
{
	if (!q->cq_entries)
		return;
	if (q->traced)
		hsl_trace_seen(q, nr);
	q->cq_head += nr;
	hsl_publish(&q->ctl->cq_head, q->cq_head);
}

/*
 * Ask for an interrupt at the next completion. 1: it is there already, do not
 * sleep; 0: the eventfd will be signalled, if hsl_queue_eventfd() was called before.
 */
static inline int hsl_arm(struct hsl_queue *q)
{
	if (!q->cq_entries)
		return -EPERM;
	hsl_publish(&q->ctl->cq_event, q->cq_head);
	hsl_store_then_look();
	return hsl_cqe_at(q, q->cq_head) != NULL;
}

/*
 * How long an operation took whose descriptor had HSL_DESC_F_TIMED and that ended with
 * HSL_ST_OK, in ns; 0xffffffff: that or more. By the model of HW 7.6, which knows no
 * clock: the same transfers over the same links take the same.
 */
static inline uint32_t hsl_cqe_model_ns(const struct hsl_cqe *c)
{
	return HSL_TIME_MODEL(c->addr);
}

/* The same as it was measured, from the fetch of the descriptor to its completion. */
static inline uint32_t hsl_cqe_real_ns(const struct hsl_cqe *c)
{
	return HSL_TIME_REAL(c->addr);
}

/*
 * The oldest completion, waiting for it at most @timeout_ns (negative: without
 * limit). -ETIMEDOUT; -ENODATA nothing is in flight; -EIO the queue failed;
 * -ENODEV the device is gone.
 */
int hsl_wait(struct hsl_queue *q, const struct hsl_cqe **cqe, int64_t timeout_ns);

/*
 * Wait until the @nr oldest completions are there, for hsl_peek_batch(): the program
 * is woken once, by the last of them. Errors as of hsl_wait(), with -ENODATA if fewer
 * than @nr are in flight; what is there by then can be looked at whatever is returned.
 */
int hsl_wait_batch(struct hsl_queue *q, uint32_t nr, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif /* HSL_H */
