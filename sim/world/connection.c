/* Connections of clients to a world's nodes: frames that keep their order and take time, and answers that may
 * never come, because the node died or the connection did. */
#include <stdlib.h>

#include "base/check.h"
#include "wire/frame.h"
#include "wire/pack.h"
#include "wire/unpack.h"
#include "world/world_state.h"

static void post_closed(struct world *world, struct sim_connection *connection)
{
    connection->open = false;
    uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
    if (at_ns < connection->answer_ns) at_ns = connection->answer_ns;
    events_post(&world->events,
                &(struct event){.at_ns = at_ns, .kind = EVENT_CLOSED, .number = connection->id});
}

void connection_send_answers(struct world *world, struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->answer_count; i++) {
        const struct answer *answer = &outbox->answers[i];
        struct sim_connection *connection = world->connections[answer->connection - 1];
        if (!connection->open) continue;
        if (world->options.client_resets > 0 &&
            prng_chance(&world->prng, world->options.client_resets, 1000000)) {
            world_count(world, WORLD_CLIENT_RESET, connection->node);
            world_disconnect(world, connection->id);
            continue;
        }
        uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
        if (at_ns < connection->answer_ns) at_ns = connection->answer_ns;
        connection->answer_ns = at_ns;
        if (answer->size > 0) {
            struct event event = {.at_ns = at_ns, .kind = EVENT_ANSWER, .number = connection->id};
            buffer_append(&event.bytes, outbox->answer_bytes.data + answer->offset, answer->size);
            events_post(&world->events, &event);
        }
        if (answer->hang_up == NULL) continue;
        connection->hung_up = answer->hang_up;
        if (world_traced(world))
            world_note(world, "n%u hangs up on a client: %s", connection->node + 1, answer->hang_up);
        world_disconnect(world, connection->id);
    }
    outbox_clear_answers(outbox);
}

uint64_t world_connect(struct world *world, uint32_t node, uint32_t shard)
{
    if (!world->nodes[node].up) return 0;
    struct sim_connection *connection = calloc(1, sizeof(*connection));
    CHECK(connection != NULL);
    world->connections =
        realloc(world->connections, (world->connection_count + 1) * sizeof(*world->connections));
    CHECK(world->connections != NULL);
    world->connections[world->connection_count++] = connection;
    *connection = (struct sim_connection){.id = world->connection_count,
                                          .node = node,
                                          .shard = shard % world->nodes[node].shard_count,
                                          .open = true};
    return connection->id;
}

bool world_is_open(const struct world *world, uint64_t id)
{
    return world->connections[id - 1]->open;
}

const char *world_hung_up(const struct world *world, uint64_t id)
{
    return world->connections[id - 1]->hung_up;
}

void world_disconnect(struct world *world, uint64_t id)
{
    struct sim_connection *connection = world->connections[id - 1];
    if (!connection->open) return;
    shard_client_closed(world->nodes[connection->node].shards[connection->shard].shard, id);
    world_wake(world, connection->node, connection->shard);
    post_closed(world, connection);
}

bool world_send(struct world *world, uint64_t id, const Dynode__Client__Request *request)
{
    struct sim_connection *connection = world->connections[id - 1];
    if (!connection->open) return false;
    uint64_t at_ns = world->now_ns + world_draw(world, world->options.network);
    if (at_ns < connection->request_ns) at_ns = connection->request_ns;
    connection->request_ns = at_ns;
    struct event event = {.at_ns = at_ns, .kind = EVENT_REQUEST, .number = id, .sent_ns = world->now_ns};
    pack_append(&event.bytes, &request->base);
    events_post(&world->events, &event);
    return true;
}

void connection_request(struct world *world, const struct event *event)
{
    const struct sim_connection *connection = world->connections[event->number - 1];
    if (!connection->open) return;
    world_mix(world, event->number, buffer_bytes(&event->bytes));
    if (world->trace != NULL) describe_request(world, connection, buffer_bytes(&event->bytes));
    shard_client_frame(world->nodes[connection->node].shards[connection->shard].shard, event->number,
                       buffer_bytes(&event->bytes));
    world_wake_for_mail(world, connection->node, connection->shard, event->sent_ns);
}

void connection_answer(struct world *world, const struct event *event)
{
    struct bytes payload;
    size_t size;
    CHECK(frame_next(buffer_bytes(&event->bytes), FRAME_CLIENT_BYTES_MAX, &payload, &size) == FRAME_WHOLE);
    CHECK(size == event->bytes.size);
    world_mix(world, event->number, payload);
    ProtobufCMessage *message;
    CHECK(unpack(&dynode__client__response__descriptor, payload, &world->arena, &message) == STATUS_OK);
    const Dynode__Client__Response *response = (const Dynode__Client__Response *)message;
    if (world->trace != NULL) describe_response(world, world->connections[event->number - 1], response);
    if (world->watch.answer != NULL) world->watch.answer(world->watch.context, event->number, response);
    arena_reset(&world->arena);
}

void connection_lose(struct world *world, uint32_t node, uint32_t shard)
{
    for (uint32_t i = 0; i < world->connection_count; i++) {
        struct sim_connection *connection = world->connections[i];
        bool there = connection->node == node && (shard == UINT32_MAX || connection->shard == shard);
        if (connection->open && there) post_closed(world, connection);
    }
}
