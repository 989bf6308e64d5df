// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * One operation at a time. Lengths are cut at what a descriptor may name; the
 * pieces run one after the other, so that the semantics are those of the whole.
 */
#include "internal.h"

/* A multiple of 8, so that a fill goes on in step with its pattern. */
static uint32_t piece(const struct hsl_queue *q, size_t left)
{
	uint32_t max = to_queue(q)->ctx->max_xfer & ~7u;

	return left < max ? (uint32_t)left : max;
}

static int begin(struct hsl_queue *q)
{
	int ret;

	if (!queue_is_ours(q))
		return -EPERM;
	if (q->sq_tail == q->cq_head)
		return 0;
	/* What is in flight may be a call's like this one, which the end of the queue has cut short. */
	ret = queue_alive(q);
	return ret ? ret : -EBUSY;
}

/* Submit the one descriptor prepared since begin() and wait for it. */
static int run(struct hsl_queue *q, uint64_t *result)
{
	const struct hsl_cqe *cqe;
	int ret;

	hsl_submit(q);
	ret = hsl_wait(q, &cqe, -1);
	if (ret)
		return ret;
	ret = hsl_status_errno(cqe->status);
	if (result)
		*result = cqe->result;
	hsl_seen(q, 1);
	return ret;
}

HSL_PUBLIC int hsl_copy(struct hsl_queue *q, void *dst, const void *src, size_t len)
{
	/* Up onto itself: the last piece first, as memmove() does it. */
	bool backward = (uintptr_t)dst - (uintptr_t)src < len;
	size_t done = 0;
	int ret = begin(q);

	while (!ret && done < len) {
		uint32_t n = piece(q, len - done);
		size_t at = backward ? len - done - n : done;

		hsl_prep_copy(hsl_get_desc(q), (char *)dst + at, (const char *)src + at, n);
		ret = run(q, NULL);
		done += n;
	}
	return ret;
}

HSL_PUBLIC int hsl_fill(struct hsl_queue *q, void *dst, uint64_t pattern, size_t len)
{
	size_t done = 0;
	int ret = begin(q);

	while (!ret && done < len) {
		uint32_t n = piece(q, len - done);

		hsl_prep_fill(hsl_get_desc(q), (char *)dst + done, pattern, n);
		ret = run(q, NULL);
		done += n;
	}
	return ret;
}

HSL_PUBLIC int hsl_compare(struct hsl_queue *q, const void *a, const void *b, size_t len, size_t *differs)
{
	size_t done = 0;
	int ret = begin(q);

	while (!ret && done < len) {
		uint32_t n = piece(q, len - done);
		uint64_t same = 0;

		hsl_prep_compare(hsl_get_desc(q), (const char *)a + done, (const char *)b + done, n);
		ret = run(q, &same);
		if (!ret && same > n)
			ret = -EIO;
		if (ret)
			break;
		done += same;
		if (same < n)
			break;
	}
	if (!ret && differs)
		*differs = done;
	return ret;
}

HSL_PUBLIC int hsl_crc32c(struct hsl_queue *q, const void *src, size_t len, uint32_t *crc)
{
	uint64_t so_far = *crc;
	size_t done = 0;
	int ret = begin(q);

	while (!ret && done < len) {
		uint32_t n = piece(q, len - done);

		hsl_prep_crc32c(hsl_get_desc(q), (const char *)src + done, n, (uint32_t)so_far);
		ret = run(q, &so_far);
		done += n;
	}
	if (!ret)
		*crc = (uint32_t)so_far;
	return ret;
}
