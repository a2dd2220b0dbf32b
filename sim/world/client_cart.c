/* A shopping cart (Dynamo, section 4.4): read it, merge what the siblings hold, add one thing, sometimes
 * leave some out, and put it back with the context of what was read. */
#include "world/client.h"

enum { STATE_LOOK, STATE_FILL };

static void fill(struct client *client, struct ask *ask)
{
    const struct known *known = &client->known[ask->place];
    ask->kind = OP_PUT;
    ask->with_context = true;
    ask->value_bytes = client_draw_bytes(client) / 2;
    /* Paid for: it begins anew. Else one thing in a while is put back on the shelf. */
    bool paid = known->elements.count >= CART_ELEMENTS_MAX || client_chance(client, 5);
    bool back = client_chance(client, 15);
    uint32_t left = back && known->elements.count > 0
                        ? (uint32_t)prng_below(&client->prng, known->elements.count)
                        : UINT32_MAX;
    for (uint32_t i = 0; i < known->elements.count && !paid; i++)
        if (i != left) token_list_add(&ask->elements, known->elements.list[i]);
}

static void next(struct client *client, struct ask *ask)
{
    if (client->state == STATE_FILL) {
        ask->place = client->place;
        fill(client, ask);
        return;
    }
    ask->place = client->place = client_draw_place(client);
    ask->kind = OP_GET;
}

static void take(struct client *client, const struct ask *ask, const struct heard *heard)
{
    /* What a put was answered with is as good as a read. */
    bool on = heard->good && (ask->kind == OP_GET || client_chance(client, 40));
    client->state = on ? STATE_FILL : STATE_LOOK;
}

const struct client_kind client_cart = {"cart", CONTENT_CART, next, take};
