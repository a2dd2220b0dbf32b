/* The counts of faults: each is of what took effect. What nobody met before it was over did not take place,
 * and neither did what was so already. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world/clients.h"

static const uint64_t ms = 1000000;

struct busy {
    struct clients *clients;
    struct world *world;
};

/* Three nodes, and clients that write all the time. */
static struct busy begin(const struct world_options *options)
{
    struct clients_options habits = clients_options_draw(1);
    struct world_watch watch = {0};
    struct busy busy;
    habits.weak = 0;
    busy.clients = clients_alloc(&habits, &watch);
    busy.world = world_alloc(options, &watch);
    world_run(busy.world, 500 * ms);
    clients_begin(busy.clients, busy.world);
    world_run(busy.world, world_now(busy.world) + 200 * ms);
    return busy;
}

static void end(struct busy *busy)
{
    world_free(busy->world);
    clients_free(busy->clients);
}

static struct world_options three_nodes(void)
{
    struct world_options options = world_options_default(1);
    options.nodes = 3;
    options.shards = 1;
    return options;
}

static uint64_t counted(const struct busy *busy, enum world_fault fault)
{
    return world_counts(busy->world).faults[fault];
}

static void pass(const struct busy *busy, uint64_t time_ms)
{
    world_run(busy->world, world_now(busy->world) + time_ms * ms);
}

/* An error that nobody meets before the disk is mended did not take place. */
static void errors_of_disks(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    for (uint32_t operation = STORE_MEM_READ; operation <= STORE_MEM_SYNC; operation++)
        assert_true(world_fail_disk(busy.world, operation, 0, (enum store_mem_operation)operation));
    for (uint32_t node = 0; node < 3; node++) world_mend_disks(busy.world, node);
    pass(&busy, 1000);
    world_hold_syncs(busy.world, 0, true);
    pass(&busy, 1000);
    assert_true(world_fail_disk(busy.world, 0, 0, STORE_MEM_SYNC)); /* of the one that is held */
    world_mend_disks(busy.world, 0);
    assert_true(world_is_filled(busy.world, 0, 3));
    for (uint32_t fault = WORLD_READ_ERROR; fault <= WORLD_SYNC_ERROR; fault++)
        assert_int_equal(counted(&busy, fault), 0);
    for (uint32_t operation = STORE_MEM_READ; operation <= STORE_MEM_SYNC; operation++) {
        world_fail_disk(busy.world, operation, 0, (enum store_mem_operation)operation);
        world_fail_disk(busy.world, operation, 0, (enum store_mem_operation)operation);
    }
    pass(&busy, 1000);
    for (uint32_t fault = WORLD_READ_ERROR; fault <= WORLD_SYNC_ERROR; fault++)
        assert_int_equal(counted(&busy, fault), 1);
    for (uint32_t node = 0; node < 3; node++) assert_false(world_is_filled(busy.world, node, 3));
    end(&busy);
}

/* A store that is broken is lost from that moment on, also if its node ends before it notices. */
static void error_before_a_crash(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    uint32_t found = 0;
    for (uint32_t node = 0; node < 3; node++) {
        assert_true(world_is_filled(busy.world, node, 3));
        world_fail_disk(busy.world, node, 0, STORE_MEM_SYNC);
        while (world_is_filled(busy.world, node, 3)) world_step(busy.world);
        if (store_error(world_store(busy.world, node, 0))[0] == 0) continue; /* it was noticed at once */
        found++;
        world_crash(busy.world, node);
        assert_false(world_is_filled(busy.world, node, 3));
        world_restart(busy.world, node);
        assert_false(world_is_filled(busy.world, node, 3));
        assert_int_equal(store_error(world_store(busy.world, node, 0))[0], 0);
    }
    assert_true(found > 0);
    end(&busy);
}

/* What a message lay for, by which checkers know when a write that nobody heard of can be minted no more. */
static void long_ways(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    uint64_t usual_ns = world_longest_mail_ns(busy.world);
    assert_in_range(usual_ns, 1, 100 * ms);
    world_clog(busy.world, 0, 1);
    pass(&busy, 300);
    assert_in_range(world_longest_mail_ns(busy.world), usual_ns, 100 * ms); /* it lies there yet */
    world_unclog(busy.world, 0, 1);
    pass(&busy, 1);
    uint64_t clogged_ns = world_longest_mail_ns(busy.world);
    assert_in_range(clogged_ns, 200 * ms, 302 * ms);
    world_pause(busy.world, 0); /* with what came before its links are lost */
    pass(&busy, 600);
    world_resume(busy.world, 0);
    pass(&busy, 1);
    assert_in_range(world_longest_mail_ns(busy.world), 500 * ms, 602 * ms);
    world_pause(busy.world, 0);
    pass(&busy, 900);
    world_crash(busy.world, 0); /* what nobody will ever look at counts for nothing */
    world_restart(busy.world, 0);
    pass(&busy, 100);
    assert_in_range(world_longest_mail_ns(busy.world), 500 * ms, 602 * ms);
    end(&busy);
}

/* Seed 6271: it was armed while its node stood still, which therefore looked well, and others were allowed to
 * lose their disks. */
static void error_to_come(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    while (!world_is_safe(busy.world, 0, 3)) world_step(busy.world);
    world_pause(busy.world, 0);
    assert_true(world_is_safe(busy.world, 0, 3));
    world_fail_disk(busy.world, 0, 0, STORE_MEM_READ);
    assert_false(world_is_safe(busy.world, 0, 3));
    world_resume(busy.world, 0);
    end(&busy);
}

static void disks(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    world_hold_syncs(busy.world, 0, true);
    world_slow_disks(busy.world, 1, (struct span){ms, ms});
    world_fill_disks(busy.world, 2, true);
    for (uint32_t node = 0; node < 3; node++) world_mend_disks(busy.world, node);
    pass(&busy, 500);
    assert_int_equal(counted(&busy, WORLD_HELD_DISK), 0);
    assert_int_equal(counted(&busy, WORLD_SLOW_DISK), 0);
    assert_int_equal(counted(&busy, WORLD_FULL_DISK), 0);
    for (int again = 0; again < 2; again++) {
        world_hold_syncs(busy.world, 0, true);
        world_fill_disks(busy.world, 2, true);
    }
    world_slow_disks(busy.world, 1, (struct span){ms, ms});
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_HELD_DISK), 1);
    assert_int_equal(counted(&busy, WORLD_SLOW_DISK), 1);
    assert_int_equal(counted(&busy, WORLD_FULL_DISK), 1);
    end(&busy);
}

static void ways(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    struct world *world = busy.world;
    world_cut_way(world, 0, 1);
    world_mend_way(world, 0, 1);
    world_clog(world, 0, 1);
    world_unclog(world, 0, 1);
    assert_int_equal(counted(&busy, WORLD_CUT_WAY), 0);
    assert_int_equal(counted(&busy, WORLD_CLOG), 0);
    for (int again = 0; again < 2; again++) {
        world_cut_way(world, 0, 1);
        world_clog(world, 1, 0);
        pass(&busy, 500);
        assert_int_equal(counted(&busy, WORLD_CUT_WAY), 1);
        assert_int_equal(counted(&busy, WORLD_CLOG), 1);
    }
    world_mend_way(world, 0, 1);
    world_unclog(world, 1, 0);
    for (int again = 0; again < 2; again++) {
        world_cut(world, 0, 1);
        world_split(world, 1);     /* cuts 0 from 2 */
        world_split(world, 1);     /* all is cut already */
        world_split(world, 1 | 2); /* cuts 1 from 2 */
        assert_int_equal(counted(&busy, WORLD_CUT), 1);
        assert_int_equal(counted(&busy, WORLD_SPLIT), 2);
        pass(&busy, 1000);
    }
    for (uint32_t node = 0; node < 3; node++) world_reset(world, node, (node + 1) % 3);
    assert_int_equal(counted(&busy, WORLD_RESET), 0); /* no link is up */
    world_mend(world, 0, 1);
    pass(&busy, 1000);
    world_reset(world, 0, 1);
    assert_int_equal(counted(&busy, WORLD_RESET), 1);
    assert_int_equal(counted(&busy, WORLD_CUT), 1);
    assert_int_equal(counted(&busy, WORLD_STALL), 0);
    end(&busy);
}

/* A way that carries nothing for so long that its links are given up; and one that is mended before. */
static void stalls(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    options.stall_ns = 300 * ms;
    struct busy busy = begin(&options);
    world_clog(busy.world, 0, 1);
    pass(&busy, 200);
    world_unclog(busy.world, 0, 1);
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_STALL), 0);
    world_clog(busy.world, 0, 1);
    pass(&busy, 400);
    assert_int_equal(counted(&busy, WORLD_STALL), 1);
    end(&busy);
}

static void nodes(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    struct busy busy = begin(&options);
    world_cut_power(busy.world);
    world_cut_power(busy.world);
    assert_int_equal(counted(&busy, WORLD_POWER), 1);
    assert_int_equal(counted(&busy, WORLD_CRASH), 3);
    world_jump_clock(busy.world, 0, 0);
    assert_int_equal(counted(&busy, WORLD_CLOCK_JUMP), 0);
    world_jump_clock(busy.world, 0, 1);
    assert_int_equal(counted(&busy, WORLD_CLOCK_JUMP), 1);
    /* Who is down hears of no cut. */
    world_cut(busy.world, 0, 1);
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_CUT), 0);
    world_restart(busy.world, 0);
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_CUT), 1); /* it can't dial */
    end(&busy);
}

/* A batch that comes late, twice or from a lost link counts where it comes. */
static void batches(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    options.repeats = options.overtakings = 1000000;
    options.late = (struct span){400 * ms, 400 * ms};
    struct busy busy = begin(&options);
    pass(&busy, 100);
    uint64_t overtakings = counted(&busy, WORLD_OVERTAKING), repeats = counted(&busy, WORLD_REPEAT);
    assert_int_equal(overtakings, 0); /* where all are late none is overtaken, */
    assert_int_equal(repeats, 0);     /* and what has not come cannot come again */
    end(&busy);

    options.overtakings = 0;
    busy = begin(&options);
    pass(&busy, 1000);
    repeats = counted(&busy, WORLD_REPEAT);
    assert_true(repeats > 0);
    world_cut_power(busy.world); /* with many on their way */
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_REPEAT), repeats);
    end(&busy);

    options.repeats = 0;
    options.overtakings = 100000;
    options.strays = 1000000;
    busy = begin(&options);
    pass(&busy, 1000);
    overtakings = counted(&busy, WORLD_OVERTAKING);
    assert_true(overtakings > 0);
    assert_int_equal(counted(&busy, WORLD_STRAY), 0);
    world_reset(busy.world, 0, 1);
    assert_int_equal(counted(&busy, WORLD_STRAY), 0); /* they have not come yet */
    for (uint32_t node = 0; node < 3; node++) world_crash(busy.world, node);
    pass(&busy, 1000);
    assert_int_equal(counted(&busy, WORLD_STRAY), 0); /* and find another process, or none */
    end(&busy);
}

static bool any_row(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    *(bool *)context = true;
    return false;
}

static bool any_hints(const struct busy *busy)
{
    bool any = false;
    for (uint32_t node = 0; node < world_nodes(busy->world); node++)
        store_scan(world_store(busy->world, node, 0), STORE_HINTS, bytes_of(NULL, 0), bytes_of(NULL, 0),
                   any_row, &any);
    return any;
}

/* A bound of hints is a fault where one is refused: not before somebody is away, nor where there is room. */
static void bound_of_hints(void **state)
{
    (void)state;
    struct world_options options = three_nodes();
    options.nodes = 4;
    for (uint32_t bounded = 0; bounded < 2; bounded++) {
        options.hint_bytes_max = bounded;
        struct busy busy = begin(&options);
        assert_int_equal(counted(&busy, WORLD_REFUSED_HINT), 0);
        world_crash(busy.world, 0);
        pass(&busy, 300);
        assert_int_equal(counted(&busy, WORLD_REFUSED_HINT) > 0, bounded);
        assert_int_equal(any_hints(&busy), !bounded);
        end(&busy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_disks), cmocka_unit_test(error_before_a_crash),
        cmocka_unit_test(long_ways),       cmocka_unit_test(error_to_come),
        cmocka_unit_test(disks),           cmocka_unit_test(ways),
        cmocka_unit_test(stalls),          cmocka_unit_test(nodes),
        cmocka_unit_test(batches),         cmocka_unit_test(bound_of_hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
