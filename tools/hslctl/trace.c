// SPDX-License-Identifier: MIT
/*
 * hslctl trace: a recording for Perfetto or chrome://tracing.
 *
 * The kernel's tracepoints tell faults, their answers, interrupts, events and
 * resets. What goes through mapped doorbells no kernel sees: libhsl writes each
 * descriptor and completion to trace_marker when HSL_TRACE is set, as it is for
 * a program that is run here. Faults belong to the descriptor in flight in the
 * same context that has their address among its operands.
 */
#include <errno.h>
#include <fcntl.h>
#include <hsl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hslctl.h"

struct arguments {
	const char *file;
	double seconds;
	unsigned long buffer;
	char **command;
};

static struct arguments args = { .file = "hsl-trace.json", .buffer = 16384 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'o':
		args.file = arg;
		return 0;
	case 't':
		args.seconds = seconds_option(arg, 0.01, "--time", state);
		return 0;
	case 'b':
		args.buffer = number_option(arg, 64, 1 << 20, "--buffer", state);
		return 0;
	case ARGP_KEY_ARG:
		args.command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!args.command && !args.seconds)
			argp_error(state, "what is to be recorded? a command, or everything for --time SECONDS");
		if (options.json && !strcmp(args.file, "-"))
			argp_error(state, "--json is the summary, which would be in the middle of the trace: -o FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/*
 * What was recorded, as it becomes a trace
 */

struct flying {
	struct flying *next;
	char device[16];
	unsigned long id;
	uint64_t hwq, context, index, op, len, dst, src, user_data;
	unsigned int nr_faults;
};

struct fault {
	struct fault *next;
	char device[16];
	uint64_t tag, context, addr, pages, access;
	double at;
	struct flying *of;
};

static FILE *out;
static json_object *pending;	/* the event that is being filled in */
static bool any;
static struct flying *flying, **flying_end = &flying;	/* oldest first */
static struct fault *faults;
static unsigned long next_id = 1;
static struct { unsigned long descriptors, completed, matched_faults, faults, page_requests, interrupts, lost; } sum;

/* The event before goes to the file: a recording may be longer than memory is. */
static void next_event(json_object *o)
{
	if (pending)
		fprintf(out, "%s%s", any ? ",\n" : "\n",
			json_object_to_json_string_ext(pending,
						       JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	any |= pending != NULL;
	json_object_put(pending);
	pending = o;
}

/* Devices are processes of the trace, far away from the numbers of real ones. */
#define DEVICE_PID	10000000
enum { TID_FAULTS = 1, TID_DRIVER = 2 };

static int device_pid(const char *device)
{
	return DEVICE_PID + atoi(device + 3);
}

static void meta(int pid, int tid, const char *what, const char *name)
{
	json_object *o = json_object_new_object(), *a = json_object_new_object();

	put_text(o, "ph", "M");
	put_int(o, "pid", pid);
	if (tid)
		put_int(o, "tid", tid);
	put_text(o, "name", what);
	put_text(a, "name", name);
	put(o, "args", a);
	next_event(o);
}

/* Once each. */
static void name_process(int pid, const char *name)
{
	static int known[4096];
	static size_t nr;

	for (size_t i = 0; i < nr; i++)
		if (known[i] == pid)
			return;
	if (nr < ARRAY_SIZE(known))
		known[nr++] = pid;
	meta(pid, 0, "process_name", name);
	if (pid < DEVICE_PID)
		return;
	meta(pid, TID_FAULTS, "thread_name", "faults");
	meta(pid, TID_DRIVER, "thread_name", "driver");
}

static json_object *event_new(const char *ph, const char *name, int pid, int tid, double seconds)
{
	json_object *o = json_object_new_object();
	char text[40];

	put_text(o, "ph", ph);
	put_text(o, "cat", "hsl");
	put_text(o, "name", name);
	put_int(o, "pid", pid);
	put_int(o, "tid", tid);
	snprintf(text, sizeof(text), "%.3f", seconds * 1e6);
	put(o, "ts", json_object_new_double_s(seconds * 1e6, text));
	next_event(o);
	return o;
}

static json_object *with_args(json_object *o)
{
	json_object *a = json_object_new_object();

	put(o, "args", a);
	return a;
}

static void put_hex(json_object *o, const char *key, uint64_t val)
{
	char text[24];

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)val);
	put_text(o, key, text);
}

static void put_id(json_object *o, unsigned long id)
{
	put_hex(o, "id", id);
}

/* An arrow: @ph is s where it begins, t on the way, f where it ends. */
static void flow(const char *ph, unsigned long id, int pid, int tid, double at)
{
	json_object *o = event_new(ph, "descriptor", pid, tid, at);

	put_id(o, id);
	if (*ph == 'f')
		put_text(o, "bp", "e");
}

static void slice(json_object *o, double seconds)
{
	char text[40];

	snprintf(text, sizeof(text), "%.3f", seconds * 1e6);
	put(o, "dur", json_object_new_double_s(seconds * 1e6, text));
}

#define MOMENT	1e-6	/* as long as something is shown that takes no time */

static const char *descriptor_name(const struct flying *f)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s %llu", hsl_strop(f->op), (unsigned long long)f->len);
	return text;
}

static bool number(const struct record *rec, const char *key, uint64_t *val)
{
	*val = 0;
	return record_number(rec, key, val);
}

static void desc_submit(const struct record *rec, const char *device)
{
	struct flying *f = calloc(1, sizeof(*f));
	uint64_t pid, flags, held;
	json_object *o, *a;

	if (!f)
		fail("out of memory");
	snprintf(f->device, sizeof(f->device), "%s", device);
	number(rec, "pid", &pid);
	number(rec, "context", &f->context);
	number(rec, "hwq", &f->hwq);
	number(rec, "index", &f->index);
	number(rec, "op", &f->op);
	number(rec, "flags", &flags);
	number(rec, "len", &f->len);
	number(rec, "dst", &f->dst);
	number(rec, "src", &f->src);
	number(rec, "user_data", &f->user_data);
	number(rec, "held", &held);
	f->id = next_id++;
	*flying_end = f;
	flying_end = &f->next;
	sum.descriptors++;

	name_process(pid, rec->comm);
	name_process(device_pid(device), device);
	o = event_new("X", held ? "hold" : "submit", pid, rec->pid, rec->seconds);
	slice(o, MOMENT);
	a = with_args(o);
	put_number(a, "descriptor", f->id);
	put_text(a, "device", device);
	flow("s", f->id, pid, rec->pid, rec->seconds);

	o = event_new("b", descriptor_name(f), device_pid(device), 100 + f->hwq, rec->seconds);
	put_id(o, f->id);
	a = with_args(o);
	put_number(a, "descriptor", f->id);
	put_number(a, "hw_queue", f->hwq);
	put_number(a, "context", f->context);
	put_number(a, "index", f->index);
	put_text(a, "op", hsl_strop(f->op));
	put_number(a, "flags", flags);
	put_number(a, "len_bytes", f->len);
	put_hex(a, "dst", f->dst);
	put_hex(a, "src", f->src);
	put_hex(a, "user_data", f->user_data);
}

static bool touches(const struct flying *f, uint64_t addr)
{
	uint64_t page = addr & ~0xfffull;

	return (f->dst && page < f->dst + f->len && page + 4096 > f->dst) ||
	       (f->src && page < f->src + f->len && page + 4096 > f->src);
}

/* The oldest in flight with this address; of a queue if that is known. */
static struct flying *flying_at(const char *device, uint64_t context, uint64_t hwq, uint64_t addr)
{
	for (struct flying *f = flying; f; f = f->next)
		if (!strcmp(f->device, device) && f->context == context && (hwq == ~0ull || f->hwq == hwq) &&
		    touches(f, addr))
			return f;
	return NULL;
}

/* Of the list, where @link points to it; faults that have no answer yet are nobody's then. */
static struct flying *land(struct flying **link)
{
	struct flying *f = *link;

	*link = f->next;
	if (!f->next)
		flying_end = link;
	for (struct fault *t = faults; t; t = t->next)
		if (t->of == f)
			t->of = NULL;
	return f;
}

/* The end of its track; returns the arguments. */
static json_object *track_end(const struct flying *f, const char *status, double at)
{
	json_object *o = event_new("e", descriptor_name(f), device_pid(f->device), 100 + f->hwq, at), *a;

	put_id(o, f->id);
	a = with_args(o);
	put_text(a, "status", status);
	put_number(a, "faults", f->nr_faults);
	return a;
}

/* What is still in flight ends with its queue: the number, context and user_data may be another one's next. */
static void queue_end(const struct record *rec, const char *device)
{
	struct flying **link = &flying, *f;
	uint64_t hwq;

	if (!number(rec, "hwq", &hwq))
		return;
	while ((f = *link)) {
		if (strcmp(f->device, device) || f->hwq != hwq) {
			link = &f->next;
			continue;
		}
		land(link);
		track_end(f, "queue destroyed", rec->seconds);
		free(f);
	}
}

static void desc_complete(const struct record *rec, const char *device)
{
	uint64_t pid, hwq, user_data, status, bytes, addr, result;
	struct flying **link = &flying, *f;
	json_object *o, *a;

	number(rec, "pid", &pid);
	number(rec, "hwq", &hwq);
	number(rec, "user_data", &user_data);
	number(rec, "status", &status);
	number(rec, "bytes", &bytes);
	number(rec, "addr", &addr);
	number(rec, "result", &result);
	while ((f = *link) && (strcmp(f->device, device) || f->hwq != hwq || f->user_data != user_data))
		link = &f->next;
	if (!f)
		return;		/* its submission was lost, or before the recording */
	land(link);
	sum.completed++;

	o = event_new("X", "complete", pid, rec->pid, rec->seconds);
	slice(o, MOMENT);
	a = with_args(o);
	put_number(a, "descriptor", f->id);
	put_text(a, "status", hsl_strstatus(status));
	flow("f", f->id, pid, rec->pid, rec->seconds);

	a = track_end(f, hsl_strstatus(status), rec->seconds);
	put_number(a, "bytes", bytes);
	put_hex(a, "result", result);
	put_hex(a, "addr", addr);
	free(f);
}

/* Something that happened to a descriptor at one moment, within its own track. */
static void moment_of(struct flying *f, const char *name, double at, uint64_t addr)
{
	json_object *o = event_new("n", name, device_pid(f->device), 100 + f->hwq, at);

	put_id(o, f->id);
	put_hex(with_args(o), "address", addr);
}

static void fault_begin(const struct record *rec, const char *device)
{
	struct fault *t = calloc(1, sizeof(*t));

	if (!t)
		fail("out of memory");
	snprintf(t->device, sizeof(t->device), "%s", device);
	number(rec, "tag", &t->tag);
	number(rec, "context", &t->context);
	number(rec, "addr", &t->addr);
	number(rec, "pages", &t->pages);
	number(rec, "access", &t->access);
	t->at = rec->seconds;
	t->of = flying_at(device, t->context, ~0ull, t->addr);
	t->next = faults;
	faults = t;
	sum.faults++;
	name_process(device_pid(device), device);
	if (!t->of)
		return;
	sum.matched_faults++;
	t->of->nr_faults++;
	moment_of(t->of, "fault", rec->seconds, t->addr);
}

static void fault_end(const struct record *rec, const char *device)
{
	struct fault **link = &faults, *t;
	json_object *o, *a;
	uint64_t tag;

	number(rec, "tag", &tag);
	while ((t = *link) && (strcmp(t->device, device) || t->tag != tag))
		link = &t->next;
	if (!t)
		return;
	*link = t->next;
	o = event_new("X", "fault", device_pid(device), TID_FAULTS, t->at);
	slice(o, rec->seconds - t->at);
	a = with_args(o);
	put_hex(a, "address", t->addr);
	put_number(a, "pages", t->pages);
	put_text(a, "access", t->access & HSL_ACCESS_WRITE ? "write" : "read");
	put_number(a, "context", t->context);
	put_text(a, "answer", strrchr(rec->text, ' ') ? strrchr(rec->text, ' ') + 1 : "");
	if (t->of) {
		put_number(a, "descriptor", t->of->id);
		flow("t", t->of->id, device_pid(device), TID_FAULTS, t->at);
		moment_of(t->of, "answered", rec->seconds, t->addr);
	}
	free(t);
}

/* Contexts by PASID, for page requests: the IOMMU's tracepoint knows no more. */
static struct {
	char device[16], bdf[24];
	uint64_t pasid, context;
} pasids[4096];
static size_t nr_pasids;

static void pasid_learn(const char *device, uint64_t pasid, uint64_t context)
{
	if (nr_pasids == ARRAY_SIZE(pasids) || !pasid)
		return;
	snprintf(pasids[nr_pasids].device, sizeof(pasids[0].device), "%s", device);
	for (struct device *d = devices; d < devices + nr_devices; d++)
		if (!strcmp(d->name, device))
			snprintf(pasids[nr_pasids].bdf, sizeof(pasids[0].bdf), "%s", d->bdf);
	pasids[nr_pasids].pasid = pasid;
	pasids[nr_pasids++].context = context;
}

/* "dmar0/0000:01:00.0 seq# 7: rid=… addr=FRAME -w--l pasid=…" */
static void page_request(const struct record *rec)
{
	uint64_t frame, pasid;
	json_object *o, *a;
	char bdf[24];

	if (sscanf(rec->text, "%*[^/]/%23s", bdf) != 1 || !number(rec, "addr", &frame) || !number(rec, "pasid", &pasid))
		return;
	for (struct device *d = devices; d < devices + nr_devices; d++) {
		struct flying *f = NULL;

		if (strcmp(d->bdf, bdf) || !d->name[0])
			continue;
		sum.page_requests++;
		name_process(device_pid(d->name), d->name);
		/* A PASID may have several contexts: the one with such a descriptor it is. */
		for (size_t i = nr_pasids; i-- && !f;)
			if (!strcmp(pasids[i].bdf, bdf) && pasids[i].pasid == pasid)
				f = flying_at(d->name, pasids[i].context, ~0ull, frame << 12);
		o = event_new("X", "page request", device_pid(d->name), TID_FAULTS, rec->seconds);
		slice(o, MOMENT);
		a = with_args(o);
		put_hex(a, "address", frame << 12);
		put_number(a, "pasid", pasid);
		if (!f)
			return;
		sum.matched_faults++;
		f->nr_faults++;
		put_number(a, "descriptor", f->id);
		flow("t", f->id, device_pid(d->name), TID_FAULTS, rec->seconds);
		moment_of(f, "page request", rec->seconds, frame << 12);
		return;
	}
}

static void device_event(const struct record *rec, const char *device)
{
	uint64_t type, code, hwq, context, addr;
	struct flying *f;

	number(rec, "type", &type);
	number(rec, "code", &code);
	number(rec, "hwq", &hwq);
	number(rec, "context", &context);
	number(rec, "addr", &addr);
	if (type != HSL_EV_PAGE_FAULT)
		return;
	f = flying_at(device, context, hwq, addr);
	if (f)
		moment_of(f, hsl_strstatus(code), rec->seconds, addr);
}

/* All the others: the driver at work, with the words of the tracepoint. */
static void driver_event(const struct record *rec, const char *device)
{
	json_object *o;

	name_process(device_pid(device), device);
	o = event_new("i", rec->event + strlen("hsl_"), device_pid(device), TID_DRIVER, rec->seconds);
	put_text(o, "s", "t");
	put_text(with_args(o), "text", rec->text);
}

static void take_line(const char *line)
{
	char device[16], *mark;
	struct record rec;
	unsigned long lost = record_lost(line);
	uint64_t pasid, context;

	if (lost) {
		sum.lost += lost;
		return;
	}
	if (!record_parse(line, &rec))
		return;
	if (!strcmp(rec.event, "prq_report")) {
		page_request(&rec);
		return;
	}
	if (!strcmp(rec.event, "tracing_mark_write")) {
		mark = strchr(rec.text, ' ');
		if (!mark || sscanf(mark, " %15s", device) != 1 || strncmp(device, "hsl", 3))
			return;
		if (!strncmp(rec.text, "hsl_desc_submit ", 16))
			desc_submit(&rec, device);
		else if (!strncmp(rec.text, "hsl_desc_complete ", 18))
			desc_complete(&rec, device);
		return;
	}
	if (sscanf(rec.text, "%15s", device) != 1 || strncmp(device, "hsl", 3) || strncmp(rec.event, "hsl_", 4))
		return;
	if (!strcmp(rec.event, "hsl_fault")) {
		fault_begin(&rec, device);
		return;
	}
	if (!strcmp(rec.event, "hsl_fault_answer")) {
		fault_end(&rec, device);
		return;
	}
	if (!strcmp(rec.event, "hsl_context_open") && number(&rec, "pasid", &pasid) &&
	    number(&rec, "context", &context))
		pasid_learn(device, pasid, context);
	/* Of one whose end was lost the next one's beginning tells. */
	if (!strcmp(rec.event, "hsl_queue_destroy") || !strcmp(rec.event, "hsl_queue_create"))
		queue_end(&rec, device);
	if (!strcmp(rec.event, "hsl_event"))
		device_event(&rec, device);
	sum.interrupts += !strcmp(rec.event, "hsl_interrupt");
	driver_event(&rec, device);
}

/* What is there; true: there may be more at once. */
static bool drain(int pipe)
{
	static char buf[1 << 18];
	static size_t have;
	ssize_t n = read(pipe, buf + have, sizeof(buf) - have - 1);
	char *line = buf, *end;

	if (n <= 0)
		return false;
	have += n;
	buf[have] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end = '\0';
		take_line(line);
		line = end + 1;
	}
	have -= line - buf;
	memmove(buf, line, have);
	if (have == sizeof(buf) - 1)
		have = 0;
	return true;
}

/*
 * Recording
 */

static pid_t run(const struct recording *rec)
{
	char path[192];
	pid_t pid;
	sigset_t none;

	snprintf(path, sizeof(path), "%s/trace_marker", rec->path);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* The trace alone is in that stream. */
	if (!strcmp(args.file, "-"))
		dup2(STDERR_FILENO, STDOUT_FILENO);
	setenv("HSL_TRACE", path, 1);
	execvp(args.command[0], args.command);
	fprintf(stderr, TOOL ": %s: %s\n", args.command[0], strerror(errno));
	_exit(127);
}

#define PATIENCE	3	/* seconds, with a command that was told to end */

/* As it would without us the first time, then anyway; false: not even that has helped. */
static bool end_command(pid_t pid, unsigned int told)
{
	static const int signals[] = { SIGTERM, SIGKILL };

	if (told == ARRAY_SIZE(signals)) {
		fprintf(stderr, TOOL ": %s was killed and does not end\n", args.command[0]);
		return false;
	}
	kill(pid, signals[told]);
	/* One that is stopped would not notice. */
	kill(pid, SIGCONT);
	return true;
}

/* Before anything is run: where it cannot be written it need not be recorded. */
static void file_begin(void)
{
	out = strcmp(args.file, "-") ? fopen(args.file, "we") : stdout;
	if (!out)
		fail("%s: %s", args.file, strerror(errno));
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", out);
}

static void file_end(void)
{
	next_event(NULL);
	fprintf(out, "\n],\"otherData\":{\"recorder\":\"%s\",\"lost_records\":%lu}}\n", argp_program_version, sum.lost);
	if (ferror(out) || (out == stdout ? fflush(out) : fclose(out)))
		fail("%s: write error", args.file);
}

static void show_sum(void)
{
	json_object *o;

	if (!options.json) {
		fprintf(stderr, TOOL ": %lu descriptors, %lu completed; ", sum.descriptors, sum.completed);
		fprintf(stderr, "%lu faults and %lu page requests, %lu of them of these descriptors; ", sum.faults,
			sum.page_requests, sum.matched_faults);
		fprintf(stderr, "%lu interrupts; %lu records lost", sum.interrupts, sum.lost);
		if (strcmp(args.file, "-"))
			fprintf(stderr, "; open this in ui.perfetto.dev: %s", args.file);
		fputc('\n', stderr);
		return;
	}
	o = json_object_new_object();
	put_text(o, "file", args.file);
	put_number(o, "descriptors", sum.descriptors);
	put_number(o, "completed", sum.completed);
	put_number(o, "faults", sum.faults);
	put_number(o, "page_requests", sum.page_requests);
	put_number(o, "matched_faults", sum.matched_faults);
	put_number(o, "interrupts", sum.interrupts);
	put_number(o, "lost_records", sum.lost);
	json_show(o);
}

int cmd_trace(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "output", 'o', "FILE", 0, "Where to (hsl-trace.json; -: standard output)", 0 },
		{ "time", 't', "SECONDS", 0, "End after SECONDS", 0 },
		{ "buffer", 'b', "KB", 0, "Records of each processor that are kept until they are read (16384)", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "-- COMMAND [ARGUMENT...]\n--time SECONDS",
		.doc = "Record what devices do while COMMAND runs, for Perfetto: each of its descriptors from submission through faults to completion. Without a command: what the driver does for everybody.",
		.children = common_options,
	};
	static const char *const wanted[] = {
		"hsl/hsl_context_open", "hsl/hsl_context_close", "hsl/hsl_queue_create", "hsl/hsl_queue_destroy", "hsl/hsl_submit",
		"hsl/hsl_interrupt", "hsl/hsl_event", "hsl/hsl_fault", "hsl/hsl_fault_answer", "hsl/hsl_mirror_map",
		"hsl/hsl_mirror_invalidate", "hsl/hsl_reset", "?intel_iommu/prq_report", NULL
	};
	struct recording rec = { .pipe = -1 };
	const char *why;
	struct pollfd fds[2];
	sigset_t stop;
	unsigned int told = 0;
	bool time_over = false;
	pid_t pid = 0;
	int status = 0;
	double end;

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args);
	need_live_machine("trace");
	devices_find();
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigaddset(&stop, SIGCHLD);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	/* Whoever reads us may go: the recording must not stay. */
	signal(SIGPIPE, SIG_IGN);
	if (recording_start(&rec, wanted, args.buffer, &why))
		fail("nothing can be recorded: %s", why);
	file_begin();
	fds[0] = (struct pollfd){ .fd = rec.pipe, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN };
	if (args.command)
		pid = run(&rec);
	end = args.seconds ? now() + args.seconds : 1e300;
	for (;;) {
		struct signalfd_siginfo info;
		double left = end - now();
		bool enough = left <= 0;

		if (!enough)
			poll(fds, 2, left < 1 ? (int)(left * 1000) + 1 : 1000);
		/* Not until it is empty, which may never be. */
		for (int n = 0; n < 64 && drain(rec.pipe); n++)
			;
		time_over |= enough && !told;
		while (read(fds[1].fd, &info, sizeof(info)) == sizeof(info))
			enough |= info.ssi_signo != SIGCHLD;
		if (pid && waitpid(pid, &status, WNOHANG))
			break;
		if (!enough)
			continue;
		if (!pid)
			break;
		if (!end_command(pid, told++)) {
			status = SIGKILL;
			break;
		}
		end = now() + PATIENCE;
	}
	recording_stop(&rec);
	while (drain(rec.pipe))
		;
	recording_end(&rec);
	file_end();
	show_sum();
	if (args.command && WIFEXITED(status))
		return WEXITSTATUS(status);
	/* At the end of its time by our signals it has done what it should. */
	if (args.command && !(time_over && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGKILL)))
		return 128 + WTERMSIG(status);
	return 0;
}
