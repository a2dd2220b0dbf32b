/* Objects against a model that keeps sets of write events instead of vectors.
 *
 * A history is a few replicas of one key that write with contexts read earlier, merge with each other and
 * with old snapshots, restart under a fresh clock and are set back to an old copy: what can be reached, since
 * the laws of a join hold for that and not for objects made up at random. Each write is an event; the model
 * of an object is the set of events under its context. What must be held follows from it: under `siblings`
 * the events that no other one of the set has superseded, under `lww` the greatest. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "version/hlc.h"
#include "version/object.h"

static struct arena arena;
static struct prng prng;

enum { REPLICAS = 4, CLIENTS = 3, EVENTS_MAX = 64, STEPS = 90, HISTORIES = 250, STATES_MAX = STEPS + 1 };
typedef uint64_t event_set;

struct state {
    struct object object;
    event_set seen;
};

struct replica {
    struct state now;
    struct dot last; /* of its present clock */
    struct hlc hlc;
    uint64_t skew_ms;
};

struct history {
    enum table_rule rule;
    bool saturated; /* stamps have reached the end of their space */
    struct replica replicas[REPLICAS];
    struct client {
        struct vv context;
        uint64_t stamp;
        event_set seen;
    } clients[CLIENTS];
    struct sibling events[EVENTS_MAX];
    event_set covers[EVENTS_MAX];
    uint32_t event_count;
    struct state states[STATES_MAX]; /* every one that was reached */
    uint32_t state_count;
};

static event_set bit(uint32_t event)
{
    return UINT64_C(1) << event;
}

static struct bytes value_of(uint32_t event)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "value %u", event);
    return bytes_copy(&arena, bytes_of(text, (size_t)size));
}

static bool same_siblings(const struct object *a, const struct object *b)
{
    if (!object_equal(a, b)) return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct sibling *x = &a->siblings[i], *y = &b->siblings[i];
        if (x->stamp != y->stamp || x->token.sequence != y->token.sequence || x->tombstone != y->tombstone ||
            x->expires_ms != y->expires_ms || !bytes_equal(x->value, y->value))
            return false;
    }
    return true;
}

static bool beats(const struct sibling *a, const struct sibling *b)
{
    return a->stamp != b->stamp ? a->stamp > b->stamp : dot_compare(a->dot, b->dot) > 0;
}

/* What an object that has seen @seen must hold. */
static event_set expected(const struct history *history, event_set seen)
{
    event_set held = seen, top = 0;
    const struct sibling *best = NULL;
    for (uint32_t e = 0; e < history->event_count; e++) {
        if (!(seen & bit(e))) continue;
        held &= ~history->covers[e];
        if (best == NULL || beats(&history->events[e], best)) best = &history->events[e], top = bit(e);
    }
    return history->rule == RULE_LWW ? top : held;
}

static void check_state(const struct history *history, const struct state *state)
{
    const struct object *object = &state->object;
    assert_true(object_valid(object));
    event_set held = 0;
    for (uint32_t i = 0; i < object->count; i++) {
        uint32_t event = (uint32_t)object->siblings[i].token.sequence - 1;
        assert_true(bytes_equal(object->siblings[i].value, history->events[event].value));
        assert_int_equal(dot_compare(object->siblings[i].dot, history->events[event].dot), 0);
        held |= bit(event);
    }
    for (uint32_t e = 0; e < history->event_count; e++)
        assert_int_equal(vv_covers(&object->context, history->events[e].dot), (state->seen & bit(e)) != 0);
    if (history->saturated)
        assert_int_equal(object->count, state->seen != 0);
    else
        assert_true(held == expected(history, state->seen));
}

static struct state merge_states(const struct history *history, const struct state *a, const struct state *b)
{
    return (struct state){.object = object_merge(&a->object, &b->object, history->rule, &arena),
                          .seen = a->seen | b->seen};
}

static void fresh_clock(struct replica *replica)
{
    replica->last = (struct dot){.clock = prng_next(&prng) | 1, .counter = 0};
}

static void step_write(struct history *history, struct replica *replica, struct client *client)
{
    uint32_t event = history->event_count;
    if (event == EVENTS_MAX) return;
    if (prng_chance(&prng, 1, 5)) *client = (struct client){0}; /* a write that has read nothing */
    uint64_t floor = object_stamp_max(&replica->now.object);
    if (client->stamp > floor) floor = client->stamp;
    if (history->saturated && prng_chance(&prng, 1, 4)) floor = UINT64_MAX;
    replica->last.counter += 1 + prng_below(&prng, 2); /* it writes other keys too */
    struct sibling write = {.dot = replica->last,
                            .stamp = hlc_mint(&replica->hlc, 1000 + replica->skew_ms + event, floor),
                            .token = {.client = 1, .sequence = event + 1},
                            .tombstone = prng_chance(&prng, 1, 5)};
    if (!write.tombstone) write.value = value_of(event);
    struct object before = replica->now.object;
    assert_int_equal(
        object_write(&before, &client->context, &write, history->rule, &arena, &replica->now.object),
        STATUS_OK);
    history->events[event] = write;
    history->covers[event] = client->seen;
    replica->now.seen |= client->seen | bit(event);
    history->event_count++;
}

static void step(struct history *history)
{
    struct replica *replica = &history->replicas[prng_below(&prng, REPLICAS)];
    struct client *client = &history->clients[prng_below(&prng, CLIENTS)];
    switch (prng_below(&prng, 9)) {
    case 0:
    case 1:
        *client = (struct client){.context = replica->now.object.context,
                                  .stamp = object_stamp_max(&replica->now.object),
                                  .seen = replica->now.seen};
        break;
    case 2:
    case 3:
    case 4:
        step_write(history, replica, client);
        break;
    case 5:
    case 6:
        replica->now =
            merge_states(history, &replica->now, &history->replicas[prng_below(&prng, REPLICAS)].now);
        break;
    case 7:
        replica->now =
            merge_states(history, &replica->now, &history->states[prng_below(&prng, history->state_count)]);
        break;
    default: /* it comes back with an old copy, or just restarts */
        if (prng_chance(&prng, 1, 3)) replica->now = history->states[prng_below(&prng, history->state_count)];
        fresh_clock(replica);
    }
    check_state(history, &replica->now);
    history->states[history->state_count++] = replica->now;
}

static void run_history(struct history *history, enum table_rule rule, bool saturated)
{
    arena_reset(&arena);
    *history = (struct history){.rule = rule, .saturated = saturated, .state_count = 1};
    for (int i = 0; i < REPLICAS; i++) {
        fresh_clock(&history->replicas[i]);
        history->replicas[i].skew_ms = prng_chance(&prng, 1, 3) ? prng_below(&prng, 1000) : 0;
    }
    for (int i = 0; i < STEPS; i++) step(history);
}

static const struct state *any_state(const struct history *history)
{
    return &history->states[prng_below(&prng, history->state_count)];
}

static void check_laws(const struct history *history)
{
    for (int i = 0; i < 60; i++) {
        const struct state *a = any_state(history), *b = any_state(history), *c = any_state(history);
        struct state ab = merge_states(history, a, b), ba = merge_states(history, b, a);
        struct state bc = merge_states(history, b, c), aa = merge_states(history, a, a);
        struct state ab_c = merge_states(history, &ab, c), a_bc = merge_states(history, a, &bc);
        struct state again = merge_states(history, &ab, b);
        check_state(history, &ab);
        check_state(history, &ab_c);
        assert_true(same_siblings(&ab.object, &ba.object));
        assert_true(same_siblings(&ab_c.object, &a_bc.object));
        assert_true(same_siblings(&aa.object, &a->object));
        assert_true(same_siblings(&again.object, &ab.object));
    }
}

/* All that was reached, merged in two random orders. */
static void check_order(const struct history *history)
{
    struct state all[2] = {0};
    for (int way = 0; way < 2; way++) {
        uint32_t order[STATES_MAX];
        for (uint32_t i = 0; i < history->state_count; i++) {
            uint32_t at = (uint32_t)prng_below(&prng, i + 1);
            order[i] = order[at];
            order[at] = i;
        }
        for (uint32_t i = 0; i < history->state_count; i++)
            all[way] = merge_states(history, &all[way], &history->states[order[i]]);
        check_state(history, &all[way]);
    }
    assert_true(same_siblings(&all[0].object, &all[1].object));
}

static void check_histories(enum table_rule rule, bool saturated)
{
    struct history *history = calloc(1, sizeof(*history));
    assert_non_null(history);
    for (int i = 0; i < HISTORIES; i++) {
        run_history(history, rule, saturated);
        check_laws(history);
        check_order(history);
    }
    free(history);
}

static void merging_is_a_join_of_siblings(void **state)
{
    (void)state;
    check_histories(RULE_SIBLINGS, false);
}

static void merging_is_a_join_under_lww(void **state)
{
    (void)state;
    check_histories(RULE_LWW, false);
}

static void merging_is_a_join_where_stamps_cannot_grow(void **state)
{
    (void)state;
    check_histories(RULE_LWW, true);
}

/* riak_kv#746: writers that read, merge and write back at the same time. Each write covers that writer's
 * last, so there is never more than one sibling a writer. */
static void check_writers(uint32_t writers)
{
    struct history *history = calloc(1, sizeof(*history));
    assert_non_null(history);
    struct vv sessions[8] = {0};
    uint32_t most = 0;
    arena_reset(&arena);
    for (int i = 0; i < REPLICAS; i++) fresh_clock(&history->replicas[i]);
    for (uint64_t i = 1; i <= 2000; i++) {
        struct replica *replica = &history->replicas[prng_below(&prng, REPLICAS)];
        struct object *object = &replica->now.object;
        struct vv *session = &sessions[prng_below(&prng, writers)];
        switch (prng_below(&prng, 4)) {
        case 0:
            *session = vv_join(session, &object->context, &arena);
            break;
        case 1:
            *object = object_merge(object, &history->replicas[prng_below(&prng, REPLICAS)].now.object,
                                   RULE_SIBLINGS, &arena);
            break;
        default:
            replica->last.counter++;
            struct sibling write = {.dot = replica->last, .stamp = i, .token = {1, i}};
            struct object before = *object;
            assert_int_equal(object_write(&before, session, &write, RULE_SIBLINGS, &arena, object),
                             STATUS_OK);
            *session = vv_with(session, write.dot, &arena);
        }
        assert_in_range(object->count, 0, writers);
        if (object->count > most) most = object->count;
    }
    assert_true(most > writers / 2); /* they did meet */
    free(history);
}

static void siblings_do_not_multiply(void **state)
{
    (void)state;
    check_writers(2);
    check_writers(7);
}

/* --- By hand --- */

static struct sibling sibling_of(uint64_t clock, uint64_t counter, size_t value_bytes)
{
    static uint8_t value[OBJECT_VALUE_BYTES_MAX + 1];
    return (struct sibling){.dot = {clock, counter}, .stamp = counter, .value = bytes_of(value, value_bytes)};
}

static const struct vv no_context;

/* @count siblings of @value_bytes each under @clock, by merging, which has no limit. */
static struct object many(uint64_t clock, uint32_t count, size_t value_bytes)
{
    struct object object = {.context = vv_with(&no_context, (struct dot){clock, count}, &arena),
                            .siblings = ARENA_ARRAY(&arena, struct sibling, count),
                            .count = count};
    for (uint32_t i = 0; i < count; i++) object.siblings[i] = sibling_of(clock, i + 1, value_bytes);
    assert_true(object_valid(&object));
    return object;
}

static enum status write_to(const struct object *object, const struct vv *context, struct sibling write,
                            struct object *out)
{
    *out = (struct object){.count = 12345};
    enum status status = object_write(object, context, &write, RULE_SIBLINGS, &arena, out);
    if (status != STATUS_OK) assert_int_equal(out->count, 12345);
    return status;
}

static void a_write_has_limits_and_a_way_out(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object out, full = many(1, OBJECT_SIBLINGS_MAX, 1), short_of = many(1, OBJECT_SIBLINGS_MAX - 1, 1);
    struct vv first = vv_with(&no_context, (struct dot){1, 1}, &arena);
    assert_int_equal(write_to(&short_of, &no_context, sibling_of(2, 1, 1), &out), STATUS_OK);
    assert_int_equal(out.count, OBJECT_SIBLINGS_MAX);
    assert_int_equal(write_to(&full, &no_context, sibling_of(2, 1, 1), &out), STATUS_TOO_MANY_SIBLINGS);
    assert_int_equal(write_to(&full, &first, sibling_of(2, 1, 9), &out), STATUS_OK);
    assert_int_equal(write_to(&full, &full.context, sibling_of(2, 1, 9), &out), STATUS_OK);
    assert_int_equal(out.count, 1);

    struct object left = many(1, OBJECT_SIBLINGS_MAX, 1), right = many(3, OBJECT_SIBLINGS_MAX, 1);
    struct object above = object_merge(&left, &right, RULE_SIBLINGS, &arena);
    assert_int_equal(above.count, 2 * OBJECT_SIBLINGS_MAX);
    assert_int_equal(write_to(&above, &first, sibling_of(2, 1, 1), &out), STATUS_OK);
    assert_int_equal(out.count, 2 * OBJECT_SIBLINGS_MAX);
    assert_int_equal(write_to(&above, &first, sibling_of(2, 1, 2), &out), STATUS_TOO_MANY_SIBLINGS);
    assert_int_equal(write_to(&above, &no_context, sibling_of(2, 1, 0), &out), STATUS_TOO_MANY_SIBLINGS);

    struct object heavy = many(1, 2, OBJECT_VALUE_BYTES_MAX / 2), none = {0};
    assert_int_equal(write_to(&heavy, &no_context, sibling_of(2, 1, 0), &out), STATUS_OK);
    assert_int_equal(write_to(&heavy, &no_context, sibling_of(2, 1, 1), &out), STATUS_TOO_MANY_SIBLINGS);
    assert_int_equal(write_to(&heavy, &first, sibling_of(2, 1, OBJECT_VALUE_BYTES_MAX / 2), &out), STATUS_OK);
    assert_int_equal(write_to(&none, &no_context, sibling_of(2, 1, OBJECT_VALUE_BYTES_MAX), &out), STATUS_OK);
    assert_int_equal(write_to(&none, &no_context, sibling_of(2, 1, OBJECT_VALUE_BYTES_MAX + 1), &out),
                     STATUS_TOO_MANY_SIBLINGS);
}

static void a_write_leaves_a_context_that_decodes(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object out, wide = {.context = {ARENA_ARRAY(&arena, struct dot, VV_ENTRIES_MAX), VV_ENTRIES_MAX}};
    for (uint64_t i = 0; i < VV_ENTRIES_MAX; i++) wide.context.entries[i] = (struct dot){2 * i + 2, 1};
    assert_int_equal(write_to(&wide, &no_context, sibling_of(7, 1, 0), &out), STATUS_TOO_LARGE);
    assert_int_equal(write_to(&wide, &no_context, sibling_of(8, 2, 0), &out), STATUS_OK);
    assert_true(object_valid(&out));
    assert_int_equal(out.context.count, VV_ENTRIES_MAX);
}

static void merging_copies_nothing_where_one_side_is_the_result(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object none = {0}, one = many(5, 3, 8), merged, newer;
    struct vv all = one.context;
    assert_int_equal(write_to(&one, &all, sibling_of(9, 1, 8), &newer), STATUS_OK);
    for (int rule = RULE_SIBLINGS; rule <= RULE_LWW; rule++) {
        struct object old = one;
        if (rule == RULE_LWW) old.siblings += 2, old.count = 1;
        const struct object *pairs[][3] = {{&none, &old, &old},    {&old, &none, &old},
                                           {&old, &old, &old},     {&old, &newer, &newer},
                                           {&newer, &old, &newer}, {&none, &none, &none}};
        if (rule == RULE_LWW) newer.siblings[0].stamp = 100;
        size_t used = arena.used_bytes;
        for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
            merged = object_merge(pairs[i][0], pairs[i][1], (enum table_rule)rule, &arena);
            assert_true(same_siblings(&merged, pairs[i][2]));
        }
        assert_int_equal(arena.used_bytes, used);
    }
}

static void an_expired_sibling_is_absent(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object object = many(1, 3, 1);
    object.siblings[1].expires_ms = 500;
    object.siblings[2].tombstone = true, object.siblings[2].value.size = 0;
    assert_int_equal(object_live_count(&object, 499), 2);
    assert_int_equal(object_live_count(&object, 500), 1);
    assert_int_equal(object_live_count(&object, UINT64_MAX), 1);
    assert_int_equal(object_live_count(&(struct object){0}, 0), 0);
    assert_int_equal(object_stamp_max(&object), 3);
    assert_int_equal(object_stamp_max(&(struct object){0}), 0);
}

static void a_token_finds_its_write(void **state)
{
    (void)state;
    arena_reset(&arena);
    struct object object = many(1, 3, 1);
    object.siblings[1].token = (struct write_token){7, 1};
    object.siblings[2].token = (struct write_token){7, 2};
    assert_ptr_equal(object_find_token(&object, (struct write_token){7, 2}), &object.siblings[2]);
    assert_null(object_find_token(&object, (struct write_token){7, 3}));
    assert_null(object_find_token(&object, (struct write_token){8, 2}));
    assert_null(object_find_token(&object, (struct write_token){0, 0}));
}

static void objects_that_break_a_rule(void **state)
{
    (void)state;
    arena_reset(&arena);
    for (int fault = 0; fault < 6; fault++) {
        struct object object = many(4, 3, 1);
        switch (fault) {
        case 0:
            object.siblings[1].dot = object.siblings[0].dot;
            break;
        case 1:
            object.siblings[0].dot.counter = 3;
            break;
        case 2:
            object.siblings[2].dot.counter = 4;
            break;
        case 3:
            object.siblings[0].dot.counter = 0;
            break;
        case 4:
            object.siblings[0].dot.clock = 3;
            break;
        default:
            object.siblings[1].tombstone = true;
        }
        assert_false(object_valid(&object));
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    prng_init(&prng, seed);
    arena_init(&arena, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_is_a_join_of_siblings),
        cmocka_unit_test(merging_is_a_join_under_lww),
        cmocka_unit_test(merging_is_a_join_where_stamps_cannot_grow),
        cmocka_unit_test(siblings_do_not_multiply),
        cmocka_unit_test(a_write_has_limits_and_a_way_out),
        cmocka_unit_test(a_write_leaves_a_context_that_decodes),
        cmocka_unit_test(merging_copies_nothing_where_one_side_is_the_result),
        cmocka_unit_test(an_expired_sibling_is_absent),
        cmocka_unit_test(a_token_finds_its_write),
        cmocka_unit_test(objects_that_break_a_rule),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}
