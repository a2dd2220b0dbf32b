/* Stories of quorums: what a put and a get do, and what they do when homes are gone. */
#include <stdio.h>

#include "story.h"

static void put_and_get(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "put_and_get");
    story_key(&story, "apple");
    story_say(&story, "a put at a home: minted there, merged at the two others, answered after two syncs");
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_expect(put, STATUS_OK, NULL);
    story_say(&story, "a put elsewhere goes once to a home, with the context it supersedes what is there");
    put = story_wait(&story, story_put(&story, story.homes[3], "green", (struct extras){.after = put}));
    story_expect(put, STATUS_OK, NULL);
    story_pass_ms(&story, 10);
    story_say(&story, "a get is coordinated where it arrives");
    story_expect(story_wait(&story, story_get(&story, story.homes[4], (struct extras){0})), STATUS_OK,
                 VALUES("green"));
    story_say(&story, "a put without a context stays beside what is there");
    put = story_wait(&story, story_put(&story, story.homes[1], "blue", (struct extras){0}));
    story_expect(put, STATUS_OK, VALUES("green", "blue"));
    story_pass_ms(&story, 10);
    struct call *get = story_wait(&story, story_get(&story, story.homes[2], (struct extras){0}));
    story_expect(get, STATUS_OK, VALUES("green", "blue"));
    story_say(&story, "and is merged by a put with the context");
    story_wait(&story, story_put(&story, story.homes[2], "violet", (struct extras){.after = get}));
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("violet"));
    story_end(&story);
}

static void one_home_dead(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "one_home_dead");
    story_key(&story, "apple");
    story_say(&story, "two of three homes are enough for W=2 and R=2");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_expect(put, STATUS_OK, NULL);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){0})), STATUS_OK,
                 VALUES("red"));
    story_say(&story, "but not for W=3: it is known at once, and nothing is written");
    put = story_wait(&story,
                     story_put(&story, story.homes[0], "never", (struct extras){.after = put, .quorum = 3}));
    story_expect(put, STATUS_UNAVAILABLE, NULL);
    assert_true(call_not_applied(put));
    story_say(&story, "when it is back, it gets what was kept for it: no read has to repair it");
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[0], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("red"));
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 1})),
                 STATUS_OK, VALUES("red"));
    story_end(&story);
}

/* Exactly the keys that lost their quorum are unavailable, and say so within their deadline. */
static void two_nodes_dead(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "two_nodes_dead");
    char keys[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key%d", i);
        story_key(&story, keys[i]);
        assert_int_equal(story_wait(&story, story_put(&story, 0, "before", (struct extras){0}))->status,
                         STATUS_OK);
    }
    world_crash(story.world, 3);
    world_crash(story.world, 4);
    uint32_t lost = 0;
    for (int i = 0; i < 40; i++) {
        story_key(&story, keys[i]);
        uint32_t alive = 0;
        for (int home = 0; home < 3; home++) alive += story.homes[home] < 3;
        enum status expected = alive >= 2 ? STATUS_OK : STATUS_UNAVAILABLE;
        lost += alive < 2;
        for (uint32_t node = 0; node < 3; node++) {
            struct call *get = story_wait(&story, story_get(&story, node, (struct extras){0}));
            assert_int_equal(get->status, expected);
            assert_true(get->returned_ns <= get->deadline_ns);
            struct call *put =
                story_wait(&story, story_put(&story, node, "after", (struct extras){.after = get}));
            assert_int_equal(put->status, expected);
            assert_true(put->returned_ns <= put->deadline_ns);
            if (alive < 2) assert_int_equal(put->needed, alive == 0 ? 1 : 2);
        }
    }
    assert_in_range(lost, 5, 25); /* 3 of 10 on average */
    story_discard(&story);
}

static void stale_home(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "stale_home");
    story_key(&story, "apple");
    story_without_stand_ins(&story);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story, "one home is cut off and misses a write");
    story_isolate(&story, story.homes[2], true);
    story_pass_ms(&story, 10);
    story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){.after = put}));
    story_say(&story, "alone it answers R=1 with what it has, and R=2 not at all");
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 1})),
                 STATUS_OK, VALUES("red"));
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){0})),
                 STATUS_UNAVAILABLE, NULL);
    story_say(&story, "back again: a read that meets it merges, answers, and repairs it");
    story_isolate(&story, story.homes[2], false);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){0})), STATUS_OK,
                 VALUES("green"));
    story_pass_ms(&story, 10);
    story_expect(story_wait(&story, story_get(&story, story.homes[2], (struct extras){.quorum = 1})),
                 STATUS_OK, VALUES("green"));
    story_end(&story);
}

static void silent_home(void **state)
{
    (void)state;
    struct story story;
    story_begin(&story, "silent_home");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story, "a home stands still: after 50 ms a get asks the next");
    world_pause(story.world, story.homes[0]);
    story_expect(story_wait(&story, story_get(&story, story.homes[3], (struct extras){0})), STATUS_OK,
                 VALUES("red"));
    story_say(&story, "a put is offered to it, and after 50 ms to the next, who is there and gets it");
    struct call *put =
        story_wait(&story, story_put(&story, story.homes[3], "green", (struct extras){.deadline_ms = 300}));
    assert_int_equal(put->status, STATUS_OK);
    assert_int_equal(story_count(&story, "coordinate this put"), 1);
    story_say(&story, "silent for a second it is no longer asked");
    story_pass_ms(&story, 1000);
    put = story_wait(&story, story_put(&story, story.homes[3], "blue", (struct extras){0}));
    assert_int_equal(put->status, STATUS_OK);
    story_say(&story, "it goes on, and with it what it was asked");
    world_resume(story.world, story.homes[0]);
    story_pass_ms(&story, 500);
    story_expect(story_wait(&story, story_get(&story, story.homes[4], (struct extras){.quorum = 3})),
                 STATUS_OK, VALUES("red", "green", "blue"));
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_and_get), cmocka_unit_test(one_home_dead), cmocka_unit_test(two_nodes_dead),
        cmocka_unit_test(stale_home),  cmocka_unit_test(silent_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
