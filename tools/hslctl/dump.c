// SPDX-License-Identifier: MIT
/*
 * hslctl dump: what those want to see who have to find out what is wrong with a
 * device, as it is now or as it was when it hung (coredump.c). No contents of
 * memory, no command lines of processes.
 */
#include <string.h>
#include <sys/utsname.h>

#include "hslctl.h"

struct arguments {
	struct words words;
	bool config;
	const char *core;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'c':
		a->config = true;
		return 0;
	case 'C':
		a->core = arg;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&a->words, arg, state);
	case ARGP_KEY_END:
		if (a->core && (a->words.nr || a->config || options.dump))
			argp_error(state, "--core shows what is in its file, and nothing else");
		if (a->config && options.json)
			argp_error(state, "--config is text, as lspci prints it: it has no JSON");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* As lspci -xxxx prints it, and -F reads it. */
static char *config_text(const struct device *d)
{
	uint8_t bytes[4096];
	int len = 0;
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	/* 64 bytes for those who are not root; a recording has what it has. */
	while (len < (int)sizeof(bytes) && pci_read_block(d->pci, len, bytes + len, 16))
		len += 16;
	fprintf(f, "%s Class %04x: %04x:%04x\n", d->bdf, d->pci->device_class, d->pci->vendor_id, d->pci->device_id);
	for (int i = 0; i < len; i++) {
		if (i % 16 == 0)
			fprintf(f, "%02x:", i);
		fprintf(f, " %02x%s", bytes[i], i % 16 == 15 ? "\n" : "");
	}
	fclose(f);
	return text;
}

/* Small regular attributes; folders below are taken one level deep. */
static void add_folder(json_object *o, const char *folder, int depth)
{
	char **names, path[512];
	int n = file_list(&names, "%s", folder);

	for (int i = 0; i < n; i++) {
		char *text;

		/* Links of the driver core lead elsewhere, retrain and the like cannot be read. */
		if (!strcmp(names[i], "device") || !strcmp(names[i], "subsystem") || !strcmp(names[i], "power"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		text = file_read("%s", path);
		if (text)
			put_text(o, path, text);
		else if (depth)
			add_folder(o, path, depth - 1);
		free(text);
	}
	file_list_free(names, n);
}

static json_object *device_dump(const struct device *d)
{
	static const char *const pci[] = { "numa_node", "current_link_speed", "current_link_width", "aer_dev_correctable",
					   "aer_dev_nonfatal", "aer_dev_fatal", "reset_method" };
	json_object *o = device_names(d), *files = json_object_new_object();
	char path[256], *text = config_text(d);

	put_text(o, "driver", d->driver[0] ? d->driver : NULL);
	put_text(o, "config", text);
	free(text);
	for (size_t i = 0; !options.dump && i < ARRAY_SIZE(pci); i++) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", d->bdf, pci[i]);
		text = file_read("%s", path);
		if (text)
			put_text(files, path, text);
		free(text);
	}
	if (d->name[0]) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/hsl/%s", d->bdf, d->name);
		add_folder(files, path, 1);
		snprintf(path, sizeof(path), "/sys/kernel/debug/hsl/%s", d->name);
		add_folder(files, path, 0);
	}
	put(o, "files", files);
	return o;
}

static json_object *machine_dump(void)
{
	json_object *o = json_object_new_object(), *files = json_object_new_object();
	char *text = file_read("/proc/version");

	put_text(o, "kernel", text);
	free(text);
	text = file_read("/proc/cmdline");
	put_text(o, "command_line", text);
	free(text);
	add_folder(files, "/sys/module/hsl/parameters", 0);
	put(o, "files", files);
	return o;
}

/* NULL: a recording has none. */
static void show_files(json_object *files)
{
	if (!files)
		return;
	json_object_object_foreach(files, path, text)
		printf("%s:%s%s\n", path, strchr(json_object_get_string(text), '\n') ? "\n" : " ",
		       json_object_get_string(text));
}

static void show(json_object *top)
{
	json_object *part, *list;

	json_object_object_get_ex(top, "machine", &part);
	printf("%s\ncommand line: %s\n", get_text(part, "kernel"), get_text(part, "command_line"));
	json_object_object_get_ex(part, "files", &part);
	show_files(part);
	json_object_object_get_ex(top, "devices", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *d = json_object_array_get_idx(list, i), *files;

		printf("\n%s %s driver %s\n%s", *get_text(d, "name") ? get_text(d, "name") : "-", get_text(d, "bdf"),
		       *get_text(d, "driver") ? get_text(d, "driver") : "-", get_text(d, "config"));
		json_object_object_get_ex(d, "files", &files);
		show_files(files);
	}
	json_object_object_get_ex(top, "processes", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		printf("%s%s\n", i ? "" : "\nprocesses:\n",
		       json_object_to_json_string(json_object_array_get_idx(list, i)));
	json_object_put(top);
}

int cmd_dump(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "config", 'c', NULL, 0, "Only the configuration space, in the format of lspci -xxxx", 0 },
		{ "core", 'C', "FILE", 0, "Show the core dump of a device that hung; -: standard input", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE...]",
		.doc = "Print everything there is to know about HSL devices, for a bug report. Complete as root.",
		.children = common_options,
	};
	json_object *top = json_object_new_object(), *rows = json_object_new_array();
	struct arguments a = { 0 };
	struct device *d;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (a.core)
		return coredump_show(a.core);
	devices_choose(&a.words);
	if (a.config && !options.json) {
		for_each_chosen(d) {
			char *text = config_text(d);

			printf("%s\n", text);
			free(text);
		}
		return 0;
	}
	put_number(top, "format", 1);
	put(top, "machine", options.dump ? json_object_new_object() : machine_dump());
	for_each_chosen(d)
		json_object_array_add(rows, device_dump(d));
	put(top, "devices", rows);
	put(top, "processes", options.dump ? json_object_new_array() : processes());
	if (options.json)
		json_show(top);
	else
		show(top);
	return 0;
}
