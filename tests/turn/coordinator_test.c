/* The coordinator on the bench: quorums met and missed, hedges, repairs, damaged copies, strangers' answers.
 */
#include "actors/repeats.h"
#include "one_shard.h"

static void ask_get(struct one_shard *one, const char *key, uint32_t r)
{
    Dynode__Client__Operation *operation = one_shard_get(one, "t", key, r);
    one_shard_ask(one, 1, 1, 1000, &operation, 1);
}

static void ask_put(struct one_shard *one, const char *key, const char *value)
{
    Dynode__Client__Operation *operation = one_shard_put(one, "t", key, bytes_str(value), (struct bytes){0});
    one_shard_ask(one, 1, 1, 1000, &operation, 1);
}

static void answer_read(struct one_shard *one, uint64_t from, uint64_t request, enum status status,
                        struct bytes object, bool digest_only)
{
    Dynode__Peer__ReadAnswer answer = DYNODE__PEER__READ_ANSWER__INIT;
    answer.status = status;
    if (status == STATUS_OK) {
        answer.digest = object_digest(object);
        if (!digest_only) answer.object = to_pb(object);
    }
    one_shard_receive(one, from, request, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, &answer);
}

static void answer_merge(struct one_shard *one, uint64_t from, uint64_t request, enum status status)
{
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    merged.status = status;
    one_shard_receive(one, from, request, DYNODE__PEER__MESSAGE__BODY_MERGED, &merged);
}

static const Dynode__Peer__Message *read_of(const struct one_shard *one, uint64_t node)
{
    return one_shard_find(one, node, DYNODE__PEER__MESSAGE__BODY_READ, 0);
}

/* The homes after A, in the order in which A asks them. */
static void others_of(struct one_shard *one, const char *key, uint64_t others[2])
{
    const uint64_t *list =
        ring_preference_list(shard_turn_context(one->shard)->ring, one_shard_place(one, "t", key)->vnode);
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (list[i] != NODE_A) others[count++] = list[i];
}

static void votes(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    ask_put(&one, "k", "x");
    const Dynode__Peer__Message *merge = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
    assert_non_null(merge);
    assert_non_null(one_shard_find(&one, NODE_C, DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    /* One home's vote counts once, however often it comes; a stranger's, or one to another question, never.
     */
    answer_merge(&one, NODE_B, merge->request, STATUS_OK);
    answer_merge(&one, NODE_B, merge->request, STATUS_OK);
    answer_merge(&one, 0xdead, merge->request, STATUS_OK);
    answer_merge(&one, NODE_C, merge->request + (1ULL << 32), STATUS_OK);
    answer_merge(&one, NODE_C, merge->request + 1, STATUS_OK);
    assert_int_equal(one.answer_count, 0);
    one_shard_sync(&one); /* the own vote is the second */
    const Dynode__Client__Result *result = one_shard_result(&one);
    assert_int_equal(result->status, STATUS_OK);
    assert_int_equal(result->n_replicas, 2);
    /* The third comes late and finds nobody. */
    answer_merge(&one, NODE_C, merge->request, STATUS_OK);
    assert_int_equal(one.answer_count, 1);
    one_shard_end(&one);
}

static void too_many_refusals(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    ask_put(&one, "k", "x");
    uint64_t request = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0)->request;
    answer_merge(&one, NODE_B, request, STATUS_NO_SPACE);
    assert_int_equal(one.answer_count, 0);
    answer_merge(&one, NODE_C, request, STATUS_NOT_HOME);
    const Dynode__Client__Result *result = one_shard_result(&one);
    assert_int_equal(result->status, STATUS_UNAVAILABLE);
    assert_int_equal(result->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    assert_int_equal(result->needed, 2);
    one_shard_end(&one);
}

static void silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    ask_put(&one, "k", "x");
    one_shard_sync(&one);
    one_shard_pass_ms(&one, 900);
    assert_int_equal(one.answer_count, 0);
    one_shard_pass_ms(&one, 100);
    const Dynode__Client__Result *result = one_shard_result(&one);
    assert_int_equal(result->status, STATUS_TIMEOUT);
    assert_int_equal(result->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    assert_int_equal(result->got, 1);
    one_shard_end(&one);
}

static uint32_t siblings_of(struct one_shard *one, const char *key)
{
    struct object object;
    assert_int_equal(one_shard_stored(one, "t", key, &object), STATUS_OK);
    return object.count;
}

/* A write that a link brings twice is minted once (riak_kv#1046). */
static void repeated_write(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
    message.operation = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
    message.deadline_ms = 1000;
    const Dynode__Peer__Message__BodyCase kind = DYNODE__PEER__MESSAGE__BODY_COORDINATE;
    one_shard_receive(&one, NODE_B, 7, kind, &message);
    one_shard_receive(&one, NODE_B, 7, kind, &message);
    one_shard_sync(&one);
    one_shard_receive(&one, NODE_B, 7, kind, &message); /* also when it has been committed */
    one_shard_sync(&one);
    assert_int_equal(siblings_of(&one, "k"), 1);
    one_shard_receive(&one, NODE_B, 8, kind, &message); /* another write */
    one_shard_receive(&one, NODE_C, 7, kind, &message); /* another node's */
    one_shard_sync(&one);
    assert_int_equal(siblings_of(&one, "k"), 3);
    one_shard_end(&one);
}

static void repeats_are_bounded(void **state)
{
    (void)state;
    struct repeats repeats = {0};
    struct address from = {.node = NODE_B, .shard = 1};
    for (uint64_t request = 0; request < 3 * REPEATS_MAX; request++) {
        assert_true(repeats_note(&repeats, from, request));
        assert_false(repeats_note(&repeats, from, request - request % 2));
        if (request >= REPEATS_MAX) continue;
        assert_false(repeats_note(&repeats, from, 0));
    }
    assert_int_equal(repeats.seen.count, REPEATS_MAX);
    assert_true(repeats_note(&repeats, from, 0)); /* long ago: forgotten */
    repeats_fini(&repeats);
}

/* Ids of another life: a vote for a write before a restart must not count for one after it. */
static void ids_begin_at_random(void **state)
{
    (void)state;
    uint64_t requests[2];
    for (uint64_t life = 0; life < 2; life++) {
        struct one_shard one;
        one_shard_begin(&one, (struct one_shard_options){.seed = life});
        ask_put(&one, "k", "x");
        requests[life] = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0)->request;
        one_shard_end(&one);
    }
    assert_true(requests[0] != requests[1]);
    assert_true(requests[0] >> 63 == 0);
}

/* A large object travels once; the others send its digest, and the object only if that differs. */
static void digests(void **state)
{
    (void)state;
    struct one_shard one;
    static uint8_t large[3000];
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes a = one_shard_object(&one, 1, 1, bytes_of(large, sizeof(large)));
    struct bytes b = one_shard_object(&one, 2, 1, bytes_of(large, 2000));
    others_of(&one, "k", others);
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_MERGE, one_shard_merge(&one, "t", "k", a));

    ask_get(&one, "k", 0); /* the digest agrees */
    assert_true(read_of(&one, others[0])->read->digest);
    assert_null(read_of(&one, others[1]));
    answer_read(&one, others[0], read_of(&one, others[0])->request, STATUS_OK, a, true);
    assert_int_equal(one_shard_result(&one)->n_siblings, 1);
    assert_null(one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));

    one_shard_forget(&one); /* it differs: the object is asked for, merged, and repaired at both */
    ask_get(&one, "k", 0);
    uint64_t request = read_of(&one, others[0])->request;
    answer_read(&one, others[0], request, STATUS_OK, b, true);
    assert_int_equal(one.answer_count, 0);
    const Dynode__Peer__Message *again = one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_READ, 1);
    assert_non_null(again);
    assert_false(again->read->digest);
    answer_read(&one, others[0], request, STATUS_OK, b, false);
    assert_int_equal(one_shard_result(&one)->n_siblings, 2);
    assert_non_null(one_shard_find(&one, others[0], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    struct object stored;
    assert_int_equal(one_shard_stored(&one, "t", "k", &stored), STATUS_OK);
    assert_int_equal(stored.count, 2);
    one_shard_end(&one);
}

/* World seed 10: the hedge came while the differing object was under way, and gave its home up. */
static void hedge_gives_nobody_up(void **state)
{
    (void)state;
    struct one_shard one;
    static uint8_t large[3000];
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_of(large, sizeof(large)));
    others_of(&one, "k", others);
    ask_get(&one, "k", 0);
    uint64_t request = read_of(&one, others[0])->request;
    one_shard_pass_ms(&one, 49);
    assert_null(read_of(&one, others[1]));
    answer_read(&one, others[0], request, STATUS_OK, object, true);
    one_shard_pass_ms(&one, 2);
    assert_non_null(read_of(&one, others[1])); /* one more is asked */
    answer_read(&one, others[1], request, STATUS_CORRUPT, (struct bytes){0}, false);
    assert_int_equal(one.answer_count, 0);
    one_shard_pass_ms(&one, 200);
    answer_read(&one, others[0], request, STATUS_OK, object, false);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_end(&one);
}

/* A copy that is unreadable, not filled, or not a home's: the others serve the read; the damaged one is
 * mended. */
static void damaged_copies(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("x"));
    others_of(&one, "k", others);
    one_shard_damage(&one, "t", "k");
    ask_get(&one, "k", 0);
    uint64_t request = read_of(&one, others[0])->request;
    assert_non_null(read_of(&one, others[1]));
    answer_read(&one, others[0], request, STATUS_OK, object, false);
    answer_read(&one, others[1], request, STATUS_OK, object, false);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    struct object stored;
    assert_int_equal(one_shard_stored(&one, "t", "k", &stored), STATUS_OK);
    assert_int_equal(stored.count, 1);
    /* A second unreadable copy: too few are left, and that is known at once. */
    one_shard_forget(&one);
    one_shard_damage(&one, "t", "k");
    ask_get(&one, "k", 0);
    request = read_of(&one, others[0])->request;
    answer_read(&one, others[0], request, STATUS_NOT_FILLED, (struct bytes){0}, false);
    assert_int_equal(one_shard_result(&one)->status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(one_shard_result(&one)->message, "can be reached, but the store of one is new"));
    assert_non_null(strstr(one_shard_result(&one)->message, "dynode status")); /* says who is waited for */
    one_shard_end(&one);
}

/* A put on a damaged copy: what it held is fetched from the others before anything is minted. */
static void put_on_a_damaged_copy(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("old"));
    others_of(&one, "k", others);
    one_shard_damage(&one, "t", "k");
    ask_put(&one, "k", "new");
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    uint64_t request = read_of(&one, others[0])->request;
    answer_read(&one, others[0], request, STATUS_OK, object, false);
    answer_read(&one, others[1], request, STATUS_OK, object, false);
    const Dynode__Peer__Message *merge = one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
    assert_non_null(merge);
    struct object merged;
    assert_int_equal(
        object_decode(bytes_of(merge->merge->object.data, merge->merge->object.len), &one.arena, &merged),
        STATUS_OK);
    assert_int_equal(merged.count, 2);
    answer_merge(&one, NODE_B, merge->request, STATUS_OK);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_end(&one);
}

/* A precondition is tested on what a majority holds, and a copy that is damaged or not filled is none of it.
 */
static void precondition_without_our_copy(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        struct one_shard one;
        uint64_t others[2];
        one_shard_begin(&one, (struct one_shard_options){.unfilled = !damaged});
        struct bytes object = one_shard_object(&one, 1, 1, bytes_str("old"));
        others_of(&one, "k", others);
        if (damaged) one_shard_damage(&one, "t", "k");
        Dynode__Client__Operation *operation =
            one_shard_put(&one, "t", "k", bytes_str("new"), (struct bytes){0});
        operation->put->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
        one_shard_ask(&one, 1, 1, 1000, &operation, 1);
        uint64_t request = read_of(&one, others[0])->request;
        answer_read(&one, others[0], request, STATUS_NOT_FOUND, (struct bytes){0}, false);
        assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
        answer_read(&one, others[1], request, STATUS_OK, object, false);
        assert_int_equal(one_shard_result(&one)->status, STATUS_CONFLICT);
        assert_int_equal(one_shard_result(&one)->n_siblings, 1);
        one_shard_end(&one);
    }
}

/* A delete without context covers what its coordinator holds: one that has lost its data asks first. */
static void delete_on_an_unfilled_copy(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){.unfilled = true});
    struct bytes object = one_shard_object(&one, 1, 1, bytes_str("old"));
    others_of(&one, "k", others);
    Dynode__Client__Operation *operation = one_shard_delete(&one, "t", "k");
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    uint64_t request = read_of(&one, others[0])->request;
    answer_read(&one, others[0], request, STATUS_OK, object, false);
    answer_read(&one, others[1], request, STATUS_NOT_FOUND, (struct bytes){0}, false);
    struct object stored;
    assert_int_equal(one_shard_stored(&one, "t", "k", &stored), STATUS_OK);
    assert_int_equal(stored.count, 1);
    assert_true(stored.siblings[0].tombstone);
    answer_merge(&one, others[0], request, STATUS_OK);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_end(&one);
}

/* With N=1 nobody else holds anything: what has lost its data takes writes and deletes all the same. */
static void unfilled_and_alone(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){.unfilled = true});
    Dynode__Client__Operation *operation = one_shard_delete(&one, "solo", "k");
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_end(&one);
}

/* How many must have it: a named level, a number, the table's; of as many homes as the request uses. */
static void levels(void **state)
{
    (void)state;
    static const struct {
        Dynode__Client__Level level;
        uint32_t number, n, needed;
    } rows[] = {
        {DYNODE__CLIENT__LEVEL__TABLE, 0, 0, 2},  {DYNODE__CLIENT__LEVEL__TABLE, 3, 0, 3},
        {DYNODE__CLIENT__LEVEL__QUORUM, 0, 0, 2}, {DYNODE__CLIENT__LEVEL__ALL, 0, 0, 3},
        {DYNODE__CLIENT__LEVEL__QUORUM, 0, 2, 2}, {DYNODE__CLIENT__LEVEL__ALL, 0, 2, 2},
        {DYNODE__CLIENT__LEVEL__TABLE, 3, 2, 0}, /* 0: INVALID */
        {DYNODE__CLIENT__LEVEL__TABLE, 0, 4, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct one_shard one;
        one_shard_begin(&one, (struct one_shard_options){0});
        Dynode__Client__Operation *put = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
        Dynode__Client__Operation *get = one_shard_get(&one, "t", "other", rows[i].number);
        put->put->level = get->get->level = rows[i].level;
        put->put->w = rows[i].number;
        put->put->n = get->get->n = rows[i].n;
        one_shard_ask(&one, 1, 1, 900, (Dynode__Client__Operation *[]){put, get}, 2);
        one_shard_pass_ms(&one, 900); /* nobody else answers */
        uint32_t results = 0;
        for (uint32_t a = 0; a < one.answer_count; a++)
            for (size_t r = 0; r < one.answers[a].response->n_results; r++, results++) {
                const Dynode__Client__Result *result = one.answers[a].response->results[r];
                assert_int_equal((int)result->status, rows[i].needed == 0 ? STATUS_INVALID : STATUS_TIMEOUT);
                assert_int_equal(result->needed, rows[i].needed);
            }
        assert_int_equal(results, 2);
        one_shard_end(&one);
    }
}

/* ONE waits for one disk, this home's, where W of the table is 2; the others get it all the same. */
static void level_one(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    uint64_t others[2];
    others_of(&one, "k", others);
    Dynode__Client__Operation *put = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
    put->put->level = DYNODE__CLIENT__LEVEL__ONE;
    one_shard_ask(&one, 1, 1, 900, &put, 1);
    assert_int_equal(one.answer_count, 0); /* it is in memory only */
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    assert_int_equal(one_shard_result(&one)->n_replicas, 1);
    for (size_t i = 0; i < 2; i++)
        assert_non_null(one_shard_find(&one, others[i], DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    one_shard_end(&one);
}

/* A context that is full: the client is told what is wrong, and that nothing was written. */
static void full_context(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    struct object object = {
        .context = {.entries = ARENA_ARRAY(&one.arena, struct dot, VV_ENTRIES_MAX), .count = VV_ENTRIES_MAX}};
    for (uint32_t i = 0; i < VV_ENTRIES_MAX; i++)
        object.context.entries[i] = (struct dot){.clock = i + 1, .counter = 1};
    one_shard_receive(&one, NODE_B, 0, DYNODE__PEER__MESSAGE__BODY_MERGE,
                      one_shard_merge(&one, "t", "k", object_encode(&object, &one.arena)));
    ask_put(&one, "k", "x");
    assert_int_equal(one_shard_result(&one)->status, STATUS_TOO_LARGE);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    assert_null(one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_MERGE, 0));
    one_shard_end(&one);
}

static void precondition_takes_all_homes(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    for (uint32_t n = 1; n <= 3; n++) {
        Dynode__Client__Operation *operation = one_shard_delete(&one, "t", "k");
        operation->delete_->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
        operation->delete_->n = n;
        uint64_t others[2];
        others_of(&one, "k", others);
        Dynode__Peer__Coordinate message = DYNODE__PEER__COORDINATE__INIT;
        message.operation = operation;
        message.deadline_ms = 1000;
        one_shard_forget(&one);
        one_shard_receive(&one, NODE_B, n, DYNODE__PEER__MESSAGE__BODY_COORDINATE, &message);
        const Dynode__Peer__Message *answer =
            one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
        if (n == 3) {
            assert_null(answer);
            assert_non_null(read_of(&one, others[0]));
        } else {
            assert_int_equal(answer->coordinated->result->status, STATUS_INVALID);
        }
    }
    one_shard_end(&one);
}

/* A peer that claims to have minted is no reason to end. */
static void minted_by_a_peer(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *operation = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
    operation->put->precondition = DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
    one_shard_ask(&one, 1, 1, 1000, &operation, 1);
    uint64_t others[2];
    others_of(&one, "k", others);
    const Dynode__Peer__Message *read = read_of(&one, others[0]);
    assert_non_null(read);
    Dynode__Peer__Minted minted = DYNODE__PEER__MINTED__INIT;
    for (uint32_t status = 0; status < 80; status++) {
        minted.status = status;
        minted.object = to_pb(bytes_str("no object"));
        one_shard_receive(&one, NODE_B, read->request, DYNODE__PEER__MESSAGE__BODY_MINTED, &minted);
    }
    assert_int_equal(one.answer_count, 0);
    assert_true(shard_counters(one.shard)->invalid >= 80);
    answer_read(&one, others[0], read->request, STATUS_NOT_FOUND, (struct bytes){0}, false);
    answer_merge(&one, NODE_B, read->request, STATUS_OK);
    one_shard_sync(&one);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OK);
    one_shard_end(&one);
}

/* A get for the context alone: the same answer without its siblings, of whatever quorum and after whatever
 * repair; and the context is as good as that of a whole get. */
static void context_only(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    others_of(&one, "k", others);
    Dynode__Client__Operation *get = one_shard_get(&one, "t", "k", 2);
    struct bytes contexts[2];
    for (uint32_t i = 0; i < 2; i++) {
        get->get->context_only = i == 0;
        one_shard_ask(&one, 1, 1 + i, 1000, &get, 1);
        const Dynode__Peer__Message *read = read_of(&one, others[0]);
        assert_non_null(read);
        answer_read(&one, others[0], read->request, STATUS_OK,
                    one_shard_object(&one, 7, 1, bytes_str("a value")), false);
        const Dynode__Client__Result *result = one_shard_result(&one);
        assert_int_equal(result->status, STATUS_OK); /* not NOT_FOUND: a value is there */
        assert_int_equal(result->n_siblings, i == 0 ? 0 : 1);
        assert_int_equal(result->n_replicas, 2);
        assert_false(result->more);
        contexts[i] = bytes_of(result->context.data, result->context.len);
        one_shard_forget(&one);
    }
    assert_true(contexts[0].size > 0);
    assert_true(bytes_equal(contexts[0], contexts[1]));
    assert_int_equal(shard_counters(one.shard)->repairs, 1); /* of our own copy, by the first */

    /* What it hands out supersedes what it did not show. */
    Dynode__Client__Operation *put = one_shard_put(&one, "t", "k", bytes_str("new"), contexts[0]);
    assert_int_equal(one_shard_write(&one, put)->status, STATUS_OK);
    struct object object;
    assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_OK);
    assert_int_equal(object.count, 1);

    /* Absence has a context too once something was there; and nothing at all has none. */
    one_shard_forget(&one);
    Dynode__Client__Operation *gone = one_shard_delete(&one, "t", "k");
    gone->delete_->w = 1;
    one_shard_ask(&one, 1, 4, 1000, &gone, 1);
    one_shard_sync(&one);
    one_shard_forget(&one);
    get->get->context_only = true;
    get->get->r = 1;
    one_shard_ask(&one, 1, 5, 1000, &get, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);
    assert_true(one_shard_result(&one)->context.len > 0);
    one_shard_forget(&one);
    get->get->key = to_pb(bytes_str("never"));
    one_shard_ask(&one, 1, 6, 1000, &get, 1);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);
    assert_int_equal(one_shard_result(&one)->context.len, 0);

    /* The next that uses the slot shows values again. */
    one_shard_forget(&one);
    get->get->context_only = false;
    get->get->key = put->put->key;
    put->put->context = (ProtobufCBinaryData){0};
    one_shard_write(&one, put);
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 8, 1000, &get, 1);
    assert_int_equal(one_shard_result(&one)->n_siblings, 1);
    one_shard_end(&one);
}

static void unreachable_is_known_at_once(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Client__Operation *put = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
    put->put->quorum = DYNODE__CLIENT__QUORUM__STRICT;
    one_shard_ask(&one, 1, 1, 1000, &put, 1); /* under way when the links go */
    ask_get(&one, "other", 0);
    shard_link_changed(one.shard, NODE_B, false);
    one_shard_turn(&one);
    assert_int_equal(one.answer_count, 0);
    shard_link_changed(one.shard, NODE_C, false);
    one_shard_turn(&one);
    assert_int_equal(one.answer_count, 2);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(one.answers[i].response->results[0]->status, STATUS_UNAVAILABLE);
    one_shard_forget(&one);
    one_shard_ask(&one, 1, 1, 1000, &put, 1); /* and new ones are not even begun */
    assert_int_equal(one_shard_result(&one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    one_shard_end(&one);
}

/* A get does not end with the home that it was sent to: the next is asked in the turn in which the link is
 * lost, once, and what the lost one may still say is not waited for. */
static void get_goes_to_the_next_home(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    others_of(&one, "k", others);
    ask_get(&one, "k", 0);
    assert_non_null(read_of(&one, others[0]));
    assert_null(read_of(&one, others[1]));
    one_shard_forget(&one);
    shard_link_changed(one.shard, others[0], false);
    one_shard_turn(&one);
    const Dynode__Peer__Message *read = read_of(&one, others[1]);
    assert_non_null(read);
    assert_int_equal(one.sent_count, 1);
    assert_int_equal(one.answer_count, 0);
    answer_read(&one, others[1], read->request, STATUS_NOT_FOUND, (struct bytes){0}, false);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);
    assert_int_equal(one.answer_count, 1);
    one_shard_end(&one);
}

/* What would be dropped at the bound of a queue is no silence: it is known before anything is begun. */
static void queues_at_their_bound(void **state)
{
    (void)state;
    struct one_shard one;
    uint64_t others[2];
    one_shard_begin(&one, (struct one_shard_options){0});
    others_of(&one, "k", others);
    one_shard_clog(&one, others[0], 0, true);
    ask_get(&one, "k", 0); /* the other is asked at once, without a hedge */
    const Dynode__Peer__Message *read = read_of(&one, others[1]);
    assert_non_null(read);
    answer_read(&one, others[1], read->request, STATUS_NOT_FOUND, (struct bytes){0}, false);
    assert_int_equal(one_shard_result(&one)->status, STATUS_NOT_FOUND);
    one_shard_forget(&one);
    ask_put(&one, "k", "x");
    const Dynode__Peer__Message *merge =
        one_shard_find(&one, others[1], DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
    assert_non_null(merge);
    answer_merge(&one, others[1], merge->request, STATUS_NO_SPACE); /* nobody is left to make the quorum */
    assert_int_equal(one_shard_result(&one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    one_shard_sync(&one);
    one_shard_forget(&one);
    one_shard_clog(&one, others[1], 0, true);
    ask_put(&one, "fresh", "y");
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->applied, DYNODE__CLIENT__APPLIED__NO);
    struct object object;
    assert_int_equal(one_shard_stored(&one, "t", "fresh", &object), STATUS_NOT_FOUND);
    one_shard_forget(&one);
    ask_get(&one, "k", 0);
    assert_int_equal(one_shard_result(&one)->status, STATUS_OVERLOADED);
    assert_int_equal(one_shard_result(&one)->got, 1); /* itself */
    assert_int_equal(one_shard_result(&one)->needed, 2);
    assert_int_equal(shard_counters(one.shard)->dropped, 0);
    one_shard_clog(&one, others[0], 0, false);
    one_shard_clog(&one, others[1], 0, false);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes),
        cmocka_unit_test(too_many_refusals),
        cmocka_unit_test(repeated_write),
        cmocka_unit_test(repeats_are_bounded),
        cmocka_unit_test(silence_ends_at_the_deadline),
        cmocka_unit_test(ids_begin_at_random),
        cmocka_unit_test(digests),
        cmocka_unit_test(hedge_gives_nobody_up),
        cmocka_unit_test(damaged_copies),
        cmocka_unit_test(put_on_a_damaged_copy),
        cmocka_unit_test(precondition_without_our_copy),
        cmocka_unit_test(delete_on_an_unfilled_copy),
        cmocka_unit_test(unfilled_and_alone),
        cmocka_unit_test(precondition_takes_all_homes),
        cmocka_unit_test(full_context),
        cmocka_unit_test(levels),
        cmocka_unit_test(level_one),
        cmocka_unit_test(minted_by_a_peer),
        cmocka_unit_test(context_only),
        cmocka_unit_test(unreachable_is_known_at_once),
        cmocka_unit_test(get_goes_to_the_next_home),
        cmocka_unit_test(queues_at_their_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
