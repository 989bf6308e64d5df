// SPDX-License-Identifier: MIT
/*
 * hslctl inject: what happens to virtual devices and links from outside, by the
 * monitor (QMP) of their QEMU. It runs on the host: no guest can do any of it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "hslctl.h"

#define BOUND_SECONDS	30

struct arguments {
	struct words words;
	const char *socket;
	const char *fabric;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'q':
		a->socket = arg;
		return 0;
	case 'f':
		a->fabric = arg;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&a->words, arg, state);
	case ARGP_KEY_END:
		if (!a->words.nr)
			argp_error(state, "what is to happen?");
		if (!a->socket)
			argp_error(state, "--qmp SOCKET is needed; scripts/vm --qmp makes build/vm/qmp-PID.sock");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static FILE *monitor;

/* The next answer, events left out. */
static json_object *answer(const char *command)
{
	char *line = NULL;
	size_t room = 0;
	json_object *o, *val;

	while (getline(&line, &room, monitor) > 0) {
		o = json_tokener_parse(line);
		if (!o)
			fail("%s: QEMU answers what is not JSON", command);
		if (json_object_object_get_ex(o, "error", &val))
			fail("%s: %s", command, get_text(val, "desc"));
		if (json_object_object_get_ex(o, "return", &val)) {
			json_object_get(val);
			json_object_put(o);
			free(line);
			return val;
		}
		json_object_put(o);
	}
	fail("%s: QEMU does not answer%s", command,
	     errno == EAGAIN ? " in time: does something else use this socket?" : "");
}

/* Takes @arguments. */
static json_object *qmp(const char *command, json_object *arguments)
{
	json_object *o = json_object_new_object();
	const char *text;

	put_text(o, "execute", command);
	if (arguments)
		put(o, "arguments", arguments);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	fseek(monitor, 0, SEEK_CUR);
	if (fprintf(monitor, "%s\n", text) < 0 || fflush(monitor))
		fail("%s: cannot write to QEMU: %s", command, strerror(errno));
	fseek(monitor, 0, SEEK_CUR);
	json_object_put(o);
	return answer(command);
}

static void monitor_open(const char *path)
{
	struct timeval bound = { .tv_sec = BOUND_SECONDS };
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char *line = NULL;
	size_t room = 0;
	int fd;

	if (strlen(path) >= sizeof(to.sun_path))
		fail("--qmp: the path is longer than a socket's may be; use a relative one");
	strcpy(to.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		fail("%s: %s; does the virtual machine run, with --qmp?", path, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
	monitor = fdopen(fd, "r+");
	if (getline(&line, &room, monitor) <= 0 || !strstr(line, "QMP"))
		fail("%s: this is no QMP socket, or something else uses it", path);
	free(line);
	json_object_put(qmp("qmp_capabilities", NULL));
}

static json_object *property(const char *path, const char *name, json_object *value)
{
	json_object *o = json_object_new_object();

	put_text(o, "path", path);
	put_text(o, "property", name);
	if (value)
		put(o, "value", value);
	return o;
}

static const char *object_path(const char *id)
{
	static char path[128];

	snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
	return path;
}

static json_object *human(const char *command)
{
	json_object *o = json_object_new_object();

	put_text(o, "command-line", command);
	return qmp("human-monitor-command", o);
}

/* What it says is what went wrong. */
static void human_quiet(const char *command)
{
	json_object *o = human(command);
	const char *text = json_object_get_string(o);

	if (text && strncasecmp(text, "OK", 2) && *text)
		fail("%s: %.*s", command, (int)strcspn(text, "\r\n"), text);
	json_object_put(o);
}

static json_object *do_link(const struct arguments *a, char **w, int nr)
{
	char text[512] = "";
	size_t at = 0;

	for (int i = 0; i < nr && at < sizeof(text); i++)
		at += snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", w[i]);
	return qmp("qom-set", property(a->fabric, "inject", json_text(text)));
}

static json_object *do_links(const struct arguments *a, char **w, int nr)
{
	(void)w;
	(void)nr;
	return qmp("qom-get", property(a->fabric, "inject", NULL));
}

static json_object *do_schedule(const struct arguments *a, char **w, int nr)
{
	(void)w;
	(void)nr;
	return qmp("qom-get", property(a->fabric, "schedule", NULL));
}

static json_object *do_poison(const struct arguments *a, char **w, int nr)
{
	char *end;
	unsigned long long offset;

	(void)a;
	if (nr == 1)
		return qmp("qom-get", property(object_path(w[0]), "poison", NULL));
	offset = strtoull(w[1], &end, 0);
	if (end == w[1] || *end || w[1][0] == '-')
		fail("'%s' is not an offset in device memory", w[1]);
	return qmp("qom-set", property(object_path(w[0]), "poison", json_object_new_uint64(offset)));
}

static json_object *do_aer(const struct arguments *a, char **w, int nr)
{
	char text[256];

	(void)a;
	(void)nr;
	snprintf(text, sizeof(text), "pcie_aer_inject_error %s %s", w[0], w[1]);
	human_quiet(text);
	return NULL;
}

static json_object *do_unplug(const struct arguments *a, char **w, int nr)
{
	json_object *o = json_object_new_object();

	(void)a;
	(void)nr;
	put_text(o, "id", w[0]);
	return qmp("device_del", o);
}

/* What comes after the slot are properties, K=V. */
static json_object *do_plug(const struct arguments *a, char **w, int nr)
{
	json_object *o = json_object_new_object();

	(void)a;
	put_text(o, "driver", "hsl");
	put_text(o, "id", w[0]);
	put_text(o, "bus", w[1]);
	for (int i = 2; i < nr; i++) {
		char *eq = strchr(w[i], '='), *end;
		unsigned long long val;

		if (!eq)
			fail("'%s' is not K=V, a property of the device", w[i]);
		*eq++ = '\0';
		val = strtoull(eq, &end, 0);
		if (!strcmp(eq, "on") || !strcmp(eq, "off"))
			put_bool(o, w[i], !strcmp(eq, "on"));
		else if (end != eq && !*end)
			put_number(o, w[i], val);
		else
			put_text(o, w[i], eq);
	}
	return qmp("device_add", o);
}

static json_object *do_stale(const struct arguments *a, char **w, int nr)
{
	(void)a;
	(void)nr;
	if (strcmp(w[1], "on") && strcmp(w[1], "off"))
		fail("'%s' is neither on nor off", w[1]);
	return qmp("qom-set", property(object_path(w[0]), "x-ignore-invalidations",
				       json_object_new_boolean(!strcmp(w[1], "on"))));
}

/* QEMU knows the words, and says which there are. */
static json_object *do_fail(const struct arguments *a, char **w, int nr)
{
	(void)a;
	return qmp("qom-set", property(object_path(w[0]), "x-fail", json_text(nr > 1 ? w[1] : "")));
}

static const struct happening {
	const char *name;
	int min, max;		/* words after it */
	json_object *(*happen)(const struct arguments *a, char **w, int nr);
	const char *usage;
} happenings[] = {
	{ "link", 1, MAX_WORDS, do_link,
	  "link COMMAND...            cut A-B, mend A-B, lanes A-B N, crc A-B RATE SEED, crc-all A-B N,\n"
	  "                             credits A-B N, delay A-B NS, partition A,B|C,D, schedule SEED STEPS PKTS" },
	{ "links", 0, 0, do_links, "links                      the state of all links, as the fabric has it" },
	{ "schedule", 0, 0, do_schedule, "schedule                   what the last schedule did so far" },
	{ "aer", 2, 2, do_aer,
	  "aer ID ERROR               a PCIe error: BAD_TLP (corrected), COMP_ABORT, MALF_TLP (fatal)" },
	{ "poison", 1, 2, do_poison,
	  "poison ID [OFFSET]         a page of device memory loses its contents; or how many have" },
	{ "unplug", 1, 1, do_unplug, "unplug ID                  ask the guest to let the device go" },
	{ "plug", 2, MAX_WORDS, do_plug, "plug ID SLOT [K=V...]      a new device into a free slot" },
	{ "stale", 2, 2, do_stale,
	  "stale ID on|off            the device ignores invalidations, which its oracle must see" },
	{ "fail", 1, 2, do_fail,
	  "fail ID [WHAT]             it does not do that (hslctl-inject(1) says what there is), or all again" },
};

static void list_happenings(FILE *f)
{
	fputs("What can happen:\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(happenings); i++)
		fprintf(f, "  %s\n", happenings[i].usage);
	fputs("\nID is that of -device in QEMU: scripts/vm calls them hsl0, hsl1 and so on, in slot0, slot1.\n"
	      "A link is named by its nodes, as in 0-1, or all.", f);
}

static char *inject_help(int key, const char *text, void *input)
{
	(void)input;
	return help_end(key, text, list_happenings);
}

int cmd_inject(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "qmp", 'q', "SOCKET", 0, "QEMU's monitor", 0 },
		{ "fabric", 'f', "PATH", 0, "QOM path of the fabric (/objects/fabric0)", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "WHAT [ARGUMENT...]",
		.doc = "Damage the devices and links of a virtual machine, from its host, by QEMU's monitor.\v-",
		.children = common_options,
		.help_filter = inject_help,
	};
	struct arguments a = { .fabric = "/objects/fabric0" };
	const struct happening *h = NULL;
	json_object *o;

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &a);
	for (size_t i = 0; i < ARRAY_SIZE(happenings); i++)
		if (!strcmp(happenings[i].name, a.words.word[0]))
			h = &happenings[i];
	if (!h || a.words.nr - 1 < h->min || a.words.nr - 1 > h->max) {
		if (h)
			fprintf(stderr, TOOL ": usage: hslctl inject --qmp SOCKET %s\n", h->usage);
		else
			fprintf(stderr, TOOL ": '%s' is nothing that can happen; see hslctl inject --help\n",
				a.words.word[0]);
		return EXIT_USAGE;
	}
	monitor_open(a.socket);
	o = h->happen(&a, a.words.word + 1, a.words.nr - 1);
	if (options.json) {
		json_object *top = json_object_new_object();

		/* An empty object is QMP's way to say nothing. */
		put(top, "answer", json_object_is_type(o, json_type_object) ? NULL : o);
		json_show(top);
	} else if (o && !json_object_is_type(o, json_type_object)) {
		printf("%s\n", json_object_get_string(o));
	}
	fclose(monitor);
	return 0;
}
