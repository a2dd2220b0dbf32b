#include "actors/coordinator.h"

#include <stdio.h>
#include <stdlib.h>

#include "actors/coordinate.h"
#include "actors/result.h"
#include "actors/wish.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/unpack.h"

const char coordinate_too_much[] = "too many bytes are under way: ask for less at once";
static const char too_many[] =
    "too many operations are under way here: wait for some before you ask for more";

/* A timer's argument: the slot's id, and in the top bit which of its timers. */
static const uint64_t HEDGE_BIT = 1ULL << 63;

static void arm_hedge(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint64_t wait_ns)
{
    slot->hedge_timer = turn_arm(turn, &coordinator->actor, turn->now_ns + wait_ns, slot->id | HEDGE_BIT);
}

void coordinate_begin_reading(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    slot->asked_ns = turn->now_ns;
    slot->first = 0;
    turn_disarm(turn, slot->hedge_timer);
    slot->hedge_timer = 0;
    bool alone = slot->homes[0] == turn->self.node && slot->get.r == 1 && !slot->write;
    if (alone) return;
    speculation_earn(&coordinator->speculation);
    turn->counters->speculation_wait_us = coordinator->speculation.wait_ns / 1000;
    arm_hedge(coordinator, turn, slot, coordinator->speculation.wait_ns);
}

struct slot *coordinate_slot_of(const struct coordinator *coordinator, const struct mail *mail,
                                uint32_t *position, bool *stand_in)
{
    struct slot *slot = slots_find(&coordinator->slots, mail->request);
    if (slot == NULL) return NULL;
    *position = slot_position_of(slot, mail->from.node, stand_in);
    return *position < slot->n ? slot : NULL;
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

void coordinate_answer(struct turn *turn, const struct slot *slot, Dynode__Client__Result *result)
{
    send_result(turn, slot->asker, slot->asker_request, result);
}

static void mark_dirty(struct turn *turn, const struct slot *slot)
{
    Dynode__Peer__MarkDirty *message = ARENA_NEW(turn->arena, Dynode__Peer__MarkDirty);
    dynode__peer__mark_dirty__init(message);
    message->vnode = slot->vnode;
    turn->counters->dirty++;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY, message);
}

void coordinate_count(const struct coordinator *coordinator, struct turn *turn)
{
    turn->counters->lingering = coordinator->slots.lingering;
    turn->counters->coordinating = slots_in_use(&coordinator->slots) - coordinator->slots.lingering;
}

void coordinate_end(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    if (slot->phase >= SLOT_WRITING && put_core_missing(&slot->put) != 0) {
        if (slot->away)
            coordinate_keep_missing(turn, slot);
        else
            mark_dirty(turn, slot);
    }
    coordinate_measure_rest(coordinator, turn, slot);
    slot_settle_all(slot, turn);
    turn_disarm(turn, slot->deadline_timer);
    turn_disarm(turn, slot->hedge_timer);
    slots_give_back(&coordinator->slots, slot);
    coordinate_count(coordinator, turn);
}

void coordinate_finish(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                       Dynode__Client__Result *result)
{
    coordinate_answer(turn, slot, result);
    coordinate_end(coordinator, turn, slot);
}

uint32_t slot_answered(const struct slot *slot)
{
    if (slot->phase >= SLOT_WRITING) return put_core_taken(&slot->put);
    uint32_t bits = 0;
    for (uint32_t i = 0; i < slot->get.n; i++) bits |= (uint32_t)slot->get.answers[i].answered << i;
    return bits;
}

void slot_add_receipt(const struct slot *slot, Dynode__Client__Result *result, struct arena *arena)
{
    uint32_t bits = slot_answered(slot);
    uint32_t stood = slot->phase >= SLOT_WRITING ? bits & ~slot->put.acked : bits & slot->stood;
    uint64_t nodes[TABLE_N_MAX];
    for (uint32_t i = 0; i < slot->n; i++) nodes[i] = stood >> i & 1 ? slot->stand_ins[i] : slot->homes[i];
    result_add_replicas(result, nodes, bits, stood, arena);
}

/* Homes that are away, or homes that are there and do not count: what helps is not the same. NULL: neither.
 */
static const char *why_too_few(const struct turn *turn, const struct slot *slot)
{
    static const char unfilled[] =
        "is new or was lost, and counts for no read until it has heard of all others: "
        "dynode status names who is waited for";
    uint32_t away = 0;
    for (uint32_t i = 0; i < slot->n; i++) away += !peers_reachable(turn->peers, slot->homes[i]);
    if (away == 0 && !slot->unfilled) return NULL;
    enum { BYTES = 256 };
    char *text = ARENA_ARRAY(turn->arena, char, BYTES);
    if (!slot->unfilled)
        snprintf(text, BYTES, "%u of %u homes of the key cannot be reached", away, slot->n);
    else if (away == 0)
        snprintf(text, BYTES, "all homes of the key can be reached, but the store of one %s", unfilled);
    else
        snprintf(text, BYTES, "%u of %u homes of the key cannot be reached, and the store of another %s",
                 away, slot->n, unfilled);
    return text;
}

void coordinate_fall_short(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           enum status status, const char *why)
{
    if (status == STATUS_UNAVAILABLE && why == NULL) why = why_too_few(turn, slot);
    Dynode__Client__Result *result = result_new(turn->arena, status, why);
    uint32_t bits = slot_answered(slot);
    result->got = (uint32_t)__builtin_popcount(bits);
    /* A read that cannot reach enough homes does not wait for those that it can reach. */
    if (slot->phase != SLOT_WRITING && get_core_result(&slot->get) == GET_FAILED)
        result->got = get_core_left(&slot->get);
    result->needed = slot->phase == SLOT_WRITING ? slot->put.w : slot->get.r;
    if (slot->write)
        result->applied =
            slot->phase == SLOT_WRITING ? DYNODE__CLIENT__APPLIED__MAYBE : DYNODE__CLIENT__APPLIED__NO;
    slot_add_receipt(slot, result, turn->arena);
    coordinate_finish(coordinator, turn, slot, result);
}

Dynode__Peer__Place *slot_place(const struct slot *slot, struct arena *arena)
{
    Dynode__Peer__Place *place = ARENA_NEW(arena, Dynode__Peer__Place);
    dynode__peer__place__init(place);
    place->vnode = slot->vnode;
    place->hash = slot->hash;
    place->tag = slot->tag;
    place->key = to_pb(bytes_copy(arena, buffer_bytes(&slot->key)));
    return place;
}

struct address slot_home_address(const struct slot *slot, uint32_t home)
{
    return (struct address){.node = slot->homes[home], .shard = slot->vnode};
}

bool slot_take_stand_in(struct turn *turn, struct slot *slot, uint32_t position)
{
    const uint64_t *list = ring_preference_list(turn->ring, slot->vnode);
    while (slot->next_fallback < ring_nodes(turn->ring)) {
        uint64_t node = list[slot->next_fallback++];
        bool stand_in;
        if (slot_position_of(slot, node, &stand_in) < slot->n) continue;
        if (!turn_reaches(turn, (struct address){.node = node, .shard = slot->vnode})) continue;
        slot_settle(slot, turn, position, true); /* who stood there before, if its home came between */
        slot->stand_ins[position] = node;
        return true;
    }
    return false;
}

uint32_t slot_stand_ins_left(const struct turn *turn, const struct slot *slot)
{
    const uint64_t *list = ring_preference_list(turn->ring, slot->vnode);
    /* Who mints as a stand-in may be a home of the table, though none of this operation. */
    uint32_t count = slot->away && ring_is_home(turn->ring, slot->vnode, slot->table_n, turn->self.node);
    for (uint32_t i = slot->next_fallback; i < ring_nodes(turn->ring); i++)
        count += turn_reaches(turn, (struct address){.node = list[i], .shard = slot->vnode});
    return count;
}

/* --- a new operation --- */

/* The homes in the order in which they are asked: ourselves first, then as the preference list has them. */
static void set_homes(struct slot *slot, const struct turn *turn)
{
    const uint64_t *list = ring_preference_list(turn->ring, slot->vnode);
    uint32_t count = 0, nodes = ring_nodes(turn->ring);
    slot->next_fallback = slot->table_n < nodes ? slot->table_n : nodes;
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
        if (!turn_reaches(turn, slot_home_address(slot, home))) get_core_fail(&slot->get, home);
    turn->counters->gets++;
    coordinate_begin_reading(coordinator, turn, slot);
    coordinate_step_reading(coordinator, turn, slot);
}

enum status coordinate_shortage(const struct turn *turn, const struct slot *slot, uint32_t needed)
{
    uint32_t linked = 0, full = 0;
    for (uint32_t i = 0; i < slot->n; i++) {
        if (!peers_reachable(turn->peers, slot->homes[i])) continue;
        linked++;
        full += !turn_reaches(turn, slot_home_address(slot, i));
    }
    return (full > 0 || slot->refused) && linked >= needed ? STATUS_OVERLOADED : STATUS_UNAVAILABLE;
}

static uint32_t reachable_homes(const struct turn *turn, const struct slot *slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < slot->n; i++) count += turn_reaches(turn, slot_home_address(slot, i));
    return count;
}

/* This node is no home, and stands in for one that it can't reach, or for the first. */
static void stand_in_here(struct slot *slot, const struct turn *turn, Dynode__Peer__Mint *request)
{
    uint32_t position = 0;
    memset(slot->stand_ins, 0, sizeof(slot->stand_ins)); /* of a write that has waited: it was for another */
    put_core_init(&slot->put, slot->n, slot->put.w, slot->sloppy);
    while (position < slot->n && turn_reaches(turn, slot_home_address(slot, position))) position++;
    if (position == slot->n) position = 0;
    slot->stand_ins[position] = turn->self.node;
    request->hint_for = slot->homes[position];
    put_core_stand(&slot->put, position);
}

static void start_write(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint32_t w,
                        const Dynode__Client__Operation *operation, const struct table *table)
{
    slot->write = true;
    slot->phase = SLOT_READING;
    if (!slot->looked) turn->counters->puts++;
    Dynode__Peer__Mint *request =
        wish_mint(&coordinator->secret, turn, buffer_bytes(&slot->key), operation, table);
    get_core_init(&slot->get, slot->n, w);
    if (request == NULL) {
        coordinate_fall_short(
            coordinator, turn, slot, STATUS_INVALID,
            "the context was not handed out for this key, or by a node with another cluster.secret_file");
        return;
    }
    request->place = slot_place(slot, turn->arena);
    bool conditional = request->precondition != DYNODE__CLIENT__PRECONDITION__NONE;
    uint32_t majority = slot->n / 2 + 1;
    if (conditional && slot->n < table->n && slot->n < ring_nodes(turn->ring)) {
        coordinate_fall_short(coordinator, turn, slot, STATUS_INVALID,
                              "a precondition needs a majority of all homes: leave n at 0");
        return;
    }
    if (conditional && w < majority) w = majority;
    put_core_init(&slot->put, slot->n, w, slot->sloppy);
    bool home = slot->homes[0] == turn->self.node;
    request->only_if_held = slot->looked;
    if (!home && (!slot->sloppy || slot->looked)) {
        coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE,
                              "the node that was asked is no home of the key");
        return;
    }
    slot->away = !home;
    coordinate_begin_writing(coordinator, turn, slot, request);
}

void coordinate_begin_writing(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                              Dynode__Peer__Mint *request)
{
    bool conditional = request->precondition != DYNODE__CLIENT__PRECONDITION__NONE;
    uint32_t w = slot->put.w, reachable = reachable_homes(turn, slot), got = reachable;
    if (slot->away) stand_in_here(slot, turn, request);
    if (slot->sloppy && reachable < w) got += slot_stand_ins_left(turn, slot);
    if (got < w && coordinate_may_wait(turn, slot)) {
        if (!slot->waits) slot_keep_mint(&coordinator->slots, slot, request);
        coordinate_wait(coordinator, turn, slot);
        return;
    }
    if (got < w) {
        enum status status = coordinate_shortage(turn, slot, w);
        Dynode__Client__Result *result =
            result_new(turn->arena, status, status == STATUS_UNAVAILABLE ? why_too_few(turn, slot) : NULL);
        result->applied = DYNODE__CLIENT__APPLIED__NO;
        result->got = got;
        result->needed = w;
        coordinate_finish(coordinator, turn, slot, result);
        return;
    }
    if (slot->waits) {
        slot->waits = false;
        coordinate_arm_deadline(coordinator, turn, slot, turn->now_ns + COORDINATOR_STAND_IN_NS);
    }
    if (!conditional && (!slot->away || reachable == 0)) {
        slot_mint(turn, slot, request);
        return;
    }
    slot_keep_mint(&coordinator->slots, slot, request);
    coordinate_read_first(coordinator, turn, slot, conditional ? slot->n / 2 + 1 : 1);
}

/* At the deadline; or before, for a write, to look for stand-ins. */
void coordinate_arm_deadline(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                             uint64_t at_ns)
{
    turn_disarm(turn, slot->deadline_timer);
    slot->timer_ns = at_ns < slot->deadline_ns ? at_ns : slot->deadline_ns;
    slot->deadline_timer = turn_arm(turn, &coordinator->actor, slot->timer_ns, slot->id);
}

void coordinate_await_homes(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    uint64_t at_ns = turn->now_ns + COORDINATOR_STAND_IN_NS;
    if (slot->timer_ns <= at_ns && !slot->late) return;
    slot->late = false;
    coordinate_arm_deadline(coordinator, turn, slot, at_ns);
}

/* NULL: there is room for one more. */
static const char *what_is_full(const struct coordinator *coordinator)
{
    const struct slots *slots = &coordinator->slots;
    if (slots->bytes > COORDINATOR_BYTES_MAX) return coordinate_too_much;
    return slots_in_use(slots) - slots->lingering >= COORDINATOR_SLOTS_MAX ? too_many : NULL;
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
    bool write = operation->kind_case != DYNODE__CLIENT__OPERATION__KIND_GET;
    if (write && !message->only_if_held && mail->from.node != turn->self.node &&
        !repeats_note(&coordinator->repeats, mail->from, mail->request))
        return; /* the first of them has its answer, or will */
    uint32_t left_ms = message->deadline_ms < DEADLINE_MS_MAX ? message->deadline_ms : DEADLINE_MS_MAX;
    uint64_t left_ns = (uint64_t)left_ms * 1000000;
    if (left_ns <= turn->waited_ns) { /* nobody waits for it any more */
        Dynode__Client__Result *result = result_new(turn->arena, STATUS_TIMEOUT, NULL);
        if (write) result->applied = DYNODE__CLIENT__APPLIED__NO;
        turn->counters->expired++;
        send_result(turn, mail->from, mail->request, result);
        return;
    }
    left_ns -= turn->waited_ns;
    struct wish wish = wish_of(operation);
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(wish.table));
    if (table == NULL) {
        send_result(turn, mail->from, mail->request, result_new(turn->arena, STATUS_NO_SUCH_TABLE, NULL));
        return;
    }
    uint32_t n = table->n < ring_nodes(turn->ring) ? table->n : ring_nodes(turn->ring);
    if (wish.n != 0 && wish.n <= n) n = wish.n;
    uint32_t quorum = wish_quorum(&wish, write ? table->w : table->r, n);
    if (quorum == 0 || wish.n > table->n) {
        send_result(
            turn, mail->from, mail->request,
            result_new(turn->arena, STATUS_INVALID, "r, w or n is above the table's number of replicas"));
        return;
    }
    const char *full = what_is_full(coordinator);
    if (full != NULL) {
        Dynode__Client__Result *result = result_new(turn->arena, STATUS_OVERLOADED, full);
        if (write) result->applied = DYNODE__CLIENT__APPLIED__NO;
        send_result(turn, mail->from, mail->request, result);
        return;
    }
    struct slot *slot = slots_take(&coordinator->slots);
    coordinate_count(coordinator, turn);
    slot->asker = mail->from;
    slot->asker_request = mail->request;
    slot->tag = table->tag;
    slot->rule = table->rule;
    slot->table_n = table->n;
    slot->table_w = table->w;
    slot->n = n;
    slot->hash = hash64(wish.key, table->tag);
    slot->vnode = ring_vnode(turn->ring, slot->hash);
    slot->write = slot->away = false;
    slot->looked = write && message->only_if_held;
    slot->sloppy = wish.sloppy;
    buffer_append(&slot->key, wish.key.data, wish.key.size);
    set_homes(slot, turn);
    uint64_t margin = left_ns / 10 < COORDINATOR_MARGIN_NS ? left_ns / 10 : COORDINATOR_MARGIN_NS;
    slot->deadline_ns = turn->now_ns + left_ns - margin;
    uint64_t wait_ns = left_ns / 4 * 3;
    slot->wait_until_ns = turn->now_ns + (wait_ns < COORDINATOR_WAIT_NS ? wait_ns : COORDINATOR_WAIT_NS);
    coordinate_arm_deadline(coordinator, turn, slot,
                            write ? turn->now_ns + COORDINATOR_STAND_IN_NS : UINT64_MAX);
    if (write) {
        start_write(coordinator, turn, slot, quorum, operation, table);
    } else {
        slot->context_only = operation->get->context_only;
        start_get(coordinator, turn, slot, quorum);
    }
}

static void say_ready(struct turn *turn, const struct mail *mail)
{
    Dynode__Peer__Ready *message = ARENA_NEW(turn->arena, Dynode__Peer__Ready);
    dynode__peer__ready__init(message);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_READY, message);
}

/* --- what else happens --- */

/* A home is silent, or its object does not come. */
static void hedge(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    slot->hedge_timer = 0;
    if (slot->phase != SLOT_READING) return;
    arm_hedge(coordinator, turn, slot, SPECULATION_WAIT_MAX_NS);
    coordinate_speculate(coordinator, turn, slot);
}

/* Nobody came whom it waited for. */
static void give_up(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    if (slot->phase == SLOT_WRITING)
        coordinate_fall_short(coordinator, turn, slot, STATUS_UNAVAILABLE, NULL);
    else
        coordinate_peer_back(coordinator, turn, slot, 0);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    struct slot *slot = slots_find(&coordinator->slots, argument & ~HEDGE_BIT);
    if (slot == NULL) return;
    if (argument & HEDGE_BIT) {
        hedge(coordinator, turn, slot);
        return;
    }
    slot->deadline_timer = 0;
    if (slot->waits) {
        give_up(coordinator, turn, slot);
    } else if (turn->now_ns < slot->deadline_ns) {
        slot->late = true;
        coordinate_arm_deadline(coordinator, turn, slot, slot->deadline_ns);
        if (slot->phase >= SLOT_WRITING)
            coordinate_step_writing(coordinator, turn, slot);
        else if (slot->away && get_core_got(&slot->get) == 0)
            slot_mint_on_others(turn, slot); /* the homes that can be reached are silent */
    } else if (slot->phase == SLOT_LINGERING) {
        coordinate_end(coordinator, turn, slot);
    } else {
        coordinate_fall_short(coordinator, turn, slot, STATUS_TIMEOUT, NULL);
    }
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    for (uint32_t i = 0; i < coordinator->slots.count; i++) {
        struct slot *slot = coordinator->slots.pool[i];
        if (slot->phase == SLOT_FREE) continue;
        if (reachable) {
            if (slot->waits) coordinate_peer_back(coordinator, turn, slot, node);
            continue;
        }
        if (slot->waits && slot->phase == SLOT_READING) continue; /* nobody was asked anything yet */
        bool stand_in;
        uint32_t position = slot_position_of(slot, node, &stand_in);
        if (position == slot->n) continue;
        slot_settle(slot, turn, position, stand_in);
        if (!stand_in) slot->first &= ~(1U << position);
        if (slot->phase == SLOT_READING)
            coordinate_read_lost(coordinator, turn, slot, position, stand_in);
        else
            coordinate_write_lost(coordinator, turn, slot, position, stand_in);
    }
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_OFFER:
        say_ready(turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_COORDINATE:
        receive_coordinate(coordinator, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_READ_ANSWER:
        coordinate_read_answered(coordinator, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_MINTED:
        coordinate_minted(coordinator, turn, mail);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_MERGED);
        coordinate_merged(coordinator, turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct coordinator *coordinator = (const struct coordinator *)actor;
    size_t bytes = 0, lingering = 0;
    /* Those in use are among the first; the rest is not looked at, as this is asked after every turn. */
    for (uint32_t i = 0, left = slots_in_use(&coordinator->slots); left > 0; i++) {
        CHECK(i < coordinator->slots.count);
        const struct slot *slot = coordinator->slots.pool[i];
        if (slot->phase == SLOT_FREE) continue;
        left--;
        bytes += slot->bytes;
        CHECK(slot->deadline_timer != 0);
        CHECK(slot->n >= 1);
        if (slot->phase == SLOT_WRITING && !slot->waits) CHECK(put_core_result(&slot->put) == QUORUM_PENDING);
        if (slot->phase == SLOT_LINGERING) lingering += slot->bytes;
    }
    CHECK(bytes == coordinator->slots.bytes);
    CHECK(coordinator->slots.kept_bytes <= SLOTS_KEPT_BYTES_MAX);
    CHECK(lingering == coordinator->slots.lingering_bytes);
}

static void free_coordinator(struct actor *actor)
{
    struct coordinator *coordinator = (struct coordinator *)actor;
    slots_fini(&coordinator->slots);
    repeats_fini(&coordinator->repeats);
    free(coordinator);
}

void coordinator_add(struct shard *shard, const struct context_secret *secret, struct governor *governor)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_OFFER,       DYNODE__PEER__MESSAGE__BODY_COORDINATE,
        DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, DYNODE__PEER__MESSAGE__BODY_MINTED,
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
    coordinator->governor = governor;
    speculation_init(&coordinator->speculation);
    coordinator->slots.generation = request_id_draw(shard_turn_context(shard)->prng);
    shard_add_actor(shard, &coordinator->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
}
