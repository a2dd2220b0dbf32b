/* dynode-world: runs worlds from seeds, one after the other. sim/run world runs several of it and sums up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world/run.h"

enum { SETS_MAX = 128 };

struct arguments {
    uint64_t from, to, trace_from_ms;
    bool trace, quiet, draw;
    const char *sets[SETS_MAX];
    uint32_t set_count;
};

static const char usage[] =
    "usage: dynode-world [--seed S | --seeds A..B] [--set NAME=VALUE]... [--trace [FROM_MS]] [--quiet] "
    "[--options]\n"
    "\n"
    "Runs a whole cluster in one thread and in virtual time, once for each seed, and judges what its clients "
    "heard.\n"
    "For each seed it prints its options, then a line that begins with `ok` or `FAILED`, and then what was "
    "done,\n"
    "how often each fault took place, and what could be judged. The same seed and options give the same hash "
    "everywhere.\n"
    "\n"
    "  --set NAME=VALUE  an option by hand instead of from the seed; --options lists them\n"
    "  --trace [MS]      the trace, on stderr, from a moment of virtual time on\n"
    "  --quiet           without the options\n"
    "  --draw            nothing but all options of the seed\n"
    "\n"
    "Exit status: 0 if all seeds are good, 1 if one failed, 2 for wrong arguments.\n";

static bool number(const char *text, const char *end_with, uint64_t *out, const char **rest)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9') return false;
    *out = strtoull(text, &end, 10);
    *rest = end;
    return strncmp(end, end_with, strlen(end_with)) == 0 && (end_with[0] != 0 || *end == 0);
}

static bool parse_seeds(const char *text, struct arguments *out)
{
    const char *rest;
    return number(text, "..", &out->from, &rest) && number(rest + 2, "", &out->to, &rest) &&
           out->from <= out->to;
}

static void list_options(void)
{
    for (uint32_t i = 0; i < options_count; i++)
        printf("%-14s %s%s\n", options_list[i].name, options_list[i].fault ? "fault: " : "",
               options_list[i].text);
}

/* -1: go on. Otherwise the exit status. */
static int parse(int argc, char **argv, struct arguments *out)
{
    const char *rest;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool good = true;
        if (strcmp(name, "--seed") == 0) {
            good = number(value, "", &out->from, &rest);
            out->to = out->from;
            i++;
        } else if (strcmp(name, "--seeds") == 0) {
            good = value != NULL && parse_seeds(value, out);
            i++;
        } else if (strcmp(name, "--set") == 0) {
            good = value != NULL && out->set_count < SETS_MAX;
            if (good) out->sets[out->set_count++] = value;
            i++;
        } else if (strcmp(name, "--trace") == 0) {
            out->trace = true;
            if (number(value, "", &out->trace_from_ms, &rest)) i++;
        } else if (strcmp(name, "--quiet") == 0) {
            out->quiet = true;
        } else if (strcmp(name, "--draw") == 0) {
            out->draw = true;
        } else if (strcmp(name, "--options") == 0) {
            list_options();
            return 0;
        } else if (strcmp(name, "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        } else {
            good = false;
        }
        if (!good) {
            fprintf(stderr, "dynode-world: %s %s is wrong; see --help\n", name, value != NULL ? value : "");
            return 2;
        }
    }
    return -1;
}

static bool make_options(const struct arguments *arguments, uint64_t seed, struct options *out)
{
    char text[256];
    *out = options_draw(seed);
    for (uint32_t i = 0; i < arguments->set_count; i++) {
        const char *why = options_set(out, arguments->sets[i], text, sizeof(text));
        if (why != NULL) {
            fprintf(stderr, "dynode-world: --set %s: %s\n", arguments->sets[i], why);
            return false;
        }
    }
    const char *why = options_check(out);
    if (why != NULL) fprintf(stderr, "dynode-world: seed %" PRIu64 ": %s\n", seed, why);
    return why == NULL;
}

/* @all: those that are off too. */
static void print_options(const struct options *options, bool all)
{
    struct buffer text = {0};
    options_print(options, all, &text);
    printf("%s%.*s\n", all ? "" : "run ", (int)text.size, (const char *)text.data);
    buffer_fini(&text);
}

static void print_line(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void print_result(const struct options *options, const struct run_result *result)
{
    struct buffer changes = {0};
    options_print_changes(options, &changes);
    buffer_append(&changes, "", 1);
    if (result->fault[0] != 0)
        printf("FAILED seed=%" PRIu64 " %s\nrepeat: sim/run world --seed %" PRIu64 "%s\n", options->seed,
               result->fault, options->seed, (const char *)changes.data);
    printf("%s seed=%" PRIu64 " hash=%016" PRIx64 " virtual_ms=%" PRIu64 " operations=%" PRIu64
           " turns=%" PRIu64,
           result->fault[0] == 0 ? "ok" : "bad", options->seed, result->hash, result->virtual_ns / 1000000,
           result->operations, result->counts.turns);
    for (uint32_t i = 0; i < WORLD_FAULTS; i++)
        if (result->counts.faults[i] > 0)
            printf(" %s=%" PRIu64, world_fault_name((enum world_fault)i), result->counts.faults[i]);
    if (result->counts.reaped > 0) printf(" reaped=%" PRIu64, result->counts.reaped);
    if (result->core) printf(" judged-core=1");
    for (uint32_t i = 0; i < CLIENTS_JUDGED; i++)
        if (result->judged[i] > 0)
            printf(" judged-%s=%" PRIu64, clients_judged_name((enum clients_judged)i), result->judged[i]);
    printf("\n");
    buffer_fini(&changes);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.from = 1, .to = 1};
    setvbuf(stdout, NULL, _IOLBF, 0);
    int status = parse(argc, argv, &arguments);
    if (status >= 0) return status;
    status = 0;
    for (uint64_t seed = arguments.from;; seed++) {
        struct options options;
        struct run_result result;
        if (!make_options(&arguments, seed, &options)) return 2;
        if (arguments.quiet)
            printf("run seed=%" PRIu64 "\n", seed);
        else
            print_options(&options, arguments.draw);
        if (arguments.draw) return 0;
        run_world(&options, arguments.trace ? print_line : NULL, NULL, arguments.trace_from_ms * 1000000,
                  &result);
        print_result(&options, &result);
        if (result.fault[0] != 0) status = 1;
        if (seed == arguments.to) return status;
    }
}
