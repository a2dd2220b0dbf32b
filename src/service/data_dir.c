#include "service/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"

enum { NODE_FILE_BYTES_MAX = 512 };

#define NODE_FILE                                                                                            \
    "# Who lives in this directory. Written once; a start whose configuration differs is refused.\n"         \
    "dynode-data 1\ncluster %016" PRIx64 "\nnode %016" PRIx64 "\nvnodes %" PRIu32 "\nshards %" PRIu32 "\n"
#define NODE_FILE_SCAN                                                                                       \
    "# Who lives in this directory. Written once; a start whose configuration differs is refused.\n"         \
    "dynode-data 1\ncluster %16" SCNx64 "\nnode %16" SCNx64 "\nvnodes %" SCNu32 "\nshards %" SCNu32

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

/* Is there anything of a node's in it? Then a missing node file is no fresh start. */
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

/* Read who lives here. Nobody: dir->fresh. */
static enum status read_node(struct data_dir *dir, const struct complaint *to)
{
    char path[DATA_PATH_BYTES_MAX + 8], text[NODE_FILE_BYTES_MAX], again[NODE_FILE_BYTES_MAX];
    snprintf(path, sizeof path, "%s/node", dir->path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        if (holds_stores(dir->path))
            return refuse(to, "%s: it is missing, but there are stores beside it", path);
        dir->fresh = true;
        return STATUS_OK;
    }
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    int error = errno;
    if (fd >= 0) close(fd);
    if (size < 0) return refuse(to, "%s: cannot be read: %s", path, strerror(error));
    text[size] = '\0';
    /* What was read must be what would be written: anything else is damage. */
    if (sscanf(text, NODE_FILE_SCAN, &dir->cluster, &dir->node, &dir->vnodes, &dir->shards) != 4 ||
        snprintf(again, sizeof again, NODE_FILE, dir->cluster, dir->node, dir->vnodes, dir->shards) != size ||
        strcmp(text, again) != 0 || dir->cluster == 0 || dir->node == 0 || dir->shards == 0) {
        return refuse(to, "%s: it is damaged: not what a node has written", path);
    }
    return STATUS_OK;
}

/* Does the configuration agree with who lives here? A fresh directory takes what it says. */
static enum status agree(const struct config *config, struct data_dir *dir, const struct complaint *to)
{
    if (dir->fresh) {
        dir->cluster = config->cluster_id;
        dir->node = config->node_id;
        dir->vnodes = config->vnodes;
        dir->shards = config_shards(config);
        return STATUS_OK;
    }
    const char *at = dir->path;
    if (config->cluster_id != 0 && config->cluster_id != dir->cluster) {
        return refuse(
            to, "%s: its data belongs to cluster %016" PRIx64 ", not to %016" PRIx64 " as cluster.id says",
            at, dir->cluster, config->cluster_id);
    }
    if (config->node_id != 0 && config->node_id != dir->node) {
        return refuse(to,
                      "%s: its data belongs to node %016" PRIx64 ", not to %016" PRIx64 " as node.id says",
                      at, dir->node, config->node_id);
    }
    if (config->vnodes != dir->vnodes) {
        return refuse(to,
                      "%s: its data was made with %" PRIu32 " vnodes, not %" PRIu32 " as cluster.vnodes says",
                      at, dir->vnodes, config->vnodes);
    }
    if (config->shards != 0 && config->shards != dir->shards) {
        return refuse(
            to, "%s: its data was made with %" PRIu32 " shards, not %" PRIu32 " as shards says: set it back",
            at, dir->shards, config->shards);
    }
    return STATUS_OK;
}

static bool sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* Whole or not at all. */
static enum status write_node(const struct data_dir *dir, const struct complaint *to)
{
    char path[DATA_PATH_BYTES_MAX + 8], made[DATA_PATH_BYTES_MAX + 16], text[NODE_FILE_BYTES_MAX];
    snprintf(path, sizeof path, "%s/node", dir->path);
    snprintf(made, sizeof made, "%s/node.new", dir->path);
    int size = snprintf(text, sizeof text, NODE_FILE, dir->cluster, dir->node, dir->vnodes, dir->shards);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, text, (size_t)size) == size && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0) close(fd);
    if (ok && rename(made, path) == 0 && sync_directory(dir->path)) return STATUS_OK;
    if (ok) error = errno;
    return refuse(to, "%s: cannot be written: %s", path, strerror(error));
}

static enum status lock(struct data_dir *dir, const struct complaint *to)
{
    char path[DATA_PATH_BYTES_MAX + 8], pid[32] = "";
    snprintf(path, sizeof path, "%s/lock", dir->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return refuse(to, "%s: the data directory cannot be written: %s", dir->path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t size = pread(fd, pid, sizeof pid - 1, 0);
        pid[size > 0 ? size : 0] = '\0';
        refuse(to, "%s: the data directory is in use by another process (pid %u)", dir->path,
               (unsigned)strtoul(pid, NULL, 10));
        close(fd);
        return STATUS_IN_USE;
    }
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)size, 0) != size) {
        refuse(to, "%s: the data directory cannot be written: %s", dir->path, strerror(errno));
        close(fd);
        return STATUS_INVALID;
    }
    dir->lock_fd = fd;
    return STATUS_OK;
}

static enum status begin(const struct config *config, bool make, struct data_dir *dir,
                         const struct complaint *to)
{
    struct stat st;
    *dir = (struct data_dir){.lock_fd = -1};
    snprintf(dir->path, sizeof dir->path, "%s", config->data);
    if (make && mkdir(dir->path, 0700) != 0 && errno != EEXIST) {
        return refuse(to, "%s: the data directory cannot be made: %s", dir->path, strerror(errno));
    }
    if (stat(dir->path, &st) != 0) {
        if (errno == ENOENT && !make) return STATUS_OK; /* it will be made */
        return refuse(to, "%s: the data directory cannot be reached: %s", dir->path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) return refuse(to, "%s: data names a file; a directory is needed", dir->path);
    if (access(dir->path, R_OK | W_OK | X_OK) != 0) {
        return refuse(to, "%s: the data directory cannot be written: %s", dir->path, strerror(errno));
    }
    return STATUS_OK;
}

enum status data_dir_check(const struct config *config, struct data_dir *out, char *why, size_t why_bytes)
{
    struct complaint to = {why, why_bytes};
    enum status status = begin(config, false, out, &to);
    if (status == STATUS_OK) status = read_node(out, &to);
    return status == STATUS_OK ? agree(config, out, &to) : status;
}

enum status data_dir_open(const struct config *config, struct data_dir *out, char *why, size_t why_bytes)
{
    struct complaint to = {why, why_bytes};
    enum status status = begin(config, true, out, &to);
    if (status == STATUS_OK) status = lock(out, &to);
    if (status == STATUS_OK) status = read_node(out, &to);
    if (status == STATUS_OK) status = agree(config, out, &to);
    if (status == STATUS_OK && out->fresh) {
        while (out->cluster == 0) out->cluster = prng_entropy();
        while (out->node == 0) out->node = prng_entropy();
        status = write_node(out, &to);
    }
    if (status != STATUS_OK) data_dir_close(out);
    return status;
}

void data_dir_shard_path(const struct data_dir *dir, uint32_t shard, char path[DATA_PATH_BYTES_MAX])
{
    snprintf(path, DATA_PATH_BYTES_MAX, "%.*s/shard-%u", DATA_PATH_BYTES_MAX - 20, dir->path, shard);
}

void data_dir_close(struct data_dir *dir)
{
    if (dir->lock_fd >= 0) close(dir->lock_fd);
    dir->lock_fd = -1;
}
