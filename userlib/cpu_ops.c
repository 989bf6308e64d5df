// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What a descriptor does (HW 4.3), by the CPU.
 *
 * A pointer in a descriptor may be wrong, and that is no reason to end the program:
 * the operation completes PAGE_FAULT and says where. So nothing here touches the
 * memory of a descriptor by loads and stores of its own, which would fault. The
 * kernel copies, process_vm_readv() and process_vm_writev() of the process on itself,
 * and says how far it came, by the page. It heeds protections, the end of a file and
 * whatever other threads unmap meanwhile, and no signal is involved.
 *
 * An atomic has to be done by the CPU's own instruction to be atomic towards other
 * threads. It is preceded by one that the kernel does, of no effect, and that tells
 * whether the word may be written. Only a program that unmaps it in that very moment,
 * under an operation in flight, gets SIGSEGV as from any access of its own.
 *
 * Pieces are of CPU_CHUNK bytes at most, so that the operations of a queue go on side
 * by side, and that one may be stopped.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cpu.h"

/* The unit of addresses in the contract, and at most that of the kernel */
#define PAGE		4096u

/*
 * Memory
 */

static size_t transfer(ssize_t (*call)(pid_t, const struct iovec *, unsigned long, const struct iovec *,
				       unsigned long, unsigned long),
		       void *buf, uint64_t va, size_t len)
{
	struct iovec local = { .iov_base = buf, .iov_len = len }, remote[CPU_CHUNK / PAGE + 1];
	unsigned long nr = 0;
	size_t left = len;
	ssize_t n;

	/* One by one: the count is by the element. */
	while (left) {
		size_t in_page = PAGE - (va & (PAGE - 1));

		remote[nr].iov_base = (void *)(uintptr_t)va;
		remote[nr].iov_len = in_page < left ? in_page : left;
		va += remote[nr].iov_len;
		left -= remote[nr].iov_len;
		nr++;
	}
	/* By the number of the thread: that of the process is no good once its first thread has ended. */
	n = call(gettid(), &local, 1, remote, nr, 0);
	return n < 0 ? 0 : (size_t)n;
}

/* How many of @len bytes, up to CPU_CHUNK, could be read; if it is less, the next one cannot. */
size_t cpu_mem_read(void *buf, uint64_t va, size_t len)
{
	return transfer(process_vm_readv, buf, va, len);
}

/* The same for writing */
size_t cpu_mem_write(uint64_t va, const void *buf, size_t len)
{
	return transfer(process_vm_writev, (void *)buf, va, len);
}

/* May the aligned word at @va be written? The kernel adds 0 to it, atomically. */
bool cpu_mem_writable(uint64_t va)
{
	uint32_t none = 0;

	/* The comparison is with what a word hardly ever is: whoever waits there sleeps on. */
	return syscall(SYS_futex, &none, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, NULL, (uintptr_t)va & ~3ul,
		       FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0x801)) >= 0;
}

/*
 * CRC-32C, eight bytes at a time by eight tables
 */

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_init(void)
{
	unsigned int i, k;

	for (i = 0; i < 256; i++) {
		uint32_t c = i;

		for (k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
		crc_table[0][i] = c;
	}
	for (k = 1; k < 8; k++)
		for (i = 0; i < 256; i++)
			crc_table[k][i] = crc_table[k - 1][i] >> 8 ^ crc_table[0][crc_table[k - 1][i] & 0xff];
}

static uint32_t crc32c(uint32_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint32_t a, b;

		memcpy(&a, p, 4);
		memcpy(&b, p + 4, 4);
		a ^= crc;
		crc = crc_table[7][a & 0xff] ^ crc_table[6][a >> 8 & 0xff] ^
		      crc_table[5][a >> 16 & 0xff] ^ crc_table[4][a >> 24] ^
		      crc_table[3][b & 0xff] ^ crc_table[2][b >> 8 & 0xff] ^
		      crc_table[1][b >> 16 & 0xff] ^ crc_table[0][b >> 24];
	}
	for (; len; len--, p++)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

/*
 * Operations
 */

static bool is_atomic(uint8_t op)
{
	return op == HSL_OP_ATOMIC_ADD || op == HSL_OP_ATOMIC_SWAP || op == HSL_OP_ATOMIC_CAS;
}

bool cpu_op_valid(const struct hsl_desc *d)
{
	if (d->op >= CPU_NR_OPS || d->flags & ~HSL_DESC_F_VALID || d->reserved0 || d->reserved1[0] || d->reserved1[1])
		return false;
	if (d->len > CPU_MAX_XFER || d->dst + d->len < d->dst || d->src + d->len < d->src)
		return false;
	if (is_atomic(d->op))
		return (d->len == 4 || d->len == 8) && !(d->dst & (d->len - 1));
	switch (d->op) {
	case HSL_OP_NOP:
	case HSL_OP_FENCE:
		return !d->len;
	case HSL_OP_SIGNAL:
		return !d->len && d->operand[1] <= UINT32_MAX;
	default:
		return true;
	}
}

static void finish(struct cpu_slot *slot, enum hsl_status status)
{
	slot->status = status;
	slot->finished = true;
}

static void page_fault(struct cpu_slot *slot, uint64_t addr, uint8_t access)
{
	slot->addr = addr;
	slot->access = access;
	finish(slot, HSL_ST_PAGE_FAULT);
}

static void advance(struct cpu_queue *q, struct cpu_slot *slot, size_t n, unsigned int operands)
{
	slot->done += n;
	slot->touched += n;
	cpu_count(q, HSL_CNT_HOST_BYTES, n * operands);
}

static size_t piece(const struct cpu_slot *slot)
{
	uint32_t left = slot->d.len - slot->done;

	return left < CPU_CHUNK ? left : CPU_CHUNK;
}

/* Up onto itself: from the end, by pieces that lie in one page of either side. */
static void copy_backward(struct cpu_queue *q, struct cpu_slot *slot)
{
	const struct hsl_desc *d = &slot->d;
	uint32_t left = d->len - slot->done, n = left, in_page;
	uint64_t src, dst;

	in_page = ((d->src + left - 1) & (PAGE - 1)) + 1;
	n = in_page < n ? in_page : n;
	in_page = ((d->dst + left - 1) & (PAGE - 1)) + 1;
	n = in_page < n ? in_page : n;
	src = d->src + left - n;
	dst = d->dst + left - n;
	if (cpu_mem_read(q->buf[0], src, n) < n)
		page_fault(slot, src, HSL_ACCESS_BACKWARD);
	else if (cpu_mem_write(dst, q->buf[0], n) < n)
		page_fault(slot, dst, HSL_ACCESS_BACKWARD | HSL_ACCESS_WRITE);
	else
		advance(q, slot, n, 2);
}

static void copy(struct cpu_queue *q, struct cpu_slot *slot)
{
	uint64_t src = slot->d.src + slot->done, dst = slot->d.dst + slot->done;
	size_t n;

	if (slot->d.dst > slot->d.src && slot->d.dst - slot->d.src < slot->d.len) {
		copy_backward(q, slot);
		return;
	}
	n = cpu_mem_read(q->buf[0], src, piece(slot));
	if (!n) {
		page_fault(slot, src, 0);
		return;
	}
	n = cpu_mem_write(dst, q->buf[0], n);
	if (!n)
		page_fault(slot, dst, HSL_ACCESS_WRITE);
	else
		advance(q, slot, n, 2);
}

static void fill(struct cpu_queue *q, struct cpu_slot *slot)
{
	uint64_t dst = slot->d.dst + slot->done, pattern = slot->d.operand[0];
	unsigned int turn = slot->done % 8 * 8;
	size_t n = piece(slot), i;

	if (turn)
		pattern = pattern >> turn | pattern << (64 - turn);
	for (i = 0; i < n; i += 8)
		memcpy(q->buf[0] + i, &pattern, 8);
	n = cpu_mem_write(dst, q->buf[0], n);
	if (!n)
		page_fault(slot, dst, HSL_ACCESS_WRITE);
	else
		advance(q, slot, n, 1);
}

static void compare(struct cpu_queue *q, struct cpu_slot *slot)
{
	uint64_t src = slot->d.src + slot->done, dst = slot->d.dst + slot->done;
	const unsigned char *a = q->buf[0], *b = q->buf[1];
	size_t n, same = 0;

	n = cpu_mem_read(q->buf[0], src, piece(slot));
	if (!n) {
		page_fault(slot, src, 0);
		return;
	}
	n = cpu_mem_read(q->buf[1], dst, n);
	if (!n) {
		page_fault(slot, dst, 0);
		return;
	}
	if (!memcmp(a, b, n))
		same = n;
	while (same < n && a[same] == b[same])
		same++;
	advance(q, slot, n, 2);
	slot->done -= n - same;
	slot->result = slot->done;
	if (same < n)
		finish(slot, HSL_ST_OK);
}

static void checksum(struct cpu_queue *q, struct cpu_slot *slot)
{
	uint64_t src = slot->d.src + slot->done;
	size_t n;

	pthread_once(&crc_once, crc_init);
	n = cpu_mem_read(q->buf[0], src, piece(slot));
	if (!n) {
		page_fault(slot, src, 0);
		return;
	}
	slot->result = crc32c((uint32_t)slot->result, q->buf[0], n);
	advance(q, slot, n, 1);
}

static uint64_t atomic_64(const struct hsl_desc *d)
{
	uint64_t *p = (uint64_t *)(uintptr_t)d->dst, old = d->operand[0];

	switch (d->op) {
	case HSL_OP_ATOMIC_ADD:
		return __atomic_fetch_add(p, d->operand[0], __ATOMIC_SEQ_CST);
	case HSL_OP_ATOMIC_SWAP:
		return __atomic_exchange_n(p, d->operand[0], __ATOMIC_SEQ_CST);
	default:
		__atomic_compare_exchange_n(p, &old, d->operand[1], false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		return old;
	}
}

static uint64_t atomic_32(const struct hsl_desc *d)
{
	uint32_t *p = (uint32_t *)(uintptr_t)d->dst, old = (uint32_t)d->operand[0];

	switch (d->op) {
	case HSL_OP_ATOMIC_ADD:
		return __atomic_fetch_add(p, (uint32_t)d->operand[0], __ATOMIC_SEQ_CST);
	case HSL_OP_ATOMIC_SWAP:
		return __atomic_exchange_n(p, (uint32_t)d->operand[0], __ATOMIC_SEQ_CST);
	default:
		__atomic_compare_exchange_n(p, &old, (uint32_t)d->operand[1], false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		return old;
	}
}

static void atomic(struct cpu_queue *q, struct cpu_slot *slot)
{
	if (!cpu_mem_writable(slot->d.dst)) {
		page_fault(slot, slot->d.dst, HSL_ACCESS_WRITE);
		return;
	}
	slot->result = slot->d.len == 8 ? atomic_64(&slot->d) : atomic_32(&slot->d);
	advance(q, slot, slot->d.len, 1);
}

/* One piece of @slot, which says itself when it has finished. */
void cpu_op_step(struct cpu_queue *q, struct cpu_slot *slot)
{
	if (slot->done < slot->d.len) {
		switch (slot->d.op) {
		case HSL_OP_COPY:
			copy(q, slot);
			break;
		case HSL_OP_FILL:
			fill(q, slot);
			break;
		case HSL_OP_COMPARE:
			compare(q, slot);
			break;
		case HSL_OP_CRC32C:
			checksum(q, slot);
			break;
		default:
			atomic(q, slot);
			break;
		}
	} else if (slot->d.op == HSL_OP_SIGNAL) {
		finish(slot, cpu_signal(q->cpu, slot->d.operand[0], (uint32_t)slot->d.operand[1]));
	}
	if (!slot->finished && slot->done == slot->d.len)
		finish(slot, HSL_ST_OK);
}

/* HSL_TIME_MODEL and HSL_TIME_REAL (HW 7.6) of an operation on memory of the host */
uint64_t cpu_op_time(const struct cpu_slot *slot)
{
	unsigned int operands = slot->d.op == HSL_OP_COPY || slot->d.op == HSL_OP_COMPARE ? 2 : 1;
	uint64_t ps = 0, model, real = (uint64_t)(cpu_now_ns() - slot->start);

	if (slot->touched)
		ps = operands * HSL_MODEL_HOST_LATENCY * 1000ull + slot->touched * 1000000 / HSL_MODEL_HOST_RATE;
	model = (ps + 999) / 1000;
	return (model < UINT32_MAX ? model : UINT32_MAX) | (real < UINT32_MAX ? real : UINT32_MAX) << 32;
}
