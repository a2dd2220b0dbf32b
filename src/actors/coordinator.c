#include "actors/coordinator.h"

#include <stdlib.h>

#include "actors/result.h"
#include "actors/slot.h"
#include "actors/wish.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

struct coordinator {
    struct actor actor;
    struct context_secret secret;
    struct slots slots;
};

/* A timer's argument: the slot's place and generation, and in the top bit which of its timers. */
static const uint64_t hedge_bit = 1ULL << 63;

static const char too_much[] = "too many bytes are under way: ask for less at once";

static struct bytes from_pb(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static ProtobufCBinaryData to_pb(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size};
}

/* --- answering --- */

static void send_result(struct turn *turn, struct address asker, uint64_t request,
                        Dynode__Client__Result *result)
{
    Dynode__Peer__Coordinated *coordinated = ARENA_NEW(turn->arena, Dynode__Peer__Coordinated);
    dynode__peer__coordinated__init(coordinated);
    coordinated->result = result;
    turn_send(turn, asker, request, DYNODE__PEER__MESSAGE__BODY_COORDINATED, coordinated);
}

/* Answer and end the slot. */
static void finish(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                   Dynode__Client__Result *result)
{
    send_result(turn, slot->asker, slot->asker_request, result);
    turn_disarm(turn, slot->deadline_timer);
    turn_disarm(turn, slot->hedge_timer);
    slots_give_back(&coordinator->slots, slot);
    turn->counters->coordinating = slots_in_use(&coordinator->slots);
}

static uint32_t answered_homes(const struct slot *slot)
{
    if (slot->phase == SLOT_WRITING) return slot->put.acked;
    uint32_t bits = 0;
    for (uint32_t i = 0; i < slot->get.n; i++) bits |= (uint32_t)slot->get.answers[i].answered << i;
    return bits;
}

/* Answer that the quorum was not reached: @status is UNAVAILABLE or TIMEOUT, or what the store said. */
static void fall_short(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                       enum status status, const char *why)
{
    Dynode__Client__Result *result = result_new(turn->arena, status, why);
    uint32_t bits = answered_homes(slot);
    result->got = (uint32_t)__builtin_popcount(bits);
    result->needed = slot->phase == SLOT_WRITING ? slot->put.w : slot->get.r;
    if (slot->write)
        result->applied =
            slot->phase == SLOT_WRITING ? DYNODE__CLIENT__APPLIED__MAYBE : DYNODE__CLIENT__APPLIED__NO;
    result_add_replicas(result, slot->homes, bits, turn->arena);
    finish(coordinator, turn, slot, result);
}

static Dynode__Peer__Place *slot_place(const struct slot *slot, struct arena *arena)
{
    Dynode__Peer__Place *place = ARENA_NEW(arena, Dynode__Peer__Place);
    dynode__peer__place__init(place);
    place->vnode = slot->vnode;
    place->hash = slot->hash;
    place->tag = slot->tag;
    place->key = to_pb(bytes_copy(arena, buffer_bytes(&slot->key)));
    return place;
}

static struct address home_address(const struct slot *slot, uint32_t home)
{
    return (struct address){.node = slot->homes[home], .shard = slot->vnode};
}

/* --- reading: gets, and what a precondition has to know --- */

static void ask(struct turn *turn, const struct slot *slot, uint32_t home, bool digest)
{
    Dynode__Peer__Read *read = ARENA_NEW(turn->arena, Dynode__Peer__Read);
    dynode__peer__read__init(read);
    read->place = slot_place(slot, turn->arena);
    read->digest = digest;
    read->n = slot->table_n;
    turn_send(turn, home_address(slot, home), slot->id, DYNODE__PEER__MESSAGE__BODY_READ, read);
}

/* Ask as many homes as can still make the quorum. Only a get asks others than the first for a mere digest. */
static void ask_wanting(struct turn *turn, struct slot *slot)
{
    uint32_t home;
    for (uint32_t wanting = get_core_wanting(&slot->get); wanting > 0 && get_core_ask(&slot->get, &home);
         wanting--)
        ask(turn, slot, home, !slot->write && home > 0);
}

/* Let those who answered something older have the result. Nothing waits for that, so the slot may be used
 * again before our own copy has its Merge: the object is not the slot's. */
static void repair(struct turn *turn, const struct slot *slot, uint32_t stale, struct bytes encoded)
{
    encoded = bytes_copy(turn->arena, encoded);
    for (uint32_t home = 0; home < slot->n; home++) {
        if ((stale >> home & 1) == 0) continue;
        Dynode__Peer__Merge *message = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
        dynode__peer__merge__init(message);
        message->place = slot_place(slot, turn->arena);
        message->rule = slot->rule;
        message->object = to_pb(encoded);
        message->n = slot->table_n;
        message->agreed = get_core_got(&slot->get) > slot->table_n / 2;
        turn->counters->repairs++;
        turn_send(turn, home_address(slot, home), 0, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
    }
}

/* The replica answers within this turn (Minted), so that the message may be looked at again until then. */
static void mint(struct turn *turn, struct slot *slot, Dynode__Peer__Mint *message)
{
    slot->minting = message;
    turn_send(turn, turn->self, slot->id, DYNODE__PEER__MESSAGE__BODY_MINT, message);
}

/* Keep a Mint beyond this turn, while other homes are read. */
static void keep_mint(struct slots *slots, struct slot *slot, const Dynode__Peer__Mint *message)
{
    buffer_clear(&slot->mint);
    size_t size = dynode__peer__mint__get_packed_size(message);
    dynode__peer__mint__pack(message, buffer_reserve(&slot->mint, size));
    slot->mint.size += size;
    slots_weigh(slots, slot);
}

/* Enough homes have told a conditional write what they hold: mint on top of that. */
static void mint_on_others(struct turn *turn, struct slot *slot)
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
    mint(turn, slot, request);
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
    result_add_replicas(result, slot->homes, answered_homes(slot), turn->arena);
    if (stale != 0) repair(turn, slot, stale, encoded);
    finish(coordinator, turn, slot, result);
}

/* Go on as far as the answers allow. */
static void step_reading(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    uint64_t id = slot->id;
    uint32_t fetch;
    ask_wanting(turn, slot);
    switch (get_core_result(&slot->get)) {
    case GET_PENDING:
        return;
    case GET_FAILED:
        fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, NULL);
        return;
    case GET_NEED_OBJECTS:
        fetch = get_core_fetch(&slot->get);
        for (uint32_t home = 0; home < slot->n; home++)
            if (fetch >> home & 1) ask(turn, slot, home, false);
        return;
    case GET_ENOUGH:
        if (slot->write)
            mint_on_others(turn, slot);
        else
            finish_get(coordinator, turn, slot);
        break;
    }
    /* An answer that did not decode has failed meanwhile. */
    if (slot->id == id && slot->phase == SLOT_READING && !slot->write) step_reading(coordinator, turn, slot);
}

static void receive_read_answer(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ReadAnswer *answer = mail->body;
    struct slot *slot = slots_find(&coordinator->slots, mail->request);
    if (slot == NULL || slot->phase != SLOT_READING) return;
    uint32_t home = slot_home_of(slot, mail->from.node);
    if (home == slot->n) return;
    bool own_is_full = answer->status == STATUS_OVERLOADED && address_is(mail->from, turn->self);
    if (own_is_full || coordinator->slots.bytes > COORDINATOR_BYTES_MAX) {
        fall_short(coordinator, turn, slot, STATUS_OVERLOADED, too_much);
        return;
    }
    get_core_add(&slot->get, home, answer->status, answer->digest, from_pb(answer->object));
    slots_weigh(&coordinator->slots, slot);
    step_reading(coordinator, turn, slot);
}

/* --- writing --- */

static void send_merges(struct turn *turn, struct slot *slot, struct bytes encoded)
{
    Dynode__Peer__Merge *message = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(message);
    message->place = slot_place(slot, turn->arena);
    message->rule = slot->rule;
    message->object = to_pb(encoded);
    message->n = slot->table_n;
    for (uint32_t home = 0; home < slot->n; home++) {
        if (slot->homes[home] == turn->self.node) continue;
        if (turn_reaches(turn, slot->homes[home]))
            turn_send(turn, home_address(slot, home), slot->id, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
        else
            put_core_fail(&slot->put, home);
    }
}

/* The outcome of a write that reached its quorum. */
static void finish_put(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    struct object object;
    CHECK(object_decode(buffer_bytes(&slot->object), turn->arena, &object) == STATUS_OK);
    Dynode__Client__Result *result = result_new(turn->arena, STATUS_OK, NULL);
    result_add_object(result, &object, &coordinator->secret, slot->tag, buffer_bytes(&slot->key), slot->alone,
                      turn);
    result_add_replicas(result, slot->homes, slot->put.acked, turn->arena);
    finish(coordinator, turn, slot, result);
}

static void step_writing(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    switch (put_core_result(&slot->put)) {
    case QUORUM_PENDING:
        break;
    case QUORUM_ENOUGH:
        finish_put(coordinator, turn, slot);
        break;
    case QUORUM_FAILED:
        fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, NULL);
        break;
    }
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
    finish(coordinator, turn, slot, result);
}

/* Read homes before minting, our own copy among them: it counts only if it is readable and filled. */
static void read_first(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint32_t needed)
{
    slot->phase = SLOT_READING;
    get_core_init(&slot->get, slot->n, needed);
    for (uint32_t home = 0; home < slot->n; home++)
        if (!turn_reaches(turn, slot->homes[home])) get_core_fail(&slot->get, home);
    turn_disarm(turn, slot->hedge_timer);
    slot->hedge_timer =
        turn_arm(turn, &coordinator->actor, turn->now_ns + COORDINATOR_HEDGE_NS, slot->id | hedge_bit);
    step_reading(coordinator, turn, slot);
}

static void receive_minted(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Minted *minted = mail->body;
    if (!address_is(mail->from, turn->self)) {
        turn->counters->invalid++; /* nobody mints for another shard */
        return;
    }
    struct slot *slot = slots_find(&coordinator->slots, mail->request);
    if (slot == NULL || slot->phase != SLOT_READING || !slot->write) return;
    struct bytes encoded = from_pb(minted->object);
    switch ((enum status)minted->status) {
    case STATUS_OK:
        slot->phase = SLOT_WRITING;
        buffer_append(&slot->object, encoded.data, encoded.size);
        slot->alone = minted->alone;
        slots_weigh(&coordinator->slots, slot);
        send_merges(turn, slot, encoded);
        step_writing(coordinator, turn, slot);
        break;
    case STATUS_CONFLICT:
    case STATUS_TOO_MANY_SIBLINGS:
        refuse(coordinator, turn, slot, minted->status, encoded);
        break;
    case STATUS_CORRUPT:
    case STATUS_NOT_FILLED: {
        /* Our copy can't be minted upon. What it held is at the other homes, or at enough of them: read
         * those, then mint over it. With N = 1 there is none, and the answer says so. */
        if (minted->status == STATUS_NOT_FILLED && slot->n == 1) { /* nobody else holds anything */
            slot->minting->others = ARENA_NEW(turn->arena, ProtobufCBinaryData);
            slot->minting->n_others = 1;
            mint(turn, slot, slot->minting);
            break;
        }
        uint32_t needed = slot->n - slot->put.w + 1;
        bool again = get_core_got(&slot->get) > 0;
        if (slot->n > 1 && !again) {
            keep_mint(&coordinator->slots, slot, slot->minting);
            read_first(coordinator, turn, slot, needed < slot->n ? needed : slot->n - 1);
        } else {
            fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE,
                       "the only copy that can be reached is damaged");
        }
        break;
    }
    case STATUS_OVERLOADED:
        fall_short(coordinator, turn, slot, STATUS_OVERLOADED, too_much);
        break;
    case STATUS_NO_SPACE:
        fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, "the disk of the coordinating node is full");
        break;
    case STATUS_TOO_LARGE:
        fall_short(coordinator, turn, slot, STATUS_TOO_LARGE,
                   "what is stored under the key, with its context, would be larger than a node keeps");
        break;
    default:
        fall_short(coordinator, turn, slot, STATUS_INTERNAL, NULL);
    }
}

static void receive_merged(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Merged *merged = mail->body;
    struct slot *slot = slots_find(&coordinator->slots, mail->request);
    if (slot == NULL || slot->phase != SLOT_WRITING) return;
    uint32_t home = slot_home_of(slot, mail->from.node);
    if (home == slot->n) return;
    if (merged->status == STATUS_OK)
        put_core_ack(&slot->put, home);
    else
        put_core_fail(&slot->put, home);
    step_writing(coordinator, turn, slot);
}

/* --- a new operation --- */

/* The homes in the order in which they are asked: ourselves first, then as the preference list has them. */
static void set_homes(struct slot *slot, const struct turn *turn)
{
    const uint64_t *list = ring_preference_list(turn->ring, slot->vnode);
    uint32_t count = 0;
    if (ring_is_home(turn->ring, slot->vnode, slot->n, turn->self.node))
        slot->homes[count++] = turn->self.node;
    for (uint32_t i = 0; i < slot->n; i++)
        if (list[i] != turn->self.node) slot->homes[count++] = list[i];
    CHECK(count == slot->n);
}

static void start_get(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint32_t r)
{
    slot->phase = SLOT_READING;
    get_core_init(&slot->get, slot->n, r);
    for (uint32_t home = 0; home < slot->n; home++)
        if (!turn_reaches(turn, slot->homes[home])) get_core_fail(&slot->get, home);
    turn->counters->gets++;
    bool alone = slot->homes[0] == turn->self.node && r == 1;
    if (!alone)
        slot->hedge_timer =
            turn_arm(turn, &coordinator->actor, turn->now_ns + COORDINATOR_HEDGE_NS, slot->id | hedge_bit);
    step_reading(coordinator, turn, slot);
}

static uint32_t reachable_homes(const struct turn *turn, const struct slot *slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < slot->n; i++) count += turn_reaches(turn, slot->homes[i]);
    return count;
}

static void start_write(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint32_t w,
                        const Dynode__Client__Operation *operation, const struct table *table)
{
    slot->write = true;
    slot->phase = SLOT_READING;
    turn->counters->puts++;
    Dynode__Peer__Mint *request =
        wish_mint(&coordinator->secret, turn, buffer_bytes(&slot->key), operation, table);
    get_core_init(&slot->get, slot->n, w);
    if (request == NULL) {
        fall_short(coordinator, turn, slot, STATUS_INVALID, "the context was not handed out for this key");
        return;
    }
    request->place = slot_place(slot, turn->arena);
    bool conditional = request->precondition != DYNODE__CLIENT__PRECONDITION__NONE;
    uint32_t majority = slot->n / 2 + 1;
    if (conditional && slot->n < table->n && slot->n < ring_nodes(turn->ring)) {
        fall_short(coordinator, turn, slot, STATUS_INVALID,
                   "a precondition needs a majority of all homes: leave n at 0");
        return;
    }
    if (conditional && w < majority) w = majority;
    put_core_init(&slot->put, slot->n, w);
    if (slot->homes[0] != turn->self.node) {
        fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE,
                   "the node that was asked is no home of the key");
        return;
    }
    uint32_t reachable = reachable_homes(turn, slot);
    if (reachable < w) {
        Dynode__Client__Result *result = result_new(turn->arena, STATUS_UNAVAILABLE, NULL);
        result->applied = DYNODE__CLIENT__APPLIED__NO;
        result->got = reachable;
        result->needed = w;
        finish(coordinator, turn, slot, result);
        return;
    }
    if (!conditional) {
        mint(turn, slot, request);
        return;
    }
    keep_mint(&coordinator->slots, slot, request);
    read_first(coordinator, turn, slot, majority);
}

static void receive_coordinate(struct coordinator *coordinator, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Coordinate *message = mail->body;
    const Dynode__Client__Operation *operation = message->operation;
    const char *why = NULL;
    if (operation == NULL || operation->kind_case < DYNODE__CLIENT__OPERATION__KIND_GET ||
        operation->kind_case > DYNODE__CLIENT__OPERATION__KIND_DELETE ||
        (!address_is(mail->from, turn->self) && operation_check(operation, &why) != STATUS_OK)) {
        turn->counters->invalid++;
        send_result(turn, mail->from, mail->request, result_new(turn->arena, STATUS_INVALID, why));
        return;
    }
    struct wish wish = wish_of(operation);
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(wish.table));
    if (table == NULL) {
        send_result(turn, mail->from, mail->request, result_new(turn->arena, STATUS_NO_SUCH_TABLE, NULL));
        return;
    }
    uint32_t n = table->n < ring_nodes(turn->ring) ? table->n : ring_nodes(turn->ring);
    if (wish.n != 0 && wish.n <= n) n = wish.n;
    bool write = operation->kind_case != DYNODE__CLIENT__OPERATION__KIND_GET;
    uint32_t quorum = wish_quorum(&wish, write ? table->w : table->r, n);
    if (quorum == 0 || wish.n > table->n) {
        send_result(
            turn, mail->from, mail->request,
            result_new(turn->arena, STATUS_INVALID, "r, w or n is above the table's number of replicas"));
        return;
    }
    if (coordinator->slots.bytes > COORDINATOR_BYTES_MAX) {
        send_result(turn, mail->from, mail->request, result_new(turn->arena, STATUS_OVERLOADED, too_much));
        return;
    }
    struct slot *slot = slots_take(&coordinator->slots);
    turn->counters->coordinating = slots_in_use(&coordinator->slots);
    slot->asker = mail->from;
    slot->asker_request = mail->request;
    slot->tag = table->tag;
    slot->rule = table->rule;
    slot->table_n = table->n;
    slot->n = n;
    slot->hash = hash64(wish.key, table->tag);
    slot->vnode = ring_vnode(turn->ring, slot->hash);
    slot->write = false;
    buffer_append(&slot->key, wish.key.data, wish.key.size);
    set_homes(slot, turn);
    uint32_t left_ms = message->deadline_ms < DEADLINE_MS_MAX ? message->deadline_ms : DEADLINE_MS_MAX;
    uint64_t left_ns = (uint64_t)left_ms * 1000000;
    uint64_t margin = left_ns / 10 < COORDINATOR_MARGIN_NS ? left_ns / 10 : COORDINATOR_MARGIN_NS;
    slot->deadline_timer = turn_arm(turn, &coordinator->actor, turn->now_ns + left_ns - margin, slot->id);
    if (write) {
        start_write(coordinator, turn, slot, quorum, operation, table);
    } else {
        slot->context_only = operation->get->context_only;
        start_get(coordinator, turn, slot, quorum);
    }
}

/* --- what else happens --- */

/* A home is silent, or its object does not come: ask one home more. Without one the silent keep their chance.
 */
static void hedge(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    uint32_t home;
    slot->hedge_timer = 0;
    if (slot->phase != SLOT_READING || !get_core_ask(&slot->get, &home)) return;
    slot->hedge_timer =
        turn_arm(turn, &coordinator->actor, turn->now_ns + COORDINATOR_HEDGE_NS, slot->id | hedge_bit);
    ask(turn, slot, home, false);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    struct slot *slot = slots_find(&coordinator->slots, argument & ~hedge_bit);
    if (slot == NULL) return;
    if (argument & hedge_bit) {
        hedge(coordinator, turn, slot);
    } else {
        slot->deadline_timer = 0;
        fall_short(coordinator, turn, slot, STATUS_TIMEOUT, NULL);
    }
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    if (reachable) return;
    for (uint32_t i = 0; i < coordinator->slots.count; i++) {
        struct slot *slot = coordinator->slots.pool[i];
        if (slot->phase == SLOT_FREE) continue;
        uint32_t home = slot_home_of(slot, node);
        if (home == slot->n) continue;
        if (slot->phase == SLOT_READING) {
            get_core_fail(&slot->get, home);
            step_reading(coordinator, turn, slot);
        } else {
            put_core_fail(&slot->put, home);
            step_writing(coordinator, turn, slot);
        }
    }
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_COORDINATE:
        receive_coordinate(coordinator, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_READ_ANSWER:
        receive_read_answer(coordinator, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_MINTED:
        receive_minted(coordinator, turn, mail);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_MERGED);
        receive_merged(coordinator, turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct coordinator *coordinator = (const struct coordinator *)actor;
    size_t bytes = 0;
    for (uint32_t i = 0; i < coordinator->slots.count; i++) {
        const struct slot *slot = coordinator->slots.pool[i];
        bytes += slot->bytes;
        if (slot->phase == SLOT_FREE) continue;
        CHECK(slot->deadline_timer != 0);
        CHECK(slot->n >= 1);
        if (slot->phase == SLOT_WRITING) CHECK(put_core_result(&slot->put) == QUORUM_PENDING);
    }
    CHECK(bytes == coordinator->slots.bytes);
}

static void free_coordinator(struct actor *actor)
{
    slots_fini(&((struct coordinator *)actor)->slots);
    free(actor);
}

void coordinator_add(struct shard *shard, const struct context_secret *secret)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_COORDINATE,
        DYNODE__PEER__MESSAGE__BODY_READ_ANSWER,
        DYNODE__PEER__MESSAGE__BODY_MINTED,
        DYNODE__PEER__MESSAGE__BODY_MERGED,
    };
    struct coordinator *coordinator = calloc(1, sizeof(*coordinator));
    CHECK(coordinator != NULL);
    coordinator->actor = (struct actor){.name = "coordinator",
                                        .receive = receive,
                                        .timeout = timeout,
                                        .peer_changed = peer_changed,
                                        .check = check,
                                        .free = free_coordinator};
    coordinator->secret = *secret;
    coordinator->slots.generation = request_id_draw(shard_turn_context(shard)->prng);
    shard_add_actor(shard, &coordinator->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
}
