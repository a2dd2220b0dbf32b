#include "world/history_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "world/client.h"

enum { KEYS_MAX = 1 << 20, FIELDS_MAX = 17 };

/* Lines of operations wait until all are there: the history takes them in the order of their tokens. */
struct waiting {
    uint64_t token, line;
    char *text;
};

struct reader {
    struct history_file *file;
    char *why;
    uint64_t line;
    bool bad, ended;
    uint64_t count; /* as `end` has it */
    struct waiting *ops;
    size_t op_count, op_capacity;
    struct waiting *rest; /* of what speaks of operations */
    size_t rest_count, rest_capacity;
    uint8_t *contents; /* by key; as many as are known so far */
    uint32_t content_count, copy_capacity;
    struct token_list covers, elements, seen;
    char *fields[FIELDS_MAX];
    size_t field_count;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct reader *reader, const char *format, ...)
{
    if (reader->bad) return false;
    reader->bad = true;
    int at = snprintf(reader->why, 256, "line %" PRIu64 ": ", reader->line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->why + at, 256 - (size_t)at, format, arguments);
    va_end(arguments);
    return false;
}

/* --- fields --- */

static bool number(struct reader *reader, size_t field, uint64_t most, uint64_t *out)
{
    const char *text = reader->fields[field];
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || *out > most)
        return fail(reader, "field %zu is `%.40s`, not a number up to %" PRIu64, field + 1, text, most);
    return true;
}

static bool word(struct reader *reader, size_t field, const char *const *words, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(reader->fields[field], words[i]) != 0) continue;
        *out = (uint8_t)i;
        return true;
    }
    return fail(reader, "field %zu is `%.40s`, which is not known", field + 1, reader->fields[field]);
}

static bool list(struct reader *reader, size_t field, uint64_t most, struct token_list *out)
{
    char *text = reader->fields[field];
    out->count = 0;
    if (strcmp(text, "-") == 0) return true;
    for (char *next, *save = NULL; (next = strtok_r(text, ",", &save)) != NULL; text = NULL) {
        char *end;
        unsigned long long value = strtoull(next, &end, 10);
        if (*next < '0' || *next > '9' || *end != 0 || value < 1 || value > most)
            return fail(reader, "field %zu has `%.40s`, not a number from 1 to %" PRIu64, field + 1, next,
                        most);
        token_list_add(out, (uint32_t)value);
    }
    return true;
}

static bool flags(struct reader *reader, size_t field, uint8_t *out)
{
    static const char letters[] = "bcarwfxl"; /* in the order of enum op_flag */
    *out = 0;
    for (const char *at = reader->fields[field]; *at != 0 && strcmp(reader->fields[field], "-") != 0; at++) {
        const char *found = strchr(letters, *at);
        if (found == NULL) return fail(reader, "there is no flag `%c`", *at);
        *out |= (uint8_t)(1U << (found - letters));
    }
    return true;
}

/* Take the line apart. The last field of `damage` has spaces of its own. */
static void split(struct reader *reader, char *text, size_t most)
{
    reader->field_count = 0;
    char *save = NULL;
    for (char *next = strtok_r(text, " ", &save); next != NULL; next = strtok_r(NULL, " ", &save)) {
        if (reader->field_count == FIELDS_MAX) break;
        reader->fields[reader->field_count++] = next;
        if (reader->field_count < most || *save == 0) continue;
        reader->fields[reader->field_count++] = save;
        return;
    }
}

static bool need(struct reader *reader, size_t count)
{
    if (reader->field_count == count) return true;
    return fail(reader, "%zu fields, not %zu", reader->field_count, count);
}

/* --- lines --- */

static bool read_table(struct reader *reader)
{
    static const char *const rules[] = {"siblings", "lww"};
    struct history_file *file = reader->file;
    uint8_t rule = 0;
    uint64_t n, r, w, strict, skew_ns;
    if (!need(reader, 7) || !word(reader, 1, rules, 2, &rule) || !number(reader, 2, 15, &n) ||
        !number(reader, 3, n, &r) || !number(reader, 4, n, &w) || !number(reader, 5, 1, &strict) ||
        !number(reader, 6, UINT32_MAX * 1000ULL, &skew_ns))
        return false;
    if (n == 0 || r == 0 || w == 0) return fail(reader, "N, R and W are at least 1");
    file->n = (uint32_t)n, file->r = (uint32_t)r, file->w = (uint32_t)w;
    file->strict = strict != 0;
    file->history.lww = rule == 1;
    file->history.skew_ns = skew_ns;
    file->history.all_homes = w == n;
    file->history.late_ns = UINT64_MAX; /* real networks and stopped processes know no bound */
    return true;
}

static bool read_key(struct reader *reader)
{
    static const char *const names[] = {"plain", "cart", "counter"};
    uint64_t key;
    uint8_t content = CONTENT_PLAIN;
    if (!need(reader, 3) || !number(reader, 1, KEYS_MAX - 1, &key) || !word(reader, 2, names, 3, &content))
        return false;
    if (key >= reader->content_count) {
        reader->contents = realloc(reader->contents, key + 1);
        CHECK(reader->contents != NULL);
        memset(reader->contents + reader->content_count, 0, key + 1 - reader->content_count);
        reader->content_count = (uint32_t)key + 1;
    }
    reader->contents[key] = content;
    return true;
}

static bool read_op(struct reader *reader)
{
    static const char *const kinds[] = {"get", "put", "delete"}, *const outcomes[] = {"info", "ok", "fail"};
    struct history *history = &reader->file->history;
    struct op op = {0};
    uint64_t token, status, session, node, key, invoked_ns, ended_ns;
    uint8_t outcome = OUTCOME_INFO, bits = 0;
    if (!need(reader, 16) || !number(reader, 1, UINT32_MAX - 1, &token) ||
        !word(reader, 2, kinds, 3, &op.kind) || !word(reader, 3, outcomes, 3, &outcome) ||
        !number(reader, 4, UINT8_MAX, &status) || !flags(reader, 5, &bits) ||
        !number(reader, 6, COUNTER_SESSIONS_MAX - 1, &session) || !number(reader, 7, UINT16_MAX, &node) ||
        !number(reader, 8, KEYS_MAX - 1, &key) || !number(reader, 9, INT64_MAX, &invoked_ns) ||
        !number(reader, 10, INT64_MAX, &ended_ns) || !number(reader, 11, INT64_MAX, &op.deadline_ns) ||
        !number(reader, 12, INT64_MAX / 2, &op.ttl_ns) || !list(reader, 13, token - 1, &reader->covers) ||
        !list(reader, 14, UINT32_MAX, &reader->elements) || !list(reader, 15, UINT32_MAX, &reader->seen))
        return false;
    if (token != history->count + 1ULL)
        return fail(reader, "operation %" PRIu64 " comes where %u is next", token, history->count + 1);
    if (ended_ns < invoked_ns) return fail(reader, "it ended before it began");
    if (history->count > 0 && invoked_ns < history->ops[history->count - 1].invoked_ns)
        return fail(reader, "it began before operation %u", history->count);
    bool cart = key < reader->content_count && reader->contents[key] == CONTENT_CART;
    for (uint32_t i = 0; i < reader->elements.count && cart; i++)
        if (reader->elements.list[i] >= token)
            return fail(reader, "a cart cannot hold %u yet", reader->elements.list[i]);
    for (uint32_t i = 0; i < reader->covers.count; i++)
        if (history_op(history, reader->covers.list[i])->key != key)
            return fail(reader, "it covers %u, which is of another key", reader->covers.list[i]);
    op.flags = bits;
    op.session = (uint16_t)session, op.node = (uint16_t)node, op.key = (uint32_t)key;
    history_invoke(history, &op, invoked_ns, tokens_of(&reader->covers), tokens_of(&reader->elements));
    history_return(history, (uint32_t)token, (enum outcome)outcome, ended_ns, tokens_of(&reader->seen), 0);
    history->ops[token - 1].status = (uint8_t)status;
    return true;
}

static bool read_final(struct reader *reader)
{
    uint64_t key, node, whole;
    if (!need(reader, 5) || !number(reader, 1, KEYS_MAX - 1, &key) || !number(reader, 2, UINT16_MAX, &node) ||
        !number(reader, 3, 1, &whole) || !list(reader, 4, UINT32_MAX, &reader->seen))
        return false;
    history_final(&reader->file->history, (uint32_t)key, (uint32_t)node, whole != 0,
                  tokens_of(&reader->seen));
    return true;
}

static bool read_copy(struct reader *reader)
{
    struct history_file *file = reader->file;
    uint64_t key, node, home, digest;
    if (!need(reader, 5) || !number(reader, 1, KEYS_MAX - 1, &key) || !number(reader, 2, UINT16_MAX, &node) ||
        !number(reader, 3, 1, &home) || !number(reader, 4, UINT64_MAX, &digest))
        return false;
    if (file->copy_count == reader->copy_capacity) {
        reader->copy_capacity = reader->copy_capacity == 0 ? 64 : reader->copy_capacity * 2;
        file->copies = realloc(file->copies, reader->copy_capacity * sizeof(*file->copies));
        CHECK(file->copies != NULL);
    }
    file->copies[file->copy_count++] =
        (struct copy){.key = (uint32_t)key, .node = (uint32_t)node, .home = home != 0, .digest = digest};
    return true;
}

static bool read_written(struct reader *reader)
{
    struct history_file *file = reader->file;
    uint64_t token, at_ms;
    if (!need(reader, 3) || !number(reader, 1, UINT32_MAX - 1, &token) ||
        !number(reader, 2, INT64_MAX, &at_ms))
        return false;
    if (!history_written(&file->history, (uint32_t)token, at_ms) && file->damage[0] == 0)
        snprintf(file->damage, sizeof(file->damage), "write %" PRIu64 " is said to be written at two times",
                 token);
    return true;
}

static bool read_damage(struct reader *reader)
{
    struct history_file *file = reader->file;
    uint64_t token;
    if (!need(reader, 3) || !number(reader, 1, file->history.count, &token)) return false;
    if (file->damage[0] == 0)
        snprintf(file->damage, sizeof(file->damage), "operation %" PRIu64 ": a value is %.120s", token,
                 reader->fields[2]);
    return true;
}

static bool read_line(struct reader *reader, char *text)
{
    bool damage = strncmp(text, "damage ", 7) == 0;
    split(reader, text, damage ? 2 : FIELDS_MAX + 1);
    if (reader->field_count == 0) return fail(reader, "it is empty");
    const char *what = reader->fields[0];
    if (strcmp(what, "op") == 0) return read_op(reader);
    if (strcmp(what, "written") == 0) return read_written(reader);
    if (damage) return read_damage(reader);
    if (strcmp(what, "final") == 0) return read_final(reader);
    if (strcmp(what, "copy") == 0) return read_copy(reader);
    if (strcmp(what, "table") == 0) return read_table(reader);
    if (strcmp(what, "key") == 0) return read_key(reader);
    if (strcmp(what, "end") != 0) return fail(reader, "there is no such line as `%.40s`", what);
    reader->ended = need(reader, 2) && number(reader, 1, UINT32_MAX - 1, &reader->count);
    return reader->ended;
}

/* --- the file --- */

static void wait_for(struct waiting **list, size_t *count, size_t *capacity, struct waiting one)
{
    if (*count == *capacity) {
        *capacity = *capacity == 0 ? 1024 : *capacity * 2;
        *list = realloc(*list, *capacity * sizeof(**list));
        CHECK(*list != NULL);
    }
    one.text = strdup(one.text);
    CHECK(one.text != NULL);
    (*list)[(*count)++] = one;
}

static int by_token(const void *a, const void *b)
{
    const struct waiting *x = a, *y = b;
    return x->token < y->token ? -1 : x->token > y->token;
}

static void read_lines(struct reader *reader, FILE *from)
{
    char *text = NULL;
    size_t capacity = 0;
    ssize_t size;
    while (!reader->bad && (size = getline(&text, &capacity, from)) > 0) {
        reader->line++;
        struct waiting one = {.line = reader->line, .text = text};
        if (reader->ended) {
            fail(reader, "something follows the end");
        } else if (text[size - 1] != '\n' || memchr(text, 0, (size_t)size) != NULL) {
            fail(reader, "it is cut short");
        } else {
            text[size - 1] = 0;
            if (reader->line == 1 && strcmp(text, "dynode-history 1") != 0) {
                fail(reader, "this is not a dynode-history of version 1");
            } else if (strncmp(text, "op ", 3) == 0) {
                one.token = strtoull(text + 3, NULL, 10);
                wait_for(&reader->ops, &reader->op_count, &reader->op_capacity, one);
            } else if (strncmp(text, "written ", 8) == 0 || strncmp(text, "damage ", 7) == 0) {
                wait_for(&reader->rest, &reader->rest_count, &reader->rest_capacity, one);
            } else if (reader->line > 1) {
                read_line(reader, text);
            }
        }
    }
    free(text);
}

static void read_waiting(struct reader *reader, struct waiting *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        reader->line = list[i].line;
        if (!reader->bad) read_line(reader, list[i].text);
        free(list[i].text);
    }
    free(list);
}

bool history_file_read(FILE *from, struct history_file *out, char why[256])
{
    struct history_file file = {0};
    struct reader reader = {.file = &file, .why = why};
    read_lines(&reader, from);
    if (!reader.ended) fail(&reader, "the file ends without saying so");
    if (file.n == 0) fail(&reader, "nothing was said about the table");
    if (reader.op_count > 0) qsort(reader.ops, reader.op_count, sizeof(*reader.ops), by_token);
    read_waiting(&reader, reader.ops, reader.op_count);
    read_waiting(&reader, reader.rest, reader.rest_count);
    if (file.history.count != reader.count)
        fail(&reader, "%u operations, not the %" PRIu64 " of its end", file.history.count, reader.count);
    file.contents = calloc(file.history.keys + 1U, sizeof(*file.contents));
    CHECK(file.contents != NULL);
    for (uint32_t key = 0; key < file.history.keys && key < reader.content_count; key++)
        file.contents[key] = (enum content)reader.contents[key];
    free(reader.contents);
    token_list_fini(&reader.covers);
    token_list_fini(&reader.elements);
    token_list_fini(&reader.seen);
    if (reader.bad)
        history_file_fini(&file);
    else
        *out = file;
    return !reader.bad;
}

void history_file_fini(struct history_file *file)
{
    history_fini(&file->history);
    free(file->contents);
    free(file->copies);
    *file = (struct history_file){0};
}
