/* Deletes and re-creates: what is there is deleted with its context, what is absent is put again, with the
 * context of its absence or on the condition that it is absent. */
#include "world/client.h"

enum { STATE_LOOK, STATE_DELETE, STATE_CREATE };

static void next(struct client *client, struct ask *ask)
{
    if (client->state == STATE_LOOK) client->place = client_draw_place(client);
    ask->place = client->place;
    bool known = client->known[ask->place].context.size > 0;
    switch (client->state) {
    case STATE_DELETE:
        ask->kind = OP_DELETE;
        ask->with_context = known && !client_chance(client, client->habits->blinds);
        if (ask->with_context && client_chance(client, 30)) ask->flags = OP_IF_CONTEXT;
        break;
    case STATE_CREATE:
        ask->kind = OP_PUT;
        ask->value_bytes = client_draw_bytes(client);
        ask->with_context = known && !client_chance(client, 30);
        if (!ask->with_context) ask->flags = OP_IF_ABSENT;
        break;
    default:
        ask->kind = OP_GET;
    }
}

static void take(struct client *client, const struct ask *ask, const struct heard *heard)
{
    bool there = heard->seen.count > 0 || (ask->kind == OP_PUT && heard->good);
    if (!heard->good && !heard->rejected)
        client->state = STATE_LOOK;
    else if (ask->kind != OP_GET && client_chance(client, 50))
        client->state = STATE_LOOK; /* another key */
    else
        client->state = there ? STATE_DELETE : STATE_CREATE;
}

const struct client_kind client_recreate = {"re-create", CONTENT_PLAIN, next, take};
