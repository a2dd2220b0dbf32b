#include "actors/exchange.h"

#include <stdlib.h>

#include "actors/clocks.h"
#include "actors/exchange_page.h"

static void forget_clocks(struct clocks *clocks)
{
    free(clocks->seen.entries);
    *clocks = (struct clocks){0};
}

void exchange_fini(struct exchange *exchange)
{
    forget_clocks(&exchange->mine);
    forget_clocks(&exchange->theirs);
    buffer_fini(&exchange->after);
    buffer_fini(&exchange->keys);
    free(exchange->wants);
}

void exchange_begin(struct exchange *exchange, const struct job *job)
{
    CHECK(exchange->phase == EXCHANGE_FREE);
    exchange->phase = EXCHANGE_INNERS;
    exchange->node = job->node;
    exchange->vnode = job->vnode;
    exchange->n = job->n;
    exchange->want_count = exchange->want_next = 0;
    exchange->last = false;
    exchange->whole = exchange->complete = exchange->given = true;
    exchange->attempts = 0;
    buffer_clear(&exchange->after);
    buffer_clear(&exchange->keys);
    memset(exchange->leaves, 0, sizeof(exchange->leaves));
}

void exchange_end(struct turn *turn, struct exchange *exchange)
{
    turn_disarm(turn, exchange->timer);
    exchange->phase = EXCHANGE_FREE;
    exchange->waits = false;
}

/* What was read for one turn is to outlive it. */
static void keep_seen(struct clocks *clocks)
{
    struct dot *entries = malloc((clocks->seen.count + 1) * sizeof(*entries));
    CHECK(entries != NULL);
    if (clocks->seen.count > 0) memcpy(entries, clocks->seen.entries, clocks->seen.count * sizeof(*entries));
    clocks->seen.entries = entries;
}

/* If we are sure to have all that the other had, our replica hears of it behind the last object that was sent
 * to it. */
static void tell_replica(struct turn *turn, const struct exchange *exchange)
{
    if (!exchange->whole || exchange->ring != ring_version(turn->ring)) return;
    Dynode__Peer__Exchanged *message = ARENA_NEW(turn->arena, Dynode__Peer__Exchanged);
    dynode__peer__exchanged__init(message);
    message->vnode = exchange->vnode;
    message->n = exchange->n;
    message->node = exchange->node;
    message->token = exchange->mine.token;
    message->reaped = exchange->reaped;
    message->complete = exchange->complete;
    message->clocks = clocks_message(&exchange->theirs, NULL, turn->arena);
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_EXCHANGED, message);
}

/* If the other has all that we had, so does its replica. */
static void tell_other(struct turn *turn, const struct exchange *exchange)
{
    struct address to = {.node = exchange->node, .shard = exchange->vnode};
    if (!exchange->whole || !exchange->given || exchange->ring != ring_version(turn->ring)) return;
    Dynode__Peer__ExchangeDone *done = ARENA_NEW(turn->arena, Dynode__Peer__ExchangeDone);
    dynode__peer__exchange_done__init(done);
    done->vnode = exchange->vnode;
    done->n = exchange->n;
    done->clocks = clocks_message(&exchange->mine, NULL, turn->arena);
    done->token = exchange->theirs.token;
    done->reaped = exchange->reaped;
    turn_send_durable(turn, to, 0, DYNODE__PEER__MESSAGE__BODY_EXCHANGE_DONE, done);
}

/* It has come to its end. */
static void complete(struct turn *turn, struct exchange *exchange)
{
    tell_replica(turn, exchange);
    tell_other(turn, exchange);
    exchange_end(turn, exchange);
}

/* What the other sent can't be: it is no use to go on with it. */
static void refuse(struct turn *turn, struct exchange *exchange)
{
    turn->counters->invalid++;
    exchange_end(turn, exchange);
}

static void ask(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                Dynode__Peer__Message__BodyCase kind, const ProtobufCMessage *body)
{
    struct address to = {.node = exchange->node, .shard = exchange->vnode};
    exchange->waits = true;
    antientropy_expect(self, turn, (uint32_t)(exchange - self->exchanges), &exchange->id, &exchange->timer);
    antientropy_send(self, turn, to, exchange->id, kind, body);
}

/* --- the tree --- */

/* The numbers of the bits that are set. */
static size_t list_bits(uint32_t bits, uint32_t base, uint32_t *list)
{
    size_t count = 0;
    for (; bits != 0; bits &= bits - 1) list[count++] = base + (uint32_t)__builtin_ctz(bits);
    return count;
}

static void ask_nodes(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    Dynode__Peer__TreeNodes *nodes = ARENA_NEW(turn->arena, Dynode__Peer__TreeNodes);
    dynode__peer__tree_nodes__init(nodes);
    nodes->vnode = exchange->vnode;
    nodes->n = exchange->n;
    if (exchange->phase == EXCHANGE_INNERS) {
        struct vv reaped = copies_reaped(self->copies, exchange->vnode, exchange->n);
        exchange->attempts++;
        exchange->reaped = copies_hash(&reaped);
        forget_clocks(&exchange->mine);
        clocks_read(self->copies, exchange->vnode, exchange->n, turn->arena, &exchange->mine);
        nodes->clocks = clocks_message(&exchange->mine, &reaped, turn->arena);
        keep_seen(&exchange->mine);
    } else {
        nodes->inners = ARENA_ARRAY(turn->arena, uint32_t, TREE_INNER);
        nodes->n_inners = list_bits(exchange->inners, 0, nodes->inners);
    }
    ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_TREE_NODES, &nodes->base);
}

/* What the other says of its reaped clock as it answers: if it is not ours we don't know what has gone. */
static void look_at_reaped(struct antientropy *self, struct exchange *exchange, uint64_t theirs, bool whole)
{
    struct vv own = copies_reaped(self->copies, exchange->vnode, exchange->n);
    bool same = theirs == exchange->reaped && copies_hash(&own) == exchange->reaped;
    if (!same) exchange->whole = false;
    exchange->same = same;
    exchange->peer_whole = same && whole;
}

/* Take the other's clocks, as they were before the first leaf. False: what both have reaped is not the same
 * yet. Each is about to join what the other has. */
static bool take_clocks(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                        const Dynode__Peer__Clocks *clocks)
{
    struct vv reaped;
    forget_clocks(&exchange->theirs);
    if (clocks == NULL || !clocks_open(clocks, turn->arena, &exchange->theirs, &reaped)) {
        exchange->whole = false;
        return true;
    }
    keep_seen(&exchange->theirs);
    look_at_reaped(self, exchange, copies_hash(&reaped), exchange->theirs.whole);
    if (exchange->same) return true;
    antientropy_join_reaped(self, turn, exchange->vnode, exchange->n, &reaped);
    if (exchange->attempts >= EXCHANGE_ATTEMPTS) return true;
    exchange->whole = true;
    return false;
}

static uint32_t differing(const uint64_t *mine, const uint64_t *theirs)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < TREE_FAN; i++) bits |= (uint32_t)(mine[i] != theirs[i]) << i;
    return bits;
}

static void nodes_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                           const Dynode__Peer__TreeNodesAnswer *answer)
{
    uint64_t mine[TREE_FAN];
    const uint64_t *theirs = answer->sums;
    bool leaves = exchange->phase == EXCHANGE_LEAVES, any = false;
    if (answer->status != STATUS_OK) {
        exchange_end(turn, exchange);
        return;
    }
    size_t expected = leaves ? (size_t)__builtin_popcount(exchange->inners) * TREE_FAN : TREE_INNER;
    if (answer->n_sums != expected) {
        refuse(turn, exchange);
        return;
    }
    if (leaves) {
        look_at_reaped(self, exchange, answer->reaped, exchange->peer_whole);
        for (uint32_t inner = 0; inner < TREE_INNER; inner++) {
            if ((exchange->inners >> inner & 1) == 0) continue;
            forest_leaves(self->forest, exchange->vnode, exchange->n, inner, mine);
            exchange->leaves[inner] = differing(mine, theirs);
            theirs += TREE_FAN;
            any = any || exchange->leaves[inner] != 0;
        }
    } else {
        if (!take_clocks(self, turn, exchange, answer->clocks)) return; /* ask again */
        exchange->ring = answer->ring;
        if (answer->unsure || antientropy_is_unsure(self, exchange->vnode)) exchange->whole = false;
        forest_inners(self->forest, exchange->vnode, exchange->n, mine);
        exchange->inners = differing(mine, theirs);
        any = exchange->inners != 0;
    }
    if (any)
        exchange->phase = leaves ? EXCHANGE_KEYS : EXCHANGE_LEAVES;
    else
        complete(turn, exchange); /* somebody was faster */
}

/* --- keys --- */

static void ask_keys(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    Dynode__Peer__LeafKeys *keys = ARENA_NEW(turn->arena, Dynode__Peer__LeafKeys);
    dynode__peer__leaf_keys__init(keys);
    keys->vnode = exchange->vnode;
    keys->n = exchange->n;
    keys->leaves = ARENA_ARRAY(turn->arena, uint32_t, TREE_LEAVES);
    for (uint32_t inner = 0; inner < TREE_INNER; inner++)
        keys->n_leaves += list_bits(exchange->leaves[inner], inner * TREE_FAN, keys->leaves + keys->n_leaves);
    keys->after = to_pb(bytes_copy(turn->arena, buffer_bytes(&exchange->after)));
    ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS, &keys->base);
}

static void want(struct turn *turn, struct exchange *exchange, struct bytes key, bool fetch)
{
    if (exchange->want_count == exchange->want_capacity) {
        exchange->want_capacity = exchange->want_capacity == 0 ? 16 : exchange->want_capacity * 2;
        exchange->wants = realloc(exchange->wants, exchange->want_capacity * sizeof(*exchange->wants));
        CHECK(exchange->wants != NULL);
    }
    exchange->wants[exchange->want_count++] =
        (struct want){.offset = exchange->keys.size, .size = key.size, .fetch = fetch};
    buffer_append(&exchange->keys, key.data, key.size);
    turn->counters->differing++;
}

/* Their page, if it can be one. */
static bool read_page(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                      const Dynode__Peer__LeafKeysAnswer *answer, struct leaf_page *page)
{
    struct store_place place;
    const struct table *table;
    struct bytes before = buffer_bytes(&exchange->after);
    if (answer->n_keys > ANTIENTROPY_PAGE_KEYS) return false;
    *page = (struct leaf_page){.keys = ARENA_ARRAY(turn->arena, struct page_key, ANTIENTROPY_PAGE_KEYS)};
    for (size_t i = 0; i < answer->n_keys; i++) {
        struct bytes key = from_pb(answer->keys[i]->key);
        if (bytes_compare(key, before) <= 0) return false;
        before = key;
        if (!antientropy_place(self, turn, key, &place, &table) || place.vnode != exchange->vnode)
            return false;
        /* A table that one side does not know yet, or otherwise, is no fault. */
        if (table_homes_count(table, turn) != exchange->n) {
            exchange->whole = false;
            continue;
        }
        page->keys[page->count++] = (struct page_key){key, answer->keys[i]->checksum};
    }
    page->cursor = from_pb(answer->cursor);
    if (page->cursor.size > STORE_PLACE_BYTES + KEY_BYTES_MAX) return false;
    if (page->cursor.size == 0) return true;
    return bytes_compare(page->cursor, before) >= 0 &&
           bytes_compare(page->cursor, buffer_bytes(&exchange->after)) > 0;
}

/* Both pages are there as far as the shorter one. */
static struct bytes common_end(struct bytes a, struct bytes b)
{
    if (a.size == 0) return b;
    if (b.size == 0) return a;
    return bytes_compare(a, b) < 0 ? a : b;
}

static void cut_page(struct leaf_page *page, struct bytes end)
{
    while (end.size > 0 && page->count > 0 && bytes_compare(page->keys[page->count - 1].key, end) > 0)
        page->count--;
}

static void compare_pages(struct turn *turn, struct exchange *exchange, const struct leaf_page *mine,
                          const struct leaf_page *theirs)
{
    for (uint32_t i = 0, k = 0; i < mine->count || k < theirs->count;) {
        int order = i == mine->count     ? 1
                    : k == theirs->count ? -1
                                         : bytes_compare(mine->keys[i].key, theirs->keys[k].key);
        if (order < 0) {
            if (mine->keys[i].checksum != 0)
                want(turn, exchange, mine->keys[i].key, false);
            else
                exchange->complete = exchange->given = false;
            i++;
        } else if (order > 0) {
            if (theirs->keys[k].checksum != 0)
                want(turn, exchange, theirs->keys[k].key, true);
            else
                exchange->complete = exchange->given = false;
            k++;
        } else {
            /* What is damaged, here or there, is mended there: it takes more than one other home. */
            uint64_t a = mine->keys[i++].checksum, b = theirs->keys[k].checksum;
            if (a == 0 || b == 0) exchange->complete = exchange->given = false;
            if (a != b && a != 0 && b != 0) want(turn, exchange, theirs->keys[k].key, true);
            k++;
        }
    }
}

static void keys_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                          const Dynode__Peer__LeafKeysAnswer *answer)
{
    struct leaf_page mine, theirs;
    if (answer->status != STATUS_OK) {
        exchange_end(turn, exchange);
        return;
    }
    if (!read_page(self, turn, exchange, answer, &theirs)) {
        refuse(turn, exchange);
        return;
    }
    look_at_reaped(self, exchange, answer->reaped, answer->whole);
    leaf_page_read(self, turn, exchange->vnode, exchange->n, exchange->leaves,
                   bytes_copy(turn->arena, buffer_bytes(&exchange->after)), &mine);
    struct bytes end = common_end(mine.cursor, theirs.cursor);
    cut_page(&mine, end);
    cut_page(&theirs, end);
    buffer_clear(&exchange->keys);
    exchange->want_count = exchange->want_next = 0;
    compare_pages(turn, exchange, &mine, &theirs);
    exchange->last = end.size == 0;
    buffer_clear(&exchange->after);
    buffer_append(&exchange->after, end.data, end.size);
    exchange->phase = EXCHANGE_OBJECTS;
}

/* --- objects --- */

static struct bytes want_key(const struct exchange *exchange, uint32_t number)
{
    const struct want *one = &exchange->wants[number];
    return bytes_of(exchange->keys.data + one->offset, one->size);
}

/* What is to be pushed, as it grows. */
struct pushing {
    Dynode__Peer__PushObjects *message;
    size_t bytes;
};

static struct pushing pushing_new(struct turn *turn, const struct exchange *exchange)
{
    Dynode__Peer__PushObjects *message = ARENA_NEW(turn->arena, Dynode__Peer__PushObjects);
    dynode__peer__push_objects__init(message);
    message->vnode = exchange->vnode;
    message->n = exchange->n;
    message->objects = ARENA_ARRAY(turn->arena, Dynode__Peer__PushedObject *, ANTIENTROPY_WINDOW_KEYS);
    return (struct pushing){.message = message};
}

static void pushing_add(struct pushing *pushing, struct turn *turn, struct bytes key, struct bytes encoded)
{
    Dynode__Peer__PushedObject *object = ARENA_NEW(turn->arena, Dynode__Peer__PushedObject);
    dynode__peer__pushed_object__init(object);
    object->key = to_pb(bytes_copy(turn->arena, key));
    object->object = to_pb(encoded);
    pushing->message->objects[pushing->message->n_objects++] = object;
    pushing->bytes += key.size + encoded.size;
    turn->counters->objects_out++;
}

/* Who of the two knows what has gone for good: one whose copy is whole, if the other's is not. */
struct judgement {
    bool ours_goes, theirs_goes; /* what was reaped, and the other does not hold */
    bool vouched;                /* what they have counts here, whatever was reaped */
    struct vv reaped;
};

static struct judgement judge(const struct antientropy *self, const struct turn *turn,
                              const struct exchange *exchange)
{
    bool whole = copies_is_whole(self->copies, exchange->vnode, exchange->n, turn->arena);
    return (struct judgement){.ours_goes = exchange->same && exchange->peer_whole && !whole,
                              .theirs_goes = exchange->same && whole && !exchange->peer_whole,
                              .vouched = exchange->same && exchange->peer_whole,
                              .reaped = copies_reaped(self->copies, exchange->vnode, exchange->n)};
}

static struct bytes encode(const struct object *object, struct arena *arena)
{
    return object->count > 0 ? object_encode(object, arena) : bytes_of(NULL, 0);
}

/* Join what the other has (nothing, perhaps) with our own (the same), and what it lacks with what is to be
 * pushed. False: it may not be here now. */
static bool merge_both(struct turn *turn, const struct judgement *judgement, const struct store_place *place,
                       const struct table *table, struct bytes key, const struct object *mine,
                       const struct object *theirs, struct pushing *pushing)
{
    struct object ours = *mine, others = *theirs;
    bool goes = false;
    if (judgement->ours_goes) ours = copies_strip(mine, theirs, &judgement->reaped, turn->arena, &goes);
    if (judgement->theirs_goes) others = copies_strip(theirs, mine, &judgement->reaped, turn->arena, &goes);
    struct object merged = object_merge(&ours, &others, table->rule, turn->arena);
    if (!object_fits(&merged)) return false;
    struct bytes result = encode(&merged, turn->arena);
    if (!object_equal(&merged, mine))
        antientropy_merge(turn, place, table, result,
                          &(struct merge_as){.vouched = judgement->vouched, .judged = judgement->ours_goes});
    if (!object_equal(&merged, theirs)) pushing_add(pushing, turn, key, result);
    return true;
}

/* The same with an object that they sent. What can't be read there is lost there; what can't be read here
 * does not count (mend.c). */
static bool merge_fetched(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                          struct bytes key, const Dynode__Peer__FetchedObject *fetched,
                          struct pushing *pushing)
{
    struct store_place place;
    const struct table *table;
    struct bytes own, encoded = from_pb(fetched->object);
    struct object mine = {0}, theirs = {0};
    if (!antientropy_place_in(self, turn, key, exchange->vnode, exchange->n, &place, &table)) return false;
    if (fetched->status == STATUS_CORRUPT) exchange->complete = exchange->given = false;
    if (fetched->status == STATUS_CORRUPT) return true;
    if (fetched->status != STATUS_OK && fetched->status != STATUS_NOT_FOUND) return false;
    enum status status = antientropy_load(self, turn, key, &own);
    if (status == STATUS_CORRUPT) exchange->complete = exchange->given = false;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status == STATUS_CORRUPT;
    if (fetched->status == STATUS_OK) { /* else it has gone since */
        if (bytes_equal(own, encoded)) return true;
        if (object_decode(encoded, turn->arena, &theirs) != STATUS_OK || theirs.context.count == 0) {
            turn->counters->invalid++;
            return false;
        }
        turn->counters->objects_in++;
    }
    if (status == STATUS_OK && object_decode(own, turn->arena, &mine) != STATUS_OK) return false;
    struct judgement judgement = judge(self, turn, exchange);
    return merge_both(turn, &judgement, &place, table, key, &mine, &theirs, pushing);
}

static void push(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                 const struct pushing *pushing)
{
    struct vv reaped = copies_reaped(self->copies, exchange->vnode, exchange->n);
    pushing->message->reaped = copies_hash(&reaped);
    pushing->message->whole = copies_is_whole(self->copies, exchange->vnode, exchange->n, turn->arena);
    exchange->asked = 0; /* its answer moves nothing on */
    ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS, &pushing->message->base);
}

static void objects_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                             const Dynode__Peer__ObjectsFetched *answer)
{
    struct pushing pushing = pushing_new(turn, exchange);
    bool good = answer->status == STATUS_OK || answer->status == STATUS_NOT_FILLED;
    if (!good || exchange->asked == 0) {
        exchange_end(turn, exchange);
        return;
    }
    if (answer->n_objects == 0 || answer->n_objects > exchange->asked) {
        refuse(turn, exchange);
        return;
    }
    look_at_reaped(self, exchange, answer->reaped, answer->whole);
    /* Ours may be far larger than theirs: those that this message has no room for are fetched again. */
    for (size_t i = 0; i < answer->n_objects && pushing.bytes < ANTIENTROPY_WINDOW_BYTES; i++) {
        struct bytes key = want_key(exchange, exchange->want_next++);
        if (!merge_fetched(self, turn, exchange, key, answer->objects[i], &pushing)) exchange->whole = false;
        if (turn->store_broken) return;
    }
    if (pushing.message->n_objects == 0) return;
    if (antientropy_is_refused(self, turn, exchange->node))
        exchange->given = false;
    else
        push(self, turn, exchange, &pushing);
}

static void ask_objects(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    Dynode__Peer__FetchObjects *fetch = ARENA_NEW(turn->arena, Dynode__Peer__FetchObjects);
    dynode__peer__fetch_objects__init(fetch);
    fetch->vnode = exchange->vnode;
    fetch->n = exchange->n;
    fetch->keys = ARENA_ARRAY(turn->arena, ProtobufCBinaryData, ANTIENTROPY_WINDOW_KEYS);
    for (uint32_t i = exchange->want_next;
         i < exchange->want_count && exchange->wants[i].fetch && fetch->n_keys < ANTIENTROPY_WINDOW_KEYS; i++)
        fetch->keys[fetch->n_keys++] = to_pb(bytes_copy(turn->arena, want_key(exchange, i)));
    exchange->asked = (uint32_t)fetch->n_keys;
    ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS, &fetch->base);
}

/* What the other lacks altogether. False: nothing of it is here any more. */
static bool push_own(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    struct pushing pushing = pushing_new(turn, exchange);
    struct judgement judgement = judge(self, turn, exchange);
    while (exchange->want_next < exchange->want_count && !exchange->wants[exchange->want_next].fetch &&
           pushing.message->n_objects < ANTIENTROPY_WINDOW_KEYS && pushing.bytes < ANTIENTROPY_WINDOW_BYTES) {
        struct bytes key = want_key(exchange, exchange->want_next++), own;
        struct store_place place;
        const struct table *table;
        struct object mine, theirs = {0};
        if (antientropy_load(self, turn, key, &own) == STATUS_OK) {
            if (!antientropy_place_in(self, turn, key, exchange->vnode, exchange->n, &place, &table) ||
                object_decode(own, turn->arena, &mine) != STATUS_OK ||
                !merge_both(turn, &judgement, &place, table, key, &mine, &theirs, &pushing))
                exchange->whole = false;
        }
        if (turn->store_broken) return true;
    }
    if (pushing.message->n_objects == 0) return false;
    push(self, turn, exchange, &pushing);
    return true;
}

static void objects_pushed(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                           const Dynode__Peer__ObjectsPushed *answer)
{
    if (answer->status != STATUS_OK || answer->partial) exchange->given = false;
    if (answer->status != STATUS_OK) antientropy_note_refusal(self, turn, exchange->node);
}

static void step_objects(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    while (exchange->want_next < exchange->want_count) {
        if (exchange->wants[exchange->want_next].fetch) {
            ask_objects(self, turn, exchange);
            return;
        }
        if (antientropy_is_refused(self, turn, exchange->node)) {
            exchange->given = false;
            exchange->want_next++;
        } else if (push_own(self, turn, exchange))
            return;
    }
    if (exchange->last) {
        turn->counters->exchanges++;
        complete(turn, exchange);
    } else {
        exchange->phase = EXCHANGE_KEYS;
        ask_keys(self, turn, exchange);
    }
}

/* --- */

void exchange_step(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    CHECK(exchange_is_ready(exchange));
    struct address to = {.node = exchange->node, .shard = exchange->vnode};
    if (!turn_reaches(turn, to) || !forest_is_built(self->forest, exchange->vnode)) {
        exchange_end(turn, exchange);
        return;
    }
    switch (exchange->phase) {
    case EXCHANGE_FREE:
        break;
    case EXCHANGE_INNERS:
    case EXCHANGE_LEAVES:
        ask_nodes(self, turn, exchange);
        break;
    case EXCHANGE_KEYS:
        ask_keys(self, turn, exchange);
        break;
    case EXCHANGE_OBJECTS:
        step_objects(self, turn, exchange);
        break;
    }
}

void exchange_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                       const struct mail *mail)
{
    turn_disarm(turn, exchange->timer);
    exchange->waits = false;
    bool expected = false;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER:
        expected = exchange->phase == EXCHANGE_INNERS || exchange->phase == EXCHANGE_LEAVES;
        if (expected) nodes_answered(self, turn, exchange, mail->body);
        break;
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER:
        expected = exchange->phase == EXCHANGE_KEYS;
        if (expected) keys_answered(self, turn, exchange, mail->body);
        break;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED:
        expected = exchange->phase == EXCHANGE_OBJECTS && exchange->asked > 0;
        if (expected) objects_answered(self, turn, exchange, mail->body);
        break;
    default:
        expected = exchange->phase == EXCHANGE_OBJECTS && exchange->asked == 0;
        if (expected) objects_pushed(self, turn, exchange, mail->body);
    }
    if (!expected) refuse(turn, exchange);
}
