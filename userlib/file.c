// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Files straight into memory, that of a device included: the disk writes it by
 * itself where file system and alignment allow that, and no page of the host's
 * cache is filled.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* Bytes of one call: the kernel keeps that much of the disk busy at once */
#define STEP		(8ul << 20)

struct reader {
	int fd;			/* buffered */
	int direct;		/* the same file, or -1 */
	size_t align;		/* of offset, address and length of what is read directly */
	size_t mem_align;
	bool unproven;		/* memory of a PCI device, which the disk may not reach */
	struct hsl_file_io io;
};

/*
 * The file once more, for direct I/O: the flag belongs to whoever opened it, and
 * a descriptor that has it may be in use elsewhere.
 */
static void open_direct(struct reader *r)
{
	char path[40];
	struct stat st;

	r->align = r->mem_align = 4096;
	/* Before it is opened: that could wait for ever, of a FIFO, or do things, of a device. */
	if (fstat(r->fd, &st) || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
		r->io.why = HSL_FILE_NO_DIRECT;
		return;
	}
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", r->fd);
	r->direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (r->direct < 0) {
		r->io.why = errno == EINVAL ? HSL_FILE_NO_DIRECT : HSL_FILE_REOPEN;
		return;
	}
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (!statx(r->direct, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && sx.stx_mask & STATX_DIOALIGN &&
	    sx.stx_dio_offset_align) {
		r->align = sx.stx_dio_offset_align;
		r->mem_align = sx.stx_dio_mem_align;
	}
#endif
}

/* From here on by the page cache */
static void give_up_direct(struct reader *r, enum hsl_file_why why)
{
	r->io.why = why;
	close(r->direct);
	r->direct = -1;
}

/*
 * What a disk writes to another PCI device may be refused, or, with an IOMMU that sees
 * what a switch should have kept below itself, get lost without an error. So one block
 * is read twice, into host memory as well, and compared. At the end of a file it is
 * shorter. What there is of it, 0 or -errno; of the last two nothing is proven.
 */
static ssize_t prove(struct reader *r, char *dst, uint64_t offset)
{
	char *buf = aligned_alloc(4096, (r->align + 4095) & ~4095ul);
	ssize_t n, i;

	if (!buf)
		return -ENOMEM;
	n = pread(r->direct, buf, r->align, offset);
	if (n < 0)
		n = -errno;
	if (n > 0) {
		for (i = 0; i < n; i++)
			dst[i] = ~buf[i];
		errno = 0;
		if (pread(r->direct, dst, r->align, offset) != n || memcmp(dst, buf, n))
			give_up_direct(r, errno == EREMOTEIO ? HSL_FILE_NO_PEER : HSL_FILE_NO_PATH);
		r->unproven = false;
	}
	free(buf);
	return n;
}

/* Up to @len bytes through the page cache; the CPU copies them. */
static ssize_t read_buffered(struct reader *r, char *dst, size_t len, uint64_t offset)
{
	ssize_t n = pread(r->fd, dst, len, offset);

	if (n < 0)
		return -errno;
	r->io.bounced += n;
	return n;
}

/* The next piece; 0 at the end of the file. */
static ssize_t read_piece(struct reader *r, char *dst, size_t len, uint64_t offset)
{
	size_t skew = offset & (r->align - 1);
	ssize_t n;

	if (r->direct < 0)
		return read_buffered(r, dst, len < STEP ? len : STEP, offset);
	/* Before the first and after the last whole block, and where the two do not fit */
	if (skew || ((uintptr_t)dst & (r->mem_align - 1)) || len < r->align) {
		size_t head = skew ? r->align - skew : (len < r->align ? len : 0);

		r->io.why = HSL_FILE_UNALIGNED;
		if (!head || head > len)
			head = len;
		/* If the address does not become aligned with the offset, it never does. */
		if (((uintptr_t)dst + head) & (r->mem_align - 1))
			head = len;
		return read_buffered(r, dst, head < STEP ? head : STEP, offset);
	}
	if (r->unproven) {
		n = prove(r, dst, offset);
		if (n > 0)
			return read_piece(r, dst, len, offset);
	} else {
		len &= ~(r->align - 1);
		n = pread(r->direct, dst, len < STEP ? len : STEP, offset);
		if (n < 0)
			n = -errno;
	}
	if (n == -EINVAL || n == -EREMOTEIO) {
		/* The file system has more to say of alignment, or of this file; or of such memory. */
		give_up_direct(r, n == -EINVAL ? HSL_FILE_NO_DIRECT : HSL_FILE_NO_PEER);
		return read_buffered(r, dst, len < STEP ? len : STEP, offset);
	}
	if (n > 0)
		r->io.direct += n;
	return n;
}

HSL_PUBLIC ssize_t hsl_file_read(int fd, uint64_t offset, void *dst, size_t len, struct hsl_file_io *io)
{
	struct reader r = { .fd = fd, .direct = -1 };
	struct hsl_file_io known;
	size_t done = 0;
	ssize_t n = 0;
	int ret;

	if (io) {
		ret = hsl_take_opts(&known, sizeof(known), sizeof(known), io);
		if (ret)
			return ret;
		if (known.flags)
			return -EOPNOTSUPP;
	}
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EINVAL;
	open_direct(&r);
	r.unproven = memory_is_pcie(dst);
	while (done < len) {
		n = read_piece(&r, (char *)dst + done, len - done, offset + done);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		done += n;
	}
	if (r.direct >= 0)
		close(r.direct);
	if (io) {
		io->direct = r.io.direct;
		io->bounced = r.io.bounced;
		io->why = r.io.bounced ? r.io.why : HSL_FILE_DIRECT;
	}
	if (r.io.bounced)
		hsl_log("%zu of %zu bytes of the file went through host memory: %s", (size_t)r.io.bounced, done,
			hsl_strfile(r.io.why));
	return done ? (ssize_t)done : n;
}

HSL_PUBLIC const char *hsl_strfile(unsigned int why)
{
	static const char *const text[] = {
		[HSL_FILE_DIRECT] = "all of it was read directly",
		[HSL_FILE_NO_DIRECT] = "the file system has no direct I/O, or not for this file",
		[HSL_FILE_REOPEN] = "the file could not be opened again for direct I/O",
		[HSL_FILE_UNALIGNED] = "offset, address or length are not of whole blocks",
		[HSL_FILE_NO_PEER] = "the file system or the block driver does not transfer to PCI devices",
		[HSL_FILE_NO_PATH] = "what the disk writes does not come to the device: they are not below one PCIe switch, or an IOMMU is between them",
	};

	return why < sizeof(text) / sizeof(text[0]) ? text[why] : "unknown reason";
}
