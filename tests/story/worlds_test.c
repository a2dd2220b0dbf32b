/* Worlds side by side: nothing is a process global, so two that take turns run as each does alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world/clients.h"

static const uint64_t ms = 1000000;

enum { WORLDS = 2 };

struct one {
    struct clients *clients;
    struct world *world;
    uint64_t hash;
};

static void begin(struct one *one, uint64_t seed)
{
    struct world_options options = world_options_default(seed);
    struct clients_options habits = clients_options_draw(seed);
    struct world_watch watch = {0};
    options.nodes = 3;
    options.losses = 5000;
    one->clients = clients_alloc(&habits, &watch);
    one->world = world_alloc(&options, &watch);
    world_run(one->world, 500 * ms);
    clients_begin(one->clients, one->world);
}

/* Ten milliseconds, and now and then a crash or a start. */
static void step(struct one *one, uint32_t number)
{
    if (number % 30 == 10) world_crash(one->world, 1);
    if (number % 30 == 20) world_restart(one->world, 1);
    world_run(one->world, world_now(one->world) + 10 * ms);
}

static void end(struct one *one)
{
    one->hash = world_hash(one->world);
    world_free(one->world);
    clients_free(one->clients);
}

static void as_if_alone(void **state)
{
    (void)state;
    enum { STEPS = 100 };
    struct one alone[WORLDS], together[WORLDS];
    for (uint32_t i = 0; i < WORLDS; i++) {
        begin(&alone[i], i + 1);
        for (uint32_t number = 0; number < STEPS; number++) step(&alone[i], number);
        end(&alone[i]);
    }
    for (uint32_t i = 0; i < WORLDS; i++) begin(&together[i], i + 1);
    for (uint32_t number = 0; number < STEPS; number++)
        for (uint32_t i = 0; i < WORLDS; i++) step(&together[i], number);
    for (uint32_t i = 0; i < WORLDS; i++) end(&together[i]);
    assert_true(alone[0].hash != alone[1].hash);
    for (uint32_t i = 0; i < WORLDS; i++) assert_true(together[i].hash == alone[i].hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_if_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
