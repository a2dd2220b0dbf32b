#include "actors/result.h"

#include <stdio.h>

#include "version/hlc.h"

Dynode__Client__Result *result_new(struct arena *arena, enum status status, const char *why)
{
    Dynode__Client__Result *result = ARENA_NEW(arena, Dynode__Client__Result);
    dynode__client__result__init(result);
    /* What never leaves the cluster is to a client a defect. */
    result->status = (Dynode__Client__Status)(status > STATUS_INTERNAL ? STATUS_INTERNAL : status);
    if (status != STATUS_OK) result->message = (char *)(uintptr_t)(why != NULL ? why : status_text(status));
    return result;
}

const char *result_full_disk(struct arena *arena, const char *whose, const struct store *store)
{
    enum { BYTES = 160 };
    char *text = ARENA_ARRAY(arena, char, BYTES);
    snprintf(text, BYTES, "the disk of %s %s", whose, store_full_text(store));
    return text;
}

static bool token_seen(const struct object *object, uint32_t before, uint64_t now_ms)
{
    const struct write_token *token = &object->siblings[before].token;
    if (token->client == 0) return false;
    for (uint32_t i = 0; i < before; i++) {
        const struct sibling *other = &object->siblings[i];
        if (sibling_live(other, now_ms) && other->token.client == token->client &&
            other->token.sequence == token->sequence)
            return true;
    }
    return false;
}

void result_add_object(Dynode__Client__Result *result, const struct object *object,
                       const struct context_secret *secret, uint64_t tag, struct bytes key, bool context_only,
                       const struct turn *turn)
{
    struct bytes context = context_seal(secret, tag, key, object, turn->arena);
    result->context = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)context.data, .len = context.size};
    if (context_only) return;
    result->siblings = ARENA_ARRAY(turn->arena, Dynode__Client__Sibling *, object->count);
    for (uint32_t i = 0; i < object->count; i++) {
        const struct sibling *sibling = &object->siblings[i];
        if (!sibling_live(sibling, turn->wall_ms) || token_seen(object, i, turn->wall_ms)) continue;
        Dynode__Client__Sibling *out = ARENA_NEW(turn->arena, Dynode__Client__Sibling);
        dynode__client__sibling__init(out);
        out->value = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)sibling->value.data,
                                           .len = sibling->value.size};
        out->written_ms = hlc_ms(sibling->stamp);
        out->expires_ms = sibling->expires_ms;
        result->siblings[result->n_siblings++] = out;
    }
}

void result_add_replicas(Dynode__Client__Result *result, const uint64_t *nodes, uint32_t bits, uint32_t stood,
                         struct arena *arena)
{
    result->replicas = ARENA_ARRAY(arena, uint64_t, (size_t)__builtin_popcount(bits));
    for (uint32_t i = 0; bits >> i != 0; i++)
        if (bits >> i & 1) result->replicas[result->n_replicas++] = nodes[i];
    if (stood == 0) return;
    result->stand_ins = ARENA_ARRAY(arena, uint64_t, (size_t)__builtin_popcount(stood));
    for (uint32_t i = 0; stood >> i != 0; i++)
        if (stood >> i & 1) result->stand_ins[result->n_stand_ins++] = nodes[i];
}
