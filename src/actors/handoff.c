#include "actors/handoff.h"

#include <stdlib.h>

#include "actors/request_id.h"
#include "base/check.h"
#include "wire/unpack.h"

/* One hint under way. */
struct delivery {
    uint64_t id; /* request_id.h */
    bool used;
    struct buffer store_key; /* of the hint */
    uint64_t digest;         /* of the object that was sent */
    size_t bytes;            /* in the target's window */
    uint64_t sent_ns;
    uint64_t waiting[TABLE_N_MAX]; /* who has not answered yet */
    uint32_t waiting_count;
};

/* One node that hints are for. */
struct course {
    uint64_t node;
    struct buffer cursor; /* the last hint that was looked at in this pass; empty: none */
    bool resting;         /* the pass is over */
    size_t bytes;         /* under way */
    uint32_t count;
    struct delivery deliveries[HANDOFF_WINDOW];
};

struct handoff {
    struct actor actor;
    const struct hints *hints;
    struct governor *governor;
    bool waking;             /* a timer is armed for when the governor lets more go */
    struct course **courses; /* in the order of their first use */
    uint32_t course_count;
    uint32_t generation; /* that new ids begin with */
};

/* --- courses and deliveries --- */

static struct course *course_of(struct handoff *handoff, uint64_t node)
{
    for (uint32_t i = 0; i < handoff->course_count; i++)
        if (handoff->courses[i]->node == node) return handoff->courses[i];
    struct course *course = calloc(1, sizeof(*course));
    CHECK(course != NULL);
    handoff->courses = realloc(handoff->courses, (handoff->course_count + 1) * sizeof(struct course *));
    CHECK(handoff->courses != NULL);
    course->node = node;
    for (uint32_t i = 0; i < HANDOFF_WINDOW; i++)
        course->deliveries[i].id =
            request_id(handoff->generation, handoff->course_count * (uint32_t)HANDOFF_WINDOW + i);
    handoff->courses[handoff->course_count++] = course;
    return course;
}

static struct delivery *delivery_take(struct course *course)
{
    uint32_t place = 0;
    while (course->deliveries[place].used) place++;
    struct delivery *delivery = &course->deliveries[place];
    delivery->used = true;
    delivery->waiting_count = 0;
    course->count++;
    return delivery;
}

static void delivery_end(struct course *course, struct delivery *delivery)
{
    delivery->used = false;
    delivery->id = request_id_next(delivery->id);
    course->count--;
    course->bytes -= delivery->bytes;
    delivery->bytes = 0;
    buffer_fini(&delivery->store_key);
}

static struct delivery *delivery_find(struct handoff *handoff, uint64_t id, struct course **course)
{
    uint32_t place = (uint32_t)id;
    if (place / HANDOFF_WINDOW >= handoff->course_count) return NULL;
    *course = handoff->courses[place / HANDOFF_WINDOW];
    struct delivery *delivery = &(*course)->deliveries[place % HANDOFF_WINDOW];
    return delivery->used && delivery->id == id ? delivery : NULL;
}

static bool is_under_way(const struct course *course, struct bytes store_key)
{
    for (uint32_t i = 0; i < HANDOFF_WINDOW; i++)
        if (course->deliveries[i].used &&
            bytes_equal(buffer_bytes(&course->deliveries[i].store_key), store_key))
            return true;
    return false;
}

/* --- a page of hints --- */

struct page {
    struct arena *arena;
    struct bytes after;
    struct bytes keys[HANDOFF_WINDOW], values[HANDOFF_WINDOW];
    uint32_t count, room;
    size_t bytes, bytes_max;
    bool full;
};

static bool visit(void *context, struct bytes key, struct bytes value)
{
    struct page *page = context;
    uint64_t target;
    struct store_place place;
    if (bytes_equal(key, page->after) || !hint_key_decode(key, &target, &place)) return true;
    page->full = page->count == page->room || (page->count > 0 && page->bytes + value.size > page->bytes_max);
    if (page->full) return false;
    page->keys[page->count] = bytes_copy(page->arena, key);
    page->values[page->count++] = bytes_copy(page->arena, value);
    page->bytes += value.size;
    return true;
}

static Dynode__Peer__Place *place_of(const struct store_place *from, struct arena *arena)
{
    Dynode__Peer__Place *place = ARENA_NEW(arena, Dynode__Peer__Place);
    dynode__peer__place__init(place);
    place->vnode = from->vnode;
    place->hash = from->hash;
    place->tag = from->tag;
    place->key = to_pb(from->key);
    return place;
}

static void drop(struct turn *turn, struct bytes store_key, uint64_t digest, bool aside)
{
    struct store_place place;
    Dynode__Peer__DropHint *message = ARENA_NEW(turn->arena, Dynode__Peer__DropHint);
    dynode__peer__drop_hint__init(message);
    CHECK(hint_key_decode(store_key, &message->target, &place));
    message->place = place_of(&place, turn->arena);
    message->digest = digest;
    message->aside = aside;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_DROP_HINT, message);
}

/* Who has to have it: the target, or all homes if it is none of them. False: not all of them can be reached.
 */
static bool set_receivers(struct delivery *delivery, const struct turn *turn, uint64_t target, uint32_t vnode,
                          uint32_t n)
{
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    if (n > ring_nodes(turn->ring)) n = ring_nodes(turn->ring);
    if (ring_is_home(turn->ring, vnode, n, target))
        delivery->waiting[delivery->waiting_count++] = target;
    else
        for (uint32_t i = 0; i < n; i++) delivery->waiting[delivery->waiting_count++] = list[i];
    for (uint32_t i = 0; i < delivery->waiting_count; i++)
        if (!turn_reaches(turn, (struct address){.node = delivery->waiting[i], .shard = vnode})) return false;
    return true;
}

static void deliver(struct course *course, struct turn *turn, struct bytes store_key, struct bytes value)
{
    uint64_t target;
    struct store_place place;
    struct hint hint;
    CHECK(hint_key_decode(store_key, &target, &place));
    if (hint_open(store_key, value, &hint) != STATUS_OK) {
        turn->counters->corrupt++;
        drop(turn, store_key, 0, false);
        return;
    }
    uint64_t digest = object_digest(hint.encoded);
    struct object object;
    enum status status = object_decode(hint.encoded, turn->arena, &object);
    if (status == STATUS_CORRUPT || (status == STATUS_OK && object.context.count == 0)) {
        turn->counters->corrupt++;
        drop(turn, store_key, digest, true);
        return;
    }
    const struct table *table = cluster_find_tag(turn->cluster, place.tag);
    if (table != NULL && table->dropped) drop(turn, store_key, digest, false);
    if (table == NULL || table->dropped || is_under_way(course, store_key)) return;
    struct delivery *delivery = delivery_take(course);
    if (!set_receivers(delivery, turn, target, place.vnode, table->n)) {
        delivery_end(course, delivery);
        return;
    }
    buffer_append(&delivery->store_key, store_key.data, store_key.size);
    delivery->digest = digest;
    delivery->bytes = value.size;
    delivery->sent_ns = turn->now_ns;
    course->bytes += value.size;
    Dynode__Peer__Merge *message = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(message);
    message->place = place_of(&place, turn->arena);
    message->rule = table->rule;
    message->object = to_pb(hint.encoded);
    message->n = table->n;
    for (uint32_t i = 0; i < delivery->waiting_count; i++) {
        struct address to = {.node = delivery->waiting[i], .shard = place.vnode};
        turn_send(turn, to, delivery->id, DYNODE__PEER__MESSAGE__BODY_HAND_OFF, message);
    }
}

/* May its hints go anywhere now? One that has left the ring is no home any more. */
static bool is_open(const struct handoff *handoff, const struct turn *turn, uint64_t node)
{
    const struct hint_target *target = hints_of(handoff->hints, node);
    if (target == NULL || target->count == 0 || node == HINTS_ASIDE) return false;
    return peers_reachable(turn->peers, node) || ring_node_index(turn->ring, node) == ring_nodes(turn->ring);
}

enum { TIMER_TICK, TIMER_WAKE };

/* May anything be sent now? Else it goes on when the governor lets it. */
static bool may_send(struct handoff *handoff, struct turn *turn)
{
    if (governor_may(handoff->governor, turn->now_ns)) return true;
    if (!handoff->waking)
        turn_arm(turn, &handoff->actor, governor_when(handoff->governor, turn->now_ns), TIMER_WAKE);
    handoff->waking = true;
    return false;
}

/* Fill the window. */
static void send_on(struct handoff *handoff, struct turn *turn, struct course *course)
{
    if (course->resting || !is_open(handoff, turn, course->node)) return;
    if (turn->arena->used_bytes >= SHARD_TURN_ARENA_BYTES) return; /* the next tick will do */
    if (!may_send(handoff, turn)) return;
    if (course->count >= HANDOFF_WINDOW || (course->count > 0 && course->bytes >= HANDOFF_WINDOW_BYTES))
        return;
    struct page page = {.arena = turn->arena,
                        .after = bytes_copy(turn->arena, buffer_bytes(&course->cursor)),
                        .room = HANDOFF_WINDOW - course->count,
                        .bytes_max = HANDOFF_WINDOW_BYTES - course->bytes};
    struct bytes from = page.after.size > 0 ? page.after : hint_from(course->node, turn->arena);
    struct bytes to =
        course->node < UINT64_MAX ? hint_from(course->node + 1, turn->arena) : bytes_of(NULL, 0);
    if (store_scan(turn->store, STORE_HINTS, from, to, visit, &page) != STATUS_OK) {
        turn->store_broken = true;
        return;
    }
    for (uint32_t i = 0; i < page.count; i++) deliver(course, turn, page.keys[i], page.values[i]);
    governor_spend(handoff->governor, page.bytes, page.count);
    buffer_clear(&course->cursor);
    course->resting = !page.full;
    if (page.full && page.count > 0)
        buffer_append(&course->cursor, page.keys[page.count - 1].data, page.keys[page.count - 1].size);
}

/* --- what happens --- */

static void receive_answer(struct handoff *handoff, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Merged *answer = mail->body;
    struct course *course;
    struct delivery *delivery = delivery_find(handoff, mail->request, &course);
    if (delivery == NULL) return;
    uint32_t place = 0;
    while (place < delivery->waiting_count && delivery->waiting[place] != mail->from.node) place++;
    if (place == delivery->waiting_count) return;
    delivery->waiting[place] = delivery->waiting[--delivery->waiting_count];
    bool refused = answer->status != STATUS_OK;
    if (!refused && delivery->waiting_count > 0) return;
    if (!refused)
        drop(turn, bytes_copy(turn->arena, buffer_bytes(&delivery->store_key)), delivery->digest, false);
    delivery_end(course, delivery);
    course->resting |=
        refused; /* its disk is full, perhaps: until the next tick, and then on behind this one */
    /* Half a window at a time: each page is a scan. */
    if (course->count <= HANDOFF_WINDOW / 2) send_on(handoff, turn, course);
}

/* Give up on what was sent before @before_ns. */
static void give_up(struct course *course, uint64_t before_ns)
{
    for (uint32_t i = 0; i < HANDOFF_WINDOW; i++)
        if (course->deliveries[i].used && course->deliveries[i].sent_ns < before_ns)
            delivery_end(course, &course->deliveries[i]);
}

static void begin(struct handoff *handoff, struct turn *turn, struct course *course)
{
    course->resting = false;
    send_on(handoff, turn, course);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct handoff *handoff = (struct handoff *)actor;
    if (argument == TIMER_WAKE) {
        handoff->waking = false;
        for (uint32_t i = 0; i < handoff->course_count; i++) send_on(handoff, turn, handoff->courses[i]);
        return;
    }
    turn_arm(turn, &handoff->actor, turn->now_ns + HANDOFF_TICK_NS, TIMER_TICK);
    for (uint32_t i = 0; i < handoff->hints->count; i++) {
        if (!is_open(handoff, turn, handoff->hints->list[i].node)) continue;
        struct course *course = course_of(handoff, handoff->hints->list[i].node);
        if (turn->now_ns > HANDOFF_PATIENCE_NS) give_up(course, turn->now_ns - HANDOFF_PATIENCE_NS);
        begin(handoff, turn, course);
    }
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct handoff *handoff = (struct handoff *)actor;
    const struct hint_target *target = hints_of(handoff->hints, node);
    if (target == NULL) return;
    struct course *course = course_of(handoff, node);
    if (!reachable) {
        give_up(course, UINT64_MAX);
        buffer_clear(&course->cursor);
    } else {
        begin(handoff, turn, course);
    }
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_HANDED_OFF);
    receive_answer((struct handoff *)actor, turn, mail);
}

static void check(const struct actor *actor)
{
    const struct handoff *handoff = (const struct handoff *)actor;
    for (uint32_t i = 0; i < handoff->course_count; i++) {
        const struct course *course = handoff->courses[i];
        size_t bytes = 0;
        for (uint32_t k = 0; k < HANDOFF_WINDOW; k++) bytes += course->deliveries[k].bytes;
        CHECK(bytes == course->bytes);
        CHECK(course->count <= HANDOFF_WINDOW);
    }
}

static void free_handoff(struct actor *actor)
{
    struct handoff *handoff = (struct handoff *)actor;
    for (uint32_t i = 0; i < handoff->course_count; i++) {
        struct course *course = handoff->courses[i];
        give_up(course, UINT64_MAX);
        buffer_fini(&course->cursor);
        free(course);
    }
    free(handoff->courses);
    free(handoff);
}

void handoff_add(struct shard *shard, const struct hints *hints, struct governor *governor)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {DYNODE__PEER__MESSAGE__BODY_HANDED_OFF};
    struct turn *turn = shard_turn_context(shard);
    struct handoff *handoff = calloc(1, sizeof(*handoff));
    CHECK(handoff != NULL);
    handoff->actor = (struct actor){.name = "handoff",
                                    .receive = receive,
                                    .timeout = timeout,
                                    .peer_changed = peer_changed,
                                    .check = check,
                                    .free = free_handoff};
    handoff->hints = hints;
    handoff->governor = governor;
    handoff->generation = request_id_draw(turn->prng);
    shard_add_actor(shard, &handoff->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
    turn_arm(turn, &handoff->actor, HANDOFF_TICK_NS, TIMER_TICK);
}
