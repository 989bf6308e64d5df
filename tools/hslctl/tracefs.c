// SPDX-License-Identifier: MIT
/*
 * Tracepoints, by an instance of tracefs of our own: what others record goes on
 * undisturbed, and the instance goes with us.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hslctl.h"

static int write_at(int folder, const char *name, const char *text)
{
	int fd = openat(folder, name, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* However we end, but for SIGKILL: an instance that stays would record for ever. */
static struct recording *active;

static void end_active(void)
{
	if (active)
		recording_end(active);
}

/* Those of hslctls that were killed. */
static void remove_stale(const char *root)
{
	char **names, path[320];
	int n = file_list(&names, "%s/instances", root), pid;

	for (int i = 0; i < n; i++) {
		if (sscanf(names[i], "hslctl-%d", &pid) != 1 || !kill(pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%s/instances/%s", root, names[i]);
		rmdir(path);
	}
	file_list_free(names, n);
}

/* debugfs mounts it by itself at tracing. */
static const char *tracefs(void)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	struct stat st;

	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
			char path[64];

			snprintf(path, sizeof(path), "%s/instances", places[i]);
			if (!stat(path, &st))
				return places[i];
		}
		mount("tracefs", places[0], "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	}
	return NULL;
}

/*
 * @events: "hsl/hsl_reset" and so on; one that begins with '?' may be missing. 0, or
 * -errno and why in words.
 */
int recording_start(struct recording *r, const char *const *events, unsigned int kilobytes, const char **why)
{
	const char *root = tracefs();
	char text[128];
	int err;

	*why = "there is no tracefs: run as root, on a kernel with CONFIG_FTRACE";
	if (!root)
		return -ENOENT;
	remove_stale(root);
	snprintf(r->path, sizeof(r->path), "%s/instances/hslctl-%d", root, getpid());
	*why = "only root may record tracepoints";
	if (mkdir(r->path, 0700))
		return -errno;
	r->instance = open(r->path, O_DIRECTORY | O_CLOEXEC);
	r->pipe = -1;
	active = r;
	atexit(end_active);
	*why = "tracefs is not as expected";
	write_at(r->instance, "tracing_on", "0");
	/* The clock of CLOCK_MONOTONIC, so that programs can be laid beside it. */
	err = write_at(r->instance, "trace_clock", "mono");
	snprintf(text, sizeof(text), "%u", kilobytes);
	if (!err)
		err = write_at(r->instance, "buffer_size_kb", text);
	for (size_t i = 0; !err && events[i]; i++) {
		const char *name = events[i] + (events[i][0] == '?');

		snprintf(text, sizeof(text), "events/%s/enable", name);
		err = write_at(r->instance, text, "1");
		if (err && events[i][0] == '?')
			err = 0;
		if (err)
			*why = "the kernel has no tracepoints of hsl.ko: load the module";
	}
	r->pipe = openat(r->instance, "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!err && r->pipe < 0)
		err = -errno;
	if (!err)
		err = write_at(r->instance, "tracing_on", "1");
	if (err)
		recording_end(r);
	return err;
}

void recording_stop(struct recording *r)
{
	write_at(r->instance, "tracing_on", "0");
}

void recording_end(struct recording *r)
{
	if (r->pipe >= 0)
		close(r->pipe);
	close(r->instance);
	rmdir(r->path);
	active = NULL;
}

/* How many records the kernel had no room for, by the line that says so; 0: it is another one. */
unsigned long record_lost(const char *line)
{
	unsigned long lost;

	return sscanf(line, "CPU:%*d [LOST %lu EVENTS]", &lost) == 1 ? lost : 0;
}

/* "            comm-123     [001] d..1.   123.456789: hsl_event: hsl0 type=1 ..." */
bool record_parse(const char *line, struct record *rec)
{
	const char *cpu = NULL, *at, *dash, *colon;
	struct record try;
	int end = 0, n;

	memset(rec, 0, sizeof(*rec));
	/* The last that looks like it: the name of a task may have brackets, and the driver's events have none. */
	for (at = line; (at = strstr(at, " [")); at++) {
		n = 0;
		if (sscanf(at, " [%d] %*s %lf:%n", &try.cpu, &try.seconds, &n) != 2 || !n)
			continue;
		rec->cpu = try.cpu;
		rec->seconds = try.seconds;
		cpu = at;
		end = n;
	}
	if (!cpu)
		return false;
	/* The name of a task may have dashes and spaces. */
	for (dash = cpu; dash > line && *dash != '-'; dash--)
		;
	if (*dash != '-')
		return false;
	rec->pid = atoi(dash + 1);
	line += strspn(line, " ");
	snprintf(rec->comm, sizeof(rec->comm), "%.*s", (int)(dash - line), line);
	at = cpu + end;
	at += strspn(at, " ");
	colon = strstr(at, ": ");
	if (!colon)
		return false;
	snprintf(rec->event, sizeof(rec->event), "%.*s", (int)(colon - at), at);
	colon += 2;
	snprintf(rec->text, sizeof(rec->text), "%.*s", (int)strcspn(colon, "\n"), colon);
	return true;
}

/* "key=VALUE" in the text, decimal or 0x... */
bool record_number(const struct record *rec, const char *key, uint64_t *val)
{
	size_t len = strlen(key);

	for (const char *at = rec->text; (at = strstr(at, key)); at += len) {
		char *end;

		if ((at != rec->text && at[-1] != ' ') || at[len] != '=')
			continue;
		*val = strtoull(at + len + 1, &end, 0);
		return end != at + len + 1;
	}
	return false;
}
