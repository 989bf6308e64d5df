// SPDX-License-Identifier: MIT
/* hslctl topo: where devices sit, and which way leads from each to the memory of each other. */
#include <string.h>

#include "hslctl.h"

static json_object *device_place(const struct device *d)
{
	json_object *o = device_names(d), *path = json_object_new_array();
	char bdfs[16][24];
	uint64_t node;
	int n = device_path(d, bdfs, 16);

	put_file(o, "fabric", d, "fabric");
	put_file(o, "fabric_node", d, "fabric_node");
	put(o, "numa_node", !options.dump && file_number(&node, "/sys/bus/pci/devices/%s/numa_node", d->bdf) ?
	    json_object_new_int((int)node) : NULL);
	put_file(o, "memory_node", d, "memory/node");
	for (int i = 0; i < n - 1; i++)
		json_object_array_add(path, json_text(bdfs[i]));
	put(o, "bridges", path);
	return o;
}

static const char *const ways[] = { "link", "pcie", "via-host" };
static const char *const keys[] = { "link", "pcie", "via_host" };

/*
 * "hsl1 hops 2; link: open, pcie: no PCIe switch above both, via-host: open". A reason
 * may have commas of its own, so that the next way is looked for by its name.
 */
static json_object *route_of(const struct device *d, char *line)
{
	json_object *o = json_object_new_object();
	unsigned int hops, to;
	const char *best = NULL;
	int name;

	/* The blank in the format may stand for none. */
	if (sscanf(line, "hsl%u%n hops %u", &to, &name, &hops) != 2 || line[name] != ' ') {
		json_object_put(o);
		return NULL;
	}
	put_text(o, "from", d->name);
	line[strcspn(line, " ")] = '\0';
	put_text(o, "to", line);
	line += strlen(line) + 1;
	put_number(o, "hops", hops);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		char label[16], next[16] = "", *why, *end = NULL;

		snprintf(label, sizeof(label), "%s: ", ways[i]);
		if (i + 1 < ARRAY_SIZE(ways))
			snprintf(next, sizeof(next), ", %s: ", ways[i + 1]);
		why = strstr(line, label);
		if (!why)
			continue;
		why += strlen(label);
		if (*next)
			end = strstr(why, next);
		if (end)
			*end = '\0';
		put_text(o, keys[i], why);
		if (!best && !strcmp(why, "open"))
			best = ways[i];
		if (end)
			line = end + 1;
	}
	put_text(o, "best", best);
	return o;
}

static void add_routes(json_object *routes, const struct device *d)
{
	char *text = device_read(d, "peers"), *line, *save;

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		json_object *o = route_of(d, line);

		if (o)
			json_object_array_add(routes, o);
	}
	free(text);
}

static json_object *route_between(json_object *routes, const char *from, const char *to)
{
	for (size_t i = 0; i < json_object_array_length(routes); i++) {
		json_object *o = json_object_array_get_idx(routes, i);

		if (!strcmp(get_text(o, "from"), from) && !strcmp(get_text(o, "to"), to))
			return o;
	}
	return NULL;
}

/* From the device of the line to the memory of that of the column. */
static void show_matrix(json_object *routes)
{
	struct column columns[MAX_WORDS + 2] = { { "from", "FROM", TEXT } };
	json_object *lines = json_object_new_array();
	struct device *d, *to;
	size_t n = 1;

	for_each_chosen(d)
		if (d->name[0] && n <= MAX_WORDS)
			columns[n++] = (struct column){ d->name, d->name, TEXT };
	for_each_chosen(d) {
		json_object *line;

		if (!d->name[0])
			continue;
		line = json_object_new_object();
		put_text(line, "from", d->name);
		for_each_chosen(to) {
			json_object *o = route_between(routes, d->name, to->name);
			char cell[32];

			if (!to->name[0])
				continue;
			if (o && !strcmp(get_text(o, "best"), "link"))
				snprintf(cell, sizeof(cell), "link %llu", (unsigned long long)get_number(o, "hops"));
			else
				snprintf(cell, sizeof(cell), "%s", d == to ? "own" : o && *get_text(o, "best") ?
					 get_text(o, "best") : "closed");
			put_text(line, to->name, cell);
		}
		json_object_array_add(lines, line);
	}
	putchar('\n');
	table_show(columns, lines);
	json_object_put(lines);
}

static void show_closed(json_object *routes)
{
	for (size_t i = 0; i < json_object_array_length(routes); i++) {
		json_object *o = json_object_array_get_idx(routes, i);

		if (!*get_text(o, "best"))
			printf("%s to %s: closed; link: %s, pcie: %s, via-host: %s\n", get_text(o, "from"),
			       get_text(o, "to"), get_text(o, "link"), get_text(o, "pcie"), get_text(o, "via_host"));
	}
}

int cmd_topo(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = only_words,
		.args_doc = "[DEVICE...]",
		.doc = "Show where HSL devices sit, and the way from each to the memory of each other: link and how many, pcie (below one switch), via-host (through the host bridge).",
		.children = common_options,
	};
	static const struct column columns[] = {
		{ "name", "NAME", TEXT }, { "bdf", "BDF", TEXT }, { "fabric", "FABRIC", TEXT },
		{ "fabric_node", "NODE", NUMBER }, { "numa_node", "NUMA", NUMBER },
		{ "memory_node", "MEMNODE", NUMBER }, { "bridges", "BRIDGES", LIST }, { }
	};
	json_object *rows = json_object_new_array(), *routes = json_object_new_array(), *top;
	struct words words = { 0 };
	struct device *d;

	argp_parse(&argp, argc, argv, 0, NULL, &words);
	devices_choose(&words);
	for_each_chosen(d) {
		json_object_array_add(rows, device_place(d));
		add_routes(routes, d);
	}
	if (options.json) {
		top = json_object_new_object();
		put(top, "devices", rows);
		put(top, "routes", routes);
		json_show(top);
		return 0;
	}
	table_show(columns, rows);
	if (json_object_array_length(routes)) {
		show_matrix(routes);
		show_closed(routes);
	}
	json_object_put(rows);
	json_object_put(routes);
	if (!nr_devices)
		fprintf(stderr, TOOL ": no HSL device\n");
	return 0;
}
