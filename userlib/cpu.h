/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The device that is the CPU: hsl_open("cpu"). To the rest of the library it is a
 * kernel that answers the ioctls of <linux/hsl.h> (cpu.c), and beyond the rings a
 * device that works by <linux/hsl_hw.h>: a thread per queue (cpu_queue.c) that
 * does operations (cpu_ops.c), signals among them (cpu_signal.c).
 *
 * Locks, in this order: cpu_device.lock, cpu.lock, cpu_queue.lock.
 */
#ifndef HSL_CPU_H
#define HSL_CPU_H

#include <time.h>

#include "internal.h"

#define CPU_NR_OPS		(HSL_OP_SIGNAL + 1)	/* that cpu_ops.c does */
#define CPU_OPS			((1ull << CPU_NR_OPS) - 1)
#define CPU_MAX_XFER		(1u << 30)
#define CPU_MAX_RING_ENTRIES	4096
#define CPU_MAX_CONTEXTS	256
#define CPU_MAX_QUEUES		1024	/* of all contexts */
#define CPU_CTX_QUEUES		64	/* of one */
#define CPU_CTX_SIGNALS		32
#define CPU_CTX_EVENTS		256
#define CPU_CTX_EVENTS_SPARE	64	/* of these, for queue errors only */

#define CPU_SLOTS		16	/* operations of a queue that are under way (HW 4.2) */
#define CPU_CHUNK		(64u << 10)	/* done at once; an operation may have its turn after another */

struct cpu_grant;
struct cpu_queue;

/* What all contexts of the process share */
struct cpu_device {
	pthread_mutex_t lock;
	bool contexts[CPU_MAX_CONTEXTS];	/* numbers in use */
	bool queues[CPU_MAX_QUEUES];
	struct cpu_grant *grants;
	uint64_t counters[HSL_CNT_NR];		/* atomic */
};

extern struct cpu_device cpu_device;

/* A context */
struct cpu {
	pid_t pid;			/* of whoever opened it: threads are not there in a child */
	uint32_t nr;
	pthread_mutex_t lock;		/* all below but signals */
	struct cpu_queue *queues;
	struct hsl_event events[CPU_CTX_EVENTS];
	uint32_t ev_head, ev_tail;	/* free running */
	uint32_t ev_lost;
	struct cpu_grant *signals[CPU_CTX_SIGNALS];	/* cpu_device.lock */
};

/* An operation under way */
struct cpu_slot {
	struct hsl_desc d;
	bool busy;
	bool finished;			/* only the completion is left to write */
	uint8_t status;
	uint8_t access;
	uint32_t done;
	uint64_t result;
	uint64_t addr;
	uint64_t touched;		/* bytes of each operand, for the model of time */
	int64_t start;			/* of a TIMED one: when it was fetched */
};

struct cpu_queue {
	struct cpu *cpu;
	struct cpu_queue *next;		/* cpu.lock */
	uint32_t id;			/* in the context */
	uint32_t hw;			/* in the device */

	/* as it was created */
	struct hsl_desc *sq;
	struct hsl_cqe *cq;
	struct hsl_q_ctl *ctl;
	uint32_t sq_entries, cq_entries, cq_order;
	uint64_t ops;
	uint32_t coalesce_count, coalesce_usecs;

	/* written by the thread of the queue alone; others look at these by atomic loads */
	uint32_t state;
	uint32_t error;
	uint32_t sq_head;
	uint32_t cq_tail;
	uint32_t fetched;		/* descriptors so far, does not wrap at the size of the ring */

	/* the thread's own */
	uint32_t sq_tail;		/* the furthest that was told */
	uint32_t tail_word;		/* ctl->sq_tail as it was found last */
	uint32_t cq_head;
	uint32_t sq_head_told, cq_tail_told;
	uint32_t nr_busy;
	bool irq_hold;			/* an interrupt waits for more completions, */
	uint32_t irq_held;		/* there are so many, */
	int64_t irq_deadline;		/* and no longer than this; 0: it need not */
	struct cpu_slot slots[CPU_SLOTS];
	unsigned char buf[2][CPU_CHUNK];

	pthread_t thread;
	pthread_mutex_t lock;		/* all below */
	pthread_cond_t wake;
	bool rung;
	bool stop;			/* read without the lock too, atomically */
	bool signalled;			/* the same */
	uint32_t signal_tail;
	int eventfd[HSL_EVENTFD_NR];

	uint64_t counters[HSL_Q_CNT_NR];	/* atomic */
};

/* What a tail says that the program, or a signal, tells */
enum cpu_tail {
	CPU_TAIL_PASSED,		/* nothing new */
	CPU_TAIL_AHEAD,
	CPU_TAIL_BAD,
};

static inline int64_t cpu_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void cpu_count(struct cpu_queue *q, enum hsl_counter n, uint64_t by)
{
	if (n < HSL_Q_CNT_NR)
		__atomic_fetch_add(&q->counters[n], by, __ATOMIC_RELAXED);
	__atomic_fetch_add(&cpu_device.counters[n], by, __ATOMIC_RELAXED);
}

/* cpu.c */
void cpu_event(struct cpu_queue *q, enum hsl_event_type type, uint8_t code, uint8_t access, uint64_t addr,
	       uint64_t user_data);

/* cpu_queue.c */
int cpu_queue_start(struct cpu_queue *q);
void cpu_queue_stop(struct cpu_queue *q);
void cpu_queue_wake(struct cpu_queue *q);
void cpu_signal_eventfd(struct cpu_queue *q, enum hsl_eventfd_kind kind);
enum cpu_tail cpu_queue_tail(const struct cpu_queue *q, uint32_t tail);

/* cpu_ops.c */
size_t cpu_mem_read(void *buf, uint64_t va, size_t len);
size_t cpu_mem_write(uint64_t va, const void *buf, size_t len);
bool cpu_mem_writable(uint64_t va);
bool cpu_op_valid(const struct hsl_desc *d);
void cpu_op_step(struct cpu_queue *q, struct cpu_slot *slot);
uint64_t cpu_op_time(const struct cpu_slot *slot);

/* cpu_signal.c */
int cpu_grant(struct cpu_queue *q);
int cpu_signal_add(struct cpu *cpu, int fd);
int cpu_signal_del(struct cpu *cpu, uint32_t handle);
void cpu_signals_end(struct cpu *cpu);
void cpu_grants_end(struct cpu_queue *q);
void cpu_grants_forget(void);
enum hsl_status cpu_signal(struct cpu *cpu, uint64_t handle, uint32_t tail);

#endif
