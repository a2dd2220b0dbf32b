/* Stories of hints: what is written while homes are away, who keeps it, and how it comes home. No read
 * repairs anything here. */
#include <stdio.h>

#include "story.h"

/* Each home alone tells these values; no home was repaired. */
static void expect_at_homes(struct story *story, const char *const *values)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct call *get = story_get(story, story->homes[i], (struct extras){.quorum = 1});
        story_expect(story_wait(story, get), STATUS_OK, values);
    }
    assert_int_equal(story_count(story, "repair"), 0);
}

static bool count_hint(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static uint32_t hints_kept(const struct story *story)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < world_nodes(story->world); node++)
        for (uint32_t shard = 0; shard < world_shards(story->world, node); shard++)
            assert_int_equal(store_scan(world_store(story->world, node, shard), STORE_HINTS,
                                        bytes_of(NULL, 0), bytes_of(NULL, 0), count_hint, &count),
                             STATUS_OK);
    return count;
}

static void two_homes_dead(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "two_homes_dead");
    story_key(&story, "apple");
    story_say(&story, "two of three homes die: a strict put fails, a sloppy one goes to the next nodes");
    world_crash(story.world, story.homes[1]);
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "never", (struct extras){0}));
    story_expect(put, STATUS_UNAVAILABLE, NULL);
    put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.sloppy = true}));
    story_expect(put, STATUS_OK, NULL);
    assert_int_equal(put->stand_in_count, 1);
    story_pass_ms(&story, 10);
    assert_int_equal(hints_kept(&story), 2);
    story_say(&story, "a strict read fails; a sloppy one asks them, and they know the hint");
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){0})),
                 STATUS_UNAVAILABLE, NULL);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){.sloppy = true})),
                 STATUS_OK, VALUES("red"));
    story_say(&story, "the homes return, and their hints come home: one, and then the other");
    world_restart(story.world, story.homes[1]);
    story_pass_ms(&story, 400);
    assert_int_equal(hints_kept(&story), 1);
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 400);
    assert_int_equal(hints_kept(&story), 0);
    expect_at_homes(&story, VALUES("red"));
    story_end(&story);
}

static void all_homes_dead(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "all_homes_dead");
    story_key(&story, "apple");
    const struct extras sloppy = {.sloppy = true};
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", sloppy));
    story_pass_ms(&story, 10);
    story_say(&story, "all three homes die: one of the others mints, over what it has, which is nothing");
    for (uint32_t i = 0; i < 3; i++) world_crash(story.world, story.homes[i]);
    story_pass_ms(&story, 10);
    put = story_wait(
        &story, story_put(&story, story.homes[3], "green", (struct extras){.sloppy = true, .after = put}));
    story_expect(put, STATUS_OK, NULL);
    assert_int_equal(put->stand_in_count, 2);
    story_expect(story_wait(&story, story_get(&story, story.homes[4], sloppy)), STATUS_OK, VALUES("green"));
    story_say(&story, "and again, over its hints");
    put = story_wait(&story, story_put(&story, story.homes[4], "blue", sloppy));
    story_expect(put, STATUS_OK, VALUES("green", "blue"));
    story_say(&story, "the homes return");
    for (uint32_t i = 0; i < 3; i++) world_restart(story.world, story.homes[i]);
    story_pass_ms(&story, 1500);
    assert_int_equal(hints_kept(&story), 0);
    story_say(&story, "two nodes have kept it for three homes, and each of them has it");
    expect_at_homes(&story, VALUES("green", "blue"));
    story_end(&story);
}

static void stand_in_restarts(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "stand_in_restarts");
    story_key(&story, "apple");
    story_say(&story, "a home is dead, and then the node that keeps a hint for it, too");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.sloppy = true}));
    story_pass_ms(&story, 10);
    assert_int_equal(hints_kept(&story), 1);
    world_crash(story.world, story.homes[4]);
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 500);
    story_say(&story, "it starts again, and finds the hint");
    world_restart(story.world, story.homes[4]);
    story_pass_ms(&story, 1000);
    assert_int_equal(hints_kept(&story), 0);
    expect_at_homes(&story, VALUES("red"));
    story_end(&story);
}

static void late_hint(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "late_hint");
    story_key(&story, "apple");
    const struct extras sloppy = {.sloppy = true};
    story_say(&story, "a home is dead; what is kept for it is cut off when it returns");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", sloppy));
    story_pass_ms(&story, 10);
    story_isolate(&story, story.homes[4], true);
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 500);
    story_say(&story, "meanwhile the home gets something newer");
    put = story_wait(
        &story, story_put(&story, story.homes[2], "green", (struct extras){.sloppy = true, .after = put}));
    story_expect(put, STATUS_OK, NULL);
    story_pass_ms(&story, 10);
    story_say(&story, "the hint comes late, and changes nothing");
    story_isolate(&story, story.homes[4], false);
    story_pass_ms(&story, 1000);
    assert_int_equal(hints_kept(&story), 0);
    expect_at_homes(&story, VALUES("green"));
    story_end(&story);
}

/* A home that nobody suspects yet: it is silent. */
static void silent_home_is_replaced(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "silent_home_is_replaced");
    story_key(&story, "apple");
    story_say(&story, "two homes stand still: after 100 ms others stand in for them");
    world_pause(story.world, story.homes[1]);
    world_pause(story.world, story.homes[2]);
    struct call *put =
        story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.sloppy = true}));
    story_expect(put, STATUS_OK, NULL);
    assert_in_range((put->returned_ns - put->invoked_ns) / 1000000, 100, 110);
    story_pass_ms(&story, 50);
    assert_int_equal(hints_kept(&story), 2);
    story_say(&story, "they go on, and have it twice: from the put that waited for them, and as a hint");
    world_resume(story.world, story.homes[1]);
    world_resume(story.world, story.homes[2]);
    story_pass_ms(&story, 1000);
    assert_int_equal(hints_kept(&story), 0);
    expect_at_homes(&story, VALUES("red"));
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_homes_dead),          cmocka_unit_test(all_homes_dead),
        cmocka_unit_test(stand_in_restarts),       cmocka_unit_test(late_hint),
        cmocka_unit_test(silent_home_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
