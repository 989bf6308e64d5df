// SPDX-License-Identifier: MIT
/* hslctl: one tool for HSL devices. This file finds the command; each has a file of its own. */
#include <string.h>

#include "hslctl.h"

struct options options = { .sysroot = "" };

const char *argp_program_version = "hslctl " HSLCTL_VERSION;

static const struct command commands[] = {
	{ "list", cmd_list, "the devices there are" },
	{ "info", cmd_info, "all that a device reports" },
	{ "topo", cmd_topo, "how devices are joined, and which way each reaches each other" },
	{ "doctor", cmd_doctor, "what keeps a device from working, and what to do about it" },
	{ "top", cmd_top, "devices and processes at work, on the screen" },
	{ "stat", cmd_stat, "counters, once or at intervals; processes" },
	{ "monitor", cmd_monitor, "faults, links, resets and alarms as they come" },
	{ "bench", cmd_bench, "bandwidth and latency, of verified data" },
	{ "link", cmd_link, "link ports: show, enable, disable, retrain" },
	{ "inject", cmd_inject, "damage a virtual machine's devices and links, from its host" },
	{ "reset", cmd_reset, "reset a device" },
	{ "dump", cmd_dump, "everything there is to know about a device, for a bug report" },
	{ "trace", cmd_trace, "record descriptors, faults and completions for Perfetto" },
};

/* The options of every command */
static const struct argp_option common[] = {
	{ "json", 'j', NULL, 0, "Print JSON; the names are in the man page", 10 },
	{ "dump", 'F', "FILE", 0, "Look at the devices in FILE, made by lspci -xxxx or hslctl dump --config", 10 },
	{ NULL, 'h', NULL, OPTION_HIDDEN, "", 10 },
	{ "sysroot", 'R', "DIR", 0, "Look at the machine whose sys/, proc/ and dev/ are in DIR", 10 },
	{ }
};

static error_t common_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'h':		/* argp has only -? */
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case 'j':
		options.json = true;
		return 0;
	case 'F':
		options.dump = arg;
		return 0;
	case 'R':
		options.sysroot = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp common_argp = { .options = common, .parser = common_option };
const struct argp_child common_options[] = { { &common_argp, 0, NULL, 0 }, { } };

error_t take_word(struct words *w, char *arg, struct argp_state *state)
{
	if (w->nr == MAX_WORDS)
		argp_error(state, "more than %d arguments", MAX_WORDS);
	w->word[w->nr++] = arg;
	return 0;
}

error_t only_words(int key, char *arg, struct argp_state *state)
{
	return key == ARGP_KEY_ARG ? take_word(state->input, arg, state) : ARGP_ERR_UNKNOWN;
}

unsigned long number_option(const char *text, unsigned long low, unsigned long high, const char *option,
			    struct argp_state *state)
{
	char *end;
	unsigned long val = strtoul(text, &end, 0);
	int shift = !strcasecmp(end, "k") ? 10 : !strcasecmp(end, "m") ? 20 : !strcasecmp(end, "g") ? 30 : 0;

	if (end == text || text[0] == '-' || (*end && !shift) || val > high >> shift || val << shift < low)
		argp_error(state, "%s: '%s' is not a number from %lu to %lu", option, text, low, high);
	return val << shift;
}

char *help_end(int key, const char *text, void (*list)(FILE *f))
{
	char *all;
	size_t len;
	FILE *f = key == ARGP_KEY_HELP_POST_DOC ? open_memstream(&all, &len) : NULL;

	if (!f)
		return (char *)text;
	list(f);
	fclose(f);
	return all;
}

#define A_DAY	86400.0

double seconds_option(const char *text, double low, const char *option, struct argp_state *state)
{
	char *end;
	double val = strtod(text, &end);

	if (end == text || *end || !(val >= low && val <= A_DAY))
		argp_error(state, "%s: '%s' is not a number of seconds from %g to %g", option, text, low, A_DAY);
	return val;
}

/* For what cannot be done to a recording. */
void need_live_machine(const char *what)
{
	if (options.dump || *options.sysroot)
		fail("%s works on this machine only, without --dump and --sysroot", what);
}

static const struct command *command_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void list_commands(FILE *f)
{
	fputs("Commands:\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\nDEVICE is the N of hslN, hslN itself, or a PCI address like 0000:01:00.0.\n"
	      "'hslctl COMMAND --help' and the man page hslctl-COMMAND(1) tell more.\n"
	      "Exit status: 0 all is well; 1 something failed or is not as it should be; 2 wrong usage.", f);
}

static char *main_help(int key, const char *text, void *input)
{
	(void)input;
	return help_end(key, text, list_commands);
}

/* Leaves everything from the command on to the command. */
static error_t main_option(int key, char *arg, struct argp_state *state)
{
	int *at = state->input;

	switch (key) {
	case 'L':
		for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
			puts(commands[i].name);
		exit(0);
	case ARGP_KEY_ARG:
		*at = state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_state_help(state, stderr, ARGP_HELP_STD_ERR & ~ARGP_HELP_EXIT_ERR);
		exit(EXIT_USAGE);
	}
	(void)arg;
	return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv)
{
	static const struct argp_option own[] = {
		{ "list-commands", 'L', NULL, OPTION_HIDDEN, "", 0 },
		{ }
	};
	static const struct argp argp = {
		.options = own,
		.parser = main_option,
		.args_doc = "COMMAND [ARGUMENT...]",
		.doc = "Find, examine, watch, measure and control HSL devices.\v-",
		.children = common_options,
		.help_filter = main_help,
	};
	const struct command *c;
	char name[64];
	int at = 0;

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &at);
	/* git's way to ask: hslctl help COMMAND */
	if (!strcmp(argv[at], "help")) {
		if (at + 1 == argc) {
			argp_help(&argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK, (char *)TOOL);
			return 0;
		}
		argv[at] = argv[at + 1];
		argv[at + 1] = "--help";
	}
	c = command_named(argv[at]);
	if (!c) {
		fprintf(stderr, TOOL ": '%s' is no command; hslctl --help lists them\n", argv[at]);
		return EXIT_USAGE;
	}
	snprintf(name, sizeof(name), TOOL " %s", c->name);
	argv[at] = name;
	at = c->run(argc - at, argv + at);
	flush_or_end();
	return at;
}
