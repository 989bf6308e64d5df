// SPDX-License-Identifier: MIT
/* Processes that have HSL devices open, by /proc/PID/fdinfo. */
#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "hslctl.h"

/* Lines "hsl-KEY:\tVALUE" become members "key". */
static json_object *fdinfo_read(const char *pid, const char *fd)
{
	char *text = file_read("/proc/%s/fdinfo/%s", pid, fd), *line, *save, *end;
	json_object *o = json_object_new_object();

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');
		uint64_t val;

		if (strncmp(line, "hsl-", 4) || !colon)
			continue;
		*colon++ = '\0';
		colon += strspn(colon, " \t");
		for (char *c = line; *c; c++)
			if (*c == '-')
				*c = '_';
		val = strtoull(colon, &end, 10);
		if (end != colon && !*end)
			put_number(o, line + 4, val);
		else
			put_text(o, line + 4, colon);
	}
	free(text);
	return o;
}

/* A context that several processes have, or one by several descriptors, is the first one's. */
static bool is_known(json_object *rows, json_object *o)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		json_object *r = json_object_array_get_idx(rows, i);

		if (!strcmp(get_text(r, "device"), get_text(o, "device")) &&
		    get_number(r, "context") == get_number(o, "context") &&
		    get_number(r, "generation") == get_number(o, "generation") &&
		    !strcmp(get_text(r, "state"), get_text(o, "state")))
			return true;
	}
	return false;
}

static bool is_device_file(const char *pid, const char *fd)
{
	char *path = file_path("/proc/%s/fd/%s", pid, fd), to[64];
	ssize_t n = readlink(path, to, sizeof(to) - 1);

	free(path);
	return n > 9 && !strncmp(to, "/dev/hsl/", 9);
}

/* [{pid, comm, fd, device, context, ops, bytes, ...}]; only root sees those of others. */
json_object *processes(void)
{
	json_object *rows = json_object_new_array();
	char **pids, **fds;
	int nr_pids = file_list(&pids, "/proc");

	for (int i = 0; i < nr_pids; i++) {
		int nr_fds;

		if (!isdigit(pids[i][0]))
			continue;
		nr_fds = file_list(&fds, "/proc/%s/fd", pids[i]);
		for (int k = 0; k < nr_fds; k++) {
			json_object *o, *info;
			char *comm;

			if (!is_device_file(pids[i], fds[k]))
				continue;
			info = fdinfo_read(pids[i], fds[k]);
			if (!*get_text(info, "device") || is_known(rows, info)) {
				json_object_put(info);
				continue;
			}
			comm = file_read("/proc/%s/comm", pids[i]);
			o = json_object_new_object();
			put_number(o, "pid", strtoul(pids[i], NULL, 10));
			put_text(o, "comm", comm);
			put_number(o, "fd", strtoul(fds[k], NULL, 10));
			json_object_object_foreach(info, key, val)
				put(o, key, json_object_get(val));
			json_object_put(info);
			json_object_array_add(rows, o);
			free(comm);
		}
		file_list_free(fds, nr_fds);
	}
	file_list_free(pids, nr_pids);
	return rows;
}
