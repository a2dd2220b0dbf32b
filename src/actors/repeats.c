#include "actors/repeats.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

void repeats_fini(struct repeats *repeats)
{
    map_fini(&repeats->seen);
    free(repeats->ring);
}

bool repeats_note(struct repeats *repeats, struct address from, uint64_t request)
{
    uint64_t words[] = {from.node, from.shard, request};
    uint64_t name = hash64(bytes_of(words, sizeof(words)), 0);
    if (name == 0) name = 1; /* no key of a map */
    if (map_get(&repeats->seen, name) != NULL) return false;
    if (repeats->ring == NULL) {
        repeats->ring = calloc(REPEATS_MAX, sizeof(*repeats->ring));
        CHECK(repeats->ring != NULL);
    }
    if (repeats->count == REPEATS_MAX)
        map_remove(&repeats->seen, repeats->ring[repeats->next]);
    else
        repeats->count++;
    map_put(&repeats->seen, name, repeats);
    repeats->ring[repeats->next] = name;
    repeats->next = (repeats->next + 1) % REPEATS_MAX;
    return true;
}
