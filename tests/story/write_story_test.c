/* Stories of writes whose fate is hard: lost coordinators, lost links, retries, races, deletes and expiry. */
#include "base/hash.h"
#include "story.h"
#include "wire/object_wire.h"

/* How many siblings a home's store holds of the story's key: what no answer shows. */
static uint32_t stored_siblings(const struct story *story, uint32_t node)
{
    struct shard *any = world_shard(story->world, node, 0);
    const struct turn *context = shard_turn_context(any);
    const struct table *table = cluster_find_table(context->cluster, bytes_str(story->table));
    assert_non_null(table);
    uint64_t hash = hash64(bytes_str(story->key), table->tag);
    uint32_t vnode = ring_vnode(context->ring, hash);
    struct store_place place = {
        .vnode = vnode, .hash = hash, .tag = table->tag, .key = bytes_str(story->key)};
    struct arena arena;
    arena_init(&arena, 0);
    struct store *store = world_store(story->world, node, vnode % world_shards(story->world, node));
    struct bytes key = store_key_encode(&place, &arena), stored, encoded;
    struct object object = {0};
    assert_int_equal(store_get(store, STORE_OBJECTS, key, &arena, &stored), STATUS_OK);
    assert_int_equal(object_unseal(key, stored, &encoded), STATUS_OK);
    assert_int_equal(object_decode(encoded, &arena, &object), STATUS_OK);
    uint32_t count = object.count;
    arena_fini(&arena);
    return count;
}

/* Invariant 3: a clock mints only while it remembers what it minted. */
static void restarted_home(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "restarted_home");
    story_key(&story, "apple");
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    size_t one_clock = put->sealed.size;
    story_pass_ms(&story, 10);
    story_say(&story, "the home that minted it restarts, and mints again: under another clock, so both stay");
    world_crash(story.world, story.homes[0]);
    story_pass_ms(&story, 10);
    world_restart(story.world, story.homes[0]);
    story_pass_ms(&story, 500);
    put = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){0}));
    story_expect(put, STATUS_OK, VALUES("red", "green"));
    assert_true(put->sealed.size > one_clock);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("red", "green"));
    story_end(&story);
}

static void coordinator_crash(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "coordinator_crash");
    story_key(&story, "apple");
    story_say(&story, "the coordinator dies before its sync and before anything left: the write never was");
    world_hold_syncs(story.world, story.homes[0], true);
    struct call *put = story_put(&story, story.homes[0], "red", (struct extras){0});
    world_run(story.world, world_now(story.world) + 600000);
    world_crash(story.world, story.homes[0]);
    story_wait(&story, put);
    assert_true(put->lost);
    world_hold_syncs(story.world, story.homes[0], false);
    world_restart(story.world, story.homes[0]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){.quorum = 3})),
                 STATUS_NOT_FOUND, NULL);
    story_say(&story,
              "it dies when the others have been told: no answer, yet the write is there, as one value");
    world_hold_syncs(story.world, story.homes[0], true);
    put = story_put(&story, story.homes[0], "green", (struct extras){0});
    story_until(&story, "merge apple");
    story_until(&story, "merge apple");
    world_crash(story.world, story.homes[0]);
    story_wait(&story, put);
    assert_true(put->lost);
    world_hold_syncs(story.world, story.homes[0], false);
    world_restart(story.world, story.homes[0]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){0})), STATUS_OK,
                 VALUES("green"));
    story_end(&story);
}

/* riak_kv#1046: a put that was forwarded is never minted twice. Who was told of it lets it have its quorum. */
static void lost_link(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "lost_link");
    story_key(&story, "apple");
    story_say(&story, "a put is forwarded to a home and the link is lost before the answer comes");
    struct call *put = story_put(&story, story.homes[3], "red", (struct extras){0});
    story_until(&story, "coordinate this put");
    world_reset(story.world, story.homes[3], story.homes[0]);
    story_wait(&story, put);
    story_expect(put, STATUS_OK, NULL);
    story_pass_ms(&story, 500);
    assert_int_equal(story_count(&story, "coordinate this put"), 1);
    story_say(&story, "it was applied, once");
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("red"));
    story_end(&story);
}

static void token_retry(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "token_retry");
    story_key(&story, "apple");
    story_say(&story, "a put with a token whose answer is lost ...");
    struct call *put = story_put(&story, story.homes[3], "red", (struct extras){.token = 1});
    story_until(&story, "coordinate this put");
    world_reset(story.world, story.homes[3], story.homes[0]);
    story_wait(&story, put);
    story_pass_ms(&story, 500);
    story_say(&story, "... is sent again: the home knows it, and makes no second sibling");
    put = story_wait(&story, story_put(&story, story.homes[3], "red", (struct extras){.token = 1}));
    assert_int_equal(put->status, STATUS_OK);
    story_say(&story, "also when another home gets it");
    put = story_wait(&story, story_put(&story, story.homes[1], "red", (struct extras){.token = 1}));
    assert_int_equal(put->status, STATUS_OK);
    story_say(&story, "another token is another write");
    put = story_wait(&story, story_put(&story, story.homes[1], "red", (struct extras){.token = 2}));
    assert_int_equal(put->status, STATUS_OK);
    story_pass_ms(&story, 10);
    struct call *get = story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3}));
    assert_int_equal(get->value_count, 2);
    story_end(&story);
}

static void conditional_race(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "conditional_race");
    story_key(&story, "apple");
    const struct extras if_absent = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT};
    story_say(&story, "two clients at two nodes want to be first: the first home decides");
    struct call *a = story_put(&story, story.homes[3], "mine", if_absent);
    struct call *b = story_put(&story, story.homes[1], "no, mine", if_absent);
    story_wait(&story, a);
    story_wait(&story, b);
    assert_true((a->status == STATUS_OK) != (b->status == STATUS_OK));
    struct call *winner = a->status == STATUS_OK ? a : b, *loser = winner == a ? b : a;
    assert_int_equal(loser->status, STATUS_CONFLICT);
    assert_int_equal(loser->value_count, 1);
    story_pass_ms(&story, 10);
    story_say(&story, "compare and put: with the same context only one of two succeeds");
    struct extras if_same = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_CONTEXT, .after = winner};
    a = story_put(&story, story.homes[0], "second", if_same);
    b = story_put(&story, story.homes[2], "third", if_same);
    story_wait(&story, a);
    story_wait(&story, b);
    assert_true((a->status == STATUS_OK) != (b->status == STATUS_OK));
    story_say(&story, "without a majority there is no telling");
    world_crash(story.world, story.homes[1]);
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    a = story_wait(&story, story_put(&story, story.homes[0], "fourth", if_absent));
    assert_int_equal(a->status, STATUS_UNAVAILABLE);
    assert_true(call_not_applied(a));
    story_end(&story);
}

/* What client.proto says of a precondition: two homes that cannot see one another may both say OK. */
static void conditional_partition(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "conditional_partition");
    story_key(&story, "apple");
    const uint32_t left = story.homes[0], right = story.homes[1], middle = story.homes[2];
    const struct extras if_absent = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT};
    story_say(&story,
              "two homes can't see one another, the third sees both: each reaches a majority with it");
    world_cut(story.world, left, right);
    story_pass_ms(&story, 10);
    struct call *a = story_put(&story, left, "red", if_absent);
    struct call *b = story_put(&story, right, "green", if_absent);
    story_wait(&story, a);
    story_wait(&story, b);
    assert_int_equal(a->status, STATUS_OK);
    assert_int_equal(b->status, STATUS_OK);
    story_say(&story, "nothing is lost: both are siblings where they met");
    struct call *seen = story_wait(&story, story_get(&story, middle, (struct extras){.quorum = 1}));
    story_expect(seen, STATUS_OK, VALUES("red", "green"));
    story_say(&story, "who comes later is told, on either side: the majorities share a home");
    story_expect(story_wait(&story, story_put(&story, left, "blue", if_absent)), STATUS_CONFLICT,
                 VALUES("red", "green"));
    story_expect(story_wait(&story, story_put(&story, right, "blue", if_absent)), STATUS_CONFLICT,
                 VALUES("red", "green"));
    story_say(&story, "the same race with one context, to merge them: again both");
    const struct extras if_same = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_CONTEXT, .after = seen};
    a = story_put(&story, left, "red and green", if_same);
    b = story_put(&story, right, "brown", if_same);
    story_wait(&story, a);
    story_wait(&story, b);
    assert_int_equal(a->status, STATUS_OK);
    assert_int_equal(b->status, STATUS_OK);
    story_say(&story, "mended, every home shows both, and neither of what they superseded");
    world_mend(story.world, left, right);
    story_pass_ms(&story, 300);
    for (uint32_t i = 0; i < 4; i++) {
        seen = story_wait(&story, story_get(&story, story.homes[i], (struct extras){.quorum = 3}));
        story_expect(seen, STATUS_OK, VALUES("red and green", "brown"));
    }
    story_say(&story, "and now that they see one another only one can be first");
    const struct extras again = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_CONTEXT, .after = seen};
    a = story_put(&story, left, "yellow", again);
    b = story_put(&story, right, "pink", again);
    story_wait(&story, a);
    story_wait(&story, b);
    assert_true((a->status == STATUS_OK) != (b->status == STATUS_OK));
    assert_true((a->status == STATUS_CONFLICT) != (b->status == STATUS_CONFLICT));
    story_end(&story);
}

/* A retry that is minted by a home that does not hold the first: two siblings of one token. */
static void token_twice(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "token_twice");
    story_key(&story, "apple");
    story_say(&story, "a home takes a put with a token, and is cut off before anybody else hears of it");
    struct call *put = story_put(&story, story.homes[3], "red", (struct extras){.token = 1});
    story_until(&story, "coordinate this put");
    story_isolate(&story, story.homes[0], true);
    story_wait(&story, put);
    story_expect(put, STATUS_UNAVAILABLE, NULL);
    assert_int_equal(put->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){.quorum = 1})),
                 STATUS_OK, VALUES("red"));
    story_say(&story, "the retry is minted by the next home, which can't know the first");
    story_expect(story_wait(&story, story_put(&story, story.homes[3], "red", (struct extras){.token = 1})),
                 STATUS_OK, NULL);
    assert_int_equal(story_count(&story, "coordinate this put"), 2);
    story_isolate(&story, story.homes[0], false);
    story_pass_ms(&story, 500);
    story_say(&story, "there are two siblings of one token now: a reader is shown one value");
    struct call *get = story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3}));
    story_expect(get, STATUS_OK, VALUES("red"));
    assert_int_equal(stored_siblings(&story, story.homes[1]), 1);
    story_pass_ms(&story, 10);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(stored_siblings(&story, story.homes[i]), 2);
    story_say(&story, "another retry makes no third, and hears of one value too");
    put = story_wait(&story, story_put(&story, story.homes[2], "red", (struct extras){.token = 1}));
    story_expect(put, STATUS_OK, VALUES("red"));
    story_say(&story, "the reader's context covers both");
    story_expect(
        story_wait(&story, story_put(&story, story.homes[1], "green", (struct extras){.after = get})),
        STATUS_OK, NULL);
    story_pass_ms(&story, 10);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(stored_siblings(&story, story.homes[i]), 1);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("green"));
    story_end(&story);
}

static void delete_and_put(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "delete_and_put");
    story_key(&story, "apple");
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story, "a delete and a put with the same context at two homes at once: the put stays");
    struct call *deleted = story_delete(&story, story.homes[1], (struct extras){.after = put});
    struct call *green = story_put(&story, story.homes[2], "green", (struct extras){.after = put});
    story_wait(&story, deleted);
    story_wait(&story, green);
    story_pass_ms(&story, 10);
    struct call *get = story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3}));
    story_expect(get, STATUS_OK, VALUES("green"));
    story_say(&story, "a delete that has seen the put covers it");
    story_expect(story_wait(&story, story_delete(&story, story.homes[3], (struct extras){.after = get})),
                 STATUS_OK, NULL);
    story_pass_ms(&story, 10);
    get = story_wait(&story, story_get(&story, story.homes[0], (struct extras){0}));
    story_expect(get, STATUS_NOT_FOUND, NULL);
    story_say(&story, "and what is put after it, with the context of absence, is there");
    story_expect(story_wait(&story, story_put(&story, story.homes[0], "new", (struct extras){.after = get})),
                 STATUS_OK, NULL);
    story_expect(story_wait(&story, story_get(&story, story.homes[1], (struct extras){0})), STATUS_OK,
                 VALUES("new"));
    story_say(&story, "a delete without context covers what its coordinator holds");
    story_wait(&story, story_delete(&story, story.homes[1], (struct extras){0}));
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){0})), STATUS_NOT_FOUND,
                 NULL);
    story_end(&story);
}

static void expiry(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "expiry");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.ttl_ms = 100}));
    story_pass_ms(&story, 50);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){0})), STATUS_OK,
                 VALUES("red"));
    story_pass_ms(&story, 60);
    story_say(&story, "100 ms after it was put it is absent everywhere");
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3})),
                 STATUS_NOT_FOUND, NULL);
    story_say(&story, "for preconditions too");
    struct extras if_absent = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT};
    story_expect(story_wait(&story, story_put(&story, story.homes[2], "green", if_absent)), STATUS_OK,
                 VALUES("green"));
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[1], (struct extras){0})), STATUS_OK,
                 VALUES("green"));
    story_end(&story);
}

static void tables(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "tables");
    story_say(&story, "a table is made at n2 and used at once at n4");
    assert_int_equal(story_wait(&story, story_create_table(&story, 1, "nuts"))->status, STATUS_OK);
    story.table = "nuts";
    story_key(&story, "walnut");
    story_expect(story_wait(&story, story_put(&story, 3, "brown", (struct extras){0})), STATUS_OK, NULL);
    assert_int_equal(story_wait(&story, story_create_table(&story, 2, "nuts"))->status, STATUS_TABLE_EXISTS);
    story_say(&story, "dropped at n5 it is gone at n1, and made anew it is empty");
    assert_int_equal(story_wait(&story, story_drop_table(&story, 4, "nuts"))->status, STATUS_OK);
    story_expect(story_wait(&story, story_get(&story, 0, (struct extras){0})), STATUS_NO_SUCH_TABLE, NULL);
    assert_int_equal(story_wait(&story, story_create_table(&story, 0, "nuts"))->status, STATUS_OK);
    story_expect(story_wait(&story, story_get(&story, 2, (struct extras){.quorum = 3})), STATUS_NOT_FOUND,
                 NULL);
    story_say(&story, "a node that was away learns of it when it comes back");
    world_crash(story.world, 4);
    story_pass_ms(&story, 10);
    assert_int_equal(story_wait(&story, story_create_table(&story, 0, "berries"))->status, STATUS_OK);
    world_restart(story.world, 4);
    story_pass_ms(&story, 300);
    story.table = "berries";
    story_key(&story, "sloe");
    story_expect(story_wait(&story, story_get(&story, 4, (struct extras){0})), STATUS_NOT_FOUND, NULL);
    story_say(&story, "and knows it still when all have been away");
    for (uint32_t node = 0; node < 5; node++) world_crash(story.world, node);
    for (uint32_t node = 0; node < 5; node++) world_restart(story.world, node);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, 3, (struct extras){0})), STATUS_NOT_FOUND, NULL);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarted_home),   cmocka_unit_test(coordinator_crash),
        cmocka_unit_test(lost_link),        cmocka_unit_test(token_retry),
        cmocka_unit_test(conditional_race), cmocka_unit_test(conditional_partition),
        cmocka_unit_test(token_twice),      cmocka_unit_test(delete_and_put),
        cmocka_unit_test(expiry),           cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
