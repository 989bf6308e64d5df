// SPDX-License-Identifier: MIT
/*
 * Parts of hslctl that no machine brings to their limits: completions of a device that is
 * not to be trusted, more devices than there are, lines of the kernel that look odd.
 */
#define main hslctl_main
#include "../../tools/hslctl/hslctl.c"
#undef main
#include "../../tools/hslctl/bench.c"
#include "../../tools/hslctl/tracefs.c"

#include "tap.h"

/*
 * hslctl bench
 */

static struct hsl_q_ctl ctl;
static struct hsl_desc descs[8];
static struct hsl_cqe cqes[8];

static void complete(uint32_t index, uint64_t tag)
{
	cqes[index] = (struct hsl_cqe){ .user_data = tag };
	__atomic_store_n(&cqes[index].lap, 1, __ATOMIC_RELEASE);
}

/* Four operations are sent; the device answers with these. True: the worker took them. */
static bool takes(uint64_t first, uint64_t second, struct worker *w)
{
	static uint64_t adds[4];
	static float latency[4];
	struct hsl_queue q = {
		.sq = descs, .cq = cqes, .ctl = &ctl, .sq_entries = 8, .cq_entries = 8, .cq_order = 3,
	};
	struct lane *l = calloc(1, sizeof(*l));
	bool good;

	memset(&ctl, 0, sizeof(ctl));
	memset(cqes, 0, sizeof(cqes));
	*w = (struct worker){ .iterations = 4, .slots = 4, .adds = adds, .latency = latency };
	args.op = HSL_OP_NOP;
	args.depth = 4;
	l->q = &q;
	for (l->nr_free = 0; l->nr_free < args.depth; l->nr_free++)
		l->free[l->nr_free] = l->nr_free;
	send(w, l);
	complete(0, first);
	complete(1, second);
	good = reap(w, l);
	free(l);
	return good;
}

static void test_completions(void)
{
	struct worker w;

	ok(takes(2, 0, &w) && w.done == 2 && !w.error[0], "completions in any order");
	ok(!takes(0, 4, &w) && w.error[0], "one with a number that nothing has");
	ok(!takes(1ull << 40, 0, &w) && w.error[0], "one with a number beyond everything");
	ok(!takes(3, 3, &w) && w.error[0] && w.done == 1, "the same one twice");
}

static void test_matrix(void)
{
	json_object *rows = json_object_new_array();
	int i;

	nr_devices = MAX_WORDS + 20;
	devices = calloc(nr_devices, sizeof(*devices));
	for (i = 0; i < nr_devices; i++) {
		snprintf(devices[i].name, sizeof(devices[i].name), "hsl%d", i);
		devices[i].chosen = true;
	}
	show_matrix(rows);
	json_object_put(rows);
	free(devices);
	ok(true, "a matrix of more devices than can be named");
}

/*
 * Lines of tracefs
 */

static bool parses(const char *comm, const char *text)
{
	struct record r;
	char line[200];

	snprintf(line, sizeof(line), "%16s-4711    [003] d..1.   123.456789: hsl_event: %s", comm, text);
	return record_parse(line, &r) && !strcmp(r.comm, comm) && r.pid == 4711 && r.cpu == 3 &&
	       r.seconds == 123.456789 && !strcmp(r.event, "hsl_event") && !strcmp(r.text, text);
}

static void test_lines(void)
{
	struct record r;

	ok(parses("worker", "hsl0 type=1"), "a line");
	ok(parses("w [3]", "hsl0 type=1") && parses("kworker/u8:0-e [x]", "hsl0"), "brackets in the name of a task");
	ok(parses("w-7 [1] x 2.5:", "hsl0 type=1"), "a name that looks like the rest of a line");
	ok(!record_parse("", &r) && !record_parse(" [", &r) && !record_parse("CPU:1 [LOST 3 EVENTS]", &r),
	   "what is no record");
}

int main(void)
{
	plan(4 + 1 + 4);
	test_completions();
	test_matrix();
	test_lines();
	return tap_done();
}
