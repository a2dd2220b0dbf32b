#include "actors/wish.h"

#include "wire/unpack.h"

struct wish wish_of(const Dynode__Client__Operation *operation)
{
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_GET) {
        const Dynode__Client__Get *get = operation->get;
        return (struct wish){get->table, from_pb(get->key),
                             get->r,     get->level,
                             get->n,     get->quorum != DYNODE__CLIENT__QUORUM__STRICT};
    }
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT) {
        const Dynode__Client__Put *put = operation->put;
        return (struct wish){put->table,
                             from_pb(put->key),
                             put->w,
                             put->level,
                             put->n,
                             put->quorum != DYNODE__CLIENT__QUORUM__STRICT &&
                                 put->precondition == DYNODE__CLIENT__PRECONDITION__NONE};
    }
    const Dynode__Client__Delete *delete = operation->delete_;
    return (struct wish){delete->table,
                         from_pb(delete->key),
                         delete->w,
                         delete->level,
                         delete->n,
                         delete->quorum != DYNODE__CLIENT__QUORUM__STRICT &&
                             delete->precondition == DYNODE__CLIENT__PRECONDITION__NONE};
}

uint32_t wish_quorum(const struct wish *wish, uint32_t table_number, uint32_t n)
{
    switch (wish->level) {
    case DYNODE__CLIENT__LEVEL__ONE:
        return 1;
    case DYNODE__CLIENT__LEVEL__QUORUM:
        return n / 2 + 1;
    case DYNODE__CLIENT__LEVEL__ALL:
        return n;
    default:
        if (wish->number != 0) return wish->number <= n ? wish->number : 0;
        return table_number <= n ? table_number : n;
    }
}

Dynode__Peer__Mint *wish_mint(const struct context_secret *secret, const struct turn *turn, struct bytes key,
                              const Dynode__Client__Operation *operation, const struct table *table)
{
    Dynode__Peer__Mint *mint = ARENA_NEW(turn->arena, Dynode__Peer__Mint);
    dynode__peer__mint__init(mint);
    const Dynode__Client__WriteToken *token;
    struct bytes sealed;
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT) {
        const Dynode__Client__Put *put = operation->put;
        uint64_t ttl_ms = put->ttl_ms != 0 ? put->ttl_ms : put->for_ever ? 0 : table->ttl_ms;
        mint->value = put->value;
        mint->expires_ms = ttl_ms != 0 ? turn->wall_ms + ttl_ms : 0;
        mint->precondition = put->precondition;
        sealed = from_pb(put->context);
        token = put->token;
    } else {
        const Dynode__Client__Delete *delete = operation->delete_;
        mint->tombstone = true;
        mint->precondition = delete->precondition;
        sealed = from_pb(delete->context);
        mint->cover_all = sealed.size == 0;
        token = delete->token;
    }
    if (token != NULL) {
        mint->token_client = token->client;
        mint->token_sequence = token->sequence;
    }
    struct vv context;
    if (context_unseal(secret, table->tag, key, sealed, turn->arena, &context, &mint->stamp_floor) !=
        STATUS_OK)
        return NULL;
    mint->n_clocks = mint->n_counters = context.count;
    mint->clocks = ARENA_ARRAY(turn->arena, uint64_t, context.count);
    mint->counters = ARENA_ARRAY(turn->arena, uint64_t, context.count);
    for (uint32_t i = 0; i < context.count; i++) {
        mint->clocks[i] = context.entries[i].clock;
        mint->counters[i] = context.entries[i].counter;
    }
    mint->rule = table->rule;
    return mint;
}
