// SPDX-License-Identifier: MIT
/* hslctl link: the ports of devices, and what can be done to them. */
#include <errno.h>
#include <string.h>

#include "hslctl.h"

static const struct column columns[] = {
	{ "name", "DEVICE", TEXT },
	{ "port", "PORT", NUMBER },
	{ "state", "STATE", TEXT },
	{ "reason", "REASON", TEXT },
	{ "neighbour", "NEIGHBOUR", TEXT },
	{ "width", "LANES", NUMBER },
	{ "width_max", "OF", NUMBER },
	{ "rate", "MBIT/LANE", NUMBER },
	{ "latency", "NS", NUMBER },
	{ "credits", "CREDITS", NUMBER },
	{ "crc_errors", "CRC", NUMBER },
	{ "replays", "REPLAYS", NUMBER },
	{ "retrains", "RETRAINS", NUMBER },
	{ "tx_bytes", "TX", BYTES },
	{ "rx_bytes", "RX", BYTES },
	{ }
};

/* All of them in the JSON, in this order */
static const char *const attributes[] = {
	"state", "reason", "neighbour", "enable", "width", "width_max", "rate", "latency", "credits", "crc_errors",
	"replays", "retrains", "tx_packets", "rx_packets", "tx_bytes", "rx_bytes",
};

static int show(const struct words *words)
{
	json_object *rows = json_object_new_array();
	struct device *d;
	char name[64];

	devices_choose(words);
	for_each_chosen(d) {
		for (unsigned int p = 0; ; p++) {
			json_object *o;

			if (!d->name[0] || !file_exists("/sys/bus/pci/devices/%s/hsl/%s/port%u", d->bdf, d->name, p))
				break;
			o = device_names(d);
			put_number(o, "port", p);
			for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
				snprintf(name, sizeof(name), "port%u/%s", p, attributes[i]);
				put_file(o, attributes[i], d, name);
			}
			json_object_array_add(rows, o);
		}
	}
	if (!json_object_array_length(rows) && !options.json)
		fprintf(stderr, TOOL ": no link port; a device needs a driver and a place in a fabric\n");
	rows_show("ports", columns, rows);
	return 0;
}

/* What is written to which attribute */
static const struct action {
	const char *name, *attribute, *text;
} actions[] = {
	{ "enable", "enable", "1" },
	{ "disable", "enable", "0" },
	{ "retrain", "retrain", "1" },
};

static int act(const struct action *a, const struct words *words)
{
	struct device *d;
	const char *number;
	unsigned long port;
	int err;

	if (words->nr != 3)
		goto usage;
	number = words->word[2] + (strncmp(words->word[2], "port", 4) ? 0 : 4);
	if (!*number || number[strspn(number, "0123456789")])
		goto usage;
	port = strtoul(number, NULL, 10);
	need_live_machine("this");
	devices_find();
	d = device_bound(words->word[1]);
	if (!file_exists("/sys/bus/pci/devices/%s/hsl/%s/port%lu", d->bdf, d->name, port))
		fail("%s has no port %lu; hslctl link %s shows which it has", d->name, port, d->name);
	err = file_write(a->text, "/sys/bus/pci/devices/%s/hsl/%s/port%lu/%s", d->bdf, d->name, port, a->attribute);
	if (err == -ENODEV)
		fail("%s is being reset or is broken; try again, or hslctl doctor", d->name);
	if (err)
		fail("port %lu of %s: %s%s", port, d->name, strerror(-err), err == -EACCES ? "; run as root" : "");
	return 0;

usage:
	fprintf(stderr, TOOL ": usage: hslctl link %s DEVICE PORT\n", a->name);
	return EXIT_USAGE;
}

int cmd_link(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = only_words,
		.args_doc = "[show] [DEVICE...]\nenable|disable|retrain DEVICE PORT",
		.doc = "Show the link ports of HSL devices, or take a link down, up, or through training again.",
		.children = common_options,
	};
	struct words words = { 0 };

	argp_parse(&argp, argc, argv, 0, NULL, &words);
	for (size_t i = 0; words.nr && i < ARRAY_SIZE(actions); i++)
		if (!strcmp(words.word[0], actions[i].name))
			return act(&actions[i], &words);
	if (words.nr && !strcmp(words.word[0], "show"))
		memmove(words.word, words.word + 1, --words.nr * sizeof(words.word[0]));
	return show(&words);
}
