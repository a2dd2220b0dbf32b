/* Config YAML: the file's shape: which keys there are, and what is a mapping, a list or a text. Every value
 * is a text here; what the texts mean is config.c's. The schema is libcyaml's; since libcyaml forgets where a
 * value stood, and names the wrong line for an unknown key, a pass over libyaml's events before it notes the
 * line of each path
 * ("members[2].id") and refuses what has no place in a configuration: aliases, anchors, tags, several
 * documents, nesting above 6, more than 65,536 values. So nothing that a file says makes it cost more than a
 * small multiple of its size. */
#pragma once

#include "base/bytes.h"
#include "base/status.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1024 * 1024,
    CONFIG_MEMBERS_MAX = 1024,
    CONFIG_TABLES_MAX = 4096,
    CONFIG_LISTEN_MAX = 16
};

/* NULL: not in the file. */
struct raw_member {
    char *id, *name, *peer, *client, *zone, *weight;
};

struct raw_table {
    char *name, *rule, *n, *r, *w, *ttl;
};

struct raw_config {
    char *data, *shards, *pin;
    struct {
        char *id, *vnodes, *secret_file;
    } cluster;
    struct {
        char *id, *name, *zone, *weight;
    } node;
    struct {
        char **client;
        uint32_t client_count;
        char *peer;
    } listen;
    struct raw_member *members;
    uint32_t members_count;
    struct raw_table *tables;
    uint32_t tables_count;
    struct {
        char *engine, *cache, *reserve, *hints, *checkpoint_log, *checkpoint_seconds;
    } store;
    struct {
        char *operations, *connection_operations, *connections;
    } limits;
    struct {
        char *level;
    } log;
};

struct yaml_lines; /* path to line */

/* Parse. On failure *why is one line, "FILE:LINE: KEY: what is wrong". On success the caller frees both.
 * STATUS_INVALID */
enum status config_yaml_parse(struct bytes yaml, const char *file_name, struct raw_config **raw,
                              struct yaml_lines **lines, char *why, size_t why_bytes);
void config_yaml_free(struct raw_config *raw, struct yaml_lines *lines);

/* The line of @path, or of the longest beginning of it that is there; 1 if there is none. */
uint32_t yaml_line(const struct yaml_lines *lines, const char *path);
