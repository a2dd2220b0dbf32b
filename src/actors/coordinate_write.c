/* A coordinator's writing: minted at this shard, then merged at the other homes. */
#include "actors/coordinate.h"
#include "actors/result.h"
#include "base/check.h"
#include "wire/object_wire.h"
#include "wire/pack.h"
#include "wire/unpack.h"

void slot_mint(struct turn *turn, struct slot *slot, Dynode__Peer__Mint *message)
{
    slot->minting = message;
    turn_send(turn, turn->self, slot->id, DYNODE__PEER__MESSAGE__BODY_MINT, message);
}

uint32_t slot_rest_of_damaged(const struct slot *slot)
{
    uint32_t w = slot->table_w < slot->n ? slot->table_w : slot->n, majority = slot->n / 2 + 1;
    uint32_t needed = slot->n - w + 1 > majority ? slot->n - w + 1 : majority;
    return needed < slot->n ? needed : slot->n - 1;
}

void slot_keep_mint(struct slots *slots, struct slot *slot, const Dynode__Peer__Mint *message)
{
    buffer_clear(&slot->mint);
    pack_append(&slot->mint, &message->base);
    slots_weigh(slots, slot);
}

void slot_mint_on_others(struct turn *turn, struct slot *slot)
{
    ProtobufCMessage *message;
    CHECK(unpack(&dynode__peer__mint__descriptor, buffer_bytes(&slot->mint), turn->arena, &message) ==
          STATUS_OK);
    Dynode__Peer__Mint *request = (Dynode__Peer__Mint *)message;
    request->others = ARENA_ARRAY(turn->arena, ProtobufCBinaryData, slot->n);
    for (uint32_t i = 0; i < slot->n; i++) {
        const struct get_answer *answer = &slot->get.answers[i];
        /* An empty one too: that a home was heard matters to a replica whose own copy does not count. */
        if (answer->answered)
            request->others[request->n_others++] =
                to_pb(bytes_copy(turn->arena, buffer_bytes(&answer->object)));
    }
    slot_mint(turn, slot, request);
}

/* @object is borrowed until the turn ends, or the message is packed: to another node it is at once. */
static Dynode__Peer__Merge *merge_of(struct turn *turn, const struct slot *slot)
{
    Dynode__Peer__Merge *message = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(message);
    message->place = slot_place(slot, turn->arena);
    message->rule = slot->rule;
    message->object = to_pb(buffer_bytes(&slot->object));
    message->n = slot->table_n;
    return message;
}

static void send_merges(struct turn *turn, struct slot *slot)
{
    Dynode__Peer__Merge *message = merge_of(turn, slot);
    for (uint32_t home = 0; home < slot->n; home++) {
        if (slot->homes[home] == turn->self.node) continue;
        if (!turn_reaches(turn, slot_home_address(slot, home))) {
            put_core_fail(&slot->put, home);
            continue;
        }
        slot_owe(slot, turn, home, false);
        turn_send(turn, slot_home_address(slot, home), slot->id, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
    }
}

void coordinate_send_merge(struct turn *turn, struct slot *slot, uint32_t position, bool stand_in)
{
    Dynode__Peer__Merge *message = merge_of(turn, slot);
    struct address to = slot_home_address(slot, position);
    if (stand_in) {
        message->hint_for = slot->homes[position];
        to.node = slot->stand_ins[position];
        put_core_stand(&slot->put, position);
    }
    slot_owe(slot, turn, position, stand_in);
    turn_send(turn, to, slot->id, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
}

/* Find somebody to stand in for each home that failed or, when it is late, is silent. Before W is reached
 * only a sloppy write asks for that; then no home shall go without. */
static void send_hints(struct turn *turn, struct slot *slot)
{
    if (!slot->late && slot->put.failed == 0) return; /* as for nearly all writes */
    if (!slot->sloppy && slot->phase == SLOT_WRITING) return;
    uint32_t wanting = put_core_missing(&slot->put) & ~slot->put.standing;
    if (!slot->late) wanting &= slot->put.failed;
    for (uint32_t position = 0; wanting >> position != 0; position++) {
        if ((wanting >> position & 1) == 0) continue;
        if (!slot_take_stand_in(turn, slot, position)) return;
        coordinate_send_merge(turn, slot, position, true);
    }
}

void coordinate_keep_missing(struct turn *turn, struct slot *slot)
{
    uint32_t missing = put_core_missing(&slot->put);
    Dynode__Peer__Merge *message = merge_of(turn, slot);
    message->object = to_pb(bytes_copy(turn->arena, buffer_bytes(&slot->object))); /* outlives the slot */
    for (uint32_t position = 0; missing >> position != 0; position++) {
        if ((missing >> position & 1) == 0) continue;
        Dynode__Peer__Merge *hint = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
        *hint = *message;
        hint->hint_for = slot->homes[position];
        turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_MERGE, hint);
    }
}

/* The outcome of a write that reached its quorum. */
static void answer_put(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    struct object object;
    CHECK(object_decode(buffer_bytes(&slot->object), turn->arena, &object) == STATUS_OK);
    Dynode__Client__Result *result = result_new(turn->arena, STATUS_OK, NULL);
    result_add_object(result, &object, &coordinator->secret, slot->tag, buffer_bytes(&slot->key), slot->alone,
                      turn);
    slot_add_receipt(slot, result, turn->arena);
    coordinate_answer(turn, slot, result);
}

/* The write is answered. Is there anybody to wait for, and room for it? */
static void linger(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    const struct slots *slots = &coordinator->slots;
    if (slot->phase == SLOT_WRITING) {
        if (put_core_missing(&slot->put) == 0 || slots->lingering >= COORDINATOR_LINGERING_MAX ||
            slots->lingering_bytes >= COORDINATOR_LINGERING_BYTES_MAX) {
            coordinate_end(coordinator, turn, slot);
            return;
        }
        slots_linger(&coordinator->slots, slot);
        coordinate_count(coordinator, turn);
    }
    send_hints(turn, slot);
    if (put_core_missing(&slot->put) == put_core_lost(&slot->put)) coordinate_end(coordinator, turn, slot);
}

void coordinate_step_writing(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    if (slot->phase == SLOT_WRITING) {
        send_hints(turn, slot);
        switch (put_core_result(&slot->put)) {
        case QUORUM_PENDING:
            return;
        case QUORUM_ENOUGH:
            answer_put(coordinator, turn, slot);
            break;
        case QUORUM_FAILED:
            if (slot->waits || coordinate_may_wait(turn, slot)) {
                coordinate_wait(coordinator, turn, slot);
                return;
            }
            coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, NULL);
            return;
        }
    }
    linger(coordinator, turn, slot);
}

static void position_lost(struct slot *slot, uint32_t position, bool stand_in)
{
    if (!stand_in) {
        put_core_fail(&slot->put, position);
    } else {
        put_core_stand_failed(&slot->put, position);
    }
}

void coordinate_write_lost(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           uint32_t position, bool stand_in)
{
    position_lost(slot, position, stand_in);
    coordinate_step_writing(coordinator, turn, slot);
}

/* The precondition does not hold, or there are too many siblings: say so with what is there. */
static void refuse(struct coordinator *coordinator, struct turn *turn, struct slot *slot, enum status status,
                   struct bytes encoded)
{
    struct object object;
    Dynode__Client__Result *result = result_new(turn->arena, status, NULL);
    CHECK(object_decode(encoded, turn->arena, &object) == STATUS_OK);
    result_add_object(result, &object, &coordinator->secret, slot->tag, buffer_bytes(&slot->key), false,
                      turn);
    coordinate_finish(coordinator, turn, slot, result);
}

void coordinate_read_first(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           uint32_t needed)
{
    slot->phase = SLOT_READING;
    slot_settle_all(slot, turn);
    get_core_init(&slot->get, slot->n, needed);
    for (uint32_t home = 0; home < slot->n; home++)
        if (!turn_reaches(turn, slot_home_address(slot, home))) get_core_fail(&slot->get, home);
    coordinate_begin_reading(coordinator, turn, slot);
    coordinate_step_reading(coordinator, turn, slot);
}

void coordinate_minted(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Minted *minted = mail->body;
    if (!address_is(mail->from, turn->self)) {
        turn->counters->invalid++; /* nobody mints for another shard */
        return;
    }
    struct slot *slot = slots_find(&coordinator->slots, mail->request);
    if (slot == NULL || slot->phase != SLOT_READING || !slot->write) return;
    struct bytes encoded = from_pb(minted->object);
    if (slot->looked && minted->status != STATUS_OK) { /* nobody is told more than that it is not here */
        coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, NULL);
        return;
    }
    switch ((enum status)minted->status) {
    case STATUS_OK:
        slot->phase = SLOT_WRITING;
        coordinate_measure_rest(coordinator, turn, slot);
        slot_settle_all(slot, turn);
        buffer_append(&slot->object, encoded.data, encoded.size);
        slot->owed_bytes = encoded.size;
        slot->alone = minted->alone;
        slots_weigh(&coordinator->slots, slot);
        coordinate_await_homes(coordinator, turn, slot);
        send_merges(turn, slot);
        coordinate_step_writing(coordinator, turn, slot);
        break;
    case STATUS_CONFLICT:
    case STATUS_TOO_MANY_SIBLINGS:
        refuse(coordinator, turn, slot, minted->status, encoded);
        break;
    case STATUS_CORRUPT:
    case STATUS_NOT_FILLED: {
        /* Our copy can't be minted upon. What it held is at the other homes, or at enough of them: read
         * those, then mint over it. With N = 1 there is none, and with the first few homes not enough, and
         * the answer says so. */
        bool again = get_core_got(&slot->get) > 0;
        bool some = slot->n < slot->table_n && slot->n < ring_nodes(turn->ring); /* of all that may have it */
        if (slot->n > 1 && !some && !again) {
            slot_keep_mint(&coordinator->slots, slot, slot->minting);
            coordinate_read_first(coordinator, turn, slot, slot_rest_of_damaged(slot));
        } else {
            coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE,
                                  "the only copy that can be reached is damaged");
        }
        break;
    }
    case STATUS_OVERLOADED:
        coordinate_fall_short(coordinator, turn, slot, STATUS_OVERLOADED, coordinate_too_much);
        break;
    case STATUS_NO_SPACE:
        coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE,
                              slot->away
                                  ? "the disk of the coordinating node, or its room for hints, is full"
                                  : result_full_disk(turn->arena, "the coordinating node", turn->store));
        break;
    case STATUS_TOO_LARGE:
        coordinate_fall_short(
            coordinator, turn, slot, STATUS_TOO_LARGE,
            "what is stored under the key, with its context, would be larger than a node keeps");
        break;
    default:
        coordinate_fall_short(coordinator, turn, slot, STATUS_INTERNAL, NULL);
    }
}

void coordinate_merged(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Merged *merged = mail->body;
    uint32_t position;
    bool stand_in;
    struct slot *slot = coordinate_slot_of(coordinator, mail, &position, &stand_in);
    if (slot == NULL || slot->phase == SLOT_READING) return;
    /* The way to it was lost since it was asked: it may have lost its store by now, and have been filled by
     * homes that lack this write. Who counts is who still has it, as far as we can know. */
    if (mail->from.node != turn->self.node && !slot_owes(slot, position, stand_in)) return;
    slot_settle(slot, turn, position, stand_in);
    if (merged->status != STATUS_OK)
        position_lost(slot, position, stand_in);
    else if (stand_in)
        put_core_keep(&slot->put, position);
    else
        put_core_ack(&slot->put, position);
    coordinate_step_writing(coordinator, turn, slot);
}
