/* Wish: what a client's get, put or delete asks of its coordinator, as values: how many homes, and the Mint.
 */
#pragma once

#include "actor/actor.h"
#include "wire/context.h"

/* What the three have in common. */
struct wish {
    const char *table;
    struct bytes key;
    uint32_t number; /* r or w */
    Dynode__Client__Level level;
    uint32_t n;
    bool sloppy; /* others may stand in for homes */
};

/* Of an operation that passed operation_check; borrowed from it. */
struct wish wish_of(const Dynode__Client__Operation *operation);

/* How many of @n homes must answer: a named level, the request's number, or the table's; 0 if out of range.
 */
uint32_t wish_quorum(const struct wish *wish, uint32_t table_number, uint32_t n);

/* The Mint that a put or delete of @key asks for, but for its place. NULL: its context is not one that was
 * handed out for this key. */
Dynode__Peer__Mint *wish_mint(const struct context_secret *secret, const struct turn *turn, struct bytes key,
                              const Dynode__Client__Operation *operation, const struct table *table);
