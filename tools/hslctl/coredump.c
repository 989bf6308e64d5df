// SPDX-License-Identifier: MIT
/*
 * What the driver wrote of a device that hung, before it reset it: the text that
 * Documentation/admin-guide/coredump.rst describes, lines of words NAME=VALUE after
 * the kind of the line.
 */
#include <ctype.h>
#include <errno.h>
#include <hsl.h>
#include <string.h>

#include "hslctl.h"

#define FORMAT	1

/* Kinds of lines: what they are called in JSON, and whether there may be several. */
static const struct kind_of_line {
	const char *word;
	const char *key;
	bool several;
} kinds[] = {
	{ "dump", "dump", false },
	{ "device", "device", false },
	{ "limits", "limits", false },
	{ "registers", "registers", false },
	{ "counters", "counters", false },
	{ "event-queue", "event_queue", false },
	{ "fault-queue", "fault_queue", false },
	{ "vector", "vectors", true },
	{ "queue", "queues", true },
	{ "context", "contexts", true },
	{ "event", "events", true },
	{ "fault", "faults", true },
	{ "port", "ports", true },
};

static const char *name_in(const char *const *names, size_t nr, uint64_t n)
{
	return n < nr ? names[n] : "unknown";
}

static const char *queue_state(uint64_t state)
{
	static const char *const names[] = { "stopped", "running", "stopping", "failed" };

	return name_in(names, ARRAY_SIZE(names), state);
}

static const char *port_state(uint64_t state)
{
	static const char *const names[] = { "down", "training", "active", "degraded", "error" };

	return name_in(names, ARRAY_SIZE(names), state);
}

static const char *event_type(uint64_t type)
{
	static const char *const names[] = { "none", "page-fault", "queue-error", "poison", "link" };

	return name_in(names, ARRAY_SIZE(names), type);
}

/* What the numbers of the hardware mean, beside them */
static void put_meanings(json_object *o, const char *kind)
{
	uint64_t code = get_number(o, "code");
	json_object *val;

	if (!strcmp(kind, "queue") && json_object_object_get_ex(o, "state", &val)) {
		put_text(o, "state_name", queue_state(get_number(o, "state")));
		put_text(o, "error_name", hsl_strqerr(get_number(o, "error")));
	} else if (!strcmp(kind, "port")) {
		put_text(o, "state_name", port_state(get_number(o, "state")));
	} else if (!strcmp(kind, "event")) {
		put_text(o, "type_name", event_type(get_number(o, "type")));
		put_text(o, "what", get_number(o, "type") == HSL_EV_QUEUE_ERROR ? hsl_strqerr(code) :
				    get_number(o, "type") == HSL_EV_LINK ? port_state(code) : hsl_strstatus(code));
	}
}

/* Numbers become numbers, whatever their base; people see them as they stand in the dump. */
static json_object *value_of(const char *text)
{
	json_object *o;
	char *end;

	errno = 0;
	if (*text == '-') {
		int64_t val = strtoll(text, &end, 10);

		if (end != text && !*end && !errno)
			return json_object_new_int64(val);
	} else if (isdigit((unsigned char)*text)) {
		uint64_t val = strtoull(text, &end, 0);

		if (!*end && !errno) {
			o = json_object_new_uint64(val);
			if (!options.json)
				json_object_set_serializer(o, json_object_userdata_to_json_string, strdup(text),
							   json_object_free_userdata);
			return o;
		}
	}
	return json_text(text);
}

/* The words of a line after its kind; false: they are not NAME=VALUE. */
static bool words_of(json_object *o, char *at)
{
	while (*(at += strspn(at, " "))) {
		char *key = at, *val, *end;

		val = at + strcspn(at, " =");
		if (*val != '=' || val == key)
			return false;
		*val++ = '\0';
		if (*val == '"') {
			end = strchr(++val, '"');
			if (!end)
				return false;
			at = end + 1;
			*end = '\0';
			put_text(o, key, val);
			continue;
		}
		end = val + strcspn(val, " ");
		at = *end ? end + 1 : end;
		*end = '\0';
		put(o, key, value_of(val));
	}
	return true;
}

static void line_into(json_object *top, char *line)
{
	char *words = line + strcspn(line, " ");
	json_object *o = json_object_new_object(), *list;
	const char *key;
	size_t i = 0;

	if (*words)
		*words++ = '\0';
	if (!words_of(o, words))
		fail("line '%s' of the dump is not made of NAME=VALUE", line);
	put_meanings(o, line);
	while (i < ARRAY_SIZE(kinds) && strcmp(line, kinds[i].word))
		i++;
	/* Kinds that come later are passed on as they are. */
	key = i < ARRAY_SIZE(kinds) ? kinds[i].key : line;
	if (i < ARRAY_SIZE(kinds) && !kinds[i].several) {
		put(top, key, o);
		return;
	}
	if (!json_object_object_get_ex(top, key, &list)) {
		list = json_object_new_array();
		put(top, key, list);
	}
	if (!json_object_is_type(list, json_type_array))
		fail("line '%s' of the dump is called as something else in it", line);
	json_object_array_add(list, o);
}

static json_object *parse(FILE *f, const char *name)
{
	json_object *top = json_object_new_object(), *end = NULL;
	bool first = true;
	char *line = NULL;
	size_t room = 0;

	put_number(top, "format", FORMAT);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].several)
			put(top, kinds[i].key, json_object_new_array());
	while (getline(&line, &room, f) > 0) {
		size_t len = strcspn(line, "\n");
		unsigned int format;

		/* Cut off within it: the last number may be half of one. */
		if (!first && !line[len])
			break;
		line[len] = '\0';
		if (first) {
			if (sscanf(line, "hsl-coredump format=%u", &format) != 1)
				fail("%s is not a core dump of an HSL device: it begins with '%.40s'", name, line);
			if (format != FORMAT)
				fail("%s has format %u, and this hslctl knows %d: take a newer one", name, format,
				     FORMAT);
			first = false;
		} else if (!strncmp(line, "end ", 4)) {
			end = json_object_new_object();
			if (!words_of(end, line + 4))
				fail("%s ends with '%s'", name, line);
		} else if (*line) {
			char *clean = text_clean(line);

			line_into(top, clean);
			free(clean);
		}
	}
	if (ferror(f))
		fail("%s: %s", name, strerror(errno));
	if (first)
		fail("%s is empty", name);
	put_bool(top, "complete", end && !get_number(end, "truncated"));
	json_object_put(end);
	free(line);
	return top;
}

static json_object *part_of(json_object *top, const char *key)
{
	json_object *part;

	return json_object_object_get_ex(top, key, &part) ? part : NULL;
}

static void show_pairs(json_object *top, const char *key, const char *title)
{
	json_object *part = part_of(top, key);

	if (!part)
		return;
	printf("\n%s\n", title);
	pairs_show(part);
}

static void show_table(json_object *top, const char *key, const char *title, const struct column *columns)
{
	json_object *rows = part_of(top, key);

	if (!rows || !json_object_array_length(rows))
		return;
	printf("\n%s\n", title);
	table_show(columns, rows);
}

static void show(json_object *top)
{
	static const struct column queues[] = {
		{ "hwq", "HWQ", NUMBER }, { "driver", "DRIVER", TEXT }, { "id", "ID", NUMBER },
		{ "tgid", "PROCESS", NUMBER }, { "context", "CONTEXT", NUMBER }, { "state_name", "STATE", TEXT },
		{ "error_name", "ERROR", TEXT },
		{ "sq_head", "FETCHED", NUMBER }, { "cq_tail", "COMPLETED", NUMBER }, { "ops", "OPS", NUMBER },
		{ "bytes", "BYTES", BYTES }, { "faults", "FAULTS", NUMBER }, { }
	};
	static const struct column contexts[] = {
		{ "nr", "CONTEXT", NUMBER }, { "tgid", "PROCESS", NUMBER }, { "sva", "SVA", TEXT },
		{ "pasid", "PASID", NUMBER }, { "ctrl", "CTRL", NUMBER }, { "xlate", "XLATE", NUMBER },
		{ "dead", "DEAD", NUMBER },
		{ "events_unread", "UNREAD", NUMBER }, { "events_lost", "LOST", NUMBER }, { }
	};
	static const struct column events[] = {
		{ "type_name", "TYPE", TEXT }, { "what", "WHAT", TEXT }, { "queue", "QUEUE", NUMBER },
		{ "context", "CONTEXT", NUMBER }, { "pasid", "PASID", NUMBER }, { "addr", "ADDRESS", NUMBER },
		{ "access", "ACCESS", NUMBER }, { }
	};
	static const struct column faults[] = {
		{ "tag", "TAG", NUMBER }, { "context", "CONTEXT", NUMBER }, { "addr", "ADDRESS", NUMBER },
		{ "pages", "PAGES", NUMBER }, { "access", "ACCESS", NUMBER }, { }
	};
	static const struct column ports[] = {
		{ "nr", "PORT", NUMBER }, { "state_name", "STATE", TEXT }, { "reason", "REASON", NUMBER },
		{ "width", "WIDTH", NUMBER }, { "rate", "RATE", NUMBER }, { "credits", "CREDITS", NUMBER },
		{ "crc_errors", "CRC", NUMBER },
		{ "replays", "REPLAYS", NUMBER }, { "tx_bytes", "SENT", BYTES }, { "rx_bytes", "RECEIVED", BYTES }, { }
	};
	static const struct column vectors[] = {
		{ "nr", "VECTOR", NUMBER }, { "queues", "QUEUES", NUMBER }, { "interrupts", "INTERRUPTS", NUMBER }, { }
	};
	json_object *dump = part_of(top, "dump"), *device = part_of(top, "device");

	/* Either may be missing in a dump that is not whole. */
	printf("%s: %s\n", device ? get_text(device, "name") : "?", dump ? get_text(dump, "reason") : "?");
	if (dump)
		pairs_show(dump);
	show_pairs(top, "device", "device");
	if (device && strcmp(get_text(device, "registers"), "read"))
		printf("\nThe registers are not in it: %s.\n", !strcmp(get_text(device, "registers"), "all-ones") ?
		       "the device read as all ones" : "somebody else was resetting the device");
	show_table(top, "queues", "queues", queues);
	show_table(top, "contexts", "contexts", contexts);
	show_table(top, "events", "events that nobody has taken", events);
	show_table(top, "faults", "faults that nobody has answered", faults);
	show_table(top, "ports", "ports", ports);
	show_pairs(top, "registers", "registers");
	show_pairs(top, "event_queue", "event queue");
	show_pairs(top, "fault_queue", "fault queue");
	show_pairs(top, "counters", "counters");
	show_table(top, "vectors", "vectors", vectors);
	show_pairs(top, "limits", "limits");
}

/* "-": standard input. Returns the exit status: 1 for a dump that is not whole. */
int coredump_show(const char *name)
{
	FILE *f = strcmp(name, "-") ? fopen(name, "re") : stdin;
	json_object *top;
	bool complete;

	if (!f)
		fail("%s: %s", name, strerror(errno));
	top = parse(f, name);
	if (f != stdin)
		fclose(f);
	complete = json_object_get_boolean(part_of(top, "complete"));
	if (options.json) {
		json_show(top);
	} else {
		show(top);
		json_object_put(top);
	}
	if (!complete)
		fprintf(stderr, TOOL ": %s is not whole: lines at its end are missing\n", name);
	return !complete;
}
