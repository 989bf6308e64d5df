// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Descriptors and completions told to whoever records them: a line each, to the
 * file that the environment variable HSL_TRACE names, the trace_marker of tracefs.
 * hslctl trace reads them. Without the variable nothing of this is reached.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* -1: nobody records, or where they do cannot be written. */
int hsl_trace_open(void)
{
	const char *path = secure_getenv("HSL_TRACE");
	int fd;

	if (!path || !*path)
		return -1;
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		hsl_log("HSL_TRACE: %s cannot be opened, nothing is recorded", path);
	return fd;
}

/* Names are looked up once; what they cost is no part of what is recorded. */
void hsl_trace_queue(struct queue *p)
{
	struct hsl_queue_state state = { .size = sizeof(state) };
	struct hsl_query info = { .size = sizeof(info) };
	char link[40], path[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", p->ctx->fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || hsl_queue_state(&p->q, &state) || hsl_ioctl(p->ctx, HSL_QUERY, &info))
		return;
	path[n] = '\0';
	snprintf(p->trace_names, sizeof(p->trace_names), "%s pid=%d context=%u hwq=%u", basename(path), getpid(),
		 info.context, state.hw_queue);
	p->q.traced = 1;
}

static void put_line(const struct queue *p, const char *line, int len)
{
	/* A recording that has ended is no business of the program's. */
	if (write(p->ctx->trace_fd, line, len) < 0)
		return;
}

HSL_PUBLIC void hsl_trace_submit(const struct hsl_queue *q, int held)
{
	const struct queue *p = to_queue(q);
	char line[320];
	uint32_t i;
	int len;

	for (i = q->sq_published; i != q->sq_tail; i++) {
		const struct hsl_desc *d = &q->sq[i & (q->sq_entries - 1)];

		len = snprintf(line, sizeof(line),
			       "hsl_desc_submit %s index=%u op=%u flags=%u len=%u dst=%#llx src=%#llx user_data=%#llx held=%d",
			       p->trace_names, i, d->op, d->flags, d->len, (unsigned long long)d->dst,
			       (unsigned long long)d->src, (unsigned long long)d->user_data, held);
		put_line(p, line, len);
	}
}

HSL_PUBLIC void hsl_trace_seen(const struct hsl_queue *q, uint32_t nr)
{
	const struct queue *p = to_queue(q);
	char line[256];
	uint32_t i;
	int len;

	for (i = 0; i < nr; i++) {
		const struct hsl_cqe *c = &q->cq[(q->cq_head + i) & (q->cq_entries - 1)];

		len = snprintf(line, sizeof(line),
			       "hsl_desc_complete %s index=%u status=%u bytes=%u addr=%#llx result=%#llx user_data=%#llx",
			       p->trace_names, q->cq_head + i, c->status, c->bytes, (unsigned long long)c->addr,
			       (unsigned long long)c->result, (unsigned long long)c->user_data);
		put_line(p, line, len);
	}
}
