/* A coordinator's reading: gets, and what a precondition or a damaged copy has to know of the other homes. */
#include "actors/coordinate.h"
#include "actors/result.h"
#include "base/check.h"
#include "wire/unpack.h"

void slot_ask(struct turn *turn, struct slot *slot, uint32_t home, bool digest)
{
    Dynode__Peer__Read *read = ARENA_NEW(turn->arena, Dynode__Peer__Read);
    dynode__peer__read__init(read);
    read->place = slot_place(slot, turn->arena);
    read->digest = digest;
    read->n = slot->table_n;
    read->stand_in = (slot->stood >> home & 1) != 0;
    read->deadline_ms = turn_ms_left(turn, slot->deadline_ns);
    struct address to = {.node = read->stand_in ? slot->stand_ins[home] : slot->homes[home],
                         .shard = slot->vnode};
    if (turn->now_ns == slot->asked_ns && !read->stand_in && to.node != turn->self.node)
        slot->first |= 1U << home;
    slot_owe(slot, turn, home, read->stand_in);
    turn_send(turn, to, slot->id, DYNODE__PEER__MESSAGE__BODY_READ, read);
}

/* --- one home more --- */

static bool is_silent(const struct turn *turn, uint64_t node)
{
    const struct peer *peer = peers_find(turn->peers, node);
    return peer != NULL && turn->now_ns - peer->heard_ns >= SPECULATION_SILENT_NS;
}

/* Do fewer than the quorum have answered or give a sign of life? Then one more asked is one in place of
 * another. */
static bool lacks_living(const struct turn *turn, const struct slot *slot)
{
    uint32_t living = 0;
    for (uint32_t i = 0; i < slot->n; i++) {
        const struct get_answer *answer = &slot->get.answers[i];
        uint64_t node = (slot->stood >> i & 1) != 0 ? slot->stand_ins[i] : slot->homes[i];
        living += answer->asked && !answer->failed && (answer->answered || !is_silent(turn, node));
    }
    return living < slot->get.r;
}

/* The next home that is not asked yet and has room. */
static bool next_home(const struct turn *turn, const struct slot *slot, uint32_t *home)
{
    for (uint32_t i = 0; i < slot->n; i++) {
        const struct get_answer *answer = &slot->get.answers[i];
        if (answer->asked || answer->failed) continue;
        const struct peer *peer = peers_find(turn->peers, slot->homes[i]);
        if (!turn_reaches(turn, slot_home_address(slot, i))) continue;
        if (peer != NULL && peer->owed >= SPECULATION_OWED_MAX) continue;
        *home = i;
        return true;
    }
    return false;
}

void coordinate_speculate(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    uint32_t home;
    if (!next_home(turn, slot, &home)) return;
    if (!lacks_living(turn, slot)) {
        if (!speculation_take(&coordinator->speculation)) {
            turn->counters->speculations_withheld++;
            return;
        }
        turn->counters->speculated++;
    }
    get_core_ask_home(&slot->get, home);
    slot_ask(turn, slot, home, false);
}

void coordinate_measure_rest(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    for (; slot->first != 0; slot->first &= slot->first - 1)
        speculation_measure(&coordinator->speculation, turn->now_ns - slot->asked_ns);
}

/* --- the quorum --- */

/* Homes are too few: the next node that can be reached may hold a hint for one of them. */
static bool ask_stand_in(struct turn *turn, struct slot *slot)
{
    uint32_t home;
    if (!slot->sloppy || slot->write || !get_core_lost(&slot->get, &home)) return false;
    if (!slot_take_stand_in(turn, slot, home)) return false;
    get_core_stand(&slot->get, home);
    slot->stood |= 1U << home;
    slot_ask(turn, slot, home, false);
    return true;
}

/* Ask as many homes as can still make the quorum. Only a get asks others than the first for a mere digest. */
static void ask_wanting(struct turn *turn, struct slot *slot)
{
    uint32_t home;
    for (uint32_t wanting = get_core_wanting(&slot->get); wanting > 0; wanting--) {
        if (get_core_ask(&slot->get, &home))
            slot_ask(turn, slot, home, !slot->write && home > 0);
        else if (!ask_stand_in(turn, slot))
            return;
    }
}

/* Let those homes that answered something older have the result. Nothing waits for that, so the slot may be
 * used again before our own copy has its Merge: the object is not the slot's. */
static void repair(struct coordinator *coordinator, struct turn *turn, const struct slot *slot,
                   uint32_t stale, struct bytes encoded)
{
    encoded = bytes_copy(turn->arena, encoded);
    /* A damaged copy is replaced by what all other homes hold together (mend.c). */
    uint32_t told = (uint32_t)__builtin_popcount(slot_answered(slot) & ~slot->stood);
    uint32_t nodes = ring_nodes(turn->ring), homes = slot->table_n < nodes ? slot->table_n : nodes;
    for (uint32_t home = 0; home < slot->n; home++) {
        if ((stale >> home & 1) == 0 || (slot->stood >> home & 1) != 0) continue;
        if (!governor_may(coordinator->governor, turn->now_ns)) {
            turn->counters->repairs_shed++;
            continue;
        }
        governor_spend(coordinator->governor, encoded.size, 1);
        Dynode__Peer__Merge *message = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
        dynode__peer__merge__init(message);
        message->place = slot_place(slot, turn->arena);
        message->rule = slot->rule;
        message->object = to_pb(encoded);
        message->n = slot->table_n;
        message->agreed = told + 1 >= homes;
        turn->counters->repairs++;
        turn_send(turn, slot_home_address(slot, home), 0, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
    }
}

static void finish_get(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    struct object object = {0};
    struct bytes encoded = {0};
    uint32_t stale;
    enum status status = get_core_merge(&slot->get, slot->rule, turn->arena, &object, &encoded, &stale);
    if (status == STATUS_CORRUPT) return; /* the caller looks at the result again */
    bool live = status == STATUS_OK && object_live_count(&object, turn->wall_ms) > 0;
    Dynode__Client__Result *result = result_new(turn->arena, live ? STATUS_OK : STATUS_NOT_FOUND, NULL);
    if (status == STATUS_OK)
        result_add_object(result, &object, &coordinator->secret, slot->tag, buffer_bytes(&slot->key),
                          slot->context_only, turn);
    slot_add_receipt(slot, result, turn->arena);
    if (stale != 0) repair(coordinator, turn, slot, stale, encoded);
    coordinate_finish(coordinator, turn, slot, result);
}

void coordinate_step_reading(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    uint64_t id = slot->id;
    uint32_t fetch;
    uint32_t rest = slot_rest_of_damaged(slot);
    if (slot->write && !slot->away && slot->get.answers[0].damaged && slot->get.r < rest) slot->get.r = rest;
    ask_wanting(turn, slot);
    switch (get_core_result(&slot->get)) {
    case GET_PENDING:
        return;
    case GET_FAILED:
        if (slot->away) { /* by now no home can be reached */
            slot_mint_on_others(turn, slot);
            return;
        }
        coordinate_fall_short(coordinator, turn, slot, coordinate_shortage(turn, slot, slot->get.r), NULL);
        return;
    case GET_NEED_OBJECTS:
        fetch = get_core_fetch(&slot->get);
        for (uint32_t home = 0; home < slot->n; home++)
            if (fetch >> home & 1) slot_ask(turn, slot, home, false);
        return;
    case GET_ENOUGH:
        if (slot->write)
            slot_mint_on_others(turn, slot);
        else
            finish_get(coordinator, turn, slot);
        break;
    }
    /* An answer that did not decode has failed meanwhile. */
    if (slot->id == id && slot->phase == SLOT_READING && !slot->write)
        coordinate_step_reading(coordinator, turn, slot);
}

void coordinate_read_lost(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                          uint32_t position, bool stand_in)
{
    bool stood = (slot->stood >> position & 1) != 0;
    if (stand_in != stood) return; /* another answers for it by now */
    get_core_fail(&slot->get, position);
    coordinate_step_reading(coordinator, turn, slot);
}

/* Of a home and who stands in for it one counts: the home, if it answers yet. */
static bool takes_answer(struct slot *slot, uint32_t position, bool stand_in, enum status status)
{
    uint32_t bit = 1U << position;
    bool stood = (slot->stood & bit) != 0;
    if (stand_in == stood) return true;
    if (stand_in || slot->get.answers[position].answered) return false;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return false;
    slot->stood &= ~bit;
    return true;
}

void coordinate_read_answered(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ReadAnswer *answer = mail->body;
    uint32_t position;
    bool stand_in;
    struct slot *slot = coordinate_slot_of(coordinator, mail, &position, &stand_in);
    if (slot == NULL || slot->phase != SLOT_READING) return;
    slot_settle(slot, turn, position, stand_in);
    if (!stand_in && (slot->first >> position & 1) != 0) {
        slot->first &= ~(1U << position);
        speculation_measure(&coordinator->speculation, turn->now_ns - slot->asked_ns);
    }
    if (!takes_answer(slot, position, stand_in, answer->status)) return;
    bool own_is_full = answer->status == STATUS_OVERLOADED && address_is(mail->from, turn->self);
    if (own_is_full || coordinator->slots.bytes > COORDINATOR_BYTES_MAX) {
        coordinate_fall_short(coordinator, turn, slot, STATUS_OVERLOADED, coordinate_too_much);
        return;
    }
    slot->refused |= answer->status == STATUS_OVERLOADED;
    slot->unfilled |= answer->status == STATUS_NOT_FILLED;
    get_core_add(&slot->get, position, answer->status, answer->digest, from_pb(answer->object));
    slots_weigh(&coordinator->slots, slot);
    coordinate_step_reading(coordinator, turn, slot);
}
