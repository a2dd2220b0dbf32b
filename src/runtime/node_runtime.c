#include "runtime/node_runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nng/nng.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actors/antientropy.h"
#include "actors/reap.h"
#include "base/check.h"
#include "base/log.h"
#include "base/prng.h"
#include "runtime/loop_host.h"
#include "runtime/node_record.h"

enum { QUIET_LOOK_MS = 5 };

struct slot {
    struct shard_store_options store_options;
    struct store *store; /* until the loop has it */
    struct mailbox *mailbox;
    struct loop *loop;
    bool born;
};

struct node_runtime {
    struct node_runtime_options options;
    struct cluster cluster, configured;
    uint32_t shards;
    int lock;
    struct node_record record;
    struct slot *slots;
    struct mailbox **mailboxes;
    struct acceptor *acceptor;
};

uint32_t node_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (uint32_t)count;
}

/* The @index-th core that this process may use. */
static int core(uint32_t index)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &set) && index-- == 0) return cpu;
    return -1;
}

/* --- the data directory --- */

/* Memory of this process; 0 if the system does not say. */
static uint64_t resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return 0;
    if (fscanf(file, "%lu %lu", &pages, &resident) != 2) resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static enum status directory_lock(struct node_runtime *node, char why[NODE_WHY_BYTES])
{
    const char *data = node->options.data;
    char path[SHARD_STORE_PATH_BYTES];
    if (mkdir(data, 0700) == 0) { /* an acknowledged write is lost with its directory's entry, too */
        snprintf(path, sizeof(path), "%s/..", data);
        int up = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (up >= 0) fsync(up);
        if (up >= 0) close(up);
    } else if (errno != EEXIST) {
        snprintf(why, NODE_WHY_BYTES, "data directory %s can't be made: %s", data, strerror(errno));
        return STATUS_INVALID;
    }
    if (snprintf(path, sizeof(path), "%s/lock", data) + 64 >= (int)sizeof(path)) {
        snprintf(why, NODE_WHY_BYTES, "the path of the data directory is too long");
        return STATUS_INVALID;
    }
    node->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock < 0) {
        snprintf(why, NODE_WHY_BYTES, "data directory %s can't be written: %s", data, strerror(errno));
        return STATUS_INVALID;
    }
    if (flock(node->lock, LOCK_EX | LOCK_NB) != 0) {
        snprintf(why, NODE_WHY_BYTES, "data directory %s is in use by another process", data);
        return STATUS_IN_USE;
    }
    return STATUS_OK;
}

/* Is the directory this node's, or new? Then it is from now on. */
static enum status directory_claim(struct node_runtime *node, char why[NODE_WHY_BYTES])
{
    const char *data = node->options.data;
    enum status status = node_record_read(data, &node->record, why, NODE_WHY_BYTES);
    const struct node_record want = {.cluster = node->cluster.id,
                                     .node = node->options.self.id,
                                     .shards = node->shards,
                                     .vnodes = node->cluster.vnodes};
    if (status == STATUS_NOT_FOUND) {
        node->record = want;
        return node_record_write(data, &want, why, NODE_WHY_BYTES);
    }
    if (status != STATUS_OK) return status;
    const struct node_record *have = &node->record;
    if (have->cluster != want.cluster || have->node != want.node)
        snprintf(why, NODE_WHY_BYTES,
                 "data directory %s is that of node %016" PRIx64 " in cluster %016" PRIx64
                 ", not of node %016" PRIx64 " in cluster %016" PRIx64,
                 data, have->node, have->cluster, want.node, want.cluster);
    else if (have->shards != want.shards)
        snprintf(why, NODE_WHY_BYTES,
                 "data directory %s was made with shards: %u, not %u, and that can't be changed", data,
                 have->shards, want.shards);
    else if (have->vnodes != want.vnodes)
        snprintf(why, NODE_WHY_BYTES,
                 "data directory %s was made with vnodes: %u, not %u, and that can't be changed", data,
                 have->vnodes, want.vnodes);
    else
        return STATUS_OK;
    return STATUS_INVALID;
}

/* --- stores --- */

static enum status stores_open(struct node_runtime *node, char why[NODE_WHY_BYTES])
{
    for (uint32_t i = 0; i < node->shards; i++) {
        struct slot *slot = &node->slots[i];
        struct shard_store_options *store = &slot->store_options;
        store->engine = node->options.store;
        snprintf(store->path, sizeof(store->path), "%s/" SHARD_DIRECTORY, node->options.data, i);
        /* That the directory is new as well says nothing: all of it may have been lost (actors/blank.c). */
        store->identity = (struct identity){.cluster = node->cluster.id,
                                            .node = node->options.self.id,
                                            .shard = i,
                                            .shards = node->shards,
                                            .vnodes = node->cluster.vnodes};
        if (node->record.complete && access(store->path, F_OK) != 0)
            log_line(LOG_LEVEL_ERROR, "shard %u: its store is gone; the shard starts with an empty one", i);
        struct cluster *cluster = i == CLUSTER_OWNER_SHARD ? &node->cluster : NULL;
        enum status status = shard_store_open(store, cluster, why, NODE_WHY_BYTES, &slot->store, &slot->born);
        if (status != STATUS_OK) return status;
    }
    if (node->record.complete) return STATUS_OK;
    node->record.complete = true;
    return node_record_write(node->options.data, &node->record, why, NODE_WHY_BYTES);
}

/* --- mailboxes, peer port, threads --- */

static enum status mailboxes_open(struct node_runtime *node, char why[NODE_WHY_BYTES])
{
    for (uint32_t i = 0; i < node->shards; i++) {
        enum status status = mailbox_alloc(node->shards + 1, &node->slots[i].mailbox);
        if (status != STATUS_OK) {
            snprintf(why, NODE_WHY_BYTES,
                     "the queues between %u shards can't be made: too few descriptors or memory",
                     node->shards);
            return STATUS_INVALID;
        }
        node->mailboxes[i] = node->slots[i].mailbox;
    }
    return STATUS_OK;
}

static struct hello self_hello(const struct node_runtime *node)
{
    return hello_of(node->cluster.id, node->cluster.vnodes, node->options.self.id,
                    node->options.self.incarnation);
}

static enum status port_open(struct node_runtime *node, char why[NODE_WHY_BYTES])
{
    const char *address = node->options.peer_address;
    if (address == NULL || address[0] == 0) return STATUS_OK;
    const struct acceptor_options options = {
        .address = address, .self = self_hello(node), .shards = node->shards, .mailboxes = node->mailboxes};
    return acceptor_start(&options, why, NODE_WHY_BYTES, &node->acceptor);
}

static void threads_start(struct node_runtime *node)
{
    const struct node_runtime_options *options = &node->options;
    bool pin = options->pin && node_cores() >= node->shards;
    if (options->pin && !pin)
        log_line(LOG_LEVEL_WARN, "shards are not pinned: there are %u, and %u cores to use", node->shards,
                 node_cores());
    int cpus[node->shards];
    for (uint32_t i = 0; i < node->shards; i++) cpus[i] = pin ? core(i) : -1;
    for (uint32_t i = 0; i < node->shards; i++) {
        struct slot *slot = &node->slots[i];
        struct loop_options loop = {
            .index = i,
            .node = {.cluster = node->cluster,
                     .self = options->self,
                     .secret = options->secret,
                     .name = options->self.name,
                     .software = options->software,
                     .operations_max = options->operations_max,
                     .connection_operations_max = options->connection_operations_max,
                     .hint_bytes_max = options->hint_bytes_max,
                     .resident_bytes = resident_bytes,
                     .born = slot->born,
                     .repair_pass_ns = ANTIENTROPY_PASS_NS,
                     .audit_pass_ns = ANTIENTROPY_AUDIT_NS,
                     .reap_after_ns = REAP_AFTER_NS,
                     .started_wall_ms = options->self.incarnation},
            .configured = &node->configured,
            .store = slot->store,
            .store_options = slot->store_options,
            .mailboxes = node->mailboxes,
            .acceptor = node->acceptor,
            .hooks = options->hooks,
            .cpu = cpus[i],
            .seed = prng_entropy(),
        };
        loop.node.name = node->options.self.name;
        slot->loop = loop_start(&loop);
        slot->store = NULL;
    }
}

static void node_free(struct node_runtime *node)
{
    for (uint32_t i = 0; i < node->shards; i++)
        if (node->slots[i].loop != NULL) loop_join(node->slots[i].loop);
    if (node->acceptor != NULL) acceptor_stop(node->acceptor);
    for (uint32_t i = 0; i < node->shards; i++) {
        struct slot *slot = &node->slots[i];
        if (slot->loop != NULL) loop_free(slot->loop);
        if (slot->store != NULL) store_close(slot->store);
        if (slot->mailbox != NULL) mailbox_free(slot->mailbox);
    }
    if (node->lock >= 0) close(node->lock);
    cluster_fini(&node->cluster);
    cluster_fini(&node->configured);
    free(node->mailboxes);
    free(node->slots);
    free(node);
}

enum status node_runtime_start(const struct node_runtime_options *options, char why[NODE_WHY_BYTES],
                               struct node_runtime **out)
{
    struct node_runtime *node = calloc(1, sizeof(*node));
    CHECK(node != NULL);
    node->options = *options;
    node->shards = options->self.shards;
    CHECK(node->shards > 0);
    node->lock = -1;
    if (options->self.incarnation == 0) node->options.self.incarnation = loop_wall_ms();
    cluster_copy(options->cluster, &node->cluster);
    cluster_copy(options->cluster, &node->configured);
    node->slots = calloc(node->shards, sizeof(*node->slots));
    node->mailboxes = calloc(node->shards, sizeof(*node->mailboxes));
    CHECK(node->slots != NULL && node->mailboxes != NULL);
    why[0] = 0;
    enum status status = directory_lock(node, why);
    if (status == STATUS_OK) status = mailboxes_open(node, why);
    if (status == STATUS_OK) status = port_open(node, why); /* lets nobody in before the shards run */
    if (status == STATUS_OK) status = directory_claim(node, why);
    if (status == STATUS_OK) status = stores_open(node, why);
    if (status != STATUS_OK) {
        node_free(node);
        return status;
    }
    cluster_merge_member(&node->cluster, &node->options.self);
    threads_start(node);
    *out = node;
    return STATUS_OK;
}

static bool all_quiet(const struct node_runtime *node)
{
    for (uint32_t i = 0; i < node->shards; i++)
        if (!loop_is_quiet(node->slots[i].loop)) return false;
    return true;
}

bool node_runtime_stop(struct node_runtime *node)
{
    for (uint32_t i = 0; i < node->shards; i++) loop_drain(node->slots[i].loop);
    bool quiet = false;
    for (int ms = 0; ms < NODE_STOP_DRAIN_MS && !quiet; ms += QUIET_LOOK_MS) {
        usleep(QUIET_LOOK_MS * 1000);
        quiet = all_quiet(node);
    }
    for (uint32_t i = 0; i < node->shards; i++) loop_stop(node->slots[i].loop);
    node_free(node);
    return quiet;
}

#if defined(__SANITIZE_ADDRESS__)
void __lsan_do_leak_check(void);
#endif

void process_exit(int status)
{
    fflush(NULL);
#if defined(__SANITIZE_ADDRESS__)
    __lsan_do_leak_check();
#endif
    _exit(status);
}
