/* Clients against whole nodes: a cluster of one or of three, and a script of what clients send, how links
 * change and how time passes. The first byte chooses the cluster; see mutate.h for the rest. */
#include "client.pb-c.h"
#include "fuzz.h"
#include "mutate.h"
#include "steps.h"
#include "world.h"

enum { INPUT_MAX = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX) return 0;
    static struct world world;
    uint32_t members = data[0] & 1 ? 3 : 1;
    world_init(&world, members, members, false);
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
