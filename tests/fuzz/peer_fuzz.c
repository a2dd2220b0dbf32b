/* Peers against a whole node: one real node of a cluster of three; the input plays the other two, and
 * clients. The first byte is not used, so that scripts are those of client_fuzz.c. */
#include "fuzz.h"
#include "mutate.h"
#include "steps.h"
#include "world.h"

enum { INPUT_MAX = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX) return 0;
    static struct world world;
    world_init(&world, 3, 1, true);
    struct bytes rest = bytes_of(data + 1, size - 1);
    struct step step;
    for (int steps = 0; steps < STEPS_MAX && step_next(&rest, &step); steps++) steps_do(&world, &step);
    world_fini(&world);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    return mutate_script(steps_type, 1, data, size, size_max, seed);
}
