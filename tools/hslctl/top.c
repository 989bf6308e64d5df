// SPDX-License-Identifier: MIT
/*
 * hslctl top: devices and processes at work. By curses, so that it works on
 * whatever terminal there is, a serial line as well; --batch prints instead.
 */
#include <curses.h>
#include <locale.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hslctl.h"

struct arguments {
	struct words words;
	double delay;
	unsigned long count;
	bool batch;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'd':
		a->delay = seconds_option(arg, 0.1, "--delay", state);
		return 0;
	case 'n':
		a->count = number_option(arg, 1, 1000000000, "--count", state);
		return 0;
	case 'b':
		a->batch = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_word(&a->words, arg, state);
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct column device_columns[] = {
	{ "name", "DEVICE", TEXT }, { "state", "STATE", TEXT }, { "ops_per_second", "OPS/S", FIGURE },
	{ "bytes_per_second", "B/S", BYTES }, { "faults_per_second", "FAULTS/S", FIGURE },
	{ "page_requests_per_second", "PRQ/S", FIGURE }, { "queues", "QUEUES", NUMBER },
	{ "in_flight", "DEPTH", NUMBER }, { "link_bytes_per_second", "LINK B/S", BYTES },
	{ "link_use_percent", "LINK%", FIGURE },
	{ "memory_used_bytes", "MEM USED", BYTES }, { "memory_total_bytes", "OF", BYTES }, { }
};

static const struct column process_columns[] = {
	{ "pid", "PID", NUMBER }, { "comm", "COMMAND", TEXT }, { "device", "DEVICE", TEXT }, { "sva", "SVA", TEXT },
	{ "ops_per_second", "OPS/S", FIGURE }, { "bytes_per_second", "B/S", BYTES },
	{ "faults_per_second", "FAULTS/S", FIGURE }, { "queues", "QUEUES", NUMBER }, { "in_flight", "DEPTH", NUMBER },
	{ "memory_device_bytes", "MEM", BYTES }, { }
};

/* What was seen last time of a device or a context */
struct seen {
	char key[64];
	uint64_t ops, bytes, faults, page_requests, link_bytes;
	double at;
	bool fresh;
};

static struct seen *seen;
static size_t nr_seen;

static struct seen *seen_of(const char *key)
{
	size_t i;

	for (i = 0; i < nr_seen; i++)
		if (!strcmp(seen[i].key, key))
			return &seen[i];
	seen = realloc(seen, (nr_seen + 1) * sizeof(*seen));
	if (!seen)
		fail("out of memory");
	memset(&seen[nr_seen], 0, sizeof(*seen));
	snprintf(seen[nr_seen].key, sizeof(seen[nr_seen].key), "%s", key);
	return &seen[nr_seen++];
}

/* Contexts come and go: those that were not seen this time are forgotten. */
static void forget_gone(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < nr_seen; i++) {
		if (!seen[i].fresh)
			continue;
		seen[i].fresh = false;
		seen[kept++] = seen[i];
	}
	nr_seen = kept;
}

static void put_rate(json_object *o, const char *key, uint64_t *last, uint64_t val, double seconds)
{
	if (seconds > 0 && val >= *last)
		put_real(o, key, (val - *last) / seconds);
	else
		put(o, key, NULL);
	*last = val;
}

/* What all links of a device carry in one direction, bytes per second; and what they did carry. */
static void link_use(const struct device *d, double *capacity, uint64_t *carried)
{
	*capacity = 0;
	*carried = 0;
	for (unsigned int p = 0; p < HSL_MAX_PORTS; p++) {
		uint64_t width, rate, tx, rx;
		char name[48];

		snprintf(name, sizeof(name), "port%u/width", p);
		if (!device_number(d, name, &width))
			return;
		snprintf(name, sizeof(name), "port%u/rate", p);
		device_number(d, name, &rate);
		*capacity += width * rate * 1e6 / 8;
		snprintf(name, sizeof(name), "port%u/tx_bytes", p);
		if (device_number(d, name, &tx))
			*carried += tx;
		snprintf(name, sizeof(name), "port%u/rx_bytes", p);
		if (device_number(d, name, &rx))
			*carried += rx;
	}
}

static void put_memory(json_object *o, const struct device *d)
{
	uint64_t val;

	put(o, "memory_used_bytes", device_number(d, "memory/used", &val) ? json_object_new_uint64(val) : NULL);
	put(o, "memory_total_bytes", device_number(d, "memory/total", &val) ? json_object_new_uint64(val) : NULL);
}

static json_object *device_line(const struct device *d, const struct queue_seen *queues, int nr_queues)
{
	json_object *o = device_names(d);
	struct seen *s = seen_of(d->bdf);
	uint64_t v[HSL_CNT_NR] = { 0 }, carried, before = s->link_bytes;
	double at = now(), seconds = s->at ? at - s->at : 0, capacity;
	unsigned int depth = 0;

	s->fresh = true;
	put_file(o, "state", d, "state");
	if (!device_counters(d, v))
		seconds = 0;
	put_rate(o, "ops_per_second", &s->ops, v[HSL_CNT_OPS], seconds);
	put_rate(o, "bytes_per_second", &s->bytes, v[HSL_CNT_BYTES], seconds);
	put_rate(o, "faults_per_second", &s->faults, v[HSL_CNT_FAULTS], seconds);
	put_rate(o, "page_requests_per_second", &s->page_requests, v[HSL_CNT_PAGE_REQUESTS], seconds);
	put_file(o, "queues", d, "queues");
	for (int i = 0; i < nr_queues; i++)
		depth += queues[i].in_flight;
	put(o, "in_flight", nr_queues < 0 ? NULL : json_object_new_int64(depth));
	link_use(d, &capacity, &carried);
	put_rate(o, "link_bytes_per_second", &s->link_bytes, carried, seconds);
	/* Both directions count, and each can carry that much. */
	put(o, "link_use_percent", capacity && seconds > 0 && carried >= before ?
	    json_object_new_double((carried - before) / seconds / (2 * capacity) * 100) : NULL);
	put_memory(o, d);
	s->at = at;
	return o;
}

static json_object *process_line(json_object *p, const struct queue_seen *queues, int nr_queues)
{
	json_object *o = json_object_new_object();
	unsigned int depth = 0;
	struct seen *s;
	double at = now(), seconds;
	char key[64];

	snprintf(key, sizeof(key), "%s/%llu/%llu/%llu", get_text(p, "device"),
		 (unsigned long long)get_number(p, "context"),
		 (unsigned long long)get_number(p, "generation"), (unsigned long long)get_number(p, "pid"));
	s = seen_of(key);
	s->fresh = true;
	seconds = s->at ? at - s->at : 0;
	put_number(o, "pid", get_number(p, "pid"));
	put_text(o, "comm", get_text(p, "comm"));
	put_text(o, "device", get_text(p, "device"));
	put_number(o, "context", get_number(p, "context"));
	put_text(o, "sva", get_text(p, "sva"));
	put_rate(o, "ops_per_second", &s->ops, get_number(p, "ops"), seconds);
	put_rate(o, "bytes_per_second", &s->bytes, get_number(p, "bytes"), seconds);
	put_rate(o, "faults_per_second", &s->faults, get_number(p, "faults"), seconds);
	put_number(o, "queues", get_number(p, "queues"));
	for (int i = 0; i < nr_queues; i++)
		if (queues[i].context == get_number(p, "context"))
			depth += queues[i].in_flight;
	put(o, "in_flight", nr_queues < 0 ? NULL : json_object_new_int64(depth));
	put_number(o, "memory_device_bytes", get_number(p, "memory_device"));
	s->at = at;
	return o;
}

/* {devices: [...], processes: [...]} */
static json_object *gather(void)
{
	static struct queue_seen queues[MAX_QUEUES_SEEN];
	json_object *top = json_object_new_object(), *ds = json_object_new_array(), *ps = json_object_new_array();
	json_object *all = processes();
	struct device *d;

	for_each_chosen(d) {
		int n;

		/* Gone, or its driver: what is left of it is in the list. */
		if (!d->name[0] || !file_exists("/sys/class/hsl/%s", d->name))
			continue;
		n = device_queues(d, queues);
		json_object_array_add(ds, device_line(d, queues, n));
		for (size_t i = 0; i < json_object_array_length(all); i++) {
			json_object *p = json_object_array_get_idx(all, i);

			if (!strcmp(get_text(p, "device"), d->name) && strcmp(get_text(p, "state"), "dead"))
				json_object_array_add(ps, process_line(p, queues, n));
		}
	}
	json_object_put(all);
	forget_gone();
	put(top, "devices", ds);
	put(top, "processes", ps);
	return top;
}

static const char *sort_key = "ops_per_second";

static int by_sort_key(const void *a, const void *b)
{
	json_object *const *x = a, *const *y = b, *p = NULL, *q = NULL;
	double d;

	json_object_object_get_ex(*x, sort_key, &p);
	json_object_object_get_ex(*y, sort_key, &q);
	d = json_object_get_double(q) - json_object_get_double(p);
	return d > 0 ? 1 : d < 0 ? -1 : 0;
}

/* As many lines as the screen has; columns that do not fit are cut off at the right. */
static int draw_table(int y, const struct column *columns, json_object *rows)
{
	char cell[64];
	int width[16], n = 0;

	for (const struct column *c = columns; c->key; c++, n++) {
		width[n] = strlen(c->title);
		for (size_t i = 0; i < json_object_array_length(rows); i++) {
			json_object *val;

			json_object_object_get_ex(json_object_array_get_idx(rows, i), c->key, &val);
			cell_text(cell, sizeof(cell), val, c->kind);
			if ((int)strlen(cell) > width[n])
				width[n] = strlen(cell);
		}
	}
	for (int i = -1; i < (int)json_object_array_length(rows) && y < LINES; i++, y++) {
		int x = 0;

		if (i < 0)
			attron(A_REVERSE);
		for (int k = 0; k < n && x < COLS; k++) {
			const struct column *c = &columns[k];
			json_object *val = NULL;

			if (i >= 0) {
				json_object_object_get_ex(json_object_array_get_idx(rows, i), c->key, &val);
				cell_text(cell, sizeof(cell), val, c->kind);
			} else {
				snprintf(cell, sizeof(cell), "%s", c->title);
			}
			/* Where it ends is where the screen ends, not in the next line. */
			mvprintw(y, x, "%.*s", COLS - x, "");
			if (x + width[k] <= COLS)
				mvprintw(y, x, c->kind == TEXT ? "%-*s " : "%*s ", width[k], cell);
			x += width[k] + 1;
		}
		attroff(A_REVERSE);
	}
	return y;
}

static void draw(json_object *top, const struct arguments *a, bool paused)
{
	json_object *rows;
	char stamp[32];
	time_t t = time(NULL);
	int y;

	strftime(stamp, sizeof(stamp), "%H:%M:%S", localtime(&t));
	erase();
	mvprintw(0, 0, "%.*s", COLS, "");
	printw("hslctl top  %s  every %g s  sorted by %s%s", stamp, a->delay, sort_key, paused ? "  (paused)" : "");
	json_object_object_get_ex(top, "devices", &rows);
	y = draw_table(2, device_columns, rows) + 1;
	json_object_object_get_ex(top, "processes", &rows);
	json_object_array_sort(rows, by_sort_key);
	draw_table(y, process_columns, rows);
	if (LINES > 4)
		mvprintw(LINES - 1, 0, "%.*s", COLS - 1, "q quit  o order  space pause");
	refresh();
}

static void next_order(void)
{
	static const char *const keys[] = { "ops_per_second", "bytes_per_second", "faults_per_second", "in_flight",
					    "memory_device_bytes" };
	size_t i = 0;

	while (strcmp(keys[i], sort_key))
		i++;
	sort_key = keys[(i + 1) % ARRAY_SIZE(keys)];
}

static int on_screen(const struct arguments *a)
{
	json_object *top = gather();
	bool paused = false;
	double next = now() + 0.3;		/* rates soon, then at leisure */
	unsigned long n = 0;
	int key;

	setlocale(LC_ALL, "");
	if (!isatty(STDOUT_FILENO))
		fail("top needs a terminal; --batch prints without one");
	if (!isatty(STDIN_FILENO) || !getenv("TERM") || !newterm(NULL, stdout, stdin) || !tigetstr("cup")) {
		if (stdscr)
			endwin();
		fail("the terminal '%s' has no cursor that moves: set TERM, say to vt100, or use --batch",
		     getenv("TERM") ? getenv("TERM") : "");
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	for (;;) {
		draw(top, a, paused);
		timeout(next > now() ? (int)((next - now()) * 1000) + 1 : 0);
		key = getch();
		if (key == 'q' || key == 'Q')
			break;
		if (key == 'o')
			next_order();
		else if (key == ' ')
			paused = !paused;
		if (now() < next)
			continue;
		next = now() + a->delay;
		if (paused)
			continue;
		json_object_put(top);
		top = gather();
		if (a->count && ++n == a->count)
			break;
	}
	endwin();
	json_object_put(top);
	return 0;
}

static void sleep_for(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds };

	t.tv_nsec = (long)((seconds - t.tv_sec) * 1e9);
	nanosleep(&t, NULL);
}

static int in_batch(const struct arguments *a)
{
	json_object_put(gather());
	for (unsigned long n = 0; !a->count || n < a->count; n++) {
		json_object *top, *rows;

		sleep_for(a->delay);
		top = gather();
		if (options.json) {
			json_line(top);
			continue;
		}
		json_object_object_get_ex(top, "devices", &rows);
		table_show(device_columns, rows);
		json_object_object_get_ex(top, "processes", &rows);
		json_object_array_sort(rows, by_sort_key);
		if (json_object_array_length(rows))
			putchar('\n');
		table_show(process_columns, rows);
		putchar('\n');
		json_object_put(top);
	}
	return 0;
}

int cmd_top(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "delay", 'd', "SECONDS", 0, "Between one look and the next (1)", 0 },
		{ "count", 'n', "N", 0, "End after N looks", 0 },
		{ "batch", 'b', NULL, 0, "Print instead of using the screen; --json: an object a line", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = parse,
		.args_doc = "[DEVICE...]",
		.doc = "Show HSL devices and the processes that use them at work: operations, bytes, faults, depth of queues, use of links. Keys: q quits, o sorts by something else, space pauses.",
		.children = common_options,
	};
	struct arguments a = { .delay = 1 };

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	need_live_machine("top");
	devices_choose(&a.words);
	if (!nr_devices)
		fail("no HSL device");
	return a.batch || options.json ? in_batch(&a) : on_screen(&a);
}
