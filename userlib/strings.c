// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Numbers of the hardware and the kernel in words. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char *const status_text[] = {
	[HSL_ST_OK] = "ok",
	[HSL_ST_INVALID] = "invalid descriptor",
	[HSL_ST_NOT_PERMITTED] = "operation not permitted on this queue, or no right to this signal",
	[HSL_ST_PAGE_FAULT] = "page fault",
	[HSL_ST_BUS_ERROR] = "bus error, the address is not memory",
	[HSL_ST_POISON] = "poisoned memory, its contents are lost",
	[HSL_ST_PEER_UNREACHABLE] = "no allowed route leads to the device whose memory this is",
	[HSL_ST_LINK_ERROR] = "the link was lost under way",
};

static const char *const qerr_text[] = {
	[HSL_QERR_NONE] = "no error",
	[HSL_QERR_CONFIG] = "queue configuration out of range",
	[HSL_QERR_CONTEXT] = "context not valid",
	[HSL_QERR_DOORBELL] = "tail not within the ring",
	[HSL_QERR_SQ_FAULT] = "submission ring unreachable",
	[HSL_QERR_CQ_FAULT] = "completion ring unreachable",
	[HSL_QERR_CTL_FAULT] = "control words unreachable",
	[HSL_QERR_CQ_OVERFLOW] = "completion ring full",
	[HSL_QERR_BUS] = "a ring lies in memory that is not RAM",
	[HSL_QERR_POISON] = "a ring lies in poisoned memory",
	[HSL_QERR_PEER] = "a ring lies in the memory of a device that is out of reach",
};

static const char *const op_text[] = {
	[HSL_OP_NOP] = "nop",
	[HSL_OP_COPY] = "copy",
	[HSL_OP_FILL] = "fill",
	[HSL_OP_COMPARE] = "compare",
	[HSL_OP_CRC32C] = "crc32c",
	[HSL_OP_ATOMIC_ADD] = "atomic add",
	[HSL_OP_ATOMIC_SWAP] = "atomic swap",
	[HSL_OP_ATOMIC_CAS] = "atomic compare-and-swap",
	[HSL_OP_FENCE] = "fence",
	[HSL_OP_SIGNAL] = "signal",
};

static const struct {
	int err;
	const char *text;
} err_text[] = {
	{ ENOENT, "no HSL device: is the module hsl.ko loaded, and does a device of class 0x120000 show in /sys/bus/pci/devices/*/class? Without one, HSL_DEVICE=cpu runs the program on the CPU" },
	{ ENOTTY, "this is not an HSL device" },
	{ ENXIO, "the device is being removed" },
	{ ENODEV, "the device was reset or removed: close it and open it again" },
	{ EACCES, "no permission for /dev/hsl: run as root, or join the group that may (hsl, by the udev rules of `make install`)" },
	{ EPERM, "opened by another process: a forked child must open the device itself" },
	{ EINVAL, "a value is out of its range, or .size of a structure is not set" },
	{ E2BIG, "a structure asks for something newer than this library or module" },
	{ EFAULT, "an address is not mapped, or not for this access" },
	{ EOPNOTSUPP, "an option is unknown, an operation is not there or not allowed on this queue, or no shared virtual addressing works here: then the kernel log and the sysfs file sva name the gate that failed; or memory cannot be where it was asked for" },
	{ EBUSY, "in use: every context of the device is open, the queue has work in flight, or memory is pinned by something else (direct I/O, a pipe, a registered buffer)" },
	{ ENOMEM, "out of memory: of the host, of the device or within a limit of this user or cgroup; HSL_LOG=1 shows the amounts" },
	{ EMFILE, "this user has as many contexts open as max_contexts_per_user of the module hsl allows" },
	{ ENOSPC, "no queue left: in this context (max_queues), for this user (max_queues_per_user of the module hsl) or on the device; or no signal left: in this context, for this user (max_signals_per_user) or on the device" },
	{ EXDEV, "the queue to be rung is on a device that no fabric joins to this one" },
	{ ESTALE, "the queue to be rung has failed or is no more" },
	{ EHWPOISON, "the memory has lost its contents: map other memory in its place" },
	{ EHOSTUNREACH, "no route leads to the device whose memory this is: the routes that the queue allows are closed, see peers in sysfs" },
	{ ENOLINK, "the link to another device was lost under way: what is left can be submitted again" },
	{ EIO, "the device refused, met a bus error or stopped the queue: hsl_queue_state() says why" },
	{ ENODATA, "nothing is in flight to wait for" },
	{ ETIMEDOUT, "no completion in time" },
};

#define LOOK_UP(table, n, other)	((n) < sizeof(table) / sizeof((table)[0]) ? (table)[n] : (other))

HSL_PUBLIC const char *hsl_strstatus(unsigned int status)
{
	return LOOK_UP(status_text, status, "unknown status");
}

HSL_PUBLIC const char *hsl_strqerr(unsigned int qerr)
{
	return LOOK_UP(qerr_text, qerr, "unknown queue error");
}

HSL_PUBLIC const char *hsl_strop(unsigned int op)
{
	return LOOK_UP(op_text, op, "unknown operation");
}

HSL_PUBLIC const char *hsl_strerror(int err)
{
	size_t i;

	if (err < 0)
		err = -err;
	for (i = 0; i < sizeof(err_text) / sizeof(err_text[0]); i++)
		if (err_text[i].err == err)
			return err_text[i].text;
	return strerror(err);
}

HSL_PUBLIC int hsl_status_errno(unsigned int status)
{
	switch (status) {
	case HSL_ST_OK:
		return 0;
	case HSL_ST_INVALID:
		return -EINVAL;
	/* Not EACCES or EPERM: these say that the process lacks a right. */
	case HSL_ST_NOT_PERMITTED:
		return -EOPNOTSUPP;
	case HSL_ST_PAGE_FAULT:
		return -EFAULT;
	case HSL_ST_POISON:
		return -EHWPOISON;
	case HSL_ST_PEER_UNREACHABLE:
		return -EHOSTUNREACH;
	case HSL_ST_LINK_ERROR:
		return -ENOLINK;
	default:
		return -EIO;
	}
}
