/* What the commands of `dynode` share: options, addresses, output for people and for programs, and how they
 * end.
 *
 * A command is a function of its own argc and argv (argv[0] is its name) that returns the exit status. Adding
 * one is a line in the table of main.c. */
#pragma once

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "client/dynode.h"

enum cli_exit {
    EXIT_OK = 0,
    EXIT_NOT_FOUND = 1,   /* no such key */
    EXIT_USAGE = 2,       /* arguments, configuration, or a request that the node calls invalid */
    EXIT_UNAVAILABLE = 3, /* unavailable, timeout, overload, a defect, or output that cannot be written */
    EXIT_CONFLICT = 4,    /* a precondition that does not hold, or siblings where one value was asked for */
};

int command_serve(int argc, char **argv);
int command_get(int argc, char **argv);
int command_put(int argc, char **argv);
int command_delete(int argc, char **argv);
int command_scan(int argc, char **argv);
int command_table(int argc, char **argv);
int command_status(int argc, char **argv);
int command_accept_loss(int argc, char **argv);
int command_ring(int argc, char **argv);
int command_bench(int argc, char **argv);

/* Options that every client command takes. */
struct cli {
    const char *command;
    const char *help;
    const char *addresses; /* joined with commas; NULL: the environment's, or the default */
    uint32_t deadline_ms;
    bool json;
};

/* The short and long forms of those options, to be part of a command's own lists. */
#define CLI_SHORT "a:hj"
#define CLI_LONG                                                                                             \
    {"address", required_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'},                             \
        {"json", no_argument, NULL, 'j'},                                                                    \
    {                                                                                                        \
        "deadline", required_argument, NULL, 1000                                                            \
    }
/* Their lines of a help text. */
#define CLI_HELP                                                                                             \
    "  -a, --address ADDRESS   a node: tcp://HOST:PORT or unix:///PATH; several, by commas or by\n"          \
    "                          repeating it, are tried in turn (default: $DYNODE_ADDRESS, or\n"              \
    "                          tcp://127.0.0.1:7400)\n"                                                      \
    "      --deadline TIME     give up after so long: 500ms, 5s (default), at most 60s\n"                    \
    "  -j, --json              one JSON document, for programs\n"                                            \
    "  -h, --help              this text\n"

/* How wide a column for members' names, or zones, must be. */
int cli_name_width(const struct dynode_cluster *cluster);
int cli_zone_width(const struct dynode_cluster *cluster);

/* Take an option that getopt_long returned and the command does not know. Ends the process for --help and for
 * what nobody knows. */
void cli_option(struct cli *cli, int option);

/* End with a sentence on stderr: "dynode get: ...". */
_Noreturn void cli_fail(const struct cli *cli, enum cli_exit status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, of wrong usage: points to --help. */
_Noreturn void cli_usage(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Make a client. Ends the process when an address is wrong. @any_node: for one request. */
struct dynode_client *cli_open(const struct cli *cli, bool any_node);

/* One operation and its reply. */
struct dynode_reply *cli_call(const struct cli *cli, struct dynode_client *client,
                              const struct dynode_operation *operation);

enum cli_exit cli_exit_of(enum dynode_status status);

/* Say what went wrong: on stderr for people, as a document on stdout with --json. Returns the exit status. */
int cli_report(const struct cli *cli, const struct dynode_result *result);

/* {"status": ..., "message": ..., "applied": ..., "got": ..., "needed": ..., "replicas": [...]} without what
 * is empty. */
json_t *cli_json_result(const struct dynode_result *result);

/* Print @document, with a newline, and forget it. */
void cli_print_json(json_t *document);

/* "name" if the bytes are UTF-8, and always "name_hex". */
void cli_json_bytes(json_t *object, const char *name, struct dynode_bytes bytes);

/* Ids, hashes and tags are 16 hexadecimal digits everywhere. Static memory, four at a time. */
const char *cli_id(uint64_t id);
json_t *cli_json_id(uint64_t id);

/* For people: text as it is, control characters and what is no UTF-8 as \xNN, the end of a line as @new_line:
 * what comes after it must not look like a line of ours. */
void cli_print_text(FILE *to, struct dynode_bytes bytes, const char *new_line);

/* "1.5 GB", "12 KB". Static memory, four at a time. */
const char *cli_bytes(uint64_t bytes);

/* Parse or end the process with a sentence that names @option. */
uint32_t cli_number(const struct cli *cli, const char *option, const char *text, uint32_t least,
                    uint32_t most);
uint64_t cli_time_ms(const struct cli *cli, const char *option, const char *text); /* 500ms, 5s, 3m, 2h, 7d */
struct dynode_bytes cli_hex(const struct cli *cli, const char *option, const char *text); /* lives on */

/* A key from the command line: the argument's bytes, or with @hex what they stand for. */
struct dynode_bytes cli_key(const struct cli *cli, const char *text, bool hex);

/* All of a file, or of stdin for "-". Lives on. Ends the process if it cannot be read or is above @bytes_max.
 */
struct dynode_bytes cli_read_file(const struct cli *cli, const char *path, size_t bytes_max);
