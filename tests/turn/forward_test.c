/* Writes that another node has to coordinate, on the bench: node A of five is no home of the key. Who is
 * asked, who gets it, and what becomes of it when that node falls silent. */
#include "one_shard.h"

#include <stdio.h>

#define OFFER      DYNODE__PEER__MESSAGE__BODY_OFFER
#define COORDINATE DYNODE__PEER__MESSAGE__BODY_COORDINATE

struct scene {
    struct one_shard one;
    char key[16];
    uint64_t list[5]; /* the preference list: three homes, then A and another */
};

static void begin(struct scene *scene)
{
    one_shard_begin(&scene->one, (struct one_shard_options){.nodes = 5});
    const struct ring *ring = shard_turn_context(scene->one.shard)->ring;
    uint32_t vnode;
    int i = 0;
    do {
        snprintf(scene->key, sizeof(scene->key), "key%d", i++);
        vnode = one_shard_place(&scene->one, "t", scene->key)->vnode;
    } while (ring_is_home(ring, vnode, 3, NODE_A));
    memcpy(scene->list, ring_preference_list(ring, vnode), sizeof(scene->list));
    one_shard_pass_ms(&scene->one, 5); /* nothing has come from anybody just now */
    one_shard_forget(&scene->one);
}

static void ask(struct scene *scene, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation =
        one_shard_put(&scene->one, "t", scene->key, bytes_str("x"), (struct bytes){0});
    operation->put->quorum = quorum;
    one_shard_ask(&scene->one, 1, 1, 900, &operation, 1);
}

static const Dynode__Peer__Message *sent(const struct scene *scene, uint32_t home,
                                         Dynode__Peer__Message__BodyCase kind, uint32_t nth)
{
    return one_shard_find(&scene->one, scene->list[home], kind, nth);
}

static uint32_t sent_to_all(const struct scene *scene, Dynode__Peer__Message__BodyCase kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t nth = 0; sent(scene, i, kind, nth) != NULL; nth++) count++;
    return count;
}

static void ready(struct scene *scene, uint32_t place, uint64_t request)
{
    Dynode__Peer__Ready message = DYNODE__PEER__READY__INIT;
    one_shard_receive(&scene->one, scene->list[place], request, DYNODE__PEER__MESSAGE__BODY_READY, &message);
}

static void coordinated(struct scene *scene, uint32_t place, uint64_t request, enum status status,
                        Dynode__Client__Applied applied)
{
    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT;
    Dynode__Peer__Coordinated message = DYNODE__PEER__COORDINATED__INIT;
    result.status = (Dynode__Client__Status)status;
    result.applied = applied;
    message.result = &result;
    one_shard_receive(&scene->one, scene->list[place], request, DYNODE__PEER__MESSAGE__BODY_COORDINATED,
                      &message);
}

/* Ask, and let the first home have it. Returns the request's number. */
static uint64_t send_to_first(struct scene *scene, Dynode__Client__Quorum quorum)
{
    begin(scene);
    ask(scene, quorum);
    uint64_t request = sent(scene, 0, OFFER, 0)->request;
    ready(scene, 0, request);
    assert_non_null(sent(scene, 0, COORDINATE, 0));
    return request;
}

/* A home that is silent gets nothing but a question; the next one, asked 50 ms later, gets the write, once.
 */
static void first_that_is_ready(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    ask(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    uint64_t request = sent(&s, 0, OFFER, 0)->request;
    assert_null(sent(&s, 1, OFFER, 0));
    one_shard_pass_ms(&s.one, 50);
    assert_int_equal(sent(&s, 1, OFFER, 0)->request, request);
    assert_int_equal(sent_to_all(&s, COORDINATE), 0);
    ready(&s, 3, request); /* a node that was not asked, and is no home */
    assert_int_equal(sent_to_all(&s, COORDINATE), 0);
    ready(&s, 1, request);
    const Dynode__Client__Put *put = sent(&s, 1, COORDINATE, 0)->coordinate->operation->put;
    assert_true(put->token != NULL && put->token->client != 0);
    assert_int_equal(sent(&s, 1, COORDINATE, 0)->coordinate->deadline_ms, 850);
    ready(&s, 1, request);
    ready(&s, 0, request);
    assert_null(sent(&s, 0, COORDINATE, 0));
    assert_null(sent(&s, 1, COORDINATE, 1));
    coordinated(&s, 0, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(s.one.answer_count, 0);
    coordinated(&s, 1, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

/* A node from which something came just now is not asked first. */
static void fresh_home(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    one_shard_receive(&s.one, s.list[0], 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
    ask(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    assert_non_null(sent(&s, 0, COORDINATE, 0));
    assert_null(sent(&s, 0, OFFER, 0));
    one_shard_end(&s.one);
}

static void beat(struct scene *scene, uint32_t from, uint32_t to)
{
    Dynode__Peer__Pong pong = DYNODE__PEER__PONG__INIT;
    for (uint32_t i = from; i < to; i++)
        if (scene->list[i] != NODE_A)
            one_shard_receive(&scene->one, scene->list[i], 0, DYNODE__PEER__MESSAGE__BODY_PONG, &pong);
}

/* The homes are alive, and say nothing of it. A strict write that nobody was sent was surely not applied; a
 * sloppy one goes to a node that stands in, be it this one. */
static void nobody_is_ready(void **state)
{
    (void)state;
    for (int sloppy = 0; sloppy < 2; sloppy++) {
        struct scene s;
        struct object object;
        begin(&s);
        Dynode__Client__Operation *put = one_shard_put(&s.one, "t", s.key, bytes_str("x"), (struct bytes){0});
        if (!sloppy) put->put->quorum = DYNODE__CLIENT__QUORUM__STRICT;
        one_shard_ask(&s.one, 1, 1, 900, &put, 1);
        for (uint32_t i = 0; i < 45; i++) {
            beat(&s, 0, 5);
            one_shard_pass_ms(&s.one, 10);
        }
        assert_int_equal(sent_to_all(&s, COORDINATE), 0);
        bool stood_in =
            one_shard_find(&s.one, s.list[3] == NODE_A ? s.list[4] : s.list[3], OFFER, 0) != NULL ||
            one_shard_find(&s.one, s.list[0], DYNODE__PEER__MESSAGE__BODY_READ, 0) != NULL;
        assert_true(stood_in == (sloppy == 1));
        for (uint32_t i = 0; i < 45; i++) {
            beat(&s, 0, 5);
            one_shard_pass_ms(&s.one, 10);
        }
        assert_int_equal(one_shard_stored(&s.one, "t", s.key, &object),
                         STATUS_NOT_FOUND); /* a hint at most */
        assert_int_equal(one_shard_result(&s.one)->status, STATUS_TIMEOUT);
        if (!sloppy) assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__NO);
        one_shard_end(&s.one);
    }
}

/* A write of a key of which this node is a home, whose disk is full: the first is refused, the next go on, as
 * long as there is one now and then. */
static void own_refusal(void **state)
{
    (void)state;
    struct one_shard one;
    one_shard_begin(&one, (struct one_shard_options){0});
    store_mem_set_full(one.store, true);
    Dynode__Client__Operation *put = one_shard_put(&one, "t", "k", bytes_str("x"), (struct bytes){0});
    static const struct {
        uint32_t after_ms;
        bool goes_on;
    } cases[] = {{5, false}, {5, true}, {1500, true}, {1500, true}, {2100, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (uint32_t ms = 0; ms < cases[i].after_ms; ms += 5) {
            one_shard_link(&one, NODE_B, true);
            one_shard_pass_ms(&one, 5);
        }
        one_shard_forget(&one);
        one_shard_ask(&one, 1, 1, 900, &put, 1);
        int offers = (one_shard_find(&one, NODE_B, OFFER, 0) != NULL) +
                     (one_shard_find(&one, NODE_C, OFFER, 0) != NULL);
        assert_int_equal(offers, cases[i].goes_on);
        assert_int_equal(one.answer_count, !cases[i].goes_on);
    }
    one_shard_end(&one);
}

/* Who was sent it is lost: another home that was told of it lets it have its quorum. It is not minted twice.
 */
static void held_elsewhere(void **state)
{
    (void)state;
    struct scene s;
    uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    const Dynode__Client__Put *put = sent(&s, 0, COORDINATE, 0)->coordinate->operation->put;
    one_shard_link(&s.one, s.list[0], false);
    assert_int_equal(s.one.answer_count, 0);
    one_shard_pass_ms(&s.one, 20);
    const Dynode__Peer__Coordinate *look = sent(&s, 1, COORDINATE, 0)->coordinate;
    assert_true(look->only_if_held);
    assert_true(look->operation->put->token->client == put->token->client);
    assert_int_equal(look->operation->put->token->sequence, put->token->sequence);
    coordinated(&s, 1, request, STATUS_UNAVAILABLE, DYNODE__CLIENT__APPLIED__NO);
    assert_true(sent(&s, 2, COORDINATE, 0)->coordinate->only_if_held);
    assert_int_equal(s.one.answer_count, 0);
    coordinated(&s, 2, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    assert_int_equal(sent_to_all(&s, OFFER), 1);
    one_shard_end(&s.one);
}

/* None of them holds it: that is asked twice, and then the outcome is unknown. */
static void held_by_nobody(void **state)
{
    (void)state;
    struct scene s;
    uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_link(&s.one, s.list[0], false);
    for (uint32_t round = 0; round < 2; round++) {
        assert_int_equal(s.one.answer_count, 0);
        one_shard_pass_ms(&s.one, 250);
        for (uint32_t home = 1; home < 3; home++)
            coordinated(&s, home, request, STATUS_UNAVAILABLE, DYNODE__CLIENT__APPLIED__NO);
    }
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
    assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
    assert_int_equal(sent_to_all(&s, OFFER), 1);
    one_shard_end(&s.one);
}

/* Who was sent it is silent: others are asked, and its own answer counts all the same. */
static void late_answer(void **state)
{
    (void)state;
    struct scene s;
    uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_pass_ms(&s.one, 250);
    assert_true(sent(&s, 1, COORDINATE, 0)->coordinate->only_if_held);
    coordinated(&s, 0, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    coordinated(&s, 1, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(s.one.answer_count, 1);
    one_shard_end(&s.one);
}

/* Refused and surely not applied: offered to the others, and never again to who refused. */
static void refused(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct scene s;
        uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__STRICT);
        Dynode__Client__Applied maybe = again ? DYNODE__CLIENT__APPLIED__NO : DYNODE__CLIENT__APPLIED__MAYBE;
        coordinated(&s, 0, request, STATUS_UNAVAILABLE, maybe);
        if (!again) {
            assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__MAYBE);
            assert_int_equal(sent_to_all(&s, OFFER), 1);
            one_shard_end(&s.one);
            continue;
        }
        ready(&s, 0, request);
        assert_null(sent(&s, 0, COORDINATE, 1));
        ready(&s, 1, request);
        assert_false(sent(&s, 1, COORDINATE, 0)->coordinate->only_if_held);
        coordinated(&s, 1, request, STATUS_UNAVAILABLE, DYNODE__CLIENT__APPLIED__NO);
        one_shard_pass_ms(&s.one, 500); /* the last of them does not say that it is ready */
        assert_null(sent(&s, 0, OFFER, 1));
        assert_null(sent(&s, 1, OFFER, 1));
        assert_int_equal(one_shard_result(&s.one)->status, STATUS_UNAVAILABLE);
        assert_int_equal(one_shard_result(&s.one)->applied, DYNODE__CLIENT__APPLIED__NO);
        one_shard_end(&s.one);
    }
}

/* A home that was asked whether it holds the write takes its time, as others do not hold it: its word counts.
 */
static void found_late(void **state)
{
    (void)state;
    struct scene s;
    uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    one_shard_pass_ms(&s.one, 250);
    assert_non_null(sent(&s, 1, COORDINATE, 0));
    one_shard_pass_ms(&s.one, 250);
    assert_non_null(sent(&s, 2, COORDINATE, 0));
    coordinated(&s, 1, request, STATUS_OK, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OK);
    one_shard_end(&s.one);
}

/* Who has too much to do is not relieved by asking others. */
static void overloaded(void **state)
{
    (void)state;
    struct scene s;
    uint64_t request = send_to_first(&s, DYNODE__CLIENT__QUORUM__SLOPPY);
    coordinated(&s, 0, request, STATUS_OVERLOADED, DYNODE__CLIENT__APPLIED__NO);
    assert_int_equal(one_shard_result(&s.one)->status, STATUS_OVERLOADED);
    assert_int_equal(sent_to_all(&s, OFFER), 1);
    one_shard_end(&s.one);
}

/* --- at the home that is asked --- */

static Dynode__Peer__Coordinate *look_for(struct one_shard *one, uint64_t sequence)
{
    Dynode__Client__WriteToken *token = ARENA_NEW(&one->arena, Dynode__Client__WriteToken);
    Dynode__Peer__Coordinate *message = ARENA_NEW(&one->arena, Dynode__Peer__Coordinate);
    dynode__client__write_token__init(token);
    dynode__peer__coordinate__init(message);
    token->client = 7;
    token->sequence = sequence;
    message->operation = one_shard_put(one, "t", "k", bytes_str("x"), (struct bytes){0});
    message->operation->put->token = token;
    message->deadline_ms = 1000;
    message->only_if_held = true;
    return message;
}

/* It mints nothing; what it holds goes to all homes and gets its quorum. However often it is asked. */
static void only_if_held(void **state)
{
    (void)state;
    struct one_shard one;
    struct object object;
    one_shard_begin(&one, (struct one_shard_options){0});
    Dynode__Peer__Coordinate *look = look_for(&one, 1);
    for (int i = 0; i < 2; i++) {
        one_shard_forget(&one);
        one_shard_receive(&one, NODE_B, 5, COORDINATE, look);
        const Dynode__Peer__Message *answer =
            one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
        assert_int_equal(answer->coordinated->result->status, STATUS_UNAVAILABLE);
        assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_NOT_FOUND);
    }
    look->operation->put->w = 1;
    one_shard_write(&one, look->operation);
    look->operation->put->w = 0;
    one_shard_forget(&one);
    one_shard_receive(&one, NODE_B, 5, COORDINATE, look);
    one_shard_sync(&one);
    const Dynode__Peer__Message *merge = one_shard_find(&one, NODE_C, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
    assert_non_null(merge);
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    one_shard_receive(&one, NODE_C, merge->request, DYNODE__PEER__MESSAGE__BODY_MERGED, &merged);
    const Dynode__Peer__Message *answer =
        one_shard_find(&one, NODE_B, DYNODE__PEER__MESSAGE__BODY_COORDINATED, 0);
    assert_int_equal(answer->coordinated->result->status, STATUS_OK);
    assert_int_equal(one_shard_stored(&one, "t", "k", &object), STATUS_OK);
    assert_int_equal(object.count, 1);
    one_shard_end(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_that_is_ready),
        cmocka_unit_test(fresh_home),
        cmocka_unit_test(nobody_is_ready),
        cmocka_unit_test(held_elsewhere),
        cmocka_unit_test(held_by_nobody),
        cmocka_unit_test(late_answer),
        cmocka_unit_test(refused),
        cmocka_unit_test(own_refusal),
        cmocka_unit_test(found_late),
        cmocka_unit_test(overloaded),
        cmocka_unit_test(only_if_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
