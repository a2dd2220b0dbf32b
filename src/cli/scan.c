/* dynode scan: the keys of a table, node by node. For people and tests: it reads every key there is. */
#include <stdlib.h>

#include "cli/cli.h"

enum { OPTION_COUNT = 1400, OPTION_COPIES, OPTION_NODE, OPTION_LIMIT, OPTION_RAW };

static const char help[] =
    "usage: dynode scan [OPTIONS] TABLE\n\n"
    "List the keys of a table, one node after the other, each key once: by the first of its homes. Keys "
    "written or\n"
    "deleted meanwhile may be there or not. A node that cannot be reached is named, and the exit status is "
    "3.\n\n"
    "  dynode scan users                    keys, one a line\n"
    "  dynode scan users --count            how many, by node and in all\n"
    "  dynode scan users --copies --count   how many copies each node holds: N times as many in all\n"
    "  dynode scan users --node n2          the keys whose first home is n2\n\n"
    "      --count             count, do not list\n"
    "      --copies            all keys that a node holds, so that each key comes N times\n"
    "      --node NAME         of this node only, by name or id (default: of all, one after the other)\n"
    "      --limit NUMBER      stop after so many keys (default: at the end)\n"
    "      --raw               exact bytes: a key, a NUL, a key, a NUL ...\n" CLI_HELP
    "\nExit status: 0 all of it, 2 wrong usage, or no such table or node, 3 a node is missing from what is "
    "shown.\n";

enum { PAGE_KEYS = 1000, COUNTED_KEYS = 10000 }; /* of a page */

struct scan {
    struct cli cli;
    struct dynode_client *client;
    struct dynode_operation operation;
    const char *node;
    uint64_t left; /* keys still wanted */
    bool raw;
    json_t *keys;
};

static void print_keys(struct scan *scan, const struct dynode_scan_page *page)
{
    for (size_t i = 0; i < page->key_count && scan->left > 0; i++, scan->left--) {
        if (scan->cli.json) {
            json_t *key = json_object();
            cli_json_bytes(key, "key", page->keys[i]);
            json_array_append_new(scan->keys, key);
        } else if (scan->raw) {
            fwrite(page->keys[i].data, 1, page->keys[i].size, stdout);
            putchar('\0');
        } else {
            cli_print_text(stdout, page->keys[i], "\\n");
            putchar('\n');
        }
    }
}

/* All pages of one node. *count is how many keys it has. */
static int scan_node(struct scan *scan, uint64_t node, uint64_t *count)
{
    struct dynode_reply *page = NULL;
    *count = 0;
    scan->operation.node = node;
    scan->operation.cursor = (struct dynode_bytes){NULL, 0};
    do {
        if (!scan->operation.count_only && scan->left < PAGE_KEYS)
            scan->operation.limit = (uint32_t)scan->left;
        struct dynode_reply *next = cli_call(&scan->cli, scan->client, &scan->operation);
        dynode_reply_free(page); /* the cursor was its */
        page = next;
        if (page->status != DYNODE_OK || page->results[0].scan == NULL) {
            struct cli people = scan->cli;
            people.json = false;
            int status = cli_report(&people, &page->results[0]);
            dynode_reply_free(page);
            return status == EXIT_OK ? EXIT_UNAVAILABLE : status;
        }
        const struct dynode_scan_page *keys = page->results[0].scan;
        *count += keys->count;
        if (!scan->operation.count_only) print_keys(scan, keys);
        scan->operation.cursor = keys->cursor;
    } while (scan->operation.cursor.size > 0 && scan->left > 0 && !ferror(stdout));
    dynode_reply_free(page);
    return EXIT_OK;
}

static int scan_nodes(struct scan *scan, const struct dynode_cluster *cluster)
{
    int status = EXIT_OK;
    uint64_t total = 0;
    bool found = false;
    json_t *nodes = json_array();
    bool table = scan->operation.count_only && !scan->cli.json;
    for (uint32_t i = 0; i < cluster->member_count && scan->left > 0; i++) {
        const struct dynode_member *member = &cluster->members[i];
        if (scan->node != NULL && strcmp(scan->node, member->name) != 0 &&
            strcmp(scan->node, cli_id(member->id)) != 0)
            continue;
        found = true;
        uint64_t count;
        int failed = scan_node(scan, member->id, &count);
        if (failed != EXIT_OK) {
            status = failed;
            if (failed == EXIT_USAGE) break; /* so would the others say */
            fprintf(stderr, "dynode scan: %s is missing from what is shown\n", member->name);
        }
        total += count;
        if (table)
            printf("%-*s %12llu%s\n", cli_name_width(cluster), member->name, (unsigned long long)count,
                   failed ? " (not all)" : "");
        json_array_append_new(nodes, json_pack("{s:s, s:s, s:I, s:b}", "name", member->name, "id",
                                               cli_id(member->id), "count", (json_int_t)count, "complete",
                                               failed == EXIT_OK));
    }
    if (!found && scan->left > 0) {
        json_decref(nodes);
        cli_fail(&scan->cli, EXIT_USAGE, "no member has the name or id \"%s\"; \"dynode status\" lists them",
                 scan->node != NULL ? scan->node : "");
    }
    if (table) printf("%-*s %12llu\n", cli_name_width(cluster), "in all", (unsigned long long)total);
    json_t *document = json_pack("{s:b, s:I, s:o}", "complete", status == EXIT_OK, "count", (json_int_t)total,
                                 "nodes", nodes);
    if (!scan->operation.count_only) json_object_set(document, "keys", scan->keys);
    if (scan->cli.json)
        cli_print_json(document);
    else
        json_decref(document);
    return status;
}

int command_scan(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLI_LONG,
        {"count", no_argument, NULL, OPTION_COUNT},
        {"copies", no_argument, NULL, OPTION_COPIES},
        {"node", required_argument, NULL, OPTION_NODE},
        {"limit", required_argument, NULL, OPTION_LIMIT},
        {"raw", no_argument, NULL, OPTION_RAW},
        {NULL, 0, NULL, 0},
    };
    struct scan scan = {.cli = {.command = "scan", .help = help},
                        .operation = {.kind = DYNODE_SCAN, .primary_only = true},
                        .left = UINT64_MAX};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1) {
        if (option == OPTION_COUNT)
            scan.operation.count_only = true;
        else if (option == OPTION_COPIES)
            scan.operation.primary_only = false;
        else if (option == OPTION_NODE)
            scan.node = optarg;
        else if (option == OPTION_LIMIT)
            scan.left = cli_number(&scan.cli, "--limit", optarg, 1, UINT32_MAX);
        else if (option == OPTION_RAW)
            scan.raw = true;
        else
            cli_option(&scan.cli, option);
    }
    if (argc - optind != 1) cli_usage(&scan.cli, "one TABLE is needed");
    if (scan.operation.count_only && (scan.left != UINT64_MAX || scan.raw))
        cli_usage(&scan.cli, "--count lists no keys: give it without --limit and --raw");
    if (scan.raw && scan.cli.json) cli_usage(&scan.cli, "give --raw or --json, not both");
    scan.operation.limit = scan.operation.count_only ? COUNTED_KEYS : PAGE_KEYS;
    scan.operation.table = argv[optind];
    scan.keys = json_array();
    scan.client = cli_open(&scan.cli, true);
    struct dynode_operation info = {.kind = DYNODE_CLUSTER_INFO};
    struct dynode_reply *reply = cli_call(&scan.cli, scan.client, &info);
    int status = reply->status != DYNODE_OK || reply->results[0].cluster == NULL
                     ? cli_report(&scan.cli, &reply->results[0])
                     : scan_nodes(&scan, reply->results[0].cluster);
    dynode_reply_free(reply);
    dynode_close(scan.client);
    json_decref(scan.keys);
    return status;
}
