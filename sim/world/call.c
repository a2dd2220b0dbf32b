#include "world/call.h"

#include <stdlib.h>

#include "base/check.h"

static void finish(struct calls *calls, struct call *call, bool lost)
{
    call->done = true;
    call->lost = lost;
    call->returned_ns = world_now(calls->world);
    if (call->on_done != NULL) call->on_done(call->context, call);
}

static void add_values(struct call *call, const Dynode__Client__Result *result)
{
    size_t count = call->value_count + result->n_siblings;
    call->values = realloc(call->values, (count + 1) * sizeof(*call->values));
    CHECK(call->values != NULL);
    for (size_t i = 0; i < result->n_siblings; i++) {
        const Dynode__Client__Sibling *sibling = result->siblings[i];
        struct buffer *value = &call->values[call->value_count];
        *value = (struct buffer){0};
        buffer_append(value, sibling->value.data, sibling->value.len);
        call->value_count++;
    }
}

/* In the order of the values: that of the node is by dots, which are drawn. */
static void sort_values(struct call *call)
{
    for (uint32_t i = 1; i < call->value_count; i++) {
        for (uint32_t at = i; at > 0; at--) {
            struct buffer *a = &call->values[at - 1], *b = &call->values[at];
            if (bytes_compare(buffer_bytes(a), buffer_bytes(b)) <= 0) break;
            struct buffer value = *a;
            *a = *b;
            *b = value;
        }
    }
}

static void add_result(struct call *call, const Dynode__Client__Result *result)
{
    call->status = (enum status)result->status;
    call->applied = result->applied;
    call->got = result->got;
    call->needed = result->needed;
    call->parts++;
    buffer_clear(&call->message);
    buffer_append(&call->message, result->message, strlen(result->message));
    buffer_append(&call->sealed, result->context.data, result->context.len);
    add_values(call, result);
    sort_values(call);
    for (size_t i = 0; i < result->n_replicas; i++) {
        CHECK(call->replica_count < CALL_REPLICAS_MAX);
        call->replicas[call->replica_count++] = result->replicas[i];
    }
    for (size_t i = 0; i < result->n_stand_ins; i++) {
        CHECK(call->stand_in_count < CALL_REPLICAS_MAX);
        call->stand_ins[call->stand_in_count++] = result->stand_ins[i];
    }
    if (result->answer_case == DYNODE__CLIENT__RESULT__ANSWER_SCAN) call->scan_count += result->scan->count;
}

static void answer(void *context, uint64_t connection, const Dynode__Client__Response *response)
{
    struct calls *calls = context;
    CHECK(response->id >= 1);
    CHECK(response->id <= calls->count);
    struct call *call = calls->list[response->id - 1];
    CHECK(call->connection == connection);
    CHECK(!call->done); /* answered twice */
    for (size_t i = 0; i < response->n_results; i++) add_result(call, response->results[i]);
    if (response->last) finish(calls, call, false);
}

static void closed(void *context, uint64_t connection)
{
    struct calls *calls = context;
    uint32_t count = calls->count; /* those that on_done may start are on other connections */
    for (uint32_t i = 0; i < count; i++)
        if (calls->list[i]->connection == connection && !calls->list[i]->done)
            finish(calls, calls->list[i], true);
}

static void line(void *context, const char *text)
{
    const struct calls *calls = context;
    if (calls->line != NULL) calls->line(calls->line_context, text);
}

struct world_watch calls_watch(struct calls *calls)
{
    return (struct world_watch){
        .context = calls, .answer = answer, .closed = closed, .line = calls->line != NULL ? line : NULL};
}

void calls_fini(struct calls *calls)
{
    for (uint32_t i = 0; i < calls->count; i++) {
        struct call *call = calls->list[i];
        buffer_fini(&call->message);
        buffer_fini(&call->sealed);
        for (uint32_t v = 0; v < call->value_count; v++) buffer_fini(&call->values[v]);
        free(call->values);
        free(call);
    }
    free(calls->list);
    *calls = (struct calls){0};
}

struct call *call_start(struct calls *calls, uint64_t connection, Dynode__Client__Operation *operation,
                        uint32_t deadline_ms, call_done *on_done, void *context)
{
    struct call *call = calloc(1, sizeof(*call));
    CHECK(call != NULL);
    calls->list = realloc(calls->list, (calls->count + 1) * sizeof(*calls->list));
    CHECK(calls->list != NULL);
    calls->list[calls->count++] = call;
    call->connection = connection;
    call->on_done = on_done;
    call->context = context;
    call->invoked_ns = world_now(calls->world);
    call->deadline_ns = call->invoked_ns + (uint64_t)deadline_ms * 1000000;
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = calls->count;
    request.deadline_ms = deadline_ms;
    request.n_operations = 1;
    request.operations = &operation;
    if (connection == 0 || !world_send(calls->world, connection, &request)) finish(calls, call, true);
    return call;
}

bool answer_not_applied(enum status status, Dynode__Client__Applied applied)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_NOT_FOUND:
    case STATUS_INTERNAL:
        return false;
    case STATUS_UNAVAILABLE:
    case STATUS_TIMEOUT:
        return applied == DYNODE__CLIENT__APPLIED__NO;
    default:
        return true;
    }
}

bool call_not_applied(const struct call *call)
{
    return call->done && !call->lost && answer_not_applied(call->status, call->applied);
}
