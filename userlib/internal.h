/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
#ifndef HSL_INTERNAL_H
#define HSL_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <hsl.h>

#define HSL_PUBLIC	__attribute__((visibility("default")))

/* Up to the last member of the first version of an option structure */
#define HSL_OPEN_OPTS_MIN	(offsetof(struct hsl_open_opts, routes) + sizeof(uint32_t))
#define HSL_QUEUE_OPTS_MIN	(offsetof(struct hsl_queue_opts, reserved) + sizeof(uint32_t))

#define HSL_MIGRATE_MIN		(offsetof(struct hsl_migrate, other) + sizeof(uint64_t))

/* The longest structure that is looked through, as in the kernel */
#define HSL_OPTS_MAX		4096

/* libhsl(3) promises these */
#define HSL_DEFAULT_ENTRIES	64
#define HSL_DEFAULT_SPIN	1000

struct alloc;
struct cpu;
struct cpu_queue;
struct import;
struct queue;

struct hsl_ctx {
	pid_t pid;		/* of whoever opened it, see ctx_lock() */
	int fd;			/* -1: the CPU is the device, */
	struct cpu *cpu;	/* and this answers, see cpu.h */
	uint32_t max_xfer;
	uint32_t max_ring_entries;
	uint32_t routes;
	int trace_fd;		/* of HSL_TRACE, or -1 */
	pthread_mutex_t lock;	/* all below, by ctx_lock() */
	struct queue *queues;
	struct alloc *allocs;
	struct import *imports;
};

/*
 * What the library keeps of a queue, all in one mapping that a fork leaves
 * behind zeroed (MADV_WIPEONFORK); the rings are another, which it leaves
 * behind altogether (MADV_DONTFORK).
 */
struct queue {
	struct hsl_queue q;	/* first: the handle is a pointer to it */
	struct hsl_ctx *ctx;
	struct queue *next;
	struct cpu_queue *cpu;	/* what hsl_wake() wakes */
	uint32_t id;
	uint32_t spin;
	int eventfd[HSL_EVENTFD_NR];	/* -1 until someone asks */
	struct rings {
		void *mem;
		size_t size;
	} rings;
	char trace_names[80];
};

static inline struct queue *to_queue(const struct hsl_queue *q)
{
	return (struct queue *)q;
}

/* Also false in a forked child, see struct queue. */
static inline bool queue_is_ours(const struct hsl_queue *q)
{
	return q->sq_entries;
}

size_t hsl_rings_size(uint32_t sq_entries, uint32_t cq_entries);
void hsl_queue_init_rings(struct hsl_queue *q, void *mem, uint32_t sq_entries, uint32_t cq_entries,
			  volatile uint32_t *doorbell, uint32_t first);
bool ctx_is_ours(const struct hsl_ctx *ctx);
void ctx_lock(struct hsl_ctx *ctx);
void ctx_unlock(struct hsl_ctx *ctx);
void allocs_forget(struct hsl_ctx *ctx);
void memory_watch_forks(void);
bool memory_is_pcie(const void *mem);
void imports_forget(struct hsl_ctx *ctx);
void queue_free(struct hsl_ctx *ctx, struct queue *p);
int queue_alive(const struct hsl_queue *q);
int hsl_ioctl(const struct hsl_ctx *ctx, unsigned long cmd, void *arg);
int hsl_take_opts(void *known, size_t known_size, size_t min_size, const void *user);

int cpu_open(struct cpu **cpu);
void cpu_close(struct cpu *cpu);
int cpu_ioctl(struct cpu *cpu, unsigned long cmd, void *arg);
struct cpu_queue *cpu_queue(struct cpu *cpu, uint32_t id);
void cpu_queue_wake(struct cpu_queue *q);

int hsl_trace_open(void);
void hsl_trace_queue(struct queue *p);

void hsl_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
