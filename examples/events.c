// SPDX-License-Identifier: MIT
/*
 * An event loop: a completion is one of the things that poll() waits for, here beside a
 * timer. hsl_arm() asks for the interrupt, and says when there is no reason to sleep.
 */
#include <hsl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { COPIES = 8, LEN = 1 << 20 };

static int fail(const char *what, int err)
{
	fprintf(stderr, "events: %s: %s\n", what, hsl_strerror(err));
	return 1;
}

int main(void)
{
	static unsigned char src[LEN], dst[COPIES][LEN];
	struct itimerspec every = { .it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000 };
	const struct hsl_cqe *cqe[COPIES];
	int err, i, n, done = 0, good = 0;
	struct pollfd fds[3];
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint64_t count;

	err = hsl_open(NULL, NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		return fail("no device", err);
	fds[0].fd = hsl_queue_eventfd(q, HSL_EVENTFD_COMPLETION);
	fds[1].fd = hsl_queue_eventfd(q, HSL_EVENTFD_ERROR);
	fds[2].fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	for (i = 0; i < 3; i++) {
		fds[i].events = POLLIN;
		if (fds[i].fd < 0)
			return fail("no event", fds[i].fd);
	}
	timerfd_settime(fds[2].fd, 0, &every, NULL);

	memset(src, 0x5a, sizeof(src));
	for (i = 0; i < COPIES; i++)
		hsl_prep_copy(hsl_get_desc(q), dst[i], src, LEN);
	hsl_submit(q);

	while (done < COPIES) {
		/* All that is there; then sleep, unless more came in between. */
		n = hsl_peek_batch(q, cqe, COPIES);
		for (i = 0; i < n; i++)
			good += cqe[i]->status == HSL_ST_OK;
		hsl_seen(q, n);
		done += n;
		if (n || hsl_arm(q))
			continue;
		if (poll(fds, 3, -1) < 0) {
			perror("events: poll");
			return 1;
		}
		if (fds[0].revents)
			(void)!read(fds[0].fd, &count, sizeof(count));
		if (fds[1].revents)
			return fail("the queue failed", -EIO);
		if (fds[2].revents)
			(void)!read(fds[2].fd, &count, sizeof(count));	/* other work of the loop */
	}
	for (i = 0; i < COPIES; i++)
		good -= memcmp(dst[i], src, LEN) != 0;
	hsl_close(ctx);
	close(fds[2].fd);
	printf("%d of %d copies are right\n", good, COPIES);
	return good != COPIES;
}
