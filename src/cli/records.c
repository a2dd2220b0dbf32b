/* dynode get, put, delete: one key. */
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"

enum {
    VALUE_BYTES = 1048576,
    SHOWN_BYTES = 4096, /* of a value, to people: a terminal is no place for a picture */
};

/* Options of one key's commands that are not the letters of CLI_SHORT. */
enum {
    OPTION_R = 1100,
    OPTION_W,
    OPTION_LEVEL,
    OPTION_STRICT,
    OPTION_SLOPPY,
    OPTION_HEX,
    OPTION_RAW,
    OPTION_BLIND,
    OPTION_CONTEXT,
    OPTION_IF_ABSENT,
    OPTION_IF_CONTEXT,
    OPTION_TTL,
    OPTION_FOR_EVER,
    OPTION_FILE,
};

struct record_options {
    struct cli cli;
    struct dynode_operation operation;
    bool hex, raw, blind, context_given;
    const char *file;
};

static const struct option long_options[] = {
    CLI_LONG,
    {"r", required_argument, NULL, OPTION_R},
    {"w", required_argument, NULL, OPTION_W},
    {"level", required_argument, NULL, OPTION_LEVEL},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"sloppy", no_argument, NULL, OPTION_SLOPPY},
    {"hex-key", no_argument, NULL, OPTION_HEX},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"blind", no_argument, NULL, OPTION_BLIND},
    {"context", required_argument, NULL, OPTION_CONTEXT},
    {"if-absent", no_argument, NULL, OPTION_IF_ABSENT},
    {"if-context", required_argument, NULL, OPTION_IF_CONTEXT},
    {"ttl", required_argument, NULL, OPTION_TTL},
    {"for-ever", no_argument, NULL, OPTION_FOR_EVER},
    {"file", required_argument, NULL, OPTION_FILE},
    {NULL, 0, NULL, 0},
};

static enum dynode_level level_of(const struct cli *cli, const char *text)
{
    if (strcasecmp(text, "one") == 0) return DYNODE_LEVEL_ONE;
    if (strcasecmp(text, "quorum") == 0) return DYNODE_LEVEL_QUORUM;
    if (strcasecmp(text, "all") == 0) return DYNODE_LEVEL_ALL;
    cli_usage(cli, "--level must be one, quorum or all, not \"%s\"", text);
}

static void take_quorum(struct record_options *o, enum dynode_quorum quorum)
{
    if (o->operation.quorum != DYNODE_QUORUM_DEFAULT && o->operation.quorum != quorum)
        cli_usage(&o->cli, "give --strict or --sloppy, not both");
    o->operation.quorum = quorum;
}

static void take_context(struct record_options *o, const char *option)
{
    if (o->context_given) cli_usage(&o->cli, "give one context only");
    o->operation.context = cli_hex(&o->cli, option, optarg);
    if (o->operation.context.size == 0)
        cli_usage(&o->cli, "%s is empty: give what \"dynode get\" printed", option);
    o->context_given = true;
}

static void take_precondition(struct record_options *o, enum dynode_precondition precondition)
{
    if (o->operation.precondition != DYNODE_ALWAYS && o->operation.precondition != precondition)
        cli_usage(&o->cli, "give --if-absent or --if-context, not both");
    o->operation.precondition = precondition;
}

static void take(struct record_options *o, int option)
{
    struct dynode_operation *operation = &o->operation;
    const struct cli *cli = &o->cli;
    bool read = operation->kind == DYNODE_GET;
    bool put = operation->kind == DYNODE_PUT;
    if (operation->kind == DYNODE_DELETE && option == OPTION_IF_ABSENT)
        cli_usage(cli, "--if-absent would delete what is not there: it is for put; --if-context deletes only "
                       "what you have seen");
    bool wrong = (read && option >= OPTION_BLIND && option <= OPTION_FILE) || (read && option == OPTION_W) ||
                 (!read && (option == OPTION_R || option == OPTION_RAW)) ||
                 (!put && option >= OPTION_TTL && option <= OPTION_FILE);
    if (wrong) cli_usage(cli, "that option does not belong to %s", cli->command);
    switch (option) {
    case OPTION_R:
        operation->replicas = cli_number(cli, "--r", optarg, 1, DYNODE_PREFERENCE_MAX);
        break;
    case OPTION_W:
        operation->replicas = cli_number(cli, "--w", optarg, 1, DYNODE_PREFERENCE_MAX);
        break;
    case OPTION_LEVEL:
        operation->level = level_of(cli, optarg);
        break;
    case OPTION_STRICT:
        take_quorum(o, DYNODE_QUORUM_STRICT);
        break;
    case OPTION_SLOPPY:
        take_quorum(o, DYNODE_QUORUM_SLOPPY);
        break;
    case OPTION_HEX:
        o->hex = true;
        break;
    case OPTION_RAW:
        o->raw = true;
        break;
    case OPTION_BLIND:
        o->blind = true;
        break;
    case OPTION_CONTEXT:
        take_context(o, "--context");
        break;
    case OPTION_IF_ABSENT:
        take_precondition(o, DYNODE_IF_ABSENT);
        break;
    case OPTION_IF_CONTEXT:
        take_precondition(o, DYNODE_IF_CONTEXT);
        take_context(o, "--if-context");
        break;
    case OPTION_TTL:
        operation->ttl_ms = cli_time_ms(cli, "--ttl", optarg);
        if (operation->ttl_ms == 0) cli_usage(cli, "--ttl must be at least 1ms; --for-ever means never");
        break;
    case OPTION_FOR_EVER:
        operation->for_ever = true;
        break;
    case OPTION_FILE:
        o->file = optarg;
        break;
    default:
        cli_option(&o->cli, option);
    }
}

/* Options, then TABLE and KEY. What is left begins at optind. */
static void parse(struct record_options *o, int argc, char **argv)
{
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1) take(o, option);
    if (argc - optind < 2) cli_usage(&o->cli, "a TABLE and a KEY are needed");
    if (o->operation.replicas != 0 && o->operation.level != DYNODE_LEVEL_TABLE)
        cli_usage(&o->cli, "give either a number of replicas or a --level, not both");
    o->operation.table = argv[optind++];
    o->operation.key = cli_key(&o->cli, argv[optind++], o->hex);
    if (o->blind && o->context_given)
        cli_usage(&o->cli, "--blind writes without a context: give one or the other");
}

static void print_time(const char *label, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[64];
    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) == 0)
        return;
    printf("%-9s %s.%03u UTC\n", label, text, (unsigned)(ms % 1000));
}

static void print_hex(const char *label, struct dynode_bytes bytes)
{
    printf("%-9s ", label);
    for (size_t i = 0; i < bytes.size; i++) printf("%02x", ((const uint8_t *)bytes.data)[i]);
    putchar('\n');
}

static json_t *json_of(const struct dynode_result *result)
{
    json_t *object = cli_json_result(result);
    json_t *siblings = json_array();
    for (size_t i = 0; i < result->sibling_count; i++) {
        json_t *sibling = json_object();
        cli_json_bytes(sibling, "value", result->siblings[i].value);
        json_object_set_new(sibling, "written_ms", json_integer((json_int_t)result->siblings[i].written_ms));
        if (result->siblings[i].expires_ms != 0)
            json_object_set_new(sibling, "expires_ms",
                                json_integer((json_int_t)result->siblings[i].expires_ms));
        json_array_append_new(siblings, sibling);
    }
    json_object_set_new(object, "siblings", siblings);
    json_t *context = json_object();
    cli_json_bytes(context, "context", result->context);
    json_object_set(object, "context", json_object_get(context, "context_hex"));
    json_decref(context);
    return object;
}

static void print_siblings(const struct dynode_result *result)
{
    if (result->sibling_count > 1)
        printf("%zu siblings, written concurrently. To resolve them, write with the context below.\n",
               result->sibling_count);
    for (size_t i = 0; i < result->sibling_count; i++) {
        const struct dynode_sibling *sibling = &result->siblings[i];
        if (result->sibling_count > 1) printf("\nsibling %zu of %zu\n", i + 1, result->sibling_count);
        struct dynode_bytes shown = sibling->value;
        if (shown.size > SHOWN_BYTES) shown.size = SHOWN_BYTES;
        printf("%-9s ", "value");
        cli_print_text(stdout, shown, "\n          ");
        printf(shown.size == 0 ? "(empty)\n" : "\n");
        if (shown.size < sibling->value.size)
            printf("%-9s the first %zu of %zu bytes are shown; --raw and --json give all\n", "", shown.size,
                   sibling->value.size);
        print_time("written", sibling->written_ms);
        if (sibling->expires_ms != 0) print_time("expires", sibling->expires_ms);
    }
    if (result->sibling_count > 1) putchar('\n');
}

static int print_read(const struct record_options *o, const struct dynode_result *result)
{
    if (result->status != DYNODE_OK && (result->status != DYNODE_NOT_FOUND || !o->cli.json))
        return cli_report(&o->cli, result);
    if (o->cli.json) {
        cli_print_json(json_of(result));
    } else if (o->raw) {
        if (result->sibling_count != 1) {
            fprintf(stderr,
                    "dynode get: the key has %zu siblings, so there are no bytes that are the value: look at "
                    "them "
                    "without --raw, and resolve them with \"dynode put --context\"\n",
                    result->sibling_count);
            return EXIT_CONFLICT;
        }
        fwrite(result->siblings[0].value.data, 1, result->siblings[0].value.size, stdout);
    } else {
        print_siblings(result);
        print_hex("context", result->context);
    }
    return (int)cli_exit_of(result->status);
}

#define QUORUM_HELP                                                                                          \
    "      --strict            only the key's home nodes count\n"                                            \
    "      --sloppy            other nodes stand in for homes that are away (this is the default)\n"

#define READ_STATUS                                                                                          \
    "\nExit status: 0 read, 1 no such key, 2 wrong usage or an invalid request, 3 unavailable or timeout, "  \
    "4 "                                                                                                     \
    "--raw met\n"                                                                                            \
    "siblings.\n"
#define WRITE_STATUS                                                                                         \
    "\nExit status: 0 written, 2 wrong usage or an invalid request, 3 unavailable or timeout (it says "      \
    "whether "                                                                                               \
    "it may\n"                                                                                               \
    "have been written all the same), 4 a precondition does not hold, or the key has too many siblings.\n"

int command_get(int argc, char **argv)
{
    static const char help[] =
        "usage: dynode get [OPTIONS] TABLE KEY\n\n"
        "Read a key. A key of a `siblings` table may have several values, written concurrently: all are "
        "shown,\n"
        "and the context to supersede exactly them with.\n\n"
        "  dynode get users ada                 for people: the first 4,096 bytes of each value\n"
        "  dynode get users ada --raw >file     exactly the bytes; exit status 4 if there are siblings\n"
        "  dynode get users ada --json          for programs: each value as text (if it is UTF-8) and as "
        "hex\n"
        "  dynode get users ada --level all     wait for N answers\n"
        "  dynode get blobs 00ff17 --hex-key    a key that is not text\n\n"
        "      --r NUMBER          replicas that must agree, instead of the table's R\n"
        "      --level LEVEL       instead of a NUMBER: one, quorum (more than half of N) or all "
        "(N)\n" QUORUM_HELP "                          With --level all a home that is away is replaced only "
                            "by a node that keeps\n"
        "                          a write of the key for it; where none does, the answer is UNAVAILABLE.\n"
        "                          --strict --level all: every home itself has answered\n"
        "      --hex-key           KEY is hexadecimal\n"
        "      --raw               exactly the bytes of the value\n" CLI_HELP READ_STATUS;
    struct record_options o = {.cli = {.command = "get", .help = help}, .operation.kind = DYNODE_GET};
    parse(&o, argc, argv);
    if (optind < argc) cli_usage(&o.cli, "\"%s\" is one argument too many", argv[optind]);
    if (o.raw && o.cli.json) cli_usage(&o.cli, "give --raw or --json, not both");
    struct dynode_client *client = cli_open(&o.cli, true);
    struct dynode_reply *reply = cli_call(&o.cli, client, &o.operation);
    int status = print_read(&o, &reply->results[0]);
    dynode_reply_free(reply);
    dynode_close(client);
    return status;
}

static int print_written(const struct record_options *o, const struct dynode_result *result)
{
    bool siblings = result->status == DYNODE_CONFLICT || result->status == DYNODE_TOO_MANY_SIBLINGS;
    if (o->cli.json) {
        cli_print_json(json_of(result));
    } else if (result->status != DYNODE_OK) {
        cli_report(&o->cli, result);
        if (siblings) {
            print_siblings(result);
            if (result->context.size > 0) print_hex("context", result->context);
        }
    } else {
        if (result->replica_count == 0)
            puts("ok");
        else
            printf("ok, on %zu %s%s\n", result->replica_count,
                   result->replica_count == 1 ? "replica" : "replicas",
                   result->stand_in_count > 0 ? ", some of them on nodes that stand in for its homes" : "");
        if (result->sibling_count > 1) print_siblings(result);
        if (result->context.size > 0) print_hex("context", result->context);
    }
    return (int)cli_exit_of(result->status);
}

/* Read the context first, unless one was given or none is wanted; then write. */
static int write_record(struct record_options *o)
{
    struct dynode_client *client = cli_open(&o->cli, true);
    struct dynode_reply *read = NULL;
    if (!o->blind && !o->context_given && o->operation.precondition == DYNODE_ALWAYS) {
        struct dynode_operation get = {.kind = DYNODE_GET,
                                       .table = o->operation.table,
                                       .key = o->operation.key,
                                       .context_only = true,
                                       .quorum = o->operation.quorum};
        read = cli_call(&o->cli, client, &get);
        const struct dynode_result *result = &read->results[0];
        if (result->status != DYNODE_OK && result->status != DYNODE_NOT_FOUND) {
            int status = cli_report(&o->cli, result);
            if (!o->cli.json && status == EXIT_UNAVAILABLE)
                fputs("The context could not be read, so nothing was written; --blind writes without one.\n",
                      stderr);
            dynode_reply_free(read);
            dynode_close(client);
            return status;
        }
        o->operation.context = result->context;
    }
    struct dynode_reply *reply = cli_call(&o->cli, client, &o->operation);
    int status = print_written(o, &reply->results[0]);
    dynode_reply_free(reply);
    dynode_reply_free(read);
    dynode_close(client);
    return status;
}

#define WRITE_HELP                                                                                           \
    "      --blind             do not read a context first\n"                                                \
    "      --context HEX       supersede exactly what that read returned, as get prints it, instead of\n"    \
    "                          what is there\n"                                                              \
    "      --if-context HEX    only if the stored version is exactly that one; otherwise exit status 4\n"    \
    "                          (it is --strict, and needs a majority of the key's homes at least)\n"         \
    "      --w NUMBER          replicas that must have it on disk, instead of the table's W\n"               \
    "      --level LEVEL       instead of a NUMBER: one, quorum (more than half of N) or all "               \
    "(N)\n" QUORUM_HELP "      --hex-key           KEY is hexadecimal\n"

int command_put(int argc, char **argv)
{
    static const char help[] =
        "usage: dynode put [OPTIONS] TABLE KEY [VALUE]\n\n"
        "Write a key. Reads its context first, so that the value supersedes whatever is there; with --blind "
        "it\n"
        "does not, and in a `siblings` table the value then stands beside what is there. Without VALUE, or "
        "with\n"
        "\"-\", the value is read from standard input. An empty value is a value.\n\n"
        "  dynode put users ada \"Ada Lovelace\"\n"
        "  dynode put users ada --file portrait.png\n"
        "  date | dynode put log now --ttl 1h\n"
        "  dynode put users ada \"A. L.\" --context 0a1f...     merge siblings: the context of the get that "
        "showed them\n"
        "  dynode put locks door me --if-absent --ttl 30s     exit status 4 if somebody has it\n\n"
        "      --file PATH         what the file holds (at most 1 MiB), instead of VALUE\n"
        "      --ttl TIME          expires so long after the write: 500ms, 30s, 5m, 2h, 7d (default: as the\n"
        "                          table says)\n"
        "      --for-ever          never expires, whatever the table says\n"
        "      --if-absent         only if no value is there; otherwise exit status 4; as strict as\n"
        "                          --if-context\n" WRITE_HELP CLI_HELP WRITE_STATUS;
    struct record_options o = {.cli = {.command = "put", .help = help}, .operation.kind = DYNODE_PUT};
    parse(&o, argc, argv);
    if (o.operation.for_ever && o.operation.ttl_ms != 0)
        cli_usage(&o.cli, "give --ttl or --for-ever, not both");
    const char *value = optind < argc ? argv[optind++] : NULL;
    if (optind < argc)
        cli_usage(&o.cli, "\"%s\" is one argument too many: quote a value with spaces", argv[optind]);
    if (value != NULL && o.file != NULL) cli_usage(&o.cli, "give a VALUE or a --file, not both");
    bool dash = value != NULL && strcmp(value, "-") == 0;
    if (value != NULL && !dash)
        o.operation.value = dynode_string(value);
    else
        o.operation.value = cli_read_file(&o.cli, o.file != NULL ? o.file : "-", VALUE_BYTES);
    return write_record(&o);
}

int command_delete(int argc, char **argv)
{
    static const char help[] = "usage: dynode delete [OPTIONS] TABLE KEY\n\n"
                               "Delete a key: all that is there now, also where it was already absent. Reads "
                               "the context first; with\n"
                               "--blind the coordinating node deletes what it holds itself.\n\n"
                               "  dynode delete users ada\n"
                               "  dynode delete users ada --if-context 0a1f...       only if nobody wrote "
                               "since that get\n\n" WRITE_HELP CLI_HELP WRITE_STATUS;
    struct record_options o = {.cli = {.command = "delete", .help = help}, .operation.kind = DYNODE_DELETE};
    parse(&o, argc, argv);
    if (optind < argc) cli_usage(&o.cli, "\"%s\" is one argument too many", argv[optind]);
    return write_record(&o);
}
