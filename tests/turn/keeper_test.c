/* Node A of five is no home: it keeps hints for those that are, brings them home, and mints when none of them
 * can be reached. */
#include <stdio.h>

#include "scene.h"

static const Dynode__Peer__Message *hand_off_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_HAND_OFF, 0);
}

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
    scene_begin(&s, false, (struct one_shard_options){0});
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
    scene_begin(&s, false, (struct one_shard_options){.hint_bytes_max = 150});
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
    scene_begin(&s, false, (struct one_shard_options){0});
    one_shard_link(&s.one, s.homes[0], false);
    assert_int_equal(keep(&s, 1, "x", s.homes[0]), STATUS_OK);
    one_shard_pass_ms(&s.one, 200);
    assert_null(hand_off_to(&s, s.homes[0]));
    one_shard_link(&s.one, s.homes[0], true); /* at once */
    const Dynode__Peer__Message *sent = hand_off_to(&s, s.homes[0]);
    assert_non_null(sent);
    assert_int_equal(sent->hand_off->hint_for, 0);
    /* A stranger's answer, and one to another life; then it is refused. */
    scene_answer(&s, s.homes[1], sent->request, kind, STATUS_OK);
    scene_answer(&s, s.homes[0], sent->request + (1ULL << 32), kind, STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    scene_answer(&s, s.homes[0], sent->request, kind, STATUS_NO_SPACE);
    scene_answer(&s, s.homes[0], sent->request, kind, STATUS_OK); /* too late: another was sent, or will be */
    assert_int_equal(hints_kept(&s), 1);
    one_shard_forget(&s.one);
    pass_a_tick(&s, s.homes[0]);
    sent = hand_off_to(&s, s.homes[0]);
    assert_non_null(sent);
    /* It grew meanwhile: what is there now has to go as well. */
    uint64_t request = sent->request;
    assert_int_equal(keep(&s, 2, "y", s.homes[0]), STATUS_OK);
    scene_answer(&s, s.homes[0], request, kind, STATUS_OK);
    assert_int_equal(hints_kept(&s), 1);
    one_shard_forget(&s.one);
    pass_a_tick(&s, s.homes[0]);
    scene_answer(&s, s.homes[0], hand_off_to(&s, s.homes[0])->request, kind, STATUS_OK);
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
    scene_begin(&s, false, (struct one_shard_options){0});
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
    assert_int_equal(scene_counters(&s)->corrupt, 1);
    assert_int_equal(hints_kept(&s), 2);
    assert_int_equal(store_get(s.one.store, STORE_HINTS, key, &s.one.arena, &sealed), STATUS_NOT_FOUND);
    pass_a_tick(&s, s.homes[1]); /* once */
    assert_int_equal(scene_counters(&s)->corrupt, 1);
    const Dynode__Peer__ReadAnswer *all = read_here(&s, true); /* nor does it stand in a read's way */
    assert_int_equal(all->status, STATUS_OK);
    assert_int_equal(scene_counters(&s)->corrupt, 1);
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
    scene_begin(&s, false, (struct one_shard_options){0});
    uint64_t other = s.list[3] == NODE_A ? s.list[4] : s.list[3];
    for (uint32_t i = 0; i < 3; i++) one_shard_link(&s.one, s.list[i], false);
    one_shard_link(&s.one, other, true);
    Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
    message.deadline_ms = 1000;
    message.operation = scene_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 7, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    const Dynode__Peer__Message *merge = scene_merge_to(&s, other);
    assert_int_equal(merge->merge->hint_for, s.list[1]);
    ProtobufCBinaryData encoded = merge->merge->object;
    assert_int_equal(object_decode(bytes_of(encoded.data, encoded.len), &s.one.arena, &first), STATUS_OK);
    one_shard_sync(&s.one);
    scene_merged(&s, other, STATUS_OK);
    const Dynode__Peer__Message *done =
        one_shard_find(&s.one, other, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
    assert_int_equal(done->coordinated->result->status, STATUS_OK);
    assert_int_equal(done->coordinated->result->n_stand_ins, 2);
    /* For the third home nobody is left: A keeps that hint too, though it does not count twice. */
    assert_int_equal(hints_kept(&s), 2);
    assert_int_equal(scene_counters(&s)->lingering, 0);
    for (uint32_t i = 0; i < 3; i += 2) {
        one_shard_link(&s.one, s.list[i], true);
        scene_answer(&s, s.list[i], hand_off_to(&s, s.list[i])->request,
                     DYNODE__PEER__MESSAGE__BODY_HANDED_OFF, STATUS_OK);
        assert_int_equal(hints_kept(&s), i == 0);
    }
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[2], false);
    one_shard_forget(&s.one);
    message.operation = scene_put(&s, "y", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 8, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    encoded = scene_merge_to(&s, other)->merge->object;
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
    scene_begin(&s, false, (struct one_shard_options){0});
    uint64_t other = s.list[3] == NODE_A ? s.list[4] : s.list[3];
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[1], false);
    Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
    message.deadline_ms = 1000;
    message.operation = scene_put(&s, "x", DYNODE__CLIENT__QUORUM__DEFAULT);
    one_shard_receive(&s.one, other, 7, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
    assert_int_equal(hints_kept(&s), 0);
    Dynode__Peer__ReadAnswer read = DYNODE__PEER__READ_ANSWER__INIT;
    struct bytes there = one_shard_object(&s.one, 5, 1, bytes_str("there"));
    read.digest = object_digest(there);
    read.object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)there.data, .len = there.size};
    one_shard_receive(&s.one, s.list[2], scene_read_to(&s, s.list[2])->request,
                      DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &read);
    assert_int_equal(scene_merge_to(&s, s.list[2])->merge->hint_for, 0);
    ProtobufCBinaryData encoded = scene_merge_to(&s, s.list[2])->merge->object;
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
    scene_begin(&s, true, (struct one_shard_options){0});
    const struct ring *ring = shard_turn_context(s.one.shard)->ring;
    for (int i = 0; s.list[2] != NODE_A; i++) {
        snprintf(s.key, sizeof(s.key), "key%d", i);
        uint32_t vnode = one_shard_place(&s.one, "t", s.key)->vnode;
        memcpy(s.list, ring_preference_list(ring, vnode), sizeof(s.list));
    }
    s.others[0] = s.list[3];
    one_shard_link(&s.one, s.list[0], false);
    one_shard_link(&s.one, s.list[1], false);
    Dynode__Client__Operation *operation = scene_put(&s, "first", DYNODE__CLIENT__QUORUM__SLOPPY);
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
    scene_ask_put(&s, "second", DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_stored(&s.one, "t", s.key, &second), STATUS_OK);
    struct object both = object_merge(&first, &second, RULE_SIBLINGS, &s.one.arena);
    assert_int_equal(both.count, 2);
    /* Alone it is enough, too. */
    for (uint32_t i = 2; i < 5; i++)
        if (s.list[i] != NODE_A) one_shard_link(&s.one, s.list[i], false);
    one_shard_forget(&s.one);
    operation = scene_put(&s, "third", DYNODE__CLIENT__QUORUM__SLOPPY);
    operation->put->n = 1;
    one_shard_ask(&s.one, 1, 1, 1000, &operation, 1);
    one_shard_sync(&s.one);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
