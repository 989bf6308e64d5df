// SPDX-License-Identifier: MIT
/*
 * hslctl doctor: goes through every gate between a program and its data, by
 * shared virtual addresses and from device to device. Each gets a line: whether
 * it is open, what was found, and, when it is not, what opens it.
 *
 * A gate that closes one of two ways is a warning while the other way works.
 */
#include <errno.h>
#include <grp.h>
#include <hsl.h>
#include <pwd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hslctl.h"

enum verdict {
	OK,
	WARN,
	FAIL,
	UNKNOWN,
	CLOSED,		/* of a provider: WARN if another one works, else FAIL */
};

static const char *const verdicts[] = { [OK] = "ok", [WARN] = "warn", [FAIL] = "fail", [UNKNOWN] = "unknown" };

static json_object *gates;
static bool no_copy, quiet;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'n':
		no_copy = true;
		return 0;
	case 'q':
		quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(state->input, arg, state);
	}
	return ARGP_ERR_UNKNOWN;
}

/* Does any provider work for the device; NULL: for any device? */
static bool usable(const struct device *of)
{
	for (struct device *d = devices; d < devices + nr_devices; d++) {
		char *sva;
		bool works;

		if (of ? d != of : !d->chosen)
			continue;
		sva = device_read(d, "sva");
		works = sva && strncmp(sva, "none", 4);
		free(sva);
		if (works)
			return true;
	}
	return false;
}

__attribute__((format(printf, 6, 7)))
static void gate(const struct device *d, const char *name, const char *way, enum verdict v, const char *advice,
		 const char *fmt, ...)
{
	json_object *o = d ? device_names(d) : json_object_new_object();
	char found[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	if (v == CLOSED)
		v = usable(d) ? WARN : FAIL;
	put_text(o, "gate", name);
	put_text(o, "for", way);
	put_text(o, "status", verdicts[v]);
	put_text(o, "found", found);
	put_text(o, "advice", v == OK ? NULL : advice);
	json_object_array_add(gates, o);
}

/*
 * The machine
 */

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; text && (at = strstr(at, word)); at += len)
		if ((at == text || strchr(" ,=\t\n", at[-1])) && strchr(" ,\t\n", at[len]))
			return true;
	return false;
}

/* A word, or as NAME=VALUE one of those that the kernel finds between commas: swiotlb=65536,force. */
static bool has_option(const char *line, const char *option)
{
	const char *value = strchr(option, '=');
	size_t len = value ? value + 1 - option : 0;
	bool has = false;

	if (!value)
		return has_word(line, option);
	for (const char *at = line; !has && at && *at; at += strcspn(at, " \t\n"), at += strspn(at, " \t\n")) {
		char *values = strncmp(at, option, len) ? NULL : strndup(at + len, strcspn(at + len, " \t\n"));

		has = has_word(values, value + 1);
		free(values);
	}
	return has;
}

static void check_kernel(void)
{
	char *release = file_read("/proc/sys/kernel/osrelease");
	unsigned int major = 0, minor = 0;

	if (!release || sscanf(release, "%u.%u", &major, &minor) != 2)
		gate(NULL, "kernel", "machine", UNKNOWN, "mount /proc", "its version is not known");
	else if (major < 6 || (major == 6 && minor < 12))
		gate(NULL, "kernel", "machine", FAIL, "boot Linux 6.12 or later", "%s is older than 6.12", release);
	else
		gate(NULL, "kernel", "machine", OK, NULL, "%s", release);
	free(release);
}

/* Each option by a function that exists with it only: what runs, and not what a file says of it. */
static const struct option_gate {
	const char *option, *symbol, *way, *without, *advice;
} option_gates[] = {
	{ "CONFIG_IOMMU_SVA", "iommu_sva_bind_device", "iommu", "an IOMMU cannot share the address space of a process",
	  "build the kernel with CONFIG_INTEL_IOMMU_SVM=y, or the option of your IOMMU" },
	{ "CONFIG_PCI_PASID", "pci_enable_pasid", "iommu", "devices cannot name address spaces",
	  "build the kernel with CONFIG_PCI_PASID=y" },
	{ "CONFIG_PCI_ATS", "pci_enable_ats", "iommu", "devices cannot cache translations",
	  "build the kernel with CONFIG_PCI_ATS=y" },
	{ "CONFIG_PCI_PRI", "pci_enable_pri", "iommu", "devices cannot ask for pages",
	  "build the kernel with CONFIG_PCI_PRI=y" },
	{ "CONFIG_HMM_MIRROR", "hmm_range_fault", "hmm", "the driver cannot follow the page tables of a process",
	  "build the kernel with a driver that selects CONFIG_HMM_MIRROR, such as nouveau, amdgpu or CONFIG_TEST_HMM" },
	{ "CONFIG_DEVICE_MIGRATION", "migrate_vma_setup", "memory", "memory of processes cannot move to a device",
	  "build the kernel with CONFIG_ZONE_DEVICE=y and CONFIG_MIGRATION=y" },
	{ "CONFIG_PCI_P2PDMA", "pci_p2pdma_add_resource", "memory", "device memory has no mode pcie, disks cannot write to it",
	  "build the kernel with CONFIG_PCI_P2PDMA=y" },
	{ "CONFIG_DMA_SHARED_BUFFER", "dma_buf_export", "memory", "memory cannot be passed on as a dma-buf",
	  "build the kernel with an option that selects CONFIG_DMA_SHARED_BUFFER, such as CONFIG_SYNC_FILE" },
};

/* "ADDRESS T name" or "ADDRESS T name\t[module]" */
static bool has_symbol(const char *symbols, const char *name)
{
	char what[96];
	size_t len = snprintf(what, sizeof(what), " %s", name);

	for (const char *at = symbols; (at = strstr(at, what)); at += len)
		if (strchr("\n\t", at[len]))
			return true;
	return false;
}

static void check_options(void)
{
	char *symbols = file_read("/proc/kallsyms");

	if (!symbols) {
		gate(NULL, "config", "machine", UNKNOWN, "look for the options of hslctl-doctor(1) in the configuration of the kernel",
		     "this kernel has no /proc/kallsyms to tell what is built into it");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(option_gates); i++) {
		const struct option_gate *o = &option_gates[i];
		bool there = has_symbol(symbols, o->symbol);
		bool provider = !strcmp(o->way, "iommu") || !strcmp(o->way, "hmm");

		gate(NULL, o->option, o->way, there ? OK : provider ? CLOSED : WARN, o->advice, there ? "%s" : "%s: %s",
		     there ? "built in" : "missing", o->without);
	}
	free(symbols);
}

static const struct word_gate {
	const char *word, *way, *without;
} word_gates[] = {
	{ "noats", "iommu", "pci=noats hides ATS from every driver" },
	{ "sm_off", "iommu", "sm_off turns the scalable mode of the IOMMU off, and with it PASIDs" },
	{ "iommu=off", "iommu", "no IOMMU is used" },
	{ "intel_iommu=off", "iommu", "no IOMMU is used" },
	{ "amd_iommu=off", "iommu", "no IOMMU is used" },
	{ "swiotlb=force", "hmm", "DMA is copied through bounce buffers" },
};

static void check_command_line(void)
{
	char *line = file_read("/proc/cmdline");
	bool closed = false;

	for (size_t i = 0; line && i < ARRAY_SIZE(word_gates); i++) {
		if (!has_option(line, word_gates[i].word))
			continue;
		closed = true;
		gate(NULL, "command-line", word_gates[i].way, CLOSED, "take it from the kernel command line and boot again",
		     "%s: %s", word_gates[i].word, word_gates[i].without);
	}
	if (!line)
		gate(NULL, "command-line", "machine", UNKNOWN, "mount /proc", "it cannot be read");
	else if (!closed)
		gate(NULL, "command-line", "machine", OK, NULL, "nothing on it closes a gate");
	free(line);
}

/* What SVA needs of a VT-d unit; the bits are in the specification under Extended Capability Register. */
static const struct ecap_gate {
	unsigned int bit;
	const char *name, *what;
} ecap_gates[] = {
	{ 2, "ecap-dt", "device TLBs (ATS)" },
	{ 29, "ecap-prs", "page requests" },
	{ 40, "ecap-pasid", "PASIDs" },
	{ 43, "ecap-smts", "scalable mode" },
	{ 47, "ecap-flts", "first-level paging" },
	{ 48, "ecap-smpwc", "coherent page walks in scalable mode" },
};

#define CAP_FL1GP	56
#define CAP_FL5LP	60
#define ECAP_PSS(e)	((unsigned int)((e) >> 35 & 0x1f) + 1)

static void check_unit(const char *unit, const char *cpu_flags, unsigned int *pasid_bits)
{
	uint64_t ecap, cap;
	char *text = file_read("/sys/class/iommu/%s/intel-iommu/ecap", unit);
	bool whole = true;

	if (!text) {
		gate(NULL, "iommu-ecap", "iommu", UNKNOWN, "see the kernel log of your IOMMU's driver",
		     "%s is not a VT-d unit, so its registers are not looked at", unit);
		return;
	}
	ecap = strtoull(text, NULL, 16);
	free(text);
	text = file_read("/sys/class/iommu/%s/intel-iommu/cap", unit);
	cap = text ? strtoull(text, NULL, 16) : 0;
	free(text);
	for (size_t i = 0; i < ARRAY_SIZE(ecap_gates); i++) {
		if (ecap >> ecap_gates[i].bit & 1)
			continue;
		whole = false;
		gate(NULL, ecap_gates[i].name, "iommu", CLOSED,
		     "another platform; in QEMU 11.1 -device intel-iommu,device-iotlb=on,scalable-mode=on,fsts=on,svm=on,pasid-bits=20",
		     "%s has no %s (bit %u of ECAP %#llx)", unit, ecap_gates[i].what, ecap_gates[i].bit,
		     (unsigned long long)ecap);
	}
	if (whole)
		gate(NULL, "iommu-ecap", "iommu", OK, NULL, "%s has all that SVA needs", unit);
	if (ecap >> 40 & 1 && ECAP_PSS(ecap) < *pasid_bits)
		*pasid_bits = ECAP_PSS(ecap);
	if (!cpu_flags)
		gate(NULL, "la57", "iommu", UNKNOWN, "mount /proc", "/proc/cpuinfo cannot be read");
	else if (has_word(cpu_flags, "la57") && !(cap >> CAP_FL5LP & 1))
		gate(NULL, "la57", "iommu", CLOSED, "boot with no5lvl; in QEMU -cpu …,la57=off",
		     "the processors use page tables of 5 levels, %s walks 4", unit);
	else
		gate(NULL, "la57", "iommu", OK, NULL, "%s walks page tables as deep as those of the processors", unit);
	if (cpu_flags && has_word(cpu_flags, "pdpe1gb") && !(cap >> CAP_FL1GP & 1))
		gate(NULL, "1g-pages", "iommu", CLOSED, "another platform; in QEMU -device intel-iommu,fs1gp=on",
		     "the processors use pages of 1 GiB, %s knows none", unit);
}

/* Returns the PASID bits that all units have; 0: there is no IOMMU. */
static unsigned int check_iommu(void)
{
	char **units, *cpus, *flags;
	unsigned int bits = 20;
	int n = file_list(&units, "/sys/class/iommu");

	if (!n) {
		bool intel = file_exists("/sys/firmware/acpi/tables/DMAR"), amd = file_exists("/sys/firmware/acpi/tables/IVRS");

		gate(NULL, "iommu", "iommu", CLOSED,
		     intel ? "boot with intel_iommu=on,sm_on" : amd ? "boot with amd_iommu=on" :
		     "turn on VT-d or AMD-Vi in the BIOS; in QEMU -device intel-iommu (scripts/vm --iommu on)",
		     intel || amd ? "the firmware describes one, and the kernel does not use it" : "there is none");
		file_list_free(units, n);
		return 0;
	}
	gate(NULL, "iommu", "iommu", OK, NULL, "%d in use", n);
	cpus = file_read("/proc/cpuinfo");
	flags = cpus ? strstr(cpus, "\nflags") : NULL;
	if (flags) {
		flags++;
		flags[strcspn(flags, "\n")] = '\0';
	}
	for (int i = 0; i < n; i++)
		check_unit(units[i], flags, &bits);
	free(cpus);
	file_list_free(units, n);
	return bits;
}

static void check_module(void)
{
	char *release = file_read("/proc/sys/kernel/osrelease");

	if (file_exists("/sys/module/hsl"))
		gate(NULL, "module", "machine", OK, NULL, "hsl.ko is loaded");
	else if (release && file_exists("/lib/modules/%s/extra/hsl.ko", release))
		gate(NULL, "module", "machine", FAIL, "modprobe hsl", "hsl.ko is installed and not loaded");
	else
		gate(NULL, "module", "machine", FAIL, "modprobe hsl; if there is none, make modules KDIR=… builds hsl.ko for your kernel",
		     "hsl.ko is not loaded");
	free(release);
}

/*
 * A device
 */

static void check_driver(const struct device *d)
{
	if (!d->config)
		gate(d, "dvsec", "device", d->name[0] ? OK : UNKNOWN, "run as root: only root sees the whole configuration space",
		     d->name[0] ? "the driver has found it" : "a processing accelerator that may be one");
	else if (d->version >> 8 != HSL_VERSION_MAJOR)
		gate(d, "dvsec", "device", FAIL, "a driver for that version", "HSL %u.%u; this driver knows %u.x",
		     d->version >> 8, d->version & 0xff, HSL_VERSION_MAJOR);
	else
		gate(d, "dvsec", "device", OK, NULL, "HSL %u.%u", d->version >> 8, d->version & 0xff);

	if (d->name[0])
		gate(d, "driver", "device", OK, NULL, "%s", d->driver);
	else if (d->driver[0])
		gate(d, "driver", "device", FAIL, "unbind it from that driver: echo BDF > /sys/bus/pci/drivers/…/unbind, then bind it to hsl",
		     !strcmp(d->driver, "hsl") ? "%s is bound, but gives no /dev/hsl/hslN" : "it is bound to %s",
		     d->driver);
	else
		gate(d, "driver", "device", FAIL, file_exists("/sys/module/hsl") ?
		     "echo BDF > /sys/bus/pci/drivers/hsl/bind; if that fails, dmesg says why" : "modprobe hsl",
		     "none is bound");
}

static void check_state(const struct device *d)
{
	char *state = device_read(d, "state");

	if (state && !strcmp(state, "alive"))
		gate(d, "state", "device", OK, NULL, "alive");
	else if (state && !strcmp(state, "resetting"))
		gate(d, "state", "device", WARN, "wait a moment and look again", "it is being reset");
	else
		gate(d, "state", "device", FAIL, "hslctl reset --force DEVICE; if it stays so, dmesg, and power the slot off and on",
		     "%s: open() gives ENODEV", state ? state : "it cannot be read");
	free(state);
}

static void check_feature(const struct device *d, const char *name, const struct pci_feature *f,
			  unsigned int iommu_bits, const char *absent, const char *off)
{
	if (!d->config)
		gate(d, name, "iommu", UNKNOWN, "run as root", "only root sees the whole configuration space");
	else if (!f->there)
		gate(d, name, "iommu", CLOSED, absent, "the function has no such capability");
	else if (!f->enabled)
		gate(d, name, "iommu", CLOSED, iommu_bits ? off : "see the gate iommu", "the IOMMU driver has not enabled it");
	else if (f->width)
		gate(d, name, "iommu", OK, NULL, "enabled, %u bits", f->width);
	else
		gate(d, name, "iommu", OK, NULL, "enabled");
}

static void check_width(const struct device *d, unsigned int iommu_bits)
{
	unsigned int bits = iommu_bits < d->pasid.width ? iommu_bits : d->pasid.width;

	if (!d->pasid.there || !iommu_bits)
		return;
	if (bits < 10)
		gate(d, "pasid-width", "iommu", WARN, "another platform or card; in QEMU -device intel-iommu,pasid-bits=20",
		     "%u bits in the device, %u in the IOMMU: no more than %u processes at once", d->pasid.width,
		     iommu_bits, 1u << bits);
	else
		gate(d, "pasid-width", "iommu", OK, NULL, "%u bits in the device, %u in the IOMMU", d->pasid.width,
		     iommu_bits);
}

/* Linux enables PASID only where nothing on the way turns a request aside. */
static void check_acs(const struct device *d)
{
	char bdfs[16][24];
	int n = device_path(d, bdfs, 16);
	bool below = false;

	for (int i = 0; i < n - 1; i++) {
		struct pci_dev *p = pci_function(bdfs[i]);
		struct pci_cap *cap = p ? pci_find_cap(p, PCI_CAP_ID_EXP, PCI_CAP_NORMAL) : NULL;
		unsigned int type;
		uint8_t byte;

		/* Capabilities begin behind the header, where sysfs ends for those who are not root. */
		if (p && !cap && !pci_read_block(p, 0x40, &byte, 1)) {
			gate(d, "acs", "iommu", UNKNOWN, "run as root",
			     "only root sees the configuration space of the bridge %s above it", bdfs[i]);
			return;
		}
		if (!cap)
			continue;
		type = (pci_read_word(p, cap->addr + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_TYPE) >> 4;
		if (type != PCI_EXP_TYPE_DOWNSTREAM)
			continue;
		below = true;
		if (!pci_find_cap(p, PCI_EXT_CAP_ID_ACS, PCI_CAP_EXTENDED)) {
			gate(d, "acs", "iommu", CLOSED, "put the card into a slot of the root complex, or below a switch that has ACS",
			     "the switch port %s above it has no ACS, so PASID stays off", bdfs[i]);
			return;
		}
	}
	gate(d, "acs", "iommu", OK, NULL, below ? "the switch above it has ACS" : "no switch is above it");
}

static void check_group(const struct device *d, unsigned int iommu_bits)
{
	char *type = file_read("/sys/bus/pci/devices/%s/iommu_group/type", d->bdf);

	if (type)
		gate(d, "translation", "iommu", OK, NULL, "an IOMMU translates for it (%s)", type);
	else
		gate(d, "translation", "iommu", CLOSED, iommu_bits ? "the BIOS must put this slot below an IOMMU" : "see the gate iommu",
		     "no IOMMU translates for this device");
	free(type);
}

/* What to do about a reason that has these words; the last entry's are in each. */
struct advice {
	const char *part, *advice;
};

static const char *advice_on(const struct advice *a, const char *reason)
{
	while (!strstr(reason, a->part))
		a++;
	return a->advice;
}

/* What a provider's reason asks for, where the driver's own words do not say it. */
static const struct advice provider_advice[] = {
	{ "module parameter", "load hsl with sva=auto: modprobe -r hsl && modprobe hsl" },
	{ "keeps SVA off", "boot Linux 7.3 or later" },
	{ "first-level paging", "see the gates iommu-ecap, la57 and pri, and the kernel log of the IOMMU" },
	{ "swiotlb", "take swiotlb=force from the kernel command line" },
	{ "DMA layer", "see the gate command-line, and the kernel log" },
	{ "has not enabled", "see the gates pasid, ats and acs" },
	{ "does not offer it", "another card" },
	{ "has no", "another card; in QEMU -device hsl,pri=on" },
	{ "", "see the gates above that are closed" },
};

static void check_providers(const struct device *d)
{
	static const char *const names[] = { "iommu", "hmm" };
	char path[32], *sva = device_read(d, "sva");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char *why;

		snprintf(path, sizeof(path), "providers/%s", names[i]);
		why = device_read(d, path);
		if (!why)
			continue;
		snprintf(path, sizeof(path), "provider-%s", names[i]);
		gate(d, path, names[i], strcmp(why, "ok") ? CLOSED : OK, advice_on(provider_advice, why), "%s",
		     strcmp(why, "ok") ? why : "it works");
		free(why);
	}
	if (usable(d))
		gate(d, "sva", "device", OK, NULL, "programs get the provider %s unless they choose", sva);
	else
		gate(d, "sva", "device", FAIL, "open one of the gates above: hmm needs the least", "no provider works: open() gives EOPNOTSUPP");
	free(sva);
}

static bool check_node(const struct device *d)
{
	char *path = file_path("/dev/hsl/%s", d->name);
	const struct passwd *user;
	const struct group *group;
	struct stat st;
	bool ok = false;

	if (stat(path, &st)) {
		gate(d, "permission", "device", FAIL, "start udev, or mount devtmpfs at /dev", "%s: %s", path,
		     strerror(errno));
	} else if (!S_ISCHR(st.st_mode) && !*options.sysroot) {
		gate(d, "permission", "device", FAIL, "remove it and let udev make it anew", "%s is not a character device",
		     path);
	} else if (access(path, R_OK | W_OK)) {
		user = getpwuid(st.st_uid);
		group = getgrgid(st.st_gid);
		gate(d, "permission", "device", FAIL,
		     "run as root, or join the group that may (usermod -aG hsl USER, with the udev rules of make install or hsl-tools)",
		     "uid %u may not open %s (%04o %s:%s)", getuid(), path, st.st_mode & 07777, user ? user->pw_name : "?",
		     group ? group->gr_name : "?");
	} else {
		gate(d, "permission", "device", OK, NULL, "uid %u may open %s", getuid(), path);
		ok = true;
	}
	free(path);
	return ok;
}

static void check_contexts(const struct device *d)
{
	uint64_t open, max;

	if (!device_number(d, "contexts", &open) || !device_number(d, "limits/nr_contexts", &max))
		return;
	if (open >= max)
		gate(d, "contexts", "device", FAIL, "close some: hslctl stat --processes shows whose they are",
		     "all %llu are in use: open() gives EBUSY", (unsigned long long)max);
	else
		gate(d, "contexts", "device", OK, NULL, "%llu of %llu in use", (unsigned long long)open,
		     (unsigned long long)max);
}

#define COPY_LEN	(64u << 10)
#define COPY_NS		10000000000ll

/* The proof: bytes that were not there before, in pages that nobody has touched. */
static int copy_by(const struct device *d, uint32_t sva, const char **step)
{
	struct hsl_open_opts opts = { .size = sizeof(opts), .sva = sva };
	struct hsl_queue *q = NULL;
	struct hsl_ctx *ctx = NULL;
	const struct hsl_cqe *c;
	unsigned char *src, *dst;
	char path[32];
	int err;

	src = malloc(COPY_LEN);
	dst = mmap(NULL, COPY_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!src || dst == MAP_FAILED)
		fail("out of memory");
	*step = "open";
	snprintf(path, sizeof(path), "/dev/hsl/%s", d->name);
	err = hsl_open(path, &opts, &ctx);
	if (err)
		goto out;
	*step = "queue";
	err = hsl_queue_create(ctx, NULL, &q);
	if (err)
		goto out;
	for (unsigned int i = 0; i < COPY_LEN; i++)
		src[i] = i * 7 + (i >> 8);
	*step = "copy";
	hsl_prep_copy(hsl_get_desc(q), dst, src, COPY_LEN);
	hsl_submit(q);
	err = hsl_wait(q, &c, COPY_NS);
	if (err)
		goto out;
	err = hsl_status_errno(c->status);
	hsl_seen(q, 1);
	*step = "data";
	if (!err && memcmp(dst, src, COPY_LEN))
		err = -EILSEQ;
out:
	/* First: an operation that did not end must not find others' memory. */
	hsl_close(ctx);
	munmap(dst, COPY_LEN);
	free(src);
	return err;
}

static void check_copy(const struct device *d)
{
	static const char *const names[] = { [HSL_SVA_IOMMU] = "iommu", [HSL_SVA_HMM] = "hmm" };
	char path[32], name[32], *why;
	const char *step;

	for (uint32_t sva = HSL_SVA_IOMMU; sva < HSL_SVA_NR; sva++) {
		int err;

		snprintf(path, sizeof(path), "providers/%s", names[sva]);
		why = device_read(d, path);
		snprintf(name, sizeof(name), "copy-%s", names[sva]);
		err = why && !strcmp(why, "ok") ? copy_by(d, sva, &step) : 1;
		free(why);
		if (err == 1)
			continue;
		if (err == -EILSEQ)
			gate(d, name, names[sva], FAIL, "stop using the device and report it with the output of hslctl dump",
			     "the device copied 64 KiB and the bytes are WRONG");
		else if (err)
			gate(d, name, names[sva], FAIL, hsl_strerror(err), "%s failed: %s", step, strerror(-err));
		else
			gate(d, name, names[sva], OK, NULL, "64 KiB copied and verified");
	}
}

static void check_memory(const struct device *d)
{
	char *mode = device_read(d, "memory/mode");
	uint64_t size = 0, poisoned = 0;

	device_number(d, "limits/mem_size", &size);
	if (!size)
		gate(d, "memory-mode", "memory", OK, NULL, "the device has no memory of its own");
	else if (!mode)
		gate(d, "memory-mode", "memory", WARN, "see the gate CONFIG_DEVICE_MIGRATION", "this kernel cannot use the memory of the device");
	else if (!strcmp(mode, "coherent"))
		gate(d, "memory-mode", "memory", OK, NULL, "coherent");
	else if (!strcmp(mode, "off"))
		gate(d, "memory-mode", "memory", WARN, "echo coherent > /sys/class/hsl/hslN/memory/mode",
		     "off: programs and peers have nothing of the memory of the device");
	else if (!strcmp(mode, "pcie"))
		gate(d, "memory-mode", "memory", WARN, "if that is not what you want: echo coherent > /sys/class/hsl/hslN/memory/mode",
		     "pcie: disks reach it, but malloc()ed memory does not move there and buffers cannot be shared");
	else if (!strcmp(mode, "node"))
		gate(d, "memory-mode", "memory", WARN, "if that is not what you want: echo coherent > /sys/class/hsl/hslN/memory/mode",
		     "node: the kernel's memory; hsl_migrate() and buffers are closed, do not reset or unplug");
	else
		gate(d, "memory-mode", "memory", WARN, "wait until it has changed", "%s", mode);
	if (device_number(d, "memory/poisoned", &poisoned) && poisoned)
		gate(d, "poison", "memory", WARN, "replace the card when it becomes more", "%llu bytes have lost their contents and are not used",
		     (unsigned long long)poisoned);
	free(mode);
}

static void check_integrity(const struct device *d)
{
	uint64_t n;

	if (device_number(d, "counters/oracle_breaches", &n) && n)
		gate(d, "integrity", "device", FAIL, "stop using the device and report it with the output of hslctl dump",
		     "%llu accesses to memory that was no longer the process's", (unsigned long long)n);
	if (device_number(d, "events_lost", &n) && n)
		gate(d, "events", "device", WARN, "more is going wrong than is recorded: hslctl monitor shows what",
		     "%llu events were lost since the last reset", (unsigned long long)n);
}

/*
 * Links, and the ways from device to device
 */

static const struct {
	const char *reason;
	enum verdict verdict;
	const char *advice;
} link_advice[] = {
	{ "disabled", WARN, "hslctl link enable DEVICE PORT, here and at the other end" },
	{ "no partner", WARN, "plug in the device at the other end and bind its driver" },
	{ "cut", FAIL, "look at the cable; a link that was cut by hslctl inject comes back with mend" },
	{ "no lanes", FAIL, "all lanes are lost: look at the cable and the connector" },
	{ "replays exhausted", FAIL,
	  "hslctl link retrain DEVICE PORT; if it happens again, the cable damages packets" },
	{ "starved", FAIL, "hslctl link retrain DEVICE PORT; the other end gave no credits" },
	{ "", WARN, "hslctl link retrain DEVICE PORT" },
};

static char *port_read(const struct device *d, unsigned int port, const char *name)
{
	char path[48];

	snprintf(path, sizeof(path), "port%u/%s", port, name);
	return device_read(d, path);
}

static void check_ports(const struct device *d)
{
	for (unsigned int p = 0; ; p++) {
		char *state = port_read(d, p, "state"), *reason, name[16];
		size_t n = 0;

		if (!state)
			break;
		reason = port_read(d, p, "reason");
		snprintf(name, sizeof(name), "link-port%u", p);
		while (reason && strcmp(reason, link_advice[n].reason) && *link_advice[n].reason)
			n++;
		if (!strcmp(state, "active")) {
			gate(d, name, "link", OK, NULL, "active");
		} else if (!strcmp(state, "degraded")) {
			char *width = port_read(d, p, "width"), *max = port_read(d, p, "width_max");

			gate(d, name, "link", WARN, "hslctl link retrain DEVICE PORT; if it stays so, look at the cable",
			     "degraded: %s of %s lanes", width ? width : "?", max ? max : "?");
			free(width);
			free(max);
		} else if (!strcmp(state, "training")) {
			gate(d, name, "link", WARN, "look again in a moment", "it is training");
		} else {
			gate(d, name, "link", link_advice[n].verdict, link_advice[n].advice, "%s: %s", state,
			     reason ? reason : "?");
		}
		free(state);
		free(reason);
	}
}

static const struct advice peer_advice[] = {
	{ "no path of links", "hslctl link shows which are down: enable or retrain them" },
	{ "ACS sends", "boot with pci=disable_acs_redir=… for the switch, if the devices may trust each other" },
	{ "not in one fabric", "join both to one fabric (scripts/vm --topology), or put both below one PCIe switch" },
	{ "the peer has no memory", "a card with memory" },
	{ "not known to forward", "load hsl with via_host=1 if this platform is known to forward between devices" },
	{ "", "join both to one fabric, or put both below one PCIe switch" },
};

static void check_peers(const struct device *d)
{
	char *text = device_read(d, "peers"), *line, *save;

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char name[32], *ways = strchr(line, ';');
		const char *advice;
		bool open, by_link;

		if (!ways)
			continue;
		*ways++ = '\0';
		ways += strspn(ways, " ");
		snprintf(name, sizeof(name), "peer-%.*s", (int)strcspn(line, " "), line);
		by_link = strstr(ways, "link: open");
		open = by_link || strstr(ways, ": open");
		advice = advice_on(peer_advice, ways);
		if (!open)
			gate(d, name, "peer", strstr(ways, "no memory") ? WARN : FAIL, advice,
			     "no way to its memory is open; %s", ways);
		else if (!by_link && strstr(ways, "no path of links"))
			gate(d, name, "peer", WARN, advice, "its link is closed, so it goes another way; %s", ways);
		else
			gate(d, name, "peer", OK, NULL, "%s", ways);
	}
	free(text);
}

static void check_device(const struct device *d, unsigned int iommu_bits)
{
	check_driver(d);
	check_feature(d, "pasid", &d->pasid, iommu_bits, "another card", "boot with intel_iommu=on,sm_on; see also the gate acs");
	check_width(d, iommu_bits);
	check_feature(d, "ats", &d->ats, iommu_bits, "another card; in QEMU -device intel-iommu,device-iotlb=on",
		      "boot with intel_iommu=on,sm_on and without pci=noats; the BIOS must allow it for this slot");
	check_feature(d, "pri", &d->pri, iommu_bits, "another card; in QEMU -device hsl,pri=on", "boot with intel_iommu=on,sm_on");
	check_acs(d);
	check_group(d, iommu_bits);
	if (!d->name[0])
		return;
	check_state(d);
	check_providers(d);
	check_contexts(d);
	if (check_node(d) && !no_copy && !*options.sysroot)
		check_copy(d);
	check_memory(d);
	check_integrity(d);
	check_ports(d);
	check_peers(d);
}

static unsigned int count(const char *status)
{
	unsigned int n = 0;

	for (size_t i = 0; i < json_object_array_length(gates); i++)
		n += !strcmp(get_text(json_object_array_get_idx(gates, i), "status"), status);
	return n;
}

static void show(void)
{
	const char *about = NULL;

	for (size_t i = 0; i < json_object_array_length(gates); i++) {
		json_object *o = json_object_array_get_idx(gates, i);
		const char *bdf = get_text(o, "bdf"), *status = get_text(o, "status");

		if (quiet && !strcmp(status, "ok"))
			continue;
		if (!about || strcmp(about, bdf))
			printf("%s%s%s%s\n", about ? "\n" : "", *bdf ? get_text(o, "name") : "the machine",
			       *get_text(o, "name") ? " " : "", bdf);
		about = bdf;
		printf("  %-7s %-24s %s\n", status, get_text(o, "gate"), get_text(o, "found"));
		if (*get_text(o, "advice"))
			printf("          do: %s\n", get_text(o, "advice"));
	}
	printf("%s%u ok, %u warnings, %u failures, %u unknown\n", about ? "\n" : "", count("ok"), count("warn"),
	       count("fail"), count("unknown"));
}

int cmd_doctor(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "no-copy", 'n', NULL, 0, "Do not open the devices and let them copy 64 KiB", 0 },
		{ "quiet", 'q', NULL, 0, "Leave out what is ok", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE...]",
		.doc = "Go through every gate of shared virtual addressing and of peer-to-peer, and say for each closed one what is wrong and what to do. Exit status 1 if something does not work at all.",
		.children = common_options,
	};
	struct words words = { 0 };
	unsigned int bits, failures;
	struct device *d;

	argp_parse(&argp, argc, argv, 0, NULL, &words);
	if (options.dump)
		fail("doctor looks at this machine, or at one below --sysroot; a recording of lspci is not enough");
	gates = json_object_new_array();
	devices_choose(&words);
	check_kernel();
	check_options();
	check_command_line();
	bits = check_iommu();
	check_module();
	if (!nr_devices)
		gate(NULL, "devices", "machine", FAIL, "see whether lspci -d ::1200 shows a card; in QEMU -device hsl",
		     "there is no PCI function of class 0x120000 with the HSL DVSEC");
	for_each_chosen(d)
		check_device(d, bits);
	failures = count("fail");
	if (options.json) {
		json_object *top = json_object_new_object();

		put_number(top, "failures", failures);
		put_number(top, "warnings", count("warn"));
		put(top, "gates", gates);
		json_show(top);
	} else {
		show();
	}
	return failures ? 1 : 0;
}
