// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A queue of the CPU: the device's side of the rings (HW 4), by a thread of its own.
 *
 * Up to CPU_SLOTS operations are under way and advance in turn, a piece each; so short
 * ones overtake long ones, and a program that forgot a fence finds out. Without work the
 * thread sets db_needed and sleeps until hsl_wake(), a signal or the end; it does not
 * look around meanwhile.
 *
 * The rings are the library's own memory and are accessed as such. What a program
 * writes there by itself is checked as a device would.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

#include "cpu.h"

/* The process and the thread that calls it are two sides of the rings. */
#define LOAD(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, val)	__atomic_store_n(p, val, __ATOMIC_RELEASE)

static bool is_running(const struct cpu_queue *q)
{
	return q->state == HSL_Q_RUNNING && !LOAD(&q->stop);
}

/* With q->lock held */
void cpu_signal_eventfd(struct cpu_queue *q, enum hsl_eventfd_kind kind)
{
	static const uint64_t one = 1;

	/* Only a counter that is full refuses, and whoever sleeps on it is awake then. */
	if (q->eventfd[kind] >= 0 && write(q->eventfd[kind], &one, sizeof(one)) < 0)
		return;
}

static void signal_both(struct cpu_queue *q)
{
	int kind;

	pthread_mutex_lock(&q->lock);
	for (kind = 0; kind < HSL_EVENTFD_NR; kind++)
		cpu_signal_eventfd(q, (enum hsl_eventfd_kind)kind);
	pthread_mutex_unlock(&q->lock);
}

static void fail(struct cpu_queue *q, enum hsl_q_error error, const void *addr, uint8_t access)
{
	/* Who waits for the interrupt is told below. */
	q->irq_hold = false;
	q->irq_deadline = 0;
	STORE(&q->error, (uint32_t)error);
	STORE(&q->state, (uint32_t)HSL_Q_FAILED);
	cpu_count(q, HSL_CNT_QUEUE_ERRORS, 1);
	cpu_event(q, HSL_EV_QUEUE_ERROR, (uint8_t)error, access, (uintptr_t)addr, 0);
	signal_both(q);
}

/*
 * Submission
 */

enum cpu_tail cpu_queue_tail(const struct cpu_queue *q, uint32_t tail)
{
	uint32_t head = LOAD(&q->sq_head), fetched = LOAD(&q->fetched);

	if (fetched > q->sq_entries)
		fetched = q->sq_entries;
	/* What was submitted before may be told late. */
	if (head - tail <= fetched)
		return CPU_TAIL_PASSED;
	return tail - head > q->sq_entries ? CPU_TAIL_BAD : CPU_TAIL_AHEAD;
}

/* False: it is out of the ring. */
static bool take_tail(struct cpu_queue *q, uint32_t tail)
{
	enum cpu_tail is = cpu_queue_tail(q, tail);

	if (is == CPU_TAIL_AHEAD && (int32_t)(tail - q->sq_tail) > 0)
		q->sq_tail = tail;
	return is != CPU_TAIL_BAD;
}

static void look_at_tails(struct cpu_queue *q)
{
	uint32_t tail;

	if (LOAD(&q->signalled)) {
		pthread_mutex_lock(&q->lock);
		q->signalled = false;
		tail = q->signal_tail;
		pthread_mutex_unlock(&q->lock);
		/* It was checked when it was sent. */
		take_tail(q, tail);
	}
	/* Signals leave the word behind, further than a tail may be. */
	tail = LOAD(&q->ctl->sq_tail);
	if (tail == q->tail_word)
		return;
	if (!take_tail(q, tail)) {
		fail(q, HSL_QERR_DOORBELL, &q->ctl->sq_tail, 0);
		return;
	}
	q->tail_word = tail;
}

static void begin(struct cpu_queue *q, struct cpu_slot *slot, const struct hsl_desc *d)
{
	*slot = (struct cpu_slot){ .d = *d, .busy = true };
	if (!cpu_op_valid(d)) {
		slot->status = HSL_ST_INVALID;
		slot->finished = true;
	} else if (!(q->ops >> d->op & 1)) {
		slot->status = HSL_ST_NOT_PERMITTED;
		slot->finished = true;
	} else if (d->op == HSL_OP_CRC32C) {
		slot->result = (uint32_t)d->operand[0];
	}
	if (d->flags & HSL_DESC_F_TIMED)
		slot->start = cpu_now_ns();
}

static void fetch(struct cpu_queue *q)
{
	struct cpu_slot *slot = q->slots;

	while (q->nr_busy < CPU_SLOTS && q->sq_head != q->sq_tail) {
		struct hsl_desc d = q->sq[q->sq_head & (q->sq_entries - 1)];

		/*
		 * It stays in the ring until all before it have ended. FENCE then has the first
		 * slot, and ends before those after it are looked at.
		 */
		if (q->nr_busy && (d.op == HSL_OP_FENCE || d.flags & HSL_DESC_F_FENCE))
			break;
		while (slot->busy)
			slot++;
		begin(q, slot, &d);
		q->nr_busy++;
		/* In this order, for cpu_queue_tail() in other threads. */
		STORE(&q->fetched, q->fetched < UINT32_MAX ? q->fetched + 1 : q->fetched);
		STORE(&q->sq_head, q->sq_head + 1);
	}
}

/*
 * Completion
 */

static void complete(struct cpu_queue *q, struct cpu_slot *slot)
{
	typedef uint64_t __attribute__((__may_alias__)) word;
	struct hsl_cqe *c = &q->cq[q->cq_tail & (q->cq_entries - 1)];
	uint16_t lap = (uint16_t)((q->cq_tail >> q->cq_order) + 1);

	if (q->cq_tail - q->cq_head >= q->cq_entries) {
		q->cq_head = LOAD(&q->ctl->cq_head);
		if (q->cq_tail - q->cq_head >= q->cq_entries) {
			fail(q, HSL_QERR_CQ_OVERFLOW, c, HSL_ACCESS_WRITE);
			return;
		}
	}
	if (slot->d.flags & HSL_DESC_F_TIMED && slot->status == HSL_ST_OK)
		slot->addr = cpu_op_time(slot);
	/* All that is told of it comes before it can be seen. */
	cpu_count(q, HSL_CNT_OPS, 1);
	cpu_count(q, HSL_CNT_BYTES, slot->done);
	if (slot->status == HSL_ST_PAGE_FAULT) {
		cpu_count(q, HSL_CNT_FAULTS, 1);
		cpu_event(q, HSL_EV_PAGE_FAULT, slot->status, slot->access, slot->addr, slot->d.user_data);
	}

	c->user_data = slot->d.user_data;
	c->result = slot->result;
	c->addr = slot->addr;
	/* bytes, status, access and lap, in one store: little-endian, as hsl.h demands. */
	STORE((word *)(void *)&c->bytes,
	      slot->done | (uint64_t)slot->status << 32 | (uint64_t)slot->access << 40 | (uint64_t)lap << 48);
	STORE(&q->cq_tail, q->cq_tail + 1);
	slot->busy = false;
	q->nr_busy--;
}

static void interrupt(struct cpu_queue *q)
{
	q->irq_hold = false;
	q->irq_deadline = 0;
	cpu_count(q, HSL_CNT_INTERRUPTS, 1);
	pthread_mutex_lock(&q->lock);
	cpu_signal_eventfd(q, HSL_EVENTFD_COMPLETION);
	pthread_mutex_unlock(&q->lock);
}

/* After completions were written: does the program want to hear of them, and at once? */
static void look_at_event(struct cpu_queue *q)
{
	uint32_t written = q->cq_tail - q->cq_tail_told, since;

	if (written) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);	/* pairs with that of hsl_arm() */
		since = q->cq_tail - LOAD(&q->ctl->cq_event);
		if (q->irq_hold) {
			q->irq_held += written;
		} else if (since - 1 < written) {
			q->irq_hold = true;
			q->irq_held = since;
			if (q->coalesce_count > 1)
				q->irq_deadline = cpu_now_ns() + q->coalesce_usecs * 1000LL;
		}
		q->cq_tail_told = q->cq_tail;
	}
	if (q->irq_hold && (q->irq_held >= q->coalesce_count ||
			    (q->irq_deadline && cpu_now_ns() >= q->irq_deadline)))
		interrupt(q);
}

/*
 * The thread
 */

/* True: something was done, and there may be more. */
static bool work(struct cpu_queue *q)
{
	uint32_t head = q->sq_head, busy;
	int i;

	look_at_tails(q);
	if (is_running(q))
		fetch(q);
	busy = q->nr_busy;
	for (i = 0; i < CPU_SLOTS && is_running(q); i++) {
		struct cpu_slot *slot = &q->slots[i];

		if (slot->busy && !slot->finished)
			cpu_op_step(q, slot);
		if (slot->busy && slot->finished)
			complete(q, slot);
	}
	if (!is_running(q))
		return false;
	if (q->sq_head_told != q->sq_head) {
		STORE(&q->ctl->sq_head, q->sq_head);
		q->sq_head_told = q->sq_head;
	}
	look_at_event(q);
	return busy || q->sq_head != head;
}

static void wait_rung(struct cpu_queue *q)
{
	struct timespec until = { .tv_sec = q->irq_deadline / 1000000000, .tv_nsec = q->irq_deadline % 1000000000 };

	pthread_mutex_lock(&q->lock);
	while (!q->rung && !q->stop) {
		if (!q->irq_deadline)
			pthread_cond_wait(&q->wake, &q->lock);
		else if (pthread_cond_timedwait(&q->wake, &q->lock, &until))
			break;
	}
	q->rung = false;
	pthread_mutex_unlock(&q->lock);
}

static void rest(struct cpu_queue *q)
{
	if (q->state != HSL_Q_RUNNING) {
		wait_rung(q);
		return;
	}
	__atomic_store_n(&q->ctl->db_needed, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);	/* pairs with that of hsl_submit() */
	if (LOAD(&q->ctl->sq_tail) == q->tail_word)
		wait_rung(q);
	__atomic_store_n(&q->ctl->db_needed, 0, __ATOMIC_RELAXED);
}

static void *run(void *arg)
{
	struct cpu_queue *q = arg;

	while (!LOAD(&q->stop))
		if (q->state != HSL_Q_RUNNING || !work(q))
			rest(q);
	return NULL;
}

/* @q is filled in as it was created, the rest of it zeros. 0 or -errno */
int cpu_queue_start(struct cpu_queue *q)
{
	pthread_condattr_t attr;
	sigset_t all, before;
	int kind, err;

	q->state = HSL_Q_RUNNING;
	for (kind = 0; kind < HSL_EVENTFD_NR; kind++)
		q->eventfd[kind] = -1;
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->wake, &attr);
	pthread_condattr_destroy(&attr);

	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&q->thread, NULL, run, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		pthread_cond_destroy(&q->wake);
		pthread_mutex_destroy(&q->lock);
		return -ENOMEM;
	}
	pthread_setname_np(q->thread, "hsl-cpu");
	return 0;
}

/* On return it touches nothing any more. */
void cpu_queue_stop(struct cpu_queue *q)
{
	int kind;

	pthread_mutex_lock(&q->lock);
	STORE(&q->stop, true);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	signal_both(q);
	for (kind = 0; kind < HSL_EVENTFD_NR; kind++)
		if (q->eventfd[kind] >= 0)
			close(q->eventfd[kind]);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->lock);
}

/* The doorbell: in this device it is no register. */
void cpu_queue_wake(struct cpu_queue *q)
{
	cpu_count(q, HSL_CNT_DOORBELLS, 1);
	pthread_mutex_lock(&q->lock);
	q->rung = true;
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
}
