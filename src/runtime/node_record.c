#include "runtime/node_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_PATH_BYTES = 512, RECORD_BYTES_MAX = 512 };

enum status node_record_read(const char *data, struct node_record *out, char *why, size_t why_bytes)
{
    char path[RECORD_PATH_BYTES], text[RECORD_BYTES_MAX];
    snprintf(path, sizeof(path), "%s/node", data);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        if (errno == ENOENT) return STATUS_NOT_FOUND;
        snprintf(why, why_bytes, "%s can't be read: %s", path, strerror(errno));
        return STATUS_INVALID;
    }
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[size] = 0;
    struct node_record record;
    unsigned complete;
    int end = -1;
    int fields = sscanf(
        text, "cluster %" SCNx64 " node %" SCNx64 " shards %" SCNu32 " vnodes %" SCNu32 " complete %u %n",
        &record.cluster, &record.node, &record.shards, &record.vnodes, &complete, &end);
    if (fields != 5 || end != (int)size || complete > 1 || record.cluster == 0 || record.node == 0 ||
        record.shards == 0) {
        snprintf(why, why_bytes, "%s is damaged: it must say cluster, node, shards, vnodes and complete",
                 path);
        return STATUS_INVALID;
    }
    record.complete = complete == 1;
    *out = record;
    return STATUS_OK;
}

enum status node_record_write(const char *data, const struct node_record *record, char *why, size_t why_bytes)
{
    char path[RECORD_PATH_BYTES], made[RECORD_PATH_BYTES], text[RECORD_BYTES_MAX];
    snprintf(path, sizeof(path), "%s/node", data);
    snprintf(made, sizeof(made), "%s/node.new", data);
    int size = snprintf(text, sizeof(text),
                        "cluster %016" PRIx64 "\nnode %016" PRIx64 "\nshards %" PRIu32 "\nvnodes %" PRIu32
                        "\ncomplete %d\n",
                        record->cluster, record->node, record->shards, record->vnodes, record->complete);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int directory = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && directory >= 0 && write(fd, text, (size_t)size) == size && fsync(fd) == 0 &&
              rename(made, path) == 0 && fsync(directory) == 0;
    if (!ok) snprintf(why, why_bytes, "%s can't be written: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (directory >= 0) close(directory);
    return ok ? STATUS_OK : STATUS_INVALID;
}
