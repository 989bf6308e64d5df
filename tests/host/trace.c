// SPDX-License-Identifier: MIT
/*
 * hslctl trace without a kernel that records: trace_pipe is a fifo, which the command finds
 * as HSL_TRACE, and what it writes there is what the kernel would have made of its work.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define main hslctl_main
#include "../../tools/hslctl/hslctl.c"
#undef main

#include "tap.h"

#define BOUND_S		30	/* longer than anything takes; a recording that long hangs */

static char folder[] = "/tmp/hsl-trace-XXXXXX";
static bool *ended;		/* the recording; shared with who records */

static int fifo_start(struct recording *r)
{
	char fifo[64];

	snprintf(r->path, sizeof(r->path), "%s", folder);
	snprintf(fifo, sizeof(fifo), "%s/trace_marker", folder);
	r->pipe = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return r->pipe < 0 ? -errno : 0;
}

static void fifo_end(struct recording *r)
{
	close(r->pipe);
	*ended = true;
}

#define recording_start(r, events, kb, why)	((void)(events), (void)(kb), *(why) = "", fifo_start(r))
#define recording_stop(r)			((void)(r))
#define recording_end(r)			fifo_end(r)
#define devices_find()				((void)0)
#include "../../tools/hslctl/trace.c"

static char *in_folder(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static pid_t trace_begin(char *time, char *script)
{
	char *words[] = { "trace", "-o", NULL, "-t", time, "--", "sh", "-c", script, NULL };
	pid_t pid;

	*ended = false;
	unlink(in_folder("started"));
	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	setpgid(0, 0);
	alarm(BOUND_S);
	if (chdir(folder) || !freopen("/dev/null", "w", stderr))
		_exit(99);
	words[2] = in_folder("json");
	exit(cmd_trace(ARRAY_SIZE(words) - 1, words));
}

/* Exit status of hslctl, or -1: it had to be killed. */
static int trace_end(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		abort();
	/* What the command has left, if it was not ended. */
	kill(-pid, SIGKILL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* It is recorded, and the recording does not stay; the exit status. */
static int trace(char *time, char *script)
{
	int ret = trace_end(trace_begin(time, script));

	if (ret < 0 || !*ended) {
		diag("%s: %s", script, ret < 0 ? "it hangs" : "the recording stays");
		return -1;
	}
	return ret;
}

/*
 * What becomes of the records
 */

static FILE *lines;
static double at;

__attribute__((format(printf, 2, 3)))
static void record(const char *event, const char *fmt, ...)
{
	va_list ap;

	at += 1;
	fprintf(lines, "             a-100     [001] d..1.   %.6f: %s: ", at, event);
	va_start(ap, fmt);
	vfprintf(lines, fmt, ap);
	va_end(ap);
	fputc('\n', lines);
}

static void submit(const char *device, int hwq, int op, int len, int dst)
{
	record("tracing_mark_write",
	       "hsl_desc_submit %s pid=100 context=1 hwq=%d index=0 op=%d flags=0 len=%d dst=%#x src=0x0 user_data=0x0 held=0",
	       device, hwq, op, len, dst);
}

static void complete(const char *device, int hwq, int len)
{
	record("tracing_mark_write",
	       "hsl_desc_complete %s pid=100 context=1 hwq=%d index=0 status=0 bytes=%d addr=0x0 result=0x0 user_data=0x0",
	       device, hwq, len);
}

static void queue(const char *event, const char *device, int hwq)
{
	record(event, "%s context=1 queue=0 hwq=%d sq=64 cq=64 vector=0", device, hwq);
}

static json_object *events;

static void recorded(void)
{
	fclose(lines);
	json_object_put(events);
	events = trace("20", "cat lines > $HSL_TRACE") ? NULL : json_object_from_file(in_folder("json"));
	if (!events)
		puts("Bail out! nothing was recorded");
	if (!events)
		exit(1);
}

static json_object *args_of(json_object *event)
{
	json_object *a;

	return json_object_object_get_ex(event, "args", &a) ? a : NULL;
}

/* Of descriptor @id the event of that kind that is the only one; NULL: there are none or more. */
static json_object *only(unsigned int id, const char *ph)
{
	json_object *list, *found = NULL;
	char text[16];

	snprintf(text, sizeof(text), "%#x", id);
	json_object_object_get_ex(events, "traceEvents", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		if (strcmp(get_text(o, "ph"), ph) || strcmp(get_text(o, "id"), text))
			continue;
		if (found)
			return NULL;
		found = o;
	}
	return found;
}

/* Its track ends so, and under the name with which it began. */
static bool ends(unsigned int id, const char *status, int bytes)
{
	json_object *b = only(id, "b"), *e = only(id, "e");

	return b && e && !strcmp(get_text(b, "name"), get_text(e, "name")) &&
	       !strcmp(get_text(args_of(e), "status"), status) &&
	       get_number(args_of(e), "bytes") == (unsigned int)bytes &&
	       get_number(b, "pid") == get_number(e, "pid") && get_number(b, "tid") == get_number(e, "tid");
}

/* A program that leaves a completion behind, and one that gets its queue's numbers; @between: what the kernel told. */
static void test_two(const char *between)
{
	lines = fopen(in_folder("lines"), "w");
	submit("hsl0", 3, HSL_OP_COPY, 4096, 0x1000);		/* 1 */
	submit("hsl0", 4, HSL_OP_FILL, 64, 0x9000);		/* 2 */
	submit("hsl1", 3, HSL_OP_FILL, 128, 0x9000);		/* 3 */
	record("hsl_fault", "hsl0 tag=0x7 context=1 addr=0x1000 pages=1 access=0x1");
	queue(between, "hsl0", 3);
	record("hsl_fault_answer", "hsl0 tag=0x7 context=1 addr=0x1000 refused");
	submit("hsl0", 3, HSL_OP_FILL, 8192, 0x20000);		/* 4 */
	record("hsl_fault", "hsl0 tag=0x8 context=1 addr=0x1000 pages=1 access=0x1");
	record("hsl_fault_answer", "hsl0 tag=0x8 context=1 addr=0x1000 retry");
	complete("hsl0", 3, 8192);
	complete("hsl0", 4, 64);
	complete("hsl1", 3, 128);
	recorded();
	ok(ends(1, "queue destroyed", 0) && get_number(args_of(only(1, "e")), "faults") == 1,
	   "%s: it ends what is in flight there", between);
	ok(ends(4, hsl_strstatus(HSL_ST_OK), 8192), "%s: the next one's completion is its own", between);
	ok(ends(2, hsl_strstatus(HSL_ST_OK), 64) && ends(3, hsl_strstatus(HSL_ST_OK), 128),
	   "%s: other queues go on", between);
	ok(only(1, "n") && !only(1, "t"), "%s: later faults and answers are not its own", between);
}

/*
 * How it ends
 */

static void test_ends(void)
{
	char *stubborn = "trap '' TERM; > started; exec sleep 100";
	double start = now();
	pid_t pid;
	int i;

	ok(trace("0.2", "exec sleep 100") == 0 && trace("0.2", "trap 'exit 7' TERM; sleep 100 & wait") == 7,
	   "at the end of its time a command gets SIGTERM");
	ok(trace("20", "kill -SEGV $$") == 128 + SIGSEGV, "one that ended by a signal before has that exit status");
	ok(trace("0.2", "kill -STOP $$") == 0, "one that is stopped ends too");
	ok(now() - start < 5 * PATIENCE && trace("0.2", stubborn) == 0, "one that does not want to is killed");
	ok(trace("0.2", "trap '' TERM; sleep 1; dd if=/dev/zero bs=64k count=16 > $HSL_TRACE; exit 5") == 5,
	   "what it still tells is read");
	pid = trace_begin("100", stubborn);
	for (i = 0; i < BOUND_S * 100 && access(in_folder("started"), F_OK); i++)
		usleep(10000);
	kill(pid, SIGINT);
	usleep(200000);
	start = now();
	kill(pid, SIGINT);
	ok(trace_end(pid) == 128 + SIGKILL && *ended && now() - start < PATIENCE, "a second signal kills it at once");
}

int main(void)
{
	plan(2 * 4 + 6);
	ended = mmap(NULL, sizeof(*ended), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ended == MAP_FAILED || !mkdtemp(folder) || mkfifo(in_folder("trace_marker"), 0600)) {
		puts("Bail out! no folder for what is recorded");
		return 1;
	}
	test_two("hsl_queue_destroy");
	test_two("hsl_queue_create");
	test_ends();
	json_object_put(events);
	unlink(in_folder("trace_marker"));
	unlink(in_folder("lines"));
	unlink(in_folder("started"));
	unlink(in_folder("json"));
	rmdir(folder);
	return tap_done();
}
