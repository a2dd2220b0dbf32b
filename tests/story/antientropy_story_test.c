/* Homes become equal by themselves: nobody reads here but to see that it is so. */
#include "story.h"

#include "base/hash.h"
#include "wire/object_wire.h"

/* What the store of one node holds of the story's key; STATUS_CORRUPT if it can't be read. */
static enum status stored(struct story *story, uint32_t node, struct arena *arena, struct bytes *encoded)
{
    const struct turn *turn = shard_turn_context(world_shard(story->world, story->homes[0], 0));
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(story->table));
    struct store_place place = {.tag = table->tag, .key = bytes_str(story->key)};
    struct bytes value;
    place.hash = hash64(place.key, place.tag);
    place.vnode = ring_vnode(turn->ring, place.hash);
    struct bytes key = store_key_encode(&place, arena);
    struct store *store = world_store(story->world, node, place.vnode % world_shards(story->world, node));
    enum status status = store_get(store, STORE_OBJECTS, key, arena, &value);
    return status == STATUS_OK ? object_unseal(key, value, encoded) : status;
}

static void assert_equal_homes(struct story *story)
{
    struct arena arena;
    struct bytes first, other;
    arena_init(&arena, 0);
    assert_int_equal(stored(story, story->homes[0], &arena, &first), STATUS_OK);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(stored(story, story->homes[i], &arena, &other), STATUS_OK);
        assert_true(bytes_equal(first, other));
    }
    arena_fini(&arena);
}

/* Two homes differ after a cut, each having what the other has not, and a third has neither. */
static void after_a_cut(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "after_a_cut");
    story_key(&story, "apple");
    story_say(&story, "cut off from one another, two homes take a put each, with w=1");
    for (uint32_t i = 0; i < 3; i++) story_isolate(&story, story.homes[i], true);
    story_pass_ms(&story, 10);
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.quorum = 1}));
    story_wait(&story, story_put(&story, story.homes[1], "green", (struct extras){.quorum = 1}));
    story_say(&story, "mended, they become equal within two passes");
    for (uint32_t i = 0; i < 3; i++) story_isolate(&story, story.homes[i], false);
    story_pass_ms(&story, 2500);
    assert_equal_homes(&story);
    for (uint32_t i = 0; i < 3; i++)
        story_expect(story_wait(&story, story_get(&story, story.homes[i], (struct extras){.quorum = 1})),
                     STATUS_OK, VALUES("red", "green"));
    story_end(&story);
}

/* A home sleeps through a delete and returns: its trees are built anew from what it has. */
static void after_a_crash(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "after_a_crash");
    story_key(&story, "apple");
    story_without_stand_ins(&story);
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 1500);
    story_say(&story, "one home is dead when the apple is deleted; it returns, and nobody reads");
    story_wait(&story, story_delete(&story, story.homes[0], (struct extras){.after = put}));
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 600); /* before the tombstone goes for good */
    assert_equal_homes(&story);
    story_end(&story);
}

/* A bit turns on a disk. No reader ever comes by; the audit does. */
static void a_turned_bit(void **state)
{
    (void)state;
    struct story story;
    struct arena arena;
    struct bytes encoded;
    story_begin_with_repair(&story, "a_turned_bit");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 100);
    arena_init(&arena, 0);
    story_say(&story, "a bit turns in one copy; the audit finds it, and both other homes are asked");
    for (uint32_t shard = 0; shard < world_shards(story.world, story.homes[1]); shard++)
        world_rot(story.world, story.homes[1], shard);
    assert_int_equal(stored(&story, story.homes[1], &arena, &encoded), STATUS_CORRUPT);
    story_pass_ms(&story, 6000);
    assert_equal_homes(&story);
    story_say(&story, "with one of them dead nobody can tell what that copy held: it waits");
    world_crash(story.world, story.homes[2]);
    for (uint32_t shard = 0; shard < world_shards(story.world, story.homes[1]); shard++)
        world_rot(story.world, story.homes[1], shard);
    story_pass_ms(&story, 8000);
    assert_int_equal(stored(&story, story.homes[1], &arena, &encoded), STATUS_CORRUPT);
    story_say(&story, "until it is back");
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 8000);
    assert_equal_homes(&story);
    arena_fini(&arena);
    story_discard(&story); /* how often it is asked meanwhile is not the story */
}

/* A disk is wiped: its node stores and acknowledges, but nobody goes by what it reads before both other homes
 * have told it what they hold. */
static void a_wiped_home(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "a_wiped_home");
    story_key(&story, "apple");
    story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){0}));
    story_pass_ms(&story, 10);
    story_say(&story,
              "one home's disks are wiped while another is dead: it counts for no read, and none can be had");
    world_crash(story.world, story.homes[2]);
    world_crash(story.world, story.homes[1]);
    world_wipe(story.world, story.homes[1]);
    story_pass_ms(&story, 1000);
    world_restart(story.world, story.homes[1]);
    story_pass_ms(&story, 3000);
    assert_false(world_is_filled(story.world, story.homes[1], 3));
    struct call *get = story_wait(&story, story_get(&story, story.homes[0], (struct extras){0}));
    assert_int_equal(get->status, STATUS_UNAVAILABLE);
    story_say(&story, "but it takes part in a write");
    struct call *put = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){0}));
    assert_int_equal(put->status, STATUS_OK);
    story_say(&story, "the dead home is back, and tells what it has: from then on it counts");
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 4000);
    assert_true(world_is_filled(story.world, story.homes[1], 3));
    assert_equal_homes(&story);
    story_say(&story, "alone with the first it makes a quorum");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 1500);
    story_expect(story_wait(&story, story_get(&story, story.homes[1], (struct extras){0})), STATUS_OK,
                 VALUES("red", "green"));
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_cut),
        cmocka_unit_test(after_a_crash),
        cmocka_unit_test(a_turned_bit),
        cmocka_unit_test(a_wiped_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
