/* dynode accept-loss: an operator's word that a dead node is not waited for. */
#include "cli/cli.h"

static const char help[] =
    "usage: dynode accept-loss [OPTIONS] NODE\n\n"
    "Give up what a dead node holds. NODE is its name or its id.\n\n"
    "A node that has lost a store counts for reads again when every other home of a key has told it what it "
    "holds;\n"
    "\"dynode status\" names those who are waited for. If one of them will not come back, this command says "
    "so: "
    "the\n"
    "others' copies then count without it. Danger: a write that only the lost store and this node had is "
    "gone, "
    "though\n"
    "it was acknowledged, and reads miss it without a word. Should the node come back after all, so does "
    "what it "
    "holds;\n"
    "with its next start the word is void. It is refused of a node that can be reached.\n\n"
    "  dynode status                 who is waited for\n"
    "  dynode accept-loss node3\n\n" CLI_HELP
    "\nExit status: 0 done, 2 wrong usage, no such node, or one that can be reached, 3 unavailable or "
    "timeout.\n";

static const struct dynode_member *find(const struct dynode_cluster *cluster, const char *text)
{
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (strcmp(cluster->members[i].name, text) == 0 || strcmp(cli_id(cluster->members[i].id), text) == 0)
            return &cluster->members[i];
    return NULL;
}

static int give_up(const struct cli *cli, struct dynode_client *client, const struct dynode_member *member)
{
    struct dynode_operation operation = {.kind = DYNODE_ACCEPT_LOSS, .node = member->id};
    struct dynode_reply *reply = cli_call(cli, client, &operation);
    const struct dynode_result *result = &reply->results[0];
    int status = (int)cli_exit_of(result->status);
    if (cli->json)
        cli_print_json(cli_json_result(result));
    else if (result->status != DYNODE_OK)
        cli_report(cli, result);
    else
        printf("ok: from now on nobody waits for what %s (%s) holds, until it starts again\n", member->name,
               cli_id(member->id));
    dynode_reply_free(reply);
    return status;
}

int command_accept_loss(int argc, char **argv)
{
    static const struct option long_options[] = {CLI_LONG, {NULL, 0, NULL, 0}};
    struct cli cli = {.command = "accept-loss", .help = help};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, CLI_SHORT, long_options, NULL)) != -1) cli_option(&cli, option);
    if (argc - optind != 1) cli_usage(&cli, "which NODE?");
    struct dynode_client *client = cli_open(&cli, false);
    struct dynode_operation info = {.kind = DYNODE_CLUSTER_INFO};
    struct dynode_reply *described = cli_call(&cli, client, &info);
    const struct dynode_cluster *cluster = described->results[0].cluster;
    int status;
    if (described->status != DYNODE_OK || cluster == NULL) {
        status = cli_report(&cli, &described->results[0]);
    } else {
        const struct dynode_member *member = find(cluster, argv[optind]);
        if (member == NULL)
            cli_usage(&cli, "no member is called \"%s\": \"dynode status\" lists them", argv[optind]);
        status = give_up(&cli, client, member);
    }
    dynode_reply_free(described);
    dynode_close(client);
    return status;
}
