#include "steps.h"

#include "client.pb-c.h"
#include "peer.pb-c.h"
#include "wire/batch.h"

const ProtobufCMessageDescriptor *steps_type(uint8_t what)
{
    switch (what % STEP_KINDS) {
    case STEP_CLIENT:
    case STEP_CLIENT2:
        return &dynode__client__request__descriptor;
    case STEP_PEER:
        return &dynode__peer__message__descriptor;
    case STEP_BATCH:
        return &dynode__peer__batch__descriptor;
    default:
        return NULL;
    }
}

/* Request ids are drawn at random: in a message, 256 and more stand for what the node has sent, newest first.
 */
static struct bytes put_in_request(const struct world *world, struct bytes packed, struct arena *arena)
{
    Dynode__Peer__Message *message;
    if (message_unpack(packed, arena, &message) != STATUS_OK) return packed;
    if (message->request < STEP_SENT || message->request >= STEP_SENT + WORLD_SENT_MAX) return packed;
    message->request = world_sent(world, (uint32_t)(message->request - STEP_SENT));
    uint8_t *to = arena_alloc(arena, dynode__peer__message__get_packed_size(message));
    return bytes_of(to, dynode__peer__message__pack(message, to));
}

/* The bytes as one message of a batch from a peer, whatever they are. */
static void send_message(struct world *world, uint32_t from, struct bytes message)
{
    struct buffer batch = {0};
    struct arena arena;
    arena_init(&arena, 0);
    message = put_in_request(world, message, &arena);
    batch_begin(&batch, world_node_id(from), 0);
    uint8_t *at = buffer_reserve(&batch, 1 + 5);
    size_t size = 0, length = message.size;
    at[size++] = 3 << 3 | 2; /* Batch.messages */
    for (; length >= 0x80; length >>= 7) at[size++] = (uint8_t)(length | 0x80);
    at[size++] = (uint8_t)length;
    batch.size += size;
    buffer_append(&batch, message.data, message.size);
    world_batch(world, from, buffer_bytes(&batch));
    buffer_fini(&batch);
    arena_fini(&arena);
}

void steps_do(struct world *world, const struct step *step)
{
    uint32_t who = step->what / STEP_KINDS, node = who % world->real;
    uint32_t connection = who / world->real % WORLD_CONNECTIONS;
    uint32_t peer = 1 + who % (WORLD_NODES - 1); /* never the first, which gets it */
    uint64_t ms = 0;
    switch (step->what % STEP_KINDS) {
    case STEP_CLIENT:
        world_client_frame(world, node, connection, step->bytes);
        break;
    case STEP_CLIENT2:
        world_client_frame(world, node, connection, step->bytes);
        return;
    case STEP_PEER:
        if (world->real < world->members) send_message(world, peer, step->bytes);
        break;
    case STEP_BATCH:
        if (world->real < world->members) world_batch(world, peer, step->bytes);
        break;
    case STEP_CLOSE:
        world_client_closed(world, node, connection);
        break;
    case STEP_TIME:
        ms = step->bytes.size >= 2 ? get_be16(step->bytes.data) : 100;
        break;
    case STEP_LINK:
        if (step->bytes.size > 0)
            world_link(world, node, step->bytes.data[0] % world->members, connection % 2 == 0);
        break;
    default:
        world->hold = !world->hold;
    }
    world_run(world, ms);
}
