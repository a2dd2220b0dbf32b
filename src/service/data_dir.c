#include "service/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"
#include "runtime/node_record.h"
#include "store/store.h"

struct complaint {
    char *why;
    size_t why_bytes;
};

__attribute__((format(printf, 2, 3))) static enum status refuse(const struct complaint *to,
                                                                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to->why, to->why_bytes, format, arguments);
    va_end(arguments);
    return STATUS_INVALID;
}

/* Is there anything of a node's in it? Then a missing record is no fresh start. */
static bool holds_stores(const char *path)
{
    DIR *at = opendir(path);
    bool found = false;
    if (at == NULL) return false;
    for (struct dirent *entry = readdir(at); entry != NULL && !found; entry = readdir(at)) {
        found = strncmp(entry->d_name, "shard-", 6) == 0;
    }
    closedir(at);
    return found;
}

/* Could a directory be made at @path? */
static bool can_be_made(const char *path)
{
    char parent[CONFIG_DATA_BYTES_MAX + 1];
    snprintf(parent, sizeof parent, "%s", path);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/') parent[--size] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash == NULL) return access(".", W_OK | X_OK) == 0;
    slash[slash == parent ? 1 : 0] = '\0';
    return access(parent, W_OK | X_OK) == 0;
}

static enum status see(const char *path, const struct complaint *to)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT && can_be_made(path)) return STATUS_OK;
        return refuse(to, "%s: the data directory cannot be made: %s", path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) return refuse(to, "%s: data names a file; a directory is needed", path);
    if (access(path, R_OK | W_OK | X_OK) != 0) {
        return refuse(to, "%s: the data directory cannot be written: %s", path, strerror(errno));
    }
    return STATUS_OK;
}

static enum status agree(const struct config *config, const struct node_record *have,
                         const struct complaint *to)
{
    const char *at = config->data;
    if (config->cluster_id != 0 && config->cluster_id != have->cluster) {
        return refuse(
            to, "%s: its data belongs to cluster %016" PRIx64 ", not to %016" PRIx64 " as cluster.id says",
            at, have->cluster, config->cluster_id);
    }
    if (config->node_id != 0 && config->node_id != have->node) {
        return refuse(to,
                      "%s: its data belongs to node %016" PRIx64 ", not to %016" PRIx64 " as node.id says",
                      at, have->node, config->node_id);
    }
    if (config->vnodes != have->vnodes) {
        return refuse(to,
                      "%s: its data was made with %" PRIu32 " vnodes, not %" PRIu32 " as cluster.vnodes says",
                      at, have->vnodes, config->vnodes);
    }
    if (config->shards != 0 && config->shards != have->shards) {
        return refuse(
            to, "%s: its data was made with %" PRIu32 " shards, not %" PRIu32 " as shards says: set it back",
            at, have->shards, config->shards);
    }
    for (uint32_t i = 0; i < have->shards; i++) {
        char path[CONFIG_DATA_BYTES_MAX + 32];
        bool lsm;
        snprintf(path, sizeof(path), "%s/" SHARD_DIRECTORY, at, i);
        if (store_wt_made_with(path, &lsm) != STATUS_OK || lsm == config->lsm) continue;
        return refuse(to, "%s: its data was made with store.engine %s, not %s: set it back", at,
                      lsm ? "lsm" : "btree", config->lsm ? "lsm" : "btree");
    }
    return STATUS_OK;
}

enum status data_dir_read(const struct config *config, struct data_dir *out, char *why, size_t why_bytes)
{
    struct complaint to = {why, why_bytes};
    struct node_record have;
    enum status status = see(config->data, &to);
    if (status != STATUS_OK) return status;
    status = node_record_read(config->data, &have, why, why_bytes);
    if (status == STATUS_OK) {
        if (agree(config, &have, &to) != STATUS_OK) return STATUS_INVALID;
        *out = (struct data_dir){
            .cluster = have.cluster, .node = have.node, .vnodes = have.vnodes, .shards = have.shards};
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND) return STATUS_INVALID;
    if (holds_stores(config->data)) {
        return refuse(&to, "%s: there are stores, but the file `node` that says whose they are is gone",
                      config->data);
    }
    struct data_dir dir = {.cluster = config->cluster_id,
                           .node = config->node_id,
                           .vnodes = config->vnodes,
                           .shards = config_shards(config),
                           .fresh = true};
    while (dir.cluster == 0) dir.cluster = prng_entropy();
    while (dir.node == 0) dir.node = prng_entropy();
    *out = dir;
    return STATUS_OK;
}
