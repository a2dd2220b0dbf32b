#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#define MB         (1024ULL * 1024)
#define TB         (1024ULL * 1024 * MB)
#define CENTURY_MS (36525ULL * 86400000)

enum { LSM_SHARD_CACHE_MB = 32, PATH_SHOWN = 64 };

struct reader {
    const char *file_name;
    const struct yaml_lines *lines;
    struct config *config;
    char *why;
    size_t why_bytes;
    char group[PATH_SHOWN]; /* "", "node." or "members[2]." */
};

/* The one line. Always false. */
__attribute__((format(printf, 3, 4))) static bool wrong(struct reader *r, const char *key, const char *format,
                                                        ...)
{
    char path[2 * PATH_SHOWN], text[CONFIG_WHY_BYTES];
    snprintf(path, sizeof path, "%s%s", r->group, key);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(r->why, r->why_bytes, "%s:%u: %s: %s", r->file_name, yaml_line(r->lines, path), path, text);
    return false;
}

/* A wrong value, shown as far as it is fit to be seen. */
static bool not_allowed(struct reader *r, const char *key, const char *text, const char *allowed)
{
    char shown[44];
    size_t size = 0;
    for (const char *p = text; *p != '\0' && size < 40; p++) shown[size++] = *p < ' ' || *p > '~' ? '?' : *p;
    if (strlen(text) > size) memset(shown + size - 3, '.', 3);
    shown[size] = '\0';
    return wrong(r, key, "'%s' is not allowed: %s", shown, allowed);
}

static const char *keep(struct reader *r, const char *text)
{
    return (const char *)bytes_copy(&r->config->arena, bytes_of(text, strlen(text) + 1)).data;
}

static bool read_number(struct reader *r, const char *key, const char *text, uint32_t least, uint32_t most,
                        uint32_t *out)
{
    uint64_t value;
    if (text == NULL) return true;
    if (!value_number(text, &value) || value < least || value > most) {
        char allowed[64];
        snprintf(allowed, sizeof allowed, "a number from %u to %u", least, most);
        return not_allowed(r, key, text, allowed);
    }
    *out = (uint32_t)value;
    return true;
}

static bool read_size(struct reader *r, const char *key, const char *text, uint64_t least, uint64_t most,
                      const char *allowed, uint64_t *out)
{
    uint64_t value;
    if (text == NULL) return true;
    if (!value_size(text, &value) || value < least || value > most) return not_allowed(r, key, text, allowed);
    *out = value;
    return true;
}

static bool read_id(struct reader *r, const char *key, const char *text, uint64_t *out)
{
    if (text == NULL || strcmp(text, "auto") == 0) return true;
    if (value_id(text, out)) return true;
    return not_allowed(r, key, text, "16 hexadecimal digits, not all 0, or auto");
}

static bool read_name(struct reader *r, const char *key, const char *text, const char **out)
{
    if (text == NULL) return true;
    if (!value_name(text)) return not_allowed(r, key, text, "1 to 63 letters, digits, '-', '_' and '.'");
    *out = keep(r, text);
    return true;
}

static bool read_zone(struct reader *r, const char *text, const char **out)
{
    if (text == NULL) return true;
    if (!value_printable(text, 63))
        return not_allowed(r, "zone", text, "at most 63 printable ASCII characters");
    *out = keep(r, text);
    return true;
}

static bool read_path(struct reader *r, const char *key, const char *text, const char **out)
{
    if (text == NULL || text[0] == '\0') return true;
    if (strlen(text) > CONFIG_DATA_BYTES_MAX) return wrong(r, key, "the path is above 255 bytes");
    *out = keep(r, text);
    return true;
}

static bool read_client_address(struct reader *r, const char *key, const char *text, bool port_0,
                                const char **out)
{
    struct address_parts parts;
    if (!value_address(text, &parts) || parts.kind == ADDRESS_IPC ||
        (parts.kind == ADDRESS_TCP && parts.port == 0 && !port_0)) {
        return not_allowed(r, key, text,
                           port_0
                               ? "tcp://HOST:PORT (port 0: any free one) or unix:///PATH of at most 107 bytes"
                               : "tcp://HOST:PORT or unix:///PATH of at most 107 bytes");
    }
    *out = keep(r, text);
    return true;
}

static bool read_peer_address(struct reader *r, const char *key, const char *text, bool port_0,
                              const char **out)
{
    struct address_parts parts;
    if (!value_address(text, &parts) || parts.kind == ADDRESS_UNIX ||
        (parts.kind == ADDRESS_TCP && parts.port == 0 && !port_0)) {
        return not_allowed(r, key, text,
                           port_0
                               ? "tcp://HOST:PORT (port 0: any free one) or ipc:///PATH of at most 107 bytes"
                               : "tcp://HOST:PORT or ipc:///PATH of at most 107 bytes");
    }
    *out = keep(r, text);
    return true;
}

static bool read_bool(struct reader *r, const char *key, const char *text, bool *out)
{
    if (text == NULL || value_bool(text, out)) return true;
    return not_allowed(r, key, text, "true or false");
}

static bool read_choice(struct reader *r, const char *key, const char *text, const char *const *choices,
                        uint32_t choice_count, const char *allowed, uint32_t *out)
{
    if (text == NULL) return true;
    for (uint32_t i = 0; i < choice_count; i++) {
        if (strcmp(text, choices[i]) != 0) continue;
        *out = i;
        return true;
    }
    return not_allowed(r, key, text, allowed);
}

static bool read_top(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    if (raw->data == NULL || raw->data[0] == '\0') {
        return wrong(r, "data", "it is missing: the directory where this node keeps its data");
    }
    if (!read_path(r, "data", raw->data, &c->data)) return false;
    if (raw->shards != NULL && strcmp(raw->shards, "auto") != 0) {
        uint64_t shards;
        if (!value_number(raw->shards, &shards) || shards < 1 || shards > CONFIG_SHARDS_MAX) {
            return not_allowed(r, "shards", raw->shards, "auto, or a number from 1 to 256");
        }
        c->shards = (uint32_t)shards;
    }
    return read_bool(r, "pin", raw->pin, &c->pin);
}

static bool read_cluster(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    snprintf(r->group, sizeof r->group, "cluster.");
    uint64_t vnodes = c->vnodes;
    if (!read_id(r, "id", raw->cluster.id, &c->cluster_id)) return false;
    if (raw->cluster.vnodes != NULL && (!value_number(raw->cluster.vnodes, &vnodes) || vnodes < 1 ||
                                        vnodes > CONFIG_VNODES_MAX || (vnodes & (vnodes - 1)) != 0)) {
        return not_allowed(r, "vnodes", raw->cluster.vnodes, "a power of two from 1 to 65536");
    }
    c->vnodes = (uint32_t)vnodes;
    return read_path(r, "secret_file", raw->cluster.secret_file, &c->secret_file);
}

static bool read_node(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    snprintf(r->group, sizeof r->group, "node.");
    const char *name = raw->node.name != NULL && raw->node.name[0] == '\0' ? NULL : raw->node.name;
    return read_id(r, "id", raw->node.id, &c->node_id) && read_name(r, "name", name, &c->name) &&
           read_zone(r, raw->node.zone, &c->zone) &&
           read_number(r, "weight", raw->node.weight, 1, CONFIG_WEIGHT_MAX, &c->weight);
}

static bool read_member(struct reader *r, const struct raw_member *raw, struct config_member *m)
{
    const struct {
        const char *key, *text;
    } needed[] = {{"id", raw->id}, {"name", raw->name}, {"peer", raw->peer}, {"client", raw->client}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].text == NULL) {
            return wrong(r, needed[i].key, "it is missing: a member has id, name, peer and client");
        }
    }
    *m = (struct config_member){.zone = "", .weight = 100};
    if (!value_id(raw->id, &m->id)) return not_allowed(r, "id", raw->id, "16 hexadecimal digits, not all 0");
    return read_name(r, "name", raw->name, &m->name) &&
           read_peer_address(r, "peer", raw->peer, false, &m->peer) &&
           read_client_address(r, "client", raw->client, false, &m->client) &&
           read_zone(r, raw->zone, &m->zone) &&
           read_number(r, "weight", raw->weight, 1, CONFIG_WEIGHT_MAX, &m->weight);
}

/* Does an earlier member have the same id, name or address? Which of them, for the message. */
static const char *member_clash(const struct config_member *a, const struct config_member *b)
{
    if (a->id == b->id) return "id";
    if (strcmp(a->name, b->name) == 0) return "name";
    if (strcmp(a->peer, b->peer) == 0) return "peer";
    return strcmp(a->client, b->client) == 0 ? "client" : NULL;
}

static bool read_members(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    c->members = ARENA_ARRAY(&c->arena, struct config_member, raw->members_count);
    for (uint32_t i = 0; i < raw->members_count; i++) {
        snprintf(r->group, sizeof r->group, "members[%u].", i + 1);
        if (!read_member(r, &raw->members[i], &c->members[i])) return false;
        for (uint32_t j = 0; j < i; j++) {
            const char *key = member_clash(&c->members[i], &c->members[j]);
            if (key != NULL)
                return wrong(r, key, "members[%u] has the same; each member needs its own", j + 1);
        }
    }
    c->member_count = raw->members_count;
    return true;
}

static bool read_self(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    if (c->member_count == 0) return true;
    r->group[0] = '\0';
    if (c->cluster_id == 0)
        return wrong(r, "cluster.id",
                     "it is missing: with members it must be given, the same in all of them");
    if (c->node_id == 0)
        return wrong(r, "node.id", "it is missing: with members it must be given, and be one of theirs");
    const struct config_member *self = config_self(c);
    if (self == NULL) {
        return wrong(r, "node.id", "%016llx is not among the members; they must include this node itself",
                     (unsigned long long)c->node_id);
    }
    if (raw->node.name != NULL && strcmp(c->name, self->name) != 0) {
        return wrong(r, "node.name", "'%s' differs from '%s' in members; leave it out here", c->name,
                     self->name);
    }
    if (raw->node.zone != NULL && strcmp(c->zone, self->zone) != 0) {
        return wrong(r, "node.zone", "'%s' differs from '%s' in members; leave it out here", c->zone,
                     self->zone);
    }
    if (raw->node.weight != NULL && c->weight != self->weight) {
        return wrong(r, "node.weight", "%u differs from %u in members; leave it out here", c->weight,
                     self->weight);
    }
    c->name = self->name;
    c->zone = self->zone;
    c->weight = self->weight;
    return true;
}

/* After the members: without a word of its own a node listens where its members' record says. */
static bool read_listen(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    const struct config_member *self = config_self(c);
    snprintf(r->group, sizeof r->group, "listen.");
    c->listen_client_count = raw->listen.client_count > 0 ? raw->listen.client_count : 1;
    c->listen_client = ARENA_ARRAY(&c->arena, const char *, c->listen_client_count);
    c->listen_client[0] = self != NULL ? self->client : "tcp://127.0.0.1:7400";
    c->listen_peer = self != NULL ? self->peer : "tcp://127.0.0.1:7500";
    for (uint32_t i = 0; i < raw->listen.client_count; i++) {
        char key[32];
        snprintf(key, sizeof key, "client[%u]", i + 1);
        if (!read_client_address(r, key, raw->listen.client[i], true, &c->listen_client[i])) return false;
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(c->listen_client[i], c->listen_client[j]) == 0)
                return wrong(r, key, "it stands here twice");
        }
    }
    if (raw->listen.peer != NULL && !read_peer_address(r, "peer", raw->listen.peer, true, &c->listen_peer))
        return false;
    for (uint32_t i = 0; i < c->listen_client_count; i++) {
        struct address_parts parts;
        bool fixed =
            value_address(c->listen_client[i], &parts) && (parts.kind != ADDRESS_TCP || parts.port != 0);
        if (fixed && strcmp(c->listen_client[i], c->listen_peer) == 0) {
            return wrong(r, "peer", "clients have the same address; each port needs its own");
        }
    }
    return true;
}

static bool read_table(struct reader *r, const struct raw_table *raw, struct config_table *t)
{
    static const char *const rules[] = {"siblings", "lww"};
    uint32_t members = r->config->member_count == 0 ? 1 : r->config->member_count;
    uint32_t rule = 0;
    if (raw->name == NULL) return wrong(r, "name", "it is missing: a table needs one");
    *t = (struct config_table){.n = members < 3 ? members : 3};
    if (!read_name(r, "name", raw->name, &t->name)) return false;
    if (!read_choice(r, "rule", raw->rule, rules, 2, "siblings or lww", &rule)) return false;
    if (!read_number(r, "n", raw->n, 1, CONFIG_N_MAX, &t->n)) return false;
    if (t->n > members)
        return wrong(r, "n", "%u replicas, but the cluster has %u member%s", t->n, members,
                     members == 1 ? "" : "s");
    t->lww = rule == 1;
    t->r = t->w = t->n / 2 + 1;
    if (!read_number(r, "r", raw->r, 1, t->n, &t->r) || !read_number(r, "w", raw->w, 1, t->n, &t->w))
        return false;
    if (raw->ttl != NULL && (!value_time_ms(raw->ttl, &t->ttl_ms) || t->ttl_ms > CENTURY_MS)) {
        return not_allowed(r, "ttl", raw->ttl,
                           "0 (for ever), or a time such as 500ms, 30s, 10m, 24h or 7d, to 36525d");
    }
    return true;
}

static bool read_tables(struct reader *r, const struct raw_config *raw)
{
    struct config *c = r->config;
    c->tables = ARENA_ARRAY(&c->arena, struct config_table, raw->tables_count);
    for (uint32_t i = 0; i < raw->tables_count; i++) {
        snprintf(r->group, sizeof r->group, "tables[%u].", i + 1);
        if (!read_table(r, &raw->tables[i], &c->tables[i])) return false;
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(c->tables[i].name, c->tables[j].name) != 0) continue;
            return wrong(r, "name", "tables[%u] has the same; each table needs its own", j + 1);
        }
    }
    c->table_count = raw->tables_count;
    return true;
}

static bool read_store(struct reader *r, const struct raw_config *raw)
{
    static const char *const engines[] = {"btree", "lsm"};
    struct config *c = r->config;
    uint32_t engine = 0;
    snprintf(r->group, sizeof r->group, "store.");
    if (!read_choice(r, "engine", raw->store.engine, engines, 2, "btree, or lsm (experimental)", &engine) ||
        !read_size(r, "cache", raw->store.cache, MB, TB, "a size from 1MB to 1TB, such as 256MB",
                   &c->cache_bytes) ||
        !read_size(r, "reserve", raw->store.reserve, 0, TB, "a size from 0 to 1TB, such as 256MB",
                   &c->reserve_bytes) ||
        !read_size(r, "hints", raw->store.hints, MB, TB, "a size from 1MB to 1TB, such as 1GB",
                   &c->hint_bytes_max) ||
        !read_size(r, "checkpoint_log", raw->store.checkpoint_log, MB, TB,
                   "a size from 1MB to 1TB, such as 64MB", &c->checkpoint_log_bytes) ||
        !read_number(r, "checkpoint_seconds", raw->store.checkpoint_seconds, 1, 86400,
                     &c->checkpoint_seconds)) {
        return false;
    }
    c->lsm = engine == 1;
    uint64_t shards = config_shards(c), least = shards * (c->lsm ? LSM_SHARD_CACHE_MB : 1);
    if (c->cache_bytes / MB < least) {
        return wrong(r, "cache", "%s with %llu shard%s needs at least %lluMB", engines[engine],
                     (unsigned long long)shards, shards == 1 ? "" : "s", (unsigned long long)least);
    }
    return true;
}

static bool read_rest(struct reader *r, const struct raw_config *raw)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    struct config *c = r->config;
    snprintf(r->group, sizeof r->group, "limits.");
    if (!read_number(r, "operations", raw->limits.operations, 1, 1000000, &c->operations_max) ||
        !read_number(r, "connection_operations", raw->limits.connection_operations, 1, 1000000,
                     &c->connection_operations_max) ||
        !read_number(r, "connections", raw->limits.connections, 1, 1000000, &c->connections_max)) {
        return false;
    }
    snprintf(r->group, sizeof r->group, "log.");
    uint32_t level = LOG_LEVEL_INFO;
    if (!read_choice(r, "level", raw->log.level, levels, 4, "error, warn, info or debug", &level))
        return false;
    c->log_level = (enum log_level)level;
    return true;
}

enum status config_parse(struct bytes yaml, const char *file_name, struct config **out, char *why,
                         size_t why_bytes)
{
    struct raw_config *raw;
    struct yaml_lines *lines;
    enum status status = config_yaml_parse(yaml, file_name, &raw, &lines, why, why_bytes);
    if (status != STATUS_OK) return status;

    struct config *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    arena_init(&c->arena, 0);
    c->vnodes = 1024;
    c->name = c->zone = "";
    c->weight = 100;
    c->cache_bytes = 256 * MB;
    c->reserve_bytes = 256 * MB;
    c->hint_bytes_max = 1024 * MB;
    c->checkpoint_log_bytes = 64 * MB;
    c->checkpoint_seconds = 30;
    c->operations_max = 16384;
    c->connection_operations_max = 4096;
    c->connections_max = 10000;
    struct reader r = {
        .file_name = file_name, .lines = lines, .config = c, .why = why, .why_bytes = why_bytes};
    bool ok = read_top(&r, raw) && read_cluster(&r, raw) && read_node(&r, raw) && read_members(&r, raw) &&
              read_self(&r, raw) && read_listen(&r, raw) && read_tables(&r, raw) && read_store(&r, raw) &&
              read_rest(&r, raw);
    config_yaml_free(raw, lines);
    if (!ok) {
        config_free(c);
        return STATUS_INVALID;
    }
    *out = c;
    return STATUS_OK;
}

enum status config_load(const char *path, struct config **out, char *why, size_t why_bytes)
{
    struct buffer text = {0};
    struct stat st;
    enum status status = STATUS_INVALID;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not hang us */
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, why_bytes, "%s: cannot be read: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, why_bytes, "%s: is not a plain file; a configuration file is needed", path);
        goto done;
    }
    for (;;) {
        ssize_t size = read(fd, buffer_reserve(&text, 65536), 65536);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) {
            snprintf(why, why_bytes, "%s: cannot be read: %s", path, strerror(errno));
            goto done;
        }
        text.size += (size_t)size;
        if (size == 0 || text.size > CONFIG_FILE_BYTES_MAX) break; /* config_parse refuses what is above */
    }
    status = config_parse(buffer_bytes(&text), path, out, why, why_bytes);
done:
    if (fd >= 0) close(fd);
    buffer_fini(&text);
    return status;
}

void config_free(struct config *config)
{
    arena_fini(&config->arena);
    free(config);
}

const struct config_member *config_self(const struct config *config)
{
    for (uint32_t i = 0; i < config->member_count; i++) {
        if (config->members[i].id == config->node_id) return &config->members[i];
    }
    return NULL;
}

uint32_t config_shards(const struct config *config)
{
    if (config->shards != 0) return config->shards;
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
    int count = CPU_COUNT(&cores);
    return count < 1 ? 1 : count > CONFIG_SHARDS_MAX ? CONFIG_SHARDS_MAX : (uint32_t)count;
}
