// SPDX-License-Identifier: MIT
/* The same objects as JSON for programs and as tables for people. */
#include <libsmartcols/libsmartcols.h>
#include <string.h>

#include "hslctl.h"

/* Bytes of the character that @s begins with; -n: n bytes that are none, of one that was cut off or never was. */
static int character(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	int n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : -1;

	if (s[0] < 0x80)
		return 1;
	/* No longer forms of what has shorter ones, no halves of UTF-16, nothing beyond it. */
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	for (int i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (s[i] < low || s[i] > high)
			return -i;
	return n;
}

/* As UTF-8, which JSON is and json-c does not see to: names of tasks, and of files, are any bytes. To be freed. */
char *text_clean(const char *text)
{
	static const char instead[] = "\xef\xbf\xbd";
	char *clean = malloc(strlen(text) * strlen(instead) + 1), *to = clean;

	if (!clean)
		fail("out of memory");
	while (*text) {
		int n = character((const unsigned char *)text);

		if (n > 0)
			to = mempcpy(to, text, n);
		else
			to = stpcpy(to, instead);
		text += abs(n);
	}
	*to = '\0';
	return clean;
}

json_object *json_text(const char *text)
{
	char *clean = text_clean(text);
	json_object *o = json_object_new_string(clean);

	free(clean);
	return o;
}

void put(json_object *o, const char *key, json_object *val)
{
	char *clean = text_clean(key);

	json_object_object_add(o, clean, val);
	free(clean);
}

void put_text(json_object *o, const char *key, const char *text)
{
	put(o, key, text ? json_text(text) : NULL);
}

void put_number(json_object *o, const char *key, uint64_t val)
{
	put(o, key, json_object_new_uint64(val));
}

void put_int(json_object *o, const char *key, int64_t val)
{
	put(o, key, json_object_new_int64(val));
}

/* Not more digits than a measurement has. */
void put_real(json_object *o, const char *key, double val)
{
	char text[32];

	snprintf(text, sizeof(text), "%.6g", val);
	put(o, key, json_object_new_double_s(val, text));
}

void put_bool(json_object *o, const char *key, bool val)
{
	put(o, key, json_object_new_boolean(val));
}

/* An attribute of a device in sysfs, as a number if it is one; null if it cannot be read. */
void put_file(json_object *o, const char *key, const struct device *d, const char *name)
{
	char *text = device_read(d, name), *end;
	long long val;

	if (!text) {
		put(o, key, NULL);
		return;
	}
	val = strtoll(text, &end, 10);
	if (*text && !*end)
		put_int(o, key, val);
	else
		put_text(o, key, text);
	free(text);
}

const char *get_text(json_object *o, const char *key)
{
	json_object *val;

	return json_object_object_get_ex(o, key, &val) && val ? json_object_get_string(val) : "";
}

uint64_t get_number(json_object *o, const char *key)
{
	json_object *val;

	return json_object_object_get_ex(o, key, &val) ? json_object_get_uint64(val) : 0;
}

/* Nobody reads any more: that is an end, not a failure. */
void flush_or_end(void)
{
	if (fflush(stdout) || ferror(stdout))
		fail("standard output: write error");
}

void json_show(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	flush_or_end();
}

void json_line(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	flush_or_end();
}

/* 1536 is 1.5K; what is not exact is rounded to three digits */
static void bytes_text(char *buf, size_t len, double val)
{
	static const char units[] = "BKMGTPE";
	int n = 0;

	while (val >= 1024 && units[n + 1]) {
		val /= 1024;
		n++;
	}
	if (!n)
		snprintf(buf, len, "%.0f", val);
	else
		snprintf(buf, len, "%.*f%c", val >= 100 || val == (uint64_t)val ? 0 : val >= 10 ? 1 : 2, val, units[n]);
}

void cell_text(char *buf, size_t len, json_object *val, enum kind kind)
{
	size_t at = 0;

	if (!val) {
		snprintf(buf, len, "-");
		return;
	}
	if (json_object_is_type(val, json_type_array)) {
		buf[0] = '\0';
		for (size_t i = 0; i < json_object_array_length(val) && at < len; i++)
			at += snprintf(buf + at, len - at, "%s%s", i ? " " : "",
				       json_object_get_string(json_object_array_get_idx(val, i)));
		return;
	}
	if (json_object_is_type(val, json_type_boolean))
		snprintf(buf, len, json_object_get_boolean(val) ? "yes" : "no");
	else if (kind == BYTES)
		bytes_text(buf, len, json_object_get_double(val));
	else if (kind == FIGURE)
		snprintf(buf, len, json_object_get_double(val) >= 1000 ? "%.0f" : "%.3g", json_object_get_double(val));
	else
		snprintf(buf, len, "%s", json_object_get_string(val));
}

static bool anybody_has(json_object *rows, const char *key)
{
	json_object *val;

	for (size_t i = 0; i < json_object_array_length(rows); i++)
		if (json_object_object_get_ex(json_object_array_get_idx(rows, i), key, &val))
			return true;
	return false;
}

static struct libscols_table *table_new(bool headings)
{
	struct libscols_table *t;

	scols_init_debug(0);
	t = scols_new_table();
	if (!t)
		fail("out of memory");
	scols_table_enable_noheadings(t, !headings);
	return t;
}

static void table_print(struct libscols_table *t)
{
	if (scols_print_table(t))
		fail("standard output: write error");
	scols_unref_table(t);
	flush_or_end();
}

void table_show(const struct column *columns, json_object *rows)
{
	struct libscols_table *t = table_new(true);
	const struct column *c;
	char buf[1024];

	for (c = columns; c->key; c++)
		if (anybody_has(rows, c->key))
			scols_table_new_column(t, c->title, 0.1,
					       c->kind == TEXT || c->kind == LIST ? 0 : SCOLS_FL_RIGHT);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		json_object *row = json_object_array_get_idx(rows, i), *val;
		struct libscols_line *line = scols_table_new_line(t, NULL);
		size_t n = 0;

		for (c = columns; c->key; c++) {
			if (!anybody_has(rows, c->key))
				continue;
			json_object_object_get_ex(row, c->key, &val);
			cell_text(buf, sizeof(buf), val, c->kind);
			scols_line_set_data(line, n++, buf);
		}
	}
	if (json_object_array_length(rows))
		table_print(t);
	else
		scols_unref_table(t);
}

void rows_show(const char *key, const struct column *columns, json_object *rows)
{
	json_object *top;

	if (options.json) {
		top = json_object_new_object();
		put(top, key, rows);
		json_show(top);
	} else {
		table_show(columns, rows);
		json_object_put(rows);
	}
}

/* Names of amounts end in _bytes; these are called as in sysfs. */
static enum kind kind_of(const char *key)
{
	static const char *const amounts[] = { "mem_size", "max_xfer", "total", "free", "used", "poisoned", "evicted",
					       "moved_in", "moved_out" };
	size_t len = strlen(key);

	for (size_t i = 0; i < ARRAY_SIZE(amounts); i++)
		if (!strcmp(key, amounts[i]))
			return BYTES;
	return len > 6 && !strcmp(key + len - 6, "_bytes") ? BYTES : TEXT;
}

static void pairs_add(struct libscols_table *t, json_object *o, int depth)
{
	char buf[4096], name[96];

	json_object_object_foreach(o, key, val) {
		struct libscols_line *line = scols_table_new_line(t, NULL);

		snprintf(name, sizeof(name), "%*s%s", depth * 2, "", key);
		scols_line_set_data(line, 0, name);
		if (json_object_is_type(val, json_type_object)) {
			pairs_add(t, val, depth + 1);
			continue;
		}
		cell_text(buf, sizeof(buf), val, kind_of(key));
		scols_line_set_data(line, 1, buf);
	}
}

/* An object with all that is in it, a name and a value per line. */
void pairs_show(json_object *o)
{
	struct libscols_table *t = table_new(false);

	scols_table_new_column(t, "NAME", 0, 0);
	scols_table_new_column(t, "VALUE", 0, SCOLS_FL_NOEXTREMES);
	pairs_add(t, o, 0);
	table_print(t);
}
