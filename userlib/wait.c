// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Waiting for a completion without ever waiting for one that cannot come. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define NS_PER_SEC	1000000000LL

/* The longest sleep before the queue's state is looked at, whatever was signalled, */
#define SLICE_NS	NS_PER_SEC
/* and between two looks where nothing can be signalled. */
#define DEAF_NS		1000000LL

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

/* 0 if completions can still come. */
int queue_alive(const struct hsl_queue *q)
{
	struct hsl_queue_state state = { .size = sizeof(state) };
	int ret = hsl_queue_state(q, &state);

	if (ret)
		return ret;
	return state.state == HSL_Q_RUNNING ? 0 : -EIO;
}

/* False: no file descriptor is left, say. That is no reason to leave an operation under way. */
static bool make_eventfds(struct hsl_queue *q)
{
	int i;

	for (i = 0; i < HSL_EVENTFD_NR; i++)
		if (hsl_queue_eventfd(q, (enum hsl_eventfd_kind)i) < 0)
			return false;
	return true;
}

/*
 * Sleep until something is signalled, @left ns or the time are over. An eventfd that is
 * not there, -1, is passed over.
 */
static int sleep_on(struct queue *p, int64_t left, int64_t deadline)
{
	struct pollfd fds[HSL_EVENTFD_NR] = {
		{ .fd = p->eventfd[HSL_EVENTFD_COMPLETION], .events = POLLIN },
		{ .fd = p->eventfd[HSL_EVENTFD_ERROR], .events = POLLIN },
	};
	int64_t max = left;
	struct timespec ts;
	uint64_t signals;
	int n;

	if (deadline >= 0) {
		left = deadline - now_ns();
		if (left <= 0)
			return -ETIMEDOUT;
		if (left > max)
			left = max;
	}
	ts.tv_sec = left / NS_PER_SEC;
	ts.tv_nsec = left % NS_PER_SEC;
	n = ppoll(fds, HSL_EVENTFD_NR, &ts, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	/* The error stays signalled: whoever waits next finds it too. */
	if (!n || fds[HSL_EVENTFD_ERROR].revents)
		return queue_alive(&p->q);
	if (read(fds[HSL_EVENTFD_COMPLETION].fd, &signals, sizeof(signals)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

/* hsl_arm() for the last of @nr completions */
static bool arm(struct hsl_queue *q, uint32_t nr)
{
	uint32_t last = q->cq_head + nr - 1;

	hsl_publish(&q->ctl->cq_event, last);
	hsl_store_then_look();
	return hsl_cqe_at(q, last);
}

HSL_PUBLIC int hsl_wait_batch(struct hsl_queue *q, uint32_t nr, int64_t timeout_ns)
{
	struct queue *p = to_queue(q);
	int64_t deadline = -1;
	bool deaf = true;
	uint32_t i;
	int ret = 0;

	if (!nr)
		return queue_is_ours(q) ? 0 : -EPERM;
	/* They are written in order. */
	for (i = 0; i < p->spin; i++) {
		if (hsl_cqe_at(q, q->cq_head + nr - 1))
			return nr <= hsl_in_flight(q) ? 0 : -ENODATA;
		relax();
	}
	/* In a forked child p->spin is 0 like everything else. */
	if (!queue_is_ours(q))
		return -EPERM;
	if (nr > hsl_in_flight(q))
		return -ENODATA;
	/* A time that no clock will reach is no limit. */
	if (timeout_ns >= 0 && __builtin_add_overflow(now_ns(), timeout_ns, &deadline))
		deadline = -1;

	while (!ret) {
		if (deaf) {
			deaf = !make_eventfds(q);
			/* It may have failed before there was an eventfd to tell. */
			ret = queue_alive(q);
			if (ret)
				break;
		}
		if (arm(q, nr))
			break;
		ret = sleep_on(p, deaf ? DEAF_NS : SLICE_NS, deadline);
	}
	/* What the device wrote before it stopped counts. */
	return hsl_cqe_at(q, q->cq_head + nr - 1) ? 0 : ret;
}

HSL_PUBLIC int hsl_wait(struct hsl_queue *q, const struct hsl_cqe **cqe, int64_t timeout_ns)
{
	int ret = hsl_wait_batch(q, 1, timeout_ns);

	return ret ? ret : hsl_peek(q, cqe);
}
