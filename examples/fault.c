// SPDX-License-Identifier: MIT
/*
 * A pointer that leads nowhere is no catastrophe: the operation completes PAGE_FAULT and
 * says where it stood and how far it came. Here a page in the middle is not there yet. It
 * is mapped, and the rest submitted again.
 */
#include <hsl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	const uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE), len = 4 * page;
	const struct hsl_cqe *c;
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	uint32_t done = 0;
	char *src, *dst, *missing;
	int err, faults = 0;

	src = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	dst = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (src == MAP_FAILED || dst == MAP_FAILED) {
		perror("fault");
		return 1;
	}
	memset(src, 'x', len);
	missing = dst + 2 * page;
	mprotect(missing, page, PROT_NONE);

	err = hsl_open(NULL, NULL, &ctx);
	if (!err)
		err = hsl_queue_create(ctx, NULL, &q);
	while (!err && done < len) {
		hsl_prep_copy(hsl_get_desc(q), dst + done, src + done, len - done);
		hsl_submit(q);
		err = hsl_wait(q, &c, -1);
		if (err)
			break;
		done += c->bytes;
		if (c->status == HSL_ST_PAGE_FAULT && c->addr == (uintptr_t)missing && !faults++) {
			printf("%s, a %s, after %u of %u bytes\n", hsl_strstatus(c->status),
			       c->access & HSL_ACCESS_WRITE ? "write" : "read", done, len);
			mprotect(missing, page, PROT_READ | PROT_WRITE);
		} else if (c->status != HSL_ST_OK) {
			err = hsl_status_errno(c->status);
		}
		hsl_seen(q, 1);
	}
	if (err) {
		fprintf(stderr, "fault: %s\n", hsl_strerror(err));
		return 1;
	}
	hsl_close(ctx);
	if (memcmp(src, dst, len)) {
		fprintf(stderr, "fault: the copy is wrong\n");
		return 1;
	}
	printf("%u bytes copied\n", done);
	return faults != 1;
}
