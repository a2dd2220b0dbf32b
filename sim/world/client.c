#include "world/client.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

void token_list_add(struct token_list *tokens, uint32_t token)
{
    if (tokens->count == tokens->capacity) {
        tokens->capacity = tokens->capacity == 0 ? 8 : tokens->capacity * 2;
        tokens->list = realloc(tokens->list, tokens->capacity * sizeof(*tokens->list));
        CHECK(tokens->list != NULL);
    }
    tokens->list[tokens->count++] = token;
}

void token_list_add_once(struct token_list *tokens, uint32_t token)
{
    if (!tokens_have(tokens_of(tokens), token)) token_list_add(tokens, token);
}

void token_list_copy(struct token_list *to, struct tokens from)
{
    to->count = 0;
    for (uint32_t i = 0; i < from.count; i++) token_list_add(to, from.list[i]);
}

void token_list_fini(struct token_list *tokens)
{
    free(tokens->list);
    *tokens = (struct token_list){0};
}

/* --- a client --- */

void client_init(struct client *client, const struct client_kind *kind, const struct client_habits *habits,
                 uint64_t seed, uint16_t number, const uint32_t *keys, uint32_t key_count)
{
    *client = (struct client){
        .kind = kind, .habits = habits, .number = number, .keys = keys, .key_count = key_count};
    prng_init(&client->prng, seed);
    client->known = calloc(key_count + 1, sizeof(*client->known));
    client->counted = calloc(key_count + 1, sizeof(*client->counted));
    CHECK(client->known != NULL);
    CHECK(client->counted != NULL);
}

void client_fini(struct client *client)
{
    for (uint32_t i = 0; i < client->key_count; i++) {
        buffer_fini(&client->known[i].context);
        token_list_fini(&client->known[i].tokens);
        token_list_fini(&client->known[i].elements);
    }
    free(client->known);
    free(client->counted);
}

bool client_chance(struct client *client, uint32_t percent)
{
    return percent > 0 && prng_below(&client->prng, 100) < percent;
}

uint32_t client_draw_place(struct client *client)
{
    if (client_chance(client, client->habits->hot)) return 0;
    return (uint32_t)prng_below(&client->prng, client->key_count);
}

/* Mostly short. */
uint32_t client_draw_bytes(struct client *client)
{
    uint32_t most = client->habits->value_bytes;
    if (most > 120 && !client_chance(client, 25)) most = 120;
    return (uint32_t)prng_below(&client->prng, most + 1);
}

void client_learn(struct client *client, const struct ask *ask, const struct heard *heard, uint32_t own)
{
    struct known *known = &client->known[ask->place];
    known->heard = !heard->lost && (heard->good || heard->sealed.size > 0);
    if (!known->heard) return;
    buffer_clear(&known->context);
    buffer_append(&known->context, heard->sealed.data, heard->sealed.size);
    token_list_copy(&known->tokens, tokens_of(&heard->seen));
    token_list_copy(&known->elements, tokens_of(&heard->elements));
    if (own == 0 || heard->seen.count > 0) return;
    token_list_add(&known->tokens, own);
    token_list_copy(&known->elements, tokens_of(&ask->elements));
    if (client->kind->content == CONTENT_CART) token_list_add(&known->elements, own);
}

/* --- values --- */

static uint64_t value_hash(uint32_t token, uint32_t key, struct bytes value)
{
    uint64_t seed = (uint64_t)token << 32 | key;
    return hash64(bytes_of(value.data + 16, value.size - 16), seed ^ (value.size << 8));
}

void value_write(struct buffer *out, uint32_t token, const struct ask *ask)
{
    size_t size = VALUE_HEAD_BYTES + 4 * (size_t)ask->elements.count;
    size_t whole = ask->value_bytes > size ? ask->value_bytes : size;
    buffer_clear(out);
    uint8_t *to = buffer_reserve(out, whole);
    out->size = whole;
    put_be32(to, token);
    put_be32(to + 4, ask->key);
    put_be32(to + 16, ask->elements.count);
    for (uint32_t i = 0; i < ask->elements.count; i++)
        put_be32(to + VALUE_HEAD_BYTES + 4 * i, ask->elements.list[i]);
    memset(to + size, (int)(token & 0xff), whole - size);
    put_be64(to + 8, value_hash(token, ask->key, buffer_bytes(out)));
}

void element_merge(struct token_list *elements, enum content content, uint32_t element)
{
    if (content == CONTENT_CART) token_list_add_once(elements, element);
    if (content != CONTENT_COUNTER) return;
    for (uint32_t i = 0; i < elements->count; i++) {
        if (elements->list[i] >> COUNTER_BITS != element >> COUNTER_BITS) continue;
        if (elements->list[i] < element) elements->list[i] = element;
        return;
    }
    token_list_add(elements, element);
}

const char *value_read(struct bytes value, uint32_t key, enum content content, struct heard *heard)
{
    if (value.size < VALUE_HEAD_BYTES) return "cut short";
    uint32_t token = get_be32(value.data), count = get_be32(value.data + 16);
    if (get_be32(value.data + 4) != key) return "another key's";
    if (get_be64(value.data + 8) != value_hash(token, key, value)) return "damaged";
    CHECK(VALUE_HEAD_BYTES + 4 * (size_t)count <= value.size);
    token_list_add(&heard->seen, token);
    if (content == CONTENT_CART) element_merge(&heard->elements, content, token);
    for (uint32_t i = 0; i < count; i++)
        element_merge(&heard->elements, content, get_be32(value.data + VALUE_HEAD_BYTES + 4 * i));
    return NULL;
}
