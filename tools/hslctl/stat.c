// SPDX-License-Identifier: MIT
/* hslctl stat: counters of devices as they are, or what they gain per second; figures of processes. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "hslctl.h"

struct arguments {
	struct words words;
	double interval;
	unsigned long count;
	bool processes;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'i':
		a->interval = seconds_option(arg, 0.01, "--interval", state);
		return 0;
	case 'n':
		a->count = number_option(arg, 1, 1000000000, "--count", state);
		return 0;
	case 'p':
		a->processes = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&a->words, arg, state);
	case ARGP_KEY_END:
		if (a->count && !a->interval)
			a->interval = 1;
		if (a->processes && a->interval)
			argp_error(state, "--processes is shown once; hslctl top shows them at intervals");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static json_object *counters_of(const uint64_t *values)
{
	json_object *o = json_object_new_object();

	for (int n = 0; n < HSL_CNT_NR; n++)
		put_number(o, counter_names[n], values[n]);
	return o;
}

/* A line per counter, a column per device. */
static void show_counters(json_object *rows)
{
	struct column columns[MAX_WORDS + 2] = { { "counter", "COUNTER", TEXT } };
	json_object *lines = json_object_new_array(), *val;
	size_t nr = json_object_array_length(rows);

	for (size_t i = 0; i < nr && i < MAX_WORDS; i++) {
		const char *name = get_text(json_object_array_get_idx(rows, i), "name");

		columns[i + 1] = (struct column){ name, name, NUMBER };
	}
	for (int n = 0; nr && n < HSL_CNT_NR; n++) {
		json_object *line = json_object_new_object();

		put_text(line, "counter", counter_names[n]);
		for (size_t i = 0; i < nr; i++) {
			json_object *row = json_object_array_get_idx(rows, i);

			json_object_object_get_ex(row, "counters", &val);
			put_number(line, get_text(row, "name"), get_number(val, counter_names[n]));
		}
		json_object_array_add(lines, line);
	}
	table_show(columns, lines);
	json_object_put(lines);
}

static int once(void)
{
	json_object *rows = json_object_new_array(), *top;
	uint64_t values[HSL_CNT_NR];
	struct device *d;
	int bad = 0;

	for_each_chosen(d) {
		json_object *o;

		if (!device_counters(d, values)) {
			bad = 1;
			fprintf(stderr, TOOL ": %s: no counters: %s\n", d->bdf, d->name[0] ?
				"it is being reset or is broken" : "no driver is bound; hslctl doctor says why");
			continue;
		}
		o = device_names(d);
		put_file(o, "generation", d, "generation");
		put(o, "counters", counters_of(values));
		json_object_array_add(rows, o);
	}
	if (options.json) {
		top = json_object_new_object();
		put(top, "devices", rows);
		json_show(top);
	} else {
		show_counters(rows);
		json_object_put(rows);
	}
	return bad;
}

/* Per second; what a reset has set to 0 has no rate. */
static json_object *rates(const struct device *d, const uint64_t *before, const uint64_t *after, double seconds)
{
	json_object *o = device_names(d);
	char name[48];

	for (int n = 0; n < HSL_CNT_NR; n++) {
		snprintf(name, sizeof(name), "%s_per_second", counter_names[n]);
		if (after[n] < before[n])
			put(o, name, NULL);
		else
			put_real(o, name, (after[n] - before[n]) / seconds);
	}
	return o;
}

static int at_intervals(const struct arguments *a)
{
	static const struct column columns[] = {
		{ "name", "DEVICE", TEXT }, { "ops_per_second", "OPS/S", FIGURE }, { "bytes_per_second", "B/S", BYTES },
		{ "host_bytes_per_second", "HOST", BYTES }, { "own_bytes_per_second", "OWN", BYTES },
		{ "link_bytes_per_second", "LINK", BYTES }, { "pcie_bytes_per_second", "PCIE", BYTES },
		{ "via_host_bytes_per_second", "VIA-HOST", BYTES }, { "faults_per_second", "FAULTS/S", FIGURE },
		{ "page_requests_per_second", "PRQ/S", FIGURE }, { "invalidations_per_second", "INV/S", FIGURE },
		{ "interrupts_per_second", "IRQ/S", FIGURE }, { }
	};
	uint64_t (*last)[HSL_CNT_NR] = calloc(nr_devices + 1, sizeof(*last)), values[HSL_CNT_NR];
	bool *known = calloc(nr_devices + 1, sizeof(*known));
	double then = now();
	struct device *d;

	for_each_chosen(d)
		known[d - devices] = device_counters(d, last[d - devices]);
	for (unsigned long n = 0; !a->count || n < a->count; n++) {
		struct timespec t = { .tv_sec = (time_t)a->interval,
				      .tv_nsec = (long)(fmod(a->interval, 1) * 1e9) };
		json_object *rows = json_object_new_array(), *line;
		double at;

		nanosleep(&t, NULL);
		at = now();
		for_each_chosen(d) {
			bool ok = device_counters(d, values);
			int i = d - devices;

			if (ok && known[i])
				json_object_array_add(rows, rates(d, last[i], values, at - then));
			memcpy(last[i], values, sizeof(values));
			known[i] = ok;
		}
		if (options.json) {
			line = json_object_new_object();
			put_real(line, "seconds", at - then);
			put(line, "devices", rows);
			json_line(line);
		} else {
			if (!json_object_array_length(rows))
				fprintf(stderr, TOOL ": no device has counters just now\n");
			table_show(columns, rows);
			json_object_put(rows);
		}
		then = at;
	}
	free(last);
	free(known);
	return 0;
}

static int of_processes(void)
{
	static const struct column columns[] = {
		{ "pid", "PID", NUMBER }, { "comm", "COMMAND", TEXT }, { "device", "DEVICE", TEXT },
		{ "context", "CTX", NUMBER }, { "state", "STATE", TEXT }, { "sva", "SVA", TEXT },
		{ "queues", "QUEUES", NUMBER }, { "ops", "OPS", NUMBER }, { "bytes", "BYTES", BYTES },
		{ "faults", "FAULTS", NUMBER }, { "events_lost", "LOST", NUMBER }, { "memory_device", "MEMORY", BYTES },
		{ }
	};
	json_object *all = processes(), *rows = json_object_new_array();
	struct device *d;

	for (size_t i = 0; i < json_object_array_length(all); i++) {
		json_object *o = json_object_array_get_idx(all, i);

		for_each_chosen(d)
			if (!strcmp(d->name, get_text(o, "device")))
				json_object_array_add(rows, json_object_get(o));
	}
	json_object_put(all);
	rows_show("processes", columns, rows);
	return 0;
}

int cmd_stat(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "interval", 'i', "SECONDS", 0, "What the counters gain per second, every SECONDS", 0 },
		{ "count", 'n', "N", 0, "End after N intervals (of 1 s unless --interval says otherwise)", 0 },
		{ "processes", 'p', NULL, 0, "Processes that have devices open, instead of counters", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE...]",
		.doc = "Show the counters of HSL devices since their last reset, or their rates.",
		.children = common_options,
	};
	struct arguments a = { 0 };

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	devices_choose(&a.words);
	if (!nr_devices)
		fail("no HSL device");
	if (a.processes)
		return of_processes();
	return a.interval ? at_intervals(&a) : once();
}
