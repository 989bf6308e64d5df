/* SPDX-License-Identifier: MIT */
/*
 * What the commands of hslctl share.
 *
 * A command gathers what it knows in JSON objects, whose names its man page
 * promises. --json prints them; tables show the same objects to people.
 */
#ifndef HSLCTL_H
#define HSLCTL_H

#include <argp.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/hsl.h>
#include <pci/pci.h>

#define TOOL	"hslctl"
#include "../tool.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Exit codes, as hslctl(1) documents them; argp and getopt errors are EXIT_USAGE too. */
#define EXIT_USAGE	2

/* hslctl.c: a command and the options that all of them have */

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
};

extern struct options {
	bool json;
	const char *dump;	/* file in the format of lspci -xxxx, instead of this machine */
	const char *sysroot;	/* "" or the folder that has sys/, proc/ and dev/ of a machine */
} options;

extern const struct argp_child common_options[];

int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_inject(int argc, char **argv);
int cmd_link(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_monitor(int argc, char **argv);
int cmd_reset(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_topo(int argc, char **argv);
int cmd_trace(int argc, char **argv);

/* Of the arguments that are not options: devices, up to as many as a command can name */
#define MAX_WORDS	64
struct words {
	int nr;
	char *word[MAX_WORDS];
};

error_t take_word(struct words *w, char *arg, struct argp_state *state);
error_t only_words(int key, char *arg, struct argp_state *state);	/* for argp, with a struct words */

unsigned long number_option(const char *text, unsigned long low, unsigned long high, const char *option,
			    struct argp_state *state);
double seconds_option(const char *text, double low, const char *option, struct argp_state *state);
void need_live_machine(const char *what);
/* For an argp help_filter: ends with the list */
char *help_end(int key, const char *text, void (*list)(FILE *f));

/* file.c: files of this machine, or of that below --sysroot */

char *file_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *file_read(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool file_number(uint64_t *val, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool file_exists(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int file_write(const char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int file_list(char ***names, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void file_list_free(char **names, int nr);

/* device.c: the devices there are, whether a driver is bound or not */

struct pci_feature {
	bool there;
	bool enabled;
	unsigned int width;	/* PASID: bits */
};

struct device {
	char name[16];		/* hslN, or "": the driver is not bound */
	int index;		/* N, or -1 */
	char bdf[24];
	char driver[32];	/* or "" */
	struct pci_dev *pci;
	bool config;		/* the whole configuration space could be read */
	unsigned int dvsec;	/* where in configuration space it is, 0: unknown */
	uint16_t version;
	uint32_t caps;
	uint8_t ctrl_bar, db_bar, mem_bar, nr_ports;
	struct pci_feature pasid, ats, pri;
	bool chosen;
};

extern struct device *devices;
extern int nr_devices;

void devices_find(void);
void devices_choose(const struct words *w);
struct pci_dev *pci_function(const char *bdf);
struct device *device_named(const char *text);
struct device *device_bound(const char *text);
#define for_each_chosen(d)	for (d = devices; d < devices + nr_devices; d++) if (d->chosen)

char *device_read(const struct device *d, const char *name);
bool device_number(const struct device *d, const char *name, uint64_t *val);
int device_path(const struct device *d, char bdfs[][24], int max);
json_object *device_names(const struct device *d);
json_object *capability_names(uint32_t caps);
json_object *operation_names(uint64_t ops);

extern const char *const counter_names[HSL_CNT_NR];
bool device_counters(const struct device *d, uint64_t *values);

#define MAX_QUEUES_SEEN	HSL_MAX_QUEUES
struct queue_seen {
	unsigned int hwq, context, in_flight;
};

int device_queues(const struct device *d, struct queue_seen *queues);

/* process.c: who has the devices open, by fdinfo */

json_object *processes(void);

/* coredump.c: what the driver wrote of a device that hung */

int coredump_show(const char *name);

/* table.c: JSON for programs, tables for people */

enum kind {
	TEXT,
	NUMBER,
	FIGURE,		/* three significant digits */
	BYTES,		/* 1.5M */
	LIST,		/* of words */
};

struct column {
	const char *key;
	const char *title;
	enum kind kind;
};

/* Until the entry without a key; rows: array of objects. A column that no row has is left out. */
void table_show(const struct column *columns, json_object *rows);
void rows_show(const char *key, const struct column *columns, json_object *rows);	/* or JSON; and put them */
void json_show(json_object *o);		/* and put it */
void flush_or_end(void);		/* standard output */
void json_line(json_object *o);		/* likewise, in one line, at once */
void pairs_show(json_object *o);
void cell_text(char *buf, size_t len, json_object *val, enum kind kind);

char *text_clean(const char *text);
json_object *json_text(const char *text);
void put_text(json_object *o, const char *key, const char *text);	/* NULL: null */
void put_number(json_object *o, const char *key, uint64_t val);
void put_int(json_object *o, const char *key, int64_t val);
void put_real(json_object *o, const char *key, double val);
void put_bool(json_object *o, const char *key, bool val);
void put(json_object *o, const char *key, json_object *val);
void put_file(json_object *o, const char *key, const struct device *d, const char *name);
const char *get_text(json_object *o, const char *key);			/* "" if there is none */
uint64_t get_number(json_object *o, const char *key);

/* tracefs.c: a recording of tracepoints of its own, beside whatever else is recorded */

struct recording {
	int instance;		/* folder of tracefs */
	int pipe;		/* trace_pipe, not blocking */
	char path[128];
};

int recording_start(struct recording *r, const char *const *events, unsigned int kilobytes, const char **why);
void recording_stop(struct recording *r);	/* no new records; what there is can be read */
void recording_end(struct recording *r);

struct record {
	double seconds;		/* CLOCK_MONOTONIC */
	int pid;
	int cpu;
	char comm[32];
	char event[48];
	char text[512];		/* what the tracepoint printed */
};

bool record_parse(const char *line, struct record *rec);
unsigned long record_lost(const char *line);
bool record_number(const struct record *rec, const char *key, uint64_t *val);

#endif
