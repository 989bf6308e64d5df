// SPDX-License-Identifier: MIT
/* hslctl list: a line per device. */
#include <string.h>

#include "hslctl.h"

static const struct column columns[] = {
	{ "name", "NAME", TEXT },
	{ "bdf", "BDF", TEXT },
	{ "vendor", "VENDOR", TEXT },
	{ "device", "DEVICE", TEXT },
	{ "driver", "DRIVER", TEXT },
	{ "hw_version", "HSL", TEXT },
	{ "state", "STATE", TEXT },
	{ "sva", "SVA", TEXT },
	{ "mem_size", "MEMORY", BYTES },
	{ "mem_mode", "MODE", TEXT },
	{ "fabric_node", "NODE", TEXT },
	{ "ports_up", "UP", NUMBER },
	{ "ports", "PORTS", NUMBER },
	{ "contexts", "OPEN", NUMBER },
	{ }
};

static unsigned int ports_up(const struct device *d)
{
	unsigned int up = 0;
	char name[32];

	for (unsigned int n = 0; n < HSL_MAX_PORTS; n++) {
		char *state;

		snprintf(name, sizeof(name), "port%u/state", n);
		state = device_read(d, name);
		if (!state)
			break;
		up += !strcmp(state, "active") || !strcmp(state, "degraded");
		free(state);
	}
	return up;
}

static void put_hex(json_object *o, const char *key, uint16_t val)
{
	char text[8];

	snprintf(text, sizeof(text), "%04x", val);
	put_text(o, key, text);
}

static json_object *device_row(const struct device *d)
{
	json_object *o = device_names(d);
	char text[16], *sva;

	put_hex(o, "vendor", d->pci->vendor_id);
	put_hex(o, "device", d->pci->device_id);
	put_text(o, "driver", d->driver[0] ? d->driver : NULL);
	snprintf(text, sizeof(text), "%u.%u", d->version >> 8, d->version & 0xff);
	if (d->dvsec)
		put_text(o, "hw_version", text);
	else
		put_file(o, "hw_version", d, "hw_version");
	put_file(o, "state", d, "state");
	/* "none" goes on with the reasons: info and doctor have them */
	sva = device_read(d, "sva");
	put_text(o, "sva", sva ? strtok(sva, " ") : NULL);
	free(sva);
	if (d->name[0])
		put_file(o, "mem_size", d, "limits/mem_size");
	else if (d->dvsec && d->mem_bar < 6 && d->pci->size[d->mem_bar])
		put_number(o, "mem_size", d->pci->size[d->mem_bar]);
	else
		put(o, "mem_size", NULL);
	put_file(o, "mem_mode", d, "memory/mode");
	put_file(o, "fabric_node", d, "fabric_node");
	if (d->dvsec)
		put_number(o, "ports", d->nr_ports);
	else
		put_file(o, "ports", d, "limits/nr_ports");
	put(o, "ports_up", d->name[0] ? json_object_new_int(ports_up(d)) : NULL);
	put_file(o, "contexts", d, "contexts");
	return o;
}

int cmd_list(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = only_words,
		.args_doc = "[DEVICE...]",
		.doc = "List HSL devices, with a driver or without.",
		.children = common_options,
	};
	json_object *rows = json_object_new_array();
	struct words words = { 0 };
	struct device *d;
	bool hidden = false;

	argp_parse(&argp, argc, argv, 0, NULL, &words);
	devices_choose(&words);
	for_each_chosen(d) {
		json_object_array_add(rows, device_row(d));
		hidden |= !d->config;
	}
	rows_show("devices", columns, rows);
	if (hidden)
		fprintf(stderr, TOOL ": %s\n", options.dump ?
			"extended configuration space is not in the recording; make it by lspci -xxxx, as root" :
			"only root sees the whole configuration space; what is not known is left out");
	if (!nr_devices)
		fprintf(stderr, TOOL ": no HSL device\n");
	return 0;
}
