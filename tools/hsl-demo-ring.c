// SPDX-License-Identifier: MIT
/*
 * hsl-demo-ring FILE: devices that are joined to a ring pass a file around, each
 * from the memory of the one before it into its own, by nothing but pointers. In
 * the middle a link is cut, and the rest goes the other way round.
 */
#include <errno.h>
#include <fcntl.h>
#include <hsl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"

#define TOOL	"demo"
#include "tool.h"

#define DEVS	4
#define PIECE	(1u << 20)
#define DEPTH	8
#define BOUND_NS	(60 * 1000000000ll)

static struct stage {
	struct hsl_ctx *ctx;
	struct hsl_queue *q;
	char *mem;
} dev[DEVS];

static void set_up(size_t len)
{
	struct hsl_queue_opts opts = { .size = sizeof(opts), .routes = HSL_ROUTE_LINK };

	for (int i = 0; i < DEVS; i++) {
		struct hsl_query info = { .size = sizeof(info) };
		char path[32];
		void *mem;
		int err;

		snprintf(path, sizeof(path), "/dev/hsl/hsl%d", i);
		err = hsl_open(path, NULL, &dev[i].ctx);
		if (!err)
			err = hsl_query(dev[i].ctx, &info);
		if (!err && info.fabric_node == HSL_NODE_NONE)
			fail("%s is in no fabric", path);
		if (!err)
			err = hsl_queue_create(dev[i].ctx, &opts, &dev[i].q);
		/* A page behind the file counts the stages. */
		if (!err)
			err = hsl_alloc(dev[i].ctx, len + 2 * PIECE, &mem);
		if (err)
			fail("%s: %s", path, hsl_strerror(err));
		dev[i].mem = mem;
	}
}

static long long port_file(int i, int port, const char *name)
{
	char path[96], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%d/port%d/%s", i, port, name);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f))
		fail("%s: %s", path, strerror(errno));
	fclose(f);
	return strtoll(text, NULL, 10);
}

static void set_link(int i, int port, bool on)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%d/port%d/enable", i, port);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%d\n", on) < 0 || fclose(f))
		fail("%s: %s", path, strerror(errno));
}

static unsigned int hops(int from, int to)
{
	struct hsl_peer_info info[DEVS];
	int n = hsl_peers(dev[from].ctx, info, DEVS);

	for (int i = 0; i < n && i < DEVS; i++)
		if ((int)info[i].index == to)
			return info[i].hops;
	return 0;
}

/* Links train for a moment. */
static void wait_for_hops(int from, int to, unsigned int want)
{
	for (int i = 0; hops(from, to) != want; i++) {
		if (i == 5000)
			fail("hsl%d: the way to hsl%d does not become %u links long", from, to, want);
		usleep(1000);
	}
}

/*
 * @to takes the file from @from. Returns pieces that had to be submitted again
 * since their link went from under them.
 */
static int pass_on(int from, int to, size_t len, bool cut)
{
	struct hsl_queue *q = dev[to].q;
	size_t at = 0, sent = 0, ended = 0, pieces = (len + PIECE - 1) / PIECE;
	int again = 0;

	while (ended < pieces) {
		const struct hsl_cqe *c;
		int err;

		for (; at < len && sent - ended < DEPTH; sent++) {
			size_t n = len - at < PIECE ? len - at : PIECE;
			struct hsl_desc *d = hsl_get_desc(q);

			hsl_prep_copy(d, dev[to].mem + at, dev[from].mem + at, n);
			d->user_data = at;
			at += n;
		}
		hsl_submit(q);
		err = hsl_wait(q, &c, BOUND_NS);
		if (err)
			fail("hsl%d: no completion: %s", to, hsl_strerror(err));
		if (c->status == HSL_ST_LINK_ERROR || c->status == HSL_ST_PEER_UNREACHABLE) {
			size_t off = c->user_data + c->bytes, end = c->user_data + PIECE;
			struct hsl_desc *d;

			if (end > len)
				end = len;
			hsl_seen(q, 1);
			d = hsl_get_desc(q);
			hsl_prep_copy(d, dev[to].mem + off, dev[from].mem + off, end - off);
			d->user_data = off;
			if (++again > 1000)
				fail("hsl%d: no way to hsl%d", to, from);
			continue;
		}
		if (c->status != HSL_ST_OK)
			fail("hsl%d: %s", to, hsl_strstatus(c->status));
		hsl_seen(q, 1);
		ended++;
		if (cut && ended == pieces / 2)
			set_link(from, 0, false);
	}
	return again;
}

static void picture(void)
{
	long long mb[DEVS];

	/* In a ring port 0 leads to the next node. */
	for (int i = 0; i < DEVS; i++)
		mb[i] = (port_file(i, 0, "tx_bytes") + port_file(i, 0, "rx_bytes")) >> 20;
	printf("\n    hsl0 ---- %4lld MiB ---- hsl1\n", mb[0]);
	printf("     |                        |\n");
	printf("  %4lld MiB              %4lld MiB\n", mb[3], mb[1]);
	printf("     |                        |\n");
	printf("    hsl3 ---- %4lld MiB ---- hsl2\n\n", mb[2]);
}

int main(int argc, char **argv)
{
	size_t len, verified = 0;
	uint32_t truth;
	struct stat st;
	char *file;
	int fd;

	if (argc != 2) {
		fputs("usage: hsl-demo-ring FILE\n"
		      "Four devices in a ring pass FILE around; each computes its CRC-32C and is verified.\n", stderr);
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		fail("%s: %s", argv[1], strerror(errno));
	len = st.st_size;
	file = len ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	if (file == MAP_FAILED)
		fail("%s: not a file with something in it", argv[1]);
	crc32c_init();
	truth = crc32c(0, file, len);
	set_up(len);
	for (int i = 0; i < DEVS; i++)
		wait_for_hops(i, (i + 1) % DEVS, 1);

	if (hsl_file_read(fd, 0, dev[0].mem, len, NULL) != (ssize_t)len)
		fail("%s: cannot be read", argv[1]);
	printf("\n%zu bytes round a ring of %d devices, from memory to memory\n\n", len, DEVS);
	printf("%-14s %6s %8s %7s %10s  %s\n", "stage", "links", "ms", "GB/s", "crc32c", "");
	for (int i = 0; i < DEVS; i++) {
		int to = (i + 1) % DEVS, again;
		bool cut = i == 2;
		uint32_t crc = 0;
		double seconds;
		char name[24], note[64] = "";
		int err;

		if (to == 0)
			memset(dev[0].mem, 0, len);
		seconds = now();
		again = pass_on(i, to, len, cut);
		seconds = now() - seconds;
		err = hsl_crc32c(dev[to].q, dev[to].mem, len, &crc);
		if (err)
			fail("hsl%d: %s", to, hsl_strerror(err));
		if (crc != truth || memcmp(dev[to].mem, file, len))
			fail("hsl%d: what arrived is not the file", to);
		verified += len;
		snprintf(name, sizeof(name), "hsl%d -> hsl%d", i, to);
		if (cut)
			snprintf(note, sizeof(note), "link cut half way; %d pieces sent again", again);
		printf("%-14s %6u %8.1f %7.2f   %08x  %s\n", name, hops(i, to), seconds * 1e3,
		       len / seconds / 1e9, crc, note);
		if (cut) {
			if (hops(to, i) != DEVS - 1)
				fail("the way round the cut is not %d links long", DEVS - 1);
			set_link(i, 0, true);
			wait_for_hops(i, to, 1);
		}
	}
	picture();
	for (int i = 0; i < DEVS; i++)
		hsl_close(dev[i].ctx);
	printf("demo: ok, %zu bytes verified\n", verified);
	return 0;
}
