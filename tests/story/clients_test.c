/* Clients: their values show any damage, and a handful of worlds sees them do all that they are there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "world/clients.h"

static const uint64_t ms = 1000000;

static void heard_fini(struct heard *heard)
{
    token_list_fini(&heard->seen);
    token_list_fini(&heard->elements);
}

static void damage_shows(void **state)
{
    (void)state;
    struct ask ask = {.kind = OP_PUT, .key = 7, .value_bytes = 50};
    struct heard heard = {0};
    struct buffer value = {0};
    token_list_add(&ask.elements, 3);
    token_list_add(&ask.elements, 5);
    value_write(&value, 9, &ask);
    assert_int_equal(value.size, 50);
    assert_null(value_read(buffer_bytes(&value), 7, CONTENT_CART, &heard));
    assert_int_equal(heard.seen.count, 1);
    assert_int_equal(heard.seen.list[0], 9);
    assert_int_equal(heard.elements.count, 3); /* it holds itself too */
    assert_non_null(value_read(buffer_bytes(&value), 8, CONTENT_CART, &heard));
    for (size_t bit = 0; bit < 8 * value.size; bit++) {
        value.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_non_null(value_read(buffer_bytes(&value), 7, CONTENT_CART, &heard));
        value.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < value.size; size++)
        assert_non_null(value_read(bytes_of(value.data, size), 7, CONTENT_CART, &heard));
    assert_int_equal(heard.seen.count, 1);
    heard_fini(&heard);
    token_list_fini(&ask.elements);
    buffer_fini(&value);
}

static void merging(void **state)
{
    (void)state;
    struct token_list elements = {0};
    element_merge(&elements, CONTENT_COUNTER, 1U << COUNTER_BITS | 4);
    element_merge(&elements, CONTENT_COUNTER, 2U << COUNTER_BITS | 9);
    element_merge(&elements, CONTENT_COUNTER, 1U << COUNTER_BITS | 3);
    element_merge(&elements, CONTENT_COUNTER, 2U << COUNTER_BITS | 10);
    assert_int_equal(elements.count, 2);
    assert_int_equal(elements.list[0], 1U << COUNTER_BITS | 4);
    assert_int_equal(elements.list[1], 2U << COUNTER_BITS | 10);
    element_merge(&elements, CONTENT_CART, 6);
    element_merge(&elements, CONTENT_CART, 6);
    assert_int_equal(elements.count, 3);
    token_list_fini(&elements);
}

struct tally {
    uint32_t puts, deletes, blind, if_context, if_absent, rejected, repeated, weak, lost, expiring, unknown,
        siblings, moved, carried, together, one_home, all_homes, some_homes;
};

static void count(struct tally *tally, const struct history *history)
{
    uint16_t nodes[4096] = {0}; /* of each session's last operation, + 1 */
    for (uint32_t token = 1; token <= history->count; token++) {
        const struct op *op = history_op(history, token);
        tally->puts += op->kind == OP_PUT;
        tally->deletes += op->kind == OP_DELETE;
        tally->blind += (op->flags & OP_BLIND) != 0;
        tally->if_context += (op->flags & OP_IF_CONTEXT) != 0;
        tally->if_absent += (op->flags & OP_IF_ABSENT) != 0;
        tally->rejected += (op->flags & OP_REJECTED) != 0;
        tally->repeated += (op->flags & OP_REPEATED) != 0;
        tally->weak += (op->flags & OP_WEAK) != 0;
        tally->lost += (op->flags & OP_LOST) != 0;
        tally->expiring += op->ttl_ns != 0;
        tally->unknown += op->outcome == OUTCOME_INFO && op->kind != OP_GET;
        tally->siblings += op->seen.count > 1;
        tally->carried += op->elements.count > 1;
        tally->together += token > 1 && op[-1].invoked_ns == op->invoked_ns; /* in one request */
        if (history->n == 3 && op->seen.count > 0 && op->outcome == OUTCOME_OK) {
            tally->one_home += op->quorum.needs == 1 && op->quorum.homes == 3;
            tally->all_homes += op->quorum.needs == 3;
            tally->some_homes += op->quorum.homes == 2;
        }
        tally->moved += nodes[op->session] != 0 && nodes[op->session] != op->node + 1;
        nodes[op->session] = (uint16_t)(op->node + 1);
    }
}

static void run(uint64_t seed, struct tally *tally)
{
    struct world_options options = world_options_default(seed);
    struct clients_options habits = clients_options_draw(seed);
    struct world_watch watch = {0};
    options.resets = 1000;
    options.client_resets = 1000;
    habits.grace_ns = 20 * ms;
    struct clients *clients = clients_alloc(&habits, &watch);
    struct world *world = world_alloc(&options, &watch);
    world_run(world, 500 * ms);
    clients_begin(clients, world);
    world_run(world, world_now(world) + 1000 * ms);
    clients_keep_to(clients, 1 << 1 | 1 << 3);
    world_run(world, world_now(world) + 1500 * ms); /* the longest deadline, and some */
    uint32_t before = clients_history(clients)->count;
    world_run(world, world_now(world) + 500 * ms);
    for (uint32_t token = before + 1; token <= clients_history(clients)->count; token++)
        assert_true(history_op(clients_history(clients), token)->node % 2 == 1);
    clients_stop(clients, true);
    world_calm_network(world);
    world_run(world, world_now(world) + 2000 * ms);
    assert_true(clients_are_idle(clients));
    clients_sweep(clients, 0x1f, false);
    clients_judge(clients, false);
    assert_string_equal(clients_fault(clients), "");
    count(tally, clients_history(clients));
    world_free(world);
    clients_free(clients);
}

static void all_habits(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint64_t seed = 1; seed <= 20; seed++) run(seed, &tally);
    printf("puts %u, deletes %u (blind %u), if_context %u, if_absent %u, rejected %u, repeated %u, weak %u, "
           "lost %u, expiring %u, unknown %u, siblings %u, moved %u, carried %u, together %u, of one home "
           "%u, of all %u, of the "
           "first two %u\n",
           tally.puts, tally.deletes, tally.blind, tally.if_context, tally.if_absent, tally.rejected,
           tally.repeated, tally.weak, tally.lost, tally.expiring, tally.unknown, tally.siblings, tally.moved,
           tally.carried, tally.together, tally.one_home, tally.all_homes, tally.some_homes);
    const uint32_t *counts = (const uint32_t *)&tally;
    for (size_t i = 0; i < sizeof(tally) / sizeof(*counts); i++) assert_true(counts[i] >= 10);
}

/* Where all must succeed no write is sent again: what failed once is on record as failed. */
static void no_second_attempt(void **state)
{
    (void)state;
    struct world_options options = world_options_default(1);
    struct clients_options habits = clients_options_draw(1);
    struct world_watch watch = {0};
    uint32_t lost = 0;
    options.client_resets = 100000; /* one answer of ten */
    habits.tokens = 100;
    habits.impatient = 0;
    struct clients *clients = clients_alloc(&habits, &watch);
    struct world *world = world_alloc(&options, &watch);
    world_run(world, 500 * ms);
    clients_begin(clients, world);
    world_run(world, world_now(world) + 500 * ms);
    clients_expect(clients, true);
    uint32_t first = clients_history(clients)->count + 1;
    world_run(world, world_now(world) + 1000 * ms);
    clients_stop(clients, true);
    clients_expect(clients, false);
    world_run(world, world_now(world) + 2000 * ms);
    for (uint32_t token = first; token <= clients_history(clients)->count; token++) {
        const struct op *op = history_op(clients_history(clients), token);
        assert_int_equal(op->flags & OP_REPEATED, 0);
        lost += op->kind != OP_GET && op->outcome == OUTCOME_INFO;
    }
    assert_true(lost >= 10);
    clients_judge(clients, true);
    assert_non_null(strstr(clients_fault(clients), "where nothing failed, was "));
    world_free(world);
    clients_free(clients);
}

/* A connection that ends is no excuse for a node that ends it, also where nothing was asked for. */
static void node_that_hangs_up(void **state)
{
    (void)state;
    for (int busy = 0; busy <= 1; busy++) {
        struct world_options options = world_options_default(1);
        struct clients_options habits = clients_options_draw(1);
        struct world_watch watch = {0};
        habits.impatient = 0;
        habits.think_ns = 0;
        habits.grace_ns = 20 * ms;
        struct clients *clients = clients_alloc(&habits, &watch);
        struct world *world = world_alloc(&options, &watch);
        world_run(world, 500 * ms);
        clients_begin(clients, world);
        world_run(world, world_now(world) + 500 * ms);
        clients_stop(clients, !busy);
        if (!busy) world_run(world, world_now(world) + 2000 * ms);
        const Dynode__Client__Request nonsense = DYNODE__CLIENT__REQUEST__INIT; /* asks for nothing */
        uint64_t last = world_connect(world, 0, 0);
        for (uint64_t connection = 2; connection < last; connection++) /* the first made the table */
            if (world_is_open(world, connection)) world_send(world, connection, &nonsense);
        world_run(world, world_now(world) + 20 * ms);
        clients_stop(clients, true);
        world_run(world, world_now(world) + 2000 * ms);
        clients_judge(clients, true);
        assert_non_null(strstr(clients_fault(clients),
                               busy ? "was hung up on by its node" : "that had asked for nothing"));
        world_free(world);
        clients_free(clients);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_shows),       cmocka_unit_test(merging),
        cmocka_unit_test(all_habits),         cmocka_unit_test(no_second_attempt),
        cmocka_unit_test(node_that_hangs_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
