// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Signals: who may ring which queue. The rest is in hsl.h. */
#include "internal.h"

HSL_PUBLIC int hsl_queue_grant(struct hsl_queue *q)
{
	struct hsl_queue_grant arg = { .size = sizeof(arg) };
	int ret;

	if (!queue_is_ours(q))
		return -EPERM;
	arg.queue = to_queue(q)->id;
	ret = hsl_ioctl(to_queue(q)->ctx, HSL_QUEUE_GRANT, &arg);
	return ret ? ret : arg.fd;
}

HSL_PUBLIC int hsl_signal_add(struct hsl_ctx *ctx, int fd)
{
	struct hsl_signal_add arg = { .size = sizeof(arg), .fd = fd };
	int ret = hsl_ioctl(ctx, HSL_SIGNAL_ADD, &arg);

	return ret ? ret : (int)arg.handle;
}

HSL_PUBLIC int hsl_signal_del(struct hsl_ctx *ctx, int handle)
{
	struct hsl_signal_del arg = { .size = sizeof(arg), .handle = (uint32_t)handle };

	return hsl_ioctl(ctx, HSL_SIGNAL_DEL, &arg);
}
