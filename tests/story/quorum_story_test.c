/* Stories of quorums: what a put and a get do, and what they do when homes are gone. */
#include "story.h"

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(put_and_get)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
