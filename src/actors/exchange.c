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

void exchange_complete(struct turn *turn, struct exchange *exchange)
{
    tell_replica(turn, exchange);
    tell_other(turn, exchange);
    exchange_end(turn, exchange);
}

void exchange_refuse(struct turn *turn, struct exchange *exchange)
{
    turn->counters->invalid++;
    exchange_end(turn, exchange);
}

void exchange_ask(struct antientropy *self, struct turn *turn, struct exchange *exchange,
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
    exchange_ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_TREE_NODES, &nodes->base);
}

void exchange_look_at_reaped(struct antientropy *self, struct exchange *exchange, uint64_t theirs, bool whole)
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
    exchange_look_at_reaped(self, exchange, copies_hash(&reaped), exchange->theirs.whole);
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
        exchange_refuse(turn, exchange);
        return;
    }
    if (leaves) {
        exchange_look_at_reaped(self, exchange, answer->reaped, exchange->peer_whole);
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
        exchange_complete(turn, exchange); /* somebody was faster */
}

/* --- keys --- */

void exchange_ask_keys(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    Dynode__Peer__LeafKeys *keys = ARENA_NEW(turn->arena, Dynode__Peer__LeafKeys);
    dynode__peer__leaf_keys__init(keys);
    keys->vnode = exchange->vnode;
    keys->n = exchange->n;
    keys->leaves = ARENA_ARRAY(turn->arena, uint32_t, TREE_LEAVES);
    for (uint32_t inner = 0; inner < TREE_INNER; inner++)
        keys->n_leaves += list_bits(exchange->leaves[inner], inner * TREE_FAN, keys->leaves + keys->n_leaves);
    keys->after = to_pb(bytes_copy(turn->arena, buffer_bytes(&exchange->after)));
    exchange_ask(self, turn, exchange, DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS, &keys->base);
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
        page->keys[page->count++] = (struct page_key){
            .key = key, .checksum = answer->keys[i]->checksum, .goes = answer->keys[i]->goes};
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

/* Only one of the two has it. What is about to go there too has gone here (or the reverse), if both have
 * reaped the same. */
static void want_one(struct turn *turn, struct exchange *exchange, const struct page_key *one, bool fetch,
                     bool may_go)
{
    if (one->goes && may_go) return;
    if (one->checksum != 0)
        want(turn, exchange, one->key, fetch);
    else
        exchange->complete = exchange->given = false;
}

static void compare_pages(struct turn *turn, struct exchange *exchange, const struct leaf_page *mine,
                          const struct leaf_page *theirs)
{
    for (uint32_t i = 0, k = 0; i < mine->count || k < theirs->count;) {
        int order = i == mine->count     ? 1
                    : k == theirs->count ? -1
                                         : bytes_compare(mine->keys[i].key, theirs->keys[k].key);
        if (order < 0) {
            want_one(turn, exchange, &mine->keys[i++], false, exchange->same);
        } else if (order > 0) {
            want_one(turn, exchange, &theirs->keys[k++], true, exchange->peer_whole);
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
        exchange_refuse(turn, exchange);
        return;
    }
    exchange_look_at_reaped(self, exchange, answer->reaped, answer->whole);
    struct leaf_range range = {.vnode = exchange->vnode,
                               .n = exchange->n,
                               .leaves = exchange->leaves,
                               .after = bytes_copy(turn->arena, buffer_bytes(&exchange->after)),
                               .last = theirs.cursor};
    leaf_page_read(self, turn, &range, ANTIENTROPY_PAGE_BYTES, &mine);
    governor_spend(self->governor, mine.read_bytes, 0);
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

/* --- */

void exchange_step(struct antientropy *self, struct turn *turn, struct exchange *exchange)
{
    CHECK(exchange_is_ready(exchange, turn->now_ns));
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
        exchange_ask_keys(self, turn, exchange);
        break;
    case EXCHANGE_OBJECTS:
        exchange_step_objects(self, turn, exchange);
        break;
    }
}

/* How long the other wants to have its rest, whatever becomes of the answer. */
static uint32_t rest_ms(const struct mail *mail)
{
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER:
        return ((const Dynode__Peer__TreeNodesAnswer *)mail->body)->rest_ms;
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER:
        return ((const Dynode__Peer__LeafKeysAnswer *)mail->body)->rest_ms;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED:
        return ((const Dynode__Peer__ObjectsFetched *)mail->body)->rest_ms;
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED:
        return ((const Dynode__Peer__ObjectsPushed *)mail->body)->rest_ms;
    default:
        return 0;
    }
}

void exchange_answered(struct antientropy *self, struct turn *turn, struct exchange *exchange,
                       const struct mail *mail)
{
    uint32_t rest = rest_ms(mail) < GOVERNOR_REST_MS_MAX ? rest_ms(mail) : GOVERNOR_REST_MS_MAX;
    exchange->rest_ns = turn->now_ns + (uint64_t)rest * 1000000;
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
        if (expected) exchange_objects_answered(self, turn, exchange, mail->body);
        break;
    default:
        expected = exchange->phase == EXCHANGE_OBJECTS && exchange->asked == 0;
        if (expected) exchange_objects_pushed(self, turn, exchange, mail->body);
    }
    if (!expected) exchange_refuse(turn, exchange);
}
