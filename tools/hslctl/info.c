// SPDX-License-Identifier: MIT
/* hslctl info: all that a device and its driver report. */
#include <string.h>

#include "hslctl.h"

static json_object *feature(const struct pci_feature *f)
{
	json_object *o = json_object_new_object();

	put_bool(o, "present", f->there);
	put_bool(o, "enabled", f->enabled);
	if (f->width)
		put_number(o, "width_bits", f->width);
	return o;
}

static json_object *bar(const struct device *d, uint8_t nr)
{
	json_object *o;
	char text[24];

	if (nr >= 6)
		return NULL;
	o = json_object_new_object();
	put_number(o, "bar", nr);
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)(d->pci->base_addr[nr] & PCI_ADDR_MEM_MASK));
	put_text(o, "address", text);
	/* A recording does not have it. */
	put(o, "size_bytes", d->pci->size[nr] ? json_object_new_uint64(d->pci->size[nr]) : NULL);
	return o;
}

static json_object *pci_part(const struct device *d)
{
	json_object *o = json_object_new_object(), *path = json_object_new_array();
	char text[16], bdfs[16][24];
	int n = device_path(d, bdfs, 16);

	snprintf(text, sizeof(text), "%04x:%04x", d->pci->vendor_id, d->pci->device_id);
	put_text(o, "ids", text);
	snprintf(text, sizeof(text), "%04x%02x", d->pci->device_class, pci_read_byte(d->pci, PCI_CLASS_PROG));
	put_text(o, "class", text);
	for (int i = 0; i < n; i++)
		json_object_array_add(path, json_text(bdfs[i]));
	put(o, "path", path);
	if (!options.dump) {
		uint64_t node;

		put(o, "numa_node", file_number(&node, "/sys/bus/pci/devices/%s/numa_node", d->bdf) ?
		    json_object_new_int((int)node) : NULL);
	}
	if (!d->dvsec)
		return o;
	snprintf(text, sizeof(text), "%u.%u", d->version >> 8, d->version & 0xff);
	put_text(o, "hw_version", text);
	put(o, "caps", capability_names(d->caps));
	put_number(o, "ports", d->nr_ports);
	put(o, "control_bar", bar(d, d->ctrl_bar));
	put(o, "doorbell_bar", bar(d, d->db_bar));
	put(o, "memory_bar", bar(d, d->mem_bar));
	put(o, "pasid", feature(&d->pasid));
	put(o, "ats", feature(&d->ats));
	put(o, "pri", feature(&d->pri));
	return o;
}

/* A folder of sysfs as it is. */
static void put_folder(json_object *o, const char *key, const struct device *d, const char *folder)
{
	json_object *part = json_object_new_object();
	char **names, path[320];
	int n = file_list(&names, "/sys/bus/pci/devices/%s/hsl/%s/%s", d->bdf, d->name, folder);

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		put_file(part, names[i], d, path);
	}
	file_list_free(names, n);
	if (n)
		put(o, key, part);
	else
		json_object_put(part);
}

static json_object *device_info(const struct device *d)
{
	static const char *const plain[] = { "state", "sva", "generation", "contexts", "queues", "events_lost", "fabric",
					     "fabric_node" };
	json_object *o = device_names(d), *limits, *ops;
	uint64_t bits;

	put_text(o, "driver", d->driver[0] ? d->driver : NULL);
	put(o, "pci", pci_part(d));
	if (!d->name[0])
		return o;
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		put_file(o, plain[i], d, plain[i]);
	put_folder(o, "providers", d, "providers");
	put_folder(o, "limits", d, "limits");
	if (json_object_object_get_ex(o, "limits", &limits) && json_object_object_get_ex(limits, "ops", &ops) &&
	    device_number(d, "limits/ops", &bits))
		put(limits, "ops", operation_names(bits));
	put_folder(o, "memory", d, "memory");
	return o;
}

int cmd_info(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = only_words,
		.args_doc = "[DEVICE...]",
		.doc = "Show all that HSL devices report: PCI capabilities, limits, providers, memory.",
		.children = common_options,
	};
	json_object *rows = json_object_new_array(), *top;
	struct words words = { 0 };
	struct device *d;

	argp_parse(&argp, argc, argv, 0, NULL, &words);
	devices_choose(&words);
	for_each_chosen(d)
		json_object_array_add(rows, device_info(d));
	if (options.json) {
		top = json_object_new_object();
		put(top, "devices", rows);
		json_show(top);
		return 0;
	}
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		if (i)
			putchar('\n');
		pairs_show(json_object_array_get_idx(rows, i));
	}
	json_object_put(rows);
	if (!nr_devices)
		fprintf(stderr, TOOL ": no HSL device\n");
	return 0;
}
