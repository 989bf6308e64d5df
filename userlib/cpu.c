// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The device that is the CPU: its contexts, and the calls of <linux/hsl.h> on them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define PAGE_SIZE_HERE		((uint64_t)sysconf(_SC_PAGESIZE))
#define COALESCE_USECS_MAX	1000000
#define PRIORITY_MAX		3

struct cpu_device cpu_device = { .lock = PTHREAD_MUTEX_INITIALIZER };

/*
 * Numbers in the device
 */

static int take_number(bool *used, uint32_t nr, uint32_t *number)
{
	int ret = -ENOSPC;
	uint32_t i;

	pthread_mutex_lock(&cpu_device.lock);
	for (i = 0; i < nr && used[i]; i++)
		;
	if (i < nr) {
		used[i] = true;
		*number = i;
		ret = 0;
	}
	pthread_mutex_unlock(&cpu_device.lock);
	return ret;
}

static void give_number(bool *used, uint32_t number)
{
	pthread_mutex_lock(&cpu_device.lock);
	used[number] = false;
	pthread_mutex_unlock(&cpu_device.lock);
}

/*
 * Events
 */

/* As the driver: the first ones are kept, and a flood of faults leaves room for errors. */
void cpu_event(struct cpu_queue *q, enum hsl_event_type type, uint8_t code, uint8_t access, uint64_t addr,
	       uint64_t user_data)
{
	struct cpu *cpu = q->cpu;
	uint32_t spare = type == HSL_EV_QUEUE_ERROR ? 0 : CPU_CTX_EVENTS_SPARE;

	pthread_mutex_lock(&cpu->lock);
	if (cpu->ev_tail - cpu->ev_head < CPU_CTX_EVENTS - spare)
		cpu->events[cpu->ev_tail++ % CPU_CTX_EVENTS] = (struct hsl_event){
			.type = (uint16_t)type,
			.code = code,
			.access = access,
			.queue = q->id,
			.addr = addr,
			.user_data = user_data,
			.time_ns = (uint64_t)cpu_now_ns(),
		};
	else
		cpu->ev_lost++;
	pthread_mutex_unlock(&cpu->lock);
}

/* Arrays of the caller are written as the kernel does: -EFAULT, and nothing happens. */
static int copy_out(uint64_t to, const void *from, size_t len)
{
	return cpu_mem_write(to, from, len) == len ? 0 : -EFAULT;
}

static int do_events(struct cpu *cpu, void *p)
{
	struct hsl_events *arg = p;
	struct hsl_event out[CPU_CTX_EVENTS];
	uint32_t n;
	int ret;

	pthread_mutex_lock(&cpu->lock);
	for (n = 0; n < arg->nr && n < cpu->ev_tail - cpu->ev_head; n++)
		out[n] = cpu->events[(cpu->ev_head + n) % CPU_CTX_EVENTS];
	ret = copy_out(arg->events, out, n * sizeof(out[0]));
	if (!ret) {
		arg->nr = n;
		arg->lost = cpu->ev_lost;
		cpu->ev_head += n;
		cpu->ev_lost = 0;
	}
	pthread_mutex_unlock(&cpu->lock);
	return ret;
}

/*
 * Queues
 */

/* With cpu->lock */
static struct cpu_queue *find_queue(const struct cpu *cpu, uint32_t id)
{
	struct cpu_queue *q;

	for (q = cpu->queues; q && q->id != id; q = q->next)
		;
	return q;
}

/* Until whoever asks destroys it */
struct cpu_queue *cpu_queue(struct cpu *cpu, uint32_t id)
{
	struct cpu_queue *q;

	pthread_mutex_lock(&cpu->lock);
	q = find_queue(cpu, id);
	pthread_mutex_unlock(&cpu->lock);
	return q;
}

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

static int check_queue(const struct hsl_queue_create *arg)
{
	if (arg->sq_entries < 2 || !is_power_of_two(arg->sq_entries) || !is_power_of_two(arg->cq_entries) ||
	    arg->cq_entries < arg->sq_entries || arg->cq_entries > CPU_MAX_RING_ENTRIES ||
	    arg->priority > PRIORITY_MAX || arg->coalesce_usecs > COALESCE_USECS_MAX ||
	    (arg->coalesce_count > 1 && !arg->coalesce_usecs))
		return -EINVAL;
	if (arg->ops & ~CPU_OPS || arg->reserved || arg->routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	return 0;
}

/* Into the list, with the lowest number that is free */
static int add_queue(struct cpu *cpu, struct cpu_queue *q)
{
	int ret = -ENOSPC;

	pthread_mutex_lock(&cpu->lock);
	for (q->id = 0; q->id < CPU_CTX_QUEUES; q->id++) {
		if (!find_queue(cpu, q->id)) {
			q->next = cpu->queues;
			cpu->queues = q;
			ret = 0;
			break;
		}
	}
	pthread_mutex_unlock(&cpu->lock);
	return ret;
}

static void remove_queue(struct cpu *cpu, struct cpu_queue *q)
{
	struct cpu_queue **p;

	pthread_mutex_lock(&cpu->lock);
	for (p = &cpu->queues; *p != q; p = &(*p)->next)
		;
	*p = q->next;
	pthread_mutex_unlock(&cpu->lock);
}

static int do_queue_create(struct cpu *cpu, void *p)
{
	struct hsl_queue_create *arg = p;
	struct cpu_queue *q;
	int ret;

	ret = check_queue(arg);
	if (ret)
		return ret;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->cpu = cpu;
	q->sq = (struct hsl_desc *)(uintptr_t)arg->sq_addr;
	q->cq = (struct hsl_cqe *)(uintptr_t)arg->cq_addr;
	q->ctl = (struct hsl_q_ctl *)(uintptr_t)arg->ctl_addr;
	q->sq_entries = arg->sq_entries;
	q->cq_entries = arg->cq_entries;
	q->cq_order = (uint32_t)__builtin_ctz(arg->cq_entries);
	q->ops = arg->ops ? arg->ops : CPU_OPS;
	q->coalesce_count = arg->coalesce_count;
	q->coalesce_usecs = arg->coalesce_usecs;

	ret = take_number(cpu_device.queues, CPU_MAX_QUEUES, &q->hw);
	if (ret)
		goto err_free;
	ret = add_queue(cpu, q);
	if (ret)
		goto err_number;
	ret = cpu_queue_start(q);
	if (ret)
		goto err_remove;
	arg->queue = q->id;
	return 0;

err_remove:
	remove_queue(cpu, q);
err_number:
	give_number(cpu_device.queues, q->hw);
err_free:
	free(q);
	return ret;
}

static void destroy(struct cpu *cpu, struct cpu_queue *q)
{
	cpu_grants_end(q);
	cpu_queue_stop(q);
	remove_queue(cpu, q);
	give_number(cpu_device.queues, q->hw);
	free(q);
}

static int do_queue_destroy(struct cpu *cpu, void *p)
{
	struct hsl_queue_destroy *arg = p;
	struct cpu_queue *q = cpu_queue(cpu, arg->queue);

	if (!q)
		return -ENOENT;
	destroy(cpu, q);
	return 0;
}

static int do_queue_state(struct cpu *cpu, void *p)
{
	struct hsl_queue_state *arg = p;
	struct cpu_queue *q = cpu_queue(cpu, arg->queue);

	if (!q)
		return -ENOENT;
	/* The error is written before the state. */
	arg->state = __atomic_load_n(&q->state, __ATOMIC_ACQUIRE);
	arg->error = __atomic_load_n(&q->error, __ATOMIC_ACQUIRE);
	arg->hw_queue = q->hw;
	arg->sq_head = __atomic_load_n(&q->sq_head, __ATOMIC_ACQUIRE);
	arg->cq_tail = __atomic_load_n(&q->cq_tail, __ATOMIC_ACQUIRE);
	return 0;
}

static int do_queue_eventfd(struct cpu *cpu, void *p)
{
	struct hsl_queue_eventfd *arg = p;
	struct cpu_queue *q = cpu_queue(cpu, arg->queue);
	int fd = -1, before;

	if (!q)
		return -ENOENT;
	if (arg->kind >= HSL_EVENTFD_NR)
		return -EINVAL;
	if (arg->fd >= 0) {
		/* It is ours even if the caller closes his. */
		fd = fcntl(arg->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
	}
	pthread_mutex_lock(&q->lock);
	before = q->eventfd[arg->kind];
	q->eventfd[arg->kind] = fd;
	/* Whoever failed before this has told those that were there. */
	if (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) == HSL_Q_FAILED)
		cpu_signal_eventfd(q, (enum hsl_eventfd_kind)arg->kind);
	pthread_mutex_unlock(&q->lock);
	if (before >= 0)
		close(before);
	return 0;
}

static int do_queue_grant(struct cpu *cpu, void *p)
{
	struct hsl_queue_grant *arg = p;
	struct cpu_queue *q = cpu_queue(cpu, arg->queue);

	if (!q)
		return -ENOENT;
	arg->fd = cpu_grant(q);
	return arg->fd < 0 ? arg->fd : 0;
}

static int do_signal_add(struct cpu *cpu, void *p)
{
	struct hsl_signal_add *arg = p;
	int ret = cpu_signal_add(cpu, arg->fd);

	if (ret < 0)
		return ret;
	arg->handle = (uint32_t)ret;
	return 0;
}

static int do_signal_del(struct cpu *cpu, void *p)
{
	struct hsl_signal_del *arg = p;

	return arg->reserved ? -EOPNOTSUPP : cpu_signal_del(cpu, arg->handle);
}

/*
 * What the device is and counted
 */

static int do_query(struct cpu *cpu, void *p)
{
	struct hsl_query *arg = p;

	if (arg->reserved[0] || arg->reserved[1] || arg->reserved1)
		return -EOPNOTSUPP;
	*arg = (struct hsl_query){
		.hw_version = HSL_VERSION,
		.hw_caps = HSL_CAP_TIMED,
		.ops = CPU_OPS,
		.max_xfer = CPU_MAX_XFER,
		.max_ring_entries = CPU_MAX_RING_ENTRIES,
		.nr_queues = CPU_MAX_QUEUES,
		.max_queues = CPU_CTX_QUEUES,
		.context = cpu->nr,
		.sva = HSL_SVA_NONE,
		.node = -1,
		.sva_why = "the CPU does the operations, nothing has to carry addresses",
		.mem_mode = HSL_MEMORY_OFF,
		.mem_node = -1,
		.fabric_node = HSL_NODE_NONE,
	};
	return 0;
}

static int do_counters(struct cpu *cpu, void *p)
{
	struct hsl_counters *arg = p;
	const uint64_t *from = cpu_device.counters;
	uint64_t out[HSL_CNT_NR];
	uint32_t nr = HSL_CNT_NR, i;

	if (arg->queue != HSL_QUEUE_NONE) {
		struct cpu_queue *q = cpu_queue(cpu, arg->queue);

		if (!q)
			return -ENOENT;
		from = q->counters;
		nr = HSL_Q_CNT_NR;
	}
	if (arg->nr > nr)
		arg->nr = nr;
	for (i = 0; i < arg->nr; i++)
		out[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	return copy_out(arg->values, out, arg->nr * sizeof(out[0]));
}

/* There are no others. */
static int do_peers(struct cpu *cpu, void *p)
{
	struct hsl_peers *arg = p;

	(void)cpu;
	if (arg->routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	arg->nr = 0;
	return 0;
}

/*
 * Memory: that of the host, all of it
 */

static bool range_ok(uint64_t addr, uint64_t len)
{
	return len && !(addr % PAGE_SIZE_HERE) && !(len % PAGE_SIZE_HERE) && addr + len > addr;
}

static int do_migrate(struct cpu *cpu, void *p)
{
	struct hsl_migrate *arg = p;

	(void)cpu;
	if (arg->reserved)
		return -EOPNOTSUPP;
	if (arg->where > HSL_WHERE_DEVICE || !range_ok(arg->addr, arg->len))
		return -EINVAL;
	arg->moved = arg->pinned = arg->nomem = 0;
	arg->other = arg->len;
	return -EOPNOTSUPP;
}

/* The kernel knows, and since 2.6.19 this does nothing else. Pages without any access are mapped as well. */
static bool all_mapped(uint64_t addr, uint64_t len)
{
	return !msync((void *)(uintptr_t)addr, len, MS_ASYNC);
}

/* Of whole pages, as if all were written, or read */
static bool populate_all(uint64_t addr, uint64_t len, int how)
{
	return !madvise((void *)(uintptr_t)addr, len, how);
}

/* Create what is missing, as a write would where that is allowed. */
static int populate(uint64_t addr, uint64_t len)
{
	uint64_t end = addr + len;
	char byte;

	if (populate_all(addr, len, MADV_POPULATE_WRITE))
		return 0;
	/* At its ends it is seen whether it is for reading only; if it is of many kinds, each page tells. */
	if (!cpu_mem_writable(addr) && !cpu_mem_writable(end - PAGE_SIZE_HERE) &&
	    populate_all(addr, len, MADV_POPULATE_READ))
		return 0;
	for (; addr < end; addr += PAGE_SIZE_HERE)
		if (!cpu_mem_writable(addr) && cpu_mem_read(&byte, addr, 1) != 1)
			return -EFAULT;
	return 0;
}

static int do_advise(struct cpu *cpu, void *p)
{
	struct hsl_advise *arg = p;

	(void)cpu;
	if (arg->where > HSL_WHERE_NONE || !range_ok(arg->addr, arg->len))
		return -EINVAL;
	switch (arg->advice) {
	case HSL_ADVICE_PREFETCH:
		return arg->where == HSL_WHERE_NONE ? populate(arg->addr, arg->len) : -EOPNOTSUPP;
	case HSL_ADVICE_PREFERRED:
		if (arg->where == HSL_WHERE_DEVICE)
			return -EOPNOTSUPP;
		return all_mapped(arg->addr, arg->len) ? 0 : -EFAULT;
	case HSL_ADVICE_ACCESSED_BY:
		if (arg->where == HSL_WHERE_HOST)
			return -EINVAL;
		return arg->where == HSL_WHERE_NONE ? 0 : populate(arg->addr, arg->len);
	default:
		return -EINVAL;
	}
}

/*
 * The calls
 */

/* All of it begins with these. */
struct head {
	uint32_t size;
	uint32_t flags;
};

union any {
	struct head head;
	struct hsl_query query;
	struct hsl_counters counters;
	struct hsl_queue_create create;
	struct hsl_queue_destroy destroy;
	struct hsl_queue_eventfd eventfd;
	struct hsl_queue_state state;
	struct hsl_events events;
	struct hsl_migrate migrate;
	struct hsl_advise advise;
	struct hsl_peers peers;
	struct hsl_queue_grant grant;
	struct hsl_signal_add add;
	struct hsl_signal_del del;
};

#define CALL(_cmd, _struct, _last, _do)                                                        \
	{                                                                                      \
		.cmd = _cmd,                                                                   \
		.size = sizeof(struct _struct),                                                \
		.min = offsetof(struct _struct, _last) + sizeof(((struct _struct *)0)->_last), \
		.func = _do,                                                                   \
	}

/* Name, structure, last member of its first version. What is not here the device does not have. */
static const struct call {
	unsigned long cmd;
	size_t size, min;
	int (*func)(struct cpu *cpu, void *arg);
} calls[] = {
	CALL(HSL_QUERY, hsl_query, reserved1, do_query),
	CALL(HSL_COUNTERS, hsl_counters, values, do_counters),
	CALL(HSL_QUEUE_CREATE, hsl_queue_create, reserved, do_queue_create),
	CALL(HSL_QUEUE_DESTROY, hsl_queue_destroy, reserved, do_queue_destroy),
	CALL(HSL_QUEUE_EVENTFD, hsl_queue_eventfd, reserved, do_queue_eventfd),
	CALL(HSL_QUEUE_STATE, hsl_queue_state, cq_tail, do_queue_state),
	CALL(HSL_EVENTS, hsl_events, events, do_events),
	CALL(HSL_MIGRATE, hsl_migrate, other, do_migrate),
	CALL(HSL_ADVISE, hsl_advise, where, do_advise),
	CALL(HSL_PEERS, hsl_peers, peers, do_peers),
	CALL(HSL_QUEUE_GRANT, hsl_queue_grant, fd, do_queue_grant),
	CALL(HSL_SIGNAL_ADD, hsl_signal_add, handle, do_signal_add),
	CALL(HSL_SIGNAL_DEL, hsl_signal_del, reserved, do_signal_del),
};

static const struct call *find_call(unsigned long cmd)
{
	size_t i;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].cmd == cmd)
			return &calls[i];
	return NULL;
}

/* ioctl() on a device that is the CPU; 0 or -errno */
int cpu_ioctl(struct cpu *cpu, unsigned long cmd, void *arg)
{
	const struct call *call = find_call(cmd);
	union any known;
	uint32_t size;
	int cancel, ret;

	if (cpu->pid != getpid())
		return -EPERM;
	if (!call)
		return -EOPNOTSUPP;
	ret = hsl_take_opts(&known, call->size, call->min, arg);
	if (ret)
		return ret;
	if (known.head.flags)
		return -EOPNOTSUPP;
	size = known.head.size;
	/* A call of a kernel is done or not: a thread does not end within it, with our locks. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	ret = call->func(cpu, &known);
	pthread_setcancelstate(cancel, NULL);
	/* The amounts of HSL_MIGRATE are for whoever it failed for, too. */
	if (!ret || cmd == HSL_MIGRATE) {
		known.head.size = size;
		memcpy(arg, &known, size < call->size ? size : call->size);
	}
	return ret;
}

/*
 * Contexts
 */

/* A lock that another thread had at the time of a fork would never be free in the child. */
static void before_fork(void)
{
	pthread_mutex_lock(&cpu_device.lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&cpu_device.lock);
}

static void in_child(void)
{
	cpu_grants_forget();
	memset(cpu_device.contexts, 0, sizeof(cpu_device.contexts));
	memset(cpu_device.queues, 0, sizeof(cpu_device.queues));
	memset(cpu_device.counters, 0, sizeof(cpu_device.counters));
	pthread_mutex_unlock(&cpu_device.lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

/* What the operations stand on may be forbidden, in a sandbox for one. */
static bool can_reach_itself(void)
{
	uint32_t word = 1, copy = 0;

	return cpu_mem_read(&copy, (uintptr_t)&word, sizeof(word)) == sizeof(word) && copy == word &&
	       cpu_mem_write((uintptr_t)&copy, &word, sizeof(word)) == sizeof(word) &&
	       cpu_mem_writable((uintptr_t)&word);
}

int cpu_open(struct cpu **cpu)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct cpu *c;

	pthread_once(&once, watch_forks);
	if (!can_reach_itself()) {
		hsl_log("the CPU cannot stand in for a device: process_vm_readv(), process_vm_writev() or futex() of this process on itself is not allowed here");
		return -EOPNOTSUPP;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	if (take_number(cpu_device.contexts, CPU_MAX_CONTEXTS, &c->nr)) {
		free(c);
		return -EBUSY;
	}
	c->pid = getpid();
	pthread_mutex_init(&c->lock, NULL);
	*cpu = c;
	return 0;
}

void cpu_close(struct cpu *cpu)
{
	/* In a forked child there are neither threads nor numbers of this context, but memory. */
	if (cpu->pid != getpid()) {
		while (cpu->queues) {
			struct cpu_queue *q = cpu->queues;

			cpu->queues = q->next;
			free(q);
		}
		free(cpu);
		return;
	}
	while (cpu->queues)
		destroy(cpu, cpu->queues);
	cpu_signals_end(cpu);
	give_number(cpu_device.contexts, cpu->nr);
	pthread_mutex_destroy(&cpu->lock);
	free(cpu);
}
