/* dynode ring: where a key lives. */
#include "cli/cli.h"

enum { OPTION_HEX = 1300 };

static const char help[] =
    "usage: dynode ring [OPTIONS] TABLE KEY\n\n"
    "Show where a key lives: its hash, the vnode it falls into, and the vnode's "
    "preference list. The first N nodes\n"
    "are its homes; the others stand in for them, in that order. The shard is the "
    "core of that node that owns it.\n\n"
    "  dynode ring users ada\n\n"
    "      --hex-key           KEY is hexadecimal\n" CLI_HELP
    "\nExit status: 0 shown, 2 wrong usage or no such table, 3 unavailable or timeout.\n";

static void print_place(const struct dynode_cluster *cluster, const struct dynode_place *place)
{
    printf("%-9s %s\n%-9s %u of %u\n%-9s %s\n\n", "hash", cli_id(place->hash), "vnode", place->vnode,
           cluster->vnodes, "ring", cli_id(cluster->ring_version));
    int names = cli_name_width(cluster), zones = cli_zone_width(cluster);
    printf("%-2s %-9s %-*s %-16s %-*s %5s  %s\n", "", "ROLE", names, "NODE", "ID", zones, "ZONE", "SHARD",
           "ADDRESS");
    for (uint32_t i = 0; i < place->count; i++) {
        const struct dynode_member *node = place->nodes[i];
        char shard[12] = "?";
        if (place->shards[i] != 0) snprintf(shard, sizeof(shard), "%u", place->shards[i] - 1);
        printf("%-2u %-9s %-*s %-16s %-*s %5s  %s%s\n", i + 1, i < place->table->n ? "home" : "fallback",
               names, node->name, cli_id(node->id), zones, node->zone[0] == '\0' ? "-" : node->zone, shard,
               node->client_address, node->reachable ? "" : "  (unreachable)");
    }
}

static json_t *json_of(const struct dynode_cluster *cluster, const struct dynode_place *place)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < place->count; i++) {
        const struct dynode_member *node = place->nodes[i];
        json_array_append_new(nodes, json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:b}", "id", cli_id(node->id),
                                               "name", node->name, "zone", node->zone, "address",
                                               node->client_address, "shard", (int)place->shards[i] - 1,
                                               "home", i < place->table->n, "reachable", node->reachable));
    }
    return json_pack("{s:s, s:s, s:i, s:i, s:s, s:i, s:o}", "status", "OK", "hash", cli_id(place->hash),
                     "vnode", (int)place->vnode, "vnodes", (int)cluster->vnodes, "ring_version",
                     cli_id(cluster->ring_version), "n", (int)place->table->n, "preference_list", nodes);
}

int command_ring(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLI_LONG, {"hex-key", no_argument, NULL, OPTION_HEX}, {NULL, 0, NULL, 0}};
    struct cli cli = {.command = "ring", .help = help};
    bool hex = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1) {
        if (option == OPTION_HEX)
            hex = true;
        else
            cli_option(&cli, option);
    }
    if (argc - optind != 2) cli_usage(&cli, "a TABLE and a KEY are needed");
    const char *table = argv[optind];
    struct dynode_bytes key = cli_key(&cli, argv[optind + 1], hex);
    if (key.size < 1 || key.size > 1024) cli_usage(&cli, "a key has 1 to 1024 bytes");
    struct dynode_client *client = cli_open(&cli, true);
    struct dynode_operation operation = {.kind = DYNODE_CLUSTER_INFO};
    struct dynode_reply *reply = cli_call(&cli, client, &operation);
    const struct dynode_cluster *cluster = reply->results[0].cluster;
    struct dynode_result missing = {.status = DYNODE_NO_SUCH_TABLE, .message = table};
    struct dynode_place place;
    int status = EXIT_OK;
    if (reply->status != DYNODE_OK || cluster == NULL)
        status = cli_report(&cli, &reply->results[0]);
    else if (dynode_place_find(cluster, table, key, &place) != DYNODE_OK)
        status = cli_report(&cli, &missing);
    else if (cli.json)
        cli_print_json(json_of(cluster, &place));
    else
        print_place(cluster, &place);
    dynode_reply_free(reply);
    dynode_close(client);
    return status;
}
