/* dynode: the one program. `dynode serve` is a node, everything else speaks to one. */
#include <locale.h>

#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"serve", command_serve, "run a node"},
    {"get", command_get, "read a key"},
    {"put", command_put, "write a key"},
    {"delete", command_delete, "delete a key"},
    {"scan", command_scan, "list or count the keys of a table, node by node"},
    {"table", command_table, "create, alter, drop and list tables"},
    {"status", command_status, "members, shards, queues, sizes and rates"},
    {"accept-loss", command_accept_loss, "give up what a dead node holds"},
    {"ring", command_ring, "where a key lives"},
    {"bench", command_bench, "measure a cluster, or redis"},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void help(FILE *to)
{
    fputs("dynode: a highly available, partitioned, replicated key-value store\n\n"
          "usage: dynode COMMAND [OPTIONS] [ARGUMENTS]\n\n",
          to);
    for (size_t i = 0; i < COMMANDS; i++) fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\n"
          "A first walk, with a node listening on tcp://127.0.0.1:7400 (or export DYNODE_ADDRESS):\n\n"
          "  dynode status                              who is there\n"
          "  dynode table create users                  3 replicas of each key, concurrent writes are kept\n"
          "  dynode put users ada \"Ada Lovelace\"        reads what is there first, and supersedes it\n"
          "  dynode get users ada                       the value, and the context to write with\n"
          "  dynode get users ada --raw                 exactly the bytes, for scripts\n"
          "  dynode ring users ada                      which nodes hold it\n"
          "  dynode delete users ada\n\n"
          "Each command teaches itself: dynode COMMAND --help.\n\n"
          "Exit status: 0 ok, 1 not found, 2 usage or configuration, 3 unavailable or timeout, 4 conflict.\n",
          to);
}

/* A full disk is not success: a script that keeps a value with `dynode get --raw >FILE` goes by the status.
 */
static int ended(const char *name, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fprintf(stderr, "%s: not all of the output could be written\n", name);
    return status == EXIT_OK ? EXIT_UNAVAILABLE : status;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("dynode %s\n", DYNODE_VERSION);
        return EXIT_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        static char name[32]; /* what getopt calls us when it complains */
        snprintf(name, sizeof(name), "dynode %s", commands[i].name);
        argv[1] = name;
        return ended(name, commands[i].run(argc - 1, argv + 1));
    }
    fprintf(stderr, "dynode: there is no command \"%s\". Try \"dynode --help\".\n", argv[1]);
    return EXIT_USAGE;
}
