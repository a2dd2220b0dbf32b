/* Node A of five is a home: it looks for others to stand in for homes that are away, silent or full. */
#include "scene.h"

static void ask_get(struct scene *scene, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation = one_shard_get(&scene->one, "t", scene->key, 2);
    operation->get->quorum = quorum;
    one_shard_ask(&scene->one, 1, 1, 1000, &operation, 1);
}

static void replaced_at_once(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[1], false);
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    assert_int_equal(scene_merge_to(&s, s.homes[0])->merge->hint_for, 0);
    assert_null(scene_merge_to(&s, s.homes[1]));
    assert_int_equal(scene_merge_to(&s, s.others[0])->merge->hint_for, s.homes[1]);
    assert_null(scene_merge_to(&s, s.others[1]));
    scene_merged(&s, s.others[0], STATUS_OK);
    scene_merged(&s, s.others[0], STATUS_OK); /* twice is once */
    assert_int_equal(s.one.answer_count, 0);
    one_shard_sync(&s.one);
    const Dynode__Client__Result *result = one_shard_result(&s.one);
    assert_int_equal(result->status, STATUS_OK);
    assert_int_equal(result->n_replicas, 2);
    assert_int_equal(result->n_stand_ins, 1);
    assert_int_equal(result->stand_ins[0], s.others[0]);
    assert_int_equal(scene_counters(&s)->coordinating, 0);
    assert_int_equal(scene_counters(&s)->lingering, 1); /* for the home that lives */
    scene_merged(&s, s.homes[0], STATUS_OK);
    assert_int_equal(scene_counters(&s)->lingering, 0);
    assert_int_equal(scene_counters(&s)->dirty, 0);
    one_shard_end(&s.one);
}

static void silent_is_replaced(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_sync(&s.one);
    one_shard_pass_ms(&s.one, 99);
    assert_null(scene_merge_to(&s, s.others[0]));
    one_shard_pass_ms(&s.one, 1);
    assert_int_equal(scene_merge_to(&s, s.others[0])->merge->hint_for, s.homes[0]);
    assert_int_equal(scene_merge_to(&s, s.others[1])->merge->hint_for, s.homes[1]);
    assert_int_equal(s.one.answer_count, 0);
    scene_merged(&s, s.others[1], STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 1);
    /* The home that answers after all, and the one whose stand-in does: nobody is left to wait for. */
    scene_merged(&s, s.homes[0], STATUS_OK);
    assert_int_equal(scene_counters(&s)->lingering, 0);
    scene_merged(&s, s.others[0], STATUS_OK);
    assert_int_equal(scene_counters(&s)->dirty, 0);
    one_shard_end(&s.one);
}

/* The home and its stand-in are one position: that is not W. */
static void a_position_counts_once(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY); /* our own disk does not answer */
    one_shard_pass_ms(&s.one, 100);
    uint64_t replaced = scene_merge_to(&s, s.others[0])->merge->hint_for;
    if (replaced == NODE_A) replaced = scene_merge_to(&s, s.others[1])->merge->hint_for;
    uint64_t stand_in =
        scene_merge_to(&s, s.others[0])->merge->hint_for == replaced ? s.others[0] : s.others[1];
    scene_merged(&s, stand_in, STATUS_OK);
    scene_merged(&s, replaced, STATUS_OK);
    assert_int_equal(s.one.answer_count, 0);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

static void strict_does_without(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__STRICT);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->got, 1);
    assert_string_equal(one_shard_result(&s.one)->message, "2 of 3 homes of the key cannot be reached");
    one_shard_forget(&s.one);
    Dynode__Client__Operation *operation = scene_put(&s, "x", DYNODE__CLIENT__QUORUM__SLOPPY);
    operation->put->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT; /* is strict whatever it says */
    one_shard_ask(&s.one, 1, 1, 1000, &operation, 1);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    one_shard_forget(&s.one);
    ask_get(&s, DYNODE__CLIENT__QUORUM__STRICT);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    assert_string_equal(one_shard_result(&s.one)->message, "2 of 3 homes of the key cannot be reached");
    one_shard_link(&s.one, s.homes[0], true);
    one_shard_link(&s.one, s.homes[1], true);
    one_shard_forget(&s.one);
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__STRICT); /* nor are the silent replaced */
    one_shard_sync(&s.one);
    one_shard_pass_ms(&s.one, 300);
    assert_null(scene_merge_to(&s, s.others[0]));
    assert_int_equal(s.one.answer_count, 0);
    scene_merged(&s, s.homes[1], STATUS_OK); /* but once it is answered the one that lacks it gets a hint */
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 0);
    assert_int_equal(scene_merge_to(&s, s.others[0])->merge->hint_for, s.homes[0]);
    one_shard_end(&s.one);
}

/* A write that has its W has succeeded, whatever becomes of hints (scylladb#13383). */
static void refused_hints(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    scene_merged(&s, s.homes[0], STATUS_OK);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_stand_ins, 0);
    one_shard_pass_ms(&s.one, 100);
    assert_int_equal(scene_merge_to(&s, s.others[0])->merge->hint_for, s.homes[1]);
    scene_merged(&s, s.others[0], STATUS_NO_SPACE); /* the next one */
    assert_int_equal(scene_merge_to(&s, s.others[1])->merge->hint_for, s.homes[1]);
    scene_merged(&s, s.others[1], STATUS_NO_SPACE);
    assert_int_equal(scene_counters(&s)->lingering, 1); /* it may answer yet */
    assert_int_equal(scene_counters(&s)->dirty, 0);
    one_shard_pass_ms(&s.one, 900);
    assert_int_equal(scene_counters(&s)->lingering, 0);
    assert_int_equal(scene_counters(&s)->dirty, 1);
    assert_int_equal(s.one.answer_count, 1);
    /* Needed for W, and refused by all: then it fails. */
    one_shard_forget(&s.one);
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    one_shard_link(&s.one, s.others[0], true);
    one_shard_link(&s.one, s.others[1], true);
    scene_ask_put(&s, "y", DYNODE__CLIENT__QUORUM__DEFAULT);
    scene_merged(&s, s.others[0], STATUS_NO_SPACE);
    scene_merged(&s, s.others[1], STATUS_NO_SPACE);
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
        scene_begin(&s, true, (struct one_shard_options){0});
        for (uint32_t i = 0; i < 5; i++)
            if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
        scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
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
        assert_true(scene_merge_to(&s, s.others[1])->merge->hint_for != 0);
        scene_merged(&s, s.others[1], STATUS_OK);
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
        scene_begin(&s, true, (struct one_shard_options){0});
        scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
        one_shard_sync(&s.one);
        for (uint32_t i = 0; i < 5; i++)
            if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
        one_shard_pass_ms(&s.one, 200);
        assert_int_equal(s.one.answer_count, 0);
        one_shard_forget(&s.one);
        if (who < 2) {
            uint64_t node = who == 0 ? s.homes[1] : s.others[0];
            one_shard_link(&s.one, node, true);
            assert_true((scene_merge_to(&s, node)->merge->hint_for != 0) == (who == 1));
            scene_merged(&s, node, STATUS_OK);
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
    scene_begin(&s, true, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    one_shard_link(&s.one, s.homes[1], false);
    for (int round = 0; round < 2; round++) {
        Dynode__Peer__ReadAnswer read = DYNODE__PEER__READ_ANSWER__INIT;
        struct bytes object = one_shard_object(&s.one, 5, 1, bytes_str("x"));
        one_shard_forget(&s.one);
        ask_get(&s, DYNODE__CLIENT__QUORUM__DEFAULT); /* we have nothing ourselves */
        assert_true(scene_read_to(&s, s.others[0])->read->stand_in);
        assert_null(scene_read_to(&s, s.others[1]));
        read.status = STATUS_UNKNOWN;
        one_shard_receive(&s.one, s.others[0], scene_read_to(&s, s.others[0])->request,
                          DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
        assert_int_equal(s.one.answer_count, 0);
        if (round == 1) {
            read.status = STATUS_OK;
            read.digest = object_digest(object);
            read.object =
                (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)object.data, .len = object.size};
        }
        one_shard_receive(&s.one, s.others[1], scene_read_to(&s, s.others[1])->request,
                          DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
        const Dynode__Client__Result *result = one_shard_result(&s.one);
        assert_int_equal(result->status, round == 0 ? STATUS_UNAVAILABLE : STATUS_OK);
        assert_int_equal(result->n_stand_ins, round);
        assert_null(scene_merge_to(&s, s.others[1])); /* no read repairs a stand-in */
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
    scene_begin(&s, true, (struct one_shard_options){0});
    ask_get(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    uint64_t request = scene_read_to(&s, s.homes[0])->request;
    read_answered(&s, s.homes[0], request, STATUS_OVERLOADED, bytes_of(NULL, 0));
    read_answered(&s, s.homes[1], request, STATUS_OVERLOADED, bytes_of(NULL, 0));
    assert_true(scene_read_to(&s, s.others[0])->read->stand_in);
    assert_null(scene_read_to(&s, s.others[1]));
    read_answered(&s, s.homes[0], request, STATUS_OK, bytes_str("no object"));
    assert_true(scene_read_to(&s, s.others[1])->read->stand_in);
    struct bytes object = one_shard_object(&s.one, 5, 1, bytes_str("x"));
    read_answered(&s, s.others[0], request, STATUS_OK, object); /* it is not asked any more */
    assert_int_equal(s.one.answer_count, 0);
    read_answered(&s, s.others[1], request, STATUS_OK, object);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_siblings, 1);
    assert_int_equal(scene_counters(&s)->owed, 0);
    one_shard_end(&s.one);
}

/* Whose link is lost may have lost its store too before it comes back: what it said before is no vote any
 * more, be it a home or a stand-in. */
static void a_vote_over_a_lost_link_is_void(void **state)
{
    (void)state;
    struct scene s;
    scene_begin(&s, true, (struct one_shard_options){0});
    scene_ask_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_sync(&s.one);
    for (uint32_t i = 0; i < 2; i++) {
        one_shard_link(&s.one, s.homes[i], false);
        one_shard_link(&s.one, s.homes[i], true);
        scene_merged(&s, s.homes[i], STATUS_OK);
        assert_int_equal(scene_merge_to(&s, s.others[i])->merge->hint_for, s.homes[i]);
    }
    one_shard_link(&s.one, s.others[0], false);
    one_shard_link(&s.one, s.others[0], true);
    scene_merged(&s, s.others[0], STATUS_OK);
    assert_int_equal(s.one.answer_count, 0);
    scene_merged(&s, s.others[1], STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&s.one)->n_replicas, 2);
    assert_int_equal(one_shard_result(&s.one)->stand_ins[0], s.others[1]);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
