// SPDX-License-Identifier: MIT
/*
 * The devices there are: PCI functions of the right class with the HSL DVSEC,
 * found by libpci on this machine, in a recording of lspci, or below --sysroot,
 * and joined with what the driver says of them in sysfs.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "hslctl.h"

struct device *devices;
int nr_devices;
static struct pci_access *functions;

const char *const counter_names[HSL_CNT_NR] = {
	[HSL_CNT_OPS] = "ops",
	[HSL_CNT_BYTES] = "bytes",
	[HSL_CNT_ATS_REQUESTS] = "ats_requests",
	[HSL_CNT_ATC_HITS] = "atc_hits",
	[HSL_CNT_PAGE_REQUESTS] = "page_requests",
	[HSL_CNT_INVALIDATIONS] = "invalidations",
	[HSL_CNT_DOORBELLS] = "doorbells",
	[HSL_CNT_INTERRUPTS] = "interrupts",
	[HSL_CNT_FAULTS] = "faults",
	[HSL_CNT_QUEUE_ERRORS] = "queue_errors",
	[HSL_CNT_ORACLE_CHECKS] = "oracle_checks",
	[HSL_CNT_ORACLE_BREACHES] = "oracle_breaches",
	[HSL_CNT_WALKS] = "walks",
	[HSL_CNT_POISONED] = "poisoned",
	[HSL_CNT_HOST_BYTES] = "host_bytes",
	[HSL_CNT_OWN_BYTES] = "own_bytes",
	[HSL_CNT_LINK_BYTES] = "link_bytes",
	[HSL_CNT_PCIE_BYTES] = "pcie_bytes",
	[HSL_CNT_VIA_HOST_BYTES] = "via_host_bytes",
	[HSL_CNT_UNREACHABLE] = "unreachable",
};

__attribute__((noreturn))
static void pci_failed(char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail("PCI: %s", text);
}

static void pci_quiet(char *fmt, ...)
{
	(void)fmt;
}

static struct pci_access *pci_open(void)
{
	struct pci_access *a = pci_alloc();
	char *path;

	a->error = pci_failed;
	a->warning = a->debug = pci_quiet;
	if (options.dump) {
		if (access(options.dump, R_OK))
			fail("%s: %s", options.dump, strerror(errno));
		a->method = PCI_ACCESS_DUMP;
		pci_set_param(a, "dump.name", (char *)options.dump);
	} else {
		a->method = PCI_ACCESS_SYS_BUS_PCI;
		path = file_path("/sys/bus/pci");
		if (access(path, R_OK))
			fail("%s: %s; hslctl needs sysfs and a machine with PCI", path, strerror(errno));
		pci_set_param(a, "sysfs.path", path);
		free(path);
	}
	pci_init(a);
	pci_scan_bus(a);
	return a;
}

/* In extended configuration space, where other DVSECs may be as well; 0: not there. */
static unsigned int dvsec_of(struct pci_dev *p)
{
	for (struct pci_cap *c = p->first_cap; c; c = c->next)
		if (c->type == PCI_CAP_EXTENDED && c->id == PCI_EXT_CAP_ID_DVSEC &&
		    pci_read_word(p, c->addr + 4) == HSL_DVSEC_VENDOR && pci_read_word(p, c->addr + 8) == HSL_DVSEC_ID)
			return c->addr;
	return 0;
}

static void features_read(struct device *d)
{
	struct pci_cap *cap;

	cap = pci_find_cap(d->pci, PCI_EXT_CAP_ID_PASID, PCI_CAP_EXTENDED);
	if (cap) {
		d->pasid.there = true;
		d->pasid.width = pci_read_word(d->pci, cap->addr + 4) >> 8 & 0x1f;
		d->pasid.enabled = pci_read_word(d->pci, cap->addr + 6) & 1;
	}
	cap = pci_find_cap(d->pci, PCI_EXT_CAP_ID_ATS, PCI_CAP_EXTENDED);
	if (cap) {
		d->ats.there = true;
		d->ats.enabled = pci_read_word(d->pci, cap->addr + 6) >> 15;
	}
	cap = pci_find_cap(d->pci, PCI_EXT_CAP_ID_PRI, PCI_CAP_EXTENDED);
	if (cap) {
		d->pri.there = true;
		d->pri.enabled = pci_read_word(d->pci, cap->addr + 4) & 1;
	}
}

/* The driver, and the name it has given. */
static void driver_read(struct device *d)
{
	char *path = file_path("/sys/bus/pci/devices/%s/driver", d->bdf), link[PATH_MAX], **names;
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	int nr;

	free(path);
	d->index = -1;
	if (n <= 0)
		return;
	link[n] = '\0';
	snprintf(d->driver, sizeof(d->driver), "%s", basename(link));
	nr = file_list(&names, "/sys/bus/pci/devices/%s/hsl", d->bdf);
	if (nr && sscanf(names[0], "hsl%d", &d->index) == 1)
		snprintf(d->name, sizeof(d->name), "hsl%d", d->index);
	file_list_free(names, nr);
}

static bool device_read_pci(struct device *d, struct pci_dev *p)
{
	uint8_t byte;

	pci_fill_info(p, PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_BASES | PCI_FILL_SIZES | PCI_FILL_CAPS |
		      PCI_FILL_EXT_CAPS);
	if (p->device_class != HSL_PCI_CLASS >> 8)
		return false;
	memset(d, 0, sizeof(*d));
	d->index = -1;
	d->pci = p;
	snprintf(d->bdf, sizeof(d->bdf), "%04x:%02x:%02x.%d", p->domain, p->bus, p->dev, p->func);
	if (!options.dump)
		driver_read(d);
	d->config = pci_read_block(p, 0x100, &byte, 1);
	d->dvsec = dvsec_of(p);
	if (d->dvsec) {
		d->version = pci_read_word(p, d->dvsec + HSL_DVSEC_VERSION);
		d->caps = pci_read_long(p, d->dvsec + HSL_DVSEC_CAPS);
		d->ctrl_bar = pci_read_byte(p, d->dvsec + HSL_DVSEC_CTRL_BAR);
		d->db_bar = pci_read_byte(p, d->dvsec + HSL_DVSEC_DB_BAR);
		d->mem_bar = pci_read_byte(p, d->dvsec + HSL_DVSEC_MEM_BAR);
		d->nr_ports = pci_read_byte(p, d->dvsec + HSL_DVSEC_NR_PORTS);
		features_read(d);
	}
	/* Who may not read the DVSEC believes the driver, or cannot tell. */
	return d->dvsec || d->name[0] || !d->config;
}

static int by_name_then_place(const void *a, const void *b)
{
	const struct device *x = a, *y = b;

	if (x->index >= 0 && y->index >= 0)
		return x->index - y->index;
	if (x->index >= 0 || y->index >= 0)
		return x->index >= 0 ? -1 : 1;
	return strcmp(x->bdf, y->bdf);
}

/* Again, when some may have come or gone. */
void devices_find(void)
{
	struct device *d;

	if (functions)
		pci_cleanup(functions);
	functions = pci_open();
	free(devices);
	devices = NULL;
	nr_devices = 0;
	for (struct pci_dev *p = functions->devices; p; p = p->next) {
		d = realloc(devices, (nr_devices + 1) * sizeof(*devices));
		if (!d)
			fail("out of memory");
		devices = d;
		nr_devices += device_read_pci(&devices[nr_devices], p);
	}
	if (nr_devices)
		qsort(devices, nr_devices, sizeof(*devices), by_name_then_place);
}

/* Any other function, such as a bridge; NULL: there is none. */
struct pci_dev *pci_function(const char *bdf)
{
	char text[24];

	for (struct pci_dev *p = functions->devices; p; p = p->next) {
		snprintf(text, sizeof(text), "%04x:%02x:%02x.%d", p->domain, p->bus, p->dev, p->func);
		if (strcmp(text, bdf))
			continue;
		pci_fill_info(p, PCI_FILL_CAPS | PCI_FILL_EXT_CAPS);
		return p;
	}
	return NULL;
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

struct device *device_named(const char *text)
{
	char full[PATH_MAX + 8], real[PATH_MAX];

	/* Also one of udev's links. */
	if (!strncmp(text, "/dev/hsl/by-id/", 15) && realpath(text, real))
		text = real;
	if (!strncmp(text, "/dev/hsl/", 9))
		text += 9;
	/* The domain may be left out, as with lspci -s. */
	snprintf(full, sizeof(full), "0000:%s", text);
	for (struct device *d = devices; d < devices + nr_devices; d++)
		if ((d->name[0] && !strcmp(d->name, text)) || !strcasecmp(d->bdf, text) || !strcasecmp(d->bdf, full) ||
		    (d->index >= 0 && is_number(text) && strtoul(text, NULL, 10) == (unsigned long)d->index))
			return d;
	if (nr_devices)
		fail("there is no HSL device '%s'; hslctl list shows which there are", text);
	fail("there is no HSL device '%s', nor any other on this machine", text);
}

struct device *device_bound(const char *text)
{
	struct device *d = device_named(text);

	if (!d->name[0])
		fail("%s: no driver is bound; hslctl doctor says why", d->bdf);
	return d;
}

/* All when none is named. */
void devices_choose(const struct words *w)
{
	devices_find();
	for (int i = 0; i < w->nr; i++)
		device_named(w->word[i])->chosen = true;
	for (struct device *d = devices; !w->nr && d < devices + nr_devices; d++)
		d->chosen = true;
}

char *device_read(const struct device *d, const char *name)
{
	if (!d->name[0]) {
		errno = ENODEV;
		return NULL;
	}
	return file_read("/sys/bus/pci/devices/%s/hsl/%s/%s", d->bdf, d->name, name);
}

bool device_number(const struct device *d, const char *name, uint64_t *val)
{
	return d->name[0] && file_number(val, "/sys/bus/pci/devices/%s/hsl/%s/%s", d->bdf, d->name, name);
}

/* From below the root complex to the device itself; how many. */
int device_path(const struct device *d, char bdfs[][24], int max)
{
	char *path = file_path("/sys/bus/pci/devices/%s", d->bdf), real[PATH_MAX], *part, *save;
	int n = 0;

	if (options.dump || !realpath(path, real))
		real[0] = '\0';
	free(path);
	for (part = strtok_r(real, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		unsigned int a, b, c, f;
		int end = 0;

		if (sscanf(part, "%4x:%2x:%2x.%1u%n", &a, &b, &c, &f, &end) == 4 && !part[end] && n < max)
			snprintf(bdfs[n++], 24, "%s", part);
	}
	return n;
}

/* How every object that is about a device begins. */
json_object *device_names(const struct device *d)
{
	json_object *o = json_object_new_object();

	put(o, "index", d->index < 0 ? NULL : json_object_new_int(d->index));
	put_text(o, "name", d->name[0] ? d->name : NULL);
	put_text(o, "bdf", d->bdf);
	return o;
}

static json_object *bit_names(const char *const *names, size_t nr, uint64_t bits)
{
	json_object *list = json_object_new_array();
	char text[16];

	for (size_t n = 0; n < 64; n++) {
		if (!(bits >> n & 1))
			continue;
		snprintf(text, sizeof(text), "bit%zu", n);
		json_object_array_add(list, json_text(n < nr && names[n] ? names[n] : text));
	}
	return list;
}

json_object *capability_names(uint32_t caps)
{
	static const char *const names[] = { "bus", "iommu", "device", "memory", "oracle", "link", "timed" };

	return bit_names(names, ARRAY_SIZE(names), caps);
}

json_object *operation_names(uint64_t ops)
{
	static const char *const names[HSL_OP_NR] = {
		[HSL_OP_NOP] = "nop", [HSL_OP_COPY] = "copy", [HSL_OP_FILL] = "fill", [HSL_OP_COMPARE] = "compare",
		[HSL_OP_CRC32C] = "crc32c", [HSL_OP_ATOMIC_ADD] = "atomic_add", [HSL_OP_ATOMIC_SWAP] = "atomic_swap",
		[HSL_OP_ATOMIC_CAS] = "atomic_cas", [HSL_OP_FENCE] = "fence", [HSL_OP_SIGNAL] = "signal",
	};

	return bit_names(names, ARRAY_SIZE(names), ops);
}

/* false: the device is being reset, is broken, or has no driver. */
bool device_counters(const struct device *d, uint64_t *values)
{
	char name[64];

	for (int n = 0; n < HSL_CNT_NR; n++) {
		snprintf(name, sizeof(name), "counters/%s", counter_names[n]);
		if (!device_number(d, name, &values[n]))
			return false;
	}
	return true;
}

/* Queues at work and how many descriptors each has fetched and not completed; -1: debugfs says nothing. */
int device_queues(const struct device *d, struct queue_seen *queues)
{
	char *text = d->name[0] ? file_read("/sys/kernel/debug/hsl/%s/queues", d->name) : NULL, *line, *save;
	int n = 0;

	if (!text)
		return -1;
	for (line = strtok_r(text, "\n", &save); line && n < MAX_QUEUES_SEEN; line = strtok_r(NULL, "\n", &save)) {
		unsigned int head, tail;

		if (sscanf(line, "hwq %u context %u vector %*d status %*x head %u tail %u", &queues[n].hwq,
			   &queues[n].context, &head, &tail) != 4)
			continue;
		/* They are read one after the other: the device may have completed more meanwhile. */
		queues[n++].in_flight = (int32_t)(head - tail) > 0 ? head - tail : 0;
	}
	free(text);
	return n;
}
