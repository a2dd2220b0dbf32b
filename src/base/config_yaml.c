#include "base/config_yaml.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/check.h"

enum {
    DEPTH_MAX = 6,
    VALUES_MAX = 65536,
    SCALAR_BYTES_MAX = 4096,
    PATH_BYTES_MAX = 192,
    KEY_SHOWN_BYTES = 40
};

/* --- the schema --- */

#define TEXT(key, structure, member)                                                                         \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, 0,              \
                           SCALAR_BYTES_MAX)
#define TEXT_IN(group, key) TEXT(#key, struct group##_group, group.key)

/* libcyaml wants offsets within the mapping's own struct; these are what raw_config's members are made of. */
#define GROUP(group)                                                                                         \
    struct group##_group {                                                                                   \
        __typeof__(((struct raw_config *)0)->group) group;                                                   \
    }
GROUP(cluster);
GROUP(node);
GROUP(listen);
GROUP(store);
GROUP(limits);
GROUP(log);

static const cyaml_schema_field_t cluster_fields[] = {TEXT_IN(cluster, id), TEXT_IN(cluster, vnodes),
                                                      TEXT_IN(cluster, secret_file), CYAML_FIELD_END};
static const cyaml_schema_field_t node_fields[] = {
    TEXT_IN(node, id), TEXT_IN(node, name), TEXT_IN(node, zone), TEXT_IN(node, weight), CYAML_FIELD_END};
static const cyaml_schema_value_t address_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, SCALAR_BYTES_MAX)};
static const cyaml_schema_field_t listen_fields[] = {
    {.key = "client",
     .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *, &address_value, 1,
                                    CONFIG_LISTEN_MAX)},
     .data_offset = offsetof(struct listen_group, listen.client),
     .count_size = sizeof(uint32_t),
     .count_offset = offsetof(struct listen_group, listen.client_count)},
    TEXT_IN(listen, peer),
    CYAML_FIELD_END};
static const cyaml_schema_field_t member_fields[] = {TEXT("id", struct raw_member, id),
                                                     TEXT("name", struct raw_member, name),
                                                     TEXT("peer", struct raw_member, peer),
                                                     TEXT("client", struct raw_member, client),
                                                     TEXT("zone", struct raw_member, zone),
                                                     TEXT("weight", struct raw_member, weight),
                                                     CYAML_FIELD_END};
static const cyaml_schema_value_t member_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_member, member_fields)};
static const cyaml_schema_field_t table_fields[] = {TEXT("name", struct raw_table, name),
                                                    TEXT("rule", struct raw_table, rule),
                                                    TEXT("n", struct raw_table, n),
                                                    TEXT("r", struct raw_table, r),
                                                    TEXT("w", struct raw_table, w),
                                                    TEXT("ttl", struct raw_table, ttl),
                                                    CYAML_FIELD_END};
static const cyaml_schema_value_t table_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_table, table_fields)};
static const cyaml_schema_field_t store_fields[] = {
    TEXT_IN(store, engine), TEXT_IN(store, cache),          TEXT_IN(store, reserve),
    TEXT_IN(store, hints),  TEXT_IN(store, checkpoint_log), TEXT_IN(store, checkpoint_seconds),
    CYAML_FIELD_END};
static const cyaml_schema_field_t limits_fields[] = {TEXT_IN(limits, operations),
                                                     TEXT_IN(limits, connection_operations),
                                                     TEXT_IN(limits, connections), CYAML_FIELD_END};
static const cyaml_schema_field_t log_fields[] = {TEXT_IN(log, level), CYAML_FIELD_END};

static const cyaml_schema_field_t top_fields[] = {
    TEXT("data", struct raw_config, data),
    TEXT("shards", struct raw_config, shards),
    TEXT("pin", struct raw_config, pin),
    CYAML_FIELD_MAPPING("cluster", CYAML_FLAG_OPTIONAL, struct raw_config, cluster, cluster_fields),
    CYAML_FIELD_MAPPING("node", CYAML_FLAG_OPTIONAL, struct raw_config, node, node_fields),
    CYAML_FIELD_MAPPING("listen", CYAML_FLAG_OPTIONAL, struct raw_config, listen, listen_fields),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_config, members,
                         &member_value, 0, CONFIG_MEMBERS_MAX),
    CYAML_FIELD_SEQUENCE("tables", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_config, tables,
                         &table_value, 0, CONFIG_TABLES_MAX),
    CYAML_FIELD_MAPPING("store", CYAML_FLAG_OPTIONAL, struct raw_config, store, store_fields),
    CYAML_FIELD_MAPPING("limits", CYAML_FLAG_OPTIONAL, struct raw_config, limits, limits_fields),
    CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct raw_config, log, log_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t top_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, top_fields)};

/* The fields that are legal under @path ("members[2]"); NULL if it is no mapping of ours. */
static const cyaml_schema_field_t *fields_under(const char *path)
{
    if (path[0] == '\0') return top_fields;
    size_t size = strcspn(path, "[");
    for (const cyaml_schema_field_t *f = top_fields; f->key != NULL; f++) {
        if (strlen(f->key) != size || strncmp(f->key, path, size) != 0) continue;
        if (f->value.type == CYAML_MAPPING) return f->value.mapping.fields;
        if (f->value.type == CYAML_SEQUENCE) return f->value.sequence.entry->mapping.fields;
    }
    return NULL;
}

/* --- lines --- */

struct yaml_lines {
    struct {
        uint32_t path, line; /* @path: an offset in paths */
    } * entries;
    uint32_t count, capacity;
    struct buffer paths; /* each ends with a NUL */
};

static void lines_add(struct yaml_lines *lines, const char *path, size_t line)
{
    if (lines->count == lines->capacity) {
        lines->capacity = lines->capacity == 0 ? 64 : lines->capacity * 2;
        lines->entries = realloc(lines->entries, lines->capacity * sizeof *lines->entries);
        CHECK(lines->entries != NULL);
    }
    lines->entries[lines->count].path = (uint32_t)lines->paths.size;
    lines->entries[lines->count++].line = (uint32_t)line + 1;
    buffer_append(&lines->paths, path, strlen(path) + 1);
}

uint32_t yaml_line(const struct yaml_lines *lines, const char *path)
{
    uint32_t line = 1;
    size_t longest = 0;
    for (uint32_t i = 0; i < lines->count; i++) {
        const char *at = (const char *)lines->paths.data + lines->entries[i].path;
        size_t size = strlen(at);
        if (size < longest || strncmp(path, at, size) != 0) continue;
        if (path[size] != '\0' && path[size] != '.' && path[size] != '[') continue;
        longest = size;
        line = lines->entries[i].line; /* of a key that stands twice: the second */
    }
    return line;
}

static void lines_free(struct yaml_lines *lines)
{
    if (lines == NULL) return;
    free(lines->entries);
    buffer_fini(&lines->paths);
    free(lines);
}

/* One open mapping or list of the walk. */
struct level {
    bool mapping;
    bool value_next;  /* of a mapping: its key has been read */
    uint32_t entry;   /* of a list: how many have begun */
    size_t path_size; /* of its own path */
};

struct walk {
    struct yaml_lines *lines;
    struct level levels[DEPTH_MAX];
    uint32_t depth, documents;
    char path[PATH_BYTES_MAX];
    const char *problem;
};

/* A value begins: below @w's path. False: w->problem. */
static bool walk_value(struct walk *w, size_t line)
{
    if (w->depth == 0) return true;
    struct level *level = &w->levels[w->depth - 1];
    if (level->mapping) {
        level->value_next = false;
        return true;
    }
    size_t room = PATH_BYTES_MAX - level->path_size;
    int size = snprintf(w->path + level->path_size, room, "[%u]", ++level->entry);
    if (size < 0 || (size_t)size >= room) {
        w->problem = "nested too deeply";
        return false;
    }
    lines_add(w->lines, w->path, line);
    return true;
}

static bool walk_scalar(struct walk *w, const yaml_event_t *event)
{
    size_t line = event->start_mark.line;
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (memchr(text, '\0', size) != NULL) {
        w->problem = "a NUL character in a value";
        return false;
    }
    if (size > SCALAR_BYTES_MAX) {
        w->problem = "a value above 4096 bytes";
        return false;
    }
    struct level *level = w->depth > 0 ? &w->levels[w->depth - 1] : NULL;
    if (level == NULL || !level->mapping || level->value_next) return walk_value(w, line);
    if (size > KEY_SHOWN_BYTES || level->path_size + size + 16 > PATH_BYTES_MAX) {
        w->problem = "no setting has so long a name";
        return false;
    }
    level->value_next = true;
    snprintf(w->path + level->path_size, PATH_BYTES_MAX - level->path_size, "%s%s",
             level->path_size > 0 ? "." : "", text);
    lines_add(w->lines, w->path, line);
    return true;
}

static bool walk_open(struct walk *w, const yaml_event_t *event, bool mapping)
{
    if (w->depth > 0 && w->levels[w->depth - 1].mapping && !w->levels[w->depth - 1].value_next) {
        w->problem = "a mapping or list as a key";
        return false;
    }
    if (w->depth == DEPTH_MAX) {
        w->problem = "nested too deeply";
        return false;
    }
    if (!walk_value(w, event->start_mark.line)) return false;
    w->levels[w->depth++] = (struct level){.mapping = mapping, .path_size = strlen(w->path)};
    return true;
}

static bool walk_event(struct walk *w, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (w->documents++ == 0) return true;
        w->problem = "a second document; a configuration is one";
        return false;
    case YAML_ALIAS_EVENT:
        w->problem = "aliases (*name) are not allowed here";
        return false;
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor != NULL) break;
        return walk_scalar(w, event);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor != NULL) break;
        return walk_open(w, event, true);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor != NULL) break;
        return walk_open(w, event, false);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        w->depth--;
        /* Back to the path of the list or mapping around it. */
        w->path[w->depth > 0 ? w->levels[w->depth - 1].path_size : 0] = '\0';
        return true;
    default:
        return true;
    }
    w->problem = "anchors (&name) are not allowed here";
    return false;
}

static bool lines_read(struct bytes yaml, const char *file_name, struct yaml_lines *lines, char *why,
                       size_t why_bytes)
{
    yaml_parser_t parser;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, yaml.data, yaml.size);
    struct walk walk = {.lines = lines};
    bool ok = true, end = false;
    while (ok && !end) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            snprintf(why, why_bytes, "%s:%zu: not YAML: %s", file_name, parser.problem_mark.line + 1,
                     parser.problem != NULL ? parser.problem : "unreadable");
            ok = false;
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        ok = walk_event(&walk, &event);
        if (ok && lines->count > VALUES_MAX) {
            walk.problem = "more than 65536 values";
            ok = false;
        }
        if (!ok) snprintf(why, why_bytes, "%s:%zu: %s", file_name, event.start_mark.line + 1, walk.problem);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ok;
}

/* --- libcyaml's complaint, in one line --- */

struct complaint {
    char first[256];           /* its message */
    char path[PATH_BYTES_MAX]; /* put together from the backtrace, innermost first */
};

static void complaint_log(cyaml_log_t level, void *context, const char *format, va_list arguments)
{
    (void)level;
    struct complaint *c = context;
    char line[256];
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\n")] = '\0';
    char *quote = strchr(line, '\'');
    if (strncmp(line, "  in ", 5) != 0) {
        if (c->first[0] == '\0') snprintf(c->first, sizeof c->first, "%s", line);
    } else if (quote !=
               NULL) { /* "  in mapping field 'node' (line..." or "  in sequence entry '2' (line..." */
        char inner[PATH_BYTES_MAX];
        snprintf(inner, sizeof inner, "%s", c->path);
        int size = (int)strcspn(quote + 1, "'");
        bool entry = strncmp(line, "  in sequence", 13) == 0;
        const char *dot = inner[0] == '\0' || inner[0] == '[' ? "" : ".";
        snprintf(c->path, sizeof c->path, entry ? "[%.*s]%s%s" : "%.*s%s%s", size, quote + 1, dot, inner);
    }
}

static void complaint_explain(const struct complaint *c, cyaml_err_t error, const char *file_name,
                              const struct yaml_lines *lines, char *why, size_t why_bytes)
{
    const char *about = strstr(c->first, "key: "); /* "Load: Unexpected key: foo" */
    const char *seen = strstr(c->first, "already seen: ");
    char path[PATH_BYTES_MAX + 64];
    if (error == CYAML_ERR_INVALID_KEY && about != NULL) {
        snprintf(path, sizeof path, "%s%s%.*s", c->path, c->path[0] != '\0' ? "." : "", KEY_SHOWN_BYTES,
                 about + 5);
        int at = snprintf(why, why_bytes, "%s:%u: %s: unknown setting; here are allowed:", file_name,
                          yaml_line(lines, path), path);
        const cyaml_schema_field_t *fields = fields_under(c->path);
        for (const cyaml_schema_field_t *f = fields; f != NULL && f->key != NULL; f++) {
            if (at < 0 || (size_t)at >= why_bytes) return;
            at += snprintf(why + at, why_bytes - (size_t)at, "%s %s", f == fields ? "" : ",", f->key);
        }
        return;
    }
    const char *text = "it is not of the right kind";
    snprintf(path, sizeof path, "%s", c->path);
    if (seen != NULL) { /* the path ends with the key before it, or with itself */
        char *last = strrchr(path, '.');
        snprintf(last == NULL ? path : last + 1, KEY_SHOWN_BYTES, "%s", seen + 14);
        text = "it stands here twice; once is allowed";
    } else if (error == CYAML_ERR_SEQUENCE_ENTRIES_MAX) {
        text = "the list is too long: at most 1024 members, 4096 tables and 16 client addresses are allowed";
    } else if (error == CYAML_ERR_SEQUENCE_ENTRIES_MIN) {
        path[strcspn(path, "[")] = '\0';
        text = "the list is empty; one entry at least is needed, or leave it out";
    } else if (strstr(c->first, "Expecting STRING") != NULL) {
        text = "a single value is needed here, not a mapping or a list";
    } else if (strstr(c->first, "Expecting SEQUENCE") != NULL) {
        text = "a list is needed here (lines that begin with '- ', or [])";
    } else if (strstr(c->first, "Expecting MAPPING") != NULL) {
        text = "a mapping is needed here (lines of 'key: value')";
    }
    snprintf(why, why_bytes, "%s:%u: %s%s%s", file_name, yaml_line(lines, path), path,
             path[0] != '\0' ? ": " : "", text);
}

enum status config_yaml_parse(struct bytes yaml, const char *file_name, struct raw_config **raw,
                              struct yaml_lines **lines, char *why, size_t why_bytes)
{
    if (yaml.size > CONFIG_FILE_BYTES_MAX) {
        snprintf(why, why_bytes, "%s:1: the file is above 1 MiB", file_name);
        return STATUS_INVALID;
    }
    struct yaml_lines *index = calloc(1, sizeof *index);
    CHECK(index != NULL);
    if (!lines_read(yaml, file_name, index, why, why_bytes)) {
        lines_free(index);
        return STATUS_INVALID;
    }
    struct complaint complaint = {0};
    cyaml_config_t config = {.log_fn = complaint_log,
                             .log_ctx = &complaint,
                             .mem_fn = cyaml_mem,
                             .log_level = CYAML_LOG_WARNING,
                             .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *data = NULL;
    cyaml_err_t error =
        yaml.size == 0 ? CYAML_OK : cyaml_load_data(yaml.data, yaml.size, &config, &top_value, &data, NULL);
    if (error != CYAML_OK) {
        complaint_explain(&complaint, error, file_name, index, why, why_bytes);
        lines_free(index);
        return STATUS_INVALID;
    }
    if (data == NULL) { /* an empty file */
        data = cyaml_mem(NULL, NULL, sizeof(struct raw_config));
        CHECK(data != NULL);
        memset(data, 0, sizeof(struct raw_config));
    }
    *raw = data;
    *lines = index;
    return STATUS_OK;
}

void config_yaml_free(struct raw_config *raw, struct yaml_lines *lines)
{
    cyaml_config_t config = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    cyaml_free(&config, &top_value, raw, 0);
    lines_free(lines);
}
