/* dynode status: members, shards, vnodes, queue depths, sizes and rates. Rates are the difference of two
 * looks. */
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "cli/cli.h"

enum { OPTION_INTERVAL = 1500 };

/* What the columns of shards say: in the help, and beneath them. */
#define COLUMNS_HELP                                                                                         \
    "GET and PUT are what clients ask of this shard; READ and WRITE what it does as a replica.\n"            \
    "BUILT vnodes are compared with other homes all the time; UNEQUAL counts the times that two were, and\n" \
    "keys found DIFFERING are TAKEN from the other and GIVEN to it. AUDITS read everything through; so "     \
    "many\n"                                                                                                 \
    "objects were AUDITED, and what is found DAMAGED is fetched anew: MENDED. DYING keys are deleted, or "   \
    "will\n"                                                                                                 \
    "expire; when all homes have seen that, they go for good: REAPED. EQUAL: so long ago, or later, each "   \
    "copy\n"                                                                                                 \
    "of a vnode was found equal with every other home of it; `not 3`: three copies were not since the "      \
    "start."

static const char help[] =
    "usage: dynode status [OPTIONS]\n\n"
    "Ask every member how it is: who is there, how full its queues are, how much it stores and how busy it "
    "was during\n"
    "one interval. A member that does not answer is shown as such.\n\n"
    "  dynode status\n"
    "  dynode status --interval 10s         rates over ten seconds\n"
    "  dynode status --json                 every counter there is\n\n"
    "      --interval TIME     between the two looks that rates are made from (default 1s; 0s: no "
    "rates)\n" CLI_HELP "\nSTATE is `up`, `silent` (reached, but it did not answer), `down`, or `given up` "
                        "(dynode accept-loss). A "
    "shard is `not\nfilled` while copies of it have lost something, or are new: the table UNFILLED says how "
    "many, "
    "and whom they wait for.\nHINTS are writes that a node keeps for another until that one can be "
    "reached.\n\n" COLUMNS_HELP "\n\nExit status: 0 all members answered, 2 wrong usage, 3 a member did not, "
                                "or there is no cluster to ask.\n";

static struct dynode_reply *ask_all(const struct cli *cli, struct dynode_client *client,
                                    const struct dynode_cluster *cluster)
{
    struct dynode_operation *operations = calloc(cluster->member_count, sizeof(*operations));
    CHECK(operations != NULL);
    for (uint32_t i = 0; i < cluster->member_count; i++)
        operations[i] = (struct dynode_operation){.kind = DYNODE_NODE_STATUS, .node = cluster->members[i].id};
    struct dynode_reply *reply = dynode_batch(client, operations, cluster->member_count, cli->deadline_ms);
    free(operations);
    return reply;
}

static const struct dynode_shard_report *same_shard(const struct dynode_node_report *node, uint32_t shard)
{
    for (uint32_t i = 0; node != NULL && i < node->shard_count; i++) {
        if (node->shards[i].shard == shard) return &node->shards[i];
    }
    return NULL;
}

static void rate(char *text, size_t size, uint64_t now, uint64_t before, double seconds)
{
    if (seconds <= 0 || now < before)
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%.0f", (double)(now - before) / seconds);
}

static void print_shards(int names, const struct dynode_node_report *node,
                         const struct dynode_node_report *before, double seconds)
{
    for (uint32_t i = 0; i < node->shard_count; i++) {
        const struct dynode_shard_report *s = &node->shards[i];
        const struct dynode_shard_report *b = same_shard(before, s->shard);
        char gets[16], puts_[16], reads[16], writes[16];
        double over = b == NULL ? 0 : seconds;
        rate(gets, sizeof(gets), s->gets, b == NULL ? 0 : b->gets, over);
        rate(puts_, sizeof(puts_), s->puts, b == NULL ? 0 : b->puts, over);
        rate(reads, sizeof(reads), s->replica_reads, b == NULL ? 0 : b->replica_reads, over);
        rate(writes, sizeof(writes), s->replica_writes, b == NULL ? 0 : b->replica_writes, over);
        printf("%-*s %5u %6u %6u %6u %8s %8s %8s %8s %9s %9s %9s %9s%s%s\n", names, node->name, s->shard,
               s->vnodes, s->connections, s->requests_in_flight, gets, puts_, reads, writes,
               cli_bytes(s->inbox_bytes), cli_bytes(s->outbox_bytes), cli_bytes(s->store_bytes),
               cli_bytes(s->cache_bytes), s->filled ? "" : "  not filled",
               s->corrupt > 0 ? "  corrupt objects" : "");
    }
}

static void print_repair(int names, const struct dynode_node_report *node)
{
    for (uint32_t i = 0; i < node->shard_count; i++) {
        const struct dynode_shard_report *s = &node->shards[i];
        char equal[32];
        if (s->unproven > 0)
            snprintf(equal, sizeof(equal), "not %u", s->unproven);
        else
            snprintf(equal, sizeof(equal), "%llu s", (unsigned long long)((s->equal_ms_ago + 999) / 1000));
        printf("%-*s %5u %6u %9llu %9llu %9llu %9llu %7llu %10llu %8llu %7llu %9llu %9llu %9s\n", names,
               node->name, s->shard, s->vnodes_built, (unsigned long long)s->exchanges,
               (unsigned long long)s->differing, (unsigned long long)s->objects_in,
               (unsigned long long)s->objects_out, (unsigned long long)s->audits,
               (unsigned long long)s->audited, (unsigned long long)s->damaged, (unsigned long long)s->mended,
               (unsigned long long)s->tombstones, (unsigned long long)s->reaped, equal);
    }
}

static const char *name_of(const struct dynode_cluster *cluster, uint64_t node)
{
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (cluster->members[i].id == node) return cluster->members[i].name;
    return cli_id(node);
}

/* What one node keeps for another, of all its shards. */
static struct dynode_hint_report hints_for(const struct dynode_node_report *node, uint64_t target)
{
    struct dynode_hint_report sum = {.node = target};
    for (uint32_t i = 0; i < node->shard_count; i++) {
        for (uint32_t k = 0; k < node->shards[i].hint_count; k++) {
            const struct dynode_hint_report *hint = &node->shards[i].hints[k];
            if (hint->node != target) continue;
            if (sum.count == 0 || hint->oldest_ms < sum.oldest_ms) sum.oldest_ms = hint->oldest_ms;
            sum.count += hint->count;
            sum.bytes += hint->bytes;
        }
    }
    return sum;
}

static void print_hint(const struct dynode_cluster *cluster, const struct dynode_node_report *node,
                       uint64_t target, bool *any)
{
    struct dynode_hint_report sum = hints_for(node, target);
    if (sum.count == 0) return;
    int names = cli_name_width(cluster);
    if (!*any)
        printf("\n%-*s %-*s %10s %9s %10s\n", names, "HINTS AT", names, "FOR", "COUNT", "BYTES", "OLDEST");
    *any = true;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    char age[32];
    snprintf(age, sizeof(age), "%llu s",
             (unsigned long long)(now_ms > sum.oldest_ms ? (now_ms - sum.oldest_ms) / 1000 : 0));
    printf("%-*s %-*s %10llu %9s %10s\n", names, node->name, names,
           target == 0 ? "(unreadable)" : name_of(cluster, target), (unsigned long long)sum.count,
           cli_bytes(sum.bytes), age);
}

static void print_hints(const struct dynode_cluster *cluster, const struct dynode_reply *reply)
{
    bool any = false;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (reply->results[i].node == NULL) continue;
        for (uint32_t k = 0; k < cluster->member_count; k++)
            print_hint(cluster, reply->results[i].node, cluster->members[k].id, &any);
        print_hint(cluster, reply->results[i].node, 0, &any);
    }
}

/* Copies that lost what they held, and which homes they still have to hear of. A dead one blocks them. */
static void print_unfilled(const struct dynode_cluster *cluster, const struct dynode_reply *reply)
{
    int names = cli_name_width(cluster);
    bool any = false;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct dynode_node_report *node = reply->results[i].node;
        for (uint32_t k = 0; node != NULL && k < node->shard_count; k++) {
            const struct dynode_shard_report *s = &node->shards[k];
            if (s->unfilled == 0) continue;
            if (!any)
                printf("\n%-*s %5s %9s  %s\n", names, "NODE", "SHARD", "UNFILLED",
                       "COUNT FOR NO READ UNTIL HEARD FROM");
            any = true;
            printf("%-*s %5u %9u ", names, node->name, s->shard, s->unfilled);
            for (uint32_t j = 0; j < s->unfilled_for_count; j++)
                printf(" %s", name_of(cluster, s->unfilled_for[j]));
            putchar('\n');
        }
    }
}

static void print_status(const struct dynode_cluster *cluster, const struct dynode_reply *reply,
                         const struct dynode_reply *before, double seconds)
{
    int names = cli_name_width(cluster), zones = cli_zone_width(cluster), addresses = 28;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        int length = (int)strlen(cluster->members[i].client_address);
        if (length > addresses) addresses = length;
    }
    printf("cluster %s, ring %s, %u vnodes by %s, %u %s\n\n", cli_id(cluster->id),
           cli_id(cluster->ring_version), cluster->vnodes, cluster->hash, cluster->table_count,
           cluster->table_count == 1 ? "table" : "tables");
    printf("%-*s %-16s %-8s %-*s %-*s %6s %10s %9s\n", names, "NODE", "ID", "STATE", addresses, "ADDRESS",
           zones, "ZONE", "SHARDS", "UP FOR", "MEMORY");
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct dynode_member *member = &cluster->members[i];
        const struct dynode_node_report *node = reply->results[i].node;
        char up[32] = "-";
        if (node != NULL) snprintf(up, sizeof(up), "%llu s", (unsigned long long)(node->uptime_ms / 1000));
        printf("%-*s %-16s %-8s %-*s %-*s %6u %10s %9s\n", names, member->name, cli_id(member->id),
               node != NULL        ? "up"
               : member->reachable ? "silent"
               : member->given_up  ? "given up"
                                   : "down",
               addresses, member->client_address, zones, member->zone[0] == '\0' ? "-" : member->zone,
               member->shards, up, node != NULL ? cli_bytes(node->resident_bytes) : "-");
    }
    printf("\n%-*s %5s %6s %6s %6s %8s %8s %8s %8s %9s %9s %9s %9s\n", names, "NODE", "SHARD", "VNODES",
           "CONNS", "FLIGHT", "GET/S", "PUT/S", "READ/S", "WRITE/S", "INBOX", "OUTBOX", "STORE", "CACHE");
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (reply->results[i].node == NULL) continue;
        print_shards(names, reply->results[i].node, before != NULL ? before->results[i].node : NULL, seconds);
    }
    printf("\n%-*s %5s %6s %9s %9s %9s %9s %7s %10s %8s %7s %9s %9s %9s\n", names, "NODE", "SHARD", "BUILT",
           "UNEQUAL", "DIFFERING", "TAKEN", "GIVEN", "AUDITS", "AUDITED", "DAMAGED", "MENDED", "DYING",
           "REAPED", "EQUAL");
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (reply->results[i].node != NULL) print_repair(names, reply->results[i].node);
    puts("\n" COLUMNS_HELP);
    print_hints(cluster, reply);
    print_unfilled(cluster, reply);
}

static json_t *json_shard(const struct dynode_shard_report *s, const struct dynode_shard_report *b,
                          double seconds)
{
    json_t *object = json_object();
#define NUMBER(field) json_object_set_new(object, #field, json_integer((json_int_t)s->field))
    NUMBER(shard), NUMBER(vnodes), NUMBER(gets), NUMBER(puts), NUMBER(replica_reads), NUMBER(replica_writes);
    NUMBER(repairs), NUMBER(errors), NUMBER(overloaded), NUMBER(connections), NUMBER(requests_in_flight);
    NUMBER(coordinating), NUMBER(inbox_bytes), NUMBER(outbox_bytes), NUMBER(turns), NUMBER(syncs),
        NUMBER(store_bytes);
    NUMBER(store_log_bytes), NUMBER(cache_bytes), NUMBER(cache_bytes_max), NUMBER(dropped), NUMBER(corrupt);
    NUMBER(vnodes_built), NUMBER(exchanges), NUMBER(differing), NUMBER(objects_in), NUMBER(objects_out);
    NUMBER(audits), NUMBER(audited), NUMBER(damaged), NUMBER(mended), NUMBER(tombstones), NUMBER(reaped);
    NUMBER(equal_ms_ago), NUMBER(unproven);
    NUMBER(hint_bytes_max), NUMBER(hints_refused), NUMBER(dirty), NUMBER(lingering);
    NUMBER(owed), NUMBER(results_bytes), NUMBER(mail_wait_us), NUMBER(expired), NUMBER(repairs_shed);
    NUMBER(speculated), NUMBER(speculations_withheld), NUMBER(speculation_wait_us);
    json_object_set_new(object, "filled", json_boolean(s->filled));
    NUMBER(unfilled);
#undef NUMBER
    json_t *waits = json_array();
    for (uint32_t i = 0; i < s->unfilled_for_count; i++)
        json_array_append_new(waits, json_string(cli_id(s->unfilled_for[i])));
    json_object_set_new(object, "unfilled_for", waits);
#define RATE(field)                                                                                          \
    json_object_set_new(object, #field "_per_second", json_real((double)(s->field - b->field) / seconds))
    if (b != NULL && seconds > 0 && s->turns >= b->turns) /* else it has restarted in between */
        RATE(gets), RATE(puts), RATE(replica_reads), RATE(replica_writes), RATE(syncs);
#undef RATE
    json_t *peers = json_array();
    for (uint32_t i = 0; i < s->peer_count; i++)
        json_array_append_new(peers,
                              json_pack("{s:s, s:b, s:I, s:I}", "node", cli_id(s->peers[i].node), "up",
                                        s->peers[i].up, "queued_bytes", (json_int_t)s->peers[i].queued_bytes,
                                        "heard_ms_ago", (json_int_t)s->peers[i].heard_ms_ago));
    json_object_set_new(object, "peers", peers);
    json_t *hints = json_array();
    for (uint32_t i = 0; i < s->hint_count; i++)
        json_array_append_new(hints,
                              json_pack("{s:s, s:I, s:I, s:I}", "node", cli_id(s->hints[i].node), "count",
                                        (json_int_t)s->hints[i].count, "bytes", (json_int_t)s->hints[i].bytes,
                                        "oldest_ms", (json_int_t)s->hints[i].oldest_ms));
    json_object_set_new(object, "hints", hints);
    return object;
}

static json_t *json_of(const struct dynode_cluster *cluster, const struct dynode_reply *reply,
                       const struct dynode_reply *before, double seconds)
{
    json_t *members = json_array();
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct dynode_member *member = &cluster->members[i];
        const struct dynode_node_report *node = reply->results[i].node;
        json_t *object = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:b, s:b, s:b}", "id", cli_id(member->id), "name",
            member->name, "client_address", member->client_address, "peer_address", member->peer_address,
            "zone", member->zone, "weight", (int)member->weight, "shards", (int)member->shards, "reachable",
            member->reachable, "given_up", member->given_up, "answered", node != NULL);
        json_array_append_new(members, object);
        if (node == NULL) {
            json_object_set_new(object, "result", cli_json_result(&reply->results[i]));
            continue;
        }
        json_object_set_new(object, "software", json_string(node->software));
        json_object_set_new(object, "uptime_ms", json_integer((json_int_t)node->uptime_ms));
        json_object_set_new(object, "resident_bytes", json_integer((json_int_t)node->resident_bytes));
        json_t *shards = json_array();
        for (uint32_t k = 0; k < node->shard_count; k++) {
            const struct dynode_node_report *old = before != NULL ? before->results[i].node : NULL;
            json_array_append_new(
                shards, json_shard(&node->shards[k], same_shard(old, node->shards[k].shard), seconds));
        }
        json_object_set_new(object, "shard_reports", shards);
    }
    return json_pack("{s:s, s:s, s:i, s:s, s:i, s:o}", "cluster", cli_id(cluster->id), "ring_version",
                     cli_id(cluster->ring_version), "vnodes", (int)cluster->vnodes, "hash", cluster->hash,
                     "tables", (int)cluster->table_count, "members", members);
}

int command_status(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLI_LONG, {"interval", required_argument, NULL, OPTION_INTERVAL}, {NULL, 0, NULL, 0}};
    struct cli cli = {.command = "status", .help = help};
    uint64_t interval_ms = 1000;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1) {
        if (option == OPTION_INTERVAL)
            interval_ms = cli_time_ms(&cli, "--interval", optarg);
        else
            cli_option(&cli, option);
    }
    if (optind < argc) cli_usage(&cli, "\"%s\" is one argument too many", argv[optind]);
    struct dynode_client *client = cli_open(&cli, false);
    struct dynode_operation info = {.kind = DYNODE_CLUSTER_INFO};
    struct dynode_reply *described = cli_call(&cli, client, &info);
    const struct dynode_cluster *cluster = described->results[0].cluster;
    int status = EXIT_OK;
    if (described->status != DYNODE_OK || cluster == NULL) {
        status = cli_report(&cli, &described->results[0]);
    } else {
        struct dynode_reply *before = NULL;
        if (interval_ms > 0) {
            before = ask_all(&cli, client, cluster);
            struct timespec pause = {.tv_sec = (time_t)(interval_ms / 1000),
                                     .tv_nsec = (long)(interval_ms % 1000) * 1000000};
            nanosleep(&pause, NULL);
        }
        struct dynode_reply *reply = ask_all(&cli, client, cluster);
        double seconds = (double)interval_ms / 1000;
        if (cli.json)
            cli_print_json(json_of(cluster, reply, before, seconds));
        else
            print_status(cluster, reply, before, seconds);
        for (size_t i = 0; i < reply->count; i++) {
            if (reply->results[i].node == NULL) status = EXIT_UNAVAILABLE;
        }
        dynode_reply_free(before);
        dynode_reply_free(reply);
    }
    dynode_reply_free(described);
    dynode_close(client);
    return status;
}
