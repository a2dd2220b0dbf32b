/* dynode table: create, alter, drop, list. */
#include "cli/cli.h"

enum { OPTION_RULE = 1200, OPTION_N, OPTION_R, OPTION_W, OPTION_TTL, OPTION_FOR_EVER };

static const char help[] =
    "usage: dynode table create [OPTIONS] NAME     make a table\n"
    "       dynode table alter [OPTIONS] NAME      change R, W or the time to live\n"
    "       dynode table drop NAME                 for good, with all its records\n"
    "       dynode table list                      all tables\n\n"
    "A table says how many nodes hold each key (N), how many a read waits for (R), how many a write waits "
    "for (W),\n"
    "and what becomes of concurrent writes: `siblings` keeps them all for the client to merge, `lww` keeps "
    "the last\n"
    "and loses the other. Rule and N are fixed at birth. With R + W > N a --strict read sees every "
    "--strict\n"
    "write that was acknowledged before; sloppy ones, the default, go on while homes are away, and may miss "
    "one\n"
    "another then.\n\n"
    "  dynode table create users                          N=3, R and W a majority of N, siblings\n"
    "  dynode table create pages --rule lww --n 3 --r 1 --w 2\n"
    "  dynode table create sessions --ttl 30m             records expire half an hour after their write\n"
    "  dynode table alter sessions --ttl 1h\n"
    "  dynode table alter sessions --for-ever             records of later writes do not expire\n\n"
    "      --rule RULE         siblings (default) or lww\n"
    "      --n NUMBER          replicas of each key, 1 to 15 (default 3, or all nodes if they are fewer)\n"
    "      --r NUMBER          replicas that a read waits for (default: more than half of N)\n"
    "      --w NUMBER          replicas that a write waits for (default: more than half of N)\n"
    "      --ttl TIME          time to live of records whose put says nothing: 30s, 5m, 2h, 7d (default:\n"
    "                          for ever)\n"
    "      --for-ever          alter: no time to live\n" CLI_HELP
    "\nExit status: 0 done, 2 wrong usage or no such table, 3 unavailable or timeout: not every node that "
    "can "
    "be\nreached has said that it knows, 4 there is a table of that name already.\n";

static const struct option long_options[] = {
    CLI_LONG,
    {"rule", required_argument, NULL, OPTION_RULE},
    {"n", required_argument, NULL, OPTION_N},
    {"r", required_argument, NULL, OPTION_R},
    {"w", required_argument, NULL, OPTION_W},
    {"ttl", required_argument, NULL, OPTION_TTL},
    {"for-ever", no_argument, NULL, OPTION_FOR_EVER},
    {NULL, 0, NULL, 0},
};

/* *rule: one was named. */
static void take(struct cli *cli, struct dynode_operation *operation, bool *rule, int option)
{
    switch (option) {
    case OPTION_RULE:
        *rule = true;
        if (strcmp(optarg, "siblings") == 0)
            operation->rule = DYNODE_RULE_SIBLINGS;
        else if (strcmp(optarg, "lww") == 0)
            operation->rule = DYNODE_RULE_LWW;
        else
            cli_usage(cli, "--rule must be siblings or lww, not \"%s\"", optarg);
        break;
    case OPTION_N:
        operation->table_n = cli_number(cli, "--n", optarg, 1, 15);
        break;
    case OPTION_R:
        operation->table_r = cli_number(cli, "--r", optarg, 1, 15);
        break;
    case OPTION_W:
        operation->table_w = cli_number(cli, "--w", optarg, 1, 15);
        break;
    case OPTION_TTL:
        operation->ttl_ms = cli_time_ms(cli, "--ttl", optarg);
        if (operation->ttl_ms == 0) cli_usage(cli, "--ttl must be at least 1ms; --for-ever means never");
        break;
    case OPTION_FOR_EVER:
        operation->for_ever = true;
        break;
    default:
        cli_option(cli, option);
    }
}

static const char *ttl_text(uint64_t ms, char *text, size_t size)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    if (ms == 0) return "for ever";
    for (size_t i = 0; i < 5; i++) {
        if (ms % units[i].ms != 0) continue;
        snprintf(text, size, "%llu%s", (unsigned long long)(ms / units[i].ms), units[i].unit);
        break;
    }
    return text;
}

static void print_tables(const struct dynode_result *result)
{
    if (result->table_count == 0) {
        puts("no tables: \"dynode table create NAME\" makes one");
        return;
    }
    printf("%-24s %-9s %3s %3s %3s  %s\n", "TABLE", "RULE", "N", "R", "W", "RECORDS LIVE");
    for (uint32_t i = 0; i < result->table_count; i++) {
        const struct dynode_table *table = &result->tables[i];
        char ttl[32];
        printf("%-24s %-9s %3u %3u %3u  %s\n", table->name,
               table->rule == DYNODE_RULE_LWW ? "lww" : "siblings", table->n, table->r, table->w,
               ttl_text(table->ttl_ms, ttl, sizeof(ttl)));
    }
}

static json_t *json_of(const struct dynode_result *result)
{
    json_t *object = cli_json_result(result);
    if (result->tables == NULL) return object;
    json_t *tables = json_array();
    for (uint32_t i = 0; i < result->table_count; i++) {
        const struct dynode_table *table = &result->tables[i];
        json_array_append_new(tables,
                              json_pack("{s:s, s:s, s:i, s:i, s:i, s:I, s:s}", "name", table->name, "rule",
                                        table->rule == DYNODE_RULE_LWW ? "lww" : "siblings", "n",
                                        (int)table->n, "r", (int)table->r, "w", (int)table->w, "ttl_ms",
                                        (json_int_t)table->ttl_ms, "tag", cli_id(table->tag)));
    }
    json_object_set_new(object, "tables", tables);
    return object;
}

int command_table(int argc, char **argv)
{
    static const struct {
        const char *verb;
        enum dynode_kind kind;
    } verbs[] = {{"create", DYNODE_CREATE_TABLE},
                 {"alter", DYNODE_ALTER_TABLE},
                 {"drop", DYNODE_DROP_TABLE},
                 {"list", DYNODE_LIST_TABLES}};
    struct cli cli = {.command = "table", .help = help};
    struct dynode_operation operation = {0};
    bool rule = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1)
        take(&cli, &operation, &rule, option);
    if (optind == argc) cli_usage(&cli, "create, alter, drop or list?");
    size_t verb = 0;
    while (verb < 4 && strcmp(argv[optind], verbs[verb].verb) != 0) verb++;
    if (verb == 4) cli_usage(&cli, "it must be create, alter, drop or list, not \"%s\"", argv[optind]);
    optind++;
    operation.kind = verbs[verb].kind;
    bool named = operation.kind != DYNODE_LIST_TABLES;
    if (named && optind == argc) cli_usage(&cli, "which table?");
    if (named) operation.table = argv[optind++];
    if (optind < argc) cli_usage(&cli, "\"%s\" is one argument too many", argv[optind]);
    bool alter = operation.kind == DYNODE_ALTER_TABLE;
    if (alter && (operation.table_n != 0 || rule))
        cli_usage(&cli, "N and rule are fixed when a table is made");
    if (alter && operation.table_r == 0 && operation.table_w == 0 && operation.ttl_ms == 0 &&
        !operation.for_ever)
        cli_usage(&cli, "nothing is to be altered: give --r, --w, --ttl or --for-ever");
    if (operation.ttl_ms != 0 && operation.for_ever) cli_usage(&cli, "give --ttl or --for-ever, not both");

    struct dynode_client *client = cli_open(&cli, true);
    struct dynode_reply *reply = cli_call(&cli, client, &operation);
    const struct dynode_result *result = &reply->results[0];
    int status = (int)cli_exit_of(result->status);
    if (cli.json)
        cli_print_json(json_of(result));
    else if (result->status != DYNODE_OK)
        cli_report(&cli, result);
    else if (!named || result->table_count > 0)
        print_tables(result);
    else
        printf("ok\n");
    dynode_reply_free(reply);
    dynode_close(client);
    return status;
}
