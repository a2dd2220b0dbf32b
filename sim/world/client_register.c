/* A register: gets, puts and deletes in no order, with the context of the last answer or without, and now and
 * then on a condition or for a while only. */
#include "world/client.h"

static enum op_kind draw_kind(struct client *client)
{
    const struct client_habits *habits = client->habits;
    uint64_t drawn = prng_below(&client->prng, habits->gets + habits->puts + habits->deletes);
    if (drawn < habits->gets) return OP_GET;
    return drawn < habits->gets + habits->puts ? OP_PUT : OP_DELETE;
}

/* What it means to write; what it has to know for that it reads first. */
enum { STATE_ANY, STATE_PUT, STATE_DELETE };

static void next(struct client *client, struct ask *ask)
{
    const struct client_habits *habits = client->habits;
    bool looked = client->state != STATE_ANY;
    ask->kind = looked ? client->state == STATE_PUT ? OP_PUT : OP_DELETE : draw_kind(client);
    ask->place = looked ? client->place : client_draw_place(client);
    client->state = STATE_ANY;
    if (ask->kind == OP_GET) return;
    bool known = client->known[ask->place].context.size > 0;
    /* A delete without context may take anything: that blinds the checkers, so it has to be rare. */
    bool wanted = ask->kind == OP_DELETE ? !client_chance(client, habits->blinds)
                                         : client_chance(client, habits->contexts);
    if (wanted && !known && !looked) {
        client->state = ask->kind == OP_PUT ? STATE_PUT : STATE_DELETE;
        client->place = ask->place;
        ask->kind = OP_GET;
        return;
    }
    ask->with_context = known && (wanted || looked);
    if (ask->kind == OP_DELETE && !ask->with_context && wanted) {
        ask->kind = OP_GET; /* there is nothing to delete */
        return;
    }
    if (client_chance(client, habits->conditions))
        ask->flags = ask->with_context ? OP_IF_CONTEXT : OP_IF_ABSENT;
    if (ask->kind == OP_DELETE) return;
    ask->value_bytes = client_draw_bytes(client);
    if (habits->ttl_ms > 0 && ask->place % 2 == 1 && client_chance(client, 50))
        ask->ttl_ms = 1 + prng_below(&client->prng, habits->ttl_ms);
}

static void take(struct client *client, const struct ask *ask, const struct heard *heard)
{
    (void)client;
    (void)ask;
    (void)heard;
}

const struct client_kind client_register = {"register", CONTENT_PLAIN, next, take};
