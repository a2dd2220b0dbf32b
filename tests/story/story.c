#include "story.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

static const uint64_t us = 1000, ms = 1000000;

/* Was the same told since the last heading, at another time? */
static bool was_told(const struct story *story, const char *line)
{
    char text[600];
    int size = snprintf(text, sizeof(text), "  %s\n", line + strspn(line, " .0123456789"));
    return memmem(story->trace.data + story->heading, story->trace.size - story->heading, text,
                  (size_t)size) != NULL;
}

static void add_line(void *context, const char *line)
{
    struct story *story = context;
    if (getenv("DYNODE_TRACE") != NULL) fprintf(stderr, "%s\n", line);
    struct buffer *to = story->terse && was_told(story, line) ? &story->untold : &story->trace;
    buffer_append(to, line, strlen(line));
    buffer_append(to, "\n", 1);
}

void story_say(struct story *story, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    bool terse = story->terse;
    story->terse = false;
    add_line(story, "");
    buffer_append(&story->trace, "# ", 2);
    add_line(story, text);
    story->terse = terse;
    story->heading = story->trace.size;
}

static void begin(struct story *story, const char *name, uint64_t pass_ns)
{
    *story = (struct story){.name = name, .table = "fruit"};
    struct world_options options = world_options_default(1);
    options.network = (struct span){500 * us, 500 * us};
    options.local = (struct span){20 * us, 20 * us};
    options.sync = (struct span){1 * ms, 1 * ms};
    options.turn = (struct span){10 * us, 10 * us};
    options.redial = (struct span){100 * ms, 100 * ms};
    options.repair_pass_ns = pass_ns;
    options.reap_after_ns = 1000 * ms; /* the longest deadline */
    options.audit_pass_ns = 5 * pass_ns;
    story->calls.line = add_line;
    story->calls.line_context = story;
    struct world_watch watch = calls_watch(&story->calls);
    story->world = world_alloc(&options, &watch);
    story->calls.world = story->world;
    story_pass_ms(story, 500);
    assert_int_equal(story_wait(story, story_create_table(story, 0, "fruit"))->status, STATUS_OK);
    world_run(story->world, 1003010 * us); /* every story begins then, however long the table took */
    buffer_clear(&story->trace);
}

void story_begin(struct story *story, const char *name)
{
    begin(story, name, 0);
}

void story_begin_with_repair(struct story *story, const char *name)
{
    begin(story, name, 1000 * ms);
}

static void golden_path(const struct story *story, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.txt", STORY_GOLDEN, story->name);
}

static void record(const struct story *story)
{
    char path[512];
    golden_path(story, path, sizeof(path));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(story->trace.data, 1, story->trace.size, file), story->trace.size);
    fclose(file);
    printf("recorded %s\n", path);
}

static void compare(const struct story *story)
{
    char path[512];
    struct buffer golden = {0};
    golden_path(story, path, sizeof(path));
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("no golden text %s: run with DYNODE_RECORD=1", path);
    for (size_t got = 1; got > 0;) {
        got = fread(buffer_reserve(&golden, 4096), 1, 4096, file);
        golden.size += got;
    }
    fclose(file);
    bool same = bytes_equal(buffer_bytes(&golden), buffer_bytes(&story->trace));
    buffer_fini(&golden);
    if (same) return;
    fprintf(stderr, "--- the trace of '%s' is now:\n%.*s---\n", story->name, (int)story->trace.size,
            (const char *)story->trace.data);
    fail_msg("the trace differs from %s; if that is meant, run with DYNODE_RECORD=1", path);
}

void story_end(struct story *story)
{
    if (getenv("DYNODE_RECORD") != NULL)
        record(story);
    else
        compare(story);
    story_discard(story);
}

void story_discard(struct story *story)
{
    world_free(story->world);
    calls_fini(&story->calls);
    buffer_fini(&story->trace);
    buffer_fini(&story->untold);
}

void story_key(struct story *story, const char *key)
{
    story->key = key;
    uint32_t count = world_homes(story->world, story->table, bytes_str(key), story->homes);
    assert_int_equal(count, 3);
    char line[128];
    snprintf(line, sizeof(line), "the homes of %s are n%u, n%u and n%u", key, story->homes[0] + 1,
             story->homes[1] + 1, story->homes[2] + 1);
    add_line(story, line);
    for (uint32_t node = 0; node < world_nodes(story->world); node++) {
        bool home = false;
        for (uint32_t i = 0; i < 3; i++) home |= story->homes[i] == node;
        if (!home) story->homes[count++] = node;
    }
}

/* --- operations --- */

static void tell_answer(void *context, struct call *call)
{
    struct story *story = context;
    char text[400];
    int at = snprintf(text, sizeof(text), "client <- ");
    if (call->lost) {
        world_note(story->world, "%s(the connection is lost)", text);
        return;
    }
    at += snprintf(text + at, sizeof(text) - (size_t)at, "%s", status_name(call->status));
    for (uint32_t i = 0; i < call->value_count; i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, " \"%.*s\"", (int)call->values[i].size,
                       (const char *)call->values[i].data);
    if (call->applied != DYNODE__CLIENT__APPLIED__APPLIED_NOTHING_TO_SAY)
        at += snprintf(text + at, sizeof(text) - (size_t)at, ", applied: %s",
                       call->applied == DYNODE__CLIENT__APPLIED__NO ? "no" : "maybe");
    if (call->needed > 0)
        at += snprintf(text + at, sizeof(text) - (size_t)at, ", %u of %u", call->got, call->needed);
    if (call->replica_count > 0) at += snprintf(text + at, sizeof(text) - (size_t)at, ", from");
    for (uint32_t i = 0; i < call->replica_count; i++) {
        bool stood = false;
        for (uint32_t k = 0; k < call->stand_in_count; k++) stood |= call->stand_ins[k] == call->replicas[i];
        at += snprintf(text + at, sizeof(text) - (size_t)at, " %sn%u", stood ? "stand-in " : "",
                       world_node_of(story->world, call->replicas[i]) + 1);
    }
    world_note(story->world, "%s", text);
}

static struct call *start(struct story *story, uint32_t node, Dynode__Client__Operation *operation,
                          uint32_t deadline_ms)
{
    uint64_t *connection = &story->connections[node];
    if (*connection == 0 || !world_is_open(story->world, *connection))
        *connection = world_connect(story->world, node, 0);
    return call_start(&story->calls, *connection, operation, deadline_ms != 0 ? deadline_ms : 1000,
                      tell_answer, story);
}

static ProtobufCBinaryData pb(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size};
}

static ProtobufCBinaryData context_of(const struct extras *extras)
{
    return extras->after != NULL ? pb(buffer_bytes(&extras->after->sealed)) : (ProtobufCBinaryData){0};
}

static Dynode__Client__Quorum quorum_of(const struct extras *extras)
{
    return extras->sloppy ? DYNODE__CLIENT__QUORUM__SLOPPY : DYNODE__CLIENT__QUORUM__STRICT;
}

struct call *story_put(struct story *story, uint32_t node, const char *value, struct extras extras)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    Dynode__Client__WriteToken token = DYNODE__CLIENT__WRITE_TOKEN__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
    operation.put = &put;
    put.table = (char *)(uintptr_t)story->table;
    put.key = pb(bytes_str(story->key));
    put.value = pb(bytes_str(value));
    put.w = extras.quorum;
    put.quorum = quorum_of(&extras);
    put.ttl_ms = extras.ttl_ms;
    put.precondition = extras.precondition;
    put.context = context_of(&extras);
    if (extras.token != 0) {
        token.client = 77;
        token.sequence = extras.token;
        put.token = &token;
    }
    world_note(story->world, "client -> n%u  put %s = \"%s\"%s%s%s%s", node + 1, story->key, value,
               extras.after != NULL ? " with the context" : "",
               extras.precondition == DYNODE__CLIENT__PRECONDITION__IF_ABSENT    ? " if absent"
               : extras.precondition == DYNODE__CLIENT__PRECONDITION__IF_CONTEXT ? " if unchanged"
                                                                                 : "",
               extras.token != 0 ? " with a token" : "", extras.sloppy ? ", sloppy" : "");
    return start(story, node, &operation, extras.deadline_ms);
}

struct call *story_get(struct story *story, uint32_t node, struct extras extras)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
    operation.get = &get;
    get.table = (char *)(uintptr_t)story->table;
    get.key = pb(bytes_str(story->key));
    get.r = extras.quorum;
    get.quorum = quorum_of(&extras);
    world_note(story->world, "client -> n%u  get %s%s", node + 1, story->key,
               extras.sloppy ? ", sloppy" : "");
    return start(story, node, &operation, extras.deadline_ms);
}

struct call *story_delete(struct story *story, uint32_t node, struct extras extras)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Delete delete = DYNODE__CLIENT__DELETE__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_DELETE;
    operation.delete_ = &delete;
    delete.table = (char *)(uintptr_t)story->table;
    delete.key = pb(bytes_str(story->key));
    delete.w = extras.quorum;
    delete.quorum = quorum_of(&extras);
    delete.precondition = extras.precondition;
    delete.context = context_of(&extras);
    world_note(story->world, "client -> n%u  delete %s%s%s", node + 1, story->key,
               extras.after != NULL ? " with the context" : "", extras.sloppy ? ", sloppy" : "");
    return start(story, node, &operation, extras.deadline_ms);
}

struct call *story_create_table(struct story *story, uint32_t node, const char *table)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__TableInfo info = DYNODE__CLIENT__TABLE_INFO__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
    operation.create_table = &create;
    create.table = &info;
    info.name = (char *)(uintptr_t)table;
    world_note(story->world, "client -> n%u  create table %s", node + 1, table);
    return start(story, node, &operation, 0);
}

struct call *story_drop_table(struct story *story, uint32_t node, const char *table)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__DropTable drop = DYNODE__CLIENT__DROP_TABLE__INIT;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE;
    operation.drop_table = &drop;
    drop.name = (char *)(uintptr_t)table;
    world_note(story->world, "client -> n%u  drop table %s", node + 1, table);
    return start(story, node, &operation, 0);
}

struct call *story_wait(struct story *story, struct call *call)
{
    uint64_t limit = world_now(story->world) + 10000 * ms;
    while (!call->done && world_now(story->world) < limit) world_step(story->world);
    assert_true(call->done);
    return call;
}

void story_pass_ms(struct story *story, uint64_t pass)
{
    world_run(story->world, world_now(story->world) + pass * ms);
}

void story_until(struct story *story, const char *text)
{
    size_t from = story->trace.size;
    uint64_t limit = world_now(story->world) + 10000 * ms;
    while (world_now(story->world) < limit) {
        size_t size = story->trace.size - from;
        if (size > 0 && memmem(story->trace.data + from, size, text, strlen(text)) != NULL) return;
        world_step(story->world);
    }
    fail_msg("nothing like '%s' happened", text);
}

static uint32_t count_in(const struct buffer *lines, const char *text)
{
    uint32_t count = 0;
    const uint8_t *at = lines->data, *end = at + lines->size;
    for (; at != NULL && (at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL;
         at += strlen(text))
        count++;
    return count;
}

uint32_t story_count(const struct story *story, const char *text)
{
    return count_in(&story->trace, text) + count_in(&story->untold, text);
}

void story_isolate(struct story *story, uint32_t node, bool cut)
{
    for (uint32_t other = 0; other < world_nodes(story->world); other++) {
        if (other == node) continue;
        if (cut)
            world_cut(story->world, node, other);
        else
            world_mend(story->world, node, other);
    }
}

void story_without_stand_ins(struct story *story)
{
    story_say(story, "the nodes that could keep a hint are dead");
    for (uint32_t i = 3; i < world_nodes(story->world); i++) world_crash(story->world, story->homes[i]);
    story_pass_ms(story, 10);
}

void story_expect(const struct call *call, enum status status, const char *const *values)
{
    assert_true(call->done);
    assert_string_equal(status_name(call->status), status_name(status));
    uint32_t count = 0;
    for (; values != NULL && values[count] != NULL; count++) {
        bool found = false;
        for (uint32_t i = 0; i < call->value_count; i++)
            found |= bytes_equal(buffer_bytes(&call->values[i]), bytes_str(values[count]));
        if (!found) fail_msg("the answer does not hold '%s'", values[count]);
    }
    assert_int_equal(call->value_count, count);
}
