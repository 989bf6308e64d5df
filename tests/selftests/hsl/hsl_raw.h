/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of the uAPI itself: system calls and <linux/hsl.h>, no library in
 * between.
 */
#ifndef HSL_RAW_H
#define HSL_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <linux/hsl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The harness compares whatever it is given with the constant's own type. */
#pragma GCC diagnostic ignored "-Wsign-compare"

#include "kselftest_harness.h"
#include "hsl_common.h"

#define NODE		"/dev/hsl/hsl0"
#define CLASS_DIR	"/sys/class/hsl/hsl0"

#define READ_ONCE(x)	(*(volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#define PAGE		((size_t)sysconf(_SC_PAGESIZE))

/* 0 or the errno, positive */
static inline int cmd(int fd, unsigned long nr, void *arg)
{
	return ioctl(fd, nr, arg) < 0 ? errno : 0;
}

/* On the provider that open() chooses */
static inline int raw_open(void)
{
	int fd = open(NODE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* On this one */
static inline int raw_open_on(enum hsl_sva sva)
{
	struct hsl_bind bind = { .size = sizeof(bind), .sva = sva };
	int err, fd = raw_open();

	if (fd < 0)
		return fd;
	err = cmd(fd, HSL_BIND, &bind);
	if (err)
		close(fd);
	return err ? -err : fd;
}

#define NEED_DEVICE() do {							\
	if (access(NODE, F_OK))							\
		SKIP(return, NODE " is missing");				\
	if (access(NODE, R_OK | W_OK) && errno == EACCES)			\
		SKIP(return, "no permission for " NODE ": run as root");	\
} while (0)

#define RAW_OPEN_DEVICE(sva, fd) do {						\
	int raw_fd_;								\
	SKIP_LEFT_OUT_PROVIDER(sva);						\
	raw_fd_ = raw_open_on(sva);						\
	SKIP_CLOSED_PROVIDER(NODE, sva, raw_fd_);				\
	ASSERT_GE(raw_fd_, 0) TH_LOG(NODE ": %s", strerror(-raw_fd_));		\
	*(fd) = raw_fd_;							\
} while (0)

/* A queue driven by hand */
struct raw {
	int fd;
	struct hsl_queue_create par;
	struct hsl_desc *sq;
	struct hsl_cqe *cq;
	struct hsl_q_ctl *ctl;
	size_t bytes;
	volatile uint32_t *db;
};

/* Rings in one mapping, control words last. */
static inline int raw_rings(struct raw *q, uint32_t entries)
{
	size_t sq = entries * sizeof(struct hsl_desc), cq = entries * sizeof(struct hsl_cqe);

	memset(q, 0, sizeof(*q));
	q->fd = -1;
	q->bytes = (sq + cq + sizeof(struct hsl_q_ctl) + 2 * PAGE) & ~(PAGE - 1);
	q->sq = map_anon(q->bytes);
	if (!q->sq)
		return ENOMEM;
	q->cq = (void *)((char *)q->sq + sq);
	q->ctl = (void *)((char *)q->sq + q->bytes - PAGE);
	q->par = (struct hsl_queue_create) {
		.size = sizeof(q->par),
		.sq_addr = (uintptr_t)q->sq,
		.cq_addr = (uintptr_t)q->cq,
		.ctl_addr = (uintptr_t)q->ctl,
		.sq_entries = entries,
		.cq_entries = entries,
		.queue = 0xdead,
	};
	return 0;
}

static inline void *raw_map_doorbell(int fd, uint64_t offset)
{
	return mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, offset);
}

static inline int raw_create(struct raw *q, int fd, uint32_t entries)
{
	int err = raw_rings(q, entries);

	if (err)
		return err;
	err = cmd(fd, HSL_QUEUE_CREATE, &q->par);
	if (err)
		return err;
	q->fd = fd;
	q->db = raw_map_doorbell(fd, q->par.doorbell_offset);
	return q->db == MAP_FAILED ? errno : 0;
}

static inline int raw_destroy(struct raw *q)
{
	struct hsl_queue_destroy d = { .size = sizeof(d), .queue = q->par.queue };
	int err = cmd(q->fd, HSL_QUEUE_DESTROY, &d);

	if (q->db && q->db != MAP_FAILED)
		munmap((void *)q->db, PAGE);
	munmap(q->sq, q->bytes);
	return err;
}

/* The protocol of <linux/hsl_hw.h>: descriptor, tail, barrier, doorbell if asked for. */
static inline void raw_push(struct raw *q, const struct hsl_desc *d)
{
	uint32_t tail = q->ctl->sq_tail;

	q->sq[tail & (q->par.sq_entries - 1)] = *d;
	__atomic_store_n(&q->ctl->sq_tail, tail + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (READ_ONCE(q->ctl->db_needed))
		*q->db = tail + 1;
}

static inline bool raw_ready(struct raw *q)
{
	uint32_t head = q->ctl->cq_head;
	struct hsl_cqe *c = &q->cq[head & (q->par.cq_entries - 1)];
	uint16_t lap = head / q->par.cq_entries + 1;

	return __atomic_load_n(&c->lap, __ATOMIC_ACQUIRE) == lap;
}

static inline bool raw_wait(struct raw *q, struct hsl_cqe *c)
{
	long long end = now_ms() + BOUND_MS;

	while (!raw_ready(q))
		if (now_ms() > end)
			return false;
	*c = q->cq[q->ctl->cq_head & (q->par.cq_entries - 1)];
	__atomic_store_n(&q->ctl->cq_head, q->ctl->cq_head + 1, __ATOMIC_RELEASE);
	return true;
}

/* Runs one descriptor; ~0: no completion came. */
static inline int raw_run(struct raw *q, const struct hsl_desc *d)
{
	struct hsl_cqe c;

	raw_push(q, d);
	return raw_wait(q, &c) && c.user_data == d->user_data ? c.status : ~0;
}

static inline int raw_state(int fd, uint32_t queue, struct hsl_queue_state *s)
{
	*s = (struct hsl_queue_state) { .size = sizeof(*s), .queue = queue };
	return cmd(fd, HSL_QUEUE_STATE, s);
}

static inline bool raw_failed(struct raw *q)
{
	struct hsl_queue_state s;

	return !raw_state(q->fd, q->par.queue, &s) && s.state == HSL_Q_FAILED;
}

static inline struct hsl_desc desc_nop(uint64_t user_data)
{
	return (struct hsl_desc) { .op = HSL_OP_NOP, .user_data = user_data };
}

static inline struct hsl_desc desc_copy(void *dst, const void *src, uint32_t len, uint64_t user_data)
{
	return (struct hsl_desc) {
		.op = HSL_OP_COPY, .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len,
		.user_data = user_data,
	};
}

/* Revents of one poll(), ~0 on error */
static inline int poll_fd(int fd, int events, int timeout)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, timeout) < 0 ? ~0 : p.revents;
}

#endif
