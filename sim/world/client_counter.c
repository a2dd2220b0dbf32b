/* A counter by compare-and-put: each client counts a number of its own up in the one value, and writes it
 * only if nobody has written since it read. A rejection brings what is there, and it tries on top of that.
 * Where a fault let two succeed, the siblings are merged by the greater number. */
#include "base/check.h"
#include "world/client.h"

enum { STATE_LOOK, STATE_COUNT };

static void next(struct client *client, struct ask *ask)
{
    if (client->state == STATE_LOOK) {
        ask->place = client->place = client_draw_place(client);
        ask->kind = OP_GET;
        return;
    }
    const struct known *known = &client->known[client->place];
    ask->place = client->place;
    ask->kind = OP_PUT;
    ask->with_context = known->context.size > 0;
    ask->flags = ask->with_context ? OP_IF_CONTEXT : OP_IF_ABSENT;
    token_list_copy(&ask->elements, tokens_of(&known->elements));
    /* A number is used once, whatever becomes of the put. */
    uint32_t number = ++client->counted[client->place];
    CHECK(number < 1U << COUNTER_BITS);
    CHECK(client->number < COUNTER_SESSIONS_MAX);
    element_merge(&ask->elements, CONTENT_COUNTER, (uint32_t)client->number << COUNTER_BITS | number);
}

static void take(struct client *client, const struct ask *ask, const struct heard *heard)
{
    bool on =
        ask->kind == OP_GET ? heard->good : heard->rejected || (heard->good && client_chance(client, 50));
    client->state = on ? STATE_COUNT : STATE_LOOK;
}

const struct client_kind client_counter = {"counter", CONTENT_COUNTER, next, take};
