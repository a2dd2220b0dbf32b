/* Stand-ins on the bench: node A of five, once as a home that looks for others, once as one that stands in.
 */
#include "one_shard.h"

#include <stdio.h>

/* A key, and who is what to it. */
struct scene {
    struct one_shard one;
    char key[16];
    uint64_t list[5];   /* the preference list of its vnode */
    uint64_t homes[2];  /* of the three, those that are not A; or the first two */
    uint64_t others[2]; /* that are no homes: not A */
};

static void begin(struct scene *scene, bool home, struct one_shard_options options)
{
    options.nodes = 5;
    one_shard_begin(&scene->one, options);
    const struct ring *ring = shard_turn_context(scene->one.shard)->ring;
    for (int i = 0;; i++) {
        snprintf(scene->key, sizeof(scene->key), "key%d", i);
        uint32_t vnode = one_shard_place(&scene->one, "t", scene->key)->vnode;
        memcpy(scene->list, ring_preference_list(ring, vnode), sizeof(scene->list));
        if (ring_is_home(ring, vnode, 3, NODE_A) == home) break;
    }
    uint32_t homes = 0, others = 0;
    for (uint32_t i = 0; i < 5; i++) {
        if (scene->list[i] == NODE_A) continue;
        if (i < 3 && homes < 2) scene->homes[homes++] = scene->list[i];
        if (i >= 3) scene->others[others++] = scene->list[i];
    }
}

static Dynode__Client__Operation *put_of(struct scene *scene, const char *value,
                                         Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation =
        one_shard_put(&scene->one, "t", scene->key, bytes_str(value), (struct bytes){0});
    operation->put->quorum = quorum;
    return operation;
}

static void ask_put(struct scene *scene, const char *value, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation = put_of(scene, value, quorum);
    one_shard_ask(&scene->one, 1, 1, 1000, &operation, 1);
}

static void ask_get(struct scene *scene, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation = one_shard_get(&scene->one, "t", scene->key, 2);
    operation->get->quorum = quorum;
    one_shard_ask(&scene->one, 1, 1, 1000, &operation, 1);
}

static const Dynode__Peer__Message *merge_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
}

static const Dynode__Peer__Message *read_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_READ, 0);
}

static const Dynode__Peer__Message *hand_off_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_HAND_OFF, 0);
}

static void answer(struct scene *scene, uint64_t from, uint64_t request, Dynode__Peer__Message__BodyCase kind,
                   enum status status)
{
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    merged.status = status;
    one_shard_receive(&scene->one, from, request, kind, &merged);
}

static void merged(struct scene *scene, uint64_t from, enum status status)
{
    const Dynode__Peer__Message *merge = merge_to(scene, from);
    assert_non_null(merge);
    answer(scene, from, merge->request, DYNODE__PEER__MESSAGE__BODY_MERGED, status);
}

static struct counters *counters(struct scene *scene)
{
    return shard_counters(scene->one.shard);
}

/* --- A is a home --- */

static void replaced_at_once(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[1], false);
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    assert_int_equal(merge_to(&s, s.homes[0])->merge->hint_for, 0);
    assert_null(merge_to(&s, s.homes[1]));
    assert_int_equal(merge_to(&s, s.others[0])->merge->hint_for, s.homes[1]);
    assert_null(merge_to(&s, s.others[1]));
    merged(&s, s.others[0], STATUS_OK);
    merged(&s, s.others[0], STATUS_OK); /* twice is once */
    assert_int_equal(s.one.answer_count, 0);
    one_shard_sync(&s.one);
    const Dynode__Client__Result *result = one_shard_result(&s.one);
    assert_int_equal(result->status, STATUS_OK);
    assert_int_equal(result->n_replicas, 2);
    assert_int_equal(result->n_stand_ins, 1);
    assert_int_equal(result->stand_ins[0], s.others[0]);
    assert_int_equal(counters(&s)->coordinating, 0);
    assert_int_equal(counters(&s)->lingering, 1); /* for the home that lives */
    merged(&s, s.homes[0], STATUS_OK);
    assert_int_equal(counters(&s)->lingering, 0);
    assert_int_equal(counters(&s)->dirty, 0);
    one_shard_end(&s.one);
}

static void silent_is_replaced(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_sync(&s.one);
    one_shard_pass_ms(&s.one, 99);
    assert_null(merge_to(&s, s.others[0]));
    one_shard_pass_ms(&s.one, 1);
    assert_int_equal(merge_to(&s, s.others[0])->merge->hint_for, s.homes[0]);
    assert_int_equal(merge_to(&s, s.others[1])->merge->hint_for, s.homes[1]);
    assert_int_equal(s.one.answer_count, 0);
    merged(&s, s.others[1], STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 1);
    /* The home that answers after all, and the one whose stand-in does: nobody is left to wait for. */
    merged(&s, s.homes[0], STATUS_OK);
    assert_int_equal(counters(&s)->lingering, 0);
    merged(&s, s.others[0], STATUS_OK);
    assert_int_equal(counters(&s)->dirty, 0);
    one_shard_end(&s.one);
}

/* The home and its stand-in are one position: that is not W. */
static void a_position_counts_once(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY); /* our own disk does not answer */
    one_shard_pass_ms(&s.one, 100);
    uint64_t replaced = merge_to(&s, s.others[0])->merge->hint_for;
    if (replaced == NODE_A) replaced = merge_to(&s, s.others[1])->merge->hint_for;
    uint64_t stand_in = merge_to(&s, s.others[0])->merge->hint_for == replaced ? s.others[0] : s.others[1];
    merged(&s, stand_in, STATUS_OK);
    merged(&s, replaced, STATUS_OK);
    assert_int_equal(s.one.answer_count, 0);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

static void strict_does_without(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__STRICT);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->got, 1);
    one_shard_forget(&s.one);
    Dynode__Client__Operation *operation = put_of(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY);
    operation->put->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT; /* is strict whatever it says */
    one_shard_ask(&s.one, 1, 1, 1000, &operation, 1);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    one_shard_forget(&s.one);
    ask_get(&s, DYNODE__CLIENT__QUORUM__STRICT);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    one_shard_link(&s.one, s.homes[0], true);
    one_shard_link(&s.one, s.homes[1], true);
    one_shard_forget(&s.one);
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__STRICT); /* nor are the silent replaced */
    one_shard_sync(&s.one);
    one_shard_pass_ms(&s.one, 300);
    assert_null(merge_to(&s, s.others[0]));
    assert_int_equal(s.one.answer_count, 0);
    merged(&s, s.homes[1], STATUS_OK); /* but once it is answered the one that lacks it gets a hint */
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 0);
    assert_int_equal(merge_to(&s, s.others[0])->merge->hint_for, s.homes[0]);
    one_shard_end(&s.one);
}

/* A write that has its W has succeeded, whatever becomes of hints (scylladb#13383). */
static void refused_hints(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    merged(&s, s.homes[0], STATUS_OK);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 0);
    one_shard_pass_ms(&s.one, 100);
    assert_int_equal(merge_to(&s, s.others[0])->merge->hint_for, s.homes[1]);
    merged(&s, s.others[0], STATUS_NO_SPACE); /* the next one */
    assert_int_equal(merge_to(&s, s.others[1])->merge->hint_for, s.homes[1]);
    merged(&s, s.others[1], STATUS_NO_SPACE);
    assert_int_equal(counters(&s)->lingering, 1); /* it may answer yet */
    assert_int_equal(counters(&s)->dirty, 0);
    one_shard_pass_ms(&s.one, 900);
    assert_int_equal(counters(&s)->lingering, 0);
    assert_int_equal(counters(&s)->dirty, 1);
    assert_int_equal(s.one.answer_count, 1);
    /* Needed for W, and refused by all: then it fails. */
    one_shard_forget(&s.one);
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    one_shard_link(&s.one, s.others[0], true);
    one_shard_link(&s.one, s.others[1], true);
    ask_put(&s, "y", DYNODE__CLIENT__QUORUM__DEFAULT);
    merged(&s, s.others[0], STATUS_NO_SPACE);
    merged(&s, s.others[1], STATUS_NO_SPACE);
    assert_int_equal(s.one.answer_count, 0); /* the homes may come back yet */
    one_shard_pass_ms(&s.one, 750);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    one_shard_end(&s.one);
}

/* Nobody is there yet: the write waits, unminted, goes on with the first who comes, and says so if none does.
 */
static void waits_for_a_link(void **state)
{
    (void)state;
    for (int comes = 0; comes < 2; comes++) {
        struct scene s;
        struct object object;
        begin(&s, true, (struct one_shard_options){0});
        for (uint32_t i = 0; i < 5; i++)
            if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
        ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
        one_shard_pass_ms(&s.one, 450);
        assert_int_equal(s.one.answer_count, 0);
        assert_int_equal(one_shard_stored(&s.one, "t", s.key, &object), STATUS_NOT_FOUND);
        if (!comes) {
            one_shard_pass_ms(&s.one, 300);
            assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
            assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__NO);
            assert_int_equal(one_shard_result(&s.one)->got, 1);
            one_shard_end(&s.one);
            continue;
        }
        one_shard_link(&s.one, s.others[1], true);
        one_shard_sync(&s.one);
        assert_true(merge_to(&s, s.others[1])->merge->hint_for != 0);
        merged(&s, s.others[1], STATUS_OK);
        assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
        assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 1);
        one_shard_end(&s.one);
    }
}

/* The same after the mint: who was lost meanwhile gets it when it is back, be it a home or one who stood in.
 */
static void waits_for_votes(void **state)
{
    (void)state;
    for (int who = 0; who < 3; who++) {
        struct scene s;
        begin(&s, true, (struct one_shard_options){0});
        ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
        one_shard_sync(&s.one);
        for (uint32_t i = 0; i < 5; i++)
            if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
        one_shard_pass_ms(&s.one, 200);
        assert_int_equal(s.one.answer_count, 0);
        one_shard_forget(&s.one);
        if (who < 2) {
            uint64_t node = who == 0 ? s.homes[1] : s.others[0];
            one_shard_link(&s.one, node, true);
            assert_true((merge_to(&s, node)->merge->hint_for != 0) == (who == 1));
            merged(&s, node, STATUS_OK);
            assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
        } else {
            one_shard_pass_ms(&s.one, 550);
            assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
            assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
        }
        one_shard_end(&s.one);
    }
}

static void unknown_never_counts(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    for (int round = 0; round < 2; round++) {
        Dynode__Peer__ReadAnswer read = DYNODE__PEER__READ_ANSWER__INIT;
        struct bytes object = one_shard_object(&s.one, 5, 1, bytes_str("x"));
        one_shard_forget(&s.one);
        ask_get(&s, DYNODE__CLIENT__QUORUM__DEFAULT); /* we have nothing ourselves */
        assert_true(read_to(&s, s.others[0])->read->stand_in);
        assert_null(read_to(&s, s.others[1]));
        read.status = STATUS_UNKNOWN;
        one_shard_receive(&s.one, s.others[0], read_to(&s, s.others[0])->request,
                          DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
        assert_int_equal(s.one.answer_count, 0);
        if (round == 1) {
            read.status = STATUS_OK;
            read.digest = object_digest(object);
            read.object =
                (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)object.data, .len = object.size};
        }
        one_shard_receive(&s.one, s.others[1], read_to(&s, s.others[1])->request,
                          DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
        const Dynode__Client__Result *result = one_shard_result(&s.one);
        assert_int_equal(result->status, round == 0 ? STATUS_UNAVAILABLE : STATUS_OK);
        assert_int_equal(result->n_stand_ins, round);
        assert_null(merge_to(&s, s.others[1])); /* no read repairs a stand-in */
    }
    one_shard_end(&s.one);
}

static void read_answered(struct scene *scene, uint64_t from, uint64_t request, enum status status,
                          struct bytes object)
{
    Dynode__Peer__ReadAnswer read = DYNODE__PEER__READ_ANSWER__INIT;
    read.status = status;
    read.digest = 7;
    read.object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)object.data, .len = object.size};
    one_shard_receive(&scene->one, from, request, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
}

/* A home fails, comes back with what is no object, and fails again, all before the one who stands in for it
 * has said anything: then the next one does. */
static void a_home_fails_twice(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    ask_get(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    uint64_t request = read_to(&s, s.homes[0])->request;
    read_answered(&s, s.homes[0], request, STATUS_OVERLOADED, bytes_of(NULL, 0));
    read_answered(&s, s.homes[1], request, STATUS_OVERLOADED, bytes_of(NULL, 0));
    assert_true(read_to(&s, s.others[0])->read->stand_in);
    assert_null(read_to(&s, s.others[1]));
    read_answered(&s, s.homes[0], request, STATUS_OK, bytes_str("no object"));
    assert_true(read_to(&s, s.others[1])->read->stand_in);
    struct bytes object = one_shard_object(&s.one, 5, 1, bytes_str("x"));
    read_answered(&s, s.others[0], request, STATUS_OK, object); /* it is not asked any more */
    assert_int_equal(s.one.answer_count, 0);
    read_answered(&s, s.others[1], request, STATUS_OK, object);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_siblings, 1);
    assert_int_equal(counters(&s)->owed, 0);
    one_shard_end(&s.one);
}

/* Whose link is lost may have lost its store too before it comes back: what it said before is no vote any
 * more, be it a home or a stand-in. */
static void a_vote_over_a_lost_link_is_void(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, true, (struct one_shard_options){0});
    ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_sync(&s.one);
    for (uint32_t i = 0; i < 2; i++) {
        one_shard_link(&s.one, s.homes[i], false);
        one_shard_link(&s.one, s.homes[i], true);
        merged(&s, s.homes[i], STATUS_OK);
        assert_int_equal(merge_to(&s, s.others[i])->merge->hint_for, s.homes[i]);
    }
    one_shard_link(&s.one, s.others[0], false);
    one_shard_link(&s.one, s.others[0], true);
    merged(&s, s.others[0], STATUS_OK);
    assert_int_equal(s.one.answer_count, 0);
    merged(&s, s.others[1], STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_replicas, 2);
    assert_int_equal(one_shard_result(&s.one)->stand_ins[0], s.others[1]);
    one_shard_end(&s.one);
}

/* --- A stands in --- */

static Dynode__Peer__Merge *hint_of(struct scene *scene, uint64_t clock, const char *value, uint64_t target)
{
    Dynode__Peer__Merge *merge = ARENA_NEW(&scene->one.arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(merge);
    struct bytes object = one_shard_object(&scene->one, clock, 1, bytes_str(value));
    merge->place = one_shard_place(&scene->one, "t", scene->key);
    merge->object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)object.data, .len = object.size};
    merge->n = 3;
    merge->hint_for = target;
    return merge;
}

static enum status keep(struct scene *scene, uint64_t clock, const char *value, uint64_t target)
{
    static uint64_t request = 100;
    uint32_t before = scene->one.sent_count;
    one_shard_receive(&scene->one, scene->others[0], ++request, DYNODE__PEER__MESSAGE__BODY_MERGE,
                      hint_of(scene, clock, value, target));
    bool early = scene->one.sent_count > before;
    one_shard_sync(&scene->one);
    assert_int_equal(scene->one.sent_count, before + 1);
    const Dynode__Peer__Message *last = scene->one.sent[before].message;
    assert_int_equal(last->request, request);
    if (last->merged->status == STATUS_OK) assert_false(early); /* not before it is durable */
    return (enum status)last->merged->status;
}

static const Dynode__Peer__ReadAnswer *read_here(struct scene *scene, bool stand_in)
{
    Dynode__Peer__Read read = DYNODE__PEER__READ__INIT;
    read.place = one_shard_place(&scene->one, "t", scene->key);
    read.n = 3;
    read.stand_in = stand_in;
    one_shard_receive(&scene->one, scene->others[0], 9, DYNODE__PEER__MESSAGE__BODY_READ, &read);
    return scene->one.sent[scene->one.sent_count - 1].message->read_answer;
}

static bool count_hint(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static uint32_t hints_kept(struct scene *scene)
{
    uint32_t count = 0;
    store_scan(scene->one.store, STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0), count_hint, &count);
    return count;
}

static void keeps_and_tells(void **state)
{
    (void)state;
    struct scene s;
    struct object object;
    begin(&s, false, (struct one_shard_options){0});
    assert_int_equal(read_here(&s, true)->status, STATUS_UNKNOWN);
    assert_int_equal(read_here(&s, false)->status, STATUS_NOT_HOME);
    assert_int_equal(keep(&s, 1, "x", s.homes[0]), STATUS_OK);
    assert_int_equal(keep(&s, 2, "y", s.homes[0]), STATUS_OK);
    assert_int_equal(keep(&s, 3, "z", s.homes[1]), STATUS_OK);
    assert_int_equal(hints_kept(&s), 2);
    assert_int_equal(one_shard_stored(&s.one, "t", s.key, &object), STATUS_NOT_FOUND);
    const Dynode__Peer__ReadAnswer *all = read_here(&s, true);
    assert_int_equal(all->status, STATUS_OK);
    assert_int_equal(object_decode(bytes_of(all->object.data, all->object.len), &s.one.arena, &object),
                     STATUS_OK);
    assert_int_equal(object.count, 3);
    assert_int_equal(keep(&s, 1, "x", NODE_A), STATUS_INVALID);
    assert_int_equal(keep(&s, 1, "x", 0xdead), STATUS_INVALID);
    assert_int_equal(keep(&s, 1, "x", 0), STATUS_NOT_HOME);
    one_shard_end(&s.one);
}

static void bound_of_hints(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, false, (struct one_shard_options){.hint_bytes_max = 150});
    assert_int_equal(keep(&s, 1, "x", s.homes[0]), STATUS_OK);
    assert_int_equal(
        keep(&s, 1, "a long value so that it does not fit, however short the rest may be", s.homes[1]),
        STATUS_NO_SPACE);
    assert_int_equal(keep(&s, 2, "what is there may grow", s.homes[0]), STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    one_shard_end(&s.one);
}

/* A node is heard meanwhile. */
static void pass_a_tick(struct scene *scene, uint64_t node)
{
    for (int i = 0; i < 5; i++) {
        one_shard_link(&scene->one, node, true);
        one_shard_pass_ms(&scene->one, 100);
    }
}

static void goes_home(void **state)
{
    (void)state;
    struct scene s;
    const Dynode__Peer__Message__BodyCase kind = DYNODE__PEER__MESSAGE__BODY_HANDED_OFF;
    begin(&s, false, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    assert_int_equal(keep(&s, 1, "x", s.homes[0]), STATUS_OK);
    one_shard_pass_ms(&s.one, 200);
    assert_null(hand_off_to(&s, s.homes[0]));
    one_shard_link(&s.one, s.homes[0], true); /* at once */
    const Dynode__Peer__Message *sent = hand_off_to(&s, s.homes[0]);
    assert_non_null(sent);
    assert_int_equal(sent->hand_off->hint_for, 0);
    /* A stranger's answer, and one to another life; then it is refused. */
    answer(&s, s.homes[1], sent->request, kind, STATUS_OK);
    answer(&s, s.homes[0], sent->request + (1ULL << 32), kind, STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    answer(&s, s.homes[0], sent->request, kind, STATUS_NO_SPACE);
    answer(&s, s.homes[0], sent->request, kind, STATUS_OK); /* too late: another was sent, or will be */
    assert_int_equal(hints_kept(&s), 1);
    one_shard_forget(&s.one);
    pass_a_tick(&s, s.homes[0]);
    sent = hand_off_to(&s, s.homes[0]);
    assert_non_null(sent);
    /* It grew meanwhile: what is there now has to go as well. */
    uint64_t request = sent->request;
    assert_int_equal(keep(&s, 2, "y", s.homes[0]), STATUS_OK);
    answer(&s, s.homes[0], request, kind, STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    one_shard_forget(&s.one);
    pass_a_tick(&s, s.homes[0]);
    answer(&s, s.homes[0], hand_off_to(&s, s.homes[0])->request, kind, STATUS_OK);
    assert_int_equal(hints_kept(&s), 0);
    one_shard_end(&s.one);
}

static bool keep_key(void *context, struct bytes key, struct bytes value)
{
    struct buffer *kept = context;
    buffer_append(&kept[0], key.data, key.size);
    buffer_append(&kept[1], value.data, value.size);
    return false;
}

/* A hint whose bytes are whole, but no object, would be refused by its target for ever: it is set aside,
 * counted and shown, and the others go home. */
static void what_is_no_object_is_set_aside(void **state)
{
    (void)state;
    struct scene s;
    struct buffer kept[2] = {0};
    begin(&s, false, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    assert_int_equal(keep(&s, 1, "x", s.homes[0]), STATUS_OK);
    store_scan(s.one.store, STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0), keep_key, kept);
    uint8_t junk[256];
    size_t size = kept[1].size - 16;
    assert_true(size < sizeof(junk));
    memset(junk, 0xff, sizeof(junk));
    struct bytes key = buffer_bytes(&kept[0]), sealed = object_seal(key, bytes_of(junk, size), &s.one.arena);
    assert_int_equal(8 + sealed.size, kept[1].size);
    memcpy(kept[1].data + 8, sealed.data, sealed.size);
    assert_int_equal(store_put(s.one.store, STORE_HINTS, key, buffer_bytes(&kept[1])), STATUS_OK);
    assert_int_equal(keep(&s, 2, "y", s.homes[1]), STATUS_OK);
    assert_int_equal(hints_kept(&s), 2);
    one_shard_link(&s.one, s.homes[0], true);
    pass_a_tick(&s, s.homes[1]);
    assert_null(hand_off_to(&s, s.homes[0]));
    assert_non_null(hand_off_to(&s, s.homes[1]));
    assert_int_equal(counters(&s)->corrupt, 1);
    assert_int_equal(hints_kept(&s), 2);
    assert_int_equal(store_get(s.one.store, STORE_HINTS, key, &s.one.arena, &sealed), STATUS_NOT_FOUND);
    pass_a_tick(&s, s.homes[1]); /* once */
    assert_int_equal(counters(&s)->corrupt, 1);
    const Dynode__Peer__ReadAnswer *all = read_here(&s, true); /* nor does it stand in a read's way */
    assert_int_equal(all->status, STATUS_OK);
    assert_int_equal(counters(&s)->corrupt, 1);
    buffer_fini(&kept[0]);
    buffer_fini(&kept[1]);
    one_shard_end(&s.one);
}

/* No home can be reached: A mints, over its hints, and never again under a clock whose hint has gone. */
static void mints_as_a_stand_in(void **state)
{
    (void)state;
    struct scene s;
    struct object first, second;
    begin(&s, false, (struct one_shard_options){0});
    uint64_t other = s.list[3] == NODE_A ? s.list[4] : s.list[3];
    for (uint32_t i = 0; i < 3; i++) one_shard_link(&s.one, s.list[i], false);
    one_shard_link(&s.one, other, true);
    Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
    message.deadline_ms = 1000;
    message.operation = put_of(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 7, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    const Dynode__Peer__Message *merge = merge_to(&s, other);
    assert_int_equal(merge->merge->hint_for, s.list[1]);
    ProtobufCBinaryData encoded = merge->merge->object;
    assert_int_equal(object_decode(bytes_of(encoded.data, encoded.len), &s.one.arena, &first), STATUS_OK);
    one_shard_sync(&s.one);
    merged(&s, other, STATUS_OK);
    const Dynode__Peer__Message *done =
        one_shard_find(&s.one, other, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
    assert_int_equal(done->coordinated->result->status, STATUS_OK);
    assert_int_equal(done->coordinated->result->n_stand_ins, 2);
    /* For the third home nobody is left: A keeps that hint too, though it does not count twice. */
    assert_int_equal(hints_kept(&s), 2);
    assert_int_equal(counters(&s)->lingering, 0);
    for (uint32_t i = 0; i < 3; i += 2) {
        one_shard_link(&s.one, s.list[i], true);
        answer(&s, s.list[i], hand_off_to(&s, s.list[i])->request, DYNODE__PEER__MESSAGE__BODY_HANDED_OFF,
               STATUS_OK);
        assert_int_equal(hints_kept(&s), i == 0);
    }
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[2], false);
    one_shard_forget(&s.one);
    message.operation = put_of(&s, "y", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 8, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    encoded = merge_to(&s, other)->merge->object;
    assert_int_equal(object_decode(bytes_of(encoded.data, encoded.len), &s.one.arena, &second), STATUS_OK);
    assert_int_equal(second.count, 1);
    assert_int_equal(second.context.count, 1); /* it knows nothing of the first */
    assert_true(second.siblings[0].dot.clock != first.siblings[0].dot.clock);
    one_shard_end(&s.one);
}

/* It was sent here by one who reaches no home, but we do: what a home says is minted upon. */
static void asks_a_home_it_reaches(void **state)
{
    (void)state;
    struct scene s;
    struct object object;
    begin(&s, false, (struct one_shard_options){0});
    uint64_t other = s.list[3] == NODE_A ? s.list[4] : s.list[3];
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[1], false);
    Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
    message.deadline_ms = 1000;
    message.operation = put_of(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 7, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    assert_int_equal(hints_kept(&s), 0);
    Dynode__Peer__ReadAnswer read = DYNODE__PEER__READ_ANSWER__INIT;
    struct bytes there = one_shard_object(&s.one, 5, 1, bytes_str("there"));
    read.digest = object_digest(there);
    read.object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)there.data, .len = there.size};
    one_shard_receive(&s.one, s.list[2], read_to(&s, s.list[2])->request,
                      DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
    assert_int_equal(merge_to(&s, s.list[2])->merge->hint_for, 0);
    ProtobufCBinaryData encoded = merge_to(&s, s.list[2])->merge->object;
    assert_int_equal(object_decode(bytes_of(encoded.data, encoded.len), &s.one.arena, &object), STATUS_OK);
    assert_int_equal(object.count, 2);
    assert_int_equal(hints_kept(&s), 1);
    one_shard_end(&s.one);
}

/* A is the last of three homes. For a put that wants one replica it is none, and stands in for the first; for
 * the next put it is one, and mints on its object, where the first write is not: so it must not cover it. */
static void mints_apart_as_a_home(void **state)
{
    (void)state;
    struct scene s;
    struct object first, second;
    begin(&s, true, (struct one_shard_options){0});
    const struct ring *ring = shard_turn_context(s.one.shard)->ring;
    for (int i = 0; s.list[2] != NODE_A; i++) {
        snprintf(s.key, sizeof(s.key), "key%d", i);
        uint32_t vnode = one_shard_place(&s.one, "t", s.key)->vnode;
        memcpy(s.list, ring_preference_list(ring, vnode), sizeof(s.list));
    }
    s.others[0] = s.list[3];
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[1], false);
    Dynode__Client__Operation *operation = put_of(&s, "first", DYNODE__CLIENT__QUORUM__SLOPPY);
    operation->put->n = 1;
    one_shard_ask(&s.one, 1, 1, 1000, &operation, 1);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    const Dynode__Peer__ReadAnswer *hint = read_here(&s, true);
    assert_int_equal(object_decode(bytes_of(hint->object.data, hint->object.len), &s.one.arena, &first),
                     STATUS_OK);
    assert_int_equal(first.count, 1);
    one_shard_forget(&s.one);
    ask_put(&s, "second", DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_stored(&s.one, "t", s.key, &second), STATUS_OK);
    struct object both = object_merge(&first, &second, RULE_SIBLINGS, &s.one.arena);
    assert_int_equal(both.count, 2);
    /* Alone it is enough, too. */
    for (uint32_t i = 2; i < 5; i++)
        if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
    one_shard_forget(&s.one);
    operation = put_of(&s, "third", DYNODE__CLIENT__QUORUM__SLOPPY);
    operation->put->n = 1;
    one_shard_ask(&s.one, 1, 1, 1000, &operation, 1);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_at_once),
        cmocka_unit_test(silent_is_replaced),
        cmocka_unit_test(a_position_counts_once),
        cmocka_unit_test(strict_does_without),
        cmocka_unit_test(a_vote_over_a_lost_link_is_void),
        cmocka_unit_test(refused_hints),
        cmocka_unit_test(waits_for_a_link),
        cmocka_unit_test(waits_for_votes),
        cmocka_unit_test(unknown_never_counts),
        cmocka_unit_test(a_home_fails_twice),
        cmocka_unit_test(keeps_and_tells),
        cmocka_unit_test(bound_of_hints),
        cmocka_unit_test(goes_home),
        cmocka_unit_test(what_is_no_object_is_set_aside),
        cmocka_unit_test(mints_as_a_stand_in),
        cmocka_unit_test(asks_a_home_it_reaches),
        cmocka_unit_test(mints_apart_as_a_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
