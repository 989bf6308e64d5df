// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Signals among the queues of the CPU (HW 7.5), within one process.
 *
 * The right to ring a queue is a file descriptor that ends with its last copy, in
 * whichever process that is. Here it is the writing end of a pipe: its inode says
 * which one it is, and the reading end, which stays with us, hangs up when nobody has
 * the other one any more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu.h"

struct cpu_grant {
	struct cpu_grant *next;
	struct cpu_queue *q;		/* NULL: it is no more */
	unsigned int refs;		/* entries of cpu.signals */
	int fd;				/* the reading end */
	dev_t dev;
	ino_t ino;
};

static bool is_given_back(const struct cpu_grant *g)
{
	struct pollfd p = { .fd = g->fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

/* Those that nobody has and no entry names. With cpu_device.lock */
static void sweep(void)
{
	struct cpu_grant **p = &cpu_device.grants, *g;

	while ((g = *p)) {
		if (g->refs || !is_given_back(g)) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		close(g->fd);
		free(g);
	}
}

/* A descriptor, or -errno */
int cpu_grant(struct cpu_queue *q)
{
	struct cpu_grant *g = calloc(1, sizeof(*g));
	struct stat st;
	int fds[2], ret;

	if (!g)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		ret = -errno;
		free(g);
		return ret;
	}
	fstat(fds[0], &st);
	g->q = q;
	g->fd = fds[0];
	g->dev = st.st_dev;
	g->ino = st.st_ino;
	pthread_mutex_lock(&cpu_device.lock);
	sweep();
	g->next = cpu_device.grants;
	cpu_device.grants = g;
	pthread_mutex_unlock(&cpu_device.lock);
	return fds[1];
}

static int signal_add(struct cpu *cpu, const struct stat *st)
{
	struct cpu_grant *g;
	int handle;

	for (g = cpu_device.grants; g && (g->dev != st->st_dev || g->ino != st->st_ino); g = g->next)
		;
	if (!g)
		return -EINVAL;
	if (!g->q || __atomic_load_n(&g->q->state, __ATOMIC_ACQUIRE) != HSL_Q_RUNNING)
		return -ESTALE;
	for (handle = 0; handle < CPU_CTX_SIGNALS; handle++) {
		if (!cpu->signals[handle]) {
			cpu->signals[handle] = g;
			g->refs++;
			return handle;
		}
	}
	return -ENOSPC;
}

int cpu_signal_add(struct cpu *cpu, int fd)
{
	int flags = fcntl(fd, F_GETFL), ret;
	struct stat st;

	if (flags < 0 || fstat(fd, &st))
		return -EBADF;
	/* The other end names the same pipe, and is no right. */
	if (!S_ISFIFO(st.st_mode) || (flags & O_ACCMODE) != O_WRONLY)
		return -EINVAL;
	pthread_mutex_lock(&cpu_device.lock);
	ret = signal_add(cpu, &st);
	pthread_mutex_unlock(&cpu_device.lock);
	return ret;
}

int cpu_signal_del(struct cpu *cpu, uint32_t handle)
{
	int ret = -ENOENT;

	pthread_mutex_lock(&cpu_device.lock);
	if (handle < CPU_CTX_SIGNALS && cpu->signals[handle]) {
		cpu->signals[handle]->refs--;
		cpu->signals[handle] = NULL;
		ret = 0;
	}
	pthread_mutex_unlock(&cpu_device.lock);
	return ret;
}

/* The context ends. */
void cpu_signals_end(struct cpu *cpu)
{
	uint32_t handle;

	for (handle = 0; handle < CPU_CTX_SIGNALS; handle++)
		cpu_signal_del(cpu, handle);
	pthread_mutex_lock(&cpu_device.lock);
	sweep();
	pthread_mutex_unlock(&cpu_device.lock);
}

/* The queue ends: on return nobody rings it. */
void cpu_grants_end(struct cpu_queue *q)
{
	struct cpu_grant *g;

	pthread_mutex_lock(&cpu_device.lock);
	for (g = cpu_device.grants; g; g = g->next)
		if (g->q == q)
			g->q = NULL;
	sweep();
	pthread_mutex_unlock(&cpu_device.lock);
}

/* In a forked child, which has none of these queues. */
void cpu_grants_forget(void)
{
	while (cpu_device.grants) {
		struct cpu_grant *g = cpu_device.grants;

		cpu_device.grants = g->next;
		close(g->fd);
		free(g);
	}
}

static enum hsl_status ring(struct cpu_queue *q, uint32_t tail)
{
	enum hsl_status status = HSL_ST_OK;

	if (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) != HSL_Q_RUNNING)
		return HSL_ST_NOT_PERMITTED;
	pthread_mutex_lock(&q->lock);
	switch (cpu_queue_tail(q, tail)) {
	case CPU_TAIL_BAD:
		status = HSL_ST_INVALID;
		break;
	case CPU_TAIL_AHEAD:
		/* Of several that it has not looked at the furthest counts. */
		if (!q->signalled || (int32_t)(tail - q->signal_tail) > 0)
			q->signal_tail = tail;
		__atomic_store_n(&q->signalled, true, __ATOMIC_RELEASE);
		break;
	case CPU_TAIL_PASSED:
		break;
	}
	pthread_mutex_unlock(&q->lock);
	if (status == HSL_ST_OK)
		cpu_queue_wake(q);
	return status;
}

/* Operation SIGNAL: it completes with this status. */
enum hsl_status cpu_signal(struct cpu *cpu, uint64_t handle, uint32_t tail)
{
	enum hsl_status status = HSL_ST_NOT_PERMITTED;
	struct cpu_grant *g;

	pthread_mutex_lock(&cpu_device.lock);
	g = handle < CPU_CTX_SIGNALS ? cpu->signals[handle] : NULL;
	if (g && g->q && !is_given_back(g))
		status = ring(g->q, tail);
	pthread_mutex_unlock(&cpu_device.lock);
	return status;
}
