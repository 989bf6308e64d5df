// SPDX-License-Identifier: MIT
/*
 * hslctl monitor: what happens to devices, as it happens. Devices and links by
 * the kernel's uevents, faults by tracepoints, resets and alarms by a look at
 * sysfs now and then. Without root there are no tracepoints: then counters tell
 * that there were faults, not which.
 */
#include <errno.h>
#include <hsl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hslctl.h"

struct arguments {
	struct words words;
	unsigned long count;
	double interval;
	double duration;
};

static struct arguments args = { .interval = 1 };
static unsigned long told;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'n':
		args.count = number_option(arg, 1, 1000000000, "--count", state);
		return 0;
	case 'i':
		args.interval = seconds_option(arg, 0.01, "--interval", state);
		return 0;
	case 't':
		args.duration = seconds_option(arg, 0.01, "--time", state);
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&args.words, arg, state);
	}
	return ARGP_ERR_UNKNOWN;
}

static bool is_wanted(const char *name)
{
	if (!args.words.nr)
		return true;
	for (struct device *d = devices; d < devices + nr_devices; d++)
		if (d->chosen && !strcmp(d->name, name))
			return true;
	return false;
}

static json_object *event_new(const char *device, const char *event, const char *severity)
{
	json_object *o = json_object_new_object();

	put_real(o, "time", 0);
	put_text(o, "device", device);
	put_text(o, "event", event);
	put_text(o, "severity", severity);
	return o;
}

/* Takes @o. */
static void tell(json_object *o)
{
	struct timespec t;
	char text[32], stamp[32];

	if (!is_wanted(get_text(o, "device")) || (args.count && told == args.count)) {
		json_object_put(o);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &t);
	snprintf(text, sizeof(text), "%lld.%06ld", (long long)t.tv_sec, t.tv_nsec / 1000);
	put(o, "time", json_object_new_double_s(t.tv_sec + t.tv_nsec / 1e9, text));
	told++;
	if (options.json) {
		json_line(o);
		return;
	}
	strftime(stamp, sizeof(stamp), "%H:%M:%S", localtime(&t.tv_sec));
	printf("%s.%03ld %-8s %-7s %-8s", stamp, t.tv_nsec / 1000000, get_text(o, "device"), get_text(o, "severity"),
	       get_text(o, "event"));
	json_object_object_foreach(o, key, val)
		if (strcmp(key, "time") && strcmp(key, "device") && strcmp(key, "event") &&
		    strcmp(key, "severity") && val)
			printf(" %s=%s", key, json_object_get_string(val));
	putchar('\n');
	flush_or_end();
	json_object_put(o);
}

/*
 * uevents: devices that come and go, links
 */

static int uevents_open(void)
{
	struct sockaddr_nl from = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	int room = 1 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)))
		fail("the kernel's uevents: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return fd;
}

static void tell_link(const char *device, const char *link)
{
	unsigned int port;
	char state[16];
	json_object *o;
	bool good, bad;

	if (sscanf(link, "port%u:%15s", &port, state) != 2)
		return;
	good = !strcmp(state, "active");
	bad = !strcmp(state, "down") || !strcmp(state, "error");
	o = event_new(device, "link", good ? "info" : bad ? "error" : "warning");
	put_number(o, "port", port);
	put_text(o, "state", state);
	if (bad) {
		/* As it is now, which may be later than the event. */
		char *reason = file_read("/sys/class/hsl/%s/port%u/reason", device, port);

		put_text(o, "reason", reason);
		free(reason);
	}
	tell(o);
}

/* ACTION@PATH, then KEY=VALUE, each ends in 0 */
static void uevent_read(int fd)
{
	char buf[8192];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf) - 1, 0)) > 0 || (n < 0 && errno == ENOBUFS)) {
		const char *action = "", *device = "", *link = NULL, *ours = "";

		if (n < 0) {
			fprintf(stderr, TOOL ": uevents are lost, more happens than is read\n");
			continue;
		}
		buf[n] = '\0';
		for (char *at = buf; at < buf + n; at += strlen(at) + 1) {
			if (!strncmp(at, "ACTION=", 7))
				action = at + 7;
			else if (!strncmp(at, "SUBSYSTEM=", 10))
				ours = at + 10;
			else if (!strncmp(at, "DEVPATH=", 8))
				device = basename(at);
			else if (!strncmp(at, "HSL_LINK=", 9))
				link = at + 9;
		}
		if (strcmp(ours, "hsl"))
			continue;
		if (link)
			tell_link(device, link);
		else if (!strcmp(action, "add") || !strcmp(action, "remove"))
			tell(event_new(device, action, *action == 'a' ? "info" : "warning"));
	}
}

/*
 * Tracepoints: faults, and what the driver does about them
 */

static void trace_event(const struct record *rec, const char *device)
{
	uint64_t type, code, hwq, context, addr, access = 0;
	char text[24];
	json_object *o;

	if (!record_number(rec, "type", &type) || !record_number(rec, "code", &code) ||
	    !record_number(rec, "hwq", &hwq) || !record_number(rec, "context", &context) ||
	    !record_number(rec, "addr", &addr))
		return;
	record_number(rec, "access", &access);
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)addr);
	switch (type) {
	case HSL_EV_PAGE_FAULT:
		o = event_new(device, "fault", "warning");
		put_text(o, "what", hsl_strstatus(code));
		put_text(o, "access", access & HSL_ACCESS_WRITE ? "write" : "read");
		break;
	case HSL_EV_QUEUE_ERROR:
		o = event_new(device, "queue", "error");
		put_text(o, "what", hsl_strqerr(code));
		break;
	case HSL_EV_POISON:
		o = event_new(device, "poison", "error");
		put_text(o, "offset", text);
		tell(o);
		return;
	default:
		return;
	}
	put_text(o, "address", text);
	put_number(o, "hw_queue", hwq);
	put_number(o, "context", context);
	tell(o);
}

static void trace_line(const char *line)
{
	char device[16];
	unsigned long lost = record_lost(line);
	struct record rec;
	json_object *o;

	if (lost) {
		fprintf(stderr, TOOL ": %lu records are lost, more happens than is read\n", lost);
		return;
	}
	if (!record_parse(line, &rec) || sscanf(rec.text, "%15s", device) != 1)
		return;
	if (!strcmp(rec.event, "hsl_event")) {
		trace_event(&rec, device);
	} else if (!strcmp(rec.event, "hsl_reset")) {
		char *why;

		/* Those that the driver decides on; any reset shows in generation. */
		o = event_new(device, "recovery", "error");
		why = strstr(rec.text, "generation=");
		why = why ? strchr(why, ' ') : NULL;
		put_text(o, "what", why ? why + 1 : NULL);
		tell(o);
	}
}

static void trace_read(int pipe)
{
	static char buf[65536];
	static size_t have;
	unsigned int times = 64;
	ssize_t n;

	/* Not until it is empty, which may never be. */
	while (times-- && (n = read(pipe, buf + have, sizeof(buf) - have - 1)) > 0) {
		char *line = buf, *end;

		have += n;
		buf[have] = '\0';
		while ((end = strchr(line, '\n'))) {
			*end = '\0';
			trace_line(line);
			line = end + 1;
		}
		have -= line - buf;
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)
			have = 0;
	}
}

/*
 * Alarms: figures that should stand still
 */

static const struct alarm {
	const char *file, *event, *severity, *what;
	bool untraced;		/* only where no tracepoint says more */
} alarms[] = {
	{ "generation", "reset", "error", "the device was reset, every open file is dead", false },
	{ "counters/faults", "fault", "warning", "descriptors that ended with a fault", true },
	{ "counters/queue_errors", "queue", "error", "queues that stopped with an error", true },
	{ "counters/oracle_breaches", "alarm", "error", "accesses to memory that was no longer the process's", false },
	{ "counters/unreachable", "alarm", "warning", "descriptors that no open route led on", false },
	{ "events_lost", "alarm", "warning", "events lost", false },
	{ "memory/poisoned", "alarm", "error", "bytes of device memory lost", false },
	{ "memory/evicted", "alarm", "info", "bytes of device memory moved out for want of room", false },
};

#define PORT_ALARMS	2
static const char *const port_alarms[PORT_ALARMS][2] = {
	{ "crc_errors", "packets that arrived damaged" }, { "retrains", "trainings of a link" },
};

struct level {
	char name[16];
	char state[16];
	bool known[ARRAY_SIZE(alarms)];
	uint64_t last[ARRAY_SIZE(alarms)];
	bool port_known[HSL_MAX_PORTS][PORT_ALARMS];
	uint64_t port_last[HSL_MAX_PORTS][PORT_ALARMS];
};

static struct level *level_of(const char *name)
{
	static struct level levels[256];
	size_t i = 0;

	while (i < ARRAY_SIZE(levels) - 1 && levels[i].name[0] && strcmp(levels[i].name, name))
		i++;
	snprintf(levels[i].name, sizeof(levels[i].name), "%s", name);
	return &levels[i];
}

static void rose(const char *device, const struct alarm *a, int port, uint64_t by, uint64_t to)
{
	json_object *o = event_new(device, a->event, a->severity);

	if (port >= 0)
		put_number(o, "port", port);
	put_text(o, "what", a->what);
	put_number(o, "rose_by", by);
	put_number(o, "value", to);
	tell(o);
}

/* After a reset counters are 0: that is where they rise from then. */
static void look_at(const char *device, bool tracing)
{
	struct level *l = level_of(device);
	char *state = file_read("/sys/class/hsl/%s/state", device);
	uint64_t val;

	for (size_t i = 0; i < ARRAY_SIZE(alarms); i++) {
		const struct alarm *a = &alarms[i];

		if (!file_number(&val, "/sys/class/hsl/%s/%s", device, a->file) || (a->untraced && tracing))
			continue;
		if (l->known[i] && val > l->last[i])
			rose(device, a, -1, val - l->last[i], val);
		l->known[i] = true;
		l->last[i] = val;
	}
	for (int p = 0; p < HSL_MAX_PORTS; p++) {
		for (int i = 0; i < PORT_ALARMS; i++) {
			struct alarm a = { port_alarms[i][0], "alarm", "warning", port_alarms[i][1], false };

			if (!file_number(&val, "/sys/class/hsl/%s/port%d/%s", device, p, a.file))
				continue;
			if (l->port_known[p][i] && val > l->port_last[p][i])
				rose(device, &a, p, val - l->port_last[p][i], val);
			l->port_known[p][i] = true;
			l->port_last[p][i] = val;
		}
	}
	if (state && l->state[0] && strcmp(state, l->state)) {
		json_object *o = event_new(device, "state", !strcmp(state, "alive") ? "info" : "error");

		put_text(o, "state", state);
		tell(o);
	}
	if (state)
		snprintf(l->state, sizeof(l->state), "%s", state);
	free(state);
}

static void look(bool tracing)
{
	char **names;
	int n = file_list(&names, "/sys/class/hsl");

	for (int i = 0; i < n; i++)
		look_at(names[i], tracing);
	file_list_free(names, n);
}

int cmd_monitor(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "count", 'n', "N", 0, "End after N events", 0 },
		{ "time", 't', "SECONDS", 0, "End after SECONDS", 0 },
		{ "interval", 'i', "SECONDS", 0, "Look for alarms every SECONDS (1)", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE...]",
		.doc = "Tell faults, links, resets, devices that come and go, and alarms as they happen. --json: an object a line.",
		.children = common_options,
	};
	static const char *const events[] = { "hsl/hsl_event", "hsl/hsl_reset", NULL };
	struct recording rec = { .pipe = -1 };
	struct pollfd fds[3];
	double next, end;
	const char *why;
	sigset_t stop;
	bool tracing;

	argp_parse(&argp, argc, argv, 0, NULL, &args);
	need_live_machine("monitor");
	devices_choose(&args.words);
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	/* Whoever reads us may go: the recording must not stay. */
	signal(SIGPIPE, SIG_IGN);
	fds[0] = (struct pollfd){ .fd = uevents_open(), .events = POLLIN };
	tracing = !recording_start(&rec, events, 1024, &why);
	if (!tracing)
		fprintf(stderr, TOOL ": faults are only counted: %s\n", why);
	fds[1] = (struct pollfd){ .fd = tracing ? rec.pipe : -1, .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = signalfd(-1, &stop, SFD_CLOEXEC), .events = POLLIN };
	look(tracing);
	fprintf(stderr, TOOL ": watching\n");
	next = now() + args.interval;
	end = args.duration ? now() + args.duration : 1e300;
	while ((!args.count || told < args.count) && now() < end) {
		double left = (next < end ? next : end) - now();

		poll(fds, 3, left > 0 ? (int)(left * 1000) + 1 : 0);
		if (fds[2].revents)
			break;
		if (fds[1].revents)
			trace_read(rec.pipe);
		if (fds[0].revents)
			uevent_read(fds[0].fd);
		if (now() < next)
			continue;
		next = now() + args.interval;
		look(tracing);
	}
	if (tracing)
		recording_end(&rec);
	return 0;
}
