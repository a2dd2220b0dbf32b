/* dynode serve: a node in this process, from its configuration to its end.
 *
 * The configuration, the data directory (whose it is, locked), the client port (listening), the runtime
 * (stores, peers, threads); then one line on stdout: ready. At SIGTERM or SIGINT: no new connections,
 * requests in flight are answered, stores are synced and closed; at the latest after STOP_SECONDS, or at a
 * second signal, the process just ends: what was acknowledged is on disk by then anyway.
 *
 * Whatever keeps it from starting is one line on stderr and exit status 2, before any data was changed. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "cli/cli.h"
#include "runtime/node_runtime.h"
#include "service/birth.h"
#include "service/client_port.h"
#include "service/data_dir.h"

enum {
    STOP_SECONDS = 10,
    SAME_SIGNAL_MS = 200,
    SPARE_DESCRIPTORS = 1024, /* for stores, queues and links */
    HEAP_BLOCK_BYTES = 128 * 1024,
    HEAP_BLOCKS_MAX = 16384
};

#define MB (1024ULL * 1024)

static const char help[] =
    "usage: dynode serve --config FILE [--check] [--data DIR] [--listen ADDRESS]...\n"
    "       dynode serve --data DIR [--listen ADDRESS]...\n\n"
    "Run a node. The configuration is one YAML file; configs/node.yaml documents every setting.\n"
    "Without one, the defaults: a cluster of one that listens on tcp://127.0.0.1:7400.\n\n"
    "  dynode serve --data /var/tmp/dynode               a node of its own, to try\n"
    "  dynode serve --config node1.yaml --check          is it sound, and fits the data?\n"
    "  dynode serve --config node1.yaml\n\n"
    "  -c, --config FILE      the node's configuration (default: what configs/node.yaml shows)\n"
    "      --check            only say whether it is sound and fits the data; not whether the ports and\n"
    "                         the directory are free\n"
    "  -d, --data DIR         instead of the configuration's data\n"
    "  -l, --listen ADDRESS   instead of its listen.client: tcp://HOST:PORT (port 0: any free\n"
    "                         one) or unix:///PATH; may be repeated\n"
    "  -h, --help             this text\n\n"
    "When it is ready it prints one line that says where it listens. SIGTERM and SIGINT stop it:\n"
    "it answers what it has taken, syncs, and ends, within 10 seconds. Logs go to stderr.\n\n"
    "Exit status: 0 stopped, 2 it could not start (one line says why), 3 it did not end in time, or a\n"
    "second signal came: what was acknowledged is on disk all the same.\n";

struct serve {
    const char *config_file, *data;
    const char *listen[CONFIG_LISTEN_MAX];
    uint32_t listen_count;
    bool check;
};

static int refuse(const char *why)
{
    fprintf(stderr, "dynode serve: %s\n", why);
    return EXIT_USAGE;
}

/* The arguments. -1: go on; else the exit status. */
static int read_arguments(int argc, char **argv, struct serve *serve)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
        {"data", required_argument, NULL, 'd'},   {"listen", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},         {0}};
    for (int option; (option = getopt_long(argc, argv, "c:d:l:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            serve->config_file = optarg;
            break;
        case 'k':
            serve->check = true;
            break;
        case 'd':
            serve->data = optarg;
            break;
        case 'l':
            if (serve->listen_count == CONFIG_LISTEN_MAX) return refuse("at most 16 times --listen");
            serve->listen[serve->listen_count++] = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_OK;
        default:
            return refuse("see dynode serve --help"); /* getopt has said what is wrong */
        }
    }
    if (optind < argc) return refuse("it takes no arguments, only options: see dynode serve --help");
    if (serve->config_file == NULL && serve->data == NULL) {
        return refuse("--config FILE or --data DIR is needed: see dynode serve --help");
    }
    return -1;
}

/* The configuration, with what the command line says instead. */
static enum status read_config(const struct serve *serve, struct config **out, char *why)
{
    struct address_parts parts;
    enum status status = serve->config_file != NULL
                             ? config_load(serve->config_file, out, why, CONFIG_WHY_BYTES)
                             : config_parse(bytes_str("data: ."), "(defaults)", out, why, CONFIG_WHY_BYTES);
    if (status != STATUS_OK) return status;
    struct config *config = *out;
    if (serve->data != NULL) config->data = serve->data;
    for (uint32_t i = 0; i < serve->listen_count; i++) {
        if (value_address(serve->listen[i], &parts) && parts.kind != ADDRESS_IPC) continue;
        snprintf(why, CONFIG_WHY_BYTES, "--listen %s: tcp://HOST:PORT or unix:///PATH is needed",
                 serve->listen[i]);
        goto fail;
    }
    if (serve->listen_count > 0) {
        config->listen_client = (const char **)serve->listen;
        config->listen_client_count = serve->listen_count;
    }
    if (config->data[0] == '\0' || strlen(config->data) > CONFIG_DATA_BYTES_MAX) {
        snprintf(why, CONFIG_WHY_BYTES, "data: a path of 1 to 255 bytes is needed");
        goto fail;
    }
    return STATUS_OK;
fail:
    config_free(config);
    return STATUS_INVALID;
}

/* The cache of each shard. The configuration has judged it by its own number of shards, but the data may have
 * more; and what this machine has, no configuration can know. */
static bool divide_cache(const struct config *config, const struct data_dir *dir, uint64_t *shard_cache,
                         char *why, size_t why_bytes)
{
    uint64_t least = config->lsm ? 32 * MB : MB;
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (config->cache_bytes > memory) {
        snprintf(why, why_bytes, "store.cache: %lluMB is more than the memory of this machine, %lluMB",
                 (unsigned long long)(config->cache_bytes / MB), (unsigned long long)(memory / MB));
        return false;
    }
    *shard_cache = config->cache_bytes / dir->shards;
    if (*shard_cache >= least) return true;
    snprintf(why, why_bytes, "store.cache: too little for the %u shards of %s: at least %lluMB is needed",
             dir->shards, config->data, (unsigned long long)(dir->shards * least / MB));
    return false;
}

static int check(const struct serve *serve, const struct config *config)
{
    char why[CONFIG_WHY_BYTES];
    struct data_dir dir;
    struct context_secret secret;
    uint64_t shard_cache;
    if (data_dir_read(config, &dir, why, sizeof why) != STATUS_OK ||
        !divide_cache(config, &dir, &shard_cache, why, sizeof why) ||
        birth_read_secret(config, 1, &secret, why, sizeof why) != STATUS_OK) {
        return refuse(why);
    }
    printf("%s: ok\n", serve->config_file != NULL ? serve->config_file : serve->data);
    return EXIT_OK;
}

static void raise_descriptor_limit(const struct config *config)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max != RLIM_INFINITY && files.rlim_max < config->connections_max + SPARE_DESCRIPTORS) {
        log_line(LOG_LEVEL_WARN,
                 "this process may open %llu files: too few for %u connections (limits.connections)",
                 (unsigned long long)files.rlim_max, config->connections_max);
    }
}

/* One heap for two shards, which the threads of their stores share with them; and blocks of @HEAP_BLOCK_BYTES
 * and more (large values, pages being written) go back to the system when freed, the first @HEAP_BLOCKS_MAX
 * of them (a process may map 65,530). By itself glibc would give each thread a heap of its own, and keep ever
 * larger blocks in it the larger the ones that were freed: 46-102 MB above the caches, not 33-38, in five
 * runs of tests/bench/run space each, for 2-4 % less CPU a put (mallopt(3), M_ARENA_MAX and
 * M_MMAP_THRESHOLD). */
static void bound_heaps(uint32_t shards)
{
    mallopt(M_ARENA_MAX, (int)(shards + 1) / 2);
    mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES);
    mallopt(M_MMAP_MAX, HEAP_BLOCKS_MAX);
}

/* All that runs. */
struct node {
    struct data_dir dir;
    struct client_port *port;
    struct birth birth;
    struct node_runtime *runtime;
};

static bool node_start(struct node *node, const struct config *config, char why[NODE_WHY_BYTES])
{
    static_assert((int)NODE_WHY_BYTES >= (int)CONFIG_WHY_BYTES, "one line for all");
    bool peers = config->member_count > 1;
    if (data_dir_read(config, &node->dir, why, NODE_WHY_BYTES) != STATUS_OK) return false;
    bound_heaps(node->dir.shards);
    uint64_t shard_cache;
    if (!divide_cache(config, &node->dir, &shard_cache, why, NODE_WHY_BYTES)) return false;
    const struct client_port_options port = {.addresses = config->listen_client,
                                             .address_count = config->listen_client_count,
                                             .shards = node->dir.shards,
                                             .connections_max = config->connections_max,
                                             .connection_operations_max = config->connection_operations_max,
                                             .cluster = node->dir.cluster,
                                             .node = node->dir.node,
                                             .software = "dynode " DYNODE_VERSION,
                                             .limits = CONNECTION_LIMITS};
    if (client_port_alloc(&port, why, NODE_WHY_BYTES, &node->port) != STATUS_OK) return false;
    if (birth_init(&node->birth, config, node->dir.cluster, node->dir.node, node->dir.shards,
                   client_port_address(node->port, 0), peers ? config->listen_peer : "", loop_wall_ms(), why,
                   NODE_WHY_BYTES) != STATUS_OK) {
        return false;
    }
    const struct node_runtime_options options = {
        .data = config->data,
        .pin = config->pin,
        .cluster = &node->birth.cluster,
        .self = node->birth.self,
        .peer_address = peers ? config->listen_peer : NULL,
        .store = {.cache_bytes = shard_cache,
                  .lsm = config->lsm,
                  .reserve_bytes = config->reserve_bytes,
                  .checkpoint_log_bytes = config->checkpoint_log_bytes,
                  .checkpoint_seconds = config->checkpoint_seconds},
        .secret = node->birth.secret,
        .software = "dynode " DYNODE_VERSION,
        .hint_bytes_max = config->hint_bytes_max / node->dir.shards,
        .operations_max = config->operations_max,
        .connection_operations_max = config->connection_operations_max,
        .hooks = client_port_hooks(node->port)};
    return node_runtime_start(&options, why, &node->runtime) == STATUS_OK;
}

/* After node_runtime_stop, or after a start that failed. */
static void node_free_rest(struct node *node)
{
    if (node->port != NULL) client_port_free(node->port);
    birth_fini(&node->birth);
}

static void say_ready(const struct node *node, const struct config *config)
{
    printf("dynode %s ready: clients ", node->birth.self.name);
    for (uint32_t i = 0; i < config->listen_client_count; i++) {
        printf("%s%s", i > 0 ? " " : "", client_port_address(node->port, i));
    }
    printf(", peers %s, %u shard%s, data %s\n", config->member_count > 1 ? config->listen_peer : "none",
           node->dir.shards, node->dir.shards == 1 ? "" : "s", config->data);
    fflush(stdout);
}

/* While the node stops: ends the process if that takes too long, or at a second signal. One that comes at
 * once is the first again: timeout(1), and shells, signal the process and then its group. */
static void *watch_stop(void *signals)
{
    siginfo_t info;
    struct timespec none = {0}, moment = {.tv_nsec = SAME_SIGNAL_MS * 1000000L};
    struct timespec bound = {.tv_sec = STOP_SECONDS - 1, .tv_nsec = 1000000000L - moment.tv_nsec};
    int second;
    nanosleep(&moment, NULL);
    while (sigtimedwait(signals, &info, &none) > 0) continue;
    do {
        second = sigtimedwait(signals, &info, &bound);
    } while (second < 0 && errno == EINTR);
    log_line(LOG_LEVEL_ERROR, "the stop %s: ending now; what was acknowledged is on disk",
             second > 0 ? "was asked for again" : "takes more than 10 seconds");
    _exit(EXIT_UNAVAILABLE);
}

int command_serve(int argc, char **argv)
{
    struct serve serve = {0};
    struct config *config;
    char why[NODE_WHY_BYTES] = "";
    int status = read_arguments(argc, argv, &serve);
    if (status >= 0) return status;
    if (read_config(&serve, &config, why) != STATUS_OK) return refuse(why);
    if (serve.check) {
        status = check(&serve, config);
        config_free(config);
        return status;
    }

    static sigset_t signals; /* the watcher's too */
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every thread started from here on inherits it */
    log_set_level(config->log_level);
    raise_descriptor_limit(config);

    struct node node = {0};
    if (!node_start(&node, config, why)) {
        node_free_rest(&node);
        config_free(config);
        process_exit(refuse(why));
    }
    say_ready(&node, config);

    int signal_number = 0;
    while (sigwait(&signals, &signal_number) != 0) continue;
    log_line(LOG_LEVEL_INFO, "stopping: %s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch_stop, &signals) == 0) pthread_detach(watcher);
    bool answered = node_runtime_stop(node.runtime);
    node_free_rest(&node);
    config_free(config);
    log_line(LOG_LEVEL_INFO, "stopped%s", answered ? "" : "; some requests were left without an answer");
    process_exit(EXIT_OK);
}
