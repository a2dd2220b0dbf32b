/* The replica on the bench: what it reads, merges and mints, and what it refuses. */
#include <stdio.h>

#include "one_shard.h"

static void merge_agreed(struct one_shard *one, const char *table, const char *key, struct bytes object,
                         uint64_t request, bool agreed)
{
    Dynode__Peer__Merge *message = one_shard_merge(one, table, key, object);
    message->agreed = agreed;
    one_shard_receive(one, NODE_B, request, DYNODE__PEER__MESSAGE__BODY_MERGE, message);
}

static void merge(struct one_shard *one, const char *table, const char *key, struct bytes object,
                  uint64_t request)
{
    merge_agreed(one, table, key, object, request, false);
}

static uint32_t merged_status(struct one_shard *one)
{
    const Dynode__Peer__Message *merged = one_shard_find(one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0);
    assert_non_null(merged);
    uint32_t status = merged->merged->status;
    one_shard_forget(one);
    return status;
}

static const Dynode__Peer__ReadAnswer *read_key(struct one_shard *one, const char *table, const char *key,
                                                bool digest)
{
    Dynode__Peer__Read message = DYNODE__PEER__READ__INIT;
    message.place = one_shard_place(one, table, key);
    message.n = cluster_find_table(&one->cluster, bytes_str(table))->n;
    message.digest = digest;
    one_shard_forget(one);
    one_shard_receive(one, NODE_B, 5, DYNODE__PEER__MESSAGE__BODY_READ, &message);
    const Dynode__Peer__Message *answer =
        one_shard_find(one, NODE_B, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, 0);
    assert_non_null(answer);
    assert_int_equal(answer->request, 5);
    return answer->read_answer;
}

static const Dynode__Client__Result *put(struct one_shard *one, const char *table, const char *key,
                                         struct bytes value, struct bytes context)
{
    return one_shard_write(one, one_shard_put(one, table, key, value, context));
}

static void merge_is_acknowledged_when_durable(void **state)
{
    (void)state;
    struct one_shard one;
    struct object object;
    one_shard_begin(&one, (struct one_shard_options){0});
    merge(&one, "t", "k", one_shard_object(&one, 1, 1, bytes_str("x")), 4);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGED, 0));
    one_shard_sync(&one);
    assert_int_equal(merged_status(&one), STATUS_OK);
    assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_OK);
    /* The same again writes nothing, but is an acknowledgement all the same; and a repair gets no answer. */
    uint64_t turn = shard_committed_turn(one.shard);
    merge(&one, "t", "k", one_shard_object(&one, 1, 1, bytes_str("x")), 4);
    assert_int_equal(merged_status(&one), STATUS_OK);
    assert_true(shard_committed_turn(one.shard) <= turn + 1);
    merge(&one, "t", "k", one_shard_object(&one, 2, 1, bytes_str("y")), 0);
    one_shard_sync(&one);
    assert_int_equal(one.sent_count, 0);
    assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_OK);
    assert_int_equal(object.count, 2);
    one_shard_end(&one);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("x"));
    /* A key of "solo" whose only home is another node. */
    char key[ONE_SHARD_KEY_BYTES];
    one_shard_far_key(&one, "solo", key);
    assert_int_equal(read_key(&one, "solo", key, false)->status, STATUS_NOT_HOME);
    one_shard_forget(&one);
    merge(&one, "solo", key, object, 4);
    assert_int_equal(merged_status(&one), STATUS_NOT_HOME);
    /* Places that contradict themselves, objects that are none. */
    Dynode__Peer__Merge *bad = one_shard_merge(&one, "t", "k", object);
    bad->place->hash++;
    one_shard_receive(&one, NODE_B, 4, DYNODE__PEER__MESSAGE__BODY_MERGE, bad);
    assert_int_equal(merged_status(&one), STATUS_INVALID);
    bad->place->hash--;
    bad->place->vnode ^= 1;
    one_shard_receive(&one, NODE_B, 4, DYNODE__PEER__MESSAGE__BODY_MERGE, bad);
    assert_int_equal(merged_status(&one), STATUS_INVALID);
    bad->place->vnode ^= 1;
    bad->n = 0;
    one_shard_receive(&one, NODE_B, 4, DYNODE__PEER__MESSAGE__BODY_MERGE, bad);
    assert_int_equal(merged_status(&one), STATUS_INVALID);
    bad->n = 3;
    bad->place = NULL;
    one_shard_receive(&one, NODE_B, 4, DYNODE__PEER__MESSAGE__BODY_MERGE, bad);
    assert_int_equal(merged_status(&one), STATUS_INVALID);
    merge(&one, "t", "k", bytes_str("no object"), 4);
    assert_int_equal(merged_status(&one), STATUS_INVALID);
    /* Nobody mints for another shard. */
    Dynode__Peer__Mint mint = DYNODE__PEER__MINT__INIT;
    mint.place = one_shard_place(&one, "t", "k");
    uint64_t invalid = shard_counters(one.shard)->invalid;
    one_shard_receive(&one, NODE_B, 4, DYNODE__PEER__MESSAGE__BODY_MINT, &mint);
    assert_int_equal(shard_counters(one.shard)->invalid, invalid + 1);
    assert_int_equal(one.sent_count, 0);
    one_shard_end(&one);
}

static void unfilled_counts_for_no_read(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.unfilled = true});
    merge(&one, "t", "k", one_shard_object(&one, 1, 1, bytes_str("x")), 4);
    one_shard_sync(&one);
    assert_int_equal(merged_status(&one), STATUS_OK); /* it stores, and says so */
    assert_int_equal(read_key(&one, "t", "k", false)->status, STATUS_NOT_FILLED);
    one_shard_end(&one);
}

static void digest_for_large_objects(void **state)
{
    (void)state;
    struct one_shard one;
    static const uint8_t large[2000];
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_of(large, sizeof(large)));
    merge(&one, "t", "large", object, 0);
    merge(&one, "t", "small", one_shard_object(&one, 1, 2, bytes_str("x")), 0);
    assert_int_equal(read_key(&one, "t", "large", true)->object.len, 0);
    assert_true(read_key(&one, "t", "large", true)->digest == object_digest(object));
    assert_int_equal(read_key(&one, "t", "large", false)->object.len, object.size);
    assert_true(read_key(&one, "t", "small", true)->object.len > 0);
    assert_int_equal(read_key(&one, "t", "nothing", true)->status, STATUS_NOT_FOUND);
    one_shard_end(&one);
}

static uint64_t newest_clock(struct one_shard *one, const char *key)
{
    struct object object;
    assert_int_equal(one_shard_stored(one, "t", key, &object), STATUS_OK);
    uint64_t stamp = object_stamp_max(&object);
    for (uint32_t i = 0; i < object.count; i++)
        if (object.siblings[i].stamp == stamp) return object.siblings[i].dot.clock;
    return 0;
}

/* A fresh clock before the next mint, whenever memory may have gone (mints.h). */
static void clocks(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    const struct bytes none = {0};
    assert_int_equal(put(&one, "t", "k", bytes_str("1"), none)->status, STATUS_OK);
    uint64_t first = newest_clock(&one, "k");
    assert_int_equal(put(&one, "t", "k", bytes_str("2"), none)->status, STATUS_OK);
    assert_true(newest_clock(&one, "k") == first);
    /* A context that names the clock below or at its counter is the past; above it, a past we do not know. */
    merge(&one, "t", "k", one_shard_object(&one, first, 1, bytes_str("1")), 0);
    assert_int_equal(put(&one, "t", "k", bytes_str("3"), none)->status, STATUS_OK);
    assert_true(newest_clock(&one, "k") == first);
    merge(&one, "t", "k", one_shard_object(&one, first, 9, bytes_str("9")), 0);
    assert_int_equal(put(&one, "t", "k", bytes_str("4"), none)->status, STATUS_OK);
    uint64_t second = newest_clock(&one, "k");
    assert_true(second != first);
    /* Another shard's life: other clocks. */
    struct one_shard other;
    one_shard_begin(&other, (struct one_shard_options){.seed = 2});
    assert_int_equal(put(&other, "t", "k", bytes_str("1"), none)->status, STATUS_OK);
    assert_true(newest_clock(&other, "k") != first);
    one_shard_end(&other);
    one_shard_end(&one);
}

/* A damaged object is CORRUPT to readers, is replaced by what the other homes agreed on, and costs the vnode
 * its clock then. */
static void damaged_object(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    assert_int_equal(put(&one, "t", "k", bytes_str("1"), (struct bytes){0})->status, STATUS_OK);
    uint64_t first = newest_clock(&one, "k");
    one_shard_damage(&one, "t", "k");
    assert_int_equal(read_key(&one, "t", "k", false)->status, STATUS_CORRUPT);
    assert_int_equal(shard_counters(one.shard)->corrupt, 1);
    /* One write more does not make it whole; what the other homes agreed on does. */
    one_shard_forget(&one);
    merge(&one, "t", "k", one_shard_object(&one, 5, 1, bytes_str("5")), 4);
    one_shard_sync(&one);
    assert_int_equal(merged_status(&one), STATUS_CORRUPT);
    assert_int_equal(read_key(&one, "t", "k", false)->status, STATUS_CORRUPT);
    merge_agreed(&one, "t", "k", one_shard_object(&one, 5, 1, bytes_str("5")), 0, true);
    assert_int_equal(read_key(&one, "t", "k", false)->status, STATUS_OK);
    assert_int_equal(put(&one, "t", "k", bytes_str("2"), (struct bytes){0})->status, STATUS_OK);
    assert_true(newest_clock(&one, "k") != first);
    one_shard_end(&one);
}

/* Reading a damaged object again and again costs the other keys of its vnode nothing: an entry more in their
 * contexts each time would fill those until no write fits. */
static void damage_that_is_only_read(void **state)
{
    (void)state;
    struct one_shard one;
    char key[16];
    struct object object;
    one_shard_begin(&one, (struct one_shard_options){0});
    uint32_t vnode = one_shard_place(&one, "t", "k")->vnode;
    for (int i = 0; i == 0 || one_shard_place(&one, "t", key)->vnode != vnode; i++)
        snprintf(key, sizeof(key), "other%d", i);
    assert_int_equal(put(&one, "t", "k", bytes_str("1"), (struct bytes){0})->status, STATUS_OK);
    one_shard_damage(&one, "t", "k");
    for (int i = 0; i < 10; i++) {
        one_shard_forget(&one);
        assert_int_equal(read_key(&one, "t", "k", false)->status, STATUS_CORRUPT);
        merge(&one, "t", "k", one_shard_object(&one, 5, 1, bytes_str("5")), 0);
        assert_int_equal(put(&one, "t", key, bytes_str("x"), (struct bytes){0})->status, STATUS_OK);
    }
    assert_int_equal(one_shard_stored(&one, "t", key, &object), STATUS_OK);
    assert_int_equal(object.context.count, 1);
    uint64_t before = newest_clock(&one, key);
    merge_agreed(&one, "t", "k", one_shard_object(&one, 5, 1, bytes_str("5")), 0, true);
    assert_int_equal(put(&one, "t", key, bytes_str("y"), (struct bytes){0})->status, STATUS_OK);
    assert_true(newest_clock(&one, key) != before);
    one_shard_end(&one);
}

static void sibling_cap(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    const struct bytes none = {0};
    const Dynode__Client__Result *result;
    for (uint32_t i = 0; i < OBJECT_SIBLINGS_MAX; i++) {
        result = put(&one, "t", "k", bytes_str("x"), none);
        assert_int_equal(result->status, STATUS_OK);
        assert_int_equal(result->n_siblings, i == 0 ? 0 : i + 1);
    }
    result = put(&one, "t", "k", bytes_str("one too many"), none);
    assert_int_equal(result->status, STATUS_TOO_MANY_SIBLINGS);
    assert_int_equal(result->n_siblings, OBJECT_SIBLINGS_MAX);
    struct bytes context = bytes_of(result->context.data, result->context.len);
    result = put(&one, "t", "k", bytes_str("resolved"), context);
    assert_int_equal(result->status, STATUS_OK);
    assert_int_equal(result->n_siblings, 0);
    one_shard_end(&one);
}

/* Invariant 3: a context is what was handed out for this very key, or it is refused. */
static void forged_contexts(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    const Dynode__Client__Result *result = put(&one, "t", "k", bytes_str("1"), (struct bytes){0});
    struct bytes context = bytes_of(result->context.data, result->context.len);
    assert_true(context.size > 0);
    assert_int_equal(put(&one, "t", "other", bytes_str("2"), context)->status, STATUS_INVALID);
    assert_int_equal(put(&one, "last", "k", bytes_str("2"), context)->status, STATUS_INVALID);
    for (size_t at = 0; at < context.size; at++) {
        uint8_t *forged = arena_alloc(&one.arena, context.size);
        memcpy(forged, context.data, context.size);
        forged[at] ^= 1;
        assert_int_equal(put(&one, "t", "k", bytes_str("2"), bytes_of(forged, context.size))->status,
                         STATUS_INVALID);
        if (at > 0) /* cut at every offset; empty is no context at all */
            assert_int_equal(put(&one, "t", "k", bytes_str("2"), bytes_of(context.data, at))->status,
                             STATUS_INVALID);
    }
    assert_int_equal(put(&one, "t", "k", bytes_str("2"), context)->status, STATUS_OK);
    one_shard_end(&one);
}

static void full_disk(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    store_mem_set_full(one.store, true);
    const Dynode__Client__Result *result = put(&one, "t", "k", bytes_str("1"), (struct bytes){0});
    assert_int_equal(result->status, STATUS_UNAVAILABLE);
    assert_int_equal(result->applied, DYNODE__CLIENT__APPLIED__NO);
    one_shard_forget(&one);
    merge(&one, "t", "k", one_shard_object(&one, 1, 1, bytes_str("x")), 4);
    one_shard_sync(&one);
    assert_int_equal(merged_status(&one), STATUS_NO_SPACE);
    store_mem_set_full(one.store, false);
    assert_int_equal(put(&one, "t", "k", bytes_str("1"), (struct bytes){0})->status, STATUS_OK);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_is_acknowledged_when_durable),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(unfilled_counts_for_no_read),
        cmocka_unit_test(digest_for_large_objects),
        cmocka_unit_test(clocks),
        cmocka_unit_test(damaged_object),
        cmocka_unit_test(damage_that_is_only_read),
        cmocka_unit_test(sibling_cap),
        cmocka_unit_test(forged_contexts),
        cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
