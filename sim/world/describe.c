/* Describe: the trace of a world, and what travels in it, as lines that read like a story. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "wire/batch.h"
#include "wire/object_wire.h"
#include "world/world_state.h"

void world_note(struct world *world, const char *format, ...)
{
    if (!world_traced(world)) return;
    char line[512];
    int size = snprintf(line, sizeof(line), "%9.2f  ", (double)world->now_ns / 1e6);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof(line) - (size_t)size, format, arguments);
    va_end(arguments);
    if (world->watch.line != NULL) world->watch.line(world->watch.context, line);
    if (world->trace != NULL) world->trace(world->trace_context, line);
}

void world_trace(struct world *world, void (*line)(void *context, const char *line), void *context)
{
    world->trace = line;
    world->trace_context = context;
}

static const char *operation_name(const Dynode__Client__Operation *operation)
{
    if (operation == NULL) return "nothing";
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET:
        return "get";
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        return "put";
    case DYNODE__CLIENT__OPERATION__KIND_DELETE:
        return "delete";
    case DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE:
        return "create table";
    case DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE:
        return "drop table";
    default:
        return "operation";
    }
}

static void key_text(const Dynode__Peer__Place *place, char *out, size_t size)
{
    if (place == NULL)
        snprintf(out, size, "?");
    else
        snprintf(out, size, "%.*s", (int)place->key.len, (const char *)place->key.data);
}

/* In the order of their values: that of their dots is drawn. */
static int by_value(const void *a, const void *b)
{
    const struct sibling *x = a, *y = b;
    return bytes_compare(x->value, y->value);
}

/* A value that is text, cut short; or, as values of a world's clients begin (client.h), #token. */
static int value_text(bool tombstone, struct bytes value, char *out, size_t size)
{
    if (tombstone) return snprintf(out, size, "(deleted)");
    if (value.size >= 20 && value.data[0] < ' ') return snprintf(out, size, "#%u", get_be32(value.data));
    return snprintf(out, size, "\"%.*s\"", value.size < 16 ? (int)value.size : 16, (const char *)value.data);
}

/* The siblings of an encoded object: their values, cut short. */
static void object_text(struct world *world, ProtobufCBinaryData encoded, char *out, size_t size)
{
    struct object object;
    size_t at = 0;
    out[0] = 0;
    if (object_decode(bytes_of(encoded.data, encoded.len), &world->arena, &object) != STATUS_OK) {
        snprintf(out, size, "(unreadable)");
        return;
    }
    qsort(object.siblings, object.count, sizeof(*object.siblings), by_value);
    for (uint32_t i = 0; i < object.count && at + 24 < size; i++) {
        const struct sibling *sibling = &object.siblings[i];
        int written = snprintf(out + at, size - at, "%s", i > 0 ? " " : "");
        at += (size_t)written;
        written = value_text(sibling->tombstone, sibling->value, out + at, size - at);
        at += (size_t)written;
    }
}

static void fetched_text(struct world *world, const Dynode__Peer__ObjectsFetched *fetched, char *out,
                         size_t size)
{
    char object[128];
    size_t at = (size_t)snprintf(out, size, "fetched");
    for (size_t i = 0; i < fetched->n_objects && at < size; i++) {
        object_text(world, fetched->objects[i]->object, object, sizeof(object));
        at += (size_t)snprintf(out + at, size - at, " %s %s",
                               status_name((enum status)fetched->objects[i]->status), object);
    }
}

static void pushed_text(struct world *world, const Dynode__Peer__PushObjects *pushed, char *out, size_t size)
{
    char object[128];
    size_t at = (size_t)snprintf(out, size, "push");
    for (size_t i = 0; i < pushed->n_objects && at < size; i++) {
        struct store_place place;
        struct bytes key = bytes_of(pushed->objects[i]->key.data, pushed->objects[i]->key.len);
        object_text(world, pushed->objects[i]->object, object, sizeof(object));
        if (store_key_decode(key, &place))
            at += (size_t)snprintf(out + at, size - at, " %.*s: %s", (int)place.key.size,
                                   (const char *)place.key.data, object);
    }
}

/* False: not worth a line. */
static bool message_text(struct world *world, const Dynode__Peer__Message *message, char *out, size_t size)
{
    char key[64], object[160];
    int at;
    switch (message->body_case) {
    case DYNODE__PEER__MESSAGE__BODY_PING:
    case DYNODE__PEER__MESSAGE__BODY_PONG:
    case DYNODE__PEER__MESSAGE__BODY_GOSSIP:
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE:
    case DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK:
        return false;
    case DYNODE__PEER__MESSAGE__BODY_COORDINATE:
        snprintf(out, size, message->coordinate->only_if_held ? "do you hold this %s?" : "coordinate this %s",
                 operation_name(message->coordinate->operation));
        return true;
    case DYNODE__PEER__MESSAGE__BODY_OFFER:
        snprintf(out, size, "are you there, for a write?");
        return true;
    case DYNODE__PEER__MESSAGE__BODY_READY:
        snprintf(out, size, "yes");
        return true;
    case DYNODE__PEER__MESSAGE__BODY_COORDINATED:
        snprintf(out, size, "coordinated: %s",
                 message->coordinated->result == NULL
                     ? "?"
                     : status_name((enum status)message->coordinated->result->status));
        return true;
    case DYNODE__PEER__MESSAGE__BODY_MERGE:
        key_text(message->merge->place, key, sizeof(key));
        object_text(world, message->merge->object, object, sizeof(object));
        at = snprintf(out, size, "%s %s: %s", message->request == 0 ? "repair" : "merge", key, object);
        if (message->merge->hint_for != 0)
            snprintf(out + at, size - (size_t)at, ", a hint for n%u",
                     world_node_of(world, message->merge->hint_for) + 1);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_HAND_OFF:
        key_text(message->hand_off->place, key, sizeof(key));
        object_text(world, message->hand_off->object, object, sizeof(object));
        snprintf(out, size, "a hint comes home, %s: %s", key, object);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_HANDED_OFF:
        snprintf(out, size, "it is home: %s", status_name(message->handed_off->status));
        return true;
    case DYNODE__PEER__MESSAGE__BODY_MERGED:
        snprintf(out, size, "merged: %s", status_name(message->merged->status));
        return true;
    case DYNODE__PEER__MESSAGE__BODY_READ:
        key_text(message->read->place, key, sizeof(key));
        snprintf(out, size, "read %s%s", message->read->stand_in ? "the hints of " : "", key);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_READ_ANSWER:
        object_text(world, message->read_answer->object, object, sizeof(object));
        snprintf(out, size, "it is %s %s", status_name(message->read_answer->status), object);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS: /* these come all the time, or lead to those below */
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES:
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS:
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_EXCHANGE_DONE:
    case DYNODE__PEER__MESSAGE__BODY_ASK_BLANK:
    case DYNODE__PEER__MESSAGE__BODY_BLANK:
        return false;
    case DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS:
        snprintf(out, size, "fetch %zu", message->fetch_objects->n_keys);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED:
        fetched_text(world, message->objects_fetched, out, size);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS:
        pushed_text(world, message->push_objects, out, size);
        return true;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED:
        snprintf(out, size, "pushed%s", message->objects_pushed->status == STATUS_OK ? "" : " in part");
        return true;
    default:
        snprintf(out, size, "message %d", (int)message->body_case);
        return true;
    }
}

void describe_batch(struct world *world, uint32_t from, uint32_t from_shard, uint32_t to, uint32_t to_shard,
                    struct bytes batch)
{
    uint64_t node;
    uint32_t shard;
    struct bytes rest, packed;
    char text[256];
    if (batch_open(batch, &node, &shard, &rest) != STATUS_OK) return;
    while (batch_next(&rest, &packed) == STATUS_OK) {
        Dynode__Peer__Message *message;
        if (message_unpack(packed, &world->arena, &message) == STATUS_OK &&
            message_text(world, message, text, sizeof(text)))
            world_note(world, "n%u.%u -> n%u.%u  %s", from + 1, from_shard, to + 1, to_shard, text);
    }
    arena_reset(&world->arena);
}

/* --- stores --- */

struct storing {
    struct world *world;
    uint32_t node, shard;
};

static bool line_of_stored(void *context, struct bytes key, struct bytes value)
{
    const struct storing *storing = context;
    struct store_place place;
    struct bytes encoded;
    char object[160];
    if (!store_key_decode(key, &place) || object_unseal(key, value, &encoded) != STATUS_OK) return true;
    object_text(storing->world,
                (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)encoded.data, .len = encoded.size},
                object, sizeof(object));
    world_note(storing->world, "n%u.%u stores %.*s: %s", storing->node + 1, storing->shard,
               (int)place.key.size, (const char *)place.key.data, object);
    return true;
}

void describe_stored(struct world *world, uint32_t node, uint32_t shard, size_t commits)
{
    struct storing storing = {world, node, shard};
    const struct store *store = world->nodes[node].shards[shard].store;
    store_mem_visit_unsynced(store, commits, STORE_OBJECTS, line_of_stored, &storing);
    arena_reset(&world->arena);
}

/* --- clients --- */

/* A request that was described: its answer tells of which key each result is. */
struct traced_request {
    uint64_t connection, id;
    struct buffer payload;
};

static void note_asked(struct world *world, uint64_t connection, uint64_t id, struct bytes payload)
{
    world->asked = realloc(world->asked, (world->asked_count + 1) * sizeof(*world->asked));
    CHECK(world->asked != NULL);
    struct traced_request *asked = &world->asked[world->asked_count++];
    *asked = (struct traced_request){.connection = connection, .id = id};
    buffer_append(&asked->payload, payload.data, payload.size);
}

static struct traced_request *find_asked(const struct world *world, uint64_t connection, uint64_t id)
{
    for (uint32_t i = 0; i < world->asked_count; i++)
        if (world->asked[i].connection == connection && world->asked[i].id == id) return &world->asked[i];
    return NULL;
}

static void forget_asked(struct world *world, struct traced_request *asked)
{
    buffer_fini(&asked->payload);
    *asked = world->asked[--world->asked_count];
}

void describe_fini(struct world *world)
{
    while (world->asked_count > 0) forget_asked(world, world->asked);
    free(world->asked);
}

static struct bytes pb_bytes(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

/* Empty: it is of no key. */
static struct bytes key_of(const Dynode__Client__Operation *operation)
{
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET:
        return pb_bytes(operation->get->key);
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        return pb_bytes(operation->put->key);
    case DYNODE__CLIENT__OPERATION__KIND_DELETE:
        return pb_bytes(operation->delete_->key);
    default:
        return (struct bytes){0};
    }
}

static void operation_text(const Dynode__Client__Operation *operation, char *out, size_t size)
{
    const char *name = operation_name(operation), *how = "";
    struct bytes key = key_of(operation);
    char value[64] = "";
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        value_text(false, pb_bytes(operation->put->value), value, sizeof(value));
        how = operation->put->precondition != 0  ? "with a condition"
              : operation->put->context.len == 0 ? "without context"
                                                 : "";
        break;
    case DYNODE__CLIENT__OPERATION__KIND_DELETE:
        how = operation->delete_->context.len == 0 ? "without context" : "";
        break;
    default:
        break;
    }
    snprintf(out, size, "%s %.*s %s %s", name, (int)key.size, key.size > 0 ? (const char *)key.data : "",
             value, how);
}

void describe_request(struct world *world, const struct sim_connection *connection, struct bytes payload)
{
    char text[256];
    Dynode__Client__Request *request =
        dynode__client__request__unpack(arena_allocator(&world->arena), payload.size, payload.data);
    if (request != NULL) note_asked(world, connection->id, request->id, payload);
    for (size_t i = 0; request != NULL && i < request->n_operations; i++) {
        operation_text(request->operations[i], text, sizeof(text));
        world_note(world, "client %llu.%llu/%zu -> n%u.%u  %s", (unsigned long long)connection->id,
                   (unsigned long long)request->id, i, connection->node + 1, connection->shard, text);
    }
    arena_reset(&world->arena);
}

void describe_response(struct world *world, const struct sim_connection *connection,
                       const Dynode__Client__Response *response)
{
    struct traced_request *asked = find_asked(world, connection->id, response->id);
    const Dynode__Client__Request *request =
        asked == NULL ? NULL
                      : dynode__client__request__unpack(arena_allocator(&world->arena), asked->payload.size,
                                                        asked->payload.data);
    if (asked != NULL && response->last) forget_asked(world, asked);
    for (size_t i = 0; i < response->n_results; i++) {
        const Dynode__Client__Result *result = response->results[i];
        struct bytes key = {0};
        char text[256];
        size_t at = 0;
        text[0] = 0;
        if (request != NULL && result->operation < request->n_operations)
            key = key_of(request->operations[result->operation]);
        for (size_t s = 0; s < result->n_siblings && at + 32 < sizeof(text); s++) {
            text[at++] = ' ';
            at +=
                (size_t)value_text(false, pb_bytes(result->siblings[s]->value), text + at, sizeof(text) - at);
        }
        world_note(world, "n%u.%u -> client %llu.%llu/%u  %.*s%s%s%s", connection->node + 1,
                   connection->shard, (unsigned long long)connection->id, (unsigned long long)response->id,
                   result->operation, (int)key.size, key.size > 0 ? (const char *)key.data : "",
                   key.size > 0 ? ": " : "", status_name((enum status)result->status), text);
    }
}
