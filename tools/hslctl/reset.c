// SPDX-License-Identifier: MIT
/* hslctl reset: a function level reset, and a look whether the device came back. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "hslctl.h"

#define BOUND_SECONDS	10

struct arguments {
	struct words words;
	bool force;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'f':
		a->force = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&a->words, arg, state);
	case ARGP_KEY_END:
		if (!a->words.nr)
			argp_error(state, "which device? all of them are named one by one");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* What would be lost is not lost by mistake. */
static void check(const struct device *d, bool force)
{
	uint64_t contexts = 0;
	char *mode = device_read(d, "memory/mode");

	device_number(d, "contexts", &contexts);
	if (mode && !strcmp(mode, "node"))
		fail("%s: its memory is a NUMA node of the kernel, which a reset would take away; "
		     "write coherent or off to memory/mode first", d->name);
	if (contexts && !force)
		fail("%s: %llu contexts are open and would die; hslctl stat --processes shows whose, --force resets all the same",
		     d->name, (unsigned long long)contexts);
	free(mode);
}

static json_object *reset(struct device *d)
{
	uint64_t before = 0, after = 0;
	json_object *o = device_names(d);
	double end = now() + BOUND_SECONDS;
	char *state = NULL;
	int err;

	device_number(d, "generation", &before);
	err = file_write("1", "/sys/bus/pci/devices/%s/reset", d->bdf);
	if (err)
		fail("%s: %s%s", d->name, strerror(-err), err == -EACCES ? "; run as root" : "");
	do {
		struct timespec t = { .tv_nsec = 10000000 };

		free(state);
		state = device_read(d, "state");
		device_number(d, "generation", &after);
		if (state && !strcmp(state, "alive") && after != before)
			break;
		nanosleep(&t, NULL);
	} while (now() < end);
	put_text(o, "state", state);
	put_number(o, "generation_before", before);
	put_number(o, "generation", after);
	put_bool(o, "ok", state && !strcmp(state, "alive") && after != before);
	free(state);
	return o;
}

int cmd_reset(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "force", 'f', NULL, 0, "Also when programs have the device open: they have to open it again", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "DEVICE...",
		.doc = "Reset HSL devices (FLR). Refuses while programs have one open, unless forced.",
		.children = common_options,
	};
	static const struct column columns[] = {
		{ "name", "DEVICE", TEXT }, { "bdf", "BDF", TEXT }, { "state", "STATE", TEXT },
		{ "generation", "GENERATION", NUMBER }, { }
	};
	json_object *rows = json_object_new_array(), *o, *ok;
	struct arguments a = { 0 };
	int bad = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	need_live_machine("reset");
	devices_find();
	for (int i = 0; i < a.words.nr; i++)
		check(device_bound(a.words.word[i]), a.force);
	for (int i = 0; i < a.words.nr; i++) {
		o = reset(device_bound(a.words.word[i]));
		json_object_object_get_ex(o, "ok", &ok);
		bad |= !json_object_get_boolean(ok);
		json_object_array_add(rows, o);
	}
	rows_show("devices", columns, rows);
	if (bad)
		fail("a device did not come back within %d seconds; see dmesg and hslctl doctor", BOUND_SECONDS);
	return 0;
}
