/* SPDX-License-Identifier: MIT */
/*
 * How many system calls does this program make between two points? A child
 * traces it, so that the kernel stops it at each one; where there is none,
 * nothing is slower. Call syscount_start() before there are threads.
 */
#ifndef SYSCOUNT_H
#define SYSCOUNT_H

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct syscount {
	enum { SYSCOUNT_WAIT, SYSCOUNT_READY, SYSCOUNT_ON, SYSCOUNT_FAILED } state;
	long calls;
} *syscount;
static pid_t syscount_child;

static inline void syscount_set(int state)
{
	__atomic_store_n(&syscount->state, state, __ATOMIC_SEQ_CST);
}

static inline int syscount_state(void)
{
	return __atomic_load_n(&syscount->state, __ATOMIC_SEQ_CST);
}

/* The child: it is told of every entry to and exit from a system call. */
static inline void syscount_trace(pid_t pid)
{
	bool inside = false;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, pid, 0, 0)) {
		syscount_set(SYSCOUNT_FAILED);
		return;
	}
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);

		if (sig == (SIGTRAP | 0x80)) {
			inside = !inside;
			if (inside && syscount_state() == SYSCOUNT_WAIT)
				syscount_set(SYSCOUNT_READY);
			if (inside && syscount_state() == SYSCOUNT_ON)
				syscount->calls++;
			sig = 0;
		} else if (status >> 16) {
			sig = 0;	/* a stop of ptrace's own, not a signal */
		}
		ptrace(PTRACE_SYSCALL, pid, 0, sig);
	}
}

static inline void syscount_begin(void)
{
	if (syscount) {
		syscount->calls = 0;
		syscount_set(SYSCOUNT_ON);
	}
}

/* System calls since syscount_begin(); -1: they are not counted. */
static inline long syscount_end(void)
{
	if (!syscount)
		return -1;
	syscount_set(SYSCOUNT_READY);
	return syscount->calls;
}

/* False if it cannot be done here, or does not count the one it is tried with. */
static inline bool syscount_start(void)
{
	pid_t pid = getpid();

	syscount = mmap(NULL, sizeof(*syscount), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (syscount == MAP_FAILED) {
		syscount = NULL;
		return false;
	}
	syscount_child = fork();
	if (!syscount_child) {
		syscount_trace(pid);
		_exit(0);
	}
	if (syscount_child < 0)
		syscount_set(SYSCOUNT_FAILED);
	while (syscount_state() == SYSCOUNT_WAIT)
		sched_yield();
	if (syscount_state() == SYSCOUNT_READY) {
		syscount_begin();
		syscall(SYS_getppid);
		if (syscount_end() == 1)
			return true;
	}
	syscount = NULL;
	return false;
}

/* Whoever is traced by nobody runs at full speed again. */
static inline void syscount_stop(void)
{
	if (syscount_child > 0) {
		kill(syscount_child, SIGKILL);
		waitpid(syscount_child, NULL, 0);
	}
	syscount = NULL;
}

#endif
