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
    SLOT_READING,   /* a get, or a write's precondition: waits for ReadAnswers */
    SLOT_WRITING,   /* minted: waits for Merged */
    SLOT_LINGERING, /* answered: waits for what is left of its homes, so that none goes without the write */
};

struct slot {
    uint64_t id; /* request_id.h */
    enum slot_phase phase;
    bool write;
    bool sloppy; /* others may stand in for its homes, and count */
    bool away;   /* a write: this node is no home of the key */
    bool looked; /* a write: only if its token is known here */
    struct address asker;
    uint64_t asker_request;
    uint64_t deadline_timer, hedge_timer;
    uint64_t timer_ns, deadline_ns; /* the deadline timer may fire before, for stand-ins */
    uint64_t wait_until_ns;         /* if too few nodes can be reached: for others, at most until then */
    bool waits;                     /* it does */
    bool refused;                   /* a home said OVERLOADED */
    bool unfilled;                  /* ... or NOT_FILLED */
    bool late;                      /* a home that is silent now is replaced */

    uint64_t tag, hash;
    uint32_t vnode;
    enum table_rule rule;
    uint32_t table_n; /* homes of the table */
    uint32_t table_w; /* what it asks of a write that says nothing else */
    uint32_t n;       /* of them that this operation uses */
    struct buffer key;
    /* Its positions: the first n homes in the order in which they are asked, own first; and who stands in for
     * one, 0 for nobody. No node has two. */
    uint64_t homes[TABLE_N_MAX];
    uint64_t stand_ins[TABLE_N_MAX];
    uint32_t next_fallback; /* of the preference list: who may stand in next */
    uint32_t stood;         /* of a get: positions where the stand-in's answer counts, as bits */
    /* Who owes an answer (turn_owe), as bits of positions; and what each was counted with. */
    uint32_t homes_owe, stand_ins_owe;
    size_t owed_bytes;
    /* Of a read: when it began, and which of those that were asked then have not answered yet. */
    uint64_t asked_ns;
    uint32_t first;

    struct get_core get;
    bool context_only;

    struct put_core put;
    Dynode__Peer__Mint *minting; /* within the turn of its Mint only */
    struct buffer mint;          /* packed, while other homes are read first */
    struct buffer object;        /* encoded, once minted */
    bool alone;                  /* Minted.alone */
    size_t bytes;                /* of its buffers, as last counted */
    size_t kept_bytes;           /* of its buffers, while nobody uses it */
};

/* Unused slots keep small buffers for their next life, and no more of them in all. */
enum { SLOT_KEPT_BYTES_MAX = 16384, SLOTS_KEPT_BYTES_MAX = 8 * 1048576 };

struct slots {
    struct slot **pool;
    uint32_t count;
    uint32_t *unused;
    uint32_t unused_count;
    uint32_t generation; /* that new ids begin with: request_id_draw */
    size_t bytes;        /* of all slots in use */
    size_t kept_bytes;   /* of all that are not */
    uint32_t lingering;
    size_t lingering_bytes;
};

/* A slot in no phase yet; its buffers are empty. */
struct slot *slots_take(struct slots *slots);
void slots_give_back(struct slots *slots, struct slot *slot);

/* Its asker is answered, and it waits on. */
void slots_linger(struct slots *slots, struct slot *slot);

/* Count what the slot's buffers hold now. */
void slots_weigh(struct slots *slots, struct slot *slot);

/* The slot that is under way with this id, NULL for none. */
struct slot *slots_find(const struct slots *slots, uint64_t id);

static inline uint32_t slots_in_use(const struct slots *slots)
{
    return slots->count - slots->unused_count;
}

void slots_fini(struct slots *slots);

/* The home of @position, or who stands in for it, owes an answer now; or does it? or no more, or nobody does.
 * It does not once the link to it is lost. */
void slot_owe(struct slot *slot, struct turn *turn, uint32_t position, bool stand_in);
bool slot_owes(const struct slot *slot, uint32_t position, bool stand_in);
void slot_settle(struct slot *slot, struct turn *turn, uint32_t position, bool stand_in);
void slot_settle_all(struct slot *slot, struct turn *turn);

/* Which position a node has in this slot, as its home or (*stand_in) for it; n if it has none. */
uint32_t slot_position_of(const struct slot *slot, uint64_t node, bool *stand_in);
