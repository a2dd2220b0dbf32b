/* Stories that broke other stores, each with the report of where, as far as homes that are always the same
 * and reads that repair can tell them. */
#include "story.h"

/* Riak's doomstone (riak_kv#679): a home sleeps through a delete and a new put. What it wakes up with is old.
 */
static void late_home(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "late_home");
    story_key(&story, "apple");
    story_without_stand_ins(&story);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story, "one home dies; the apple is deleted, and put again by somebody who found it absent");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    struct call *deleted =
        story_wait(&story, story_delete(&story, story.homes[1], (struct extras){.after = put}));
    story_expect(deleted, STATUS_OK, NULL);
    const struct extras if_absent = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT};
    put = story_wait(&story, story_put(&story, story.homes[1], "green", if_absent));
    story_expect(put, STATUS_OK, VALUES("green"));
    story_say(&story, "the dead home returns with the red one: nobody who asks a quorum sees it");
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){0})), STATUS_OK,
                 VALUES("green"));
    story_pass_ms(&story, 10);
    story_say(&story, "it has been repaired, and alone it tells the same");
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 1})),
                 STATUS_OK, VALUES("green"));
    story_say(&story, "a delete that it did not see is no reason to bring anything back either");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    story_wait(&story, story_delete(&story, story.homes[0], (struct extras){.after = put}));
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 3})),
                 STATUS_NOT_FOUND, NULL);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 1})),
                 STATUS_NOT_FOUND, NULL);
    story_end(&story);
}

/* riak_kv#1643: a home forgets what it minted, and mints again. Under the old clock the others would take its
 * new write for one that they have seen. */
static void wiped_coordinator(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "wiped_coordinator");
    story_key(&story, "apple");
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    put = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){.after = put}));
    story_pass_ms(&story, 10);
    story_say(&story, "the home that minted both loses its disks, and coordinates the next put all the same");
    world_crash(story.world, story.homes[0]);
    world_wipe(story.world, story.homes[0]);
    world_restart(story.world, story.homes[0]);
    story_pass_ms(&story, 500);
    struct call *blue =
        story_wait(&story, story_put(&story, story.homes[0], "blue", (struct extras){.after = put}));
    assert_int_equal(blue->status, STATUS_OK);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){0})), STATUS_OK,
                 VALUES("blue"));
    story_say(&story, "and one without context stays beside it, rather than in place of it or nowhere");
    story_wait(&story, story_put(&story, story.homes[0], "violet", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){0})), STATUS_OK,
                 VALUES("blue", "violet"));
    story_end(&story);
}

/* The same with an object that can't be read any more. */
static void rotten_coordinator(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "rotten_coordinator");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story,
              "a bit turns in the coordinator's copy; it mints the next put on top of what others hold");
    bool turned = false;
    for (uint32_t shard = 0; shard < world_shards(story.world, story.homes[0]); shard++)
        turned |= world_rot(story.world, story.homes[0], shard);
    assert_true(turned);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){0}));
    story_expect(put, STATUS_OK, VALUES("red", "green"));
    story_pass_ms(&story, 10);
    for (uint32_t i = 0; i < 3; i++)
        story_expect(story_wait(&story, story_get(&story, story.homes[i], (struct extras){.quorum = 1})),
                     STATUS_OK, VALUES("red", "green"));
    story_end(&story);
}

/* The same, where the put asks for all homes: how many those before it asked for, it does not say. */
static void rotten_coordinator_asks_all(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "rotten_coordinator_asks_all");
    story_key(&story, "apple");
    story_without_stand_ins(&story);
    story_say(&story, "a put misses one home");
    world_crash(story.world, story.homes[1]);
    story_pass_ms(&story, 10);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_expect(put, STATUS_OK, NULL);
    world_restart(story.world, story.homes[1]);
    story_pass_ms(&story, 1500);
    story_say(&story, "a bit turns in the coordinator's copy, and it is asked for a put at all homes");
    for (uint32_t shard = 0; shard < world_shards(story.world, story.homes[0]); shard++)
        world_rot(story.world, story.homes[0], shard);
    put = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){.quorum = 3}));
    story_expect(put, STATUS_OK, VALUES("red", "green"));
    story_say(&story,
              "without the one home that was sure to hold the first, a quorum of two has to know of it");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[1], (struct extras){0})), STATUS_OK,
                 VALUES("red", "green"));
    story_end(&story);
}

/* A table of which all five nodes are homes of the apple, W = 2 and R = 4. */
static void make_wide_table(struct story *story)
{
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__TableInfo info = DYNODE__CLIENT__TABLE_INFO__INIT;
    char name[] = "wide";
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
    operation.create_table = &create;
    create.table = &info;
    info.name = name;
    info.n = 5, info.w = 2, info.r = 4;
    uint64_t connection = world_connect(story->world, 0, 0);
    struct call *call = call_start(&story->calls, connection, &operation, 1000, NULL, NULL);
    assert_int_equal(story_wait(story, call)->status, STATUS_OK);
    story->table = "wide";
    story->key = "apple";
    assert_int_equal(world_homes(story->world, "wide", bytes_str("apple"), story->homes), 5);
}

/* A precondition is tested on a majority, but that is too few to take the place of a copy that can't be read:
 * of two homes that had acknowledged a write one would be left, and four may be read without it. */
static void rotten_coordinator_tests(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "rotten_coordinator_tests");
    make_wide_table(&story);
    story_say(&story, "a put is on the coordinator and one home more");
    for (uint32_t i = 1; i < 4; i++) world_crash(story.world, story.homes[i]);
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0})), STATUS_OK,
                 NULL);
    for (uint32_t i = 1; i < 4; i++) world_restart(story.world, story.homes[i]);
    story_pass_ms(&story, 1500);
    story_say(&story, "a bit turns in the coordinator's copy, and somebody puts if there is nothing");
    for (uint32_t shard = 0; shard < world_shards(story.world, story.homes[0]); shard++)
        world_rot(story.world, story.homes[0], shard);
    const struct extras if_absent = {.precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT};
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "green", if_absent));
    story_expect(put, STATUS_CONFLICT, VALUES("red"));
    story_end(&story);
}

/* Aerospike: a success reported as a failure, and a failure that later appears. `applied` tells them apart.
 */
static void failure_that_appears(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "failure_that_appears");
    story_key(&story, "apple");
    story_say(&story, "a put at a home that can reach nobody: it is refused, and never appears");
    story_isolate(&story, story.homes[0], true);
    story_pass_ms(&story, 10);
    struct call *never = story_wait(&story, story_put(&story, story.homes[0], "never", (struct extras){0}));
    story_expect(never, STATUS_UNAVAILABLE, NULL);
    assert_int_equal(never->applied, DYNODE__CLIENT__APPLIED__NO);
    story_isolate(&story, story.homes[0], false);
    story_pass_ms(&story, 500);
    story_say(&story, "a put that loses both others on its way: it may appear, and the answer says so");
    struct call *maybe = story_put(&story, story.homes[0], "maybe", (struct extras){0});
    story_until(&story, "merge apple");
    story_isolate(&story, story.homes[0], true);
    story_wait(&story, maybe);
    assert_true(maybe->status == STATUS_UNAVAILABLE || maybe->status == STATUS_TIMEOUT);
    assert_int_equal(maybe->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    story_isolate(&story, story.homes[0], false);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("maybe"));
    story_end(&story);
}

/* scylladb#7342: one home is silent, and what is asked in its stead melts the others. A get asks one home
 * more, and once the silent one is known to be down none asks it at all. */
static void silent_home_melts_nobody(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "silent_home_melts_nobody");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    enum { GETS = 100 };
    story_say(&story, "a home falls silent, and %u gets come (what is said again is left out)", GETS);
    story.terse = true;
    world_pause(story.world, story.homes[1]);
    struct call *gets[GETS];
    uint32_t before = story_count(&story, "read apple");
    for (uint32_t i = 0; i < GETS; i++) gets[i] = story_get(&story, story.homes[3], (struct extras){0});
    for (uint32_t i = 0; i < GETS; i++) {
        story_expect(story_wait(&story, gets[i]), STATUS_OK, VALUES("red"));
        assert_true(gets[i]->returned_ns <= gets[i]->deadline_ns);
    }
    uint32_t reads = story_count(&story, "read apple") - before;
    assert_true(reads <= 3 * GETS);
    story_say(&story, "those were %u reads; now it is known to be down, and as many gets come again", reads);
    story_pass_ms(&story, 1500);
    before = story_count(&story, "read apple");
    for (uint32_t i = 0; i < GETS; i++) gets[i] = story_get(&story, story.homes[3], (struct extras){0});
    for (uint32_t i = 0; i < GETS; i++) story_expect(story_wait(&story, gets[i]), STATUS_OK, VALUES("red"));
    reads = story_count(&story, "read apple") - before;
    assert_int_equal(reads, 2 * GETS);
    story_say(&story, "those were %u reads", reads);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_home),
        cmocka_unit_test(wiped_coordinator),
        cmocka_unit_test(rotten_coordinator),
        cmocka_unit_test(rotten_coordinator_asks_all),
        cmocka_unit_test(rotten_coordinator_tests),
        cmocka_unit_test(failure_that_appears),
        cmocka_unit_test(silent_home_melts_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
