/* Slot: one operation under way in a coordinator. Slots lie in a pool and are reused; the id that travels as
 * the request number holds a generation, so that an answer to a slot's former life finds nobody. */
#pragma once

#include "actor/actor.h"
#include "actors/get_core.h"
#include "actors/put_core.h"
#include "actors/request_id.h"
#include "wire/client_wire.h"

enum slot_phase {
    SLOT_FREE,
    SLOT_READING, /* a get, or a write's precondition: waits for ReadAnswers */
    SLOT_WRITING, /* minted: waits for Merged */
};

struct slot {
    uint64_t id; /* request_id.h */
    enum slot_phase phase;
    bool write;
    struct address asker;
    uint64_t asker_request;
    uint64_t deadline_timer, hedge_timer;

    uint64_t tag, hash;
    uint32_t vnode;
    enum table_rule rule;
    uint32_t table_n; /* homes of the table */
    uint32_t n;       /* of them that this operation uses */
    struct buffer key;
    uint64_t homes[TABLE_N_MAX]; /* the first n in the order in which they are asked, own first */

    struct get_core get;
    bool context_only;

    struct put_core put;
    Dynode__Peer__Mint *minting; /* within the turn of its Mint only */
    struct buffer mint;          /* packed, while other homes are read first */
    struct buffer object;        /* encoded, once minted */
    bool alone;                  /* Minted.alone */
    size_t bytes;                /* of its buffers, as last counted */
};

struct slots {
    struct slot **pool;
    uint32_t count;
    uint32_t *unused;
    uint32_t unused_count;
    uint32_t generation; /* that new ids begin with: request_id_draw */
    size_t bytes;        /* of all slots in use */
};

/* A slot in no phase yet; its buffers are empty. */
struct slot *slots_take(struct slots *slots);
void slots_give_back(struct slots *slots, struct slot *slot);

/* Count what the slot's buffers hold now. */
void slots_weigh(struct slots *slots, struct slot *slot);

/* The slot that is under way with this id, NULL for none. */
struct slot *slots_find(const struct slots *slots, uint64_t id);

static inline uint32_t slots_in_use(const struct slots *slots)
{
    return slots->count - slots->unused_count;
}

void slots_fini(struct slots *slots);

/* Which home a node is to this slot; n if it is none. */
uint32_t slot_home_of(const struct slot *slot, uint64_t node);
