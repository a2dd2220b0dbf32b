/* Stories of reaping: a key is deleted, all its homes have seen it, the tombstone goes for good; and then, or
 * meanwhile, somebody comes back who still has what was deleted. It stays away. */
#include <stdio.h>
#include <stdlib.h>

#include "actor/shard.h"
#include "story.h"
#include "wire/batch.h"
#include "wire/object_wire.h"

enum { ENOUGH_MS = 20000 };

/* --- looking into stores --- */

struct found {
    struct story *story;
    struct bytes key;
    struct buffer store_key, encoded;
};

static bool find_key(void *context, struct bytes key, struct bytes value)
{
    struct found *found = context;
    struct store_place place;
    struct bytes encoded;
    if (!store_key_decode(key, &place) || !bytes_equal(place.key, found->key)) return true;
    assert_int_equal(object_unseal(key, value, &encoded), STATUS_OK);
    buffer_clear(&found->store_key);
    buffer_clear(&found->encoded);
    buffer_append(&found->store_key, key.data, key.size);
    buffer_append(&found->encoded, encoded.data, encoded.size);
    return false;
}

/* What a node's stores hold of the story's key: nothing has an empty store key. */
static struct found stored(struct story *story, uint32_t node)
{
    struct found found = {.story = story, .key = bytes_str(story->key)};
    for (uint32_t shard = 0; shard < world_shards(story->world, node); shard++)
        assert_int_equal(store_scan(world_store(story->world, node, shard), STORE_OBJECTS, bytes_of(NULL, 0),
                                    bytes_of(NULL, 0), find_key, &found),
                         STATUS_OK);
    return found;
}

static void forget(struct found *found)
{
    buffer_fini(&found->store_key);
    buffer_fini(&found->encoded);
}

static bool holds_any(struct story *story, uint32_t node)
{
    struct found found = stored(story, node);
    bool any = found.store_key.size > 0;
    forget(&found);
    return any;
}

static bool count_row(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

/* Rows of a table in all stores. */
static uint32_t rows(const struct story *story, enum store_table table)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < world_nodes(story->world); node++)
        for (uint32_t shard = 0; shard < world_shards(story->world, node); shard++)
            assert_int_equal(store_scan(world_store(story->world, node, shard), table, bytes_of(NULL, 0),
                                        bytes_of(NULL, 0), count_row, &count),
                             STATUS_OK);
    return count;
}

/* --- what happens --- */

static uint64_t reaped(const struct story *story)
{
    return world_counts(story->world).reaped;
}

static void until_reaped(struct story *story, uint64_t count)
{
    story->terse = true; /* homes that have compare with those that have not yet, again and again */
    for (uint32_t passed_ms = 0; reaped(story) < count; passed_ms += 50) {
        assert_true(passed_ms < ENOUGH_MS);
        story_pass_ms(story, 50);
    }
    story->terse = false;
}

static void put(struct story *story, uint32_t node, const char *value)
{
    struct call *call = story_wait(story, story_put(story, node, value, (struct extras){0}));
    assert_int_equal(call->status, STATUS_OK);
}

/* Delete what a read of @node finds. */
static void delete (struct story *story, uint32_t node)
{
    struct call *get = story_wait(story, story_get(story, node, (struct extras){0}));
    struct call *call = story_wait(story, story_delete(story, node, (struct extras){.after = get}));
    story_expect(call, STATUS_OK, NULL);
}

/* Each home alone tells these values (NULL: none). */
static void expect_at_homes(struct story *story, const char *const *values)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct call *get = story_wait(story, story_get(story, story->homes[i], (struct extras){.quorum = 1}));
        story_expect(get, values != NULL ? STATUS_OK : STATUS_NOT_FOUND, values);
    }
}

/* What @from sent once arrives at @to now: a write, a read repair, or a hint (@kind). */
static void arrives(struct story *story, uint32_t from, uint32_t to, const struct found *found,
                    Dynode__Peer__Message__BodyCase kind)
{
    struct store_place place;
    assert_true(store_key_decode(buffer_bytes(&found->store_key), &place));
    Dynode__Peer__Place at = DYNODE__PEER__PLACE__INIT;
    Dynode__Peer__Merge merge = DYNODE__PEER__MERGE__INIT;
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    at.vnode = place.vnode;
    at.hash = place.hash;
    at.tag = place.tag;
    at.key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)place.key.data, .len = place.key.size};
    merge.place = &at;
    merge.n = 3;
    merge.object = (ProtobufCBinaryData){.data = found->encoded.data, .len = found->encoded.size};
    message.body_case = kind;
    message.merge = &merge;
    message.to_shard = place.vnode;
    struct buffer batch = {0};
    batch_begin(&batch, world_node_id(story->world, from), 0);
    batch_add(&batch, &message);
    world_note(story->world, "n%u -> n%u  %s, late: %s \"red\"", from + 1, to + 1,
               kind == DYNODE__PEER__MESSAGE__BODY_MERGE ? "merge" : "a hint comes home", story->key);
    struct shard *shard = world_shard(story->world, to, place.vnode % world_shards(story->world, to));
    shard_deliver(shard, world_node_id(story->world, from), buffer_bytes(&batch), NULL, NULL);
    buffer_fini(&batch);
    story_pass_ms(story, 300); /* its next turn comes with a heartbeat */
}

/* Put "red", keep what a home has of it, delete it, and wait until all homes have reaped it. */
static struct found doom(struct story *story)
{
    put(story, story->homes[0], "red");
    story_pass_ms(story, 20);
    struct found red = stored(story, story->homes[0]);
    assert_true(red.store_key.size > 0);
    delete (story, story->homes[0]);
    story_pass_ms(story, 20);
    for (uint32_t i = 0; i < 3; i++) assert_true(holds_any(story, story->homes[i]));
    assert_int_equal(rows(story, STORE_REAP), 3);
    story_say(story, "once every home knows that every home has seen it, the tombstone goes");
    until_reaped(story, 3);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(story, story->homes[i]));
    assert_int_equal(rows(story, STORE_REAP), 0);
    expect_at_homes(story, NULL);
    return red;
}

/* --- stories --- */

static void late_frames(void **state)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {DYNODE__PEER__MESSAGE__BODY_MERGE,
                                                            DYNODE__PEER__MESSAGE__BODY_HAND_OFF};
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "late_frames");
    story_key(&story, "apple");
    struct found red = doom(&story);
    story_say(&story, "a frame that was stuck in a link, a read repair and a hint come now");
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t kind = 0; kind < 2; kind++) {
            arrives(&story, story.homes[3], story.homes[i], &red, kinds[kind]);
            assert_false(holds_any(&story, story.homes[i]));
        }
    expect_at_homes(&story, NULL);
    story_say(&story, "the power is cut, and they come again");
    world_cut_power(story.world);
    for (uint32_t node = 0; node < world_nodes(story.world); node++) world_restart(story.world, node);
    story_pass_ms(&story, 100);
    for (uint32_t i = 0; i < 3; i++) arrives(&story, story.homes[3], story.homes[i], &red, kinds[0]);
    expect_at_homes(&story, NULL);
    story_say(&story, "the key is written again, and they come once more");
    put(&story, story.homes[1], "green");
    for (uint32_t i = 0; i < 3; i++) arrives(&story, story.homes[3], story.homes[i], &red, kinds[0]);
    story_pass_ms(&story, 3000);
    expect_at_homes(&story, VALUES("green"));
    forget(&red);
    story_end(&story);
}

/* scylladb#23712, and a slot that turns into a hint: the stand-in is cut off with it, until all is reaped. */
static void partitioned_stand_in(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "partitioned_stand_in");
    story_key(&story, "apple");
    story_say(&story, "one home is dead, and a stand-in keeps a hint for it");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    struct call *call =
        story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.sloppy = true}));
    story_expect(call, STATUS_OK, NULL);
    story_pass_ms(&story, 300);
    assert_int_equal(rows(&story, STORE_HINTS), 1);
    story_say(&story, "it is cut off with that; the dead home returns, and gets the apple from the others");
    for (uint32_t i = 3; i < 5; i++) story_isolate(&story, story.homes[i], true);
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 3000);
    story_say(&story, "it is deleted, and goes for good: all homes have seen that");
    delete (&story, story.homes[0]);
    until_reaped(&story, 3);
    assert_int_equal(rows(&story, STORE_HINTS), 1);
    story_say(&story, "the stand-in is back, and brings its hint home: nobody takes it");
    for (uint32_t i = 3; i < 5; i++) story_isolate(&story, story.homes[i], false);
    story_pass_ms(&story, 4000);
    assert_int_equal(rows(&story, STORE_HINTS), 0); /* it was refused, and has gone */
    expect_at_homes(&story, NULL);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    story_end(&story);
}

/* riak_kv#679: a delete while one home is down; the others must not forget it before that one has heard. */
static void doomstone(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "doomstone");
    story_key(&story, "apple");
    put(&story, story.homes[0], "red");
    story_pass_ms(&story, 3000);
    story_say(&story, "a home dies, and the apple is deleted: the others wait for it, however long");
    world_crash(story.world, story.homes[2]);
    story_pass_ms(&story, 10);
    delete (&story, story.homes[0]);
    story_pass_ms(&story, 8000);
    assert_int_equal(reaped(&story), 0);
    assert_int_equal(rows(&story, STORE_REAP), 2);
    story_say(&story, "it is written again, and the dead home returns with the red one");
    put(&story, story.homes[1], "green");
    world_restart(story.world, story.homes[2]);
    story_pass_ms(&story, 4000);
    expect_at_homes(&story, VALUES("green"));
    story_say(&story, "all three are there when it is deleted again: it goes for good");
    delete (&story, story.homes[1]);
    until_reaped(&story, 3);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    story_end(&story);
}

/* One home has reaped before the others, and the old value arrives everywhere just then. */
static void one_home_first(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "one_home_first");
    story_key(&story, "apple");
    put(&story, story.homes[0], "red");
    story_pass_ms(&story, 20);
    struct found red = stored(&story, story.homes[0]);
    story_say(&story, "a home reaps what was deleted, and at that moment the homes lose one another");
    delete (&story, story.homes[0]);
    while (reaped(&story) == 0) {
        assert_true(world_now(story.world) < UINT64_C(30000) * 1000000);
        world_step(story.world);
    }
    assert_true(reaped(&story) < 3);
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t other = 0; other < 3; other++)
            if (other != i) world_cut(story.world, story.homes[i], story.homes[other]);
    story_say(&story, "the old value arrives at each of them");
    for (uint32_t i = 0; i < 3; i++)
        arrives(&story, story.homes[3], story.homes[i], &red, DYNODE__PEER__MESSAGE__BODY_MERGE);
    expect_at_homes(&story, NULL);
    story_say(&story, "they see one another again, and reap the rest");
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t other = 0; other < 3; other++)
            if (other != i) world_mend(story.world, story.homes[i], story.homes[other]);
    until_reaped(&story, 3);
    story_pass_ms(&story, 3000);
    expect_at_homes(&story, NULL);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    forget(&red);
    story_end(&story);
}

/* --- a disk that comes back from the past --- */

struct row {
    enum store_table table;
    struct buffer key, value;
};

struct snapshot {
    struct row list[4096];
    uint32_t count;
    enum store_table table;
};

static bool keep_row(void *context, struct bytes key, struct bytes value)
{
    struct snapshot *snapshot = context;
    assert_true(snapshot->count < sizeof(snapshot->list) / sizeof(snapshot->list[0]));
    struct row *row = &snapshot->list[snapshot->count++];
    *row = (struct row){.table = snapshot->table};
    buffer_append(&row->key, key.data, key.size);
    buffer_append(&row->value, value.data, value.size);
    return true;
}

static void take(struct snapshot *snapshot, struct store *store)
{
    snapshot->count = 0;
    for (int table = 0; table < STORE_TABLES; table++) {
        snapshot->table = (enum store_table)table;
        assert_int_equal(
            store_scan(store, snapshot->table, bytes_of(NULL, 0), bytes_of(NULL, 0), keep_row, snapshot),
            STATUS_OK);
    }
}

static void forget_rows(struct snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->count; i++) {
        buffer_fini(&snapshot->list[i].key);
        buffer_fini(&snapshot->list[i].value);
    }
    snapshot->count = 0;
}

/* The store is again what it was when the snapshot was taken. */
static void bring_back(struct snapshot *snapshot, struct store *store)
{
    static struct snapshot now;
    take(&now, store);
    for (uint32_t i = 0; i < now.count; i++)
        store_remove(store, now.list[i].table, buffer_bytes(&now.list[i].key));
    for (uint32_t i = 0; i < snapshot->count; i++)
        assert_int_equal(store_put(store, snapshot->list[i].table, buffer_bytes(&snapshot->list[i].key),
                                   buffer_bytes(&snapshot->list[i].value)),
                         STATUS_OK);
    assert_int_equal(store_commit(store), STATUS_OK);
    assert_int_equal(store_sync(store), STATUS_OK);
    forget_rows(&now);
    forget_rows(snapshot);
}

static void restored_snapshot(void **state)
{
    (void)state;
    static struct snapshot snapshots[2];
    struct story story;
    story_begin_with_repair(&story, "restored_snapshot");
    story_key(&story, "apple");
    uint32_t home = story.homes[2];
    put(&story, story.homes[0], "red");
    story_pass_ms(&story, 3000);
    assert_int_equal(world_shards(story.world, home), 2);
    for (uint32_t shard = 0; shard < 2; shard++)
        take(&snapshots[shard], world_store(story.world, home, shard));
    story_say(&story, "somebody copies the disk of a home; then the apple is deleted, and goes for good");
    delete (&story, story.homes[0]);
    until_reaped(&story, 3);
    story_say(&story, "it is written again, and the copy takes the place of the disk");
    put(&story, story.homes[0], "green");
    story_pass_ms(&story, 100);
    world_crash(story.world, home);
    for (uint32_t shard = 0; shard < 2; shard++)
        bring_back(&snapshots[shard], world_store(story.world, home, shard));
    assert_true(holds_any(&story, home));
    world_restart(story.world, home);
    story_pass_ms(&story, 5000);
    expect_at_homes(&story, VALUES("green")); /* nothing is lost, and nothing has come back */
    story_say(&story, "what is deleted at that home goes for good too");
    delete (&story, home);
    until_reaped(&story, 6);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    story_end(&story);
}

/* riak_kv#1643: a coordinator has lost its disk, and mints for the same key again; what it once had told of
 * itself others still believe. */
static void coordinator_amnesia(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "coordinator_amnesia");
    story_key(&story, "apple");
    struct found red = doom(&story);
    uint32_t home = story.homes[0];
    story_say(&story, "a home loses its disk; the old value arrives there, and it mints for the key again");
    world_crash(story.world, home);
    world_wipe(story.world, home);
    world_restart(story.world, home);
    story_pass_ms(&story, 20);
    arrives(&story, story.homes[3], home, &red, DYNODE__PEER__MESSAGE__BODY_MERGE);
    put(&story, home, "green");
    story_pass_ms(&story, 6000);
    story_say(&story, "once the others have told it what was reaped, it is as if the old one had never come");
    expect_at_homes(&story, VALUES("green"));
    arrives(&story, story.homes[3], home, &red, DYNODE__PEER__MESSAGE__BODY_MERGE);
    expect_at_homes(&story, VALUES("green"));
    story_say(&story, "and what is deleted now goes for good");
    delete (&story, story.homes[1]);
    until_reaped(&story, 6);
    forget(&red);
    story_end(&story);
}

/* A home whose disk is full can't take the key out of its queue, nor the value that is written. */
static void full_disk(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "full_disk");
    story_key(&story, "apple");
    put(&story, story.homes[0], "red");
    story_pass_ms(&story, 20);
    delete (&story, story.homes[0]);
    story_pass_ms(&story, 20);
    assert_int_equal(rows(&story, STORE_REAP), 3);
    story_say(&story, "the disk of a home that waits to reap is full, and the key is written again");
    world_fill_disks(story.world, story.homes[2], true);
    put(&story, story.homes[0], "green");
    story_pass_ms(&story, 20);
    assert_int_equal(rows(&story, STORE_REAP), 1);
    story_say(&story, "it has room, and takes the new value: nothing of that key is to be reaped any more");
    world_fill_disks(story.world, story.homes[2], false);
    story_pass_ms(&story, 4000);
    assert_int_equal(rows(&story, STORE_REAP), 0);
    expect_at_homes(&story, VALUES("green"));
    story_say(&story, "until it is deleted again");
    delete (&story, story.homes[0]);
    until_reaped(&story, 3);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    story_end(&story);
}

/* Values whose time is up go the same way, and not before. */
static void expired(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "expired");
    story_key(&story, "apple");
    struct call *call =
        story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.ttl_ms = 6000}));
    story_expect(call, STATUS_OK, NULL);
    story_pass_ms(&story, 4000);
    assert_int_equal(rows(&story, STORE_REAP), 3);
    expect_at_homes(&story, VALUES("red"));
    story_say(&story, "its time is up: nobody reads it, and some time later it goes for good");
    story_pass_ms(&story, 50000);
    expect_at_homes(&story, NULL);
    assert_int_equal(reaped(&story), 0); /* some clock may be late */
    until_reaped(&story, 3);
    expect_at_homes(&story, NULL);
    assert_int_equal(rows(&story, STORE_REAP), 0);
    story_say(&story, "a value that does not expire takes the place of one that does");
    call = story_wait(&story, story_put(&story, story.homes[0], "green", (struct extras){.ttl_ms = 60000}));
    story_expect(call, STATUS_OK, NULL);
    story_pass_ms(&story, 20);
    assert_int_equal(rows(&story, STORE_REAP), 3);
    call = story_wait(&story, story_get(&story, story.homes[0], (struct extras){0}));
    call = story_wait(&story, story_put(&story, story.homes[0], "blue", (struct extras){.after = call}));
    story_pass_ms(&story, 20);
    assert_int_equal(rows(&story, STORE_REAP), 0);
    story_end(&story);
}

/* No store has a row of the queue any more, as if all had been written before there was one. */
static void forget_queue(struct story *story)
{
    static struct snapshot now;
    world_cut_power(story->world);
    for (uint32_t node = 0; node < world_nodes(story->world); node++)
        for (uint32_t shard = 0; shard < world_shards(story->world, node); shard++) {
            struct store *store = world_store(story->world, node, shard);
            take(&now, store);
            for (uint32_t i = 0; i < now.count; i++)
                if (now.list[i].table == STORE_REAP)
                    store_remove(store, STORE_REAP, buffer_bytes(&now.list[i].key));
            assert_int_equal(store_commit(store), STATUS_OK);
            assert_int_equal(store_sync(store), STATUS_OK);
            forget_rows(&now);
        }
    assert_int_equal(rows(story, STORE_REAP), 0);
    for (uint32_t node = 0; node < world_nodes(story->world); node++) world_restart(story->world, node);
}

static void from_before_the_queue(void **state)
{
    (void)state;
    struct story story;
    story_begin_with_repair(&story, "from_before_the_queue");
    story_key(&story, "apple");
    put(&story, story.homes[0], "red");
    story_pass_ms(&story, 20);
    delete (&story, story.homes[0]);
    story_pass_ms(&story, 20);
    forget_queue(&story);
    until_reaped(&story, 3);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    struct call *call =
        story_wait(&story, story_put(&story, story.homes[0], "red", (struct extras){.ttl_ms = 6000}));
    story_expect(call, STATUS_OK, NULL);
    story_pass_ms(&story, 20);
    forget_queue(&story);
    story_pass_ms(&story, 3000);
    assert_int_equal(rows(&story, STORE_REAP), 3);
    expect_at_homes(&story, VALUES("red"));
    story_pass_ms(&story, 60000);
    until_reaped(&story, 6);
    for (uint32_t i = 0; i < 3; i++) assert_false(holds_any(&story, story.homes[i]));
    story_discard(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_frames),
        cmocka_unit_test(partitioned_stand_in),
        cmocka_unit_test(doomstone),
        cmocka_unit_test(one_home_first),
        cmocka_unit_test(restored_snapshot),
        cmocka_unit_test(coordinator_amnesia),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(expired),
        cmocka_unit_test(from_before_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
